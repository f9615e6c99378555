//! Keys whose last answer could not be kept.
//!
//! Asking the store for them would be in vain, so for a while it is not
//! asked. Nothing wrong can come of it: the origin answers, and an answer
//! that can be kept again is kept and removes the mark.

use std::collections::HashMap;

use siphasher::sip::SipHasher13;

use crate::time::Timestamp;

/// How many keys are remembered: about 1 MiB.
const CAPACITY: usize = 16_384;

/// How long, in milliseconds.
const LIFETIME: u64 = 60_000;

/// A bounded set of key hashes.
#[derive(Debug)]
pub struct HitForMiss {
    seed: u64,
    lifetime: u64,
    marks: HashMap<u64, Timestamp>,
}

impl HitForMiss {
    /// `seed` is random, so that nobody can make two keys collide on purpose.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with_lifetime(seed, LIFETIME)
    }

    /// One whose marks last so many milliseconds.
    #[must_use]
    pub fn with_lifetime(seed: u64, lifetime: u64) -> Self {
        Self { seed, lifetime, marks: HashMap::new() }
    }

    fn hash(&self, key: &str) -> u64 {
        SipHasher13::new_with_keys(self.seed, 0).hash(key.as_bytes())
    }

    /// Whether the key is marked.
    #[must_use]
    pub fn is_marked(&self, key: &str, now: Timestamp) -> bool {
        self.marks.get(&self.hash(key)).is_some_and(|marked| {
            now >= *marked && now.since(*marked).as_millis() < u128::from(self.lifetime)
        })
    }

    /// Marks a key. A full set is emptied: marks are cheap to win back.
    pub fn mark(&mut self, key: &str, now: Timestamp) {
        if self.marks.len() >= CAPACITY {
            self.marks.clear();
        }
        let hash = self.hash(key);
        self.marks.insert(hash, now);
    }

    /// Marks a key where it is not marked; gives whether it was.
    pub fn marks(&mut self, key: &str, now: Timestamp) -> bool {
        let is_marked = self.is_marked(key, now);
        if !is_marked {
            self.mark(key, now);
        }
        is_marked
    }

    /// Removes the mark.
    pub fn unmark(&mut self, key: &str) {
        let hash = self.hash(key);
        self.marks.remove(&hash);
    }
}
