//! What a journey leaves in the log: every property, in every verdict.

use edgeweir::observe::record::Verdict;
use serde_json::{Value, json};

use super::{deny, gate, limit, route};
use crate::fake::{Fault, Response, With, get, request};

#[test]
fn a_forwarded_request() {
    let gate = gate(
        &json!({"ip_filter": {"rules": [{"id": "ok", "action": "allow", "prefixes": ["192.0.2.0/24"]}]}}),
    );
    gate.platform.origin_takes.set(12);
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let head = request("PATCH", "//a/%61?secret=1")
        .to("https", "App.Example.:8443")
        .with("traceparent", &format!("00-{trace}-00f067aa0ba902b7-01"));
    let line: Value = serde_json::from_str(&gate.send(&head).1.line()).unwrap();
    let expected = json!({
        "schema": 1, "time": "2026-01-01T00:00:00.000Z", "request_id": format!("{:032x}", (0xfeed_u128 << 112) | 1),
        "trace_id": trace, "client": "192.0.2.1", "method": "PATCH", "host": "app.example:8443", "path": "//a/%61",
        "route": "all", "verdict": "forwarded", "status": 200,
        "stages": [{"stage": "entry.ip_filter", "verdict": "allow", "rule": "ok", "prefix": "192.0.2.0/24"}],
        "upstream": "app", "upstream_status": 200, "duration_ms": 12, "upstream_ms": 12, "revision": "r1",
    });
    assert_eq!(line, expected);
}

#[test]
fn each_verdict() {
    let limited = route(&json!({"rate_limit": limit(1, "local")}));
    limited.send(&get("/"));
    let cached = route(&json!({"cache": {}}));
    cached.platform.origin(|_| Response::new(200).with("Cache-Control", "max-age=9"));
    cached.send(&get("/"));
    let failing = gate(&json!({}));
    failing.platform.origin_fault.set(Some(Fault::Fails));
    let closed = route(&json!({"rate_limit": {"on_failure": "closed", "rules": limit(1, "exact")["rules"]}}));
    closed.platform.counter_fault.set(Some(Fault::Fails));
    for (gate, target, verdict, reason, status) in [
        (gate(&json!({})), "/", Verdict::Forwarded, None, 200),
        (cached, "/", Verdict::Cached, None, 200),
        (gate(&json!({})), "/_weir/health", Verdict::Answered, None, 200),
        (gate(&json!({})), "/_weir/x", Verdict::Refused, Some("no-such-endpoint"), 404),
        (gate(&json!({"routes": []})), "/", Verdict::Refused, Some("no-route"), 404),
        (gate(&json!({})), "/a/../b", Verdict::Refused, Some("invalid-target"), 400),
        (gate(&json!({})), "/%2F", Verdict::Refused, Some("invalid-target"), 400),
        (gate(&json!({"ip_filter": deny("0.0.0.0/0")})), "/", Verdict::Refused, Some("address-denied"), 403),
        (limited, "/", Verdict::Refused, Some("rate-limited"), 429),
        (failing, "/", Verdict::Failed, Some("upstream-unreachable"), 502),
        (closed, "/", Verdict::Failed, Some("counter-unavailable"), 503),
    ] {
        let (response, record) = gate.send(&get(target));
        assert_eq!((record.verdict, record.reason, record.status), (verdict, reason, status), "{target}");
        assert_eq!(response.status, status);
        assert_eq!(record.error.is_some(), verdict == Verdict::Failed);
        assert_eq!(record.revision.as_deref(), Some("r1"));
    }
}

#[test]
fn the_client_s_address_is_logged_as_the_policy_says() {
    for (setting, v4, v6) in [
        ("address", Some("192.0.2.77"), Some("2001:db8:1:2:3::4")),
        ("network", Some("192.0.2.0/24"), Some("2001:db8:1::/48")),
        ("none", None, None),
    ] {
        let gate = gate(&json!({"observe": {"log": {"client_address": setting}}}));
        assert_eq!(gate.send(&get("/").from("192.0.2.77")).1.client.as_deref(), v4);
        let (_, record) = gate.send(&get("/").from("2001:db8:1:2:3::4"));
        assert_eq!(record.client.as_deref(), v6);
        assert!(v6.is_some() || !record.line().contains("2001:db8"));
    }
}

#[test]
fn the_query_is_never_logged() {
    let gate = route(&json!({"cache": {}, "rate_limit": limit(9, "local")}));
    gate.platform.origin_fault.set(Some(Fault::Fails));
    for target in
        ["/a?token=secret", "/a/../b?token=secret", "/%2F?token=secret", "/_weir/health?token=secret"]
    {
        assert!(!gate.send(&get(target)).1.line().contains("secret"), "{target}");
    }
}

#[test]
fn what_a_client_chose_is_clipped() {
    let gate = gate(&json!({}));
    let (_, record) = gate.send(&get(&format!("/{}", "a".repeat(9_000))));
    assert_eq!(record.path.unwrap().len(), 1_024);
}

/// A failing store is on the record of the request that it could not help.
#[test]
fn a_failing_store_is_logged() {
    let gate = route(&json!({"cache": {}}));
    gate.platform.store_fault.set(Some(Fault::TimesOut));
    let (response, record) = gate.send(&get("/"));
    assert_eq!((response.status, record.cache), (200, Some("bypass")));
    assert_eq!(super::stages(&record), ["cache bypass -"]);
    assert_eq!(record.stages[0].error.as_deref(), Some("response-store: late on purpose"));
}
