//! From lists to a new generation of the stored sets.
//!
//! All lists that are given at once make one generation. Each is judged by
//! itself: one that is refused does not hold up the others, and one that is
//! what it was before changes nothing. They are judged again when somebody
//! else was faster, since what stood before is another list then.

use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use super::check::{Terms, check};
use super::prefixes::PrefixList;
use super::refusal::Refusal;
use crate::addresses::StoredSets;
use crate::addresses::replace::{Full, Replacement, Room};
use crate::control::answer::PublicationState;
use crate::control::change_sets::{Author, Edited, NotChanged, edit_sets};
use crate::control::sets::{CHANGE_LIMIT, SetInfo, SetsStatus};
use crate::platform::{Clock, ControlClient};
use crate::stages::ip_filter::prefix::Prefix;
use crate::time::Timestamp;

/// How long it may take to be faster than others who change sets. Behind it
/// the last attempt ends.
const RACE_WAIT: Duration = Duration::from_secs(20);

/// The source of a list that somebody imported.
pub const IMPORT: &str = "import";

/// A list that may take the place of a set.
#[derive(Clone, Debug)]
pub struct Candidate<'a> {
    /// The set's name.
    pub name: &'a str,
    /// Its prefixes.
    pub list: PrefixList,
    /// Where it comes from: the URL of a feed, or [`IMPORT`].
    pub source: &'a str,
    /// By how much the number of prefixes may change, in percent.
    pub max_change: u32,
    /// Whether private and special networks may be in it.
    pub allow_private: bool,
}

/// What is decided about a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has taken the place of the one before.
    Changed,
    /// It is the one before.
    Unchanged,
    /// It may not take its place.
    Refused(Refusal),
    /// There is no room for it.
    Full(Full),
}

/// A list that was judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// What was decided.
    pub verdict: Verdict,
    /// How many prefixes the set had before; `None` where there was none.
    pub before: Option<usize>,
}

/// The stored sets after that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Their generation.
    pub generation: u64,
    /// The sequence of the publication that carries it.
    pub sequence: u64,
    /// Whether the policy store has it.
    pub state: PublicationState,
    /// What was decided about each list, in order.
    pub lists: Vec<Judged>,
}

/// How many prefixes a set has.
#[must_use]
pub fn count(set: &SetInfo) -> usize {
    set.v4.saturating_add(set.v6)
}

/// What the audit log says about sets that have changed: `refresh drop`, or
/// how many there are and the names for which there is room, whole. `verb` is
/// the first word of the change.
#[must_use]
pub fn account(verb: &str, names: &[&str]) -> String {
    const MORE: &str = ", …";
    if let [name] = names {
        return format!("{verb} {name}");
    }
    let mut text = format!("{verb}: {} sets changed (", names.len());
    for (place, name) in names.iter().enumerate() {
        let comma = if place == 0 { "" } else { ", " };
        let is_last = place.saturating_add(1) == names.len();
        let behind = if is_last { 0 } else { MORE.len() };
        let length =
            [&text, comma, name, ")"].iter().fold(behind, |sum, text| sum.saturating_add(text.len()));
        if length > CHANGE_LIMIT {
            text.push_str(MORE);
            break;
        }
        text.extend([comma, name]);
    }
    text.push(')');
    text
}

/// Judges lists, and makes a generation of those that are new and may be.
/// `known` are sets that are at hand.
///
/// # Errors
/// The `Control` object failed or refused; what became of the generation is
/// not known then.
pub async fn publish(
    control: &(impl ControlClient + Clock),
    author: &Author<'_>,
    known: Option<&Rc<StoredSets>>,
    guard_list: &[Prefix],
    candidates: &[Candidate<'_>],
    now: Timestamp,
) -> Result<Published, NotChanged<Infallible>> {
    let mut published = None;
    let verb = author.change.split(' ').next().unwrap_or_default();
    let edit = |present: &StoredSets, status: &SetsStatus| {
        let lists = judge(candidates, guard_list, present, status);
        let new: Vec<Replacement<'_>> = candidates
            .iter()
            .zip(&lists)
            .filter(|(_, judged)| judged.verdict == Verdict::Changed)
            .map(|(Candidate { name, list, source, .. }, _)| Replacement {
                name,
                list,
                since: now.seconds(),
                source,
            })
            .collect();
        let names: Vec<&str> = new.iter().map(|new| new.name).collect();
        let next = (!new.is_empty())
            .then(|| Edited { sets: present.replaced(&new), change: Some(account(verb, &names)) });
        published = Some(Published {
            generation: status.present.generation,
            sequence: status.sequence,
            state: status.state.unwrap_or(PublicationState::Pending),
            lists,
        });
        Ok(next)
    };
    let begun = control.now();
    let has_time = || control.now().since(begun) < RACE_WAIT;
    let done = edit_sets(control, author, known, has_time, edit).await?;
    // Unreachable: it was asked at least once.
    let published = published.unwrap_or(Published {
        generation: 0,
        sequence: 0,
        state: PublicationState::Pending,
        lists: Vec::new(),
    });
    Ok(match done {
        None => published,
        Some(done) => Published {
            generation: done.generation,
            sequence: done.sequence,
            state: done.state,
            lists: published.lists,
        },
    })
}

fn judge(
    candidates: &[Candidate<'_>],
    guard_list: &[Prefix],
    present: &StoredSets,
    status: &SetsStatus,
) -> Vec<Judged> {
    let mut room = Room::beside(present);
    let one = |candidate: &Candidate<'_>| {
        let before = status.present.sets.iter().find(|set| set.name == candidate.name).map(count);
        let terms = Terms {
            before,
            max_change: candidate.max_change,
            allow_private: candidate.allow_private,
            guard_list,
        };
        let verdict = match check(&candidate.list, &terms) {
            Err(refusal) => Verdict::Refused(refusal),
            Ok(()) if present.holds_exactly(candidate.name, &candidate.list) => Verdict::Unchanged,
            Ok(()) => {
                room.take(candidate.name, &candidate.list).map_or_else(Verdict::Full, |()| Verdict::Changed)
            }
        };
        Judged { verdict, before }
    };
    candidates.iter().map(one).collect()
}
