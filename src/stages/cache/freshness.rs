//! For how long an answer is fresh (RFC 9111, 4.2.1, 4.2.2).

use http::header::{EXPIRES, HeaderName, LAST_MODIFIED};

use super::date;
use super::directives::{Directives, LONGEST};
use super::storability::is_heuristically_cacheable;
use crate::exchange::{join_lines, trim};
use crate::time::Timestamp;

/// What a route assumes of answers that say nothing (4.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heuristic {
    /// Percent of the time since Last-Modified; 0 assumes nothing.
    pub percent: u8,
    /// The longest lifetime that is assumed, in seconds.
    pub limit: u64,
}

/// A freshness lifetime in seconds, at most [`LONGEST`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// The origin said so.
    Explicit(u64),
    /// It is assumed.
    Heuristic(u64),
    /// Nothing says anything.
    Unknown,
}

impl Lifetime {
    /// Seconds; an unknown lifetime is none.
    #[must_use]
    pub const fn seconds(self) -> u64 {
        match self {
            Self::Explicit(seconds) | Self::Heuristic(seconds) => seconds,
            Self::Unknown => 0,
        }
    }
}

/// The lifetime of an answer. `date` is its Date field in seconds, where it is
/// a date. `targeted` is whether the directives come from a targeted field,
/// which puts Expires aside too (RFC 9213, 2.2).
#[must_use]
pub fn lifetime(
    status: u16,
    fields: &[(HeaderName, String)],
    directives: &Directives,
    targeted: bool,
    date: Option<u64>,
    received: Timestamp,
    heuristic: Heuristic,
) -> Lifetime {
    if let Some(seconds) = directives.s_maxage.or(directives.max_age) {
        return Lifetime::Explicit(seconds);
    }
    let since = date.unwrap_or_else(|| received.seconds());
    if !targeted && let Some(expires) = join_lines(fields, &EXPIRES) {
        // 5.3: an invalid date, two of them above all, has expired.
        let expires = date::parse_loosely(trim(&expires), received).unwrap_or_default();
        return Lifetime::Explicit(expires.saturating_sub(since).min(LONGEST));
    }
    // A targeted field that says nothing about time leaves it to us, too.
    if !is_heuristically_cacheable(status, directives.public) {
        return Lifetime::Unknown;
    }
    join_lines(fields, &LAST_MODIFIED)
        .and_then(|modified| date::parse_loosely(trim(&modified), received))
        .and_then(|modified| since.checked_sub(modified))
        .map(|unchanged| unchanged.saturating_mul(heuristic.percent.into()).wrapping_div(100))
        .map(|seconds| seconds.min(heuristic.limit))
        .filter(|seconds| *seconds > 0)
        .map_or(Lifetime::Unknown, Lifetime::Heuristic)
}
