//! Address sets: lookups against a naive scan.

use std::net::{IpAddr, Ipv4Addr};

use edgeweir::addresses::{AddressIndex, SetId};
use edgeweir::stages::ip_filter::prefix::Prefix;

#[test]
fn hits_come_longest_first() {
    let of = |text: &str, set| (text.parse::<Prefix>().unwrap(), SetId(set));
    let index = AddressIndex::build(vec![of("10.1.0.0/16", 1), of("0.0.0.0/0", 2), of("10.0.0.0/8", 0)]);
    let found: Vec<String> = index
        .find(IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3)))
        .map(|hit| format!("{} {}", hit.prefix, hit.set.0))
        .collect();
    assert_eq!(found, ["10.1.0.0/16 1", "10.0.0.0/8 0", "0.0.0.0/0 2"]);
    assert!(AddressIndex::default().longest(IpAddr::V4(Ipv4Addr::LOCALHOST)).is_none());
}
