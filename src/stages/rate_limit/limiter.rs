//! The counters of one `Limiter` object: [`Account`]s on its storage.
//!
//! 1. A message is decided on what is stored, and what it changes is stored
//!    before the answer leaves. A refusal changes nothing, and is not written.
//! 2. Rules of one request are all charged or none: an enforced refusal drops
//!    what stands before it in the message.
//! 3. Nothing is kept in memory but how many accounts there are and which are
//!    used most. Past [`ACCOUNTS_LIMIT`] unknown keys share an account for
//!    each quota: a flood of keys fills no storage and loosens nobody's limit.

use std::hash::Hasher as _;

use siphasher::sip128::{Hasher128, SipHasher13};

use super::CounterKey;
use super::account::{Account, Wanted};
use super::algorithm::{Decision, Quota};
use super::message::count::{Answer, Ask, Count, LIST_LIMIT, Look, Message, Outcome, Used};
use super::message::{Peek, Take, Taken};
use crate::error::PlatformError;
use crate::platform::AccountStore;
use crate::stages::bans::Ban;
use crate::stages::ip_filter::prefix::Prefix;
use crate::text::hex;
use crate::time::Timestamp;

/// The most accounts of an object: some 150 MiB of its storage.
pub const ACCOUNTS_LIMIT: usize = 1_000_000;

/// The most counters whose use is followed.
const FOLLOWED: usize = 100;

/// The least time between two sweeps of a full store, in milliseconds.
const SWEEP_EVERY: u64 = 10_000;

/// Finds the ban of a client.
pub type FindBan<'a> = &'a mut dyn FnMut(Prefix) -> Result<Option<Ban>, PlatformError>;

/// The counters of one object.
#[derive(Debug)]
pub struct LimiterCounts {
    /// How many accounts are stored; `None` before they were counted.
    stored: Option<usize>,
    limit: usize,
    swept: Timestamp,
    top: Vec<(CounterKey, Used)>,
}

impl Default for LimiterCounts {
    fn default() -> Self {
        Self::with_limit(ACCOUNTS_LIMIT)
    }
}

/// An account that a message has touched.
struct Touched {
    key: CounterKey,
    quota: Quota,
    account: Account,
    /// Whether it was stored.
    is_stored: bool,
    is_changed: bool,
}

impl LimiterCounts {
    /// Counters of which at most that many are stored.
    #[must_use]
    pub const fn with_limit(limit: usize) -> Self {
        Self { stored: None, limit, swept: Timestamp::from_millis(0), top: Vec::new() }
    }

    /// Takes in a message of either version; gives the text of the answer, or
    /// nothing where it is no message about counts.
    ///
    /// # Errors
    /// The storage failed.
    pub fn tell(
        &mut self,
        store: &impl AccountStore,
        text: &str,
        banned: FindBan<'_>,
        now: Timestamp,
    ) -> Result<Option<String>, PlatformError> {
        // As the build before: it knows no version but the first.
        let is_current = !cfg!(feature = "previous-protocol");
        if let Some(message) = Message::decode(text).filter(|_| is_current) {
            return self.answer(store, message, banned, now).map(|answer| Some(answer.encode()));
        }
        if let Some(take) = Take::decode(text) {
            let ask = Ask {
                key: take.key,
                quota: take.quota,
                cost: take.cost,
                enforced: true,
                penalty: 0,
                reservation: None,
                wanted: None,
                label: String::new(),
            };
            let count = Count { client: take.client, asks: vec![ask], ..Count::default() };
            let answer = self.count(store, count, banned, now)?;
            return Ok(first(answer).map(|taken| taken.encode()));
        }
        if let Some(peek) = Peek::decode(text) {
            let look = Look { key: peek.key, quota: peek.quota, cost: 1 };
            let answer = self.peek(store, peek.client, &[look], banned, now)?;
            return Ok(first(answer).map(|taken| taken.encode()));
        }
        Ok(None)
    }

    fn answer(
        &mut self,
        store: &impl AccountStore,
        message: Message,
        banned: FindBan<'_>,
        now: Timestamp,
    ) -> Result<Answer, PlatformError> {
        match message {
            Message::Count(count) => self.count(store, count, banned, now),
            Message::Peek(client, looks) => self.peek(store, client, &looks, banned, now),
            Message::Reset(keys) => {
                for key in keys {
                    if store.account(key)?.is_some() {
                        store.forget(key)?;
                        self.stored = self.stored.map(|stored| stored.saturating_sub(1));
                    }
                    self.top.retain(|(known, _)| *known != key);
                }
                Ok(Answer::default())
            }
            Message::Top(limit) => {
                let mut top: Vec<Used> = self.top.iter().map(|(_, used)| used.clone()).collect();
                top.sort_by_key(|used| std::cmp::Reverse((used.used, used.refused)));
                top.truncate(limit.min(LIST_LIMIT));
                Ok(Answer { top, ..Answer::default() })
            }
        }
    }

