//! The stored address sets, through the admin API.

use std::future::Future;
use std::pin::pin;
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
use serde_json::{Value, json};

use super::{Admin, refused};
use crate::control::at;
use crate::control::memory::MemoryStore;

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
