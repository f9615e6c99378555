//! Host and target, checked before any URL is built from them; the oracle for
//! what `fetch` sends is the `url` crate.

use edgeweir::error::Reason;
use edgeweir::stages::target::{EncodedSet, TARGET_LIMIT, normal_pattern, normalise, parse, parse_authority};
use proptest::prelude::*;
use url::Url;

use crate::fake::check;

fn normal(target: &str) -> Option<String> {
    normalise(target).ok().map(|(path, _)| path)
}

fn reason(url: &str, host: Option<&str>) -> Option<Reason> {
    parse(url, host).err().map(|reject| reject.reason)
}

#[test]
fn rule_1_a_host_is_lower_cased_without_final_dot_and_default_port() {
    for (url, host, authority) in [
        ("http://App.Example/", "App.Example", "app.example"),
        ("http://app.example./", "app.example.", "app.example"),
        ("http://app.example:80/", "app.example:80", "app.example"),
        ("https://app.example:443/", "app.example:443", "app.example"),
        ("https://app.example:80/", "app.example:80", "app.example:80"),
        ("http://app.example:/", "app.example:", "app.example"),
        ("http://app.example.:08080/", "app.example.:08080", "app.example:8080"),
        ("http://127.0.0.1:8787/", "127.0.0.1:8787", "127.0.0.1:8787"),
        ("http://[2001:DB8:0::1]:8080/", "[2001:DB8:0::1]:8080", "[2001:db8::1]:8080"),
        ("http://a_b.xn--p1ai/", "a_b.xn--p1ai", "a_b.xn--p1ai"),
        ("http://a:65535/", "a:65535", "a:65535"),
    ] {
        let target = parse(url, Some(host)).unwrap_or_else(|error| panic!("{url}: {error:?}"));
        assert_eq!(target.authority(), authority, "{url}");
        assert_eq!(parse(url, None).unwrap(), target, "{url}");
    }
}

#[test]
fn rule_1_anything_else_is_no_host() {
    let long_label = "a".repeat(64);
    let long_name = format!("{}a", "a.".repeat(126)); // 253
    let too_long = ["a".repeat(60).as_str(); 5].join(".");
    assert!(parse_authority(&long_name).is_some());
    for bad in [
        "",
        ".",
        "..",
        "a..b",
        ".a",
        "a b",
        "u:p@x",
        "a@b",
        "a@b/..",
        "x/foo",
        "x?q",
        "x#f",
        "x\\y",
        "a.test, b.test",
        "[::1",
        "::1",
        "[::1]x",
        "[::1]]",
        "[]",
        "[g::]",
        "[::1%25lo]",
        "[1.2.3.4]",
        "[::1]:",
        "a:b",
        "a:0",
        "a:65536",
        "a:99999",
        "a:100000",
        "a:000080",
        "a:-1",
        "a:+1",
        "a: 80",
        "a:80:80",
        "a%00",
        "a%2eb",
        "é",
        "a\u{3002}b",
        "*.a",
        "0x7f.1",
        "0x7f000001",
        "2130706433",
        "127.1",
        "127.0.0.01",
        "1.2.3.4.5",
        "256.1.1.1",
        "0x",
        "a.0x",
        "a.1",
        "1.2.3.0x4",
        "09",
        &long_label,
        &too_long,
    ] {
        // An empty port is the default port, also behind brackets.
        if bad == "[::1]:" {
            assert!(parse_authority(bad).is_some());
            continue;
        }
        assert_eq!(parse_authority(bad), None, "{bad:?}");
        let url = format!("http://{bad}/");
        assert_eq!(reason(&url, Some(bad)), Some(Reason::InvalidHost), "{bad:?}");
    }
}

#[test]
fn rule_1_a_long_host_is_refused() {
    let host = "a".repeat(300);
    assert_eq!(reason(&format!("http://{host}/"), Some(&host)), Some(Reason::InvalidHost));
}

/// What follows the Host field is the target, whatever it looks like.
#[test]
fn rule_1_the_host_field_bounds_the_authority() {
    assert_eq!(reason("http://good.example/x", Some("other.example")), Some(Reason::InvalidHost));
    assert_eq!(reason("http://good.example/x", Some("good.example/x/y")), Some(Reason::InvalidHost));
    assert_eq!(reason("http://good.example/x", Some("good.exampl")), Some(Reason::InvalidTarget));
    assert_eq!(reason("http://a@b/..", Some("a@b/..")), Some(Reason::InvalidHost));
    assert_eq!(reason("http://é/", Some("x")), Some(Reason::InvalidHost));
    assert_eq!(parse("http://good.example/x", Some("GOOD.example")).unwrap().as_sent, "/x");
}

#[test]
fn the_scheme_is_http_or_https() {
    for bad in ["", "x", "ftp://a/", "HTTP://a/", "//a/", "http:/a", "javascript://a/"] {
        assert_eq!(reason(bad, None), Some(Reason::InvalidTarget), "{bad:?}");
    }
}

