//! Who may go on: the steps of the journey that refuse.

use super::Journey;
use crate::admin::tokens::Token;
use crate::control;
use crate::error::{Reason, Reject};
use crate::exchange::{Head as _, RequestMetadata};
use crate::observe::record::StageRecord;
use crate::platform::Platform;
use crate::stages::Mode;
use crate::stages::identity::Identity;
use crate::stages::ip_filter::{Action, IpDecision, IpFilterStage, IpVerdict, Subject};
use crate::stages::rate_limit::seconds_up;
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
        let decision = self.isolate.control_counters.borrow_mut().take(key, &control::quota(token), 1, now);
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
}
