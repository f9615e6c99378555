//! From a document to a [`Gateway`]: read once, checked whole, compiled once.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use http::header::HeaderName;
use serde_json::Value;

use super::decode::{Problems, decode, is_within, join, merge, parse, refuse_lists, shown};
use super::units::Name;
use super::{DOCUMENT_LIMIT, DOCUMENT_VERSION, Policy, RefreshFailure, RouteConfig, Source};
use crate::error::{PolicyError, Problem};
use crate::observe::record::ClientAddress;
use crate::stages::cache::{self, CacheStage};
use crate::stages::canary::CanaryStage;
use crate::stages::identity::IdentityStage;
use crate::stages::ip_filter::{ADDRESS_SET_EXPECTED, IpFilterStage};
use crate::stages::rate_limit::RateLimitStage;
use crate::stages::route::{Matcher, Router};
use crate::stages::target::parse_authority;
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

/// The most prefixes in all compiled rules together: about 14 MB of an
/// isolate's 128. A set counts once for every rule that names it.
const PREFIX_LIMIT: usize = 200_000;

/// The longest `$schema`, in bytes: the longest URL that is of any use.
const SCHEMA_LIMIT: usize = 2_000;

/// The most that `defaults` may come to, merged into every route, in bytes of
/// JSON.
pub(super) const DEFAULTS_LIMIT: usize = 16 << 20;

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
    let mut lists = Problems::default();
    refuse_lists(&tree, &mut lists);
    // Structure first: every problem with its own path. What is wrong is cut
    // out, so that the checks below still see the rest.
    let decoded = decode(&mut tree, problems);
    let known: Vec<String> = problems.paths().map(str::to_owned).collect();
    lists.retain(|list| {
        let related =
            |path: &String| *path == list.path || is_within(path, &list.path) || is_within(&list.path, path);
        !known.iter().any(related)
    });
    problems.append(lists, str::to_owned);
    let (policy, positions): (Policy, _) = decoded?;
    let cut: Vec<String> = problems.paths().map(str::to_owned).collect();
    let policy = with_defaults(policy, &tree, problems)?;
    let mut found = Problems::default();
    if policy.version != DOCUMENT_VERSION {
        found.add("version", policy.version.to_string(), format!("expected {DOCUMENT_VERSION}"));
    }
    let schema = policy.schema.as_ref().map_or(0, String::len);
    if schema > SCHEMA_LIMIT {
        found.add("[\"$schema\"]", schema.to_string(), format!("bytes; expected at most {SCHEMA_LIMIT}"));
    }
    let prefixes = count_prefixes(&policy);
    if prefixes > PREFIX_LIMIT {
        // Not compiled at all: that is what the memory would be needed for.
        let expected = format!(
            "prefixes in the rules of all stages, sets counted wherever they are named; expected at most \
             {PREFIX_LIMIT}: name a large set in the entry \"ip_filter\" once"
        );
        problems.add("address_sets", prefixes.to_string(), expected);
        return None;
    }
    let gateway = build(&policy, &mut found);
    let mut placed = Problems::default();
    placed.append(found, |path| positions.original(path));
    placed.retain(|problem| !written.explains(problem, &cut));
    problems.append(placed, str::to_owned);
    Some(gateway)
}

/// The names that a document gives, before anything is cut out of it.
struct Written {
    upstreams: Vec<String>,
    address_sets: Vec<String>,
}

const UPSTREAM_EXPECTED: &str = "expected the name of one of \"upstreams\"";

impl Written {
    fn of(tree: &Value) -> Self {
        let names = |key: &str| {
            let object = tree.get(key).and_then(Value::as_object);
            object.map(|object| object.keys().map(|name| format!("\"{name}\"")).collect()).unwrap_or_default()
        };
        Self { upstreams: names("upstreams"), address_sets: names("address_sets") }
    }

    /// Whether a problem only follows from something that was cut out.
    fn explains(&self, problem: &Problem, cut: &[String]) -> bool {
        let spoilt = cut.iter().any(|path| *path == problem.path || is_within(path, &problem.path));
        let refers = match problem.expected.as_str() {
            UPSTREAM_EXPECTED => self.upstreams.contains(&problem.value),
            ADDRESS_SET_EXPECTED => self.address_sets.contains(&problem.value),
            _ => false,
        };
        // A route without its path or hosts overlaps with every other.
        let overlaps = problem.path.starts_with("routes[")
            && problem.path.ends_with("].match")
            && cut.iter().any(|path| path.starts_with("routes[") && path.contains("].match"));
        spoilt || refers || overlaps
    }
}

/// Merges `defaults` into each route.
fn with_defaults(mut policy: Policy, tree: &Value, problems: &mut Problems) -> Option<Policy> {
    let Some(defaults) = tree.get("defaults") else {
        return Some(policy);
    };
    let routes = tree.get("routes").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let size = defaults.to_string().len();
    if size.saturating_mul(routes.len()) > DEFAULTS_LIMIT {
        let expected = format!(
            "bytes in each of {} routes; expected at most {DEFAULTS_LIMIT} bytes in all: name large lists in \
             \"address_sets\", or use the entry \"ip_filter\"",
            routes.len()
        );
        problems.add("defaults", size.to_string(), expected);
        return None;
    }
    let mut merged = Vec::with_capacity(routes.len());
    for route in routes {
        let mut whole = defaults.clone();
        merge(&mut whole, route);
        let id = route.get("id").and_then(Value::as_str).unwrap_or_default();
        let mut found = Problems::default();
        let route: Option<(RouteConfig, _)> = decode(&mut whole, &mut found);
        // Both halves are well formed, so this is rare: they do not fit.
        problems.append(found, |path| join(&format!("routes[\"{id}\"] with \"defaults\""), path));
        merged.push(route?.0);
    }
    policy.routes = merged;
    Some(policy)
}

