//! The stored form of the sets of an environment: one flat binary that is used
//! as it is. Little-endian; each section is padded to 8 bytes.
//!
//! | bytes | what |
//! | --- | --- |
//! | 4 | `EWAS` |
//! | 4 | the format, 2 or 1 |
//! | 8 | XXH3 (64 bits) of everything else |
//! | 8 | the generation |
//! | 4 | how long the table is |
//! | 4, 4 | how many IPv4 entries of 16 bits and more, and how many shorter ones |
//! | 4, 4 | of the former, the pages of the directory, and those whose set stands apart |
//! | 4, 4 | how many IPv6 entries, and how many of them are longer than 64 bits |
//! | 4 | zero |
//! | | the table: JSON, `[{"name": "drop", "since": 1760000000, "source": "import"}]` |
//! | 2 each | the directory: the upper 8 bits of each page's addresses |
//! | 4 each | the directory: where each of the 256 buckets of a page begins |
//! | 4 each | IPv4: the entries of 16 bits and more |
//! | 8 each | IPv4: the sets that stand apart |
//! | 8 each | IPv4: the shorter ones |
//! | 192 each | IPv6: of each sixteen the upper halves, then the nodes |
//! | 4 each | IPv6: the numbers of those longer than 64 bits |
//! | 8 each | IPv6: their lower halves |
//!
//! Format 1 is the same without `since` and `source` in the table. A reader
//! knows this format and the one before it.
//!
//! The checksum finds damage; that a binary is the one that was published is
//! what the SHA-256 of its parts says. [`decode`] also walks the entries once:
//! what it accepts answers every lookup as a scan of its entries would.

use std::iter::repeat_n;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3Default;

use super::directory::Directory;
use super::v4::V4;
use super::v6::V6;
use super::{AddressIndex, StoredSet, StoredSets};

/// The format that is written.
pub const FORMAT: u32 = 2;

/// The oldest format that is read.
pub const LEAST: u32 = 1;

/// The most stored sets of an environment.
pub const SETS_LIMIT: usize = 256;

/// The longest name of a set, in bytes.
pub const NAME_LIMIT: usize = 64;

/// The longest source, in bytes.
pub const SOURCE_LIMIT: usize = 2_048;

/// The most entries of all sets together.
pub const ENTRIES_LIMIT: usize = 4_000_000;

const MAGIC: &[u8; 4] = b"EWAS";
const HEAD: usize = 56;
const TABLE_LIMIT: usize = 1 << 20;

/// What is wrong with a binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// It does not begin as one, or says things that cannot be.
    Head,
    /// Its format is not read by this module.
    Format(u32),
    /// It ends too early, or goes on after its end.
    Length,
    /// The checksum is another.
    Checksum,
    /// The table of sets does not parse, or breaks a limit.
    Table,
    /// The entries are not sorted, or not what they should be.
    Entries,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Head => f.write_str("the address sets do not begin as they should"),
            Self::Format(format) => {
                write!(f, "the address sets have format {format}; this module reads {LEAST} and {FORMAT}")
            }
            Self::Length => f.write_str("the address sets are not as long as they say"),
            Self::Checksum => f.write_str("the address sets have another checksum: they are damaged"),
            Self::Table => f.write_str("the table of the address sets is not one"),
            Self::Entries => f.write_str("the entries of the address sets are not in order"),
        }
    }
}

impl std::error::Error for Damage {}

#[derive(Serialize, Deserialize)]
struct Row {
    name: String,
    #[serde(default)]
    since: u64,
    #[serde(default)]
    source: String,
}

