//! The trace that a request belongs to.

use edgeweir::stages::identity::parse_traceparent;
use serde_json::json;

use super::{identify, stage};
use crate::fake::{With, get};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

#[test]
fn rule_7_anybody_may_begin_a_trace() {
    let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let trace = identify(&stage(&json!({})), &get("/").with("traceparent", &parent)).unwrap().trace;
    assert_eq!((trace.trace_id.as_str(), trace.flags.as_str(), trace.continued), (TRACE, "01", true));
    assert_ne!(trace.span, 0x00f0_67aa_0ba9_02b7);
    assert_ne!(trace.span, 0);
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
