//! The IPv4 half of an index: 10 bytes for a prefix.
//!
//! The upper 16 bits of an address name a bucket, and the lower ones are
//! searched for within it: in a million prefixes a bucket holds some fifteen,
//! whose keys share a cache line.

use std::fmt;

use super::index::SetId;

/// From how many entries on there is a directory of buckets, which takes
/// 256 KiB. Without, the whole is searched.
const DIRECTORY_FROM: usize = 8_192;

const BUCKETS: usize = 1 << 16;

/// Entries sorted by address, length and set.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct V4 {
    /// The lower half of each prefix's address.
    pub(super) keys: Vec<u16>,
    /// The rest of it, see [`pack`].
    pub(super) nodes: Vec<u64>,
    /// Where each bucket begins, and the end; empty where there are few
    /// entries.
    directory: Vec<u32>,
}

/// The bits of a prefix of that length that its addresses differ in.
pub(super) const fn host_bits(length: u8) -> u32 {
    match u32::MAX.checked_shr(length as u32) {
        Some(bits) => bits,
        None => 0,
    }
}

const DISTANCE_BITS: u32 = 26;
const SET_SHIFT: u32 = DISTANCE_BITS;
const LENGTH_SHIFT: u32 = SET_SHIFT + 16;
const TOP_SHIFT: u32 = LENGTH_SHIFT + 6;
const DISTANCE_MASK: u64 = (1 << DISTANCE_BITS) - 1;

/// A node: the upper half of the address (16 bits), the length (6), the set
/// (16), and how many entries before it the nearest stands that encloses or
/// equals it (26; 0 for none).
fn pack(first: u32, length_and_set: u32, distance: u64) -> u64 {
    let (length, set) = (u64::from(length_and_set >> 16), u64::from(length_and_set & 0xffff));
    u64::from(first >> 16) << TOP_SHIFT | length << LENGTH_SHIFT | set << SET_SHIFT | distance & DISTANCE_MASK
}

const fn length_of(node: u64) -> u8 {
    (node >> LENGTH_SHIFT & 0x3f) as u8
}

const fn top_of(node: u64) -> u32 {
    (node >> TOP_SHIFT) as u32
}

impl fmt::Debug for V4 {
    /// Not a million of them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "V4({} entries)", self.len())
    }
}

impl V4 {
    /// From entries that are sorted and there once each; `parts` gives address,
    /// and length (upper half) with set (lower half).
    pub(super) fn new(entries: &[u64], parts: impl Fn(u64) -> (u32, u32)) -> Self {
        let mut keys = Vec::with_capacity(entries.len());
        let mut nodes = Vec::with_capacity(entries.len());
        // The entries that enclose the next one, as far as they are open: at
        // most one for each length and set.
        let mut open: Vec<(u64, u32)> = Vec::new();
        for (number, entry) in (0_u64..).zip(entries) {
            let (first, length_and_set) = parts(*entry);
            let length = (length_and_set >> 16) as u8;
            while open.last().is_some_and(|(_, last)| *last < first) {
                open.pop();
            }
            let distance = open.last().map_or(0, |(outer, _)| number.saturating_sub(*outer));
            keys.push((first & 0xffff) as u16);
            nodes.push(pack(first, length_and_set, distance));
            open.push((number, first | host_bits(length)));
        }
        Self::of(keys, nodes)
    }

    /// From arrays as they are stored.
    pub(super) fn of(keys: Vec<u16>, nodes: Vec<u64>) -> Self {
        let directory = if nodes.len() < DIRECTORY_FROM { Vec::new() } else { directory(&nodes) };
        Self { keys, nodes, directory }
    }

    pub(super) const fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.keys.as_slice())
            .saturating_add(size_of_val(self.nodes.as_slice()))
            .saturating_add(size_of_val(self.directory.as_slice()))
    }

    /// The last entry that begins at or before the address.
    pub(super) fn last_at_or_before(&self, address: u32) -> Option<usize> {
        let top = (address >> 16) as usize;
        let after = if let Some([from, to]) = self.directory.get(top..).and_then(<[u32]>::first_chunk) {
            let from = *from as usize;
            let bucket = self.keys.get(from..*to as usize)?;
            let low = (address & 0xffff) as u16;
            from.saturating_add(bucket.partition_point(|key| *key <= low))
        } else {
            // Few entries: the upper half is in the node.
            let (mut low, mut high) = (0, self.len());
            while low < high {
                let middle = usize::midpoint(low, high);
                if self.first(middle)? <= address { low = middle.saturating_add(1) } else { high = middle }
            }
            low
        };
        after.checked_sub(1)
    }

    /// The first entry that contains the address, from this one outwards.
    #[inline]
    pub(super) fn outwards(&self, from: Option<usize>, address: u32) -> Option<usize> {
        let mut at = from?;
        loop {
            let node = *self.nodes.get(at)?;
            // Whatever bits differ have to be host bits. The upper halves are
            // compared first: most of what is not inside differs there, and
            // they are at hand.
            let host = host_bits(length_of(node));
            if ((address >> 16) ^ top_of(node)) & !(host >> 16) == 0
                && ((address & 0xffff) ^ u32::from(*self.keys.get(at)?)) & !host & 0xffff == 0
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

    fn first(&self, entry: usize) -> Option<u32> {
        Some(top_of(*self.nodes.get(entry)?) << 16 | u32::from(*self.keys.get(entry)?))
    }

    /// Address, length and set.
    pub(super) fn entry(&self, entry: usize) -> Option<(u32, u8, SetId)> {
        let node = *self.nodes.get(entry)?;
        Some((self.first(entry)?, length_of(node), SetId((node >> SET_SHIFT & 0xffff) as u16)))
    }

    /// Whether this is what [`Self::new`] makes, with sets below `sets`: then
    /// every lookup is right.
    pub(super) fn is_sound(&self, sets: usize) -> bool {
        let mut open: Vec<(usize, u32)> = Vec::new();
        let mut previous = None;
        for number in 0..self.len() {
            let Some((first, length, set)) = self.entry(number) else { return false };
            let key = (first, length, set);
            let fits = length <= 32 && first & host_bits(length) == 0 && usize::from(set.0) < sets;
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
        self.keys.len() == self.nodes.len()
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

/// Where each bucket begins in sorted nodes.
fn directory(nodes: &[u64]) -> Vec<u32> {
    let mut directory = Vec::with_capacity(BUCKETS.saturating_add(1));
    for (number, node) in (0_u32..).zip(nodes) {
        let bucket = top_of(*node) as usize;
        while directory.len() <= bucket {
            directory.push(number);
        }
    }
    directory.resize(BUCKETS.saturating_add(1), u32::try_from(nodes.len()).unwrap_or(u32::MAX));
    directory
}
