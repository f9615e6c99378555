//! Under what an answer is stored.
//!
//! 1. The **primary key** holds environment, route, upstream, variant, scheme,
//!    authority and target. Its entry is the first answer to the URI.
//!    The target's escapes are in normal form (RFC 3986, 6.2.2.1, 6.2.2.2) in
//!    the key, and in what the origin gets: spellings of one path are one.
//! 2. What else selects (see [`super::vary`]) is no part of it: an answer that
//!    the first one's entry does not cover is stored under a **secondary
//!    key**, made of the selecting values and of the generation of the first
//!    one's entry. When that is removed, or replaced by one that other fields
//!    select, the next one begins another generation, and nothing leads to the
//!    old ones any more.
//! 3. A part (206) has a key of its own.
//! 4. Parameters that a route leaves out of the key do not reach the origin
//!    either, and those that it sorts reach it sorted: what is not part of the
//!    key must not change what is stored.

use std::borrow::Cow;

use http::header::HeaderName;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::CacheStage;
use super::entry::Entry;
use super::vary::Selector;
use crate::text;
use crate::time::Timestamp;

/// A URL, as the Cache API wants one; nothing is there.
const BASE: &str = "https://cache.edgeweir.invalid/";

/// What marks the key of a part.
const PART: &str = "~part";

/// Parameters that tell campaigns and clicks apart and no answers: those of
/// Google (`utm_`, `gclid`, …), Meta, Microsoft, X, TikTok, Mailchimp, HubSpot
/// and Matomo. A `*` at the end stands for anything.
const TRACKING: [&str; 25] = [
    "utm_*",
    "gclid",
    "gclsrc",
    "dclid",
    "gbraid",
    "wbraid",
    "gad_*",
    "_gl",
    "fbclid",
    "igshid",
    "msclkid",
    "twclid",
    "ttclid",
    "li_fat_id",
    "mc_cid",
    "mc_eid",
    "_hsenc",
    "_hsmi",
    "hsa_*",
    "yclid",
    "srsltid",
    "mtm_*",
    "pk_*",
    "piwik_*",
    "epik",
];

/// A named list of parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// Those of campaigns and clicks, which change no answer.
    Tracking,
}

/// What of a query is part of the key, and reaches the origin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryRules {
    /// Only these, where there are any.
    pub include: Option<Vec<String>>,
    /// Not these.
    pub exclude: Vec<String>,
    /// Not those of campaigns and clicks.
    pub without_tracking: bool,
    /// Whether they are sorted by name; those of one name keep their order.
    pub sort: bool,
}

impl QueryRules {
    fn keeps(&self, name: &str) -> bool {
        let matches = |pattern: &str| match pattern.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == pattern,
        };
        let tracking = self.without_tracking && TRACKING.into_iter().any(matches);
        let included = self.include.as_ref().is_none_or(|names| names.iter().any(|name| matches(name)));
        included && !tracking && !self.exclude.iter().any(|name| matches(name))
    }

    /// The target as it is stored and sent. Names are compared decoded, so
    /// that no spelling gets a parameter past a rule.
    #[must_use]
    pub fn apply<'a>(&self, target: &'a str) -> Cow<'a, str> {
        if *self == Self::default() {
            return Cow::Borrowed(target);
        }
        let Some((path, query)) = target.split_once('?') else { return Cow::Borrowed(target) };
        let mut kept: Vec<(String, &str)> = query
            .split('&')
            .map(|pair| (decoded(pair.split_once('=').map_or(pair, |(name, _)| name)), pair))
            .filter(|(name, _)| self.keeps(name))
            .collect();
        if self.sort {
            kept.sort_by(|(one, _), (other, _)| one.cmp(other));
        }
        let kept: Vec<&str> = kept.into_iter().map(|(_, pair)| pair).collect();
        // `?` alone and no query are different targets, but nothing is left
        // that told them apart.
        if kept.is_empty() { Cow::Borrowed(path) } else { Cow::Owned(format!("{path}?{}", kept.join("&"))) }
    }
}

/// Percent-decoded (RFC 3986, 2.1), `+` as a space; what is no UTF-8 becomes
/// U+FFFD.
pub(super) fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let ahead = rest.clone();
        let hex = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let mut digits = ahead.map(hex);
        match (byte, digits.next().flatten(), digits.next().flatten()) {
            (b'%', Some(high), Some(low)) => {
                bytes.push(high.wrapping_shl(4) | low);
                rest.nth(1);
            }
            (b'+', ..) => bytes.push(b' '),
            _ => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A text whose escapes are in normal form: those of unreserved characters are
/// decoded, the others have upper-case digits (RFC 3986, 6.2.2.1, 6.2.2.2).
/// One with a `%` that begins no escape stays as it is, since what is decoded
/// behind it could make one.
#[must_use]
pub fn normal_escapes(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut parts = text.split('%');
    let mut normal = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let Some((digits, rest)) = part.split_at_checked(2) else { return Cow::Borrowed(text) };
        let byte = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let Some(byte) = byte.then(|| u8::from_str_radix(digits, 16).ok()).flatten() else {
            return Cow::Borrowed(text);
        };
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            normal.push(char::from(byte));
        } else {
            normal.push('%');
            normal.push_str(&digits.to_ascii_uppercase());
        }
        normal.push_str(rest);
    }
    Cow::Owned(normal)
}

