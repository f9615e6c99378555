//! Pushes and rollbacks: each refusal, what is stored, and that the audit log
//! has all of it.

use edgeweir::control::message::PAGE_LIMIT;
use edgeweir::platform::Write;
use edgeweir::policy::DOCUMENT_LIMIT;
use edgeweir::policy::manifest::{Manifest, sha256_hex};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::memory::MemoryStore;
use super::{ask, at, audit, document, outcome, push};
use crate::fake::check;

fn push_as(store: &MemoryStore, role: &str, base: &str, document: &Value) -> Value {
    let fields = json!({"base": base, "document": document.to_string(), "author": "eve", "role": role});
    ask(store, "push", fields)
}

fn rollback(store: &MemoryStore, to: &str, base: &str) -> Value {
    ask(
        store,
        "rollback",
        json!({"to": to, "base": base, "author": "bob", "role": "operator", "message": "back"}),
    )
}

#[test]
fn an_empty_plane_says_so() {
    let store = MemoryStore::default();
    assert_eq!(ask(&store, "active", json!({}))["result"], json!({"none": true}));
    assert_eq!(outcome(&ask(&store, "revision", json!({}))), "no-such-revision");
    assert_eq!(ask(&store, "history", json!({}))["result"], json!({"revisions": [], "more": false}));
    assert_eq!(ask(&store, "audit", json!({}))["result"], json!({"entries": [], "more": false}));
    let status = &ask(&store, "status", json!({}))["result"];
    assert_eq!((&status["active"], &status["state"]), (&json!("r0"), &json!("published")));
}

#[test]
fn a_push_becomes_a_revision_with_all_that_belongs_to_it() {
    let store = MemoryStore::default();
    let text = format!(" {}\n", document("a"));
    let answer = push(&store, "r0", &text);
    let hash = sha256_hex(text.as_bytes());
    let result = &answer["result"];
    assert_eq!((&result["revision"], &result["hash"]), (&json!("r1"), &json!(hash)));
    assert_eq!(result["state"], "pending");
    let sequence = result["sequence"].as_u64().unwrap();
    let stored = &ask(&store, "revision", json!({}))["result"];
    assert_eq!(stored["document"], json!(text));
    for (field, value) in [
        ("revision", json!("r1")),
        ("sequence", json!(sequence)),
        ("hash", json!(hash)),
        ("bytes", json!(text.len())),
        ("module", json!("0.1.0")),
        ("author", json!("ada")),
        ("role", json!("operator")),
        ("time", json!("2026-01-01T00:00:00.000Z")),
        ("message", json!("why")),
        ("base", json!("r0")),
    ] {
        assert_eq!(stored[field], value, "{field}");
    }
    assert_eq!(
        audit(&store)[0],
        json!({"id": 1, "time": "2026-01-01T00:00:00.000Z", "author": "ada",
        "role": "operator", "action": "push", "outcome": "accepted", "revision": "r1", "base": "r0", "message": "why"})
    );
    // The manifest carries the document as it stands, under the same sequence.
    let manifest = &ask(&store, "active", json!({}))["result"]["manifest"];
    let manifest =
        Manifest::parse(manifest["value"].as_str().unwrap(), manifest["metadata"].as_str()).unwrap();
    assert_eq!((manifest.sequence, manifest.revision.as_str()), (sequence, "r1"));
    assert_eq!(manifest.policy, text.trim());
    // The alarm that publishes it was stored with it.
    assert!(store.disk.borrow().alarm.is_some());
}

