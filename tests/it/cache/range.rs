//! Parts of a stored answer (RFC 9110, 14; RFC 9111, 3.3, 3.4).

use edgeweir::exchange::PlainHead;
use edgeweir::stages::cache::CacheStage;
use edgeweir::stages::cache::entry::Entry;
use edgeweir::stages::cache::fields::{Body, Made, made};
use edgeweir::stages::cache::range::{Part, Ranged, Span, content_range, is_bytes, ranged};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, VARY};
use proptest::prelude::*;

use super::{Fields, at, lines, stage};
use crate::fake::{With, check, get, request};

fn entry(fields: Fields<'_>) -> Entry {
    Entry { status: 200, fields: lines(fields), received: at(0), lifetime: 60, ..Entry::default() }
}

fn asked(range: &str) -> PlainHead {
    get("/").with("Range", range)
}

fn part(first: u64, last: u64) -> Ranged {
    Ranged::Part(Span { first, last })
}

#[test]
fn section_14_1_2_one_range_of_a_stored_whole() {
    for (range, expected) in [
        ("bytes=0-1", part(0, 1)),
        ("bytes=1-", part(1, 10)),
        ("bytes=-1", part(10, 10)),
        ("bytes=-100", part(0, 10)),
        ("bytes=5-100", part(5, 10)),
        ("BYTES=10-10", part(10, 10)),
        (" bytes = 0-1", part(0, 1)),
        ("bytes=11-", Ranged::Unsatisfiable),
        ("bytes=11-12", Ranged::Unsatisfiable),
        ("bytes=-0", Ranged::Unsatisfiable),
        ("bytes=99999999999999999999-", Ranged::Unsatisfiable),
        // Malformed, or several: the whole.
        ("bytes=2-1", Ranged::Whole),
        ("bytes=0-1, 3-4", Ranged::Whole),
        ("bytes=a-b", Ranged::Whole),
        ("bytes=-", Ranged::Whole),
        ("bytes=", Ranged::Whole),
        ("bytes=1", Ranged::Whole),
        ("bytes=+1-2", Ranged::Whole),
        ("lines=0-1", Ranged::Whole),
    ] {
        assert_eq!(ranged(&asked(range), &entry(&[]), Some(11), at(1)), expected, "{range}");
    }
    assert_eq!(ranged(&asked("bytes=0-"), &entry(&[]), Some(0), at(1)), Ranged::Unsatisfiable);
    assert_eq!(ranged(&asked("bytes=0-1"), &entry(&[]), None, at(1)), Ranged::Whole);
    assert_eq!(ranged(&get("/"), &entry(&[]), Some(11), at(1)), Ranged::Whole);
    // RFC 9110, 14.2: for GET alone, and of a 200.
    let head = request("HEAD", "/").with("Range", "bytes=0-1");
    assert_eq!(ranged(&head, &entry(&[]), Some(11), at(1)), Ranged::Whole);
    let gone = Entry { status: 404, ..entry(&[]) };
    assert_eq!(ranged(&asked("bytes=0-1"), &gone, Some(11), at(1)), Ranged::Whole);
}

#[test]
fn section_13_1_5_if_range_has_to_hold() {
    let old = "Wed, 31 Dec 2025 00:00:00 GMT";
    let just = "Wed, 31 Dec 2025 23:59:30 GMT";
    let date = ("Date", "Thu, 01 Jan 2026 00:00:00 GMT");
    for (fields, condition, holds) in [
        (&[("ETag", "\"a\"")][..], "\"a\"", true),
        (&[("ETag", "\"a\"")], "\"b\"", false),
        (&[("ETag", "W/\"a\"")], "W/\"a\"", false),
        (&[("ETag", "\"a\"")], "W/\"a\"", false),
        (&[], "\"a\"", false),
        (&[("Last-Modified", old), date], old, true),
        (&[("Last-Modified", old), date], "Thu, 01 Jan 2026 00:00:00 GMT", false),
        // It may have changed twice in that second.
        (&[("Last-Modified", just), date], just, false),
        (&[("Last-Modified", "x"), date], "x", false),
        (&[], old, false),
    ] {
        let head = asked("bytes=0-1").with("If-Range", condition);
        let expected = if holds { part(0, 1) } else { Ranged::Whole };
        assert_eq!(ranged(&head, &entry(fields), Some(11), at(1)), expected, "{fields:?} {condition}");
    }
}

#[test]
fn section_3_4_a_stored_part_answers_what_lies_within_it() {
    let stored = |complete| Entry {
        status: 206,
        part: Some(Part { span: Span { first: 4, last: 8 }, complete }),
        ..entry(&[])
    };
    for (range, complete, expected) in [
        ("bytes=4-8", Some(9), part(4, 8)),
        ("bytes=-5", Some(9), part(4, 8)),
        ("bytes=6-8", Some(9), part(6, 8)),
        ("bytes=6-7", None, part(6, 7)),
        ("bytes=6-", Some(9), part(6, 8)),
        ("bytes=6-100", Some(9), part(6, 8)),
        ("bytes=-1", Some(9), part(8, 8)),
        ("bytes=3-8", Some(9), Ranged::NotStored),
        ("bytes=4-9", Some(10), Ranged::NotStored),
        ("bytes=6-", Some(10), Ranged::NotStored),
        ("bytes=6-", None, Ranged::NotStored),
        ("bytes=-1", None, Ranged::NotStored),
        ("bytes=-6", Some(9), Ranged::NotStored),
        ("bytes=-0", Some(9), Ranged::NotStored),
        ("bytes=4-5, 7-8", Some(9), Ranged::NotStored),
        ("bytes=20-", Some(9), Ranged::NotStored),
    ] {
        assert_eq!(ranged(&asked(range), &stored(complete), Some(5), at(1)), expected, "{range}");
    }
    assert_eq!(ranged(&get("/"), &stored(Some(9)), Some(5), at(1)), Ranged::NotStored);
}

