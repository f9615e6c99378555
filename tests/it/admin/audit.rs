//! What stands in the audit log of attempts that came to nothing: each once.

use edgeweir::exchange::PlainHead;
use edgeweir::platform::BodyError;
use serde_json::{Value, json};

use super::{Admin, refused, samples};
use crate::control;
use crate::fake::With;

fn entries(admin: &Admin) -> Vec<Value> {
    control::audit(&admin.gate.platform.control).split_off(3)
}

/// Asserts that one entry was written, and gives it.
fn the_entry(admin: &Admin) -> Value {
    let mut entries = entries(admin);
    assert_eq!(entries.len(), 1, "{entries:?}");
    entries.remove(0)
}

/// The request, its fields, its body, then status and label; and whether the
/// control plane refuses, which knows the change as one.
type Case<'a> =
    (PlainHead, Vec<(&'static str, &'static str)>, Result<&'a str, BodyError>, u16, &'static str, bool);

#[test]
fn every_refused_change_is_written_down_once() {
    let document = control::document("four");
    let owner_only = json!({"version": 1, "admin": {"hosts": ["admin.example"]}}).to_string();
    let put = || Admin::head("operator", "PUT", "/policy");
    let rollback = || Admin::head("operator", "POST", "/policy/rollback");
    let large = "x".repeat((1 << 20) + 1);
    let base = |tag| vec![("If-Match", tag), ("Content-Type", "application/json")];
    let (matched, unmatched) = (|| base("\"r3\""), || vec![("Content-Type", "application/json")]);
    let cases: Vec<Case<'_>> = vec![
        (put(), unmatched(), Ok(&document), 428, "precondition-required", false),
        (
            put(),
            vec![("If-Match", "\"r3\""), ("Content-Type", "text/plain")],
            Ok(&document),
            415,
            "unsupported-media-type",
            false,
        ),
        (put(), matched(), Ok(&large), 413, "too-large", false),
        (put(), matched(), Err(BodyError::TimedOut), 408, "slow-body", false),
        (put(), matched(), Err(BodyError::Broken), 400, "invalid-body", false),
        (put(), base("\"r2\""), Ok(&document), 412, "stale-base", true),
        (put(), matched(), Ok("{"), 422, "invalid-policy", true),
        (put(), matched(), Ok("{\"version\":1,\"version\":1}"), 422, "invalid-policy", true),
        (put(), matched(), Ok(&owner_only), 403, "needs-owner", true),
        (Admin::head("operator", "PUT", "/policy?x=1"), matched(), Ok(&document), 400, "bad-request", false),
        (rollback(), unmatched(), Ok("{\"to\":\"r1\"}"), 428, "precondition-required", false),
        (rollback(), matched(), Ok("{\"to\":\"r9\"}"), 404, "no-such-revision", true),
        (rollback(), matched(), Ok("{\"to\":\"one\"}"), 400, "invalid-body", false),
        (rollback(), matched(), Ok("{}"), 400, "invalid-body", false),
        (rollback(), base("\"r1\""), Ok("{\"to\":\"r1\"}"), 412, "stale-base", true),
    ];
    for (head, fields, body, status, label, by_plane) in cases {
        let admin = Admin::new();
        let attempt = format!("{} {}", head.method, head.url.split_once("example").unwrap().1);
        let head = fields.iter().fold(head, |head, (name, value)| head.with(name, value));
        let (response, record) = admin.send_bytes(&head, body.map(str::as_bytes));
        assert_eq!(refused(&response), (status, label.to_owned()), "{attempt}: {}", response.body);
        assert_eq!(record.reason, Some(label));
        let entry = the_entry(&admin);
        assert_eq!((&entry["author"], &entry["role"]), (&json!("operator"), &json!("operator")), "{entry}");
        assert_eq!((&entry["outcome"], &entry["reason"]), (&json!("refused"), &json!(label)), "{entry}");
        if by_plane {
            assert!(["push", "rollback"].contains(&entry["action"].as_str().unwrap()), "{entry}");
        } else {
            assert_eq!(entry["action"], attempt.split('?').next().unwrap(), "{entry}");
            assert_eq!(entry["message"], "from 192.0.2.1");
        }
        assert_eq!(admin.active(), "r3");
        assert!(admin.gate.isolate.changed.get().is_none());
    }
}

