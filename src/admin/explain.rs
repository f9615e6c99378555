//! `explain` and `replay`: what a policy says about requests that are not on
//! their way.

use std::rc::Rc;

use serde::Deserialize;
use serde_json::Value;

use super::Request;
use super::calls::read;
use super::problem::{Problem, Refusal};
use crate::control::change_sets::present_sets;
use crate::control::message::Action;
use crate::control::sets::SetsStatus;
use crate::exchange::Reply;
use crate::explain::{Context, ExplainRequest, explain};
use crate::platform::Platform;
use crate::policy::decode::{self, Problems};
use crate::policy::{DOCUMENT_LIMIT, Gateway, compile};
use crate::replay::{Options, Replay};
use crate::stages::ip_filter::{BoundSets, Sets};

/// The largest body of `explain`: a document, and a request.
const EXPLAIN_LIMIT: usize = DOCUMENT_LIMIT + crate::explain::request::REQUEST_LIMIT;

/// The largest body of `replay`: a document, and some ten thousand records.
pub const REPLAY_LIMIT: usize = 12 << 20;

/// How many records that changed are told one by one.
const OUTCOMES: usize = 100;

/// The body of `replay`.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ReplayCall {
    /// The access log: a record a line.
    pub records: String,
    /// The candidate. Default: the active policy.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Option<crate::policy::Policy>"))]
    pub document: Option<Value>,
    /// A revision in its place.
    #[serde(default)]
    pub revision: Option<String>,
}

/// The policy that a question is about.
enum About<'a> {
    Acting(&'a Gateway, &'a str),
    Other(Box<Gateway>, String),
}

impl About<'_> {
    fn gateway(&self) -> &Gateway {
        match self {
            Self::Acting(gateway, _) => gateway,
            Self::Other(gateway, _) => gateway,
        }
    }

    fn revision(&self) -> &str {
        match self {
            Self::Acting(_, revision) => revision,
            Self::Other(_, revision) => revision,
        }
    }
}

impl<P: Platform> Request<'_, P> {
    pub(super) async fn explain(&self) -> Result<Reply<P::Response>, Problem> {
        let text = self.body(EXPLAIN_LIMIT).await?;
        let mut problems = Problems::default();
        let mut tree = decode::parse(&text, &mut problems).unwrap_or_default();
        let Some(members) = tree.as_object_mut().filter(|_| problems.is_empty()) else {
            if problems.is_empty() {
                problems.add("", "", "expected an object");
            }
            return Err(Problem::problems(Refusal::InvalidBody, problems.into_vec()));
        };
        // As everywhere, null is as good as nothing there.
        let document = members.remove("document").filter(|document| !document.is_null());
        let revision = match members.remove("revision") {
            None | Some(Value::Null) => None,
            Some(Value::String(name)) => Some(name),
            Some(other) => {
                problems.add(
                    "revision",
                    decode::shown(&other),
                    "expected the name of a revision such as \"r7\"",
                );
                return Err(Problem::problems(Refusal::InvalidBody, problems.into_vec()));
            }
        };
        let asked = ExplainRequest::parse(&tree.to_string())
            .map_err(|problems| Problem::problems(Refusal::InvalidBody, problems))?;
        let about = self.about(document, revision).await?;
        let stored = self.stored_for(&about).await;
        let context = Context {
            gateway: about.gateway(),
            sets: Sets::new(&about.gateway().sets, stored.as_ref()),
            bans: self.snapshot.bans.as_deref(),
            revision: about.revision(),
            isolate: self.isolate,
            fresh: self.fresh,
        };
        let explanation = explain(&asked, &context, self.platform).await;
        Ok(if self.wants_text() { Self::plain(explanation.text()) } else { Self::json(200, &explanation) })
    }

    pub(super) async fn replay(&self) -> Result<Reply<P::Response>, Problem> {
        let text = self.body(REPLAY_LIMIT).await?;
        let ReplayCall { records, document, revision } = read(&text)?;
        drop(text);
        let about = self.about(document, revision).await?;
        let stored = self.stored_for(&about).await;
        let mut replay =
            Replay::new(about.gateway(), Options { outcomes: OUTCOMES }).with_sets(stored.as_ref());
        for line in records.lines() {
            replay.line(line);
        }
        let report = replay.finish();
        Ok(if self.wants_text() { Self::plain(report.text()) } else { Self::json(200, &report) })
    }

    /// The stored sets, under the numbers of a policy. For the one that is
    /// acted on they are what the isolate has, missing ones included. Another
    /// one may name sets that it has never had to load.
    async fn stored_for(&self, about: &About<'_>) -> Option<BoundSets> {
        let gateway = about.gateway();
        let held = self.snapshot.stored.as_ref().map(|bound| Rc::clone(&bound.sets));
        let is_other = matches!(about, About::Other(..));
        let sets = if is_other && held.is_none() && !gateway.sets.stored.is_empty() {
            // Where it fails, the rules that name them say so.
            let status: SetsStatus = self.control(&Action::Sets).await.ok()?;
            present_sets(self.platform, &status, None).await.ok()
        } else {
            held
        };
        Some(BoundSets::new(sets?, &gateway.sets))
    }

    async fn about(&self, document: Option<Value>, revision: Option<String>) -> Result<About<'_>, Problem> {
        match (document, revision) {
            (None, None) => Ok(About::Acting(&self.snapshot.gateway, &self.snapshot.revision)),
            (Some(_), Some(_)) => {
                Err(Problem::new(Refusal::InvalidBody)
                    .detail("Expected \"document\" or \"revision\", not both."))
            }
            (Some(document), None) => {
                Ok(About::Other(Box::new(compiled(&document.to_string())?), "candidate".to_owned()))
            }
            (None, Some(name)) => {
                let found = self.document(Some(name)).await?;
                Ok(About::Other(Box::new(compiled(&found.document)?), found.revision.revision))
            }
        }
    }
}

fn compiled(text: &str) -> Result<Gateway, Problem> {
    compile(text).map_err(|error| Problem::problems(Refusal::InvalidPolicy, error.problems))
}