    fn count(
        &mut self,
        store: &impl AccountStore,
        count: Count,
        banned: FindBan<'_>,
        now: Timestamp,
    ) -> Result<Answer, PlatformError> {
        let mut touched: Vec<Touched> = Vec::with_capacity(count.asks.len());
        for settle in &count.settle {
            let at = self.touch(store, &mut touched, settle.key, &settle.quota, now)?;
            let returned = at.account.settle(&settle.quota, settle.report.id, settle.report.unspent, now);
            at.is_changed = true;
            self.note(settle.key, |used| used.used = used.used.saturating_sub(returned.into()));
        }
        for charge in &count.charge {
            let at = self.touch(store, &mut touched, charge.key, &charge.quota, now)?;
            at.account.charge(&charge.quota, charge.amount, now);
            at.is_changed = true;
            self.note(charge.key, |used| used.used = used.used.saturating_add(charge.amount.into()));
        }
        // What has ended or happened stands, whatever is refused below.
        self.keep(store, &mut touched)?;
        let mut results = Vec::with_capacity(count.asks.len());
        let mut is_refused = false;
        for ask in &count.asks {
            let at = self.touch(store, &mut touched, ask.key, &ask.quota, now)?;
            let reservation = ask.reservation.map(|hold| (hold.id, hold.ttl));
            let nothing = Wanted { id: 0, holder: 0, amount: 0, ttl: std::time::Duration::ZERO };
            let wanted = ask.wanted.unwrap_or(nothing);
            let (decision, granted) = at.account.ask(&ask.quota, ask.cost, reservation, &wanted, now);
            at.is_changed |= decision.allowed;
            let holds = at.account.refusal_holds(&decision);
            results.push(Outcome { decision, granted, holds });
            if !decision.allowed && ask.enforced {
                is_refused = true;
                break;
            }
        }
        for (ask, outcome) in count.asks.iter().zip(&mut results) {
            let allowed = outcome.decision.allowed;
            if is_refused {
                outcome.granted = None;
            }
            let lent = outcome.granted.map_or(0, |granted| granted.amount);
            let spent = if allowed && !is_refused { ask.cost.saturating_add(lent) } else { 0 };
            self.follow(ask, spent, !allowed);
        }
        if is_refused {
            touched.clear();
        }
        for (ask, outcome) in count.asks.iter().zip(&mut results) {
            if ask.penalty > 0 && !outcome.decision.allowed {
                let at = self.touch(store, &mut touched, ask.key, &ask.quota, now)?;
                at.account.charge(&ask.quota, ask.penalty, now);
                at.is_changed = true;
                // The client is told what it has to wait from here on.
                outcome.decision = at.account.peek(&ask.quota, ask.cost, now);
                outcome.holds = at.account.refusal_holds(&outcome.decision);
            }
        }
        self.keep(store, &mut touched)?;
        Ok(Answer { results, banned: ban_of(count.client, banned)?, top: Vec::new() })
    }

    fn peek(
        &mut self,
        store: &impl AccountStore,
        client: Option<Prefix>,
        looks: &[Look],
        banned: FindBan<'_>,
        now: Timestamp,
    ) -> Result<Answer, PlatformError> {
        let mut results = Vec::with_capacity(looks.len());
        for look in looks {
            let mut text = store.account(look.key)?;
            if text.is_none() && self.count_stored(store)? >= self.limit {
                text = store.account(overflow(&look.quota))?;
            }
            let account = text.as_deref().and_then(Account::decode).unwrap_or_default();
            let decision = account.peek(&look.quota, look.cost, now);
            results.push(Outcome { decision, granted: None, holds: account.refusal_holds(&decision) });
        }
        Ok(Answer { results, banned: ban_of(client, banned)?, top: Vec::new() })
    }

