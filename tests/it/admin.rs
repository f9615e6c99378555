//! The admin API over the pure control plane on memory.

mod access;
mod asking;
mod audit;
mod bans;
mod cache;
mod changes;
mod failures;
mod forms;
mod import;
mod limiter;
mod limits;
mod openapi;
mod properties;
mod purges;
pub mod sets;
mod tokens;
mod warm;

pub use self::sets::sets_of;
use edgeweir::admin::endpoints::PREFIX;
use edgeweir::admin::tokens::Tokens;
use edgeweir::exchange::PlainHead;
use edgeweir::gateway::Isolate;
use edgeweir::observe::record::Record;
use edgeweir::platform::BodyError;
use edgeweir::policy::manifest::sha256_hex;
use edgeweir::policy::snapshot::Snapshot;
use serde_json::{Value, json};

use crate::control;
use crate::fake::feeds::Served;
use crate::fake::{Gate, Response, START, With, request};

pub const ROLES: [&str; 3] = ["reader", "operator", "owner"];

/// The token of a role; any other name makes one that nobody knows.
pub fn token(name: &str) -> String {
    format!("weir_{}", name.repeat(43).get(..43).unwrap())
}

/// An entry of `ADMIN_TOKENS`.
pub fn entry(name: &str, role: &str) -> Value {
    json!({"name": name, "role": role, "sha256": sha256_hex(token(name).as_bytes())})
}

/// A token for each role, named after it, and `late` that is a reader's until
/// a minute after the tests' clocks begin.
pub fn tokens() -> Tokens {
    let mut entries: Vec<Value> = ROLES.into_iter().map(|role| entry(role, role)).collect();
    entries.push(entry("late", "reader"));
    entries[3]["expires"] = json!("2026-01-01T00:01:00Z");
    Tokens::parse(&Value::from(entries).to_string()).unwrap()
}

/// A gateway with an admin API.
pub struct Admin {
    pub gate: Gate,
}

impl Admin {
    /// Acts on a policy; the control plane holds nothing yet.
    pub fn acting_on(policy: &Value) -> Self {
        let mut gate = Gate::new(policy);
        gate.isolate = Isolate::new("test", 7).with_tokens(tokens());
        Self { gate }
    }

    /// The control plane holds `r1` to `r3`, and the isolate acts on `r3`.
    pub fn new() -> Self {
        let feed = json!({"url": "https://lists.example/drop.txt"});
        let sets = json!({"drop": {"stored": true, "feed": feed}});
        let limit = json!({"id": "all", "max": 1_000_000, "window": "1h"});
        let policy = json!({"version": 1, "address_sets": sets, "rate_limit": {"rules": [limit]}});
        let admin = Self::acting_on(&policy);
        admin.gate.platform.feeds.serve(|_| Served::list("198.51.100.0/24\n"));
        for (base, name) in [("r0", "one"), ("r1", "two"), ("r2", "three")] {
            let answer = control::push(&admin.gate.platform.control, base, &control::document(name));
            assert!(answer["refused"].is_null(), "{answer}");
        }
        sets::import_samples(&admin.gate.platform.control);
        // A trigger's, since that of a person would stand in the audit log.
        let ban = json!({"network": "203.0.113.9/32", "since": START, "until": START + 600_000, "cause": "scanner", "count": 1});
        control::ask(&admin.gate.platform.control, "report-bans", json!({"bans": [ban]}));
        admin
    }

    /// Nothing was ever pushed, and the isolate has no policy.
    pub fn empty() -> Self {
        let mut admin = Self::acting_on(&json!({"version": 1}));
        admin.gate.snapshot = Snapshot::none().unwrap();
        admin.gate.available = false;
        admin
    }

    pub fn head(name: &str, method: &str, target: &str) -> PlainHead {
        let head = request(method, &format!("{PREFIX}{target}"));
        if name.is_empty() { head } else { head.with("Authorization", &format!("Bearer {}", token(name))) }
    }

    /// Sends a request with a body that is JSON by its field.
    pub fn send(&self, head: PlainHead, body: &str) -> (Response, Record) {
        let head =
            if body.is_empty() { head } else { head.with("Content-Type", "application/json; charset=utf-8") };
        self.send_bytes(&head, Ok(body.as_bytes()))
    }

    pub fn send_bytes(&self, head: &PlainHead, body: Result<&[u8], BodyError>) -> (Response, Record) {
        *self.gate.platform.body.borrow_mut() = body.map(<[u8]>::to_vec);
        let (response, record) = self.gate.send(head);
        openapi::hold(head, &response);
        (response, record)
    }

    pub fn get(&self, name: &str, target: &str) -> Response {
        self.send(Self::head(name, "GET", target), "").0
    }

    pub fn post(&self, name: &str, target: &str, body: &Value) -> Response {
        self.send(Self::head(name, "POST", target), &body.to_string()).0
    }

    pub fn push(&self, name: &str, base: &str, document: &str) -> Response {
        self.send(Self::head(name, "PUT", "/policy").with("If-Match", base), document).0
    }

    /// The audit log, oldest first, as `author action outcome reason`.
    pub fn audit(&self) -> Vec<String> {
        let text = |entry: &Value, member: &str| entry[member].as_str().unwrap_or("-").to_owned();
        let line =
            |entry: &Value| ["author", "action", "outcome", "reason"].map(|member| text(entry, member));
        control::audit(&self.gate.platform.control).iter().map(|entry| line(entry).join("|")).collect()
    }

