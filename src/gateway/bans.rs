//! Who is kept out for a while: the steps of the journey about bans, and what
//! becomes of offences after it.

use std::net::IpAddr;
use std::time::Duration;

use super::{Isolate, Journey, logged_network};
use crate::error::{Dependency, PlatformError, Reason, Reject};
use crate::observe::record::{ClientAddress, StageRecord, Verdict};
use crate::platform::{Clock, LimiterClient, Pause, Platform};
use crate::stages::Mode;
use crate::stages::bans::message::{Message, Told};
use crate::stages::bans::{Ban, BanSet, BansStage, Found, is_guarded};
use crate::stages::identity::Identity;
use crate::stages::ip_filter::prefix::Prefix;
use crate::time::Timestamp;

/// How long a `Limiter` object may take to answer to a report.
const REPORT_WAIT: Duration = Duration::from_secs(2);

/// How long whoever reports waits for more: the platform ends what goes on
/// after a response after 30 seconds.
const REPORT_RUN: Duration = Duration::from_secs(20);

impl Isolate {
    /// The ban that a client is refused by, or the one in shadow that is
    /// noted.
    #[must_use]
    pub fn ban(
        &self,
        stage: &BansStage,
        set: Option<&BanSet>,
        address: IpAddr,
        now: Timestamp,
    ) -> Option<Found> {
        if stage.mode == Mode::Off || (set.is_none() && self.bans.borrow().is_empty()) {
            return None;
        }
        if let Some(set) = set {
            self.bans.borrow_mut().settle(set);
        }
        stage.judge(address, set, &self.bans.borrow(), now)
    }

    /// Holds a ban until its end, or until the manifest decides. `generation`
    /// is the one under which `Control` took it, where that is known.
    pub fn hold_ban(&self, ban: Ban, generation: Option<u64>, now: Timestamp) {
        self.bans.borrow_mut().hold(ban, generation, now);
    }

    /// Drops what is held of a ban that was lifted.
    pub fn lift_ban(&self, network: Prefix, now: Timestamp) {
        self.bans.borrow_mut().lift(network, now);
    }

    /// Whether offences are to be reported by this request, after its
    /// response, with [`report_offences`].
    #[must_use]
    pub fn takes_on_reports(&self, now: Timestamp) -> bool {
        // Asked after every request, so first what is nearly always so.
        !self.offences.borrow().is_empty() && self.offences.borrow_mut().take_on(now)
    }
}

impl<P: Platform> Journey<'_, P> {
    /// Refuses a banned client.
    pub(super) fn banned(&mut self, identity: &Identity, now: Timestamp) -> Result<(), Reject> {
        let stage = &self.gateway.bans;
        let set = self.acting.snapshot.bans.as_deref();
        let Some(found) = self.isolate.ban(stage, set, identity.address, now) else {
            return Ok(());
        };
        self.note_ban(if self.guarded { "guarded" } else { "deny" }, &found);
        if self.guarded || found.shadow {
            return Ok(());
        }
        Err(stage.refusal(found.until, now))
    }

    /// Takes in a ban that an exact count has told.
    pub(super) fn heard(&mut self, ban: Ban, identity: &Identity, now: Timestamp) -> Result<(), Reject> {
        let stage = &self.gateway.bans;
        let set = self.acting.snapshot.bans.as_deref();
        let action = stage.heard(&ban, identity.address, set, now);
        let found = Found { prefix: ban.network, until: ban.until, cause: ban.cause.clone(), shadow: false };
        self.isolate.hold_ban(ban, None, now);
        if action != Mode::Enforce {
            return Ok(());
        }
        self.note_ban("deny", &found);
        Err(stage.refusal(found.until, now))
    }

    fn note_ban(&mut self, verdict: &'static str, found: &Found) {
        // A trigger's ban names its client: as little as the setting says.
        let setting = self.gateway.logged_address;
        let prefix = match setting {
            ClientAddress::Address => Some(found.prefix),
            ClientAddress::Network => logged_network(found.prefix.address())
                .filter(|network| network.length() < found.prefix.length())
                .or(Some(found.prefix)),
            ClientAddress::None => None,
        };
        self.record.stages.push(StageRecord {
            stage: "entry.bans",
            verdict,
            rule: Some(found.cause.to_string()),
            prefix: prefix.map(|prefix| prefix.to_string()),
            shadow: found.shadow,
            error: None,
        });
    }

    /// Counts the request for every trigger for which it is an offence; a
    /// client that comes to a threshold with it is banned from the next one
    /// on.
    pub(super) fn count_offences(&self, now: Timestamp) {
        let gateway = self.gateway;
        let Some(network) = self.client.filter(|_| gateway.bans.has_triggers()) else { return };
        let is_banned = self.record.reason == Some(Reason::Banned.as_str());
        // Of a network that touches the guard list nobody is banned.
        if is_banned || (!gateway.guard.is_empty() && is_guarded(network, &gateway.guard)) {
            return;
        }
        let refused = self.record.verdict == Verdict::Refused;
        for terms in gateway.bans.offended(self.tripped, refused, self.record.status) {
            let ban = self.isolate.offences.borrow_mut().note(network, terms, now);
            if let Some(ban) = ban {
                self.isolate.hold_ban(ban, None, now);
            }
        }
    }
}

/// Reports offences to the `Limiter` objects until nothing is left, or for a
/// while, and takes in the bans that come of it. To be called by whom
/// [`Isolate::takes_on_reports`] has chosen. Gives what failed first, for the
/// log.
pub async fn report_offences<P: Clock + LimiterClient + Pause>(
    isolate: &Isolate,
    platform: &P,
) -> Option<PlatformError> {
    let begun = platform.now();
    let mut failure = None;
    loop {
        let now = platform.now();
        let due = isolate.offences.borrow().next_due();
        let Some(due) = due.filter(|due| due.since(begun) <= REPORT_RUN && now.since(begun) <= REPORT_RUN)
        else {
            break;
        };
        if due > now {
            platform.pause(due.since(now)).await;
        }
        let reports = isolate.offences.borrow_mut().reports(platform.now());
        if reports.is_empty() && due <= now {
            // Nothing is due that can be sent now: whoever comes next.
            break;
        }
        for (shard, report) in reports {
            // Objects that do not answer must not take all the time there is:
            // what has not been sent is sent next time.
            if platform.now().since(begun) > REPORT_RUN {
                break;
            }
            let text = Message::Report(report).encode();
            let told = platform.tell(shard, &text, REPORT_WAIT).await.and_then(|text| {
                let unread = || PlatformError::failed(Dependency::Counter, format!("not an answer: {text}"));
                Told::decode(&text).ok_or_else(unread)
            });
            let now = platform.now();
            isolate.offences.borrow_mut().conclude(shard, told.as_ref().ok(), now);
            match told {
                Ok(told) => told.bans.into_iter().for_each(|ban| isolate.hold_ban(ban, None, now)),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
    }
    isolate.offences.borrow_mut().give_up_reporting();
    failure
}
