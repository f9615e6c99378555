//! One refresh: which source is asked, and which is asked after it. What is
//! known and when to ask is in [`super::snapshot`].
//!
//! | the first says | then |
//! | --- | --- |
//! | KV: a manifest | it is taken; an isolate that had none and now has a policy of `source: control` asks `Control` whether it is the newest |
//! | KV: one that cannot be used | an isolate that has none asks `Control` for the newest that it can use |
//! | KV: nothing | `Control` is asked: the store may be late |
//! | KV: an error | with nothing to act on, or past `max_stale`, `Control` is asked |
//! | `Control`: none | KV is asked: what was written there by hand counts |
//! | `Control`: an error | that is all |

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::Source;
use super::manifest::{Manifest, PartRef, SetsRef};
use super::snapshot::{Candidate, Doubt, Holder, LOOK_AGAIN, Part, Refused};
use crate::addresses::{StoredSets, format};
use crate::control::answer::{ActivePolicy, Behind};
use crate::control::client;
use crate::error::PlatformError;
use crate::platform::{ControlClient, PolicyStore, Stored};
use crate::time::Timestamp;

/// How long a first request waits for the stored sets; then its rules say what
/// becomes of it.
pub const SETS_WAIT: Duration = Duration::from_secs(2);

/// How a refresh ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// A source answered, and the newest that it knows is acted on.
    Good,
    /// A source answered, and this module cannot use what it has.
    Behind(String),
    /// There is no policy: all that could know say so.
    Nothing,
    /// No source gave an answer that counts.
    Failed(String),
    /// Others do it: they still load what belongs to a newer one, or they have
    /// made the first read.
    Busy,
}

/// What a refresh works with.
pub(super) struct Follower<'a, S, C, N> {
    pub(super) store: &'a S,
    pub(super) control: &'a C,
    pub(super) holder: &'a RefCell<Holder>,
    pub(super) now: &'a N,
    pub(super) begun: Timestamp,
    pub(super) deadline: Duration,
    /// How long the manifest is waited for at most, where `Control` can be
    /// asked next.
    pub(super) store_limit: Duration,
}

/// What `Control` said.
enum Said {
    /// What it has is acted on.
    Good,
    /// Something better exists, or what it has cannot be used.
    Behind(String),
    /// It has none.
    None,
    /// It said nothing that counts.
    Failed(String),
    /// What it has is about to be acted on.
    Busy,
}

