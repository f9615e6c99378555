//! Reading and changing the policy, and the conditions of both.

use edgeweir::exchange::PlainHead;
use serde_json::json;

use super::{Admin, refused};
use crate::control;
use crate::fake::With;

type Fields<'a> = &'a [(&'a str, &'a str)];

fn with(head: PlainHead, fields: Fields) -> PlainHead {
    fields.iter().fold(head, |head, (name, value)| head.with(name, value))
}

#[test]
fn a_document_is_given_as_it_was_written() {
    let admin = Admin::new();
    let written = " {\"version\" : 1,\n  \"address_sets\": {\"\\u0061\": {\"prefixes\": [ ]}} }\n";
    let pushed = admin.push("operator", "\"r3\"", written);
    assert_eq!(pushed.status, 201, "{}", pushed.body);
    let response = admin.get("reader", "/policy");
    assert_eq!((response.body.as_str(), response.field("etag").unwrap()), (written, "\"r4\"".to_owned()));
    for target in ["/policy?revision=r1", "/policy?revision=%721", "/policy?&revision=r1&"] {
        let old = admin.get("reader", target);
        assert_eq!(
            (old.body.clone(), old.field("etag").unwrap()),
            (control::document("one"), "\"r1\"".to_owned())
        );
    }
    for (target, status, label) in [
        ("/policy?revision=r9", 404, "no-such-revision"),
        ("/policy?revision=r0", 404, "no-such-revision"),
        ("/policy?revision=r18446744073709551615", 404, "no-such-revision"),
        ("/policy?revision=r18446744073709551616", 400, "bad-request"),
        ("/policy?revision=r01", 400, "bad-request"),
        ("/policy?revision=R1", 400, "bad-request"),
        ("/policy?revision=1", 400, "bad-request"),
        ("/policy?revision=", 400, "bad-request"),
        ("/policy?revision", 400, "bad-request"),
        ("/policy?revision=r1%00", 400, "bad-request"),
        ("/policy?revision=%ff", 400, "bad-request"),
    ] {
        assert_eq!(refused(&admin.get("reader", target)), (status, label.to_owned()), "{target}");
    }
}

#[test]
fn what_is_known_is_not_sent_again() {
    let revalidate = |fields: &[(&str, &str)]| {
        Admin::new().send(with(Admin::head("reader", "GET", "/policy"), fields), "").0
    };
    for field in ["\"r3\"", "W/\"r3\"", "*", "\"r1\", \"r3\"", "\"r1\" ,W/\"r3\",, \"r9\"", "\"r1\",*"] {
        let response = revalidate(&[("If-None-Match", field)]);
        assert_eq!((response.status, response.body.as_str()), (304, ""), "{field}");
        assert_eq!(response.field("etag").unwrap(), "\"r3\"");
    }
    // Several lines are one list (RFC 9110, 5.3).
    assert_eq!(revalidate(&[("If-None-Match", "\"r1\""), ("If-None-Match", "\"r3\"")]).status, 304);
    for field in ["", "\"r2\"", "r3", "\"r30\"", "\"R3\"", "w/\"r3\"", "W/ \"r3\"", "\"r3", "\"\""] {
        let response = revalidate(&[("If-None-Match", field)]);
        assert_eq!((response.status, response.body), (200, control::document("three")), "{field}");
    }
    // Of an old revision, its own tag.
    let admin = Admin::new();
    let old = |tag| Admin::head("reader", "GET", "/policy?revision=r1").with("If-None-Match", tag);
    assert_eq!(admin.send(old("\"r1\""), "").0.status, 304);
    assert_eq!(admin.send(old("\"r3\""), "").0.status, 200);
}

