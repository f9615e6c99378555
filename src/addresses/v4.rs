//! The IPv4 half of an index: 4 bytes for a prefix, and what its directory
//! takes.
//!
//! The upper 16 bits of an address name a bucket. A prefix of 16 bits or more
//! lies in one bucket, and all that a lookup there needs stands together: in a
//! million prefixes a bucket holds some fifteen, one or two cache lines. What
//! a lookup costs is waiting for memory, so being small is being fast. The
//! wider prefixes, few in any list, are a list of their own, which is looked at
//! only in buckets that are marked as covered by one.

use std::fmt;

use super::directory::Directory;
use super::index::SetId;
use super::jump::{self, distance};

/// The shortest prefix that lies in one bucket.
const NARROW: u8 = 16;

/// The set of an entry whose set is told by [`V4::others`].
const OTHER: u16 = 63;

/// Entries sorted by address, length and set, wide ones apart.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct V4 {
    /// See [`Narrow`].
    pub(super) narrow: Vec<u32>,
    pub(super) directory: Directory,
    /// The sets of narrow entries from [`OTHER`] on: the entry's number
    /// (32 bits) and its set, ascending.
    pub(super) others: Vec<u64>,
    /// Prefixes shorter than 16 bits, see [`Wide`].
    pub(super) wide: Vec<u64>,
}

/// The largest bucket in which [`rank`] steps.
const STEPS: usize = 64;

/// The bits of a prefix of that length that its addresses differ in.
pub(super) const fn host_bits(length: u8) -> u32 {
    match u32::MAX.checked_shr(length as u32) {
        Some(bits) => bits,
        None => 0,
    }
}

/// An entry of a bucket: the lower half of its address (16 bits), the length
/// less 16 (5), the set or [`OTHER`] (6), and how many entries before it the
/// nearest of its bucket stands that encloses or equals it (5, see [`jump`]).
#[derive(Clone, Copy)]
struct Narrow(u32);

impl Narrow {
    fn new(first: u32, length: u8, set: u16, distance: usize) -> Self {
        let length = u32::from(length.saturating_sub(NARROW)) << 11;
        Self(first << 16 | length | u32::from(set.min(OTHER)) << 5 | jump::encode(distance, 1, 31))
    }

    const fn key(self) -> u16 {
        (self.0 >> 16) as u16
    }

    const fn length(self) -> u8 {
        ((self.0 >> 11 & 0x1f) as u8).saturating_add(NARROW)
    }

    const fn set(self) -> u16 {
        (self.0 >> 5 & 0x3f) as u16
    }

    /// The entry to go on with from this one, both counted from 1; 0 for none.
    #[inline(always)]
    const fn outwards(self, at: usize) -> usize {
        match jump::decode(self.0 & 0x1f, 1) {
            0 => 0,
            distance => at.saturating_sub(distance),
        }
    }

    /// Whether it contains an address of its bucket.
    #[inline(always)]
    const fn holds(self, address: u32) -> bool {
        let host_bits = 0xffff >> (self.0 >> 11 & 0x1f);
        (self.0 >> 16 ^ address & 0xffff) <= host_bits
    }
}

/// A wide entry: the upper half of its address (16 bits), the length (6), the
/// set (16), and how many entries before it the nearest stands that encloses
/// or equals it (26; 0 for none).
#[derive(Clone, Copy)]
struct Wide(u64);

impl Wide {
    fn new(top: u16, length: u8, set: u16, distance: usize) -> Self {
        let distance = distance as u64 & 0x3ff_ffff;
        Self(u64::from(top) << 48 | u64::from(length) << 42 | u64::from(set) << 26 | distance)
    }

    const fn top(self) -> u16 {
        (self.0 >> 48) as u16
    }

    const fn length(self) -> u8 {
        (self.0 >> 42 & 0x3f) as u8
    }

    const fn set(self) -> u16 {
        (self.0 >> 26 & 0xffff) as u16
    }

    const fn distance(self) -> usize {
        (self.0 & 0x3ff_ffff) as usize
    }

    /// As [`Narrow::outwards`].
    const fn outwards(self, at: usize) -> usize {
        match self.distance() {
            0 => 0,
            distance => at.saturating_sub(distance),
        }
    }

    /// Whether it contains an address.
    const fn holds(self, address: u32) -> bool {
        ((self.top() as u32) << 16 ^ address) <= host_bits(self.length())
    }

    /// The highest bucket that it covers.
    fn last(self) -> u16 {
        self.top() | (host_bits(self.length()) >> 16) as u16
    }
}

/// An entry: address, length, set, and its number.
pub(super) type Entry4 = (u32, u8, SetId, usize);

/// Where a lookup has got to. It goes outwards within the bucket and then
/// among the wide.
#[derive(Clone, Copy, Debug)]
pub(super) struct Walk {
    address: u32,
    /// Where the bucket's entries begin.
    from: usize,
    /// The next entry of the bucket to look at, counted from 1.
    at: usize,
    /// How many of the wide are still to be looked at.
    wide: usize,
}

