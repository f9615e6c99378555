//! `Weir-Cache-Bypass` on the journey.

use edgeweir::explain::{Context, ExplainRequest, explain};
use edgeweir::gateway::Isolate;
use edgeweir::stages::cache::bypass_token::BypassKey;
use edgeweir::stages::ip_filter::Sets;
use serde_json::{Value, json};

use super::route;
use crate::admin::token;
use crate::cache::bypass_token::{FOR_ALL, KEY};
use crate::fake::{Gate, Response, With, block_on, get, request};

const NAME: &str = "Weir-Cache-Bypass";
const LATE: u64 = 3_600_000;

fn keyed(stages: &Value) -> Gate {
    let mut gate = route(stages);
    gate.isolate = Isolate::new("test", 7).with_bypass_key(Some(BypassKey::new(KEY).unwrap()));
    gate.platform.origin(|sent| {
        let fields = sent.fields.iter().filter(|(name, _)| name.as_str().contains("cache")).count();
        assert_eq!(fields, 0, "{sent:?}");
        Response::new(200).with("Cache-Control", "max-age=600").with("ETag", "\"v1\"").body(&sent.url)
    });
    gate
}

fn status(gate: &Gate, token: &str) -> String {
    gate.send(&get("/a?utm_source=x").with(NAME, token)).0.field("cache-status").unwrap_or_default()
}

fn notes(gate: &Gate, token: &str) -> Vec<&'static str> {
    let (_, record) = gate.send(&get("/a").with(NAME, token));
    record.stages.iter().filter(|stage| stage.stage == "cache").map(|stage| stage.verdict).collect()
}

const PAST: &str = "edgeweir; fwd=bypass; fwd-status=200; detail=bypass-token";

#[test]
fn a_good_token_passes_the_cache() {
    for tiers in [&["memory"][..], &["location"]] {
        let gate = keyed(&json!({"cache": {"tiers": tiers, "key": {"query": {"preset": "tracking"}}}}));
        // It neither reads nor writes.
        assert_eq!(status(&gate, FOR_ALL), PAST);
        assert!(gate.platform.stored.borrow().is_empty() && gate.platform.bodies.borrow().is_empty());
        // What it gets is what the origin makes of the request as it was sent.
        assert_eq!(gate.the_last_url(), "http://app.internal/a?utm_source=x");
        gate.send(&get("/a"));
        assert_eq!(gate.the_last_url(), "http://app.internal/a");
        assert_eq!(status(&gate, FOR_ALL), PAST);
        let (hit, record) = gate.send(&get("/a"));
        assert_eq!(hit.field("cache-status").unwrap(), "edgeweir; hit; ttl=600");
        assert!(record.stages.is_empty());
        assert_eq!(gate.sent_count(), 3);
        assert_eq!(notes(&gate, FOR_ALL), ["bypass-token"]);
    }
}

#[test]
fn any_other_is_ignored_and_noted() {
    let gate = keyed(&json!({"cache": {"tiers": ["memory"]}}));
    gate.send(&get("/a"));
    let mut wrong = FOR_ALL.to_owned();
    wrong.replace_range(wrong.len() - 2..wrong.len() - 1, "A");
    for (text, verdict) in [
        (wrong.as_str(), "bypass-signature"),
        ("v1", "bypass-malformed"),
        (&token("owner"), "bypass-malformed"),
        (&format!("Bearer {}", token("owner")), "bypass-malformed"),
        (&format!("{FOR_ALL}, {FOR_ALL}"), "bypass-malformed"),
    ] {
        assert_eq!(notes(&gate, text), [verdict], "{text}");
    }
    gate.platform.advance(LATE);
    gate.platform.origin(|_| Response::new(200).with("Cache-Control", "max-age=600"));
    gate.send(&get("/a"));
    let sent = gate.sent_count();
    assert_eq!(notes(&gate, FOR_ALL), ["bypass-expired"]);
    assert_eq!(gate.sent_count(), sent);
}

