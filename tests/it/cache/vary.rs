//! What selects among the answers to one URI (RFC 9111, 4.1).

use edgeweir::stages::cache::entry::Entry;
use edgeweir::stages::cache::key::Index;
use edgeweir::stages::cache::vary::{Selector, ignored, is_selected, normal, selectors, values};
use edgeweir::stages::cache::{CacheStage, NotStored};
use proptest::prelude::*;
use serde_json::json;

use super::{Fields, lines, stage};
use crate::fake::{With, check, get};

fn names(stage: &CacheStage, fields: Fields<'_>) -> Result<Vec<String>, NotStored> {
    Ok(selectors(&lines(fields), stage, None)?.iter().map(ToString::to_string).collect())
}

#[test]
fn section_4_1_a_star_anywhere_selects_nothing() {
    for bad in ["*", "*, *", ", *", "*, Foo", "Foo, *", "a b", "a;b", "é"] {
        assert_eq!(names(&CacheStage::default(), &[("Vary", bad)]), Err(NotStored::Vary), "{bad}");
    }
    let stage = CacheStage::default();
    assert_eq!(names(&stage, &[("Vary", ""), ("Vary", "*")]), Err(NotStored::Vary));
    assert_eq!(names(&stage, &[("Vary", "x-b,, ACCEPT"), ("Vary", "Accept")]).unwrap(), ["accept", "x-b"]);
    let many = (0..17).map(|index| format!("x-{index}")).collect::<Vec<_>>().join(",");
    assert_eq!(names(&stage, &[("Vary", &many)]), Err(NotStored::Vary));
    assert_eq!(names(&stage, &[("Vary", "Forwarded")]), Err(NotStored::Vary));
}

#[test]
fn an_encoded_answer_is_selected_by_accept_encoding() {
    let stage = CacheStage::default();
    assert_eq!(names(&stage, &[("Content-Encoding", "gzip")]).unwrap(), ["accept-encoding"]);
    assert_eq!(names(&stage, &[("Content-Encoding", " Identity ")]).unwrap(), [""; 0]);
    // Beside it, one that is not encoded is selected so as well.
    let by = vec![(Selector::Field("accept-encoding".to_owned()), None)];
    let index = Index::of(&Entry { selected_by: by, ..Entry::default() });
    assert_eq!(selectors(&[], &stage, Some(&index)).unwrap(), index.selectors);
}

#[test]
fn a_route_names_what_is_ignored_and_what_counts() {
    let own = stage(
        &json!({"vary": {"ignore": ["User-Agent"]}, "key": {"headers": ["X-Shop"], "cookies": ["sid"]}}),
    );
    assert_eq!(names(&own, &[("Vary", "User-Agent, Accept")]).unwrap(), ["accept", "x-shop", "cookie:sid"]);
    assert_eq!(names(&own, &[("Vary", "*")]), Err(NotStored::Vary));
}

#[test]
fn section_4_1_values_that_mean_the_same() {
    for (name, one, other, same) in [
        ("foo", "1,2", " 1 ,\t2 ", true),
        ("foo", "1, 2", "2, 1", false),
        ("foo", "a", "A", false),
        ("accept-language", "en, de", "de, en", true),
        ("accept-language", "en, de;q=0.5", "de;q=0.5,EN", true),
        ("accept-language", "en;q=1.0, de", "de;q=1,en;q=1.000", true),
        ("accept-language", "en, de;q=0.5", "de, en;q=0.5", false),
        ("accept-language", "en", "en, de", false),
        ("accept-encoding", "gzip, br", "br,gzip", true),
        ("accept-encoding", "gzip;q=0", "gzip", false),
        ("accept-encoding", "gzip;q=2", "gzip", false),
        ("accept", "text/html;level=1, */*;q=0.10", "*/*;q=0.1,text/html;level=1", true),
        ("accept", "a/b;x=\"1,2\"", "a/b;x=\"2,1\"", false),
    ] {
        let name = name.parse().unwrap();
        assert_eq!(normal(&name, one) == normal(&name, other), same, "{name}: {one} / {other}");
    }
}

