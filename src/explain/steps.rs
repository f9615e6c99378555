//! The steps of the walk, each as the journey's step of that name.

use super::Walk;
use super::describe;
use super::explanation::{Outcome, Stage, State};
use crate::admin;
use crate::control;
use crate::error::{Dependency, PlatformError, Reason, Reject};
use crate::exchange::{Head, PlainHead};
use crate::platform::{Clock, CounterPeek};
use crate::policy::Route;
use crate::stages::bans::Ban;
use crate::stages::cache::ask::ask;
use crate::stages::cache::bypass_token::{BypassRefusal, GRANTED};
use crate::stages::identity::Identity;
use crate::stages::ip_filter::{Action, IpFilterStage};
use crate::stages::rate_limit::key::{Keyed, Subject};
use crate::stages::rate_limit::message::Taken;
use crate::stages::rate_limit::message::count::Look;
use crate::stages::rate_limit::{CounterKey, Counting, LimitRule, RateLimitStage, seconds_up};
use crate::stages::target::Target;
use crate::stages::{Mode, cache, ip_filter, upstream};

impl<'a, P: Clock + CounterPeek> Walk<'a, P> {
    pub(super) fn push(&mut self, stage: Stage) {
        self.explanation.stages.push(stage);
    }

    fn refuse(&mut self, stage: Stage, reject: Reject) -> Reject {
        let note = stage.note.or_else(|| reject.detail.as_deref().map(str::to_owned));
        self.push(Stage { verdict: "refuse", reason: Some(reject.reason.as_str()), note, ..stage });
        reject
    }

    /// `ours` is whether the request is for `/_weir/`, where nobody has to be
    /// known.
    pub(super) fn identity(&mut self, ours: bool) -> Result<Identity, Reject> {
        let stage = Stage { stage: "identity", verdict: "known", ..Stage::default() };
        let known = &self.context.gateway.identity;
        match known.identify(self.head, self.context.fresh) {
            Ok(identity) => {
                let who = describe::who(known, &identity, self.head);
                self.push(Stage { identity: Some(who), ..stage });
                Ok(identity)
            }
            Err(_) if ours => {
                self.push(Stage { verdict: "unknown", ..stage });
                Ok(known.unknown(self.context.fresh))
            }
            Err(reject) => Err(self.refuse(stage, reject)),
        }
    }

    pub(super) fn control(&mut self, identity: &Identity, target: &Target<'_>) -> Result<Outcome, Reject> {
        let stage = Stage { stage: "control", verdict: "answer", ..Stage::default() };
        let key = control::counter(identity, None);
        let decision = self.context.isolate.peek_control(key, &control::quota(None), self.platform.now());
        if !decision.allowed {
            let reject = Reject::new(Reason::RateLimited).retry_after(seconds_up(decision.retry_after));
            return Err(self.refuse(stage, reject));
        }
        if admin::is_ours(&target.path) {
            // What it says is for who has a token.
            self.push(stage);
            return Ok(Outcome::Answered);
        }
        let health =
            control::Health { available: true, degraded: None, revision: self.context.revision, alerts: &[] };
        match control::answer(self.head.method(), &target.path, &health, false) {
            Ok(answer) => {
                self.explanation.status = Some(answer.status);
                self.push(stage);
                Ok(Outcome::Answered)
            }
            Err(reject) => Err(self.refuse(stage, reject)),
        }
    }

