//! The Limiter objects on memory.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use edgeweir::error::{Dependency, PlatformError};
use edgeweir::platform::{AccountStore, BanRows, BanStore};
use edgeweir::stages::bans::limiter::LimiterBans;
use edgeweir::stages::bans::message::Message;
use edgeweir::stages::rate_limit::CounterKey;
use edgeweir::stages::rate_limit::limiter::LimiterCounts;
use edgeweir::time::Timestamp;

use super::Fault;

/// A Limiter object's rows about bans.
#[derive(Default)]
pub struct MemoryRows {
    rows: RefCell<BTreeMap<(BanRows, String), (Timestamp, String)>>,
    /// Whether everything fails.
    pub broken: Cell<bool>,
    pub writes: Cell<u64>,
}

impl MemoryRows {
    fn of(&self, rows: BanRows) -> Result<Vec<(String, Timestamp, String)>, PlatformError> {
        if self.broken.get() {
            return Err(Fault::Fails.error(Dependency::Counter));
        }
        let all = self.rows.borrow();
        let mine = all.iter().filter(|((table, _), _)| *table == rows);
        Ok(mine.map(|((_, key), (ends, text))| (key.clone(), *ends, text.clone())).collect())
    }
}

impl BanStore for MemoryRows {
    fn get(&self, rows: BanRows, key: &str) -> Result<Option<String>, PlatformError> {
        if self.broken.get() {
            return Err(Fault::Fails.error(Dependency::Counter));
        }
        Ok(self.rows.borrow().get(&(rows, key.to_owned())).map(|(_, text)| text.clone()))
    }

    fn put(&self, rows: BanRows, key: &str, ends: Timestamp, text: &str) -> Result<(), PlatformError> {
        self.writes.set(self.writes.get() + 1);
        self.rows.borrow_mut().insert((rows, key.to_owned()), (ends, text.to_owned()));
        Ok(())
    }

    fn remove(&self, rows: BanRows, key: &str) -> Result<(), PlatformError> {
        self.rows.borrow_mut().remove(&(rows, key.to_owned()));
        Ok(())
    }

    fn all(&self, rows: BanRows) -> Result<Vec<String>, PlatformError> {
        Ok(self.of(rows)?.into_iter().map(|(.., text)| text).collect())
    }

    fn first(&self, rows: BanRows) -> Result<Option<String>, PlatformError> {
        Ok(self.of(rows)?.into_iter().min_by_key(|(_, ends, _)| *ends).map(|(key, ..)| key))
    }

    fn count(&self, rows: BanRows) -> Result<usize, PlatformError> {
        Ok(self.of(rows)?.len())
    }

    fn sweep(&self, rows: BanRows, now: Timestamp) -> Result<(), PlatformError> {
        self.rows.borrow_mut().retain(|(table, _), (ends, _)| *table != rows || *ends > now);
        Ok(())
    }
}

/// A Limiter object's accounts.
#[derive(Default)]
pub struct MemoryAccounts {
    pub rows: RefCell<BTreeMap<u128, (Timestamp, String)>>,
    pub writes: Cell<u64>,
}

impl AccountStore for MemoryAccounts {
    fn account(&self, key: CounterKey) -> Result<Option<String>, PlatformError> {
        Ok(self.rows.borrow().get(&key.0).map(|(_, text)| text.clone()))
    }

    fn keep(&self, key: CounterKey, ends: Timestamp, text: &str) -> Result<(), PlatformError> {
        self.writes.set(self.writes.get() + 1);
        self.rows.borrow_mut().insert(key.0, (ends, text.to_owned()));
        Ok(())
    }

    fn forget(&self, key: CounterKey) -> Result<(), PlatformError> {
        self.rows.borrow_mut().remove(&key.0);
        Ok(())
    }

    fn count(&self) -> Result<usize, PlatformError> {
        Ok(self.rows.borrow().len())
    }

    fn sweep(&self, now: Timestamp) -> Result<(), PlatformError> {
        self.rows.borrow_mut().retain(|_, (ends, _)| *ends >= now);
        Ok(())
    }
}

/// The Limiter objects.
#[derive(Default)]
pub struct Limiters {
    pub counts: RefCell<BTreeMap<u128, (LimiterCounts, Rc<MemoryAccounts>)>>,
    pub objects: RefCell<BTreeMap<u128, (LimiterBans, Rc<MemoryRows>)>>,
    /// How many messages arrived, and how many failed.
    pub told: Cell<u64>,
    pub failed: Cell<u64>,
}

impl Limiters {
    pub fn with<T>(&self, shard: u128, act: impl FnOnce(&mut LimiterBans, &MemoryRows) -> T) -> T {
        let mut objects = self.objects.borrow_mut();
        let (bans, rows) = objects.entry(shard).or_insert_with(|| (LimiterBans::new(7), Rc::default()));
        let rows = Rc::clone(rows);
        act(bans, &rows)
    }

    /// Says a message about counts.
    pub fn count(&self, shard: u128, message: &str, now: Timestamp) -> Result<String, PlatformError> {
        let mut objects = self.counts.borrow_mut();
        let (counts, accounts) = objects.entry(shard).or_default();
        let mut banned = |client| self.with(shard, |bans, rows| bans.banned(rows, client, now));
        Ok(counts.tell(&**accounts, message, &mut banned, now)?.unwrap())
    }

    pub fn tell(&self, shard: u128, message: &str, now: Timestamp) -> Result<String, PlatformError> {
        self.told.set(self.told.get() + 1);
        let message = Message::decode(message).unwrap();
        self.with(shard, |bans, rows| Ok(bans.tell(rows, message, now)?.encode()))
    }

    /// Drops all memory, as the platform does with idle objects.
    pub fn restart(&self) {
        for (bans, _) in self.objects.borrow_mut().values_mut() {
            *bans = LimiterBans::new(8);
        }
        for (counts, _) in self.counts.borrow_mut().values_mut() {
            *counts = LimiterCounts::default();
        }
    }
}
