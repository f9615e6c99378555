//! Why the API refuses, as problem details (RFC 9457).

use std::borrow::Cow;

use http::header::{CONTENT_TYPE, HeaderName, RETRY_AFTER};
use serde::Serialize;

use crate::control::answer::{ProblemText, Refusal as ControlRefusal, Refused};
use crate::error::PlatformError;
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
    /// The body is not JSON by its Content-Type.
    UnsupportedMediaType,
    /// A change that names no base.
    PreconditionRequired,
    /// The base is not the active revision any more.
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
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 18] = [
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
        }
    }

    /// The status (RFC 9110, 15; RFC 6585 for 428 and 429).
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::BadRequest | Self::InvalidBody => 400,
            Self::Unauthenticated | Self::TokenExpired => 401,
            Self::Forbidden | Self::NeedsOwner => 403,
            Self::NoSuchEndpoint | Self::NoSuchRevision => 404,
            Self::MethodNotAllowed => 405,
            Self::SlowBody => 408,
            Self::NeedsNewerModule => 409,
            Self::StaleBase => 412,
            Self::TooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::InvalidPolicy => 422,
            Self::PreconditionRequired => 428,
            Self::TooManyRejections => 429,
            Self::ControlUnavailable => 503,
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
            Self::UnsupportedMediaType => "The body has to be application/json",
            Self::PreconditionRequired => "The change names no base",
            Self::StaleBase => "The policy has changed meanwhile",
            Self::InvalidPolicy => "The policy document has problems",
            Self::NoSuchRevision => "There is no such revision",
            Self::NeedsNewerModule => "A module that still runs cannot read this document",
            Self::NeedsOwner => "Only an owner may change \"admin\"",
            Self::ControlUnavailable => "The control plane does not answer",
        }
    }
}

/// A refusal with what explains it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Why.
    pub refusal: Refusal,
    /// Whether the `Control` object has written it down already.
    pub noted: bool,
    detail: Option<Cow<'static, str>>,
    fields: Vec<(HeaderName, String)>,
    more: More,
}

/// The members beside those of RFC 9457.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
struct More {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    problems: Vec<ProblemText>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    active: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    needs: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest: Option<String>,
}

impl Problem {
    /// A refusal with nothing to add.
    #[must_use]
    pub fn new(refusal: Refusal) -> Self {
        Self { refusal, noted: false, detail: None, fields: Vec::new(), more: More::default() }
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
            // Between modules of ours: nothing that a client could mend.
            ControlRefusal::Malformed
            | ControlRefusal::NoSuchAction
            | ControlRefusal::UnsupportedVersion
            | ControlRefusal::Other => Refusal::ControlUnavailable,
        };
        let Refused { base, active, problems, needs, oldest, detail, .. } = refused;
        Self {
            refusal,
            noted: true,
            detail: detail.map(Cow::Owned),
            fields: Vec::new(),
            more: More { problems, base, active, needs, oldest },
        }
    }

    /// The `Control` object failed. Its cause is for the log; whether a change
    /// was made is not known.
    #[must_use]
    pub fn unavailable(_: &PlatformError) -> Self {
        Self::new(Refusal::ControlUnavailable)
            .detail("It did not answer. Where this was a change it may have been made: look at the history.")
            .retry_after(5)
    }

    /// The answer.
    #[must_use]
    pub fn answer(self, request_id: &str) -> Answer {
        #[derive(Serialize)]
        struct Details<'a> {
            #[serde(rename = "type")]
            kind: String,
            title: &'a str,
            status: u16,
            #[serde(skip_serializing_if = "Option::is_none")]
            detail: Option<&'a str>,
            request_id: &'a str,
            #[serde(flatten)]
            more: &'a More,
        }
        let status = self.refusal.status();
        let details = Details {
            kind: format!("urn:edgeweir:problem:{}", self.refusal.as_str()),
            title: self.refusal.title(),
            status,
            detail: self.detail.as_deref(),
            request_id,
            more: &self.more,
        };
        let mut answer = respond::json(status, &details);
        if let Some((_, kind)) = answer.fields.iter_mut().find(|(name, _)| *name == CONTENT_TYPE) {
            "application/problem+json".clone_into(kind);
        }
        answer.fields.extend(self.fields);
        answer
    }
}
