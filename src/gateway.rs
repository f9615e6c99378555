//! The journey of a request, and nothing else. The order is a security
//! property, so it is code, with the reason beside each step: see `travel`.
//! The steps that refuse are in `limits`, those that ask the cache in
//! `answers`.

mod answers;
pub mod bans;
mod bypass_token;
mod changes;
mod collapsing;
pub mod inspect;
mod limits;
mod parts;
mod peek;
mod purging;
mod rate;
pub mod revalidation;
pub mod settle;
mod storing;
mod tiers;
pub mod warm;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use self::answers::{CacheState, Way};
pub(crate) use self::purging::tags;
use self::revalidation::Revalidation;
use self::settle::{Charged, Overload, Settlements};
use http::header::HeaderName;
use siphasher::sip::SipHasher13;

use crate::admin::tokens::{Caller, Tokens};
use crate::admin::{self, Answered};
use crate::control::{self, Health};
use crate::error::{Dependency, PlatformError, Reason, Reject};
use crate::exchange::{Edit, Head, Reply};
use crate::observe::record::{ClientAddress, Record, StageRecord, Verdict};
use crate::platform::Platform;
use crate::policy::snapshot::Snapshot;
use crate::policy::{Gateway, Route};
use crate::stages::bans::offences::{self, Offences};
use crate::stages::bans::{BanTable, table};
use crate::stages::cache::bypass_token::BypassKey;
use crate::stages::cache::collapser::Lead;
use crate::stages::cache::demand::SETTLED_MILLIS;
use crate::stages::cache::flights::Flights;
use crate::stages::cache::global::Removed;
use crate::stages::cache::hit_for_miss::HitForMiss;
use crate::stages::cache::memory::Memory;
use crate::stages::canary::CanaryStage;
use crate::stages::identity::Identity;
use crate::stages::ip_filter::prefix::Prefix;
use crate::stages::rate_limit::RateLimitStage;
use crate::stages::rate_limit::holder::Holder;
use crate::stages::rate_limit::key::Subject;
use crate::stages::rate_limit::table::CounterTable;
use crate::stages::target::{Target, parse};
use crate::stages::{Mode, respond, upstream};
use crate::text;
use crate::time::{Timestamp, millis_of};

/// How many clients of `/_weir/` are counted.
const CONTROL_CAPACITY: usize = 5_000;

/// For how long nobody else asks the origin about a stored answer, in
/// milliseconds.
const REVALIDATION: u64 = 10_000;

/// What may be bound to an isolate, and does without else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bound {
    /// A store of answers for all locations: the tier `global`.
    pub global: bool,
    /// Objects that collapse misses across isolates.
    pub collapser: bool,
}

/// What an isolate keeps between requests, all of it bounded.
#[derive(Debug)]
pub struct Isolate {
    counters: RefCell<CounterTable>,
    /// For `/_weir/`, apart: a flood of keys must not shut an operator out.
    control_counters: RefCell<CounterTable>,
    unstorable: RefCell<HitForMiss>,
    /// The near tier of the cache.
    memory: RefCell<Memory>,
    /// What has been removed that all locations keep.
    removed: RefCell<Removed>,
    /// The keys for which the origin is being asked.
    flights: RefCell<Flights>,
    /// When an object that collapses last failed to answer.
    silent: Cell<Option<Timestamp>>,
    /// What is bound that need not be.
    bound: Bound,
    /// Stored answers about which somebody has begun to ask the origin.
    revalidated: RefCell<HitForMiss>,
    /// Those about which the origin has just been asked for a client's sake.
    demanded: RefCell<HitForMiss>,
    /// Those that are to be asked about after the response.
    revalidations: RefCell<VecDeque<Revalidation>>,
    /// Bans that came about since the last manifest.
    bans: RefCell<BanTable>,
    /// What triggers of bans count.
    offences: RefCell<Offences>,
    /// What is borrowed of shared counters.
    pub holder: RefCell<Holder>,
    /// What is to be said to shared counters after the response.
    settlements: RefCell<Settlements>,
    /// Which objects fail.
    overload: RefCell<Overload>,
    /// The environment's name: part of every cache key.
    pub environment: String,
    /// Who may use the admin API.
    pub tokens: Tokens,
    /// Who may pass the cache.
    bypass_key: Option<BypassKey>,
    /// Rejected attempts to use it.
    pub rejections: RefCell<CounterTable>,
    /// A name that tells it apart from others, for people.
    pub id: String,
    /// The sequence of a change of the policy that went through here.
    pub changed: Cell<Option<u64>>,
    /// Lines for the log about what requests to the admin API brought about.
    pub notes: RefCell<Vec<String>>,
}

