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
use crate::stages::cache::collapser;
use crate::stages::cache::fields::Made;
use crate::stages::cache::joining::Around;
use crate::stages::cache::memory::BodyNumber;
use crate::stages::ip_filter::prefix::Prefix;
use crate::stages::rate_limit::CounterKey;
use crate::stages::rate_limit::message::Taken;
use crate::stages::rate_limit::message::count::{Answer, Look, Message};
use crate::stages::upstream::UpstreamRequest;
use crate::text::has_control;
use crate::time::Timestamp;

/// The time. It moves only when the platform lets it, so it is read anew
/// after each wait.
pub trait Clock {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// Shared counters: one count for all isolates.
pub trait Counters {
    /// Says a message of [`crate::stages::rate_limit::message::count`] to one
    /// `Limiter` object, and gives its answer within the deadline. On failure
    /// a rule's `on_failure` decides; what was to be given back or lent counts
    /// as spent.
    fn count(
        &self,
        shard: u128,
        message: &Message,
        deadline: Duration,
    ) -> impl Future<Output = Result<Answer, PlatformError>>;

    /// Says a message to all objects, and gives the answers of those that
    /// answered within the deadline.
    fn count_everywhere(
        &self,
        message: &Message,
        deadline: Duration,
    ) -> impl Future<Output = Vec<Result<Answer, PlatformError>>>;

    /// Asks the runtime's own limiter of that name whether a request may
    /// pass. On failure a rule's `on_failure` decides.
    fn platform_limit(
        &self,
        binding: &str,
        key: CounterKey,
        deadline: Duration,
    ) -> impl Future<Output = Result<bool, PlatformError>>;
}

/// Shared counters, looked at from `explain`.
pub trait CounterPeek {
    /// What a count would say to a request, where nothing is counted and
    /// nothing is written; what remains is what remains before it. On failure
    /// the state is unknown, and the explanation says so.
    fn peek(
        &self,
        client: Option<Prefix>,
        look: &Look,
        deadline: Duration,
    ) -> impl Future<Output = Result<Taken, PlatformError>>;
}

/// The `Limiter` objects, as they are told about bans.
pub trait LimiterClient {
    /// Sends one of them a text of [`crate::stages::bans::message`] and gives
    /// the text of its answer. On failure nothing is known about what it did:
    /// offences are reported again, and go on being counted in the isolate;
    /// that a person made or lifted a ban it hears from nobody then, and the
    /// manifest decides.
    fn tell(
        &self,
        shard: u128,
        message: &str,
        deadline: Duration,
    ) -> impl Future<Output = Result<String, PlatformError>>;
}

/// Waiting. It cannot fail; where the platform ends what goes on after a
/// response, whoever comes next goes on.
pub trait Pause {
    /// Lets so much time pass.
    fn pause(&self, span: Duration) -> impl Future<Output = ()>;
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

/// A stored response.
#[derive(Debug)]
pub struct Found<R> {
    /// The text of its head, see [`crate::stages::cache::entry`].
    pub entry: String,
    /// How many bytes its body has, where that is known.
    pub size: Option<u64>,
    /// Its body, as a native response.
    pub response: R,
}

/// What is stored, and how.
#[derive(Clone, Copy, Debug)]
pub struct Keep<'a> {
    /// Under what.
    pub key: &'a str,
    /// The primary key of its URI: where that has been removed since the
    /// answer was asked for, nothing is stored.
    pub primary: &'a str,
    /// The text of its head.
    pub entry: &'a str,
    /// The largest body that is stored, in bytes.
    pub limit: u64,
    /// How many bytes the body must have, where that is known.
    pub size: Option<u64>,
    /// For how many seconds the location's cache keeps it; `None` where that
    /// does not.
    pub retention: Option<u64>,
    /// The largest body that the isolate's memory keeps, in bytes; `None`
    /// where that does not.
    pub memory: Option<u64>,
    /// How all locations keep it; `None` where they do not.
    pub global: Option<KeepGlobal>,
    /// For whom the origin was asked besides: they hear of it when the
    /// location's cache has it, or will not.
    pub lead: Option<collapser::Lead>,
    /// Whether it takes the place of what this request has just removed.
    pub replaces: bool,
}

/// How the store of all locations keeps a response, under
/// [`crate::stages::cache::global::name`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepGlobal {
    /// The largest body, in bytes.
    pub limit: u64,
    /// For how many seconds, 60 at least.
    pub retention: u64,
}

