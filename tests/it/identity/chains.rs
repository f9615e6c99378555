//! Chains of forwarded addresses, read from the end.

use std::net::Ipv4Addr;

use edgeweir::exchange::PlainHead;
use edgeweir::stages::identity::chain::{Element, Elements, MOST_HOPS};
use edgeweir::stages::identity::config::Chain;
use edgeweir::stages::identity::{IdentityStage, parse_address, parse_node, parse_traceparent};
use proptest::prelude::*;
use serde_json::json;

use super::{address, hops, identify, stage};
use crate::fake::{With, check, get};

/// The nodes of a field, the first one first; `None` when it does not parse.
fn nodes(chain: Chain, field: &str) -> Option<Vec<String>> {
    let mut nodes = Vec::new();
    for element in Elements::new(chain, field) {
        let Element { start, node } = element.ok()?;
        assert!(field.is_char_boundary(start));
        nodes.push(node.map_or_else(|| "(none)".to_owned(), |node| node.into_owned()));
    }
    nodes.reverse();
    Some(nodes)
}

#[test]
fn elements_begin_where_they_say() {
    let field = "for=6.6.6.6, for=\"a\\\"b,c\" ,, by=x";
    let starts: Vec<&str> =
        Elements::new(Chain::Forwarded, field).map(|element| &field[element.unwrap().start..]).collect();
    assert_eq!(starts, [" by=x", " for=\"a\\\"b,c\" ,, by=x", field]);
    assert_eq!(nodes(Chain::Forwarded, field).unwrap(), ["6.6.6.6", "a\"b,c", "(none)"]);
    assert_eq!(nodes(Chain::XForwardedFor, " a b,,\"c, d\" ").unwrap(), ["a b", "\"c", "d\""]);
    for empty in ["", " ", ",", " ,\t, "] {
        assert_eq!(nodes(Chain::Forwarded, empty).unwrap(), [""; 0]);
        assert_eq!(nodes(Chain::XForwardedFor, empty).unwrap(), [""; 0]);
    }
}

#[test]
fn an_element_that_cannot_be_read_is_the_last_one() {
    for field in [
        "for=6.6.6.6, for",
        "for=6.6.6.6, =1",
        "for=6.6.6.6, for=",
        "for=6.6.6.6, for=1;for=2",
        "for=6.6.6.6, for=1;FOR=2",
        "for=6.6.6.6, for=1 for=2",
        "for=6.6.6.6, for=\"1\"x",
        "for=6.6.6.6, fo r=1",
        "for=6.6.6.6, for=\"1\\\"",
        "for=6.6.6.6, for=1\"",
        "for=6.6.6.6, for=a=b",
        "for=6.6.6.6, for=é",
    ] {
        let mut elements = Elements::new(Chain::Forwarded, field);
        assert!(elements.next().unwrap().is_err(), "{field}");
        assert_eq!(elements.next(), None, "{field}");
    }
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
        let nodes: Vec<String> = elements.iter().map(|(node, _)| node.clone()).collect();
        prop_assert_eq!(self::nodes(Chain::Forwarded, &field.join(", ")), Some(nodes));
        Ok(())
    });
}

#[test]
fn no_text_panics_a_parser() {
    let noise = prop_oneof![any::<String>(), "[a-z0-9=;,\"\\\\ :.\\[\\]-]{0,60}"];
    check(3_000, noise, |text| {
        let _ = (parse_address(&text), parse_node(&text), parse_traceparent(&text));
        for chain in [Chain::XForwardedFor, Chain::Forwarded] {
            prop_assert!(nodes(chain, &text).unwrap_or_default().len() <= text.len());
        }
        Ok(())
    });
}

/// What a stranger may write: noise, and what has a meaning in a chain.
fn written() -> impl Strategy<Value = Vec<String>> {
    let piece = prop_oneof![
        "[ -~]{0,20}",
        any::<String>().prop_map(|text| text.replace(char::is_control, "")),
        prop::sample::select(vec![
            "10.0.0.7",
            "for=10.0.0.7",
            "for=6.6.6.6",
            "for=\"",
            "\\",
            "\"",
            "\\\"",
            ",",
            ";",
            "for=\"[fd00::9]:1\"",
            "for=unknown",
            "6.6.6.6",
            "::ffff:10.0.0.7",
            "for=6.6.6.6;by=\"\\",
            ",,,,",
        ])
        .prop_map(str::to_owned),
    ];
    // Each is a line of its own; several pieces make one.
    prop::collection::vec(prop::collection::vec(piece, 0..5).prop_map(|pieces| pieces.concat()), 0..4)
}

/// What one hop appends about its peer, to each kind of chain.
fn appended(node: &str, style: u8) -> (String, String) {
    let quoted = format!("\"{node}\"");
    let forwarded = match style % 4 {
        0 => format!("for={quoted}"),
        1 => format!("by=10.0.0.1;for={quoted};proto=https"),
        2 => format!("For={quoted};host=\"a, b\\\"\\\\\";proto=http"),
        _ => format!("host=\"\\\\\";for={quoted}"),
    };
    (node.to_owned(), forwarded)
}

