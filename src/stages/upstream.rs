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

use std::time::Duration;

use http::Method;
use http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, HeaderName, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use serde::Deserialize;

use super::identity::{FORWARDED, Identity, IdentityStage, TRACEPARENT, X_FORWARDED_FOR};
use super::target::{Target, parse_authority};
use crate::error::{Reason, Reject};
use crate::exchange::{Edit, Head, list, trim};
use crate::policy::decode::{Problems, join};
use crate::policy::units::Span;

/// `upstreams.NAME` in the policy.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpstreamConfig {
    /// A URL of scheme, host and port, or `"request"` for the request's own.
    pub origin: String,
    /// How long things may take.
    #[serde(default)]
    pub timeouts: TimeoutConfig,
}

/// `upstreams.NAME.timeouts`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TimeoutConfig {
    /// Until the head of the response has arrived, connection and request
    /// included, 10ms to 10m. Default 30s.
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

pub(crate) const CDN_LOOP: HeaderName = HeaderName::from_static("cdn-loop");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Fields that concern one connection only (RFC 9110, 7.6.1), and those that
/// were meant to (`Keep-Alive`, `Proxy-Connection`).
pub const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
];

/// Fields by which some origins take another target than the request line's
/// (IIS, Symfony, Zend), and forwarded fields that nobody here sets. A client
/// could use them to reach what a rule protects.
const OVERRIDES: [HeaderName; 7] = [
    HeaderName::from_static("x-original-url"),
    HeaderName::from_static("x-rewrite-url"),
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-prefix"),
    HeaderName::from_static("x-forwarded-server"),
    HeaderName::from_static("x-forwarded-scheme"),
    HeaderName::from_static("x-real-ip"),
];

/// Fields that this runtime cannot pass on. `Expect`: an origin answers it
/// with 100 (Continue), which the runtime takes for the final response. The
/// body is sent either way, so the origin loses only the chance to refuse it
/// early (RFC 9110, 10.1.1 lets a server go without).
const UNSUPPORTED: [HeaderName; 1] = [http::header::EXPECT];

/// Whether a response with this status can be passed on: a final one
/// (RFC 9110, 15), or the upgrade that was asked for. The runtime hands on
/// whatever the origin wrote, 099 and 999 too, and an interim response as if
/// it were final.
#[must_use]
pub fn is_acceptable(status: u16, websocket: bool) -> bool {
    (200..=599).contains(&status) || (status == 101 && websocket)
}

/// Whether a field has a meaning of its own here, so it cannot carry the
/// request id.
#[must_use]
pub fn reserved_field(name: &HeaderName) -> Option<&str> {
    let taken = HOP_BY_HOP.contains(name)
        || OVERRIDES.contains(name)
        || [
            FORWARDED,
            X_FORWARDED_FOR,
            X_FORWARDED_HOST,
            X_FORWARDED_PROTO,
            CDN_LOOP,
            TRACEPARENT,
            TRACESTATE,
        ]
        .contains(name)
        || [HOST, COOKIE, CONTENT_LENGTH, CONTENT_TYPE, UPGRADE, CACHE_CONTROL].contains(name);
    taken.then_some(name.as_str())
}

impl UpstreamConfig {
    /// Checks and compiles.
    pub fn compile(&self, path: &str, name: &str, problems: &mut Problems) -> Upstream {
        let origin = if self.origin == "request" {
            None
        } else {
            let origin = parse_origin(&self.origin);
            if origin.is_none() {
                problems.add(
                    join(path, "origin"),
                    format!("{:?}", self.origin),
                    "expected \"request\" or a URL of scheme, host and port only, such as \"https://app.example.com\"",
                );
            }
            Some(origin.unwrap_or_default())
        };
        let first_byte = self.timeouts.first_byte.map_or(Duration::from_secs(30), |span| span.0);
        if !(Duration::from_millis(10)..=Duration::from_secs(600)).contains(&first_byte) {
            let at = join(&join(path, "timeouts"), "first_byte");
            problems.add(at, format!("{first_byte:?}"), "expected \"10ms\" to \"10m\"");
        }
        Upstream { name: name.to_owned(), origin, first_byte }
    }
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
    HOP_BY_HOP.into_iter().chain(OVERRIDES).chain(UNSUPPORTED).chain([UPGRADE, CDN_LOOP, TRACESTATE])
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
            Some(origin) => format!("{origin}{}", target.as_sent),
            None => format!("{}://{authority}{}", target.scheme, target.as_sent),
        };
        let mut edits = removals(head, &stage.request_id_field);
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

/// The fields that end here.
fn removals(head: &impl Head, request_id: &HeaderName) -> Vec<Edit> {
    let is_there = |name: &HeaderName| head.field(name).is_some();
    let mut edits: Vec<Edit> = HOP_BY_HOP
        .iter()
        .chain(&OVERRIDES)
        .chain(&UNSUPPORTED)
        .filter(|name| is_there(name))
        .cloned()
        .map(Edit::Remove)
        .collect();
    if is_there(&UPGRADE) && !is_websocket(head) {
        edits.push(Edit::Remove(UPGRADE));
    }
    if let Some(field) = head.field(&CONNECTION) {
        edits.extend(connection_listed(&field, request_id).map(Edit::Remove));
    }
    edits
}

/// The fields that a Connection field names. Naming a field that is meant
/// for every recipient is an error of the sender (RFC 9110, 7.6.1), and a
/// known way to make proxies drop what the origin relies on, so those stay.
pub fn connection_listed<'a>(
    field: &'a str,
    request_id: &'a HeaderName,
) -> impl Iterator<Item = HeaderName> + 'a {
    list(field).filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok()).filter(move |name| {
        let kept = reserved_field(name).is_some() || name == request_id || name.as_str().starts_with("cf-");
        !kept
    })
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
    let node = if peer.is_ipv6() { format!("\"[{peer}]\"") } else { peer.to_string() };
    let element = format!("for={node};host=\"{authority}\";proto={}", target.scheme);
    // From our own hop: what it says about the first hop stands, and the hop
    // itself is added to the chain. From anybody else: nothing stands.
    let chain = if identity.trusted_peer { Some(stage.chain_field()) } else { None };
    let before =
        |name: &HeaderName| chain.as_ref().filter(|field| *field == name).and_then(|_| head.field(name));
    let extend = |name: HeaderName, own: String| match before(&name) {
        Some(value) => Edit::Set(name, format!("{value}, {own}")),
        None => Edit::Set(name, own),
    };
    edits.push(extend(X_FORWARDED_FOR, peer.to_string()));
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
