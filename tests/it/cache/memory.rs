//! The tier `memory`: what it keeps, what leaves, and that nothing leaks.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use edgeweir::stages::cache::entry::Entry;
use edgeweir::stages::cache::memory::{BodyNumber, CAPACITY, Memory, Waiting};
use edgeweir::time::Timestamp;
use proptest::prelude::*;

use super::{at, lines};
use crate::fake::check;

/// Later than anything that comes in here.
const NOW: Timestamp = Timestamp::from_seconds(u32::MAX as u64);

fn entry(name: &str, received: Timestamp) -> Rc<Entry> {
    Rc::new(Entry {
        status: 200,
        fields: lines(&[("x-name", name)]),
        received,
        lifetime: 600,
        ..Entry::default()
    })
}

fn waiting(key: &str, entry: Rc<Entry>) -> Waiting {
    Waiting { key: key.to_owned(), primary: key.trim_end_matches('+').to_owned(), entry }
}

/// Has an answer come in.
fn put(memory: &mut Memory, key: &str, body: u32, size: u64) {
    memory.expect(BodyNumber(body), waiting(key, entry(key, at(0))));
    memory.fill(BodyNumber(body), size, NOW);
}

fn released(memory: &mut Memory) -> Vec<u32> {
    let mut released: Vec<u32> = memory.take_released().into_iter().map(|body| body.0).collect();
    released.sort_unstable();
    released
}

fn body(memory: &mut Memory, key: &str) -> Option<u32> {
    memory.get(key, at(1)).map(|kept| kept.body.0)
}

/// A look gives what a request would get, and changes nothing about it.
#[test]
fn a_look_does_not_count() {
    let mut memory = Memory::new(1);
    put(&mut memory, "a", 1, 10);
    let seen = memory.peek("a", at(1)).unwrap();
    assert!(Rc::ptr_eq(&seen.entry, &memory.get("a", at(1)).unwrap().entry));
    assert!(memory.peek("b", at(1)).is_none());
    // What is past its time is not shown, and stays until somebody asks.
    assert!(memory.peek("a", at(1_000_000)).is_none());
    assert_eq!((memory.len(), released(&mut memory)), (1, vec![]));
    assert!(memory.get("a", at(1_000_000)).is_none());
    assert_eq!(released(&mut memory), [1]);
}

#[test]
fn an_entry_comes_in_with_its_body_and_not_before() {
    let mut memory = Memory::new(1);
    memory.expect(BodyNumber(1), waiting("a", entry("a", at(0))));
    assert_eq!((body(&mut memory, "a"), memory.is_empty()), (None, true));
    memory.fill(BodyNumber(1), 10, NOW);
    let kept = memory.get("a", at(1)).unwrap();
    assert_eq!((kept.body, kept.size, kept.entry.fields.len()), (BodyNumber(1), 10, 1));
    // The same value, not a copy.
    assert!(Rc::ptr_eq(&kept.entry, &memory.get("a", at(1)).unwrap().entry));
    memory.expect(BodyNumber(2), waiting("b", entry("b", at(0))));
    memory.give_up(BodyNumber(2));
    // Nobody waits for it any more, so it is not kept.
    memory.fill(BodyNumber(2), 10, NOW);
    assert_eq!((body(&mut memory, "b"), released(&mut memory)), (None, vec![2]));
    assert!(released(&mut memory).is_empty());
}

#[test]
fn what_is_replaced_or_removed_releases_its_body() {
    let mut memory = Memory::new(1);
    put(&mut memory, "a", 1, 10);
    put(&mut memory, "a", 2, 10);
    assert_eq!((body(&mut memory, "a"), released(&mut memory)), (Some(2), vec![1]));
    put(&mut memory, "b", 3, 10);
    memory.remove(&["a".to_owned(), "none".to_owned()]);
    assert_eq!((body(&mut memory, "a"), body(&mut memory, "b")), (None, Some(3)));
    assert_eq!((released(&mut memory), memory.len()), (vec![2], 1));
}

#[test]
fn what_is_removed_while_its_body_arrives_does_not_come_in() {
    for removed in ["a+", "a"] {
        let mut memory = Memory::new(1);
        memory.expect(BodyNumber(1), waiting("a+", entry("a", at(0))));
        memory.remove(&[removed.to_owned()]);
        memory.fill(BodyNumber(1), 10, NOW);
        assert_eq!((body(&mut memory, "a+"), released(&mut memory)), (None, vec![1]), "{removed}");
    }
}

