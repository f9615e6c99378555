//! Who may do what, and where.

use std::collections::BTreeSet;

use edgeweir::admin::endpoints::{ENDPOINTS, PREFIX};
use edgeweir::admin::problem::Refusal;
use edgeweir::gateway::Isolate;
use edgeweir::observe::record::{LogLevel, Verdict};
use edgeweir::policy::manifest::Alert;
use serde_json::json;

use super::{Admin, ROLES, refusal, refused, samples, token};
use crate::control;
use crate::fake::{With, get, request};

fn rank(role: &str) -> Option<usize> {
    ROLES.iter().position(|known| *known == role)
}

#[test]
fn every_endpoint_is_tried_here() {
    let tried: BTreeSet<(String, String, String)> = samples()
        .iter()
        .map(|sample| (sample.method.to_owned(), sample.path.to_owned(), sample.role.to_owned()))
        .collect();
    let there = ENDPOINTS.iter().map(|endpoint| {
        (endpoint.method.to_owned(), endpoint.path.to_owned(), endpoint.role.as_str().to_owned())
    });
    assert_eq!(there.collect::<BTreeSet<_>>(), tried);
    assert_eq!(tried.len(), ENDPOINTS.len());
}

#[test]
fn each_endpoint_is_open_to_its_role_and_those_above() {
    for sample in samples() {
        for role in ROLES {
            let admin = Admin::new();
            let (response, record) = admin.send(sample.head(role), &sample.body);
            let what = format!("{role}: {} {}", sample.method, sample.target);
            assert_eq!(record.status, response.status);
            if rank(role) >= rank(sample.role) {
                let endpoint = ENDPOINTS
                    .iter()
                    .find(|endpoint| (endpoint.method, endpoint.path) == (sample.method, sample.path));
                let success = endpoint.unwrap().status;
                assert_eq!(response.status, success, "{what}: {}", response.body);
                assert_eq!((record.verdict, record.reason), (Verdict::Answered, None), "{what}");
                assert_eq!(response.field("content-type").unwrap(), "application/json", "{what}");
                assert_eq!(response.field("cache-control").unwrap(), "no-store", "{what}");
            } else {
                assert_eq!(refused(&response), (403, "forbidden".to_owned()), "{what}");
                assert_eq!((record.verdict, record.reason), (Verdict::Refused, Some("forbidden")), "{what}");
                assert_eq!(admin.active(), "r3", "{what}");
                let detail = response.json()["detail"].as_str().unwrap().to_owned();
                assert!(detail.contains(role) && detail.contains(sample.role), "{detail}");
            }
        }
    }
}

#[test]
fn nothing_is_open_without_a_good_token() {
    for sample in samples() {
        let strange = [
            ("", "unauthenticated", None),
            ("nobody", "unauthenticated", Some("error=\"invalid_token\"")),
            ("late", "token-expired", Some("error=\"invalid_token\"")),
        ];
        for (name, label, error) in strange {
            let admin = Admin::new();
            admin.gate.platform.advance(60_000);
            let (response, record) = admin.send(sample.head(name), &sample.body);
            assert_eq!(refused(&response), (401, label.to_owned()), "{name} {}", sample.target);
            let challenge = response.field("www-authenticate").unwrap();
            assert!(challenge.starts_with("Bearer realm=\"edgeweir\""), "{challenge}");
            assert_eq!(challenge.contains("invalid_token"), error.is_some(), "{challenge}");
            assert_eq!((record.verdict, record.reason), (Verdict::Refused, Some(label)));
            assert!(LogLevel::Warn.admits(&record) && !LogLevel::Error.admits(&record));
            assert!(record.line().contains(&format!("\"reason\":\"{label}\"")), "{}", record.line());
            assert_eq!(admin.active(), "r3");
        }
    }
}

/// Nothing is said about what exists before it is known who asks.
#[test]
fn a_stranger_sees_no_difference_between_what_is_there_and_what_is_not() {
    for (method, target) in [("GET", "/nothing"), ("DELETE", "/policy"), ("GET", ""), ("GET", "/policy?x=1")]
    {
        let admin = Admin::new();
        let (response, _) = admin.send(Admin::head("nobody", method, target), "");
        assert_eq!(refused(&response), (401, "unauthenticated".to_owned()), "{target}");
        assert!(response.field("allow").is_none());
    }
}

