//! Concurrent misses of one key.

use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use edgeweir::exchange::PlainHead;
use edgeweir::gateway::{Bound, Isolate};
use edgeweir::platform::Clock;
use edgeweir::stages::cache::collapser::{Answer, End, Id, Lead, Message};
use serde_json::json;

use super::{route, stages};
use crate::fake::{Fault, Gate, Response, With, all, get, request};

fn near() -> Gate {
    let gate = route(&json!({"cache": {"tiers": ["memory"]}}));
    gate.platform.origin(|sent| Response::new(200).with("Cache-Control", "max-age=60").body(&sent.url));
    gate
}

/// Sends them side by side; what each client sees.
fn at_once(gate: &Gate, heads: &[PlainHead]) -> Vec<Response> {
    let sending = heads.iter().map(|head| Box::pin(gate.sending(head))).collect();
    all(sending).into_iter().map(|(response, _)| response).collect()
}

fn statuses(responses: &[Response]) -> Vec<String> {
    let mut said: Vec<String> =
        responses.iter().map(|response| response.field("cache-status").unwrap_or_default()).collect();
    said.sort_unstable();
    said.dedup();
    said
}

#[test]
fn five_hundred_cold_requests_cause_one() {
    for tiers in [&["memory"][..], &["location"], &["memory", "location"]] {
        let gate = route(&json!({"cache": {"tiers": tiers}}));
        gate.platform.origin(|sent| Response::new(200).with("Cache-Control", "max-age=60").body(&sent.url));
        let responses = at_once(&gate, &vec![get("/a"); 500]);
        assert_eq!(gate.sent_count(), 1, "{tiers:?}");
        assert!(responses.iter().all(|response| response.body == "http://app.internal/a"));
        assert_eq!(
            statuses(&responses),
            [
                "edgeweir; fwd=uri-miss; collapsed; ttl=60",
                "edgeweir; fwd=uri-miss; fwd-status=200; stored; ttl=60"
            ]
        );
    }
}

/// A browser that has an old answer gets its 304, and holds nobody up who has
/// none.
#[test]
fn who_asks_on_a_condition_of_his_own_leads_nobody() {
    for condition in [("If-None-Match", "\"v1\""), ("If-Modified-Since", "Thu, 01 Jan 2026 00:00:00 GMT")] {
        let gate = near();
        gate.platform.origin(move |sent| match sent.field(&condition.0.to_ascii_lowercase()) {
            Some(_) => Response::new(304).with("ETag", "\"v1\""),
            None => Response::new(200).with("Cache-Control", "max-age=60").with("ETag", "\"v1\"").body("a"),
        });
        let mut heads = vec![get("/a"); 20];
        heads.insert(0, get("/a").with(condition.0, condition.1));
        let responses = at_once(&gate, &heads);
        assert_eq!(gate.sent_count(), 2, "{condition:?}");
        let said: Vec<u16> = responses.iter().map(|response| response.status).collect();
        assert_eq!(said.iter().filter(|status| **status == 200).count(), 20);
        // Who comes while another asks gets what that one brings.
        heads.rotate_left(1);
        let gate = near();
        at_once(&gate, &heads);
        assert_eq!(gate.sent_count(), 1);
    }
}

#[test]
fn so_do_requests_for_what_has_become_stale() {
    let gate = near();
    gate.send(&get("/a"));
    gate.platform.advance(61_000);
    let responses = at_once(&gate, &vec![get("/a"); 20]);
    assert_eq!(gate.sent_count(), 2);
    assert_eq!(
        statuses(&responses),
        ["edgeweir; fwd=stale; collapsed; ttl=60", "edgeweir; fwd=stale; fwd-status=200; stored; ttl=60"]
    );
}

#[test]
fn other_keys_wait_for_nobody() {
    let gate = near();
    let heads = [get("/a"), get("/b"), get("/a?"), get("/a").to("http", "app.example")];
    at_once(&gate, &heads);
    assert_eq!(gate.sent_count(), 4);
}

#[test]
fn who_wants_an_answer_of_his_own_waits_for_nobody() {
    for own in [
        get("/a").with("Cache-Control", "no-store"),
        get("/a").with("Authorization", "Basic YTpi"),
        get("/a").with("Cookie", "session=1"),
        get("/a").with("Range", "bytes=0-1"),
        request("POST", "/a"),
    ] {
        let gate = near();
        at_once(&gate, &[get("/a"), own.clone()]);
        assert_eq!(gate.sent_count(), 2, "{own:?}");
    }
}

/// An answer that cannot be kept lets all go, and the next ones do not queue.
#[test]
fn an_uncacheable_answer_releases_all() {
    let gate = near();
    gate.platform.origin(|_| Response::new(200).with("Cache-Control", "no-store"));
    let responses = at_once(&gate, &vec![get("/a"); 10]);
    assert_eq!(gate.sent_count(), 10);
    assert_eq!(statuses(&responses), ["edgeweir; fwd=uri-miss; fwd-status=200; detail=directive"]);
    let before = gate.platform.now();
    at_once(&gate, &vec![get("/a"); 10]);
    // Waiting would have moved the clock.
    assert_eq!((gate.sent_count(), gate.platform.now()), (20, before));
}

