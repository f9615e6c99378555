//! The bans as one set for the manifest.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::network_of;
use crate::control::plane::{Plane, document, row};
use crate::control::state::{Modules, State, lost, stored};
use crate::error::PlatformError;
use crate::platform::{ControlStore, Write};
use crate::policy::manifest::{BansRef, sha256_hex};
use crate::stages::bans::MANUAL;
use crate::stages::bans::set::{Entry, Lifted, encode_text};
use crate::time::Timestamp;

/// The name of the value that holds what is known of the collected set.
pub const BANS: &str = "bans";

/// The least time between two collections for triggers.
pub const COLLECT_EVERY: Duration = Duration::from_secs(5);

/// What is known of the collected set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BansState {
    /// Grows with every set that differs from the one before; 0 before the
    /// first.
    pub generation: u64,
    /// The hash of the set's text.
    pub set: Option<String>,
    /// When it was collected.
    pub collected: Option<Timestamp>,
    /// How many bans of triggers there are: exact when it was collected, and since then with those that came and without those that
    /// ended. Counting a hundred thousand rows for every report would cost more
    /// than all the rest of it.
    pub automatic: usize,
    /// How many bans of people there were when it was collected.
    pub people: usize,
}

impl BansState {
    /// Reads it.
    ///
    /// # Errors
    /// The storage failed, or holds something else.
    pub fn load(store: &impl ControlStore) -> Result<Self, PlatformError> {
        Ok(store.value(BANS)?.map(|text| stored(&text)).transpose()?.unwrap_or_default())
    }

    /// The write that stores it.
    pub(super) fn write(&self) -> Write {
        Write::Value(BANS, row(self))
    }

    /// What a manifest says of the bans; nothing before the first.
    ///
    /// # Errors
    /// The storage failed.
    pub fn reference(&self, store: &impl ControlStore) -> Result<Option<BansRef>, PlatformError> {
        let Some(hash) = &self.set else { return Ok(None) };
        let set = document(store, hash)?;
        Ok(Some(BansRef { generation: self.generation, set }))
    }
}

/// What was collected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::control) struct Collected {
    pub(in crate::control) generation: u64,
    pub(in crate::control) sequence: u64,
}

/// Collects the bans for the manifest, and lets them be published where they
/// are others than before.
///
/// # Errors
/// The storage failed: it is collected again.
pub(in crate::control) fn collect(
    store: &impl ControlStore,
    now: Timestamp,
) -> Result<Collected, PlatformError> {
    let (state, modules) = (State::load(store)?, Modules::load(store)?);
    let mut plane = Plane { store, now, state, modules, writes: Vec::new() };
    let before = BansState::load(store)?;
    let mut after = BansState { collected: Some(now), ..before.clone() };
    plane.state.collect = None;
    let (bans, lifted) = read_all(&store.all_bans(now)?)?;
    after.people = bans.iter().filter(|ban| &*ban.cause == MANUAL).count();
    after.automatic = bans.len().saturating_sub(after.people);
    let nothing_yet = before.set.is_none() && bans.is_empty() && lifted.is_empty();
    let text = encode_text(bans, lifted);
    let hash = sha256_hex(text.as_bytes());
    let mut sequence = plane.state.sequence;
    if !nothing_yet && before.set.as_ref() != Some(&hash) {
        after.generation = before.generation.saturating_add(1);
        plane.writes.push(Write::Object(hash.clone(), text.into_bytes()));
        plane.writes.extend(before.set.map(Write::Forget));
        after.set = Some(hash);
        sequence = plane.publish_anew();
    }
    let writes = [Write::SweepBans(now), after.write(), plane.state.write()];
    plane.writes.extend(writes);
    store.apply(plane.writes)?;
    Ok(Collected { generation: after.generation, sequence })
}

fn read_all(lines: &str) -> Result<(Vec<Entry>, Vec<Lifted>), PlatformError> {
    let (mut bans, mut lifted) = (Vec::new(), Vec::new());
    // A cause is one of few: each is held once.
    let mut causes: BTreeMap<&str, Rc<str>> = BTreeMap::new();
    let seconds = |text: &str| text.parse().ok().map(|millis| Timestamp::from_millis(millis).seconds());
    for line in lines.lines() {
        let mut words = line.split(' ');
        let mut word = || words.next().ok_or_else(|| lost("a part of a ban"));
        let (key, until, cause, time) = (word()?, word()?, word()?, word()?);
        let network = network_of(key).ok_or_else(|| lost("the network of a ban"))?;
        if let Some(time) = seconds(time) {
            lifted.push((network, time));
            continue;
        }
        let cause = Rc::clone(causes.entry(cause).or_insert_with_key(|cause| (*cause).into()));
        let until = seconds(until).ok_or_else(|| lost("the end of a ban"))?;
        bans.push(Entry { network, until, cause });
    }
    Ok((bans, lifted))
}
