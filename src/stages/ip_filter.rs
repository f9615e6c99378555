//! Stages 3 and 5, ip_filter: may this client speak?
//!
//! 1. Rules that name only prefixes and address sets: of all prefixes that
//!    contain the address, the longest decides; of equally long ones, the one
//!    whose rule stands first.
//! 2. Where none contains it, the other rules in order (country, continent,
//!    ASN, tags, `any`, `not`): the first that holds decides.
//! 3. Where none holds, the default does.
//! 4. A `tag` rule decides nothing and ends nothing: whatever is decided,
//!    every one that holds gives its label, those of 1 before those of 2.
//! 5. Shadow rules are evaluated beside the enforced ones and never change
//!    the verdict: the log shows what would have been decided.
//! 6. While a stored set is not there, the rules that name it name nobody, or
//!    nothing can be decided: `on_failure` says which.

pub mod condition;
pub mod config;
pub mod prefix;
pub mod sets;

use std::net::IpAddr;

use siphasher::sip::SipHasher13;

pub use self::condition::{CONTINENTS, Subject};
use self::condition::{Condition, Parts};
pub use self::config::{Action, AddressSetConfig, DenyAnswerConfig, IpFilterConfig, IpRuleConfig};
use self::config::{RuleAction, SetFailure};
use self::prefix::Prefix;
use self::sets::Found;
pub use self::sets::{ADDRESS_SET_EXPECTED, BoundSets, PolicySets, SetNames, Sets, compile_sets};
use super::Mode;
use crate::addresses::{AddressIndex, Builder, SetId};
use crate::policy::decode::{Problems, Trail};
use crate::policy::units::{HUNDRED_PERCENT, repeated};

/// The most rules of a stage.
const RULES_LIMIT: usize = 10_000;

/// The most labels that one request gets in one stage.
const TAGS_LIMIT: usize = 16;

/// The largest body of a deny answer, in bytes.
const BODY_LIMIT: usize = 16 << 10;

/// The compiled stage.
#[derive(Clone, Debug)]
pub struct IpFilterStage {
    mode: Mode,
    default: Action,
    answer: Option<DenyAnswer>,
    rules: Vec<Rule>,
    /// The rules' own prefixes, each by its rule.
    own: AddressIndex,
    /// Which rule names which inline set, sorted.
    inline: Vec<(SetId, u16)>,
    /// Which rule names which stored set, by its number in the policy, sorted.
    stored: Vec<(u16, u16)>,
    /// The rules that name more than prefixes and sets, in order.
    others: Vec<(u16, Condition)>,
    has_shadow: bool,
    /// Whether any rule names a stored set.
    needs_stored: bool,
}

#[derive(Clone, Debug)]
struct Rule {
    id: String,
    action: RuleAction,
    tag: String,
    mode: Mode,
    /// In hundredths of a percent; all where it is `None`.
    share: Option<u32>,
    answer: Option<DenyAnswer>,
    on_failure: SetFailure,
    /// The stored sets that it names anywhere, by their numbers in the policy.
    stored: Vec<u16>,
}

/// What a denied client gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DenyAnswer {
    /// 403, 404, 429 or 451.
    pub status: u16,
    /// Its body and the type of it; `None` for problem details.
    pub body: Option<(String, String)>,
}

/// What was decided, and by what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpVerdict<'a> {
    /// What happens.
    pub action: Action,
    /// The rule that decided; `None` for the default.
    pub rule: Option<&'a str>,
    /// Its prefix that matched; `None` where it names more than prefixes.
    pub prefix: Option<Prefix>,
    /// The set that the prefix comes from; `None` where the rule names it
    /// itself.
    pub address_set: Option<&'a str>,
    /// What a denied client gets, where that is configured.
    pub answer: Option<&'a DenyAnswer>,
    /// Whether nothing could be decided, since a stored set that `rule` names
    /// is not there.
    pub unavailable: bool,
}

/// A verdict and the labels that were given on the way, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpDecision<'a> {
    /// The verdict.
    pub verdict: IpVerdict<'a>,
    /// The labels, each once.
    pub tags: Vec<&'a str>,
}

