//! The stored address sets, as the `Control` object keeps them.
//!
//! 1. All sets of an environment are one binary, compiled by the Worker that
//!    received a list; the object keeps its parts by hash and never looks into
//!    them.
//! 2. Parts come first, each in a message of its own; a generation then names
//!    them. Who made it says on which generation it is based: a lost update is
//!    refused.
//! 3. A generation that is replaced stays for 24 hours, for isolates that have
//!    an older manifest and for going back; where there are too many, those in
//!    between are thinned out ([`super::sets_kept`]). What no generation names any more
//!    is removed, from the policy store first.
//! 4. A set that the active policy names cannot be taken away: a rule that
//!    fails closed would refuse everybody.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::answer::{AuditEntry, AuditOutcome, PublicationState, Refusal, Refused};
use super::mend::CONTROL;
use super::message::{NAME_LIMIT, NOTE_LIMIT, Role};
use super::plane::{PUBLISH_AFTER, Plane, document, may_change, row};
use super::sets_kept::{Earlier, Room, stay};
use super::state::{lost, stored};
use crate::addresses::format::{NAME_LIMIT as SET_NAME_LIMIT, SETS_LIMIT, SOURCE_LIMIT};
use crate::error::{PlatformError, clip};
use crate::platform::{ControlStore, Write};
use crate::policy::manifest::{PART_LIMIT, PARTS_LIMIT, PartRef, SetsRef, is_hash, unhex};
use crate::time::Timestamp;

/// The name of the value that holds all of it.
pub const SETS: &str = "sets";

/// The name of the value that names the parts of the present generation a
/// second time, should the other one be damaged.
pub const PRESENT: &str = "present-sets";

/// How long a replaced generation stays.
pub const KEPT: Duration = Duration::from_secs(86_400);

/// How long a part stays that no generation names yet.
pub const LOOSE: Duration = Duration::from_secs(3_600);

/// The most replaced generations that stay; past it they are thinned out, see
/// [`super::sets_kept`].
pub const EARLIER_LIMIT: usize = 64;

/// The most bytes that they may take as JSON; past it they are thinned out,
/// too. All that is known of sets is one row, of which the storage takes 2 MB:
/// the present generation may need 600 KB of it.
pub const EARLIER_BYTES: usize = 1 << 20;

/// The longest account of a change in the audit log, in bytes.
pub const CHANGE_LIMIT: usize = 2 * SET_NAME_LIMIT;

/// The most parts that no generation names: those of four imports at once.
const LOOSE_LIMIT: usize = 4 * PARTS_LIMIT;

/// What is known of a set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetInfo {
    /// Its name.
    pub name: String,
    /// How many IPv4 prefixes it has.
    pub v4: usize,
    /// How many IPv6 prefixes it has.
    pub v6: usize,
    /// When this list came in, in seconds since 1970.
    pub since: u64,
    /// Where it came from: the URL of a feed, or `import`.
    pub source: String,
}

/// A generation of the sets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// Its number; 0 is the one without sets that everything begins with.
    pub generation: u64,
    /// The pieces of its binary.
    pub parts: Vec<PartRef>,
    /// Its sets.
    pub sets: Vec<SetInfo>,
    /// Who made it.
    pub author: String,
    /// Why.
    pub message: String,
    /// When another one replaced it; none for the present one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced: Option<Timestamp>,
}

/// A part that no generation names yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoosePart {
    hash: String,
    since: Timestamp,
    /// The generation that its list is made from, where that is known: with
    /// the next generation it is in vain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base: Option<u64>,
}

/// All that the object knows of stored sets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StoredSetsState {
    /// The present generation.
    pub present: Generation,
    /// Those of the last 24 hours, the newest first.
    pub earlier: Vec<Generation>,
    /// The parts of the present generation that the policy store is known to
    /// have.
    pub written: Vec<String>,
    /// Parts on their way to a generation.
    pub loose: Vec<LoosePart>,
    /// Parts of generations that went, to be removed.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub dropped: BTreeSet<String>,
}

/// `put-part`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutPart {
    /// The bytes as hex.
    pub part: String,
    /// The generation that its list is made from, where it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<u64>,
}

/// The answer to `put-part`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartStored {
    /// Its name.
    pub part: PartRef,
}

/// `set-sets`: a new generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetSets {
    /// The generation that it is made from.
    pub base: u64,
    /// The hashes of its parts, in order.
    pub parts: Vec<String>,
    /// Its sets.
    pub sets: Vec<SetInfo>,
    /// What changed, for the audit log: `import drop`.
    pub change: String,
    /// Why.
    #[serde(default)]
    pub message: String,
    /// Who.
    pub author: String,
    /// What the author may do.
    pub role: Role,
    /// Whether it is made anew where the base is not the present one any more:
    /// then that is no outcome, and is not written down.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tries_anew: bool,
}

