//! Limits on the journey: keys, costs, what is given back, leases and the
//! runtime's own limiter.

use std::future::Future as _;
use std::rc::Rc;
use std::task::{Context, Waker};

use edgeweir::exchange::PlainHead;
use edgeweir::gateway::settle::settle_all;
use edgeweir::platform::Clock as _;
use serde_json::{Value, json};

use super::{gate, label, route, stages};
use crate::fake::{Fault, Gate, Response, START, With, block_on, get, request};

/// A route with one rule: ten minutes, counted in the isolate.
fn one(more: &Value) -> Gate {
    route(&json!({"rate_limit": {"rules": [rule("l", more)]}}))
}

fn rule(id: &str, more: &Value) -> Value {
    let mut rule = json!({"id": id, "max": 2, "window": "10m", "counting": "local"});
    for (name, value) in more.as_object().unwrap() {
        rule[name] = value.clone();
    }
    rule
}

fn status(gate: &Gate, head: &PlainHead) -> u16 {
    gate.send(head).0.status
}

#[test]
fn each_algorithm_counts_everywhere() {
    for counting in ["local", "exact", "leased"] {
        for algorithm in ["gcra", "sliding_window", "fixed_window"] {
            let gate = one(&json!({"algorithm": algorithm, "counting": counting, "max": 3}));
            let seen: Vec<u16> = (0..4).map(|_| status(&gate, &get("/"))).collect();
            assert_eq!(seen, [200, 200, 200, 429], "{counting} {algorithm}");
            let (refused, record) = gate.send(&get("/"));
            assert_eq!(label(&refused), "rate-limited");
            assert_eq!(stages(&record), ["rate_limit refuse l"]);
            // Windows are those of the clock, which begins at one.
            let seconds = if algorithm == "gcra" { "200" } else { "600" };
            if algorithm != "sliding_window" {
                assert_eq!(refused.field("retry-after").as_deref(), Some(seconds), "{counting} {algorithm}");
            }
            // No time but what is told in Retry-After: it is enough.
            let wait = refused.field("retry-after").unwrap().parse::<u64>().unwrap();
            gate.platform.advance(wait * 1_000);
            assert_eq!(status(&gate, &get("/")), 200, "{counting} {algorithm}");
        }
    }
}

#[test]
fn keys_are_read_from_all_over_the_request() {
    let keyed = |key: Value| {
        gate(&json!({
            "ip_filter": {"rules": [{"id": "t", "action": "tag", "tag": "office", "prefixes": ["192.0.2.0/28"]}]},
            "routes": [{"id": "r", "upstream": "app", "match": {"path": "/{team}/*"},
                "rate_limit": {"rules": [{"id": "l", "max": 1, "window": "10m", "counting": "local", "key": key}]}}],
        }))
    };
    let pairs: [(Value, PlainHead, PlainHead, PlainHead); 7] = [
        // The key; a request; the same to the key; another.
        (json!(["address"]), get("/a/x"), get("/b/x"), get("/a/x").from("192.0.2.2")),
        (json!(["method"]), get("/a/x"), get("/b/y"), request("POST", "/a/x")),
        (json!([{"path": "team"}]), get("/a/x"), get("/%61/y"), get("/b/x")),
        (json!([{"query": "q"}]), get("/a/x?q=a%20b"), get("/a/x?p=1&q=a+b&%71=a%20b"), get("/a/x?q=c")),
        (
            json!([{"cookie": "s"}]),
            get("/a/x").with("Cookie", "s=1"),
            get("/a/x").with("Cookie", "t=9; s=1"),
            get("/a/x").with("Cookie", "s=2"),
        ),
        (json!(["tag"]), get("/a/x"), get("/a/x").from("192.0.2.9"), get("/a/x").from("198.51.100.1")),
        (json!(["route", "method"]), get("/a/x"), get("/b/x"), request("PUT", "/a/x")),
    ];
    for (key, first, same, other) in pairs {
        let gate = keyed(key.clone());
        let seen = [&first, &same, &other].map(|head| status(&gate, head));
        assert_eq!(seen, [200, 429, 200], "{key}");
    }
}

