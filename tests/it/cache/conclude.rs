//! Whether an answer is stored, and as what (RFC 9111, 3).

use edgeweir::exchange::PlainHead;
use edgeweir::stages::cache::conclude::{Answer, conclude};
use edgeweir::stages::cache::date::format;
use edgeweir::stages::cache::entry::Entry;
use edgeweir::stages::cache::key::Index;
use edgeweir::stages::cache::range::{Part, Span};
use edgeweir::stages::cache::staleness::Allowance;
use edgeweir::stages::cache::vary::Selector;
use edgeweir::stages::cache::{CacheStage, NotStored};
use edgeweir::time::Timestamp;
use http::header::HeaderName;
use proptest::prelude::*;
use serde_json::json;

use super::{Fields, at, lines, planned, stage};
use crate::fake::{START, With, check, get, request};

fn concluded_by(
    head: &PlainHead,
    stage: &CacheStage,
    status: u16,
    fields: Fields<'_>,
) -> Result<Entry, NotStored> {
    let answer = Answer { status, fields: lines(fields), sent: at(0), received: at(0), began: 0 };
    conclude(head, &planned(head), stage, answer, None)
}

fn concluded(status: u16, fields: Fields<'_>) -> Result<Entry, NotStored> {
    concluded_by(&get("/").with("Accept", "a"), &CacheStage::default(), status, fields)
}

const FRESH: (&str, &str) = ("Cache-Control", "max-age=60");

#[test]
fn section_3_any_final_status_with_explicit_freshness() {
    for status in [200, 201, 202, 203, 204, 205, 299, 300, 302, 400, 403, 404, 410, 429, 499, 500, 503, 599] {
        assert_eq!(concluded(status, &[FRESH]).unwrap().status, status);
    }
    for status in [100, 101, 199, 304, 600] {
        assert_eq!(concluded(status, &[FRESH]), Err(NotStored::Status), "{status}");
    }
}

#[test]
fn section_3_what_forbids_storing() {
    for value in [
        "no-store, max-age=60",
        "max-age=60, private",
        "max-age=60, NO-STORE",
        "max-age=60, x=\"a",
        "max-age=60, private=\"\"",
    ] {
        assert_eq!(concluded(200, &[("Cache-Control", value)]), Err(NotStored::Directive), "{value}");
    }
    assert_eq!(concluded(200, &[FRESH, ("Cache-Control", "private")]), Err(NotStored::Directive));
    let asked = get("/").with("Cache-Control", "no-store");
    let stage = CacheStage::default();
    assert_eq!(concluded_by(&asked, &stage, 200, &[FRESH]), Err(NotStored::Request));
    assert_eq!(concluded_by(&request("HEAD", "/"), &stage, 200, &[FRESH]), Err(NotStored::Request));
}

/// What a range or a condition has brought about is no answer to others
/// (RFC 9110, 15.5.13, 15.5.17).
#[test]
fn section_3_errors_of_ranges_and_conditions_are_nobody_else_s() {
    let stage = CacheStage::default();
    let ranged = get("/").with("Range", "bytes=9-");
    for status in [400, 403, 412, 416, 431, 500] {
        assert_eq!(concluded_by(&ranged, &stage, status, &[FRESH]), Err(NotStored::Request), "{status}");
        assert!(concluded(status, &[FRESH]).is_ok());
    }
    for status in [200, 301, 404, 410] {
        assert!(concluded_by(&ranged, &stage, status, &[FRESH]).is_ok(), "{status}");
    }
    for name in ["If-None-Match", "If-Modified-Since"] {
        let conditional = get("/").with(name, "*");
        assert_eq!(concluded_by(&conditional, &stage, 412, &[FRESH]), Err(NotStored::Request));
        assert!(concluded_by(&conditional, &stage, 200, &[FRESH]).is_ok());
    }
}

/// 5.1: an answer from here shows one Age, the one of now.
#[test]
fn section_5_1_the_origin_s_age_is_not_stored() {
    let kept = concluded(200, &[FRESH, ("Age", "7"), ("X-A", "1")]).unwrap();
    let names: Vec<&str> = kept.fields.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!((names, kept.initial_age), (vec!["cache-control", "x-a", "date"], 7));
}

