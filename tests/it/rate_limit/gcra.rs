//! The bound is exact: any interval T admits at most burst + T × max / window.

use std::time::Duration;

use edgeweir::stages::rate_limit::algorithm::gcra::take;
use edgeweir::stages::rate_limit::algorithm::{Decision, Quota, Tat};
use edgeweir::time::Timestamp;
use proptest::prelude::*;

use crate::fake::{START, check};

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(START + millis)
}

/// What would be refused forever in a counter of 64-bit nanoseconds is not
/// generated here, see `a_burst_of_centuries_still_ends`.
fn quotas() -> impl Strategy<Value = (u32, u64, u32)> {
    let max = prop_oneof![1_u32..20, 1_u32..=1_000_000_000];
    let window = prop_oneof![1_000_u64..20_000, 1_000_u64..=31 * 86_400_000, Just(1_000), Just(7_001)];
    (max, window, 1_u32..12)
}

fn quota((max, window, burst): (u32, u64, u32)) -> Quota {
    Quota::new(max, Duration::from_millis(window), burst)
}

/// Waits that meet the interesting moments: none, a bit less or more than one
/// emission interval, and anything.
fn waits(count: usize) -> impl Strategy<Value = Vec<(u8, u64)>> {
    prop::collection::vec((0_u8..5, any::<u64>()), 1..count)
}

fn wait((kind, random): (u8, u64), (max, window, _): (u32, u64, u32)) -> u64 {
    let interval = window / u64::from(max);
    match kind {
        0 => 0,
        1 => interval.saturating_sub(random % 2),
        2 => interval + random % 2,
        3 => random % (3 * interval + 2),
        _ => random % (3 * window),
    }
}

#[test]
fn a_burst_passes_at_once_and_then_one_an_interval() {
    let five = quota((5, 10_000, 5));
    let mut state = None;
    for left in (0..5).rev() {
        let (decision, next) = take(&five, state, 1, at(0));
        assert_eq!(
            (decision.allowed, decision.remaining, decision.retry_after),
            (true, left, Duration::ZERO)
        );
        assert_eq!(decision.full_after, Duration::from_secs(2) * (5 - left));
        state = next;
    }
    let (refused, after) = take(&five, state, 1, at(0));
    assert_eq!((refused.allowed, refused.remaining), (false, 0));
    assert_eq!((refused.retry_after, refused.full_after), (Duration::from_secs(2), Duration::from_secs(10)));
    assert_eq!(after, state);
    assert!(!take(&five, state, 1, at(1_999)).0.allowed);
    assert!(take(&five, state, 1, at(2_000)).0.allowed);
    assert_eq!(take(&five, state, 1, at(10_000)).0.remaining, 4);
    assert_eq!(take(&five, state, 1, at(9_999)).0.remaining, 3);
}

#[test]
fn a_cost_beyond_the_burst_never_passes() {
    let (decision, state) = take(&quota((5, 10_000, 5)), None, 6, at(0));
    assert_eq!((decision.allowed, decision.retry_after, state), (false, Duration::MAX, None));
    assert_eq!(decision.remaining, 5);
    let (free, _) = take(&quota((5, 10_000, 5)), None, 0, at(0));
    assert!(free.allowed && free.remaining == 5);
}

#[test]
fn zeros_count_as_one() {
    let least = Quota::new(0, Duration::ZERO, 0);
    assert_eq!((least.max(), least.window(), least.burst()), (1, Duration::from_nanos(1), 1));
    assert!(take(&least, None, 1, at(0)).0.allowed);
}

#[test]
fn any_interval_admits_at_most_burst_and_rate() {
    check(512, (quotas(), waits(120)), |(numbers, waits)| {
        let (max, window, burst) = numbers;
        let quota = quota(numbers);
        let (mut state, mut now, mut admitted) = (None, 0, Vec::new());
        for step in waits {
            now += wait(step, numbers);
            let (decision, next) = take(&quota, state, 1, at(now));
            if decision.allowed {
                admitted.push(now);
            } else {
                prop_assert_eq!(next, state, "a refusal leaves the state as it is");
            }
            prop_assert!(decision.remaining <= burst);
            prop_assert!(decision.full_after >= decision.retry_after);
            state = next;
        }
        for (first, from) in admitted.iter().enumerate() {
            for (last, to) in admitted.iter().enumerate().skip(first) {
                let count = (last - first + 1) as u128 * u128::from(window);
                let bound = u128::from(burst) * u128::from(window) + u128::from(to - from) * u128::from(max);
                prop_assert!(count <= bound, "{} from {} to {}", last - first + 1, from, to);
            }
        }
        Ok(())
    });
}

