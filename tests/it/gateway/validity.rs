//! The cache on the journey, past an answer's first lifetime: confirmed,
//! replaced, served stale, and told apart.

use serde_json::json;

use super::{cached, status};
use crate::fake::{Fault, Gate, Response, Sent, StoreEvent, With, get, request};

/// Fresh for a minute, or confirmed for as long, by its tag.
fn tagged(sent: &Sent) -> Response {
    let answer = if sent.field("if-none-match").as_deref() == Some("\"v1\"") {
        Response::new(304).with("X-News", "new")
    } else {
        Response::new(200).with("X-News", "old").body("body")
    };
    answer.with("Cache-Control", "max-age=60").with("ETag", "\"v1\"")
}

fn last_sent(gate: &Gate, name: &str) -> Option<String> {
    gate.platform.sent.borrow().last().unwrap().field(name)
}

#[test]
fn a_stale_answer_is_confirmed_and_fresh_again() {
    let gate = cached(&json!({}), tagged);
    gate.send(&get("/"));
    gate.platform.advance(60_000);
    let (response, record) = gate.send(&get("/"));
    assert_eq!((response.status, response.body.as_str()), (200, "body"));
    assert_eq!(
        response.field("cache-status").as_deref(),
        Some("edgeweir; fwd=stale; fwd-status=304; stored; ttl=60")
    );
    assert_eq!(
        (response.field("x-news").as_deref(), response.field("age").as_deref()),
        (Some("new"), Some("0"))
    );
    assert_eq!((record.cache, record.upstream_status, record.status), (Some("revalidated"), Some(304), 200));
    let (hit, record) = gate.send(&get("/"));
    assert_eq!((record.cache, hit.field("x-news").as_deref()), (Some("hit"), Some("new")));
    assert_eq!(gate.sent_count(), 2);
}

#[test]
fn the_client_s_condition_is_answered_here() {
    let gate = cached(&json!({}), tagged);
    gate.send(&get("/"));
    gate.platform.advance(60_000);
    let (mine, _) = gate.send(&get("/").with("If-None-Match", "\"v1\""));
    assert_eq!((mine.status, mine.body.as_str()), (304, ""));
    gate.platform.advance(60_000);
    let (other, _) = gate.send(&get("/").with("If-None-Match", "\"v0\"").with("If-Modified-Since", "x"));
    assert_eq!((other.status, other.body.as_str()), (200, "body"));
    assert_eq!(last_sent(&gate, "if-modified-since"), None);
}

/// RFC 9111, 4.3.4: an answer that is not ours confirms nothing.
#[test]
fn a_304_about_another_answer_resurrects_nothing() {
    let gate = cached(&json!({}), |sent| match sent.field("if-none-match") {
        Some(_) => Response::new(304).with("ETag", "\"v2\""),
        None => Response::new(200).with("Cache-Control", "max-age=60").with("ETag", "\"v1\"").body(&sent.url),
    });
    gate.send(&get("/"));
    gate.platform.advance(60_000);
    let (response, record) = gate.send(&get("/"));
    assert_eq!((response.status, record.upstream_status, gate.sent_count()), (200, Some(200), 3));
    assert_eq!(last_sent(&gate, "if-none-match"), None);
    // The client's own condition stands then.
    gate.platform.advance(60_000);
    assert_eq!(gate.send(&get("/").with("If-None-Match", "\"v2\"")).0.status, 304);
}

/// What an origin says about the connection of a 304 is no news about the
/// stored answer.
#[test]
fn a_304_loses_what_its_connection_takes() {
    let gate = cached(&json!({}), |sent| tagged(sent).with("Connection", "X-Hop").with("X-Hop", "1"));
    gate.send(&get("/"));
    gate.platform.advance(60_000);
    for _ in 0..2 {
        let (response, _) = gate.send(&get("/"));
        assert_eq!((response.field("connection"), response.field("x-hop")), (None, None));
    }
}

