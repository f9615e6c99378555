//! Which policy an isolate acts on: over a store that is late, out of order,
//! broken or empty.

mod bans;
mod follow;
mod purges;
mod sets;
mod waiting;

use std::cell::RefCell;
use std::time::Duration;

use edgeweir::control::client::NoControl;
use edgeweir::error::{Dependency, PlatformError};
use edgeweir::policy::manifest::Manifest;
use edgeweir::policy::snapshot::{Fallback, Holder, Need, REFRESH_WAIT, refresh};
use edgeweir::time::Timestamp;
use proptest::prelude::*;

use crate::fake::{FakeStore, Read, START, block_on, both, check};

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(START + millis)
}

fn shows(sequence: u64, policy: &str) -> Read {
    let manifest = Manifest::new(sequence, format!("r{sequence}"), policy);
    let (value, metadata) = manifest.encode().unwrap();
    Ok(Some((value, Some(metadata))))
}

/// One refresh over a store that says this, without a `Control` object.
pub fn accept(holder: &mut Holder, read: Read, fallback: &Fallback, now: Timestamp) -> Option<String> {
    let store = FakeStore::default();
    store.reads.borrow_mut().push_back(read);
    let cell = RefCell::new(std::mem::take(holder));
    let line = block_on(refresh(&store, &NoControl, fallback, &cell, || now, REFRESH_WAIT));
    *holder = cell.into_inner();
    line
}

fn good(sequence: u64) -> Read {
    shows(sequence, "{\"version\":1}")
}

fn broken() -> Read {
    Err(PlatformError::failed(Dependency::PolicyStore, "broken on purpose"))
}

fn revision(holder: &Holder) -> Option<String> {
    holder.current().map(|snapshot| snapshot.revision.clone())
}

fn none() -> Fallback {
    Fallback::default()
}

#[test]
fn rule_1_the_source_is_the_manifest_then_the_variable_then_the_demo() {
    let demo = edgeweir::DEMO_POLICY;
    let fallback = |variable: bool, demo: Option<&'static str>| Fallback {
        variable: variable.then(|| "{\"version\":1}".to_owned()),
        variable_on_failure: false,
        demo,
    };
    for (read, fallback, expected) in [
        (good(3), fallback(true, Some(demo)), Some("r3")),
        (Ok(None), fallback(true, Some(demo)), Some("variable")),
        (Ok(None), fallback(false, Some(demo)), Some("demo")),
        (Ok(None), fallback(false, None), None),
        // Failure is not emptiness.
        (broken(), fallback(true, Some(demo)), None),
        (shows(1, "{}"), fallback(true, Some(demo)), None),
    ] {
        let mut holder = Holder::default();
        let line = accept(&mut holder, read, &fallback, at(0));
        assert_eq!(revision(&holder).as_deref(), expected);
        assert_eq!(holder.degraded().is_some(), expected.is_none());
        assert_eq!(line.is_some(), expected.is_none());
    }
}

#[test]
fn rule_1_where_the_variable_and_the_demo_are_allowed() {
    let made = |environment: Option<&str>, setting: Option<&str>| {
        let fallback = Fallback::new(environment, Some("p".to_owned()), setting, "d");
        (fallback.variable.is_some(), fallback.variable_on_failure, fallback.demo.is_some())
    };
    assert_eq!(made(Some("local"), None), (true, false, true));
    assert_eq!(made(None, None), (true, false, false));
    assert_eq!(made(Some("production"), None), (false, false, false));
    assert_eq!(made(Some("production"), Some("variable")), (true, true, false));
    assert_eq!(made(Some("staging"), Some("yes")), (false, false, false));
    assert_eq!(made(Some(""), None), (false, false, false));
    assert_eq!(made(Some("Local"), None), (false, false, false));
}