/// Twice looked up, once noted.
#[test]
fn who_waits_is_noted_once() {
    let gate = keyed(&json!({"cache": {"tiers": ["memory"]}}));
    let (one, other) = (get("/a"), get("/a").with(NAME, "v1"));
    let (_, (response, record)) = crate::fake::both(gate.sending(&one), gate.sending(&other));
    assert_eq!(response.field("cache-status").unwrap(), "edgeweir; fwd=uri-miss; collapsed; ttl=600");
    assert_eq!(record.stages.len(), 1, "{:?}", record.stages);
}

/// Whatever it says, wherever: no origin sees it, nor another spelling of it.
#[test]
fn it_never_reaches_an_origin() {
    for stages in [json!({}), json!({"cache": {}}), json!({"cache": {"mode": "off"}})] {
        for gate in [keyed(&stages), route(&stages)] {
            for (method, text) in [("GET", FOR_ALL), ("GET", "x"), ("POST", FOR_ALL), ("HEAD", "")] {
                for name in [NAME, "Weir_Cache_Bypass", "Weir-Cache_Bypass", "weir_cache-bypass"] {
                    gate.send(&request(method, "/a").with(name, text).with("Connection", NAME));
                }
            }
            let sent = gate.platform.sent.borrow();
            assert!(sent.len() >= 9, "{}", sent.len());
            for sent in sent.iter() {
                let left = sent
                    .fields
                    .iter()
                    .any(|(name, _)| name.as_str().replace('_', "-") == "weir-cache-bypass");
                assert!(!left, "{sent:?}");
            }
        }
    }
}

/// Without the secret it says nothing, and nothing is said of it.
#[test]
fn without_a_key_there_are_no_tokens() {
    let mut gate = keyed(&json!({"cache": {"tiers": ["memory"]}}));
    gate.isolate = Isolate::new("test", 7);
    gate.send(&get("/a"));
    assert_eq!(notes(&gate, FOR_ALL), [""; 0]);
    assert_eq!(gate.sent_count(), 1);
}

/// A token is no way around a rule.
#[test]
fn checks_come_first() {
    let limit = json!({"id": "one", "max": 1, "window": "1h", "counting": "local"});
    let gate = keyed(&json!({"cache": {}, "rate_limit": {"rules": [limit]}}));
    assert_eq!(gate.send(&get("/a").with(NAME, FOR_ALL)).0.status, 200);
    assert_eq!(gate.send(&get("/a").with(NAME, FOR_ALL)).0.status, 429);
}

#[test]
fn explain_says_what_a_token_does() {
    let gate = keyed(&json!({"cache": {}}));
    let context = Context {
        gateway: &gate.snapshot.gateway,
        sets: Sets::new(&gate.snapshot.gateway.sets, None),
        bans: None,
        revision: "r1",
        isolate: &gate.isolate,
        fresh: 7,
    };
    let said = |token: &str| {
        let asked = json!({"url": "https://app.example/a", "headers": {NAME: token}, "client": "192.0.2.1"});
        let asked = ExplainRequest::parse(&asked.to_string()).unwrap();
        let explanation = block_on(explain(&asked, &context, &gate.platform));
        let text = serde_json::to_string(&explanation).unwrap();
        assert!(!text.contains(token), "{text}");
        let explanation: Value = serde_json::from_str(&text).unwrap();
        explanation["stages"]
            .as_array()
            .unwrap()
            .iter()
            .find(|stage| stage["stage"] == "cache")
            .unwrap()
            .clone()
    };
    let good = said(FOR_ALL);
    assert_eq!(good["verdict"], "bypass");
    assert_eq!(good["cache"]["token"], "bypass-token");
    assert_eq!(
        (&good["cache"]["because"], &good["cache"]["fields"]),
        (&json!("bypass"), &json!(["weir-cache-bypass"]))
    );
    assert_eq!(good["cache"]["may_store"], false);
    let bad = said("v1.1.YQ.AAAA");
    assert_eq!((&bad["verdict"], &bad["cache"]["token"]), (&json!("lookup"), &json!("bypass-signature")));
}
