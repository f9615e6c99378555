//! What is asked for: the host and the target, checked before any URL is
//! built from them.
//!
//! The runtime shows a Worker the URL as `scheme://` + Host + target, with
//! nothing checked, and rewrites what it sends on: `/a/%2e%2e/admin` reaches
//! the origin as `/admin`. A rule that judged the first would not protect the
//! second. So:
//!
//! 1. Host is `host[:port]` (RFC 9110, 7.2) or the request is refused. It is
//!    lower-cased; the final dot and the default port go.
//! 2. A target that would be rewritten is refused: dot segments, plain or
//!    encoded, also with parameters (`..;`) or beside an encoded slash, which
//!    origins resolve after us; a backslash in the path; control, space, `#` and non-ASCII
//!    bytes anywhere.
//! 3. Rules match a **normal form** of the path, made for matching only: what
//!    origins read as the same is the same. Escapes of characters that may
//!    stand in a path segment are decoded (RFC 3986, 6.2.2.2), other escapes
//!    are upper-cased, characters that `fetch` escapes are escaped, repeated
//!    slashes merge, a final slash goes. What is sent on is the target as it
//!    came.
//! 4. `%2F`, `%5C` and `%00` are kept in the normal form and noted; a route
//!    has to allow them.

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::error::{Reason, Reject};

/// The longest target, in bytes. RFC 9112, 3 asks for at least 8,000.
pub const TARGET_LIMIT: usize = 16 * 1024;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// `http` or `https`.
    pub scheme: &'a str,
    /// Host name or address, lower-cased, without a final dot; IPv6 in
    /// brackets.
    pub host: String,
    /// The port, unless it is the scheme's default.
    pub port: Option<u16>,
    /// Path and query as sent; begins with `/`.
    pub as_sent: &'a str,
    /// The normal form of the path, for matching.
    pub path: String,
    /// Escapes in the path that a route has to allow.
    pub encoded: EncodedSet,
}

impl Target<'_> {
    /// `host[:port]`.
    #[must_use]
    pub fn authority(&self) -> Cow<'_, str> {
        match self.port {
            Some(port) => Cow::Owned(format!("{}:{port}", self.host)),
            None => Cow::Borrowed(&self.host),
        }
    }

    /// The port, also where it is the scheme's default.
    #[must_use]
    pub fn effective_port(&self) -> u16 {
        self.port.unwrap_or_else(|| default_port(self.scheme))
    }

    /// The path as sent, without the query.
    #[must_use]
    pub fn path_as_sent(&self) -> &str {
        self.as_sent.split_once('?').map_or(self.as_sent, |(path, _)| path)
    }
}

/// Which of `%2F`, `%5C` and `%00` a path holds, or a route allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EncodedSet(u8);

impl EncodedSet {
    /// `%2F`, a slash that separates nothing.
    pub const SLASH: Self = Self(1);
    /// `%5C`, a backslash, which some origins take for a slash.
    pub const BACKSLASH: Self = Self(2);
    /// `%00`, which some origins take for the end.
    pub const NUL: Self = Self(4);

    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of these are among `allowed`.
    #[must_use]
    pub const fn within(self, allowed: Self) -> bool {
        self.0 & !allowed.0 == 0
    }
}

/// Reads the URL that the runtime shows.
///
/// # Errors
/// [`Reason::InvalidHost`] or [`Reason::InvalidTarget`].
pub fn parse<'a>(url: &'a str, host_field: Option<&str>) -> Result<Target<'a>, Reject> {
    let bad_host = || {
        Reject::new(Reason::InvalidHost).detail("Host must be a host name or address and an optional port.")
    };
    let (scheme, rest) = url.split_once("://").ok_or_else(|| bad_target("The URL has no scheme."))?;
    if scheme != "http" && scheme != "https" {
        return Err(bad_target("The scheme must be http or https."));
    }
    // The Host field bounds the authority. A URL whose authority is something
    // else than the field was put together from two opinions.
    let length = host_field.map_or_else(|| rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len()), str::len);
    let (authority, as_sent) = rest.split_at_checked(length).ok_or_else(bad_host)?;
    if host_field.is_some_and(|field| !field.eq_ignore_ascii_case(authority)) {
        return Err(bad_host());
    }
    let (host, port) = parse_authority(authority).ok_or_else(bad_host)?;
    let (path, encoded) = normalise(as_sent)?;
    Ok(Target {
        scheme,
        host,
        port: port.filter(|port| *port != default_port(scheme)),
        as_sent,
        path,
        encoded,
    })
}

fn default_port(scheme: &str) -> u16 {
    if scheme == "https" { 443 } else { 80 }
}

fn bad_target(detail: &'static str) -> Reject {
    Reject::new(Reason::InvalidTarget).detail(detail)
}

/// `host[:port]` in normal form; `None` when it is anything else.
#[must_use]
pub fn parse_authority(text: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = if text.starts_with('[') {
        let (inner, port) = text.strip_prefix('[')?.split_once(']')?;
        let address: Ipv6Addr = inner.parse().ok()?;
        (format!("[{address}]"), port.strip_prefix(':').or(port.is_empty().then_some(""))?)
    } else {
        let (host, port) = text.split_once(':').unwrap_or((text, ""));
        (parse_host(host)?, port)
    };
    if port.is_empty() {
        // RFC 3986, 3.2.3: an empty port is the default port.
        return Some((host, None));
    }
    let good = port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse().ok().filter(|port| good && *port != 0)?;
    Some((host, Some(port)))
}

