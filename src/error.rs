//! Three things that go wrong, kept apart: a [`Reject`] is our decision about
//! a request, a [`PlatformError`] is a dependency that failed, and a
//! [`PolicyError`] is a document that cannot be used.

use std::borrow::Cow;
use std::fmt;

use crate::stages::ip_filter::DenyAnswer;

/// Why the gateway itself answered a request. The label is the one name of
/// that reason: in problem details, in the log and in tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The request target would be rewritten on its way to the origin, or is
    /// not a target at all.
    InvalidTarget,
    /// The Host field is not `host[:port]`.
    InvalidHost,
    /// The client's address is missing or garbled.
    ClientAddress,
    /// `CDN-Loop` already names this gateway (RFC 8586).
    Loop,
    /// A stored address set that a rule needs is not there.
    SetUnavailable,
    /// A ban holds the address.
    Banned,
    /// An `ip_filter` rule or default refused the address.
    AddressDenied,
    /// A `rate_limit` rule refused.
    RateLimited,
    /// The request lacks a part of the key of a `rate_limit` rule.
    MissingKey,
    /// A rule that fails closed could not reach its counter.
    CounterUnavailable,
    /// No route matches.
    NoRoute,
    /// Nothing under `/_weir/` has that name.
    NoSuchEndpoint,
    /// There is no policy that can be used.
    NoPolicy,
    /// The request said `only-if-cached` and nothing fresh is stored.
    NotCached,
    /// The origin refused, reset or could not be reached.
    UpstreamUnreachable,
    /// The origin did not send a response head in time.
    UpstreamTimeout,
}

impl Reason {
    /// The label used everywhere.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidTarget => "invalid-target",
            Self::InvalidHost => "invalid-host",
            Self::ClientAddress => "client-address",
            Self::Loop => "loop",
            Self::Banned => "banned",
            Self::AddressDenied => "address-denied",
            Self::SetUnavailable => "set-unavailable",
            Self::RateLimited => "rate-limited",
            Self::MissingKey => "missing-key",
            Self::CounterUnavailable => "counter-unavailable",
            Self::NoRoute => "no-route",
            Self::NoSuchEndpoint => "no-such-endpoint",
            Self::NoPolicy => "no-policy",
            Self::NotCached => "not-cached",
            Self::UpstreamUnreachable => "upstream-unreachable",
            Self::UpstreamTimeout => "upstream-timeout",
        }
    }

    /// The status of the answer (RFC 9110, RFC 6585, RFC 5842 for 508).
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::InvalidTarget | Self::InvalidHost | Self::ClientAddress | Self::MissingKey => 400,
            Self::Banned | Self::AddressDenied => 403,
            Self::NoRoute | Self::NoSuchEndpoint => 404,
            Self::RateLimited => 429,
            Self::UpstreamUnreachable => 502,
            Self::CounterUnavailable | Self::SetUnavailable | Self::NoPolicy => 503,
            Self::NotCached | Self::UpstreamTimeout => 504,
            Self::Loop => 508,
        }
    }

    /// A short human-readable summary (RFC 9457, "title").
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::InvalidTarget => "The request target is not acceptable",
            Self::InvalidHost => "The Host field is not acceptable",
            Self::ClientAddress => "The client address is not acceptable",
            Self::Loop => "The request has been here before",
            Self::Banned => "This address is banned",
            Self::AddressDenied => "This address may not use this resource",
            Self::RateLimited => "Too many requests",
            Self::MissingKey => "The request lacks what it is counted by",
            Self::SetUnavailable => "The address could not be checked",
            Self::CounterUnavailable => "The request could not be counted",
            Self::NoRoute => "Nothing is served here",
            Self::NoSuchEndpoint => "No such endpoint",
            Self::NoPolicy => "The gateway has no usable policy",
            Self::NotCached => "No stored answer",
            Self::UpstreamUnreachable => "The origin could not be reached",
            Self::UpstreamTimeout => "The origin did not answer in time",
        }
    }

    /// Whether a dependency failed (an operator should look), as opposed to
    /// the gateway having decided.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        matches!(
            self,
            Self::CounterUnavailable
                | Self::SetUnavailable
                | Self::NoPolicy
                | Self::UpstreamUnreachable
                | Self::UpstreamTimeout
        )
    }
}

/// A request that the gateway answers itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Reject {
    /// Why.
    pub reason: Reason,
    /// What the client is told beyond the title.
    pub detail: Option<Cow<'static, str>>,
    /// Seconds for `Retry-After`.
    pub retry_after: Option<u64>,
    /// What only the log is told: the cause of a failure.
    pub cause: Option<String>,
    /// What the client gets in place of the reason's own answer.
    pub answer: Option<Box<DenyAnswer>>,
    /// The status, where it is not the reason's own.
    pub own_status: Option<u16>,
    /// Whether the client gets a page and not problem details.
    pub page: bool,
}

