//! What the `Control` object remembers besides its lists: the active
//! revision, how far its publication is, and which modules were seen.
//!
//! It is one small text, read anew for every decision: nothing that counts
//! lives in memory, so an object that is evicted loses nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::answer::PublicationState;
use crate::error::{Dependency, PlatformError};
use crate::platform::{ControlStore, Write};
use crate::policy::manifest::Alert;
use crate::policy::needs::Version;
use crate::time::Timestamp;

/// The name of the state's value.
pub const STATE: &str = "state";

/// The name of the value that holds the modules.
pub const MODULES: &str = "modules";

/// The greatest sequence that is taken over from elsewhere: the greatest whole
/// number that every reader of JSON holds exactly (RFC 8259, 6).
pub const SEQUENCE_LIMIT: u64 = (1 << 53) - 1;

/// How long a module counts after it was seen.
pub const MODULE_LIFETIME: Duration = Duration::from_secs(86_400);

/// A module that was seen this recently is not written down again.
const MODULE_GRAIN: Duration = Duration::from_secs(60);

/// The most versions that are remembered.
const MODULES_LIMIT: usize = 64;

/// The state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// The number of the active revision, which is the newest; 0 for none.
    pub active: u64,
    /// The sequence under which the active revision is to be published.
    pub sequence: u64,
    /// The number of the last entry of the audit log.
    pub audit: u64,
    /// The sequence that the policy store has, as far as it is known; 0 for
    /// not known.
    pub published: u64,
    /// When `active` was last written or may have been, in milliseconds.
    pub wrote: Option<Timestamp>,
    /// How many attempts failed in a row.
    pub failures: u32,
    /// Nothing is tried before this.
    pub retry: Option<Timestamp>,
    /// How often it was read back.
    pub verified: usize,
    /// When it is to be read back.
    pub verify: Option<Timestamp>,
    /// When parts of stored sets are to be removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clean: Option<Timestamp>,
    /// What an operator should look at.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub alerts: Vec<Alert>,
    /// When the bans are to be collected for the manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collect: Option<Timestamp>,
}

impl State {
    /// Reads the state. What is not there yet is the state of an empty
    /// object; what cannot be read is an error, since beginning anew would
    /// lose what is there.
    ///
    /// # Errors
    /// The storage failed, or holds something else.
    pub fn load(store: &impl ControlStore) -> Result<Self, PlatformError> {
        Ok(store.value(STATE)?.map(|text| stored(&text)).transpose()?.unwrap_or_default())
    }

    /// The write that stores it.
    #[must_use]
    pub fn write(&self) -> Write {
        // Numbers always serialise.
        Write::Value(STATE, serde_json::to_string(self).unwrap_or_default())
    }

    /// Whether the policy store has the active revision.
    #[must_use]
    pub const fn publication(&self) -> PublicationState {
        if self.published >= self.sequence { PublicationState::Published } else { PublicationState::Pending }
    }

    /// The sequence of the next revision: the time in milliseconds, and in any
    /// case above the last one. So it is above everything that was ever
    /// published here, also by hand, and also when this object's storage was
    /// lost or brought back from a backup.
    #[must_use]
    pub fn next_sequence(&self, now: Timestamp) -> u64 {
        self.sequence.saturating_add(1).max(now.millis().min(SEQUENCE_LIMIT))
    }

    /// Takes note that somebody has seen a sequence that is not of this
    /// object, or has it with another content: the active revision goes above
    /// it, or it would never act there. Gives whether anything changed.
    pub fn rise_above(&mut self, seen: u64) -> bool {
        if self.active == 0 || seen < self.sequence || seen >= SEQUENCE_LIMIT {
            return false;
        }
        self.sequence = seen.saturating_add(1);
        true
    }
}

/// Reads something of ours.
///
/// # Errors
/// It is something else.
pub fn stored<T: DeserializeOwned>(text: &str) -> Result<T, PlatformError> {
    serde_json::from_str(text).map_err(|error| {
        PlatformError::failed(Dependency::Control, format!("what is stored is damaged: {error}"))
    })
}

/// What is stored should be there and is not.
#[must_use]
pub fn lost(what: &str) -> PlatformError {
    PlatformError::failed(Dependency::Control, format!("{what} is not stored"))
}

/// The versions of the module that were seen, and when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Modules(BTreeMap<Version, Timestamp>);

impl Modules {
    /// Reads them. What is damaged counts as none seen: those that run say so
    /// again with their next refresh.
    ///
    /// # Errors
    /// The storage failed.
    pub fn load(store: &impl ControlStore) -> Result<Self, PlatformError> {
        let text = store.value(MODULES)?;
        let texts: BTreeMap<String, Timestamp> = text.and_then(|text| stored(&text).ok()).unwrap_or_default();
        Ok(Self(texts.into_iter().filter_map(|(text, seen)| Some((Version::parse(&text)?, seen))).collect()))
    }

    /// Notes that a module was seen; gives the write that stores it where it
    /// is worth one.
    pub fn note(&mut self, module: Version, now: Timestamp) -> Option<Write> {
        // A clock that went back makes a moment in the future; it is
        // corrected, or that module would count for too long.
        let known = self.0.get(&module).is_some_and(|seen| *seen <= now && now.since(*seen) < MODULE_GRAIN);
        if known {
            return None;
        }
        self.0.insert(module, now);
        self.0.retain(|_, seen| now.since(*seen) <= MODULE_LIFETIME);
        while self.0.len() > MODULES_LIMIT {
            // The oldest versions are what counts.
            self.0.pop_last();
        }
        let texts: BTreeMap<String, Timestamp> =
            self.0.iter().map(|(version, seen)| (version.to_string(), *seen)).collect();
        Some(Write::Value(MODULES, serde_json::to_string(&texts).unwrap_or_default()))
    }

    /// The oldest version of the last 24 hours.
    #[must_use]
    pub fn oldest(&self, now: Timestamp) -> Option<Version> {
        self.0.iter().find(|(_, seen)| now.since(**seen) <= MODULE_LIFETIME).map(|(version, _)| *version)
    }
}
