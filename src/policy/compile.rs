//! From a document to a [`Gateway`]: read once, checked whole, compiled once.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use http::header::{COOKIE, HOST, HeaderName};
use serde_json::Value;

use super::decode::{Positions, Problems, Trail, at_index, decode, is_within, parse, shown, strict};
use super::defaults::with_defaults;
use super::units::{Name, repeated};
use super::{DOCUMENT_LIMIT, DOCUMENT_VERSION, Policy, RefreshFailure, RouteConfig, Source};
use crate::addresses::{AddressIndex, SetId};
use crate::error::{PolicyError, Problem, Reason, Reject};
use crate::exchange::Head;
use crate::feeds::{Feed, compile_feeds};
use crate::observe::record::ClientAddress;
use crate::stages::bans::{BansStage, LIMIT_EXPECTED, LimitNames};
use crate::stages::cache::{self, CacheStage};
use crate::stages::canary::CanaryStage;
use crate::stages::identity::IdentityStage;
use crate::stages::ip_filter::{ADDRESS_SET_EXPECTED, IpFilterStage, PolicySets, SetNames, compile_sets};
use crate::stages::rate_limit::{Place, RateLimitConfig, RateLimitStage};
use crate::stages::route::{Matcher, Router};
use crate::stages::target::{Target, parse_authority};
use crate::stages::upstream::{self, Upstream};

/// A compiled policy.
#[derive(Clone, Debug)]
pub struct Gateway {
    /// How old it may be before it is refreshed after a response.
    pub refresh_interval: Duration,
    /// How old it may be before a request waits for a refresh.
    pub max_stale: Duration,
    /// Where a newer one is read.
    pub refresh_source: Source,
    /// What happens past `max_stale` when no newer one can be had.
    pub refresh_failure: RefreshFailure,
    /// Where the admin API answers: `host` or `host:port`, lower case, without
    /// a default port; empty where every host will do.
    pub admin_hosts: Vec<String>,
    /// Stage 1.
    pub identity: IdentityStage,
    /// The address sets that rules name.
    pub sets: PolicySets,
    /// Where stored sets are fetched from, by the name of the set.
    pub feeds: BTreeMap<String, Feed>,
    /// Stage 3: whom no rule refuses.
    pub guard: AddressIndex,
    /// Stage 3, bans.
    pub bans: BansStage,
    /// Stage 3, addresses.
    pub entry_ip_filter: Option<IpFilterStage>,
    /// Stage 3, limits.
    pub entry_rate_limit: RateLimitStage,
    /// Stage 4.
    pub router: Router,
    /// The rules of each route, by the router's index.
    pub routes: Vec<Route>,
    /// Origins.
    pub upstreams: Vec<Upstream>,
    /// How much of an address is logged.
    pub logged_address: ClientAddress,
    /// The fields that most requests are asked for; the rest is read when a
    /// rule wants it.
    pub wanted_fields: Vec<HeaderName>,
    /// Whether any route has a cache.
    pub has_cache: bool,
}

impl Gateway {
    /// The route of a target and its place; an escape in the path that origins
    /// read in two ways has to be allowed there.
    ///
    /// # Errors
    /// No route takes it, or it holds such an escape.
    pub fn find_route(&self, target: &Target<'_>, head: &impl Head) -> Result<(usize, &Route), Reject> {
        let index = self.router.find(target, head);
        let allowed = index.and_then(|index| self.router.matcher(index)).map(|matcher| matcher.allowed);
        if !target.encoded.within(allowed.unwrap_or_default()) {
            return Err(Reject::new(Reason::InvalidTarget)
                .detail("The path holds an encoded slash, backslash or NUL, which is not allowed here."));
        }
        let found = index.and_then(|index| Some((index, self.routes.get(index)?)));
        found.ok_or_else(|| Reject::new(Reason::NoRoute))
    }
}

/// The rules of one route.
#[derive(Clone, Debug)]
pub struct Route {
    /// Its name.
    pub id: String,
    /// The index of its upstream.
    pub upstream: usize,
    /// Stage 5.
    pub ip_filter: Option<IpFilterStage>,
    /// Stage 7.
    pub rate_limit: RateLimitStage,
    /// Stage 11.
    pub canary: Option<CanaryStage>,
    /// Stages 12 and 14.
    pub cache: Option<CacheStage>,
}

