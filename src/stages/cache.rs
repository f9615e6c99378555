//! Stages 12 and 14, cache: do we have the answer, and may we keep it?
//!
//! A shared cache as RFC 9111 describes it. Each file is a part of that, under
//! its own terms:
//!
//! 1. [`plan`]: what the request allows. [`judge`]: whether a stored answer
//!    serves it now. [`conclude`]: what is stored of what the origin answers.
//! 2. [`directives`], [`targeted`], [`date`], [`age`]: what the fields say.
//! 3. [`freshness`], [`lifetimes`], [`staleness`], [`storability`], [`vary`],
//!    [`normalise`], [`cookies`]: for how long, for how much longer, whether, and
//!    for whom; [`bypass`]: for whom not.
//! 4. [`validation`], [`range`], [`joining`], [`fields`]: what the client gets of an entry,
//!    and what the origin is asked about it.
//! 5. [`key`], [`invalidation`]: under what it is stored, and what makes it
//!    void.
//! 6. [`memory`], [`global`]: what the isolate keeps itself, and what all
//!    locations share. [`flights`], [`collapser`]: who asks the origin for
//!    those that ask at the same time.
//! 7. [`demand`], [`bypass_token`]: how far clients can have their own way.
//! 8. [`status_field`]: what is said about all that.
//!
//! What the gateway itself needs: a request whose answer is nobody else's (a
//! body, If-Match, If-Unmodified-Since, an upgrade) goes past the cache; no
//! field that the gateway sets, and none that it takes away, selects an answer
//! ([`ask`]); and a key whose last answer could not be kept is remembered for
//! a while, so that asking the store for it costs nothing ([`hit_for_miss`]).

pub mod age;
pub mod ask;
pub mod bypass;
pub mod bypass_token;
pub mod collapser;
pub mod conclude;
pub mod config;
pub mod cookies;
pub mod date;
pub mod demand;
pub mod directives;
pub mod entry;
pub mod fields;
pub mod flights;
pub mod freshness;
pub mod global;
pub mod hit_for_miss;
pub mod invalidation;
pub mod joining;
pub mod judge;
pub mod key;
pub mod lifetimes;
pub mod memory;
pub mod normalise;
pub mod plan;
pub mod range;
pub mod staleness;
pub mod status_field;
pub mod storability;
pub mod targeted;
pub mod validation;
pub mod vary;

use std::borrow::Cow;
use std::rc::Rc;

use http::header::HeaderName;

use self::bypass::Bypass;
pub use self::config::{CacheConfig, Tier};
use self::freshness::Heuristic;
use self::global::Global;
use self::key::{QueryRules, normal_escapes};
use self::lifetimes::Given;
use self::normalise::Normalise;
use self::plan::Plan;
pub use self::plan::REQUEST_FIELDS;
use self::staleness::Bounds;
use self::vary::Selector;
use crate::exchange::{Edit, Head};