#[test]
fn countries_and_systems_are_keys() {
    let gate = one(&json!({"key": ["country", "asn"], "max": 1}));
    let of = |country: &str, asn: u32| {
        let mut head = get("/");
        head.metadata.country = edgeweir::exchange::Code::parse(country);
        head.metadata.asn = Some(asn);
        head
    };
    assert_eq!(status(&gate, &of("KR", 1)), 200);
    assert_eq!(status(&gate, &of("KR", 1).from("198.51.100.1")), 429);
    assert_eq!(status(&gate, &of("KR", 2)), 200);
    assert_eq!(status(&gate, &of("DE", 1)), 200);
}

#[test]
fn a_missing_part_has_a_stated_outcome() {
    let gate_of = |on_missing: &str, mode: &str| {
        one(&json!({"key": [{"header": "X-User"}], "max": 1, "on_missing": on_missing, "mode": mode}))
    };
    let gate = gate_of("empty", "enforce");
    assert_eq!([status(&gate, &get("/")), status(&gate, &get("/"))], [200, 429]);
    let gate = gate_of("skip", "enforce");
    assert_eq!([(); 3].map(|()| status(&gate, &get("/"))), [200; 3]);
    assert_eq!(gate.send(&get("/")).1.stages.len(), 0);
    let gate = gate_of("refuse", "enforce");
    let (refused, _) = gate.send(&get("/"));
    assert_eq!((refused.status, label(&refused).as_str()), (400, "missing-key"));
    assert_eq!(status(&gate, &get("/").with("X-User", "a")), 200);
    let (shadow, record) = gate_of("refuse", "shadow").send(&get("/"));
    assert_eq!((shadow.status, stages(&record)), (200, vec!["~rate_limit refuse l".to_owned()]));
}

#[test]
fn a_coarser_prefix_counts_wide_networks() {
    let gate = one(&json!({"ipv6_prefix": 48, "counting": "exact"}));
    for (address, expected) in
        [("2001:db8:1:1::1", 200), ("2001:db8:1:2::1", 200), ("2001:db8:1:3::1", 429), ("2001:db8:2::1", 200)]
    {
        assert_eq!(status(&gate, &get("/").from(address)), expected, "{address}");
    }
}

#[test]
fn labels_exempt() {
    let gate = gate(&json!({
        "ip_filter": {"rules": [{"id": "t", "action": "tag", "tag": "partner", "prefixes": ["192.0.2.7"]}]},
        "routes": [{"id": "r", "upstream": "app", "rate_limit": {"rules": [rule("l", &json!({"exempt_tags": ["partner"]}))]}}],
    }));
    let seen: Vec<u16> = (0..4).map(|_| status(&gate, &get("/").from("192.0.2.7"))).collect();
    assert_eq!(seen, [200; 4]);
    assert_eq!([(); 3].map(|()| status(&gate, &get("/"))), [200, 200, 429]);
}

#[test]
fn requests_cost_what_the_rule_says() {
    let cost =
        json!({"default": 1, "methods": {"POST": 4, "OPTIONS": 0}, "header": "X-Units", "min": 2, "max": 6});
    let gate = one(&json!({"max": 10, "cost": cost}));
    let left = |head: &PlainHead| {
        gate.send(head).0.field("ratelimit").map(|field| field.split(';').nth(1).unwrap().to_owned())
    };
    assert_eq!(left(&get("/")).as_deref(), Some("r=9"));
    assert_eq!(left(&request("POST", "/")).as_deref(), Some("r=5"));
    // Nothing is counted, and nothing is said.
    assert_eq!(left(&request("OPTIONS", "/")), None);
    // Below the least.
    assert_eq!(left(&get("/").with("X-Units", "0")).as_deref(), Some("r=3"));
    // What is no number costs the most, and that is too much now.
    assert_eq!(status(&gate, &get("/").with("X-Units", "free")), 429);
    assert_eq!(left(&get("/").with("X-Units", "3")).as_deref(), Some("r=0"));
}

