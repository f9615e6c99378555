//! The cache on the journey: never a wrong answer.

use serde_json::json;

use super::{gate, label, limit, route};
use crate::fake::{Fault, Gate, Response, Sent, StoreEvent, With, get, request};

/// An origin whose answers are fresh for a minute and show the client's
/// fields that reached it.
fn fresh(sent: &Sent) -> Response {
    let body = format!("{} {}", sent.url, sent.field("accept-language").unwrap_or_default());
    Response::new(200).with("Cache-Control", "max-age=60").with("ETag", "\"v1\"").body(&body)
}

fn cached() -> Gate {
    let gate = route(&json!({"cache": {}}));
    gate.platform.origin(fresh);
    gate
}

fn status(gate: &Gate, head: &edgeweir::exchange::PlainHead) -> String {
    gate.send(head).0.field("cache-status").unwrap_or_default()
}

const MISS: &str = "edgeweir; fwd=uri-miss; fwd-status=200; stored; ttl=60";

#[test]
fn a_fresh_answer_is_served_with_its_age() {
    let gate = cached();
    assert_eq!(status(&gate, &get("/a?b")), MISS);
    gate.platform.advance(31_999);
    let (hit, record) = gate.send(&get("/a?b"));
    assert_eq!((hit.status, hit.body.as_str()), (200, "http://app.internal/a?b "));
    assert_eq!(hit.field("cache-status").as_deref(), Some("edgeweir; hit; ttl=29"));
    assert_eq!((hit.field("age").as_deref(), record.cache), (Some("31"), Some("hit")));
    assert_eq!((record.upstream, record.upstream_status), (None, None));
    gate.platform.advance(28_001);
    assert_eq!(status(&gate, &get("/a?b")), "edgeweir; fwd=stale; fwd-status=200; stored; ttl=60");
    assert_eq!(gate.sent_count(), 2);
}

#[test]
fn each_target_host_and_scheme_has_an_entry_of_its_own() {
    let gate = cached();
    for head in [
        get("/a"),
        get("/a?"),
        get("/a?b"),
        get("/a/"),
        get("//a"),
        get("/%2561"),
        get("/a").to("http", "app.example"),
        get("/a").to("https", "other.example"),
        get("/a").to("https", "app.example:81"),
    ] {
        assert_eq!(status(&gate, &head), MISS, "{}", head.url);
    }
    assert!(status(&gate, &get("/a").to("https", "APP.example.:443")).contains("hit"));
}

#[test]
fn head_is_answered_from_get_without_a_body() {
    let gate = cached();
    assert_eq!(
        status(&gate, &request("HEAD", "/")),
        "edgeweir; fwd=uri-miss; fwd-status=200; detail=request"
    );
    gate.send(&get("/"));
    let (head, record) = gate.send(&request("HEAD", "/"));
    assert_eq!((head.status, head.body.as_str(), record.cache), (200, "", Some("hit")));
    assert_eq!(head.field("etag").as_deref(), Some("\"v1\""));
    // What answered HEAD is not an answer to GET: nothing was stored by it.
    assert_eq!(gate.sent_count(), 2);
}

#[test]
fn a_client_that_has_the_answer_gets_304() {
    let gate = cached();
    gate.send(&get("/"));
    let (response, record) = gate.send(&get("/").with("If-None-Match", "W/\"v1\""));
    assert_eq!(
        (response.status, response.body.as_str(), record.status, record.cache),
        (304, "", 304, Some("hit"))
    );
    assert_eq!(response.field("etag").as_deref(), Some("\"v1\""));
    assert_eq!(gate.send(&get("/").with("If-None-Match", "\"v2\"")).0.status, 200);
}

#[test]
fn vary_keeps_answers_apart() {
    let gate = route(&json!({"cache": {}}));
    gate.platform.origin(|sent| fresh(sent).with("Vary", "Accept-Language"));
    let korean = get("/").with("Accept-Language", "ko");
    assert_eq!(status(&gate, &korean), MISS);
    assert!(status(&gate, &korean).contains("hit"));
    let (other, _) = gate.send(&get("/").with("Accept-Language", "en"));
    assert_eq!(
        other.field("cache-status").as_deref(),
        Some("edgeweir; fwd=vary-miss; fwd-status=200; stored; ttl=60")
    );
    assert!(other.body.ends_with("en"));
    assert!(gate.send(&get("/")).0.body.ends_with(' '));
}