impl fmt::Debug for V4 {
    /// Not a million of them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "V4({} entries)", self.len())
    }
}

impl V4 {
    /// From entries that are sorted and there once each; `parts` gives
    /// address, length and set.
    pub(super) fn new(entries: &[u64], parts: impl Fn(u64) -> (u32, u8, u16)) -> Self {
        let all = || entries.iter().map(|entry| parts(*entry));
        let is_narrow = |(_, length, _): &(u32, u8, u16)| *length >= NARROW;
        let directory = Directory::new(all().filter(is_narrow).map(|(first, ..)| (first >> 16) as u16));
        let mut narrow = Vec::with_capacity(all().filter(is_narrow).count());
        let mut others = Vec::new();
        // The entries that enclose the next one, as far as they are open: at
        // most one for each length and set. None reaches into another bucket.
        let mut open: Vec<(usize, u32)> = Vec::new();
        for (first, length, set) in all().filter(is_narrow) {
            let number = narrow.len();
            let distance = distance(&mut open, number, &first, first | host_bits(length));
            narrow.push(Narrow::new(first, length, set, distance).0);
            if set >= OTHER {
                others.push((number as u64) << 32 | u64::from(set));
            }
        }
        let mut wide = Vec::new();
        open.clear();
        for (first, length, set) in all().filter(|entry| !is_narrow(entry)) {
            let distance = distance(&mut open, wide.len(), &first, first | host_bits(length));
            wide.push(Wide::new((first >> 16) as u16, length, set, distance).0);
        }
        Self::of(narrow, directory, others, wide)
    }

    /// From arrays as they are stored.
    pub(super) fn of(narrow: Vec<u32>, mut directory: Directory, others: Vec<u64>, wide: Vec<u64>) -> Self {
        let mut after = 0_u32;
        for entry in wide.iter().map(|entry| Wide(*entry)) {
            // What is nested is marked already.
            if u32::from(entry.last()) >= after {
                directory.mark(entry.top(), entry.last());
                after = u32::from(entry.last()).saturating_add(1);
            }
        }
        Self { narrow, directory, others, wide }
    }

    pub(super) const fn len(&self) -> usize {
        self.narrow.len().saturating_add(self.wide.len())
    }

    pub(super) fn bytes(&self) -> usize {
        [size_of_val(self.narrow.as_slice()), size_of_val(self.others.as_slice())]
            .iter()
            .fold(self.directory.bytes(), |sum, more| sum.saturating_add(*more))
            .saturating_add(size_of_val(self.wide.as_slice()))
    }

    /// Where a lookup begins.
    #[inline(always)]
    pub(super) fn walk(&self, address: u32) -> Walk {
        let (from, to, is_covered) = self.directory.range((address >> 16) as u16);
        let at = self.narrow.get(from..to).map_or(0, |bucket| rank(bucket, address << 16 | 0xffff));
        let wide = if is_covered { self.wide.len() } else { 0 };
        Walk { address, from, at, wide }
    }

    /// The next entry that contains the address, outwards.
    #[inline(always)]
    pub(super) fn next(&self, walk: &mut Walk) -> Option<Entry4> {
        // By value, so that a walk stays in registers.
        let Walk { address, from, mut at, wide } = *walk;
        while let Some(place) = at.checked_sub(1) {
            let number = from.wrapping_add(place);
            let entry = Narrow(*self.narrow.get(number)?);
            at = entry.outwards(at);
            if entry.holds(address) {
                walk.at = at;
                return Some(self.narrow_entry((address >> 16) as u16, entry, number));
            }
        }
        walk.at = 0;
        if wide == 0 {
            return None;
        }
        let found = self.next_wide(address, wide);
        walk.wide = found.saturating_sub(1);
        self.wide_entry(found.checked_sub(1)?)
    }

    /// The next of the first so many wide entries that contains the address,
    /// counted from 1; 0 for none.
    #[cold]
    fn next_wide(&self, address: u32, many: usize) -> usize {
        let top = (address >> 16) as u16;
        let wide = self.wide.get(..many).unwrap_or_default();
        let mut at = wide.partition_point(|entry| Wide(*entry).top() <= top);
        while let Some(entry) = wide.get(at.wrapping_sub(1)).map(|entry| Wide(*entry)) {
            if entry.holds(address) {
                return at;
            }
            at = entry.outwards(at);
        }
        0
    }

    #[inline(always)]
    fn narrow_entry(&self, top: u16, entry: Narrow, number: usize) -> Entry4 {
        let set = if entry.set() == OTHER { self.other(number) } else { entry.set() };
        (u32::from(top) << 16 | u32::from(entry.key()), entry.length(), SetId(set), number)
    }

