//! The stored address sets of a snapshot: when they are loaded, and what an
//! isolate does that cannot have them.

use std::cell::RefCell;
use std::rc::Rc;

use edgeweir::addresses::StoredSets;
use edgeweir::addresses::format::encode;
use edgeweir::control::client::NoControl;
use edgeweir::policy::manifest::{Manifest, PART_LIMIT, PartRef, SetsRef, sha256_hex};
use edgeweir::policy::snapshot::{FIRST_READ, Holder, Need, Snapshot, refresh};
use serde_json::{Value, json};

use super::{at, none};
use crate::admin::sets_of;
use crate::fake::{FakeStore, Read, block_on, both};

/// A policy that refuses whom the stored set holds.
pub(super) fn naming(interval: &str) -> Value {
    json!({"version": 1, "refresh": {"interval": interval}, "address_sets": {"drop": {"stored": true}},
        "ip_filter": {"rules": [{"id": "drop", "action": "deny", "address_sets": ["drop"]}]}})
}

pub(super) fn binary(generation: u64) -> Vec<u8> {
    encode(&StoredSets { generation, ..sets_of(&["drop"]) })
}

/// A manifest that names a generation in parts of so many bytes.
pub(super) fn manifest(sequence: u64, policy: &Value, generation: u64, piece: usize) -> Read {
    let parts = binary(generation).chunks(piece).map(PartRef::of).collect();
    let mut manifest = Manifest::new(sequence, format!("r{sequence}"), policy.to_string());
    manifest.beside.sets = Some(SetsRef { generation, parts });
    let (value, metadata) = manifest.encode().unwrap();
    Ok(Some((value, Some(metadata))))
}

#[derive(Default)]
struct Place {
    kv: FakeStore,
    holder: RefCell<Holder>,
}

impl Place {
    /// The store has the parts of a generation.
    fn has(&self, generation: u64, piece: usize) {
        for part in binary(generation).chunks(piece) {
            self.kv.parts.borrow_mut().insert(sha256_hex(part), part.to_vec());
        }
    }

    fn refresh(&self, read: Read, millis: u64) -> Option<String> {
        self.kv.reads.borrow_mut().push_back(read);
        let now = || at(millis).after(self.kv.paused.get());
        block_on(refresh(&self.kv, &NoControl, &none(), &self.holder, now, FIRST_READ))
    }

    fn current(&self) -> Rc<Snapshot> {
        self.holder.borrow().current().unwrap()
    }

    /// The sequence, and the generation of the sets.
    fn acts_on(&self) -> (Option<u64>, Option<u64>) {
        let current = self.current();
        (current.sequence, current.stored.as_ref().map(|bound| bound.sets.generation))
    }

    fn degraded(&self) -> String {
        self.holder.borrow().degraded().unwrap_or_default().to_owned()
    }
}

#[test]
fn sets_are_there_with_their_policy_however_they_are_cut() {
    for piece in [1, 7, 64, PART_LIMIT] {
        // A manifest has 64 parts at most.
        let piece = piece.max(binary(1).len().div_ceil(64));
        let place = Place::default();
        place.has(1, piece);
        assert_eq!(place.refresh(manifest(1, &naming("30s"), 1, piece), 0), None);
        assert_eq!(place.acts_on(), (Some(1), Some(1)));
        let current = place.current();
        let held: Vec<_> = current.sets().stored.unwrap().sets.holding("10.0.0.9".parse().unwrap()).collect();
        assert_eq!(held[0].0.name, "drop");
    }
}

#[test]
fn what_no_rule_names_is_not_loaded() {
    let place = Place::default();
    place.has(1, PART_LIMIT);
    assert_eq!(place.refresh(manifest(1, &json!({"version": 1}), 1, PART_LIMIT), 0), None);
    assert_eq!((place.acts_on(), place.kv.part_reads.get()), ((Some(1), None), 0));
}

#[test]
fn nothing_is_compiled_or_loaded_twice() {
    let place = Place::default();
    place.has(1, PART_LIMIT);
    place.has(2, PART_LIMIT);
    place.refresh(manifest(1, &naming("30s"), 1, PART_LIMIT), 0);
    let first = place.current();
    // Another revision over the same sets.
    place.refresh(manifest(2, &naming("31s"), 1, PART_LIMIT), 30_000);
    let second = place.current();
    assert_eq!((place.acts_on(), place.kv.part_reads.get()), ((Some(2), Some(1)), 1));
    assert!(!Rc::ptr_eq(&first.gateway, &second.gateway));
    // Other sets under the same policy.
    place.refresh(manifest(3, &naming("31s"), 2, PART_LIMIT), 60_000);
    assert_eq!((place.acts_on(), place.kv.part_reads.get()), ((Some(3), Some(2)), 2));
    assert!(Rc::ptr_eq(&second.gateway, &place.current().gateway));
}