#[test]
fn what_must_not_be_kept_any_more_is_removed() {
    let gate = cached(&json!({}), |sent| match sent.field("if-none-match") {
        Some(_) => Response::new(304).with("Cache-Control", "no-store"),
        None => Response::new(200).with("Cache-Control", "max-age=60").with("ETag", "\"v1\"").body("body"),
    });
    gate.send(&get("/"));
    gate.platform.advance(60_000);
    let (response, _) = gate.send(&get("/"));
    assert_eq!((response.status, response.body.as_str()), (200, "body"));
    assert!(response.field("cache-status").unwrap().ends_with("detail=directive"));
    assert!(gate.platform.stored.borrow().is_empty());
}

/// RFC 9111, 3.5: it is his alone, and nobody gets it who comes after him.
#[test]
fn a_304_to_credentials_tells_nobody_else() {
    let gate = cached(&json!({}), |sent| {
        let user = sent.field("authorization").unwrap_or_default();
        let answer = Response::new(if sent.field("if-none-match").is_some() { 304 } else { 200 });
        let control = if user.is_empty() { "public, max-age=60" } else { "max-age=60" };
        answer.with("Cache-Control", control).with("ETag", "\"v1\"").with("X-User", &user).body("body")
    });
    gate.send(&get("/"));
    gate.platform.advance(60_000);
    gate.send(&get("/").with("Authorization", "ann"));
    assert_eq!(gate.send(&get("/")).0.field("x-user").as_deref(), Some(""));
}

/// RFC 9111, 4.3.3.
#[test]
fn a_new_answer_that_is_not_kept_removes_the_old_one() {
    let gate = cached(&json!({}), tagged);
    gate.send(&get("/"));
    gate.platform.advance(60_000);
    gate.platform.origin(|_| Response::new(200).with("Cache-Control", "private"));
    gate.send(&get("/"));
    assert!(gate.platform.stored.borrow().is_empty());
}

/// RFC 9111, 4.3.5: by a validator it is a confirmation.
#[test]
fn head_updates_what_is_stored() {
    let gate = cached(&json!({}), |sent| {
        Response::new(200)
            .with("Cache-Control", "max-age=60")
            .with("ETag", "\"v1\"")
            .with("X-Method", sent.method.as_str())
            .body("body")
    });
    gate.send(&get("/"));
    gate.platform.advance(60_000);
    gate.send(&request("HEAD", "/"));
    let (hit, record) = gate.send(&get("/"));
    assert_eq!(
        (record.cache, hit.field("x-method").as_deref(), hit.body.as_str()),
        (Some("hit"), Some("HEAD"), "body")
    );
    gate.platform.advance(60_000);
    gate.platform.origin(|_| Response::new(410).with("Cache-Control", "max-age=60"));
    gate.send(&request("HEAD", "/"));
    assert!(gate.platform.stored.borrow().is_empty());
}

/// RFC 9111, 4.3.5: without one the stored fields are brought up to date. But
/// nothing says that the body is still the same, so it grows older: however
/// often somebody sends HEAD, it does not outlive its lifetime.
#[test]
fn head_without_a_validator_makes_nothing_younger() {
    for tiers in [&["memory"][..], &["location"], &["memory", "location"]] {
        let gate = cached(&json!({"tiers": tiers}), |sent| {
            let lifetime = if sent.method == "HEAD" { 100 } else { 60 };
            Response::new(200)
                .with("Cache-Control", &format!("max-age={lifetime}"))
                .with("X-Method", sent.method.as_str())
                .body("body")
        });
        gate.send(&get("/"));
        gate.platform.advance(70_000);
        gate.send(&request("HEAD", "/"));
        let (hit, record) = gate.send(&get("/"));
        assert_eq!((record.cache, hit.field("x-method").as_deref()), (Some("hit"), Some("HEAD")));
        assert_eq!(hit.field("age").as_deref(), Some("70"));
        assert_eq!(hit.field("cache-status").as_deref(), Some("edgeweir; hit; ttl=30"));
        for _ in 0..3 {
            gate.platform.advance(10_000);
            gate.send(&request("HEAD", "/"));
        }
        assert_eq!(gate.sent_count(), 3, "{tiers:?}");
        let (next, record) = gate.send(&get("/"));
        assert_eq!((record.cache, next.field("x-method").as_deref()), (Some("stale"), Some("GET")));
        // A length of its own says that it is another one.
        gate.platform
            .origin(|_| Response::new(200).with("Content-Length", "5").with("Cache-Control", "max-age=60"));
        gate.send(&get("/b"));
        gate.platform.advance(60_000);
        gate.platform
            .origin(|_| Response::new(200).with("Content-Length", "6").with("Cache-Control", "max-age=600"));
        gate.send(&request("HEAD", "/b"));
        assert!(status(&gate, &get("/b")).contains("fwd=uri-miss"), "{tiers:?}");
    }
}

