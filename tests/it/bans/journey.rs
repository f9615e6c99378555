//! Bans on the journey of a request.

use edgeweir::observe::record::Verdict;
use serde_json::{Value, json};

use super::{at, ban};
use crate::explain::explained;
use crate::fake::{Gate, With, get};

pub fn policy(more: &Value) -> Value {
    let mut policy = json!({
        "version": 1,
        "upstreams": {"app": {"origin": "http://app.internal"}},
        "routes": [{"id": "all", "upstream": "app"}],
    });
    for (name, value) in more.as_object().unwrap() {
        policy[name] = value.clone();
    }
    policy
}

fn gate(more: &Value, bans: &[(&str, u64, &str)]) -> Gate {
    Gate::new(&policy(more)).with_bans(1, bans)
}

#[test]
fn a_banned_client_is_told_when_to_come_again_and_why() {
    let gate = gate(&json!({}), &[("192.0.2.0/24", 90_500, "manual")]);
    let (response, record) = gate.send(&get("/"));
    assert_eq!((response.status, response.field("Retry-After").as_deref()), (403, Some("90")));
    assert_eq!(response.json()["type"], "urn:edgeweir:problem:banned");
    assert_eq!((record.verdict, record.reason), (Verdict::Refused, Some("banned")));
    let stage = &record.stages[0];
    assert_eq!((stage.stage, stage.verdict, stage.shadow), ("entry.bans", "deny", false));
    assert_eq!((stage.rule.as_deref(), stage.prefix.as_deref()), (Some("manual"), Some("192.0.2.0/24")));
    assert_eq!(gate.sent_count(), 0);
    let request = edgeweir::explain::ExplainRequest::parse(
        &json!({"url": "https://app.example/", "client": "192.0.2.1"}).to_string(),
    );
    let explanation = explained(&gate, &request.unwrap());
    assert_eq!((explanation.status, explanation.reason), (Some(403), Some("banned")));
    let stage = &explanation.stages[2];
    assert_eq!((stage.stage, stage.prefix.as_deref()), ("entry.bans", Some("192.0.2.0/24")));
    assert_eq!(stage.note.as_deref(), Some("until 2026-01-01T00:01:30.000Z"));
    // To the second, and not beyond.
    gate.platform.advance(89_999);
    assert_eq!(gate.send(&get("/")).0.field("Retry-After").as_deref(), Some("1"));
    gate.platform.advance(1);
    assert_eq!(gate.send(&get("/")).0.status, 200);
}

#[test]
fn the_guard_list_goes_first_and_bans_go_before_rules() {
    let allow = json!({"rules": [{"id": "friends", "action": "allow", "prefixes": ["192.0.2.0/24"]}]});
    let gate = gate(
        &json!({"guard_list": ["192.0.2.9"], "ip_filter": allow}),
        &[("192.0.2.0/24", 60_000, "manual")],
    );
    assert_eq!(gate.send(&get("/")).1.reason, Some("banned"));
    let (response, record) = gate.send(&get("/").from("192.0.2.9"));
    assert_eq!((response.status, record.stages[0].verdict), (200, "guarded"));
}

#[test]
fn what_is_ours_is_past_bans() {
    let gate = gate(&json!({}), &[("192.0.2.0/24", 60_000, "manual")]);
    assert_eq!(gate.send(&get("/_weir/health")).0.status, 200);
}

#[test]
fn in_shadow_a_ban_is_noted_and_masks_none_that_acts() {
    let shadow = gate(&json!({"bans": {"mode": "shadow"}}), &[("192.0.2.0/24", 60_000, "manual")]);
    let (response, record) = shadow.send(&get("/"));
    assert_eq!((response.status, record.stages[0].verdict, record.stages[0].shadow), (200, "deny", true));
    let off = gate(&json!({"bans": {"mode": "off"}}), &[("192.0.2.0/24", 60_000, "manual")]);
    assert!(off.send(&get("/")).1.stages.is_empty());
    // One trigger's bans are in shadow and end later.
    let triggers =
        json!({"bans": {"triggers": [{"id": "s", "mode": "shadow", "refusals": true, "threshold": 9}]}});
    let both = gate(&triggers, &[("192.0.2.0/24", 60_000, "s"), ("192.0.2.1", 30_000, "manual")]);
    assert_eq!(both.send(&get("/")).1.stages[0].rule.as_deref(), Some("manual"));
    both.platform.advance(30_000);
    let (response, record) = both.send(&get("/"));
    assert_eq!((response.status, record.stages[0].rule.as_deref()), (200, Some("s")));
}

#[test]
fn the_answer_is_the_policys() {
    let with = |answer: Value| {
        let gate = gate(&json!({"bans": {"answer": answer}}), &[("192.0.2.0/24", 60_000, "manual")]);
        gate.send(&get("/")).0
    };
    let hidden = with(json!({"status": 404}));
    assert_eq!((hidden.status, hidden.field("Retry-After")), (404, None));
    assert_eq!(hidden.json()["type"], "urn:edgeweir:problem:no-route");
    let own = with(json!({"status": 429, "body": "Come back later."}));
    assert_eq!((own.status, own.body.as_str()), (429, "Come back later."));
    assert_eq!(own.field("Retry-After").as_deref(), Some("60"));
}

/// What an isolate knows besides the manifest acts until the manifest knows.
#[test]
fn the_isolates_own_bans_act_until_the_manifest_decides() {
    let mut gate = gate(&json!({}), &[]);
    assert_eq!(gate.send(&get("/")).0.status, 200);
    gate.isolate.hold_ban(ban("192.0.2.1", 600_000, "manual"), Some(3), at(0));
    assert_eq!(gate.send(&get("/")).1.reason, Some("banned"));
    gate = gate.with_bans(2, &[]);
    assert_eq!(gate.send(&get("/")).1.reason, Some("banned"));
    // It was lifted, or never came there: the manifest decides.
    gate = gate.with_bans(3, &[]);
    assert_eq!(gate.send(&get("/")).0.status, 200);
}
