//! Windows of the clock: each begins at a whole multiple of its length since
//! the epoch, and admits at most `max`.
//!
//! The simplest promise, and the weakest: around a border twice `max` may pass
//! at once, and any interval T admits at most `max` × (⌈T / `window`⌉ + 1).

use std::time::Duration;

use super::{Decision, Quota, Window, nanos};
use crate::time::Timestamp;

/// As [`super::take`].
#[must_use]
pub fn take(quota: &Quota, state: Option<Window>, cost: u32, now: Timestamp) -> (Decision, Option<Window>) {
    let window = quota.window_at(state, now);
    let to_end = nanos(quota.end(window.index).saturating_sub(now.nanos()));
    let used = window.current.saturating_add(cost);
    if u64::from(window.current).saturating_add(cost.into()) <= quota.max.into() {
        let decision = Decision {
            allowed: true,
            remaining: quota.max.saturating_sub(used),
            retry_after: Duration::ZERO,
            full_after: if used == 0 { Duration::ZERO } else { to_end },
        };
        return (decision, Some(Window { current: used, ..window }));
    }
    let decision = Decision {
        allowed: false,
        remaining: quota.max.saturating_sub(window.current),
        retry_after: if cost > quota.max { Duration::MAX } else { to_end },
        full_after: if window.current == 0 { Duration::ZERO } else { to_end },
    };
    (decision, super::relabelled(state, window))
}
