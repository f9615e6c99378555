//! The tiers of the cache on the journey.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use serde_json::json;

use super::route;
use crate::fake::{Fault, Gate, Response, Sent, StoreEvent, With, get, request};

fn fresh(sent: &Sent) -> Response {
    if sent.field("if-none-match").is_some() {
        return Response::new(304).with("Cache-Control", "max-age=60").with("ETag", "\"v1\"").body("");
    }
    Response::new(200).with("Cache-Control", "max-age=60").with("ETag", "\"v1\"").body(&sent.url)
}

fn tiers(tiers: &[&str]) -> Gate {
    let gate = route(&json!({"cache": {"tiers": tiers}}));
    gate.platform.origin(fresh);
    gate
}

fn status(gate: &Gate, head: &edgeweir::exchange::PlainHead) -> String {
    gate.send(head).0.field("cache-status").unwrap_or_default()
}

fn lookups(gate: &Gate) -> usize {
    let events = gate.platform.store_events.borrow();
    events.iter().filter(|event| matches!(event, StoreEvent::Lookup(_))).count()
}

fn keeps(gate: &Gate) -> usize {
    let events = gate.platform.store_events.borrow();
    events.iter().filter(|event| matches!(event, StoreEvent::Keep { .. })).count()
}

const MISS: &str = "edgeweir; fwd=uri-miss; fwd-status=200; stored; ttl=60";
const HIT: &str = "edgeweir; hit; ttl=60";

/// A hit from memory is there at once: nothing is waited for.
#[test]
fn a_hit_in_memory_waits_for_nothing() {
    for list in [&["memory"][..], &["memory", "location"]] {
        let gate = tiers(list);
        assert_eq!(status(&gate, &get("/a")), MISS);
        let asked = lookups(&gate);
        let head = get("/a");
        let mut sending = pin!(gate.sending(&head));
        let Poll::Ready((response, record)) = sending.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        else {
            panic!("it waits")
        };
        assert_eq!(response.field("cache-status").as_deref(), Some(HIT));
        assert_eq!((response.body.as_str(), record.cache), ("http://app.internal/a", Some("hit")));
        assert_eq!((lookups(&gate), gate.sent_count()), (asked, 1));
    }
}

#[test]
fn memory_alone_never_asks_the_location() {
    let gate = tiers(&["memory"]);
    assert_eq!(status(&gate, &get("/a")), MISS);
    assert_eq!(status(&gate, &get("/a")), HIT);
    gate.platform.advance(61_000);
    assert_eq!(status(&gate, &get("/a")), "edgeweir; fwd=stale; fwd-status=304; stored; ttl=60");
    assert_eq!(status(&gate, &get("/a")), HIT);
    assert!(gate.platform.store_events.borrow().is_empty());
    assert_eq!((gate.sent_count(), gate.platform.bodies.borrow().len()), (2, 1));
}

/// What was stored by a clock that has been set back since is replaced by the
/// next answer, and does not send everybody to the origin until its time comes.
#[test]
fn a_clock_that_is_set_back_costs_one_request() {
    for list in [&["memory"][..], &["location"], &["memory", "location"]] {
        let gate = route(&json!({"cache": {"tiers": list}}));
        gate.platform.origin(|_| Response::new(200).with("Cache-Control", "max-age=60").body("a"));
        assert_eq!(status(&gate, &get("/a")), MISS);
        gate.platform.set_back(3_600_000);
        assert_eq!(status(&gate, &get("/a")), MISS.replace("uri-miss", "stale"), "{list:?}");
        assert_eq!(status(&gate, &get("/a")), HIT, "{list:?}");
        assert_eq!(gate.sent_count(), 2);
    }
}

/// What another isolate has stored since the clock was set back goes before
/// what memory still has.
#[test]
fn the_location_goes_before_what_came_later_than_now() {
    let (gate, other) = (tiers(&["memory", "location"]), tiers(&["memory", "location"]));
    assert_eq!(status(&gate, &get("/a")), MISS);
    for gate in [&gate, &other] {
        gate.platform.set_back(3_600_000);
    }
    assert_eq!(status(&other, &get("/a")), MISS);
    *gate.platform.stored.borrow_mut() = other.platform.stored.borrow().clone();
    assert_eq!(status(&gate, &get("/a")), HIT);
    assert_eq!((gate.sent_count(), gate.platform.bodies.borrow().len()), (1, 1));
}

