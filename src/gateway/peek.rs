//! What an isolate remembers, looked at and left as it is: for `explain`.

use super::Isolate;
use crate::stages::rate_limit::CounterKey;
use crate::stages::rate_limit::algorithm::{Decision, Quota};
use crate::time::Timestamp;

impl Isolate {
    /// What the isolate's own counter would say to a request of that cost.
    #[must_use]
    pub fn peek(&self, key: CounterKey, quota: &Quota, cost: u32, now: Timestamp) -> Decision {
        self.counters.borrow().peek(key, quota, cost, now)
    }

    /// Whether the key's object would be asked about it, and not the counter
    /// that unknown keys share.
    #[must_use]
    pub fn would_contact(&self, key: CounterKey, now: Timestamp) -> bool {
        self.holder.borrow().would_contact(key, now)
    }

    /// What a lease, or a refusal that is remembered, would say without asking
    /// the object.
    #[must_use]
    pub fn peek_lease(&self, key: CounterKey, quota: &Quota, cost: u32, now: Timestamp) -> Option<Decision> {
        self.holder.borrow().peek(key, quota, cost, now)
    }

    /// Forgets what is known here of a counter.
    pub fn reset(&self, key: CounterKey) {
        self.counters.borrow_mut().reset(key);
        self.holder.borrow_mut().reset(key);
    }

    /// What the counter of `/_weir/` would say to one request.
    #[must_use]
    pub fn peek_control(&self, key: CounterKey, quota: &Quota, now: Timestamp) -> Decision {
        self.control_counters.borrow().peek(key, quota, 1, now)
    }

    /// Whether the store is not asked for this key, because the last answer
    /// could not be kept.
    #[must_use]
    pub fn is_unstorable(&self, key: &str, now: Timestamp) -> bool {
        self.unstorable.borrow().is_marked(key, now)
    }
}
