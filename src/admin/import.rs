//! Lists into stored sets: imported from the body of a request, or fetched
//! from their feed now.

use std::borrow::Cow;
use std::convert::Infallible;
use std::time::Duration;

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use serde::Serialize;

use super::Request;
use super::calls::Done;
use super::problem::{Problem, Refusal};
use super::sets::not_changed;
use super::tokens::Token;
use crate::control::answer::PublicationState;
use crate::control::change_sets::{Author, NotChanged};
use crate::control::feeds::FeedState;
use crate::control::message::Action;
use crate::control::sets::SetsStatus;
use crate::exchange::Head;
use crate::feeds::config::{
    ColumnMismatch, MAX_BYTES_LIMIT, MAX_CHANGE, MAX_CHANGE_LIMIT, MAX_PREFIXES, MAX_PREFIXES_LIMIT,
};
use crate::feeds::fetch::{ReadFailure, Validators, read};
use crate::feeds::publish::{Candidate, IMPORT, Judged, Published, Verdict, publish};
use crate::feeds::run::{Attempt, attempt, conclude, guard_list, known, note};
use crate::feeds::schedule::is_of;
use crate::feeds::{Column, Feed, Format, FormatName, HostBits, Limits, Parser, report};
use crate::platform::{BodyError, Platform};
use crate::policy::units::{Name, Span};
use crate::time::Timestamp;

/// The most bytes of an imported list.
pub const IMPORT_LIMIT: u64 = MAX_BYTES_LIMIT;

/// How long an imported list may take to come.
const IMPORT_WAIT: Duration = Duration::from_secs(180);

/// How long a piece of it may take: a client that sends less than
/// [`crate::platform::PIECE_LIMIT`] bytes in this time is ended.
const PIECE_WAIT: Duration = Duration::from_secs(20);

/// A list that came in.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ImportedSet {
    /// The set's name.
    pub name: String,
    /// The generation of the stored sets that holds it.
    pub generation: u64,
    /// The sequence of the publication that carries that.
    pub sequence: u64,
    /// Whether the policy store has it.
    pub state: PublicationState,
    /// Whether it is another list than the one before.
    pub changed: bool,
    /// How many entries the list had, those that overlap included; of a range
    /// as many as it takes prefixes.
    pub read: usize,
    /// How many prefixes the set has.
    pub prefixes: usize,
    /// How many of them are IPv4.
    pub v4: usize,
    /// How many of them are IPv6.
    pub v6: usize,
    /// How many the set had before; 0 where there was none.
    pub before: usize,
}

/// A feed, and how it fares.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FeedReport {
    /// Where the list is.
    pub url: String,
    /// How it is written.
    pub format: FormatName,
    /// How often it is fetched, as the policy says it.
    pub interval: String,
    /// When it was last tried, as in RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checked: Option<String>,
    /// When it last gave another list, as in RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changed: Option<String>,
    /// Why the last try was in vain, where it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<FailureReport>,
}

/// What fails about a feed.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FailureReport {
    /// The label.
    pub reason: String,
    /// More about it, in English.
    pub detail: String,
    /// Since when the feed has been failing, as in RFC 3339.
    pub since: String,
    /// How many tries in a row.
    pub attempts: u32,
}

impl FeedReport {
    /// What the policy and the `Control` object say of a feed.
    pub(super) fn new(feed: &Feed, state: Option<&FeedState>) -> Self {
        let state = state.filter(|state| is_of(state, feed));
        let time = |time: Option<Timestamp>| time.map(|time| time.to_string());
        Self {
            url: feed.url.clone(),
            format: feed.format.name(),
            interval: Span(feed.interval).to_string(),
            checked: time(state.and_then(|state| state.checked)),
            changed: time(state.and_then(|state| state.changed)),
            failure: state.and_then(|state| state.failure.as_ref()).map(|failure| FailureReport {
                reason: failure.reason.clone(),
                detail: failure.detail.clone(),
                since: failure.since.to_string(),
                attempts: failure.attempts,
            }),
        }
    }
}

/// What a list has to keep to.
struct Conditions {
    format: Format,
    host_bits: HostBits,
    prefixes: usize,
    max_change: u32,
    allow_private: bool,
}