    /// The name of the active revision.
    pub fn active(&self) -> String {
        let status = control::ask(&self.gate.platform.control, "status", json!({}));
        status["result"]["active"].as_str().unwrap().to_owned()
    }
}

/// The label of a refusal, whose form is checked.
pub fn refusal(response: &Response) -> String {
    assert!(response.status >= 400, "{response:?}");
    assert_eq!(response.field("content-type").unwrap(), "application/problem+json");
    assert_eq!(response.field("cache-control").unwrap(), "no-store");
    assert_eq!(response.field("x-content-type-options").unwrap(), "nosniff");
    let problem = response.json();
    assert_eq!(problem["status"], response.status, "{problem}");
    assert_eq!(problem["request_id"], response.field("x-request-id").unwrap(), "{problem}");
    assert!(!problem["title"].as_str().unwrap().is_empty());
    let kind = problem["type"].as_str().unwrap();
    kind.strip_prefix("urn:edgeweir:problem:").unwrap().to_owned()
}

/// Status and label of a refusal.
pub fn refused(response: &Response) -> (u16, String) {
    (response.status, refusal(response))
}

/// A request that an endpoint answers with success, by an owner, when sent to
/// [`Admin::new`].
pub struct Sample {
    pub method: &'static str,
    pub target: &'static str,
    /// The path as the table of endpoints has it.
    pub path: &'static str,
    pub fields: &'static [(&'static str, &'static str)],
    pub body: String,
    /// The least role that may.
    pub role: &'static str,
}

/// One for each endpoint.
pub fn samples() -> Vec<Sample> {
    const BASE: &[(&str, &str)] = &[("If-Match", "\"r3\"")];
    let document = control::document("four");
    let explain = json!({"url": "https://app.example/x"}).to_string();
    let replay = json!({"records": "{\"schema\":1}\n"}).to_string();
    let rollback = json!({"to": "r1"}).to_string();
    let ban = json!({"network": "192.0.2.7", "duration": "1h", "reason": "because"}).to_string();
    let rollback_sets = json!({"to": 1}).to_string();
    let limits = json!({"client": "192.0.2.7"}).to_string();
    let purge = json!({"urls": ["https://app.example/x"], "message": "a typo"}).to_string();
    let warm = json!({"urls": ["https://app.example/x"]}).to_string();
    let list = "198.51.100.0/24\n".to_owned();
    let none = String::new();
    let all = [
        ("GET", "/policy", &[][..], &none, "reader"),
        ("PUT", "/policy", BASE, &document, "operator"),
        ("POST", "/policy/validate", &[], &document, "reader"),
        ("POST", "/policy/diff", &[], &document, "reader"),
        ("GET", "/policy/diff?from=r1", &[], &none, "reader"),
        ("POST", "/policy/rollback", BASE, &rollback, "operator"),
        ("GET", "/policy/history", &[], &none, "reader"),
        ("POST", "/explain", &[], &explain, "reader"),
        ("POST", "/replay", &[], &replay, "reader"),
        ("GET", "/audit", &[], &none, "reader"),
        ("GET", "/health", &[], &none, "reader"),
        ("GET", "/openapi.json", &[], &none, "reader"),
        ("GET", "/schema.json", &[], &none, "reader"),
        ("GET", "/address-sets", &[], &none, "reader"),
        ("DELETE", "/address-sets/drop", &[], &none, "operator"),
        ("POST", "/address-sets/rollback", &[], &rollback_sets, "operator"),
        ("GET", "/address/192.0.2.7", &[], &none, "reader"),
        ("PUT", "/address-sets/drop", &[], &list, "operator"),
        ("POST", "/address-sets/drop/refresh", &[], &none, "operator"),
        ("GET", "/bans", &[], &none, "reader"),
        ("POST", "/bans", &[], &ban, "operator"),
        ("DELETE", "/bans?network=203.0.113.9&message=sorry", &[], &none, "operator"),
        ("GET", "/purges", &[], &none, "reader"),
        ("POST", "/purge", &[], &purge, "operator"),
        (
            "GET",
            "/cache?url=https://app.example/x&header=Accept:%20text/html&header=Accept-Language:%20de",
            &[],
            &none,
            "reader",
        ),
        ("POST", "/cache/warm", &[], &warm, "operator"),
        ("GET", "/limits", &[], &none, "reader"),
        ("POST", "/limits/look", &[], &limits, "reader"),
        ("POST", "/limits/reset", &[], &limits, "operator"),
    ];
    let sample = |(method, target, fields, body, role): (_, &'static str, &'static [_], &String, _)| Sample {
        method,
        target,
        path: match target.split('?').next().unwrap_or_default() {
            "/address-sets/drop" => "/address-sets/{name}",
            "/address/192.0.2.7" => "/address/{ip}",
            "/address-sets/drop/refresh" => "/address-sets/{name}/refresh",
            path => path,
        },
        fields,
        body: body.clone(),
        role,
    };
    all.into_iter().map(sample).collect()
}

impl Sample {
    /// The request by the holder of that token; of none for an empty name.
    pub fn head(&self, name: &str) -> PlainHead {
        let head = Admin::head(name, self.method, self.target);
        self.fields.iter().fold(head, |head, (name, value)| head.with(name, value))
    }
}
