//! Why the API refuses, as problem details (RFC 9457).

use std::borrow::Cow;

use http::header::{HeaderName, RETRY_AFTER};
use serde::Serialize;

use crate::control::answer::{ProblemText, Refusal as ControlRefusal, Refused};
use crate::error::{Dependency, PlatformError};
use crate::exchange::Answer;
use crate::stages::respond;

/// Why. The label is the one name of that reason: in problem details, in the
/// access log and in the audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Nobody serves that.
    NoSuchEndpoint,
    /// Another method would do.
    MethodNotAllowed,
    /// No token, or one that is not known.
    Unauthenticated,
    /// The token's time is over.
    TokenExpired,
    /// The token's role may not.
    Forbidden,
    /// Too many rejected attempts from there.
    TooManyRejections,
    /// A parameter or a field cannot be read.
    BadRequest,
    /// The body did not come in time.
    SlowBody,
    /// The body is not what it should be.
    InvalidBody,
    /// The body is too large.
    TooLarge,
    /// The body is not of a kind that is read, by its fields.
    UnsupportedMediaType,
    /// A change that names no base.
    PreconditionRequired,
    /// The base is not the active revision, or the present generation of the
    /// address sets, any more.
    StaleBase,
    /// The document has problems.
    InvalidPolicy,
    /// There is no such revision.
    NoSuchRevision,
    /// A module that runs could not read the document.
    NeedsNewerModule,
    /// Only an owner changes `admin`.
    NeedsOwner,
    /// The `Control` object failed.
    ControlUnavailable,
    /// The static assets failed.
    AssetsUnavailable,
    /// The active policy names the set.
    SetInUse,
    /// There is no such stored set.
    NoSuchSet,
    /// There is no such generation of the stored sets any more.
    NoSuchGeneration,
    /// A list may not take the place of the one before it.
    InvalidList,
    /// The active policy gives the set no feed.
    NoFeed,
    /// The server of a feed did not give a list.
    FeedUnavailable,
    /// The guard list holds the network.
    Guarded,
    /// There is no such ban.
    NoSuchBan,
    /// There is no room for more bans of people.
    TooManyBans,
    /// No rule has such a counter.
    NoSuchCounter,
    /// The counter's object does not answer.
    CounterUnavailable,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 30] = [
        Self::NoSuchEndpoint,
        Self::MethodNotAllowed,
        Self::Unauthenticated,
        Self::TokenExpired,
        Self::Forbidden,
        Self::TooManyRejections,
        Self::BadRequest,
        Self::SlowBody,
        Self::InvalidBody,
        Self::TooLarge,
        Self::UnsupportedMediaType,
        Self::PreconditionRequired,
        Self::StaleBase,
        Self::InvalidPolicy,
        Self::NoSuchRevision,
        Self::NeedsNewerModule,
        Self::NeedsOwner,
        Self::ControlUnavailable,
        Self::AssetsUnavailable,
        Self::SetInUse,
        Self::NoSuchSet,
        Self::NoSuchGeneration,
        Self::InvalidList,
        Self::NoFeed,
        Self::FeedUnavailable,
        Self::Guarded,
        Self::NoSuchBan,
        Self::TooManyBans,
        Self::NoSuchCounter,
        Self::CounterUnavailable,
    ];

    /// The label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoSuchEndpoint => "no-such-endpoint",
            Self::MethodNotAllowed => "method-not-allowed",
            Self::Unauthenticated => "unauthenticated",
            Self::TokenExpired => "token-expired",
            Self::Forbidden => "forbidden",
            Self::TooManyRejections => "too-many-rejections",
            Self::BadRequest => "bad-request",
            Self::SlowBody => "slow-body",
            Self::InvalidBody => "invalid-body",
            Self::TooLarge => "too-large",
            Self::UnsupportedMediaType => "unsupported-media-type",
            Self::PreconditionRequired => "precondition-required",
            Self::StaleBase => "stale-base",
            Self::InvalidPolicy => "invalid-policy",
            Self::NoSuchRevision => "no-such-revision",
            Self::NeedsNewerModule => "needs-newer-module",
            Self::NeedsOwner => "needs-owner",
            Self::ControlUnavailable => "control-unavailable",
            Self::AssetsUnavailable => "assets-unavailable",
            Self::SetInUse => "set-in-use",
            Self::NoSuchSet => "no-such-set",
            Self::NoSuchGeneration => "no-such-generation",
            Self::InvalidList => "invalid-list",
            Self::NoFeed => "no-feed",
            Self::FeedUnavailable => "feed-unavailable",
            Self::Guarded => "guarded",
            Self::NoSuchBan => "no-such-ban",
            Self::TooManyBans => "too-many-bans",
            Self::NoSuchCounter => "no-such-counter",
            Self::CounterUnavailable => "counter-unavailable",
        }
    }

    /// The status (RFC 9110, 15; RFC 6585 for 428 and 429).
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::BadRequest | Self::InvalidBody => 400,
            Self::Unauthenticated | Self::TokenExpired => 401,
            Self::Forbidden | Self::NeedsOwner => 403,
            Self::NoSuchEndpoint
            | Self::NoSuchRevision
            | Self::NoSuchSet
            | Self::NoSuchGeneration
            | Self::NoSuchBan
            | Self::NoSuchCounter => 404,
            Self::MethodNotAllowed => 405,
            Self::SlowBody => 408,
            Self::NeedsNewerModule | Self::SetInUse | Self::NoFeed | Self::Guarded | Self::TooManyBans => 409,
            Self::StaleBase => 412,
            Self::TooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::InvalidPolicy | Self::InvalidList => 422,
            Self::PreconditionRequired => 428,
            Self::TooManyRejections => 429,
            Self::FeedUnavailable => 502,
            Self::ControlUnavailable | Self::AssetsUnavailable | Self::CounterUnavailable => 503,
        }
    }

    /// A short summary (RFC 9457, "title").
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::NoSuchEndpoint => "No such endpoint",
            Self::MethodNotAllowed => "Another method is needed here",
            Self::Unauthenticated => "A token is needed",
            Self::TokenExpired => "The token has expired",
            Self::Forbidden => "The token's role may not do this",
            Self::TooManyRejections => "Too many rejected attempts",
            Self::BadRequest => "The request cannot be read",
            Self::SlowBody => "The body did not come in time",
            Self::InvalidBody => "The body cannot be read",
            Self::TooLarge => "The body is too large",
            Self::UnsupportedMediaType => "The body is of a kind that is not read here",
            Self::PreconditionRequired => "The change names no base",
            Self::StaleBase => "What the change is based on has changed meanwhile",
            Self::InvalidPolicy => "The policy document has problems",
            Self::NoSuchRevision => "There is no such revision",
            Self::NeedsNewerModule => "A module that still runs cannot read this document",
            Self::NeedsOwner => "Only an owner may change \"admin\"",
            Self::ControlUnavailable => "The control plane does not answer",
            Self::AssetsUnavailable => "The static assets do not answer",
            Self::SetInUse => "The active policy names this set",
            Self::NoSuchSet => "There is no such set",
            Self::NoSuchGeneration => "There is no such generation any more",
            Self::InvalidList => "The list may not take the place of the one before",
            Self::NoFeed => "The set has no feed",
            Self::FeedUnavailable => "The feed gives no list",
            Self::Guarded => "The guard list holds this network",
            Self::NoSuchBan => "There is no such ban",
            Self::TooManyBans => "There is no room for more bans",
            Self::NoSuchCounter => "There is no such counter",
            Self::CounterUnavailable => "The counter does not answer",
        }
    }

    /// Whether a dependency failed (an operator should look), as opposed to
    /// the API having decided.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        matches!(
            self,
            Self::ControlUnavailable
                | Self::AssetsUnavailable
                | Self::FeedUnavailable
                | Self::CounterUnavailable
        )
    }
}

