//! Clients that want the origin's word with every request do not turn the
//! cache off.

use std::rc::Rc;

use edgeweir::exchange::PlainHead;
use edgeweir::gateway::{Bound, Isolate};
use serde_json::json;

use super::route;
use crate::fake::{Fault, Gate, Response, Sent, StoreEvent, With, all, get, request};

fn confirming(sent: &Sent) -> Response {
    if sent.field("if-none-match").is_some() {
        return Response::new(304).with("Cache-Control", "max-age=600").with("ETag", "\"v1\"").body("");
    }
    Response::new(200).with("Cache-Control", "max-age=600").with("ETag", "\"v1\"").body(&sent.url)
}

/// Has an answer stored, which is ten seconds old.
fn stored(tiers: &[&str]) -> Gate {
    let gate = route(&json!({"cache": {"tiers": tiers}}));
    gate.platform.origin(confirming);
    gate.send(&get("/a"));
    gate.platform.advance(10_000);
    gate
}

const TIERS: [&[&str]; 3] = [&["memory"], &["location"], &["memory", "location"]];

/// Everything by which a client can ask for something newer.
fn demands() -> [PlainHead; 6] {
    [
        get("/a").with("Cache-Control", "no-cache"),
        get("/a").with("Cache-Control", "max-age=0"),
        get("/a").with("Cache-Control", "max-age=3, no-cache"),
        get("/a").with("Cache-Control", "min-fresh=100000"),
        get("/a").with("Pragma", "no-cache"),
        request("HEAD", "/a").with("Cache-Control", "no-cache"),
    ]
}

fn status(gate: &Gate, head: &PlainHead) -> String {
    gate.send(head).0.field("cache-status").unwrap_or_default()
}

fn at_once(gate: &Gate, heads: &[PlainHead]) -> Vec<Response> {
    let sending = heads.iter().map(|head| Box::pin(gate.sending(head))).collect();
    all(sending).into_iter().map(|(response, _)| response).collect()
}

#[test]
fn once_a_second_for_each_key() {
    for tiers in TIERS {
        for demand in demands() {
            let gate = stored(tiers);
            assert_eq!(
                status(&gate, &demand),
                "edgeweir; fwd=request; fwd-status=304; stored; ttl=600",
                "{demand:?}"
            );
            for millis in [0, 1, 499, 499] {
                gate.platform.advance(millis);
                assert_eq!(status(&gate, &demand), "edgeweir; hit; ttl=600", "{demand:?}");
            }
            gate.platform.advance(1);
            assert_eq!(
                status(&gate, &demand),
                "edgeweir; fwd=request; fwd-status=304; stored; ttl=600",
                "{demand:?}"
            );
            // The first one had it stored.
            assert_eq!(gate.sent_count(), 3);
        }
    }
}

/// What has just come needs no confirmation, whoever asked for it.
#[test]
fn what_has_just_arrived_is_confirmed() {
    let gate = route(&json!({"cache": {}}));
    gate.platform.origin(confirming);
    assert_eq!(status(&gate, &demands()[0]), "edgeweir; fwd=uri-miss; fwd-status=200; stored; ttl=600");
    assert_eq!(status(&gate, &demands()[1]), "edgeweir; hit; ttl=600");
}

/// An answer that was old when it came is never younger than `max-age=0`.
#[test]
fn an_answer_that_came_old_is_not_asked_for_each_time() {
    let gate = route(&json!({"cache": {"tiers": ["memory"]}}));
    gate.platform.origin(|sent| confirming(sent).with("Age", "30"));
    for _ in 0..20 {
        assert_eq!(gate.send(&demands()[1]).0.status, 200);
    }
    assert_eq!(gate.sent_count(), 1);
}

#[test]
fn two_hundred_at_once_cause_one_request() {
    for tiers in TIERS {
        for demand in demands() {
            let gate = stored(tiers);
            // What differs and is no part of the key does not help.
            let heads: Vec<PlainHead> =
                (0..200).map(|number| demand.clone().with("X-Random", &format!("{number}"))).collect();
            let responses = at_once(&gate, &heads);
            assert_eq!(gate.sent_count(), 2, "{tiers:?} {demand:?}");
            assert!(responses.iter().all(|response| response.status == 200));
        }
    }
}

