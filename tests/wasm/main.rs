//! The adapter's conversions, on real `Request` and `Response` objects. Where
//! a conversion needs workerd itself, a spec in `tests/e2e` has it.

#![cfg(target_arch = "wasm32")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::rc::Rc;
use std::time::Duration;

use edgeweir::cloudflare::head::{EdgeHead, Wanted};
use edgeweir::cloudflare::task::Outcome;
use edgeweir::cloudflare::{binding, glue, task};
use edgeweir::error::Dependency;
use edgeweir::exchange::{Edit, Head, NameSet, RequestMetadata};
use edgeweir::platform::edits_text;
use http::Method;
use http::header::{ACCEPT, COOKIE, HOST, HeaderName, SET_COOKIE};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};
use web_sys::{Headers, Request, RequestInit, Response};

wasm_bindgen_test_configure!(run_in_node_experimental);

#[wasm_bindgen(module = "/src/cloudflare/edge/exchange.js")]
extern "C" {
    /// Makes a new exchange the current one.
    fn open(module: &JsValue, request: &JsValue, env: &JsValue, context: &JsValue) -> u32;

    /// Answers as the entry does.
    fn serve(module: &JsValue, request: &JsValue, env: &JsValue, context: &JsValue) -> JsValue;

    /// Native objects of the current exchange.
    #[wasm_bindgen(js_name = hold)]
    fn hold(response: &Response) -> u32;

    /// The answer of the current exchange.
    #[wasm_bindgen(js_name = answered)]
    fn answered() -> Response;
}

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

fn exchange(request: &Request) {
    open(&JsValue::NULL, request, &js_sys::Object::new(), &JsValue::NULL);
}

fn head(request: &Request, wanted: &[HeaderName]) -> EdgeHead {
    exchange(request);
    EdgeHead::read(Rc::new(Wanted::new(wanted.to_vec())))
}

#[wasm_bindgen_test]
fn a_head_gives_method_url_and_wanted_fields() {
    let native = request("DELETE", "http://a.test/x?y=1", &[("accept", "text/html"), ("x-other", "1")]);
    let head = head(&native, &[ACCEPT, HeaderName::from_static("x-absent")]);
    assert_eq!(head.method(), Method::DELETE);
    assert_eq!(head.url(), "http://a.test/x?y=1");
    assert_eq!(head.field(&ACCEPT).as_deref(), Some("text/html"));
    assert_eq!(head.field(&HeaderName::from_static("x-absent")), None);
}

#[wasm_bindgen_test]
fn a_field_that_was_not_wanted_is_read_on_demand() {
    let head = head(&request("GET", "http://a.test/", &[("x-late", "here")]), &[ACCEPT]);
    assert_eq!(head.field(&HeaderName::from_static("x-late")).as_deref(), Some("here"));
    assert_eq!(head.field(&HeaderName::from_static("x-never")), None);
}

#[wasm_bindgen_test]
fn an_empty_field_is_not_an_absent_one() {
    let head =
        head(&request("GET", "http://a.test/", &[("x-empty", "")]), &[HeaderName::from_static("x-empty")]);
    assert_eq!(head.field(&HeaderName::from_static("x-empty")).as_deref(), Some(""));
}

#[wasm_bindgen_test]
fn a_value_that_begins_with_an_equals_sign_stays_whole() {
    let name = HeaderName::from_static("x-equals");
    let head = head(&request("GET", "http://a.test/", &[("x-equals", "=a=b")]), std::slice::from_ref(&name));
    assert_eq!(head.field(&name).as_deref(), Some("=a=b"));
}

#[wasm_bindgen_test]
fn repeated_lines_are_joined() {
    let native = request("GET", "http://a.test/", &[("accept", "a"), ("accept", "b")]);
    assert_eq!(head(&native, &[ACCEPT]).field(&ACCEPT).as_deref(), Some("a, b"));
}

#[wasm_bindgen_test]
fn a_field_value_beyond_ascii_survives_the_crossing() {
    let name = HeaderName::from_static("x-latin");
    let head =
        head(&request("GET", "http://a.test/", &[("x-latin", "caf\u{e9}")]), std::slice::from_ref(&name));
    assert_eq!(head.field(&name).as_deref(), Some("caf\u{e9}"));
}

#[wasm_bindgen_test]
fn no_wanted_fields_at_all_is_fine() {
    let head = head(&request("GET", "http://a.test/", &[("host", "a.test")]), &[]);
    assert_eq!(head.method(), Method::GET);
    assert_eq!(head.field(&COOKIE), None);
    let _ = head.field(&HOST);
}

fn answer(status: u16, edits: &str, body: &str) -> Response {
    exchange(&request("GET", "http://a.test/", &[]));
    glue::answer(status, edits, body).unwrap();
    answered()
}

