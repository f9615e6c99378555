//! The tiers of the cache, near to far: the isolate's memory, the location's
//! cache, and what all locations share. A hit in a far one fills the near ones,
//! a new answer fills all, and what is void leaves all.

use std::rc::Rc;

use super::answers::{Candidate, Miss};
use super::{Isolate, Journey};
use crate::error::PlatformError;
use crate::platform::{Clock, Found, Keep, Platform, ResponseStore};
use crate::stages::cache::demand::is_settled;
use crate::stages::cache::entry::Entry;
use crate::stages::cache::global::{self, Global};
use crate::stages::cache::judge::{Lookup, judge};
use crate::stages::cache::memory::{BodyNumber, Kept, Waiting};
use crate::stages::cache::plan::Plan;
use crate::stages::cache::{CacheStage, Forward, Tier};
use crate::time::Timestamp;

impl<P: Platform> Journey<'_, P> {
    /// What is stored under the key, in `from` and beyond. Where memory has an
    /// answer that is fresh, and does for the client, nothing is waited for.
    pub(super) async fn fetch_entry(
        &mut self,
        plan: &Plan,
        stage: &CacheStage,
        key: String,
        from: Tier,
    ) -> Result<Option<Candidate<P::Response>>, PlatformError> {
        let mut found = stage.memory.filter(|_| from == Tier::Memory).and_then(|_| self.recall(&key));
        let mut failure = None;
        let is_demanded = found.as_ref().is_some_and(|near| self.is_demanded(plan, stage, near));
        let asks_location = stage.location && from <= Tier::Location;
        if asks_location && (is_demanded || self.asks_further(found.as_ref())) {
            match self.fetch_location(&key).await {
                Ok(far) => found = self.later(found, far),
                // What fails here is no reason to forget what is near.
                Err(error) => failure = Some(error),
            }
        }
        if self.isolate.global(stage).is_some() && self.asks_further(found.as_ref()) {
            match self.fetch_global(&key).await {
                Ok(far) => found = self.later(found, far),
                Err(error) => self.note_store_failure("miss", &error),
            }
        }
        match (found, failure) {
            (None, Some(error)) => Err(error),
            (found, _) => Ok(found),
        }
    }

    /// Whether it is worth asking a farther tier: another isolate may have had
    /// confirmed what has become stale here.
    fn asks_further(&self, found: Option<&Candidate<P::Response>>) -> bool {
        found.is_none_or(|found| may_be_newer_elsewhere(&found.entry, self.platform.now()))
    }

    /// Whether a client wants the origin's word for what would do for others:
    /// another isolate may just have had it, and that is in the location.
    fn is_demanded(&self, plan: &Plan, stage: &CacheStage, found: &Candidate<P::Response>) -> bool {
        let (entry, now) = (&found.entry, self.platform.now());
        plan.demands()
            && !is_settled(entry, self.arrived, now)
            && matches!(
                judge(plan, self.head, entry, stage, now),
                Lookup::Revalidate(Forward::Request) | Lookup::Miss(Forward::Request)
            )
    }

    /// The later of two, the near one where they are the same. One that came
    /// later than now, by a clock that has been set back, is none.
    fn later(
        &self,
        near: Option<Candidate<P::Response>>,
        far: Option<Candidate<P::Response>>,
    ) -> Option<Candidate<P::Response>> {
        let now = self.platform.now();
        let gives_way = |near: &Entry, far: &Entry| far.received > near.received || near.received > now;
        let (stays, goes) = match (near, far) {
            (Some(near), Some(far)) if gives_way(&near.entry, &far.entry) => (far, near),
            (Some(near), Some(far)) => (near, far),
            (near, far) => return near.or(far),
        };
        self.platform.discard(goes.response);
        Some(stays)
    }

    /// Lets go of an answer that a purge has made void. Memory keeps none that
    /// is as if it were not there.
    pub(super) fn forget_void(&self, void: Candidate<P::Response>) {
        if void.tier == Tier::Memory {
            self.isolate.memory.borrow_mut().remove(&[void.key]);
        }
        self.platform.discard(void.response);
        self.isolate.release(self.platform);
    }

    fn recall(&self, key: &str) -> Option<Candidate<P::Response>> {
        let kept = self.isolate.memory.borrow_mut().get(key, self.platform.now());
        self.isolate.release(self.platform);
        let Kept { entry, body, size, .. } = kept?;
        match self.platform.recall(body) {
            Some(response) => {
                let (key, size, body) = (key.to_owned(), Some(size), Some(body));
                Some(Candidate { key, entry, size, response, tier: Tier::Memory, body })
            }
            None => {
                self.isolate.memory.borrow_mut().remove(&[key.to_owned()]);
                self.isolate.release(self.platform);
                None
            }
        }
    }

    async fn fetch_location(&self, key: &str) -> Result<Option<Candidate<P::Response>>, PlatformError> {
        let Some(found) = self.platform.lookup(key).await? else { return Ok(None) };
        Ok(self.candidate(key, Tier::Location, found, Entry::decode))
    }

    async fn fetch_global(&self, key: &str) -> Result<Option<Candidate<P::Response>>, PlatformError> {
        let Some(name) = global::name(key) else { return Ok(None) };
        let Some(found) = self.platform.lookup_global(&name, key).await? else { return Ok(None) };
        let now = self.platform.now();
        Ok(self.candidate(key, Tier::Global, found, |head| self.isolate.global_entry(&name, key, head, now)))
    }

    fn candidate(
        &self,
        key: &str,
        tier: Tier,
        found: Found<P::Response>,
        decode: impl Fn(&str) -> Option<Entry>,
    ) -> Option<Candidate<P::Response>> {
        let Found { entry, size, response } = found;
        let Some(entry) = decode(&entry) else {
            self.platform.discard(response);
            return None;
        };
        Some(Candidate { key: key.to_owned(), entry: Rc::new(entry), size, response, tier, body: None })
    }

    /// A hit in a far tier is kept in the near ones, where it fits.
    pub(super) fn bring_near(
        &self,
        miss: &Miss<'_, P::Response>,
        candidate: Candidate<P::Response>,
    ) -> Candidate<P::Response> {
        // RFC 9111, 5.2.1.5: nothing is stored for such a request.
        let is_brought = candidate.tier != Tier::Memory && !miss.plan.no_store;
        let Some(size) = candidate.size.filter(|_| is_brought) else { return candidate };
        let memory = miss.stage.memory.filter(|limit| size <= *limit);
        let is_far = candidate.tier == Tier::Global && miss.stage.location;
        let text = if is_far { candidate.entry.encode() } else { None };
        if memory.is_none() && text.is_none() {
            return candidate;
        }
        let since = self.platform.now().since(candidate.entry.received).as_secs();
        let keep = Keep {
            key: &candidate.key,
            primary: &miss.primary,
            entry: text.as_deref().unwrap_or_default(),
            limit: size,
            size: candidate.size,
            retention: text.as_ref().map(|_| candidate.entry.retention().saturating_sub(since).max(1)),
            memory,
            global: None,
            lead: None,
            replaces: false,
        };
        let response = self.isolate.keep(self.platform, candidate.response, &keep, &candidate.entry, None);
        Candidate { response, ..candidate }
    }
}

