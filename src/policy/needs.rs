//! Which version of the module a document needs.
//!
//! Edge locations run the old module for a while after a deployment. A
//! document that uses what came later would not compile there, so a manifest
//! names the least version that reads it, and the control plane refuses one
//! that needs more than what runs.
//!
//! What is here is data: a place in the document, where it matters a value,
//! and the version that introduced it. Everything else is known since
//! [`FIRST`]. A test holds the table against the JSON Schema of the document,
//! so a field cannot come without an entry.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

/// The version of a module, `major.minor.patch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u32, pub u32, pub u32);

/// The first version there was.
pub const FIRST: Version = Version(0, 1, 0);

impl Version {
    /// [`FIRST`].
    pub const FIRST: Self = FIRST;

    /// From its text; `None` when it is no version.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// Why a text is not a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidVersion;

impl FromStr for Version {
    type Err = InvalidVersion;

    /// Three decimal numbers without leading zeros, as in Semantic Versioning
    /// 2.0.0, 2; nothing before or behind them.
    fn from_str(text: &str) -> Result<Self, InvalidVersion> {
        let number = |part: Option<&str>| {
            let part = part.ok_or(InvalidVersion)?;
            let decimal = part.bytes().all(|byte| byte.is_ascii_digit());
            let padded = part.len() > 1 && part.starts_with('0');
            if decimal && !padded { part.parse().map_err(|_| InvalidVersion) } else { Err(InvalidVersion) }
        };
        let mut parts = text.splitn(3, '.');
        Ok(Self(number(parts.next())?, number(parts.next())?, number(parts.next())?))
    }
}

/// Something that a document may hold and that older modules do not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// Where it stands: keys with dots between them, `*` for any key and any
    /// index, as in `routes.*.cache.mode`.
    pub path: &'static str,
    /// Which value needs it; `None` where the place itself does.
    pub value: Option<&'static str>,
    /// The version that introduced it.
    pub since: Version,
}

const fn need(path: &'static str, value: Option<&'static str>, since: Version) -> Need {
    Need { path, value, since }
}

const V3: Version = Version(0, 3, 0);

/// The first version that reads what stands beside the policy in a manifest.
pub const BESIDE: Version = V3;

