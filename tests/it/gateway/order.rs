//! The order of the stages is a security property.

use serde_json::json;

use super::{deny, gate, label, limit, route, stages};
use crate::fake::{Response, With, both, get, request};

#[test]
fn a_request_passes_to_the_origin_and_back() {
    let gate = gate(&json!({}));
    gate.platform.origin(|sent| {
        Response::new(201).with("X-From", &sent.url).with("Content-Type", "text/x").body("안녕")
    });
    let (response, record) = gate.send(&request("PUT", "//a/%61?q=1").with("X-Any", "1"));
    assert_eq!((response.status, response.body.as_str()), (201, "안녕"));
    assert_eq!(response.field("x-from").as_deref(), Some("http://app.internal//a/%61?q=1"));
    assert_eq!(response.field("content-type").as_deref(), Some("text/x"));
    assert_eq!(response.field("x-request-id"), record.request_id);
    assert_eq!(
        (gate.the_sent().method.as_str(), gate.the_sent().field("x-any").as_deref()),
        ("PUT", Some("1"))
    );
}

/// 2 before 3 to 7: no rule locks an operator out.
#[test]
fn control_comes_before_filters_limits_and_routes() {
    let gate = gate(&json!({
        "ip_filter": deny("0.0.0.0/0"), "rate_limit": limit(1, "local"),
        "routes": [{"id": "all", "upstream": "app", "ip_filter": deny("0.0.0.0/0")}],
    }));
    for target in ["/_weir/health", "/_weir/health", "//_weir//health/", "/%5fweir/health?x"] {
        let (response, record) = gate.send(&get(target));
        assert_eq!(response.status, 200, "{target}");
        assert_eq!(
            response.json(),
            json!({"status": "ok", "version": env!("CARGO_PKG_VERSION"), "revision": "r1"})
        );
        assert_eq!(response.field("cache-control").as_deref(), Some("no-store"));
        assert!(response.field("x-request-id").is_some() && record.stages.is_empty());
    }
    assert_eq!(gate.send(&get("/other")).0.status, 403);
    assert_eq!(gate.sent_count(), 0);
}

#[test]
fn what_is_ours_is_never_forwarded() {
    let gate = gate(&json!({}));
    for (method, target) in [
        ("GET", "/_weir"),
        ("GET", "/_weir/"),
        ("GET", "/_weir/x"),
        ("POST", "/_weir/health"),
        ("GET", "/_weir/health/x"),
        ("GET", "/%5Fweir/x"),
        ("GET", "//_weir"),
    ] {
        let (response, _) = gate.send(&request(method, target));
        assert_eq!(
            (response.status, label(&response).as_str()),
            (404, "no-such-endpoint"),
            "{method} {target}"
        );
    }
    assert_eq!(gate.send(&request("HEAD", "/_weir/health")).0.status, 200);
    assert_eq!(gate.sent_count(), 0);
    // What only looks like ours is the origin's.
    for target in ["/_weird", "/a/_weir/health", "/_WEIR/health"] {
        assert_eq!(gate.send(&get(target)).0.status, 200, "{target}");
    }
    assert_eq!(gate.sent_count(), 3);
}

#[test]
fn a_degraded_isolate_says_so_but_not_why() {
    let mut gate = gate(&json!({}));
    gate.degraded = true;
    assert_eq!(gate.send(&get("/_weir/health")).0.json()["status"], "degraded");
}

/// Control has a limit of its own, and one client's flood is not another's.
#[test]
fn control_has_a_limit_of_its_own() {
    let gate = gate(&json!({}));
    let statuses: Vec<u16> = (0..61).map(|_| gate.send(&get("/_weir/health")).0.status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 60);
    let (refused, record) = gate.send(&get("/_weir/health"));
    assert_eq!((refused.status, record.reason), (429, Some("rate-limited")));
    assert_eq!(refused.field("retry-after").as_deref(), Some("1"));
    assert_eq!(gate.send(&get("/_weir/health").from("198.51.100.1")).0.status, 200);
    assert_eq!(gate.send(&get("/")).0.status, 200);
    gate.platform.advance(1_000);
    assert_eq!(gate.send(&get("/_weir/health")).0.status, 200);
}

