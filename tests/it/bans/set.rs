//! The set that travels in the manifest.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use edgeweir::stages::bans::set::{Damage, Entry, FORMAT, LIFTED_LIMIT, Lifted, encode};
use edgeweir::stages::bans::{BANS_LIMIT, BanSet, is_bannable};
use edgeweir::stages::ip_filter::prefix::Prefix;
use edgeweir::time::Timestamp;
use proptest::collection::vec;
use proptest::prelude::*;

use super::{at, prefix};
use crate::fake::{START, ban_set, check};

/// Networks over few bits, so that they nest and meet.
fn network() -> impl Strategy<Value = Prefix> {
    let lengths =
        prop_oneof![Just(8_u8), Just(19), Just(24), Just(32), Just(48), Just(64), Just(65), Just(128)];
    (any::<bool>(), 0..4_u128, 0..4_u128, lengths).prop_map(|(is_v6, high, low, length)| {
        let address: IpAddr = if is_v6 {
            Ipv6Addr::from_bits(0x2001_0db8 << 96 | high << 63 | low << 62 | low).into()
        } else {
            Ipv4Addr::from_bits(u32::try_from(0xc000_0000 | high << 8 | low).unwrap()).into()
        };
        let length = if is_v6 { length.max(19) } else { length.min(32) };
        Prefix::containing(address, length).unwrap()
    })
}

fn entry() -> impl Strategy<Value = Entry> {
    let cause = prop_oneof![Just("manual"), Just("scanner"), Just("g-2")];
    (network(), 0..100_u64, cause).prop_map(|(network, more, cause)| Entry {
        network,
        until: START / 1_000 + more,
        cause: cause.into(),
    })
}

/// One ban a network, as `Control` keeps them.
fn distinct(mut bans: Vec<Entry>) -> Vec<Entry> {
    bans.sort_by_key(|ban| ban.network);
    bans.dedup_by_key(|ban| ban.network);
    bans
}

#[test]
fn a_lookup_finds_what_a_scan_finds() {
    let lifted = vec((network(), 0..9_u64), 0..5);
    let inputs = (vec(entry(), 0..40), lifted, vec((network(), 0..110_000_u64), 1..20));
    check(2_000, inputs, |(bans, lifted, looks)| {
        let bans = distinct(bans);
        let mut lifted: Vec<Lifted> = lifted;
        lifted.sort_unstable();
        lifted.dedup_by_key(|(network, _)| *network);
        let set = BanSet::decode(&encode(bans.clone(), lifted.clone()), 7).unwrap();
        prop_assert_eq!((set.len(), set.generation()), (bans.len(), 7));
        let read: Vec<Entry> = set
            .entries()
            .map(|hit| Entry { network: hit.network, until: hit.until.seconds(), cause: hit.cause.clone() })
            .collect();
        prop_assert_eq!(&read, &bans);
        for (around, after) in looks {
            let (address, now) = (around.address(), at(after));
            let mut found: Vec<(Prefix, u64, String)> = set
                .find(address, now)
                .map(|hit| (hit.network, hit.until.seconds(), hit.cause.to_string()))
                .collect();
            found.sort();
            let scan =
                bans.iter().filter(|ban| ban.network.contains(address) && ban.until * 1_000 > now.millis());
            let scan: Vec<_> = scan.map(|ban| (ban.network, ban.until, ban.cause.to_string())).collect();
            prop_assert_eq!(&found, &scan);
            prop_assert_eq!(set.has(around), bans.iter().any(|ban| ban.network == around));
            let time = lifted.iter().find(|(network, _)| *network == around).map(|(_, time)| *time);
            prop_assert_eq!(set.lifted(around).map(Timestamp::seconds), time);
        }
        Ok(())
    });
}

/// Whatever is read is written again as it was: there is one form.
#[test]
fn any_bytes_are_an_error_or_a_set() {
    let meddled = (
        vec(entry(), 0..6),
        vec((network(), 0..9_u64), 0..3),
        vec((any::<usize>(), any::<u8>()), 0..4),
        any::<usize>(),
    );
    check(20_000, meddled, |(bans, lifted, changes, cut)| {
        let mut bytes = encode(bans, lifted);
        for (place, byte) in changes {
            let place = place % bytes.len();
            bytes[place] = byte;
        }
        if cut % 3 == 0 {
            bytes.truncate(cut / 3 % (bytes.len() + 1));
        }
        if let Ok(set) = BanSet::decode(&bytes, 1) {
            prop_assert!(set.len() <= BANS_LIMIT);
            for hit in set.find("192.0.2.1".parse().unwrap(), at(0)) {
                prop_assert!(is_bannable(hit.network) && hit.until > at(0));
            }
        }
        Ok(())
    });
    check(20_000, vec(any::<u8>(), 0..60), |bytes| {
        let _ = BanSet::decode(&bytes, 1);
        Ok(())
    });
}

