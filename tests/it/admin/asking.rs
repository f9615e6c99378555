//! `explain` and `replay`: about which policy, and strictly read.

use edgeweir::exchange::PlainHead;
use serde_json::{Value, json};

use super::{Admin, refused};
use crate::control;
use crate::fake::{Response, With, get};

const DENIED: &str = "203.0.113.9";

/// A policy that refuses an address at the entry.
fn denying() -> Value {
    json!({
        "version": 1,
        "upstreams": {"app": {"origin": "http://app.internal"}},
        "ip_filter": {"rules": [{"id": "bad", "action": "deny", "prefixes": ["203.0.113.0/24"]}]},
        "routes": [{"id": "all", "upstream": "app"}],
    })
}

fn allowing() -> Value {
    let mut policy = denying();
    policy.as_object_mut().unwrap().remove("ip_filter");
    policy
}

/// Acts on a policy that denies; `r1` allows.
fn admin() -> Admin {
    let admin = Admin::acting_on(&denying());
    let answer = control::push(&admin.gate.platform.control, "r0", &allowing().to_string());
    assert_eq!(answer["result"]["revision"], "r1");
    admin
}

fn explain(admin: &Admin, more: &[(&str, Value)]) -> Response {
    let mut call = json!({"url": "https://app.example/x", "client": DENIED});
    for (name, value) in more {
        call[*name] = value.clone();
    }
    admin.post("reader", "/explain", &call)
}

/// How it would end, and by which revision.
fn said(response: &Response) -> (String, String) {
    let explanation = response.json();
    let text = |name: &str| explanation[name].as_str().unwrap_or_default().to_owned();
    assert_eq!(response.status, 200, "{explanation}");
    (text("verdict"), text("revision"))
}

fn pair(verdict: &str, revision: &str) -> (String, String) {
    (verdict.to_owned(), revision.to_owned())
}

#[test]
fn a_request_is_explained_by_the_policy_that_is_asked_for() {
    let admin = admin();
    let acting = admin.gate.snapshot.revision.clone();
    assert_eq!(said(&explain(&admin, &[])), pair("refused", &acting));
    assert_eq!(said(&explain(&admin, &[("revision", json!("r1"))])), pair("forwarded", "r1"));
    assert_eq!(said(&explain(&admin, &[("document", allowing())])), pair("forwarded", "candidate"));
    // null is as good as nothing there.
    let nulls = [("document", Value::Null), ("revision", Value::Null)];
    assert_eq!(said(&explain(&admin, &nulls)), pair("refused", &acting));
    let one_null = [("document", allowing()), ("revision", Value::Null)];
    assert_eq!(said(&explain(&admin, &one_null)), pair("forwarded", "candidate"));
}

#[test]
fn nothing_is_sent_counted_or_written_down() {
    let admin = admin();
    for _ in 0..20 {
        explain(&admin, &[("revision", json!("r1")), ("client", json!("192.0.2.7"))]);
        admin.gate.platform.advance(1_000);
    }
    assert_eq!(admin.gate.sent_count(), 0);
    assert!(admin.gate.platform.takes.borrow().is_empty());
    assert!(admin.gate.platform.stored.borrow().is_empty());
    assert_eq!(admin.audit().len(), 1);
}

#[test]
fn a_question_is_read_strictly() {
    let admin = admin();
    for (more, label, path) in [
        (vec![("url", json!(7))], "invalid-body", "url"),
        (vec![("url", json!("app.example/x"))], "invalid-body", "url"),
        (vec![("client", json!("nowhere"))], "invalid-body", "client"),
        (vec![("headers", json!({"a b": "c"}))], "invalid-body", "headers"),
        (vec![("body", json!("x"))], "invalid-body", "body"),
        (vec![("revision", json!(3))], "invalid-body", "revision"),
        (vec![("document", json!("x"))], "invalid-policy", ""),
        (vec![("document", json!({"version": 1, "routes": [{"id": "a"}]}))], "invalid-policy", "routes[0]"),
    ] {
        let response = explain(&admin, &more);
        let status = if label == "invalid-body" { 400 } else { 422 };
        assert_eq!(refused(&response), (status, label.to_owned()), "{more:?}");
        let problem = response.json();
        let found = problem["problems"][0]["path"].as_str().unwrap();
        assert!(found.starts_with(path), "{more:?}: {problem}");
    }
    let both = explain(&admin, &[("document", allowing()), ("revision", json!("r1"))]);
    assert_eq!(refused(&both), (400, "invalid-body".to_owned()));
    assert!(both.json()["detail"].as_str().unwrap().contains("not both"));
    assert_eq!(refused(&explain(&admin, &[("revision", json!("r9"))])), (404, "no-such-revision".to_owned()));
    assert_eq!(refused(&explain(&admin, &[("revision", json!("x"))])), (404, "no-such-revision".to_owned()));
    for body in
        ["", "null", "[]", "\"x\"", "{\"url\":\"https://a.example/\",\"url\":\"https://b.example/\"}", "{}"]
    {
        let head = Admin::head("reader", "POST", "/explain").with("Content-Type", "application/json");
        let (response, _) = admin.send_bytes(&head, Ok(body.as_bytes()));
        assert_eq!(refused(&response), (400, "invalid-body".to_owned()), "{body}");
        assert!(!response.json()["problems"].as_array().unwrap().is_empty(), "{body}");
    }
}

