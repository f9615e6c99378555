//! The manifest: what the KV key `active` holds. Policy and pointer are one
//! value, so they can never disagree.
//!
//! ```json
//! {"format": 1, "sequence": 7, "revision": "r7", "module": "0.1.0",
//!  "parts": [{"hash": "<64 hex>", "bytes": 123}], "policy": {"version": 1}}
//! ```
//!
//! Beside the policy may stand what changes without a revision: `sets`, the
//! parts of the stored address sets; `bans`, the active bans; `purges`, which
//! stored answers are void; `alerts`, what an operator should look at. A reader ignores names that it does not know, so
//! that a later version can add some.
//!
//! `module` is the least version of the module that can read the policy.
//! `parts` are what is too large to stand inline: each is stored under its own
//! hash, and all of them have to be there before the policy acts.
//!
//! The key's metadata repeats the sequence and holds the SHA-256 of the value
//! as hex: `{"sequence": 7, "hash": "…"}`. Where it is there it has to fit.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::needs::{Version, least_module};
use crate::platform::PartRead;

/// The KV key.
pub const ACTIVE_KEY: &str = "active";

/// The form that this module reads and writes.
pub const FORMAT: u32 = 1;

/// The version of this module.
pub const MODULE_VERSION: &str = env!("CARGO_PKG_VERSION");

/// The most parts of a manifest.
pub const PARTS_LIMIT: usize = 64;

/// The largest part, in bytes. A row of the Control object's database holds
/// 2 MB at most.
pub const PART_LIMIT: usize = 1 << 20;

/// The longest text of the active bans, in bytes: 100,000 of IPv6.
pub const BANS_LIMIT: usize = 4 << 20;

/// The most alerts of a manifest.
pub const ALERTS_LIMIT: usize = 64;

/// The KV key of a part.
#[must_use]
pub fn part_key(hash: &str) -> String {
    format!("part:{hash}")
}

/// A part by its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PartRef {
    /// SHA-256 as 64 lower-case hex digits.
    pub hash: String,
    /// How long it is.
    pub bytes: usize,
}

impl PartRef {
    /// The name of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self { hash: sha256_hex(bytes), bytes: bytes.len() }
    }

    /// Whether bytes of that hash and length are the part: a store may show
    /// them truncated.
    #[must_use]
    pub fn is(&self, read: &PartRead) -> bool {
        read.bytes.len() == self.bytes && read.hash == self.hash
    }

    /// Whether these bytes are the part.
    #[must_use]
    pub fn fits(&self, bytes: &[u8]) -> bool {
        bytes.len() == self.bytes && sha256_hex(bytes) == self.hash
    }
}

/// What stands beside the policy and changes without a revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beside {
    /// The stored address sets.
    pub sets: Option<SetsRef>,
    /// The active bans.
    pub bans: Option<BansRef>,
    /// The purges as text, as [`crate::purge`] reads it: what is wrong with it
    /// keeps no policy back.
    pub purges: Option<String>,
    /// What an operator should look at.
    pub alerts: Vec<Alert>,
}

/// The stored address sets, by their parts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetsRef {
    /// Grows with every change of any set.
    pub generation: u64,
    /// The pieces of the binary ([`crate::addresses::format`]), in order; none
    /// where there is no set.
    pub parts: Vec<PartRef>,
}

/// The active bans.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BansRef {
    /// Grows with every change of any ban.
    pub generation: u64,
    /// All of them, as base64 of a binary.
    pub set: String,
}

/// Something that an operator should look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Alert {
    /// What it is about: `feed`.
    pub kind: String,
    /// Which one.
    pub name: String,
    /// The label of what is wrong.
    pub reason: String,
    /// Since when, as in RFC 3339.
    pub since: String,
}

/// A manifest, its policy still text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Grows with every publication.
    pub sequence: u64,
    /// The name of the revision.
    pub revision: String,
    /// The least version of the module that can read the policy; `None` where
    /// it does not say.
    pub module: Option<Version>,
    /// What belongs to the policy and does not stand in it.
    pub parts: Vec<PartRef>,
    /// The policy document.
    pub policy: String,
    /// What stands beside it.
    pub beside: Beside,
}

/// Why a manifest cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestError {
    /// Its place in the order of publications, when the value is known to be
    /// the one that was written (its metadata fits): then this module cannot
    /// use it, and waiting for another view of the store will not help.
    pub sequence: Option<u64>,
    /// What is wrong.
    pub reason: String,
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for ManifestError {}

#[derive(Deserialize)]
struct Text<'a> {
    format: u32,
    sequence: u64,
    revision: Option<String>,
    module: Option<String>,
    #[serde(default)]
    parts: Vec<PartRef>,
    #[serde(borrow)]
    policy: &'a RawValue,
    sets: Option<SetsRef>,
    bans: Option<BansRef>,
    #[serde(borrow, default)]
    purges: Option<&'a RawValue>,
    #[serde(default)]
    alerts: Vec<Alert>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Metadata {
    sequence: Option<u64>,
    hash: Option<String>,
}

impl Manifest {
    /// A manifest without parts that needs what its policy needs.
    #[must_use]
    pub fn new(sequence: u64, revision: impl Into<String>, policy: impl Into<String>) -> Self {
        let policy = policy.into();
        let tree: Value = serde_json::from_str(&policy).unwrap_or_default();
        let module = Some(least_module(&tree));
        let beside = Beside::default();
        Self { sequence, revision: revision.into(), module, parts: Vec::new(), policy, beside }
    }

