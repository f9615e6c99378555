//! Lifetimes that a route gives by status, such as a short one for answers
//! that say that nothing is there (negative caching).
//!
//! 1. The first rule for the status counts, in place of all that the origin
//!    says about freshness, and of what would be assumed.
//! 2. It is counted from the arrival on: an Age that the answer had already is
//!    no part of it.
//! 3. A rule can set `no-store` and `no-cache` aside where it says so. Nothing
//!    sets `private`, Set-Cookie, Vary, or the rules about credentials aside:
//!    they say whose an answer is, and not how long it lasts.
//! 4. A lifetime of zero is none: the answer is not stored.

use serde::de::{Deserialize, Deserializer, Error, Unexpected};

use super::directives::{Directives, LONGEST, Listed};

/// Statuses from the first to the last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statuses {
    first: u16,
    last: u16,
}

/// What they look like; completes "expected …".
const EXPECTED: &str = "a status, a class or a range from 200 to 599, the lower status first, such as \"404\", \"5xx\" or \"400-499\"";

impl Statuses {
    /// From `404`, `4xx` or `400-499`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (first, last) = match text {
            "2xx" => (200, 299),
            "3xx" => (300, 399),
            "4xx" => (400, 499),
            "5xx" => (500, 599),
            text => {
                let (first, last) = text.split_once('-').unwrap_or((text, text));
                (status(first)?, status(last)?)
            }
        };
        (first <= last).then_some(Self { first, last })
    }

    /// Whether a status is one of them.
    #[must_use]
    pub const fn hold(self, status: u16) -> bool {
        self.first <= status && status <= self.last
    }
}

/// Three digits, 200 to 599.
fn status(text: &str) -> Option<u16> {
    let known = text.len() == 3 && text.starts_with(['2', '3', '4', '5']);
    text.parse().ok().filter(|_| known)
}

impl<'de> Deserialize<'de> for Statuses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::invalid_value(Unexpected::Str(&text), &EXPECTED))
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Statuses {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Statuses".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string", "pattern": "^([2-5][0-9][0-9](-[2-5][0-9][0-9])?|[2-5]xx)$", "x-type": "statuses"
        })
    }
}

/// What a route says about answers with some statuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// Which statuses.
    pub statuses: Vec<Statuses>,
    /// For how many seconds they are fresh; 0: they are not stored.
    pub seconds: u64,
    /// Whether `no-store` and `no-cache` say nothing.
    pub force: bool,
}

impl Given {
    /// The lifetime of an answer that was so old when it arrived.
    #[must_use]
    pub fn lifetime(&self, initial_age: u64) -> u64 {
        self.seconds.saturating_add(initial_age).min(LONGEST)
    }

    /// What is left of the directives.
    #[must_use]
    pub fn applied(&self, directives: Directives) -> Directives {
        if !self.force {
            return directives;
        }
        let no_cache = if directives.no_cache.is_whole() { Listed::Absent } else { directives.no_cache };
        Directives { no_store: false, no_cache, ..directives }
    }
}

/// The first of the rules that is about the status.
#[must_use]
pub fn given(rules: &[Given], status: u16) -> Option<&Given> {
    rules.iter().find(|rule| rule.statuses.iter().any(|statuses| statuses.hold(status)))
}