/// The route's own lifetime counts from the arrival of the body, too.
#[test]
fn head_without_a_validator_restarts_no_lifetime_of_the_route() {
    let cache = json!({"lifetimes": [{"status": ["200"], "lifetime": "60s"}]});
    let gate = cached(&cache, |_| Response::new(200).with("Age", "500").body("body"));
    gate.send(&get("/"));
    gate.platform.advance(59_000);
    assert!(status(&gate, &get("/")).contains("hit; ttl=1"));
    gate.platform.advance(1_000);
    gate.send(&request("HEAD", "/"));
    assert!(status(&gate, &get("/")).contains("fwd=stale"));
}

#[test]
fn an_origin_that_fails_is_stood_in_for_within_the_bound() {
    for fault in [Some(Fault::Fails), Some(Fault::TimesOut), None] {
        let gate = cached(&json!({"stale_if_error": "30s"}), tagged);
        gate.send(&get("/"));
        gate.platform.origin_fault.set(fault);
        gate.platform.origin(|_| Response::new(503).with("X-Down", "1").with("Connection", "X-News"));
        gate.platform.advance(89_999);
        let (response, record) = gate.send(&get("/"));
        assert_eq!((response.status, response.body.as_str(), response.field("x-down")), (200, "body", None));
        assert_eq!(
            (response.field("age").as_deref(), response.field("x-news").as_deref()),
            (Some("89"), Some("old"))
        );
        assert_eq!(
            (record.cache, record.status, record.error.is_some()),
            (Some("hit-stale"), 200, fault.is_some())
        );
        gate.platform.advance(1);
        let expected = match fault {
            Some(Fault::Fails) => 502,
            Some(Fault::TimesOut) => 504,
            None => 503,
        };
        assert_eq!(gate.send(&get("/")).0.status, expected);
    }
}

#[test]
fn something_stale_is_asked_about_behind_the_answer() {
    let gate = cached(&json!({}), |sent| {
        let answer = tagged(sent);
        Response { fields: Vec::new(), ..answer.clone() }
            .with("Cache-Control", "max-age=60, stale-while-revalidate=30")
            .with("ETag", "\"v1\"")
            .with("X-News", &answer.field("x-news").unwrap())
    });
    gate.send(&get("/"));
    gate.platform.advance(70_000);
    let (stale, record) = gate.send(&get("/").with("Range", "bytes=0-1"));
    assert_eq!((stale.status, stale.body.as_str(), record.cache), (206, "bo", Some("hit-stale")));
    assert_eq!(
        stale.field("cache-status").as_deref(),
        Some("edgeweir; hit; ttl=-10; detail=stale-while-revalidate")
    );
    assert_eq!(
        (last_sent(&gate, "if-none-match").as_deref(), last_sent(&gate, "range")),
        (Some("\"v1\""), None)
    );
    let (fresh, record) = gate.send(&get("/"));
    assert_eq!((fresh.field("x-news").as_deref(), record.cache), (Some("new"), Some("hit")));
    assert_eq!(gate.sent_count(), 2);
}

