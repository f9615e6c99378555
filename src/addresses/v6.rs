//! The IPv6 half of an index: 24 bytes for a prefix, and a sample of every
//! sixteenth, which is searched first.

use std::fmt;

use super::index::SetId;

/// Every how many entries one is sampled: two cache lines of upper halves.
const SAMPLE: usize = 16;

/// Entries sorted by address, length and set.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct V6 {
    /// The upper half of each prefix's address.
    pub(super) upper: Vec<u64>,
    /// The lower half, zero for most prefixes.
    pub(super) lower: Vec<u64>,
    /// Length, set and distance, see [`pack`].
    pub(super) nodes: Vec<u64>,
    /// The upper half of every sixteenth.
    samples: Vec<u64>,
}

/// The bits of a prefix of that length that its addresses differ in.
pub(super) const fn host_bits(length: u8) -> u128 {
    match u128::MAX.checked_shr(length as u32) {
        Some(bits) => bits,
        None => 0,
    }
}

const DISTANCE_BITS: u32 = 26;
const SET_SHIFT: u32 = DISTANCE_BITS;
const LENGTH_SHIFT: u32 = SET_SHIFT + 16;
const DISTANCE_MASK: u64 = (1 << DISTANCE_BITS) - 1;

/// A node: the length (8 bits), the set (16), and how many entries before it
/// the nearest stands that encloses or equals it (26; 0 for none).
fn pack(length_and_set: u32, distance: u64) -> u64 {
    let (length, set) = (u64::from(length_and_set >> 16), u64::from(length_and_set & 0xffff));
    length << LENGTH_SHIFT | set << SET_SHIFT | distance & DISTANCE_MASK
}

const fn length_of(node: u64) -> u64 {
    node >> LENGTH_SHIFT
}

/// The host bits of each half. 64-bit arithmetic: 128 bits are slow in wasm.
const fn halves(length: u64) -> (u64, u64) {
    if length < 64 {
        (u64::MAX >> length, u64::MAX)
    } else {
        match u64::MAX.checked_shr(length.saturating_sub(64) as u32) {
            Some(lower) => (0, lower),
            None => (0, 0),
        }
    }
}

const fn split(address: u128) -> (u64, u64) {
    ((address >> 64) as u64, address as u64)
}

impl fmt::Debug for V6 {
    /// Not a million of them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "V6({} entries)", self.len())
    }
}

impl V6 {
    /// From entries that are sorted and there once each: address, and length
    /// (upper half) with set (lower half).
    pub(super) fn new(entries: &[(u128, u32)]) -> Self {
        let mut nodes = Vec::with_capacity(entries.len());
        let mut open: Vec<(u64, u128)> = Vec::new();
        for (number, (first, length_and_set)) in (0_u64..).zip(entries) {
            while open.last().is_some_and(|(_, last)| last < first) {
                open.pop();
            }
            let distance = open.last().map_or(0, |(outer, _)| number.saturating_sub(*outer));
            nodes.push(pack(*length_and_set, distance));
            open.push((number, first | host_bits((length_and_set >> 16) as u8)));
        }
        let upper = entries.iter().map(|(first, _)| split(*first).0).collect();
        let lower = entries.iter().map(|(first, _)| split(*first).1).collect();
        Self::of(upper, lower, nodes)
    }

    /// From arrays as they are stored.
    pub(super) fn of(upper: Vec<u64>, lower: Vec<u64>, nodes: Vec<u64>) -> Self {
        let samples = upper.iter().step_by(SAMPLE).copied().collect();
        Self { upper, lower, nodes, samples }
    }

    pub(super) const fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn bytes(&self) -> usize {
        [&self.upper, &self.lower, &self.nodes, &self.samples]
            .iter()
            .fold(0, |sum, array| sum.saturating_add(size_of_val(array.as_slice())))
    }

    /// The last entry that begins at or before the address.
    pub(super) fn last_at_or_before(&self, address: u128) -> Option<usize> {
        let (upper, lower) = split(address);
        // The entries up to the last sample that is not above, and those of
        // the samples of equal upper half, which the lower half decides.
        let from = self.samples.partition_point(|sample| *sample < upper).saturating_sub(1);
        let from = from.saturating_mul(SAMPLE);
        let window = self.upper.get(from..)?;
        let near = window.get(..SAMPLE.saturating_mul(2)).unwrap_or(window);
        let mut after = near.partition_point(|other| *other < upper);
        if after == near.len() {
            after = window.partition_point(|other| *other < upper);
        }
        let mut after = from.saturating_add(after);
        let equal = self.upper.get(after..)?;
        if equal.first() == Some(&upper) {
            let run = match equal.get(1) {
                Some(next) if *next == upper => equal.partition_point(|other| *other == upper),
                _ => 1,
            };
            let lowers = self.lower.get(after..after.saturating_add(run))?;
            after = after.saturating_add(lowers.partition_point(|other| *other <= lower));
        }
        after.checked_sub(1)
    }

    /// The first entry that contains the address, from this one outwards.
    #[inline]
    pub(super) fn outwards(&self, from: Option<usize>, address: u128) -> Option<usize> {
        let (upper, lower) = split(address);
        let mut at = from?;
        loop {
            let node = *self.nodes.get(at)?;
            let (host_upper, host_lower) = halves(length_of(node));
            if (upper ^ *self.upper.get(at)?) & !host_upper == 0
                && (host_lower == u64::MAX || (lower ^ *self.lower.get(at)?) & !host_lower == 0)
            {
                return Some(at);
            }
            at = before(at, node)?;
        }
    }

    /// The nearest entry that encloses or equals this one.
    pub(super) fn enclosing(&self, entry: usize) -> Option<usize> {
        before(entry, *self.nodes.get(entry)?)
    }

    /// Address, length and set.
    pub(super) fn entry(&self, entry: usize) -> Option<(u128, u8, SetId)> {
        let node = *self.nodes.get(entry)?;
        let first = u128::from(*self.upper.get(entry)?) << 64 | u128::from(*self.lower.get(entry)?);
        Some((first, u8::try_from(length_of(node)).ok()?, SetId((node >> SET_SHIFT & 0xffff) as u16)))
    }

    /// Whether this is what [`Self::new`] makes, with sets below `sets`: then
    /// every lookup is right.
    pub(super) fn is_sound(&self, sets: usize) -> bool {
        let mut open: Vec<(usize, u128)> = Vec::new();
        let mut previous = None;
        for number in 0..self.len() {
            let Some((first, length, set)) = self.entry(number) else { return false };
            let key = (first, length, set);
            let fits = length <= 128 && first & host_bits(length) == 0 && usize::from(set.0) < sets;
            if !fits || previous.is_some_and(|previous| previous >= key) {
                return false;
            }
            previous = Some(key);
            while open.last().is_some_and(|(_, last)| *last < first) {
                open.pop();
            }
            let distance = open.last().map_or(0, |(outer, _)| number.saturating_sub(*outer) as u64);
            if self.nodes.get(number).is_none_or(|node| node & DISTANCE_MASK != distance) {
                return false;
            }
            open.push((number, first | host_bits(length)));
        }
        self.upper.len() == self.nodes.len() && self.lower.len() == self.nodes.len()
    }
}

/// The entry that a node says encloses it. Always one before it, so a walk
/// ends whatever the nodes hold.
fn before(at: usize, node: u64) -> Option<usize> {
    match (node & DISTANCE_MASK) as usize {
        0 => None,
        distance => at.checked_sub(distance),
    }
}
