//! The journey of a request, and nothing else. The order is a security
//! property, so it is code, with the reason beside each step.

use std::cell::RefCell;

use http::Method;
use http::header::HeaderName;

use crate::error::{Dependency, PlatformError, Reason, Reject};
use crate::exchange::{Edit, Head, Reply};
use crate::observe::record::{ClientAddress, Record, StageRecord, Verdict};
use crate::platform::Platform;
use crate::policy::snapshot::Snapshot;
use crate::policy::{Gateway, Route};
use crate::stages::cache::hit_for_miss::HitForMiss;
use crate::stages::cache::{self, CACHE_STATUS, CacheStage, Forward, Lookup, NotStored, Plan};
use crate::stages::identity::Identity;
use crate::stages::ip_filter::prefix::Prefix;
use crate::stages::ip_filter::{Action, IpFilterStage};
use crate::stages::rate_limit::gcra::{Decision, Quota};
use crate::stages::rate_limit::message::Take;
use crate::stages::rate_limit::table::CounterTable;
use crate::stages::rate_limit::{CounterKey, Counting, LimitRule, OnFailure, RateLimitStage, seconds_up};
use crate::stages::target::{Target, parse};
use crate::stages::{Mode, respond, upstream};
use crate::time::{Timestamp, millis_of};
use crate::{control, stages};

/// What an isolate keeps between requests, all of it bounded.
#[derive(Debug)]
pub struct Isolate {
    counters: RefCell<CounterTable>,
    unstorable: RefCell<HitForMiss>,
    /// The environment's name: part of every cache key.
    pub environment: String,
}

impl Isolate {
    /// An isolate that has just begun. `seed` is random.
    #[must_use]
    pub fn new(environment: &str, seed: u64) -> Self {
        Self {
            counters: RefCell::new(CounterTable::default()),
            unstorable: RefCell::new(HitForMiss::new(seed)),
            environment: environment.to_owned(),
        }
    }
}

/// One request on its way.
struct Journey<'a, P: Platform> {
    gateway: &'a Gateway,
    snapshot: &'a Snapshot,
    isolate: &'a Isolate,
    platform: &'a P,
    head: &'a P::Request,
    /// What the answer gets, whoever makes it.
    edits: Vec<Edit>,
    /// The limit that speaks in the RateLimit fields: the one with the least
    /// left.
    strictest: Option<(u32, [Edit; 2])>,
    record: Record,
}

/// Takes a request through the journey. Never fails: whatever happens, there
/// is a reply and a record. `fresh` is 128 random bits.
pub async fn handle<P: Platform>(
    snapshot: &Snapshot,
    degraded: bool,
    isolate: &Isolate,
    platform: &P,
    head: &P::Request,
    fresh: u128,
) -> (Reply<P::Response>, Record) {
    let arrived = platform.now();
    let mut journey = Journey {
        gateway: &snapshot.gateway,
        snapshot,
        isolate,
        platform,
        head,
        edits: Vec::new(),
        strictest: None,
        record: Record::new(arrived, head.method().as_str()),
    };
    journey.record.revision = Some(snapshot.revision.clone());
    let result = journey.travel(degraded, arrived, fresh).await;
    let reply = journey.respond(result);
    journey.record.duration_ms = millis_of(platform.now().since(arrived));
    (reply, journey.record)
}