/// The most routes, and the most upstreams and address sets.
const LIST_LIMIT: usize = 10_000;

/// The most prefixes in the rules of all routes together, defaults counted in
/// each: about 6 MB of an isolate's 128.
const PREFIX_LIMIT: usize = 200_000;

/// The most prefixes of the guard list.
const GUARD_LIMIT: usize = 1_000;

/// The longest `$schema`, in bytes: the longest URL that is of any use.
const SCHEMA_LIMIT: usize = 2_000;

/// The most hosts of the admin API.
const ADMIN_HOSTS_LIMIT: usize = 16;

/// Reads, checks and compiles a document.
///
/// # Errors
/// Everything that is wrong with it, at most [`super::MAX_PROBLEMS`] things.
pub fn compile(text: &str) -> Result<Gateway, PolicyError> {
    let mut problems = Problems::default();
    if text.len() > DOCUMENT_LIMIT {
        problems.add("", format!("{} bytes", text.len()), format!("expected at most {DOCUMENT_LIMIT} bytes"));
        return Err(PolicyError { problems: problems.into_vec() });
    }
    // Most documents are good: then nothing has to be said about places.
    if let Ok(policy) = strict::from_text(text)
        && let Some(gateway) = assemble(policy, text, &mut problems)
        && problems.is_empty()
    {
        return Ok(gateway);
    }
    explain(text)
}

/// Reads the document again, with a tree beside it, to say what is wrong with
/// it.
fn explain(text: &str) -> Result<Gateway, PolicyError> {
    let mut problems = Problems::default();
    let gateway = parse(text, &mut problems).and_then(|tree| compile_tree(tree, &mut problems));
    let problems = problems.into_vec();
    match gateway {
        Some(gateway) if problems.is_empty() => Ok(gateway),
        _ if problems.is_empty() => Err(PolicyError { problems: vec![unreadable()] }),
        _ => Err(PolicyError { problems }),
    }
}

/// Unreachable as far as anybody knows: nothing was found wrong, and still
/// there is no result.
fn unreadable() -> Problem {
    Problem { path: String::new(), value: String::new(), expected: "expected a policy document".to_owned() }
}

fn compile_tree(mut tree: Value, problems: &mut Problems) -> Option<Gateway> {
    if !tree.is_object() {
        problems.add("", super::decode::shown(&tree), "expected an object");
        return None;
    }
    let written = Written::of(&tree);
    // Structure first: every problem with its own path. What is wrong is cut
    // out, so that the checks below still see the rest.
    let (policy, positions) = decode_parts(&mut tree, problems)?;
    let cut: Vec<String> = problems.paths().map(str::to_owned).collect();
    let mut found = Problems::default();
    let gateway = assemble(policy, &tree.to_string(), &mut found);
    let mut placed = Problems::default();
    placed.append(found, |path| positions.original(path));
    placed.retain(|problem| !written.explains(problem, &cut));
    problems.append(placed, str::to_owned);
    gateway
}

/// Decodes a document that something is wrong with: every route by itself, so
/// that each problem costs a route and not a document. What is left in `tree`
/// is what was decoded.
fn decode_parts(tree: &mut Value, problems: &mut Problems) -> Option<(Policy, Positions)> {
    let list = tree.get_mut("routes").filter(|routes| routes.is_array()).map(Value::take);
    let Some(Value::Array(list)) = list else {
        return decode(tree, problems);
    };
    if let Some(place) = tree.get_mut("routes") {
        *place = Value::Array(Vec::new());
    }
    let (mut policy, mut positions): (Policy, _) = decode(tree, problems)?;
    let mut left = Vec::with_capacity(list.len());
    let mut indices = Vec::with_capacity(list.len());
    for (index, mut route) in list.into_iter().enumerate() {
        if problems.is_full() {
            break;
        }
        let mut found = Problems::default();
        let decoded = decode(&mut route, &mut found);
        problems.append(found, |path| at_index("routes", index, path));
        if let Some((decoded, inner)) = decoded {
            policy.routes.push(decoded);
            left.push(route);
            indices.push((index, inner));
        }
    }
    if let Some(place) = tree.get_mut("routes") {
        *place = Value::Array(left);
    }
    positions.replace("routes", indices);
    Some((policy, positions))
}

