//! The head of a stored response: everything but the body.

use std::borrow::Cow;

use http::header::{AGE, HeaderName};
use serde::{Deserialize, Serialize};

use crate::exchange::join_lines;
use crate::time::Timestamp;

/// The version of the stored form; entries of another are misses.
const VERSION: u32 = 1;

/// The longest stored head, as text.
const TEXT_LIMIT: usize = 16 * 1024;

/// The head of a stored response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its status.
    pub status: u16,
    /// Its fields, without those that are not stored.
    pub fields: Vec<(HeaderName, String)>,
    /// What the request that it answered said in the fields that `Vary`
    /// names.
    pub selected_by: Vec<(HeaderName, Option<String>)>,
    /// When it arrived.
    pub received: Timestamp,
    /// How old it was when it arrived, in seconds (RFC 9111, 4.2.3).
    pub initial_age: u64,
    /// How long it is fresh, in seconds (RFC 9111, 4.2.1).
    pub lifetime: u64,
}

#[derive(Serialize, Deserialize)]
struct Text<'a> {
    v: u32,
    status: u16,
    #[serde(borrow)]
    fields: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    #[serde(borrow)]
    selected_by: Vec<(Cow<'a, str>, Option<Cow<'a, str>>)>,
    received: u64,
    initial_age: u64,
    lifetime: u64,
}

impl Entry {
    /// How old it is now, in seconds (RFC 9111, 4.2.3); `None` when the clock
    /// says that it has not arrived yet, and nothing is known.
    #[must_use]
    pub fn age(&self, now: Timestamp) -> Option<u64> {
        (now >= self.received).then(|| self.initial_age.saturating_add(now.since(self.received).as_secs()))
    }

    /// The combined value of a field.
    #[must_use]
    pub fn field(&self, name: &HeaderName) -> Option<Cow<'_, str>> {
        join_lines(&self.fields, name)
    }

    /// The text that is stored; `None` when it is too long, or cannot stand
    /// in a header field.
    #[must_use]
    pub fn encode(&self) -> Option<String> {
        let text = Text {
            v: VERSION,
            status: self.status,
            fields: self
                .fields
                .iter()
                // Age is counted on from `initial_age`.
                .filter(|(name, _)| *name != AGE)
                .map(|(name, value)| (Cow::Borrowed(name.as_str()), Cow::Borrowed(value.as_str())))
                .collect(),
            selected_by: self
                .selected_by
                .iter()
                .map(|(name, value)| (Cow::Borrowed(name.as_str()), value.as_deref().map(Cow::Borrowed)))
                .collect(),
            received: self.received.millis(),
            initial_age: self.initial_age,
            lifetime: self.lifetime,
        };
        let text = serde_json::to_string(&text).ok()?;
        // It travels in a header field, which holds ASCII safely.
        let text = escape_non_ascii(&text);
        (text.len() <= TEXT_LIMIT).then_some(text)
    }

    /// From the stored text; `None` when it is not one this module wrote.
    #[must_use]
    pub fn decode(text: &str) -> Option<Self> {
        let text: Text<'_> = serde_json::from_str(text).ok()?;
        if text.v != VERSION || !(200..=599).contains(&text.status) {
            return None;
        }
        let name = |name: &str| HeaderName::from_bytes(name.as_bytes()).ok();
        Some(Self {
            status: text.status,
            fields: text
                .fields
                .iter()
                .map(|(field, value)| Some((name(field)?, value.clone().into_owned())))
                .collect::<Option<_>>()?,
            selected_by: text
                .selected_by
                .iter()
                .map(|(field, value)| {
                    Some((name(field)?, value.as_ref().map(|value| value.clone().into_owned())))
                })
                .collect::<Option<_>>()?,
            received: Timestamp::from_millis(text.received),
            initial_age: text.initial_age,
            lifetime: text.lifetime,
        })
    }
}

fn escape_non_ascii(text: &str) -> String {
    use std::fmt::Write as _;
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_ascii() {
            escaped.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        }
    }
    escaped
}
