//! What a route makes of requests before the cache: what is keyed is what the
//! origin gets, and what goes past it arrives as it was sent.

use serde_json::json;

use super::{cached, route, status};
use crate::fake::{Response, Sent, With, get, request};

/// Says back the fields that it got, and that it chose by them.
fn echo(names: &'static [&'static str]) -> impl Fn(&Sent) -> Response {
    move |sent| {
        let fields: Vec<String> = names.iter().map(|name| sent.field(name).unwrap_or_default()).collect();
        Response::new(200).with("Cache-Control", "max-age=60").with("Vary", &names.join(", ")).body(&format!(
            "{} {}",
            sent.url,
            fields.join("|")
        ))
    }
}

#[test]
fn spellings_of_one_path_are_one_and_reach_the_origin_as_one() {
    let gate = cached(&json!({}), echo(&[]));
    for spelling in ["/%7euser/%c3%a9?q=%7e", "/~user/%C3%A9?q=%7e", "/%7Eus%65r/%C3%a9?q=%7e"] {
        let (response, _) = gate.send(&get(spelling));
        assert_eq!(response.body, "http://app.internal/~user/%C3%A9?q=%7e ", "{spelling}");
    }
    assert_eq!(gate.sent_count(), 1);
    // A change finds it by any of them, and is itself sent as it came.
    gate.send(&request("DELETE", "/%7Euser/%c3%a9?q=%7e"));
    assert_eq!(gate.the_last_url(), "http://app.internal/%7Euser/%c3%a9?q=%7e");
    assert!(status(&gate, &get("/~user/%C3%A9?q=%7e")).contains("uri-miss"));
}

#[test]
fn a_request_that_bypasses_is_nobody_else_s() {
    let cache = json!({
        "bypass": {"headers": ["X-Preview"], "query": ["draft=1"]},
        "key": {"query": {"preset": "tracking"}},
    });
    let gate = cached(&cache, |sent| {
        let said = sent.field("x-preview").unwrap_or_default();
        Response::new(200).with("Cache-Control", "max-age=60").body(&format!("{} {said}", sent.url))
    });
    let preview = get("/a?utm_source=x").with("X-Preview", "evil");
    assert_eq!(status(&gate, &preview), "edgeweir; fwd=bypass; fwd-status=200; detail=request");
    assert_eq!(gate.the_last_url(), "http://app.internal/a?utm_source=x");
    gate.send(&get("/a"));
    // Neither stored nor answered.
    assert_eq!(gate.send(&get("/a")).0.body, "http://app.internal/a ");
    assert!(status(&gate, &get("/a")).contains("hit"));
    assert!(
        status(&gate, &preview).contains("fwd=bypass")
            && status(&gate, &get("/a?draft=1")).contains("bypass")
    );
    let unheard = preview.with("Cache-Control", "only-if-cached");
    assert_eq!(gate.send(&unheard).0.status, 504);
}

/// Limits come first: a client that makes the origin work is counted like any
/// other.
#[test]
fn a_bypass_is_no_way_around_a_limit() {
    let gate = route(&json!({
        "cache": {"bypass": {"query": ["x"]}},
        "rate_limit": super::limit(2, "local"),
    }));
    let statuses: Vec<u16> = (0..3).map(|_| gate.send(&get("/?x")).0.status).collect();
    assert_eq!((statuses, gate.sent_count()), (vec![200, 200, 429], 2));
}

