//! Fields, lists and cookies as values.

use edgeweir::exchange::{
    BotScore, Code, Edit, Label, RequestMetadata, TlsVersion, cookie, is_token, join_lines, list, trim,
};
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

#[test]
fn metadata_has_a_line_for_each_part() {
    let whole = "DE\nEU\n64496\nTLSv1.3\nAEAD-AES128-GCM-SHA256\n30\ntrue\nSearch Engine Crawler";
    let metadata = RequestMetadata {
        country: Code::parse("DE"),
        continent: Code::parse("EU"),
        asn: Some(64_496),
        tls_version: Some(TlsVersion::V1_3),
        tls_cipher: Label::parse("AEAD-AES128-GCM-SHA256"),
        bot_score: BotScore::new(30),
        verified_bot: Some(true),
        verified_bot_category: Label::parse("Search Engine Crawler"),
    };
    assert_eq!(RequestMetadata::parse(whole), metadata);
    assert!(!metadata.is_empty());
    for nothing in ["", "\n", "\n\n\n\n\n\n\n", "\n\n\n\n\n\n\n\n\nmore"] {
        assert!(RequestMetadata::parse(nothing).is_empty(), "{nothing:?}");
    }
    // What an older platform, or one without bot management, says.
    let few = RequestMetadata::parse("DE\nEU\n64496");
    assert_eq!(
        (few.country, few.asn, few.tls_version, few.verified_bot),
        (Code::parse("DE"), Some(64_496), None, None)
    );
}

/// What is no value is not known, and takes nothing else with it.
#[test]
fn each_part_of_the_metadata_is_checked_and_bounded() {
    let long = "x".repeat(64);
    let good = ["DE", "EU", "1", "TLSv1", "A", "1", "false", "B"];
    let known = |parts: &[&str]| {
        let read = RequestMetadata::parse(&parts.join("\n"));
        [
            read.country.is_some(),
            read.continent.is_some(),
            read.asn.is_some(),
            read.tls_version.is_some(),
            read.tls_cipher.is_some(),
            read.bot_score.is_some(),
            read.verified_bot.is_some(),
            read.verified_bot_category.is_some(),
        ]
    };
    assert_eq!(known(&good), [true; 8]);
    for (part, bad) in [
        (0, &["", "de", "DEU", "D", "1A", "é"][..]),
        (1, &["", "eu", "EUR", "Europe"]),
        (2, &["", "-1", "AS1", "4294967296", "1.5", " 1"]),
        (3, &["", "TLSv1.4", "tlsv1.3", "TLSv1.0", "SSLv3", "none", " TLSv1.3"]),
        (4, &["", &long, "a\u{7f}", "é", "\t"]),
        (5, &["", "0", "100", "255", "256", "-1", "1.5", "NaN"]),
        (6, &["", "1", "True", "yes", "null"]),
        (7, &["", &long, "\u{1b}[31m", "가"]),
    ] {
        for bad in bad {
            let mut parts = good;
            parts[part] = bad;
            let mut expected = [true; 8];
            expected[part] = false;
            assert_eq!(known(&parts), expected, "{bad:?}");
        }
    }
    assert!(Label::parse(&"x".repeat(63)).is_some());
    assert!(TlsVersion::V1_3 > TlsVersion::V1_2 && BotScore::new(99) > BotScore::new(1));
}

#[test]
fn no_metadata_panics() {
    check(1_000, any::<String>(), |text| {
        let metadata = RequestMetadata::parse(&text);
        prop_assert!(metadata.tls_cipher.is_none_or(|cipher| Label::parse(cipher.as_str()) == Some(cipher)));
        Ok(())
    });
}
