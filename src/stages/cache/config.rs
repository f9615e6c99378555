//! `cache` as it stands in the policy.

use std::rc::Rc;

use http::header::{AUTHORIZATION, COOKIE, HOST, HeaderName};
use serde::Deserialize;

use super::bypass::{Bypass, Pair};
use super::freshness::Heuristic;
use super::global::Global;
use super::key::{Preset, QueryRules};
use super::lifetimes::{Given, Statuses};
use super::normalise::Normalise;
use super::staleness::Bounds;
use super::vary::Selector;
use super::{CacheStage, TOLD_BY_US};
use crate::policy::decode::{Problems, Trail};
use crate::policy::units::{FieldName, Name, Size, Span};
use crate::stages::Mode;
use crate::stages::upstream::HOP_BY_HOP;

/// `routes[].cache` in the policy.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct CacheConfig {
    /// `enforce` or `off`. Default `enforce`.
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::policy::schema::cache_mode", extend("default" = "enforce")))]
    pub mode: Mode,
    /// Where answers are kept, near to far: some of `memory`, `location` and
    /// `global`, in this order. Default `["location"]`.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 3), extend("uniqueItems" = true), extend("default" = ["location"])))]
    pub tiers: Vec<Tier>,
    /// The largest body that is kept, 1B to 25MiB. Default 1MiB.
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::policy::schema::size::<1, 26_214_400>", extend("default" = "1MiB")))]
    pub max_body: Size,
    /// The largest body that the tier `memory` keeps, 1B to 4MiB; the isolate
    /// keeps 16 MiB in all. Default 1MiB.
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::policy::schema::size::<1, 4_194_304>", extend("default" = "1MiB")))]
    pub max_memory_body: Size,
    /// The largest body that the tier `global` keeps, 1B to 1MiB. Default
    /// 256KiB.
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::policy::schema::size::<1, 1_048_576>", extend("default" = "256KiB")))]
    pub max_global_body: Size,
    /// How long an answer must still be fresh for the tier `global` to keep
    /// it, 1m to 30d: every write there is paid for. Default 5m.
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::policy::schema::span::<60_000, 2_592_000_000>", extend("default" = "5m")))]
    pub min_global_lifetime: Span,
    /// How long answers are fresh that do not say so themselves.
    pub heuristic: HeuristicConfig,
    /// Lifetimes by status, in place of what the origin says; the first rule
    /// for a status counts. At most 16.
    #[cfg_attr(feature = "schema", schemars(length(max = 16)))]
    pub lifetimes: Vec<LifetimeConfig>,
    /// Requests that go past the cache: not answered from it, and not stored.
    pub bypass: BypassConfig,
    /// Whether the client's `Cache-Control` and `Pragma` say nothing. Default
    /// `false`.
    #[cfg_attr(feature = "schema", schemars(extend("default" = false)))]
    pub ignore_client_directives: bool,
    /// Fields of targeted cache control (RFC 9213), the first valid one
    /// counts. At most 4. A field other than `CDN-Cache-Control` does not
    /// reach the client. Default `["CDN-Cache-Control"]`.
    #[cfg_attr(feature = "schema", schemars(length(max = 4), extend("default" = ["CDN-Cache-Control"])))]
    pub targets: Vec<FieldName>,
    /// How long past its lifetime an answer may stand in for an origin that
    /// fails, 0s to 30d; the origin's `stale-if-error` can shorten it.
    /// Default 1h.
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::policy::schema::span::<0, 2_592_000_000>", extend("default" = "1h")))]
    pub stale_if_error: Span,
    /// The longest `stale-while-revalidate` of an origin that is followed, 0s
    /// to 30d. Default 1d.
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::policy::schema::span::<0, 2_592_000_000>", extend("default" = "1d")))]
    pub stale_while_revalidate: Span,
    /// Whether answers that set a cookie are kept, the cookie with them.
    /// Default `false`.
    #[cfg_attr(feature = "schema", schemars(extend("default" = false)))]
    pub allow_set_cookie: bool,
    /// What `Vary` means.
    pub vary: VaryConfig,
    /// What tells answers apart besides the target.
    pub key: KeyConfig,
    /// Which requests show who sent them.
    pub credentials: CredentialsConfig,
    /// Whether `Cache-Status` has the parameter `key`: 128 bits of a hash of
    /// the primary key, and nothing that it is made of. Default `false`.
    #[cfg_attr(feature = "schema", schemars(extend("default" = false)))]
    pub status_key: bool,
}

