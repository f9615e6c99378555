//! What each endpoint does.

use http::header::{CACHE_CONTROL, ETAG, IF_MATCH, IF_NONE_MATCH};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::endpoints::{Call, Endpoint};
use super::problem::{Problem, Refusal};
use super::tokens::Token;
use super::{CONTROL_WAIT, Request};
use crate::control::answer::{Acknowledgement, AuditLog, History, RevisionDocument, Status, decode_answer};
use crate::control::message::{
    Action, AuditPage, HistoryPage, Push, RevisionOf, Rollback, encode_request, revision_number,
};
use crate::error::{Dependency, PlatformError};
use crate::exchange::{Answer, Edit, Head, Reply, list};
use crate::platform::Platform;
use crate::policy::decode::{self, Problems};
use crate::policy::diff::{Change, diff};
use crate::policy::manifest::{Alert, MODULE_VERSION};
use crate::policy::needs::least_module;
use crate::policy::{DOCUMENT_LIMIT, compile};
use crate::stages::respond;

/// The largest body of a rollback, in bytes.
const ROLLBACK_LIMIT: usize = 16 << 10;

pub(super) type Done<P> = Result<Reply<<P as crate::platform::Origin>::Response>, Problem>;

pub(super) async fn call<P: Platform>(
    request: &Request<'_, P>,
    endpoint: &Endpoint,
    segment: &str,
    token: &Token,
) -> Done<P> {
    match endpoint.call {
        Call::Policy => request.policy().await,
        Call::Push => request.push(token).await,
        Call::Validate => request.validate().await,
        Call::DiffDocument => request.diff_document().await,
        Call::DiffRevisions => request.diff_revisions().await,
        Call::Rollback => request.rollback(token).await,
        Call::History => {
            let page = HistoryPage { before: request.revision("before")?, limit: request.number("limit")? };
            let history: History = request.control(&Action::History(page)).await?;
            Ok(Request::<P>::json(200, &history))
        }
        Call::Explain => request.explain().await,
        Call::Replay => request.replay().await,
        Call::Audit => {
            let page = AuditPage { before: request.number("before")?, limit: request.number("limit")? };
            let log: AuditLog = request.control(&Action::Audit(page)).await?;
            Ok(Request::<P>::json(200, &log))
        }
        Call::Health => request.health().await,
        Call::OpenApi => request.asset("/openapi.json").await,
        Call::Schema => request.asset("/policy.schema.json").await,
        Call::AddressSets => request.address_sets().await,
        Call::RemoveSet => request.remove_set(segment, token).await,
        Call::RollbackSets => request.rollback_sets(token).await,
        Call::Address => request.address(segment).await,
        Call::ImportSet => request.import_set(segment, token).await,
        Call::RefreshSet => request.refresh_set(segment, token).await,
        Call::Bans => request.bans().await,
        Call::Ban => request.ban(token).await,
        Call::Unban => request.unban(token).await,
        Call::Purges => request.purges().await,
        Call::Purge => request.purge(token).await,
        Call::LookInCache => request.look_in_cache().await,
        Call::Warm => request.warm(token).await,
        Call::Limits => request.limits().await,
        Call::LookAtLimits => request.look_at_limits().await,
        Call::ResetLimits => request.reset_limits(token).await,
    }
}

/// The body of a rollback.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RollbackRequest {
    /// The revision whose content comes back.
    pub to: String,
    /// Why, at most 500 bytes.
    #[serde(default)]
    pub message: String,
}

/// The answer about a document that can be used.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Validated {
    /// Always true.
    pub valid: bool,
    /// The least version of the module that reads it.
    pub module: String,
}

/// What differs.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Difference {
    /// The revision that was compared with; `r0` where there is none yet.
    pub base: String,
    /// The other revision, where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The changes.
    pub changes: Vec<Change>,
}

/// How this isolate and the control plane are.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AdminHealth {
    /// `ok`, `degraded` or `unavailable`.
    pub status: &'static str,
    /// The version of the module.
    pub version: &'static str,
    /// The revision that this isolate acts on.
    pub revision: String,
    /// Its place in the order of publications.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// Why it is degraded, where the policy is the reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What an operator should look at, as this isolate knows it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub alerts: Vec<Alert>,
    /// The sequence of the newest purge that this isolate knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newest_purge: Option<u64>,
    /// The control plane; missing where it did not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control: Option<Status>,
}

