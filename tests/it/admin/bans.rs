//! Bans through the admin API.

use edgeweir::platform::Clock;
use edgeweir::policy::manifest::Manifest;
use edgeweir::stages::bans::message::{Message, Offence, Report};
use edgeweir::stages::bans::{Ban, BanSet};
use edgeweir::stages::rate_limit::{SHARDS, shard_of};
use serde_json::{Value, json};

use super::{Admin, refused};
use crate::control::{ask, at};
use crate::fake::{Fault, Response, With, get};

fn ban(admin: &Admin, body: &Value) -> Response {
    admin.post("operator", "/bans", body)
}

fn unban(admin: &Admin, query: &str) -> Response {
    admin.send(Admin::head("operator", "DELETE", &format!("/bans?{query}")), "").0
}

fn networks(admin: &Admin) -> Vec<String> {
    let list = admin.get("reader", "/bans").json();
    list["bans"].as_array().unwrap().iter().map(|ban| ban["network"].as_str().unwrap().to_owned()).collect()
}

/// A client's request to the origin.
fn reason(admin: &Admin, client: &str) -> Option<&'static str> {
    admin.gate.send(&get("/").from(client)).1.reason
}

/// Swaps in what the control plane would publish now.
fn follow(admin: &mut Admin) {
    let active = ask(&admin.gate.platform.control, "active", json!({}))["result"].clone();
    let manifest = Manifest::parse(active["manifest"]["value"].as_str().unwrap(), None).unwrap();
    let bans = manifest.beside.bans.unwrap();
    admin.gate.snapshot.bans = Some(BanSet::parse(&bans.set, bans.generation).unwrap().into());
}

#[test]
fn a_ban_acts_here_at_once_in_the_objects_and_with_the_manifest() {
    let mut admin = Admin::new();
    assert_eq!(reason(&admin, "192.0.2.7"), Some("no-route"));
    let done = ban(&admin, &json!({"network": "192.0.2.7", "duration": "10m", "reason": "a nuisance"}));
    assert_eq!(done.status, 200);
    assert_eq!((&done.json()["networks"], &done.json()["generation"]), (&json!(["192.0.2.7/32"]), &json!(1)));
    assert!(admin.gate.isolate.changed.get().is_some());
    assert_eq!(reason(&admin, "192.0.2.7"), Some("banned"));
    let network = "192.0.2.7".parse().unwrap();
    let known =
        admin.gate.platform.limiters.with(shard_of(network), |bans, rows| bans.banned(rows, network, at(0)));
    assert_eq!(known.unwrap().unwrap().until, at(600_000));
    assert_eq!(admin.gate.platform.limiters.told.get(), 1);
    follow(&mut admin);
    assert_eq!(reason(&admin, "192.0.2.7"), Some("banned"));
    assert_eq!(networks(&admin), ["192.0.2.7/32", "203.0.113.9/32"]);
    // And unbanned: the objects at once, isolates with the manifest.
    let lifted = unban(&admin, "network=192.0.2.7&message=sorry");
    assert_eq!((lifted.status, &lifted.json()["generation"]), (200, &json!(2)));
    let known =
        admin.gate.platform.limiters.with(shard_of(network), |bans, rows| bans.banned(rows, network, at(0)));
    assert_eq!(known.unwrap(), None);
    assert_eq!(reason(&admin, "192.0.2.7"), Some("banned"));
    follow(&mut admin);
    assert_eq!(reason(&admin, "192.0.2.7"), Some("no-route"));
    // Once more is no mistake: a trigger may have banned it meanwhile.
    let again = unban(&admin, "network=192.0.2.7");
    assert_eq!((again.status, &again.json()["unheard"]), (200, &json!(["192.0.2.7/32"])));
    // That nobody bans a whole network by mistake is known.
    assert_eq!(refused(&unban(&admin, "network=192.0.2.0/24")), (404, "no-such-ban".to_owned()));
}