#[test]
fn where_they_can_wait_they_get_the_new_answer() {
    let gate = stored(&["memory"]);
    gate.platform.origin(|_| Response::new(200).with("Cache-Control", "max-age=600").body("new"));
    let responses = at_once(&gate, &vec![demands()[0].clone(); 50]);
    assert!(responses.iter().all(|response| response.body == "new"));
    let collapsed = "edgeweir; fwd=request; collapsed; ttl=600";
    let count =
        responses.iter().filter(|response| response.field("cache-status").unwrap() == collapsed).count();
    assert_eq!((count, gate.sent_count()), (49, 2));
}

#[test]
fn misses_with_demands_collapse_too() {
    let gate = route(&json!({"cache": {"tiers": ["memory"]}}));
    gate.platform.origin(confirming);
    at_once(&gate, &vec![demands()[0].clone(); 100]);
    assert_eq!(gate.sent_count(), 1);
}

/// An origin that fails is not asked by all of them: those that waited in vain
/// get what is stored, as others do.
#[test]
fn an_origin_that_fails_is_asked_once_a_second() {
    for tiers in TIERS {
        let gate = stored(tiers);
        gate.platform.origin_fault.set(Some(Fault::Fails));
        let responses = at_once(&gate, &vec![demands()[0].clone(); 50]);
        let failed = responses.iter().filter(|response| response.status == 502).count();
        assert_eq!((failed, gate.sent_count()), (1, 2), "{tiers:?}");
        assert_eq!(status(&gate, &demands()[0]), "edgeweir; hit; ttl=590");
        gate.platform.advance(1_000);
        assert_eq!(gate.send(&demands()[0]).0.status, 502);
    }
}

#[test]
fn each_key_by_itself() {
    let gate = stored(&["memory"]);
    gate.send(&get("/b"));
    gate.platform.advance(10_000);
    let before = gate.sent_count();
    for target in ["/a", "/b", "/a", "/b"] {
        gate.send(&get(target).with("Cache-Control", "no-cache"));
    }
    assert_eq!(gate.sent_count(), before + 2);
}

/// The origin's own `no-cache` is no client's demand.
#[test]
fn what_the_origin_wants_confirmed_is_confirmed_each_time() {
    let gate = route(&json!({"cache": {"tiers": ["memory"]}}));
    gate.platform.origin(|sent| {
        let status = if sent.field("if-none-match").is_some() { 304 } else { 200 };
        Response::new(status).with("Cache-Control", "no-cache").with("ETag", "\"v1\"")
    });
    for _ in 0..5 {
        gate.send(&demands()[0]);
    }
    assert_eq!(gate.sent_count(), 5);
}

/// Who lets nobody ask gets what has just been confirmed, or nothing.
#[test]
fn only_if_cached_and_no_cache_ask_nobody() {
    let gate = stored(&["memory"]);
    let head = get("/a").with("Cache-Control", "no-cache, only-if-cached");
    assert_eq!(gate.send(&head).0.status, 504);
    assert_eq!(gate.sent_count(), 1);
    // It has not used up the second of those who may ask.
    assert_eq!(status(&gate, &demands()[0]), "edgeweir; fwd=request; fwd-status=304; stored; ttl=600");
    assert_eq!(gate.send(&head).0.status, 200);
}

/// 5.2.1.7: what is stored answers where nothing else that is demanded forbids
/// it. `no-store` does not (5.2.1.5).
#[test]
fn only_if_cached_and_no_store_get_what_is_stored() {
    let gate = stored(&["location"]);
    let head = |more: &str| get("/a").with("Cache-Control", &["no-store, only-if-cached", more].concat());
    for more in ["", ", max-age=20"] {
        assert_eq!(status(&gate, &head(more)), "edgeweir; hit; ttl=590", "{more}");
    }
    for more in [", no-cache", ", max-age=5"] {
        assert_eq!(gate.send(&head(more)).0.status, 504, "{more}");
    }
    assert_eq!(gate.send(&get("/b").with("Cache-Control", "no-store, only-if-cached")).0.status, 504);
    assert_eq!(gate.sent_count(), 1);
}