/// `rollback-sets`: an earlier generation again, under a new number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollbackSets {
    /// Which one.
    pub to: u64,
    /// Why.
    #[serde(default)]
    pub message: String,
    /// Who.
    pub author: String,
    /// What the author may do.
    pub role: Role,
}

/// The answer to `sets`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetsStatus {
    /// The present generation.
    pub present: Generation,
    /// Those of the last 24 hours, the newest first.
    pub earlier: Vec<Generation>,
    /// The sequence under which the active revision is published.
    pub sequence: u64,
    /// Whether the policy store has it.
    pub state: Option<PublicationState>,
    /// The stored sets that the active policy names.
    pub named: Vec<String>,
}

/// The answer to `set-sets` and `rollback-sets`: the generation is durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SetsAcknowledgement {
    /// The new generation.
    pub generation: u64,
    /// The sequence of the publication that carries it; 0 where there is no
    /// policy to publish yet.
    pub sequence: u64,
    /// Whether the policy store has it.
    pub state: PublicationState,
}

impl StoredSetsState {
    /// Reads it. Where it is damaged, the present generation is what is named
    /// beside it.
    ///
    /// # Errors
    /// The storage failed, or holds something else, and nothing beside it.
    pub fn load(store: &impl ControlStore) -> Result<Self, PlatformError> {
        let Some(text) = store.value(SETS)? else { return Ok(Self::default()) };
        let damage = match stored(&text) {
            Ok(state) => return Ok(state),
            Err(damage) => damage,
        };
        let present = store.value(PRESENT)?.and_then(|text| stored::<SetsRef>(&text).ok()).ok_or(damage)?;
        let SetsRef { generation, parts } = present;
        let message = "what was known of the sets was damaged".to_owned();
        let author = CONTROL.to_owned();
        let present = Generation { generation, parts, author, message, ..Generation::default() };
        Ok(Self { present, ..Self::default() })
    }

    /// The write that names the parts of the present generation a second time.
    #[must_use]
    pub fn write_present(&self) -> Option<Write> {
        self.reference().map(|present| Write::Value(PRESENT, row(&present)))
    }

    /// The write that stores it.
    #[must_use]
    pub fn write(&self) -> Write {
        // Texts and numbers always serialise.
        Write::Value(SETS, serde_json::to_string(self).unwrap_or_default())
    }

    /// What a manifest says of the sets; nothing before the first.
    #[must_use]
    pub fn reference(&self) -> Option<SetsRef> {
        let Generation { generation, parts, .. } = &self.present;
        (*generation > 0).then(|| SetsRef { generation: *generation, parts: parts.clone() })
    }

    /// When something can be removed.
    #[must_use]
    pub fn clean_at(&self) -> Option<Timestamp> {
        if !self.dropped.is_empty() {
            return Some(Timestamp::default());
        }
        let earlier = self.earlier.iter().filter_map(|earlier| earlier.replaced).map(|at| at.after(KEPT));
        earlier.chain(self.loose.iter().map(|loose| loose.since.after(LOOSE))).min()
    }

    /// Forgets what is over, and gives the parts that nothing names any more.
    pub fn clean(&mut self, now: Timestamp) -> Vec<String> {
        let is_over = |since: Timestamp, kept: Duration| now >= since.after(kept);
        let mut gone = std::mem::take(&mut self.dropped);
        self.earlier.retain(|earlier| {
            let keep = !earlier.replaced.is_some_and(|at| is_over(at, KEPT));
            if !keep {
                gone.extend(earlier.parts.iter().map(|part| part.hash.clone()));
            }
            keep
        });
        self.loose.retain(|loose| {
            let keep = !is_over(loose.since, LOOSE);
            if !keep {
                gone.insert(loose.hash.clone());
            }
            keep
        });
        gone.into_iter().filter(|hash| !self.names(hash)).collect()
    }

    /// Lets replaced generations go that there is no room for. At once, and
    /// not when parts are removed next: that waits for the policy store, and
    /// what is too large could not be stored until then.
    fn thin_out(&mut self, now: Timestamp) {
        let earlier: Vec<Earlier> = self
            .earlier
            .iter()
            .map(|earlier| Earlier {
                replaced: earlier.replaced.unwrap_or_default(),
                bytes: row(earlier).len(),
            })
            .collect();
        let room = Room { count: EARLIER_LIMIT, bytes: EARLIER_BYTES, kept: KEPT };
        let mut stays = stay(&earlier, &room, now).into_iter();
        let gone = self.earlier.extract_if(.., |_| !stays.next().unwrap_or(true));
        self.dropped.extend(gone.flat_map(|earlier| earlier.parts).map(|part| part.hash));
    }

