//! The protocol with the `Control` object: what is read, what is refused, and
//! that this version and the one before understand each other.

use std::time::Duration;

use edgeweir::control::answer::{
    Acknowledgement, ActivePolicy, Behind, Done, PublicationState, Refusal, Refused, decode_answer,
    encode_answer,
};
use edgeweir::control::client::{NoControl, active, part, seen};
use edgeweir::control::message::{
    Action, Active, LEAST, MESSAGE_LIMIT, Note, PROTOCOL, PartOf, Push, Role, decode_request, encode_request,
    revision_name, revision_number,
};
use edgeweir::control::plane::{decide, handle};
use edgeweir::error::PlatformError;
use edgeweir::platform::ControlClient;
use edgeweir::policy::manifest::sha256_hex;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::memory::MemoryStore;
use super::{ask, at, document, outcome, push};
use crate::fake::{block_on, check};

/// Sends a text to an object that speaks `protocol`.
fn tell(store: &MemoryStore, text: &str, protocol: u32) -> Value {
    serde_json::from_str(&decide(store, text, at(0), protocol).unwrap().text()).unwrap()
}

#[test]
fn names_of_revisions() {
    check(500, any::<u64>(), |number| {
        prop_assert_eq!(revision_number(&revision_name(number)), Some(number));
        Ok(())
    });
    for bad in ["", "r", "7", "r07", "r+7", "r 7", "R7", "r7 ", "r-1", "r1e3", "r18446744073709551616", "r٧"]
    {
        assert_eq!(revision_number(bad), None, "{bad}");
    }
}

#[test]
fn what_is_written_can_be_read() {
    let push = Push {
        base: "r1".to_owned(),
        document: "{\"가\":\"\\\\\"}".to_owned(),
        parts: vec!["\u{0}\n".to_owned()],
        message: String::new(),
        author: "ada".to_owned(),
        role: Role::Owner,
    };
    for action in [
        Action::Active(Active { have: None }),
        Action::Active(Active { have: Some(u64::MAX) }),
        Action::Part(PartOf { hash: "x".to_owned() }),
        Action::Push(push),
        Action::Note(Note { attempt: "push".to_owned(), role: Some(Role::Reader), ..Note::default() }),
        Action::NoteDone(Note { attempt: "warm".to_owned(), role: Some(Role::Operator), ..Note::default() }),
        Action::Seen(Active { have: Some(7) }),
        Action::Status,
    ] {
        let read = decode_request(&encode_request(&action), PROTOCOL).unwrap();
        assert_eq!((read.action, read.version), (action, PROTOCOL));
        assert_eq!(read.module.as_deref(), Some(env!("CARGO_PKG_VERSION")));
    }
}