#[test]
fn section_14_4_content_range() {
    let read = |first, last, complete| Some(Part { span: Span { first, last }, complete });
    assert_eq!(content_range("bytes 4-9/10"), read(4, 9, Some(10)));
    assert_eq!(content_range("Bytes 0-0/*"), read(0, 0, None));
    for bad in [
        "",
        "bytes",
        "bytes 4-9",
        "bytes */10",
        "bytes 9-4/10",
        "bytes 4-10/10",
        "lines 4-9/10",
        "bytes=4-9/10",
        "bytes 4-9/x",
        "bytes -1-9/10",
        "bytes 0-99999999999999999999/*",
    ] {
        assert_eq!(content_range(bad), None, "{bad}");
    }
}

fn names(made: &Made<'_>) -> Vec<http::HeaderName> {
    made.fields.iter().map(|(name, _)| name.clone()).collect()
}

fn owned(made: &Made<'_>) -> Vec<(http::HeaderName, String)> {
    made.fields.iter().map(|(name, value)| (name.clone(), value.to_string())).collect()
}

#[test]
fn what_an_answer_is_made_of() {
    let stored = entry(&[
        ("ETag", "\"v1\""),
        ("Content-Type", "text/plain"),
        ("Content-Length", "11"),
        ("Content-Encoding", "gzip"),
        ("Vary", "Accept-Encoding"),
    ]);
    let stage = CacheStage::default();
    let whole = made(&stored, &stage, false, false, Ranged::Whole, Some(11));
    assert_eq!((whole.status, whole.body, owned(&whole)), (200, Body::Whole, stored.fields.clone()));
    let head = made(&stored, &stage, false, true, Ranged::Whole, Some(11));
    assert_eq!((head.status, head.body, owned(&head)), (200, Body::None, stored.fields.clone()));
    // RFC 9110, 15.4.5.
    let unchanged = made(&stored, &stage, true, false, part(0, 1), Some(11));
    assert_eq!((unchanged.status, unchanged.body, names(&unchanged)), (304, Body::None, vec![ETAG, VARY]));
    // 15.3.7: the same fields, and which part it is.
    let some = made(&stored, &stage, false, false, part(2, 4), Some(11));
    assert_eq!((some.status, some.body), (206, Body::Bytes(Span { first: 2, last: 4 })));
    assert_eq!(names(&some), [ETAG, CONTENT_TYPE, CONTENT_ENCODING, VARY, CONTENT_LENGTH, CONTENT_RANGE]);
    let last: Vec<&str> = some.fields.iter().rev().take(2).map(|(_, value)| value.as_ref()).collect();
    assert_eq!(last, ["bytes 2-4/11", "3"]);
    // 15.5.17.
    let none = made(&stored, &stage, false, false, Ranged::Unsatisfiable, Some(11));
    assert_eq!((none.status, none.body), (416, Body::None));
    assert_eq!(none.fields.last().unwrap().1, "bytes */11");
    // Of a part, the bytes are counted from where it begins.
    let stored = Entry { part: Some(Part { span: Span { first: 4, last: 8 }, complete: None }), ..stored };
    let some = made(&stored, &stage, false, false, part(6, 7), Some(5));
    assert_eq!(some.body, Body::Bytes(Span { first: 2, last: 3 }));
    assert_eq!(some.fields.last().unwrap().1, "bytes 6-7/*");
}

/// What was stored while the route kept cookies sets none any more.
#[test]
fn a_policy_that_keeps_no_cookies_gives_none() {
    let stored = entry(&[("Set-Cookie", "sid=1"), ("ETag", "\"v1\"")]);
    let kept = stage(&serde_json::json!({"allow_set_cookie": true}));
    for not_modified in [false, true] {
        let now = made(&stored, &CacheStage::default(), not_modified, false, Ranged::Whole, Some(1));
        assert_eq!(names(&now), [ETAG]);
        let before = made(&stored, &kept, not_modified, false, Ranged::Whole, Some(1));
        assert_eq!(owned(&before), stored.fields);
    }
}

/// Whatever is asked for, the bytes that are given are stored.
#[test]
fn no_range_reaches_past_what_is_stored() {
    let range = prop_oneof!["bytes=[0-9]{0,2}-[0-9]{0,2}", any::<String>()];
    let stored = prop::option::of((0_u64..40, 0_u64..40, prop::option::of(0_u64..90)));
    check(3_000, (range, 0_u64..50, stored), |(range, size, stored)| {
        let part = stored.map(|(first, length, complete)| Part {
            span: Span { first, last: first + length },
            complete: complete.map(|more| first + length + 1 + more),
        });
        let size = part.map_or(size, |part| part.span.size());
        let entry = Entry { part, ..entry(&[]) };
        let _ = is_bytes(&range);
        let answer = ranged(&asked(&range), &entry, Some(size), at(1));
        let made = made(&entry, &CacheStage::default(), false, false, answer, Some(size));
        if let Body::Bytes(span) = made.body {
            prop_assert!(span.first <= span.last && span.last < size, "{:?} of {}", span, size);
        }
        Ok(())
    });
}
