//! Which route a request takes.

use edgeweir::exchange::PlainHead;
use edgeweir::policy::{Gateway, compile};
use edgeweir::stages::target::parse;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::fake::{With, check, get, request};
use crate::policy::record;

fn try_routes(routes: &Value) -> Result<Gateway, Vec<(String, String)>> {
    let policy = json!({"version": 1, "upstreams": {"u": {"origin": "http://o.example"}}, "routes": routes});
    let compiled = compile(&policy.to_string());
    record(&policy, compiled.as_ref().err().map_or(&[], |error| &error.problems));
    compiled
        .map_err(|error| error.problems.into_iter().map(|problem| (problem.path, problem.expected)).collect())
}

/// Routes that differ in `match` (and `priority`) only.
fn routes(matches: &[(&str, Value)]) -> Gateway {
    try_routes(&all(matches)).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn all(matches: &[(&str, Value)]) -> Value {
    matches
        .iter()
        .map(|(id, matches)| {
            let mut matches = matches.clone();
            let priority = matches.as_object_mut().unwrap().remove("priority").unwrap_or(json!(0));
            json!({"id": id, "upstream": "u", "match": matches, "priority": priority})
        })
        .collect()
}

fn taken<'a>(gateway: &'a Gateway, head: &PlainHead) -> Option<&'a str> {
    let host = head.fields[0].1.clone();
    let target = parse(&head.url, Some(&host)).unwrap_or_else(|reject| panic!("{}: {reject:?}", head.url));
    gateway.router.find(&target, head).map(|index| gateway.routes[index].id.as_str())
}

#[test]
fn rule_1_what_is_left_out_matches_everything() {
    let gateway = routes(&[("all", json!({}))]);
    for head in [get("/"), get("/a/b?c"), request("DELETE", "/x"), get("/").to("http", "[::1]:81")] {
        assert_eq!(taken(&gateway, &head), Some("all"));
    }
    assert_eq!(taken(&routes(&[]), &get("/")), None);
}

#[test]
fn rule_1_hosts_are_exact_or_a_suffix_of_one_label_or_more() {
    let gateway = routes(&[
        ("exact", json!({"hosts": ["API.example.com."]})),
        ("suffix", json!({"hosts": ["*.example.org"]})),
    ]);
    for (host, route) in [
        ("api.example.com", Some("exact")),
        ("API.EXAMPLE.COM.", Some("exact")),
        ("api.example.com:8443", Some("exact")),
        ("www.api.example.com", None),
        ("a.example.org", Some("suffix")),
        ("a.b.example.org:81", Some("suffix")),
        ("example.org", None),
        ("aexample.org", None),
        ("127.0.0.1", None),
    ] {
        assert_eq!(taken(&gateway, &get("/").to("https", host)), route, "{host}");
    }
}

#[test]
fn rule_1_a_port_narrows_a_host_to_it() {
    let gateway = routes(&[
        ("port", json!({"hosts": ["a.example:8443", "[::1]:81"]})),
        ("host", json!({"hosts": ["a.example", "[::1]"]})),
    ]);
    for (host, route) in [
        ("a.example:8443", "port"),
        ("a.example", "host"),
        ("a.example:1", "host"),
        ("[::1]:81", "port"),
        ("[0::1]", "host"),
    ] {
        assert_eq!(taken(&gateway, &get("/").to("https", host)), Some(route), "{host}");
    }
}

/// A default port that is written out is a port like any other: the route
/// must not be one that nothing can reach.
#[test]
fn rule_1_a_default_port_narrows_as_well() {
    let gateway = routes(&[
        ("tls", json!({"hosts": ["a.example:443"]})),
        ("plain", json!({"hosts": ["a.example:80"]})),
    ]);
    assert_eq!(taken(&gateway, &get("/").to("https", "a.example")), Some("tls"));
    assert_eq!(taken(&gateway, &get("/").to("https", "a.example:443")), Some("tls"));
    assert_eq!(taken(&gateway, &get("/").to("http", "a.example")), Some("plain"));
}

