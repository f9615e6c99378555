//! `/address/{ip}`: every list that contains an address, and what decides
//! about it.

use std::net::IpAddr;

use serde::Serialize;

use super::Request;
use super::calls::Done;
use super::problem::{Problem, Refusal};
use super::sets::time_of;
use crate::addresses::StoredSets;
use crate::control::bans::{BanList, BansPage, ListedBan};
use crate::control::change_sets::present_sets;
use crate::control::message::Action;
use crate::control::sets::SetsStatus;
use crate::error::printable;
use crate::exchange::RequestMetadata;
use crate::platform::Platform;
use crate::policy::Gateway;
use crate::stages::Mode;
use crate::stages::identity::parse_address;
use crate::stages::ip_filter;
use crate::stages::ip_filter::{BoundSets, IpDecision, IpFilterStage, IpVerdict, Sets, Subject};

/// The most decisions that are told: the entry stages, and those of routes.
const DECISIONS_LIMIT: usize = 100;

/// What is known of an address.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AddressReport {
    /// The address, IPv4 where it is IPv4 in disguise.
    pub address: String,
    /// The network that counts as one client.
    pub network: String,
    /// The policy that was asked.
    pub revision: String,
    /// The generation of the stored sets.
    pub generation: u64,
    /// The prefix of the guard list that holds it: nothing refuses it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guarded_by: Option<String>,
    /// Every prefix of every set that contains it: the policy's own sets
    /// first, then the stored ones; each longest first.
    pub sets: Vec<ContainingSet>,
    /// The bans that hold it, as the control plane has them.
    pub bans: Vec<ListedBan>,
    /// What each stage decides that looks at addresses, as far as the address
    /// alone tells: nothing is known of its country or network operator. At
    /// most 100.
    pub decisions: Vec<AddressDecision>,
}

/// A set that contains the address.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ContainingSet {
    /// Its name.
    pub name: String,
    /// Whether it is stored beside the policy.
    pub stored: bool,
    /// The prefix, as the list has it.
    pub prefix: String,
    /// Stored sets: when this list came in, as in RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Stored sets: where it came from, the URL of a feed or `import`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// What a stage decides about the address.
#[derive(Clone, Debug, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AddressDecision {
    /// The stage; entry stages have `entry.` in front.
    pub stage: &'static str,
    /// The route, where it is one's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// `allow`, `deny`, or `unavailable` where a stored set is not there.
    pub action: &'static str,
    /// What decided: `guard_list`, `ban`, `rule` or `default`.
    pub because: &'static str,
    /// The rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The prefix that matched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// The set that the prefix comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address_set: Option<String>,
    /// The labels that rules give.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Evaluated, and not acted on: the whole stage is in shadow, or this is
    /// what its shadow rules would change.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub shadow: bool,
}

impl<P: Platform> Request<'_, P> {
    pub(super) async fn address(&self, text: &str) -> Done<P> {
        let Some(address) = parse_address(text) else {
            let detail = "Expected an address such as 192.0.2.7 or 2001:db8::7 at the end of the path.";
            return Err(Problem::new(Refusal::BadRequest).detail(detail));
        };
        let status: SetsStatus = self.control(&Action::Sets).await?;
        let known = self.snapshot.stored.as_ref().map(|bound| &bound.sets);
        let stored = present_sets(self.platform, &status, known).await;
        let stored = stored.map_err(|error| Problem::unavailable(&error))?;
        let page = BansPage { address: Some(address.to_string()), ..BansPage::default() };
        let bans: BanList = self.control(&Action::Bans(page)).await?;
        let gateway = &self.snapshot.gateway;
        let bound = BoundSets::new(stored.clone(), &gateway.sets);
        let mut report = AddressReport {
            address: address.to_string(),
            network: gateway.identity.network(address).to_string(),
            revision: self.snapshot.revision.clone(),
            generation: stored.generation,
            guarded_by: gateway.guard.longest(address).map(|hit| hit.prefix.to_string()),
            sets: containing(gateway, &stored, address),
            bans: bans.bans,
            decisions: self.ban_decision(address),
        };
        report.decisions.extend(decisions(gateway, &Sets::new(&gateway.sets, Some(&bound)), address));
        Ok(if self.wants_text() { Self::plain(report.text()) } else { Self::json(200, &report) })
    }
}

impl<P: Platform> Request<'_, P> {
    /// What this isolate does about bans of the address, where it knows any.
    fn ban_decision(&self, address: IpAddr) -> Vec<AddressDecision> {
        let gateway = &self.snapshot.gateway;
        let now = self.platform.now();
        let set = self.snapshot.bans.as_deref();
        let found = self.isolate.ban(&gateway.bans, set, address, now);
        let guard = gateway.guard.longest(address).map(|hit| hit.prefix.to_string());
        let decision = found.map(|found| AddressDecision {
            stage: "entry.bans",
            action: if guard.is_some() { "allow" } else { "deny" },
            because: if guard.is_some() { "guard_list" } else { "ban" },
            rule: Some(found.cause.to_string()),
            prefix: Some(guard.unwrap_or_else(|| found.prefix.to_string())),
            shadow: found.shadow,
            ..AddressDecision::default()
        });
        decision.into_iter().collect()
    }
}

