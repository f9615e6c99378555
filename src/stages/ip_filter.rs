//! Stages 3 and 5, ip_filter: may this address speak?
//!
//! 1. Of all prefixes of all enforced rules that contain the address, the
//!    longest decides; of equally long ones, the one whose rule stands first.
//! 2. Where none contains it, the default does.
//! 3. Shadow rules are evaluated beside the enforced ones and never change
//!    the verdict: the log shows what would have been decided.

pub mod prefix;
pub mod prefix_map;

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Deserialize;

use self::prefix::Prefix;
use self::prefix_map::PrefixMap;
use super::Mode;
use crate::policy::decode::{Problems, Trail};
use crate::policy::units::{Name, repeated};

/// `ip_filter` in the policy: at the top for every request, or in a route.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct IpFilterConfig {
    /// Default `enforce`.
    #[cfg_attr(feature = "schema", schemars(extend("default" = "enforce")))]
    pub mode: Mode,
    /// What happens to an address that no rule names. Default `allow`.
    #[cfg_attr(feature = "schema", schemars(extend("default" = "allow")))]
    pub default: Action,
    /// Rules; order matters only between equally long prefixes.
    pub rules: Vec<IpRuleConfig>,
}

/// `ip_filter.rules[]`.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(transform = crate::policy::schema::some_addresses))]
#[serde(deny_unknown_fields)]
pub struct IpRuleConfig {
    /// Its name in logs; unique in its stage.
    pub id: Name,
    /// What happens to the addresses it names.
    pub action: Action,
    /// Prefixes.
    #[serde(default)]
    pub prefixes: Vec<Prefix>,
    /// Names of address sets.
    #[serde(default)]
    pub address_sets: Vec<Name>,
    /// Default `enforce`.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(extend("default" = "enforce")))]
    pub mode: Mode,
}

/// `address_sets.NAME` in the policy.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct AddressSetConfig {
    /// Its prefixes.
    pub prefixes: Vec<Prefix>,
}

/// What a rule does with an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Lets it pass.
    #[default]
    Allow,
    /// Refuses it.
    Deny,
}

impl Action {
    /// The label in logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

/// The compiled stage.
#[derive(Clone, Debug)]
pub struct IpFilterStage {
    mode: Mode,
    default: Action,
    /// One for each list of prefixes: a rule's own, and each set it names, so
    /// that a hit can name the set without a word more in the maps.
    rules: Vec<Rule>,
    enforced: PrefixMap<usize>,
    /// Enforced and shadow rules together; only where there is a shadow rule.
    with_shadow: Option<PrefixMap<usize>>,
}

#[derive(Clone, Debug)]
struct Rule {
    id: String,
    action: Action,
    /// The set that its prefixes come from; `None` for the rule's own.
    address_set: Option<String>,
}

/// What was decided, and by what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpVerdict<'a> {
    /// What happens.
    pub action: Action,
    /// The rule that decided; `None` for the default.
    pub rule: Option<&'a str>,
    /// Its prefix that matched.
    pub prefix: Option<Prefix>,
    /// The set that the prefix comes from; `None` where the rule names it
    /// itself.
    pub address_set: Option<&'a str>,
}

/// What a reference to an address set has to be.
pub const ADDRESS_SET_EXPECTED: &str = "expected the name of one of \"address_sets\"";

impl IpFilterConfig {
    /// Checks and compiles.
    pub fn compile(
        self,
        path: &Trail<'_>,
        sets: &BTreeMap<Name, AddressSetConfig>,
        problems: &mut Problems,
    ) -> IpFilterStage {
        let rules_at = path.entry("rules");
        for index in repeated(self.rules.iter().map(|rule| &rule.id)) {
            let id = self.rules.get(index).map(|rule| format!("\"{}\"", rule.id)).unwrap_or_default();
            problems.add(rules_at.item(index).entry("id"), id, "expected an id of its own in the stage");
        }
        let mut evaluated: Vec<(Prefix, usize, Mode)> = Vec::new();
        let mut rules: Vec<Rule> = Vec::new();
        let mut has_shadow = false;
        for (index, rule) in self.rules.iter().enumerate() {
            let at = rules_at.item(index);
            if rule.prefixes.is_empty() && rule.address_sets.is_empty() {
                problems.add(at, "", "expected \"prefixes\" or \"address_sets\"");
            }
            let mut lists: Vec<(Option<&Name>, &[Prefix])> = vec![(None, &rule.prefixes)];
            for (position, name) in rule.address_sets.iter().enumerate() {
                match sets.get(name) {
                    Some(set) => lists.push((Some(name), &set.prefixes)),
                    None => problems.add(
                        at.entry("address_sets").item(position),
                        format!("\"{name}\""),
                        ADDRESS_SET_EXPECTED,
                    ),
                }
            }
            // A shadow stage is evaluated as a whole, see the caller of `decide`.
            let mode = if self.mode == Mode::Shadow { rule.mode } else { rule.mode.within(self.mode) };
            if mode != Mode::Off && self.mode != Mode::Off {
                has_shadow |= mode == Mode::Shadow;
                for (set, prefixes) in lists.into_iter().filter(|(_, prefixes)| !prefixes.is_empty()) {
                    evaluated.extend(prefixes.iter().map(|prefix| (*prefix, rules.len(), mode)));
                    let address_set = set.map(|name| name.0.clone());
                    rules.push(Rule { id: rule.id.0.clone(), action: rule.action, address_set });
                }
            }
        }
        // In the order of the rules, which decides between equal prefixes.
        let of = |modes: &[Mode]| {
            let chosen = evaluated.iter().filter(|(_, _, mode)| modes.contains(mode));
            PrefixMap::new(chosen.map(|(prefix, index, _)| (*prefix, *index)))
        };
        let enforced = of(&[Mode::Enforce]);
        let with_shadow = has_shadow.then(|| of(&[Mode::Enforce, Mode::Shadow]));
        IpFilterStage { mode: self.mode, default: self.default, rules, enforced, with_shadow }
    }
}

impl IpFilterStage {
    /// The mode of the whole stage.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// Decides.
    #[must_use]
    pub fn decide(&self, address: IpAddr) -> IpVerdict<'_> {
        self.verdict(&self.enforced, address)
    }

    /// What would be decided if the shadow rules were enforced; `None` where
    /// there is no shadow rule.
    #[must_use]
    pub fn decide_with_shadow(&self, address: IpAddr) -> Option<IpVerdict<'_>> {
        self.with_shadow.as_ref().map(|map| self.verdict(map, address))
    }

    /// The verdicts on the addresses of a prefix, in the order of addresses;
    /// neighbours that meet the same prefix are one.
    pub fn decide_within(&self, prefix: Prefix) -> impl Iterator<Item = IpVerdict<'_>> {
        self.enforced.within(prefix).map(|hit| self.of(hit))
    }

    fn verdict(&self, map: &PrefixMap<usize>, address: IpAddr) -> IpVerdict<'_> {
        self.of(map.longest(address))
    }

    fn of(&self, hit: Option<(Prefix, &usize)>) -> IpVerdict<'_> {
        match hit.and_then(|(prefix, index)| self.rules.get(*index).map(|rule| (prefix, rule))) {
            Some((prefix, rule)) => IpVerdict {
                action: rule.action,
                rule: Some(&rule.id),
                prefix: Some(prefix),
                address_set: rule.address_set.as_deref(),
            },
            None => IpVerdict { action: self.default, rule: None, prefix: None, address_set: None },
        }
    }
}
