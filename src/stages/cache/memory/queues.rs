//! Who leaves first: S3-FIFO (Yang and others, SOSP 2023).
//!
//! 1. Who comes in stands in the small queue, a tenth of the room. At its end
//!    those who have been looked up since go to the main one, and the others
//!    leave: a scan pushes out nothing but itself.
//! 2. At the end of the main one those who have been looked up queue again,
//!    once for each time, three at most.
//! 3. Of those who left the small one, it is remembered that they were here:
//!    who comes back soon goes to the main one.
//! 4. A hit moves nothing: it counts, in the slot that it reads anyway.

use std::collections::VecDeque;

use super::table::Tag;

/// Somebody in a queue. No two answers have one body, so what has been removed
/// or replaced is told from what is there.
#[derive(Clone, Copy, Debug)]
pub struct Queued {
    pub tag: Tag,
    pub body: u32,
}

/// The two queues, and who left.
#[derive(Debug)]
pub struct Queues {
    small: VecDeque<Queued>,
    main: VecDeque<Queued>,
    /// Halves of tags, each at a place that it chooses itself: who comes later
    /// takes the place.
    left: Vec<u64>,
    /// How many are remembered.
    remembered: usize,
}

impl Queues {
    /// Empty ones, which remember about so many of those who left.
    pub const fn new(remembered: usize) -> Self {
        Self { small: VecDeque::new(), main: VecDeque::new(), left: Vec::new(), remembered }
    }

    pub fn len(&self) -> usize {
        self.small.len().saturating_add(self.main.len())
    }

    pub fn push(&mut self, queued: Queued, is_main: bool) {
        if is_main { self.main.push_back(queued) } else { self.small.push_back(queued) }
    }

    /// Who is first in one of them; where it is empty, in the other.
    pub fn pop(&mut self, from_small: bool) -> Option<Queued> {
        let (one, other) =
            if from_small { (&mut self.small, &mut self.main) } else { (&mut self.main, &mut self.small) };
        one.pop_front().or_else(|| other.pop_front())
    }

    /// Keeps only who is there.
    pub fn retain(&mut self, mut is_there: impl FnMut(&Queued) -> bool) {
        self.small.retain(&mut is_there);
        self.main.retain(is_there);
    }

    fn remembers_at(&mut self, tag: Tag) -> Option<&mut u64> {
        let places = self.left.len() as u64;
        let place = (tag.short() & u64::from(u32::MAX)).wrapping_mul(places) >> 32;
        self.left.get_mut(usize::try_from(place).ok()?)
    }

    /// Somebody left the small one.
    pub fn remember(&mut self, tag: Tag) {
        if self.left.is_empty() {
            self.left = vec![0; self.remembered];
        }
        if let Some(place) = self.remembers_at(tag) {
            *place = tag.short();
        }
    }

    /// Whether somebody was here lately; then that is forgotten.
    pub fn recognises(&mut self, tag: Tag) -> bool {
        self.remembers_at(tag).is_some_and(|place| {
            let is_same = *place == tag.short();
            if is_same {
                *place = 0;
            }
            is_same
        })
    }
}
