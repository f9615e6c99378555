//! Fixed and sliding windows, against oracles that remember every admission.

use std::time::Duration;

use edgeweir::stages::rate_limit::Algorithm;
use edgeweir::stages::rate_limit::algorithm::{Quota, take};
use proptest::prelude::*;

use super::algorithm::{at, quotas, wait, waits};
use crate::fake::{START, check};

/// Admissions: when, and what they cost.
type Log = Vec<(u64, u32)>;

fn window_of(quota: &Quota) -> u64 {
    u64::try_from(quota.window().as_millis()).unwrap()
}

fn index(quota: &Quota, now: u64) -> u64 {
    (START + now) / window_of(quota)
}

fn in_window(log: &Log, quota: &Quota, window: u64) -> u64 {
    log.iter().filter(|(when, _)| index(quota, *when) == window).map(|(_, cost)| u64::from(*cost)).sum()
}

/// Whether a request may pass, counted from scratch.
fn oracle(log: &Log, quota: &Quota, cost: u32, now: u64) -> bool {
    let (max, length) = (u64::from(quota.max()), window_of(quota));
    let here = index(quota, now);
    let current = in_window(log, quota, here) + u64::from(cost);
    match quota.algorithm() {
        Algorithm::FixedWindow => current <= max,
        Algorithm::SlidingWindow => {
            let left = length - (START + now) % length;
            current * length + in_window(log, quota, here - 1) * left <= max * length
        }
        // Its oracle is in its own file.
        Algorithm::Gcra => false,
    }
}

fn with_windows() -> impl Strategy<Value = Quota> {
    (quotas(), any::<bool>()).prop_map(|(quota, sliding)| {
        let algorithm = if sliding { Algorithm::SlidingWindow } else { Algorithm::FixedWindow };
        Quota::of(algorithm, quota.max(), quota.window(), 1)
    })
}

#[test]
fn windows_admit_exactly_what_the_oracle_does() {
    let steps = prop::collection::vec(((0_u8..6, any::<u64>()), 0_u32..4), 1..120);
    check(1_000, (with_windows(), steps), |(quota, steps)| {
        let (mut state, mut now, mut log) = (None, 0, Log::new());
        for (step, cost) in steps {
            now += wait(step, &quota, now);
            let (decision, next) = take(&quota, state, cost, at(now));
            prop_assert_eq!(decision.allowed, oracle(&log, &quota, cost, now));
            if decision.allowed {
                log.push((now, cost));
            }
            state = next;
        }
        Ok(())
    });
}

/// The promises, over every interval between two admissions.
#[test]
fn any_interval_admits_at_most_what_is_promised() {
    check(500, (with_windows(), waits(150)), |(quota, waits)| {
        let (mut state, mut now, mut log) = (None, 0, Vec::<u64>::new());
        for step in waits {
            now += wait(step, &quota, now);
            let (decision, next) = take(&quota, state, 1, at(now));
            if decision.allowed {
                log.push(now);
            }
            state = next;
        }
        let (max, length) = (u64::from(quota.max()), window_of(&quota));
        for (first, from) in log.iter().enumerate() {
            for (last, to) in log.iter().enumerate().skip(first) {
                let (count, span) = ((last - first + 1) as u64, to - from);
                if quota.algorithm() == Algorithm::SlidingWindow {
                    prop_assert!(count * length <= max * (length + span), "{} in {}", count, span);
                } else {
                    prop_assert!(count <= max * (span.div_ceil(length) + 1), "{} in {}", count, span);
                }
            }
        }
        Ok(())
    });
}

/// The worst case of a sliding window is reached, so the promise is not
/// stated weaker than it is.
#[test]
fn the_worst_case_of_a_sliding_window_is_twice_max_less_a_little() {
    let quota = Quota::of(Algorithm::SlidingWindow, 100, Duration::from_secs(100), 1);
    let begin = 100_000 - START % 100_000;
    let (mut state, mut admitted) = (None, Vec::new());
    for now in [begin + 99_999, begin + 199_998] {
        for _ in 0..100 {
            let (decision, next) = take(&quota, state, 1, at(now));
            if decision.allowed {
                admitted.push(now);
            }
            state = next;
        }
    }
    assert_eq!(admitted.len(), 199);
    assert!(admitted.last().unwrap() - admitted.first().unwrap() < 100_000);
}

/// A clock that goes back over a border does not open the window again.
#[test]
fn a_step_back_over_a_border_admits_no_more() {
    check(500, (with_windows(), prop::collection::vec((0_u8..3, any::<u64>()), 1..200)), |(quota, steps)| {
        let length = window_of(&quota);
        let (mut state, mut clock, mut log) = (None, 10 * length, Log::new());
        // The latest time that the state can know of.
        let mut highest = clock;
        for (kind, random) in steps {
            // Never further back than less than a window from where it was.
            clock = match kind {
                0 => clock,
                1 => (clock - random % length).max((highest + 1).saturating_sub(length)),
                _ => clock + random % length,
            };
            let (decision, next) = take(&quota, state, 1, at(clock));
            if decision.allowed {
                highest = if state.is_none() { clock } else { highest.max(clock) };
                log.push((highest, 1));
            }
            state = next;
        }
        for window in index(&quota, 0)..=index(&quota, highest) {
            prop_assert!(in_window(&log, &quota, window) <= u64::from(quota.max()));
        }
        Ok(())
    });
}
