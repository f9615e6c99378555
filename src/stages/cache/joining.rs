//! Parts that are put together (RFC 9111, 3.4; RFC 9110, 15.3.7.3).
//!
//! 1. Two parts are of one answer if both show the same strong entity tag.
//!    Nothing else says so.
//! 2. They have to join or overlap: what lies between is not known. Where both
//!    have a byte, the newer one counts.
//! 3. The newer head counts, with the fields of the older one that it does not
//!    have. Nobody becomes an owner of the older bytes by it, and what makes
//!    one of them void makes both void.
//! 4. What is all there is a 200 from now on, and answers whoever asks for the
//!    whole.
//! 5. Parts that together are larger than what is kept stay apart: then the
//!    newer one takes the place of the older.

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderName};

use super::entry::Entry;
use super::range::{Part, Span};
use super::validation::{strong_match, updated};

/// How many bytes of a stored part stand around a new one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Around {
    /// From the beginning of the stored one.
    pub before: u64,
    /// Up to its end.
    pub after: u64,
}

/// Where both parts lie together, and how their bytes lie there; `None` where
/// they are not put together. `limit` is the largest body that is kept, in
/// bytes.
#[must_use]
pub fn meeting(stored: &Entry, new: &Entry, limit: u64) -> Option<(Part, Around)> {
    let (old, part) = (stored.part?, new.part?);
    let is_same =
        new.field(&ETAG).zip(stored.field(&ETAG)).is_some_and(|(one, other)| strong_match(&one, &other));
    let is_encoded_so = new.field(&CONTENT_ENCODING) == stored.field(&CONTENT_ENCODING);
    let agree = old.complete.zip(part.complete).is_none_or(|(one, other)| one == other);
    let touch = old.span.first <= part.span.last.saturating_add(1)
        && part.span.first <= old.span.last.saturating_add(1);
    if !is_same
        || !is_encoded_so
        || !agree
        || !touch
        || stored.selected_by != new.selected_by
        || stored.ignored != new.ignored
    {
        return None;
    }
    let span = Span { first: old.span.first.min(part.span.first), last: old.span.last.max(part.span.last) };
    let complete = part.complete.or(old.complete);
    // What is said about its size may not be about what the other one holds.
    if span.size() > limit || complete.is_some_and(|complete| span.last >= complete) {
        return None;
    }
    let around = Around {
        before: part.span.first.saturating_sub(old.span.first),
        after: old.span.last.saturating_sub(part.span.last),
    };
    Some((Part { span, complete }, around))
}

/// The entry of both parts, where they [meet](meeting).
#[must_use]
pub fn joined(stored: &Entry, new: Entry, part: Part) -> Entry {
    Entry {
        fields: updated(&stored.fields, &new.fields),
        part: Some(part),
        authorized: new.authorized && stored.authorized,
        shared: new.shared && stored.shared,
        began: new.began.min(stored.began),
        ..new
    }
}

/// An entry whose head says what its body is: a part that is all there is a
/// 200, where it has a strong entity tag by which it could have been put
/// together.
#[must_use]
pub fn described(mut entry: Entry) -> Entry {
    let Some(part) = entry.part else { return entry };
    let Part { span, complete } = part;
    let has_tag = entry.field(&ETAG).is_some_and(|tag| strong_match(&tag, &tag));
    let is_whole = has_tag && span.first == 0 && complete == Some(span.size());
    set(&mut entry.fields, CONTENT_LENGTH, Some(span.size().to_string()));
    if is_whole {
        set(&mut entry.fields, CONTENT_RANGE, None);
        return Entry { status: 200, part: None, ..entry };
    }
    set(&mut entry.fields, CONTENT_RANGE, Some(part.to_string()));
    entry
}

fn set(fields: &mut Vec<(HeaderName, String)>, name: HeaderName, value: Option<String>) {
    fields.retain(|(field, _)| *field != name);
    fields.extend(value.map(|value| (name, value)));
}