#[test]
fn rule_1_the_variable_serves_a_failing_store_where_it_was_asked_for() {
    let fallback =
        Fallback { variable: Some("{\"version\":1}".to_owned()), variable_on_failure: true, demo: None };
    let mut holder = Holder::default();
    let line = accept(&mut holder, broken(), &fallback, at(0)).unwrap();
    assert_eq!(revision(&holder).as_deref(), Some("variable"));
    assert!(line.contains("POLICY is used") && line.contains("broken on purpose"), "{line}");
    // It is replaced as soon as the store shows something.
    assert!(accept(&mut holder, good(1), &fallback, at(1)).unwrap().contains("recovered"));
    assert_eq!(revision(&holder).as_deref(), Some("r1"));
}

#[test]
fn rule_2_what_cannot_be_used_is_never_swapped_in() {
    for (bad, why) in [
        (broken(), "broken on purpose"),
        (Ok(None), "shows no manifest"),
        (shows(9, "{\"version\":2}"), "revision r9 does not compile: version: found 2; expected 1"),
        (Ok(Some(("{".to_owned(), None))), "does not parse"),
        (Ok(Some(("{}".to_owned(), Some("{\"hash\":\"0\"}".to_owned())))), "damaged"),
    ] {
        let mut holder = Holder::default();
        assert_eq!(accept(&mut holder, good(5), &none(), at(0)), None);
        let line = accept(&mut holder, bad.clone(), &none(), at(1)).unwrap();
        assert!(line.contains(why) && line.contains("acting on revision r5"), "{line}");
        assert_eq!(revision(&holder).as_deref(), Some("r5"));
        assert!(holder.degraded().unwrap().contains(why));
        // Said once.
        assert_eq!(accept(&mut holder, bad, &none(), at(2)), None);
        let line = accept(&mut holder, good(10), &none(), at(3)).unwrap();
        assert_eq!(line, "policy recovered, acting on revision r10");
        assert_eq!(holder.degraded(), None);
    }
}

#[test]
fn rule_2_a_reason_is_clipped() {
    let mut holder = Holder::default();
    let routes: Vec<String> = (0..200).map(|index| format!("{{\"{}\":{index}}}", "가".repeat(30))).collect();
    accept(
        &mut holder,
        shows(1, &format!("{{\"version\":1,\"routes\":[{}]}}", routes.join(","))),
        &none(),
        at(0),
    );
    assert!((1..=2_000).contains(&holder.degraded().unwrap().len()));
}

#[test]
fn rule_3_a_lower_sequence_never_replaces_a_higher_one() {
    let mut holder = Holder::default();
    for (read, expected) in [
        (good(5), "r5"),
        (good(4), "r5"),
        (good(7), "r7"),
        (Ok(None), "r7"),
        (good(6), "r7"),
        (broken(), "r7"),
        (good(8), "r8"),
    ] {
        accept(&mut holder, read, &none(), at(0));
        assert_eq!(revision(&holder).as_deref(), Some(expected));
    }
}

/// Whatever an eventually consistent store shows, in whatever order, the
/// sequence never falls and a snapshot is never lost.
#[test]
fn rule_3_no_order_of_reads_goes_back() {
    let read = prop_oneof![
        4 => (0_u64..10).prop_map(good),
        1 => (0_u64..12).prop_map(|sequence| shows(sequence, "{\"version\":3}")),
        1 => Just(Ok(None)),
        1 => Just(broken()),
        1 => any::<String>().prop_map(|text| Ok(Some((text, None)))),
    ];
    check(500, prop::collection::vec(read, 1..12), |reads| {
        let (mut holder, mut highest) = (Holder::default(), None);
        for (index, read) in (0_u64..).zip(reads) {
            accept(&mut holder, read, &none(), at(index));
            let sequence = holder.current().and_then(|snapshot| snapshot.sequence);
            prop_assert!(sequence >= highest);
            highest = sequence;
        }
        Ok(())
    });
}

