//! Bans by people: what there is, banning, lifting.
//!
//! 1. What is answered is durable in `Control`. Besides, this isolate acts on
//!    it at once, and the `Limiter` objects are told, so that it acts with the
//!    next exact count everywhere. One that cannot be told is named in the log;
//!    the manifest reaches everybody all the same.
//! 2. What is lifted is lifted although `Control` has not heard of it: a trigger
//!    may have banned the client a moment ago.
//! 3. An IPv6 address is banned, and lifted, as the network that counts as one
//!    client.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;

use super::Request;
use super::calls::{Done, read};
use super::problem::{Problem, Refusal};
use super::tokens::Token;
use crate::control::bans::{
    BanList, BanOrder, BansAcknowledgement, BansPage, LONGEST, ORDER_LIMIT, OrderedBan, UnbanOrder,
};
use crate::control::message::{Action, NOTE_LIMIT};
use crate::error::{PlatformError, Problem as Fault};
use crate::platform::Platform;
use crate::policy::units::Span;
use crate::stages::bans::message::{Message, Told};
use crate::stages::bans::{Ban, LEAST_LENGTHS, MANUAL, is_bannable, is_guarded, whole_seconds};
use crate::stages::identity::parse_address;
use crate::stages::ip_filter::prefix::Prefix;
use crate::stages::rate_limit::{SHARDS, shard_of};
use crate::time::{Timestamp, millis_of};

/// The largest body: a thousand bans with their reasons.
const BODY_LIMIT: usize = 1 << 20;

/// How long one `Limiter` object may take, and all of them together.
const TELL_WAIT: Duration = Duration::from_secs(1);
const TELL_ALL_WAIT: Duration = Duration::from_secs(8);

/// The body of `POST /bans`: one ban, or several under `bans`.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct BanRequest {
    /// An address or a prefix of at least /8 (IPv4) or /19 (IPv6). An IPv6
    /// address stands for the network that counts as one client.
    pub network: Option<String>,
    /// How long, 1s to 366d; or `until`.
    pub duration: Option<Span>,
    /// The end, as in RFC 3339; cut to whole seconds.
    pub until: Option<String>,
    /// Why, at most 500 bytes.
    pub reason: Option<String>,
    /// Several, at most 1,000; in place of the others.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 1_000)))]
    pub bans: Option<Vec<OneBan>>,
}

/// One of several bans.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "BanRequestItem"))]
#[serde(deny_unknown_fields, default)]
pub struct OneBan {
    /// An address or a prefix, as above.
    pub network: Option<String>,
    /// How long; or `until`.
    pub duration: Option<Span>,
    /// The end, as in RFC 3339.
    pub until: Option<String>,
    /// Why, at most 500 bytes.
    pub reason: Option<String>,
}

fn fault(path: String, value: &str, expected: &str) -> Fault {
    Fault { path, value: format!("{value:?}"), expected: expected.to_owned() }
}

