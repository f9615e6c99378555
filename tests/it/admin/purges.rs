//! Purges through the admin API.

use std::rc::Rc;

use edgeweir::purge::Stored;
use edgeweir::purge::url::url_of;
use serde_json::{Value, json};

use super::{Admin, refused};
use crate::control::{self, ask};
use crate::fake::{Fault, Response};

fn purge(admin: &Admin, body: &Value) -> Response {
    admin.post("operator", "/purge", body)
}

fn is_void(admin: &Admin, target: &str, tags: &[&str], began: u64) -> bool {
    let tags: Vec<String> = tags.iter().map(|tag| (*tag).to_owned()).collect();
    let url = url_of("https", "app.example", target);
    admin.gate.snapshot.purges().judge(&Stored { url: &url, tags: &tags, began }).is_some()
}

/// Path, value and expectation of what is wrong with a body.
fn faults(admin: &Admin, body: &Value) -> Vec<[String; 3]> {
    let response = purge(admin, body);
    assert_eq!(refused(&response), (400, "invalid-body".to_owned()), "{body}");
    let problems = response.json()["problems"].as_array().cloned().unwrap_or_default();
    let text = |problem: &Value, member: &str| problem[member].as_str().unwrap().to_owned();
    problems.iter().map(|problem| ["path", "value", "expected"].map(|member| text(problem, member))).collect()
}

#[test]
fn a_purge_acts_here_at_once() {
    let admin = Admin::new();
    let began = admin.gate.snapshot.purges().newest();
    let under_way = Rc::clone(&admin.gate.snapshot.live_purges);
    let body = json!({"urls": ["https://app.example/x?b=1&a=2"], "prefixes": ["https://app.example/blog/"],
        "tags": ["News", "news"], "message": "a typo"});
    let done = purge(&admin, &body);
    assert_eq!(done.status, 200, "{}", done.body);
    let done = done.json();
    let sequence = done["sequence"].as_u64().unwrap();
    assert_eq!(done, json!({"sequence": sequence, "state": "pending", "purged": 3}));
    assert_eq!(admin.gate.isolate.changed.get(), Some(sequence));
    assert_eq!(under_way.purges().newest(), sequence);
    assert_eq!(admin.get("reader", "/health").json()["newest_purge"], sequence);
    for (target, tags) in [("/x?a=2&b=1", &[][..]), ("/blog/", &[]), ("/y", &["news"])] {
        assert!(is_void(&admin, target, tags, began), "{target}");
        assert!(!is_void(&admin, target, tags, sequence), "{target}");
    }
    assert!(!is_void(&admin, "/y", &[], began));
    let list = admin.get("reader", "/purges").json();
    assert_eq!((&list["total"], &list["purges"][0]["value"]), (&json!(3), &json!("news")));
    assert_eq!(admin.audit().last().unwrap(), "operator|purge|accepted|-");
    // Whoever looks at the manifest finds the same.
    let active = ask(&admin.gate.platform.control, "active", json!({"module": "0.3.0"}))["result"].clone();
    let manifest: Value = serde_json::from_str(active["manifest"]["value"].as_str().unwrap()).unwrap();
    assert_eq!(manifest["purges"]["records"].as_array().unwrap().len(), 3);
    assert_eq!(manifest["sequence"], sequence);
}

#[test]
fn everything_is_purged_softly_or_not() {
    let admin = Admin::new();
    let void = |began| {
        let url = url_of("https", "app.example", "/");
        admin.gate.snapshot.purges().judge(&Stored { url: &url, tags: &[], began }).map(|void| void.soft)
    };
    let soft = purge(&admin, &json!({"all": true, "soft": true})).json()["sequence"].as_u64().unwrap();
    assert_eq!((void(0), void(soft)), (Some(true), None));
    purge(&admin, &json!({"all": true}));
    assert_eq!((void(0), void(soft)), (Some(false), Some(false)));
}

