//! Lifting bans, those among them that are not known yet.

use std::collections::BTreeSet;

use super::{BansAcknowledgement, Known, ListedBan, ORDER_LIMIT, UNHEARD, UnbanOrder};
use crate::control::answer::{AuditEntry, AuditOutcome, Refusal, Refused};
use crate::control::message::{NAME_LIMIT, NOTE_LIMIT};
use crate::control::plane::{Plane, may_change};
use crate::error::{PlatformError, clip};
use crate::platform::{BanKind, ControlStore, Write};
use crate::stages::bans::set::LIFTED_LIMIT;
use crate::stages::bans::{MANUAL, is_bannable, parse_network, whole_seconds};
use crate::stages::ip_filter::prefix::Prefix;
use crate::time::Timestamp;

impl<S: ControlStore> Plane<'_, S> {
    pub(in crate::control) fn unban(
        &mut self,
        order: UnbanOrder,
    ) -> Result<Result<BansAcknowledgement, Refused>, PlatformError> {
        let UnbanOrder { networks, instead, clients, message, author, role } = order;
        let action = |plane: &Self, network: Option<&str>| AuditEntry {
            author: clip(&author, NAME_LIMIT).to_owned(),
            role: Some(role),
            action: "unban".to_owned(),
            network: network.map(|network| clip(network, NAME_LIMIT).to_owned()),
            message: clip(&message, NOTE_LIMIT).to_owned(),
            ..plane.entry()
        };
        let mut lifted: Vec<(Prefix, Option<Known>)> = Vec::with_capacity(networks.len());
        let mut refused = None;
        if !may_change(role) {
            refused = Some((None, Refused::new(Refusal::NeedsOperator)));
        } else if networks.is_empty() || networks.len() > ORDER_LIMIT {
            let detail = format!("expected 1 to {ORDER_LIMIT} networks");
            refused = Some((None, Refused::new(Refusal::Malformed).detail(detail)));
        }
        for text in networks.iter().take(ORDER_LIMIT) {
            let other = instead.get(text);
            let mut found = self.banned(text)?;
            if let (None, Some(other)) = (&found, other) {
                found = self.banned(other)?;
            }
            let text = if found.is_some() { text } else { other.unwrap_or(text) };
            let found = match found {
                Some((network, known)) => Ok((network, Some(known))),
                None => self.unheard(text, &clients)?.map(|network| (network, None)),
            };
            match found {
                // Two addresses of one client are one ban.
                Ok((network, _)) if lifted.iter().any(|(other, _)| *other == network) => {}
                Ok(found) => lifted.push(found),
                Err(detail) if refused.is_none() => {
                    refused = Some((Some(text.as_str()), Refused::new(Refusal::NoSuchBan).detail(detail)));
                }
                Err(_) => {}
            }
        }
        if let Some((network, refused)) = refused {
            let entry = action(self, network);
            self.note_outcome(entry, Some(&refused));
            return Ok(Err(refused));
        }
        self.writes.push(Write::SweepBans(self.now));
        let most = LIFTED_LIMIT.saturating_sub(lifted.len());
        let over = self.store.ban_count(BanKind::Lifted, self.now)?.saturating_sub(most);
        for line in self.store.first_bans(BanKind::Lifted, self.now, over)? {
            let key = line.split_once(' ').map_or(line.as_str(), |(key, _)| key);
            self.writes.push(Write::ForgetBan(key.to_owned()));
        }
        let mut networks = Vec::with_capacity(lifted.len());
        let mut unheard = Vec::new();
        for (network, known) in lifted {
            let text = network.to_string();
            let until = known.as_ref().map(|known| known.listed.until.clone());
            let known = match known {
                Some(known) => Known { lifted_ms: Some(self.now.millis()), ..known },
                None => {
                    unheard.push(text.clone());
                    self.let_go(network, &author)?
                }
            };
            self.writes.push(known.write(network));
            let entry = action(self, Some(&text));
            self.add_audit(AuditEntry { outcome: AuditOutcome::Accepted, until, ..entry });
            networks.push(text);
        }
        Ok(Ok(BansAcknowledgement { unheard, ..self.collect_now(networks) }))
    }

    /// The client that a trigger may have banned without anybody having said
    /// so here yet; or why there can be none.
    fn unheard(
        &self,
        text: &str,
        clients: &BTreeSet<String>,
    ) -> Result<Result<Prefix, String>, PlatformError> {
        let shown = clip(text, 64);
        let network = parse_network(text).filter(|network| is_bannable(*network));
        let is_damaged = match network {
            Some(network) => self.stored_ban(network)?.is_some_and(|known| known.is_err()),
            None => false,
        };
        let Some(network) = network.filter(|_| is_damaged || clients.contains(text)) else {
            return Ok(Err(format!("{shown} is not banned; a ban is lifted as it was made")));
        };
        // What a wider ban holds would be banned still.
        for length in 0..network.length() {
            let wider = Prefix::containing(network.address(), length).filter(|wider| is_bannable(*wider));
            if let Some(wider) = wider
                && self.known(wider)?.is_some_and(|known| known.holds(self.now))
            {
                return Ok(Err(format!(
                    "{shown} is not banned by itself, but as a part of {wider}; a ban is lifted as it was made"
                )));
            }
        }
        Ok(Ok(network))
    }

    /// What is remembered of a client that was let go of which no ban was
    /// known.
    fn let_go(&self, network: Prefix, author: &str) -> Result<Known, PlatformError> {
        // What was lifted before is remembered for as long as it was.
        let before = self.known(network)?.filter(|known| known.lifted_ms.is_some());
        let least = whole_seconds(self.now.after(UNHEARD)).millis();
        let until_ms = before.map_or(least, |before| before.until_ms.max(least));
        let listed = ListedBan {
            network: network.to_string(),
            until: Timestamp::from_millis(until_ms).to_string(),
            since: self.now.to_string(),
            reason: String::new(),
            by: clip(author, NAME_LIMIT).to_owned(),
            count: None,
        };
        let now = self.now.millis();
        Ok(Known { listed, cause: MANUAL.to_owned(), since_ms: now, until_ms, lifted_ms: Some(now) })
    }

    /// The ban of exactly that network.
    fn banned(&self, text: &str) -> Result<Option<(Prefix, Known)>, PlatformError> {
        let Some(network) = parse_network(text) else { return Ok(None) };
        let known = self.known(network)?.filter(|known| known.holds(self.now));
        Ok(known.map(|known| (network, known)))
    }
}
