//! A chain of forwarded addresses, read from its end.
//!
//! 1. Each hop appends the address of its peer at the right end (RFC 7239, 4;
//!    X-Forwarded-For by custom). So what our own hops wrote is what is read
//!    first, and reading stops at the client. Nothing that stands left of it
//!    is looked at: no comma, quote or backslash there changes what is read,
//!    which a reader from the left cannot say of a quoted string that a
//!    stranger opened.
//! 2. Empty elements are none (RFC 9110, 5.6.1.2). Several lines are one list
//!    (RFC 9110, 5.3).
//! 3. The element of a Forwarded field has to be whole: pairs of a token and a
//!    token or quoted string (RFC 7239, 4), each name at most once. A node
//!    with a port or brackets may stand without quotes, since senders leave
//!    them off.
//! 4. Reading one element takes at most one pass over it; [`MOST_HOPS`] bounds
//!    their number, the platform the bytes of the field.

use std::borrow::Cow;

use super::config::Chain;
use crate::exchange::{is_token, trim};

/// The most elements that are read: far more than anybody has hops.
pub const MOST_HOPS: usize = 32;

/// What one hop wrote about its peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element<'a> {
    /// Where it begins in the field.
    pub start: usize,
    /// What it calls the peer; `None` for a Forwarded element without `for`.
    pub node: Option<Cow<'a, str>>,
}

/// An element that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Garbled;

/// The elements of a field, the last one first. Where one is garbled there is
/// no telling where the next one ends, so it is the last that is given.
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    chain: Chain,
    /// What has not been read yet.
    left: Option<&'a str>,
}

impl<'a> Elements<'a> {
    /// Of a field of this kind.
    #[must_use]
    pub const fn new(chain: Chain, field: &'a str) -> Self {
        Self { chain, left: Some(field) }
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Result<Element<'a>, Garbled>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let left = self.left.take()?;
            let start = match self.chain {
                Chain::XForwardedFor => Some(left.rfind(',').map_or(0, |comma| comma.saturating_add(1))),
                Chain::Forwarded => element_start(left),
            };
            let Some(start) = start else { return Some(Err(Garbled)) };
            let text = trim(left.get(start..).unwrap_or_default());
            let before = start.checked_sub(1).and_then(|comma| left.get(..comma));
            if text.is_empty() {
                self.left = before;
                continue;
            }
            let node = match self.chain {
                Chain::XForwardedFor => Ok(Some(Cow::Borrowed(text))),
                Chain::Forwarded => forwarded_node(text),
            };
            return Some(node.map(|node| {
                self.left = before;
                Element { start, node }
            }));
        }
    }
}

/// Where the last element of a Forwarded field begins: behind the last comma
/// outside of a quoted string. `None` where a quoted string has no beginning.
fn element_start(field: &str) -> Option<usize> {
    let bytes = field.as_bytes();
    let mut quoted = false;
    for at in (0..bytes.len()).rev() {
        match bytes.get(at)? {
            // From the right, a quoted string begins at any quote and ends at
            // the first that no backslash escapes (RFC 9110, 5.6.4).
            b'"' => quoted = !quoted || is_escaped(bytes.get(..at)?),
            b',' if !quoted => return Some(at.saturating_add(1)),
            _ => {}
        }
    }
    (!quoted).then_some(0)
}

/// Whether what follows is escaped: an odd number of backslashes stands before
/// it, since pairs of them are backslashes themselves.
fn is_escaped(before: &[u8]) -> bool {
    let backslashes = before.iter().rev().take_while(|byte| **byte == b'\\').count();
    backslashes & 1 == 1
}

/// The `for` of one element.
fn forwarded_node(element: &str) -> Result<Option<Cow<'_, str>>, Garbled> {
    let mut node = None;
    let mut rest = element;
    while !rest.is_empty() {
        if let Some(next) = rest.strip_prefix(';') {
            rest = next;
            continue;
        }
        let (name, value, next) = forwarded_pair(rest).ok_or(Garbled)?;
        if name.eq_ignore_ascii_case("for") && node.replace(value).is_some() {
            // RFC 7239, 4: each parameter at most once an element.
            return Err(Garbled);
        }
        rest = trim(next);
        if !(rest.is_empty() || rest.starts_with(';')) {
            return Err(Garbled);
        }
    }
    Ok(node)
}

/// `token = token / quoted-string`, and what follows it.
fn forwarded_pair(text: &str) -> Option<(&str, Cow<'_, str>, &str)> {
    let (name, rest) = text.split_once('=')?;
    if !is_token(name) {
        return None;
    }
    let Some(quoted) = rest.strip_prefix('"') else {
        let end = rest.find([';', ' ', '\t']).unwrap_or(rest.len());
        let (value, next) = rest.split_at_checked(end)?;
        return is_token_or_node(value).then_some((name, Cow::Borrowed(value), next));
    };
    let special = quoted.find(['"', '\\'])?;
    if let Some(next) = quoted.get(special..)?.strip_prefix('"') {
        return Some((name, Cow::Borrowed(quoted.get(..special)?), next));
    }
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((name, Cow::Owned(value), quoted.get(at.saturating_add(1)..)?)),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

/// Senders leave the quotes off addresses with ports often enough.
fn is_token_or_node(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"\\,;=".contains(&byte))
}
