//! Stage 7, rate_limit: does it speak too often?
//!
//! 1. Rules are asked in order; the first enforced one that refuses ends the
//!    search, and what those before it in the stage were charged is given
//!    back. What cannot be given back counts as spent.
//! 2. A rule counts by a key. A part that is absent counts as empty, unless
//!    the rule says otherwise, so leaving it out is no way around.
//! 3. `local` counts in the isolate: cheap, and each isolate by itself.
//!    `exact` asks one `Limiter` object for the key: one count everywhere.
//!    `leased` borrows from it, see [`account`] and [`holder`]. `platform`
//!    asks the runtime's own limiter.
//! 4. A counter that fails or is late has a stated outcome: count locally,
//!    let pass, or refuse. It is logged.
//! 5. A refused request is not charged, so hammering does not push the
//!    recovery away, unless the rule has a penalty.
//! 6. Shadow rules count the same way and refuse nothing.
//! 7. A rule on what came of a request is charged before, and given back
//!    afterwards where it does not count, so that concurrency cannot outrun
//!    it. What the origin says a request has cost is charged afterwards.
//! 8. Keys that an isolate has not seen are asked about a bounded number of
//!    times a second; beyond it they share a counter.

pub mod account;
pub mod algorithm;
pub mod answer;
mod compile;
pub mod config;
pub mod holder;
pub mod key;
pub mod limiter;
pub mod message;
pub mod table;

use std::net::IpAddr;
use std::time::Duration;

use http::header::HeaderName;
use siphasher::sip128::{Hasher128, SipHasher13};

pub use self::algorithm::Algorithm;
use self::algorithm::Quota;
pub use self::compile::Place;
pub use self::config::{Counting, KeyPart, LimitRuleConfig, OnFailure, OnMissing, RateLimitConfig};
use super::Mode;
use super::bans::BansStage;
use super::ip_filter::prefix::Prefix;
use crate::policy::units::Name;

/// The compiled stage.
#[derive(Clone, Debug, Default)]
pub struct RateLimitStage {
    /// Rules in order, without those that are off.
    pub rules: Vec<LimitRule>,
}

/// A compiled rule.
#[derive(Clone, Debug)]
pub struct LimitRule {
    /// Its name.
    pub id: String,
    /// Enforce or shadow.
    pub mode: Mode,
    /// How much.
    pub quota: Quota,
    /// Where it counts.
    pub counting: Counting,
    /// The binding, for [`Counting::Platform`].
    pub binding: String,
    /// How long a counter's answer may take.
    pub deadline: Duration,
    /// What happens when it fails.
    pub on_failure: OnFailure,
    /// The labels that it is there for; empty for all requests.
    pub tags: Vec<String>,
    /// The labels that it is not there for.
    pub exempt_tags: Vec<String>,
    /// The statuses that count; empty for all.
    pub count_status: Vec<u16>,
    /// Whether answers from the cache do not count.
    pub count_misses_only: bool,
    /// The field in which the origin says what a request has cost.
    pub cost_header: Option<HeaderName>,
    /// What a refusal is charged.
    pub penalty: u32,
    /// The triggers of bans that count its refusals, each a bit by its place.
    pub trips: u32,
    scope: String,
    route: String,
    key: Vec<KeyPart>,
    on_missing: OnMissing,
    ipv6_prefix: Option<u8>,
    /// The parameters of the route's path, and which segment each is.
    parameters: Vec<(Name, usize)>,
    cost: Cost,
    policy_field: String,
    refusal: answer::Refusal,
}

/// What requests cost, see [`config::CostConfig`].
#[derive(Clone, Debug)]
struct Cost {
    default: u32,
    methods: Vec<(String, u32)>,
    /// A request field, and its bounds.
    field: Option<(HeaderName, u32, u32)>,
}

/// A counter's identity: 128 bits of a hash of scope and key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CounterKey(pub u128);

/// The number of `Limiter` objects of an environment. Changing it starts
/// every count anew.
pub const SHARDS: u128 = 64;

impl CounterKey {
    /// The object that keeps the count.
    #[must_use]
    pub const fn shard(self) -> u128 {
        self.0.wrapping_rem(SHARDS)
    }

    /// The key with the number of an object in its lowest bits.
    #[must_use]
    const fn in_shard(self, shard: u128) -> Self {
        Self(self.0.wrapping_sub(self.shard()).wrapping_add(shard))
    }
}

/// The object that keeps what is known of a client: its bans and its offences,
/// and every count whose key it is part of. So that a ban acts with the next
/// count wherever that is, the two are in one place.
#[must_use]
pub fn shard_of(network: Prefix) -> u128 {
    use std::hash::Hasher as _;
    // The key is fixed: isolates and objects must agree.
    let mut hasher = SipHasher13::new_with_keys(0x6564_6765_7765_6972, 0x6e65_7477_6f72_6b31);
    match network.address() {
        IpAddr::V4(v4) => hasher.write(&v4.octets()),
        IpAddr::V6(v6) => hasher.write(&v6.octets()),
    }
    hasher.write(&[network.length()]);
    hasher.finish128().as_u128().wrapping_rem(SHARDS)
}

impl RateLimitStage {
    /// Notes which triggers of bans count the refusals of its rules; `route`
    /// is empty for the entry stage.
    pub fn count_for(&mut self, bans: &BansStage, route: &str) {
        if bans.has_triggers() {
            for rule in &mut self.rules {
                rule.trips = bans.naming(route, &rule.id);
            }
        }
    }

    /// The fields that the rules read.
    pub fn wanted_fields(&self) -> impl Iterator<Item = HeaderName> {
        self.rules.iter().flat_map(LimitRule::wanted_fields)
    }
}

impl LimitRule {
    /// Whether it is there for a request with these labels.
    #[must_use]
    pub fn is_for(&self, tags: &[String]) -> bool {
        let has = |tag: &String| tags.contains(tag);
        (self.tags.is_empty() || self.tags.iter().any(has)) && !self.exempt_tags.iter().any(has)
    }

    /// Whether labels say if it is there.
    #[must_use]
    pub fn reads_tags(&self) -> bool {
        !(self.tags.is_empty() && self.exempt_tags.is_empty() && !self.key.contains(&KeyPart::Tag))
    }

    /// What has a count of its own.
    #[must_use]
    pub fn key(&self) -> &[KeyPart] {
        &self.key
    }

    /// The field that says what a request costs, where one does.
    #[must_use]
    pub fn cost_field(&self) -> Option<&HeaderName> {
        self.cost.field.as_ref().map(|(name, ..)| name)
    }

    /// Whether it counts each client by itself, so that its object knows the
    /// client's bans.
    #[must_use]
    pub fn counts_clients(&self) -> bool {
        self.ipv6_prefix.is_none() && self.key.contains(&KeyPart::Client)
    }

    /// Whether it is known only after the response what a request was
    /// charged.
    #[must_use]
    pub fn settles(&self) -> bool {
        self.waits() || self.cost_header.is_some()
    }

    /// Whether the charge may be given back after the response.
    #[must_use]
    pub fn waits(&self) -> bool {
        !self.count_status.is_empty() || self.count_misses_only
    }

    /// Whether a request counts that came to this.
    #[must_use]
    pub fn counts(&self, status: u16, is_hit: bool) -> bool {
        (self.count_status.is_empty() || self.count_status.contains(&status))
            && !(self.count_misses_only && is_hit)
    }
}

/// Whole seconds, rounded up: coming back after this long is not too early.
#[must_use]
pub fn seconds_up(span: Duration) -> u64 {
    span.as_secs().saturating_add(u64::from(span.subsec_nanos() > 0))
}
