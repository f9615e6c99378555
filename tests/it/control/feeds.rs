//! What the object knows of feeds, and what is news about them.

use edgeweir::control::feeds::{FeedOutcome, FeedResult, FeedResults, FeedStates};
use edgeweir::feeds::fetch::Validators;
use serde_json::{Value, json};

use super::memory::MemoryStore;
use super::{ask_at, at, document, push};

fn validators(tag: &str) -> Validators {
    Validators { etag: Some(tag.to_owned()), last_modified: None }
}

fn failed(reason: &str) -> FeedOutcome {
    FeedOutcome::Failed { reason: reason.to_owned(), detail: "why".to_owned() }
}

fn result(name: &str, outcome: FeedOutcome) -> FeedResult {
    let url = "https://lists.example/x".to_owned();
    FeedResult { name: name.to_owned(), url, form: "netset refuse".to_owned(), outcome }
}

fn note(states: &mut FeedStates, now: u64, result: FeedResult) -> Vec<String> {
    let news = states.note(&FeedResults { results: vec![result], gone: Vec::new() }, at(now));
    news.iter().map(|news| format!("{} {}", news.name, news.reason.as_deref().unwrap_or("good"))).collect()
}

#[test]
fn news_is_what_was_otherwise_before() {
    let mut states = FeedStates::default();
    let silent: [&str; 0] = [];
    for (now, outcome, news) in [
        (1, FeedOutcome::Changed(validators("a")), None),
        (2, FeedOutcome::NotModified, None),
        (3, failed("shrunk"), Some("drop shrunk")),
        (4, failed("shrunk"), None),
        (5, failed("feed-status"), Some("drop feed-status")),
        (6, FeedOutcome::Other, None),
        (7, FeedOutcome::NotModified, Some("drop good")),
        (8, FeedOutcome::Unchanged(validators("b")), None),
        (9, failed("empty"), Some("drop empty")),
        (10, FeedOutcome::Changed(validators("c")), Some("drop good")),
    ] {
        let noted = note(&mut states, now, result("drop", outcome.clone()));
        assert_eq!(noted, news.map_or(silent.to_vec(), |news| vec![news]), "{now}");
        let state = states.of("drop").unwrap();
        let failure = state.failure.as_ref().map(|failure| (failure.since, failure.attempts));
        match now {
            4 => assert_eq!(failure, Some((at(3), 2))),
            5 | 6 => assert_eq!(failure, Some((at(3), 3))),
            9 => assert_eq!(failure, Some((at(9), 1))),
            3 => {}
            _ => assert_eq!(failure, None, "{now}"),
        }
        // What failed says nothing about the last good list.
        let tag = match now {
            1..=7 => "a",
            8 | 9 => "b",
            _ => "c",
        };
        assert_eq!(state.validators, validators(tag), "{now}");
        assert_eq!(state.checked, Some(at(if now == 6 { 5 } else { now })));
        assert_eq!(state.changed, Some(at(if now < 10 { 1 } else { 10 })));
    }
}

#[test]
fn another_url_or_form_begins_anew() {
    for change in [
        |result: &mut FeedResult| result.url = "https://lists.example/y".to_owned(),
        |result: &mut FeedResult| result.form = "aws refuse".to_owned(),
    ] {
        let mut states = FeedStates::default();
        note(&mut states, 1, result("drop", FeedOutcome::Changed(validators("a"))));
        note(&mut states, 2, result("drop", failed("shrunk")));
        let mut other = result("drop", failed("shrunk"));
        change(&mut other);
        assert_eq!(note(&mut states, 3, other), ["drop shrunk"]);
        let state = states.of("drop").unwrap();
        assert_eq!((state.changed, &state.validators), (None, &Validators::default()));
        assert_eq!(state.failure.as_ref().unwrap().since, at(3));
    }
}

#[test]
fn states_are_bounded_and_sorted() {
    let mut states = FeedStates::default();
    for number in (0..300).rev() {
        let long = "x".repeat(10_000);
        let outcome = FeedOutcome::Failed { reason: long.clone(), detail: long };
        note(&mut states, 1, result(&format!("f{number:03}"), outcome));
    }
    assert_eq!(states.feeds.len(), 256);
    assert!(states.feeds.is_sorted_by_key(|feed| feed.name.clone()));
    assert!(serde_json::to_string(&states).unwrap().len() < 300_000);
    // What is known is still noted.
    assert_eq!(note(&mut states, 2, result("f299", FeedOutcome::NotModified)), ["f299 good"]);
    let gone = FeedResults { results: Vec::new(), gone: vec!["f299".to_owned()] };
    assert!(states.note(&gone, at(3)).is_empty());
    assert!(states.of("f299").is_none());
}

