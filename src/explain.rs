//! What would become of a request, and why: the verdict of every stage in
//! the order of the journey.
//!
//! 1. It walks the stages as `gateway` does, with the same pure functions;
//!    property tests hold the two together.
//! 2. Nothing is sent and no counter moves: counts are looked at, by
//!    [`CounterPeek`] and in the isolate.
//! 3. A count that cannot be read is `unknown`, with the reason. The walk goes
//!    on as if the request passed, and the whole is `uncertain`.
//! 4. What a stored answer would say is not known: a lookup is where the
//!    explanation parts with `cached-possible`.
//! 5. Values of fields that carry credentials are left out.

mod describe;
pub mod explanation;
pub mod request;
mod steps;
mod text;

use std::time::Duration;

pub(crate) use self::describe::shown;
use self::explanation::{Asked, Explanation, Outcome, Stage};
pub use self::request::ExplainRequest;
use crate::control;
use crate::error::{Dependency, PlatformError, Reject};
use crate::exchange::{Edit, Head, PlainHead};
use crate::gateway::Isolate;
use crate::platform::{Clock, CounterPeek};
use crate::policy::Gateway;
use crate::stages::bans::BanSet;
use crate::stages::ip_filter::Sets;
use crate::stages::ip_filter::prefix::Prefix;
use crate::stages::rate_limit::key::Subject;
use crate::stages::rate_limit::message::Taken;
use crate::stages::rate_limit::message::count::Look;
use crate::stages::target::parse;
use crate::time::Timestamp;

/// The stages, in the order of the journey.
pub const STAGES: [&str; 11] = [
    "identity",
    "control",
    "entry.bans",
    "entry.ip_filter",
    "entry.rate_limit",
    "route",
    "ip_filter",
    "rate_limit",
    "canary",
    "cache",
    "upstream",
];

/// What a request is explained against.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The policy: the active one, or a candidate.
    pub gateway: &'a Gateway,
    /// The address sets, with the stored ones that there are now.
    pub sets: Sets<'a>,
    /// The bans of the manifest.
    pub bans: Option<&'a BanSet>,
    /// Its revision, or what else it is called.
    pub revision: &'a str,
    /// Whose local counters and bans are looked at.
    pub isolate: &'a Isolate,
    /// 128 random bits, as a request gets: what is new about it is made of
    /// them.
    pub fresh: u128,
}

/// No counters: where there is no platform, on a command line.
#[derive(Clone, Copy, Debug)]
pub struct Nowhere {
    /// The time.
    pub now: Timestamp,
}

impl Clock for Nowhere {
    fn now(&self) -> Timestamp {
        self.now
    }
}

impl CounterPeek for Nowhere {
    async fn peek(&self, _: Option<Prefix>, _: &Look, _: Duration) -> Result<Taken, PlatformError> {
        Err(PlatformError::failed(Dependency::Counter, "there are no exact counters here"))
    }
}

/// Explains. Never fails: what is wrong with a request is part of it.
pub async fn explain<P: Clock + CounterPeek>(
    request: &ExplainRequest,
    context: &Context<'_>,
    platform: &P,
) -> Explanation {
    let head = request.head(&context.gateway.identity);
    let asked = Asked { method: head.method.to_string(), url: head.url.clone(), host: None, path: None };
    let explanation = Explanation {
        verdict: Outcome::Forwarded,
        status: None,
        reason: None,
        detail: None,
        retry_after: None,
        uncertain: false,
        revision: context.revision.to_owned(),
        request: asked,
        route: None,
        variant: None,
        upstream: None,
        stages: Vec::with_capacity(STAGES.len()),
    };
    let mut walk = Walk {
        context: *context,
        platform,
        head: &head,
        tags: Vec::new(),
        shape: Shape::default(),
        explanation,
    };
    let result = walk.travel().await;
    walk.conclude(result)
}

/// One request on its way through the rules alone.
struct Walk<'a, P> {
    context: Context<'a>,
    platform: &'a P,
    head: &'a PlainHead,
    /// The labels that `ip_filter` gave.
    tags: Vec<String>,
    /// How the cache shapes what the origin gets.
    shape: Shape,
    explanation: Explanation,
}

/// What the origin gets so that its answer can be stored.
#[derive(Default)]
struct Shape {
    target: Option<String>,
    removals: Vec<Edit>,
}

impl<P: Clock + CounterPeek> Walk<'_, P> {
    /// The same order as `gateway::Journey::travel`, where the reasons stand.
    async fn travel(&mut self) -> Result<Outcome, Reject> {
        let gateway = self.context.gateway;
        let head = self.head;
        let target = parse(&head.url, head.field(&http::header::HOST).as_deref());
        if let Ok(target) = &target {
            self.explanation.request.host = Some(target.authority().into_owned());
            self.explanation.request.path = Some(target.path.clone());
        }
        // 1 identity
        let ours = target.as_ref().is_ok_and(|target| control::is_ours(&target.path));
        let identity = self.identity(ours)?;
        // 2 control
        if let Ok(target) = &target
            && ours
        {
            return self.control(&identity, target);
        }
        self.push(Stage { stage: "control", verdict: "pass", ..Stage::default() });
        // 3 entry
        let guarded = !gateway.guard.is_empty() && gateway.guard.longest(identity.address).is_some();
        self.bans(&identity, guarded)?;
        self.ip_filter("entry.ip_filter", gateway.entry_ip_filter.as_ref(), &identity, guarded)?;
        let tags = self.tags.clone();
        let subject =
            Subject { identity: &identity, head, tags: &tags, target: target.as_ref().ok(), canary: None };
        self.rate_limit("entry.rate_limit", &gateway.entry_rate_limit, &subject, guarded).await?;
        // 4 route
        let (target, route) = self.route(target)?;
        // 5 ip_filter
        self.ip_filter("ip_filter", route.ip_filter.as_ref(), &identity, guarded)?;
        // 7 rate_limit
        let tags = self.tags.clone();
        let canary = route.canary.as_ref();
        let subject = Subject { identity: &identity, head, tags: &tags, target: Some(&target), canary };
        self.rate_limit("rate_limit", &route.rate_limit, &subject, guarded).await?;
        // 11 canary
        let (upstream, variant) = self.canary(route, &identity, target.scheme == "https");
        // 12 cache
        let (outcome, goes_on) = self.cache(route, upstream, variant, &target, &identity)?;
        // 13 upstream
        if goes_on {
            self.upstream(upstream, &target, &identity)?;
        }
        Ok(outcome)
    }

    fn conclude(mut self, result: Result<Outcome, Reject>) -> Explanation {
        match result {
            Ok(outcome) => self.explanation.verdict = outcome,
            Err(reject) => {
                self.explanation.verdict = Outcome::Refused;
                self.explanation.status = Some(reject.status());
                self.explanation.reason = Some(reject.reason.as_str());
                self.explanation.detail = reject.detail.map(std::borrow::Cow::into_owned);
                self.explanation.retry_after = reject.retry_after;
            }
        }
        let left = STAGES.iter().skip(self.explanation.stages.len());
        let not_reached = left.map(|stage| Stage { stage, verdict: "not-reached", ..Stage::default() });
        self.explanation.stages.extend(not_reached);
        self.explanation
    }
}
