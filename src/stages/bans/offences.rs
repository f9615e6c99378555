//! Offences that an isolate has seen.
//!
//! 1. Counted here first: a client that reaches the threshold in one isolate
//!    is banned there at once, whatever becomes of the rest.
//! 2. Reported to the `Limiter` objects, which sum up: at most once a second,
//!    and with one call for each of them. A client that was reported comes
//!    with a lease: a few more may stay here, for a few seconds.
//! 3. A report that was not acknowledged is sent again as it was, and counts
//!    once. After a while it is given up: what is counted here counts on.
//! 4. Bounded. When the table is full, the clients that were seen longest ago
//!    and have nothing to report are forgotten here, not in the objects. When
//!    all of them have, a new client is not counted.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::Duration;

use siphasher::sip::SipHasher13;

use super::message::{OFFENCES_LIMIT, Offence, Report, Told};
use super::offender::LEASE;
use super::table::Keyed;
use super::window::Window;
use super::{Ban, Terms, whole_seconds};
use crate::stages::ip_filter::prefix::Prefix;
use crate::stages::rate_limit::shard_of;
use crate::time::Timestamp;

/// How many clients are counted, each for every trigger: about 5 MiB.
pub const CAPACITY: usize = 10_000;

/// The least time between two reports.
pub const REPORT_EVERY: Duration = Duration::from_secs(1);

/// The longest wait after a report that failed.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// How long a report is tried.
const GIVE_UP: Duration = Duration::from_secs(300);

/// How long whoever took on to report may take; then somebody else does.
const RUN: Duration = Duration::from_secs(60);

/// The least time between two sweeps of a full table.
const SWEEP_EVERY: Duration = Duration::from_millis(100);

/// A client, as one trigger knows it.
#[derive(Debug)]
struct Count {
    terms: Rc<Terms>,
    window: Window,
    /// What has not been reported, and when the first of it was.
    unsent: u32,
    first: Timestamp,
    /// How much of it may stay here.
    keep: u32,
    /// A ban that was made here and not reported.
    banned: Option<Timestamp>,
    /// Of a trigger in shadow, the end of the ban that nobody feels.
    until: Timestamp,
    last: Timestamp,
}

impl Count {
    const fn is_reported(&self) -> bool {
        self.unsent == 0 && self.banned.is_none()
    }

    /// When it is to be reported, where there is something to report.
    fn due(&self) -> Option<Timestamp> {
        if self.is_reported() {
            return None;
        }
        let may_stay = self.banned.is_none() && self.unsent <= self.keep;
        Some(if may_stay { self.first.after(LEASE) } else { self.first })
    }
}

/// A report on its way.
#[derive(Debug)]
struct Sending {
    report: Report,
    begun: Timestamp,
    failures: u32,
    retry: Timestamp,
}

/// What an isolate has seen.
#[derive(Debug)]
pub struct Offences {
    counts: HashMap<(Prefix, Rc<str>), Count, Keyed>,
    capacity: usize,
    swept: Timestamp,
    /// For each object the report that it has not acknowledged.
    sending: BTreeMap<u128, Sending>,
    /// When something is to be reported next, were it not for what is being
    /// sent.
    due: Option<Timestamp>,
    /// When the last reports were made.
    reported: Option<Timestamp>,
    /// When somebody took on to report.
    taken: Option<Timestamp>,
    number: u64,
    isolate: u64,
}

impl Offences {
    /// Counts at most so many. `seed` is random, and names the isolate.
    #[must_use]
    pub fn new(capacity: usize, seed: u64) -> Self {
        Self {
            counts: HashMap::with_hasher(Keyed(seed)),
            capacity,
            swept: Timestamp::default(),
            sending: BTreeMap::new(),
            due: None,
            reported: None,
            taken: None,
            number: 0,
            // A hash, since the seed keys tables that strangers fill.
            isolate: SipHasher13::new_with_keys(seed, 0x7265_706f_7274).hash(b"isolate"),
        }
    }

