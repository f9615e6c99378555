//! One line of the access log, as far as a replay goes by it.

use std::net::IpAddr;

use http::Method;
use serde::Deserialize;
use serde_json::error::Category;

use super::LINE_LIMIT;
use super::report::Outcome;
use crate::error::Reason;
use crate::observe::record::SCHEMA;
use crate::stages::identity::parse_address;
use crate::stages::ip_filter::prefix::Prefix;
use crate::stages::target::{Target, parse};
use crate::time::Timestamp;

/// Why a line is not replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip {
    /// It is longer than [`LINE_LIMIT`].
    TooLong,
    /// It is no JSON.
    NotJson,
    /// It is an event and no request.
    Event,
    /// It is of another schema.
    Schema,
    /// It lacks what a record has, or has it in another form.
    NotARecord,
    /// The gateway had no policy, and the request was not judged.
    NoPolicy,
}

impl Skip {
    /// The label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooLong => "too-long",
            Self::NotJson => "not-json",
            Self::Event => "event",
            Self::Schema => "schema",
            Self::NotARecord => "not-a-record",
            Self::NoPolicy => Reason::NoPolicy.as_str(),
        }
    }
}

/// What is known of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Client {
    Address(IpAddr),
    /// `observe.log.client_address` says how much of it is logged.
    Network(Prefix),
    Unknown,
}

/// A record.
#[derive(Debug)]
pub(super) struct Logged {
    pub time: Timestamp,
    pub request_id: Option<String>,
    pub client: Client,
    pub method: Method,
    /// Where it went; `None` where the target was refused as malformed.
    pub target: Option<Place>,
    pub before: Outcome,
    /// The stage and rule of every count that failed.
    pub failures: Vec<(String, String)>,
}

/// Host and path, and by which schemes they may have come: the log does not
/// hold the scheme, and only an explicit port tells it.
#[derive(Debug)]
pub(super) struct Place {
    urls: Vec<String>,
    host: String,
    pub path: String,
}

impl Place {
    fn new(host: String, path: String) -> Option<Self> {
        let urls: Vec<String> = ["https", "http"]
            .iter()
            .map(|scheme| format!("{scheme}://{host}{path}"))
            .filter(|url| parse(url, Some(&host)).is_ok_and(|target| target.authority() == host))
            .collect();
        (!urls.is_empty()).then_some(Self { urls, host, path })
    }

    /// The target by each scheme.
    pub fn targets(&self) -> Vec<Target<'_>> {
        self.urls.iter().filter_map(|url| parse(url, Some(&self.host)).ok()).collect()
    }
}

#[derive(Deserialize)]
struct Line {
    schema: Option<u32>,
    event: Option<String>,
    time: Option<String>,
    request_id: Option<String>,
    client: Option<String>,
    method: Option<String>,
    host: Option<String>,
    path: Option<String>,
    route: Option<String>,
    verdict: Option<String>,
    reason: Option<String>,
    status: Option<u16>,
    #[serde(default)]
    stages: Vec<StageLine>,
    variant: Option<String>,
    upstream: Option<String>,
}

#[derive(Deserialize)]
struct StageLine {
    stage: String,
    verdict: String,
    rule: Option<String>,
    #[serde(default)]
    shadow: bool,
    error: Option<String>,
}

/// The longest name or id, in bytes; ours are shorter.
const NAME_LIMIT: usize = 128;

fn is_name(text: &str) -> bool {
    text.len() <= NAME_LIMIT && !text.contains(char::is_control)
}

pub(super) fn read(text: &str) -> Result<Logged, Skip> {
    if text.len() > LINE_LIMIT {
        return Err(Skip::TooLong);
    }
    // serde would read a list as the members in order.
    let is_object = text.starts_with('{');
    let line: Line = serde_json::from_str(text).map_err(|error| match error.classify() {
        Category::Data => Skip::NotARecord,
        _ => Skip::NotJson,
    })?;
    if !is_object {
        return Err(Skip::NotARecord);
    }
    if line.schema != Some(SCHEMA) {
        return Err(Skip::Schema);
    }
    if line.event.is_some() {
        return Err(Skip::Event);
    }
    if line.reason.as_deref() == Some(Reason::NoPolicy.as_str()) {
        return Err(Skip::NoPolicy);
    }
    record(line).ok_or(Skip::NotARecord)
}

fn record(line: Line) -> Option<Logged> {
    let names = [&line.request_id, &line.route, &line.reason, &line.variant, &line.upstream];
    let of_stages = line.stages.iter().flat_map(|stage| [Some(&stage.stage), stage.rule.as_ref()]);
    if !names.into_iter().flatten().chain(of_stages.flatten()).all(|name| is_name(name)) {
        return None;
    }
    let target = match (line.host, line.path) {
        (Some(host), Some(path)) => Some(Place::new(host, path)?),
        (Some(_), None) => return None,
        (None, _) => None,
    };
    let client = match line.client.as_deref() {
        None => Client::Unknown,
        Some(text) => match parse_address(text) {
            Some(address) => Client::Address(address),
            None => Client::Network(text.parse().ok()?),
        },
    };
    let verdict = match line.verdict.as_deref()? {
        "forwarded" => "forwarded",
        "cached" => "cached",
        "refused" => "refused",
        "failed" => "failed",
        "answered" => "answered",
        _ => return None,
    };
    let decisive =
        |stage: &&StageLine| !stage.shadow && ["deny", "refuse", "closed"].contains(&stage.verdict.as_str());
    let decided = line.stages.iter().rfind(decisive).filter(|_| ["refused", "failed"].contains(&verdict));
    // Where no rule decided, the reason says which stage did.
    let stage = decided.map(|stage| stage.stage.clone()).or_else(|| stage_of(line.reason.as_deref()?));
    let shadow_canary = line.stages.iter().any(|stage| stage.stage == "canary" && stage.shadow);
    let failures = line.stages.iter().filter(|stage| stage.error.is_some());
    let failures = failures.filter_map(|stage| Some((stage.stage.clone(), stage.rule.clone()?))).collect();
    Some(Logged {
        time: Timestamp::parse(line.time.as_deref()?)?,
        request_id: line.request_id,
        client,
        method: Method::from_bytes(line.method?.as_bytes()).ok()?,
        target,
        before: Outcome {
            verdict,
            status: Some(line.status?),
            rule: decided.and_then(|stage| stage.rule.clone()),
            stage,
            reason: line.reason,
            route: line.route,
            variant: line.variant.filter(|_| !shadow_canary),
            upstream: line.upstream,
        },
        failures,
    })
}

fn stage_of(reason: &str) -> Option<String> {
    let stage = match reason {
        "client-address" => "identity",
        "no-such-endpoint" => "control",
        "invalid-target" | "invalid-host" | "no-route" | "loop" => "route",
        "not-cached" => "cache",
        _ => return None,
    };
    Some(stage.to_owned())
}