/// 5.2.2.3.
#[test]
fn section_5_2_2_3_must_understand() {
    let understood = ("Cache-Control", "max-age=60, no-store, must-understand");
    assert!(concluded(200, &[understood]).is_ok() && concluded(404, &[understood]).is_ok());
    assert_eq!(concluded(299, &[understood]), Err(NotStored::Directive));
    assert_eq!(
        concluded(299, &[("Cache-Control", "max-age=60, must-understand")]),
        Err(NotStored::Directive)
    );
}

/// 5.2.2.4, 5.2.2.7: what they name is not stored, the rest is.
#[test]
fn section_5_2_2_4_named_fields_are_left_out() {
    let named = &[
        ("Cache-Control", "max-age=60, no-cache=\"a, B\", private=c"),
        ("a", "1"),
        ("b", "2"),
        ("c", "3"),
        ("d", "4"),
    ];
    let kept = concluded(200, named).unwrap();
    let names: Vec<&str> = kept.fields.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!((names, kept.validate_always), (vec!["cache-control", "d", "date"], false));
    // A cookie that is named is not stored, so nothing of it is shared.
    let cookie = &[("Cache-Control", "max-age=60, no-cache=\"Set-Cookie\""), ("Set-Cookie", "a=b")];
    assert!(concluded(200, cookie).is_ok());
}

#[test]
fn section_5_2_2_4_no_cache_is_stored_for_its_validator() {
    let kept = concluded(200, &[("Cache-Control", "no-cache, max-age=60"), ("ETag", "\"a\"")]).unwrap();
    assert!(kept.validate_always && kept.stale.never);
    assert!(concluded(200, &[("Cache-Control", "no-cache"), ("Last-Modified", "x")]).is_ok());
    assert_eq!(concluded(200, &[("Cache-Control", "no-cache, max-age=60")]), Err(NotStored::Freshness));
}

/// RFC 9110, 5.5: a field may hold bytes that are no UTF-8, and then it has to
/// stay what it is.
#[test]
fn section_5_5_what_cannot_be_read_is_not_stored() {
    for field in [("ETag", "\"caf\u{fffd}\""), ("X-Name", "\u{fffd}"), ("Content-Disposition", "a=\u{fffd}")]
    {
        assert_eq!(concluded(200, &[FRESH, field]), Err(NotStored::Head), "{field:?}");
    }
    assert!(concluded(200, &[FRESH, ("ETag", "\"caf\u{e9}\"")]).is_ok());
    // What ends with the connection is not stored anyhow.
    assert!(concluded(200, &[FRESH, ("Proxy-Connection", "\u{fffd}")]).is_ok());
}

/// RFC 9110, 6.6.1: what comes without a Date gets the time at which it came.
#[test]
fn section_6_6_1_a_stored_answer_has_a_date() {
    let dates = |fields: Fields<'_>| {
        let fields = concluded(200, fields).unwrap().fields;
        fields.into_iter().filter(|(name, _)| name == "date").map(|(_, value)| value).collect::<Vec<_>>()
    };
    assert_eq!(dates(&[FRESH]), [format(at(0))]);
    // One that is there stays as it is, even where it is none.
    let earlier = format(Timestamp::from_seconds(at(0).seconds() - 5));
    assert_eq!(dates(&[FRESH, ("Date", &earlier)]), [earlier.as_str()]);
    assert_eq!(dates(&[FRESH, ("Date", "foo")]), ["foo"]);
}

#[test]
fn section_3_what_could_not_be_used_again_is_not_stored() {
    let tag = ("ETag", "\"a\"");
    assert!(concluded(200, &[("Cache-Control", "max-age=0"), tag]).is_ok());
    assert!(concluded(200, &[FRESH, ("Age", "60"), tag]).is_ok());
    assert!(concluded(200, &[("Cache-Control", "max-age=0, stale-while-revalidate=60")]).is_ok());
    assert!(concluded(200, &[("Cache-Control", "max-age=0, stale-if-error=60")]).is_ok());
    for fields in [
        &[("Cache-Control", "max-age=0")][..],
        &[("Cache-Control", "max-age=0, must-revalidate, stale-if-error=60")],
        &[FRESH, ("Age", "60")],
        // Says nothing about its lifetime.
        &[tag],
        &[],
    ] {
        assert_eq!(concluded(200, fields), Err(NotStored::Freshness), "{fields:?}");
    }
}

