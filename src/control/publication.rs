//! Publishing: from the intent that is stored to what the policy store shows.
//!
//! 1. The intent is the state itself: `sequence` is what should be there,
//!    `published` is what is known to be. While they differ there is work.
//! 2. Parts first, then the manifest: an isolate that sees the manifest can
//!    have the parts.
//! 3. At most one write of `active` a second (the store's limit for a key),
//!    so several changes in a second become one write: the newest.
//! 4. A failure is tried again after 1 s, 2 s, … 60 s, by alarm, for ever.
//! 5. What was written is read back later, three times. Does the store show
//!    something older (a write of long ago took effect late), it is written
//!    again; something newer that is not ours, the active revision goes above
//!    it.
//! 6. Parts that nothing names any more are removed from the policy store, and
//!    only then from here; a removal that fails is tried again.
//! 7. An alarm is stored before a run begins, and the moment of a write before
//!    the write: a crash anywhere leads back here, and to no second write
//!    within the second.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use serde::Deserialize;

use super::adopt::from_policy_store;
use super::answer::{Revision, StoredManifest};
use super::bans::{COLLECT_EVERY, collect};
use super::mend::{line, mend};
use super::message::PROTOCOL;
use super::plane::{beside, decide, manifest};
use super::sets::{KEPT, StoredSetsState};
use super::state::{Modules, State, lost, stored};
use crate::error::PlatformError;
use crate::platform::{Clock, ControlStore, ManifestStore, Stored, Table, Write};
use crate::policy::manifest::Beside;
use crate::policy::needs::{BESIDE, Version};
use crate::time::Timestamp;

/// The store takes one write a second for each key.
pub const WRITE_INTERVAL: Duration = Duration::from_secs(1);

/// The longest wait after a failure.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// How long after a write it is read back, and how long after that again. A
/// location usually shows a write within 60 s; later looks are for a view that
/// was late, too.
pub const VERIFY_AFTER: [Duration; 3] =
    [Duration::from_secs(90), Duration::from_secs(600), Duration::from_secs(3_600)];

/// When the alarm rings again while a run is on its way, should it die.
const WATCH: Duration = Duration::from_secs(5);

/// How many steps one run takes at most; the alarm goes on from there.
const STEPS: usize = 16;

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Idle,
    /// Come back then.
    Wait(Timestamp),
    /// Write the parts and the manifest.
    Publish,
    /// Read back what was written.
    Verify,
    /// Remove parts that nothing names any more.
    Clean,
    /// Collect the bans for the manifest.
    Collect,
}

/// What to do next about the publication.
#[must_use]
pub fn next_step(state: &State, now: Timestamp) -> Step {
    // What is due further ahead than it ever is was set under a clock that has
    // gone back since.
    let is_ahead = |due: &Timestamp, longest| *due > now && due.since(now) <= longest;
    // First: what is published next has these in it.
    if state.collect.is_some_and(|due| !is_ahead(&due, COLLECT_EVERY)) {
        return Step::Collect;
    }
    if state.active > 0 && state.published < state.sequence {
        let free = state.wrote.map(|wrote| wrote.after(WRITE_INTERVAL));
        // A moment further ahead than any wait was written under a clock that
        // has gone back since.
        let due = free.max(state.retry).filter(|due| *due > now && due.since(now) <= LONGEST_WAIT);
        return due.map_or(Step::Publish, |due| Step::Wait(state.collect.unwrap_or(due).min(due)));
    }
    let longest = VERIFY_AFTER.iter().max().copied().unwrap_or_default();
    let verify = state.verify.filter(|_| state.active > 0);
    let clean = state.clean;
    if verify.is_some_and(|due| !is_ahead(&due, longest)) {
        return Step::Verify;
    }
    if clean.is_some_and(|due| !is_ahead(&due, KEPT)) {
        return Step::Clean;
    }
    verify.into_iter().chain(clean).chain(state.collect).min().map_or(Step::Idle, Step::Wait)
}

