//! Replacing sets: against building anew, and up to the limits.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use edgeweir::addresses::format::SETS_LIMIT;
use edgeweir::addresses::replace::{Full, PREFIXES_LIMIT, Replacement, Room, V6_LIMIT};
use edgeweir::addresses::{StoredSet, StoredSets};
use edgeweir::feeds::{Format, HostBits, Limits, Parser, PrefixList};
use edgeweir::stages::ip_filter::prefix::Prefix;
use proptest::prelude::*;

use super::some_prefix;
use crate::fake::check;

fn list(text: &str) -> PrefixList {
    let limits = Limits { bytes: u64::MAX, prefixes: usize::MAX };
    let mut parser = Parser::new(&Format::Netset, HostBits::Refuse, limits);
    parser.push(text.as_bytes()).unwrap();
    parser.finish().unwrap()
}

fn list_of(prefixes: &[Prefix]) -> PrefixList {
    list(&prefixes.iter().map(|prefix| format!("{prefix}\n")).collect::<String>())
}

fn with<'a>(name: &'a str, list: &'a PrefixList) -> Replacement<'a> {
    Replacement { name, list, since: 7, source: "https://lists.example/" }
}

/// The prefixes of a set, by its name.
fn of(sets: &StoredSets, name: &str) -> Option<Vec<Prefix>> {
    let id = sets.id(name)?;
    Some(sets.index.entries().filter(|(_, set)| *set == id).map(|(prefix, _)| prefix).collect())
}

#[test]
fn a_set_is_replaced_and_the_others_stay() {
    let lists = || proptest::collection::vec(some_prefix(), 0..12);
    let named = (0_usize..4, lists());
    check(500, proptest::collection::vec(named, 0..8), |changes| {
        const NAMES: [&str; 4] = ["a", "b", "c", "d"];
        let mut sets = StoredSets { generation: 3, ..StoredSets::default() };
        let mut model: Vec<(&str, PrefixList)> = Vec::new();
        // One or two lists at a time.
        for some in changes.chunks(2) {
            let lists: Vec<(&str, PrefixList)> =
                some.iter().map(|(name, prefixes)| (NAMES[*name], list_of(prefixes))).collect();
            let replacements: Vec<Replacement<'_>> =
                lists.iter().map(|(name, list)| with(name, list)).collect();
            sets = sets.replaced(&replacements);
            for (name, list) in lists {
                model.retain(|(other, _)| *other != name);
                model.push((name, list));
            }
            prop_assert_eq!(sets.generation, 3);
            prop_assert_eq!(sets.sets.len(), model.len());
            for (name, list) in &model {
                prop_assert_eq!(of(&sets, name), Some(list.iter().collect()));
                prop_assert!(sets.holds_exactly(name, list));
            }
        }
        prop_assert_eq!(of(&sets, "e"), None);
        Ok(())
    });
}

#[test]
fn a_list_is_the_one_before_only_where_all_of_it_is() {
    let one = list("198.51.100.0/24\n2001:db8::/32\n");
    let sets = StoredSets::default().replaced(&[with("a", &one), with("b", &list("192.0.2.1\n"))]);
    assert!(sets.holds_exactly("a", &one));
    for other in [
        "198.51.100.0/24\n",
        "198.51.100.0/25\n2001:db8::/32\n",
        "",
        "198.51.100.0/24\n2001:db8::/32\n192.0.2.1\n",
    ] {
        assert!(!sets.holds_exactly("a", &list(other)), "{other}");
    }
    assert!(!sets.holds_exactly("b", &one) && !sets.holds_exactly("c", &one));
    // Nor is nothing a set.
    assert!(!sets.holds_exactly("c", &list("")));
}

#[test]
fn what_is_said_of_a_set_is_bounded() {
    let one = list("198.51.100.0/24\n");
    let long = "x".repeat(5_000);
    let sets =
        StoredSets::default().replaced(&[Replacement { name: &long, list: &one, since: 9, source: &long }]);
    let expected = StoredSet { name: "x".repeat(64), since: 9, source: "x".repeat(2_048) };
    assert_eq!(sets.sets, [expected]);
}

#[test]
fn there_are_so_many_sets_and_no_more() {
    let one = list("198.51.100.0/24\n");
    let mut room = Room::beside(&StoredSets::default());
    for number in 0..SETS_LIMIT {
        room.take(&format!("s{number}"), &one).unwrap();
    }
    assert_eq!(room.take("more", &one), Err(Full::Sets));
    assert_eq!(room.take("s7", &one), Ok(()));
    let names: Vec<String> = (0..SETS_LIMIT).map(|number| format!("s{number}")).collect();
    let all: Vec<Replacement<'_>> = names.iter().map(|name| with(name, &one)).collect();
    let sets = StoredSets::default().replaced(&all);
    assert_eq!(Room::beside(&sets).take("more", &one).unwrap_err().as_str(), "too-many-sets");
}

#[test]
fn there_are_so_many_prefixes_and_no_more() {
    let v4 = |count: usize| {
        let host = |number: usize| format!("{}\n", Ipv4Addr::from_bits(0x0b00_0000 + number as u32 * 2));
        list(&(0..count).map(host).collect::<String>())
    };
    let v6 = |count: usize| {
        let host = |number: usize| {
            format!("{}\n", IpAddr::V6(Ipv6Addr::from_bits((0x2600_u128 << 112) + number as u128 * 2)))
        };
        list(&(0..count).map(host).collect::<String>())
    };
    let (most_v6, rest) = (v6(V6_LIMIT), v4(PREFIXES_LIMIT - V6_LIMIT));
    let mut room = Room::beside(&StoredSets::default());
    room.take("six", &most_v6).unwrap();
    room.take("four", &rest).unwrap();
    assert_eq!(room.take("more", &v4(1)), Err(Full::Prefixes(PREFIXES_LIMIT + 1)));
    // In the place of another one there is room, and what is refused takes none.
    assert_eq!(room.take("four", &v4(9)), Ok(()));
    assert_eq!(room.take("more", &v6(1)), Err(Full::V6(V6_LIMIT + 1)));
    assert_eq!(room.take("more", &v4(1)), Ok(()));
    assert_eq!(Full::V6(1).as_str(), Full::Prefixes(1).as_str());
}