/// The binary.
#[must_use]
pub fn encode(stored: &StoredSets) -> Vec<u8> {
    let rows: Vec<Row> = stored
        .sets
        .iter()
        .map(|set| Row { name: set.name.clone(), since: set.since, source: set.source.clone() })
        .collect();
    // Texts and numbers always serialise.
    let table = serde_json::to_vec(&rows).unwrap_or_default();
    let (v4, v6) = (&stored.index.v4, &stored.index.v6);
    let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
    let pages = v4.directory.pages();
    let most = [table.len(), v4.bytes(), v6.bytes(), HEAD, 64];
    let mut bytes = Vec::with_capacity(most.iter().fold(0, |sum: usize, more| sum.saturating_add(*more)));
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&FORMAT.to_le_bytes());
    bytes.extend_from_slice(&[0; 8]);
    bytes.extend_from_slice(&stored.generation.to_le_bytes());
    let (narrow, wide, others) = (v4.narrow.len(), v4.wide.len(), v4.others.len());
    for number in [table.len(), narrow, wide, pages.len(), others, v6.len(), v6.long.len(), 0] {
        bytes.extend_from_slice(&count(number));
    }
    bytes.extend_from_slice(&table);
    pad(&mut bytes);
    bytes.extend(pages.iter().flat_map(|page| page.to_le_bytes()));
    pad(&mut bytes);
    bytes.extend(v4.directory.starts().flat_map(u32::to_le_bytes));
    bytes.extend(v4.narrow.iter().flat_map(|entry| entry.to_le_bytes()));
    pad(&mut bytes);
    for section in [&v4.others, &v4.wide, &v6.words] {
        bytes.extend(section.iter().flat_map(|word| word.to_le_bytes()));
    }
    bytes.extend(v6.long.iter().flat_map(|number| number.to_le_bytes()));
    pad(&mut bytes);
    bytes.extend(v6.lower.iter().flat_map(|word| word.to_le_bytes()));
    let mut hash = Xxh3Default::new();
    hash.update(bytes.get(..8).unwrap_or_default());
    hash.update(bytes.get(16..).unwrap_or_default());
    let checksum = hash.digest();
    if let Some(place) = bytes.get_mut(8..16) {
        place.copy_from_slice(&checksum.to_le_bytes());
    }
    bytes
}

fn pad(bytes: &mut Vec<u8>) {
    let more = bytes.len().next_multiple_of(8).saturating_sub(bytes.len());
    bytes.extend(repeat_n(0, more));
}

/// Reads a binary that may be cut into parts anywhere. Copies each part
/// straight into the arrays, so that beside the parts only the result is held.
///
/// # Errors
/// Says what is wrong with it.
pub fn decode<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Result<StoredSets, Damage> {
    let read = read(parts)?;
    let is_sound = read.index.v4.is_sound(read.sets.len()) && read.index.v6.is_sound(read.sets.len());
    if is_sound { Ok(read) } else { Err(Damage::Entries) }
}

/// Copy and checksum, without the walk over the entries. Lookups in what it
/// gives end and give prefixes that contain the address, whatever the bytes;
/// that none is missed only [`decode`] knows.
///
/// # Errors
/// Says what is wrong with it.
pub fn read<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Result<StoredSets, Damage> {
    let mut reader = Reader { parts: parts.into_iter(), rest: &[], hash: Xxh3Default::new() };
    if reader.array::<4>()? != *MAGIC {
        return Err(Damage::Head);
    }
    let format = u32::from_le_bytes(reader.array()?);
    if !(LEAST..=FORMAT).contains(&format) {
        return Err(Damage::Format(format));
    }
    let checksum = u64::from_le_bytes(reader.array()?);
    reader.hash.reset();
    reader.hash.update(MAGIC);
    reader.hash.update(&format.to_le_bytes());
    let generation = u64::from_le_bytes(reader.array()?);
    let mut count = || reader.array().map(|bytes| u32::from_le_bytes(bytes) as usize);
    let (table, narrow, wide, pages) = (count()?, count()?, count()?, count()?);
    let (others, six, long, zero) = (count()?, count()?, count()?, count()?);
    let entries = narrow.saturating_add(wide).saturating_add(six);
    let fits = entries <= ENTRIES_LIMIT && table <= TABLE_LIMIT && pages <= 256;
    if !fits || others > narrow || long > six || zero != 0 {
        return Err(Damage::Head);
    }
    let rows: Vec<u8> = reader.section(table)?;
    let tops: Vec<u16> = reader.section(pages)?;
    let starts = reader.section(pages.saturating_mul(256))?;
    let four: Vec<u32> = reader.section(narrow)?;
    let (others, wide) = (reader.section(others)?, reader.section(wide)?);
    let (words, long, lower) =
        (reader.section(V6::words_of(six))?, reader.section(long)?, reader.section(long)?);
    if !reader.is_at_end() {
        return Err(Damage::Length);
    }
    if reader.hash.digest() != checksum {
        return Err(Damage::Checksum);
    }
    if !tops.is_sorted_by(|one, other| one < other) || tops.last().is_some_and(|last| *last > 0xff) {
        return Err(Damage::Entries);
    }
    let directory = Directory::of(&tops, starts, u32::try_from(narrow).unwrap_or(u32::MAX));
    let index =
        AddressIndex { v4: V4::of(four, directory, others, wide), v6: V6::of(words, six, long, lower) };
    Ok(StoredSets { generation, sets: sets(&rows, format)?, index })
}

