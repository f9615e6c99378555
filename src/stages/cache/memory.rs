//! The tier `memory`: answers in the isolate itself.
//!
//! 1. Heads are values here, so a hit parses nothing. Bodies stay native, on
//!    the other side of the border, and are named by a number.
//! 2. All that is kept weighs at most [`CAPACITY`]. What is looked up again
//!    stays, what came by once goes first, so nobody who asks for everything
//!    once empties it.
//! 3. An entry comes in when the whole body has arrived, and not before; until
//!    then it waits, and what makes it void meanwhile keeps it out.
//! 4. Whatever leaves releases its body: [`Memory::take_released`].
//! 5. Finding an answer reads one place of a compact table, and nothing of the
//!    head: how many there are makes little difference.

mod queues;
mod table;

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use self::queues::{Queued, Queues};
use self::table::{Slot, Table, Tag};
use super::entry::Entry;
use crate::time::Timestamp;

/// What an isolate keeps, heads and bodies, in bytes: an eighth of what the
/// runtime gives it, which the module, the address sets and the answers that
/// stream share.
pub const CAPACITY: u64 = 16 << 20;

/// What an entry weighs besides its texts and its body, in bytes: tables,
/// allocations, and the native object. It also bounds how many there are.
const OVERHEAD: u64 = 512;

/// What an entry usually weighs, to guess how many there will be.
const USUAL_WEIGHT: u64 = 8 << 10;

/// How much of the room those have who have not been looked up again.
const SMALL: u64 = 10;

/// How many places of a queue may be empty beside as many as are taken.
const EMPTY_PLACES: usize = 64;

/// How many entries wait for their bodies at most. Whoever has waited longest
/// goes: its request may have been forgotten by the runtime.
const WAITING: usize = 256;

/// A body on the other side of the border. No two have the same number in the
/// life of an isolate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BodyNumber(pub u32);

/// An answer that is kept.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Its head.
    pub entry: Rc<Entry>,
    /// Its body.
    pub body: BodyNumber,
    /// How many bytes the body has.
    pub size: u64,
}

/// An answer that was found. Its head has not been read.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// Its head.
    pub entry: &'a Rc<Entry>,
    /// Its body.
    pub body: BodyNumber,
    /// How many bytes the body has.
    pub size: u64,
}

impl<'a> Found<'a> {
    fn in_slot(slot: &'a Slot) -> Option<Self> {
        Some(Self { entry: slot.entry()?, body: BodyNumber(slot.body()), size: slot.size() })
    }

    /// The answer, its head shared.
    #[must_use]
    pub fn kept(self) -> Kept {
        Kept { entry: Rc::clone(self.entry), body: self.body, size: self.size }
    }
}

fn weight(slot: &Slot) -> u64 {
    let head = slot.entry().map_or(0, |entry| entry.weight());
    slot.size().saturating_add(head).saturating_add(OVERHEAD)
}

/// An answer whose body has not arrived yet.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// Its key.
    pub key: String,
    /// The primary key of its URI: where that is removed, it is void.
    pub primary: String,
    /// Its head.
    pub entry: Rc<Entry>,
}

/// What the isolate keeps.
pub struct Memory {
    seed: u64,
    capacity: u64,
    table: Table,
    queues: Queues,
    /// What those in the small queue weigh, and those in the main one.
    small: u64,
    main: u64,
    waiting: BTreeMap<BodyNumber, Waiting>,
    released: Vec<BodyNumber>,
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("len", &self.len())
            .field("weight", &self.weight())
            .field("queued", &self.queues.len())
            .finish_non_exhaustive()
    }
}

