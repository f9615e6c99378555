//! The request to explain: strict and bounded.

use edgeweir::explain::ExplainRequest;
use edgeweir::policy::compile;
use edgeweir::stages::identity::IdentityStage;
use http::Method;
use http::header::HOST;
use serde_json::json;

use edgeweir::exchange::Head;

fn identity() -> IdentityStage {
    compile(r#"{"version": 1}"#).unwrap().identity
}

fn parse(value: &serde_json::Value) -> ExplainRequest {
    ExplainRequest::parse(&value.to_string()).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn paths(text: &str) -> Vec<String> {
    ExplainRequest::parse(text).unwrap_err().into_iter().map(|problem| problem.path).collect()
}

#[test]
fn the_least_that_can_be_asked_is_a_url() {
    let request = parse(&json!({"url": "https://app.example"}));
    let head = request.head(&identity());
    assert_eq!((head.method, head.url.as_str()), (Method::GET, "https://app.example/"));
    assert_eq!(head.fields, [(HOST, "app.example".to_owned())]);
    let head = parse(&json!({"url": "http://app.example?x=1"})).head(&identity());
    assert_eq!(head.url, "http://app.example/?x=1");
}

#[test]
fn headers_are_an_object_or_a_list_in_order() {
    let object = parse(&json!({"url": "http://a.test/", "headers": {"X-A": " 1 "}}));
    assert_eq!(object.headers.0, [("x-a".parse().unwrap(), "1".to_owned())]);
    let list = parse(&json!({"url": "http://a.test/", "headers": [["X-A", "1"], ["x-a", "2"]]}));
    assert_eq!(list.head(&identity()).field(&"x-a".parse().unwrap()).as_deref(), Some("1, 2"));
}

/// As on the wire: the URL that the runtime shows is made of the Host field.
#[test]
fn a_host_field_goes_before_the_urls_host() {
    let request = parse(&json!({"url": "https://a.test/x", "headers": {"Host": "b.test"}}));
    let head = request.head(&identity());
    assert_eq!(head.url, "https://b.test/x");
    assert_eq!(head.fields, [(HOST, "b.test".to_owned())]);
}

/// Nobody can be two clients: what the platform says replaces what is sent.
#[test]
fn the_client_replaces_the_platforms_field() {
    let headers = json!([["CF-Connecting-IP", "203.0.113.1"], ["cf-connecting-ip", "203.0.113.2"]]);
    let request = parse(&json!({"url": "http://a.test/", "client": "192.0.2.1", "headers": headers}));
    let head = request.head(&identity());
    assert_eq!(head.field(&"cf-connecting-ip".parse().unwrap()).as_deref(), Some("192.0.2.1"));
}

#[test]
fn every_problem_has_its_path() {
    let text = json!({
        "method": "G T", "url": "/relative", "client": "nobody", "headers": {"a b": "1"}, "body": "",
    });
    let mut found = paths(&text.to_string());
    found.sort();
    assert_eq!(found, ["body", "client", "headers", "method", "url"]);
    assert_eq!(paths("{}"), [""]);
    assert_eq!(paths("[\"GET\", \"http://a.test/\"]"), [""]);
    assert_eq!(paths("{"), [""]);
    assert_eq!(paths(r#"{"url": "http://a.test/", "url": "http://b.test/"}"#), ["url"]);
}

#[test]
fn nothing_is_without_a_limit() {
    let with = |name: &str, value: serde_json::Value| {
        let mut request = json!({"url": "http://a.test/"});
        request[name] = value;
        ExplainRequest::parse(&request.to_string())
    };
    let lines =
        |count: usize, size: usize| serde_json::Value::from(vec![json!(["x-a", "v".repeat(size)]); count]);
    assert!(with("headers", lines(128, 10)).is_ok());
    for (name, value) in [
        ("headers", lines(129, 1)),
        ("headers", lines(100, 1_000)),
        ("headers", json!({"x-a": "v".repeat(70_000)})),
        ("headers", json!({("x".repeat(200)): "v"})),
        ("headers", json!({"x-a": "one\r\nx-b: two"})),
        ("headers", json!({"x-a": "nul\0"})),
        ("headers", json!({"x-a": 1})),
        ("headers", json!([["x-a"]])),
        ("headers", json!("x-a: 1")),
        ("method", json!("M".repeat(65))),
        ("method", json!("")),
        ("url", json!(format!("http://a.test/{}", "x".repeat(30_000)))),
        ("url", json!("ftp://a.test/")),
        ("client", json!("192.0.2.0/24")),
    ] {
        assert!(with(name, value.clone()).is_err(), "{name}");
    }
    let long = format!("{{\"url\": \"http://a.test/\", \"x\": \"{}\"}}", "x".repeat(600_000));
    assert_eq!(ExplainRequest::parse(&long).unwrap_err().len(), 1);
}

/// What the platform would say is checked as what it says.
#[test]
fn a_request_says_what_the_platform_would_say_of_it() {
    let request = parse(&json!({
        "url": "http://a.test/", "country": "DE", "continent": "EU", "asn": 64496, "tls_version": "TLSv1.2",
        "tls_cipher": "ECDHE-RSA-AES128-GCM-SHA256", "bot_score": 99, "verified_bot": true,
        "verified_bot_category": "Monitoring & Analytics",
    }));
    let read = "DE\nEU\n64496\nTLSv1.2\nECDHE-RSA-AES128-GCM-SHA256\n99\ntrue\nMonitoring & Analytics";
    assert_eq!(request.head(&identity()).metadata, edgeweir::exchange::RequestMetadata::parse(read));
    for (name, bad) in [
        ("tls_version", json!("TLSv1.4")),
        ("tls_version", json!(1.3)),
        ("tls_cipher", json!("")),
        ("tls_cipher", json!("x".repeat(64))),
        ("bot_score", json!(0)),
        ("bot_score", json!(100)),
        ("bot_score", json!(-1)),
        ("bot_score", json!("50")),
        ("verified_bot", json!("true")),
        ("verified_bot_category", json!("a\nb")),
    ] {
        let mut text = json!({"url": "http://a.test/"});
        text[name] = bad.clone();
        assert_eq!(paths(&text.to_string()), [name], "{bad}");
    }
}
