//! The single writer: a message in, an answer out.
//!
//! 1. Load, decide, store. All that one message changes is stored at once, the
//!    audit entry and the alarm that will publish it among it: a crash leaves
//!    all of it or nothing.
//! 2. A change names the revision that its author has seen. Is it not the
//!    active one any more, the change is refused, and both are named.
//! 3. A revision is never changed or removed. A rollback is a new revision
//!    with an old content.
//! 4. What cannot be compiled here, or not by a module that was seen in the
//!    last 24 hours, does not become a revision.
//! 5. Every change and every attempt at one stands in the audit log.
//!
//! A refusal is an answer. An error is a storage that failed; then nothing
//! was changed.

use std::time::Duration;

use serde::Serialize;

use super::answer::{
    Acknowledgement, ActivePolicy, AuditEntry, AuditLog, AuditOutcome, Behind, Done, History, PartBytes,
    PublicationState, Refusal, Refused, Revision, RevisionDocument, Status, StoredManifest, encode_answer,
};
use super::bans::{BansAcknowledgement, BansState, collect};
use super::change::{Change, can_read};
use super::feeds::FeedStates;
use super::message::{
    Action, NAME_LIMIT, NOTE_LIMIT, Note, PAGE_LIMIT, PROTOCOL, Request, Role, decode_request, revision_name,
    revision_number,
};
use super::purges::{PurgesState, PurgesTaken};
use super::sets::{SetsAcknowledgement, StoredSetsState};
use super::state::{Modules, State, lost, stored};
use crate::error::{Dependency, PlatformError, clip};
use crate::platform::{ControlStore, Table, Write};
use crate::policy::manifest::{Beside, Manifest, hex, is_hash};
use crate::policy::needs::{BESIDE, Version};
use crate::time::Timestamp;

/// How long after a change the alarm rings that publishes it, should whoever
/// took the change not have come to it.
pub const PUBLISH_AFTER: Duration = Duration::from_secs(1);

/// How many revisions are searched for one that an old module can read.
const SEARCH_LIMIT: usize = 1_000;

/// An answer before it is text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handled {
    version: u32,
    answer: Answer,
    /// What was found damaged, for the log.
    pub damage: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    Acknowledged(Acknowledgement),
    Sets(SetsAcknowledgement),
    Text(String),
    Bans(BansAcknowledgement),
    Purges(PurgesTaken),
}

impl Handled {
    /// Whether something was made that now wants to be published.
    #[must_use]
    pub const fn is_change(&self) -> bool {
        matches!(self.answer, Answer::Acknowledged(_) | Answer::Sets(_) | Answer::Bans(_) | Answer::Purges(_))
    }

    /// Says of a change how far its publication has come meanwhile.
    ///
    /// # Errors
    /// The storage failed.
    pub fn settle(&mut self, store: &impl ControlStore) -> Result<(), PlatformError> {
        let (sequence, state) = match &mut self.answer {
            Answer::Acknowledged(Acknowledgement { sequence, state, .. })
            | Answer::Sets(SetsAcknowledgement { sequence, state, .. })
            | Answer::Bans(BansAcknowledgement { sequence, state, .. })
            | Answer::Purges(PurgesTaken { sequence, state, .. }) => (sequence, state),
            Answer::Text(_) => return Ok(()),
        };
        let now = State::load(store)?;
        // There was no policy, and meanwhile there is one that carries it.
        if *sequence == 0 && now.active > 0 {
            *sequence = now.sequence;
        }
        if *sequence > 0 && now.published >= *sequence {
            *state = PublicationState::Published;
        }
        Ok(())
    }

    /// The text of the answer.
    #[must_use]
    pub fn text(&self) -> String {
        match &self.answer {
            Answer::Acknowledged(acknowledgement) => encode_answer(self.version, Ok(acknowledgement)),
            Answer::Sets(acknowledgement) => encode_answer(self.version, Ok(acknowledgement)),
            Answer::Bans(acknowledgement) => encode_answer(self.version, Ok(acknowledgement)),
            Answer::Purges(taken) => encode_answer(self.version, Ok(taken)),
            Answer::Text(text) => text.clone(),
        }
    }
}

