//! Bans.

use super::{Call, Endpoint, Kind, LIMIT, MESSAGE, PLAIN, Parameter};
use crate::admin::problem::Refusal;
use crate::control::message::Role;

/// The endpoints of bans.
pub(super) const ENDPOINTS: [Endpoint; 3] = [
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
];
