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
/// An isolate has 128 MB, and does not give back what WebAssembly has once
/// had. While it builds, it holds the lists (8 bytes an IPv4 prefix, 24 an
/// IPv6 one), what the index is built of (8 and 32, and half of that again to
/// sort), both indices (4.3 and 12) and the new binary: about 90 MB at these
/// limits.
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

impl StoredSets {
    /// Whether the set of that name holds these prefixes and no others.
    #[must_use]
    pub fn holds_exactly(&self, name: &str, list: &PrefixList) -> bool {
        let Some(id) = self.id(name) else { return false };
        let own = self.index.entries().filter(|(_, set)| *set == id).map(|(prefix, _)| prefix);
        own.eq(list.iter())
    }

    /// These sets with other lists in them, as that generation. Of several
    /// lists for one name the last one counts.
    ///
    /// # Errors
    /// They would be too many.
    pub fn replaced(&self, generation: u64, lists: &[Replacement<'_>]) -> Result<Self, Full> {
        let mut sets = self.sets.clone();
        // For each set its list, where it gets one.
        let mut new: Vec<Option<&PrefixList>> = vec![None; sets.len()];
        for replacement in lists {
            let Replacement { name, list, since, source } = *replacement;
            let set = StoredSet {
                name: clip(name, NAME_LIMIT).to_owned(),
                since,
                source: clip(source, SOURCE_LIMIT).to_owned(),
            };
            match sets.iter().position(|other| other.name == set.name) {
                Some(place) => {
                    sets.get_mut(place).into_iter().for_each(|old| *old = set.clone());
                    new.get_mut(place).into_iter().for_each(|old| *old = Some(list));
                }
                None => {
                    sets.push(set);
                    new.push(Some(list));
                }
            }
        }
        if sets.len() > SETS_LIMIT {
            return Err(Full::Sets);
        }
        let is_kept = |id: SetId| new.get(usize::from(id.0)).is_some_and(Option::is_none);
        let mut builder = self.index.keep(|id| is_kept(id).then_some(id));
        let lists = || (0..).zip(&new).filter_map(|(place, list)| list.map(|list| (SetId(place), list)));
        let (kept_v4, kept_v6) = builder.counts();
        let v4 = lists().fold(kept_v4, |sum, (_, list)| sum.saturating_add(list.len_v4()));
        let more_v6 = |list: &PrefixList| list.len().saturating_sub(list.len_v4());
        let v6 = lists().fold(kept_v6, |sum, (_, list)| sum.saturating_add(more_v6(list)));
        let all = v4.saturating_add(v6);
        if all > PREFIXES_LIMIT {
            return Err(Full::Prefixes(all));
        }
        if v6 > V6_LIMIT {
            return Err(Full::V6(v6));
        }
        builder.reserve(v4.saturating_sub(kept_v4), v6.saturating_sub(kept_v6));
        for (set, list) in lists() {
            list.build(&mut builder, set);
        }
        Ok(Self { generation, sets, index: builder.finish() })
    }
}
