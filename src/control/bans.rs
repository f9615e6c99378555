//! The bans, as the `Control` object keeps them.
//!
//! 1. A network has one ban. A person's stands until its end or until a person
//!    changes it; of triggers the later end stands.
//! 2. At most [`BANS_LIMIT`]. The earliest end leaves first, and bans of people
//!    never leave for those of triggers: no flood lifts what somebody decided.
//! 3. What the guard list of the active policy holds is never banned.
//! 4. What is lifted stays known until it would have ended, so that isolates
//!    and `Limiter` objects that heard of the ban late do not bring it back.
//!    So does a client that nobody has banned as far as is known here, for ten
//!    minutes: a trigger may have banned it a moment ago.
//! 5. For the manifest all bans are collected into one set: at once for what a
//!    person does, at most every five seconds for what triggers do, and not at
//!    all when only time has passed. It is stored as it is published, so that
//!    what is read back can be compared.
//! 6. Every ban and every lifting by a person stands in the audit log; those
//!    of triggers stand in the list alone.

mod collect;
mod lift;
mod message;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub(super) use self::collect::collect;
pub use self::collect::{BANS, BansState, COLLECT_EVERY};
pub use self::message::{
    BanList, BanOrder, BansAcknowledgement, BansPage, BansReport, BansTaken, ListedBan, OrderedBan,
    ReportedBan, UnbanOrder, report_of,
};
use super::answer::{AuditEntry, AuditOutcome, PublicationState, Refusal, Refused};
use super::message::{NAME_LIMIT, NOTE_LIMIT, PAGE_LIMIT, Role};
use super::plane::{PUBLISH_AFTER, Plane, document, may_change, row};
use super::publication::{Step, next_step};
use super::state::{lost, stored};
use crate::addresses::{AddressIndex, SetId};
use crate::error::{PlatformError, clip};
use crate::platform::{BanKind, BanRow, ControlStore, Table, Write};
use crate::stages::bans::limiter::BATCH_LIMIT;
use crate::stages::bans::{BANS_LIMIT, MANUAL, is_bannable, is_guarded, parse_network, whole_seconds};
use crate::stages::ip_filter::prefix::Prefix;
use crate::time::Timestamp;

/// The most bans, or networks, of one message of a person's.
pub const ORDER_LIMIT: usize = 1_000;

/// The longest ban of a person's.
pub const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// How long it stays known that a client was let go of which no ban was known.
/// `Limiter` objects report within a few seconds, and try again within a minute.
pub const UNHEARD: Duration = Duration::from_secs(600);

/// The name of the value that holds the guard list.
const GUARD: &str = "guard";

/// The guard list of a revision.
#[derive(Serialize, Deserialize)]
struct Guard {
    revision: u64,
    networks: Vec<String>,
}

/// As much of a document as holds it.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Guarded {
    guard_list: Vec<Prefix>,
}

/// Everything about a ban, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    #[serde(flatten)]
    listed: ListedBan,
    /// [`MANUAL`] or the trigger.
    cause: String,
    since_ms: u64,
    until_ms: u64,
    /// When it was lifted, where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lifted_ms: Option<u64>,
}

impl Known {
    fn kind(&self) -> BanKind {
        match (self.lifted_ms, self.cause == MANUAL) {
            (Some(_), _) => BanKind::Lifted,
            (None, true) => BanKind::Manual,
            (None, false) => BanKind::Automatic,
        }
    }

    fn write(&self, network: Prefix) -> Write {
        Write::Ban(BanRow {
            key: key_of(network),
            kind: self.kind(),
            until: Timestamp::from_millis(self.until_ms),
            short: format!(
                "{} {} {}",
                self.until_ms,
                self.cause,
                self.lifted_ms.map(|lifted| lifted.to_string()).unwrap_or_default()
            ),
            text: row(self),
        })
    }

    /// Whether it holds now.
    fn holds(&self, now: Timestamp) -> bool {
        self.lifted_ms.is_none() && self.until_ms > now.millis()
    }
}