#[test]
fn a_failing_origin_fails_all() {
    let gate = near();
    gate.platform.origin_fault.set(Some(Fault::Fails));
    let responses = at_once(&gate, &vec![get("/a"); 3]);
    assert!(responses.iter().all(|response| response.status == 502));
    gate.platform.origin_fault.set(None);
    assert_eq!(at_once(&gate, &vec![get("/a"); 3])[0].status, 200);
}

#[test]
fn a_body_that_is_not_kept_releases_all() {
    let gate = near();
    gate.platform.breaks_off.set(true);
    let responses = at_once(&gate, &vec![get("/a"); 3]);
    assert_eq!(gate.sent_count(), 3);
    assert!(responses.iter().all(|response| response.status == 200));
}

#[test]
fn other_variants_are_not_what_was_waited_for() {
    let gate = near();
    gate.platform.origin(|sent| {
        let body = sent.field("accept-language").unwrap_or_default();
        Response::new(200).with("Cache-Control", "max-age=60").with("Vary", "Accept-Language").body(&body)
    });
    let heads = ["ko", "en", "ko", "en"].map(|language| get("/a").with("Accept-Language", language));
    let bodies: Vec<String> = at_once(&gate, &heads).into_iter().map(|response| response.body).collect();
    assert_eq!(bodies, ["ko", "en", "ko", "en"]);
}

