//! What a change makes void (RFC 9111, 4.4).

use edgeweir::stages::cache::invalidation::{is_change, related};
use edgeweir::stages::target::parse;
use proptest::prelude::*;

use crate::fake::check;

#[test]
fn section_4_4_errors_change_nothing() {
    assert!([200, 201, 204, 299, 301, 303, 399].into_iter().all(is_change));
    assert!([199, 400, 404, 500, 503, 599].into_iter().all(|status| !is_change(status)));
}

#[test]
fn section_4_4_references_of_the_same_origin() {
    let target = parse("https://a.example/b/c?d", None).unwrap();
    for (reference, expected) in [
        ("/x", Some("https://a.example/x")),
        ("/x?y#z", Some("https://a.example/x?y")),
        ("x", Some("https://a.example/b/x")),
        ("../x", Some("https://a.example/x")),
        ("./x/./y/..", Some("https://a.example/b/x/")),
        ("../../../x", Some("https://a.example/x")),
        ("?y", Some("https://a.example/b/c?y")),
        ("https://a.example/x", Some("https://a.example/x")),
        ("https://A.example:443/x", Some("https://A.example:443/x")),
        ("https://a.example", Some("https://a.example/")),
        ("https://a.example?q", Some("https://a.example/?q")),
        ("//a.example/x", Some("https://a.example/x")),
        ("http://a.example/x", None),
        ("https://b.example/x", None),
        ("https://a.example:444/x", None),
        ("//b.example/x", None),
        ("mailto:a@a.example", None),
        ("https://u@a.example/x", None),
        ("", None),
        ("#z", None),
    ] {
        assert_eq!(related(&target, reference).as_deref(), expected, "{reference}");
    }
}

/// The oracle is the `url` crate, which reads references as browsers do.
#[test]
fn references_resolve_as_elsewhere() {
    let target = parse("https://a.example/b/c?d", None).unwrap();
    let base = url::Url::parse("https://a.example/b/c?d").unwrap();
    check(2_000, "(/|\\.\\./|\\./|[a-c]{1,2}/?){1,5}(\\?[a-c]{0,2})?", |reference| {
        // Elsewhere two slashes in a row begin an authority, or are kept.
        prop_assume!(!reference.starts_with("//"));
        let expected = base.join(&reference).unwrap().to_string();
        prop_assert_eq!(related(&target, &reference), Some(expected), "{}", reference);
        Ok(())
    });
}

#[test]
fn no_text_panics() {
    let target = parse("https://a.example/b/c?d", None).unwrap();
    check(2_000, any::<String>(), |reference| {
        if let Some(url) = related(&target, &reference) {
            prop_assert_eq!(parse(&url, None).unwrap().host, "a.example");
        }
        Ok(())
    });
}
