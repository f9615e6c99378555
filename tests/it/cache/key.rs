//! Under what an answer is stored.

use edgeweir::stages::cache::CacheStage;
use edgeweir::stages::cache::entry::Entry;
use edgeweir::stages::cache::key::{Index, normal_escapes, part, place, primary, secondary, shown};
use edgeweir::stages::cache::range::{Part, Span};
use edgeweir::stages::cache::vary::Selector;
use edgeweir::time::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{at, stage};
use crate::fake::check;

#[test]
fn keys_never_run_together() {
    let name = "[A-Za-z0-9_-]{1,3}";
    let one = || {
        (
            name,
            name,
            name,
            prop::option::of(name),
            prop::sample::select(vec!["http", "https"]),
            "[a-z.:0-9]{1,4}",
            "/[a-z/?%-]{0,4}",
        )
    };
    check(1_000, (one(), one()), |(a, b)| {
        let made = |(environment, route, upstream, variant, scheme, authority, target): &(
            String,
            String,
            String,
            Option<String>,
            &str,
            String,
            String,
        )| {
            primary(
                environment,
                route,
                upstream,
                variant.as_deref().unwrap_or_default(),
                (scheme, authority, target),
            )
        };
        prop_assert_eq!(made(&a) == made(&b), a == b);
        prop_assert!(part(&made(&a)) != made(&b));
        prop_assert!(secondary(&made(&a), at(0), &[]) != made(&b));
        Ok(())
    });
}

/// A variant may be called `-`; it must not share entries with no variant.
#[test]
fn no_variant_has_a_key_of_its_own() {
    let url = ("https", "a.example", "/");
    assert_ne!(primary("e", "r", "u", "-", url), primary("e", "r", "u", "", url));
}

#[test]
fn a_key_is_a_url_that_keeps_the_target() {
    let key = primary("local", "r", "u", "v", ("https", "a.example:8443", "//b/%61?c=/d"));
    assert!(key.ends_with("/local/r/u/v/https/a.example:8443//b/%61?c=/d"), "{key}");
    for key in [part(&key), secondary(&key, at(0), &[]), key] {
        assert_eq!(url::Url::parse(&key).unwrap().as_str(), key);
    }
}

fn by(values: &[(&str, Option<&str>)]) -> Vec<(Selector, Option<String>)> {
    let pair = |(name, value): &(&str, Option<&str>)| {
        (Selector::Field((*name).to_owned()), value.map(str::to_owned))
    };
    values.iter().map(pair).collect()
}

#[test]
fn secondary_keys_tell_values_and_generations_apart() {
    let all = [
        by(&[]),
        by(&[("a", None)]),
        by(&[("a", Some(""))]),
        by(&[("a", Some("b"))]),
        by(&[("ab", Some(""))]),
        by(&[("a", Some("b")), ("c", None)]),
        by(&[("a", None), ("c", Some("b"))]),
    ];
    let mut keys: Vec<String> = all.iter().map(|by| secondary("p", at(0), by)).collect();
    keys.extend(all.iter().map(|by| secondary("p", at(1), by)));
    let count = keys.len();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), count);
}

#[test]
fn the_first_answer_has_the_primary_key_and_others_their_own() {
    let entry =
        |values: &[(&str, Option<&str>)]| Entry { selected_by: by(values), since: at(0), ..Entry::default() };
    let first = entry(&[("a", Some("1"))]);
    assert_eq!(place("p", None, &first), "p");
    let index = Index::of(&first);
    assert_eq!(place("p", Some(&index), &first), "p");
    let other = entry(&[("a", Some("2"))]);
    assert_eq!(place("p", Some(&index), &other), secondary("p", at(0), &other.selected_by));
    // The origin tells its answers apart by other fields now.
    assert_eq!(place("p", Some(&index), &entry(&[("b", Some("2"))])), "p");
    assert_eq!(place("p", Some(&index), &entry(&[])), "p");
    let some = Entry { part: Some(Part { span: Span { first: 0, last: 1 }, complete: None }), ..other };
    assert_eq!(place("p", Some(&index), &some), part("p"));
}

fn kept(query: &Value, target: &str) -> String {
    stage(&json!({"key": {"query": query}})).query.apply(target).into_owned()
}

