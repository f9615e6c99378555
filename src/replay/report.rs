//! What a replay found.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::walk::Gap;
use crate::error::printable;

/// How a request ended, or would.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "ReplayOutcome"))]
pub struct Outcome {
    /// As in the access log. A candidate's is `forwarded` or `refused`.
    pub verdict: &'static str,
    /// The status that the client got; of a candidate, where it refuses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The route's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// The stage that refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// The rule that refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The canary variant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// The upstream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
}

/// What an outcome comes to, where hits and failures of others do not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Passed,
    Refused,
    Answered,
}

impl Outcome {
    fn kind(&self) -> Kind {
        match (self.verdict, self.reason.as_deref()) {
            ("answered", _) => Kind::Answered,
            ("refused", _) | ("failed", Some("counter-unavailable")) => Kind::Refused,
            _ => Kind::Passed,
        }
    }

    /// In a few words.
    fn short(&self) -> String {
        let mut text = self.verdict.to_owned();
        if let (Kind::Refused, Some(status), Some(reason)) = (self.kind(), self.status, &self.reason) {
            // Writing to a String cannot fail.
            let _ = write!(text, " {status} {reason}");
        }
        text
    }
}

/// A member of an outcome that differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "ReplayChange"))]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Whether it passes.
    Verdict,
    /// The status of a refusal.
    Status,
    /// The reason of a refusal.
    Reason,
    /// The route.
    Route,
    /// The stage and rule that refuse.
    Rule,
    /// The canary variant.
    Variant,
    /// The upstream.
    Upstream,
}

/// What differs. Where the candidate's outcome is known in part only, that is
/// the verdict, the status, the reason and the route.
pub(super) fn changes(before: &Outcome, after: &Outcome, in_part: bool) -> Vec<Change> {
    if before.kind() != after.kind() {
        return vec![Change::Verdict];
    }
    let kind = before.kind();
    let both =
        |one: &Option<String>, other: &Option<String>| one.is_some() && other.is_some() && one != other;
    let differs = [
        (Change::Status, kind == Kind::Refused && before.status != after.status),
        (Change::Reason, kind == Kind::Refused && before.reason != after.reason),
        (Change::Route, before.route != after.route),
        (
            Change::Rule,
            !in_part && kind == Kind::Refused && (&before.stage, &before.rule) != (&after.stage, &after.rule),
        ),
        (Change::Variant, !in_part && kind == Kind::Passed && before.variant != after.variant),
        // A stored answer names no upstream.
        (Change::Upstream, !in_part && kind == Kind::Passed && both(&before.upstream, &after.upstream)),
    ];
    differs.into_iter().filter_map(|(change, differs)| differs.then_some(change)).collect()
}

/// One record that is not the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "ReplayRecord"))]
pub struct Judged {
    /// The number of its line, from 1.
    pub line: u64,
    /// The request's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// `changed` or `undecidable`.
    pub verdict: &'static str,
    /// What differs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
    /// As recorded.
    pub before: Outcome,
    /// As the candidate would have it; missing where that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Outcome>,
    /// Of an undecidable record, what it does not hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gap: Option<Gap>,
}

impl Judged {
    /// Stage and rule that make the difference, or that read what is not
    /// there, and what comes of it.
    pub(super) fn cause(&self) -> (String, String, String) {
        let rule = |rule: &Option<String>| rule.clone().unwrap_or_default();
        if let Some(gap) = &self.gap {
            return (gap.stage.to_owned(), rule(&gap.rule), format!("reads {}", gap.reads));
        }
        let nothing = Outcome::default();
        let (before, after) = (&self.before, self.after.as_ref().unwrap_or(&nothing));
        let ends = if self.changes == [Change::Rule] {
            let stage = before.stage.as_deref().unwrap_or_default();
            format!("{}, before by {}", after.short(), by(stage, before.rule.as_deref()))
        } else {
            format!("{} → {}", before.short(), after.short())
        };
        for refusal in [after, before] {
            if let (Kind::Refused, Some(stage)) = (refusal.kind(), &refusal.stage) {
                return (stage.clone(), rule(&refusal.rule), ends);
            }
        }
        let of = |one: &Option<String>, other: &Option<String>| {
            let name = |name: &Option<String>| name.clone().unwrap_or_else(|| "none".to_owned());
            format!("{} → {}", name(one), name(other))
        };
        if self.changes.contains(&Change::Route) {
            return ("route".to_owned(), rule(&after.route), of(&before.route, &after.route));
        }
        if self.changes.contains(&Change::Variant) {
            return ("canary".to_owned(), rule(&after.route), of(&before.variant, &after.variant));
        }
        ("upstream".to_owned(), rule(&after.route), of(&before.upstream, &after.upstream))
    }
}

