//! Fields, lists and cookies as values.

use edgeweir::exchange::{Edit, cookie, is_token, join_lines, list, trim};
use edgeweir::platform::edits_text;
use http::header::{ACCEPT, HeaderName, VARY};
use proptest::prelude::*;

use crate::fake::check;

#[test]
fn lines_of_one_field_are_combined_in_order() {
    let fields = vec![
        (VARY, "a".to_owned()),
        (ACCEPT, "x".to_owned()),
        (VARY, "b, c".to_owned()),
        (VARY, String::new()),
    ];
    assert_eq!(join_lines(&fields, &VARY).as_deref(), Some("a, b, c, "));
    assert_eq!(join_lines(&fields, &ACCEPT).as_deref(), Some("x"));
    assert_eq!(join_lines(&fields, &http::header::HOST), None);
}

#[test]
fn lists_are_trimmed_and_have_no_empty_members() {
    assert_eq!(list(" a ,,\tb c\t, ").collect::<Vec<_>>(), ["a", "b c"]);
    assert_eq!(list("").count(), 0);
    assert_eq!(trim("\t a\u{a0} "), "a\u{a0}");
}

#[test]
fn tokens_are_those_of_rfc_9110() {
    for good in ["a", "A-1", "!#$%&'*+-.^_`|~"] {
        assert!(is_token(good), "{good}");
    }
    for bad in
        ["", " ", "a b", "a,b", "a;b", "a=b", "\"a\"", "(a)", "a/b", "a:b", "@", "[", "é", "a\0", "\u{7f}"]
    {
        assert!(!is_token(bad), "{bad:?}");
    }
}

#[test]
fn a_cookie_is_found_by_its_exact_name() {
    for (field, found) in [
        ("weir=1", Some("1")),
        ("a=b; weir=1", Some("1")),
        ("a=b;weir=1;c=d", Some("1")),
        ("weir=1; weir=2", Some("1")),
        ("weir=\"1\"", Some("1")),
        ("weir=", Some("")),
        ("weir=a=b", Some("a=b")),
        // Two Cookie lines, as the runtime joins them.
        ("a=b, weir=1", Some("1")),
        ("weir", None),
        ("Weir=1", None),
        ("xweir=1", None),
        ("weir =1", None),
        ("", None),
        (";;,,=;", None),
        ("=weir", None),
        ("a=weir=1", None),
        ("weir=\"", Some("\"")),
    ] {
        assert_eq!(cookie(field, "weir"), found, "{field:?}");
    }
}

#[test]
fn cookie_garbage_never_panics_and_gives_a_part_of_the_field() {
    check(1_000, any::<String>(), |field| {
        if let Some(value) = cookie(&field, "weir") {
            prop_assert!(field.contains(value));
            prop_assert!(!value.contains([';', ',']));
        }
        Ok(())
    });
}

#[test]
fn a_cookie_is_found_among_any_others() {
    let pair = "[a-z]{1,5}=[A-Za-z0-9%]{0,6}";
    let others =
        || proptest::collection::vec(pair.prop_filter("another", |pair| !pair.starts_with("w=")), 0..4);
    check(500, (others(), "[0-9a-f]{0,8}", others(), prop::bool::ANY), |(before, value, after, comma)| {
        let all: Vec<String> = before.into_iter().chain([format!("w={value}")]).chain(after).collect();
        let field = all.join(if comma { ", " } else { "; " });
        prop_assert_eq!(cookie(&field, "w"), Some(value.as_str()));
        Ok(())
    });
}

#[test]
fn edits_are_one_line_each() {
    let edits = [
        Edit::Set(VARY, "a: b".to_owned()),
        Edit::Append(ACCEPT, "=x".to_owned()),
        Edit::Remove(VARY),
        Edit::Set(ACCEPT, String::new()),
    ];
    assert_eq!(edits_text(&edits), "=vary:a: b\n+accept:=x\n-vary\n=accept:");
    assert_eq!(edits_text(&[]), "");
}

/// A line break in a value would begin another edit.
#[test]
fn no_value_can_smuggle_an_edit() {
    let name = || prop::sample::select(vec![VARY, ACCEPT, HeaderName::from_static("x-a")]);
    let one = prop_oneof![
        (name(), any::<String>()).prop_map(|(name, value)| Edit::Set(name, value)),
        (name(), "[a\r\n\0=+-]{0,6}").prop_map(|(name, value)| Edit::Append(name, value)),
        name().prop_map(Edit::Remove),
    ];
    check(500, prop::collection::vec(one, 0..8), |edits| {
        let text = edits_text(&edits);
        let safe = |edit: &&Edit| match edit {
            Edit::Set(_, value) | Edit::Append(_, value) => !value.contains(['\r', '\n', '\0']),
            Edit::Remove(_) => true,
        };
        let safe: Vec<&Edit> = edits.iter().filter(safe).collect();
        let lines: Vec<&str> = if text.is_empty() { Vec::new() } else { text.split('\n').collect() };
        prop_assert_eq!(lines.len(), safe.len());
        for (line, edit) in lines.iter().zip(safe) {
            let expected = match edit {
                Edit::Set(name, value) => format!("={name}:{value}"),
                Edit::Append(name, value) => format!("+{name}:{value}"),
                Edit::Remove(name) => format!("-{name}"),
            };
            prop_assert_eq!(*line, expected);
        }
        Ok(())
    });
}
