//! Stage 1, identity: who is calling?
//!
//! 1. The **peer** is the address in one field that the platform sets
//!    (`CF-Connecting-IP`). A client cannot choose it.
//! 2. Only where the peer is one of our own hops is the chain it passed on
//!    (`X-Forwarded-For` or `Forwarded`) walked, right to left, over our own
//!    hops. The first address that is not ours is the **client**. What stands
//!    left of it was written by strangers and is not read.
//! 3. A missing or garbled address has a stated outcome; it is never empty.
//! 4. IPv4-mapped IPv6 addresses are IPv4 addresses. IPv6 clients are counted
//!    by network, since one customer has a whole /64 (RFC 6177).
//! 5. A request id is kept from our own hops only, and when it is well formed;
//!    anybody may begin a trace.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr};

use http::header::HeaderName;
use serde::Deserialize;

use crate::error::{Reason, Reject};
use crate::exchange::{Head, NameSet, Quoting, is_token, list, trim};
use crate::policy::decode::Problems;
use crate::policy::units::{Address, FieldName};
use crate::stages::ip_filter::prefix::Prefix;
use crate::text;

/// `identity` in the policy.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct IdentityConfig {
    /// Where the client's address comes from.
    pub client_address: ClientAddressConfig,
    /// How many bits of an IPv6 address make one client, 32 to 128. Default
    /// 64: the smallest network that is handed out (RFC 6177).
    #[cfg_attr(feature = "schema", schemars(range(min = 32, max = 128), extend("default" = 64)))]
    pub ipv6_prefix: u8,
    /// Where the request id is read and written.
    pub request_id: RequestIdConfig,
    /// Our name in `CDN-Loop` (RFC 8586), a token. Give each of several
    /// gateways in a row its own. Default `edgeweir`.
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::policy::schema::token", extend("default" = "edgeweir")))]
    pub cdn_id: String,
}

impl Default for IdentityConfig {
    fn default() -> Self {
        Self {
            client_address: ClientAddressConfig::default(),
            ipv6_prefix: 64,
            request_id: RequestIdConfig::default(),
            cdn_id: "edgeweir".to_owned(),
        }
    }
}

/// `identity.client_address`.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct ClientAddressConfig {
    /// The field in which the platform gives the peer's address: one address,
    /// which a client cannot set. Default `CF-Connecting-IP`.
    #[cfg_attr(feature = "schema", schemars(extend("default" = "CF-Connecting-IP")))]
    pub header: FieldName,
    /// Our own hops in front of the gateway. Default none.
    pub trusted_hops: Vec<Prefix>,
    /// The field that our own hops append to.
    #[cfg_attr(feature = "schema", schemars(extend("default" = "X-Forwarded-For")))]
    pub chain: Chain,
    /// What happens without an address. Default `reject`.
    #[cfg_attr(feature = "schema", schemars(extend("default" = "reject")))]
    pub on_missing: OnMissing,
}

impl Default for ClientAddressConfig {
    fn default() -> Self {
        Self {
            header: FieldName(HeaderName::from_static("cf-connecting-ip")),
            trusted_hops: Vec::new(),
            chain: Chain::default(),
            on_missing: OnMissing::default(),
        }
    }
}

/// The field that our own hops append the address of their peer to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Chain {
    /// The de facto standard.
    #[default]
    #[serde(rename = "X-Forwarded-For")]
    XForwardedFor,
    /// RFC 7239.
    Forwarded,
}

/// What happens when the platform gives no address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum OnMissing {
    /// The request gets 400.
    #[default]
    Reject,
    /// This address is assumed: for local use, where there is no platform.
    Address(Address),
}

/// `identity.request_id`.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct RequestIdConfig {
    /// The field, on requests from our own hops, to the origin and on every
    /// response. Default `X-Request-Id`.
    #[cfg_attr(feature = "schema", schemars(extend("default" = "X-Request-Id")))]
    pub header: FieldName,
}

impl Default for RequestIdConfig {
    fn default() -> Self {
        Self { header: FieldName(HeaderName::from_static("x-request-id")) }
    }
}