/// The origin chose its answer by the address that the gateway told it. The
/// client's own field, absent in both requests, did not select it.
#[test]
fn an_answer_that_varies_by_the_client_s_address_is_no_other_client_s() {
    for name in ["x-forwarded-for", "forwarded"] {
        let gate = route(&json!({"cache": {}}));
        gate.platform.origin(move |sent| fresh(sent).with("Vary", name).body(&sent.field(name).unwrap()));
        gate.send(&get("/").from("192.0.2.1"));
        let (response, _) = gate.send(&get("/").from("203.0.113.9"));
        assert!(response.body.contains("203.0.113.9"), "{name}: {}", response.body);
    }
}

/// A hop of ours that passes on a client's X-Forwarded-Host lets that client
/// choose the links in the answer: they must not be stored for the others.
#[test]
fn a_forwarded_host_poisons_no_entry() {
    for name in ["x-forwarded-host", "x-forwarded-proto"] {
        let gate = gate(&json!({
            "identity": {"client_address": {"trusted_hops": ["10.0.0.0/8"]}},
            "routes": [{"id": "all", "upstream": "app", "cache": {}}],
        }));
        gate.platform.origin(move |sent| fresh(sent).body(&format!("link to {}", sent.field(name).unwrap())));
        let (evil, _) = gate.send(
            &get("/").from("10.0.0.1").with("X-Forwarded-For", "203.0.113.6").with(name, "evil.example"),
        );
        assert_eq!(evil.body, "link to evil.example");
        let (response, _) = gate.send(&get("/").from("10.0.0.1").with("X-Forwarded-For", "203.0.113.7"));
        assert!(!response.body.contains("evil"), "{name}: {}", response.body);
    }
}

/// The same in the other chain: an element that stands left of our hop's was
/// written by a stranger, and frameworks build links from its `host`.
#[test]
fn a_host_in_a_forwarded_chain_poisons_no_entry() {
    let gate = gate(&json!({
        "identity": {"client_address": {"trusted_hops": ["10.0.0.0/8"], "chain": "Forwarded"}},
        "routes": [{"id": "all", "upstream": "app", "cache": {}}],
    }));
    gate.platform.origin(|sent| {
        let first = sent.field("forwarded").unwrap().split(',').next().unwrap().to_owned();
        fresh(sent).body(&format!("link to {first}"))
    });
    let chain = |chain: &str| get("/").from("10.0.0.1").with("Forwarded", chain);
    gate.send(&chain("for=6.6.6.6;host=evil.example, for=203.0.113.6"));
    let (response, _) = gate.send(&chain("for=203.0.113.7"));
    assert!(!response.body.contains("evil"), "{}", response.body);
}

#[test]
fn cookies_go_past_except_the_sticky_one() {
    let canary = json!({"sticky": {"cookie": "w"}, "variants": [{"name": "one", "upstream": "app", "weight": 100}, {"name": "two", "upstream": "next", "weight": 0}]});
    let gate = route(&json!({"cache": {}, "canary": canary}));
    gate.platform.origin(fresh);
    assert_eq!(status(&gate, &get("/").with("Cookie", "w=00000001")), MISS);
    assert!(status(&gate, &get("/").with("Cookie", "w=00000002")).contains("hit"));
    let past = "edgeweir; fwd=bypass; fwd-status=200; detail=credentials";
    assert_eq!(status(&gate, &get("/").with("Cookie", "w=00000001; session=1")), past);
    assert_eq!(status(&gate, &get("/").with("Authorization", "x")), past);
    // A hit sets the cookie for a client that has none, and does not store it.
    let (hit, _) = gate.send(&get("/"));
    assert!(
        hit.field("set-cookie").unwrap().starts_with("w=")
            && hit.field("cache-status").unwrap().contains("hit")
    );
    assert!(gate.platform.stored.borrow().values().all(|(entry, _)| !entry.contains("set-cookie")));
}

#[test]
fn variants_share_no_entry() {
    let canary = json!({"sticky": {"cookie": "w"}, "variants": [{"name": "one", "upstream": "app", "weight": 50}, {"name": "two", "upstream": "next", "weight": 50}]});
    let gate = route(&json!({"cache": {}, "canary": canary}));
    gate.platform.origin(fresh);
    for unit in 0..32_u32 {
        let (response, record) = gate.send(&get("/").with("Cookie", &format!("w={unit:08x}")));
        let origin = if record.variant.as_deref() == Some("one") {
            "http://app.internal/ "
        } else {
            "http://next.internal/ "
        };
        assert_eq!(response.body, origin);
    }
    assert_eq!(gate.sent_count(), 2);
}