/// 3 before 4: scanners of unrouted paths and senders of garbage meet the
/// entry rules.
#[test]
fn entry_rules_meet_unrouted_and_malformed_requests() {
    let gate =
        gate(&json!({"ip_filter": deny("192.0.2.0/24"), "rate_limit": limit(3, "local"), "routes": []}));
    for target in ["/", "/a/../b", "/\\", "/%2F"] {
        assert_eq!(label(&gate.send(&get(target)).0), "address-denied", "{target}");
    }
    let other = |target: &str| gate.send(&get(target).from("198.51.100.1")).0;
    assert_eq!(label(&other("/")), "no-route");
    assert_eq!(label(&other("/a/../b")), "invalid-target");
    assert_eq!(label(&gate.send(&get("/").from("198.51.100.1").to("https", "a@b")).0), "invalid-host");
    // These three were counted.
    assert_eq!(label(&other("/")), "rate-limited");
    assert_eq!(label(&other("/a/../b")), "rate-limited");
}

/// The filter before the limit: the refused use up nobody's quota.
#[test]
fn what_a_filter_refuses_is_not_counted() {
    let filter = json!({"rules": [{"id": "bad", "action": "deny", "prefixes": ["2001:db8::bad/128"]}]});
    for (policy, counting) in [
        (gate(&json!({"ip_filter": filter, "rate_limit": limit(1, "local")})), "entry"),
        (route(&json!({"ip_filter": filter, "rate_limit": limit(1, "local")})), "route"),
    ] {
        for _ in 0..5 {
            assert_eq!(policy.send(&get("/").from("2001:db8::bad")).0.status, 403);
        }
        // The same /64, so the same client to a limit.
        assert_eq!(policy.send(&get("/").from("2001:db8::1")).0.status, 200, "{counting}");
        assert_eq!(policy.send(&get("/").from("2001:db8::1")).0.status, 429, "{counting}");
    }
}

/// A refused exact limit asks no object when the filter has refused.
#[test]
fn what_a_filter_refuses_asks_no_counter() {
    let gate =
        route(&json!({"ip_filter": deny("192.0.2.0/24"), "rate_limit": limit(1, "exact"), "cache": {}}));
    assert_eq!(gate.send(&get("/")).0.status, 403);
    assert!(gate.platform.takes.borrow().is_empty() && gate.platform.store_events.borrow().is_empty());
}

/// 12 after 5 and 7: a stored answer is no way around a check.
#[test]
fn the_cache_never_answers_who_is_refused() {
    let gate =
        route(&json!({"ip_filter": deny("203.0.113.0/24"), "rate_limit": limit(2, "local"), "cache": {}}));
    gate.platform.origin(|_| Response::new(200).with("Cache-Control", "max-age=60"));
    assert_eq!(gate.send(&get("/")).0.status, 200);
    assert_eq!(gate.send(&get("/")).1.cache, Some("hit"));
    assert_eq!(label(&gate.send(&get("/")).0), "rate-limited");
    assert_eq!(label(&gate.send(&get("/").from("203.0.113.1")).0), "address-denied");
    assert_eq!(gate.sent_count(), 1);
}

/// Hits count: the limit comes before the cache.
#[test]
fn entry_limits_and_route_limits_both_count() {
    let gate = gate(&json!({
        "rate_limit": {"rules": [{"id": "entry", "max": 2, "window": "10s", "counting": "local"}]},
        "routes": [{"id": "all", "upstream": "app", "rate_limit": limit(1, "local")}],
    }));
    let (first, record) = gate.send(&get("/"));
    assert_eq!(first.status, 200);
    assert_eq!(stages(&record), ["entry.rate_limit allow entry", "rate_limit allow few"]);
    let (second, record) = gate.send(&get("/"));
    assert_eq!(
        (second.status, stages(&record)),
        (429, vec!["entry.rate_limit allow entry".to_owned(), "rate_limit refuse few".to_owned()])
    );
    // What the earlier rule was charged stays charged.
    let (_, record) = gate.send(&get("/"));
    assert_eq!(stages(&record), ["entry.rate_limit refuse entry"]);
}