pub(crate) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(crate) const FORWARDED: HeaderName = HeaderName::from_static("forwarded");
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The compiled stage.
#[derive(Clone, Debug)]
pub struct IdentityStage {
    /// The field in which the platform gives the peer's address.
    pub peer_field: HeaderName,
    /// Fields that are never passed on to an origin.
    pub never_forwarded: NameSet,
    trusted_hops: Vec<Prefix>,
    chain: Chain,
    on_missing: OnMissing,
    ipv6_prefix: u8,
    /// The field that carries the request id.
    pub request_id_field: HeaderName,
    /// Our name in `CDN-Loop`.
    pub cdn_id: String,
}

/// Who is calling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The address at the other end of the connection to the edge.
    pub peer: IpAddr,
    /// Whether the peer is one of our own hops.
    pub trusted_peer: bool,
    /// The client's address.
    pub address: IpAddr,
    /// The network that counts as one client.
    pub network: Prefix,
    /// The request's name in logs and answers.
    pub request_id: String,
    /// The trace it belongs to.
    pub trace: Trace,
}

/// W3C Trace Context: the trace, and this hop's place in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// 32 lower-case hex digits, not all zero.
    pub trace_id: String,
    /// This hop's span: 16 lower-case hex digits, not all zero.
    pub span_id: String,
    /// The sampling flags, 2 hex digits, as received; `00` for a new trace,
    /// since nothing here records spans.
    pub flags: String,
    /// Whether the client's `traceparent` was usable; if not, its
    /// `tracestate` means nothing (W3C Trace Context, 3.3).
    pub continued: bool,
}

impl Trace {
    /// The `traceparent` for the next hop.
    #[must_use]
    pub fn traceparent(&self) -> String {
        ["00-", &self.trace_id, "-", &self.span_id, "-", &self.flags].concat()
    }
}

impl IdentityConfig {
    /// Checks and compiles.
    pub fn compile(&self, problems: &mut Problems) -> IdentityStage {
        let address = &self.client_address;
        if [X_FORWARDED_FOR, FORWARDED].contains(&address.header.0) {
            problems.add(
                "identity.client_address.header",
                format!("\"{}\"", address.header.0),
                "expected a field that the platform sets and a client cannot, such as \"CF-Connecting-IP\"; \
                 name a forwarded chain in \"chain\" and the hops you trust in \"trusted_hops\"",
            );
        }
        if !(32..=128).contains(&self.ipv6_prefix) {
            problems.add(
                "identity.ipv6_prefix",
                self.ipv6_prefix.to_string(),
                "expected a number from 32 to 128",
            );
        }
        if !is_token(&self.cdn_id) || self.cdn_id.len() > 64 {
            problems.add(
                "identity.cdn_id",
                format!("{:?}", self.cdn_id),
                "expected a token (RFC 9110, 5.6.2) of at most 64 characters",
            );
        }
        let request_id = &self.request_id.header.0;
        let taken =
            *request_id == address.header.0 || crate::stages::upstream::reserved_field(request_id).is_some();
        if taken {
            problems.add(
                "identity.request_id.header",
                format!("\"{request_id}\""),
                "expected a field that has no other meaning, such as \"X-Request-Id\"",
            );
        }
        IdentityStage {
            peer_field: address.header.0.clone(),
            never_forwarded: crate::stages::upstream::never_forwarded(
                address.header.0.clone(),
                request_id.clone(),
            ),
            trusted_hops: address.trusted_hops.clone(),
            chain: address.chain,
            on_missing: address.on_missing,
            ipv6_prefix: self.ipv6_prefix,
            request_id_field: self.request_id.header.0.clone(),
            cdn_id: self.cdn_id.clone(),
        }
    }
}

impl IdentityStage {
    /// The fields that every request is asked for.
    #[must_use]
    pub fn wanted_fields(&self) -> Vec<HeaderName> {
        let mut fields = vec![self.peer_field.clone(), TRACEPARENT];
        if !self.trusted_hops.is_empty() {
            fields.extend([self.request_id_field.clone(), self.chain_field()]);
        }
        fields
    }

    /// The field that our own hops append to.
    #[must_use]
    pub const fn chain_field(&self) -> HeaderName {
        match self.chain {
            Chain::XForwardedFor => X_FORWARDED_FOR,
            Chain::Forwarded => FORWARDED,
        }
    }

    /// Whether an address is assumed where the platform gives none.
    #[must_use]
    pub const fn assumes_address(&self) -> bool {
        matches!(self.on_missing, OnMissing::Address(_))
    }

