//! What a request allows (RFC 9111, 4, 5.2.1, 5.4).

use edgeweir::stages::cache::directives::LONGEST;
use edgeweir::stages::cache::plan::{Credentials, is_unsafe, plan};
use edgeweir::stages::cache::{CacheStage, Forward};
use http::Method;
use serde_json::json;

use super::{planned, stage};
use crate::fake::{With, get, request};

#[test]
fn only_get_and_head_are_answered() {
    assert_eq!(planned(&get("/")).skip, None);
    assert_eq!(planned(&request("HEAD", "/")).skip, None);
    assert!(planned(&get("/")).store && !planned(&request("HEAD", "/")).store);
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "QUERY", "get"] {
        let plan = planned(&request(method, "/"));
        assert_eq!((plan.skip, plan.store), (Some(Forward::Method), false), "{method}");
    }
}

/// RFC 9110, 13.1.1 and 13.1.4 are for the origin; a body belongs to nobody
/// else; a unit that nobody knows asks for nothing that is stored.
#[test]
fn what_is_for_the_origin_alone_goes_past() {
    for (name, value) in [
        ("If-Match", "\"a\""),
        ("If-Unmodified-Since", "Thu, 01 Jan 2026 00:00:00 GMT"),
        ("Upgrade", "websocket"),
        ("Content-Length", "1"),
        ("Content-Length", "x"),
        ("Transfer-Encoding", "chunked"),
        ("Range", "lines=0-1"),
        ("Range", "x"),
    ] {
        let plan = planned(&get("/").with(name, value));
        assert_eq!((plan.skip, plan.store), (Some(Forward::Bypass), false), "{name}: {value}");
    }
    for (name, value) in [
        ("Content-Length", "0"),
        ("If-None-Match", "\"a\""),
        ("If-Modified-Since", "x"),
        ("If-Range", "\"a\""),
        ("Accept", "*/*"),
        ("Range", "bytes=0-1"),
    ] {
        let plan = planned(&get("/").with(name, value));
        assert_eq!((plan.skip, plan.store), (None, true), "{name}: {value}");
        assert_eq!(plan.ranged, name == "Range");
    }
    // RFC 9110, 14.2: a range is for GET.
    assert_eq!(planned(&request("HEAD", "/").with("Range", "lines=0-1")).skip, None);
}

/// RFC 9110, 9.3.3.
#[test]
fn the_answer_to_a_post_may_stand_for_its_uri() {
    let post = || request("POST", "/");
    assert!(
        planned(&post()).represents
            && !planned(&get("/")).represents
            && !planned(&request("PUT", "/")).represents
    );
    assert!(!planned(&post().with("Cache-Control", "no-store")).represents);
    assert!(!planned(&post()).bypassed().represents);
    assert_eq!(planned(&post().with("Cookie", "a=1")).credentials, Credentials::Identity);
    let ignoring = stage(&json!({"vary": {"ignore": ["X-A"]}}));
    assert!(!plan(&post(), &ignoring, None).represents);
}

/// RFC 9111, 3.5.
#[test]
fn credentials_are_told_apart() {
    for (name, value, expected) in [
        ("Authorization", "Basic eDp5", Credentials::Authorization),
        ("Authorization", "", Credentials::Authorization),
        ("Cookie", "session=1", Credentials::Identity),
        ("Cookie", "weir_variant=00000000; session=1", Credentials::Identity),
        ("Cookie", "weir_variant=00000000, session=1", Credentials::Identity),
        ("Cookie", "session", Credentials::Identity),
        ("Cookie", "weir_variant2=1", Credentials::Identity),
        ("Cookie", "Weir_Variant=1", Credentials::Identity),
        ("Cookie", "weir_variant =1", Credentials::Identity),
        ("Cookie", "weir_variant=\"a;b\"", Credentials::Identity),
        ("Cookie", "weir_variant=00000000", Credentials::None),
        // What the gateway has not set so may be reflected by an origin.
        ("Cookie", "weir_variant", Credentials::Identity),
        ("Cookie", "weir_variant=evil", Credentials::Identity),
        ("Cookie", "weir_variant=00000000; weir_variant=evil", Credentials::Identity),
        ("Cookie", "", Credentials::None),
        ("X-Api-Key", "1", Credentials::None),
    ] {
        assert_eq!(planned(&get("/").with(name, value)).credentials, expected, "{name}: {value}");
    }
    let both = get("/").with("Authorization", "x").with("Cookie", "a=1");
    assert_eq!(planned(&both).credentials, Credentials::Identity);
    assert_eq!(
        plan(&get("/").with("Cookie", "weir_variant=1"), &CacheStage::default(), None).credentials,
        Credentials::Identity
    );
}

