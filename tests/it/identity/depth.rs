//! Hops that are known by their number.

use edgeweir::error::Reason;
use edgeweir::policy::compile;
use edgeweir::stages::identity::{ChainState, IdentityStage};
use serde_json::{Value, json};

use super::{FRESH, address, identify, stage};
use crate::fake::{With, get};

fn deep(depth: usize, more: &Value) -> IdentityStage {
    let mut address = json!({"trusted_depth": depth});
    address.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    stage(&json!({"client_address": address}))
}

/// The third example of Envoy's documentation of `xff_num_trusted_hops`, and
/// the ones beside it.
#[test]
fn rule_4_the_client_stands_so_far_from_the_right_end() {
    let chain = "203.0.113.128, 203.0.113.10, 203.0.113.1";
    for (depth, client) in [(1, "203.0.113.1"), (2, "203.0.113.10"), (3, "203.0.113.128")] {
        let head = get("/").from("192.0.2.5").with("X-Forwarded-For", chain);
        let identity = identify(&deep(depth, &json!({})), &head).unwrap();
        assert_eq!(
            (identity.address.to_string().as_str(), identity.peer.to_string().as_str()),
            (client, "192.0.2.5")
        );
        assert!(identity.trusted_peer && identity.chain == ChainState::Walked);
    }
    let elements = "for=203.0.113.128;by=x, for=\"203.0.113.10:1\", proto=https;for=_hidden";
    let forwarded = deep(2, &json!({"chain": "Forwarded"}));
    assert_eq!(
        address(&forwarded, &get("/").from("192.0.2.5").with("Forwarded", elements)).as_deref(),
        Some("203.0.113.10")
    );
    // Private addresses are as good as any: the number is what is trusted.
    let private = get("/").from("10.0.0.1").with("X-Forwarded-For", "198.51.100.1, 10.0.0.9");
    assert_eq!(address(&deep(2, &json!({})), &private).as_deref(), Some("198.51.100.1"));
    assert_eq!(address(&deep(1, &json!({})), &private).as_deref(), Some("10.0.0.9"));
}

/// What our hops are called is not read, where they are it is.
#[test]
fn rule_4_only_the_client_has_to_have_an_address() {
    let stage = deep(3, &json!({}));
    let of = |chain: &str| address(&stage, &get("/").from("192.0.2.5").with("X-Forwarded-For", chain));
    assert_eq!(of("6.6.6.6, 203.0.113.9, unknown, _hop").as_deref(), Some("203.0.113.9"));
    assert_eq!(of("6.6.6.6, 203.0.113.9,, unknown , ,_hop,").as_deref(), Some("203.0.113.9"));
    for garbled in ["6.6.6.6, unknown, 10.0.0.1, 10.0.0.2", "1.2.3.4, x, 10.0.0.1, 10.0.0.2"] {
        assert_eq!(of(garbled), None, "{garbled}");
    }
    let forwarded = deep(2, &json!({"chain": "Forwarded"}));
    let of = |chain: &str| address(&forwarded, &get("/").from("192.0.2.5").with("Forwarded", chain));
    assert_eq!(of("for=203.0.113.9, proto=https").as_deref(), Some("203.0.113.9"));
    for garbled in ["for=203.0.113.9, for=\"x", "for=203.0.113.9, for", "proto=https, for=203.0.113.9"] {
        assert_eq!(of(garbled), None, "{garbled}");
    }
}