#[test]
fn section_4_1_absent_and_empty_differ() {
    let stage = CacheStage::default();
    let by = |head| values(vec![Selector::Field("foo".to_owned())], head, &CacheStage::default()).unwrap();
    let entry = |head| Entry { selected_by: by(head), ..Entry::default() };
    let (absent, empty, one) = (get("/"), get("/").with("Foo", ""), get("/").with("Foo", "1"));
    for (stored, asked) in [(&absent, &empty), (&empty, &one), (&one, &absent)] {
        assert!(!is_selected(&entry(stored), asked, &stage));
        assert!(is_selected(&entry(stored), stored, &stage));
    }
    // Several lines are one list.
    let two = get("/").with("Foo", "1").with("Foo", "2");
    assert!(is_selected(&entry(&get("/").with("Foo", "1, 2")), &two, &stage));
}

/// RFC 9110, 8.5, 12.5.4: no other answer can suit the client better.
#[test]
fn section_12_5_4_the_favourite_language_is_selected() {
    let selected_by = vec![(Selector::Field("accept-language".to_owned()), Some("de,en".to_owned()))];
    let entry =
        |fields| Entry { selected_by: selected_by.clone(), fields: lines(fields), ..Entry::default() };
    let german = entry(&[("Content-Language", "de")]);
    for (accepted, expected) in [
        ("fr;q=0.5, de;q=1.0", true),
        ("DE", true),
        ("de, fr;q=0.999, *;q=0.1", true),
        ("de;q=0.01, fr;q=0.001", true),
        ("fr, de", false),
        ("fr, de;q=0.5", false),
        ("de;q=0", false),
        ("de-AT", false),
        ("de;q=x", false),
        ("de;level=1", false),
        ("*", false),
        ("", false),
    ] {
        let head = get("/").with("Accept-Language", accepted);
        assert_eq!(is_selected(&german, &head, &CacheStage::default()), expected, "{accepted}");
    }
    let head = get("/").with("Accept-Language", "de");
    for fields in [&[][..], &[("Content-Language", "de, en")], &[("Content-Language", "")]] {
        assert!(!is_selected(&entry(fields), &head, &CacheStage::default()), "{fields:?}");
    }
    assert!(!is_selected(&german, &get("/"), &CacheStage::default()));
}

/// Bytes that are no UTF-8 all reach us as one character.
#[test]
fn a_garbled_value_selects_nothing() {
    let head = get("/").with("Foo", "\u{fffd}");
    assert_eq!(
        values(vec![Selector::Field("foo".to_owned())], &head, &CacheStage::default()),
        Err(NotStored::Vary)
    );
}

/// Of two cookies with one name, some origins take the first and some the last.
#[test]
fn a_cookie_that_stands_there_twice_selects_nothing() {
    let by = |cookies: &str| {
        let head = get("/").with("Cookie", cookies);
        values(vec![Selector::Cookie("sid".to_owned())], &head, &CacheStage::default())
            .map(|values| values[0].1.clone())
    };
    let some = |value: &str| Ok(Some(value.to_owned()));
    assert_eq!(
        (by("sid=a"), by("x=1; sid=\"a\""), by("sid"), by("x=1")),
        (some("a"), some("\"a\""), some(""), Ok(None))
    );
    for twice in ["sid=a; sid=b", "sid=a, sid=a", "sid; sid=a"] {
        assert_eq!(by(twice), Err(NotStored::Vary), "{twice}");
    }
}