#[test]
fn a_route_chooses_among_parameters() {
    let target = "/a?b=2&utm_source=x&a=1&b=1&gclid=y&c";
    assert_eq!(kept(&json!({}), target), target);
    assert_eq!(kept(&json!({"preset": "tracking"}), target), "/a?b=2&a=1&b=1&c");
    assert_eq!(kept(&json!({"sort": true}), target), "/a?a=1&b=2&b=1&c&gclid=y&utm_source=x");
    assert_eq!(kept(&json!({"include": ["a", "c"]}), target), "/a?a=1&c");
    assert_eq!(kept(&json!({"include": ["b", "utm_*"], "exclude": ["utm_source"]}), target), "/a?b=2&b=1");
    assert_eq!(kept(&json!({"include": []}), target), "/a");
    assert_eq!(kept(&json!({"exclude": ["*"]}), target), "/a");
    assert_eq!(kept(&json!({"sort": true}), "/a"), "/a");
    // No spelling of a name gets past a rule.
    assert_eq!(kept(&json!({"exclude": ["a b"]}), "/?a+b=1&a%20b=2&%61%20b&c"), "/?c");
    assert_eq!(kept(&json!({"preset": "tracking"}), "/?%75tm_source=1&c=%zz&%=1&d%4"), "/?c=%zz&%=1&d%4");
}

/// RFC 3986, 6.2.2.1 and 6.2.2.2.
#[test]
fn escapes_have_a_normal_form() {
    for (text, normal) in [
        ("/a", "/a"),
        ("/%61%2d%7E", "/a-~"),
        ("/%c3%a9%2f%5c%00", "/%C3%A9%2F%5C%00"),
        ("/%25%36%31", "/%2561"),
        // What begins no escape could make one with what is decoded behind it.
        ("/%2%65%61", "/%2%65%61"),
        ("/%zz%61", "/%zz%61"),
        ("/%61%", "/%61%"),
        ("/%6", "/%6"),
        ("/%+1", "/%+1"),
    ] {
        assert_eq!(normal_escapes(text), normal, "{text}");
    }
    check(2_000, "[a%/2567eE?é]{0,12}", |text| {
        let once = normal_escapes(&text).into_owned();
        prop_assert_eq!(normal_escapes(&once), once.as_str());
        Ok(())
    });
}

#[test]
fn the_query_is_left_alone_where_no_rule_is_about_it() {
    let plain = CacheStage::default();
    for (sent, stored) in [
        ("/%61?%61=%2f", "/a?%61=%2f"),
        ("/a?%61", "/a?%61"),
        ("/%61", "/a"),
        ("/a?b%", "/a?b%"),
        ("/%?%61", "/%?%61"),
    ] {
        assert_eq!(plain.as_stored(sent), stored);
    }
    let sorted = stage(&json!({"key": {"query": {"sort": true}}}));
    assert_eq!(sorted.as_stored("/%61?b=%2f&%61=1"), "/a?a=1&b=%2F");
    // Slashes and dots are no escapes: other paths stay other paths.
    for other in ["//a", "/a/", "/a//b", "/a;b", "/A"] {
        assert_eq!(plain.as_stored(other), other);
    }
}

#[test]
fn a_key_is_shown_as_a_hash() {
    let shown = [shown("a"), shown("b"), shown("a")];
    assert!(shown[0] == shown[2] && shown[0] != shown[1] && shown[0].len() == 32);
    assert!(shown.iter().all(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit())));
    let stage = stage(&json!({"status_key": true}));
    assert_eq!(stage.said("x".to_owned(), "a"), format!("x; key=\"{}\"", shown[0]));
    assert_eq!(CacheStage::default().said("x".to_owned(), "a"), "x");
}

/// A value of a cookie or a field may be guessed; so nothing that people see is
/// made of it.
#[test]
fn what_selects_is_no_part_of_what_is_shown() {
    let key = primary("prod", "r", "app", "", ("https", "a.example", "/~x/y?z"));
    let by = |value: &str| vec![(Selector::Cookie("id".to_owned()), Some(value.to_owned()))];
    let since = Timestamp::from_millis(1_234);
    for other in [secondary(&key, since, &by("1")), secondary(&key, since, &by("2")), part(&key)] {
        assert_ne!(other, key);
        assert_eq!(shown(&other), shown(&key), "{other}");
    }
    let next = primary("prod", "r", "app", "", ("https", "a.example", "/~x/y?w"));
    assert_ne!(shown(&next), shown(&key));
}

/// What is stored under a key was asked for by that key.
#[test]
fn choosing_twice_changes_nothing() {
    let rules = json!({"preset": "tracking", "exclude": ["x*"], "sort": true});
    check(1_000, "/[a-b]{0,2}(\\?([a-cx]{0,2}(=[a-c%0-9]{0,3})?&?){0,4})?", |target| {
        let once = kept(&rules, &target);
        prop_assert_eq!(kept(&rules, &once), once);
        Ok(())
    });
    assert!(CacheStage::default().query.apply("/?utm_source=x").ends_with("=x"));
}
