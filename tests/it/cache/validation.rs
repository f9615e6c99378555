//! Validators (RFC 9111, 4.3; RFC 9110, 8.8, 13).

use edgeweir::exchange::Edit;
use edgeweir::stages::cache::conclude::{Answer, freshen};
use edgeweir::stages::cache::entry::Entry;
use edgeweir::stages::cache::plan::Credentials;
use edgeweir::stages::cache::validation::{
    Learned, conditions, confirms, is_another, learn, not_modified, strong_match, updated,
};
use edgeweir::stages::cache::{CacheStage, NotStored};
use http::header::{ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH};
use proptest::prelude::*;
use serde_json::json;

use super::{Fields, at, lines, stage};
use crate::fake::{With, check, get};

const MODIFIED: &str = "Thu, 01 Jan 2026 00:00:00 GMT";

fn entry(fields: Fields<'_>) -> Entry {
    Entry { status: 200, fields: lines(fields), received: at(0), lifetime: 60, ..Entry::default() }
}

fn both() -> Entry {
    entry(&[("ETag", "\"v1\""), ("Last-Modified", MODIFIED)])
}

fn has(name: &str, value: &str, entry: &Entry) -> bool {
    not_modified(&get("/").with(name, value), entry, at(1))
}

/// RFC 9110, 13.1.2: weak comparison, lists, `*`.
#[test]
fn section_4_3_2_if_none_match() {
    for (tags, expected) in [
        ("\"v1\"", true),
        ("W/\"v1\"", true),
        ("\"a\", \"v1\"", true),
        ("\"v1\", \"a\"", true),
        ("\"a,b\" , W/\"v1\"", true),
        ("*", true),
        ("\"v2\"", false),
        ("v1", false),
        ("w/\"v1\"", false),
        ("\"v1\"x", false),
        ("\"a\\\", \"v1", false),
        ("", false),
    ] {
        assert_eq!(has("If-None-Match", tags, &both()), expected, "{tags}");
    }
    assert!(has("If-None-Match", "\"a\"", &entry(&[("ETag", "W/\"a\"")])));
    assert!(!has("If-None-Match", "\"v1\"", &entry(&[("Last-Modified", MODIFIED)])));
}

#[test]
fn section_4_3_2_if_modified_since_in_every_form() {
    for (date, expected) in [
        ("Thu, 01 Jan 2026 00:00:00 GMT", true),
        ("Thursday, 01-Jan-26 00:00:00 GMT", true),
        ("Thu Jan  1 00:00:00 2026", true),
        ("Fri, 02 Jan 2026 00:00:00 GMT", true),
        ("Wed, 31 Dec 2025 23:59:59 GMT", false),
        ("Thu, 01 Jan 2026 00:00:00 UTC", false),
        ("0", false),
        ("", false),
    ] {
        assert_eq!(has("If-Modified-Since", date, &both()), expected, "{date}");
    }
    // Without Last-Modified the Date stands in, and without that the time of
    // arrival.
    let dated = entry(&[("Date", "Wed, 31 Dec 2025 00:00:00 GMT")]);
    assert!(has("If-Modified-Since", "Wed, 31 Dec 2025 00:00:00 GMT", &dated));
    assert!(!has("If-Modified-Since", "Tue, 30 Dec 2025 00:00:00 GMT", &dated));
    assert!(has("If-Modified-Since", MODIFIED, &entry(&[])));
    assert!(!has("If-Modified-Since", "Wed, 31 Dec 2025 00:00:00 GMT", &entry(&[])));
    assert!(!has("If-Modified-Since", "Fri, 02 Jan 2026 00:00:00 GMT", &entry(&[("Last-Modified", "x")])));
}

/// RFC 9110, 13.2.2: with If-None-Match, If-Modified-Since is not looked at.
#[test]
fn section_13_2_2_the_tag_goes_before_the_date() {
    let head = get("/").with("If-None-Match", "\"v2\"").with("If-Modified-Since", MODIFIED);
    assert!(!not_modified(&head, &both(), at(1)));
}

#[test]
fn only_a_200_is_answered_with_304() {
    let gone = Entry { status: 404, ..both() };
    assert!(!has("If-None-Match", "*", &gone));
}

#[test]
fn section_4_3_1_the_conditions_are_the_stored_validators() {
    let set = |name, value: &str| Edit::Set(name, value.to_owned());
    assert_eq!(conditions(&both()), [set(IF_NONE_MATCH, "\"v1\""), set(IF_MODIFIED_SINCE, MODIFIED)]);
    assert_eq!(
        conditions(&entry(&[("ETag", "W/\"a\"")])),
        [set(IF_NONE_MATCH, "W/\"a\""), Edit::Remove(IF_MODIFIED_SINCE)]
    );
    assert_eq!(
        conditions(&entry(&[("Last-Modified", MODIFIED)])),
        [Edit::Remove(IF_NONE_MATCH), set(IF_MODIFIED_SINCE, MODIFIED)]
    );
    // The client's own stand where there is nothing to ask about.
    assert_eq!(conditions(&entry(&[])), []);
}