/// What the origin has asked not to keep is not served for the rest of its
/// window.
#[test]
fn what_must_not_be_kept_is_removed_behind_the_answer() {
    let gate = cached(&json!({}), |sent| match sent.field("if-none-match") {
        Some(_) => Response::new(304).with("Cache-Control", "private"),
        None => Response::new(200)
            .with("Cache-Control", "max-age=60, stale-while-revalidate=600")
            .with("ETag", "\"v1\"")
            .body("body"),
    });
    gate.send(&get("/"));
    gate.platform.advance(70_000);
    assert!(status(&gate, &get("/")).contains("detail=stale-while-revalidate"));
    assert!(gate.platform.stored.borrow().is_empty());
}

/// Behind the answer the origin is asked for all: what one client has, and
/// which part it wants, is not asked about, nor does it count.
#[test]
fn a_condition_of_one_client_is_not_asked_behind_the_answer() {
    let stale = "max-age=60, stale-while-revalidate=600";
    for (name, value) in [
        ("If-None-Match", "\"theirs\""),
        ("If-None-Match", "*"),
        ("If-Modified-Since", "Thu, 01 Jan 2026 00:00:00 GMT"),
        ("If-Range", "\"theirs\""),
    ] {
        let gate = cached(&json!({}), move |_| Response::new(200).with("Cache-Control", stale).body("old"));
        gate.send(&get("/"));
        gate.platform.origin(move |sent| {
            let asked = ["if-none-match", "if-modified-since", "if-range", "range"];
            let status = if asked.iter().any(|name| sent.field(name).is_some()) { 304 } else { 200 };
            Response::new(status).with("Cache-Control", stale).body("new")
        });
        gate.platform.advance(70_000);
        let head = get("/").with(name, value).with("Range", "bytes=0-0");
        assert!(status(&gate, &head).contains("detail=stale-while-revalidate"), "{name}");
        let (next, record) = gate.send(&get("/"));
        assert_eq!((next.body.as_str(), record.cache), ("new", Some("hit")), "{name}");
    }
}

/// An origin that says 304 all the same has said nothing about what is stored.
#[test]
fn a_304_that_nobody_asked_for_removes_nothing() {
    for method in ["GET", "HEAD"] {
        let stale = "max-age=60, stale-while-revalidate=20";
        let gate = cached(&json!({}), move |_| Response::new(200).with("Cache-Control", stale).body("old"));
        gate.send(&get("/"));
        gate.platform.origin(|_| Response::new(304).with("Cache-Control", "max-age=60"));
        let head = request(method, "/").with("If-None-Match", "\"theirs\"");
        // Within its window, and when the origin is asked before the answer.
        for _ in 0..2 {
            gate.platform.advance(70_000);
            gate.send(&head);
            assert_eq!(gate.platform.stored.borrow().len(), 1, "{method}");
        }
        gate.platform.origin(|_| Response::new(503));
        assert_eq!(gate.send(&get("/")).0.body, "old", "{method}");
    }
}

#[test]
fn a_failing_origin_is_asked_behind_the_answer_once_in_ten_seconds() {
    let gate = cached(&json!({}), |_| {
        Response::new(200).with("Cache-Control", "max-age=60, stale-while-revalidate=600").body("body")
    });
    gate.send(&get("/"));
    gate.platform.advance(60_000);
    gate.platform.origin(|_| Response::new(503));
    for _ in 0..3 {
        assert_eq!(gate.send(&get("/")).1.cache, Some("hit-stale"));
    }
    assert_eq!(gate.sent_count(), 2);
    gate.platform.advance(10_000);
    gate.send(&get("/"));
    assert_eq!(gate.sent_count(), 3);
    // An answer that is another one by now replaces it, or takes it away.
    gate.platform.origin(|_| Response::new(200).with("Cache-Control", "private"));
    gate.platform.advance(10_000);
    gate.send(&get("/"));
    assert!(gate.platform.stored.borrow().is_empty());
}

