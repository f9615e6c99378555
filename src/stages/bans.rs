//! Stage 3, bans: is this client kept out for a while?
//!
//! 1. A ban is a network with an end. It never acts past its end, and ending
//!    needs no write: who looks compares with now.
//! 2. The guard list goes before bans, and bans before the rules of
//!    `ip_filter`. A guarded address is never refused, and a network that
//!    touches the guard list is never banned.
//! 3. Of several bans that hold an address the one with the latest end acts.
//! 4. Bans are made by people through the admin API, or by triggers, as
//!    fail2ban makes them: so many offences within a window. What a trigger
//!    made acts while that trigger stands in the policy and enforces, so
//!    taking a trigger away undoes what it did.
//! 5. Requests of banned clients, of guarded ones and for `/_weir/` are no
//!    offences. A client is who the identity says: no header field of a
//!    stranger's names somebody else.
//! 6. A ban acts at once in the isolate that made it, with the next exact
//!    count everywhere, since the `Limiter` object that counts a client also
//!    keeps its bans, and with the manifest in all other isolates.
//! 7. While a `Limiter` object fails, isolates count offences alone; while
//!    `Control` fails, bans reach other isolates with exact counts only.

pub mod config;
pub mod limiter;
pub mod message;
pub mod offences;
pub mod offender;
pub mod set;
pub mod table;
pub mod trigger;
pub mod window;

use std::net::IpAddr;
use std::rc::Rc;

pub use self::config::{BansConfig, LIMIT_EXPECTED, LimitNames};
pub use self::set::BanSet;
pub use self::table::BanTable;
pub use self::trigger::{Terms, Trigger};
use super::Mode;
use super::identity::Identity;
use super::ip_filter::DenyAnswer;
use super::ip_filter::prefix::Prefix;
use super::rate_limit::{LimitRule, seconds_up};
use crate::addresses::AddressIndex;
use crate::error::{Reason, Reject};
use crate::time::Timestamp;

/// The cause of a ban that the admin API made; no trigger is called so.
pub const MANUAL: &str = "manual";

/// The most bans of an environment.
pub const BANS_LIMIT: usize = 100_000;

/// The shortest prefixes that can be banned: a registry hands out nothing
/// larger to one holder.
pub const LEAST_LENGTHS: (u8, u8) = (8, 19);

/// A ban.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    /// Whom it keeps out.
    pub network: Prefix,
    /// When it was made.
    pub since: Timestamp,
    /// When it ends, in whole seconds.
    pub until: Timestamp,
    /// What made it: [`MANUAL`], or the id of a trigger.
    pub cause: Rc<str>,
    /// Made by a trigger in shadow: it never acts.
    pub shadow: bool,
}

impl Ban {
    /// Whether a person made it.
    #[must_use]
    pub fn is_manual(&self) -> bool {
        &*self.cause == MANUAL
    }
}

/// The ban that is decided by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its network.
    pub prefix: Prefix,
    /// When it ends.
    pub until: Timestamp,
    /// What made it.
    pub cause: Rc<str>,
    /// Whether it is only noted.
    pub shadow: bool,
}

/// The compiled stage.
#[derive(Clone, Debug, Default)]
pub struct BansStage {
    /// Whether bans act.
    pub mode: Mode,
    answer: Option<DenyAnswer>,
    /// Those that are not off.
    triggers: Vec<Trigger>,
    /// The triggers that count refusals, each a bit by its place.
    refusals: u32,
    /// The triggers that count a status.
    statuses: Vec<(u16, u32)>,
}

impl BansStage {
    pub(super) fn new(mode: Mode, answer: Option<DenyAnswer>, triggers: Vec<Trigger>) -> Self {
        let bits = |holds: &dyn Fn(&Trigger) -> bool| {
            (0_u32..)
                .zip(&triggers)
                .filter(|(_, trigger)| holds(trigger))
                .fold(0, |all, (place, _)| all | bit(place))
        };
        let refusals = bits(&|trigger| trigger.refusals);
        let mut statuses: Vec<u16> = triggers.iter().flat_map(|trigger| &trigger.statuses).copied().collect();
        statuses.sort_unstable();
        statuses.dedup();
        let statuses = statuses
            .into_iter()
            .map(|status| (status, bits(&|trigger| trigger.statuses.contains(&status))))
            .collect();
        Self { mode, answer, triggers, refusals, statuses }
    }

    /// Whether anything is counted.
    #[must_use]
    pub const fn has_triggers(&self) -> bool {
        !self.triggers.is_empty()
    }

    /// The triggers that name a rule of `rate_limit`, each a bit by its place.
    #[must_use]
    pub fn naming(&self, route: &str, rule: &str) -> u32 {
        let named = |trigger: &Trigger| trigger.limits.iter().any(|limit| limit.names(route, rule));
        (0_u32..)
            .zip(&self.triggers)
            .filter(|(_, trigger)| named(trigger))
            .fold(0, |all, (place, _)| all | bit(place))
    }

