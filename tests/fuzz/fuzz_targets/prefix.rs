//! A prefix against a plain reading of address and length.
#![no_main]

use std::net::IpAddr;

use edgeweir::stages::ip_filter::prefix::{InvalidPrefix, Prefix};
use edgeweir::addresses::{AddressIndex, SetId};
use libfuzzer_sys::fuzz_target;

fn plain(text: &str) -> bool {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let Ok(address) = address.parse::<IpAddr>() else { return false };
    let (bits, full) = match address {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()), 32_u32),
        IpAddr::V6(v6) => (v6.to_bits(), 128),
    };
    let length = match length {
        None => full,
        Some(length) => match length.parse::<u32>() {
            Ok(number) if number <= full && number.to_string() == length => number,
            _ => return false,
        },
    };
    bits.trailing_zeros() >= full - length || bits == 0
}

fuzz_target!(|text: &str| {
    let read = text.parse::<Prefix>();
    assert_eq!(!matches!(read, Err(InvalidPrefix::Malformed)), plain(text));
    let Ok(prefix) = read else { return };
    assert_eq!(prefix.to_string().parse(), Ok(prefix));
    assert!(prefix.contains(prefix.address()));
    let index = AddressIndex::build([(prefix, SetId(0))]);
    assert_eq!(index.longest(prefix.address()).map(|hit| hit.prefix), Some(prefix));
});
