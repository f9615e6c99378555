//! Stage 13, upstream: the request that the origin gets.
//!
//! 1. The origin is an upstream's own URL, or the request's own host (the
//!    module on a route before an existing origin).
//! 2. A request that names us in `CDN-Loop` has been here before and is
//!    refused (RFC 8586).
//! 3. Hop-by-hop fields end here (RFC 9110, 7.6.1); WebSocket upgrades pass.
//! 4. What the origin is told about the client is what we know, not what the
//!    client says: forwarded fields are replaced, unless one of our own hops
//!    sent them, then they are continued.
//! 5. Fields that make some origins read another target than we judged are
//!    removed.

pub mod fields;

use std::time::Duration;

use http::Method;
use http::header::{CONNECTION, HeaderName, UPGRADE};
use serde::Deserialize;

pub(crate) use self::fields::imitations;
use self::fields::{CDN_LOOP, TRACESTATE, X_FORWARDED_HOST, X_FORWARDED_PROTO};
pub use self::fields::{HOP_BY_HOP, connection_listed, never_forwarded, reserved_field};
use super::identity::{ChainState, FORWARDED, Identity, IdentityStage, TRACEPARENT, X_FORWARDED_FOR};
use super::target::{Target, parse_authority};
use crate::error::{Reason, Reject};
use crate::exchange::{Edit, Head, list, trim};
use crate::policy::decode::{Problems, Trail};
use crate::policy::units::Span;
use crate::text;

/// `upstreams.NAME` in the policy.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct UpstreamConfig {
    /// A URL of scheme, host and port, or `"request"` for the request's own.
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::policy::schema::origin"))]
    pub origin: String,
    /// How long things may take.
    #[serde(default)]
    pub timeouts: TimeoutConfig,
}

/// `upstreams.NAME.timeouts`.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct TimeoutConfig {
    /// Until the head of the response has arrived, connection and request
    /// included, 10ms to 10m. Default 30s.
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::policy::schema::optional_span::<10, 600_000>", extend("default" = "30s")))]
    pub first_byte: Option<Span>,
}

/// A compiled upstream.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Its name.
    pub name: String,
    /// Scheme and authority, without a final slash; `None` for the request's
    /// own.
    origin: Option<String>,
    /// How long until the head of the response.
    pub first_byte: Duration,
}

/// What is sent to the origin, besides the untouched body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamRequest {
    /// The URL.
    pub url: String,
    /// Changes to the client's fields.
    pub edits: Vec<Edit>,
    /// How long until the head of the response.
    pub first_byte: Duration,
}

/// Whether a response with this status can be passed on: a final one
/// (RFC 9110, 15), or the upgrade that was asked for. The runtime hands on
/// whatever the origin wrote, 099 and 999 too, and an interim response as if
/// it were final.
#[must_use]
pub fn is_acceptable(status: u16, websocket: bool) -> bool {
    (200..=599).contains(&status) || (status == 101 && websocket)
}

impl UpstreamConfig {
    /// Checks and compiles.
    pub fn compile(&self, path: &Trail<'_>, name: &str, problems: &mut Problems) -> Upstream {
        let origin = if self.origin == "request" {
            None
        } else {
            let origin = parse_origin(&self.origin);
            if origin.is_none() {
                problems.add(
                    path.entry("origin"),
                    format!("{:?}", self.origin),
                    "expected \"request\" or a URL of scheme, host and port only, such as \"https://app.example.com\"",
                );
            }
            Some(origin.unwrap_or_default())
        };
        let first_byte = self.timeouts.first_byte.map_or(Duration::from_secs(30), |span| span.0);
        if !(Duration::from_millis(10)..=Duration::from_secs(600)).contains(&first_byte) {
            let timeouts = path.entry("timeouts");
            problems.add(
                timeouts.entry("first_byte"),
                format!("{first_byte:?}"),
                "expected \"10ms\" to \"10m\"",
            );
        }
        Upstream { name: name.to_owned(), origin, first_byte }
    }
}

/// One text for all spellings of `upstreams.NAME.origin` that mean the same.
#[must_use]
pub fn normal_origin(text: &str) -> Option<String> {
    if text == "request" { Some(text.to_owned()) } else { parse_origin(text) }
}

fn parse_origin(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if scheme != "http" && scheme != "https" {
        return None;
    }
    let (host, port) = parse_authority(authority)?;
    Some(match port {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    })
}

/// The request fields that [`Upstream::request`] reads.
pub fn request_fields() -> impl Iterator<Item = HeaderName> {
    [CONNECTION, UPGRADE, CDN_LOOP, TRACESTATE, X_FORWARDED_HOST, X_FORWARDED_PROTO].into_iter()
}

/// Refuses a request that has been here before.
///
/// # Errors
/// [`Reason::Loop`].
pub fn refuse_loop(head: &impl Head, cdn_id: &str) -> Result<(), Reject> {
    let seen = head.field(&CDN_LOOP).is_some_and(|field| {
        // RFC 8586, 2: cdn-info is an id, then parameters.
        list(&field).any(|info| trim(info.split(';').next().unwrap_or_default()).eq_ignore_ascii_case(cdn_id))
    });
    if seen { Err(Reject::new(Reason::Loop)) } else { Ok(()) }
}