#[test]
fn rule_2_a_target_that_would_be_rewritten_is_refused() {
    for bad in [
        "",
        "*",
        "a",
        "?q",
        "/.",
        "/..",
        "/./",
        "/../",
        "/a/..",
        "/a/../b",
        "/a/./b",
        "/%2e",
        "/%2E%2e/admin",
        "/.%2e/",
        "/a/%2e%2e/admin",
        "/a\\b",
        "/\\",
        "/a/..\\b",
        "/a#b",
        "/a?b#c",
        "/a b",
        "/a?b c",
        "/a\tb",
        "/a\n",
        "/a\0",
        "/é",
        "/a?é",
        "/\u{7f}",
        "/a/..?b",
    ] {
        assert_eq!(normal(bad), None, "{bad:?}");
    }
    for good in [
        "/...",
        "/.a",
        "/a.",
        "/..a",
        "/a..",
        "/%2e%2e%2e",
        "/a?b=../c",
        "/?a\\b",
        "/%252e%252e/",
        "/.%252e/",
    ] {
        assert!(normal(good).is_some(), "{good:?}");
    }
}

/// Servlet containers cut off what follows a semicolon before they resolve
/// dot segments: they read `/x/..;/admin` as `/admin`.
#[test]
fn rule_2_a_dot_segment_with_parameters_is_refused() {
    for bad in
        ["/x/..;/admin", "/x/..;a=b/admin", "/x/%2e%2e;/admin", "/x/..%3b/admin", "/x/.;/admin", "/x/..;"]
    {
        assert_eq!(normal(bad), None, "{bad:?}");
    }
}

/// A route that takes `%2F` takes it as data; an origin that decodes it first
/// would walk up from there, whatever the route.
#[test]
fn rule_2_a_dot_segment_beside_an_encoded_slash_is_refused() {
    for bad in ["/x/..%2fadmin", "/x/a%2F..%2Fadmin", "/x/%2e%2e%5cadmin", "/x/a%2F..", "/x/..%00"] {
        assert_eq!(normal(bad), None, "{bad:?}");
    }
}

#[test]
fn rule_2_the_limit_is_inclusive() {
    let most = format!("/{}", "a".repeat(TARGET_LIMIT - 1));
    assert!(normal(&most).is_some());
    assert_eq!(normal(&format!("{most}a")), None);
    assert!(normal(&format!("/?{}", "a".repeat(TARGET_LIMIT - 2))).is_some());
}

#[test]
fn rule_3_spellings_of_one_path_have_one_normal_form() {
    for (target, form) in [
        ("/", "/"),
        ("//", "/"),
        ("/admin", "/admin"),
        ("//admin", "/admin"),
        ("/admin/", "/admin"),
        ("/admin//", "/admin"),
        ("///a///b///", "/a/b"),
        ("/%61dmin", "/admin"),
        ("/%61%64%6d%69%6E", "/admin"),
        ("/admin?x=/../", "/admin"),
        ("/%c3%a9", "/%C3%A9"),
        ("/%C3%a9", "/%C3%A9"),
        ("/%7e%2d%5f", "/~-_"),
        ("/%3b%40", "/;@"),
        ("/{a}", "/%7Ba%7D"),
        ("/\"", "/%22"),
        ("/|^`", "/%7C%5E%60"),
        ("/%252e", "/%252e"),
        ("/%2561dmin", "/%2561dmin"),
        ("/%20", "/%20"),
        ("/ADMIN", "/ADMIN"),
    ] {
        assert_eq!(normal(target).as_deref(), Some(form), "{target}");
    }
}

#[test]
fn rule_4_encoded_separators_are_kept_and_noted() {
    for (target, form, set) in [
        ("/a%2fb", "/a%2Fb", EncodedSet::SLASH),
        ("/a%5Cb", "/a%5Cb", EncodedSet::BACKSLASH),
        ("/a%00", "/a%00", EncodedSet::NUL),
        ("/a%2F%5c", "/a%2F%5C", EncodedSet::SLASH.and(EncodedSet::BACKSLASH)),
        ("/a?%2F%00", "/a", EncodedSet::default()),
        ("/a%252F", "/a%252F", EncodedSet::default()),
    ] {
        assert_eq!(normalise(target).unwrap(), (form.to_owned(), set), "{target}");
    }
    let all = EncodedSet::SLASH.and(EncodedSet::BACKSLASH).and(EncodedSet::NUL);
    assert!(
        EncodedSet::NUL.within(all) && all.within(all) && EncodedSet::default().within(EncodedSet::default())
    );
    assert!(!all.within(EncodedSet::SLASH) && !EncodedSet::NUL.within(EncodedSet::default()));
}

/// A percent sign that begins no escape must not make one with what is
/// decoded behind it: `%%32e` is `%` and `2e`, never an escaped dot.
#[test]
fn rule_3_a_stray_percent_sign_makes_no_escape() {
    for target in ["/%%32e%%32e", "/%%32f", "/%2%65", "/%zz", "/%", "/a%2"] {
        let (form, _) = normalise(target).unwrap();
        assert_eq!(normal(&form), Some(form), "{target}: the normal form of a normal form is itself");
    }
}

