//! Counters of limits, for people: which are used most, what one says, and
//! setting it back.
//!
//! 1. Nothing that is looked at moves.
//! 2. A reset acts in the object at once, and in this isolate. Others may hold
//!    on to a refusal for ten seconds, and to what they have borrowed for five.
//! 3. What an isolate counts by itself is seen of this one alone.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Request;
use super::calls::{Done, read};
use super::problem::{Problem, Refusal};
use super::tokens::Token;
use crate::error::{Dependency, PlatformError};
use crate::exchange::{Head as _, PlainHead};
use crate::explain::ExplainRequest;
use crate::explain::explanation::{KeyText, QuotaText, State};
use crate::platform::Platform;
use crate::policy::units::{Address, LimitName};
use crate::stages::identity::Identity;
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

/// The most rules that the audit log names for one reset.
const RULES_NAMED: usize = 5;

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
/// route; or one of a rule by what its key holds; or one by its name, with its
/// rule.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct LimitCall {
    /// The request, as `explain` takes it.
    pub request: Option<ExplainRequest>,
    /// The client's address: the counters whose keys hold nothing else; with
    /// `key`, what parts of the client stand for.
    pub client: Option<Address>,
    /// What the key of `rule` holds, every part but `client`, `address` and
    /// `route`. At most 8.
    #[cfg_attr(feature = "schema", schemars(length(max = 8)))]
    pub key: Vec<KeyValue>,
    /// The counter: 32 hex digits.
    pub counter: Option<String>,
    /// Only this rule, as `RULE` or `ROUTE/RULE`.
    pub rule: Option<LimitName>,
}

/// A part of a key and its value.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct KeyValue {
    /// The part, as the policy has it.
    pub part: KeyPart,
    /// Its value in requests; empty where they lack it. Labels of `tag` are
    /// sorted and joined with commas.
    pub value: String,
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

    pub(super) async fn reset_limits(&self, token: &Token) -> Done<P> {
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
        self.done("reset-limits", token, &summary(&report)).await;
        Ok(Self::json(200, &report))
    }

    async fn report(&self, call: &LimitCall) -> Result<LimitReport, Problem> {
        let by_values = call.client.is_some() || !call.key.is_empty();
        let named = [call.request.is_some(), by_values, call.counter.is_some()];
        if named.into_iter().filter(|named| *named).count() != 1 {
            return Err(unfit("Expected one of \"request\", \"client\" or \"key\", and \"counter\"."));
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
            let key = parse_key(&counter.to_ascii_lowercase())
                .ok_or_else(|| unfit("Expected \"counter\" to be 32 hex digits."))?;
            let mut meant: Vec<_> =
                rules.map(|(_, route, rule)| Meant { route, rule, key, parts: Vec::new() }).collect();
            if call.rule.is_none() || meant.len() != 1 {
                return Err(unfit(ONE_RULE));
            }
            meant.truncate(1);
            return Ok(meant);
        }
        let head = match (&call.request, &call.client) {
            (Some(request), _) => request.head(&gateway.identity),
            (None, Some(client)) => {
                let fields = vec![(gateway.identity.peer_field.clone(), client.0.to_string())];
                PlainHead { fields, ..PlainHead::default() }
            }
            (None, None) => PlainHead::default(),
        };
        let identity = gateway.identity.identify(&head, 0);
        if call.request.is_none() {
            let identity = call.client.as_ref().map(|_| identity).transpose().map_err(|_| unfit(NOBODY))?;
            return of_values(rules.map(|(_, id, rule)| (id, rule)), identity.as_ref(), call);
        }
        let identity = identity.map_err(|_| unfit(NOBODY))?;
        let target = parse(head.url(), head.field(&http::header::HOST).as_deref()).ok();
        let found = target.as_ref().and_then(|target| gateway.router.find(target, &head));
        let found = found.and_then(|index| gateway.routes.get(index)).map(|route| route.id.as_str());
        let mut meant = Vec::new();
        for (route, id, rule) in rules {
            if id.is_some() && id != found {
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

const ONE_RULE: &str = "Expected \"rule\" to name the one rule whose counter it is, such as \"ROUTE/RULE\".";

const NOBODY: &str = "Nobody could say who the client is.";

/// The most parts of a key.
const PARTS_LIMIT: usize = 8;

fn unfit(detail: impl Into<Cow<'static, str>>) -> Problem {
    Problem::new(Refusal::InvalidBody).detail(detail)
}

/// The counters of a client by itself, or the one of these values.
fn of_values<'a>(
    rules: impl Iterator<Item = (Option<&'a str>, &'a LimitRule)>,
    identity: Option<&Identity>,
    call: &LimitCall,
) -> Result<Vec<Meant<'a>>, Problem> {
    let rules: Vec<_> = rules.collect();
    let is_one = !call.key.is_empty();
    if is_one && (call.rule.is_none() || rules.len() > 1) {
        return Err(unfit(ONE_RULE));
    }
    if call.key.len() > PARTS_LIMIT {
        return Err(unfit("Expected \"key\" to have at most 8 parts."));
    }
    let values: Vec<_> = call.key.iter().map(|given| (given.part.clone(), given.value.clone())).collect();
    let mut lacking = None;
    let mut meant = Vec::new();
    for (route, rule) in rules {
        if let Some((strange, _)) = values.iter().find(|(part, _)| !rule.key().contains(part)) {
            let detail = format!("\"{}\" does not count by {}.", rule.id, strange.label());
            return Err(unfit(detail));
        }
        match rule.counter_of(identity, &values) {
            Ok(Keyed::Counter(key)) => {
                let parts = rule.parts_of(identity, &values).map(|(part, value)| KeyText { part, value });
                meant.push(Meant { route, rule, key, parts: parts.collect() });
            }
            Ok(Keyed::Skip | Keyed::Refuse) => {}
            Err(part) => lacking = lacking.or(Some((rule, part))),
        }
    }
    // Of several rules those are meant that count nothing else.
    match lacking.filter(|_| meant.is_empty() && call.rule.is_some()) {
        Some((rule, KeyPart::Client | KeyPart::Address)) => {
            let detail = format!("\"{}\" counts by the client: give \"client\", too.", rule.id);
            Err(unfit(detail))
        }
        Some((rule, part)) => {
            let (id, part) = (&rule.id, part.label());
            let detail = format!("\"{id}\" counts by {part}: give its value in \"key\", or a \"request\".");
            Err(unfit(detail))
        }
        None => Ok(meant),
    }
}

/// How many, and of which rules. The counters themselves are keyed by what
/// clients sent.
fn summary(report: &LimitReport) -> String {
    let mut rules: Vec<String> = report
        .counters
        .iter()
        .map(|counter| counter.route.iter().chain([&counter.rule]).cloned().collect::<Vec<_>>().join("/"))
        .collect();
    rules.sort_unstable();
    rules.dedup();
    let more = rules.len().saturating_sub(RULES_NAMED);
    rules.truncate(RULES_NAMED);
    if more > 0 {
        rules.push(format!("{more} more"));
    }
    format!("{} counters: {}", report.counters.len(), rules.join(", "))
}
