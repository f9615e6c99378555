//! Forwarding, and what the client sees when the origin fails.

use edgeweir::platform::Clock;
use serde_json::json;

use super::{gate, label, route};
use crate::fake::{Fault, Response, With, get, request};

#[test]
fn an_origin_that_cannot_be_reached_is_a_502() {
    let gate = gate(&json!({}));
    gate.platform.origin_fault.set(Some(Fault::Fails));
    let (response, record) = gate.send(&get("/"));
    assert_eq!((response.status, label(&response).as_str()), (502, "upstream-unreachable"));
    assert_eq!(response.json()["request_id"], record.request_id.clone().unwrap());
    assert_eq!(response.field("x-request-id"), record.request_id);
    assert_eq!(record.error.as_deref(), Some("origin: broken on purpose"));
    assert_eq!((record.upstream.as_deref(), record.upstream_status), (Some("app"), None));
    gate.platform.origin_fault.set(None);
    assert_eq!(gate.send(&get("/")).0.status, 200);
}

#[test]
fn an_origin_that_is_late_is_a_504() {
    let gate = gate(
        &json!({"upstreams": {"app": {"origin": "http://app.internal", "timeouts": {"first_byte": "2s"}}}}),
    );
    gate.platform.origin_fault.set(Some(Fault::TimesOut));
    gate.platform.origin_takes.set(2_000);
    let (response, record) = gate.send(&get("/"));
    assert_eq!((response.status, label(&response).as_str()), (504, "upstream-timeout"));
    assert_eq!((record.upstream_ms, record.duration_ms), (Some(2_000), 2_000));
    assert_eq!(gate.the_sent().first_byte.as_secs(), 2);
}

#[test]
fn a_final_answer_of_any_status_is_passed_on() {
    for status in [200, 204, 301, 304, 404, 418, 500, 503, 599] {
        let gate = gate(&json!({}));
        gate.platform.origin(move |_| Response::new(status));
        let (response, record) = gate.send(&get("/"));
        assert_eq!((response.status, record.status, record.upstream_status), (status, status, Some(status)));
    }
}

/// RFC 9110, 6.6.1: whoever passes an answer on that says no time, adds one.
#[test]
fn an_answer_says_when_it_was_made() {
    let gate = route(&json!({}));
    let now = edgeweir::stages::cache::date::format(gate.platform.now());
    assert_eq!(gate.send(&get("/")).0.field("date"), Some(now.clone()));
    gate.platform.origin(|_| Response::new(200).with("Date", "foo"));
    assert_eq!(gate.send(&get("/")).0.field("date").as_deref(), Some("foo"));
    gate.platform.origin_fault.set(Some(Fault::Fails));
    let (refused, _) = gate.send(&get("/"));
    assert_eq!((refused.status, refused.field("date")), (502, Some(now.clone())));
    assert_eq!(gate.send(&get("/_weir/health")).0.field("date"), Some(now));
}

/// RFC 9110, 15: what is no final response, or none at all, is the origin's
/// failure. It changes nothing that is stored.
#[test]
fn an_answer_that_is_none_is_a_502() {
    for status in [99, 100, 101, 103, 199, 600, 999] {
        let gate = route(&json!({"cache": {}}));
        gate.platform.origin(|_| Response::new(200).with("Cache-Control", "max-age=60"));
        gate.send(&get("/"));
        gate.platform.origin(move |_| Response::new(status));
        let (response, record) = gate.send(&request("POST", "/"));
        assert_eq!((response.status, label(&response).as_str()), (502, "upstream-unreachable"), "{status}");
        assert!(record.error.is_some());
        assert_eq!(gate.send(&get("/")).1.cache, Some("hit"), "{status}");
    }
}

/// An origin answers Expect with 100 (Continue), which the runtime takes for
/// the final response.
#[test]
fn an_expectation_ends_here() {
    let gate = gate(&json!({}));
    gate.send(&request("POST", "/").with("Expect", "100-continue"));
    assert_eq!(gate.the_sent().field("expect"), None);
}

#[test]
fn a_request_id_is_on_every_answer_and_goes_to_the_origin() {
    let identity =
        json!({"client_address": {"trusted_hops": ["10.0.0.0/8"]}, "request_id": {"header": "X-Trace-It"}});
    let gate = gate(&json!({"identity": identity}));
    gate.platform.origin(|_| Response::new(200).with("X-Trace-It", "the origin's"));
    for (from, sent, kept) in
        [("10.0.0.1", "abc-1", true), ("10.0.0.1", "a b", false), ("192.0.2.1", "abc-1", false)]
    {
        let head = get("/").from(from).with("X-Trace-It", sent);
        let (response, record) = gate.send(&head);
        let id = response.field("x-trace-it").unwrap();
        assert_eq!(id == sent, kept);
        assert_eq!(record.request_id.as_ref(), Some(&id));
        assert_eq!(gate.platform.sent.borrow().last().unwrap().field("x-trace-it"), Some(id));
    }
    // Also where there is no client address.
    let mut nobody = get("/");
    nobody.fields.retain(|(name, _)| name.as_str() != "cf-connecting-ip");
    let (response, record) = gate.send(&nobody);
    assert_eq!((response.status, label(&response).as_str()), (400, "client-address"));
    assert_eq!(response.field("x-trace-it"), record.request_id);
    assert_eq!(response.json()["request_id"], record.request_id.unwrap());
}

