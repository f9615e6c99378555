//! The forms of an address: one client is one address, and none is another's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use edgeweir::error::Reason;
use edgeweir::policy::compile;
use edgeweir::stages::identity::address::Seen;
use edgeweir::stages::identity::{parse_address, parse_node};
use edgeweir::stages::ip_filter::prefix::{InvalidPrefix, Prefix};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{address, hops, identify, stage};
use crate::fake::{Gate, With, check, get};

fn seen(text: &str) -> String {
    parse_address(text).unwrap().to_string()
}

fn six_to_four(v4: Ipv4Addr, rest: u128) -> IpAddr {
    let low = rest & ((1 << 80) - 1);
    IpAddr::V6(Ipv6Addr::from_bits(0x2002 << 112 | u128::from(v4.to_bits()) << 80 | low))
}

fn nat64(v4: Ipv4Addr) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from_bits(0x0064_ff9b << 96 | u128::from(v4.to_bits())))
}

#[test]
fn an_ipv4_client_is_one_address_in_every_form() {
    for text in [
        "192.0.2.4",
        "::ffff:192.0.2.4",
        "::FFFF:c000:204",
        "0:0:0:0:0:ffff:192.0.2.4",
        "2002:c000:204::1",
        "2002:c000:0204:abcd:1:2:3:4",
        "64:ff9b::192.0.2.4",
        "0064:FF9B::C000:0204",
    ] {
        assert_eq!(seen(text), "192.0.2.4", "{text}");
        let identity = identify(&stage(&json!({})), &get("/").from(text)).unwrap();
        assert_eq!(identity.network.to_string(), "192.0.2.4/32", "{text}");
        assert_eq!(identity.peer.to_string(), "192.0.2.4", "{text}");
    }
}

/// What embeds an address that no public client has stays what it is.
#[test]
fn nobody_becomes_a_private_address() {
    for v4 in [
        "0.0.0.0",
        "0.255.255.255",
        "10.0.0.1",
        "10.255.255.255",
        "100.64.0.1",
        "100.127.255.255",
        "127.0.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.19.255.255",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
    ] {
        let v4: Ipv4Addr = v4.parse().unwrap();
        for address in [six_to_four(v4, 1), nat64(v4)] {
            assert_eq!(Seen::of(address), Seen { address, is_embedded: false });
        }
        // The socket's own form of IPv4 is another matter.
        assert_eq!(Seen::of(IpAddr::V6(v4.to_ipv6_mapped())).address, IpAddr::V4(v4));
    }
    // The addresses beside them are public.
    for v4 in [
        "1.0.0.0",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "191.255.255.255",
        "192.0.1.0",
        "192.0.2.0",
        "192.88.98.255",
        "192.88.100.0",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "203.0.113.255",
        "223.255.255.255",
    ] {
        let v4: Ipv4Addr = v4.parse().unwrap();
        for address in [six_to_four(v4, 1), nat64(v4)] {
            assert_eq!(Seen::of(address), Seen { address: IpAddr::V4(v4), is_embedded: true });
        }
    }
}

#[test]
fn what_embeds_nobody_s_address_is_ipv6() {
    for text in [
        "::192.0.2.4",              // IPv4-compatible
        "2001:0:c000:204::1",       // Teredo
        "64:ff9b:1::192.0.2.4",     // a translator's own prefix
        "64:ff9b:0:0:0:1:c000:204", // not the well-known /96
        "::ffff:0:192.0.2.4",       // IPv4-translated, RFC 2765
        "2003:c000:204::1",
        "fe80::5efe:192.0.2.4", // ISATAP
    ] {
        let address: IpAddr = text.parse().unwrap();
        assert_eq!(parse_address(text), Some(address), "{text}");
    }
}

