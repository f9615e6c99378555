//! An IP prefix in CIDR notation (RFC 4632, RFC 4291).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A prefix without host bits. IPv4-mapped IPv6 prefixes are held as IPv4,
/// as addresses are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix {
    address: IpAddr,
    length: u8,
}

/// Why a text is not a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidPrefix;

impl Prefix {
    /// A prefix; `None` when the length is too long for the family or a host
    /// bit is set.
    #[must_use]
    pub fn new(address: IpAddr, length: u8) -> Option<Self> {
        let prefix = Self::containing(address, length)?;
        (prefix.address == address).then_some(prefix).map(Self::unmapped)
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

    /// `::ffff:0:0/96` and longer is IPv4 in disguise.
    fn unmapped(self) -> Self {
        match (self.address, self.length.checked_sub(96)) {
            (IpAddr::V6(v6), Some(length)) => match v6.to_ipv4_mapped() {
                Some(v4) => Self { address: IpAddr::V4(v4), length },
                None => self,
            },
            _ => self,
        }
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
        let (address, length) = match text.split_once('/') {
            None => (text, None),
            // "/08", "/+8" and "/" are not lengths.
            Some((address, length)) if is_decimal(length) => (address, Some(length)),
            Some(_) => return Err(InvalidPrefix),
        };
        let address: IpAddr = address.parse().map_err(|_| InvalidPrefix)?;
        let full = if address.is_ipv4() { 32 } else { 128 };
        let length = length.map_or(Ok(full), str::parse).map_err(|_| InvalidPrefix)?;
        Self::new(address, length).ok_or(InvalidPrefix)
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