    pub(super) fn bans(&mut self, identity: &Identity, guarded: bool) -> Result<(), Reject> {
        let bans = &self.context.gateway.bans;
        let mut stage = Stage { stage: "entry.bans", verdict: "allow", ..Stage::default() };
        if bans.mode == Mode::Off {
            self.push(Stage { verdict: "off", ..stage });
            return Ok(());
        }
        let now = self.platform.now();
        let Some(found) = self.context.isolate.ban(bans, self.context.bans, identity.address, now) else {
            self.push(stage);
            return Ok(());
        };
        stage.rule = Some(found.cause.to_string());
        stage.prefix = Some(found.prefix.to_string());
        stage.shadow = found.shadow;
        stage.note = Some(format!("until {}", found.until));
        stage.verdict = if guarded { "guarded" } else { "deny" };
        if guarded {
            stage.note = Some("the guard list holds the address: nothing refuses it".to_owned());
        }
        if guarded || found.shadow {
            self.push(stage);
            return Ok(());
        }
        let reject = bans.refusal(found.until, now);
        self.push(Stage { reason: Some(reject.reason.as_str()), ..stage });
        Err(reject)
    }

    pub(super) fn ip_filter(
        &mut self,
        name: &'static str,
        filter: Option<&IpFilterStage>,
        identity: &Identity,
        guarded: bool,
    ) -> Result<(), Reject> {
        let Some(filter) = filter.filter(|filter| filter.mode() != Mode::Off) else {
            let verdict = if filter.is_some() { "off" } else { "none" };
            self.push(Stage { stage: name, verdict, ..Stage::default() });
            return Ok(());
        };
        let subject = ip_filter::Subject {
            address: identity.address,
            network: identity.network,
            metadata: self.head.metadata,
            tags: &self.tags,
        };
        let decision = filter.decide(&subject, &self.context.sets);
        let would = filter.decide_with_shadow(&subject, &self.context.sets);
        let mut stage =
            describe::filter(name, filter, &decision, would.map(|would| would.verdict), &self.context.sets);
        let verdict = decision.verdict;
        let given: Vec<String> = decision.tags.into_iter().map(str::to_owned).collect();
        let is_enforced = filter.mode() == Mode::Enforce;
        if is_enforced {
            for tag in given {
                if !self.tags.contains(&tag) {
                    self.tags.push(tag);
                }
            }
        }
        let refuses = verdict.action == Action::Deny || verdict.unavailable;
        if guarded && refuses {
            stage.note = Some("the guard list holds the address: nothing refuses it".to_owned());
            stage.verdict = "guarded";
        }
        if !is_enforced || guarded || !refuses {
            self.push(stage);
            return Ok(());
        }
        let reject = if verdict.unavailable {
            Reject::new(Reason::SetUnavailable).retry_after(5)
        } else {
            Reject::new(Reason::AddressDenied).answer(verdict.answer)
        };
        self.push(Stage { reason: Some(reject.reason.as_str()), ..stage });
        Err(reject)
    }

    pub(super) async fn rate_limit(
        &mut self,
        name: &'static str,
        limits: &RateLimitStage,
        subject: &Subject<'_, PlainHead>,
        guarded: bool,
    ) -> Result<(), Reject> {
        let mut stage = Stage { stage: name, verdict: "none", ..Stage::default() };
        let mut refused = None;
        for rule in &limits.rules {
            let cost = rule.cost_of(self.head);
            let keyed = rule.counter(subject);
            if !rule.is_for(subject.tags) || cost == 0 || keyed == Keyed::Skip {
                continue;
            }
            let key = if let Keyed::Counter(key) = keyed { Some(key) } else { None };
            let mut limit = describe::limit(rule, subject, key, cost);
            if refused.is_some() {
                limit.verdict = "not-reached";
                stage.rules.push(limit);
                continue;
            }
            if stage.verdict == "none" {
                stage.verdict = "allow";
            }
            let is_enforced = rule.mode == Mode::Enforce;
            let Some(key) = key else {
                limit.verdict = "refuse";
                if is_enforced {
                    refused = Some(rule.missing_part());
                    stage.rule = Some(rule.id.clone());
                }
                stage.rules.push(limit);
                continue;
            };
            match self.look(rule, key, cost, subject.identity, guarded).await {
                Ok(Taken { banned: Some(ban), .. }) if self.acts(&ban, subject.identity) => {
                    limit.verdict = "banned";
                    stage.note =
                        Some(format!("{} is banned by {} until {}", ban.network, ban.cause, ban.until));
                    refused = Some(self.context.gateway.bans.refusal(ban.until, self.platform.now()));
                }
                Ok(Taken { decision, .. }) => {
                    describe::judged(&mut limit, &decision);
                    if is_enforced && !decision.allowed {
                        refused = Some(rule.refusal(&decision, self.head));
                        stage.rule = Some(rule.id.clone());
                    }
                }
                Err(error) => {
                    limit.verdict = "unknown";
                    limit.state = Some(State::Unknown { unknown: error.to_string() });
                    if is_enforced {
                        stage.verdict = "unknown";
                        self.explanation.uncertain = true;
                    }
                }
            }
            stage.rules.push(limit);
        }
        if let Some(reject) = refused {
            return Err(self.refuse(stage, reject));
        }
        self.push(stage);
        Ok(())
    }

