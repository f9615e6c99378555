//! One record on its way through a candidate: the journey of `gateway`, as far
//! as the record tells it.

mod limits;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::header::HeaderName;
use serde::Serialize;

use super::counts::Counts;
use super::line::{Client, Logged};
use super::report::Outcome;
use crate::control;
use crate::error::Reason;
use crate::exchange::{PlainHead, RequestMetadata};
use crate::policy::{Gateway, Route};
use crate::stages::Mode;
use crate::stages::identity::{ChainState, Identity, Trace};
use crate::stages::ip_filter::prefix::Prefix;
use crate::stages::ip_filter::{Action, IpDecision, IpFilterStage, IpVerdict, Sets, Subject};
use crate::stages::target::Target;

/// Where a record says too little.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "ReplayGap"))]
pub struct Gap {
    /// The stage.
    pub stage: &'static str,
    /// The rule, route or variant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// What it reads: a header field, `cookie NAME`, `client`, `scheme`,
    /// `path`, `method`; `bans`; `an earlier count` where an earlier record that was
    /// undecidable may have counted; `the counter` where the count failed.
    pub reads: String,
}

/// Why a walk ends before the origin.
enum Stop {
    /// The candidate answers. With a gap, its rule is not known.
    Refused(Box<Outcome>, Option<Gap>),
    /// What it does is not known.
    Unknown(Gap),
}

/// The longest path that is logged whole: see `Record::set_path`.
const PATH_CUT: usize = 1_024;

/// The longest method that is logged whole.
const METHOD_CUT: usize = 64;

/// One record on its way.
pub(super) struct Walk<'a> {
    gateway: &'a Gateway,
    counts: &'a mut Counts,
    logged: &'a Logged,
    /// The client's network, where the record is exact enough to know it.
    identity: Option<Identity>,
    /// No header field is recorded.
    head: PlainHead,
    /// The stored sets that there are now.
    sets: Sets<'a>,
    /// The labels that the record's client gets.
    tags: Vec<String>,
    /// Whether it may get others as well.
    tags_unknown: bool,
}

/// The most places within a logged network at which a verdict may change.
const CHANGES_LIMIT: usize = 10_000;

impl<'a> Walk<'a> {
    pub fn new(gateway: &'a Gateway, sets: Sets<'a>, counts: &'a mut Counts, logged: &'a Logged) -> Self {
        let network = match logged.client {
            Client::Address(address) => Some((address, gateway.identity.network(address))),
            Client::Network(logged) => {
                let network = gateway.identity.network(logged.address());
                (network.length() <= logged.length()).then_some((logged.address(), network))
            }
            Client::Unknown => None,
        };
        let identity = network.map(|(address, network)| Identity {
            peer: address,
            trusted_peer: false,
            chain: ChainState::NotRead,
            address,
            network,
            request_id: String::new(),
            trace: Trace { trace_id: String::new(), span: 0, flags: String::new(), continued: false },
        });
        let head = PlainHead { method: logged.method.clone(), ..PlainHead::default() };
        Self { gateway, counts, logged, identity, head, sets, tags: Vec::new(), tags_unknown: false }
    }

    /// What the candidate does, as far as it can be known, and what cannot.
    pub fn travel(&mut self) -> (Option<Outcome>, Option<Gap>) {
        match self.walk() {
            Ok((outcome, gap)) => (Some(outcome), gap),
            Err(Stop::Refused(outcome, gap)) => (Some(*outcome), gap),
            Err(Stop::Unknown(gap)) => (None, Some(gap)),
        }
    }