    /// The triggers for which a request is an offence: `tripped` are those
    /// that name a rule that refused it, `refused` is whether the gateway did.
    pub fn offended(&self, tripped: u32, refused: bool, status: u16) -> impl Iterator<Item = &Rc<Terms>> {
        let by_status = self.statuses.iter().find(|(other, _)| *other == status).map_or(0, |(_, bits)| *bits);
        let all = tripped | by_status | if refused { self.refusals } else { 0 };
        (0_u32..)
            .zip(&self.triggers)
            .filter(move |(place, _)| all & bit(*place) != 0)
            .map(|(_, trigger)| &trigger.terms)
    }

    /// What becomes of a client that a ban of this cause holds.
    #[must_use]
    pub fn action(&self, cause: &str, shadow: bool) -> Mode {
        if cause == MANUAL {
            return self.mode;
        }
        let trigger = self.triggers.iter().find(|trigger| &*trigger.terms.id == cause);
        let mode = trigger.map_or(Mode::Off, |trigger| trigger.mode);
        if shadow { mode.within(Mode::Shadow) } else { mode }
    }

    /// The ban that an address is refused by, or else the one that is noted.
    #[must_use]
    pub fn judge(
        &self,
        address: IpAddr,
        set: Option<&BanSet>,
        local: &BanTable,
        now: Timestamp,
    ) -> Option<Found> {
        let mut best: Option<Found> = None;
        let mut consider = |prefix: Prefix, until: Timestamp, cause: &Rc<str>, shadow: bool| {
            let shadow = match self.action(cause, shadow) {
                Mode::Enforce => false,
                Mode::Shadow => true,
                Mode::Off => return,
            };
            // What acts goes before what is noted, and then the latest end.
            let is_better = |best: &Found| (!shadow, until) > (!best.shadow, best.until);
            if best.as_ref().is_none_or(is_better) {
                best = Some(Found { prefix, until, cause: Rc::clone(cause), shadow });
            }
        };
        for hit in set.into_iter().flat_map(|set| set.find(address, now)) {
            consider(hit.network, hit.until, hit.cause, false);
        }
        let is_lifted = |ban: &Ban| set.is_some_and(|set| set.lifts(ban));
        for ban in local.find(address, now).filter(|ban| !is_lifted(ban)) {
            consider(ban.network, ban.until, &ban.cause, ban.shadow);
        }
        best
    }

    /// The client that an exact count is asked about, where its ban would act.
    #[must_use]
    pub fn asked_for(&self, rule: &LimitRule, identity: &Identity, guarded: bool) -> Option<Prefix> {
        (self.mode != Mode::Off && !guarded && rule.counts_clients()).then_some(identity.network)
    }

    /// What becomes of a client whose ban an exact count has told.
    #[must_use]
    pub fn heard(&self, ban: &Ban, address: IpAddr, set: Option<&BanSet>, now: Timestamp) -> Mode {
        let is_one =
            ban.network.contains(address) && ban.until > now && !set.is_some_and(|set| set.lifts(ban));
        if is_one { self.action(&ban.cause, ban.shadow) } else { Mode::Off }
    }

    /// What a banned client gets.
    #[must_use]
    pub fn refusal(&self, until: Timestamp, now: Timestamp) -> Reject {
        let reject = Reject::new(Reason::Banned).answer(self.answer.as_ref());
        // Who is told that nothing is there is not told when to come again.
        if reject.is_hidden() {
            return reject;
        }
        reject.retry_after(seconds_up(until.since(now)).max(1))
    }
}

fn bit(place: u32) -> u32 {
    1_u32.checked_shl(place).unwrap_or_default()
}

/// Whether a network is not too wide to be banned.
#[must_use]
pub fn is_bannable(network: Prefix) -> bool {
    let least = if network.address().is_ipv4() { LEAST_LENGTHS.0 } else { LEAST_LENGTHS.1 };
    network.length() >= least
}

/// The network of that address and length, as it stands: one of IPv6 addresses
/// that embed IPv4 ones is not read as those, since clients that are counted
/// as IPv6 networks are banned as such. `None` where a host bit is set.
#[must_use]
pub fn network_of(address: IpAddr, length: u8) -> Option<Prefix> {
    Prefix::containing(address, length).filter(|network| network.address() == address)
}

/// A network from its text, as `Display` writes it, or an address.
#[must_use]
pub fn parse_network(text: &str) -> Option<Prefix> {
    let Some((address, length)) = text.split_once('/') else {
        return text.parse().ok().map(Prefix::host);
    };
    network_of(address.parse().ok()?, length.parse().ok()?)
}

/// Whether a network has an address in common with the guard list.
#[must_use]
pub fn is_guarded(network: Prefix, guard: &AddressIndex) -> bool {
    guard.longest(network.address()).is_some() || guard.inside(network).next().is_some()
}

/// The moment cut to whole seconds, as ends are held.
#[must_use]
pub fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_millis(time.seconds().saturating_mul(1_000))
}
