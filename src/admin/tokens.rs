//! Who may use the admin API: the secret `ADMIN_TOKENS`.
//!
//! ```json
//! [{"name": "ops", "role": "operator", "sha256": "<64 hex digits>", "expires": "2027-01-31T00:00:00Z"}]
//! ```
//!
//! 1. It holds digests, so that whoever reads it cannot use it.
//! 2. Tokens are 256 random bits: a plain hash of one cannot be searched.
//! 3. Digests are compared whole, all of them, whatever is found on the way:
//!    the time says nothing about how near a guess was.
//! 4. An entry that cannot be read makes the whole list unusable: a typing
//!    error must not let an expired token live on. Nor may two entries have
//!    one name or one token: the audit log could not tell who it was.

use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::control::message::Role;
use crate::policy::decode::{self, Problems};
use crate::policy::manifest::is_hash;
use crate::time::Timestamp;

/// The most entries.
pub const TOKENS_LIMIT: usize = 100;

/// The longest token that is looked at, in bytes; ours have 48.
pub const TOKEN_LIMIT: usize = 256;

/// One who may use the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The name that stands in the audit log.
    pub name: String,
    /// What it may do.
    pub role: Role,
    digest: [u8; 32],
    expires: Option<Timestamp>,
}

impl Token {
    /// Whether its time is over.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

/// Who a request is from, by its token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller<'a> {
    /// It brings no token.
    Nobody,
    /// It brings one that is not known.
    Unknown,
    /// It brings one whose time is over.
    Expired(&'a Token),
    /// It brings a good one.
    Known(&'a Token),
}

impl<'a> Caller<'a> {
    /// The token of a caller who is known.
    #[must_use]
    pub const fn token(self) -> Option<&'a Token> {
        match self {
            Self::Known(token) => Some(token),
            Self::Nobody | Self::Unknown | Self::Expired(_) => None,
        }
    }
}

/// All who may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokens(Vec<Token>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    role: Role,
    sha256: String,
    #[serde(default)]
    expires: Option<String>,
}

impl Tokens {
    /// Reads the secret.
    ///
    /// # Errors
    /// Says what is wrong, without repeating any of it.
    pub fn parse(text: &str) -> Result<Self, String> {
        // A wrong value could be a token itself: serde's message would repeat
        // it.
        const SHAPE: &str = "{name, role, sha256, expires}, the role one of reader, operator and owner";
        let mut problems = Problems::default();
        let entries = match decode::parse(text, &mut problems) {
            Some(Value::Array(entries)) if problems.is_empty() => entries,
            _ => return Err(format!("ADMIN_TOKENS: expected a JSON list of {SHAPE}")),
        };
        if entries.len() > TOKENS_LIMIT {
            return Err(format!("ADMIN_TOKENS: expected at most {TOKENS_LIMIT} entries"));
        }
        let mut tokens: Vec<Token> = Vec::with_capacity(entries.len());
        for (index, mut entry) in entries.into_iter().enumerate() {
            let wrong = |what: &str| Err(format!("ADMIN_TOKENS[{index}]: expected {what}"));
            // serde would read a list as the members in order.
            let read = entry.is_object().then(|| decode::decode::<Entry>(&mut entry, &mut problems));
            let Some((entry, _)) = read.flatten().filter(|_| problems.is_empty()) else {
                return wrong(SHAPE);
            };
            let named = (1..=64).contains(&entry.name.len())
                && entry.name.chars().all(|character| !character.is_control());
            if !named || tokens.iter().any(|token| token.name == entry.name) {
                return wrong("a name of its own of 1 to 64 bytes");
            }
            let Some(digest) = digest(&entry.sha256) else {
                return wrong("\"sha256\" to be 64 hex digits");
            };
            if tokens.iter().any(|token| token.digest == digest) {
                return wrong("a \"sha256\" of its own");
            }
            let expires = match entry.expires.as_deref().map(Timestamp::parse_rfc3339) {
                None => None,
                Some(Some(expires)) => Some(expires),
                Some(None) => {
                    return wrong("\"expires\" to be a moment such as 2027-01-31T00:00:00Z (RFC 3339)");
                }
            };
            tokens.push(Token { name: entry.name, role: entry.role, digest, expires });
        }
        Ok(Self(tokens))
    }

    /// Whether nobody may.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Who a request with this Authorization field is from.
    #[must_use]
    pub fn caller(&self, authorization: Option<&str>, now: Timestamp) -> Caller<'_> {
        let Some(presented) = authorization.and_then(bearer) else { return Caller::Nobody };
        match self.find(presented) {
            None => Caller::Unknown,
            Some(token) if token.is_expired(now) => Caller::Expired(token),
            Some(token) => Caller::Known(token),
        }
    }

    /// Whose token it is.
    #[must_use]
    pub fn find(&self, presented: &str) -> Option<&Token> {
        if presented.len() > TOKEN_LIMIT {
            return None;
        }
        let digest = Sha256::digest(presented.as_bytes());
        let mut found = None;
        for token in &self.0 {
            let difference =
                token.digest.iter().zip(digest.iter()).fold(0, |sum, (ours, theirs)| sum | (ours ^ theirs));
            if std::hint::black_box(difference) == 0 {
                found = Some(token);
            }
        }
        found
    }
}

/// The token of an Authorization field (RFC 6750, 2.1).
fn bearer(field: &str) -> Option<&str> {
    let (scheme, token) = field.split_once(' ')?;
    let token = token.trim_matches(' ');
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

fn digest(hex: &str) -> Option<[u8; 32]> {
    let hex = hex.to_ascii_lowercase();
    if !is_hash(&hex) {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}
