//! 14 cache: may we keep the answer? What the origin answers confirms what is
//! stored, replaces it, or makes it void; and where it fails, what is stored
//! stands in.

use std::rc::Rc;

use http::Method;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_LOCATION, HeaderName, VARY};

use super::answers::{CacheState, Candidate, Miss, Way, below_zero};
use super::purging::tags;
use super::{Isolate, Journey};
use crate::error::Reject;
use crate::exchange::{Edit, Head, Reply, list};
use crate::platform::{Keep, KeepGlobal, Origin, Platform};
use crate::stages::cache::collapser::End;
use crate::stages::cache::conclude::{Answer, amend, conclude, freshen};
use crate::stages::cache::directives::Directives;
use crate::stages::cache::entry::Entry;
use crate::stages::cache::judge::stands_in;
use crate::stages::cache::key::{self, Index};
use crate::stages::cache::lifetimes::given;
use crate::stages::cache::plan::{Credentials, Plan};
use crate::stages::cache::staleness::{self, Stale};
use crate::stages::cache::storability::{blames_the_request, is_representation};
use crate::stages::cache::validation::{Learned, confirms, is_another, learn};
use crate::stages::cache::{CACHE_STATUS, CacheStage, Forward, NotStored, status_field, validation};
use crate::stages::identity::IdentityStage;
use crate::stages::target::Target;
use crate::time::Timestamp;

/// What the origin answered, and when its request was sent.
pub(super) type Answered<R> = Result<(R, Timestamp), Reject>;

impl<'a, P: Platform> Journey<'a, P> {
    /// From the state of the cache to the reply: the origin is asked, and what
    /// it says is stored or not.
    pub(super) async fn ask_origin(
        &mut self,
        state: CacheState<'a, P::Response>,
        way: &Way<'a, '_>,
    ) -> Result<Reply<P::Response>, Reject> {
        let mut miss = match state {
            CacheState::Hit(reply) => return Ok(reply),
            CacheState::Off => {
                let (response, _) = self.forward(way.upstream, way.target, way.identity, Vec::new()).await?;
                self.note_change(&response, way.target);
                return Ok(Reply::Native(response, Vec::new()));
            }
            CacheState::Miss(miss) => miss,
        };
        self.record.cache = Some(miss.forward.as_str());
        // What the answer's own head brings about must not change another's.
        let before = self.edits.len();
        loop {
            miss.began = self.newest_purge();
            let answered = self.forward_miss(&miss, way).await;
            match self.settle_answer(&mut miss, answered, before, way) {
                Concluded::Done(reply) => {
                    self.end_lead(End::Lost);
                    return reply;
                }
                // It confirmed what we did not ask about (RFC 9111, 4.3.4):
                // once more, without a condition of ours.
                Concluded::Again => self.edits.truncate(before),
            }
        }
    }

    async fn forward_miss(
        &mut self,
        miss: &Miss<'a, P::Response>,
        way: &Way<'a, '_>,
    ) -> Answered<P::Response> {
        let mut edits = miss.stage.edits(&miss.plan, self.head);
        edits.extend(miss.stored.iter().flat_map(|stored| validation::conditions(&stored.entry)));
        let as_sent = miss.stage.target(&miss.plan, way.target.as_sent);
        if as_sent == way.target.as_sent {
            return self.forward(way.upstream, way.target, way.identity, edits).await;
        }
        let target = Target { as_sent: &as_sent, ..way.target.clone() };
        self.forward(way.upstream, &target, way.identity, edits).await
    }