/// How long to wait after so many failures in a row.
#[must_use]
pub fn backoff(failures: u32) -> Duration {
    let seconds = 1_u64.checked_shl(failures.saturating_sub(1)).unwrap_or(u64::MAX);
    Duration::from_secs(seconds).min(LONGEST_WAIT)
}

/// Lets one run at a time publish. It lives in the object's memory: two runs
/// of one object can only be in one memory.
#[derive(Debug, Default)]
pub struct Guard {
    is_taken: Cell<bool>,
    notes: RefCell<Vec<String>>,
}

impl Guard {
    /// Lines for the log that came up meanwhile.
    pub fn take_notes(&self) -> Vec<String> {
        self.notes.take()
    }

    fn note(&self, damage: &[String], now: Timestamp) {
        self.notes.borrow_mut().extend(damage.iter().map(|damage| line(now, damage)));
    }

    fn enter(&self) -> Option<Entered<'_>> {
        // Lazily: an `Entered` that is made and dropped would open the guard.
        (!self.is_taken.replace(true)).then(|| Entered(self))
    }
}

struct Entered<'a>(&'a Guard);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.is_taken.set(false);
    }
}

/// Answers a message, and publishes what it changed before the answer goes
/// out, so that it can say `published`. The answer does not wait for a second
/// try, and a change is durable before the first one.
///
/// # Errors
/// The object's storage failed: nothing was changed.
pub async fn serve(
    store: &impl ControlStore,
    manifests: &impl ManifestStore,
    clock: &impl Clock,
    guard: &Guard,
    text: &str,
) -> Result<String, PlatformError> {
    let mut handled = decide(store, text, clock.now(), PROTOCOL)?;
    guard.note(&handled.damage, clock.now());
    if handled.is_change() {
        // The change is stored, and so is the alarm: whatever fails from here
        // on, the answer is that it was accepted.
        let _ = from_policy_store(store, manifests, clock).await;
        let _ = publish(store, manifests, clock, guard).await;
        let _ = handled.settle(store);
    }
    Ok(handled.text())
}

/// Publishes until there is nothing to do or to wait for, and sets the alarm
/// for what is left. To be called by the alarm and after a change. Gives what
/// the policy store failed with, if it did: it will be tried again.
///
/// # Errors
/// The object's storage failed. The alarm that was set before still rings.
pub async fn publish(
    store: &impl ControlStore,
    manifests: &impl ManifestStore,
    clock: &impl Clock,
    guard: &Guard,
) -> Result<Option<PlatformError>, PlatformError> {
    let mut failure = None;
    let Some(_entered) = guard.enter() else {
        // The run that is on its way sees what is new; should it die, the
        // alarm rings again.
        store.apply(vec![Write::Alarm(clock.now().after(WRITE_INTERVAL))])?;
        return Ok(None);
    };
    // What cannot be made anew fails where it is needed.
    if let Ok(damage) = mend(store, clock.now()) {
        guard.note(&damage, clock.now());
    }
    for _ in 0..STEPS {
        let state = State::load(store)?;
        let done = match next_step(&state, clock.now()) {
            Step::Idle => return Ok(failure),
            Step::Wait(due) => {
                store.apply(vec![Write::Alarm(due)])?;
                return Ok(failure);
            }
            Step::Publish => write(store, manifests, clock, &state).await,
            Step::Verify => verify(store, manifests, clock).await,
            Step::Clean => clean(store, manifests, clock).await,
            Step::Collect => collect(store, clock.now())
                .map(|collected| guard.note(&collected.damage, clock.now()))
                .map_err(Failure::from),
        };
        match done {
            Ok(()) => {}
            Err(Failure::Storage(error)) => return Err(error),
            Err(Failure::PolicyStore(error)) => failure = Some(error),
        }
    }
    store.apply(vec![Write::Alarm(clock.now().after(WRITE_INTERVAL))])?;
    Ok(failure)
}

/// What failed: our storage, which ends the run, or the policy store, after
/// which the state says when to try again.
enum Failure {
    Storage(PlatformError),
    PolicyStore(PlatformError),
}

