//! An isolate's side of leases: what it may spend by itself, what it was
//! refused, and when it has to ask.
//!
//! 1. A lease is spent until a deadline: the isolate's clock *before* it asked
//!    plus the lease's length, so no clocks are compared. The object waits for
//!    [`MARGIN`](super::account::MARGIN) longer.
//! 2. What is left is reported only after it is out of reach here. A report
//!    that is lost, or late, means that all was spent.
//! 3. A clock that goes back drops every lease.
//! 4. A refusal is remembered until it could change, so that whoever is
//!    refused costs nothing more.
//! 5. Blocks follow the demand: a key that is seen once, or seldom, gets none.
//! 6. All of it is bounded. New keys beyond a number a second share a counter,
//!    see [`Holder::is_contact_due`].

use std::collections::HashMap;
use std::hash::Hasher as _;
use std::time::Duration;

use siphasher::sip128::{Hasher128, SipHasher13};

use super::CounterKey;
use super::account::{Granted, LEASE, Wanted};
use super::algorithm::{Decision, Quota};
use crate::time::Timestamp;

/// How many keys an isolate remembers: about 4 MiB.
pub const CAPACITY: usize = 20_000;

/// How many keys that it does not know an isolate asks for in a second.
pub const CONTACTS: u32 = 500;

/// The longest that a refusal is remembered: as long may a reset by an
/// operator take to act here.
const REFUSAL: Duration = Duration::from_secs(10);

/// A lease of which nothing was spent for this long goes back; and a key that
/// was not seen for this long gets none, since it would only lie idle.
const IDLE: Duration = Duration::from_secs(1);

/// The first block, and how much larger the next one may be than what was
/// spent.
const FIRST_BLOCK: u32 = 8;
const GROWTH: u32 = 8;

/// How often all keys are looked through, at most.
const SWEEP_EVERY: Duration = Duration::from_millis(250);

/// A lease that has ended here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Its id.
    pub id: u64,
    /// What is left of it.
    pub unspent: u32,
}

/// What to ask the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The lease that is wanted; its amount is 0 where none is.
    pub wanted: Wanted,
    /// The lease that it follows.
    pub report: Option<Report>,
    /// When it was asked, by the isolate's clock.
    pub asked: Timestamp,
}

/// What an isolate can say by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spend {
    /// It knows.
    Decided(Decision),
    /// It has to ask.
    Ask(Ask),
}

#[derive(Clone, Copy, Debug)]
struct Lease {
    id: u64,
    amount: u32,
    left: u32,
    asked: Timestamp,
    deadline: Timestamp,
    used: Timestamp,
    /// What the object said when it lent.
    then: Decision,
}

#[derive(Clone, Copy, Debug)]
struct Refusal {
    cost: u32,
    since: Timestamp,
    until: Timestamp,
    decision: Decision,
}

#[derive(Clone, Copy, Debug)]
struct Key {
    quota: Quota,
    lease: Option<Lease>,
    refusal: Option<Refusal>,
    /// The lease that was asked for and not answered yet.
    pending: Option<u64>,
    /// The block to ask for.
    block: u32,
    seen: Timestamp,
}

/// What an isolate holds.
#[derive(Debug)]
pub struct Holder {
    id: u64,
    asked: u64,
    keys: HashMap<CounterKey, Key>,
    capacity: usize,
    /// The latest time of the clock.
    seen: Timestamp,
    swept: Timestamp,
    /// The second, and how many new keys it saw.
    contacts: (u64, u32),
    /// Leases that ended without a request that could take the report along.
    reports: Vec<(CounterKey, Quota, Report)>,
    /// Whether there may be leases.
    has_leases: bool,
}

