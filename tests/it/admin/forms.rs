//! Content types, bodies and queries.

use edgeweir::admin::body::percent_decoded;
use edgeweir::admin::explain::REPLAY_LIMIT;
use edgeweir::platform::BodyError;
use edgeweir::policy::DOCUMENT_LIMIT;
use proptest::prelude::any;
use serde_json::json;

use super::{Admin, refusal, refused, samples};
use crate::control;
use crate::fake::{With, check};

fn with_body() -> impl Iterator<Item = super::Sample> {
    // Lists are of any type: see `import`.
    samples().into_iter().filter(|sample| !sample.body.is_empty() && !sample.target.ends_with("/drop"))
}

#[test]
fn a_body_is_json_in_utf_8() {
    let good = [
        "application/json",
        "Application/JSON",
        "application/json;charset=utf-8",
        "application/json ; charset=\"UTF-8\"",
        "application/json; profile=x",
        "application/json;",
    ];
    let bad = [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/problem+json",
        "application/jsonx",
        "application/json, application/json",
        "application/json; charset=latin1",
        "application/json; charset=utf-16",
        "json",
        "",
    ];
    for sample in with_body() {
        for (kinds, is_good) in [(&good[..], true), (&bad[..], false)] {
            for kind in kinds {
                let admin = Admin::new();
                let head = sample.head("owner").with("Content-Type", kind);
                let (response, _) = admin.send_bytes(&head, Ok(sample.body.as_bytes()));
                if is_good {
                    assert!(response.status < 300, "{kind}: {}", response.body);
                } else {
                    assert_eq!(refused(&response), (415, "unsupported-media-type".to_owned()), "{kind}");
                }
            }
        }
        let (response, _) = Admin::new().send_bytes(&sample.head("owner"), Ok(sample.body.as_bytes()));
        assert_eq!(refusal(&response), "unsupported-media-type", "{}", sample.target);
    }
}

#[test]
fn a_body_comes_without_an_encoding() {
    for sample in with_body() {
        for (coding, is_good) in
            [("identity", true), ("Identity", true), ("gzip", false), ("br, gzip", false)]
        {
            let head = sample.head("owner").with("Content-Encoding", coding);
            let (response, _) = Admin::new().send(head, &sample.body);
            assert_eq!(response.status < 300, is_good, "{coding}: {}", response.body);
            if !is_good {
                assert_eq!(refused(&response), (415, "unsupported-media-type".to_owned()));
            }
        }
    }
}

#[test]
fn a_body_that_does_not_arrive_is_told_why() {
    for sample in with_body() {
        for (error, status, label) in [
            (BodyError::TooLarge, 413, "too-large"),
            (BodyError::TimedOut, 408, "slow-body"),
            (BodyError::Broken, 400, "invalid-body"),
        ] {
            let head = sample.head("owner").with("Content-Type", "application/json");
            let (response, record) = Admin::new().send_bytes(&head, Err(error));
            assert_eq!(refused(&response), (status, label.to_owned()), "{}", sample.target);
            assert!(response.json()["detail"].is_string());
            assert_eq!(record.reason, Some(label));
        }
        let head = sample.head("owner").with("Content-Type", "application/json");
        let (response, _) = Admin::new().send_bytes(&head, Ok(b"{\"a\":\"\xff\"}"));
        assert_eq!(refused(&response), (400, "invalid-body".to_owned()), "{}", sample.target);
        let (response, _) = Admin::new().send_bytes(&head, Ok(b"{\"a\":\"\xed\xa0\x80\"}"));
        assert_eq!(refused(&response), (400, "invalid-body".to_owned()), "{}", sample.target);
    }
}

#[test]
fn every_body_has_a_limit() {
    let limits = [
        ("/policy", DOCUMENT_LIMIT),
        ("/policy/validate", DOCUMENT_LIMIT),
        ("/policy/diff", DOCUMENT_LIMIT),
        ("/policy/rollback", 16 << 10),
        ("/address-sets/rollback", 16 << 10),
        ("/bans", 1 << 20),
        ("/purge", 2 << 20),
        ("/cache/warm", 512 << 10),
        ("/limits/look", 512 << 10),
        ("/limits/reset", 512 << 10),
        ("/explain", DOCUMENT_LIMIT + (512 << 10)),
        ("/replay", REPLAY_LIMIT),
    ];
    for sample in with_body() {
        let (_, limit) = limits.iter().find(|(target, _)| *target == sample.target).unwrap();
        let admin = Admin::new();
        let padded = format!("{}{}", sample.body, " ".repeat(limit - sample.body.len()));
        let (response, _) = admin.send(sample.head("owner"), &padded);
        assert!(response.status < 300, "{}: {}", sample.target, response.body);
        assert_eq!(admin.gate.platform.body_limit.get(), *limit);
        let admin = Admin::new();
        let (response, _) = admin.send(sample.head("owner"), &format!("{padded} "));
        assert_eq!(refused(&response), (413, "too-large".to_owned()), "{}", sample.target);
        assert!(response.json()["detail"].as_str().unwrap().contains(&limit.to_string()));
    }
}

/// Nobody's body is read before it is known that he may.
#[test]
fn no_body_is_read_of_whom_may_not() {
    for sample in with_body() {
        let admin = Admin::new();
        admin.send(sample.head("nobody"), &sample.body);
        if sample.role == "operator" {
            admin.send(sample.head("reader"), &sample.body);
        }
        assert_eq!(admin.gate.platform.body_limit.get(), 0, "{}", sample.target);
    }
}

