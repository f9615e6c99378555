//! `bans` in the policy.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Deserialize;

use super::MANUAL;
use super::trigger::{TRIGGERS_LIMIT, Trigger};
use crate::policy::decode::{Problems, Trail};
use crate::policy::units::{HUNDRED_PERCENT, LimitName, Name, Percent, Span, repeated};
use crate::stages::Mode;
use crate::stages::bans::BansStage;
use crate::stages::ip_filter::DenyAnswerConfig;

/// What a reference to a limit has to be.
pub const LIMIT_EXPECTED: &str =
    "expected the id of a rule of \"rate_limit\", alone or behind its route as in \"ROUTE/RULE\"";

/// The most limits that a trigger names.
const LIMITS_LIMIT: usize = 64;

/// The most statuses that a trigger names.
const STATUSES_LIMIT: usize = 32;

/// The greatest threshold.
const THRESHOLD_LIMIT: u32 = 1_000_000;

/// The greatest factor.
const FACTOR_LIMIT: u32 = 10;

/// The longest window, in milliseconds.
const WINDOW_LIMIT: u64 = 86_400_000;

/// The longest ban, in milliseconds.
const DURATION_LIMIT: u64 = 366 * 86_400_000;

/// `bans`: who is kept out for a while. Bans of the admin API act without it,
/// too.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct BansConfig {
    /// Whether bans act. `shadow`: they are logged, and triggers count and
    /// make bans that nobody else hears of. `off`: as if there were none.
    /// Default `enforce`.
    #[cfg_attr(feature = "schema", schemars(extend("default" = "enforce")))]
    pub mode: Mode,
    /// What a banned client gets. Default: 403 with problem details.
    pub answer: Option<DenyAnswerConfig>,
    /// What gets a client banned by itself. At most 32.
    #[cfg_attr(feature = "schema", schemars(length(max = 32)))]
    pub triggers: Vec<TriggerConfig>,
}

/// `bans.triggers[]`: a client is banned that collects `threshold` offences
/// within `window`. A request is one offence where any of `limits`,
/// `refusals` and `statuses` holds.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(transform = crate::policy::schema::conditions::trigger))]
#[serde(deny_unknown_fields)]
pub struct TriggerConfig {
    /// Its name in logs and lists; unique, and not `manual`.
    pub id: Name,
    /// `shadow`: counts, and bans nobody. Its own bans act only while it
    /// enforces. Default `enforce`.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(extend("default" = "enforce")))]
    pub mode: Mode,
    /// Rules of `rate_limit` that refused the request, as `RULE` for that id
    /// in any stage or as `ROUTE/RULE`. At most 64.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(length(max = 64)))]
    pub limits: Vec<LimitName>,
    /// Whether every refusal of the gateway's own counts, but those of bans.
    /// Default `false`.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(extend("default" = false)))]
    pub refusals: bool,
    /// Statuses of the answer, whoever made it, 200 to 599. At most 32.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(length(max = 32), inner(range(min = 200, max = 599))))]
    pub statuses: Vec<u16>,
    /// How many offences get a client banned, 1 to 1,000,000 (`maxretry` of
    /// fail2ban).
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1_000_000)))]
    pub threshold: u32,
    /// Within which time, 1s to 1d (`findtime`). Default 10m.
    #[serde(default = "ten_minutes")]
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::policy::schema::span::<1_000, 86_400_000>", extend("default" = "10m")))]
    pub window: Span,
    /// How long the first ban is, 1s to 366d (`bantime`). Default 10m.
    #[serde(default = "ten_minutes")]
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::policy::schema::span::<1_000, 31_622_400_000>", extend("default" = "10m")))]
    pub duration: Span,
    /// By what each further ban is longer, 1 to 10. The default is the growth
    /// of fail2ban's `bantime.increment`: 1, 2, 4, 8 times. Default 2.
    #[serde(default = "two")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 10), extend("default" = 2)))]
    pub factor: u32,
    /// Beyond what no ban grows, before `jitter` (`bantime.maxtime`); at least
    /// `duration`, at most 366d. Default 7d, or `duration` where that is
    /// longer.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::policy::schema::optional_span::<1_000, 31_622_400_000>", extend("default" = "7d")))]
    pub max_duration: Option<Span>,
    /// By up to how many percent a ban is longer, at random, so that its end
    /// cannot be foreseen (`bantime.rndtime`). Default 0.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(extend("default" = 0)))]
    pub jitter: Option<Percent>,
    /// How long after its end a ban still counts for `factor`, 1m to 366d
    /// (`dbpurgeage`). Default 1d.
    #[serde(default = "one_day")]
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::policy::schema::span::<60_000, 31_622_400_000>", extend("default" = "1d")))]
    pub forget_after: Span,
}

const fn ten_minutes() -> Span {
    Span(Duration::from_secs(600))
}

const fn one_day() -> Span {
    Span(Duration::from_secs(86_400))
}

