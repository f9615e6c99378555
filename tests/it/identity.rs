//! Who is calling: under every configuration, and whatever a client writes.

use edgeweir::error::Reason;
use edgeweir::exchange::PlainHead;
use edgeweir::policy::compile;
use edgeweir::stages::identity::{
    Identity, IdentityStage, forwarded_for, parse_address, parse_node, parse_traceparent,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::fake::{With, check, get};

const FRESH: u128 = 0x0123_4567_89ab_cdef_0011_2233_4455_6677;

fn stage(identity: &Value) -> IdentityStage {
    compile(&json!({"version": 1, "identity": identity}).to_string())
        .unwrap_or_else(|error| panic!("{error}"))
        .identity
}

fn hops(chain: &str) -> IdentityStage {
    stage(&json!({"client_address": {"trusted_hops": ["10.0.0.0/8", "fd00::/8"], "chain": chain}}))
}

fn identify(stage: &IdentityStage, head: &PlainHead) -> Result<Identity, Reason> {
    stage.identify(head, FRESH).map_err(|reject| reject.reason)
}

fn address(stage: &IdentityStage, head: &PlainHead) -> Option<String> {
    identify(stage, head).ok().map(|identity| identity.address.to_string())
}

fn anonymous() -> PlainHead {
    let mut head = get("/");
    head.fields.retain(|(name, _)| name.as_str() != "cf-connecting-ip");
    head
}

#[test]
fn rule_1_the_peer_is_the_address_in_one_field() {
    let plain = stage(&json!({}));
    assert_eq!(address(&plain, &get("/").from("203.0.113.9")).as_deref(), Some("203.0.113.9"));
    assert_eq!(address(&plain, &get("/").from(" 203.0.113.9\t")).as_deref(), Some("203.0.113.9"));
    let other = stage(&json!({"client_address": {"header": "True-Client-IP"}}));
    let head = anonymous().with("True-Client-IP", "2001:db8::7").with("CF-Connecting-IP", "192.0.2.1");
    assert_eq!(address(&other, &head).as_deref(), Some("2001:db8::7"));
}

/// A spoofed chain, under every configuration in which it must not count.
#[test]
fn rule_2_a_chain_from_a_stranger_is_not_read() {
    let with_chain = get("/")
        .from("203.0.113.9")
        .with("X-Forwarded-For", "10.0.0.1, 127.0.0.1")
        .with("Forwarded", "for=127.0.0.1");
    let garbled =
        get("/").from("203.0.113.9").with("X-Forwarded-For", "<garbage>").with("Forwarded", "for=\"");
    for stage in [
        stage(&json!({})),
        stage(&json!({"client_address": {"chain": "Forwarded"}})),
        stage(&json!({"client_address": {"on_missing": {"address": "127.0.0.1"}}})),
        hops("X-Forwarded-For"),
        hops("Forwarded"),
    ] {
        for head in [&with_chain, &garbled] {
            assert_eq!(address(&stage, head).as_deref(), Some("203.0.113.9"));
            assert!(!identify(&stage, head).unwrap().trusted_peer);
        }
    }
}

#[test]
fn rule_2_a_chain_is_walked_from_the_right_over_our_own_hops() {
    let stage = hops("X-Forwarded-For");
    for (chain, client) in [
        ("203.0.113.9", "203.0.113.9"),
        ("127.0.0.1, 203.0.113.9", "203.0.113.9"),
        ("<garbage>, unknown, 203.0.113.9", "203.0.113.9"),
        ("6.6.6.6, 203.0.113.9, 10.9.9.9", "203.0.113.9"),
        ("6.6.6.6, 203.0.113.9, 10.9.9.9, fd00::1", "203.0.113.9"),
        ("203.0.113.9:4711, 10.0.0.7:80", "203.0.113.9"),
        ("[2001:db8::9]:4711, [fd00::1]", "2001:db8::9"),
        ("2001:db8::9", "2001:db8::9"),
        ("::ffff:203.0.113.9, ::ffff:10.0.0.9", "203.0.113.9"),
        // All of them are ours: the first of them is the client.
        ("10.0.0.3, 10.0.0.2", "10.0.0.3"),
        (",, 203.0.113.9 ,,", "203.0.113.9"),
        // A hop that began the request itself.
        ("", "10.1.2.3"),
    ] {
        let head = get("/").from("10.1.2.3").with("X-Forwarded-For", chain);
        assert_eq!(address(&stage, &head).as_deref(), Some(client), "{chain}");
    }
    assert_eq!(
        address(&stage, &get("/").from("::ffff:10.1.2.3").with("X-Forwarded-For", "1.1.1.1")).as_deref(),
        Some("1.1.1.1")
    );
    let two_lines =
        get("/").from("10.1.2.3").with("X-Forwarded-For", "6.6.6.6").with("X-Forwarded-For", "203.0.113.9");
    assert_eq!(address(&stage, &two_lines).as_deref(), Some("203.0.113.9"));
    assert_eq!(
        address(&stage, &get("/").from("10.1.2.3").with("Forwarded", "for=6.6.6.6")).as_deref(),
        Some("10.1.2.3")
    );
}

#[test]
fn rule_2_forwarded_elements_are_walked_the_same_way() {
    let stage = hops("Forwarded");
    for (chain, client) in [
        ("for=203.0.113.9", "203.0.113.9"),
        ("For=\"203.0.113.9:4711\";proto=http;by=10.0.0.1", "203.0.113.9"),
        ("for=6.6.6.6, for=\"[2001:db8::9]:1\", for=10.0.0.2", "2001:db8::9"),
        ("proto=https;for=203.0.113.9 , for=10.0.0.2;host=\"a,b;for=6.6.6.6\"", "203.0.113.9"),
        ("for=_hidden, for=203.0.113.9", "203.0.113.9"),
        ("for=unknown;by=x,for=203.0.113.9", "203.0.113.9"),
    ] {
        let head = get("/").from("10.1.2.3").with("Forwarded", chain);
        assert_eq!(address(&stage, &head).as_deref(), Some(client), "{chain}");
    }
}

/// A client in front of our hop opens a quoted string to swallow what the hop
/// appends: refused, never believed.
#[test]
fn rule_2_a_client_cannot_quote_away_what_a_hop_appends() {
    let stage = hops("Forwarded");
    for before in ["for=6.6.6.6;by=\"", "for=\"6.6.6.6", "for=6.6.6.6;by=\"\\", "for=6.6.6.6;"] {
        for appended in
            ["for=203.0.113.9", "for=\"[2001:db8::9]:1\"", "for=203.0.113.9;host=\"x\";proto=http"]
        {
            let head = get("/").from("10.1.2.3").with("Forwarded", before).with("Forwarded", appended);
            assert_ne!(address(&stage, &head).as_deref(), Some("6.6.6.6"), "{before} {appended}");
        }
    }
}

#[test]
fn rule_3_what_is_missing_or_garbled_has_a_stated_outcome() {
    let reject = stage(&json!({"client_address": {"on_missing": "reject"}}));
    let assume = stage(&json!({"client_address": {"on_missing": {"address": "::ffff:127.0.0.1"}}}));
    assert_eq!(identify(&reject, &anonymous()), Err(Reason::ClientAddress));
    assert_eq!(address(&assume, &anonymous()).as_deref(), Some("127.0.0.1"));
    for garbled in [
        "",
        " ",
        "unknown",
        "1.2.3",
        "1.2.3.4.5",
        "01.2.3.4",
        "1.2.3.4:80",
        "[::1]",
        "fe80::1%eth0",
        "1.2.3.4, 5.6.7.8",
        "a",
    ] {
        for stage in [&reject, &assume] {
            assert_eq!(identify(stage, &get("/").from(garbled)), Err(Reason::ClientAddress), "{garbled:?}");
        }
    }
}

#[test]
fn rule_3_a_garbled_chain_of_our_own_hops_is_refused() {
    for (chain, bad) in [
        ("X-Forwarded-For", "203.0.113.9, unknown"),
        ("X-Forwarded-For", "203.0.113.9, 10.0.0.2, x"),
        ("X-Forwarded-For", "1.2.3.4:"),
        ("X-Forwarded-For", "1.2.3.4:123456"),
        ("X-Forwarded-For", "[::1"),
        ("X-Forwarded-For", "[::1]a"),
        ("Forwarded", "for=unknown"),
        ("Forwarded", "for=_x, for=10.0.0.2"),
        ("Forwarded", "for=203.0.113.9, by=10.0.0.1"),
        ("Forwarded", "for=203.0.113.9;for=10.0.0.1"),
        ("Forwarded", "for=203.0.113.9 for=6.6.6.6"),
        ("Forwarded", "for="),
        ("Forwarded", "for"),
        ("Forwarded", "for=\"203.0.113.9"),
        ("Forwarded", "=203.0.113.9"),
    ] {
        let head = get("/").from("10.1.2.3").with(chain, bad);
        assert_eq!(identify(&hops(chain), &head), Err(Reason::ClientAddress), "{chain}: {bad}");
    }
}

#[test]
fn rule_4_mapped_addresses_are_unwrapped_and_ipv6_counts_by_network() {
    let networks = |prefix: u8, from: &str| {
        let stage = stage(&json!({"ipv6_prefix": prefix}));
        identify(&stage, &get("/").from(from)).unwrap().network.to_string()
    };
    assert_eq!(networks(64, "2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
    assert_eq!(networks(32, "2001:db8:1:2:3:4:5:6"), "2001:db8::/32");
    assert_eq!(networks(128, "2001:db8::6"), "2001:db8::6/128");
    assert_eq!(networks(64, "::ffff:192.0.2.7"), "192.0.2.7/32");
    assert_eq!(networks(64, "192.0.2.7"), "192.0.2.7/32");
}

#[test]
fn rule_5_a_request_id_is_kept_from_our_own_hops_only() {
    let stage = hops("X-Forwarded-For");
    let id = |from: &str, id: &str| {
        identify(&stage, &get("/").from(from).with("X-Request-Id", id)).unwrap().request_id
    };
    let made = format!("{FRESH:032x}");
    assert_eq!(id("10.1.2.3", "abc_DEF-9"), "abc_DEF-9");
    assert_eq!(id("10.1.2.3", &"a".repeat(128)), "a".repeat(128));
    assert_eq!(id("203.0.113.9", "abc"), made);
    for bad in ["", "a b", "a,b", "é", "a\"", "a/b", "a.b", &"a".repeat(129)] {
        assert_eq!(id("10.1.2.3", bad), made, "{bad:?}");
    }
    let two = get("/").from("10.1.2.3").with("X-Request-Id", "a").with("X-Request-Id", "b");
    assert_eq!(identify(&stage, &two).unwrap().request_id, made);
}

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

#[test]
fn rule_5_anybody_may_begin_a_trace() {
    let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let trace = identify(&stage(&json!({})), &get("/").with("traceparent", &parent)).unwrap().trace;
    assert_eq!((trace.trace_id.as_str(), trace.flags.as_str(), trace.continued), (TRACE, "01", true));
    assert_ne!(trace.span_id, "00f067aa0ba902b7");
    assert_eq!(parse_traceparent(&trace.traceparent()), Some((TRACE, "01")));
    for head in [
        get("/"),
        get("/").with("traceparent", "x"),
        get("/").with("traceparent", &parent).with("traceparent", &parent),
    ] {
        let begun = identify(&stage(&json!({})), &head).unwrap().trace;
        assert!(!begun.continued && begun.trace_id != TRACE);
        assert!(parse_traceparent(&begun.traceparent()).is_some());
    }
}

#[test]
fn a_begun_trace_is_valid_whatever_the_random_bits() {
    for fresh in [0, 1, u128::MAX, 1 << 64, u128::from(u64::MAX)] {
        let identity = stage(&json!({})).identify(&get("/"), fresh).unwrap();
        assert!(parse_traceparent(&identity.trace.traceparent()).is_some(), "{fresh:x}");
        assert_eq!(identity.request_id.len(), 32);
    }
}

#[test]
fn a_traceparent_is_as_w3c_says() {
    let with =
        |version: &str, id: &str, parent: &str, flags: &str| format!("{version}-{id}-{parent}-{flags}");
    let (id, parent) = (TRACE, "00f067aa0ba902b7");
    for good in [
        with("00", id, parent, "00"),
        with("00", id, parent, "ff"),
        with("01", id, parent, "01-more"),
        with("fe", id, parent, "01"),
    ] {
        assert!(parse_traceparent(&good).is_some(), "{good}");
    }
    for bad in [
        String::new(),
        with("ff", id, parent, "01"),
        with("00", id, parent, "01-"),
        with("00", id, parent, "1"),
        with("00", id, parent, "0g"),
        with("0", id, parent, "01"),
        with("00", &"0".repeat(32), parent, "01"),
        with("00", id, &"0".repeat(16), "01"),
        with("00", &id[1..], parent, "01"),
        with("00", &id.to_uppercase(), parent, "01"),
        with("00", id, &parent[1..], "01"),
        format!("00_{id}_{parent}_01"),
        format!(" {}", with("00", id, parent, "01")),
    ] {
        assert_eq!(parse_traceparent(&bad), None, "{bad}");
    }
}

#[test]
fn no_text_panics_a_parser() {
    let noise = prop_oneof![any::<String>(), "[a-z0-9=;,\"\\\\ :.\\[\\]-]{0,60}"];
    check(3_000, noise, |text| {
        let _ = (parse_address(&text), parse_node(&text), parse_traceparent(&text));
        if let Some(nodes) = forwarded_for(&text) {
            prop_assert!(nodes.len() <= text.len());
        }
        Ok(())
    });
}

/// The right-most address that is not ours is found under any text before it.
#[test]
fn whatever_stands_left_of_the_client_is_not_read() {
    let hop = prop_oneof![Just("10.0.0.9"), Just("fd00::7"), Just("10.255.0.1:81"), Just("[fd00::1]:9")];
    let noise = "[ -+--~]{0,30}"; // printable ASCII without a comma
    check(
        500,
        (prop::collection::vec(noise, 0..4), any::<[u8; 4]>(), prop::collection::vec(hop, 0..4)),
        |(noise, client, hops_after)| {
            let client = std::net::Ipv4Addr::from(client);
            prop_assume!(client.octets()[0] != 10);
            let chain: Vec<String> = noise
                .into_iter()
                .chain([client.to_string()])
                .chain(hops_after.into_iter().map(str::to_owned))
                .collect();
            let head = get("/").from("10.1.2.3").with("X-Forwarded-For", &chain.join(", "));
            prop_assert_eq!(address(&hops("X-Forwarded-For"), &head), Some(client.to_string()));
            Ok(())
        },
    );
}

/// Elements written as RFC 7239 says are read back.
#[test]
fn forwarded_elements_round_trip() {
    let node = "[ -~]{0,12}";
    check(1_000, prop::collection::vec((node, any::<bool>()), 1..5), |elements| {
        let quote = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
        let field: Vec<String> = elements
            .iter()
            .map(|(node, first)| {
                if *first {
                    format!("for={};proto=http", quote(node))
                } else {
                    format!("by=x;FOR={}", quote(node))
                }
            })
            .collect();
        let field = field.join(", ");
        let read = forwarded_for(&field).unwrap();
        let nodes: Vec<&str> = elements.iter().map(|(node, _)| node.as_str()).collect();
        prop_assert_eq!(read, nodes);
        Ok(())
    });
}

#[test]
fn any_address_is_read_in_every_form_of_a_node() {
    check(1_000, (any::<std::net::IpAddr>(), any::<u16>()), |(address, port)| {
        let expected = parse_address(&address.to_string());
        prop_assert!(expected.is_some());
        prop_assert_eq!(parse_node(&address.to_string()), expected);
        let with_port = std::net::SocketAddr::new(address, port).to_string();
        prop_assert_eq!(parse_node(&with_port), expected);
        prop_assert!(parse_address(&with_port).is_none());
        Ok(())
    });
}
