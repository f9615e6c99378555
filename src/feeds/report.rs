//! What the log is told about feeds: a line where something is news, see
//! `docs/access-log.md`. No line holds a URL: what stands behind its `?` may
//! be a key.

use std::convert::Infallible;

use serde::Serialize;

use crate::control::change_sets::NotChanged;
use crate::control::feeds::FeedNews;
use crate::error::{Dependency, PlatformError};
use crate::observe::record::SCHEMA;
use crate::time::Timestamp;

#[derive(Serialize)]
struct Line<'a> {
    schema: u32,
    event: &'static str,
    time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Line<'_> {
    fn text(&self) -> String {
        // Texts and numbers always serialise.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// A feed that fails, fails for another reason, or is good again.
#[must_use]
pub fn news(now: Timestamp, news: &FeedNews) -> String {
    Line {
        schema: SCHEMA,
        event: "feed",
        time: now.to_string(),
        name: Some(&news.name),
        state: if news.reason.is_some() { "failing" } else { "recovered" },
        reason: news.reason.as_deref(),
        detail: &news.detail,
        since: Some(news.since.to_string()),
        error: None,
    }
    .text()
}

/// A run that something of ours put an end to.
#[must_use]
pub fn failed(now: Timestamp, error: &PlatformError) -> String {
    Line {
        schema: SCHEMA,
        event: "feed",
        time: now.to_string(),
        name: None,
        state: "interrupted",
        reason: None,
        detail: "",
        since: None,
        error: Some(error.to_string()),
    }
    .text()
}

/// Why a generation was not made, as a failure of the `Control` object.
#[must_use]
pub fn cause(why: NotChanged<Infallible>) -> PlatformError {
    match why {
        NotChanged::Edit(never) => match never {},
        NotChanged::Failed(error) => error,
        NotChanged::Refused(refused) => {
            let detail = refused.detail.unwrap_or_default();
            PlatformError::failed(
                Dependency::Control,
                format!("refused: {} {detail}", refused.reason.as_str()),
            )
        }
    }
}
