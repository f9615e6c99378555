//! The endpoints of the admin API, as data: the API dispatches by this table,
//! and its OpenAPI document is made of it.

use http::Method;

use super::problem::Refusal;
use crate::control::message::Role;
use crate::feeds::FormatName;

/// The version's prefix.
pub const PREFIX: &str = "/_weir/admin/v1";

/// What an endpoint does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Gives a document.
    Policy,
    /// Makes a document the active one.
    Push,
    /// Checks a document.
    Validate,
    /// Compares a document with a revision.
    DiffDocument,
    /// Compares two revisions.
    DiffRevisions,
    /// Brings an old content back.
    Rollback,
    /// Lists revisions.
    History,
    /// Explains a request.
    Explain,
    /// Replays an access log.
    Replay,
    /// Lists the audit log.
    Audit,
    /// Says how everything is.
    Health,
    /// The OpenAPI document.
    OpenApi,
    /// The JSON Schema of the policy.
    Schema,
    /// Lists the stored address sets.
    AddressSets,
    /// Removes one.
    RemoveSet,
    /// Brings an earlier generation of them back.
    RollbackSets,
    /// Tells what is known of an address.
    Address,
    /// Imports a list into a stored set.
    ImportSet,
    /// Fetches the feed of one.
    RefreshSet,
    /// Lists bans.
    Bans,
    /// Bans networks.
    Ban,
    /// Lifts bans.
    Unban,
    /// Lists purges.
    Purges,
    /// Purges stored answers.
    Purge,
    /// Says what is stored for a request.
    LookInCache,
    /// Asks for URLs, so that they are stored.
    Warm,
    /// Lists the counters that are used most.
    Limits,
    /// Says what counters say.
    LookAtLimits,
    /// Sets counters back.
    ResetLimits,
}

/// What a parameter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// A whole number.
    Number,
    /// The name of a revision.
    Revision,
    /// One of these.
    Choice(&'static [&'static str]),
    /// A network; it may stand there several times.
    Networks,
    /// A header line; it may stand there several times.
    Headers,
}

impl Kind {
    /// Whether such a parameter may stand there several times.
    #[must_use]
    pub const fn repeats(self) -> bool {
        matches!(self, Self::Networks | Self::Headers)
    }
}

/// A parameter of the query.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// What it means.
    pub description: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Whether it has to be there.
    pub required: bool,
}

/// How a change names its base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// Not at all.
    None,
    /// `If-None-Match` gives 304.
    Revalidation,
    /// `If-Match` names the active revision; `If-None-Match: *` says there is
    /// none.
    Base,
}

/// One endpoint.
#[derive(Clone, Copy, Debug)]
pub struct Endpoint {
    /// The method.
    pub method: &'static str,
    /// The path below [`PREFIX`]. A segment in braces, such as `{name}`, is
    /// any one segment; at most one of them.
    pub path: &'static str,
    /// What it does.
    pub call: Call,
    /// The least role that may.
    pub role: Role,
    /// Whether it changes anything, so that a refusal is written down.
    pub changes: bool,
    /// One line about it.
    pub summary: &'static str,
    /// The parameters of the query.
    pub parameters: &'static [Parameter],
    /// What conditions it reads.
    pub precondition: Precondition,
    /// The name of the body's schema; empty for none.
    pub body: &'static str,
    /// The status of success.
    pub status: u16,
    /// The name of the answer's schema.
    pub answer: &'static str,
    /// Whether `Accept: text/plain` gives a text for people.
    pub has_text: bool,
    /// How it can refuse, beyond what every endpoint like it can.
    pub refusals: &'static [Refusal],
}

const fn revision(name: &'static str, required: bool, description: &'static str) -> Parameter {
    Parameter { name, description, kind: Kind::Revision, required }
}

const LIMIT: Parameter = Parameter {
    name: "limit",
    description: "At most so many, 1 to 100; what lies outside is clipped. Default 100.",
    kind: Kind::Number,
    required: false,
};

