//! 12 cache: do we have the answer? What is stored is looked up, judged, and
//! served where it may be.

use std::collections::VecDeque;
use std::rc::Rc;

use http::Method;
use http::header::{HeaderName, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, RANGE};

use super::collapsing::Leading;
use super::purging::HARD;
use super::revalidation::Revalidation;
use super::{Isolate, Journey};
use crate::error::{PlatformError, Reason, Reject};
use crate::exchange::{Edit, Head, Reply};
use crate::observe::record::{StageRecord, Verdict};
use crate::platform::Platform;
use crate::policy::Route;
use crate::purge::Void;
use crate::stages::cache::ask::ask;
use crate::stages::cache::demand::is_settled;
use crate::stages::cache::entry::Entry;
use crate::stages::cache::judge::{Lookup, judge};
use crate::stages::cache::key::{self, Index};
use crate::stages::cache::memory::BodyNumber;
use crate::stages::cache::plan::Plan;
use crate::stages::cache::range::{Ranged, ranged};
use crate::stages::cache::staleness::Stale;
use crate::stages::cache::{CACHE_STATUS, CacheStage, Forward, Tier, fields, status_field, validation, vary};
use crate::stages::identity::Identity;
use crate::stages::target::Target;

/// The most stored answers that wait to be asked about after the response of
/// the request at hand.
const LATER: usize = 256;

/// What a client says of what it has, and which part it wants.
const PRECONDITIONS: [HeaderName; 4] = [IF_NONE_MATCH, IF_MODIFIED_SINCE, RANGE, IF_RANGE];

/// Where a request goes if there is no answer for it.
pub(super) struct Way<'a, 't> {
    pub(super) route: &'a Route,
    pub(super) upstream: usize,
    pub(super) variant: Option<&'a str>,
    pub(super) target: &'t Target<'t>,
    pub(super) identity: &'t Identity,
}

/// What the cache had.
pub(super) enum CacheState<'a, R> {
    /// The route has no cache.
    Off,
    /// The answer.
    Hit(Reply<R>),
    /// Not the answer.
    Miss(Box<Miss<'a, R>>),
}

/// A request that the cache did not answer.
pub(super) struct Miss<'a, R> {
    pub(super) stage: &'a CacheStage,
    pub(super) plan: Plan,
    pub(super) forward: Forward,
    /// The primary key of what it asks for.
    pub(super) primary: String,
    /// The entry under the primary key, if there is one.
    pub(super) index: Option<Index>,
    /// What the origin is asked about, and what stands in where it fails.
    pub(super) stored: Option<Candidate<R>>,
    /// A stored part that does not have what is asked for.
    pub(super) part: Option<Candidate<R>>,
    /// The newest purge that was known when the origin was asked.
    pub(super) began: u64,
    /// Who else waits for its answer.
    pub(super) leading: Option<Leading<'a>>,
}

/// A stored answer to the request's URI that other fields select for it, too.
pub(super) struct Candidate<R> {
    pub(super) key: String,
    pub(super) entry: Rc<Entry>,
    pub(super) size: Option<u64>,
    pub(super) response: R,
    /// Where it is from.
    pub(super) tier: Tier,
    /// Its body, where it is from the isolate's memory.
    pub(super) body: Option<BodyNumber>,
}

/// What is stored for a request.
struct Search<R> {
    index: Option<Index>,
    candidate: Option<Candidate<R>>,
    /// Why there is no candidate.
    forward: Forward,
}

impl<R> Search<R> {
    const fn nothing(forward: Forward) -> Self {
        Self { index: None, candidate: None, forward }
    }
}

impl<'a, P: Platform> Journey<'a, P> {
    pub(super) fn key(
        &self,
        route: &Route,
        upstream: usize,
        variant: Option<&str>,
        scheme: &str,
        authority: &str,
        target: &str,
    ) -> String {
        let upstream = self.gateway.upstreams.get(upstream).map_or("", |upstream| upstream.name.as_str());
        let url = (scheme, authority, target);
        key::primary(&self.isolate.environment, &route.id, upstream, variant.unwrap_or_default(), url)
    }