    fn settle_answer(
        &mut self,
        miss: &mut Miss<'a, P::Response>,
        answered: Answered<P::Response>,
        before: usize,
        way: &Way<'a, '_>,
    ) -> Concluded<P::Response> {
        let status = answered.as_ref().ok().map(|(response, _)| self.platform.status(response));
        if status.is_none_or(staleness::is_failure)
            && let Some(reply) = self.stand_in(miss, &answered, status, before)
        {
            if let Ok((response, _)) = answered {
                self.platform.discard(response);
            }
            return Concluded::Done(Ok(reply));
        }
        // A part is of use beside another one alone.
        if status != Some(206)
            && let Some(part) = miss.part.take()
        {
            self.platform.discard(part.response);
        }
        let (response, sent) = match answered {
            Ok(answered) => answered,
            Err(reject) => return Concluded::Done(Err(reject)),
        };
        self.note_change(&response, way.target);
        let status = self.platform.status(&response);
        let mut replaced = None;
        if let Some(stored) = miss.stored.take() {
            let is_ours = validation::has_validator(&stored.entry.fields);
            if status == 304 && is_ours {
                return self.confirm(miss, stored, response, sent, before);
            }
            if self.head.method() == Method::HEAD {
                self.learn(miss, stored, &response, sent, before);
            } else {
                self.platform.discard(stored.response);
                replaced = Some((stored.key, stored.entry));
            }
        }
        let represents = miss.plan.represents && self.represents(miss, &response, way.target);
        miss.plan.store |= represents;
        let response = self.store(miss, response, replaced, sent, before);
        Concluded::Done(Ok(Reply::Native(response, Vec::new())))
    }

    /// Whether the answer to a POST stands for its URI.
    fn represents(&self, miss: &Miss<'a, P::Response>, response: &P::Response, target: &Target<'_>) -> bool {
        let status = self.platform.status(response);
        let location = self.platform.field(response, &CONTENT_LOCATION);
        let as_stored = miss.stage.as_stored(target.as_sent);
        is_representation(target, &as_stored, status, location.as_deref())
    }

    /// What is stored, in place of an origin that fails.
    fn stand_in(
        &mut self,
        miss: &mut Miss<'a, P::Response>,
        answered: &Answered<P::Response>,
        status: Option<u16>,
        before: usize,
    ) -> Option<Reply<P::Response>> {
        let now = self.platform.now();
        let entry = &miss.stored.as_ref()?.entry;
        let (age, staleness) = stands_in(&miss.plan, entry, miss.stage, now)?;
        let stored = miss.stored.take()?;
        self.edits.truncate(before);
        if let Err(reject) = answered {
            self.record.error.clone_from(&reject.cause);
        }
        let ttl = below_zero(staleness);
        let mut reply = self.serve(miss.stage, stored, age, ttl, Some(Stale::IfError));
        let said = status_field::stood_in(miss.forward, status, ttl);
        let said = miss.stage.said(said, &miss.primary);
        if let Reply::Native(_, edits) = &mut reply {
            *edits = vec![Edit::Set(CACHE_STATUS, said)];
        }
        Some(reply)
    }

    /// The origin has confirmed what is stored: it is brought up to date, kept
    /// and served (RFC 9111, 4.3.4).
    fn confirm(
        &mut self,
        miss: &Miss<'a, P::Response>,
        stored: Candidate<P::Response>,
        response: P::Response,
        sent: Timestamp,
        before: usize,
    ) -> Concluded<P::Response> {
        let news = self.news(miss, &response, sent, before);
        if !confirms(&news.fields, &stored.entry) {
            self.platform.discard(response);
            self.platform.discard(stored.response);
            return Concluded::Again;
        }
        self.edits.truncate(before);
        let received = news.received;
        let fresh = freshen(&stored.entry, news, miss.plan.credentials, miss.stage);
        let (stored, outcome) = self.renew(miss, stored, fresh, &response);
        self.platform.discard(response);
        self.record.cache = Some("revalidated");
        let said = match outcome {
            Ok(()) => Ok(stored.entry.ttl(received)),
            Err(reason) => Err(reason.as_str()),
        };
        let said = status_field::forwarded(miss.forward, Some(304), said);
        let said = miss.stage.said(said, &stored.key);
        let age = stored.entry.age(received).unwrap_or_default();
        let response = self.revive(miss.stage, stored, age);
        Concluded::Done(Ok(Reply::Native(response, vec![Edit::Set(CACHE_STATUS, said)])))
    }

