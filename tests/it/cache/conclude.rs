//! Whether an answer may be kept, and as what.

use edgeweir::stages::cache::entry::Entry;
use edgeweir::stages::cache::{CacheStage, NotStored, conclude};
use edgeweir::time::Timestamp;
use http::header::HeaderName;
use proptest::prelude::*;

use super::STAGE;
use crate::fake::{START, With, check, get};

type Fields<'a> = &'a [(&'a str, &'a str)];

fn lines(fields: Fields<'_>) -> Vec<(HeaderName, String)> {
    fields.iter().map(|(name, value)| (name.parse().unwrap(), (*value).to_owned())).collect()
}

fn concluded(status: u16, fields: Fields<'_>) -> Result<Entry, NotStored> {
    let now = Timestamp::from_millis(START);
    conclude(&get("/").with("Accept", "a"), status, lines(fields), now, now, &STAGE)
}

const FRESH: (&str, &str) = ("Cache-Control", "max-age=60");

#[test]
fn rule_3_statuses_of_the_list_are_kept() {
    for status in [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501] {
        assert_eq!(concluded(status, &[FRESH]).unwrap().status, status);
    }
    for status in [
        100, 101, 201, 202, 205, 206, 226, 299, 302, 303, 304, 307, 400, 401, 403, 416, 429, 500, 502, 503,
        504, 599,
    ] {
        assert_eq!(concluded(status, &[FRESH]), Err(NotStored::Status), "{status}");
    }
}

#[test]
fn rule_3_directives_forbid() {
    for value in [
        "no-store, max-age=60",
        "max-age=60, private",
        "max-age=60, private=\"x-a\"",
        "max-age=60, no-cache",
        "max-age=60, no-cache=\"set-cookie\"",
        "max-age=60, NO-STORE",
        "max-age=x",
        "max-age=60, max-age=61",
        "s-maxage=, max-age=60",
    ] {
        assert_eq!(concluded(200, &[("Cache-Control", value)]), Err(NotStored::Directive), "{value}");
    }
    assert_eq!(concluded(200, &[FRESH, ("Cache-Control", "private")]), Err(NotStored::Directive));
    assert_eq!(concluded(200, &[FRESH, ("CDN-Cache-Control", "max-age=60")]), Err(NotStored::Directive));
}

#[test]
fn rule_3_cookies_and_parts_are_not_kept() {
    assert_eq!(concluded(200, &[FRESH, ("Set-Cookie", "a=b")]), Err(NotStored::SetCookie));
    assert_eq!(concluded(200, &[FRESH, ("Set-Cookie", "")]), Err(NotStored::SetCookie));
    assert_eq!(concluded(200, &[FRESH, ("Content-Range", "bytes 0-1/2")]), Err(NotStored::Partial));
}

#[test]
fn rule_3_vary() {
    for bad in ["*", "Accept, *", "a b", "a;b", "é"] {
        assert_eq!(concluded(200, &[FRESH, ("Vary", bad)]), Err(NotStored::Vary), "{bad}");
    }
    let many = (0..17).map(|index| format!("x-{index}")).collect::<Vec<_>>().join(",");
    assert_eq!(concluded(200, &[FRESH, ("Vary", &many)]), Err(NotStored::Vary));
    let kept = concluded(200, &[FRESH, ("Vary", "ACCEPT,, x-b"), ("Vary", "Accept")]).unwrap();
    let accept = || (HeaderName::from_static("accept"), Some("a".to_owned()));
    assert_eq!(kept.selected_by, [accept(), (HeaderName::from_static("x-b"), None), accept()]);
}

#[test]
fn rule_3_an_encoded_body_varies_by_accept_encoding() {
    assert_eq!(concluded(200, &[FRESH, ("Content-Encoding", "gzip")]), Err(NotStored::Vary));
    assert_eq!(
        concluded(200, &[FRESH, ("Content-Encoding", "gzip"), ("Vary", "Accept")]),
        Err(NotStored::Vary)
    );
    assert!(concluded(200, &[FRESH, ("Content-Encoding", "gzip"), ("Vary", "accept-encoding")]).is_ok());
    assert!(concluded(200, &[FRESH, ("Content-Encoding", " Identity ")]).is_ok());
}

fn times(fields: Fields<'_>) -> Option<(u64, u64)> {
    concluded(200, fields).ok().map(|entry| (entry.initial_age, entry.lifetime))
}

const DATE: (&str, &str) = ("Date", "Thu, 01 Jan 2026 00:00:00 GMT");