impl<P: Platform> Request<'_, P> {
    /// Asks the `Control` object.
    pub(super) async fn control<T: DeserializeOwned>(&self, action: &Action) -> Result<T, Problem> {
        let answer = self.platform.call(&encode_request(action), CONTROL_WAIT).await;
        let text = answer.map_err(|error| Problem::unavailable(&error))?;
        match decode_answer(&text) {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(refused)) => Err(Problem::refused(refused)),
            Err(why) => Err(Problem::unavailable(&PlatformError::failed(Dependency::Control, why))),
        }
    }

    /// A parameter that names a revision.
    fn revision(&self, name: &str) -> Result<Option<String>, Problem> {
        let revision = self.query(name)?.map(std::borrow::Cow::into_owned);
        match revision {
            Some(text) if revision_number(&text).is_none() => Err(Problem::new(Refusal::BadRequest)
                .detail(format!("Expected \"{name}\" to be the name of a revision such as r7."))),
            revision => Ok(revision),
        }
    }

    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, Problem> {
        let Some(text) = self.query(name)? else { return Ok(None) };
        let number = text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
        number.map(Some).ok_or_else(|| {
            Problem::new(Refusal::BadRequest).detail(format!("Expected \"{name}\" to be a whole number."))
        })
    }

    pub(super) async fn document(&self, name: Option<String>) -> Result<RevisionDocument, Problem> {
        self.control(&Action::Revision(RevisionOf { name })).await
    }

    async fn policy(&self) -> Done<P> {
        let found = self.document(self.revision("revision")?).await?;
        let tag = entity_tag(&found.revision.revision);
        // RFC 9110, 13.1.2: weak comparison, and a star for whatever is there.
        let known = self.head.field(&IF_NONE_MATCH).is_some_and(|field| {
            list(&field).any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
        });
        let (status, body) = if known { (304, String::new()) } else { (200, found.document) };
        let mut answer = Answer { body, ..respond::empty(status, "application/json") };
        answer.fields.push((ETAG, tag));
        Ok(Reply::Answer(answer))
    }

    async fn push(&self, token: &Token) -> Done<P> {
        let base = self.base()?;
        let message = self.query("message")?.unwrap_or_default().into_owned();
        let document = self.body(DOCUMENT_LIMIT).await?;
        let push =
            Push { base, document, parts: Vec::new(), message, author: token.name.clone(), role: token.role };
        self.change(&Action::Push(push)).await
    }

    async fn rollback(&self, token: &Token) -> Done<P> {
        let base = self.base()?;
        let text = self.body(ROLLBACK_LIMIT).await?;
        let RollbackRequest { to, message } = read(&text)?;
        if revision_number(&to).is_none() {
            return Err(Problem::new(Refusal::InvalidBody)
                .detail("Expected \"to\" to be the name of a revision such as r7."));
        }
        let rollback = Rollback { to, base, message, author: token.name.clone(), role: token.role };
        self.change(&Action::Rollback(rollback)).await
    }

    async fn change(&self, action: &Action) -> Done<P> {
        let done: Acknowledgement = self.control(action).await?;
        // This isolate need not wait for its interval to see it.
        self.isolate.changed.set(Some(done.sequence));
        let mut reply = Self::json(201, &done);
        if let Reply::Answer(answer) = &mut reply {
            answer.fields.push((ETAG, entity_tag(&done.revision)));
        }
        Ok(reply)
    }

    /// The revision that a change is based on. A tag names a revision and not
    /// bytes, and it is compared as that name, so a weak one is as good as a
    /// strong one (other than RFC 9110, 13.1.1): what compresses an answer on
    /// its way weakens its tag.
    fn base(&self) -> Result<String, Problem> {
        let needed = || {
            Problem::new(Refusal::PreconditionRequired).detail(
                "Name the active revision, such as If-Match: \"r7\", or say If-None-Match: * where there is none yet.",
            )
        };
        let matched = self.head.field(&IF_MATCH);
        let none = self.head.field(&IF_NONE_MATCH);
        match (matched.as_deref(), none.as_deref()) {
            (None, Some("*")) => Ok("r0".to_owned()),
            (Some(field), None) => {
                // Strong comparison (RFC 9110, 13.1.1): a weak tag names nothing.
                let name = field.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
                name.filter(|name| revision_number(name).is_some()).map(str::to_owned).ok_or_else(needed)
            }
            _ => Err(needed()),
        }
    }

    async fn validate(&self) -> Done<P> {
        let text = self.body(DOCUMENT_LIMIT).await?;
        let tree = valid(&text)?;
        let validated = Validated { valid: true, module: least_module(&tree).to_string() };
        Ok(Self::json(200, &validated))
    }

    async fn diff_document(&self) -> Done<P> {
        let name = self.revision("base")?;
        let text = self.body(DOCUMENT_LIMIT).await?;
        let after = valid(&text)?;
        let named = name.is_some();
        let (base, before) = match self.document(name).await {
            Ok(found) => (found.revision.revision, tree(&found.document)),
            // Before the first revision, everything is new.
            Err(problem) if problem.refusal == Refusal::NoSuchRevision && !named => {
                ("r0".to_owned(), Value::Object(serde_json::Map::new()))
            }
            Err(problem) => return Err(problem),
        };
        Ok(self.difference(Difference { base, to: None, changes: diff(&before, &after) }))
    }

    async fn diff_revisions(&self) -> Done<P> {
        let Some(from) = self.revision("from")? else {
            return Err(
                Problem::new(Refusal::BadRequest).detail("Expected the parameter \"from\", such as r7.")
            );
        };
        let to = self.revision("to")?;
        let before = self.document(Some(from)).await?;
        let after = self.document(to).await?;
        Ok(self.difference(Difference {
            base: before.revision.revision,
            to: Some(after.revision.revision),
            changes: diff(&tree(&before.document), &tree(&after.document)),
        }))
    }

    fn difference(&self, difference: Difference) -> Reply<P::Response> {
        if !self.wants_text() {
            return Self::json(200, &difference);
        }
        let lines: String =
            difference.changes.iter().flat_map(|change| [change.line(), "\n".to_owned()]).collect();
        Self::plain(lines)
    }

    async fn health(&self) -> Done<P> {
        let control = self.control::<Status>(&Action::Status).await.ok();
        let health = AdminHealth {
            status: self.health.status(),
            version: MODULE_VERSION,
            revision: self.snapshot.revision.clone(),
            sequence: self.snapshot.sequence,
            reason: self.health.degraded.map(str::to_owned),
            alerts: self.health.alerts.to_vec(),
            newest_purge: Some(self.snapshot.purges().newest()).filter(|newest| *newest > 0),
            control,
        };
        Ok(Self::json(200, &health))
    }

    async fn asset(&self, path: &str) -> Done<P> {
        match self.platform.asset(path, CONTROL_WAIT).await {
            Ok(Some(asset)) => {
                // As all that lies behind a token.
                let edits = [(CACHE_CONTROL, "no-store"), (respond::NOSNIFF, "nosniff")];
                let edits = edits.map(|(name, value)| Edit::Set(name, value.to_owned()));
                Ok(Reply::Native(asset, edits.into()))
            }
            Ok(None) => Err(Problem::new(Refusal::NoSuchEndpoint)
                .detail("The static assets are not deployed with this Worker.")),
            Err(error) => Err(Problem::failed(Refusal::AssetsUnavailable, &error)),
        }
    }
}

/// A revision's name as an entity tag (RFC 9110, 8.8.3).
fn entity_tag(revision: &str) -> String {
    ["\"", revision, "\""].concat()
}

/// A stored document as a tree. It was compiled before it was stored.
fn tree(document: &str) -> Value {
    serde_json::from_str(document).unwrap_or_default()
}

/// A document as a tree, if it is a policy.
pub(super) fn valid(text: &str) -> Result<Value, Problem> {
    compile(text).map_err(|error| Problem::problems(Refusal::InvalidPolicy, error.problems))?;
    Ok(tree(text))
}

/// Reads a strict JSON body.
pub(super) fn read<T: DeserializeOwned>(text: &str) -> Result<T, Problem> {
    let mut problems = Problems::default();
    let read = decode::parse(text, &mut problems).and_then(|mut tree| {
        if tree.is_object() {
            return decode::decode::<T>(&mut tree, &mut problems);
        }
        problems.add("", decode::shown(&tree), "expected an object");
        None
    });
    match read {
        Some((body, _)) if problems.is_empty() => Ok(body),
        _ => Err(Problem::problems(Refusal::InvalidBody, problems.into_vec())),
    }
}
