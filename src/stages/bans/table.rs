//! Bans in memory that came about since the last manifest: an isolate's own,
//! and those that it was told of; or those of a `Limiter` object.
//!
//! 1. Bounded. When it is full, a trigger's ban is not held: no flood of
//!    addresses can push out what is there, and the manifest will have it. A
//!    person's ban takes the place of the trigger's ban that ends first.
//! 2. A network has one ban: a person's goes before a trigger's, one that
//!    acts before one in shadow, and then the one that ends later.
//! 3. Each is provisional: it holds until its end, until a manifest has it
//!    too or says that it was lifted, or until one of the generation under
//!    which `Control` took it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv4Addr};

use siphasher::sip::SipHasher13;

use super::{Ban, BanSet};
use crate::stages::ip_filter::prefix::Prefix;
use crate::time::Timestamp;

/// How many bans an isolate holds besides those of the manifest: about 2 MiB.
pub const CAPACITY: usize = 10_000;

/// The prefix that comes before all others.
const FIRST: Prefix = Prefix::of(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// Keyed, since strangers choose what is in the table.
#[derive(Clone, Copy, Debug)]
pub struct Keyed(pub u64);

impl BuildHasher for Keyed {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.0, 0x6261_6e73)
    }
}

#[derive(Clone, Debug)]
struct Held {
    ban: Ban,
    /// The generation under which `Control` took it, where that is known.
    generation: Option<u64>,
}

/// Bans by network.
#[derive(Debug)]
pub struct BanTable {
    bans: HashMap<Prefix, Held, Keyed>,
    /// What leaves first comes first: those of triggers, by their ends.
    order: BTreeSet<(bool, Timestamp, Prefix)>,
    /// How many there are of each family and length.
    lengths: BTreeMap<(bool, u8), usize>,
    capacity: usize,
    /// The generation of the manifest that it was last held against.
    settled: u64,
}

const fn length_of(network: Prefix) -> (bool, u8) {
    (network.address().is_ipv6(), network.length())
}

impl BanTable {
    /// A table of at most that many. `seed` is random.
    #[must_use]
    pub fn new(capacity: usize, seed: u64) -> Self {
        Self {
            bans: HashMap::with_hasher(Keyed(seed)),
            order: BTreeSet::new(),
            lengths: BTreeMap::new(),
            capacity,
            settled: 0,
        }
    }

    /// How many it holds, ended ones that nobody has looked for among them.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bans.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bans.is_empty()
    }

    /// The bans that hold an address and have not ended.
    pub fn find(&self, address: IpAddr, now: Timestamp) -> impl Iterator<Item = &Ban> {
        let family = address.is_ipv6();
        let lengths = self.lengths.range((family, 0)..=(family, u8::MAX));
        lengths.filter_map(move |((_, length), _)| {
            let held = self.bans.get(&Prefix::containing(address, *length)?)?;
            (held.ban.until > now).then_some(&held.ban)
        })
    }

    /// The ban of exactly that network.
    #[must_use]
    pub fn get(&self, network: Prefix) -> Option<&Ban> {
        self.bans.get(&network).map(|held| &held.ban)
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Ban> {
        self.bans.values().map(|held| &held.ban)
    }

    /// Holds a ban, where it can; gives whether it is held. `generation` is
    /// the one under which `Control` took it, where that is known.
    pub fn hold(&mut self, ban: Ban, generation: Option<u64>, now: Timestamp) -> bool {
        self.place(ban, generation, now).is_some()
    }

    /// As [`Self::hold`]; where it is held, gives the network that left for it.
    pub fn place(&mut self, ban: Ban, generation: Option<u64>, now: Timestamp) -> Option<Option<Prefix>> {
        if ban.until <= now {
            return None;
        }
        let rank = |ban: &Ban| (!ban.shadow, ban.is_manual());
        if let Some(known) =
            self.bans.get(&ban.network).map(|held| &held.ban).filter(|known| known.until > now)
        {
            // The end of a ban may be told anew, by who knows more.
            let is_same = known.since == ban.since && known.cause == ban.cause;
            let stays = rank(known) > rank(&ban)
                // Of two by people the later word stands, of two by triggers
                // the later end.
                || (rank(known) == rank(&ban) && !ban.is_manual() && !is_same && known.until > ban.until);
            if stays {
                return None;
            }
        }
        self.remove(ban.network);
        self.sweep(now);
        let mut left = None;
        if self.bans.len() >= self.capacity {
            let first = self.order.first().copied().filter(|(is_manual, ..)| ban.is_manual() && !is_manual);
            let (.., network) = first?;
            self.remove(network);
            left = Some(network);
        }
        self.order.insert((ban.is_manual(), ban.until, ban.network));
        let count = self.lengths.entry(length_of(ban.network)).or_default();
        *count = count.saturating_add(1);
        self.bans.insert(ban.network, Held { ban, generation });
        Some(left)
    }

    /// Removes what has ended; gives the networks.
    pub fn sweep(&mut self, now: Timestamp) -> Vec<Prefix> {
        let mut gone = Vec::new();
        for is_manual in [false, true] {
            let from = (is_manual, Timestamp::default(), FIRST);
            let ended = self
                .order
                .range(from..)
                .take_while(|(manual, until, _)| *manual == is_manual && *until <= now);
            gone.extend(ended.map(|(.., network)| *network));
        }
        for network in &gone {
            self.remove(*network);
        }
        gone
    }

    /// Takes a ban away that was made no later than `before`; gives whether
    /// there was one.
    pub fn lift(&mut self, network: Prefix, before: Timestamp) -> bool {
        let is_there = self.bans.get(&network).is_some_and(|held| held.ban.since <= before);
        is_there && self.remove(network).is_some()
    }

    /// Lets a manifest decide from here on about what it knows. To be called
    /// with every request; it does nothing where that set is known.
    pub fn settle(&mut self, set: &BanSet) {
        if self.settled >= set.generation() {
            return;
        }
        self.settled = set.generation();
        let decided = self.bans.values().filter(|Held { ban, generation }| {
            let is_taken = generation.is_some_and(|generation| generation <= set.generation());
            is_taken || set.lifts(ban) || (!ban.shadow && set.has(ban.network))
        });
        let decided: Vec<Prefix> = decided.map(|held| held.ban.network).collect();
        for network in decided {
            self.remove(network);
        }
    }

    fn remove(&mut self, network: Prefix) -> Option<Ban> {
        let Held { ban, .. } = self.bans.remove(&network)?;
        self.order.remove(&(ban.is_manual(), ban.until, network));
        if let Some(count) = self.lengths.get_mut(&length_of(network)) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.lengths.remove(&length_of(network));
            }
        }
        Some(ban)
    }
}
