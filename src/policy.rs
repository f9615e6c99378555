//! The policy: one JSON document, one field a stage in journey order, and
//! its compiled form, the [`Gateway`].

pub mod compile;
pub mod decode;
pub mod defaults;
pub mod diff;
mod follow;
pub mod manifest;
pub mod needs;
#[cfg(feature = "schema")]
pub mod schema;
pub mod snapshot;
pub mod units;

use std::collections::BTreeMap;

use serde::Deserialize;

use self::units::{Name, Span};
use crate::observe::record::ClientAddress;
use crate::stages::bans::BansConfig;
use crate::stages::cache::CacheConfig;
use crate::stages::canary::CanaryConfig;
use crate::stages::identity::config::IdentityConfig;
use crate::stages::ip_filter::prefix::Prefix;
use crate::stages::ip_filter::{AddressSetConfig, IpFilterConfig};
use crate::stages::rate_limit::RateLimitConfig;
use crate::stages::route::MatchConfig;
use crate::stages::upstream::UpstreamConfig;

pub use self::compile::{Gateway, Route, compile};

/// The largest document, in bytes.
pub const DOCUMENT_LIMIT: usize = 1 << 20;

/// The most problems that are listed at once.
pub const MAX_PROBLEMS: usize = 100;

/// The version of the document's form that this module reads.
pub const DOCUMENT_VERSION: u32 = 1;

/// The whole document.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Where the document's JSON Schema is, for editors. The gateway ignores
    /// it; at most 2,000 bytes.
    #[serde(default, rename = "$schema")]
    #[cfg_attr(feature = "schema", schemars(length(max = 2_000)))]
    pub schema: Option<String>,
    /// The form of the document: 1.
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::policy::schema::version"))]
    pub version: u32,
    /// How isolates follow a new policy.
    #[serde(default)]
    pub refresh: RefreshConfig,
    /// Where the admin API answers.
    #[serde(default)]
    pub admin: AdminConfig,
    /// Who is calling.
    #[serde(default)]
    pub identity: IdentityConfig,
    /// What is written about a request.
    #[serde(default)]
    pub observe: ObserveConfig,
    /// Origins by name.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(extend("maxProperties" = 10_000)))]
    pub upstreams: BTreeMap<Name, UpstreamConfig>,
    /// Prefixes by name.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(extend("maxProperties" = 10_000)))]
    pub address_sets: BTreeMap<Name, AddressSetConfig>,
    /// Prefixes that no rule of `ip_filter` and no ban ever refuses; limits
    /// hold for them, too. At most 1,000.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(length(max = 1_000)))]
    pub guard_list: Vec<Prefix>,
    /// Who is kept out for a while.
    #[serde(default)]
    pub bans: Option<BansConfig>,
    /// Entry rules: for every request, routed or not.
    #[serde(default)]
    pub ip_filter: Option<IpFilterConfig>,
    /// Entry limits: for every request, routed or not.
    #[serde(default)]
    pub rate_limit: Option<RateLimitConfig>,
    /// Merged into each route: objects deeply, lists replace.
    #[serde(default)]
    pub defaults: StagesConfig,
    /// Routes; their order means nothing.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(length(max = 10_000)))]
    pub routes: Vec<RouteConfig>,
}

/// `refresh`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct RefreshConfig {
    /// How old a policy may be before a request refreshes it after its
    /// response, 1s to 1h. Default 30s.
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::policy::schema::span::<1_000, 3_600_000>", extend("default" = "30s")))]
    pub interval: Span,
    /// How old it may be before a request waits for a newer one, at most
    /// 200 ms; at least `interval`, at most 1d. Default 5m.
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::policy::schema::span::<1_000, 86_400_000>", extend("default" = "5m")))]
    pub max_stale: Span,
    /// Where a newer one is read. Default `kv`.
    #[cfg_attr(feature = "schema", schemars(extend("default" = "kv")))]
    pub source: Source,
    /// What happens past `max_stale` when no newer one can be had. Default
    /// `last_good`.
    #[cfg_attr(feature = "schema", schemars(extend("default" = "last_good")))]
    pub on_failure: RefreshFailure,
}

impl Default for RefreshConfig {
    fn default() -> Self {
        Self {
            interval: Span(std::time::Duration::from_secs(30)),
            max_stale: Span(std::time::Duration::from_secs(300)),
            source: Source::Kv,
            on_failure: RefreshFailure::LastGood,
        }
    }
}

/// Where policies are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The KV namespace `STATE`: near and cheap. A new policy usually acts
    /// within 90 s; nothing guarantees it.
    #[default]
    Kv,
    /// The `Control` object: a call to one place in the world for each
    /// isolate and interval. A new policy acts within `interval` + 1 s.
    Control,
}

/// What becomes of requests past `max_stale` when no refresh succeeds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum RefreshFailure {
    /// The last good policy acts on.
    #[default]
    LastGood,
    /// They are answered with 503, `no-policy`.
    Closed,
}

/// `admin`.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct AdminConfig {
    /// The hosts on which the admin API answers, 1 to 16, each as `host` or
    /// `host:port`. Default: every host of the gateway.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 16)))]
    pub hosts: Option<Vec<String>>,
}

/// `observe`.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct ObserveConfig {
    /// The access log.
    pub log: LogConfig,
}

/// `observe.log`.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// How much of the client's address is logged. Default `address`.
    #[cfg_attr(feature = "schema", schemars(extend("default" = "address")))]
    pub client_address: ClientAddress,
}

/// The stages of a route, as they stand in `defaults`.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct StagesConfig {
    /// May it speak here?
    pub ip_filter: Option<IpFilterConfig>,
    /// Does it speak too often?
    pub rate_limit: Option<RateLimitConfig>,
    /// Which version answers?
    pub canary: Option<CanaryConfig>,
    /// Do we have the answer?
    pub cache: Option<CacheConfig>,
}

/// `routes[]`.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RouteConfig {
    /// Its name in logs; unique.
    pub id: Name,
    /// Which requests it takes.
    #[serde(default, rename = "match")]
    pub matches: MatchConfig,
    /// Goes before specificity; the greater wins. Default 0.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(range(min = -2_147_483_648_i64, max = 2_147_483_647_i64), extend("default" = 0)))]
    pub priority: i32,
    /// The upstream that answers, where no canary chooses one.
    pub upstream: Name,
    /// May it speak here?
    #[serde(default)]
    pub ip_filter: Option<IpFilterConfig>,
    /// Does it speak too often?
    #[serde(default)]
    pub rate_limit: Option<RateLimitConfig>,
    /// Which version answers?
    #[serde(default)]
    pub canary: Option<CanaryConfig>,
    /// Do we have the answer?
    #[serde(default)]
    pub cache: Option<CacheConfig>,
}