#[test]
fn location_alone_keeps_nothing_in_memory() {
    let gate = tiers(&["location"]);
    assert_eq!(status(&gate, &get("/a")), MISS);
    assert_eq!(status(&gate, &get("/a")), HIT);
    assert_eq!((lookups(&gate), gate.platform.bodies.borrow().len()), (2, 0));
}

/// What another isolate has stored comes near with the first hit.
#[test]
fn a_hit_in_the_location_fills_memory() {
    let gate = tiers(&["memory", "location"]);
    assert_eq!(status(&gate, &get("/a")), MISS);
    let other = tiers(&["memory", "location"]);
    *other.platform.stored.borrow_mut() = gate.platform.stored.borrow().clone();
    assert_eq!(status(&other, &get("/a")), HIT);
    assert_eq!((lookups(&other), keeps(&other), other.sent_count()), (1, 0, 0));
    other.platform.store_fault.set(Some(Fault::Fails));
    assert_eq!(other.send(&get("/a")).0.body, "http://app.internal/a");
    assert_eq!((lookups(&other), other.sent_count()), (1, 0));
}

#[test]
fn the_age_is_the_same_from_both() {
    let gate = tiers(&["memory", "location"]);
    assert_eq!(status(&gate, &get("/a")), MISS);
    let other = tiers(&["memory", "location"]);
    *other.platform.stored.borrow_mut() = gate.platform.stored.borrow().clone();
    for gate in [&gate, &other] {
        gate.platform.advance(20_000);
        let (first, _) = gate.send(&get("/a"));
        gate.platform.advance(10_000);
        let (second, _) = gate.send(&get("/a"));
        let ages = (first.field("age"), second.field("age"));
        assert_eq!(ages, (Some("20".to_owned()), Some("30".to_owned())));
    }
}

#[test]
fn head_ranges_and_conditions_are_answered_from_memory() {
    let gate = tiers(&["memory"]);
    gate.send(&get("/a"));
    let (head, _) = gate.send(&request("HEAD", "/a"));
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    let (part, _) = gate.send(&get("/a").with("Range", "bytes=0-3"));
    assert_eq!((part.status, part.body.as_str()), (206, "http"));
    let (none, _) = gate.send(&get("/a").with("Range", "bytes=99-"));
    assert_eq!(none.status, 416);
    let (same, _) = gate.send(&get("/a").with("If-None-Match", "\"v1\""));
    assert_eq!((same.status, same.body.as_str()), (304, ""));
    // None of them has changed what is kept.
    assert_eq!(gate.send(&get("/a")).0.body, "http://app.internal/a");
    assert_eq!(gate.sent_count(), 1);
}

#[test]
fn variants_lie_side_by_side_in_memory() {
    let gate = route(&json!({"cache": {"tiers": ["memory"]}}));
    gate.platform.origin(|sent| {
        let body = sent.field("accept-language").unwrap_or_default();
        Response::new(200).with("Cache-Control", "max-age=60").with("Vary", "Accept-Language").body(&body)
    });
    for round in 0..2 {
        for language in ["ko", "en", "de"] {
            let (response, _) = gate.send(&get("/a").with("Accept-Language", language));
            assert_eq!(response.body, language);
            assert_eq!(response.field("cache-status").unwrap().contains("hit"), round == 1);
        }
    }
    // One change removes them all.
    gate.platform.advance(1);
    gate.send(&request("POST", "/a"));
    for language in ["ko", "en", "de"] {
        assert!(!status(&gate, &get("/a").with("Accept-Language", language)).contains("hit"));
    }
}