#[test]
fn rule_4_past_the_interval_one_request_refreshes() {
    let mut holder = Holder::default();
    assert_eq!(holder.need(at(0)), Need::Read);
    accept(&mut holder, good(1), &none(), at(0));
    assert_eq!(holder.need(at(29_999)), Need::Nothing);
    assert_eq!(holder.need(at(30_000)), Need::RefreshAfter);
    // Whoever was told does it; the others are told nothing for an interval.
    assert_eq!(holder.need(at(30_000)), Need::Nothing);
    assert_eq!(holder.need(at(59_999)), Need::Nothing);
    assert_eq!(holder.need(at(60_000)), Need::RefreshAfter);
}

#[test]
fn rule_4_past_max_stale_a_request_waits() {
    let mut holder = Holder::default();
    accept(&mut holder, good(1), &none(), at(0));
    assert_eq!(holder.need(at(299_999)), Need::RefreshAfter);
    let mut idle = Holder::default();
    accept(&mut idle, good(1), &none(), at(0));
    // So does every other: none can wait for the read of another.
    assert_eq!(idle.need(at(300_000)), Need::RefreshFirst);
    assert_eq!(idle.need(at(300_000)), Need::RefreshFirst);
    // A store that fails does not count as asked with success. For a second
    // nobody waits for it, and one request tries with more time.
    accept(&mut idle, broken(), &none(), at(300_001));
    assert_eq!(idle.need(at(300_001)), Need::RefreshAfter);
    assert_eq!(idle.need(at(301_000)), Need::Nothing);
    assert_eq!(idle.need(at(301_001)), Need::RefreshFirst);
    accept(&mut idle, good(1), &none(), at(330_001));
    assert_eq!(idle.need(at(330_001)), Need::Nothing);
    assert_eq!(idle.need(at(360_001)), Need::RefreshAfter);
}

#[test]
fn rule_4_the_policy_sets_the_spans() {
    let mut holder = Holder::default();
    accept(
        &mut holder,
        shows(1, r#"{"version":1,"refresh":{"interval":"1s","max_stale":"2s"}}"#),
        &none(),
        at(0),
    );
    assert_eq!(holder.need(at(999)), Need::Nothing);
    assert_eq!(holder.need(at(1_000)), Need::RefreshAfter);
    assert_eq!(holder.need(at(2_000)), Need::RefreshFirst);
}

#[test]
fn without_a_policy_the_store_is_left_alone_for_a_second() {
    let mut holder = Holder::default();
    accept(&mut holder, broken(), &none(), at(0));
    assert_eq!(holder.need(at(999)), Need::Unavailable);
    assert_eq!(holder.need(at(1_000)), Need::Read);
    // A clock that went back does not keep it away.
    accept(&mut holder, broken(), &none(), at(5_000));
    assert_eq!(holder.need(at(0)), Need::Read);
}

/// A clock that jumped ahead and came back must not stop the refreshing until
/// it has caught up.
#[test]
fn rule_4_a_clock_that_went_back_does_not_stop_the_refreshing() {
    let mut holder = Holder::default();
    accept(&mut holder, good(1), &none(), at(86_400_000));
    assert_ne!(holder.need(at(0)), Need::Nothing);
}

#[test]
fn refreshing_holds_no_borrow_while_it_waits() {
    let holder = RefCell::new(Holder::default());
    let store = FakeStore::default();
    store.reads.borrow_mut().extend([good(2), good(1)]);
    let fallback = none();
    // The reads end in the order they began; the older value comes later.
    both(
        refresh(&store, &NoControl, &fallback, &holder, || at(0), REFRESH_WAIT),
        refresh(&store, &NoControl, &fallback, &holder, || at(1), REFRESH_WAIT),
    );
    assert_eq!(revision(&holder.borrow()).as_deref(), Some("r2"));
    assert_eq!(store.count.get(), 2);
    let line = block_on(refresh(&store, &NoControl, &fallback, &holder, || at(2), REFRESH_WAIT));
    assert!(line.unwrap().contains("shows no manifest"));
    assert_eq!(edgeweir::policy::snapshot::REFRESH_WAIT, Duration::from_millis(200));
}
