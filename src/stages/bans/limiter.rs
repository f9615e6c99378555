//! The bans of one `Limiter` object: those of its clients, made of what
//! isolates report, and those that it is told of.
//!
//! 1. Whatever changes is stored before the answer leaves. In memory is what
//!    every count asks: the bans.
//! 2. A report that comes again is answered again and not counted.
//! 3. What triggers made is reported to `Control`, at most every two seconds
//!    and until it has been acknowledged. What `Control` does not take, since
//!    the guard list holds it or it was lifted meanwhile, goes here, too.
//! 4. What a person lifts stays known for ten minutes: offences from before,
//!    which an isolate reports late, bring no ban back, and are not counted.
//! 5. Bounded: clients that were counted longest ago leave first, and a
//!    trigger's ban that finds no place is told to who reported it, and no
//!    further.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;

use super::message::{BanText, Message, Offence, Report, Told};
use super::offender::Offender;
use super::{Ban, BanTable, Terms, table};
use crate::error::{Dependency, PlatformError};
use crate::platform::{BanRows, BanStore};
use crate::stages::ip_filter::prefix::Prefix;
use crate::time::Timestamp;

/// How many clients are remembered, each for every trigger.
pub const OFFENDERS_LIMIT: usize = 20_000;

/// How many isolates are remembered.
pub const REPORTERS_LIMIT: usize = 5_000;

/// How many lifted networks are remembered.
pub const LIFTED_LIMIT: usize = 5_000;

/// How long it is remembered that a ban was lifted: longer than an isolate
/// tries to report.
pub const LIFTED_LIFETIME: Duration = Duration::from_secs(600);

/// How long the number of an isolate's last report is remembered.
const REPORTER_LIFETIME: Duration = Duration::from_secs(3_600);

/// The most bans of one message to `Control`.
pub const BATCH_LIMIT: usize = 500;

/// The least time between two messages to `Control`.
pub const BATCH_EVERY: Duration = Duration::from_secs(2);

/// The longest wait after a message that failed.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A ban as it is stored, and as `Control` hears of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Row {
    #[serde(flatten)]
    ban: BanText,
    /// How many the trigger has made in a row.
    count: u32,
    /// Whether `Control` knows it.
    reported: bool,
}

/// A network whose bans were lifted, as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct LiftedRow {
    /// When, in milliseconds since 1970.
    time: u64,
    /// The triggers that have begun anew with this client since.
    anew: Vec<String>,
}

/// A ban that `Control` has to hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreported {
    /// The ban.
    pub ban: Ban,
    /// How many the trigger has made in a row.
    pub count: u32,
}

/// The bans of one object.
#[derive(Debug)]
pub struct LimiterBans {
    seed: u64,
    /// Everything below is read when it is first asked for.
    loaded: bool,
    table: BanTable,
    /// The networks whose bans `Control` does not know.
    unreported: BTreeSet<Prefix>,
    offenders: usize,
    reporters: usize,
    lifted: usize,
    /// When `Control` is told next, and how often that failed in a row.
    next: Timestamp,
    failures: u32,
}

