//! The list as text: how it stands in the manifest, and how `Control` keeps it.
//!
//! ```json
//! {"records": [{"sequence": 7, "url": "https://www.example.com/"}, {"sequence": 9, "tag": "news", "soft": true}]}
//! ```

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Purge, Scope};

/// The most purges of a list.
pub const RECORDS_LIMIT: usize = 1_000;

/// The longest list, in bytes.
pub const TEXT_LIMIT: usize = 64 << 10;

/// What is wrong with a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// It does not parse.
    Text,
    /// It is longer than it may be.
    Limit,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "the purges cannot be read; all that was stored before counts as purged",
            Self::Limit => {
                "the purges are more than there may be; all that was stored before counts as purged"
            }
        })
    }
}

impl std::error::Error for Damage {}

/// One of `url`, `prefix`, `tag` and `all`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct PurgeText {
    sequence: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prefix: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tag: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    all: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    soft: bool,
}

impl From<PurgeText> for Purge {
    fn from(text: PurgeText) -> Self {
        let PurgeText { sequence, url, prefix, tag, all, soft } = text;
        let (scope, soft) = match (url, prefix, tag, all) {
            (Some(url), None, None, false) => (Scope::Url(url), soft),
            (None, Some(prefix), None, false) => (Scope::Prefix(prefix), soft),
            (None, None, Some(tag), false) => (Scope::Tag(tag), soft),
            (None, None, None, true) => (Scope::All, soft),
            // A scope of a later version, or several: it may be anything.
            _ => (Scope::All, false),
        };
        Self { sequence, scope, soft }
    }
}

impl From<&Purge> for PurgeText {
    fn from(purge: &Purge) -> Self {
        let Purge { sequence, scope, soft } = purge;
        let text = Self { sequence: *sequence, soft: *soft, ..Self::default() };
        match scope.clone() {
            Scope::Url(url) => Self { url: Some(url), ..text },
            Scope::Prefix(prefix) => Self { prefix: Some(prefix), ..text },
            Scope::Tag(tag) => Self { tag: Some(tag), ..text },
            Scope::All => Self { all: true, ..text },
        }
    }
}

impl Serialize for Purge {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        PurgeText::from(self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Purge {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        PurgeText::deserialize(deserializer).map(Self::from)
    }
}

#[derive(Serialize, Deserialize)]
struct ListText<T> {
    records: T,
}

/// The text of a list, as it stands in the manifest.
#[must_use]
pub fn encode<'a>(purges: impl Iterator<Item = &'a Purge>) -> String {
    let records: Vec<&Purge> = purges.collect();
    // Texts and numbers always serialise.
    serde_json::to_string(&ListText { records }).unwrap_or_default()
}

/// Reads a list.
///
/// # Errors
/// Says what is wrong with it.
pub(super) fn decode(text: &str) -> Result<Vec<Purge>, Damage> {
    if text.len() > TEXT_LIMIT {
        return Err(Damage::Limit);
    }
    // As an array of its members it would be read, too.
    if !text.trim_ascii_start().starts_with('{') {
        return Err(Damage::Text);
    }
    let list: ListText<Vec<Purge>> = serde_json::from_str(text).map_err(|_| Damage::Text)?;
    if list.records.len() > RECORDS_LIMIT {
        return Err(Damage::Limit);
    }
    Ok(list.records)
}