impl<P: Platform> Request<'_, P> {
    pub(super) async fn import_set(&self, name: &str, token: &Token) -> Done<P> {
        let conditions = self.conditions(name)?;
        let message = self.query("message")?.unwrap_or_default().into_owned();
        self.check_list_body()?;
        let limits = Limits { bytes: IMPORT_LIMIT, prefixes: conditions.prefixes };
        let parser = Parser::new(&conditions.format, conditions.host_bits, limits);
        self.platform.open_body();
        let until = self.platform.now().after(IMPORT_WAIT);
        let list = read(self.platform, parser, until, PIECE_WAIT).await.map_err(unread)?;
        let change = format!("import {name}");
        let author = Author { name: &token.name, role: token.role, change: &change, message: &message };
        let Conditions { max_change, allow_private, .. } = conditions;
        let candidate = Candidate { name, list, source: IMPORT, max_change, allow_private };
        let now = self.platform.now();
        let (known, guard_list) = (known(self.snapshot), guard_list(self.snapshot));
        let candidates = [candidate];
        let published = publish(self.platform, &author, known, &guard_list, &candidates, now)
            .await
            .map_err(unpublished)?;
        let [candidate] = candidates;
        let counts = Counts {
            read: candidate.list.read(),
            prefixes: candidate.list.len(),
            v4: candidate.list.len_v4(),
        };
        self.imported(name, published, &counts).await
    }

    pub(super) async fn refresh_set(&self, name: &str, token: &Token) -> Done<P> {
        let Some((name, feed)) = self.snapshot.gateway.feeds.get_key_value(name) else {
            return Err(self.without_feed(name).await);
        };
        // Whoever asks wants the list, whatever the server said of it before.
        let tried = attempt(self.platform, name, feed, &Validators::default()).await;
        let counts = match &tried.attempt {
            Attempt::List(list, _) => Counts { read: list.read(), prefixes: list.len(), v4: list.len_v4() },
            Attempt::NotModified | Attempt::Failed(..) => Counts::default(),
        };
        let failure = match &tried.attempt {
            Attempt::Failed(reason, detail) => Some(unfetched(reason, detail.clone())),
            _ => None,
        };
        let change = format!("refresh {name}");
        let author = Author { name: &token.name, role: token.role, change: &change, message: "" };
        let (published, results) = match conclude(self.platform, self.snapshot, &author, vec![tried]).await {
            Ok(concluded) => (Ok(concluded.published), concluded.results),
            Err((why, results)) => (Err(unpublished(why)), results),
        };
        // What became of the list stands whether or not it could be noted; the
        // next run by schedule notes it then.
        if let Ok(news) = note(self.platform, results, Vec::new()).await {
            let now = self.platform.now();
            self.isolate.notes.borrow_mut().extend(news.iter().map(|news| report::news(now, news)));
        }
        match (published?, failure) {
            (_, Some(problem)) => Err(problem),
            (Some(published), None) => self.imported(name, published, &counts).await,
            // A server that was not asked whether it has another list does not
            // say that it has none.
            (None, None) => Err(unfetched("feed-status", "the server answered with status 304".to_owned())),
        }
    }

    /// The answer about a list that was judged.
    async fn imported(&self, name: &str, mut published: Published, counts: &Counts) -> Done<P> {
        let changed = match published.lists.first().map(|judged| &judged.verdict) {
            Some(Verdict::Refused(refusal)) => {
                return Err(Problem::list(refusal.as_str(), refusal.to_string()));
            }
            Some(Verdict::Full(full)) => return Err(Problem::list(full.as_str(), full.to_string())),
            Some(Verdict::Changed) => true,
            Some(Verdict::Unchanged) | None => false,
        };
        if changed {
            self.follow(&mut published.sequence, &mut published.state).await;
        }
        let before = published.lists.first().and_then(|Judged { before, .. }| *before).unwrap_or_default();
        let Counts { read, prefixes, v4 } = *counts;
        let answer = ImportedSet {
            name: name.to_owned(),
            generation: published.generation,
            sequence: published.sequence,
            state: published.state,
            changed,
            read,
            prefixes,
            v4,
            v6: prefixes.saturating_sub(v4),
            before,
        };
        Ok(Self::json(200, &answer))
    }

    /// Why a set cannot be fetched.
    async fn without_feed(&self, name: &str) -> Problem {
        let policy = &self.snapshot.gateway.sets;
        let known = policy.stored.iter().chain(&policy.inline).any(|other| other == name);
        let detail = "The active policy gives this set no \"feed\".";
        if known {
            return Problem::new(Refusal::NoFeed).detail(detail);
        }
        match self.control::<SetsStatus>(&Action::Sets).await {
            Ok(status) if status.present.sets.iter().any(|set| set.name == name) => {
                Problem::new(Refusal::NoFeed).detail(detail)
            }
            Ok(_) => Problem::new(Refusal::NoSuchSet),
            Err(problem) => problem,
        }
    }

    /// What the list has to keep to: what the query says, else what the feed
    /// of the active policy does, else what a feed does by default.
    fn conditions(&self, name: &str) -> Result<Conditions, Problem> {
        if Name::parse(name).is_none() {
            return Err(Problem::new(Refusal::BadRequest)
                .detail("Expected the name of the set to be 1 to 64 of A-Z a-z 0-9 _ -"));
        }
        let feed = self.snapshot.gateway.feeds.get(name);
        let format =
            self.named("format", FormatName::of, || feed.map(|feed| feed.format.name()).unwrap_or_default())?;
        let expected = "a number from 1 to 1000, or a name of 1 to 128 bytes";
        let column = match self.query("column")? {
            Some(text) => Some(Column::of(&text).ok_or_else(|| bad("column", expected))?),
            None => feed.and_then(column).filter(|_| format == FormatName::Csv).cloned(),
        };
        let format = Format::new(format, column).map_err(|ColumnMismatch(expected)| {
            let what = expected.strip_prefix("expected ").unwrap_or(expected);
            bad("column", what)
        })?;
        let host_bits =
            self.named("host_bits", HostBits::of, || feed.map(|feed| feed.host_bits).unwrap_or_default())?;
        let max_change =
            self.whole("max_change", 0, MAX_CHANGE_LIMIT, feed.map_or(MAX_CHANGE, |feed| feed.max_change))?;
        let prefixes = feed.and_then(|feed| u32::try_from(feed.limits.prefixes).ok()).unwrap_or(MAX_PREFIXES);
        let prefixes = self.whole("max_prefixes", 1, MAX_PREFIXES_LIMIT, prefixes)?;
        let allow_private = match self.query("allow_private")?.as_deref() {
            None => feed.is_some_and(|feed| feed.allow_private),
            Some("true") => true,
            Some("false") => false,
            Some(_) => return Err(bad("allow_private", "true or false")),
        };
        let prefixes = usize::try_from(prefixes).unwrap_or(usize::MAX);
        Ok(Conditions { format, host_bits, prefixes, max_change, allow_private })
    }

    /// A parameter that is one of several names.
    fn named<T>(
        &self,
        parameter: &str,
        of: impl Fn(&str) -> Option<T>,
        otherwise: impl Fn() -> T,
    ) -> Result<T, Problem> {
        match self.query(parameter)? {
            None => Ok(otherwise()),
            Some(text) => of(&text).ok_or_else(|| bad(parameter, "one of its names")),
        }
    }

    /// A parameter that is a whole number from one to another.
    fn whole(&self, parameter: &str, least: u32, most: u32, otherwise: u32) -> Result<u32, Problem> {
        let Some(number) = self.number(parameter)? else { return Ok(otherwise) };
        let number = u32::try_from(number).ok().filter(|number| (least..=most).contains(number));
        number.ok_or_else(|| bad(parameter, &format!("{least} to {most}")))
    }

    /// Refuses a body before any of it is read, by what its fields say.
    fn check_list_body(&self) -> Result<(), Problem> {
        let field = |name| self.head.field(name).unwrap_or(Cow::Borrowed(""));
        let coding = field(&CONTENT_ENCODING);
        if !coding.is_empty() && !coding.eq_ignore_ascii_case("identity") {
            return Err(Problem::new(Refusal::UnsupportedMediaType)
                .detail("Send the list without a content coding, such as gzip."));
        }
        if field(&CONTENT_TYPE).trim_start().to_ascii_lowercase().starts_with("multipart/") {
            return Err(Problem::new(Refusal::UnsupportedMediaType)
                .detail("Send the list as the body, not as a part of a form."));
        }
        let announced = field(&CONTENT_LENGTH).parse::<u64>().unwrap_or_default();
        if announced > IMPORT_LIMIT { Err(too_large()) } else { Ok(()) }
    }
}

