//! `identity` in the policy.

use http::header::HeaderName;
use serde::Deserialize;

use super::address::Seen;
use super::{FORWARDED, IdentityStage, Trust, X_FORWARDED_FOR};
use crate::exchange::is_token;
use crate::policy::decode::Problems;
use crate::policy::units::{Address, FieldName, HopPrefix};
use crate::stages::upstream;

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
#[cfg_attr(feature = "schema", schemars(transform = crate::policy::schema::conditions::one_trust))]
#[serde(deny_unknown_fields, default)]
pub struct ClientAddressConfig {
    /// The field in which the platform gives the peer's address: one address,
    /// which a client cannot set. Default `CF-Connecting-IP`.
    #[cfg_attr(feature = "schema", schemars(extend("default" = "CF-Connecting-IP")))]
    pub header: FieldName,
    /// Our own hops in front of the gateway, by their addresses. Default none.
    pub trusted_hops: Vec<HopPrefix>,
    /// Our own hops in front of the gateway, by their number N, 1 to 16: every
    /// request comes over exactly so many, whatever their addresses. The peer
    /// is the nearest of them, so the client is the Nth element from the right
    /// end of the chain. Not beside `trusted_hops`. Safe only where nobody
    /// reaches the gateway past the hops: whoever does chooses its address.
    /// Default none.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 16)))]
    pub trusted_depth: Option<u8>,
    /// The field that our own hops append to.
    #[cfg_attr(feature = "schema", schemars(extend("default" = "X-Forwarded-For")))]
    pub chain: Chain,
    /// What happens without an address. Default `reject`.
    #[cfg_attr(feature = "schema", schemars(extend("default" = "reject")))]
    pub on_missing: OnMissing,
    /// What happens when the chain ends before the client: it is absent,
    /// empty, or has fewer elements than `trusted_depth`. Default `peer` with
    /// `trusted_hops`, since a hop that began the request itself sends none,
    /// and `reject` with `trusted_depth`.
    pub on_short_chain: Option<OnBadChain>,
    /// What happens when the client's place in the chain holds no address, or
    /// that of a hop before it cannot be read. Default `reject`.
    #[cfg_attr(feature = "schema", schemars(extend("default" = "reject")))]
    pub on_garbled_chain: OnBadChain,
}

impl Default for ClientAddressConfig {
    fn default() -> Self {
        Self {
            header: FieldName(HeaderName::from_static("cf-connecting-ip")),
            trusted_hops: Vec::new(),
            trusted_depth: None,
            chain: Chain::default(),
            on_missing: OnMissing::default(),
            on_short_chain: None,
            on_garbled_chain: OnBadChain::default(),
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

/// What happens when a chain does not say who the client is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum OnBadChain {
    /// The request gets 400.
    #[default]
    Reject,
    /// The peer is the client: all requests that it passes on so count as one
    /// client's.
    Peer,
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

/// The largest `trusted_depth`.
const MOST_DEPTH: u8 = 16;

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
        let taken = *request_id == address.header.0 || upstream::reserved_field(request_id).is_some();
        if taken {
            problems.add(
                "identity.request_id.header",
                format!("\"{request_id}\""),
                "expected a field that has no other meaning, such as \"X-Request-Id\"",
            );
        }
        let trust = address.trust(problems);
        let on_short_chain = address.on_short_chain.unwrap_or(match trust {
            Trust::Depth(_) => OnBadChain::Reject,
            Trust::Nobody | Trust::Hops(_) => OnBadChain::Peer,
        });
        IdentityStage {
            peer_field: address.header.0.clone(),
            never_forwarded: upstream::never_forwarded(address.header.0.clone(), request_id.clone()),
            trust,
            chain: address.chain,
            assumed_peer: match address.on_missing {
                OnMissing::Reject => None,
                OnMissing::Address(assumed) => Some(Seen::of(assumed.0)),
            },
            on_short_chain,
            on_garbled_chain: address.on_garbled_chain,
            ipv6_prefix: self.ipv6_prefix,
            request_id_field: request_id.clone(),
            cdn_id: self.cdn_id.clone(),
        }
    }
}

impl ClientAddressConfig {
    fn trust(&self, problems: &mut Problems) -> Trust {
        let Some(depth) = self.trusted_depth else {
            if self.trusted_hops.is_empty() {
                return Trust::Nobody;
            }
            return Trust::Hops(self.trusted_hops.iter().map(|hop| hop.0).collect());
        };
        if !(1..=MOST_DEPTH).contains(&depth) {
            problems.add(
                "identity.client_address.trusted_depth",
                depth.to_string(),
                format!("expected a number from 1 to {MOST_DEPTH}"),
            );
        }
        if !self.trusted_hops.is_empty() {
            problems.add(
                "identity.client_address.trusted_depth",
                depth.to_string(),
                "expected none beside \"trusted_hops\": your hops are known by their addresses or by their number",
            );
        }
        Trust::Depth(depth.into())
    }
}
