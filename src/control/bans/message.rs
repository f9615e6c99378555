//! What the `Control` object is told and asked about bans, and what it answers.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::control::answer::PublicationState;
use crate::control::message::{Action, Role, encode_request};
use crate::stages::bans::limiter::Unreported;

/// A ban of a person's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderedBan {
    /// The network.
    pub network: String,
    /// Its end, in milliseconds since 1970; or `duration`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
    /// How long it is, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<u64>,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// `ban`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BanOrder {
    /// At most [`super::ORDER_LIMIT`].
    pub bans: Vec<OrderedBan>,
    /// Who.
    pub author: String,
    /// What the author may do.
    pub role: Role,
}

/// `unban`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnbanOrder {
    /// Exactly these; at most [`super::ORDER_LIMIT`].
    pub networks: Vec<String>,
    /// What is lifted in the place of one of these that is not banned: the
    /// network that counts as one client.
    #[serde(default)]
    pub instead: BTreeMap<String, String>,
    /// Those that count as one client: a trigger may have banned one of these
    /// a moment ago, and nobody have said so here yet. That one is not banned
    /// is then no reason to refuse; it is remembered as lifted.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub clients: BTreeSet<String>,
    /// Why.
    #[serde(default)]
    pub message: String,
    /// Who.
    pub author: String,
    /// What the author may do.
    pub role: Role,
}

/// `bans`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BansPage {
    /// Only those that hold this address.
    #[serde(default)]
    pub address: Option<String>,
    /// Only those behind this network.
    #[serde(default)]
    pub after: Option<String>,
    /// At most so many, 1 to [`crate::control::message::PAGE_LIMIT`]; what lies outside is clipped.
    #[serde(default)]
    pub limit: Option<u64>,
}

/// A ban of a trigger's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportedBan {
    /// The network.
    pub network: String,
    /// When it was made, in milliseconds since 1970.
    pub since: u64,
    /// Its end.
    pub until: u64,
    /// The trigger.
    pub cause: String,
    /// How many the trigger has made in a row.
    pub count: u32,
}

/// `report-bans`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BansReport {
    /// At most [`crate::stages::bans::limiter::BATCH_LIMIT`].
    pub bans: Vec<ReportedBan>,
}

/// The answer to `report-bans`: the others are taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BansTaken {
    /// The networks that are not banned: guarded, or lifted since.
    pub dropped: Vec<String>,
}

/// The answer to `ban` and `unban`: they are durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BansAcknowledgement {
    /// The generation of the bans that has the change.
    pub generation: u64,
    /// The sequence of the publication that carries it; 0 where there is no
    /// policy to publish yet.
    pub sequence: u64,
    /// Whether the policy store has it.
    pub state: PublicationState,
    /// The networks, as they are banned or were.
    pub networks: Vec<String>,
    /// Those of them of which no ban was known. Where a trigger banned one just
    /// now, that ban is lifted, too: what is reported of it within ten minutes
    /// and was made before does not act.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unheard: Vec<String>,
}

/// A ban in the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Ban"))]
pub struct ListedBan {
    /// The network.
    pub network: String,
    /// Its end, as in RFC 3339.
    pub until: String,
    /// When it was made.
    pub since: String,
    /// Why.
    pub reason: String,
    /// Who made it: the name of a person, or `trigger` and its id.
    pub by: String,
    /// Triggers: how many bans in a row it has made, this one among them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
}

/// The answer to `bans`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BanList {
    /// IPv4 first, then by address and length.
    pub bans: Vec<ListedBan>,
    /// Whether there are more behind the last one.
    pub more: bool,
    /// How many bans there are in all.
    pub total: usize,
}

/// The text of a message that reports bans.
#[must_use]
pub fn report_of(batch: &[Unreported]) -> String {
    let bans = batch.iter().map(|Unreported { ban, count }| ReportedBan {
        network: ban.network.to_string(),
        since: ban.since.millis(),
        until: ban.until.millis(),
        cause: ban.cause.to_string(),
        count: *count,
    });
    encode_request(&Action::ReportBans(BansReport { bans: bans.collect() }))
}
