//! Which replaced generations of the sets stay, where there is no room for all.
//!
//! Feeds that change every few minutes make more generations in a day than are
//! kept. Going back a day is worth more than going back to each of them, so
//! they are thinned out and not cut off:
//!
//! 1. What is over goes first.
//! 2. Then one in the middle, whose neighbours are closest to each other in
//!    time, so that what stays is spread over the day; of several the one that
//!    was replaced first.
//! 3. The newest quarter stays as it is: isolates act on them still, and
//!    somebody who goes back goes back to one of these first.
//! 4. The oldest and the newest stay while there is room for two, the newest
//!    while there is room for one.

use std::time::Duration;

use crate::time::Timestamp;

/// A replaced generation, as far as it counts here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Earlier {
    /// When it was replaced.
    pub replaced: Timestamp,
    /// How many bytes it takes.
    pub bytes: usize,
}

/// How much room there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// How many may stay.
    pub count: usize,
    /// How many bytes they may take together.
    pub bytes: usize,
    /// How long after it was replaced one is over.
    pub kept: Duration,
}

/// Which of the generations stay, the newest first: for each whether it does.
#[must_use]
pub fn stay(earlier: &[Earlier], room: &Room, now: Timestamp) -> Vec<bool> {
    // The places of those that stay.
    let mut left: Vec<(usize, Earlier)> = earlier.iter().copied().enumerate().collect();
    let mut bytes = left.iter().fold(0_usize, |sum, (_, earlier)| sum.saturating_add(earlier.bytes));
    while left.len() > room.count || bytes > room.bytes {
        let Some(place) = next_to_go(&left, room, now) else { break };
        let (_, gone) = left.remove(place);
        bytes = bytes.saturating_sub(gone.bytes);
    }
    let mut stay = vec![false; earlier.len()];
    for (place, _) in left {
        if let Some(stays) = stay.get_mut(place) {
            *stays = true;
        }
    }
    stay
}

/// The place in the list of the one that goes next; none of none.
fn next_to_go(left: &[(usize, Earlier)], room: &Room, now: Timestamp) -> Option<usize> {
    let last = left.len().checked_sub(1)?;
    let replaced = |place: usize| left.get(place).map(|(_, earlier)| earlier.replaced);
    if replaced(last).is_some_and(|at| now >= at.after(room.kept)) {
        return Some(last);
    }
    let newest = left.len().wrapping_div(4).max(1);
    // How far its neighbours are from each other.
    let span = |place: usize| {
        let newer = replaced(place.checked_sub(1)?)?;
        Some(newer.since(replaced(place.checked_add(1)?)?))
    };
    let middle = (newest..last).rev().min_by_key(|place| span(*place));
    Some(middle.unwrap_or(last))
}
