//! The stored address sets, through the admin API.

use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use edgeweir::addresses::{AddressIndex, SetId, StoredSet, StoredSets};
use edgeweir::control::change_sets::{Author, change_sets, present_sets};
use edgeweir::control::client;
use edgeweir::control::message::{Action, Role};
use edgeweir::control::plane::handle;
use edgeweir::control::sets::{SetsAcknowledgement, SetsStatus};
use edgeweir::error::PlatformError;
use edgeweir::platform::{ControlClient, Table};
use edgeweir::stages::ip_filter::BoundSets;
use serde_json::{Value, json};

use super::{Admin, refused};
use crate::control::at;
use crate::control::memory::MemoryStore;
use crate::fake::With;

/// A client that waits for nothing.
struct Direct<'a>(&'a MemoryStore);

impl ControlClient for Direct<'_> {
    async fn call(&self, message: &str, _: Duration) -> Result<String, PlatformError> {
        handle(self.0, message, at(0))
    }
}

fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it waits"),
    }
}

/// Sets of one prefix each, `10.0.N.0/24`.
pub fn sets_of(names: &[&str]) -> StoredSets {
    let prefix = |place: usize| format!("10.0.{place}.0/24").parse().unwrap();
    let id = |place: usize| SetId(u16::try_from(place).unwrap());
    StoredSets {
        generation: 0,
        sets: names
            .iter()
            .map(|name| StoredSet {
                name: (*name).to_owned(),
                since: 1_760_000_000,
                source: "import".to_owned(),
            })
            .collect(),
        index: AddressIndex::build((0..names.len()).map(|place| (prefix(place), id(place)))),
    }
}

pub fn import(store: &MemoryStore, change: &str, sets: &StoredSets) -> SetsAcknowledgement {
    let author = Author { name: "ada", role: Role::Operator, change, message: "why" };
    let edit = |_: &StoredSets, _: &SetsStatus| Ok::<_, ()>(Some(sets.clone()));
    now(change_sets(&Direct(store), &author, None, edit)).unwrap().unwrap()
}

/// Two generations: `drop`, then `drop` and `other`.
pub fn import_samples(store: &MemoryStore) {
    import(store, "import drop", &sets_of(&["drop"]));
    import(store, "import other", &sets_of(&["drop", "other"]));
    // Most tests count what is written down about them: this is not.
    let mut disk = store.disk.borrow_mut();
    let mut state: Value = serde_json::from_str(&disk.values["state"]).unwrap();
    let audit = state["audit"].as_u64().unwrap() - 2;
    state["audit"] = json!(audit);
    disk.values.insert("state".to_owned(), state.to_string());
    disk.rows.retain(|(table, number), _| *table != Table::Audit || *number <= audit);
}

pub fn present(admin: &Admin) -> StoredSets {
    let client = Direct(&admin.gate.platform.control);
    let status: SetsStatus = now(client::ask(&client, &Action::Sets, Duration::MAX)).unwrap();
    (*now(present_sets(&client, &status, None)).unwrap()).clone()
}

#[test]
fn the_sets_and_what_was_before_them() {
    let admin = Admin::new();
    let listed = admin.get("reader", "/address-sets").json();
    assert_eq!((&listed["generation"], &listed["prefixes"]), (&json!(2), &json!(2)));
    assert_eq!(listed["sets"][1]["name"], "other");
    assert_eq!(listed["sets"][0]["since"], "2025-10-09T08:53:20.000Z");
    assert_eq!(listed["earlier"][0]["generation"], 1);
    assert_eq!(listed["earlier"][0]["sets"], json!(["drop"]));
    assert_eq!(listed["earlier"][0]["author"], "ada");
    assert!(listed["bytes"].as_u64().unwrap() > 0);
}

