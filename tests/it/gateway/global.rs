//! The tier that all locations share, on the journey.

use edgeweir::exchange::PlainHead;
use edgeweir::gateway::{Bound, Isolate};
use edgeweir::purge::{Purge, Scope, encode};
use serde_json::json;

use super::{route, stages};
use crate::fake::{Fault, Gate, Response, Sent, StoreEvent, With, get, request};

fn answer(sent: &Sent) -> Response {
    if sent.field("if-none-match").is_some() {
        return Response::new(304).with("Cache-Control", "max-age=600").with("ETag", "\"v1\"").body("");
    }
    Response::new(200).with("Cache-Control", "max-age=600").with("ETag", "\"v1\"").body(&sent.url)
}

fn tiers(tiers: &[&str]) -> Gate {
    let gate = route(&json!({"cache": {"tiers": tiers}}));
    gate.platform.origin(answer);
    gate
}

/// Another location, which shares what is global with this one.
fn elsewhere(gate: &Gate, list: &[&str]) -> Gate {
    let other = tiers(list);
    *other.platform.global.borrow_mut() = gate.platform.global.borrow().clone();
    other.platform.clock.set(gate.platform.clock.get());
    other
}

fn status(gate: &Gate, head: &PlainHead) -> String {
    gate.send(head).0.field("cache-status").unwrap_or_default()
}

fn count(gate: &Gate, matches: impl Fn(&StoreEvent) -> bool) -> usize {
    gate.platform.store_events.borrow().iter().filter(|event| matches(event)).count()
}

fn reads(gate: &Gate) -> usize {
    count(gate, |event| matches!(event, StoreEvent::LookupGlobal(_)))
}

fn writes(gate: &Gate) -> usize {
    count(gate, |event| matches!(event, StoreEvent::KeepGlobal { .. }))
}

const ALL: &[&str] = &["memory", "location", "global"];
const MISS: &str = "edgeweir; fwd=uri-miss; fwd-status=200; stored; ttl=600";
const HIT: &str = "edgeweir; hit; ttl=600";

#[test]
fn a_hit_fills_what_is_nearer() {
    let here = tiers(ALL);
    assert_eq!(status(&here, &get("/a")), MISS);
    let kept = StoreEvent::KeepGlobal {
        name: "cache/test/all/app/~/https/app.example/a".to_owned(),
        retention: 600 + 86_400,
    };
    assert!(here.platform.store_events.borrow().contains(&kept));
    let other = elsewhere(&here, ALL);
    let (response, record) = other.send(&get("/a"));
    assert_eq!((response.body.as_str(), record.cache), ("http://app.internal/a", Some("hit")));
    assert_eq!(response.field("cache-status").as_deref(), Some(HIT));
    assert_eq!((other.sent_count(), reads(&other), writes(&other)), (0, 1, 0));
    let near = (other.platform.stored.borrow().len(), other.platform.bodies.borrow().len());
    assert_eq!(near, (1, 1));
    // From now on it is asked of nobody.
    let asked = other.platform.store_events.borrow().len();
    assert_eq!(status(&other, &get("/a")), HIT);
    assert_eq!(other.platform.store_events.borrow().len(), asked);
    // Another isolate there finds it in the location.
    let third = tiers(ALL);
    *third.platform.stored.borrow_mut() = other.platform.stored.borrow().clone();
    assert_eq!(status(&third, &get("/a")), HIT);
    assert_eq!(reads(&third), 0);
}

#[test]
fn near_tiers_are_asked_first_and_only_those_of_the_route() {
    for (list, near) in [(&["global"][..], 0), (&["location", "global"], 1), (&["memory", "global"], 0)] {
        let here = tiers(list);
        assert_eq!(status(&here, &get("/a")), MISS, "{list:?}");
        let other = elsewhere(&here, list);
        assert_eq!(status(&other, &get("/a")), HIT, "{list:?}");
        assert_eq!((other.sent_count(), reads(&other)), (0, 1), "{list:?}");
        let lookups = count(&other, |event| matches!(event, StoreEvent::Lookup(_)));
        assert_eq!((lookups, other.platform.stored.borrow().len()), (near, near), "{list:?}");
    }
    let plain = tiers(&["memory", "location"]);
    plain.send(&get("/a"));
    assert_eq!((reads(&plain), writes(&plain)), (0, 0));
}

#[test]
fn head_ranges_and_conditions_are_answered_from_it() {
    let here = tiers(&["global"]);
    here.send(&get("/a"));
    let at = || elsewhere(&here, &["global"]);
    let (head, _) = at().send(&request("HEAD", "/a"));
    assert_eq!((head.status, head.body.as_str(), head.field("etag")), (200, "", Some("\"v1\"".to_owned())));
    let (part, _) = at().send(&get("/a").with("Range", "bytes=0-3"));
    assert_eq!((part.status, part.body.as_str()), (206, "http"));
    assert_eq!(at().send(&get("/a").with("Range", "bytes=99-")).0.status, 416);
    let (same, _) = at().send(&get("/a").with("If-None-Match", "\"v1\""));
    assert_eq!((same.status, same.body.as_str()), (304, ""));
}

