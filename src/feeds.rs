//! Feeds: lists of addresses that somebody else keeps, as text.
//!
//! 1. A list is read as it arrives, piece by piece: what is held is its
//!    prefixes and one line, never the text. JSON documents alone are held,
//!    and bounded.
//! 2. One line that is not understood refuses the list: half a blocklist, or
//!    half an allowlist, is not a smaller one but a wrong one.
//! 3. A list is a set of addresses: what stands there twice, or inside a wider
//!    prefix of the same list, says nothing and is dropped. Neighbours are
//!    not joined, so that a hit names a prefix that the list has.
//! 4. A list replaces the one before it only if it [may](check()); else the
//!    one before stays, and the [`Refusal`] says why.
//!
//! All of it decides about values: the bytes come in, the prefixes go out.

pub mod check;
mod collect;
pub mod config;
mod csv;
mod document;
mod entry;
pub mod fetch;
mod lines;
pub mod parse;
mod prefixes;
pub mod publish;
pub mod refusal;
pub mod report;
pub mod run;
pub mod schedule;
#[cfg(feature = "schema")]
pub mod schema;

pub use check::{Terms, check};
pub use config::{Column, Feed, FeedConfig, Format, FormatName, HostBits, compile_feeds};
pub use parse::{Limits, Parser};
pub use prefixes::PrefixList;
pub use refusal::Refusal;
