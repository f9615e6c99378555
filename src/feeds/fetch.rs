//! Fetching a list.
//!
//! 1. One deadline for everything: redirects, head and body.
//! 2. A redirect leads to another [URL of a feed](feed_url), or nowhere: each
//!    is judged like the one in the policy, so that a server cannot send the
//!    gateway to a place that an author may not name.
//! 3. The bytes are counted after their content coding is taken off, as they
//!    come: what is small on the wire may be large.
//! 4. Where the server says that nothing has changed, nothing is read.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::config::{Feed, feed_url};
use super::parse::Parser;
use super::prefixes::PrefixList;
use super::refusal::Refusal;
use crate::error::clip;
use crate::platform::{BodyError, FeedHead, FeedRequest, FeedSource, Pieces};
use crate::time::Timestamp;

/// How long a list may take to come, redirects and all.
pub const FETCH_WAIT: Duration = Duration::from_secs(30);

/// The most redirects that are followed.
pub const REDIRECTS_LIMIT: usize = 3;

/// The longest validator that is kept, in bytes.
const VALIDATOR_LIMIT: usize = 512;

/// The longest URL that a failure shows, in bytes.
const SHOWN: usize = 200;

/// What a server said of the list that it gave, to be repeated to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validators {
    /// `ETag`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// `Last-Modified`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<String>,
}

/// What a server gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// The list is the one that the validators are of.
    Unchanged,
    /// A list.
    List(PrefixList, Validators),
}

/// Why there is no list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchFailure {
    /// The server answered with this status.
    Status(u16),
    /// It led to a URL that no list may come from, or on and on.
    Redirect(String),
    /// It was too slow.
    TimedOut,
    /// It could not be reached, or broke off.
    Unreachable(String),
    /// It gave a list that may not be used.
    Refused(Refusal),
}

impl FetchFailure {
    /// The label used everywhere.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Status(_) => "feed-status",
            Self::Redirect(_) => "feed-redirect",
            Self::TimedOut => "feed-timeout",
            Self::Unreachable(_) => "feed-unreachable",
            Self::Refused(refusal) => refusal.as_str(),
        }
    }
}

impl fmt::Display for FetchFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "the server answered with status {status}"),
            Self::Redirect(why) => f.write_str(why),
            Self::TimedOut => write!(f, "no list within {} seconds", FETCH_WAIT.as_secs()),
            Self::Unreachable(cause) => write!(f, "the server could not be read: {cause}"),
            Self::Refused(refusal) => refusal.fmt(f),
        }
    }
}

impl std::error::Error for FetchFailure {}

impl From<Refusal> for FetchFailure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Why a list could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadFailure {
    /// It did not come, or not in time.
    Body(BodyError),
    /// It is not a list of that format.
    Refused(Refusal),
}

impl From<ReadFailure> for FetchFailure {
    fn from(failure: ReadFailure) -> Self {
        match failure {
            ReadFailure::Refused(refusal) => Self::Refused(refusal),
            ReadFailure::Body(BodyError::TimedOut) => Self::TimedOut,
            ReadFailure::Body(BodyError::TooLarge | BodyError::Broken) => {
                Self::Unreachable("the list broke off".to_owned())
            }
        }
    }
}

/// Reads the body that was opened until its end, or until `until`; no piece
/// of it may take longer than `patience`.
///
/// # Errors
/// It did not come, or is not a list of the parser's format; then the rest is
/// left.
pub async fn read(
    source: &(impl Pieces + crate::platform::Clock),
    mut parser: Parser,
    until: Timestamp,
    patience: Duration,
) -> Result<PrefixList, ReadFailure> {
    loop {
        let left = until.since(source.now()).min(patience);
        if left.is_zero() {
            source.stop_reading();
            return Err(ReadFailure::Body(BodyError::TimedOut));
        }
        match source.next_piece(left).await.map_err(ReadFailure::Body)? {
            Some(piece) => {
                if let Err(refusal) = parser.push(&piece) {
                    source.stop_reading();
                    return Err(ReadFailure::Refused(refusal));
                }
            }
            None => return parser.finish().map_err(ReadFailure::Refused),
        }
    }
}

