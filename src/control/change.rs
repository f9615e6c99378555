//! A change: what makes it acceptable, and what is stored of it.

use serde_json::Value;

use super::answer::{Acknowledgement, ProblemText, PublicationState, Refusal, Refused, Revision};
use super::message::{NAME_LIMIT, NOTE_LIMIT, Push, Role, Rollback, revision_name, revision_number};
use super::plane::{PUBLISH_AFTER, Plane, document, may_change, row};
use super::sets::{StoredSetsState, stored_names};
use crate::error::{PlatformError, clip};
use crate::platform::{ControlStore, Table, Write};
use crate::policy::manifest::{PART_LIMIT, PARTS_LIMIT, PartRef, sha256_hex};
use crate::policy::needs::{Version, least_module};
use crate::policy::{DOCUMENT_LIMIT, compile};

/// A change that somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A document.
    Push(Push),
    /// An old one.
    Rollback(Rollback),
}

impl Change {
    /// What it is called.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Push(_) => "push",
            Self::Rollback(_) => "rollback",
        }
    }

    /// Who asks for it.
    #[must_use]
    pub fn author(&self) -> &str {
        match self {
            Self::Push(push) => &push.author,
            Self::Rollback(rollback) => &rollback.author,
        }
    }

    /// What the author may do.
    #[must_use]
    pub const fn role(&self) -> Role {
        match self {
            Self::Push(push) => push.role,
            Self::Rollback(rollback) => rollback.role,
        }
    }

    /// The base, the revision to go back to, and why.
    #[must_use]
    pub fn named(&self) -> (&str, Option<&str>, &str) {
        match self {
            Self::Push(push) => (&push.base, None, &push.message),
            Self::Rollback(rollback) => (&rollback.base, Some(&rollback.to), &rollback.message),
        }
    }
}

/// What a new revision will hold.
struct Content {
    document: String,
    hash: String,
    parts: Vec<PartRef>,
    /// What is not stored yet.
    objects: Vec<Write>,
}

