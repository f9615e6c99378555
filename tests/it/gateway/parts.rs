//! Parts of answers: they grow together, and what makes one of them void makes
//! what they have become void.

use edgeweir::exchange::PlainHead;
use serde_json::json;

use super::route;
use crate::fake::{Gate, Response, Sent, With, get, request};

const BODY: &str = "0123456789";

/// Gives the range that is asked for, under that entity tag.
fn ranges(sent: &Sent, tag: &str) -> Response {
    let answer = Response::new(206).with("Cache-Control", "max-age=60").with("ETag", tag);
    let Some(range) = sent.field("range") else {
        return Response { status: 200, ..answer.body(BODY) };
    };
    let (first, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
    let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
    answer.with("Content-Range", &format!("bytes {first}-{last}/10")).body(&BODY[first..=last])
}

fn gate(tiers: &[&str], tag: &'static str) -> Gate {
    let gate = route(&json!({"cache": {"tiers": tiers}}));
    gate.platform.origin(move |sent| ranges(sent, tag));
    gate
}

fn ask(range: &str) -> PlainHead {
    get("/").with("Range", &format!("bytes={range}"))
}

const TIERS: [&[&str]; 3] = [&["location"], &["memory"], &["memory", "location"]];

#[test]
fn section_3_4_parts_under_one_strong_tag_grow_together() {
    for tiers in TIERS {
        let gate = gate(tiers, "\"a\"");
        gate.send(&ask("2-4"));
        gate.send(&ask("5-7"));
        let (hit, record) = gate.send(&ask("3-6"));
        assert_eq!((hit.status, hit.body.as_str(), record.cache), (206, "3456", Some("hit")), "{tiers:?}");
        assert_eq!(hit.field("content-range").as_deref(), Some("bytes 3-6/10"));
        // Over both ends of what is there.
        gate.send(&ask("1-8"));
        assert_eq!(gate.send(&ask("1-8")).1.cache, Some("hit"));
        assert_eq!(gate.sent_count(), 3, "{tiers:?}");
        // All there is is the whole.
        gate.send(&ask("0-3"));
        gate.send(&ask("7-9"));
        let (whole, record) = gate.send(&get("/"));
        assert_eq!((whole.status, whole.body.as_str(), record.cache), (200, BODY, Some("hit")), "{tiers:?}");
        assert_eq!(whole.field("content-length").as_deref(), Some("10"));
        assert_eq!((whole.field("content-range"), gate.sent_count()), (None, 5));
        assert_eq!(gate.send(&ask("0-0")).0.body, "0");
    }
}

#[test]
fn section_3_4_parts_under_other_tags_do_not() {
    for tag in ["W/\"a\"", ""] {
        let gate = gate(&["memory", "location"], tag);
        gate.send(&ask("2-4"));
        gate.send(&ask("5-7"));
        assert_eq!(gate.send(&ask("5-7")).1.cache, Some("hit"), "{tag}");
        assert_eq!(gate.send(&ask("3-6")).1.cache, Some("partial"), "{tag}");
    }
    let gate = gate(&["location"], "");
    let nth = std::cell::Cell::new(0);
    gate.platform.origin(move |sent| {
        nth.set(nth.get() + 1);
        ranges(sent, &format!("\"{}\"", nth.get()))
    });
    gate.send(&ask("2-4"));
    gate.send(&ask("5-7"));
    assert_eq!(gate.send(&ask("4-5")).1.cache, Some("partial"));
}

/// A stale part is asked for anew; under the same strong tag it is the same
/// bytes still.
#[test]
fn section_3_4_a_stale_part_grows_and_is_fresh_again() {
    let gate = gate(&["location"], "\"a\"");
    gate.send(&ask("2-4"));
    gate.platform.advance(60_000);
    assert_eq!(gate.send(&ask("3-5")).1.cache, Some("stale"));
    let (hit, record) = gate.send(&ask("2-5"));
    assert_eq!((hit.body.as_str(), record.cache, gate.sent_count()), ("2345", Some("hit"), 2));
}

#[test]
fn what_is_too_large_together_stays_apart() {
    let gate = route(&json!({"cache": {"max_body": "5B"}}));
    gate.platform.origin(|sent| ranges(sent, "\"a\""));
    gate.send(&ask("2-4"));
    gate.send(&ask("5-7"));
    assert_eq!(gate.send(&ask("5-7")).1.cache, Some("hit"));
    assert_eq!(gate.send(&ask("4-5")).1.cache, Some("partial"));
}

#[test]
fn a_change_removes_parts_and_what_they_became() {
    for tiers in TIERS {
        let gate = gate(tiers, "\"a\"");
        gate.send(&ask("0-4"));
        gate.send(&ask("5-9"));
        gate.send(&request("DELETE", "/"));
        assert_eq!(gate.send(&ask("5-9")).1.cache, Some("uri-miss"), "{tiers:?}");
        // What is asked for now does not bring the old bytes back.
        assert_eq!(gate.send(&ask("0-4")).1.cache, Some("partial"), "{tiers:?}");
        assert_eq!(gate.send(&get("/")).1.cache, Some("hit"), "{tiers:?}");
    }
}

/// A part that is all there is answers whoever asks for the whole.
#[test]
fn section_15_3_7_3_one_part_may_be_the_whole() {
    let gate = gate(&["location"], "\"a\"");
    gate.send(&ask("0-9"));
    let (whole, record) = gate.send(&get("/"));
    assert_eq!((whole.status, whole.body.as_str(), record.cache), (200, BODY, Some("hit")));
}

/// A failing origin, or another answer than a part, leaves what is there.
#[test]
fn what_is_no_part_leaves_the_stored_one() {
    for code in [200, 404, 416, 500] {
        let gate = gate(&["memory"], "\"a\"");
        gate.send(&ask("2-4"));
        gate.platform.origin(move |_| Response::new(code));
        assert_eq!(gate.send(&ask("5-7")).0.status, code);
        assert_eq!(gate.send(&ask("2-4")).1.cache, Some("hit"), "{code}");
    }
}

/// RFC 9111, 4.3.3, 3.4: a part of another representation says that the whole
/// that is stored is none any more; it stands in for nobody.
#[test]
fn a_part_under_another_tag_removes_the_old_whole() {
    for tiers in TIERS {
        let whole = |tag: &'static str| {
            let gate = gate(tiers, tag);
            gate.send(&get("/"));
            gate.platform.advance(61_000);
            gate
        };
        let gate = whole("\"a\"");
        gate.platform.origin(|sent| ranges(sent, "\"b\""));
        let said = |gate: &Gate, head: &PlainHead| gate.send(head).0.field("cache-status").unwrap();
        let changed = "edgeweir; fwd=stale; fwd-status=206; detail=changed";
        assert_eq!(said(&gate, &ask("2-4")), changed, "{tiers:?}");
        // From now on parts of the new one are kept.
        assert!(said(&gate, &ask("2-4")).contains("fwd=uri-miss; fwd-status=206; stored"), "{tiers:?}");
        assert!(said(&gate, &ask("3-4")).contains("hit"), "{tiers:?}");
        gate.platform.origin_fault.set(Some(crate::fake::Fault::Fails));
        assert_eq!(gate.send(&get("/")).0.status, 502, "{tiers:?}");

        // One under the same tag, from an origin that takes no conditions, says
        // nothing against it.
        let gate = whole("\"a\"");
        gate.send(&ask("2-4"));
        gate.platform.origin_fault.set(Some(crate::fake::Fault::Fails));
        assert_eq!(gate.send(&get("/")).0.body, BODY, "{tiers:?}");
    }
}
