//! A lookup in the index is a scan of its entries.
#![no_main]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use edgeweir::addresses::{AddressIndex, SetId};
use edgeweir::stages::ip_filter::prefix::Prefix;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (Vec<(u32, u8, u8)>, Vec<(u64, u64, u8, u8)>, u32, u64)| {
    let (v4, v6, low, high) = input;
    let v4 = v4.into_iter().filter_map(|(bits, length, set)| {
        Some((Prefix::containing(IpAddr::V4(Ipv4Addr::from_bits(bits)), length % 33)?, SetId(set.into())))
    });
    let v6 = v6.into_iter().filter_map(|(upper, lower, length, set)| {
        let bits = u128::from(upper) << 64 | u128::from(lower);
        Some((Prefix::containing(IpAddr::V6(Ipv6Addr::from_bits(bits)), length % 129)?, SetId(set.into())))
    });
    let entries: Vec<(Prefix, SetId)> = v4.chain(v6).collect();
    let index = AddressIndex::build(entries.clone());
    let own = entries.iter().map(|(prefix, _)| prefix.address());
    let others = [IpAddr::V4(Ipv4Addr::from_bits(low)), IpAddr::V6(Ipv6Addr::from_bits(u128::from(high) << 64))];
    for address in own.chain(others) {
        let mut scanned: Vec<_> =
            entries.iter().filter(|(prefix, _)| prefix.contains(address)).copied().collect();
        scanned.sort_by_key(|(prefix, set)| std::cmp::Reverse((prefix.length(), *set)));
        scanned.dedup();
        let found: Vec<_> = index.find(address).map(|hit| (hit.prefix, hit.set)).collect();
        assert_eq!(found, scanned);
    }
});
