//! What the scenario `addresses` of the benchmark runs with: a stored set, and
//! the clients that are looked up in it.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use edgeweir::addresses::format::encode;
use edgeweir::addresses::{Builder, SetId, StoredSet, StoredSets};
use edgeweir::policy::manifest::PART_LIMIT;

use super::with;

/// In the set in any case, and no client.
const PROBES: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(203, 0, 113, 254)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 3, 0, 0, 0, 0, 1))];

/// Writes the parts of a set `listed` of two addresses, and of all prefixes
/// beside them where `full` is not 0; gives how many.
#[unsafe(no_mangle)]
pub extern "C" fn stored_set(full: u32) -> usize {
    with(|bench| {
        let mut builder = Builder::default();
        for probe in PROBES {
            match probe {
                IpAddr::V4(v4) => builder.push_v4(v4.to_bits(), 32, SetId(0)),
                IpAddr::V6(v6) => builder.push_v6(v6.to_bits(), 128, SetId(0)),
            }
        }
        if full != 0 {
            bench.v4.iter().for_each(|(bits, length)| builder.push_v4(*bits, *length, SetId(0)));
            bench.v6.iter().for_each(|(bits, length)| builder.push_v6(*bits, *length, SetId(0)));
        }
        let index = builder.finish();
        let set = StoredSet { name: "listed".to_owned(), since: 0, source: "import".to_owned() };
        let binary = encode(&StoredSets { generation: 1, sets: vec![set], index });
        bench.parts = binary.chunks(PART_LIMIT).map(<[u8]>::to_vec).collect();
        bench.parts.len()
    })
}

/// Writes the addresses of the clients as text, a line each, IPv4 where
/// `family` is 4, and whether a prefix of the full set contains it; gives the
/// length. Half are any address, half lie in a prefix. Those that the
/// benchmark's policy refuses are left out.
#[unsafe(no_mangle)]
pub extern "C" fn clients(family: u32) -> usize {
    with(|bench| {
        let mut builder = Builder::default();
        bench.v4.iter().for_each(|(bits, length)| builder.push_v4(*bits, *length, SetId(0)));
        bench.v6.iter().for_each(|(bits, length)| builder.push_v6(*bits, *length, SetId(0)));
        let index = builder.finish();
        let four = bench.queries_v4.iter().map(|bits| IpAddr::V4(Ipv4Addr::from_bits(*bits)));
        let six = bench.queries_v6.iter().map(|bits| IpAddr::V6(Ipv6Addr::from_bits(*bits)));
        bench.text = String::new();
        for address in four.filter(|_| family == 4).chain(six.filter(|_| family == 6)) {
            if !is_refused(address) && !PROBES.contains(&address) {
                let _ = writeln!(bench.text, "{address} {}", index.longest(address).is_some());
            }
        }
        bench.text.len()
    })
}

/// Whether `bench/policy.json` denies an address.
fn is_refused(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => matches!(v4.octets(), [192, 0, 2, _] | [100, 64..=127, ..]),
        IpAddr::V6(v6) => matches!(v6.segments(), [0x2001, 0xdb8, 2 | 0xbad, ..]),
    }
}
