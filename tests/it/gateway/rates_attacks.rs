//! Limits under clients who look for a way around them.

use std::cell::Cell;
use std::time::Duration;

use edgeweir::error::{Dependency, PlatformError};
use edgeweir::exchange::PlainHead;
use edgeweir::gateway::settle::settle;
use edgeweir::gateway::{Acting, handle};
use edgeweir::platform::{Clock, Counters};
use edgeweir::stages::rate_limit::message::count::{Answer, Message};
use edgeweir::stages::rate_limit::{CounterKey, shard_of};
use edgeweir::time::Timestamp;
use serde_json::{Value, json};

use super::{gate, label, route};
use crate::fake::{FakePlatform, Gate, With, block_on, get};

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

/// One object that hangs.
struct OneHangs<'a>(&'a FakePlatform, u128, Cell<u32>);

impl Clock for OneHangs<'_> {
    fn now(&self) -> Timestamp {
        self.0.now()
    }
}

impl Counters for OneHangs<'_> {
    async fn count(
        &self,
        shard: u128,
        message: &Message,
        deadline: Duration,
    ) -> Result<Answer, PlatformError> {
        if shard == self.1 {
            self.2.set(self.2.get() + 1);
            self.0.advance(u64::try_from(deadline.as_millis()).unwrap());
            return Err(PlatformError::failed(Dependency::Counter, "it hangs"));
        }
        self.0.count(shard, message, deadline).await
    }

    async fn count_everywhere(&self, _: &Message, _: Duration) -> Vec<Result<Answer, PlatformError>> {
        Vec::new()
    }

    async fn platform_limit(&self, _: &str, _: CounterKey, _: Duration) -> Result<bool, PlatformError> {
        Ok(true)
    }
}

/// What waits for an object that hangs must not keep back what others are to
/// hear in time.
#[test]
fn an_object_that_hangs_keeps_nobody_from_being_given_back() {
    let gate = one("/*", &json!({"counting": "exact", "max": 1_000, "count_status": [401]}));
    let shard = |address: &str| shard_of(format!("{address}/32").parse().unwrap());
    let (hanging, other) = ("192.0.2.2", "192.0.2.1");
    assert!(shard(hanging) < shard(other), "the first to be sent hangs");
    let send = |address: &str, times: usize| {
        for _ in 0..times {
            let acting = Acting { snapshot: &gate.snapshot, available: true, degraded: None };
            let head = get("/").from(address);
            let handled = handle(&acting, &gate.isolate, &gate.platform, &head, gate.fresh());
            assert_eq!(block_on(handled).1.status, 200);
        }
    };
    send(hanging, 700);
    send(other, 20);
    let told = gate.platform.messages.borrow().len();
    let platform = OneHangs(&gate.platform, shard(hanging), Cell::new(0));
    assert!(block_on(settle(&gate.isolate, &platform)).is_some(), "it is said that something failed");
    assert_eq!((platform.2.get(), gate.platform.messages.borrow().len() - told), (1, 1));
    // The next one tries again.
    assert!(gate.isolate.takes_on_settling(gate.platform.now()));
    assert!(block_on(settle(&gate.isolate, &gate.platform)).is_none());
    assert!(!gate.isolate.takes_on_settling(gate.platform.now()));
}