#[test]
fn rule_5_a_chain_that_is_not_deep_enough_is_refused_unless_the_policy_says_otherwise() {
    let heads = [
        get("/").from("192.0.2.5"),
        get("/").from("192.0.2.5").with("X-Forwarded-For", ""),
        get("/").from("192.0.2.5").with("X-Forwarded-For", "203.0.113.1"),
        get("/").from("192.0.2.5").with("X-Forwarded-For", ", 203.0.113.1,"),
    ];
    for head in heads {
        let head = head.with("X-Request-Id", "chosen");
        assert_eq!(identify(&deep(2, &json!({})), &head), Err(Reason::ClientAddress));
        assert_eq!(
            identify(&deep(2, &json!({"on_short_chain": "reject"})), &head),
            Err(Reason::ClientAddress)
        );
        assert_eq!(
            identify(&deep(2, &json!({"on_garbled_chain": "peer"})), &head),
            Err(Reason::ClientAddress)
        );
        // It did not come over the hops: a stranger.
        let stranger = identify(&deep(2, &json!({"on_short_chain": "peer"})), &head).unwrap();
        assert_eq!((stranger.address, stranger.chain), (stranger.peer, ChainState::Short));
        assert!(!stranger.trusted_peer);
        assert_eq!(stranger.request_id, format!("{FRESH:032x}"));
    }
}

#[test]
fn rule_5_a_garbled_one_is_too() {
    let head = get("/")
        .from("192.0.2.5")
        .with("X-Forwarded-For", "unknown, 10.0.0.1")
        .with("X-Request-Id", "chosen");
    for refusing in [json!({}), json!({"on_garbled_chain": "reject", "on_short_chain": "peer"})] {
        assert_eq!(identify(&deep(2, &refusing), &head), Err(Reason::ClientAddress));
    }
    let stranger = identify(&deep(2, &json!({"on_garbled_chain": "peer"})), &head).unwrap();
    assert_eq!((stranger.address, stranger.chain), (stranger.peer, ChainState::Garbled));
    assert!(!stranger.trusted_peer && stranger.request_id != "chosen");
}

/// Where the chain is as deep as that, the peer is a hop: its request id is
/// kept when it is well formed.
#[test]
fn rule_7_a_request_id_comes_with_a_chain_that_is_deep_enough() {
    let id = |chain: &str, id: &str| {
        let head = get("/").from("192.0.2.5").with("X-Forwarded-For", chain).with("X-Request-Id", id);
        identify(&deep(1, &json!({"on_short_chain": "peer"})), &head).unwrap().request_id
    };
    assert_eq!(id("203.0.113.1", "abc"), "abc");
    assert_eq!(id("203.0.113.1", "a b"), format!("{FRESH:032x}"));
    assert_eq!(id("", "abc"), format!("{FRESH:032x}"));
}

/// Without a platform the peer is assumed, and the client still stands in the
/// chain: what a client writes as the platform's field changes nothing.
#[test]
fn the_client_does_not_depend_on_the_peer() {
    let stage = deep(1, &json!({"on_missing": {"address": "127.0.0.1"}}));
    let mut head = get("/").with("X-Forwarded-For", "6.6.6.6, 203.0.113.1");
    head.fields.retain(|(name, _)| name.as_str() != "cf-connecting-ip");
    assert_eq!(address(&stage, &head).as_deref(), Some("203.0.113.1"));
    assert_eq!(
        address(&stage, &head.clone().with("CF-Connecting-IP", "198.51.100.7")).as_deref(),
        Some("203.0.113.1")
    );
    assert_eq!(address(&stage, &head.with("CF-Connecting-IP", "nonsense")), None);
}

#[test]
fn hops_are_known_by_their_addresses_or_by_their_number() {
    let problems = |address: Value| {
        let document = json!({"version": 1, "identity": {"client_address": address}});
        let error = compile(&document.to_string()).unwrap_err();
        error.problems.into_iter().map(|problem| (problem.path, problem.expected)).collect::<Vec<_>>()
    };
    let both = problems(json!({"trusted_hops": ["10.0.0.0/8"], "trusted_depth": 2}));
    assert_eq!(both.len(), 1);
    assert_eq!(both[0].0, "identity.client_address.trusted_depth");
    assert!(both[0].1.contains("trusted_hops"), "{both:?}");
    for depth in [0, 17, 255] {
        let wrong = problems(json!({"trusted_depth": depth}));
        assert_eq!(
            wrong,
            [(
                "identity.client_address.trusted_depth".to_owned(),
                "expected a number from 1 to 16".to_owned()
            )]
        );
    }
    for depth in [1, 16] {
        deep(depth, &json!({"trusted_hops": []}));
    }
}
