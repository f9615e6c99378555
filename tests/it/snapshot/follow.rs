//! Which source an isolate asks, and what it makes of their answers: over a
//! real control plane in memory and a store that is told what to show.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use edgeweir::control::client::NoControl;
use edgeweir::control::plane::handle;
use edgeweir::error::{Dependency, PlatformError};
use edgeweir::platform::ControlClient;
use edgeweir::policy::manifest::{Manifest, sha256_hex};
use edgeweir::policy::needs::Version;
use edgeweir::policy::snapshot::{FIRST_READ, Fallback, Holder, Need, REFRESH_WAIT, ready, refresh};
use edgeweir::time::Timestamp;
use serde_json::{Value, json};

use super::{at, broken, good, none, revision, shows};
use crate::control::memory::MemoryStore;
use crate::fake::{FakeStore, Read, START, block_on, both};

/// The plane as an isolate calls it.
#[derive(Default)]
pub(super) struct Plane {
    store: MemoryStore,
    pub(super) down: Cell<bool>,
    calls: RefCell<Vec<Value>>,
    /// Given instead of the real answer.
    says: RefCell<Option<String>>,
}

impl ControlClient for Plane {
    async fn call(&self, message: &str, _: Duration) -> Result<String, PlatformError> {
        self.calls.borrow_mut().push(serde_json::from_str(message).unwrap());
        if self.down.get() {
            return Err(PlatformError::failed(Dependency::Control, "down on purpose"));
        }
        match &*self.says.borrow() {
            Some(says) => Ok(says.clone()),
            None => handle(&self.store, message, at(0)),
        }
    }
}

impl Plane {
    pub(super) fn push(&self, document: &Value, parts: &[&str]) -> u64 {
        let status = self.tell(json!({"action": "status"}));
        let push = json!({"action": "push", "base": status["active"], "document": document.to_string(),
            "parts": parts, "author": "a", "role": "owner"});
        self.tell(push)["sequence"].as_u64().unwrap()
    }

    fn tell(&self, mut message: Value) -> Value {
        message["version"] = json!(2);
        let answer: Value =
            serde_json::from_str(&handle(&self.store, &message.to_string(), at(0)).unwrap()).unwrap();
        answer["result"].clone()
    }

    /// What the store would show of it.
    fn active(&self) -> Read {
        let manifest = self.tell(json!({"action": "active", "module": "9.0.0"}))["manifest"].clone();
        let text = |name: &str| manifest[name].as_str().map(str::to_owned);
        Ok(Some((text("value").unwrap(), text("metadata"))))
    }

    fn asked(&self) -> Vec<String> {
        let calls = std::mem::take(&mut *self.calls.borrow_mut());
        calls.iter().map(|call| call["action"].as_str().unwrap().to_owned()).collect()
    }
}

/// An isolate over a store and a plane.
#[derive(Default)]
struct Place {
    kv: FakeStore,
    plane: Plane,
    holder: RefCell<Holder>,
}

impl Place {
    fn refresh(&self, read: Read, millis: u64) -> Option<String> {
        self.refresh_with(read, &none(), millis)
    }

    fn refresh_with(&self, read: Read, fallback: &Fallback, millis: u64) -> Option<String> {
        self.kv.reads.borrow_mut().clear();
        self.kv.reads.borrow_mut().push_back(read);
        block_on(refresh(&self.kv, &self.plane, fallback, &self.holder, || at(millis), REFRESH_WAIT))
    }

    fn revision(&self) -> Option<String> {
        revision(&self.holder.borrow())
    }

    fn need(&self, millis: u64) -> Need {
        self.holder.borrow_mut().need(at(millis))
    }

    fn acts(&self, millis: u64) -> bool {
        self.holder.borrow().acting(at(millis)).is_some()
    }

    fn degraded(&self) -> String {
        self.holder.borrow().degraded().unwrap_or_default().to_owned()
    }
}

fn following(source: &str, on_failure: &str) -> Value {
    json!({"version": 1, "refresh":
        {"interval": "10s", "max_stale": "60s", "source": source, "on_failure": on_failure}})
}

