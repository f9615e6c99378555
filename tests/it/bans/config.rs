//! `bans` in the policy.

use edgeweir::policy::compile;
use edgeweir::stages::Mode;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::fake::check;
use crate::policy::problems;

fn policy(bans: &Value) -> Value {
    let limit = |id: &str| json!({"rules": [{"id": id, "max": 1, "window": "1m"}]});
    json!({
        "version": 1,
        "upstreams": {"app": {"origin": "http://app.internal"}},
        "rate_limit": limit("entry"),
        "bans": bans,
        "routes": [
            {"id": "login", "upstream": "app", "match": {"path": "/login"}, "rate_limit": limit("attempts")},
            {"id": "off", "upstream": "app", "match": {"path": "/off"}, "rate_limit": {"mode": "off", "rules": [{"id": "sleeping", "max": 1, "window": "1m"}]}},
        ],
    })
}

fn trigger(more: &Value) -> Value {
    let mut trigger = json!({"id": "scanner", "statuses": [404], "threshold": 5});
    for (name, value) in more.as_object().unwrap() {
        trigger[name] = value.clone();
    }
    trigger
}

fn paths(more: &Value) -> Vec<String> {
    let found = problems(&policy(&json!({"triggers": [trigger(more)]})));
    found.into_iter().map(|problem| problem.path.replace("bans.triggers[0]", "")).collect()
}

#[test]
fn the_defaults_are_those_of_fail2ban() {
    let gateway = compile(&policy(&json!({"triggers": [trigger(&json!({}))]})).to_string()).unwrap();
    let terms: Vec<_> = gateway.bans.offended(0, false, 404).cloned().collect();
    assert_eq!(terms.len(), 1);
    let (window, duration, most) = (terms[0].window, terms[0].duration, terms[0].max_duration);
    assert_eq!((window.as_secs(), duration.as_secs(), most.as_secs()), (600, 600, 7 * 86_400));
    assert_eq!((terms[0].factor, terms[0].jitter, terms[0].forget_after.as_secs()), (2, 0, 86_400));
    // A ban that is longer than the usual longest one is its own.
    let long =
        compile(&policy(&json!({"triggers": [trigger(&json!({"duration": "30d"}))]})).to_string()).unwrap();
    let terms = long.bans.offended(0, false, 404).next().unwrap();
    assert_eq!(terms.max_duration.as_secs(), 30 * 86_400);
}

#[test]
fn what_is_wrong_has_its_place() {
    for (more, path) in [
        (json!({"id": "manual"}), ".id"),
        (json!({"statuses": []}), ""),
        (json!({"statuses": [199]}), ".statuses[0]"),
        (json!({"statuses": [404, 600]}), ".statuses[1]"),
        (json!({"threshold": 0}), ".threshold"),
        (json!({"threshold": 1_000_001}), ".threshold"),
        (json!({"factor": 0}), ".factor"),
        (json!({"factor": 11}), ".factor"),
        (json!({"window": "999ms"}), ".window"),
        (json!({"window": "25h"}), ".window"),
        (json!({"duration": "0s"}), ".duration"),
        (json!({"max_duration": "599s"}), ".max_duration"),
        (json!({"jitter": 101}), ".jitter"),
        (json!({"forget_after": "59s"}), ".forget_after"),
        (json!({"limits": ["nowhere"]}), ".limits[0]"),
        (json!({"limits": ["entry", "login/entry"]}), ".limits[1]"),
        (json!({"limits": ["a/b/c"]}), ".limits[0]"),
        (json!({"limits": [""]}), ".limits[0]"),
        (json!({"shade": 1}), ".shade"),
    ] {
        assert_eq!(paths(&more), [path], "{more}");
    }
    for good in [
        json!({"threshold": 1}),
        json!({"factor": 1, "jitter": 100, "duration": "1s", "max_duration": "1s", "forget_after": "366d"}),
        json!({"limits": ["entry", "login/attempts", "attempts", "sleeping"]}),
        json!({"statuses": [], "refusals": true}),
        json!({"max_duration": null, "jitter": null}),
    ] {
        assert_eq!(paths(&good), [""; 0], "{good}");
    }
    let twice = policy(&json!({"triggers": [trigger(&json!({})), trigger(&json!({}))]}));
    assert_eq!(problems(&twice)[0].path, "bans.triggers[1].id");
    let many: Vec<Value> = (0..33).map(|index| trigger(&json!({"id": format!("t{index}")}))).collect();
    assert_eq!(problems(&policy(&json!({"triggers": many})))[0].path, "bans.triggers");
    assert_eq!(problems(&policy(&json!({"answer": {"status": 200}})))[0].path, "bans.answer.status");
}

