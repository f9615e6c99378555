//! The head of a stored response: everything but the body.

use std::borrow::Cow;

use http::header::{AGE, HeaderName};
use serde::{Deserialize, Serialize};

use super::plan::Credentials;
use super::range::Part;
use super::staleness::Allowance;
use super::vary::{self, Selector};
use crate::exchange::join_lines;
use crate::time::Timestamp;

/// The version of the stored form; entries of another are misses.
const VERSION: u32 = 2;

/// The longest stored head, as text.
const TEXT_LIMIT: usize = 16 * 1024;

/// How long a stored answer that may be validated, or served stale, is kept
/// past its lifetime, in seconds, where nothing asks for longer.
const RETENTION: u64 = 86_400;

/// The longest that anything is kept, in seconds: more than a store promises,
/// and less than any number that it might not read.
const LONGEST_RETENTION: u64 = 366 * 86_400;

/// The head of a stored response. Times are in seconds unless they are a
/// [`Timestamp`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Its status.
    pub status: u16,
    /// Its fields, without those that are not stored.
    pub fields: Vec<(HeaderName, String)>,
    /// What the request that it answered said, as far as that selects it.
    pub selected_by: Vec<(Selector, Option<String>)>,
    /// Fields that Vary names and the route ignored when it was stored. Where
    /// the route ignores one of them no more, nobody knows whom it is for.
    pub ignored: Vec<HeaderName>,
    /// When it arrived, or was last confirmed.
    pub received: Timestamp,
    /// How old it was then (RFC 9111, 4.2.3).
    pub initial_age: u64,
    /// How long it is fresh (RFC 9111, 4.2.1).
    pub lifetime: u64,
    /// The generation of the URI's entries that it belongs to: those of
    /// another are void.
    pub since: Timestamp,
    /// Whether the origin has to confirm every use (`no-cache`).
    pub validate_always: bool,
    /// What may be served stale.
    pub stale: Allowance,
    /// Whether it does not change while it is fresh (RFC 8246).
    pub immutable: bool,
    /// Whether it serves requests with Authorization (RFC 9111, 3.5).
    pub authorized: bool,
    /// Whether it serves requests with other credentials.
    pub shared: bool,
    /// Which part it is, of something larger.
    pub part: Option<Part>,
    /// The newest purge that was known when its request to the origin, or the
    /// one that confirmed it, was sent: newer ones may make it void.
    pub began: u64,
}