#[test]
fn a_store_that_shows_nothing_is_not_believed_alone() {
    let place = Place::default();
    place.plane.push(&json!({"version": 1}), &[]);
    // A location that has not heard of it yet.
    assert_eq!(place.refresh(Ok(None), 0), None);
    assert_eq!(place.revision().as_deref(), Some("r1"));
    assert_eq!(place.plane.asked(), ["active"]);
    // Later it shows nothing once more: nothing is wrong.
    assert_eq!(place.refresh(Ok(None), 30_000), None);
    assert_eq!((place.degraded().as_str(), place.need(59_999)), ("", Need::Nothing));
    // The plane cannot be asked: then it is.
    place.plane.down.set(true);
    assert!(place.refresh(Ok(None), 60_000).unwrap().contains("down on purpose"));
    assert_eq!(place.revision().as_deref(), Some("r1"));
}

#[test]
fn none_counts_only_where_both_say_so() {
    let fallback =
        Fallback { variable: Some("{\"version\":1}".to_owned()), variable_on_failure: false, demo: None };
    let place = Place::default();
    place.plane.down.set(true);
    assert!(place.refresh_with(Ok(None), &fallback, 0).is_some());
    assert_eq!(place.revision(), None);
    place.plane.down.set(false);
    place.refresh_with(broken(), &fallback, 2_000);
    assert_eq!(place.revision(), None);
    place.refresh_with(Ok(None), &fallback, 4_000);
    assert_eq!(place.revision().as_deref(), Some("variable"));
    // Until there is a first revision.
    place.plane.push(&json!({"version": 1}), &[]);
    place.refresh_with(Ok(None), &fallback, 40_000);
    assert_eq!(place.revision().as_deref(), Some("r1"));
}

#[test]
fn a_store_that_fails_sends_an_isolate_with_nothing_to_the_plane() {
    let place = Place::default();
    place.plane.push(&following("kv", "last_good"), &[]);
    assert_eq!(place.refresh(broken(), 0), None);
    assert_eq!((place.revision().as_deref(), place.plane.asked().len()), (Some("r1"), 1));
    // One that has a policy leaves the plane alone, until it is too old.
    assert!(place.refresh(broken(), 30_000).is_some());
    assert!(place.plane.asked().is_empty());
    assert!(place.refresh(broken(), 60_000).unwrap().contains("recovered"));
    assert_eq!(place.plane.asked(), ["active"]);
    assert_eq!(place.need(69_999), Need::Nothing);
}

#[test]
fn with_source_control_the_plane_is_asked_and_not_the_store() {
    let place = Place::default();
    place.plane.push(&following("control", "last_good"), &[]);
    // The first read comes from the store, which may be late; so the plane is
    // asked before it counts.
    let old = place.plane.active();
    place.plane.push(&following("control", "last_good"), &[]);
    assert_eq!(place.refresh(old, 0), None);
    assert_eq!((place.revision().as_deref(), place.kv.count.get()), (Some("r2"), 1));
    place.plane.push(&following("control", "last_good"), &[]);
    assert_eq!(place.refresh(broken(), 10_000), None);
    assert_eq!((place.revision().as_deref(), place.kv.count.get()), (Some("r3"), 1));
    // It fails: the last good stays, and the store does not count instead.
    place.plane.down.set(true);
    assert!(place.refresh(good(u64::MAX), 20_000).is_some());
    assert_eq!((place.revision().as_deref(), place.kv.count.get()), (Some("r3"), 1));
}

/// Past the bound every request waits for an answer of its own, so that
/// nobody acts on what is older than `interval` + 1 s.
#[test]
fn with_source_control_requests_wait_past_the_interval_and_a_second() {
    let place = Place::default();
    place.plane.push(&following("control", "last_good"), &[]);
    let shown = place.plane.active();
    place.refresh(shown, 0);
    assert_eq!(place.need(9_999), Need::Nothing);
    assert_eq!(place.need(10_000), Need::RefreshAfter);
    assert_eq!(place.need(10_999), Need::Nothing);
    for _ in 0..3 {
        assert_eq!(place.need(11_000), Need::RefreshFirst);
    }
    // After an hour, too.
    assert_eq!(place.need(3_600_000), Need::RefreshFirst);
    // While the plane is down, nobody waits for a second at a time, and one
    // tries with more time.
    place.plane.down.set(true);
    place.refresh(broken(), 3_600_000);
    let needs: Vec<Need> = (0..3).map(|_| place.need(3_600_500)).collect();
    assert_eq!(needs, [Need::RefreshAfter, Need::Nothing, Need::Nothing]);
    assert_eq!(place.need(3_601_000), Need::RefreshFirst);
    assert!(place.acts(3_601_000));
    place.plane.down.set(false);
    place.refresh(broken(), 3_601_000);
    assert_eq!(place.need(3_601_001), Need::Nothing);
}