    /// Keeps an entry that was brought up to date. What must not be kept any
    /// more is served this once, and removed.
    fn renew(
        &self,
        miss: &Miss<'a, P::Response>,
        stored: Candidate<P::Response>,
        fresh: Result<Entry, NotStored>,
        confirmed_by: &P::Response,
    ) -> (Candidate<P::Response>, Result<(), NotStored>) {
        let text = fresh.as_ref().map_err(|reason| *reason);
        let text = text.and_then(|entry| self.isolate.text(miss.stage, entry));
        match (fresh, text) {
            (Ok(entry), Ok(text)) if miss.plan.skip.is_none() => {
                let entry = Rc::new(entry);
                let place = Place { key: &stored.key, primary: &miss.primary };
                let lead = self.lead.take();
                let keep = Keep { lead, ..place.keep(&entry, &text, miss.stage, self.isolate) };
                let stored_body = (stored.response, stored.body);
                let response =
                    self.isolate.keep_confirmed(self.platform, stored_body, &keep, &entry, confirmed_by);
                (Candidate { entry, response, ..stored }, Ok(()))
            }
            (Ok(entry), Err(reason)) => (Candidate { entry: Rc::new(entry), ..stored }, Err(reason)),
            (Ok(entry), Ok(_)) => (Candidate { entry: Rc::new(entry), ..stored }, Err(NotStored::Request)),
            (Err(reason), _) => {
                if miss.plan.displaces(miss.forward, 304) {
                    self.isolate.remove(self.platform, miss.stage, vec![stored.key.clone()]);
                }
                (stored, Err(reason))
            }
        }
    }

    /// What a HEAD got says something about the stored answer to GET (4.3.5).
    fn learn(
        &self,
        miss: &Miss<'a, P::Response>,
        stored: Candidate<P::Response>,
        response: &P::Response,
        sent: Timestamp,
        before: usize,
    ) {
        let news = self.news(miss, response, sent, before);
        let (entry, credentials) = (&stored.entry, miss.plan.credentials);
        let stored = match learn(entry, news.status, &news.fields) {
            Learned::Same => {
                let fresh = freshen(entry, news, credentials, miss.stage);
                self.renew(miss, stored, fresh, response).0
            }
            Learned::Alike => {
                let amended = amend(entry, news, credentials, miss.stage);
                self.renew(miss, stored, amended, response).0
            }
            Learned::Other if miss.plan.displaces(miss.forward, news.status) => {
                self.isolate.remove(self.platform, miss.stage, vec![stored.key.clone()]);
                stored
            }
            Learned::Other | Learned::Nothing => stored,
        };
        self.platform.discard(stored.response);
    }