/// Whoever chooses its 6to4 or NAT64 address may try to pass for one of our
/// hops, or for somebody who is allowed.
#[test]
fn an_embedded_address_opens_nothing() {
    let trusting = stage(&json!({"client_address": {
        "trusted_hops": ["10.0.0.0/8", "192.0.2.0/28", "2002:a00::/24"], "on_garbled_chain": "peer"}}));
    for peer in ["2002:c000:201::1", "64:ff9b::192.0.2.1", "64:ff9b::10.0.0.1"] {
        let head = get("/").from(peer).with("X-Forwarded-For", "203.0.113.1").with("X-Request-Id", "chosen");
        let identity = identify(&trusting, &head).unwrap();
        assert!(!identity.trusted_peer, "{peer}");
        assert_eq!(identity.address.to_string(), seen(peer));
        assert_ne!(identity.request_id, "chosen");
        // Nor is it walked over: it is the client.
        let head = get("/").from("10.0.0.1").with("X-Forwarded-For", &format!("203.0.113.1, {peer}"));
        assert_eq!(address(&trusting, &head), Some(seen(peer)));
    }
    // An own hop with a private 6to4 address is one by that address alone.
    let head = get("/").from("2002:a00:1::1").with("X-Forwarded-For", "203.0.113.1");
    assert_eq!(address(&trusting, &head).as_deref(), Some("203.0.113.1"));
    let inside = json!({"version": 1, "upstreams": {"app": {"origin": "http://app.internal"}},
        "ip_filter": {"default": "deny", "rules": [{"id": "inside", "action": "allow", "prefixes": ["10.0.0.0/8", "127.0.0.0/8"]}]},
        "routes": [{"id": "all", "upstream": "app"}]});
    let gate = Gate::new(&inside);
    for from in ["2002:a00:1::1", "64:ff9b::10.0.0.1", "2002:7f00:1::", "64:ff9b::7f00:1", "::10.0.0.1"] {
        assert_eq!(gate.send(&get("/").from(from)).0.status, 403, "{from}");
    }
    assert_eq!(gate.send(&get("/").from("::ffff:10.0.0.1")).0.status, 200);
}

/// A client that is refused or counted by one form is by every other.
#[test]
fn a_ban_and_a_count_see_one_client() {
    let policy = json!({"version": 1, "upstreams": {"app": {"origin": "http://app.internal"}},
        "ip_filter": {"rules": [{"id": "banned", "action": "deny", "prefixes": ["198.51.100.7"]}]},
        "rate_limit": {"rules": [{"id": "one", "max": 3, "window": "1h", "counting": "local"}]},
        "routes": [{"id": "all", "upstream": "app"}]});
    let gate = Gate::new(&policy);
    for banned in [
        "198.51.100.7",
        "::ffff:198.51.100.7",
        "2002:c633:6407::1",
        "2002:c633:6407:ffff::",
        "64:ff9b::198.51.100.7",
    ] {
        let (response, record) = gate.send(&get("/").from(banned));
        assert_eq!((response.status, record.client.as_deref()), (403, Some("198.51.100.7")), "{banned}");
    }
    let status = |from: &str| gate.send(&get("/").from(from)).0.status;
    let counted =
        ["198.51.100.8", "2002:c633:6408::1", "64:ff9b::c633:6408", "::ffff:198.51.100.8"].map(status);
    assert_eq!(counted, [200, 200, 200, 429]);
    // As the origin is told.
    gate.send(&get("/").from("2002:c633:6409::1"));
    let sent = gate.platform.sent.borrow();
    assert_eq!(sent.last().unwrap().field("x-forwarded-for").as_deref(), Some("198.51.100.9"));
}

#[test]
fn nodes_have_ports_and_brackets_and_no_zones() {
    for (text, expected) in [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1:0", "192.0.2.1"),
        ("192.0.2.1:443", "192.0.2.1"),
        ("192.0.2.1:99999", "192.0.2.1"),
        ("192.0.2.1:_port-1.x", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:DB8::1]:443", "2001:db8::1"),
        ("[2001:db8::1]:_x", "2001:db8::1"),
        ("[::ffff:192.0.2.1]:443", "192.0.2.1"),
        ("[2002:c000:201::1]:443", "192.0.2.1"),
        ("[64:ff9b::c000:201]", "192.0.2.1"),
        ("[2002:a00:1::1]:443", "2002:a00:1::1"),
    ] {
        assert_eq!(parse_node(text).unwrap().to_string(), expected, "{text}");
    }
    for bad in [
        "",
        " 192.0.2.1",
        "192.0.2.1 ",
        "192.0.2.1:",
        "192.0.2.1:443443",
        "192.0.2.1:-1",
        "192.0.2.1:4 4",
        "192.0.2.1:_",
        "192.0.2.1:_é",
        "192.0.2.1:80:80",
        "[192.0.2.1]",
        "[192.0.2.1]:80",
        "[2001:db8::1",
        "2001:db8::1]",
        "[2001:db8::1]:",
        "[2001:db8::1]80",
        "[[2001:db8::1]]",
        "[]",
        "[]:80",
        ":80",
        "unknown",
        "_hidden",
        "localhost",
        "a.example:80",
        // Zones, also as in a URL.
        "fe80::1%eth0",
        "fe80::1%1",
        "fe80::1%25eth0",
        "[fe80::1%eth0]",
        "[fe80::1%25eth0]:80",
        "2001:db8::1%0",
        "192.0.2.1%eth0",
        // Octal, hexadecimal, short and long forms of IPv4.
        "010.0.0.1",
        "10.0.0.01",
        "010.0.0.1:80",
        "0x0a.0.0.1",
        "10.1",
        "167772161",
        "10.0.0.256",
        "10.0.0.1.",
        "::ffff:010.0.0.1",
        "[::ffff:192.0.2.01]",
        "64:ff9b::192.00.2.1",
        "１０.0.0.1",
        "2001:db8::00001",
        "2001:db8:::1",
        "1:2:3:4:5:6:7:8:9",
        "::1/128",
    ] {
        assert_eq!(parse_node(bad), None, "{bad:?}");
        assert_eq!(parse_address(bad), None, "{bad:?}");
        // What a field says has no white space around it.
        if !bad.is_empty() && bad == bad.trim() {
            let chain = get("/").from("10.1.2.3").with("X-Forwarded-For", &format!("203.0.113.9, {bad}"));
            assert_eq!(identify(&hops("X-Forwarded-For"), &chain), Err(Reason::ClientAddress), "{bad:?}");
            assert_eq!(
                identify(&stage(&json!({})), &get("/").from(bad)),
                Err(Reason::ClientAddress),
                "{bad:?}"
            );
        }
    }
    // The platform's field holds an address and nothing else.
    for decorated in ["192.0.2.1:443", "[2001:db8::1]", "[2001:db8::1]:443", "for=192.0.2.1", "\"192.0.2.1\""]
    {
        assert_eq!(identify(&stage(&json!({})), &get("/").from(decorated)), Err(Reason::ClientAddress));
    }
}

