//! Forwarded chains: whatever a stranger writes, the element that our hop
//! appends is read as the last one, or the field is refused.
#![no_main]

use edgeweir::exchange::list;
use edgeweir::stages::identity::{forwarded_for, parse_address, parse_node};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for (element, node) in [
        ("for=203.0.113.9", "203.0.113.9"),
        ("for=\"[2001:db8::9]:4711\";proto=https", "[2001:db8::9]:4711"),
        ("proto=http;host=\"a.example\";for=203.0.113.9", "203.0.113.9"),
    ] {
        if let Some(nodes) = forwarded_for(&format!("{text}, {element}")) {
            assert_eq!(nodes.last().map(|node| &**node), Some(node), "{nodes:?}");
            // Nothing is lost on the way either.
            if let Some(before) = forwarded_for(text) {
                assert_eq!(nodes.len(), before.len() + 1);
            }
        }
    }
    assert_eq!(list(&format!("{text}, 203.0.113.9")).last(), Some("203.0.113.9"));
    if let Some(address) = parse_node(text) {
        assert_eq!(parse_node(&address.to_string()), Some(address));
        assert_eq!(parse_address(&address.to_string()), Some(address));
        assert!(!matches!(address, std::net::IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()));
    }
});
