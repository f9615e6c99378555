//! No text in front of or behind a directive that forbids storing takes its
//! effect: the directive is seen, or the whole is invalid.
#![no_main]

use edgeweir::stages::cache::control::CacheControl;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let read = CacheControl::parse(text);
    for number in [read.max_age, read.s_maxage, read.min_fresh].into_iter().flatten() {
        assert!(number <= 1 << 31);
    }
    let before = CacheControl::parse(&format!("no-store, private, {text}"));
    assert!(before.no_store && before.private);
    assert_eq!(
        (before.max_age, before.s_maxage, before.invalid),
        (read.max_age, read.s_maxage, read.invalid)
    );
    let after = CacheControl::parse(&format!("{text}, no-store"));
    assert!(after.no_store || after.invalid, "hidden");
    assert!(
        after.private >= read.private && after.no_cache >= read.no_cache && after.invalid >= read.invalid
    );
});
