//! The fetch event: which policy, the journey, the answer, the record. And
//! the scheduled event: which feeds are due.
//!
//! It is no `#[event(fetch)]`: that one makes a future, a promise and three
//! closures for every request, hands request, environment and context over
//! as objects, and gives its answer a microtask later. `edge/exchange.js`
//! takes the event and calls [`begin`]; see [`super::task`].

use std::rc::Rc;

use wasm_bindgen::prelude::wasm_bindgen;

use super::binding::failure;
use super::glue;
use super::head::EdgeHead;
use super::isolate::{IsolateState, warn_of};
use super::origin::{Edge, EdgeResponse, Revived, now};
use super::policy_store::KvPolicyStore;
use super::task;
use crate::control::client;
use crate::error::{Dependency, Reason, Reject};
use crate::exchange::{Answer, Edit, Head, Reply};
use crate::feeds::run;
use crate::gateway::bans::report_offences;
use crate::gateway::revalidation::revalidate;
use crate::gateway::settle::settle_all;
use crate::gateway::warm::{Job, warm};
use crate::gateway::{self, Acting};
use crate::observe::record::{Record, Verdict};
use crate::platform::{edits_text, push_edits};
use crate::policy::snapshot::{FIRST_READ, Ready, Snapshot, ready, refresh};
use crate::stages::respond;

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
    task::run(
        id,
        Box::pin(async {
            let state = IsolateState::of();
            let line = refresh(&KvPolicyStore, &Edge, &state.fallback, &state.holder, now, FIRST_READ).await;
            line.iter().for_each(|line| warn("policy", line));
            // The borrow must end before anything is awaited.
            let (due, have) = {
                let mut holder = state.holder.borrow_mut();
                (holder.report_due(now()), holder.have())
            };
            if due {
                // Should it fail, the next report is an hour away: a document
                // is refused for what was seen, not for what was not.
                let _ = client::seen(&Edge, have, FIRST_READ).await;
            }
        }),
    )
}

/// Begins what is due by schedule; `true` when it is over.
#[wasm_bindgen(js_name = beginScheduled)]
#[must_use]
pub fn begin_scheduled(id: u32) -> bool {
    task::run(id, Box::pin(scheduled()))
}

async fn scheduled() {
    let state = IsolateState::of();
    // This isolate may have sat idle: what is fetched is what the newest
    // policy says.
    let line = refresh(&KvPolicyStore, &Edge, &state.fallback, &state.holder, now, FIRST_READ).await;
    line.iter().for_each(|line| warn("policy", line));
    let snapshot = state.holder.borrow().acting(now());
    let Some(snapshot) = snapshot else { return };
    run::scheduled(&Edge, &snapshot).await.iter().for_each(|line| glue::warn(line));
}

/// Begins to report offences; `true` when it is over.
#[wasm_bindgen(js_name = beginReports)]
#[must_use]
pub fn begin_reports(id: u32) -> bool {
    task::run(
        id,
        Box::pin(async {
            let state = IsolateState::of();
            // They go on being counted here, and are told again.
            if let Some(error) = report_offences(&state.isolate, &Edge).await {
                warn_of("bans", "error", &error.to_string());
            }
        }),
    )
}

/// Begins to ask the origin about a stored answer that was served stale;
/// `true` when it is over.
#[wasm_bindgen(js_name = beginRevalidation)]
#[must_use]
pub fn begin_revalidation(id: u32) -> bool {
    let state = IsolateState::of();
    // Taken at once: `edge/beside.js` begins them in the order in which they came.
    let asked = state.isolate.next_revalidation();
    let snapshot = state.holder.borrow().current();
    task::run(
        id,
        Box::pin(async move {
            let (Some(asked), Some(snapshot)) = (asked, snapshot) else { return };
            let head = EdgeHead::read(state.wanted(&snapshot));
            let asked = revalidate(&snapshot.gateway, &state.isolate, &Edge, &head, asked).await;
            if let Err(error) = asked {
                warn_of("revalidation", "error", &error.to_string());
            }
        }),
    )
}

