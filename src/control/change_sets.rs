//! Changing the stored address sets, as the Worker that received a list does
//! it: read all of them, change one, compile, hand the parts over, name them.
//!
//! The `Control` object never compiles a list: it serves every isolate of the
//! environment, and a million prefixes are a second of its time.

use std::rc::Rc;

use super::CONTROL_WAIT;
use super::answer::{Refusal, Refused};
use super::client;
use super::message::{Action, Role};
use super::sets::{SetInfo, SetSets, SetsAcknowledgement, SetsStatus};
use crate::addresses::format::{decode, encode};
use crate::addresses::{SetId, StoredSets};
use crate::error::{Dependency, PlatformError};
use crate::platform::ControlClient;
use crate::policy::manifest::PART_LIMIT;

/// How often a change is made anew because somebody else made one meanwhile.
/// Whoever is refused for that was refused since another change was made: so
/// many changes at once are all made after as many rounds, and none waits.
pub const ATTEMPTS: usize = 32;

/// Who changes the sets, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Author<'a> {
    /// The name.
    pub name: &'a str,
    /// The role.
    pub role: Role,
    /// What is changed, for the audit log: `import drop`. Where that is known
    /// only when it has been changed, [`Edited::change`] says it.
    pub change: &'a str,
    /// Why.
    pub message: &'a str,
}

/// Sets that shall be in the place of the present ones.
#[derive(Clone, Debug)]
pub struct Edited {
    /// They.
    pub sets: StoredSets,
    /// What was changed, in the place of [`Author::change`].
    pub change: Option<String>,
}

/// Why the sets were not changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotChanged<E> {
    /// What was to be changed cannot be.
    Edit(E),
    /// The object refused.
    Refused(Box<Refused>),
    /// The object failed; whether the change was made is not known.
    Failed(PlatformError),
}

impl<E> From<PlatformError> for NotChanged<E> {
    fn from(error: PlatformError) -> Self {
        Self::Failed(error)
    }
}

/// The present sets. `known` are sets that are at hand, and are taken where
/// they are the present ones.
///
/// # Errors
/// The object failed, or what it has is damaged.
pub async fn present_sets(
    control: &impl ControlClient,
    status: &SetsStatus,
    known: Option<&Rc<StoredSets>>,
) -> Result<Rc<StoredSets>, PlatformError> {
    let present = &status.present;
    if let Some(known) = known.filter(|known| known.generation == present.generation) {
        return Ok(Rc::clone(known));
    }
    let mut parts = Vec::with_capacity(present.parts.len());
    for part in &present.parts {
        let bytes = client::part(control, &part.hash, CONTROL_WAIT).await?;
        if !part.fits(&bytes) {
            return Err(PlatformError::failed(Dependency::Control, "a part has another hash"));
        }
        parts.push(bytes);
    }
    assemble(present.generation, &parts)
        .map(Rc::new)
        .map_err(|damage| PlatformError::failed(Dependency::Control, damage))
}

/// Sets from their parts, checked as a whole; no parts are no sets.
///
/// # Errors
/// Says what is wrong with them.
fn assemble(generation: u64, parts: &[Vec<u8>]) -> Result<StoredSets, String> {
    if parts.is_empty() {
        return Ok(StoredSets { generation, ..StoredSets::default() });
    }
    let sets = decode(parts.iter().map(Vec::as_slice)).map_err(|damage| damage.to_string())?;
    // After a rollback it is an older binary under a new number.
    Ok(StoredSets { generation, ..sets })
}

/// Changes the sets: `edit` is given the present ones and what is known of
/// them, and gives what shall be in their place, or nothing where nothing
/// changes. It is asked again when somebody else was faster.
///
/// # Errors
/// Says why nothing was changed.
pub async fn change_sets<E>(
    control: &impl ControlClient,
    author: &Author<'_>,
    known: Option<&Rc<StoredSets>>,
    mut edit: impl FnMut(&StoredSets, &SetsStatus) -> Result<Option<StoredSets>, E>,
) -> Result<Option<SetsAcknowledgement>, NotChanged<E>> {
    let edit = |present: &StoredSets, status: &SetsStatus| {
        Ok(edit(present, status)?.map(|sets| Edited { sets, change: None }))
    };
    edit_sets(control, author, known, || true, edit).await
}