#[test]
fn rule_1_paths_are_literals_parameters_and_a_final_wildcard() {
    for (pattern, good, bad) in [
        ("/", &["/", "//", "/?x"][..], &["/a"][..]),
        ("/*", &["/", "/a", "/a/b"], &[]),
        ("/v1/*", &["/v1", "/v1/", "/v1/a", "//v1//a/b"], &["/", "/v10", "/a/v1", "/V1"]),
        ("/users/{id}", &["/users/7", "/users/7/", "/users/%20"], &["/users", "/users/", "/users/7/x"]),
        ("/users/{id}/*", &["/users/7", "/users/7/x/y"], &["/users", "/users/"]),
        ("/a/b/", &["/a/b", "/a/b/"], &["/a", "/a/b/c"]),
        ("/caf\u{e9}", &["/caf%C3%A9", "/caf%c3%a9"], &["/cafe"]),
        ("/%61", &["/a", "/%61"], &["/%2561"]),
    ] {
        let gateway = routes(&[("it", json!({"path": pattern}))]);
        for target in good {
            assert_eq!(taken(&gateway, &get(target)), Some("it"), "{pattern} {target}");
        }
        for target in bad {
            assert_eq!(taken(&gateway, &get(target)), None, "{pattern} {target}");
        }
    }
}

#[test]
fn rule_2_a_guarded_path_cannot_be_spelled_around() {
    let gateway = routes(&[("guarded", json!({"path": "/admin/*"})), ("open", json!({"path": "/*"}))]);
    for target in [
        "/admin",
        "//admin",
        "/admin/",
        "/%61dmin",
        "///%61%64min//x",
        "/admin?x",
        "/admin/%2561",
        "/admin/..a",
    ] {
        assert_eq!(taken(&gateway, &get(target)), Some("guarded"), "{target}");
    }
}

#[test]
fn rule_1_methods_and_header_fields_have_to_fit() {
    let gateway =
        routes(&[("it", json!({"methods": ["GET", "PURGE"], "headers": {"X-Beta": "1", "x-b": "a, b"}}))]);
    let head = |method: &str| request(method, "/").with("x-beta", "1").with("X-B", "a");
    assert_eq!(taken(&gateway, &head("GET").with("X-B", "b")), Some("it"));
    assert_eq!(taken(&gateway, &head("PURGE").with("X-B", "b")), Some("it"));
    assert_eq!(taken(&gateway, &head("POST").with("X-B", "b")), None);
    assert_eq!(taken(&gateway, &head("GET")), None);
    assert_eq!(taken(&gateway, &head("GET").with("X-B", "b").with("X-Beta", "1")), None);
    assert_eq!(taken(&gateway, &get("/")), None);
}

/// Each step of the ranking decides before those after it.
#[test]
fn rule_3_the_most_specific_wins() {
    let winner = json!({"path": "/*"});
    let steps = [
        (json!({"priority": 1}), json!({"hosts": ["app.example"], "path": "/a/b/c", "methods": ["GET"]})),
        (json!({"hosts": ["app.example:8443"]}), json!({"hosts": ["app.example"], "path": "/a/b/c"})),
        (json!({"hosts": ["app.example"]}), json!({"hosts": ["*.example"], "path": "/a/b/c"})),
        (json!({"hosts": ["*.app.example"]}), json!({"hosts": ["*.example"], "path": "/a/b/c"})),
        (json!({"hosts": ["*.example"]}), json!({"path": "/a/b/c"})),
        (json!({"path": "/a/{x}/c"}), json!({"path": "/a/{x}/{y}"})),
        (json!({"path": "/a/b/*"}), json!({"path": "/a/{x}/{y}"})),
        (json!({"path": "/a/{x}/*"}), json!({"path": "/a/*"})),
        (json!({"path": "/a/{x}/{y}"}), json!({"path": "/a/{x}/{y}/*"})),
        (
            json!({"path": "/a/*", "methods": ["GET"]}),
            json!({"path": "/a/*", "headers": {"x-a": "1", "x-b": "2"}}),
        ),
        (json!({"headers": {"x-a": "1", "x-b": "2"}}), json!({"headers": {"x-a": "1"}})),
        (winner, json!({"priority": -1, "path": "/a/b/c"})),
    ];
    for (better, worse) in steps {
        let host =
            if better["hosts"] == json!(["*.app.example"]) { "x.app.example" } else { "app.example:8443" };
        for (first, second) in [(&better, &worse), (&worse, &better)] {
            let name = |matches: &Value| {
                if *matches == better { "better" } else { "worse" }
            };
            let gateway = routes(&[(name(first), first.clone()), (name(second), second.clone())]);
            let head = get("/a/b/c").to("https", host).with("x-a", "1").with("x-b", "2");
            assert_eq!(taken(&gateway, &head), Some("better"), "{better} {worse}");
        }
    }
}

