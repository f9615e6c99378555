//! Does it speak too often: the rules of a `rate_limit` stage, in order.
//!
//! What stands together and is counted by one object is asked in one message.
//! Whatever refuses, what was charged before it in the stage is given back.

use std::time::Duration;

use super::Journey;
use super::settle::{Charged, How};
use crate::error::{Dependency, PlatformError, Reason, Reject};
use crate::observe::record::StageRecord;
use crate::platform::Platform;
use crate::stages::Mode;
use crate::stages::ip_filter::prefix::Prefix;
use crate::stages::rate_limit::algorithm::Decision;
use crate::stages::rate_limit::holder::{self, Spend};
use crate::stages::rate_limit::key::{Keyed, Subject};
use crate::stages::rate_limit::message::count::{Ask, Count, Message, Outcome, Reservation, Settlement};
use crate::stages::rate_limit::{CounterKey, Counting, LimitRule, OnFailure, RateLimitStage};

/// For how long a charge can be given back where a later rule refuses.
const WHILE_ASKED: Duration = Duration::from_secs(15);

/// For how long it can be where the response decides.
const WHILE_ANSWERED: Duration = Duration::from_secs(120);

/// A rule that is there for the request, and how it is decided.
struct Prepared<'r> {
    rule: &'r LimitRule,
    key: CounterKey,
    cost: u32,
    ready: Ready,
}

enum Ready {
    /// By the isolate's own count.
    Local,
    /// By the runtime's limiter.
    Platform,
    /// By a lease, or by a refusal that is remembered.
    Decided(Decision, Option<u64>),
    /// By the key's object.
    Object { lease: Option<holder::Ask>, client: Option<Prefix>, label: String },
    /// The request lacks a part of the key.
    Missing,
}

impl<'a, P: Platform> Journey<'a, P> {
    /// Asks the rules of a stage.
    pub(super) async fn rate_limit(
        &mut self,
        name: &'static str,
        stage: &'a RateLimitStage,
        subject: &Subject<'_, P::Request>,
    ) -> Result<(), Reject> {
        if stage.rules.is_empty() {
            return Ok(());
        }
        let mut charged = Vec::new();
        let mut ahead = None;
        let result = self.ask_rules(name, stage, subject, &mut charged, &mut ahead).await;
        match result {
            Ok(()) => self.charged.extend(charged.into_iter().filter(|charged| charged.rule.settles())),
            Err(_) => {
                let now = self.platform.now();
                for charged in &charged {
                    self.isolate.give_back(charged, now);
                }
                if let Some(ahead) = ahead {
                    self.abandon(&ahead);
                }
            }
        }
        result
    }

    async fn ask_rules(
        &mut self,
        name: &'static str,
        stage: &'a RateLimitStage,
        subject: &Subject<'_, P::Request>,
        charged: &mut Vec<Charged<'a>>,
        ahead: &mut Option<Prepared<'a>>,
    ) -> Result<(), Reject> {
        let mut rules = stage.rules.iter();
        loop {
            let next = ahead.take().or_else(|| rules.by_ref().find_map(|rule| self.prepare(rule, subject)));
            let Some(next) = next else { return Ok(()) };
            let Prepared { rule, key, cost, ready } = next;
            match ready {
                Ready::Missing => self.missing(name, rule)?,
                Ready::Local => self.count_locally(name, rule, key, cost, None, charged)?,
                Ready::Decided(decision, lease) => {
                    self.conclude(name, rule, Some(decision), None)?;
                    let how = lease.map_or(How::Spent, How::Leased);
                    charged.extend(decision.allowed.then(|| self.charge(rule, key, cost, how)));
                }
                Ready::Platform => self.ask_platform(name, rule, key, cost, charged).await?,
                Ready::Object { .. } => {
                    let mut group = vec![Prepared { rule, key, cost, ready }];
                    while let Some(more) = rules.by_ref().find_map(|rule| self.prepare(rule, subject)) {
                        if !is_together(&group, &more) {
                            *ahead = Some(more);
                            break;
                        }
                        group.push(more);
                    }
                    let is_next = ahead.as_ref().is_some_and(|ahead| ahead.rule.mode == Mode::Enforce);
                    let may_fail = is_next || rules.as_slice().iter().any(|rule| rule.mode == Mode::Enforce);
                    self.ask_object(name, &group, may_fail, subject, charged).await?;
                }
            }
        }
    }