impl<S: ControlStore> Plane<'_, S> {
    /// Makes a revision of a change, or says why not. On success `writes`
    /// holds the revision, the intent to publish it and the alarm.
    pub(super) fn accept(
        &mut self,
        change: Change,
    ) -> Result<Result<Acknowledgement, Refused>, PlatformError> {
        if !may_change(change.role()) {
            return Ok(Err(Refused::new(Refusal::NeedsOperator)));
        }
        let active = revision_name(self.state.active);
        let (base, to, message) = change.named();
        if base != active {
            let base = Some(clip(base, NAME_LIMIT).to_owned());
            return Ok(Err(Refused { base, active: Some(active), ..Refused::new(Refusal::StaleBase) }));
        }
        let number = self.state.active.saturating_add(1);
        let mut revision = Revision {
            revision: revision_name(number),
            sequence: self.state.next_sequence(self.now),
            hash: String::new(),
            bytes: 0,
            parts: Vec::new(),
            module: String::new(),
            author: clip(change.author(), NAME_LIMIT).to_owned(),
            role: change.role(),
            time: self.now.to_string(),
            message: clip(message, NOTE_LIMIT).to_owned(),
            base: active,
            rollback_to: to.map(str::to_owned),
        };
        let content = match self.content(change)? {
            Ok(content) => content,
            Err(refused) => return Ok(Err(refused)),
        };
        let tree = match tree_of(&content.document) {
            Ok(tree) => tree,
            Err(problems) => {
                return Ok(Err(Refused { problems, ..Refused::new(Refusal::InvalidPolicy) }));
            }
        };
        let needs = least_module(&tree);
        if let Some(oldest) = self.modules.oldest(self.now).filter(|oldest| *oldest < needs) {
            let (needs, oldest) = (Some(needs.to_string()), Some(oldest.to_string()));
            return Ok(Err(Refused { needs, oldest, ..Refused::new(Refusal::NeedsNewerModule) }));
        }
        if revision.role < Role::Owner && self.touches_admin(&tree)? {
            return Ok(Err(Refused::new(Refusal::NeedsOwner)));
        }

        revision.hash.clone_from(&content.hash);
        revision.bytes = content.document.len();
        revision.parts = content.parts;
        revision.module = needs.to_string();
        self.state.active = number;
        self.state.sequence = revision.sequence;
        // A new intent is worth a try, however the last one fared; the store's
        // own limit of one write a second still holds.
        self.state.failures = 0;
        self.state.retry = None;
        self.writes.extend(content.objects);
        self.prune_purges()?;
        self.writes.push(Write::Row(Table::Revisions, number, row(&revision)));
        self.writes.push(Write::Alarm(self.now.after(PUBLISH_AFTER)));
        Ok(Ok(Acknowledgement {
            revision: revision.revision,
            sequence: revision.sequence,
            hash: content.hash,
            state: PublicationState::Pending,
            missing_sets: self.missing_sets(&tree)?,
        }))
    }

    fn missing_sets(&self, tree: &Value) -> Result<Vec<String>, PlatformError> {
        let mut named = stored_names(tree);
        if !named.is_empty() {
            let present = StoredSetsState::load(self.store)?.present;
            named.retain(|name| present.sets.iter().all(|set| set.name != *name));
        }
        Ok(named)
    }

    fn content(&self, change: Change) -> Result<Result<Content, Refused>, PlatformError> {
        let too_large = |detail: String| Ok(Err(Refused::new(Refusal::TooLarge).detail(detail)));
        match change {
            Change::Push(push) => {
                if push.document.len() > DOCUMENT_LIMIT {
                    let length = push.document.len();
                    return too_large(format!("the document has {length} bytes; at most {DOCUMENT_LIMIT}"));
                }
                let fit =
                    push.parts.len() <= PARTS_LIMIT && push.parts.iter().all(|part| part.len() <= PART_LIMIT);
                if !fit {
                    return too_large(format!("at most {PARTS_LIMIT} parts of at most {PART_LIMIT} bytes"));
                }
                let hash = sha256_hex(push.document.as_bytes());
                let mut objects = vec![Write::Object(hash.clone(), push.document.clone().into_bytes())];
                let mut parts: Vec<PartRef> = Vec::with_capacity(push.parts.len());
                for part in push.parts {
                    let name = PartRef::of(part.as_bytes());
                    if !parts.contains(&name) {
                        objects.push(Write::Object(name.hash.clone(), part.into_bytes()));
                        parts.push(name);
                    }
                }
                Ok(Ok(Content { document: push.document, hash, parts, objects }))
            }
            Change::Rollback(rollback) => {
                let number = revision_number(&rollback.to);
                let old = number.map(|number| self.stored_revision(number)).transpose()?.flatten();
                let Some(old) = old else { return Ok(Err(Refused::new(Refusal::NoSuchRevision))) };
                let document = document(self.store, &old.hash)?;
                Ok(Ok(Content { document, hash: old.hash, parts: old.parts, objects: Vec::new() }))
            }
        }
    }

    /// Whether a document has another `admin` than the active one. `null` is
    /// as good as nothing there.
    fn touches_admin(&self, tree: &Value) -> Result<bool, PlatformError> {
        let active = self.stored_revision(self.state.active)?;
        let active = active.map(|active| document(self.store, &active.hash)).transpose()?;
        // What is active was accepted, so it parses.
        let active: Value = active.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        Ok(active.get("admin").unwrap_or(&Value::Null) != tree.get("admin").unwrap_or(&Value::Null))
    }
}

/// Checks a document as the gateway will, and gives it as a tree. An old
/// document is checked again, too: what was good for an older module may not
/// be for this one.
fn tree_of(document: &str) -> Result<Value, Vec<ProblemText>> {
    compile(document)
        .map_err(|error| error.problems.into_iter().map(ProblemText::from).collect::<Vec<_>>())?;
    serde_json::from_str(document).map_err(|error| {
        let expected = format!("expected a JSON document: {error}");
        vec![ProblemText { path: String::new(), value: String::new(), expected }]
    })
}

/// Whether a module can read a document that needs `needs`.
#[must_use]
pub fn can_read(module: Version, needs: &str) -> bool {
    Version::parse(needs).is_some_and(|needs| needs <= module)
}
