//! The purges, as the `Control` object keeps them.
//!
//! 1. Each text of an order is a purge with a sequence of its own, out of the
//!    order of publications: the last one is the sequence under which the list
//!    is published.
//! 2. What a newer purge holds, too, leaves. A purge leaves after
//!    [`KEPT`](crate::purge::KEPT) with the next change: then all that began
//!    before it counts as purged, whether it matched or not.
//! 3. More than [`RECORDS_LIMIT`] purges, or [`TEXT_LIMIT`] bytes of them, become
//!    one purge of everything; a soft one where all of them are soft.
//! 4. A list that is damaged becomes a purge of everything.
//! 5. Every order stands in the audit log. What it changed goes back with the
//!    answer, so that the isolate that was asked acts on it at once.

use serde::{Deserialize, Serialize};

use super::answer::{AuditEntry, PublicationState, Refusal, Refused};
use super::mend::CONTROL;
use super::message::{NAME_LIMIT, NOTE_LIMIT, PAGE_LIMIT, Role};
use super::plane::{Plane, may_change, row};
use super::state::{Modules, State, stored};
use crate::error::{PlatformError, clip};
use crate::platform::{ControlStore, Write};
use crate::purge::url::{parse_prefix, parse_url};
use crate::purge::{KEPT, Purge, RECORDS_LIMIT, Scope, TEXT_LIMIT, encode, parse_tag};
use crate::time::Timestamp;

/// The name of the value that holds the list.
pub const PURGES: &str = "purges";

/// The most URLs, prefixes and tags of one order, together.
pub const ORDER_LIMIT: usize = 500;

/// `purge`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurgeOrder {
    /// URLs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// Prefixes of URLs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prefixes: Vec<String>,
    /// Tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Everything.
    #[serde(default)]
    pub all: bool,
    /// Whether it only makes stale.
    #[serde(default)]
    pub soft: bool,
    /// Why.
    #[serde(default)]
    pub message: String,
    /// Who.
    pub author: String,
    /// What the author may do.
    pub role: Role,
}

/// `purges`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurgesPage {
    /// Only purges before this sequence.
    #[serde(default)]
    pub before: Option<u64>,
    /// At most so many, 1 to [`PAGE_LIMIT`]; what lies outside is clipped.
    #[serde(default)]
    pub limit: Option<u64>,
}

/// The answer to `purge`: it is durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurgesTaken {
    /// The sequence of the last purge of the order.
    pub newest: u64,
    /// The sequence of the publication that carries them; 0 where there is no
    /// policy to publish yet.
    pub sequence: u64,
    /// Whether the policy store has it.
    pub state: PublicationState,
    /// How many purges the order was.
    pub purged: usize,
    /// Whether there was no room, and everything was purged.
    pub overflowed: bool,
    /// The whole list, as it stands in the manifest.
    pub list: String,
}

/// Why a purge stands in the list that nobody has ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum PurgeCause {
    /// Purges have left after seven days: what began before the last of them is
    /// void.
    Expired,
    /// There was no room for more.
    Overflow,
    /// What was stored of the purges was damaged.
    Damaged,
}

/// A purge in the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Purge"))]
pub struct ListedPurge {
    /// Its place in the order of purges.
    pub sequence: u64,
    /// `url`, `prefix`, `tag` or `all`.
    pub scope: String,
    /// The URL, the prefix or the tag, as it is compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Whether it only makes stale.
    pub soft: bool,
    /// When it was made, as in RFC 3339.
    pub time: String,
    /// Who made it.
    pub by: String,
    /// Why there is one that nobody has ordered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<PurgeCause>,
}

/// The answer to `purges`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PurgeList {
    /// Newest first.
    pub purges: Vec<ListedPurge>,
    /// Whether there are older ones.
    pub more: bool,
    /// How many there are in all.
    pub total: usize,
}

/// A purge as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    #[serde(flatten)]
    purge: Purge,
    time: Timestamp,
    by: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cause: Option<PurgeCause>,
}

impl Known {
    fn listed(&self) -> ListedPurge {
        ListedPurge {
            sequence: self.purge.sequence,
            scope: self.purge.scope.as_str().to_owned(),
            value: self.purge.scope.value().map(str::to_owned),
            soft: self.purge.soft,
            time: self.time.to_string(),
            by: self.by.clone(),
            cause: self.cause,
        }
    }
}