#[test]
fn a_change_removes_from_both() {
    let gate = tiers(&["memory", "location"]);
    assert_eq!(status(&gate, &get("/a")), MISS);
    assert_eq!((gate.platform.stored.borrow().len(), gate.platform.bodies.borrow().len()), (1, 1));
    gate.send(&request("POST", "/a"));
    assert_eq!((gate.platform.stored.borrow().len(), gate.platform.bodies.borrow().len()), (0, 0));
    assert_eq!(status(&gate, &get("/a")), MISS);
}

#[test]
fn a_304_refreshes_both() {
    let gate = tiers(&["memory", "location"]);
    gate.send(&get("/a"));
    gate.platform.advance(61_000);
    assert_eq!(status(&gate, &get("/a")), "edgeweir; fwd=stale; fwd-status=304; stored; ttl=60");
    // The body is the same one.
    assert_eq!((keeps(&gate), gate.platform.bodies.borrow().len()), (2, 1));
    let asked = lookups(&gate);
    assert_eq!(status(&gate, &get("/a")), HIT);
    assert_eq!(lookups(&gate), asked);
    let other = tiers(&["location"]);
    other.platform.advance(61_000);
    *other.platform.stored.borrow_mut() = gate.platform.stored.borrow().clone();
    assert_eq!(status(&other, &get("/a")), HIT);
}

/// What has become stale here may have been confirmed by another isolate.
#[test]
fn a_later_answer_in_the_location_spares_the_origin() {
    let gate = tiers(&["memory", "location"]);
    gate.send(&get("/a"));
    let other = tiers(&["memory", "location"]);
    other.platform.advance(50_000);
    other.send(&get("/a"));
    *gate.platform.stored.borrow_mut() = other.platform.stored.borrow().clone();
    gate.platform.advance(70_000);
    assert_eq!(status(&gate, &get("/a")), "edgeweir; hit; ttl=40");
    let asked = lookups(&gate);
    assert_eq!(status(&gate, &get("/a")), "edgeweir; hit; ttl=40");
    assert_eq!((lookups(&gate), gate.sent_count()), (asked, 1));
}

#[test]
fn stale_while_revalidate_refreshes_memory() {
    for list in [&["memory"][..], &["memory", "location"]] {
        let gate = route(&json!({"cache": {"tiers": list}}));
        gate.platform.origin(|sent| {
            let is_asked = sent.field("if-none-match").is_some();
            Response::new(if is_asked { 304 } else { 200 })
                .with("Cache-Control", "max-age=60, stale-while-revalidate=60")
                .with("ETag", "\"v1\"")
        });
        gate.send(&get("/a"));
        gate.platform.advance(70_000);
        assert!(status(&gate, &get("/a")).contains("detail=stale-while-revalidate"));
        assert_eq!(status(&gate, &get("/a")), HIT, "{list:?}");
        assert_eq!((gate.sent_count(), gate.platform.bodies.borrow().len()), (2, 1));
    }
}

#[test]
fn a_body_that_breaks_off_or_is_too_large_is_not_kept() {
    let gate = tiers(&["memory"]);
    gate.platform.breaks_off.set(true);
    gate.send(&get("/a"));
    gate.platform.breaks_off.set(false);
    assert_eq!(status(&gate, &get("/a")), MISS);
    let small = route(&json!({"cache": {"tiers": ["memory", "location"], "max_memory_body": "10B"}}));
    small.platform.origin(fresh);
    small.send(&get("/a"));
    assert_eq!(status(&small, &get("/a")), HIT);
    assert_eq!((lookups(&small), small.platform.bodies.borrow().len()), (2, 0));
}

#[test]
fn what_stands_in_for_a_failing_origin_may_come_from_memory() {
    let gate = tiers(&["memory"]);
    gate.send(&get("/a"));
    gate.platform.advance(70_000);
    gate.platform.origin_fault.set(Some(Fault::Fails));
    let (response, _) = gate.send(&get("/a"));
    assert_eq!((response.status, response.body.as_str()), (200, "http://app.internal/a"));
    assert_eq!(
        response.field("cache-status").as_deref(),
        Some("edgeweir; fwd=stale; ttl=-10; detail=stale-if-error")
    );
}
