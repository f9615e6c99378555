//! Limits on the journey: what the client is told, and what a counter that
//! fails does.

use serde_json::json;

use super::{gate, label, limit, route, stages};
use crate::fake::{Fault, Response, START, With, get};

#[test]
fn a_refused_client_is_told_when_to_come_again() {
    for counting in ["local", "exact"] {
        let gate = route(&json!({"rate_limit": limit(2, counting)}));
        let (first, _) = gate.send(&get("/"));
        assert_eq!(first.field("ratelimit-policy").as_deref(), Some("\"few\";q=2;w=10"));
        assert_eq!(first.field("ratelimit").as_deref(), Some("\"few\";r=1;t=5"));
        assert_eq!(gate.send(&get("/")).0.field("ratelimit").as_deref(), Some("\"few\";r=0;t=5"));
        let (refused, record) = gate.send(&get("/"));
        assert_eq!((refused.status, label(&refused).as_str()), (429, "rate-limited"));
        assert_eq!(refused.field("retry-after").as_deref(), Some("5"));
        assert_eq!(refused.field("ratelimit").as_deref(), Some("\"few\";r=0;t=5"));
        assert_eq!(refused.json().get("detail"), None);
        assert_eq!(stages(&record), ["rate_limit refuse few"]);
        // A refusal is not charged, so waiting as told is enough.
        for _ in 0..20 {
            assert_eq!(gate.send(&get("/")).0.status, 429);
        }
        gate.platform.advance(5_000);
        assert_eq!(gate.send(&get("/")).0.status, 200);
        assert_eq!(gate.send(&get("/")).0.status, 429);
        assert_eq!(gate.sent_count(), 3);
    }
}

#[test]
fn a_korean_message_reaches_the_client_whole() {
    let message = "잠시 후 다시 시도해 주세요. \"급하면\" <문의>";
    let gate = route(
        &json!({"rate_limit": {"rules": [{"id": "l", "max": 1, "window": "10s", "counting": "local", "message": message}]}}),
    );
    gate.send(&get("/"));
    let (refused, _) = gate.send(&get("/"));
    assert_eq!(refused.json()["detail"], message);
    assert!(refused.body.contains("잠시 후 다시 시도해 주세요."));
    assert_eq!(refused.field("content-type").as_deref(), Some("application/problem+json"));
}

#[test]
fn rule_1_the_first_that_refuses_ends_the_search() {
    let rule = |id: &str, max: u32| json!({"id": id, "max": max, "window": "10s", "counting": "exact"});
    let gate = route(&json!({"rate_limit": {"rules": [rule("a", 2), rule("b", 1), rule("c", 9)]}}));
    let (first, _) = gate.send(&get("/"));
    // The one with the least left speaks.
    assert_eq!(first.field("ratelimit").as_deref(), Some("\"b\";r=0;t=10"));
    let (second, record) = gate.send(&get("/"));
    assert_eq!(stages(&record), ["rate_limit allow a", "rate_limit refuse b"]);
    assert_eq!(second.field("ratelimit").as_deref(), Some("\"b\";r=0;t=10"));
    // Those two are asked in one message, and c in one with them, or by itself.
    let asked = gate.platform.takes.borrow();
    assert!(asked.iter().all(|(take, _)| take.cost == 1) && asked.len() >= 5);
}

#[test]
fn rule_2_keys_are_client_and_fields() {
    let gate = route(
        &json!({"rate_limit": {"rules": [{"id": "l", "max": 1, "window": "10s", "counting": "local", "key": ["client", {"header": "X-User"}]}]}}),
    );
    let status = |head: edgeweir::exchange::PlainHead| gate.send(&head).0.status;
    assert_eq!(status(get("/").with("X-User", "a")), 200);
    assert_eq!(status(get("/").with("x-user", "a")), 429);
    assert_eq!(status(get("/").with("X-User", "b")), 200);
    assert_eq!(status(get("/").from("192.0.2.2").with("X-User", "a")), 200);
    // Absent and empty are one: leaving it out is no way around.
    assert_eq!(status(get("/")), 200);
    assert_eq!(status(get("/").with("X-User", "")), 429);
    // Another spelling of the address is the same client, and so is its /64.
    assert_eq!(status(get("/").from("::ffff:192.0.2.1")), 429);
    assert_eq!(status(get("/").from("2001:db8::1")), 200);
    assert_eq!(status(get("/").from("2001:db8:0:0:ffff::2")), 429);
}

/// Parts of a key never run together.
#[test]
fn rule_2_parts_keep_apart() {
    let gate = route(
        &json!({"rate_limit": {"rules": [{"id": "l", "max": 1, "window": "10s", "counting": "local", "key": [{"header": "X-A"}, {"header": "X-B"}]}]}}),
    );
    for (a, b) in [("ab", "c"), ("a", "bc"), ("", "abc"), ("abc", "")] {
        assert_eq!(gate.send(&get("/").with("X-A", a).with("X-B", b)).0.status, 200, "{a} {b}");
    }
}

#[test]
fn counters_of_rules_and_routes_keep_apart() {
    let rules = json!({"rules": [{"id": "a", "max": 1, "window": "10s", "counting": "local"}, {"id": "b", "max": 9, "window": "10s", "counting": "local"}]});
    let route = |id: &str, path: &str| json!({"id": id, "upstream": "app", "match": {"path": path}, "rate_limit": rules});
    let gate = gate(
        &json!({"rate_limit": {"rules": [{"id": "a", "max": 9, "window": "10s", "counting": "local"}]}, "routes": [route("one", "/one"), route("two", "/two")]}),
    );
    assert_eq!(gate.send(&get("/one")).0.status, 200);
    assert_eq!(gate.send(&get("/two")).0.status, 200);
    assert_eq!(gate.send(&get("/one")).0.status, 429);
    assert_eq!(gate.send(&get("/two")).0.status, 429);
}

