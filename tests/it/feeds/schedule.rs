//! Which feeds are due, and that none is forgotten.

use std::collections::BTreeMap;
use std::time::Duration;

use edgeweir::control::feeds::{FeedFailure, FeedState};
use edgeweir::feeds::schedule::{RUN_EVERY, RUN_LIMIT, due, form, gone, is_of, retry_after};
use edgeweir::feeds::{Column, Feed, Format, HostBits};
use edgeweir::time::Timestamp;
use proptest::prelude::*;

use super::fetch::feed;
use crate::control::at;
use crate::fake::check;

const MINUTE: u64 = 60_000;

fn feeds(list: &[(&str, u64)]) -> BTreeMap<String, Feed> {
    let one = |minutes: u64| Feed {
        interval: Duration::from_secs(minutes * 60),
        ..feed("https://lists.example/x")
    };
    list.iter().map(|(name, minutes)| ((*name).to_owned(), one(*minutes))).collect()
}

fn state(name: &str, checked: u64, attempts: u32) -> FeedState {
    let failure =
        FeedFailure { reason: "feed-status".to_owned(), detail: String::new(), since: at(0), attempts };
    FeedState {
        name: name.to_owned(),
        url: "https://lists.example/x".to_owned(),
        form: form(&feed("https://lists.example/x")),
        checked: Some(at(checked)),
        failure: (attempts > 0).then_some(failure),
        ..FeedState::default()
    }
}

fn names<'a>(feeds: &'a BTreeMap<String, Feed>, states: &[FeedState], now: u64) -> Vec<&'a str> {
    due(feeds, states, at(now)).into_iter().map(|(name, _)| name).collect()
}

#[test]
fn a_feed_is_due_an_interval_after_it_was_tried() {
    let feeds = feeds(&[("a", 60)]);
    assert_eq!(names(&feeds, &[], 0), ["a"]);
    let states = [state("a", 10 * MINUTE, 0)];
    // A run begins on the minute, and fetching takes a while.
    for (minute, is_due) in [(10, false), (60, false), (68, false), (69, true), (70, true), (500, true)] {
        assert_eq!(!names(&feeds, &states, minute * MINUTE).is_empty(), is_due, "{minute}");
    }
    // A clock that went back does not put it off for ever.
    assert_eq!(names(&feeds, &states, 9 * MINUTE), ["a"]);
}

#[test]
fn what_fails_is_tried_again_sooner() {
    let hour = Duration::from_secs(3_600);
    let minutes: Vec<u64> = (1..8).map(|attempts| retry_after(attempts, hour).as_secs() / 60).collect();
    assert_eq!(minutes, [5, 10, 20, 40, 60, 60, 60]);
    assert_eq!(retry_after(0, hour).as_secs(), 300);
    assert_eq!(retry_after(u32::MAX, hour), hour);
    assert_eq!(retry_after(3, Duration::from_secs(300)).as_secs(), 300);
    let feeds = feeds(&[("a", 60)]);
    assert_eq!(names(&feeds, &[state("a", 0, 1)], 4 * MINUTE), ["a"]);
    assert_eq!(names(&feeds, &[state("a", 0, 2)], 4 * MINUTE), [""; 0]);
    assert_eq!(names(&feeds, &[state("a", 0, 2)], 9 * MINUTE), ["a"]);
}

