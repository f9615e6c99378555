//! What the origin gets.

use edgeweir::error::Reason;
use edgeweir::exchange::PlainHead;
use edgeweir::policy::{Gateway, compile};
use edgeweir::stages::target::parse;
use edgeweir::stages::upstream::{is_websocket, refuse_loop};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::fake::{Sent, With, check, edit, get, request};

fn gateway(identity: &Value, upstream: &Value) -> Gateway {
    let policy = json!({"version": 1, "identity": identity, "upstreams": {"u": upstream}});
    compile(&policy.to_string()).unwrap_or_else(|error| panic!("{error}"))
}

/// What the origin gets of a request, by a gateway.
fn sent_by(gateway: &Gateway, head: &PlainHead) -> Sent {
    let identity = gateway.identity.identify(head, 0xabc).unwrap();
    let target = parse(&head.url, Some(&head.fields[0].1)).unwrap();
    let request = gateway.upstreams[0].request(head, &target, &identity, &gateway.identity);
    let mut fields = head.fields.clone();
    edit(&mut fields, &request.edits);
    Sent { method: head.method.clone(), url: request.url, fields, first_byte: request.first_byte }
}

fn sent(head: &PlainHead) -> Sent {
    sent_by(&gateway(&json!({}), &json!({"origin": "http://origin.example"})), head)
}

fn hop(chain: &str) -> Gateway {
    let identity = json!({"client_address": {"trusted_hops": ["10.0.0.0/8"], "chain": chain}});
    gateway(&identity, &json!({"origin": "http://origin.example"}))
}

#[test]
fn rule_1_the_origin_is_the_upstream_s_or_the_request_s_own() {
    for (origin, url) in [
        ("http://o.example", "http://o.example//a/%61?b=c"),
        ("https://O.example.:443/", "https://o.example:443//a/%61?b=c"),
        ("http://[::1]:8788", "http://[::1]:8788//a/%61?b=c"),
        ("request", "https://app.example:8443//a/%61?b=c"),
    ] {
        let gateway = gateway(&json!({}), &json!({"origin": origin}));
        assert_eq!(sent_by(&gateway, &get("//a/%61?b=c").to("https", "App.Example.:8443")).url, url);
    }
}

#[test]
fn rule_1_an_origin_is_a_url_of_scheme_host_and_port() {
    for bad in [
        "",
        "o.example",
        "ftp://o",
        "http://",
        "http:///",
        "http://o/p",
        "http://o//",
        "http://o?q",
        "http://o#f",
        "http://u:p@o",
        "http://o:0",
        "http://o:65536",
        "http://0x7f.1",
        "HTTP://o",
        "http://*.o",
        "Request",
        "http://[::1",
    ] {
        let policy = json!({"version": 1, "upstreams": {"u": {"origin": bad}}});
        let problems = compile(&policy.to_string()).unwrap_err().problems;
        assert_eq!(
            (problems.len(), problems[0].path.as_str(), problems[0].value.as_str()),
            (1, "upstreams.u.origin", format!("{bad:?}").as_str())
        );
    }
}

#[test]
fn timeouts() {
    let first_byte = |timeouts: Value| {
        let policy = json!({"version": 1, "upstreams": {"u": {"origin": "http://o", "timeouts": timeouts}}});
        compile(&policy.to_string())
            .map(|gateway| gateway.upstreams[0].first_byte.as_millis())
            .map_err(|error| error.problems[0].path.clone())
    };
    assert_eq!(first_byte(json!({})), Ok(30_000));
    assert_eq!(first_byte(json!({"first_byte": "10ms"})), Ok(10));
    assert_eq!(first_byte(json!({"first_byte": "10m"})), Ok(600_000));
    for bad in ["9ms", "601s", "0s", "1w", "", "1", "-1s", "1.5s", " 1s"] {
        assert_eq!(
            first_byte(json!({"first_byte": bad})),
            Err("upstreams.u.timeouts.first_byte".to_owned()),
            "{bad:?}"
        );
    }
    assert_eq!(first_byte(json!({"connect": "1s"})), Err("upstreams.u.timeouts.connect".to_owned()));
}