fn spoken(sent: &Sent) -> Response {
    let language = sent.field("accept-language").unwrap_or_default();
    Response::new(200).with("Cache-Control", "max-age=60").with("Vary", "Accept-Language").body(&language)
}

#[test]
fn variants_stand_side_by_side_and_fall_together() {
    let gate = cached(&json!({}), spoken);
    let speak = |language: &str| get("/").with("Accept-Language", language);
    for language in ["ko", "en", "de"] {
        gate.send(&speak(language));
    }
    for language in ["ko", "en", "de"] {
        let (hit, record) = gate.send(&speak(language));
        assert_eq!((hit.body.as_str(), record.cache), (language, Some("hit")));
    }
    assert_eq!((gate.sent_count(), gate.platform.stored.borrow().len()), (3, 3));
    gate.send(&request("DELETE", "/"));
    gate.platform.advance(1);
    for language in ["en", "ko"] {
        assert!(status(&gate, &speak(language)).contains("-miss"), "{language}");
    }
}

/// The origin chose by fields that it names no more: those do not tell its
/// answers apart now.
#[test]
fn a_vary_that_changes_begins_anew() {
    let gate = cached(&json!({}), spoken);
    gate.send(&get("/").with("Accept-Language", "ko"));
    gate.platform.origin(|_| Response::new(200).with("Cache-Control", "max-age=60").body("one"));
    gate.send(&get("/").with("Accept-Language", "en"));
    for language in ["ko", "de"] {
        assert_eq!(gate.send(&get("/").with("Accept-Language", language)).0.body, "one");
    }
}

/// No input that is not part of the key changes what is stored: what the
/// route leaves out does not reach the origin.
#[test]
fn no_unkeyed_input_reaches_the_origin() {
    let cache =
        json!({"key": {"query": {"preset": "tracking", "sort": true}}, "vary": {"ignore": ["X-Theme"]}});
    let gate = cached(&cache, |sent| {
        let theme = sent.field("x-theme").unwrap_or_default();
        Response::new(200)
            .with("Cache-Control", "max-age=60")
            .with("Vary", "X-Theme")
            .body(&format!("{} {theme}", sent.url))
    });
    gate.send(&get("/?b=1&utm_source=evil&a=2").with("X-Theme", "evil"));
    let (hit, record) = gate.send(&get("/?a=2&b=1"));
    assert_eq!((hit.body.as_str(), record.cache), ("http://app.internal/?a=2&b=1 ", Some("hit")));
    // What is not stored arrives as it was sent.
    gate.send(&request("POST", "/?b=1&utm_source=x").with("X-Theme", "mine"));
    assert_eq!(gate.the_last_url(), "http://app.internal/?b=1&utm_source=x");
    assert_eq!(last_sent(&gate, "x-theme").as_deref(), Some("mine"));
}

#[test]
fn cookies_of_the_key_tell_answers_apart() {
    let gate = cached(&json!({"key": {"cookies": ["sid"]}}), |sent| {
        Response::new(200).with("Cache-Control", "max-age=60").body(&sent.field("cookie").unwrap_or_default())
    });
    for cookie in ["sid=a", "sid=b"] {
        gate.send(&get("/").with("Cookie", cookie));
        let (hit, record) = gate.send(&get("/").with("Cookie", cookie));
        assert_eq!((hit.body.as_str(), record.cache), (cookie, Some("hit")));
    }
    assert_eq!(gate.send(&get("/")).0.body, "");
}

