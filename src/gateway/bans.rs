//! Who is kept out for a while: the steps of the journey about bans.

use super::{Isolate, Journey};
use crate::error::Reject;
use crate::observe::record::StageRecord;
use crate::platform::Platform;
use crate::stages::Mode;
use crate::stages::bans::{Ban, BanSet, BansStage, Found};
use crate::stages::identity::Identity;
use crate::time::Timestamp;

impl Isolate {
    /// The ban that a client is refused by, or the one in shadow that is
    /// noted.
    #[must_use]
    pub fn ban(
        &self,
        stage: &BansStage,
        set: Option<&BanSet>,
        identity: &Identity,
        now: Timestamp,
    ) -> Option<Found> {
        if stage.mode == Mode::Off || (set.is_none() && self.bans.borrow().is_empty()) {
            return None;
        }
        if let Some(set) = set {
            self.bans.borrow_mut().settle(set);
        }
        stage.judge(identity.address, set, &self.bans.borrow(), now)
    }

    /// Holds a ban until its end, or until the manifest decides. `generation`
    /// is the one under which `Control` took it, where that is known.
    pub fn hold_ban(&self, ban: Ban, generation: Option<u64>, now: Timestamp) {
        self.bans.borrow_mut().hold(ban, generation, now);
    }
}

impl<P: Platform> Journey<'_, P> {
    /// Refuses a banned client.
    pub(super) fn banned(&mut self, identity: &Identity, now: Timestamp) -> Result<(), Reject> {
        let stage = &self.gateway.bans;
        let set = self.acting.snapshot.bans.as_deref();
        let Some(found) = self.isolate.ban(stage, set, identity, now) else {
            return Ok(());
        };
        let verdict = if self.guarded { "guarded" } else { "deny" };
        self.record.stages.push(StageRecord {
            stage: "entry.bans",
            verdict,
            rule: Some(found.cause.to_string()),
            prefix: Some(found.prefix.to_string()),
            shadow: found.shadow,
            error: None,
        });
        if self.guarded || found.shadow {
            return Ok(());
        }
        Err(stage.refusal(found.until, now))
    }
}
