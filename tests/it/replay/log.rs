//! Logs of the gateway itself.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::IpAddr;

use edgeweir::replay::Verdict;
use edgeweir::stages::ip_filter::prefix::Prefix;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::replay;
use crate::explain::worlds::{CLIENTS, Dice, bans, policy, request};
use crate::fake::{Fault, Gate, Response, With, check, get};

/// A policy and the log of a day under it, failures and all.
fn day(dice: &mut Dice) -> (Value, Vec<String>) {
    let mut policy = policy(dice);
    policy["observe"] =
        json!({"log": {"client_address": dice.pick(&["address", "address", "network", "none"])}});
    let gate = Gate::new(&policy).with_bans(1, &bans(dice));
    let control = dice.pick(&["max-age=60", "no-store"]);
    gate.platform.origin(move |_| Response::new(200).with("Cache-Control", control));
    let frequent: Vec<_> = (0..3).map(|_| request(dice)).collect();
    let faults = dice.chance(3);
    let lines = (0..25).map(|_| {
        gate.platform.advance(dice.pick(&[0, 1, 400, 3_000, 20_000]));
        let fault =
            |dice: &mut Dice| (faults && dice.chance(2)).then(|| dice.pick(&[Fault::Fails, Fault::TimesOut]));
        gate.platform.counter_fault.set(fault(dice));
        gate.platform.origin_fault.set(fault(dice));
        let asked = if dice.chance(6) { dice.pick(&frequent) } else { request(dice) };
        gate.send(&asked.head(&gate.snapshot.gateway.identity)).1.line()
    });
    let lines = lines.collect();
    (policy, lines)
}

#[test]
fn a_log_under_its_own_policy_is_never_changed() {
    let met = RefCell::new(BTreeSet::new());
    check(400, any::<u64>(), |seed| {
        let (policy, lines) = day(&mut Dice::new(seed));
        let (verdicts, report) = replay(&policy, &lines);
        for (verdict, line) in verdicts.iter().zip(&lines) {
            prop_assert!(
                [Verdict::Same, Verdict::Undecidable].contains(verdict),
                "{line}\n{}\n{policy:#}",
                report.text()
            );
            let record: Value = serde_json::from_str(line).unwrap();
            let reason = record["reason"].as_str().unwrap_or_default();
            met.borrow_mut().insert(format!("{verdict:?} {} {reason}", record["verdict"].as_str().unwrap()));
        }
        met.borrow_mut().extend(report.groups.iter().map(|group| group.what.clone()));
        prop_assert_eq!(report.changed, 0);
        prop_assert_eq!(report.same + report.undecidable, report.records);
        prop_assert_eq!(report.records as usize, lines.len());
        prop_assert_eq!(report.outcomes.len() as u64, report.undecidable);
        Ok(())
    });
    for label in [
        "Same forwarded ",
        "Same cached ",
        "Same answered ",
        "Same refused address-denied",
        "Same refused rate-limited",
        "Same refused no-route",
        "Same refused invalid-target",
        "Same refused invalid-host",
        "Same refused client-address",
        "Same refused loop",
        "Same refused not-cached",
        "Same failed upstream-unreachable",
        "Undecidable failed counter-unavailable",
        "reads x-beta",
        "reads x-team",
        "reads cookie weir",
        "reads client",
        "reads scheme",
        "reads the counter",
        "reads an earlier count",
        "Undecidable refused rate-limited",
    ] {
        assert!(met.borrow().contains(label), "never met: {label} in {:#?}", met.borrow());
    }
}

