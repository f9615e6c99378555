//! The address sets that rules name: the policy's own, and the stored ones
//! that an isolate has loaded beside it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;

use super::config::AddressSetConfig;
use super::prefix::Prefix;
use crate::addresses::{AddressIndex, Builder, Hit, SetId, StoredSet, StoredSets};
use crate::policy::decode::{Problems, Trail};
use crate::policy::units::Name;

/// What a reference to an address set has to be.
pub const ADDRESS_SET_EXPECTED: &str = "expected the name of one of \"address_sets\"";

/// The most prefixes of the inline sets together: what a document of 1 MiB
/// can hold.
pub const INLINE_LIMIT: usize = 200_000;

/// The sets of a compiled policy.
#[derive(Clone, Debug, Default)]
pub struct PolicySets {
    /// The prefixes of the inline sets, each set by its place in `inline`.
    pub index: AddressIndex,
    /// The names of the inline sets.
    pub inline: Vec<String>,
    /// The names of the stored sets.
    pub stored: Vec<String>,
}

/// Where a name leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Inline(SetId),
    Stored(u16),
}

/// The names of a policy's sets.
#[derive(Debug)]
pub struct SetNames(BTreeMap<String, Found>);

impl SetNames {
    /// The sets that the names lead to; each name that leads nowhere is a
    /// problem.
    pub(super) fn all<'a>(
        &'a self,
        names: &'a [Name],
        path: &Trail<'_>,
        problems: &mut Problems,
    ) -> Vec<Found> {
        let at = path.entry("address_sets");
        let mut all = Vec::with_capacity(names.len());
        for (position, name) in names.iter().enumerate() {
            match self.0.get(&name.0) {
                Some(found) => all.push(*found),
                None => problems.add(at.item(position), format!("\"{name}\""), ADDRESS_SET_EXPECTED),
            }
        }
        all
    }
}

/// Checks and compiles `address_sets`.
pub fn compile_sets(
    configs: &BTreeMap<Name, AddressSetConfig>,
    problems: &mut Problems,
) -> (PolicySets, SetNames) {
    let mut sets = PolicySets::default();
    let mut names = BTreeMap::new();
    let mut builder = Builder::default();
    let at = Trail::Root.entry("address_sets");
    for (name, config) in configs {
        let place = |list: &Vec<String>| u16::try_from(list.len()).unwrap_or(u16::MAX);
        let found = match (&config.prefixes, config.stored) {
            (Some(prefixes), false) => {
                let set = SetId(place(&sets.inline));
                for prefix in prefixes.iter().take(INLINE_LIMIT) {
                    builder.push(*prefix, set);
                }
                sets.inline.push(name.0.clone());
                Found::Inline(set)
            }
            (None, true) => {
                let set = place(&sets.stored);
                sets.stored.push(name.0.clone());
                Found::Stored(set)
            }
            (Some(_), true) => {
                let expected = "expected \"prefixes\" or \"stored\": true, not both";
                problems.add(at.entry(&name.0).entry("stored"), "true", expected);
                continue;
            }
            (None, false) => {
                problems.add(at.entry(&name.0), "{}", "expected \"prefixes\" or \"stored\": true");
                continue;
            }
        };
        names.insert(name.0.clone(), found);
    }
    sets.index = builder.finish();
    (sets, SetNames(names))
}

/// Stored sets, known by the numbers that a policy gives them.
#[derive(Clone, Debug)]
pub struct BoundSets {
    /// The sets.
    pub sets: Rc<StoredSets>,
    /// For each stored set its number in the policy, where that names it.
    numbers: Vec<Option<u16>>,
}

impl BoundSets {
    /// Finds the sets that a policy names.
    #[must_use]
    pub fn new(sets: Rc<StoredSets>, policy: &PolicySets) -> Self {
        let number = |name: &String| policy.stored.iter().position(|other| other == name);
        let numbers = sets.sets.iter().map(|set| u16::try_from(number(&set.name)?).ok()).collect();
        Self { sets, numbers }
    }

    /// Whether the stored set of that number in the policy is there.
    #[must_use]
    pub fn has(&self, number: u16) -> bool {
        self.numbers.contains(&Some(number))
    }

    fn number(&self, hit: &Hit) -> Option<u16> {
        self.numbers.get(usize::from(hit.set.0)).copied().flatten()
    }
}

/// Where sets are looked up.
#[derive(Clone, Copy, Debug)]
pub struct Sets<'a> {
    /// The prefixes of the policy's inline sets.
    pub inline: &'a AddressIndex,
    /// The names.
    pub names: &'a PolicySets,
    /// The stored sets; `None` where none has been loaded.
    pub stored: Option<&'a BoundSets>,
}

impl<'a> Sets<'a> {
    /// The sets of a policy, and the stored ones beside it.
    #[must_use]
    pub const fn new(policy: &'a PolicySets, stored: Option<&'a BoundSets>) -> Self {
        Self { inline: &policy.index, names: policy, stored }
    }

    /// The prefixes of stored sets that contain the address, longest first,
    /// each with the set's number in the policy.
    pub(super) fn stored(&self, address: IpAddr) -> impl Iterator<Item = (Prefix, u16)> {
        self.stored.into_iter().flat_map(move |bound| {
            let hits = bound.sets.index.find(address);
            hits.filter_map(|hit| Some((hit.prefix, bound.number(&hit)?)))
        })
    }

    /// What is known of a set by its name, where it is a stored one of the
    /// policy's, and there.
    #[must_use]
    pub fn stored_set(&self, name: &str) -> Option<&'a StoredSet> {
        // A set of the policy's own may have the name of a stored one.
        self.names.stored.iter().find(|stored| *stored == name)?;
        self.stored?.sets.sets.iter().find(|set| set.name == name)
    }

    /// Whether a stored set is there.
    pub(super) fn has_stored(&self, number: u16) -> bool {
        self.stored.is_some_and(|bound| bound.has(number))
    }
}
