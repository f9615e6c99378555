//! Stored answers: the steps of the journey that read and write the cache.

use http::Method;
use http::header::HeaderName;

use super::Journey;
use crate::error::{PlatformError, Reason, Reject};
use crate::exchange::{Edit, Head, Reply, list};
use crate::observe::record::{StageRecord, Verdict};
use crate::platform::Platform;
use crate::policy::Route;
use crate::stages::cache::ask::ask;
use crate::stages::cache::{self, CACHE_STATUS, CacheStage, Forward, Lookup, NotStored, Plan};
use crate::stages::identity::Identity;
use crate::stages::target::Target;
use crate::stages::upstream;
use crate::time::Timestamp;

impl<P: Platform> Journey<'_, P> {
    pub(super) fn key(
        &self,
        route: &Route,
        upstream: usize,
        variant: Option<&str>,
        scheme: &str,
        target: &Target<'_>,
    ) -> String {
        let upstream = self.gateway.upstreams.get(upstream).map_or("", |upstream| upstream.name.as_str());
        let url = (scheme, &*target.authority(), target.as_sent);
        cache::key(&self.isolate.environment, &route.id, upstream, variant.unwrap_or_default(), url)
    }

    pub(super) async fn lookup(
        &mut self,
        stage: &CacheStage,
        route: &Route,
        upstream: usize,
        variant: Option<&str>,
        target: &Target<'_>,
        identity: &Identity,
    ) -> Result<CacheState<P::Response>, Reject> {
        let own_cookie = route.canary.as_ref().and_then(|canary| canary.cookie_name());
        let ask = ask(self.head, target, identity, &self.gateway.identity, own_cookie);
        let plan = ask.plan;
        let key = self.key(route, upstream, variant, ask.scheme, target);
        let forward = match plan.skip {
            Some(skip) => skip,
            None if self.isolate.unstorable.borrow().is_marked(&key, self.platform.now()) => Forward::UriMiss,
            None => match self.platform.lookup(&key).await {
                Ok(Some((text, stored))) => match self.serve(&plan, &text, stored) {
                    Ok(reply) => return Ok(CacheState::Hit(reply)),
                    Err(forward) => forward,
                },
                Ok(None) => Forward::UriMiss,
                // The store is a help, not a protection: without it the
                // origin answers.
                Err(error) => {
                    self.note_store_failure(&error);
                    Forward::Bypass
                }
            },
        };
        if plan.only_if_cached {
            self.record.cache = Some(forward.as_str());
            return Err(Reject::new(Reason::NotCached));
        }
        Ok(CacheState::Miss { plan, key, forward, stage: *stage })
    }

    /// An answer from what is stored, if it serves.
    pub(super) fn serve(
        &mut self,
        plan: &Plan,
        text: &str,
        stored: P::Response,
    ) -> Result<Reply<P::Response>, Forward> {
        let entry = cache::entry::Entry::decode(text).ok_or(Forward::UriMiss)?;
        let (age, ttl, not_modified) = match cache::judge(plan, self.head, &entry, self.platform.now()) {
            Lookup::Fresh { age, ttl, not_modified } => (age, ttl, not_modified),
            Lookup::Miss(forward) => return Err(forward),
        };
        let fields = cache::hit_fields(&entry, age, not_modified);
        let status = if not_modified { 304 } else { entry.status };
        let with_body = !not_modified && self.head.method() != Method::HEAD;
        self.record.verdict = Verdict::Cached;
        self.record.cache = Some("hit");
        let response = self.platform.revive(stored, status, &fields, with_body);
        Ok(Reply::Native(response, vec![Edit::Set(CACHE_STATUS, cache::hit_status(ttl))]))
    }

    pub(super) fn note_store_failure(&mut self, error: &PlatformError) {
        self.record.stages.push(StageRecord {
            stage: "cache",
            verdict: "bypass",
            rule: None,
            prefix: None,
            shadow: false,
            error: Some(error.to_string()),
        });
    }

    pub(super) fn store(
        &mut self,
        state: CacheState<P::Response>,
        target: &Target<'_>,
        response: P::Response,
        sent: Timestamp,
    ) -> P::Response {
        let status = self.platform.status(&response);
        if cache::is_unsafe(self.head.method()) && (200..400).contains(&status) {
            self.invalidate(target);
        }
        let CacheState::Miss { plan, key, forward, stage } = state else {
            return response;
        };
        self.record.cache = Some(forward.as_str());
        let now = self.platform.now();
        let entry = if plan.store {
            self.entry(&stage, &response, status, sent, now)
        } else {
            Err(NotStored::Request)
        };
        let (response, outcome) = match entry {
            Ok(entry) => {
                self.isolate.unstorable.borrow_mut().unmark(&key);
                (self.platform.keep(response, &key, &entry, stage.max_body), Ok(()))
            }
            Err(reason) => {
                // Only what the origin said counts: what the request did not
                // allow says nothing about the next one. Nor does a 304, which
                // answers a condition; and what is stored may serve others.
                if plan.store && status != 304 && forward == Forward::UriMiss {
                    self.isolate.unstorable.borrow_mut().mark(&key, now);
                }
                (response, Err(reason))
            }
        };
        self.edits.push(Edit::Set(CACHE_STATUS, cache::forward_status(forward, status, outcome)));
        response
    }

    /// The text of the entry, if the answer may be kept.
    pub(super) fn entry(
        &self,
        stage: &CacheStage,
        response: &P::Response,
        status: u16,
        sent: Timestamp,
        received: Timestamp,
    ) -> Result<String, NotStored> {
        // Most answers that may not be kept say so in this one field; the
        // others are worth reading the whole head for.
        let control = self.platform.field(response, &http::header::CACHE_CONTROL);
        if control.is_some_and(|field| cache::control::CacheControl::parse(&field).no_store) {
            return Err(NotStored::Directive);
        }
        let mut fields = self.platform.fields(response);
        // What selects an answer has to be what the client sent, not what the
        // origin got from us instead, or did not get.
        let identity = &self.gateway.identity;
        let changed = |name: &str| {
            identity.request_id_field.as_str().eq_ignore_ascii_case(name)
                || identity.never_forwarded.iter().any(|field| field.as_str().eq_ignore_ascii_case(name))
        };
        let mut varying = fields.iter().filter(|(name, _)| *name == http::header::VARY);
        if varying.any(|(_, names)| list(names).any(changed)) {
            return Err(NotStored::Vary);
        }
        let gone: Vec<HeaderName> = self
            .edits
            .iter()
            .filter_map(|edit| if let Edit::Remove(name) = edit { Some(name.clone()) } else { None })
            .collect();
        fields.retain(|(name, _)| {
            !upstream::HOP_BY_HOP.contains(name) && !gone.contains(name) && *name != CACHE_STATUS
        });
        let entry = cache::conclude(self.head, status, fields, sent, received, stage)?;
        entry.encode().ok_or(NotStored::Head)
    }

    /// A change of a resource makes stored answers for it void (RFC 9111,
    /// 4.4), whichever route and variant they came by.
    pub(super) fn invalidate(&self, target: &Target<'_>) {
        if !self.gateway.has_cache {
            return;
        }
        let mut keys = Vec::new();
        for index in self.gateway.router.readers(target) {
            let Some(route) = self.gateway.routes.get(index).filter(|route| route.cache.is_some()) else {
                continue;
            };
            for scheme in ["http", "https"] {
                keys.push(self.key(route, route.upstream, None, scheme, target));
                for variant in route.canary.iter().flat_map(|canary| &canary.variants) {
                    keys.push(self.key(route, variant.upstream, Some(&variant.name), scheme, target));
                }
            }
        }
        if !keys.is_empty() {
            self.platform.remove(keys);
        }
    }
}

/// What the cache had.
pub(super) enum CacheState<R> {
    /// The route has no cache.
    Off,
    /// The answer.
    Hit(Reply<R>),
    /// Not the answer.
    Miss { plan: Plan, key: String, forward: Forward, stage: CacheStage },
}
