//! Whom a rule names, beyond plain prefixes and sets.

use std::net::IpAddr;

use super::config::{ConditionConfig, InnerConditionConfig, IpRuleConfig};
use super::sets::{Found, SetNames, Sets};
use crate::addresses::{AddressIndex, SetId};
use crate::exchange::{Code, RequestMetadata};
use crate::policy::decode::{Problems, Trail};
use crate::policy::units::Name;
use crate::stages::ip_filter::prefix::Prefix;

/// Of whom a decision is made.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The client's address.
    pub address: IpAddr,
    /// The network that counts as one client.
    pub network: Prefix,
    /// Where it is, as far as the platform says.
    pub metadata: RequestMetadata,
    /// The labels that it got before.
    pub tags: &'a [String],
}

/// A compiled condition: all parts that are there have to hold.
#[derive(Clone, Debug, Default)]
pub(super) struct Condition {
    addresses: Option<Addresses>,
    countries: Vec<Code>,
    continents: Vec<Code>,
    asns: Vec<u32>,
    tags: Vec<String>,
    any: Vec<Condition>,
    not: Option<Box<Condition>>,
}

#[derive(Clone, Debug, Default)]
struct Addresses {
    own: AddressIndex,
    inline: Vec<SetId>,
    stored: Vec<u16>,
}

/// What a rule or a condition inside it names.
pub(super) struct Parts<'a> {
    pub(super) prefixes: &'a [Prefix],
    pub(super) address_sets: &'a [Name],
    countries: &'a [Code],
    continents: &'a [Code],
    asns: &'a [u32],
    tags: &'a [Name],
    any: Vec<Parts<'a>>,
    not: Option<Box<Parts<'a>>>,
}

macro_rules! parts {
    ($config:expr, $any:expr, $not:expr) => {
        Self {
            prefixes: &$config.prefixes,
            address_sets: &$config.address_sets,
            countries: &$config.countries,
            continents: &$config.continents,
            asns: &$config.asns,
            tags: &$config.tags,
            any: $any,
            not: $not,
        }
    };
}

impl<'a> Parts<'a> {
    pub(super) fn of(rule: &'a IpRuleConfig) -> Self {
        let not = rule.not.as_ref().map(|not| Box::new(Self::condition(not)));
        parts!(rule, rule.any.iter().map(Self::condition).collect(), not)
    }

    fn condition(config: &'a ConditionConfig) -> Self {
        let not = config.not.as_ref().map(|not| Box::new(Self::inner(not)));
        parts!(config, config.any.iter().map(Self::inner).collect(), not)
    }

    fn inner(config: &'a InnerConditionConfig) -> Self {
        parts!(config, Vec::new(), None)
    }

    /// Whether nothing but prefixes and sets is named.
    pub(super) fn is_plain(&self) -> bool {
        self.countries.is_empty()
            && self.continents.is_empty()
            && self.asns.is_empty()
            && self.tags.is_empty()
            && self.any.is_empty()
            && self.not.is_none()
    }

    /// Whether nothing is named at all.
    pub(super) fn is_empty(&self) -> bool {
        self.is_plain() && self.prefixes.is_empty() && self.address_sets.is_empty()
    }
}

/// The continents, as the platform names them.
pub const CONTINENTS: [&str; 7] = ["AF", "AN", "AS", "EU", "NA", "OC", "SA"];

impl Condition {
    pub(super) fn compile(
        parts: &Parts<'_>,
        path: &Trail<'_>,
        names: &SetNames,
        problems: &mut Problems,
    ) -> Self {
        let has_addresses = !(parts.prefixes.is_empty() && parts.address_sets.is_empty());
        let addresses = has_addresses.then(|| {
            let own = AddressIndex::build(parts.prefixes.iter().map(|prefix| (*prefix, SetId(0))));
            let mut addresses = Addresses { own, ..Addresses::default() };
            for found in names.all(parts.address_sets, path, problems) {
                match found {
                    Found::Inline(set) => addresses.inline.push(set),
                    Found::Stored(set) => addresses.stored.push(set),
                }
            }
            addresses
        });
        for (index, continent) in parts.continents.iter().enumerate() {
            if !CONTINENTS.contains(&continent.as_str()) {
                let expected = "expected one of AF, AN, AS, EU, NA, OC, SA";
                problems.add(path.entry("continents").item(index), format!("\"{continent}\""), expected);
            }
        }
        let inner = |parts: &Parts<'_>, at: &Trail<'_>, problems: &mut Problems| {
            if parts.is_empty() {
                problems.add(*at, "{}", "expected a condition");
            }
            Self::compile(parts, at, names, problems)
        };
        let any_at = path.entry("any");
        let any: Vec<Self> = parts
            .any
            .iter()
            .enumerate()
            .map(|(index, parts)| inner(parts, &any_at.item(index), problems))
            .collect();
        let not = parts.not.as_ref().map(|parts| Box::new(inner(parts, &path.entry("not"), problems)));
        Self {
            addresses,
            countries: parts.countries.to_vec(),
            continents: parts.continents.to_vec(),
            asns: parts.asns.to_vec(),
            tags: parts.tags.iter().map(|tag| tag.0.clone()).collect(),
            any,
            not,
        }
    }

    /// Whether it holds. What is not known is in no list.
    pub(super) fn holds(&self, subject: &Subject<'_>, given: &[&str], sets: &Sets<'_>) -> bool {
        let has = |tag: &String| given.contains(&tag.as_str()) || subject.tags.contains(tag);
        let place = &subject.metadata;
        self.addresses.as_ref().is_none_or(|addresses| addresses.hold(subject.address, sets))
            && within(&self.countries, place.country)
            && within(&self.continents, place.continent)
            && within(&self.asns, place.asn)
            && (self.tags.is_empty() || self.tags.iter().any(has))
            && (self.any.is_empty() || self.any.iter().any(|inner| inner.holds(subject, given, sets)))
            && self.not.as_ref().is_none_or(|inner| !inner.holds(subject, given, sets))
    }

    /// Whether it reads where the client is.
    pub(super) fn reads_metadata(&self) -> bool {
        !(self.countries.is_empty() && self.continents.is_empty() && self.asns.is_empty())
            || self.any.iter().chain(self.not.as_deref()).any(Self::reads_metadata)
    }

    /// Adds the stored sets that it names.
    pub(super) fn stored_sets(&self, sets: &mut Vec<u16>) {
        sets.extend(self.addresses.iter().flat_map(|addresses| &addresses.stored));
        for inner in self.any.iter().chain(self.not.as_deref()) {
            inner.stored_sets(sets);
        }
    }

    /// The prefixes of its own, for whoever looks where a verdict can change.
    pub(super) fn own_prefixes(&self, visit: &mut impl FnMut(&AddressIndex)) {
        if let Some(addresses) = &self.addresses {
            visit(&addresses.own);
        }
        for inner in self.any.iter().chain(self.not.as_deref()) {
            inner.own_prefixes(visit);
        }
    }
}

impl Addresses {
    fn hold(&self, address: IpAddr, sets: &Sets<'_>) -> bool {
        self.own.longest(address).is_some()
            || !self.inline.is_empty() && sets.inline.find(address).any(|hit| self.inline.contains(&hit.set))
            || !self.stored.is_empty() && sets.stored(address).any(|(_, set)| self.stored.contains(&set))
    }
}

fn within<T: PartialEq>(list: &[T], value: Option<T>) -> bool {
    list.is_empty() || value.is_some_and(|value| list.contains(&value))
}