/// Checks what is well formed and compiles it; `text` is what the policy was
/// read from.
fn assemble(mut policy: Policy, text: &str, problems: &mut Problems) -> Option<Gateway> {
    with_defaults(&mut policy, text, problems)?;
    if policy.version != DOCUMENT_VERSION {
        problems.add("version", policy.version.to_string(), format!("expected {DOCUMENT_VERSION}"));
    }
    let schema = policy.schema.as_ref().map_or(0, String::len);
    if schema > SCHEMA_LIMIT {
        problems.add("[\"$schema\"]", schema.to_string(), format!("bytes; expected at most {SCHEMA_LIMIT}"));
    }
    let prefixes = count_prefixes(&policy);
    if prefixes > PREFIX_LIMIT {
        // Not compiled at all: that is what the memory would be needed for.
        let expected = format!(
            "prefixes in the rules of all stages; expected at most {PREFIX_LIMIT}: name large lists in \
             \"address_sets\""
        );
        problems.add("address_sets", prefixes.to_string(), expected);
        return None;
    }
    Some(build(policy, problems))
}

/// The names that a document gives, before anything is cut out of it.
struct Written {
    upstreams: Vec<String>,
    address_sets: Vec<String>,
    /// The ids of limits.
    limits: Vec<String>,
}

const UPSTREAM_EXPECTED: &str = "expected the name of one of \"upstreams\"";

impl Written {
    fn of(tree: &Value) -> Self {
        let names = |key: &str| {
            let object = tree.get(key).and_then(Value::as_object);
            object.map(|object| object.keys().map(|name| format!("\"{name}\"")).collect()).unwrap_or_default()
        };
        let routes = tree.get("routes").and_then(Value::as_array);
        let stages = routes.into_iter().flatten().chain([tree]).chain(tree.get("defaults"));
        let rules = stages.filter_map(|stage| stage.get("rate_limit")?.get("rules")?.as_array()).flatten();
        let ids = rules.filter_map(|rule| rule.get("id")?.as_str().map(str::to_owned));
        Self { upstreams: names("upstreams"), address_sets: names("address_sets"), limits: ids.collect() }
    }

    /// Whether a problem only follows from something that was cut out.
    fn explains(&self, problem: &Problem, cut: &[String]) -> bool {
        let spoilt = cut.iter().any(|path| *path == problem.path || is_within(path, &problem.path));
        let refers = match problem.expected.as_str() {
            UPSTREAM_EXPECTED => self.upstreams.contains(&problem.value),
            ADDRESS_SET_EXPECTED => self.address_sets.contains(&problem.value),
            LIMIT_EXPECTED => {
                let name = problem.value.trim_matches('"');
                let rule = name.split_once('/').map_or(name, |(_, rule)| rule);
                !cut.is_empty() && self.limits.iter().any(|limit| limit == rule)
            }
            _ => false,
        };
        // A route without its path or hosts overlaps with every other.
        let overlaps = problem.path.starts_with("routes[")
            && problem.path.ends_with("].match")
            && cut.iter().any(|path| path.starts_with("routes[") && path.contains("].match"));
        // A format that is cut out leaves the default, which has no column.
        let formless = problem
            .path
            .strip_suffix(".feed.column")
            .is_some_and(|set| cut.iter().any(|path| path.strip_suffix(".feed.format") == Some(set)));
        spoilt || refers || overlaps || formless
    }
}

/// How many prefixes the rules of all stages come to.
fn count_prefixes(policy: &Policy) -> usize {
    let filters = policy.routes.iter().map(|route| &route.ip_filter).chain([&policy.ip_filter]);
    let rules = filters.flatten().flat_map(|filter| &filter.rules);
    rules.map(|rule| rule.prefixes.len()).fold(0, usize::saturating_add)
}