/// Records that are not the same for one cause.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "ReplayGroup"))]
pub struct Group {
    /// `changed` or `undecidable`.
    pub verdict: &'static str,
    /// The stage.
    pub stage: String,
    /// The rule; of `route`, `canary` and `upstream` the route. Missing where
    /// a default decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Before → after, or what it reads.
    pub what: String,
    /// How many.
    pub records: u64,
    /// A few request ids.
    pub examples: Vec<String>,
}

/// What a replay found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Report {
    /// Lines, empty ones included.
    pub lines: u64,
    /// Lines that are no records, by reason: `too-long`, `not-json`, `event`,
    /// `schema`, `not-a-record`, `no-policy`.
    pub skipped: BTreeMap<&'static str, u64>,
    /// Records.
    pub records: u64,
    /// The time of the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The time of the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Records that the candidate decides as before.
    pub same: u64,
    /// Records that it decides otherwise.
    pub changed: u64,
    /// Records of which it is not known.
    pub undecidable: u64,
    /// The causes, changes first, the most frequent first.
    pub groups: Vec<Group>,
    /// Records whose cause is in no group, since there were too many causes.
    #[serde(skip_serializing_if = "is_zero")]
    pub ungrouped: u64,
    /// Records one by one, as many as were asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub outcomes: Vec<Judged>,
    /// Records that are neither `same` nor in `outcomes`.
    pub left_out: u64,
}

const fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Report {
    /// The report for a person, lines ended by line feeds.
    #[must_use]
    pub fn text(&self) -> String {
        let mut head = format!(
            "{} records: {} same, {} changed, {} undecidable",
            self.records, self.same, self.changed, self.undecidable
        );
        if let (Some(from), Some(to)) = (&self.from, &self.to) {
            // Writing to a String cannot fail.
            let _ = write!(head, "; from {from} to {to}");
        }
        let mut lines = vec![head];
        if !self.skipped.is_empty() {
            let skipped = self.skipped.iter().map(|(reason, count)| format!("{reason} {count}"));
            lines.push(format!("skipped lines: {}", skipped.collect::<Vec<_>>().join(", ")));
        }
        let mut verdict = "";
        for group in &self.groups {
            if group.verdict != verdict {
                verdict = group.verdict;
                lines.push(format!("{verdict}:"));
            }
            let mut line = format!("  {:>7}  {}", group.records, by(&group.stage, group.rule.as_deref()));
            let _ = write!(line, ": {}", group.what);
            if !group.examples.is_empty() {
                let _ = write!(line, "; such as {}", group.examples.join(", "));
            }
            lines.push(line);
        }
        if self.ungrouped > 0 {
            lines.push(format!("  {:>7}  of further causes", self.ungrouped));
        }
        lines.extend(self.outcomes.iter().map(|judged| {
            let (stage, rule, what) = judged.cause();
            let id = judged.request_id.as_deref().unwrap_or("(no id)");
            let rule = Some(rule).filter(|rule| !rule.is_empty());
            let by = by(&stage, rule.as_deref());
            format!("line {}, {id}: {}, {by}: {what}", judged.line, judged.verdict)
        }));
        printable(&lines)
    }
}

/// Stage and rule.
fn by(stage: &str, rule: Option<&str>) -> String {
    rule.map_or_else(|| stage.to_owned(), |rule| format!("{stage} {rule}"))
}