const fn two() -> u32 {
    2
}

/// The default of `max_duration`.
const LONGEST: Duration = Duration::from_secs(7 * 86_400);

/// The rules of `rate_limit` that a document has, those that are off among
/// them: route (empty for the entry) and rule.
pub type LimitNames = BTreeSet<(String, String)>;

impl BansConfig {
    /// Checks and compiles.
    pub fn compile(self, path: &Trail<'_>, limits: &LimitNames, problems: &mut Problems) -> BansStage {
        let at = path.entry("triggers");
        if self.triggers.len() > TRIGGERS_LIMIT {
            let expected = format!("triggers; expected at most {TRIGGERS_LIMIT}");
            problems.add(at, self.triggers.len().to_string(), expected);
        }
        for index in repeated(self.triggers.iter().map(|trigger| &trigger.id)) {
            let id =
                self.triggers.get(index).map(|trigger| format!("\"{}\"", trigger.id)).unwrap_or_default();
            problems.add(at.item(index).entry("id"), id, "expected an id of its own");
        }
        let mut triggers = Vec::with_capacity(self.triggers.len().min(TRIGGERS_LIMIT));
        for (index, trigger) in self.triggers.into_iter().enumerate().take(TRIGGERS_LIMIT) {
            let compiled = trigger.compile(&at.item(index), self.mode, limits, problems);
            if compiled.mode != Mode::Off {
                triggers.push(compiled);
            }
        }
        let answer = self.answer.map(|answer| answer.compile(&path.entry("answer"), problems));
        BansStage::new(self.mode, answer, triggers)
    }
}

impl TriggerConfig {
    fn compile(self, at: &Trail<'_>, stage: Mode, limits: &LimitNames, problems: &mut Problems) -> Trigger {
        if self.id.as_str() == MANUAL {
            let expected = "expected another id: this one is that of bans by the admin API";
            problems.add(at.entry("id"), format!("\"{MANUAL}\""), expected);
        }
        if self.limits.is_empty() && !self.refusals && self.statuses.is_empty() {
            let expected = "expected \"limits\", \"refusals\": true or \"statuses\"";
            problems.add(*at, "", expected);
        }
        for (index, limit) in self.limits.iter().enumerate() {
            if !limits.iter().any(|(route, rule)| limit.names(route, rule)) {
                problems.add(at.entry("limits").item(index), format!("\"{limit}\""), LIMIT_EXPECTED);
            }
        }
        for (index, status) in self.statuses.iter().enumerate() {
            if !(200..=599).contains(status) {
                let expected = "expected a status from 200 to 599";
                problems.add(at.entry("statuses").item(index), status.to_string(), expected);
            }
        }
        let mut within = |name: &str, value: u64, least: u64, most: u64, expected: &str| {
            if !(least..=most).contains(&value) {
                problems.add(at.entry(name), value.to_string(), expected);
            }
        };
        within("limits", self.limits.len() as u64, 0, LIMITS_LIMIT as u64, "limits; expected at most 64");
        within(
            "statuses",
            self.statuses.len() as u64,
            0,
            STATUSES_LIMIT as u64,
            "statuses; expected at most 32",
        );
        let threshold = u64::from(self.threshold);
        within("threshold", threshold, 1, THRESHOLD_LIMIT.into(), "expected a number from 1 to 1000000");
        within("factor", self.factor.into(), 1, FACTOR_LIMIT.into(), "expected a number from 1 to 10");
        let millis = |span: Span| crate::time::millis_of(span.0);
        let duration = millis(self.duration);
        let max = self.max_duration.map_or_else(|| crate::time::millis_of(LONGEST).max(duration), millis);
        let (window, forget) = (millis(self.window), millis(self.forget_after));
        within("window", window, 1_000, WINDOW_LIMIT, "milliseconds; expected \"1s\" to \"1d\"");
        within("duration", duration, 1_000, DURATION_LIMIT, "milliseconds; expected \"1s\" to \"366d\"");
        let expected = "milliseconds; expected at least \"duration\" and at most \"366d\"";
        within("max_duration", max, duration.max(1_000), DURATION_LIMIT, expected);
        within("forget_after", forget, 60_000, DURATION_LIMIT, "milliseconds; expected \"1m\" to \"366d\"");
        Trigger {
            mode: self.mode.within(stage),
            limits: self.limits,
            refusals: self.refusals,
            statuses: self.statuses,
            terms: super::trigger::Terms {
                id: self.id.0.into(),
                threshold: self.threshold.max(1),
                window: Duration::from_millis(window.max(1_000)),
                duration: Duration::from_millis(duration),
                factor: self.factor.max(1),
                max_duration: Duration::from_millis(max),
                jitter: self.jitter.map_or(0, |jitter| jitter.0.min(HUNDRED_PERCENT)),
                forget_after: self.forget_after.0,
                shadow: self.mode.within(stage) == Mode::Shadow,
            }
            .into(),
        }
    }
}
