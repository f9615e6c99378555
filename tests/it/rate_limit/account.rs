//! Counters with holds, one operation at a time.

use std::time::Duration;

use edgeweir::stages::rate_limit::Algorithm;
use edgeweir::stages::rate_limit::account::{Account, HOLDS_LIMIT, LEASE, MARGIN, Wanted};
use edgeweir::stages::rate_limit::algorithm::Quota;
use proptest::prelude::*;

use super::algorithm::{ALGORITHMS, algorithms, at, quotas, wait};
use crate::fake::{START, check};

const SECOND: Duration = Duration::from_secs(1);

fn minute(algorithm: Algorithm, max: u32) -> Quota {
    Quota::of(algorithm, max, Duration::from_secs(60), max)
}

fn wanted(id: u64, holder: u64, amount: u32) -> Wanted {
    Wanted { id, holder, amount, ttl: LEASE }
}

/// A time within the first half of a minute of the clock.
fn early() -> u64 {
    60_000 - START % 60_000 + 1_000
}

#[test]
fn a_block_is_half_of_what_each_holder_could_have() {
    for algorithm in ALGORITHMS {
        let (quota, now, mut account) = (minute(algorithm, 101), at(early()), Account::default());
        let (decision, lent) = account.lease(&quota, 1, &wanted(1, 1, 1_000), now);
        assert_eq!((decision.remaining, lent.unwrap().amount), (100, 50));
        let (_, lent) = account.lease(&quota, 1, &wanted(2, 2, 1_000), now);
        assert_eq!(lent.unwrap().amount, 12);
        // Fewer where fewer are wanted, none where none are.
        assert_eq!(account.lease(&quota, 1, &wanted(3, 2, 2), now).1.unwrap().amount, 2);
        assert_eq!(account.lease(&quota, 1, &wanted(4, 2, 0), now).1, None);
        assert_eq!(account.lent(), 64);
        // Near the limit none: each request is a call.
        while account.lease(&quota, 1, &wanted(0, 3, 0), now).0.remaining >= 6 {}
        assert_eq!(account.lease(&quota, 1, &wanted(5, 3, 100), now).1, None);
    }
}

#[test]
fn what_is_unspent_comes_back_once_and_only_in_time() {
    for algorithm in ALGORITHMS {
        let (quota, now) = (minute(algorithm, 101), early());
        let mut account = Account::default();
        let (_, lent) = account.lease(&quota, 1, &wanted(7, 1, 1_000), at(now));
        assert_eq!(lent.unwrap().ttl, LEASE);
        let mut late = account.clone();
        assert_eq!(account.settle(&quota, 8, 30, at(now)), 0, "another id");
        assert_eq!(account.settle(&quota, 7, 30, at(now)), 30);
        assert_eq!(account.settle(&quota, 7, 30, at(now)), 0, "a second time");
        assert_eq!(account.peek(&quota, 1, at(now)).remaining, 80);
        let end = now + 6_000;
        assert_eq!(late.clone().settle(&quota, 7, 30, at(end - 1)), 30);
        assert_eq!(late.settle(&quota, 7, 30, at(end)), 0, "after its end");
        assert!(late.holds().is_empty());
        // More than was lent is not honoured.
        let mut greedy = Account::default();
        let _ = greedy.lease(&quota, 1, &wanted(7, 1, 10), at(now));
        assert_eq!(greedy.settle(&quota, 7, u32::MAX, at(now)), 10);
        assert_eq!(greedy.peek(&quota, 1, at(now)).remaining, 100);
    }
}

/// While a block is lent, GCRA refills what is not.
#[test]
fn a_refill_stops_at_what_is_lent() {
    // A token each 100 ms.
    let quota = Quota::new(10, SECOND, 101);
    let mut account = Account::default();
    let _ = account.lease(&quota, 1, &wanted(1, 1, 1_000), at(0));
    assert_eq!(account.peek(&quota, 1, at(0)).remaining, 50);
    assert_eq!(account.peek(&quota, 1, at(100)).remaining, 51);
    assert_eq!(account.peek(&quota, 1, at(5_999)).remaining, 51);
    // It ends at 6 s, and what was lent begins to come back.
    assert_eq!(account.peek(&quota, 1, at(6_100)).remaining, 52);
    assert_eq!(account.ends(&quota), at(6_000 + 5_100 + 1));
}

#[test]
fn no_lease_outlives_its_window() {
    for algorithm in [Algorithm::FixedWindow, Algorithm::SlidingWindow] {
        let quota = minute(algorithm, 101);
        let end = 60_000 - START % 60_000;
        for before in [100, 1_000, 1_100, 1_300, 4_000, 6_000, 20_000] {
            let mut account = Account::default();
            let (decision, lent) = account.lease(&quota, 1, &wanted(1, 1, 1_000), at(end - before));
            assert!(decision.allowed);
            match lent {
                Some(lent) => {
                    assert!(lent.ttl + MARGIN <= Duration::from_millis(before) && before >= 1_200);
                    assert_eq!(account.holds()[0].ends, at(end - before).after(lent.ttl).after(MARGIN));
                }
                None => assert!(before < 1_200),
            }
        }
    }
}