const MESSAGE: Parameter = Parameter {
    name: "message",
    description: "Why, at most 500 bytes; the rest is cut off.",
    kind: Kind::Text,
    required: false,
};

/// The body of an import: a list of any type.
pub const LIST: &str = "List";

const FORMATS: [&str; 7] = {
    let mut names = [""; 7];
    let mut rest = FormatName::ALL.as_slice();
    let mut place = names.as_mut_slice();
    while let ([format, formats @ ..], [name, names @ ..]) = (rest, place) {
        *name = format.as_str();
        (rest, place) = (formats, names);
    }
    names
};

const fn parameter(name: &'static str, kind: Kind, description: &'static str) -> Parameter {
    Parameter { name, description, kind, required: false }
}

const IMPORT_PARAMETERS: &[Parameter] = &[
    parameter("format", Kind::Choice(&FORMATS), "How the list is written. Default: netset."),
    parameter(
        "column",
        Kind::Text,
        "The column of a csv: its number from 1, or its name in the first record.",
    ),
    parameter(
        "host_bits",
        Kind::Choice(&["refuse", "mask"]),
        "What happens to a prefix with bits set behind its length. Default: refuse.",
    ),
    parameter(
        "max_change",
        Kind::Number,
        "By how much the number of prefixes may change, in percent, 0 to 10000. Default: 50.",
    ),
    parameter("max_prefixes", Kind::Number, "The most prefixes, 1 to 2000000. Default: 1000000."),
    parameter(
        "allow_private",
        Kind::Choice(&["true", "false"]),
        "Whether private and special networks may be in it. Default: false.",
    ),
    MESSAGE,
];

const PLAIN: Endpoint = Endpoint {
    method: "GET",
    path: "",
    call: Call::Health,
    role: Role::Reader,
    changes: false,
    summary: "",
    parameters: &[],
    precondition: Precondition::None,
    body: "",
    status: 200,
    answer: "",
    has_text: false,
    refusals: &[],
};

