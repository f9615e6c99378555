//! The first revision of an environment that has a policy and never pushed one.

use std::cell::Cell;

use edgeweir::control::adopt::{AUTHOR, from_snapshot};
use edgeweir::control::publication::{Guard, serve};
use edgeweir::error::{Dependency, PlatformError};
use edgeweir::platform::{Clock, ManifestStore, Stored};
use edgeweir::policy::manifest::Manifest;
use edgeweir::policy::snapshot::Snapshot;
use edgeweir::time::Timestamp;
use serde_json::{Value, json};

use super::memory::MemoryStore;
use super::{ask, at, audit, document, push};
use crate::fake::{Gate, block_on};

/// A policy store that shows something, or fails.
#[derive(Default)]
struct Shelf {
    shown: Option<Stored>,
    is_broken: bool,
    written: Cell<Option<Stored>>,
}

impl Shelf {
    fn with(manifest: &Manifest) -> Self {
        let (value, metadata) = manifest.encode().unwrap();
        Self { shown: Some((value, Some(metadata))), ..Self::default() }
    }

    fn written(&self) -> Option<Manifest> {
        self.written.take().map(|(value, metadata)| Manifest::parse(&value, metadata.as_deref()).unwrap())
    }
}

impl Clock for Shelf {
    fn now(&self) -> Timestamp {
        at(0)
    }
}

impl ManifestStore for Shelf {
    async fn put_part(&self, _: &str, _: &[u8]) -> Result<(), PlatformError> {
        Ok(())
    }

    async fn delete_part(&self, _: &str) -> Result<(), PlatformError> {
        Ok(())
    }

    async fn put_active(&self, value: &str, metadata: &str) -> Result<(), PlatformError> {
        self.written.set(Some((value.to_owned(), Some(metadata.to_owned()))));
        Ok(())
    }

    async fn read_active(&self) -> Result<Option<Stored>, PlatformError> {
        if self.is_broken {
            return Err(PlatformError::failed(Dependency::PolicyStore, "broken on purpose"));
        }
        Ok(self.shown.clone())
    }
}

fn ban(store: &MemoryStore, shelf: &Shelf, network: &str) -> Value {
    let order = json!({"version": 3, "action": "ban", "author": "ada", "role": "operator",
        "bans": [{"network": network, "duration": 600_000}]});
    let text = block_on(serve(store, shelf, shelf, &Guard::default(), &order.to_string())).unwrap();
    serde_json::from_str::<Value>(&text).unwrap()["result"].clone()
}

fn purge(store: &MemoryStore, shelf: &Shelf) -> Value {
    let order =
        json!({"version": 3, "action": "purge", "author": "ada", "role": "operator", "tags": ["a", "b"]});
    let text = block_on(serve(store, shelf, shelf, &Guard::default(), &order.to_string())).unwrap();
    serde_json::from_str::<Value>(&text).unwrap()["result"].clone()
}

fn revisions(store: &MemoryStore) -> Vec<Value> {
    ask(store, "history", json!({}))["result"]["revisions"].as_array().unwrap().clone()
}

#[test]
fn what_the_policy_store_holds_becomes_the_first_revision() {
    let (store, shelf) =
        (MemoryStore::default(), Shelf::with(&Manifest::new(41, "r41", document("by-hand"))));
    let done = ban(&store, &shelf, "192.0.2.7");
    let written = shelf.written().unwrap();
    // Above what was there, so that every isolate swaps it in.
    assert!(written.sequence > 41, "{}", written.sequence);
    assert_eq!((written.revision.as_str(), written.policy), ("r1", document("by-hand")));
    assert!(written.beside.bans.is_some());
    assert_eq!(done["state"], "published");
    assert!(done["sequence"].as_u64().unwrap() > 0, "{done}");
    let [revision] = revisions(&store).try_into().unwrap();
    assert_eq!(revision["author"], AUTHOR);
    let actions: Vec<Value> = audit(&store).iter().map(|entry| entry["action"].clone()).collect();
    assert_eq!(actions, ["ban", "push"]);
    // Once: the next ban finds a revision.
    ban(&store, &shelf, "192.0.2.8");
    assert_eq!(revisions(&store).len(), 1);
}

#[test]
fn a_purge_takes_it_over_as_a_ban_does() {
    let (store, shelf) =
        (MemoryStore::default(), Shelf::with(&Manifest::new(41, "r41", document("by-hand"))));
    let done = purge(&store, &shelf);
    let written = shelf.written().unwrap();
    assert_eq!((written.revision.as_str(), written.policy), ("r1", document("by-hand")));
    assert!(written.beside.purges.is_some());
    assert_eq!(done["sequence"], written.sequence);
    assert_eq!(revisions(&store).len(), 1);
}

#[test]
fn a_revision_is_never_replaced() {
    let (store, shelf) =
        (MemoryStore::default(), Shelf::with(&Manifest::new(41, "r41", document("by-hand"))));
    push(&store, "r0", &document("pushed"));
    ban(&store, &shelf, "192.0.2.7");
    assert_eq!(revisions(&store).len(), 1);
    assert_eq!(shelf.written().unwrap().policy, document("pushed"));
}

#[test]
fn what_is_no_policy_is_not_taken_over_and_the_change_is_kept() {
    let mut shelf = Shelf { is_broken: true, ..Shelf::default() };
    let store = MemoryStore::default();
    assert_eq!(ban(&store, &shelf, "192.0.2.7")["sequence"], 0);
    shelf = Shelf { shown: Some(("{\"format\": 1".to_owned(), None)), ..Shelf::default() };
    assert_eq!(ban(&store, &shelf, "192.0.2.8")["sequence"], 0);
    shelf = Shelf::with(&Manifest::new(41, "r41", "{\"version\": 1, \"no-such\": 1}"));
    assert_eq!(ban(&store, &shelf, "192.0.2.9")["sequence"], 0);
    assert_eq!((revisions(&store), shelf.written()), (Vec::new(), None));
    // The store works again: all three travel.
    shelf = Shelf::with(&Manifest::new(41, "r41", document("by-hand")));
    ban(&store, &shelf, "192.0.2.10");
    let bans = ask(&store, "bans", json!({"version": 3}))["result"]["bans"].as_array().unwrap().len();
    assert_eq!((bans, shelf.written().is_some()), (4, true));
}

#[test]
fn a_worker_offers_what_stands_in_for_a_policy_and_nothing_else() {
    let gate = Gate::new(&json!({"version": 1}));
    let offer = |snapshot: &Snapshot| block_on(from_snapshot(&gate.platform, snapshot));
    assert_eq!(offer(&gate.snapshot), None);
    assert_eq!(offer(&Snapshot::none().unwrap()), None);
    let stand_in = Snapshot {
        revision: "variable".to_owned(),
        stand_in: Some(document("variable").into()),
        ..Snapshot::none().unwrap()
    };
    assert_eq!(offer(&stand_in).unwrap().revision, "r1");
    let [revision] = revisions(&gate.platform.control).try_into().unwrap();
    assert_eq!(
        revision["message"],
        "taken over from the variable policy, with the first address set, ban or purge"
    );
    // A revision that came meanwhile stands.
    assert_eq!(offer(&stand_in), None);
}