/// Whether it is worth asking the far tier for a later answer: only when this
/// one has become stale. One that the origin has to confirm each time is
/// confirmed whichever it is.
fn may_be_newer_elsewhere(entry: &Entry, now: Timestamp) -> bool {
    !entry.validate_always && entry.age(now).is_none_or(|age| age >= entry.lifetime)
}

impl Isolate {
    /// The next farther tier of the stage.
    pub(super) fn beyond(&self, stage: &CacheStage, tier: Tier) -> Option<Tier> {
        let location = (tier < Tier::Location && stage.location).then_some(Tier::Location);
        location.or_else(|| self.global(stage).filter(|_| tier < Tier::Global).map(|_| Tier::Global))
    }

    /// The entry that all locations share under a name, if it is the key's and
    /// has not been removed here.
    pub(super) fn global_entry(&self, name: &str, key: &str, head: &str, now: Timestamp) -> Option<Entry> {
        let entry = Entry::decode(global::entry(head, key)?)?;
        (!self.removed.borrow().holds(name, entry.received, now)).then_some(entry)
    }

    /// Keeps an answer in the tiers that `keep` names.
    pub(super) fn keep<P: ResponseStore>(
        &self,
        platform: &P,
        response: P::Response,
        keep: &Keep<'_>,
        entry: &Rc<Entry>,
        confirmed_by: Option<&P::Response>,
    ) -> P::Response {
        let (response, body) = platform.keep(response, keep, confirmed_by);
        self.expect(body, keep, entry);
        response
    }