#[derive(Serialize, Deserialize)]
struct Text<'a> {
    v: u32,
    status: u16,
    #[serde(borrow)]
    fields: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    by: Vec<(Cow<'a, str>, Option<Cow<'a, str>>)>,
    /// Missing where an earlier module has written it.
    #[serde(borrow, default)]
    ignored: Option<Vec<Cow<'a, str>>>,
    received: u64,
    age: u64,
    lifetime: u64,
    since: u64,
    #[serde(default, skip_serializing_if = "is_default")]
    validate: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    never_stale: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    swr: u64,
    #[serde(default, skip_serializing_if = "is_default")]
    sie: Option<u64>,
    #[serde(default, skip_serializing_if = "is_default")]
    immutable: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    authorized: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    shared: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    part: Option<Part>,
    #[serde(default, skip_serializing_if = "is_default")]
    began: u64,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Entry {
    /// How old it is now (RFC 9111, 4.2.3); `None` when the clock says that it
    /// has not arrived yet, and nothing is known.
    #[must_use]
    pub fn age(&self, now: Timestamp) -> Option<u64> {
        (now >= self.received).then(|| self.initial_age.saturating_add(now.since(self.received).as_secs()))
    }

    /// For how many more seconds it is fresh; below zero where it is not.
    #[must_use]
    pub fn ttl(&self, now: Timestamp) -> i64 {
        let signed = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
        signed(self.lifetime).saturating_sub(signed(self.age(now).unwrap_or(self.initial_age)))
    }

    /// Whether it is for who shows these credentials (RFC 9111, 3.5).
    #[must_use]
    pub const fn serves(&self, credentials: Credentials) -> bool {
        match credentials {
            Credentials::None => true,
            Credentials::Authorization => self.authorized,
            Credentials::Identity => self.shared,
        }
    }

    /// The combined value of a field.
    #[must_use]
    pub fn field(&self, name: &HeaderName) -> Option<Cow<'_, str>> {
        join_lines(&self.fields, name)
    }

    /// For how many seconds it is worth keeping: past its lifetime it can
    /// still be confirmed, stand in for an origin that fails, and say what
    /// selects among the answers to its URI.
    #[must_use]
    pub fn retention(&self) -> u64 {
        let stale = self.stale.while_revalidate.max(self.stale.if_error.unwrap_or_default());
        let fresh = self.lifetime.saturating_sub(self.initial_age);
        fresh.saturating_add(stale.max(RETENTION)).min(LONGEST_RETENTION)
    }

    /// How many bytes its texts have.
    #[must_use]
    pub fn weight(&self) -> u64 {
        let fields = self.fields.iter().map(|(name, value)| name.as_str().len().saturating_add(value.len()));
        let values = self.selected_by.iter().map(|(selector, value)| {
            let selector = match selector {
                Selector::Field(name) | Selector::Cookie(name) => name.len(),
            };
            selector.saturating_add(value.as_ref().map_or(0, String::len))
        });
        let ignored = self.ignored.iter().map(|name| name.as_str().len());
        let line = size_of::<(HeaderName, String)>();
        fields
            .chain(values)
            .chain(ignored)
            .map(|bytes| bytes.saturating_add(line) as u64)
            .fold(0, u64::saturating_add)
    }

    /// The text that is stored; `None` when it is too long.
    #[must_use]
    pub fn encode(&self) -> Option<String> {
        let Allowance { never, while_revalidate, if_error } = self.stale;
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
            by: self
                .selected_by
                .iter()
                .map(|(selector, value)| {
                    (Cow::Owned(selector.to_string()), value.as_deref().map(Cow::Borrowed))
                })
                .collect(),
            ignored: Some(self.ignored.iter().map(|name| Cow::Borrowed(name.as_str())).collect()),
            received: self.received.millis(),
            age: self.initial_age,
            lifetime: self.lifetime,
            since: self.since.millis(),
            validate: self.validate_always,
            never_stale: never,
            swr: while_revalidate,
            sie: if_error,
            immutable: self.immutable,
            authorized: self.authorized,
            shared: self.shared,
            part: self.part,
            began: self.began,
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
        let fits = |part: Part| part.span.first <= part.span.last;
        if text.v != VERSION || !(200..=599).contains(&text.status) || !text.part.is_none_or(fits) {
            return None;
        }
        let name = |name: &str| HeaderName::from_bytes(name.as_bytes()).ok();
        let fields = text
            .fields
            .into_iter()
            .map(|(field, value)| Some((name(&field)?, value.into_owned())))
            .collect::<Option<Vec<_>>>()?;
        let selected_by = text
            .by
            .into_iter()
            .map(|(selector, value)| Some((Selector::parse(&selector)?, value.map(Cow::into_owned))))
            .collect::<Option<Vec<_>>>()?;
        let ignored = match text.ignored {
            Some(names) => names.iter().map(|text| name(text)).collect::<Option<_>>()?,
            // What does not select it, although Vary names it, was ignored.
            None => vary::named(&fields)?
                .into_iter()
                .filter(|name| !selected_by.iter().any(|(known, _)| *known == Selector::field(name)))
                .collect(),
        };
        Some(Self {
            status: text.status,
            fields,
            selected_by,
            ignored,
            received: Timestamp::from_millis(text.received),
            initial_age: text.age,
            lifetime: text.lifetime,
            since: Timestamp::from_millis(text.since),
            validate_always: text.validate,
            stale: Allowance { never: text.never_stale, while_revalidate: text.swr, if_error: text.sie },
            immutable: text.immutable,
            authorized: text.authorized,
            shared: text.shared,
            part: text.part,
            began: text.began,
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
