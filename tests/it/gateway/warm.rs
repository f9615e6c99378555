//! Warming: the journey of a URL that an operator has asked for.

use edgeweir::exchange::PlainHead;
use edgeweir::gateway::Acting;
use edgeweir::gateway::warm::{Job, Outcome, Warmed, warm};
use http::Method;
use serde_json::{Value, json};

use super::route;
use crate::fake::{Fault, Gate, Response, With, block_on, get};

/// As the platform would run it.
fn run(gate: &Gate, url: &str, variant: Option<&str>) -> Warmed {
    let head = PlainHead { method: Method::GET, url: url.to_owned(), ..PlainHead::default() };
    run_head(gate, &head, variant)
}

fn run_head(gate: &Gate, head: &PlainHead, variant: Option<&str>) -> Warmed {
    let acting = Acting { snapshot: &gate.snapshot, available: gate.available, degraded: None };
    let job = Job {
        url: head.url.clone(),
        variant: variant.map(str::to_owned),
        address: "198.51.100.7".parse().unwrap(),
        host: "admin.example".to_owned(),
    };
    assert_eq!(Job::decode(&job.encode()), Some(job.clone()));
    let warmed = block_on(warm(&acting, &gate.isolate, &gate.platform, head, &job, gate.fresh()));
    gate.arrive();
    assert_eq!(Warmed::decode(&warmed.encode()), Some(warmed.clone()));
    warmed
}

fn cached(more: &Value) -> Gate {
    let mut stages = json!({"cache": {"tiers": ["memory"]}});
    stages.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let gate = route(&stages);
    gate.platform.origin(|sent| Response::new(200).with("Cache-Control", "max-age=60").body(&sent.url));
    gate
}

fn why(warmed: &Warmed) -> (Outcome, Option<u16>, Option<&str>) {
    (warmed.outcome, warmed.status, warmed.why.as_deref())
}

const URL: &str = "https://app.example/a?b=1";

#[test]
fn what_is_asked_for_is_stored_for_clients() {
    let gate = cached(&json!({}));
    let warmed = run(&gate, URL, None);
    assert_eq!(why(&warmed), (Outcome::Stored, Some(200), None));
    assert_eq!(warmed.said.as_deref(), Some("edgeweir; fwd=uri-miss; fwd-status=200; stored; ttl=60"));
    assert_eq!(gate.send(&get("/a?b=1")).0.field("cache-status").unwrap(), "edgeweir; hit; ttl=60");
    let again = run(&gate, URL, None);
    assert_eq!(why(&again), (Outcome::Hit, Some(200), None));
    assert_eq!(gate.sent_count(), 1);
    // The origin is told who asked, and nobody else.
    let sent = gate.the_sent();
    assert_eq!(sent.field("x-forwarded-for").as_deref(), Some("198.51.100.7"));
    assert_eq!(sent.field("x-forwarded-host").as_deref(), Some("app.example"));
}

#[test]
fn rules_about_clients_are_not_in_its_way() {
    let rules = json!({
        "ip_filter": {"default": "deny", "rules": []},
        "rate_limit": {"rules": [{"id": "one", "max": 1, "window": "1h", "counting": "local"}]},
    });
    let gate = cached(&rules);
    for target in ["/a", "/b", "/c"] {
        let warmed = run(&gate, &format!("https://app.example{target}"), None);
        assert_eq!(warmed.outcome, Outcome::Stored);
    }
    // They are as they were for clients.
    assert_eq!(gate.send(&get("/a")).0.status, 403);
}

#[test]
fn what_may_not_be_stored_is_not() {
    let gate = cached(&json!({}));
    for (name, value, reason) in [
        ("Cache-Control", "no-store", "directive"),
        ("Set-Cookie", "a=b", "set-cookie"),
        ("Vary", "*", "vary"),
    ] {
        gate.platform
            .origin(move |_| Response::new(200).with("Cache-Control", "max-age=60").with(name, value));
        let warmed = run(&gate, URL, None);
        assert_eq!(why(&warmed), (Outcome::NotStored, Some(200), Some(reason)), "{name}");
    }
    gate.platform.origin_fault.set(Some(Fault::Fails));
    assert_eq!(why(&run(&gate, URL, None)), (Outcome::NotStored, Some(502), Some("upstream-unreachable")));
    gate.platform.origin_fault.set(Some(Fault::TimesOut));
    assert_eq!(why(&run(&gate, URL, None)), (Outcome::NotStored, Some(504), Some("upstream-timeout")));
}