#[test]
fn rule_2_who_has_been_here_is_refused() {
    let refused = |field: &str, id: &str| {
        refuse_loop(&get("/").with("CDN-Loop", field), id).err().map(|reject| reject.reason)
    };
    for field in [
        "edgeweir",
        "EdgeWeir",
        "a, edgeweir",
        "edgeweir; v=1",
        "a;edgeweir, edgeweir ;x=\"y\", b",
        ",,edgeweir",
    ] {
        assert_eq!(refused(field, "edgeweir"), Some(Reason::Loop), "{field}");
    }
    for field in ["", "edgeweir2", "a; edgeweir", "a; x=edgeweir", "edge weir", "xedgeweir", "edgeweir"] {
        let id = if field == "edgeweir" { "other" } else { "edgeweir" };
        assert_eq!(refused(field, id), None, "{field}");
    }
    assert!(refuse_loop(&get("/"), "edgeweir").is_ok());
    let two_lines = get("/").with("CDN-Loop", "a").with("CDN-Loop", "edgeweir");
    assert!(refuse_loop(&two_lines, "edgeweir").is_err());
    // What is sent on names us, so the next time it is refused.
    let next = sent(&get("/").with("CDN-Loop", "other; v=1"));
    assert_eq!(next.field("cdn-loop").as_deref(), Some("other; v=1, edgeweir"));
}

