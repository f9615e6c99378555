//! The IPv6 half of an index: 12.5 bytes for a prefix, 12 more for one longer
//! than 64 bits.
//!
//! Sixteen entries stand together in a block: first the upper halves of their
//! addresses, which are searched, then their nodes. Which block is found among
//! [`Samples`], its first upper halves. The lower halves, zero for most
//! prefixes, stand apart.

use std::fmt;

use super::index::SetId;
use super::jump::{self, distance};
use super::samples::{Samples, at_most};

/// How many entries a block holds: two cache lines of upper halves.
const BLOCK: usize = 16;

/// The words of a whole block: two nodes share one.
const WORDS: usize = 24;

/// The longest prefix that its upper half tells.
const SHORT: u8 = 64;

/// Entries sorted by address, length and set.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct V6 {
    /// The blocks; the last one is filled up with zeros.
    pub(super) words: Vec<u64>,
    /// How many entries there are.
    count: usize,
    /// The numbers of the entries longer than 64 bits, ascending.
    pub(super) long: Vec<u32>,
    /// The lower half of each of them.
    pub(super) lower: Vec<u64>,
    /// The first upper half of each block.
    samples: Samples,
}

/// The bits of a prefix of that length that its addresses differ in.
pub(super) const fn host_bits(length: u8) -> u128 {
    match u128::MAX.checked_shr(length as u32) {
        Some(bits) => bits,
        None => 0,
    }
}

/// A node: the length (8 bits), the set (16), and how many entries before it
/// the nearest stands that encloses or equals it (8, see [`jump`]).
#[derive(Clone, Copy, PartialEq, Eq)]
struct Node(u32);

impl Node {
    fn new(length: u8, set: u16, distance: usize) -> Self {
        Self(u32::from(length) << 24 | u32::from(set) << 8 | jump::encode(distance, 3, 255))
    }

    const fn length(self) -> u8 {
        (self.0 >> 24) as u8
    }

    const fn set(self) -> SetId {
        SetId((self.0 >> 8 & 0xffff) as u16)
    }

    /// The entry to go on with from this one, both counted from 1; 0 for none.
    #[inline(always)]
    const fn outwards(self, at: usize) -> usize {
        match jump::decode(self.0 & 0xff, 3) {
            0 => 0,
            distance => at.saturating_sub(distance),
        }
    }
}

const fn split(address: u128) -> (u64, u64) {
    ((address >> 64) as u64, address as u64)
}

/// The host bits of a half; 64-bit arithmetic, since 128 bits are slow in
/// wasm.
const fn host_bits_of_half(length: u8) -> u64 {
    match u64::MAX.checked_shr(length as u32) {
        Some(bits) => bits,
        None => 0,
    }
}

/// An entry: address, length, set, and its number.
pub(super) type Entry6 = (u128, u8, SetId, usize);