/// `cache.lifetimes[]`.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LifetimeConfig {
    /// Statuses (`404`), classes (`5xx`) and ranges (`400-499`), from 200 to
    /// 599. 1 to 16.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 16)))]
    pub status: Vec<Statuses>,
    /// How long such an answer is fresh from its arrival on, 0s to 30d. 0s: it
    /// is not stored.
    #[cfg_attr(
        feature = "schema",
        schemars(schema_with = "crate::policy::schema::span::<0, 2_592_000_000>")
    )]
    pub lifetime: Span,
    /// Whether the origin's `no-store` and `no-cache` say nothing. Never
    /// `private`, `Set-Cookie` and what is said about credentials. Default
    /// `false`.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(extend("default" = false)))]
    pub force: bool,
}

/// `cache.bypass`. A client can choose to be one of them. Each list names what
/// a request has, `name`, or `name=value` where it has to have that value.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct BypassConfig {
    /// Requests with one of these fields. At most 8.
    #[cfg_attr(feature = "schema", schemars(length(max = 8)))]
    pub headers: Vec<ParameterName>,
    /// Requests with one of these cookies. At most 8.
    #[cfg_attr(feature = "schema", schemars(length(max = 8)))]
    pub cookies: Vec<ParameterName>,
    /// Requests with one of these parameters in the query, by their decoded
    /// names and values. At most 8.
    #[cfg_attr(feature = "schema", schemars(length(max = 8)))]
    pub query: Vec<ParameterName>,
}

/// `cache.heuristic`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct HeuristicConfig {
    /// Percent of the time since `Last-Modified`, 0 to 100; 0 assumes
    /// nothing. Default 10.
    #[cfg_attr(feature = "schema", schemars(range(max = 100), extend("default" = 10)))]
    pub percent: u8,
    /// The longest lifetime that is assumed, 1s to 30d. Default 1d.
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::policy::schema::span::<1_000, 2_592_000_000>", extend("default" = "1d")))]
    pub limit: Span,
}

/// `cache.vary`.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct VaryConfig {
    /// Request fields that select no answer, whatever `Vary` says. The origin
    /// does not get them either. At most 16.
    #[cfg_attr(feature = "schema", schemars(length(max = 16)))]
    pub ignore: Vec<FieldName>,
    /// Whether `User-Agent` becomes one of three texts, for telephones, tablets
    /// and all others. The origin gets that. Default `false`.
    #[cfg_attr(feature = "schema", schemars(extend("default" = false)))]
    pub device: bool,
    /// Whether `Accept-Encoding` becomes those of `gzip`, `br` and `zstd` that
    /// it takes, or `identity`. The origin gets that. Default `false`.
    #[cfg_attr(feature = "schema", schemars(extend("default" = false)))]
    pub encoding: bool,
    /// The languages to one of which `Accept-Language` is reduced, the first
    /// where none of them suits. The origin gets that. At most 32. Default:
    /// it stays as it is.
    #[cfg_attr(feature = "schema", schemars(length(max = 32)))]
    pub languages: Vec<ParameterName>,
}

/// `cache.key`.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct KeyConfig {
    /// What of the query counts.
    pub query: QueryConfig,
    /// Request fields that count. At most 8.
    #[cfg_attr(feature = "schema", schemars(length(max = 8)))]
    pub headers: Vec<FieldName>,
    /// Cookies that count. At most 8.
    #[cfg_attr(feature = "schema", schemars(length(max = 8)))]
    pub cookies: Vec<Name>,
}

/// `cache.key.query`. What does not count does not reach the origin either.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct QueryConfig {
    /// The only parameters that count; a `*` at the end stands for anything.
    /// At most 64. Default: all.
    #[cfg_attr(feature = "schema", schemars(length(max = 64)))]
    pub include: Option<Vec<ParameterName>>,
    /// Parameters that do not count; a `*` at the end stands for anything. At
    /// most 64.
    #[cfg_attr(feature = "schema", schemars(length(max = 64)))]
    pub exclude: Vec<ParameterName>,
    /// A list that is left out besides: `tracking`, the parameters of
    /// campaigns and clicks.
    pub preset: Option<Preset>,
    /// Whether parameters are sorted by name. Default `false`.
    #[cfg_attr(feature = "schema", schemars(extend("default" = false)))]
    pub sort: bool,
}

