//! Whether a stored answer serves a request now.

use edgeweir::exchange::PlainHead;
use edgeweir::stages::cache::entry::Entry;
use edgeweir::stages::cache::{Forward, Lookup, hit_fields, judge, plan};
use edgeweir::time::Timestamp;
use http::header::{
    AGE, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderName, LAST_MODIFIED, VARY,
};
use proptest::prelude::*;

use super::entry::entries;
use crate::fake::{START, With, check, get, request};

fn entry() -> Entry {
    Entry {
        status: 200,
        fields: vec![
            (ETAG, "\"v1\"".to_owned()),
            (LAST_MODIFIED, "Thu, 01 Jan 2026 00:00:00 GMT".to_owned()),
            (CONTENT_TYPE, "text/plain".to_owned()),
            (CONTENT_LENGTH, "3".to_owned()),
            (CONTENT_ENCODING, "gzip".to_owned()),
            (VARY, "Accept-Encoding".to_owned()),
        ],
        selected_by: vec![(HeaderName::from_static("accept-encoding"), Some("gzip, br".to_owned()))],
        received: Timestamp::from_millis(START),
        initial_age: 10,
        lifetime: 60,
    }
}

fn head() -> PlainHead {
    get("/").with("Accept-Encoding", "gzip, br")
}

fn judged(head: &PlainHead, after: u64) -> Lookup {
    judge(&plan(head, None), head, &entry(), Timestamp::from_millis(START + after))
}

fn fresh(age: u64) -> Lookup {
    Lookup::Fresh { age, ttl: 60 - age, not_modified: false }
}

#[test]
fn rule_2_an_answer_serves_while_it_is_fresh() {
    assert_eq!(judged(&head(), 0), fresh(10));
    assert_eq!(judged(&head(), 1_999), fresh(11));
    assert_eq!(judged(&head(), 49_999), fresh(59));
    assert_eq!(judged(&head(), 50_000), Lookup::Miss(Forward::Stale));
    assert_eq!(judged(&head(), u64::MAX - START), Lookup::Miss(Forward::Stale));
    // It has not arrived yet: nothing is known.
    assert_eq!(
        judge(&plan(&head(), None), &head(), &entry(), Timestamp::default()),
        Lookup::Miss(Forward::Stale)
    );
}

#[test]
fn rule_2_the_request_may_ask_for_more() {
    for (value, expected) in [
        ("max-age=10", fresh(10)),
        ("max-age=9", Lookup::Miss(Forward::Request)),
        ("max-age=0", Lookup::Miss(Forward::Request)),
        ("min-fresh=50", fresh(10)),
        ("min-fresh=51", Lookup::Miss(Forward::Request)),
        ("max-stale=100", fresh(10)),
    ] {
        assert_eq!(judged(&head().with("Cache-Control", value), 0), expected, "{value}");
    }
    assert_eq!(judged(&head().with("Cache-Control", "max-stale=100"), 50_000), Lookup::Miss(Forward::Stale));
}

#[test]
fn rule_2_the_fields_that_vary_names_have_to_be_the_same() {
    for (value, same) in [
        ("gzip, br", true),
        ("gzip,br", true),
        (" gzip ,\tbr ", true),
        ("gzip", false),
        ("br, gzip", false),
        ("GZIP, br", false),
        ("", false),
    ] {
        let head = get("/").with("Accept-Encoding", value);
        assert_eq!(judged(&head, 0) == fresh(10), same, "{value:?}");
    }
    assert_eq!(judged(&get("/"), 0), Lookup::Miss(Forward::VaryMiss));
    let mut absent = entry();
    absent.selected_by[0].1 = None;
    let with = |head: &PlainHead| judge(&plan(head, None), head, &absent, Timestamp::from_millis(START));
    assert_eq!(with(&get("/")), fresh(10));
    assert_eq!(with(&get("/").with("Accept-Encoding", "")), Lookup::Miss(Forward::VaryMiss));
}

fn not_modified(name: &str, value: &str) -> bool {
    match judged(&head().with(name, value), 0) {
        Lookup::Fresh { not_modified, .. } => not_modified,
        Lookup::Miss(forward) => panic!("{forward:?}"),
    }
}

#[test]
fn a_client_that_has_the_answer_gets_304() {
    for (tags, expected) in [
        ("\"v1\"", true),
        ("W/\"v1\"", true),
        ("\"a\", \"v1\"", true),
        ("\"a,b\" , W/\"v1\"", true),
        ("*", true),
        ("\"v2\"", false),
        ("v1", false),
        ("\"v1\"x", false),
        ("\"a\\\", \"v1", false),
        ("", false),
    ] {
        assert_eq!(not_modified("If-None-Match", tags), expected, "{tags}");
    }
    for (date, expected) in [
        ("Thu, 01 Jan 2026 00:00:00 GMT", true),
        ("Thursday, 01-Jan-26 00:00:00 GMT", true),
        ("Thu Jan  1 00:00:00 2026", true),
        ("Wed, 31 Dec 2025 23:59:59 GMT", false),
        ("0", false),
        ("", false),
    ] {
        assert_eq!(not_modified("If-Modified-Since", date), expected, "{date}");
    }
}

