//! Lines of other kinds, and what a record says and does not say.

use edgeweir::policy::compile;
use edgeweir::replay::Verdict::{self, Changed, Empty, Same, Skipped, Undecidable};
use edgeweir::replay::{Change, LINE_LIMIT, Options, Replay};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{log_of, replay};
use crate::fake::{Gate, Response, With, check, get};

fn policy(rest: &Value) -> Value {
    let mut policy = json!({
        "version": 1,
        "upstreams": {"app": {"origin": "http://app.internal"}, "next": {"origin": "http://next.internal"}},
        "routes": [{"id": "all", "upstream": "app"}],
    });
    for (name, value) in rest.as_object().unwrap() {
        policy[name] = value.clone();
    }
    policy
}

fn one_line() -> String {
    log_of(&Gate::new(&policy(&json!({}))), "/", &["192.0.2.1"]).remove(0)
}

/// The record with one member changed, or removed.
fn with(member: &str, value: Value) -> String {
    let mut record: Value = serde_json::from_str(&one_line()).unwrap();
    if value.is_null() {
        record.as_object_mut().unwrap().remove(member);
    } else {
        record[member] = value;
    }
    record.to_string()
}

#[test]
fn lines_that_are_no_records_are_counted_by_reason() {
    let event = json!({"schema": 1, "event": "policy", "time": "2026-01-01T00:00:00.000Z", "message": "x"});
    let cases = [
        ("too-long", format!("{{\"x\": \"{}\"}}", "x".repeat(LINE_LIMIT))),
        ("not-json", "GET / 200".to_owned()),
        ("not-json", one_line()[..50].to_owned()),
        ("event", event.to_string()),
        ("schema", "{}".to_owned()),
        ("schema", with("schema", json!(2))),
        ("not-a-record", "[1]".to_owned()),
        ("not-a-record", "null".to_owned()),
        ("not-a-record", with("schema", json!("1"))),
        ("not-a-record", with("time", json!(null))),
        ("not-a-record", with("time", json!("yesterday"))),
        ("not-a-record", with("method", json!("G T"))),
        ("not-a-record", with("verdict", json!("maybe"))),
        ("not-a-record", with("status", json!(70_000))),
        ("not-a-record", with("client", json!("192.0.2.0/33"))),
        ("not-a-record", with("host", json!("u@app.example"))),
        ("not-a-record", with("host", json!("APP.example"))),
        ("not-a-record", with("path", json!("/a/../b"))),
        ("not-a-record", with("path", json!(null))),
        ("not-a-record", with("route", json!("x".repeat(200)))),
        ("not-a-record", with("reason", json!("line\nfeed"))),
        ("no-policy", with("reason", json!("no-policy"))),
    ];
    for (reason, line) in cases {
        let (verdicts, report) = replay(&policy(&json!({})), std::slice::from_ref(&line));
        assert_eq!(verdicts, [Skipped], "{line}");
        assert_eq!(report.skipped.into_iter().collect::<Vec<_>>(), [(reason, 1)], "{line}");
        assert_eq!(report.records, 0);
    }
    assert_eq!(replay(&policy(&json!({})), &[String::new(), "  \r".to_owned()]).0, [Empty, Empty]);
}

#[test]
fn members_that_are_not_known_are_ignored() {
    let line = with("bytes", json!({"sent": 7}));
    assert_eq!(replay(&policy(&json!({})), &[line]).0, [Same]);
}

/// Whatever stands in a log, it is counted and survived.
#[test]
fn no_line_is_too_strange() {
    let gateway = compile(&policy(&json!({})).to_string()).unwrap();
    let replay = std::cell::RefCell::new(Replay::new(&gateway, Options { outcomes: 10 }));
    let members = prop::sample::select(vec![
        "time", "client", "method", "host", "path", "route", "verdict", "reason", "status", "stages",
        "variant",
    ]);
    let values = prop_oneof![
        any::<String>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        prop::sample::select(vec![
            json!("::/0"),
            json!([[]]),
            json!({}),
            json!("forwarded"),
            json!("app.example:80")
        ]),
    ];
    check(1_000, (members, values, any::<String>()), |(member, value, text)| {
        replay.borrow_mut().line(&with(member, value));
        replay.borrow_mut().line(&text);
        Ok(())
    });
    let report = replay.into_inner().finish();
    assert_eq!(report.records, report.same + report.changed + report.undecidable);
    assert!(report.outcomes.len() <= 10);
    assert!(!report.text().chars().any(|character| character.is_control() && character != '\n'));
}

