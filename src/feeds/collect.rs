//! Where entries become prefixes.

use super::config::HostBits;
use super::entry::{self, Entry};
use super::prefixes::{PrefixList, V4, V6};
use super::refusal::Refusal;

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
                self.v6.push(V6::new(address & !host, length));
            }
            // At most 62 and 254 prefixes: the limit may be passed by so many.
            Entry::RangeV4(first, last) => self.v4.extend(entry::cover_v4(first, last)),
            Entry::RangeV6(first, last) => self.v6.extend(entry::cover_v6(first, last)),
        }
        if self.v4.len().saturating_add(self.v6.len()) > self.limit {
            return Err(Refusal::TooManyPrefixes(self.limit));
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