    fn names(&self, hash: &str) -> bool {
        let mut generations = std::iter::once(&self.present).chain(&self.earlier);
        generations.any(|generation| generation.parts.iter().any(|part| part.hash == hash))
            || self.loose.iter().any(|loose| loose.hash == hash)
    }

    /// Puts another generation in the place of the present one.
    fn replace(&mut self, next: Generation, now: Timestamp) {
        let before = std::mem::replace(&mut self.present, next);
        if before.generation > 0 {
            self.earlier.insert(0, Generation { replaced: Some(now), ..before });
        }
        self.thin_out(now);
        // Of what was written long ago it is not known whether it is still
        // there: it is written again.
        self.written.clear();
        let present = &self.present;
        self.loose.retain(|loose| !present.parts.iter().any(|part| part.hash == loose.hash));
        // What was made from the generation before cannot be named any more:
        // its author begins anew.
        let is_vain = |loose: &mut LoosePart| loose.base.is_some_and(|base| base != present.generation);
        self.dropped.extend(self.loose.extract_if(.., is_vain).map(|loose| loose.hash));
    }
}

/// The refusal of what is made from another generation than the present one.
fn stale(base: u64, present: u64) -> Refused {
    let detail = format!(
        "the stored address sets have changed: the present generation is {present}, and this is made from {base}"
    );
    let (base, active) = (Some(base.to_string()), Some(present.to_string()));
    Refused { base, active, ..Refused::new(Refusal::StaleBase) }.detail(detail)
}

/// The stored sets that a document names.
pub(super) fn stored_names(document: &Value) -> Vec<String> {
    let sets = document.get("address_sets").and_then(Value::as_object);
    let is_stored = |set: &Value| set.get("stored").and_then(Value::as_bool) == Some(true);
    let named = sets.into_iter().flatten().filter(|(_, set)| is_stored(set));
    named.map(|(name, _)| name.clone()).collect()
}