/// The name of a parameter of a query: 1 to 128 bytes, decoded.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(inline))]
#[serde(transparent)]
pub struct ParameterName(#[cfg_attr(feature = "schema", schemars(length(min = 1, max = 128)))] pub String);

/// `cache.credentials`. `Authorization` always is one.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct CredentialsConfig {
    /// Request fields that are credentials, such as `X-Api-Key`. At most 8.
    #[cfg_attr(feature = "schema", schemars(length(max = 8)))]
    pub headers: Vec<FieldName>,
    /// The cookies that are credentials. At most 32. Default: every cookie
    /// but the route's own sticky one.
    #[cfg_attr(feature = "schema", schemars(length(max = 32)))]
    pub cookies: Option<Vec<Name>>,
}

/// Letters, digits and `-` (RFC 5646, 2.1), at most 35 (4.4.1).
fn is_language_tag(text: &str) -> bool {
    text.len() <= 35
        && text.split('-').all(|part| {
            (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
        })
}

/// `name` or `name=value`.
fn pair(text: &ParameterName) -> Pair<String> {
    match text.0.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (text.0.clone(), None),
    }
}

fn header(text: &ParameterName) -> Option<Pair<HeaderName>> {
    let (name, value) = pair(text);
    Some((HeaderName::from_bytes(name.as_bytes()).ok()?, value))
}

const CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("cdn-cache-control");

impl Default for HeuristicConfig {
    fn default() -> Self {
        Self { percent: 10, limit: Span(std::time::Duration::from_secs(86_400)) }
    }
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            mode: Mode::Enforce,
            tiers: vec![Tier::Location],
            max_body: Size(1 << 20),
            max_memory_body: Size(1 << 20),
            max_global_body: Size(256 << 10),
            min_global_lifetime: Span(std::time::Duration::from_secs(300)),
            heuristic: HeuristicConfig::default(),
            lifetimes: Vec::new(),
            bypass: BypassConfig::default(),
            ignore_client_directives: false,
            targets: vec![FieldName(CDN_CACHE_CONTROL)],
            stale_if_error: Span(std::time::Duration::from_secs(3_600)),
            stale_while_revalidate: Span(std::time::Duration::from_secs(86_400)),
            allow_set_cookie: false,
            vary: VaryConfig::default(),
            key: KeyConfig::default(),
            credentials: CredentialsConfig::default(),
            status_key: false,
        }
    }
}

/// Where answers are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// The memory of the isolate.
    Memory,
    /// The Cache API of the edge location.
    Location,
    /// KV, which all locations read.
    Global,
}

impl CacheConfig {
    /// Checks and compiles; `None` when it is off.
    pub fn compile(&self, path: &Trail<'_>, problems: &mut Problems) -> Option<CacheStage> {
        if self.mode == Mode::Shadow {
            problems.add(path.entry("mode"), "\"shadow\"", "expected \"enforce\" or \"off\"");
        }
        if self.tiers.is_empty() || !self.tiers.is_sorted_by(|near, far| near < far) {
            let expected = "expected some of \"memory\", \"location\" and \"global\", in this order";
            problems.add(path.entry("tiers"), format!("{} tiers", self.tiers.len()), expected);
        }
        for (name, size, most) in [
            ("max_body", self.max_body, 25),
            ("max_memory_body", self.max_memory_body, 4),
            ("max_global_body", self.max_global_body, 1),
        ] {
            if !(1..=most << 20).contains(&size.0) {
                let expected = format!("expected \"1B\" to \"{most}MiB\"");
                problems.add(path.entry(name), format!("{}B", size.0), expected);
            }
        }
        self.check_times(path, problems);
        self.check_lists(path, problems);
        (self.mode == Mode::Enforce).then(|| self.stage())
    }

