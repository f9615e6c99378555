//! What the `Control` object answers, and why it refuses. The protocol around
//! it is in [`super::message`].

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::message::{NOTE_LIMIT, Role};
use crate::error::{Problem, clip};

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// The base is not the active revision, or the present generation of the
    /// stored address sets, any more.
    StaleBase,
    /// The document has problems.
    InvalidPolicy,
    /// The document, a part or the message is too large.
    TooLarge,
    /// There is no such revision.
    NoSuchRevision,
    /// There is no such part.
    NoSuchPart,
    /// A module that was seen in the last 24 hours could not read it.
    NeedsNewerModule,
    /// The role may not change anything.
    NeedsOperator,
    /// The change touches `admin`, and the role is not owner.
    NeedsOwner,
    /// The message cannot be read.
    Malformed,
    /// There is no such action.
    NoSuchAction,
    /// The message is of a protocol that is not spoken here.
    UnsupportedVersion,
    /// The active policy names a set that would be gone.
    SetInUse,
    /// There is no such generation of the stored sets.
    NoSuchGeneration,
    /// The guard list holds the network.
    Guarded,
    /// There is no such ban.
    NoSuchBan,
    /// There is no room for more bans of people.
    TooManyBans,
    /// A reason that a later protocol added.
    #[serde(other)]
    Other,
}

impl Refusal {
    /// The label used everywhere.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::StaleBase => "stale-base",
            Self::InvalidPolicy => "invalid-policy",
            Self::TooLarge => "too-large",
            Self::NoSuchRevision => "no-such-revision",
            Self::NoSuchPart => "no-such-part",
            Self::NeedsNewerModule => "needs-newer-module",
            Self::NeedsOperator => "needs-operator",
            Self::NeedsOwner => "needs-owner",
            Self::Malformed => "malformed",
            Self::NoSuchAction => "no-such-action",
            Self::UnsupportedVersion => "unsupported-version",
            Self::SetInUse => "set-in-use",
            Self::NoSuchGeneration => "no-such-generation",
            Self::Guarded => "guarded",
            Self::NoSuchBan => "no-such-ban",
            Self::TooManyBans => "too-many-bans",
            Self::Other => "other",
        }
    }
}

/// A refusal with what explains it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Why.
    pub reason: Refusal,
    /// `stale-base`: the base that was named: a revision, or a generation of
    /// stored address sets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// `stale-base`: the revision that is active, or the generation that is
    /// present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<String>,
    /// `invalid-policy`: what is wrong with the document.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<ProblemText>,
    /// `needs-newer-module`: the least version that can read the document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needs: Option<String>,
    /// `needs-newer-module`: the oldest version seen in 24 hours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<String>,
    /// More for a person, in English.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl Refused {
    /// A refusal with nothing to add.
    #[must_use]
    pub const fn new(reason: Refusal) -> Self {
        Self {
            reason,
            base: None,
            active: None,
            problems: Vec::new(),
            needs: None,
            oldest: None,
            detail: None,
        }
    }

    /// Tells a person more.
    #[must_use]
    pub fn detail(mut self, detail: impl AsRef<str>) -> Self {
        self.detail = Some(clip(detail.as_ref(), NOTE_LIMIT).to_owned());
        self
    }
}

/// A [`Problem`] in a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "DocumentProblem"))]
pub struct ProblemText {
    /// Where.
    pub path: String,
    /// What stands there.
    pub value: String,
    /// What was expected.
    pub expected: String,
}

impl From<Problem> for ProblemText {
    fn from(problem: Problem) -> Self {
        Self { path: problem.path, value: problem.value, expected: problem.expected }
    }
}

impl From<ProblemText> for Problem {
    fn from(problem: ProblemText) -> Self {
        Self { path: problem.path, value: problem.value, expected: problem.expected }
    }
}

/// The answer to `active`: one of the first three.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActivePolicy {
    /// The manifest, as the policy store would hold it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<StoredManifest>,
    /// The asker has the newest that it can read.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unchanged: bool,
    /// There is no policy, or none that the asker can read.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub none: bool,
    /// There is a newer one, and the asker's module cannot read it. Protocol
    /// 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind: Option<Behind>,
}

/// A manifest's text and its metadata's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredManifest {
    /// The value.
    pub value: String,
    /// The metadata, a JSON text.
    pub metadata: String,
}

/// A policy that the asker's module cannot read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Behind {
    /// The revision.
    pub revision: String,
    /// The least version of the module that can.
    pub module: String,
}

/// The answer to `part`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartBytes {
    /// The bytes as hex.
    pub part: String,
}