impl<S: ControlStore> Plane<'_, S> {
    /// Keeps a part for a generation to come.
    pub(super) fn put_part(&mut self, put: &PutPart) -> Result<Result<PartStored, Refused>, PlatformError> {
        let Some(bytes) = unhex(&put.part) else {
            return Ok(Err(Refused::new(Refusal::Malformed).detail("the part is not hex")));
        };
        let mut state = StoredSetsState::load(self.store)?;
        if bytes.len() > PART_LIMIT || state.loose.len() >= LOOSE_LIMIT {
            let detail =
                format!("at most {LOOSE_LIMIT} parts of at most {PART_LIMIT} bytes wait for their list");
            return Ok(Err(Refused::new(Refusal::TooLarge).detail(detail)));
        }
        let present = state.present.generation;
        if let Some(base) = put.base.filter(|base| *base != present) {
            return Ok(Err(stale(base, present)));
        }
        let part = PartRef::of(&bytes);
        if !state.names(&part.hash) {
            state.loose.push(LoosePart { hash: part.hash.clone(), since: self.now, base: put.base });
            self.writes.push(Write::Object(part.hash.clone(), bytes));
            self.store_sets(&state);
        }
        Ok(Ok(PartStored { part }))
    }

    pub(super) fn sets(&self) -> Result<SetsStatus, PlatformError> {
        let StoredSetsState { present, earlier, .. } = StoredSetsState::load(self.store)?;
        let (sequence, state) = (self.state.sequence, Some(self.state.publication()));
        Ok(SetsStatus { present, earlier, sequence, state, named: self.named_sets()? })
    }

    pub(super) fn set_sets(
        &mut self,
        set: SetSets,
    ) -> Result<Result<SetsAcknowledgement, Refused>, PlatformError> {
        let entry = self.sets_entry(&set.author, set.role, &set.change, &set.message);
        let tries_anew = set.tries_anew;
        let done = self.next_generation(set)?;
        let is_outcome = |refused: &Refused| !tries_anew || refused.reason != Refusal::StaleBase;
        if done.as_ref().err().is_none_or(is_outcome) {
            self.note_outcome(entry, done.as_ref().err());
        }
        Ok(done)
    }

    pub(super) fn rollback_sets(
        &mut self,
        rollback: RollbackSets,
    ) -> Result<Result<SetsAcknowledgement, Refused>, PlatformError> {
        let RollbackSets { to, message, author, role } = rollback;
        let change = format!("rollback-sets {to}");
        let entry = self.sets_entry(&author, role, &change, &message);
        let state = StoredSetsState::load(self.store)?;
        let earlier = state.earlier.iter().find(|earlier| earlier.generation == to);
        let done = match earlier {
            None => Err(Refused::new(Refusal::NoSuchGeneration)),
            Some(earlier) => {
                let base = state.present.generation;
                let parts = earlier.parts.iter().map(|part| part.hash.clone()).collect();
                let sets = earlier.sets.clone();
                let tries_anew = false;
                self.next_generation(SetSets {
                    base,
                    parts,
                    sets,
                    change,
                    message,
                    author,
                    role,
                    tries_anew,
                })?
            }
        };
        self.note_outcome(entry, done.as_ref().err());
        Ok(done)
    }

    fn next_generation(
        &mut self,
        set: SetSets,
    ) -> Result<Result<SetsAcknowledgement, Refused>, PlatformError> {
        if !may_change(set.role) {
            return Ok(Err(Refused::new(Refusal::NeedsOperator)));
        }
        let mut state = StoredSetsState::load(self.store)?;
        let present = state.present.generation;
        if set.base != present {
            return Ok(Err(stale(set.base, present)));
        }
        let are_names = set.sets.len() <= SETS_LIMIT
            && set.sets.iter().all(|info| {
                (1..=SET_NAME_LIMIT).contains(&info.name.len()) && info.source.len() <= SOURCE_LIMIT
            });
        if !are_names || set.parts.len() > PARTS_LIMIT {
            let detail = format!("at most {SETS_LIMIT} sets in at most {PARTS_LIMIT} parts");
            return Ok(Err(Refused::new(Refusal::TooLarge).detail(detail)));
        }
        let named = self.named_sets()?;
        let gone = state.present.sets.iter().find(|before| {
            named.contains(&before.name) && !set.sets.iter().any(|after| after.name == before.name)
        });
        if let Some(gone) = gone {
            let detail = format!("the active policy names the set \"{}\"", gone.name);
            return Ok(Err(Refused::new(Refusal::SetInUse).detail(detail)));
        }
        let mut parts = Vec::with_capacity(set.parts.len());
        for hash in &set.parts {
            let bytes = if is_hash(hash) { self.store.object(hash)? } else { None };
            let Some(bytes) = bytes else { return Ok(Err(Refused::new(Refusal::NoSuchPart))) };
            parts.push(PartRef { hash: hash.clone(), bytes: bytes.len() });
        }
        let generation = present.saturating_add(1);
        let next = Generation {
            generation,
            parts,
            sets: set.sets,
            author: clip(&set.author, NAME_LIMIT).to_owned(),
            message: clip(&set.message, NOTE_LIMIT).to_owned(),
            replaced: None,
        };
        state.replace(next, self.now);
        self.store_sets(&state);
        self.writes.extend(state.write_present());
        let sequence = self.publish_anew();
        Ok(Ok(SetsAcknowledgement { generation, sequence, state: PublicationState::Pending }))
    }

    /// Lets what stands beside the policy be published: a new sequence under
    /// the same revision. Gives the sequence; 0 where there is no revision.
    pub(super) fn publish_anew(&mut self) -> u64 {
        if self.state.active == 0 {
            return 0;
        }
        self.state.sequence = self.state.next_sequence(self.now);
        self.state.failures = 0;
        self.state.retry = None;
        self.writes.push(self.state.write());
        self.writes.push(Write::Alarm(self.now.after(PUBLISH_AFTER)));
        self.state.sequence
    }

    fn store_sets(&mut self, state: &StoredSetsState) {
        self.writes.push(state.write());
        self.state.clean = state.clean_at();
        self.writes.push(self.state.write());
        if self.state.active == 0 {
            // Nothing else rings while there is nothing to publish.
            self.writes.extend(self.state.clean.map(Write::Alarm));
        }
    }

    /// The stored sets that the active document names.
    fn named_sets(&self) -> Result<Vec<String>, PlatformError> {
        if self.state.active == 0 {
            return Ok(Vec::new());
        }
        let active = self.stored_revision(self.state.active)?.ok_or_else(|| lost("the active revision"))?;
        // What is active was accepted, so it parses.
        let tree: Value = serde_json::from_str(&document(self.store, &active.hash)?).unwrap_or_default();
        Ok(stored_names(&tree))
    }

    fn sets_entry(&self, author: &str, role: Role, change: &str, message: &str) -> AuditEntry {
        AuditEntry {
            author: clip(author, NAME_LIMIT).to_owned(),
            role: Some(role),
            // A name as long as one may be is whole.
            action: clip(change, CHANGE_LIMIT).to_owned(),
            message: clip(message, NOTE_LIMIT).to_owned(),
            ..self.entry()
        }
    }

    /// Writes down what became of a change that makes no revision.
    pub(super) fn note_outcome(&mut self, entry: AuditEntry, refused: Option<&Refused>) {
        let entry = match refused {
            None => AuditEntry { outcome: AuditOutcome::Accepted, ..entry },
            Some(refused) => AuditEntry { reason: Some(refused.reason.as_str().to_owned()), ..entry },
        };
        self.log(entry);
    }
}