#[test]
fn an_older_answer_does_not_replace_a_newer_one() {
    let mut memory = Memory::new(1);
    memory.expect(BodyNumber(1), waiting("a", entry("old", at(0))));
    memory.expect(BodyNumber(2), waiting("a", entry("new", at(1))));
    memory.fill(BodyNumber(2), 10, NOW);
    memory.fill(BodyNumber(1), 10, NOW);
    assert_eq!((body(&mut memory, "a"), released(&mut memory)), (Some(2), vec![1]));
}

/// The clock has been set back: what came by the old one is not newer, or
/// nothing would take its place until the time has come again.
#[test]
fn what_came_later_than_now_is_replaced() {
    let mut memory = Memory::new(1);
    memory.expect(BodyNumber(1), waiting("a", entry("ahead", at(3_600))));
    memory.fill(BodyNumber(1), 10, at(3_600));
    memory.expect(BodyNumber(2), waiting("a", entry("now", at(1))));
    memory.fill(BodyNumber(2), 10, at(2));
    assert_eq!((body(&mut memory, "a"), released(&mut memory)), (Some(2), vec![1]));
}

#[test]
fn a_new_head_keeps_the_body() {
    let mut memory = Memory::new(1);
    put(&mut memory, "a", 1, 10);
    let old = memory.get("a", at(1)).unwrap().entry;
    assert!(memory.renew("a", BodyNumber(1), entry("a longer head", at(5))));
    let kept = memory.get("a", at(5)).unwrap();
    assert_eq!((kept.body, kept.size, kept.entry.received), (BodyNumber(1), 10, at(5)));
    assert!(released(&mut memory).is_empty());
    // Not over another body, and not where there is none.
    assert!(!memory.renew("a", BodyNumber(2), entry("a", at(6))));
    assert!(!memory.renew("b", BodyNumber(1), entry("a", at(6))));
    memory.renew_if("a", &old, entry("a", at(7)));
    assert_eq!(memory.get("a", at(7)).unwrap().entry.received, at(5));
    let new = kept.entry;
    memory.renew_if("a", &new, entry("a", at(8)));
    assert_eq!(memory.get("a", at(8)).unwrap().entry.received, at(8));
}

#[test]
fn what_is_not_worth_keeping_any_more_leaves() {
    let mut memory = Memory::new(1);
    put(&mut memory, "a", 1, 10);
    let ends = entry("a", at(0)).retention();
    assert!(memory.get("a", at(ends - 1)).is_some());
    assert!(memory.get("a", at(ends)).is_none());
    assert_eq!((memory.len(), memory.weight(), released(&mut memory)), (0, 0, vec![1]));
}

#[test]
fn what_is_looked_up_again_survives_a_scan() {
    let mut memory = Memory::with_capacity(1 << 20, 1);
    for hot in 0..8_u32 {
        put(&mut memory, &format!("hot{hot}"), hot + 1, 16 << 10);
    }
    for round in 0..1_000_u32 {
        for hot in 0..8 {
            if round % 10 == 0 {
                body(&mut memory, &format!("hot{hot}"));
            }
        }
        put(&mut memory, &format!("scan{round}"), 100 + round, 16 << 10);
    }
    let kept = (0..8).filter(|hot| body(&mut memory, &format!("hot{hot}")).is_some()).count();
    assert!(kept >= 7, "{kept}");
    assert!(memory.weight() <= 1 << 20);
}

#[test]
fn waiting_for_bodies_is_bounded() {
    let mut memory = Memory::new(1);
    for number in 0..2_000 {
        memory.expect(BodyNumber(number), waiting(&number.to_string(), entry("a", at(0))));
    }
    for number in 0..2_000 {
        memory.fill(BodyNumber(number), 1, NOW);
    }
    assert_eq!(memory.len(), 256);
    assert_eq!(released(&mut memory).len(), 2_000 - 256);
    assert_eq!(body(&mut memory, "1999"), Some(1_999));
}

#[test]
fn empty_bodies_weigh_something() {
    let mut memory = Memory::new(1);
    for number in 0..100_000 {
        put(&mut memory, &number.to_string(), number, 0);
    }
    assert!(memory.len() <= usize::try_from(CAPACITY / 512).unwrap(), "{}", memory.len());
    assert!(memory.weight() <= CAPACITY);
}