    /// How a rule is decided; `None` where it is not there for the request.
    fn prepare(&self, rule: &'a LimitRule, subject: &Subject<'_, P::Request>) -> Option<Prepared<'a>> {
        if !rule.is_for(subject.tags) {
            return None;
        }
        let cost = rule.cost_of(subject.head);
        if cost == 0 {
            return None;
        }
        let key = match rule.counter(subject) {
            Keyed::Counter(key) => key,
            Keyed::Skip => return None,
            Keyed::Refuse => {
                return Some(Prepared { rule, key: rule.overflow(), cost, ready: Ready::Missing });
            }
        };
        let (key, ready) = match rule.counting {
            Counting::Local => (key, Ready::Local),
            Counting::Platform => (key, Ready::Platform),
            Counting::Exact | Counting::Leased => self.prepare_shared(rule, key, cost, subject),
        };
        Some(Prepared { rule, key, cost, ready })
    }

    fn prepare_shared(
        &self,
        rule: &LimitRule,
        key: CounterKey,
        cost: u32,
        subject: &Subject<'_, P::Request>,
    ) -> (CounterKey, Ready) {
        let now = self.platform.now();
        let mut holder = self.isolate.holder.borrow_mut();
        let client = self.gateway.bans.asked_for(rule, subject.identity, self.guarded);
        let is_exact = rule.counting == Counting::Exact;
        let is_due =
            if is_exact { holder.contact(key, &rule.quota, now) } else { holder.is_contact_due(key, now) };
        let label = || rule.label(subject);
        if is_exact && is_due {
            return (key, Ready::Object { lease: None, client, label: label() });
        }
        // Beyond what may be asked a second, keys share one that is leased,
        // whatever the rule says, so that it costs no calls either.
        let (key, client) = if is_due { (key, client) } else { (rule.overflow(), None) };
        match holder.spend(key, &rule.quota, cost, now) {
            Spend::Decided(decision) => {
                let lease = holder.lease(key).filter(|_| decision.allowed);
                (key, Ready::Decided(decision, lease))
            }
            Spend::Ask(ask) => {
                let label = if is_due { label() } else { format!("{} (overflow)", rule.id) };
                (key, Ready::Object { lease: Some(ask), client, label })
            }
        }
    }

    /// What was prepared is not asked any more.
    fn abandon(&self, prepared: &Prepared<'a>) {
        let mut holder = self.isolate.holder.borrow_mut();
        match &prepared.ready {
            Ready::Decided(decision, Some(lease)) if decision.allowed => {
                holder.give_back(prepared.key, *lease, prepared.cost);
            }
            Ready::Object { lease: Some(ask), .. } => {
                holder.unanswered(prepared.key, ask);
                if let Some(report) = ask.report {
                    let (key, quota) = (prepared.key, prepared.rule.quota);
                    self.isolate.settlements.borrow_mut().settle(Settlement { key, quota, report });
                }
            }
            _ => {}
        }
    }

    fn charge(&self, rule: &'a LimitRule, key: CounterKey, cost: u32, how: How) -> Charged<'a> {
        Charged { rule, key, cost, at: self.platform.now(), how }
    }

    fn missing(&mut self, name: &'static str, rule: &'a LimitRule) -> Result<(), Reject> {
        let shadow = rule.mode == Mode::Shadow;
        self.note_limit(name, rule, "refuse", None);
        if shadow { Ok(()) } else { Err(rule.missing_part()) }
    }

    fn count_locally(
        &mut self,
        name: &'static str,
        rule: &'a LimitRule,
        key: CounterKey,
        cost: u32,
        failure: Option<&PlatformError>,
        charged: &mut Vec<Charged<'a>>,
    ) -> Result<(), Reject> {
        let now = self.platform.now();
        let decision = {
            let mut counters = self.isolate.counters.borrow_mut();
            let decision = counters.take(key, &rule.quota, cost, now);
            if !decision.allowed && rule.penalty > 0 {
                counters.charge(key, &rule.quota, rule.penalty, now);
                // The client is told what it has to wait from here on.
                counters.peek(key, &rule.quota, cost, now)
            } else {
                decision
            }
        };
        self.conclude(name, rule, Some(decision), failure)?;
        charged.extend(decision.allowed.then(|| self.charge(rule, key, cost, How::Local)));
        Ok(())
    }

    async fn ask_platform(
        &mut self,
        name: &'static str,
        rule: &'a LimitRule,
        key: CounterKey,
        cost: u32,
        charged: &mut Vec<Charged<'a>>,
    ) -> Result<(), Reject> {
        match self.platform.platform_limit(&rule.binding, key, rule.deadline).await {
            Ok(true) => {
                self.note_limit(name, rule, "allow", None);
                Ok(())
            }
            // It says no more than that.
            Ok(false) => self.conclude(name, rule, Some(rule.refused_by_platform()), None),
            Err(error) => self.fail(name, rule, key, cost, &error, charged),
        }
    }

    /// A counter has failed.
    fn fail(
        &mut self,
        name: &'static str,
        rule: &'a LimitRule,
        key: CounterKey,
        cost: u32,
        error: &PlatformError,
        charged: &mut Vec<Charged<'a>>,
    ) -> Result<(), Reject> {
        match rule.on_failure {
            OnFailure::Local => self.count_locally(name, rule, key, cost, Some(error), charged),
            OnFailure::Open | OnFailure::Closed => self.conclude(name, rule, None, Some(error)),
        }
    }

    async fn ask_object(
        &mut self,
        name: &'static str,
        group: &[Prepared<'a>],
        may_fail: bool,
        subject: &Subject<'_, P::Request>,
        charged: &mut Vec<Charged<'a>>,
    ) -> Result<(), Reject> {
        let Some(first) = group.first() else { return Ok(()) };
        let (shard, deadline) = (first.key.shard(), first.rule.deadline);
        let mut count = Count::default();
        for Prepared { rule, key, cost, ready } in group {
            let Ready::Object { lease, client, label } = ready else { continue };
            let ttl = match (rule.waits(), may_fail) {
                (true, _) => Some(WHILE_ANSWERED),
                (false, true) => Some(WHILE_ASKED),
                (false, false) => None,
            };
            let report = lease.as_ref().and_then(|ask| ask.report);
            count.settle.extend(report.map(|report| Settlement { key: *key, quota: rule.quota, report }));
            count.client = count.client.or(*client);
            count.asks.push(Ask {
                key: *key,
                quota: rule.quota,
                cost: *cost,
                enforced: rule.mode == Mode::Enforce,
                penalty: rule.penalty,
                reservation: ttl
                    .map(|ttl| Reservation { id: self.isolate.holder.borrow_mut().new_id(), ttl }),
                wanted: lease.as_ref().map(|ask| ask.wanted),
                label: label.clone(),
            });
        }
        let ids: Vec<Option<u64>> =
            count.asks.iter().map(|ask| ask.reservation.map(|hold| hold.id)).collect();
        let answer = if self.isolate.overload.borrow().is_shut(shard, self.platform.now()) {
            let cause = "the object has failed several times in a row and is not asked for a second";
            Err(PlatformError::failed(Dependency::Counter, cause))
        } else {
            let answer = self.platform.count(shard, &Message::Count(count), deadline).await;
            // The clock moves while waiting.
            self.isolate.overload.borrow_mut().note(shard, answer.is_ok(), self.platform.now());
            answer
        };
        let answer = answer.and_then(|answer| {
            let is_whole = answer.results.len() == group.len()
                || answer.results.last().is_some_and(|last| !last.decision.allowed);
            let unread = || PlatformError::failed(Dependency::Counter, "an answer that lacks a decision");
            if is_whole { Ok(answer) } else { Err(unread()) }
        });
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                for Prepared { key, ready, .. } in group {
                    if let Ready::Object { lease: Some(ask), .. } = ready {
                        self.isolate.holder.borrow_mut().unanswered(*key, ask);
                    }
                }
                for Prepared { rule, key, cost, .. } in group {
                    self.fail(name, rule, *key, *cost, &error, charged)?;
                }
                return Ok(());
            }
        };
        self.take_in(group, &answer.results);
        // The object knows of a ban that has not come here by the manifest
        // yet.
        if let Some(ban) = answer.banned {
            self.heard(ban, subject.identity, self.platform.now())?;
        }
        let mut allowed = Vec::with_capacity(group.len());
        for ((Prepared { rule, key, cost, .. }, outcome), id) in group.iter().zip(&answer.results).zip(ids) {
            // What stands before a refusal in the message was not charged.
            self.conclude(name, rule, Some(outcome.decision), None)?;
            if outcome.decision.allowed {
                allowed.push(self.charge(rule, *key, *cost, id.map_or(How::Spent, How::Held)));
            }
        }
        charged.append(&mut allowed);
        Ok(())
    }

    /// Tells the holder what became of what it asked.
    fn take_in(&self, group: &[Prepared<'a>], results: &[Outcome]) {
        let now = self.platform.now();
        let mut holder = self.isolate.holder.borrow_mut();
        for (index, Prepared { key, cost, ready, .. }) in group.iter().enumerate() {
            let Ready::Object { lease: Some(ask), .. } = ready else { continue };
            match results.get(index) {
                Some(Outcome { decision, granted, holds }) => {
                    holder.answered(*key, ask, *cost, &(*decision, *granted), *holds, now);
                }
                None => holder.unanswered(*key, ask),
            }
        }
    }

    fn note_limit(
        &mut self,
        name: &'static str,
        rule: &LimitRule,
        verdict: &'static str,
        failure: Option<&PlatformError>,
    ) {
        self.record.stages.push(StageRecord {
            stage: name,
            verdict,
            rule: Some(rule.id.clone()),
            prefix: None,
            shadow: rule.mode == Mode::Shadow,
            error: failure.map(PlatformError::to_string),
        });
    }

    fn conclude(
        &mut self,
        name: &'static str,
        rule: &LimitRule,
        decision: Option<Decision>,
        failure: Option<&PlatformError>,
    ) -> Result<(), Reject> {
        let refused = decision.is_some_and(|decision| !decision.allowed);
        let verdict = match (&decision, rule.on_failure) {
            (Some(_), _) if refused => "refuse",
            (Some(_), _) => "allow",
            (None, on_failure) => on_failure.as_str(),
        };
        self.note_limit(name, rule, verdict, failure);
        if rule.mode == Mode::Shadow {
            return Ok(());
        }
        let Some(decision) = decision else {
            return match (rule.on_failure, failure) {
                (OnFailure::Closed, Some(error)) => {
                    Err(Reject::new(Reason::CounterUnavailable).retry_after(1).cause(error))
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
        self.tripped |= rule.trips;
        Err(rule.refusal(&decision, self.head))
    }
}

/// Whether a rule is asked in one message with those.
fn is_together(group: &[Prepared<'_>], more: &Prepared<'_>) -> bool {
    let client = |prepared: &Prepared<'_>| match &prepared.ready {
        Ready::Object { client, .. } => Some(*client),
        _ => None,
    };
    group.len() < crate::stages::rate_limit::message::count::LIST_LIMIT
        && group.first().is_some_and(|first| {
            client(first) == client(more)
                && first.key.shard() == more.key.shard()
                && first.rule.deadline == more.rule.deadline
        })
}