/// Every way of counting, in every order, with what refuses last.
#[test]
fn what_was_charged_before_a_refusal_is_given_back() {
    for first in ["local", "exact", "leased"] {
        for second in ["local", "exact", "leased"] {
            let rules = json!([
                rule("first", &json!({"counting": first, "max": 4})),
                rule("second", &json!({"counting": second, "max": 2, "key": [{"header": "X-User"}]})),
            ]);
            let gate = route(&json!({"rate_limit": {"rules": rules}}));
            let of = |user: &str| get("/").with("X-User", user);
            let mut seen: Vec<u16> = (0..6).map(|_| status(&gate, &of("a"))).collect();
            assert_eq!(seen, [200, 200, 429, 429, 429, 429], "{first} {second}");
            // Two of the first rule's four are left.
            seen = (0..3).map(|_| status(&gate, &of("b"))).collect();
            assert_eq!(seen, [200, 200, 429], "{first} {second}");
        }
    }
}

#[test]
fn what_shares_an_object_is_asked_at_once() {
    let gate = route(&json!({"rate_limit": {"rules": [
        rule("a", &json!({"counting": "exact", "max": 5})),
        rule("b", &json!({"counting": "exact", "max": 1})),
        rule("c", &json!({"counting": "exact", "max": 9, "mode": "shadow"})),
    ]}}));
    assert_eq!(status(&gate, &get("/")), 200);
    assert_eq!(gate.platform.messages.borrow().len(), 1);
    let (refused, record) = gate.send(&get("/"));
    assert_eq!(refused.status, 429);
    assert_eq!(stages(&record), ["rate_limit allow a", "rate_limit refuse b"]);
    // What was never charged needs no message to be given back.
    assert_eq!(gate.platform.messages.borrow().len(), 2);
    gate.platform.advance(600_000);
    assert_eq!(gate.send(&get("/")).0.field("ratelimit").unwrap().split(';').next(), Some("\"b\""));
}

#[test]
fn only_statuses_that_count_stay_charged() {
    for counting in ["local", "exact", "leased"] {
        let gate = one(&json!({"counting": counting, "max": 3, "count_status": [401]}));
        gate.platform.origin(|sent| Response::new(if sent.url.ends_with("bad") { 401 } else { 200 }));
        // Successes count for nothing, however many.
        let seen: Vec<u16> = (0..9).map(|_| status(&gate, &get("/good"))).collect();
        assert_eq!(seen, [200; 9], "{counting}");
        let seen: Vec<u16> = (0..4).map(|_| status(&gate, &get("/bad"))).collect();
        assert_eq!(seen, [401, 401, 401, 429], "{counting}");
    }
}

#[test]
fn answers_from_the_cache_can_be_free() {
    let gate = route(
        &json!({"cache": {}, "rate_limit": {"rules": [rule("l", &json!({"count_misses_only": true}))]}}),
    );
    gate.platform.origin(|_| Response::new(200).with("Cache-Control", "max-age=600"));
    let seen: Vec<u16> = (0..6).map(|_| status(&gate, &get("/a"))).collect();
    assert_eq!((seen, gate.sent_count()), (vec![200; 6], 1));
    assert_eq!(status(&gate, &get("/b")), 200);
    assert_eq!(status(&gate, &get("/c")), 429);
}

#[test]
fn what_the_origin_says_becomes_a_debt_and_is_not_seen() {
    for counting in ["local", "exact", "leased"] {
        let gate = one(&json!({"counting": counting, "max": 10, "cost_header": "X-Cost", "max_debt": 5}));
        gate.platform.origin(|_| Response::new(200).with("X-Cost", "9").with("X-Other", "1"));
        let (first, _) = gate.send(&get("/"));
        assert_eq!((first.field("x-cost"), first.field("x-other").as_deref()), (None, Some("1")));
        // Nine are gone: one more passes, which costs nine again.
        assert_eq!(status(&gate, &get("/")), 200, "{counting}");
        // Eight are owed beyond the ten, of which five are kept: six minutes,
        // until one is there again.
        let (refused, _) = gate.send(&get("/"));
        assert_eq!(
            (refused.status, refused.field("retry-after").as_deref()),
            (429, Some("360")),
            "{counting}"
        );
    }
}

