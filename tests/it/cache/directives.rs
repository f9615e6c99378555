//! Cache-Control (RFC 9111, 5.2).

use edgeweir::stages::cache::directives::{Directives, LONGEST, Listed, seconds};
use proptest::prelude::*;

use crate::fake::check;

fn names(names: &[&str]) -> Listed {
    Listed::Fields(names.iter().map(|name| name.parse().unwrap()).collect())
}

#[test]
fn section_5_2_directives_in_any_case_and_order() {
    let all = "No-Store, NO-CACHE=\"a, b\", private, only-if-cached,, max-age=1 ,\ts-maxage=2, min-fresh=3, \
               x=\"max-age=9\", PUBLIC, must-Revalidate, proxy-revalidate, must-understand, immutable, \
               stale-while-revalidate=4, stale-if-error=5, max-stale=6";
    let expected = Directives {
        no_store: true,
        no_cache: names(&["a", "b"]),
        private: Listed::Whole,
        public: true,
        must_revalidate: true,
        proxy_revalidate: true,
        must_understand: true,
        immutable: true,
        only_if_cached: true,
        max_age: Some(1),
        s_maxage: Some(2),
        min_fresh: Some(3),
        max_stale: Some(6),
        stale_while_revalidate: Some(4),
        stale_if_error: Some(5),
        garbled: false,
    };
    assert_eq!(Directives::parse(all), expected);
    assert_eq!(Directives::parse(""), Directives::default());
    assert_eq!(Directives::parse("no-transform, xno-store, max-agee=1"), Directives::default());
}

/// 5.2: recipients ought to take both forms; leading zeros are digits.
#[test]
fn section_5_2_numbers() {
    for (text, expected) in [
        ("max-age=3600", 3_600),
        ("max-age=\"3600\"", 3_600),
        ("max-age=003600", 3_600),
        ("max-age=2147483648", LONGEST),
        ("max-age=99999999999", LONGEST),
        // 4.2.1: invalid freshness is stale.
        ("max-age", 0),
        ("max-age=", 0),
        ("max-age=-1", 0),
        ("max-age=+1", 0),
        ("max-age=1.0", 0),
        ("max-age=3600a", 0),
        ("max-age=a3600", 0),
        ("max-age='3600'", 0),
        ("max-age=\"\"", 0),
        ("max-age =3600", 0),
        ("max-age= 3600", 0),
        ("max-age=é", 0),
    ] {
        assert_eq!(Directives::parse(text).max_age, Some(expected), "{text}");
    }
}

/// 4.2.1: of several the most restrictive.
#[test]
fn section_4_2_1_conflicts_take_the_strictest() {
    for text in ["max-age=1800, max-age=1", "max-age=1, max-age=1800"] {
        assert_eq!(Directives::parse(text).max_age, Some(1), "{text}");
    }
    assert_eq!(Directives::parse("max-age=1800, max-age=x").max_age, Some(0));
    let all = Directives::parse(
        "min-fresh=1, min-fresh=5, max-stale, max-stale=3, stale-if-error=9, stale-if-error=2",
    );
    assert_eq!((all.min_fresh, all.max_stale, all.stale_if_error), (Some(5), Some(3), Some(2)));
    assert_eq!(Directives::parse("no-cache=\"a\", no-cache").no_cache, Listed::Whole);
    assert_eq!(Directives::parse("private, private=\"a\"").private, Listed::Whole);
    assert_eq!(Directives::parse("no-cache=\"a\", no-cache=b").no_cache, names(&["a", "b"]));
}

/// 5.2.2.4: a list that cannot be read is about everything.
#[test]
fn section_5_2_2_4_lists_of_names() {
    for text in ["no-cache=\"\"", "no-cache=", "no-cache=\"a b\"", "no-cache=\",\"", "no-cache =\"\""] {
        assert_eq!(Directives::parse(text).no_cache, Listed::Whole, "{text}");
    }
    let many = (0..40).map(|index| format!("x-{index}")).collect::<Vec<_>>().join(",");
    assert_eq!(Directives::parse(&format!("private=\"{many}\"")).private, Listed::Whole);
}

