//! The access record: each property, and which records are written.

use edgeweir::observe::record::{LogLevel, Record, SCHEMA, StageRecord, Verdict};
use edgeweir::time::Timestamp;
use serde_json::{Value, json};

use crate::fake::START;

fn record(verdict: Verdict) -> Record {
    Record { verdict, ..Record::new(Timestamp::from_millis(START), "GET") }
}

#[test]
fn absent_properties_are_left_out() {
    let line: Value = serde_json::from_str(&record(Verdict::Answered).line()).unwrap();
    let expected = json!({
        "schema": SCHEMA, "time": "2026-01-01T00:00:00.000Z", "method": "GET", "verdict": "answered", "status": 0,
        "duration_ms": 0,
    });
    assert_eq!(line, expected);
}

#[test]
fn every_property_has_its_name() {
    let some = |text: &str| Some(text.to_owned());
    let stage = StageRecord {
        stage: "ip_filter",
        verdict: "deny",
        rule: some("office"),
        prefix: some("192.0.2.0/24"),
        shadow: true,
        error: some("counter: x"),
    };
    let whole = Record {
        request_id: some("id"),
        trace_id: some("trace"),
        client: some("192.0.2.1"),
        host: some("a.example"),
        path: some("/p"),
        route: some("r"),
        reason: Some("loop"),
        status: 508,
        stages: vec![stage],
        cache: Some("hit"),
        variant: some("next"),
        upstream: some("app"),
        upstream_status: Some(200),
        duration_ms: 5,
        upstream_ms: Some(4),
        revision: some("r7"),
        error: some("origin: y"),
        ..record(Verdict::Failed)
    };
    let line: Value = serde_json::from_str(&whole.line()).unwrap();
    let expected = json!({
        "schema": 1, "time": "2026-01-01T00:00:00.000Z", "request_id": "id", "trace_id": "trace",
        "client": "192.0.2.1", "method": "GET", "host": "a.example", "path": "/p", "route": "r", "verdict": "failed",
        "reason": "loop", "status": 508,
        "stages": [{"stage": "ip_filter", "verdict": "deny", "rule": "office", "prefix": "192.0.2.0/24", "shadow": true, "error": "counter: x"}],
        "cache": "hit", "variant": "next", "upstream": "app", "upstream_status": 200, "duration_ms": 5,
        "upstream_ms": 4, "revision": "r7", "error": "origin: y",
    });
    assert_eq!(line, expected);
}

#[test]
fn a_line_is_one_line_whatever_a_client_wrote() {
    let mut record = record(Verdict::Forwarded);
    record.set_path("/a\n{\"schema\":1}\r\u{2028}\"\\\0");
    let line = record.line();
    assert!(!line.contains(['\n', '\r', '\0']));
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["path"], "/a\n{\"schema\":1}\r\u{2028}\"\\\0");
}

#[test]
fn what_a_client_chose_is_clipped() {
    let mut record = Record::new(Timestamp::default(), &"M".repeat(100));
    record.set_path(&"é".repeat(1_000));
    assert_eq!(record.method, "M".repeat(64));
    assert_eq!(record.path, Some("é".repeat(512)));
    assert!(record.line().len() < 2_000);
}

#[test]
fn the_log_level_admits_records() {
    for (text, level) in [
        ("info", LogLevel::Info),
        ("WARN", LogLevel::Warn),
        ("error", LogLevel::Error),
        ("", LogLevel::Info),
        ("x", LogLevel::Info),
    ] {
        assert_eq!(LogLevel::parse(text), level);
    }
    let failed_inside = Record {
        stages: vec![StageRecord {
            stage: "cache",
            verdict: "bypass",
            rule: None,
            prefix: None,
            shadow: false,
            error: Some("x".to_owned()),
        }],
        ..record(Verdict::Forwarded)
    };
    let with_error = Record { error: Some("x".to_owned()), ..record(Verdict::Forwarded) };
    for (record, warn, error) in [
        (record(Verdict::Forwarded), false, false),
        (record(Verdict::Cached), false, false),
        (record(Verdict::Answered), false, false),
        (record(Verdict::Refused), true, false),
        (record(Verdict::Failed), true, true),
        (failed_inside, true, true),
        (with_error, true, true),
    ] {
        let admitted = [LogLevel::Info, LogLevel::Warn, LogLevel::Error].map(|level| level.admits(&record));
        assert_eq!(admitted, [true, warn, error], "{record:?}");
    }
}