/// All endpoints.
pub const ENDPOINTS: [Endpoint; 29] = [
    Endpoint {
        path: "/policy",
        call: Call::Policy,
        summary: "The active document, or that of a revision, as its author wrote it. The ETag is the revision's name.",
        parameters: &[revision("revision", false, "Which revision. Default: the active one.")],
        precondition: Precondition::Revalidation,
        answer: "Policy",
        refusals: &[Refusal::NoSuchRevision, Refusal::ControlUnavailable],
        ..PLAIN
    },
    Endpoint {
        method: "PUT",
        path: "/policy",
        call: Call::Push,
        role: Role::Operator,
        changes: true,
        summary: "Makes a document the active one: a new revision, durable when it is acknowledged.",
        parameters: &[MESSAGE],
        precondition: Precondition::Base,
        body: "Policy",
        status: 201,
        answer: "Acknowledgement",
        refusals: &[
            Refusal::PreconditionRequired,
            Refusal::StaleBase,
            Refusal::InvalidPolicy,
            Refusal::NeedsNewerModule,
            Refusal::NeedsOwner,
            Refusal::ControlUnavailable,
        ],
        ..PLAIN
    },
    Endpoint {
        method: "POST",
        path: "/policy/validate",
        call: Call::Validate,
        summary: "Checks a document, and tells everything that is wrong with it.",
        body: "Policy",
        answer: "Validated",
        refusals: &[Refusal::InvalidPolicy],
        ..PLAIN
    },
    Endpoint {
        method: "POST",
        path: "/policy/diff",
        call: Call::DiffDocument,
        summary: "What a document would change, by ids and not by positions.",
        parameters: &[revision("base", false, "Against which revision. Default: the active one.")],
        body: "Policy",
        answer: "Difference",
        has_text: true,
        refusals: &[Refusal::InvalidPolicy, Refusal::NoSuchRevision, Refusal::ControlUnavailable],
        ..PLAIN
    },
    Endpoint {
        path: "/policy/diff",
        call: Call::DiffRevisions,
        summary: "What changed from one revision to another.",
        parameters: &[
            revision("from", true, "The earlier revision."),
            revision("to", false, "The later revision. Default: the active one."),
        ],
        answer: "Difference",
        has_text: true,
        refusals: &[Refusal::NoSuchRevision, Refusal::ControlUnavailable],
        ..PLAIN
    },
    Endpoint {
        method: "POST",
        path: "/policy/rollback",
        call: Call::Rollback,
        role: Role::Operator,
        changes: true,
        summary: "Makes a new revision with the content of an old one.",
        precondition: Precondition::Base,
        body: "RollbackRequest",
        status: 201,
        answer: "Acknowledgement",
        refusals: &[
            Refusal::PreconditionRequired,
            Refusal::StaleBase,
            Refusal::NoSuchRevision,
            Refusal::InvalidPolicy,
            Refusal::NeedsNewerModule,
            Refusal::NeedsOwner,
            Refusal::ControlUnavailable,
        ],
        ..PLAIN
    },
    Endpoint {
        path: "/policy/history",
        call: Call::History,
        summary: "The revisions, newest first; the newest is the active one.",
        parameters: &[revision("before", false, "Only revisions before this one."), LIMIT],
        answer: "History",
        refusals: &[Refusal::ControlUnavailable],
        ..PLAIN
    },
    Endpoint {
        method: "POST",
        path: "/explain",
        call: Call::Explain,
        summary: "The verdict of every stage about a request. Nothing is sent, and no counter moves.",
        body: "ExplainCall",
        answer: "Explanation",
        has_text: true,
        refusals: &[Refusal::InvalidPolicy, Refusal::NoSuchRevision, Refusal::ControlUnavailable],
        ..PLAIN
    },
    Endpoint {
        method: "POST",
        path: "/replay",
        call: Call::Replay,
        summary: "What a document would have done with recorded requests.",
        body: "ReplayCall",
        answer: "Report",
        has_text: true,
        refusals: &[Refusal::InvalidPolicy, Refusal::NoSuchRevision, Refusal::ControlUnavailable],
        ..PLAIN
    },
    Endpoint {
        path: "/audit",
        call: Call::Audit,
        summary: "Every change and every rejected attempt, newest first.",
        parameters: &[
            Parameter {
                name: "before",
                description: "Only entries before this number.",
                kind: Kind::Number,
                required: false,
            },
            LIMIT,
        ],
        answer: "AuditLog",
        refusals: &[Refusal::ControlUnavailable],
        ..PLAIN
    },
    Endpoint {
        path: "/health",
        call: Call::Health,
        summary: "How this isolate and the control plane are, and why one is degraded.",
        answer: "AdminHealth",
        ..PLAIN
    },
    Endpoint {
        path: "/openapi.json",
        call: Call::OpenApi,
        summary: "This document.",
        answer: "Document",
        refusals: &[Refusal::AssetsUnavailable],
        ..PLAIN
    },
    Endpoint {
        path: "/schema.json",
        call: Call::Schema,
        summary: "The JSON Schema of the policy.",
        answer: "Document",
        refusals: &[Refusal::AssetsUnavailable],
        ..PLAIN
    },
    Endpoint {
        path: "/address-sets",
        call: Call::AddressSets,
        summary: "The stored address sets, and the generations of the last 24 hours.",
        answer: "AddressSets",
        refusals: &[Refusal::ControlUnavailable],
        ..PLAIN
    },
    Endpoint {
        method: "DELETE",
        path: "/address-sets/{name}",
        call: Call::RemoveSet,
        role: Role::Operator,
        changes: true,
        summary: "Removes a stored set that the active policy does not name.",
        parameters: &[MESSAGE],
        answer: "SetsAcknowledgement",
        refusals: &[Refusal::NoSuchSet, Refusal::SetInUse, Refusal::StaleBase, Refusal::ControlUnavailable],
        ..PLAIN
    },
    Endpoint {
        method: "POST",
        path: "/address-sets/rollback",
        call: Call::RollbackSets,
        role: Role::Operator,
        changes: true,
        summary: "Makes an earlier generation of the stored sets the present one, under a new number.",
        body: "RollbackSetsRequest",
        answer: "SetsAcknowledgement",
        refusals: &[
            Refusal::NoSuchGeneration,
            Refusal::SetInUse,
            Refusal::StaleBase,
            Refusal::ControlUnavailable,
        ],
        ..PLAIN
    },
    Endpoint {
        path: "/address/{ip}",
        call: Call::Address,
        summary: "Every set that contains an address, since when and from where, and what decides about it.",
        answer: "AddressReport",
        has_text: true,
        refusals: &[Refusal::ControlUnavailable],
        ..PLAIN
    },
    Endpoint {
        method: "PUT",
        path: "/address-sets/{name}",
        call: Call::ImportSet,
        role: Role::Operator,
        changes: true,
        summary: "Imports a list, as it is published, into a stored set. What the query does not say is as the feed of \
                  the active policy has it, else as a feed has it by default.",
        parameters: IMPORT_PARAMETERS,
        body: LIST,
        answer: "ImportedSet",
        refusals: &[Refusal::InvalidList, Refusal::StaleBase, Refusal::ControlUnavailable],
        ..PLAIN
    },
    Endpoint {
        path: "/bans",
        call: Call::Bans,
        summary: "The bans that hold now, by network.",
        parameters: &[
            Parameter {
                name: "address",
                description: "Only bans that hold this address.",
                kind: Kind::Text,
                required: false,
            },
            Parameter {
                name: "after",
                description: "Only bans behind this network.",
                kind: Kind::Text,
                required: false,
            },
            LIMIT,
        ],
        answer: "BanList",
        refusals: &[Refusal::ControlUnavailable],
        ..PLAIN
    },
    Endpoint {
        method: "POST",
        path: "/address-sets/{name}/refresh",
        call: Call::RefreshSet,
        role: Role::Operator,
        changes: true,
        summary: "Fetches the list of a stored set from its feed now.",
        answer: "ImportedSet",
        refusals: &[
            Refusal::NoSuchSet,
            Refusal::NoFeed,
            Refusal::FeedUnavailable,
            Refusal::InvalidList,
            Refusal::StaleBase,
            Refusal::ControlUnavailable,
        ],
        ..PLAIN
    },
    Endpoint {
        method: "POST",
        path: "/bans",
        call: Call::Ban,
        role: Role::Operator,
        changes: true,
        summary: "Bans networks until an end. A ban of a network that has one replaces it.",
        body: "BanRequest",
        answer: "BansAcknowledgement",
        refusals: &[Refusal::Guarded, Refusal::TooManyBans, Refusal::ControlUnavailable],
        ..PLAIN
    },
    Endpoint {
        method: "DELETE",
        path: "/bans",
        call: Call::Unban,
        role: Role::Operator,
        changes: true,
        summary: "Lifts the bans of exactly these networks, those that a trigger is just making among them.",
        parameters: &[
            Parameter {
                name: "network",
                description: "A network as it is banned. For several, several times; at most 1,000.",
                kind: Kind::Networks,
                required: true,
            },
            MESSAGE,
        ],
        answer: "BansAcknowledgement",
        refusals: &[Refusal::NoSuchBan, Refusal::ControlUnavailable],
        ..PLAIN
    },
    Endpoint {
        path: "/purges",
        call: Call::Purges,
        summary: "What is purged, newest first.",
        parameters: &[
            Parameter {
                name: "before",
                description: "Only purges before this sequence.",
                kind: Kind::Number,
                required: false,
            },
            LIMIT,
        ],
        answer: "PurgeList",
        refusals: &[Refusal::ControlUnavailable],
        ..PLAIN
    },
    Endpoint {
        method: "POST",
        path: "/purge",
        call: Call::Purge,
        role: Role::Operator,
        changes: true,
        summary: "Purges stored answers by URL, prefix or tag, or all of them.",
        body: "PurgeRequest",
        answer: "PurgeAcknowledgement",
        refusals: &[Refusal::ControlUnavailable],
        ..PLAIN
    },
    Endpoint {
        path: "/cache",
        call: Call::LookInCache,
        summary: "What is stored for a request in the location that answers, without bodies and secrets.",
        parameters: &[
            Parameter {
                name: "url",
                description: "The URL, with scheme and query.",
                kind: Kind::Text,
                required: true,
            },
            parameter("method", Kind::Text, "The method. Default: GET."),
            parameter(
                "header",
                Kind::Headers,
                "A request field that selects, such as Accept-Encoding: gzip. For several, several times.",
            ),
        ],
        answer: "CacheReport",
        ..PLAIN
    },
    Endpoint {
        method: "POST",
        path: "/cache/warm",
        call: Call::Warm,
        role: Role::Operator,
        changes: true,
        summary: "Asks for URLs as clients would, past the rules about addresses and limits, so that their answers \
                  are stored in the location and the isolate that answer.",
        body: "WarmRequest",
        answer: "WarmReport",
        ..PLAIN
    },
    Endpoint {
        path: "/limits",
        call: Call::Limits,
        summary: "The shared counters that are used most.",
        parameters: &[Parameter { description: "At most so many, 1 to 100. Default 20.", ..LIMIT }],
        answer: "LimitList",
        ..PLAIN
    },
    Endpoint {
        method: "POST",
        path: "/limits/look",
        call: Call::LookAtLimits,
        summary: "What the counters of a request or client say. Nothing is counted.",
        body: "LimitCall",
        answer: "LimitReport",
        refusals: &[Refusal::NoSuchCounter],
        ..PLAIN
    },
    Endpoint {
        method: "POST",
        path: "/limits/reset",
        call: Call::ResetLimits,
        role: Role::Operator,
        changes: true,
        summary: "Sets the counters of a request or client back; the answer is what they said before.",
        body: "LimitCall",
        answer: "LimitReport",
        refusals: &[Refusal::NoSuchCounter, Refusal::CounterUnavailable],
        ..PLAIN
    },
];

