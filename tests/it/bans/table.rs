//! Bans in memory.

use std::net::{IpAddr, Ipv4Addr};

use edgeweir::stages::bans::set::encode;
use edgeweir::stages::bans::{Ban, BanSet, BanTable, MANUAL};
use edgeweir::stages::ip_filter::prefix::Prefix;
use proptest::collection::vec;
use proptest::prelude::*;

use super::{at, ban, prefix};
use crate::fake::{START, ban_set, check};

fn ends(table: &BanTable, address: &str, now: u64) -> Vec<(u8, String)> {
    let address: IpAddr = address.parse().unwrap();
    table.find(address, at(now)).map(|ban| (ban.network.length(), ban.cause.to_string())).collect()
}

fn nth(n: u32) -> Prefix {
    Prefix::host(IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + n)))
}

fn automatic(n: u32, until: u64) -> Ban {
    Ban { network: nth(n), ..ban("192.0.2.1", until, "scanner") }
}

#[test]
fn every_length_is_found_until_its_end() {
    let mut table = BanTable::new(10, 7);
    for (network, until) in [
        ("192.0.2.0/24", 9_000),
        ("192.0.2.7", 5_000),
        ("2001:db8::/32", 9_000),
        ("2001:db8:0:1::/64", 4_000),
    ] {
        assert!(table.hold(ban(network, until, MANUAL), None, at(0)));
    }
    let manual = |length: u8| (length, MANUAL.to_owned());
    assert_eq!(ends(&table, "192.0.2.7", 4_999), [manual(24), manual(32)]);
    assert_eq!(ends(&table, "192.0.2.7", 5_000), [manual(24)]);
    assert_eq!(ends(&table, "192.0.2.8", 0), [manual(24)]);
    assert_eq!(ends(&table, "2001:db8:0:1::9", 3_999), [manual(32), manual(64)]);
    assert_eq!(ends(&table, "2001:db8:0:2::9", 3_999), [manual(32)]);
    assert!(!table.hold(ban("192.0.2.9", 1_000, MANUAL), None, at(1_000)));
    assert_eq!(table.sweep(at(5_000)).len(), 2);
    assert_eq!(table.len(), 2);
}

#[test]
fn of_two_bans_of_a_network_one_stays() {
    let held = |first: Ban, second: Ban| {
        let mut table = BanTable::new(10, 7);
        table.hold(first, None, at(0));
        table.hold(second, None, at(0));
        assert_eq!(table.len(), 1);
        let found = table.iter().next().unwrap();
        (found.cause.to_string(), (found.until.millis() - START) / 1_000, found.shadow)
    };
    let shadow = |until| Ban { shadow: true, ..ban("192.0.2.7", until, "t") };
    let of = |until, cause| ban("192.0.2.7", until, cause);
    let said = |cause: &str, until, shadow| (cause.to_owned(), until, shadow);
    // The later word of a person, the later end of a trigger.
    assert_eq!(held(of(9_000, MANUAL), of(2_000, MANUAL)), said(MANUAL, 2, false));
    assert_eq!(held(of(9_000, "a"), of(2_000, "b")), said("a", 9, false));
    assert_eq!(held(of(2_000, "a"), of(9_000, "b")), said("b", 9, false));
    // A person goes before a trigger, and what acts before what does not.
    assert_eq!(held(of(2_000, MANUAL), of(9_000, "a")), said(MANUAL, 2, false));
    assert_eq!(held(of(9_000, "a"), of(2_000, MANUAL)), said(MANUAL, 2, false));
    assert_eq!(held(of(2_000, "a"), shadow(9_000)), said("a", 2, false));
    assert_eq!(held(shadow(9_000), of(2_000, "a")), said("a", 2, false));
    // Only while it lasts.
    let mut table = BanTable::new(10, 7);
    table.hold(of(2_000, MANUAL), None, at(0));
    assert!(table.hold(of(9_000, "a"), None, at(2_000)));
}

#[test]
fn a_flood_pushes_nothing_out() {
    let mut table = BanTable::new(100, 7);
    table.hold(ban("192.0.2.7", 1_000, MANUAL), None, at(0));
    let held =
        (0..1_000).filter(|n| table.hold(automatic(*n, 60_000 + u64::from(*n) * 1_000), None, at(0))).count();
    assert_eq!((held, table.len()), (99, 100));
    assert!(table.get(prefix("192.0.2.7")).is_some() && table.get(nth(0)).is_some());
    // A person's ban takes the place of the one that ends first.
    assert!(table.hold(ban("192.0.2.8", 2_000, MANUAL), None, at(0)));
    assert!(table.get(nth(0)).is_none() && table.get(nth(1)).is_some());
    // What has ended makes room for anybody.
    assert!(table.hold(automatic(5_000, 90_000), None, at(1_000)));
    assert_eq!(table.len(), 100);
    let mut people = BanTable::new(2, 7);
    for (n, is_held) in [(0, true), (1, true), (2, false)] {
        let network = nth(n);
        assert_eq!(people.hold(Ban { network, ..ban("192.0.2.1", 9_000, MANUAL) }, None, at(0)), is_held);
    }
}