    /// Memory is to keep that body, once it has arrived.
    pub(super) fn expect(&self, body: Option<BodyNumber>, keep: &Keep<'_>, entry: &Rc<Entry>) {
        if let Some(body) = body {
            let mut flights = self.flights.borrow_mut();
            if entry.part.is_some() {
                flights.lands(keep.key, body, entry.received);
            } else {
                flights.ends_with(keep.key, body);
            }
            drop(flights);
            if keep.memory.is_some() {
                let (key, primary) = (keep.key.to_owned(), keep.primary.to_owned());
                self.memory.borrow_mut().expect(body, Waiting { key, primary, entry: Rc::clone(entry) });
            }
        }
    }

    /// Keeps an answer that has been confirmed; `body` is where memory has it.
    pub(super) fn keep_confirmed<P: ResponseStore>(
        &self,
        platform: &P,
        (response, body): (P::Response, Option<BodyNumber>),
        keep: &Keep<'_>,
        entry: &Rc<Entry>,
        confirmed_by: &P::Response,
    ) -> P::Response {
        let renewed =
            body.is_some_and(|body| self.memory.borrow_mut().renew(keep.key, body, Rc::clone(entry)));
        self.release(platform);
        if renewed && keep.retention.is_none() && keep.global.is_none() {
            return response;
        }
        let memory = keep.memory.filter(|_| !renewed);
        self.keep(platform, response, &Keep { memory, ..*keep }, entry, Some(confirmed_by))
    }

    /// Gives what memory has under the key another head, if it is this answer.
    pub(super) fn renew_near(&self, key: &str, old: &Entry, new: &Rc<Entry>) {
        self.memory.borrow_mut().renew_if(key, old, Rc::clone(new));
    }

    /// What the stage keeps for all locations, where there is a store for that.
    pub(super) fn global(&self, stage: &CacheStage) -> Option<Global> {
        stage.global.filter(|_| self.bound.global)
    }

    /// Removes what is stored under the keys from the tiers of the stage.
    pub(super) fn remove<P: ResponseStore + Clock>(
        &self,
        platform: &P,
        stage: &CacheStage,
        keys: Vec<String>,
    ) {
        let names = self.global(stage).map(|_| keys.iter().filter_map(|key| global::name(key)).collect());
        self.remove_all(platform, keys, names.unwrap_or_default());
    }

    /// Removes what is stored under the keys, and under the names for all
    /// locations.
    pub(super) fn remove_all<P: ResponseStore + Clock>(
        &self,
        platform: &P,
        keys: Vec<String>,
        names: Vec<String>,
    ) {
        self.memory.borrow_mut().remove(&keys);
        self.release(platform);
        for name in &names {
            self.removed.borrow_mut().note(name, platform.now());
        }
        platform.remove(keys, names);
    }

    /// A body has arrived as a whole that memory is to keep.
    pub fn body_arrived<P: ResponseStore + Clock>(&self, platform: &P, body: BodyNumber, size: u64) {
        self.memory.borrow_mut().fill(body, size, platform.now());
        self.release(platform);
        self.flights.borrow_mut().landed(body);
    }

    /// A body has not arrived, or is too large, or was asked for before what
    /// made it void.
    pub fn body_lost(&self, body: BodyNumber) {
        self.memory.borrow_mut().give_up(body);
    }

    /// The near tiers have the answer of that body, or will not.
    pub fn body_settled(&self, body: BodyNumber) {
        self.flights.borrow_mut().landed(body);
    }

    fn release<P: ResponseStore>(&self, platform: &P) {
        let released = self.memory.borrow_mut().take_released();
        if !released.is_empty() {
            platform.release(&released);
        }
    }
}