impl Isolate {
    /// An isolate that has just begun. `seed` is random.
    #[must_use]
    pub fn new(environment: &str, seed: u64) -> Self {
        Self {
            counters: RefCell::new(CounterTable::default()),
            control_counters: RefCell::new(CounterTable::with_capacity(CONTROL_CAPACITY)),
            unstorable: RefCell::new(HitForMiss::new(seed)),
            memory: RefCell::new(Memory::new(seed)),
            removed: RefCell::new(Removed::new(seed)),
            flights: RefCell::default(),
            silent: Cell::new(None),
            bound: Bound::default(),
            revalidated: RefCell::new(HitForMiss::with_lifetime(seed, REVALIDATION)),
            demanded: RefCell::new(HitForMiss::with_lifetime(seed, SETTLED_MILLIS)),
            revalidations: RefCell::default(),
            bans: RefCell::new(BanTable::new(table::CAPACITY, seed)),
            offences: RefCell::new(Offences::new(offences::CAPACITY, seed)),
            holder: RefCell::new(Holder::new(seed)),
            settlements: RefCell::default(),
            overload: RefCell::default(),
            environment: environment.to_owned(),
            tokens: Tokens::default(),
            bypass_key: None,
            rejections: RefCell::new(CounterTable::with_capacity(CONTROL_CAPACITY)),
            id: name_of(seed),
            changed: Cell::new(None),
            notes: RefCell::default(),
        }
    }

    /// What the policy asks for and is not bound.
    #[must_use]
    pub fn missing(&self, gateway: &Gateway) -> Option<&'static str> {
        let mut caches = gateway.routes.iter().filter_map(|route| route.cache.as_ref());
        (!self.bound.global && caches.any(|stage| stage.global.is_some()))
            .then_some("the binding CACHE is missing: the tier global is left out")
    }

    /// With these.
    #[must_use]
    pub fn with_bound(self, bound: Bound) -> Self {
        Self { bound, ..self }
    }

    /// With an admin API for these.
    #[must_use]
    pub fn with_tokens(self, tokens: Tokens) -> Self {
        Self { tokens, ..self }
    }
}

/// A name made of the seed, which it does not tell.
fn name_of(seed: u64) -> String {
    text::hex(SipHasher13::new_with_keys(seed, 2).hash(b"isolate").into(), 16)
}

/// The policy that an isolate acts on.
#[derive(Clone, Copy, Debug)]
pub struct Acting<'a> {
    /// The policy. Where there is none, one that serves nothing: what is ours
    /// answers all the same, or nobody could push a first one.
    pub snapshot: &'a Snapshot,
    /// Whether that is a policy at all.
    pub available: bool,
    /// Why it is not the one that it should be.
    pub degraded: Option<&'a str>,
}

impl Acting<'_> {
    fn health(&self) -> Health<'_> {
        Health {
            available: self.available,
            degraded: self.degraded,
            revision: &self.snapshot.revision,
            alerts: &self.snapshot.alerts,
        }
    }
}

