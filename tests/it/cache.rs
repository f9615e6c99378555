//! The cache's decisions: what a request allows, what an answer allows, and
//! whether the one serves the other now.

mod conclude;
mod control;
mod entry;
mod judge;

use edgeweir::exchange::PlainHead;
use edgeweir::policy::compile;
use edgeweir::stages::cache::hit_for_miss::HitForMiss;
use edgeweir::stages::cache::{
    CacheStage, Forward, NotStored, Plan, forward_status, hit_status, is_unsafe, key, plan,
};
use edgeweir::time::Timestamp;
use http::Method;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::fake::{With, check, get, request};

const STAGE: CacheStage = CacheStage { max_body: 1 << 20 };

fn planned(head: &PlainHead) -> Plan {
    plan(head, Some("weir_variant"))
}

#[test]
fn rule_1_only_get_and_head_are_answered() {
    assert_eq!(planned(&get("/")).skip, None);
    assert_eq!(planned(&request("HEAD", "/")).skip, None);
    assert!(planned(&get("/")).store && !planned(&request("HEAD", "/")).store);
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "QUERY", "get"] {
        let plan = planned(&request(method, "/"));
        assert_eq!((plan.skip, plan.store), (Some(Forward::Method), false), "{method}");
    }
}

#[test]
fn rule_1_credentials_ranges_preconditions_and_bodies_go_past() {
    for (name, value) in [
        ("Authorization", "Basic eDp5"),
        ("Authorization", ""),
        ("Cookie", "session=1"),
        ("Cookie", "weir_variant=00000000; session=1"),
        ("Cookie", "weir_variant=00000000, session=1"),
        ("Cookie", "session"),
        ("Cookie", "weir_variant2=1"),
        ("Cookie", "Weir_Variant=1"),
        ("Cookie", "weir_variant =1"),
        ("Cookie", "weir_variant=\"a;b\""),
        ("Range", "bytes=0-1"),
        ("If-Match", "\"a\""),
        ("If-Unmodified-Since", "Thu, 01 Jan 2026 00:00:00 GMT"),
        ("If-Range", "\"a\""),
        ("Upgrade", "websocket"),
        ("Content-Length", "1"),
        ("Content-Length", "x"),
        ("Transfer-Encoding", "chunked"),
    ] {
        let plan = planned(&get("/").with(name, value));
        assert_eq!((plan.skip, plan.store), (Some(Forward::Bypass), false), "{name}: {value}");
    }
    for (name, value) in [
        ("Cookie", "weir_variant=00000000"),
        ("Cookie", "weir_variant"),
        ("Cookie", ""),
        ("Content-Length", "0"),
        ("If-None-Match", "\"a\""),
        ("If-Modified-Since", "x"),
        ("Accept", "*/*"),
    ] {
        let plan = planned(&get("/").with(name, value));
        assert_eq!((plan.skip, plan.store), (None, true), "{name}: {value}");
    }
    assert_eq!(plan(&get("/").with("Cookie", "weir_variant=1"), None).skip, Some(Forward::Bypass));
}

#[test]
fn rule_2_the_request_directives_that_forbid_an_answer() {
    for (value, skip, store) in [
        ("no-cache", Some(Forward::Request), true),
        ("NO-CACHE", Some(Forward::Request), true),
        ("no-store", Some(Forward::Request), false),
        ("max-age=x", Some(Forward::Request), true),
        ("max-age", Some(Forward::Request), true),
        ("max-age=1, max-age=2", Some(Forward::Request), true),
        ("max-age=0", None, true),
        ("max-stale", None, true),
        ("no-transform", None, true),
        ("", None, true),
    ] {
        let plan = planned(&get("/").with("Cache-Control", value));
        assert_eq!((plan.skip, plan.store), (skip, store), "{value}");
    }
    assert_eq!(planned(&get("/").with("Pragma", "x, No-Cache")).skip, Some(Forward::Request));
    // RFC 9111, 5.4: Pragma counts only without Cache-Control.
    assert_eq!(planned(&get("/").with("Pragma", "no-cache").with("Cache-Control", "max-age=9")).skip, None);
}

/// RFC 9111, 5.2.1.7: the origin must not be asked, whatever else the request
/// carries.
#[test]
fn only_if_cached_counts_on_every_request_that_could_be_answered() {
    let head = || get("/").with("Cache-Control", "only-if-cached");
    assert!(planned(&head()).only_if_cached);
    assert!(planned(&request("HEAD", "/").with("Cache-Control", "x, only-if-cached")).only_if_cached);
    for (name, value) in [("Cookie", "session=1"), ("Range", "bytes=0-1"), ("Authorization", "x")] {
        assert!(planned(&head().with(name, value)).only_if_cached, "{name}");
    }
}

#[test]
fn rule_4_unsafe_methods() {
    for (method, expected) in [
        ("GET", false),
        ("HEAD", false),
        ("OPTIONS", false),
        ("TRACE", false),
        ("POST", true),
        ("DELETE", true),
        ("PURGE", true),
    ] {
        assert_eq!(is_unsafe(&Method::from_bytes(method.as_bytes()).unwrap()), expected, "{method}");
    }
}