    /// Reads a manifest.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(value: &str, metadata: Option<&str>) -> Result<Self, ManifestError> {
        let damaged = |reason: String| ManifestError { sequence: None, reason };
        let metadata: Option<Metadata> = metadata
            .map(serde_json::from_str)
            .transpose()
            .map_err(|error| damaged(format!("the metadata does not parse: {error}")))?;
        let written = metadata.as_ref().and_then(|metadata| metadata.hash.as_deref());
        if written.is_some_and(|hash| !hash.eq_ignore_ascii_case(&sha256_hex(value.as_bytes()))) {
            return Err(damaged("the metadata names another hash: the value is damaged".to_owned()));
        }
        let named = metadata.as_ref().and_then(|metadata| metadata.sequence);
        let manifest = Self::read(value, named);
        manifest.map_err(|reason| ManifestError { sequence: written.and(named), reason })
    }

    fn read(value: &str, named: Option<u64>) -> Result<Self, String> {
        let text: Text<'_> =
            serde_json::from_str(value).map_err(|error| format!("the manifest does not parse: {error}"))?;
        if text.format != FORMAT {
            return Err(format!("the manifest has format {}; this module reads {FORMAT}", text.format));
        }
        if named.is_some_and(|sequence| sequence != text.sequence) {
            return Err("the metadata names another sequence".to_owned());
        }
        let module = text.module.as_deref().map(Version::parse);
        let own = Version::parse(MODULE_VERSION);
        if module.is_some_and(|least| least.is_none() || own < least) {
            let least = text.module.unwrap_or_default();
            return Err(format!("the manifest needs module {least:?}; this is {MODULE_VERSION}"));
        }
        let revision = text.revision.unwrap_or_else(|| format!("s{}", text.sequence));
        let is_name = (1..=64).contains(&revision.len())
            && revision.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"');
        if !is_name {
            return Err("the revision is not a name of 1 to 64 printable characters".to_owned());
        }
        let sets = text.sets.as_ref().map_or(&[][..], |sets| &sets.parts);
        if !are_parts(&text.parts) || !are_parts(sets) {
            return Err(format!(
                "the parts are not at most {PARTS_LIMIT} hashes of at most {PART_LIMIT} bytes each"
            ));
        }
        if text.bans.as_ref().is_some_and(|bans| bans.set.len() > BANS_LIMIT) {
            return Err(format!("the bans are longer than {BANS_LIMIT} bytes"));
        }
        if text.alerts.len() > ALERTS_LIMIT {
            return Err(format!("there are more than {ALERTS_LIMIT} alerts"));
        }
        Ok(Self {
            sequence: text.sequence,
            revision,
            module: module.flatten(),
            parts: text.parts,
            policy: text.policy.get().to_owned(),
            beside: Beside {
                sets: text.sets,
                bans: text.bans,
                purges: text.purges.map(|purges| purges.get().to_owned()),
                alerts: text.alerts,
            },
        })
    }

    /// The value and the metadata to store. The same manifest gives the same
    /// text, so writing it again changes nothing.
    ///
    /// # Errors
    /// The policy, or the text of the purges, is not JSON.
    pub fn encode(&self) -> Result<(String, String), String> {
        #[derive(Serialize)]
        struct Out<'a> {
            format: u32,
            sequence: u64,
            revision: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            module: Option<String>,
            #[serde(skip_serializing_if = "<[PartRef]>::is_empty")]
            parts: &'a [PartRef],
            policy: &'a RawValue,
            #[serde(skip_serializing_if = "Option::is_none")]
            sets: Option<&'a SetsRef>,
            #[serde(skip_serializing_if = "Option::is_none")]
            bans: Option<&'a BansRef>,
            #[serde(skip_serializing_if = "Option::is_none")]
            purges: Option<&'a RawValue>,
            #[serde(skip_serializing_if = "<[Alert]>::is_empty")]
            alerts: &'a [Alert],
        }
        let policy: &RawValue = serde_json::from_str(&self.policy).map_err(|error| error.to_string())?;
        let purges = self.beside.purges.as_deref().map(serde_json::from_str).transpose();
        let purges: Option<&RawValue> = purges.map_err(|error| error.to_string())?;
        let out = Out {
            format: FORMAT,
            sequence: self.sequence,
            revision: &self.revision,
            module: self.module.map(|module| module.to_string()),
            parts: &self.parts,
            policy,
            sets: self.beside.sets.as_ref(),
            bans: self.beside.bans.as_ref(),
            purges,
            alerts: &self.beside.alerts,
        };
        let value = serde_json::to_string(&out).map_err(|error| error.to_string())?;
        let metadata = Metadata { sequence: Some(self.sequence), hash: Some(sha256_hex(value.as_bytes())) };
        let metadata = serde_json::to_string(&metadata).map_err(|error| error.to_string())?;
        Ok((value, metadata))
    }
}

fn are_parts(parts: &[PartRef]) -> bool {
    parts.len() <= PARTS_LIMIT && parts.iter().all(|part| is_hash(&part.hash) && part.bytes <= PART_LIMIT)
}

/// SHA-256 as lower-case hex.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Bytes as lower-case hex.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let text = String::with_capacity(bytes.len().saturating_mul(2));
    bytes.iter().fold(text, |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Bytes from their hex digits, either case; `None` when that is not what it
/// is.
#[must_use]
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    text.as_bytes()
        .chunks_exact(2)
        .map(|pair| match *pair {
            [high, low] => Some(digit(high)?.wrapping_shl(4) | digit(low)?),
            _ => None,
        })
        .collect()
}

/// Whether a text is the hash of something: 64 lower-case hex digits.
#[must_use]
pub fn is_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
