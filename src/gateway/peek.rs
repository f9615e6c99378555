//! What an isolate remembers, looked at and left as it is: for `explain`.

use super::Isolate;
use crate::stages::rate_limit::CounterKey;
use crate::stages::rate_limit::algorithm::{Decision, Quota};
use crate::time::Timestamp;

impl Isolate {
    /// What the isolate's own counter would say to one request.
    #[must_use]
    pub fn peek(&self, key: CounterKey, quota: &Quota, now: Timestamp) -> Decision {
        self.counters.borrow().peek(key, quota, now)
    }

    /// What the counter of `/_weir/` would say to one request.
    #[must_use]
    pub fn peek_control(&self, key: CounterKey, quota: &Quota, now: Timestamp) -> Decision {
        self.control_counters.borrow().peek(key, quota, now)
    }

    /// Whether the store is not asked for this key, because the last answer
    /// could not be kept.
    #[must_use]
    pub fn is_unstorable(&self, key: &str, now: Timestamp) -> bool {
        self.unstorable.borrow().is_marked(key, now)
    }
}
