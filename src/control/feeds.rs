//! What became of feeds, as the `Control` object keeps it: what the server
//! said of the last good list, and what fails since when.
//!
//! 1. Isolates fetch, and report. The object decides what is news: a feed that
//!    begins to fail, fails for another reason, or is good again. Whoever
//!    reported is told, and writes it to the log, so it stands there once.
//! 2. What fails is an alert beside the policy, which every isolate shows in
//!    its health.
//! 3. A feed at another URL, or read in another form, begins anew. So does one
//!    that the policy has lost and got back.

use serde::{Deserialize, Serialize};

use super::message::{NAME_LIMIT, NOTE_LIMIT};
use super::plane::Plane;
use super::state::stored;
use crate::addresses::format::SETS_LIMIT;
use crate::error::{PlatformError, clip};
use crate::feeds::config::URL_LIMIT;
use crate::feeds::fetch::Validators;
use crate::platform::{ControlStore, Write};
use crate::policy::manifest::{ALERTS_LIMIT, Alert};
use crate::time::Timestamp;

/// The name of the value that holds the states.
pub const FEEDS: &str = "feeds";

/// The kind of the alerts.
pub const ALERT_KIND: &str = "feed";

/// The longest form, in bytes: that of a column with the longest name.
const FORM_LIMIT: usize = 300;

/// What is known of a feed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedState {
    /// The set's name.
    pub name: String,
    /// Its URL when it was last tried.
    pub url: String,
    /// How it was read then: [`crate::feeds::schedule::form`].
    pub form: String,
    /// What the server said of the last list that was taken.
    #[serde(flatten)]
    pub validators: Validators,
    /// When it was last tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked: Option<Timestamp>,
    /// When a list was last another one than the one before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<Timestamp>,
    /// Why the last try was in vain, where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<FeedFailure>,
}

/// What fails.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedFailure {
    /// The label: of [`crate::feeds::fetch::FetchFailure`], or of what holds
    /// the sets.
    pub reason: String,
    /// More about it, in English.
    pub detail: String,
    /// Since when the feed has been failing, for whatever reason.
    pub since: Timestamp,
    /// How many tries in a row.
    pub attempts: u32,
}

/// The answer to `feeds`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedStates {
    /// By name.
    pub feeds: Vec<FeedState>,
}

impl FeedStates {
    /// What is known of a feed.
    #[must_use]
    pub fn of(&self, name: &str) -> Option<&FeedState> {
        self.feeds.iter().find(|feed| feed.name == name)
    }
}

/// `feed-results`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedResults {
    /// What became of feeds.
    #[serde(default)]
    pub results: Vec<FeedResult>,
    /// The names of feeds that the policy does not have any more.
    #[serde(default)]
    pub gone: Vec<String>,
}

/// What became of a feed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedResult {
    /// The set's name.
    pub name: String,
    /// Its URL.
    pub url: String,
    /// How it was read.
    pub form: String,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: FeedOutcome,
}

/// How a try ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum FeedOutcome {
    /// With another list, which has taken the place of the one before.
    Changed(Validators),
    /// With the same list.
    Unchanged(Validators),
    /// The server said that it is the same list.
    NotModified,
    /// In vain.
    Failed {
        /// The label.
        reason: String,
        /// More about it.
        #[serde(default)]
        detail: String,
    },
    /// In a way that a later protocol added.
    #[serde(other)]
    Other,
}

/// The answer to `feed-results`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedsNoted {
    /// What is news.
    pub news: Vec<FeedNews>,
}

/// A feed that fails, fails for another reason, or is good again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedNews {
    /// The set's name.
    pub name: String,
    /// The label of what is wrong; `None` where nothing is any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// More about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// Since when it has been failing, or had been.
    pub since: Timestamp,
}

impl FeedStates {
    /// Reads it. What is damaged is made anew by the next run of feeds, which
    /// are all due then.
    ///
    /// # Errors
    /// The storage failed.
    pub fn load(store: &impl ControlStore) -> Result<Self, PlatformError> {
        Ok(store.value(FEEDS)?.and_then(|text| stored(&text).ok()).unwrap_or_default())
    }

