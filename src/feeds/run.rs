//! Fetching feeds, and what becomes of it: by schedule all that are due, or
//! one that somebody asks for.
//!
//! 1. Feeds are fetched one after the other, so that one list at a time is
//!    read. All that changed make one generation.
//! 2. What fails, fails for that feed alone: the last good list stays, the
//!    `Control` object notes it, and what is news stands in the log.
//! 3. What is not known to have been stored is not noted as done: the next run
//!    does it again, which changes nothing where it had been.

use std::rc::Rc;

use super::config::Feed;
use super::fetch::{Fetched, Validators, fetch};
use super::prefixes::PrefixList;
use super::publish::{Candidate, Judged, Published, Verdict, publish};
use super::report;
use super::schedule::{RUN_PREFIXES, RUN_TIME, due, form, gone, is_of};
use crate::addresses::StoredSets;
use crate::control::CONTROL_WAIT;
use crate::control::adopt::carry;
use crate::control::change_sets::{Author, NotChanged};
use crate::control::client;
use crate::control::feeds::{
    ALERT_KIND, FeedNews, FeedOutcome, FeedResult, FeedResults, FeedStates, FeedsNoted,
};
use crate::control::message::{Action, Role};
use crate::control::sets::SetsStatus;
use crate::error::PlatformError;
use crate::platform::{ControlClient, FeedSource};
use crate::policy::snapshot::Snapshot;
use crate::stages::ip_filter::prefix::Prefix;

/// The author of what is done by schedule.
pub const SCHEDULE: &str = "schedule";

/// A feed that was tried.
#[derive(Debug)]
pub struct Tried<'a> {
    /// The set's name.
    pub name: &'a str,
    /// The feed.
    pub feed: &'a Feed,
    /// What came of it so far.
    pub attempt: Attempt,
}

/// What came of fetching a feed.
#[derive(Debug)]
pub enum Attempt {
    /// A list, which is still to be judged.
    List(PrefixList, Validators),
    /// The server says that it is the list of before.
    NotModified,
    /// Nothing: label and detail.
    Failed(&'static str, String),
}

/// Tries a feed. `known` is what the server said of the list that is held.
pub async fn attempt<'a>(
    source: &impl FeedSource,
    name: &'a str,
    feed: &'a Feed,
    known: &Validators,
) -> Tried<'a> {
    let attempt = match fetch(source, feed, known).await {
        Ok(Fetched::List(list, validators)) => Attempt::List(list, validators),
        Ok(Fetched::Unchanged) => Attempt::NotModified,
        Err(failure) => Attempt::Failed(failure.as_str(), failure.to_string()),
    };
    Tried { name, feed, attempt }
}

/// What became of all that were tried.
#[derive(Debug)]
pub struct Concluded {
    /// For the `Control` object.
    pub results: Vec<FeedResult>,
    /// The generation, where lists came in.
    pub published: Option<Published>,
}

/// Makes a generation of the lists that came in, and says what became of each
/// feed.
///
/// # Errors
/// The `Control` object failed or refused; nothing is known about the lists
/// that came in.
pub async fn conclude(
    control: &(impl ControlClient + FeedSource),
    snapshot: &Snapshot,
    author: &Author<'_>,
    tried: Vec<Tried<'_>>,
) -> Result<Concluded, (NotChanged<std::convert::Infallible>, Vec<FeedResult>)> {
    let mut results = Vec::with_capacity(tried.len());
    let mut candidates = Vec::new();
    let mut fetched = Vec::new();
    for Tried { name, feed, attempt } in tried {
        let outcome = match attempt {
            Attempt::List(list, validators) => {
                candidates.push(Candidate {
                    name,
                    list,
                    source: &feed.url,
                    max_change: feed.max_change,
                    allow_private: feed.allow_private,
                });
                fetched.push((name, feed, validators));
                continue;
            }
            Attempt::NotModified => FeedOutcome::NotModified,
            Attempt::Failed(reason, detail) => FeedOutcome::Failed { reason: reason.to_owned(), detail },
        };
        results.push(result(name, feed, outcome));
    }
    if candidates.is_empty() {
        return Ok(Concluded { results, published: None });
    }
    let published =
        publish(control, author, known(snapshot), &guard_list(snapshot), &candidates, control.now()).await;
    let mut published = match published {
        Ok(published) => published,
        Err(why) => return Err((why, results)),
    };
    let is_changed = published.lists.iter().any(|judged| judged.verdict == Verdict::Changed);
    if is_changed {
        carry(control, snapshot, &mut published.sequence, &mut published.state).await;
    }
    for ((name, feed, validators), judged) in fetched.into_iter().zip(&published.lists) {
        results.push(result(name, feed, outcome(judged, validators)));
    }
    Ok(Concluded { results, published: Some(published) })
}