    /// Keeps a whole answer where it may be kept.
    fn store(
        &mut self,
        miss: &mut Miss<'a, P::Response>,
        response: P::Response,
        replaced: Option<(String, Rc<Entry>)>,
        sent: Timestamp,
        before: usize,
    ) -> P::Response {
        let status = self.platform.status(&response);
        let entry = self.entry(miss, &response, sent, before);
        let consumed = miss.stage.consumed.iter().cloned().map(Edit::Remove);
        let now = self.platform.now();
        let part = miss.part.take();
        let entry = entry.and_then(|kept| match &replaced {
            // 4.3.3, 3.4: the whole that was stored is none any more. Nor is a
            // part kept that was asked for before that was removed.
            Some((_, old)) if kept.0.part.is_some() && is_another(&kept.0.fields, old) => {
                Err(NotStored::Changed)
            }
            Some(_) if miss.plan.brings_upon_itself(miss.forward, status) => Err(NotStored::Request),
            _ => Ok(kept),
        });
        let (response, said) = match entry {
            Ok((entry, _)) if entry.part.is_some() => {
                self.isolate.unstorable.borrow_mut().unmark(&miss.primary);
                let said = status_field::forwarded(miss.forward, Some(status), Ok(entry.ttl(now)));
                (self.store_part(miss, response, entry, part), said)
            }
            Ok((entry, text)) => {
                self.isolate.unstorable.borrow_mut().unmark(&miss.primary);
                let key = key::place(&miss.primary, miss.index.as_ref(), &entry);
                let place = Place { key: &key, primary: &miss.primary };
                let replaces = miss.plan.represents;
                let lead = self.lead.take();
                let keep = place.keep(&entry, &text, miss.stage, self.isolate);
                let keep = Keep { replaces, lead, ..keep };
                let said = status_field::forwarded(miss.forward, Some(status), Ok(entry.ttl(now)));
                (self.isolate.keep(self.platform, response, &keep, &Rc::new(entry), None), said)
            }
            Err(reason) => {
                part.into_iter().for_each(|part| self.platform.discard(part.response));
                // What the request did not allow says nothing about others.
                let is_own = reason == NotStored::Request;
                if !is_own {
                    self.note_unstorable(miss, status, now);
                }
                // 4.3.3: what the origin was asked about is replaced by what
                // it answered, be that stored or not.
                let is_answer = miss.plan.store && !is_own && status < 500 && status != 304;
                let displaces = is_answer && miss.plan.displaces(miss.forward, status);
                if let Some((key, _)) = replaced.filter(|_| displaces) {
                    self.isolate.remove(self.platform, miss.stage, vec![key]);
                }
                (response, status_field::not_stored(miss.forward, status, reason))
            }
        };
        self.edits.extend(consumed);
        let said = miss.stage.said(said, &miss.primary);
        // RFC 9211, 2: what caches before this one say stands in front.
        self.edits.push(Edit::Append(CACHE_STATUS, said));
        response
    }

    /// Only what the origin said counts: what the request did not allow says
    /// nothing about the next one, nor does the answer to somebody with
    /// credentials, to a condition or to a range, or one that blames the request;
    /// and what is stored may serve others. An origin in trouble says nothing
    /// about what it usually answers.
    fn note_unstorable(&self, miss: &Miss<'a, P::Response>, status: u16, now: Timestamp) {
        let Plan { store, ranged, credentials, .. } = miss.plan;
        let is_plain = store && !ranged && credentials == Credentials::None && !blames_the_request(status);
        if is_plain && status != 304 && status < 500 && miss.forward == Forward::UriMiss {
            self.isolate.unstorable.borrow_mut().mark(&miss.primary, now);
            self.end_lead(End::Unstorable);
        }
    }

    /// The entry, and its text, if the answer may be kept.
    fn entry(
        &self,
        miss: &Miss<'a, P::Response>,
        response: &P::Response,
        sent: Timestamp,
        before: usize,
    ) -> Result<(Entry, String), NotStored> {
        if !miss.plan.store {
            return Err(if miss.plan.by_token { NotStored::Token } else { NotStored::Request });
        }
        // Most answers that may not be kept say so in this one field; the
        // others are worth reading the whole head for.
        let control = self.platform.field(response, &CACHE_CONTROL);
        let control = control.map(|field| Directives::parse(&field)).unwrap_or_default();
        let is_targeted =
            || miss.stage.targets.iter().any(|name| self.platform.field(response, name).is_some());
        let is_forced = || {
            let status = self.platform.status(response);
            given(&miss.stage.lifetimes, status).is_some_and(|given| given.force)
        };
        if control.no_store && !control.must_understand && !is_targeted() && !is_forced() {
            return Err(NotStored::Directive);
        }
        let news = self.news(miss, response, sent, before);
        let index = miss.index.as_ref();
        kept(self.isolate, self.head, &self.gateway.identity, miss.stage, &miss.plan, news, index)
    }