impl LimiterBans {
    /// Nothing read yet. `seed` is random.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            loaded: false,
            table: BanTable::new(table::CAPACITY, seed),
            unreported: BTreeSet::new(),
            offenders: 0,
            reporters: 0,
            lifted: 0,
            next: Timestamp::default(),
            failures: 0,
        }
    }

    fn load(&mut self, store: &impl BanStore, now: Timestamp) -> Result<(), PlatformError> {
        if self.loaded {
            return Ok(());
        }
        *self = Self { next: self.next, failures: self.failures, ..Self::new(self.seed) };
        for text in store.all(BanRows::Bans)? {
            let row: Row = read(&text)?;
            let Some(ban) = row.ban.read() else { continue };
            let network = ban.network;
            if self.table.hold(ban, None, now) && !row.reported {
                self.unreported.insert(network);
            }
        }
        self.offenders = store.count(BanRows::Offenders)?;
        self.reporters = store.count(BanRows::Reporters)?;
        self.lifted = store.count(BanRows::Lifted)?;
        self.loaded = true;
        Ok(())
    }

    /// Runs what changes the store; where that fails, memory is read anew.
    fn with<T>(
        &mut self,
        store: &impl BanStore,
        now: Timestamp,
        change: impl FnOnce(&mut Self) -> Result<T, PlatformError>,
    ) -> Result<T, PlatformError> {
        self.load(store, now)?;
        let done = change(self);
        self.loaded = done.is_ok();
        done
    }

    /// The ban that holds all of a client's network.
    ///
    /// # Errors
    /// The storage failed.
    pub fn banned(
        &mut self,
        store: &impl BanStore,
        network: Prefix,
        now: Timestamp,
    ) -> Result<Option<Ban>, PlatformError> {
        self.load(store, now)?;
        let holds = |ban: &&Ban| !ban.shadow && ban.network.length() <= network.length();
        let bans = self.table.find(network.address(), now).filter(holds);
        Ok(bans.max_by_key(|ban| ban.until).cloned())
    }

    /// Takes in what it is told.
    ///
    /// # Errors
    /// The storage failed: whoever told will tell again.
    pub fn tell(
        &mut self,
        store: &impl BanStore,
        message: Message,
        now: Timestamp,
    ) -> Result<Told, PlatformError> {
        self.with(store, now, |bans| match message {
            Message::Report(report) => bans.report(store, &report, now),
            Message::Ban(list) => {
                for ban in list {
                    bans.hold(store, &Unreported { ban, count: 0 }, true, now)?;
                }
                Ok(Told::default())
            }
            Message::Lift(list) => {
                for (network, time) in list {
                    bans.lift(store, network, time)?;
                    bans.remember_lifted(store, network, time, now)?;
                }
                Ok(Told::default())
            }
        })
    }

    fn report(
        &mut self,
        store: &impl BanStore,
        report: &Report,
        now: Timestamp,
    ) -> Result<Told, PlatformError> {
        let isolate = format!("{:016x}", report.isolate);
        let last = store.get(BanRows::Reporters, &isolate)?;
        let number = last.as_ref().and_then(|last| last.parse::<u64>().ok());
        let is_repeated = number.is_some_and(|number| report.number <= number);
        let mut told = Told::default();
        for offence in &report.offences {
            let Some(terms) = report.terms.get(offence.trigger) else { continue };
            let (keep, ban) = self.offence(store, terms, offence, is_repeated, now)?;
            told.keep.push(keep);
            told.bans.extend(ban.filter(|ban| ban.until > now));
        }
        if last.is_none() {
            self.reporters = self.reporters.saturating_add(1);
            if self.reporters > REPORTERS_LIMIT {
                self.reporters = drop_first(store, BanRows::Reporters, self.reporters)?;
            }
        }
        if !is_repeated {
            let ends = now.after(REPORTER_LIFETIME);
            store.put(BanRows::Reporters, &isolate, ends, &report.number.to_string())?;
        }
        Ok(told)
    }

    fn offence(
        &mut self,
        store: &impl BanStore,
        terms: &Terms,
        offence: &Offence,
        is_repeated: bool,
        now: Timestamp,
    ) -> Result<(u32, Option<Ban>), PlatformError> {
        let key = format!("{} {}", offence.network, terms.id);
        let known = store.get(BanRows::Offenders, &key)?;
        let is_new = known.is_none();
        let mut offender: Offender = known.map(|text| read(&text)).transpose()?.unwrap_or_default();
        if let Some(mut lifted) = self.lifted(store, offence.network)? {
            let time = Timestamp::from_millis(lifted.time);
            if offence.banned.unwrap_or(offence.first) <= time {
                return Ok((0, None));
            }
            if !lifted.anew.iter().any(|id| **id == *terms.id) {
                offender = Offender::default();
                lifted.anew.push(terms.id.to_string());
                let ends = time.after(LIFTED_LIFETIME);
                store.put(BanRows::Lifted, &offence.network.to_string(), ends, &text(&lifted))?;
            }
        }
        if is_repeated {
            return Ok((0, offender.ban(terms, offence)));
        }
        let luck = SipHasher13::new_with_keys(self.seed, now.millis()).hash(key.as_bytes());
        let made = offender.judge(terms, offence, now, luck);
        store.put(BanRows::Offenders, &key, offender.ends(terms, now), &text(&offender))?;
        if is_new {
            self.offenders = self.offenders.saturating_add(1);
            if self.offenders > OFFENDERS_LIMIT {
                self.offenders = drop_first(store, BanRows::Offenders, self.offenders)?;
            }
        }
        if let Some(ban) = made {
            self.hold(store, &Unreported { ban, count: offender.bans() }, false, now)?;
        }
        Ok((offender.keep(terms, now), offender.ban(terms, offence)))
    }

    /// Holds a ban, where there is room.
    fn hold(
        &mut self,
        store: &impl BanStore,
        entry: &Unreported,
        reported: bool,
        now: Timestamp,
    ) -> Result<(), PlatformError> {
        let Unreported { ban, count } = entry;
        self.sweep_bans(store, now)?;
        let Some(left) = self.table.place(ban.clone(), None, now) else { return Ok(()) };
        if let Some(network) = left {
            self.unreported.remove(&network);
            store.remove(BanRows::Bans, &network.to_string())?;
        }
        // Nobody else has to hear of one that never acts.
        let reported = reported || ban.shadow;
        if reported {
            self.unreported.remove(&ban.network);
        } else {
            self.unreported.insert(ban.network);
        }
        let row = Row { ban: BanText::from(ban), count: *count, reported };
        store.put(BanRows::Bans, &ban.network.to_string(), ban.until, &text(&row))
    }

    fn sweep_bans(&mut self, store: &impl BanStore, now: Timestamp) -> Result<(), PlatformError> {
        for network in self.table.sweep(now) {
            self.unreported.remove(&network);
            store.remove(BanRows::Bans, &network.to_string())?;
        }
        Ok(())
    }

    /// Takes a ban away, and what was counted of the client with it.
    fn lift(&mut self, store: &impl BanStore, network: Prefix, time: Timestamp) -> Result<(), PlatformError> {
        let Some(ban) = self.table.get(network).cloned() else { return Ok(()) };
        if self.table.lift(network, time) {
            self.unreported.remove(&network);
            store.remove(BanRows::Bans, &network.to_string())?;
            let key = format!("{network} {}", ban.cause);
            if store.get(BanRows::Offenders, &key)?.is_some() {
                self.offenders = self.offenders.saturating_sub(1);
                store.remove(BanRows::Offenders, &key)?;
            }
        }
        Ok(())
    }

    /// Remembers that a person lifted the bans of a network.
    fn remember_lifted(
        &mut self,
        store: &impl BanStore,
        network: Prefix,
        time: Timestamp,
        now: Timestamp,
    ) -> Result<(), PlatformError> {
        // Under another clock it may be far ahead.
        let time = time.min(now);
        let key = network.to_string();
        let known = self.lifted(store, network)?;
        if known.as_ref().is_some_and(|known| known.time >= time.millis()) {
            return Ok(());
        }
        if known.is_none() {
            self.lifted = self.lifted.saturating_add(1);
            if self.lifted > LIFTED_LIMIT {
                self.lifted = drop_first(store, BanRows::Lifted, self.lifted)?;
            }
        }
        let row = LiftedRow { time: time.millis(), anew: Vec::new() };
        store.put(BanRows::Lifted, &key, time.after(LIFTED_LIFETIME), &text(&row))
    }

    /// When the bans of exactly that network were lifted, where that was a
    /// short while ago.
    fn lifted(&self, store: &impl BanStore, network: Prefix) -> Result<Option<LiftedRow>, PlatformError> {
        if self.lifted == 0 {
            return Ok(None);
        }
        store.get(BanRows::Lifted, &network.to_string())?.map(|text| read(&text)).transpose()
    }

    /// When `Control` is to be told of bans; `None` where it knows all.
    ///
    /// # Errors
    /// The storage failed.
    pub fn due(&mut self, store: &impl BanStore, now: Timestamp) -> Result<Option<Timestamp>, PlatformError> {
        self.load(store, now)?;
        Ok((!self.unreported.is_empty()).then_some(self.next))
    }

    /// What `Control` is to be told now. To be [concluded](Self::conclude).
    ///
    /// # Errors
    /// The storage failed.
    pub fn batch(&mut self, store: &impl BanStore, now: Timestamp) -> Result<Vec<Unreported>, PlatformError> {
        self.with(store, now, |bans| bans.sweep_bans(store, now))?;
        if self.next > now && self.next.since(now) <= LONGEST_WAIT {
            return Ok(Vec::new());
        }
        self.next = now.after(BATCH_EVERY);
        let mut batch = Vec::new();
        for network in self.unreported.iter().take(BATCH_LIMIT) {
            let row = store.get(BanRows::Bans, &network.to_string())?;
            let row = row.map(|text| read::<Row>(&text)).transpose()?;
            let count = row.map_or(1, |row| row.count);
            batch.extend(self.table.get(*network).map(|ban| Unreported { ban: ban.clone(), count }));
        }
        Ok(batch)
    }

    /// Takes in what `Control` said to a batch: the networks that it did not
    /// take; `None` where nothing came.
    ///
    /// # Errors
    /// The storage failed: the batch will be told again.
    pub fn conclude(
        &mut self,
        store: &impl BanStore,
        batch: &[Unreported],
        dropped: Option<&[Prefix]>,
        now: Timestamp,
    ) -> Result<(), PlatformError> {
        let Some(dropped) = dropped else {
            self.failures = self.failures.saturating_add(1);
            let seconds = 2_u64.checked_shl(self.failures.min(10)).unwrap_or(u64::MAX);
            self.next = now.after(Duration::from_secs(seconds).min(LONGEST_WAIT));
            return Ok(());
        };
        self.failures = 0;
        self.with(store, now, |bans| {
            for entry in batch {
                let network = entry.ban.network;
                if bans.table.get(network) != Some(&entry.ban) {
                    // Another one meanwhile: that one is told next.
                    continue;
                }
                if dropped.contains(&network) {
                    bans.lift(store, network, entry.ban.since)?;
                } else {
                    bans.hold(store, entry, true, now)?;
                    bans.unreported.remove(&network);
                }
            }
            Ok(())
        })
    }

    /// Removes what says nothing any more.
    ///
    /// # Errors
    /// The storage failed.
    pub fn sweep(&mut self, store: &impl BanStore, now: Timestamp) -> Result<(), PlatformError> {
        self.with(store, now, |bans| {
            bans.sweep_bans(store, now)?;
            for rows in [BanRows::Offenders, BanRows::Reporters, BanRows::Lifted] {
                store.sweep(rows, now)?;
            }
            bans.lifted = store.count(BanRows::Lifted)?;
            bans.offenders = store.count(BanRows::Offenders)?;
            bans.reporters = store.count(BanRows::Reporters)?;
            Ok(())
        })
    }

    /// Whether it remembers anything.
    ///
    /// # Errors
    /// The storage failed.
    pub fn is_empty(&mut self, store: &impl BanStore, now: Timestamp) -> Result<bool, PlatformError> {
        self.load(store, now)?;
        Ok(self.table.is_empty() && self.offenders == 0 && self.reporters == 0 && self.lifted == 0)
    }
}

/// Removes the row that ends first; gives how many are left.
fn drop_first(store: &impl BanStore, rows: BanRows, count: usize) -> Result<usize, PlatformError> {
    let Some(key) = store.first(rows)? else { return Ok(count) };
    store.remove(rows, &key)?;
    Ok(count.saturating_sub(1))
}

fn text(value: &impl Serialize) -> String {
    // Texts and numbers always serialise.
    serde_json::to_string(value).unwrap_or_default()
}

fn read<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, PlatformError> {
    serde_json::from_str(text).map_err(|error| {
        PlatformError::failed(Dependency::Counter, format!("a stored ban is damaged: {error}"))
    })
}