fn sets(table: &[u8], format: u32) -> Result<Vec<StoredSet>, Damage> {
    let rows: Vec<Row> = serde_json::from_slice(table).map_err(|_| Damage::Table)?;
    let mut sets: Vec<StoredSet> = Vec::with_capacity(rows.len().min(SETS_LIMIT));
    for row in rows {
        let fits = (1..=NAME_LIMIT).contains(&row.name.len())
            && row.source.len() <= SOURCE_LIMIT
            && sets.len() < SETS_LIMIT
            && sets.iter().all(|set| set.name != row.name);
        if !fits {
            return Err(Damage::Table);
        }
        let (since, source) = if format == 1 { (0, String::new()) } else { (row.since, row.source) };
        sets.push(StoredSet { name: row.name, since, source });
    }
    Ok(sets)
}

/// A number of a section.
trait Word: Sized {
    const BYTES: usize;
    /// Appends those that the bytes hold whole, and no half one.
    fn extend(words: &mut Vec<Self>, bytes: &[u8]);
}

macro_rules! word {
    ($($word:ty),*) => {$(
        impl Word for $word {
            const BYTES: usize = size_of::<$word>();
            fn extend(words: &mut Vec<Self>, bytes: &[u8]) {
                let (whole, _) = bytes.as_chunks();
                words.extend(whole.iter().map(|chunk| <$word>::from_le_bytes(*chunk)));
            }
        }
    )*};
}

word!(u8, u16, u32, u64);

struct Reader<'a, I> {
    parts: I,
    rest: &'a [u8],
    hash: Xxh3Default,
}

impl<'a, I: Iterator<Item = &'a [u8]>> Reader<'a, I> {
    /// What is at hand: some bytes, and none only at the end.
    fn fill(&mut self) -> &'a [u8] {
        while self.rest.is_empty() {
            match self.parts.next() {
                Some(part) => self.rest = part,
                None => break,
            }
        }
        self.rest
    }

    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at_checked(length).unwrap_or((self.rest, &[]));
        self.rest = rest;
        self.hash.update(taken);
        taken
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Damage> {
        let mut array = [0; N];
        let mut filled = 0;
        while let Some(empty) = array.get_mut(filled..).filter(|empty| !empty.is_empty()) {
            if self.fill().is_empty() {
                return Err(Damage::Length);
            }
            let taken = self.take(empty.len());
            if let Some(place) = empty.get_mut(..taken.len()) {
                place.copy_from_slice(taken);
            }
            filled = filled.saturating_add(taken.len());
        }
        Ok(array)
    }

    /// So many numbers, and the padding behind them.
    fn section<T: Word>(&mut self, count: usize) -> Result<Vec<T>, Damage> {
        // Not all at once for a head that lies: as much as the bytes bear out.
        let mut words: Vec<T> = Vec::new();
        let wanted = |words: &Vec<T>| count.saturating_sub(words.len()).saturating_mul(T::BYTES);
        while wanted(&words) > 0 {
            let at_hand = self.fill().len().min(wanted(&words));
            if at_hand == 0 {
                return Err(Damage::Length);
            }
            let whole = at_hand.saturating_sub(at_hand.checked_rem(T::BYTES).unwrap_or_default());
            if whole > 0 {
                // Exactly: growing by doubling would take half as much again.
                if words.capacity() == 0 {
                    words.reserve_exact(count.min(RESERVE));
                }
                let bytes = self.take(whole);
                T::extend(&mut words, bytes);
            } else {
                // One that a cut goes through.
                let mut bytes = [0; 8];
                for byte in bytes.iter_mut().take(T::BYTES) {
                    [*byte] = self.array()?;
                }
                T::extend(&mut words, bytes.get(..T::BYTES).unwrap_or_default());
            }
        }
        let length = count.saturating_mul(T::BYTES);
        for _ in length..length.next_multiple_of(8) {
            if self.array()? != [0] {
                return Err(Damage::Entries);
            }
        }
        Ok(words)
    }

    fn is_at_end(&mut self) -> bool {
        self.fill().is_empty()
    }
}

/// The most entries that a head alone can make us reserve room for.
const RESERVE: usize = 4_000_000;