#[test]
fn the_manifest_takes_over() {
    let filled = || {
        let mut table = BanTable::new(10, 7);
        table.hold(ban("192.0.2.1", 9_000, MANUAL), Some(4), at(0));
        table.hold(ban("192.0.2.2", 9_000, "scanner"), None, at(0));
        table.hold(ban("192.0.2.3", 9_000, "scanner"), None, at(0));
        table
    };
    let left = |set: &BanSet| {
        let mut table = filled();
        table.settle(set);
        let mut left: Vec<String> = table.iter().map(|ban| ban.network.address().to_string()).collect();
        left.sort();
        left.join(" ")
    };
    // One that does not know them yet leaves them alone.
    assert_eq!(left(&ban_set(3, &[])), "192.0.2.1 192.0.2.2 192.0.2.3");
    assert_eq!(left(&ban_set(4, &[])), "192.0.2.2 192.0.2.3");
    assert_eq!(left(&ban_set(3, &[("192.0.2.2", 9_000, "scanner")])), "192.0.2.1 192.0.2.3");
    // What was lifted goes, unless it was made anew since.
    let lifted =
        |time: u64| BanSet::decode(&encode(Vec::new(), vec![(prefix("192.0.2.3"), time)]), 3).unwrap();
    assert_eq!(left(&lifted(START / 1_000)), "192.0.2.1 192.0.2.2");
    assert_eq!(left(&lifted(START / 1_000 - 1)), "192.0.2.1 192.0.2.2 192.0.2.3");
    // An older manifest never counts again.
    let mut table = filled();
    table.settle(&ban_set(5, &[]));
    table.hold(ban("192.0.2.4", 9_000, MANUAL), Some(5), at(0));
    table.settle(&ban_set(5, &[]));
    assert_eq!(table.len(), 3);
}

#[test]
fn a_ban_is_lifted_that_was_made_before() {
    let mut table = BanTable::new(10, 7);
    table.hold(ban("192.0.2.1", 9_000, MANUAL), None, at(0));
    assert!(!table.lift(prefix("192.0.2.0/24"), at(5)));
    assert!(!table.lift(prefix("192.0.2.1"), super::Timestamp::from_millis(START - 1)));
    assert!(table.lift(prefix("192.0.2.1"), at(0)) && table.is_empty());
    assert_eq!(ends(&table, "192.0.2.1", 0), []);
}

/// Whatever happens, a lookup is what a scan of the held bans gives, and there
/// are never more than there may be.
#[test]
fn a_lookup_finds_what_a_scan_finds() {
    let ban = (0..24_u32, prop_oneof![Just(24_u8), Just(30), Just(32)], 1..20_u64, 0..3_u8, any::<bool>());
    let step = (ban, 0..4_u8, 0..3_000_u64);
    check(500, vec(step, 1..60), |steps| {
        let mut table = BanTable::new(8, 7);
        let mut now = 0;
        for ((n, length, until, cause, shadow), what, passes) in steps {
            now += passes;
            let network = Prefix::containing(nth(n).address(), length).unwrap();
            let cause = ["manual", "a", "b"][usize::from(cause)];
            let until = at((now / 1_000 + until) * 1_000);
            match what {
                0 => drop(table.sweep(at(now))),
                1 => drop(table.lift(network, at(now))),
                _ => {
                    let shadow = shadow && cause != MANUAL;
                    table.hold(
                        Ban { network, since: at(now), until, cause: cause.into(), shadow },
                        None,
                        at(now),
                    );
                }
            }
            prop_assert!(table.len() <= 8);
            for n in 0..24 {
                let address = nth(n).address();
                let mut found: Vec<Prefix> = table.find(address, at(now)).map(|ban| ban.network).collect();
                found.sort();
                let scan = table.iter().filter(|ban| ban.network.contains(address) && ban.until > at(now));
                let mut scan: Vec<Prefix> = scan.map(|ban| ban.network).collect();
                scan.sort();
                prop_assert_eq!(found, scan);
            }
        }
        Ok(())
    });
}