/// Who names a limit that is itself in trouble hears of that trouble alone.
#[test]
fn a_limit_that_is_cut_out_is_no_second_problem() {
    let mut document = policy(&json!({"triggers": [trigger(&json!({"limits": ["login/attempts"]}))]}));
    document["routes"][0]["rate_limit"]["rules"][0]["max"] = json!("many");
    let found: Vec<String> = problems(&document).into_iter().map(|problem| problem.path).collect();
    assert_eq!(found, ["routes[0].rate_limit.rules[0].max"]);
}

#[test]
fn a_limit_knows_who_counts_its_refusals() {
    let gateway = compile(
        &policy(&json!({"triggers": [
            {"id": "off", "mode": "off", "refusals": true, "threshold": 1},
            {"id": "login", "limits": ["login/attempts"], "threshold": 1},
            {"id": "all", "limits": ["entry", "attempts"], "threshold": 1},
        ]}))
        .to_string(),
    )
    .unwrap();
    // One that is off has no place.
    assert_eq!(gateway.entry_rate_limit.rules[0].trips, 0b10);
    assert_eq!(gateway.routes[0].rate_limit.rules[0].trips, 0b11);
    let ids = |tripped, refused, status| -> Vec<String> {
        gateway.bans.offended(tripped, refused, status).map(|terms| terms.id.to_string()).collect()
    };
    assert_eq!(ids(0b11, true, 429), ["login", "all"]);
    assert_eq!(ids(0, true, 404), [""; 0]);
}

/// Conditions are added up, and each trigger counts once.
#[test]
fn a_request_is_one_offence_for_each_trigger() {
    let gateway = compile(
        &policy(&json!({"triggers": [
            {"id": "a", "limits": ["entry"], "refusals": true, "statuses": [429], "threshold": 1},
            {"id": "b", "statuses": [401, 404], "threshold": 1},
        ]}))
        .to_string(),
    )
    .unwrap();
    let ids = |tripped, refused, status| -> String {
        gateway.bans.offended(tripped, refused, status).map(|terms| terms.id.to_string()).collect()
    };
    assert_eq!(ids(1, true, 429), "a");
    assert_eq!(ids(0, true, 404), "ab");
    assert_eq!(ids(0, false, 401), "b");
    assert_eq!(ids(0, false, 200), "");
}

#[test]
fn what_a_trigger_made_acts_as_the_trigger_does_now() {
    let stage = |mode: &str| {
        compile(
            &policy(&json!({"mode": mode, "triggers": [
                {"id": "on", "statuses": [404], "threshold": 1},
                {"id": "shadow", "mode": "shadow", "statuses": [404], "threshold": 1},
                {"id": "off", "mode": "off", "statuses": [404], "threshold": 1},
            ]}))
            .to_string(),
        )
        .unwrap()
        .bans
    };
    let actions = |mode: &str| {
        let stage = stage(mode);
        ["manual", "on", "shadow", "off", "gone"].map(|cause| stage.action(cause, false))
    };
    assert_eq!(actions("enforce"), [Mode::Enforce, Mode::Enforce, Mode::Shadow, Mode::Off, Mode::Off]);
    assert_eq!(actions("shadow"), [Mode::Shadow, Mode::Shadow, Mode::Shadow, Mode::Off, Mode::Off]);
    assert_eq!(actions("off"), [Mode::Off; 5]);
    assert_eq!(stage("enforce").action("on", true), Mode::Shadow);
    // Without `bans` in the policy those of people act.
    assert_eq!(compile("{\"version\": 1}").unwrap().bans.action("manual", false), Mode::Enforce);
}

/// Growth by a factor, a cap, and jitter on top of both.
#[test]
fn bans_grow_up_to_the_cap_and_jitter_lies_on_top() {
    let inputs = (1..100_000_u64, 1..=10_u64, 0..1_000_u64, 0..=10_000_u64, 0..200_u32, any::<u64>());
    check(500, inputs, |(duration, factor, more, jitter, earlier, luck)| {
        let bans = json!({"triggers": [trigger(&json!({
            "duration": format!("{duration}s"), "factor": factor, "max_duration": format!("{}s", duration + more * 60),
            "jitter": jitter as f64 / 100.0,
        }))]});
        let gateway = compile(&policy(&bans).to_string()).unwrap();
        let terms = gateway.bans.offended(0, false, 404).next().unwrap();
        let most = (duration + more * 60) * 1_000;
        let grown = u128::from(duration * 1_000).saturating_mul(u128::from(factor).saturating_pow(earlier));
        let capped = u64::try_from(grown.min(most.into())).unwrap();
        prop_assert_eq!(terms.length(earlier, 0), capped);
        let length = terms.length(earlier, luck);
        prop_assert!(
            length >= capped
                && u128::from(length - capped) * 10_000 <= u128::from(capped) * u128::from(jitter)
        );
        prop_assert!(terms.length(earlier + 1, 0) >= capped);
        prop_assert!(terms.length(earlier, u64::MAX) >= length);
        Ok(())
    });
}