/// Who left and comes back soon stays, though nobody has looked him up. Some
/// have been forgotten.
#[test]
fn who_comes_back_is_recognised() {
    let mut memory = Memory::with_capacity(1 << 20, 1);
    let mut number = 0;
    let mut put_all = |memory: &mut Memory, name: &str, count: u32| {
        for place in 0..count {
            number += 1;
            put(memory, &format!("{name}{place}"), number, 16 << 10);
        }
    };
    let kept = |memory: &Memory, name: &str| {
        (0..12).filter(|place| memory.peek(&format!("{name}{place}"), at(1)).is_some()).count()
    };
    put_all(&mut memory, "back", 12);
    put_all(&mut memory, "scan", 62);
    assert_eq!(kept(&memory, "back"), 0);
    put_all(&mut memory, "back", 12);
    put_all(&mut memory, "new", 12);
    put_all(&mut memory, "again", 200);
    assert!(kept(&memory, "back") >= 8, "{}", kept(&memory, "back"));
    assert_eq!(kept(&memory, "new"), 0);
}

#[test]
fn what_is_larger_than_all_room_is_not_kept() {
    let mut memory = Memory::with_capacity(1 << 20, 1);
    put(&mut memory, "a", 1, 10);
    put(&mut memory, "b", 2, 10);
    // What was there is older.
    put(&mut memory, "a", 3, 1 << 20);
    assert_eq!((body(&mut memory, "a"), body(&mut memory, "b")), (None, Some(2)));
    assert_eq!(released(&mut memory), [1, 3]);
    // Nor is what no slot can say the size of.
    let mut memory = Memory::with_capacity(u64::MAX, 1);
    put(&mut memory, "a", 1, 1 << 29);
    put(&mut memory, "b", 2, (1 << 29) - 1);
    assert_eq!((memory.len(), released(&mut memory)), (1, vec![1]));
    assert_eq!(memory.get("b", at(1)).unwrap().size, (1 << 29) - 1);
}

/// A head that grows makes room like a new answer, and may itself have to go.
#[test]
fn a_larger_head_stays_within_the_bound() {
    let mut memory = Memory::with_capacity(64 << 10, 1);
    for number in 0..100 {
        put(&mut memory, &number.to_string(), number, 0);
    }
    let held = memory.len();
    for number in 0..100 {
        memory.renew(&number.to_string(), BodyNumber(number), entry(&"long".repeat(300), at(2)));
        assert!(memory.weight() <= 64 << 10);
    }
    let released = released(&mut memory);
    assert!(memory.len() < held && memory.len() > 10, "{}", memory.len());
    assert_eq!(released.len() + memory.len(), 100);
    assert_eq!(released.iter().collect::<BTreeSet<_>>().len(), released.len());
}

/// Removed and put again, over and over: the queues forget what is not there.
#[test]
fn what_was_removed_takes_no_place() {
    let mut memory = Memory::new(1);
    for number in 0..10_000 {
        put(&mut memory, "a", number, 10);
        if number % 2 == 0 {
            memory.remove(&["a".to_owned()]);
        }
    }
    let said = format!("{memory:?}");
    let queued = said.split("queued: ").nth(1).and_then(|rest| rest.split([',', ' ']).next());
    assert!(queued.unwrap().parse::<u32>().unwrap() < 100, "{said}");
}

/// Keys that differ little, under several seeds.
#[test]
fn no_key_is_taken_for_another() {
    for seed in [0, 1, u64::MAX] {
        let mut memory = Memory::with_capacity(1 << 30, seed);
        for number in 0..20_000 {
            put(&mut memory, &format!("https://a.test/{number}"), number, 1);
        }
        assert_eq!(memory.len(), 20_000);
        for number in 0..20_000 {
            assert_eq!(body(&mut memory, &format!("https://a.test/{number}")), Some(number));
            assert_eq!(body(&mut memory, &format!("https://a.test/{number} ")), None);
        }
    }
}