/// What counts is when a source was asked, not when it answered.
#[test]
fn the_age_is_counted_from_the_question() {
    let place = Place::default();
    place.plane.push(&following("control", "last_good"), &[]);
    place.kv.reads.borrow_mut().push_back(place.plane.active());
    let clock = Cell::new(0);
    let now = || at(clock.replace(clock.get() + 2_000));
    block_on(refresh(&place.kv, &place.plane, &none(), &place.holder, now, FIRST_READ));
    assert!(clock.get() > 4_000);
    assert_eq!(place.need(10_999), Need::RefreshAfter);
    assert_eq!(place.need(11_000), Need::RefreshFirst);
}

#[test]
fn a_late_failure_does_not_undo_a_later_success() {
    let place = Place::default();
    place.plane.push(&following("kv", "closed"), &[]);
    let shown = place.plane.active();
    // Begins first, ends last.
    let slow = Cell::new(0);
    let late = || at(if slow.replace(1) == 0 { 0 } else { 9_000 });
    place.refresh(shown.clone(), 5_000);
    place.kv.reads.borrow_mut().push_back(broken());
    assert_eq!(block_on(refresh(&place.kv, &place.plane, &none(), &place.holder, late, FIRST_READ)), None);
    assert_eq!((place.degraded().as_str(), place.need(14_999)), ("", Need::Nothing));
    // Nor does a late success make it look older.
    slow.set(0);
    place.kv.reads.borrow_mut().push_back(shown);
    let late = || at(if slow.replace(1) == 0 { 0 } else { 9_000 });
    block_on(refresh(&place.kv, &place.plane, &none(), &place.holder, late, FIRST_READ));
    assert!(place.acts(64_999) && !place.acts(65_000));
}

#[test]
fn past_max_stale_the_policy_says_what_becomes_of_requests() {
    for source in ["kv", "control"] {
        for (on_failure, acts) in [("last_good", true), ("closed", false)] {
            let place = Place::default();
            place.plane.push(&following(source, on_failure), &[]);
            let shown = place.plane.active();
            place.refresh(shown.clone(), 0);
            place.plane.down.set(true);
            place.refresh(broken(), 59_999);
            assert!(place.acts(59_999), "{source} {on_failure}");
            assert_eq!(place.acts(60_000), acts, "{source} {on_failure}");
            assert_eq!(place.need(61_000), Need::RefreshFirst);
            // A clock that went back says nothing about the age.
            let back = place.holder.borrow().acting(Timestamp::from_millis(START - 1)).is_some();
            assert_eq!(back, acts);
            // It is found again.
            place.plane.down.set(false);
            place.refresh(shown, 90_000);
            assert!(place.acts(90_000));
            assert!(place.holder.borrow().current().is_some());
        }
    }
}

#[test]
fn a_plane_without_a_policy_leaves_the_word_to_the_store() {
    let place = Place::default();
    let by_hand = |sequence| shows(sequence, &following("control", "last_good").to_string());
    assert_eq!(place.refresh(by_hand(3), 0), None);
    assert_eq!(place.revision().as_deref(), Some("r3"));
    assert_eq!(place.refresh(by_hand(4), 10_000), None);
    assert_eq!((place.revision().as_deref(), place.need(19_999)), (Some("r4"), Need::Nothing));
    // Neither has anything any more: the last good stays.
    assert!(place.refresh(Ok(None), 20_000).unwrap().contains("shows no manifest"));
    assert_eq!(place.revision().as_deref(), Some("r4"));
    // The first revision goes above what was written by hand.
    place.plane.push(&following("control", "last_good"), &[]);
    assert!(place.refresh(broken(), 30_000).unwrap().contains("recovered"));
    assert_eq!(place.revision().as_deref(), Some("r1"));
}