/// One request on its way.
struct Journey<'a, P: Platform> {
    gateway: &'a Gateway,
    acting: &'a Acting<'a>,
    isolate: &'a Isolate,
    platform: &'a P,
    head: &'a P::Request,
    arrived: Timestamp,
    /// What the answer gets, whoever makes it.
    edits: Vec<Edit>,
    /// The limit that speaks in the RateLimit fields: the one with the least
    /// left.
    strictest: Option<(u32, Vec<Edit>)>,
    /// The limits of the route.
    route_limits: Option<&'a RateLimitStage>,
    /// What is settled after the response.
    charged: Vec<Charged<'a>>,
    /// What the origin says that the request has cost, by field.
    costs: Vec<(HeaderName, u32)>,
    /// The labels that `ip_filter` gave.
    tags: Vec<String>,
    /// Whether the guard list holds the client.
    guarded: bool,
    /// The client, where its offences are counted.
    client: Option<Prefix>,
    /// The triggers of bans that count the limit that refused, each a bit.
    tripped: u32,
    /// For whom the origin is asked besides.
    lead: Cell<Option<Lead>>,
    record: Record,
}

/// Takes a request through the journey. Never fails: whatever happens, there
/// is a reply and a record. `fresh` is 128 random bits.
pub async fn handle<P: Platform>(
    acting: &Acting<'_>,
    isolate: &Isolate,
    platform: &P,
    head: &P::Request,
    fresh: u128,
) -> (Reply<P::Response>, Record) {
    let mut journey = Journey::new(acting, isolate, platform, head);
    let arrived = journey.arrived;
    if acting.available {
        journey.record.revision = Some(acting.snapshot.revision.clone());
    }
    let result = journey.travel(arrived, fresh).await;
    let reply = journey.respond(result);
    let ended = platform.now();
    journey.record.duration_ms = millis_of(ended.since(arrived));
    // Last, since the final status counts, whoever gave it.
    journey.count_offences(ended);
    journey.settle_charges(ended);
    (reply, journey.record)
}

impl<'a, P: Platform> Journey<'a, P> {
    /// One that begins now.
    fn new(acting: &'a Acting<'a>, isolate: &'a Isolate, platform: &'a P, head: &'a P::Request) -> Self {
        let arrived = platform.now();
        Self {
            gateway: &acting.snapshot.gateway,
            acting,
            isolate,
            platform,
            head,
            arrived,
            edits: Vec::new(),
            strictest: None,
            route_limits: None,
            charged: Vec::new(),
            costs: Vec::new(),
            tags: Vec::new(),
            guarded: false,
            client: None,
            tripped: 0,
            lead: Cell::new(None),
            record: Record::new(arrived, head.method().as_str()),
        }
    }

