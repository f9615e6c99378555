//! Counters in the isolate's memory.
//!
//! Bounded, because clients choose keys: a counter whose burst is whole again
//! says nothing and may go. When all of them still say something, new keys
//! share one counter: they may be refused too early, but nobody's limit gets
//! looser, and no flood of keys pushes another client's counter out.

use std::collections::HashMap;

use super::CounterKey;
use super::gcra::{Decision, Quota, Tat, peek, take};
use crate::time::Timestamp;

/// How many counters an isolate keeps: about 4 MiB.
pub const CAPACITY: usize = 50_000;

/// The least time between two sweeps of a full table, in milliseconds.
const SWEEP_EVERY: u64 = 1_000;

/// The isolate's counters.
#[derive(Debug)]
pub struct CounterTable {
    counters: HashMap<CounterKey, Tat>,
    overflow: HashMap<Quota, Tat>,
    capacity: usize,
    swept: Timestamp,
}

impl Default for CounterTable {
    fn default() -> Self {
        Self::with_capacity(CAPACITY)
    }
}

impl CounterTable {
    /// A table of at most that many counters.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self { counters: HashMap::new(), overflow: HashMap::new(), capacity, swept: Timestamp::default() }
    }

    /// Counts one request.
    pub fn take(&mut self, key: CounterKey, quota: &Quota, now: Timestamp) -> Decision {
        let known = self.counters.get(&key).copied();
        if known.is_none() && self.is_full(now) {
            let (decision, state) = take(quota, self.overflow.get(quota).copied(), 1, now);
            if let Some(state) = state {
                self.overflow.insert(*quota, state);
            }
            return decision;
        }
        let (decision, state) = take(quota, known, 1, now);
        if let Some(state) = state {
            self.counters.insert(key, state);
        }
        decision
    }

    /// What [`Self::take`] would say, without counting anything; what remains
    /// is what remains before the request.
    #[must_use]
    pub fn peek(&self, key: CounterKey, quota: &Quota, now: Timestamp) -> Decision {
        let known = self.counters.get(&key).copied();
        let is_full = self.counters.len() >= self.capacity
            && !(self.is_sweep_due(now) && self.counters.values().any(|state| state.is_expired(now)));
        let state = if known.is_none() && is_full { self.overflow.get(quota).copied() } else { known };
        peek(quota, state, now)
    }

    fn is_sweep_due(&self, now: Timestamp) -> bool {
        now.since(self.swept).as_millis() >= u128::from(SWEEP_EVERY) || now < self.swept
    }

    fn is_full(&mut self, now: Timestamp) -> bool {
        if self.counters.len() < self.capacity {
            return false;
        }
        // A sweep reads every counter; under a flood of new keys it must not
        // run for each of them.
        if self.is_sweep_due(now) {
            self.swept = now;
            self.counters.retain(|_, state| !state.is_expired(now));
            self.overflow.retain(|_, state| !state.is_expired(now));
        }
        self.counters.len() >= self.capacity
    }

    /// How many counters there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.counters.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counters.is_empty()
    }
}