/// A refusal with what explains it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Why.
    pub refusal: Refusal,
    /// Whether the `Control` object has written it down already.
    pub noted: bool,
    /// What failed, for the log alone.
    pub cause: Option<String>,
    detail: Option<Cow<'static, str>>,
    fields: Vec<(HeaderName, String)>,
    more: Box<More>,
}

/// The members beside those of RFC 9457.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct More {
    problems: Vec<ProblemText>,
    base: Option<String>,
    active: Option<String>,
    needs: Option<String>,
    oldest: Option<String>,
    list_reason: Option<&'static str>,
}

/// The body of a refusal (RFC 9457).
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "ProblemDetails"))]
pub(super) struct Details<'a> {
    /// `urn:edgeweir:problem:` and the label of the reason.
    #[serde(rename = "type")]
    kind: String,
    /// The reason in a few words.
    title: &'a str,
    /// The status.
    status: u16,
    /// More about it, in English.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    /// The id of the request, which the access log has, too.
    request_id: &'a str,
    /// What is wrong with a document or a body, all of it.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    problems: &'a [ProblemText],
    /// `stale-base`: the base that was named: a revision, or a generation of the
    /// stored address sets.
    #[serde(skip_serializing_if = "Option::is_none")]
    base: Option<&'a str>,
    /// `stale-base`: the revision that is active, or the generation that is
    /// present.
    #[serde(skip_serializing_if = "Option::is_none")]
    active: Option<&'a str>,
    /// `needs-newer-module`: the least version that can read the document.
    #[serde(skip_serializing_if = "Option::is_none")]
    needs: Option<&'a str>,
    /// `needs-newer-module`: the oldest version seen in 24 hours.
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest: Option<&'a str>,
    /// `invalid-list`, `feed-unavailable`: the label of what is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    list_reason: Option<&'a str>,
}

