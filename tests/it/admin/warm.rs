//! Warming through the admin API. What becomes of each URL is in
//! `gateway::warm`; here it is what is asked for, and what is told.

use edgeweir::gateway::warm::Job;
use serde_json::{Value, json};

use super::{Admin, refused};
use crate::control;
use crate::fake::{Fault, Response, get};

fn admin() -> Admin {
    let route = json!({"id": "all", "upstream": "app", "cache": {}});
    let split = json!({"id": "split", "match": {"path": "/split/*"}, "upstream": "app", "cache": {},
        "canary": {"variants": [{"name": "old", "upstream": "app", "weight": 50}, {"name": "new", "upstream": "app", "weight": 50}]}});
    let upstreams = json!({"app": {"origin": "http://app.internal"}});
    let admin = Admin::acting_on(&json!({"version": 1, "routes": [route, split], "upstreams": upstreams}));
    admin.gate.platform.origin(|_| Response::new(200).with("Cache-Control", "max-age=60"));
    admin
}

fn warm(admin: &Admin, body: &Value) -> Response {
    admin.post("operator", "/cache/warm", body)
}

fn becomes(admin: &Admin, answers: &[Option<&str>]) {
    let answers = answers.iter().map(|answer| answer.map(str::to_owned));
    *admin.gate.platform.warm_answers.borrow_mut() = answers.collect();
}

fn jobs(admin: &Admin) -> Vec<Job> {
    admin.gate.platform.warmed.borrow().iter().map(|(_, job)| Job::decode(job).unwrap()).collect()
}

const STORED: &str = "stored\t200\t\tedgeweir; fwd=uri-miss; fwd-status=200; stored; ttl=60";

#[test]
fn it_tells_what_became_of_each() {
    let admin = admin();
    // The second one's body came whole, the third one's did not.
    admin.gate.send(&get("/b"));
    let hit = "hit\t200\t\tedgeweir; hit; ttl=9";
    let refused = "not-stored\t404\tno-route\t";
    becomes(&admin, &[Some(hit), Some(STORED), Some(STORED), Some(refused), None, Some("garbled")]);
    let urls: Vec<String> = "abcdef".chars().map(|name| format!("https://app.example/{name}")).collect();
    let response = warm(&admin, &json!({"urls": urls, "headers": {"Accept-Encoding": ""}}));
    assert_eq!(response.status, 200, "{}", response.body);
    let report = response.json();
    assert_eq!((&report["colo"], &report["isolate"]), (&json!("ICN"), &json!(admin.gate.isolate.id)));
    let results = report["results"].as_array().unwrap();
    let told: Vec<(&Value, &Value, &Value)> =
        results.iter().map(|result| (&result["outcome"], &result["status"], &result["why"])).collect();
    let expected = [
        (json!("hit"), json!(200), Value::Null),
        (json!("stored"), json!(200), Value::Null),
        (json!("not-stored"), json!(200), json!("body")),
        (json!("not-stored"), json!(404), json!("no-route")),
        (json!("not-stored"), Value::Null, json!("deadline")),
        (json!("not-stored"), Value::Null, json!("deadline")),
    ];
    let expected: Vec<_> = expected.iter().map(|(outcome, status, why)| (outcome, status, why)).collect();
    assert_eq!(told, expected);
    assert_eq!(results[0]["cache_status"], "edgeweir; hit; ttl=9");
    assert_eq!(
        results.iter().map(|result| &result["url"]).collect::<Vec<_>>(),
        urls.iter().collect::<Vec<_>>()
    );
    let jobs = jobs(&admin);
    assert_eq!(jobs.len(), 6);
    assert_eq!((jobs[0].url.as_str(), jobs[0].host.as_str()), ("https://app.example/a", "app.example"));
    assert_eq!(jobs[0].address.to_string(), "192.0.2.1");
}

