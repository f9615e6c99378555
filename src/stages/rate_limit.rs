//! Stage 7, rate_limit: does it speak too often?
//!
//! 1. Rules are asked in order; the first enforced one that refuses ends the
//!    search. What earlier rules were charged stays charged.
//! 2. A rule counts by a key of client network and header fields. A field
//!    that is absent counts as empty, so leaving it out is no way around.
//! 3. `local` counts in the isolate: cheap, and each isolate by itself.
//!    `exact` asks one `Limiter` object for the key: one count everywhere.
//! 4. A counter that fails or is late has a stated outcome: count locally,
//!    let pass, or refuse. It is logged.
//! 5. A refused request is not charged, so hammering does not push the
//!    recovery away.
//! 6. Shadow rules count the same way and refuse nothing.

pub mod account;
pub mod algorithm;
pub mod holder;
pub mod message;
pub mod table;

use std::net::IpAddr;
use std::time::Duration;

use http::header::HeaderName;
use serde::Deserialize;
use siphasher::sip128::{Hasher128, SipHasher13};

pub use self::algorithm::Algorithm;
use self::algorithm::{Decision, Quota};
use super::Mode;
use super::bans::BansStage;
use super::identity::Identity;
use super::ip_filter::prefix::Prefix;
use crate::exchange::{Edit, Head};
use crate::policy::decode::{Problems, Trail};
use crate::policy::units::{FieldName, Name, Span, repeated};
use crate::text;

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
    /// Rules, asked in order.
    pub rules: Vec<LimitRuleConfig>,
}

/// `rate_limit.rules[]`.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LimitRuleConfig {
    /// Its name in logs and in the RateLimit fields; unique in its stage.
    pub id: Name,
    /// What has a count of its own. Default `["client"]`.
    #[serde(default = "client_key")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 8), extend("default" = ["client"])))]
    pub key: Vec<KeyPart>,
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
    /// Requests at once after a pause, 1 to 1,000,000,000. Default `max`.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1_000_000_000)))]
    pub burst: Option<u32>,
    /// Where it counts. Default `exact`.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(extend("default" = "exact")))]
    pub counting: Counting,
    /// How long an `exact` count may take, 10ms to 10s. Default 250ms.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::policy::schema::optional_span::<10, 10_000>", extend("default" = "250ms")))]
    pub deadline: Option<Span>,
    /// What happens when an `exact` count fails.
    #[serde(default)]
    pub on_failure: Option<OnFailure>,
    /// Labels of `ip_filter`: the rule is there for requests that got one of
    /// these. Default: for all.
    #[serde(default)]
    pub tags: Vec<Name>,
    /// What a refused client is told. At most 1,000 bytes.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(length(max = 1_000)))]
    pub message: Option<String>,
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
    /// The value of a request header field.
    Header(FieldName),
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
}

impl Counting {
    /// The label, as in the policy.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Exact => "exact",
        }
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
    /// How long an exact count may take.
    pub deadline: Duration,
    /// What happens when it fails.
    pub on_failure: OnFailure,
    /// What a refused client is told.
    pub message: Option<String>,
    /// The labels that it is there for; empty for all requests.
    pub tags: Vec<String>,
    /// The triggers of bans that count its refusals, each a bit by its place.
    pub trips: u32,
    scope: String,
    key: Vec<KeyPart>,
    policy_field: String,
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

impl RateLimitConfig {
    /// Checks and compiles. `scope` keeps counters of different stages apart:
    /// the route's id, or empty for the entry stage.
    pub fn compile(self, path: &Trail<'_>, scope: &str, problems: &mut Problems) -> RateLimitStage {
        let rules_at = path.entry("rules");
        for index in repeated(self.rules.iter().map(|rule| &rule.id)) {
            let id = self.rules.get(index).map(|rule| format!("\"{}\"", rule.id)).unwrap_or_default();
            problems.add(rules_at.item(index).entry("id"), id, "expected an id of its own in the stage");
        }
        let mut rules = Vec::with_capacity(self.rules.len());
        for (index, rule) in self.rules.into_iter().enumerate() {
            let at = rules_at.item(index);
            let compiled = rule.compile(&at, scope, self.mode, self.on_failure, problems);
            if compiled.mode != Mode::Off {
                rules.push(compiled);
            }
        }
        RateLimitStage { rules }
    }
}

