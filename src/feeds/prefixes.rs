//! The prefixes of one list, sorted and without overlap.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::addresses::{Builder, SetId};
use crate::stages::ip_filter::prefix::Prefix;

/// An IPv6 prefix in 24 bytes; a `u128` would be aligned to 32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct V6 {
    upper: u64,
    lower: u64,
    length: u8,
}

impl V6 {
    pub(super) const fn new(first: u128, length: u8) -> Self {
        Self { upper: (first >> 64) as u64, lower: first as u64, length }
    }

    fn first(self) -> u128 {
        u128::from(self.upper) << 64 | u128::from(self.lower)
    }

    fn last(self) -> u128 {
        self.first() | u128::MAX.checked_shr(self.length.into()).unwrap_or(0)
    }
}

/// An IPv4 prefix in 8 bytes; the order of the numbers is that of the
/// addresses, and wider before narrower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct V4(u64);

impl V4 {
    pub(super) fn new(first: u32, length: u8) -> Self {
        Self(u64::from(first) << 8 | u64::from(length))
    }

    fn first(self) -> u32 {
        (self.0 >> 8) as u32
    }

    fn length(self) -> u8 {
        self.0 as u8
    }

    fn last(self) -> u32 {
        self.first() | u32::MAX.checked_shr(self.length().into()).unwrap_or(0)
    }
}

/// The prefixes of a list: IPv4 before IPv6, each by address; none overlaps
/// another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrefixList {
    v4: Vec<V4>,
    v6: Vec<V6>,
    read: usize,
}

impl PrefixList {
    /// Sorts, and drops what lies inside another.
    pub(super) fn merged(mut v4: Vec<V4>, mut v6: Vec<V6>) -> Self {
        let read = v4.len().saturating_add(v6.len());
        v4.sort_unstable();
        // The wider of two that begin at one address comes first, so what is
        // inside another begins before the end of the last that was kept.
        let mut end: Option<u32> = None;
        v4.retain(|prefix| {
            let is_outside = end.is_none_or(|end| prefix.first() > end);
            if is_outside {
                end = Some(prefix.last());
            }
            is_outside
        });
        v6.sort_unstable();
        let mut end: Option<u128> = None;
        v6.retain(|prefix| {
            let is_outside = end.is_none_or(|end| prefix.first() > end);
            if is_outside {
                end = Some(prefix.last());
            }
            is_outside
        });
        Self { v4, v6, read }
    }

    /// How many prefixes there are.
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
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// How many the text had, before those that overlap were dropped.
    #[must_use]
    pub fn read(&self) -> usize {
        self.read
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = Prefix> {
        self.v4.iter().copied().filter_map(prefix_v4).chain(self.v6.iter().copied().filter_map(prefix_v6))
    }

    /// Gives them all to the builder of an index, as those of one set.
    pub fn build(&self, builder: &mut Builder, set: SetId) {
        for prefix in &self.v4 {
            builder.push_v4(prefix.first(), prefix.length(), set);
        }
        for prefix in &self.v6 {
            builder.push_v6(prefix.first(), prefix.length, set);
        }
    }

    /// One that is shorter than the shortest of its family may be.
    pub(super) fn shorter_than(&self, v4: u8, v6: u8) -> Option<Prefix> {
        let found = self.v4.iter().find(|prefix| prefix.length() < v4).copied();
        let found_v6 = || self.v6.iter().find(|prefix| prefix.length < v6).copied();
        found.and_then(prefix_v4).or_else(|| found_v6().and_then(prefix_v6))
    }

    /// One that has an address in common with a network.
    pub(super) fn reaching_into(&self, network: Prefix) -> Option<Prefix> {
        // Nothing overlaps, so both ends grow from one prefix to the next: of
        // those that begin at or before the network's end, the last one
        // reaches furthest.
        match network.address() {
            IpAddr::V4(first) => {
                let network = V4::new(first.to_bits(), network.length());
                let after = self.v4.partition_point(|prefix| prefix.first() <= network.last());
                let last = self.v4.get(after.checked_sub(1)?)?;
                (last.last() >= network.first()).then_some(*last).and_then(prefix_v4)
            }
            IpAddr::V6(first) => {
                let network = V6::new(first.to_bits(), network.length());
                let after = self.v6.partition_point(|prefix| prefix.first() <= network.last());
                let last = self.v6.get(after.checked_sub(1)?)?;
                (last.last() >= network.first()).then_some(*last).and_then(prefix_v6)
            }
        }
    }
}

fn prefix_v4(prefix: V4) -> Option<Prefix> {
    Prefix::containing(IpAddr::V4(Ipv4Addr::from_bits(prefix.first())), prefix.length())
}

fn prefix_v6(prefix: V6) -> Option<Prefix> {
    Prefix::containing(IpAddr::V6(Ipv6Addr::from_bits(prefix.first())), prefix.length)
}