#[test]
fn there_is_no_api_without_tokens() {
    for sample in samples() {
        let mut admin = Admin::new();
        admin.gate.isolate = Isolate::new("test", 7);
        let (response, record) = admin.send(sample.head("owner"), &sample.body);
        assert_eq!(refused(&response), (404, "no-such-endpoint".to_owned()));
        assert!(response.field("www-authenticate").is_none());
        assert_eq!(record.reason, Some("no-such-endpoint"));
        assert_eq!(admin.audit().len(), 3);
        // As what nobody serves.
        let nothing = admin.gate.send(&get("/_weir/nothing")).0;
        let without_id = |response: &crate::fake::Response| {
            let mut problem = response.json();
            problem["request_id"].take();
            problem
        };
        assert_eq!(without_id(&response), without_id(&nothing));
    }
}

#[test]
fn with_hosts_it_is_there_on_these_only() {
    let hosts = json!(["Admin.Example", "other.example:8443"]);
    let admin = Admin::acting_on(&json!({"version": 1, "admin": {"hosts": hosts}}));
    let ask = |scheme: &str, host: &str| {
        let head = Admin::head("owner", "GET", "/health").to(scheme, host);
        admin.send(head, "").0
    };
    for (scheme, host) in [
        ("https", "admin.example"),
        ("https", "ADMIN.example."),
        ("https", "admin.example:443"),
        ("http", "admin.example"),
        ("https", "other.example:8443"),
    ] {
        assert_eq!(ask(scheme, host).status, 200, "{host}");
    }
    for (scheme, host) in [
        ("https", "app.example"),
        ("https", "admin.example:8443"),
        ("http", "admin.example:443"),
        ("https", "x.admin.example"),
        ("https", "other.example"),
    ] {
        assert_eq!(refused(&ask(scheme, host)), (404, "no-such-endpoint".to_owned()), "{host}");
    }
    // Somebody unknown learns no more, and is not written down.
    let head = Admin::head("nobody", "GET", "/health");
    assert_eq!(refused(&admin.send(head, "").0), (404, "no-such-endpoint".to_owned()));
    assert!(admin.audit().is_empty());
    // Health is for everybody, everywhere.
    assert_eq!(admin.gate.send(&get("/_weir/health")).0.status, 200);
}

#[test]
fn a_path_is_the_apis_however_it_is_spelt() {
    let admin = Admin::new();
    for path in ["/_weir/admin/v1/policy", "//_weir//admin/v1/policy/", "/%5Fweir/%61dmin/v1/polic%79"] {
        let head = request("GET", path).with("Authorization", &format!("Bearer {}", token("reader")));
        assert_eq!(admin.send(head, "").0.field("etag").unwrap(), "\"r3\"", "{path}");
    }
    for path in [
        "/_weir/admin",
        "/_weir/admin/v1",
        "/_weir/admin/v2/policy",
        "/_weir/admin/V1/policy",
        "/_weir/admin/v1/Policy",
        "/_weir/admin/v1/policy/x",
        "/_weir/admin/v1/policy%2Fdiff",
        "/_weir/admin/v1/policy.json",
    ] {
        let head = request("GET", path).with("Authorization", &format!("Bearer {}", token("reader")));
        let (response, _) = admin.send(head, "");
        assert_eq!(refused(&response), (404, "no-such-endpoint".to_owned()), "{path}");
        // Whoever brings a good token may be mistaken.
        assert_eq!(admin.audit().len(), 3, "{path}");
    }
    // No part of the API: the public side answers.
    for path in ["/_weir/admins", "/_weir/admin.x", "/_weir/Admin/v1/policy"] {
        let (response, record) = admin.gate.send(&get(path));
        assert_eq!(refused(&response), (404, "no-such-endpoint".to_owned()), "{path}");
        assert_eq!(record.reason, Some("no-such-endpoint"));
    }
}

