//! The cache's decisions, a file for each part of RFC 9111: what a request
//! allows, what an answer allows, and whether the one serves the other now.

mod bypass;
pub mod bypass_token;
mod collapser;
mod conclude;
mod config;
mod date;
mod directives;
mod entry;
mod flights;
mod freshness;
mod global;
mod invalidation;
mod joining;
mod judge;
mod key;
mod lifetimes;
mod memory;
mod normalise;
mod plan;
mod range;
mod targeted;
mod validation;
mod vary;

use edgeweir::exchange::PlainHead;
use edgeweir::policy::compile;
use edgeweir::stages::cache::hit_for_miss::HitForMiss;
use edgeweir::stages::cache::plan::{Plan, plan};
use edgeweir::stages::cache::staleness::Stale;
use edgeweir::stages::cache::{CacheStage, Forward, NotStored, status_field};
use edgeweir::time::Timestamp;
use http::header::HeaderName;
use serde_json::{Value, json};

use crate::fake::START;

type Fields<'a> = &'a [(&'a str, &'a str)];

fn lines(fields: Fields<'_>) -> Vec<(HeaderName, String)> {
    fields.iter().map(|(name, value)| (name.parse().unwrap(), (*value).to_owned())).collect()
}

/// So many seconds after the tests' clocks begin.
fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(START + seconds * 1_000)
}

fn planned(head: &PlainHead) -> Plan {
    plan(head, &CacheStage::default(), Some("weir_variant"))
}

fn compiled(cache: &Value) -> Result<Option<CacheStage>, Vec<String>> {
    let policy = json!({"version": 1, "upstreams": {"u": {"origin": "http://u"}}, "routes": [{"id": "r", "upstream": "u", "cache": cache}]});
    compile(&policy.to_string())
        .map(|mut gateway| gateway.routes.remove(0).cache)
        .map_err(|error| error.problems.into_iter().map(|problem| problem.path).collect())
}

/// A stage of this configuration.
fn stage(cache: &Value) -> CacheStage {
    compiled(cache).unwrap().unwrap()
}

#[test]
fn hit_for_miss_is_remembered_for_a_minute() {
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
    let mut brief = HitForMiss::with_lifetime(1, 10);
    brief.mark("a", at(5));
    assert!(brief.is_marked("a", at(14)) && !brief.is_marked("a", at(15)));
}

#[test]
fn the_memory_of_hit_for_miss_is_bounded() {
    let at = Timestamp::from_millis(5);
    let mut marks = HitForMiss::new(1);
    for index in 0..40_000 {
        marks.mark(&index.to_string(), at);
    }
    let kept = (0..40_000).filter(|index| marks.is_marked(&index.to_string(), at)).count();
    assert!((1..=16_384).contains(&kept), "{kept}");
    assert!(marks.is_marked("39999", at));
}

/// RFC 9211, 2.
#[test]
fn the_cache_status_field_is_a_structured_field() {
    assert_eq!(status_field::hit(29, None), "edgeweir; hit; ttl=29");
    assert_eq!(status_field::hit(-3, Some(Stale::MaxStale)), "edgeweir; hit; ttl=-3; detail=max-stale");
    assert_eq!(
        status_field::forwarded(Forward::UriMiss, Some(200), Ok(-1)),
        "edgeweir; fwd=uri-miss; fwd-status=200; stored; ttl=-1"
    );
    assert_eq!(
        status_field::not_stored(Forward::Stale, 200, NotStored::SetCookie),
        "edgeweir; fwd=stale; fwd-status=200; detail=set-cookie"
    );
    assert_eq!(
        status_field::stood_in(Forward::Stale, None, -7),
        "edgeweir; fwd=stale; ttl=-7; detail=stale-if-error"
    );
    assert_eq!(
        status_field::collapsed("edgeweir; hit; ttl=60; key=\"a\"", Forward::UriMiss),
        "edgeweir; fwd=uri-miss; collapsed; ttl=60; key=\"a\""
    );
    for (forward, label) in [
        (Forward::Bypass, "bypass"),
        (Forward::Method, "method"),
        (Forward::UriMiss, "uri-miss"),
        (Forward::VaryMiss, "vary-miss"),
        (Forward::Stale, "stale"),
        (Forward::Request, "request"),
        (Forward::Partial, "partial"),
    ] {
        for (reason, detail) in [
            (NotStored::Request, "request"),
            (NotStored::Status, "status"),
            (NotStored::Directive, "directive"),
            (NotStored::Credentials, "credentials"),
            (NotStored::SetCookie, "set-cookie"),
            (NotStored::Vary, "vary"),
            (NotStored::Freshness, "no-freshness"),
            (NotStored::Partial, "partial"),
            (NotStored::Changed, "changed"),
            (NotStored::Size, "size"),
            (NotStored::Head, "head"),
        ] {
            let expected = format!("edgeweir; fwd={label}; fwd-status=404; detail={detail}");
            assert_eq!(status_field::not_stored(forward, 404, reason), expected);
        }
    }
}
