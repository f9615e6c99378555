//! What holds for every algorithm.

use std::time::Duration;

use edgeweir::stages::rate_limit::Algorithm;
use edgeweir::stages::rate_limit::algorithm::{Quota, State, Tat, Window, charge, peek, take};
use edgeweir::time::Timestamp;
use proptest::prelude::*;

use crate::fake::{START, check};

pub const ALGORITHMS: [Algorithm; 3] = [Algorithm::Gcra, Algorithm::SlidingWindow, Algorithm::FixedWindow];

pub fn algorithms() -> impl Strategy<Value = Algorithm> {
    prop::sample::select(&ALGORITHMS[..])
}

/// Windows in whole seconds and others, small bursts.
pub fn quotas() -> impl Strategy<Value = Quota> {
    let window = prop_oneof![1_000_u64..20_000, Just(1_000), Just(7_001), Just(900_000)];
    (algorithms(), 1_u32..12, window, 1_u32..12).prop_map(|(algorithm, max, window, burst)| {
        Quota::of(algorithm, max, Duration::from_millis(window), burst)
    })
}

pub fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(START + millis)
}

pub fn up(span: Duration) -> u64 {
    u64::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap()
}

/// Waits that meet the interesting moments of a quota: none, a request's
/// share of the window, the window's border, and anything.
pub fn waits(count: usize) -> impl Strategy<Value = Vec<(u8, u64)>> {
    prop::collection::vec((0_u8..6, any::<u64>()), 1..count)
}

pub fn wait((kind, random): (u8, u64), quota: &Quota, now: u64) -> u64 {
    let window = u64::try_from(quota.window().as_millis()).unwrap();
    let share = window / u64::from(quota.max());
    match kind {
        0 => 0,
        1 => share.saturating_sub(random % 2),
        2 => share + random % 2,
        3 => (window - (START + now) % window).saturating_sub(random % 2),
        4 => random % (share + 2),
        _ => random % (3 * window),
    }
}

#[test]
fn waiting_as_told_admits_and_no_sooner() {
    check(1_000, (quotas(), waits(60), 1_u32..4), |(quota, waits, cost)| {
        let (mut state, mut now) = (None, 0);
        for step in waits {
            now += wait(step, &quota, now);
            let (decision, next) = take(&quota, state, cost, at(now));
            prop_assert!(decision.remaining <= quota.burst());
            prop_assert!(decision.full_after <= quota.recovery());
            if decision.allowed {
                prop_assert_eq!(decision.retry_after, Duration::ZERO);
            } else {
                prop_assert_eq!(next, state, "a refusal leaves the state as it is");
                if cost <= quota.burst() {
                    let later = up(decision.retry_after);
                    prop_assert!(later > 0);
                    prop_assert!(take(&quota, next, cost, at(now + later)).0.allowed, "retry_after admits");
                    prop_assert!(!take(&quota, next, cost, at(now + later - 1)).0.allowed, "no sooner");
                } else {
                    prop_assert_eq!(decision.retry_after, Duration::MAX);
                }
            }
            let left = decision.remaining;
            prop_assert!(take(&quota, next, left, at(now)).0.allowed, "what remains may pass");
            prop_assert!(!take(&quota, next, left + 1, at(now)).0.allowed, "and no more");
            let whole = at(now + up(decision.full_after));
            prop_assert!(take(&quota, next, quota.burst(), whole).0.allowed, "full_after restores all");
            state = next;
        }
        Ok(())
    });
}

/// Whatever is refused, the others are admitted as if it had never come.
#[test]
fn a_refused_request_costs_nothing() {
    check(500, (quotas(), waits(60), 2_u32..20), |(quota, waits, large)| {
        let (mut one, mut other, mut now) = (None, None, 0);
        for (index, step) in waits.into_iter().enumerate() {
            now += wait(step, &quota, now);
            if index % 2 == 0 {
                let (decision, next) = take(&quota, one, large, at(now));
                if !decision.allowed {
                    one = next;
                    continue;
                }
            }
            let (with, next) = take(&quota, one, 1, at(now));
            one = next;
            let (without, next) = take(&quota, other, 1, at(now));
            other = next;
            prop_assert_eq!(with, without);
        }
        Ok(())
    });
}

/// What a look says is what the next request is told, and nothing moves.
#[test]
fn a_peek_foretells_the_next_take() {
    let steps = prop::collection::vec((0_u64..4_000, any::<bool>()), 1..40);
    check(1_000, (quotas(), steps), |(quota, steps)| {
        let (mut state, mut now) = (None, Timestamp::from_millis(1_000_000));
        for (wait, backwards) in steps {
            let past = Timestamp::from_millis(now.millis().saturating_sub(wait));
            now = if backwards { past } else { now.after(Duration::from_millis(wait)) };
            let seen = peek(&quota, state, 1, now);
            let (decision, next) = take(&quota, state, 1, now);
            prop_assert_eq!(seen.allowed, decision.allowed);
            prop_assert_eq!(seen.retry_after, decision.retry_after);
            prop_assert_eq!(seen.remaining, decision.remaining + u32::from(decision.allowed));
            prop_assert!(seen.full_after <= quota.recovery());
            state = next;
        }
        // Left alone for the whole recovery, a counter says nothing any more.
        let later = peek(&quota, state, 1, now.after(quota.recovery() + Duration::from_millis(1)));
        prop_assert_eq!((later.remaining, later.full_after), (quota.burst(), Duration::ZERO));
        Ok(())
    });
}