/// A network as a key that sorts: IPv4 first, then by address and length.
#[must_use]
pub fn key_of(network: Prefix) -> String {
    match network.address() {
        IpAddr::V4(v4) => format!("4{:08x}/{:02}", v4.to_bits(), network.length()),
        IpAddr::V6(v6) => format!("6{:032x}/{:03}", v6.to_bits(), network.length()),
    }
}

/// The network of a key.
#[must_use]
pub fn network_of(key: &str) -> Option<Prefix> {
    let (address, length) = key.get(1..)?.split_once('/')?;
    let address: IpAddr = match key.get(..1)? {
        "4" => Ipv4Addr::from_bits(u32::from_str_radix(address, 16).ok()?).into(),
        _ => Ipv6Addr::from_bits(u128::from_str_radix(address, 16).ok()?).into(),
    };
    crate::stages::bans::network_of(address, length.parse().ok()?)
}

/// A line of the list, from its key, its end and its text.
fn listed(line: &str) -> ListedBan {
    let mut words = line.splitn(3, ' ');
    let (key, until, text) = (words.next(), words.next(), words.next());
    match text.and_then(|text| stored::<Known>(text).ok()) {
        Some(known) => known.listed,
        None => {
            let key = key.unwrap_or_default();
            let network = network_of(key).map_or_else(|| key.to_owned(), |network| network.to_string());
            let until = until.and_then(|until| until.parse().ok()).unwrap_or_default();
            damaged(network, Timestamp::from_millis(until))
        }
    }
}

/// A ban of which nothing more can be read: it is seen, and can be lifted.
fn damaged(network: String, until: Timestamp) -> ListedBan {
    ListedBan {
        network,
        until: until.to_string(),
        since: Timestamp::default().to_string(),
        reason: "what is stored of this ban is damaged".to_owned(),
        by: String::new(),
        count: None,
    }
}