/// A trigger's ban of which the object has heard, and the control plane not.
#[test]
fn a_ban_that_nobody_has_reported_yet_is_lifted() {
    let admin = Admin::new();
    let network: edgeweir::stages::ip_filter::prefix::Prefix = "192.0.2.7".parse().unwrap();
    let banned = |made: u64| Ban {
        network,
        since: at(made),
        until: at(600_000),
        cause: "scanner".into(),
        shadow: false,
    };
    let platform = &admin.gate.platform;
    platform.advance(10_000);
    let terms = std::rc::Rc::new(crate::bans::offences::terms(10, 60_000));
    let report = |number: u64| {
        let offence = Offence { network, trigger: 0, count: 10, first: at(8_000), banned: Some(at(9_000)) };
        let report = Report { isolate: 9, number, terms: vec![terms.clone()], offences: vec![offence] };
        platform.limiters.tell(shard_of(network), &Message::Report(report).encode(), platform.now()).unwrap()
    };
    report(1);
    let known =
        || platform.limiters.with(shard_of(network), |bans, rows| bans.banned(rows, network, platform.now()));
    assert!(known().unwrap().is_some());
    admin.gate.isolate.hold_ban(banned(9_000), None, platform.now());
    assert_eq!(networks(&admin), ["203.0.113.9/32"]);
    let lifted = unban(&admin, "network=192.0.2.7&message=a+friend");
    assert_eq!(
        (lifted.status, &lifted.json()["unheard"]),
        (200, &json!(["192.0.2.7/32"])),
        "{}",
        lifted.body
    );
    assert_eq!(known().unwrap(), None);
    assert_eq!(reason(&admin, "192.0.2.7"), Some("no-route"));
    // An isolate that says so only now brings it back nowhere.
    platform.advance(1_000);
    report(2);
    assert_eq!(known().unwrap(), None);
    let reported = json!({"version": 3, "module": "0.3.0", "bans": [{"network": "192.0.2.7/32", "since": at(9_000),
        "until": at(600_000), "cause": "scanner", "count": 1}]});
    let taken = ask(&platform.control, "report-bans", reported)["result"].clone();
    assert_eq!(taken["dropped"], json!(["192.0.2.7/32"]), "{taken}");
    assert_eq!(networks(&admin), ["203.0.113.9/32"]);
    assert_eq!(admin.audit().last().unwrap(), "operator|unban|accepted|-");
}