/// Stored responses. All failures mean: the origin answers.
pub trait ResponseStore: Origin {
    /// What the location's cache has under the key.
    fn lookup(&self, key: &str)
    -> impl Future<Output = Result<Option<Found<Self::Response>>, PlatformError>>;

    /// What all locations have under the name of that key; its text is
    /// [`crate::stages::cache::global::head`]. A failure is a miss.
    fn lookup_global(
        &self,
        name: &str,
        key: &str,
    ) -> impl Future<Output = Result<Option<Found<Self::Response>>, PlatformError>>;

    /// A response of a stored body, or of some of it, under a head of ours.
    fn revive(&self, stored: Self::Response, made: &Made<'_>) -> Self::Response;

    /// Keeps a response: it streams to the client, and is stored behind its
    /// back once it is known to be whole and not too large. `confirmed_by` is
    /// the answer by which the origin has just confirmed a stored one. The
    /// number is that of its body: later, and never before this returns, the
    /// platform says [`crate::gateway::Isolate::body_arrived`] or `body_lost`
    /// where the isolate's memory is to keep it, and at last
    /// [`crate::gateway::Isolate::body_settled`].
    fn keep(
        &self,
        response: Self::Response,
        keep: &Keep<'_>,
        confirmed_by: Option<&Self::Response>,
    ) -> (Self::Response, Option<BodyNumber>);

    /// Keeps a part as [`Self::keep`] does, between bytes of a stored one. What
    /// makes either void keeps both out; where the stored one cannot be read,
    /// nothing is kept.
    fn join(
        &self,
        response: Self::Response,
        keep: &Keep<'_>,
        stored: Self::Response,
        around: Around,
    ) -> (Self::Response, Option<BodyNumber>);

    /// A response of a body that the isolate's memory keeps, to be given to
    /// `revive`, `keep` or `discard`; `None` when the platform has lost it.
    fn recall(&self, body: BodyNumber) -> Option<Self::Response>;

    /// Lets go of bodies that are not kept in memory any more.
    fn release(&self, bodies: &[BodyNumber]);

    /// Lets go of a response that nobody gets.
    fn discard(&self, response: Self::Response);

    /// Removes what is stored under the keys, and under the names for all
    /// locations, after the response.
    fn remove(&self, keys: Vec<String>, names: Vec<String>);
}

/// The `Collapser` objects of the location. All failures mean: the origin is
/// asked.
pub trait Collapse {
    /// Says a message to the object of its key, and gives its answer within
    /// the deadline. Where that is to lead, the platform renews the lead until
    /// it ends.
    fn collapse(
        &self,
        message: &collapser::Message,
        deadline: Duration,
    ) -> impl Future<Output = Result<collapser::Answer, PlatformError>>;

    /// Ends a lead of the request at hand, after the response. That it is not
    /// heard costs time.
    fn end_lead(&self, lead: collapser::Lead, end: collapser::End);
}

/// Why a body could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// It has more bytes than are read.
    TooLarge,
    /// It did not come in time.
    TimedOut,
    /// It broke off.
    Broken,
}

/// What the admin API needs besides. No other request has its body read.
pub trait AdminPlatform: Origin + ControlClient + FeedSource {
    /// The body of the request at hand. A client that sends too much or too
    /// slowly is refused.
    fn read_body(&self, limit: usize, deadline: Duration)
    -> impl Future<Output = Result<Vec<u8>, BodyError>>;

    /// A file that was deployed with the module; `None` when there is none.
    fn asset(
        &self,
        path: &str,
        deadline: Duration,
    ) -> impl Future<Output = Result<Option<Self::Response>, PlatformError>>;

    /// Begins to read the body of the request at hand by
    /// [`Pieces::next_piece`].
    fn open_body(&self);

    /// The location that runs this, by the platform's code; `None` where it
    /// says nothing.
    fn colo(&self) -> Option<String>;

    /// Asks the gateway itself for URLs, some at once: each is a GET with these
    /// fields whose journey is [`crate::gateway::warm::warm`], and is over when
    /// what it stores is stored. `jobs` are lines of
    /// [`crate::gateway::warm::Job`]; the answers, in their order, are lines of
    /// [`crate::gateway::warm::Warmed`], `None` for what failed or did not come
    /// in time.
    fn warm(
        &self,
        fields: &[(HeaderName, String)],
        jobs: &[String],
        deadline: Duration,
    ) -> impl Future<Output = Vec<Option<String>>>;
}