#[test]
fn age_counts_on_from_where_it_was_stored() {
    let here = tiers(ALL);
    here.send(&get("/a"));
    here.platform.advance(100_000);
    let other = elsewhere(&here, ALL);
    for wait in [0, 50_000] {
        other.platform.advance(wait);
        let (response, _) = other.send(&get("/a"));
        assert_eq!(response.field("age"), Some((100 + wait / 1_000).to_string()));
    }
}

#[test]
fn what_is_short_lived_or_large_is_not_written() {
    for (control, ttl) in
        [("max-age=299", 299), ("no-cache, max-age=600", 600), ("max-age=0, stale-while-revalidate=900", 0)]
    {
        let gate = tiers(ALL);
        let control = control.to_owned();
        gate.platform
            .origin(move |_| Response::new(200).with("Cache-Control", &control).with("ETag", "\"a\""));
        assert_eq!(status(&gate, &get("/a")), MISS.replace("600", &ttl.to_string()));
        assert_eq!(writes(&gate), 0);
    }
    for (announced, tier) in [(true, ALL), (false, ALL)] {
        let gate = route(&json!({"cache": {"tiers": tier, "max_global_body": "10B"}}));
        gate.platform.origin(move |_| {
            let answer = Response::new(200).with("Cache-Control", "max-age=600").body("more than ten bytes");
            if announced { answer.with("Content-Length", "19") } else { answer }
        });
        assert_eq!(status(&gate, &get("/a")), MISS);
        assert_eq!((writes(&gate), gate.platform.global.borrow().len()), (0, 0));
        assert_eq!(status(&gate, &get("/a")), HIT);
    }
    let broken = tiers(ALL);
    broken.platform.breaks_off.set(true);
    broken.send(&get("/a"));
    assert!(broken.platform.global.borrow().is_empty());
}

/// Where nothing else keeps it, that is said.
#[test]
fn what_the_only_tier_does_not_take_is_not_stored() {
    let gate = tiers(&["global"]);
    gate.platform.origin(|_| Response::new(200).with("Cache-Control", "max-age=60"));
    assert_eq!(status(&gate, &get("/a")), "edgeweir; fwd=uri-miss; fwd-status=200; detail=tier");
    let large = route(&json!({"cache": {"tiers": ["global"], "max_global_body": "10B"}}));
    large.platform.origin(|_| {
        Response::new(200).with("Cache-Control", "max-age=600").with("Content-Length", "11").body("x")
    });
    assert_eq!(status(&large, &get("/a")), "edgeweir; fwd=uri-miss; fwd-status=200; detail=size");
}

#[test]
fn a_part_is_no_matter_for_all_locations() {
    let gate = tiers(ALL);
    gate.platform.origin(|_| {
        Response::new(206)
            .with("Cache-Control", "max-age=600")
            .with("ETag", "\"a\"")
            .with("Content-Range", "bytes 0-1/10")
            .body("ab")
    });
    gate.send(&get("/a").with("Range", "bytes=0-1"));
    // It asked for the whole there, and not for a part.
    assert_eq!((writes(&gate), reads(&gate)), (0, 1));
}

#[test]
fn a_store_that_fails_is_a_miss() {
    for fault in [Fault::Fails, Fault::TimesOut] {
        let here = tiers(&["global"]);
        here.send(&get("/a"));
        let other = elsewhere(&here, &["global"]);
        other.platform.global_fault.set(Some(fault));
        let (response, record) = other.send(&get("/a"));
        assert_eq!((response.status, response.field("cache-status").as_deref()), (200, Some(MISS)));
        assert_eq!(stages(&record), ["cache miss -"]);
        let error = record.stages[0].error.clone().unwrap();
        assert!(error.starts_with("global-store"), "{error}");
    }
    // The location's failure is still one where nothing else helps, and none where it does.
    let here = tiers(&["location", "global"]);
    here.send(&get("/a"));
    let other = elsewhere(&here, &["location", "global"]);
    other.platform.store_fault.set(Some(Fault::Fails));
    assert_eq!(status(&other, &get("/a")), HIT);
    assert!(status(&other, &get("/b")).contains("fwd=bypass"));
}

