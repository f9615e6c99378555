//! Which policy an isolate acts on, and when it looks for a newer one.
//!
//! 1. The source is the manifest in the policy store, or what the `Control`
//!    object says is active; where neither has one, the variable `POLICY`
//!    where that is allowed; locally the demo. A store that shows nothing is
//!    asked again through `Control` before that counts: it may be late.
//! 2. What cannot be read, is damaged, lacks a part or does not compile is
//!    never swapped in: the last good snapshot stays, and the isolate is
//!    `degraded`. An isolate that has none asks `Control` for the newest that
//!    it can read.
//! 3. A lower sequence never replaces a higher one: the store is eventually
//!    consistent and may show an older value later.
//! 4. Past `refresh.interval` one request refreshes after its response. Past
//!    `refresh.max_stale` (an isolate that sat idle) a request waits for it, a
//!    short while. With `source: control` it waits past `interval` + 1 s
//!    already, so that nothing older than that is acted on.
//!    An isolate's first requests wait for one of them, which reads.
//! 5. When nothing came past `max_stale`, `on_failure` decides: the last good
//!    policy acts on, or nothing does.

mod ready;
mod swap;
mod turns;

use std::rc::{Rc, Weak};
use std::time::Duration;

pub use ready::{Ready, ready, refresh};
pub(super) use swap::Candidate;
pub(super) use turns::Turn;
use turns::Turns;

use super::compile::{Gateway, compile};
use super::follow::Outcome;
use super::manifest::{Alert, PartRef};
use super::{RefreshFailure, Source};
use crate::addresses::StoredSets;
use crate::error::clip;
use crate::purge::{Live, Purges};
use crate::stages::bans::BanSet;
use crate::stages::ip_filter::{BoundSets, Sets};
use crate::time::Timestamp;

/// How long a request waits for a refresh.
pub const REFRESH_WAIT: Duration = Duration::from_millis(200);

/// How long the first requests of an isolate wait for its first policy, and
/// how long a refresh after a response may take.
pub const FIRST_READ: Duration = Duration::from_secs(5);

/// How long after a failed read the sources are left alone by requests that
/// would have to wait.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How long past `interval` an isolate that follows `Control` acts without
/// asking it.
const CONTROL_GRACE: Duration = Duration::from_secs(1);

/// How often a request looks whether another one has done what it waits for.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// How often an isolate says which module it is.
const REPORT_EVERY: Duration = Duration::from_secs(3_600);

/// The longest reason that is kept, in bytes.
const REASON_LIMIT: usize = 2_000;

/// A compiled policy and its name.
#[derive(Debug)]
pub struct Snapshot {
    /// The compiled policy; shared with the snapshot before where only what
    /// stands beside the policy has changed.
    pub gateway: Rc<Gateway>,
    /// The revision, as logs and `/_weir/health` name it.
    pub revision: String,
    /// Its place in the order of publications; `None` when it comes from a
    /// variable or is built in.
    pub sequence: Option<u64>,
    /// The stored address sets, where they have been loaded.
    pub stored: Option<BoundSets>,
    /// The bans of the manifest, where it has any.
    pub bans: Option<Rc<BanSet>>,
    /// The purges of the isolate, which all its snapshots share.
    pub live_purges: Rc<Live>,
    /// What an operator should look at.
    pub alerts: Vec<Alert>,
    /// The document, where it stands in for a policy because there is none.
    pub stand_in: Option<Rc<str>>,
}

impl Snapshot {
    /// The purges that are known now. To be asked anew after every wait.
    #[must_use]
    pub fn purges(&self) -> Rc<Purges> {
        self.live_purges.purges()
    }

    /// Where rules look their sets up.
    #[must_use]
    pub fn sets(&self) -> Sets<'_> {
        Sets::new(&self.gateway.sets, self.stored.as_ref())
    }

    /// What an isolate without a policy acts on: it serves nothing, and the
    /// defaults say who is calling.
    #[must_use]
    pub fn none() -> Option<Self> {
        let gateway = Rc::new(compile("{\"version\": 1}").ok()?);
        Some(Self::of(gateway, "none", Rc::default()))
    }

    /// A policy with nothing beside it.
    fn of(gateway: Rc<Gateway>, revision: &str, live_purges: Rc<Live>) -> Self {
        Self {
            gateway,
            revision: revision.to_owned(),
            sequence: None,
            stored: None,
            bans: None,
            live_purges,
            alerts: Vec::new(),
            stand_in: None,
        }
    }
}

