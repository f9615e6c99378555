//! Several versions of the module at once: who was seen, what is refused for
//! their sake, and what each gets.

use std::time::Duration;

use edgeweir::control::state::{MODULE_LIFETIME, Modules};
use edgeweir::policy::needs::Version;
use serde_json::{Value, json};

use super::memory::MemoryStore;
use super::{ask, ask_at, at, document, outcome};
use crate::fake::START;

const DAY: u64 = 86_400_000;

fn closed() -> String {
    json!({"version": 1, "refresh": {"on_failure": "closed"}}).to_string()
}

fn seen(store: &MemoryStore, module: &str, millis: u64) {
    let answer = ask_at(store, "seen", json!({"module": module}), at(millis));
    assert_eq!(answer["result"], json!({"done": true}));
}

fn push_at(store: &MemoryStore, base: &str, document: &str, millis: u64) -> Value {
    let fields = json!({"base": base, "document": document, "author": "ada", "role": "operator"});
    ask_at(store, "push", fields, at(millis))
}

#[test]
fn a_document_waits_until_the_oldest_module_is_gone_for_a_day() {
    let store = MemoryStore::default();
    seen(&store, "0.1.0", 0);
    seen(&store, "0.1.7", 5);
    assert_eq!(outcome(&push_at(&store, "r0", &document("a"), 10)), "r1");
    let answer = push_at(&store, "r1", &closed(), 20);
    let expected = json!({"reason": "needs-newer-module", "needs": "0.2.0", "oldest": "0.1.0"});
    assert_eq!(answer["refused"], expected);
    assert_eq!(push_at(&store, "r1", &closed(), DAY)["refused"]["oldest"], "0.1.0");
    assert_eq!(push_at(&store, "r1", &closed(), DAY + 1)["refused"]["oldest"], "0.1.7");
    assert_eq!(ask_at(&store, "status", json!({}), at(DAY + 1))["result"]["oldest_module"], "0.1.7");
    // It shows itself again: another day.
    seen(&store, "0.1.0", DAY + 3);
    assert_eq!(outcome(&push_at(&store, "r1", &closed(), 2 * DAY + 3)), "needs-newer-module");
    assert_eq!(outcome(&push_at(&store, "r1", &closed(), 2 * DAY + 4)), "r2");
}

#[test]
fn every_message_shows_its_module_and_going_back_is_checked_too() {
    let store = MemoryStore::default();
    assert_eq!(outcome(&push_at(&store, "r0", &closed(), 0)), "r1");
    assert_eq!(outcome(&push_at(&store, "r1", &document("a"), 0)), "r2");
    ask(&store, "active", json!({"module": "0.1.0"}));
    let back = json!({"to": "r1", "base": "r2", "author": "ada", "role": "operator"});
    assert_eq!(outcome(&ask(&store, "rollback", back.clone())), "needs-newer-module");
    assert_eq!(outcome(&ask_at(&store, "rollback", back, at(DAY + 1))), "r3");
}

#[test]
fn what_is_no_version_is_not_counted() {
    let store = MemoryStore::default();
    for module in ["", "0", "0.1", "a.b.c", "0.1.0-beta", "0.1.+1", "0..1", "99999999999.0.0"] {
        seen(&store, module, 0);
    }
    assert_eq!(outcome(&push_at(&store, "r0", &closed(), 0)), "r1");
}

/// A module that was rolled back after the policy was: it takes the newest
/// that it can.
#[test]
fn an_old_module_gets_the_newest_that_it_can_read() {
    let store = MemoryStore::default();
    push_at(&store, "r0", &document("a"), 0);
    push_at(&store, "r1", &document("b"), 1);
    push_at(&store, "r2", &closed(), 2);
    let active = |module: &str, have: Value| {
        let answer = ask(&store, "active", json!({"module": module, "have": have}))["result"].clone();
        let value = answer["manifest"]["value"].as_str().unwrap_or("null").to_owned();
        let manifest: Value = serde_json::from_str(&value).unwrap();
        (manifest["revision"].clone(), manifest["sequence"].clone(), answer)
    };
    let behind = json!({"revision": "r3", "module": "0.2.0"});
    let (revision, sequence, answer) = active("0.1.0", json!(null));
    assert_eq!((&revision, &answer["behind"]), (&json!("r2"), &behind));
    let (_, _, answer) = active("0.1.0", sequence.clone());
    assert_eq!(answer, json!({"unchanged": true, "behind": behind}));
    // Never something lower than what it has.
    let (_, _, answer) = active("0.1.0", json!(sequence.as_u64().unwrap() + 1));
    assert_eq!(answer, json!({"unchanged": true, "behind": behind}));
    let (_, _, answer) = active("0.0.9", json!(null));
    assert_eq!(answer, json!({"none": true, "behind": behind}));
    let (revision, sequence, answer) = active("0.2.0", json!(null));
    assert_eq!((&revision, &answer["behind"]), (&json!("r3"), &json!(null)));
    assert_eq!(active("1.0.0", sequence).2, json!({"unchanged": true}));
}

