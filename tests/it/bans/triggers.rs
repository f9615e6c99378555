//! Triggers on the journey of a request, and who tries to make them ban
//! somebody else.

use edgeweir::exchange::PlainHead;
use edgeweir::gateway::Isolate;
use edgeweir::gateway::bans::report_offences;
use serde_json::{Value, json};

use super::journey::policy;
use crate::fake::{Fault, Gate, Mishap, Response, With, block_on, get, request};

fn scanner(more: &Value) -> Value {
    let mut trigger =
        json!({"id": "scanner", "statuses": [401, 404], "threshold": 3, "window": "1m", "duration": "5m"});
    for (name, value) in more.as_object().unwrap() {
        trigger[name] = value.clone();
    }
    trigger
}

fn gate(more: &Value, triggers: &[Value]) -> Gate {
    let mut document = policy(more);
    document["bans"] = json!({"triggers": triggers});
    let gate = Gate::new(&document);
    gate.platform.origin(|sent| {
        let path = sent.url.rsplit('/').next().unwrap_or_default();
        Response::new(path.parse().unwrap_or(200))
    });
    gate
}

fn reason(gate: &Gate, head: &PlainHead) -> &'static str {
    gate.send(head).1.reason.unwrap_or("-")
}

/// Does what the adapter does after a response.
fn report(gate: &Gate) -> Option<String> {
    use edgeweir::platform::Clock;
    if !gate.isolate.takes_on_reports(gate.platform.now()) {
        return None;
    }
    block_on(report_offences(&gate.isolate, &gate.platform)).map(|error| error.to_string())
}

#[test]
fn answers_of_the_origin_count_whoever_gave_them() {
    let gate = gate(
        &json!({"routes": [{"id": "all", "upstream": "app", "match": {"path": "/a/*"}}]}),
        &[scanner(&json!({}))],
    );
    // Of the origin, and of ours: no route.
    for target in ["/a/401", "/nowhere", "/a/200", "/a/403"] {
        assert_ne!(reason(&gate, &get(target)), "banned", "{target}");
    }
    assert_eq!(gate.send(&get("/a/404")).0.status, 404);
    let (response, record) = gate.send(&get("/a/200"));
    assert_eq!((response.status, record.stages[0].rule.as_deref()), (403, Some("scanner")));
    assert_eq!(
        (record.stages[0].prefix.as_deref(), response.field("Retry-After").as_deref()),
        (Some("192.0.2.1/32"), Some("300"))
    );
    assert_eq!(reason(&gate, &get("/a/200").from("192.0.2.2")), "-");
    gate.platform.advance(300_000);
    assert_eq!(reason(&gate, &get("/a/200")), "-");
}

#[test]
fn a_named_limit_and_refusals_count() {
    let limits = |id: &str| json!({"rules": [{"id": id, "max": 1, "window": "1h", "counting": "local"}]});
    let document = json!({"routes": [
        {"id": "login", "upstream": "app", "match": {"path": "/login"}, "rate_limit": limits("attempts")},
        {"id": "other", "upstream": "app", "match": {"path": "/other"}, "rate_limit": limits("attempts")},
    ]});
    let named = json!({"id": "login", "limits": ["login/attempts"], "threshold": 2});
    let gate_of = |trigger: &Value| gate(&document, std::slice::from_ref(trigger));
    let gate = gate_of(&named);
    for _ in 0..5 {
        assert_ne!(reason(&gate, &get("/other")), "banned");
    }
    let said: Vec<&str> = (0..4).map(|_| reason(&gate, &get("/login"))).collect();
    assert_eq!(said, ["-", "rate-limited", "rate-limited", "banned"]);
    // Any refusal, but those of bans: they would never end.
    let gate = gate_of(&json!({"id": "any", "refusals": true, "threshold": 2, "duration": "10s"}));
    assert_eq!(reason(&gate, &get("/nowhere")), "no-route");
    assert_eq!(reason(&gate, &get("/a%00")), "invalid-target");
    for _ in 0..20 {
        assert_eq!(reason(&gate, &get("/other")), "banned");
    }
    gate.platform.advance(10_000);
    assert_eq!(reason(&gate, &get("/other")), "-");
}

