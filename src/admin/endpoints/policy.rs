//! The policy: documents, revisions, what they do, and how everything is.

use super::{Call, Endpoint, Kind, LIMIT, MESSAGE, PLAIN, Parameter, Precondition};
use crate::admin::problem::Refusal;
use crate::control::message::Role;

const fn revision(name: &'static str, required: bool, description: &'static str) -> Parameter {
    Parameter { name, description, kind: Kind::Revision, required }
}

/// The endpoints of the policy.
pub(super) const ENDPOINTS: [Endpoint; 13] = [
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
];