impl Memory {
    /// An empty one. `seed` is random.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with_capacity(CAPACITY, seed)
    }

    /// One that keeps so many bytes.
    #[must_use]
    pub fn with_capacity(capacity: u64, seed: u64) -> Self {
        let items = usize::try_from(capacity / USUAL_WEIGHT).unwrap_or(usize::MAX).max(16);
        Self {
            seed,
            capacity,
            table: Table::default(),
            queues: Queues::new(items),
            small: 0,
            main: 0,
            waiting: BTreeMap::new(),
            released: Vec::new(),
        }
    }

    /// What is kept under the key. What has been there for longer than it is
    /// worth keeping leaves.
    pub fn get(&mut self, key: &str, now: Timestamp) -> Option<Kept> {
        self.find(key, now).map(Found::kept)
    }

    /// [`Memory::get`] without a share in the head.
    pub fn find(&mut self, key: &str, now: Timestamp) -> Option<Found<'_>> {
        let tag = self.tag(key);
        let place = self.table.place(tag)?;
        if !self.table.at(place)?.lasts(now.seconds()) {
            self.take(tag);
            return None;
        }
        let slot = self.table.at(place)?;
        slot.count_use();
        Found::in_slot(slot)
    }

    /// What [`Memory::get`] would give; it does not count as asked for.
    #[must_use]
    pub fn peek(&self, key: &str, now: Timestamp) -> Option<Kept> {
        let slot = self.table.get(self.tag(key)).filter(|slot| slot.lasts(now.seconds()))?;
        Found::in_slot(slot).map(Found::kept)
    }

    /// Whether this body is kept under the key.
    #[must_use]
    pub fn has(&self, key: &str, body: BodyNumber) -> bool {
        self.table.get(self.tag(key)).is_some_and(|slot| slot.body() == body.0)
    }

    /// Has an entry wait for its body.
    pub fn expect(&mut self, body: BodyNumber, waiting: Waiting) {
        if self.waiting.len() >= WAITING {
            self.waiting.pop_first();
        }
        self.waiting.insert(body, waiting);
    }

    /// The whole body has arrived: the entry comes in. Where nothing waits for
    /// it, or something newer has come in meanwhile, the body is released. What
    /// came later than now is not newer: the clock has been set back.
    pub fn fill(&mut self, body: BodyNumber, size: u64, now: Timestamp) {
        let Some(Waiting { key, entry, .. }) = self.waiting.remove(&body) else {
            self.released.push(body);
            return;
        };
        let tag = self.tag(&key);
        let there = self.table.get(tag).and_then(Slot::entry);
        if there.is_some_and(|there| there.received > entry.received && there.received <= now) {
            self.released.push(body);
            return;
        }
        self.insert(tag, entry, body, size);
    }

    /// The body will not arrive, or must not be kept.
    pub fn give_up(&mut self, body: BodyNumber) {
        self.waiting.remove(&body);
    }

    /// The entry has another head now. `false` where another body is kept
    /// under the key, or none.
    pub fn renew(&mut self, key: &str, body: BodyNumber, entry: Rc<Entry>) -> bool {
        let tag = self.tag(key);
        let Some(size) = self.table.get(tag).filter(|slot| slot.body() == body.0).map(Slot::size) else {
            return false;
        };
        self.insert(tag, entry, body, size);
        true
    }

    /// Gives it another head if it is this answer.
    pub fn renew_if(&mut self, key: &str, old: &Entry, new: Rc<Entry>) {
        let tag = self.tag(key);
        let slot = self.table.get(tag).filter(|slot| slot.entry().is_some_and(|entry| **entry == *old));
        if let Some((body, size)) = slot.map(|slot| (BodyNumber(slot.body()), slot.size())) {
            self.insert(tag, new, body, size);
        }
    }

    /// Removes what is kept under the keys, and what waits for a body and
    /// would be.
    pub fn remove(&mut self, keys: &[String]) {
        for key in keys {
            self.take(self.tag(key));
        }
        if !self.waiting.is_empty() {
            self.waiting
                .retain(|_, waiting| !keys.contains(&waiting.key) && !keys.contains(&waiting.primary));
        }
    }

    /// The bodies that are not needed any more.
    #[must_use]
    pub fn take_released(&mut self) -> Vec<BodyNumber> {
        std::mem::take(&mut self.released)
    }

    /// What is kept weighs so many bytes.
    #[must_use]
    pub const fn weight(&self) -> u64 {
        self.small.saturating_add(self.main)
    }

    /// How many answers are kept.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether nothing is kept.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn tag(&self, key: &str) -> Tag {
        Tag::of(self.seed, key)
    }

    const fn weighed(&mut self, is_main: bool) -> &mut u64 {
        if is_main { &mut self.main } else { &mut self.small }
    }

    fn add(&mut self, slot: &Slot) {
        let sum = self.weighed(slot.is_main());
        *sum = sum.saturating_add(weight(slot));
    }

    fn subtract(&mut self, slot: &Slot) {
        let sum = self.weighed(slot.is_main());
        *sum = sum.saturating_sub(weight(slot));
    }

    fn insert(&mut self, tag: Tag, entry: Rc<Entry>, body: BodyNumber, size: u64) {
        let slot = Slot::new(tag, entry, body.0, size).filter(|slot| weight(slot) <= self.capacity);
        let Some(mut slot) = slot else {
            // Under its key is nothing then: what was there is older.
            if self.take(tag) != Some(body) {
                self.released.push(body);
            }
            return;
        };
        if let Some(there) = self.table.get_mut(tag) {
            slot.used_like(there);
            slot.count_use();
            let queued = there.body() == body.0;
            let old = std::mem::replace(there, slot.clone());
            self.subtract(&old);
            self.add(&slot);
            // A new head over the same body keeps its place in the queue.
            if !queued {
                self.released.push(BodyNumber(old.body()));
                self.queues.push(Queued { tag, body: body.0 }, slot.is_main());
            }
            while self.weight() > self.capacity && self.evict() {}
        } else {
            // Room is made before: it is not for the new one to leave.
            let room = self.capacity.saturating_sub(weight(&slot));
            while self.weight() > room && self.evict() {}
            if self.queues.recognises(tag) {
                slot.make_main();
            }
            self.queues.push(Queued { tag, body: body.0 }, slot.is_main());
            self.add(&slot);
            self.table.insert(slot);
        }
        self.tidy();
    }

    /// Whoever is to leave next leaves. `false` where nobody is there.
    fn evict(&mut self) -> bool {
        let bound = self.capacity / SMALL;
        while let Some(next) = self.queues.pop(self.small > bound) {
            let Some(slot) = self.table.get_mut(next.tag).filter(|slot| slot.body() == next.body) else {
                continue;
            };
            let (is_main, uses) = (slot.is_main(), slot.uses());
            if uses == 0 {
                if !is_main {
                    self.queues.remember(next.tag);
                }
                self.take(next.tag);
                return true;
            }
            if is_main {
                slot.forget_use();
            } else {
                slot.make_main();
                let weight = weight(slot);
                self.small = self.small.saturating_sub(weight);
                self.main = self.main.saturating_add(weight);
            }
            self.queues.push(next, true);
        }
        false
    }

    fn take(&mut self, tag: Tag) -> Option<BodyNumber> {
        let slot = self.table.remove(tag)?;
        self.subtract(&slot);
        let body = BodyNumber(slot.body());
        self.released.push(body);
        Some(body)
    }

    /// What is removed leaves an empty place in its queue: not too many.
    fn tidy(&mut self) {
        let most = self.len().saturating_mul(2).saturating_add(EMPTY_PLACES);
        if self.queues.len() > most {
            let table = &self.table;
            self.queues.retain(|queued| table.get(queued.tag).is_some_and(|slot| slot.body() == queued.body));
        }
    }
}