/// A client waits for one recovery at most, wherever the clock jumps and
/// whatever `max` becomes.
#[test]
fn jumps_and_changes_cost_one_recovery_at_most() {
    let step = (1_u32..1_000, any::<bool>(), 0_u64..100_000_000, 0_u32..3);
    check(1_000, (quotas(), prop::collection::vec(step, 1..40)), |(first, steps)| {
        let (mut state, mut now) = (None, 50_000_000_u64);
        for (max, back, jump, cost) in steps {
            now = if back { now.saturating_sub(jump) } else { now + jump };
            let quota = Quota::of(first.algorithm(), max, first.window(), first.burst());
            let moment = Timestamp::from_millis(now);
            let (decision, next) = take(&quota, state, cost, moment);
            prop_assert!(decision.full_after <= quota.recovery());
            prop_assert!(
                decision.allowed || decision.retry_after <= quota.recovery() || cost > quota.burst()
            );
            let later = moment.after(quota.recovery() + Duration::from_millis(1));
            prop_assert!(take(&quota, next, quota.burst(), later).0.allowed);
            state = next;
        }
        Ok(())
    });
}

/// What was admitted under one `max` counts under the next.
#[test]
fn a_change_of_max_keeps_what_was_counted() {
    let window = Duration::from_secs(60);
    for algorithm in ALGORITHMS {
        let (five, eight) = (Quota::of(algorithm, 5, window, 5), Quota::of(algorithm, 8, window, 8));
        let mut state = None;
        for _ in 0..5 {
            state = take(&five, state, 1, at(0)).1;
        }
        assert!(!take(&five, state, 1, at(0)).0.allowed, "{algorithm:?}");
        let (more, state) = take(&eight, state, 1, at(0));
        assert!(more.allowed && more.remaining < 8, "{algorithm:?}");
        assert!(!take(&five, state, 1, at(0)).0.allowed, "{algorithm:?}");
        if algorithm != Algorithm::Gcra {
            assert_eq!(more.remaining, 2, "{algorithm:?}");
        }
    }
}

/// Another algorithm's state is a client not seen before.
#[test]
fn the_state_of_another_algorithm_says_nothing() {
    let window = Duration::from_secs(60);
    let of = |algorithm| Quota::of(algorithm, 1, window, 1);
    let gcra = take(&of(Algorithm::Gcra), None, 1, at(0)).1;
    let fixed = take(&of(Algorithm::FixedWindow), None, 1, at(0)).1;
    assert!(take(&of(Algorithm::FixedWindow), gcra, 1, at(0)).0.allowed);
    assert!(take(&of(Algorithm::SlidingWindow), gcra, 1, at(0)).0.allowed);
    assert!(take(&of(Algorithm::Gcra), fixed, 1, at(0)).0.allowed);
}

#[test]
fn debt_is_paid_back_before_anything_passes() {
    for algorithm in ALGORITHMS {
        let plain = Quota::of(algorithm, 10, Duration::from_secs(60), 10);
        let quota = plain.with_debt(10);
        let (_, state) = take(&quota, None, 4, at(0));
        let state = Some(charge(&quota, state, 9, at(0)));
        let (refused, _) = take(&quota, state, 1, at(0));
        assert_eq!((refused.allowed, refused.remaining), (false, 0), "{algorithm:?}");
        if algorithm == Algorithm::Gcra {
            // Three beyond the burst, and one to pass: four of six seconds.
            assert_eq!(refused.retry_after, Duration::from_secs(24));
        }
        // No more than the debt that there may be, however much is charged.
        let most = Some(charge(&quota, state, u32::MAX, at(0)));
        let (told, _) = take(&quota, most, 1, at(0));
        assert!(told.retry_after <= quota.recovery(), "{algorithm:?}");
        assert!(take(&quota, most, 1, at(up(told.retry_after))).0.allowed, "{algorithm:?}");
        // Where there is none it is what is left.
        let emptied = Some(charge(&plain, None, u32::MAX, at(0)));
        assert!(take(&plain, emptied, 10, at(up(plain.recovery()))).0.allowed);
    }
}

/// Anything that could be in a store is survived, and every time and cost.
#[test]
fn no_stored_state_panics() {
    let state =
        prop_oneof![
            Just(None),
            (any::<u128>(), any::<u32>(), any::<u32>())
                .prop_map(|(nanos, rest, of)| Some(State::Gcra(Tat { nanos, rest, of }))),
            (any::<u64>(), any::<u32>(), any::<u32>()).prop_map(|(index, current, previous)| Some(
                State::Window(Window { index, current, previous })
            )),
        ];
    let quota = (algorithms(), any::<u32>(), any::<u64>(), any::<u32>(), any::<u32>());
    check(5_000, (quota, state, any::<u64>(), any::<u32>()), |(quota, state, now, cost)| {
        let (algorithm, max, window, burst, debt) = quota;
        let quota = Quota::of(algorithm, max, Duration::from_nanos(window), burst).with_debt(debt);
        for now in [now, 0, u64::MAX] {
            let now = Timestamp::from_millis(now);
            let (decision, next) = take(&quota, state, cost, now);
            prop_assert!(decision.remaining <= quota.burst());
            let _ = take(&quota, Some(charge(&quota, next, cost, now)), cost, now);
            let _ = peek(&quota, state, 1, now);
        }
        Ok(())
    });
}