#[test]
fn rule_4_two_equally_specific_routes_are_a_problem() {
    for (one, other, ambiguous) in [
        (json!({}), json!({}), true),
        (json!({"path": "/a/{x}"}), json!({"path": "/a/{y}"}), true),
        (json!({"path": "/a/{x}"}), json!({"path": "/{y}/b"}), true),
        (json!({"path": "/a/{x}/c"}), json!({"path": "/{y}/b/c"}), true),
        (json!({"path": "/{x}/b/*"}), json!({"path": "/a/{x}/*"}), true),
        (json!({"path": "/a/{x}"}), json!({"path": "/b/{x}"}), false),
        (json!({"path": "/a/{x}"}), json!({"path": "/{y}/b"}), true),
        (json!({"path": "/a"}), json!({"path": "/{y}"}), false),
        (json!({"methods": ["GET"]}), json!({"methods": ["POST"]}), false),
        (json!({"methods": ["GET", "PUT"]}), json!({"methods": ["POST", "PUT"]}), true),
        (json!({"headers": {"x-a": "1"}}), json!({"headers": {"x-a": "2"}}), false),
        (json!({"headers": {"x-a": "1"}}), json!({"headers": {"x-b": "1"}}), true),
        (json!({"hosts": ["a.example"]}), json!({"hosts": ["b.example"]}), false),
        (json!({"hosts": ["a.example", "b.example"]}), json!({"hosts": ["B.example."]}), true),
        (json!({"hosts": ["*.a.example"]}), json!({"hosts": ["*.b.example"]}), false),
        (json!({"priority": 1}), json!({"priority": 2}), false),
        (json!({"path": "/a//b/"}), json!({"path": "/%61/b"}), true),
    ] {
        let outcome = try_routes(&all(&[("one", one.clone()), ("other", other.clone())]));
        assert_eq!(outcome.is_err(), ambiguous, "{one} {other}");
        if let Err(problems) = outcome {
            assert_eq!(problems.len(), 1);
            assert_eq!(problems[0].0, "routes[1].match");
            assert!(problems[0].1.contains("this one and \"one\""), "{problems:?}");
        }
    }
}

