//! Concurrent misses of one key.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};

use edgeweir::exchange::PlainHead;
use edgeweir::platform::Clock;
use serde_json::json;

use super::route;
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
    let gate = near();
    let responses = at_once(&gate, &vec![get("/a"); 500]);
    assert_eq!(gate.sent_count(), 1);
    assert!(responses.iter().all(|response| response.body == "http://app.internal/a"));
    assert_eq!(
        statuses(&responses),
        ["edgeweir; fwd=uri-miss; collapsed", "edgeweir; fwd=uri-miss; fwd-status=200; stored"]
    );
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
        ["edgeweir; fwd=stale; collapsed", "edgeweir; fwd=stale; fwd-status=200; stored"]
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

#[test]
fn a_route_without_memory_collapses_nothing() {
    let gate = route(&json!({"cache": {}}));
    gate.platform.origin(|_| Response::new(200).with("Cache-Control", "max-age=60"));
    at_once(&gate, &vec![get("/a"); 3]);
    assert_eq!(gate.sent_count(), 3);
}