/// The list, by sequence.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurgesState {
    #[serde(default)]
    records: Vec<Known>,
}

impl PurgesState {
    /// Reads it; or says how it is damaged.
    ///
    /// # Errors
    /// The storage failed.
    pub fn load(store: &impl ControlStore) -> Result<Result<Self, PlatformError>, PlatformError> {
        Ok(store.value(PURGES)?.map_or_else(|| Ok(Self::default()), |text| stored(&text)))
    }

    fn write(&self) -> Write {
        Write::Value(PURGES, row(self))
    }

    /// The list as a manifest has it; nothing before the first purge.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        (!self.records.is_empty()).then(|| encode(self.records.iter().map(|known| &known.purge)))
    }

    fn newest(&self) -> u64 {
        self.records.iter().map(|known| known.purge.sequence).max().unwrap_or_default()
    }

    /// Adds one that is newer than all there are.
    fn add(&mut self, known: Known) {
        self.records.retain(|earlier| !known.purge.replaces(&earlier.purge));
        self.records.push(known);
    }

    /// A purge of everything by the object itself.
    fn add_all(&mut self, sequence: u64, soft: bool, time: Timestamp, cause: PurgeCause) {
        let purge = Purge { sequence, scope: Scope::All, soft };
        self.add(Known { purge, time, by: CONTROL.to_owned(), cause: Some(cause) });
    }

    /// Lets go of what has been there for long enough; gives whether anything
    /// was. Of everything there are two at most, and these stay.
    fn prune(&mut self, now: Timestamp) -> bool {
        let (old, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut self.records)
            .into_iter()
            .partition(|known| known.purge.scope != Scope::All && now.since(known.time) >= KEPT);
        self.records = kept;
        for soft in [false, true] {
            let last =
                old.iter().filter(|known| known.purge.soft == soft).max_by_key(|known| known.purge.sequence);
            let Some(last) = last else { continue };
            let purge = Purge { sequence: last.purge.sequence, scope: Scope::All, soft };
            if self.records.iter().any(|known| known.purge.replaces(&purge)) {
                continue;
            }
            self.records.retain(|earlier| !purge.replaces(&earlier.purge));
            let (time, by) = (last.time, CONTROL.to_owned());
            self.records.push(Known { purge, time, by, cause: Some(PurgeCause::Expired) });
        }
        self.records.sort_by_key(|known| known.purge.sequence);
        !old.is_empty()
    }

    /// Whether it has become more than there may be.
    fn is_over(&self) -> bool {
        self.records.len() > RECORDS_LIMIT || self.text().is_some_and(|text| text.len() > TEXT_LIMIT)
    }
}

/// Begins anew with a list that was damaged, and lets that be published. Gives
/// what the log is told.
///
/// # Errors
/// The storage failed.
pub(super) fn begin_anew(
    store: &impl ControlStore,
    now: Timestamp,
    damage: &PlatformError,
) -> Result<String, PlatformError> {
    let (state, modules) = (State::load(store)?, Modules::load(store)?);
    let mut plane = Plane { store, now, state, modules, writes: Vec::new() };
    let list = plane.all_purged();
    plane.writes.push(list.write());
    plane.publish_purges(list.newest());
    store.apply(plane.writes)?;
    Ok(format!("the purges: {damage}; everything was purged"))
}

