//! Whatever comes, there is an answer of a known form.

use edgeweir::platform::BodyError;
use http::Method;
use proptest::collection::vec;
use proptest::prelude::{Just, any, prop_oneof};
use proptest::sample::select;
use proptest::strategy::Strategy;
use serde_json::Value;

use super::{Admin, samples};
use crate::fake::{Fault, With, check};

/// What clients choose.
#[derive(Clone, Debug)]
struct Attack {
    method: String,
    target: String,
    name: &'static str,
    fields: Vec<(&'static str, String)>,
    body: Result<Vec<u8>, BodyError>,
    fault: Option<u32>,
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~]{0,30}",
        select(vec!["\"r3\"", "\"r2\"", "W/\"r3\"", "*", "application/json", "text/plain", "r3", "gzip"])
            .prop_map(str::to_owned),
    ]
}

fn query() -> impl Strategy<Value = String> {
    let names = select(vec!["message", "revision", "base", "from", "to", "limit", "before", "x", "%6d", ""]);
    let values = prop_oneof!["[!$%+*-~]{0,12}", "r[0-9]{1,3}", "[0-9]{1,21}", "(%[0-9a-f]{2}){0,5}"];
    vec((names, values), 0..4).prop_map(|pairs| {
        pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
    })
}

fn attacks() -> impl Strategy<Value = Attack> {
    let known = samples();
    let bodies: Vec<String> = known.iter().map(|sample| sample.body.clone()).collect();
    let paths: Vec<String> =
        known.iter().map(|sample| sample.target.split('?').next().unwrap().to_owned()).collect();
    let method = prop_oneof![
        4 => select(vec!["GET", "PUT", "POST", "HEAD"]).prop_map(str::to_owned),
        1 => "[A-Z]{1,8}",
    ];
    let path = prop_oneof![8 => select(paths), 1 => "/[a-z./%-]{0,20}"];
    let names = select(vec!["", "nobody", "late", "reader", "operator", "owner", "owner", "operator"]);
    let fields = select(vec!["If-Match", "If-None-Match", "Content-Encoding", "Accept", "Content-Type"]);
    // What is nearly right goes further than what is not.
    let nearly =
        (select(bodies), any::<proptest::sample::Index>(), any::<u8>()).prop_map(|(body, at, byte)| {
            let mut body = body.into_bytes();
            if !body.is_empty() {
                let at = at.index(body.len());
                body[at] = byte;
            }
            body
        });
    let body = prop_oneof![
        3 => nearly.prop_map(Ok),
        1 => vec(any::<u8>(), 0..200).prop_map(Ok),
        1 => select(vec![BodyError::TooLarge, BodyError::TimedOut, BodyError::Broken]).prop_map(Err),
    ];
    let fault = prop_oneof![4 => Just(None), 1 => (0_u32..3).prop_map(Some)];
    (method, path, query(), names, vec((fields, text()), 0..4), body, fault).prop_map(
        |(method, path, query, name, fields, body, fault)| Attack {
            method,
            target: format!("{path}?{query}"),
            name,
            fields,
            body,
            fault,
        },
    )
}

#[test]
fn every_request_has_an_answer_of_a_known_form() {
    const STATUSES: [u16; 16] =
        [200, 201, 304, 400, 401, 403, 404, 405, 408, 409, 412, 413, 415, 422, 428, 503];
    let disk = Admin::new().gate.platform.control.disk.take();
    check(600, attacks(), |attack| {
        let admin = Admin::empty();
        *admin.gate.platform.control.disk.borrow_mut() = disk.clone();
        admin.gate.platform.control_fault.set(attack.fault.map(|_| Fault::Fails));
        admin.gate.platform.control_calls.set(attack.fault.unwrap_or_default());
        let mut head = Admin::head(attack.name, "GET", &attack.target);
        head.method = Method::from_bytes(attack.method.as_bytes()).unwrap();
        let has_type = attack.fields.iter().any(|(name, _)| *name == "Content-Type");
        let head = attack.fields.iter().fold(head, |head, (name, value)| head.with(name, value));
        let head = if has_type { head } else { head.with("Content-Type", "application/json") };
        let (response, record) = admin.send_bytes(&head, attack.body.as_deref().map_err(|error| *error));
        proptest::prop_assert!(STATUSES.contains(&response.status), "{} {:?}", response.status, attack);
        proptest::prop_assert_eq!(record.status, response.status);
        let kind = response.field("content-type").unwrap();
        match kind.as_str() {
            "application/json" if response.status == 304 => proptest::prop_assert_eq!(&response.body, ""),
            "application/json" => {
                proptest::prop_assert!(serde_json::from_str::<Value>(&response.body).is_ok());
                proptest::prop_assert!(response.status < 400);
            }
            "application/problem+json" => {
                let problem = response.json();
                proptest::prop_assert_eq!(&problem["status"], response.status);
                let label = problem["type"].as_str().unwrap().rsplit(':').next().unwrap().to_owned();
                proptest::prop_assert_eq!(record.reason, Some(label.as_str()));
            }
            "text/plain; charset=utf-8" => proptest::prop_assert_eq!(response.status, 200),
            other => return Err(proptest::test_runner::TestCaseError::fail(other.to_owned())),
        }
        // Nobody but an operator changes anything.
        if !["operator", "owner"].contains(&attack.name) && attack.fault.is_none() {
            proptest::prop_assert_eq!(admin.active(), "r3");
        }
        Ok(())
    });
}
