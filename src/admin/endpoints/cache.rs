//! Stored answers: purges, looks and warming.

use super::{Call, Endpoint, Kind, LIMIT, PLAIN, Parameter, parameter};
use crate::admin::problem::Refusal;
use crate::control::message::Role;

/// The endpoints of stored answers.
pub(super) const ENDPOINTS: [Endpoint; 4] = [
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
];
