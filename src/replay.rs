//! What a candidate policy would have done with recorded requests: `same`,
//! `changed`, or `undecidable` where a rule on the way reads what the access
//! log does not hold.
//!
//! 1. Who was calling is taken from the record: the candidate's `identity` is
//!    asked only how addresses are counted. A request that was refused as a
//!    loop is one.
//! 2. Header fields, cookies and the query are not recorded. A rule that reads
//!    one makes a record undecidable, unless what is known differs already.
//! 3. Limits are replayed in the order of the log from an empty state, by the
//!    record's time, `exact` and `local` alike in one count. A request that
//!    may have been counted leaves its counter in doubt until that would be
//!    whole again.
//! 4. Cache hits and misses are not replayed: a record is followed up to the
//!    cache, and a stored answer compares with a forwarded request.
//! 5. Failures are not replayed: a request that its origin failed has passed;
//!    a count that failed leaves its rule in doubt.
//! 6. Shadow rules decide nothing, here as there.
//! 7. Bans are no part of a document. Who was not banned is taken not to be;
//!    a request that a ban refused is undecidable, unless the candidate bans
//!    nobody or guards the client.

mod counts;
mod line;
mod report;
mod walk;

use std::collections::BTreeMap;

use self::counts::Counts;
use self::line::read;
pub use self::report::{Change, Group, Judged, Outcome, Report};
pub use self::walk::Gap;
use self::walk::Walk;
use crate::policy::Gateway;
use crate::stages::ip_filter::{BoundSets, Sets};

/// The longest line that is read, in bytes. Ours are shorter.
pub const LINE_LIMIT: usize = 16 * 1024;

/// The most outcomes that can be asked for.
pub const OUTCOMES_LIMIT: usize = 10_000;

/// The most groups that are told apart.
const GROUPS_LIMIT: usize = 500;

/// The most request ids that a group names.
const EXAMPLES_LIMIT: usize = 5;

/// What a replay should tell beyond its totals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// How many records that are not `same` are told one by one; at most
    /// [`OUTCOMES_LIMIT`]. Default 0.
    pub outcomes: usize,
}

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The candidate decides as the record says.
    Same,
    /// It decides otherwise.
    Changed,
    /// The record does not hold what a rule reads.
    Undecidable,
    /// The line is no record that can be replayed.
    Skipped,
    /// The line is empty.
    Empty,
}

/// A replay under way: feed it lines, then finish it.
#[derive(Debug)]
pub struct Replay<'a> {
    gateway: &'a Gateway,
    sets: Sets<'a>,
    outcomes: usize,
    counts: Counts,
    report: Report,
    groups: BTreeMap<(bool, String, String, String), Group>,
}

impl<'a> Replay<'a> {
    /// A replay against a candidate.
    #[must_use]
    pub fn new(gateway: &'a Gateway, options: Options) -> Self {
        Self {
            gateway,
            sets: Sets::new(&gateway.sets, None),
            outcomes: options.outcomes.min(OUTCOMES_LIMIT),
            counts: Counts::default(),
            report: Report::default(),
            groups: BTreeMap::new(),
        }
    }

    /// With the stored address sets that there are now: a record does not say
    /// what was in them.
    #[must_use]
    pub fn with_sets(self, stored: Option<&'a BoundSets>) -> Self {
        Self { sets: Sets::new(&self.gateway.sets, stored), ..self }
    }

    /// Takes the next line of the log.
    pub fn line(&mut self, line: &str) -> Verdict {
        self.report.lines = self.report.lines.saturating_add(1);
        let line = line.trim();
        if line.is_empty() {
            return Verdict::Empty;
        }
        let logged = match read(line) {
            Ok(logged) => logged,
            Err(reason) => {
                let count = self.report.skipped.entry(reason.as_str()).or_default();
                *count = count.saturating_add(1);
                return Verdict::Skipped;
            }
        };
        self.report.records = self.report.records.saturating_add(1);
        self.report.from.get_or_insert_with(|| logged.time.to_string());
        self.report.to = Some(logged.time.to_string());
        let (after, gap) = Walk::new(self.gateway, self.sets, &mut self.counts, &logged).travel();
        let changes = after.as_ref().map(|after| report::changes(&logged.before, after, gap.is_some()));
        let verdict = match (&changes, &gap) {
            (Some(changes), _) if !changes.is_empty() => Verdict::Changed,
            (_, Some(_)) | (None, None) => Verdict::Undecidable,
            (Some(_), None) => Verdict::Same,
        };
        let count = match verdict {
            Verdict::Changed => &mut self.report.changed,
            Verdict::Undecidable => &mut self.report.undecidable,
            _ => &mut self.report.same,
        };
        *count = count.saturating_add(1);
        if verdict != Verdict::Same {
            let judged = Judged {
                line: self.report.lines,
                request_id: logged.request_id,
                verdict: if verdict == Verdict::Changed { "changed" } else { "undecidable" },
                changes: changes.unwrap_or_default(),
                before: logged.before,
                after,
                gap: gap.filter(|_| verdict == Verdict::Undecidable),
            };
            self.group(&judged);
            if self.report.outcomes.len() < self.outcomes {
                self.report.outcomes.push(judged);
            } else {
                self.report.left_out = self.report.left_out.saturating_add(1);
            }
        }
        verdict
    }

    fn group(&mut self, judged: &Judged) {
        let (stage, rule, what) = judged.cause();
        let is_undecidable = judged.gap.is_some();
        let key = (is_undecidable, stage, rule, what);
        if self.groups.len() >= GROUPS_LIMIT && !self.groups.contains_key(&key) {
            self.report.ungrouped = self.report.ungrouped.saturating_add(1);
            return;
        }
        let group = self.groups.entry(key).or_default();
        group.records = group.records.saturating_add(1);
        if group.examples.len() < EXAMPLES_LIMIT {
            group.examples.extend(judged.request_id.clone());
        }
    }

    /// What came of it.
    #[must_use]
    pub fn finish(mut self) -> Report {
        let groups = self.groups.into_iter().map(|((is_undecidable, stage, rule, what), group)| Group {
            verdict: if is_undecidable { "undecidable" } else { "changed" },
            stage,
            rule: Some(rule).filter(|rule| !rule.is_empty()),
            what,
            ..group
        });
        self.report.groups = groups.collect();
        // Changes first, then the most frequent; the rest stays in order.
        self.report.groups.sort_by_key(|group| (group.verdict, std::cmp::Reverse(group.records)));
        self.report
    }
}