/// 3.5.
#[test]
fn section_3_5_answers_to_credentials() {
    let stage = CacheStage::default();
    let with = |name: &str, control: &str| {
        let head = get("/").with(name, "x=1");
        concluded_by(&head, &stage, 200, &[("Cache-Control", control)])
    };
    for control in ["max-age=60, public", "s-maxage=60"] {
        let entry = with("Authorization", control).unwrap();
        assert!(entry.shared && entry.authorized);
        assert!(with("Cookie", control).is_ok());
    }
    let entry = with("Authorization", "max-age=60, must-revalidate").unwrap();
    assert!(!entry.shared && entry.authorized);
    for (name, control) in [
        ("Authorization", "max-age=60"),
        ("Authorization", "max-age=60, proxy-revalidate"),
        ("Cookie", "max-age=60"),
        ("Cookie", "max-age=60, must-revalidate"),
    ] {
        assert_eq!(with(name, control), Err(NotStored::Credentials), "{name} {control}");
    }
    let anonymous = concluded(200, &[FRESH]).unwrap();
    assert!(!anonymous.shared && !anonymous.authorized);
}

#[test]
fn cookies_are_kept_out_unless_the_route_allows_them() {
    let fields = &[FRESH, ("Set-Cookie", "a=b"), ("Date", "Thu, 01 Jan 2026 00:00:00 GMT")];
    assert_eq!(concluded(200, fields), Err(NotStored::SetCookie));
    assert_eq!(concluded(200, &[FRESH, ("Set-Cookie", "")]), Err(NotStored::SetCookie));
    let allowed = stage(&json!({"allow_set_cookie": true}));
    assert_eq!(concluded_by(&get("/"), &allowed, 200, fields).unwrap().fields, lines(fields));
}

#[test]
fn section_4_2_4_what_may_be_served_stale() {
    for (control, expected) in [
        ("max-age=60", Allowance::default()),
        (
            "max-age=60, stale-while-revalidate=5, stale-if-error=6",
            Allowance { never: false, while_revalidate: 5, if_error: Some(6) },
        ),
        ("max-age=60, must-revalidate", Allowance { never: true, ..Allowance::default() }),
        ("max-age=60, proxy-revalidate", Allowance { never: true, ..Allowance::default() }),
        ("s-maxage=60", Allowance { never: true, ..Allowance::default() }),
    ] {
        assert_eq!(concluded(200, &[("Cache-Control", control)]).unwrap().stale, expected, "{control}");
    }
}

#[test]
fn section_3_3_a_part_says_which_one_it_is() {
    let range = ("Content-Range", "bytes 4-8/9");
    let kept = concluded(206, &[FRESH, range]).unwrap();
    assert_eq!(kept.part, Some(Part { span: Span { first: 4, last: 8 }, complete: Some(9) }));
    assert_eq!(concluded(206, &[FRESH]), Err(NotStored::Partial));
    assert_eq!(concluded(206, &[FRESH, ("Content-Range", "bytes */9")]), Err(NotStored::Partial));
    // RFC 9110, 14.4: on any other answer it means nothing.
    assert!(concluded(200, &[FRESH, range]).unwrap().part.is_none());
    assert_eq!(
        concluded(206, &[("Cache-Control", "no-cache"), ("ETag", "\"a\""), range]),
        Err(NotStored::Freshness)
    );
    assert!(concluded(416, &[FRESH, ("Content-Range", "bytes */9")]).unwrap().part.is_none());
}

#[test]
fn section_4_1_what_selected_it_is_stored_in_normal_form() {
    let kept = concluded(200, &[FRESH, ("Vary", "ACCEPT,, x-b"), ("Vary", "Accept")]).unwrap();
    let accept = (Selector::Field("accept".to_owned()), Some("a".to_owned()));
    assert_eq!(kept.selected_by, [accept, (Selector::Field("x-b".to_owned()), None)]);
    assert_eq!(concluded(200, &[FRESH, ("Vary", "Accept, *")]), Err(NotStored::Vary));
}