/// Who can make two keys share a name gets no answer of another.
#[test]
fn the_key_in_the_value_counts() {
    let here = tiers(&["global"]);
    here.send(&get("/secret"));
    let (_, stored) = here.platform.global.borrow().clone().pop_first().unwrap();
    let name = "cache/test/all/app/~/https/app.example/a";
    for head in [stored.0.clone(), String::new(), "\n".to_owned(), "not an entry".to_owned()] {
        let other = tiers(&["global"]);
        other.platform.global.borrow_mut().insert(name.to_owned(), (head, stored.1.clone()));
        assert_eq!(status(&other, &get("/a")), MISS);
        assert_eq!(other.send(&get("/a")).0.body, "http://app.internal/a");
    }
    let long = format!("/{}", "x".repeat(600));
    let here = tiers(&["global"]);
    assert_eq!(status(&here, &get(&long)), MISS);
    assert_eq!(status(&elsewhere(&here, &["global"]), &get(&long)), HIT);
}

#[test]
fn a_change_removes_it_and_what_is_still_shown_is_not_taken_back() {
    let gate = tiers(ALL);
    gate.send(&get("/a"));
    gate.platform.advance(1_000);
    gate.platform.global_lags.set(true);
    gate.send(&request("POST", "/a"));
    let events = gate.platform.store_events.borrow().clone();
    let removed = events.iter().find_map(|event| match event {
        StoreEvent::RemoveGlobal(names) => Some(names.clone()),
        _ => None,
    });
    let names = ["http", "https"].map(|scheme| format!("cache/test/all/app/~/{scheme}/app.example/a"));
    assert_eq!(removed.as_deref(), Some(&names[..]));
    assert_eq!(gate.platform.global.borrow().len(), 1);
    assert_eq!(status(&gate, &get("/a")), MISS);
    assert_eq!((reads(&gate), gate.sent_count()), (2, 3));
    // What has come since is taken.
    assert_eq!(status(&elsewhere(&gate, ALL), &get("/a")), HIT);
    // A route that keeps nothing there removes nothing there.
    let plain = tiers(&["location"]);
    plain.send(&request("POST", "/a"));
    assert_eq!(count(&plain, |event| matches!(event, StoreEvent::RemoveGlobal(_))), 0);
}

#[test]
fn purges_hold_for_it() {
    for (soft, said) in [(false, MISS), (true, "edgeweir; fwd=stale; fwd-status=304; stored; ttl=600")] {
        let here = tiers(ALL);
        here.send(&get("/a"));
        let other = elsewhere(&here, ALL);
        let purge = Purge { sequence: 7, scope: Scope::All, soft };
        other.snapshot.live_purges.hold(&encode([&purge].into_iter()), 7).unwrap();
        assert_eq!(status(&other, &get("/a")), said);
        // What came after the purge serves where it is known, too.
        let third = elsewhere(&other, ALL);
        third.snapshot.live_purges.hold(&encode([&purge].into_iter()), 7).unwrap();
        assert_eq!(status(&third, &get("/a")), HIT);
    }
}

fn purge(gate: &Gate, sequence: u64, scope: Scope, soft: bool) {
    let purge = Purge { sequence, scope, soft };
    gate.snapshot.live_purges.hold(&encode([&purge].into_iter()), sequence).unwrap();
}

/// What a purge has made void near may have been asked for anew elsewhere.
#[test]
fn what_is_void_near_is_looked_for_here() {
    for list in [ALL, &["location", "global"], &["memory", "global"]] {
        for soft in [false, true] {
            let here = tiers(list);
            here.send(&get("/a"));
            let other = elsewhere(&here, list);
            other.platform.origin(|_| Response::new(200).with("Cache-Control", "max-age=600").body("new"));
            for gate in [&here, &other] {
                gate.platform.advance(10_000);
                purge(gate, 7, Scope::All, soft);
                gate.platform.advance(10_000);
            }
            assert_eq!(other.send(&get("/a")).0.body, "new");
            *here.platform.global.borrow_mut() = other.platform.global.borrow().clone();
            let (response, record) = here.send(&get("/a"));
            assert_eq!((response.body.as_str(), record.cache), ("new", Some("hit")), "{list:?} {soft}");
            assert_eq!(here.sent_count(), 1);
            // It has filled what is nearer.
            let asked = reads(&here);
            assert_eq!(here.send(&get("/a")).0.body, "new", "{list:?} {soft}");
            assert_eq!((here.sent_count(), reads(&here)), (1, asked), "{list:?} {soft}");
        }
    }
}

/// Where nothing better is there, all is as before: the origin is asked, about
/// what a soft purge has left, or anew.
#[test]
fn what_is_void_here_too_is_asked_for() {
    for list in [ALL, &["location", "global"], &["memory", "global"]] {
        for (soft, said) in [(false, MISS), (true, "edgeweir; fwd=stale; fwd-status=304; stored; ttl=600")] {
            for has_far in [true, false] {
                let here = tiers(list);
                here.send(&get("/a"));
                purge(&here, 7, Scope::All, soft);
                if !has_far {
                    here.platform.global.borrow_mut().clear();
                }
                assert_eq!(status(&here, &get("/a")), said, "{list:?} {soft} {has_far}");
                assert_eq!(status(&here, &get("/a")), HIT, "{list:?} {soft} {has_far}");
            }
        }
        // What fails there is a miss, and what a soft purge has left is asked
        // about.
        let here = tiers(list);
        here.send(&get("/a"));
        purge(&here, 7, Scope::All, true);
        here.platform.global_fault.set(Some(Fault::Fails));
        assert!(status(&here, &get("/a")).contains("fwd=stale; fwd-status=304"), "{list:?}");
    }
}