impl From<PlatformError> for Failure {
    fn from(error: PlatformError) -> Self {
        Self::Storage(error)
    }
}

async fn write(
    store: &impl ControlStore,
    manifests: &impl ManifestStore,
    clock: &impl Clock,
    state: &State,
) -> Result<(), Failure> {
    let (revision, manifest) = wanted(store, state, clock.now())?;
    store.apply(vec![Write::Alarm(clock.now().after(WATCH))])?;
    if state.published == 0 {
        // Nothing is known about what the store holds: a manifest that was
        // written by hand may stand there, under a higher sequence.
        let shown = match manifests.read_active().await {
            Ok(shown) => shown,
            Err(error) => return failed(store, clock.now(), error),
        };
        let mut state = State::load(store)?;
        if let Shown::Foreign(sequence) = compare(shown.as_ref(), state.sequence, &manifest)
            && state.rise_above(sequence)
        {
            return Ok(store.apply(vec![state.write()])?);
        }
    }
    for part in &revision.parts {
        let bytes = store.object(&part.hash)?.ok_or_else(|| lost("a part"))?;
        if let Err(error) = manifests.put_part(&part.hash, &bytes).await {
            return failed(store, clock.now(), error);
        }
    }
    let sets = StoredSetsState::load(store)?;
    let mut written = sets.written.clone();
    for part in sets.present.parts.iter().filter(|part| !sets.written.contains(&part.hash)) {
        let bytes = store.object(&part.hash)?.ok_or_else(|| lost("a part"))?;
        if let Err(error) = manifests.put_part(&part.hash, &bytes).await {
            return failed(store, clock.now(), error);
        }
        written.push(part.hash.clone());
    }
    if written != sets.written {
        // Meanwhile there may be another generation, which begins anew.
        let mut now = StoredSetsState::load(store)?;
        if now.present.generation == sets.present.generation {
            now.written = written;
            store.apply(vec![now.write()])?;
        }
    }
    // From here on the write may have taken effect, whatever becomes of us.
    let now = clock.now();
    let begun = State { wrote: Some(now), ..State::load(store)? };
    store.apply(vec![begun.write()])?;
    let put = manifests.put_active(&manifest.value, &manifest.metadata).await;
    let now = clock.now();
    // Meanwhile there may be a newer intent: read anew. Failed or not, the
    // store may have taken the write just now.
    let ended = State { wrote: Some(now), ..State::load(store)? };
    match put {
        Ok(()) => {
            let ended = State {
                published: ended.published.max(state.sequence),
                failures: 0,
                retry: None,
                verified: 0,
                verify: verify_at(0, now),
                ..ended
            };
            Ok(store.apply(vec![ended.write()])?)
        }
        Err(error) => {
            store.apply(vec![ended.write()])?;
            failed(store, now, error)
        }
    }
}

async fn verify(
    store: &impl ControlStore,
    manifests: &impl ManifestStore,
    clock: &impl Clock,
) -> Result<(), Failure> {
    store.apply(vec![Write::Alarm(clock.now().after(WATCH))])?;
    let read = manifests.read_active().await;
    let mut state = State::load(store)?;
    let shown = match read {
        Ok(shown) => shown,
        Err(error) => {
            state.failures = state.failures.saturating_add(1);
            state.verify = Some(clock.now().after(backoff(state.failures)));
            store.apply(vec![state.write()])?;
            return Err(Failure::PolicyStore(error));
        }
    };
    state.failures = 0;
    state.verified = state.verified.saturating_add(1);
    state.verify = verify_at(state.verified, clock.now());
    let (_, manifest) = wanted(store, &state, clock.now())?;
    let again = match compare(shown.as_ref(), state.sequence, &manifest) {
        Shown::Ours => false,
        Shown::Older => true,
        // Above what nobody can go, there is nothing to be done.
        Shown::Foreign(sequence) => state.rise_above(sequence),
    };
    if again {
        state.published = 0;
    }
    Ok(store.apply(vec![state.write()])?)
}