#[test]
fn a_penalty_moves_the_recovery_away_and_nothing_else_does() {
    for counting in ["local", "exact"] {
        let gate = one(&json!({"counting": counting, "max": 2, "penalty": 1, "max_debt": 3}));
        assert_eq!([(); 2].map(|()| status(&gate, &get("/"))), [200; 2]);
        let waits: Vec<String> =
            (0..5).map(|_| gate.send(&get("/")).0.field("retry-after").unwrap()).collect();
        assert_eq!(waits, ["600", "900", "1200", "1200", "1200"], "{counting}");
    }
}

#[test]
fn a_lease_is_spent_without_calls_and_a_refusal_is_remembered() {
    let gate = one(&json!({"counting": "leased", "max": 1_000}));
    let mut admitted = 0;
    for _ in 0..1_200 {
        gate.platform.advance(1);
        admitted += u32::from(status(&gate, &get("/")) == 200);
    }
    // What comes back meanwhile is 1.2 × 1,000 / 600.
    assert!((998..=1_002).contains(&admitted), "{admitted}");
    let calls = gate.platform.messages.borrow().len();
    assert!(calls < 60, "{calls}");
    for _ in 0..500 {
        assert_eq!(status(&gate, &get("/")), 429);
    }
    assert!(gate.platform.messages.borrow().len() <= calls + 2);
}

#[test]
fn isolates_share_a_limit_by_leases() {
    let gates =
        [(); 4].map(|()| one(&json!({"counting": "leased", "algorithm": "fixed_window", "max": 100})));
    let mut gates = gates.map(Some);
    let limiters = Rc::clone(&gates[0].as_ref().unwrap().platform.limiters);
    for (index, gate) in gates.iter_mut().enumerate() {
        let gate = gate.as_mut().unwrap();
        gate.platform.limiters = Rc::clone(&limiters);
        gate.isolate = edgeweir::gateway::Isolate::new("test", index as u64 + 1);
    }
    let gates = gates.map(Option::unwrap);
    let mut admitted = 0;
    for n in 0..2_000 {
        let gate = &gates[n % 4];
        gates.iter().for_each(|gate| gate.platform.advance(1));
        admitted += u32::from(status(gate, &get("/")) == 200);
    }
    assert!((98..=100).contains(&admitted), "{admitted}");
}

/// Nobody else comes who could take the rest of a lease back along.
#[test]
fn what_is_lent_goes_back_though_nobody_comes() {
    let mut gate = one(&json!({"counting": "leased", "algorithm": "fixed_window", "max": 100}));
    assert_eq!([(); 12].map(|()| status(&gate, &get("/"))), [200; 12]);
    assert!(gate.isolate.holder.borrow().has_leases());
    let calls = gate.platform.messages.borrow().len();
    assert!(gate.isolate.takes_on_settling(gate.platform.now()));
    assert_eq!(block_on(settle_all(&gate.isolate, &gate.platform)), None);
    // Once, and after the second that makes it idle.
    assert_eq!(gate.platform.messages.borrow().len(), calls + 1);
    assert_eq!(gate.platform.clock.get(), START + 1_000);
    assert!(!gate.isolate.holder.borrow().has_leases());
    assert!(!gate.isolate.takes_on_settling(gate.platform.now()));
    gate.isolate = edgeweir::gateway::Isolate::new("test", 2);
    let admitted = (0..200).filter(|_| status(&gate, &get("/")) == 200).count();
    assert_eq!(admitted, 88);
}