#[test]
fn a_reservation_that_is_released_never_was() {
    for algorithm in ALGORITHMS {
        let (quota, now, mut account) = (minute(algorithm, 10), early(), Account::default());
        assert!(account.take(&quota, 4, at(now)).allowed);
        let before = account.peek(&quota, 1, at(now + 10));
        assert!(account.reserve(&quota, 1, 6, SECOND, at(now)).allowed);
        assert!(!account.reserve(&quota, 2, 1, SECOND, at(now)).allowed);
        assert_eq!(account.settle(&quota, 1, 6, at(now + 10)), 6);
        assert_eq!(account.settle(&quota, 1, 6, at(now + 10)), 0);
        assert_eq!(account.settle(&quota, 2, 1, at(now + 10)), 0, "what was refused was never held");
        assert_eq!(account.peek(&quota, 1, at(now + 10)), before);
    }
}

/// What was reserved recovers like anything that was spent; then there is
/// nothing to take back.
#[test]
fn what_has_recovered_is_not_released() {
    let quota = Quota::new(1, SECOND, 1);
    let mut account = Account::default();
    assert!(account.reserve(&quota, 1, 1, LEASE, at(0)).allowed);
    assert!(account.take(&quota, 1, at(1_000)).allowed, "a reservation holds nothing up");
    assert_eq!(account.settle(&quota, 1, 1, at(1_000)), 0);
    assert!(!account.take(&quota, 1, at(1_500)).allowed);
}

/// What was not released keeps to the bound, in whatever order reservations
/// are made, released twice, late, or never.
#[test]
fn what_is_not_released_keeps_to_the_bound() {
    let step = ((0_u8..6, any::<u64>()), 1_u32..4, 0_u8..4, any::<u64>());
    check(1_000, (quotas(), prop::collection::vec(step, 1..80)), |(quota, steps)| {
        let (mut account, mut now, mut made) = (Account::default(), 0, Vec::<(u64, u32)>::new());
        for (id, (step, cost, kind, random)) in steps.into_iter().enumerate() {
            now += wait(step, &quota, now);
            if kind < 2 {
                let ttl = Duration::from_millis(random % 10_000);
                let allowed = account.reserve(&quota, id as u64, cost, ttl, at(now)).allowed;
                made.push((now, if allowed { cost } else { 0 }));
            } else {
                made.push((now, 0));
                let id = random % (id as u64 + 1);
                let honoured = account.settle(&quota, id, cost, at(now));
                let (_, amount) = &mut made[usize::try_from(id).unwrap()];
                prop_assert!(honoured <= *amount);
                *amount -= honoured;
            }
        }
        let window = u64::try_from(quota.window().as_millis()).unwrap();
        let (max, burst) = (u64::from(quota.max()), u64::from(quota.burst()));
        for (first, (from, _)) in made.iter().enumerate() {
            let mut sum = 0;
            for (to, amount) in made.iter().skip(first) {
                sum += u64::from(*amount);
                let span = to - from;
                let bound = match quota.algorithm() {
                    Algorithm::Gcra | Algorithm::SlidingWindow => burst * window + span * max,
                    Algorithm::FixedWindow => max * (span.div_ceil(window) + 1) * window,
                };
                prop_assert!(sum * window <= bound, "{} in {}", sum, span);
            }
        }
        Ok(())
    });
}

#[test]
fn holds_are_bounded() {
    let (quota, mut account) = (minute(Algorithm::Gcra, 1_000_000), Account::default());
    for id in 0..200 {
        assert!(account.reserve(&quota, id, 1, LEASE, at(0)).allowed);
        assert!(account.lease(&quota, 1, &wanted(1_000 + id, id, 1), at(0)).0.allowed);
    }
    assert_eq!(account.holds().len(), HOLDS_LIMIT);
}

/// Reservations that nobody takes back must not keep later ones from being
/// taken back, nor leases from being granted: the oldest makes room.
#[test]
fn a_full_list_of_reservations_makes_room() {
    for algorithm in ALGORITHMS {
        let (quota, now, mut account) = (minute(algorithm, 1_000), early(), Account::default());
        for id in 1..=100 {
            assert!(account.reserve(&quota, id, 1, LEASE, at(now)).allowed);
        }
        assert_eq!(account.settle(&quota, 100, 1, at(now)), 1, "{algorithm:?}");
        assert_eq!(account.settle(&quota, 1, 1, at(now)), 0, "{algorithm:?}");
        assert!(account.reserve(&quota, 101, 1, LEASE, at(now)).allowed);
        let (_, lent) = account.ask(&quota, 1, Some((102, LEASE)), &wanted(200, 1, 8), at(now));
        assert_eq!(lent.map(|lent| lent.amount), Some(8), "{algorithm:?}");
        assert_eq!((account.lent(), account.holds().len()), (8, HOLDS_LIMIT));
        assert_eq!(account.settle(&quota, 200, 8, at(now)), 8, "{algorithm:?}");
        assert_eq!(account.settle(&quota, 102, 1, at(now)), 1, "{algorithm:?}");
        // Leases are never dropped: whoever holds one spends it.
        for id in 300..400 {
            account.lease(&quota, 1, &wanted(id, id, 1), at(now));
        }
        assert_eq!(account.lent() as usize, HOLDS_LIMIT);
        assert!(account.reserve(&quota, 500, 1, LEASE, at(now)).allowed);
        assert_eq!(account.settle(&quota, 500, 1, at(now)), 0);
    }
}

