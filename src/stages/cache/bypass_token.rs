//! `Weir-Cache-Bypass`: a token that takes one request past the cache.
//!
//! ```text
//! v1.EXPIRES.SCOPE.MAC
//! ```
//!
//! 1. EXPIRES are seconds since 1970, SCOPE and MAC base64url without padding.
//!    MAC is HMAC-SHA-256 (RFC 2104) over what stands before the last dot, by
//!    the secret `CACHE_BYPASS_KEY`. Without that secret the field says
//!    nothing.
//! 2. SCOPE is empty, a host (`www.example.com`), or a host and the beginning
//!    of a path in whole segments (`www.example.com/blog`).
//! 3. A token that is good for longer than [`LONGEST`] from now is none,
//!    whoever signed it: one that leaks is worth a day.
//! 4. The signature is compared first, and in constant time; nothing of a
//!    token counts before it is known who made it. A token of the admin API
//!    has another form and is never looked at here.
//! 5. The field is no origin's: it is taken away on every route, whatever it
//!    says. What is wrong with a token is told to the log and to `explain`,
//!    and the request goes on as if it had none.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use http::header::HeaderName;
use sha2::Sha256;

use crate::stages::target::{Target, normalise};
use crate::time::Timestamp;

/// The request field.
pub const BYPASS: HeaderName = HeaderName::from_static("weir-cache-bypass");

/// The longest life of a token.
pub const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// The longest token that is looked at, in bytes.
pub const TOKEN_LIMIT: usize = 1_024;

/// The shortest and the longest key, in bytes.
const KEY_SIZES: std::ops::RangeInclusive<usize> = 32..=1_024;

const VERSION: &str = "v1";

/// Why a token says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BypassRefusal {
    /// It has not the form of one.
    Malformed,
    /// It was not signed by the key, or somebody has changed it.
    Signature,
    /// Its time is over.
    Expired,
    /// It would be good for too long.
    TooLong,
    /// It is for another host or path.
    Scope,
}

impl BypassRefusal {
    /// The label in the log and in explanations.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "bypass-malformed",
            Self::Signature => "bypass-signature",
            Self::Expired => "bypass-expired",
            Self::TooLong => "bypass-too-long",
            Self::Scope => "bypass-scope",
        }
    }
}

/// The label of a token that is good.
pub const GRANTED: &str = "bypass-token";

/// A token, before anybody knows who made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BypassToken<'a> {
    /// What was signed.
    pub signed: &'a str,
    /// When it ends, in seconds since 1970.
    pub expires: u64,
    /// What it is for; empty for everything.
    pub scope: String,
    /// The signature.
    pub mac: Vec<u8>,
}

impl<'a> BypassToken<'a> {
    /// Takes it apart; `None` when it has another form.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        if text.len() > TOKEN_LIMIT {
            return None;
        }
        let (signed, mac) = text.rsplit_once('.')?;
        let (expires, scope) = signed.strip_prefix(VERSION)?.strip_prefix('.')?.split_once('.')?;
        let plain = !expires.is_empty()
            && expires.bytes().all(|byte| byte.is_ascii_digit())
            && (expires == "0" || !expires.starts_with('0'));
        let expires = expires.parse().ok().filter(|_| plain)?;
        let scope = String::from_utf8(URL_SAFE_NO_PAD.decode(scope).ok()?).ok()?;
        let mac = URL_SAFE_NO_PAD.decode(mac).ok()?;
        Some(Self { signed, expires, scope, mac })
    }
}

/// The secret by which tokens are signed.
#[derive(Clone)]
pub struct BypassKey(Hmac<Sha256>);

impl fmt::Debug for BypassKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BypassKey")
    }
}

impl BypassKey {
    /// From the text of the secret.
    ///
    /// # Errors
    /// Says what is wrong with it, and nothing of what it is.
    pub fn new(text: &str) -> Result<Self, &'static str> {
        let key = text.trim().as_bytes();
        let wrong = "CACHE_BYPASS_KEY: expected 32 to 1,024 bytes; without it no token is good";
        if !KEY_SIZES.contains(&key.len()) {
            return Err(wrong);
        }
        Hmac::new_from_slice(key).map(Self).map_err(|_| wrong)
    }

    /// Whether a token takes a request for this target past the cache.
    ///
    /// # Errors
    /// Says why it does not.
    pub fn judge(&self, token: &str, target: &Target<'_>, now: Timestamp) -> Result<(), BypassRefusal> {
        let token = BypassToken::parse(token).ok_or(BypassRefusal::Malformed)?;
        let mut mac = self.0.clone();
        mac.update(token.signed.as_bytes());
        // In constant time, whatever the length.
        mac.verify_slice(&token.mac).map_err(|_| BypassRefusal::Signature)?;
        if token.expires <= now.seconds() {
            return Err(BypassRefusal::Expired);
        }
        if token.expires > now.after(LONGEST).seconds() {
            return Err(BypassRefusal::TooLong);
        }
        if holds(&token.scope, target) { Ok(()) } else { Err(BypassRefusal::Scope) }
    }
}

/// Whether a target lies in a scope.
fn holds(scope: &str, target: &Target<'_>) -> bool {
    if scope.is_empty() {
        return true;
    }
    let at = scope.find('/').unwrap_or(scope.len());
    let Some((host, path)) = scope.split_at_checked(at) else { return false };
    if !host.eq_ignore_ascii_case(&target.authority()) {
        return false;
    }
    if path.trim_end_matches('/').is_empty() {
        return true;
    }
    // As routes are compared.
    let Ok((prefix, _)) = normalise(path) else { return false };
    target.path.strip_prefix(&prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