#[test]
fn what_is_wrong_is_named_all_at_once() {
    let admin = Admin::new();
    let body = json!({"urls": ["https://app.example/", "/x"], "prefixes": ["https://app.ex"], "tags": ["a b", "x"],
        "message": "x".repeat(501)});
    let found = faults(&admin, &body);
    let paths: Vec<&str> = found.iter().map(|[path, ..]| path.as_str()).collect();
    assert_eq!(paths, ["urls[1]", "prefixes[0]", "tags[0]", "message"]);
    assert_eq!(found[0][1], "\"/x\"");
    assert!(found[0][2].starts_with("expected a URL of at most 2,048 bytes such as"), "{found:?}");
    assert!(found[1][2].starts_with("expected a prefix of at most 2,048 bytes such as"), "{found:?}");
    assert!(found[2][2].starts_with("expected a tag of 1 to 256"), "{found:?}");
    let nothing = faults(&admin, &json!({"soft": true}));
    assert_eq!(nothing[0][0], "urls");
    assert!(nothing[0][2].starts_with("expected something in \"urls\""), "{nothing:?}");
    // A long text is not said back as a whole.
    assert!(faults(&admin, &json!({"urls": ["x".repeat(100_000)]}))[0][1].len() < 300);
    for body in [
        json!({"tags": vec!["a"; 501]}),
        json!({"url": "https://app.example/"}),
        json!({"urls": "https://app.example/"}),
        json!({"all": "yes"}),
        json!([]),
    ] {
        let response = purge(&admin, &body);
        assert_eq!(refused(&response), (400, "invalid-body".to_owned()), "{body}");
    }
    assert_eq!(admin.get("reader", "/purges").json(), json!({"purges": [], "more": false, "total": 0}));
    assert_eq!(admin.gate.snapshot.purges().newest(), 0);
    assert_eq!(admin.audit().last().unwrap(), "operator|POST /_weir/admin/v1/purge|refused|invalid-body");
}

#[test]
fn only_operators_purge_and_the_list_has_pages() {
    let admin = Admin::new();
    assert_eq!(
        refused(&admin.post("reader", "/purge", &json!({"all": true}))),
        (403, "forbidden".to_owned())
    );
    let tags: Vec<String> = (0..500).map(|number| number.to_string()).collect();
    assert_eq!(purge(&admin, &json!({"tags": tags})).json()["purged"], 500);
    let page = admin.get("reader", "/purges?limit=2").json();
    assert_eq!((page["purges"].as_array().unwrap().len(), &page["more"]), (2, &json!(true)));
    let before = page["purges"][1]["sequence"].as_u64().unwrap();
    let next = admin.get("reader", &format!("/purges?before={before}")).json();
    assert_eq!(next["purges"].as_array().unwrap().len(), 100);
    assert_eq!(next["purges"][0]["sequence"], before - 1);
    assert_eq!(refused(&admin.get("reader", "/purges?before=x")), (400, "bad-request".to_owned()));
    // It is said when everything was purged for want of room.
    let more: Vec<String> = (500..1_000).map(|number| number.to_string()).collect();
    assert_eq!(purge(&admin, &json!({"tags": more})).json()["overflowed"], Value::Null);
    let done = purge(&admin, &json!({"tags": ["more"]})).json();
    assert_eq!((&done["overflowed"], &done["purged"]), (&json!(true), &json!(1)));
    assert!(is_void(&admin, "/", &[], before));
}

#[test]
fn what_the_control_plane_did_not_take_does_not_act() {
    let admin = Admin::new();
    admin.gate.platform.control_fault.set(Some(Fault::Fails));
    let response = purge(&admin, &json!({"all": true}));
    assert_eq!(refused(&response), (503, "control-unavailable".to_owned()));
    assert_eq!(admin.gate.snapshot.purges().newest(), 0);
    assert_eq!(admin.gate.isolate.changed.get(), None);
}

#[test]
fn without_a_policy_it_is_kept_for_the_first_one() {
    let admin = Admin::empty();
    let done = purge(&admin, &json!({"all": true})).json();
    assert_eq!(done, json!({"sequence": 0, "state": "pending", "purged": 1}));
    assert_eq!(admin.gate.isolate.changed.get(), None);
    assert_eq!(admin.get("reader", "/purges").json()["total"], 1);
}

/// What stands in for a policy becomes the first revision, which the purge
/// travels with.
#[test]
fn what_stands_in_for_a_policy_carries_it() {
    let mut admin = Admin::acting_on(&json!({"version": 1}));
    admin.gate.snapshot.stand_in = Some(control::document("variable").into());
    let done = purge(&admin, &json!({"all": true})).json();
    let sequence = done["sequence"].as_u64().unwrap();
    assert!(sequence > 0, "{done}");
    assert_eq!((admin.active().as_str(), admin.gate.isolate.changed.get()), ("r1", Some(sequence)));
    let active = ask(&admin.gate.platform.control, "active", json!({"module": "0.3.0"}))["result"].clone();
    let manifest: Value = serde_json::from_str(active["manifest"]["value"].as_str().unwrap()).unwrap();
    assert_eq!(manifest["purges"]["records"].as_array().unwrap().len(), 1);
    assert_eq!(manifest["sequence"], sequence);
}