#[test]
fn a_reduced_field_reaches_the_origin_reduced() {
    let cache = json!({"vary": {"device": true, "encoding": true, "languages": ["en", "de"]}});
    let gate = cached(&cache, echo(&["user-agent", "accept-encoding", "accept-language"]));
    let one = get("/")
        .with("User-Agent", "Mozilla/5.0 (iPhone) Mobile/1")
        .with("Accept-Encoding", "deflate, br, gzip")
        .with("Accept-Language", "de-AT, fr;q=0.5");
    let other = get("/")
        .with("User-Agent", "Mozilla/5.0 (Android 14; Mobile)")
        .with("Accept-Encoding", "gzip;q=0.2, br, foo")
        .with("Accept-Language", "fr, de;q=0.1");
    let body = "http://app.internal/ Mozilla/5.0 (compatible; Edgeweir; Mobile)|gzip, br|de";
    assert_eq!(gate.send(&one).0.body, body);
    let (hit, record) = gate.send(&other);
    assert_eq!((hit.body.as_str(), record.cache), (body, Some("hit")));
    // Another class is another answer.
    assert!(status(&gate, &get("/")).contains("vary-miss"));
    assert_eq!(gate.sent_count(), 2);
}

/// The field by which a class is chosen is never the one that is stored under
/// it.
#[test]
fn no_raw_field_poisons_a_class() {
    let cache = json!({"vary": {"device": true}});
    let gate = cached(&cache, echo(&["user-agent", "sec-ch-ua-mobile"]));
    gate.send(&get("/").with("User-Agent", "<script>Mobile").with("Sec-CH-UA-Mobile", "?0"));
    let (hit, record) = gate.send(&get("/").with("User-Agent", "Mobile"));
    assert_eq!(record.cache, Some("hit"));
    assert_eq!(hit.body, "http://app.internal/ Mozilla/5.0 (compatible; Edgeweir; Mobile)|?1");
}

#[test]
fn a_route_s_lifetimes_count() {
    let cache = json!({"lifetimes": [
        {"status": ["404"], "lifetime": "10s"},
        {"status": ["5xx"], "lifetime": "0s"},
        {"status": ["203"], "lifetime": "5s", "force": true},
    ]});
    let gate = cached(&cache, |sent| {
        let code: u16 = sent.url.rsplit('/').next().unwrap().parse().unwrap();
        let control = if code == 203 { "no-store" } else { "max-age=600" };
        let answer = Response::new(code);
        if code == 404 { answer } else { answer.with("Cache-Control", control) }
    });
    for (code, first) in [(404, "stored; ttl=10"), (500, "detail=lifetime"), (203, "stored; ttl=5")] {
        assert!(status(&gate, &get(&format!("/{code}"))).ends_with(first), "{code}");
    }
    assert_eq!(status(&gate, &get("/404")), "edgeweir; hit; ttl=10");
    assert_eq!(status(&gate, &get("/203")), "edgeweir; hit; ttl=5");
    assert!(status(&gate, &get("/500")).contains("fwd=uri-miss"));
    gate.platform.advance(10_000);
    assert!(status(&gate, &get("/404")).contains("fwd=stale"));
}

/// RFC 9211, 2: the list grows towards the client.
#[test]
fn cache_status_is_added_to_what_caches_before_said() {
    let gate = cached(&json!({"status_key": true}), |_| {
        Response::new(200).with("Cache-Control", "max-age=60").with("Cache-Status", "mid; hit")
    });
    let miss = status(&gate, &get("/a"));
    assert!(
        miss.starts_with("mid; hit, edgeweir; fwd=uri-miss; fwd-status=200; stored; ttl=60; key=\""),
        "{miss}"
    );
    // What they did for that request says nothing about this one.
    let hit = status(&gate, &get("/a"));
    assert!(hit.starts_with("edgeweir; hit; ttl=60; key=\""), "{hit}");
    let key = |text: &str| text.split("key=\"").nth(1).unwrap().to_owned();
    assert_eq!(key(&miss), key(&hit));
    assert_ne!(key(&hit), key(&status(&gate, &get("/b"))));
    // Nothing of it tells what it is made of.
    assert_eq!(key(&hit).len(), 33);
}

