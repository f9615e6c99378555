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
use super::manifest::{Manifest, PartRef};
use super::snapshot::{Holder, Part, Refused};
use crate::control::answer::{ActivePolicy, Behind};
use crate::control::client;
use crate::error::PlatformError;
use crate::platform::{ControlClient, PolicyStore, Stored};
use crate::time::Timestamp;

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
}

/// What a refresh works with.
pub(super) struct Follower<'a, S, C, N> {
    pub(super) store: &'a S,
    pub(super) control: &'a C,
    pub(super) holder: &'a RefCell<Holder>,
    pub(super) now: &'a N,
    pub(super) begun: Timestamp,
    pub(super) deadline: Duration,
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
        let shares = if pressed && !control_has_none { 2 } else { 1 };
        let read = self.store.read_active(self.left().checked_div(shares).unwrap_or_default()).await;
        let (said, or_else) = match read {
            Ok(Some(shown)) => match self.offer(&shown).await {
                Ok(()) => {
                    let source = self.holder.borrow().source();
                    if had || control_has_none || source != Some(Source::Control) {
                        return Outcome::Good;
                    }
                    // The store may be late, and this policy promises better.
                    (self.ask_control().await, Outcome::Good)
                }
                Err(refused) => {
                    let Refused { authentic, reason } = refused;
                    if had || control_has_none {
                        return if authentic { Outcome::Behind(reason) } else { Outcome::Failed(reason) };
                    }
                    (self.ask_control().await, Outcome::Failed(reason))
                }
            },
            Ok(None) if control_has_none => return Outcome::Nothing,
            Ok(None) => (self.ask_control().await, Outcome::Nothing),
            Err(error) => {
                if control_has_none || !pressed {
                    return Outcome::Failed(error.to_string());
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
            holder.have()
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
            return match self.offer(&(manifest.value, Some(manifest.metadata))).await {
                Ok(()) => behind(Said::Good),
                Err(Refused { authentic: true, reason }) => Said::Behind(reason),
                Err(Refused { authentic: false, reason }) => Said::Failed(reason),
            };
        }
        match (unchanged && have.is_some(), none) {
            (true, _) => behind(Said::Good),
            (false, true) => behind(Said::None),
            (false, false) => Said::Failed("control: the answer says nothing".to_owned()),
        }
    }

    /// Takes a manifest that a source showed, if it is newer and good.
    async fn offer(&self, (value, metadata): &Stored) -> Result<(), Refused> {
        let weighed = self.holder.borrow_mut().weigh(value, metadata.as_deref());
        let Some(manifest) = weighed? else { return Ok(()) };
        let parts = self.parts(&manifest).await?;
        self.holder.borrow_mut().take(manifest, parts, value, metadata.as_deref())
    }

    /// All parts of a manifest, verified.
    async fn parts(&self, manifest: &Manifest) -> Result<Vec<Part>, Refused> {
        let mut parts = Vec::with_capacity(manifest.parts.len());
        for part in &manifest.parts {
            let held = self.holder.borrow().held_part(part);
            let part = match held {
                Some(held) => held,
                None => self.part(part).await.map_err(|error| {
                    let reason = format!("revision {}: part {}: {error}", manifest.revision, part.hash);
                    Refused { authentic: false, reason }
                })?,
            };
            parts.push(part);
        }
        Ok(parts)
    }

    /// A part from the policy store, or from `Control` where the store does
    /// not show it, or shows something else.
    async fn part(&self, part: &PartRef) -> Result<Part, PlatformError> {
        let shown = self.store.read_part(&part.hash, self.left()).await;
        if let Ok(Some(bytes)) = shown
            && part.fits(&bytes)
        {
            return Ok((part.clone(), Rc::from(bytes)));
        }
        let bytes = client::part(self.control, &part.hash, self.left()).await?;
        if part.fits(&bytes) {
            return Ok((part.clone(), Rc::from(bytes)));
        }
        Err(PlatformError::failed(crate::error::Dependency::Control, "the bytes have another hash"))
    }

    /// What is left of the deadline.
    fn left(&self) -> Duration {
        self.deadline.saturating_sub((self.now)().since(self.begun))
    }
}

fn outcome(said: Said) -> Outcome {
    match said {
        Said::Good => Outcome::Good,
        Said::Behind(reason) => Outcome::Behind(reason),
        Said::None => Outcome::Nothing,
        Said::Failed(reason) => Outcome::Failed(reason),
    }
}
