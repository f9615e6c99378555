//! The tiers of the cache, near to far: the isolate's memory, then the
//! location's cache. A hit in the far one fills the near one, a new answer
//! fills both, and what is void leaves both.

use std::rc::Rc;

use super::answers::{Candidate, Miss};
use super::{Isolate, Journey};
use crate::error::PlatformError;
use crate::platform::{Found, Keep, Platform, ResponseStore};
use crate::stages::cache::CacheStage;
use crate::stages::cache::entry::Entry;
use crate::stages::cache::memory::{BodyNumber, Kept, Waiting};
use crate::time::Timestamp;

impl<P: Platform> Journey<'_, P> {
    /// What is stored under the key. Where memory has an answer that is fresh,
    /// nothing is waited for.
    pub(super) async fn fetch_entry(
        &self,
        stage: &CacheStage,
        key: String,
    ) -> Result<Option<Candidate<P::Response>>, PlatformError> {
        let near = stage.memory.and_then(|_| self.recall(&key));
        let Some(near) = near else {
            return if stage.location { self.fetch_far(key).await } else { Ok(None) };
        };
        if !stage.location || !may_be_newer_elsewhere(&near.entry, self.platform.now()) {
            return Ok(Some(near));
        }
        // Another isolate may have had it confirmed. What fails here is no
        // reason to forget what is near.
        match self.fetch_far(key).await {
            Ok(Some(far)) if far.entry.received > near.entry.received => {
                self.platform.discard(near.response);
                Ok(Some(far))
            }
            Ok(Some(far)) => {
                self.platform.discard(far.response);
                Ok(Some(near))
            }
            Ok(None) | Err(_) => Ok(Some(near)),
        }
    }

    /// Takes an answer out of memory that is void.
    pub(super) fn forget_near(&self, near: Candidate<P::Response>) {
        self.isolate.memory.borrow_mut().remove(&[near.key]);
        self.platform.discard(near.response);
        self.isolate.release(self.platform);
    }

    fn recall(&self, key: &str) -> Option<Candidate<P::Response>> {
        let kept = self.isolate.memory.borrow_mut().get(key, self.platform.now());
        self.isolate.release(self.platform);
        let Kept { entry, body, size, .. } = kept?;
        match self.platform.recall(body) {
            Some(response) => {
                Some(Candidate { key: key.to_owned(), entry, size: Some(size), response, body: Some(body) })
            }
            None => {
                self.isolate.memory.borrow_mut().remove(&[key.to_owned()]);
                self.isolate.release(self.platform);
                None
            }
        }
    }

    async fn fetch_far(&self, key: String) -> Result<Option<Candidate<P::Response>>, PlatformError> {
        let Some(Found { entry, size, response }) = self.platform.lookup(&key).await? else {
            return Ok(None);
        };
        match Entry::decode(&entry) {
            Some(entry) => Ok(Some(Candidate { key, entry: Rc::new(entry), size, response, body: None })),
            None => {
                self.platform.discard(response);
                Ok(None)
            }
        }
    }

    /// A hit in the far tier is kept in the near one, where it fits.
    pub(super) fn bring_near(
        &self,
        miss: &Miss<'_, P::Response>,
        candidate: Candidate<P::Response>,
    ) -> Candidate<P::Response> {
        let Some(limit) = miss.stage.memory else { return candidate };
        if candidate.body.is_some() || candidate.size.is_none_or(|size| size > limit) {
            return candidate;
        }
        let keep = Keep {
            key: &candidate.key,
            primary: &miss.primary,
            entry: "",
            limit,
            size: candidate.size,
            retention: None,
            memory: Some(limit),
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
            self.flights.borrow_mut().ends_with(keep.key, body);
            let (key, primary) = (keep.key.to_owned(), keep.primary.to_owned());
            self.memory.borrow_mut().expect(body, Waiting { key, primary, entry: Rc::clone(entry) });
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
        if renewed && keep.retention.is_none() {
            return response;
        }
        let memory = keep.memory.filter(|_| !renewed);
        self.keep(platform, response, &Keep { memory, ..*keep }, entry, Some(confirmed_by))
    }

    /// Gives what memory has under the key another head, if it is this answer.
    pub(super) fn renew_near(&self, key: &str, old: &Entry, new: &Rc<Entry>) {
        self.memory.borrow_mut().renew_if(key, old, Rc::clone(new));
    }

    /// Removes what is stored under the keys from all tiers.
    pub(super) fn remove<P: ResponseStore>(&self, platform: &P, keys: Vec<String>) {
        self.memory.borrow_mut().remove(&keys);
        self.release(platform);
        platform.remove(keys);
    }

    /// A body has arrived as a whole that memory is to keep.
    pub fn body_arrived<P: ResponseStore>(&self, platform: &P, body: BodyNumber, size: u64) {
        self.memory.borrow_mut().fill(body, size);
        self.release(platform);
        self.flights.borrow_mut().landed(body);
    }

    /// A body has not arrived, or is too large, or was asked for before what
    /// made it void.
    pub fn body_lost(&self, body: BodyNumber) {
        self.memory.borrow_mut().give_up(body);
        self.flights.borrow_mut().landed(body);
    }

    fn release<P: ResponseStore>(&self, platform: &P) {
        let released = self.memory.borrow_mut().take_released();
        if !released.is_empty() {
            platform.release(&released);
        }
    }
}