fn containing(gateway: &Gateway, stored: &StoredSets, address: IpAddr) -> Vec<ContainingSet> {
    let inline = gateway.sets.index.find(address).filter_map(|hit| {
        let name = gateway.sets.inline.get(usize::from(hit.set.0))?.clone();
        Some(ContainingSet { name, stored: false, prefix: hit.prefix.to_string(), since: None, source: None })
    });
    let stored = stored.holding(address).map(|(set, prefix)| ContainingSet {
        name: set.name.clone(),
        stored: true,
        prefix: prefix.to_string(),
        since: Some(time_of(set.since)),
        source: Some(set.source.clone()),
    });
    inline.chain(stored).collect()
}

/// The decisions in the order of the journey. Labels that an entry rule gives
/// count for the routes' rules.
fn decisions(gateway: &Gateway, sets: &Sets<'_>, address: IpAddr) -> Vec<AddressDecision> {
    let guard = gateway.guard.longest(address).map(|hit| hit.prefix.to_string());
    let network = gateway.identity.network(address);
    let decide = |stage: &'static str, route: Option<&str>, filter: &IpFilterStage, given: &[String]| {
        let subject = Subject { address, network, metadata: RequestMetadata::default(), tags: given };
        let IpDecision { verdict, tags } = filter.decide(&subject, sets);
        let decision = |verdict: IpVerdict<'_>, tags: Vec<&str>, shadow: bool| {
            let refuses = verdict.unavailable || verdict.action == ip_filter::Action::Deny;
            let guarded = guard.clone().filter(|_| refuses);
            AddressDecision {
                stage,
                route: route.map(str::to_owned),
                action: match (&guarded, verdict.unavailable) {
                    (Some(_), _) => "allow",
                    (None, true) => "unavailable",
                    (None, false) => verdict.action.as_str(),
                },
                because: match (&guarded, verdict.rule) {
                    (Some(_), _) => "guard_list",
                    (None, Some(_)) => "rule",
                    (None, None) => "default",
                },
                rule: verdict.rule.map(str::to_owned),
                prefix: guarded.or_else(|| verdict.prefix.map(|prefix| prefix.to_string())),
                address_set: verdict.address_set.map(str::to_owned),
                tags: tags.into_iter().map(str::to_owned).collect(),
                shadow,
            }
        };
        // What the shadow rules would change stands behind what is done.
        let would = filter.decide_with_shadow(&subject, sets).filter(|would| would.verdict != verdict);
        let done = decision(verdict, tags, filter.mode() == Mode::Shadow);
        [Some(done), would.map(|would| decision(would.verdict, would.tags, true))]
    };
    let is_on = |filter: &&IpFilterStage| filter.mode() != Mode::Off;
    let entry = gateway.entry_ip_filter.as_ref().filter(is_on);
    let entry = entry.map(|filter| decide("entry.ip_filter", None, filter, &[])).into_iter().flatten();
    let entry: Vec<AddressDecision> = entry.flatten().collect();
    let given: Vec<String> =
        entry.iter().filter(|entry| !entry.shadow).flat_map(|entry| entry.tags.clone()).collect();
    let routes = gateway.routes.iter().filter_map(|route| {
        let filter = route.ip_filter.as_ref().filter(is_on)?;
        Some(decide("ip_filter", Some(&route.id), filter, &given))
    });
    entry.into_iter().chain(routes.flatten().flatten()).take(DECISIONS_LIMIT).collect()
}

impl AddressReport {
    /// For people: the lists first, then a line a decision.
    #[must_use]
    pub fn text(&self) -> String {
        let mut lines = vec![format!(
            "{}, counted as {}, by policy {} and address sets of generation {}",
            self.address, self.network, self.revision, self.generation
        )];
        if let Some(prefix) = &self.guarded_by {
            lines.push(format!("  on the guard list by {prefix}: nothing refuses it"));
        }
        for set in &self.sets {
            let origin = match (&set.since, &set.source) {
                (Some(since), Some(source)) => format!(", since {since} from {source}"),
                _ => ", written in the policy".to_owned(),
            };
            lines.push(format!("  in set {} by {}{origin}", set.name, set.prefix));
        }
        if self.sets.is_empty() {
            lines.push("  in no set".to_owned());
        }
        for ban in &self.bans {
            lines.push(format!(
                "  banned as {} until {} by {}: {}",
                ban.network, ban.until, ban.by, ban.reason
            ));
        }
        for decision in &self.decisions {
            let place = decision.route.as_ref().map(|route| format!(" of route {route}")).unwrap_or_default();
            let by = match (&decision.rule, decision.because) {
                (_, "guard_list") => "the guard list".to_owned(),
                (Some(cause), "ban") => format!("the ban of {cause}"),
                (Some(rule), _) => format!("rule {rule}"),
                (None, _) => "the default".to_owned(),
            };
            let set = decision.address_set.as_ref().map(|set| format!(" of set {set}")).unwrap_or_default();
            let prefix =
                decision.prefix.as_ref().map(|prefix| format!(", {prefix}{set}")).unwrap_or_default();
            let shadow = if decision.shadow { " (shadow)" } else { "" };
            lines.push(format!("  {}{place}: {}{shadow} by {by}{prefix}", decision.stage, decision.action));
        }
        printable(&lines)
    }
}