/// A host name of letters, digits, `-` and `_`, or an IPv4 address.
fn parse_host(text: &str) -> Option<String> {
    let host = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    if host.len() > 253 || !host.split('.').all(is_label) {
        return None;
    }
    // URL parsers read a name whose last label is a number as an IPv4 address
    // in one of many spellings (0x7f.1); only the plain one is taken.
    let last = host.rsplit('.').next().unwrap_or_default();
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit())
        || last.strip_prefix("0x").is_some_and(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
    if is_number && host.parse::<Ipv4Addr>().is_err() {
        return None;
    }
    Some(host)
}

/// Checks a target and gives the normal form of its path.
///
/// # Errors
/// [`Reason::InvalidTarget`] when `fetch` would rewrite it.
pub fn normalise(as_sent: &str) -> Result<(String, EncodedSet), Reject> {
    if as_sent.len() > TARGET_LIMIT {
        return Err(bad_target("The target is too long."));
    }
    if !as_sent.starts_with('/') {
        return Err(bad_target("The target must begin with a slash."));
    }
    if as_sent.bytes().any(|byte| !byte.is_ascii_graphic() || byte == b'#') {
        return Err(bad_target("The target holds a byte that must be percent-encoded."));
    }
    let path = as_sent.split_once('?').map_or(as_sent, |(path, _)| path);
    if path.contains('\\') {
        return Err(bad_target("The path holds a backslash."));
    }
    normal_path(path)
}

/// The normal form of a path of printable ASCII characters.
fn normal_path(path: &str) -> Result<(String, EncodedSet), Reject> {
    let mut normal = String::with_capacity(path.len());
    let mut encoded = EncodedSet::default();
    for segment in path.split('/') {
        let start = normal.len();
        normal.push('/');
        normalise_segment(segment, &mut normal, &mut encoded);
        match normal.get(start.saturating_add(1)..) {
            // Nothing between two slashes, or after the last: they merge.
            None | Some("") => normal.truncate(start),
            Some(segment) if is_dot_segment(segment) => {
                return Err(bad_target("The path holds a dot segment."));
            }
            Some(_) => {}
        }
    }
    if normal.is_empty() {
        normal.push('/');
    }
    Ok((normal, encoded))
}

/// Whether some origin reads the segment as `.` or `..`: as it is, behind an
/// escaped slash or backslash that is decoded first, or before what servlet
/// containers (`;`) and C strings (NUL) cut off.
fn is_dot_segment(segment: &str) -> bool {
    // Most have no dot at all, and need no further look.
    if !segment.bytes().any(|byte| byte == b'.') {
        return false;
    }
    segment.split("%2F").flat_map(|part| part.split("%5C")).any(|part| {
        let part = part.split(';').next().unwrap_or_default();
        matches!(part.split("%00").next(), Some("." | ".."))
    })
}

fn normalise_segment(segment: &str, normal: &mut String, encoded: &mut EncodedSet) {
    if segment.bytes().all(is_pchar) {
        normal.push_str(segment);
        return;
    }
    let mut rest = segment;
    while let Some(first) = rest.chars().next() {
        let escape = (first == '%').then(|| rest.get(1..3)).flatten();
        if let Some(byte) = escape.and_then(hex_byte) {
            match byte {
                b'/' => *encoded = encoded.and(EncodedSet::SLASH),
                b'\\' => *encoded = encoded.and(EncodedSet::BACKSLASH),
                0 => *encoded = encoded.and(EncodedSet::NUL),
                _ => {}
            }
            push_normal(byte, normal);
            rest = rest.get(3..).unwrap_or_default();
        } else {
            // A percent sign that begins no escape is sent as it is. Here it
            // is escaped, so that it makes none with what is decoded behind it.
            match u8::try_from(first) {
                Ok(byte) => push_normal(byte, normal),
                Err(_) => normal.push(first),
            }
            rest = rest.get(first.len_utf8()..).unwrap_or_default();
        }
    }
}

fn hex_byte(digits: &str) -> Option<u8> {
    digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u8::from_str_radix(digits, 16).ok()).flatten()
}

/// Whether a byte is a pchar (RFC 3986, 3.3) that is no escape.
fn is_pchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&byte)
}

/// A pchar as itself, everything else as an escape.
fn push_normal(byte: u8, normal: &mut String) {
    const HEX: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    if is_pchar(byte) {
        normal.push(char::from(byte));
    } else {
        normal.push('%');
        for nibble in [byte >> 4, byte & 15] {
            normal.push(HEX.get(usize::from(nibble)).copied().unwrap_or('0'));
        }
    }
}

/// The normal form of a path in a policy, where characters outside ASCII may
/// stand for their escapes.
#[must_use]
pub fn normal_pattern(path: &str) -> Option<String> {
    let mut escaped = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii() { escaped.push(char::from(byte)) } else { push_normal(byte, &mut escaped) }
    }
    normalise(&escaped).ok().map(|(normal, _)| normal)
}
