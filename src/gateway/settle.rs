//! What becomes of charges after the response: they are given back where the
//! request did not count, and what it has cost on top is charged.
//!
//! A message that is lost, or that finds no place in the queue, leaves the
//! charge spent.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Isolate, Journey};
use crate::error::PlatformError;
use crate::observe::record::Verdict;
use crate::platform::{Clock, Counters, Pause, Platform};
use crate::stages::rate_limit::algorithm::Quota;
use crate::stages::rate_limit::holder::Report;
use crate::stages::rate_limit::message::count::{Charge, Count, Message, Settlement};
use crate::stages::rate_limit::{CounterKey, LimitRule};
use crate::time::Timestamp;

/// How long an object may take to answer.
const WAIT: Duration = Duration::from_secs(2);

/// How long one request sends for all: the platform ends what goes on after a
/// response after 30 seconds.
const RUN: Duration = Duration::from_secs(20);

/// For how long one request looks after the leases of the isolate before the
/// next one is to: its lines in the log wait for its end.
const TURN: Duration = Duration::from_secs(5);

/// How often it looks. Whoever has not for ten times as long is gone.
const LOOK: Duration = Duration::from_millis(500);
const GONE: Duration = Duration::from_secs(5);

/// The most that waits to be sent: about 2 MiB.
const QUEUE: usize = 10_000;

/// The most in one message, which travels in a header field.
const BATCH: usize = 32;

/// After how many failures in a row an object is not asked.
const FAILURES: u32 = 3;

/// For how long.
const SHUT: Duration = Duration::from_secs(1);

/// How a charge can be given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// To the isolate's own count.
    Local,
    /// To this lease.
    Leased(u64),
    /// To the object, by this id.
    Held(u64),
    /// Not at all.
    Spent,
}

/// What a request was charged.
#[derive(Clone, Copy, Debug)]
pub struct Charged<'r> {
    /// By which rule.
    pub rule: &'r LimitRule,
    /// At which counter.
    pub key: CounterKey,
    /// How much.
    pub cost: u32,
    /// When.
    pub at: Timestamp,
    /// How it can be given back.
    pub how: How,
}

/// What is to be sent to `Limiter` objects.
#[derive(Debug, Default)]
pub struct Settlements {
    queue: BTreeMap<u128, Count>,
    waiting: usize,
    /// Since when somebody sends.
    sending: Option<Timestamp>,
    /// When somebody last looked after the leases.
    watched: Option<Timestamp>,
}

impl Settlements {
    /// A lease or reservation has ended.
    pub fn settle(&mut self, settlement: Settlement) {
        if self.has_room() {
            self.queue.entry(settlement.key.shard()).or_default().settle.push(settlement);
        }
    }

    fn charge(&mut self, charge: Charge) {
        if self.has_room() {
            self.queue.entry(charge.key.shard()).or_default().charge.push(charge);
        }
    }

    fn is_watched(&self, now: Timestamp) -> bool {
        self.watched.is_some_and(|last| now >= last && now.since(last) < GONE)
    }

    fn has_room(&mut self) -> bool {
        let has_room = self.waiting < QUEUE;
        self.waiting = self.waiting.saturating_add(usize::from(has_room));
        has_room
    }

    /// The next message, and to which object: none of those.
    fn next(&mut self, failing: &[u128]) -> Option<(u128, Count)> {
        let shard = *self.queue.keys().find(|shard| !failing.contains(shard))?;
        let all = self.queue.get_mut(&shard)?;
        let settle = all.settle.split_off(all.settle.len().saturating_sub(BATCH));
        let charge = all.charge.split_off(all.charge.len().saturating_sub(BATCH));
        self.waiting = self.waiting.saturating_sub(settle.len()).saturating_sub(charge.len());
        if all.settle.is_empty() && all.charge.is_empty() {
            self.queue.remove(&shard);
        }
        Some((shard, Count { settle, charge, ..Count::default() }))
    }
}

/// Which objects fail.
#[derive(Debug, Default)]
pub struct Overload {
    /// How often in a row, and since when.
    failing: BTreeMap<u128, (u32, Timestamp)>,
}

impl Overload {
    /// Whether an object is not to be asked: it has too much to do.
    #[must_use]
    pub fn is_shut(&self, shard: u128, now: Timestamp) -> bool {
        let failing = self.failing.get(&shard);
        failing.is_some_and(|(count, last)| *count >= FAILURES && now >= *last && now.since(*last) < SHUT)
    }

    /// Notes whether it answered.
    pub fn note(&mut self, shard: u128, answered: bool, now: Timestamp) {
        if answered {
            self.failing.remove(&shard);
        } else {
            let (count, last) = self.failing.entry(shard).or_default();
            (*count, *last) = (count.saturating_add(1), now);
        }
    }
}

impl Isolate {
    /// Gives a charge back.
    pub(super) fn give_back(&self, charged: &Charged<'_>, now: Timestamp) {
        let Charged { rule, key, cost, at, how } = *charged;
        match how {
            How::Local => self.counters.borrow_mut().give_back(key, &rule.quota, cost, at, now),
            How::Leased(lease) => self.holder.borrow_mut().give_back(key, lease, cost),
            How::Held(id) => {
                let report = Report { id, unspent: cost };
                self.settlements.borrow_mut().settle(Settlement { key, quota: rule.quota, report });
            }
            How::Spent => {}
        }
    }

