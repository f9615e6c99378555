//! The policy document: what is read, what is refused, and how it is said.

pub mod decode;
mod fields;
mod strict;

use std::io::Write as _;

use edgeweir::error::{PolicyError, Problem};
use edgeweir::exchange::RequestMetadata;
use edgeweir::policy::compile;
use edgeweir::stages::ip_filter::prefix::Prefix;
use edgeweir::stages::ip_filter::{Sets, Subject};
use serde_json::{Value, json};

/// A document that uses everything there is.
pub fn whole() -> Value {
    let limit = |id: &str| {
        json!({"id": id, "key": ["client", {"header": "X-Key"}], "algorithm": "gcra", "max": 100, "window": "15m", "burst": 50,
               "counting": "local", "deadline": "250ms", "on_failure": "open", "message": "잠시만요", "mode": "enforce",
               "on_missing": "skip", "ipv6_prefix": 48, "exempt_tags": ["partner"], "count_status": [401, 403], "count_misses_only": true,
               "cost": {"default": 1, "methods": {"POST": 5}, "header": "X-Units", "min": 1, "max": 20}, "cost_header": "X-Cost",
               "max_debt": 50, "penalty": 2, "status": 503, "x_ratelimit": true})
    };
    let filter = |id: &str| json!({"id": id, "action": "deny", "prefixes": ["203.0.113.0/24", "2001:db8::/32"], "address_sets": ["office", "home"], "mode": "shadow"});
    let stages = |mode: &str| {
        json!({
            "ip_filter": {"mode": mode, "default": "allow", "rules": [filter("a"), filter("b"), filter("c")]},
            "rate_limit": {"mode": mode, "on_failure": "closed", "rules": [limit("a"), limit("b"), limit("c")]},
        })
    };
    let route = |id: &str, path: &str| {
        json!({
            "id": id, "priority": 0, "upstream": "a",
            "match": {"hosts": ["api.example", "*.example.org"], "path": path, "methods": ["GET", "HEAD"], "headers": {"X-Beta": "1"}, "allow_encoded": ["%2F", "%5C"]},
            "ip_filter": stages("enforce")["ip_filter"], "rate_limit": stages("enforce")["rate_limit"],
            "canary": {"mode": "enforce", "sticky": {"cookie": "w", "max_age": "1d"}, "variants": [
                {"name": "one", "upstream": "a", "weight": 50}, {"name": "two", "upstream": "b", "weight": 30}, {"name": "three", "upstream": "b", "weight": 20}]},
            "cache": {"mode": "enforce", "tiers": ["location"], "max_body": "1MiB", "heuristic": {"percent": 20, "limit": "1h"},
                "ignore_client_directives": true, "targets": ["X-Edge-Cache-Control", "CDN-Cache-Control"], "stale_if_error": "2h",
                "stale_while_revalidate": "1m", "allow_set_cookie": true, "vary": {"ignore": ["User-Agent"],
                    "device": false, "encoding": true, "languages": ["en", "pt-BR"]}, "status_key": true,
                "lifetimes": [{"status": ["404", "500-599"], "lifetime": "10s", "force": true}, {"status": ["4xx"], "lifetime": "0s"}],
                "bypass": {"headers": ["X-Preview=1"], "cookies": ["preview"], "query": ["draft"]},
                "key": {"query": {"include": ["a", "b*"], "exclude": ["c"], "preset": "tracking", "sort": true},
                    "headers": ["X-Shop"], "cookies": ["shop"]},
                "credentials": {"headers": ["X-Api-Key"], "cookies": ["sid"]}},
        })
    };
    json!({
        "version": 1,
        "refresh": {"interval": "30s", "max_stale": "5m", "source": "kv", "on_failure": "last_good"},
        "admin": {"hosts": ["admin.example"]},
        "identity": {
            "client_address": {"header": "CF-Connecting-IP", "trusted_hops": ["10.0.0.0/8", "fd00::/8"], "chain": "Forwarded", "on_missing": {"address": "127.0.0.1"}},
            "ipv6_prefix": 56, "request_id": {"header": "X-Request-Id"}, "cdn_id": "weir"},
        "observe": {"log": {"client_address": "network"}},
        "upstreams": {"a": {"origin": "http://a.example", "timeouts": {"first_byte": "5s"}}, "b": {"origin": "request", "timeouts": {"first_byte": "5s"}}},
        "address_sets": {"office": {"prefixes": ["198.51.100.0/24", "192.0.2.1"]}, "home": {"prefixes": ["2001:db8:1::/48"]}},
        "bans": {"mode": "shadow", "answer": {"status": 404}, "triggers": [
            {"id": "scanner", "mode": "enforce", "limits": ["a"], "refusals": true, "statuses": [401, 404], "threshold": 20,
             "window": "5m", "duration": "10m", "factor": 3, "max_duration": "1d", "jitter": 10, "forget_after": "2d"}]},
        "ip_filter": stages("shadow")["ip_filter"], "rate_limit": stages("off")["rate_limit"],
        "defaults": {"cache": {"max_body": "64KiB"}},
        "routes": [route("one", "/one/*"), route("two", "/two/{id}"), route("three", "/three")],
    })
}

