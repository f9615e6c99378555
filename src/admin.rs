//! The admin API: a request in, JSON out. It runs in the Worker and asks the
//! `Control` object; nothing here writes to the policy store.
//!
//! 1. Without a usable `ADMIN_TOKENS` there is no API: 404, as for any name
//!    that nobody serves. With `admin.hosts` it is there on those hosts only.
//! 2. Who is not known gets 401, and an attempt costs him: rejected attempts
//!    have a limit of their own. Whoever brings a good token is counted by the
//!    token and not by the address, so that nobody behind the same address can
//!    shut an operator out.
//! 3. Nothing is said about what exists before it is known who asks.
//! 4. Every rejected attempt, and every rejected change, stands in the audit
//!    log; what passes its limit is refused without an entry, so that a flood
//!    cannot fill it.
//! 5. A change names the revision that it is based on (RFC 9110, 13.1.1): a
//!    lost update is refused.

pub mod address;
pub mod bans;
pub mod body;
pub mod cache;
mod calls;
pub mod endpoints;
pub mod explain;
mod import;
pub mod limits;
#[cfg(feature = "schema")]
pub mod openapi;
pub mod problem;
pub mod purges;
pub mod sets;
pub mod tokens;
pub mod warm;

use std::borrow::Cow;
use std::cell::RefCell;
use std::time::Duration;

use http::header::{ALLOW, WWW_AUTHENTICATE};

use self::endpoints::{Endpoint, Found, Parameter};
use self::problem::{Problem, Refusal};
use self::tokens::{Caller, Token};
use crate::control::answer::{Done as IsDone, decode_answer};
use crate::control::message::{Action, NAME_LIMIT, Note, encode_request};
use crate::control::{self, CONTROL_WAIT, Health};
use crate::error::clip;
use crate::exchange::{Answer, Head, Reply};
use crate::gateway::Isolate;
use crate::platform::Platform;
use crate::policy::snapshot::Snapshot;
use crate::stages::identity::Identity;
use crate::stages::rate_limit::algorithm::Quota;
use crate::stages::rate_limit::seconds_up;
use crate::stages::respond;
use crate::stages::target::Target;
use crate::text;

/// What the API's paths begin with.
pub const BASE: &str = "/_weir/admin";

/// How long a note of a rejected attempt may take: the refusal waits for it.
const NOTE_WAIT: Duration = Duration::from_secs(2);

/// Whether a path, in normal form, is the API's.
#[must_use]
pub fn is_ours(path: &str) -> bool {
    path.strip_prefix(BASE).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// What a client may be refused before it is told to wait: ten at once, then
/// one every six seconds.
fn rejections() -> Quota {
    Quota::new(10, Duration::from_secs(60), 10)
}

/// One request to the API.
#[derive(Debug)]
pub struct Request<'a, P: Platform> {
    /// The runtime.
    pub platform: &'a P,
    /// The request's head.
    pub head: &'a P::Request,
    /// Its target.
    pub target: &'a Target<'a>,
    /// Where it comes from.
    pub identity: &'a Identity,
    /// Who it is from.
    pub caller: Caller<'a>,
    /// The policy that the isolate acts on.
    pub snapshot: &'a Snapshot,
    /// How the isolate is.
    pub health: Health<'a>,
    /// What the isolate keeps.
    pub isolate: &'a Isolate,
    /// 128 random bits.
    pub fresh: u128,
    /// What failed beside a success, for the log alone.
    pub failure: RefCell<Option<String>>,
}

/// What became of a request.
#[derive(Debug)]
pub struct Answered<R> {
    /// The answer.
    pub reply: Reply<R>,
    /// Why it is a refusal, where it is one.
    pub refusal: Option<Refusal>,
    /// What failed, for the log alone.
    pub cause: Option<String>,
}