#[test]
fn another_url_or_form_is_another_feed() {
    let feeds = feeds(&[("a", 60)]);
    let before = state("a", 0, 0);
    assert_eq!(names(&feeds, std::slice::from_ref(&before), 1), [""; 0]);
    for changed in [
        FeedState { url: "https://lists.example/y".to_owned(), ..before.clone() },
        FeedState { form: "csv \"ip\" refuse".to_owned(), ..before.clone() },
        FeedState { checked: None, ..before.clone() },
        FeedState { name: "b".to_owned(), ..before.clone() },
    ] {
        assert_eq!(names(&feeds, &[changed], 1), ["a"]);
    }
    // What only says how much a list may be makes no other list.
    let other =
        Feed { max_change: 7, allow_private: true, interval: Duration::from_secs(300), ..feeds["a"].clone() };
    assert!(is_of(&before, &other));
    for other in [
        Feed { host_bits: HostBits::Mask, ..other.clone() },
        Feed { format: Format::Aws, ..other.clone() },
        Feed { format: Format::Csv(Column::named("ip").unwrap()), ..other.clone() },
    ] {
        assert!(!is_of(&before, &other));
    }
    let csv =
        |column: &str| form(&Feed { format: Format::Csv(Column::of(column).unwrap()), ..other.clone() });
    assert!(csv("1") != csv("2") && csv("a") != csv("b"));
}

#[test]
fn those_that_have_waited_longest_go_first() {
    let feeds = feeds(&[("a", 60), ("b", 60), ("c", 5), ("d", 60), ("new", 60)]);
    let states = [
        state("a", 20 * MINUTE, 0),
        state("b", 0, 0),
        state("c", 70 * MINUTE, 0),
        state("d", 90 * MINUTE, 0),
    ];
    assert_eq!(names(&feeds, &states, 100 * MINUTE), ["new", "b", "c", "a"]);
}

#[test]
fn a_run_is_bounded() {
    let many: Vec<String> = (0..100).map(|number| format!("f{number}")).collect();
    let list: Vec<(&str, u64)> = many.iter().map(|name| (name.as_str(), 60)).collect();
    assert_eq!(names(&feeds(&list), &[], 0).len(), RUN_LIMIT);
}

#[test]
fn what_the_policy_has_lost_is_named() {
    let feeds = feeds(&[("a", 60)]);
    assert_eq!(gone(&feeds, &[state("a", 0, 0), state("b", 0, 1)]), ["b"]);
}

/// Whatever fails, for how long ever: every feed is tried at least as often as
/// its interval and the runs allow.
#[test]
fn a_feed_that_fails_starves_no_other() {
    let interval = prop_oneof![Just(5_u64), Just(30), Just(60), Just(720)];
    let one = (interval, any::<bool>());
    check(60, (proptest::collection::vec(one, 1..100), 1_usize..12), |(list, taken)| {
        let names: Vec<String> = (0..list.len()).map(|number| format!("f{number}")).collect();
        let pairs: Vec<(&str, u64)> =
            names.iter().map(String::as_str).zip(list.iter().map(|(minutes, _)| *minutes)).collect();
        let feeds = feeds(&pairs);
        let mut states: Vec<FeedState> = Vec::new();
        let mut last: BTreeMap<String, u64> = BTreeMap::new();
        let mut longest = 0;
        let runs = 300_u64;
        for run in 0..runs {
            let now = run * u64::try_from(RUN_EVERY.as_millis()).unwrap();
            let due: Vec<String> = due(&feeds, &states, Timestamp::from_millis(at(now).millis()))
                .into_iter()
                // However few of them a run comes to.
                .take(taken)
                .map(|(name, _)| name.to_owned())
                .collect();
            for (place, name) in due.iter().enumerate() {
                let fails = list[name[1..].parse::<usize>().unwrap()].1;
                let before = states.iter().position(|state| state.name == *name).map(|at| states.remove(at));
                let attempts = before.and_then(|state| state.failure).map_or(0, |failure| failure.attempts);
                states.push(state(name, now + place as u64 * 1_000, if fails { attempts + 1 } else { 0 }));
                last.insert(name.clone(), run);
            }
            if run > 250 {
                let waits = names.iter().map(|name| {
                    let interval = feeds[name].interval.as_secs() / 300;
                    (run - last.get(name).copied().unwrap_or_default()).saturating_sub(interval)
                });
                longest = longest.max(waits.max().unwrap());
            }
        }
        // A round over all of them, and one run on top.
        let round = (list.len() as u64).div_ceil(taken as u64) + 1;
        prop_assert!(longest <= round, "{} runs, a round takes {}", longest, round);
        Ok(())
    });
}
