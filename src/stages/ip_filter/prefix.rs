//! An IP prefix in CIDR notation (RFC 4632, RFC 4291).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::stages::identity::address::{embedded, is_special};

/// A prefix without host bits, of addresses in their one form: see
/// [`crate::stages::identity::address`].
///
/// 1. IPv4-mapped IPv6 prefixes are IPv4.
/// 2. One 6to4 site (`2002:c000:201::/48`, and what is in it) or one address
///    of `64:ff9b::/96` is the IPv4 address that it embeds, as a client from
///    there is.
/// 3. A wider prefix of such addresses is refused: `2002::/16` would be all of
///    IPv4, and held as it is written it would match nobody. Who means the
///    clients of an IPv4 prefix writes that.
/// 4. Where none of the embedded addresses is public, they stay IPv6, and so
///    does the prefix.
/// 5. A prefix around them, such as `::/0`, holds IPv6 clients: none of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix {
    address: IpAddr,
    length: u8,
}

/// Why a text is not a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidPrefix {
    /// It is no address, or its length is too long, or host bits are set.
    Malformed,
    /// It holds 6to4 or NAT64 addresses, which are those of this IPv4 prefix.
    Embedded(Prefix),
}

impl Prefix {
    /// A prefix of addresses in their one form; `None` when the length is too
    /// long for the family or a host bit is set, and when it would have to be
    /// said in IPv4.
    #[must_use]
    pub fn new(address: IpAddr, length: u8) -> Option<Self> {
        Self::as_written(address, length).and_then(Self::seen).ok()
    }

    fn as_written(address: IpAddr, length: u8) -> Result<Self, InvalidPrefix> {
        let prefix = Self::containing(address, length).ok_or(InvalidPrefix::Malformed)?;
        if prefix.address == address { Ok(prefix) } else { Err(InvalidPrefix::Malformed) }
    }

    /// The prefix of that length that contains the address.
    #[must_use]
    pub fn containing(address: IpAddr, length: u8) -> Option<Self> {
        let address = match address {
            IpAddr::V4(v4) if length <= 32 => IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask_v4(length))),
            IpAddr::V6(v6) if length <= 128 => {
                IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask_v6(length)))
            }
            _ => return None,
        };
        Some(Self { address, length })
    }

    /// A prefix of parts that are right: the length fits the family, and no
    /// host bit is set.
    pub(crate) const fn of(address: IpAddr, length: u8) -> Self {
        Self { address, length }
    }

    /// The prefix that holds this address alone.
    #[must_use]
    pub const fn host(address: IpAddr) -> Self {
        Self { address, length: if address.is_ipv4() { 32 } else { 128 } }
    }

    /// The prefix of the addresses as they are seen.
    ///
    /// # Errors
    /// [`InvalidPrefix::Embedded`].
    pub(crate) fn seen(self) -> Result<Self, InvalidPrefix> {
        let IpAddr::V6(first) = self.address else { return Ok(self) };
        if let (Some(length), Some(v4)) = (self.length.checked_sub(96), first.to_ipv4_mapped()) {
            return Ok(Self { address: IpAddr::V4(v4), length });
        }
        match self.embedded() {
            Some(v4) if v4.length == 32 => Ok(v4),
            Some(v4) => Err(InvalidPrefix::Embedded(v4)),
            None => Ok(self),
        }
    }

    /// The IPv4 prefix of the addresses that this 6to4 or NAT64 prefix embeds,
    /// where some of them are public.
    pub(crate) fn embedded(self) -> Option<Self> {
        let IpAddr::V6(first) = self.address else { return None };
        let v4 = embedded(first)?;
        // Where the 32 bits begin, and whether the prefix is long enough to be
        // of such addresses alone.
        let before = if first.segments().first() == Some(&0x2002) { 16 } else { 96 };
        let length = self.length.checked_sub(before)?.min(32);
        (!is_special(v4, length)).then_some(Self { address: IpAddr::V4(v4), length })
    }

    /// The lowest address.
    #[must_use]
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// The length in bits.
    #[must_use]
    pub const fn length(&self) -> u8 {
        self.length
    }

    /// The address behind its last one; none behind the highest.
    #[must_use]
    pub fn after(&self) -> Option<IpAddr> {
        match self.address {
            IpAddr::V4(v4) => (v4.to_bits() | !mask_v4(self.length))
                .checked_add(1)
                .map(|next| Ipv4Addr::from_bits(next).into()),
            IpAddr::V6(v6) => (v6.to_bits() | !mask_v6(self.length))
                .checked_add(1)
                .map(|next| Ipv6Addr::from_bits(next).into()),
        }
    }

    /// Whether the address is in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(v4)) => v4.to_bits() & mask_v4(self.length) == own.to_bits(),
            (IpAddr::V6(own), IpAddr::V6(v6)) => v6.to_bits() & mask_v6(self.length) == own.to_bits(),
            _ => false,
        }
    }
}

const fn mask_v4(length: u8) -> u32 {
    match 32_u8.checked_sub(length) {
        // A shift by the full width is no shift at all.
        Some(shift) => match u32::MAX.checked_shl(shift as u32) {
            Some(mask) => mask,
            None => 0,
        },
        None => u32::MAX,
    }
}

const fn mask_v6(length: u8) -> u128 {
    match 128_u8.checked_sub(length) {
        Some(shift) => match u128::MAX.checked_shl(shift as u32) {
            Some(mask) => mask,
            None => 0,
        },
        None => u128::MAX,
    }
}

impl FromStr for Prefix {
    type Err = InvalidPrefix;

    fn from_str(text: &str) -> Result<Self, InvalidPrefix> {
        Self::parse_as_written(text)?.seen()
    }
}

impl Prefix {
    /// The prefix of the addresses as they are written.
    pub(crate) fn parse_as_written(text: &str) -> Result<Self, InvalidPrefix> {
        let (address, length) = match text.split_once('/') {
            None => (text, None),
            // "/08", "/+8" and "/" are not lengths.
            Some((address, length)) if is_decimal(length) => (address, Some(length)),
            Some(_) => return Err(InvalidPrefix::Malformed),
        };
        let address: IpAddr = address.parse().map_err(|_| InvalidPrefix::Malformed)?;
        let full = if address.is_ipv4() { 32 } else { 128 };
        let length = length.map_or(Ok(full), str::parse).map_err(|_| InvalidPrefix::Malformed)?;
        Self::as_written(address, length)
    }
}

fn is_decimal(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_digit())
        && (text == "0" || !text.starts_with('0'))
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}