    /// How many are counted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.counts.len()
    }

    /// Whether nothing is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// Counts one offence; gives the ban that it comes to.
    pub fn note(&mut self, network: Prefix, terms: &Rc<Terms>, now: Timestamp) -> Option<Ban> {
        let key = (network, Rc::clone(&terms.id));
        if !self.counts.contains_key(&key) && !self.has_room(now) {
            return None;
        }
        let count = self.counts.entry(key).or_insert_with(|| Count {
            terms: Rc::clone(terms),
            window: Window::default(),
            unsent: 0,
            first: now,
            keep: 0,
            banned: None,
            until: Timestamp::default(),
            last: now,
        });
        if count.terms.window != terms.window {
            count.window.clear();
        }
        if !Rc::ptr_eq(&count.terms, terms) {
            count.terms = Rc::clone(terms);
        }
        count.last = now;
        if terms.shadow && count.until > now {
            return None;
        }
        count.window.add(terms.window, now, 1, now);
        if count.unsent == 0 {
            count.first = now;
        }
        count.unsent = count.unsent.saturating_add(1);
        let reached = count.window.sum(terms.window, now) >= terms.threshold;
        let ban = reached.then(|| {
            count.window.clear();
            count.banned = Some(now);
            // How often it was banned only the object knows, which corrects
            // the end.
            let luck =
                SipHasher13::new_with_keys(self.isolate, now.millis()).hash(network.to_string().as_bytes());
            let until = whole_seconds(now.after(Duration::from_millis(terms.length(0, luck))));
            if terms.shadow {
                count.until = until;
            }
            Ban { network, since: now, until, cause: Rc::clone(&terms.id), shadow: terms.shadow }
        });
        self.due = self.due.into_iter().chain(count.due()).min();
        ban
    }

    /// Makes room for one more, if that may be.
    fn has_room(&mut self, now: Timestamp) -> bool {
        if self.counts.len() < self.capacity {
            return true;
        }
        let is_due = now.since(self.swept) >= SWEEP_EVERY || now < self.swept;
        if !is_due {
            return false;
        }
        self.swept = now;
        self.counts.retain(|_, count| !count.is_reported() || count.last.after(count.terms.window) > now);
        // A quarter at once, so that a flood is not swept for each of its
        // clients.
        let most = self.capacity.saturating_sub(self.capacity.wrapping_div(4));
        let surplus = self.counts.len().saturating_sub(most);
        if surplus > 0 {
            let mut seen: Vec<Timestamp> =
                self.counts.values().filter(|count| count.is_reported()).map(|count| count.last).collect();
            seen.sort_unstable();
            if let Some(newest) =
                surplus.checked_sub(1).and_then(|place| seen.get(place.min(seen.len().saturating_sub(1))))
            {
                let mut left = surplus;
                self.counts.retain(|_, count| {
                    let goes = left > 0 && count.is_reported() && count.last <= *newest;
                    left = left.saturating_sub(usize::from(goes));
                    !goes
                });
            }
        }
        self.counts.len() < self.capacity
    }

    /// When something is to be reported next; `None` where there is nothing.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        let free = self.reported.map_or_else(Timestamp::default, |reported| reported.after(REPORT_EVERY));
        let retries = self.sending.values().map(|sending| sending.retry);
        self.due.into_iter().chain(retries).min().map(|due| due.max(free))
    }

    /// Takes on to report, where there is something to report and nobody else
    /// does: that one calls [`Self::reports`] until nothing is left, and then
    /// [`Self::give_up_reporting`].
    pub fn take_on(&mut self, now: Timestamp) -> bool {
        let is_taken = self.taken.is_some_and(|taken| taken <= now && now.since(taken) < RUN);
        if is_taken || self.next_due().is_none() {
            return false;
        }
        self.taken = Some(now);
        true
    }

    /// Leaves reporting to whoever comes next.
    pub fn give_up_reporting(&mut self) {
        self.taken = None;
    }

    /// The reports that are due, each with the number of its object. Each has
    /// to be [concluded](Self::conclude).
    pub fn reports(&mut self, now: Timestamp) -> Vec<(u128, Report)> {
        if self.next_due().is_none_or(|due| due > now) {
            return Vec::new();
        }
        self.sending.retain(|_, sending| now.since(sending.begun) < GIVE_UP);
        let mut due: BTreeMap<u128, Report> = BTreeMap::new();
        let mut next: Option<Timestamp> = None;
        for ((network, _), count) in &mut self.counts {
            let Some(when) = count.due() else { continue };
            let shard = shard_of(*network);
            let blocked = self.sending.get(&shard).map(|sending| sending.retry);
            let is_open = when <= now && blocked.is_none();
            let report = is_open.then(|| {
                due.entry(shard).or_insert_with(|| Report {
                    isolate: self.isolate,
                    number: 0,
                    terms: Vec::new(),
                    offences: Vec::new(),
                })
            });
            let Some(report) = report.filter(|report| report.offences.len() < OFFENCES_LIMIT) else {
                next = next.into_iter().chain([when.max(blocked.unwrap_or_default())]).min();
                continue;
            };
            let trigger = report.terms.iter().position(|terms| *terms == count.terms).unwrap_or_else(|| {
                report.terms.push(Rc::clone(&count.terms));
                report.terms.len().saturating_sub(1)
            });
            report.offences.push(Offence {
                network: *network,
                trigger,
                count: count.unsent,
                first: count.first,
                banned: count.banned.take(),
            });
            count.unsent = 0;
        }
        self.due = next;
        for (shard, mut report) in due {
            self.number = self.number.saturating_add(1);
            report.number = self.number;
            self.sending.insert(shard, Sending { report, begun: now, failures: 0, retry: now });
        }
        let open = self.sending.iter().filter(|(_, sending)| sending.retry <= now);
        let open: Vec<(u128, Report)> =
            open.map(|(shard, sending)| (*shard, sending.report.clone())).collect();
        if !open.is_empty() {
            self.reported = Some(now);
        }
        open
    }

    /// Takes in what an object said to a report; `None` where nothing came.
    pub fn conclude(&mut self, shard: u128, told: Option<&Told>, now: Timestamp) {
        let Some(told) = told else {
            if let Some(sending) = self.sending.get_mut(&shard) {
                sending.failures = sending.failures.saturating_add(1);
                let seconds = 1_u64.checked_shl(sending.failures.min(10)).unwrap_or(u64::MAX);
                sending.retry = now.after(Duration::from_secs(seconds).min(LONGEST_WAIT));
            }
            return;
        };
        let Some(Sending { report, .. }) = self.sending.remove(&shard) else { return };
        for (offence, keep) in report.offences.iter().zip(&told.keep) {
            let id = report.terms.get(offence.trigger).map(|terms| Rc::clone(&terms.id));
            if let Some(count) = id.and_then(|id| self.counts.get_mut(&(offence.network, id))) {
                count.keep = *keep;
            }
        }
        for ban in &told.bans {
            if let Some(count) = self.counts.get_mut(&(ban.network, Rc::clone(&ban.cause))) {
                count.window.clear();
                if ban.shadow {
                    count.until = ban.until;
                }
            }
        }
    }
}
