//! What is stored for a request, looked at and left as it is: for the admin
//! API. No tier fills another, and nothing counts as used.

use std::rc::Rc;

use super::Isolate;
use crate::error::PlatformError;
use crate::exchange::Head;
use crate::platform::{Clock, ResponseStore};
use crate::stages::cache::entry::Entry;
use crate::stages::cache::global;
use crate::stages::cache::key::{self, Index};
use crate::stages::cache::plan::Plan;
use crate::stages::cache::{CacheStage, Tier, vary};

/// A request as the cache sees it.
#[derive(Debug)]
pub struct Asked<'a, H> {
    /// Its head.
    pub head: &'a H,
    /// What it allows.
    pub plan: &'a Plan,
    /// The stage of its route.
    pub stage: &'a CacheStage,
    /// The primary key.
    pub primary: &'a str,
}

/// A stored answer, without its body.
#[derive(Clone, Debug)]
pub struct Held {
    /// Its key.
    pub key: String,
    /// Its head.
    pub entry: Rc<Entry>,
    /// How many bytes its body has, where that is known.
    pub size: Option<u64>,
}

/// What a tier has.
#[derive(Clone, Debug)]
pub enum Seen {
    /// Nothing for the URL.
    Nothing,
    /// An answer that other values of these select.
    Other(Vec<String>),
    /// An answer to this request.
    Held(Held),
}

/// The tiers of a route, near to far.
#[must_use]
pub fn tiers(stage: &CacheStage) -> Vec<Tier> {
    let memory = stage.memory.map(|_| Tier::Memory);
    let location = stage.location.then_some(Tier::Location);
    let global = stage.global.map(|_| Tier::Global);
    [memory, location, global].into_iter().flatten().collect()
}

impl Isolate {
    /// What one tier has for a request.
    ///
    /// # Errors
    /// The tier failed.
    pub async fn inspect<P: Clock + ResponseStore, H: Head>(
        &self,
        platform: &P,
        tier: Tier,
        asked: &Asked<'_, H>,
    ) -> Result<Seen, PlatformError> {
        let Asked { head, plan, stage, primary } = *asked;
        let Some(first) = self.held(platform, tier, primary.to_owned()).await? else {
            // RFC 9111, 3.3: a part has a key of its own.
            let part = if plan.ranged { self.held(platform, tier, key::part(primary)).await? } else { None };
            let part = part.filter(|part| vary::is_selected(&part.entry, head, stage));
            return Ok(part.map_or(Seen::Nothing, Seen::Held));
        };
        if vary::is_selected(&first.entry, head, stage) {
            return Ok(Seen::Held(first));
        }
        let index = Index::of(&first.entry);
        let other = index.selectors.iter().map(ToString::to_string).collect();
        let Ok(values) = vary::values(index.selectors.clone(), head, stage) else {
            return Ok(Seen::Other(other));
        };
        let key = key::secondary(primary, index.since, &values);
        let found = self
            .held(platform, tier, key)
            .await?
            .filter(|found| found.entry.since == index.since && vary::is_selected(&found.entry, head, stage));
        Ok(found.map_or(Seen::Other(other), Seen::Held))
    }

    async fn held<P: Clock + ResponseStore>(
        &self,
        platform: &P,
        tier: Tier,
        key: String,
    ) -> Result<Option<Held>, PlatformError> {
        match tier {
            Tier::Memory => {
                let kept = self.memory.borrow().peek(&key, platform.now());
                Ok(kept.map(|kept| Held { key, entry: kept.entry, size: Some(kept.size) }))
            }
            Tier::Location => {
                let Some(found) = platform.lookup(&key).await? else { return Ok(None) };
                platform.discard(found.response);
                let entry = Entry::decode(&found.entry);
                Ok(entry.map(|entry| Held { key, entry: Rc::new(entry), size: found.size }))
            }
            Tier::Global => {
                let Some(name) = global::name(&key).filter(|_| self.bound.global) else { return Ok(None) };
                let Some(found) = platform.lookup_global(&name, &key).await? else { return Ok(None) };
                platform.discard(found.response);
                let entry = self.global_entry(&name, &key, &found.entry, platform.now());
                Ok(entry.map(|entry| Held { key, entry: Rc::new(entry), size: found.size }))
            }
        }
    }
}
