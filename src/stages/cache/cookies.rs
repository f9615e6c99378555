//! What the Cookie field says (RFC 6265, 4.2), where origins read it
//! differently.
//!
//! 1. Pairs stand between semicolons. Some origins take commas for that, too,
//!    some let a quoted string hold both, and some trim, decode, or change the
//!    name of a cookie: PHP makes `_` of `.`, ASP.NET has no case.
//! 2. What only some origins take for a cookie is one where it is about
//!    credentials: nothing is stored then that may be somebody's.
//! 3. Where a cookie is part of the key, it selects nothing unless all origins
//!    read the same: else one client would choose what others are answered.

use std::borrow::Cow;

use super::key::decoded;
use super::vary::GARBLED;
use crate::exchange::trim;

/// Every pair that some origin may read, name and value.
pub fn pairs(field: &str) -> impl Iterator<Item = (&str, &str)> {
    let pairs = field.split([';', ',']).map(trim).filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// Whether some origin may take the one name for the other.
#[must_use]
pub fn may_be(name: &str, known: &str) -> bool {
    let (name, known) = (plain(name), plain(known));
    let folded = |byte: u8| if b". [".contains(&byte) { b'_' } else { byte.to_ascii_lowercase() };
    name.len() == known.len() && name.bytes().map(folded).eq(known.bytes().map(folded))
}

fn plain(name: &str) -> Cow<'_, str> {
    let name = trim(name);
    if name.contains(['%', '+']) { Cow::Owned(decoded(name)) } else { Cow::Borrowed(name) }
}

/// The value of a cookie as it stands there; what cannot be compared where
/// origins may read different ones.
#[must_use]
pub fn value(field: &str, name: &str) -> Option<String> {
    let mut found = pairs(field).filter(|(known, _)| may_be(known, name));
    let (known, value) = found.next()?;
    let is_sure = known == name && found.next().is_none() && !is_doubtful(field, name);
    Some(if is_sure { value.to_owned() } else { GARBLED.to_string() })
}

/// Whether a quoted string reaches over a semicolon, or a comma stands beside
/// the cookie.
fn is_doubtful(field: &str, name: &str) -> bool {
    field.split(';').any(|part| {
        let is_open = part.matches('"').count() % 2 != 0;
        is_open || (part.contains(',') && pairs(part).any(|(known, _)| known == name))
    })
}