/// The store shows what this module cannot read: one that has a policy keeps
/// it, one that has none takes the newest that it can.
#[test]
fn a_cold_isolate_takes_the_newest_that_it_can_read() {
    let place = Place::default();
    let first = place.plane.push(&json!({"version": 1}), &[]);
    let warm = Place::default();
    warm.refresh(place.plane.active(), 0);
    // The plane comes to run a module of later, and accepts more.
    let second = place.plane.push(&json!({"version": 1}), &[]);
    {
        let mut disk = place.plane.store.disk.borrow_mut();
        let (_, row) = disk.rows.iter_mut().rfind(|((table, _), _)| table.as_str() == "revisions").unwrap();
        *row = row.replace("\"module\":\"0.1.0\"", "\"module\":\"9.0.0\"");
    }
    let newer = Manifest {
        module: Some(Version(9, 0, 0)),
        ..Manifest::new(second, "r2", "{\"version\":1,\"from\":\"later\"}")
    };
    let (value, metadata) = newer.encode().unwrap();
    let shown: Read = Ok(Some((value, Some(metadata))));
    let line = place.refresh(shown.clone(), 0).unwrap();
    assert!(line.contains("acting on revision r1") && line.contains("needs module"), "{line}");
    assert_eq!(place.holder.borrow().have(), Some(first));
    // It acts, and stays degraded whatever old view the store shows.
    assert!(place.acts(0));
    place.refresh(shows(1, "{\"version\":1}"), 30_000);
    assert!(place.degraded().contains("needs module"), "{}", place.degraded());
    let line = warm.refresh(shown, 30_000).unwrap();
    assert!(line.contains("acting on revision r1") && line.contains("needs module"), "{line}");
    assert!(warm.plane.asked().is_empty());
    assert_eq!(warm.need(59_999), Need::Nothing);
    // A newer one that it can read ends it.
    let third = place.plane.push(&json!({"version": 1}), &[]);
    assert!(place.refresh(place.plane.active(), 60_000).unwrap().contains("recovered"));
    assert_eq!(place.holder.borrow().have(), Some(third));
}

#[test]
fn nothing_is_swapped_in_before_all_its_parts_are_there() {
    let place = Place::default();
    place.plane.push(&json!({"version": 1}), &[]);
    place.refresh(place.plane.active(), 0);
    let bytes = ["the first part", "the second part", "the third part"];
    place.plane.push(&json!({"version": 1}), &bytes);
    let shown = place.plane.active();
    let show = |name: &str, bytes: &str| {
        place.kv.parts.borrow_mut().insert(sha256_hex(name.as_bytes()), bytes.as_bytes().to_vec());
    };
    // One is whole, one truncated, one missing; and the plane is down.
    show(bytes[0], bytes[0]);
    show(bytes[1], &bytes[1][..5]);
    place.plane.down.set(true);
    let line = place.refresh(shown.clone(), 30_000).unwrap();
    assert!(
        line.contains("acting on revision r1") && line.contains(&sha256_hex(bytes[1].as_bytes())),
        "{line}"
    );
    // The plane has another opinion of what the bytes are.
    place.plane.down.set(false);
    *place.plane.says.borrow_mut() = Some("{\"version\":2,\"result\":{\"part\":\"00\"}}".to_owned());
    place.refresh(shown.clone(), 31_000);
    assert_eq!(place.revision().as_deref(), Some("r1"));
    assert!(place.degraded().contains("another hash"), "{}", place.degraded());
    // Another content of the same length.
    show(bytes[1], "the SECOND part");
    place.refresh(shown.clone(), 32_000);
    assert_eq!(place.revision().as_deref(), Some("r1"));
    // What the store does not show comes from the plane.
    *place.plane.says.borrow_mut() = None;
    place.plane.asked();
    assert!(place.refresh(shown, 33_000).unwrap().contains("recovered"));
    assert_eq!(place.revision().as_deref(), Some("r2"));
    assert_eq!(place.plane.asked(), ["part", "part"]);
    // Parts that are held are not read again.
    place.plane.push(&json!({"version": 1}), &[bytes[2], bytes[0], "a new one"]);
    let (before, shown) = (place.kv.part_reads.get(), place.plane.active());
    assert_eq!(place.refresh(shown, 60_000), None);
    assert_eq!((place.revision().as_deref(), place.kv.part_reads.get() - before), (Some("r3"), 1));
}

/// A refresh that waits for a part while another swaps in something newer.
#[test]
fn a_slow_part_does_not_bring_back_what_is_older() {
    let place = Place::default();
    place.plane.push(&json!({"version": 1}), &["slow"]);
    let old = place.plane.active();
    place.plane.push(&json!({"version": 1}), &[]);
    place.kv.reads.borrow_mut().extend([old, place.plane.active()]);
    let fallback = none();
    let follow = || refresh(&place.kv, &place.plane, &fallback, &place.holder, || at(0), FIRST_READ);
    assert_eq!(both(follow(), follow()), (None, None));
    assert_eq!((place.kv.part_reads.get(), place.revision().as_deref()), (1, Some("r2")));
}

