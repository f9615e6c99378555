//! The whole journey over a platform in memory.

mod attacks;
mod bypass_token;
mod caching;
mod collapsing;
mod demands;
mod global;
mod hardening;
mod limits;
mod log;
mod order;
mod origin;
mod parts;
mod policies;
mod purging;
mod rates;
mod rates_attacks;
mod shaping;
mod tiers;
mod validity;
mod warm;

use edgeweir::exchange::PlainHead;
use edgeweir::observe::record::Record;
use serde_json::{Value, json};

use crate::fake::{Gate, Response, Sent};

/// Two upstreams and the given routes and top-level fields.
fn gate(rest: &Value) -> Gate {
    let mut policy = json!({
        "version": 1,
        "upstreams": {"app": {"origin": "http://app.internal"}, "next": {"origin": "http://next.internal"}},
        "routes": [{"id": "all", "upstream": "app"}],
    });
    for (name, value) in rest.as_object().unwrap() {
        policy[name] = value.clone();
    }
    Gate::new(&policy)
}

/// One route for everything, with these stages.
fn route(stages: &Value) -> Gate {
    let mut route = json!({"id": "all", "upstream": "app"});
    for (name, value) in stages.as_object().unwrap() {
        route[name] = value.clone();
    }
    gate(&json!({"routes": [route]}))
}

/// A route with that cache, before that origin.
fn cached(cache: &Value, origin: impl Fn(&Sent) -> Response + 'static) -> Gate {
    let gate = route(&json!({"cache": cache}));
    gate.platform.origin(origin);
    gate
}

/// What the answer to a request says of the cache.
fn status(gate: &Gate, head: &PlainHead) -> String {
    gate.send(head).0.field("cache-status").unwrap_or_default()
}

fn deny(prefix: &str) -> Value {
    json!({"rules": [{"id": "bad", "action": "deny", "prefixes": [prefix]}]})
}

fn limit(max: u32, counting: &str) -> Value {
    json!({"rules": [{"id": "few", "max": max, "window": "10s", "counting": counting}]})
}

/// The label of the problem that the client got.
fn label(response: &Response) -> String {
    let kind = response.json()["type"].as_str().unwrap().to_owned();
    kind.strip_prefix("urn:edgeweir:problem:").unwrap().to_owned()
}

/// The stages that decided, as `stage verdict rule`, with `~` for shadow.
fn stages(record: &Record) -> Vec<String> {
    let text = |stage: &edgeweir::observe::record::StageRecord| {
        let shadow = if stage.shadow { "~" } else { "" };
        format!("{shadow}{} {} {}", stage.stage, stage.verdict, stage.rule.as_deref().unwrap_or("-"))
    };
    record.stages.iter().map(text).collect()
}
