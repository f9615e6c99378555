//! Address sets: lookups against a naive scan, and the binary.

mod format;
mod replace;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use edgeweir::addresses::{AddressIndex, SetId};
use edgeweir::stages::ip_filter::prefix::Prefix;
use proptest::prelude::*;

use crate::fake::check;

type Entry = (Prefix, SetId);

/// What the index should say: every entry that contains the address, longest
/// first, and of equal prefixes the highest set first.
fn scan(entries: &[Entry], address: IpAddr) -> Vec<Entry> {
    let mut found: Vec<Entry> =
        entries.iter().filter(|(prefix, _)| prefix.contains(address)).copied().collect();
    found.sort_by_key(|(prefix, set)| std::cmp::Reverse((prefix.length(), *set)));
    found.dedup();
    found
}

fn find(index: &AddressIndex, address: IpAddr) -> Vec<Entry> {
    index.find(address).map(|hit| (hit.prefix, hit.set)).collect()
}

/// Prefixes that meet: few bits in few places, every length.
fn some_prefix() -> impl Strategy<Value = Prefix> {
    let v4 = (0_u32..4, 0_u32..4, 0_u32..4, prop_oneof![0_u8..=32, Just(32), Just(24), Just(16)]).prop_map(
        |(a, b, c, length)| {
            let bits = (10 + a / 3) << 24 | a << 16 | b << 14 | b << 8 | c;
            Prefix::containing(IpAddr::V4(Ipv4Addr::from_bits(bits)), length).unwrap()
        },
    );
    let v6 = (0_u128..4, 0_u128..3, prop_oneof![0_u8..=128, Just(128), Just(64), Just(48)]).prop_map(
        |(a, b, length)| {
            let bits = 0x2001_0db8 << 96 | a << 78 | b << 63 | a << 62 | b;
            Prefix::containing(IpAddr::V6(Ipv6Addr::from_bits(bits)), length).unwrap()
        },
    );
    prop_oneof![2 => v4, 1 => v6]
}

fn some_entries(most: usize) -> impl Strategy<Value = Vec<Entry>> {
    // Sets from 63 on are held in another way.
    let set = prop_oneof![4 => 0_u16..4, 1 => 61_u16..66];
    proptest::collection::vec((some_prefix(), set.prop_map(SetId)), 0..most)
}

/// The addresses at which anything can change: the ends of each prefix and
/// their neighbours.
fn edges(entries: &[Entry]) -> Vec<IpAddr> {
    let mut edges = Vec::new();
    for (prefix, _) in entries {
        match prefix.address() {
            IpAddr::V4(first) => {
                let first = first.to_bits();
                let last = first | u32::MAX.checked_shr(prefix.length().into()).unwrap_or(0);
                for bits in [first, last, first.wrapping_sub(1), last.wrapping_add(1), first / 2 + last / 2] {
                    edges.push(IpAddr::V4(Ipv4Addr::from_bits(bits)));
                }
            }
            IpAddr::V6(first) => {
                let first = first.to_bits();
                let last = first | u128::MAX.checked_shr(prefix.length().into()).unwrap_or(0);
                for bits in [first, last, first.wrapping_sub(1), last.wrapping_add(1), first / 2 + last / 2] {
                    edges.push(IpAddr::V6(Ipv6Addr::from_bits(bits)));
                }
            }
        }
    }
    edges
}

#[test]
fn hits_come_longest_first() {
    let of = |text: &str, set| (text.parse::<Prefix>().unwrap(), SetId(set));
    let index = AddressIndex::build([of("10.1.0.0/16", 1), of("0.0.0.0/0", 2), of("10.0.0.0/8", 0)]);
    let found: Vec<String> = index
        .find(IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3)))
        .map(|hit| format!("{} {}", hit.prefix, hit.set.0))
        .collect();
    assert_eq!(found, ["10.1.0.0/16 1", "10.0.0.0/8 0", "0.0.0.0/0 2"]);
    assert!(AddressIndex::default().longest(IpAddr::V4(Ipv4Addr::LOCALHOST)).is_none());
}

#[test]
fn a_lookup_is_a_scan() {
    check(2_000, some_entries(40), |entries| {
        let index = AddressIndex::build(entries.clone());
        for address in edges(&entries) {
            prop_assert_eq!(find(&index, address), scan(&entries, address), "{}", address);
        }
        let mut sorted = entries.clone();
        sorted.sort_unstable();
        sorted.dedup();
        prop_assert_eq!(index.entries().collect::<Vec<_>>(), sorted);
        Ok(())
    });
}