#[test]
fn rule_3_hop_by_hop_fields_end_here() {
    let head = [
        ("Connection", "keep-alive, X-Private, te"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Connection", "keep-alive"),
        ("Proxy-Authenticate", "Basic"),
        ("Proxy-Authorization", "Basic eA=="),
        ("TE", "trailers"),
        ("Trailer", "x"),
        ("Transfer-Encoding", "chunked"),
        ("Upgrade", "h2c"),
        ("X-Private", "1"),
        ("X-Public", "1"),
    ]
    .into_iter()
    .fold(get("/"), |head, (name, value)| head.with(name, value));
    let sent = sent(&head);
    for gone in [
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-private",
    ] {
        assert_eq!(sent.field(gone), None, "{gone}");
    }
    assert_eq!(sent.field("x-public").as_deref(), Some("1"));
}

/// A Connection field that names what the origin relies on must not take it
/// away.
#[test]
fn rule_3_connection_takes_nothing_from_the_origin() {
    let listed = "close, X-Forwarded-For, X-Forwarded-Host, X-Forwarded-Proto, Forwarded, X-Request-Id, traceparent, CDN-Loop, \
        CF-Connecting-IP, Cookie, Host, Content-Length, Content-Type, Cache-Control, b@d";
    let head = get("/")
        .with("Connection", listed)
        .with("Cookie", "a=b")
        .with("Content-Type", "x/y")
        .with("Cache-Control", "no-cache");
    let sent = sent(&head);
    for kept in [
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "forwarded",
        "x-request-id",
        "traceparent",
        "cdn-loop",
        "cf-connecting-ip",
        "cookie",
        "host",
        "content-type",
        "cache-control",
    ] {
        assert!(sent.field(kept).is_some(), "{kept}");
    }
}

/// Nor the field in which the platform says who the client is, whatever it is
/// called.
#[test]
fn rule_3_connection_does_not_take_the_configured_client_address() {
    let gateway =
        gateway(&json!({"client_address": {"header": "True-Client-IP"}}), &json!({"origin": "http://o"}));
    let head = get("/").with("True-Client-IP", "203.0.113.9").with("Connection", "true-client-ip");
    assert_eq!(sent_by(&gateway, &head).field("true-client-ip").as_deref(), Some("203.0.113.9"));
}

#[test]
fn rule_3_websocket_upgrades_pass() {
    let head =
        get("/").with("Connection", "Upgrade").with("Upgrade", "WebSocket").with("Sec-WebSocket-Key", "x");
    assert!(is_websocket(&head));
    let passed = sent(&head);
    assert_eq!(passed.field("upgrade").as_deref(), Some("WebSocket"));
    assert_eq!(passed.field("sec-websocket-key").as_deref(), Some("x"));
    assert_eq!(passed.field("connection"), None);
    for head in
        [request("POST", "/").with("Upgrade", "websocket"), get("/").with("Upgrade", "websocket2"), get("/")]
    {
        assert!(!is_websocket(&head));
        assert_eq!(sent(&head).field("upgrade"), None);
    }
}

#[test]
fn rule_4_a_stranger_s_words_about_itself_are_replaced() {
    let sent = sent(
        &get("/")
            .with("X-Forwarded-For", "127.0.0.1")
            .with("X-Forwarded-For", "10.0.0.1")
            .with("X-Forwarded-Host", "evil.example")
            .with("X-Forwarded-Proto", "gopher")
            .with("Forwarded", "for=127.0.0.1;host=evil.example")
            .with("X-Request-Id", "mine"),
    );
    assert_eq!(sent.field("x-forwarded-for").as_deref(), Some("192.0.2.1"));
    assert_eq!(sent.field("x-forwarded-host").as_deref(), Some("app.example"));
    assert_eq!(sent.field("x-forwarded-proto").as_deref(), Some("https"));
    assert_eq!(sent.field("forwarded").as_deref(), Some("for=192.0.2.1;host=\"app.example\";proto=https"));
    assert_eq!(sent.field("x-request-id").as_deref(), Some("00000000000000000000000000000abc"));
}

#[test]
fn rule_4_what_our_own_hop_says_is_continued() {
    let head = |from: &str| {
        get("/")
            .from(from)
            .with("X-Forwarded-For", "203.0.113.9")
            .with("Forwarded", "for=203.0.113.9")
            .with("X-Forwarded-Host", "first.example")
            .with("X-Forwarded-Proto", "http")
            .with("X-Request-Id", "kept-1")
    };
    let passed = sent_by(&hop("X-Forwarded-For"), &head("10.1.1.1"));
    assert_eq!(passed.field("x-forwarded-for").as_deref(), Some("203.0.113.9, 10.1.1.1"));
    // The other chain is not the one that our hops keep.
    assert_eq!(passed.field("forwarded").as_deref(), Some("for=10.1.1.1;host=\"app.example\";proto=https"));
    assert_eq!(passed.field("x-forwarded-host").as_deref(), Some("first.example"));
    assert_eq!(passed.field("x-forwarded-proto").as_deref(), Some("http"));
    assert_eq!(passed.field("x-request-id").as_deref(), Some("kept-1"));
    let passed = sent_by(&hop("Forwarded"), &head("10.1.1.1"));
    assert_eq!(passed.field("x-forwarded-for").as_deref(), Some("10.1.1.1"));
    assert_eq!(
        passed.field("forwarded").as_deref(),
        Some("for=203.0.113.9, for=10.1.1.1;host=\"app.example\";proto=https")
    );
    let stranger = sent_by(&hop("X-Forwarded-For"), &head("198.51.100.1"));
    assert_eq!(stranger.field("x-forwarded-for").as_deref(), Some("198.51.100.1"));
    assert_eq!(stranger.field("x-forwarded-host").as_deref(), Some("app.example"));
}

#[test]
fn rule_4_an_ipv6_node_is_quoted() {
    let sent = sent(&get("/").from("2001:db8::9").to("http", "[::1]:81"));
    assert_eq!(
        sent.field("forwarded").as_deref(),
        Some("for=\"[2001:db8::9]\";host=\"[::1]:81\";proto=http")
    );
    assert_eq!(sent.field("x-forwarded-for").as_deref(), Some("2001:db8::9"));
}

#[test]
fn rule_4_a_trace_is_continued_or_begun() {
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let continued = sent(&get("/").with("traceparent", parent).with("tracestate", "a=b"));
    let field = continued.field("traceparent").unwrap();
    assert!(
        field.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-")
            && field.ends_with("-01")
            && field != parent
    );
    assert_eq!(continued.field("tracestate").as_deref(), Some("a=b"));
    // RFC-less text: what cannot be read begins a trace, without its state.
    let begun = sent(&get("/").with("traceparent", "garbage").with("tracestate", "a=b"));
    assert!(begun.field("traceparent").unwrap().ends_with("-00"));
    assert_eq!(begun.field("tracestate"), None);
}

#[test]
fn rule_5_fields_that_name_another_target_are_removed() {
    for name in [
        "X-Original-URL",
        "X-Rewrite-URL",
        "X-Forwarded-Port",
        "X-Forwarded-Prefix",
        "X-Forwarded-Server",
        "X-Forwarded-Scheme",
        "X-Real-IP",
    ] {
        assert_eq!(sent(&get("/").with(name, "/admin")).field(name), None, "{name}");
        let trusted = sent_by(&hop("X-Forwarded-For"), &get("/").from("10.1.1.1").with(name, "/admin"));
        assert_eq!(trusted.field(name), None, "{name}");
    }
}

/// CGI and WSGI origins read `_` and `-` in field names as the same, so a
/// client's `X_Forwarded_For` would stand beside ours.
#[test]
fn rule_4_an_underscore_is_no_way_to_say_it_all_the_same() {
    for name in [
        "X_Forwarded_For",
        "X_Forwarded_Host",
        "X_Forwarded_Proto",
        "X_Original_URL",
        "X_Rewrite_URL",
        "X_Real_IP",
        "X_Request_Id",
        "CF_Connecting_IP",
    ] {
        assert_eq!(sent(&get("/").with(name, "127.0.0.1")).field(name), None, "{name}");
    }
}

/// Hops that are known by their number are continued as others are; where the
/// chain is not what they write, nothing of it is.
#[test]
fn rule_4_a_chain_that_could_not_be_read_is_not_continued() {
    let by =
        |address: Value| gateway(&json!({"client_address": address}), &json!({"origin": "http://o.example"}));
    let told = |gateway: &Gateway, chain: &str, value: &str| {
        let head = get("/")
            .from("10.1.1.1")
            .with(chain, value)
            .with("X-Forwarded-Host", "shop.example")
            .with("X-Forwarded-Proto", "http");
        let sent = sent_by(gateway, &head);
        let field = |name| sent.field(name).unwrap();
        (field("x-forwarded-for"), field("forwarded"), field("x-forwarded-host"), field("x-forwarded-proto"))
    };
    let own = "for=10.1.1.1;host=\"app.example\";proto=https";
    let deep = by(json!({"trusted_depth": 2, "on_short_chain": "peer", "on_garbled_chain": "peer"}));
    let (xff, forwarded, host, proto) = told(&deep, "X-Forwarded-For", "6.6.6.6, 203.0.113.7, 10.9.9.9");
    assert_eq!(xff, "6.6.6.6, 203.0.113.7, 10.9.9.9, 10.1.1.1");
    assert_eq!((forwarded.as_str(), host.as_str(), proto.as_str()), (own, "shop.example", "http"));
    let elements = by(json!({"trusted_depth": 2, "chain": "Forwarded"}));
    let (xff, forwarded, ..) =
        told(&elements, "Forwarded", "for=6.6.6.6;host=evil.test;by=\", for=203.0.113.7, for=10.9.9.9");
    assert_eq!((xff.as_str(), forwarded), ("10.1.1.1", format!("for=203.0.113.7, for=10.9.9.9, {own}")));
    // Who did not come over the hops has no word about host and scheme either.
    for bad in ["203.0.113.7", "unknown, 10.9.9.9"] {
        let (xff, forwarded, host, proto) = told(&deep, "X-Forwarded-For", bad);
        assert_eq!((xff.as_str(), forwarded.as_str()), ("10.1.1.1", own), "{bad}");
        assert_eq!((host.as_str(), proto.as_str()), ("app.example", "https"), "{bad}");
    }
    let lenient = by(json!({"trusted_hops": ["10.0.0.0/8"], "on_garbled_chain": "peer"}));
    let (xff, _, host, _) = told(&lenient, "X-Forwarded-For", "6.6.6.6, unknown");
    assert_eq!((xff.as_str(), host.as_str()), ("10.1.1.1", "shop.example"));
}

#[test]
fn the_request_id_has_a_field_of_its_own() {
    let compiled = |header: &str| {
        compile(&json!({"version": 1, "identity": {"request_id": {"header": header}}}).to_string())
    };
    assert!(compiled("X-Correlation-Id").is_ok());
    for taken in [
        "Host",
        "Cookie",
        "Connection",
        "TE",
        "Transfer-Encoding",
        "Content-Length",
        "X-Forwarded-For",
        "Forwarded",
        "traceparent",
        "tracestate",
        "CDN-Loop",
        "Cache-Control",
        "X-Original-URL",
        "Upgrade",
    ] {
        let problems = compiled(taken).unwrap_err().problems;
        assert_eq!((problems.len(), problems[0].path.as_str()), (1, "identity.request_id.header"), "{taken}");
    }
}

/// It is set on every request and every response, so a field that means
/// something there would be overwritten.
#[test]
fn the_request_id_takes_no_field_that_means_something_else() {
    for taken in [
        "CF-Connecting-IP",
        "Authorization",
        "Set-Cookie",
        "Location",
        "Vary",
        "ETag",
        "Content-Encoding",
        "Retry-After",
        "RateLimit",
        "Cache-Status",
        "Range",
        "Age",
    ] {
        let policy = json!({"version": 1, "identity": {"request_id": {"header": taken}}});
        assert!(compile(&policy.to_string()).is_err(), "{taken}");
    }
}

/// Whatever a stranger sends, the origin is told the truth in one line each.
#[test]
fn the_origin_is_told_the_truth() {
    let names = vec![
        "x-forwarded-for",
        "forwarded",
        "x-forwarded-host",
        "x-forwarded-proto",
        "connection",
        "traceparent",
        "x-request-id",
        "te",
        "upgrade",
        "x-real-ip",
    ];
    let value = prop_oneof![
        "[ -~]{0,20}",
        Just("x-forwarded-for, forwarded".to_owned()),
        Just("127.0.0.1".to_owned())
    ];
    check(1_000, prop::collection::vec((prop::sample::select(names), value), 0..8), |fields| {
        let head = fields.iter().fold(get("/"), |head, (name, value)| head.with(name, value));
        let sent = sent(&head);
        for (name, told) in [
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-host", "app.example"),
            ("x-forwarded-proto", "https"),
        ] {
            prop_assert_eq!(sent.field(name), Some(told.to_owned()));
        }
        prop_assert!(
            sent.field("connection").is_none()
                && sent.field("te").is_none()
                && sent.field("x-real-ip").is_none()
        );
        Ok(())
    });
}