#[wasm_bindgen_test]
fn what_is_present_is_said_once_and_of_those_asked_for_only() {
    let fields = [("accept", "a"), ("accept", "b"), ("x-gone", ""), ("x-stays", "1")];
    let native = request("GET", "http://a.test/", &fields);
    let gone = HeaderName::from_static("x-gone");
    let head = head(&native, &[HeaderName::from_static("x-stays"), ACCEPT, gone.clone(), COOKIE]);
    let mut present = head.present(&NameSet::from_iter([ACCEPT, gone.clone(), COOKIE]));
    present.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    assert_eq!(present, [ACCEPT, gone]);
}

#[wasm_bindgen_test]
fn a_name_that_the_runtime_refuses_is_a_field_that_is_not_there() {
    exchange(&request("GET", "http://a.test/", &[]));
    assert_eq!(glue::request_field("not a name"), None);
}

#[wasm_bindgen_test]
fn an_answer_carries_status_fields_and_utf8_body() {
    let edits = edits_text(&[
        Edit::Append(HeaderName::from_static("content-type"), "application/json".to_owned()),
        Edit::Append(HeaderName::from_static("x-a"), "1: 2".to_owned()),
    ]);
    let response = answer(429, &edits, "잠시 후");
    assert_eq!(response.status(), 429);
    assert_eq!(response.headers().get("content-type").unwrap().as_deref(), Some("application/json"));
    assert_eq!(response.headers().get("x-a").unwrap().as_deref(), Some("1: 2"));
    assert!(response.body().is_some());
}

#[wasm_bindgen_test]
fn an_empty_answer_has_no_body() {
    assert!(answer(403, "", "").body().is_none());
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
    exchange(&request("GET", "http://a.test/", &[]));
    let place = hold(&native);
    assert!(glue::response_fields(place).contains("x-gone:old\n"));
    assert_eq!(glue::response_field(place, "x-set").as_deref(), Some("old"));
    glue::finish(place, &edits_text(&edits)).unwrap();
    let response = answered();
    assert_eq!(response.headers().get("x-set").unwrap().as_deref(), Some("new"));
    assert_eq!(response.headers().get("x-gone").unwrap(), None);
    let lines = glue::response_fields(hold(&response));
    assert!(lines.contains("set-cookie:a=1\n") && lines.contains("set-cookie:b=2\n"), "{lines}");
}

#[wasm_bindgen_test]
fn a_line_break_in_an_edit_makes_no_second_edit() {
    let edits = [
        Edit::Set(HeaderName::from_static("x-a"), "1\n=x-b:2".to_owned()),
        Edit::Set(HeaderName::from_static("x-c"), "3".to_owned()),
    ];
    let response = answer(200, &edits_text(&edits), "");
    assert_eq!(response.headers().get("x-b").unwrap(), None);
    assert_eq!(response.headers().get("x-c").unwrap().as_deref(), Some("3"));
}