    pub(super) async fn lookup(
        &mut self,
        stage: &'a CacheStage,
        way: &Way<'a, '_>,
    ) -> Result<CacheState<'a, P::Response>, Reject> {
        let own_cookie = way.route.canary.as_ref().and_then(|canary| canary.cookie_name());
        let ask = ask(self.head, way.target, way.identity, &self.gateway.identity, stage, own_cookie);
        let plan = if self.passes_cache(way.target) { ask.plan.bypassed_by_token() } else { ask.plan };
        let target = stage.target(&plan, way.target.as_sent);
        let authority = way.target.authority();
        let primary = self.key(way.route, way.upstream, way.variant, ask.scheme, &authority, &target);
        let now = self.platform.now();
        let mut found = match plan.skip {
            Some(skip) => Search::nothing(skip),
            None if self.isolate.unstorable.borrow().is_marked(&primary, now) => {
                Search::nothing(Forward::UriMiss)
            }
            None => self.find(&plan, stage, &primary, Tier::Memory).await,
        };
        let url = (ask.scheme, authority.as_ref(), target.as_ref());
        let mut void = self.voided(found.candidate.as_ref(), url);
        if let Some(by) = void {
            void = Box::pin(self.find_further(&plan, stage, &primary, url, (&mut found, by))).await;
        }
        let Search { index, mut candidate, forward } = found;
        let mut miss =
            Miss { stage, plan, forward, primary, index, stored: None, part: None, began: 0, leading: None };
        if let Some(gone) = candidate.take_if(|_| void == Some(HARD)) {
            self.forget_void(gone);
            miss.forward = Forward::UriMiss;
        }
        if let Some(candidate) = candidate
            && let Some(reply) = self.use_stored(&mut miss, candidate, void.is_some(), way)
        {
            return Ok(CacheState::Hit(reply));
        }
        if plan.only_if_cached {
            self.record.cache = Some(miss.forward.as_str());
            return Err(Reject::new(Reason::NotCached));
        }
        Ok(CacheState::Miss(Box::new(miss)))
    }

    /// What is stored for the request in a tier and those beyond it.
    async fn find(
        &mut self,
        plan: &Plan,
        stage: &CacheStage,
        primary: &str,
        from: Tier,
    ) -> Search<P::Response> {
        match self.search(plan, stage, primary, from).await {
            Ok(found) => found,
            // The store is a help, not a protection: without it the origin
            // answers.
            Err(error) => {
                self.note_store_failure("bypass", &error);
                Search::nothing(Forward::Bypass)
            }
        }
    }

    /// What a purge has made void in a near tier, a farther one may have anew:
    /// what was found gives way to that. Gives what a purge has done to the
    /// one that it is then.
    async fn find_further(
        &mut self,
        plan: &Plan,
        stage: &CacheStage,
        primary: &str,
        url: (&str, &str, &str),
        (found, mut void): (&mut Search<P::Response>, Void),
    ) -> Option<Void> {
        let mut tier = found.candidate.as_ref()?.tier;
        while let Some(next) = self.isolate.beyond(stage, tier) {
            let far = self.find(plan, stage, primary, next).await;
            let Some(candidate) = &far.candidate else { break };
            tier = candidate.tier;
            let by = self.voided(far.candidate.as_ref(), url);
            let is_better = by.is_none_or(|by| by != HARD && void == HARD);
            let worse = if is_better { std::mem::replace(found, far) } else { far };
            worse.candidate.into_iter().for_each(|worse| self.forget_void(worse));
            if is_better {
                void = by?;
            }
        }
        Some(void)
    }

    /// Looks for an entry: under the primary key, and where other values
    /// select that one, under the key that the request's own make.
    async fn search(
        &mut self,
        plan: &Plan,
        stage: &CacheStage,
        primary: &str,
        from: Tier,
    ) -> Result<Search<P::Response>, PlatformError> {
        let Some(first) = self.fetch_entry(plan, stage, primary.to_owned(), from).await? else {
            return self.search_part(plan, stage, primary, from).await;
        };
        if vary::is_selected(&first.entry, self.head, stage) {
            // Most hits end here, and need no index.
            return Ok(Search { index: None, candidate: Some(first), forward: Forward::Stale });
        }
        let index = Index::of(&first.entry);
        self.platform.discard(first.response);
        // Stored before the route had all of its keys: it leads nowhere.
        if !index.covers(stage) {
            return Ok(Search::nothing(Forward::UriMiss));
        }
        let mut candidate = None;
        if let Ok(values) = vary::values(index.selectors.clone(), self.head, stage) {
            let key = key::secondary(primary, index.since, &values);
            candidate = self.fetch_entry(plan, stage, key, from).await?;
        }
        let candidate = candidate.filter(|found| {
            found.entry.since == index.since && vary::is_selected(&found.entry, self.head, stage)
        });
        Ok(Search { index: Some(index), candidate, forward: Forward::VaryMiss })
    }

    /// A part of the answer has a key of its own (RFC 9111, 3.3).
    async fn search_part(
        &mut self,
        plan: &Plan,
        stage: &CacheStage,
        primary: &str,
        from: Tier,
    ) -> Result<Search<P::Response>, PlatformError> {
        if !plan.ranged {
            return Ok(Search::nothing(Forward::UriMiss));
        }
        let part = self.fetch_entry(plan, stage, key::part(primary), from).await?;
        let candidate = part.filter(|part| vary::is_selected(&part.entry, self.head, stage));
        Ok(Search { index: None, candidate, forward: Forward::UriMiss })
    }

    /// Serves a candidate where it may be; else notes why not, and what the
    /// origin can be asked about it.
    fn use_stored(
        &mut self,
        miss: &mut Miss<'a, P::Response>,
        candidate: Candidate<P::Response>,
        is_void: bool,
        way: &Way<'a, '_>,
    ) -> Option<Reply<P::Response>> {
        let now = self.platform.now();
        let is_part = candidate.entry.part.is_some();
        let judged = match judge(&miss.plan, self.head, &candidate.entry, miss.stage, now) {
            // A soft purge makes stale: the origin is asked.
            Lookup::Fresh { .. } | Lookup::Stale { .. } if is_void => Lookup::Revalidate(Forward::Stale),
            judged @ (Lookup::Revalidate(_) | Lookup::Miss(Forward::Request))
                if !is_void && miss.plan.demands() =>
            {
                self.on_demand(miss, &candidate, judged)
            }
            judged => judged,
        };
        if !matches!(judged, Lookup::Fresh { .. }) && candidate.key == miss.primary {
            miss.index = Some(Index::of(&candidate.entry));
        }
        let (forward, stored) = match judged {
            Lookup::Fresh { age, ttl } => {
                if self.covers(&candidate) {
                    let ttl = i64::try_from(ttl).unwrap_or(i64::MAX);
                    let candidate = self.bring_near(miss, candidate);
                    return Some(self.serve(miss.stage, candidate, age, ttl, None));
                }
                (Forward::Partial, Some(candidate))
            }
            Lookup::Stale { age, staleness, why } if !is_part => {
                // What comes of a request with no-store is not kept.
                let asks = !miss.plan.only_if_cached && !miss.plan.no_store;
                if why == Stale::WhileRevalidate && asks {
                    self.revalidate_later(miss, &candidate, way);
                }
                let candidate = self.bring_near(miss, candidate);
                return Some(self.serve(miss.stage, candidate, age, below_zero(staleness), Some(why)));
            }
            Lookup::Stale { .. } => (Forward::Stale, Some(candidate)),
            Lookup::Revalidate(forward) => (forward, Some(candidate)),
            Lookup::Miss(forward) => (forward, None),
        };
        miss.forward = forward;
        // Nobody is asked about a part; but it may grow, unless it is void.
        (miss.stored, miss.part) = if is_part { (None, stored.filter(|_| !is_void)) } else { (stored, None) };
        None
    }

    /// What becomes of a stored answer that would do if the client did not want
    /// the origin's word for it: for each key the origin is asked once a second.
    fn on_demand(
        &self,
        miss: &Miss<'a, P::Response>,
        candidate: &Candidate<P::Response>,
        judged: Lookup,
    ) -> Lookup {
        let (entry, key, now) = (&candidate.entry, &candidate.key, self.platform.now());
        let allowed = judge(&miss.plan.undemanding(), self.head, entry, miss.stage, now);
        match allowed {
            Lookup::Fresh { .. } | Lookup::Stale { .. } => {}
            Lookup::Revalidate(forward) if miss.plan.no_store => return Lookup::Miss(forward),
            Lookup::Revalidate(_) | Lookup::Miss(_) => return judged,
        }
        if is_settled(entry, self.arrived, now) {
            return allowed;
        }
        if miss.plan.only_if_cached {
            // Nobody is asked, so nothing has to be kept out of the store: what
            // else is demanded decides.
            let stored = Plan { no_store: false, ..miss.plan };
            return judge(&stored, self.head, entry, miss.stage, now);
        }
        if !self.isolate.demanded.borrow_mut().marks(&miss.plan.mark(key), now) {
            return judged;
        }
        // Somebody else has asked; where he still does, this one may wait.
        let waits = self.collapses(miss) && self.isolate.flights.borrow().is_under_way(key, now);
        if waits { judged } else { allowed }
    }

    /// Whether an entry has all the bytes that the request asks for.
    fn covers(&self, candidate: &Candidate<P::Response>) -> bool {
        let now = self.platform.now();
        ranged(self.head, &candidate.entry, candidate.size, now) != Ranged::NotStored
    }

    /// An answer from what is stored.
    pub(super) fn serve(
        &mut self,
        stage: &CacheStage,
        candidate: Candidate<P::Response>,
        age: u64,
        ttl: i64,
        stale: Option<Stale>,
    ) -> Reply<P::Response> {
        self.record.verdict = Verdict::Cached;
        self.record.cache = Some(if stale.is_some() { "hit-stale" } else { "hit" });
        let said = stage.said(status_field::hit(ttl, stale), &candidate.key);
        let response = self.revive(stage, candidate, age);
        Reply::Native(response, vec![Edit::Set(CACHE_STATUS, said)])
    }

    /// A response made of what is stored.
    pub(super) fn revive(
        &self,
        stage: &CacheStage,
        candidate: Candidate<P::Response>,
        age: u64,
    ) -> P::Response {
        let Candidate { entry, size, response, .. } = candidate;
        let now = self.platform.now();
        let not_modified = validation::not_modified(self.head, &entry, now);
        let is_head = self.head.method() == Method::HEAD;
        let ranged = ranged(self.head, &entry, size, now);
        let mut made = fields::made(&entry, stage, not_modified, is_head, ranged, size);
        made.fields.push((http::header::AGE, age.to_string().into()));
        self.platform.revive(response, &made)
    }

    /// Has the origin asked about an entry after the response (RFC 5861, 3),
    /// by one request at a time.
    fn revalidate_later(
        &self,
        miss: &Miss<'a, P::Response>,
        candidate: &Candidate<P::Response>,
        way: &Way<'a, '_>,
    ) {
        let now = self.platform.now();
        let Some(upstream) = self.gateway.upstreams.get(way.upstream) else { return };
        if self.head.method() != Method::GET
            || self.isolate.revalidated.borrow_mut().marks(&candidate.key, now)
        {
            return;
        }
        let target =
            Target { as_sent: &miss.stage.target(&miss.plan, way.target.as_sent), ..way.target.clone() };
        let mut request = upstream.request(self.head, &target, way.identity, &self.gateway.identity);
        request.edits.extend(miss.stage.edits(&miss.plan, self.head));
        // It is asked for as a whole, and for all: what this client has is its
        // own affair.
        request.edits.extend(PRECONDITIONS.map(Edit::Remove));
        request.edits.extend(validation::conditions(&candidate.entry));
        self.isolate.later(Revalidation {
            request,
            stage: miss.stage.clone(),
            plan: Plan { ranged: false, ..miss.plan },
            primary: miss.primary.clone(),
            key: candidate.key.clone(),
            entry: Rc::clone(&candidate.entry),
            index: miss.index.clone(),
            ended_here: self.cost_fields(),
            purges: Rc::clone(&self.acting.snapshot.live_purges),
        });
    }

    /// The store failed, and what is done about that.
    pub(super) fn note_store_failure(&mut self, verdict: &'static str, error: &PlatformError) {
        let error = Some(error.to_string());
        self.record.stages.push(StageRecord { error, ..StageRecord::of("cache", verdict) });
    }
}

/// A time to live that is over.
pub(super) fn below_zero(staleness: u64) -> i64 {
    i64::try_from(staleness).unwrap_or(i64::MAX).saturating_neg()
}

impl Isolate {
    fn later(&self, revalidation: Revalidation) {
        let mut waiting: std::cell::RefMut<'_, VecDeque<Revalidation>> = self.revalidations.borrow_mut();
        if waiting.len() < LATER {
            waiting.push_back(revalidation);
        }
    }
}
