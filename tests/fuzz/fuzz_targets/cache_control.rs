//! No text in front of or behind a directive that forbids storing takes its
//! effect: the directive is seen, or the whole forbids it.
#![no_main]

use edgeweir::stages::cache::directives::{Directives, LONGEST};
use edgeweir::stages::cache::targeted;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let read = Directives::parse(text);
    let numbers = [read.max_age, read.s_maxage, read.min_fresh, read.max_stale];
    for number in numbers.into_iter().flatten() {
        assert!(number <= LONGEST);
    }
    let before = Directives::parse(&format!("no-store, private, {text}"));
    assert!(before.no_store && before.private.is_whole());
    assert_eq!(
        (before.max_age, before.s_maxage, before.garbled),
        (read.max_age, read.s_maxage, read.garbled)
    );
    let after = Directives::parse(&format!("{text}, no-store"));
    assert!(after.no_store || after.garbled, "hidden");
    assert!(after.garbled >= read.garbled && after.private.is_whole() >= read.private.is_whole());
    // The strict form never reads more than there is.
    if let Some(read) = targeted::parse(text) {
        assert!(!read.garbled && read.max_age.is_none_or(|seconds| seconds <= LONGEST));
    }
});