/// Who, how many, and what became of them.
#[test]
fn it_stands_in_the_audit_log() {
    let admin = admin();
    admin.gate.send(&get("/b"));
    let refused = "not-stored\t404\tno-route\t";
    becomes(&admin, &[Some("hit\t200\t\tedgeweir; hit; ttl=9"), Some(STORED), Some(STORED), Some(refused)]);
    let urls: Vec<String> = "abcd".chars().map(|name| format!("https://app.example/{name}")).collect();
    assert_eq!(warm(&admin, &json!({"urls": urls})).status, 200);
    assert_eq!(admin.audit().last().unwrap(), "operator|warm|accepted|-");
    let entry = control::audit(&admin.gate.platform.control).pop().unwrap();
    assert_eq!(entry["message"], "4 URLs in ICN: 1 hit, 1 stored, 2 not-stored; from 192.0.2.1");
    assert_eq!(entry["role"], "operator");
    // What was done is told, whether or not it could be written down; the log
    // says so.
    for says in [None, Some("{\"version\":3,\"refused\":{\"reason\":\"no-such-action\"}}"), Some("?")] {
        becomes(&admin, &[Some(STORED)]);
        let fault = if says.is_none() { Some(Fault::Fails) } else { None };
        admin.gate.platform.control_fault.set(fault);
        *admin.gate.platform.control_says.borrow_mut() = says.map(str::to_owned);
        let body = json!({"urls": ["https://app.example/b"]}).to_string();
        let (response, record) = admin.send(Admin::head("operator", "POST", "/cache/warm"), &body);
        assert_eq!((response.status, &response.json()["results"][0]["outcome"]), (200, &json!("stored")));
        assert!(record.error.unwrap().starts_with("warm is not in the audit log: "), "{says:?}");
    }
}

#[test]
fn it_asks_as_a_browser_does_unless_it_is_told_otherwise() {
    for (headers, expected) in [
        (json!({}), vec![("accept-encoding", "gzip, deflate, br, zstd")]),
        (json!({"Accept-Encoding": ""}), vec![]),
        (
            json!([["accept-encoding", "gzip"], ["Accept-Language", "de"]]),
            vec![("accept-encoding", "gzip"), ("accept-language", "de")],
        ),
    ] {
        let admin = admin();
        warm(&admin, &json!({"urls": ["https://app.example/a"], "headers": headers}));
        let warmed = admin.gate.platform.warmed.borrow();
        let sent: Vec<(&str, &str)> =
            warmed[0].0.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(sent, expected);
    }
}

#[test]
fn every_variant_is_asked_for() {
    let admin = admin();
    becomes(&admin, &[Some(STORED), Some(STORED), Some(STORED)]);
    admin.gate.send(&get("/split/a"));
    let body = json!({"urls": ["https://app.example/split/a", "https://app.example/a"], "headers": {"Accept-Encoding": ""}});
    let report = warm(&admin, &body).json();
    let results = report["results"].as_array().unwrap();
    let named: Vec<&Value> = results.iter().map(|result| &result["variant"]).collect();
    assert_eq!(named, [&json!("old"), &json!("new"), &Value::Null]);
    // What is told of one variant is not told of the other.
    let stored = results.iter().filter(|result| result["outcome"] == "stored").count();
    assert_eq!(stored, 1, "{report}");
    let variants: Vec<Option<String>> = jobs(&admin).into_iter().map(|job| job.variant).collect();
    assert_eq!(variants, [Some("old".to_owned()), Some("new".to_owned()), None]);
}

#[test]
fn what_is_no_url_is_named_and_nothing_is_asked_for() {
    let admin = admin();
    let long = format!("https://app.example/{}", "x".repeat(4_096));
    let urls = json!([
        "https://app.example/",
        "/a",
        "ftp://app.example/",
        "https://app.example/#a",
        "https://app.example/\ta",
        long
    ]);
    let response = warm(&admin, &json!({"urls": urls}));
    assert_eq!(refused(&response), (400, "invalid-body".to_owned()));
    let problems = response.json()["problems"].as_array().unwrap().clone();
    let paths: Vec<&Value> = problems.iter().map(|problem| &problem["path"]).collect();
    assert_eq!(paths, ["urls[1]", "urls[2]", "urls[3]", "urls[4]", "urls[5]"]);
    for body in [
        json!({}),
        json!({"urls": []}),
        json!({"urls": vec!["https://app.example/"; 101]}),
        json!({"urls": ["https://app.example/"], "method": "POST"}),
        json!({"urls": ["https://app.example/"], "headers": {"a": "b\nc"}}),
        json!({"urls": "https://app.example/"}),
        json!([]),
    ] {
        assert_eq!(refused(&warm(&admin, &body)), (400, "invalid-body".to_owned()), "{body}");
    }
    assert!(admin.gate.platform.warmed.borrow().is_empty());
    assert_eq!(warm(&admin, &json!({"urls": vec!["https://app.example/"; 100]})).status, 200);
}

#[test]
fn readers_do_not_warm() {
    let admin = admin();
    let body = json!({"urls": ["https://app.example/"]});
    assert_eq!(refused(&admin.post("reader", "/cache/warm", &body)), (403, "forbidden".to_owned()));
    assert!(admin.gate.platform.warmed.borrow().is_empty());
}