#[test]
fn section_5_2_quoted_values_are_not_looked_into() {
    for text in ["extension=\"max-age=100\", max-age=1", "max-age=\"1\", extension=\"a, max-age=100\""] {
        let read = Directives::parse(text);
        assert_eq!((read.max_age, read.garbled), (Some(1), false), "{text}");
    }
}

/// A usual mistake: what was meant to be private must not become everybody's.
#[test]
fn other_separators_hide_nothing_that_forbids() {
    for (text, no_store, private, no_cache) in [
        ("private; max-age=60", false, Listed::Whole, Listed::Absent),
        ("max-age=60; Private", false, Listed::Whole, Listed::Absent),
        ("max-age=60;no-store;x", true, Listed::Absent, Listed::Absent),
        ("no-cache no-store, max-age=60", true, Listed::Absent, Listed::Whole),
        ("x=\"a; private\"", false, Listed::Absent, Listed::Absent),
        ("max-age=60; xprivate", false, Listed::Absent, Listed::Absent),
    ] {
        let read = Directives::parse(text);
        assert_eq!((read.no_store, read.private, read.no_cache), (no_store, private, no_cache), "{text}");
    }
    // It allows nothing.
    assert_eq!(Directives::parse("public; max-age=60"), Directives::default());
}

#[test]
fn section_1_2_2_delta_seconds() {
    assert_eq!(seconds("0"), Some(0));
    assert_eq!(seconds("99999999999999999999999999"), Some(LONGEST));
    assert_eq!(seconds("00000000000000000000000001"), Some(1));
    assert_eq!((seconds(""), seconds(" 1"), seconds("1 "), seconds("١")), (None, None, None, None));
}

/// A quoted string that does not end must not swallow what forbids storing:
/// two lines of the field reach us as one text.
#[test]
fn a_quote_that_does_not_end_hides_nothing() {
    for bad in [
        "max-age=60, x=\"a, no-store",
        "max-age=60, x=\"a, private",
        "x=\"\\\", no-store",
        "max-age=60, x\"y, no-store",
    ] {
        let read = Directives::parse(bad);
        assert!(read.garbled || read.no_store || read.private.is_whole(), "{bad}");
    }
}

/// Well-formed directives are read alike in any surroundings.
#[test]
fn a_directive_counts_wherever_it_stands() {
    let other = prop_oneof![
        Just("public".to_owned()),
        "x-[a-z]{1,3}=[a-z0-9]{1,4}",
        "y=\"[a-z,; =]{0,8}\"",
        Just(String::new())
    ];
    let others = || prop::collection::vec(other.clone(), 0..3);
    let directive = prop::sample::select(vec!["no-store", "private", "no-cache", "private=\"set-cookie\""]);
    check(1_000, (others(), directive, others(), 0_u32..100), |(before, directive, after, age)| {
        let all: Vec<String> =
            before.into_iter().chain([format!("max-age={age}"), directive.to_owned()]).chain(after).collect();
        let read = Directives::parse(&all.join(", "));
        prop_assert!(read.no_store || read.private != Listed::Absent || read.no_cache.is_whole());
        prop_assert_eq!((read.max_age, read.garbled), (Some(age.into()), false));
        Ok(())
    });
}

#[test]
fn no_text_panics_and_none_exceeds_the_longest() {
    check(2_000, prop_oneof![any::<String>(), "[a-z0-9=\"\\\\, -]{0,40}"], |text| {
        let read = Directives::parse(&text);
        let numbers = [read.max_age, read.s_maxage, read.min_fresh, read.max_stale];
        prop_assert!(numbers.into_iter().flatten().all(|number| number <= LONGEST));
        Ok(())
    });
}
