//! Stage 1, identity: who is calling? The one resolver: bans, rules, limits,
//! canary and the log all go by what it says.
//!
//! 1. The **peer** is the address in one field that the platform sets
//!    (`CF-Connecting-IP`). A client cannot choose it.
//! 2. A chain of addresses (`X-Forwarded-For`, or `Forwarded` of RFC 7239)
//!    counts only as far as our own hops wrote it. Each appends the address of
//!    its peer, so that is at the right end (RFC 7239, 4). Nothing left of the
//!    client's element is read: strangers wrote it.
//! 3. Our hops are known **by their addresses** (`trusted_hops`): where the
//!    peer is one of them, the chain is walked from the right over our own,
//!    and the first address that is not ours is the **client**. Who comes past
//!    the hops is a peer that is none of them, and its chain is not read.
//! 4. Or **by their number** (`trusted_depth`): the peer is taken for the
//!    nearest of so many hops, whatever its address, and the client is the
//!    address that stands so far from the right end. That is Envoy's
//!    `xff_num_trusted_hops` at an edge (`use_remote_address: true`, see its
//!    documentation, "HTTP header manipulation"). Nothing shows that a request
//!    came over the hops, so who reaches the gateway past them chooses its
//!    address.
//! 5. A peer's address that is garbled is refused; one that is missing, and a
//!    chain that is too short or garbled, has the policy's outcome. An address
//!    is never empty.
//! 6. Every form of an address is one address, see [`address`]. IPv6 clients
//!    are counted by network, since one customer has a whole /64 (RFC 6177).
//! 7. A request id is kept from our own hops only, and when it is well formed;
//!    with `trusted_depth`, where the chain is as deep as that. Anybody may
//!    begin a trace.

pub mod address;
pub mod chain;
pub mod config;
mod trace;

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};

use http::header::HeaderName;

use self::address::Seen;
pub use self::address::{parse_address, parse_node};
use self::chain::{Element, Elements, MOST_HOPS};
use self::config::{Chain, OnBadChain};
use self::trace::is_request_id;
pub use self::trace::{Trace, parse_traceparent};
use crate::error::{Reason, Reject};
use crate::exchange::{Head, NameSet, trim};
use crate::stages::ip_filter::prefix::Prefix;
use crate::text;

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
    trust: Trust,
    chain: Chain,
    /// The peer's address where the platform gives none; `None` refuses.
    assumed_peer: Option<Seen>,
    on_short_chain: OnBadChain,
    on_garbled_chain: OnBadChain,
    ipv6_prefix: u8,
    /// The field that carries the request id.
    pub request_id_field: HeaderName,
    /// Our name in `CDN-Loop`.
    pub cdn_id: String,
}

/// How our own hops are known.
#[derive(Clone, Debug)]
enum Trust {
    /// There are none.
    Nobody,
    /// By their addresses.
    Hops(Vec<Prefix>),
    /// By their number, at least 1.
    Depth(usize),
}

/// Who is calling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The address at the other end of the connection to the edge.
    pub peer: IpAddr,
    /// Whether the peer is one of our own hops.
    pub trusted_peer: bool,
    /// What became of the chain.
    pub chain: ChainState,
    /// The client's address.
    pub address: IpAddr,
    /// The network that counts as one client.
    pub network: Prefix,
    /// The request's name in logs and answers.
    pub request_id: String,
    /// The trace it belongs to.
    pub trace: Trace,
}

/// What became of the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainState {
    /// The peer is none of our hops: the chain is a stranger's.
    NotRead,
    /// The client stands in it.
    Walked,
    /// It ends before the client; the peer is taken.
    Short,
    /// It cannot be read as far as the client; the peer is taken.
    Garbled,
}

impl ChainState {
    /// The label used everywhere.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotRead => "not-read",
            Self::Walked => "walked",
            Self::Short => "short",
            Self::Garbled => "garbled",
        }
    }

    /// Whether the peer was taken because the chain does not say who the
    /// client is.
    #[must_use]
    pub const fn is_fallback(self) -> bool {
        matches!(self, Self::Short | Self::Garbled)
    }
}

