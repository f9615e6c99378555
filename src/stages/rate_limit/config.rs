//! `rate_limit` as it stands in the policy.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::algorithm::Algorithm;
use crate::policy::units::{FieldName, Name, Span};
use crate::stages::Mode;

/// `rate_limit` in the policy: at the top for every request, or in a route.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct RateLimitConfig {
    /// Default `enforce`.
    #[cfg_attr(feature = "schema", schemars(extend("default" = "enforce")))]
    pub mode: Mode,
    /// What a rule does that says nothing itself. Default `local`.
    #[cfg_attr(feature = "schema", schemars(extend("default" = "local")))]
    pub on_failure: Option<OnFailure>,
    /// Rules, asked in order. What those before a refusal were charged is
    /// given back.
    pub rules: Vec<LimitRuleConfig>,
}

/// `rate_limit.rules[]`.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(transform = crate::policy::schema::conditions::limit))]
#[serde(deny_unknown_fields)]
pub struct LimitRuleConfig {
    /// Its name in logs and in the RateLimit fields; unique in its stage.
    pub id: Name,
    /// What has a count of its own. Default `["client"]`.
    #[serde(default = "client_key")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 8), extend("default" = ["client"])))]
    pub key: Vec<KeyPart>,
    /// What happens to a request that lacks a part of the key. Default
    /// `empty`.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(extend("default" = "empty")))]
    pub on_missing: OnMissing,
    /// Counts IPv6 clients by a prefix of this length, 16 to 128, where it is
    /// shorter than `identity.ipv6_prefix`: whoever has a /48 has 65,536
    /// clients' worth of addresses otherwise. Default: as `identity` says.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(range(min = 16, max = 128)))]
    pub ipv6_prefix: Option<u8>,
    /// Default `gcra`.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(extend("default" = "gcra")))]
    pub algorithm: Algorithm,
    /// Requests per window, 1 to 1,000,000,000.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1_000_000_000)))]
    pub max: u32,
    /// The window, 1s to 31d.
    #[cfg_attr(
        feature = "schema",
        schemars(schema_with = "crate::policy::schema::span::<1_000, 2_678_400_000>")
    )]
    pub window: Span,
    /// Requests at once after a pause, 1 to 1,000,000,000; for `gcra` alone.
    /// Default `max`.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1_000_000_000)))]
    pub burst: Option<u32>,
    /// Where it counts. Default `exact`.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(extend("default" = "exact")))]
    pub counting: Counting,
    /// The name of the `ratelimits` binding, for `platform`.
    #[serde(default)]
    pub binding: Option<Name>,
    /// How long the counter's answer may take, 10ms to 10s. Default 250ms.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::policy::schema::optional_span::<10, 10_000>", extend("default" = "250ms")))]
    pub deadline: Option<Span>,
    /// What happens when the counter fails.
    #[serde(default)]
    pub on_failure: Option<OnFailure>,
    /// Labels of `ip_filter`: the rule is there for requests that got one of
    /// these. Default: for all.
    #[serde(default)]
    pub tags: Vec<Name>,
    /// Labels of `ip_filter`: the rule is not there for requests that got one
    /// of these.
    #[serde(default)]
    pub exempt_tags: Vec<Name>,
    /// What a request costs. Default 1.
    #[serde(default)]
    pub cost: Option<CostConfig>,
    /// Statuses of the answer that count, 200 to 599: any other is given back
    /// afterwards. At most 32. Default: all.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(length(max = 32), inner(range(min = 200, max = 599))))]
    pub count_status: Vec<u16>,
    /// Whether an answer from the cache is given back. Default `false`.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(extend("default" = false)))]
    pub count_misses_only: bool,
    /// A field of the origin's answer that says what the request has cost:
    /// a whole number. What it says above what was charged is charged
    /// afterwards, as a debt. The client does not see the field.
    #[serde(default)]
    pub cost_header: Option<FieldName>,
    /// The most debt, 0 to 1,000,000,000. Default `burst`.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(range(max = 1_000_000_000)))]
    pub max_debt: Option<u32>,
    /// What a refusal is charged, 0 to 1,000,000, as a debt: who hammers waits
    /// for longer. Default 0.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(range(max = 1_000_000), extend("default" = 0)))]
    pub penalty: u32,
    /// The status of a refusal, 400 to 599. Default 429.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(range(min = 400, max = 599), extend("default" = 429)))]
    pub status: Option<u16>,
    /// What a refused client is told, as problem details, or as a page where
    /// its `Accept` prefers HTML. At most 1,000 bytes.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(length(max = 1_000)))]
    pub message: Option<String>,
    /// Whether answers carry `X-RateLimit-Limit`, `-Remaining` and `-Reset`
    /// (seconds) beside the `RateLimit` fields. Default `false`.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(extend("default" = false)))]
    pub x_ratelimit: bool,
    /// Default `enforce`.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(extend("default" = "enforce")))]
    pub mode: Mode,
}