#[test]
fn what_is_damaged_is_refused() {
    let good = encode(
        vec![Entry { network: prefix("192.0.2.0/24"), until: 1_000, cause: "manual".into() }],
        Vec::new(),
    );
    // Format, causes, base, then one IPv4 ban: difference, length, time, cause.
    assert_eq!(good[..9], [FORMAT, 1, 6, b'm', b'a', b'n', b'u', b'a', b'l']);
    assert_eq!(good.len(), 9 + 2 + 1 + 5 + 1 + 1 + 1 + 3);
    let with = |place: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[place] = byte;
        BanSet::decode(&bytes, 1).map(|set| set.len())
    };
    assert_eq!(with(0, 2), Err(Damage::Format));
    assert_eq!(with(2, 0), Err(Damage::Value));
    assert_eq!(with(2, 65), Err(Damage::Limit));
    assert_eq!(with(17, 22), Err(Damage::Entries));
    assert_eq!(with(17, 33), Err(Damage::Entries));
    assert_eq!(with(17, 7), Err(Damage::Entries));
    assert_eq!(with(19, 1), Err(Damage::Value));
    assert_eq!(with(11, 2), Err(Damage::Entries));
    assert_eq!(BanSet::decode(&[], 1), Err(Damage::Length));
    let longer = [good.as_slice(), &[0]].concat();
    assert_eq!(BanSet::decode(&longer, 1), Err(Damage::Length));
    // 128 in two bytes that are one too many: a number has one form.
    assert_eq!(BanSet::decode(&[FORMAT, 0, 0x80, 0x00, 0, 0, 0, 0], 1), Err(Damage::Value));
    assert_eq!(BanSet::decode(&[FORMAT, 0, 0, 0, 0, 0, 0], 1).map(|set| set.len()), Ok(0));
    let many = [&[FORMAT, 0, 0][..], &[0xa1, 0x8d, 0x06]].concat();
    assert_eq!(BanSet::decode(&many, 1), Err(Damage::Limit));
}

/// Wide open, nobody is locked out by a set, whatever it says.
#[test]
fn a_set_bans_no_continent() {
    for network in ["0.0.0.0/0", "192.0.0.0/7", "::/0", "2000::/18"] {
        assert!(!is_bannable(prefix(network)));
        let bytes =
            encode(vec![Entry { network: prefix(network), until: 9, cause: "manual".into() }], Vec::new());
        assert_eq!(BanSet::decode(&bytes, 1), Err(Damage::Entries), "{network}");
    }
}

#[test]
fn a_hundred_thousand_are_compact_and_the_earliest_ends_leave() {
    let address =
        |n: u32| IpAddr::V4(Ipv4Addr::from_bits(0x0b00_0000_u32.wrapping_add(n.wrapping_mul(41_131))));
    let bans: Vec<Entry> = (0..100_010_u32)
        .map(|n| Entry {
            network: Prefix::host(address(n)),
            until: START / 1_000 + u64::from(n),
            cause: if n < 5 { "manual" } else { "scanner" }.into(),
        })
        .collect();
    let lifted = (0..20_000_u32).map(|n| (Prefix::host(address(n)), START / 1_000 + u64::from(n)));
    let bytes = encode(bans, lifted.collect());
    let without_lifted = encode(vec![], vec![]).len();
    assert!(without_lifted < 10);
    // About eight bytes a ban, and seven for what was lifted.
    assert!(bytes.len() < 100_000 * 8 + LIFTED_LIMIT * 8, "{}", bytes.len());
    let set = BanSet::decode(&bytes, 1).unwrap();
    assert_eq!(set.len(), BANS_LIMIT);
    assert!(set.bytes() < 3 << 20, "{}", set.bytes());
    let is_there = |n: u32| set.has(Prefix::host(address(n)));
    // Those of people stay, however early they end.
    assert!((0..5).all(is_there) && !(5..15).any(is_there) && (15..30).all(is_there) && is_there(100_009));
    assert!(
        set.lifted(Prefix::host(address(19_999))).is_some()
            && set.lifted(Prefix::host(address(9_999))).is_none()
    );
}

/// A client that is counted as a network of addresses that embed IPv4 ones is
/// banned as that network, and spoils nothing.
#[test]
fn networks_that_embed_ipv4_stand_as_they_are() {
    use edgeweir::stages::bans::parse_network;
    let networks = ["2002:d05:106e:10f5::/64", "2002:a00::/32", "64:ff9b::/64"];
    let entries = networks.map(|network| Entry {
        network: parse_network(network).unwrap(),
        until: START / 1_000 + 60,
        cause: "scanner".into(),
    });
    let set = BanSet::decode(&encode(entries.to_vec(), Vec::new()), 1).unwrap();
    assert_eq!(set.len(), 3);
    assert!(entries.iter().all(|entry| set.has(entry.network)));
    assert_eq!(parse_network("192.0.2.7"), Some(prefix("192.0.2.7/32")));
    for bad in ["", "192.0.2.7/24", "192.0.2.7/", "192.0.2.0/33", "x/8"] {
        assert_eq!(parse_network(bad), None, "{bad}");
    }
}

#[test]
fn a_ban_ends_by_itself() {
    let set = ban_set(1, &[("192.0.2.7", 5_000, "manual"), ("192.0.2.0/24", 3_000, "scanner")]);
    let ends = |after: u64| -> Vec<u8> {
        set.find("192.0.2.7".parse().unwrap(), at(after)).map(|hit| hit.network.length()).collect()
    };
    assert_eq!(ends(2_999), [32, 24]);
    assert_eq!(ends(3_000), [32]);
    assert_eq!(ends(4_999), [32]);
    assert_eq!(ends(5_000), [0_u8; 0]);
}
