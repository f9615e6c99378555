//! When an answer may be served past its lifetime (RFC 9111, 4.2.4;
//! RFC 5861).

use super::directives::Directives;
use super::entry::Entry;

/// How long past its lifetime a route lets an answer be served, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// While it is being validated.
    pub while_revalidate: u64,
    /// When the origin fails.
    pub if_error: u64,
}

/// What an answer itself allows, in seconds past its lifetime.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowance {
    /// Never anything stale.
    pub never: bool,
    /// While it is being validated (RFC 5861, 3).
    pub while_revalidate: u64,
    /// When the origin fails (RFC 5861, 4); where it says nothing, the route
    /// decides.
    pub if_error: Option<u64>,
}

impl Allowance {
    /// As the directives say.
    #[must_use]
    pub fn of(directives: &Directives) -> Self {
        Self {
            never: directives.forbids_stale(),
            while_revalidate: directives.stale_while_revalidate.unwrap_or_default(),
            if_error: directives.stale_if_error,
        }
    }
}

/// Why something stale is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stale {
    /// The client takes it (`max-stale`).
    MaxStale,
    /// It is validated behind the answer.
    WhileRevalidate,
    /// The origin failed.
    IfError,
}

impl Stale {
    /// The `detail` parameter of Cache-Status.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MaxStale => "max-stale",
            Self::WhileRevalidate => "stale-while-revalidate",
            Self::IfError => "stale-if-error",
        }
    }
}

/// Whether an answer that is `staleness` seconds past its lifetime may be
/// served while it is being validated.
#[must_use]
pub fn while_revalidate(entry: &Entry, staleness: u64, bounds: Bounds) -> bool {
    !entry.stale.never && staleness < entry.stale.while_revalidate.min(bounds.while_revalidate)
}

/// Whether it may be served since the origin failed.
#[must_use]
pub fn if_error(entry: &Entry, staleness: u64, bounds: Bounds) -> bool {
    let allowed = entry.stale.if_error.unwrap_or(bounds.if_error).min(bounds.if_error);
    !entry.stale.never && !entry.validate_always && staleness < allowed
}

/// Whether it may be served since the client takes what is so stale
/// (RFC 9111, 5.2.1.2).
#[must_use]
pub fn max_stale(entry: &Entry, staleness: u64, max_stale: Option<u64>) -> bool {
    !entry.stale.never && max_stale.is_some_and(|most| staleness <= most)
}

/// Statuses by which an origin says that it cannot answer (RFC 5861, 4).
#[must_use]
pub fn is_failure(status: u16) -> bool {
    matches!(status, 500 | 502 | 503 | 504)
}
