//! Why a list is refused.

use std::fmt;

use crate::error::clip;
use crate::stages::ip_filter::prefix::Prefix;

/// Why a list does not replace the one before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Something in it is not what the format says.
    Malformed {
        /// The line, from 1; 0 where it is about the whole.
        line: u64,
        /// What stands there, at most [`SHOWN`] bytes of it.
        value: String,
        /// What was expected.
        expected: &'static str,
    },
    /// A prefix has host bits, and they are not to be masked.
    HostBits {
        /// The line, from 1.
        line: u64,
        /// The prefix as it stands there.
        value: String,
    },
    /// It has more bytes than this.
    TooManyBytes(u64),
    /// It has more prefixes than this.
    TooManyPrefixes(usize),
    /// It holds no prefix at all.
    Empty,
    /// It has fewer prefixes than the list before, by more than may be.
    Shrunk(Change),
    /// It has more prefixes than the list before, by more than may be.
    Grown(Change),
    /// A prefix is so short that it must be a mistake.
    TooShort(Prefix),
    /// A prefix reaches into a network that is private or special.
    Private {
        /// The prefix of the list.
        prefix: Prefix,
        /// The network.
        network: Prefix,
    },
    /// A prefix reaches into a network of the policy's `guard_list`.
    Guarded {
        /// The prefix of the list.
        prefix: Prefix,
        /// The network.
        network: Prefix,
    },
}

/// How many prefixes there were and are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// In the list before.
    pub from: usize,
    /// In this one.
    pub to: usize,
    /// The change that may be, in percent of `from`.
    pub limit: u32,
}

/// The most of a value that a refusal shows, in bytes.
pub const SHOWN: usize = 80;

impl Refusal {
    pub(super) fn malformed(line: u64, value: &[u8], expected: &'static str) -> Self {
        Self::Malformed { line, value: shown(value), expected }
    }

    /// The label used everywhere.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "malformed",
            Self::HostBits { .. } => "host-bits",
            Self::TooManyBytes(_) | Self::TooManyPrefixes(_) => "oversized",
            Self::Empty => "empty",
            Self::Shrunk(_) => "shrunk",
            Self::Grown(_) => "grown",
            Self::TooShort(_) => "short-prefix",
            Self::Private { .. } => "private",
            Self::Guarded { .. } => "guarded",
        }
    }
}

/// The beginning of a value, as text.
fn shown(value: &[u8]) -> String {
    let start = value.get(..SHOWN).unwrap_or(value);
    // A replacement character is longer than what it stands for.
    clip(&String::from_utf8_lossy(start), SHOWN).to_owned()
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed { line: 0, value, expected } if value.is_empty() => {
                write!(f, "expected {expected}")
            }
            Self::Malformed { line, value, expected } => {
                write!(f, "line {line}: found {value:?}; expected {expected}")
            }
            Self::HostBits { line, value } => write!(
                f,
                "line {line}: {value:?} has bits set behind its length; \"host_bits\": \"mask\" would clear them"
            ),
            Self::TooManyBytes(limit) => write!(f, "more than {limit} bytes"),
            Self::TooManyPrefixes(limit) => write!(f, "more than {limit} prefixes"),
            Self::Empty => f.write_str("not one prefix"),
            Self::Shrunk(change) | Self::Grown(change) => {
                let Change { from, to, limit } = change;
                write!(f, "{to} prefixes after {from}: a change by more than {limit} %")
            }
            Self::TooShort(prefix) => {
                write!(f, "{prefix} is shorter than /{V4_LEAST} (IPv4) or /{V6_LEAST} (IPv6)")
            }
            Self::Private { prefix, network } => {
                write!(f, "{prefix} reaches into {network}, which is private or special")
            }
            Self::Guarded { prefix, network } => {
                write!(f, "{prefix} reaches into {network} of the guard list")
            }
        }
    }
}

impl std::error::Error for Refusal {}

/// The shortest IPv4 prefix that a list may hold: no registry gives anybody
/// more than a /8.
pub const V4_LEAST: u8 = 8;

/// The shortest IPv6 prefix that a list may hold: the largest that registries
/// have given out is a /19.
pub const V6_LEAST: u8 = 19;