#[test]
fn another_method_is_told_which_would_do() {
    let allowed = [
        ("/policy", "GET, HEAD, PUT"),
        ("/policy/validate", "POST"),
        ("/policy/diff", "POST, GET, HEAD"),
        ("/policy/rollback", "POST"),
        ("/policy/history", "GET, HEAD"),
        ("/explain", "POST"),
        ("/replay", "POST"),
        ("/audit", "GET, HEAD"),
        ("/health", "GET, HEAD"),
        ("/openapi.json", "GET, HEAD"),
        ("/schema.json", "GET, HEAD"),
        ("/address-sets", "GET, HEAD"),
        ("/address-sets/{name}", "DELETE, PUT"),
        ("/address-sets/{name}/refresh", "POST"),
        ("/address/{ip}", "GET, HEAD"),
        ("/bans", "GET, HEAD, POST, DELETE"),
        ("/purges", "GET, HEAD"),
        ("/purge", "POST"),
        ("/cache", "GET, HEAD"),
        ("/cache/warm", "POST"),
        ("/limits", "GET, HEAD"),
        ("/limits/look", "POST"),
        ("/limits/reset", "POST"),
        // A set may have that name.
        ("/address-sets/rollback", "DELETE, POST, PUT"),
    ];
    assert!(ENDPOINTS.iter().all(|endpoint| allowed.iter().any(|(path, _)| *path == endpoint.path)));
    for (path, allow) in allowed {
        for method in ["DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "get", "QUERY"] {
            if allow.contains(method) {
                continue;
            }
            let path = path.replace("{name}", "drop").replace("{ip}", "192.0.2.7");
            let admin = Admin::new();
            let (response, record) = admin.send(Admin::head("owner", method, &path), "");
            assert_eq!(refused(&response), (405, "method-not-allowed".to_owned()), "{method} {path}");
            assert_eq!(response.field("allow").unwrap(), allow);
            assert_eq!(record.reason, Some("method-not-allowed"));
        }
    }
}

#[test]
fn head_is_a_get() {
    for sample in samples().iter().filter(|sample| sample.method == "GET") {
        let admin = Admin::new();
        let get = admin.send(sample.head("reader"), "").0;
        let mut head = sample.head("reader");
        head.method = http::Method::HEAD;
        let head = admin.send(head, "").0;
        assert_eq!(head.status, 200, "{}", sample.target);
        let fields = |response: &crate::fake::Response| -> Vec<String> {
            response.fields.iter().map(|(name, _)| name.to_string()).collect()
        };
        assert_eq!(fields(&get), fields(&head));
    }
    let (response, _) = Admin::new().send(Admin::head("reader", "HEAD", "/policy/rollback"), "");
    assert_eq!(refusal(&response), "method-not-allowed");
}

#[test]
fn the_reason_of_a_bad_state_is_for_readers() {
    let mut admin = Admin::new();
    admin.gate.degraded = true;
    let health = |name: &str| {
        let head = get("/_weir/health");
        let head = if name.is_empty() {
            head
        } else {
            head.with("Authorization", &format!("Bearer {}", token(name)))
        };
        admin.gate.send(&head).0.json()
    };
    for name in ["reader", "operator", "owner", "late"] {
        assert_eq!(health(name)["reason"], "broken on purpose", "{name}");
    }
    admin.gate.platform.advance(60_000);
    for name in ["", "nobody", "late"] {
        let health = health(name);
        assert_eq!(health["status"], "degraded");
        assert!(health.get("reason").is_none(), "{name}: {health}");
    }
    assert_eq!(admin.get("reader", "/health").json()["reason"], "broken on purpose");
}

