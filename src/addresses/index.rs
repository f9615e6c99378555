//! One index over the prefixes of several sets.
//!
//! Prefixes nest or are disjoint. Sorted by where they begin, and then by
//! length, the last one that begins at or before an address is either the
//! longest that contains it or lies inside the one that is; so a lookup is a
//! search and a walk outwards.

use std::net::IpAddr;

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
    /// The number of the entry in the index: stable while the index lives.
    pub entry: u32,
}

/// Prefixes of several sets, to be looked up by address.
#[derive(Clone, Debug, Default)]
pub struct AddressIndex {
    /// Sorted by family, address, length, set.
    entries: Vec<(Prefix, SetId)>,
    /// For each entry the one before it that encloses or equals it.
    parents: Vec<Option<u32>>,
}

impl AddressIndex {
    /// Builds an index. Any order; what is there twice counts once.
    #[must_use]
    pub fn build(mut entries: Vec<(Prefix, SetId)>) -> Self {
        entries.sort_unstable();
        entries.dedup();
        entries.truncate(usize::try_from(u32::MAX).unwrap_or(usize::MAX));
        let mut parents = Vec::with_capacity(entries.len());
        let mut open: Vec<(u32, Prefix)> = Vec::new();
        for (number, (prefix, _)) in (0_u32..).zip(&entries) {
            let encloses =
                |outer: &Prefix| outer.length() <= prefix.length() && outer.contains(prefix.address());
            while open.last().is_some_and(|(_, outer)| !encloses(outer)) {
                open.pop();
            }
            parents.push(open.last().map(|(number, _)| *number));
            open.push((number, *prefix));
        }
        Self { entries, parents }
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Every entry that contains the address: the longest prefix first, equal
    /// prefixes in descending order of their sets.
    pub fn find(&self, address: IpAddr) -> impl Iterator<Item = Hit> {
        let after = self.entries.partition_point(|(prefix, _)| prefix.address() <= address);
        let mut next = after.checked_sub(1).and_then(|last| u32::try_from(last).ok());
        std::iter::from_fn(move || {
            loop {
                let entry = next?;
                let place = usize::try_from(entry).ok()?;
                let (prefix, set) = *self.entries.get(place)?;
                next = self.parents.get(place).copied().flatten();
                if prefix.contains(address) {
                    return Some(Hit { prefix, set, entry });
                }
            }
        })
    }

    /// The longest prefix that contains the address.
    #[must_use]
    pub fn longest(&self, address: IpAddr) -> Option<Hit> {
        self.find(address).next()
    }

    /// All entries, sorted.
    pub fn entries(&self) -> impl Iterator<Item = (Prefix, SetId)> {
        self.entries.iter().copied()
    }
}
