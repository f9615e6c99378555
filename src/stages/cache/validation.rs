//! Validators: what a client has, and what the origin confirms (RFC 9111, 4.3;
//! RFC 9110, 8.8, 13).

use http::header::{
    AGE, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, DATE, ETAG, HeaderName, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, LAST_MODIFIED,
};

use super::date;
use super::entry::Entry;
use super::storability::may_be_due_to_the_request;
use crate::exchange::{Edit, Head, join_lines, trim};
use crate::time::Timestamp;

/// Whether the client has the stored answer already (RFC 9110, 13.2.2, steps 3
/// and 4; RFC 9111, 4.3.2). Only a 200 is answered so.
#[must_use]
pub fn not_modified(head: &impl Head, entry: &Entry, now: Timestamp) -> bool {
    if entry.status != 200 {
        return false;
    }
    if let Some(condition) = head.field(&IF_NONE_MATCH) {
        // 13.1.2: `*` stands for whatever there is.
        return trim(&condition) == "*"
            || entry.field(&ETAG).is_some_and(|tag| {
                entity_tags(&condition).any(|candidate| opaque(candidate) == opaque(&tag))
            });
    }
    let read = |text: &str| date::parse(trim(text), now);
    let Some(since) = head.field(&IF_MODIFIED_SINCE).and_then(|text| read(&text)) else {
        return false;
    };
    // 4.3.2: without Last-Modified the Date stands in, and without that the
    // time at which the answer was received.
    let modified = match entry.field(&LAST_MODIFIED) {
        Some(text) => read(&text),
        None => match entry.field(&DATE) {
            Some(text) => read(&text),
            None => Some(entry.received.seconds()),
        },
    };
    modified.is_some_and(|modified| modified <= since)
}

/// What a weak comparison looks at (RFC 9110, 8.8.3.2).
fn opaque(tag: &str) -> &str {
    let tag = trim(tag);
    tag.strip_prefix("W/").unwrap_or(tag)
}

/// Whether two entity tags are the same strong one (RFC 9110, 8.8.3.2).
#[must_use]
pub fn strong_match(one: &str, other: &str) -> bool {
    let (one, other) = (trim(one), trim(other));
    one == other && one.starts_with('"') && one.len() >= 2 && one.ends_with('"')
}

/// The entity tags of a list; a comma may stand inside one.
fn entity_tags(field: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    field
        .split(move |character: char| {
            if character == '"' {
                quoted = !quoted;
            }
            character == ',' && !quoted
        })
        .map(trim)
        .filter(|tag| !tag.is_empty())
}

/// Whether the origin can be asked about an answer.
#[must_use]
pub fn has_validator(fields: &[(HeaderName, String)]) -> bool {
    join_lines(fields, &ETAG).is_some() || join_lines(fields, &LAST_MODIFIED).is_some()
}

/// The conditions that ask the origin whether a stored answer still holds
/// (4.3.1), in place of the client's own. None where it has no validator: then
/// the client's stand.
#[must_use]
pub fn conditions(entry: &Entry) -> Vec<Edit> {
    if !has_validator(&entry.fields) {
        return Vec::new();
    }
    let edit = |name: HeaderName, value: Option<std::borrow::Cow<'_, str>>| match value {
        Some(value) => Edit::Set(name, value.into_owned()),
        None => Edit::Remove(name),
    };
    vec![edit(IF_NONE_MATCH, entry.field(&ETAG)), edit(IF_MODIFIED_SINCE, entry.field(&LAST_MODIFIED))]
}

/// Whether a 304 is about this answer (4.3.4): a validator that it names has
/// to be the stored one. One that names none is about what was asked for.
#[must_use]
pub fn confirms(fields: &[(HeaderName, String)], entry: &Entry) -> bool {
    if let Some(tag) = join_lines(fields, &ETAG) {
        return entry.field(&ETAG).is_some_and(|stored| opaque(&stored) == opaque(&tag));
    }
    match (join_lines(fields, &LAST_MODIFIED), entry.field(&LAST_MODIFIED)) {
        (Some(now), Some(stored)) => trim(&now) == trim(&stored),
        _ => true,
    }
}

/// Whether the answer to a condition of ours is about another representation
/// than the stored one (4.3.3): what shows no validator of it is.
#[must_use]
pub fn is_another(fields: &[(HeaderName, String)], entry: &Entry) -> bool {
    let differs =
        |name: &HeaderName, now: &str| entry.field(name).is_none_or(|stored| opaque(&stored) != opaque(now));
    match (join_lines(fields, &ETAG), join_lines(fields, &LAST_MODIFIED)) {
        (Some(tag), _) => differs(&ETAG, &tag),
        (None, Some(date)) => differs(&LAST_MODIFIED, &date),
        // A part shows what the whole would (RFC 9110, 15.3.7).
        (None, None) => has_validator(&entry.fields),
    }
}

/// The stored fields after a 304 or the answer to a HEAD (3.2): what it holds
/// replaces what was stored, except for what says how the stored body is
/// written. Time counts from now on anew, so the old Age and Date go.
#[must_use]
pub fn updated(stored: &[(HeaderName, String)], news: &[(HeaderName, String)]) -> Vec<(HeaderName, String)> {
    const ABOUT_THE_BODY: [HeaderName; 3] = [CONTENT_LENGTH, CONTENT_ENCODING, CONTENT_RANGE];
    let news = news.iter().filter(|(name, _)| !ABOUT_THE_BODY.contains(name));
    let is_new =
        |name: &HeaderName| [AGE, DATE].contains(name) || news.clone().any(|(known, _)| known == name);
    let kept = stored.iter().filter(|(name, _)| !is_new(name));
    kept.chain(news.clone()).cloned().collect()
}

/// What the answer to a HEAD says about the stored answer to GET.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learned {
    /// It is the same one, by its validator: that is a confirmation.
    Same,
    /// Nothing tells them apart, and nothing says that they are the same: its
    /// fields are brought up to date, and it grows older.
    Alike,
    /// It is another one by now.
    Other,
    /// Nothing: the origin failed or refused the request, or answered a condition of the client's.
    Nothing,
}

/// Compares a stored answer with what a HEAD got (4.3.5): by the validators
/// that came, and the length. Where none came, nothing says that the stored
/// body still is the one that a GET would bring; so it is not made younger.
#[must_use]
pub fn learn(entry: &Entry, status: u16, fields: &[(HeaderName, String)]) -> Learned {
    // 4.3.5 is about a 200. That there is nothing any more is as clear; other
    // errors may be due to the method (405) or to a field of the request.
    if may_be_due_to_the_request(status) || status == 304 {
        return Learned::Nothing;
    }
    let agrees = |name: &HeaderName| match (join_lines(fields, name), entry.field(name)) {
        (Some(now), Some(stored)) => trim(&now) == trim(&stored),
        // A length that was not stored is no news; a validator is.
        (Some(_), None) => *name == CONTENT_LENGTH,
        (None, _) => true,
    };
    let same = status == entry.status && [ETAG, LAST_MODIFIED, CONTENT_LENGTH].iter().all(agrees);
    match same {
        false => Learned::Other,
        true if has_validator(fields) => Learned::Same,
        true => Learned::Alike,
    }
}
