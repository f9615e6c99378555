//! The limits on the way of a record: whether each rule counted it, and what
//! that leaves.

use super::{Gap, Possible, Stop, Walk, refused};
use crate::error::Reason;
use crate::policy::Route;
use crate::replay::counts::{Counted, RuleAt};
use crate::replay::line::Client;
use crate::replay::report::Outcome;
use crate::stages::Mode;
use crate::stages::rate_limit::key::{self as limit, Keyed};
use crate::stages::rate_limit::{CounterKey, Counting, KeyPart, LimitRule, RateLimitStage};

impl<'a> Walk<'a> {
    pub(super) fn limits(
        &mut self,
        stage: &'static str,
        route: Option<(usize, &Route)>,
        limits: &RateLimitStage,
        after: &Possible,
    ) -> Result<(), Stop> {
        let at = route.map(|(index, _)| index);
        let mut counted: Vec<(&LimitRule, CounterKey, u32)> = Vec::new();
        for (index, rule) in limits.rules.iter().enumerate() {
            // A shadow rule counts for itself alone.
            if rule.mode != Mode::Enforce {
                continue;
            }
            if rule.reads_tags() && self.tags_unknown {
                self.doubt((at, index), rule);
                let gap = Gap { stage, rule: Some(rule.id.clone()), reads: "tags".to_owned() };
                return Err(self.doubt_after(Stop::Unknown(gap), None, after));
            }
            if !rule.is_for(&self.tags) {
                continue;
            }
            let cost = rule.cost_of(&self.head);
            if cost == 0 && rule.cost_field().is_none() {
                continue;
            }
            let reads = match self.count(stage, (at, index), route.map(|(_, route)| route), rule, cost) {
                Ok((key, true)) => {
                    counted.push((rule, key, cost));
                    continue;
                }
                Ok((_, false)) => {
                    // What was charged before it is given back.
                    for (rule, key, cost) in counted {
                        self.counts.give_back(rule, key, cost, self.logged.time);
                    }
                    let route = route.map(|(_, route)| route);
                    let reason = Reason::RateLimited;
                    return Err(match refused(stage, Some(&rule.id), reason, route) {
                        Stop::Refused(outcome, gap) => {
                            let status = Some(rule.refusal_status());
                            Stop::Refused(Box::new(Outcome { status, ..*outcome }), gap)
                        }
                        stop => stop,
                    });
                }
                Err(reads) => reads,
            };
            // Whether what was counted before is given back is not known.
            for (rule, key, _) in counted {
                let place = limits.rules.iter().position(|other| std::ptr::eq(other, rule));
                self.counts.doubt((at, place.unwrap_or_default()), rule, key, self.logged.time);
            }
            let rest = limits.rules.iter().enumerate().skip(index.saturating_add(1));
            for (index, rule) in rest {
                self.doubt((at, index), rule);
            }
            let gap = Gap { stage, rule: Some(rule.id.clone()), reads };
            return Err(self.doubt_after(Stop::Unknown(gap), None, after));
        }
        Ok(())
    }

    /// The counter and whether it lets the request pass; or what the rule
    /// reads that is not known.
    fn count(
        &mut self,
        stage: &str,
        at: RuleAt,
        route: Option<&Route>,
        rule: &LimitRule,
        cost: u32,
    ) -> Result<(CounterKey, bool), String> {
        let logged = self.logged;
        let failed = logged.failures.iter().any(|(name, id)| name == stage && *id == rule.id)
            && route.is_none_or(|route| logged.before.route.as_ref() == Some(&route.id));
        if failed {
            self.doubt(at, rule);
            return Err("the counter".to_owned());
        }
        if let Some(reads) = unrecorded(rule) {
            return Err(reads);
        }
        let now = logged.time;
        let Some(key) = self.key_of(rule) else {
            self.counts.doubt_rule(at, now);
            return Err("client".to_owned());
        };
        match self.counts.take(at, rule, key, cost, now) {
            Counted::Allowed if rule.counting == Counting::Leased && self.was_limited() => {
                // What isolates had borrowed was not to be had.
                self.counts.doubt(at, rule, key, now);
                Err("leases".to_owned())
            }
            Counted::Allowed => Ok((key, true)),
            Counted::Refused => Ok((key, false)),
            Counted::InDoubt => Err("an earlier count".to_owned()),
        }
    }

    fn was_limited(&self) -> bool {
        self.logged.before.reason.as_deref() == Some(Reason::RateLimited.as_str())
    }

    /// The rule's counter, where all that it reads is recorded.
    fn key_of(&self, rule: &LimitRule) -> Option<CounterKey> {
        let identity = self.identity.as_ref()?;
        let is_exact = matches!(self.logged.client, Client::Address(_));
        if rule.key().contains(&KeyPart::Address) && !is_exact {
            return None;
        }
        let head = &self.head;
        let subject = limit::Subject { identity, head, tags: &self.tags, target: None, canary: None };
        // Nothing that is recorded is missing but labels.
        if let Keyed::Counter(key) = rule.counter(&subject) { Some(key) } else { None }
    }

    /// The request may have been counted by the rule.
    fn doubt(&mut self, at: RuleAt, rule: &LimitRule) {
        // Where a rule reads what is not recorded no count is ever known.
        if rule.mode != Mode::Enforce || unrecorded(rule).is_some() {
            return;
        }
        let now = self.logged.time;
        match self.key_of(rule) {
            Some(key) if !(rule.key().contains(&KeyPart::Tag) && self.tags_unknown) => {
                self.counts.doubt(at, rule, key, now);
            }
            _ => self.counts.doubt_rule(at, now),
        }
    }

    /// After a gap: what stands behind it may have counted. `entry` is the
    /// first entry rule that may have.
    pub(super) fn doubt_after(&mut self, stop: Stop, entry: Option<usize>, possible: &Possible) -> Stop {
        if !matches!(stop, Stop::Unknown(_)) {
            return stop;
        }
        let gateway = self.gateway;
        if let Some(first) = entry {
            for (index, rule) in gateway.entry_rate_limit.rules.iter().enumerate().skip(first) {
                self.doubt((None, index), rule);
            }
        }
        match possible {
            Possible::None => {}
            Possible::Any => self.counts.doubt_all(self.logged.time),
            Possible::Routes(routes) => {
                for at in routes {
                    let Some(route) = gateway.routes.get(*at) else {
                        continue;
                    };
                    for (index, rule) in route.rate_limit.rules.iter().enumerate() {
                        self.doubt((Some(*at), index), rule);
                    }
                }
            }
        }
        stop
    }
}

/// What a rule reads that no record holds.
fn unrecorded(rule: &LimitRule) -> Option<String> {
    if rule.counting == Counting::Platform {
        return Some("the platform's counter".to_owned());
    }
    if let Some(name) = rule.cost_field() {
        return Some(name.to_string());
    }
    if let Some(name) = &rule.cost_header {
        return Some(format!("{name} of the origin"));
    }
    if rule.waits() {
        return Some("what came of earlier requests".to_owned());
    }
    let is_recorded = |part: &&KeyPart| {
        matches!(part, KeyPart::Client | KeyPart::Address | KeyPart::Tag | KeyPart::Route | KeyPart::Method)
    };
    rule.key().iter().find(|part| !is_recorded(part)).map(KeyPart::label)
}