fn result(name: &str, feed: &Feed, outcome: FeedOutcome) -> FeedResult {
    FeedResult { name: name.to_owned(), url: feed.url.clone(), form: form(feed), outcome }
}

fn outcome(judged: &Judged, validators: Validators) -> FeedOutcome {
    let failed = |reason: &str, detail: String| FeedOutcome::Failed { reason: reason.to_owned(), detail };
    match &judged.verdict {
        Verdict::Changed => FeedOutcome::Changed(validators),
        Verdict::Unchanged => FeedOutcome::Unchanged(validators),
        Verdict::Refused(refusal) => failed(refusal.as_str(), refusal.to_string()),
        Verdict::Full(full) => failed(full.as_str(), full.to_string()),
    }
}

/// The stored sets that the isolate holds.
#[must_use]
pub fn known(snapshot: &Snapshot) -> Option<&Rc<StoredSets>> {
    snapshot.stored.as_ref().map(|bound| &bound.sets)
}

/// The policy's guard list.
#[must_use]
pub fn guard_list(snapshot: &Snapshot) -> Vec<Prefix> {
    snapshot.gateway.guard.entries().map(|(prefix, _)| prefix).collect()
}

/// Tells the `Control` object what became of feeds.
///
/// # Errors
/// It failed; then the next run does what it can again.
pub async fn note(
    control: &impl ControlClient,
    results: Vec<FeedResult>,
    gone: Vec<String>,
) -> Result<Vec<FeedNews>, PlatformError> {
    let action = Action::FeedResults(FeedResults { results, gone });
    client::ask::<FeedsNoted>(control, &action, CONTROL_WAIT).await.map(|noted| noted.news)
}

/// Does what is due. Gives the lines for the log.
pub async fn scheduled<P: FeedSource + ControlClient>(platform: &P, snapshot: &Snapshot) -> Vec<String> {
    let news = match all_due(platform, snapshot).await {
        Ok(news) => news,
        Err(Interrupted { news, error }) => {
            let mut lines = lines(platform, &news);
            lines.push(report::failed(platform.now(), &error));
            return lines;
        }
    };
    lines(platform, &news)
}

fn lines(clock: &impl crate::platform::Clock, news: &[FeedNews]) -> Vec<String> {
    news.iter().map(|news| report::news(clock.now(), news)).collect()
}

/// What was news before something of ours failed, and what it said.
struct Interrupted {
    news: Vec<FeedNews>,
    error: PlatformError,
}

impl From<PlatformError> for Interrupted {
    fn from(error: PlatformError) -> Self {
        Self { news: Vec::new(), error }
    }
}

async fn all_due<P: FeedSource + ControlClient>(
    platform: &P,
    snapshot: &Snapshot,
) -> Result<Vec<FeedNews>, Interrupted> {
    let feeds = &snapshot.gateway.feeds;
    if feeds.is_empty() && !snapshot.alerts.iter().any(|alert| alert.kind == ALERT_KIND) {
        return Ok(Vec::new());
    }
    let begun = platform.now();
    let states: FeedStates = client::ask(platform, &Action::Feeds, CONTROL_WAIT).await?;
    let gone = gone(feeds, &states.feeds);
    let due = due(feeds, &states.feeds, begun);
    if due.is_empty() {
        return match gone.is_empty() {
            true => Ok(Vec::new()),
            false => Ok(note(platform, Vec::new(), gone).await?),
        };
    }
    let status: SetsStatus = client::ask(platform, &Action::Sets, CONTROL_WAIT).await?;
    let mut tried = Vec::with_capacity(due.len());
    let mut held = 0_usize;
    for (name, feed) in due {
        if held >= RUN_PREFIXES || platform.now().since(begun) >= RUN_TIME {
            break;
        }
        let known = validators(name, feed, &states, &status);
        let one = attempt(platform, name, feed, &known).await;
        if let Attempt::List(list, _) = &one.attempt {
            held = held.saturating_add(list.len());
        }
        tried.push(one);
    }
    // Which sets it changes is said when that is known.
    let author = Author { name: SCHEDULE, role: Role::Operator, change: "refresh", message: "" };
    match conclude(platform, snapshot, &author, tried).await {
        Ok(concluded) => Ok(note(platform, concluded.results, gone).await?),
        Err((why, results)) => {
            let news = note(platform, results, gone).await.unwrap_or_default();
            Err(Interrupted { news, error: report::cause(why) })
        }
    }
}

/// What may be repeated to a server: what it said of the list that the set
/// still has. A set that is not there any more, or was imported since, has to
/// be fetched whatever the server says.
fn validators(name: &str, feed: &Feed, states: &FeedStates, status: &SetsStatus) -> Validators {
    let set = status.present.sets.iter().find(|set| set.name == name);
    let state = states.of(name).filter(|state| is_of(state, feed));
    match (set, state) {
        (Some(set), Some(state)) if set.source == feed.url => state.validators.clone(),
        _ => Validators::default(),
    }
}