fn build(mut policy: Policy, problems: &mut Problems) -> Gateway {
    check_refresh(&policy, problems);
    for (path, count) in [
        ("routes", policy.routes.len()),
        ("upstreams", policy.upstreams.len()),
        ("address_sets", policy.address_sets.len()),
    ] {
        if count > LIST_LIMIT {
            problems.add(path, count.to_string(), format!("expected at most {LIST_LIMIT}"));
        }
    }
    let admin_hosts = admin_hosts(&policy, problems);
    let identity = policy.identity.compile(problems);
    let mut upstreams = Vec::with_capacity(policy.upstreams.len());
    let mut names: BTreeMap<Name, usize> = BTreeMap::new();
    for (name, upstream) in &policy.upstreams {
        names.insert(name.clone(), upstreams.len());
        let at = Trail::Root.entry("upstreams");
        upstreams.push(upstream.compile(&at.entry(name.as_str()), name.as_str(), problems));
    }
    let (sets, set_names) = compile_sets(&policy.address_sets, problems);
    let feeds = compile_feeds(&policy.address_sets, problems);
    if policy.guard_list.len() > GUARD_LIMIT {
        let expected = format!("prefixes; expected at most {GUARD_LIMIT}");
        problems.add("guard_list", policy.guard_list.len().to_string(), expected);
    }
    let guard = AddressIndex::build(policy.guard_list.iter().map(|prefix| (*prefix, SetId(0))));
    let at = Trail::Root.entry("ip_filter");
    let entry_ip_filter = policy.ip_filter.take().map(|filter| filter.compile(&at, &set_names, problems));
    let bans = bans(&mut policy, problems);
    let at = Trail::Root.entry("rate_limit");
    let mut entry_rate_limit =
        policy.rate_limit.take().map(|limit| limit.compile(&at, Place::Entry, problems)).unwrap_or_default();
    entry_rate_limit.count_for(&bans, "");

    check_defaults(&policy, &set_names, problems);
    let routes_at = Trail::Root.entry("routes");
    for index in repeated(policy.routes.iter().map(|route| &route.id)) {
        let id = policy.routes.get(index).map(|route| format!("\"{}\"", route.id)).unwrap_or_default();
        problems.add(routes_at.item(index).entry("id"), id, "expected an id of its own");
    }
    let mut matchers: Vec<Matcher> = Vec::with_capacity(policy.routes.len());
    let mut routes = Vec::with_capacity(policy.routes.len());
    for (index, route) in policy.routes.into_iter().enumerate() {
        let path = routes_at.item(index);
        matchers.push(route.matches.compile(route.priority, &path, problems));
        let mut route = build_route(route, &path, &set_names, &names, problems);
        route.rate_limit.count_for(&bans, &route.id);
        routes.push(route);
    }
    let route_ids: Vec<String> = routes.iter().map(|route| route.id.clone()).collect();
    let router = Router::new(matchers, &route_ids, problems);
    let mut gateway = Gateway {
        refresh_interval: policy.refresh.interval.0,
        max_stale: policy.refresh.max_stale.0,
        refresh_source: policy.refresh.source,
        refresh_failure: policy.refresh.on_failure,
        admin_hosts,
        identity,
        sets,
        feeds,
        guard,
        bans,
        entry_ip_filter,
        entry_rate_limit,
        router,
        has_cache: routes.iter().any(|route| route.cache.is_some()),
        routes,
        upstreams,
        logged_address: policy.observe.log.client_address,
        wanted_fields: Vec::new(),
    };
    gateway.wanted_fields = wanted_fields(&gateway);
    gateway
}

fn bans(policy: &mut Policy, problems: &mut Problems) -> BansStage {
    let Some(bans) = policy.bans.take() else { return BansStage::default() };
    let mut limits = LimitNames::new();
    let mut note = |route: &str, stage: &Option<RateLimitConfig>| {
        let rules = stage.iter().flat_map(|stage| &stage.rules);
        limits.extend(rules.map(|rule| (route.to_owned(), rule.id.0.clone())));
    };
    note("", &policy.rate_limit);
    policy.routes.iter().for_each(|route| note(route.id.as_str(), &route.rate_limit));
    bans.compile(&Trail::Root.entry("bans"), &limits, problems)
}

fn build_route(
    route: RouteConfig,
    path: &Trail<'_>,
    sets: &SetNames,
    upstreams: &BTreeMap<Name, usize>,
    problems: &mut Problems,
) -> Route {
    let upstream = upstreams.get(&route.upstream).copied();
    if upstream.is_none() {
        problems.add(path.entry("upstream"), format!("\"{}\"", route.upstream), UPSTREAM_EXPECTED);
    }
    let id = route.id.0;
    Route {
        upstream: upstream.unwrap_or_default(),
        ip_filter: route.ip_filter.map(|filter| filter.compile(&path.entry("ip_filter"), sets, problems)),
        rate_limit: route
            .rate_limit
            .map(|limit| {
                let place = Place::Route(&id, route.matches.path.as_deref());
                limit.compile(&path.entry("rate_limit"), place, problems)
            })
            .unwrap_or_default(),
        canary: route
            .canary
            .and_then(|canary| canary.compile(&path.entry("canary"), &id, upstreams, problems)),
        cache: route.cache.and_then(|cache| cache.compile(&path.entry("cache"), problems)),
        id,
    }
}

