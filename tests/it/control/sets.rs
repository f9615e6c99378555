//! The stored address sets: generations, parts, and what is removed when.

use edgeweir::addresses::format::{NAME_LIMIT, SETS_LIMIT, SOURCE_LIMIT};
use edgeweir::control::publication::{Guard, publish};
use edgeweir::control::sets::{EARLIER_LIMIT, StoredSetsState};
use edgeweir::platform::{Clock, ManifestStore, Stored};
use edgeweir::policy::manifest::{Manifest, hex, part_key, sha256_hex};
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use edgeweir::error::{Dependency, PlatformError};
use edgeweir::time::Timestamp;

use super::memory::MemoryStore;
use super::{ask_at, at, audit, document, push};
use crate::fake::block_on;

const DAY: u64 = 86_400_000;
const HOUR: u64 = 3_600_000;

/// A policy store that does what it is told, at once.
#[derive(Default)]
struct Keys {
    now: Cell<u64>,
    keys: RefCell<BTreeMap<String, Vec<u8>>>,
    puts: Cell<u32>,
    failing: Cell<bool>,
}

impl Keys {
    fn answer(&self) -> Result<(), PlatformError> {
        let error = || PlatformError::failed(Dependency::PolicyStore, "broken on purpose");
        if self.failing.get() { Err(error()) } else { Ok(()) }
    }

    fn parts(&self) -> Vec<String> {
        self.keys.borrow().keys().filter(|key| key.starts_with("part:")).cloned().collect()
    }

    fn manifest(&self) -> Manifest {
        let value = String::from_utf8(self.keys.borrow()["active"].clone()).unwrap();
        Manifest::parse(&value, None).unwrap()
    }
}

impl Clock for Keys {
    fn now(&self) -> Timestamp {
        at(self.now.get())
    }
}

impl ManifestStore for Keys {
    async fn put_part(&self, hash: &str, bytes: &[u8]) -> Result<(), PlatformError> {
        assert_eq!(hash, sha256_hex(bytes));
        self.answer()?;
        self.puts.set(self.puts.get() + 1);
        self.keys.borrow_mut().insert(part_key(hash), bytes.to_vec());
        Ok(())
    }

    async fn delete_part(&self, hash: &str) -> Result<(), PlatformError> {
        self.answer()?;
        self.keys.borrow_mut().remove(&part_key(hash));
        Ok(())
    }

    async fn put_active(&self, value: &str, _: &str) -> Result<(), PlatformError> {
        self.answer()?;
        self.keys.borrow_mut().insert("active".to_owned(), value.as_bytes().to_vec());
        Ok(())
    }

    async fn read_active(&self) -> Result<Option<Stored>, PlatformError> {
        self.answer()?;
        let value = self.keys.borrow().get("active").map(|bytes| String::from_utf8(bytes.clone()).unwrap());
        Ok(value.map(|value| (value, None)))
    }
}

