//! The tier `global`: KV, which every location reads.
//!
//! 1. It is for what is small and stays fresh for long: a value takes a write a
//!    second at most, is seen elsewhere after a minute or more, and is paid for
//!    by the write. Parts of an answer are not kept there.
//! 2. A name there has 512 bytes at most, so a long key is hashed. The whole
//!    key stands in the value: what is stored under another one is not found.
//! 3. KV goes on showing for a while what has been removed. So what this
//!    isolate removed it does not take back, if it had arrived by then
//!    ([`Removed`]). Purges need no such thing: an entry says when it began.

use std::collections::HashMap;
use std::time::Duration;

use sha2::{Digest, Sha256};
use siphasher::sip::SipHasher13;

use super::entry::Entry;
use super::key;
use crate::text;
use crate::time::Timestamp;

/// What the tier keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Global {
    /// The largest body, in bytes.
    pub max_body: u64,
    /// How long an answer must still be fresh, in seconds.
    pub lifetime: u64,
}

impl Global {
    /// Whether an answer lives long enough.
    #[must_use]
    pub fn takes(&self, entry: &Entry) -> bool {
        let left = entry.lifetime.saturating_sub(entry.initial_age);
        left >= self.lifetime && !entry.validate_always && entry.part.is_none()
    }
}

/// The longest name, in bytes (KV's limit).
const LONGEST_NAME: usize = 512;

/// Other things may be in the namespace.
const PREFIX: &str = "cache/";

/// Under what the answer of a key is stored; `None` for a part.
#[must_use]
pub fn name(key: &str) -> Option<String> {
    if key::is_part(key) {
        return None;
    }
    let name = [PREFIX, key::without_base(key)].concat();
    if name.len() <= LONGEST_NAME {
        return Some(name);
    }
    let digest = Sha256::digest(key.as_bytes());
    let half =
        |bytes: &[u8]| bytes.iter().take(16).fold(0, |half: u128, byte| (half << 8) | u128::from(*byte));
    let (first, second) = digest.split_at(16);
    // No environment begins with "#".
    Some([PREFIX, "#", &text::hex(half(first), 32), &text::hex(half(second), 32)].concat())
}

/// What stands in front of the body: the key, and the text of the entry.
#[must_use]
pub fn head(key: &str, entry: &str) -> String {
    [key, "\n", entry].concat()
}

/// The text of the entry, if it is this key's.
#[must_use]
pub fn entry<'a>(head: &'a str, key: &str) -> Option<&'a str> {
    let (found, entry) = head.split_once('\n')?;
    (found == key).then_some(entry)
}

/// For how long KV may show what has been removed. It promises nothing; a
/// minute is usual.
const SHOWN: Duration = Duration::from_secs(600);

/// How many removals are remembered, about 200 KiB.
const CAPACITY: usize = 4_096;

/// What this isolate has removed of late. Where that is too much to remember,
/// everything that had arrived by then counts as removed.
#[derive(Debug)]
pub struct Removed {
    seed: u64,
    removed: HashMap<u64, Timestamp>,
    everything: Option<Timestamp>,
}

impl Removed {
    /// Nothing. `seed` is random, so that nobody can make two names collide.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, removed: HashMap::new(), everything: None }
    }

    fn hash(&self, name: &str) -> u64 {
        SipHasher13::new_with_keys(self.seed, 2).hash(name.as_bytes())
    }

    /// What is stored under that name is removed now.
    pub fn note(&mut self, name: &str, now: Timestamp) {
        if self.removed.len() >= CAPACITY {
            self.removed.clear();
            self.everything = Some(now);
        }
        let hash = self.hash(name);
        self.removed.insert(hash, now);
    }

    /// Whether an answer that had arrived at that time has been removed since.
    #[must_use]
    pub fn holds(&self, name: &str, received: Timestamp, now: Timestamp) -> bool {
        let mut removals =
            [self.everything, self.removed.get(&self.hash(name)).copied()].into_iter().flatten();
        removals.any(|at| received <= at && now >= at && now.since(at) < SHOWN)
    }
}