/// Answers a message.
///
/// # Errors
/// The storage failed: nothing was changed.
pub fn handle(store: &impl ControlStore, text: &str, now: Timestamp) -> Result<String, PlatformError> {
    Ok(decide(store, text, now, PROTOCOL)?.text())
}

/// A refusal as an answer.
fn refuse(version: u32) -> impl Fn(Refused) -> Answer {
    move |refused| Answer::Text(encode_answer::<Done>(version, Err(refused)))
}

/// Answers a message as a module does that speaks `protocol`.
///
/// # Errors
/// The storage failed: nothing was changed.
pub fn decide(
    store: &impl ControlStore,
    text: &str,
    now: Timestamp,
    protocol: u32,
) -> Result<Handled, PlatformError> {
    let request = match decode_request(text, protocol) {
        Ok(request) => request,
        Err(refused) => {
            let answer = Answer::Text(encode_answer::<Done>(protocol, Err(*refused)));
            return Ok(Handled { version: protocol, answer, damage: Vec::new() });
        }
    };
    let module = request.module.as_deref().and_then(Version::parse);
    let mut plane =
        Plane { store, now, state: State::load(store)?, modules: Modules::load(store)?, writes: Vec::new() };
    let seen = module.and_then(|module| plane.modules.note(module, now));
    let Request { version, action, .. } = request;
    let text = |text: String| Answer::Text(text);
    let answer = match action {
        Action::Active(active) => {
            // Who does not say speaks the first protocol, or is the first
            // version.
            let mut policy = plane.active(active.have, module.unwrap_or(Version::FIRST))?;
            if version < 2 {
                policy.behind = None;
            }
            text(encode_answer(version, Ok(policy)))
        }
        Action::Part(part) => text(encode_answer(version, plane.part(&part.hash)?)),
        Action::Push(push) => plane.change(Change::Push(push), version)?,
        Action::Rollback(rollback) => plane.change(Change::Rollback(rollback), version)?,
        Action::Revision(of) => text(encode_answer(version, plane.revision(of.name.as_deref())?)),
        Action::History(page) => {
            text(encode_answer(version, plane.history(page.before.as_deref(), page.limit)?))
        }
        Action::Audit(page) => text(encode_answer(version, Ok(plane.audit(page.before, page.limit)?))),
        Action::Note(note) => {
            plane.note(note, AuditOutcome::Refused);
            text(encode_answer(version, Ok(Done { done: true })))
        }
        Action::NoteDone(note) => {
            plane.note(note, AuditOutcome::Accepted);
            text(encode_answer(version, Ok(Done { done: true })))
        }
        Action::Seen(active) => {
            plane.rise(active.have);
            text(encode_answer(version, Ok(Done { done: true })))
        }
        Action::Status => text(encode_answer(version, Ok(plane.status()))),
        Action::PutPart(put) => text(encode_answer(version, plane.put_part(&put)?)),
        Action::Sets => text(encode_answer(version, Ok(plane.sets()?))),
        Action::SetSets(set) => plane.set_sets(set)?.map_or_else(refuse(version), Answer::Sets),
        Action::RollbackSets(to) => plane.rollback_sets(to)?.map_or_else(refuse(version), Answer::Sets),
        Action::Feeds => text(encode_answer(version, Ok(FeedStates::load(store)?))),
        Action::FeedResults(results) => text(encode_answer(version, Ok(plane.note_feeds(&results)?))),
        Action::Ban(ban) => plane.ban(ban)?.map_or_else(refuse(version), Answer::Bans),
        Action::Unban(unban) => plane.unban(unban)?.map_or_else(refuse(version), Answer::Bans),
        Action::Bans(page) => text(encode_answer(version, Ok(plane.bans(&page)?))),
        Action::Purge(order) => plane.purge(order)?.map_or_else(refuse(version), Answer::Purges),
        Action::Purges(page) => text(encode_answer(version, Ok(plane.purges(&page)?))),
        Action::ReportBans(report) => text(encode_answer(version, Ok(plane.report_bans(report)?))),
    };
    let mut answer = answer;
    if plane.writes.is_empty() {
        // A storage that takes nothing more must not keep isolates from their
        // policy; the module says so again next time.
        let _ = seen.map(|seen| store.apply(vec![seen]));
    } else {
        plane.writes.extend(seen);
        store.apply(plane.writes)?;
    }
    let mut damage = Vec::new();
    if let Answer::Bans(acknowledgement) = &mut answer {
        // At once, in the same turn: what a person does is published with
        // nothing else in between.
        let collected = collect(store, now)?;
        acknowledgement.generation = collected.generation;
        acknowledgement.sequence = collected.sequence;
        damage = collected.damage;
    }
    Ok(Handled { version, answer, damage })
}