#[test]
fn a_cold_isolate_acts_without_them_and_asks_again_soon() {
    let place = Place::default();
    let line = place.refresh(manifest(1, &naming("30s"), 1, PART_LIMIT), 0).unwrap();
    assert!(line.contains("address sets, generation 1"), "{line}");
    assert_eq!(place.acts_on(), (Some(1), None));
    let mut holder = place.holder.borrow_mut();
    assert_eq!(holder.need(at(100)), Need::RefreshAfter, "nobody has tried since");
    assert_eq!(holder.need(at(1_099)), Need::Nothing);
    assert_eq!(holder.need(at(1_100)), Need::RefreshAfter);
    drop(holder);
    // Still not there: the reason stays.
    assert_eq!(place.refresh(manifest(1, &naming("30s"), 1, PART_LIMIT), 1_100), None);
    assert!(place.degraded().contains("generation 1"), "{}", place.degraded());
    place.has(1, PART_LIMIT);
    let line = place.refresh(manifest(1, &naming("30s"), 1, PART_LIMIT), 2_200).unwrap();
    assert!(line.contains("recovered"), "{line}");
    assert_eq!((place.acts_on(), place.degraded().as_str()), ((Some(1), Some(1)), ""));
    assert_eq!(place.holder.borrow_mut().need(at(4_000)), Need::Nothing);
}

#[test]
fn a_warm_isolate_keeps_its_policy_and_its_sets() {
    let place = Place::default();
    place.has(1, PART_LIMIT);
    place.refresh(manifest(1, &naming("30s"), 1, PART_LIMIT), 0);
    let line = place.refresh(manifest(2, &naming("31s"), 2, PART_LIMIT), 30_000).unwrap();
    assert!(line.contains("acting on revision r1") && line.contains("generation 2"), "{line}");
    assert_eq!(place.acts_on(), (Some(1), Some(1)));
}

#[test]
fn what_the_store_shows_is_not_believed() {
    let place = Place::default();
    place.has(1, PART_LIMIT);
    let hash = sha256_hex(&binary(1));
    let mut bytes = binary(1);
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    for wrong in [bytes[..last].to_vec(), bytes, Vec::new(), binary(2)] {
        place.kv.parts.borrow_mut().insert(hash.clone(), wrong);
        place.refresh(manifest(1, &naming("30s"), 1, PART_LIMIT), 0);
        assert_eq!(place.acts_on(), (Some(1), None));
    }
}

/// A rollback names an older binary under a new number.
#[test]
fn an_older_generation_comes_back_under_a_new_number() {
    let place = Place::default();
    place.has(2, PART_LIMIT);
    place.refresh(manifest(1, &naming("30s"), 2, PART_LIMIT), 0);
    place.has(1, PART_LIMIT);
    let mut back = Manifest::new(2, "r1", naming("30s").to_string());
    back.beside.sets = Some(SetsRef { generation: 3, parts: vec![PartRef::of(&binary(1))] });
    let (value, metadata) = back.encode().unwrap();
    assert_eq!(place.refresh(Ok(Some((value, Some(metadata)))), 30_000), None);
    assert_eq!(place.acts_on(), (Some(2), Some(3)));
}

#[test]
fn requests_of_one_isolate_load_them_once() {
    let place = Place::default();
    place.has(1, PART_LIMIT);
    for _ in 0..2 {
        place.kv.reads.borrow_mut().push_back(manifest(1, &naming("30s"), 1, PART_LIMIT));
    }
    let now = || at(0).after(place.kv.paused.get());
    let fallback = none();
    let one = || refresh(&place.kv, &NoControl, &fallback, &place.holder, now, FIRST_READ);
    let (a, b) = both(one(), one());
    assert_eq!((a, b), (None, None));
    assert_eq!((place.acts_on(), place.kv.part_reads.get()), ((Some(1), Some(1)), 1));
}

#[test]
fn who_waits_for_another_waits_no_longer_than_he_may() {
    let place = Place::default();
    // The parts are never there, and Control has none: the first to ask fails
    // at once, and nobody waits for it.
    for _ in 0..2 {
        place.kv.reads.borrow_mut().push_back(manifest(1, &naming("30s"), 1, PART_LIMIT));
    }
    let now = || at(0).after(place.kv.paused.get());
    let fallback = none();
    let one = || refresh(&place.kv, &NoControl, &fallback, &place.holder, now, FIRST_READ);
    let _ = both(one(), one());
    assert_eq!(place.acts_on(), (Some(1), None));
    assert!(place.kv.paused.get().as_secs() < 3, "{:?}", place.kv.paused.get());
}

#[test]
fn no_sets_at_all_are_a_generation_too() {
    let place = Place::default();
    let mut empty = Manifest::new(1, "r1", naming("30s").to_string());
    empty.beside.sets = Some(SetsRef { generation: 4, parts: Vec::new() });
    let (value, metadata) = empty.encode().unwrap();
    assert_eq!(place.refresh(Ok(Some((value, Some(metadata)))), 0), None);
    assert_eq!((place.acts_on(), place.degraded().as_str()), ((Some(1), Some(4)), ""));
}