/// Where a walk along the chain ended.
enum Walked {
    /// At the client, whose element begins here.
    Client(IpAddr, usize),
    /// At the chain's end.
    Short,
    /// At something that cannot be read.
    Garbled,
}

impl IdentityStage {
    /// The fields that every request is asked for.
    #[must_use]
    pub fn wanted_fields(&self) -> Vec<HeaderName> {
        let mut fields = vec![self.peer_field.clone(), TRACEPARENT];
        if !matches!(self.trust, Trust::Nobody) {
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

    /// The field by which a request might be known all the same that another
    /// policy refused for its address or chain.
    #[must_use]
    pub fn lenient_field(&self) -> Option<HeaderName> {
        if self.assumed_peer.is_some() {
            return Some(self.peer_field.clone());
        }
        let takes_peer = match self.trust {
            Trust::Nobody => false,
            // A hop's own request has no chain: nobody refuses that.
            Trust::Hops(_) => self.on_garbled_chain == OnBadChain::Peer,
            Trust::Depth(_) => [self.on_short_chain, self.on_garbled_chain].contains(&OnBadChain::Peer),
        };
        takes_peer.then(|| self.chain_field())
    }

    /// Says who is calling. `fresh` is 128 random bits, used for what the
    /// request does not bring.
    ///
    /// # Errors
    /// [`Reason::ClientAddress`] when the address is missing or garbled, or
    /// the chain is short or garbled and the policy refuses such a one.
    pub fn identify(&self, head: &impl Head, fresh: u128) -> Result<Identity, Reject> {
        let peer = self.peer(head)?;
        let (chain, address) = match self.reads_chain(peer) {
            true => self.client(head, peer)?,
            false => (ChainState::NotRead, peer.address),
        };
        let trusted_peer = match self.trust {
            Trust::Nobody => false,
            Trust::Hops(_) => chain != ChainState::NotRead,
            // What has no such chain did not come over our hops.
            Trust::Depth(_) => chain == ChainState::Walked,
        };
        let request_id = trusted_peer
            .then(|| head.field(&self.request_id_field))
            .flatten()
            .filter(|id| is_request_id(id))
            .map_or_else(|| text::hex(fresh, 32), Cow::into_owned);
        let trace = Trace::new(head.field(&TRACEPARENT).as_deref(), fresh);
        let network = self.network(address);
        Ok(Identity { peer: peer.address, trusted_peer, chain, address, network, request_id, trace })
    }

    /// Somebody of whom nothing is known. All of them count as one client.
    #[must_use]
    pub fn unknown(&self, fresh: u128) -> Identity {
        let nowhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        Identity {
            peer: nowhere,
            trusted_peer: false,
            chain: ChainState::NotRead,
            address: nowhere,
            network: self.network(nowhere),
            request_id: text::hex(fresh, 32),
            trace: Trace::new(None, fresh),
        }
    }

    /// The network that counts as one client.
    #[must_use]
    pub fn network(&self, address: IpAddr) -> Prefix {
        let length = if address.is_ipv4() { 32 } else { self.ipv6_prefix };
        // The fallback is unreachable for a checked policy, and still counts
        // the address by itself.
        Prefix::containing(address, length).unwrap_or_else(|| Prefix::host(address))
    }

    fn peer(&self, head: &impl Head) -> Result<Seen, Reject> {
        let refused = |detail| Reject::new(Reason::ClientAddress).detail(detail);
        match head.field(&self.peer_field) {
            Some(text) => Seen::parse(trim(&text)).ok_or_else(|| refused("The client address is garbled.")),
            None => self.assumed_peer.ok_or_else(|| refused("The client address is missing.")),
        }
    }

    /// Whether what a peer says about its own peer counts.
    fn reads_chain(&self, peer: Seen) -> bool {
        match self.trust {
            Trust::Nobody => false,
            Trust::Hops(_) => self.is_hop(peer),
            Trust::Depth(_) => true,
        }
    }

    /// Whether an address is one of our own hops. One that was taken out of a
    /// 6to4 or NAT64 address is none: see [`address`], 4.
    fn is_hop(&self, seen: Seen) -> bool {
        let Trust::Hops(hops) = &self.trust else { return false };
        !seen.is_embedded && hops.iter().any(|hop| hop.contains(seen.address))
    }

    /// The client, by what the chain says.
    fn client(&self, head: &impl Head, peer: Seen) -> Result<(ChainState, IpAddr), Reject> {
        let field = head.field(&self.chain_field());
        let (state, outcome, detail) = match self.walk(field.as_deref().unwrap_or_default(), |_, _| {}) {
            Walked::Client(address, _) => return Ok((ChainState::Walked, address)),
            Walked::Short => {
                (ChainState::Short, self.on_short_chain, "The chain of forwarded addresses is too short.")
            }
            Walked::Garbled => {
                (ChainState::Garbled, self.on_garbled_chain, "The chain of forwarded addresses is garbled.")
            }
        };
        match outcome {
            OnBadChain::Reject => Err(Reject::new(Reason::ClientAddress).detail(detail)),
            OnBadChain::Peer => Ok((state, peer.address)),
        }
    }

    /// Walks the chain from its end to the client. `visit` is told what each
    /// element says, and whether it is one of our own hops.
    fn walk(&self, field: &str, visit: impl FnMut(&str, bool)) -> Walked {
        let elements = Elements::new(self.chain, field);
        match self.trust {
            Trust::Depth(depth) => walk_down(elements, depth, visit),
            Trust::Nobody | Trust::Hops(_) => self.walk_over_hops(elements, visit),
        }
    }

    /// Over our own hops, to the first address that is none. An element that is
    /// no address, reached over our own hops only, means that one of them is
    /// set up wrongly.
    fn walk_over_hops(&self, elements: Elements<'_>, mut visit: impl FnMut(&str, bool)) -> Walked {
        let mut end = Walked::Short;
        for (count, element) in elements.enumerate() {
            let Ok(Element { start, node: Some(node) }) = element else { return Walked::Garbled };
            let Some(seen) = Seen::parse_node(&node).filter(|_| count < MOST_HOPS) else {
                return Walked::Garbled;
            };
            let is_hop = self.is_hop(seen);
            visit(&node, is_hop);
            end = Walked::Client(seen.address, start);
            if !is_hop {
                break;
            }
        }
        end
    }

    /// The part of a Forwarded field that our own hops wrote: from the client's
    /// element on. What stands left of it may hold a stranger's `host`, which
    /// frameworks build links from.
    #[must_use]
    pub fn since_client<'a>(&self, field: &'a str) -> &'a str {
        match self.walk(field, |_, _| {}) {
            Walked::Client(_, start) => trim(field.get(start..).unwrap_or_default()),
            Walked::Short | Walked::Garbled => "",
        }
    }

    /// What the chain was read as, from the peer's peer on: each element, and
    /// whether it is one of our own hops; the client is the first that is not.
    #[must_use]
    pub fn hops(&self, field: &str) -> Vec<(String, bool)> {
        let mut hops = Vec::new();
        self.walk(field, |node, is_hop| hops.push((node.to_owned(), is_hop)));
        hops
    }
}

/// Down to the client's element, by counting. What our own hops are called is
/// not read: their number is what is trusted, and RFC 7239, 6.3 lets them hide
/// it.
fn walk_down(elements: Elements<'_>, depth: usize, mut visit: impl FnMut(&str, bool)) -> Walked {
    let mut end = Walked::Short;
    for (count, element) in (1..=depth).zip(elements) {
        let Ok(Element { start, node }) = element else { return Walked::Garbled };
        let is_hop = count < depth;
        visit(node.as_deref().unwrap_or("unknown"), is_hop);
        if !is_hop {
            end = match node.and_then(|node| Seen::parse_node(&node)) {
                Some(seen) => Walked::Client(seen.address, start),
                None => Walked::Garbled,
            };
        }
    }
    end
}