fn put(store: &MemoryStore, text: &str, now: u64) -> String {
    let hex = hex(text.as_bytes());
    let answer = ask_at(store, "put-part", json!({"version": 3, "module": "0.3.0", "part": hex}), at(now));
    answer["result"]["part"]["hash"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

fn set(store: &MemoryStore, base: u64, parts: &[&str], now: u64) -> Value {
    let parts: Vec<String> = parts.iter().map(|part| sha256_hex(part.as_bytes())).collect();
    let sets = json!([{"name": "drop", "v4": 1, "v6": 0, "since": 1, "source": "import"}]);
    let fields = json!({"version": 3, "module": "0.3.0", "base": base, "parts": parts, "sets": sets, "change": "import drop",
        "message": "why", "author": "ada", "role": "operator"});
    ask_at(store, "set-sets", fields, at(now))
}

fn import(store: &MemoryStore, base: u64, text: &str, now: u64) {
    put(store, text, now);
    let answer = set(store, base, &[text], now);
    assert_eq!(answer["result"]["generation"], base + 1, "{answer}");
}

fn run(store: &MemoryStore, keys: &Keys) {
    let _ = block_on(publish(store, keys, keys, &Guard::default())).unwrap();
}

fn objects(store: &MemoryStore) -> usize {
    store.disk.borrow().objects.len()
}

#[test]
fn a_generation_is_published_with_its_parts_once() {
    let (store, keys) = (MemoryStore::default(), Keys::default());
    push(&store, "r0", &document("a"));
    // The module of `push` is an older one: for a day what stands beside the
    // policy is left out, and this one must not wait for it.
    store.disk.borrow_mut().values.remove("modules");
    import(&store, 0, "one", 0);
    run(&store, &keys);
    let manifest = keys.manifest();
    let sets = manifest.beside.sets.unwrap();
    assert_eq!((sets.generation, sets.parts[0].hash.clone()), (1, sha256_hex(b"one")));
    assert_eq!((manifest.revision.as_str(), keys.puts.get()), ("r1", 1));
    // Another revision does not write them again.
    keys.now.set(5_000);
    ask_at(
        &store,
        "push",
        json!({"version": 3, "module": "0.3.0", "base": "r1", "document": document("b"), "author": "a",
            "role": "operator"}),
        at(5_000),
    );
    run(&store, &keys);
    assert_eq!((keys.manifest().revision.as_str(), keys.puts.get()), ("r2", 1));
    assert_eq!(keys.manifest().beside.sets.unwrap().generation, 1);
}

#[test]
fn an_older_module_does_not_get_what_it_cannot_read() {
    let (store, keys) = (MemoryStore::default(), Keys::default());
    push(&store, "r0", &document("a"));
    import(&store, 0, "one", 0);
    run(&store, &keys);
    assert!(keys.manifest().beside.sets.is_none());
    // Once none was seen for a day, it is there.
    keys.now.set(DAY + 1);
    let text = json!({"version": 3, "module": "0.3.0", "base": 1, "parts": [], "sets": [], "change": "x",
        "author": "ada", "role": "operator"});
    let answer = ask_at(&store, "set-sets", text, at(DAY + 1));
    assert_eq!(answer["result"]["generation"], 2, "{answer}");
    run(&store, &keys);
    assert_eq!(keys.manifest().beside.sets.unwrap().generation, 2);
}

#[test]
fn what_is_based_on_an_older_generation_is_refused() {
    let store = MemoryStore::default();
    import(&store, 0, "one", 0);
    put(&store, "two", 0);
    let answer = set(&store, 0, &["two"], 0);
    let refused = &answer["refused"];
    assert_eq!((&refused["reason"], &refused["active"]), (&json!("stale-base"), &json!("1")));
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.starts_with("the stored address sets have changed"), "{detail}");
    let answer = set(&store, 1, &["three"], 0);
    assert_eq!(answer["refused"]["reason"], "no-such-part");
    let reasons: Vec<Value> = audit(&store).iter().map(|entry| entry["reason"].clone()).collect();
    assert_eq!(reasons, [Value::Null, json!("stale-base"), json!("no-such-part")]);
}

#[test]
fn a_reader_changes_nothing() {
    let store = MemoryStore::default();
    for (action, more) in [
        ("set-sets", json!({"base": 0, "parts": [], "sets": [], "change": "x"})),
        ("rollback-sets", json!({"to": 1})),
    ] {
        import(&MemoryStore::default(), 0, "one", 0);
        let mut fields = json!({"version": 3, "author": "eve", "role": "reader"});
        fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = ask_at(&store, action, fields, at(0));
        let reason = answer["refused"]["reason"].as_str().unwrap();
        assert!(["needs-operator", "no-such-generation"].contains(&reason), "{answer}");
    }
    assert_eq!(StoredSetsState::load(&store).unwrap().present.generation, 0);
}

#[test]
fn a_replaced_part_goes_after_a_day_and_not_before() {
    let (store, keys) = (MemoryStore::default(), Keys::default());
    push(&store, "r0", &document("a"));
    store.disk.borrow_mut().values.remove("modules");
    import(&store, 0, "one", 0);
    run(&store, &keys);
    keys.now.set(HOUR);
    import(&store, 1, "two", HOUR);
    run(&store, &keys);
    assert_eq!(keys.parts().len(), 2);
    let before = objects(&store);
    keys.now.set(HOUR + DAY - 1);
    run(&store, &keys);
    assert_eq!((keys.parts().len(), objects(&store)), (2, before));
    // A store that fails keeps everything, and is asked again.
    keys.now.set(HOUR + DAY);
    keys.failing.set(true);
    run(&store, &keys);
    assert_eq!(objects(&store), before);
    let alarm = store.disk.borrow().alarm.unwrap();
    assert!(alarm > keys.now() && alarm.since(keys.now()).as_secs() <= 60, "{alarm:?}");
    keys.failing.set(false);
    keys.now.set(HOUR + DAY + 60_000);
    run(&store, &keys);
    assert_eq!(keys.parts(), [part_key(&sha256_hex(b"two"))]);
    assert_eq!(objects(&store), before - 1);
    assert!(StoredSetsState::load(&store).unwrap().earlier.is_empty());
}

#[test]
fn parts_that_no_list_names_go_after_an_hour_where_there_is_no_policy_too() {
    let (store, keys) = (MemoryStore::default(), Keys::default());
    put(&store, "one", 0);
    assert_eq!(store.disk.borrow().alarm.unwrap(), at(HOUR));
    keys.now.set(HOUR);
    run(&store, &keys);
    assert_eq!(objects(&store), 0);
}

#[test]
fn going_back_takes_the_sets_as_they_were_and_writes_them_anew() {
    let (store, keys) = (MemoryStore::default(), Keys::default());
    push(&store, "r0", &document("a"));
    store.disk.borrow_mut().values.remove("modules");
    import(&store, 0, "one", 0);
    import(&store, 1, "two", 0);
    run(&store, &keys);
    let fields = json!({"version": 3, "module": "0.3.0", "to": 1, "author": "ada", "role": "operator", "message": "bad list"});
    let answer = ask_at(&store, "rollback-sets", fields, at(1_000));
    assert_eq!(answer["result"]["generation"], 3);
    keys.now.set(2_000);
    run(&store, &keys);
    let sets = keys.manifest().beside.sets.unwrap();
    assert_eq!((sets.generation, sets.parts[0].hash.clone()), (3, sha256_hex(b"one")));
    // It is named by two generations: neither going takes it away.
    keys.now.set(DAY + 5_000);
    run(&store, &keys);
    assert_eq!(keys.parts(), [part_key(&sha256_hex(b"one"))]);
}

#[test]
fn so_many_generations_and_no_more() {
    let store = MemoryStore::default();
    for base in 0..EARLIER_LIMIT as u64 + 3 {
        import(&store, base, &format!("list {base}"), 0);
    }
    let keys = Keys::default();
    keys.now.set(HOUR);
    put(&store, "loose", 0);
    run(&store, &keys);
    let state = StoredSetsState::load(&store).unwrap();
    assert_eq!(state.earlier.len(), EARLIER_LIMIT);
    assert_eq!(objects(&store), EARLIER_LIMIT + 1);
}

/// A feed that changes every five minutes leaves a day to go back.
#[test]
fn of_too_many_generations_those_in_between_go() {
    let store = MemoryStore::default();
    let changes = DAY / (HOUR / 12);
    for base in 0..changes {
        import(&store, base, &format!("list {base}"), base * (HOUR / 12));
    }
    let state = StoredSetsState::load(&store).unwrap();
    let earlier: Vec<u64> = state.earlier.iter().map(|earlier| earlier.generation).collect();
    assert_eq!(earlier.len(), EARLIER_LIMIT);
    assert_eq!((earlier[0], *earlier.last().unwrap()), (changes - 1, 1));
    // The first list is still there to go back to.
    let fields = json!({"version": 3, "module": "0.3.0", "to": 1, "author": "ada", "role": "operator"});
    let answer = ask_at(&store, "rollback-sets", fields, at(DAY));
    assert_eq!(answer["result"]["generation"], changes + 1, "{answer}");
    let (keys, present) = (Keys::default(), StoredSetsState::load(&store).unwrap().present);
    assert_eq!(present.parts[0].hash, sha256_hex(b"list 0"));
    keys.now.set(DAY);
    run(&store, &keys);
    assert_eq!(objects(&store), StoredSetsState::load(&store).unwrap().earlier.len());
}

#[test]
fn what_is_known_of_many_sets_fits_into_a_row() {
    let (store, keys) = (MemoryStore::default(), Keys::default());
    push(&store, "r0", &document("a"));
    store.disk.borrow_mut().values.remove("modules");
    // As large as a generation can be described. The policy store fails, so
    // nothing can be removed meanwhile.
    keys.failing.set(true);
    let sets: Vec<Value> = (0..SETS_LIMIT)
        .map(|nth| {
            json!({"name": format!("{nth:0>64}"), "v4": 1_000_000, "v6": 500_000, "since": 4_000_000_000_u64,
                "source": "x".repeat(SOURCE_LIMIT)})
        })
        .collect();
    for base in 0..8 {
        let part = put(&store, &format!("list {base}"), base);
        let fields = json!({"version": 3, "module": "0.3.0", "base": base, "parts": [part], "sets": sets,
            "change": "feeds", "author": "feeds", "role": "operator"});
        let answer = ask_at(&store, "set-sets", fields, at(base));
        assert_eq!(answer["result"]["generation"], base + 1, "{answer}");
        run(&store, &keys);
    }
    let state = StoredSetsState::load(&store).unwrap();
    let earlier: Vec<u64> = state.earlier.iter().map(|earlier| earlier.generation).collect();
    assert_eq!(earlier, [7]);
    // What went is removed once it can be, and nothing else.
    keys.failing.set(false);
    keys.now.set(HOUR / 2);
    run(&store, &keys);
    let left = StoredSetsState::load(&store).unwrap();
    assert_eq!((left.present.generation, left.earlier.len(), left.dropped.len()), (8, 1, 0));
    let has = |text: &str| store.disk.borrow().objects.contains_key(&sha256_hex(text.as_bytes()));
    assert_eq!((0..8).filter(|nth| has(&format!("list {nth}"))).collect::<Vec<_>>(), [6, 7]);
    assert_eq!(keys.manifest().beside.sets.unwrap().generation, 8);
}

#[test]
fn the_audit_log_has_the_whole_name() {
    let store = MemoryStore::default();
    let part = put(&store, "one", 0);
    let change = format!("remove-set {}", "n".repeat(NAME_LIMIT));
    let fields = json!({"version": 3, "module": "0.3.0", "base": 0, "parts": [part], "sets": [], "change": change,
        "author": "ada", "role": "operator"});
    ask_at(&store, "set-sets", fields, at(0));
    assert_eq!(audit(&store)[0]["action"], json!(change));
}

#[test]
fn parts_are_bounded() {
    let store = MemoryStore::default();
    let answer = ask_at(&store, "put-part", json!({"version": 3, "module": "0.3.0", "part": "0"}), at(0));
    assert_eq!(answer["refused"]["reason"], "malformed");
    let large = "00".repeat((1 << 20) + 1);
    let answer = ask_at(&store, "put-part", json!({"version": 3, "module": "0.3.0", "part": large}), at(0));
    assert_eq!(answer["refused"]["reason"], "too-large");
    for number in 0..256 {
        put(&store, &number.to_string(), 0);
    }
    let answer = ask_at(&store, "put-part", json!({"version": 3, "module": "0.3.0", "part": "ff"}), at(0));
    assert_eq!(answer["refused"]["reason"], "too-large");
    assert_eq!(objects(&store), 256);
}

/// What is known of the sets is one row: where it is damaged, what acts stays.
#[test]
fn a_damaged_row_of_sets_or_feeds_holds_up_nothing() {
    let (store, keys) = (MemoryStore::default(), Keys::default());
    push(&store, "r0", &document("a"));
    store.disk.borrow_mut().values.remove("modules");
    import(&store, 0, "one", 0);
    import(&store, 1, "two", 0);
    run(&store, &keys);
    let before = keys.manifest();
    for name in ["sets", "feeds"] {
        store.disk.borrow_mut().values.insert(name.to_owned(), "[1".to_owned());
    }
    keys.now.set(5_000);
    let pushed = ask_at(
        &store,
        "push",
        json!({"version": 3, "module": "0.3.0", "base": "r1", "document": document("b"), "author": "ada", "role": "operator"}),
        at(5_000),
    );
    assert_eq!(pushed["result"]["revision"], "r2", "{pushed}");
    let guard = Guard::default();
    let _ = block_on(publish(&store, &keys, &keys, &guard)).unwrap();
    let after = keys.manifest();
    assert_eq!((after.revision.as_str(), &after.beside.sets), ("r2", &before.beside.sets));
    let notes = guard.take_notes();
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(notes[0].contains("damaged: the state of the address sets"), "{notes:?}");
    assert!(notes[1].contains("damaged: the state of the feeds"), "{notes:?}");
    let _ = block_on(publish(&store, &keys, &keys, &guard)).unwrap();
    assert_eq!(guard.take_notes(), [""; 0]);
    // It goes on from there, and what fails about a feed can be noted again.
    keys.now.set(10_000);
    import(&store, 2, "three", 10_000);
    let results = json!({"version": 3, "module": "0.3.0", "results": [{"name": "drop", "url": "u", "form": "f",
        "outcome": "failed", "reason": "feed-status"}]});
    let noted = ask_at(&store, "feed-results", results, at(10_000));
    assert_eq!(noted["result"]["news"][0]["name"], "drop", "{noted}");
    run(&store, &keys);
    assert_eq!(keys.manifest().beside.sets.unwrap().generation, 3);
}

/// A store from before names the parts of its sets a second time with the
/// next publication.
#[test]
fn the_parts_are_named_a_second_time_where_they_were_not() {
    let (store, keys) = (MemoryStore::default(), Keys::default());
    push(&store, "r0", &document("a"));
    store.disk.borrow_mut().values.remove("modules");
    import(&store, 0, "one", 0);
    store.disk.borrow_mut().values.remove("present-sets");
    run(&store, &keys);
    assert!(store.disk.borrow().values["present-sets"].contains(&sha256_hex(b"one")));
}

#[test]
fn a_damaged_entry_of_the_audit_log_hides_no_other() {
    let store = MemoryStore::default();
    for base in 0..4 {
        import(&store, base, &format!("list {base}"), 0);
    }
    store.disk.borrow_mut().rows.insert((edgeweir::platform::Table::Audit, 3), "{".to_owned());
    let page = |fields: Value| ask_at(&store, "audit", fields, at(0))["result"]["entries"].clone();
    let shown = |entries: &Value| -> Vec<(u64, String)> {
        let entries = entries.as_array().unwrap();
        entries
            .iter()
            .map(|entry| (entry["id"].as_u64().unwrap(), entry["action"].as_str().unwrap().to_owned()))
            .collect()
    };
    let expected = |ids: &[u64]| -> Vec<(u64, String)> {
        let action = |id: u64| if id == 3 { "damaged" } else { "import drop" };
        ids.iter().map(|id| (*id, action(*id).to_owned())).collect()
    };
    assert_eq!(shown(&page(json!({}))), expected(&[4, 3, 2, 1]));
    assert_eq!(shown(&page(json!({"before": 4, "limit": 2}))), expected(&[3, 2]));
}
