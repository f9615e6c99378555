//! Sets of addresses: which of them hold an address, and by which prefix.
//!
//! A policy's inline sets are one [`AddressIndex`] in its compiled form; the
//! stored sets of an environment are another, [`StoredSets`], that an isolate
//! loads beside the policy.

mod directory;
pub mod format;
pub mod index;
mod jump;
pub mod replace;
mod samples;
mod v4;
mod v6;

use std::net::IpAddr;

pub use index::{AddressIndex, Builder, Hit, SetId};

use crate::stages::ip_filter::prefix::Prefix;

/// What is known of a stored set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSet {
    /// Its name, as `address_sets` in the policy names it.
    pub name: String,
    /// When this list came in, in seconds since 1970.
    pub since: u64,
    /// Where it came from: the address of a feed, or `import`.
    pub source: String,
}

/// The stored sets of an environment. [`SetId`] `n` is the set at place `n`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredSets {
    /// Grows with every change of any of them.
    pub generation: u64,
    /// The sets.
    pub sets: Vec<StoredSet>,
    /// Their prefixes.
    pub index: AddressIndex,
}

impl StoredSets {
    /// The place of a set by its name.
    #[must_use]
    pub fn id(&self, name: &str) -> Option<SetId> {
        let place = self.sets.iter().position(|set| set.name == name)?;
        u16::try_from(place).ok().map(SetId)
    }

    /// Every set and prefix that contains an address, longest first.
    pub fn holding(&self, address: IpAddr) -> impl Iterator<Item = (&StoredSet, Prefix)> {
        self.index
            .find(address)
            .filter_map(|hit| self.sets.get(usize::from(hit.set.0)).map(|set| (set, hit.prefix)))
    }
}
