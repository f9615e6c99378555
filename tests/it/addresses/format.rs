//! The binary: what is read is what was written, however it is cut; damage is
//! an error.

use edgeweir::addresses::format::{Damage, decode, encode, read};
use edgeweir::addresses::{AddressIndex, StoredSet, StoredSets};
use proptest::prelude::*;

use super::some_entries;
use crate::fake::check;

fn stored(entries: Vec<super::Entry>) -> StoredSets {
    let set = |name: &str, since| StoredSet {
        name: name.to_owned(),
        since,
        source: format!("https://feeds.example/{name}"),
    };
    let named = [set("drop", 1_760_000_000), set("b", 2), set("office", 3), set("tor", 4)];
    let more = (4..66).map(|n| set(&format!("set{n}"), n));
    StoredSets {
        generation: 7,
        sets: named.into_iter().chain(more).collect(),
        index: AddressIndex::build(entries),
    }
}

#[test]
fn what_is_read_is_what_was_written() {
    check(300, (some_entries(60), 1_usize..40), |(entries, cut)| {
        let sets = stored(entries);
        let bytes = encode(&sets);
        prop_assert_eq!(decode(bytes.chunks(cut)), Ok(sets.clone()));
        prop_assert_eq!(read([bytes.as_slice()]), Ok(sets));
        Ok(())
    });
}

#[test]
fn nothing_is_a_set_too() {
    let bytes = encode(&StoredSets::default());
    assert_eq!(decode([bytes.as_slice()]), Ok(StoredSets::default()));
}

#[test]
fn any_damage_is_an_error() {
    check(300, (some_entries(20), any::<proptest::sample::Index>(), 1_u8..=255), |(entries, at, bits)| {
        let mut bytes = encode(&stored(entries));
        let at = at.index(bytes.len());
        bytes[at] ^= bits;
        prop_assert!(decode([bytes.as_slice()]).is_err(), "byte {}", at);
        bytes[at] ^= bits;
        prop_assert!(decode([&bytes[..at]]).is_err());
        bytes.push(0);
        prop_assert_eq!(decode([bytes.as_slice()]), Err(Damage::Length));
        Ok(())
    });
}

/// With the right checksum, which a stranger can compute as well.
fn resealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let rest = [&bytes[..8], &bytes[16..]].concat();
    let checksum = xxhash_rust::xxh3::xxh3_64(&rest);
    bytes[8..16].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

#[test]
fn entries_that_would_answer_wrongly_are_refused_whatever_the_checksum_says() {
    check(1_000, (some_entries(12), any::<proptest::sample::Index>(), 0_u8..8), |(entries, at, bit)| {
        let sets = stored(entries);
        let mut bytes = encode(&sets);
        let at = 56 + at.index(bytes.len() - 56);
        bytes[at] ^= 1 << bit;
        match decode([resealed(bytes).as_slice()]) {
            Err(_) => {}
            // Another address, length or name may be as good: then it says what
            // a scan of its entries says.
            Ok(other) => {
                let entries: Vec<super::Entry> = other.index.entries().collect();
                prop_assert_eq!(AddressIndex::build(entries.clone()), other.index.clone());
            }
        }
        Ok(())
    });
}

#[test]
fn the_format_before_has_no_origin() {
    let mut sets = stored(vec![("192.0.2.0/24".parse().unwrap(), edgeweir::addresses::SetId(1))]);
    let mut bytes = encode(&sets);
    bytes[4] = 1;
    let mut bytes = resealed(bytes);
    for set in &mut sets.sets {
        (set.since, set.source) = (0, String::new());
    }
    assert_eq!(decode([bytes.as_slice()]), Ok(sets));
    bytes[4] = 3;
    assert_eq!(decode([bytes.as_slice()]), Err(Damage::Format(3)));
}