/// The limit is no tighter than it says: whoever keeps to the rate is never
/// refused, and a refusal is right to the millisecond.
#[test]
fn whoever_keeps_to_the_rate_is_never_refused() {
    check(512, (quotas(), 1_usize..60), |(numbers, count)| {
        let (max, window, _) = numbers;
        let quota = quota(numbers);
        let interval = window.div_ceil(u64::from(max));
        let mut state = None;
        for index in 0..count as u64 {
            let (decision, next) = take(&quota, state, 1, at(index * interval));
            prop_assert!(decision.allowed);
            state = next;
        }
        Ok(())
    });
}

#[test]
fn waiting_as_told_admits_and_restores() {
    check(512, (quotas(), waits(60)), |(numbers, waits)| {
        let quota = quota(numbers);
        let (mut state, mut now) = (None, 0);
        let up = |span: Duration| u64::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap();
        for step in waits {
            now += wait(step, numbers);
            let (decision, next) = take(&quota, state, 1, at(now));
            let whole = take(&quota, next, quota.burst(), at(now + up(decision.full_after))).0;
            prop_assert!(whole.allowed, "full_after restores the burst");
            if !decision.allowed {
                let later = up(decision.retry_after);
                prop_assert!(take(&quota, next, 1, at(now + later)).0.allowed, "retry_after admits");
                prop_assert!(
                    later == 0 || !take(&quota, next, 1, at(now + later - 1)).0.allowed,
                    "and no sooner"
                );
            }
            let left = decision.remaining;
            prop_assert!(left == 0 || take(&quota, next, left, at(now)).0.allowed, "what remains may pass");
            prop_assert!(!take(&quota, next, left + 1, at(now)).0.allowed, "and no more");
            state = next;
        }
        Ok(())
    });
}

/// Clocks that jump and quotas that change never panic, and a client waits
/// for one recovery of the quota that judges at most.
#[test]
fn jumps_and_changes_cost_one_recovery_at_most() {
    let step = (quotas(), any::<bool>(), 0_u64..100_000_000, 0_u32..3);
    check(512, prop::collection::vec(step, 1..40), |steps| {
        let (mut state, mut now) = (None, 50_000_000_u64);
        for (numbers, back, jump, cost) in steps {
            now = if back { now.saturating_sub(jump) } else { now + jump };
            let quota = quota(numbers);
            let moment = Timestamp::from_millis(now);
            let (decision, next) = take(&quota, state, cost, moment);
            let recovery = quota.window() * quota.burst() / quota.max() + Duration::from_nanos(1);
            prop_assert!(decision.full_after <= recovery, "{:?} > {:?}", decision.full_after, recovery);
            prop_assert!(
                cost > quota.burst()
                    || take(&quota, next, cost, moment.after(recovery + Duration::from_millis(1))).0.allowed
            );
            state = next;
        }
        Ok(())
    });
}

/// A burst that the policy makes smaller leaves a client with the state of
/// the larger one: it waits as long as it is told, and no longer.
#[test]
fn a_quota_that_shrinks_costs_one_recovery() {
    let (large, small) = (quota((1, 60_000, 1_000)), quota((1, 60_000, 1)));
    let (_, state) = take(&large, None, 1_000, at(0));
    let (refused, state) = take(&small, state, 1, at(0));
    assert_eq!((refused.allowed, refused.retry_after), (false, Duration::from_secs(60)));
    assert!(take(&small, state, 1, at(60_000)).0.allowed);
}

