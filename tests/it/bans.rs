//! Bans: the set that travels, what an isolate holds besides, triggers, and
//! who is refused.

mod config;
mod journey;
mod judge;
mod limiter;
pub mod offences;
mod set;
mod simulation;
mod table;
mod triggers;
mod window;

use edgeweir::stages::bans::Ban;
use edgeweir::stages::ip_filter::prefix::Prefix;
use edgeweir::time::Timestamp;

use crate::fake::START;

pub fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

/// So many milliseconds behind [`START`].
pub fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(START + millis)
}

/// A ban that was made at the start.
pub fn ban(network: &str, until: u64, cause: &str) -> Ban {
    Ban { network: prefix(network), since: at(0), until: at(until), cause: cause.into(), shadow: false }
}
