//! Counters of limits.

use super::{Call, Endpoint, LIMIT, PLAIN, Parameter};
use crate::admin::problem::Refusal;
use crate::control::message::Role;

/// The endpoints of counters.
pub(super) const ENDPOINTS: [Endpoint; 3] = [
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