/// With room for all, it is a plain map: nothing is lost when it grows, or when
/// others are removed, and a look says the same as a request.
#[test]
fn with_room_for_all_it_is_a_map() {
    let step = (0..600_u32, 0..8_u32, 0..5_000_u64);
    check(100, proptest::collection::vec(step, 1..1_500), |steps| {
        let mut memory = Memory::with_capacity(1 << 40, 5);
        let mut model: BTreeMap<u32, (u32, u64)> = BTreeMap::new();
        for (number, (key, kind, size)) in (1_u32..).zip(steps) {
            if kind < 5 {
                put(&mut memory, &key.to_string(), number, size);
                model.insert(key, (number, size));
            } else {
                memory.remove(&[key.to_string()]);
                model.remove(&key);
            }
        }
        prop_assert_eq!(memory.len(), model.len());
        for key in 0..600 {
            let text = key.to_string();
            let seen = memory.peek(&text, at(1)).map(|kept| (kept.body.0, kept.size));
            prop_assert_eq!(seen, model.get(&key).copied());
            let found = memory.find(&text, at(1)).map(|found| (found.body.0, found.size));
            prop_assert_eq!(found, seen);
            let body = BodyNumber(seen.map_or(0, |(body, _)| body));
            prop_assert_eq!(memory.has(&text, body), seen.is_some());
        }
        let gone: Vec<String> = (0..600).map(|key: u32| key.to_string()).collect();
        memory.remove(&gone);
        prop_assert_eq!((memory.len(), memory.weight()), (0, 0));
        Ok(())
    });
}

#[derive(Clone, Debug)]
enum Step {
    Put { key: u8, size: u64 },
    Get(u8),
    Remove(u8),
    Renew(u8),
    Lose(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = || 0..24_u8;
    let size = prop_oneof![0..2_000_u64, 10_000..40_000_u64];
    proptest::collection::vec(
        prop_oneof![
            4 => (key(), size).prop_map(|(key, size)| Step::Put { key, size }),
            4 => key().prop_map(Step::Get),
            1 => key().prop_map(Step::Remove),
            1 => key().prop_map(Step::Renew),
            1 => key().prop_map(Step::Lose),
        ],
        1..200,
    )
}

/// Against a plain map of what came in last: what is returned is that or
/// nothing, the weight is bounded and that of what is there, and a body is
/// released once, exactly when nothing names it any more.
#[test]
fn it_returns_what_was_put_and_releases_what_left() {
    const BOUND: u64 = 32 << 10;
    check(400, steps(), |steps| {
        let mut memory = Memory::with_capacity(BOUND, 3);
        let mut last: BTreeMap<u8, (u32, u64, Timestamp)> = BTreeMap::new();
        let mut held: BTreeSet<u32> = BTreeSet::new();
        for (number, step) in (1_u32..).zip(steps) {
            let now = at(u64::from(number));
            match step {
                Step::Put { key, size } => {
                    memory.expect(BodyNumber(number), waiting(&key.to_string(), entry("a", now)));
                    held.insert(number);
                    memory.fill(BodyNumber(number), size, NOW);
                    last.insert(key, (number, size, now));
                }
                Step::Lose(key) => {
                    memory.expect(BodyNumber(number), waiting(&key.to_string(), entry("a", now)));
                    memory.give_up(BodyNumber(number));
                }
                Step::Get(key) => {
                    if let Some(kept) = memory.get(&key.to_string(), now) {
                        prop_assert_eq!(Some(&(kept.body.0, kept.size, kept.entry.received)), last.get(&key));
                    }
                }
                Step::Remove(key) => {
                    memory.remove(&[key.to_string()]);
                    last.remove(&key);
                    prop_assert!(memory.get(&key.to_string(), now).is_none());
                }
                Step::Renew(key) => {
                    if let Some((body, _, received)) = last.get_mut(&key)
                        && memory.renew(&key.to_string(), BodyNumber(*body), entry("longer name", now))
                    {
                        *received = now;
                    }
                }
            }
            for body in memory.take_released() {
                prop_assert!(held.remove(&body.0), "{} is released twice", body.0);
            }
            prop_assert!(memory.weight() <= BOUND);
            prop_assert_eq!(held.len(), memory.len());
        }
        let keys: Vec<String> = (0..24_u8).map(|key| key.to_string()).collect();
        let there = keys.iter().filter_map(|key| memory.peek(key, at(0)));
        let weights: u64 = there.map(|kept| kept.size + kept.entry.weight() + 512).sum();
        prop_assert_eq!(memory.weight(), weights);
        memory.remove(&keys);
        prop_assert_eq!((memory.len(), memory.weight()), (0, 0));
        Ok(())
    });
}