/// Cache poisoning by a second cookie: what one client says must not be stored
/// for another.
#[test]
fn a_second_cookie_of_one_name_poisons_no_entry() {
    let gate = cached(&json!({"key": {"cookies": ["sid"]}}), |sent| {
        let cookie = sent.field("cookie").unwrap_or_default();
        let last = cookie.rsplit('=').next().unwrap().to_owned();
        Response::new(200).with("Cache-Control", "public, max-age=60").body(&last)
    });
    gate.send(&get("/").with("Cookie", "sid=victim; sid=evil"));
    assert_eq!(gate.send(&get("/").with("Cookie", "sid=victim")).0.body, "victim");
    let (other, _) = gate.send(&get("/").with("Cookie", "sid=victim; sid=evil"));
    assert_eq!((other.body.as_str(), gate.sent_count()), ("evil", 3));
}

/// Nor by one that the origin does not read where the gateway does, or the
/// other way round.
#[test]
fn a_cookie_that_origins_read_differently_poisons_no_entry() {
    for evil in ["x=1, lang=de", "x=\"; lang=de; y=\"", "lang =de", "LANG=de", "l%61ng=de"] {
        let cache = json!({"key": {"cookies": ["lang"]}, "credentials": {"cookies": ["session"]}});
        let gate = cached(&cache, |sent| {
            let cookie = sent.field("cookie").unwrap_or_default();
            Response::new(200).with("Cache-Control", "max-age=60").body(&cookie)
        });
        gate.send(&get("/").with("Cookie", evil));
        for victim in [get("/"), get("/").with("Cookie", "lang=de"), get("/").with("Cookie", "x=1")] {
            assert_ne!(gate.send(&victim).0.body, evil);
        }
    }
}

/// Cache deception: a private page under a name that looks static stays
/// private, and no spelling of it leads to another's entry.
#[test]
fn a_name_that_looks_static_stores_no_private_page() {
    let gate = cached(&json!({}), |sent| {
        let who = sent.field("cookie").unwrap_or_else(|| "nobody".to_owned());
        Response::new(200).with("Cache-Control", "max-age=60").body(&who)
    });
    for target in
        ["/me/x.css", "/me;x.css", "/me%0Ax.css", "/me%3Fx.css", "/me?x.css", "/me/.css", "/me%23x.css"]
    {
        gate.send(&get(target).with("Cookie", "session=victim"));
        assert_eq!(gate.send(&get(target)).0.body, "nobody", "{target}");
    }
}

/// Parameter cloaking: what some origins take for a second parameter goes with
/// the one that is left out.
#[test]
fn a_parameter_inside_another_reaches_no_origin() {
    let gate = cached(&json!({"key": {"query": {"preset": "tracking"}}}), |sent| {
        Response::new(200).with("Cache-Control", "max-age=60").body(&sent.url)
    });
    gate.send(&get("/?a=1&utm_content=x;a=evil"));
    assert_eq!(gate.send(&get("/?a=1")).0.body, "http://app.internal/?a=1");
    gate.send(&get("/?a=1;utm_content=evil"));
    assert_eq!(gate.send(&get("/?a=1")).0.body, "http://app.internal/?a=1");
}

#[test]
fn a_change_removes_what_its_answer_names() {
    let gate = cached(&json!({}), |sent| {
        let answer = Response::new(200).with("Cache-Control", "max-age=60").body(&sent.url);
        answer.with("Location", "/a").with("Content-Location", "https://app.example/b")
    });
    for target in ["/a", "/b", "/c"] {
        gate.send(&get(target));
    }
    gate.send(&request("PUT", "/x"));
    for (target, hit) in [("/a", false), ("/b", false), ("/c", true)] {
        assert_eq!(status(&gate, &get(target)).contains("hit"), hit, "{target}");
    }
    // Another origin's are not ours to remove.
    gate.platform.origin(|_| Response::new(200).with("Location", "https://other.example/c"));
    gate.send(&request("PUT", "/x"));
    assert!(status(&gate, &get("/c")).contains("hit"));
}

