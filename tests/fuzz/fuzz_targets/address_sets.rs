//! What the reader of stored address sets accepts, however it is cut, answers
//! every lookup as an index of its entries does. The checksum is mended, since
//! it guards against damage and not against strangers.
#![no_main]

use edgeweir::addresses::AddressIndex;
use edgeweir::addresses::format::{decode, encode, read};
use libfuzzer_sys::fuzz_target;
use xxhash_rust::xxh3::xxh3_64;

fuzz_target!(|input: (Vec<u8>, u8)| {
    let (mut bytes, cut) = input;
    let _ = decode([bytes.as_slice()]);
    if bytes.len() < 16 {
        return;
    }
    let rest = [&bytes[..8], &bytes[16..]].concat();
    bytes[8..16].copy_from_slice(&xxh3_64(&rest).to_le_bytes());
    let whole = decode([bytes.as_slice()]);
    assert_eq!(decode(bytes.chunks(usize::from(cut).max(1))), whole);
    // Without the walk over the entries a lookup still ends, and names only
    // what contains the address.
    let addresses: [std::net::IpAddr; 3] = [[0; 4].into(), [10, 0, 0, 1].into(), [0x20; 16].into()];
    if let Ok(sets) = read([bytes.as_slice()]) {
        for address in addresses {
            assert!(sets.index.find(address).all(|hit| hit.prefix.contains(address)));
        }
    }
    if let Ok(sets) = whole {
        let entries: Vec<_> = sets.index.entries().collect();
        assert_eq!(AddressIndex::build(entries), sets.index);
        assert_eq!(decode([encode(&sets).as_slice()]), Ok(sets));
    }
});