impl Holder {
    /// A holder of an isolate; the seed is random.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with_capacity(seed, CAPACITY)
    }

    /// A holder of at most that many keys.
    #[must_use]
    pub fn with_capacity(seed: u64, capacity: usize) -> Self {
        Self {
            id: seed,
            asked: 0,
            keys: HashMap::new(),
            capacity,
            seen: Timestamp::default(),
            swept: Timestamp::default(),
            contacts: (0, 0),
            reports: Vec::new(),
            has_leases: false,
        }
    }

    /// Whether the object may be asked about a key that is not known here.
    /// Where it may not, the key shares the counter of its rule's overflow:
    /// random keys must not become as many calls.
    pub fn is_contact_due(&mut self, key: CounterKey, now: Timestamp) -> bool {
        if self.keys.contains_key(&key) {
            return true;
        }
        let (second, count) = &mut self.contacts;
        if *second != now.seconds() {
            (*second, *count) = (now.seconds(), 0);
        }
        *count = count.saturating_add(1);
        *count <= CONTACTS
    }

    /// As [`Self::is_contact_due`], for a key that is asked about every time:
    /// from here on it is known.
    pub fn contact(&mut self, key: CounterKey, quota: &Quota, now: Timestamp) -> bool {
        self.follow_clock(now);
        if let Some(known) = self.keys.get_mut(&key) {
            known.seen = now;
            return true;
        }
        let is_due = self.is_contact_due(key, now);
        if is_due && self.has_room(now) {
            let new = Key { quota: *quota, lease: None, refusal: None, pending: None, block: 0, seen: now };
            self.keys.insert(key, new);
        }
        is_due
    }

    /// Whether [`Self::is_contact_due`] would say so, and nothing is noted.
    #[must_use]
    pub fn would_contact(&self, key: CounterKey, now: Timestamp) -> bool {
        let (second, count) = self.contacts;
        self.keys.contains_key(&key) || second != now.seconds() || count < CONTACTS
    }

    /// What [`Self::spend`] would decide by itself, and nothing is spent.
    #[must_use]
    pub fn peek(&self, key: CounterKey, quota: &Quota, cost: u32, now: Timestamp) -> Option<Decision> {
        let known = self.keys.get(&key).filter(|_| now >= self.seen)?;
        let is_refused = |refusal: &Refusal| now < refusal.until && cost >= refusal.cost;
        if let Some(refusal) = known.refusal.filter(|refusal| known.quota == *quota && is_refused(refusal)) {
            return Some(refusal.at(now));
        }
        known.lease.filter(|lease| now < lease.deadline && lease.left >= cost).map(|lease| lease.allow(now))
    }

    /// The id of a key's lease, for [`Self::give_back`].
    #[must_use]
    pub fn lease(&self, key: CounterKey) -> Option<u64> {
        self.keys.get(&key)?.lease.map(|lease| lease.id)
    }

    /// Takes back what was spent of a lease; of one that is gone it is lost.
    pub fn give_back(&mut self, key: CounterKey, lease: u64, amount: u32) {
        if let Some(known) = self.keys.get_mut(&key)
            && let Some(held) = known.lease.as_mut().filter(|held| held.id == lease)
        {
            held.left = held.left.saturating_add(amount).min(held.amount);
        }
    }

    /// An id that nobody has used before.
    pub fn new_id(&mut self) -> u64 {
        next_id(self.id, &mut self.asked)
    }

    /// Whether some lease may have to be reported.
    #[must_use]
    pub fn is_report_due(&self, now: Timestamp) -> bool {
        !self.reports.is_empty() || (!self.keys.is_empty() && now.since(self.swept) >= SWEEP_EVERY)
    }

    /// Whether there may be leases, which lie idle if nobody comes.
    #[must_use]
    pub const fn has_leases(&self) -> bool {
        self.has_leases
    }

    /// Spends, refuses, or says what to ask.
    pub fn spend(&mut self, key: CounterKey, quota: &Quota, cost: u32, now: Timestamp) -> Spend {
        self.follow_clock(now);
        let ask = |wanted, report| Spend::Ask(Ask { wanted, report, asked: now });
        let nothing = Wanted { id: 0, holder: self.id, amount: 0, ttl: LEASE };
        let Some(known) = self.keys.get_mut(&key) else {
            if self.has_room(now) {
                let new =
                    Key { quota: *quota, lease: None, refusal: None, pending: None, block: 0, seen: now };
                self.keys.insert(key, new);
            }
            return ask(nothing, None);
        };
        let is_frequent = now.since(known.seen) < IDLE;
        known.seen = now;
        if known.quota != *quota {
            // A rule that has changed: what was refused may pass now.
            known.quota = *quota;
            known.refusal = None;
        }
        if let Some(refusal) = known.refusal.filter(|refusal| now < refusal.until && cost >= refusal.cost) {
            return Spend::Decided(refusal.at(now));
        }
        known.refusal = None;
        let mut report = None;
        if let Some(lease) = &mut known.lease {
            if now < lease.deadline
                && let Some(left) = lease.left.checked_sub(cost)
            {
                lease.left = left;
                lease.used = now;
                return Spend::Decided(lease.allow(now));
            }
            known.block = lease.next_block(now);
            // Out of reach from here on, whatever becomes of the report.
            report = Some(Report { id: lease.id, unspent: lease.left });
            known.lease = None;
        }
        if known.pending.is_some() || !is_frequent {
            return ask(nothing, report);
        }
        let id = next_id(self.id, &mut self.asked);
        known.pending = Some(id);
        known.block = known.block.max(FIRST_BLOCK);
        ask(Wanted { id, amount: known.block, ..nothing }, report)
    }

    /// The object's answer. `holds` is for how long a refusal does.
    pub fn answered(
        &mut self,
        key: CounterKey,
        ask: &Ask,
        cost: u32,
        answer: &(Decision, Option<Granted>),
        holds: Duration,
        now: Timestamp,
    ) {
        self.follow_clock(now);
        let (decision, granted) = answer;
        let Some(known) = self.keys.get_mut(&key) else { return };
        if !decision.allowed {
            let until = ask.asked.after(holds.min(REFUSAL));
            let refusal = Refusal { cost, since: ask.asked, until, decision: *decision };
            // The clock may have gone back while it was asked.
            known.refusal = (ask.asked <= now).then_some(refusal);
        }
        if ask.wanted.amount == 0 || known.pending != Some(ask.wanted.id) {
            return;
        }
        known.pending = None;
        let Some(granted) = granted else { return };
        let lease = Lease {
            id: ask.wanted.id,
            amount: granted.amount,
            left: granted.amount,
            asked: ask.asked,
            deadline: ask.asked.after(granted.ttl.min(LEASE)),
            used: now,
            then: *decision,
        };
        known.lease = Some(lease);
        self.has_leases = true;
    }

    /// There was no answer: what was asked for may have been lent, and is
    /// lost.
    pub fn unanswered(&mut self, key: CounterKey, ask: &Ask) {
        if let Some(known) = self.keys.get_mut(&key)
            && known.pending == Some(ask.wanted.id)
        {
            known.pending = None;
        }
    }

    /// Forgets that a key was refused, and gives its lease back: an operator
    /// has reset it.
    pub fn reset(&mut self, key: CounterKey) {
        self.keys.remove(&key);
    }

    /// Leases that have ended, or lie idle: at most `limit` to report.
    pub fn due(&mut self, now: Timestamp, limit: usize) -> Vec<(CounterKey, Quota, Report)> {
        self.follow_clock(now);
        if now.since(self.swept) >= SWEEP_EVERY {
            self.sweep(now);
        }
        let at = self.reports.len().saturating_sub(limit);
        self.reports.split_off(at)
    }

    /// How many keys it remembers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether it remembers none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    fn follow_clock(&mut self, now: Timestamp) {
        if now < self.seen {
            for known in self.keys.values_mut() {
                known.lease = None;
                known.refusal = None;
                known.pending = None;
            }
            self.reports.clear();
            self.swept = now;
        }
        self.seen = now;
    }

    fn has_room(&mut self, now: Timestamp) -> bool {
        if self.keys.len() >= self.capacity && now.since(self.swept) >= SWEEP_EVERY {
            self.sweep(now);
        }
        self.keys.len() < self.capacity
    }

    /// Takes what has ended or lies idle out of reach, and forgets keys that
    /// were not seen for the length of a lease.
    fn sweep(&mut self, now: Timestamp) {
        self.swept = now;
        let reports = &mut self.reports;
        // What was not reported in time is spent; there is no use in keeping it.
        reports.clear();
        self.has_leases = false;
        let has_leases = &mut self.has_leases;
        self.keys.retain(|key, known| {
            if let Some(lease) = known.lease
                && (now >= lease.deadline || now.since(lease.used) >= IDLE)
            {
                known.block = lease.next_block(now);
                known.lease = None;
                if lease.left > 0 {
                    reports.push((*key, known.quota, Report { id: lease.id, unspent: lease.left }));
                }
            }
            *has_leases |= known.lease.is_some();
            let is_refused = known.refusal.is_some_and(|refusal| now < refusal.until);
            known.lease.is_some() || is_refused || now.since(known.seen) < LEASE
        });
    }
}