    /// The stages in order.
    async fn travel(&mut self, arrived: Timestamp, fresh: u128) -> Result<Reply<P::Response>, Reject> {
        let gateway = self.gateway;
        // The target is read before anything else, so that every log line can
        // name it; what is wrong with it is answered only after the entry
        // rules, so a scanner that sends garbage meets them too.
        let host_field = self.head.field(&http::header::HOST);
        let target = parse(self.head.url(), host_field.as_deref());
        if let Ok(target) = &target {
            self.record.host = Some(target.authority().into_owned());
            self.record.set_path(target.path_as_sent());
        } else {
            // What was refused is what an operator looks for.
            let url = self.head.url().split_once("://").map_or("", |(_, rest)| rest);
            let path = url.find('/').and_then(|start| url.get(start..)).unwrap_or_default();
            self.record.set_path(path.split_once('?').map_or(path, |(before, _)| before));
        }

        // 1 identity: first, because everything after it is counted and
        // judged by who is calling.
        let identity = gateway.identity.identify(self.head, fresh);
        let ours = target.as_ref().is_ok_and(|target| control::is_ours(&target.path));
        if let Ok(identity) = &identity {
            self.record.request_id = Some(identity.request_id.clone());
            self.record.trace_id = Some(identity.trace.trace_id.clone());
            self.record.client = logged_address(gateway.logged_address, identity);
            if identity.chain.is_fallback() {
                self.record.stages.push(StageRecord::of("identity", identity.chain.as_str()));
            }
        } else {
            self.record.request_id = Some(text::hex(fresh, 32));
        }
        // A policy that asks for an address that nobody sends must not lock an
        // operator out either: a token says who that is.
        let identity = match identity {
            Err(_) if ours => gateway.identity.unknown(fresh),
            identity => identity?,
        };

        // 2 control: ours, and before entry and routes, so that no rule can
        // lock an operator out. It has a limit of its own.
        if let Ok(target) = &target
            && ours
        {
            // Whoever brings a good token has a limit of his own: others
            // behind his address cannot use his up.
            let authorization = self.head.field(&http::header::AUTHORIZATION);
            let caller = self.isolate.tokens.caller(authorization.as_deref(), arrived);
            self.control_limit(&identity, caller.token(), arrived)?;
            // Boxed: what the admin API keeps while it waits must not make
            // every journey as large.
            return Box::pin(self.ours(target, &identity, caller, fresh)).await;
        }
        // Closed: without a policy there is nothing that could allow a
        // request.
        if !self.acting.available {
            self.record.error = self.acting.degraded.map(str::to_owned);
            return Err(Reject::new(Reason::NoPolicy).retry_after(5));
        }

        // 3 entry: before the route, so scanners of paths that nobody serves
        // meet bans and limits too. Addresses first: they cost nothing, and
        // what is refused here is not counted.
        // What the guard list holds is past every refusal by address.
        let guarded = !gateway.guard.is_empty() && gateway.guard.longest(identity.address).is_some();
        self.guarded = guarded;
        // Where the peer stands in for a client that nobody knows, offences are
        // no one's: a stranger would get a hop of ours banned.
        self.client = (!identity.chain.is_fallback()).then_some(identity.network);
        // Bans before rules: an allow rule is no way past one.
        self.banned(&identity, arrived)?;
        if let Some(filter) = &gateway.entry_ip_filter {
            self.ip_filter("entry.ip_filter", filter, &identity, guarded)?;
        }
        if !gateway.entry_rate_limit.rules.is_empty() {
            let tags = self.tags.clone();
            let subject = subject(&identity, self.head, &tags, target.as_ref().ok(), None);
            self.rate_limit("entry.rate_limit", &gateway.entry_rate_limit, &subject).await?;
        }

        // 4 route: by the normal form of what will be sent, never by what was
        // written.
        let target = target?;
        let (_, route) = gateway.find_route(&target, self.head)?;
        self.record.route = Some(route.id.clone());
        // A loop costs every hop of it, so it ends before anything is spent.
        upstream::refuse_loop(self.head, &gateway.identity.cdn_id)?;

        // 5 ip_filter: the cheapest rule of the route goes first.
        if let Some(filter) = &route.ip_filter {
            self.ip_filter("ip_filter", filter, &identity, guarded)?;
        }

        // 7 rate_limit: after the filter, so that the refused use up nobody's
        // quota; before the cache, so that hits count too.
        self.route_limits = Some(&route.rate_limit);
        if !route.rate_limit.rules.is_empty() {
            let tags = self.tags.clone();
            let subject = subject(&identity, self.head, &tags, Some(&target), route.canary.as_ref());
            self.rate_limit("rate_limit", &route.rate_limit, &subject).await?;
        }

        // 11 canary: before the cache, since the variant is part of its key.
        let (upstream, variant) = self.canary(route, &identity, target.scheme == "https");

        // 12 cache: after every check, so that a stored answer is no way
        // around one.
        let way = Way { route, upstream, variant, target: &target, identity: &identity };
        let state = match &route.cache {
            Some(stage) => self.look(stage, &way).await?,
            None => CacheState::Off,
        };

        // 13 upstream, 14 cache: nothing is left to ask but the origin; what
        // may be kept of what it says is kept, and a change undoes what was.
        // 15 respond: the head of the answer, see `respond`.
        self.ask_origin(state, &way).await
    }

