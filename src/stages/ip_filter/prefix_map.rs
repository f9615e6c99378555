//! Longest-prefix match over sorted, disjoint ranges.
//!
//! Prefixes nest or are disjoint, so one sweep in sorted order with a stack
//! of open prefixes cuts the address space into ranges that each have one
//! longest prefix. A lookup is a binary search for the last range that begins
//! at or before the address. Flat arrays: no pointers, no parsing, little
//! memory.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::prefix::Prefix;

/// Maps addresses to the value of the longest prefix that contains them. Of
/// equal prefixes the first given wins.
#[derive(Clone, Debug)]
pub struct PrefixMap<T> {
    entries: Vec<(Prefix, T)>,
    v4: Ranges<u32>,
    v6: Ranges<u128>,
}

/// Where each range begins, and the index of its entry; [`NONE`] for a gap.
#[derive(Clone, Debug)]
struct Ranges<A> {
    starts: Vec<A>,
    entries: Vec<u32>,
}

const NONE: u32 = u32::MAX;

/// The bits of an address of one family.
trait Bits: Copy + Ord {
    const ZERO: Self;
    fn successor(self) -> Option<Self>;
}

impl Bits for u32 {
    const ZERO: Self = 0;
    fn successor(self) -> Option<Self> {
        self.checked_add(1)
    }
}

impl Bits for u128 {
    const ZERO: Self = 0;
    fn successor(self) -> Option<Self> {
        self.checked_add(1)
    }
}

impl<T> PrefixMap<T> {
    /// Builds the map.
    #[must_use]
    pub fn new(prefixes: impl IntoIterator<Item = (Prefix, T)>) -> Self {
        let entries: Vec<(Prefix, T)> = prefixes.into_iter().collect();
        let mut v4 = Vec::new();
        let mut v6 = Vec::new();
        for (index, (prefix, _)) in (0..NONE).zip(&entries) {
            match prefix.address() {
                IpAddr::V4(address) => {
                    let (first, last) = bounds_v4(address, prefix.length());
                    v4.push((first, last, index));
                }
                IpAddr::V6(address) => {
                    let (first, last) = bounds_v6(address, prefix.length());
                    v6.push((first, last, index));
                }
            }
        }
        Self { entries, v4: Ranges::new(v4), v6: Ranges::new(v6) }
    }

    /// The longest prefix that contains the address, and its value.
    #[must_use]
    pub fn longest(&self, address: IpAddr) -> Option<(Prefix, &T)> {
        let index = match address {
            IpAddr::V4(v4) => self.v4.find(v4.to_bits()),
            IpAddr::V6(v6) => self.v6.find(v6.to_bits()),
        }?;
        self.entries.get(usize::try_from(index).ok()?).map(|(prefix, value)| (*prefix, value))
    }
}

impl<T> PrefixMap<T> {
    /// The longest prefixes that contain the addresses of a prefix, in the
    /// order of addresses, each with its value; `None` for a gap.
    pub fn within(&self, prefix: Prefix) -> impl Iterator<Item = Option<(Prefix, &T)>> {
        let (v4, v6) = match prefix.address() {
            IpAddr::V4(address) => (Some(bounds_v4(address, prefix.length())), None),
            IpAddr::V6(address) => (None, Some(bounds_v6(address, prefix.length()))),
        };
        let v4 = v4.into_iter().flat_map(|(first, last)| self.v4.over(first, last));
        let v6 = v6.into_iter().flat_map(|(first, last)| self.v6.over(first, last));
        v4.chain(v6).map(|index| {
            let index = usize::try_from(index).ok()?;
            self.entries.get(index).map(|(prefix, value)| (*prefix, value))
        })
    }
}

/// The first and the last address of a prefix.
fn bounds_v4(address: Ipv4Addr, length: u8) -> (u32, u32) {
    let first = address.to_bits();
    (first, first | u32::MAX.checked_shr(u32::from(length)).unwrap_or(0))
}

fn bounds_v6(address: Ipv6Addr, length: u8) -> (u128, u128) {
    let first = address.to_bits();
    (first, first | u128::MAX.checked_shr(u32::from(length)).unwrap_or(0))
}

impl<A: Bits> Ranges<A> {
    /// From first and last address and entry of each prefix.
    fn new(mut prefixes: Vec<(A, A, u32)>) -> Self {
        // Outer before inner; of equal ones the first given stays on top.
        prefixes.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)).then(b.2.cmp(&a.2)));
        // Each prefix begins a range and ends one. Where there is none, nothing
        // is found and nothing has to be kept.
        let most = if prefixes.is_empty() { 0 } else { prefixes.len().saturating_mul(2).saturating_add(1) };
        let mut ranges = Self { starts: Vec::with_capacity(most), entries: Vec::with_capacity(most) };
        if prefixes.is_empty() {
            return ranges;
        }
        let mut open: Vec<(A, u32)> = Vec::new();
        ranges.begin(A::ZERO, NONE);
        for (first, last, entry) in prefixes {
            ranges.close(&mut open, Some(first));
            ranges.begin(first, entry);
            open.push((last, entry));
        }
        ranges.close(&mut open, None);
        ranges
    }

    /// Ends the open prefixes that end before `before` (all when `None`), and
    /// goes on with the one around each.
    fn close(&mut self, open: &mut Vec<(A, u32)>, before: Option<A>) {
        while let Some((last, _)) = open.last().copied()
            && before.is_none_or(|before| last < before)
        {
            open.pop();
            // The range that ends at the highest address has no successor.
            if let Some(next) = last.successor() {
                self.begin(next, open.last().map_or(NONE, |(_, entry)| *entry));
            }
        }
    }

    /// A new range; it replaces one that would be empty and joins one with
    /// the same entry.
    fn begin(&mut self, start: A, entry: u32) {
        if self.starts.last() == Some(&start) {
            self.starts.pop();
            self.entries.pop();
        }
        if self.entries.last() != Some(&entry) {
            self.starts.push(start);
            self.entries.push(entry);
        }
    }

    fn find(&self, address: A) -> Option<u32> {
        let after = self.starts.partition_point(|start| *start <= address);
        self.entries.get(after.checked_sub(1)?).copied().filter(|entry| *entry != NONE)
    }

    /// The entries of the ranges from the one that holds `first` to the one
    /// that holds `last`; [`NONE`] for a gap.
    fn over(&self, first: A, last: A) -> impl Iterator<Item = u32> {
        let begin = self.starts.partition_point(|start| *start <= first).saturating_sub(1);
        let end = self.starts.partition_point(|start| *start <= last);
        // Without any prefix all of it is one gap, which is not kept.
        let nothing = self.entries.is_empty().then_some(NONE);
        nothing.into_iter().chain(self.entries.get(begin..end).unwrap_or_default().iter().copied())
    }
}