/// Each way to name a base, or not to, for both kinds of change.
#[test]
fn a_change_names_its_base() {
    let changes = [
        ("PUT", "/policy", control::document("four")),
        ("POST", "/policy/rollback", json!({"to": "r1"}).to_string()),
    ];
    type Expected = Result<(), (u16, &'static str)>;
    let cases: [(Fields, Expected); 20] = [
        (&[("If-Match", "\"r3\"")], Ok(())),
        (&[("If-Match", "W/\"r3\"")], Err((428, "precondition-required"))),
        (&[], Err((428, "precondition-required"))),
        (&[("If-Match", "*")], Err((428, "precondition-required"))),
        (&[("If-Match", "")], Err((428, "precondition-required"))),
        (&[("If-Match", "r3")], Err((428, "precondition-required"))),
        (&[("If-Match", "\"r3\", \"r2\"")], Err((428, "precondition-required"))),
        (&[("If-Match", "\"r3\""), ("If-Match", "\"r3\"")], Err((428, "precondition-required"))),
        (&[("If-Match", "\"r3")], Err((428, "precondition-required"))),
        (&[("If-Match", "\"\"")], Err((428, "precondition-required"))),
        (&[("If-Match", "\"r03\"")], Err((428, "precondition-required"))),
        (&[("If-Match", "\"abc\"")], Err((428, "precondition-required"))),
        (&[("If-None-Match", "\"r3\"")], Err((428, "precondition-required"))),
        (&[("If-None-Match", "\"*\"")], Err((428, "precondition-required"))),
        (&[("If-Match", "\"r3\""), ("If-None-Match", "*")], Err((428, "precondition-required"))),
        (&[("If-Match", "\"r2\"")], Err((412, "stale-base"))),
        (&[("If-Match", "\"r4\"")], Err((412, "stale-base"))),
        (&[("If-Match", "\"r0\"")], Err((412, "stale-base"))),
        (&[("If-Match", "\"r18446744073709551615\"")], Err((412, "stale-base"))),
        (&[("If-None-Match", "*")], Err((412, "stale-base"))),
    ];
    for (method, target, body) in &changes {
        for (fields, expected) in &cases {
            let admin = Admin::new();
            let (response, _) = admin.send(with(Admin::head("operator", method, target), fields), body);
            match expected {
                Ok(()) => {
                    assert_eq!(response.status, 201, "{fields:?}: {}", response.body);
                    let done = response.json();
                    assert_eq!((&done["revision"], &done["state"]), (&json!("r4"), &json!("pending")));
                    assert_eq!(done["hash"].as_str().unwrap().len(), 64);
                    assert!(done["sequence"].as_u64().unwrap() > 0);
                    assert_eq!(response.field("etag").unwrap(), "\"r4\"");
                    assert_eq!(admin.active(), "r4");
                    assert!(admin.gate.isolate.changed.get().is_some());
                }
                Err((status, label)) => {
                    assert_eq!(refused(&response), (*status, (*label).to_owned()), "{fields:?}");
                    assert_eq!(admin.active(), "r3");
                    assert!(admin.gate.isolate.changed.get().is_none());
                }
            }
        }
    }
}

#[test]
fn a_stale_base_names_both_revisions() {
    let admin = Admin::new();
    let problem = admin.push("operator", "\"r1\"", &control::document("four")).json();
    assert_eq!((&problem["base"], &problem["active"]), (&json!("r1"), &json!("r3")));
    assert_eq!(problem["detail"], "The policy has changed: r3 is active, and the change is based on r1.");
    for absent in ["problems", "needs", "oldest"] {
        assert!(problem.get(absent).is_none(), "{problem}");
    }
}

#[test]
fn of_two_who_saw_the_same_one_is_told() {
    let admin = Admin::new();
    let first = admin.push("operator", "\"r3\"", &control::document("mine"));
    let second = admin.push("owner", "\"r3\"", &control::document("yours"));
    assert_eq!((first.status, second.status), (201, 412));
    assert_eq!(admin.get("reader", "/policy").body, control::document("mine"));
}

#[test]
fn a_document_with_problems_is_told_all_of_them() {
    let admin = Admin::new();
    let bad = json!({"version": 2, "nothing": 1, "address_sets": {"a": {"prefixes": ["x"]}}}).to_string();
    for response in [
        admin.push("operator", "\"r3\"", &bad),
        admin.send(Admin::head("reader", "POST", "/policy/validate"), &bad).0,
        admin.send(Admin::head("reader", "POST", "/policy/diff"), &bad).0,
    ] {
        assert_eq!(refused(&response), (422, "invalid-policy".to_owned()));
        let problem = response.json();
        let problems = problem["problems"].as_array().unwrap();
        let paths: Vec<&str> = problems.iter().map(|problem| problem["path"].as_str().unwrap()).collect();
        for path in ["version", "nothing", "address_sets.a.prefixes[0]"] {
            assert!(paths.contains(&path), "{paths:?}");
        }
        assert!(
            problems.iter().all(|problem| problem["expected"].is_string() && problem["value"].is_string())
        );
    }
}

#[test]
fn what_is_no_policy_does_not_become_one() {
    let deep = "[".repeat(100_000);
    let nested = format!("{{\"version\":1,\"routes\":{}{}}}", "[".repeat(200), "]".repeat(200));
    for body in
        ["", " ", "null", "[]", "{}", "{\"version\":1}x", "{\"version\":1,\"version\":1}", &deep, &nested]
    {
        let admin = Admin::new();
        let head = Admin::head("operator", "PUT", "/policy")
            .with("If-Match", "\"r3\"")
            .with("Content-Type", "application/json");
        let (response, _) = admin.send_bytes(&head, Ok(body.as_bytes()));
        assert_eq!(
            refused(&response),
            (422, "invalid-policy".to_owned()),
            "{}",
            body.get(..40).unwrap_or(body)
        );
        assert!(!response.json()["problems"].as_array().unwrap().is_empty());
        assert_eq!(admin.active(), "r3");
    }
}

#[test]
fn only_an_owner_changes_who_may_administer() {
    let hosts = json!({"version": 1, "admin": {"hosts": ["app.example"]}}).to_string();
    let admin = Admin::new();
    assert_eq!(refused(&admin.push("operator", "\"r3\"", &hosts)), (403, "needs-owner".to_owned()));
    assert_eq!(admin.push("owner", "\"r3\"", &hosts).status, 201);
    // Going back takes it away again.
    let rollback = |name: &str| {
        let head = Admin::head(name, "POST", "/policy/rollback").with("If-Match", "\"r4\"");
        admin.send(head, &json!({"to": "r3"}).to_string()).0
    };
    assert_eq!(refused(&rollback("operator")), (403, "needs-owner".to_owned()));
    assert_eq!(rollback("owner").status, 201);
}

#[test]
fn a_document_waits_for_the_oldest_module() {
    let admin = Admin::new();
    let store = &admin.gate.platform.control;
    control::ask(store, "seen", json!({"module": "0.1.0"}));
    let response = admin.push("owner", "\"r3\"", &json!({"version": 1, "admin": {}}).to_string());
    assert_eq!(refused(&response), (409, "needs-newer-module".to_owned()));
    let problem = response.json();
    assert_eq!((&problem["needs"], &problem["oldest"]), (&json!("0.2.0"), &json!("0.1.0")));
}

#[test]
fn a_rollback_is_a_new_revision_with_an_old_content() {
    let admin = Admin::new();
    let head = Admin::head("operator", "POST", "/policy/rollback").with("If-Match", "\"r3\"");
    let response = admin.send(head, &json!({"to": "r1", "message": "as before"}).to_string()).0;
    assert_eq!((response.status, &response.json()["revision"]), (201, &json!("r4")));
    assert_eq!(admin.get("reader", "/policy").body, control::document("one"));
    let history = admin.get("reader", "/policy/history").json();
    let newest = &history["revisions"][0];
    assert_eq!(newest["rollback_to"], "r1");
    assert_eq!((&newest["author"], &newest["message"]), (&json!("operator"), &json!("as before")));
    assert_eq!(newest["hash"], response.json()["hash"]);
}

#[test]
fn why_is_kept_as_it_was_said() {
    for (query, message) in [
        ("", ""),
        ("?message=", ""),
        ("?message=a+b%2Bc%20d", "a b+c d"),
        ("?message=100%", "100%"),
        ("?message=%C3%A9%", "é%"),
        ("?message=a=b", "a=b"),
        ("?message=%zz%4", "%zz%4"),
        ("?message=%0d%0A", "\r\n"),
    ] {
        let admin = Admin::new();
        let head = Admin::head("operator", "PUT", &format!("/policy{query}")).with("If-Match", "\"r3\"");
        assert_eq!(admin.send(head, &control::document("four")).0.status, 201, "{query}");
        let history = admin.get("reader", "/policy/history?limit=1").json();
        assert_eq!(history["revisions"][0]["message"], message, "{query}");
        assert_eq!(history["revisions"][0]["author"], "operator");
        assert_eq!(history["revisions"][0]["role"], "operator");
    }
    let admin = Admin::new();
    let head = Admin::head("operator", "PUT", &format!("/policy?message={}", "%C3%A9".repeat(400)));
    assert_eq!(admin.send(head.with("If-Match", "\"r3\""), &control::document("four")).0.status, 201);
    let history = admin.get("reader", "/policy/history").json();
    assert_eq!(history["revisions"][0]["message"], "é".repeat(250));
}

#[test]
fn the_history_is_read_in_pages() {
    let admin = Admin::new();
    let names = |target: &str| {
        let page = admin.get("reader", target).json();
        let names: Vec<String> = page["revisions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|revision| revision["revision"].as_str().unwrap().to_owned())
            .collect();
        (names.join(" "), page["more"].as_bool().unwrap())
    };
    assert_eq!(names("/policy/history"), ("r3 r2 r1".to_owned(), false));
    assert_eq!(names("/policy/history?limit=2"), ("r3 r2".to_owned(), true));
    assert_eq!(names("/policy/history?limit=2&before=r2"), ("r1".to_owned(), false));
    assert_eq!(names("/policy/history?limit=0"), ("r3".to_owned(), true));
    assert_eq!(names("/policy/history?limit=1000"), ("r3 r2 r1".to_owned(), false));
    assert_eq!(names("/policy/history?before=r0"), (String::new(), false));
    assert_eq!(names("/policy/history?before=r99"), ("r3 r2 r1".to_owned(), false));
    assert_eq!(refused(&admin.get("reader", "/policy/history?before=3")), (400, "bad-request".to_owned()));
}

#[test]
fn what_would_change_is_said_by_ids() {
    let admin = Admin::new();
    let diff = |target: &str, fields: &[(&str, &str)]| {
        let head = with(Admin::head("reader", "POST", target), fields);
        admin.send(head, &control::document("four")).0
    };
    let response = diff("/policy/diff", &[]).json();
    assert_eq!((&response["base"], response.get("to")), (&json!("r3"), None));
    let paths = |response: &serde_json::Value| -> Vec<String> {
        let changes = response["changes"].as_array().unwrap();
        changes
            .iter()
            .map(|change| format!("{} {}", change["kind"], change["path"]).replace('"', ""))
            .collect()
    };
    assert_eq!(paths(&response), ["removed address_sets.three", "added address_sets.four"]);
    assert_eq!(diff("/policy/diff?base=r1", &[]).json()["base"], "r1");
    assert_eq!(refused(&diff("/policy/diff?base=r9", &[])), (404, "no-such-revision".to_owned()));
    let between = admin.get("reader", "/policy/diff?from=r1&to=r2").json();
    assert_eq!((&between["base"], &between["to"]), (&json!("r1"), &json!("r2")));
    assert_eq!(admin.get("reader", "/policy/diff?from=r1").json()["to"], "r3");
    assert_eq!(admin.get("reader", "/policy/diff?from=r1&to=r1").json()["changes"], json!([]));
    assert_eq!(refused(&admin.get("reader", "/policy/diff")), (400, "bad-request".to_owned()));
    assert_eq!(refused(&admin.get("reader", "/policy/diff?to=r1")), (400, "bad-request".to_owned()));
    assert_eq!(
        refused(&admin.get("reader", "/policy/diff?from=r1&to=r9")),
        (404, "no-such-revision".to_owned())
    );
    // For people, a line each.
    let text = diff("/policy/diff", &[("Accept", "text/plain")]);
    assert_eq!(text.field("content-type").unwrap(), "text/plain; charset=utf-8");
    assert_eq!(text.body.lines().count(), 2);
    assert!(text.body.starts_with("removed address_sets.three: "), "{}", text.body);
    for accept in ["*/*", "application/json", "text/plain, application/json", "text/html"] {
        assert_eq!(
            diff("/policy/diff", &[("Accept", accept)]).field("content-type").unwrap(),
            "application/json"
        );
    }
}

#[test]
fn a_good_document_is_told_what_reads_it() {
    let admin = Admin::new();
    let validate = |document: &serde_json::Value| admin.post("reader", "/policy/validate", document).json();
    assert_eq!(validate(&json!({"version": 1})), json!({"valid": true, "module": "0.1.0"}));
    assert_eq!(validate(&json!({"version": 1, "admin": {}})), json!({"valid": true, "module": "0.2.0"}));
    assert_eq!(admin.active(), "r3");
}
