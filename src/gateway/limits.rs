//! Who may go on: the steps of the journey that refuse.

use super::Journey;
use crate::admin::tokens::Token;
use crate::control;
use crate::error::{PlatformError, Reason, Reject};
use crate::exchange::{Head as _, RequestMetadata};
use crate::observe::record::StageRecord;
use crate::platform::Platform;
use crate::stages::Mode;
use crate::stages::identity::Identity;
use crate::stages::ip_filter::{Action, IpDecision, IpFilterStage, IpVerdict, Subject};
use crate::stages::rate_limit::algorithm::Decision;
use crate::stages::rate_limit::message::{Take, Taken};
use crate::stages::rate_limit::{CounterKey, Counting, LimitRule, OnFailure, RateLimitStage, seconds_up};
use crate::time::Timestamp;

/// What the log says where a rule's stored set is not there.
const MISSING_SET: &str = "a stored address set that the rule names is not there";

impl<P: Platform> Journey<'_, P> {
    /// The limit of `/_weir/`: local.
    pub(super) fn control_limit(
        &self,
        identity: &Identity,
        token: Option<&Token>,
        now: Timestamp,
    ) -> Result<(), Reject> {
        let key = control::counter(identity, token);
        let decision = self.isolate.control_counters.borrow_mut().take(key, &control::quota(token), now);
        if decision.allowed {
            return Ok(());
        }
        Err(Reject::new(Reason::RateLimited).retry_after(seconds_up(decision.retry_after)))
    }

    pub(super) fn ip_filter(
        &mut self,
        name: &'static str,
        stage: &IpFilterStage,
        identity: &Identity,
        guarded: bool,
    ) -> Result<(), Reject> {
        if stage.mode() == Mode::Off {
            return Ok(());
        }
        let sets = self.acting.snapshot.sets();
        let metadata = if stage.reads_metadata() { self.head.metadata() } else { RequestMetadata::default() };
        let subject =
            Subject { address: identity.address, network: identity.network, metadata, tags: &self.tags };
        let IpDecision { verdict, tags } = stage.decide(&subject, &sets);
        let with_shadow = stage.decide_with_shadow(&subject, &sets);
        if stage.mode() == Mode::Enforce {
            for tag in tags {
                if !self.tags.iter().any(|other| other == tag) {
                    self.tags.push(tag.to_owned());
                }
            }
        }
        // A guarded address is in no doubt, and needs no set to be there.
        if guarded && (verdict.action == Action::Deny || verdict.unavailable) {
            self.record.stages.push(StageRecord {
                stage: name,
                verdict: "guarded",
                rule: verdict.rule.map(str::to_owned),
                prefix: verdict.prefix.map(|prefix| prefix.to_string()),
                shadow: false,
                error: None,
            });
            return Ok(());
        }
        let mut note = |verdict: IpVerdict<'_>, shadow| {
            self.record.stages.push(StageRecord {
                stage: name,
                verdict: if verdict.unavailable { "unavailable" } else { verdict.action.as_str() },
                rule: verdict.rule.map(str::to_owned),
                prefix: verdict.prefix.map(|prefix| prefix.to_string()),
                shadow,
                error: verdict.unavailable.then(|| MISSING_SET.to_owned()),
            });
        };
        // What the shadow rules would change is worth a note, what they
        // confirm is not.
        if let Some(IpDecision { verdict: shadow, .. }) = with_shadow
            && shadow != verdict
        {
            note(shadow, true);
        }
        note(verdict, stage.mode() == Mode::Shadow);
        match (stage.mode(), verdict) {
            (Mode::Enforce, IpVerdict { unavailable: true, .. }) => {
                Err(Reject::new(Reason::SetUnavailable).retry_after(5))
            }
            (Mode::Enforce, IpVerdict { action: Action::Deny, answer, .. }) => {
                Err(Reject::new(Reason::AddressDenied).answer(answer))
            }
            _ => Ok(()),
        }
    }

    pub(super) async fn rate_limit(
        &mut self,
        name: &'static str,
        stage: &RateLimitStage,
        identity: &Identity,
        mut now: Timestamp,
    ) -> Result<(), Reject> {
        for rule in &stage.rules {
            if !rule.is_for(&self.tags) {
                continue;
            }
            let key = rule.counter(identity, self.head);
            let (decision, failure) = match rule.counting {
                Counting::Local => (self.count_locally(key, rule, now), None),
                Counting::Exact => {
                    let client = self.gateway.bans.asked_for(rule, identity, self.guarded);
                    let take = Take { key, quota: rule.quota, cost: 1, client };
                    let answer = self.platform.take(&take, rule.deadline).await;
                    // The clock moves while waiting.
                    now = self.platform.now();
                    match answer {
                        Ok(Taken { decision, banned }) => {
                            // The object knows of a ban that has not come here
                            // by the manifest yet.
                            banned.map_or(Ok(()), |ban| self.heard(ban, identity, now))?;
                            (Some(decision), None)
                        }
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

    pub(super) fn count_locally(
        &self,
        key: CounterKey,
        rule: &LimitRule,
        now: Timestamp,
    ) -> Option<Decision> {
        Some(self.isolate.counters.borrow_mut().take(key, &rule.quota, now))
    }

    pub(super) fn conclude_limit(
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
        self.tripped |= rule.trips;
        let reject = Reject::new(Reason::RateLimited).retry_after(seconds_up(decision.retry_after).max(1));
        Err(match &rule.message {
            Some(message) => reject.detail(message.clone()),
            None => reject,
        })
    }
}
