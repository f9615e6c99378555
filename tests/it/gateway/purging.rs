//! What purges do to stored answers on the journey.

use edgeweir::purge::{Purge, Scope, encode};
use serde_json::json;

use super::route;
use crate::fake::{Gate, Response, get, request};

/// An origin that confirms what it is asked about, and whose answers have tags.
fn cached() -> Gate {
    let gate = route(&json!({"cache": {}}));
    gate.platform.origin(|sent| {
        if sent.field("if-none-match").is_some() {
            return Response::new(304).with("ETag", "\"v1\"");
        }
        Response::new(200)
            .with("Cache-Control", "max-age=60")
            .with("ETag", "\"v1\"")
            .with("Cache-Tag", "news, front")
            .with("Surrogate-Key", "blue")
            .body("stored")
    });
    gate
}

fn status(gate: &Gate, target: &str) -> String {
    gate.send(&get(target)).0.field("cache-status").unwrap_or_default()
}

fn purge(gate: &Gate, sequence: u64, scope: Scope, soft: bool) {
    let purge = Purge { sequence, scope, soft };
    let text = encode([&purge].into_iter());
    gate.snapshot.live_purges.hold(&text, sequence).unwrap();
}

const MISS: &str = "edgeweir; fwd=uri-miss; fwd-status=200; stored; ttl=60";

fn url(path: &str) -> Scope {
    Scope::Url(edgeweir::purge::url::parse_url(&format!("https://app.example{path}")).unwrap())
}

#[test]
fn a_hard_purge_takes_away_what_it_names_and_nothing_else() {
    let prefix = edgeweir::purge::url::parse_prefix("https://app.example/a/").unwrap();
    let tag = |tag: &str| Scope::Tag(tag.to_owned());
    for (scope, is_gone) in [
        (url("/a/b"), true),
        (url("/a/c"), false),
        (Scope::Prefix(prefix), true),
        (tag("front"), true),
        (tag("blue"), true),
        (tag("sports"), false),
        (Scope::All, true),
    ] {
        let gate = cached();
        assert_eq!(status(&gate, "/a/b"), MISS);
        assert!(status(&gate, "/a/b").contains("hit"));
        purge(&gate, 7, scope.clone(), false);
        let after = status(&gate, "/a/b");
        assert_eq!(after == MISS, is_gone, "{scope:?}: {after}");
        // What was stored since stays.
        assert!(status(&gate, "/a/b").contains("hit"), "{scope:?}");
    }
}

#[test]
fn a_soft_purge_has_the_origin_asked() {
    let gate = cached();
    assert_eq!(status(&gate, "/a"), MISS);
    purge(&gate, 7, url("/a"), true);
    let (response, record) = gate.send(&get("/a"));
    assert_eq!((response.status, response.body.as_str()), (200, "stored"));
    assert_eq!(record.upstream_status, Some(304));
    // What the origin has confirmed since is good again.
    assert!(status(&gate, "/a").contains("hit"));
    assert_eq!(gate.sent_count(), 2);
}

/// RFC 9111, 4.3.5: the answer to a HEAD without a validator brings stored
/// fields up to date, but does not say that the body is still the same.
#[test]
fn a_head_that_names_no_validator_undoes_no_purge() {
    let gate = route(&json!({"cache": {}}));
    gate.platform.origin(|_| Response::new(200).with("Cache-Control", "max-age=60").body("stored"));
    gate.send(&get("/a"));
    purge(&gate, 7, url("/a"), true);
    gate.send(&request("HEAD", "/a"));
    assert!(status(&gate, "/a").contains("fwd=stale; fwd-status=200"));
    assert!(status(&gate, "/a").contains("hit"));
}

/// The purge comes while the origin is at it: its answer may be the old one.
#[test]
fn a_request_that_began_before_a_purge_brings_nothing_back() {
    let gate = cached();
    let live = std::rc::Rc::clone(&gate.snapshot.live_purges);
    gate.platform.origin(move |_| {
        let purge = Purge { sequence: 9, scope: Scope::All, soft: false };
        live.hold(&encode([&purge].into_iter()), 9).unwrap();
        Response::new(200).with("Cache-Control", "max-age=60").body("old")
    });
    assert_eq!(status(&gate, "/a"), MISS);
    gate.platform.origin(|_| Response::new(200).with("Cache-Control", "max-age=60").body("new"));
    let (response, _) = gate.send(&get("/a"));
    assert_eq!(response.body, "new");
    assert!(status(&gate, "/a").contains("hit"));
}

#[test]
fn what_has_more_tags_than_can_be_purged_is_not_stored() {
    let gate = cached();
    let tags = (0..=edgeweir::purge::TAGS_LIMIT).map(|tag| format!("t{tag}")).collect::<Vec<_>>().join(",");
    gate.platform
        .origin(move |_| Response::new(200).with("Cache-Control", "max-age=60").with("Cache-Tag", &tags));
    assert!(!status(&gate, "/a").contains("stored"));
    assert!(!status(&gate, "/a").contains("hit"));
}