#[test]
fn rule_3_exact_counts_go_to_the_platform_with_their_deadline() {
    let gate = route(
        &json!({"rate_limit": {"rules": [{"id": "l", "max": 7, "window": "10s", "burst": 3, "deadline": "70ms"}]}}),
    );
    gate.send(&get("/"));
    let takes = gate.platform.takes.borrow();
    let (take, deadline) = takes[0];
    assert_eq!((take.quota.max(), take.quota.burst(), take.cost, deadline.as_millis()), (7, 3, 1, 70));
    drop(takes);
    gate.send(&get("/").from("192.0.2.9"));
    assert_ne!(gate.platform.takes.borrow()[1].0.key, take.key);
}

#[test]
fn rule_4_a_counter_that_fails_counts_locally() {
    for fault in [Fault::Fails, Fault::TimesOut] {
        let gate = route(&json!({"rate_limit": limit(1, "exact")}));
        gate.platform.counter_fault.set(Some(fault));
        let (first, record) = gate.send(&get("/"));
        assert_eq!(first.status, 200);
        assert!(record.stages[0].error.as_ref().unwrap().starts_with("counter: "));
        assert_eq!(gate.send(&get("/")).0.status, 429);
        // The next request is served as soon as the counter works again.
        gate.platform.counter_fault.set(None);
        assert_eq!(gate.send(&get("/")).0.status, 200);
    }
}

#[test]
fn rule_4_a_counter_that_fails_lets_pass() {
    let gate = route(&json!({"rate_limit": {"on_failure": "open", "rules": limit(1, "exact")["rules"]}}));
    gate.platform.counter_fault.set(Some(Fault::TimesOut));
    for _ in 0..5 {
        let (response, record) = gate.send(&get("/"));
        assert_eq!((response.status, response.field("ratelimit")), (200, None));
        assert_eq!(stages(&record), ["rate_limit open few"]);
        assert!(record.stages[0].error.is_some());
    }
}

#[test]
fn rule_4_a_counter_that_fails_refuses() {
    let gate = route(&json!({"rate_limit": {"on_failure": "closed", "rules": limit(1, "exact")["rules"]}}));
    gate.platform.counter_fault.set(Some(Fault::Fails));
    let (response, record) = gate.send(&get("/"));
    assert_eq!((response.status, label(&response).as_str()), (503, "counter-unavailable"));
    assert_eq!(response.field("retry-after").as_deref(), Some("1"));
    assert_eq!(stages(&record), ["rate_limit closed few"]);
    assert_eq!(record.error.as_deref(), Some("counter: broken on purpose"));
    assert!(!response.body.contains("broken"));
    assert_eq!(gate.sent_count(), 0);
}

#[test]
fn rule_6_shadow_limits_refuse_nothing_and_mask_nothing() {
    let rule = |id: &str, max: u32, mode: &str| json!({"id": id, "max": max, "window": "10s", "counting": "local", "mode": mode});
    let gate = route(&json!({"rate_limit": {"rules": [rule("s", 1, "shadow"), rule("e", 2, "enforce")]}}));
    assert_eq!(gate.send(&get("/")).0.status, 200);
    let (second, record) = gate.send(&get("/"));
    assert_eq!(
        (second.status, stages(&record)),
        (200, vec!["~rate_limit refuse s".to_owned(), "rate_limit allow e".to_owned()])
    );
    // The shadow rule does not speak in the answer.
    assert_eq!(second.field("ratelimit").as_deref(), Some("\"e\";r=0;t=5"));
    assert_eq!(gate.send(&get("/")).0.status, 429);
    let shadow_stage = route(&json!({"rate_limit": {"mode": "shadow", "rules": limit(1, "local")["rules"]}}));
    for _ in 0..3 {
        let (response, record) = shadow_stage.send(&get("/"));
        assert_eq!((response.status, response.field("ratelimit")), (200, None));
        assert!(record.stages[0].shadow);
    }
}

#[test]
fn rule_6_a_shadow_limit_that_fails_closed_refuses_nothing() {
    let gate = route(
        &json!({"rate_limit": {"mode": "shadow", "on_failure": "closed", "rules": limit(1, "exact")["rules"]}}),
    );
    gate.platform.counter_fault.set(Some(Fault::Fails));
    let (response, record) = gate.send(&get("/"));
    assert_eq!((response.status, stages(&record)), (200, vec!["~rate_limit closed few".to_owned()]));
}

/// The fields are on answers of our own and of the origin alike.
#[test]
fn the_fields_stand_on_every_answer_of_a_limited_route() {
    let gate = route(&json!({"rate_limit": limit(9, "local")}));
    gate.platform.origin(|_| Response::new(500).with("RateLimit", "\"theirs\";r=5;t=1"));
    let (response, _) = gate.send(&get("/"));
    assert_eq!((response.status, response.field("ratelimit").as_deref()), (500, Some("\"few\";r=8;t=2")));
    gate.platform.origin_fault.set(Some(Fault::Fails));
    assert_eq!(gate.send(&get("/")).0.field("ratelimit").as_deref(), Some("\"few\";r=7;t=2"));
}

#[test]
fn time_that_a_counter_takes_counts() {
    let gate = route(&json!({"rate_limit": limit(1, "exact")}));
    gate.platform.counter_takes.set(40);
    gate.platform.origin_takes.set(200);
    let (_, record) = gate.send(&get("/"));
    assert_eq!((record.duration_ms, record.upstream_ms), (240, Some(200)));
    assert_eq!(gate.platform.clock.get(), START + 240);
}