/// Who leads may never come to its end: the others do.
#[test]
fn nobody_waits_for_ever() {
    let gate = near();
    let head = get("/a");
    let mut leader = pin!(gate.sending(&head));
    assert!(leader.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    let before = gate.platform.now();
    let (response, _) = gate.send(&get("/a"));
    assert_eq!(response.status, 200);
    let waited = gate.platform.now().since(before).as_millis();
    assert!((5_000..5_100).contains(&waited), "{waited}");
}

/// Where all locations share it alone, it is seen too late to wait for.
#[test]
fn a_route_with_global_alone_collapses_nothing() {
    let gate = route(&json!({"cache": {"tiers": ["global"]}}));
    gate.platform.origin(|_| Response::new(200).with("Cache-Control", "max-age=600"));
    at_once(&gate, &vec![get("/a"); 3]);
    assert_eq!(gate.sent_count(), 3);
}

/// Isolates of one location, with the objects that collapse for them: one
/// store, one object, one clock.
fn location(count: usize, tiers: &[&str]) -> Vec<Gate> {
    let mut gates: Vec<Gate> = (0..count).map(|_| route(&json!({"cache": {"tiers": tiers}}))).collect();
    let first = &gates[0].platform;
    let (stored, collapser, clock) = (first.stored.clone(), first.collapser.clone(), first.clock.clone());
    for gate in &mut gates {
        gate.isolate = Isolate::new("test", 7).with_bound(Bound { global: false, collapser: true });
        gate.platform.stored = Rc::clone(&stored);
        gate.platform.collapser = Rc::clone(&collapser);
        gate.platform.clock = Rc::clone(&clock);
        gate.platform.origin_takes.set(300);
        gate.platform.origin(|sent| Response::new(200).with("Cache-Control", "max-age=60").body(&sent.url));
    }
    gates
}

/// Sends so many requests to each isolate, side by side.
fn across(gates: &[Gate], each: usize) -> Vec<Response> {
    let head = get("/a");
    let sending = (0..each).flat_map(|_| gates.iter().map(|gate| Box::pin(gate.sending(&head)))).collect();
    all(sending).into_iter().map(|(response, _)| response).collect()
}

fn asked(gates: &[Gate]) -> Vec<usize> {
    gates.iter().map(Gate::sent_count).collect()
}

#[test]
fn isolates_of_a_location_ask_once() {
    for tiers in [&["location"][..], &["memory", "location"]] {
        let gates = location(4, tiers);
        let responses = across(&gates, 125);
        assert_eq!(asked(&gates).iter().sum::<usize>(), 1, "{tiers:?}");
        assert!(responses.iter().all(|response| response.body == "http://app.internal/a"));
        assert_eq!(
            statuses(&responses),
            [
                "edgeweir; fwd=uri-miss; collapsed; ttl=60",
                "edgeweir; fwd=uri-miss; fwd-status=200; stored; ttl=60"
            ]
        );
        // Each isolate has asked its object for all of its requests.
        for gate in &gates {
            let told = gate.platform.collapsed.borrow();
            assert_eq!(told.iter().filter(|message| matches!(message, Message::Join(_))).count(), 1);
        }
    }
}

#[test]
fn memory_alone_collapses_for_each_isolate() {
    let gates = location(3, &["memory"]);
    across(&gates, 20);
    assert_eq!(asked(&gates), [1, 1, 1]);
    assert!(gates.iter().all(|gate| gate.platform.collapsed.borrow().is_empty()));
}

#[test]
fn without_objects_each_isolate_asks() {
    let mut gates = location(3, &["location"]);
    for gate in &mut gates {
        gate.isolate = Isolate::new("test", 7);
    }
    let responses = across(&gates, 20);
    assert!(asked(&gates).iter().all(|count| *count <= 1));
    assert!(responses.iter().all(|response| response.status == 200));
    assert!(gates.iter().all(|gate| gate.platform.collapsed.borrow().is_empty()));
}

#[test]
fn an_uncacheable_answer_releases_all_isolates() {
    let gates = location(3, &["location"]);
    for gate in &gates {
        gate.platform.origin(|_| Response::new(200).with("Cache-Control", "no-store"));
    }
    across(&gates, 10);
    assert_eq!(asked(&gates), [10, 10, 10]);
    // The next ones do not queue, in an isolate that knows nothing either.
    let mut fresh = location(1, &["location"]).remove(0);
    fresh.platform.collapser = Rc::clone(&gates[0].platform.collapser);
    fresh.platform.origin(|_| Response::new(200).with("Cache-Control", "no-store"));
    fresh.platform.clock.set(gates[0].platform.clock.get());
    fresh.send(&get("/a"));
    let said = fresh.platform.collapsed.borrow().clone();
    assert_eq!(said.len(), 1, "{said:?}");
}

#[test]
fn a_failing_origin_releases_all_isolates() {
    let gates = location(3, &["location"]);
    for gate in &gates {
        gate.platform.origin_fault.set(Some(Fault::Fails));
    }
    let responses = across(&gates, 5);
    assert!(responses.iter().all(|response| response.status == 502));
    for gate in &gates {
        gate.platform.origin_fault.set(None);
    }
    assert!(across(&gates, 5).iter().all(|response| response.status == 200));
}

#[test]
fn a_body_that_is_not_kept_releases_all_isolates() {
    let gates = location(3, &["location"]);
    for gate in &gates {
        gate.platform.breaks_off.set(true);
    }
    assert!(across(&gates, 5).iter().all(|response| response.status == 200));
    let leads = gates.iter().flat_map(|gate| gate.platform.collapsed.borrow().clone());
    assert!(leads.into_iter().any(|message| matches!(message, Message::End(_, End::Lost))));
}

/// A leader that is never heard of again is missed, and another one leads.
#[test]
fn a_dead_leader_is_replaced() {
    let gates = location(2, &["location"]);
    gates[0].platform.origin(|_| panic!("it never gets there"));
    let head = get("/a");
    let mut dead = Box::pin(gates[0].sending(&head));
    let mut context = Context::from_waker(Waker::noop());
    while gates[0].platform.collapsed.borrow().is_empty() {
        assert!(dead.as_mut().poll(&mut context).is_pending());
    }
    let before = gates[1].platform.now();
    assert_eq!(gates[1].send(&get("/a")).0.status, 200);
    let waited = gates[1].platform.now().since(before).as_millis();
    assert!((1_900..3_000).contains(&waited), "{waited}");
    let said = gates[1].platform.collapsed.borrow().clone();
    assert!(said.iter().any(|message| matches!(message, Message::End(_, End::Stored))), "{said:?}");
}

/// An object that fails or is too slow: everybody goes alone, it is noted, and
/// for a second nobody asks.
#[test]
fn an_object_that_fails_holds_nobody_up() {
    for fault in [Fault::Fails, Fault::TimesOut] {
        let gate = location(1, &["location"]).remove(0);
        gate.platform.collapser_fault.set(Some(fault));
        let (response, record) = gate.send(&get("/a"));
        assert_eq!(
            (response.status, response.field("cache-status").as_deref()),
            (200, Some("edgeweir; fwd=uri-miss; fwd-status=200; stored; ttl=60"))
        );
        assert_eq!(stages(&record), ["cache alone -"]);
        assert!(record.stages[0].error.as_ref().unwrap().starts_with("collapser"));
        gate.send(&get("/b"));
        assert_eq!(gate.platform.collapsed.borrow().len(), 1);
        gate.platform.advance(1_000);
        gate.send(&get("/c"));
        assert_eq!(gate.platform.collapsed.borrow().len(), 2);
    }
}

/// Nobody waits for an object longer than for anything else.
#[test]
fn nobody_waits_for_another_isolate_for_ever() {
    let gate = location(1, &["location"]).remove(0);
    let id = Id::of("https://cache.edgeweir.invalid/test/all/app/~/https/app.example/a");
    let Answer::Lead(number) =
        gate.platform.collapser.borrow_mut().tell(&Message::Join(id), gate.platform.now()).answer
    else {
        panic!("it leads")
    };
    let lead = Lead { id, number };
    let head = get("/a");
    let mut sending = Box::pin(gate.sending(&head));
    let mut context = Context::from_waker(Waker::noop());
    let before = gate.platform.now();
    let response = loop {
        gate.platform.collapser.borrow_mut().tell(&Message::Renew(lead), gate.platform.now());
        if let Poll::Ready((response, _)) = sending.as_mut().poll(&mut context) {
            break response;
        }
    };
    assert_eq!(
        response.field("cache-status").as_deref(),
        Some("edgeweir; fwd=uri-miss; fwd-status=200; stored; ttl=60")
    );
    let waited = gate.platform.now().since(before).as_millis();
    assert!((5_000..5_500).contains(&waited), "{waited}");
}