#[test]
fn the_path_as_sent_has_no_query() {
    let target = parse("http://a//b/%61?c?d", None).unwrap();
    assert_eq!(
        (target.as_sent, target.path_as_sent(), target.path.as_str()),
        ("//b/%61?c?d", "//b/%61", "/b/a")
    );
}

#[test]
fn patterns_may_hold_characters_outside_ascii() {
    assert_eq!(normal_pattern("/café/").as_deref(), Some("/caf%C3%A9"));
    assert_eq!(normal_pattern("/%61"), Some("/a".to_owned()));
    assert_eq!(normal_pattern("/a/../b"), None);
}

/// Pieces from which targets with a meaning are put together.
fn targets() -> impl Strategy<Value = String> {
    let pieces: Vec<&str> = vec![
        "/", "//", "a", "admin", ".", "..", "%2e", "%2E", "%2f", "%2F", "%5c", "\\", "%00", "%", "%%32e",
        "%25", "2e", ";", "?", "#", " ", "%20", "é", "%c3%a9", "{", "\"", "'", "|", "^", "`", "<", "+", "&",
        "=", "@", ":", "~", "\t", "%09", "[", "]", "*", "!", "\u{1}",
    ];
    let piece = prop_oneof![9 => prop::sample::select(pieces).prop_map(str::to_owned), 1 => any::<char>().prop_map(String::from)];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| format!("/{}", pieces.concat()))
}

/// What is matched is what the origin receives: the URL that `fetch` makes of
/// an accepted target keeps its segments, and has the same normal form.
#[test]
fn matching_equals_what_the_origin_receives() {
    check(4_000, targets(), |sent| {
        let Ok((form, _)) = normalise(&sent) else {
            return Ok(());
        };
        let url = Url::parse(&format!("http://origin.example{sent}")).unwrap();
        prop_assert_eq!(url.host_str(), Some("origin.example"));
        prop_assert_eq!(normal(url.path()), Some(form));
        let segments = |path: &str| path.split('/').count();
        prop_assert_eq!(segments(url.path()), segments(sent.split('?').next().unwrap()));
        Ok(())
    });
}

/// Every target whose segments `fetch` would change is refused.
#[test]
fn what_would_be_rewritten_is_refused() {
    check(4_000, targets(), |sent| {
        let url = Url::parse(&format!("http://origin.example{sent}")).unwrap();
        let path = sent.split(['?', '#']).next().unwrap();
        // The oracle: WHATWG URLs change the path by dot segments and
        // backslashes, drop tabs and line breaks, and escape the rest.
        if url.path().split('/').count() != path.split('/').count()
            || path.contains('\\')
            || url.fragment().is_some()
        {
            prop_assert!(normalise(&sent).is_err(), "{} goes out as {}", sent, url.path());
        }
        Ok(())
    });
}

#[test]
fn a_normal_form_is_normal() {
    check(4_000, targets(), |sent| {
        let Ok((form, encoded)) = normalise(&sent) else {
            return Ok(());
        };
        prop_assert_eq!(normalise(&form).ok(), Some((form.clone(), encoded)));
        Ok(())
    });
}

fn authorities() -> impl Strategy<Value = String> {
    let pieces = vec![
        "a", "A", "1", "0x7f", "127", ".", "..", ":", "80", "443", "8080", "0", "65536", "[", "]", "::1",
        "_", "-", "@", "/", "\\", "?", "#", "%61", "é", " ", "xn",
    ];
    let made = prop::collection::vec(prop::sample::select(pieces), 0..7).prop_map(|pieces| pieces.concat());
    prop_oneof![3 => made, 1 => any::<String>(), 1 => "[a-z0-9.:_-]{0,20}", 1 => "([0-9]{1,3}\\.){3}[0-9]{1,3}(:[0-9]{1,5})?"]
}

/// An accepted authority names the same host to `fetch`, and nothing but one.
#[test]
fn an_accepted_authority_is_read_alike_by_fetch() {
    check(4_000, authorities(), |text| {
        let Some((host, port)) = parse_authority(&text) else {
            return Ok(());
        };
        // Labels in Punycode that decode to nothing are refused by `fetch`
        // itself: no origin is reached.
        if host.contains("xn--") {
            return Ok(());
        }
        let url = Url::parse(&format!("http://{text}/p")).unwrap();
        let read = url.host_str().unwrap();
        prop_assert_eq!(read.strip_suffix('.').unwrap_or(read), host.as_str());
        prop_assert_eq!(url.port_or_known_default(), Some(port.unwrap_or(80)));
        prop_assert_eq!((url.path(), url.username(), url.password()), ("/p", "", None));
        let again = port.map_or(host.clone(), |port| format!("{host}:{port}"));
        prop_assert_eq!(parse_authority(&again), Some((host, port)));
        Ok(())
    });
}

#[test]
fn no_text_panics() {
    check(2_000, (any::<String>(), any::<Option<String>>()), |(url, host)| {
        let _ = (parse(&url, host.as_deref()), normalise(&url), parse_authority(&url), normal_pattern(&url));
        let _ = parse(&format!("https://{url}"), host.as_deref());
        if let Some(host) = host {
            let _ = parse(&format!("https://{host}/{url}"), Some(&host));
        }
        Ok(())
    });
}