/// One looks after leases; whoever is there when its turn is over goes on.
#[test]
fn one_request_at_a_time_looks_after_leases() {
    let gate = one(&json!({"counting": "leased", "max": 1_000_000}));
    let busy = || {
        for _ in 0..20 {
            assert_eq!(status(&gate, &get("/")), 200);
        }
    };
    busy();
    let takes = || gate.isolate.takes_on_settling(gate.platform.now());
    assert!(takes());
    let (mut first, mut second) = (
        Box::pin(settle_all(&gate.isolate, &gate.platform)),
        Box::pin(settle_all(&gate.isolate, &gate.platform)),
    );
    let mut context = Context::from_waker(Waker::noop());
    let begun = gate.platform.clock.get();
    let mut taken = None;
    for _ in 0..200 {
        assert!(first.as_mut().poll(&mut context).is_pending());
        busy();
        if takes() {
            taken = Some(gate.platform.clock.get() - begun);
            break;
        }
    }
    assert!(taken.is_some_and(|after| (5_000..6_000).contains(&after)), "{taken:?}");
    assert!(second.as_mut().poll(&mut context).is_pending());
    assert!(!takes());
    let mut polls = (0..10).map(|_| first.as_mut().poll(&mut context));
    assert!(polls.any(|poll| poll.is_ready()), "the first goes when the second is there");
}

#[test]
fn who_comes_seldom_loses_nothing() {
    let gate = one(&json!({"counting": "leased", "algorithm": "fixed_window", "max": 100}));
    for nth in 0..100 {
        assert_eq!(status(&gate, &get("/")), 200, "{nth}");
        gate.platform.advance(5_500);
    }
    assert_eq!(status(&gate, &get("/")), 429);
}

#[test]
fn a_flood_of_keys_costs_few_calls_and_loosens_nobody_s_limit() {
    let gate = one(&json!({"counting": "exact", "max": 5, "key": [{"header": "X-Key"}]}));
    let of = |key: &str| get("/").with("X-Key", key);
    assert_eq!([(); 5].map(|()| status(&gate, &of("me"))), [200; 5]);
    for n in 0..5_000 {
        status(&gate, &of(&format!("random-{n}")));
    }
    let calls = gate.platform.messages.borrow().len();
    assert!(calls < 600, "{calls}");
    assert_eq!(status(&gate, &of("me")), 429);
    // The next second new keys are asked about again.
    gate.platform.advance(1_000);
    assert_eq!(status(&gate, &of("new")), 200);
}

#[test]
fn a_hundred_thousand_keys_loosen_no_local_limit() {
    // Each isolate keeps fifty thousand, and admits five more in all.
    flood("local", 10, 90_000..=100_000);
}

#[test]
fn a_hundred_thousand_keys_loosen_no_exact_limit() {
    // A thousand a second are asked about, half by each isolate.
    flood("exact", 5, 20_000..=22_000);
}

#[test]
fn a_hundred_thousand_keys_loosen_no_leased_limit() {
    flood("leased", 5, 20_000..=22_000);
}

/// A hundred thousand keys within twenty seconds, at two isolates that share
/// the objects.
fn flood(counting: &str, all: u32, expected: std::ops::RangeInclusive<u32>) {
    let more =
        json!({"counting": counting, "algorithm": "fixed_window", "max": 5, "key": [{"header": "X-Key"}]});
    let (mut one, mut other) = (one(&more), one(&more));
    one.isolate = edgeweir::gateway::Isolate::new("test", 1);
    other.isolate = edgeweir::gateway::Isolate::new("test", 2);
    other.platform.limiters = Rc::clone(&one.platform.limiters);
    let gates = [&one, &other];
    let admitted = |key: &str, gate: &Gate| u32::from(status(gate, &get("/").with("X-Key", key)) == 200);
    // Before it begins all is spent, theirs at the first one alone.
    let spend = |key, gates: &[&Gate]| (0..12).map(|n| admitted(key, gates[n % gates.len()])).sum::<u32>();
    let mut mine = spend("mine", &gates);
    let mut theirs = spend("theirs", &gates[..1]);
    assert_eq!((mine, theirs), (all, 5));
    let mut random = 0;
    for n in 0..100_000_u32 {
        if n % 5 == 0 {
            gates.iter().for_each(|gate| gate.platform.advance(1));
        }
        let gate = gates[n as usize % 2];
        random += admitted(&format!("random-{n}"), gate);
        if n % 1_000 < 2 {
            mine += admitted("mine", gate);
        }
        if n % 30_000 == 29_999 {
            theirs += gates.map(|gate| admitted("theirs", gate)).iter().sum::<u32>();
            gates.iter().for_each(|gate| gate.platform.messages.borrow_mut().clear());
        }
    }
    assert_eq!(mine, all);
    // Who is not known where it comes may meet the counter that unknown keys
    // share: its quota, once for all of them.
    assert!(theirs <= 10, "{theirs}");
    assert!(expected.contains(&random), "{random}");
}