/// Nor does one that only some origins read so: a comma separates nothing for
/// most, a quoted string may hide it ("cookie sandwich"), and names are changed.
#[test]
fn a_cookie_that_origins_read_differently_selects_nothing() {
    let by = |cookies: &str| {
        let head = get("/").with("Cookie", cookies);
        values(vec![Selector::Cookie("the_sid".to_owned())], &head, &CacheStage::default())
    };
    for doubtful in [
        "x=1, the_sid=a",
        "the_sid=a, x=1",
        "x=\"; the_sid=a; y=\"",
        "the_sid=\"a; x=1\"",
        "the_sid =a",
        "The_Sid=a",
        "the.sid=a",
        "the sid=a",
        "the[sid=a",
        "the%5Fsid=a",
        "%74he_sid=a",
        "the_sid=a; THE_SID=b",
    ] {
        assert_eq!(by(doubtful), Err(NotStored::Vary), "{doubtful}");
    }
    for sure in ["the_sid=a", "x=\"1\"; the_sid=a", "x=1, 2; the_sid=a", "the-sid=b; the_sid=a; thesid=c"] {
        assert_eq!(by(sure).unwrap()[0].1.as_deref(), Some("a"), "{sure}");
    }
    assert_eq!(by("x=1, y=\"; the-sid=a").unwrap()[0].1, None);
}

/// An entry from before the route had all of its keys serves nobody.
#[test]
fn an_entry_without_the_route_s_keys_is_not_selected() {
    let own = stage(&json!({"key": {"headers": ["X-Shop"]}}));
    assert!(!is_selected(&Entry::default(), &get("/"), &own));
    let keyed = Entry { selected_by: vec![(Selector::Field("x-shop".to_owned()), None)], ..Entry::default() };
    assert!(is_selected(&keyed, &get("/"), &own));
    assert!(!is_selected(&keyed, &get("/").with("X-Shop", "2"), &own));
}

/// What Vary names and the route ignores selects nothing, as long as it does:
/// afterwards nobody knows whom the answer is for.
#[test]
fn an_entry_that_ignores_what_counts_by_now_is_not_selected() {
    let own = stage(&json!({"vary": {"ignore": ["X-Shop", "X-Other"]}}));
    let fields = lines(&[("Vary", "x-shop, Accept"), ("Vary", "X-SHOP")]);
    assert_eq!(ignored(&fields, &own), ["x-shop"]);
    assert_eq!(ignored(&fields, &CacheStage::default()), [""; 0]);
    let head = get("/").with("Accept", "a");
    let by = values(selectors(&fields, &own, None).unwrap(), &head, &own).unwrap();
    let entry = Entry { selected_by: by, ignored: ignored(&fields, &own), ..Entry::default() };
    assert!(is_selected(&entry, &head.clone().with("X-Shop", "1"), &own));
    for (now, selected) in [
        (json!({"vary": {"ignore": ["X-Shop"]}}), true),
        (json!({"vary": {"ignore": ["X-Other"]}}), false),
        (json!({}), false),
    ] {
        assert_eq!(is_selected(&entry, &head, &stage(&now)), selected, "{now}");
        assert_eq!(Index::of(&entry).covers(&stage(&now)), selected, "{now}");
    }
}

#[test]
fn a_selector_survives_its_text() {
    for selector in [Selector::Field("x-a".to_owned()), Selector::Cookie("sid".to_owned())] {
        assert_eq!(Selector::parse(&selector.to_string()), Some(selector));
    }
    assert_eq!(Selector::parse("a b"), None);
}

/// The normal form of a normal form is itself.
#[test]
fn normalising_twice_changes_nothing() {
    let name = prop::sample::select(vec!["accept", "accept-language", "accept-encoding", "foo"]);
    let value = prop_oneof![any::<String>(), "[a-c*/]{1,3}(;q=[01](\\.[0-9]{0,3})?)?(, ?[a-c]{1,2}){0,3}"];
    check(2_000, (name, value), |(name, value)| {
        let name = name.parse().unwrap();
        let once = normal(&name, &value);
        prop_assert_eq!(normal(&name, &once), once);
        Ok(())
    });
}