/// RFC 9110, 9.3.3: Content-Location says what the answer to a POST is.
#[test]
fn the_answer_to_a_post_answers_later_gets() {
    let post = || request("POST", "/a?b");
    let answering = |location: &'static str, control: &'static str, status: u16| {
        cached(&json!({"key": {"query": {"exclude": ["utm_source"]}}}), move |sent| {
            let answer = Response::new(if sent.method == "POST" { status } else { 200 });
            answer
                .with("Cache-Control", control)
                .with("Content-Location", location)
                .body(sent.method.as_str())
        })
    };
    for location in ["/a?b", "https://app.example/a?b", "?b", "a?b"] {
        let gate = answering(location, "max-age=60", 200);
        gate.send(&get("/a?b"));
        assert_eq!(
            status(&gate, &post()),
            "edgeweir; fwd=method; fwd-status=200; stored; ttl=60",
            "{location}"
        );
        let (hit, record) = gate.send(&get("/a?b"));
        assert_eq!((hit.body.as_str(), record.cache), ("POST", Some("hit")), "{location}");
    }
    for (location, control, code, head) in [
        ("/a", "max-age=60", 200, post()),
        ("https://other.example/a?b", "max-age=60", 200, post()),
        ("/a?b", "no-store", 200, post()),
        ("/a?b", "public", 200, post()),
        ("/a?b", "max-age=60", 201, post()),
        ("/a?b", "max-age=60", 200, post().with("Cookie", "a=1")),
        ("/a?b", "max-age=60", 200, post().with("Cache-Control", "no-store")),
        ("/a?b&utm_source=x", "max-age=60", 200, request("POST", "/a?b&utm_source=x")),
    ] {
        let gate = answering(location, control, code);
        gate.send(&head);
        assert!(gate.platform.stored.borrow().is_empty(), "{location} {control} {code}");
    }
}

#[test]
fn parts_are_stored_beside_the_whole() {
    let gate = cached(&json!({}), |sent| {
        match sent.field("range") {
            Some(_) => Response::new(206).with("Content-Range", "bytes 2-4/9").body("234"),
            None => Response::new(200).body("012345678"),
        }
        .with("Cache-Control", "max-age=60")
    });
    let ask = |range: &str| get("/").with("Range", range);
    assert_eq!(status(&gate, &ask("bytes=2-4")), "edgeweir; fwd=uri-miss; fwd-status=206; stored; ttl=60");
    let (hit, _) = gate.send(&ask("bytes=3-3"));
    assert_eq!((hit.status, hit.body.as_str()), (206, "3"));
    assert_eq!(hit.field("content-range").as_deref(), Some("bytes 3-3/9"));
    assert!(status(&gate, &ask("bytes=0-1")).starts_with("edgeweir; fwd=partial"));
    assert_eq!(status(&gate, &get("/")), "edgeweir; fwd=uri-miss; fwd-status=200; stored; ttl=60");
    // From now on the whole answers.
    assert_eq!(gate.send(&ask("bytes=-2")).0.body, "78");
    assert_eq!(gate.send(&ask("bytes=9-")).0.status, 416);
    gate.send(&request("POST", "/"));
    assert!(gate.platform.stored.borrow().is_empty());
}

/// A part that is shorter than it says is none.
#[test]
fn a_part_of_another_size_is_not_stored() {
    let gate = cached(&json!({}), |_| {
        Response::new(206)
            .with("Content-Range", "bytes 2-9/10")
            .with("Cache-Control", "max-age=60")
            .body("234")
    });
    gate.send(&get("/").with("Range", "bytes=2-9"));
    assert!(gate.platform.stored.borrow().is_empty());
}

#[test]
fn credentials_share_what_is_shared() {
    let gate = cached(&json!({}), |sent| {
        let control = if sent.url.ends_with("/p") { "public, max-age=60" } else { "max-age=60" };
        Response::new(200)
            .with("Cache-Control", control)
            .body(&sent.field("authorization").unwrap_or_default())
    });
    let who = |target: &str, who: &str| get(target).with("Authorization", who);
    gate.send(&who("/p", "a"));
    assert_eq!(
        (gate.send(&who("/p", "b")).0.body.as_str(), gate.send(&get("/p")).0.body.as_str()),
        ("a", "a")
    );
    // What an anonymous client got may be another answer.
    gate.send(&get("/x"));
    let (response, _) = gate.send(&who("/x", "b"));
    assert_eq!(response.body, "b");
    assert!(
        response.field("cache-status").unwrap().ends_with("fwd=bypass; fwd-status=200; detail=credentials")
    );
    assert_eq!(gate.send(&get("/x")).0.body, "");
}