impl IpFilterConfig {
    /// Checks and compiles.
    pub fn compile(self, path: &Trail<'_>, names: &SetNames, problems: &mut Problems) -> IpFilterStage {
        let rules_at = path.entry("rules");
        for index in repeated(self.rules.iter().map(|rule| &rule.id)) {
            let id = self.rules.get(index).map(|rule| format!("\"{}\"", rule.id)).unwrap_or_default();
            problems.add(rules_at.item(index).entry("id"), id, "expected an id of its own in the stage");
        }
        if self.rules.len() > RULES_LIMIT {
            let expected = format!("rules; expected at most {RULES_LIMIT}");
            problems.add(rules_at, self.rules.len().to_string(), expected);
        }
        let mut stage = IpFilterStage {
            mode: self.mode,
            default: self.default,
            answer: self.answer.map(|answer| answer.compile(&path.entry("answer"), problems)),
            rules: Vec::with_capacity(self.rules.len()),
            own: AddressIndex::default(),
            inline: Vec::new(),
            stored: Vec::new(),
            others: Vec::new(),
            has_shadow: false,
            needs_stored: false,
        };
        let mut own = Builder::default();
        for (index, rule) in self.rules.into_iter().enumerate().take(RULES_LIMIT) {
            stage.add(rule, &rules_at.item(index), names, &mut own, problems);
        }
        stage.own = own.finish();
        stage.inline.sort_unstable();
        stage.stored.sort_unstable();
        stage.inline.dedup();
        stage.stored.dedup();
        stage
    }
}

impl DenyAnswerConfig {
    /// Checks and compiles.
    pub fn compile(self, path: &Trail<'_>, problems: &mut Problems) -> DenyAnswer {
        let status = self.status.unwrap_or(403);
        if ![403, 404, 429, 451].contains(&status) {
            problems.add(path.entry("status"), status.to_string(), "expected 403, 404, 429 or 451");
        }
        let length = self.body.as_ref().map_or(0, String::len);
        if length > BODY_LIMIT {
            problems.add(
                path.entry("body"),
                length.to_string(),
                format!("bytes; expected at most {BODY_LIMIT}"),
            );
        }
        if let Some(kind) = &self.content_type {
            let is_good = (1..=128).contains(&kind.len())
                && kind.contains('/')
                && kind.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
            if !is_good {
                let expected = "expected a media type such as \"text/html; charset=utf-8\"";
                problems.add(path.entry("content_type"), format!("{kind:?}"), expected);
            } else if self.body.is_none() {
                problems.add(
                    path.entry("content_type"),
                    format!("{kind:?}"),
                    "expected a \"body\" beside it",
                );
            }
        }
        let kind = self.content_type.unwrap_or_else(|| "text/plain; charset=utf-8".to_owned());
        DenyAnswer { status, body: self.body.map(|body| (body, kind)) }
    }
}

impl IpFilterStage {
    fn add(
        &mut self,
        rule: IpRuleConfig,
        at: &Trail<'_>,
        names: &SetNames,
        own: &mut Builder,
        problems: &mut Problems,
    ) {
        let parts = Parts::of(&rule);
        if parts.is_empty() {
            let expected = "expected \"prefixes\" or \"address_sets\", or another condition";
            problems.add(*at, "", expected);
        }
        match (rule.action, &rule.tag) {
            (RuleAction::Tag, None) => problems.add(at.entry("tag"), "", "expected the label to give"),
            (RuleAction::Allow | RuleAction::Deny, Some(tag)) => {
                problems.add(
                    at.entry("tag"),
                    format!("\"{tag}\""),
                    "expected only beside \"action\": \"tag\"",
                );
            }
            _ => {}
        }
        if rule.answer.is_some() && rule.action != RuleAction::Deny {
            problems.add(at.entry("answer"), "{}", "expected only beside \"action\": \"deny\"");
        }
        let place = u16::try_from(self.rules.len()).unwrap_or(u16::MAX);
        // A shadow stage is evaluated as a whole, see the caller of `decide`.
        let mode = if self.mode == Mode::Shadow { rule.mode } else { rule.mode.within(self.mode) };
        let is_off = mode == Mode::Off || self.mode == Mode::Off;
        let mut stored = Vec::new();
        if parts.is_plain() {
            for found in names.all(&rule.address_sets, at, problems) {
                match found {
                    Found::Inline(set) if !is_off => self.inline.push((set, place)),
                    Found::Stored(set) if !is_off => {
                        self.stored.push((set, place));
                        stored.push(set);
                    }
                    _ => {}
                }
            }
            if !is_off {
                rule.prefixes.iter().for_each(|prefix| own.push(*prefix, SetId(place)));
            }
        } else {
            let condition = Condition::compile(&parts, at, names, problems);
            condition.stored_sets(&mut stored);
            if !is_off {
                self.others.push((place, condition));
            }
        }
        let answer = rule.answer.map(|answer| answer.compile(&at.entry("answer"), problems));
        if is_off {
            return;
        }
        self.has_shadow |= mode == Mode::Shadow;
        self.needs_stored |= !stored.is_empty();
        self.rules.push(Rule {
            id: rule.id.0,
            action: rule.action,
            tag: rule.tag.map(|tag| tag.0).unwrap_or_default(),
            mode,
            share: rule.percent.map(|percent| percent.0).filter(|share| *share < HUNDRED_PERCENT),
            answer,
            on_failure: rule.on_failure,
            stored,
        });
    }

