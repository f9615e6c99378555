//! A stored head that is read survives being written, age never decreases, and
//! no request gets bytes of it that are not stored.
#![no_main]

use edgeweir::exchange::PlainHead;
use edgeweir::stages::cache::CacheStage;
use edgeweir::stages::cache::entry::Entry;
use edgeweir::stages::cache::fields::{Body, made};
use edgeweir::stages::cache::judge::{Lookup, judge};
use edgeweir::stages::cache::plan::plan;
use edgeweir::stages::cache::range::ranged;
use edgeweir::stages::cache::validation::not_modified;
use edgeweir::time::Timestamp;
use http::header::{AGE, IF_NONE_MATCH, RANGE};
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
        fields: vec![(IF_NONE_MATCH, text.to_owned()), (RANGE, "bytes=2-5".to_owned())],
        ..PlainHead::default()
    };
    let stage = CacheStage::default();
    let plan = plan(&head, &stage, None);
    let mut last = None;
    for after in [0, 1_000, 60_000, 1 << 41, u64::MAX] {
        let now = Timestamp::from_millis(entry.received.millis().saturating_add(after));
        if let Lookup::Fresh { age, ttl } = judge(&plan, &head, &entry, &stage, now) {
            assert!(
                ttl > 0 && age.saturating_add(ttl) == entry.lifetime && last.is_none_or(|last| age >= last)
            );
            last = Some(age);
        }
        let size = entry.part.map_or(4, |part| part.span.size());
        let answer = ranged(&head, &entry, Some(size), now);
        let unchanged = not_modified(&head, &entry, now);
        if let Body::Bytes(span) = made(&entry, &stage, unchanged, false, answer, Some(size)).body {
            assert!(span.first <= span.last && span.last < size);
        }
    }
});
