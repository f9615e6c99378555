//! The bans that travel in the manifest: one compact binary, and the index
//! that an isolate makes of it.
//!
//! Numbers are LEB128 varints unless it says otherwise; times are whole
//! seconds.
//!
//! | what | |
//! | --- | --- |
//! | format | one byte, 1 |
//! | causes | how many, then for each its length and its UTF-8 bytes |
//! | base | the moment, since 1970, from which the other times count |
//! | IPv4 bans | how many, then each |
//! | IPv6 bans | how many, then each |
//! | IPv4 lifted | how many, then each |
//! | IPv6 lifted | how many, then each |
//!
//! An entry of IPv4 is its address as the difference to the one before, its
//! length (one byte), a time, and for a ban the place of its cause. One of
//! IPv6 has the difference of the upper 64 bits in place of the address, and
//! behind the length, where that is more than 64, the lower 64 bits. Entries
//! ascend by address and length, no two are equal, and no host bit is set.
//!
//! The time of a ban is its end. What was lifted is there so that isolates
//! drop what they hold of it; its time is the moment of lifting.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::{BANS_LIMIT, Ban, MANUAL, is_bannable, network_of};
use crate::addresses::{AddressIndex, SetId};
use crate::stages::ip_filter::prefix::Prefix;
use crate::time::Timestamp;

/// The format that is written and read.
pub const FORMAT: u8 = 1;

/// The most networks that are told as lifted.
pub const LIFTED_LIMIT: usize = 10_000;

/// The most causes.
const CAUSES_LIMIT: usize = 4_096;

/// The longest cause, in bytes.
const CAUSE_LIMIT: usize = 64;

/// A ban as it goes into a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whom it keeps out.
    pub network: Prefix,
    /// Its end, in seconds since 1970.
    pub until: u64,
    /// What made it.
    pub cause: Rc<str>,
}

/// A network whose ban was taken away, and when, in seconds since 1970.
pub type Lifted = (Prefix, u64);

/// What is wrong with a binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// It is no base64.
    Text,
    /// Its format is not read by this module.
    Format,
    /// It ends too early, or goes on after its end.
    Length,
    /// A number or a text in it is none.
    Value,
    /// It holds more than it may.
    Limit,
    /// The entries are not in order, or not what they should be.
    Entries,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "the bans are no base64",
            Self::Format => "the bans are of another format",
            Self::Length => "the bans are not as long as they say",
            Self::Value => "the bans hold something that is no number or cause",
            Self::Limit => "the bans are more than there may be",
            Self::Entries => "the bans are not in order",
        })
    }
}

impl std::error::Error for Damage {}

/// A ban that holds an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit<'a> {
    /// Its network.
    pub network: Prefix,
    /// When it ends.
    pub until: Timestamp,
    /// What made it.
    pub cause: &'a Rc<str>,
}

/// The bans of an environment, to be looked up by address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BanSet {
    generation: u64,
    index: AddressIndex,
    /// The end of each entry of the index, in seconds since 1970.
    ends: Vec<u64>,
    /// The cause of each, by its place in `names`.
    causes: Vec<u16>,
    names: Vec<Rc<str>>,
    /// Sorted.
    lifted: Vec<Lifted>,
}

/// Leaves at most [`BANS_LIMIT`]: those of triggers leave before those of
/// people, and then the earliest end leaves first.
fn bounded(mut bans: Vec<Entry>) -> Vec<Entry> {
    if bans.len() > BANS_LIMIT {
        bans.sort_by_key(|ban| std::cmp::Reverse((&*ban.cause == MANUAL, ban.until)));
        bans.truncate(BANS_LIMIT);
    }
    bans.sort_by_key(|ban| ban.network);
    bans.dedup_by_key(|ban| ban.network);
    bans
}

