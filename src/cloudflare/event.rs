//! The fetch event: which policy, the journey, the answer, the record.

use std::rc::Rc;

use wasm_bindgen_futures::JsFuture;
use web_sys::{Request, Response};
use worker::{Context, Env, event};

use super::binding::failure;
use super::glue;
use super::head::{EdgeHead, Wanted};
use super::isolate::IsolateState;
use super::origin::{Edge, EdgeResponse, now};
use super::policy_store::KvPolicyStore;
use crate::control;
use crate::control::client::NoControl;
use crate::error::{Dependency, PlatformError, Reason, Reject};
use crate::exchange::{Answer, Edit, Head, Reply};
use crate::gateway;
use crate::observe::record::{Record, Verdict};
use crate::platform::edits_text;
use crate::policy::snapshot::{FIRST_READ, Ready, Snapshot, ready, refresh};
use crate::stages::{respond, target};

/// Answers a request.
#[event(fetch)]
async fn fetch(request: Request, env: Env, context: Context) -> worker::Result<Response> {
    let state = IsolateState::of(&env);
    let store = KvPolicyStore { env: &env };
    let Ready { snapshot, refresh_after, lines } =
        ready(&store, &NoControl, &state.fallback, &state.holder, now).await;
    lines.iter().for_each(|line| warn(line));
    if refresh_after {
        let (state, env) = (Rc::clone(&state), env.clone());
        context.wait_until(async move {
            let store = KvPolicyStore { env: &env };
            let line = refresh(&store, &NoControl, &state.fallback, &state.holder, now, FIRST_READ).await;
            line.iter().for_each(|line| warn(line));
        });
    }
    let (response, record) = match snapshot {
        Some(snapshot) => serve(&state, &snapshot, request, &env, &context).await,
        None => without_policy(&state, request),
    };
    if state.log_level.admits(&record) {
        // One string: an object costs twice as much to write.
        worker::console_log!("{}", record.line());
    }
    response.map_err(|error| worker::Error::RustError(error.to_string()))
}

/// Writes a line about the policy.
fn warn(message: &str) {
    let line =
        serde_json::json!({ "schema": 1, "event": "policy", "time": now().to_string(), "message": message });
    worker::console_warn!("{line}");
}

async fn serve(
    state: &IsolateState,
    snapshot: &Rc<Snapshot>,
    request: Request,
    env: &Env,
    context: &Context,
) -> (Result<Response, PlatformError>, Record) {
    let head = EdgeHead::read(request, state.wanted(snapshot));
    let degraded = state.holder.borrow().degraded().is_some();
    let edge = Edge::new(env);
    let (reply, record) =
        gateway::handle(snapshot, degraded, &state.isolate, &edge, &head, state.fresh()).await;
    for promise in edge.into_deferred() {
        context.wait_until(async move {
            if let Err(error) = JsFuture::from(promise).await {
                let error = failure(Dependency::ResponseStore, &error).to_string();
                let line = serde_json::json!({ "schema": 1, "event": "store", "time": now().to_string(), "error": error });
                worker::console_warn!("{line}");
            }
        });
    }
    (native(reply, head.method() == http::Method::HEAD), record)
}

/// The reply as a native response.
fn native(reply: Reply<EdgeResponse>, is_head: bool) -> Result<Response, PlatformError> {
    match reply {
        Reply::Native(response, edits) => glue::finish(&response.native, &edits_text(&edits)),
        Reply::Answer(answer) => {
            let Answer { status, fields, body } = answer;
            let edits: Vec<Edit> =
                fields.into_iter().map(|(name, value)| Edit::Append(name, value)).collect();
            glue::answer(status, &edits_text(&edits), if is_head { "" } else { &body })
        }
    }
    .map_err(|error| failure(Dependency::Origin, &error))
}

/// The answer where there is no policy: closed, and saying so.
fn without_policy(state: &IsolateState, request: Request) -> (Result<Response, PlatformError>, Record) {
    let head = EdgeHead::read(request, Rc::new(Wanted::new(vec![http::header::HOST])));
    let host = head.field(&http::header::HOST);
    let target = target::parse(head.url(), host.as_deref()).ok();
    let mut record = Record::new(now(), head.method().as_str());
    let request_id = format!("{:032x}", state.fresh());
    record.host = target.as_ref().map(target::Target::authority);
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
    (native(Reply::Answer(answer), head.method() == http::Method::HEAD), record)
}