/// The document with one place changed; a place that is not there is made in
/// the object around it.
pub fn changed(mut document: Value, pointer: &str, value: &Value) -> Value {
    if let Some(place) = document.pointer_mut(pointer) {
        *place = value.clone();
        return document;
    }
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    document.pointer_mut(parent).unwrap()[key] = value.clone();
    document
}

pub fn problems(document: &Value) -> Vec<Problem> {
    let problems = compile(&document.to_string()).map_or_else(|error| error.problems, |_| Vec::new());
    record(document, &problems);
    problems
}

/// Hands a document and what is wrong with it to tests/scripts/schema.spec.mjs,
/// which asks the JSON Schema about it: a line in the file that is named by
/// the environment.
pub fn record(document: &Value, problems: &[Problem]) {
    let Some(file) = std::env::var_os("EDGEWEIR_CORPUS") else { return };
    let problems: Vec<Value> = problems
        .iter()
        .map(|problem| json!({"path": problem.path, "value": problem.value, "expected": problem.expected}))
        .collect();
    let line = format!("{}\n", json!({"document": document, "problems": problems}));
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(file).unwrap();
    file.write_all(line.as_bytes()).unwrap();
}

pub fn paths(document: &Value) -> Vec<String> {
    problems(document).into_iter().map(|problem| problem.path).collect()
}

#[test]
fn the_whole_document_and_the_least_one_compile() {
    assert_eq!(problems(&whole()), []);
    assert_eq!(problems(&json!({"version": 1})), []);
}

#[test]
fn the_built_in_demo_compiles() {
    let demo = compile(edgeweir::DEMO_POLICY).unwrap();
    assert_eq!(
        demo.routes.iter().map(|route| route.id.as_str()).collect::<Vec<_>>(),
        ["app", "limited", "static"]
    );
}

#[test]
fn what_is_compiled_is_what_is_written() {
    let gateway = compile(&whole().to_string()).unwrap();
    assert_eq!((gateway.refresh_interval.as_secs(), gateway.max_stale.as_secs()), (30, 300));
    assert_eq!(
        (gateway.identity.cdn_id.as_str(), gateway.identity.request_id_field.as_str()),
        ("weir", "x-request-id")
    );
    assert_eq!(
        gateway
            .upstreams
            .iter()
            .map(|upstream| (upstream.name.as_str(), upstream.first_byte.as_secs()))
            .collect::<Vec<_>>(),
        [("a", 5), ("b", 5)]
    );
    assert!(
        gateway.has_cache && gateway.entry_ip_filter.is_some() && gateway.entry_rate_limit.rules.is_empty()
    );
    let rule = &gateway.routes[1].rate_limit.rules[0];
    assert_eq!(
        (rule.id.as_str(), rule.quota.max(), rule.quota.burst(), rule.quota.window().as_secs()),
        ("a", 100, 50, 900)
    );
    assert_eq!((rule.deadline.as_millis(), rule.message()), (250, Some("잠시만요")));
    for field in [
        "host",
        "cf-connecting-ip",
        "forwarded",
        "x-request-id",
        "x-key",
        "x-beta",
        "cookie",
        "authorization",
        "cdn-loop",
    ] {
        assert!(gateway.wanted_fields.iter().any(|name| name == field), "{field}");
    }
}

#[test]
fn defaults_are_what_the_documentation_says() {
    let policy = json!({"version": 1, "upstreams": {"u": {"origin": "http://u"}}, "routes": [{"id": "r", "upstream": "u",
        "rate_limit": {"rules": [{"id": "l", "max": 7, "window": "10s"}]}}]});
    let gateway = compile(&policy.to_string()).unwrap();
    let rule = &gateway.routes[0].rate_limit.rules[0];
    assert_eq!((rule.quota.burst(), rule.deadline.as_millis(), rule.message()), (7, 250, None));
    assert_eq!(format!("{:?} {:?} {:?}", rule.counting, rule.on_failure, rule.mode), "Exact Local Enforce");
    assert_eq!(
        (
            gateway.refresh_interval.as_secs(),
            gateway.max_stale.as_secs(),
            gateway.upstreams[0].first_byte.as_secs()
        ),
        (30, 300, 30)
    );
    assert_eq!(gateway.identity.cdn_id, "edgeweir");
    assert!(!gateway.has_cache);
}

