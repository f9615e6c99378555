//! The access record: one JSON line a request, written after it.
//!
//! Its fields are documented in `docs/access-log.md`; `schema` changes when
//! one changes its meaning or goes.

use serde::Deserialize;

use crate::error::clip;
use crate::text::{push_decimal, push_json_inside};

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

impl Verdict {
    /// The label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Forwarded => "forwarded",
            Self::Cached => "cached",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Answered => "answered",
        }
    }
}

/// The verdict of one stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageRecord {
    /// The stage, as in the policy; entry stages have `entry.` in front.
    pub stage: &'static str,
    /// `allow`, `deny`, `local`, `open`, `closed`, …
    pub verdict: &'static str,
    /// The rule that decided.
    pub rule: Option<String>,
    /// The prefix that matched.
    pub prefix: Option<String>,
    /// Counted and logged, not acted on.
    pub shadow: bool,
    /// What failed, where the rule's fail policy decided.
    pub error: Option<String>,
}

impl StageRecord {
    /// What a stage did, and no more to say about it.
    #[must_use]
    pub const fn of(stage: &'static str, verdict: &'static str) -> Self {
        Self { stage, verdict, rule: None, prefix: None, shadow: false, error: None }
    }
}

/// What happened to one request.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// [`SCHEMA`].
    pub schema: u32,
    /// When it arrived, RFC 3339.
    pub time: String,
    /// Its name.
    pub request_id: Option<String>,
    /// Its trace.
    pub trace_id: Option<String>,
    /// The client's address or network.
    pub client: Option<String>,
    /// The method.
    pub method: String,
    /// The host, normalised.
    pub host: Option<String>,
    /// The path as sent, without the query.
    pub path: Option<String>,
    /// The route's id.
    pub route: Option<String>,
    /// How it ended.
    pub verdict: Verdict,
    /// Why the gateway answered itself.
    pub reason: Option<&'static str>,
    /// The status that the client got.
    pub status: u16,
    /// The stages that decided something, in order.
    pub stages: Vec<StageRecord>,
    /// The labels that `ip_filter` gave, in order.
    pub tags: Vec<String>,
    /// What the cache did: `hit`, or why the request went on.
    pub cache: Option<&'static str>,
    /// The canary variant.
    pub variant: Option<String>,
    /// The upstream that was asked.
    pub upstream: Option<String>,
    /// The status that it gave.
    pub upstream_status: Option<u16>,
    /// Until the head of the response was ready, milliseconds.
    pub duration_ms: u64,
    /// Of these, waiting for the origin.
    pub upstream_ms: Option<u64>,
    /// The policy revision that decided.
    pub revision: Option<String>,
    /// The cause of a failure.
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
            tags: Vec::new(),
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

    /// The line: a JSON object, its properties in the order of the journey.
    #[must_use]
    pub fn line(&self) -> String {
        let mut line = Line { text: String::with_capacity(1_024) };
        line.number("{\"schema\":", self.schema.into());
        line.string(",\"time\":\"", &self.time);
        line.optional(",\"request_id\":\"", self.request_id.as_deref());
        line.optional(",\"trace_id\":\"", self.trace_id.as_deref());
        line.optional(",\"client\":\"", self.client.as_deref());
        line.string(",\"method\":\"", &self.method);
        line.optional(",\"host\":\"", self.host.as_deref());
        line.optional(",\"path\":\"", self.path.as_deref());
        line.optional(",\"route\":\"", self.route.as_deref());
        line.string(",\"verdict\":\"", self.verdict.as_str());
        line.optional(",\"reason\":\"", self.reason);
        line.number(",\"status\":", self.status.into());
        line.stages(&self.stages);
        line.tags(&self.tags);
        line.optional(",\"cache\":\"", self.cache);
        line.optional(",\"variant\":\"", self.variant.as_deref());
        line.optional(",\"upstream\":\"", self.upstream.as_deref());
        if let Some(status) = self.upstream_status {
            line.number(",\"upstream_status\":", status.into());
        }
        line.number(",\"duration_ms\":", self.duration_ms);
        if let Some(millis) = self.upstream_ms {
            line.number(",\"upstream_ms\":", millis);
        }
        line.optional(",\"revision\":\"", self.revision.as_deref());
        line.optional(",\"error\":\"", self.error.as_deref());
        line.text.push('}');
        line.text
    }
}

/// A JSON object that is being written. Each property comes with all that
/// stands in front of its value, the quote of a string too: one text to copy.
struct Line {
    text: String,
}

impl Line {
    fn string(&mut self, property: &str, value: &str) {
        self.text.push_str(property);
        push_json_inside(&mut self.text, value);
        self.text.push('"');
    }

    fn optional(&mut self, property: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.string(property, value);
        }
    }

    fn number(&mut self, property: &str, value: u64) {
        self.text.push_str(property);
        push_decimal(&mut self.text, value);
    }

    fn tags(&mut self, tags: &[String]) {
        for (index, tag) in tags.iter().enumerate() {
            self.string(if index == 0 { ",\"tags\":[\"" } else { ",\"" }, tag);
        }
        if !tags.is_empty() {
            self.text.push(']');
        }
    }

    fn stages(&mut self, stages: &[StageRecord]) {
        for (index, stage) in stages.iter().enumerate() {
            let before = if index == 0 { ",\"stages\":[{\"stage\":\"" } else { ",{\"stage\":\"" };
            self.string(before, stage.stage);
            self.string(",\"verdict\":\"", stage.verdict);
            self.optional(",\"rule\":\"", stage.rule.as_deref());
            self.optional(",\"prefix\":\"", stage.prefix.as_deref());
            if stage.shadow {
                self.text.push_str(",\"shadow\":true");
            }
            self.optional(",\"error\":\"", stage.error.as_deref());
            self.text.push('}');
        }
        if !stages.is_empty() {
            self.text.push(']');
        }
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