/// Where a policy may come from besides the store.
#[derive(Clone, Debug, Default)]
pub struct Fallback {
    /// The text of `POLICY`, where it may be used because the store holds
    /// nothing.
    pub variable: Option<String>,
    /// Whether `POLICY` may also be used because the store failed.
    pub variable_on_failure: bool,
    /// The built-in demo, in the local environment.
    pub demo: Option<&'static str>,
}

impl Fallback {
    /// By the rules of the environment. `POLICY` counts locally, and
    /// elsewhere only by `POLICY_FALLBACK = "variable"`: a store that shows
    /// nothing for a while must not bring an old policy back unasked.
    #[must_use]
    pub fn new(
        environment: Option<&str>,
        variable: Option<String>,
        setting: Option<&str>,
        demo: &'static str,
    ) -> Self {
        let asked_for = setting == Some("variable");
        let is_local = environment.is_none_or(|name| name == "local");
        Self {
            variable: variable.filter(|_| is_local || asked_for),
            variable_on_failure: asked_for,
            demo: (environment == Some("local")).then_some(demo),
        }
    }
}

/// What a request has to do about the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing: the snapshot is good.
    Nothing,
    /// Refresh, after the response.
    RefreshAfter,
    /// Refresh first, for at most [`REFRESH_WAIT`]; then see what
    /// [`Holder::acting`] says.
    RefreshFirst,
    /// There is no snapshot: read.
    Read,
    /// There is no snapshot, and the last try was a moment ago.
    Unavailable,
}

/// A part that was verified.
pub(super) type Part = (PartRef, Rc<[u8]>);

/// An isolate's policy.
#[derive(Debug, Default)]
pub struct Holder {
    current: Option<Rc<Snapshot>>,
    /// The length and the metadata of the manifest that `current` is from.
    taken: Option<(usize, String)>,
    /// The hash of the document that `current` was compiled from.
    document: Option<u128>,
    /// The parts that belong to `current`.
    parts: Vec<Part>,
    /// Why the stored sets of `current` are not there, where they are not.
    without_sets: Option<String>,
    /// Why the bans of `current` are not those of its manifest, where they are
    /// not: the last ones that could be read act on.
    without_bans: Option<String>,
    /// What is purged. It outlives the manifest that it came with: one without
    /// purges takes none back.
    purges: Rc<Live>,
    /// Why the purges of the manifest of `current` are not known, where they are
    /// not: all that was stored before it is void.
    without_purges: Option<String>,
    /// Who makes the first read.
    reading: Turns,
    /// How many first reads have brought nothing to act on.
    in_vain: u32,
    /// The manifest that requests are about to swap in, which they share.
    candidate: Weak<Candidate>,
    /// Who loads sets, by generation.
    loading: Turns,
    /// The sets that were loaded last, until `current` has them.
    loaded: Option<Rc<StoredSets>>,
    /// When a source was asked that then answered.
    checked: Option<Timestamp>,
    /// When a refresh after a response was last given out.
    tried: Option<Timestamp>,
    /// When a refresh last failed, unless one has succeeded since.
    failed: Option<Timestamp>,
    /// Whether, after that, somebody was told to try with more time.
    retried: bool,
    /// Why the isolate is degraded.
    degraded: Option<String>,
    /// The highest sequence that this module cannot use, and why.
    unusable: Option<(u64, String)>,
    /// The hash of the last manifest that was refused, and why: reading it
    /// again would cost as much and say the same.
    refused: Option<(u64, Refused)>,
    /// A sequence that is known to exist, since it was acknowledged here.
    awaited: Option<u64>,
    /// When the module was last reported to `Control`.
    reported: Option<Timestamp>,
}

/// Why a manifest was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) doubt: Doubt,
    pub(super) reason: String,
}

/// What a refusal says of what a source showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// It is known to be what was written: this module cannot use it, and
    /// asking again will not help.
    Authentic,
    /// It may be damaged, or something that belongs to it cannot be had.
    Doubtful,
    /// Nothing: others are at it, and it has not come in time.
    Busy,
}