    /// The mode of the whole stage.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether a rule reads where the client is.
    #[must_use]
    pub fn reads_metadata(&self) -> bool {
        self.others.iter().any(|(_, condition)| condition.reads_metadata())
    }

    /// Whether a rule names a stored set.
    #[must_use]
    pub const fn needs_stored(&self) -> bool {
        self.needs_stored
    }

    /// Whether a rule is there for a share of the clients only.
    #[must_use]
    pub fn has_shares(&self) -> bool {
        self.rules.iter().any(|rule| rule.share.is_some())
    }

    /// Decides.
    #[must_use]
    pub fn decide<'a>(&'a self, subject: &Subject<'_>, sets: &Sets<'a>) -> IpDecision<'a> {
        self.judge(subject, sets, false)
    }

    /// What would be decided if the shadow rules were enforced; `None` where
    /// there is no shadow rule.
    #[must_use]
    pub fn decide_with_shadow<'a>(
        &'a self,
        subject: &Subject<'_>,
        sets: &Sets<'a>,
    ) -> Option<IpDecision<'a>> {
        self.has_shadow.then(|| self.judge(subject, sets, true))
    }

    fn judge<'a>(&'a self, subject: &Subject<'_>, sets: &Sets<'a>, with_shadow: bool) -> IpDecision<'a> {
        let mut search = Search { stage: self, subject, with_shadow, best: None, tags: Vec::new() };
        let address = subject.address;
        for hit in self.own.find(address) {
            search.consider(hit.set.0, hit.prefix, None);
        }
        if !self.inline.is_empty() {
            for hit in sets.inline.find(address) {
                for (_, rule) in naming(&self.inline, hit.set) {
                    let name = sets.names.inline.get(usize::from(hit.set.0)).map(String::as_str);
                    search.consider(*rule, hit.prefix, name);
                }
            }
        }
        if !self.stored.is_empty() {
            for (prefix, set) in sets.stored(address) {
                for (_, rule) in naming(&self.stored, set) {
                    let name = sets.names.stored.get(usize::from(set)).map(String::as_str);
                    search.consider(*rule, prefix, name);
                }
            }
        }
        let mut decided = search.best.take().map(|best| (best.rule, Some(best.prefix), best.address_set));
        for (place, condition) in &self.others {
            let Some(rule) = search.rule(*place) else { continue };
            let decides = rule.action != RuleAction::Tag;
            if (decides && decided.is_some()) || !condition.holds(subject, &search.tags, sets) {
                continue;
            }
            if decides {
                decided = Some((*place, None, None));
            } else {
                search.give(&rule.tag);
            }
        }
        let verdict = match self.missing(sets, with_shadow) {
            Some(rule) => IpVerdict {
                action: Action::Deny,
                rule: Some(&rule.id),
                prefix: None,
                address_set: None,
                answer: None,
                unavailable: true,
            },
            None => self.verdict(decided),
        };
        IpDecision { verdict, tags: search.tags }
    }

    /// The first rule that cannot be judged without a set that is not there.
    fn missing(&self, sets: &Sets<'_>, with_shadow: bool) -> Option<&Rule> {
        if !self.needs_stored {
            return None;
        }
        self.rules.iter().find(|rule| {
            rule.on_failure == SetFailure::Closed
                && rule.action != RuleAction::Tag
                && (with_shadow || rule.mode == Mode::Enforce)
                && rule.stored.iter().any(|set| !sets.has_stored(*set))
        })
    }

    fn verdict<'a>(&'a self, decided: Option<(u16, Option<Prefix>, Option<&'a str>)>) -> IpVerdict<'a> {
        let found = decided.and_then(|(place, prefix, address_set)| {
            Some((self.rules.get(usize::from(place))?, prefix, address_set))
        });
        let (action, rule, prefix, address_set) = match found {
            Some((rule, prefix, address_set)) => {
                let action = if rule.action == RuleAction::Deny { Action::Deny } else { Action::Allow };
                (action, Some(rule), prefix, address_set)
            }
            None => (self.default, None, None, None),
        };
        IpVerdict {
            action,
            rule: rule.map(|rule| rule.id.as_str()),
            prefix,
            address_set,
            answer: rule.and_then(|rule| rule.answer.as_ref()).or(self.answer.as_ref()),
            unavailable: false,
        }
    }

    /// The addresses of a prefix at which a verdict can change, the first
    /// among them; `None` where there are more than `most`.
    #[must_use]
    pub fn changes_within(&self, prefix: Prefix, sets: &Sets<'_>, most: usize) -> Option<Vec<IpAddr>> {
        let mut changes = vec![prefix.address()];
        let mut visit = |index: &AddressIndex| {
            for hit in index.inside(prefix) {
                if changes.len() > most {
                    return;
                }
                changes.push(hit.prefix.address());
                changes.extend(hit.prefix.after().filter(|next| prefix.contains(*next)));
            }
        };
        visit(&self.own);
        if !self.inline.is_empty() || !self.others.is_empty() {
            visit(sets.inline);
        }
        if self.needs_stored
            && let Some(bound) = sets.stored
        {
            visit(&bound.sets.index);
        }
        for (_, condition) in &self.others {
            condition.own_prefixes(&mut visit);
        }
        changes.sort_unstable();
        changes.dedup();
        (changes.len() <= most).then_some(changes)
    }
}

