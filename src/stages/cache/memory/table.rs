//! Where an answer is found: an open-addressed table whose slots hold all that
//! finding it takes.
//!
//! 1. A slot is 32 bytes in the module, and two fill a cache line. Whoever
//!    finds an answer waits for one line, and for none that the first names.
//! 2. A key is known by its tag and not by its text, which is not kept:
//!    [`Tag`] says why that is enough.
//! 3. Slots stand in the order of the places that their tags ask for, so a
//!    larger table is filled from the smaller one in one pass over both.

use std::rc::Rc;

use siphasher::sip128::{Hash128, SipHasher13};

use crate::stages::cache::entry::Entry;

/// What stands for a key: 128 bits of SipHash-1-3 under the isolate's random
/// seed.
///
/// Two keys with one tag would be taken for each other, and a client may choose
/// keys. He knows neither the seed nor any tag, so two keys of his choice meet
/// with a probability of 2^-128: a thousand million different keys, which no
/// isolate sees, hold a pair with 2^-69. Keys that he found to meet under a
/// seed of his own, after some 2^64 attempts, meet in an isolate that has that
/// seed, one in 2^64; and the best known way to a collision that holds for all
/// seeds works once in 2^167 (Dobraunig, Mendel, Schläffer 2014).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tag {
    /// Its upper half says where the slot is.
    first: u64,
    second: u64,
}

impl Tag {
    /// The tag of a key.
    pub fn of(seed: u64, key: &str) -> Self {
        let Hash128 { h1, h2 } = SipHasher13::new_with_keys(seed, 1).hash(key.as_bytes());
        Self { first: h1, second: h2 }
    }

    /// Half of it: enough to remember that a key was here.
    pub const fn short(self) -> u64 {
        self.first
    }
}

/// The largest body, in bytes: three bits of its word say how it is used.
pub const LARGEST: u64 = (1 << 29) - 1;

/// How often an answer was looked up counts to this.
const MOST_USES: u32 = 3;

/// An answer in the table.
#[derive(Clone, Debug, Default)]
#[repr(align(32))]
pub struct Slot {
    tag: Tag,
    entry: Option<Rc<Entry>>,
    body: u32,
    /// When it is not worth keeping any more, in seconds since 1970: until
    /// 2106, and what would be kept for longer leaves then.
    ends: u32,
    /// From the lowest bit: how often it was looked up, two bits; whether it
    /// has been looked up enough to stay, one; the size of its body, 29.
    word: u32,
}

impl Slot {
    /// One that nobody has looked up. `None` when the body is too large.
    pub fn new(tag: Tag, entry: Rc<Entry>, body: u32, size: u64) -> Option<Self> {
        let size = u32::try_from(size).ok().filter(|size| u64::from(*size) <= LARGEST)?;
        let ends = entry.received.seconds().saturating_add(entry.retention());
        let ends = u32::try_from(ends).unwrap_or(u32::MAX);
        Some(Self { tag, entry: Some(entry), body, ends, word: size << 3 })
    }

    pub const fn entry(&self) -> Option<&Rc<Entry>> {
        self.entry.as_ref()
    }

    pub const fn body(&self) -> u32 {
        self.body
    }

    pub const fn size(&self) -> u64 {
        (self.word >> 3) as u64
    }

    /// Whether it is still worth keeping, so many seconds after 1970.
    pub fn lasts(&self, seconds: u64) -> bool {
        seconds < u64::from(self.ends)
    }

    /// How often it was looked up since that counts.
    pub const fn uses(&self) -> u32 {
        self.word & MOST_USES
    }

    /// It was looked up.
    pub const fn count_use(&mut self) {
        if self.uses() < MOST_USES {
            self.word = self.word.saturating_add(1);
        }
    }

    /// One use does not count any more.
    pub const fn forget_use(&mut self) {
        if self.uses() > 0 {
            self.word = self.word.saturating_sub(1);
        }
    }

    pub const fn is_main(&self) -> bool {
        self.word & 4 != 0
    }

    /// It has been looked up enough to stay; uses count anew.
    pub const fn make_main(&mut self) {
        self.word = (self.word & !MOST_USES) | 4;
    }

    /// As much used as another.
    pub const fn used_like(&mut self, other: &Self) {
        self.word = (self.word & !7) | (other.word & 7);
    }
}

/// The table.
#[derive(Debug, Default)]
pub struct Table {
    slots: Vec<Slot>,
    len: usize,
}

impl Table {
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Where a tag would like to be: the first slot of a line.
    const fn home(tag: Tag, slots: usize) -> usize {
        let lines = slots as u64 >> 1;
        (((tag.first >> 32).wrapping_mul(lines) >> 32) << 1) as usize
    }

    const fn after(&self, at: usize) -> usize {
        let next = at.wrapping_add(1);
        if next < self.slots.len() { next } else { 0 }
    }

    /// Where a tag is, from its home on. Some slot is always empty.
    pub fn place(&self, tag: Tag) -> Option<usize> {
        let mut at = Self::home(tag, self.slots.len());
        loop {
            let slot = self.slots.get(at)?;
            if slot.tag == tag && slot.entry.is_some() {
                return Some(at);
            }
            slot.entry.as_ref()?;
            at = self.after(at);
        }
    }

    /// What is at a place.
    pub fn at(&mut self, place: usize) -> Option<&mut Slot> {
        self.slots.get_mut(place)
    }

    pub fn get(&self, tag: Tag) -> Option<&Slot> {
        self.slots.get(self.place(tag)?)
    }

    pub fn get_mut(&mut self, tag: Tag) -> Option<&mut Slot> {
        self.at(self.place(tag)?)
    }

    /// Puts a slot where none of its tag is.
    pub fn insert(&mut self, slot: Slot) {
        // Three quarters full at most: then most are in the line that they would
        // like to be in, and few lines hold nothing.
        if self.len.saturating_add(1).saturating_mul(4) > self.slots.len().saturating_mul(3) {
            self.grow();
        }
        self.put(slot);
        self.len = self.len.saturating_add(1);
    }

    fn put(&mut self, slot: Slot) {
        let mut at = Self::home(slot.tag, self.slots.len());
        while let Some(there) = self.slots.get_mut(at) {
            if there.entry.is_none() {
                *there = slot;
                return;
            }
            at = self.after(at);
        }
    }

    /// By a quarter: what is not used would lie between what is.
    fn grow(&mut self) {
        let more = (self.slots.len() / 8).max(8).saturating_mul(2);
        let slots = vec![Slot::default(); self.slots.len().saturating_add(more)];
        for slot in std::mem::replace(&mut self.slots, slots) {
            if slot.entry.is_some() {
                self.put(slot);
            }
        }
    }

    /// Takes a slot out; those behind it that would rather be there move up.
    pub fn remove(&mut self, tag: Tag) -> Option<Slot> {
        let mut hole = self.place(tag)?;
        let removed = self.slots.get_mut(hole).map(std::mem::take)?;
        self.len = self.len.saturating_sub(1);
        let slots = self.slots.len();
        let distance = |from: usize, to: usize| {
            if to >= from { to.wrapping_sub(from) } else { to.wrapping_add(slots).wrapping_sub(from) }
        };
        let mut at = self.after(hole);
        while let Some(slot) = self.slots.get_mut(at).filter(|slot| slot.entry.is_some()) {
            if distance(Self::home(slot.tag, slots), at) >= distance(hole, at) {
                let moved = std::mem::take(slot);
                if let Some(free) = self.slots.get_mut(hole) {
                    *free = moved;
                }
                hole = at;
            }
            at = self.after(at);
        }
        Some(removed)
    }
}