/// Only what routes serve.
#[test]
fn it_is_no_proxy() {
    let gate = cached(&json!({"match": {"hosts": ["app.example"]}}));
    assert_eq!(
        why(&run(&gate, "https://evil.example/", None)),
        (Outcome::NotStored, Some(404), Some("no-route"))
    );
    for (url, status, reason) in [
        ("https://app.example/_weir/health", 404, "no-route"),
        ("https://app.example/_weir/admin/v1/policy", 404, "no-route"),
        ("https://app.example/a/../b", 400, "invalid-target"),
        ("https://app.example/a%2Fb", 400, "invalid-target"),
        ("https://user@app.example/", 400, "invalid-host"),
    ] {
        assert_eq!(why(&run(&gate, url, None)), (Outcome::NotStored, Some(status), Some(reason)), "{url}");
    }
    assert_eq!(gate.sent_count(), 0);
    let plain = route(&json!({}));
    assert_eq!(why(&run(&plain, URL, None)), (Outcome::NotStored, Some(504), Some("not-cached")));
    assert_eq!(plain.sent_count(), 0);
    let mut closed = cached(&json!({}));
    closed.available = false;
    assert_eq!(run(&closed, URL, None).why.as_deref(), Some("no-policy"));
}

/// A route for every host that forwards to that host would fetch whatever it
/// is told to.
#[test]
fn where_any_host_would_do_only_the_gateways_own_is_asked() {
    let policy = |matches: Value| {
        let route =
            json!({"id": "all", "match": matches, "upstream": "here", "cache": {"tiers": ["memory"]}});
        let gate = Gate::new(
            &json!({"version": 1, "upstreams": {"here": {"origin": "request"}}, "routes": [route]}),
        );
        gate.platform.origin(|_| Response::new(200).with("Cache-Control", "max-age=60"));
        gate
    };
    let open = policy(json!({}));
    let elsewhere = run(&open, "http://169.254.169.254/latest", None);
    assert_eq!(why(&elsewhere), (Outcome::NotStored, Some(404), Some("no-route")));
    assert_eq!(open.sent_count(), 0);
    assert_eq!(run(&open, "https://admin.example/a", None).outcome, Outcome::Stored);
    let named = policy(json!({"hosts": ["*.app.example"]}));
    assert_eq!(run(&named, "https://www.app.example/a", None).outcome, Outcome::Stored);
    assert_eq!(named.the_last_url(), "https://www.app.example/a");
}

#[test]
fn a_variant_is_warmed_by_name() {
    let variants = json!([{"name": "old", "upstream": "app", "weight": 100}, {"name": "new", "upstream": "app", "weight": 0}]);
    let gate = cached(&json!({"canary": {"variants": variants}}));
    assert_eq!(run(&gate, URL, Some("new")).outcome, Outcome::Stored);
    assert_eq!(run(&gate, URL, Some("old")).outcome, Outcome::Stored);
    assert_eq!(run(&gate, URL, Some("old")).outcome, Outcome::Hit);
    assert_eq!(gate.sent_count(), 2);
    // No sticky cookie is made for it, and clients of the variant hit.
    assert_eq!(gate.send(&get("/a?b=1")).0.field("cache-status").unwrap(), "edgeweir; hit; ttl=60");
}

#[test]
fn fields_select_as_those_of_clients_do() {
    let gate = cached(&json!({}));
    gate.platform.origin(|sent| {
        let body = sent.field("accept-language").unwrap_or_default();
        Response::new(200).with("Cache-Control", "max-age=60").with("Vary", "Accept-Language").body(&body)
    });
    let head = PlainHead { url: URL.to_owned(), ..PlainHead::default() }.with("Accept-Language", "de");
    assert_eq!(run_head(&gate, &head, None).outcome, Outcome::Stored);
    assert_eq!(gate.send(&get("/a?b=1").with("Accept-Language", "de")).0.body, "de");
    assert_eq!(gate.sent_count(), 1);
}