#[test]
fn a_bad_match_is_a_problem_with_its_place() {
    let segments = format!("/{}", "a/".repeat(65));
    for (matches, path) in [
        (json!({"hosts": ["a", "a b"]}), "hosts[1]"),
        (json!({"hosts": ["A.example", "a.example."]}), "hosts[1]"),
        (json!({"hosts": ["*"]}), "hosts[0]"),
        (json!({"hosts": ["a.*"]}), "hosts[0]"),
        (json!({"hosts": ["*.a.example:80"]}), "hosts[0]"),
        (json!({"hosts": ["https://a"]}), "hosts[0]"),
        (json!({"hosts": [""]}), "hosts[0]"),
        (json!({"path": ""}), "path"),
        (json!({"path": "a"}), "path"),
        (json!({"path": "*"}), "path"),
        (json!({"path": "/a*"}), "path"),
        (json!({"path": "/*/a"}), "path"),
        (json!({"path": "/{}"}), "path"),
        (json!({"path": "/{a"}), "path"),
        (json!({"path": "/a{b}"}), "path"),
        (json!({"path": "/a?b"}), "path"),
        (json!({"path": "/a#b"}), "path"),
        (json!({"path": "/a/../b"}), "path"),
        (json!({"path": "/%2e%2e"}), "path"),
        (json!({"path": "/a b"}), "path"),
        (json!({"path": segments}), "path"),
        (json!({"methods": ["get"]}), "methods[0]"),
        (json!({"methods": ["GET", "GET"]}), "methods[1]"),
        (json!({"methods": ["A B"]}), "methods[0]"),
        (json!({"methods": [""]}), "methods[0]"),
        (json!({"allow_encoded": ["%2f"]}), "allow_encoded[0]"),
        (json!({"headers": {"x a": "1"}}), "headers[\"x a\"]"),
        (json!({"headers": {"x-a": 1}}), "headers.x-a"),
        (json!({"query": {}}), "query"),
    ] {
        let problems = try_routes(&all(&[("it", matches.clone())])).unwrap_err();
        let paths: Vec<&str> = problems.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(paths, [format!("routes[0].match.{path}")], "{matches}");
    }
}

/// Field names have no case, so these are one field that is to have two
/// values at once.
#[test]
fn one_header_field_named_twice_is_a_problem() {
    assert!(try_routes(&all(&[("it", json!({"headers": {"X-A": "1", "x-a": "2"}}))])).is_err());
}

#[derive(Clone, Debug)]
struct Route {
    priority: i32,
    host: usize,
    segments: Vec<usize>,
    wildcard: bool,
    methods: Vec<&'static str>,
    headers: usize,
}

const HOSTS: [Option<&str>; 6] = [
    None,
    Some("*.example"),
    Some("*.b.example"),
    Some("a.b.example"),
    Some("a.b.example:81"),
    Some("b.example"),
];
const PARTS: [&str; 3] = ["{p}", "x", "y"];

fn route() -> impl Strategy<Value = Route> {
    let segments = prop::collection::vec(0..PARTS.len(), 0..4);
    let methods = prop::sample::select(vec![vec![], vec!["GET"], vec!["POST"], vec!["GET", "POST"]]);
    (-1..2_i32, 0..HOSTS.len(), segments, any::<bool>(), methods, 0..3_usize).prop_map(
        |(priority, host, segments, wildcard, methods, headers)| Route {
            priority,
            host,
            segments,
            wildcard,
            methods,
            headers,
        },
    )
}

impl Route {
    fn json(&self, id: usize) -> Value {
        let path: String = self.segments.iter().map(|part| format!("/{}", PARTS[*part])).collect();
        let path = match (self.wildcard, path.as_str()) {
            (true, path) => format!("{path}/*"),
            (false, "") => "/".to_owned(),
            (false, path) => path.to_owned(),
        };
        let headers: Value = (0..self.headers)
            .map(|index| (format!("x-{index}"), json!("1")))
            .collect::<serde_json::Map<_, _>>()
            .into();
        let hosts: Vec<&str> = HOSTS[self.host].into_iter().collect();
        let matches = json!({"hosts": hosts, "path": path, "methods": self.methods, "headers": headers});
        json!({"id": format!("r{id}"), "upstream": "u", "priority": self.priority, "match": matches})
    }

