//! What was stored under one policy, under the next: it serves nobody whom it
//! does not fit.

use edgeweir::exchange::PlainHead;
use serde_json::{Value, json};

use super::{cached, route, status};
use crate::fake::{Gate, Response, Sent, With, get};

const TIERS: [&[&str]; 3] = [&["memory"], &["location"], &["memory", "location"]];

/// Says what it was asked with, and that it looked at it.
fn telling(sent: &Sent) -> Response {
    let seen = ["x-shop", "user-agent", "accept-language"].map(|name| sent.field(name).unwrap_or_default());
    Response::new(200)
        .with("Cache-Control", "max-age=60")
        .with("Vary", "X-Shop, User-Agent, Accept-Language")
        .body(&seen.join("|"))
}

fn with(tiers: &[&str], vary: &Value) -> Value {
    json!({"tiers": tiers, "vary": vary})
}

/// The same isolate and location, under that cache from now on.
fn follow(gate: &mut Gate, cache: &Value) {
    gate.snapshot = route(&json!({"cache": cache})).snapshot;
}

fn body(gate: &Gate, head: &PlainHead) -> String {
    gate.send(head).0.body
}

#[test]
fn a_field_that_is_ignored_no_more_selects() {
    for tiers in TIERS {
        let ignoring = with(tiers, &json!({"ignore": ["X-Shop"]}));
        let mut gate = cached(&ignoring, telling);
        let shop = |name: &str| get("/a").with("X-Shop", name);
        assert_eq!(body(&gate, &shop("1")), "||");
        assert!(status(&gate, &shop("2")).contains("hit"));

        follow(&mut gate, &with(tiers, &json!({})));
        for name in ["1", "2"] {
            assert_eq!(body(&gate, &shop(name)), format!("{name}||"), "{tiers:?}");
            assert!(status(&gate, &shop(name)).contains("hit"), "{tiers:?}");
        }
        // Nor for who does not send it: its answer may be another one.
        assert!(status(&gate, &get("/a")).contains("vary-miss"));

        // Ignored again, what was made for one of them is for nobody.
        follow(&mut gate, &ignoring);
        assert_eq!(body(&gate, &shop("1")), "||", "{tiers:?}");
    }
}

/// The answer that was stored is good again where it was not replaced.
#[test]
fn a_policy_that_is_rolled_back_finds_its_answers() {
    for tiers in TIERS {
        let ignoring = with(tiers, &json!({"ignore": ["X-Shop"]}));
        let mut gate = cached(&ignoring, telling);
        body(&gate, &get("/a"));
        follow(&mut gate, &with(tiers, &json!({})));
        follow(&mut gate, &ignoring);
        assert!(status(&gate, &get("/a").with("X-Shop", "3")).contains("hit"), "{tiers:?}");
    }
}

/// What is reduced selects by what the origin was sent: that is compared with
/// what it would be sent now.
#[test]
fn a_field_that_is_reduced_otherwise_selects_by_what_was_sent() {
    let phone = get("/a").with("User-Agent", "Phone/1 Mobile").with("Accept-Language", "de-AT");
    let other = get("/a").with("User-Agent", "Phone/2 Mobile").with("Accept-Language", "de-CH");
    let reduced = json!({"device": true, "languages": ["en", "de"]});
    for tiers in TIERS {
        for (first, next) in [
            (reduced.clone(), json!({})),
            (json!({}), reduced.clone()),
            (reduced.clone(), json!({"device": true, "languages": ["en", "de-CH", "de-AT"]})),
            (json!({"ignore": ["User-Agent"], "languages": ["de"]}), reduced.clone()),
            (json!({"ignore": ["Accept-Language"]}), json!({"ignore": ["User-Agent"]})),
        ] {
            let mut gate = cached(&with(tiers, &first), telling);
            body(&gate, &phone);
            follow(&mut gate, &with(tiers, &next));
            for head in [&phone, &other] {
                let served = body(&gate, head);
                let fresh = cached(&with(tiers, &next), telling);
                assert_eq!(served, body(&fresh, head), "{first} then {next}");
            }
        }
    }
}

/// What an earlier module has stored does not say what it ignored; Vary does.
#[test]
fn an_entry_of_an_earlier_module_is_read_safely() {
    for (vary, hits) in [("x-shop", true), ("X-Shop, X-Other", false)] {
        let gate = cached(&json!({}), |_| Response::new(200).with("Cache-Control", "max-age=60"));
        gate.platform
            .origin(move |_| Response::new(200).with("Cache-Control", "max-age=60").with("Vary", "X-Shop"));
        let head = get("/a").with("X-Shop", "1");
        gate.send(&head);
        for (text, _) in gate.platform.stored.borrow_mut().values_mut() {
            let old = text
                .replace("\"ignored\":[],", "")
                .replace("[\"vary\",\"X-Shop\"]", &format!("[\"vary\",\"{vary}\"]"));
            assert!(old.len() < text.len() + 20 && !old.contains("ignored"), "{old}");
            *text = old;
        }
        assert_eq!(status(&gate, &head).contains("hit"), hits, "{vary}");
        // It is replaced, and not for ever in the way.
        assert!(status(&gate, &head).contains("hit"), "{vary}");
    }
}

/// What an origin keeps out of the store selects all the same.
#[test]
fn a_vary_that_is_not_stored_selects() {
    let gate = cached(&json!({}), |sent| {
        Response::new(200)
            .with("Cache-Control", "max-age=60, no-cache=\"vary\"")
            .with("Vary", "X-Shop")
            .body(&sent.field("x-shop").unwrap_or_default())
    });
    for name in ["1", "2", "1", "2"] {
        assert_eq!(body(&gate, &get("/a").with("X-Shop", name)), name);
    }
    assert_eq!(gate.sent_count(), 2);
}
