//! Which policy an isolate acts on, and when it looks for a newer one.
//!
//! 1. The source is the manifest in the policy store; where the store holds
//!    none, the variable `POLICY` where that is allowed; locally the demo.
//! 2. What cannot be read, is damaged or does not compile is never swapped
//!    in: the last good snapshot stays, and the isolate is `degraded`.
//! 3. A lower sequence never replaces a higher one: the store is eventually
//!    consistent and may show an older value later.
//! 4. Past `refresh.interval` one request refreshes after its response. Past
//!    `refresh.max_stale` (an isolate that sat idle) a request waits for it,
//!    a short while, and goes on with the last good.

use std::hash::Hasher as _;
use std::rc::Rc;
use std::time::Duration;

use siphasher::sip::SipHasher13;

use super::compile::{Gateway, compile};
use super::manifest::Manifest;
use crate::error::{PlatformError, clip};
use crate::platform::PolicyStore;
use crate::time::Timestamp;

/// How long a request waits for a refresh past `max_stale`.
pub const REFRESH_WAIT: Duration = Duration::from_millis(200);

/// How long after a failed first read the store is left alone.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The longest reason that is kept, in bytes.
const REASON_LIMIT: usize = 2_000;

/// A compiled policy and its name.
#[derive(Debug)]
pub struct Snapshot {
    /// The compiled policy.
    pub gateway: Gateway,
    /// The revision, as logs and `/_weir/health` name it.
    pub revision: String,
    /// Its place in the order of publications; `None` when it comes from a
    /// variable or is built in.
    pub sequence: Option<u64>,
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
    /// Refresh first, for at most [`REFRESH_WAIT`]; then go on.
    RefreshFirst,
    /// There is no snapshot: read.
    Read,
    /// There is no snapshot, and the last try was a moment ago.
    Unavailable,
}

/// An isolate's policy.
#[derive(Debug, Default)]
pub struct Holder {
    current: Option<Rc<Snapshot>>,
    /// When the store was last asked with success.
    checked: Option<Timestamp>,
    /// When the store was last asked.
    tried: Option<Timestamp>,
    /// Why the isolate is degraded.
    degraded: Option<String>,
    /// A hash of the last manifest that was refused, and why: reading it again
    /// would cost as much and say the same.
    refused: Option<(u64, String)>,
}

impl Holder {
    /// The snapshot to act on.
    #[must_use]
    pub fn current(&self) -> Option<Rc<Snapshot>> {
        self.current.clone()
    }

    /// Why the isolate is degraded; `None` when it is not.
    #[must_use]
    pub fn degraded(&self) -> Option<&str> {
        self.degraded.as_deref()
    }

    /// What the next request has to do. Whoever is told to refresh does: the
    /// others are told nothing for an interval.
    pub fn need(&mut self, now: Timestamp) -> Need {
        let Some(snapshot) = &self.current else {
            let recently = self.tried.is_some_and(|tried| now >= tried && now.since(tried) < RETRY_AFTER);
            return if recently && self.degraded.is_some() { Need::Unavailable } else { Need::Read };
        };
        // A clock that went back says nothing about how long ago it was.
        let since = |at: Option<Timestamp>| match at {
            Some(at) if now >= at => now.since(at),
            _ => Duration::MAX,
        };
        if since(self.tried) < snapshot.gateway.refresh_interval {
            return Need::Nothing;
        }
        self.tried = Some(now);
        if since(self.checked) >= snapshot.gateway.max_stale {
            Need::RefreshFirst
        } else {
            Need::RefreshAfter
        }
    }

    /// Takes in what the store said. Gives a line for the log when something
    /// is worth one.
    pub fn accept(
        &mut self,
        read: Result<Option<(String, Option<String>)>, PlatformError>,
        fallback: &Fallback,
        now: Timestamp,
    ) -> Option<String> {
        self.tried = Some(now);
        let before = self.degraded.take();
        let outcome = match read {
            Ok(Some((value, metadata))) => {
                self.checked = Some(now);
                self.take_manifest(&value, metadata.as_deref())
            }
            // Once a manifest has been seen, nothing means that the store
            // shows an old view, not that the policy is gone.
            Ok(None) if self.current.as_ref().is_some_and(|current| current.sequence.is_some()) => {
                Err("the policy store shows no manifest; the last good policy stays".to_owned())
            }
            Ok(None) => {
                self.checked = Some(now);
                self.take_fallback(fallback.variable.as_deref(), fallback.demo)
            }
            Err(error) if self.current.is_none() && fallback.variable_on_failure => {
                let taken = self.take_fallback(fallback.variable.as_deref(), None);
                taken.and_then(|()| Err(format!("{error}; POLICY is used")))
            }
            Err(error) => Err(error.to_string()),
        };
        if let Err(reason) = outcome {
            self.degraded = Some(clip(&reason, REASON_LIMIT).to_owned());
        }
        if self.degraded == before { None } else { Some(self.describe()) }
    }

    fn describe(&self) -> String {
        let revision = self.current.as_ref().map_or("none", |snapshot| snapshot.revision.as_str());
        match &self.degraded {
            Some(reason) => format!("policy degraded, acting on revision {revision}: {reason}"),
            None => format!("policy recovered, acting on revision {revision}"),
        }
    }

    fn take_manifest(&mut self, value: &str, metadata: Option<&str>) -> Result<(), String> {
        let mut hasher = SipHasher13::new();
        hasher.write(value.as_bytes());
        hasher.write(metadata.unwrap_or_default().as_bytes());
        let hash = hasher.finish();
        if let Some((refused, reason)) = &self.refused
            && *refused == hash
        {
            return Err(reason.clone());
        }
        let taken = self.swap_in(value, metadata);
        self.refused = taken.as_ref().err().map(|reason| (hash, reason.clone()));
        taken
    }

    fn swap_in(&mut self, value: &str, metadata: Option<&str>) -> Result<(), String> {
        let manifest = Manifest::parse(value, metadata)?;
        let held = self.current.as_ref().and_then(|current| current.sequence);
        if held.is_some_and(|held| manifest.sequence <= held) {
            return Ok(());
        }
        let gateway = compile(&manifest.policy)
            .map_err(|error| format!("revision {} does not compile: {error}", manifest.revision))?;
        self.current = Some(Rc::new(Snapshot {
            gateway,
            revision: manifest.revision,
            sequence: Some(manifest.sequence),
        }));
        Ok(())
    }

    fn take_fallback(&mut self, variable: Option<&str>, demo: Option<&str>) -> Result<(), String> {
        if self.current.is_some() {
            return Ok(());
        }
        let (text, revision) = match (variable, demo) {
            (Some(text), _) => (text, "variable"),
            (None, Some(text)) => (text, "demo"),
            (None, None) => {
                return Err("the policy store holds no manifest, and nothing else is allowed here".to_owned());
            }
        };
        let gateway =
            compile(text).map_err(|error| format!("the {revision} policy does not compile: {error}"))?;
        self.current = Some(Rc::new(Snapshot { gateway, revision: revision.to_owned(), sequence: None }));
        Ok(())
    }
}

/// Reads the store and takes in what it says. `holder` is borrowed only after
/// the wait.
pub async fn refresh(
    store: &impl PolicyStore,
    fallback: &Fallback,
    holder: &std::cell::RefCell<Holder>,
    now: impl Fn() -> Timestamp,
) -> Option<String> {
    let read = store.read_active().await;
    holder.borrow_mut().accept(read, fallback, now())
}