    fn walk(&mut self) -> Result<(Outcome, Option<Gap>), Stop> {
        let (gateway, logged) = (self.gateway, self.logged);
        // 1 identity: as recorded.
        if logged.before.reason.as_deref() == Some(Reason::ClientAddress.as_str()) {
            if let Some(field) = gateway.identity.lenient_field() {
                return Err(Stop::Unknown(Gap { stage: "identity", rule: None, reads: field.to_string() }));
            }
            return Ok((logged.before.clone(), None));
        }
        let targets = logged.target.as_ref().map(super::line::Place::targets).unwrap_or_default();
        // 2 control: no policy decides there.
        if targets.first().is_some_and(|target| control::is_ours(&target.path)) {
            return Ok((logged.before.clone(), None));
        }
        // Looked up here, to know which counters a gap leaves in doubt.
        let (found, possible) = self.find(&targets);
        // 3 entry
        if logged.before.reason.as_deref() == Some(Reason::Banned.as_str()) && self.may_be_banned() {
            // A ban stands in no document, and the log holds the banned alone.
            let gap = Gap { stage: "entry.bans", rule: None, reads: "bans".to_owned() };
            return Err(self.doubt_after(Stop::Unknown(gap), Some(0), &possible));
        }
        self.ip_filter("entry.ip_filter", None, gateway.entry_ip_filter.as_ref())
            .map_err(|stop| self.doubt_after(stop, Some(0), &possible))?;
        self.limits("entry.rate_limit", None, &gateway.entry_rate_limit, &possible)?;
        // 4 route
        let index = match found {
            Found::Malformed => return Err(self.malformed()),
            Found::Gap(gap) => return Err(self.doubt_after(Stop::Unknown(gap), None, &possible)),
            Found::Route(index) => index,
        };
        let allowed = index.and_then(|index| gateway.router.matcher(index)).map(|matcher| matcher.allowed);
        if targets.first().is_some_and(|target| !target.encoded.within(allowed.unwrap_or_default())) {
            return Err(refused("route", None, Reason::InvalidTarget, None));
        }
        let Some((index, route)) = index.and_then(|index| Some((index, gateway.routes.get(index)?))) else {
            return Err(refused("route", None, Reason::NoRoute, None));
        };
        if logged.before.reason.as_deref() == Some(Reason::Loop.as_str()) {
            return Err(refused("route", None, Reason::Loop, Some(route)));
        }
        // 5 ip_filter
        let only = Possible::Routes(vec![index]);
        self.ip_filter("ip_filter", Some(route), route.ip_filter.as_ref())
            .map_err(|stop| self.doubt_after(stop, None, &only))?;
        // 7 rate_limit
        self.limits("rate_limit", Some((index, route)), &route.rate_limit, &Possible::None)?;
        Ok(self.pass(route))
    }

    /// 11 canary, and up to 12 cache.
    fn pass(&self, route: &Route) -> (Outcome, Option<Gap>) {
        let mut outcome =
            Outcome { verdict: "forwarded", route: Some(route.id.clone()), ..Outcome::default() };
        let mut gap = None;
        let canary = route.canary.as_ref().filter(|canary| canary.mode == Mode::Enforce);
        let upstream = match canary.map(|canary| (canary, canary.only())) {
            None => Some(route.upstream),
            Some((_, Some(variant))) => {
                outcome.variant = Some(variant.name.clone());
                Some(variant.upstream)
            }
            Some((canary, None)) => {
                let reads = canary.cookie_name().map(|name| format!("cookie {name}"));
                let choice = self.identity.as_ref().filter(|_| reads.is_none());
                let choice = choice.and_then(|identity| canary.choose(identity, &self.head, false));
                outcome.variant = choice.as_ref().map(|choice| choice.variant.name.clone());
                if choice.is_none() {
                    let reads = reads.unwrap_or_else(|| "client".to_owned());
                    gap = Some(Gap { stage: "canary", rule: Some(route.id.clone()), reads });
                }
                choice.map(|choice| choice.variant.upstream)
            }
        };
        let upstream = upstream.and_then(|upstream| self.gateway.upstreams.get(upstream));
        outcome.upstream = upstream.map(|upstream| upstream.name.clone());
        // It wanted a stored answer or none; whether there is one is not
        // replayed.
        if self.logged.before.reason.as_deref() == Some(Reason::NotCached.as_str()) && route.cache.is_some() {
            outcome.verdict = "refused";
            outcome.status = Some(Reason::NotCached.status());
            outcome.reason = Some(Reason::NotCached.as_str().to_owned());
            outcome.stage = Some("cache".to_owned());
            outcome.upstream = None;
        }
        (outcome, gap)
    }

