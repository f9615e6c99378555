//! Limits: in log order, from an empty state, and in doubt where that is not
//! known.

use edgeweir::replay::Verdict::{Changed, Same, Undecidable};
use serde_json::{Value, json};

use super::{log_of, replay};
use crate::fake::{Fault, Gate};

fn policy(rules: &Value) -> Value {
    json!({
        "version": 1,
        "upstreams": {"app": {"origin": "http://app.internal"}},
        "routes": [
            {"id": "all", "upstream": "app", "rate_limit": {"rules": rules}},
            {"id": "beta", "upstream": "app", "match": {"path": "/beta", "headers": {"X-Beta": "1"}}},
        ],
    })
}

fn few(counting: &str) -> Value {
    json!([{"id": "few", "max": 2, "window": "60s", "counting": counting}])
}

const ONE: [&str; 4] = ["192.0.2.1"; 4];

#[test]
fn both_kinds_of_counting_are_replayed_alike() {
    let lines = log_of(&Gate::new(&policy(&json!([]))), "/", &ONE);
    for counting in ["local", "exact"] {
        let (verdicts, report) = replay(&policy(&few(counting)), &lines);
        assert_eq!(verdicts, [Same, Same, Changed, Changed]);
        let group = &report.groups[0];
        assert_eq!((group.stage.as_str(), group.rule.as_deref()), ("rate_limit", Some("few")));
        assert_eq!((group.what.as_str(), group.records), ("forwarded → refused 429 rate-limited", 2));
        assert_eq!(group.examples.len(), 2);
    }
}

#[test]
fn a_limit_that_goes_lets_pass_what_it_refused() {
    let lines = log_of(&Gate::new(&policy(&few("exact"))), "/", &ONE);
    let (verdicts, report) = replay(&policy(&json!([])), &lines);
    assert_eq!(verdicts, [Same, Same, Changed, Changed]);
    assert_eq!(report.groups[0].what, "refused 429 rate-limited → forwarded");
    assert_eq!(report.groups[0].rule.as_deref(), Some("few"));
}

/// The window is that of the record's time, not of the replay's.
#[test]
fn time_is_the_records_time() {
    let gate = Gate::new(&policy(&json!([])));
    let mut lines = log_of(&gate, "/", &ONE);
    gate.platform.advance(60_000);
    lines.extend(log_of(&gate, "/", &ONE[..1]));
    assert_eq!(replay(&policy(&few("local")), &lines).0, [Same, Same, Changed, Changed, Same]);
}

#[test]
fn shadow_rules_refuse_nothing() {
    let lines = log_of(&Gate::new(&policy(&json!([]))), "/", &ONE);
    let shadow = json!([{"id": "few", "max": 1, "window": "60s", "mode": "shadow"}]);
    assert_eq!(replay(&policy(&shadow), &lines).0, [Same; 4]);
}

/// A request that may have counted leaves its client's counter in doubt until
/// it would be whole again, and no other.
#[test]
fn an_undecidable_request_leaves_its_counter_in_doubt() {
    let gate = Gate::new(&policy(&json!([])));
    let mut lines = log_of(&gate, "/beta", &ONE[..1]);
    lines.extend(log_of(&gate, "/", &["192.0.2.1", "192.0.2.2", "192.0.2.2", "192.0.2.2"]));
    gate.platform.advance(40_000);
    lines.extend(log_of(&gate, "/", &["192.0.2.1", "192.0.2.1"]));
    gate.platform.advance(70_000);
    lines.extend(log_of(&gate, "/", &["192.0.2.1", "192.0.2.1", "192.0.2.1"]));
    let (verdicts, report) = replay(&policy(&few("local")), &lines);
    assert_eq!(
        verdicts,
        [
            // Which route depends on a header field.
            Undecidable,
            Undecidable,
            Same,
            Same,
            Changed,
            // Half a recovery after the second doubt, which prolongs it.
            Undecidable,
            Undecidable,
            Same,
            Same,
            Changed,
        ]
    );
    let what: Vec<&str> = report.groups.iter().map(|group| group.what.as_str()).collect();
    assert_eq!(what, ["forwarded → refused 429 rate-limited", "reads an earlier count", "reads x-beta"]);
}

