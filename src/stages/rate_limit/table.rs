//! Counters in the isolate's memory.
//!
//! Bounded, because clients choose keys: a counter whose burst is whole again
//! says nothing and may go. When all of them still say something, new keys
//! share one counter: they may be refused too early, but nobody's limit gets
//! looser, and no flood of keys pushes another client's counter out.

use std::collections::HashMap;
use std::time::Duration;

use super::CounterKey;
use super::algorithm::{self, Decision, Quota, State, peek, take};
use crate::time::Timestamp;

/// How many counters an isolate keeps: about 4 MiB.
pub const CAPACITY: usize = 50_000;

/// The least time between two sweeps of a full table, in milliseconds.
const SWEEP_EVERY: u64 = 1_000;

/// A count, and when it says nothing any more.
#[derive(Clone, Copy, Debug)]
struct Counter {
    state: State,
    ends: Timestamp,
}

/// Decides, and gives what is kept in place of `known`.
fn count(quota: &Quota, known: Option<Counter>, cost: u32, now: Timestamp) -> (Decision, Option<Counter>) {
    let (decision, state) = take(quota, known.map(|counter| counter.state), cost, now);
    (decision, state.map(|state| Counter { state, ends: ends(now, &decision) }))
}

/// A millisecond more, since spans are cut to milliseconds.
fn ends(now: Timestamp, decision: &Decision) -> Timestamp {
    now.after(decision.full_after).after(Duration::from_millis(1))
}

/// The isolate's counters.
#[derive(Debug)]
pub struct CounterTable {
    counters: HashMap<CounterKey, Counter>,
    overflow: HashMap<Quota, Counter>,
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

    /// Counts one request of that cost.
    pub fn take(&mut self, key: CounterKey, quota: &Quota, cost: u32, now: Timestamp) -> Decision {
        let known = self.counters.get(&key).copied();
        if known.is_none() && self.is_full(now) {
            let (decision, counter) = count(quota, self.overflow.get(quota).copied(), cost, now);
            if let Some(counter) = counter {
                self.overflow.insert(*quota, counter);
            }
            return decision;
        }
        let (decision, counter) = count(quota, known, cost, now);
        if let Some(counter) = counter {
            self.counters.insert(key, counter);
        }
        decision
    }

    /// What [`Self::take`] would say, without counting anything; what remains
    /// is what remains before the request.
    #[must_use]
    pub fn peek(&self, key: CounterKey, quota: &Quota, cost: u32, now: Timestamp) -> Decision {
        let known = self.counters.get(&key).copied();
        let is_full = self.counters.len() >= self.capacity
            && !(self.is_sweep_due(now) && self.counters.values().any(|counter| counter.ends < now));
        let state = if known.is_none() && is_full { self.overflow.get(quota).copied() } else { known };
        peek(quota, state.map(|counter| counter.state), cost, now)
    }

    /// Takes back what was charged at `charged`, where the counter is still
    /// there: one that is not says nothing any more.
    pub fn give_back(
        &mut self,
        key: CounterKey,
        quota: &Quota,
        amount: u32,
        charged: Timestamp,
        now: Timestamp,
    ) {
        if let Some(counter) = self.counters.get_mut(&key)
            && let Some(state) = algorithm::give_back(quota, Some(counter.state), amount, charged, now)
        {
            counter.state = state;
        }
    }

    /// Counts what cannot be refused.
    pub fn charge(&mut self, key: CounterKey, quota: &Quota, amount: u32, now: Timestamp) {
        let known = self.counters.get(&key).copied();
        let is_full = known.is_none() && self.is_full(now);
        let known = if is_full { self.overflow.get(quota).copied() } else { known };
        let state = algorithm::charge(quota, known.map(|counter| counter.state), amount, now);
        let counter = Counter { state, ends: ends(now, &peek(quota, Some(state), 1, now)) };
        if is_full {
            self.overflow.insert(*quota, counter);
        } else {
            self.counters.insert(key, counter);
        }
    }

    /// Forgets a counter.
    pub fn reset(&mut self, key: CounterKey) {
        self.counters.remove(&key);
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
            self.counters.retain(|_, counter| counter.ends >= now);
            self.overflow.retain(|_, counter| counter.ends >= now);
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