/// Everything a journey needs.
pub trait Platform:
    Clock + Pause + Counters + CounterPeek + LimiterClient + ResponseStore + Collapse + AdminPlatform
{
}

impl<T: Clock + Pause + Counters + CounterPeek + LimiterClient + ResponseStore + Collapse + AdminPlatform>
    Platform for T
{
}

/// A value and its metadata, both text, as the policy store holds them.
pub type Stored = (String, Option<String>);

/// The policy store, as an isolate reads it: near, cheap and eventually
/// consistent. On failure the last good policy stays.
pub trait PolicyStore: Pause {
    /// The manifest; `None` when the store shows none.
    fn read_active(&self, deadline: Duration) -> impl Future<Output = Result<Option<Stored>, PlatformError>>;

    /// The bytes of parts, at once and in this order; `None` where the store
    /// shows none. Never trusted: the reader compares their hashes. What fails
    /// is asked of `Control`.
    fn read_parts(
        &self,
        hashes: &[&str],
        deadline: Duration,
    ) -> impl Future<Output = Result<Vec<Option<PartRead>>, PlatformError>>;
}

/// The bytes of a part, and their SHA-256 as hex: the platform's own is much
/// faster than one in wasm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartRead {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Their hash.
    pub hash: String,
}

/// The `Control` object, as an isolate or the admin API calls it.
pub trait ControlClient {
    /// Sends a message of [`crate::control::message`] and gives the answer's
    /// text. On failure nothing is known about what the object did.
    fn call(&self, message: &str, deadline: Duration) -> impl Future<Output = Result<String, PlatformError>>;
}

/// The policy store, as the `Control` object writes it. A call that fails may
/// have taken effect, or may take it later.
pub trait ManifestStore {
    /// Writes a part under [`crate::policy::manifest::part_key`].
    fn put_part(&self, hash: &str, bytes: &[u8]) -> impl Future<Output = Result<(), PlatformError>>;

    /// Removes a part; one that is not there is removed, too.
    fn delete_part(&self, hash: &str) -> impl Future<Output = Result<(), PlatformError>>;

    /// Writes the manifest and its metadata, a JSON text, in one go.
    fn put_active(&self, value: &str, metadata: &str) -> impl Future<Output = Result<(), PlatformError>>;

    /// What the store shows; it may be old.
    fn read_active(&self) -> impl Future<Output = Result<Option<Stored>, PlatformError>>;
}

/// The lists of the `Control` object. Both only grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// Revisions by number.
    Revisions,
    /// The audit log by number.
    Audit,
}

impl Table {
    /// Its name in SQL.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Revisions => "revisions",
            Self::Audit => "audit",
        }
    }
}

/// One thing to store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Sets a value by name, over the old one.
    Value(&'static str, String),
    /// Adds a row. A row of that number must not be there: that is an error,
    /// and nothing of the whole list is stored.
    Row(Table, u64, String),
    /// Bytes under their own SHA-256; storing them again changes nothing.
    Object(String, Vec<u8>),
    /// Forgets the bytes under a hash.
    Forget(String),
    /// When the object is to be woken, in place of what was set before.
    Alarm(Timestamp),
    /// Sets a row of the bans, over the old one of that key.
    Ban(BanRow),
    /// Removes a row of the bans.
    ForgetBan(String),
    /// Removes all rows of the bans that have ended.
    SweepBans(Timestamp),
}

/// What a row of the bans is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BanKind {
    /// A trigger's ban.
    Automatic,
    /// A person's.
    Manual,
    /// None any more: it was taken away before its end.
    Lifted,
}

impl BanKind {
    /// Its number in SQL.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Automatic => 0,
            Self::Manual => 1,
            Self::Lifted => 2,
        }
    }
}

/// A row of the bans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BanRow {
    /// The network, in a form that sorts.
    pub key: String,
    /// What it is.
    pub kind: BanKind,
    /// When it ends.
    pub until: Timestamp,
    /// What is collected of it, without line breaks.
    pub short: String,
    /// Everything about it.
    pub text: String,
}

/// The storage of the `Control` object: small tables of text.
///
/// All calls are synchronous: between two of them nothing else runs in the
/// object, so what is decided on what was read still holds when it is stored.
/// An error means that nothing was stored.
pub trait ControlStore {
    /// A value by name.
    ///
    /// # Errors
    /// The storage failed.
    fn value(&self, name: &str) -> Result<Option<String>, PlatformError>;

