//! Looking at counters, and setting them back.

use serde_json::{Value, json};

use super::{Admin, refused};
use crate::control;
use crate::fake::{Fault, Gate, With, get};

/// Three rules of a route, and one of the entry.
fn admin() -> Admin {
    let rule = |id: &str, counting: &str, key: Value| json!({"id": id, "max": 2, "window": "1h", "counting": counting, "key": key});
    Admin::acting_on(&json!({
        "version": 1,
        "upstreams": {"app": {"origin": "http://app.internal"}},
        "rate_limit": {"rules": [{"id": "all", "max": 100, "window": "1h"}]},
        "routes": [{"id": "api", "upstream": "app", "rate_limit": {"rules": [
            rule("exact", "exact", json!(["client"])),
            rule("local", "local", json!(["client"])),
            rule("user", "leased", json!([{"header": "X-User"}])),
        ]}}],
    }))
}

fn spend(gate: &Gate, count: usize) -> Vec<u16> {
    (0..count).map(|_| gate.send(&get("/").with("X-User", "ann")).0.status).collect()
}

#[test]
fn a_client_s_counters_are_seen_and_set_back() {
    let admin = admin();
    assert_eq!(spend(&admin.gate, 3), [200, 200, 429]);
    let call = json!({"client": "192.0.2.1"});
    let report = admin.post("reader", "/limits/look", &call).json();
    let remaining = |report: &Value| -> Vec<(String, u64)> {
        let counters = report["counters"].as_array().unwrap().iter();
        counters
            .map(|counter| {
                let route = counter["route"].as_str().unwrap_or_default();
                let rule = counter["rule"].as_str().unwrap();
                (format!("{route}/{rule}"), counter["state"]["remaining"].as_u64().unwrap())
            })
            .collect()
    };
    // The rule by header field is no counter of the client's.
    let spent = [("/all".to_owned(), 97), ("api/exact".to_owned(), 0), ("api/local".to_owned(), 0)];
    assert_eq!(remaining(&report), spent);
    assert_eq!(report["counters"][1]["key"], json!([{"part": "client", "value": "192.0.2.1/32"}]));
    // Looking moves nothing.
    assert_eq!(remaining(&admin.post("reader", "/limits/look", &call).json()), spent);

    // The answer of a reset is what was there before.
    let before = admin.post("operator", "/limits/reset", &call).json();
    assert_eq!(remaining(&before), spent);
    assert_eq!(admin.audit().last().unwrap(), "operator|reset-limits|accepted|-");
    let entry = control::audit(&admin.gate.platform.control).pop().unwrap();
    assert_eq!(entry["message"], "3 counters: all, api/exact, api/local; from 192.0.2.1");
    let after = admin.post("reader", "/limits/look", &call).json();
    assert_eq!(remaining(&after).iter().map(|(_, left)| *left).collect::<Vec<_>>(), [100, 2, 2]);
    // The third rule still refuses: it counts somebody else.
    assert_eq!(spend(&admin.gate, 1), [429]);
}

#[test]
fn a_request_s_counters_are_those_of_its_route() {
    let admin = admin();
    assert_eq!(spend(&admin.gate, 3), [200, 200, 429]);
    let request = json!({"url": "https://app.example/", "client": "192.0.2.1", "headers": {"X-User": "ann"}});
    let call = json!({"request": request, "rule": "api/user"});
    let report = admin.post("reader", "/limits/look", &call).json();
    assert_eq!(report["counters"].as_array().unwrap().len(), 1);
    // What a client chose is not told.
    let value = report["counters"][0]["key"][0]["value"].as_str().unwrap();
    assert!(value.starts_with('#') && value.len() == 13, "{value}");
    let counter = report["counters"][0]["counter"].as_str().unwrap().to_owned();
    // By its name it is the same one.
    let named = admin.post("operator", "/limits/reset", &json!({"counter": counter, "rule": "api/user"}));
    assert_eq!(named.status, 200);
    let left =
        admin.post("reader", "/limits/look", &call).json()["counters"][0]["state"]["remaining"].clone();
    assert_eq!(left, 2);
}