#[test]
fn a_route_an_upstream_and_a_variant_that_change_are_told() {
    let lines = log_of(&Gate::new(&policy(&json!({}))), "/a/b", &["192.0.2.1"]);
    let told = |rest: Value| {
        let (_, report) = replay(&policy(&rest), &lines);
        let judged = report.outcomes[0].clone();
        let group = &report.groups[0];
        (
            judged.changes,
            format!("{} {}: {}", group.stage, group.rule.clone().unwrap_or_default(), group.what),
        )
    };
    assert_eq!(
        told(json!({"routes": [{"id": "other", "upstream": "app"}]})),
        (vec![Change::Route], "route other: all → other".to_owned())
    );
    assert_eq!(
        told(json!({"routes": [{"id": "all", "upstream": "next"}]})),
        (vec![Change::Upstream], "upstream all: app → next".to_owned())
    );
    let variants = json!([{"name": "stable", "upstream": "app", "weight": 0}, {"name": "next", "upstream": "next", "weight": 100}]);
    assert_eq!(
        told(json!({"routes": [{"id": "all", "upstream": "app", "canary": {"variants": variants}}]})),
        (vec![Change::Variant, Change::Upstream], "canary all: none → next".to_owned())
    );
    assert_eq!(
        told(json!({"routes": [{"id": "all", "upstream": "app", "match": {"path": "/b"}}]})),
        (vec![Change::Verdict], "route : forwarded → refused 404 no-route".to_owned())
    );
}

/// The unit of a sticky canary stands in a cookie. But what is known already
/// may say enough.
#[test]
fn a_sticky_canary_is_undecidable_unless_something_else_changes() {
    let canary = |first: u32, sticky: bool| {
        let mut canary = json!({"variants": [
            {"name": "stable", "upstream": "app", "weight": first}, {"name": "next", "upstream": "next", "weight": 100 - first}]});
        if sticky {
            canary["sticky"] = json!({"cookie": "weir"});
        }
        policy(&json!({"routes": [{"id": "all", "upstream": "app", "canary": canary}]}))
    };
    let verdict = |candidate: &Value, line: &str| -> Verdict { replay(candidate, &[line.to_owned()]).0[0] };
    let line = log_of(&Gate::new(&canary(50, true)), "/", &["192.0.2.1"]).remove(0);
    assert_eq!(verdict(&canary(50, true), &line), Undecidable);
    // Without the cookie the client's network decides, which is recorded.
    assert_eq!(verdict(&canary(50, false), &line), Same);
    // A variant with all the weight needs no unit.
    let variant = serde_json::from_str::<Value>(&line).unwrap()["variant"].as_str().unwrap().to_owned();
    let (all, none) = if variant == "stable" { (100, 0) } else { (0, 100) };
    assert_eq!(verdict(&canary(all, true), &line), Same);
    assert_eq!(verdict(&canary(none, true), &line), Changed);
    // It was refused, and is not any more: whichever variant, that is news.
    let denied = policy(&json!({"ip_filter": {"default": "deny"}}));
    let line = log_of(&Gate::new(&denied), "/", &["192.0.2.1"]).remove(0);
    assert_eq!(verdict(&canary(50, true), &line), Changed);
}

/// A hit and a forwarded request are one to a replay; what goes another way
/// before the cache is not.
#[test]
fn a_stored_answer_compares_up_to_the_cache() {
    let cached = policy(&json!({"routes": [{"id": "all", "upstream": "app", "cache": {}}]}));
    let gate = Gate::new(&cached);
    gate.platform.origin(|_| Response::new(200).with("Cache-Control", "max-age=60"));
    let mut lines = log_of(&gate, "/", &["192.0.2.1", "192.0.2.1"]);
    assert!(lines[1].contains("\"verdict\":\"cached\""));
    let only = gate.send(&get("/none").with("Cache-Control", "only-if-cached")).1;
    assert_eq!(only.reason, Some("not-cached"));
    lines.push(only.line());
    assert_eq!(replay(&cached, &lines).0, [Same, Same, Same]);
    // Without a cache nobody is told that nothing is stored.
    assert_eq!(replay(&policy(&json!({})), &lines).0, [Same, Same, Changed]);
    let elsewhere = policy(&json!({"routes": [{"id": "all", "upstream": "next", "cache": {}}]}));
    assert_eq!(replay(&elsewhere, &lines).0, [Changed, Same, Same]);
}

