//! Whether a stored answer serves a request now (RFC 9111, 4).

use super::entry::Entry;
use super::plan::Plan;
use super::staleness::{self, Stale};
use super::{CacheStage, Forward, vary};
use crate::exchange::Head;
use crate::time::Timestamp;

/// What is to be done with a stored answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// It is served: it is fresh.
    Fresh {
        /// Its age in seconds.
        age: u64,
        /// For how many more seconds it is fresh.
        ttl: u64,
    },
    /// It is served although its time is over.
    Stale {
        /// Its age in seconds.
        age: u64,
        /// For how many seconds it has not been fresh.
        staleness: u64,
        /// Why.
        why: Stale,
    },
    /// The origin is asked whether it still holds, and it stands in where the
    /// origin fails.
    Revalidate(Forward),
    /// It is none for this request.
    Miss(Forward),
}

/// Looks at one entry.
#[must_use]
pub fn judge(plan: &Plan, head: &impl Head, entry: &Entry, stage: &CacheStage, now: Timestamp) -> Lookup {
    if !vary::is_selected(entry, head, stage) {
        return Lookup::Miss(Forward::VaryMiss);
    }
    // 3.5: an answer that was not said to be shared is none for who shows
    // credentials: the origin may have another one.
    if !entry.serves(plan.credentials) {
        return Lookup::Miss(Forward::Bypass);
    }
    // 5.2.1.5 forbids to store alone; but who says so wants what is his own. What
    // is stored is not asked about: nothing that came of it could be kept.
    if plan.no_store {
        return Lookup::Miss(Forward::Request);
    }
    let Some(age) = entry.age(now) else {
        return Lookup::Revalidate(Forward::Stale);
    };
    // 5.2.1.4, 5.2.2.4.
    if plan.validate {
        return Lookup::Revalidate(Forward::Request);
    }
    if entry.validate_always {
        return Lookup::Revalidate(Forward::Stale);
    }
    // 4.2: it is fresh while its lifetime exceeds its age.
    match entry.lifetime.checked_sub(age).filter(|ttl| *ttl > 0) {
        Some(ttl) => fresh(plan, entry, age, ttl),
        None => stale(plan, entry, stage, age),
    }
}

/// 5.2.1.1 and 5.2.1.3. What does not change while it is fresh is not asked
/// for again since somebody reloads (RFC 8246, 2).
fn fresh(plan: &Plan, entry: &Entry, age: u64, ttl: u64) -> Lookup {
    let too_old = plan.max_age.is_some_and(|most| age > most) && !entry.immutable;
    if too_old || plan.min_fresh.is_some_and(|least| ttl < least) {
        Lookup::Revalidate(Forward::Request)
    } else {
        Lookup::Fresh { age, ttl }
    }
}

fn stale(plan: &Plan, entry: &Entry, stage: &CacheStage, age: u64) -> Lookup {
    let staleness = age.saturating_sub(entry.lifetime);
    let too_old = plan.max_age.is_some_and(|most| age > most) || plan.min_fresh.is_some();
    let why = if too_old {
        None
    } else if staleness::max_stale(entry, staleness, plan.max_stale) {
        Some(Stale::MaxStale)
    } else {
        staleness::while_revalidate(entry, staleness, stage.bounds).then_some(Stale::WhileRevalidate)
    };
    match why {
        Some(why) => Lookup::Stale { age, staleness, why },
        None => Lookup::Revalidate(Forward::Stale),
    }
}

/// For how long it has not been fresh, where it may stand in for an origin
/// that fails; zero where it still is fresh, and only the client wanted to
/// know (4.2.4, RFC 5861, 4).
#[must_use]
pub fn stands_in(plan: &Plan, entry: &Entry, stage: &CacheStage, now: Timestamp) -> Option<(u64, u64)> {
    let age = entry.age(now)?;
    let staleness = age.saturating_sub(entry.lifetime);
    // Who asked for something newer does not get the old one.
    let asked = plan.validate || plan.max_age.is_some() || plan.min_fresh.is_some();
    (!asked && staleness::if_error(entry, staleness, stage.bounds)).then_some((age, staleness))
}