/// Removes what nothing names any more.
async fn clean(
    store: &impl ControlStore,
    manifests: &impl ManifestStore,
    clock: &impl Clock,
) -> Result<(), Failure> {
    store.apply(vec![Write::Alarm(clock.now().after(WATCH))])?;
    let gone = StoredSetsState::load(store)?.clean(clock.now());
    for hash in &gone {
        if let Err(error) = manifests.delete_part(hash).await {
            let mut state = State::load(store)?;
            state.failures = state.failures.saturating_add(1);
            state.clean = Some(clock.now().after(backoff(state.failures)));
            store.apply(vec![state.write()])?;
            return Err(Failure::PolicyStore(error));
        }
    }
    // Read anew: meanwhile one of them may have been named again. It is still
    // here, and was removed there, so it has to be written again.
    let mut sets = StoredSetsState::load(store)?;
    let mut state = State::load(store)?;
    let still_gone = sets.clean(clock.now());
    let named_again = gone.iter().any(|hash| !still_gone.contains(hash));
    if named_again {
        sets.written.clear();
        state.published = 0;
    }
    let (removed, next): (Vec<String>, _) = still_gone.into_iter().partition(|hash| gone.contains(hash));
    // What went meanwhile is removed there first, too.
    sets.dropped.extend(next);
    let mut writes: Vec<Write> = removed.into_iter().map(Write::Forget).collect();
    state.failures = 0;
    state.clean = sets.clean_at();
    writes.extend([sets.write(), state.write()]);
    Ok(store.apply(writes)?)
}

/// When to read back what was read back so often already.
fn verify_at(verified: usize, now: Timestamp) -> Option<Timestamp> {
    VERIFY_AFTER.get(verified).map(|wait| now.after(*wait))
}

/// Notes that the policy store failed, and when to try again.
fn failed(store: &impl ControlStore, now: Timestamp, error: PlatformError) -> Result<(), Failure> {
    let mut state = State::load(store)?;
    state.failures = state.failures.saturating_add(1);
    state.retry = Some(now.after(backoff(state.failures)));
    store.apply(vec![state.write()])?;
    Err(Failure::PolicyStore(error))
}

/// The active revision, and what the store should hold for it.
fn wanted(
    store: &impl ControlStore,
    state: &State,
    now: Timestamp,
) -> Result<(Revision, StoredManifest), PlatformError> {
    let row = store.row(Table::Revisions, state.active)?.ok_or_else(|| lost("the active revision"))?;
    let revision: Revision = stored(&row)?;
    // A module that does not know what stands beside a policy refuses all of
    // it: while one runs that reads this revision, it is left out.
    let oldest = Modules::load(store)?.oldest(now);
    let needs = Version::parse(&revision.module);
    let is_known = needs >= Some(BESIDE) || oldest.is_none_or(|oldest| oldest >= BESIDE);
    let beside = if is_known { beside(store, state)? } else { Beside::default() };
    let manifest = manifest(store, &revision, state.sequence, beside)?;
    Ok((revision, manifest))
}

/// What the store shows, beside what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    /// What it should.
    Ours,
    /// Nothing, something older or something damaged.
    Older,
    /// Something that is not ours, under this sequence.
    Foreign(u64),
}

fn compare(shown: Option<&Stored>, sequence: u64, wanted: &StoredManifest) -> Shown {
    #[derive(Deserialize)]
    struct Sequence {
        sequence: u64,
    }
    let Some((value, metadata)) = shown else { return Shown::Older };
    if *value == wanted.value
        && metadata.as_ref().is_some_and(|metadata| same_json(metadata, &wanted.metadata))
    {
        return Shown::Ours;
    }
    match serde_json::from_str::<Sequence>(value) {
        Ok(shown) if shown.sequence >= sequence => Shown::Foreign(shown.sequence),
        _ => Shown::Older,
    }
}

/// The store may write the metadata in another way than it was given.
fn same_json(a: &str, b: &str) -> bool {
    let tree = |text| serde_json::from_str::<serde_json::Value>(text).ok();
    tree(a).is_some() && tree(a) == tree(b)
}
