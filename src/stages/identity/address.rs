//! The forms of an address: whichever a platform or a hop writes, prefixes,
//! bans and counters see one and the same.
//!
//! 1. IPv4-mapped (`::ffff:0:0/96`, RFC 4291, 2.5.5.2) is IPv4, always. It is
//!    how a socket of both families shows an IPv4 peer; on the wire it is no
//!    source address, so nobody chooses it.
//! 2. 6to4 (`2002::/16`, RFC 3056) and NAT64's well-known prefix
//!    (`64:ff9b::/96`, RFC 6052) are the IPv4 address that they embed, where
//!    that one is public. So a client that is banned or counted by its IPv4
//!    address gains nothing by coming through its tunnel.
//! 3. An embedded address that is private or special stays IPv6: neither
//!    form may carry one (RFC 3056, 9; RFC 6052, 3.1), so whoever sends
//!    `2002:a00:1::1` wants to pass for 10.0.0.1. Documentation addresses
//!    (RFC 5737) are routed nowhere; nobody gains by one, and they count as
//!    public.
//! 4. The embedded address is as true as the way here: answers to a 6to4
//!    client go to the nearest relay, and any network can announce itself as
//!    that (RFC 3964, 4); on a network of one's own, whoever runs the
//!    translator says what stands in `64:ff9b::/96`. That is good enough to
//!    count and to ban by, and never makes one of our own hops:
//!    [`Seen::is_embedded`].
//! 5. IPv4-compatible (`::/96`, deprecated by RFC 4291, 2.5.5.1), Teredo
//!    (`2001::/32`) and a translator's own prefix (`64:ff9b:1::/48`, RFC 8215)
//!    are IPv6: what they embed is nobody's address, is hidden, or stands where
//!    only their operator knows.
//! 6. A zone (`fe80::1%eth0`, RFC 4007, 11) is refused: it means something on
//!    the machine that wrote it and nowhere else, and without it two clients
//!    would be one.
//! 7. IPv4 is four decimal numbers without leading zeros, which some readers
//!    take for octal (RFC 6943, 3.1.1).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address as the rules see it, and how it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The address, in its one form.
    pub address: IpAddr,
    /// Whether it was taken out of a 6to4 or NAT64 address.
    pub is_embedded: bool,
}

impl Seen {
    /// The one form of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        if let IpAddr::V6(v6) = address {
            if let Some(v4) = v6.to_ipv4_mapped() {
                return Self { address: IpAddr::V4(v4), is_embedded: false };
            }
            if let Some(v4) = embedded(v6)
                && !is_special(v4, 32)
            {
                return Self { address: IpAddr::V4(v4), is_embedded: true };
            }
        }
        Self { address, is_embedded: false }
    }

    /// From a text that is an address and nothing else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        text.parse().ok().map(Self::of)
    }

    /// From a node of a forwarded chain: an address, in brackets, with a port
    /// or neither (RFC 7239, 6). `unknown` and obfuscated names are no
    /// addresses.
    #[must_use]
    pub fn parse_node(text: &str) -> Option<Self> {
        if let Some(seen) = Self::parse(text) {
            return Some(seen);
        }
        if let Some(rest) = text.strip_prefix('[') {
            let (inner, port) = rest.split_once(']')?;
            let port_is_good = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
            let address: Ipv6Addr = inner.parse().ok()?;
            return port_is_good.then(|| Self::of(IpAddr::V6(address)));
        }
        let (address, port) = text.split_once(':')?;
        let address: Ipv4Addr = address.parse().ok()?;
        is_port(port).then(|| Self::of(IpAddr::V4(address)))
    }
}

/// An address in its one form, from a text that is nothing else.
#[must_use]
pub fn parse_address(text: &str) -> Option<IpAddr> {
    Seen::parse(text).map(|seen| seen.address)
}

/// An address in its one form, from a node of a forwarded chain.
#[must_use]
pub fn parse_node(text: &str) -> Option<IpAddr> {
    Seen::parse_node(text).map(|seen| seen.address)
}

/// A number, or an obfuscated port (RFC 7239, 6).
fn is_port(text: &str) -> bool {
    match text.strip_prefix('_') {
        Some(name) => {
            !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        }
        None => (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

/// The IPv4 address that a 6to4 or NAT64 address embeds, public or not.
pub(crate) const fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    match address.segments() {
        // RFC 3056, 2: the 32 bits behind 2002::/16.
        [0x2002, high, low, ..]
        // RFC 6052, 2.1 and 2.2: the last 32 bits behind 64:ff9b::/96.
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            Some(Ipv4Addr::from_bits((high as u32) << 16 | low as u32))
        }
        _ => None,
    }
}

/// Blocks of which no address is a public client's, by first address and
/// length: those of the IANA special-purpose registry (RFC 6890) that are not
/// globally reachable but for the documentation blocks, the relays of 6to4,
/// multicast, and what is reserved.
const SPECIAL: [(u32, u8); 11] = [
    (0x0000_0000, 8),  // this network (RFC 791, 3.2)
    (0x0a00_0000, 8),  // private use (RFC 1918)
    (0x6440_0000, 10), // shared address space of carriers (RFC 6598)
    (0x7f00_0000, 8),  // loopback (RFC 1122, 3.2.1.3)
    (0xa9fe_0000, 16), // link-local (RFC 3927)
    (0xac10_0000, 12), // private use (RFC 1918)
    (0xc000_0000, 24), // IETF protocol assignments (RFC 6890, 2.1)
    (0xc058_6300, 24), // relays of 6to4 (RFC 7526)
    (0xc0a8_0000, 16), // private use (RFC 1918)
    (0xc612_0000, 15), // benchmarking (RFC 2544)
    (0xe000_0000, 3),  // multicast (RFC 5771), reserved, broadcast (RFC 919)
];

/// Whether no address of a prefix is a public client's. The length is at most
/// 32.
pub(crate) fn is_special(first: Ipv4Addr, length: u8) -> bool {
    SPECIAL.iter().any(|(block, bits)| {
        let differing = first.to_bits() ^ block;
        length >= *bits && differing.leading_zeros() >= u32::from(*bits)
    })
}