impl<P: Platform> Request<'_, P> {
    pub(super) async fn bans(&self) -> Done<P> {
        let address = match self.query("address")? {
            None => None,
            Some(text) => match parse_address(&text) {
                Some(address) => Some(address.to_string()),
                None => {
                    let detail = "Expected \"address\" to be an address such as 192.0.2.7.";
                    return Err(Problem::new(Refusal::BadRequest).detail(detail));
                }
            },
        };
        let after = match self.query("after")? {
            None => None,
            Some(text) if text.parse::<Prefix>().is_ok() => Some(text.into_owned()),
            Some(_) => {
                let detail = "Expected \"after\" to be a network such as 192.0.2.7/32.";
                return Err(Problem::new(Refusal::BadRequest).detail(detail));
            }
        };
        let page = BansPage { address, after, limit: self.number("limit")? };
        let list: BanList = self.control(&Action::Bans(page)).await?;
        Ok(Self::json(200, &list))
    }

    pub(super) async fn ban(&self, token: &Token) -> Done<P> {
        let text = self.body(BODY_LIMIT).await?;
        let BanRequest { network, duration, until, reason, bans }: BanRequest = read(&text)?;
        let one = OneBan { network, duration, until, reason };
        let is_one = one.network.is_some();
        let wanted = match bans {
            None => vec![(String::new(), one)],
            Some(bans)
                if !is_one && one.duration.is_none() && one.until.is_none() && one.reason.is_none() =>
            {
                (0..)
                    .zip(bans)
                    .map(|(place, ban): (usize, OneBan)| (format!("bans[{place}]."), ban))
                    .collect()
            }
            Some(_) => {
                return Err(Problem::new(Refusal::InvalidBody)
                    .detail("Expected one ban, or \"bans\" and nothing beside it."));
            }
        };
        if wanted.is_empty() || wanted.len() > ORDER_LIMIT {
            let detail = format!("Expected 1 to {ORDER_LIMIT} bans.");
            return Err(Problem::new(Refusal::InvalidBody).detail(detail));
        }
        let now = self.platform.now();
        let mut faults = Vec::new();
        let mut ordered = Vec::with_capacity(wanted.len());
        let mut made = Vec::with_capacity(wanted.len());
        for (at, ban) in wanted {
            let network = self.network_to_ban(&at, ban.network.as_deref(), &mut faults);
            let until = end_of(&at, &ban, now, &mut faults);
            let reason = ban.reason.unwrap_or_default();
            if reason.len() > NOTE_LIMIT {
                faults.push(fault(format!("{at}reason"), &reason, "expected at most 500 bytes"));
            }
            let (Some(network), Some(until)) = (network, until) else { continue };
            if is_guarded(network, &self.snapshot.gateway.guard) {
                let detail = format!("The guard list holds {network}, or a part of it.");
                return Err(Problem::new(Refusal::Guarded).detail(detail));
            }
            let (network_text, until_ms) = (network.to_string(), until.millis());
            ordered.push(OrderedBan { network: network_text, until: Some(until_ms), duration: None, reason });
            made.push(Ban { network, since: now, until, cause: MANUAL.into(), shadow: false });
        }
        if !faults.is_empty() {
            return Err(Problem::problems(Refusal::InvalidBody, faults));
        }
        let order = BanOrder { bans: ordered, author: token.name.clone(), role: token.role };
        let mut done: BansAcknowledgement = self.control(&Action::Ban(order)).await?;
        let now = self.platform.now();
        for ban in &made {
            self.isolate.hold_ban(ban.clone(), Some(done.generation), now);
        }
        self.tell(made.into_iter().map(|ban| (ban.network, ban)).collect(), Message::Ban).await;
        self.follow(&mut done.sequence, &mut done.state).await;
        Ok(Self::json(200, &done))
    }

    pub(super) async fn unban(&self, token: &Token) -> Done<P> {
        let message = self.query("message")?.unwrap_or_default().into_owned();
        let mut faults = Vec::new();
        let mut networks = Vec::new();
        let mut instead = BTreeMap::new();
        let mut clients = BTreeSet::new();
        for text in self.queries("network")? {
            let Some(client) = self.network_to_ban("", Some(&text), &mut faults) else { continue };
            // What was banned while another length counted as one client can
            // be lifted as the list of bans has it.
            let written = text.parse::<Prefix>().unwrap_or(client).to_string();
            let is_client = self.snapshot.gateway.identity.network(client.address()) == client;
            let client = client.to_string();
            if is_client {
                clients.insert(client.clone());
            }
            if written != client {
                instead.insert(written.clone(), client);
            }
            networks.push(written);
        }
        if !faults.is_empty() || networks.is_empty() || networks.len() > ORDER_LIMIT {
            let detail = format!("Expected 1 to {ORDER_LIMIT} parameters \"network\" such as 192.0.2.7.");
            return Err(Problem::new(Refusal::BadRequest).detail(detail));
        }
        let (author, role) = (token.name.clone(), token.role);
        let order = UnbanOrder { networks, instead, clients, message, author, role };
        let done: BansAcknowledgement = self.control(&Action::Unban(order)).await?;
        let now = self.platform.now();
        let networks: Vec<Prefix> = done.networks.iter().filter_map(|network| network.parse().ok()).collect();
        for network in &networks {
            self.isolate.lift_ban(*network, now);
        }
        self.tell(networks.into_iter().map(|network| (network, (network, now))).collect(), Message::Lift)
            .await;
        self.await_change(done.sequence);
        Ok(Self::json(200, &done))
    }

    /// The network that is meant, where one can be banned.
    fn network_to_ban(&self, at: &str, text: Option<&str>, faults: &mut Vec<Fault>) -> Option<Prefix> {
        let text = text.unwrap_or_default();
        let path = || format!("{at}network");
        let Ok(network) = text.parse::<Prefix>() else {
            let expected = "expected an address or a prefix without host bits such as \"198.51.100.0/24\"";
            faults.push(fault(path(), text, expected));
            return None;
        };
        let client = self.snapshot.gateway.identity.network(network.address());
        // A part of what counts as one client is the client.
        let network = if client.length() < network.length() { client } else { network };
        if !is_bannable(network) {
            let (v4, v6) = LEAST_LENGTHS;
            faults.push(fault(path(), text, &format!("expected at least /{v4} (IPv4) or /{v6} (IPv6)")));
            return None;
        }
        Some(network)
    }

    /// Tells the `Limiter` objects: the one of a client, all of them of a
    /// wider network.
    async fn tell<T: Clone>(&self, list: Vec<(Prefix, T)>, message: impl Fn(Vec<T>) -> Message) {
        let mut by_shard: BTreeMap<u128, Vec<T>> = BTreeMap::new();
        for (network, item) in list {
            let client = self.snapshot.gateway.identity.network(network.address());
            if client.length() <= network.length() {
                by_shard.entry(shard_of(network)).or_default().push(item);
            } else {
                for shard in 0..SHARDS {
                    by_shard.entry(shard).or_default().push(item.clone());
                }
            }
        }
        let begun = self.platform.now();
        let mut failed: Vec<u128> = Vec::new();
        let mut cause = String::new();
        for (shard, list) in by_shard {
            if self.platform.now().since(begun) >= TELL_ALL_WAIT {
                failed.push(shard);
                continue;
            }
            let told = self.platform.tell(shard, &message(list).encode(), TELL_WAIT).await;
            match told.as_deref().map(Told::decode) {
                Ok(Some(_)) => {}
                Ok(None) => failed.push(shard),
                Err(error) => {
                    cause = PlatformError::to_string(error);
                    failed.push(shard);
                }
            }
        }
        if !failed.is_empty() {
            let text = format!("not told of bans: {} of the Limiter objects; {cause}", failed.len());
            *self.failure.borrow_mut() = Some(text);
        }
    }
}

/// The end of a ban in whole seconds.
fn end_of(at: &str, ban: &OneBan, now: Timestamp, faults: &mut Vec<Fault>) -> Option<Timestamp> {
    let until = match (&ban.until, ban.duration) {
        (None, Some(Span(duration))) if (1_000..=millis_of(LONGEST)).contains(&millis_of(duration)) => {
            Some(now.after(duration))
        }
        (None, Some(_)) => {
            faults.push(fault(format!("{at}duration"), "", "expected \"1s\" to \"366d\""));
            return None;
        }
        (Some(text), None) => {
            let until = Timestamp::parse_rfc3339(text)
                .filter(|until| whole_seconds(*until) > now && until.since(now) <= LONGEST);
            if until.is_none() {
                let expected = "expected a time of the next 366 days as in RFC 3339";
                faults.push(fault(format!("{at}until"), text, expected));
            }
            until
        }
        _ => {
            faults.push(fault(format!("{at}duration"), "", "expected either \"duration\" or \"until\""));
            None
        }
    };
    until.map(whole_seconds)
}