impl<P: Platform> Request<'_, P> {
    /// Answers. Never fails: what is wrong with a request is its answer.
    pub async fn answer(&self) -> Answered<P::Response> {
        match self.serve().await {
            Ok(reply) => Answered { reply, refusal: None, cause: self.failure.take() },
            Err(mut problem) => Answered {
                refusal: Some(problem.refusal),
                cause: problem.cause.take(),
                reply: Reply::Answer(problem.answer(&self.identity.request_id)),
            },
        }
    }

    async fn serve(&self) -> Result<Reply<P::Response>, Problem> {
        let hosts = &self.snapshot.gateway.admin_hosts;
        let here = hosts.is_empty() || hosts.iter().any(|host| *host == self.target.authority());
        if self.isolate.tokens.is_empty() || !here {
            return Err(Problem::new(Refusal::NoSuchEndpoint));
        }
        let token = match self.caller {
            Caller::Known(token) => token,
            Caller::Expired(token) => {
                return Err(self.rejected(challenge(self.caller), Some(token), false).await);
            }
            Caller::Nobody | Caller::Unknown => {
                return Err(self.rejected(challenge(self.caller), None, false).await);
            }
        };
        let found = endpoints::find(self.head.method(), &self.target.path);
        let (endpoint, segment) = match found {
            Found::Endpoint(endpoint, segment) => (endpoint, segment.unwrap_or_default()),
            Found::OtherMethods(methods) => {
                let problem = Problem::new(Refusal::MethodNotAllowed).field(ALLOW, methods.join(", "));
                return Err(problem);
            }
            Found::Nothing => return Err(Problem::new(Refusal::NoSuchEndpoint)),
        };
        if token.role < endpoint.role {
            let detail = format!(
                "This needs the role {}; the token's is {}.",
                endpoint.role.as_str(),
                token.role.as_str()
            );
            let problem = Problem::new(Refusal::Forbidden).detail(detail);
            return Err(self.rejected(problem, Some(token), false).await);
        }
        match self.call(endpoint, &segment, token).await {
            // What the object refused, it has written down itself.
            Err(problem) if endpoint.changes && !problem.noted => {
                Err(self.rejected(problem, Some(token), true).await)
            }
            answered => answered,
        }
    }

    /// Counts a rejected attempt and writes it down. `known` is whether the
    /// attempt was a change by somebody who may make changes: that one is
    /// always written down.
    async fn rejected(&self, problem: Problem, token: Option<&Token>, known: bool) -> Problem {
        if !known {
            let key = control::counter(self.identity, self.caller.token());
            let now = self.platform.now();
            let decision = self.isolate.rejections.borrow_mut().take(key, &rejections(), 1, now);
            if !decision.allowed {
                let wait = seconds_up(decision.retry_after).max(1);
                return Problem::new(Refusal::TooManyRejections).retry_after(wait);
            }
        }
        let note = Note {
            // As much as is kept: the rest need not travel.
            attempt: clip(&format!("{} {}", self.head.method(), self.target.path), NAME_LIMIT).to_owned(),
            reason: problem.refusal.as_str().to_owned(),
            author: token.map(|token| token.name.clone()).unwrap_or_default(),
            role: token.map(|token| token.role),
            message: format!("from {}", text::address(self.identity.address)),
        };
        // The refusal stands whether or not it could be written down; the
        // access log has it either way.
        let _ = self.platform.call(&encode_request(&Action::Note(note)), NOTE_WAIT).await;
        problem
    }

    /// Writes down what was done here and not in the object. It stands whether
    /// or not that could be written down; the log says where it could not.
    async fn done(&self, action: &str, token: &Token, message: &str) {
        let note = Note {
            attempt: action.to_owned(),
            reason: String::new(),
            author: token.name.clone(),
            role: Some(token.role),
            message: format!("{message}; from {}", text::address(self.identity.address)),
        };
        let answer = self.platform.call(&encode_request(&Action::NoteDone(note)), NOTE_WAIT).await;
        let failure = match answer.map(|text| decode_answer::<IsDone>(&text)) {
            Ok(Ok(Ok(_))) => return,
            Ok(Ok(Err(refused))) => refused.reason.as_str().to_owned(),
            Ok(Err(why)) => why,
            Err(error) => error.to_string(),
        };
        *self.failure.borrow_mut() = Some(format!("{action} is not in the audit log: {failure}"));
    }

    /// One parameter of the query, decoded.
    fn query(&self, name: &str) -> Result<Option<Cow<'_, str>>, Problem> {
        Ok(self.queries(name)?.into_iter().next())
    }

    /// Every parameter of that name, decoded.
    fn queries(&self, name: &str) -> Result<Vec<Cow<'_, str>>, Problem> {
        let query = self.target.as_sent.split_once('?').map_or("", |(_, query)| query);
        let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let values = pairs.filter(|(key, _)| *key == name).map(|(_, value)| {
            body::percent_decoded(value).ok_or_else(|| {
                Problem::new(Refusal::BadRequest).detail(format!("The parameter \"{name}\" is not UTF-8."))
            })
        });
        values.collect()
    }

    async fn call(
        &self,
        endpoint: &Endpoint,
        segment: &str,
        token: &Token,
    ) -> Result<Reply<P::Response>, Problem> {
        self.check_parameters(endpoint)?;
        calls::call(self, endpoint, segment, token).await
    }

    /// A parameter that nobody reads is a mistake of the sender, and so is one
    /// that stands there twice: readers differ in which one they take.
    fn check_parameters(&self, endpoint: &Endpoint) -> Result<(), Problem> {
        let query = self.target.as_sent.split_once('?').map_or("", |(_, query)| query);
        let keys = query.split('&').map(|pair| pair.split_once('=').map_or(pair, |(key, _)| key));
        let mut seen: Vec<&str> = Vec::new();
        for key in keys.filter(|key| !key.is_empty()) {
            let may_repeat = |parameter: &Parameter| parameter.name == key && parameter.kind.repeats();
            if seen.contains(&key) && !endpoint.parameters.iter().any(may_repeat) {
                return Err(Problem::new(Refusal::BadRequest).detail("A parameter stands there twice."));
            }
            seen.push(key);
            if !endpoint.parameters.iter().any(|parameter| parameter.name == key) {
                let known: Vec<&str> = endpoint.parameters.iter().map(|parameter| parameter.name).collect();
                let detail = if known.is_empty() {
                    "There are no parameters here.".to_owned()
                } else {
                    format!("Expected only the parameters {}.", known.join(", "))
                };
                return Err(Problem::new(Refusal::BadRequest).detail(detail));
            }
        }
        Ok(())
    }

    /// A JSON answer.
    fn json(status: u16, value: &impl serde::Serialize) -> Reply<P::Response> {
        Reply::Answer(respond::json(status, value))
    }

    /// A plain text, for people.
    fn plain(text: String) -> Reply<P::Response> {
        Reply::Answer(Answer { body: text, ..respond::empty(200, "text/plain; charset=utf-8") })
    }

    /// Whether the client would rather have text than JSON: it names
    /// `text/plain` and no JSON.
    fn wants_text(&self) -> bool {
        let accept = self.head.field(&http::header::ACCEPT);
        accept.is_some_and(|accept| accept.contains("text/plain") && !accept.contains("json"))
    }
}

/// What somebody is told who is not known.
fn challenge(caller: Caller<'_>) -> Problem {
    let (refusal, detail) = match caller {
        Caller::Expired(_) => (Refusal::TokenExpired, "Ask for a new one."),
        Caller::Unknown => (Refusal::Unauthenticated, "The token is not known."),
        _ => (Refusal::Unauthenticated, "Send a token as \"Authorization: Bearer …\"."),
    };
    // RFC 6750, 3: the error is named where a token was given.
    let error = if matches!(caller, Caller::Nobody) { "" } else { ", error=\"invalid_token\"" };
    Problem::new(refusal).detail(detail).field(WWW_AUTHENTICATE, format!("Bearer realm=\"edgeweir\"{error}"))
}