#[test]
fn a_network_against_longer_prefixes_is_undecidable() {
    let logged = policy(&json!({"observe": {"log": {"client_address": "network"}}}));
    let line = log_of(&Gate::new(&logged), "/", &["192.0.2.1"]).remove(0);
    let against = |prefixes: Value| {
        let rules = json!([{"id": "wide", "action": "allow", "prefixes": ["0.0.0.0/0"]},
                           {"id": "out", "action": "deny", "prefixes": prefixes}]);
        let (verdicts, report) =
            replay(&policy(&json!({"ip_filter": {"rules": rules}})), std::slice::from_ref(&line));
        let gap = report.outcomes.first().and_then(|judged| judged.gap.clone());
        (verdicts[0], gap.map(|gap| (gap.stage, gap.rule, gap.reads)))
    };
    let gap = Some(("entry.ip_filter", Some("out".to_owned()), "client".to_owned()));
    assert_eq!(against(json!(["192.0.2.128/25"])), (Undecidable, gap));
    assert_eq!(against(json!(["192.0.2.0/24"])), (Changed, None));
    assert_eq!(against(json!(["192.0.2.0/25", "192.0.2.128/25"])), (Changed, None));
    assert_eq!(against(json!(["192.0.0.0/16"])), (Changed, None));
    assert_eq!(against(json!(["198.51.100.0/25"])), (Same, None));
}

#[test]
fn without_any_address_only_rules_for_everybody_are_decidable() {
    let logged = policy(&json!({"observe": {"log": {"client_address": "none"}}}));
    let line = log_of(&Gate::new(&logged), "/", &["192.0.2.1"]).remove(0);
    let against =
        |filter: Value| replay(&policy(&json!({"ip_filter": filter})), std::slice::from_ref(&line)).0[0];
    assert_eq!(against(json!({"default": "deny"})), Changed);
    assert_eq!(against(json!({})), Same);
    let rule = |action: &str, prefixes: Value| json!({"rules": [{"id": "a", "action": action, "prefixes": prefixes}]});
    assert_eq!(against(rule("deny", json!(["192.0.2.1"]))), Undecidable);
    assert_eq!(against(rule("deny", json!(["0.0.0.0/0", "::/0"]))), Changed);
    assert_eq!(against(rule("allow", json!(["192.0.2.1"]))), Same);
}

/// The log holds no scheme; it matters only where a route names a port.
#[test]
fn a_port_that_only_the_scheme_tells_is_undecidable() {
    let lines = log_of(&Gate::new(&policy(&json!({}))), "/", &["192.0.2.1"]);
    let on = |host: &str| {
        let routes = json!([{"id": "all", "upstream": "app"}, {"id": "port", "upstream": "next", "match": {"hosts": [host]}}]);
        replay(&policy(&json!({"routes": routes})), &lines).0[0]
    };
    assert_eq!(on("app.example:443"), Undecidable);
    assert_eq!(on("app.example:8443"), Same);
    assert_eq!(on("app.example"), Changed);
}

/// What was cut in the log may be another path.
#[test]
fn a_path_that_was_cut_is_undecidable() {
    let gate = Gate::new(&policy(&json!({})));
    let lines: Vec<String> = [1_022, 1_023, 3_000]
        .iter()
        .map(|length| gate.send(&get(&format!("/{}", "x".repeat(*length)))).1.line())
        .collect();
    assert_eq!(replay(&policy(&json!({})), &lines).0, [Same, Undecidable, Undecidable]);
}

#[test]
fn what_was_malformed_stays_so_where_it_gets_that_far() {
    let gate = Gate::new(&policy(&json!({})));
    let lines = [
        gate.send(&get("/a/../b")).1.line(),
        gate.send(&get("/").to("https", "u@app.example")).1.line(),
        gate.send(&get("/a%2Fb")).1.line(),
    ];
    assert_eq!(replay(&policy(&json!({})), &lines).0, [Same, Same, Same]);
    assert_eq!(replay(&policy(&json!({"ip_filter": {"default": "deny"}})), &lines).0, [Changed; 3]);
    let allowing = json!([{"id": "all", "upstream": "app", "match": {"allow_encoded": ["%2F"]}}]);
    assert_eq!(replay(&policy(&json!({"routes": allowing})), &lines).0, [Same, Same, Changed]);
    // Denied before anybody looked at the target: all that is known now is 400.
    let denied = Gate::new(&policy(&json!({"ip_filter": {"default": "deny"}})));
    let lines = [denied.send(&get("/a/../b")).1.line()];
    let (verdicts, report) = replay(&policy(&json!({})), &lines);
    assert_eq!(verdicts, [Changed]);
    let after = report.outcomes[0].after.clone().unwrap();
    assert_eq!((after.status, after.reason.as_deref()), (Some(400), Some("invalid-target or invalid-host")));
}

