//! How old an answer was when it arrived (RFC 9111, 4.2.3, 5.1).

use super::directives::{LONGEST, seconds};
use crate::exchange::trim;
use crate::time::Timestamp;

/// The Age field: its first member, digits only; what is none is ignored, so
/// it is zero (5.1).
#[must_use]
pub fn age_value(field: Option<&str>) -> u64 {
    field.and_then(|field| field.split(',').next()).map(trim).and_then(seconds).unwrap_or_default()
}

/// The corrected initial age in seconds, at most [`LONGEST`]. `date` is the
/// Date field in seconds; `sent` and `received` bound the exchange. A part of a
/// second is left out, as everywhere in whole seconds: rounded up, an answer
/// with a lifetime of one second would be over when it arrives.
#[must_use]
pub fn initial_age(age_value: u64, date: Option<u64>, sent: Timestamp, received: Timestamp) -> u64 {
    let apparent = date.map_or(0, |date| received.seconds().saturating_sub(date));
    let delay = received.since(sent).as_secs();
    apparent.max(age_value.saturating_add(delay)).min(LONGEST)
}
