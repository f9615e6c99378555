//! One index over the prefixes of several sets.
//!
//! Prefixes nest or are disjoint. Sorted by where they begin, and then by
//! length, the last one that begins at or before an address is either the
//! longest that contains it or lies inside the one that is. So a lookup is a
//! search for that one and a walk outwards: each entry knows how far before it
//! the nearest stands that encloses it. Nothing is cut into ranges, so a
//! prefix is one entry whatever it holds, and a hit names the prefix as the
//! list has it.
//!
//! The gateway is compiled for size, and then a compiler rather calls a small
//! function than copies it. On the way of a lookup `inline(always)` says
//! otherwise, which takes a tenth off.
//!
//! Flat arrays without pointers: what is stored is what is used, see
//! [`super::format`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::v4::{self, Entry4, V4};
use super::v6::{self, Entry6, V6};
use crate::stages::ip_filter::prefix::Prefix;

/// A set by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SetId(pub u16);

/// A prefix that contains the address, and the set that it is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The prefix.
    pub prefix: Prefix,
    /// Its set.
    pub set: SetId,
    /// The number of the entry in the index, of no other; stable while the
    /// index lives.
    pub entry: u32,
}

/// Prefixes of several sets, to be looked up by address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressIndex {
    pub(super) v4: V4,
    pub(super) v6: V6,
}

/// The most entries of one family.
pub const ENTRIES_LIMIT: usize = 1 << 26;

/// Collects what an index is built of: 8 bytes for an IPv4 prefix, 32 for an
/// IPv6 one.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    /// Address, length and set, from the highest bit down, so that the order
    /// of the numbers is the order of the index.
    v4: Vec<u64>,
    v6: Vec<(u128, u32)>,
}

impl Builder {
    /// Adds a prefix.
    pub fn push(&mut self, prefix: Prefix, set: SetId) {
        match prefix.address() {
            IpAddr::V4(v4) => self.push_v4(v4.to_bits(), prefix.length(), set),
            IpAddr::V6(v6) => self.push_v6(v6.to_bits(), prefix.length(), set),
        }
    }

    /// Adds an IPv4 prefix. Host bits have to be zero, and the length at most
    /// 32; else it is left out.
    pub fn push_v4(&mut self, first: u32, length: u8, set: SetId) {
        if length <= 32 && first & super::v4::host_bits(length) == 0 {
            self.v4.push(u64::from(first) << 32 | u64::from(length) << 16 | u64::from(set.0));
        }
    }