#[test]
fn an_address_of_ipv6_is_its_client() {
    let admin = Admin::new();
    let done = ban(&admin, &json!({"network": "2001:db8:1:2::3", "duration": "1h"})).json();
    assert_eq!(done["networks"], json!(["2001:db8:1:2::/64"]));
    assert_eq!(
        ban(&admin, &json!({"network": "2001:db8:1:3::/96", "duration": "1h"})).json()["networks"],
        json!(["2001:db8:1:3::/64"])
    );
    assert_eq!(reason(&admin, "2001:db8:1:2:ffff::1"), Some("banned"));
    assert_eq!(
        unban(&admin, "network=2001:db8:1:2::9&network=2001:db8:1:3::/64").json()["networks"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    // A network is told to all objects, a client to its own.
    let told = || admin.gate.platform.limiters.told.get();
    let before = told();
    ban(&admin, &json!({"network": "198.18.0.0/15", "duration": "1h"}));
    assert_eq!(u128::from(told() - before), SHARDS);
    ban(&admin, &json!({"network": "2001:db8:1::/48", "duration": "1h"}));
    assert_eq!(u128::from(told() - before), 2 * SHARDS);
}

#[test]
fn what_was_banned_under_another_length_is_lifted_as_the_list_has_it() {
    let admin = Admin::acting_on(&json!({"version": 1, "identity": {"ipv6_prefix": 56}}));
    let held = ["2001:db8:1:200::/56", "2001:db8:1:201::/64", "2001:db8:1:202::/64", "2001:db8:2::/64"];
    let bans: Vec<Value> =
        held.iter().map(|network| json!({"network": network, "duration": 3_600_000})).collect();
    ask(&admin.gate.platform.control, "ban", json!({"bans": bans, "author": "ada", "role": "operator"}));
    assert_eq!(networks(&admin), held);
    let lifted = unban(&admin, "network=2001:db8:1:201::/64").json();
    assert_eq!(lifted["networks"], json!(["2001:db8:1:201::/64"]));
    // What is no ban by itself is a part of its client.
    let lifted = unban(&admin, "network=2001:db8:1:203::/64&network=2001:db8:1:204::9").json();
    assert_eq!(lifted["networks"], json!(["2001:db8:1:200::/56"]));
    assert_eq!(networks(&admin), ["2001:db8:1:202::/64", "2001:db8:2::/64"]);
    let again = unban(&admin, "network=2001:db8:1:204::9").json();
    assert_eq!(again["unheard"], json!(["2001:db8:1:200::/56"]));
}

#[test]
fn many_at_once_and_each_in_the_audit_log() {
    let admin = Admin::new();
    let before = admin.audit().len();
    let bans: Vec<Value> = (0..1_000)
        .map(|n| json!({"network": format!("198.18.{}.{}", n / 256, n % 256), "until": "2026-01-02T00:00:00Z", "reason": "list"}))
        .collect();
    let done = ban(&admin, &json!({"bans": bans}));
    assert_eq!(done.json()["networks"].as_array().unwrap().len(), 1_000);
    let status = ask(&admin.gate.platform.control, "status", json!({}));
    assert_eq!(status["result"]["audit"], json!(before + 1_000));
    let mut more = bans;
    more.push(json!({"network": "198.19.0.1", "duration": "1h"}));
    assert_eq!(refused(&ban(&admin, &json!({"bans": more}))), (400, "invalid-body".to_owned()));
    let page = admin.get("reader", "/bans?limit=3&after=198.18.0.255/32").json();
    assert_eq!(
        (&page["bans"][0]["network"], &page["more"], &page["total"]),
        (&json!("198.18.1.0/32"), &json!(true), &json!(1_001))
    );
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let admin = Admin::new();
    let paths = |body: Value| -> Vec<String> {
        let response = ban(&admin, &body);
        assert_eq!(refused(&response), (400, "invalid-body".to_owned()), "{body}");
        let problems = response.json()["problems"].as_array().cloned().unwrap_or_default();
        problems.iter().map(|problem| problem["path"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(paths(json!({"network": "192.0.2.1/24", "duration": "1h"})), ["network"]);
    assert_eq!(paths(json!({"network": "10.0.0.0/7", "duration": "1h"})), ["network"]);
    assert_eq!(paths(json!({"network": "2000::/18", "duration": "1h"})), ["network"]);
    assert_eq!(paths(json!({"duration": "1h"})), ["network"]);
    assert_eq!(paths(json!({"network": "192.0.2.1"})), ["duration"]);
    assert_eq!(paths(json!({"network": "192.0.2.1", "duration": "0s"})), ["duration"]);
    assert_eq!(
        paths(json!({"network": "192.0.2.1", "duration": "1h", "until": "2026-01-02T00:00:00Z"})),
        ["duration"]
    );
    assert_eq!(paths(json!({"network": "192.0.2.1", "until": "2025-01-02T00:00:00Z"})), ["until"]);
    assert_eq!(paths(json!({"network": "192.0.2.1", "until": "2027-01-02T00:00:01Z"})), ["until"]);
    assert_eq!(
        paths(json!({"network": "192.0.2.1", "duration": "1h", "reason": "x".repeat(501)})),
        ["reason"]
    );
    let several =
        json!({"bans": [{"network": "192.0.2.1", "duration": "1h"}, {"network": "x", "until": "never"}]});
    assert_eq!(paths(several), ["bans[1].network", "bans[1].until"]);
    assert_eq!(paths(json!({"bans": []})), [""; 0]);
    assert_eq!(paths(json!({"network": "192.0.2.1", "duration": "1h", "bans": []})), [""; 0]);
    assert_eq!(paths(json!({"network": "192.0.2.1", "duration": "1h", "because": 1})).len(), 1);
    assert_eq!(networks(&admin), ["203.0.113.9/32"]);
    for query in
        ["", "network=", "network=x", "network=10.0.0.0/7", "network=192.0.2.1&message=a&message=b", "nets=1"]
    {
        assert_eq!(refused(&unban(&admin, query)), (400, "bad-request".to_owned()), "{query}");
    }
    for query in ["address=x", "after=x", "limit=x", "address=192.0.2.1&address=192.0.2.2"] {
        assert_eq!(refused(&admin.get("reader", &format!("/bans?{query}"))).1, "bad-request", "{query}");
    }
    assert_eq!(refused(&admin.post("reader", "/bans", &json!({}))).1, "forbidden");
}

#[test]
fn what_the_guard_list_holds_is_refused_by_both() {
    let admin = Admin::acting_on(&json!({"version": 1, "guard_list": ["198.51.100.7"]}));
    let control = &admin.gate.platform.control;
    let document = json!({"version": 1, "guard_list": ["203.0.113.7"]}).to_string();
    let push = json!({"version": 3, "module": "0.3.0", "base": "r0", "document": document, "author": "ada", "role": "operator"});
    assert_eq!(ask(control, "push", push)["result"]["revision"], "r1");
    for network in ["198.51.100.0/24", "203.0.113.7"] {
        let response = ban(&admin, &json!({"network": network, "duration": "1h"}));
        assert_eq!(refused(&response), (409, "guarded".to_owned()), "{network}");
        assert!(admin.audit().last().unwrap().ends_with("guarded"));
    }
}

/// A Limiter object that cannot be told is named, and the ban stands.
#[test]
fn who_cannot_be_told_is_named_in_the_log() {
    let admin = Admin::new();
    admin.gate.platform.limiter_fault.set(Some(Fault::TimesOut));
    let head = Admin::head("operator", "POST", "/bans");
    let body = json!({"network": "192.0.2.7", "duration": "1h"}).to_string();
    let (response, record) = admin.send(head, &body);
    assert_eq!(response.status, 200);
    assert!(
        record.error.as_ref().unwrap().starts_with("not told of bans: 1 of the Limiter objects; counter:")
    );
    assert_eq!(reason(&admin, "192.0.2.7"), Some("banned"));
    assert_eq!(networks(&admin).len(), 2);
}

/// Where Control fails nothing was banned, as far as anybody knows.
#[test]
fn without_control_nothing_is_banned() {
    let admin = Admin::new();
    admin.gate.platform.control_fault.set(Some(Fault::Fails));
    let response = ban(&admin, &json!({"network": "192.0.2.7", "duration": "1h"}));
    assert_eq!(refused(&response), (503, "control-unavailable".to_owned()));
    assert_eq!(reason(&admin, "192.0.2.7"), Some("no-route"));
    assert_eq!(admin.gate.platform.limiters.told.get(), 0);
}

#[test]
fn an_address_tells_its_bans_and_what_they_do() {
    let mut admin = Admin::new();
    ban(&admin, &json!({"network": "192.0.2.0/24", "duration": "1h", "reason": "a nuisance"}));
    follow(&mut admin);
    let report = admin.get("reader", "/address/192.0.2.7").json();
    assert_eq!(
        (&report["bans"][0]["network"], &report["bans"][0]["by"]),
        (&json!("192.0.2.0/24"), &json!("operator"))
    );
    assert_eq!(
        report["decisions"][0],
        json!({"stage": "entry.bans", "action": "deny", "because": "ban", "rule": "manual", "prefix": "192.0.2.0/24"})
    );
    let text = admin
        .send(Admin::head("reader", "GET", "/address/192.0.2.7").with("Accept", "text/plain"), "")
        .0
        .body;
    assert!(
        text.contains("banned as 192.0.2.0/24 until 2026-01-01T01:00:00.000Z by operator: a nuisance"),
        "{text}"
    );
    assert!(text.contains("entry.bans: deny by the ban of manual, 192.0.2.0/24"), "{text}");
}