fn no_store() -> PlainHead {
    get("/a").with("Cache-Control", "no-store")
}

const PASSES: &str = "edgeweir; fwd=request; fwd-status=200; detail=request";

/// RFC 9111, 5.2.1.5: it forbids to store, and not to answer from what is
/// stored. The origin is asked once a second, without a condition of ours, and
/// what it says is not kept.
#[test]
fn no_store_goes_to_the_origin_once_a_second() {
    for tiers in TIERS {
        for head in [
            no_store(),
            get("/a").with("Cache-Control", "x=\"a"),
            get("/a").with("Cache-Control", "no-store, no-cache"),
        ] {
            let gate = stored(tiers);
            let before = gate.platform.stored.borrow().clone();
            assert_eq!(status(&gate, &head), PASSES, "{tiers:?} {head:?}");
            assert_eq!(gate.platform.sent.borrow().last().unwrap().field("if-none-match"), None);
            for millis in [0, 1, 499, 499] {
                gate.platform.advance(millis);
                assert!(status(&gate, &head).starts_with("edgeweir; hit; ttl=5"), "{tiers:?} {head:?}");
            }
            gate.platform.advance(1);
            assert_eq!(status(&gate, &head), PASSES);
            assert_eq!(gate.sent_count(), 3, "{tiers:?}");
            assert_eq!(*gate.platform.stored.borrow(), before);
        }
    }
}

#[test]
fn two_hundred_with_no_store_at_once_cause_one_request() {
    for tiers in TIERS {
        let gate = stored(tiers);
        let responses = at_once(&gate, &vec![no_store(); 200]);
        assert_eq!(gate.sent_count(), 2, "{tiers:?}");
        assert!(responses.iter().all(|response| response.status == 200));
    }
}

/// Nobody keeps others by it from what they may ask for.
#[test]
fn no_store_uses_up_nobody_elses_second() {
    let gate = stored(&["memory", "location"]);
    assert_eq!(status(&gate, &no_store()), PASSES);
    assert!(status(&gate, &demands()[0]).contains("fwd=request; fwd-status=304; stored"));
    // What has just been confirmed does for it, too.
    gate.platform.advance(500);
    assert_eq!(status(&gate, &no_store()), "edgeweir; hit; ttl=600");
}

/// Nothing comes to be stored by it: not what is missing, not near what is far,
/// and not behind an answer that is stale.
#[test]
fn nothing_is_stored_for_a_request_with_no_store() {
    let gate = route(&json!({"cache": {"tiers": ["memory", "location"]}}));
    gate.platform.origin(|_| {
        Response::new(200).with("Cache-Control", "max-age=60, stale-while-revalidate=600").body("old")
    });
    for _ in 0..3 {
        assert_eq!(status(&gate, &no_store()), "edgeweir; fwd=uri-miss; fwd-status=200; detail=request");
    }
    assert!(gate.platform.stored.borrow().is_empty() && gate.platform.bodies.borrow().is_empty());
    let gates = location(2, &["memory", "location"], false);
    gates[0].send(&get("/a"));
    assert_eq!(status(&gates[1], &no_store()), "edgeweir; hit; ttl=600");
    assert!(gates[1].platform.bodies.borrow().is_empty());
    // Stale: it is asked about for somebody else.
    gate.send(&get("/a"));
    gate.platform.advance(70_000);
    gate.send(&no_store());
    let asked = gate.sent_count();
    assert!(status(&gate, &no_store()).contains("detail=stale-while-revalidate"));
    assert_eq!(gate.sent_count(), asked);
    assert!(status(&gate, &get("/a")).contains("detail=stale-while-revalidate"));
    assert_eq!(gate.sent_count(), asked + 1);
    // Where nothing stored would do for others either, it goes to the origin.
    gate.platform.origin(|_| Response::new(200).with("Cache-Control", "max-age=60").body("new"));
    gate.platform.advance(800_000);
    for _ in 0..2 {
        assert_eq!(status(&gate, &no_store()), "edgeweir; fwd=stale; fwd-status=200; detail=request");
    }
    assert_eq!(gate.sent_count(), asked + 3);
}