#[test]
fn the_failure_policy_of_a_rule_goes_before_that_of_its_stage() {
    let on_failure = |stage: Value, rule: Value| {
        let mut document =
            json!({"version": 1, "rate_limit": {"rules": [{"id": "l", "max": 7, "window": "10s"}]}});
        if !stage.is_null() {
            document["rate_limit"]["on_failure"] = stage;
        }
        if !rule.is_null() {
            document["rate_limit"]["rules"][0]["on_failure"] = rule;
        }
        compile(&document.to_string()).unwrap().entry_rate_limit.rules[0].on_failure.as_str()
    };
    assert_eq!(on_failure(json!("open"), Value::Null), "open");
    assert_eq!(on_failure(json!("open"), json!("closed")), "closed");
    assert_eq!(on_failure(Value::Null, json!("open")), "open");
    assert_eq!(on_failure(Value::Null, Value::Null), "local");
}

#[test]
fn defaults_are_merged_into_each_route() {
    let policy = json!({
        "version": 1, "upstreams": {"u": {"origin": "http://u"}},
        "defaults": {
            "cache": {"max_body": "2MiB"},
            "ip_filter": {"default": "deny", "rules": [{"id": "d", "action": "allow", "prefixes": ["10.0.0.0/8"]}]},
        },
        "routes": [
            {"id": "plain", "upstream": "u", "match": {"path": "/a"}},
            {"id": "deep", "upstream": "u", "match": {"path": "/b"}, "cache": {"mode": "off"}, "ip_filter": {"rules": []}},
            {"id": "without", "upstream": "u", "match": {"path": "/c"}, "ip_filter": null},
        ],
    });
    let gateway = compile(&policy.to_string()).unwrap();
    let [plain, deep, without] = &gateway.routes[..] else { panic!() };
    let rule = |route: &edgeweir::policy::Route| {
        let address: std::net::IpAddr = "10.0.0.1".parse().unwrap();
        let network = Prefix::host(address);
        let subject = Subject { address, network, metadata: RequestMetadata::default(), tags: &[] };
        let sets = Sets::new(&gateway.sets, None);
        let verdict = route.ip_filter.as_ref().unwrap().decide(&subject, &sets).verdict;
        (verdict.action.as_str(), verdict.rule.map(str::to_owned))
    };
    assert_eq!(plain.cache.as_ref().unwrap().max_body, 2 << 20);
    assert_eq!(rule(plain), ("allow", Some("d".to_owned())));
    // Objects deeply, lists replace.
    assert!(deep.cache.is_none());
    assert_eq!(rule(deep), ("deny", None));
    assert!(without.ip_filter.is_none() && without.cache.is_some());
}

/// What is wrong in `defaults` is said even where no route has been merged
/// with it yet.
#[test]
fn defaults_are_checked_without_routes() {
    let limit = json!({"rules": [{"id": "l", "max": 0, "window": "10s"}]});
    assert!(compile(&json!({"version": 1, "defaults": {"rate_limit": limit}}).to_string()).is_err());
}

#[test]
fn a_document_that_is_too_large_is_refused_unread() {
    let error = compile(&format!("{{\"version\":1{}}}", " ".repeat(1 << 20))).unwrap_err();
    assert_eq!((error.problems.len(), error.problems[0].path.as_str()), (1, ""));
    let text = format!("{{\"version\":1{}}}", " ".repeat((1 << 20) - 13));
    assert_eq!(text.len(), 1 << 20);
    assert!(compile(&text).is_ok());
}

#[test]
fn what_is_not_json_is_refused() {
    for bad in [
        "",
        " ",
        "{",
        "nul",
        "{\"version\":1}}",
        "{\"version\":1,}",
        "\u{feff}{\"version\":1}",
        "{'version':1}",
        "{\"version\":1e999}",
        &"[".repeat(10_000),
    ] {
        let error = compile(bad).unwrap_err();
        assert_eq!(error.problems.len(), 1, "{bad:.20}");
        assert!(error.to_string().starts_with("(document): expected a JSON document"), "{error}");
    }
    for bad in ["null", "[]", "1", "\"x\"", "true"] {
        assert_eq!(compile(bad).unwrap_err().problems.len(), 1, "{bad}");
    }
}

#[test]
fn problems_are_shown_one_after_the_other() {
    let problem = |path: &str, value: &str| Problem {
        path: path.to_owned(),
        value: value.to_owned(),
        expected: "expected x".to_owned(),
    };
    let error = PolicyError { problems: vec![problem("a[0].b", "7"), problem("", "")] };
    assert_eq!(error.to_string(), "a[0].b: found 7; expected x; (document): expected x");
}