/// What a method and a path lead to.
#[derive(Clone, Debug)]
pub enum Found {
    /// An endpoint, and the segment that stands for the one in braces.
    Endpoint(&'static Endpoint, Option<String>),
    /// The path exists with these methods.
    OtherMethods(Vec<&'static str>),
    /// Nothing.
    Nothing,
}

/// Whether a path is this one, and what stands in it for the segment in
/// braces.
fn fits<'a>(pattern: &str, path: &'a str) -> Option<Option<&'a str>> {
    let Some((before, rest)) = pattern.split_once('{') else {
        return (pattern == path).then_some(None);
    };
    let (_, after) = rest.split_once('}')?;
    let segment = path.strip_prefix(before)?.strip_suffix(after)?;
    (!segment.is_empty() && !segment.contains('/')).then_some(Some(segment))
}

/// Finds the endpoint. A HEAD is a GET whose body nobody sends.
#[must_use]
pub fn find(method: &Method, path: &str) -> Found {
    let Some(below) = path.strip_prefix(PREFIX) else {
        return Found::Nothing;
    };
    let asked = if *method == Method::HEAD { "GET" } else { method.as_str() };
    let mut methods = Vec::new();
    for endpoint in &ENDPOINTS {
        let Some(segment) = fits(endpoint.path, below) else { continue };
        if endpoint.method == asked {
            return Found::Endpoint(endpoint, segment.map(str::to_owned));
        }
        methods.push(endpoint.method);
        if endpoint.method == "GET" {
            methods.push("HEAD");
        }
    }
    if methods.is_empty() { Found::Nothing } else { Found::OtherMethods(methods) }
}