/// A deny rule for one address that the candidate has and the policy of the
/// log has not.
/// Two rules and two routes that a few clients use all the time: what one
/// request may have counted, the next ones feel.
#[test]
fn a_doubtful_count_makes_nothing_certain() {
    let undecidable = RefCell::new(0);
    check(400, any::<u64>(), |seed| {
        let mut dice = Dice::new(seed);
        let rule = |dice: &mut Dice, id: &str, keyed: u64| {
            let key =
                if dice.chance(keyed) { json!(["client", {"header": "X-Team"}]) } else { json!(["client"]) };
            json!({"id": id, "key": key, "max": dice.below(3) + 1, "window": dice.pick(&["2s", "10s"]), "burst": dice.below(3) + 1})
        };
        let limit = |dice: &mut Dice| json!({"rules": [rule(dice, "one", 4), rule(dice, "two", 1)]});
        let policy = json!({
            "version": 1,
            "observe": {"log": {"client_address": dice.pick(&["address", "address", "network"])}},
            "identity": {"ipv6_prefix": dice.pick(&[48, 64])},
            "upstreams": {"app": {"origin": "http://app.internal"}},
            "ip_filter": {"rules": [{"id": "half", "action": "deny", "prefixes": ["192.0.2.0/25", "2001:db8:1:8000::/49"]}]},
            "rate_limit": if dice.chance(5) { limit(&mut dice) } else { json!({}) },
            "routes": [
                {"id": "all", "upstream": "app", "rate_limit": limit(&mut dice)},
                {"id": "beta", "upstream": "app", "match": {"path": "/beta", "headers": {"X-Beta": "1"}}, "rate_limit": limit(&mut dice)},
            ],
        });
        let gate = Gate::new(&policy);
        let lines = (0..60).map(|_| {
            gate.platform.advance(dice.pick(&[0, 100, 400, 1_500]));
            gate.platform.counter_fault.set(dice.chance(1).then_some(Fault::Fails));
            let mut head = get(dice.pick(&["/", "/", "/beta"])).from(dice.pick(&[
                "192.0.2.200",
                "192.0.2.201",
                "2001:db8:1::1",
                "2001:db8:1:1::1",
            ]));
            for (name, values) in [("X-Beta", ["0", "1"]), ("X-Team", ["red", "blue"])] {
                head = head.with(name, dice.pick(&values));
            }
            gate.send(&head).1.line()
        });
        let lines: Vec<String> = lines.collect();
        let (verdicts, report) = replay(&policy, &lines);
        prop_assert!(!verdicts.contains(&Verdict::Changed), "{}\n{policy:#}", report.text());
        *undecidable.borrow_mut() += report.undecidable;
        Ok(())
    });
    // Not everything, or it would prove nothing.
    let share = undecidable.into_inner() * 100 / (400 * 60);
    assert!((20..95).contains(&share), "{share} %");
}

#[test]
fn one_more_deny_rule_changes_exactly_what_it_names() {
    let changed = RefCell::new(0);
    check(300, any::<u64>(), |seed| {
        let mut dice = Dice::new(seed);
        let (mut policy, _) = day(&mut dice);
        policy["observe"] = json!({});
        policy["ip_filter"]["mode"] = json!("enforce");
        // Nobody is kept out, or let in, by anything else.
        policy["bans"] = json!({});
        policy["guard_list"] = json!([]);
        let gate = Gate::new(&policy);
        let requests: Vec<_> = (0..25).map(|_| request(&mut dice)).collect();
        let heads = requests.iter().map(|asked| asked.head(&gate.snapshot.gateway.identity));
        let lines: Vec<String> = heads.map(|head| gate.send(&head).1.line()).collect();
        let denied: IpAddr = dice.pick(&CLIENTS[..5]).parse().unwrap();
        let mut candidate = policy.clone();
        let mut rules = vec![json!({"id": "new", "action": "deny", "prefixes": [denied.to_string()]})];
        rules.extend(policy["ip_filter"]["rules"].as_array().cloned().unwrap_or_default());
        candidate["ip_filter"]["rules"] = rules.into();
        let (verdicts, report) = replay(&candidate, &lines);
        for (verdict, line) in verdicts.iter().zip(&lines) {
            let record: Value = serde_json::from_str(line).unwrap();
            let ours = record["host"].is_string()
                && record["path"].as_str().is_some_and(|path| path.starts_with("/_weir"));
            let matches = !ours
                && record["client"]
                    .as_str()
                    .is_some_and(|client| Prefix::host(denied).contains(client.parse().unwrap()));
            prop_assert_eq!(*verdict == Verdict::Changed, matches, "{}\n{}", line, report.text());
        }
        *changed.borrow_mut() += report.changed;
        for group in report.groups.iter().filter(|group| group.verdict == "changed") {
            prop_assert_eq!((group.stage.as_str(), group.rule.as_deref()), ("entry.ip_filter", Some("new")));
            prop_assert!(group.what.contains("refused 403 address-denied"), "{}", group.what);
        }
        Ok(())
    });
    assert!(changed.into_inner() > 500);
}
