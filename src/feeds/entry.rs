//! One entry of a list: an address, a prefix, or a range of addresses.
//!
//! IPv4 is read by hand from the bytes, since lists have a million such lines;
//! the rest by the standard library. What both read, they read alike: no
//! leading zeros, which some readers take for octal.

use std::net::IpAddr;

use super::prefixes::V4;

/// What stands in a list. Host bits may be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// Address and length, at most 32.
    V4(u32, u8),
    /// Address and length, at most 128; never IPv4-mapped.
    V6(u128, u8),
    /// From one address to another, both included.
    RangeV4(u32, u32),
    /// From one address to another, both included.
    RangeV6(u128, u128),
}

/// What [`entry`] expects.
pub(super) const EXPECTED: &str =
    "an address, a prefix such as \"198.51.100.0/24\" or a range such as \"198.51.100.0 - 198.51.100.255\"";

/// What is expected in the place of an IPv6 prefix whose addresses are seen as
/// IPv4, but for that of one.
pub(super) const EXPECTED_V4: &str =
    "IPv4 prefixes for 6to4 and NAT64 addresses: clients with these are known by the IPv4 address in them";

/// Reads an entry; there is no white space around it.
pub(super) fn entry(text: &[u8]) -> Option<Entry> {
    plain_v4(text).or_else(|| range(text)).or_else(|| prefix(text))
}

/// An IPv4 address or prefix, the usual case.
pub(super) fn plain_v4(text: &[u8]) -> Option<Entry> {
    let (address, rest) = v4(text)?;
    match rest {
        [] => Some(Entry::V4(address, 32)),
        [b'/', length @ ..] => match number(length)? {
            (length, []) if length <= 32 => Some(Entry::V4(address, length as u8)),
            _ => None,
        },
        _ => None,
    }
}

fn v4(text: &[u8]) -> Option<(u32, &[u8])> {
    let (a, rest) = number(text)?;
    let (b, rest) = number(rest.strip_prefix(b".")?)?;
    let (c, rest) = number(rest.strip_prefix(b".")?)?;
    let (d, rest) = number(rest.strip_prefix(b".")?)?;
    // Each is at most 255.
    Some((a << 24 | b << 16 | c << 8 | d, rest))
}

/// Up to three digits without leading zeros, at most 255.
fn number(text: &[u8]) -> Option<(u32, &[u8])> {
    let (first, mut rest) = text.split_first()?;
    let mut value = digit(*first)?;
    if value == 0 {
        return Some((0, rest));
    }
    for _ in 0..2 {
        let Some((digit, after)) = rest.split_first().and_then(|(byte, after)| Some((digit(*byte)?, after)))
        else {
            break;
        };
        value = value.wrapping_mul(10).wrapping_add(digit);
        rest = after;
    }
    (value <= 255).then_some((value, rest))
}

fn digit(byte: u8) -> Option<u32> {
    byte.is_ascii_digit().then(|| u32::from(byte & 15))
}

fn range(text: &[u8]) -> Option<Entry> {
    let dash = text.iter().position(|byte| *byte == b'-')?;
    let (first, rest) = text.split_at_checked(dash)?;
    let first = address(first.trim_ascii_end())?;
    let last = address(rest.get(1..)?.trim_ascii_start())?;
    match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) if first <= last => {
            Some(Entry::RangeV4(first.to_bits(), last.to_bits()))
        }
        (IpAddr::V6(first), IpAddr::V6(last)) if first <= last => {
            Some(Entry::RangeV6(first.to_bits(), last.to_bits()))
        }
        _ => None,
    }
}

/// An address; one that is IPv4-mapped as IPv4.
fn address(text: &[u8]) -> Option<IpAddr> {
    let address: IpAddr = std::str::from_utf8(text).ok()?.parse().ok()?;
    Some(address.to_canonical())
}

/// Any prefix that is not plainly IPv4.
fn prefix(text: &[u8]) -> Option<Entry> {
    let (address, length) = match text.iter().position(|byte| *byte == b'/') {
        Some(slash) => (text.get(..slash)?, text.get(slash.checked_add(1)?..)?),
        None => (text, b"128".as_slice()),
    };
    let IpAddr::V6(address) = std::str::from_utf8(address).ok()?.parse().ok()? else { return None };
    let (length, []) = number(length)? else { return None };
    let length = u8::try_from(length).ok().filter(|length| *length <= 128)?;
    Some(match (address.to_ipv4_mapped(), length.checked_sub(96)) {
        (Some(v4), Some(length)) => Entry::V4(v4.to_bits(), length),
        _ => Entry::V6(address.to_bits(), length),
    })
}

/// The fewest prefixes that cover a range exactly, from its first address on.
pub(super) fn cover_v4(first: u32, last: u32) -> impl Iterator<Item = V4> {
    cover(first.into(), last.into(), 32).map(|(first, length)| V4::new(first as u32, length))
}

/// The fewest prefixes that cover a range exactly, from its first address on.
pub(super) fn cover_v6(first: u128, last: u128) -> impl Iterator<Item = (u128, u8)> {
    cover(first, last, 128)
}

fn cover(first: u128, last: u128, width: u8) -> impl Iterator<Item = (u128, u8)> {
    let mut next = Some(first);
    std::iter::from_fn(move || {
        let first = next.filter(|first| *first <= last)?;
        // The widest that begins here, and does not reach beyond the last.
        let aligned = first.trailing_zeros().min(width.into());
        let left = last.wrapping_sub(first);
        let fitting = left.checked_add(1).map_or(128, u128::ilog2);
        let bits = aligned.min(fitting);
        next = 1_u128.checked_shl(bits).and_then(|size| first.checked_add(size));
        Some((first, width.saturating_sub(bits as u8)))
    })
}
