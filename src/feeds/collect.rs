//! Where entries become prefixes.

use std::net::{IpAddr, Ipv6Addr};

use super::config::HostBits;
use super::entry::{self, Entry};
use super::prefixes::{PrefixList, V4, V6};
use super::refusal::Refusal;
use crate::stages::ip_filter::prefix::Prefix;

/// The prefixes that were read so far: 8 bytes an IPv4 one, 24 an IPv6 one.
#[derive(Clone, Debug)]
pub(super) struct Collector {
    v4: Vec<V4>,
    v6: Vec<V6>,
    limit: usize,
    host_bits: HostBits,
}

impl Collector {
    pub(super) fn new(limit: usize, host_bits: HostBits) -> Self {
        Self { v4: Vec::new(), v6: Vec::new(), limit, host_bits }
    }

    pub(super) fn finish(self) -> PrefixList {
        PrefixList::merged(self.v4, self.v6)
    }

    /// Reads an entry; there may be white space around it.
    pub(super) fn add(&mut self, line: u64, text: &[u8]) -> Result<(), Refusal> {
        let text = text.trim_ascii();
        match entry::entry(text) {
            Some(entry) => self.push(line, text, entry),
            None => Err(Refusal::malformed(line, text, entry::EXPECTED)),
        }
    }

    /// Takes an entry that was read from this text.
    #[inline]
    pub(super) fn push(&mut self, line: u64, text: &[u8], entry: Entry) -> Result<(), Refusal> {
        match entry {
            Entry::V4(address, length) => {
                let host = u32::MAX.checked_shr(length.into()).unwrap_or(0);
                self.may_mask(address & host != 0, line, text)?;
                self.v4.push(V4::new(address & !host, length));
            }
            Entry::V6(address, length) => {
                let host = u128::MAX.checked_shr(length.into()).unwrap_or(0);
                self.may_mask(address & host != 0, line, text)?;
                self.push_v6(line, text, address & !host, length)?;
            }
            // At most 62 and 254 prefixes: the limit may be passed by so many.
            Entry::RangeV4(first, last) => self.v4.extend(entry::cover_v4(first, last)),
            Entry::RangeV6(first, last) => {
                for (first, length) in entry::cover_v6(first, last) {
                    self.push_v6(line, text, first, length)?;
                }
            }
        }
        if self.v4.len().saturating_add(self.v6.len()) > self.limit {
            return Err(Refusal::TooManyPrefixes(self.limit));
        }
        Ok(())
    }

    /// Takes an IPv6 prefix, as its addresses are seen.
    fn push_v6(&mut self, line: u64, text: &[u8], first: u128, length: u8) -> Result<(), Refusal> {
        let written = Prefix::of(IpAddr::V6(Ipv6Addr::from_bits(first)), length);
        let Ok(seen) = written.seen() else {
            return Err(Refusal::malformed(line, text, entry::EXPECTED_V4));
        };
        match seen.address() {
            IpAddr::V4(v4) => self.v4.push(V4::new(v4.to_bits(), seen.length())),
            IpAddr::V6(_) => self.v6.push(V6::new(first, length)),
        }
        Ok(())
    }

    fn may_mask(&self, has_host_bits: bool, line: u64, text: &[u8]) -> Result<(), Refusal> {
        match self.host_bits {
            HostBits::Refuse if has_host_bits => {
                let Refusal::Malformed { line, value, .. } = Refusal::malformed(line, text, "") else {
                    return Ok(());
                };
                Err(Refusal::HostBits { line, value })
            }
            _ => Ok(()),
        }
    }
}