impl<S: PolicyStore, C: ControlClient, N: Fn() -> Timestamp> Follower<'_, S, C, N> {
    pub(super) async fn ask(&self) -> Outcome {
        // Each borrow ends before anything is awaited.
        let source = self.holder.borrow().source();
        match source {
            Some(Source::Control) => match self.ask_control().await {
                Said::None => self.ask_store(true).await,
                said => outcome(said),
            },
            Some(Source::Kv) | None => self.ask_store(false).await,
        }
    }

    /// Asks the policy store, and `Control` where that is not enough.
    async fn ask_store(&self, control_has_none: bool) -> Outcome {
        let (had, pressed) = {
            let holder = self.holder.borrow();
            (holder.have().is_some(), holder.is_pressed((self.now)()))
        };
        // A store that hangs must leave time for Control, where that is asked
        // next.
        let left = self.left();
        let is_first_asked = pressed && !control_has_none;
        let half = || left.checked_div(2).unwrap_or_default();
        let wait = if is_first_asked { half().min(self.store_limit) } else { left };
        let read = self.store.read_active(wait).await;
        let (said, or_else) = match read {
            Ok(Some(shown)) => match self.offer(shown).await {
                Ok(()) => {
                    let source = self.holder.borrow().source();
                    if had || control_has_none || source != Some(Source::Control) {
                        return Outcome::Good;
                    }
                    // The store may be late, and this policy promises better.
                    (self.ask_control().await, Outcome::Good)
                }
                Err(refused) => {
                    if had || control_has_none {
                        return outcome(refused.into());
                    }
                    (self.ask_control().await, Outcome::Failed(refused.reason))
                }
            },
            Ok(None) if control_has_none => return Outcome::Nothing,
            Ok(None) => (self.ask_control().await, Outcome::Nothing),
            Err(error) => {
                if control_has_none || !pressed {
                    return Outcome::Failed(error.to_string());
                }
                // Another request has made the first read meanwhile.
                if !had && self.holder.borrow().current().is_some() {
                    return Outcome::Busy;
                }
                let failed = |more: &str| Outcome::Failed(format!("{error}{more}"));
                match self.ask_control().await {
                    // What failed may hold what Control does not know of.
                    Said::None => return failed(""),
                    Said::Failed(reason) => return failed(&format!("; {reason}")),
                    said => return outcome(said),
                }
            }
        };
        if matches!(said, Said::None) { or_else } else { outcome(said) }
    }

    async fn ask_control(&self) -> Said {
        let have = {
            let mut holder = self.holder.borrow_mut();
            holder.note_asked((self.now)());
            holder.have().filter(|_| holder.has_all())
        };
        let ActivePolicy { manifest, unchanged, none, behind } =
            match client::active(self.control, have, self.left()).await {
                Ok(policy) => policy,
                Err(error) => return Said::Failed(error.to_string()),
            };
        let behind = |said: Said| match (&behind, said) {
            (Some(Behind { revision, module }), Said::Good | Said::None) => Said::Behind(format!(
                "revision {revision} needs module {module}; this is {}",
                super::manifest::MODULE_VERSION
            )),
            (_, said) => said,
        };
        if let Some(manifest) = manifest {
            return match self.offer((manifest.value, Some(manifest.metadata))).await {
                Ok(()) => behind(Said::Good),
                Err(refused) => refused.into(),
            };
        }
        match (unchanged && have.is_some(), none) {
            (true, _) => behind(Said::Good),
            (false, true) => behind(Said::None),
            (false, false) => Said::Failed("control: the answer says nothing".to_owned()),
        }
    }

    /// Takes a manifest that a source showed, if it is newer and good.
    async fn offer(&self, shown: Stored) -> Result<(), Refused> {
        let Some(candidate) = self.weigh(shown)? else { return Ok(()) };
        let parts = self.parts(&candidate.manifest).await?;
        let sets = match self.sets(&candidate).await {
            Ok(sets) => Ok(sets),
            // Whoever has a policy keeps it with its sets. Whoever has none
            // takes this one without: what that means, its rules say.
            Err(refused) if self.holder.borrow().has_all() => return Err(refused),
            Err(refused) => Err(refused.reason),
        };
        self.holder.borrow_mut().take(&candidate, parts, sets);
        Ok(())
    }

    /// What is shown ends here: it is megabytes, and what it is read into is
    /// shared.
    fn weigh(&self, shown: Stored) -> Result<Option<Rc<Candidate>>, Refused> {
        self.holder.borrow_mut().weigh(&shown)
    }

    /// The parts of the policy itself, verified.
    async fn parts(&self, manifest: &Manifest) -> Result<Vec<Part>, Refused> {
        let held: Vec<Option<Part>> =
            manifest.parts.iter().map(|part| self.holder.borrow().held_part(part)).collect();
        let missing: Vec<PartRef> = manifest
            .parts
            .iter()
            .zip(&held)
            .filter(|(_, held)| held.is_none())
            .map(|(part, _)| part.clone())
            .collect();
        let read = self.bytes_of(&missing, self.left()).await.map_err(|error| unread(manifest, &error))?;
        let mut read = missing.into_iter().zip(read).map(|(part, bytes)| (part, Rc::from(bytes)));
        Ok(held.into_iter().filter_map(|held| held.or_else(|| read.next())).collect())
    }

    /// The stored address sets, where the policy asks for any; loaded once
    /// for all requests of the isolate. Who waits for them leaves half of his
    /// time to whoever loads, and then loads himself: what hangs in one request
    /// must not keep the policy from those that promise to have it sooner.
    async fn sets(&self, candidate: &Candidate) -> Result<Option<Rc<StoredSets>>, Refused> {
        let Candidate { manifest, gateway, .. } = candidate;
        let Some(reference) = &manifest.beside.sets else { return Ok(None) };
        if gateway.sets.stored.is_empty() {
            return Ok(None);
        }
        let generation = reference.generation;
        let is_first = self.holder.borrow().current().is_none();
        let wait = if is_first { SETS_WAIT.min(self.left()) } else { self.left() };
        let until = (self.now)().after(wait);
        let patience = wait.checked_div(2).unwrap_or_default();
        let refused = |doubt: Doubt, reason: &str| Refused {
            doubt,
            reason: format!(
                "revision {}: address sets, generation {generation}: {reason}",
                manifest.revision
            ),
        };
        // A million prefixes are megabytes: not once for each of the requests
        // that an isolate begins with.
        let turn = loop {
            let now = (self.now)();
            {
                let mut holder = self.holder.borrow_mut();
                // Another request has swapped in this one, or a newer one.
                if holder.is_held(manifest.sequence) {
                    return Ok(None);
                }
                if let Some(sets) = holder.sets_of(generation) {
                    return Ok(Some(sets));
                }
                if let Some(turn) = holder.begin_loading(generation, now, until, patience) {
                    break turn;
                }
            }
            let left = until.since(now);
            if left.is_zero() {
                return Err(refused(Doubt::Busy, "another request is loading them"));
            }
            self.store.pause(LOOK_AGAIN.min(left)).await;
        };
        let loaded = self.load(reference, until.since((self.now)())).await;
        let mut holder = self.holder.borrow_mut();
        match loaded {
            Ok(sets) => Ok(holder.end_loading(turn, Some(sets))),
            Err(reason) => {
                holder.end_loading(turn, None);
                // Who has taken over may have been faster.
                if holder.is_held(manifest.sequence) {
                    return Ok(None);
                }
                holder.sets_of(generation).map(Some).ok_or_else(|| refused(Doubt::Doubtful, &reason))
            }
        }
    }

    async fn load(&self, reference: &SetsRef, wait: Duration) -> Result<StoredSets, String> {
        let generation = reference.generation;
        if reference.parts.is_empty() {
            return Ok(StoredSets { generation, ..StoredSets::default() });
        }
        let read = self.bytes_of(&reference.parts, wait).await.map_err(|error| error.to_string())?;
        // Their hashes are those of what was published, so the entries need
        // not be walked once more.
        let sets = format::read(read.iter().map(Vec::as_slice)).map_err(|damage| damage.to_string())?;
        // After a rollback it is an older binary under a new number.
        Ok(StoredSets { generation, ..sets })
    }

    /// Bytes of parts from the policy store, or from `Control` where the store
    /// does not show them, or shows something else.
    async fn bytes_of(&self, parts: &[PartRef], wait: Duration) -> Result<Vec<Vec<u8>>, PlatformError> {
        if parts.is_empty() {
            return Ok(Vec::new());
        }
        let until = (self.now)().after(wait);
        let hashes: Vec<&str> = parts.iter().map(|part| part.hash.as_str()).collect();
        // A store that hangs must leave time for Control.
        let shown = self.store.read_parts(&hashes, wait.mul_f32(0.6)).await.unwrap_or_default();
        let mut shown = shown.into_iter();
        let mut all = Vec::with_capacity(parts.len());
        for part in parts {
            if let Some(read) = shown.next().flatten().filter(|read| part.is(read)) {
                all.push(read.bytes);
                continue;
            }
            let bytes = client::part(self.control, &part.hash, until.since((self.now)())).await;
            let bytes = bytes.map_err(|error| {
                let cause = format!("part {}: {}", part.hash, error.cause);
                PlatformError { cause, ..error }
            })?;
            if !part.fits(&bytes) {
                let cause = format!("part {} has another hash", part.hash);
                return Err(PlatformError::failed(crate::error::Dependency::Control, cause));
            }
            all.push(bytes);
        }
        Ok(all)
    }

    /// What is left of the deadline.
    fn left(&self) -> Duration {
        self.deadline.saturating_sub((self.now)().since(self.begun))
    }
}

fn unread(manifest: &Manifest, error: &PlatformError) -> Refused {
    let reason = format!("revision {}: a part: {error}", manifest.revision);
    Refused { doubt: Doubt::Doubtful, reason }
}

impl From<Refused> for Said {
    fn from(Refused { doubt, reason }: Refused) -> Self {
        match doubt {
            Doubt::Authentic => Self::Behind(reason),
            Doubt::Doubtful => Self::Failed(reason),
            Doubt::Busy => Self::Busy,
        }
    }
}

fn outcome(said: Said) -> Outcome {
    match said {
        Said::Good => Outcome::Good,
        Said::Behind(reason) => Outcome::Behind(reason),
        Said::None => Outcome::Nothing,
        Said::Failed(reason) => Outcome::Failed(reason),
        Said::Busy => Outcome::Busy,
    }
}
