//! The form of an explanation. Labels are those of the access log.

use serde::Serialize;

use crate::exchange::RequestMetadata;
use crate::stages::rate_limit::algorithm::Decision;

/// What would become of a request, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Explanation {
    /// How it would end.
    pub verdict: Outcome,
    /// The status, where the gateway itself would answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The label of the reason, where it would be refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// What the client would be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Seconds of `Retry-After`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    /// Whether something on the way is not known, a count above all, and was
    /// taken to let the request pass.
    pub uncertain: bool,
    /// The policy that was asked.
    pub revision: String,
    /// The request, as it was read.
    pub request: Asked,
    /// The route's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// The canary variant, where it counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// The upstream that would be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    /// Every stage, in the order of the journey.
    pub stages: Vec<Stage>,
}

/// How a request would end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "ExplainOutcome"))]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The origin would be asked.
    Forwarded,
    /// The cache would be asked; without an answer there, the origin.
    CachedPossible,
    /// The gateway would refuse.
    Refused,
    /// The gateway would answer for itself.
    Answered,
}

impl Outcome {
    /// The label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Forwarded => "forwarded",
            Self::CachedPossible => "cached-possible",
            Self::Refused => "refused",
            Self::Answered => "answered",
        }
    }
}

/// The request, as it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Asked {
    /// The method.
    pub method: String,
    /// The URL as the runtime would show it.
    pub url: String,
    /// Host and port in normal form; missing where the target is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The path in normal form, by which rules match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// Where the list of a stored address set comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ListOrigin {
    /// When it came in, as in RFC 3339.
    pub since: String,
    /// The URL of a feed, or `import`.
    pub source: String,
}

/// One stage.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "ExplainStage"))]
pub struct Stage {
    /// Its name; entry stages have `entry.` in front.
    pub stage: &'static str,
    /// `none` where the policy has no such stage, `not-reached` behind a
    /// refusal; the others are those of each stage.
    pub verdict: &'static str,
    /// The rule that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The prefix that matched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// The address set that the prefix comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address_set: Option<String>,
    /// Where the list of a stored set comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub list: Option<ListOrigin>,
    /// The labels that its rules give.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Evaluated as a whole, and not acted on.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub shadow: bool,
    /// The label of the reason, where it refuses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// More, for a reader.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// `ip_filter` with shadow rules: what would be decided if they were
    /// enforced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub would: Option<Would>,
    /// `rate_limit`: its rules in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Limit>,
    /// `identity`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<Who>,
    /// `route`: the more specific routes that were passed over because a
    /// header field was not what they ask for, at most 5.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub passed_over: Vec<PassedOver>,
    /// `canary`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<Choice>,
    /// `cache`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<Stored>,
    /// `upstream`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<Sent>,
}

/// What would be decided if shadow rules were enforced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "ShadowDecision"))]
pub struct Would {
    /// `allow` or `deny`.
    pub verdict: &'static str,
    /// The rule; missing for the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The prefix that matched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// The address set that the prefix comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address_set: Option<String>,
    /// Whether that is another decision than the enforced one: only then does
    /// the log say it.
    pub differs: bool,
}

/// Who is calling.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Caller"))]
pub struct Who {
    /// The client's address: what `ip_filter` looks at.
    pub address: String,
    /// Its network: what `rate_limit` and `canary` count as one client.
    pub network: String,
    /// What gave the address: `peer` (the platform's field), `chain` (our own
    /// hops) or `on_missing` (the policy's assumption).
    pub source: &'static str,
    /// The field that gave it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What became of the chain: `not-read` (the peer is none of our hops),
    /// `walked`, or `short` or `garbled`, where the peer was taken.
    pub chain: &'static str,
    /// The chain as it was walked, from the peer on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hops: Vec<Hop>,
    /// What the platform says about the request, as far as it was described.
    #[serde(skip_serializing_if = "RequestMetadata::is_empty")]
    pub platform: RequestMetadata,
    /// The request id.
    pub request_id: RequestId,
    /// Whether the client's trace is continued.
    pub trace_continued: bool,
}

/// One address of the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Hop {
    /// The address, or what stands in its place.
    pub address: String,
    /// Whether it is one of our own hops.
    pub trusted: bool,
}

/// What becomes of the request id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RequestId {
    /// `kept` or `new`.
    pub verdict: &'static str,
    /// The field that carries it.
    pub field: String,
    /// It; a new one is an example.
    pub value: String,
}