    #[cold]
    fn other(&self, number: usize) -> u16 {
        let place = self.others.binary_search_by_key(&(number as u64), |other| other >> 32).ok();
        place.and_then(|place| self.others.get(place)).map_or(OTHER, |other| (other & 0xffff) as u16)
    }

    fn wide_entry(&self, place: usize) -> Option<Entry4> {
        let entry = Wide(*self.wide.get(place)?);
        let first = u32::from(entry.top()) << 16;
        Some((first, entry.length(), SetId(entry.set()), self.narrow.len().saturating_add(place)))
    }

    /// All entries of those buckets, and the wide that begin there, in order.
    fn within(&self, tops: std::ops::RangeInclusive<u16>) -> impl Iterator<Item = Entry4> {
        let (low, high) = (*tops.start(), *tops.end());
        let narrow = self
            .directory
            .buckets()
            .skip_while(move |(top, ..)| *top < low)
            .take_while(move |(top, ..)| *top <= high)
            .flat_map(move |(top, from, to)| {
                let entries = self.narrow.get(from..to).unwrap_or_default().iter().zip(from..);
                entries.map(move |(entry, number)| self.narrow_entry(top, Narrow(*entry), number))
            });
        let from = self.wide.partition_point(|entry| Wide(*entry).top() < low);
        let wide = (from..self.wide.len())
            .filter_map(|place| self.wide_entry(place))
            .take_while(move |(first, ..)| (*first >> 16) as u16 <= high);
        merge(wide, narrow)
    }

    /// All entries, sorted by address, length and set.
    pub(super) fn entries(&self) -> impl Iterator<Item = Entry4> {
        self.within(0..=u16::MAX)
    }

    /// Those that lie within a prefix, in the same order.
    pub(super) fn inside(&self, first: u32, length: u8) -> impl Iterator<Item = Entry4> {
        let last = first | host_bits(length);
        self.within((first >> 16) as u16..=(last >> 16) as u16)
            .filter(move |(other, narrower, ..)| *narrower >= length && (first..=last).contains(other))
    }

    /// Whether this is what [`Self::new`] makes, with sets below `sets`: then
    /// every lookup is right.
    pub(super) fn is_sound(&self, sets: usize) -> bool {
        // That the wide are in their order is part of that of all.
        let is_wide = |length: u8| length < NARROW;
        let mut open: Vec<(usize, u32)> = Vec::new();
        let mut open_wide = Vec::new();
        let mut others = self.others.iter();
        let mut previous = None;
        let is_right = |(first, length, set, number): Entry4| {
            let key = (first, length, set);
            let fits = length <= 32 && first & host_bits(length) == 0 && usize::from(set.0) < sets;
            if !fits || previous.replace(key).is_some_and(|previous| previous >= key) {
                return false;
            }
            let last = first | host_bits(length);
            if let Some(place) = number.checked_sub(self.narrow.len()) {
                let distance = distance(&mut open_wide, place, &first, last);
                is_wide(length)
                    && self.wide.get(place).is_some_and(|entry| Wide(*entry).distance() == distance)
            } else {
                let distance = distance(&mut open, number, &first, last);
                let other = (number as u64) << 32 | u64::from(set.0);
                if set.0 >= OTHER && others.next() != Some(&other) {
                    return false;
                }
                let entry = Narrow::new(first, length, set.0, distance).0;
                !is_wide(length) && self.narrow.get(number) == Some(&entry)
            }
        };
        self.directory.is_sound(self.narrow.len())
            && self.entries().all(is_right)
            && self.entries().count() == self.len()
            && others.next().is_none()
    }
}

/// How many entries of a bucket are at most this one. Steps from where it would
/// stand if the addresses were spread evenly, so that mostly one cache line is
/// read, and no read waits for the one before as in a search by halves. That is
/// left for a bucket in which the steps could be many.
#[inline(always)]
fn rank(bucket: &[u32], last: u32) -> usize {
    if bucket.len() > STEPS {
        return bucket.partition_point(|entry| *entry <= last);
    }
    let share = u64::from(last).wrapping_mul(bucket.len() as u64) >> 32;
    let mut at = share as usize;
    while let Some(entry) = bucket.get(at)
        && *entry <= last
    {
        at = at.wrapping_add(1);
    }
    while let Some(entry) = bucket.get(at.wrapping_sub(1))
        && *entry > last
    {
        at = at.wrapping_sub(1);
    }
    at
}

/// Two sorted lists as one.
fn merge<T: Ord>(one: impl Iterator<Item = T>, other: impl Iterator<Item = T>) -> impl Iterator<Item = T> {
    let (mut one, mut other) = (one.peekable(), other.peekable());
    std::iter::from_fn(move || match (one.peek(), other.peek()) {
        (Some(a), Some(b)) if a <= b => one.next(),
        (Some(_), None) => one.next(),
        _ => other.next(),
    })
}
