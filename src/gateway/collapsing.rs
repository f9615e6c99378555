//! Concurrent misses of one key cause one request to the origin, where the
//! isolate's memory keeps the answer.

use super::answers::{CacheState, Miss, Way};
use super::{Isolate, Journey};
use crate::error::Reject;
use crate::exchange::{Edit, Reply};
use crate::platform::Platform;
use crate::stages::cache::flights::{LONGEST_WAIT, Turn, look_again};
use crate::stages::cache::plan::Credentials;
use crate::stages::cache::{CACHE_STATUS, CacheStage, Forward, status_field};

/// Somebody asks the origin, and others wait: until this is dropped, or the
/// body that the answer brings has arrived.
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
        let mut miss = match self.lookup(stage, way).await? {
            CacheState::Miss(miss) if self.collapses(&miss) => miss,
            state => return Ok(state),
        };
        let key = miss.stored.as_ref().map_or(&miss.primary, |stored| &stored.key).clone();
        let turn = self.isolate.flights.borrow_mut().join(&key, self.platform.now());
        match turn {
            Turn::Leads(number) => miss.leading = Some(Leading { isolate: self.isolate, key, number }),
            Turn::Alone => {}
            Turn::Waits => {
                if let Some(stored) = miss.stored.take() {
                    self.platform.discard(stored.response);
                }
                // Boxed: what a journey needs that waits must not make every
                // journey as large.
                return Box::pin(self.wait_for(&key, miss.forward, stage, way)).await;
            }
        }
        Ok(CacheState::Miss(miss))
    }

    /// Whether others that ask the same now get the same: not where the client
    /// wants its own, and not where the last answer could not be kept.
    fn collapses(&self, miss: &Miss<'_, P::Response>) -> bool {
        let plan = &miss.plan;
        let is_plain = plan.store && plan.skip.is_none() && !plan.ranged && !plan.validate;
        miss.stage.memory.is_some()
            && is_plain
            && plan.credentials == Credentials::None
            && matches!(miss.forward, Forward::UriMiss | Forward::Stale)
            && !self.isolate.unstorable.borrow().is_marked(&miss.primary, self.platform.now())
    }

    async fn wait_for(
        &mut self,
        key: &str,
        forward: Forward,
        stage: &'a CacheStage,
        way: &Way<'a, '_>,
    ) -> Result<CacheState<'a, P::Response>, Reject> {
        let begun = self.platform.now();
        let mut looks = 0_u32;
        loop {
            self.platform.pause(look_again(looks)).await;
            looks = looks.saturating_add(1);
            let now = self.platform.now();
            let is_under_way = self.isolate.flights.borrow().is_under_way(key, now);
            if !is_under_way || now.since(begun) >= LONGEST_WAIT {
                break;
            }
        }
        // Once: whoever finds nothing now asks for himself.
        let mut state = self.lookup(stage, way).await?;
        if let CacheState::Hit(Reply::Native(_, edits)) = &mut state
            && self.record.cache == Some("hit")
        {
            self.record.cache = Some("collapsed");
            *edits = vec![Edit::Set(CACHE_STATUS, stage.said(status_field::collapsed(forward), key))];
        }
        Ok(state)
    }
}
