//! Counters in the isolate's memory: bounded, and never to a client's gain.

use std::time::Duration;

use edgeweir::stages::rate_limit::CounterKey;
use edgeweir::stages::rate_limit::algorithm::Quota;
use edgeweir::stages::rate_limit::table::CounterTable;
use edgeweir::time::Timestamp;
use proptest::prelude::*;

use crate::fake::check;

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(1_000_000 + millis)
}

fn quota(max: u32, seconds: u64, burst: u32) -> Quota {
    Quota::new(max, Duration::from_secs(seconds), burst)
}

#[test]
fn each_key_has_a_count_of_its_own() {
    let mut table = CounterTable::default();
    assert!(table.is_empty());
    let one = quota(1, 10, 1);
    assert!(table.take(CounterKey(1), &one, 1, at(0)).allowed);
    assert!(!table.take(CounterKey(1), &one, 1, at(0)).allowed);
    assert!(table.take(CounterKey(2), &one, 1, at(0)).allowed);
    assert!(table.take(CounterKey(1), &one, 1, at(10_000)).allowed);
    assert_eq!(table.len(), 2);
}

#[test]
fn a_full_table_makes_new_keys_share_one_counter() {
    let mut table = CounterTable::with_capacity(2);
    let two = quota(2, 1_000, 2);
    assert!(table.take(CounterKey(1), &two, 1, at(0)).allowed);
    assert!(table.take(CounterKey(2), &two, 1, at(0)).allowed);
    // The third and the fourth share a burst of two.
    assert!(table.take(CounterKey(3), &two, 1, at(0)).allowed);
    assert!(table.take(CounterKey(4), &two, 1, at(0)).allowed);
    assert!(!table.take(CounterKey(5), &two, 1, at(0)).allowed);
    assert!(!table.take(CounterKey(3), &two, 1, at(0)).allowed);
    // Those who were there are not touched.
    assert!(table.take(CounterKey(1), &two, 1, at(0)).allowed);
    assert!(!table.take(CounterKey(1), &two, 1, at(0)).allowed);
    assert_eq!(table.len(), 2);
    // Another quota's overflow is another counter.
    assert!(table.take(CounterKey(9), &quota(3, 1_000, 3), 1, at(0)).allowed);
}

#[test]
fn counters_that_say_nothing_make_room() {
    let mut table = CounterTable::with_capacity(2);
    let one = quota(1, 1, 1);
    assert!(table.take(CounterKey(1), &one, 1, at(0)).allowed);
    assert!(table.take(CounterKey(2), &one, 1, at(0)).allowed);
    assert!(table.take(CounterKey(3), &one, 1, at(2_000)).allowed);
    assert_eq!(table.len(), 1);
}

#[test]
fn a_capacity_of_zero_still_limits() {
    let mut table = CounterTable::with_capacity(0);
    let one = quota(1, 10, 1);
    assert!(table.take(CounterKey(1), &one, 1, at(0)).allowed);
    assert!(!table.take(CounterKey(2), &one, 1, at(0)).allowed);
}

/// No flood of keys loosens a limit, pushes a counter out or grows the table.
#[test]
fn a_flood_of_keys_never_loosens_a_limit() {
    let step = (0_u128..40, 0_u64..700);
    check(256, (1_usize..6, prop::collection::vec(step, 1..200)), |(capacity, steps)| {
        let mut table = CounterTable::with_capacity(capacity);
        let quota = quota(2, 5, 2);
        let mut now = 0;
        let mut admitted: Vec<Vec<u64>> = vec![Vec::new(); 40];
        for (key, wait) in steps {
            now += wait;
            if table.take(CounterKey(key), &quota, 1, at(now)).allowed {
                admitted[usize::try_from(key).unwrap()].push(now);
            }
            prop_assert!(table.len() <= capacity);
        }
        for times in admitted {
            for (first, from) in times.iter().enumerate() {
                for (last, to) in times.iter().enumerate().skip(first) {
                    let count = (last - first + 1) as u64;
                    // burst + T × max / window, all times window in ms; twice,
                    // since a key may have counted in the overflow before it
                    // got a counter of its own.
                    prop_assert!(
                        count * 5_000 <= 2 * (2 * 5_000 + (to - from) * 2),
                        "{} in {}",
                        count,
                        to - from
                    );
                }
            }
        }
        Ok(())
    });
}

#[test]
fn a_clock_that_goes_back_neither_panics_nor_frees() {
    let mut table = CounterTable::with_capacity(1);
    let one = quota(1, 10, 1);
    assert!(table.take(CounterKey(1), &one, 1, at(500_000)).allowed);
    assert!(!table.take(CounterKey(1), &one, 1, at(0)).allowed);
    assert!(table.take(CounterKey(2), &one, 1, at(0)).allowed);
    assert!(!table.take(CounterKey(2), &one, 1, Timestamp::default()).allowed);
    assert_eq!(table.len(), 1);
}

/// Full or not, swept or not: a look says what the next request is told, and
/// is not noticed.
#[test]
fn a_peek_foretells_the_next_take() {
    let steps = prop::collection::vec((0_u128..8, 0_u64..1_500, 1_u32..3), 1..60);
    check(500, steps, |steps| {
        let (mut table, mut twin) = (CounterTable::with_capacity(3), CounterTable::with_capacity(3));
        let mut now = 0;
        for (key, wait, max) in steps {
            now += wait;
            let quota = quota(max, 1, 2);
            for other in 0..8 {
                let _ = table.peek(CounterKey(other), &quota, 1, at(now));
            }
            let seen = table.peek(CounterKey(key), &quota, 1, at(now));
            let decision = table.take(CounterKey(key), &quota, 1, at(now));
            prop_assert_eq!(decision, twin.take(CounterKey(key), &quota, 1, at(now)));
            prop_assert_eq!((seen.allowed, seen.retry_after), (decision.allowed, decision.retry_after));
            prop_assert_eq!(seen.remaining, decision.remaining + u32::from(decision.allowed));
            prop_assert_eq!(table.len(), twin.len());
        }
        Ok(())
    });
}
