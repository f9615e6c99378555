//! Which replaced generations of the sets stay.

use std::time::Duration;

use edgeweir::control::sets_kept::{Earlier, Room, stay};
use edgeweir::time::Timestamp;
use proptest::prelude::*;

use crate::fake::{START, check};

const DAY: u64 = 86_400_000;
const MINUTE: u64 = 60_000;

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(START + millis)
}

fn room(count: usize, bytes: usize) -> Room {
    Room { count, bytes, kept: Duration::from_millis(DAY) }
}

/// Those that stay, of generations that were replaced so long before `now`.
fn kept(ages: &[u64], room: &Room) -> Vec<u64> {
    let now = at(10 * DAY);
    let earlier: Vec<Earlier> =
        ages.iter().map(|age| Earlier { replaced: at(10 * DAY - age), bytes: 1 }).collect();
    let stays = stay(&earlier, room, now);
    ages.iter().zip(stays).filter(|(_, stays)| *stays).map(|(age, _)| *age).collect()
}

#[test]
fn the_one_whose_neighbours_are_closest_goes() {
    assert_eq!(kept(&[1, 2, 5, 9, 20], &room(5, 9)), [1, 2, 5, 9, 20]);
    assert_eq!(kept(&[1, 2, 5, 9, 20], &room(4, 9)), [1, 5, 9, 20]);
    // Of several the one that was replaced first.
    assert_eq!(kept(&[1, 2, 3, 4, 5], &room(4, 9)), [1, 2, 3, 5]);
    // The newest quarter stays as it is.
    assert_eq!(kept(&[1, 2, 3, 14, 25, 36, 47, 58], &room(7, 9)), [1, 2, 14, 25, 36, 47, 58]);
    // What is over goes first, and then room is made by what is left.
    assert_eq!(kept(&[1, 2, 3, DAY, DAY + 1], &room(4, 9)), [1, 2, 3, DAY]);
    assert_eq!(kept(&[1, 2, 3, DAY, DAY + 1], &room(3, 9)), [1, 2, 3]);
    assert_eq!(kept(&[1, 5, 9], &room(9, 2)), [1, 9]);
    assert_eq!(kept(&[1, 5, 9], &room(1, 9)), [1]);
    assert_eq!(kept(&[1, 5, 9], &room(9, 0)), [0; 0]);
    assert_eq!(kept(&[], &room(0, 0)), [0; 0]);
}

#[test]
fn there_are_never_too_many_and_both_ends_stay() {
    let some = proptest::collection::vec((0..2 * DAY, 1_usize..1_000), 0..90);
    check(500, (some, 1_usize..70, 1_usize..40_000), |(mut some, count, bytes)| {
        some.sort_unstable();
        let now = at(10 * DAY);
        let earlier: Vec<Earlier> =
            some.iter().map(|(age, bytes)| Earlier { replaced: at(10 * DAY - age), bytes: *bytes }).collect();
        let stays = stay(&earlier, &room(count, bytes), now);
        prop_assert_eq!(stays.len(), earlier.len());
        let left: Vec<Earlier> =
            earlier.iter().zip(&stays).filter(|(_, stays)| **stays).map(|(earlier, _)| *earlier).collect();
        let size = |list: &[Earlier]| list.iter().map(|earlier| earlier.bytes).sum::<usize>();
        prop_assert!(left.len() <= count && size(&left) <= bytes);
        if earlier.len() <= count && size(&earlier) <= bytes {
            prop_assert_eq!(&left, &earlier);
        }
        let (Some(newest), within) = (
            earlier.first(),
            earlier.iter().rfind(|earlier| now < earlier.replaced.after(Duration::from_millis(DAY))),
        ) else {
            return Ok(());
        };
        if let Some(oldest) = within {
            let is_one = std::ptr::eq(oldest, newest);
            if is_one && oldest.bytes <= bytes || count > 1 && oldest.bytes + newest.bytes <= bytes {
                prop_assert!(left.contains(oldest), "the oldest within a day");
            }
            if newest.bytes <= bytes {
                prop_assert!(left.first() == Some(newest), "the newest");
            }
        }
        Ok(())
    });
}

/// However often feeds change, one can go back a day, and to each of the last
/// few lists.
#[test]
fn a_day_can_be_gone_back_however_often_lists_change() {
    for minutes in [1, 5, 15] {
        let every = minutes * MINUTE;
        let mut replaced: Vec<u64> = Vec::new();
        for round in 1..=3 * DAY / every {
            let now = round * every;
            replaced.insert(0, now);
            replaced.retain(|at| now - at < DAY);
            let earlier: Vec<Earlier> =
                replaced.iter().map(|time| Earlier { replaced: at(*time), bytes: 1 }).collect();
            let mut stays = stay(&earlier, &room(64, 1_000), at(now)).into_iter();
            replaced.retain(|_| stays.next().unwrap());
            if now < DAY + DAY / 2 {
                continue;
            }
            assert_eq!(replaced.len(), 64);
            let oldest = now - replaced.last().unwrap();
            assert!(oldest >= 23 * 60 * MINUTE, "{minutes}: {oldest}");
            let gaps: Vec<u64> = replaced.windows(2).map(|pair| pair[0] - pair[1]).collect();
            assert!(gaps.iter().all(|gap| *gap <= 45 * MINUTE), "{minutes}: {gaps:?}");
            assert!(gaps[..15].iter().all(|gap| *gap == every), "{minutes}: {gaps:?}");
        }
    }
}