#[test]
fn rule_5_keys_never_run_together() {
    let name = "[A-Za-z0-9_-]{1,3}";
    let one = || {
        (
            name,
            name,
            name,
            prop::option::of(name),
            prop::sample::select(vec!["http", "https"]),
            "[a-z.:0-9]{1,4}",
            "/[a-z/?%-]{0,4}",
        )
    };
    check(1_000, (one(), one()), |(a, b)| {
        let made = |(environment, route, upstream, variant, scheme, authority, target): &(
            String,
            String,
            String,
            Option<String>,
            &str,
            String,
            String,
        )| {
            key(
                environment,
                route,
                upstream,
                variant.as_deref().unwrap_or_default(),
                (scheme, authority, target),
            )
        };
        // A variant of that name stands for "none".
        prop_assume!(a.3.as_deref() != Some("-") && b.3.as_deref() != Some("-"));
        prop_assert_eq!(made(&a) == made(&b), a == b);
        Ok(())
    });
}

/// A variant may be called `-`; it must not share entries with no variant.
#[test]
fn rule_5_no_variant_has_a_key_of_its_own() {
    let url = ("https", "a.example", "/");
    assert_ne!(key("e", "r", "u", "-", url), key("e", "r", "u", "", url));
}

#[test]
fn rule_5_a_key_is_a_url_that_keeps_the_target() {
    let key = key("local", "r", "u", "v", ("https", "a.example:8443", "//b/%61?c=/d"));
    assert!(key.ends_with("/local/r/u/v/https/a.example:8443//b/%61?c=/d"), "{key}");
    assert_eq!(url::Url::parse(&key).unwrap().as_str(), key);
}

#[test]
fn rule_6_hit_for_miss_is_remembered_for_a_minute() {
    let at = Timestamp::from_millis;
    let mut marks = HitForMiss::new(1);
    assert!(!marks.is_marked("a", at(5)));
    marks.mark("a", at(5));
    assert!(marks.is_marked("a", at(5)) && marks.is_marked("a", at(60_004)));
    assert!(!marks.is_marked("b", at(5)));
    assert!(!marks.is_marked("a", at(60_005)));
    // A clock that went back.
    assert!(!marks.is_marked("a", at(4)));
    marks.unmark("a");
    assert!(!marks.is_marked("a", at(5)));
}

#[test]
fn rule_6_the_memory_is_bounded() {
    let at = Timestamp::from_millis(5);
    let mut marks = HitForMiss::new(1);
    for index in 0..40_000 {
        marks.mark(&index.to_string(), at);
    }
    let kept = (0..40_000).filter(|index| marks.is_marked(&index.to_string(), at)).count();
    assert!((1..=16_384).contains(&kept), "{kept}");
    assert!(marks.is_marked("39999", at));
}

#[test]
fn the_cache_status_field_is_a_structured_field() {
    assert_eq!(hit_status(29), "edgeweir; hit; ttl=29");
    assert_eq!(
        forward_status(Forward::UriMiss, 200, Ok(())),
        "edgeweir; fwd=uri-miss; fwd-status=200; stored"
    );
    for (forward, label) in [
        (Forward::Bypass, "bypass"),
        (Forward::Method, "method"),
        (Forward::UriMiss, "uri-miss"),
        (Forward::VaryMiss, "vary-miss"),
        (Forward::Stale, "stale"),
        (Forward::Request, "request"),
    ] {
        for (reason, detail) in [
            (NotStored::Request, "request"),
            (NotStored::Status, "status"),
            (NotStored::Directive, "directive"),
            (NotStored::SetCookie, "set-cookie"),
            (NotStored::Vary, "vary"),
            (NotStored::Freshness, "no-freshness"),
            (NotStored::Partial, "partial"),
            (NotStored::Size, "size"),
            (NotStored::Head, "head"),
        ] {
            let expected = format!("edgeweir; fwd={label}; fwd-status=404; detail={detail}");
            assert_eq!(forward_status(forward, 404, Err(reason)), expected);
        }
    }
}

fn compiled(cache: &Value) -> Result<Option<CacheStage>, Vec<String>> {
    let policy = json!({"version": 1, "upstreams": {"u": {"origin": "http://u"}}, "routes": [{"id": "r", "upstream": "u", "cache": cache}]});
    compile(&policy.to_string())
        .map(|mut gateway| gateway.routes.remove(0).cache)
        .map_err(|error| error.problems.into_iter().map(|problem| problem.path).collect())
}

#[test]
fn configuration() {
    assert_eq!(compiled(&json!({})).unwrap().unwrap().max_body, 1 << 20);
    assert_eq!(compiled(&json!({"max_body": "1B"})).unwrap().unwrap().max_body, 1);
    assert_eq!(
        compiled(&json!({"max_body": "25MiB", "tiers": ["location"]})).unwrap().unwrap().max_body,
        25 << 20
    );
    assert!(compiled(&json!({"mode": "off"})).unwrap().is_none());
    for (cache, path) in [
        (json!({"mode": "shadow"}), "mode"),
        (json!({"tiers": []}), "tiers"),
        (json!({"tiers": ["location", "location"]}), "tiers"),
        (json!({"tiers": ["memory"]}), "tiers[0]"),
        (json!({"max_body": "0B"}), "max_body"),
        (json!({"max_body": "26MiB"}), "max_body"),
        (json!({"max_body": 5}), "max_body"),
        (json!({"ttl": "5s"}), "ttl"),
    ] {
        let expected = format!("routes[0].cache.{path}");
        // A tier that is cut out leaves an empty list behind: no news.
        let mut found = compiled(&cache).unwrap_err();
        found.dedup();
        assert_eq!(found.first(), Some(&expected), "{cache}");
    }
}