#[wasm_bindgen_test]
fn a_revived_response_has_the_stored_body_under_our_head() {
    let edits = edits_text(&[Edit::Append(HeaderName::from_static("age"), "7".to_owned())]);
    let revive = |status, with_body| {
        exchange(&request("GET", "http://a.test/", &[]));
        let stored = hold(&Response::new_with_opt_str(Some("kept")).unwrap());
        let place = glue::revive(stored, status, &edits, with_body, -1.0, -1.0).unwrap();
        glue::finish(place, "").unwrap();
        answered()
    };
    let response = revive(203, true);
    assert_eq!(response.status(), 203);
    assert_eq!(response.headers().get("age").unwrap().as_deref(), Some("7"));
    assert!(response.body().is_some());
    assert!(revive(304, true).body().is_none());
    assert!(revive(200, false).body().is_none());
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

thread_local! {
    static ENDED: std::cell::RefCell<Option<Outcome>> = const { std::cell::RefCell::new(None) };
}

/// Runs a task that begins something and waits for it, the way the entry runs
/// a journey, before the given environment.
async fn outcome(env: &JsValue, begin: fn()) -> Outcome {
    let start = Closure::<dyn Fn(u32) -> bool>::new(move |id| {
        task::run(
            id,
            Box::pin(async move {
                begin();
                let ended = task::wait().await;
                ENDED.set(Some(ended));
            }),
        )
    });
    let resume = Closure::<dyn Fn(u32, u32, String) -> bool>::new(task::resume);
    let module = js_sys::Object::new();
    let set = |name: &str, value: &JsValue| js_sys::Reflect::set(&module, &name.into(), value).unwrap();
    set("begin", start.as_ref());
    set("resume", resume.as_ref());
    let context = js_sys::Function::new_no_args("return { waitUntil() {} }").call0(&JsValue::NULL).unwrap();
    let served = serve(&module, &request("GET", "http://a.test/", &[]), env, &context);
    JsFuture::from(served.unchecked_into::<js_sys::Promise>()).await.unwrap();
    ENDED.take().unwrap()
}

fn environment(code: &str) -> JsValue {
    js_sys::Function::new_no_args(code).call0(&JsValue::NULL).unwrap()
}

/// The head of a request for which the platform says this.
fn head_with(cf: &str) -> EdgeHead {
    let code = format!("return Object.defineProperty(new Request('http://a.test/'), 'cf', {cf})");
    open(&JsValue::NULL, &environment(&code), &js_sys::Object::new(), &JsValue::NULL);
    EdgeHead::read(Rc::new(Wanted::new(vec![ACCEPT])))
}

#[wasm_bindgen_test]
fn what_the_platform_says_comes_in_one_crossing() {
    let head = head_with(
        "{ value: { country: 'DE', continent: 'EU', asn: 64496, tlsVersion: 'TLSv1.3', \
         tlsCipher: 'AEAD-AES128-GCM-SHA256', verifiedBotCategory: 'Search Engine Crawler', \
         botManagement: { score: 30, verifiedBot: true, ja3Hash: 'x' } } }",
    );
    let text = "DE\nEU\n64496\nTLSv1.3\nAEAD-AES128-GCM-SHA256\n30\ntrue\nSearch Engine Crawler";
    assert_eq!(head.metadata(), RequestMetadata::parse(text));
    assert_eq!(head.metadata().verified_bot_category.unwrap().as_str(), "Search Engine Crawler");
}

#[wasm_bindgen_test]
fn what_the_platform_does_not_say_is_not_known() {
    for cf in
        ["{ value: undefined }", "{ value: null }", "{ value: {} }", "{ value: { botManagement: null } }"]
    {
        assert!(head_with(cf).metadata().is_empty(), "{cf}");
    }
    // Without TLS, and where bot management did not look.
    let head = head_with(
        "{ value: { tlsVersion: '', tlsCipher: '', botManagement: { score: 0, verifiedBot: false } } }",
    );
    let metadata = head.metadata();
    assert_eq!((metadata.tls_version, metadata.bot_score, metadata.verified_bot), (None, None, Some(false)));
}

#[wasm_bindgen_test]
fn what_nobody_asks_for_is_not_read() {
    let head = head_with("{ get() { throw new Error('read') } }");
    assert_eq!((head.url(), head.field(&ACCEPT)), ("http://a.test/", None));
    assert_eq!(head.field(&COOKIE), None);
}

#[wasm_bindgen_test]
async fn a_counter_that_never_answers_times_out() {
    let env = environment(
        "return { LIMITER: { idFromName: (name) => name, get: () => ({ fetch: () => new Promise(() => {}) }) } }",
    );
    let ended = outcome(&env, || glue::take("LIMITER", "v1-0", "weir-message", "{}", 20, 2).unwrap()).await;
    assert!(ended.of(Dependency::Counter).unwrap_err().timed_out);
}

#[wasm_bindgen_test]
async fn a_counter_that_fails_says_why() {
    let env = environment(
        "return { LIMITER: { idFromName: (name) => name, get: () => ({ fetch: async () => { throw new Error('lost') } }) } }",
    );
    let ended =
        outcome(&env, || glue::take("LIMITER", "v1-0", "weir-message", "{}", 1_000, 1).unwrap()).await;
    assert_eq!(ended, Outcome::Failed("lost".to_owned()));
    assert_eq!(ended.of(Dependency::Counter).unwrap_err().to_string(), "counter: lost");
}

#[wasm_bindgen_test]
async fn a_key_of_the_store_comes_with_its_metadata() {
    let env = environment(
        "return { STATE: { getWithMetadata: async (key) => key === 'active' \
           ? { value: 'te\\nxt', metadata: { sequence: 7 } } : { value: null, metadata: null } } }",
    );
    let ended = outcome(&env, || glue::read_key("STATE", "active", 30, 1_000).unwrap()).await;
    assert_eq!(ended, Outcome::Done("{\"sequence\":7}\nte\nxt".to_owned()));
    let ended = outcome(&env, || glue::read_key("STATE", "other", 30, 1_000).unwrap()).await;
    assert_eq!(ended.of(Dependency::PolicyStore), Ok(None));
}

#[wasm_bindgen_test]
fn a_task_that_nobody_knows_is_over() {
    assert!(task::resume(0, 0, String::new()));
}

#[wasm_bindgen_test]
fn variables_are_text_and_bindings_are_there_or_not() {
    let env = environment("return { TEXT: 'a', EMPTY: ' ', JSON: { a: 1 }, NONE: null }");
    open(&JsValue::NULL, &request("GET", "http://a.test/", &[]), &env, &JsValue::NULL);
    assert_eq!(binding::variable("TEXT").as_deref(), Some("a"));
    assert_eq!(binding::variable("JSON").as_deref(), Some("{\"a\":1}"));
    for name in ["EMPTY", "NONE", "ABSENT"] {
        assert_eq!(binding::variable(name), None, "{name}");
    }
    assert!(glue::is_bound("JSON") && !glue::is_bound("NONE") && !glue::is_bound("ABSENT"));
}

#[wasm_bindgen_test]
fn timers_hold_any_duration() {
    assert_eq!(binding::timer(Duration::from_millis(250)), 250);
    assert_eq!(binding::timer(Duration::MAX), i32::MAX as u32);
}

#[wasm_bindgen_test]
fn seeds_are_128_bits_and_differ() {
    let (one, other) = (glue::random_seed().unwrap(), glue::random_seed().unwrap());
    assert_eq!(one.len(), 32);
    assert_ne!(one, other);
}