impl Holder {
    /// The newest snapshot, whether it may be acted on or not.
    #[must_use]
    pub fn current(&self) -> Option<Rc<Snapshot>> {
        self.current.clone()
    }

    /// The snapshot to act on; `None` when there is none, or none that is new
    /// enough where the policy says `on_failure: closed`.
    #[must_use]
    pub fn acting(&self, now: Timestamp) -> Option<Rc<Snapshot>> {
        let gateway = &self.current.as_ref()?.gateway;
        let closed = gateway.refresh_failure == RefreshFailure::Closed
            && since(self.checked, now) >= gateway.max_stale;
        if closed { None } else { self.current.clone() }
    }

    /// Why the isolate is degraded; `None` when it is not.
    #[must_use]
    pub fn degraded(&self) -> Option<&str> {
        self.degraded.as_deref()
    }

    /// What the next request has to do.
    pub fn need(&mut self, now: Timestamp) -> Need {
        let just_failed = since(self.failed, now) < RETRY_AFTER;
        let Some(snapshot) = &self.current else {
            return if just_failed { Need::Unavailable } else { Need::Read };
        };
        let interval = snapshot.gateway.refresh_interval;
        if self.is_past_bound(now) {
            // Everybody waits, for a read of his own: none can be shared. Is
            // the source down, nobody does for a moment, and one tries with
            // more time than a request has.
            return match (just_failed, std::mem::replace(&mut self.retried, just_failed)) {
                (false, _) => Need::RefreshFirst,
                (true, false) => Need::RefreshAfter,
                (true, true) => Need::Nothing,
            };
        }
        // A policy whose sets are missing is not whole: somebody tries again
        // soon, and not before a response.
        if self.without_sets.is_some() && since(self.tried, now) >= RETRY_AFTER {
            self.tried = Some(now);
            return Need::RefreshAfter;
        }
        // Whoever is told to refresh does: the others are told nothing for an
        // interval.
        if since(self.checked, now) < interval || since(self.tried, now) < interval {
            return Need::Nothing;
        }
        self.tried = Some(now);
        Need::RefreshAfter
    }

    /// Whether what is held is too old to be acted on without asking.
    fn is_past_bound(&self, now: Timestamp) -> bool {
        self.current.as_ref().is_some_and(|current| {
            let gateway = &current.gateway;
            let bound = match gateway.refresh_source {
                Source::Kv => gateway.max_stale,
                Source::Control => {
                    gateway.max_stale.min(gateway.refresh_interval.saturating_add(CONTROL_GRACE))
                }
            };
            since(self.checked, now) >= bound
        })
    }

    /// Whether the isolate is to tell `Control` which module it is, after
    /// this response. At most once an hour, and only where it has not asked
    /// it anything else.
    pub fn report_due(&mut self, now: Timestamp) -> bool {
        let due = since(self.reported, now) >= REPORT_EVERY;
        if due {
            self.reported = Some(now);
        }
        due
    }

    /// The sequence that is held.
    #[must_use]
    pub fn have(&self) -> Option<u64> {
        self.current.as_ref()?.sequence
    }

    pub(super) fn note_asked(&mut self, now: Timestamp) {
        self.reported = Some(now);
    }

    /// Takes note that a change of that sequence was acknowledged: until it is
    /// here, `Control` is asked, which has it.
    pub fn await_sequence(&mut self, sequence: u64) {
        self.awaited = self.awaited.max(Some(sequence));
    }

    pub(super) fn source(&self) -> Option<Source> {
        let current = self.current.as_ref()?;
        let is_awaited =
            self.awaited.is_some_and(|awaited| current.sequence.is_none_or(|have| have < awaited));
        Some(if is_awaited { Source::Control } else { current.gateway.refresh_source })
    }

    /// Whether the policy store alone is not enough: there is nothing to act
    /// on, or what there is has become too old.
    pub(super) fn is_pressed(&self, now: Timestamp) -> bool {
        self.current.as_ref().is_none_or(|current| since(self.checked, now) >= current.gateway.max_stale)
    }