    /// The origin's answer, without the fields that end here.
    fn news(
        &self,
        miss: &Miss<'a, P::Response>,
        response: &P::Response,
        sent: Timestamp,
        before: usize,
    ) -> Answer {
        let gone: Vec<HeaderName> = self.edits.iter().skip(before).filter_map(removed).collect();
        let received = self.platform.now();
        let times = Times { sent, received, began: miss.began };
        arrival(self.platform, response, &gone, times)
    }
}

/// Whether the origin has to be asked once more.
enum Concluded<R> {
    Done(Result<Reply<R>, Reject>),
    Again,
}

/// Where an entry is stored.
pub(super) struct Place<'a> {
    pub(super) key: &'a str,
    pub(super) primary: &'a str,
}

impl<'a> Place<'a> {
    pub(super) fn keep(
        &self,
        entry: &Entry,
        text: &'a str,
        stage: &CacheStage,
        isolate: &Isolate,
    ) -> Keep<'a> {
        let length = entry.field(&CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
        let fits = |limit: u64| length.is_none_or(|length| length <= limit);
        let global = isolate.global(stage).filter(|global| global.takes(entry) && fits(global.max_body));
        Keep {
            key: self.key,
            primary: self.primary,
            entry: text,
            limit: stage.max_body,
            size: entry.part.map(|part| part.span.size()),
            retention: stage.location.then(|| entry.retention()),
            memory: stage.memory.filter(|limit| fits(*limit)),
            // KV keeps nothing for less than a minute.
            global: global
                .map(|global| KeepGlobal { limit: global.max_body, retention: entry.retention().max(60) }),
            lead: None,
            replaces: false,
        }
    }
}

fn removed(edit: &Edit) -> Option<HeaderName> {
    if let Edit::Remove(name) = edit { Some(name.clone()) } else { None }
}

/// When an answer was asked for and arrived, and the newest purge that was
/// known when it was asked for.
#[derive(Clone, Copy)]
pub(super) struct Times {
    pub(super) sent: Timestamp,
    pub(super) received: Timestamp,
    pub(super) began: u64,
}

/// An answer as it is stored: without the fields in `gone`.
pub(super) fn arrival<O: Origin>(
    platform: &O,
    response: &O::Response,
    gone: &[HeaderName],
    times: Times,
) -> Answer {
    let mut fields = platform.fields(response);
    fields.retain(|(name, _)| !gone.contains(name));
    let Times { sent, received, began } = times;
    Answer { status: platform.status(response), fields, sent, received, began }
}

impl Isolate {
    /// The text of an entry that a tier of the stage keeps.
    pub(super) fn text(&self, stage: &CacheStage, entry: &Entry) -> Result<String, NotStored> {
        let is_near = stage.location || stage.memory.is_some();
        if !is_near && !self.global(stage).is_some_and(|global| global.takes(entry)) {
            return Err(NotStored::Tier);
        }
        entry.encode().ok_or(NotStored::Head)
    }
}

/// The entry of an answer, and its text.
pub(super) fn kept(
    isolate: &Isolate,
    head: &impl Head,
    identity: &IdentityStage,
    stage: &CacheStage,
    plan: &Plan,
    answer: Answer,
    index: Option<&Index>,
) -> Result<(Entry, String), NotStored> {
    // What selects an answer has to be what the client sent, not what the
    // origin got from us instead, or did not get.
    let changed = |name: &str| {
        identity.request_id_field.as_str().eq_ignore_ascii_case(name)
            || identity.never_forwarded.iter().any(|field| field.as_str().eq_ignore_ascii_case(name))
    };
    let mut varying = answer.fields.iter().filter(|(name, _)| *name == VARY);
    if varying.any(|(_, names)| list(names).any(changed)) {
        return Err(NotStored::Vary);
    }
    if tags(&answer.fields).is_err() {
        return Err(NotStored::Head);
    }
    let entry = conclude(head, plan, stage, answer, index)?;
    let text = isolate.text(stage, &entry)?;
    Ok((entry, text))
}
