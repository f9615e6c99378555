//! Cache-Status (RFC 9211): one member, ours. Where an answer is stored, or is
//! from what is, `ttl` says for how many more seconds it is fresh: below zero
//! where it is not (2.4).

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
/// did; `stored` the `ttl` of what is kept, or why it is not.
#[must_use]
pub fn forwarded(forward: Forward, status: Option<u16>, stored: Result<i64, &str>) -> String {
    let mut text = begun(forward, status);
    // Writing to a String cannot fail.
    let _ = match stored {
        Ok(ttl) => write!(text, "; stored; ttl={ttl}"),
        Err(detail) => write!(text, "; detail={detail}"),
    };
    text
}

/// Of a request for which what is stored stands in, since the origin failed.
#[must_use]
pub fn stood_in(forward: Forward, status: Option<u16>, ttl: i64) -> String {
    let mut text = begun(forward, status);
    let _ = write!(text, "; ttl={ttl}; detail={}", Stale::IfError.as_str());
    text
}

fn begun(forward: Forward, status: Option<u16>) -> String {
    let mut text = [CACHE_NAME, "; fwd=", forward.as_str()].concat();
    if let Some(status) = status {
        text.push_str("; fwd-status=");
        push_decimal(&mut text, status.into());
    }
    text
}

/// Of a request that was answered by what another one of the same time brought
/// (2.6): what was said of it as a hit, made that.
#[must_use]
pub fn collapsed(hit: &str, forward: Forward) -> String {
    hit.replacen("; hit", &["; fwd=", forward.as_str(), "; collapsed"].concat(), 1)
}

/// Of an answer that is not stored.
#[must_use]
pub fn not_stored(forward: Forward, status: u16, reason: NotStored) -> String {
    forwarded(forward, Some(status), Err(reason.as_str()))
}