fn report(store: &MemoryStore, now: u64, name: &str, outcome: Value) -> Value {
    let mut result = json!({"name": name, "url": "https://lists.example/x", "form": "netset refuse"});
    result.as_object_mut().unwrap().extend(outcome.as_object().unwrap().clone());
    ask_at(store, "feed-results", json!({"version": 3, "module": "0.3.0", "results": [result]}), at(now))
}

fn stored(store: &MemoryStore) -> Value {
    serde_json::from_str(&store.disk.borrow().values["state"]).unwrap()
}

#[test]
fn what_fails_is_an_alert_in_the_next_manifest() {
    let store = MemoryStore::default();
    push(&store, "r0", &document("a"));
    let before = stored(&store)["sequence"].as_u64().unwrap();
    let good = json!({"outcome": "changed", "etag": "\"a\""});
    report(&store, 1, "drop", good.clone());
    assert_eq!(stored(&store)["sequence"].as_u64().unwrap(), before);
    let answer =
        report(&store, 2, "drop", json!({"outcome": "failed", "reason": "shrunk", "detail": "less"}));
    assert_eq!(answer["result"]["news"][0]["reason"], "shrunk", "{answer}");
    let alert = json!({"kind": "feed", "name": "drop", "reason": "shrunk", "since": at(2).to_string()});
    assert_eq!(stored(&store)["alerts"], json!([alert]));
    let failing = stored(&store)["sequence"].as_u64().unwrap();
    assert!(failing > before && store.disk.borrow().alarm.is_some());
    // Once more, and nothing is new.
    report(&store, 3, "drop", json!({"outcome": "failed", "reason": "shrunk", "detail": "still less"}));
    assert_eq!(stored(&store)["sequence"].as_u64().unwrap(), failing);
    let answer = report(&store, 4, "drop", json!({"outcome": "not-modified"}));
    assert_eq!(
        (&answer["result"]["news"][0]["name"], &answer["result"]["news"][0]["reason"]),
        (&json!("drop"), &Value::Null)
    );
    assert!(stored(&store).get("alerts").is_none());
    assert!(stored(&store)["sequence"].as_u64().unwrap() > failing);
    let feeds = ask_at(&store, "feeds", json!({"version": 3, "module": "0.3.0"}), at(5));
    assert_eq!(feeds["result"]["feeds"][0]["etag"], "\"a\"", "{feeds}");
}

#[test]
fn an_alert_goes_with_its_feed() {
    let store = MemoryStore::default();
    push(&store, "r0", &document("a"));
    report(&store, 1, "drop", json!({"outcome": "failed", "reason": "empty"}));
    let gone = json!({"version": 3, "module": "0.3.0", "gone": ["drop"]});
    let answer = ask_at(&store, "feed-results", gone, at(2));
    assert_eq!(answer["result"]["news"], json!([]));
    assert!(stored(&store).get("alerts").is_none());
}

#[test]
fn alerts_are_bounded_and_others_stay() {
    let store = MemoryStore::default();
    push(&store, "r0", &document("a"));
    let mut state = stored(&store);
    state["alerts"] = json!([{"kind": "other", "name": "x", "reason": "y", "since": "z"}]);
    store.disk.borrow_mut().values.insert("state".to_owned(), state.to_string());
    for number in 0..100 {
        report(&store, number, &format!("f{number}"), json!({"outcome": "failed", "reason": "empty"}));
    }
    let alerts = stored(&store)["alerts"].as_array().unwrap().clone();
    assert_eq!((alerts.len(), &alerts[0]["kind"]), (64, &json!("other")));
}

#[test]
fn a_later_module_may_say_more() {
    let store = MemoryStore::default();
    let answer = report(&store, 1, "drop", json!({"outcome": "postponed", "until": 7}));
    assert_eq!(answer["result"]["news"], json!([]), "{answer}");
    // And an older protocol has no such message.
    for action in ["feeds", "feed-results"] {
        let text = json!({"version": 2, "module": "0.2.0", "action": action}).to_string();
        let decided = edgeweir::control::plane::decide(&store, &text, at(1), 2).unwrap().text();
        assert!(decided.contains("no-such-action"), "{decided}");
    }
}
