//! What strangers try, through the whole journey.

use edgeweir::exchange::PlainHead;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{deny, gate, label, limit};
use crate::fake::{Gate, Response, With, check, get, request};

/// `/admin` is closed, the rest is open; the origin says what it was asked.
fn guarded() -> Gate {
    let gate = gate(&json!({"routes": [
        {"id": "admin", "upstream": "app", "match": {"path": "/admin/*"}, "ip_filter": {"default": "deny"}},
        {"id": "slashes", "upstream": "app", "match": {"path": "/files/*", "allow_encoded": ["%2F", "%5C", "%00"]}},
        {"id": "open", "upstream": "app"},
    ]}));
    gate.platform.origin(|sent| Response::new(200).body(&sent.url));
    gate
}

#[test]
fn no_spelling_of_a_path_gets_past_its_rule() {
    let gate = guarded();
    for target in [
        "/admin",
        "/admin/",
        "//admin",
        "/admin//",
        "/%61dmin",
        "/%61%64%6d%69%6e/x",
        "///admin/x?y",
        "/admin?/../open",
        "/admin/%2561",
        "/./admin",
        "/x/../admin",
        "/x/%2e%2e/admin",
        "/x/%2E./admin",
        "/x/.%2e/admin",
        "/x\\..\\admin",
        "/x/..\\admin",
        "\\admin",
        "/..%2fadmin",
        "/x%2f..%2fadmin",
        "/%2fadmin",
        "/%5cadmin",
        "/admin%2f",
        "/admin%00",
        "/admin%5c",
        "/admin#",
        "/ad\tmin",
        "/ad min",
        "/admin%",
        "/*",
        "*",
        "",
    ] {
        let (response, record) = gate.send(&get(target));
        let harmless = ["/admin%", "/*"].contains(&target);
        assert!(
            response.status == 403 || response.status == 400 || (response.status == 200 && harmless),
            "{target}: {} {record:?}",
            response.status
        );
    }
}

/// Servlet containers cut `;…` off a segment before they resolve dot segments.
#[test]
fn no_parameter_hides_a_dot_segment() {
    let gate = guarded();
    for target in ["/x/..;/admin", "/x/..;a=b/admin", "/x/%2e%2e;/admin", "/x/..%3b/admin", "/x/.%2e;/admin"]
    {
        assert_eq!(gate.send(&get(target)).0.status, 400, "{target}");
    }
}

/// Where a route takes encoded slashes, an origin that decodes them first
/// would walk out of that route.
#[test]
fn no_encoded_slash_hides_a_dot_segment() {
    let gate = guarded();
    for target in
        ["/files/..%2fadmin", "/files/%2e%2e%2fadmin", "/files/x%5c..%5c..%5cadmin", "/files/..%00/admin"]
    {
        assert_eq!(gate.send(&get(target)).0.status, 400, "{target}");
    }
}

#[test]
fn what_stays_open_is_sent_as_it_came() {
    let gate = guarded();
    for target in [
        "/",
        "/x",
        "/admins",
        "/x/admin",
        "/ADMIN",
        "/files/a%2Fb",
        "/files/a%5cb%00c",
        "/...",
        "/%252e%252e/admin",
        "/x?../admin",
        "/a;b=c/d",
    ] {
        let (response, _) = gate.send(&get(target));
        assert_eq!(
            (response.status, response.body.as_str()),
            (200, format!("http://app.internal{target}").as_str())
        );
    }
}

#[test]
fn hosts_that_are_none_are_refused() {
    let gate = guarded();
    let long = "a".repeat(300);
    for host in [
        "a@b",
        "u:p@app.example",
        "a@b/..",
        "x/foo",
        "x?q",
        "x#f",
        "x\\y",
        "[::1",
        "[::1]x",
        "::1",
        "0x7f.1",
        "127.1",
        "2130706433",
        "a:0",
        "a:65536",
        "a:-1",
        "a:8a",
        "app.example, evil.example",
        "app.example evil.example",
        "",
        ".",
        "a..b",
        "é.example",
        "%61pp.example",
        &long,
    ] {
        let (response, record) = gate.send(&get("/admin").to("https", host));
        assert_eq!((response.status, label(&response).as_str()), (400, "invalid-host"), "{host}");
        assert_eq!(record.host, None, "{host}");
        assert!(record.path.unwrap().ends_with("/admin"), "{host}");
    }
    assert_eq!(gate.sent_count(), 0);
}

