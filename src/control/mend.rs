//! What is damaged in the storage, and goes on all the same.
//!
//! A row that cannot be read must not keep a policy from being published. So
//! whatever can be made anew is, before each run of the publication, and the
//! log is told once:
//!
//! - single bans and what is known of their collection: `bans/collect.rs`;
//! - what is known of the sets: their parts are named a second time, in a row
//!   of its own, so that what acts stays as it is. Their names, the earlier
//!   generations and what has come in without a list are lost;
//! - what is known of feeds: they are fetched anew;
//! - the purges: everything is purged.
//!
//! What makes a revision, and the state, cannot be made anew: these are errors.

use super::bans::{BansState, collect};
use super::feeds::{FEEDS, FeedStates};
use super::purges::{PurgesState, begin_anew};
use super::sets::{PRESENT, SETS, StoredSetsState};
use super::state::{State, stored};
use crate::error::PlatformError;
use crate::platform::ControlStore;
use crate::policy::manifest::SetsRef;
use crate::time::Timestamp;

/// The author of what the object does by itself.
pub const CONTROL: &str = "control";

/// Makes anew what is damaged. Gives what it was, for the log.
///
/// # Errors
/// The storage failed.
pub fn mend(store: &impl ControlStore, now: Timestamp) -> Result<Vec<String>, PlatformError> {
    let mut damage = Vec::new();
    let mut writes = Vec::new();
    let text = store.value(SETS)?;
    let sets = match text.map(|text| stored::<StoredSetsState>(&text)) {
        None => StoredSetsState::default(),
        Some(Ok(sets)) => sets,
        Some(Err(error)) => {
            damage.push(format!("the state of the address sets: {error}"));
            // Where that is damaged, what stands beside it.
            let sets = StoredSetsState::load(store)?;
            let state = State { clean: sets.clean_at(), ..State::load(store)? };
            writes.extend([sets.write(), state.write()]);
            sets
        }
    };
    let named: Option<SetsRef> = store.value(PRESENT)?.and_then(|text| stored(&text).ok());
    if sets.reference() != named {
        writes.extend(sets.write_present());
    }
    let text = store.value(FEEDS)?;
    if let Some(Err(error)) = text.map(|text| stored::<FeedStates>(&text)) {
        damage.push(format!("the state of the feeds: {error}"));
        writes.push(FeedStates::default().write());
    }
    if !writes.is_empty() {
        store.apply(writes)?;
    }
    if let Err(error) = PurgesState::load(store)? {
        damage.push(begin_anew(store, now, &error)?);
    }
    if BansState::load(store)?.is_err() {
        damage.extend(collect(store, now)?.damage);
    }
    Ok(damage)
}

/// What the log is told of what was damaged.
#[must_use]
pub fn line(now: Timestamp, damage: &str) -> String {
    serde_json::json!({
        "schema": 1, "event": "publish", "time": now.to_string(), "error": format!("damaged: {damage}"),
    })
    .to_string()
}