    /// Whether a ban that a counter's object knows would refuse the client.
    fn acts(&self, ban: &Ban, identity: &Identity) -> bool {
        let now = self.platform.now();
        self.context.gateway.bans.heard(ban, identity.address, self.context.bans, now) == Mode::Enforce
    }

    /// What the rule's counter would say.
    async fn look(
        &self,
        rule: &LimitRule,
        key: CounterKey,
        cost: u32,
        identity: &Identity,
        guarded: bool,
    ) -> Result<Taken, PlatformError> {
        let (isolate, quota, now) = (self.context.isolate, &rule.quota, self.platform.now());
        let is_leased = match rule.counting {
            Counting::Local => return Ok(isolate.peek(key, quota, cost, now).into()),
            Counting::Platform => {
                let cause = "the runtime's own limiter cannot be looked at";
                return Err(PlatformError::failed(Dependency::Counter, cause));
            }
            Counting::Exact => false,
            Counting::Leased => true,
        };
        let is_known = isolate.would_contact(key, now);
        let key = if is_known { key } else { rule.overflow() };
        if (is_leased || !is_known)
            && let Some(decision) = isolate.peek_lease(key, quota, cost, now)
        {
            return Ok(decision.into());
        }
        let client = self.context.gateway.bans.asked_for(rule, identity, guarded).filter(|_| is_known);
        self.platform.peek(client, &Look { key, quota: *quota, cost }, rule.deadline).await
    }

