//! What the client sees of our own answers.

use edgeweir::error::{Dependency, PlatformError, Reason, Reject};
use edgeweir::exchange::{Answer, Edit};
use edgeweir::stages::respond::{apply, hop_by_hop, json, problem};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, RETRY_AFTER, VARY};
use serde_json::{Value, json as value};

fn field<'a>(answer: &'a Answer, name: &HeaderName) -> Option<&'a str> {
    answer.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
}

/// Every reason: label, status, whether a dependency failed.
const REASONS: [(Reason, &str, u16, bool); 13] = [
    (Reason::InvalidTarget, "invalid-target", 400, false),
    (Reason::InvalidHost, "invalid-host", 400, false),
    (Reason::ClientAddress, "client-address", 400, false),
    (Reason::Loop, "loop", 508, false),
    (Reason::AddressDenied, "address-denied", 403, false),
    (Reason::RateLimited, "rate-limited", 429, false),
    (Reason::CounterUnavailable, "counter-unavailable", 503, true),
    (Reason::NoRoute, "no-route", 404, false),
    (Reason::NoSuchEndpoint, "no-such-endpoint", 404, false),
    (Reason::NoPolicy, "no-policy", 503, true),
    (Reason::NotCached, "not-cached", 504, false),
    (Reason::UpstreamUnreachable, "upstream-unreachable", 502, true),
    (Reason::UpstreamTimeout, "upstream-timeout", 504, true),
];

#[test]
fn every_reason_is_a_problem_of_its_own() {
    for (reason, label, status, is_failure) in REASONS {
        assert_eq!((reason.as_str(), reason.status(), reason.is_failure()), (label, status, is_failure));
        let answer = problem(&Reject::new(reason), Some("id-1"));
        assert_eq!(answer.status, status);
        assert_eq!(field(&answer, &CONTENT_TYPE), Some("application/problem+json"));
        assert_eq!(field(&answer, &CACHE_CONTROL), Some("no-store"));
        assert_eq!(field(&answer, &RETRY_AFTER), None);
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        let expected = value!({
            "type": format!("urn:edgeweir:problem:{label}"),
            "title": reason.title(), "status": status, "request_id": "id-1",
        });
        assert_eq!(body, expected);
        assert!(!reason.title().is_empty());
    }
}

#[test]
fn the_cause_of_a_failure_is_for_the_log_alone() {
    let error = PlatformError::failed(Dependency::Origin, "10.1.2.3 said no");
    let reject = Reject::new(Reason::UpstreamUnreachable).cause(&error);
    assert_eq!(reject.cause.as_deref(), Some("origin: 10.1.2.3 said no"));
    let answer = problem(&reject, None);
    assert!(!answer.body.contains("10.1.2.3") && !answer.body.contains("request_id"));
    assert!(answer.fields.iter().all(|(_, value)| !value.contains("10.1.2.3")));
}

#[test]
fn detail_and_retry_after_are_passed_on() {
    let text = "잠시 후 다시 시도해 주세요. \"<script>\" \\ \u{1}";
    let answer = problem(&Reject::new(Reason::RateLimited).detail(text).retry_after(7), None);
    assert_eq!(serde_json::from_str::<Value>(&answer.body).unwrap()["detail"], text);
    assert!(answer.body.contains("잠시 후 다시 시도해 주세요."));
    assert_eq!(field(&answer, &RETRY_AFTER), Some("7"));
}

#[test]
fn causes_are_clipped_at_a_character() {
    let error = PlatformError::timed_out(Dependency::Counter, "가".repeat(200));
    assert!(error.timed_out && error.cause.len() <= 300);
    assert_eq!(error.cause, "가".repeat(100));
    for (dependency, name) in [
        (Dependency::PolicyStore, "policy-store"),
        (Dependency::Counter, "counter"),
        (Dependency::ResponseStore, "response-store"),
        (Dependency::Origin, "origin"),
    ] {
        assert_eq!(PlatformError::failed(dependency, "x").to_string(), format!("{name}: x"));
    }
}

#[test]
fn edits_apply_in_order() {
    let mut answer = json(200, &value!({}));
    apply(
        &mut answer,
        vec![
            Edit::Append(VARY, "a".to_owned()),
            Edit::Append(VARY, "b".to_owned()),
            Edit::Set(CACHE_CONTROL, "x".to_owned()),
            Edit::Remove(CONTENT_TYPE),
        ],
    );
    let vary: Vec<_> =
        answer.fields.iter().filter(|(name, _)| *name == VARY).map(|(_, value)| value.as_str()).collect();
    assert_eq!(vary, ["a", "b"]);
    assert_eq!(field(&answer, &CACHE_CONTROL), Some("x"));
    assert_eq!(field(&answer, &CONTENT_TYPE), None);
}

#[test]
fn hop_by_hop_fields_of_an_answer_end_here() {
    let id = HeaderName::from_static("x-request-id");
    let mut edits = Vec::new();
    hop_by_hop(Some("close, X-Private, X-Request-Id, Cache-Control"), &id, &mut edits);
    let removed = |name: &str| edits.contains(&Edit::Remove(name.parse().unwrap()));
    for gone in ["connection", "keep-alive", "te", "trailer", "transfer-encoding", "x-private"] {
        assert!(removed(gone), "{gone}");
    }
    // Fields that every recipient is meant to read stay.
    assert!(!removed("x-request-id") && !removed("cache-control"));
}