#[test]
fn any_address_is_read_in_every_form_of_a_node() {
    check(1_000, (embedding(), any::<u16>()), |(address, port)| {
        let expected = parse_address(&address.to_string());
        prop_assert!(expected.is_some());
        prop_assert_eq!(parse_node(&address.to_string()), expected);
        let with_port = std::net::SocketAddr::new(address, port).to_string();
        prop_assert_eq!(parse_node(&with_port), expected);
        prop_assert!(parse_address(&with_port).is_none());
        // The one form is its own.
        prop_assert_eq!(expected.map(|address| Seen::of(address).address), expected);
        Ok(())
    });
}

/// Addresses of every kind, those that embed others among them.
fn embedding() -> impl Strategy<Value = IpAddr> {
    let v4 = prop_oneof![
        any::<[u8; 4]>().prop_map(Ipv4Addr::from),
        prop::sample::select(vec![0x0a00_0001_u32, 0x7f00_0001, 0xc000_0204, 0xe000_0001, 0x0808_0808])
            .prop_map(Ipv4Addr::from_bits),
    ];
    prop_oneof![
        any::<IpAddr>(),
        (v4, any::<u128>(), 0..4_u8).prop_map(|(v4, rest, form)| match form {
            0 => IpAddr::V4(v4),
            1 => IpAddr::V6(v4.to_ipv6_mapped()),
            2 => six_to_four(v4, rest),
            _ => nat64(v4),
        }),
    ]
}

/// For any IPv4 client, every form has the same network, and whatever prefix
/// holds one holds all of them.
#[test]
fn whatever_the_form_prefixes_and_networks_are_the_same() {
    let public = any::<[u8; 4]>()
        .prop_map(Ipv4Addr::from)
        .prop_filter("public", |v4| Seen::of(nat64(*v4)).is_embedded);
    check(1_000, (public, any::<u128>(), 0..=32_u8, 32..=128_u8), |(v4, rest, length, ipv6_prefix)| {
        let stage = stage(&json!({"ipv6_prefix": ipv6_prefix}));
        let prefix = Prefix::containing(IpAddr::V4(v4), length).unwrap();
        for form in [IpAddr::V4(v4), IpAddr::V6(v4.to_ipv6_mapped()), six_to_four(v4, rest), nat64(v4)] {
            let identity = identify(&stage, &get("/").from(&form.to_string())).unwrap();
            prop_assert_eq!(identity.address, IpAddr::V4(v4));
            prop_assert_eq!(identity.network, Prefix::host(IpAddr::V4(v4)));
            prop_assert!(prefix.contains(identity.address));
        }
        Ok(())
    });
}