/// The journey of a spoofed chain under each documented configuration: the
/// filter and the limit see the peer.
#[test]
fn a_spoofed_chain_changes_nothing() {
    let configurations: [Value; 8] = [
        json!({}),
        json!({"client_address": {"chain": "Forwarded"}}),
        json!({"client_address": {"trusted_hops": ["10.0.0.0/8"]}}),
        json!({"client_address": {"trusted_hops": ["10.0.0.0/8"], "chain": "Forwarded"}}),
        json!({"client_address": {"on_missing": {"address": "127.0.0.1"}}}),
        json!({"client_address": {"header": "CF-Connecting-IP", "on_missing": "reject"}, "ipv6_prefix": 128}),
        json!({"client_address": {"trusted_hops": ["10.0.0.0/8"], "on_short_chain": "peer", "on_garbled_chain": "peer"}}),
        // A request that did not come over as many hops.
        json!({"client_address": {"trusted_depth": 2, "on_short_chain": "peer"}}),
    ];
    for identity in configurations {
        let gate = gate(&json!({
            "identity": identity, "ip_filter": deny("203.0.113.0/24"),
            "routes": [{"id": "all", "upstream": "app", "rate_limit": limit(1, "local")}],
        }));
        let spoofed = |from: &str, claim: &str| {
            get("/")
                .from(from)
                .with("X-Forwarded-For", claim)
                .with("Forwarded", &format!("for={claim}"))
                .with("X-Real-IP", claim)
                .with("True-Client-IP", claim)
                .with("X-Client-IP", claim)
                .with("Client-IP", claim)
        };
        assert_eq!(gate.send(&spoofed("203.0.113.9", "127.0.0.1")).0.status, 403, "{identity}");
        assert_eq!(gate.send(&spoofed("203.0.113.9", "10.0.0.1")).0.status, 403, "{identity}");
        let (first, record) = gate.send(&spoofed("198.51.100.1", "1.1.1.1"));
        assert_eq!((first.status, record.client.as_deref()), (200, Some("198.51.100.1")));
        assert_eq!(gate.send(&spoofed("198.51.100.1", "2.2.2.2")).0.status, 429, "{identity}");
        assert_eq!(gate.the_sent().field("x-forwarded-for").as_deref(), Some("198.51.100.1"));
    }
}

#[test]
fn a_garbled_address_or_chain_is_a_400() {
    let gate = gate(&json!({"identity": {"client_address": {"trusted_hops": ["10.0.0.0/8"]}}}));
    let chain = |chain: &str| get("/").from("10.0.0.1").with("X-Forwarded-For", chain);
    for head in [
        get("/").from(""),
        get("/").from("a, b"),
        get("/").from("1.2.3.4:5"),
        get("/").from("192.0.2.1").with("CF-Connecting-IP", "192.0.2.2"),
        chain("unknown"),
        chain("1.2.3.4, x"),
        chain("[::1"),
    ] {
        let (response, record) = gate.send(&head);
        assert_eq!((response.status, label(&response).as_str()), (400, "client-address"));
        assert_eq!((record.client, record.reason), (None, Some("client-address")));
        assert!(record.request_id.is_some());
    }
    assert_eq!(gate.sent_count(), 0);
}

#[test]
fn a_connection_field_takes_nothing_away() {
    let gate = gate(&json!({}));
    let listed = "close, x-forwarded-for, forwarded, x-forwarded-host, x-forwarded-proto, x-request-id, cdn-loop, traceparent, cf-connecting-ip, host, cookie, content-type";
    gate.send(
        &request("POST", "/").with("Connection", listed).with("Cookie", "a=b").with("Content-Type", "x/y"),
    );
    let sent = gate.the_sent();
    for kept in [
        "x-forwarded-for",
        "forwarded",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-request-id",
        "cdn-loop",
        "traceparent",
        "cf-connecting-ip",
        "cookie",
        "content-type",
    ] {
        assert!(sent.field(kept).is_some(), "{kept}");
    }
    assert_eq!(sent.field("connection"), None);
}