impl Problem {
    /// A refusal with nothing to add.
    #[must_use]
    pub fn new(refusal: Refusal) -> Self {
        Self { refusal, noted: false, cause: None, detail: None, fields: Vec::new(), more: Box::default() }
    }

    /// Tells more.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds a field to the answer.
    #[must_use]
    pub fn field(mut self, name: HeaderName, value: String) -> Self {
        self.fields.push((name, value));
        self
    }

    /// Says when to come again, in seconds.
    #[must_use]
    pub fn retry_after(self, seconds: u64) -> Self {
        self.field(RETRY_AFTER, seconds.to_string())
    }

    /// With everything that is wrong with a document.
    #[must_use]
    pub fn problems(refusal: Refusal, problems: Vec<crate::error::Problem>) -> Self {
        let mut problem = Self::new(refusal);
        problem.more.problems = problems.into_iter().map(ProblemText::from).collect();
        problem
    }

    /// A list that may not be used: label and detail.
    #[must_use]
    pub fn list(reason: &'static str, detail: String) -> Self {
        let mut problem = Self::new(Refusal::InvalidList).detail(detail);
        problem.more.list_reason = Some(reason);
        problem
    }

    /// A feed that gave no list: label and detail.
    #[must_use]
    pub fn unavailable_feed(reason: &'static str, detail: String) -> Self {
        let cause = Some(format!("{reason}: {detail}"));
        Self { refusal: Refusal::FeedUnavailable, cause, ..Self::list(reason, detail) }
    }

    /// What the `Control` object said.
    #[must_use]
    pub fn refused(refused: Refused) -> Self {
        let refusal = match refused.reason {
            ControlRefusal::StaleBase => Refusal::StaleBase,
            ControlRefusal::InvalidPolicy => Refusal::InvalidPolicy,
            ControlRefusal::TooLarge => Refusal::TooLarge,
            ControlRefusal::NoSuchRevision | ControlRefusal::NoSuchPart => Refusal::NoSuchRevision,
            ControlRefusal::NeedsNewerModule => Refusal::NeedsNewerModule,
            ControlRefusal::NeedsOperator => Refusal::Forbidden,
            ControlRefusal::NeedsOwner => Refusal::NeedsOwner,
            ControlRefusal::SetInUse => Refusal::SetInUse,
            ControlRefusal::NoSuchGeneration => Refusal::NoSuchGeneration,
            ControlRefusal::Guarded => Refusal::Guarded,
            ControlRefusal::NoSuchBan => Refusal::NoSuchBan,
            ControlRefusal::TooManyBans => Refusal::TooManyBans,
            // Between modules of ours: nothing that a client could mend.
            ControlRefusal::Malformed
            | ControlRefusal::NoSuchAction
            | ControlRefusal::UnsupportedVersion
            | ControlRefusal::Other => Refusal::ControlUnavailable,
        };
        let Refused { reason, base, active, problems, needs, oldest, detail } = refused;
        if refusal == Refusal::ControlUnavailable {
            let cause = format!("refused: {}, {}", reason.as_str(), detail.unwrap_or_default());
            return Self::unavailable(&PlatformError::failed(Dependency::Control, cause));
        }
        // Of other things that have changed the object says which.
        let policy_changed = |(base, active): (&String, &String)| {
            format!("The policy has changed: {active} is active, and the change is based on {base}.")
        };
        let detail = detail.or_else(|| base.as_ref().zip(active.as_ref()).map(policy_changed));
        Self {
            refusal,
            noted: true,
            cause: None,
            detail: detail.map(Cow::Owned),
            fields: Vec::new(),
            more: Box::new(More { problems, base, active, needs, oldest, list_reason: None }),
        }
    }

    /// The `Control` object failed. Its cause is for the log; whether a change
    /// was made is not known.
    #[must_use]
    pub fn unavailable(error: &PlatformError) -> Self {
        Self::failed(Refusal::ControlUnavailable, error)
            .detail("It did not answer. Where this was a change it may have been made: look at the history.")
    }

    /// Something of ours failed. Its cause is for the log.
    #[must_use]
    pub fn failed(refusal: Refusal, error: &PlatformError) -> Self {
        Self { cause: Some(error.to_string()), ..Self::new(refusal) }.retry_after(5)
    }

    /// The answer.
    #[must_use]
    pub fn answer(self, request_id: &str) -> Answer {
        let status = self.refusal.status();
        let details = Details {
            kind: format!("urn:edgeweir:problem:{}", self.refusal.as_str()),
            title: self.refusal.title(),
            status,
            detail: self.detail.as_deref(),
            request_id,
            problems: &self.more.problems,
            base: self.more.base.as_deref(),
            active: self.more.active.as_deref(),
            needs: self.more.needs.as_deref(),
            oldest: self.more.oldest.as_deref(),
            list_reason: self.more.list_reason,
        };
        let mut answer = respond::problem_json(status, &details);
        answer.fields.extend(self.fields);
        answer
    }
}