#[test]
fn of_several_changes_on_one_base_the_first_wins() {
    let store = MemoryStore::default();
    push(&store, "r0", &document("a"));
    let answers: Vec<String> =
        ["b", "c", "d"].iter().map(|name| outcome(&push(&store, "r1", &document(name)))).collect();
    assert_eq!(answers, ["r2", "stale-base", "stale-base"]);
    let answer = push(&store, "r1", &document("e"));
    assert_eq!(answer["refused"], json!({"reason": "stale-base", "base": "r1", "active": "r2"}));
    assert_eq!(outcome(&rollback(&store, "r1", "r1")), "stale-base");
    for base in ["", "r3", "r02", "R2", "2", "r2 ", "r-1", "r18446744073709551616", "가"] {
        assert_eq!(outcome(&push(&store, base, &document("f"))), "stale-base", "{base}");
    }
    let stored = &ask(&store, "revision", json!({}))["result"];
    assert_eq!(stored["document"], json!(document("b")));
    assert_eq!(audit(&store).len(), 15);
}

#[test]
fn the_same_document_again_is_a_revision_all_the_same() {
    let store = MemoryStore::default();
    let first = push(&store, "r0", &document("a"));
    let second = push(&store, "r1", &document("a"));
    assert_eq!((outcome(&second).as_str(), &second["result"]["hash"]), ("r2", &first["result"]["hash"]));
    assert!(second["result"]["sequence"].as_u64() > first["result"]["sequence"].as_u64());
}

#[test]
fn a_rollback_is_a_new_revision_with_the_old_content() {
    let store = MemoryStore::default();
    let parts = json!(["one", "two", "one"]);
    let fields =
        json!({"base": "r0", "document": document("a"), "parts": parts, "author": "ada", "role": "operator"});
    let first = ask(&store, "push", fields);
    push(&store, "r1", &document("b"));
    let back = rollback(&store, "r1", "r2");
    assert_eq!((outcome(&back).as_str(), &back["result"]["hash"]), ("r3", &first["result"]["hash"]));
    let of = |name: &str| ask(&store, "revision", json!({"name": name}))["result"].clone();
    let (old, new) = (of("r1"), of("r3"));
    for field in ["document", "hash", "bytes", "module", "parts"] {
        assert_eq!(old[field], new[field], "{field}");
    }
    assert_eq!(old["parts"].as_array().unwrap().len(), 2);
    assert_eq!(
        (&new["rollback_to"], &new["author"], &new["base"]),
        (&json!("r1"), &json!("bob"), &json!("r2"))
    );
    assert!(new["sequence"].as_u64() > of("r2")["sequence"].as_u64());
    // The parts can be had from here, whatever the store shows.
    let hash = sha256_hex(b"two");
    assert_eq!(ask(&store, "part", json!({"hash": hash}))["result"]["part"], json!("74776f"));
    let entry = audit(&store).pop().unwrap();
    assert_eq!(
        (&entry["action"], &entry["to"], &entry["revision"]),
        (&json!("rollback"), &json!("r1"), &json!("r3"))
    );
    for name in ["r0", "r4", "r", "", "r01", "active"] {
        assert_eq!(outcome(&rollback(&store, name, "r3")), "no-such-revision", "{name}");
    }
    assert_eq!(outcome(&rollback(&store, "r3", "r3")), "r4");
}

