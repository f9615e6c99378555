//! What isolate and counter object say to each other survives being written,
//! and any numbers in it can be counted with.
#![no_main]

use edgeweir::stages::rate_limit::algorithm::take;
use edgeweir::stages::rate_limit::message::{Take, Taken};
use edgeweir::time::Timestamp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Some(taken) = Taken::decode(text) {
        assert_eq!(Taken::decode(&taken.encode()), Some(taken));
    }
    let Some(wanted) = Take::decode(text) else { return };
    let now = Timestamp::from_millis(1_767_225_600_000);
    let (first, state) = take(&wanted.quota, None, wanted.cost, now);
    let (second, _) = take(&wanted.quota, state, wanted.cost, now);
    assert_eq!(first.allowed, wanted.cost <= wanted.quota.burst());
    assert!(first.allowed || !second.allowed);
    assert!(first.remaining <= wanted.quota.burst() && second.remaining <= first.remaining);
    // A window that is too long for the counter is clipped, once.
    let written = Take::decode(&wanted.encode()).expect("a message that was written can be read");
    assert_eq!((written.key, written.cost), (wanted.key, wanted.cost));
    assert_eq!(Take::decode(&written.encode()), Some(written));
});