/// The counter that a request finds is the one of the values in it.
#[test]
fn a_counter_is_found_by_what_its_key_holds() {
    let key = json!(["client", {"header": "X-User"}, {"cookie": "sid"}, {"query": "q"}, {"path": "team"}, "country",
        "method", "route"]);
    let admin = Admin::acting_on(&json!({
        "version": 1,
        "upstreams": {"app": {"origin": "http://app.internal"}},
        "routes": [{"id": "api", "match": {"path": "/{team}/*"}, "upstream": "app", "rate_limit": {"rules": [
            {"id": "many", "max": 2, "window": "1h", "key": key}]}}],
    }));
    let request = json!({"url": "https://app.example/red/x?q=a%20b", "client": "192.0.2.1", "country": "KR",
        "headers": {"X-User": "ann", "Cookie": "sid=7"}});
    let by_request = json!({"request": request, "rule": "api/many"});
    let found = admin.post("reader", "/limits/look", &by_request).json();
    let part = |part: Value, value: &str| json!({"part": part, "value": value});
    let values = json!([
        part(json!({"header": "X-User"}), "ann"),
        part(json!({"cookie": "sid"}), "7"),
        part(json!({"query": "q"}), "a b"),
        part(json!({"path": "team"}), "red"),
        part(json!("country"), "KR"),
        part(json!("method"), "GET"),
    ]);
    let call = json!({"client": "192.0.2.1", "rule": "api/many", "key": values});
    let named = admin.post("operator", "/limits/look", &call).json();
    assert_eq!(named["counters"], found["counters"]);
    assert_eq!(named["counters"][0]["counter"].as_str().unwrap().len(), 32);
    assert_eq!(admin.post("operator", "/limits/reset", &call).status, 200);
}

/// A refusal says what else the rule counts by.
#[test]
fn what_is_lacking_of_a_key_is_told() {
    let admin = admin();
    let ann = json!([{"part": {"header": "X-User"}, "value": "ann"}]);
    assert_eq!(spend(&admin.gate, 3), [200, 200, 429]);
    let reset = json!({"rule": "api/user", "key": ann});
    assert_eq!(
        admin.post("operator", "/limits/reset", &reset).json()["counters"][0]["state"]["remaining"],
        0
    );
    let detail = |call: Value| {
        let answer = admin.post("operator", "/limits/look", &call);
        assert_eq!(refused(&answer).0, 400, "{call}");
        answer.json()["detail"].as_str().unwrap().to_owned()
    };
    let says = |call: Value, text: &str| {
        let detail = detail(call);
        assert!(detail.contains(text), "{detail}");
    };
    says(json!({"client": "192.0.2.1", "rule": "api/user"}), "counts by x-user");
    says(json!({"rule": "api/exact", "key": ann}), "does not count by x-user");
    says(json!({"key": ann}), "Expected \"rule\"");
    says(json!({"key": ann, "rule": "api/user", "counter": "0".repeat(32)}), "Expected one of");
    says(json!({"rule": "api/user", "key": vec![ann[0].clone(); 9]}), "at most 8");
}

#[test]
fn what_is_meant_has_to_be_said() {
    let admin = admin();
    for (call, label) in [
        (json!({}), "invalid-body"),
        (json!({"client": "192.0.2.1", "counter": "0".repeat(32)}), "invalid-body"),
        (json!({"counter": "0".repeat(32)}), "invalid-body"),
        (json!({"counter": "xyz", "rule": "api/user"}), "invalid-body"),
        (json!({"client": "192.0.2.1", "rule": "api/nothing"}), "no-such-counter"),
    ] {
        let (_, found) = refused(&admin.post("operator", "/limits/reset", &call));
        assert_eq!(found, label, "{call}");
    }
}

#[test]
fn the_most_used_come_first() {
    let admin = admin();
    spend(&admin.gate, 3);
    for n in 2..40 {
        admin.gate.send(&get("/").from(&format!("192.0.2.{n}")).with("X-User", "x"));
    }
    let list = admin.get("reader", "/limits?limit=3").json();
    let counters = list["counters"].as_array().unwrap();
    assert_eq!((counters.len(), list["unanswered"].as_u64()), (3, Some(0)));
    let used: Vec<u64> = counters.iter().map(|counter| counter["used"].as_u64().unwrap()).collect();
    assert!(used.is_sorted_by(|a, b| a >= b), "{used:?}");
    let label = counters[0]["label"].as_str().unwrap();
    assert!(label.contains("client=192.0.2.1/32") || label.contains("x-user=#"), "{label}");
    assert!(!list.to_string().contains("ann"));
}

#[test]
fn an_object_that_fails_is_told() {
    let admin = admin();
    admin.gate.platform.counter_fault.set(Some(Fault::TimesOut));
    let call = json!({"client": "192.0.2.1", "rule": "api/exact"});
    let seen = admin.post("reader", "/limits/look", &call).json();
    assert!(seen["counters"][0]["state"]["unknown"].as_str().unwrap().starts_with("counter: "));
    let refusal = refused(&admin.post("operator", "/limits/reset", &call));
    assert_eq!(refusal, (503, "counter-unavailable".to_owned()));
    let list = admin.get("reader", "/limits").json();
    assert_eq!((list["counters"].as_array().unwrap().len(), list["unanswered"].as_u64()), (0, Some(64)));
}