#[test]
fn a_key_of_a_header_field_is_not_recorded() {
    let lines = log_of(&Gate::new(&policy(&json!([]))), "/", &ONE[..2]);
    let keyed = json!([{"id": "few", "max": 1, "window": "60s", "key": ["client", {"header": "X-Team"}]}]);
    let (verdicts, report) = replay(&policy(&keyed), &lines);
    assert_eq!(verdicts, [Undecidable, Undecidable]);
    assert_eq!(report.groups[0].what, "reads x-team");
    assert_eq!(report.outcomes[0].gap.as_ref().unwrap().reads, "x-team");
}

/// `observe.log.client_address`: what is logged is a network of many clients.
#[test]
fn a_network_is_not_a_client() {
    let mut from = policy(&json!([]));
    from["observe"] = json!({"log": {"client_address": "network"}});
    let gate = Gate::new(&from);
    let lines = log_of(&gate, "/", &["192.0.2.1", "2001:db8:1:2::1", "2001:db8:1:3::1", "2001:db8:1:4::1"]);
    let (verdicts, report) = replay(&policy(&few("local")), &lines);
    assert_eq!(verdicts, [Undecidable; 4]);
    assert_eq!(report.groups[0].what, "reads client");
    // Where clients are counted by as much as is logged, it is one; but the
    // IPv4 client leaves every counter of the rule in doubt.
    let mut coarse = policy(&few("local"));
    coarse["identity"] = json!({"ipv6_prefix": 48});
    assert_eq!(replay(&coarse, &lines).0, [Undecidable; 4]);
    assert_eq!(replay(&coarse, &lines[1..]).0, [Same, Same, Changed]);
}

#[test]
fn a_count_that_failed_leaves_its_rule_in_doubt() {
    let rules = json!([{"id": "few", "max": 2, "window": "60s", "on_failure": "closed"}]);
    let gate = Gate::new(&policy(&rules));
    gate.platform.counter_fault.set(Some(Fault::TimesOut));
    let mut lines = log_of(&gate, "/", &ONE[..1]);
    gate.platform.counter_fault.set(None);
    lines.extend(log_of(&gate, "/", &["192.0.2.1", "192.0.2.2"]));
    let (verdicts, report) = replay(&policy(&rules), &lines);
    assert_eq!(verdicts, [Undecidable, Undecidable, Same]);
    let what: Vec<&str> = report.groups.iter().map(|group| group.what.as_str()).collect();
    assert_eq!(what, ["reads an earlier count", "reads the counter"]);
    // A candidate without the rule does not ask it.
    assert_eq!(replay(&policy(&json!([])), &lines).0, [Changed, Same, Same]);
}

#[test]
fn what_is_refused_before_a_limit_is_not_counted() {
    let mut log = policy(&few("local"));
    log["ip_filter"] = json!({"rules": [{"id": "out", "action": "deny", "prefixes": ["192.0.2.9"]}]});
    let lines = log_of(&Gate::new(&log), "/", &["192.0.2.9", "192.0.2.9", "192.0.2.9"]);
    // Let in, they would meet the limit.
    let (verdicts, report) = replay(&policy(&few("local")), &lines);
    assert_eq!(verdicts, [Changed, Changed, Changed]);
    let what: Vec<&str> = report.groups.iter().map(|group| group.what.as_str()).collect();
    assert_eq!(
        what,
        ["refused 403 address-denied → forwarded", "refused 403 address-denied → refused 429 rate-limited"]
    );
}

/// A flood of clients takes no memory beyond its bound, and makes nothing
/// certain that is not.
#[test]
fn counters_are_bounded() {
    let gate = Gate::new(&policy(&json!([])));
    let template = log_of(&gate, "/", &["10.0.0.0"]).remove(0);
    let flood = (0..51_000_u32).map(|index| {
        let address = std::net::Ipv4Addr::from(0x0a00_0000 + index).to_string();
        template.replace("\"client\":\"10.0.0.0\"", &format!("\"client\":\"{address}\""))
    });
    let lines: Vec<String> = flood.collect();
    let (verdicts, _) = replay(&policy(&few("local")), &lines);
    assert_eq!(verdicts.iter().filter(|verdict| **verdict == Same).count(), 50_000);
    assert!(verdicts[50_000..].iter().all(|verdict| *verdict == Undecidable));
}