/// Fetches the list of a feed, unless it is the one that `known` is of.
///
/// # Errors
/// Why there is none.
pub async fn fetch(
    source: &impl FeedSource,
    feed: &Feed,
    known: &Validators,
) -> Result<Fetched, FetchFailure> {
    let until = source.now().after(FETCH_WAIT);
    let head = follow(source, feed, known, until).await?;
    match head.status {
        200 => {}
        304 if *known != Validators::default() => {
            source.stop_reading();
            return Ok(Fetched::Unchanged);
        }
        status => {
            source.stop_reading();
            return Err(FetchFailure::Status(status));
        }
    }
    let parser = Parser::new(&feed.format, feed.host_bits, feed.limits);
    let list = read(source, parser, until, FETCH_WAIT).await?;
    let validators =
        Validators { etag: head.etag.and_then(usable), last_modified: head.last_modified.and_then(usable) };
    Ok(Fetched::List(list, validators))
}

/// The head of the first answer that leads nowhere else.
async fn follow(
    source: &impl FeedSource,
    feed: &Feed,
    known: &Validators,
    until: Timestamp,
) -> Result<FeedHead, FetchFailure> {
    let mut url = feed.url.clone();
    for _ in 0..=REDIRECTS_LIMIT {
        let left = until.since(source.now());
        if left.is_zero() {
            return Err(FetchFailure::TimedOut);
        }
        let request = FeedRequest {
            url: &url,
            if_none_match: known.etag.as_deref(),
            // RFC 9110, 13.1.3: it is ignored where an entity tag is named.
            if_modified_since: known.last_modified.as_deref().filter(|_| known.etag.is_none()),
        };
        let head = source.open_feed(&request, left).await.map_err(|error| {
            if error.timed_out { FetchFailure::TimedOut } else { FetchFailure::Unreachable(error.cause) }
        })?;
        // RFC 9110, 15.4: 300 asks for a choice, 305 and 306 are no more.
        if !matches!(head.status, 301 | 302 | 303 | 307 | 308) {
            return Ok(head);
        }
        source.stop_reading();
        let Some(location) = &head.location else {
            return Err(FetchFailure::Redirect(format!("status {} without a Location", head.status)));
        };
        url = resolve(&url, location).and_then(|next| feed_url(&next)).ok_or_else(|| {
            FetchFailure::Redirect(format!(
                "it leads to {}, which is no https URL of a public host by name",
                shown(location)
            ))
        })?;
    }
    Err(FetchFailure::Redirect(format!("it leads on after {REDIRECTS_LIMIT} redirects")))
}

/// A field that can be sent back: printable ASCII, as what both fields hold.
fn usable(value: String) -> Option<String> {
    let good = |byte: u8| matches!(byte, b' '..=b'~');
    (1..=VALIDATOR_LIMIT).contains(&value.len()).then_some(value).filter(|value| value.bytes().all(good))
}

/// A `Location` (RFC 9110, 10.2.2) from a URL of a feed as an absolute URL
/// without its fragment (RFC 3986, 5.2); dot segments are left to whoever
/// fetches. `None` for what is no URL reference.
#[must_use]
pub fn resolve(base: &str, location: &str) -> Option<String> {
    let location = location.trim_matches([' ', '\t']);
    let location = location.split('#').next()?;
    let (_, rest) = base.split_once("://")?;
    let authority = rest.split(['/', '?']).next()?;
    let path = base.split('?').next()?;
    if has_scheme(location) {
        Some(location.to_owned())
    } else if location.starts_with("//") {
        Some(format!("https:{location}"))
    } else if location.starts_with('/') {
        Some(format!("https://{authority}{location}"))
    } else if location.is_empty() {
        Some(base.to_owned())
    } else if location.starts_with('?') {
        Some(format!("{path}{location}"))
    } else {
        let (folder, _) = path.rsplit_once('/')?;
        Some(format!("{folder}/{location}"))
    }
}

/// Whether a reference begins with a scheme (RFC 3986, 3.1).
fn has_scheme(reference: &str) -> bool {
    let Some((scheme, _)) = reference.split_once(':') else { return false };
    let mut bytes = scheme.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

/// As much of a URL as may stand in a log: what may hold a secret does not.
#[must_use]
pub fn shown(url: &str) -> String {
    let plain = url.split(['?', '#']).next().unwrap_or_default();
    let authority = plain.split_once("//").map_or("", |(_, rest)| rest.split('/').next().unwrap_or_default());
    if authority.contains('@') {
        return "a URL with credentials".to_owned();
    }
    let clean: String =
        plain.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect();
    format!("{:?}", clip(&clean, SHOWN))
}
