//! Parts of a stored answer (RFC 9110, 14; RFC 9111, 3.3, 3.4).
//!
//! 1. One range of a stored 200 is answered with 206: first and last, open at
//!    the end, or a suffix. Several at once are answered with the whole, which
//!    14.2 leaves to the server.
//! 2. If-Range has to hold, by strong comparison or by the very date
//!    (13.1.5); else the whole is the answer.
//! 3. What begins behind the end is 416 (15.5.17).
//! 4. A stored 206 answers what lies within it, and nothing else. See
//!    [`super::joining`] for how it grows.

use std::fmt;

use http::header::{DATE, ETAG, HeaderName, IF_RANGE, LAST_MODIFIED, RANGE};

use super::date;
use super::entry::Entry;
use super::validation::strong_match;
use crate::exchange::{Head, list, trim};
use crate::time::Timestamp;

/// How much older than the answer its Last-Modified has to be for the date to
/// be a strong validator, in seconds: whoever writes it may not see two
/// changes in one second (RFC 9110, 8.8.2.2).
const STRONG_DATE: u64 = 60;

/// Bytes from the first to the last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Span {
    /// The first.
    pub first: u64,
    /// The last, not before the first.
    pub last: u64,
}

impl Span {
    /// How many they are.
    #[must_use]
    pub const fn size(self) -> u64 {
        self.last.saturating_sub(self.first).saturating_add(1)
    }
}

/// What of a stored answer is a part of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Part {
    /// Where it lies.
    pub span: Span,
    /// How large the whole is, where that is known.
    pub complete: Option<u64>,
}

/// As Content-Range says it (RFC 9110, 14.4).
impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { span: Span { first, last }, complete } = self;
        match complete {
            Some(complete) => write!(f, "bytes {first}-{last}/{complete}"),
            None => write!(f, "bytes {first}-{last}/*"),
        }
    }
}

/// How a request for a range is answered from what is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ranged {
    /// With all of it.
    Whole,
    /// With a part of the stored bytes: where it lies in the representation.
    Part(Span),
    /// Not at all: it begins behind the end.
    Unsatisfiable,
    /// Not from here: it needs bytes that are not stored.
    NotStored,
}

/// Whether a Range field is about bytes.
#[must_use]
pub fn is_bytes(field: &str) -> bool {
    field.split_once('=').is_some_and(|(unit, _)| trim(unit).eq_ignore_ascii_case("bytes"))
}

/// One range of a Range field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    From(u64, Option<u64>),
    Suffix(u64),
}

/// The one range that is asked for; `None` where there are several, or it is
/// malformed: then the field says nothing (RFC 9110, 14.2).
fn asked(field: &str) -> Option<Asked> {
    let (_, ranges) = field.split_once('=')?;
    let mut ranges = list(ranges);
    let (first, last) = ranges.next()?.split_once('-')?;
    if ranges.next().is_some() {
        return None;
    }
    let (first, last) = (trim(first), trim(last));
    match (first.is_empty(), last.is_empty()) {
        (true, _) => Some(Asked::Suffix(number(last)?)),
        (false, true) => Some(Asked::From(number(first)?, None)),
        (false, false) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(Asked::From(first, Some(last)))
        }
    }
}

fn number(text: &str) -> Option<u64> {
    let good = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    good.then(|| text.parse().unwrap_or(u64::MAX))
}

/// How the request is answered from a stored answer. `size` is the number of
/// bytes that are stored, where it is known.
#[must_use]
pub fn ranged(head: &impl Head, entry: &Entry, size: Option<u64>, now: Timestamp) -> Ranged {
    let range = if head.method() == http::Method::GET { head.field(&RANGE) } else { None };
    let asked = range.as_deref().filter(|field| is_bytes(field)).and_then(asked);
    let Some(asked) = asked.filter(|_| if_range_holds(head, entry, now)) else {
        return if entry.part.is_none() { Ranged::Whole } else { Ranged::NotStored };
    };
    match entry.part {
        // A range of anything but a 200 means nothing (14.2).
        None if entry.status != 200 => Ranged::Whole,
        None => match size {
            Some(size) => of_whole(asked, size),
            None => Ranged::Whole,
        },
        Some(part) => of_part(asked, part),
    }
}

fn of_whole(asked: Asked, size: u64) -> Ranged {
    let Some(end) = size.checked_sub(1) else { return Ranged::Unsatisfiable };
    match asked {
        Asked::Suffix(0) => Ranged::Unsatisfiable,
        Asked::Suffix(count) => Ranged::Part(Span { first: size.saturating_sub(count), last: end }),
        Asked::From(first, _) if first > end => Ranged::Unsatisfiable,
        Asked::From(first, last) => {
            Ranged::Part(Span { first, last: last.map_or(end, |last| last.min(end)) })
        }
    }
}

fn of_part(asked: Asked, part: Part) -> Ranged {
    let Part { span, complete } = part;
    let end = complete.and_then(|complete| complete.checked_sub(1));
    let wanted = match (asked, end) {
        (Asked::From(first, Some(last)), end) => Some((first, end.map_or(last, |end| end.min(last)))),
        (Asked::From(first, None), Some(end)) => Some((first, end)),
        (Asked::Suffix(count), Some(end)) if count > 0 => {
            Some((end.saturating_add(1).saturating_sub(count), end))
        }
        _ => None,
    };
    match wanted {
        Some((first, last)) if span.first <= first && first <= last && last <= span.last => {
            Ranged::Part(Span { first, last })
        }
        _ => Ranged::NotStored,
    }
}

/// RFC 9110, 13.1.5.
fn if_range_holds(head: &impl Head, entry: &Entry, now: Timestamp) -> bool {
    let Some(condition) = head.field(&IF_RANGE) else { return true };
    let condition = trim(&condition);
    if condition.contains('"') {
        return entry.field(&ETAG).is_some_and(|tag| strong_match(condition, &tag));
    }
    let read = |name: &HeaderName| entry.field(name).and_then(|text| date::parse(trim(&text), now));
    let is_same = entry.field(&LAST_MODIFIED).is_some_and(|modified| trim(&modified) == condition);
    let since = read(&DATE).unwrap_or_else(|| entry.received.seconds());
    is_same && read(&LAST_MODIFIED).is_some_and(|modified| modified.saturating_add(STRONG_DATE) <= since)
}

/// A Content-Range of bytes (RFC 9110, 14.4); `None` when it is none.
#[must_use]
pub fn content_range(field: &str) -> Option<Part> {
    let (unit, rest) = trim(field).split_once(' ')?;
    let (span, complete) = rest.split_once('/')?;
    let (first, last) = span.split_once('-')?;
    let exact = |text: &str| number(text).filter(|number| *number < u64::MAX);
    let (first, last) = (exact(first)?, exact(last)?);
    let complete = if complete == "*" { None } else { Some(exact(complete)?) };
    let fits = first <= last && complete.is_none_or(|complete| last < complete);
    (unit.eq_ignore_ascii_case("bytes") && fits).then_some(Part { span: Span { first, last }, complete })
}
