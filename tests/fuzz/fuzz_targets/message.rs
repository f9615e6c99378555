//! What isolate and counter object say to each other survives being written,
//! and any numbers in it can be counted with.
#![no_main]

use std::cell::RefCell;
use std::collections::BTreeMap;

use edgeweir::error::PlatformError;
use edgeweir::platform::AccountStore;
use edgeweir::stages::rate_limit::CounterKey;
use edgeweir::stages::rate_limit::algorithm::take;
use edgeweir::stages::rate_limit::limiter::LimiterCounts;
use edgeweir::stages::rate_limit::message::count::{Answer, Message};
use edgeweir::stages::rate_limit::message::{Take, Taken};
use edgeweir::time::Timestamp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Some(taken) = Taken::decode(text) {
        assert_eq!(Taken::decode(&taken.encode()), Some(taken));
    }
    if let Some(message) = Message::decode(text) {
        assert_eq!(Message::decode(&message.encode()), Some(message));
    }
    if let Some(answer) = Answer::decode(text) {
        // Spans that are longer than time are clipped, once.
        let written = Answer::decode(&answer.encode()).expect("an answer that was written can be read");
        assert_eq!(Answer::decode(&written.encode()), Some(written));
    }
    // Whatever an object is told, it answers or says that it does not know.
    let mut counts = LimiterCounts::with_limit(8);
    let rows = Rows::default();
    for millis in [1_767_225_600_000, 1_767_225_600_700, 1_767_225_500_000] {
        let now = Timestamp::from_millis(millis);
        let told = counts.tell(&rows, text, &mut |_| Ok(None), now).expect("memory does not fail");
        assert!(told.is_none_or(|told| Answer::decode(&told).is_some() || Taken::decode(&told).is_some()));
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

#[derive(Default)]
struct Rows(RefCell<BTreeMap<u128, String>>);

impl AccountStore for Rows {
    fn account(&self, key: CounterKey) -> Result<Option<String>, PlatformError> {
        Ok(self.0.borrow().get(&key.0).cloned())
    }

    fn keep(&self, key: CounterKey, _: Timestamp, text: &str) -> Result<(), PlatformError> {
        self.0.borrow_mut().insert(key.0, text.to_owned());
        Ok(())
    }

    fn forget(&self, key: CounterKey) -> Result<(), PlatformError> {
        self.0.borrow_mut().remove(&key.0);
        Ok(())
    }

    fn count(&self) -> Result<usize, PlatformError> {
        Ok(self.0.borrow().len())
    }

    fn sweep(&self, _: Timestamp) -> Result<(), PlatformError> {
        Ok(())
    }
}
