//! What an isolate keeps between requests.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;

use siphasher::sip128::SipHasher13;

use super::binding::{CACHE, COLLAPSER, variable};
use super::glue;
use super::head::Wanted;
use crate::admin::tokens::Tokens;
use crate::gateway::{Bound, Isolate};
use crate::observe::record::LogLevel;
use crate::policy::snapshot::{Fallback, Holder, Snapshot};
use crate::stages::cache::bypass_token::BypassKey;

thread_local! {
    static CURRENT: OnceCell<Rc<IsolateState>> = const { OnceCell::new() };
}

/// Writes a line about something that is no request. `name` is what the text
/// stands under.
pub fn warn_of(event: &str, name: &str, text: &str) {
    let time = super::origin::now().to_string();
    let line = serde_json::json!({ "schema": 1, "event": event, "time": time, name: text });
    glue::warn(&line.to_string());
}

/// Who may use the admin API. Nobody may where the secret cannot be read.
fn tokens() -> Tokens {
    let Some(text) = variable("ADMIN_TOKENS") else { return Tokens::default() };
    Tokens::parse(&text).unwrap_or_else(|why| {
        warn_of("admin", "message", &why);
        Tokens::default()
    })
}

fn bound() -> Bound {
    Bound { global: glue::is_bound(CACHE), collapser: glue::is_bound(COLLAPSER) }
}

/// By what tokens pass the cache. None does where the secret cannot be used.
fn bypass_key() -> Option<BypassKey> {
    let key = BypassKey::new(&variable("CACHE_BYPASS_KEY")?);
    key.inspect_err(|why| warn_of("cache", "message", why)).ok()
}

/// What an isolate keeps.
#[derive(Debug)]
pub struct IsolateState {
    /// The policy.
    pub holder: RefCell<Holder>,
    /// Where a policy may come from besides the store.
    pub fallback: Fallback,
    /// Counters and marks.
    pub isolate: Isolate,
    /// Which requests are logged.
    pub log_level: LogLevel,
    seed: u128,
    count: Cell<u64>,
    wanted: RefCell<Option<(Rc<Snapshot>, Rc<Wanted>)>>,
    /// What is acted on where there is no policy.
    nothing: Option<Rc<Snapshot>>,
}

impl IsolateState {
    /// The isolate's state, made by its first request: randomness and
    /// variables are to be had in a request only.
    #[must_use]
    pub fn of() -> Rc<Self> {
        CURRENT.with(|current| Rc::clone(current.get_or_init(|| Rc::new(Self::new()))))
    }

    /// The isolate's state, if a request has made it.
    #[must_use]
    pub fn current() -> Option<Rc<Self>> {
        CURRENT.with(|current| current.get().map(Rc::clone))
    }

    fn new() -> Self {
        // Of a module that has trapped; this one knows none of them.
        glue::forget_bodies();
        // Without randomness there would be no isolate at all; the clock is
        // what is left.
        let seed = glue::random_seed()
            .ok()
            .and_then(|hex| u128::from_str_radix(&hex, 16).ok())
            .unwrap_or_else(|| u128::from(super::origin::now().millis()));
        let environment = variable("ENVIRONMENT");
        let fallback = Fallback::new(
            environment.as_deref(),
            variable("POLICY"),
            variable("POLICY_FALLBACK").as_deref(),
            crate::DEMO_POLICY,
        );
        Self {
            holder: RefCell::new(Holder::default()),
            fallback,
            #[expect(clippy::cast_possible_truncation, reason = "half of the seed")]
            isolate: Isolate::new(environment.as_deref().unwrap_or("unset"), seed as u64)
                .with_tokens(tokens())
                .with_bound(bound())
                .with_bypass_key(bypass_key()),
            log_level: LogLevel::parse(&variable("LOG_LEVEL").unwrap_or_default()),
            seed,
            count: Cell::new(0),
            wanted: RefCell::new(None),
            nothing: Snapshot::none().map(Rc::new),
        }
    }

    /// 128 bits that nobody can foresee and that do not repeat: a keyed hash
    /// of a counter. A call for randomness each would cost a crossing.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the halves of the seed")]
    pub fn fresh(&self) -> u128 {
        let count = self.count.get().wrapping_add(1);
        self.count.set(count);
        let hasher = SipHasher13::new_with_keys(self.seed as u64, (self.seed >> 64) as u64);
        hasher.hash(&count.to_le_bytes()).as_u128()
    }

    /// What is acted on where there is no policy.
    #[must_use]
    pub fn nothing(&self) -> Option<Rc<Snapshot>> {
        self.nothing.clone()
    }

    /// The fields that this policy reads in one go.
    #[must_use]
    pub fn wanted(&self, snapshot: &Rc<Snapshot>) -> Rc<Wanted> {
        let mut cached = self.wanted.borrow_mut();
        match &*cached {
            Some((of, wanted)) if Rc::ptr_eq(of, snapshot) => Rc::clone(wanted),
            _ => {
                // Once for each policy.
                if let Some(message) = self.isolate.missing(&snapshot.gateway) {
                    super::event::warn("cache", message);
                }
                let wanted = Rc::new(Wanted::new(snapshot.gateway.wanted_fields.clone()));
                *cached = Some((Rc::clone(snapshot), Rc::clone(&wanted)));
                wanted
            }
        }
    }
}