fn next_id(holder: u64, asked: &mut u64) -> u64 {
    *asked = asked.wrapping_add(1);
    let mut hasher = SipHasher13::new_with_keys(holder, 0x6c65_6173_655f_6964);
    hasher.write_u64(*asked);
    hasher.finish128().h1.max(1)
}

impl Lease {
    fn allow(&self, now: Timestamp) -> Decision {
        Decision {
            allowed: true,
            // What the object had left then, and what is left here; other
            // holders are not known.
            remaining: self.then.remaining.saturating_sub(self.amount).saturating_add(self.left),
            retry_after: Duration::ZERO,
            full_after: self.then.full_after.saturating_sub(now.since(self.asked)),
        }
    }

    /// As much as would have lasted for the whole lease, and no more than a
    /// multiple of what was spent.
    fn next_block(&self, now: Timestamp) -> u32 {
        let spent = u64::from(self.amount.saturating_sub(self.left));
        let held = crate::time::millis_of(now.since(self.asked)).max(1);
        let rate = spent.saturating_mul(crate::time::millis_of(LEASE)).checked_div(held).unwrap_or_default();
        let most = self.amount.max(FIRST_BLOCK).saturating_mul(GROWTH);
        u32::try_from(rate).unwrap_or(u32::MAX).min(most)
    }
}

impl Refusal {
    fn at(&self, now: Timestamp) -> Decision {
        let gone = now.since(self.since);
        Decision {
            // It may be a little less: that is what asking again is for.
            retry_after: self.decision.retry_after.saturating_sub(gone),
            full_after: self.decision.full_after.saturating_sub(gone),
            ..self.decision
        }
    }
}