#[test]
fn a_loop_ends_before_anything_is_spent_on_the_route() {
    let gate = route(&json!({"rate_limit": limit(1, "exact"), "cache": {}}));
    let (response, record) = gate.send(&get("/").with("CDN-Loop", "other, Edgeweir;v=1"));
    assert_eq!((response.status, label(&response).as_str(), record.reason), (508, "loop", Some("loop")));
    assert!(gate.platform.takes.borrow().is_empty());
    assert_eq!(gate.sent_count(), 0);
    assert_eq!(gate.send(&get("/").with("CDN-Loop", "other")).0.status, 200);
}

#[test]
fn shadow_filters_change_no_verdict() {
    for gate in [
        route(&json!({"ip_filter": {"mode": "shadow", "default": "deny"}})),
        route(
            &json!({"ip_filter": {"rules": [{"id": "s", "action": "deny", "prefixes": ["0.0.0.0/0"], "mode": "shadow"}]}}),
        ),
        gate(
            &json!({"ip_filter": {"mode": "shadow", "rules": [{"id": "s", "action": "deny", "prefixes": ["0.0.0.0/0"]}]}}),
        ),
    ] {
        let (response, record) = gate.send(&get("/"));
        assert_eq!(response.status, 200);
        assert!(
            stages(&record).iter().any(|stage| stage.starts_with('~') && stage.contains(" deny ")),
            "{record:?}"
        );
    }
}

/// A shadow rule that would allow does not let anybody in either.
#[test]
fn shadow_filters_mask_no_enforced_rule() {
    let gate = route(&json!({"ip_filter": {"rules": [
        {"id": "friend", "action": "allow", "prefixes": ["192.0.2.1/32"], "mode": "shadow"},
        {"id": "bad", "action": "deny", "prefixes": ["192.0.2.0/24"]},
    ]}}));
    let (response, record) = gate.send(&get("/"));
    assert_eq!(response.status, 403);
    assert_eq!(stages(&record), ["~ip_filter allow friend", "ip_filter deny bad"]);
}

#[test]
fn a_stage_that_is_off_is_not_evaluated() {
    let gate = gate(&json!({
        "ip_filter": {"mode": "off", "default": "deny"}, "rate_limit": {"mode": "off", "rules": limit(1, "exact")["rules"]},
        "routes": [{"id": "all", "upstream": "app", "ip_filter": {"mode": "off", "default": "deny"}, "rate_limit": {"rules": [{"id": "o", "max": 1, "window": "1s", "mode": "off"}]},
                    "canary": {"mode": "off", "variants": [{"name": "a", "upstream": "next", "weight": 100}, {"name": "b", "upstream": "next", "weight": 0}]}, "cache": {"mode": "off"}}],
    }));
    for _ in 0..3 {
        let (response, record) = gate.send(&get("/"));
        assert_eq!(
            (response.status, stages(&record), record.variant, record.cache),
            (200, vec![], None, None)
        );
        assert_eq!(response.field("cache-status"), None);
    }
    assert!(gate.platform.takes.borrow().is_empty());
    assert!(gate.the_last_url().starts_with("http://app.internal"));
}

/// Journeys of one isolate interleave at every wait.
#[test]
fn journeys_run_side_by_side() {
    let gate = route(&json!({"rate_limit": limit(1, "exact"), "cache": {}}));
    gate.platform.origin(|_| Response::new(200).with("Cache-Control", "max-age=60"));
    let (one, other) = (get("/a"), get("/a"));
    let (a, b) = both(gate.sending(&one), gate.sending(&other));
    let mut statuses = [a.0.status, b.0.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 429]);
    assert_ne!(a.1.request_id, b.1.request_id);
}

/// A policy that asks for an address that nobody sends must not lock an
/// operator out.
#[test]
fn what_is_ours_answers_a_client_without_an_address() {
    let gate = gate(&json!({}));
    let mut head = get("/_weir/health");
    head.fields.retain(|(name, _)| name.as_str() != "cf-connecting-ip");
    let (response, record) = gate.send(&head);
    assert_eq!((response.status, record.client), (200, None));
    assert!(record.request_id.is_some());
    let mut other = get("/");
    other.fields.retain(|(name, _)| name.as_str() != "cf-connecting-ip");
    assert_eq!(gate.send(&other).0.status, 400);
}