    fn check_times(&self, path: &Trail<'_>, problems: &mut Problems) {
        let month = std::time::Duration::from_secs(30 * 86_400);
        let heuristic = path.entry("heuristic");
        if self.heuristic.percent > 100 {
            problems.add(heuristic.entry("percent"), self.heuristic.percent.to_string(), "expected 0 to 100");
        }
        let limit = self.heuristic.limit;
        if limit.0 < std::time::Duration::from_secs(1) || limit.0 > month {
            problems.add(heuristic.entry("limit"), format!("\"{limit}\""), "expected \"1s\" to \"30d\"");
        }
        let least = self.min_global_lifetime;
        if least.0 < std::time::Duration::from_secs(60) || least.0 > month {
            problems.add(
                path.entry("min_global_lifetime"),
                format!("\"{least}\""),
                "expected \"1m\" to \"30d\"",
            );
        }
        for (name, span) in
            [("stale_if_error", self.stale_if_error), ("stale_while_revalidate", self.stale_while_revalidate)]
        {
            if span.0 > month {
                problems.add(path.entry(name), format!("\"{span}\""), "expected \"0s\" to \"30d\"");
            }
        }
        let rules = path.entry("lifetimes");
        for (index, LifetimeConfig { status, lifetime, .. }) in self.lifetimes.iter().enumerate() {
            let rule = rules.item(index);
            if lifetime.0 > month {
                problems.add(rule.entry("lifetime"), format!("\"{lifetime}\""), "expected \"0s\" to \"30d\"");
            }
            if !(1..=16).contains(&status.len()) {
                let expected = "expected 1 to 16 of them";
                problems.add(rule.entry("status"), format!("{} statuses", status.len()), expected);
            }
        }
    }

