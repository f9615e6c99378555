//! Cache-Status (RFC 9211): one member, ours.

use std::fmt::Write as _;

use super::staleness::Stale;
use super::{Forward, NotStored};
use crate::text::push_decimal;

/// Our name there.
const CACHE_NAME: &str = "edgeweir";

/// Of a hit. `ttl` is below zero where what is served is stale (2.4).
#[must_use]
pub fn hit(ttl: i64, stale: Option<Stale>) -> String {
    let mut text = format!("{CACHE_NAME}; hit; ttl={ttl}");
    if let Some(stale) = stale {
        // Writing to a String cannot fail.
        let _ = write!(text, "; detail={}", stale.as_str());
    }
    text
}

/// Of a request that went to the origin. `status` is what it answered, if it
/// did.
#[must_use]
pub fn forwarded(forward: Forward, status: Option<u16>, stored: Result<(), &str>) -> String {
    let mut text = [CACHE_NAME, "; fwd=", forward.as_str()].concat();
    if let Some(status) = status {
        text.push_str("; fwd-status=");
        push_decimal(&mut text, status.into());
    }
    match stored {
        Ok(()) => text.push_str("; stored"),
        Err(detail) => {
            text.push_str("; detail=");
            text.push_str(detail);
        }
    }
    text
}

/// Of a request that was answered by what another one of the same time brought
/// (2.6).
#[must_use]
pub fn collapsed(forward: Forward) -> String {
    [CACHE_NAME, "; fwd=", forward.as_str(), "; collapsed"].concat()
}

/// Of an answer that is not stored.
#[must_use]
pub fn not_stored(forward: Forward, status: u16, reason: NotStored) -> String {
    forwarded(forward, Some(status), Err(reason.as_str()))
}
