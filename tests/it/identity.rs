//! Who is calling: under every configuration, and whatever a client writes.

mod chains;
mod depth;
mod forms;
mod trace;

use edgeweir::error::Reason;
use edgeweir::exchange::PlainHead;
use edgeweir::policy::compile;
use edgeweir::stages::identity::{ChainState, Identity, IdentityStage};
use serde_json::{Value, json};

use crate::fake::{With, get};

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
fn rule_3_a_chain_is_walked_from_the_right_over_our_own_hops() {
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
fn rule_3_forwarded_elements_are_walked_the_same_way() {
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
/// appends: its element is read all the same.
#[test]
fn rule_2_a_client_cannot_quote_away_what_a_hop_appends() {
    let stage = hops("Forwarded");
    for before in [
        "for=6.6.6.6;by=\"",
        "for=\"6.6.6.6",
        "for=6.6.6.6;by=\"\\",
        "for=6.6.6.6;by=\"\\\"",
        "for=6.6.6.6;",
        "for=10.0.0.7, \"",
        "\"\"\"",
    ] {
        for (appended, client) in [
            ("for=203.0.113.9", "203.0.113.9"),
            ("for=\"[2001:db8::9]:1\"", "2001:db8::9"),
            ("for=203.0.113.9;host=\"x\";proto=http", "203.0.113.9"),
            ("host=\"a\\\"b, c\\\\\";for=203.0.113.9", "203.0.113.9"),
            ("for=203.0.113.9, for=\"10.0.0.8\";host=\",\"", "203.0.113.9"),
        ] {
            let head = get("/").from("10.1.2.3").with("Forwarded", before).with("Forwarded", appended);
            assert_eq!(address(&stage, &head).as_deref(), Some(client), "{before} {appended}");
        }
    }
}

#[test]
fn rule_5_what_is_missing_or_garbled_has_a_stated_outcome() {
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
fn rule_5_a_garbled_chain_of_our_own_hops_is_refused() {
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
fn rule_6_mapped_addresses_are_unwrapped_and_ipv6_counts_by_network() {
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
fn rule_7_a_request_id_is_kept_from_our_own_hops_only() {
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

/// Each outcome of a chain that does not say who the client is.
#[test]
fn rule_5_each_outcome_is_the_policy_s() {
    let with = |outcome: &str, value: &str| {
        let mut address = json!({"trusted_hops": ["10.0.0.0/8"]});
        address[outcome] = json!(value);
        stage(&json!({"client_address": address}))
    };
    let chain =
        |text: &str| get("/").from("10.1.2.3").with("X-Forwarded-For", text).with("X-Request-Id", "abc");
    let peer = |stage: &IdentityStage, head: &PlainHead, state| {
        let identity = identify(stage, head).unwrap();
        assert_eq!((identity.address, identity.chain), (identity.peer, state));
        // The peer is one of ours whatever stands in its chain.
        assert!(identity.trusted_peer);
        identity
    };
    let none = get("/").from("10.1.2.3");
    for head in [&none, &chain(""), &chain(" , ,")] {
        peer(&stage(&json!({"client_address": {"trusted_hops": ["10.0.0.0/8"]}})), head, ChainState::Short);
        peer(&with("on_short_chain", "peer"), head, ChainState::Short);
        assert_eq!(identify(&with("on_short_chain", "reject"), head), Err(Reason::ClientAddress));
        peer(&with("on_garbled_chain", "reject"), head, ChainState::Short);
    }
    for head in [chain("unknown"), chain("203.0.113.9, x"), chain("203.0.113.9, 10.0.0.300, 10.0.0.1")] {
        let taken = peer(&with("on_garbled_chain", "peer"), &head, ChainState::Garbled);
        assert_eq!(taken.request_id, "abc");
        for refusing in
            [with("on_garbled_chain", "reject"), with("on_short_chain", "peer"), hops("X-Forwarded-For")]
        {
            assert_eq!(identify(&refusing, &head), Err(Reason::ClientAddress));
        }
    }
    // What a stranger sends is not even looked at.
    for outcome in ["on_short_chain", "on_garbled_chain"] {
        let head = get("/").from("203.0.113.9").with("X-Forwarded-For", "unknown");
        assert_eq!(address(&with(outcome, "reject"), &head).as_deref(), Some("203.0.113.9"));
        assert_eq!(identify(&with(outcome, "peer"), &head).unwrap().chain, ChainState::NotRead);
    }
}