    /// Says who is calling. `fresh` is 128 random bits, used for what the
    /// request does not bring.
    ///
    /// # Errors
    /// [`Reason::ClientAddress`] when the address is missing or garbled.
    pub fn identify(&self, head: &impl Head, fresh: u128) -> Result<Identity, Reject> {
        let peer = self.peer(head)?;
        let trusted_peer = self.is_trusted(peer);
        let address = if trusted_peer { self.walk(head, peer)? } else { peer };
        let request_id = trusted_peer
            .then(|| head.field(&self.request_id_field))
            .flatten()
            .filter(|id| is_request_id(id))
            .map_or_else(|| text::hex(fresh, 32), Cow::into_owned);
        let trace = trace(head.field(&TRACEPARENT).as_deref(), fresh);
        Ok(Identity { peer, trusted_peer, address, network: self.network(address), request_id, trace })
    }

    /// The network that counts as one client.
    #[must_use]
    pub fn network(&self, address: IpAddr) -> Prefix {
        let length = if address.is_ipv4() { 32 } else { self.ipv6_prefix };
        // The fallback is unreachable for a checked policy, and still counts
        // the address by itself.
        Prefix::containing(address, length).unwrap_or_else(|| Prefix::host(address))
    }

    fn peer(&self, head: &impl Head) -> Result<IpAddr, Reject> {
        match (head.field(&self.peer_field), self.on_missing) {
            (Some(text), _) => parse_address(trim(&text))
                .ok_or_else(|| Reject::new(Reason::ClientAddress).detail("The client address is garbled.")),
            (None, OnMissing::Address(address)) => Ok(unmapped(address.0)),
            (None, OnMissing::Reject) => {
                Err(Reject::new(Reason::ClientAddress).detail("The client address is missing."))
            }
        }
    }

    /// The part of a Forwarded field that our own hops wrote: from the client's
    /// element on. What stands left of it may hold a stranger's `host`, which
    /// frameworks build links from.
    #[must_use]
    pub fn since_client<'a>(&self, field: &'a str) -> &'a str {
        let Some(nodes) = forwarded_for(field) else {
            return "";
        };
        let ours =
            nodes.iter().rev().take_while(|node| parse_node(node).is_some_and(|node| self.is_trusted(node)));
        let keep = ours.count().saturating_add(1);
        let mut quoting = Quoting::default();
        let mut commas = Vec::new();
        for (at, character) in field.char_indices() {
            if character == ',' && !quoting.is_quoted() {
                commas.push(at.saturating_add(1));
            }
            quoting.follow(character);
        }
        // Empty elements count as commas too, so at most too little is kept.
        let start = commas.len().checked_sub(keep).and_then(|index| commas.get(index)).copied();
        trim(field.get(start.unwrap_or_default()..).unwrap_or_default())
    }

    /// Whether the address is one of our own hops.
    #[must_use]
    pub fn is_trusted(&self, address: IpAddr) -> bool {
        self.trusted_hops.iter().any(|hop| hop.contains(address))
    }

    /// Walks the chain from its end. An entry that is not an address, reached
    /// over our own hops only, means that a hop of ours is set up wrongly.
    fn walk(&self, head: &impl Head, peer: IpAddr) -> Result<IpAddr, Reject> {
        let Some(field) = head.field(&self.chain_field()) else {
            return Ok(peer);
        };
        let garbled =
            || Reject::new(Reason::ClientAddress).detail("The chain of forwarded addresses is garbled.");
        let nodes: Vec<Cow<'_, str>> = match self.chain {
            Chain::XForwardedFor => list(&field).map(Cow::Borrowed).collect(),
            Chain::Forwarded => forwarded_for(&field).ok_or_else(garbled)?,
        };
        let mut client = peer;
        for node in nodes.iter().rev() {
            client = parse_node(node).ok_or_else(garbled)?;
            if !self.is_trusted(client) {
                break;
            }
        }
        Ok(client)
    }
}