    fn malformed(&self) -> Stop {
        let known = [Reason::InvalidTarget, Reason::InvalidHost]
            .into_iter()
            .find(|reason| self.logged.before.reason.as_deref() == Some(reason.as_str()));
        match (known, refused("route", None, known.unwrap_or(Reason::InvalidTarget), None)) {
            (None, Stop::Refused(outcome, _)) => {
                let reason = Some("invalid-target or invalid-host".to_owned());
                Stop::Refused(Box::new(Outcome { reason, ..*outcome }), None)
            }
            (_, stop) => stop,
        }
    }

    /// The route, and which ones it may be.
    fn find(&self, targets: &[Target<'_>]) -> (Found, Possible) {
        let Some(place) = &self.logged.target else {
            return (Found::Malformed, Possible::None);
        };
        let gap = |rule: Option<usize>, reads: &str| {
            let rule = rule.and_then(|index| self.gateway.routes.get(index)).map(|route| route.id.clone());
            Found::Gap(Gap { stage: "route", rule, reads: reads.to_owned() })
        };
        if place.path.len() >= PATH_CUT {
            return (gap(None, "path"), Possible::Any);
        }
        if self.logged.method.as_str().len() >= METHOD_CUT {
            return (gap(None, "method"), Possible::Any);
        }
        let mut choices = targets.iter().map(|target| self.choices(target));
        let mine = choices.next().unwrap_or_default();
        if let Some(others) = choices.find(|others| *others != mine) {
            return (gap(None, "scheme"), Possible::Routes([mine, others].concat()));
        }
        let Some(index) = mine.first().copied() else {
            return (Found::Route(None), Possible::None);
        };
        match self.field_of(index) {
            None => (Found::Route(Some(index)), Possible::Routes(mine)),
            Some(field) => (gap(Some(index), field.as_str()), Possible::Routes(mine)),
        }
    }

    /// The routes that may take it: up to the first that reads no field.
    fn choices(&self, target: &Target<'_>) -> Vec<usize> {
        let mut choices = Vec::new();
        for index in self.gateway.router.candidates(target, &self.logged.method) {
            choices.push(index);
            if self.field_of(index).is_none() {
                break;
            }
        }
        choices
    }

    /// The first header field that a route reads.
    fn field_of(&self, index: usize) -> Option<&'a HeaderName> {
        let gateway: &'a Gateway = self.gateway;
        gateway.router.matcher(index)?.fields().first().map(|(name, _)| name)
    }

    /// Whether a ban could refuse the client.
    fn may_be_banned(&self) -> bool {
        let guarded = match self.logged.client {
            Client::Address(address) => self.gateway.guard.longest(address).is_some(),
            Client::Network(_) | Client::Unknown => false,
        };
        self.gateway.bans.mode == Mode::Enforce && !guarded
    }