    /// 2 control: what lies under `/_weir/`.
    async fn ours(
        &mut self,
        target: &Target<'_>,
        identity: &Identity,
        caller: Caller<'_>,
        fresh: u128,
    ) -> Result<Reply<P::Response>, Reject> {
        let health = self.acting.health();
        if !admin::is_ours(&target.path) {
            let is_reader = caller.token().is_some();
            return control::answer(self.head.method(), &target.path, &health, is_reader).map(Reply::Answer);
        }
        let request = admin::Request {
            platform: self.platform,
            head: self.head,
            target,
            identity,
            caller,
            snapshot: self.acting.snapshot,
            health,
            isolate: self.isolate,
            fresh,
            failure: RefCell::default(),
        };
        let Answered { reply, refusal, cause } = request.answer().await;
        if let Some(refusal) = refusal {
            self.record.reason = Some(refusal.as_str());
            self.record.verdict = if refusal.is_failure() { Verdict::Failed } else { Verdict::Refused };
        }
        self.record.error = cause;
        Ok(reply)
    }

    /// 15 respond: the same additions whoever made the answer.
    fn respond(&mut self, result: Result<Reply<P::Response>, Reject>) -> Reply<P::Response> {
        self.record.tags = std::mem::take(&mut self.tags);
        let request_id = self.record.request_id.clone();
        let id_field = self.gateway.identity.request_id_field.clone();
        let mut edits = std::mem::take(&mut self.edits);
        if let Some((_, fields)) = self.strictest.take() {
            edits.extend(fields);
        }
        let name = request_id.clone().map(|id| Edit::Set(id_field, id));
        let mut answer = match result {
            Ok(Reply::Native(response, more)) => {
                self.record.status = self.platform.status(&response);
                edits.extend(more);
                // Last: of answers from memory it is as a rule all that differs.
                edits.extend(name);
                return Reply::Native(response, edits);
            }
            Ok(Reply::Answer(answer)) => answer,
            Err(reject) => {
                self.record.reason = Some(reject.reason.as_str());
                self.record.verdict =
                    if reject.reason.is_failure() { Verdict::Failed } else { Verdict::Refused };
                let answer = respond::problem(&reject, request_id.as_deref());
                self.record.error = reject.cause.or_else(|| self.record.error.take());
                answer
            }
        };
        self.record.status = answer.status;
        edits.push(respond::dated(self.platform.now()));
        edits.extend(name);
        respond::apply(&mut answer, edits);
        Reply::Answer(answer)
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

    async fn forward(
        &mut self,
        upstream: usize,
        target: &Target<'_>,
        identity: &Identity,
        edits: Vec<Edit>,
    ) -> Result<(P::Response, Timestamp), Reject> {
        // A checked policy has no index that leads nowhere.
        let upstream = self.gateway.upstreams.get(upstream).ok_or_else(|| Reject::new(Reason::NoRoute))?;
        self.record.upstream = Some(upstream.name.clone());
        let mut request = upstream.request(self.head, target, identity, &self.gateway.identity);
        request.edits.extend(edits);
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
        self.hear_cost(&response);
        let connection = self.platform.field(&response, &http::header::CONNECTION);
        respond::hop_by_hop(connection.as_deref(), &self.gateway.identity.request_id_field, &mut self.edits);
        // RFC 9110, 6.6.1: who passes an answer on that does not say when it was
        // made, says when it came.
        if status >= 200 && self.platform.field(&response, &http::header::DATE).is_none() {
            self.edits.push(respond::dated(self.platform.now()));
        }
        Ok((response, sent))
    }
}

/// As much of an address as `client_address: network` lets be logged.
fn logged_network(address: std::net::IpAddr) -> Option<Prefix> {
    Prefix::containing(address, if address.is_ipv4() { 24 } else { 48 })
}

/// The request, as limits look at it.
fn subject<'a, H>(
    identity: &'a Identity,
    head: &'a H,
    tags: &'a [String],
    target: Option<&'a Target<'a>>,
    canary: Option<&'a CanaryStage>,
) -> Subject<'a, H> {
    Subject { identity, head, tags, target, canary }
}

fn logged_address(setting: ClientAddress, identity: &Identity) -> Option<String> {
    let address = identity.address;
    match setting {
        ClientAddress::Address => Some(text::address(address)),
        ClientAddress::Network => logged_network(address).map(|prefix| prefix.to_string()),
        ClientAddress::None => None,
    }
}
