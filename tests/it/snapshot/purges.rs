//! The purges of an isolate: they come with manifests, outlive them, and are
//! shared by all its snapshots.

use std::cell::RefCell;
use std::rc::Rc;

use edgeweir::control::client::NoControl;
use edgeweir::policy::manifest::Manifest;
use edgeweir::policy::snapshot::{FIRST_READ, Fallback, Holder, Snapshot, refresh};
use edgeweir::purge::{Purge, Scope, Stored, encode};

use super::{at, none};
use crate::fake::{FakeStore, Read, block_on};

fn list(sequence: u64) -> String {
    encode([Purge { sequence, scope: Scope::Tag("a".to_owned()), soft: false }].iter())
}

fn manifest(sequence: u64, purges: Option<String>) -> Read {
    let mut manifest = Manifest::new(sequence, format!("r{sequence}"), "{\"version\": 1}");
    manifest.beside.purges = purges;
    let (value, metadata) = manifest.encode().unwrap();
    Ok(Some((value, Some(metadata))))
}

#[derive(Default)]
struct Place {
    kv: FakeStore,
    holder: RefCell<Holder>,
}

impl Place {
    fn show(&self, read: Read, fallback: &Fallback, millis: u64) -> Rc<Snapshot> {
        self.kv.reads.borrow_mut().push_back(read);
        block_on(refresh(&self.kv, &NoControl, fallback, &self.holder, || at(millis), FIRST_READ));
        self.holder.borrow().current().unwrap()
    }

    fn degraded(&self) -> String {
        self.holder.borrow().degraded().unwrap_or_default().to_owned()
    }
}

#[test]
fn they_come_with_the_manifest_and_one_without_takes_none_back() {
    let place = Place::default();
    assert_eq!(place.show(manifest(1, None), &none(), 0).purges().newest(), 0);
    assert_eq!(place.show(manifest(2, Some(list(2))), &none(), 30_000).purges().newest(), 2);
    let before = place.holder.borrow().current().unwrap().purges();
    // The same list is not read again.
    let after = place.show(manifest(3, Some(list(2))), &none(), 60_000).purges();
    assert!(Rc::ptr_eq(&before, &after));
    // An older module of the control plane writes none.
    assert_eq!(place.show(manifest(4, None), &none(), 90_000).purges().newest(), 2);
    assert_eq!(place.degraded(), "");
}

#[test]
fn a_request_under_way_hears_of_what_came_meanwhile() {
    let place = Place::default();
    let old = place.show(manifest(1, None), &none(), 0);
    let began = old.purges().newest();
    place.show(manifest(2, Some(list(2))), &none(), 30_000);
    let tags = ["a".to_owned()];
    let stored = Stored { url: "https://a.example/", tags: &tags, began };
    assert!(old.purges().judge(&stored).is_some());
    // And what is purged here acts in all snapshots, whichever is asked.
    old.live_purges.hold(&list(3), 3).unwrap();
    let current = place.holder.borrow().current().unwrap();
    assert_eq!(current.purges().newest(), 3);
    // The manifest that carries it, or an older one, changes nothing.
    assert_eq!(place.show(manifest(5, Some(list(2))), &none(), 60_000).purges().newest(), 3);
}

#[test]
fn what_cannot_be_read_keeps_no_policy_back_and_voids_what_is_older() {
    let place = Place::default();
    place.show(manifest(1, Some(list(1))), &none(), 0);
    let current = place.show(manifest(9, Some("[7]".to_owned())), &none(), 30_000);
    assert_eq!((current.sequence, current.purges().newest()), (Some(9), 9));
    assert_eq!(place.degraded(), "the purges cannot be read; all that was stored before counts as purged");
    let anything = Stored { url: "https://a.example/", tags: &[], began: 8 };
    assert!(current.purges().judge(&anything).is_some());
    assert!(current.purges().judge(&Stored { began: 9, ..anything }).is_none());
    place.show(manifest(10, Some(list(10))), &none(), 60_000);
    assert_eq!(place.degraded(), "");
}

#[test]
fn a_policy_of_a_variable_shares_them_too() {
    let place = Place::default();
    let variable = Fallback { variable: Some("{\"version\": 1}".to_owned()), ..Fallback::default() };
    let first = place.show(Ok(None), &variable, 0);
    assert_eq!(first.sequence, None);
    place.show(manifest(2, Some(list(2))), &variable, 30_000);
    assert_eq!(first.purges().newest(), 2);
}