/// The pairs of a sorted list that begin with this.
fn naming<T: Ord + Copy>(pairs: &[(T, u16)], set: T) -> &[(T, u16)] {
    let from = pairs.partition_point(|(other, _)| *other < set);
    let to = pairs.partition_point(|(other, _)| *other <= set);
    pairs.get(from..to).unwrap_or_default()
}

struct Best<'a> {
    rule: u16,
    prefix: Prefix,
    address_set: Option<&'a str>,
}

/// A search among the rules of a stage.
struct Search<'a, 's> {
    stage: &'a IpFilterStage,
    subject: &'s Subject<'s>,
    with_shadow: bool,
    best: Option<Best<'a>>,
    tags: Vec<&'a str>,
}

impl<'a> Search<'a, '_> {
    /// The rule, if it is there for this client.
    fn rule(&self, place: u16) -> Option<&'a Rule> {
        let stage: &'a IpFilterStage = self.stage;
        let rule = stage.rules.get(usize::from(place))?;
        let is_judged = self.with_shadow || rule.mode == Mode::Enforce;
        (is_judged && rule.share.is_none_or(|share| is_within(share, &rule.id, self.subject.network)))
            .then_some(rule)
    }

    fn consider(&mut self, place: u16, prefix: Prefix, address_set: Option<&'a str>) {
        let Some(rule) = self.rule(place) else { return };
        if rule.action == RuleAction::Tag {
            return self.give(&rule.tag);
        }
        let key = |length: u8, rule: u16| (std::cmp::Reverse(length), rule);
        let is_better = self
            .best
            .as_ref()
            .is_none_or(|best| key(prefix.length(), place) < key(best.prefix.length(), best.rule));
        if is_better {
            self.best = Some(Best { rule: place, prefix, address_set });
        }
    }

    fn give(&mut self, tag: &'a str) {
        if self.tags.len() < TAGS_LIMIT && !self.tags.contains(&tag) {
            self.tags.push(tag);
        }
    }
}

/// Whether a client is in the share of a rule. By rule, so that the shares of
/// two rules are not the same clients; a greater share holds the smaller one.
fn is_within(share: u32, rule: &str, network: Prefix) -> bool {
    use std::hash::Hasher as _;
    let mut hasher = SipHasher13::new_with_keys(0x6970_5f66_696c_7465, 0x7065_7263_656e_7431);
    hasher.write(rule.as_bytes());
    hasher.write_u8(0xff);
    match network.address() {
        IpAddr::V4(v4) => hasher.write(&v4.octets()),
        IpAddr::V6(v6) => hasher.write(&v6.octets()),
    }
    hasher.finish().checked_rem(u64::from(HUNDRED_PERCENT)).unwrap_or_default() < u64::from(share)
}