#[test]
fn routes_share_no_entry() {
    let gate = gate(&json!({"routes": [
        {"id": "beta", "upstream": "next", "match": {"headers": {"X-Beta": "1"}}, "cache": {}},
        {"id": "all", "upstream": "app", "cache": {}},
    ]}));
    gate.platform.origin(fresh);
    assert_eq!(gate.send(&get("/").with("X-Beta", "1")).0.body, "http://next.internal/ ");
    assert_eq!(gate.send(&get("/")).0.body, "http://app.internal/ ");
    assert_eq!(gate.send(&get("/").with("X-Beta", "1")).1.cache, Some("hit"));
}

#[test]
fn only_if_cached_asks_no_origin() {
    let gate = cached();
    let head = || get("/").with("Cache-Control", "only-if-cached");
    let (response, record) = gate.send(&head());
    assert_eq!(
        (response.status, label(&response).as_str(), record.cache),
        (504, "not-cached", Some("uri-miss"))
    );
    assert_eq!(gate.sent_count(), 0);
    gate.send(&get("/"));
    assert_eq!(gate.send(&head()).1.cache, Some("hit"));
    gate.platform.advance(60_000);
    assert_eq!(gate.send(&head()).0.status, 504);
    assert_eq!(gate.sent_count(), 1);
}

#[test]
fn a_failing_store_is_no_failing_request() {
    for fault in [Fault::Fails, Fault::TimesOut] {
        let gate = cached();
        gate.platform.store_fault.set(Some(fault));
        for _ in 0..2 {
            assert_eq!(gate.send(&get("/")).0.status, 200);
        }
        assert_eq!(gate.sent_count(), 2);
        gate.platform.store_fault.set(None);
        gate.send(&get("/"));
        assert_eq!(gate.send(&get("/")).1.cache, Some("hit"));
    }
}

#[test]
fn a_damaged_entry_is_a_miss() {
    let gate = cached();
    gate.send(&get("/"));
    gate.platform.stored.borrow_mut().values_mut().for_each(|(entry, _)| "garbage".clone_into(entry));
    let (response, _) = gate.send(&get("/"));
    assert_eq!((response.status, response.field("cache-status").as_deref()), (200, Some(MISS)));
    assert_eq!(gate.send(&get("/")).1.cache, Some("hit"));
}

#[test]
fn a_change_removes_what_is_stored() {
    for method in ["POST", "PUT", "DELETE", "PATCH", "PURGE"] {
        let gate = cached();
        gate.send(&get("/a"));
        gate.send(&get("/b"));
        assert_eq!(
            status(&gate, &request(method, "/a")),
            "edgeweir; fwd=method; fwd-status=200; detail=request"
        );
        assert!(status(&gate, &get("/a")).contains("uri-miss"), "{method}");
        assert!(status(&gate, &get("/b")).contains("hit"), "{method}");
    }
    // Not by a change that failed, nor by what changes nothing.
    for (method, answer) in [("POST", 400), ("POST", 500), ("OPTIONS", 200), ("HEAD", 200)] {
        let gate = cached();
        gate.send(&get("/a"));
        gate.platform.origin(move |_| Response::new(answer));
        gate.send(&request(method, "/a"));
        assert!(status(&gate, &get("/a")).contains("hit"), "{method} {answer}");
    }
}

#[test]
fn a_change_by_another_route_removes_every_variant() {
    let canary = json!({"sticky": {"cookie": "w"}, "variants": [{"name": "one", "upstream": "app", "weight": 50}, {"name": "two", "upstream": "next", "weight": 50}]});
    let gate = gate(&json!({"routes": [
        {"id": "read", "upstream": "app", "match": {"methods": ["GET", "HEAD"]}, "cache": {}, "canary": canary},
        {"id": "write", "upstream": "next"},
    ]}));
    gate.platform.origin(fresh);
    for unit in 0..16_u32 {
        gate.send(&get("/a").with("Cookie", &format!("w={unit:08x}")));
    }
    assert_eq!(gate.platform.stored.borrow().len(), 2);
    gate.send(&request("POST", "/a"));
    assert!(gate.platform.stored.borrow().is_empty());
}