/// One message at work.
pub(super) struct Plane<'a, S> {
    pub(super) store: &'a S,
    pub(super) now: Timestamp,
    pub(super) state: State,
    pub(super) modules: Modules,
    /// What will be stored, all at once.
    pub(super) writes: Vec<Write>,
}

impl<S: ControlStore> Plane<'_, S> {
    fn change(&mut self, change: Change, version: u32) -> Result<Answer, PlatformError> {
        let (base, to, message) = change.named();
        let entry = AuditEntry {
            author: clip(change.author(), NAME_LIMIT).to_owned(),
            role: Some(change.role()),
            action: change.name().to_owned(),
            base: Some(clip(base, NAME_LIMIT).to_owned()),
            to: to.map(|to| clip(to, NAME_LIMIT).to_owned()),
            message: clip(message, NOTE_LIMIT).to_owned(),
            ..self.entry()
        };
        match self.accept(change)? {
            Ok(acknowledgement) => {
                let revision = Some(acknowledgement.revision.clone());
                self.log(AuditEntry { outcome: AuditOutcome::Accepted, revision, ..entry });
                Ok(Answer::Acknowledged(acknowledgement))
            }
            Err(refused) => {
                self.log(AuditEntry { reason: Some(refused.reason.as_str().to_owned()), ..entry });
                Ok(Answer::Text(encode_answer::<Done>(version, Err(refused))))
            }
        }
    }

    /// An entry of the audit log with nothing in it.
    pub(super) fn entry(&self) -> AuditEntry {
        AuditEntry {
            id: self.state.audit.saturating_add(1),
            time: self.now.to_string(),
            author: String::new(),
            role: None,
            action: String::new(),
            outcome: AuditOutcome::Refused,
            reason: None,
            revision: None,
            base: None,
            to: None,
            network: None,
            until: None,
            purged: None,
            message: String::new(),
        }
    }

    pub(super) fn log(&mut self, entry: AuditEntry) {
        self.state.audit = entry.id;
        self.writes.push(Write::Row(Table::Audit, entry.id, row(&entry)));
        self.writes.push(self.state.write());
    }

    fn note(&mut self, note: Note, outcome: AuditOutcome) {
        let reason = (outcome == AuditOutcome::Refused).then(|| clip(&note.reason, NAME_LIMIT).to_owned());
        self.log(AuditEntry {
            outcome,
            reason,
            author: clip(&note.author, NAME_LIMIT).to_owned(),
            role: note.role,
            action: clip(&note.attempt, NAME_LIMIT).to_owned(),
            message: clip(&note.message, NOTE_LIMIT).to_owned(),
            ..self.entry()
        });
    }

    fn active(&mut self, have: Option<u64>, module: Version) -> Result<ActivePolicy, PlatformError> {
        if self.state.active == 0 {
            return Ok(ActivePolicy { none: true, ..ActivePolicy::default() });
        }
        let newest = self.stored_revision(self.state.active)?.ok_or_else(|| lost("the active revision"))?;
        if can_read(module, &newest.module) {
            self.rise(have);
            if have.is_some_and(|have| have >= self.state.sequence) {
                return Ok(ActivePolicy { unchanged: true, ..ActivePolicy::default() });
            }
            let beside = match beside(self.store, &self.state) {
                Ok(beside) => beside,
                Err(error) => {
                    // What is damaged is made anew before it is published.
                    self.store.apply(vec![Write::Alarm(self.now)])?;
                    return Err(error);
                }
            };
            let manifest = Some(manifest(self.store, &newest, self.state.sequence, beside)?);
            return Ok(ActivePolicy { manifest, ..ActivePolicy::default() });
        }
        let behind = Some(Behind { revision: newest.revision, module: newest.module });
        Ok(match self.newest_for(module)? {
            Some(revision) if have.is_none_or(|have| have < revision.sequence) => {
                // What stands beside the policy belongs to the newest.
                // But purges, of which a module that knows none knows nothing.
                let purges = purges(self.store)?.filter(|_| module >= BESIDE);
                let beside = Beside { purges, ..Beside::default() };
                let manifest = Some(manifest(self.store, &revision, revision.sequence, beside)?);
                ActivePolicy { manifest, behind, ..ActivePolicy::default() }
            }
            _ if have.is_some() => ActivePolicy { unchanged: true, behind, ..ActivePolicy::default() },
            _ => ActivePolicy { none: true, behind, ..ActivePolicy::default() },
        })
    }

    /// Whoever acts on a higher sequence got it from elsewhere: it was written
    /// by hand. The active revision would never act there.
    fn rise(&mut self, have: Option<u64>) {
        if have.is_some_and(|have| have > self.state.sequence && self.state.rise_above(have)) {
            self.writes.push(self.state.write());
            self.writes.push(Write::Alarm(self.now));
        }
    }

    /// The newest revision that a module can read.
    fn newest_for(&self, module: Version) -> Result<Option<Revision>, PlatformError> {
        let mut before = self.state.active.saturating_add(1);
        for _ in 0..SEARCH_LIMIT.div_ceil(PAGE_LIMIT) {
            let rows = self.store.rows(Table::Revisions, Some(before), PAGE_LIMIT)?;
            for row in &rows {
                before = before.saturating_sub(1);
                // One that is damaged is no reason to give none.
                let Ok(revision) = stored::<Revision>(row) else { continue };
                if can_read(module, &revision.module) {
                    return Ok(Some(revision));
                }
            }
            if rows.len() < PAGE_LIMIT {
                break;
            }
        }
        Ok(None)
    }

    fn part(&self, hash: &str) -> Result<Result<PartBytes, Refused>, PlatformError> {
        if !is_hash(hash) {
            return Ok(Err(Refused::new(Refusal::NoSuchPart)));
        }
        let bytes = self.store.object(hash)?;
        Ok(bytes.map(|bytes| PartBytes { part: hex(&bytes) }).ok_or(Refused::new(Refusal::NoSuchPart)))
    }

    /// A revision by its number.
    pub(super) fn stored_revision(&self, number: u64) -> Result<Option<Revision>, PlatformError> {
        self.store.row(Table::Revisions, number)?.map(|row| stored(&row)).transpose()
    }

    fn revision(&self, name: Option<&str>) -> Result<Result<RevisionDocument, Refused>, PlatformError> {
        let number = name.map_or(Some(self.state.active), revision_number);
        let revision = number.map(|number| self.stored_revision(number)).transpose()?.flatten();
        let Some(revision) = revision else {
            return Ok(Err(Refused::new(Refusal::NoSuchRevision)));
        };
        let document = document(self.store, &revision.hash)?;
        Ok(Ok(RevisionDocument { revision, document }))
    }

    fn history(
        &self,
        before: Option<&str>,
        limit: Option<u64>,
    ) -> Result<Result<History, Refused>, PlatformError> {
        let number = before.map(revision_number);
        if number.is_some_and(|number| number.is_none()) {
            return Ok(Err(Refused::new(Refusal::NoSuchRevision)));
        }
        let (revisions, more) = self.page(Table::Revisions, number.flatten(), limit, |_| None)?;
        Ok(Ok(History { revisions, more }))
    }

    fn audit(&self, before: Option<u64>, limit: Option<u64>) -> Result<AuditLog, PlatformError> {
        let damaged = |id| {
            let message = "what was stored of this entry is damaged".to_owned();
            let (action, time) = ("damaged".to_owned(), Timestamp::default().to_string());
            Some(AuditEntry { id, action, time, message, ..self.entry() })
        };
        let (entries, more) = self.page(Table::Audit, before, limit, damaged)?;
        Ok(AuditLog { entries, more })
    }

    /// A page of a list. `damaged` is what stands for a row that cannot be
    /// read.
    fn page<T: serde::de::DeserializeOwned>(
        &self,
        table: Table,
        before: Option<u64>,
        limit: Option<u64>,
        damaged: impl Fn(u64) -> Option<T>,
    ) -> Result<(Vec<T>, bool), PlatformError> {
        let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(PAGE_LIMIT);
        let limit = limit.clamp(1, PAGE_LIMIT);
        let mut rows = self.store.rows(table, before, limit.saturating_add(1))?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        // Rows are numbered without a gap.
        let newest = match table {
            Table::Revisions => self.state.active,
            Table::Audit => self.state.audit,
        };
        let first = before.map_or(newest, |before| before.saturating_sub(1).min(newest));
        let numbers = (0..=first).rev();
        let read = rows.iter().zip(numbers).filter_map(|(row, number)| match stored(row) {
            Ok(row) => Some(row),
            Err(_) => damaged(number),
        });
        Ok((read.collect(), more))
    }

    fn status(&self) -> Status {
        Status {
            active: revision_name(self.state.active),
            sequence: self.state.sequence,
            state: self.state.publication(),
            failures: self.state.failures,
            oldest_module: self.modules.oldest(self.now).map(|module| module.to_string()),
            audit: self.state.audit,
        }
    }
}