#[test]
fn rule_3_a_lifetime_is_explicit() {
    for (fields, expected) in [
        (&[FRESH][..], Some((0, 60))),
        (&[("Cache-Control", "max-age=60, s-maxage=30")], Some((0, 30))),
        (&[("Cache-Control", "max-age=60, s-maxage=0")], None),
        (&[("Cache-Control", "max-age=0")], None),
        (&[("Cache-Control", "max-age=99999999999")], Some((0, 1 << 31))),
        (&[DATE, ("Expires", "Thu, 01 Jan 2026 00:01:00 GMT")], Some((0, 60))),
        (&[("Expires", "Thu, 01 Jan 2026 00:01:00 GMT")], Some((0, 60))),
        (&[DATE, ("Expires", "Thu, 01 Jan 2026 00:00:00 GMT")], None),
        (&[DATE, ("Expires", "0")], None),
        (&[DATE, ("Expires", "-1")], None),
        (
            &[
                DATE,
                ("Expires", "Thu, 01 Jan 2026 00:01:00 GMT"),
                ("Expires", "Thu, 01 Jan 2026 00:02:00 GMT"),
            ],
            None,
        ),
        (&[FRESH, ("Expires", "0")], Some((0, 60))),
        (&[DATE, ("Last-Modified", "Thu, 01 Jan 2015 00:00:00 GMT")], None),
        (&[("Pragma", "public")], None),
        (&[], None),
    ] {
        assert_eq!(times(fields), expected, "{fields:?}");
    }
}

#[test]
fn an_age_on_arrival_counts() {
    for (fields, expected) in [
        (&[FRESH, ("Age", "59")][..], Some((59, 60))),
        (&[FRESH, ("Age", "60")], None),
        (&[FRESH, ("Age", "1, 7")], Some((1, 60))),
        (&[FRESH, ("Age", "x")], None),
        (&[FRESH, ("Age", "")], None),
        (&[FRESH, ("Date", "Wed, 31 Dec 2025 23:59:30 GMT")], Some((30, 60))),
        (&[FRESH, ("Date", "Wed, 31 Dec 2025 23:59:30 GMT"), ("Age", "40")], Some((40, 60))),
        (&[FRESH, ("Date", "Fri, 02 Jan 2026 00:00:00 GMT")], Some((0, 60))),
        (&[FRESH, ("Date", "yesterday")], None),
    ] {
        assert_eq!(times(fields), expected, "{fields:?}");
    }
}

/// RFC 9111, 4.2.3: the time that the answer was under way counts.
#[test]
fn the_delay_counts() {
    let at = Timestamp::from_millis;
    let entry = conclude(&get("/"), 200, lines(&[FRESH, ("Age", "5")]), at(START - 1_001), at(START), &STAGE)
        .unwrap();
    assert_eq!(entry.initial_age, 7);
    assert_eq!(entry.received, at(START));
}

#[test]
fn a_body_that_is_too_large_is_not_kept() {
    let small = CacheStage { max_body: 5 };
    let now = Timestamp::from_millis(START);
    let sized = |length: &str| {
        conclude(&get("/"), 200, lines(&[FRESH, ("Content-Length", length)]), now, now, &small).err()
    };
    assert_eq!((sized("0"), sized("5")), (None, None));
    for bad in ["6", "99999999999999999999", "x", "5, 5", "-1", ""] {
        assert_eq!(sized(bad), Some(NotStored::Size), "{bad}");
    }
}

/// Whatever an origin says, what is kept is fresh on arrival.
#[test]
fn nothing_stale_is_kept() {
    let line = prop_oneof![
        "max-age=[0-9]{1,4}".prop_map(|value| ("cache-control", value)),
        "s-maxage=[0-9]{1,4}".prop_map(|value| ("cache-control", value)),
        "[0-9]{1,4}".prop_map(|value| ("age", value)),
        (0_u64..4_000).prop_map(|back| ("date", httpdate::fmt_http_date(moment(START / 1_000 - back)))),
        (0_u64..4_000)
            .prop_map(|on| ("expires", httpdate::fmt_http_date(moment(START / 1_000 - 1_000 + on)))),
        any::<String>().prop_map(|value| ("cache-control", value)),
        any::<String>().prop_map(|value| ("vary", value)),
        any::<String>().prop_map(|value| ("age", value)),
    ];
    check(1_500, (prop::collection::vec(line, 0..6), 0_u64..5_000), |(fields, delay)| {
        let fields: Vec<(HeaderName, String)> =
            fields.into_iter().map(|(name, value)| (HeaderName::from_static(name), value)).collect();
        let (sent, received) = (Timestamp::from_millis(START - delay), Timestamp::from_millis(START));
        if let Ok(entry) = conclude(&get("/"), 200, fields, sent, received, &STAGE) {
            prop_assert!(entry.lifetime > entry.initial_age);
            prop_assert!(entry.initial_age >= delay / 1_000);
            prop_assert_eq!(entry.age(received), Some(entry.initial_age));
        }
        Ok(())
    });
}

fn moment(seconds: u64) -> std::time::SystemTime {
    std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds)
}