/// Isolates of one location: one store, one clock, and objects that collapse.
fn location(count: usize, tiers: &[&str], collapser: bool) -> Vec<Gate> {
    let mut gates: Vec<Gate> = (0..count).map(|_| route(&json!({"cache": {"tiers": tiers}}))).collect();
    let first = &gates[0].platform;
    let (stored, objects, clock) = (first.stored.clone(), first.collapser.clone(), first.clock.clone());
    for gate in &mut gates {
        gate.isolate = Isolate::new("test", 7).with_bound(Bound { global: false, collapser });
        gate.platform.stored = Rc::clone(&stored);
        gate.platform.collapser = Rc::clone(&objects);
        gate.platform.clock = Rc::clone(&clock);
        gate.platform.origin(confirming);
    }
    gates
}

fn asked(gates: &[Gate]) -> usize {
    gates.iter().map(Gate::sent_count).sum()
}

/// What one isolate has had confirmed, the others of its location take from
/// there.
#[test]
fn once_a_second_in_a_location() {
    for tiers in [&["location"][..], &["memory", "location"]] {
        for demand in demands() {
            let gates = location(3, tiers, false);
            for gate in &gates {
                gate.send(&get("/a"));
            }
            assert_eq!(asked(&gates), 1);
            for round in 1..=3 {
                gates[0].platform.advance(10_000);
                let first = status(&gates[round % 3], &demand);
                assert_eq!(
                    first, "edgeweir; fwd=request; fwd-status=304; stored; ttl=600",
                    "{tiers:?} {demand:?}"
                );
                for millis in [0, 1, 499, 499] {
                    gates[0].platform.advance(millis);
                    for gate in &gates {
                        assert_eq!(status(gate, &demand), "edgeweir; hit; ttl=600", "{tiers:?} {demand:?}");
                    }
                }
                assert_eq!(asked(&gates), 1 + round);
            }
        }
    }
}

/// Who comes at the same time in another isolate waits, too, where there are
/// objects for it.
#[test]
fn at_once_in_a_location() {
    for tiers in [&["location"][..], &["memory", "location"]] {
        let gates = location(3, tiers, true);
        for gate in &gates {
            gate.send(&get("/a"));
            gate.platform.origin_takes.set(300);
        }
        gates[0].platform.advance(10_000);
        let head = demands()[0].clone();
        let sending = (0..20).flat_map(|_| gates.iter().map(|gate| Box::pin(gate.sending(&head)))).collect();
        let responses = all(sending);
        assert_eq!(asked(&gates), 2, "{tiers:?}");
        assert!(responses.iter().all(|(response, _)| response.status == 200));
    }
}

/// What does for the client is not looked for elsewhere.
#[test]
fn a_demand_that_memory_meets_asks_no_location() {
    let gate = stored(&["memory", "location"]);
    let lookups = |gate: &Gate| {
        let events = gate.platform.store_events.borrow();
        events.iter().filter(|event| matches!(event, StoreEvent::Lookup(_))).count()
    };
    let before = lookups(&gate);
    for control in ["max-age=60", "min-fresh=60", "max-stale=60"] {
        assert_eq!(status(&gate, &get("/a").with("Cache-Control", control)), "edgeweir; hit; ttl=590");
    }
    assert_eq!(lookups(&gate), before);
}

/// RFC 9111, 4.3.3 leaves open whether an answer that is not kept removes the
/// stored one. What a demand brings does not where a field of that request may
/// be the cause: else whoever sends one that the origin refuses would empty the
/// cache each second.
#[test]
fn what_a_demand_brings_upon_itself_removes_nothing() {
    for tiers in TIERS {
        for status in [400, 401, 403, 405, 406, 413, 416, 429, 431, 451] {
            for demand in [demands()[0].clone(), demands()[5].clone()] {
                let gate = stored(tiers);
                gate.platform.origin(move |_| Response::new(status));
                assert_eq!(gate.send(&demand).0.status, status);
                assert_eq!(self::status(&gate, &get("/a")), "edgeweir; hit; ttl=590", "{status} {demand:?}");
            }
        }
        // What says that there is nothing any more does.
        for status in [404, 410] {
            let gate = stored(tiers);
            gate.platform.origin(move |_| Response::new(status));
            gate.send(&demands()[0]);
            assert_eq!(gate.send(&get("/a")).0.status, status);
        }
    }
}