impl<S: ControlStore> Plane<'_, S> {
    /// Takes an order in.
    pub(super) fn purge(&mut self, order: PurgeOrder) -> Result<Result<PurgesTaken, Refused>, PlatformError> {
        let entry = AuditEntry {
            author: clip(&order.author, NAME_LIMIT).to_owned(),
            role: Some(order.role),
            action: "purge".to_owned(),
            purged: Some(summary(&order)),
            message: clip(&order.message, NOTE_LIMIT).to_owned(),
            ..self.entry()
        };
        let scopes = match scopes_of(&order) {
            Ok(scopes) => scopes,
            Err(refused) => {
                self.note_outcome(entry, Some(&refused));
                return Ok(Err(*refused));
            }
        };
        let mut list = match PurgesState::load(self.store)? {
            Ok(list) => list,
            Err(_) => self.all_purged(),
        };
        list.prune(self.now);
        let purged = scopes.len();
        let mut newest = list.newest();
        for scope in scopes {
            newest = newest.saturating_add(1).max(self.state.next_sequence(self.now));
            let purge = Purge { sequence: newest, scope, soft: order.soft };
            let by = clip(&order.author, NAME_LIMIT).to_owned();
            list.add(Known { purge, time: self.now, by, cause: None });
        }
        let overflowed = list.is_over();
        if overflowed {
            let soft = list.records.iter().all(|known| known.purge.soft);
            list.add_all(newest, soft, self.now, PurgeCause::Overflow);
        }
        self.writes.push(list.write());
        let sequence = self.publish_purges(newest);
        self.note_outcome(entry, None);
        let text = list.text().unwrap_or_default();
        let state = PublicationState::Pending;
        Ok(Ok(PurgesTaken { newest, sequence, state, purged, overflowed, list: text }))
    }

    /// Everything is purged, and nothing is known of what was.
    fn all_purged(&self) -> PurgesState {
        let mut list = PurgesState::default();
        list.add_all(self.state.next_sequence(self.now), false, self.now, PurgeCause::Damaged);
        list
    }

    /// Lets the list be published, under a sequence that is not below its
    /// newest purge.
    fn publish_purges(&mut self, newest: u64) -> u64 {
        if self.state.active > 0 {
            self.state.sequence = self.state.sequence.max(newest.saturating_sub(1));
        }
        self.publish_anew()
    }

    /// Lets go of old purges where something is published anyway.
    pub(super) fn prune_purges(&mut self) -> Result<(), PlatformError> {
        if let Ok(mut list) = PurgesState::load(self.store)?
            && list.prune(self.now)
        {
            self.writes.push(list.write());
        }
        Ok(())
    }

    /// The list, newest first.
    pub(super) fn purges(&self, page: &PurgesPage) -> Result<PurgeList, PlatformError> {
        let list = PurgesState::load(self.store)??;
        let limit = page.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(PAGE_LIMIT);
        let limit = limit.clamp(1, PAGE_LIMIT);
        let mut purges: Vec<ListedPurge> = list
            .records
            .iter()
            .rev()
            .filter(|known| page.before.is_none_or(|before| known.purge.sequence < before))
            .take(limit.saturating_add(1))
            .map(Known::listed)
            .collect();
        let more = purges.len() > limit;
        purges.truncate(limit);
        Ok(PurgeList { purges, more, total: list.records.len() })
    }
}

/// What is to be purged, each once and in its form.
fn scopes_of(order: &PurgeOrder) -> Result<Vec<Scope>, Box<Refused>> {
    let malformed = |detail: String| Box::new(Refused::new(Refusal::Malformed).detail(detail));
    if !may_change(order.role) {
        return Err(Refused::new(Refusal::NeedsOperator).into());
    }
    let texts = order.urls.len().saturating_add(order.prefixes.len()).saturating_add(order.tags.len());
    if texts > ORDER_LIMIT || (texts == 0 && !order.all) {
        return Err(malformed(format!("expected \"all\", or 1 to {ORDER_LIMIT} URLs, prefixes and tags")));
    }
    if order.all {
        // The others are part of it.
        return Ok(vec![Scope::All]);
    }
    let urls = order.urls.iter().map(|text| (text, parse_url(text).map(Scope::Url)));
    let prefixes = order.prefixes.iter().map(|text| (text, parse_prefix(text).map(Scope::Prefix)));
    let tags = order.tags.iter().map(|text| (text, parse_tag(text).map(Scope::Tag)));
    let mut scopes = Vec::with_capacity(texts);
    for (text, scope) in urls.chain(prefixes).chain(tags) {
        let scope = scope.ok_or_else(|| malformed(format!("\"{}\" cannot be purged", clip(text, 64))))?;
        scopes.push(scope);
    }
    // In two forms or twice, it is one purge.
    scopes.sort_unstable();
    scopes.dedup();
    Ok(scopes)
}

/// What an order is about, for the audit log.
fn summary(order: &PurgeOrder) -> String {
    let kinds = [("url", &order.urls), ("prefix", &order.prefixes), ("tag", &order.tags)];
    let texts =
        kinds.into_iter().flat_map(|(kind, texts)| texts.iter().map(move |text| format!("{kind} {text}")));
    let all = order.all.then(|| "all".to_owned());
    let soft = order.soft.then(|| "soft".to_owned());
    // More would be cut off below.
    let parts: Vec<String> = soft.into_iter().chain(all).chain(texts).take(NOTE_LIMIT).collect();
    clip(&parts.join(", "), NOTE_LIMIT).to_owned()
}