/// One rule of `rate_limit`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "LimitState"))]
pub struct Limit {
    /// Its id.
    pub rule: String,
    /// `allow`, `refuse`, `unknown`, `banned` where the counter knows of a ban
    /// that has not come here yet, or `not-reached` behind a refusal.
    pub verdict: &'static str,
    /// Counted and logged, never acted on.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub shadow: bool,
    /// `gcra`, `sliding_window` or `fixed_window`.
    pub algorithm: &'static str,
    /// `local`, `exact`, `leased` or `platform`.
    pub counting: &'static str,
    /// What happens when the counter fails.
    pub on_failure: &'static str,
    /// How much is allowed.
    pub quota: QuotaText,
    /// What this request costs.
    pub cost: u32,
    /// What has a count of its own, with the values of this request.
    pub key: Vec<KeyText>,
    /// The counter: 32 hex digits; empty where a part of the key is missing
    /// and the rule refuses then.
    pub counter: String,
    /// The state before this request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
}

/// How much is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct QuotaText {
    /// Requests in a window.
    pub max: u32,
    /// The window in milliseconds.
    pub window_ms: u64,
    /// Requests at once.
    pub burst: u32,
}

/// A part of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct KeyText {
    /// `client`, `address`, `tag`, `country`, `asn`, `route`, `method`,
    /// `variant`; the name of a header field; or `cookie`, `query` or `path`
    /// and a name.
    pub part: String,
    /// Its value, of cookies and queries, and where it is long, as `#` and a
    /// hash; missing where the request has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// The state of a counter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "CounterState"))]
#[serde(untagged)]
pub enum State {
    /// As it is.
    Known {
        /// How many requests would pass now.
        remaining: u32,
        /// How long until one would, in milliseconds; 0 for now.
        retry_after_ms: u64,
        /// How long until the whole burst is back, in milliseconds.
        full_after_ms: u64,
    },
    /// It could not be read.
    Unknown {
        /// Why.
        unknown: String,
    },
}

impl State {
    /// What a counter has said.
    #[must_use]
    pub fn of(decision: &Decision) -> Self {
        Self::Known {
            remaining: decision.remaining,
            retry_after_ms: millis_up(decision.retry_after),
            full_after_ms: millis_up(decision.full_after),
        }
    }
}

/// Whole milliseconds, rounded up: coming back then is not too early.
fn millis_up(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// A route that would be more specific.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PassedOver {
    /// Its id.
    pub route: String,
    /// The first header field that is not what it asks for.
    pub field: String,
}

/// The variant.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "CanaryChoice"))]
pub struct Choice {
    /// Its name.
    pub variant: String,
    /// Its upstream.
    pub upstream: String,
    /// The client's unit: 8 hex digits, as the cookie holds it.
    pub unit: String,
    /// Where the unit comes from: `cookie`, or `network` for a hash of the
    /// client's network.
    pub from: &'static str,
    /// The sticky cookie's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cookie: Option<String>,
    /// Whether the answer would set it.
    pub sets_cookie: bool,
    /// All variants with their shares in percent.
    pub weights: Vec<Weight>,
}

/// A variant's share.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Weight {
    /// Its name.
    pub variant: String,
    /// In percent.
    pub percent: f64,
}

/// What the cache would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "CacheLookup"))]
pub struct Stored {
    /// The key, looked up or not.
    pub key: String,
    /// Why it is not looked up: the `fwd` label, or `hit-for-miss` where the
    /// last answer could not be kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<&'static str>,
    /// The request fields that cause it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<String>,
    /// What the token of `Weir-Cache-Bypass` says: `bypass-token` where it is
    /// good, else why it is ignored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<&'static str>,
    /// Whether the answer may be kept, as far as the request goes.
    pub may_store: bool,
    /// Whether the request shows credentials, so that only an answer that says
    /// that it is shared serves it, or is kept.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub only_shared: bool,
    /// Whether the client wants no answer but a stored one.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub only_if_cached: bool,
    /// The largest body that is kept, in bytes.
    pub max_body: u64,
}

/// What the origin would get.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "UpstreamRequest"))]
pub struct Sent {
    /// The upstream's name.
    pub name: String,
    /// The URL.
    pub url: String,
    /// How long the head of the answer may take, in milliseconds.
    pub first_byte_ms: u64,
    /// Changes to the client's fields, in order.
    pub edits: Vec<EditText>,
}

/// A change of one field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "FieldEdit"))]
pub struct EditText {
    /// `set`, `append` or `remove`.
    pub op: &'static str,
    /// The field.
    pub field: String,
    /// Its new value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}