#[test]
fn what_the_plane_says_is_checked_like_what_the_store_shows() {
    let place = Place::default();
    let sequence = place.plane.push(&following("control", "last_good"), &[]);
    place.refresh(place.plane.active(), 0);
    let (value, metadata) =
        Manifest::new(sequence + 5, "r9", following("control", "last_good").to_string()).encode().unwrap();
    let lower = Manifest::new(sequence - 1, "r0", "{\"version\":1}").encode().unwrap();
    let manifest = |value: &str, metadata: &str| json!({"manifest": {"value": value, "metadata": metadata}});
    for (result, why) in [
        (manifest(&value[1..], &metadata), "damaged"),
        (manifest(&value, "{}x"), "metadata does not parse"),
        (json!({"unchanged": false}), "says nothing"),
        (json!({"unchanged": 7}), "does not parse"),
        (json!([]), "says nothing"),
        (json!("x"), "does not parse"),
        (json!(null), "says nothing"),
    ] {
        let says = json!({"version": 2, "result": result}).to_string();
        *place.plane.says.borrow_mut() = Some(says);
        place.refresh(broken(), 10_000);
        assert!(place.degraded().contains(why), "{why}: {}", place.degraded());
        assert_eq!(place.revision().as_deref(), Some("r1"));
    }
    *place.plane.says.borrow_mut() =
        Some(json!({"version": 2, "result": manifest(&lower.0, &lower.1)}).to_string());
    place.refresh(broken(), 20_000);
    assert_eq!((place.revision().as_deref(), place.degraded().as_str()), (Some("r1"), ""));
    *place.plane.says.borrow_mut() =
        Some(json!({"version": 2, "result": manifest(&value, &metadata)}).to_string());
    place.refresh(broken(), 30_000);
    assert_eq!(place.revision().as_deref(), Some("r9"));
}

#[test]
fn an_isolate_says_which_module_it_is_at_most_once_an_hour() {
    let mut holder = Holder::default();
    assert!(holder.report_due(at(0)));
    assert!(!holder.report_due(at(3_599_999)));
    assert!(holder.report_due(at(3_600_000)));
    // Whoever has asked for something else has said it.
    let place = Place::default();
    place.plane.push(&following("control", "last_good"), &[]);
    place.refresh(place.plane.active(), 0);
    assert!(!place.holder.borrow_mut().report_due(at(3_599_999)));
    let message = place.plane.calls.borrow()[0].clone();
    assert_eq!(message["module"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn a_request_begins_with_what_it_may_act_on() {
    let place = Place::default();
    let clock = Cell::new(0);
    let now = || at(clock.get());
    let begin = || block_on(ready(&place.kv, &place.plane, &none(), &place.holder, now));
    // Nothing at all: 503, and the sources are left alone for a second.
    place.plane.down.set(true);
    place.kv.reads.borrow_mut().push_back(broken());
    let answer = begin();
    assert!(answer.snapshot.is_none() && !answer.refresh_after && answer.lines.len() == 1);
    let reads = place.kv.count.get();
    assert!(begin().snapshot.is_none() && place.kv.count.get() == reads);
    // A policy comes.
    place.plane.down.set(false);
    place.plane.push(&following("kv", "closed"), &[]);
    clock.set(1_000);
    place.kv.reads.borrow_mut().push_back(place.plane.active());
    let answer = begin();
    assert_eq!(answer.snapshot.unwrap().revision, "r1");
    let reads = place.kv.count.get();
    place.plane.asked();
    // A warm request asks nobody.
    for millis in [1_001, 5_000, 10_999] {
        clock.set(millis);
        let answer = begin();
        assert!(answer.snapshot.is_some() && !answer.refresh_after && answer.lines.is_empty());
    }
    assert!(place.kv.count.get() == reads && place.plane.asked().is_empty());
    clock.set(11_000);
    assert!(begin().refresh_after);
    assert!(place.kv.count.get() == reads && place.plane.asked().is_empty());
    // Idle until it is too old, and nobody answers: closed, and one tries with
    // more time.
    clock.set(61_000);
    place.plane.down.set(true);
    place.kv.reads.borrow_mut().push_back(broken());
    let answer = begin();
    assert!(answer.snapshot.is_none() && answer.refresh_after && answer.lines.len() == 1);
    let answer = begin();
    assert!(answer.snapshot.is_none() && !answer.refresh_after);
}

/// Without an object there is the store alone, as before.
#[test]
fn without_a_plane_nothing_is_nothing() {
    let kv = FakeStore::default();
    let holder = RefCell::new(Holder::default());
    let line = block_on(refresh(&kv, &NoControl, &none(), &holder, || at(0), REFRESH_WAIT));
    assert!(line.unwrap().contains("holds no manifest"));
}