/// What came after [`FIRST`].
pub const NEEDS: [Need; 162] = [
    need("$schema", None, Version(0, 2, 0)),
    need("admin", None, Version(0, 2, 0)),
    need("refresh.on_failure", None, Version(0, 2, 0)),
    need("refresh.source", Some("control"), Version(0, 2, 0)),
    need("identity.client_address.trusted_depth", None, V3),
    need("identity.client_address.on_short_chain", None, V3),
    need("identity.client_address.on_garbled_chain", None, V3),
    need("guard_list", None, V3),
    need("address_sets.*.stored", None, V3),
    need("ip_filter.answer", None, V3),
    need("ip_filter.rules.*.tag", None, V3),
    need("ip_filter.rules.*.countries", None, V3),
    need("ip_filter.rules.*.continents", None, V3),
    need("ip_filter.rules.*.asns", None, V3),
    need("ip_filter.rules.*.tags", None, V3),
    need("ip_filter.rules.*.any", None, V3),
    need("ip_filter.rules.*.not", None, V3),
    need("ip_filter.rules.*.percent", None, V3),
    need("ip_filter.rules.*.answer", None, V3),
    need("ip_filter.rules.*.on_failure", None, V3),
    need("ip_filter.rules.*.action", Some("tag"), V3),
    need("rate_limit.rules.*.tags", None, V3),
    need("defaults.ip_filter.answer", None, V3),
    need("defaults.ip_filter.rules.*.tag", None, V3),
    need("defaults.ip_filter.rules.*.countries", None, V3),
    need("defaults.ip_filter.rules.*.continents", None, V3),
    need("defaults.ip_filter.rules.*.asns", None, V3),
    need("defaults.ip_filter.rules.*.tags", None, V3),
    need("defaults.ip_filter.rules.*.any", None, V3),
    need("defaults.ip_filter.rules.*.not", None, V3),
    need("defaults.ip_filter.rules.*.percent", None, V3),
    need("defaults.ip_filter.rules.*.answer", None, V3),
    need("defaults.ip_filter.rules.*.on_failure", None, V3),
    need("defaults.ip_filter.rules.*.action", Some("tag"), V3),
    need("defaults.rate_limit.rules.*.tags", None, V3),
    need("routes.*.ip_filter.answer", None, V3),
    need("routes.*.ip_filter.rules.*.tag", None, V3),
    need("routes.*.ip_filter.rules.*.countries", None, V3),
    need("routes.*.ip_filter.rules.*.continents", None, V3),
    need("routes.*.ip_filter.rules.*.asns", None, V3),
    need("routes.*.ip_filter.rules.*.tags", None, V3),
    need("routes.*.ip_filter.rules.*.any", None, V3),
    need("routes.*.ip_filter.rules.*.not", None, V3),
    need("routes.*.ip_filter.rules.*.percent", None, V3),
    need("routes.*.ip_filter.rules.*.answer", None, V3),
    need("routes.*.ip_filter.rules.*.on_failure", None, V3),
    need("routes.*.ip_filter.rules.*.action", Some("tag"), V3),
    need("routes.*.rate_limit.rules.*.tags", None, V3),
    need("address_sets.*.feed", None, V3),
    need("bans", None, V3),
    need("rate_limit.rules.*.on_missing", None, V3),
    need("rate_limit.rules.*.ipv6_prefix", None, V3),
    need("rate_limit.rules.*.binding", None, V3),
    need("rate_limit.rules.*.exempt_tags", None, V3),
    need("rate_limit.rules.*.cost", None, V3),
    need("rate_limit.rules.*.count_status", None, V3),
    need("rate_limit.rules.*.count_misses_only", None, V3),
    need("rate_limit.rules.*.cost_header", None, V3),
    need("rate_limit.rules.*.max_debt", None, V3),
    need("rate_limit.rules.*.penalty", None, V3),
    need("rate_limit.rules.*.status", None, V3),
    need("rate_limit.rules.*.x_ratelimit", None, V3),
    need("rate_limit.rules.*.algorithm", Some("sliding_window"), V3),
    need("rate_limit.rules.*.algorithm", Some("fixed_window"), V3),
    need("rate_limit.rules.*.counting", Some("leased"), V3),
    need("rate_limit.rules.*.counting", Some("platform"), V3),
    need("rate_limit.rules.*.key.*", Some("address"), V3),
    need("rate_limit.rules.*.key.*", Some("tag"), V3),
    need("rate_limit.rules.*.key.*", Some("country"), V3),
    need("rate_limit.rules.*.key.*", Some("asn"), V3),
    need("rate_limit.rules.*.key.*", Some("route"), V3),
    need("rate_limit.rules.*.key.*", Some("method"), V3),
    need("rate_limit.rules.*.key.*", Some("variant"), V3),
    need("rate_limit.rules.*.key.*.cookie", None, V3),
    need("rate_limit.rules.*.key.*.query", None, V3),
    need("rate_limit.rules.*.key.*.path", None, V3),
    need("defaults.rate_limit.rules.*.on_missing", None, V3),
    need("defaults.rate_limit.rules.*.ipv6_prefix", None, V3),
    need("defaults.rate_limit.rules.*.binding", None, V3),
    need("defaults.rate_limit.rules.*.exempt_tags", None, V3),
    need("defaults.rate_limit.rules.*.cost", None, V3),
    need("defaults.rate_limit.rules.*.count_status", None, V3),
    need("defaults.rate_limit.rules.*.count_misses_only", None, V3),
    need("defaults.rate_limit.rules.*.cost_header", None, V3),
    need("defaults.rate_limit.rules.*.max_debt", None, V3),
    need("defaults.rate_limit.rules.*.penalty", None, V3),
    need("defaults.rate_limit.rules.*.status", None, V3),
    need("defaults.rate_limit.rules.*.x_ratelimit", None, V3),
    need("defaults.rate_limit.rules.*.algorithm", Some("sliding_window"), V3),
    need("defaults.rate_limit.rules.*.algorithm", Some("fixed_window"), V3),
    need("defaults.rate_limit.rules.*.counting", Some("leased"), V3),
    need("defaults.rate_limit.rules.*.counting", Some("platform"), V3),
    need("defaults.rate_limit.rules.*.key.*", Some("address"), V3),
    need("defaults.rate_limit.rules.*.key.*", Some("tag"), V3),
    need("defaults.rate_limit.rules.*.key.*", Some("country"), V3),
    need("defaults.rate_limit.rules.*.key.*", Some("asn"), V3),
    need("defaults.rate_limit.rules.*.key.*", Some("route"), V3),
    need("defaults.rate_limit.rules.*.key.*", Some("method"), V3),
    need("defaults.rate_limit.rules.*.key.*", Some("variant"), V3),
    need("defaults.rate_limit.rules.*.key.*.cookie", None, V3),
    need("defaults.rate_limit.rules.*.key.*.query", None, V3),
    need("defaults.rate_limit.rules.*.key.*.path", None, V3),
    need("routes.*.rate_limit.rules.*.on_missing", None, V3),
    need("routes.*.rate_limit.rules.*.ipv6_prefix", None, V3),
    need("routes.*.rate_limit.rules.*.binding", None, V3),
    need("routes.*.rate_limit.rules.*.exempt_tags", None, V3),
    need("routes.*.rate_limit.rules.*.cost", None, V3),
    need("routes.*.rate_limit.rules.*.count_status", None, V3),
    need("routes.*.rate_limit.rules.*.count_misses_only", None, V3),
    need("routes.*.rate_limit.rules.*.cost_header", None, V3),
    need("routes.*.rate_limit.rules.*.max_debt", None, V3),
    need("routes.*.rate_limit.rules.*.penalty", None, V3),
    need("routes.*.rate_limit.rules.*.status", None, V3),
    need("routes.*.rate_limit.rules.*.x_ratelimit", None, V3),
    need("routes.*.rate_limit.rules.*.algorithm", Some("sliding_window"), V3),
    need("routes.*.rate_limit.rules.*.algorithm", Some("fixed_window"), V3),
    need("routes.*.rate_limit.rules.*.counting", Some("leased"), V3),
    need("routes.*.rate_limit.rules.*.counting", Some("platform"), V3),
    need("routes.*.rate_limit.rules.*.key.*", Some("address"), V3),
    need("routes.*.rate_limit.rules.*.key.*", Some("tag"), V3),
    need("routes.*.rate_limit.rules.*.key.*", Some("country"), V3),
    need("routes.*.rate_limit.rules.*.key.*", Some("asn"), V3),
    need("routes.*.rate_limit.rules.*.key.*", Some("route"), V3),
    need("routes.*.rate_limit.rules.*.key.*", Some("method"), V3),
    need("routes.*.rate_limit.rules.*.key.*", Some("variant"), V3),
    need("routes.*.rate_limit.rules.*.key.*.cookie", None, V3),
    need("routes.*.rate_limit.rules.*.key.*.query", None, V3),
    need("routes.*.rate_limit.rules.*.key.*.path", None, V3),
    need("defaults.cache.tiers.*", Some("memory"), V3),
    need("defaults.cache.max_memory_body", None, V3),
    need("defaults.cache.tiers.*", Some("global"), V3),
    need("defaults.cache.max_global_body", None, V3),
    need("defaults.cache.min_global_lifetime", None, V3),
    need("defaults.cache.heuristic", None, V3),
    need("defaults.cache.lifetimes", None, V3),
    need("defaults.cache.bypass", None, V3),
    need("defaults.cache.ignore_client_directives", None, V3),
    need("defaults.cache.targets", None, V3),
    need("defaults.cache.stale_if_error", None, V3),
    need("defaults.cache.stale_while_revalidate", None, V3),
    need("defaults.cache.allow_set_cookie", None, V3),
    need("defaults.cache.vary", None, V3),
    need("defaults.cache.key", None, V3),
    need("defaults.cache.credentials", None, V3),
    need("defaults.cache.status_key", None, V3),
    need("routes.*.cache.tiers.*", Some("memory"), V3),
    need("routes.*.cache.max_memory_body", None, V3),
    need("routes.*.cache.tiers.*", Some("global"), V3),
    need("routes.*.cache.max_global_body", None, V3),
    need("routes.*.cache.min_global_lifetime", None, V3),
    need("routes.*.cache.heuristic", None, V3),
    need("routes.*.cache.lifetimes", None, V3),
    need("routes.*.cache.bypass", None, V3),
    need("routes.*.cache.ignore_client_directives", None, V3),
    need("routes.*.cache.targets", None, V3),
    need("routes.*.cache.stale_if_error", None, V3),
    need("routes.*.cache.stale_while_revalidate", None, V3),
    need("routes.*.cache.allow_set_cookie", None, V3),
    need("routes.*.cache.vary", None, V3),
    need("routes.*.cache.key", None, V3),
    need("routes.*.cache.credentials", None, V3),
    need("routes.*.cache.status_key", None, V3),
];

/// The least version of the module that reads the document. What is no policy
/// needs [`FIRST`]: whether it compiles is another question.
#[must_use]
pub fn least_module(document: &Value) -> Version {
    let needed = NEEDS.iter().filter(|need| {
        let steps: Vec<&str> = need.path.split('.').collect();
        holds(document, &steps, need.value)
    });
    needed.map(|need| need.since).max().unwrap_or(FIRST)
}

/// Whether something stands at the place, `null` too: an older module refuses
/// the name, whatever stands there.
fn holds(node: &Value, steps: &[&str], value: Option<&str>) -> bool {
    let Some((step, rest)) = steps.split_first() else {
        return value.is_none_or(|value| node.as_str() == Some(value));
    };
    match node {
        Value::Object(object) if *step == "*" => object.values().any(|inner| holds(inner, rest, value)),
        Value::Object(object) => object.get(*step).is_some_and(|inner| holds(inner, rest, value)),
        Value::Array(items) if *step == "*" => items.iter().any(|inner| holds(inner, rest, value)),
        _ => false,
    }
}