#[test]
fn no_policy_decides_about_the_gateways_own_paths() {
    let gate = Gate::new(&policy(&json!({})));
    let lines = ["/_weir/health", "/_weir/nothing"].map(|path| gate.send(&get(path)).1.line());
    let closed = policy(&json!({"ip_filter": {"default": "deny"}}));
    assert_eq!(replay(&closed, &lines).0, [Same, Same]);
}

#[test]
fn an_address_that_could_not_be_read_matters_where_one_is_assumed() {
    let gate = Gate::new(&policy(&json!({})));
    let lines = [gate.send(&get("/").from("garbled")).1.line()];
    assert_eq!(replay(&policy(&json!({})), &lines).0, [Same]);
    let assuming = json!({"identity": {"client_address": {"on_missing": {"address": "127.0.0.1"}}}});
    assert_eq!(replay(&policy(&assuming), &lines).0, [Undecidable]);
    for (address, outcome) in [
        (json!({"trusted_hops": ["10.0.0.0/8"]}), Same),
        (json!({"trusted_hops": ["10.0.0.0/8"], "on_short_chain": "peer"}), Same),
        (json!({"trusted_hops": ["10.0.0.0/8"], "on_garbled_chain": "peer"}), Undecidable),
        (json!({"trusted_depth": 1}), Same),
        (json!({"trusted_depth": 1, "on_short_chain": "peer"}), Undecidable),
        (json!({"trusted_depth": 1, "on_garbled_chain": "peer"}), Undecidable),
        (json!({"on_garbled_chain": "peer"}), Same),
    ] {
        let candidate = json!({"identity": {"client_address": address}});
        assert_eq!(replay(&policy(&candidate), &lines).0, [outcome], "{address}");
    }
}

#[test]
fn the_report_is_bounded_and_reads_well() {
    let lines = log_of(&Gate::new(&policy(&json!({}))), "/", &["192.0.2.1"; 8]);
    let candidate = policy(
        &json!({"ip_filter": {"rules": [{"id": "out", "action": "deny", "prefixes": ["192.0.2.1"]}]}}),
    );
    let gateway = compile(&candidate.to_string()).unwrap();
    let mut replay = Replay::new(&gateway, Options { outcomes: 1 });
    lines.iter().for_each(|line| assert_eq!(replay.line(line), Changed));
    replay.line("noise");
    let report = replay.finish();
    assert_eq!((report.outcomes.len(), report.left_out), (1, 7));
    assert_eq!((report.groups[0].records, report.groups[0].examples.len()), (8, 5));
    let text = report.text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[..3],
        [
            "8 records: 0 same, 8 changed, 0 undecidable; from 2026-01-01T00:00:01.000Z to 2026-01-01T00:00:08.000Z",
            "skipped lines: not-json 1",
            "changed:",
        ]
    );
    assert!(lines[3].starts_with(
        "        8  entry.ip_filter out: forwarded → refused 403 address-denied; such as feed0000000000000000000000000001, "
    ), "{text}");
    assert_eq!(
        lines[4],
        "line 1, feed0000000000000000000000000001: changed, entry.ip_filter out: forwarded → refused 403 address-denied"
    );
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["groups"][0]["rule"], "out");
    assert_eq!(json["outcomes"][0]["changes"], json!(["verdict"]));
    assert_eq!(json["outcomes"][0]["before"]["upstream"], "app");
}

/// Bans stand in no document: what one refused is undecidable, unless the
/// candidate bans nobody, or not this client.
#[test]
fn what_a_ban_refused_is_undecidable() {
    let gate = Gate::new(&policy(&json!({}))).with_bans(1, &[("192.0.2.0/24", 600_000, "manual")]);
    let log = log_of(&gate, "/", &["192.0.2.1", "198.51.100.1"]);
    let verdicts = |rest: Value| replay(&policy(&rest), &log).0;
    assert_eq!(verdicts(json!({})), [Undecidable, Same]);
    assert_eq!(verdicts(json!({"bans": {"answer": {"status": 404}}})), [Undecidable, Same]);
    assert_eq!(verdicts(json!({"bans": {"mode": "off"}})), [Changed, Same]);
    assert_eq!(verdicts(json!({"bans": {"mode": "shadow"}})), [Changed, Same]);
    assert_eq!(verdicts(json!({"guard_list": ["192.0.2.1"]})), [Changed, Same]);
    assert_eq!(verdicts(json!({"guard_list": ["192.0.2.9"]})), [Undecidable, Same]);
    let (_, report) = replay(&policy(&json!({})), &log);
    let gap = report.outcomes[0].gap.as_ref().unwrap();
    assert_eq!((gap.stage, gap.reads.as_str()), ("entry.bans", "bans"));
}
