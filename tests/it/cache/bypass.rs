//! Which requests go past the cache because a route says so.

use edgeweir::exchange::PlainHead;
use edgeweir::stages::cache::plan::plan;
use edgeweir::stages::cache::{CacheStage, Forward};
use http::header::HeaderName;
use serde_json::json;

use super::{compiled, stage};
use crate::fake::{With, check, get, request};

fn excepted(stage: &CacheStage, head: &PlainHead) -> bool {
    let plan = plan(head, stage, None);
    assert_eq!(plan.store, plan.skip.is_none());
    plan.skip == Some(Forward::Bypass)
}

#[test]
fn by_a_field_a_cookie_or_a_parameter() {
    let stage = stage(&json!({"bypass": {
        "headers": ["X-Preview", "X-Mode=draft"],
        "cookies": ["editor", "mode=draft"],
        "query": ["nocache", "a b=c&d"],
    }}));
    for head in [
        get("/").with("X-Preview", ""),
        get("/").with("x-mode", " draft"),
        get("/").with("Cookie", "a=b; editor=1"),
        get("/").with("Cookie", "mode=other, mode=draft"),
        get("/?nocache"),
        get("/?a=1&nocache=0"),
        get("/?no%63ache=1"),
        get("/?a+b=c%26d"),
        request("HEAD", "/?nocache"),
    ] {
        assert!(excepted(&stage, &head), "{head:?}");
    }
    for head in [
        get("/"),
        get("/nocache"),
        get("/?x=nocache"),
        get("/?NOCACHE"),
        get("/?a+b=c"),
        get("/").with("X-Mode", "live"),
        get("/").with("X-Mode", "draft, draft"),
        get("/").with("Cookie", "mode=live"),
        get("/").with("Cookie", "no_editor=1; x=editor"),
    ] {
        assert!(!excepted(&stage, &head), "{head:?}");
    }
    assert!(!excepted(&CacheStage::default(), &get("/?nocache").with("X-Preview", "1")));
}

#[test]
fn a_post_of_theirs_stands_for_nothing() {
    let stage = stage(&json!({"bypass": {"headers": ["X-Preview"]}}));
    let post = request("POST", "/");
    assert!(plan(&post, &stage, None).represents);
    let plan = plan(&post.with("X-Preview", "1"), &stage, None);
    assert_eq!((plan.represents, plan.skip), (false, Some(Forward::Method)));
}

#[test]
fn the_fields_are_asked_for() {
    let stage = stage(&json!({"bypass": {"headers": ["X-Preview"]}}));
    assert!(stage.wanted_fields().contains(&HeaderName::from_static("x-preview")));
}

#[test]
fn what_is_out_of_range_is_refused() {
    let many = |count: usize| (0..count).map(|index| format!("x{index}")).collect::<Vec<_>>();
    for (bypass, path) in [
        (json!({"headers": many(9)}), "headers"),
        (json!({"cookies": many(9)}), "cookies"),
        (json!({"query": many(9)}), "query"),
        (json!({"query": [""]}), "query[0]"),
        (json!({"cookies": ["a".repeat(129)]}), "cookies[0]"),
        (json!({"headers": ["a b"]}), "headers[0]"),
        (json!({"paths": []}), "paths"),
    ] {
        let found = compiled(&json!({"bypass": bypass})).unwrap_err();
        assert_eq!(found, [format!("routes[0].cache.bypass.{path}")]);
    }
}

#[test]
fn no_text_panics() {
    let stage = stage(&json!({"bypass": {"cookies": ["a"], "query": ["a=b"]}}));
    check(1_000, ("[a=;,% ]{0,12}", "[a=&%?1-9+]{0,12}"), |(cookie, query)| {
        let _ = plan(&get(&format!("/?{query}")).with("Cookie", &cookie), &stage, None);
        Ok(())
    });
}
