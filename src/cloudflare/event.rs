//! The fetch event: which policy, the journey, the answer, the record.
//!
//! It is no `#[event(fetch)]`: that one makes a future, a promise and three
//! closures for every request, hands request, environment and context over
//! as objects, and gives its answer a microtask later. `edge.js` takes the
//! event and calls [`begin`]; see [`super::task`].

use std::rc::Rc;
use std::time::Duration;

use wasm_bindgen::prelude::wasm_bindgen;

use super::binding::failure;
use super::glue;
use super::head::{EdgeHead, Wanted};
use super::isolate::IsolateState;
use super::origin::{Edge, EdgeResponse, now};
use super::policy_store::KvPolicyStore;
use super::task;
use crate::control;
use crate::error::{Dependency, Reason, Reject};
use crate::exchange::{Answer, Edit, Head, Reply};
use crate::gateway;
use crate::observe::record::{Record, Verdict};
use crate::platform::edits_text;
use crate::policy::snapshot::{Need, REFRESH_WAIT, Snapshot, refresh};
use crate::stages::{respond, target};
use crate::text;

/// How long the very first request of an isolate waits for the policy.
const FIRST_READ: Duration = Duration::from_secs(5);

/// Begins the journey of the exchange's request; `true` when it is over.
#[wasm_bindgen]
#[must_use]
pub fn begin(id: u32) -> bool {
    task::run(id, Box::pin(answer()))
}

/// Begins a refresh of the policy; `true` when it is over.
#[wasm_bindgen(js_name = beginRefresh)]
#[must_use]
pub fn begin_refresh(id: u32) -> bool {
    task::run(id, Box::pin(async { refresh_policy(&IsolateState::of(), FIRST_READ).await }))
}

async fn answer() {
    let state = IsolateState::of();
    // The borrow must end before anything is awaited.
    let need = state.holder.borrow_mut().need(now());
    match need {
        Need::Nothing | Need::Unavailable => {}
        Need::RefreshAfter => glue::refresh_later(),
        Need::RefreshFirst => refresh_policy(&state, REFRESH_WAIT).await,
        Need::Read => refresh_policy(&state, FIRST_READ).await,
    }
    let snapshot = state.holder.borrow().acting(now());
    let record = match snapshot {
        Some(snapshot) => serve(&state, &snapshot).await,
        None => without_policy(&state),
    };
    if state.log_level.admits(&record) {
        glue::log(&record.line());
    }
}

async fn refresh_policy(state: &IsolateState, deadline: Duration) {
    let line = refresh(&KvPolicyStore, &Edge, &state.fallback, &state.holder, now, deadline).await;
    if let Some(line) = line {
        let line =
            serde_json::json!({ "schema": 1, "event": "policy", "time": now().to_string(), "message": line });
        glue::warn(&line.to_string());
    }
}

async fn serve(state: &IsolateState, snapshot: &Rc<Snapshot>) -> Record {
    let head = EdgeHead::read(state.wanted(snapshot));
    let degraded = state.holder.borrow().degraded().is_some();
    let (reply, mut record) =
        gateway::handle(snapshot, degraded, &state.isolate, &Edge, &head, state.fresh()).await;
    send(reply, head.method() == http::Method::HEAD, &mut record);
    record
}

/// Hands the reply over. One that the runtime does not take is an answer of
/// ours instead.
fn send(reply: Reply<EdgeResponse>, is_head: bool, record: &mut Record) {
    let sent = match reply {
        Reply::Native(response, edits) => glue::finish(response.place, &edits_text(&edits)),
        Reply::Answer(answer) => send_answer(answer, is_head),
    };
    if let Err(error) = sent {
        let error = failure(Dependency::Origin, &error);
        let reject = Reject::new(Reason::UpstreamUnreachable).cause(&error);
        let answer = respond::problem(&reject, record.request_id.as_deref());
        record.status = answer.status;
        record.verdict = Verdict::Failed;
        record.reason = Some(reject.reason.as_str());
        record.error = reject.cause;
        // Made of constants and an id that has been checked.
        let _ = send_answer(answer, is_head);
    }
}

fn send_answer(answer: Answer, is_head: bool) -> Result<(), wasm_bindgen::JsValue> {
    let Answer { status, fields, body } = answer;
    let edits: Vec<Edit> = fields.into_iter().map(|(name, value)| Edit::Append(name, value)).collect();
    glue::answer(status, &edits_text(&edits), if is_head { "" } else { &body })
}

/// The answer where there is no policy: closed, and saying so.
fn without_policy(state: &IsolateState) -> Record {
    // The next snapshot makes its own.
    let head = EdgeHead::read(Rc::new(Wanted::new(vec![http::header::HOST])));
    let host = head.field(&http::header::HOST);
    let target = target::parse(head.url(), host.as_deref()).ok();
    let mut record = Record::new(now(), head.method().as_str());
    let request_id = text::hex(state.fresh(), 32);
    record.host = target.as_ref().map(|target| target.authority().into_owned());
    if let Some(target) = &target {
        record.set_path(target.path_as_sent());
    }
    record.reason = Some(Reason::NoPolicy.as_str());
    record.verdict = Verdict::Failed;
    record.error = state.holder.borrow().degraded().map(str::to_owned);
    let mut answer = if target.is_some_and(|target| target.path == "/_weir/health") {
        control::without_policy()
    } else {
        respond::problem(&Reject::new(Reason::NoPolicy).retry_after(5), Some(&request_id))
    };
    // The policy may name another field; without one it is the default.
    let field = http::header::HeaderName::from_static("x-request-id");
    answer.fields.push((field, request_id.clone()));
    record.status = answer.status;
    record.request_id = Some(request_id);
    send(Reply::Answer(answer), head.method() == http::Method::HEAD, &mut record);
    record
}