impl LimitRuleConfig {
    fn compile(
        self,
        at: &Trail<'_>,
        scope: &str,
        stage: Mode,
        on_failure: Option<OnFailure>,
        problems: &mut Problems,
    ) -> LimitRule {
        use Part::{Number, Str};
        const MOST: u32 = 1_000_000_000;
        let mut within = |name: &str, value: u64, least: u64, most: u64, expected: &str| {
            if !(least..=most).contains(&value) {
                problems.add(at.entry(name), value.to_string(), expected);
            }
        };
        let burst = self.burst.unwrap_or(self.max);
        within("max", self.max.into(), 1, MOST.into(), "expected a number from 1 to 1000000000");
        within("burst", burst.into(), 1, MOST.into(), "expected a number from 1 to 1000000000");
        let window = crate::time::millis_of(self.window.0);
        within("window", window, 1_000, 31 * 86_400_000, "milliseconds; expected \"1s\" to \"31d\"");
        let deadline = self.deadline.map_or(Duration::from_millis(250), |span| span.0);
        let millis = crate::time::millis_of(deadline);
        within("deadline", millis, 10, 10_000, "milliseconds; expected \"10ms\" to \"10s\"");
        let message = self.message.as_ref().map_or(0, String::len);
        within("message", message as u64, 0, 1_000, "bytes; expected at most 1000");
        within(
            "key",
            self.key.len() as u64,
            1,
            8,
            "parts; expected 1 to 8 of \"client\" and {\"header\": \"NAME\"}",
        );
        LimitRule {
            mode: self.mode.within(stage),
            quota: Quota::new(self.max, self.window.0, burst),
            counting: self.counting,
            deadline,
            on_failure: self.on_failure.or(on_failure).unwrap_or_default(),
            message: self.message,
            tags: self.tags.into_iter().map(|tag| tag.0).collect(),
            trips: 0,
            // Names hold no slash, so no two rules share a scope.
            scope: text(&[
                Str(scope),
                Str("/"),
                Str(self.id.as_str()),
                Str("/"),
                Str(self.algorithm.as_str()),
                Str("/"),
                Number(window),
            ]),
            key: self.key,
            policy_field: text(&[
                Str("\""),
                Str(self.id.as_str()),
                Str("\";q="),
                Number(self.max.into()),
                Str(";w="),
                Number(window.div_ceil(1_000)),
            ]),
            id: self.id.0,
        }
    }
}

/// What a text is put together from.
enum Part<'a> {
    Str(&'a str),
    Number(u64),
}

/// Parts one after the other: `format!` for ten thousand rules is a good part
/// of what compiling them costs.
fn text(parts: &[Part<'_>]) -> String {
    let mut text = String::with_capacity(64);
    for part in parts {
        match part {
            Part::Str(part) => text.push_str(part),
            Part::Number(number) => push_decimal(*number, &mut text),
        }
    }
    text
}

fn push_decimal(number: u64, text: &mut String) {
    let rest = number.wrapping_div(10);
    if rest > 0 {
        push_decimal(rest, text);
    }
    text.push(
        char::from_digit(u32::try_from(number.wrapping_rem(10)).unwrap_or_default(), 10).unwrap_or('0'),
    );
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

    /// The fields that the keys read.
    pub fn wanted_fields(&self) -> impl Iterator<Item = &HeaderName> {
        self.rules.iter().flat_map(|rule| &rule.key).filter_map(|part| match part {
            KeyPart::Client => None,
            KeyPart::Header(name) => Some(&name.0),
        })
    }
}

impl LimitRule {
    /// Whether it is there for a request with these labels.
    #[must_use]
    pub fn is_for(&self, tags: &[String]) -> bool {
        self.tags.is_empty() || self.tags.iter().any(|tag| tags.contains(tag))
    }

    /// What has a count of its own.
    #[must_use]
    pub fn key(&self) -> &[KeyPart] {
        &self.key
    }

    /// Whether it counts each client by itself, so that its object knows the
    /// client's bans.
    #[must_use]
    pub fn counts_clients(&self) -> bool {
        self.key.contains(&KeyPart::Client)
    }

    /// The counter for this request. Parts are hashed with their length, so
    /// that no two lists of parts run together.
    #[must_use]
    pub fn counter(&self, identity: &Identity, head: &impl Head) -> CounterKey {
        use std::hash::Hasher as _;
        // The key is fixed: isolates and objects must agree on the shard.
        let mut hasher = SipHasher13::new_with_keys(0x6564_6765_7765_6972, 0x6c69_6d69_7465_7231);
        let mut part = |bytes: &[u8]| {
            hasher.write(&(bytes.len() as u64).to_le_bytes());
            hasher.write(bytes);
        };
        part(self.scope.as_bytes());
        for key in &self.key {
            match key {
                KeyPart::Client => match identity.network.address() {
                    IpAddr::V4(v4) => part(&v4.octets()),
                    IpAddr::V6(v6) => part(&v6.octets()),
                },
                KeyPart::Header(name) => part(head.field(&name.0).unwrap_or_default().as_bytes()),
            }
        }
        let key = CounterKey(hasher.finish128().as_u128());
        if self.counts_clients() { key.in_shard(shard_of(identity.network)) } else { key }
    }

    /// The text of the `RateLimit-Policy` and `RateLimit` fields
    /// (draft-ietf-httpapi-ratelimit-headers-10, 3 and 4): quota and window;
    /// what remains, and the seconds until all of it is back.
    #[must_use]
    pub fn fields(&self, decision: &Decision) -> [Edit; 2] {
        let mut state = String::with_capacity(self.id.len().saturating_add(32));
        state.push('"');
        state.push_str(&self.id);
        state.push_str("\";r=");
        text::push_decimal(&mut state, decision.remaining.into());
        state.push_str(";t=");
        text::push_decimal(&mut state, seconds_up(decision.full_after));
        [
            Edit::Set(HeaderName::from_static("ratelimit-policy"), self.policy_field.clone()),
            Edit::Set(HeaderName::from_static("ratelimit"), state),
        ]
    }
}

/// Whole seconds, rounded up: coming back after this long is not too early.
#[must_use]
pub fn seconds_up(span: Duration) -> u64 {
    span.as_secs().saturating_add(u64::from(span.subsec_nanos() > 0))
}