/// The text of a row.
pub(super) fn row(value: &impl Serialize) -> String {
    // Texts and numbers always serialise.
    serde_json::to_string(value).unwrap_or_default()
}

/// A stored document.
pub(super) fn document(store: &impl ControlStore, hash: &str) -> Result<String, PlatformError> {
    let bytes = store.object(hash)?.ok_or_else(|| lost("the document"))?;
    String::from_utf8(bytes).map_err(|_| lost("the document"))
}

/// A revision as the policy store holds it.
pub(super) fn manifest(
    store: &impl ControlStore,
    revision: &Revision,
    sequence: u64,
    beside: Beside,
) -> Result<StoredManifest, PlatformError> {
    let manifest = Manifest {
        sequence,
        revision: revision.revision.clone(),
        module: Version::parse(&revision.module),
        parts: revision.parts.clone(),
        policy: document(store, &revision.hash)?,
        beside,
    };
    let encoded = manifest.encode().map_err(|error| PlatformError::failed(Dependency::Control, error))?;
    Ok(StoredManifest { value: encoded.0, metadata: encoded.1 })
}

/// What stands beside the policy now.
pub(super) fn beside(store: &impl ControlStore, state: &State) -> Result<Beside, PlatformError> {
    let bans = BansState::load(store)??.reference(store)?;
    let sets = StoredSetsState::load(store)?.reference();
    Ok(Beside { sets, bans, purges: purges(store)?, alerts: state.alerts.clone() })
}

/// The purges as a manifest has them.
fn purges(store: &impl ControlStore) -> Result<Option<String>, PlatformError> {
    Ok(PurgesState::load(store)??.text())
}

/// Whether a role may change anything.
pub(super) fn may_change(role: Role) -> bool {
    role >= Role::Operator
}