/// Nor does it take its place, whatever lifetime the origin gives its errors:
/// one request with a field that the origin refuses would poison what is fresh.
#[test]
fn an_error_that_a_demand_brings_upon_itself_replaces_nothing() {
    for tiers in TIERS {
        for status in [400, 403, 431, 500, 503] {
            let gate = stored(tiers);
            gate.platform.origin(move |_| Response::new(status).with("Cache-Control", "public, max-age=600"));
            assert_eq!(
                self::status(&gate, &demands()[0]),
                format!("edgeweir; fwd=request; fwd-status={status}; detail=request")
            );
            assert_eq!(self::status(&gate, &get("/a")), "edgeweir; hit; ttl=590", "{status}");
            // When its time is over, what the origin says then counts.
            gate.platform.advance(7_200_000);
            assert_eq!(
                self::status(&gate, &get("/a")),
                format!("edgeweir; fwd=stale; fwd-status={status}; stored; ttl=600")
            );
        }
    }
}

/// An answer for somebody with credentials is no news for the others.
#[test]
fn what_a_demand_with_credentials_brings_removes_nothing() {
    let shared = |sent: &Sent| confirming(sent).with("Cache-Control", "public");
    let own: [fn(&Sent) -> Response; 3] = [
        |_| Response::new(200).with("Cache-Control", "private").with("ETag", "\"v2\""),
        |_| Response::new(304).with("Cache-Control", "private").with("ETag", "\"v1\"").body(""),
        |_| Response::new(200).with("Set-Cookie", "a=b"),
    ];
    for answer in own {
        for demand in [demands()[0].clone(), demands()[5].clone()] {
            let gate = route(&json!({"cache": {}}));
            gate.platform.origin(shared);
            gate.send(&get("/a"));
            gate.platform.advance(10_000);
            gate.platform.origin(answer);
            let (seen, _) = gate.send(&demand.with("Authorization", "x"));
            assert!(seen.field("cache-status").unwrap().contains("fwd=request"));
            assert_eq!(status(&gate, &get("/a")), "edgeweir; hit; ttl=590");
        }
    }
}

/// What a request keeps from being stored itself neither removes what is stored
/// nor marks the key.
#[test]
fn what_a_request_forbids_itself_is_no_news_for_others() {
    let gate = route(&json!({"cache": {"tiers": ["location"]}}));
    gate.platform
        .origin(|_| Response::new(200).with("Cache-Control", "max-age=600").with("Vary", "Accept-Language"));
    let imitated = get("/a").with("Accept_Language", "evil");
    assert_eq!(status(&gate, &imitated), "edgeweir; fwd=uri-miss; fwd-status=200; detail=request");
    gate.send(&get("/a"));
    gate.platform.advance(10_000);
    let demanded = imitated.with("Cache-Control", "no-cache");
    assert_eq!(status(&gate, &demanded), "edgeweir; fwd=request; fwd-status=200; detail=request");
    assert_eq!(status(&gate, &get("/a")), "edgeweir; hit; ttl=590");
    let events = gate.platform.store_events.borrow();
    assert!(!events.iter().any(|event| matches!(event, StoreEvent::Remove(_))), "{events:?}");
}

/// A key is not given up for a minute because somebody sent a broken request.
#[test]
fn what_blames_the_request_marks_no_key() {
    for (status, looks) in [(400, 2), (413, 2), (431, 2), (403, 1)] {
        let gate = route(&json!({"cache": {"tiers": ["location"]}}));
        gate.platform.origin(move |_| Response::new(status));
        gate.send(&get("/a"));
        gate.send(&get("/a"));
        let events = gate.platform.store_events.borrow();
        let count = events.iter().filter(|event| matches!(event, StoreEvent::Lookup(_))).count();
        assert_eq!(count, looks, "{status}");
    }
}
