//! A counter with what has been lent of it: the object's side of leases and
//! reservations, and the isolate's own counters.
//!
//! 1. A **lease** is a block of tokens that an isolate spends by itself. A
//!    **reservation** is a charge that may yet be taken back. Both are holds,
//!    with an id and an end.
//! 2. A token is available, in one live hold, spent, or lost. Granting takes
//!    it from what is available. It comes back by [`Account::settle`] alone,
//!    once for each id and only while the hold lives. A hold that ends without
//!    a report is spent.
//! 3. GCRA: with L in live leases, available + L ≤ burst at every instant. So
//!    what is owed never falls below L, and leases end in the order of time.
//!    Every token spent in an interval T was available or lent at its
//!    beginning, or came back by the rate: burst + rate × T.
//! 4. A reservation is spent unless somebody says otherwise, so it recovers
//!    like anything that was spent; what has recovered cannot be taken back.
//! 5. Windows: a hold counts wholly in the window of its grant, and a lease
//!    ends before that window does. One that does not (the clock went back)
//!    counts in the next one, too.
//! 6. Now is the greater of the clock and what was stored. A clock that went
//!    back by more than [`MARGIN`] is believed, and all times with it.

mod stored;

use std::time::Duration;

use super::algorithm::{self, Algorithm, Decision, Quota, State, gcra, peek, take};
use crate::time::Timestamp;

/// By how much a lease outlives its holder's deadline in the object: more than
/// any drift of a clock within [`LEASE`], or any step, that is tolerated.
pub const MARGIN: Duration = Duration::from_secs(1);

/// The longest lease.
pub const LEASE: Duration = Duration::from_secs(5);

/// The shortest lease that is worth a report.
const SHORTEST_LEASE: Duration = Duration::from_millis(200);

/// The most holds of a counter. Beyond it the reservation that ends first is
/// spent and makes room; where all are leases, nothing is lent, and what is
/// reserved is spent at once.
pub const HOLDS_LIMIT: usize = 64;

/// How long a quota that was larger is remembered: policies reach isolates one
/// by one, and a counter must not forget under the smaller one what it knows
/// under the larger.
const QUOTA_CHANGE: Duration = Duration::from_secs(300);

/// While something is held, a refusal is good for this long only: what comes
/// back may change it.
const RECHECK: Duration = Duration::from_secs(1);

/// Tokens that are not available and not yet spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The id by which it is settled.
    pub id: u64,
    /// How many tokens.
    pub amount: u32,
    /// How much of a reservation has not come back by itself, in units of
    /// which a token has as many as the window has nanoseconds: exact, and the
    /// same under another `max`.
    pub kept: u128,
    /// When it is spent, if nobody reports.
    pub ends: Timestamp,
    /// The window that it counts in; 0 for GCRA.
    pub window: u64,
    /// Who spends it; `None` for a reservation.
    pub holder: Option<u64>,
}

/// A counter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    state: Option<State>,
    /// In the order of their ends.
    holds: Vec<Hold>,
    /// The latest time that it knows of.
    at: Timestamp,
    /// The largest burst, debt included, of late; and when it was last seen.
    capacity: (u32, Timestamp),
}

/// What an isolate asks for beside a token for the request at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The id of the lease: never used before by anybody.
    pub id: u64,
    /// Who asks.
    pub holder: u64,
    /// How many tokens; fewer may be granted, or none.
    pub amount: u32,
    /// For how long, at most [`LEASE`].
    pub ttl: Duration,
}

/// What is lent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// How many tokens.
    pub amount: u32,
    /// For how long, from before the holder asked.
    pub ttl: Duration,
}

impl Account {
    /// An account of that state of GCRA, of which nothing is lent.
    #[must_use]
    pub fn of(tat: algorithm::Tat) -> Self {
        Self { state: Some(State::Gcra(tat)), ..Self::default() }
    }

    /// Decides one request of that cost, which is spent.
    pub fn take(&mut self, quota: &Quota, cost: u32, clock: Timestamp) -> Decision {
        let (quota, now) = self.advance(quota, clock);
        self.spend(&quota, cost, now)
    }

    /// Decides one request; what it costs can be taken back by its id until
    /// `ttl` is over.
    pub fn reserve(
        &mut self,
        quota: &Quota,
        id: u64,
        cost: u32,
        ttl: Duration,
        clock: Timestamp,
    ) -> Decision {
        let (quota, now) = self.advance(quota, clock);
        let decision = self.spend(&quota, cost, now);
        if decision.allowed && !self.is_held(id) {
            self.hold(Hold {
                id,
                amount: cost,
                kept: units(&quota, cost),
                ends: now.after(ttl),
                window: window_of(&quota, now),
                holder: None,
            });
        }
        decision
    }