#[test]
fn hostile_messages_are_refused() {
    let store = MemoryStore::default();
    for (text, reason) in [
        (String::new(), "malformed"),
        ("{".to_owned(), "malformed"),
        ("null".to_owned(), "malformed"),
        ("[2,1,null,\"status\"]".to_owned(), "malformed"),
        ("{}".to_owned(), "malformed"),
        ("{\"version\":2}".to_owned(), "malformed"),
        ("{\"version\":\"2\",\"action\":\"status\"}".to_owned(), "malformed"),
        ("{\"version\":2.5,\"action\":\"status\"}".to_owned(), "malformed"),
        ("{\"version\":-1,\"action\":\"status\"}".to_owned(), "malformed"),
        ("{\"version\":2,\"version\":1,\"action\":\"status\"}".to_owned(), "malformed"),
        ("{\"version\":2,\"action\":[\"status\"]}".to_owned(), "malformed"),
        ("{\"version\":2,\"action\":\"status\"} x".to_owned(), "malformed"),
        ("{\"version\":2,\"action\":\"status\",\"module\":7}".to_owned(), "malformed"),
        ("{\"version\":2,\"action\":\"active\",\"have\":-1}".to_owned(), "malformed"),
        ("{\"version\":2,\"action\":\"active\",\"have\":18446744073709551616}".to_owned(), "malformed"),
        ("{\"version\":2,\"action\":\"push\"}".to_owned(), "malformed"),
        (format!("{{\"version\":2,\"action\":\"status\",\"x\":{}", "[".repeat(100_000)), "malformed"),
        ("{\"version\":2,\"action\":\"drop\"}".to_owned(), "no-such-action"),
        ("{\"version\":2,\"action\":\"\"}".to_owned(), "no-such-action"),
        ("{\"version\":0,\"action\":\"status\"}".to_owned(), "unsupported-version"),
        ("{\"version\":3,\"action\":\"status\"}".to_owned(), "unsupported-version"),
        ("{\"version\":9,\"least\":3,\"action\":\"status\"}".to_owned(), "unsupported-version"),
        (format!("{{\"version\":2,\"action\":\"status\"}}{}", " ".repeat(MESSAGE_LIMIT)), "too-large"),
    ] {
        let answer = tell(&store, &text, 2);
        assert_eq!(outcome(&answer), reason, "{text:.60}");
        assert_eq!(answer["version"], 2);
    }
    let whole = json!({"base": "r0", "document": "{}", "author": "a", "role": "owner"});
    for (field, bad) in [
        ("base", json!(0)),
        ("base", json!(null)),
        ("document", json!({"version": 1})),
        ("document", json!(null)),
        ("author", json!(["a"])),
        ("role", json!("root")),
        ("role", json!(null)),
        ("message", json!(7)),
        ("parts", json!([7])),
        ("parts", json!("x")),
    ] {
        let mut fields = whole.clone();
        fields[field] = bad.clone();
        assert_eq!(outcome(&ask(&store, "push", fields)), "malformed", "{field} {bad}");
    }
    for missing in ["base", "document", "author", "role"] {
        let mut fields = whole.clone();
        fields.as_object_mut().unwrap().remove(missing);
        assert_eq!(outcome(&ask(&store, "push", fields)), "malformed", "{missing}");
    }
    for hash in ["", "x", "../state", &"A".repeat(64), &"0".repeat(64), &"0".repeat(65)] {
        assert_eq!(outcome(&ask(&store, "part", json!({"hash": hash}))), "no-such-part", "{hash}");
    }
    for name in ["", "r0", "r1", "state"] {
        assert_eq!(outcome(&ask(&store, "revision", json!({"name": name}))), "no-such-revision", "{name}");
    }
    // None of it left anything behind but the module that asked.
    let disk = store.disk.borrow();
    assert!(disk.rows.is_empty() && disk.objects.is_empty() && disk.alarm.is_none());
}

#[test]
fn no_text_panics_and_every_text_is_answered() {
    let store = MemoryStore::default();
    check(1_000, any::<String>(), |text| {
        let answer: Value = serde_json::from_str(&handle(&store, &text, at(0)).unwrap()).unwrap();
        prop_assert!(answer["refused"]["reason"].is_string());
        prop_assert!(decode_answer::<Done>(&text).is_err());
        Ok(())
    });
    let field =
        prop::sample::select(vec!["base", "document", "role", "have", "hash", "limit", "before", "to", "x"]);
    let value = prop_oneof![
        any::<u64>().prop_map(|number| json!(number)),
        any::<String>().prop_map(|text| json!(text)),
        Just(json!(null)),
        Just(json!([[]])),
        Just(json!("owner")),
        Just(json!("r0")),
    ];
    let action = prop::sample::select(vec![
        "active",
        "part",
        "push",
        "rollback",
        "revision",
        "history",
        "audit",
        "note",
        "note-done",
        "seen",
        "status",
    ]);
    check(1_000, (action, prop::collection::btree_map(field, value, 0..6)), |(action, fields)| {
        let answer = ask(&store, action, json!(fields));
        prop_assert!(answer["refused"].is_object() || answer["result"].is_object());
        Ok(())
    });
}

/// The module before this one, and an object that still runs its code.
#[test]
fn this_protocol_and_the_one_before_understand_each_other() {
    assert_eq!((PROTOCOL, LEAST), (3, 1));
    let store = MemoryStore::default();
    // An old module asks a new object, and gets an answer of its own protocol.
    let old = json!({"version": 1, "action": "push", "base": "r0", "document": document("a"), "author": "a",
        "role": "operator"});
    let answer = tell(&store, &old.to_string(), 2);
    assert_eq!((&answer["version"], outcome(&answer).as_str()), (&json!(1), "r1"));
    // A new module asks an old object: `least` says that it will understand,
    // and it leaves out what it does not know.
    let new = json!({"version": 2, "least": 1, "module": "0.2.0", "action": "push", "base": "r1",
        "document": document("b"), "author": "a", "role": "operator", "message": "m", "later": {"deep": [1]}});
    let answer = tell(&store, &new.to_string(), 1);
    assert_eq!((&answer["version"], outcome(&answer).as_str()), (&json!(1), "r2"));
    let read = decode_answer::<Acknowledgement>(&answer.to_string()).unwrap().unwrap();
    assert_eq!((read.revision.as_str(), read.state), ("r2", PublicationState::Pending));
    // What this module writes, an object of the protocol before understands.
    // What it does not know it does not write down as something else.
    let note = Note { attempt: "warm".to_owned(), role: Some(Role::Operator), ..Note::default() };
    let answer = tell(&store, &encode_request(&Action::NoteDone(note)), 2);
    assert_eq!(outcome(&answer), "no-such-action");
    for action in [Action::Status, Action::Seen(Active::default()), Action::Active(Active { have: Some(1) })]
    {
        let answer = tell(&store, &encode_request(&action), 2);
        assert!(answer["result"].is_object(), "{answer}");
    }
    // A protocol to come that says it can be understood here is.
    let later = json!({"version": 3, "least": 2, "module": "0.9.0", "action": "status"});
    let answer = tell(&store, &later.to_string(), 2);
    assert_eq!((&answer["version"], &answer["result"]["active"]), (&json!(2), &json!("r2")));
}