impl<S: ControlStore> Plane<'_, S> {
    pub(super) fn ban(
        &mut self,
        order: BanOrder,
    ) -> Result<Result<BansAcknowledgement, Refused>, PlatformError> {
        let BanOrder { bans, author, role } = order;
        let action = |plane: &Self, ban: Option<&OrderedBan>| AuditEntry {
            author: clip(&author, NAME_LIMIT).to_owned(),
            role: Some(role),
            action: "ban".to_owned(),
            network: ban.map(|ban| clip(&ban.network, NAME_LIMIT).to_owned()),
            message: ban.map(|ban| clip(&ban.reason, NOTE_LIMIT).to_owned()).unwrap_or_default(),
            ..plane.entry()
        };
        let checked = self.check_order(&bans, role)?;
        let wanted = match checked {
            Ok(wanted) => wanted,
            Err((place, refused)) => {
                let entry = action(self, bans.get(place));
                self.note_outcome(entry, Some(&refused));
                return Ok(Err(refused));
            }
        };
        let mut networks = Vec::with_capacity(wanted.len());
        self.writes.push(Write::SweepBans(self.now));
        for (network, until, ban) in &wanted {
            let listed = ListedBan {
                network: network.to_string(),
                until: until.to_string(),
                since: self.now.to_string(),
                reason: clip(&ban.reason, NOTE_LIMIT).to_owned(),
                by: clip(&author, NAME_LIMIT).to_owned(),
                count: None,
            };
            let (since_ms, until_ms) = (self.now.millis(), until.millis());
            let known = Known { listed, cause: MANUAL.to_owned(), since_ms, until_ms, lifted_ms: None };
            self.writes.push(known.write(*network));
            let entry = AuditEntry {
                outcome: AuditOutcome::Accepted,
                network: Some(network.to_string()),
                until: Some(until.to_string()),
                ..action(self, Some(ban))
            };
            self.add_audit(entry);
            networks.push(network.to_string());
        }
        Ok(Ok(self.collect_now(networks)))
    }

    /// The networks and ends of an order, or what is wrong, and with which.
    #[expect(clippy::type_complexity, reason = "a list, or where it is wrong")]
    fn check_order<'b>(
        &mut self,
        bans: &'b [OrderedBan],
        role: Role,
    ) -> Result<Result<Vec<(Prefix, Timestamp, &'b OrderedBan)>, (usize, Refused)>, PlatformError> {
        let malformed = |detail: String| Refused::new(Refusal::Malformed).detail(detail);
        if !may_change(role) {
            return Ok(Err((0, Refused::new(Refusal::NeedsOperator))));
        }
        if bans.is_empty() || bans.len() > ORDER_LIMIT {
            return Ok(Err((0, malformed(format!("expected 1 to {ORDER_LIMIT} bans")))));
        }
        let guard = self.guard()?;
        let mut wanted: BTreeMap<Prefix, (Timestamp, &OrderedBan)> = BTreeMap::new();
        for (place, ban) in bans.iter().enumerate() {
            let network = parse_network(&ban.network).filter(|network| is_bannable(*network));
            let Some(network) = network else {
                return Ok(Err((
                    place,
                    malformed(format!("\"{}\" cannot be banned", clip(&ban.network, 64))),
                )));
            };
            if is_guarded(network, &guard) {
                let detail = format!("the guard list holds {network}, or a part of it");
                return Ok(Err((place, Refused::new(Refusal::Guarded).detail(detail))));
            }
            let duration = ban.duration.map(Duration::from_millis);
            let until =
                ban.until.map(Timestamp::from_millis).or(duration.map(|duration| self.now.after(duration)));
            let until = until
                .map(whole_seconds)
                .filter(|until| *until > self.now && until.since(self.now) <= LONGEST);
            let Some(until) = until else {
                let detail = format!("the end of the ban of {network} is not within the next 366 days");
                return Ok(Err((place, malformed(detail))));
            };
            wanted.insert(network, (until, ban));
        }
        let wanted: Vec<_> =
            wanted.into_iter().map(|(network, (until, ban))| (network, until, ban)).collect();
        if !self.make_room(wanted.iter().map(|(network, ..)| *network))? {
            let detail = format!("there are {BANS_LIMIT} bans of people already");
            return Ok(Err((0, Refused::new(Refusal::TooManyBans).detail(detail))));
        }
        Ok(Ok(wanted))
    }

    /// Lets bans of triggers go for those of people, the earliest end first;
    /// gives whether there is room then.
    fn make_room(&mut self, networks: impl Iterator<Item = Prefix>) -> Result<bool, PlatformError> {
        let mut more = 0_usize;
        let mut replaced = Vec::new();
        for network in networks {
            let known = self.known(network)?.filter(|known| known.holds(self.now));
            match known {
                None => more = more.saturating_add(1),
                Some(_) => replaced.push(key_of(network)),
            }
        }
        let automatic = self.store.ban_count(BanKind::Automatic, self.now)?;
        let people = self.store.ban_count(BanKind::Manual, self.now)?;
        let over = automatic.saturating_add(people).saturating_add(more).saturating_sub(BANS_LIMIT);
        if over == 0 {
            return Ok(true);
        }
        let first =
            self.store.first_bans(BanKind::Automatic, self.now, over.saturating_add(replaced.len()))?;
        let leave: Vec<String> = first
            .iter()
            .filter_map(|line| line.split_once(' ').map(|(key, _)| key.to_owned()))
            .filter(|key| !replaced.contains(key))
            .take(over)
            .collect();
        if leave.len() < over {
            return Ok(false);
        }
        self.writes.extend(leave.into_iter().map(Write::ForgetBan));
        Ok(true)
    }

    /// Lets what was changed be collected at once.
    fn collect_now(&mut self, networks: Vec<String>) -> BansAcknowledgement {
        self.state.collect = Some(self.now);
        self.writes.push(self.state.write());
        self.writes.push(Write::Alarm(self.now.after(PUBLISH_AFTER)));
        // Generation and sequence are known when it has been collected.
        BansAcknowledgement {
            generation: 0,
            sequence: 0,
            state: PublicationState::Pending,
            networks,
            unheard: Vec::new(),
        }
    }

    /// Writes an entry without the state, which is written once for all.
    fn add_audit(&mut self, entry: AuditEntry) {
        self.state.audit = entry.id;
        self.writes.push(Write::Row(Table::Audit, entry.id, row(&entry)));
    }

    pub(super) fn bans(&self, page: &BansPage) -> Result<BanList, PlatformError> {
        let total = self
            .store
            .ban_count(BanKind::Automatic, self.now)?
            .saturating_add(self.store.ban_count(BanKind::Manual, self.now)?);
        let limit = page.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(PAGE_LIMIT);
        let limit = limit.clamp(1, PAGE_LIMIT);
        let after = page.after.as_deref().and_then(parse_network).map(key_of).unwrap_or_default();
        let mut bans = match page.address.as_ref().map(|address| address.parse::<IpAddr>()) {
            None => {
                let lines = self.store.bans(&after, self.now, limit.saturating_add(1))?;
                lines.iter().map(|line| listed(line)).collect()
            }
            Some(Err(_)) => Vec::new(),
            Some(Ok(address)) => {
                let mut bans = Vec::new();
                for length in 0..=128 {
                    let network = Prefix::containing(address.to_canonical(), length)
                        .filter(|network| is_bannable(*network));
                    let Some(network) = network.filter(|network| key_of(*network) > after) else { continue };
                    match self.stored_ban(network)? {
                        Some(Ok(known)) => {
                            bans.extend(known.holds(self.now).then_some(known.listed));
                        }
                        Some(Err(_)) => bans.push(damaged(network.to_string(), Timestamp::default())),
                        None => {}
                    }
                }
                bans
            }
        };
        let more = bans.len() > limit;
        bans.truncate(limit);
        Ok(BanList { bans, more, total })
    }

    /// Takes in what triggers have made.
    pub(super) fn report_bans(&mut self, report: BansReport) -> Result<BansTaken, PlatformError> {
        let guard = self.guard()?;
        let mut taken = BansTaken::default();
        let mut made: BTreeMap<Prefix, (Known, bool)> = BTreeMap::new();
        for ban in report.bans.into_iter().take(BATCH_LIMIT) {
            let is_cause = !ban.cause.is_empty() && ban.cause.bytes().all(|byte| byte.is_ascii_graphic());
            let network = parse_network(&ban.network).filter(|network| is_cause && is_bannable(*network));
            let Some(network) = network else { continue };
            let until = whole_seconds(Timestamp::from_millis(ban.until))
                .min(self.now.after(LONGEST.saturating_mul(2)));
            let known = match made.get(&network) {
                Some((known, _)) => Some(known.clone()),
                None => self.known(network)?,
            };
            let is_lifted =
                known.as_ref().and_then(|known| known.lifted_ms).is_some_and(|lifted| ban.since <= lifted);
            if is_lifted || is_guarded(network, &guard) {
                taken.dropped.push(ban.network);
                continue;
            }
            let known = known.filter(|known| known.holds(self.now));
            let stands =
                known.as_ref().is_some_and(|known| known.cause == MANUAL || known.until_ms >= until.millis());
            if stands || until <= self.now {
                continue;
            }
            let by = format!("trigger {}", clip(&ban.cause, NAME_LIMIT));
            let listed = ListedBan {
                network: network.to_string(),
                until: until.to_string(),
                since: Timestamp::from_millis(ban.since).to_string(),
                reason: format!("{by} reached its threshold"),
                by,
                count: Some(ban.count),
            };
            let cause = clip(&ban.cause, NAME_LIMIT).to_owned();
            let (since_ms, until_ms) = (ban.since, until.millis());
            made.insert(
                network,
                (Known { listed, cause, since_ms, until_ms, lifted_ms: None }, known.is_none()),
            );
        }
        self.add_automatic(made)?;
        Ok(taken)
    }

    fn add_automatic(&mut self, made: BTreeMap<Prefix, (Known, bool)>) -> Result<(), PlatformError> {
        if made.is_empty() {
            return Ok(());
        }
        self.writes.push(Write::SweepBans(self.now));
        // What is damaged is collected anew, and counted there.
        let loaded = BansState::load(self.store)?;
        let is_whole = loaded.is_ok();
        let mut state = loaded.unwrap_or_default();
        let more = made.values().filter(|(_, is_new)| *is_new).count();
        let then = state.automatic.saturating_add(more);
        let over = then.saturating_add(state.people).saturating_sub(BANS_LIMIT);
        state.automatic = then.saturating_sub(over);
        // Of those that are there and those that come, the earliest ends go.
        let mut ends: Vec<(u64, Option<Prefix>, String)> = Vec::new();
        if over > 0 {
            for line in
                self.store.first_bans(BanKind::Automatic, self.now, over.saturating_add(made.len()))?
            {
                let (key, until) = line.split_once(' ').unwrap_or((&line, "0"));
                let is_replaced = network_of(key).is_some_and(|network| made.contains_key(&network));
                if !is_replaced {
                    ends.push((until.parse().unwrap_or_default(), None, key.to_owned()));
                }
            }
            ends.extend(
                made.iter().map(|(network, (known, _))| (known.until_ms, Some(*network), String::new())),
            );
            ends.sort();
            ends.truncate(over);
        }
        let mut made = made;
        for (_, network, key) in ends {
            match network {
                Some(network) => drop(made.remove(&network)),
                None => self.writes.push(Write::ForgetBan(key)),
            }
        }
        for (network, (known, _)) in made {
            self.writes.push(known.write(network));
        }
        let free = state.collected.map_or(self.now, |collected| collected.after(COLLECT_EVERY));
        // A clock that went back must not put it off.
        let due = free.max(self.now).min(self.now.after(COLLECT_EVERY));
        if is_whole {
            self.writes.push(state.write());
        }
        self.state.collect = Some(self.state.collect.unwrap_or(due).min(due));
        self.writes.push(self.state.write());
        let wake = match next_step(&self.state, self.now) {
            Step::Idle => None,
            Step::Wait(due) => Some(due),
            _ => Some(self.now),
        };
        self.writes.extend(wake.map(Write::Alarm));
        Ok(())
    }

    /// What is known of a network, ended or lifted or not. A row that is
    /// damaged says nothing: whoever bans writes over it.
    fn known(&self, network: Prefix) -> Result<Option<Known>, PlatformError> {
        Ok(self.stored_ban(network)?.and_then(Result::ok))
    }

    /// The row of a network, or how it is damaged.
    fn stored_ban(&self, network: Prefix) -> Result<Option<Result<Known, PlatformError>>, PlatformError> {
        Ok(self.store.ban(&key_of(network))?.map(|text| stored(&text)))
    }

    /// The guard list of the active policy. It is kept beside the document,
    /// which may be long, and is not read for every report.
    fn guard(&mut self) -> Result<AddressIndex, PlatformError> {
        if self.state.active == 0 {
            return Ok(AddressIndex::default());
        }
        // One that is damaged is made anew.
        let known: Option<Guard> = self.store.value(GUARD)?.and_then(|text| stored(&text).ok());
        let guard = match known.filter(|guard| guard.revision == self.state.active) {
            Some(guard) => guard,
            None => {
                let active =
                    self.stored_revision(self.state.active)?.ok_or_else(|| lost("the active revision"))?;
                // What is active was accepted, so it parses.
                let Guarded { guard_list } = stored(&document(self.store, &active.hash)?)?;
                let networks = guard_list.iter().map(Prefix::to_string).collect();
                let guard = Guard { revision: self.state.active, networks };
                self.writes.push(Write::Value(GUARD, row(&guard)));
                guard
            }
        };
        let networks = guard.networks.iter().filter_map(|network| network.parse().ok());
        Ok(AddressIndex::build(networks.map(|network: Prefix| (network, SetId(0)))))
    }
}
