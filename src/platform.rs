//! The ports: what the journey needs from the platform, as small traits
//! without a platform type in them. `src/cloudflare/` implements them on the
//! runtime, `tests/it/` on memory with a settable clock and faults.
//!
//! Every call says here what becomes of the request when it fails.

use std::future::Future;
use std::time::Duration;

use http::header::HeaderName;

use crate::error::PlatformError;
use crate::exchange::{Edit, Head};
use crate::stages::rate_limit::gcra::Decision;
use crate::stages::rate_limit::message::{Peek, Take};
use crate::stages::upstream::UpstreamRequest;
use crate::time::Timestamp;

/// The time. It moves only when the platform lets it, so it is read anew
/// after each wait.
pub trait Clock {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// Exact counters: one count for all isolates.
pub trait Counters {
    /// Counts one request within the deadline. On failure the rule's
    /// `on_failure` decides.
    fn take(&self, take: &Take, deadline: Duration) -> impl Future<Output = Result<Decision, PlatformError>>;
}

/// Exact counters, looked at from `explain`.
pub trait CounterPeek {
    /// What [`Counters::take`] would say to one request, where nothing is
    /// counted and nothing is written; what remains is what remains before
    /// it. On failure the state is unknown, and the explanation says so.
    fn peek(&self, peek: &Peek, deadline: Duration) -> impl Future<Output = Result<Decision, PlatformError>>;
}

/// The origin, and the native messages that pass between it and the client.
pub trait Origin {
    /// The native request.
    type Request: Head;
    /// The native response.
    type Response;

    /// Sends the request on, its body untouched. On failure the client gets
    /// 502 or 504.
    fn fetch(
        &self,
        request: &Self::Request,
        upstream: &UpstreamRequest,
    ) -> impl Future<Output = Result<Self::Response, PlatformError>>;

    /// The status of a response.
    fn status(&self, response: &Self::Response) -> u16;

    /// One field of a response, lines combined.
    fn field(&self, response: &Self::Response, name: &HeaderName) -> Option<String>;

    /// All field lines of a response.
    fn fields(&self, response: &Self::Response) -> Vec<(HeaderName, String)>;
}

/// Stored responses. All failures mean: the origin answers.
pub trait ResponseStore: Origin {
    /// What is stored under the key: the text of its head, and its body as a
    /// native response.
    fn lookup(
        &self,
        key: &str,
    ) -> impl Future<Output = Result<Option<(String, Self::Response)>, PlatformError>>;

    /// A response with a stored body (or none) under a head of ours.
    fn revive(
        &self,
        stored: Self::Response,
        status: u16,
        fields: &[(HeaderName, String)],
        with_body: bool,
    ) -> Self::Response;

    /// Keeps a response: it streams to the client, and is stored behind its
    /// back once it is known to be whole and at most `limit` bytes. `head` are
    /// the response's own changes for the client.
    fn keep(&self, response: Self::Response, key: &str, entry: &str, limit: u64) -> Self::Response;

    /// Removes what is stored under the keys, after the response.
    fn remove(&self, keys: Vec<String>);
}

/// Everything a journey needs.
pub trait Platform: Clock + Counters + ResponseStore {}

impl<T: Clock + Counters + ResponseStore> Platform for T {}

/// The policy store.
pub trait PolicyStore {
    /// The manifest's text and the text of its metadata; `None` when the
    /// store holds none. On failure the last good policy stays.
    fn read_active(&self) -> impl Future<Output = Result<Option<(String, Option<String>)>, PlatformError>>;
}

/// A list of changes as one text, for adapters that hand them over whole:
/// a line each, `=name: value` sets, `+name: value` appends, `-name` removes.
#[must_use]
pub fn edits_text(edits: &[Edit]) -> String {
    let mut text = String::with_capacity(edits.len().saturating_mul(32));
    for edit in edits {
        let (sign, name, value) = match edit {
            Edit::Set(name, value) => ('=', name, Some(value)),
            Edit::Append(name, value) => ('+', name, Some(value)),
            Edit::Remove(name) => ('-', name, None),
        };
        // A line break in a value would begin another edit. The runtime
        // refuses such values, so no checked value holds one.
        if value.is_some_and(|value| value.contains(['\r', '\n', '\0'])) {
            continue;
        }
        if !text.is_empty() {
            text.push('\n');
        }
        text.push(sign);
        text.push_str(name.as_str());
        if let Some(value) = value {
            text.push(':');
            text.push_str(value);
        }
    }
    text
}
