//! The tier `global`: what it keeps, under what, and what it does not take
//! back.

use std::collections::BTreeSet;

use edgeweir::stages::cache::entry::Entry;
use edgeweir::stages::cache::global::{Global, Removed, entry, head, name};
use edgeweir::stages::cache::key;
use edgeweir::stages::cache::range::{Part, Span};
use proptest::prelude::*;

use super::at;
use crate::fake::check;

fn primary(target: &str) -> String {
    key::primary("production", "route", "app", "", ("https", "app.example", target))
}

#[test]
fn what_stays_fresh_for_long_is_kept() {
    let global = Global { max_body: 10, lifetime: 300 };
    let taken = |lifetime, initial_age| global.takes(&Entry { lifetime, initial_age, ..Entry::default() });
    assert!(taken(300, 0) && taken(400, 100));
    assert!(!taken(299, 0) && !taken(400, 101) && !taken(0, 0) && !taken(10, 20));
    let lasting = Entry { lifetime: 600, ..Entry::default() };
    assert!(!global.takes(&Entry { validate_always: true, ..lasting.clone() }));
    let part = Some(Part { span: Span { first: 0, last: 1 }, complete: Some(10) });
    assert!(!global.takes(&Entry { part, ..lasting }));
}

#[test]
fn a_name_is_the_key_or_its_hash() {
    assert_eq!(name(&primary("/a")).as_deref(), Some("cache/production/route/app/~/https/app.example/a"));
    let at_limit = |more: usize| {
        let base = name(&primary("/")).unwrap().len();
        name(&primary(&format!("/{}", "x".repeat(512 - base + more)))).unwrap()
    };
    assert_eq!(at_limit(0).len(), 512);
    let hashed = at_limit(1);
    assert!(hashed.starts_with("cache/#") && hashed.len() == 71, "{hashed}");
    assert!(hashed.bytes().all(|byte| byte.is_ascii_graphic()));
    // A variant has a name of its own, a part has none.
    let variant = key::secondary(&primary("/a"), at(1), &[]);
    assert!(name(&variant).unwrap().starts_with("cache/~"));
    assert_eq!(name(&key::part(&primary("/a"))), None);
}

#[test]
fn no_two_keys_share_a_name() {
    let long = "x".repeat(600);
    let targets = ["/a", "/a?", "/b", &format!("/{long}"), &format!("/{long}x"), &format!("/y{long}")];
    let names: BTreeSet<String> = targets.iter().filter_map(|target| name(&primary(target))).collect();
    assert_eq!(names.len(), targets.len());
}

/// Whatever stands there, it answers for its own key alone.
#[test]
fn a_value_is_its_keys_alone() {
    assert_eq!(entry(&head("k", "{}"), "k"), Some("{}"));
    for (found, key) in [("k\n{}", "other"), ("k\n{}", ""), ("k", "k"), ("", "k"), ("kk\n{}", "k")] {
        assert_eq!(entry(found, key), None, "{found:?}");
    }
    check(300, ("[ -~]{0,40}", "[ -~]{0,40}", "[ -~\n]{0,80}"), |(key, other, text)| {
        let value = head(&key, &text);
        prop_assert_eq!(entry(&value, &key), Some(text.as_str()));
        prop_assert_eq!(entry(&value, &other).is_some(), key == other);
        Ok(())
    });
}

#[test]
fn what_was_removed_is_not_taken_back() {
    let mut removed = Removed::new(7);
    assert!(!removed.holds("a", at(5), at(10)));
    removed.note("a", at(10));
    assert!(removed.holds("a", at(5), at(10)) && removed.holds("a", at(10), at(11)));
    // What arrived after it, another name, and after ten minutes.
    assert!(!removed.holds("a", at(11), at(12)) && !removed.holds("b", at(5), at(12)));
    assert!(removed.holds("a", at(5), at(609)) && !removed.holds("a", at(5), at(610)));
    removed.note("a", at(20));
    assert!(removed.holds("a", at(15), at(21)));
}

/// What is too much to remember counts as removed.
#[test]
fn a_flood_of_removals_forgets_none() {
    let mut removed = Removed::new(7);
    removed.note("first", at(1));
    for nth in 0..10_000 {
        removed.note(&nth.to_string(), at(2));
    }
    assert!(removed.holds("first", at(0), at(3)) && removed.holds("9999", at(0), at(3)));
    assert!(removed.holds("never seen", at(2), at(3)) && !removed.holds("never seen", at(3), at(3)));
}
