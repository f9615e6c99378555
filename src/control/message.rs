//! What an isolate and the `Control` object say to each other: JSON texts,
//! one request and one answer.
//!
//! ```json
//! {"version": 3, "least": 1, "module": "0.3.0", "action": "push", "base": "r6", "document": "…"}
//! {"version": 3, "result": {"revision": "r7", "sequence": 7, "hash": "…", "state": "published"}}
//! {"version": 3, "refused": {"reason": "stale-base", "base": "r6", "active": "r7"}}
//! ```
//!
//! 1. Objects run old code for minutes after a deployment, and isolates too.
//!    So `version` says which protocol the writer speaks, and `least` which
//!    one a reader has to know at least to understand this message. A reader
//!    of an older protocol that knows `least` reads it all the same.
//! 2. Unknown fields are ignored; fields that a later protocol added are
//!    optional. So an addition raises [`PROTOCOL`] and leaves [`LEAST`] alone.
//! 3. An answer is written in the lower of both protocols.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::answer::{Refusal, Refused};
use super::bans::{BanOrder, BansPage, BansReport, UnbanOrder};
use super::feeds::FeedResults;
use super::purges::{PurgeOrder, PurgesPage};
use super::sets::{PutPart, RollbackSets, SetSets};
use crate::policy::manifest::MODULE_VERSION;

/// The protocol that this module speaks.
///
/// - 1: everything but what follows.
/// - 2: `parts` of a push, `behind` of an answer to `active`, and the asker's
///   `module`.
/// - 3: stored address sets, bans and purges.
pub const PROTOCOL: u32 = if cfg!(feature = "previous-protocol") { 2 } else { 3 };

/// The oldest protocol that this module understands.
pub const LEAST: u32 = 1;

/// The longest message, in bytes: a document of 1 MiB may be six times as
/// long as a JSON string, and parts come on top.
pub const MESSAGE_LIMIT: usize = 16 << 20;

/// The longest text that an author writes about a change, in bytes; the rest
/// is cut off.
pub const NOTE_LIMIT: usize = 500;

/// The longest name of an author, a reason or an attempted action, in bytes;
/// the rest is cut off.
pub const NAME_LIMIT: usize = 64;

/// The most rows of one answer; it is also the default.
pub const PAGE_LIMIT: usize = 100;

/// The name of a revision, `r7`. `r0` is the name of nothing stored yet.
#[must_use]
pub fn revision_name(number: u64) -> String {
    format!("r{number}")
}

/// The number of a revision by its name: `r` and digits as [`revision_name`]
/// writes them.
#[must_use]
pub fn revision_number(name: &str) -> Option<u64> {
    let digits = name.strip_prefix('r')?;
    let plain = digits == "0" || !digits.starts_with('0');
    let number = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())??;
    plain.then_some(number)
}

/// What a person may do. Each may do what the ones before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads.
    Reader,
    /// Pushes and rolls back.
    Operator,
    /// Changes `admin`, too.
    Owner,
}

impl Role {
    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Operator => "operator",
            Self::Owner => "owner",
        }
    }
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "action", rename_all = "kebab-case")]
pub enum Action {
    /// The active policy, unless the asker has it.
    Active(Active),
    /// The bytes of a part.
    Part(PartOf),
    /// A new revision.
    Push(Push),
    /// A new revision with an old content.
    Rollback(Rollback),
    /// A revision and its document.
    Revision(RevisionOf),
    /// The revisions, newest first.
    History(HistoryPage),
    /// The audit log, newest first.
    Audit(AuditPage),
    /// Writes down an attempt that was refused before it came here.
    Note(Note),
    /// Writes down what was done elsewhere. Protocol 3: an object that does
    /// not know it writes nothing down.
    NoteDone(Note),
    /// Says only which module is asking, and what it acts on.
    Seen(Active),
    /// How the plane is.
    Status,
    /// A part of the stored sets to come. Protocol 3, as all that follow.
    PutPart(PutPart),
    /// The stored sets.
    Sets,
    /// A new generation of the stored sets.
    SetSets(SetSets),
    /// An earlier generation again.
    RollbackSets(RollbackSets),
    /// What is known of feeds.
    Feeds,
    /// What became of feeds.
    FeedResults(FeedResults),
    /// Bans networks.
    Ban(BanOrder),
    /// Lifts bans.
    Unban(UnbanOrder),
    /// The bans, by network.
    Bans(BansPage),
    /// Bans that triggers made, from a `Limiter` object.
    ReportBans(BansReport),
    /// Purges stored answers.
    Purge(PurgeOrder),
    /// The purges, newest first.
    Purges(PurgesPage),
}

/// `active`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Active {
    /// The sequence that the asker acts on; none when it has no policy.
    #[serde(default)]
    pub have: Option<u64>,
}

/// `part`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartOf {
    /// Its SHA-256 as hex.
    pub hash: String,
}

/// `push`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Push {
    /// The revision that the author has seen as the active one.
    pub base: String,
    /// The document as its author wrote it.
    pub document: String,
    /// What belongs to the document and does not stand in it. Protocol 2.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<String>,
    /// Why.
    #[serde(default)]
    pub message: String,
    /// Who.
    pub author: String,
    /// What the author may do.
    pub role: Role,
}