/// What stands for a key where people see it (RFC 9211, 2.7): a hash of the
/// primary key, so nobody learns from it what that is made of. What else
/// selects is no part of it: a cookie may have few values, and a hash of one is
/// soon guessed.
#[must_use]
pub fn shown(key: &str) -> String {
    digest(Sha256::new().chain_update(BASE).chain_update(unmarked(key)))
}

/// The primary key that a key belongs to, without what all of them begin with.
fn unmarked(key: &str) -> &str {
    let key = without_base(key);
    let marked = key.strip_prefix('~').and_then(|rest| rest.split_once('/'));
    marked.map_or(key, |(_, primary)| primary)
}

/// The first 128 bits as hex.
fn digest(hash: Sha256) -> String {
    text::hex(
        hash.finalize().iter().take(16).fold(0, |digest: u128, byte| (digest << 8) | u128::from(*byte)),
        32,
    )
}

/// The primary key: a URL. The parts in front of the authority hold no slash,
/// so no two keys run together.
#[must_use]
pub fn primary(
    environment: &str,
    route: &str,
    upstream: &str,
    variant: &str,
    url: (&str, &str, &str),
) -> String {
    let (scheme, authority, target) = url;
    // No name is "~".
    let variant = if variant.is_empty() { "~" } else { variant };
    [BASE, environment, "/", route, "/", upstream, "/", variant, "/", scheme, "/", authority, target].concat()
}

/// The key of an answer that other values select.
#[must_use]
pub fn secondary(primary: &str, since: Timestamp, selected_by: &[(Selector, Option<String>)]) -> String {
    let mut hash = Sha256::new();
    for (selector, value) in selected_by {
        // Lengths keep neighbours apart, and an absent value from an empty.
        for part in [Some(&selector.to_string()), value.as_ref()] {
            hash.update(part.map_or(u64::MAX, |part| part.len() as u64).to_be_bytes());
            hash.update(part.map_or("", String::as_str));
        }
    }
    marked(primary, &format!("~{:x}-{}", since.millis(), digest(hash)))
}

/// What the entry under a primary key says of all entries of its URI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// Their generation.
    pub since: Timestamp,
    /// What selects among them.
    pub selectors: Vec<Selector>,
    /// The entry's own values.
    values: Vec<Option<String>>,
    /// What did not select them, as [`Entry::ignored`].
    ignored: Vec<HeaderName>,
}

impl Index {
    /// Of the entry under the primary key.
    #[must_use]
    pub fn of(entry: &Entry) -> Self {
        let (selectors, values) = entry.selected_by.iter().cloned().unzip();
        Self { since: entry.since, selectors, values, ignored: entry.ignored.clone() }
    }

    /// Whether an answer with these values is told apart by the same fields.
    #[must_use]
    pub fn tells_apart_by(&self, selected_by: &[(Selector, Option<String>)]) -> bool {
        selected_by.iter().map(|(selector, _)| selector).eq(&self.selectors)
    }

    /// Whether it knows all that selects on this route.
    #[must_use]
    pub fn covers(&self, stage: &CacheStage) -> bool {
        stage.selectors.iter().all(|selector| self.selectors.contains(selector))
            && self.ignored.iter().all(|name| stage.ignores(name))
    }
}

/// The key under which a whole answer or a part is stored. One that other
/// fields select than the entry that is there takes its place: from now on
/// those tell the answers apart.
#[must_use]
pub fn place(primary: &str, index: Option<&Index>, entry: &Entry) -> String {
    if entry.part.is_some() {
        return part(primary);
    }
    let Some(index) = index else { return primary.to_owned() };
    let by = &entry.selected_by;
    let same_values = by.iter().map(|(_, value)| value).eq(&index.values);
    if index.tells_apart_by(by) && !same_values {
        secondary(primary, index.since, by)
    } else {
        primary.to_owned()
    }
}

/// The key of a part of the answer.
#[must_use]
pub fn part(primary: &str) -> String {
    marked(primary, PART)
}

/// Whether it is the key of a part.
#[must_use]
pub fn is_part(key: &str) -> bool {
    without_base(key).strip_prefix(PART).is_some_and(|rest| rest.starts_with('/'))
}

/// A key without what all of them begin with.
#[must_use]
pub fn without_base(key: &str) -> &str {
    key.strip_prefix(BASE).unwrap_or(key)
}

/// No environment begins with "~", so a marked key is no primary one.
fn marked(primary: &str, mark: &str) -> String {
    [BASE, mark, "/", without_base(primary)].concat()
}