/// How many prefixes the rules of all stages come to.
fn count_prefixes(policy: &Policy) -> usize {
    let filters = policy.routes.iter().map(|route| &route.ip_filter).chain([&policy.ip_filter]);
    let rules = filters.flatten().flat_map(|filter| &filter.rules);
    let sizes = rules.map(|rule| {
        let sets = rule.address_sets.iter().filter_map(|name| policy.address_sets.get(name));
        sets.map(|set| set.prefixes.len()).fold(rule.prefixes.len(), usize::saturating_add)
    });
    sizes.fold(0, usize::saturating_add)
}

fn build(policy: &Policy, problems: &mut Problems) -> Gateway {
    check_refresh(policy, problems);
    for (path, count) in [
        ("routes", policy.routes.len()),
        ("upstreams", policy.upstreams.len()),
        ("address_sets", policy.address_sets.len()),
    ] {
        if count > LIST_LIMIT {
            problems.add(path, count.to_string(), format!("expected at most {LIST_LIMIT}"));
        }
    }
    let identity = policy.identity.compile(problems);
    let mut upstreams = Vec::with_capacity(policy.upstreams.len());
    let mut names: BTreeMap<Name, usize> = BTreeMap::new();
    for (name, upstream) in &policy.upstreams {
        names.insert(name.clone(), upstreams.len());
        upstreams.push(upstream.compile(&join("upstreams", name.as_str()), name.as_str(), problems));
    }
    let entry_ip_filter =
        policy.ip_filter.as_ref().map(|filter| filter.compile("ip_filter", &policy.address_sets, problems));
    let entry_rate_limit =
        policy.rate_limit.as_ref().map(|limit| limit.compile("rate_limit", "", problems)).unwrap_or_default();

    check_defaults(policy, problems);
    let mut ids = HashSet::new();
    let mut matchers: Vec<Matcher> = Vec::with_capacity(policy.routes.len());
    let mut routes = Vec::with_capacity(policy.routes.len());
    for (index, route) in policy.routes.iter().enumerate() {
        let path = format!("routes[{index}]");
        if !ids.insert(&route.id) {
            problems.add(join(&path, "id"), format!("\"{}\"", route.id), "expected an id of its own");
        }
        matchers.push(route.matches.compile(route.priority, &path, problems));
        routes.push(build_route(route, &path, policy, &names, problems));
    }
    let route_ids: Vec<String> = routes.iter().map(|route| route.id.clone()).collect();
    let router = Router::new(matchers, &route_ids, problems);
    let mut gateway = Gateway {
        refresh_interval: policy.refresh.interval.0,
        max_stale: policy.refresh.max_stale.0,
        refresh_source: policy.refresh.source,
        refresh_failure: policy.refresh.on_failure,
        admin_hosts: admin_hosts(policy, problems),
        identity,
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

fn build_route(
    route: &RouteConfig,
    path: &str,
    policy: &Policy,
    upstreams: &BTreeMap<Name, usize>,
    problems: &mut Problems,
) -> Route {
    let upstream = upstreams.get(&route.upstream).copied();
    if upstream.is_none() {
        problems.add(join(path, "upstream"), format!("\"{}\"", route.upstream), UPSTREAM_EXPECTED);
    }
    Route {
        id: route.id.0.clone(),
        upstream: upstream.unwrap_or_default(),
        ip_filter: route
            .ip_filter
            .as_ref()
            .map(|filter| filter.compile(&join(path, "ip_filter"), &policy.address_sets, problems)),
        rate_limit: route
            .rate_limit
            .as_ref()
            .map(|limit| limit.compile(&join(path, "rate_limit"), route.id.as_str(), problems))
            .unwrap_or_default(),
        canary: route
            .canary
            .as_ref()
            .and_then(|canary| canary.compile(&join(path, "canary"), route.id.as_str(), upstreams, problems)),
        cache: route.cache.as_ref().and_then(|cache| cache.compile(&join(path, "cache"), problems)),
    }
}

/// Where no route has them merged in, `defaults` are checked by themselves.
fn check_defaults(policy: &Policy, problems: &mut Problems) {
    if !policy.routes.is_empty() {
        return;
    }
    let defaults = &policy.defaults;
    if let Some(filter) = &defaults.ip_filter {
        filter.compile("defaults.ip_filter", &policy.address_sets, problems);
    }
    if let Some(limit) = &defaults.rate_limit {
        limit.compile("defaults.rate_limit", "", problems);
    }
    if let Some(cache) = &defaults.cache {
        cache.compile("defaults.cache", problems);
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
    let mut fields = vec![http::header::HOST];
    // First, since `Head::present` is asked for all of them.
    fields
        .extend(gateway.identity.never_forwarded.iter().filter(|name| **name != http::header::HOST).cloned());
    let least = fields.len();
    let mut add = |name: HeaderName| {
        if !fields.contains(&name) {
            fields.push(name);
        }
    };
    gateway.identity.wanted_fields().into_iter().for_each(&mut add);
    upstream::request_fields().for_each(&mut add);
    gateway.router.wanted_fields().for_each(&mut add);
    gateway.entry_rate_limit.wanted_fields().for_each(&mut add);
    gateway.routes.iter().flat_map(|route| route.rate_limit.wanted_fields()).for_each(&mut add);
    if gateway.has_cache {
        cache::REQUEST_FIELDS.into_iter().for_each(&mut add);
    }
    if gateway.routes.iter().any(|route| route.canary.is_some()) {
        add(http::header::COOKIE);
    }
    // A document may name any number; past this, reading on demand is better.
    fields.truncate(least.max(256));
    fields
}
