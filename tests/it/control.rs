//! The control plane: what is refused, what is stored, what is published, and
//! that none of it is lost.

mod adopt;
mod bans;
mod changes;
mod feeds;
mod kept;
pub mod memory;
mod messages;
mod modules;
mod publishing;
mod purges;
mod sets;
mod simulation;
pub mod world;

use edgeweir::control::plane::handle;
use edgeweir::time::Timestamp;
use serde_json::{Value, json};

use self::memory::MemoryStore;
use crate::fake::START;

pub fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(START + millis)
}

/// A document that is told from others by its name.
pub fn document(name: &str) -> String {
    json!({"version": 1, "address_sets": {name: {"prefixes": []}}}).to_string()
}

/// Sends a message of the current protocol by this module.
pub fn ask(store: &MemoryStore, action: &str, fields: Value) -> Value {
    ask_at(store, action, fields, at(0))
}

pub fn ask_at(store: &MemoryStore, action: &str, mut fields: Value, now: Timestamp) -> Value {
    let object = fields.as_object_mut().unwrap();
    object.entry("version").or_insert(json!(2));
    object.entry("module").or_insert(json!("0.2.0"));
    object.insert("action".to_owned(), json!(action));
    serde_json::from_str(&handle(store, &fields.to_string(), now).unwrap()).unwrap()
}

/// Pushes as an operator; gives the whole answer.
pub fn push(store: &MemoryStore, base: &str, document: &str) -> Value {
    ask(
        store,
        "push",
        json!({"base": base, "document": document, "author": "ada", "role": "operator", "message": "why"}),
    )
}

/// The label of a refusal, or the name of the new revision.
pub fn outcome(answer: &Value) -> String {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    text(&answer["refused"]["reason"]).or_else(|| text(&answer["result"]["revision"])).unwrap_or_default()
}

/// The audit log, oldest first.
pub fn audit(store: &MemoryStore) -> Vec<Value> {
    let answer = ask(store, "audit", json!({}));
    let mut entries = answer["result"]["entries"].as_array().unwrap().clone();
    entries.reverse();
    entries
}
