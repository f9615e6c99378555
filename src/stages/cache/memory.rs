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

use std::collections::BTreeMap;
use std::fmt;
use std::hash::BuildHasher;
use std::rc::Rc;
use std::time::Duration;

use quick_cache::unsync::Cache;
use quick_cache::{Lifecycle, Weighter};
use siphasher::sip::SipHasher13;

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
    /// Key and head in bytes.
    head: u64,
}

impl Kept {
    const fn weight(&self) -> u64 {
        self.size.saturating_add(self.head).saturating_add(OVERHEAD)
    }

    fn ends(&self) -> Timestamp {
        self.entry.received.after(Duration::from_secs(self.entry.retention()))
    }
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

#[derive(Clone, Copy, Debug)]
struct Weight;

impl Weighter<String, Kept> for Weight {
    fn weight(&self, _: &String, kept: &Kept) -> u64 {
        kept.weight()
    }
}

/// Collects the bodies of what leaves: evicted, replaced or never let in.
#[derive(Clone, Copy, Debug)]
struct Leaving;

impl Lifecycle<String, Kept> for Leaving {
    type RequestState = Vec<BodyNumber>;

    fn on_evict(&self, released: &mut Vec<BodyNumber>, _: String, kept: Kept) {
        released.push(kept.body);
    }
}

/// Strangers choose the keys, so the hash is keyed; std's has fixed keys on
/// this target.
#[derive(Clone, Copy, Debug)]
struct Seeded(u64);

impl BuildHasher for Seeded {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.0, 1)
    }
}

/// What the isolate keeps.
pub struct Memory {
    kept: Cache<String, Kept, Weight, Seeded, Leaving>,
    waiting: BTreeMap<BodyNumber, Waiting>,
    released: Vec<BodyNumber>,
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("len", &self.len()).field("weight", &self.weight()).finish()
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
            kept: Cache::with(items, capacity, Weight, Seeded(seed), Leaving),
            waiting: BTreeMap::new(),
            released: Vec::new(),
        }
    }

    /// What is kept under the key. What has been there for longer than it is
    /// worth keeping leaves.
    pub fn get(&mut self, key: &str, now: Timestamp) -> Option<Kept> {
        let kept = self.kept.get(key)?;
        if now < kept.ends() {
            return Some(kept.clone());
        }
        self.take(key);
        None
    }

    /// What [`Memory::get`] would give; it does not count as asked for.
    #[must_use]
    pub fn peek(&self, key: &str, now: Timestamp) -> Option<Kept> {
        self.kept.peek(key).filter(|kept| now < kept.ends()).cloned()
    }

    /// Whether this body is kept under the key.
    #[must_use]
    pub fn has(&self, key: &str, body: BodyNumber) -> bool {
        self.kept.peek(key).is_some_and(|kept| kept.body == body)
    }

    /// Has an entry wait for its body.
    pub fn expect(&mut self, body: BodyNumber, waiting: Waiting) {
        if self.waiting.len() >= WAITING {
            self.waiting.pop_first();
        }
        self.waiting.insert(body, waiting);
    }

    /// The whole body has arrived: the entry comes in. Where nothing waits for
    /// it, or something newer has come in meanwhile, the body is released.
    pub fn fill(&mut self, body: BodyNumber, size: u64) {
        let Some(Waiting { key, entry, .. }) = self.waiting.remove(&body) else {
            self.released.push(body);
            return;
        };
        if self.kept.peek(key.as_str()).is_some_and(|kept| kept.entry.received > entry.received) {
            self.released.push(body);
            return;
        }
        self.insert(key, entry, body, size);
    }

    /// The body will not arrive, or must not be kept.
    pub fn give_up(&mut self, body: BodyNumber) {
        self.waiting.remove(&body);
    }

    /// The entry has another head now. `false` where another body is kept
    /// under the key, or none.
    pub fn renew(&mut self, key: &str, body: BodyNumber, entry: Rc<Entry>) -> bool {
        let Some(size) = self.kept.peek(key).filter(|kept| kept.body == body).map(|kept| kept.size) else {
            return false;
        };
        self.insert(key.to_owned(), entry, body, size);
        true
    }

    /// Gives it another head if it is this answer.
    pub fn renew_if(&mut self, key: &str, old: &Entry, new: Rc<Entry>) {
        let kept = self.kept.peek(key).filter(|kept| *kept.entry == *old);
        if let Some(body) = kept.map(|kept| kept.body) {
            self.renew(key, body, new);
        }
    }

    /// Removes what is kept under the keys, and what waits for a body and
    /// would be.
    pub fn remove(&mut self, keys: &[String]) {
        for key in keys {
            self.take(key);
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
    pub fn weight(&self) -> u64 {
        self.kept.weight()
    }

    /// How many answers are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether nothing is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    fn insert(&mut self, key: String, entry: Rc<Entry>, body: BodyNumber, size: u64) {
        let head = entry.weight().saturating_add(key.len() as u64);
        let kept = Kept { entry, body, size, head };
        let mut leaving = Vec::new();
        self.kept.insert_with_lifecycle(key.clone(), kept, &mut leaving);
        // A new head replaces the old one over the same body.
        let stays = self.kept.peek(key.as_str()).is_some_and(|kept| kept.body == body);
        leaving.retain(|left| !(stays && *left == body));
        leaving.dedup();
        self.released.append(&mut leaving);
    }

    fn take(&mut self, key: &str) {
        if let Some((_, kept)) = self.kept.remove(key) {
            self.released.push(kept.body);
        }
    }
}