    /// A row.
    ///
    /// # Errors
    /// The storage failed.
    fn row(&self, table: Table, number: u64) -> Result<Option<String>, PlatformError>;

    /// At most `limit` rows, the greatest number first; with `before` only
    /// those of smaller numbers.
    ///
    /// # Errors
    /// The storage failed.
    fn rows(&self, table: Table, before: Option<u64>, limit: usize) -> Result<Vec<String>, PlatformError>;

    /// Bytes by hash.
    ///
    /// # Errors
    /// The storage failed.
    fn object(&self, hash: &str) -> Result<Option<Vec<u8>>, PlatformError>;

    /// A row of the bans, ended or not.
    ///
    /// # Errors
    /// The storage failed.
    fn ban(&self, key: &str) -> Result<Option<String>, PlatformError>;

    /// At most `limit` rows of bans that hold at that moment, in the order of
    /// their keys; only those behind `after`. Each is its key, its end in
    /// milliseconds and its text, with a space between.
    ///
    /// # Errors
    /// The storage failed.
    fn bans(&self, after: &str, now: Timestamp, limit: usize) -> Result<Vec<String>, PlatformError>;

    /// How many rows of a kind have not ended.
    ///
    /// # Errors
    /// The storage failed.
    fn ban_count(&self, kind: BanKind, now: Timestamp) -> Result<usize, PlatformError>;

    /// The rows of a kind that end first and have not ended, at most `limit`:
    /// each its key and its end in milliseconds, with a space between.
    ///
    /// # Errors
    /// The storage failed.
    fn first_bans(&self, kind: BanKind, now: Timestamp, limit: usize) -> Result<Vec<String>, PlatformError>;

    /// Every row that has not ended, all of them as one text: a line each, its
    /// key and behind a space what is collected of it.
    ///
    /// # Errors
    /// The storage failed.
    fn all_bans(&self, now: Timestamp) -> Result<String, PlatformError>;

    /// Stores everything or nothing, the alarm included, and nothing leaves
    /// the object before it is durable (the output gate).
    ///
    /// # Errors
    /// The storage failed, and nothing was stored.
    fn apply(&self, writes: Vec<Write>) -> Result<(), PlatformError>;
}

/// The storage of a `Limiter` object, as far as counters go. All calls are
/// synchronous, and what one message changes is stored together, before the
/// answer leaves. An error fails the message.
pub trait AccountStore {
    /// An account's text.
    ///
    /// # Errors
    /// The storage failed.
    fn account(&self, key: CounterKey) -> Result<Option<String>, PlatformError>;

    /// Sets an account; from `ends` on it says nothing.
    ///
    /// # Errors
    /// The storage failed.
    fn keep(&self, key: CounterKey, ends: Timestamp, text: &str) -> Result<(), PlatformError>;

    /// Takes an account away.
    ///
    /// # Errors
    /// The storage failed.
    fn forget(&self, key: CounterKey) -> Result<(), PlatformError>;

    /// How many accounts there are.
    ///
    /// # Errors
    /// The storage failed.
    fn count(&self) -> Result<usize, PlatformError>;

    /// Removes the accounts that say nothing any more.
    ///
    /// # Errors
    /// The storage failed.
    fn sweep(&self, now: Timestamp) -> Result<(), PlatformError>;
}

/// The lists of a `Limiter` object about bans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BanRows {
    /// Clients that offended, by network and trigger.
    Offenders,
    /// Bans by network.
    Bans,
    /// The last report of each isolate.
    Reporters,
    /// Networks whose bans were lifted.
    Lifted,
}

impl BanRows {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Offenders, Self::Bans, Self::Reporters, Self::Lifted];

    /// Its name in SQL.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Offenders => "offenders",
            Self::Bans => "bans",
            Self::Reporters => "reporters",
            Self::Lifted => "lifted",
        }
    }
}

/// The storage of a `Limiter` object, as far as bans go. All calls are
/// synchronous, and what one message changes is stored together, before the
/// answer leaves. An error fails the message.
pub trait BanStore {
    /// A row by its key.
    ///
    /// # Errors
    /// The storage failed.
    fn get(&self, rows: BanRows, key: &str) -> Result<Option<String>, PlatformError>;

    /// Sets a row; from `ends` on it says nothing.
    ///
    /// # Errors
    /// The storage failed.
    fn put(&self, rows: BanRows, key: &str, ends: Timestamp, text: &str) -> Result<(), PlatformError>;