#[test]
fn every_refusal_has_a_label_a_status_and_a_title_of_its_own() {
    let labels: BTreeSet<&str> = Refusal::ALL.into_iter().map(Refusal::as_str).collect();
    let titles: BTreeSet<&str> = Refusal::ALL.into_iter().map(Refusal::title).collect();
    assert_eq!((labels.len(), titles.len()), (Refusal::ALL.len(), Refusal::ALL.len()));
    for refusal in Refusal::ALL {
        assert!((400..=599).contains(&refusal.status()));
        assert_eq!(refusal.is_failure(), refusal.status() >= 500, "{refusal:?}");
        assert!(refusal.as_str().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'));
    }
}

#[test]
fn the_first_policy_can_be_pushed_where_there_is_none() {
    let admin = Admin::empty();
    assert_eq!(refused(&admin.get("reader", "/policy")), (404, "no-such-revision".to_owned()));
    assert_eq!(admin.get("reader", "/policy/history").json(), json!({"revisions": [], "more": false}));
    let health = admin.get("reader", "/health");
    assert_eq!((health.status, &health.json()["status"]), (200, &json!("unavailable")));
    assert_eq!(health.json()["control"]["active"], "r0");
    let diff = admin.send(Admin::head("reader", "POST", "/policy/diff"), &control::document("a")).0;
    assert_eq!((diff.status, &diff.json()["base"]), (200, &json!("r0")));
    assert!(!diff.json()["changes"].as_array().unwrap().is_empty());
    let explained = admin.post("reader", "/explain", &json!({"url": "https://app.example/"}));
    assert_eq!(
        (explained.status, &explained.json()["revision"]),
        (200, &json!("none")),
        "{}",
        explained.body
    );
    let head = Admin::head("operator", "PUT", "/policy").with("If-None-Match", "*");
    let pushed = admin.send(head, &control::document("a")).0;
    assert_eq!((pushed.status, &pushed.json()["revision"]), (201, &json!("r1")), "{}", pushed.body);
    assert!(admin.gate.isolate.changed.get().is_some());
    // Other requests are refused as before, until the isolate has it.
    assert_eq!(admin.gate.send(&get("/")).0.status, 503);
}

/// One address's rules shut nobody out of the API.
#[test]
fn no_rule_of_the_policy_reaches_the_api() {
    let policy = json!({
        "version": 1,
        "ip_filter": {"default": "deny"},
        "rate_limit": {"rules": [{"id": "one", "max": 1, "window": "1h", "counting": "local"}]},
        "routes": [{"id": "all", "upstream": "app"}],
        "upstreams": {"app": {"origin": "http://app.internal"}},
    });
    let admin = Admin::acting_on(&policy);
    for _ in 0..3 {
        assert_eq!(admin.get("reader", "/health").status, 200);
    }
    assert_eq!(admin.gate.sent_count(), 0);
    assert_eq!(PREFIX, "/_weir/admin/v1");
}

/// What fails about a feed: how often for everybody, which for who may read.
/// No balancer takes the gateway out for it.
#[test]
fn alerts_are_a_number_for_everybody_and_a_list_for_readers() {
    let mut admin = Admin::new();
    let health = |admin: &Admin, name: &str| {
        let head = get("/_weir/health");
        let bearer = || format!("Bearer {}", token(name));
        let head = if name.is_empty() { head } else { head.with("Authorization", &bearer()) };
        let response = admin.gate.send(&head).0;
        (response.status, response.json())
    };
    let (_, good) = health(&admin, "reader");
    assert!(
        good["status"] == "ok" && good.get("alerts").is_none() && good.get("alert_list").is_none(),
        "{good}"
    );
    assert!(admin.get("reader", "/health").json().get("alerts").is_none());
    admin.gate.snapshot.alerts = ["drop", "aws"]
        .map(|name| Alert {
            kind: "feed".to_owned(),
            name: name.to_owned(),
            reason: "shrunk".to_owned(),
            since: "2026-01-01T00:00:00.000Z".to_owned(),
        })
        .to_vec();
    for name in ["", "nobody", "reader", "owner"] {
        let (status, health) = health(&admin, name);
        assert_eq!(
            (status, &health["status"], &health["alerts"]),
            (200, &json!("degraded"), &json!(2)),
            "{name}"
        );
        let known = health["alert_list"].as_array();
        assert_eq!(known.map(Vec::len), ["reader", "owner"].contains(&name).then_some(2), "{name}: {health}");
        assert_eq!(health.to_string().contains("shrunk"), known.is_some());
    }
    let own = admin.get("reader", "/health").json();
    assert_eq!((&own["status"], &own["alerts"][1]["name"]), (&json!("degraded"), &json!("aws")));
    // Where there is no policy, that is what counts.
    admin.gate.available = false;
    assert_eq!((health(&admin, "").0, health(&admin, "").1["status"].clone()), (503, json!("unavailable")));
}
