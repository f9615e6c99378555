//! The bans as one set for the manifest.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Known, network_of};
use crate::control::answer::{AuditEntry, AuditOutcome};
use crate::control::mend::CONTROL;
use crate::control::message::NAME_LIMIT;
use crate::control::plane::{Plane, document, row};
use crate::control::state::{Modules, State, stored};
use crate::error::{PlatformError, clip};
use crate::platform::{ControlStore, Write};
use crate::policy::manifest::{BansRef, sha256_hex};
use crate::stages::bans::MANUAL;
use crate::stages::bans::set::{Entry, Lifted, encode_text};
use crate::stages::ip_filter::prefix::Prefix;
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
    /// Reads it; or says how it is damaged.
    ///
    /// # Errors
    /// The storage failed.
    pub fn load(store: &impl ControlStore) -> Result<Result<Self, PlatformError>, PlatformError> {
        Ok(store.value(BANS)?.map_or_else(|| Ok(Self::default()), |text| stored(&text)))
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::control) struct Collected {
    pub(in crate::control) generation: u64,
    pub(in crate::control) sequence: u64,
    /// What was damaged, for the log.
    pub(in crate::control) damage: Vec<String>,
}

/// Collects the bans for the manifest, and lets them be published where they
/// are others than before. A row that is damaged holds up nothing: it is
/// written anew where the rest of it can be read, else it goes, and the audit
/// log says so.
///
/// # Errors
/// The storage failed: it is collected again.
pub(in crate::control) fn collect(
    store: &impl ControlStore,
    now: Timestamp,
) -> Result<Collected, PlatformError> {
    let (state, modules) = (State::load(store)?, Modules::load(store)?);
    let mut plane = Plane { store, now, state, modules, writes: Vec::new() };
    let mut damage = Vec::new();
    let before = BansState::load(store)?.unwrap_or_else(|error| {
        damage.push(format!("the state of the bans: {error}"));
        // There are fewer generations than seconds: this one is above all.
        BansState { generation: now.seconds(), ..BansState::default() }
    });
    let is_anew = !damage.is_empty();
    let mut after = BansState { collected: Some(now), ..before.clone() };
    plane.state.collect = None;
    let mut found = read_all(&store.all_bans(now)?);
    for key in std::mem::take(&mut found.damaged) {
        damage.push(plane.mend_ban(&key, &mut found)?);
    }
    let Found { bans, lifted, .. } = found;
    after.people = bans.iter().filter(|ban| &*ban.cause == MANUAL).count();
    after.automatic = bans.len().saturating_sub(after.people);
    let nothing_yet = before.set.is_none() && bans.is_empty() && lifted.is_empty() && !is_anew;
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
    Ok(Collected { generation: after.generation, sequence, damage })
}

impl<S: ControlStore> Plane<'_, S> {
    /// Writes a row anew of which what is collected is damaged, or removes it.
    /// Gives what the log is told.
    fn mend_ban(&mut self, key: &str, found: &mut Found) -> Result<String, PlatformError> {
        let network = network_of(key);
        let name = network.map_or_else(|| clip(key, NAME_LIMIT).to_owned(), |network| network.to_string());
        let text = self.store.ban(key)?;
        let known = text.and_then(|text| stored::<Known>(&text).ok());
        let is_cause = |known: &Known| known.cause.bytes().all(|byte| byte.is_ascii_graphic());
        if let (Some(network), Some(known)) = (network, known.filter(is_cause)) {
            self.writes.push(known.write(network));
            match known.lifted_ms {
                Some(lifted) => found.lifted.push((network, Timestamp::from_millis(lifted).seconds())),
                None if known.until_ms > self.now.millis() => found.bans.push(Entry {
                    network,
                    until: Timestamp::from_millis(known.until_ms).seconds(),
                    cause: known.cause.as_str().into(),
                }),
                None => {}
            }
            return Ok(format!("the row of the ban of {name}; it was written anew"));
        }
        self.writes.push(Write::ForgetBan(key.to_owned()));
        let entry = AuditEntry {
            author: CONTROL.to_owned(),
            action: "forget-ban".to_owned(),
            outcome: AuditOutcome::Accepted,
            reason: Some("damaged".to_owned()),
            network: Some(name.clone()),
            message: "what was stored of this ban was damaged".to_owned(),
            ..self.entry()
        };
        self.add_audit(entry);
        Ok(format!("the row of the ban of {name}; it was removed"))
    }
}

/// What the rows hold.
#[derive(Debug, Default)]
struct Found {
    bans: Vec<Entry>,
    lifted: Vec<Lifted>,
    /// The keys of rows that cannot be read.
    damaged: Vec<String>,
}

fn read_all(lines: &str) -> Found {
    let mut found = Found::default();
    // A cause is one of few: each is held once.
    let mut causes: BTreeMap<&str, Rc<str>> = BTreeMap::new();
    for line in lines.lines() {
        match read_line(line) {
            None => found.damaged.push(line.split(' ').next().unwrap_or_default().to_owned()),
            Some((network, _, _, Some(time))) => found.lifted.push((network, time)),
            Some((network, until, cause, None)) => {
                let cause = Rc::clone(causes.entry(cause).or_insert_with_key(|cause| (*cause).into()));
                found.bans.push(Entry { network, until, cause });
            }
        }
    }
    found
}

/// Network, end, cause and the time of lifting; the times in seconds.
fn read_line(line: &str) -> Option<(Prefix, u64, &str, Option<u64>)> {
    let seconds = |text: &str| text.parse().ok().map(|millis| Timestamp::from_millis(millis).seconds());
    let mut words = line.split(' ');
    let (key, until, cause, time) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let lifted = if time.is_empty() { None } else { Some(seconds(time)?) };
    let is_cause = (1..=NAME_LIMIT).contains(&cause.len());
    (is_cause && words.next().is_none()).then_some((network_of(key)?, seconds(until)?, cause, lifted))
}