#[test]
fn section_4_3_4_which_answer_a_304_is_about() {
    for (fields, expected) in [
        (&[][..], true),
        (&[("ETag", "\"v1\"")], true),
        (&[("ETag", "W/\"v1\"")], true),
        (&[("ETag", "\"v2\"")], false),
        (&[("ETag", "\"v2\""), ("Last-Modified", MODIFIED)], false),
        (&[("Last-Modified", MODIFIED)], true),
        (&[("Last-Modified", "Fri, 02 Jan 2026 00:00:00 GMT")], false),
    ] {
        assert_eq!(confirms(&lines(fields), &both()), expected, "{fields:?}");
    }
    assert!(!confirms(&lines(&[("ETag", "\"v1\"")]), &entry(&[("Last-Modified", MODIFIED)])));
}

#[test]
fn section_3_2_a_304_updates_all_but_what_describes_the_stored_bytes() {
    let stored = lines(&[
        ("ETag", "\"v1\""),
        ("Content-Length", "3"),
        ("Content-Encoding", "gzip"),
        ("Content-Type", "text/plain"),
        ("X-A", "1"),
        ("X-A", "2"),
        ("X-B", "b"),
        ("Age", "9"),
        ("Date", MODIFIED),
    ]);
    let news = lines(&[
        ("Content-Length", "0"),
        ("Content-Encoding", "br"),
        ("Content-Type", "text/html"),
        ("X-A", "3"),
        ("X-C", "c"),
        ("X-C", "d"),
    ]);
    let expected = lines(&[
        ("ETag", "\"v1\""),
        ("Content-Length", "3"),
        ("Content-Encoding", "gzip"),
        ("X-B", "b"),
        ("Content-Type", "text/html"),
        ("X-A", "3"),
        ("X-C", "c"),
        ("X-C", "d"),
    ]);
    assert_eq!(updated(&stored, &news), expected);
}

fn news(fields: Fields<'_>, now: u64) -> Answer {
    Answer { status: 304, fields: lines(fields), sent: at(now), received: at(now), began: 0 }
}

#[test]
fn section_4_3_4_a_304_begins_a_new_lifetime() {
    let stage = CacheStage::default();
    let stored = Entry { initial_age: 7, ..entry(&[("ETag", "\"v1\""), ("Cache-Control", "max-age=1")]) };
    let fresh = freshen(
        &stored,
        news(&[("Cache-Control", "max-age=600"), ("Age", "3")], 100),
        Credentials::None,
        &stage,
    )
    .unwrap();
    assert_eq!((fresh.received, fresh.initial_age, fresh.lifetime, fresh.status), (at(100), 3, 600, 200));
    // What it does not say stays as it was.
    let same = freshen(&stored, news(&[], 100), Credentials::None, &stage).unwrap();
    assert_eq!((same.lifetime, same.initial_age), (1, 0));
    assert_eq!(same.since, stored.since);
}

#[test]
fn section_4_3_4_a_304_may_forbid_storing() {
    let stored = entry(&[("ETag", "\"v1\""), ("Cache-Control", "max-age=1")]);
    for (field, reason) in [
        (("Cache-Control", "no-store"), NotStored::Directive),
        (("Cache-Control", "private"), NotStored::Directive),
        (("Set-Cookie", "a=b"), NotStored::SetCookie),
        (("X-Name", "\u{fffd}"), NotStored::Head),
    ] {
        assert_eq!(
            freshen(&stored, news(&[field], 9), Credentials::None, &CacheStage::default()),
            Err(reason)
        );
    }
    let allowed = stage(&json!({"allow_set_cookie": true}));
    assert!(freshen(&stored, news(&[("Set-Cookie", "a=b")], 9), Credentials::None, &allowed).is_ok());
}

/// RFC 9111, 3.5: who shows credentials may get what is shared; what he alone
/// was told about it does not become everybody's.
#[test]
fn section_3_5_a_304_to_credentials_has_to_be_shared() {
    let stored = Entry { authorized: true, shared: true, ..entry(&[("ETag", "\"v1\"")]) };
    for (control, authorization, identity) in [
        ("max-age=60", Err(NotStored::Credentials), Err(NotStored::Credentials)),
        ("max-age=60, must-revalidate", Ok(()), Err(NotStored::Credentials)),
        ("public, max-age=60", Ok(()), Ok(())),
    ] {
        let freshened = |credentials| {
            let fields = [("Cache-Control", control), ("X-User", "ann")];
            freshen(&stored, news(&fields, 9), credentials, &CacheStage::default()).map(drop)
        };
        assert_eq!(freshened(Credentials::None), Ok(()), "{control}");
        assert_eq!(freshened(Credentials::Authorization), authorization, "{control}");
        assert_eq!(freshened(Credentials::Identity), identity, "{control}");
    }
}

