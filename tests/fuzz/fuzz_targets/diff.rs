//! The difference of two JSON documents: none from a document to itself, and
//! bounded whatever they are.
#![no_main]

use edgeweir::policy::diff::{MAX_CHANGES, diff};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|text: &str| {
    let (before, after) = text.split_once('\n').unwrap_or((text, "{}"));
    let tree = |text| serde_json::from_str::<Value>(text).unwrap_or_default();
    let (before, after) = (tree(before), tree(after));
    assert!(diff(&before, &before).is_empty());
    let changes = diff(&before, &after);
    assert!(changes.len() <= MAX_CHANGES + 1);
    assert!(changes.iter().all(|change| !change.line().is_empty()));
});
