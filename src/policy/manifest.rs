//! The manifest: what the KV key `active` holds. Policy and pointer are one
//! value, so they can never disagree.
//!
//! ```json
//! {"format": 1, "sequence": 7, "revision": "r7", "module": "0.1.0", "policy": {"version": 1}}
//! ```
//!
//! The key's metadata repeats the sequence and holds the SHA-256 of the value
//! as hex: `{"sequence": 7, "hash": "…"}`. Where it is there it has to fit.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

/// The KV key.
pub const ACTIVE_KEY: &str = "active";

/// The form that this module reads and writes.
pub const FORMAT: u32 = 1;

/// The version of this module.
pub const MODULE_VERSION: &str = env!("CARGO_PKG_VERSION");

/// A manifest, its policy still text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Grows with every publication.
    pub sequence: u64,
    /// The name of the revision.
    pub revision: String,
    /// The policy document.
    pub policy: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text<'a> {
    format: u32,
    sequence: u64,
    revision: Option<String>,
    /// The least version of the module that can read the policy.
    module: Option<String>,
    #[serde(borrow)]
    policy: &'a RawValue,
}

#[derive(Debug, Serialize, Deserialize)]
struct Metadata {
    sequence: Option<u64>,
    hash: Option<String>,
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(value: &str, metadata: Option<&str>) -> Result<Self, String> {
        let text: Text<'_> =
            serde_json::from_str(value).map_err(|error| format!("the manifest does not parse: {error}"))?;
        if text.format != FORMAT {
            return Err(format!("the manifest has format {}; this module reads {FORMAT}", text.format));
        }
        if let Some(least) = &text.module
            && version(least).is_none_or(|least| version(MODULE_VERSION).is_none_or(|own| own < least))
        {
            return Err(format!("the manifest needs module {least:?}; this is {MODULE_VERSION}"));
        }
        if let Some(metadata) = metadata {
            let metadata: Metadata = serde_json::from_str(metadata)
                .map_err(|error| format!("the metadata does not parse: {error}"))?;
            if metadata.sequence.is_some_and(|sequence| sequence != text.sequence) {
                return Err("the metadata names another sequence".to_owned());
            }
            if metadata.hash.is_some_and(|hash| !hash.eq_ignore_ascii_case(&sha256_hex(value))) {
                return Err("the metadata names another hash: the value is damaged".to_owned());
            }
        }
        let revision = text.revision.unwrap_or_else(|| format!("s{}", text.sequence));
        let is_name = (1..=64).contains(&revision.len())
            && revision.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"');
        if !is_name {
            return Err("the revision is not a name of 1 to 64 printable characters".to_owned());
        }
        Ok(Self { sequence: text.sequence, revision, policy: text.policy.get().to_owned() })
    }

    /// The value and the metadata to store.
    ///
    /// # Errors
    /// The policy is not JSON.
    pub fn encode(&self) -> Result<(String, String), String> {
        #[derive(Serialize)]
        struct Out<'a> {
            format: u32,
            sequence: u64,
            revision: &'a str,
            module: &'a str,
            policy: &'a RawValue,
        }
        let policy: &RawValue = serde_json::from_str(&self.policy).map_err(|error| error.to_string())?;
        let out = Out {
            format: FORMAT,
            sequence: self.sequence,
            revision: &self.revision,
            module: MODULE_VERSION,
            policy,
        };
        let value = serde_json::to_string(&out).map_err(|error| error.to_string())?;
        let metadata = Metadata { sequence: Some(self.sequence), hash: Some(sha256_hex(&value)) };
        let metadata = serde_json::to_string(&metadata).map_err(|error| error.to_string())?;
        Ok((value, metadata))
    }
}

fn sha256_hex(text: &str) -> String {
    use std::fmt::Write as _;
    Sha256::digest(text.as_bytes()).iter().fold(String::new(), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// `major.minor.patch`, to be compared.
fn version(text: &str) -> Option<(u32, u32, u32)> {
    let mut parts = text.splitn(3, '.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??, parts.next()??))
}