#[test]
fn a_change_of_quota_leaves_each_side_its_own_bound() {
    check(512, (quotas(), quotas(), waits(80)), |(one, other, waits)| {
        let (mut state, mut now, mut admitted) = (None, 0, Vec::new());
        for (index, step) in waits.iter().enumerate() {
            // The quota changes once, half-way.
            let numbers = if index * 2 < waits.len() { one } else { other };
            now += wait(*step, numbers);
            let (decision, next) = take(&quota(numbers), state, 1, at(now));
            if decision.allowed {
                admitted.push((now, index * 2 < waits.len()));
            }
            state = next;
        }
        for half in [true, false] {
            let (max, window, burst) = if half { one } else { other };
            let times: Vec<u64> =
                admitted.iter().filter(|(_, first)| *first == half).map(|(at, _)| *at).collect();
            for (first, from) in times.iter().enumerate() {
                for (last, to) in times.iter().enumerate().skip(first) {
                    let count = (last - first + 1) as u128 * u128::from(window);
                    let bound =
                        u128::from(burst) * u128::from(window) + u128::from(to - from) * u128::from(max);
                    prop_assert!(count <= bound);
                }
            }
        }
        Ok(())
    });
}

/// A change of `max` keeps the number of requests that are owed, exactly.
#[test]
fn a_change_of_quota_keeps_what_is_owed() {
    check(1_000, (quotas(), 1_u32..1_000_000, waits(20)), |(one, max, waits)| {
        let (mut state, mut now) = (None, 0);
        for step in waits {
            now += wait(step, one);
            state = take(&quota(one), state, 1, at(now)).1;
        }
        let remaining = |max: u32, state| {
            let quota = Quota::new(max, Duration::from_millis(one.1), one.2);
            take(&quota, state, 0, at(now))
        };
        let (before, _) = remaining(one.0, state);
        let (after, _) = remaining(max, state);
        prop_assert_eq!(before.remaining, after.remaining);
        Ok(())
    });
}

#[test]
fn a_state_says_nothing_once_the_burst_is_whole() {
    check(512, (quotas(), waits(30)), |(numbers, waits)| {
        let quota = quota(numbers);
        let (mut state, mut now) = (None, 0);
        for step in waits {
            now += wait(step, numbers);
            state = take(&quota, state, 1, at(now)).1;
        }
        let later = at(now + wait((3, now), numbers));
        let unseen: Decision = take(&quota, None, 1, later).0;
        if state.is_some_and(|state| state.is_expired(later)) {
            prop_assert_eq!(take(&quota, state, 1, later).0, unseen);
        }
        Ok(())
    });
}

/// Anything that could be in a store is survived.
#[test]
fn no_stored_state_panics() {
    let state = (any::<u64>(), any::<u32>(), any::<u32>());
    check(2_000, (quotas(), state, any::<u64>(), any::<u32>()), |(numbers, (nanos, rest, of), now, cost)| {
        let quota = quota(numbers);
        let (decision, _) =
            take(&quota, Some(Tat { nanos: nanos.into(), rest, of }), cost, Timestamp::from_millis(now));
        prop_assert!(decision.remaining <= quota.burst());
        Ok(())
    });
}

/// 2,000,000 requests at one a day last for 5,475 years, more than 64 bits of
/// nanoseconds since 1970 hold: the limit must not vanish on the way.
#[test]
fn a_burst_of_centuries_still_ends() {
    let quota = Quota::new(1, Duration::from_secs(86_400), 2_000_000);
    let (mut state, mut admitted) = (None, 0);
    while admitted <= 2_000_000 {
        let (decision, next) = take(&quota, state, 10_000, at(0));
        if !decision.allowed {
            return;
        }
        (state, admitted) = (next, admitted + 10_000);
    }
    panic!("{admitted} requests at once");
}

/// The oracle: a request passes if no interval that ends with it has more than
/// its burst and its rate.
#[test]
fn it_admits_exactly_what_no_interval_forbids() {
    let steps = prop::collection::vec(((0_u8..5, any::<u64>()), 0_u32..4), 1..60);
    check(512, (quotas(), steps), |(numbers, steps)| {
        let (max, window, burst) = numbers;
        let (mut state, mut now, mut admitted) = (None, 0_u64, Vec::<(u64, u32)>::new());
        for (step, cost) in steps {
            now += wait(step, numbers);
            let (decision, next) = take(&quota(numbers), state, cost, at(now));
            let mut sum = u128::from(cost);
            let mut fits = sum <= u128::from(burst);
            for (from, cost) in admitted.iter().rev() {
                sum += u128::from(*cost);
                let bound = u128::from(burst) * u128::from(window) + u128::from(now - from) * u128::from(max);
                fits &= sum * u128::from(window) <= bound;
            }
            prop_assert_eq!(decision.allowed, fits);
            if fits {
                admitted.push((now, cost));
            }
            state = next;
        }
        Ok(())
    });
}
