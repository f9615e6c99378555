//! Limits under clients who look for a way around them.

use edgeweir::exchange::PlainHead;
use serde_json::{Value, json};

use super::{gate, label, route};
use crate::fake::{Gate, With, get};

fn one(path: &str, more: &Value) -> Gate {
    let mut rule = json!({"id": "l", "max": 2, "window": "10m", "counting": "local"});
    for (name, value) in more.as_object().unwrap() {
        rule[name] = value.clone();
    }
    let rules = json!({"rules": [rule]});
    gate(&json!({"routes": [{"id": "r", "upstream": "app", "match": {"path": path}, "rate_limit": rules}]}))
}

fn statuses<const N: usize>(gate: &Gate, heads: [PlainHead; N]) -> [u16; N] {
    heads.map(|head| gate.send(&head).0.status)
}

/// The label of a counter travels with the question. One that the object does
/// not read would be a counter that fails, and three of them an object that
/// nobody asks.
#[test]
fn long_values_are_no_counter_that_fails() {
    let path: String = ["a", "b", "c", "d"].map(|part| format!("/{}", part.repeat(64))).concat();
    for algorithm in ["gcra", "fixed_window"] {
        let key = json!(["client", {"path": "one"}, {"path": "two"}, {"path": "three"}, {"path": "four"}]);
        let more = json!({"counting": "exact", "algorithm": algorithm, "key": key, "on_failure": "closed"});
        let gate = one("/{one}/{two}/{three}/{four}", &more);
        let seen = statuses(&gate, [(); 3].map(|()| get(&path)));
        assert_eq!(seen, [200, 200, 429], "{algorithm}");
    }
}

/// Whoever comes back when told is not too early, and is not charged again.
#[test]
fn a_refusal_tells_the_wait_with_its_penalty() {
    for counting in ["local", "exact"] {
        for algorithm in ["gcra", "sliding_window"] {
            let more = json!({"counting": counting, "algorithm": algorithm, "penalty": 2, "max_debt": 9});
            let gate = one("/*", &more);
            assert_eq!(statuses(&gate, [(); 3].map(|()| get("/"))), [200, 200, 429]);
            let (refused, _) = gate.send(&get("/"));
            let told = refused.field("retry-after").unwrap().parse::<u64>().unwrap();
            gate.platform.advance(told * 1_000);
            assert_eq!(gate.send(&get("/")).0.status, 200, "{counting} {algorithm} {told}");
        }
    }
}

/// Origins read one of them, and not all of them the first: a client must not
/// choose its counter beside the value that the origin reads.
#[test]
fn a_value_that_is_there_twice_is_no_new_counter() {
    for on_missing in ["empty", "skip"] {
        let gate = one("/*", &json!({"key": [{"cookie": "s"}], "on_missing": on_missing}));
        let twice = |value: &str| get("/").with("Cookie", &format!("s={value}; s=real"));
        assert_eq!(statuses(&gate, ["1", "2", "3"].map(twice)), [200, 200, 429], "{on_missing}");
        // Nobody else shares that counter.
        assert_eq!(gate.send(&twice("4").from("198.51.100.1")).0.status, 200);
        let same = get("/").with("Cookie", "s=real; s=real");
        assert_eq!(gate.send(&same).0.status, 200, "one value, though twice");

        let gate = one("/*", &json!({"key": [{"query": "u"}], "on_missing": on_missing}));
        let twice = |value: &str| get(&format!("/?u={value}&u=real"));
        assert_eq!(statuses(&gate, ["1", "2", "3"].map(twice)), [200, 200, 429], "{on_missing}");
    }
    let gate = one("/*", &json!({"key": [{"query": "u"}], "on_missing": "refuse"}));
    let (refused, _) = gate.send(&get("/?u=1&u=2"));
    assert_eq!((refused.status, label(&refused).as_str()), (400, "missing-key"));
}

/// Another spelling of a cookie is the same counter.
#[test]
fn a_cookie_has_one_counter() {
    for other in ["s= real", "s =real", "s=%72eal", "s=\"real\""] {
        let gate = one("/*", &json!({"key": [{"cookie": "s"}], "max": 1}));
        let heads = ["s=real", other].map(|field| get("/").with("Cookie", field));
        assert_eq!(statuses(&gate, heads), [200, 429], "{other}");
    }
}

/// A rule that lets many pass is charged for them, and must still be able to
/// give back what a later rule refuses.
#[test]
fn many_that_pass_do_not_keep_a_later_refusal_from_being_given_back() {
    for algorithm in ["gcra", "sliding_window", "fixed_window"] {
        let rule = |id: &str, max: u32, key: Value| json!({"id": id, "max": max, "window": "1h", "counting": "exact", "algorithm": algorithm, "key": key});
        let rules =
            [rule("wide", 150, json!(["client"])), rule("narrow", 100, json!([{"header": "X-User"}]))];
        let gate = route(&json!({"rate_limit": {"rules": rules}}));
        let sent = |user: &str, times: usize| {
            let heads = (0..times).map(|_| get("/").with("X-User", user));
            heads.filter(|head| gate.send(head).0.status == 200).count()
        };
        assert_eq!((sent("a", 100), sent("a", 50)), (100, 0));
        assert_eq!(sent("b", 100), 50, "{algorithm}");
    }
}