#[test]
fn a_document_may_be_as_large_as_one_that_is_pushed() {
    let admin = admin();
    let mut document = allowing();
    let prefixes: Vec<String> =
        (0..60_000).map(|index| format!("10.{}.{}.0/24", index >> 8, index & 255)).collect();
    document["address_sets"] = json!({"many": {"prefixes": prefixes}});
    assert!(document.to_string().len() > 900_000 && document.to_string().len() < 1 << 20);
    assert_eq!(said(&explain(&admin, &[("document", document.clone())])), pair("forwarded", "candidate"));
    document["$schema"] = json!("x".repeat(200_000));
    let response = explain(&admin, &[("document", document)]);
    assert_eq!(refused(&response), (422, "invalid-policy".to_owned()));
}

/// Records as the gateway writes them.
fn log(admin: &Admin) -> String {
    let ask = |head: PlainHead| admin.gate.send(&head).1.line();
    [ask(get("/a")), ask(get("/b").from(DENIED)), ask(get("/c").from(DENIED))].join("\n")
}

#[test]
fn a_log_is_replayed_against_the_policy_that_is_asked_for() {
    let admin = admin();
    let records = log(&admin);
    let replay = |more: &[(&str, Value)]| {
        let mut call = json!({"records": records});
        for (name, value) in more {
            call[*name] = value.clone();
        }
        admin.post("reader", "/replay", &call)
    };
    let counts = |response: &Response| {
        assert_eq!(response.status, 200, "{}", response.body);
        let report = response.json();
        ["records", "same", "changed"].map(|name| report[name].as_u64().unwrap())
    };
    assert_eq!(counts(&replay(&[])), [3, 3, 0]);
    assert_eq!(counts(&replay(&[("revision", json!("r1"))])), [3, 1, 2]);
    assert_eq!(counts(&replay(&[("document", allowing())])), [3, 1, 2]);
    assert_eq!(counts(&replay(&[("document", Value::Null), ("revision", Value::Null)])), [3, 3, 0]);
    let both = replay(&[("document", allowing()), ("revision", json!("r1"))]);
    assert_eq!(refused(&both), (400, "invalid-body".to_owned()));
    assert_eq!(refused(&replay(&[("revision", json!("r9"))])), (404, "no-such-revision".to_owned()));
    assert_eq!(refused(&replay(&[("document", json!([]))])), (422, "invalid-policy".to_owned()));
    assert_eq!(refused(&replay(&[("x", json!(1))])), (400, "invalid-body".to_owned()));
    assert_eq!(refused(&replay(&[("records", json!(["a"]))])), (400, "invalid-body".to_owned()));
    let garbage = admin.post("reader", "/replay", &json!({"records": "x\n\n{}\r\n\u{0}"})).json();
    assert_eq!(garbage["records"], 0);
}

#[test]
fn both_speak_to_people_too() {
    let admin = admin();
    let plain = |target: &str, call: &Value| {
        let head = Admin::head("reader", "POST", target).with("Accept", "text/plain");
        admin.send(head, &call.to_string()).0
    };
    let explained = plain("/explain", &json!({"url": "https://app.example/x", "client": DENIED}));
    assert_eq!(explained.field("content-type").unwrap(), "text/plain; charset=utf-8");
    assert!(explained.body.contains("203.0.113.0/24"), "{}", explained.body);
    let replayed = plain("/replay", &json!({"records": log(&admin)}));
    assert_eq!(replayed.field("content-type").unwrap(), "text/plain; charset=utf-8");
    assert!(replayed.body.starts_with("3 records: 3 same"), "{}", replayed.body);
    // A refusal is problem details all the same.
    assert_eq!(refused(&plain("/replay", &json!({}))), (400, "invalid-body".to_owned()));
}
