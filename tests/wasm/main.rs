//! The adapter's conversions, on real `Request` and `Response` objects. Where
//! a conversion needs workerd itself, a spec in `tests/e2e` has it.

#![cfg(target_arch = "wasm32")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::rc::Rc;
use std::time::Duration;

use edgeweir::cloudflare::head::{EdgeHead, Wanted};
use edgeweir::cloudflare::{binding, glue};
use edgeweir::error::Dependency;
use edgeweir::exchange::{Edit, Head};
use edgeweir::platform::edits_text;
use http::Method;
use http::header::{ACCEPT, COOKIE, HOST, HeaderName, SET_COOKIE};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};
use web_sys::{Headers, Request, RequestInit, Response};

wasm_bindgen_test_configure!(run_in_node_experimental);

fn request(method: &str, url: &str, fields: &[(&str, &str)]) -> Request {
    let headers = Headers::new().unwrap();
    for (name, value) in fields {
        headers.append(name, value).unwrap();
    }
    let init = RequestInit::new();
    init.set_method(method);
    init.set_headers(&headers);
    Request::new_with_str_and_init(url, &init).unwrap()
}

fn head(request: Request, wanted: &[HeaderName]) -> EdgeHead {
    EdgeHead::read(request, Rc::new(Wanted::new(wanted.to_vec())))
}

#[wasm_bindgen_test]
fn a_head_gives_method_url_and_wanted_fields() {
    let native = request("DELETE", "http://a.test/x?y=1", &[("accept", "text/html"), ("x-other", "1")]);
    let head = head(native, &[ACCEPT, HeaderName::from_static("x-absent")]);
    assert_eq!(head.method(), Method::DELETE);
    assert_eq!(head.url(), "http://a.test/x?y=1");
    assert_eq!(head.field(&ACCEPT).as_deref(), Some("text/html"));
    assert_eq!(head.field(&HeaderName::from_static("x-absent")), None);
}

#[wasm_bindgen_test]
fn a_field_that_was_not_wanted_is_read_on_demand() {
    let head = head(request("GET", "http://a.test/", &[("x-late", "here")]), &[ACCEPT]);
    assert_eq!(head.field(&HeaderName::from_static("x-late")).as_deref(), Some("here"));
    assert_eq!(head.field(&HeaderName::from_static("x-never")), None);
}

#[wasm_bindgen_test]
fn an_empty_field_is_not_an_absent_one() {
    let head =
        head(request("GET", "http://a.test/", &[("x-empty", "")]), &[HeaderName::from_static("x-empty")]);
    assert_eq!(head.field(&HeaderName::from_static("x-empty")).as_deref(), Some(""));
}

#[wasm_bindgen_test]
fn a_value_that_begins_with_an_equals_sign_stays_whole() {
    let name = HeaderName::from_static("x-equals");
    let head = head(request("GET", "http://a.test/", &[("x-equals", "=a=b")]), std::slice::from_ref(&name));
    assert_eq!(head.field(&name).as_deref(), Some("=a=b"));
}

#[wasm_bindgen_test]
fn repeated_lines_are_joined() {
    let native = request("GET", "http://a.test/", &[("accept", "a"), ("accept", "b")]);
    assert_eq!(head(native, &[ACCEPT]).field(&ACCEPT).as_deref(), Some("a, b"));
}

#[wasm_bindgen_test]
fn a_field_value_beyond_ascii_survives_the_crossing() {
    let name = HeaderName::from_static("x-latin");
    let head =
        head(request("GET", "http://a.test/", &[("x-latin", "caf\u{e9}")]), std::slice::from_ref(&name));
    assert_eq!(head.field(&name).as_deref(), Some("caf\u{e9}"));
}

#[wasm_bindgen_test]
fn no_wanted_fields_at_all_is_fine() {
    let head = head(request("GET", "http://a.test/", &[("host", "a.test")]), &[]);
    assert_eq!(head.method(), Method::GET);
    assert_eq!(head.field(&COOKIE), None);
    let _ = head.field(&HOST);
}

#[wasm_bindgen_test]
fn an_answer_carries_status_fields_and_utf8_body() {
    let edits = edits_text(&[
        Edit::Append(HeaderName::from_static("content-type"), "application/json".to_owned()),
        Edit::Append(HeaderName::from_static("x-a"), "1: 2".to_owned()),
    ]);
    let response = glue::answer(429, &edits, "잠시 후").unwrap();
    assert_eq!(response.status(), 429);
    assert_eq!(response.headers().get("content-type").unwrap().as_deref(), Some("application/json"));
    assert_eq!(response.headers().get("x-a").unwrap().as_deref(), Some("1: 2"));
    assert!(response.body().is_some());
}

#[wasm_bindgen_test]
fn an_empty_answer_has_no_body() {
    assert!(glue::answer(403, "", "").unwrap().body().is_none());
}