    fn ip_filter(
        &mut self,
        stage: &'static str,
        route: Option<&Route>,
        filter: Option<&IpFilterStage>,
    ) -> Result<(), Stop> {
        let Some(filter) = filter.filter(|filter| filter.mode() == Mode::Enforce) else {
            return Ok(());
        };
        let everything = [
            Prefix::containing(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
            Prefix::containing(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0),
        ];
        let ranges = match self.logged.client {
            Client::Address(address) => [Some(Prefix::host(address)), None],
            Client::Network(network) => [Some(network), None],
            Client::Unknown => everything,
        };
        let gap = |rule: Option<&str>, reads: &str| Gap {
            stage,
            rule: rule.map(str::to_owned),
            reads: reads.to_owned(),
        };
        let mut changes = Vec::new();
        for range in ranges.into_iter().flatten() {
            match filter.changes_within(range, &self.sets, CHANGES_LIMIT) {
                Some(more) => changes.extend(more),
                None => return Err(Stop::Unknown(gap(None, "client"))),
            }
        }
        let is_exact = self.identity.is_some();
        if filter.has_shares() && !is_exact {
            return Err(Stop::Unknown(gap(None, "client")));
        }
        let mut verdicts = changes.into_iter().map(|address| {
            let network = self.gateway.identity.network(address);
            let metadata = RequestMetadata::default();
            filter.decide(&Subject { address, network, metadata, tags: &self.tags }, &self.sets)
        });
        let Some(IpDecision { verdict: first, tags }) = verdicts.next() else {
            return Ok(());
        };
        let rest: Vec<IpDecision<'_>> = verdicts.collect();
        let tagged_alike = rest.iter().all(|decision| decision.tags == tags);
        // A prefix rule decides whatever the platform said about the client;
        // any other verdict may rest on it, and it is not recorded.
        let is_certain = |verdict: &IpVerdict<'_>| verdict.prefix.is_some();
        let rests_on_metadata = filter.reads_metadata()
            && !(is_certain(&first) && rest.iter().all(|decision| is_certain(&decision.verdict)));
        if rests_on_metadata {
            return Err(Stop::Unknown(gap(first.rule, "metadata")));
        }
        if first.unavailable || rest.iter().any(|decision| decision.verdict.unavailable) {
            return Err(Stop::Unknown(gap(first.rule, "address sets")));
        }
        let given: Vec<String> = tags.into_iter().map(str::to_owned).collect();
        self.tags_unknown |= !tagged_alike || filter.reads_metadata();
        let gap = |rule: Option<&str>| gap(rule, "client");
        let guarded = match self.logged.client {
            Client::Address(address) => self.gateway.guard.longest(address).is_some(),
            // A network may lie partly in it.
            _ if !self.gateway.guard.is_empty() && first.action == Action::Deny => {
                return Err(Stop::Unknown(gap(first.rule)));
            }
            _ => false,
        };
        self.tags.extend(given);
        if guarded {
            return Ok(());
        }
        let mut unlike_rule = None;
        for IpDecision { verdict, .. } in rest {
            if verdict.action != first.action {
                return Err(Stop::Unknown(gap(narrower(&first, &verdict))));
            }
            if verdict.rule != first.rule {
                unlike_rule = Some(narrower(&first, &verdict));
            }
        }
        match (first.action, unlike_rule) {
            (Action::Allow, _) => Ok(()),
            (Action::Deny, None) => Err(refused(stage, first.rule, Reason::AddressDenied, route)),
            (Action::Deny, Some(rule)) => match refused(stage, None, Reason::AddressDenied, route) {
                Stop::Refused(outcome, _) => Err(Stop::Refused(outcome, Some(gap(rule)))),
                stop => Err(stop),
            },
        }
    }
}

/// Which routes a request may have taken.
enum Possible {
    None,
    Routes(Vec<usize>),
    Any,
}

/// What is known of the route.
enum Found {
    /// The target was refused.
    Malformed,
    /// The route, or that there is none.
    Route(Option<usize>),
    /// Not known.
    Gap(Gap),
}

/// The rule of the narrower prefix: the one that the record cannot tell.
fn narrower<'r>(one: &IpVerdict<'r>, other: &IpVerdict<'r>) -> Option<&'r str> {
    let length = |verdict: &IpVerdict<'_>| verdict.prefix.map(|prefix| prefix.length());
    if length(other) >= length(one) { other.rule } else { one.rule }
}

fn refused(stage: &'static str, rule: Option<&str>, reason: Reason, route: Option<&Route>) -> Stop {
    let outcome = Outcome {
        verdict: "refused",
        status: Some(reason.status()),
        reason: Some(reason.as_str().to_owned()),
        route: route.map(|route| route.id.clone()),
        stage: Some(stage.to_owned()),
        rule: rule.map(str::to_owned),
        ..Outcome::default()
    };
    Stop::Refused(Box::new(outcome), None)
}