    pub(super) fn route<'t>(
        &mut self,
        target: Result<Target<'t>, Reject>,
    ) -> Result<(Target<'t>, &'a Route), Reject> {
        let gateway = self.context.gateway;
        let mut stage = Stage { stage: "route", verdict: "found", ..Stage::default() };
        let target = target.map_err(|reject| self.refuse(stage.clone(), reject))?;
        let index = gateway.router.find(&target, self.head);
        stage.passed_over = describe::passed_over(gateway, &target, self.head, index);
        let route = match gateway.find_route(&target, self.head) {
            Ok((_, route)) => route,
            Err(reject) => return Err(self.refuse(stage, reject)),
        };
        stage.rule = Some(route.id.clone());
        self.explanation.route = Some(route.id.clone());
        if let Err(reject) = upstream::refuse_loop(self.head, &gateway.identity.cdn_id) {
            stage.note = Some(format!("CDN-Loop already names \"{}\"", gateway.identity.cdn_id));
            return Err(self.refuse(stage, reject));
        }
        self.push(stage);
        Ok((target, route))
    }

    pub(super) fn canary(
        &mut self,
        route: &'a Route,
        identity: &Identity,
        secure: bool,
    ) -> (usize, Option<&'a str>) {
        let stage = Stage { stage: "canary", verdict: "none", ..Stage::default() };
        let choice = route.canary.as_ref().and_then(|canary| {
            let choice = canary.choose(identity, self.head, secure)?;
            Some((canary, choice))
        });
        let Some((canary, choice)) = choice else {
            self.push(stage);
            return (route.upstream, None);
        };
        let shadow = canary.mode == Mode::Shadow;
        let facts = describe::choice(canary, &choice, identity, self.head, self.context.gateway);
        let rule = Some(choice.variant.name.clone());
        self.push(Stage { verdict: "choose", rule, shadow, canary: Some(facts), ..stage });
        if shadow {
            return (route.upstream, None);
        }
        self.explanation.variant = Some(choice.variant.name.clone());
        (choice.variant.upstream, Some(&choice.variant.name))
    }

    /// How it would end, and whether the origin may be asked.
    pub(super) fn cache(
        &mut self,
        route: &Route,
        upstream: usize,
        variant: Option<&str>,
        target: &Target<'_>,
        identity: &Identity,
    ) -> Result<(Outcome, bool), Reject> {
        let stage = Stage { stage: "cache", verdict: "none", ..Stage::default() };
        let Some(config) = &route.cache else {
            self.push(stage);
            return Ok((Outcome::Forwarded, true));
        };
        let gateway = self.context.gateway;
        let own_cookie = route.canary.as_ref().and_then(|canary| canary.cookie_name());
        let mut ask = ask(self.head, target, identity, &gateway.identity, config, own_cookie);
        let token = self.context.isolate.bypass(self.head, target, self.platform.now());
        if token == Some(Ok(())) {
            ask.plan = ask.plan.bypassed_by_token();
        }
        let name = gateway.upstreams.get(upstream).map_or("", |upstream| upstream.name.as_str());
        let as_stored = config.target(&ask.plan, target.as_sent);
        self.shape.target = Some(as_stored.to_string());
        self.shape.removals = config.edits(&ask.plan, self.head);
        let url = (ask.scheme, &*target.authority(), &*as_stored);
        let environment = &self.context.isolate.environment;
        let key = cache::key::primary(environment, &route.id, name, variant.unwrap_or_default(), url);
        let is_unstorable = self.context.isolate.is_unstorable(&key, self.platform.now());
        let mut facts = describe::stored(&ask, self.head, own_cookie, key, is_unstorable, config);
        facts.token = token.map(|said| said.map_or_else(BypassRefusal::as_str, |()| GRANTED));
        let is_asked = facts.because.is_none();
        let stage =
            Stage { verdict: if is_asked { "lookup" } else { "bypass" }, cache: Some(facts), ..stage };
        if !is_asked && ask.plan.only_if_cached {
            return Err(self.refuse(stage, Reject::new(Reason::NotCached)));
        }
        if !is_asked {
            self.push(stage);
            return Ok((Outcome::Forwarded, true));
        }
        let note = "only-if-cached: 504 (not-cached) where nothing is stored";
        let note = ask.plan.only_if_cached.then(|| note.to_owned());
        self.push(Stage { note, ..stage });
        Ok((Outcome::CachedPossible, !ask.plan.only_if_cached))
    }

    pub(super) fn upstream(
        &mut self,
        upstream: usize,
        target: &Target<'_>,
        identity: &Identity,
    ) -> Result<(), Reject> {
        let stage = Stage { stage: "upstream", verdict: "forward", ..Stage::default() };
        let gateway = self.context.gateway;
        let Some(upstream) = gateway.upstreams.get(upstream) else {
            return Err(self.refuse(stage, Reject::new(Reason::NoRoute)));
        };
        let as_sent = self.shape.target.as_deref().unwrap_or(target.as_sent);
        let target = Target { as_sent, ..target.clone() };
        let mut request = upstream.request(self.head, &target, identity, &gateway.identity);
        request.edits.append(&mut self.shape.removals);
        self.explanation.upstream = Some(upstream.name.clone());
        self.push(Stage { upstream: Some(describe::sent(&upstream.name, &request)), ..stage });
        Ok(())
    }
}