/// Begins to ask for the URL of the exchange's job; `true` when it is over.
#[wasm_bindgen(js_name = beginWarming)]
#[must_use]
pub fn begin_warming(id: u32) -> bool {
    task::run(
        id,
        Box::pin(async {
            let state = IsolateState::of();
            let snapshot = state.holder.borrow().acting(now());
            let Some((snapshot, job)) = snapshot.zip(Job::decode(&glue::job())) else { return };
            let head = EdgeHead::read(state.wanted(&snapshot));
            let acting = Acting { snapshot: &snapshot, available: true, degraded: None };
            let warmed = warm(&acting, &state.isolate, &Edge, &head, &job, state.fresh()).await;
            if state.isolate.has_revalidations() {
                glue::revalidate_later();
            }
            glue::warmed(&warmed.encode());
        }),
    )
}

/// Begins to settle charges; `true` when it is over.
#[wasm_bindgen(js_name = beginSettling)]
#[must_use]
pub fn begin_settling(id: u32) -> bool {
    task::run(
        id,
        Box::pin(async {
            let state = IsolateState::of();
            // What is lost counts as spent.
            if let Some(error) = settle_all(&state.isolate, &Edge).await {
                warn_of("limits", "error", &error.to_string());
            }
        }),
    )
}

async fn answer() {
    let state = IsolateState::of();
    let Ready { snapshot, refresh_after, lines } =
        ready(&KvPolicyStore, &Edge, &state.fallback, &state.holder, now).await;
    lines.iter().for_each(|line| warn("policy", line));
    if refresh_after {
        glue::refresh_later();
    }
    let degraded = state.holder.borrow().degraded().map(str::to_owned);
    let available = snapshot.is_some();
    // Where the last good policy is too old to act on, it still says who is
    // calling and where the admin API answers.
    let held = || state.holder.borrow().current();
    let Some(snapshot) = snapshot.or_else(held).or_else(|| state.nothing()) else {
        // Unreachable: the policy that serves nothing compiles.
        let reject = Reject::new(Reason::NoPolicy);
        let _ = send_answer(respond::problem(&reject, None), false);
        return;
    };
    let acting = Acting { snapshot: &snapshot, available, degraded: degraded.as_deref() };
    let record = serve(&state, &snapshot, &acting).await;
    if state.log_level.admits(&record) {
        glue::log(&record.line());
    }
    state.isolate.notes.take().iter().for_each(|note| glue::warn(note));
    // Only after the response: none of these may hold it up.
    if state.isolate.has_revalidations() {
        glue::revalidate_later();
    }
    if state.isolate.takes_on_reports(now()) {
        glue::report_later();
    }
    if state.isolate.takes_on_settling(now()) {
        glue::settle_later();
    }
    if let Some(sequence) = state.isolate.changed.take() {
        state.holder.borrow_mut().await_sequence(sequence);
        glue::refresh_later();
    }
}

/// Writes a line about the policy, or what it asks for.
pub(super) fn warn(event: &str, message: &str) {
    warn_of(event, "message", message);
}

async fn serve(state: &IsolateState, snapshot: &Rc<Snapshot>, acting: &Acting<'_>) -> Record {
    let head = EdgeHead::read(state.wanted(snapshot));
    let (reply, mut record) = gateway::handle(acting, &state.isolate, &Edge, &head, state.fresh()).await;
    send(reply, head.method() == http::Method::HEAD, &mut record);
    record
}

/// Hands the reply over. One that the runtime does not take is an answer of
/// ours instead.
fn send(reply: Reply<EdgeResponse>, is_head: bool, record: &mut Record) {
    let sent = match reply {
        Reply::Native(EdgeResponse { place, status, recalled: Some(revived), .. }, edits) => {
            let Revived { fields: mut text, with_body, span: (first, last) } = revived;
            push_edits(&mut text, &edits);
            glue::finish_recalled(place, status, with_body, first, last, &text)
        }
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