/// RFC 9211, 2.4: for how many more seconds what is stored is fresh, whatever
/// had it stored; below zero where it is not.
#[test]
fn what_is_stored_says_for_how_long() {
    for (fields, ttl) in [
        (&[("Cache-Control", "max-age=60")][..], 60),
        (&[("Cache-Control", "max-age=60"), ("Age", "45")], 15),
        (&[("Cache-Control", "max-age=60"), ("Age", "100"), ("ETag", "\"a\"")], -40),
        (&[("Cache-Control", "no-cache"), ("ETag", "\"a\"")], 0),
        (&[("Cache-Control", "no-cache, max-age=60"), ("ETag", "\"a\"")], 60),
    ] {
        let gate = cached(&json!({}), move |sent| {
            let asked = sent.field("if-none-match").is_some();
            let answer = Response::new(if asked { 304 } else { 200 });
            fields.iter().fold(answer, |answer, (name, value)| answer.with(name, value))
        });
        let said = format!("edgeweir; fwd=uri-miss; fwd-status=200; stored; ttl={ttl}");
        assert_eq!(status(&gate, &get("/a")), said);
        // By a confirmation, too.
        if fields.len() > 1 && ttl != 15 {
            let said = format!("edgeweir; fwd=stale; fwd-status=304; stored; ttl={ttl}");
            assert_eq!(status(&gate, &get("/a")), said);
        }
    }
    // What is not stored has none.
    let gate = cached(&json!({}), |_| Response::new(200).with("Cache-Control", "private, max-age=60"));
    assert_eq!(status(&gate, &get("/a")), "edgeweir; fwd=uri-miss; fwd-status=200; detail=directive");
}

/// Nor does it tell what else selects an answer, on a miss and on a hit.
#[test]
fn the_key_of_cache_status_tells_no_credential() {
    let cache = json!({"status_key": true, "key": {"headers": ["X-Account"], "cookies": ["id"]}});
    let gate = cached(&cache, |_| Response::new(200).with("Cache-Control", "max-age=60"));
    let key = |text: &str| text.split("key=\"").nth(1).unwrap().to_owned();
    let mut keys = Vec::new();
    for account in ["1", "2", "3"] {
        let head = get("/a").with("X-Account", account).with("Cookie", &format!("id={account}"));
        let (miss, hit) = (status(&gate, &head), status(&gate, &head));
        assert!(miss.contains("stored") && hit.contains("hit"), "{miss} {hit}");
        keys.extend([key(&miss), key(&hit)]);
    }
    keys.dedup();
    assert_eq!(keys.len(), 1);
}

/// RFC 9111, 3.1: what a proxy and its client say to each other.
#[test]
fn fields_of_proxies_end_here() {
    let names = [
        "proxy-authenticate",
        "proxy-authentication-info",
        "proxy-authorization",
        "proxy-connection",
        "proxy-status",
    ];
    let gate = cached(&json!({}), move |sent| {
        let answer = Response::new(200)
            .with("Cache-Control", "max-age=60")
            .body(&sent.field("proxy").unwrap_or_default());
        names.iter().fold(answer, |answer, name| answer.with(name, "1"))
    });
    let head = names.iter().fold(get("/"), |head, name| head.with(name, "1")).with("Proxy", "http://evil/");
    let (miss, _) = gate.send(&head);
    let (hit, record) = gate.send(&get("/"));
    assert_eq!((record.cache, miss.body.as_str()), (Some("hit"), ""));
    for name in names {
        assert_eq!((miss.field(name), hit.field(name)), (None, None), "{name}");
        assert_eq!(gate.platform.sent.borrow()[0].field(name), None, "{name}");
    }
}

/// RFC 9111, 5.1: an Age that was there already is passed on; what is stored
/// counts on from it.
#[test]
fn an_age_of_the_origin_s_is_passed_on() {
    for tiers in [json!(["location"]), json!(["memory"])] {
        let gate = cached(&json!({"tiers": tiers}), |_| {
            Response::new(200).with("Cache-Control", "max-age=60").with("Age", "7")
        });
        assert_eq!(gate.send(&get("/")).0.field("age").as_deref(), Some("7"));
        gate.platform.advance(2_000);
        assert_eq!(gate.send(&get("/")).0.field("age").as_deref(), Some("9"), "{tiers}");
    }
}
