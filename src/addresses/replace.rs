//! Replacing sets: the stored sets of an environment with other lists in them.
//!
//! All sets are one index, so one list that changes makes a new index. What
//! the others hold is taken over from the old one, in order, so that building
//! is mostly merging.

use std::fmt;

use super::format::{NAME_LIMIT, SETS_LIMIT, SOURCE_LIMIT};
use super::{SetId, StoredSet, StoredSets};
use crate::error::clip;
use crate::feeds::PrefixList;

/// The most prefixes of all sets together.
///
/// An isolate has 128 MB, and WebAssembly does not give back what it has once
/// had. While it builds, it holds the lists (8 bytes an IPv4 prefix, 24 an
/// IPv6 one), what the index is built of (8 and 32, and half of that again to
/// sort), both indices (4.3 and 12) and the new binary: 83 MB at these limits,
/// counted where a list of 1.5 million IPv4 prefixes is replaced in an isolate
/// that has to load the sets first.
pub const PREFIXES_LIMIT: usize = 2_000_000;

/// The most IPv6 prefixes among them: each takes three times the room.
pub const V6_LIMIT: usize = 500_000;

/// A list that takes the place of the set of its name, or is a new set.
#[derive(Clone, Copy, Debug)]
pub struct Replacement<'a> {
    /// The name, 1 to [`NAME_LIMIT`] bytes.
    pub name: &'a str,
    /// Its prefixes.
    pub list: &'a PrefixList,
    /// When it came in, in seconds since 1970.
    pub since: u64,
    /// Where it came from; cut off after [`SOURCE_LIMIT`] bytes.
    pub source: &'a str,
}

/// Why the sets cannot hold a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// There would be more sets than [`SETS_LIMIT`].
    Sets,
    /// There would be so many prefixes, more than [`PREFIXES_LIMIT`].
    Prefixes(usize),
    /// There would be so many IPv6 prefixes, more than [`V6_LIMIT`].
    V6(usize),
}

impl Full {
    /// The label used everywhere.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sets => "too-many-sets",
            Self::Prefixes(_) | Self::V6(_) => "too-many-prefixes",
        }
    }
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sets => write!(f, "more than {SETS_LIMIT} stored sets"),
            Self::Prefixes(count) => {
                write!(f, "{count} prefixes in all stored sets; at most {PREFIXES_LIMIT}")
            }
            Self::V6(count) => write!(f, "{count} IPv6 prefixes in all stored sets; at most {V6_LIMIT}"),
        }
    }
}

impl std::error::Error for Full {}

/// How much room there is left, for one list after the other.
#[derive(Clone, Debug)]
pub struct Room {
    /// The names of the sets, and how many IPv4 and IPv6 prefixes each has.
    sets: Vec<(String, usize, usize)>,
}

impl Room {
    /// Beside these sets.
    #[must_use]
    pub fn beside(stored: &StoredSets) -> Self {
        let counts = stored.index.counts(stored.sets.len());
        let sets = stored.sets.iter().zip(counts).map(|(set, (v4, v6))| (set.name.clone(), v4, v6));
        Self { sets: sets.collect() }
    }

    /// Takes a list in, in the place of the set of its name.
    ///
    /// # Errors
    /// There is no room; it is not taken in.
    pub fn take(&mut self, name: &str, list: &PrefixList) -> Result<(), Full> {
        let others = || self.sets.iter().filter(|(other, ..)| other != name);
        if others().count() >= SETS_LIMIT {
            return Err(Full::Sets);
        }
        let (v4, v6) = (list.len_v4(), list.len().saturating_sub(list.len_v4()));
        let all_v6 = others().fold(v6, |sum, (_, _, v6)| sum.saturating_add(*v6));
        let all = others().fold(v4, |sum, (_, v4, _)| sum.saturating_add(*v4)).saturating_add(all_v6);
        if all > PREFIXES_LIMIT {
            return Err(Full::Prefixes(all));
        }
        if all_v6 > V6_LIMIT {
            return Err(Full::V6(all_v6));
        }
        self.sets.retain(|(other, ..)| other != name);
        self.sets.push((name.to_owned(), v4, v6));
        Ok(())
    }
}

impl StoredSets {
    /// Whether the set of that name holds these prefixes and no others.
    #[must_use]
    pub fn holds_exactly(&self, name: &str, list: &PrefixList) -> bool {
        let Some(id) = self.id(name) else { return false };
        let own = self.index.entries().filter(|(_, set)| *set == id).map(|(prefix, _)| prefix);
        own.eq(list.iter())
    }

    /// These sets with other lists in them, for which there is [`Room`]. Of
    /// several lists for one name the last one counts. The generation stays.
    #[must_use]
    pub fn replaced(&self, lists: &[Replacement<'_>]) -> Self {
        let mut sets = self.sets.clone();
        // For each set its list, where it gets one.
        let mut new: Vec<Option<&PrefixList>> = vec![None; sets.len()];
        for Replacement { name, list, since, source } in lists {
            let set = StoredSet {
                name: clip(name, NAME_LIMIT).to_owned(),
                since: *since,
                source: clip(source, SOURCE_LIMIT).to_owned(),
            };
            let place = sets.iter().position(|other| other.name == set.name);
            match place.and_then(|place| Some((sets.get_mut(place)?, new.get_mut(place)?))) {
                Some((old, old_list)) => (*old, *old_list) = (set, Some(*list)),
                None => {
                    sets.push(set);
                    new.push(Some(*list));
                }
            }
        }
        let is_kept = |id: SetId| new.get(usize::from(id.0)).is_some_and(Option::is_none);
        let mut builder = self.index.keep(|id| is_kept(id).then_some(id));
        let lists = || (0_u16..).zip(&new).filter_map(|(place, list)| list.map(|list| (SetId(place), list)));
        let v4 = lists().fold(0, |sum: usize, (_, list)| sum.saturating_add(list.len_v4()));
        let all = lists().fold(0, |sum: usize, (_, list)| sum.saturating_add(list.len()));
        builder.reserve(v4, all.saturating_sub(v4));
        for (set, list) in lists() {
            list.build(&mut builder, set);
        }
        Self { generation: self.generation, sets, index: builder.finish() }
    }
}