/// `rollback`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollback {
    /// The revision whose content comes back.
    pub to: String,
    /// The revision that the author has seen as the active one.
    pub base: String,
    /// Why.
    #[serde(default)]
    pub message: String,
    /// Who.
    pub author: String,
    /// What the author may do.
    pub role: Role,
}

/// `revision`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevisionOf {
    /// Which one; the active one when it is not given.
    #[serde(default)]
    pub name: Option<String>,
}

/// `history`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryPage {
    /// Only revisions before this one.
    #[serde(default)]
    pub before: Option<String>,
    /// At most so many, 1 to [`PAGE_LIMIT`]; what lies outside is clipped.
    #[serde(default)]
    pub limit: Option<u64>,
}

/// `audit`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditPage {
    /// Only entries before this number.
    #[serde(default)]
    pub before: Option<u64>,
    /// At most so many, 1 to [`PAGE_LIMIT`]; what lies outside is clipped.
    #[serde(default)]
    pub limit: Option<u64>,
}

/// `note` and `note-done`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// What was attempted.
    pub attempt: String,
    /// Why it was refused; empty where it was not.
    #[serde(default)]
    pub reason: String,
    /// Who, as far as it is known.
    #[serde(default)]
    pub author: String,
    /// What the author may do, as far as it is known.
    #[serde(default)]
    pub role: Option<Role>,
    /// More about it.
    #[serde(default)]
    pub message: String,
}

/// A request as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The protocol of the answer: the lower one of both.
    pub version: u32,
    /// The version of the asker's module, as it says.
    pub module: Option<String>,
    /// What is asked.
    pub action: Action,
}

#[derive(Deserialize)]
struct Envelope {
    version: u32,
    #[serde(default)]
    least: Option<u32>,
    #[serde(default)]
    module: Option<String>,
    action: String,
}

/// The text of a request in this module's protocol and name.
#[must_use]
pub fn encode_request(action: &Action) -> String {
    #[derive(Serialize)]
    struct Out<'a> {
        version: u32,
        least: u32,
        module: &'a str,
        #[serde(flatten)]
        action: &'a Action,
    }
    let out = Out { version: PROTOCOL, least: LEAST, module: MODULE_VERSION, action };
    // Texts and numbers always serialise.
    serde_json::to_string(&out).unwrap_or_default()
}

/// Reads a request as a module does that speaks `protocol`.
///
/// # Errors
/// The refusal to answer with.
pub fn decode_request(text: &str, protocol: u32) -> Result<Request, Box<Refused>> {
    if text.len() > MESSAGE_LIMIT {
        let detail = format!("the message has {} bytes; at most {MESSAGE_LIMIT} are read", text.len());
        return Err(Refused::new(Refusal::TooLarge).detail(detail).into());
    }
    let envelope: Envelope = object(text)?;
    // A message that does not say needs a reader of its own protocol.
    let needed = envelope.least.unwrap_or(envelope.version).min(envelope.version);
    if envelope.version < LEAST || needed > protocol {
        let detail =
            format!("the message is of protocol {}; {LEAST} to {protocol} are spoken", envelope.version);
        return Err(Refused::new(Refusal::UnsupportedVersion).detail(detail).into());
    }
    let action = match envelope.action.as_str() {
        "active" => Action::Active(object(text)?),
        "part" => Action::Part(object(text)?),
        "push" => Action::Push(object(text)?),
        "rollback" => Action::Rollback(object(text)?),
        "revision" => Action::Revision(object(text)?),
        "history" => Action::History(object(text)?),
        "audit" => Action::Audit(object(text)?),
        "note" => Action::Note(object(text)?),
        "note-done" if protocol >= 3 => Action::NoteDone(object(text)?),
        "seen" => Action::Seen(object(text)?),
        "status" => Action::Status,
        "ban" => Action::Ban(object(text)?),
        "unban" => Action::Unban(object(text)?),
        "bans" => Action::Bans(object(text)?),
        "report-bans" => Action::ReportBans(object(text)?),
        "purge" if protocol >= 3 => Action::Purge(object(text)?),
        "purges" if protocol >= 3 => Action::Purges(object(text)?),
        "put-part" if protocol >= 3 => Action::PutPart(object(text)?),
        "sets" if protocol >= 3 => Action::Sets,
        "set-sets" if protocol >= 3 => Action::SetSets(object(text)?),
        "rollback-sets" if protocol >= 3 => Action::RollbackSets(object(text)?),
        "feeds" if protocol >= 3 => Action::Feeds,
        "feed-results" if protocol >= 3 => Action::FeedResults(object(text)?),
        _ => return Err(Refused::new(Refusal::NoSuchAction).into()),
    };
    Ok(Request { version: envelope.version.min(protocol), module: envelope.module, action })
}

/// serde reads a list for a struct, its fields in order; we do not.
fn object<T: DeserializeOwned>(text: &str) -> Result<T, Box<Refused>> {
    let malformed = |detail: String| Box::new(Refused::new(Refusal::Malformed).detail(detail));
    if !text.trim_start().starts_with('{') {
        return Err(malformed("expected a JSON object".to_owned()));
    }
    serde_json::from_str(text).map_err(|error| malformed(error.to_string()))
}