#[test]
fn hop_by_hop_fields_of_an_answer_end_here() {
    let gate = gate(&json!({}));
    gate.platform.origin(|_| {
        Response::new(200)
            .with("Connection", "close, X-Hop")
            .with("X-Hop", "1")
            .with("Keep-Alive", "timeout=5")
            .with("X-End", "1")
    });
    let (response, _) = gate.send(&get("/"));
    for gone in ["connection", "x-hop", "keep-alive"] {
        assert_eq!(response.field(gone), None, "{gone}");
    }
    assert_eq!(response.field("x-end").as_deref(), Some("1"));
}

/// They end here whether the origin's Connection field names them or not: the
/// runtime may have taken that field already.
#[test]
fn hop_by_hop_fields_end_here_without_a_connection_field() {
    let gate = gate(&json!({}));
    gate.platform.origin(|_| {
        Response::new(200)
            .with("Keep-Alive", "timeout=5")
            .with("Proxy-Authenticate", "Basic")
            .with("Trailer", "x")
    });
    let (response, _) = gate.send(&get("/"));
    for gone in ["keep-alive", "proxy-authenticate", "trailer"] {
        assert_eq!(response.field(gone), None, "{gone}");
    }
}

#[test]
fn a_canary_sends_each_client_to_its_variant() {
    let canary = json!({"sticky": {"cookie": "w", "max_age": "1h"}, "variants": [{"name": "stable", "upstream": "app", "weight": 50}, {"name": "next", "upstream": "next", "weight": 50}]});
    let gate = route(&json!({"canary": canary}));
    gate.platform.origin(|sent| Response::new(200).with("X-From", &sent.url).with("Set-Cookie", "theirs=1"));
    let mut seen = std::collections::BTreeSet::new();
    for index in 0..32 {
        let head = get("/").from(&format!("192.0.2.{index}"));
        let (response, record) = gate.send(&head);
        let variant = record.variant.unwrap();
        let origin = if variant == "stable" { "http://app.internal/" } else { "http://next.internal/" };
        assert_eq!(response.field("x-from").as_deref(), Some(origin));
        let cookies: Vec<String> = response
            .fields
            .iter()
            .filter(|(name, _)| name == "set-cookie")
            .map(|(_, value)| value.clone())
            .collect();
        assert_eq!((cookies.len(), cookies[0].as_str()), (2, "theirs=1"));
        assert!(
            cookies[1].ends_with("; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax; Secure"),
            "{cookies:?}"
        );
        // Another network, the same cookie: the same variant, and no cookie.
        let again = get("/").from("203.0.113.1").with("Cookie", cookies[1].split(';').next().unwrap());
        let (response, record) = gate.send(&again);
        assert_eq!(record.variant.as_ref(), Some(&variant));
        assert_eq!(response.field("set-cookie").as_deref(), Some("theirs=1"));
        seen.insert(variant);
    }
    assert_eq!(seen.len(), 2);
}

#[test]
fn a_shadow_canary_chooses_and_sends_nobody_away() {
    let canary = json!({"mode": "shadow", "sticky": {"cookie": "w"}, "variants": [{"name": "all", "upstream": "next", "weight": 100}, {"name": "none", "upstream": "app", "weight": 0}]});
    let gate = route(&json!({"canary": canary}));
    let (response, record) = gate.send(&get("/"));
    assert_eq!((record.variant.as_deref(), record.upstream.as_deref()), (Some("all"), Some("app")));
    assert_eq!(super::stages(&record), ["~canary choose all"]);
    assert_eq!(response.field("set-cookie"), None);
    assert!(gate.the_sent().url.starts_with("http://app.internal"));
}

#[test]
fn the_request_s_own_origin() {
    let gate = gate(&json!({"upstreams": {"app": {"origin": "request"}}}));
    gate.send(&request("POST", "//x?y").to("http", "Site.Example:8080"));
    let sent = gate.the_sent();
    assert_eq!(
        (sent.url.as_str(), sent.field("x-forwarded-host").as_deref()),
        ("http://site.example:8080//x?y", Some("site.example:8080"))
    );
    assert_eq!(sent.field("cdn-loop").as_deref(), Some("edgeweir"));
}

#[test]
fn a_websocket_passes() {
    let gate = route(&json!({"cache": {}}));
    gate.platform.origin(|_| Response::new(101).with("Upgrade", "websocket").with("Connection", "Upgrade"));
    let (response, record) = gate.send(&get("/").with("Upgrade", "websocket").with("Connection", "Upgrade"));
    assert_eq!((response.status, response.field("upgrade").as_deref()), (101, Some("websocket")));
    assert_eq!(record.cache, Some("bypass"));
    assert!(gate.platform.store_events.borrow().is_empty());
}