impl<P: Platform> Journey<'_, P> {
    /// The stages in order.
    async fn travel(
        &mut self,
        degraded: bool,
        arrived: Timestamp,
        fresh: u128,
    ) -> Result<Reply<P::Response>, Reject> {
        let gateway = self.gateway;
        // The target is read before anything else, so that every log line can
        // name it; what is wrong with it is answered only after the entry
        // rules, so a scanner that sends garbage meets them too.
        let host_field = self.head.field(&http::header::HOST);
        let target = parse(self.head.url(), host_field.as_deref());
        if let Ok(target) = &target {
            self.record.host = Some(target.authority());
            self.record.set_path(target.path_as_sent());
        }

        // 1 identity: first, because everything after it is counted and
        // judged by who is calling.
        let identity = gateway.identity.identify(self.head, fresh);
        if let Ok(identity) = &identity {
            self.record.request_id = Some(identity.request_id.clone());
            self.record.trace_id = Some(identity.trace.trace_id.clone());
            self.record.client = logged_address(gateway.logged_address, identity);
        } else {
            self.record.request_id = Some(format!("{fresh:032x}"));
        }
        let identity = identity?;

        // 2 control: ours, and before entry and routes, so that no rule can
        // lock an operator out. It has a limit of its own.
        if let Ok(target) = &target
            && control::is_ours(&target.path)
        {
            self.control_limit(&identity, arrived)?;
            let health = control::Health { degraded, revision: &self.snapshot.revision };
            return control::answer(self.head.method(), &target.path, &health).map(Reply::Answer);
        }

        // 3 entry: before the route, so scanners of paths that nobody serves
        // meet bans and limits too. Addresses first: they cost nothing, and
        // what is refused here is not counted.
        if let Some(filter) = &gateway.entry_ip_filter {
            self.ip_filter("entry.ip_filter", filter, &identity)?;
        }
        self.rate_limit("entry.rate_limit", &gateway.entry_rate_limit, &identity, arrived).await?;

        // 4 route: by the normal form of what will be sent, never by what was
        // written; an escape that origins read in two ways has to be allowed.
        let target = target?;
        let index = gateway.router.find(&target, self.head);
        let allowed = index.and_then(|index| gateway.router.matcher(index)).map(|matcher| matcher.allowed);
        if !target.encoded.within(allowed.unwrap_or_default()) {
            return Err(Reject::new(Reason::InvalidTarget)
                .detail("The path holds an encoded slash, backslash or NUL, which is not allowed here."));
        }
        let route =
            index.and_then(|index| gateway.routes.get(index)).ok_or_else(|| Reject::new(Reason::NoRoute))?;
        self.record.route = Some(route.id.clone());
        // A loop costs every hop of it, so it ends before anything is spent.
        upstream::refuse_loop(self.head, &gateway.identity.cdn_id)?;

        // 5 ip_filter: the cheapest rule of the route goes first.
        if let Some(filter) = &route.ip_filter {
            self.ip_filter("ip_filter", filter, &identity)?;
        }

        // 7 rate_limit: after the filter, so that the refused use up nobody's
        // quota; before the cache, so that hits count too.
        self.rate_limit("rate_limit", &route.rate_limit, &identity, self.platform.now()).await?;

        // 11 canary: before the cache, since the variant is part of its key.
        let (upstream, variant) = self.canary(route, &identity, target.scheme == "https");

        // 12 cache: after every check, so that a stored answer is no way
        // around one.
        let lookup = match &route.cache {
            Some(stage) => self.lookup(stage, route, upstream, variant, &target).await?,
            None => CacheState::Off,
        };
        let state = match lookup {
            CacheState::Hit(reply) => return Ok(reply),
            state => state,
        };

        // 13 upstream: nothing is left to ask but the origin.
        let (response, sent) = self.forward(upstream, &target, &identity).await?;

        // 14 cache: what may be kept is kept, and a change undoes what was.
        let response = self.store(state, &target, response, sent);

        // 15 respond: the head of the answer, see `respond`.
        Ok(Reply::Native(response, Vec::new()))
    }

    /// 15 respond: the same additions whoever made the answer.
    fn respond(&mut self, result: Result<Reply<P::Response>, Reject>) -> Reply<P::Response> {
        let request_id = self.record.request_id.clone();
        let id_field = self.gateway.identity.request_id_field.clone();
        let mut edits = std::mem::take(&mut self.edits);
        if let Some((_, fields)) = self.strictest.take() {
            edits.extend(fields);
        }
        if let Some(id) = &request_id {
            edits.push(Edit::Set(id_field, id.clone()));
        }
        match result {
            Ok(Reply::Native(response, more)) => {
                self.record.status = self.platform.status(&response);
                edits.extend(more);
                Reply::Native(response, edits)
            }
            Ok(Reply::Answer(mut answer)) => {
                self.record.status = answer.status;
                respond::apply(&mut answer, edits);
                Reply::Answer(answer)
            }
            Err(reject) => {
                self.record.reason = Some(reject.reason.as_str());
                self.record.verdict =
                    if reject.reason.is_failure() { Verdict::Failed } else { Verdict::Refused };
                let mut answer = respond::problem(&reject, request_id.as_deref());
                self.record.error = reject.cause;
                self.record.status = answer.status;
                respond::apply(&mut answer, edits);
                Reply::Answer(answer)
            }
        }
    }

    /// The limit of `/_weir/`: local, and so generous that only a flood of
    /// one client meets it.
    fn control_limit(&self, identity: &Identity, now: Timestamp) -> Result<(), Reject> {
        let quota = Quota::new(20, std::time::Duration::from_secs(1), 60);
        let key = control::counter(identity);
        let decision = self.isolate.counters.borrow_mut().take(key, &quota, now);
        if decision.allowed {
            return Ok(());
        }
        Err(Reject::new(Reason::RateLimited).retry_after(seconds_up(decision.retry_after)))
    }

    fn ip_filter(
        &mut self,
        name: &'static str,
        stage: &IpFilterStage,
        identity: &Identity,
    ) -> Result<(), Reject> {
        if stage.mode() == Mode::Off {
            return Ok(());
        }
        let verdict = stage.decide(identity.address);
        let mut note = |verdict: stages::ip_filter::IpVerdict<'_>, shadow| {
            self.record.stages.push(StageRecord {
                stage: name,
                verdict: verdict.action.as_str(),
                rule: verdict.rule.map(str::to_owned),
                prefix: verdict.prefix.map(|prefix| prefix.to_string()),
                shadow,
                error: None,
            });
        };
        // What the shadow rules would change is worth a note, what they
        // confirm is not.
        if let Some(shadow) = stage.decide_with_shadow(identity.address)
            && shadow != verdict
        {
            note(shadow, true);
        }
        note(verdict, stage.mode() == Mode::Shadow);
        if verdict.action == Action::Deny && stage.mode() == Mode::Enforce {
            return Err(Reject::new(Reason::AddressDenied));
        }
        Ok(())
    }

    async fn rate_limit(
        &mut self,
        name: &'static str,
        stage: &RateLimitStage,
        identity: &Identity,
        mut now: Timestamp,
    ) -> Result<(), Reject> {
        for rule in &stage.rules {
            let key = rule.counter(identity, self.head);
            let (decision, failure) = match rule.counting {
                Counting::Local => (self.count_locally(key, rule, now), None),
                Counting::Exact => {
                    let take = Take { key, quota: rule.quota, cost: 1 };
                    let answer = self.platform.take(&take, rule.deadline).await;
                    // The clock moves while waiting.
                    now = self.platform.now();
                    match answer {
                        Ok(decision) => (Some(decision), None),
                        Err(error) => match rule.on_failure {
                            OnFailure::Local => (self.count_locally(key, rule, now), Some(error)),
                            OnFailure::Open | OnFailure::Closed => (None, Some(error)),
                        },
                    }
                }
            };
            self.conclude_limit(name, rule, decision, failure)?;
        }
        Ok(())
    }

    fn count_locally(&self, key: CounterKey, rule: &LimitRule, now: Timestamp) -> Option<Decision> {
        Some(self.isolate.counters.borrow_mut().take(key, &rule.quota, now))
    }

    fn conclude_limit(
        &mut self,
        name: &'static str,
        rule: &LimitRule,
        decision: Option<Decision>,
        failure: Option<PlatformError>,
    ) -> Result<(), Reject> {
        let shadow = rule.mode == Mode::Shadow;
        let refused = decision.is_some_and(|decision| !decision.allowed);
        let verdict = match (&decision, rule.on_failure) {
            (Some(_), _) if refused => "refuse",
            (Some(_), _) => "allow",
            (None, on_failure) => on_failure.as_str(),
        };
        self.record.stages.push(StageRecord {
            stage: name,
            verdict,
            rule: Some(rule.id.clone()),
            prefix: None,
            shadow,
            error: failure.as_ref().map(PlatformError::to_string),
        });
        if shadow {
            return Ok(());
        }
        let Some(decision) = decision else {
            return match (rule.on_failure, failure) {
                (OnFailure::Closed, Some(error)) => {
                    Err(Reject::new(Reason::CounterUnavailable).retry_after(1).cause(&error))
                }
                _ => Ok(()),
            };
        };
        // A refusal speaks for itself; else the one with the least left does.
        if refused || self.strictest.as_ref().is_none_or(|(least, _)| decision.remaining < *least) {
            self.strictest = Some((decision.remaining, rule.fields(&decision)));
        }
        if !refused {
            return Ok(());
        }
        let reject = Reject::new(Reason::RateLimited).retry_after(seconds_up(decision.retry_after).max(1));
        Err(match &rule.message {
            Some(message) => reject.detail(message.clone()),
            None => reject,
        })
    }

    /// The upstream's index, and the variant's name where it counts.
    fn canary<'r>(
        &mut self,
        route: &'r Route,
        identity: &Identity,
        secure: bool,
    ) -> (usize, Option<&'r str>) {
        let Some(stage) = &route.canary else {
            return (route.upstream, None);
        };
        let Some(choice) = stage.choose(identity, self.head, secure) else {
            return (route.upstream, None);
        };
        self.record.variant = Some(choice.variant.name.clone());
        let shadow = stage.mode == Mode::Shadow;
        if shadow {
            self.record.stages.push(StageRecord {
                stage: "canary",
                verdict: "choose",
                rule: Some(choice.variant.name.clone()),
                prefix: None,
                shadow,
                error: None,
            });
            return (route.upstream, None);
        }
        self.edits.extend(choice.set_cookie);
        (choice.variant.upstream, Some(&choice.variant.name))
    }

    fn key(&self, route: &Route, upstream: usize, variant: Option<&str>, target: &Target<'_>) -> String {
        let upstream = self.gateway.upstreams.get(upstream).map_or("", |upstream| upstream.name.as_str());
        let url = (target.scheme, &*target.authority(), target.as_sent);
        cache::key(&self.isolate.environment, &route.id, upstream, variant.unwrap_or_default(), url)
    }

    async fn lookup(
        &mut self,
        stage: &CacheStage,
        route: &Route,
        upstream: usize,
        variant: Option<&str>,
        target: &Target<'_>,
    ) -> Result<CacheState<P::Response>, Reject> {
        let plan = cache::plan(self.head, route.canary.as_ref().and_then(|canary| canary.cookie_name()));
        let key = self.key(route, upstream, variant, target);
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
    fn serve(&mut self, plan: &Plan, text: &str, stored: P::Response) -> Result<Reply<P::Response>, Forward> {
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

    fn note_store_failure(&mut self, error: &PlatformError) {
        self.record.stages.push(StageRecord {
            stage: "cache",
            verdict: "bypass",
            rule: None,
            prefix: None,
            shadow: false,
            error: Some(error.to_string()),
        });
    }

    async fn forward(
        &mut self,
        upstream: usize,
        target: &Target<'_>,
        identity: &Identity,
    ) -> Result<(P::Response, Timestamp), Reject> {
        // A checked policy has no index that leads nowhere.
        let upstream = self.gateway.upstreams.get(upstream).ok_or_else(|| Reject::new(Reason::NoRoute))?;
        self.record.upstream = Some(upstream.name.clone());
        let request = upstream.request(self.head, target, identity, &self.gateway.identity);
        let sent = self.platform.now();
        let answer = self.platform.fetch(self.head, &request).await;
        self.record.upstream_ms = Some(millis_of(self.platform.now().since(sent)));
        let response = answer.map_err(|error| {
            let reason = if error.timed_out { Reason::UpstreamTimeout } else { Reason::UpstreamUnreachable };
            Reject::new(reason).cause(&error)
        })?;
        let status = self.platform.status(&response);
        self.record.upstream_status = Some(status);
        if !upstream::is_acceptable(status, upstream::is_websocket(self.head)) {
            let cause = format!("the origin answered with status {status}, which is not a final one");
            let error = PlatformError::failed(Dependency::Origin, cause);
            return Err(Reject::new(Reason::UpstreamUnreachable).cause(&error));
        }
        self.record.verdict = Verdict::Forwarded;
        let connection = self.platform.field(&response, &http::header::CONNECTION);
        respond::hop_by_hop(connection.as_deref(), &self.gateway.identity.request_id_field, &mut self.edits);
        Ok((response, sent))
    }

    fn store(
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
                // allow says nothing about the next one.
                if plan.store {
                    self.isolate.unstorable.borrow_mut().mark(&key, now);
                }
                (response, Err(reason))
            }
        };
        self.edits.push(Edit::Set(CACHE_STATUS, cache::forward_status(forward, status, outcome)));
        response
    }

    /// The text of the entry, if the answer may be kept.
    fn entry(
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
    fn invalidate(&self, target: &Target<'_>) {
        if !self.gateway.has_cache {
            return;
        }
        let as_get = AsGet(self.head);
        let Some(route) =
            self.gateway.router.find(target, &as_get).and_then(|index| self.gateway.routes.get(index))
        else {
            return;
        };
        if route.cache.is_none() {
            return;
        }
        let mut keys = vec![self.key(route, route.upstream, None, target)];
        if let Some(canary) = &route.canary {
            keys.extend(
                canary
                    .variants
                    .iter()
                    .map(|variant| self.key(route, variant.upstream, Some(&variant.name), target)),
            );
        }
        self.platform.remove(keys);
    }
}

/// What the cache had.
enum CacheState<R> {
    /// The route has no cache.
    Off,
    /// The answer.
    Hit(Reply<R>),
    /// Not the answer.
    Miss { plan: Plan, key: String, forward: Forward, stage: CacheStage },
}

/// A request as if it were a GET.
struct AsGet<'a, H>(&'a H);

impl<H: Head> Head for AsGet<'_, H> {
    fn method(&self) -> &Method {
        &Method::GET
    }

    fn url(&self) -> &str {
        self.0.url()
    }

    fn field(&self, name: &HeaderName) -> Option<std::borrow::Cow<'_, str>> {
        self.0.field(name)
    }
}

fn logged_address(setting: ClientAddress, identity: &Identity) -> Option<String> {
    let address = identity.address;
    match setting {
        ClientAddress::Address => Some(address.to_string()),
        ClientAddress::Network => Prefix::containing(address, if address.is_ipv4() { 24 } else { 48 })
            .map(|prefix| prefix.to_string()),
        ClientAddress::None => None,
    }
}
