//! Whether a list may replace the one before it.
//!
//! Feeds are kept by others, and break: a page that says "maintenance", a file
//! cut in half, a test entry `0.0.0.0/0`, somebody's own network. Each of
//! these would shut people out, or let them in, everywhere at once.

use super::prefixes::PrefixList;
use super::refusal::{Change, Refusal, V4_LEAST, V6_LEAST};
use crate::stages::ip_filter::prefix::Prefix;

/// What a list is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms<'a> {
    /// How many prefixes the list before it had; `None` for a first one, which
    /// may have any number.
    pub before: Option<usize>,
    /// By how much that number may change, in percent of it.
    pub max_change: u32,
    /// Whether private and special networks may be in it.
    pub allow_private: bool,
    /// Networks that never may.
    pub guard_list: &'a [Prefix],
}

/// Networks that no host on the Internet has, but that one of yours may have:
/// the blocks of the IANA special-purpose registries (RFC 6890) that are not
/// globally reachable and may be a source address, and loopback. What the
/// registries give for documentation is no source address, and not here.
const PRIVATE: [&str; 15] = [
    "0.0.0.0/8",      // this network (RFC 791, 3.2)
    "10.0.0.0/8",     // private use (RFC 1918)
    "100.64.0.0/10",  // shared address space of carriers (RFC 6598)
    "127.0.0.0/8",    // loopback (RFC 1122, 3.2.1.3)
    "169.254.0.0/16", // link-local (RFC 3927)
    "172.16.0.0/12",  // private use (RFC 1918)
    "192.0.0.0/24",   // IETF protocol assignments (RFC 6890, 2.1)
    "192.168.0.0/16", // private use (RFC 1918)
    "198.18.0.0/15",  // benchmarking (RFC 2544)
    "::/127",         // unspecified and loopback (RFC 4291)
    "64:ff9b:1::/48", // local-use translation (RFC 8215)
    "100::/64",       // discard-only (RFC 6666)
    "2001:2::/48",    // benchmarking (RFC 5180)
    "fc00::/7",       // unique local (RFC 4193)
    "fe80::/10",      // link-local (RFC 4291)
];

/// The private and special networks.
pub fn private() -> impl Iterator<Item = Prefix> {
    PRIVATE.iter().filter_map(|text| text.parse().ok())
}

/// Whether a list may replace the one before it.
///
/// # Errors
/// Why not: the first reason. What is wrong by itself comes before the change
/// that it makes: with `0.0.0.0/0` in it, a list also shrinks to nothing else.
pub fn check(list: &PrefixList, terms: &Terms<'_>) -> Result<(), Refusal> {
    if list.is_empty() {
        return Err(Refusal::Empty);
    }
    if let Some(prefix) = list.shorter_than(V4_LEAST, V6_LEAST) {
        return Err(Refusal::TooShort(prefix));
    }
    let reaching = |network| list.reaching_into(network).map(|prefix| (prefix, network));
    if !terms.allow_private
        && let Some((prefix, network)) = private().find_map(reaching)
    {
        return Err(Refusal::Private { prefix, network });
    }
    if let Some((prefix, network)) = terms.guard_list.iter().copied().find_map(reaching) {
        return Err(Refusal::Guarded { prefix, network });
    }
    let Some(before) = terms.before.filter(|before| *before > 0) else { return Ok(()) };
    let change = Change { from: before, to: list.len(), limit: terms.max_change };
    let percent = |share: u64, whole: usize| share.saturating_mul(whole as u64);
    if percent(100, change.to.abs_diff(before)) <= percent(terms.max_change.into(), before) {
        return Ok(());
    }
    Err(if change.to < before { Refusal::Shrunk(change) } else { Refusal::Grown(change) })
}
