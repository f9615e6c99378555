//! From `rate_limit` in the policy to the compiled stage.

use std::time::Duration;

use super::algorithm::{Algorithm, Quota};
use super::answer::Refusal;
use super::config::{CostConfig, Counting, KeyPart, LimitRuleConfig, OnFailure, RateLimitConfig};
use super::{Cost, LimitRule, RateLimitStage};
use crate::policy::decode::{Problems, Trail};
use crate::policy::units::{Name, repeated};
use crate::stages::Mode;
use crate::stages::route::parameters;
use crate::text::push_decimal;

/// The most of a quota.
const MOST: u32 = 1_000_000_000;

/// The most that a request costs.
const COST_LIMIT: u32 = 1_000_000;

/// The most statuses that a rule names.
const STATUSES_LIMIT: usize = 32;

/// Where a stage stands.
#[derive(Clone, Copy, Debug)]
pub enum Place<'a> {
    /// At the top, for every request: before the route is known.
    Entry,
    /// In `defaults`, for routes that are not known yet.
    Defaults,
    /// In a route of that id and path.
    Route(&'a str, Option<&'a str>),
}

impl RateLimitConfig {
    /// Checks and compiles.
    pub fn compile(self, path: &Trail<'_>, place: Place<'_>, problems: &mut Problems) -> RateLimitStage {
        let rules_at = path.entry("rules");
        for index in repeated(self.rules.iter().map(|rule| &rule.id)) {
            let id = self.rules.get(index).map(|rule| format!("\"{}\"", rule.id)).unwrap_or_default();
            problems.add(rules_at.item(index).entry("id"), id, "expected an id of its own in the stage");
        }
        let mut rules = Vec::with_capacity(self.rules.len());
        for (index, rule) in self.rules.into_iter().enumerate() {
            let at = rules_at.item(index);
            let compiled = rule.compile(&at, place, self.mode, self.on_failure, problems);
            if compiled.mode != Mode::Off {
                rules.push(compiled);
            }
        }
        RateLimitStage { rules }
    }
}

impl LimitRuleConfig {
    fn compile(
        self,
        at: &Trail<'_>,
        place: Place<'_>,
        stage: Mode,
        on_failure: Option<OnFailure>,
        problems: &mut Problems,
    ) -> LimitRule {
        use Part::{Number, Str};
        let scope = if let Place::Route(id, _) = place { id } else { "" };
        let parameters = match place {
            Place::Route(_, path) if self.key.iter().any(|part| matches!(part, KeyPart::Path(_))) => {
                parameters(path.unwrap_or("/*"))
            }
            _ => Vec::new(),
        };
        self.check_numbers(at, problems);
        self.check_key(at, place, &parameters, problems);
        self.check_counting(at, problems);
        let window = crate::time::millis_of(self.window.0);
        let deadline = self.deadline.map_or(Duration::from_millis(250), |span| span.0);
        let burst = self.burst.unwrap_or(self.max);
        let burst = if self.algorithm == Algorithm::Gcra { burst } else { self.max };
        let cost = match self.cost {
            Some(cost) => cost.compile(&at.entry("cost"), burst, problems),
            None => Cost { default: 1, methods: Vec::new(), field: None },
        };
        let charges = self.cost_header.is_some() || self.penalty > 0;
        let debt = if charges { self.max_debt.unwrap_or(burst) } else { 0 };
        let names = |tags: Vec<Name>| tags.into_iter().map(|tag| tag.0).collect();
        LimitRule {
            mode: self.mode.within(stage),
            quota: Quota::of(self.algorithm, self.max, self.window.0, burst).with_debt(debt),
            counting: self.counting,
            binding: self.binding.map(|name| name.0).unwrap_or_default(),
            deadline,
            on_failure: self.on_failure.or(on_failure).unwrap_or_default(),
            tags: names(self.tags),
            exempt_tags: names(self.exempt_tags),
            count_status: self.count_status,
            count_misses_only: self.count_misses_only,
            cost_header: self.cost_header.map(|name| name.0),
            penalty: self.penalty,
            trips: 0,
            // Names hold no slash, so no two rules share a scope.
            scope: text(&[
                Str(scope),
                Str("/"),
                Str(self.id.as_str()),
                Str("/"),
                Str(self.algorithm.as_str()),
                Str("/"),
                Number(window),
            ]),
            route: scope.to_owned(),
            key: self.key,
            on_missing: self.on_missing,
            ipv6_prefix: self.ipv6_prefix,
            parameters,
            cost,
            policy_field: text(&[
                Str("\""),
                Str(self.id.as_str()),
                Str("\";q="),
                Number(self.max.into()),
                Str(";w="),
                Number(window.div_ceil(1_000)),
            ]),
            refusal: Refusal {
                status: self.status.filter(|status| *status != 429),
                message: self.message,
                x_ratelimit: self.x_ratelimit,
            },
            id: self.id.0,
        }
    }

