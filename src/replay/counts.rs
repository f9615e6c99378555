//! Counters of a replay: exact where every request that counted is known, and
//! in doubt for as long as one that may have counted could still be felt.
//!
//! A counter that is left alone is whole again after its quota's recovery,
//! whatever it says. So a count that is not known puts its counter in doubt
//! for that long, and every further count prolongs the doubt.

use std::collections::HashMap;
use std::time::Duration;

use crate::stages::rate_limit::algorithm::{self, Quota, State, take};
use crate::stages::rate_limit::{CounterKey, LimitRule};
use crate::time::Timestamp;

/// How many counters are kept: about 6 MiB.
const CAPACITY: usize = 50_000;

/// A rule's place: its route, or none for the entry, and its index there.
pub(super) type RuleAt = (Option<usize>, usize);

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    state: Option<State>,
    /// When the state says nothing any more.
    whole: Timestamp,
    /// In doubt until then.
    doubt: Timestamp,
}

/// What a count says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    Allowed,
    Refused,
    InDoubt,
}

/// All counters of a replay.
#[derive(Debug, Default)]
pub(super) struct Counts {
    counts: HashMap<CounterKey, Count>,
    /// When some counter of a rule was last charged, nobody knows which.
    rules: HashMap<RuleAt, Timestamp>,
    /// When some counter of some rule was.
    any: Option<Timestamp>,
    swept: Timestamp,
}

fn later(known: &mut Timestamp, now: Timestamp) {
    *known = (*known).max(now);
}

impl Counts {
    /// Counts one request of that cost.
    pub fn take(
        &mut self,
        at: RuleAt,
        rule: &LimitRule,
        key: CounterKey,
        cost: u32,
        now: Timestamp,
    ) -> Counted {
        let doubt = self.doubt_of(at, &rule.quota);
        if !self.counts.contains_key(&key) && self.is_full(now) {
            // Not even that it was counted can be kept.
            self.doubt_rule(at, now);
            return Counted::InDoubt;
        }
        let count = self.counts.entry(key).or_default();
        if now < doubt.max(count.doubt) {
            later(&mut count.doubt, now.after(rule.quota.recovery()));
            return Counted::InDoubt;
        }
        // Doubt that is over leaves a counter that is whole.
        let state = if count.doubt > Timestamp::default() { None } else { count.state };
        let (decision, mut state) = take(&rule.quota, state, cost, now);
        let mut full_after = decision.full_after;
        if !decision.allowed && rule.penalty > 0 {
            state = Some(algorithm::charge(&rule.quota, state, rule.penalty, now));
            full_after = rule.quota.recovery();
        }
        let whole = now.after(full_after).after(Duration::from_millis(1));
        *count = Count { state, whole, doubt: Timestamp::default() };
        if decision.allowed { Counted::Allowed } else { Counted::Refused }
    }

    /// Gives back what was just counted: a later rule has refused.
    pub fn give_back(&mut self, rule: &LimitRule, key: CounterKey, cost: u32, now: Timestamp) {
        if let Some(count) = self.counts.get_mut(&key) {
            count.state = algorithm::give_back(&rule.quota, count.state, cost, now, now);
        }
    }

    /// One request may have been counted here.
    pub fn doubt(&mut self, at: RuleAt, rule: &LimitRule, key: CounterKey, now: Timestamp) {
        if !self.counts.contains_key(&key) && self.is_full(now) {
            self.doubt_rule(at, now);
            return;
        }
        let count = self.counts.entry(key).or_default();
        later(&mut count.doubt, now.after(rule.quota.recovery()));
    }

    /// One request may have been counted, nobody knows by which counter of
    /// the rule.
    pub fn doubt_rule(&mut self, at: RuleAt, now: Timestamp) {
        later(self.rules.entry(at).or_default(), now);
    }

    /// One request may have been counted, nobody knows by which rule.
    pub fn doubt_all(&mut self, now: Timestamp) {
        later(self.any.get_or_insert_default(), now);
    }

    fn doubt_of(&self, at: RuleAt, quota: &Quota) -> Timestamp {
        let charged = self.rules.get(&at).copied().max(self.any);
        charged.map(|charged| charged.after(quota.recovery())).unwrap_or_default()
    }

    fn is_full(&mut self, now: Timestamp) -> bool {
        if self.counts.len() >= CAPACITY && (now.since(self.swept).as_secs() >= 1 || now < self.swept) {
            self.swept = now;
            self.counts.retain(|_, count| now < count.doubt || (count.state.is_some() && now <= count.whole));
        }
        self.counts.len() >= CAPACITY
    }
}