/// Every configuration in which a chain is read, with how many hops stand
/// behind the client; the peer is one of them.
fn configurations(between: usize) -> Vec<(&'static str, IdentityStage)> {
    let with = |chain: &str, trust: serde_json::Value, more: serde_json::Value| {
        let mut address = json!({"chain": chain});
        for part in [trust, more] {
            address.as_object_mut().unwrap().extend(part.as_object().unwrap().clone());
        }
        stage(&json!({"client_address": address}))
    };
    let mut all = Vec::new();
    for chain in ["X-Forwarded-For", "Forwarded"] {
        for trust in
            [json!({"trusted_hops": ["10.0.0.0/8", "fd00::/8"]}), json!({"trusted_depth": between + 1})]
        {
            for more in [
                json!({}),
                json!({"on_garbled_chain": "peer", "on_short_chain": "peer"}),
                json!({"on_garbled_chain": "reject", "on_short_chain": "reject"}),
                json!({"on_missing": {"address": "10.1.2.3"}}),
            ] {
                all.push((chain, with(chain, trust.clone(), more)));
            }
        }
    }
    all
}

/// The heart of it: whatever a stranger writes before the first of our hops
/// appends its address, in however many lines, it is known by that address.
#[test]
fn whatever_a_stranger_writes_it_is_known_by_what_our_hop_wrote() {
    let hop = prop::sample::select(vec!["10.0.0.9", "fd00::7", "10.255.0.1:81", "[fd00::1]:9"]);
    let hops_between = prop::collection::vec((hop, any::<u8>()), 0..4);
    let client = prop_oneof![any::<[u8; 4]>().prop_map(Ipv4Addr::from)]
        .prop_filter("a stranger", |v4| v4.octets()[0] != 10);
    let lines_split = any::<bool>();
    check(
        400,
        (written(), client, any::<u8>(), hops_between, lines_split),
        |(written, client, style, between, split)| {
            let mut ours: Vec<(String, String)> = vec![appended(&client.to_string(), style)];
            ours.extend(between.iter().map(|(node, style)| appended(node, *style)));
            for (chain, stage) in configurations(between.len()) {
                let ours: Vec<&str> = ours
                    .iter()
                    .map(|(xff, forwarded)| if chain == "Forwarded" { forwarded } else { xff }.as_str())
                    .collect();
                let mut lines: Vec<String> = written.clone();
                if split {
                    lines.extend(ours.iter().map(|line| (*line).to_owned()));
                } else {
                    // On the line of the stranger.
                    let last = lines.pop().map(|last| format!("{last},")).unwrap_or_default();
                    lines.push(format!("{last}{}", ours.join(",")));
                }
                let head = lines.iter().fold(get("/").from("10.1.2.3"), |head, line| head.with(chain, line));
                prop_assert_eq!(address(&stage, &head), Some(client.to_string()), "{} {:?}", chain, lines);
                let identity = identify(&stage, &head).unwrap();
                prop_assert!(identity.trusted_peer);
                if chain == "Forwarded" {
                    // Nor does the origin hear any of it.
                    let whole =
                        edgeweir::exchange::join_lines(&head.fields, &"forwarded".parse().unwrap()).unwrap();
                    let kept = stage.since_client(&whole).to_owned();
                    prop_assert_eq!(
                        kept.matches("6.6.6.6").count(),
                        ours.concat().matches("6.6.6.6").count()
                    );
                    prop_assert!(kept.starts_with(ours[0]), "{}", kept);
                }
            }
            Ok(())
        },
    );
}

/// A peer that is none of our hops is known by its own address, whatever it
/// writes anywhere: no field but the platform's says anything.
#[test]
fn a_stranger_that_comes_past_the_hops_is_known_by_its_own_address() {
    let name = prop::sample::select(vec![
        "X-Forwarded-For",
        "Forwarded",
        "X-Real-IP",
        "True-Client-IP",
        "X-Client-IP",
        "X_Forwarded_For",
        "CF_Connecting_IP",
        "CF-Connecting-IPv6",
        "CF-Pseudo-IPv4",
        "X-Request-Id",
    ]);
    check(300, prop::collection::vec((name, written()), 0..5), |fields| {
        let mut head = get("/").from("203.0.113.9");
        for (name, lines) in &fields {
            head = lines.iter().fold(head, |head, line| head.with(name, line));
        }
        for stage in [
            stage(&json!({})),
            stage(&json!({"client_address": {"on_missing": {"address": "127.0.0.1"}}})),
            hops("X-Forwarded-For"),
            hops("Forwarded"),
        ] {
            prop_assert_eq!(address(&stage, &head), Some("203.0.113.9".to_owned()));
            prop_assert!(!identify(&stage, &head).unwrap().trusted_peer);
        }
        Ok(())
    });
}

/// Work is bounded: so many hops are walked over and no more.
#[test]
fn a_very_long_chain_is_garbled() {
    for (chain, node, client) in
        [("X-Forwarded-For", "10.0.0.9", "203.0.113.9"), ("Forwarded", "for=10.0.0.9", "for=203.0.113.9")]
    {
        let of = |count: usize, first: &str| -> PlainHead {
            let mut nodes = vec![node; count];
            nodes.insert(0, first);
            get("/").from("10.1.2.3").with(chain, &nodes.join(","))
        };
        let stage = hops(chain);
        assert_eq!(address(&stage, &of(MOST_HOPS - 1, client)).as_deref(), Some("203.0.113.9"));
        assert_eq!(address(&stage, &of(MOST_HOPS - 1, node)).as_deref(), Some("10.0.0.9"));
        assert_eq!(address(&stage, &of(MOST_HOPS, client)), None);
        assert_eq!(address(&stage, &of(5_000, client)), None);
        // What a stranger writes may be as long as it likes.
        let long = vec![node; 10_000].join(",");
        let head = get("/").from("10.1.2.3").with(chain, &long).with(chain, client).with(chain, node);
        assert_eq!(address(&stage, &head).as_deref(), Some("203.0.113.9"));
    }
}