/// The answer to `push` and `rollback`: the revision is durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Acknowledgement {
    /// The new revision.
    pub revision: String,
    /// Its place in the order of publications.
    pub sequence: u64,
    /// The SHA-256 of the document.
    pub hash: String,
    /// Whether the policy store has it.
    pub state: PublicationState,
    /// The stored sets that the document names and that nobody has imported:
    /// until then, rules that name them do what their `on_failure` says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing_sets: Vec<String>,
}

/// Whether the policy store has the active revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum PublicationState {
    /// It was written. Locations show it as fast as the store allows.
    Published,
    /// It will be: the object tries until it is.
    Pending,
}

/// A revision without its document; also its row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Revision {
    /// Its name.
    pub revision: String,
    /// Its place in the order of publications when it was accepted.
    pub sequence: u64,
    /// The SHA-256 of the document.
    pub hash: String,
    /// The length of the document.
    pub bytes: usize,
    /// What belongs to the document and does not stand in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<crate::policy::manifest::PartRef>,
    /// The least version of the module that can read the document.
    pub module: String,
    /// Who made it.
    pub author: String,
    /// What the author could do.
    pub role: Role,
    /// When, as in RFC 3339.
    pub time: String,
    /// Why.
    pub message: String,
    /// The revision it replaced.
    pub base: String,
    /// Where it came about by a rollback: the revision whose content it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback_to: Option<String>,
}

/// The answer to `revision`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevisionDocument {
    /// Everything about it.
    #[serde(flatten)]
    pub revision: Revision,
    /// The document as its author wrote it.
    pub document: String,
}

/// The answer to `history`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct History {
    /// Newest first.
    pub revisions: Vec<Revision>,
    /// Whether there are older ones.
    pub more: bool,
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum AuditOutcome {
    /// It was done.
    Accepted,
    /// It was not.
    Refused,
}

/// An entry of the audit log; also its row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AuditEntry {
    /// Its number.
    pub id: u64,
    /// When, as in RFC 3339.
    pub time: String,
    /// Who, as far as it is known.
    pub author: String,
    /// What the author could do, as far as it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// What was attempted.
    pub action: String,
    /// What became of it.
    pub outcome: AuditOutcome,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The revision that came about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The base that the author named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// The revision that a rollback went to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The network that was banned, or whose ban was lifted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// When that ban ends, as in RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// What was purged, as far as it fits into 500 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purged: Option<String>,
    /// What the author wrote.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// The answer to `audit`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AuditLog {
    /// Newest first.
    pub entries: Vec<AuditEntry>,
    /// Whether there are older ones.
    pub more: bool,
}

/// The answer to `note` and `seen`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// Always true.
    pub done: bool,
}

/// The answer to `status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "ControlStatus"))]
pub struct Status {
    /// The active revision; `r0` when there is none.
    pub active: String,
    /// Its place in the order of publications.
    pub sequence: u64,
    /// Whether the policy store has it.
    pub state: PublicationState,
    /// How many attempts to publish it failed in a row.
    pub failures: u32,
    /// The oldest version of the module seen in 24 hours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_module: Option<String>,
    /// How many entries the audit log has.
    pub audit: u64,
}

#[derive(Serialize, Deserialize)]
struct AnswerText<T> {
    version: u32,
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    result: Option<T>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refused: Option<Refused>,
}

const fn none<T>() -> Option<T> {
    None
}

/// The text of an answer.
#[must_use]
pub fn encode_answer<T: Serialize>(version: u32, answer: Result<T, Refused>) -> String {
    let (result, refused) = match answer {
        Ok(result) => (Some(result), None),
        Err(refused) => (None, Some(refused)),
    };
    // Texts and numbers always serialise.
    serde_json::to_string(&AnswerText { version, result, refused }).unwrap_or_default()
}

/// Reads an answer: the result of that action, or a refusal.
///
/// # Errors
/// It is no answer that this module can read; says why.
pub fn decode_answer<T: DeserializeOwned>(text: &str) -> Result<Result<T, Refused>, String> {
    if !text.trim_start().starts_with('{') {
        return Err("the answer is not a JSON object".to_owned());
    }
    let answer: AnswerText<T> =
        serde_json::from_str(text).map_err(|error| format!("the answer does not parse: {error}"))?;
    match answer {
        AnswerText { refused: Some(refused), .. } => Ok(Err(refused)),
        AnswerText { result: Some(result), .. } => Ok(Ok(result)),
        AnswerText { .. } => Err("the answer says nothing".to_owned()),
    }
}
