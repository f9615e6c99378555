//! The access record: one JSON line a request, written after it.
//!
//! Its fields are documented in `docs/access-log.md`; `schema` changes when
//! one changes its meaning or goes.

use serde::{Deserialize, Serialize};

use crate::error::clip;

/// The version of the record's form.
pub const SCHEMA: u32 = 1;

/// The longest text that a client chose, in bytes, as it stands in a record.
const TEXT_LIMIT: usize = 1_024;

/// How much of the client's address a record holds: `observe.log.client_address`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ClientAddress {
    /// All of it.
    #[default]
    Address,
    /// Its /24 (IPv4) or /48 (IPv6).
    Network,
    /// Nothing.
    None,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The origin answered.
    Forwarded,
    /// The cache answered.
    Cached,
    /// The gateway refused.
    Refused,
    /// A dependency failed, and the request with it.
    Failed,
    /// The gateway answered for itself.
    Answered,
}

/// The verdict of one stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StageRecord {
    /// The stage, as in the policy; entry stages have `entry.` in front.
    pub stage: &'static str,
    /// `allow`, `deny`, `local`, `open`, `closed`, …
    pub verdict: &'static str,
    /// The rule that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The prefix that matched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Counted and logged, not acted on.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub shadow: bool,
    /// What failed, where the rule's fail policy decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What happened to one request.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Record {
    /// [`SCHEMA`].
    pub schema: u32,
    /// When it arrived, RFC 3339.
    pub time: String,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Its trace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// The client's address or network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// The method.
    pub method: String,
    /// The host, normalised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The path as sent, without the query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The route's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// How it ended.
    pub verdict: Verdict,
    /// Why the gateway answered itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// The status that the client got.
    pub status: u16,
    /// The stages that decided something, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<StageRecord>,
    /// What the cache did: `hit`, or why the request went on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<&'static str>,
    /// The canary variant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// The upstream that was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    /// The status that it gave.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_status: Option<u16>,
    /// Until the head of the response was ready, milliseconds.
    pub duration_ms: u64,
    /// Of these, waiting for the origin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_ms: Option<u64>,
    /// The policy revision that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The cause of a failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Record {
    /// A record of a request that has just arrived.
    #[must_use]
    pub fn new(now: crate::time::Timestamp, method: &str) -> Self {
        Self {
            schema: SCHEMA,
            time: now.to_string(),
            request_id: None,
            trace_id: None,
            client: None,
            method: clip(method, 64).to_owned(),
            host: None,
            path: None,
            route: None,
            verdict: Verdict::Answered,
            reason: None,
            status: 0,
            stages: Vec::new(),
            cache: None,
            variant: None,
            upstream: None,
            upstream_status: None,
            duration_ms: 0,
            upstream_ms: None,
            revision: None,
            error: None,
        }
    }

    /// Notes the path, shortened.
    pub fn set_path(&mut self, path: &str) {
        self.path = Some(clip(path, TEXT_LIMIT).to_owned());
    }

    /// The line.
    #[must_use]
    pub fn line(&self) -> String {
        // Strings and numbers always serialise.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Which requests are logged: the variable `LOG_LEVEL`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// Every request.
    #[default]
    Info,
    /// Refusals and failures.
    Warn,
    /// Failures.
    Error,
}

impl LogLevel {
    /// From the variable's text; what is unknown logs everything.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text.to_ascii_lowercase().as_str() {
            "warn" => Self::Warn,
            "error" => Self::Error,
            _ => Self::Info,
        }
    }

    /// Whether a record is written.
    #[must_use]
    pub fn admits(self, record: &Record) -> bool {
        let failed = record.verdict == Verdict::Failed
            || record.error.is_some()
            || record.stages.iter().any(|stage| stage.error.is_some());
        match self {
            Self::Info => true,
            Self::Warn => failed || record.verdict == Verdict::Refused,
            Self::Error => failed,
        }
    }
}
