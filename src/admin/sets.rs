//! The stored address sets: what there is, taking one away, going back.

use serde::{Deserialize, Serialize};

use super::Request;
use super::calls::{Done, read};
use super::import::FeedReport;
use super::problem::{Problem, Refusal};
use super::tokens::Token;
use crate::control::adopt::carry;
use crate::control::answer::PublicationState;
use crate::control::change_sets::{Author, NotChanged, change_sets};
use crate::control::feeds::FeedStates;
use crate::control::message::Action;
use crate::control::sets::{RollbackSets, SetsAcknowledgement, SetsStatus};
use crate::platform::Platform;
use crate::time::Timestamp;

/// The largest body of a rollback, in bytes.
const ROLLBACK_LIMIT: usize = 16 << 10;

/// The stored address sets.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AddressSets {
    /// Grows with every change of any set; 0 before the first.
    pub generation: u64,
    /// The sequence under which the active revision is published.
    pub sequence: u64,
    /// Whether the policy store has it.
    pub state: PublicationState,
    /// How many prefixes all sets have.
    pub prefixes: usize,
    /// The length of their binary.
    pub bytes: usize,
    /// The sets; behind them those that the active policy gives a feed and for
    /// which no list has come in yet.
    pub sets: Vec<AddressSet>,
    /// The generations of the last 24 hours that were replaced, newest first.
    pub earlier: Vec<EarlierSets>,
}

/// One stored set.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AddressSet {
    /// Its name.
    pub name: String,
    /// How many prefixes it has.
    pub prefixes: usize,
    /// How many of them are IPv4.
    pub v4: usize,
    /// How many of them are IPv6.
    pub v6: usize,
    /// When this list came in, as in RFC 3339; missing where none ever has, and
    /// then the set has no prefixes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Where it came from, or will: the URL of a feed, or `import`.
    pub source: String,
    /// Whether the active policy names it.
    pub in_use: bool,
    /// The feed that the active policy gives it, and how that fares.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feed: Option<FeedReport>,
}

/// A generation that can come back.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct EarlierSets {
    /// Its number.
    pub generation: u64,
    /// When another one replaced it, as in RFC 3339.
    pub replaced: String,
    /// The names of its sets.
    pub sets: Vec<String>,
    /// Who made it.
    pub author: String,
    /// Why.
    pub message: String,
}

/// The body of `address-sets/rollback`.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RollbackSetsRequest {
    /// The generation that comes back.
    pub to: u64,
    /// Why, at most 500 bytes.
    #[serde(default)]
    pub message: String,
}

/// Seconds since 1970 as in RFC 3339.
pub(super) fn time_of(seconds: u64) -> String {
    Timestamp::from_seconds(seconds).to_string()
}

impl<P: Platform> Request<'_, P> {
    pub(super) async fn address_sets(&self) -> Done<P> {
        let status: SetsStatus = self.control(&Action::Sets).await?;
        let SetsStatus { present, earlier, sequence, state, named } = status;
        let feeds = &self.snapshot.gateway.feeds;
        let states: FeedStates =
            if feeds.is_empty() { FeedStates::default() } else { self.control(&Action::Feeds).await? };
        let sets: Vec<AddressSet> = present
            .sets
            .iter()
            .map(|set| AddressSet {
                in_use: named.contains(&set.name),
                name: set.name.clone(),
                prefixes: set.v4.saturating_add(set.v6),
                v4: set.v4,
                v6: set.v6,
                since: Some(time_of(set.since)),
                source: set.source.clone(),
                feed: feeds.get(&set.name).map(|feed| FeedReport::new(feed, states.of(&set.name))),
            })
            .chain(feeds.iter().filter(|(name, _)| present.sets.iter().all(|set| set.name != **name)).map(
                |(name, feed)| AddressSet {
                    in_use: named.contains(name),
                    name: name.clone(),
                    prefixes: 0,
                    v4: 0,
                    v6: 0,
                    since: None,
                    source: feed.url.clone(),
                    feed: Some(FeedReport::new(feed, states.of(name))),
                },
            ))
            .collect();
        let answer = AddressSets {
            generation: present.generation,
            sequence,
            state: state.unwrap_or(PublicationState::Pending),
            prefixes: sets.iter().fold(0, |sum, set| sum.saturating_add(set.prefixes)),
            bytes: present.parts.iter().fold(0, |sum, part| sum.saturating_add(part.bytes)),
            sets,
            earlier: earlier
                .into_iter()
                .map(|earlier| EarlierSets {
                    generation: earlier.generation,
                    replaced: earlier.replaced.unwrap_or_default().to_string(),
                    sets: earlier.sets.into_iter().map(|set| set.name).collect(),
                    author: earlier.author,
                    message: earlier.message,
                })
                .collect(),
        };
        Ok(Self::json(200, &answer))
    }

    pub(super) async fn remove_set(&self, name: &str, token: &Token) -> Done<P> {
        let message = self.query("message")?.unwrap_or_default().into_owned();
        let change = format!("remove-set {name}");
        let author = Author { name: &token.name, role: token.role, change: &change, message: &message };
        let known = self.snapshot.stored.as_ref().map(|bound| &bound.sets);
        let changed = change_sets(self.platform, &author, known, |present, _| {
            present.without(name).map(Some).ok_or_else(|| Problem::new(Refusal::NoSuchSet))
        });
        let done = changed.await.map_err(not_changed)?;
        self.sets_changed(done).await
    }

    pub(super) async fn rollback_sets(&self, token: &Token) -> Done<P> {
        let text = self.body(ROLLBACK_LIMIT).await?;
        let RollbackSetsRequest { to, message } = read(&text)?;
        let rollback = RollbackSets { to, message, author: token.name.clone(), role: token.role };
        let done: SetsAcknowledgement = self.control(&Action::RollbackSets(rollback)).await?;
        self.sets_changed(Some(done)).await
    }

    /// The answer to a change of the sets, which this isolate then follows.
    async fn sets_changed(&self, done: Option<SetsAcknowledgement>) -> Done<P> {
        // A change that changes nothing is an import's alone.
        let mut done = done.ok_or_else(|| Problem::new(Refusal::NoSuchSet))?;
        self.follow(&mut done.sequence, &mut done.state).await;
        Ok(Self::json(200, &done))
    }

    /// Sees to it that a change beside the policy has a policy to travel with.
    pub(super) async fn follow(&self, sequence: &mut u64, state: &mut PublicationState) {
        carry(self.platform, self.snapshot, sequence, state).await;
        self.await_change(*sequence);
    }

    /// This isolate need not wait for its interval to see what it changed.
    pub(super) fn await_change(&self, sequence: u64) {
        if sequence > 0 {
            self.isolate.changed.set(Some(sequence));
        }
    }
}

/// Why the sets were not changed, as a problem.
pub(super) fn not_changed(why: NotChanged<Problem>) -> Problem {
    match why {
        NotChanged::Edit(problem) => problem,
        NotChanged::Refused(refused) => Problem::refused(*refused),
        NotChanged::Failed(error) => Problem::unavailable(&error),
    }
}