/// A clock that goes back by less than the margin is not believed; by more it
/// is, and a client loses no more than what it had to wait.
#[test]
fn a_clock_that_goes_back_neither_frees_nor_locks() {
    for algorithm in ALGORITHMS {
        let quota = Quota::of(algorithm, 2, SECOND, 2);
        let mut account = Account::default();
        let late = 50_000_000;
        assert!(account.take(&quota, 2, at(late)).allowed);
        assert!(!account.take(&quota, 1, at(late - 900)).allowed);
        assert!(!account.take(&quota, 1, at(0)).allowed);
        assert!(account.take(&quota, 2, at(4_000)).allowed, "{algorithm:?}");
    }
}

#[test]
fn a_larger_quota_is_remembered_while_isolates_change_over() {
    let (large, small) = (minute(Algorithm::Gcra, 1_000), minute(Algorithm::Gcra, 10));
    let mut account = Account::default();
    assert!(account.take(&large, 1_000, at(0)).allowed);
    for now in 0..60 {
        assert!(!account.take(&large, 1, at(now)).allowed, "the smaller one forgives nothing yet");
        assert!(!account.take(&small, 1, at(now)).allowed);
    }
    // Once nobody asks by the larger one, a client waits for the smaller one
    // only.
    assert!(!account.take(&small, 1, at(301_000)).allowed);
    assert!(account.take(&small, 1, at(301_000 + 60_000)).allowed);
}

#[test]
fn a_refusal_holds_until_something_may_come_back() {
    let (quota, mut account) = (minute(Algorithm::FixedWindow, 10), Account::default());
    let now = at(early());
    assert!(account.reserve(&quota, 1, 10, LEASE, now).allowed);
    let refused = account.take(&quota, 1, now);
    assert_eq!(account.refusal_holds(&refused), SECOND);
    account.settle(&quota, 1, 0, now);
    let refused = account.take(&quota, 1, now);
    assert_eq!(account.refusal_holds(&refused), refused.retry_after);
}

/// What is stored is what there was, whatever happened before.
#[test]
fn an_account_survives_its_text() {
    let step = (0_u8..4, 0_u64..4_000, any::<u64>(), 1_u32..5);
    check(500, (algorithms(), prop::collection::vec(step, 0..40)), |(algorithm, steps)| {
        let (quota, mut account, mut now) = (minute(algorithm, 50).with_debt(9), Account::default(), 0);
        for (kind, wait, id, cost) in steps {
            now += wait;
            match kind {
                0 => account.charge(&quota, cost, at(now)),
                1 => drop(account.reserve(&quota, id, cost, LEASE, at(now))),
                2 => drop(account.lease(&quota, cost, &wanted(id, id % 3, cost), at(now))),
                _ => drop(account.settle(&quota, id, 1, at(now))),
            }
            let read = Account::decode(&account.encode());
            prop_assert_eq!(read.as_ref(), Some(&account));
        }
        Ok(())
    });
    check(2_000, any::<String>(), |text| {
        let _ = Account::decode(&text);
        let _ = Account::decode(&format!("1 1 1 1 - {text}"));
        Ok(())
    });
    for bad in [
        "",
        "2 0 0 0 -",
        "1 0 0 0",
        "1 0 0 0 x",
        "1 0 0 0 g 1 2",
        "1 0 0 0 - 1 2 3 4",
        "1 0 0 0 - 1 2 7 9 4 5 1 2 7 3 4 5",
    ] {
        assert_eq!(Account::decode(bad), None, "{bad:?}");
    }
    // Anything that reads is counted with.
    let numbers = (any::<u64>(), any::<u32>(), any::<u64>(), any::<u128>(), any::<u32>(), any::<u32>());
    check(
        2_000,
        (algorithms(), numbers, any::<u64>()),
        |(algorithm, (at, cap, seen, nanos, rest, of), now)| {
            let quota = minute(algorithm, 50);
            for state in [format!("g {nanos} {rest} {of}"), format!("w {seen} {rest} {of}")] {
                let text = format!(
                    "1 {at} {cap} {seen} {state} 1 {rest} {nanos} {now} {at} 5 2 {of} {nanos} {} {seen} -",
                    u64::MAX
                );
                let mut account = Account::decode(&text).unwrap();
                let now = edgeweir::time::Timestamp::from_millis(now);
                let _ = account.lease(&quota, 1, &wanted(3, 3, 3), now);
                let _ =
                    (account.settle(&quota, 1, 9, now), account.peek(&quota, 1, now), account.ends(&quota));
            }
            Ok(())
        },
    );
}