/// RFC 9110, 13.1.3: with If-None-Match, If-Modified-Since is not looked at.
#[test]
fn the_tag_goes_before_the_date() {
    let head =
        head().with("If-None-Match", "\"v2\"").with("If-Modified-Since", "Thu, 01 Jan 2026 00:00:00 GMT");
    assert_eq!(judged(&head, 0), fresh(10));
}

#[test]
fn only_a_200_is_answered_with_304() {
    let mut gone = entry();
    gone.status = 404;
    let head = head().with("If-None-Match", "*");
    assert_eq!(judge(&plan(&head, None), &head, &gone, Timestamp::from_millis(START)), fresh(10));
}

#[test]
fn without_validators_there_is_no_304() {
    let mut bare = entry();
    bare.fields.clear();
    for (name, value) in [("If-None-Match", "\"v1\""), ("If-Modified-Since", "Thu, 01 Jan 2026 00:00:00 GMT")]
    {
        let head = head().with(name, value);
        assert_eq!(judge(&plan(&head, None), &head, &bare, Timestamp::from_millis(START)), fresh(10));
    }
}

#[test]
fn the_fields_of_a_hit() {
    let names =
        |fields: &[(HeaderName, String)]| fields.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    let whole = hit_fields(&entry(), 12, false);
    assert_eq!(
        names(&whole),
        [ETAG, LAST_MODIFIED, CONTENT_TYPE, CONTENT_LENGTH, CONTENT_ENCODING, VARY, AGE]
    );
    assert_eq!(whole.last().unwrap().1, "12");
    // RFC 9110, 15.4.5.
    assert_eq!(names(&hit_fields(&entry(), 12, true)), [ETAG, LAST_MODIFIED, VARY, AGE]);
}

/// Whatever is stored and asked, nothing serves past its lifetime or a
/// request's limits, and age and what remains are the lifetime.
#[test]
fn nothing_outlives_its_lifetime() {
    let control = prop_oneof![
        Just(String::new()),
        (0_u64..=1 << 31).prop_map(|age| format!("max-age={age}")),
        (0_u64..=1 << 31).prop_map(|least| format!("min-fresh={least}")),
        Just("max-stale".to_owned()),
    ];
    let near = (entries(), 0_u64..1 << 33, 0_u64..1 << 33, control, any::<bool>());
    check(2_000, near, |(mut entry, age, lifetime, control, is_head)| {
        (entry.initial_age, entry.lifetime) = (age, lifetime);
        entry.selected_by.clear();
        let head = if is_head { request("HEAD", "/") } else { get("/") }.with("Cache-Control", &control);
        let plan = plan(&head, None);
        let mut last = None;
        for after in
            [0, 1, 999, 1_000, lifetime.saturating_sub(age) * 1_000, (lifetime + 1) * 1_000, u64::MAX]
        {
            let now = Timestamp::from_millis(entry.received.millis().saturating_add(after));
            if let Lookup::Fresh { age, ttl, .. } = judge(&plan, &head, &entry, now) {
                prop_assert!(ttl > 0 && age + ttl == entry.lifetime);
                prop_assert_eq!(entry.age(now), Some(age));
                prop_assert!(last.is_none_or(|last| age >= last), "age never decreases");
                let number = control.split('=').nth(1).and_then(|number| number.parse::<u64>().ok());
                prop_assert!(!control.starts_with("max-age") || Some(age) <= number);
                prop_assert!(!control.starts_with("min-fresh") || Some(ttl) >= number);
                last = Some(age);
            }
        }
        Ok(())
    });
}

#[test]
fn garbled_conditions_never_panic() {
    check(1_000, (any::<String>(), any::<String>(), any::<String>()), |(condition, date, tag)| {
        let mut entry = entry();
        entry.fields[0].1 = tag;
        entry.fields[1].1.clone_from(&date);
        let head = head().with("If-None-Match", &condition);
        let other = get("/").with("Accept-Encoding", "gzip, br").with("If-Modified-Since", &date);
        let now = Timestamp::from_millis(START);
        let _ = judge(&plan(&head, None), &head, &entry, now);
        let _ = judge(&plan(&other, None), &other, &entry, now);
        Ok(())
    });
}