#[test]
fn an_old_asker_gets_no_field_that_it_does_not_know() {
    let store = MemoryStore::default();
    let closed = json!({"version": 1, "refresh": {"on_failure": "closed"}}).to_string();
    assert_eq!(outcome(&push(&store, "r0", &closed)), "r1");
    // Without a module it is the first one, which cannot read it.
    let answer = tell(&store, &json!({"version": 1, "action": "active"}).to_string(), 2);
    assert_eq!(answer, json!({"version": 1, "result": {"none": true}}));
    let answer = tell(&store, &json!({"version": 2, "action": "active"}).to_string(), 2);
    assert_eq!(answer["result"]["behind"], json!({"revision": "r1", "module": "0.2.0"}));
}

#[test]
fn answers_survive_their_text() {
    let refused = Refused { base: Some("r1".to_owned()), ..Refused::new(Refusal::StaleBase) };
    let text = encode_answer::<Done>(2, Err(refused.clone()));
    assert_eq!(decode_answer::<Done>(&text), Ok(Err(refused)));
    let behind = Some(Behind { revision: "r1".to_owned(), module: "0.2.0".to_owned() });
    let policy = ActivePolicy { unchanged: true, behind, ..ActivePolicy::default() };
    assert_eq!(decode_answer(&encode_answer(2, Ok(policy.clone()))), Ok(Ok(policy)));
    // A reason of a later protocol is still a refusal.
    let later = "{\"version\":2,\"refused\":{\"reason\":\"frozen\",\"until\":7}}";
    assert_eq!(decode_answer::<Done>(later), Ok(Err(Refused::new(Refusal::Other))));
    for bad in ["", "{", "null", "[2,null,null]", "{}", "{\"version\":2}", "{\"version\":2,\"result\":null}"]
    {
        assert!(decode_answer::<Done>(bad).is_err(), "{bad}");
    }
    for refusal in [Refusal::StaleBase, Refusal::NeedsNewerModule, Refusal::NoSuchAction, Refusal::Other] {
        assert_eq!(json!(refusal), json!(refusal.as_str()));
    }
}

/// An object that gives the same answer to everything.
struct Says(String);

impl ControlClient for Says {
    async fn call(&self, _: &str, _: Duration) -> Result<String, PlatformError> {
        Ok(self.0.clone())
    }
}

#[test]
fn what_an_isolate_makes_of_answers() {
    let wait = Duration::from_secs(1);
    let says = |answer: Value| Says(answer.to_string());
    assert!(block_on(active(&NoControl, None, wait)).unwrap().none);
    assert!(block_on(seen(&says(json!({"version": 2, "result": {"done": true}})), None, wait)).is_ok());
    let refused = says(json!({"version": 2, "refused": {"reason": "unsupported-version"}}));
    let error = block_on(active(&refused, None, wait)).unwrap_err();
    assert_eq!(error.to_string(), "control: refused: unsupported-version");
    assert!(block_on(active(&Says("<html>".to_owned()), None, wait)).is_err());
    let hash = sha256_hex(b"x");
    let bytes = says(json!({"version": 2, "result": {"part": "00ffA0"}}));
    assert_eq!(block_on(part(&bytes, &hash, wait)).unwrap(), [0, 255, 160]);
    for bad in ["0", "0g", "+1", "가가"] {
        assert!(
            block_on(part(&says(json!({"version": 2, "result": {"part": bad}})), &hash, wait)).is_err(),
            "{bad}"
        );
    }
}
