//! Which feeds are to be fetched now.
//!
//! 1. A feed that was never fetched, or whose URL or form has changed, is due
//!    at once; else one interval after the last attempt.
//! 2. After a failure it is due sooner: after 5 minutes, 10, 20 and so on, and
//!    never later than after its interval.
//! 3. Those that have waited longest go first, and an attempt, however it
//!    ends, puts a feed behind the others: one that fails does not keep the
//!    others waiting.
//! 4. A run is bounded: what it leaves is first in the next one.

use std::collections::BTreeMap;
use std::time::Duration;

use super::config::{Feed, Format, INTERVAL_LEAST};
use crate::control::feeds::FeedState;
use crate::time::Timestamp;

/// How often the cron trigger of `wrangler.toml` rings.
pub const RUN_EVERY: Duration = Duration::from_secs(300);

/// A feed that will be due so soon is: a run begins on the minute, and the
/// attempt that is counted from was a little later than the one before.
const SLACK: Duration = Duration::from_secs(60);

/// The most feeds that one run fetches.
pub const RUN_LIMIT: usize = 32;

/// How long after its begin a run still begins to fetch another feed. It ends
/// well before the next one begins.
pub const RUN_TIME: Duration = Duration::from_secs(120);

/// The most prefixes that one run holds before it publishes them.
pub const RUN_PREFIXES: usize = 500_000;

/// How a feed is read: what makes another list of the same bytes. Validators
/// are of no use once it has changed.
#[must_use]
pub fn form(feed: &Feed) -> String {
    let column = match &feed.format {
        Format::Csv(column) => format!(" {:?}", column.to_string()),
        _ => String::new(),
    };
    format!("{}{column} {}", feed.format.name().as_str(), feed.host_bits.as_str())
}

/// Whether a state is of this feed, as it stands in the policy now.
#[must_use]
pub fn is_of(state: &FeedState, feed: &Feed) -> bool {
    state.url == feed.url && state.form == form(feed)
}

/// How long after a failed attempt the next one is due, after so many in a
/// row.
#[must_use]
pub fn retry_after(attempts: u32, interval: Duration) -> Duration {
    let doubled = 1_u32.checked_shl(attempts.saturating_sub(1)).unwrap_or(u32::MAX);
    INTERVAL_LEAST.saturating_mul(doubled).min(interval)
}

/// When a feed is due; `None` for at once.
fn due_at(feed: &Feed, state: Option<&FeedState>, now: Timestamp) -> Option<Timestamp> {
    let state = state.filter(|state| is_of(state, feed))?;
    // A moment that has not come yet is of a clock that has gone back.
    let checked = state.checked.filter(|checked| *checked <= now)?;
    let wait = match &state.failure {
        Some(failure) => retry_after(failure.attempts, feed.interval),
        None => feed.interval,
    };
    Some(checked.after(wait))
}

/// The feeds that are due, those first that have been for longest; at most
/// [`RUN_LIMIT`].
#[must_use]
pub fn due<'a>(
    feeds: &'a BTreeMap<String, Feed>,
    states: &[FeedState],
    now: Timestamp,
) -> Vec<(&'a str, &'a Feed)> {
    let mut due: Vec<(Option<Timestamp>, &str, &Feed)> = feeds
        .iter()
        .map(|(name, feed)| {
            let state = states.iter().find(|state| state.name == *name);
            (due_at(feed, state, now), name.as_str(), feed)
        })
        .filter(|(at, ..)| at.is_none_or(|at| at <= now.after(SLACK)))
        .collect();
    // Stable, and `None` is less than any moment.
    due.sort_by_key(|(at, ..)| *at);
    due.truncate(RUN_LIMIT);
    due.into_iter().map(|(_, name, feed)| (name, feed)).collect()
}

/// The states of feeds that the policy does not have any more.
#[must_use]
pub fn gone(feeds: &BTreeMap<String, Feed>, states: &[FeedState]) -> Vec<String> {
    states.iter().filter(|state| !feeds.contains_key(&state.name)).map(|state| state.name.clone()).collect()
}