/// The large form has a directory and long buckets.
#[test]
fn a_lookup_in_a_large_index_is_a_scan() {
    let dense = |set: u16| {
        // Whole buckets of /32s below /24s, /16s and a /8, and much that is
        // spread widely.
        let host = move |bits: u32, length| {
            (Prefix::containing(IpAddr::V4(Ipv4Addr::from_bits(bits)), length).unwrap(), SetId(set))
        };
        let hosts = (0..9_000_u32).map(move |n| host(0x0a01_0000 + n * 7, 32));
        let nets = (0..600_u32).map(move |n| host(0x0a01_0000 + n * 512, 24));
        let wide = (0..3_000_u32).map(move |n| host(n.wrapping_mul(0x9e37_79b9), (n % 25) as u8 + 8));
        hosts.chain(nets).chain(wide)
    };
    let six = |n: u32, length| {
        let bits =
            0x2a02_u128 << 112 | u128::from(n.wrapping_mul(0x9e37_79b9)) << 80 | u128::from(n % 3) << 64;
        (Prefix::containing(IpAddr::V6(Ipv6Addr::from_bits(bits)), length).unwrap(), SetId(5))
    };
    let mut entries: Vec<Entry> = dense(0).chain(dense(3).take(2_000)).collect();
    entries.extend((0..5_000_u32).map(|n| six(n, [29, 32, 40, 48, 56, 64, 128][n as usize % 7])));
    // Many addresses that share their upper half.
    entries.extend((0..200_u128).map(|n| {
        let bits = (0x2a02_u128 << 112) + n * 3;
        (Prefix::host(IpAddr::V6(Ipv6Addr::from_bits(bits))), SetId(6))
    }));
    // Networks side by side, where the bits that others are spread by say nothing, and some far apart.
    entries.extend((0..2_000_u128).map(|n| {
        let bits = (0x2a02_0001_u128 << 96) + (n << 64);
        (Prefix::containing(IpAddr::V6(Ipv6Addr::from_bits(bits)), 64).unwrap(), SetId(7))
    }));
    entries.extend((0..400_u128).map(|n| {
        let bits = n << 119 | n << 70;
        (Prefix::containing(IpAddr::V6(Ipv6Addr::from_bits(bits)), 48 + n as u8 % 17).unwrap(), SetId(8))
    }));
    let full = ["0.0.0.0/0", "::/0", "10.0.0.0/8", "10.1.0.0/16", "255.255.255.255", "0.0.0.0/32", "::/128"];
    entries.extend(full.map(|text| (text.parse().unwrap(), SetId(4))));
    entries.extend((0..70_u16).map(|n| ("10.1.7.0/24".parse().unwrap(), SetId(n * 900))));
    let index = AddressIndex::build(entries.clone());
    check(40, proptest::sample::subsequence(entries.clone(), 12), |some| {
        for address in edges(&some) {
            let scanned = scan(&entries, address);
            let longest = index.longest(address).map(|hit| (hit.prefix, hit.set));
            prop_assert_eq!(longest, scanned.first().copied(), "{}", address);
            prop_assert_eq!(find(&index, address), scanned, "{}", address);
        }
        Ok(())
    });
}

#[test]
fn what_lies_inside_a_prefix_is_what_a_scan_finds() {
    check(1_000, (some_entries(30), some_prefix()), |(entries, outer)| {
        let index = AddressIndex::build(entries.clone());
        let found: Vec<Entry> = index.inside(outer).map(|hit| (hit.prefix, hit.set)).collect();
        let mut scanned: Vec<Entry> = entries
            .into_iter()
            .filter(|(prefix, _)| prefix.length() >= outer.length() && outer.contains(prefix.address()))
            .collect();
        scanned.sort_unstable();
        scanned.dedup();
        prop_assert_eq!(found, scanned);
        Ok(())
    });
}

#[test]
fn replacing_a_set_is_building_anew() {
    check(500, (some_entries(30), some_entries(10)), |(old, new)| {
        let mut replaced = AddressIndex::build(old.clone()).keep(|set| (set.0 != 2).then_some(set));
        for (prefix, _) in &new {
            replaced.push(*prefix, SetId(2));
        }
        let rest = old.into_iter().filter(|(_, set)| set.0 != 2);
        let anew = AddressIndex::build(rest.chain(new.into_iter().map(|(prefix, _)| (prefix, SetId(2)))));
        prop_assert_eq!(replaced.finish(), anew);
        Ok(())
    });
}

#[test]
fn a_prefix_takes_four_bytes() {
    let index = AddressIndex::build((0..100_000_u32).map(|n| {
        let address = IpAddr::V4(Ipv4Addr::from_bits(n.wrapping_mul(0x9e37_79b9)));
        (Prefix::containing(address, 24).unwrap(), SetId(0))
    }));
    // The directory of 256 KiB apart.
    assert!(index.bytes() <= index.len() * 4 + 258 * 1_024);
}