/// As [`change_sets`]; `has_time` says whether it may be tried once more.
///
/// # Errors
/// Says why nothing was changed.
pub async fn edit_sets<E>(
    control: &impl ControlClient,
    author: &Author<'_>,
    known: Option<&Rc<StoredSets>>,
    has_time: impl Fn() -> bool,
    mut edit: impl FnMut(&StoredSets, &SetsStatus) -> Result<Option<Edited>, E>,
) -> Result<Option<SetsAcknowledgement>, NotChanged<E>> {
    let mut attempt = 0_usize;
    loop {
        attempt = attempt.saturating_add(1);
        let status: SetsStatus = client::ask(control, &Action::Sets, CONTROL_WAIT).await?;
        let base = status.present.generation;
        let present = present_sets(control, &status, known).await?;
        let Some(edited) = edit(&present, &status).map_err(NotChanged::Edit)? else { return Ok(None) };
        drop(present);
        let Edited { sets: mut next, change } = edited;
        next.generation = base.saturating_add(1);
        let tries_anew = attempt < ATTEMPTS && has_time();
        let refused = match hand_over(control, &next, base).await? {
            Err(refused) => refused,
            Ok(parts) => {
                let set = SetSets {
                    base,
                    parts,
                    sets: infos(&next),
                    change: change.unwrap_or_else(|| author.change.to_owned()),
                    message: author.message.to_owned(),
                    author: author.name.to_owned(),
                    role: author.role,
                    tries_anew,
                };
                drop(next);
                match client::ask_or_refused(control, &Action::SetSets(set), CONTROL_WAIT).await? {
                    Ok(acknowledgement) => return Ok(Some(acknowledgement)),
                    Err(refused) => refused,
                }
            }
        };
        if refused.reason != Refusal::StaleBase || !tries_anew {
            return Err(NotChanged::Refused(refused.into()));
        }
    }
}

/// Gives the object the parts of a binary; their hashes, in order, or why it
/// takes none: somebody else was faster.
async fn hand_over(
    control: &impl ControlClient,
    sets: &StoredSets,
    base: u64,
) -> Result<Result<Vec<String>, Refused>, PlatformError> {
    if sets.sets.is_empty() {
        return Ok(Ok(Vec::new()));
    }
    let binary = encode(sets);
    let mut hashes = Vec::with_capacity(binary.len().div_ceil(PART_LIMIT));
    for piece in binary.chunks(PART_LIMIT) {
        match client::put_part(control, piece, base, CONTROL_WAIT).await? {
            Ok(part) => hashes.push(part.hash),
            Err(refused) => return Ok(Err(refused)),
        }
    }
    Ok(Ok(hashes))
}

/// What is known of each set.
#[must_use]
pub fn infos(sets: &StoredSets) -> Vec<SetInfo> {
    let counts = sets.index.counts(sets.sets.len());
    let all = sets.sets.iter().zip(counts);
    all.map(|(set, (v4, v6))| SetInfo {
        name: set.name.clone(),
        v4,
        v6,
        since: set.since,
        source: set.source.clone(),
    })
    .collect()
}

impl StoredSets {
    /// The sets without one of them; `None` where there is none of that name.
    #[must_use]
    pub fn without(&self, name: &str) -> Option<Self> {
        let gone = self.id(name)?;
        let renumber = |set: SetId| match set.0.cmp(&gone.0) {
            std::cmp::Ordering::Less => Some(set),
            std::cmp::Ordering::Equal => None,
            std::cmp::Ordering::Greater => Some(SetId(set.0.saturating_sub(1))),
        };
        let index = self.index.keep(renumber).finish();
        let sets = self.sets.iter().filter(|set| set.name != name).cloned().collect();
        Some(Self { generation: self.generation, sets, index })
    }
}