#[test]
fn a_field_for_the_gateway_alone_ends_here() {
    let gate = cached(&json!({"targets": ["Weir-Control"]}), |_| {
        Response::new(200).with("Weir-Control", "max-age=60").with("Cache-Control", "no-store")
    });
    for label in ["uri-miss", "hit"] {
        let (response, record) = gate.send(&get("/"));
        assert_eq!((record.cache, response.field("weir-control")), (Some(label), None));
        assert_eq!(response.field("cache-control").as_deref(), Some("no-store"));
    }
}

/// A store that fails in the middle of a search is no failing request.
#[test]
fn a_store_that_fails_between_two_lookups() {
    let gate = cached(&json!({}), spoken);
    gate.send(&get("/").with("Accept-Language", "ko"));
    gate.platform.store_fault.set(Some(Fault::Fails));
    let (response, record) = gate.send(&get("/").with("Accept-Language", "en"));
    assert_eq!((response.body.as_str(), record.cache), ("en", Some("bypass")));
    let lookups = gate.platform.store_events.borrow();
    assert!(lookups.iter().any(|event| matches!(event, StoreEvent::Lookup(_))));
}

/// RFC 9111, 4: of the answers that would do the latest counts. One that has
/// been replaced by what nothing selects does not come back because fields
/// select again.
#[test]
fn what_was_replaced_does_not_come_back_when_vary_does() {
    for tiers in [["memory"], ["location"]] {
        let gate = cached(&json!({"tiers": tiers}), |_| Response::new(200));
        let answer = |body: &'static str, fields: &[(&str, &str)]| {
            let answer = fields
                .iter()
                .fold(Response::new(200).body(body), |answer, (name, value)| answer.with(name, value));
            gate.platform.origin(move |_| answer.clone());
            gate.platform.advance(10_000);
        };
        let vary = ("Vary", "Accept-Language");
        let korean = || get("/").with("Accept-Language", "ko");
        answer("first", &[("Cache-Control", "max-age=600"), vary]);
        gate.send(&get("/").with("Accept-Language", "en"));
        gate.send(&korean());
        answer("second", &[("Cache-Control", "max-age=15")]);
        gate.send(&get("/").with("Accept-Language", "de"));
        assert_eq!(gate.send(&korean()).0.body, "second");
        gate.platform.advance(10_000);
        answer("third", &[("Cache-Control", "max-age=600"), vary]);
        gate.send(&get("/").with("Accept-Language", "en"));
        let (seen, _) = gate.send(&korean());
        let said = seen.field("cache-status").unwrap();
        assert_eq!(seen.body, "third", "{tiers:?} {said}");
        assert!(said.starts_with("edgeweir; fwd=vary-miss"), "{said}");
    }
}

/// RFC 5861, 3: what is asked behind an answer goes with the fields of the
/// client that got it. That the origin blames those removes nothing.
#[test]
fn a_broken_request_behind_an_answer_removes_nothing() {
    for status in [400, 413, 431] {
        let gate = cached(&json!({}), |_| {
            Response::new(200).with("Cache-Control", "max-age=10, stale-while-revalidate=60").body("good")
        });
        gate.send(&get("/"));
        gate.platform.advance(11_000);
        gate.platform.origin(move |_| Response::new(status));
        for _ in 0..3 {
            assert_eq!(gate.send(&get("/").with("X-Oversized", "x")).0.body, "good");
        }
        // And the next request does not bring the next one.
        assert_eq!(gate.sent_count(), 2, "{status}");
    }
}