    /// Decides one request, and lends a block on top where it is allowed: at
    /// most half of what each live holder could have of the rest, so that
    /// blocks shrink to nothing near the limit.
    pub fn lease(
        &mut self,
        quota: &Quota,
        cost: u32,
        wanted: &Wanted,
        clock: Timestamp,
    ) -> (Decision, Option<Granted>) {
        let (quota, now) = self.advance(quota, clock);
        let decision = self.spend(&quota, cost, now);
        if !decision.allowed || wanted.amount == 0 || self.is_held(wanted.id) {
            return (decision, None);
        }
        let mut ttl = wanted.ttl.min(LEASE);
        if quota.algorithm() != Algorithm::Gcra {
            let end = quota.end(window_of(&quota, now)).saturating_sub(now.nanos());
            let rest = Duration::from_nanos(u64::try_from(end).unwrap_or(u64::MAX));
            ttl = Duration::from_millis(crate::time::millis_of(ttl.min(rest.saturating_sub(MARGIN))));
        }
        let share = u32::try_from(self.holders_with(wanted.holder).saturating_mul(2)).unwrap_or(u32::MAX);
        let amount = wanted.amount.min(decision.remaining.checked_div(share).unwrap_or_default());
        if amount == 0 || ttl < SHORTEST_LEASE || self.leases().count() >= HOLDS_LIMIT {
            return (decision, None);
        }
        let after = self.spend(&quota, amount, now);
        if !after.allowed {
            return (decision, None);
        }
        self.hold(Hold {
            id: wanted.id,
            amount,
            kept: units(&quota, amount),
            ends: now.after(ttl).after(MARGIN),
            window: window_of(&quota, now),
            holder: Some(wanted.holder),
        });
        (decision, Some(Granted { amount, ttl }))
    }

    /// Gives back what a hold has not spent; how much is honoured. 0 where the
    /// hold has ended or was settled before.
    pub fn settle(&mut self, quota: &Quota, id: u64, unspent: u32, clock: Timestamp) -> u32 {
        let (quota, now) = self.advance(quota, clock);
        let Some(place) = self.holds.iter().position(|hold| hold.id == id) else { return 0 };
        let hold = self.holds.remove(place);
        let unspent = unspent.min(hold.amount);
        if unspent == 0 {
            return 0;
        }
        match quota.algorithm() {
            Algorithm::Gcra => {
                let kept = hold.kept.min(units(&quota, unspent));
                self.state = Some(State::Gcra(gcra::refund(&quota, algorithm::tat(self.state), kept, now)));
            }
            Algorithm::SlidingWindow | Algorithm::FixedWindow => {
                let mut window = quota.window_at(algorithm::window(self.state), now);
                window.give_back(hold.window, unspent);
                self.state = Some(State::Window(window));
            }
        }
        unspent
    }

    /// Counts what cannot be refused, see [`algorithm::charge`].
    pub fn charge(&mut self, quota: &Quota, amount: u32, clock: Timestamp) {
        let (quota, now) = self.advance(quota, clock);
        self.state = Some(algorithm::charge(&quota, self.state, amount, now));
    }

    /// Decides one request whose charge may be taken back, and lends a block
    /// on top: [`Self::reserve`] and [`Self::lease`] in one.
    pub fn ask(
        &mut self,
        quota: &Quota,
        cost: u32,
        reservation: Option<(u64, Duration)>,
        wanted: &Wanted,
        clock: Timestamp,
    ) -> (Decision, Option<Granted>) {
        let (decision, granted) = self.lease(quota, cost, wanted, clock);
        if let Some((id, ttl)) = reservation.filter(|(id, _)| decision.allowed && !self.is_held(*id)) {
            let now = self.at;
            let window = window_of(quota, now);
            let kept = units(quota, cost);
            self.hold(Hold { id, amount: cost, kept, ends: now.after(ttl), window, holder: None });
        }
        (decision, granted)
    }

    /// What [`Self::take`] would say to a request of that cost; what remains
    /// is what remains before it.
    #[must_use]
    pub fn peek(&self, quota: &Quota, cost: u32, clock: Timestamp) -> Decision {
        let mut copy = self.clone();
        let (quota, now) = copy.advance(quota, clock);
        peek(&quota, copy.state, cost, now)
    }

    /// For how long a refusal holds, whatever comes back in between.
    #[must_use]
    pub fn refusal_holds(&self, decision: &Decision) -> Duration {
        if self.holds.is_empty() { decision.retry_after } else { decision.retry_after.min(RECHECK) }
    }

    /// Tokens in live leases.
    #[must_use]
    pub fn lent(&self) -> u32 {
        self.leases().map(|hold| hold.amount).fold(0, u32::saturating_add)
    }

    /// The holds, in the order of their ends.
    #[must_use]
    pub fn holds(&self) -> &[Hold] {
        &self.holds
    }

    /// When it says nothing any more, if it is left alone.
    #[must_use]
    pub fn ends(&self, quota: &Quota) -> Timestamp {
        let decision = self.peek(quota, 1, self.at);
        let held = self.holds.last().map_or(self.at, |hold| hold.ends);
        // What is owed while a lease lives comes back after it. A millisecond
        // more, since spans are cut to milliseconds.
        held.after(decision.full_after).after(Duration::from_millis(1))
    }

    fn leases(&self) -> impl Iterator<Item = &Hold> {
        self.holds.iter().filter(|hold| hold.holder.is_some())
    }