    fn check_lists(&self, path: &Trail<'_>, problems: &mut Problems) {
        let (vary, key, credentials) = (path.entry("vary"), path.entry("key"), path.entry("credentials"));
        let query = key.entry("query");
        let bypass = path.entry("bypass");
        let parameters = |names: Option<&Vec<ParameterName>>| names.map_or(0, Vec::len);
        for (at, count, most) in [
            (path.entry("targets"), self.targets.len(), 4),
            (path.entry("lifetimes"), self.lifetimes.len(), 16),
            (bypass.entry("headers"), self.bypass.headers.len(), 8),
            (bypass.entry("cookies"), self.bypass.cookies.len(), 8),
            (bypass.entry("query"), self.bypass.query.len(), 8),
            (vary.entry("ignore"), self.vary.ignore.len(), 16),
            (vary.entry("languages"), self.vary.languages.len(), 32),
            (key.entry("headers"), self.key.headers.len(), 8),
            (key.entry("cookies"), self.key.cookies.len(), 8),
            (query.entry("include"), parameters(self.key.query.include.as_ref()), 64),
            (query.entry("exclude"), self.key.query.exclude.len(), 64),
            (credentials.entry("headers"), self.credentials.headers.len(), 8),
            (credentials.entry("cookies"), self.credentials.cookies.as_ref().map_or(0, Vec::len), 32),
        ] {
            if count > most {
                problems.add(at, format!("{count} names"), format!("expected at most {most}"));
            }
        }
        let mut check_name = |at: Trail<'_>, name: &ParameterName| {
            if !(1..=128).contains(&name.0.len()) {
                problems.add(at, format!("{} bytes", name.0.len()), "expected 1 to 128 bytes");
            }
        };
        let parameters =
            [("include", self.key.query.include.as_deref()), ("exclude", Some(&self.key.query.exclude))];
        for (list, names) in parameters {
            for (index, name) in names.unwrap_or_default().iter().enumerate() {
                check_name(query.entry(list).item(index), name);
            }
        }
        let lists = [
            ("headers", &self.bypass.headers),
            ("cookies", &self.bypass.cookies),
            ("query", &self.bypass.query),
        ];
        for (list, names) in lists {
            for (index, name) in names.iter().enumerate() {
                check_name(bypass.entry(list).item(index), name);
            }
        }
        for (index, name) in self.bypass.headers.iter().enumerate() {
            if header(name).is_none() {
                let expected = "expected a field name, and a value behind \"=\" where it has to have one";
                problems.add(bypass.entry("headers").item(index), format!("{:?}", name.0), expected);
            }
        }
        for (index, tag) in self.vary.languages.iter().enumerate() {
            if !is_language_tag(&tag.0) {
                let expected = "expected a language tag such as \"pt-BR\"";
                problems.add(vary.entry("languages").item(index), format!("{:?}", tag.0), expected);
            }
        }
        // What a hop or this gateway changes selects nothing reliably, and
        // what keys an answer must reach the origin.
        for (index, name) in self.key.headers.iter().enumerate() {
            let is_ours = HOP_BY_HOP.contains(&name.0) || TOLD_BY_US.contains(&name.0) || name.0 == HOST;
            if is_ours || self.vary.ignore.contains(name) {
                let expected = "expected a field that the client sends and the origin gets";
                problems.add(key.entry("headers").item(index), format!("\"{}\"", name.0), expected);
            }
        }
        for (index, name) in self.vary.ignore.iter().enumerate() {
            let expected = if [AUTHORIZATION, COOKIE, HOST].contains(&name.0) {
                "expected another field than Authorization, Cookie and Host"
            } else if self.normalise().reduces(&name.0) {
                "expected a field that is not reduced"
            } else {
                continue;
            };
            problems.add(vary.entry("ignore").item(index), format!("\"{}\"", name.0), expected);
        }
    }

    fn normalise(&self) -> Normalise {
        let VaryConfig { device, encoding, languages, .. } = &self.vary;
        let languages = languages.iter().map(|tag| tag.0.clone()).collect();
        Normalise { device: *device, encoding: *encoding, languages }
    }

    fn bypass(&self) -> Bypass {
        let pairs = |names: &[ParameterName]| names.iter().map(pair).collect::<Vec<_>>();
        Bypass {
            headers: self.bypass.headers.iter().filter_map(header).collect(),
            cookies: pairs(&self.bypass.cookies),
            query: pairs(&self.bypass.query),
        }
    }

    pub(super) fn stage(&self) -> CacheStage {
        let names = |list: &[FieldName]| list.iter().map(|name| name.0.clone()).collect::<Vec<_>>();
        let texts = |list: &[Name]| list.iter().map(|name| name.0.clone()).collect::<Vec<_>>();
        let parameters = |list: &[ParameterName]| list.iter().map(|name| name.0.clone()).collect::<Vec<_>>();
        let fields = self.key.headers.iter().map(|name| Selector::field(&name.0));
        let cookies = self.key.cookies.iter().map(|name| Selector::Cookie(name.0.clone()));
        let mut selectors: Vec<Selector> = fields.chain(cookies).collect();
        selectors.sort_unstable();
        selectors.dedup();
        let query = &self.key.query;
        let location = self.tiers.contains(&Tier::Location);
        let largest = |tier, size: Size| self.tiers.contains(&tier).then(|| self.max_body.0.min(size.0));
        let memory = largest(Tier::Memory, self.max_memory_body);
        let global = largest(Tier::Global, self.max_global_body);
        CacheStage {
            max_body: if location { self.max_body.0 } else { memory.max(global).unwrap_or_default() },
            memory,
            location,
            global: global
                .map(|max_body| Global { max_body, lifetime: self.min_global_lifetime.0.as_secs() }),
            heuristic: Heuristic { percent: self.heuristic.percent, limit: self.heuristic.limit.0.as_secs() },
            lifetimes: self
                .lifetimes
                .iter()
                .map(|rule| Given {
                    statuses: rule.status.clone(),
                    // A part of a second is one: only zero is none.
                    seconds: u64::try_from(rule.lifetime.0.as_millis().div_ceil(1_000)).unwrap_or(u64::MAX),
                    force: rule.force,
                })
                .collect(),
            bypass: Rc::new(self.bypass()),
            ignore_client_directives: self.ignore_client_directives,
            consumed: names(&self.targets).into_iter().filter(|name| *name != CDN_CACHE_CONTROL).collect(),
            targets: names(&self.targets),
            bounds: Bounds {
                while_revalidate: self.stale_while_revalidate.0.as_secs(),
                if_error: self.stale_if_error.0.as_secs(),
            },
            allow_set_cookie: self.allow_set_cookie,
            ignored: names(&self.vary.ignore),
            normalise: Rc::new(self.normalise()),
            query: QueryRules {
                include: query.include.as_deref().map(parameters),
                exclude: parameters(&query.exclude),
                without_tracking: query.preset == Some(Preset::Tracking),
                sort: query.sort,
            },
            selectors,
            credential_fields: names(&self.credentials.headers),
            credential_cookies: self.credentials.cookies.as_deref().map(texts),
            shows_key: self.status_key,
        }
    }
}