#[test]
fn shadow_counts_and_bans_nobody() {
    let gate = gate(&json!({}), &[scanner(&json!({"mode": "shadow"}))]);
    for _ in 0..3 {
        gate.send(&get("/404"));
    }
    let (response, record) = gate.send(&get("/200"));
    assert_eq!(response.status, 200);
    let stage = &record.stages[0];
    assert_eq!((stage.stage, stage.verdict, stage.shadow), ("entry.bans", "deny", true));
    report(&gate);
    assert_eq!(gate.send(&get("/200")).0.status, 200);
}

#[test]
fn the_guard_list_and_our_own_paths_never_count() {
    let guarded = gate(&json!({"guard_list": ["192.0.2.1", "2001:db8::7"]}), &[scanner(&json!({}))]);
    for head in [get("/404"), get("/404").from("2001:db8::8"), get("/_weir/nothing").from("192.0.2.9")] {
        for _ in 0..9 {
            assert_ne!(reason(&guarded, &head), "banned");
        }
    }
    assert_eq!(reason(&guarded, &get("/200").from("192.0.2.9")), "-");
    // It has a count of its own, so nothing of it was kept.
    assert_eq!(report(&guarded), None);
    assert_eq!(guarded.platform.limiters.told.get(), 0);
}

/// What a stranger writes into a header bans nobody else.
#[test]
fn nobody_bans_somebody_else_by_a_header() {
    let hops = json!({"identity": {"client_address": {"trusted_hops": ["10.0.0.0/8"]}}});
    let gate = gate(&hops, &[scanner(&json!({"refusals": true}))]);
    let victim = "203.0.113.9";
    for n in 0..30 {
        let head = get("/404")
            .from(&format!("192.0.2.{n}"))
            .with("X-Forwarded-For", victim)
            .with("Forwarded", "for=203.0.113.9")
            .with("True-Client-IP", victim)
            .with("X-Real-IP", victim);
        gate.send(&head);
        // Behind a hop of ours, what stands left of the client was written by
        // the client.
        gate.send(
            &get("/404").from("10.0.0.1").with("X-Forwarded-For", &format!("{victim}, 198.51.100.{n}")),
        );
        // Garbage in a chain names nobody, and is counted for nobody.
        gate.send(&get("/404").from("10.0.0.1").with("X-Forwarded-For", &format!("{victim}, nonsense")));
    }
    assert_eq!(reason(&gate, &get("/200").from(victim)), "-");
    assert_eq!(reason(&gate, &get("/200").from("10.0.0.1")), "-");
    // Each of those networks is one client's: the attacker bans himself.
    for _ in 0..3 {
        gate.send(&get("/404").from("192.0.2.77").with("X-Forwarded-For", victim));
    }
    assert_eq!(reason(&gate, &get("/200").from("192.0.2.77")), "banned");
}

/// Where the policy takes a hop for a client that its chain does not tell,
/// nobody behind it gets it banned.
#[test]
fn nobody_bans_a_hop_of_ours() {
    let hops =
        json!({"identity": {"client_address": {"trusted_hops": ["10.0.0.0/8"], "on_garbled_chain": "peer"}}});
    let gate = gate(&hops, &[scanner(&json!({"refusals": true}))]);
    for _ in 0..9 {
        gate.send(&get("/404").from("10.0.0.1").with("X-Forwarded-For", "nonsense"));
    }
    assert_eq!(reason(&gate, &get("/200").from("10.0.0.1").with("X-Forwarded-For", "nonsense")), "-");
}

/// An IPv6 client is its network, and no more.
#[test]
fn rotating_through_a_network_is_no_way_out() {
    let gate = gate(&json!({}), &[scanner(&json!({}))]);
    for n in 0..3 {
        gate.send(&get("/404").from(&format!("2001:db8:0:1::{n:x}")));
    }
    let (_, record) = gate.send(&get("/200").from("2001:db8:0:1:ffff::1"));
    assert_eq!(record.stages[0].prefix.as_deref(), Some("2001:db8:0:1::/64"));
    assert_eq!(reason(&gate, &get("/200").from("2001:db8:0:2::1")), "-");
}