/// Some frameworks take the method from a field: GET through the cache and
/// the route of GET, DELETE at the origin.
#[test]
fn a_method_that_hides_in_a_field_does_not_reach_the_origin() {
    for name in ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"] {
        let gate = gate(&json!({}));
        gate.send(&get("/").with(name, "DELETE"));
        assert_eq!(gate.the_sent().field(name), None, "{name}");
    }
}

#[test]
fn cookie_garbage_is_harmless() {
    let canary = json!({"sticky": {"cookie": "w"}, "variants": [{"name": "one", "upstream": "app", "weight": 50}, {"name": "two", "upstream": "next", "weight": 50}]});
    let gate = gate(&json!({"routes": [{"id": "all", "upstream": "app", "canary": canary, "cache": {}}]}));
    gate.platform.origin(|_| Response::new(200).with("Cache-Control", "max-age=60"));
    check(256, prop_oneof![any::<String>(), "[w=0-9a-f;, \"]{0,40}"], |cookie| {
        let (response, record) = gate.send(&get("/").with("Cookie", &cookie));
        prop_assert_eq!(response.status, 200);
        prop_assert!(record.variant.is_some());
        Ok(())
    });
}

/// Anything in any field of any request: an answer and a record, always, and
/// what reaches the origin is told by us.
#[test]
fn no_request_breaks_the_journey() {
    let gate = gate(&json!({
        "identity": {"client_address": {"trusted_hops": ["10.0.0.0/8"], "chain": "Forwarded"}},
        "rate_limit": {"rules": [{"id": "l", "max": 1_000_000, "window": "1s", "counting": "local", "key": ["client", {"header": "X-A"}]}]},
        "routes": [{"id": "all", "upstream": "app", "match": {"allow_encoded": ["%2F"]}, "cache": {},
            "canary": {"sticky": {"cookie": "w"}, "variants": [{"name": "one", "upstream": "app", "weight": 99.99}, {"name": "two", "upstream": "next", "weight": 0.01}]}}],
    }));
    gate.platform.origin(|_| Response::new(200).with("Cache-Control", "max-age=1").with("Vary", "X-A"));
    let names = vec![
        "cookie",
        "cache-control",
        "forwarded",
        "x-forwarded-for",
        "connection",
        "upgrade",
        "traceparent",
        "if-none-match",
        "if-modified-since",
        "cdn-loop",
        "x-a",
        "content-length",
        "range",
        "pragma",
        "x-request-id",
    ];
    let value = prop_oneof![any::<String>(), "[!-~ ]{0,30}", "[a-z0-9=,;\"\\\\-]{0,30}"];
    let fields = prop::collection::vec((prop::sample::select(names), value), 0..6);
    let target = prop_oneof![any::<String>(), "/[a-c./%?;-]{0,12}"];
    let host = prop_oneof![4 => Just("app.example".to_owned()), 1 => any::<String>()];
    let from = prop_oneof![4 => Just("10.0.0.1".to_owned()), 1 => any::<String>()];
    let method = prop::sample::select(vec!["GET", "HEAD", "POST", "OPTIONS"]);
    check(800, (method, target, host, from, fields), |(method, target, host, from, fields)| {
        let head: PlainHead = request(method, &target).to("https", &host).from(&from);
        let head = fields.iter().fold(head, |head, (name, value)| head.with(name, value));
        let before = gate.sent_count();
        gate.platform.advance(100);
        let (response, record) = gate.send(&head);
        prop_assert_eq!(response.status, record.status);
        prop_assert!(response.field("x-request-id").is_some());
        prop_assert!(!record.line().is_empty() && !record.line().contains('\n'));
        if gate.sent_count() > before {
            let sent = gate.platform.sent.borrow().last().unwrap().clone();
            let url = url::Url::parse(&sent.url).unwrap();
            prop_assert!(["app.internal", "next.internal"].contains(&url.host_str().unwrap()), "{}", url);
            prop_assert!(sent.field("x-forwarded-for").unwrap().ends_with("10.0.0.1"));
            prop_assert!(sent.field("cdn-loop").unwrap().ends_with("edgeweir"));
        }
        Ok(())
    });
}
