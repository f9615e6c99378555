//! Address sets, and what is known of an address.

use super::{Call, Endpoint, Kind, LIST, MESSAGE, PLAIN, Parameter, parameter};
use crate::admin::problem::Refusal;
use crate::control::message::Role;
use crate::feeds::FormatName;

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

/// The endpoints of address sets.
pub(super) const ENDPOINTS: [Endpoint; 6] = [
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
];
