//! Concurrent misses of one key cause one request to the origin: in the
//! isolate, where its memory or the location keeps the answer; and among the
//! isolates of the location, where that keeps it and there are objects for it.

use std::time::Duration;

use http::header::{IF_MODIFIED_SINCE, IF_NONE_MATCH};

use super::answers::{CacheState, Miss, Way};
use super::{Isolate, Journey};
use crate::error::{PlatformError, Reject};
use crate::exchange::{Edit, Head, Reply};
use crate::platform::Platform;
use crate::stages::cache::collapser::{Answer, End, Id, JOIN_WAIT, Lead, Message, PARK};
use crate::stages::cache::flights::{Flights, LANDING_WAIT, LONGEST_WAIT, Turn, look_again};
use crate::stages::cache::plan::Credentials;
use crate::stages::cache::validation::has_validator;
use crate::stages::cache::{CACHE_STATUS, CacheStage, Forward, key, status_field};
use crate::time::{Timestamp, millis_of};

/// For how long the objects are not asked after one of them did not answer.
const SILENCE: Duration = Duration::from_secs(1);

/// Somebody asks the origin, and others wait: until this is dropped, or the
/// body that the answer brings is kept.
pub(super) struct Leading<'a> {
    isolate: &'a Isolate,
    key: String,
    number: u64,
}

impl Drop for Leading<'_> {
    fn drop(&mut self) {
        self.isolate.flights.borrow_mut().done(&self.key, self.number);
    }
}

