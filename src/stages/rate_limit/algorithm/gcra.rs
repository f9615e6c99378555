//! The generic cell rate algorithm (ITU-T I.371, virtual scheduling form).
//!
//! The state is one number, the theoretical arrival time (TAT): when the
//! next request would arrive if all came exactly at the rate. Time is counted
//! in 1/`max` of a nanosecond, in which one request lasts exactly the window,
//! so nothing is ever rounded and the bound is exact: any interval T admits
//! at most `burst` + T × `max` / `window`.

use std::time::Duration;

use super::{Decision, Quota, nanos};
use crate::time::Timestamp;

/// The theoretical arrival time: nanoseconds since the epoch, and a rest in
/// units of 1/`of` nanosecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tat {
    /// Whole nanoseconds since the epoch; a burst may last for centuries, so
    /// 64 bits are too few.
    pub nanos: u128,
    /// The rest, less than `of`.
    pub rest: u32,
    /// The `max` of the quota that wrote it; at least 1.
    pub of: u32,
}

impl Quota {
    /// Nanoseconds in units of 1/max.
    fn scaled(&self, nanos: u128) -> u128 {
        nanos.saturating_mul(self.max.into())
    }

    /// The TAT in units of 1/max; `now` is in these units where there is none.
    fn scaled_tat(&self, tat: Option<Tat>, now: Timestamp) -> u128 {
        let scaled =
            |of: u32, nanos: u128, rest: u32| nanos.saturating_mul(of.into()).saturating_add(rest.into());
        match tat {
            None => self.scaled(now.nanos()),
            Some(tat) if tat.of == self.max => scaled(tat.of, tat.nanos, tat.rest),
            // Written under another `max`: as many requests are owed. One of
            // them lasts exactly the window in units of either.
            Some(tat) => {
                let owed = scaled(tat.of, tat.nanos, tat.rest).saturating_sub(scaled(tat.of, now.nanos(), 0));
                self.scaled(now.nanos()).saturating_add(owed)
            }
        }
    }

    fn tat(&self, scaled: u128) -> Tat {
        let max = u128::from(self.max);
        Tat {
            nanos: scaled.checked_div(max).unwrap_or_default(),
            // Less than `max`, so it fits.
            rest: u32::try_from(scaled.checked_rem(max).unwrap_or_default()).unwrap_or_default(),
            of: self.max,
        }
    }

    /// The latest TAT there can be.
    fn latest(&self, now: u128) -> u128 {
        let most = u128::from(self.burst).saturating_add(self.debt.into());
        now.saturating_add(u128::from(self.window_nanos).saturating_mul(most))
    }

    fn duration(&self, scaled: u128) -> Duration {
        nanos(scaled.div_ceil(self.max.into()))
    }
}

/// As [`super::take`].
#[must_use]
pub fn take(quota: &Quota, state: Option<Tat>, cost: u32, now: Timestamp) -> (Decision, Option<Tat>) {
    let interval = u128::from(quota.window_nanos);
    let tolerance = interval.saturating_mul(quota.burst.into());
    // A TAT further away than a full burst cannot have come from here: the
    // clock went back, or the quota shrank. It counts as a full burst, so a
    // client waits for one recovery at most. Debt is what may come on top.
    let before = quota.scaled_tat(state, now);
    let now = quota.scaled(now.nanos());
    let latest = quota.latest(now);
    let tat = before.clamp(now, latest);
    let spent = tat.saturating_sub(now);
    let wanted = interval.saturating_mul(cost.into());
    if spent.saturating_add(wanted) <= tolerance {
        let tat = tat.saturating_add(wanted);
        let spent = tat.saturating_sub(now);
        let decision = Decision {
            allowed: true,
            remaining: whole(tolerance.saturating_sub(spent), interval),
            retry_after: Duration::ZERO,
            full_after: quota.duration(spent),
        };
        return (decision, Some(quota.tat(tat)));
    }
    let retry_after = match spent.saturating_add(wanted).checked_sub(tolerance) {
        Some(_) if wanted > tolerance => Duration::MAX,
        Some(over) => quota.duration(over),
        None => Duration::ZERO,
    };
    let decision = Decision {
        allowed: false,
        remaining: whole(tolerance.saturating_sub(spent), interval),
        retry_after,
        full_after: quota.duration(spent),
    };
    // From here on it recovers by this quota.
    let is_other = state.is_some_and(|tat| tat.of != quota.max);
    (decision, if before > latest || is_other { Some(quota.tat(tat)) } else { state })
}

/// As [`super::charge`].
#[must_use]
pub fn charge(quota: &Quota, state: Option<Tat>, amount: u32, now: Timestamp) -> Tat {
    let before = quota.scaled_tat(state, now);
    let now = quota.scaled(now.nanos());
    let latest = quota.latest(now);
    let before = before.clamp(now, latest);
    let owed = u128::from(quota.window_nanos).saturating_mul(amount.into());
    quota.tat(before.saturating_add(owed).min(latest))
}

/// At least `amount` is owed at `at`: that much does not come back before.
pub(in super::super) fn at_least(quota: &Quota, state: Option<Tat>, amount: u32, at: Timestamp) -> Tat {
    let before = quota.scaled_tat(state, at);
    let now = quota.scaled(at.nanos());
    let owed = u128::from(quota.window_nanos).saturating_mul(amount.into());
    quota.tat(before.max(now.saturating_add(owed).min(quota.latest(now))))
}

/// Gives back what was taken, in units of which a request has as many as the
/// window has nanoseconds. The caller answers for it that as much is still
/// owed: what has come back already must not come back again.
pub(in super::super) fn refund(quota: &Quota, state: Option<Tat>, units: u128, now: Timestamp) -> Tat {
    quota.tat(quota.scaled_tat(state, now).saturating_sub(units))
}

/// Gives back a charge of `charged` as far as it has not come back: what came
/// back since then may have been this one.
pub(super) fn give_back(quota: &Quota, state: Tat, amount: u32, charged: Timestamp, now: Timestamp) -> Tat {
    let before = quota.scaled_tat(Some(state), now);
    let recovered = quota.scaled(now.since(charged).as_nanos());
    let left = u128::from(quota.window_nanos).saturating_mul(amount.into()).saturating_sub(recovered);
    let now = quota.scaled(now.nanos());
    quota.tat(before.saturating_sub(left.min(before.saturating_sub(now))))
}

/// How much is owed, in the same units.
pub(in super::super) fn owed(quota: &Quota, state: Option<Tat>, now: Timestamp) -> u128 {
    quota.scaled_tat(state, now).saturating_sub(quota.scaled(now.nanos()))
}

/// A time of before a clock went back by `step`, as a time of after.
pub(in super::super) fn earlier(state: Tat, step: std::time::Duration) -> Tat {
    Tat { nanos: state.nanos.saturating_sub(step.as_nanos()), ..state }
}

/// As [`Quota::recovery`].
pub(super) fn recovery(quota: &Quota) -> Duration {
    quota.duration(quota.latest(0))
}

fn whole(amount: u128, interval: u128) -> u32 {
    u32::try_from(amount.checked_div(interval).unwrap_or(0)).unwrap_or(u32::MAX)
}

impl Tat {
    /// Whether a state says nothing any more: the whole burst is available.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.nanos < now.nanos()
    }
}