impl Reject {
    /// The status of the answer.
    #[must_use]
    pub fn status(&self) -> u16 {
        let own = self.own_status.unwrap_or(self.reason.status());
        self.answer.as_ref().map_or(own, |answer| answer.status)
    }

    /// Whether the client is told that nothing is there, and so not that its
    /// address was refused.
    #[must_use]
    pub fn is_hidden(&self) -> bool {
        let by_address = matches!(self.reason, Reason::Banned | Reason::AddressDenied);
        by_address && self.status() == Reason::NoRoute.status()
    }

    /// Answers in another way.
    #[must_use]
    pub fn answer(mut self, answer: Option<&DenyAnswer>) -> Self {
        self.answer = answer.cloned().map(Box::new);
        self
    }

    /// Answers with another status.
    #[must_use]
    pub const fn status_of_its_own(mut self, status: Option<u16>) -> Self {
        self.own_status = status;
        self
    }

    /// Answers with a page.
    #[must_use]
    pub const fn as_page(mut self, page: bool) -> Self {
        self.page = page;
        self
    }

    /// A rejection with nothing to add.
    #[must_use]
    pub const fn new(reason: Reason) -> Self {
        Self {
            reason,
            detail: None,
            retry_after: None,
            cause: None,
            answer: None,
            own_status: None,
            page: false,
        }
    }

    /// Tells the client more.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Tells the client when to come again, in seconds.
    #[must_use]
    pub const fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// Tells the log what failed.
    #[must_use]
    pub fn cause(mut self, error: &PlatformError) -> Self {
        self.cause = Some(error.to_string());
        self
    }
}

/// The dependency that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dependency {
    /// The policy store: KV.
    PolicyStore,
    /// The single writer of the policy: a Durable Object.
    Control,
    /// A rate-limit counter: a Durable Object.
    Counter,
    /// The response store: the Cache API.
    ResponseStore,
    /// The response store of all locations: KV.
    GlobalStore,
    /// Who asks the origin for several isolates: a Durable Object.
    Collapser,
    /// The static assets.
    Assets,
    /// The origin.
    Origin,
    /// The server of a feed.
    Feed,
}

impl Dependency {
    /// The name in log lines.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PolicyStore => "policy-store",
            Self::Control => "control",
            Self::Counter => "counter",
            Self::ResponseStore => "response-store",
            Self::GlobalStore => "global-store",
            Self::Collapser => "collapser",
            Self::Assets => "assets",
            Self::Origin => "origin",
            Self::Feed => "feed",
        }
    }
}

/// A dependency failed. Never shown to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlatformError {
    /// Which one.
    pub dependency: Dependency,
    /// Whether it was too slow, as opposed to broken.
    pub timed_out: bool,
    /// What it said.
    pub cause: String,
}

/// The most of a cause that is kept, in bytes.
const CAUSE_LIMIT: usize = 300;

impl PlatformError {
    /// A dependency that failed.
    #[must_use]
    pub fn failed(dependency: Dependency, cause: impl AsRef<str>) -> Self {
        Self { dependency, timed_out: false, cause: clip(cause.as_ref(), CAUSE_LIMIT).to_owned() }
    }

    /// A dependency that did not answer in time.
    #[must_use]
    pub fn timed_out(dependency: Dependency, cause: impl AsRef<str>) -> Self {
        Self { timed_out: true, ..Self::failed(dependency, cause) }
    }
}

impl fmt::Display for PlatformError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.dependency.as_str(), self.cause)
    }
}

impl std::error::Error for PlatformError {}

/// One thing that is wrong with a policy document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where, as in `routes[0].rate_limit.rules[1].window`; empty for the
    /// document itself.
    pub path: String,
    /// What stands there, as JSON, shortened; empty where nothing does.
    pub value: String,
    /// What was expected.
    pub expected: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() { "(document)" } else { &self.path };
        if self.value.is_empty() {
            write!(f, "{path}: {}", self.expected)
        } else {
            write!(f, "{path}: found {}; {}", self.value, self.expected)
        }
    }
}

/// A policy document that cannot be used, with everything that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyError {
    /// At least one; at most [`crate::policy::MAX_PROBLEMS`].
    pub problems: Vec<Problem>,
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for PolicyError {}

/// The longest prefix of `text` that has at most `limit` bytes and ends at a
/// character boundary.
#[must_use]
pub fn clip(text: &str, limit: usize) -> &str {
    let mut end = limit.min(text.len());
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    text.get(..end).unwrap_or_default()
}

/// Lines for a terminal, each ended by a line feed: what would move the cursor
/// or turn the text around is replaced.
#[must_use]
pub fn printable(lines: &[String]) -> String {
    let steers = |character: char| {
        character.is_control() || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let shown = |character| if steers(character) { '\u{fffd}' } else { character };
    lines.iter().flat_map(|line| line.chars().map(shown).chain(['\n'])).collect()
}