fn is_request_id(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

/// An address; IPv4-mapped IPv6 (RFC 4291, 2.5.5.2) is IPv4.
#[must_use]
pub fn parse_address(text: &str) -> Option<IpAddr> {
    text.parse().ok().map(unmapped)
}

fn unmapped(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

/// A node of a forwarded chain: an address, with a port or in brackets
/// (RFC 7239, 6). `unknown` and obfuscated names are no addresses.
#[must_use]
pub fn parse_node(text: &str) -> Option<IpAddr> {
    if let Some(address) = parse_address(text) {
        return Some(address);
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (inner, port) = rest.split_once(']')?;
        let port_is_good = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return port_is_good.then(|| inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6).map(unmapped)).flatten();
    }
    let (address, port) = text.split_once(':')?;
    is_port(port).then(|| address.parse().ok().map(IpAddr::V4)).flatten()
}

fn is_port(text: &str) -> bool {
    (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The `for` node of every element of a Forwarded field (RFC 7239, 4);
/// `None` when the field does not parse. An element without `for` gives
/// `unknown`, so it cannot be skipped over.
#[must_use]
pub fn forwarded_for(field: &str) -> Option<Vec<Cow<'_, str>>> {
    let mut nodes = Vec::new();
    let mut node: Option<Cow<'_, str>> = None;
    let mut in_element = false;
    let mut rest = trim(field);
    while !rest.is_empty() {
        if let Some(next) = rest.strip_prefix(',') {
            if in_element {
                nodes.push(node.take().unwrap_or(Cow::Borrowed("unknown")));
            }
            in_element = false;
            rest = trim(next);
            continue;
        }
        in_element = true;
        if let Some(next) = rest.strip_prefix(';') {
            rest = next;
            continue;
        }
        let (name, value, next) = forwarded_pair(rest)?;
        if name.eq_ignore_ascii_case("for") {
            // RFC 7239, 4: each parameter at most once an element.
            if node.is_some() {
                return None;
            }
            node = Some(value);
        }
        rest = trim(next);
        if !(rest.is_empty() || rest.starts_with([',', ';'])) {
            return None;
        }
    }
    if in_element {
        nodes.push(node.unwrap_or(Cow::Borrowed("unknown")));
    }
    Some(nodes)
}

/// `token = token / quoted-string`, and what follows it.
fn forwarded_pair(text: &str) -> Option<(&str, Cow<'_, str>, &str)> {
    let (name, rest) = text.split_once('=')?;
    if !is_token(name) {
        return None;
    }
    let Some(quoted) = rest.strip_prefix('"') else {
        let end = rest.find([',', ';', ' ', '\t']).unwrap_or(rest.len());
        let (value, next) = rest.split_at_checked(end)?;
        return is_token_or_node(value).then_some((name, Cow::Borrowed(value), next));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((name, Cow::Owned(value), quoted.get(at.saturating_add(1)..)?)),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

/// Senders leave the quotes off addresses with ports often enough.
fn is_token_or_node(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"\\,;=".contains(&byte))
}

/// Continues the client's trace, or begins one.
fn trace(traceparent: Option<&str>, fresh: u128) -> Trace {
    // Never all zero, which means "absent" (W3C Trace Context, 3.2.2.4). A
    // new trace is named like the request, which makes one easy to find from
    // the other; none of these is a secret.
    let span_id = text::hex((fresh >> 64) | 1, 16);
    match traceparent.map(trim).and_then(parse_traceparent) {
        Some((trace_id, flags)) => {
            Trace { trace_id: trace_id.to_owned(), span_id, flags: flags.to_owned(), continued: true }
        }
        None => {
            Trace { trace_id: text::hex(fresh | 1, 32), span_id, flags: "00".to_owned(), continued: false }
        }
    }
}

/// The trace id and the flags of a `traceparent` (W3C Trace Context, 3.2).
#[must_use]
pub fn parse_traceparent(text: &str) -> Option<(&str, &str)> {
    let mut parts = text.splitn(5, '-');
    let (version, trace_id, parent_id, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |part: &str, length: usize| {
        part.len() == length
            && part.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    let is_zero = |part: &str| part.bytes().all(|byte| byte == b'0');
    let good = is_hex(version, 2)
        && version != "ff"
        // Version 00 ends here; a later one may go on after a dash.
        && (version != "00" || parts.next().is_none())
        && is_hex(trace_id, 32)
        && !is_zero(trace_id)
        && is_hex(parent_id, 16)
        && !is_zero(parent_id)
        && is_hex(flags, 2);
    good.then_some((trace_id, flags))
}