    /// Takes a row away.
    ///
    /// # Errors
    /// The storage failed.
    fn remove(&self, rows: BanRows, key: &str) -> Result<(), PlatformError>;

    /// Every row.
    ///
    /// # Errors
    /// The storage failed.
    fn all(&self, rows: BanRows) -> Result<Vec<String>, PlatformError>;

    /// The key of the row that ends first.
    ///
    /// # Errors
    /// The storage failed.
    fn first(&self, rows: BanRows) -> Result<Option<String>, PlatformError>;

    /// How many rows there are.
    ///
    /// # Errors
    /// The storage failed.
    fn count(&self, rows: BanRows) -> Result<usize, PlatformError>;

    /// Takes the rows away that say nothing any more.
    ///
    /// # Errors
    /// The storage failed.
    fn sweep(&self, rows: BanRows, now: Timestamp) -> Result<(), PlatformError>;
}

/// A list of changes as one text, for adapters that hand them over whole:
/// a line each, `=name:value` sets, `+name:value` appends, `-name` removes.
#[must_use]
pub fn edits_text(edits: &[Edit]) -> String {
    let mut text = String::with_capacity(edits.len().saturating_mul(64));
    push_edits(&mut text, edits);
    text
}

/// Adds changes to a text, each on a line of its own.
pub fn push_edits(text: &mut String, edits: &[Edit]) {
    for edit in edits {
        let (sign, name, value) = match edit {
            Edit::Set(name, value) => ('=', name, Some(value)),
            Edit::Append(name, value) => ('+', name, Some(value)),
            Edit::Remove(name) => ('-', name, None),
        };
        push_edit(text, sign, name, value.map(String::as_str));
    }
}

/// Adds fields to such a text, as lines to append.
pub fn push_fields(text: &mut String, fields: &[(HeaderName, impl AsRef<str>)]) {
    for (name, value) in fields {
        push_edit(text, '+', name, Some(value.as_ref()));
    }
}

fn push_edit(text: &mut String, sign: char, name: &HeaderName, value: Option<&str>) {
    // A line break in a value would begin another edit. The runtime refuses
    // such values, so no checked value holds one.
    if value.is_some_and(breaks_line) {
        return;
    }
    let name = name.as_str();
    // Line break, sign and colon.
    text.reserve(name.len().saturating_add(value.map_or(0, str::len)).saturating_add(3));
    if !text.is_empty() {
        text.push('\n');
    }
    text.push(sign);
    text.push_str(name);
    if let Some(value) = value {
        text.push(':');
        text.push_str(value);
    }
}

fn breaks_line(value: &str) -> bool {
    // A tab may be there, and hardly ever is.
    has_control(value.as_bytes()) && value.bytes().any(|byte| matches!(byte, b'\r' | b'\n' | 0))
}

/// A body that is read piece by piece: the one that was opened last. No more
/// than a piece of it is held.
pub trait Pieces {
    /// The next piece, at most [`PIECE_LIMIT`] bytes; `None` at the end. A
    /// sender that is too slow is ended. After a failure there is no other
    /// piece.
    fn next_piece(&self, deadline: Duration) -> impl Future<Output = Result<Option<Vec<u8>>, BodyError>>;

    /// Lets go of what has not been read.
    fn stop_reading(&self);
}

/// The longest piece, in bytes: crossing into wasm for each that arrives would
/// cost more than reading it.
pub const PIECE_LIMIT: usize = 256 << 10;

/// What the server of a feed is asked: GET, without credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedRequest<'a> {
    /// The URL, from [`crate::feeds::config::feed_url`].
    pub url: &'a str,
    /// `If-None-Match` (RFC 9110, 13.1.2).
    pub if_none_match: Option<&'a str>,
    /// `If-Modified-Since` (RFC 9110, 13.1.3).
    pub if_modified_since: Option<&'a str>,
}

/// The head of its answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeedHead {
    /// The status.
    pub status: u16,
    /// `Location`.
    pub location: Option<String>,
    /// `ETag`.
    pub etag: Option<String>,
    /// `Last-Modified`.
    pub last_modified: Option<String>,
}

/// The servers of feeds.
pub trait FeedSource: Clock + Pieces {
    /// Asks for a list, past the platform's own cache and following no
    /// redirect. The body is then the one that is read, its content coding
    /// taken off. On failure the last good list stays.
    fn open_feed(
        &self,
        request: &FeedRequest<'_>,
        deadline: Duration,
    ) -> impl Future<Output = Result<FeedHead, PlatformError>>;
}
