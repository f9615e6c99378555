//! What the reader of bans accepts answers every lookup as a scan of its
//! entries does, and is written again to the same effect.
#![no_main]

use std::net::IpAddr;

use edgeweir::stages::bans::set::{Entry, encode};
use edgeweir::stages::bans::{BANS_LIMIT, BanSet};
use edgeweir::time::Timestamp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (Vec<u8>, [u8; 16], u32)| {
    let (bytes, address, seconds) = input;
    let Ok(set) = BanSet::decode(&bytes, 1) else { return };
    let entries: Vec<Entry> = set
        .entries()
        .map(|hit| Entry { network: hit.network, until: hit.until.seconds(), cause: hit.cause.clone() })
        .collect();
    assert!(entries.len() == set.len() && set.len() <= BANS_LIMIT);
    let now = Timestamp::from_millis(u64::from(seconds) * 1_000);
    let [a, b, c, d, ..] = address;
    let mut addresses: Vec<IpAddr> = vec![[a, b, c, d].into(), address.into()];
    addresses.extend(entries.first().map(|entry| entry.network.address()));
    for address in addresses {
        let mut found: Vec<_> = set.find(address, now).map(|hit| hit.network).collect();
        found.sort();
        let scan = entries.iter().filter(|entry| entry.network.contains(address) && entry.until > now.seconds());
        assert_eq!(found, scan.map(|entry| entry.network).collect::<Vec<_>>());
    }
    let again = BanSet::decode(&encode(entries, Vec::new()), 1).expect("what was written can be read");
    assert!(again.entries().eq(set.entries()));
});