/// RFC 9110, 7.6.1; RFC 9111, 3.1.
#[test]
fn section_3_1_fields_of_one_connection_are_not_stored() {
    let kept = [
        FRESH,
        ("X-Any", "1"),
        ("X-Any", "2"),
        ("WWW-Authenticate", "Basic"),
        ("Date", "Thu, 01 Jan 2026 00:00:00 GMT"),
    ];
    let gone = [
        ("Connection", "x"),
        ("Keep-Alive", "5"),
        ("Proxy-Authenticate", "x"),
        ("Proxy-Connection", "x"),
        ("Transfer-Encoding", "chunked"),
        ("Upgrade", "x"),
        ("Proxy-Authorization", "x"),
        ("Proxy-Authentication-Info", "x"),
        ("Cache-Status", "theirs; hit"),
    ];
    let fields = [&gone[..], &kept[..]].concat();
    assert_eq!(concluded(200, &fields).unwrap().fields, lines(&kept));
}

#[test]
fn a_body_that_is_too_large_is_not_kept() {
    let small = stage(&json!({"max_body": "5B"}));
    let sized =
        |length: &str| concluded_by(&get("/"), &small, 200, &[FRESH, ("Content-Length", length)]).err();
    assert_eq!((sized("0"), sized("5")), (None, None));
    for bad in ["6", "99999999999999999999", "x", "5, 5", "-1", ""] {
        assert_eq!(sized(bad), Some(NotStored::Size), "{bad}");
    }
}

#[test]
fn a_generation_goes_on_where_there_is_one() {
    let answer = || Answer { status: 200, fields: lines(&[FRESH]), sent: at(5), received: at(6), began: 0 };
    let stage = CacheStage::default();
    let entry = |index| conclude(&get("/"), &planned(&get("/")), &stage, answer(), index).unwrap();
    let index = Index::of(&Entry { since: at(1), ..Entry::default() });
    assert_eq!((entry(None).since, entry(Some(&index)).since), (at(6), at(1)));
    // Not where other fields tell its answers apart.
    let by = vec![(Selector::Field("accept-language".to_owned()), None)];
    let other = Index::of(&Entry { since: at(1), selected_by: by, ..Entry::default() });
    assert_eq!(entry(Some(&other)).since, at(6));
}

/// Whatever an origin says, what is kept can be used again.
#[test]
fn nothing_useless_is_kept() {
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
        let answer = Answer { status: 200, fields, sent, received, began: 0 };
        if let Ok(entry) = conclude(&get("/"), &planned(&get("/")), &CacheStage::default(), answer, None) {
            // There is no validator among the fields.
            let outlives = entry.stale.while_revalidate > 0 || entry.stale.if_error.is_some();
            prop_assert!(entry.lifetime > entry.initial_age || outlives);
            prop_assert!(entry.initial_age >= delay / 1_000);
            prop_assert_eq!(entry.age(received), Some(entry.initial_age));
        }
        Ok(())
    });
}

fn moment(seconds: u64) -> std::time::SystemTime {
    std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds)
}

/// CGI and its kin read `_` as `-`: a field so written may have been answered
/// in the place of the one that selects, and a credential is one either way.
#[test]
fn what_another_spelling_of_a_field_brings_is_not_stored() {
    let own = stage(&json!({
        "key": {"headers": ["X-Shop-Id"]},
        "vary": {"ignore": ["X-Ignored-Too"], "device": true},
        "credentials": {"headers": ["X-Api-Key"]},
    }));
    let vary = [("Cache-Control", "max-age=60"), ("Vary", "Accept-Language")];
    for name in [
        "Accept_Language",
        "X_Shop_Id",
        "X-Shop_Id",
        "x_shop-id",
        "X-Ignored_Too",
        "User_Agent",
        "Sec_CH_UA_Mobile",
        "X_Api_Key",
    ] {
        let head = get("/").with(name, "evil");
        assert_eq!(concluded_by(&head, &own, 200, &vary), Err(NotStored::Request), "{name}");
    }
    let head = get("/").with("X_Other", "1").with("X-Shop-Id", "1");
    assert!(concluded_by(&head, &own, 200, &vary).is_ok());
}
