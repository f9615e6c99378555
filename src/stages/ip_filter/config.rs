//! `ip_filter` as it stands in the policy.

use serde::Deserialize;

use super::prefix::Prefix;
use crate::exchange::Code;
use crate::feeds::FeedConfig;
use crate::policy::units::{Name, Percent};
use crate::stages::Mode;

/// `ip_filter` in the policy: at the top for every request, or in a route.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct IpFilterConfig {
    /// Default `enforce`.
    #[cfg_attr(feature = "schema", schemars(extend("default" = "enforce")))]
    pub mode: Mode,
    /// What happens to a client that no rule decides about. Default `allow`.
    #[cfg_attr(feature = "schema", schemars(extend("default" = "allow")))]
    pub default: Action,
    /// What a denied client gets, where the rule does not say. Default: 403
    /// with problem details.
    pub answer: Option<DenyAnswerConfig>,
    /// Rules; order matters between equally long prefixes, and between rules
    /// that name more than prefixes and sets.
    pub rules: Vec<IpRuleConfig>,
}

/// `ip_filter.rules[]`. All that is named has to hold; of a list, one.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(transform = crate::policy::schema::conditions::rule))]
#[serde(deny_unknown_fields)]
pub struct IpRuleConfig {
    /// Its name in logs; unique in its stage.
    pub id: Name,
    /// What happens to the clients it names.
    pub action: RuleAction,
    /// The label that `tag` gives: lower-case letters, digits, `_`, `-`.
    #[serde(default)]
    pub tag: Option<Name>,
    /// Prefixes.
    #[serde(default)]
    pub prefixes: Vec<Prefix>,
    /// Names of address sets.
    #[serde(default)]
    pub address_sets: Vec<Name>,
    /// Countries as ISO 3166-1 alpha-2 codes such as `DE`; `T1` is Tor, `XX`
    /// unknown.
    #[serde(default)]
    pub countries: Vec<Code>,
    /// Continents: `AF`, `AN`, `AS`, `EU`, `NA`, `OC`, `SA`.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::policy::schema::continents"))]
    pub continents: Vec<Code>,
    /// Numbers of autonomous systems.
    #[serde(default)]
    pub asns: Vec<u32>,
    /// Labels that rules before this one gave.
    #[serde(default)]
    pub tags: Vec<Name>,
    /// One of these has to hold, too.
    #[serde(default)]
    pub any: Vec<ConditionConfig>,
    /// This must not hold.
    #[serde(default)]
    pub not: Option<ConditionConfig>,
    /// The share of clients for which the rule is there at all, chosen by a
    /// hash of the client's network and the rule's id. Default 100.
    #[serde(default)]
    pub percent: Option<Percent>,
    /// What a denied client gets.
    #[serde(default)]
    pub answer: Option<DenyAnswerConfig>,
    /// What happens while a stored set that the rule names is not there.
    /// Default `closed`.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(extend("default" = "closed")))]
    pub on_failure: SetFailure,
    /// Default `enforce`.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(extend("default" = "enforce")))]
    pub mode: Mode,
}

/// A condition inside a rule. All that is named has to hold; of a list, one.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(transform = crate::policy::schema::conditions::names_something))]
#[serde(deny_unknown_fields, default)]
pub struct ConditionConfig {
    /// Prefixes.
    pub prefixes: Vec<Prefix>,
    /// Names of address sets.
    pub address_sets: Vec<Name>,
    /// Countries as ISO 3166-1 alpha-2 codes.
    pub countries: Vec<Code>,
    /// Continents.
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::policy::schema::continents"))]
    pub continents: Vec<Code>,
    /// Numbers of autonomous systems.
    pub asns: Vec<u32>,
    /// Labels that rules before this one gave.
    pub tags: Vec<Name>,
    /// One of these has to hold, too.
    pub any: Vec<InnerConditionConfig>,
    /// This must not hold.
    pub not: Option<InnerConditionConfig>,
}

/// A condition inside a condition, the innermost there is. All that is named
/// has to hold; of a list, one.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(transform = crate::policy::schema::conditions::names_something))]
#[serde(deny_unknown_fields, default)]
pub struct InnerConditionConfig {
    /// Prefixes.
    pub prefixes: Vec<Prefix>,
    /// Names of address sets.
    pub address_sets: Vec<Name>,
    /// Countries as ISO 3166-1 alpha-2 codes.
    pub countries: Vec<Code>,
    /// Continents.
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::policy::schema::continents"))]
    pub continents: Vec<Code>,
    /// Numbers of autonomous systems.
    pub asns: Vec<u32>,
    /// Labels that rules before this one gave.
    pub tags: Vec<Name>,
}

/// What a denied client gets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(transform = crate::policy::schema::conditions::typed_body))]
#[serde(deny_unknown_fields, default)]
pub struct DenyAnswerConfig {
    /// 403, 404, 429 or 451 (RFC 7725). Default 403. A 404 is the one of a
    /// path that nobody serves.
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::policy::schema::deny_status"))]
    pub status: Option<u16>,
    /// The body, at most 16 KiB; an empty one is none. Default: problem
    /// details.
    #[cfg_attr(feature = "schema", schemars(length(max = 16_384)))]
    pub body: Option<String>,
    /// The type of the body. Default `text/plain; charset=utf-8`.
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::policy::schema::media_type"))]
    pub content_type: Option<String>,
}

/// What is decided about a client.
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

/// What a rule does with a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum RuleAction {
    /// Lets it pass.
    Allow,
    /// Refuses it.
    Deny,
    /// Gives it a label that later rules and stages see, and decides nothing.
    Tag,
}

/// What a rule does while a stored set that it names is not there: an isolate
/// that has just begun could not load it, or nobody imported it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum SetFailure {
    /// Requests are answered with 503.
    #[default]
    Closed,
    /// The rule names nobody.
    Open,
}

/// `address_sets.NAME` in the policy: inline or stored.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(transform = crate::policy::schema::conditions::inline_or_stored))]
#[serde(deny_unknown_fields, default)]
pub struct AddressSetConfig {
    /// Its prefixes, inline.
    pub prefixes: Option<Vec<Prefix>>,
    /// Whether it is imported and stored beside the policy, under this name.
    pub stored: bool,
    /// Where a stored set is fetched from by schedule. Default: it is imported
    /// by hand.
    pub feed: Option<FeedConfig>,
}