/// The binary. Any order; of what is too much the earliest ends are left out.
#[must_use]
pub fn encode(bans: Vec<Entry>, mut lifted: Vec<Lifted>) -> Vec<u8> {
    let bans = bounded(bans);
    lifted.sort_by_key(|(_, time)| std::cmp::Reverse(*time));
    lifted.truncate(LIFTED_LIMIT);
    lifted.sort_unstable();
    lifted.dedup_by_key(|(network, _)| *network);
    let mut causes: BTreeMap<&str, u64> = BTreeMap::new();
    for ban in &bans {
        causes.insert(&ban.cause, 0);
    }
    for (place, number) in (0..).zip(causes.values_mut()) {
        *number = place;
    }
    let times = bans.iter().map(|ban| ban.until).chain(lifted.iter().map(|(_, time)| *time));
    let base = times.min().unwrap_or_default();
    let mut bytes = vec![FORMAT];
    push(&mut bytes, causes.len() as u64);
    for cause in causes.keys() {
        push(&mut bytes, cause.len() as u64);
        bytes.extend_from_slice(cause.as_bytes());
    }
    push(&mut bytes, base);
    let numbered: Vec<(Prefix, u64, Option<u64>)> =
        bans.iter().map(|ban| (ban.network, ban.until, causes.get(&*ban.cause).copied())).collect();
    let lifted: Vec<(Prefix, u64, Option<u64>)> =
        lifted.into_iter().map(|(network, time)| (network, time, None)).collect();
    for list in [&numbered, &lifted] {
        let (four, six) = list.split_at(list.partition_point(|(network, ..)| network.address().is_ipv4()));
        push_section(&mut bytes, four, base);
        push_section(&mut bytes, six, base);
    }
    bytes
}

/// Sorted entries of one family.
fn push_section(bytes: &mut Vec<u8>, list: &[(Prefix, u64, Option<u64>)], base: u64) {
    push(bytes, list.len() as u64);
    let mut before = 0;
    for (network, time, cause) in list {
        let (upper, lower) = halves(network.address());
        push(bytes, upper.saturating_sub(before));
        before = upper;
        bytes.push(network.length());
        if network.length() > 64 {
            push(bytes, lower);
        }
        push(bytes, time.saturating_sub(base));
        if let Some(cause) = cause {
            push(bytes, *cause);
        }
    }
}

/// The upper and the lower 64 bits; of IPv4 all is upper.
#[expect(clippy::cast_possible_truncation, reason = "the halves of a number")]
fn halves(address: IpAddr) -> (u64, u64) {
    match address {
        IpAddr::V4(v4) => (v4.to_bits().into(), 0),
        IpAddr::V6(v6) => ((v6.to_bits() >> 64) as u64, v6.to_bits() as u64),
    }
}

fn push(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Damage> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Damage::Length)?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Damage> {
        self.take(1)?.first().copied().ok_or(Damage::Length)
    }

    /// The shortest form only: a number has one.
    fn number(&mut self) -> Result<u64, Damage> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has one bit left.
            if shift == 63 && bits > 1 || shift > 0 && byte == 0 {
                return Err(Damage::Value);
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Damage::Value)
    }

    fn count(&mut self, most: usize) -> Result<usize, Damage> {
        usize::try_from(self.number()?).ok().filter(|count| *count <= most).ok_or(Damage::Limit)
    }

    fn text(&mut self) -> Result<Rc<str>, Damage> {
        let length = self.count(CAUSE_LIMIT)?;
        let text = std::str::from_utf8(self.take(length)?).map_err(|_| Damage::Value)?;
        if text.is_empty() { Err(Damage::Value) } else { Ok(text.into()) }
    }

    /// The entries of one family, each handed to `each` with its network and
    /// time.
    fn section(
        &mut self,
        is_v6: bool,
        base: u64,
        most: usize,
        mut each: impl FnMut(&mut Self, Prefix, u64) -> Result<(), Damage>,
    ) -> Result<usize, Damage> {
        let count = self.count(most)?;
        let mut upper: u64 = 0;
        let mut before = None;
        for _ in 0..count {
            upper = upper.checked_add(self.number()?).ok_or(Damage::Entries)?;
            let length = self.byte()?;
            let lower = if length > 64 { self.number()? } else { 0 };
            let address = if is_v6 {
                IpAddr::V6(Ipv6Addr::from_bits(u128::from(upper) << 64 | u128::from(lower)))
            } else {
                IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(upper).map_err(|_| Damage::Entries)?))
            };
            let network = network_of(address, length).ok_or(Damage::Entries)?;
            if !is_bannable(network) || before.replace(network).is_some_and(|before| before >= network) {
                return Err(Damage::Entries);
            }
            let time =
                base.checked_add(self.number()?).filter(|time| *time < TIME_LIMIT).ok_or(Damage::Value)?;
            each(self, network, time)?;
        }
        Ok(count)
    }
}

/// All addresses of either family.
const EVERYTHING: [Prefix; 2] =
    [Prefix::of(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0), Prefix::of(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0)];

/// The end of the year 9999: RFC 3339 writes nothing later.
const TIME_LIMIT: u64 = 253_402_300_800;

/// The binary as it stands in a manifest: base64 (RFC 4648, 4).
#[must_use]
pub fn encode_text(bans: Vec<Entry>, lifted: Vec<Lifted>) -> String {
    BASE64.encode(encode(bans, lifted))
}