    fn check_numbers(&self, at: &Trail<'_>, problems: &mut Problems) {
        let mut within = |name: &str, value: u64, least: u64, most: u64, expected: &str| {
            if !(least..=most).contains(&value) {
                problems.add(at.entry(name), value.to_string(), expected);
            }
        };
        let quota = "expected a number from 1 to 1000000000";
        within("max", self.max.into(), 1, MOST.into(), quota);
        within("burst", self.burst.unwrap_or(self.max).into(), 1, MOST.into(), quota);
        let debt = self.max_debt.unwrap_or_default();
        within("max_debt", debt.into(), 0, MOST.into(), "expected a number from 0 to 1000000000");
        let window = crate::time::millis_of(self.window.0);
        within("window", window, 1_000, 31 * 86_400_000, "milliseconds; expected \"1s\" to \"31d\"");
        let millis = self.deadline.map_or(250, |span| crate::time::millis_of(span.0));
        within("deadline", millis, 10, 10_000, "milliseconds; expected \"10ms\" to \"10s\"");
        let message = self.message.as_ref().map_or(0, String::len);
        within("message", message as u64, 0, 1_000, "bytes; expected at most 1000");
        let penalty = self.penalty.into();
        within("penalty", penalty, 0, COST_LIMIT.into(), "expected a number from 0 to 1000000");
        let status = self.status.unwrap_or(429).into();
        within("status", status, 400, 599, "expected a status from 400 to 599");
        let prefix = self.ipv6_prefix.unwrap_or(64).into();
        within("ipv6_prefix", prefix, 16, 128, "expected a length from 16 to 128");
        let count = self.count_status.len() as u64;
        within("count_status", count, 0, STATUSES_LIMIT as u64, "statuses; expected at most 32");
        for (index, status) in self.count_status.iter().enumerate() {
            if !(200..=599).contains(status) {
                let at = at.entry("count_status");
                problems.add(at.item(index), status.to_string(), "expected a status from 200 to 599");
            }
        }
    }

    fn check_key(
        &self,
        at: &Trail<'_>,
        place: Place<'_>,
        parameters: &[(Name, usize)],
        problems: &mut Problems,
    ) {
        let at = at.entry("key");
        if !(1..=8).contains(&self.key.len()) {
            problems.add(at, self.key.len().to_string(), "parts; expected 1 to 8");
        }
        for (index, part) in self.key.iter().enumerate() {
            let expected = match (part, place) {
                (KeyPart::ApiKey | KeyPart::Claim(_), _) => {
                    "expected no key from a verified identity: this module has no authentication that could verify it"
                }
                (KeyPart::Route | KeyPart::Variant | KeyPart::Path(_), Place::Entry) => {
                    "expected it in a route only: at the top the route is not known yet"
                }
                (KeyPart::Path(name), Place::Route(..))
                    if !parameters.iter().any(|(known, _)| known == name) =>
                {
                    "expected the name of a \"{parameter}\" of the route's path"
                }
                (KeyPart::Query(name), _) if !(1..=128).contains(&name.0.len()) => {
                    "expected a name of 1 to 128 bytes"
                }
                _ => continue,
            };
            problems.add(at.item(index), format!("\"{}\"", part.label()), expected);
        }
    }

    fn check_counting(&self, at: &Trail<'_>, problems: &mut Problems) {
        let mut refuse = |name: &str, value: &dyn std::fmt::Display, expected: &str| {
            problems.add(at.entry(name), value.to_string(), expected);
        };
        if self.counting == Counting::Leased && self.penalty > 0 {
            refuse("penalty", &self.penalty, "expected none with \"leased\": its refusals cost nothing");
        }
        if self.counting != Counting::Platform {
            if let Some(binding) = &self.binding {
                refuse("binding", &format!("\"{binding}\""), "expected only with \"platform\"");
            }
            return;
        }
        if self.binding.is_none() {
            refuse("binding", &"", "expected the name of a \"ratelimits\" binding");
        }
        if ![10, 60].contains(&self.window.0.as_secs()) || self.window.0.subsec_millis() > 0 {
            let expected = "expected \"10s\" or \"60s\", the periods of the platform";
            refuse("window", &format!("{:?}", self.window.0), expected);
        }
        let has = [
            ("cost", self.cost.is_some()),
            ("count_status", !self.count_status.is_empty()),
            ("count_misses_only", self.count_misses_only),
            ("cost_header", self.cost_header.is_some()),
            ("penalty", self.penalty > 0),
            ("burst", self.burst.is_some()),
        ];
        for (name, _) in has.into_iter().filter(|(_, has)| *has) {
            refuse(name, &"", "expected none with \"platform\", which counts each request once");
        }
    }
}

impl CostConfig {
    fn compile(self, at: &Trail<'_>, burst: u32, problems: &mut Problems) -> Cost {
        // What never fits is a mistake and not a rule.
        let most = COST_LIMIT.min(burst.max(1));
        let mut check = |at: Trail<'_>, cost: u32| {
            if cost > most {
                problems.add(at, cost.to_string(), "expected at most 1000000, and no more than the burst");
            }
        };
        check(at.entry("default"), self.default);
        for (method, cost) in &self.methods {
            check(at.entry("methods").entry(method.as_str()), *cost);
        }
        if let Some(max) = self.max {
            check(at.entry("max"), max);
        }
        let max = self.max.unwrap_or(most);
        if self.header.is_some() && self.max.is_none() {
            problems.add(at.entry("max"), "", "expected a bound for what the field can say");
        }
        if self.header.is_some() && self.min > max {
            problems.add(at.entry("min"), self.min.to_string(), "expected no more than \"max\"");
        }
        Cost {
            default: self.default,
            methods: self.methods.into_iter().map(|(method, cost)| (method.0, cost)).collect(),
            field: self.header.map(|name| (name.0, self.min.min(max), max)),
        }
    }
}

/// What a text is put together from.
enum Part<'a> {
    Str(&'a str),
    Number(u64),
}

/// Parts one after the other: `format!` for ten thousand rules is a good part
/// of what compiling them costs.
fn text(parts: &[Part<'_>]) -> String {
    let mut text = String::with_capacity(64);
    for part in parts {
        match part {
            Part::Str(part) => text.push_str(part),
            Part::Number(number) => push_decimal(&mut text, *number),
        }
    }
    text
}