/// Where no route has them merged in, `defaults` are checked by themselves.
fn check_defaults(policy: &Policy, sets: &SetNames, problems: &mut Problems) {
    if !policy.routes.is_empty() {
        return;
    }
    let defaults = &policy.defaults;
    let at = Trail::Root.entry("defaults");
    if let Some(filter) = defaults.ip_filter.clone() {
        filter.compile(&at.entry("ip_filter"), sets, problems);
    }
    if let Some(limit) = defaults.rate_limit.clone() {
        limit.compile(&at.entry("rate_limit"), Place::Defaults, problems);
    }
    if let Some(cache) = &defaults.cache {
        cache.compile(&at.entry("cache"), problems);
    }
}

fn check_refresh(policy: &Policy, problems: &mut Problems) {
    let (interval, max_stale) = (policy.refresh.interval.0, policy.refresh.max_stale.0);
    if !(Duration::from_secs(1)..=Duration::from_secs(3_600)).contains(&interval) {
        problems.add("refresh.interval", format!("{interval:?}"), "expected \"1s\" to \"1h\"");
    }
    if max_stale < interval || max_stale > Duration::from_secs(86_400) {
        let expected = "expected at least \"interval\" and at most \"1d\"";
        problems.add("refresh.max_stale", format!("{max_stale:?}"), expected);
    }
}

/// The hosts of the admin API in normal form.
fn admin_hosts(policy: &Policy, problems: &mut Problems) -> Vec<String> {
    let Some(written) = &policy.admin.hosts else { return Vec::new() };
    if written.is_empty() || written.len() > ADMIN_HOSTS_LIMIT {
        let expected = format!("expected 1 to {ADMIN_HOSTS_LIMIT} hosts; leave it out to mean every host");
        problems.add("admin.hosts", written.len().to_string(), expected);
        return Vec::new();
    }
    let mut hosts: Vec<String> = Vec::with_capacity(written.len());
    for (index, text) in written.iter().enumerate() {
        let at = || format!("admin.hosts[{index}]");
        // A request's scheme is not known here, so both default ports go.
        let host = parse_authority(text).map(|(host, port)| match port {
            None | Some(80 | 443) => host,
            Some(port) => format!("{host}:{port}"),
        });
        match host {
            Some(host) if hosts.contains(&host) => {
                problems.add(at(), format!("{text:?}"), "expected each host once");
            }
            Some(host) => hosts.push(host),
            None => {
                let expected = "expected a host name such as \"admin.example.com\"";
                problems.add(at(), shown(&Value::from(text.as_str())), expected);
            }
        }
    }
    hosts
}

/// The fields that are worth reading in one go with the rest of the head.
fn wanted_fields(gateway: &Gateway) -> Vec<HeaderName> {
    // A document may name any number; past this, reading on demand is better.
    const MOST: usize = 256;
    let cookie = gateway.routes.iter().any(|route| route.canary.is_some()).then_some(COOKIE);
    // First, and all of them, since `Head::present` is asked for them.
    let never: Vec<HeaderName> = gateway.identity.never_forwarded.iter().cloned().collect();
    let most = MOST.max(never.len());
    let own: Vec<HeaderName> = never
        .into_iter()
        .chain([HOST])
        .chain(gateway.identity.wanted_fields())
        .chain(upstream::request_fields())
        .chain(gateway.has_cache.then_some(cache::REQUEST_FIELDS).into_iter().flatten())
        .chain(cookie)
        .collect();
    let limits = gateway.routes.iter().flat_map(|route| route.rate_limit.wanted_fields());
    let written = gateway.router.wanted_fields().cloned();
    let caches = gateway.routes.iter().flat_map(|route| &route.cache).flat_map(CacheStage::wanted_fields);
    let written = written.chain(gateway.entry_rate_limit.wanted_fields()).chain(limits).chain(caches);
    let mut known = HashSet::new();
    let mut fields = Vec::new();
    for name in own.into_iter().chain(written) {
        if fields.len() < most && known.insert(name.clone()) {
            fields.push(name);
        }
    }
    fields
}
