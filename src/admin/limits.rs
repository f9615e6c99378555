//! Counters of limits, for people: which are used most, what one says, and
//! setting it back.
//!
//! 1. Nothing that is looked at moves.
//! 2. A reset acts in the object at once, and in this isolate. Others may hold
//!    on to a refusal for ten seconds, and to what they have borrowed for five.
//! 3. What an isolate counts by itself is seen of this one alone.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Request;
use super::calls::{Done, read};
use super::problem::{Problem, Refusal};
use crate::error::{Dependency, PlatformError};
use crate::exchange::{Head as _, PlainHead};
use crate::explain::ExplainRequest;
use crate::explain::explanation::{KeyText, QuotaText, State};
use crate::platform::Platform;
use crate::policy::units::{Address, LimitName};
use crate::stages::rate_limit::algorithm::Decision;
use crate::stages::rate_limit::key::{Keyed, Subject};
use crate::stages::rate_limit::message::count::{Look, Message, Used};
use crate::stages::rate_limit::message::parse_key;
use crate::stages::rate_limit::{CounterKey, Counting, KeyPart, LimitRule};
use crate::stages::target::parse;
use crate::text::hex;
use crate::time::millis_of;

/// How long an object may take to answer.
const WAIT: Duration = Duration::from_secs(2);

/// The largest body, in bytes.
const BODY_LIMIT: usize = crate::explain::request::REQUEST_LIMIT;

/// The most counters that one call is about.
const COUNTERS_LIMIT: usize = 50;

/// The counters that are used most.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LimitList {
    /// The most used first.
    pub counters: Vec<UsedCounter>,
    /// How many of the objects did not answer.
    pub unanswered: usize,
}

/// One of them.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct UsedCounter {
    /// The counter: 32 hex digits.
    pub counter: String,
    /// Route and rule, and the key: what clients chose is hashed.
    pub label: String,
    /// What was charged or lent since its object began; it may be less by
    /// `error`.
    pub used: u64,
    /// How many requests its object refused. Isolates remember refusals and
    /// do not ask again.
    pub refused: u64,
    /// By how much `used` may be too large.
    pub error: u64,
}

impl From<Used> for UsedCounter {
    fn from(used: Used) -> Self {
        let Used { counter, label, used, refused, error } = used;
        Self { counter, label, used, refused, error }
    }
}

/// Which counters: those of a request; or of a client by itself, in every
/// route; or one by its name, with its rule.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct LimitCall {
    /// The request, as `explain` takes it.
    pub request: Option<ExplainRequest>,
    /// The client's address: the counters whose keys hold nothing else.
    pub client: Option<Address>,
    /// The counter: 32 hex digits.
    pub counter: Option<String>,
    /// Only this rule, as `RULE` or `ROUTE/RULE`.
    pub rule: Option<LimitName>,
}

/// Counters and their states.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LimitReport {
    /// At most 50.
    pub counters: Vec<CounterReport>,
}

/// One counter.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CounterReport {
    /// The route; missing for the entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// The rule.
    pub rule: String,
    /// The counter: 32 hex digits.
    pub counter: String,
    /// `local`, `exact` or `leased`.
    pub counting: &'static str,
    /// How much is allowed.
    pub quota: QuotaText,
    /// What has a count of its own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub key: Vec<KeyText>,
    /// The state; of a counter that was reset, the one before.
    pub state: State,
}

/// A counter that a call is about.
struct Meant<'a> {
    route: Option<&'a str>,
    rule: &'a LimitRule,
    key: CounterKey,
    parts: Vec<KeyText>,
}

