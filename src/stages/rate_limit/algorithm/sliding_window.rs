//! Windows of the clock, smoothed: what was admitted in the window before
//! counts by the part of it that the last window's length still covers.
//!
//! After e of a window W the estimate is `current` + `previous` × (W − e) / W,
//! and it never passes `max`. It takes what came in the window before as
//! spread evenly; the worst case is that it all came at its end. With c₀, c₁, …
//! admitted in the windows that an interval T touches, and f the part of the
//! last one that it covers: the last admission had cₖ ≤ `max` − cₖ₋₁ × (1 − f),
//! and each window by itself holds at most `max`. Their sum is at most `max` ×
//! (k + f), and T ≥ (k − 1 + f) × W, so any interval T admits at most `max` ×
//! (1 + T / W): twice `max` in the length of a window, and no more than that.

use std::time::Duration;

use super::{Decision, Quota, Window, nanos};
use crate::time::Timestamp;

/// The estimate in units of a request's time in the window (times W), so that
/// nothing is rounded.
fn estimate(quota: &Quota, window: &Window, left: u128) -> u128 {
    let whole = u128::from(window.current).saturating_mul(quota.window_nanos.into());
    whole.saturating_add(u128::from(window.previous).saturating_mul(left))
}

/// As [`super::take`].
#[must_use]
pub fn take(quota: &Quota, state: Option<Window>, cost: u32, now: Timestamp) -> (Decision, Option<Window>) {
    let length = u128::from(quota.window_nanos);
    let window = quota.window_at(state, now);
    let to_end = quota.end(window.index).saturating_sub(now.nanos());
    // A window that has not begun yet has all of the one before behind it.
    let left = to_end.min(length);
    let limit = u128::from(quota.max).saturating_mul(length);
    let wanted = u128::from(cost).saturating_mul(length);
    let before = estimate(quota, &window, left);
    let after = before.saturating_add(wanted);
    if after <= limit {
        let window = Window { current: window.current.saturating_add(cost), ..window };
        let decision = Decision {
            allowed: true,
            remaining: whole(limit.saturating_sub(after), length),
            retry_after: Duration::ZERO,
            full_after: full_after(quota, &window, to_end),
        };
        return (decision, Some(window));
    }
    let decision = Decision {
        allowed: false,
        remaining: whole(limit.saturating_sub(before), length),
        retry_after: retry_after(quota, &window, cost, to_end),
        full_after: full_after(quota, &window, to_end),
    };
    (decision, super::relabelled(state, window))
}

/// How long until `cost` fits, if nothing else is admitted.
fn retry_after(quota: &Quota, window: &Window, cost: u32, to_end: u128) -> Duration {
    let length = u128::from(quota.window_nanos);
    let Some(room) = quota.max.checked_sub(cost) else { return Duration::MAX };
    // What is in a window fits `of` into it once at most this much of the
    // window is left.
    let left_when_fits = |room: u32, of: u32| {
        u128::from(room).saturating_mul(length).checked_div(of.into()).unwrap_or(length).min(length)
    };
    if let Some(room) = room.checked_sub(window.current) {
        return nanos(to_end.saturating_sub(left_when_fits(room, window.previous)));
    }
    // In the next window what is in this one is what came before.
    nanos(to_end.saturating_add(length.saturating_sub(left_when_fits(room, window.current))))
}

fn full_after(quota: &Quota, window: &Window, to_end: u128) -> Duration {
    match (window.current, window.previous) {
        (0, 0) => Duration::ZERO,
        (0, _) => nanos(to_end),
        _ => nanos(to_end.saturating_add(quota.window_nanos.into())),
    }
}

fn whole(amount: u128, length: u128) -> u32 {
    u32::try_from(amount.checked_div(length).unwrap_or(0)).unwrap_or(u32::MAX)
}