#[test]
fn an_object_that_fails_is_left_alone_for_a_second() {
    let gate = one(&json!({"counting": "exact", "max": 100}));
    gate.platform.counter_fault.set(Some(Fault::TimesOut));
    for _ in 0..20 {
        let (response, record) = gate.send(&get("/"));
        assert_eq!(response.status, 200);
        assert!(record.stages[0].error.is_some());
    }
    assert_eq!(gate.platform.messages.borrow().len(), 3);
    // It counts here meanwhile, and is not open.
    for _ in 0..80 {
        gate.send(&get("/"));
    }
    assert_eq!(status(&gate, &get("/")), 429);
    gate.platform.counter_fault.set(None);
    gate.platform.advance(1_000);
    assert_eq!(status(&gate, &get("/")), 200);
    assert_eq!(gate.platform.messages.borrow().len(), 4);
}

#[test]
fn the_runtime_s_own_limiter_is_asked_by_name() {
    let gate = one(&json!({"counting": "platform", "binding": "SOFT", "window": "60s", "max": 20}));
    gate.platform.platform_limit.set(2);
    let (first, record) = gate.send(&get("/"));
    // It does not say what is left.
    assert_eq!(
        (first.status, first.field("ratelimit"), stages(&record)),
        (200, None, vec!["rate_limit allow l".to_owned()])
    );
    assert_eq!(status(&gate, &get("/")), 200);
    let (refused, _) = gate.send(&get("/"));
    assert_eq!((refused.status, refused.field("retry-after").as_deref()), (429, Some("60")));
    assert_eq!(gate.platform.platform_limits.borrow().keys().next().unwrap().0, "SOFT");
    gate.platform.counter_fault.set(Some(Fault::Fails));
    assert_eq!(status(&gate, &get("/")), 200);
}

#[test]
fn a_refusal_takes_the_form_that_is_asked_for() {
    let more = json!({"max": 1, "message": "Slow <down>.", "status": 503, "x_ratelimit": true});
    let gate = one(&more);
    let (first, _) = gate.send(&get("/"));
    let fields = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"]
        .map(|name| first.field(name).unwrap());
    assert_eq!(fields, ["1", "0", "600"]);
    let (json, _) = gate.send(&get("/").with("Accept", "application/json"));
    assert_eq!((json.status, json.json()["detail"].as_str()), (503, Some("Slow <down>.")));
    for accept in
        ["text/html", "text/html,application/xhtml+xml,*/*;q=0.8", "application/json;q=0.5, text/html;q=0.6"]
    {
        let (page, _) = gate.send(&get("/").with("Accept", accept));
        assert_eq!(page.field("content-type").as_deref(), Some("text/html; charset=utf-8"), "{accept}");
        assert!(page.body.contains("Slow &lt;down&gt;."), "{}", page.body);
    }
    for accept in ["*/*", "application/json, text/html;q=0.5", "text/html;q=0"] {
        let (other, _) = gate.send(&get("/").with("Accept", accept));
        assert_eq!(other.field("content-type").as_deref(), Some("application/problem+json"), "{accept}");
    }
}
