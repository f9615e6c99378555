//! The forms in which URLs, prefixes and tags are compared.

use edgeweir::purge::url::{URL_LIMIT, parse_prefix, parse_url, url_of};
use edgeweir::purge::{TAG_LIMIT, TAGS_LIMIT, TooManyTags, parse_tag, tags_of};
use proptest::prelude::*;

use crate::fake::check;

#[test]
fn a_url_has_one_form() {
    for (text, form) in [
        ("https://a.example/", "https://a.example/"),
        ("https://A.Example.:443/x/", "https://a.example/x"),
        ("http://a.example:80//x//y", "http://a.example/x/y"),
        ("https://a.example:8443/x", "https://a.example:8443/x"),
        ("https://[2001:DB8::1]/x", "https://[2001:db8::1]/x"),
        ("https://a.example/%7euser/%2f/%c3%a4", "https://a.example/~user/%2F/%C3%A4"),
        ("https://a.example/ä", "https://a.example/%C3%A4"),
        ("https://a.example/?b=2&&a=1&", "https://a.example/?a=1&b=2"),
        ("https://a.example/x?", "https://a.example/x"),
        ("https://a.example/x?q=%7e%2f%zz%", "https://a.example/x?q=~%2F%zz%"),
        ("https://a.example/x?q=ä", "https://a.example/x?q=%C3%A4"),
    ] {
        assert_eq!(parse_url(text).as_deref(), Some(form), "{text}");
    }
    for text in [
        "",
        "/x",
        "a.example/x",
        "ftp://a.example/x",
        "https://a.example",
        "https://user@a.example/x",
        "https://a.example/x#y",
        "https://a.example/../x",
        "https://a.example/x y",
        "https://ä.example/x",
        "https:///x",
    ] {
        assert_eq!(parse_url(text), None, "{text}");
    }
    let long = |length: usize| format!("https://a.example/{}", "x".repeat(length - 18));
    assert!(parse_url(&long(URL_LIMIT)).is_some() && parse_url(&long(URL_LIMIT + 1)).is_none());
    assert!(parse_prefix(&long(URL_LIMIT)).is_some() && parse_prefix(&long(URL_LIMIT + 1)).is_none());
    // Escapes are longer than what they stand for.
    assert!(parse_url(&format!("https://a.example/{}", "ä".repeat(900))).is_none());
}

#[test]
fn a_prefix_has_a_host_and_no_query() {
    for (text, form) in [
        ("https://A.example/", "https://a.example/"),
        ("https://a.example/blog/", "https://a.example/blog/"),
        ("https://a.example/blog", "https://a.example/blog"),
        ("https://a.example//blog//", "https://a.example/blog/"),
        ("https://a.example/blog?", "https://a.example/blog?"),
    ] {
        assert_eq!(parse_prefix(text).as_deref(), Some(form), "{text}");
    }
    for text in
        ["", "https://", "https://a.exam", "/blog", "https://a.example/blog?q=1", "https://a.example/#"]
    {
        assert_eq!(parse_prefix(text), None, "{text}");
    }
}

/// Whatever a request is stored under, the URL that a person copies finds it.
#[test]
fn the_form_of_a_request_is_that_of_its_url() {
    let target = "/[a-z/%-]{0,8}(\\?[a-z&=%~]{0,8})?";
    check(2_000, target, |target| {
        let form = url_of("https", "a.example", &target);
        match parse_url(&format!("https://a.example{target}")) {
            Some(url) => prop_assert_eq!(&url, &form),
            // The gateway refuses it.
            None => prop_assert_eq!(format!("https://a.example{target}"), form.clone()),
        }
        // And it is a form: it does not change again.
        prop_assert_eq!(parse_url(&form).unwrap_or_else(|| form.clone()), form);
        Ok(())
    });
}

#[test]
fn tags_are_separated_by_commas_and_spaces_and_have_no_case() {
    assert_eq!(tags_of(["News, sport,,", "news  a:b\tc"]).unwrap(), ["a:b", "c", "news", "sport"]);
    assert_eq!(tags_of([]).unwrap(), [""; 0]);
    // No purge can name these.
    assert_eq!(tags_of(["ä", &"x".repeat(TAG_LIMIT + 1)]).unwrap(), [""; 0]);
    assert_eq!(parse_tag("News").as_deref(), Some("news"));
    assert!(parse_tag(&"x".repeat(TAG_LIMIT)).is_some());
    for text in ["", "a b", "a,b", "ä", "a\u{7f}", &"x".repeat(TAG_LIMIT + 1)] {
        assert_eq!(parse_tag(text), None, "{text}");
    }
    let many = |count: usize| (0..count).map(|number| number.to_string()).collect::<Vec<_>>().join(",");
    assert_eq!(tags_of([many(TAGS_LIMIT).as_str()]).unwrap().len(), TAGS_LIMIT);
    assert_eq!(tags_of([many(TAGS_LIMIT).as_str(), "1 2"]).unwrap().len(), TAGS_LIMIT);
    assert_eq!(tags_of([many(TAGS_LIMIT + 1).as_str()]), Err(TooManyTags));
}