#[test]
fn what_does_not_compile_changes_nothing_and_every_problem_is_named() {
    let store = MemoryStore::default();
    push(&store, "r0", &document("a"));
    let before = store.disk.borrow().rows.len();
    let bad = json!({"version": 2, "refresh": {"interval": "1w"}, "nope": 1});
    let answer = push(&store, "r1", &bad.to_string());
    assert_eq!(answer["refused"]["reason"], "invalid-policy");
    let problems = answer["refused"]["problems"].as_array().unwrap();
    let paths: Vec<&str> = problems.iter().map(|problem| problem["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["nope", "refresh.interval", "version"]);
    for bad in ["", "{", "null", "{\"version\":1,\"version\":1}", "{\"version\":1}}", &"[".repeat(200_000)] {
        assert_eq!(outcome(&push(&store, "r1", bad)), "invalid-policy", "{bad:.20}");
    }
    assert_eq!(ask(&store, "status", json!({}))["result"]["active"], "r1");
    // Only audit entries came about.
    assert_eq!(store.disk.borrow().rows.len(), before + 7);
    assert_eq!(store.disk.borrow().objects.len(), 1);
    let entry = audit(&store).pop().unwrap();
    assert_eq!((&entry["outcome"], &entry["reason"]), (&json!("refused"), &json!("invalid-policy")));
}

#[test]
fn a_document_of_one_mebibyte_is_taken_and_one_byte_more_is_not() {
    let store = MemoryStore::default();
    let text = |length: usize| format!("{{\"version\":1{}}}", " ".repeat(length - 13));
    assert_eq!(outcome(&push(&store, "r0", &text(DOCUMENT_LIMIT + 1))), "too-large");
    assert_eq!(outcome(&push(&store, "r0", &text(DOCUMENT_LIMIT))), "r1");
    let with = |parts: Value| {
        let fields =
            json!({"base": "r1", "document": document("a"), "parts": parts, "author": "a", "role": "owner"});
        outcome(&ask(&store, "push", fields))
    };
    assert_eq!(with(json!(vec!["x"; 65])), "too-large");
    assert_eq!(with(json!(["x".repeat((1 << 20) + 1)])), "too-large");
    assert_eq!(with(json!(["x".repeat(1 << 20)])), "r2");
    assert_eq!(audit(&store).len(), 5);
}

#[test]
fn what_an_author_writes_is_clipped() {
    let store = MemoryStore::default();
    let long = "가".repeat(400);
    let fields = json!({"base": &long, "document": document("a"), "author": &long, "role": "operator", "message": &long});
    ask(&store, "push", fields.clone());
    let mut good = fields;
    good["base"] = json!("r0");
    ask(&store, "push", good);
    let stored = &ask(&store, "revision", json!({}))["result"];
    let length = |value: &Value| value.as_str().unwrap().len();
    assert_eq!((length(&stored["message"]), length(&stored["author"])), (498, 63));
    for entry in audit(&store) {
        assert!(
            length(&entry["message"]) <= 500
                && length(&entry["author"]) <= 64
                && length(&entry["base"]) <= 64
        );
    }
}

#[test]
fn only_an_operator_changes_anything_and_only_an_owner_changes_admin() {
    let store = MemoryStore::default();
    let plain = json!({"version": 1});
    let admin = |host: &str| json!({"version": 1, "admin": {"hosts": [host]}});
    let mut number = 0;
    for (role, document, refused) in [
        ("reader", plain.clone(), Some("needs-operator")),
        ("operator", admin("a.example"), Some("needs-owner")),
        // Not there and null are the same.
        ("operator", json!({"version": 1, "admin": {}}), Some("needs-owner")),
        ("owner", admin("a.example"), None),
        ("operator", plain.clone(), Some("needs-owner")),
        ("operator", admin("b.example"), Some("needs-owner")),
        ("operator", admin("a.example"), None),
        ("operator", json!({"admin": {"hosts": ["a.example"]}, "version": 1, "routes": []}), None),
        ("owner", plain.clone(), None),
        ("operator", plain, None),
    ] {
        let answer = outcome(&push_as(&store, role, &format!("r{number}"), &document));
        number += u64::from(refused.is_none());
        assert_eq!(answer, refused.map_or(format!("r{number}"), str::to_owned), "{role} {document}");
    }
    // Going back to another `admin` changes it, too.
    let back = |role: &str| json!({"to": "r1", "base": format!("r{number}"), "author": "eve", "role": role});
    assert_eq!(outcome(&ask(&store, "rollback", back("operator"))), "needs-owner");
    assert_eq!(outcome(&ask(&store, "rollback", back("reader"))), "needs-operator");
    assert_eq!(outcome(&ask(&store, "rollback", back("owner"))), "r6");
    assert_eq!(audit(&store).iter().filter(|entry| entry["outcome"] == "refused").count(), 7);
}

#[test]
fn an_attempt_that_was_refused_elsewhere_is_written_down() {
    let store = MemoryStore::default();
    let note = json!({"attempt": "push", "reason": "bad-token", "author": "?", "message": "from 192.0.2.1"});
    assert_eq!(ask(&store, "note", note)["result"], json!({"done": true}));
    let entry = &audit(&store)[0];
    assert_eq!(entry["action"], "push");
    assert_eq!((&entry["outcome"], &entry["reason"]), (&json!("refused"), &json!("bad-token")));
    assert_eq!((&entry["author"], &entry["message"]), (&json!("?"), &json!("from 192.0.2.1")));
}

#[test]
fn what_was_done_elsewhere_is_written_down() {
    let store = MemoryStore::default();
    let note = json!({"attempt": "warm", "author": "ann", "role": "operator", "message": "1 URLs: 1 stored"});
    assert_eq!(ask(&store, "note-done", note)["result"], json!({"done": true}));
    let entry = &audit(&store)[0];
    assert_eq!((&entry["action"], &entry["outcome"]), (&json!("warm"), &json!("accepted")));
    assert_eq!((entry.get("reason"), &entry["role"]), (None, &json!("operator")));
    assert_eq!((&entry["author"], &entry["message"]), (&json!("ann"), &json!("1 URLs: 1 stored")));
}

#[test]
fn history_and_audit_come_in_pages_newest_first() {
    let store = MemoryStore::default();
    for number in 0..205 {
        push(&store, &format!("r{number}"), "{\"version\":1}");
    }
    let page = |before: Value, limit: Value| {
        let answer = ask(&store, "history", json!({"before": before, "limit": limit}))["result"].clone();
        let names = answer["revisions"].as_array().unwrap().clone();
        let name = |at: Option<&Value>| at.map(|row| row["revision"].as_str().unwrap().to_owned());
        (name(names.first()), name(names.last()), names.len(), answer["more"].as_bool().unwrap())
    };
    let named = |first: &str, last: &str| (Some(first.to_owned()), Some(last.to_owned()));
    for (before, limit, first, last, count, more) in [
        (json!(null), json!(null), "r205", "r106", PAGE_LIMIT, true),
        (json!(null), json!(3), "r205", "r203", 3, true),
        (json!("r203"), json!(3), "r202", "r200", 3, true),
        (json!("r4"), json!(3), "r3", "r1", 3, false),
        (json!("r5"), json!(3), "r4", "r2", 3, true),
        (json!("r3"), json!(0), "r2", "r2", 1, true),
        (json!("r999"), json!(u64::MAX), "r205", "r106", PAGE_LIMIT, true),
    ] {
        let (first, last) = named(first, last);
        assert_eq!(page(before.clone(), limit.clone()), (first, last, count, more), "{before} {limit}");
    }
    assert_eq!(page(json!("r1"), json!(5)), (None, None, 0, false));
    assert_eq!(page(json!("r0"), json!(5)), (None, None, 0, false));
    assert_eq!(outcome(&ask(&store, "history", json!({"before": "x"}))), "no-such-revision");
    for bad in [json!({"limit": -1}), json!({"limit": 1.5}), json!({"limit": "3"}), json!({"before": 7})] {
        assert_eq!(outcome(&ask(&store, "history", bad.clone())), "malformed", "{bad}");
    }
    let ids = |fields: Value| {
        let answer = ask(&store, "audit", fields)["result"].clone();
        let ids: Vec<u64> =
            answer["entries"].as_array().unwrap().iter().map(|entry| entry["id"].as_u64().unwrap()).collect();
        (ids, answer["more"].as_bool().unwrap())
    };
    assert_eq!(ids(json!({"limit": 2})), (vec![205, 204], true));
    assert_eq!(ids(json!({"limit": 5, "before": 3})), (vec![2, 1], false));
    assert_eq!(ids(json!({"before": 1})), (vec![], false));
    assert_eq!(ids(json!({})).0.len(), PAGE_LIMIT);
}

/// A storage that fails, or dies at any point, leaves all of a change or
/// nothing, and whatever it answers is true.
#[test]
fn a_change_is_stored_whole_or_not_at_all() {
    for point in 0..12 {
        let store = MemoryStore::default();
        push(&store, "r0", &document("a"));
        let before = store.disk.borrow().clone();
        store.fuse.set(Some(point));
        let text = json!({"version": 2, "action": "push", "base": "r1", "document": document("b"), "author": "a",
            "role": "operator"});
        let answer = edgeweir::control::plane::handle(&store, &text.to_string(), at(5_000));
        let died = store.dead.replace(false);
        store.fuse.set(None);
        assert_eq!(answer.is_err(), died, "{point}");
        let changed = *store.disk.borrow() != before;
        assert!(changed || died, "{point}");
        let status = ask(&store, "status", json!({}))["result"]["active"].clone();
        assert_eq!(status, if changed { "r2" } else { "r1" });
        assert_eq!(audit(&store).len(), if changed { 2 } else { 1 });
        assert_eq!(store.disk.borrow().alarm != before.alarm, changed);
    }
    let store = MemoryStore::default();
    store.full.set(true);
    let text = json!({"version": 2, "action": "push", "base": "r0", "document": "{}", "author": "a", "role": "owner"});
    assert!(edgeweir::control::plane::handle(&store, &text.to_string(), at(0)).is_err());
}

/// Isolates read on where nothing can be written any more.
#[test]
fn a_full_storage_keeps_nobody_from_the_policy() {
    let store = MemoryStore::default();
    push(&store, "r0", &document("a"));
    store.full.set(true);
    let answer = ask(&store, "active", json!({"module": "0.3.0"}));
    assert!(answer["result"]["manifest"].is_object(), "{answer}");
}

/// What is stored and cannot be read is an error, never an empty beginning.
#[test]
fn a_damaged_storage_is_not_an_empty_one() {
    use edgeweir::platform::ControlStore as _;
    let store = MemoryStore::default();
    push(&store, "r0", &document("a"));
    store.apply(vec![Write::Value("state", "{\"active\":\"x\"}".to_owned())]).unwrap();
    let text = json!({"version": 2, "action": "status"}).to_string();
    assert!(edgeweir::control::plane::handle(&store, &text, at(0)).is_err());
}

/// Whatever is asked in whatever order: numbers, sequences and the audit log
/// grow without a gap, and the active revision is the newest.
#[test]
fn any_order_of_changes_keeps_the_record() {
    let step = (0_u8..4, 0_u64..8, 0_u64..8, prop::sample::select(vec!["reader", "operator", "owner"]));
    check(60, prop::collection::vec(step, 1..20), |steps| {
        let store = MemoryStore::default();
        let mut accepted = 0;
        for (kind, base, to, role) in &steps {
            let (base, to) = (format!("r{base}"), format!("r{to}"));
            let common = json!({"base": base, "author": "a", "role": role});
            let mut fields = common.clone();
            let action = if *kind == 0 {
                fields["to"] = json!(to);
                "rollback"
            } else {
                let broken = if *kind == 1 { "}" } else { "" };
                fields["document"] = json!(format!("{{\"version\":1}}{broken}"));
                "push"
            };
            let answer = outcome(&ask(&store, action, fields));
            if answer.starts_with('r') {
                accepted += 1;
                prop_assert_eq!(answer, format!("r{accepted}"));
            }
        }
        prop_assert_eq!(audit(&store).len(), steps.len());
        let history = ask(&store, "history", json!({}))["result"]["revisions"].clone();
        let sequences: Vec<u64> =
            history.as_array().unwrap().iter().map(|row| row["sequence"].as_u64().unwrap()).collect();
        prop_assert_eq!(sequences.len(), accepted);
        prop_assert!(sequences.windows(2).all(|pair| pair[0] > pair[1]));
        Ok(())
    });
}