    /// Takes in how a refresh ended that began at `begun`. Gives a line for
    /// the log when something is worth one.
    pub(super) fn conclude(
        &mut self,
        outcome: Outcome,
        fallback: &Fallback,
        begun: Timestamp,
        now: Timestamp,
    ) -> Option<String> {
        // What came later must not make what came earlier look older; but a
        // moment that has not come yet is of a clock that has gone back.
        let later = self.checked.filter(|checked| *checked > begun && *checked <= now);
        if later.is_some() && matches!(outcome, Outcome::Nothing | Outcome::Failed(_)) {
            // A refresh that began after this one has had an answer.
            return None;
        }
        let before = self.degraded.clone();
        let outcome = match outcome {
            Outcome::Good => Ok(true),
            Outcome::Behind(reason) => Err((reason, true)),
            Outcome::Failed(reason) => Err((reason, false)),
            // Nobody knows more than before. Whoever comes next waits, too:
            // it is no failure after which the source is left alone.
            Outcome::Busy => return None,
            Outcome::Nothing => self.take_fallback(fallback.variable.as_deref(), fallback.demo, true),
        };
        let outcome = match outcome {
            Err((reason, false)) if self.current.is_none() && fallback.variable_on_failure => {
                let taken = self.take_fallback(fallback.variable.as_deref(), None, false);
                taken.and_then(|_| Err((format!("{reason}; POLICY is used"), false)))
            }
            outcome => outcome,
        };
        if matches!(outcome, Ok(true) | Err((_, true))) {
            self.checked = later.or(Some(begun));
            self.failed = None;
        } else {
            self.failed = Some(now);
        }
        self.retried &= self.failed.is_some();
        let have = self.have();
        if self.unusable.as_ref().is_some_and(|(sequence, _)| have.is_some_and(|have| *sequence <= have)) {
            self.unusable = None;
        }
        self.degraded = match outcome {
            Err((reason, _)) => Some(clip(&reason, REASON_LIMIT).to_owned()),
            // A newer one is known, and this module cannot use it; or a part
            // of this one is missing.
            Ok(_) => {
                let unusable = self.unusable.as_ref().map(|(_, reason)| reason);
                let missing = [&self.without_sets, &self.without_bans, &self.without_purges];
                unusable
                    .or(missing.into_iter().flatten().next())
                    .map(|reason| clip(reason, REASON_LIMIT).to_owned())
            }
        };
        if self.degraded == before { None } else { Some(self.describe()) }
    }

    fn describe(&self) -> String {
        let revision = self.current.as_ref().map_or("none", |snapshot| snapshot.revision.as_str());
        match &self.degraded {
            Some(reason) => format!("policy degraded, acting on revision {revision}: {reason}"),
            None => format!("policy recovered, acting on revision {revision}"),
        }
    }

    /// `is_none`: it is known that there is no policy.
    fn take_fallback(
        &mut self,
        variable: Option<&str>,
        demo: Option<&str>,
        is_none: bool,
    ) -> Result<bool, (String, bool)> {
        match &self.current {
            // Once a manifest has been seen, nothing is not an answer.
            Some(current) if current.sequence.is_some() => {
                let reason = "the policy store shows no manifest; the last good policy stays";
                return Err((reason.to_owned(), false));
            }
            Some(_) => return Ok(true),
            None => {}
        }
        let (text, revision) = match (variable, demo) {
            (Some(text), _) => (text, "variable"),
            (None, Some(text)) => (text, "demo"),
            (None, None) => {
                let reason = "the policy store holds no manifest, and nothing else is allowed here";
                return Err((reason.to_owned(), false));
            }
        };
        let gateway = compile(text)
            .map_err(|error| (format!("the {revision} policy does not compile: {error}"), false))?;
        let stand_in = is_none.then(|| Rc::from(text));
        let snapshot = Snapshot::of(Rc::new(gateway), revision, Rc::clone(&self.purges));
        self.current = Some(Rc::new(Snapshot { stand_in, ..snapshot }));
        Ok(true)
    }
}

/// How long ago that was. Never, and a clock that went back, count as long
/// ago.
fn since(at: Option<Timestamp>, now: Timestamp) -> Duration {
    match at {
        Some(at) if now >= at => now.since(at),
        _ => Duration::MAX,
    }
}