/// Where a lookup has got to.
#[derive(Clone, Debug)]
pub(super) struct Walk {
    upper: u64,
    lower: u64,
    /// The next entry to look at, counted from 1.
    at: usize,
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
        let mut words = Vec::with_capacity(entries.len().div_ceil(BLOCK).saturating_mul(WORDS));
        let (mut long, mut lower) = (Vec::new(), Vec::new());
        let mut open: Vec<(usize, u128)> = Vec::new();
        let mut number = 0_usize;
        for block in entries.chunks(BLOCK) {
            let end = words.len().saturating_add(WORDS);
            words.extend(block.iter().map(|(first, _)| split(*first).0));
            words.resize(end.saturating_sub(BLOCK / 2), 0);
            for pair in block.chunks(2) {
                let mut word = 0_u64;
                for ((first, length_and_set), shift) in pair.iter().zip([0, 32]) {
                    let (length, set) = ((length_and_set >> 16) as u8, (length_and_set & 0xffff) as u16);
                    let distance = distance(&mut open, number, first, first | host_bits(length));
                    word |= u64::from(Node::new(length, set, distance).0) << shift;
                    if length > SHORT {
                        long.push(u32::try_from(number).unwrap_or(u32::MAX));
                        lower.push(split(*first).1);
                    }
                    number = number.saturating_add(1);
                }
                words.push(word);
            }
            words.resize(end, 0);
        }
        Self::of(words, entries.len(), long, lower)
    }

    /// How many words so many entries take.
    pub(super) const fn words_of(count: usize) -> usize {
        count.div_ceil(BLOCK).saturating_mul(WORDS)
    }

    /// From arrays as they are stored.
    pub(super) fn of(words: Vec<u64>, count: usize, long: Vec<u32>, lower: Vec<u64>) -> Self {
        let samples = Samples::new(words.iter().step_by(WORDS).copied().collect());
        Self { words, count, long, lower, samples }
    }

    pub(super) const fn len(&self) -> usize {
        self.count
    }

    pub(super) fn bytes(&self) -> usize {
        [&self.words, &self.lower]
            .iter()
            .fold(self.samples.bytes(), |sum, array| sum.saturating_add(size_of_val(array.as_slice())))
            .saturating_add(size_of_val(self.long.as_slice()))
    }

    #[inline(always)]
    fn upper(&self, number: usize) -> Option<u64> {
        let place = (number / BLOCK).checked_mul(WORDS)?.checked_add(number % BLOCK)?;
        self.words.get(place).copied()
    }

    #[inline(always)]
    fn node(&self, number: usize) -> Option<Node> {
        let place =
            (number / BLOCK).checked_mul(WORDS)?.checked_add(BLOCK.saturating_add(number % BLOCK / 2))?;
        let word = *self.words.get(place)?;
        Some(Node((if number & 1 == 0 { word } else { word >> 32 }) as u32))
    }

    /// The lower half of one longer than 64 bits.
    fn lower(&self, number: usize) -> u64 {
        let place = self.long.binary_search_by_key(&number, |long| *long as usize).ok();
        place.and_then(|place| self.lower.get(place)).copied().unwrap_or_default()
    }

    /// Where a lookup begins: at the last entry that begins at or before the
    /// address.
    #[inline(always)]
    pub(super) fn walk(&self, address: u128) -> Walk {
        let (upper, lower) = split(address);
        Walk { upper, lower, at: self.begin(upper, lower).unwrap_or_default() }
    }

    #[inline(always)]
    fn begin(&self, upper: u64, lower: u64) -> Option<usize> {
        let block = self.samples.rank(upper).checked_sub(1)?;
        let words = self.words.get(block.checked_mul(WORDS)?..)?.first_chunk::<WORDS>()?;
        let (uppers, _) = words.split_first_chunk::<BLOCK>()?;
        let end = block.wrapping_add(1).wrapping_mul(BLOCK);
        // What fills the last block up is 0, and so counted.
        let padding = end.saturating_sub(self.count);
        let within = at_most(uppers, upper).checked_sub(padding)?;
        let at = block.wrapping_mul(BLOCK).wrapping_add(within);
        let last = within.checked_sub(1)?;
        if uppers.get(last) == Some(&upper) && self.node(at.wrapping_sub(1))?.length() > SHORT {
            return Some(self.begin_long(upper, lower, at));
        }
        Some(at)
    }

    /// Among entries that share the upper half, the lower half decides.
    #[cold]
    fn begin_long(&self, upper: u64, lower: u64, at: usize) -> usize {
        // The first that begins behind the address; what is not long stands
        // before all of those.
        let (mut low, mut high) = (0, self.long.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            let first =
                self.long.get(middle).and_then(|number| self.upper(*number as usize)).unwrap_or(u64::MAX);
            let is_before = (first, self.lower.get(middle).copied().unwrap_or_default()) <= (upper, lower);
            if is_before { low = middle.saturating_add(1) } else { high = middle }
        }
        self.long.get(low).map_or(at, |behind| at.min(*behind as usize))
    }

    /// The next entry that contains the address, outwards.
    #[inline(always)]
    pub(super) fn next(&self, walk: &mut Walk) -> Option<Entry6> {
        while let Some(number) = walk.at.checked_sub(1) {
            let (upper, node) = (self.upper(number)?, self.node(number)?);
            walk.at = node.outwards(walk.at);
            if (walk.upper ^ upper) & !host_bits_of_half(node.length()) == 0 {
                if node.length() <= SHORT {
                    let first = upper & !host_bits_of_half(node.length());
                    return Some((u128::from(first) << 64, node.length(), node.set(), number));
                }
                let lower = self.lower(number);
                let host = host_bits_of_half(node.length().saturating_sub(SHORT));
                if (walk.lower ^ lower) & !host == 0 {
                    return self.entry(number);
                }
            }
        }
        None
    }

    fn entry(&self, number: usize) -> Option<Entry6> {
        let (upper, node) = (self.upper(number)?, self.node(number)?);
        let lower = if node.length() > SHORT { self.lower(number) } else { 0 };
        Some((u128::from(upper) << 64 | u128::from(lower), node.length(), node.set(), number))
    }

    /// All entries, sorted by address, length and set.
    pub(super) fn entries(&self) -> impl Iterator<Item = Entry6> {
        (0..self.len()).filter_map(|number| self.entry(number))
    }

    /// Those that lie within a prefix, in the same order.
    pub(super) fn inside(&self, first: u128, length: u8) -> impl Iterator<Item = Entry6> {
        let last = first | host_bits(length);
        let from = first.checked_sub(1).map_or(0, |before| self.walk(before).at);
        let to = self.walk(last).at;
        (from..to)
            .filter_map(|number| self.entry(number))
            .filter(move |(_, narrower, ..)| *narrower >= length)
    }

    /// Whether this is what [`Self::new`] makes, with sets below `sets`: then
    /// every lookup is right.
    pub(super) fn is_sound(&self, sets: usize) -> bool {
        let mut open: Vec<(usize, u128)> = Vec::new();
        let mut previous = None;
        let mut long = self.long.iter();
        let is_right = |(first, length, set, number): Entry6| {
            let key = (first, length, set);
            let fits = length <= 128 && first & host_bits(length) == 0 && usize::from(set.0) < sets;
            if !fits || previous.replace(key).is_some_and(|previous| previous >= key) {
                return false;
            }
            let distance = distance(&mut open, number, &first, first | host_bits(length));
            self.node(number) == Some(Node::new(length, set.0, distance))
                && (length <= SHORT || long.next().is_some_and(|other| *other as usize == number))
        };
        self.words.len() == Self::words_of(self.count)
            && self.long.len() == self.lower.len()
            && self.entries().count() == self.count
            && self.entries().all(is_right)
            && long.next().is_none()
            && self.is_padded()
    }

    /// Whether what fills the last block up is zero.
    fn is_padded(&self) -> bool {
        let end = self.samples.len().saturating_mul(BLOCK);
        (self.count..end).all(|number| self.upper(number) == Some(0) && self.node(number) == Some(Node(0)))
    }
}