#[test]
fn a_prefix_of_embedded_addresses_is_ipv4_or_says_so() {
    for (text, shown) in [
        // One site, and what is in it.
        ("2002:c000:204::/48", "192.0.2.4/32"),
        ("2002:c000:204:1::/64", "192.0.2.4/32"),
        ("2002:c000:204::1", "192.0.2.4/32"),
        ("64:ff9b::192.0.2.4", "192.0.2.4/32"),
        ("64:ff9b::c000:204/128", "192.0.2.4/32"),
        // Nobody public: as it is written.
        ("2002::/24", "2002::/24"),
        ("2002:a00::/24", "2002:a00::/24"),
        ("2002:a00:1::/48", "2002:a00:1::/48"),
        ("2002:e000::/19", "2002:e000::/19"),
        ("64:ff9b::10.0.0.0/104", "64:ff9b::a00:0/104"),
        ("64:ff9b::127.0.0.1", "64:ff9b::7f00:1/128"),
        // Around them: IPv6.
        ("::/0", "::/0"),
        ("2002::/15", "2002::/15"),
        ("64:ff9b::/95", "64:ff9b::/95"),
        ("64:ff9b:1::/48", "64:ff9b:1::/48"),
    ] {
        let prefix: Prefix = text.parse().unwrap();
        assert_eq!(prefix.to_string(), shown, "{text}");
        assert_eq!(shown.parse::<Prefix>(), Ok(prefix));
    }
    for (text, v4) in [
        ("2002::/16", "0.0.0.0/0"),
        ("2002::/23", "0.0.0.0/7"),
        ("2002:c000:200::/40", "192.0.2.0/24"),
        ("2002:c000:204::/47", "192.0.2.4/31"),
        ("64:ff9b::/96", "0.0.0.0/0"),
        ("64:ff9b::c000:200/120", "192.0.2.0/24"),
        ("64:ff9b::808:808/127", "8.8.8.8/31"),
    ] {
        assert_eq!(text.parse::<Prefix>(), Err(InvalidPrefix::Embedded(v4.parse().unwrap())), "{text}");
    }
    for host_bits in ["2002:c000:204::1/48", "64:ff9b::192.0.2.5/127", "2002::1/16"] {
        assert_eq!(host_bits.parse::<Prefix>(), Err(InvalidPrefix::Malformed), "{host_bits}");
    }
}

/// No rule silently never matches: a client whose address, as it is written,
/// lies in a prefix as it is written is in the prefix as it is held. And none
/// matches more than the clients it was written for.
#[test]
fn a_prefix_that_is_taken_holds_the_clients_that_it_names() {
    check(4_000, (embedding(), 0..=128_u8, any::<u128>()), |(address, length, rest)| {
        let (first, inside) = match address {
            IpAddr::V4(v4) => {
                let length = length % 33;
                let host = u32::MAX.checked_shr(length.into()).unwrap_or(0);
                let first = v4.to_bits() & !host;
                (
                    format!("{}/{length}", Ipv4Addr::from_bits(first)),
                    IpAddr::V4(Ipv4Addr::from_bits(first | rest as u32 & host)),
                )
            }
            IpAddr::V6(v6) => {
                let host = u128::MAX.checked_shr(length.into()).unwrap_or(0);
                let first = v6.to_bits() & !host;
                (
                    format!("{}/{length}", Ipv6Addr::from_bits(first)),
                    IpAddr::V6(Ipv6Addr::from_bits(first | rest & host)),
                )
            }
        };
        let is_around = address.is_ipv6() && (length < 16 || length < 96 && !first.starts_with("2002:"));
        match first.parse::<Prefix>() {
            Ok(_) if is_around => {}
            Ok(prefix) => {
                prop_assert!(prefix.contains(Seen::of(inside).address), "{} {}", first, inside);
                // One embedded address, or none.
                let of_one = prefix.address().is_ipv4() && Seen::of(inside).is_embedded;
                prop_assert!(!of_one || prefix.length() == 32);
                prop_assert_eq!(prefix.to_string().parse::<Prefix>(), Ok(prefix));
            }
            Err(InvalidPrefix::Embedded(v4)) => {
                prop_assert!(v4.length() < 32, "{}", first);
                let seen = Seen::of(inside);
                prop_assert!(!seen.is_embedded || v4.contains(seen.address), "{} {}", first, inside);
            }
            Err(InvalidPrefix::Malformed) => prop_assert!(false, "{}", first),
        }
        Ok(())
    });
}

#[test]
fn the_policy_says_which_ipv4_prefix_is_meant() {
    let problem = |at: Value| {
        let error = compile(&at.to_string()).unwrap_err();
        assert_eq!(error.problems.len(), 1, "{error}");
        (error.problems[0].path.clone(), error.problems[0].expected.clone())
    };
    let (path, expected) = problem(json!({"version": 1, "guard_list": ["2002:c000:200::/40"]}));
    assert_eq!(path, "guard_list[0]");
    assert!(expected.starts_with("expected the IPv4 prefix \"192.0.2.0/24\""), "{expected}");
    // Nobody is a hop by such an address, one or many.
    for hop in ["2002:c000:204::/48", "2002:c000:204::1", "64:ff9b::192.0.2.4", "64:ff9b::/96", "2002::/16"] {
        let (path, expected) = problem(
            json!({"version": 1, "identity": {"client_address": {"trusted_hops": ["10.0.0.0/8", hop]}}}),
        );
        assert_eq!(path, "identity.client_address.trusted_hops[1]");
        assert!(expected.contains("6to4 or NAT64"), "{expected}");
    }
}