/// Whatever a 304 says, it brings back no more than it names a lifetime for,
/// changes no status and no length, and makes nothing shared that was not.
#[test]
fn a_304_never_resurrects() {
    let line = prop_oneof![
        "max-age=[0-9]{1,4}".prop_map(|value| ("cache-control", value)),
        Just(("cache-control", "public".to_owned())),
        "[0-9]{1,4}".prop_map(|value| ("age", value)),
        any::<String>().prop_map(|value| ("expires", value)),
        any::<String>().prop_map(|value| ("content-length", value)),
        any::<String>().prop_map(|value| ("vary", value)),
    ];
    let flags = (any::<bool>(), any::<bool>());
    check(1_500, (prop::collection::vec(line, 0..5), flags), |(fields, (authorized, shared))| {
        let stored = Entry { authorized, shared, ..entry(&[("ETag", "\"v1\""), ("Content-Length", "3")]) };
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        if let Ok(fresh) = freshen(&stored, news(&fields, 1_000), Credentials::None, &CacheStage::default()) {
            prop_assert!(fresh.authorized <= authorized && fresh.shared <= shared);
            let length = fresh.field(&http::header::CONTENT_LENGTH);
            prop_assert_eq!(length.as_deref(), Some("3"));
            prop_assert_eq!((&fresh.selected_by, fresh.status), (&stored.selected_by, 200));
            let said = fields.iter().any(|(name, _)| ["cache-control", "expires"].contains(name));
            prop_assert!(said || fresh.lifetime == 0);
        }
        Ok(())
    });
}

#[test]
fn section_4_3_5_what_a_head_says_about_the_stored_answer() {
    let stored = entry(&[("ETag", "\"v1\""), ("Content-Length", "3")]);
    for (status, fields, expected) in [
        (200, &[][..], Learned::Alike),
        (200, &[("Content-Length", "3")], Learned::Alike),
        (200, &[("ETag", "\"v1\"")], Learned::Same),
        (200, &[("ETag", "\"v1\""), ("Content-Length", "3"), ("X-A", "2")], Learned::Same),
        (200, &[("ETag", "\"v2\"")], Learned::Other),
        (200, &[("Content-Length", "4")], Learned::Other),
        (200, &[("Last-Modified", MODIFIED)], Learned::Other),
        (410, &[], Learned::Other),
        (503, &[], Learned::Nothing),
        // 4.3.5 is about a 200; what is refused says nothing about a GET.
        (404, &[], Learned::Other),
        (405, &[], Learned::Nothing),
        (431, &[], Learned::Nothing),
        // To a condition of the client's.
        (304, &[("ETag", "\"v2\"")], Learned::Nothing),
    ] {
        assert_eq!(learn(&stored, status, &lines(fields)), expected, "{status} {fields:?}");
    }
}

#[test]
fn section_4_3_3_what_shows_no_stored_validator_is_another() {
    let tagged = entry(&[("ETag", "\"v1\""), ("Last-Modified", MODIFIED)]);
    let dated = entry(&[("Last-Modified", MODIFIED)]);
    let plain = entry(&[]);
    let later = ("Last-Modified", "Sun, 02 Jan 2022 00:00:00 GMT");
    for (stored, fields, another) in [
        (&tagged, &[("ETag", "\"v1\"")][..], false),
        (&tagged, &[("ETag", "W/\"v1\""), later], false),
        (&tagged, &[("ETag", "\"v2\""), ("Last-Modified", MODIFIED)], true),
        (&tagged, &[("Last-Modified", MODIFIED)], false),
        (&tagged, &[later], true),
        (&tagged, &[], true),
        (&dated, &[("Last-Modified", MODIFIED)], false),
        (&dated, &[("ETag", "\"v1\""), ("Last-Modified", MODIFIED)], true),
        (&dated, &[later], true),
        (&plain, &[("ETag", "\"v1\"")], true),
        (&plain, &[], false),
    ] {
        assert_eq!(is_another(&lines(fields), stored), another, "{fields:?}");
    }
}

/// RFC 9110, 8.8.3.2.
#[test]
fn section_8_8_3_2_strong_comparison() {
    assert!(strong_match("\"a\"", " \"a\""));
    for (one, other) in
        [("\"a\"", "\"b\""), ("W/\"a\"", "W/\"a\""), ("W/\"a\"", "\"a\""), ("a", "a"), ("\"", "\"")]
    {
        assert!(!strong_match(one, other), "{one} {other}");
    }
}

#[test]
fn garbled_conditions_never_panic() {
    check(1_000, (any::<String>(), any::<String>(), any::<String>()), |(condition, date, tag)| {
        let mut entry = both();
        entry.fields[0].1 = tag;
        entry.fields[1].1.clone_from(&date);
        let _ = not_modified(&get("/").with("If-None-Match", &condition), &entry, at(1));
        let _ = not_modified(&get("/").with("If-Modified-Since", &date), &entry, at(1));
        let _ = confirms(&[(ETAG, condition)], &entry);
        Ok(())
    });
}
