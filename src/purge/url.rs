//! The one form in which URLs are compared.
//!
//! `scheme://authority/path?query`, where
//!
//! 1. scheme and host are lower-cased, and the default port goes;
//! 2. the path is in the normal form by which routes match
//!    ([`crate::stages::target`]): escapes decoded or upper-cased, repeated
//!    slashes merged, without a final slash;
//! 3. the parameters of the query are sorted, empty ones go, and escapes of
//!    unreserved characters are decoded (RFC 3986, 6.2.2.2).
//!
//! It is coarser than the key of a stored answer: two answers of one form may be
//! stored apart, and a purge of one voids both.

use std::borrow::Cow;

use crate::stages::target::{self, Target};

/// The longest URL or prefix of a purge, in bytes.
pub const URL_LIMIT: usize = 2_048;

/// What a URL of a purge has to be.
pub const URL_EXPECTED: &str = "expected a URL of at most 2,048 bytes such as \"https://www.example.com/blog?page=2\", without a fragment";

/// What a prefix of a purge has to be.
pub const PREFIX_EXPECTED: &str = "expected a prefix of at most 2,048 bytes such as \"https://www.example.com/blog/\", with the whole host and no query; a final \"?\" is for all queries of that path";

/// The form of a stored answer's URL. `as_sent` is path and query as the key
/// has them; what is no target that the gateway serves is taken as it is.
#[must_use]
pub fn url_of(scheme: &str, authority: &str, as_sent: &str) -> String {
    let url = [scheme, "://", authority, as_sent].concat();
    match target::parse(&url, None) {
        Ok(target) => form(&target),
        Err(_) => url,
    }
}

/// The form of a URL that somebody names.
#[must_use]
pub fn parse_url(text: &str) -> Option<String> {
    let url = escaped(text)?;
    let target = target::parse(&url, None).ok()?;
    let form = form(&target);
    (form.len() <= URL_LIMIT).then_some(form)
}

/// The form of a prefix that somebody names.
#[must_use]
pub fn parse_prefix(text: &str) -> Option<String> {
    let url = escaped(text)?;
    let target = target::parse(&url, None).ok()?;
    let (path, query) =
        target.as_sent.split_once('?').map_or((target.as_sent, None), |(path, query)| (path, Some(query)));
    let mut prefix = [target.scheme, "://", &target.authority(), &target.path].concat();
    match query {
        Some("") => prefix.push('?'),
        Some(_) => return None,
        // A final slash is not of the normal form, and means something here.
        None if path.ends_with('/') && !prefix.ends_with('/') => prefix.push('/'),
        None => {}
    }
    (prefix.len() <= URL_LIMIT).then_some(prefix)
}

/// With what is outside ASCII as escapes, as a browser shows it without.
fn escaped(text: &str) -> Option<String> {
    if text.len() > URL_LIMIT {
        return None;
    }
    let mut url = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii() { url.push(char::from(byte)) } else { push_escape(byte, &mut url) }
    }
    Some(url)
}

fn form(target: &Target<'_>) -> String {
    let query = target.as_sent.split_once('?').map_or("", |(_, query)| query);
    let mut parameters: Vec<Cow<'_, str>> =
        query.split('&').filter(|parameter| !parameter.is_empty()).map(normal_escapes).collect();
    parameters.sort_unstable();
    let mut url = [target.scheme, "://", &target.authority(), &target.path].concat();
    for (place, parameter) in parameters.iter().enumerate() {
        url.push(if place == 0 { '?' } else { '&' });
        url.push_str(parameter);
    }
    url
}

/// Escapes of unreserved characters (RFC 3986, 2.3) decoded, others in upper
/// case.
fn normal_escapes(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut normal = String::with_capacity(text.len());
    let mut pieces = text.split('%');
    normal.push_str(pieces.next().unwrap_or_default());
    for piece in pieces {
        let digits = piece.get(..2).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                    normal.push(char::from(byte));
                } else {
                    push_escape(byte, &mut normal);
                }
                normal.push_str(piece.get(2..).unwrap_or_default());
            }
            None => {
                normal.push('%');
                normal.push_str(piece);
            }
        }
    }
    Cow::Owned(normal)
}

fn push_escape(byte: u8, text: &mut String) {
    use std::fmt::Write as _;
    // Writing to a String cannot fail.
    let _ = write!(text, "%{byte:02X}");
}

/// A URL as it is compared with prefixes: its path ends in a slash, so that
/// `…/blog/` holds `…/blog`, too.
pub(super) fn url_form(url: &str) -> Cow<'_, str> {
    let (path, query) = url.split_at(url.find('?').unwrap_or(url.len()));
    if path.ends_with('/') { Cow::Borrowed(url) } else { Cow::Owned([path, "/", query].concat()) }
}

/// A prefix as URLs are compared with it.
pub(super) fn prefix_form(prefix: &str) -> Cow<'_, str> {
    if prefix.ends_with('?') { url_form(prefix) } else { Cow::Borrowed(prefix) }
}
