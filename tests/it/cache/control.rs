//! The Cache-Control field, read strictly.

use edgeweir::stages::cache::control::{CacheControl, seconds};
use proptest::prelude::*;

use crate::fake::check;

#[test]
fn directives_in_any_case_and_order() {
    let all = "No-Store, NO-CACHE=\"a, b\", private, only-if-cached,, max-age=1 ,\ts-maxage=2, min-fresh=3, x=\"max-age=9\"";
    let read = CacheControl::parse(all);
    let expected = CacheControl {
        no_store: true,
        no_cache: true,
        private: true,
        only_if_cached: true,
        max_age: Some(1),
        s_maxage: Some(2),
        min_fresh: Some(3),
        invalid: false,
    };
    assert_eq!(read, expected);
    assert_eq!(CacheControl::parse(""), CacheControl::default());
    assert_eq!(
        CacheControl::parse("public, no-transform, xno-store, max-agee=1, stale-if-error=60"),
        CacheControl::default()
    );
}

#[test]
fn numbers_that_are_none_are_noted() {
    for bad in [
        "max-age",
        "max-age=",
        "max-age=-1",
        "max-age=+1",
        "max-age=1.5",
        "max-age=1s",
        "max-age=0x1",
        "max-age=\"a\"",
        "s-maxage=é",
        "min-fresh= ",
        "max-age=1, max-age=2",
        "max-age=1, max-age=x",
    ] {
        assert!(CacheControl::parse(bad).invalid, "{bad}");
    }
    let twice = CacheControl::parse("max-age=7, max-age=7");
    assert!(!twice.invalid && twice.max_age == Some(7));
}

#[test]
fn what_is_too_large_is_very_long() {
    assert_eq!(seconds("0"), Some(0));
    assert_eq!(seconds("2147483648"), Some(1 << 31));
    assert_eq!(seconds("99999999999999999999999999"), Some(1 << 31));
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
        let read = CacheControl::parse(bad);
        assert!(read.invalid || read.no_store || read.private, "{bad}");
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
        let read = CacheControl::parse(&all.join(", "));
        prop_assert!(read.no_store || read.private || read.no_cache);
        prop_assert_eq!((read.max_age, read.invalid), (Some(age.into()), false));
        Ok(())
    });
}

#[test]
fn no_text_panics() {
    check(2_000, prop_oneof![any::<String>(), "[a-z0-9=\"\\\\, -]{0,40}"], |text| {
        let _ = CacheControl::parse(&text);
        Ok(())
    });
}