/// How many prefixes a list has.
#[derive(Default)]
struct Counts {
    read: usize,
    prefixes: usize,
    v4: usize,
}

const fn column(feed: &Feed) -> Option<&Column> {
    match &feed.format {
        Format::Csv(column) => Some(column),
        _ => None,
    }
}

fn bad(parameter: &str, expected: &str) -> Problem {
    Problem::new(Refusal::BadRequest)
        .detail(format!("Expected the parameter \"{parameter}\" to be {expected}."))
}

fn too_large() -> Problem {
    Problem::new(Refusal::TooLarge).detail(format!("At most {IMPORT_LIMIT} bytes are read here."))
}

/// Why a body was not read as a list.
fn unread(failure: ReadFailure) -> Problem {
    match failure {
        ReadFailure::Body(BodyError::TimedOut) => Problem::new(Refusal::SlowBody).detail(format!(
            "It has to be here within {} seconds, and to go on within {}.",
            IMPORT_WAIT.as_secs(),
            PIECE_WAIT.as_secs()
        )),
        ReadFailure::Body(BodyError::Broken | BodyError::TooLarge) => {
            Problem::new(Refusal::InvalidBody).detail("The body broke off.")
        }
        ReadFailure::Refused(crate::feeds::Refusal::TooManyBytes(IMPORT_LIMIT)) => too_large(),
        ReadFailure::Refused(refusal) => Problem::list(refusal.as_str(), refusal.to_string()),
    }
}

/// Why a feed gave no list that may be used.
fn unfetched(reason: &'static str, detail: String) -> Problem {
    if reason.starts_with("feed-") {
        Problem::unavailable_feed(reason, detail)
    } else {
        Problem::list(reason, detail)
    }
}

/// Why no generation was made.
fn unpublished(why: NotChanged<Infallible>) -> Problem {
    match why {
        NotChanged::Edit(never) => match never {},
        NotChanged::Refused(refused) => not_changed(NotChanged::Refused(refused)),
        NotChanged::Failed(error) => not_changed(NotChanged::Failed(error)),
    }
}