/// One that is void for good gives way to one that is only stale.
#[test]
fn a_soft_purge_there_is_better_than_a_hard_one_near() {
    let here = tiers(&["location", "global"]);
    here.send(&get("/a"));
    let other = elsewhere(&here, ALL);
    purge(&other, 7, Scope::All, false);
    other.send(&get("/a"));
    *here.platform.global.borrow_mut() = other.platform.global.borrow().clone();
    let purges = [
        Purge { sequence: 7, scope: Scope::All, soft: false },
        Purge { sequence: 8, scope: Scope::All, soft: true },
    ];
    here.snapshot.live_purges.hold(&encode(purges.iter()), 8).unwrap();
    assert_eq!(status(&here, &get("/a")), "edgeweir; fwd=stale; fwd-status=304; stored; ttl=600");
}

/// What has become stale near may have been confirmed far away.
#[test]
fn a_later_answer_there_spares_the_origin() {
    let here = tiers(ALL);
    here.send(&get("/a"));
    here.platform.advance(601_000);
    let other = elsewhere(&here, ALL);
    other.send(&get("/a"));
    assert_eq!(other.platform.global.borrow().len(), 1);
    *here.platform.global.borrow_mut() = other.platform.global.borrow().clone();
    here.platform.advance(100_000);
    assert_eq!(status(&here, &get("/a")), "edgeweir; hit; ttl=500");
    assert_eq!(here.sent_count(), 1);
    assert_eq!(status(&here, &get("/a")), "edgeweir; hit; ttl=500");
}

#[test]
fn a_304_is_written_too() {
    for list in [&["global"][..], &["memory", "global"], ALL] {
        let gate = tiers(list);
        gate.send(&get("/a"));
        gate.platform.advance(601_000);
        assert_eq!(
            status(&gate, &get("/a")),
            "edgeweir; fwd=stale; fwd-status=304; stored; ttl=600",
            "{list:?}"
        );
        assert_eq!(writes(&gate), 2, "{list:?}");
        assert_eq!(status(&elsewhere(&gate, list), &get("/a")), HIT, "{list:?}");
        assert_eq!(gate.send(&get("/a")).0.body, "http://app.internal/a");
    }
}

#[test]
fn stale_while_revalidate_writes_it() {
    for list in [&["global"][..], &["memory", "global"], ALL] {
        let gate = tiers(list);
        gate.platform.origin(|sent| {
            let is_asked = sent.field("if-none-match").is_some();
            Response::new(if is_asked { 304 } else { 200 })
                .with("Cache-Control", "max-age=600, stale-while-revalidate=60")
                .with("ETag", "\"v1\"")
        });
        gate.send(&get("/a"));
        gate.platform.advance(610_000);
        assert!(status(&gate, &get("/a")).contains("detail=stale-while-revalidate"), "{list:?}");
        assert_eq!((gate.sent_count(), writes(&gate)), (2, 2), "{list:?}");
        assert_eq!(status(&elsewhere(&gate, list), &get("/a")), HIT, "{list:?}");
    }
}

/// Without a binding the tier is left out, and that is told.
#[test]
fn without_a_store_the_tier_is_left_out() {
    let unbound = |list: &[&str]| {
        let mut gate = tiers(list);
        gate.isolate = Isolate::new("test", 7).with_bound(Bound::default());
        gate
    };
    let gate = unbound(ALL);
    assert_eq!([status(&gate, &get("/a")), status(&gate, &get("/a"))], [MISS, HIT]);
    gate.send(&request("POST", "/a"));
    assert_eq!((reads(&gate), writes(&gate)), (0, 0));
    assert_eq!(count(&gate, |event| matches!(event, StoreEvent::RemoveGlobal(_))), 0);
    let missing = gate.isolate.missing(&gate.snapshot.gateway).unwrap();
    assert!(missing.contains("CACHE") && missing.contains("global"));
    let only = unbound(&["global"]);
    assert_eq!(status(&only, &get("/a")), "edgeweir; fwd=uri-miss; fwd-status=200; detail=tier");
    let plain = unbound(&["memory", "location"]);
    assert_eq!(plain.isolate.missing(&plain.snapshot.gateway), None);
    let bound = tiers(ALL);
    assert_eq!(bound.isolate.missing(&bound.snapshot.gateway), None);
}
