//! The bans of a snapshot: they come with the manifest, and what is wrong with
//! them keeps no policy back.

use std::cell::RefCell;
use std::rc::Rc;

use edgeweir::control::client::NoControl;
use edgeweir::policy::manifest::{BansRef, Manifest};
use edgeweir::policy::snapshot::{FIRST_READ, Holder, refresh};
use edgeweir::stages::bans::set::{Entry, encode_text};

use super::{at, none};
use crate::fake::{FakeStore, Read, START, block_on};

fn manifest(sequence: u64, bans: Option<(u64, &str)>) -> Read {
    let mut manifest = Manifest::new(sequence, format!("r{sequence}"), "{\"version\": 1}");
    manifest.beside.bans = bans.map(|(generation, set)| BansRef { generation, set: set.to_owned() });
    let (value, metadata) = manifest.encode().unwrap();
    Ok(Some((value, Some(metadata))))
}

fn set(networks: &[&str]) -> String {
    let entry = |network: &&str| Entry {
        network: network.parse().unwrap(),
        until: START / 1_000 + 60,
        cause: "manual".into(),
    };
    encode_text(networks.iter().map(entry).collect(), Vec::new())
}

#[test]
fn bans_come_with_the_manifest_and_keep_no_policy_back() {
    let (kv, holder) = (FakeStore::default(), RefCell::new(Holder::default()));
    let show = |read: Read, millis: u64| {
        kv.reads.borrow_mut().push_back(read);
        block_on(refresh(&kv, &NoControl, &none(), &holder, || at(millis), FIRST_READ));
        let current = holder.borrow().current().unwrap();
        let bans = current.bans.as_ref().map(|bans| (bans.generation(), bans.len()));
        (current.sequence, bans, holder.borrow().degraded().unwrap_or_default().to_owned())
    };
    let good = |sequence, bans| (Some(sequence), bans, String::new());
    assert_eq!(show(manifest(1, None), 0), good(1, None));
    assert_eq!(show(manifest(2, Some((4, &set(&["192.0.2.7"])))), 30_000), good(2, Some((4, 1))));
    let before = holder.borrow().current().unwrap();
    // The same generation is not read again, nor is the policy.
    assert_eq!(show(manifest(3, Some((4, "ignored"))), 60_000), good(3, Some((4, 1))));
    let after = holder.borrow().current().unwrap();
    assert!(Rc::ptr_eq(before.bans.as_ref().unwrap(), after.bans.as_ref().unwrap()));
    assert!(Rc::ptr_eq(&before.gateway, &after.gateway));
    // One that cannot be read: the policy acts, with the bans from before.
    let (sequence, bans, why) = show(manifest(4, Some((5, "AgAA"))), 90_000);
    assert_eq!((sequence, bans), (Some(4), Some((4, 1))));
    assert_eq!(why, "generation 5: the bans are of another format");
    let (_, _, why) = show(manifest(5, Some((6, "no base64!"))), 120_000);
    assert_eq!(why, "generation 6: the bans are no base64");
    let both = set(&["192.0.2.7", "2001:db8::/64"]);
    assert_eq!(show(manifest(6, Some((7, &both))), 150_000), good(6, Some((7, 2))));
    assert_eq!(show(manifest(7, Some((8, &set(&[])))), 180_000), good(7, Some((8, 0))));
}