impl BanSet {
    /// Reads what stands in a manifest.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(text: &str, generation: u64) -> Result<Self, Damage> {
        Self::decode(&BASE64.decode(text).map_err(|_| Damage::Text)?, generation)
    }

    /// Reads a binary that was published under this generation.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn decode(bytes: &[u8], generation: u64) -> Result<Self, Damage> {
        let mut reader = Reader(bytes);
        if reader.byte()? != FORMAT {
            return Err(Damage::Format);
        }
        let names: Vec<Rc<str>> =
            (0..reader.count(CAUSES_LIMIT)?).map(|_| reader.text()).collect::<Result<_, _>>()?;
        let base = reader.number()?;
        let mut bans: Vec<(Prefix, u64, u16)> = Vec::new();
        for is_v6 in [false, true] {
            let most = BANS_LIMIT.saturating_sub(bans.len());
            reader.section(is_v6, base, most, |reader, network, until| {
                let cause = reader.number()?;
                let cause = u16::try_from(cause).ok().filter(|cause| usize::from(*cause) < names.len());
                bans.push((network, until, cause.ok_or(Damage::Value)?));
                Ok(())
            })?;
        }
        let mut lifted: Vec<Lifted> = Vec::new();
        for is_v6 in [false, true] {
            let most = LIFTED_LIMIT.saturating_sub(lifted.len());
            reader.section(is_v6, base, most, |_, network, time| {
                lifted.push((network, time));
                Ok(())
            })?;
        }
        if !reader.0.is_empty() {
            return Err(Damage::Length);
        }
        let index = AddressIndex::build(bans.iter().map(|(network, ..)| (*network, SetId(0))));
        let mut ends = vec![0; bans.len()];
        let mut causes = vec![0; bans.len()];
        // The entries of the index in the order of the list.
        let hits = EVERYTHING.into_iter().flat_map(|all| index.inside(all));
        for (hit, (network, until, cause)) in hits.zip(&bans) {
            let (Some(end), Some(place)) =
                (ends.get_mut(hit.entry as usize), causes.get_mut(hit.entry as usize))
            else {
                return Err(Damage::Entries);
            };
            if hit.prefix != *network {
                return Err(Damage::Entries);
            }
            (*end, *place) = (*until, *cause);
        }
        Ok(Self { generation, index, ends, causes, names, lifted })
    }

    /// The generation that it was published under.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// How many bans it holds, ended ones among them.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// The bans that hold an address and have not ended.
    pub fn find(&self, address: IpAddr, now: Timestamp) -> impl Iterator<Item = Hit<'_>> {
        self.index.find(address).filter_map(|hit| self.entry(hit)).filter(move |hit| hit.until > now)
    }

    /// All bans, ended ones among them: IPv4 first, then by address and length.
    pub fn entries(&self) -> impl Iterator<Item = Hit<'_>> {
        EVERYTHING.into_iter().flat_map(|all| self.index.inside(all)).filter_map(|hit| self.entry(hit))
    }

    fn entry(&self, hit: crate::addresses::Hit) -> Option<Hit<'_>> {
        let until = Timestamp::from_millis(self.ends.get(hit.entry as usize)?.saturating_mul(1_000));
        let cause = self.names.get(usize::from(*self.causes.get(hit.entry as usize)?))?;
        Some(Hit { network: hit.prefix, until, cause })
    }

    /// Whether it has a ban of exactly that network, ended or not.
    #[must_use]
    pub fn has(&self, network: Prefix) -> bool {
        self.index.find(network.address()).any(|hit| hit.prefix == network)
    }

    /// Whether it says that this ban was taken away.
    #[must_use]
    pub fn lifts(&self, ban: &Ban) -> bool {
        self.lifted(ban.network).is_some_and(|lifted| ban.since <= lifted)
    }

    /// When the ban of exactly that network was lifted: at the end of that
    /// second.
    #[must_use]
    pub fn lifted(&self, network: Prefix) -> Option<Timestamp> {
        let place = self.lifted.binary_search_by_key(&network, |(network, _)| *network).ok()?;
        let (_, time) = self.lifted.get(place)?;
        Some(Timestamp::from_millis(time.saturating_mul(1_000).saturating_add(999)))
    }

    /// The memory that it holds besides the texts of causes, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let lists = size_of_val(self.ends.as_slice())
            .saturating_add(size_of_val(self.causes.as_slice()))
            .saturating_add(size_of_val(self.lifted.as_slice()));
        self.index.bytes().saturating_add(lists)
    }
}
