//! Lifetime and age (RFC 9111, 4.2, 5.1, 5.3).

use edgeweir::stages::cache::CacheStage;
use edgeweir::stages::cache::age::{age_value, initial_age};
use edgeweir::stages::cache::conclude::{Answer, conclude};
use edgeweir::stages::cache::directives::LONGEST;
use edgeweir::time::Timestamp;
use serde_json::json;

use super::{Fields, at, lines, planned, stage};
use crate::fake::{START, get};

const DATE: (&str, &str) = ("Date", "Thu, 01 Jan 2026 00:00:00 GMT");
const FRESH: (&str, &str) = ("Cache-Control", "max-age=60");
const DAY_BEFORE: (&str, &str) = ("Last-Modified", "Wed, 31 Dec 2025 00:00:00 GMT");

/// Age on arrival and lifetime of what is stored.
fn times_by(stage: &CacheStage, status: u16, fields: Fields<'_>) -> Option<(u64, u64)> {
    let answer = Answer { status, fields: lines(fields), sent: at(0), received: at(0), began: 0 };
    let entry = conclude(&get("/"), &planned(&get("/")), stage, answer, None).ok()?;
    Some((entry.initial_age, entry.lifetime))
}

fn times(fields: Fields<'_>) -> Option<(u64, u64)> {
    times_by(&CacheStage::default(), 200, fields)
}

#[test]
fn section_4_2_1_the_order_of_lifetimes() {
    for (fields, expected) in [
        (&[FRESH][..], Some((0, 60))),
        (&[("Cache-Control", "max-age=60, s-maxage=30")], Some((0, 30))),
        (&[("Cache-Control", "max-age=1, s-maxage=3600")], Some((0, 3_600))),
        (&[("Cache-Control", "max-age=60, s-maxage=0")], None),
        (&[("Cache-Control", "max-age=60, s-maxage=x")], None),
        (&[("Cache-Control", "max-age=0")], None),
        (&[("Cache-Control", "max-age=99999999999")], Some((0, LONGEST))),
        (&[DATE, ("Expires", "Thu, 01 Jan 2026 00:01:00 GMT")], Some((0, 60))),
        (&[("Expires", "Thu, 01 Jan 2026 00:01:00 GMT")], Some((0, 60))),
        (&[("Date", "yesterday"), ("Expires", "Thu, 01 Jan 2026 00:01:00 GMT")], Some((0, 60))),
        (&[DATE, FRESH, ("Expires", "Wed, 31 Dec 2025 00:00:00 GMT")], Some((0, 60))),
        (&[FRESH, ("Expires", "0")], Some((0, 60))),
        (&[("Cache-Control", "max-age=0"), DATE, ("Expires", "Fri, 02 Jan 2026 00:00:00 GMT")], None),
        (&[("Pragma", "public")], None),
        (&[], None),
    ] {
        assert_eq!(times(fields), expected, "{fields:?}");
    }
}

/// 5.3: an invalid date has expired, and so have two.
#[test]
fn section_5_3_an_invalid_expires_has_expired() {
    for expires in ["0", "-1", "", "Thu, 01 Jan 2026 00:01:00 UTC", "Thu, 01 Jan 2026 00:00:00 GMT"] {
        assert_eq!(times(&[DATE, DAY_BEFORE, ("Expires", expires)]), Some((0, 0)), "{expires}");
        assert_eq!(times(&[DATE, ("Expires", expires)]), None, "{expires}");
    }
    let twice = ("Expires", "Thu, 01 Jan 2026 00:01:00 GMT");
    assert_eq!(times(&[DATE, twice, twice]), None);
}

/// 4.2.2, RFC 9110, 15.1.
#[test]
fn section_4_2_2_heuristics_by_status() {
    for status in [200, 203, 204, 404, 405, 410, 414, 501] {
        assert_eq!(
            times_by(&CacheStage::default(), status, &[DATE, DAY_BEFORE]),
            Some((0, 8_640)),
            "{status}"
        );
    }
    let public = ("Cache-Control", "public");
    for status in [201, 202, 299, 300, 301, 302, 308, 403, 500, 502, 503, 504, 599] {
        assert_eq!(times_by(&CacheStage::default(), status, &[DATE, DAY_BEFORE]), None, "{status}");
        assert_eq!(times_by(&CacheStage::default(), status, &[DATE, DAY_BEFORE, public]), Some((0, 8_640)));
    }
    // Whoever sends a malformed request must not decide what others get.
    for status in [400, 413, 431] {
        assert_eq!(times_by(&CacheStage::default(), status, &[DATE, DAY_BEFORE, public]), None, "{status}");
    }
}