impl<P: Platform> Request<'_, P> {
    pub(super) async fn limits(&self) -> Done<P> {
        let limit = self.number("limit")?.unwrap_or(20).clamp(1, 100);
        let limit = usize::try_from(limit).unwrap_or(100);
        let answers = self.platform.count_everywhere(&Message::Top(limit), WAIT).await;
        let unanswered = answers.iter().filter(|answer| answer.is_err()).count();
        let mut counters: Vec<UsedCounter> =
            answers.into_iter().flatten().flat_map(|answer| answer.top).map(UsedCounter::from).collect();
        counters.sort_by_key(|used| std::cmp::Reverse((used.used, used.refused)));
        counters.truncate(limit);
        Ok(Self::json(200, &LimitList { counters, unanswered }))
    }

    pub(super) async fn look_at_limits(&self) -> Done<P> {
        let call: LimitCall = read(&self.body(BODY_LIMIT).await?)?;
        let report = self.report(&call).await?;
        Ok(Self::json(200, &report))
    }

    pub(super) async fn reset_limits(&self) -> Done<P> {
        let call: LimitCall = read(&self.body(BODY_LIMIT).await?)?;
        let report = self.report(&call).await?;
        for counter in &report.counters {
            let Some(key) = parse_key(&counter.counter) else { continue };
            self.isolate.reset(key);
            if counter.counting != Counting::Local.as_str() {
                let done = self.platform.count(key.shard(), &Message::Reset(vec![key]), WAIT).await;
                done.map_err(|error| Problem::failed(Refusal::CounterUnavailable, &error))?;
            }
        }
        Ok(Self::json(200, &report))
    }

    async fn report(&self, call: &LimitCall) -> Result<LimitReport, Problem> {
        let named = [call.request.is_some(), call.client.is_some(), call.counter.is_some()];
        if named.into_iter().filter(|named| *named).count() != 1 {
            let detail = "Expected one of \"request\", \"client\" and \"counter\".";
            return Err(Problem::new(Refusal::InvalidBody).detail(detail));
        }
        let mut counters = Vec::new();
        for Meant { route, rule, key, parts } in self.meant(call)?.into_iter().take(COUNTERS_LIMIT) {
            counters.push(CounterReport {
                route: route.map(str::to_owned),
                rule: rule.id.clone(),
                counter: hex(key.0, 32),
                counting: rule.counting.as_str(),
                quota: QuotaText {
                    max: rule.quota.max(),
                    window_ms: millis_of(rule.quota.window()),
                    burst: rule.quota.burst(),
                },
                key: parts,
                state: match self.state_of(rule, key).await {
                    Ok(decision) => State::of(&decision),
                    Err(error) => State::Unknown { unknown: error.to_string() },
                },
            });
        }
        if counters.is_empty() {
            let detail = "No rule of the active policy has such a counter.";
            return Err(Problem::new(Refusal::NoSuchCounter).detail(detail));
        }
        Ok(LimitReport { counters })
    }

    async fn state_of(&self, rule: &LimitRule, key: CounterKey) -> Result<Decision, PlatformError> {
        let (quota, now) = (rule.quota, self.platform.now());
        match rule.counting {
            Counting::Local => Ok(self.isolate.peek(key, &quota, 1, now)),
            Counting::Exact | Counting::Leased => {
                let look = Look { key, quota, cost: 1 };
                self.platform.peek(None, &look, WAIT).await.map(|taken| taken.decision)
            }
            Counting::Platform => {
                let cause = "the runtime's own limiter cannot be looked at";
                Err(PlatformError::failed(Dependency::Counter, cause))
            }
        }
    }

    fn meant(&self, call: &LimitCall) -> Result<Vec<Meant<'_>>, Problem> {
        let gateway = &*self.snapshot.gateway;
        let is_named = |route: Option<&str>, rule: &LimitRule| {
            call.rule.as_ref().is_none_or(|name| name.names(route.unwrap_or_default(), &rule.id))
        };
        let entry = gateway.entry_rate_limit.rules.iter().map(|rule| (None, rule));
        let of_routes = gateway
            .routes
            .iter()
            .flat_map(|route| route.rate_limit.rules.iter().map(move |rule| (Some(route), rule)));
        let rules = entry.chain(of_routes).map(|(route, rule)| (route, route.map(|route| &*route.id), rule));
        let rules = rules.filter(|(_, id, rule)| is_named(*id, rule));
        if let Some(counter) = &call.counter {
            let key = parse_key(&counter.to_ascii_lowercase()).ok_or_else(|| {
                Problem::new(Refusal::InvalidBody).detail("Expected \"counter\" to be 32 hex digits.")
            })?;
            let mut meant: Vec<_> =
                rules.map(|(_, route, rule)| Meant { route, rule, key, parts: Vec::new() }).collect();
            if call.rule.is_none() || meant.len() != 1 {
                let detail =
                    "Expected \"rule\" to name the one rule whose counter it is, such as \"ROUTE/RULE\".";
                return Err(Problem::new(Refusal::InvalidBody).detail(detail));
            }
            meant.truncate(1);
            return Ok(meant);
        }
        let (head, is_whole) = match (&call.request, &call.client) {
            (Some(request), _) => (request.head(&gateway.identity), true),
            (None, Some(client)) => {
                let fields = vec![(gateway.identity.peer_field.clone(), client.0.to_string())];
                (PlainHead { fields, ..PlainHead::default() }, false)
            }
            (None, None) => return Ok(Vec::new()),
        };
        let identity = gateway
            .identity
            .identify(&head, 0)
            .map_err(|_| Problem::new(Refusal::InvalidBody).detail("Nobody could say who the client is."))?;
        let target = parse(head.url(), head.field(&http::header::HOST).as_deref()).ok();
        let found = target.as_ref().and_then(|target| gateway.router.find(target, &head));
        let found = found.and_then(|index| gateway.routes.get(index)).map(|route| route.id.as_str());
        let mut meant = Vec::new();
        for (route, id, rule) in rules {
            if is_whole && id.is_some() && id != found {
                continue;
            }
            let of_client =
                |part: &KeyPart| matches!(part, KeyPart::Client | KeyPart::Address | KeyPart::Route);
            if !is_whole && !rule.key().iter().all(of_client) {
                continue;
            }
            let canary = route.and_then(|route| route.canary.as_ref());
            let subject =
                Subject { identity: &identity, head: &head, tags: &[], target: target.as_ref(), canary };
            let Keyed::Counter(key) = rule.counter(&subject) else { continue };
            let parts = rule.parts(&subject).map(|(part, value)| KeyText { part, value });
            meant.push(Meant { route: id, rule, key, parts: parts.collect() });
        }
        Ok(meant)
    }
}