/// The field that says what the cache did (RFC 9211).
pub(crate) const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// Fields that the origin gets from us and not from the client, and that differ
/// from client to client.
const TOLD_BY_US: [HeaderName; 6] = [
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("forwarded"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("cdn-loop"),
    HeaderName::from_static("tracestate"),
];

/// The compiled stage.
#[derive(Clone, Debug)]
pub struct CacheStage {
    /// The largest body that is kept, in bytes.
    pub max_body: u64,
    /// The largest body that the isolate's memory keeps, in bytes; `None`
    /// where it keeps nothing.
    pub memory: Option<u64>,
    /// Whether the location's cache keeps what the stage keeps.
    pub location: bool,
    /// What is kept for all locations; `None` where nothing is.
    pub global: Option<Global>,
    /// What is assumed of answers that say nothing.
    pub heuristic: Heuristic,
    /// What the route says itself of some statuses, the first rule for one
    /// counts.
    pub lifetimes: Rc<[Given]>,
    /// Which requests go past the cache.
    pub bypass: Rc<Bypass>,
    /// Whether the client's directives say nothing.
    pub ignore_client_directives: bool,
    /// Fields of targeted cache control, the first valid one counts.
    pub targets: Vec<HeaderName>,
    /// Those of them that are for this gateway alone: no client gets them.
    pub consumed: Vec<HeaderName>,
    /// How long something stale may be served.
    pub bounds: Bounds,
    /// Whether answers that set a cookie are kept.
    pub allow_set_cookie: bool,
    /// Request fields that select nothing, and that the origin does not get.
    pub ignored: Vec<HeaderName>,
    /// Request fields that reach the origin reduced, and select so.
    pub normalise: Rc<Normalise>,
    /// What of the query counts.
    pub query: QueryRules,
    /// What selects besides Vary, in order.
    pub selectors: Vec<Selector>,
    /// Request fields that are credentials, besides Authorization.
    pub credential_fields: Vec<HeaderName>,
    /// The cookies that are credentials; `None` for all.
    pub credential_cookies: Option<Vec<String>>,
    /// Whether Cache-Status names the key, hashed.
    pub shows_key: bool,
}

impl Default for CacheStage {
    fn default() -> Self {
        CacheConfig::default().stage()
    }
}

impl CacheStage {
    /// Whether a request field selects nothing here.
    #[must_use]
    pub fn ignores(&self, name: &HeaderName) -> bool {
        self.ignored.contains(name)
    }

    /// The request fields that it reads besides [`REQUEST_FIELDS`].
    #[must_use]
    pub fn wanted_fields(&self) -> Vec<HeaderName> {
        let mut names = self.normalise.fields();
        for selector in &self.selectors {
            if let Selector::Field(name) = selector {
                names.extend(HeaderName::from_bytes(name.as_bytes()));
            }
        }
        names.extend_from_slice(&self.credential_fields);
        names.extend_from_slice(&self.ignored);
        for (name, _) in &self.bypass.headers {
            names.push(name.clone());
        }
        names
    }

    /// A request field as the origin gets it where its answer may be stored;
    /// what is ignored does not get there.
    #[must_use]
    pub fn seen<'h>(&self, name: &HeaderName, head: &'h impl Head) -> Option<Cow<'h, str>> {
        if self.ignores(name) {
            return None;
        }
        self.normalise.value(name, head).map(Cow::Owned).or_else(|| head.field(name))
    }

    /// Whether the origin gets every request field as it came.
    #[must_use]
    pub fn sends_all(&self) -> bool {
        self.ignored.is_empty() && *self.normalise == Normalise::default()
    }

    /// The target of the URI's key: without the parameters that do not count,
    /// and its escapes in normal form. Those of a query are left alone where
    /// the route has no rules for it: signatures are made over what was
    /// written.
    #[must_use]
    pub fn as_stored<'a>(&self, as_sent: &'a str) -> Cow<'a, str> {
        let chosen = self.query.apply(as_sent);
        if !chosen.contains('%') {
            return chosen;
        }
        let normal = match chosen.split_once('?') {
            Some((path, query)) if self.query == QueryRules::default() => {
                format!("{}?{query}", normal_escapes(path))
            }
            _ => normal_escapes(&chosen).into_owned(),
        };
        if normal == chosen { chosen } else { Cow::Owned(normal) }
    }

    /// What is said about a request, with the key where the route shows it.
    #[must_use]
    pub fn said(&self, mut text: String, key: &str) -> String {
        if self.shows_key {
            text.push_str(&["; key=\"", &key::shown(key), "\""].concat());
        }
        text
    }

    /// The target of the key, which is the one that the origin gets where its
    /// answer may be stored: what the key leaves out must not change it.
    #[must_use]
    pub fn target<'a>(&self, plan: &Plan, as_sent: &'a str) -> Cow<'a, str> {
        if shapes(plan) { self.as_stored(as_sent) } else { Cow::Borrowed(as_sent) }
    }

    /// The changes to what the origin gets where its answer may be stored.
    #[must_use]
    pub fn edits(&self, plan: &Plan, head: &impl Head) -> Vec<Edit> {
        if self.sends_all() || !shapes(plan) {
            return Vec::new();
        }
        let mut edits = Vec::new();
        for name in &self.ignored {
            if head.field(name).is_some() {
                edits.push(Edit::Remove(name.clone()));
            }
        }
        for name in self.normalise.fields() {
            if let Some(value) = self.normalise.value(&name, head)
                && head.field(&name).as_deref() != Some(&value)
            {
                edits.push(Edit::Set(name, value));
            }
        }
        edits
    }
}

/// Whether the request is shaped to what the key holds of it.
fn shapes(plan: &Plan) -> bool {
    plan.skip.is_none() || plan.store
}

/// Why a request was not answered from the cache (RFC 9211, 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forward {
    /// The cache was not asked, or has an answer that is not for this client.
    Bypass,
    /// The method is never answered from here.
    Method,
    /// Nothing is stored.
    UriMiss,
    /// What is stored was selected by other request fields.
    VaryMiss,
    /// What is stored is too old.
    Stale,
    /// The request's directives forbid it.
    Request,
    /// What is stored is a part, and not the one that is asked for.
    Partial,
}

impl Forward {
    /// The `fwd` parameter, and the label in logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Stale => "stale",
            Self::Request => "request",
            Self::Partial => "partial",
        }
    }
}

/// Why an answer is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotStored {
    /// The request did not allow it.
    Request,
    /// A signed token took the request past the cache.
    Token,
    /// The status is no answer that could be stored.
    Status,
    /// `no-store`, `private`, or directives that cannot be read.
    Directive,
    /// The request shows credentials, and the answer does not say that it is
    /// shared.
    Credentials,
    /// It sets a cookie.
    SetCookie,
    /// `Vary` is `*`, or names what cannot be compared.
    Vary,
    /// It could not be used again.
    Freshness,
    /// The route gives its status no lifetime.
    Lifetime,
    /// It is part of something, and does not say which.
    Partial,
    /// It is part of something else than the whole that was stored: that one
    /// is removed, and this one was asked for before.
    Changed,
    /// The body is larger than the route keeps.
    Size,
    /// The head is larger than the store takes, or has bytes that cannot be
    /// kept as they are.
    Head,
    /// It lives too short for the only tier there is, or that is not bound.
    Tier,
}

impl NotStored {
    /// The `detail` parameter.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Token => bypass_token::GRANTED,
            Self::Status => "status",
            Self::Directive => "directive",
            Self::Credentials => "credentials",
            Self::SetCookie => "set-cookie",
            Self::Vary => "vary",
            Self::Freshness => "no-freshness",
            Self::Lifetime => "lifetime",
            Self::Partial => "partial",
            Self::Changed => "changed",
            Self::Size => "size",
            Self::Head => "head",
            Self::Tier => "tier",
        }
    }
}