#[test]
fn the_search_for_an_old_revision_crosses_pages_and_ends() {
    let store = MemoryStore::default();
    push_at(&store, "r0", &document("a"), 0);
    for number in 1..230 {
        push_at(&store, &format!("r{number}"), &closed(), number);
    }
    let answer = ask(&store, "active", json!({"module": "0.1.0"}))["result"].clone();
    assert!(answer["manifest"]["value"].as_str().unwrap().contains("\"revision\":\"r1\""), "{answer}");
    let answer = ask(&store, "active", json!({"module": "0.0.1"}))["result"].clone();
    assert_eq!(answer["none"], true);
}

/// A policy that was written by hand, before there was a `Control` object,
/// must not stay in force because its number is high.
#[test]
fn whoever_has_a_higher_sequence_gets_a_higher_one_yet() {
    let store = MemoryStore::default();
    push_at(&store, "r0", &document("a"), 0);
    let high: u64 = 1 << 50;
    let active = |have: u64| ask(&store, "active", json!({"have": have}))["result"].clone();
    let manifest: Value = serde_json::from_str(active(high)["manifest"]["value"].as_str().unwrap()).unwrap();
    assert_eq!((&manifest["sequence"], &manifest["revision"]), (&json!(high + 1), &json!("r1")));
    assert_eq!(active(high + 1), json!({"unchanged": true}));
    assert_eq!(ask(&store, "status", json!({}))["result"]["state"], "pending");
    let answer = push_at(&store, "r1", &document("b"), 1);
    assert_eq!(answer["result"]["sequence"], json!(high + 2));
    // One that follows the store says so when it reports.
    ask(&store, "seen", json!({"have": high + 10}));
    assert_eq!(ask(&store, "status", json!({}))["result"]["sequence"], json!(high + 11));
    // What no number can be above is left alone.
    for have in [(1 << 53) - 1, 1 << 53, u64::MAX] {
        assert_eq!(active(have), json!({"unchanged": true}));
    }
    assert_eq!(ask(&store, "status", json!({}))["result"]["sequence"], json!(high + 11));
}

#[test]
fn an_empty_plane_does_not_rise_above_anything() {
    let store = MemoryStore::default();
    assert_eq!(ask(&store, "active", json!({"have": 7}))["result"], json!({"none": true}));
    ask(&store, "seen", json!({"have": 7}));
    assert_eq!(ask(&store, "status", json!({}))["result"]["sequence"], json!(0));
    assert!(store.disk.borrow().alarm.is_none());
}

/// Sequences follow the clock, so that an object that lost its storage does
/// not begin below what isolates have.
#[test]
fn sequences_are_above_the_last_one_and_not_below_the_clock() {
    let store = MemoryStore::default();
    let sequence = |base: &str, millis: u64| {
        push_at(&store, base, &document("a"), millis)["result"]["sequence"].as_u64().unwrap()
    };
    assert_eq!(sequence("r0", 5), START + 5);
    assert_eq!(sequence("r1", 5), START + 6);
    // A clock that went back.
    assert_eq!(sequence("r2", 0), START + 7);
    assert_eq!(sequence("r3", 60_000), START + 60_000);
}

#[test]
fn the_list_of_modules_is_bounded_and_written_rarely() {
    let mut modules = Modules::default();
    assert!(modules.note(Version(0, 2, 0), at(0)).is_some());
    assert!(modules.note(Version(0, 2, 0), at(59_999)).is_none());
    assert!(modules.note(Version(0, 2, 0), at(60_000)).is_some());
    // A clock that went back is corrected.
    assert!(modules.note(Version(0, 2, 0), at(0)).is_some());
    for patch in 0..500 {
        modules.note(Version(0, 3, patch), at(1));
    }
    let text = format!("{:?}", modules.note(Version(0, 9, 9), at(70_000)));
    assert!(text.matches("0.3.").count() < 64, "{text}");
    // The oldest is what counts, and is kept.
    assert_eq!(modules.oldest(at(1)), Some(Version(0, 2, 0)));
    assert_eq!(modules.oldest(at(2).after(MODULE_LIFETIME)), None);
    assert_eq!(MODULE_LIFETIME, Duration::from_secs(86_400));
}