/// A feed that never gave a list is where somebody looks for it.
#[test]
fn a_feed_without_a_list_is_listed_with_what_fails() {
    let feed = |name: &str| json!({"stored": true, "feed": {"url": format!("https://lists.example/{name}")}});
    let admin = Admin::acting_on(
        &json!({"version": 1, "address_sets": {"drop": feed("drop"), "new": feed("new"), "zero": feed("zero")}}),
    );
    import_samples(&admin.gate.platform.control);
    let results = json!([{"name": "new", "url": "https://lists.example/new", "form": "netset refuse", "outcome": "failed",
        "reason": "feed-status", "detail": "the server answered with status 404"}]);
    let noted = json!({"version": 3, "module": "0.3.0", "results": results});
    crate::control::ask_at(&admin.gate.platform.control, "feed-results", noted, at(5_000));
    let listed = admin.get("reader", "/address-sets").json();
    let names: Vec<&str> =
        listed["sets"].as_array().unwrap().iter().map(|set| set["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["drop", "other", "new", "zero"]);
    let new = &listed["sets"][2];
    assert_eq!((&new["prefixes"], &new["v4"], &new["v6"]), (&json!(0), &json!(0), &json!(0)));
    assert!(new.get("since").is_none(), "{new}");
    assert_eq!(new["source"], "https://lists.example/new");
    let failure = &new["feed"]["failure"];
    assert_eq!((&failure["reason"], &failure["attempts"]), (&json!("feed-status"), &json!(1)), "{new}");
    // One that was not tried yet is there, too, and none counts as prefixes.
    assert!(listed["sets"][3]["feed"].get("checked").is_none(), "{listed}");
    assert_eq!(listed["prefixes"], 2);
}

#[test]
fn one_is_removed_and_the_others_keep_their_prefixes() {
    let admin = Admin::new();
    let (response, _) = admin.send(Admin::head("operator", "DELETE", "/address-sets/drop?message=gone"), "");
    assert_eq!(response.status, 200, "{}", response.body);
    assert_eq!(response.json()["generation"], 3);
    let left = present(&admin);
    assert_eq!(left.generation, 3);
    let holding = |address: &str| -> Vec<String> {
        left.holding(address.parse().unwrap()).map(|(set, _)| set.name.clone()).collect()
    };
    assert_eq!((holding("10.0.0.1"), holding("10.0.1.1")), (vec![], vec!["other".to_owned()]));
    assert_eq!(admin.audit().last().unwrap(), "operator|remove-set drop|accepted|-");
    // And back: what is replaced stays for a day.
    let back = admin.post("operator", "/address-sets/rollback", &json!({"to": 1, "message": "why not"}));
    assert_eq!(back.json()["generation"], 4, "{}", back.body);
    let names: Vec<String> = present(&admin).sets.into_iter().map(|set| set.name).collect();
    assert_eq!(names, ["drop"]);
    assert_eq!(admin.audit().last().unwrap(), "operator|rollback-sets 1|accepted|-");
}

#[test]
fn what_is_not_there_is_not_removed() {
    let admin = Admin::new();
    let (response, _) = admin.send(Admin::head("operator", "DELETE", "/address-sets/nothing"), "");
    assert_eq!(refused(&response), (404, "no-such-set".to_owned()));
    let response = admin.post("operator", "/address-sets/rollback", &json!({"to": 9}));
    assert_eq!(refused(&response), (404, "no-such-generation".to_owned()));
}

#[test]
fn what_the_policy_names_stays() {
    let admin = Admin::new();
    let document = json!({"version": 1, "address_sets": {"other": {"stored": true}}}).to_string();
    // The isolates of the samples' module cannot read it yet: the object has
    // seen none but this one here.
    admin.gate.platform.control.disk.borrow_mut().values.remove("modules");
    let pushed = admin.push("owner", "\"r3\"", &document);
    assert_eq!(pushed.status, 201, "{}", pushed.body);
    assert!(pushed.json().get("missing_sets").is_none());
    let (response, _) = admin.send(Admin::head("operator", "DELETE", "/address-sets/other"), "");
    assert_eq!(refused(&response), (409, "set-in-use".to_owned()));
    assert!(response.json()["detail"].as_str().unwrap().contains("other"));
    // Nor does going back take it away.
    let response = admin.post("operator", "/address-sets/rollback", &json!({"to": 1}));
    assert_eq!(refused(&response), (409, "set-in-use".to_owned()));
    assert_eq!(admin.get("reader", "/address-sets").json()["sets"][1]["in_use"], true);
    let (response, _) = admin.send(Admin::head("operator", "DELETE", "/address-sets/drop"), "");
    assert_eq!(response.status, 200);
}

/// A gateway that acts on a policy over the stored sets of the plane.
fn acting(policy: &Value) -> Admin {
    let mut admin = Admin::acting_on(policy);
    import_samples(&admin.gate.platform.control);
    let bound = BoundSets::new(Rc::new(present(&admin)), &admin.gate.snapshot.gateway.sets);
    admin.gate.snapshot.stored = Some(bound);
    admin
}

fn filtering() -> Value {
    json!({
        "version": 1, "upstreams": {"app": {"origin": "https://app.example"}},
        "guard_list": ["10.0.1.128/25"],
        "address_sets": {"drop": {"stored": true}, "other": {"stored": true},
            "office": {"prefixes": ["10.0.0.0/16"]}},
        "ip_filter": {"rules": [
            {"id": "known", "action": "tag", "tag": "known", "address_sets": ["office"]},
            {"id": "drop", "action": "deny", "address_sets": ["drop", "other"]}]},
        "routes": [
            {"id": "all", "upstream": "app"},
            {"id": "inside", "match": {"path": "/inside/*"}, "upstream": "app",
                "ip_filter": {"default": "deny", "rules": [
                    {"id": "office", "action": "allow", "tags": ["known"]}]}}],
    })
}

#[test]
fn an_address_is_told_all_that_holds_it_and_what_decides() {
    let admin = acting(&filtering());
    let report = admin.get("reader", "/address/10.0.0.9").json();
    assert_eq!((&report["network"], &report["generation"]), (&json!("10.0.0.9/32"), &json!(2)));
    let sets: Vec<Value> = report["sets"].as_array().unwrap().clone();
    assert_eq!(
        (&sets[0]["name"], &sets[0]["stored"], &sets[0]["prefix"]),
        (&json!("office"), &json!(false), &json!("10.0.0.0/16"))
    );
    assert_eq!((&sets[1]["name"], &sets[1]["source"]), (&json!("drop"), &json!("import")));
    assert_eq!(sets[1]["since"], "2025-10-09T08:53:20.000Z");
    let decisions = report["decisions"].as_array().unwrap();
    assert_eq!(decisions[0]["stage"], "entry.ip_filter");
    assert_eq!(
        (&decisions[0]["action"], &decisions[0]["rule"], &decisions[0]["address_set"]),
        (&json!("deny"), &json!("drop"), &json!("drop"))
    );
    assert_eq!(decisions[0]["tags"], json!(["known"]));
    // The label of the entry rule counts in the route.
    assert_eq!(
        (&decisions[1]["route"], &decisions[1]["action"], &decisions[1]["rule"]),
        (&json!("inside"), &json!("allow"), &json!("office"))
    );
    assert!(report.get("guarded_by").is_none());
    // The guard list is above all of it.
    let report = admin.get("reader", "/address/10.0.1.200").json();
    assert_eq!(
        (&report["guarded_by"], &report["decisions"][0]["action"]),
        (&json!("10.0.1.128/25"), &json!("allow"))
    );
    assert_eq!(report["decisions"][0]["because"], "guard_list");
    // IPv4 in disguise is the same address; who is nowhere is told so.
    assert_eq!(admin.get("reader", "/address/::ffff:10.0.0.9").json()["address"], "10.0.0.9");
    let nowhere = admin.get("reader", "/address/2001:db8::7").json();
    assert_eq!((&nowhere["sets"], &nowhere["network"]), (&json!([]), &json!("2001:db8::/64")));
    assert_eq!(nowhere["decisions"][0]["because"], "default");
}

#[test]
fn an_address_is_told_to_people_too() {
    let admin = acting(&filtering());
    let head = Admin::head("reader", "GET", "/address/10.0.0.9").with("Accept", "text/plain");
    let (response, _) = admin.send(head, "");
    let expected = [
        "10.0.0.9, counted as 10.0.0.9/32, by policy r1 and address sets of generation 2",
        "  in set office by 10.0.0.0/16, written in the policy",
        "  in set drop by 10.0.0.0/24, since 2025-10-09T08:53:20.000Z from import",
        "  entry.ip_filter: deny by rule drop, 10.0.0.0/24 of set drop",
        "  ip_filter of route inside: allow by rule office",
        "",
    ];
    assert_eq!(response.body.split('\n').collect::<Vec<_>>(), expected);
}

#[test]
fn what_is_no_address_is_a_bad_request() {
    for text in ["x", "10.0.0.0/8", "010.0.0.1", "10.0.0", "::g", "%00"] {
        let admin = Admin::new();
        let (response, _) = admin.send(Admin::head("reader", "GET", &format!("/address/{text}")), "");
        let label = if text.contains('/') { "no-such-endpoint" } else { "bad-request" };
        assert_eq!(refused(&response).1, label, "{text}");
    }
}

#[test]
fn explain_names_the_list_and_loads_what_a_candidate_names() {
    let admin = acting(&filtering());
    let ask = |more: Value| {
        let mut question = json!({"url": "https://app.example/x", "client": "10.0.0.9"});
        question.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = admin.post("reader", "/explain", &question).json();
        let stages = answer["stages"].as_array().unwrap().clone();
        stages.into_iter().find(|stage| stage["stage"] == "entry.ip_filter").unwrap()
    };
    let stage = ask(json!({}));
    assert_eq!((&stage["verdict"], &stage["address_set"]), (&json!("deny"), &json!("drop")));
    assert_eq!(stage["list"], json!({"since": "2025-10-09T08:53:20.000Z", "source": "import"}));
    // An isolate whose policy names no stored set has none.
    let admin = Admin::new();
    let question = json!({"url": "https://app.example/x", "client": "10.0.0.9", "document": filtering()});
    let answer = admin.post("reader", "/explain", &question).json();
    assert_eq!((&answer["verdict"], &answer["reason"]), (&json!("refused"), &json!("address-denied")));
}

#[test]
fn a_push_says_which_sets_nobody_has_imported() {
    let admin = Admin::new();
    admin.gate.platform.control.disk.borrow_mut().values.remove("modules");
    let sets = json!({"drop": {"stored": true}, "lost": {"stored": true}, "own": {"prefixes": []}});
    let document = json!({"version": 1, "address_sets": sets}).to_string();
    let pushed = admin.push("operator", "\"r3\"", &document);
    assert_eq!((pushed.status, &pushed.json()["missing_sets"]), (201, &json!(["lost"])));
}

#[test]
fn an_address_is_told_what_shadow_rules_would_change() {
    let mut policy = filtering();
    policy["ip_filter"]["rules"][1]["mode"] = json!("shadow");
    let admin = acting(&policy);
    let decisions = admin.get("reader", "/address/10.0.0.9").json()["decisions"].clone();
    let told = |place: usize| {
        let decision = &decisions[place];
        ["stage", "action", "rule", "shadow"].map(|member| decision[member].clone())
    };
    assert_eq!(told(0), [json!("entry.ip_filter"), json!("allow"), Value::Null, Value::Null]);
    assert_eq!(told(1), [json!("entry.ip_filter"), json!("deny"), json!("drop"), json!(true)]);
    assert_eq!(told(2)[0], "ip_filter");
    // Where they change nothing, nothing is said.
    let report = admin.get("reader", "/address/192.0.2.1").json();
    assert_eq!(report["decisions"].as_array().unwrap().len(), 2);
}