/// Offences in several isolates, which the object sums; and who only has an
/// exact count hears of the ban with it.
#[test]
fn a_ban_acts_with_the_next_exact_count_elsewhere() {
    let limit = json!({"rate_limit": {"rules": [{"id": "few", "max": 100, "window": "1m"}]}});
    let triggers = [scanner(&json!({"threshold": 5}))];
    let mut gates: Vec<Gate> = (0..3).map(|_| gate(&limit, &triggers)).collect();
    let limiters = std::rc::Rc::clone(&gates[0].platform.limiters);
    for (seed, gate) in (1..).zip(&mut gates) {
        gate.isolate = Isolate::new("test", seed);
        gate.platform.limiters = std::rc::Rc::clone(&limiters);
    }
    for n in 0..4 {
        let gate = &gates[n % 2];
        gate.send(&get("/404"));
        assert_eq!(report(gate), None);
    }
    assert_eq!(limiters.told.get(), 4);
    gates[0].send(&get("/404"));
    // Not known yet: nobody has told the object.
    assert_eq!(reason(&gates[2], &get("/200")), "-");
    report(&gates[0]);
    let (response, record) = gates[2].send(&get("/200"));
    assert_eq!((response.status, record.reason), (403, Some("banned")));
    let stage = record.stages.last().unwrap();
    assert_eq!((stage.stage, stage.rule.as_deref()), ("entry.bans", Some("scanner")));
    // From now on the isolate knows, and asks nobody.
    let asked = gates[2].platform.takes.borrow().len();
    assert_eq!(reason(&gates[2], &get("/200")), "banned");
    assert_eq!(gates[2].platform.takes.borrow().len(), asked);
    // The object's memory goes, its storage stays.
    limiters.restart();
    assert_eq!(reason(&gates[1], &get("/200")), "banned");
}

#[test]
fn what_an_object_says_counts_by_this_policy() {
    let limit = |bans: Value| json!({"bans": bans, "rate_limit": {"rules": [{"id": "few", "max": 100, "window": "1m"}]}});
    let told = |bans: Value, guard: &[&str]| {
        let mut document = policy(&limit(bans));
        document["guard_list"] = json!(guard);
        let gate = Gate::new(&document);
        let ban = super::ban("192.0.2.1", 60_000, "scanner");
        let shard = edgeweir::stages::rate_limit::shard_of(ban.network);
        let message = edgeweir::stages::bans::message::Message::Ban(vec![ban]).encode();
        gate.platform.limiters.tell(shard, &message, super::at(0)).unwrap();
        reason(&gate, &get("/"))
    };
    let with = |mode: &str| json!({"triggers": [scanner(&json!({"mode": mode}))]});
    assert_eq!(told(with("enforce"), &[]), "banned");
    assert_eq!(told(with("shadow"), &[]), "-");
    assert_eq!(told(with("off"), &[]), "-");
    assert_eq!(told(json!({}), &[]), "-");
    assert_eq!(told(json!({"mode": "off", "triggers": [scanner(&json!({}))]}), &[]), "-");
    assert_eq!(told(with("enforce"), &["192.0.2.1"]), "-");
}

#[test]
fn reports_survive_what_happens_on_the_way() {
    let gate = gate(&json!({}), &[scanner(&json!({"threshold": 6}))]);
    *gate.platform.limiter_mishaps.borrow_mut() =
        [Mishap::Lost, Mishap::AnswerLost, Mishap::Doubled, Mishap::None].into();
    for _ in 0..4 {
        gate.send(&get("/404"));
    }
    // Lost, then counted and not acknowledged, then answered twice: four
    // offences, however often they were told.
    assert_eq!(report(&gate).as_deref(), Some("counter: late on purpose"));
    assert_eq!(gate.platform.limiters.told.get(), 3);
    gate.send(&get("/404"));
    report(&gate);
    assert_ne!(reason(&gate, &get("/200")), "banned");
    gate.send(&get("/404"));
    assert_eq!(reason(&gate, &get("/200")), "banned");
}

#[test]
fn without_the_objects_the_isolate_counts_alone() {
    let gate = gate(&json!({}), &[scanner(&json!({}))]);
    gate.platform.limiter_fault.set(Some(Fault::Fails));
    for _ in 0..3 {
        gate.send(&request("POST", "/404"));
        let _ = report(&gate);
    }
    assert_eq!(reason(&gate, &get("/200")), "banned");
    assert!(gate.platform.limiters.failed.get() > 0);
}

/// Where nothing is counted, nothing is kept, asked or told.
#[test]
fn without_bans_and_triggers_nothing_is_done() {
    let gate = Gate::new(&policy(&json!({})));
    for _ in 0..20 {
        gate.send(&get("/404"));
    }
    assert_eq!(report(&gate), None);
    assert_eq!(gate.platform.limiters.told.get(), 0);
}