    /// The account of a key as this message has it.
    fn touch<'t>(
        &mut self,
        store: &impl AccountStore,
        touched: &'t mut Vec<Touched>,
        key: CounterKey,
        quota: &Quota,
        now: Timestamp,
    ) -> Result<&'t mut Touched, PlatformError> {
        let mut key = key;
        let mut place = touched.iter().position(|touched| touched.key == key);
        if place.is_none() {
            let mut text = store.account(key)?;
            if text.is_none() && self.is_full(store, touched, now)? {
                key = overflow(quota);
                place = touched.iter().position(|touched| touched.key == key);
                text = store.account(key)?;
            }
            if place.is_none() {
                let account = text.as_deref().and_then(Account::decode).unwrap_or_default();
                let is_stored = text.is_some();
                touched.push(Touched { key, quota: *quota, account, is_stored, is_changed: false });
            }
        }
        let place = place.unwrap_or(touched.len().saturating_sub(1));
        // It has just been found or put there.
        touched.get_mut(place).ok_or_else(|| {
            PlatformError::failed(crate::error::Dependency::Counter, "an account was lost in a message")
        })
    }

    fn count_stored(&mut self, store: &impl AccountStore) -> Result<usize, PlatformError> {
        let stored = match self.stored {
            Some(stored) => stored,
            None => store.count()?,
        };
        self.stored = Some(stored);
        Ok(stored)
    }

    fn is_full(
        &mut self,
        store: &impl AccountStore,
        touched: &[Touched],
        now: Timestamp,
    ) -> Result<bool, PlatformError> {
        let new = touched.iter().filter(|touched| !touched.is_stored).count();
        if self.count_stored(store)?.saturating_add(new) < self.limit {
            return Ok(false);
        }
        // A sweep reads every row; under a flood of keys it must not run for
        // each of them.
        if now.since(self.swept).as_millis() >= u128::from(SWEEP_EVERY) || now < self.swept {
            self.sweep(store, now)?;
        }
        Ok(self.count_stored(store)?.saturating_add(new) >= self.limit)
    }

    fn keep(&mut self, store: &impl AccountStore, touched: &mut [Touched]) -> Result<(), PlatformError> {
        for touched in touched.iter_mut().filter(|touched| touched.is_changed) {
            let ends = touched.account.ends(&touched.quota);
            store.keep(touched.key, ends, &touched.account.encode())?;
            if !touched.is_stored {
                self.stored = self.stored.map(|stored| stored.saturating_add(1));
            }
            touched.is_stored = true;
            touched.is_changed = false;
        }
        Ok(())
    }

    /// Removes what says nothing any more.
    ///
    /// # Errors
    /// The storage failed.
    pub fn sweep(&mut self, store: &impl AccountStore, now: Timestamp) -> Result<(), PlatformError> {
        self.swept = now;
        store.sweep(now)?;
        self.stored = Some(store.count()?);
        Ok(())
    }

    /// Whether nothing is stored.
    ///
    /// # Errors
    /// The storage failed.
    pub fn is_empty(&mut self, store: &impl AccountStore) -> Result<bool, PlatformError> {
        Ok(self.count_stored(store)? == 0)
    }

    fn note(&mut self, key: CounterKey, change: impl FnOnce(&mut Used)) {
        if let Some((_, used)) = self.top.iter_mut().find(|(known, _)| *known == key) {
            change(used);
        }
    }

    /// Follows the use of a counter. Where there are too many, the one that is
    /// used least makes room, and its use is the newcomer's error (the
    /// space-saving algorithm of Metwally, Agrawal and El Abbadi).
    fn follow(&mut self, ask: &Ask, spent: u32, refused: bool) {
        let change = |used: &mut Used| {
            used.used = used.used.saturating_add(spent.into());
            used.refused = used.refused.saturating_add(refused.into());
        };
        if self.top.iter().any(|(known, _)| *known == ask.key) {
            return self.note(ask.key, change);
        }
        let mut error = 0;
        if self.top.len() >= FOLLOWED {
            let used = |(_, used): &(CounterKey, Used)| used.used.saturating_add(used.refused);
            let Some(least) = (0..self.top.len()).min_by_key(|index| self.top.get(*index).map(used)) else {
                return;
            };
            error = self.top.swap_remove(least).1.used;
        }
        let (counter, label) = (hex(ask.key.0, 32), ask.label.clone());
        let mut used = Used { counter, label, used: error, refused: 0, error };
        change(&mut used);
        self.top.push((ask.key, used));
    }
}

fn first(answer: Answer) -> Option<Taken> {
    let outcome = answer.results.first()?;
    Some(Taken { decision: Decision { ..outcome.decision }, banned: answer.banned })
}

fn ban_of(client: Option<Prefix>, banned: FindBan<'_>) -> Result<Option<Ban>, PlatformError> {
    client.map_or(Ok(None), banned)
}

/// The account that unknown keys share in a full store.
fn overflow(quota: &Quota) -> CounterKey {
    let mut hasher = SipHasher13::new_with_keys(0x6564_6765_7765_6972, 0x6f76_6572_666c_6f77);
    hasher.write(quota.algorithm().as_str().as_bytes());
    hasher.write_u32(quota.max());
    hasher.write_u128(quota.window().as_nanos());
    hasher.write_u32(quota.burst());
    CounterKey(hasher.finish128().as_u128())
}