    /// Charges what cannot be refused.
    fn charge(&self, charged: &Charged<'_>, amount: u32, now: Timestamp) {
        let (key, quota): (CounterKey, Quota) = (charged.key, charged.rule.quota);
        match charged.how {
            How::Local => self.counters.borrow_mut().charge(key, &quota, amount, now),
            How::Leased(_) | How::Held(_) | How::Spent => {
                self.settlements.borrow_mut().charge(Charge { key, quota, amount });
            }
        }
    }

    /// Whether this request is to send what waits for `Limiter` objects after
    /// its response, with [`settle_all`].
    #[must_use]
    pub fn takes_on_settling(&self, now: Timestamp) -> bool {
        let mut settlements = self.settlements.borrow_mut();
        let (has_leases, is_due) = {
            let holder = self.holder.borrow();
            (holder.has_leases(), holder.is_report_due(now))
        };
        // Asked after every request, so first what is nearly always so.
        let is_unwatched = has_leases && !settlements.is_watched(now);
        if settlements.waiting == 0 && !is_due && !is_unwatched {
            return false;
        }
        // Whoever took it on and is gone has sent what it could.
        if settlements.sending.is_some_and(|since| now >= since && now.since(since) < RUN.saturating_mul(2)) {
            return false;
        }
        self.collect(&mut settlements, now);
        let has_some = settlements.waiting > 0 || is_unwatched;
        settlements.sending = has_some.then_some(now);
        has_some
    }

    /// Leases that have ended here, or lie idle, are to be reported.
    fn collect(&self, settlements: &mut Settlements, now: Timestamp) {
        for (key, quota, report) in self.holder.borrow_mut().due(now, QUEUE) {
            settlements.settle(Settlement { key, quota, report });
        }
    }

    /// Whether the request that began at `begun` is to look after the leases
    /// again. `is_mine` is whether it does by now.
    fn watches(&self, begun: Timestamp, is_mine: &mut bool, now: Timestamp) -> bool {
        let mut settlements = self.settlements.borrow_mut();
        if *is_mine {
            settlements.watched = None;
        }
        let run = now.since(begun);
        if now < begun || run >= RUN || settlements.is_watched(now) || !self.holder.borrow().has_leases() {
            return false;
        }
        // After its turn it goes on until somebody else does.
        *is_mine = run < TURN;
        if *is_mine {
            settlements.watched = Some(now);
        }
        true
    }
}

/// Sends what waits for `Limiter` objects; and as long as something is lent,
/// looks whether it lies idle, and sends it back: whoever comes next may be
/// minutes away, and what a lease has left when it ends is lost. One request of
/// an isolate at a time does. To be called by whom
/// [`Isolate::takes_on_settling`] has chosen. Gives what failed first, for the
/// log.
pub async fn settle_all<P: Clock + Counters + Pause>(
    isolate: &Isolate,
    platform: &P,
) -> Option<PlatformError> {
    let begun = platform.now();
    let mut failure = settle(isolate, platform).await;
    let mut is_mine = false;
    while isolate.watches(begun, &mut is_mine, platform.now()) {
        platform.pause(LOOK).await;
        isolate.collect(&mut isolate.settlements.borrow_mut(), platform.now());
        let failed = settle(isolate, platform).await;
        failure = failure.or(failed);
    }
    failure
}

/// Sends what waits for `Limiter` objects. What waits for one that fails is
/// left for the next time: it must not keep others waiting. Gives what failed
/// first.
pub async fn settle<P: Clock + Counters>(isolate: &Isolate, platform: &P) -> Option<PlatformError> {
    let begun = platform.now();
    let mut failure = None;
    let mut failing = Vec::new();
    while platform.now().since(begun) < RUN {
        let next = isolate.settlements.borrow_mut().next(&failing);
        let Some((shard, count)) = next else { break };
        // Said once: an answer that is lost says nothing about the message.
        let sent = platform.count(shard, &Message::Count(count), WAIT).await;
        if let Err(error) = sent {
            failing.push(shard);
            failure.get_or_insert(error);
        }
    }
    isolate.settlements.borrow_mut().sending = None;
    failure
}

impl<P: Platform> Journey<'_, P> {
    /// What the origin says that the request has cost.
    pub(super) fn hear_cost(&mut self, response: &P::Response) {
        let stages = [Some(&self.gateway.entry_rate_limit), self.route_limits];
        let names = stages.into_iter().flatten().flat_map(|stage| &stage.rules);
        for name in names.filter_map(|rule| rule.cost_header.as_ref()) {
            if self.costs.iter().any(|(known, _)| known == name) {
                continue;
            }
            let said = self.platform.field(response, name);
            let cost = said.and_then(|text| text.trim().parse::<u64>().ok());
            let cost = cost.map_or(0, |cost| u32::try_from(cost).unwrap_or(u32::MAX));
            self.costs.push((name.clone(), cost));
            self.edits.push(crate::exchange::Edit::Remove(name.clone()));
        }
    }

    /// After the response: what does not count is given back, what was dearer
    /// is charged.
    pub(super) fn settle_charges(&mut self, now: Timestamp) {
        let is_hit = self.record.verdict == Verdict::Cached;
        for charged in std::mem::take(&mut self.charged) {
            if !charged.rule.counts(self.record.status, is_hit) {
                self.isolate.give_back(&charged, now);
                continue;
            }
            let said = self.costs.iter().find(|(name, _)| Some(name) == charged.rule.cost_header.as_ref());
            let more = said.map_or(0, |(_, said)| said.saturating_sub(charged.cost));
            if more > 0 {
                self.isolate.charge(&charged, more, now);
            }
        }
    }
}
