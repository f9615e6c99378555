//! A stored head that is read survives being written, and age never decreases.
#![no_main]

use edgeweir::exchange::PlainHead;
use edgeweir::stages::cache::entry::Entry;
use edgeweir::stages::cache::{Lookup, hit_fields, judge, plan};
use edgeweir::time::Timestamp;
use http::header::{AGE, IF_NONE_MATCH};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Some(mut entry) = Entry::decode(text) else { return };
    entry.fields.retain(|(name, _)| *name != AGE);
    if let Some(written) = entry.encode() {
        assert!(written.is_ascii());
        assert_eq!(Entry::decode(&written).as_ref(), Some(&entry));
    }
    let head = PlainHead {
        method: http::Method::GET,
        url: "http://a/".to_owned(),
        fields: vec![(IF_NONE_MATCH, text.to_owned())],
        ..PlainHead::default()
    };
    let mut last = None;
    for after in [0, 1_000, 60_000, 1 << 41, u64::MAX] {
        let now = Timestamp::from_millis(entry.received.millis().saturating_add(after));
        if let Lookup::Fresh { age, ttl, not_modified } = judge(&plan(&head, None), &head, &entry, now) {
            assert!(
                ttl > 0 && age.saturating_add(ttl) == entry.lifetime && last.is_none_or(|last| age >= last)
            );
            assert_eq!(hit_fields(&entry, age, not_modified).last(), Some(&(AGE, age.to_string())));
            last = Some(age);
        }
    }
});