#[wasm_bindgen_test]
fn edits_set_append_and_remove_on_a_response() {
    let native = Response::new_with_opt_str(Some("body")).unwrap();
    native.headers().set("x-set", "old").unwrap();
    native.headers().set("x-gone", "old").unwrap();
    let edits = [
        Edit::Set(HeaderName::from_static("x-set"), "new".to_owned()),
        Edit::Remove(HeaderName::from_static("x-gone")),
        Edit::Append(SET_COOKIE, "a=1".to_owned()),
        Edit::Append(SET_COOKIE, "b=2".to_owned()),
    ];
    let response = glue::finish(&native, &edits_text(&edits)).unwrap();
    assert_eq!(response.headers().get("x-set").unwrap().as_deref(), Some("new"));
    assert_eq!(response.headers().get("x-gone").unwrap(), None);
    let lines = glue::read_fields(&response);
    assert!(lines.contains("set-cookie:a=1\n") && lines.contains("set-cookie:b=2\n"), "{lines}");
}

#[wasm_bindgen_test]
fn a_line_break_in_an_edit_makes_no_second_edit() {
    let edits = [
        Edit::Set(HeaderName::from_static("x-a"), "1\n=x-b:2".to_owned()),
        Edit::Set(HeaderName::from_static("x-c"), "3".to_owned()),
    ];
    let response = glue::answer(200, &edits_text(&edits), "").unwrap();
    assert_eq!(response.headers().get("x-b").unwrap(), None);
    assert_eq!(response.headers().get("x-c").unwrap().as_deref(), Some("3"));
}

#[wasm_bindgen_test]
fn a_revived_response_has_the_stored_body_under_our_head() {
    let stored = Response::new_with_opt_str(Some("kept")).unwrap();
    let edits = edits_text(&[Edit::Append(HeaderName::from_static("age"), "7".to_owned())]);
    let response = glue::revive(&stored, 203, &edits, true).unwrap();
    assert_eq!(response.status(), 203);
    assert_eq!(response.headers().get("age").unwrap().as_deref(), Some("7"));
    assert!(response.body().is_some());
    let stored = Response::new_with_opt_str(Some("kept")).unwrap();
    assert!(glue::revive(&stored, 304, &edits, true).unwrap().body().is_none());
}

#[wasm_bindgen_test]
fn errors_of_the_runtime_become_ours() {
    let error = binding::failure(Dependency::Origin, &js_sys::Error::new("connection lost").into());
    assert_eq!(error.to_string(), "origin: connection lost");
    assert!(!error.timed_out);
    let odd = binding::failure(Dependency::Counter, &JsValue::from_f64(1.0));
    assert_eq!(odd.to_string(), "counter: an error without a message");
    let text = binding::failure(Dependency::Counter, &JsValue::from_str("overloaded"));
    assert_eq!(text.to_string(), "counter: overloaded");
}

#[wasm_bindgen_test]
async fn a_counter_that_never_answers_times_out() {
    let never = js_sys::Function::new_no_args(
        "return { idFromName: (name) => name, get: () => ({ fetch: () => new Promise(() => {}) }) }",
    );
    let namespace = never.call0(&JsValue::NULL).unwrap();
    let promise = glue::take_from(&namespace, "v1-0", "weir-message", "{}", 20);
    let error = JsFuture::from(promise).await.unwrap_err();
    assert!(binding::failure(Dependency::Counter, &error).timed_out);
}

#[wasm_bindgen_test]
async fn a_key_of_the_store_comes_with_its_metadata() {
    let make = js_sys::Function::new_no_args(
        "return { getWithMetadata: async (key) => key === 'active' \
           ? { value: 'text', metadata: { sequence: 7 } } : { value: null, metadata: null } }",
    );
    let namespace = make.call0(&JsValue::NULL).unwrap();
    let found = JsFuture::from(glue::read_key(&namespace, "active", 30, 1_000)).await.unwrap();
    let pair: js_sys::Array = found.dyn_into().unwrap();
    assert_eq!(pair.get(0).as_string().as_deref(), Some("text"));
    assert_eq!(pair.get(1).as_string().as_deref(), Some("{\"sequence\":7}"));
    assert!(JsFuture::from(glue::read_key(&namespace, "other", 30, 1_000)).await.unwrap().is_undefined());
}

#[wasm_bindgen_test]
fn timers_hold_any_duration() {
    assert_eq!(binding::timer(Duration::from_millis(250)), 250);
    assert_eq!(binding::timer(Duration::MAX), u32::MAX);
}

#[wasm_bindgen_test]
fn seeds_are_128_bits_and_differ() {
    let (one, other) = (glue::random_seed().unwrap(), glue::random_seed().unwrap());
    assert_eq!(one.len(), 32);
    assert_ne!(one, other);
}
