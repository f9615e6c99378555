//! The generic cell rate algorithm (ITU-T I.371, virtual scheduling form).
//!
//! The state is one number, the theoretical arrival time (TAT): when the
//! next request would arrive if all came exactly at the rate. Time is counted
//! in 1/`max` of a nanosecond, in which one request lasts exactly the window,
//! so nothing is ever rounded and the bound is exact: any interval T admits
//! at most `burst` + T × `max` / `window`.

use std::time::Duration;

use crate::time::Timestamp;

/// How much is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quota {
    max: u32,
    window_nanos: u64,
    burst: u32,
}

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

/// The answer for one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether it may pass.
    pub allowed: bool,
    /// How many more may pass now.
    pub remaining: u32,
    /// Zero when allowed; else how long until this cost would be.
    /// [`Duration::MAX`] when it never would.
    pub retry_after: Duration,
    /// How long until the whole burst is available again.
    pub full_after: Duration,
}

impl Quota {
    /// `max` requests per `window`, `burst` at once. Zeros count as 1.
    #[must_use]
    pub fn new(max: u32, window: Duration, burst: u32) -> Self {
        Self {
            max: max.max(1),
            window_nanos: u64::try_from(window.as_nanos()).unwrap_or(u64::MAX).max(1),
            burst: burst.max(1),
        }
    }

    /// Requests per window.
    #[must_use]
    pub const fn max(&self) -> u32 {
        self.max
    }

    /// The window.
    #[must_use]
    pub const fn window(&self) -> Duration {
        Duration::from_nanos(self.window_nanos)
    }

    /// Requests at once.
    #[must_use]
    pub const fn burst(&self) -> u32 {
        self.burst
    }

    /// The longest time after which a counter that is left alone is whole
    /// again, whatever it says.
    #[must_use]
    pub fn recovery(&self) -> Duration {
        self.duration(u128::from(self.window_nanos).saturating_mul(self.burst.into()))
    }

    /// Nanoseconds in units of 1/max.
    fn scaled(&self, nanos: u128) -> u128 {
        nanos.saturating_mul(self.max.into())
    }

    fn scaled_tat(&self, tat: Tat) -> u128 {
        let rest = if tat.of == self.max {
            u128::from(tat.rest)
        } else {
            // Written under another `max`: rounded up, so never in the
            // client's favour, and by less than a nanosecond.
            (u128::from(tat.rest).saturating_mul(self.max.into())).div_ceil(tat.of.max(1).into())
        };
        self.scaled(tat.nanos).saturating_add(rest)
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

    fn duration(&self, scaled: u128) -> Duration {
        let nanos = scaled.div_ceil(self.max.into());
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// Decides one request of that cost. `state` is what the last call gave;
/// `None` stands for a client not seen before.
///
/// A refusal leaves the state as it is, unless it could not have come from this
/// quota and clock.
#[must_use]
pub fn take(quota: &Quota, state: Option<Tat>, cost: u32, now: Timestamp) -> (Decision, Option<Tat>) {
    let interval = u128::from(quota.window_nanos);
    let tolerance = interval.saturating_mul(quota.burst.into());
    let now = quota.scaled(now.nanos());
    // A TAT further away than a full burst cannot have come from here: the
    // clock went back, or the quota shrank. It counts as a full burst, so a
    // client waits for one recovery at most.
    let before = state.map_or(now, |tat| quota.scaled_tat(tat));
    let latest = now.saturating_add(tolerance);
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
    (decision, if before > latest { Some(quota.tat(latest)) } else { state })
}

/// What [`take`] would say to one request, without taking anything: whether it
/// would be admitted and when again, and what remains before it.
#[must_use]
pub fn peek(quota: &Quota, state: Option<Tat>, now: Timestamp) -> Decision {
    let (before, _) = take(quota, state, 0, now);
    let (next, _) = take(quota, state, 1, now);
    Decision { allowed: next.allowed, retry_after: next.retry_after, ..before }
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
