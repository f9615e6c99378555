//! Targeted cache control (RFC 9213).

use edgeweir::stages::cache::directives::{Directives, LONGEST, Listed};
use edgeweir::stages::cache::targeted::parse;
use proptest::prelude::*;

use crate::fake::check;

#[test]
fn section_2_1_a_dictionary_of_known_types() {
    let read = parse(
        "max-age=60, s-maxage=5, no-store, private=\"a\", must-revalidate=?0, foobar, x=(1 2);y, public;a=1",
    )
    .unwrap();
    let expected = Directives {
        max_age: Some(60),
        s_maxage: Some(5),
        no_store: true,
        private: Listed::Fields(vec!["a".parse().unwrap()]),
        public: true,
        ..Directives::default()
    };
    assert_eq!(read, expected);
    assert_eq!(parse("max-age=99999999999").unwrap().max_age, Some(LONGEST));
    assert_eq!(parse("no-cache").unwrap().no_cache, Listed::Whole);
    assert_eq!(parse("no-cache=?0").unwrap().no_cache, Listed::Absent);
    assert_eq!(parse("stale-while-revalidate=7, stale-if-error=8").unwrap().stale_if_error, Some(8));
    // RFC 8941, 3.2: of one key the last counts.
    assert_eq!(parse("max-age=1, max-age=2").unwrap().max_age, Some(2));
    assert_eq!(parse("max-age=x, max-age=2").unwrap().max_age, Some(2));
}

#[test]
fn section_2_1_what_is_invalid_is_not_there() {
    for bad in [
        "",
        " ",
        "max-age=10000, &&&&&",
        "max-age=\"10000\"",
        "max-age=10.0",
        "max-age=-1",
        "max-age",
        "max-age =100",
        "max-age= 100",
        "MaX-aGe=3600",
        "max-age=(1)",
        "no-store=1",
        "no-cache=1",
        "max-age=1,",
        "max-age=1,, public",
        "max-age=1 public",
        "max-age=9999999999999999",
        "max-age=1, é",
        "max-age=1, public=@1",
    ] {
        assert_eq!(parse(bad), None, "{bad}");
    }
    let many = (0..65).map(|index| format!("a{index}")).collect::<Vec<_>>().join(", ");
    assert_eq!(parse(&many), None);
}

#[test]
fn no_text_panics() {
    check(2_000, prop_oneof![any::<String>(), "[a-z0-9=\"\\\\, ?();*-]{0,40}"], |text| {
        let _ = parse(&text);
        Ok(())
    });
}
