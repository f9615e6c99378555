//! What becomes of requests when the control plane or the assets fail.

use edgeweir::observe::record::{LogLevel, Verdict};
use serde_json::json;

use super::{Admin, refused, samples};
use crate::control;
use crate::fake::{Fault, With};

#[test]
fn each_call_to_the_control_plane_may_fail() {
    for sample in samples() {
        for fault in [Fault::Fails, Fault::TimesOut] {
            // The first call, then the second, until it does without.
            for calls in 0..12 {
                let admin = Admin::new();
                admin.gate.platform.control_fault.set(Some(fault));
                admin.gate.platform.control_calls.set(calls);
                let (response, record) = admin.send(sample.head("owner"), &sample.body);
                let what = format!("{} {}, after {calls}: {}", sample.method, sample.target, response.body);
                if response.status < 300 {
                    if sample.target == "/health" && calls == 0 {
                        assert!(response.json().get("control").is_none(), "{what}");
                    }
                    break;
                }
                assert!(calls < 11, "{what}");
                assert_eq!(refused(&response), (503, "control-unavailable".to_owned()), "{what}");
                assert_eq!(response.field("retry-after").unwrap(), "5");
                assert!(!response.body.contains("on purpose"), "{what}");
                assert_eq!((record.verdict, record.reason), (Verdict::Failed, Some("control-unavailable")));
                assert!(record.error.as_deref().unwrap().starts_with("control: "), "{:?}", record.error);
                assert!(LogLevel::Error.admits(&record));
                assert!(admin.gate.isolate.changed.get().is_none());
            }
        }
    }
}

#[test]
fn what_needs_no_control_plane_does_without() {
    let admin = Admin::new();
    admin.gate.platform.control_fault.set(Some(Fault::TimesOut));
    assert_eq!(admin.post("reader", "/policy/validate", &json!({"version": 1})).status, 200);
    assert_eq!(admin.post("reader", "/explain", &json!({"url": "https://app.example/"})).status, 200);
    assert_eq!(admin.post("reader", "/replay", &json!({"records": ""})).status, 200);
    let health = admin.get("reader", "/health");
    assert_eq!((health.status, &health.json()["status"]), (200, &json!("ok")));
}

/// A refusal stands whether or not it could be written down.
#[test]
fn whoever_may_not_is_refused_all_the_same() {
    for sample in samples() {
        let admin = Admin::new();
        admin.gate.platform.control_fault.set(Some(Fault::TimesOut));
        for (name, status) in [("", 401), ("nobody", 401), ("reader", 403)] {
            if name != "reader" || sample.role == "operator" {
                assert_eq!(admin.send(sample.head(name), &sample.body).0.status, status, "{name}");
            }
        }
    }
}

#[test]
fn an_answer_that_is_none_is_a_failure() {
    let says = [
        "",
        "null",
        "[]",
        "[2,null,null]",
        "{}",
        "{\"version\":2}",
        "{\"version\":2,\"result\":null}",
        "{\"version\":2,\"result\":[]}",
        "{\"version\":2,\"result\":7}",
        "{\"version\":2,\"result\":{\"revision\":7}}",
        "{\"version\":2,\"refused\":{}}",
        "{\"version\":2,\"refused\":{\"reason\":\"malformed\",\"detail\":\"x\"}}",
        "{\"version\":2,\"refused\":{\"reason\":\"no-such-action\"}}",
        "{\"version\":2,\"refused\":{\"reason\":\"unsupported-version\"}}",
        "{\"version\":2,\"refused\":{\"reason\":\"something-new\"}}",
        "<html>",
    ];
    for sample in samples() {
        for says in says {
            let admin = Admin::new();
            *admin.gate.platform.control_says.borrow_mut() = Some(says.to_owned());
            let (response, record) = admin.send(sample.head("owner"), &sample.body);
            if response.status < 300 {
                assert!(!["PUT"].contains(&sample.method) && sample.target != "/audit", "{says}");
                continue;
            }
            assert_eq!(
                refused(&response),
                (503, "control-unavailable".to_owned()),
                "{} {says}",
                sample.target
            );
            assert!(record.error.is_some());
        }
    }
}

/// Whether it was made is not known, so it is not said.
#[test]
fn a_change_that_is_not_answered_may_have_been_made() {
    let admin = Admin::new();
    // It is stored, and the answer does not arrive.
    admin.gate.platform.control.fuse.set(None);
    let push = || {
        let head = Admin::head("operator", "PUT", "/policy").with("If-Match", "\"r3\"");
        admin.send(head, &control::document("four")).0
    };
    assert_eq!(push().status, 201);
    // Sent again, it is refused, and names what is there.
    let again = push();
    assert_eq!(refused(&again), (412, "stale-base".to_owned()));
    assert_eq!(again.json()["active"], "r4");
    admin.gate.platform.control_fault.set(Some(Fault::TimesOut));
    let detail = push().json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("may have been made"), "{detail}");
}

#[test]
fn a_refused_change_is_written_down_when_the_plane_is_there_again() {
    let admin = Admin::new();
    *admin.gate.platform.control_says.borrow_mut() = Some("{}".to_owned());
    let response = admin.push("operator", "\"r3\"", &control::document("four"));
    assert_eq!(refused(&response), (503, "control-unavailable".to_owned()));
    *admin.gate.platform.control_says.borrow_mut() = None;
    assert_eq!(admin.audit().len(), 3);
    admin.push("operator", "", &control::document("four"));
    let last = admin.audit().pop().unwrap();
    assert_eq!(last, "operator|PUT /_weir/admin/v1/policy|refused|precondition-required");
}

#[test]
fn assets_may_be_missing_or_fail() {
    for target in ["/openapi.json", "/schema.json"] {
        let admin = Admin::new();
        admin.gate.platform.has_assets.set(false);
        let response = admin.get("reader", target);
        assert_eq!(refused(&response), (404, "no-such-endpoint".to_owned()), "{target}");
        assert!(response.json()["detail"].as_str().unwrap().contains("not deployed"));
        for fault in [Fault::Fails, Fault::TimesOut] {
            admin.gate.platform.asset_fault.set(Some(fault));
            let (response, record) = admin.send(Admin::head("reader", "GET", target), "");
            assert_eq!(refused(&response), (503, "assets-unavailable".to_owned()), "{target}");
            assert_eq!(record.verdict, Verdict::Failed);
            assert!(record.error.as_deref().unwrap().starts_with("assets: "));
        }
    }
}

/// A storage that takes nothing more.
#[test]
fn a_full_storage_refuses_changes_and_answers_questions() {
    let admin = Admin::new();
    admin.gate.platform.control.full.set(true);
    let response = admin.push("operator", "\"r3\"", &control::document("four"));
    assert_eq!(refused(&response), (503, "control-unavailable".to_owned()));
    assert_eq!(admin.get("reader", "/policy").status, 200);
    assert_eq!(admin.get("nobody", "/policy").status, 401);
}