#[test]
fn section_4_2_2_the_route_bounds_heuristics() {
    let old = ("Last-Modified", "Thu, 01 Jan 2015 00:00:00 GMT");
    assert_eq!(times(&[DATE, old]), Some((0, 86_400)));
    let own = |percent: u8, limit: &str| stage(&json!({"heuristic": {"percent": percent, "limit": limit}}));
    assert_eq!(times_by(&own(50, "1h"), 200, &[DATE, DAY_BEFORE]), Some((0, 3_600)));
    assert_eq!(times_by(&own(100, "30d"), 200, &[DATE, DAY_BEFORE]), Some((0, 86_400)));
    assert_eq!(times_by(&own(0, "1h"), 200, &[DATE, DAY_BEFORE]), None);
    // Changed just now, or later, or nobody knows when.
    for modified in ["Thu, 01 Jan 2026 00:00:00 GMT", "Fri, 02 Jan 2026 00:00:00 GMT", "yesterday"] {
        assert_eq!(times(&[DATE, ("Last-Modified", modified)]), None, "{modified}");
    }
    assert_eq!(times(&[DATE]), None);
}

/// RFC 9213, 2.2: it stands in place of Cache-Control and Expires.
#[test]
fn rfc_9213_a_targeted_field_replaces_the_others() {
    let target = |value| ("CDN-Cache-Control", value);
    for (fields, expected) in [
        (&[target("max-age=60")][..], Some((0, 60))),
        (&[("Cache-Control", "no-store"), target("max-age=60")], Some((0, 60))),
        (&[("Cache-Control", "max-age=1"), target("max-age=60")], Some((0, 60))),
        (&[("Cache-Control", "max-age=600"), target("max-age=60")], Some((0, 60))),
        (&[("Cache-Control", "max-age=600"), target("no-store")], None),
        (&[("Cache-Control", "max-age=600"), target("private")], None),
        (&[("Cache-Control", "max-age=600"), target("max-age=0")], None),
        (&[target("max-age=60"), ("Expires", "0")], Some((0, 60))),
        (&[target("max-age=0"), DATE, ("Expires", "Fri, 02 Jan 2026 00:00:00 GMT")], None),
        (&[target("public"), DATE, ("Expires", "Fri, 02 Jan 2026 00:00:00 GMT")], None),
        // Invalid: not there.
        (&[FRESH, target("max-age=600, &&")], Some((0, 60))),
        (&[("Cache-Control", "no-store"), target("max-age=\"600\"")], None),
        (&[FRESH, target("")], Some((0, 60))),
        // A field of somebody else's.
        (&[FRESH, ("Surrogate-Control", "no-store")], Some((0, 60))),
    ] {
        assert_eq!(times(fields), expected, "{fields:?}");
    }
    let own = stage(&json!({"targets": ["Weir-Cache-Control", "CDN-Cache-Control"]}));
    let both = &[("CDN-Cache-Control", "max-age=1"), ("Weir-Cache-Control", "max-age=2")];
    assert_eq!(times_by(&own, 200, both), Some((0, 2)));
    let first_is_invalid = &[("CDN-Cache-Control", "max-age=1"), ("Weir-Cache-Control", "max-age=?")];
    assert_eq!(times_by(&own, 200, first_is_invalid), Some((0, 1)));
    assert_eq!(times_by(&stage(&json!({"targets": []})), 200, both), None);
}

#[test]
fn section_5_1_the_age_field() {
    for (field, expected) in [
        (None, 0),
        (Some("7200"), 7_200),
        (Some("7200,0"), 7_200),
        (Some("0,7200"), 0),
        (Some(" 7 , 8"), 7),
        (Some("007"), 7),
        (Some("99999999999"), LONGEST),
        (Some("abc"), 0),
        (Some("-7200"), 0),
        (Some("7200.0"), 0),
        (Some("\"7\""), 0),
        (Some(""), 0),
        (Some(",7"), 0),
        (Some("7;a=b"), 0),
    ] {
        assert_eq!(age_value(field), expected, "{field:?}");
    }
}

/// 4.2.3: Age, the skew of Date and the delay, in whole seconds.
#[test]
fn section_4_2_3_the_age_on_arrival() {
    for (fields, expected) in [
        (&[FRESH, ("Age", "59")][..], Some((59, 60))),
        (&[FRESH, ("Age", "60")], None),
        (&[FRESH, ("Age", "x")], Some((0, 60))),
        (&[FRESH, ("Date", "Wed, 31 Dec 2025 23:59:30 GMT")], Some((30, 60))),
        (&[FRESH, ("Date", "Wed, 31 Dec 2025 23:59:30 GMT"), ("Age", "40")], Some((40, 60))),
        (&[FRESH, ("Date", "Fri, 02 Jan 2026 00:00:00 GMT")], Some((0, 60))),
        (&[FRESH, ("Date", "yesterday")], Some((0, 60))),
    ] {
        assert_eq!(times(fields), expected, "{fields:?}");
    }
    let received = Timestamp::from_millis(START);
    let sent = Timestamp::from_millis(START - 1_001);
    assert_eq!(initial_age(5, None, sent, received), 6);
    let sent_late = Timestamp::from_millis(START - 999);
    assert_eq!(initial_age(0, None, sent_late, received), 0);
    assert_eq!(initial_age(5, Some(received.seconds() - 9), sent, received), 9);
    assert_eq!(initial_age(LONGEST, None, sent, received), LONGEST);
    // 1.2.2: 2^31 seconds old is stale, however long the lifetime.
    assert_eq!(times(&[("Cache-Control", "max-age=99999999999"), ("Age", "2147483648")]), None);
}