impl<'a, P: Platform> Journey<'a, P> {
    /// Looks for an answer; where there is none, and somebody else is asking
    /// for it, once more when that one has it.
    pub(super) async fn look(
        &mut self,
        stage: &'a CacheStage,
        way: &Way<'a, '_>,
    ) -> Result<CacheState<'a, P::Response>, Reject> {
        let mut landings = self.isolate.flights.borrow().landings();
        let mut state = self.lookup(stage, way).await?;
        state = match state {
            CacheState::Miss(miss) if self.waits_for_body(&miss, landings) => {
                Box::pin(self.wait_for_body(miss, stage, way)).await?
            }
            state => state,
        };
        let mut is_second = false;
        loop {
            let mut miss = match state {
                CacheState::Miss(miss) if self.collapses(&miss) => miss,
                state => return Ok(state),
            };
            let key = miss.stored.as_ref().map_or(&miss.primary, |stored| &stored.key).clone();
            let turn = self.isolate.flights.borrow_mut().join(&key, landings, self.platform.now());
            match turn {
                Turn::Leads(number) => {
                    let leading = Leading { isolate: self.isolate, key, number };
                    if self.has_its_own_condition(&miss) {
                        return Ok(CacheState::Miss(miss));
                    }
                    miss.leading = Some(leading);
                    // Boxed: what a journey needs that waits must not make
                    // every journey as large.
                    return if stage.location && self.asks_objects() {
                        Box::pin(self.join(miss, stage, way)).await
                    } else {
                        Ok(CacheState::Miss(miss))
                    };
                }
                Turn::LooksAgain if !is_second => {
                    is_second = true;
                    self.let_go(&mut miss);
                    landings = self.isolate.flights.borrow().landings();
                    state = Box::pin(self.lookup(stage, way)).await?;
                }
                Turn::Alone | Turn::LooksAgain => return Ok(CacheState::Miss(miss)),
                Turn::Waits => {
                    self.let_go(&mut miss);
                    return Box::pin(self.wait_for(&key, miss.forward, stage, way)).await;
                }
            }
        }
    }

    /// Whether others that ask the same now get the same: not where the client
    /// wants its own, and not where the last answer could not be kept.
    pub(super) fn collapses(&self, miss: &Miss<'_, P::Response>) -> bool {
        let plan = &miss.plan;
        let is_plain = plan.store && plan.skip.is_none() && !plan.ranged;
        (miss.stage.memory.is_some() || miss.stage.location)
            && is_plain
            && plan.credentials == Credentials::None
            && matches!(miss.forward, Forward::UriMiss | Forward::Stale | Forward::Request)
            && !self.isolate.unstorable.borrow().is_marked(&miss.primary, self.platform.now())
    }

    /// Whether a part is asked for of what is arriving right now, or has just
    /// arrived.
    fn waits_for_body(&self, miss: &Miss<'_, P::Response>, landings: u64) -> bool {
        let plan = &miss.plan;
        if !plan.ranged || !plan.store || plan.skip.is_some() {
            return false;
        }
        let (flights, now) = (self.isolate.flights.borrow(), self.platform.now());
        [miss.primary.as_str(), &key::part(&miss.primary)]
            .iter()
            .any(|key| flights.is_landing(key, now) || flights.has_landed(key, landings))
    }

    /// Looks again when the body is there, or after a short while.
    async fn wait_for_body(
        &mut self,
        mut miss: Box<Miss<'a, P::Response>>,
        stage: &'a CacheStage,
        way: &Way<'a, '_>,
    ) -> Result<CacheState<'a, P::Response>, Reject> {
        self.let_go(&mut miss);
        let keys = [miss.primary.clone(), key::part(&miss.primary)];
        self.wait_while(LANDING_WAIT, |flights, now| keys.iter().any(|key| flights.is_landing(key, now)))
            .await;
        self.lookup(stage, way).await
    }

    /// Looks now and then whether it is over, for so long at most.
    async fn wait_while(&self, most: Duration, lasts: impl Fn(&Flights, Timestamp) -> bool) {
        let begun = self.platform.now();
        let mut looks = 0_u32;
        loop {
            let now = self.platform.now();
            if now.since(begun) >= most || !lasts(&self.isolate.flights.borrow(), now) {
                return;
            }
            self.platform.pause(look_again(looks)).await;
            looks = looks.saturating_add(1);
        }
    }

    /// Whether the origin gets the client's condition: a 304 to that is of no
    /// use to those who would wait for it.
    fn has_its_own_condition(&self, miss: &Miss<'_, P::Response>) -> bool {
        let is_ours = miss.stored.as_ref().is_some_and(|stored| has_validator(&stored.entry.fields));
        !is_ours && [IF_NONE_MATCH, IF_MODIFIED_SINCE].iter().any(|name| self.head.field(name).is_some())
    }

    fn let_go(&self, miss: &mut Miss<'a, P::Response>) {
        for stored in [miss.stored.take(), miss.part.take()].into_iter().flatten() {
            self.platform.discard(stored.response);
        }
    }

    async fn wait_for(
        &mut self,
        key: &str,
        forward: Forward,
        stage: &'a CacheStage,
        way: &Way<'a, '_>,
    ) -> Result<CacheState<'a, P::Response>, Reject> {
        self.wait_while(LONGEST_WAIT, |flights, now| flights.is_under_way(key, now)).await;
        // Once: whoever finds nothing now asks for himself.
        self.look_once_more(forward, stage, way).await
    }

    async fn look_once_more(
        &mut self,
        forward: Forward,
        stage: &'a CacheStage,
        way: &Way<'a, '_>,
    ) -> Result<CacheState<'a, P::Response>, Reject> {
        let mut state = self.lookup(stage, way).await?;
        if let CacheState::Hit(Reply::Native(_, edits)) = &mut state
            && self.record.cache == Some("hit")
        {
            self.record.cache = Some("collapsed");
            for edit in edits {
                if let Edit::Set(CACHE_STATUS, said) = edit {
                    *said = status_field::collapsed(said, forward);
                }
            }
        }
        Ok(state)
    }

    fn asks_objects(&self) -> bool {
        let now = self.platform.now();
        let is_silent = |last: Timestamp| now >= last && now.since(last) < SILENCE;
        self.isolate.bound.collapser && !self.isolate.silent.get().is_some_and(is_silent)
    }

    /// Whoever leads in this isolate asks the object of the key whether he
    /// leads for all of them. Where it fails, he does.
    async fn join(
        &mut self,
        mut miss: Box<Miss<'a, P::Response>>,
        stage: &'a CacheStage,
        way: &Way<'a, '_>,
    ) -> Result<CacheState<'a, P::Response>, Reject> {
        let key = miss.stored.as_ref().map_or(&miss.primary, |stored| &stored.key).clone();
        let id = Id::of(&key);
        let begun = self.platform.now();
        let (mut message, mut deadline) = (Message::Join(id), JOIN_WAIT);
        loop {
            match self.platform.collapse(&message, deadline).await {
                Ok(Answer::Wait) => {
                    let left = LONGEST_WAIT.saturating_sub(self.platform.now().since(begun));
                    if left.is_zero() {
                        break;
                    }
                    let park = PARK.min(left);
                    message = Message::Wait(id, millis_of(park));
                    deadline = park.saturating_add(JOIN_WAIT);
                }
                Ok(Answer::Stored) => {
                    self.let_go(&mut miss);
                    // The others of this isolate wait on meanwhile.
                    let leading = miss.leading.take();
                    let mut state = self.look_once_more(miss.forward, stage, way).await?;
                    if let CacheState::Miss(miss) = &mut state {
                        miss.leading = leading;
                    }
                    return Ok(state);
                }
                Ok(Answer::Lead(number)) => {
                    self.lead.set(Some(Lead { id, number }));
                    break;
                }
                Ok(Answer::Alone | Answer::Noted) => break,
                Err(error) => {
                    self.note_silence(&error);
                    break;
                }
            }
        }
        Ok(CacheState::Miss(miss))
    }

    fn note_silence(&mut self, error: &PlatformError) {
        self.isolate.silent.set(Some(self.platform.now()));
        self.note_store_failure("alone", error);
    }

    /// The request at hand does not bring what it led for, unless that is on
    /// its way to the location.
    pub(super) fn end_lead(&self, end: End) {
        if let Some(lead) = self.lead.take() {
            self.platform.end_lead(lead, end);
        }
    }
}
