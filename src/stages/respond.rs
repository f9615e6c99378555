//! Stage 15, respond: what does the client see?
//!
//! 1. Our own answers are problem details (RFC 9457) with the request id;
//!    the cause of a failure is for the log alone.
//! 2. Nobody stores our own answers.
//! 3. Hop-by-hop fields of an origin's answer end here.
//! 4. Every answer says when it was made (RFC 9110, 6.6.1): ours, and those of
//!    origins that do not say so themselves.

use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, DATE, HeaderName, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, RETRY_AFTER, TRAILER,
};
use serde::Serialize;

use super::cache::date;
use super::upstream::fields::{PROXY_AUTHENTICATION_INFO, PROXY_STATUS};
use super::upstream::{HOP_BY_HOP, connection_listed};
use crate::error::{Reason, Reject};
use crate::exchange::{Answer, Edit};
use crate::time::Timestamp;

/// Keeps browsers from taking an answer for something else than it says.
pub const NOSNIFF: HeaderName = HeaderName::from_static("x-content-type-options");

#[derive(Serialize)]
struct ProblemDetails<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'a str,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
}

/// A rejection as an answer. A request id is missing only where the request
/// has not got as far as having one.
#[must_use]
pub fn problem(reject: &Reject, request_id: Option<&str>) -> Answer {
    let status = reject.status();
    let mut answer = match reject.answer.as_ref().and_then(|answer| answer.body.as_ref()) {
        Some((body, kind)) => Answer { body: body.clone(), ..empty(status, kind) },
        None if reject.page => page(reject, request_id),
        None => details(reject, request_id),
    };
    if let Some(seconds) = reject.retry_after {
        answer.fields.push((RETRY_AFTER, seconds.to_string()));
    }
    answer
}

fn details(reject: &Reject, request_id: Option<&str>) -> Answer {
    let status = reject.status();
    // Who is told that nothing is there is not told that there is a filter.
    let shown = if reject.is_hidden() { Reason::NoRoute } else { reject.reason };
    let details = ProblemDetails {
        kind: format!("urn:edgeweir:problem:{}", shown.as_str()),
        title: shown.title(),
        status,
        detail: reject.detail.as_deref(),
        request_id,
    };
    problem_json(status, &details)
}

/// The same for people: a page without anything that a browser would fetch or
/// run.
fn page(reject: &Reject, request_id: Option<&str>) -> Answer {
    let status = reject.status();
    let title = reject.reason.title();
    let detail = reject.detail.as_deref().map(|detail| format!("<p>{}</p>", escaped(detail)));
    let id = request_id.map(|id| format!("<p><small>{}</small></p>", escaped(id)));
    let body = format!(
        "<!doctype html><html><head><meta charset=\"utf-8\"><title>{title}</title></head>\
         <body><h1>{title}</h1>{}{}</body></html>\n",
        detail.unwrap_or_default(),
        id.unwrap_or_default(),
    );
    let mut answer = Answer { body, ..empty(status, "text/html; charset=utf-8") };
    answer.fields.push((CONTENT_SECURITY_POLICY, "default-src 'none'".to_owned()));
    answer
}

/// A text as HTML.
fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '&' => html.push_str("&amp;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            other => html.push(other),
        }
    }
    html
}

/// A JSON answer of our own.
#[must_use]
pub fn json(status: u16, value: &impl Serialize) -> Answer {
    // The values are structs of strings and numbers: they serialise.
    Answer { body: serde_json::to_string(value).unwrap_or_default(), ..empty(status, "application/json") }
}

/// Problem details.
#[must_use]
pub fn problem_json(status: u16, details: &impl Serialize) -> Answer {
    let body = serde_json::to_string(details).unwrap_or_default();
    Answer { body, ..empty(status, "application/problem+json") }
}

/// An answer of our own without its body.
#[must_use]
pub fn empty(status: u16, content_type: &str) -> Answer {
    Answer {
        status,
        fields: vec![
            (CONTENT_TYPE, content_type.to_owned()),
            (CACHE_CONTROL, "no-store".to_owned()),
            (NOSNIFF, "nosniff".to_owned()),
        ],
        body: String::new(),
    }
}

/// The hop-by-hop fields of an origin's answer; `connection` is its Connection
/// field. Some end here whether it names them or not: the runtime may have
/// taken it already. The runtime makes its own Transfer-Encoding.
pub fn hop_by_hop(connection: Option<&str>, request_id: &HeaderName, edits: &mut Vec<Edit>) {
    const ALWAYS: [HeaderName; 7] = [
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
        PROXY_AUTHENTICATE,
        PROXY_AUTHENTICATION_INFO,
        PROXY_AUTHORIZATION,
        PROXY_STATUS,
        TRAILER,
    ];
    match connection {
        None => edits.extend(ALWAYS.into_iter().map(Edit::Remove)),
        Some(connection) => {
            edits.extend(HOP_BY_HOP.into_iter().map(Edit::Remove));
            edits.extend(connection_listed(connection, request_id).map(Edit::Remove));
        }
    }
}

/// Says that an answer is of now.
#[must_use]
pub fn dated(now: Timestamp) -> Edit {
    Edit::Set(DATE, date::format(now))
}

/// Adds edits to an answer of our own.
pub fn apply(answer: &mut Answer, edits: Vec<Edit>) {
    for edit in edits {
        match edit {
            Edit::Set(name, value) => {
                answer.fields.retain(|(field, _)| *field != name);
                answer.fields.push((name, value));
            }
            Edit::Append(name, value) => answer.fields.push((name, value)),
            Edit::Remove(name) => answer.fields.retain(|(field, _)| *field != name),
        }
    }
}