    /// Adds an IPv6 prefix. Host bits have to be zero, and the length at most
    /// 128; else it is left out.
    pub fn push_v6(&mut self, first: u128, length: u8, set: SetId) {
        if length <= 128 && first & super::v6::host_bits(length) == 0 {
            self.v6.push((first, u32::from(length) << 16 | u32::from(set.0)));
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.v4.len().saturating_add(self.v6.len())
    }

    /// Makes room for so many more, and for no others.
    pub fn reserve(&mut self, v4: usize, v6: usize) {
        self.v4.reserve_exact(v4);
        self.v6.reserve_exact(v6);
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// The index. What is there twice counts once.
    #[must_use]
    pub fn finish(self) -> AddressIndex {
        let Self { mut v4, mut v6 } = self;
        // Stable, since that is linear where runs are sorted already, as they
        // are when one set of an index is replaced.
        v4.sort();
        v4.dedup();
        v4.truncate(ENTRIES_LIMIT);
        let v4 = V4::new(&v4, |entry| ((entry >> 32) as u32, (entry >> 16) as u8, entry as u16));
        v6.sort();
        v6.dedup();
        v6.truncate(ENTRIES_LIMIT);
        AddressIndex { v4, v6: V6::new(&v6) }
    }
}

impl AddressIndex {
    /// Builds an index. Any order; what is there twice counts once.
    #[must_use]
    pub fn build(entries: impl IntoIterator<Item = (Prefix, SetId)>) -> Self {
        let mut builder = Builder::default();
        for (prefix, set) in entries {
            builder.push(prefix, set);
        }
        builder.finish()
    }

    /// A builder that holds the entries of those sets that `renumber` gives a
    /// number: how one set of an index is replaced or taken out.
    #[must_use]
    pub fn keep(&self, renumber: impl Fn(SetId) -> Option<SetId>) -> Builder {
        let mut builder = Builder::default();
        // Mostly all but one list is kept: growing by doubling would take more.
        builder.reserve(self.v4.len(), self.v6.len());
        for (first, length, set, _) in self.v4.entries() {
            if let Some(set) = renumber(set) {
                builder.push_v4(first, length, set);
            }
        }
        for (first, length, set, _) in self.v6.entries() {
            if let Some(set) = renumber(set) {
                builder.push_v6(first, length, set);
            }
        }
        builder
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.v4.len().saturating_add(self.v6.len())
    }

    /// How many of them are IPv4.
    #[must_use]
    pub fn len_v4(&self) -> usize {
        self.v4.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many IPv4 and IPv6 entries each of so many sets has.
    #[must_use]
    pub fn counts(&self, sets: usize) -> Vec<(usize, usize)> {
        let mut counts = vec![(0_usize, 0_usize); sets];
        for (_, _, set, _) in self.v4.entries() {
            if let Some((v4, _)) = counts.get_mut(usize::from(set.0)) {
                *v4 = v4.saturating_add(1);
            }
        }
        for (_, _, set, _) in self.v6.entries() {
            if let Some((_, v6)) = counts.get_mut(usize::from(set.0)) {
                *v6 = v6.saturating_add(1);
            }
        }
        counts
    }

    /// The memory that it holds, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.v4.bytes().saturating_add(self.v6.bytes())
    }

    /// Every entry that contains the address: the longest prefix first, equal
    /// prefixes in descending order of their sets.
    #[must_use]
    #[inline(always)]
    pub fn find(&self, address: IpAddr) -> Hits<'_> {
        let walk = match address {
            IpAddr::V4(v4) => Walk::V4(self.v4.walk(v4.to_bits())),
            IpAddr::V6(v6) => Walk::V6(self.v6.walk(v6.to_bits())),
        };
        Hits { index: self, walk }
    }

    /// The longest prefix that contains the address.
    #[must_use]
    #[inline(always)]
    pub fn longest(&self, address: IpAddr) -> Option<Hit> {
        self.find(address).next()
    }

    /// The entries whose prefixes lie inside this one or equal it, in order.
    pub fn inside(&self, prefix: Prefix) -> impl Iterator<Item = Hit> {
        let (v4, v6) = match prefix.address() {
            IpAddr::V4(v4) => (Some(self.v4.inside(v4.to_bits(), prefix.length())), None),
            IpAddr::V6(v6) => (None, Some(self.v6.inside(v6.to_bits(), prefix.length()))),
        };
        let v4 = v4.into_iter().flatten().filter_map(hit_v4);
        v4.chain(v6.into_iter().flatten().filter_map(|entry| self.hit_v6(entry)))
    }

    /// All entries, sorted: IPv4 first, then by address, length and set.
    pub fn entries(&self) -> impl Iterator<Item = (Prefix, SetId)> {
        let v4 = self.v4.entries().filter_map(hit_v4);
        let v6 = self.v6.entries().filter_map(|entry| self.hit_v6(entry));
        v4.chain(v6).map(|hit| (hit.prefix, hit.set))
    }

    #[inline(always)]
    fn hit_v6(&self, (first, length, set, number): Entry6) -> Option<Hit> {
        let prefix = Prefix::of(IpAddr::V6(Ipv6Addr::from_bits(first)), length);
        Some(Hit { prefix, set, entry: u32::try_from(self.v4.len().saturating_add(number)).ok()? })
    }
}

#[inline(always)]
fn hit_v4((first, length, set, number): Entry4) -> Option<Hit> {
    let prefix = Prefix::of(IpAddr::V4(Ipv4Addr::from_bits(first)), length);
    Some(Hit { prefix, set, entry: u32::try_from(number).ok()? })
}

/// The entries that contain an address, outwards.
#[derive(Clone, Debug)]
pub struct Hits<'a> {
    index: &'a AddressIndex,
    walk: Walk,
}

#[derive(Clone, Debug)]
enum Walk {
    V4(v4::Walk),
    V6(v6::Walk),
}

impl Iterator for Hits<'_> {
    type Item = Hit;

    #[inline(always)]
    fn next(&mut self) -> Option<Hit> {
        let index = self.index;
        match &mut self.walk {
            Walk::V4(walk) => hit_v4(index.v4.next(walk)?),
            Walk::V6(walk) => index.hit_v6(index.v6.next(walk)?),
        }
    }
}