#[test]
fn a_route_says_what_its_credentials_are() {
    let cookies = stage(&json!({"credentials": {"cookies": ["sid"], "headers": ["X-Api-Key"]}}));
    let of = |stage: &CacheStage, name: &str, value: &str| {
        plan(&get("/").with(name, value), stage, None).credentials
    };
    assert_eq!(of(&cookies, "Cookie", "theme=dark"), Credentials::None);
    assert_eq!(of(&cookies, "Cookie", "theme=dark; sid=1"), Credentials::Identity);
    // So it is where only some origins take it for one.
    for cookie in ["theme=dark, sid=1", "theme=\"; sid=1; x=\"", "SID=1", "sid =1", "s%69d=1"] {
        assert_eq!(of(&cookies, "Cookie", cookie), Credentials::Identity, "{cookie}");
    }
    assert_eq!(of(&cookies, "X-Api-Key", "1"), Credentials::Identity);
    // What is part of the key tells nobody apart any more.
    let keyed = stage(&json!({"key": {"cookies": ["sid"], "headers": ["Authorization"]}}));
    assert_eq!(of(&keyed, "Cookie", "sid=1"), Credentials::None);
    assert_eq!(of(&keyed, "Cookie", "sid=1; other=2"), Credentials::Identity);
    assert_eq!(of(&keyed, "Authorization", "x"), Credentials::None);
}

#[test]
fn the_client_s_directives() {
    for (value, store, validate) in [
        ("no-cache", true, true),
        ("NO-CACHE", true, true),
        ("no-store", false, false),
        ("x=\"a, no-store", false, false),
        ("max-age=0", true, false),
        ("no-transform", true, false),
        ("", true, false),
    ] {
        let plan = planned(&get("/").with("Cache-Control", value));
        assert_eq!((plan.skip, plan.store, plan.validate), (None, store, validate), "{value}");
        // 5.2.1.5 forbids to store; what is stored may answer.
        assert_eq!(plan.no_store, !store, "{value}");
        assert_eq!(plan.demands(), value != "no-transform" && !value.is_empty(), "{value}");
        assert!(!plan.undemanding().demands() && plan.undemanding().store == store, "{value}");
    }
    let limits = planned(&get("/").with("Cache-Control", "max-age=1, min-fresh=2, max-stale=3"));
    assert_eq!((limits.max_age, limits.min_fresh, limits.max_stale), (Some(1), Some(2), Some(3)));
    let any = planned(&get("/").with("Cache-Control", "max-stale"));
    assert_eq!(any.max_stale, Some(LONGEST));
    // What cannot be read allows nothing.
    let garbled = planned(&get("/").with("Cache-Control", "max-age=x, min-fresh=y, max-stale=z"));
    assert_eq!((garbled.max_age, garbled.min_fresh, garbled.max_stale), (Some(0), Some(LONGEST), Some(0)));
}

/// RFC 9111, 5.4: Pragma counts only without Cache-Control.
#[test]
fn pragma_stands_in_for_cache_control() {
    assert!(planned(&get("/").with("Pragma", "x, No-Cache")).validate);
    assert!(!planned(&get("/").with("Pragma", "no-cache").with("Cache-Control", "max-age=9")).validate);
}

#[test]
fn a_route_may_ignore_the_client_s_directives() {
    let stage = stage(&json!({"ignore_client_directives": true}));
    let head = get("/")
        .with("Cache-Control", "no-store, no-cache, max-age=0, only-if-cached")
        .with("Pragma", "no-cache");
    let plan = plan(&head, &stage, None);
    assert!(!plan.demands());
    assert!(
        plan.skip.is_none() && plan.store && !plan.validate && plan.max_age.is_none() && !plan.only_if_cached
    );
}

/// RFC 9111, 5.2.1.7: the origin must not be asked, whatever else the request
/// carries.
#[test]
fn only_if_cached_counts_on_every_request_that_could_be_answered() {
    let head = || get("/").with("Cache-Control", "only-if-cached");
    assert!(planned(&head()).only_if_cached);
    assert!(planned(&request("HEAD", "/").with("Cache-Control", "x, only-if-cached")).only_if_cached);
    for (name, value) in
        [("Cookie", "session=1"), ("Range", "x=0-1"), ("Authorization", "x"), ("If-Match", "*")]
    {
        assert!(planned(&head().with(name, value)).only_if_cached, "{name}");
    }
}

/// RFC 9110, 9.2.1.
#[test]
fn unsafe_methods() {
    for (method, expected) in [
        ("GET", false),
        ("HEAD", false),
        ("OPTIONS", false),
        ("TRACE", false),
        ("POST", true),
        ("DELETE", true),
        ("PURGE", true),
        ("M-SEARCH", true),
    ] {
        assert_eq!(is_unsafe(&Method::from_bytes(method.as_bytes()).unwrap()), expected, "{method}");
    }
}
