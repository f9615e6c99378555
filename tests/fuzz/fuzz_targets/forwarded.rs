//! Forwarded chains and the forms of an address: whatever a stranger writes,
//! it is known by the address that our hop appends, under every way to know
//! hops; and whatever form an address has, it is one address.
#![no_main]

use std::net::{IpAddr, Ipv6Addr};
use std::sync::LazyLock;

use edgeweir::exchange::PlainHead;
use edgeweir::policy::compile;
use edgeweir::stages::identity::address::Seen;
use edgeweir::stages::identity::chain::Elements;
use edgeweir::stages::identity::config::Chain;
use edgeweir::stages::identity::{IdentityStage, parse_address, parse_node};
use edgeweir::stages::ip_filter::prefix::{InvalidPrefix, Prefix};
use http::header::HeaderName;
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

/// Each field, and the ways to know that two hops stand behind the client.
static STAGES: LazyLock<Vec<(Chain, IdentityStage)>> = LazyLock::new(|| {
    let ways = [
        json!({"trusted_hops": ["10.0.0.0/8"]}),
        json!({"trusted_hops": ["10.0.0.0/8"], "on_short_chain": "peer", "on_garbled_chain": "peer"}),
        json!({"trusted_depth": 2}),
        json!({"trusted_depth": 2, "on_short_chain": "peer", "on_garbled_chain": "peer"}),
    ];
    let stage = |chain: &str, way: &Value| {
        let mut address = way.clone();
        address["chain"] = json!(chain);
        let policy = json!({"version": 1, "identity": {"client_address": address}});
        compile(&policy.to_string()).expect("the policy compiles").identity
    };
    let of = |chain, name| ways.iter().map(move |way| (chain, stage(name, way)));
    of(Chain::XForwardedFor, "X-Forwarded-For").chain(of(Chain::Forwarded, "Forwarded")).collect()
});

fn head(stage: &IdentityStage, chain: &str) -> PlainHead {
    let fields: Vec<(HeaderName, String)> = vec![
        (stage.peer_field.clone(), "10.1.2.3".to_owned()),
        (stage.chain_field(), chain.to_owned()),
    ];
    PlainHead { url: "http://a.test/".to_owned(), fields, ..PlainHead::default() }
}

/// What our two hops append, and who the client is then.
const APPENDED: [(Chain, &str, &str); 5] = [
    (Chain::XForwardedFor, "203.0.113.9, 10.0.0.9", "203.0.113.9"),
    (Chain::XForwardedFor, "[2002:c633:6407::9]:4711,10.0.0.9:80,", "198.51.100.7"),
    (Chain::Forwarded, "for=203.0.113.9, for=10.0.0.9", "203.0.113.9"),
    (Chain::Forwarded, "for=\"[2001:db8::9]:4711\";proto=https, by=x;for=\"10.0.0.9:_p\"", "2001:db8::9"),
    (Chain::Forwarded, "host=\"a\\\"b, c\\\\\";For=203.0.113.9,for=10.0.0.9;host=\",\"", "203.0.113.9"),
];

fuzz_target!(|text: &str| {
    for (chain, stage) in STAGES.iter() {
        for (_, appended, client) in APPENDED.iter().filter(|(of, ..)| of == chain) {
            let whole = format!("{text}, {appended}");
            let identity = stage.identify(&head(stage, &whole), 7).expect("a client is known");
            assert_eq!(identity.address.to_string(), *client);
            assert!(identity.trusted_peer);
            assert_eq!(stage.since_client(&whole).trim_end_matches(','), appended.trim_end_matches(','));
            assert_eq!(stage.hops(&whole).len(), 2);
        }
        // The text alone: an address, or a refusal.
        if let Ok(identity) = stage.identify(&head(stage, text), 7) {
            assert_eq!(Seen::of(identity.address).address, identity.address);
        }
        // Elements lie one before the other, and read the same alone.
        let mut end = text.len();
        for element in Elements::new(*chain, text) {
            let Ok(element) = element else { break };
            let alone = &text[element.start..end];
            let again = Elements::new(*chain, alone).next().expect("an element").expect("it was read before");
            assert_eq!(again.node, element.node);
            end = element.start.saturating_sub(1);
        }
    }
    if let Some(address) = parse_node(text) {
        assert_eq!(parse_node(&address.to_string()), Some(address));
        assert_eq!(parse_address(&address.to_string()), Some(address));
        one_form(address);
    }
    if let Some(bits) = text.as_bytes().first_chunk::<16>() {
        one_form(IpAddr::V6(Ipv6Addr::from(*bits)));
    }
});

/// The one form of an address is its own, and no prefix of it misses it.
fn one_form(address: IpAddr) {
    let seen = Seen::of(address);
    assert_eq!(Seen::of(seen.address), Seen { address: seen.address, is_embedded: false });
    assert!(!matches!(seen.address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()));
    let host: Prefix = address.to_string().parse().expect("an address is a prefix");
    assert_eq!(host, Prefix::host(seen.address));
    for length in [16, 24, 40, 47, 48, 64, 96, 104, 127] {
        let Some(written) = Prefix::containing(address, length) else { continue };
        match written.to_string().parse::<Prefix>() {
            // Around embedded addresses stands a prefix of IPv6 clients.
            Ok(prefix) => assert!(prefix.contains(seen.address) || prefix.address().is_ipv6() != seen.address.is_ipv6()),
            Err(InvalidPrefix::Embedded(v4)) => assert!(v4.contains(seen.address) || seen.address == address),
            Err(InvalidPrefix::Malformed) => panic!("{written} is a prefix"),
        }
    }
}