#[test]
fn strangers_are_written_down_with_where_they_came_from() {
    for sample in samples() {
        let admin = Admin::new();
        admin.send(sample.head("nobody").from("2001:db8::7"), &sample.body);
        let entry = the_entry(&admin);
        let path = format!("{} /_weir/admin/v1{}", sample.method, sample.target.split('?').next().unwrap());
        assert_eq!(entry["action"], path);
        assert_eq!((&entry["author"], entry.get("role")), (&json!(""), None));
        assert_eq!(entry["reason"], "unauthenticated");
        assert_eq!(entry["message"], "from 2001:db8::7");
    }
}

/// Whose token it was is what an operator wants to know.
#[test]
fn an_expired_token_is_named() {
    let admin = Admin::new();
    admin.gate.platform.advance(60_000);
    admin.get("late", "/policy");
    let entry = the_entry(&admin);
    assert_eq!((&entry["author"], &entry["role"]), (&json!("late"), &json!("reader")));
    assert_eq!(entry["reason"], "token-expired");
}

#[test]
fn what_only_reads_is_not_written_down() {
    for sample in samples().iter().filter(|sample| sample.role == "reader") {
        let admin = Admin::new();
        assert_eq!(admin.send(sample.head("reader"), &sample.body).0.status, 200);
        assert!(entries(&admin).is_empty(), "{}", sample.target);
    }
    // Nor is a mistake of a reader.
    let admin = Admin::new();
    for target in ["/policy?revision=x", "/policy?revision=r9", "/audit?limit=x", "/nothing", "/policy/diff"]
    {
        assert!(admin.get("reader", target).status >= 400, "{target}");
    }
    admin.post("reader", "/policy/validate", &json!({"version": 2}));
    assert!(entries(&admin).is_empty());
}

#[test]
fn a_stranger_cannot_write_as_much_as_he_likes() {
    let admin = Admin::new();
    let long = format!("/{}", "%F0%9F%98%80".repeat(1_000));
    admin.get("nobody", &long);
    let entry = the_entry(&admin);
    let action = entry["action"].as_str().unwrap();
    assert!(action.len() <= 64 && action.starts_with("GET /_weir/admin/v1/%F0"), "{action}");
    let method = "M".repeat(500);
    admin.send(Admin::head("nobody", &method, "/x"), "");
    assert!(entries(&admin)[1]["action"].as_str().unwrap().len() <= 64);
}

#[test]
fn the_log_is_read_in_pages() {
    let admin = Admin::new();
    for _ in 0..4 {
        admin.push("operator", "\"r1\"", &control::document("four"));
    }
    let page = admin.get("reader", "/audit?limit=2").json();
    let ids = |page: &Value| -> Vec<u64> {
        page["entries"].as_array().unwrap().iter().map(|entry| entry["id"].as_u64().unwrap()).collect()
    };
    assert_eq!((ids(&page), &page["more"]), (vec![7, 6], &json!(true)));
    let page = admin.get("reader", "/audit?before=3&limit=5").json();
    assert_eq!((ids(&page), &page["more"]), (vec![2, 1], &json!(false)));
    // What lies outside is clipped.
    assert_eq!(ids(&admin.get("reader", "/audit?limit=0").json()), [7]);
    assert_eq!(ids(&admin.get("reader", "/audit?limit=18446744073709551615").json()).len(), 7);
    assert_eq!(ids(&admin.get("reader", "/audit?before=0").json()), [0; 0]);
    assert_eq!(ids(&admin.get("reader", "/audit").json()).len(), 7);
}