    /// The write that stores it.
    #[must_use]
    pub fn write(&self) -> Write {
        // Texts and numbers always serialise.
        Write::Value(FEEDS, serde_json::to_string(self).unwrap_or_default())
    }

    /// What an operator should look at.
    fn alerts(&self) -> impl Iterator<Item = Alert> {
        let failing = self.feeds.iter().filter_map(|feed| Some((feed, feed.failure.as_ref()?)));
        failing.map(|(feed, failure)| Alert {
            kind: ALERT_KIND.to_owned(),
            name: feed.name.clone(),
            reason: failure.reason.clone(),
            since: failure.since.to_string(),
        })
    }

    /// Takes in what became of feeds, and gives what is news.
    pub fn note(&mut self, results: &FeedResults, now: Timestamp) -> Vec<FeedNews> {
        // What the policy has lost is no news: somebody has changed it.
        self.feeds.retain(|feed| !results.gone.contains(&feed.name));
        results.results.iter().filter_map(|result| self.note_one(result, now)).collect()
    }

    fn note_one(&mut self, result: &FeedResult, now: Timestamp) -> Option<FeedNews> {
        if result.outcome == FeedOutcome::Other {
            return None;
        }
        let place = match self.feeds.binary_search_by(|feed| feed.name.as_str().cmp(&result.name)) {
            Ok(place) => place,
            Err(_) if self.feeds.len() >= SETS_LIMIT => return None,
            Err(place) => {
                let name = clip(&result.name, NAME_LIMIT).to_owned();
                self.feeds.insert(place, FeedState { name, ..FeedState::default() });
                place
            }
        };
        let feed = self.feeds.get_mut(place)?;
        let (url, form) = (clip(&result.url, URL_LIMIT), clip(&result.form, FORM_LIMIT));
        if feed.url != url || feed.form != form {
            let name = std::mem::take(&mut feed.name);
            *feed = FeedState { name, url: url.to_owned(), form: form.to_owned(), ..FeedState::default() };
        }
        feed.checked = Some(now);
        let before = feed.failure.take();
        match &result.outcome {
            FeedOutcome::Failed { reason, detail } => {
                let failure = FeedFailure {
                    reason: clip(reason, NAME_LIMIT).to_owned(),
                    detail: clip(detail, NOTE_LIMIT).to_owned(),
                    since: before.as_ref().map_or(now, |before| before.since.min(now)),
                    attempts: before.as_ref().map_or(0, |before| before.attempts).saturating_add(1),
                };
                let is_news = before.is_none_or(|before| before.reason != failure.reason);
                feed.failure = Some(failure.clone());
                let FeedFailure { reason, detail, since, .. } = failure;
                is_news.then(|| FeedNews { name: feed.name.clone(), reason: Some(reason), detail, since })
            }
            outcome => {
                match outcome {
                    FeedOutcome::Changed(validators) => {
                        feed.changed = Some(now);
                        feed.validators = validators.clone();
                    }
                    FeedOutcome::Unchanged(validators) => feed.validators = validators.clone(),
                    _ => {}
                }
                before.map(|before| FeedNews {
                    name: feed.name.clone(),
                    reason: None,
                    detail: String::new(),
                    since: before.since,
                })
            }
        }
    }
}

impl<S: ControlStore> Plane<'_, S> {
    /// Takes in what became of feeds. Where that changes what an operator
    /// should look at, isolates hear of it by a new manifest.
    pub(super) fn note_feeds(&mut self, results: &FeedResults) -> Result<FeedsNoted, PlatformError> {
        let mut feeds = FeedStates::load(self.store)?;
        let news = feeds.note(results, self.now);
        self.writes.push(feeds.write());
        let others = self.state.alerts.iter().filter(|alert| alert.kind != ALERT_KIND).cloned();
        let alerts: Vec<Alert> = others.chain(feeds.alerts()).take(ALERTS_LIMIT).collect();
        if alerts != self.state.alerts {
            self.state.alerts = alerts;
            self.writes.push(self.state.write());
            self.publish_anew();
        }
        Ok(FeedsNoted { news })
    }
}