    fn is_held(&self, id: u64) -> bool {
        self.holds.iter().any(|hold| hold.id == id)
    }

    /// How many hold a lease, with one that asks for one.
    fn holders_with(&self, holder: u64) -> usize {
        let mut holders: Vec<u64> = self.leases().filter_map(|hold| hold.holder).chain([holder]).collect();
        holders.sort_unstable();
        holders.dedup();
        holders.len()
    }

    fn hold(&mut self, hold: Hold) {
        if hold.amount == 0 {
            return;
        }
        // Nobody says that a request has passed, so most of what is old will
        // never be taken back. A lease must stay: its holder spends it.
        if self.holds.len() >= HOLDS_LIMIT
            && let Some(first) = self.holds.iter().position(|other| other.holder.is_none())
        {
            self.holds.remove(first);
        }
        if self.holds.len() < HOLDS_LIMIT {
            let place = self.holds.partition_point(|other| other.ends <= hold.ends);
            self.holds.insert(place, hold);
        }
    }

    fn spend(&mut self, quota: &Quota, cost: u32, now: Timestamp) -> Decision {
        let (decision, state) = take(quota, self.state, cost, now);
        self.state = state;
        decision
    }

    /// Brings everything up to now: the quota to decide by, and the time.
    fn advance(&mut self, quota: &Quota, clock: Timestamp) -> (Quota, Timestamp) {
        let now = self.now(quota, clock);
        let quota = self.remember_capacity(quota, now);
        match quota.algorithm() {
            Algorithm::Gcra => self.advance_gcra(&quota, now),
            Algorithm::SlidingWindow | Algorithm::FixedWindow => self.advance_window(&quota, now),
        }
        (quota, now)
    }

    fn now(&mut self, quota: &Quota, clock: Timestamp) -> Timestamp {
        let step = self.at.since(clock);
        if step > MARGIN {
            for hold in &mut self.holds {
                hold.ends = hold.ends.before(step);
            }
            match self.state {
                Some(State::Gcra(tat)) => self.state = Some(State::Gcra(gcra::earlier(tat, step))),
                Some(State::Window(before)) => {
                    let after = quota.window_at(Some(before), clock);
                    let windows = before.index.saturating_sub(after.index);
                    for hold in &mut self.holds {
                        hold.window = hold.window.saturating_sub(windows);
                    }
                    self.state = Some(State::Window(after));
                }
                None => {}
            }
            self.at = clock;
        }
        self.at = self.at.max(clock);
        self.at
    }

    fn remember_capacity(&mut self, quota: &Quota, now: Timestamp) -> Quota {
        let own = quota.burst().saturating_add(quota.debt());
        let (capacity, seen) = self.capacity;
        if own >= capacity || now.since(seen) > QUOTA_CHANGE {
            self.capacity = (own, now);
        }
        quota.with_debt(self.capacity.0.saturating_sub(quota.burst()))
    }

    fn advance_gcra(&mut self, quota: &Quota, now: Timestamp) {
        let ended = self.holds.partition_point(|hold| hold.ends <= now);
        let mut lent = self.lent();
        for hold in self.holds.drain(..ended).filter(|hold| hold.holder.is_some()) {
            self.state =
                Some(State::Gcra(gcra::at_least(quota, algorithm::tat(self.state), lent, hold.ends)));
            lent = lent.saturating_sub(hold.amount);
        }
        if self.holds.is_empty() {
            return;
        }
        if lent > 0 {
            self.state = Some(State::Gcra(gcra::at_least(quota, algorithm::tat(self.state), lent, now)));
        }
        // What has recovered of reservations cannot be taken back: the oldest
        // recover first.
        let mut owed = gcra::owed(quota, algorithm::tat(self.state), now).saturating_sub(units(quota, lent));
        for hold in self.holds.iter_mut().rev().filter(|hold| hold.holder.is_none()) {
            hold.kept = hold.kept.min(owed);
            owed = owed.saturating_sub(hold.kept);
        }
        self.holds.retain(|hold| hold.kept > 0);
    }

    fn advance_window(&mut self, quota: &Quota, now: Timestamp) {
        let ended = self.holds.partition_point(|hold| hold.ends <= now);
        self.holds.drain(..ended);
        if !self.holds.iter().any(|hold| hold.holder.is_some()) {
            return;
        }
        let mut window = quota.window_at(algorithm::window(self.state), now);
        for hold in &mut self.holds {
            if hold.holder.is_some() && hold.window < window.index {
                window.current = window.current.saturating_add(hold.amount);
                hold.window = window.index;
            }
        }
        self.state = Some(State::Window(window));
    }
}

/// Tokens in units of [`Hold::kept`].
fn units(quota: &Quota, amount: u32) -> u128 {
    quota.window().as_nanos().saturating_mul(amount.into())
}

/// The window that a hold counts in.
fn window_of(quota: &Quota, now: Timestamp) -> u64 {
    if quota.algorithm() == Algorithm::Gcra { 0 } else { quota.index(now) }
}
