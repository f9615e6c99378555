//! Purges by people: purging, and what is purged.
//!
//! What is answered is durable in `Control`. This isolate acts on it at once,
//! the others with the manifest.

use serde::{Deserialize, Serialize};

use super::Request;
use super::calls::{Done, read};
use super::problem::{Problem, Refusal};
use super::tokens::Token;
use crate::control::answer::PublicationState;
use crate::control::message::{Action, NOTE_LIMIT};
use crate::control::purges::{ORDER_LIMIT, PurgeList, PurgeOrder, PurgesPage, PurgesTaken};
use crate::error::{Problem as Fault, clip};
use crate::platform::Platform;
use crate::purge::url::{PREFIX_EXPECTED, URL_EXPECTED, parse_prefix, parse_url};
use crate::purge::{TAG_EXPECTED, parse_tag};

/// The largest body: as many of the longest URLs as there may be, and what is
/// around them.
const BODY_LIMIT: usize = 2 << 20;

/// How much of a text that is wrong is shown, in bytes.
const SHOWN: usize = 200;

/// The body of `POST /purge`: at least one of `urls`, `prefixes`, `tags` and
/// `all`; at most 500 texts together.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct PurgeRequest {
    /// URLs, each with scheme and query. All that is stored for one is purged:
    /// every variant, selection by `Vary` and route. The order of parameters
    /// does not matter; parameters that a route drops from the key must not be
    /// there.
    #[cfg_attr(feature = "schema", schemars(length(max = 500)))]
    pub urls: Vec<String>,
    /// What URLs begin with: scheme, the whole host and the beginning of a path.
    /// `/blog/` holds `/blog`, too; `/blog` holds `/blog-2`; `/blog?` holds the
    /// queries of `/blog` alone.
    #[cfg_attr(feature = "schema", schemars(length(max = 500)))]
    pub prefixes: Vec<String>,
    /// Tags of `Cache-Tag` or `Surrogate-Key`, whatever their case.
    #[cfg_attr(feature = "schema", schemars(length(max = 500)))]
    pub tags: Vec<String>,
    /// Everything. Default false.
    pub all: bool,
    /// Makes stale in place of taking away. Default false.
    pub soft: bool,
    /// Why, at most 500 bytes.
    pub message: String,
}

/// The answer to a purge: it is durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PurgeAcknowledgement {
    /// The sequence of the publication that carries it; 0 where there is no
    /// policy to publish yet.
    pub sequence: u64,
    /// Whether the policy store has it.
    pub state: PublicationState,
    /// How many purges it was; the same text twice is one.
    pub purged: usize,
    /// There was no room for more purges, so everything was purged.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub overflowed: bool,
}

impl<P: Platform> Request<'_, P> {
    pub(super) async fn purges(&self) -> Done<P> {
        let page = PurgesPage { before: self.number("before")?, limit: self.number("limit")? };
        let list: PurgeList = self.control(&Action::Purges(page)).await?;
        Ok(Self::json(200, &list))
    }

    pub(super) async fn purge(&self, token: &Token) -> Done<P> {
        let text = self.body(BODY_LIMIT).await?;
        let PurgeRequest { urls, prefixes, tags, all, soft, message }: PurgeRequest = read(&text)?;
        let mut faults = Vec::new();
        let mut fault = |path: String, value: &str, expected: String| {
            faults.push(Fault { path, value: format!("{:?}", clip(value, SHOWN)), expected });
        };
        let texts = urls.len().saturating_add(prefixes.len()).saturating_add(tags.len());
        if texts == 0 && !all {
            fault(
                "urls".to_owned(),
                "",
                "expected something in \"urls\", \"prefixes\" or \"tags\", or \"all\": true".to_owned(),
            );
        }
        if texts > ORDER_LIMIT {
            let expected = format!("expected at most {ORDER_LIMIT} URLs, prefixes and tags");
            return Err(Problem::new(Refusal::InvalidBody).detail(format!("{expected}, not {texts}.")));
        }
        type Parse = fn(&str) -> Option<String>;
        let lists: [(&str, &[String], Parse, &str); 3] = [
            ("urls", &urls, parse_url, URL_EXPECTED),
            ("prefixes", &prefixes, parse_prefix, PREFIX_EXPECTED),
            ("tags", &tags, parse_tag, TAG_EXPECTED),
        ];
        for (name, texts, parse, expected) in lists {
            for (place, text) in texts.iter().enumerate().filter(|(_, text)| parse(text).is_none()) {
                fault(format!("{name}[{place}]"), text, expected.to_owned());
            }
        }
        if message.len() > NOTE_LIMIT {
            fault("message".to_owned(), &message, format!("expected at most {NOTE_LIMIT} bytes"));
        }
        if !faults.is_empty() {
            return Err(Problem::problems(Refusal::InvalidBody, faults));
        }
        let (author, role) = (token.name.clone(), token.role);
        let order = PurgeOrder { urls, prefixes, tags, all, soft, message, author, role };
        let taken: PurgesTaken = self.control(&Action::Purge(order)).await?;
        let PurgesTaken { newest, mut sequence, mut state, purged, overflowed, list } = taken;
        if let Err(damage) = self.snapshot.live_purges.hold(&list, newest) {
            *self.failure.borrow_mut() = Some(damage.to_string());
        }
        // The manifest that it came with may have more that is new.
        self.follow(&mut sequence, &mut state).await;
        Ok(Self::json(200, &PurgeAcknowledgement { sequence, state, purged, overflowed }))
    }
}