#[test]
fn a_parameter_is_known_and_stands_there_once() {
    for sample in samples() {
        let mark = if sample.target.contains('?') { '&' } else { '?' };
        for query in ["x", "x=", "x=1", "Revision=r1", "%72evision=r1", "revision%3Dr1", "=", "=x", "a=1&a=1"]
        {
            let head = Admin::head("owner", sample.method, &format!("{}{mark}{query}", sample.target));
            let head = sample.fields.iter().fold(head, |head, (name, value)| head.with(name, value));
            let (response, _) = Admin::new().send(head, &sample.body);
            if query.starts_with('=') {
                // An empty name is nothing.
                assert!(response.status < 300, "{query}: {}", response.body);
                continue;
            }
            assert_eq!(refused(&response), (400, "bad-request".to_owned()), "{} {query}", sample.target);
        }
    }
    let twice = Admin::new().get("reader", "/policy?revision=r1&revision=r2");
    assert_eq!(refused(&twice), (400, "bad-request".to_owned()));
    for target in ["/policy?", "/policy?&&", "/health?"] {
        assert_eq!(Admin::new().get("reader", target).status, 200, "{target}");
    }
}

#[test]
fn a_number_is_digits() {
    for value in ["", "-1", "+1", "1.0", "1e1", "0x1", "1 ", "%201", "18446744073709551616", "x", "%31%00"] {
        for target in ["/audit?limit=", "/audit?before=", "/policy/history?limit="] {
            let response = Admin::new().get("reader", &format!("{target}{value}").replace(' ', "+"));
            assert_eq!(refused(&response), (400, "bad-request".to_owned()), "{target}{value}");
        }
    }
    assert_eq!(Admin::new().get("reader", "/audit?limit=%31").json()["entries"].as_array().unwrap().len(), 1);
}

#[test]
fn escapes_are_read_as_browsers_read_them() {
    for (text, decoded) in [
        ("", Some("")),
        ("a", Some("a")),
        ("+", Some(" ")),
        ("%2B", Some("+")),
        ("%2b%25", Some("+%")),
        ("%", Some("%")),
        ("%2", Some("%2")),
        ("%zz", Some("%zz")),
        ("%%32", Some("%2")),
        ("%c3%a9", Some("é")),
        ("%00", Some("\0")),
        ("%ff", None),
        ("%c3", None),
    ] {
        assert_eq!(percent_decoded(text).as_deref(), decoded, "{text}");
    }
}

#[test]
fn what_is_escaped_comes_back() {
    let decoded = |text: &str| percent_decoded(text).map(std::borrow::Cow::into_owned);
    check(512, any::<String>(), |text| {
        let escaped: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
        proptest::prop_assert_eq!(decoded(&escaped), Some(text.clone()));
        let form: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
        proptest::prop_assert_eq!(decoded(&form), Some(text.clone()));
        // And whatever stands there is read as the URL Standard reads it.
        let theirs = url::form_urlencoded::parse(format!("k={}", text.replace('&', "")).as_bytes())
            .next()
            .map(|(_, value)| value.into_owned());
        let ours = decoded(&text.replace('&', ""));
        proptest::prop_assert!(ours.is_none() || ours == theirs);
        Ok(())
    });
}

#[test]
fn a_rollback_is_read_strictly() {
    for (body, paths) in [
        ("", &[""][..]),
        ("null", &[""]),
        ("[\"r1\",\"x\"]", &[""]),
        ("{}", &[""]),
        ("{\"to\":1}", &["to"]),
        ("{\"to\":null}", &["to"]),
        ("{\"to\":\"r1\",\"from\":\"r2\"}", &["from"]),
        ("{\"to\":\"r1\",\"to\":\"r2\"}", &["to"]),
        ("{\"to\":\"r1\"}}", &[""]),
        ("{\"to\":1,\"message\":2,\"x\":3}", &["to", "message", "x"]),
    ] {
        let admin = Admin::new();
        let head = Admin::head("operator", "POST", "/policy/rollback")
            .with("If-Match", "\"r3\"")
            .with("Content-Type", "application/json");
        let (response, _) = admin.send_bytes(&head, Ok(body.as_bytes()));
        assert_eq!(refused(&response), (400, "invalid-body".to_owned()), "{body}");
        let problem = response.json();
        let mut found: Vec<&str> =
            problem["problems"].as_array().unwrap().iter().map(|at| at["path"].as_str().unwrap()).collect();
        let mut paths = paths.to_vec();
        found.sort_unstable();
        paths.sort_unstable();
        assert_eq!(found, paths, "{body}");
        assert_eq!(admin.active(), "r3");
    }
    for to in ["one", "", "r", "r01", "r-1", "R1"] {
        let admin = Admin::new();
        let head = Admin::head("operator", "POST", "/policy/rollback").with("If-Match", "\"r3\"");
        let response = admin.send(head, &json!({"to": to}).to_string()).0;
        assert_eq!(refused(&response), (400, "invalid-body".to_owned()), "{to}");
    }
    assert_eq!(control::document("one"), Admin::new().get("reader", "/policy?revision=r1").body);
}