fn client_key() -> Vec<KeyPart> {
    vec![KeyPart::Client]
}

/// A part of a key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum KeyPart {
    /// The client's network, see `identity.ipv6_prefix`.
    Client,
    /// The client's address.
    Address,
    /// The labels that `ip_filter` gave.
    Tag,
    /// The country of the address.
    Country,
    /// The number of the autonomous system that announces it.
    Asn,
    /// The route.
    Route,
    /// The method.
    Method,
    /// The variant that `canary` chooses.
    Variant,
    /// The value of a request header field.
    Header(FieldName),
    /// The value of a cookie, decoded.
    Cookie(Name),
    /// The value of a parameter of the query, decoded.
    Query(QueryName),
    /// The value of a `{parameter}` of the route's path.
    Path(Name),
    /// Of a verified API key: refused until there is authentication.
    #[cfg_attr(feature = "schema", schemars(skip))]
    ApiKey,
    /// A claim of a verified token: refused until there is authentication.
    #[cfg_attr(feature = "schema", schemars(skip))]
    Claim(String),
}

/// The name of a parameter of a query: 1 to 128 bytes, decoded.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(inline))]
#[serde(transparent)]
pub struct QueryName(#[cfg_attr(feature = "schema", schemars(length(min = 1, max = 128)))] pub String);

/// What happens to a request that lacks a part of the key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum OnMissing {
    /// It counts as empty, so leaving it out is no way around.
    #[default]
    Empty,
    /// The rule is not there for it.
    Skip,
    /// It is refused with 400.
    Refuse,
}

/// What a request costs.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(transform = crate::policy::schema::conditions::bounded_cost))]
#[serde(deny_unknown_fields, default)]
pub struct CostConfig {
    /// Where nothing else says, 0 to 1,000,000. A request that costs 0 is not
    /// counted. Default 1.
    #[cfg_attr(feature = "schema", schemars(range(max = 1_000_000), extend("default" = 1)))]
    pub default: u32,
    /// By method in capitals.
    #[cfg_attr(feature = "schema", schemars(inner(range(max = 1_000_000))))]
    pub methods: BTreeMap<Name, u32>,
    /// A request header field that says it: a whole number. Where it is
    /// absent, the above; where it is none, `max`.
    pub header: Option<FieldName>,
    /// The least that the field can say. Default 1.
    #[cfg_attr(feature = "schema", schemars(range(max = 1_000_000), extend("default" = 1)))]
    pub min: u32,
    /// The most that the field can say.
    #[cfg_attr(feature = "schema", schemars(range(max = 1_000_000)))]
    pub max: Option<u32>,
}

impl Default for CostConfig {
    fn default() -> Self {
        Self { default: 1, methods: BTreeMap::new(), header: None, min: 1, max: None }
    }
}

/// Where a rule counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Counting {
    /// In the isolate: no call, but each isolate by itself.
    Local,
    /// In one `Limiter` object: one call a request, one count everywhere.
    #[default]
    Exact,
    /// In one `Limiter` object that lends blocks to isolates: few calls, never
    /// more than the algorithm promises, a little less at times.
    Leased,
    /// By the runtime's own `ratelimits` binding: for each location, and
    /// approximate. `max` and `window` are those of the binding, 10s or 60s.
    Platform,
}

impl Counting {
    /// The label, as in the policy.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Exact => "exact",
            Self::Leased => "leased",
            Self::Platform => "platform",
        }
    }

    /// Whether a `Limiter` object counts.
    #[must_use]
    pub const fn is_shared(self) -> bool {
        matches!(self, Self::Exact | Self::Leased)
    }
}

/// What happens when a counter fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// The isolate counts by the same quota.
    #[default]
    Local,
    /// The request passes.
    Open,
    /// The request gets 503.
    Closed,
}

impl OnFailure {
    /// The label in logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }
}