/// RFC 9111, 4.4: the stored answers for the target are void, also those that
/// another route's conditions on header fields select.
#[test]
fn a_change_removes_what_other_routes_stored_for_the_target() {
    let gate = gate(&json!({"routes": [
        {"id": "beta", "upstream": "next", "match": {"headers": {"X-Beta": "1"}}, "cache": {}},
        {"id": "all", "upstream": "app", "cache": {}},
    ]}));
    gate.platform.origin(fresh);
    gate.send(&get("/a"));
    gate.send(&get("/a").with("X-Beta", "1"));
    gate.send(&request("POST", "/a").with("X-Beta", "1"));
    assert!(status(&gate, &get("/a")).contains("uri-miss"));
}

#[test]
fn what_could_not_be_kept_is_not_looked_up() {
    let gate = route(&json!({"cache": {}}));
    gate.platform.origin(|_| Response::new(200).with("Cache-Control", "no-store"));
    let lookups = || {
        gate.platform
            .store_events
            .borrow()
            .iter()
            .filter(|event| matches!(event, StoreEvent::Lookup(_)))
            .count()
    };
    assert_eq!(status(&gate, &get("/")), "edgeweir; fwd=uri-miss; fwd-status=200; detail=directive");
    gate.send(&get("/"));
    assert_eq!(lookups(), 1);
    // An origin in trouble says nothing of what it usually answers.
    gate.platform.origin(|_| Response::new(503));
    gate.send(&get("/trouble"));
    gate.send(&get("/trouble"));
    assert_eq!(lookups(), 3);
    // It is kept as soon as it may be.
    gate.platform.origin(fresh);
    assert_eq!(status(&gate, &get("/")), MISS);
    assert!(status(&gate, &get("/")).contains("hit"));
    assert_eq!(lookups(), 4);
}

/// A browser that revalidates gets a 304 from the origin. That says nothing
/// about whether the answer may be kept, so others' hits go on.
#[test]
fn a_304_from_the_origin_does_not_turn_the_cache_off() {
    let gate = route(&json!({"cache": {}}));
    gate.platform.origin(|sent| {
        if sent.field("if-none-match").is_some() {
            Response::new(304)
        } else {
            fresh(sent).with("Vary", "Accept-Language")
        }
    });
    gate.send(&get("/").with("Accept-Language", "ko"));
    gate.send(&get("/").with("Accept-Language", "en").with("If-None-Match", "\"v1\""));
    assert_eq!(gate.send(&get("/").with("Accept-Language", "ko")).1.cache, Some("hit"));
}

#[test]
fn the_limit_of_a_body_goes_to_the_store() {
    let gate = route(&json!({"cache": {"max_body": "10B"}}));
    gate.platform
        .origin(|_| Response::new(200).with("Cache-Control", "max-age=60").body("more than ten bytes"));
    gate.send(&get("/"));
    assert!(
        gate.platform
            .store_events
            .borrow()
            .iter()
            .any(|event| matches!(event, StoreEvent::Keep { limit: 10, .. }))
    );
    assert!(gate.platform.stored.borrow().is_empty());
}

#[test]
fn hop_by_hop_fields_are_not_stored() {
    let gate = route(&json!({"cache": {}}));
    gate.platform.origin(|sent| {
        fresh(sent)
            .with("Connection", "X-Hop")
            .with("X-Hop", "1")
            .with("Keep-Alive", "5")
            .with("Cache-Status", "theirs; hit")
            .with("Age", "0")
    });
    gate.send(&get("/"));
    let (hit, _) = gate.send(&get("/"));
    for gone in ["connection", "x-hop", "keep-alive"] {
        assert_eq!(hit.field(gone), None, "{gone}");
    }
    assert_eq!(
        (hit.field("age").as_deref(), hit.field("cache-status").as_deref()),
        (Some("0"), Some("edgeweir; hit; ttl=60"))
    );
}

/// Each client has its own request id and limits on a stored answer.
#[test]
fn a_hit_has_the_client_s_own_fields() {
    let gate = route(&json!({"cache": {}, "rate_limit": limit(9, "local")}));
    gate.platform
        .origin(|sent| fresh(sent).with("X-Request-Id", "the origin's").with("RateLimit", "\"theirs\""));
    let (first, _) = gate.send(&get("/"));
    let (hit, record) = gate.send(&get("/"));
    assert_eq!(hit.field("x-request-id"), record.request_id);
    assert_ne!(hit.field("x-request-id"), first.field("x-request-id"));
    assert_eq!(hit.field("ratelimit").as_deref(), Some("\"few\";r=7;t=2"));
}