    fn matches(&self, host: &str, port: Option<&str>, parts: &[&str], method: &str, headers: usize) -> bool {
        let host_fits = match HOSTS[self.host] {
            None => true,
            Some(pattern) => match (pattern.strip_prefix('*'), pattern.split_once(':')) {
                (Some(suffix), _) => host.ends_with(suffix),
                (_, Some((name, number))) => host == name && port == Some(number),
                _ => host == pattern,
            },
        };
        let path_fits = (parts.len() == self.segments.len()
            || (self.wildcard && parts.len() > self.segments.len()))
            && self
                .segments
                .iter()
                .zip(parts)
                .all(|(own, part)| PARTS[*own] == "{p}" || PARTS[*own] == *part);
        host_fits
            && path_fits
            && (self.methods.is_empty() || self.methods.contains(&method))
            && headers >= self.headers
    }

    /// The ranking as the module's documentation says it.
    fn rank(&self) -> (i32, (u8, usize), usize, usize, bool, bool, usize) {
        let literals = self.segments.iter().filter(|part| PARTS[**part] != "{p}").count();
        let host = match HOSTS[self.host] {
            None => (0, 0),
            Some(pattern) if pattern.starts_with('*') => (1, pattern.len()),
            Some(pattern) if pattern.contains(':') => (3, 0),
            Some(_) => (2, 0),
        };
        let parameters = self.segments.len() - literals;
        (self.priority, host, literals, parameters, !self.wildcard, !self.methods.is_empty(), self.headers)
    }
}

/// The winner equals the best of a naive scan; and a set of routes in which
/// two of the best tie for some request is refused.
#[test]
fn the_winner_equals_a_naive_scan() {
    let head = (
        prop::sample::select(vec!["b.example", "a.b.example", "c.b.example", "other.test"]),
        prop::option::of(Just("81")),
        prop::collection::vec(prop::sample::select(vec!["x", "y", "z"]), 0..4),
        prop::sample::select(vec!["GET", "POST", "PUT"]),
        0..3_usize,
    );
    check(
        600,
        (prop::collection::vec(route(), 1..7), prop::collection::vec(head, 1..12)),
        |(mut set, heads)| {
            // Leave out what ties with an earlier one: ranks are then unique.
            let mut kept: Vec<Route> = Vec::new();
            set.retain(|route| {
                let is_new =
                    kept.iter().all(|other| other.rank() != route.rank() || other.host != route.host);
                if is_new {
                    kept.push(route.clone());
                }
                is_new
            });
            let gateway =
                try_routes(&set.iter().enumerate().map(|(id, route)| route.json(id)).collect()).unwrap();
            for (host, port, parts, method, headers) in heads {
                let authority = port.map_or(host.to_owned(), |port| format!("{host}:{port}"));
                let mut head = request(method, &format!("/{}", parts.join("/"))).to("http", &authority);
                for index in 0..headers {
                    head = head.with(&format!("x-{index}"), "1");
                }
                let best = set
                    .iter()
                    .enumerate()
                    .filter(|(_, route)| route.matches(host, port, &parts, method, headers))
                    .max_by_key(|(_, route)| route.rank())
                    .map(|(id, _)| format!("r{id}"));
                prop_assert_eq!(taken(&gateway, &head), best.as_deref(), "{:?}", head);
            }
            Ok(())
        },
    );
}

/// A set that compiles has one winner for every request: no two routes of
/// equal rank match it.
#[test]
fn what_compiles_is_never_ambiguous() {
    let part = prop::sample::select(vec!["x", "y", "z"]);
    check(600, (prop::collection::vec(route(), 2..6), prop::collection::vec(part, 0..4)), |(set, parts)| {
        let compiled = try_routes(&set.iter().enumerate().map(|(id, route)| route.json(id)).collect());
        let tie = |host: &str, port, method| {
            let matching: Vec<&Route> =
                set.iter().filter(|route| route.matches(host, port, &parts, method, 2)).collect();
            matching
                .iter()
                .enumerate()
                .any(|(index, one)| matching[..index].iter().any(|other| one.rank() == other.rank()))
        };
        for host in ["b.example", "a.b.example"] {
            for method in ["GET", "POST"] {
                prop_assert!(compiled.is_err() || !tie(host, Some("81"), method));
            }
        }
        Ok(())
    });
}