/// Whether the request asks for a WebSocket (RFC 6455, 4.1).
#[must_use]
pub fn is_websocket(head: &impl Head) -> bool {
    head.method() == Method::GET
        && head
            .field(&UPGRADE)
            .is_some_and(|field| list(&field).any(|name| name.eq_ignore_ascii_case("websocket")))
}

impl Upstream {
    /// Whether it is the host that the request names.
    #[must_use]
    pub const fn is_own_host(&self) -> bool {
        self.origin.is_none()
    }

    /// Builds what the origin gets.
    #[must_use]
    pub fn request(
        &self,
        head: &impl Head,
        target: &Target<'_>,
        identity: &Identity,
        stage: &IdentityStage,
    ) -> UpstreamRequest {
        let authority = target.authority();
        let url = match &self.origin {
            Some(origin) => [origin, target.as_sent].concat(),
            None => format!("{}://{authority}{}", target.scheme, target.as_sent),
        };
        let mut edits = removals(head, stage);
        forwarded_edits(head, target, &authority, identity, stage, &mut edits);
        edits.push(Edit::Set(stage.request_id_field.clone(), identity.request_id.clone()));
        edits.push(Edit::Set(TRACEPARENT, identity.trace.traceparent()));
        if !identity.trace.continued && head.field(&TRACESTATE).is_some() {
            edits.push(Edit::Remove(TRACESTATE));
        }
        edits.push(Edit::Append(CDN_LOOP, stage.cdn_id.clone()));
        UpstreamRequest { url, edits, first_byte: self.first_byte }
    }
}

/// The fields that end here, of those that are there.
fn removals(head: &impl Head, stage: &IdentityStage) -> Vec<Edit> {
    let is_there = |name: &HeaderName| head.field(name).is_some();
    let mut edits = Vec::with_capacity(16);
    edits.extend(head.present(&stage.never_forwarded).into_iter().map(Edit::Remove));
    if is_there(&UPGRADE) && !is_websocket(head) {
        edits.push(Edit::Remove(UPGRADE));
    }
    if let Some(field) = head.field(&CONNECTION) {
        let listed = connection_listed(&field, &stage.request_id_field);
        edits.extend(listed.filter(|name| *name != stage.peer_field).map(Edit::Remove));
    }
    edits
}

/// The scheme that the origin is told, where it alone can stand in an answer;
/// `None` when a hop of ours tells it another host, or what is no scheme.
#[must_use]
pub fn told_scheme<'a>(head: &impl Head, target: &Target<'a>, identity: &Identity) -> Option<&'a str> {
    if !identity.trusted_peer {
        return Some(target.scheme);
    }
    let said = |name: &HeaderName| head.field(name).filter(|value| !value.is_empty());
    if said(&X_FORWARDED_HOST).is_some_and(|host| host != target.authority()) {
        return None;
    }
    match said(&X_FORWARDED_PROTO).as_deref() {
        None => Some(target.scheme),
        Some("http") => Some("http"),
        Some("https") => Some("https"),
        Some(_) => None,
    }
}

/// What the origin is told about the client (RFC 7239, and its predecessors).
fn forwarded_edits(
    head: &impl Head,
    target: &Target<'_>,
    authority: &str,
    identity: &Identity,
    stage: &IdentityStage,
    edits: &mut Vec<Edit>,
) {
    let peer = identity.peer;
    let address = text::address(peer);
    let (open, close) = if peer.is_ipv6() { ("\"[", "]\"") } else { ("", "") };
    let element = ["for=", open, &address, close, ";host=\"", authority, "\";proto=", target.scheme].concat();
    // From our own hop: what it says about the first hop stands, and the hop
    // itself is added to the chain, where that could be read. From anybody
    // else: nothing stands.
    let chain = (identity.chain == ChainState::Walked).then(|| stage.chain_field());
    let before =
        |name: &HeaderName| chain.as_ref().filter(|field| *field == name).and_then(|_| head.field(name));
    let before = |name: &HeaderName| {
        let value = before(name)?;
        Some(if *name == FORWARDED { stage.since_client(&value).to_owned() } else { value.into_owned() })
    };
    let extend = |name: HeaderName, own: String| match before(&name) {
        Some(value) if !value.is_empty() => Edit::Set(name, format!("{value}, {own}")),
        _ => Edit::Set(name, own),
    };
    edits.push(extend(X_FORWARDED_FOR, address));
    edits.push(extend(FORWARDED, element));
    let said =
        |name: &HeaderName| identity.trusted_peer && head.field(name).is_some_and(|value| !value.is_empty());
    if !said(&X_FORWARDED_HOST) {
        edits.push(Edit::Set(X_FORWARDED_HOST, authority.to_owned()));
    }
    if !said(&X_FORWARDED_PROTO) {
        edits.push(Edit::Set(X_FORWARDED_PROTO, target.scheme.to_owned()));
    }
}
