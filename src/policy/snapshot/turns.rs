//! Who does a piece of work that serves all requests of an isolate.
//!
//! 1. One does it, the others look whether it is done. None can await what
//!    another one began: the runtime forbids it.
//! 2. Whoever does it may die at it and say nothing. So a turn ends by itself,
//!    and whoever waits takes over when his patience is at an end.
//! 3. What hangs may go on while another has taken over. How many are at it at
//!    once is bounded, since each of them holds what it has read.

use std::time::Duration;

use crate::time::Timestamp;

/// One turn at a piece of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::policy) struct Turn {
    id: u64,
    /// Which piece of work.
    of: u64,
    since: Timestamp,
    until: Timestamp,
}

impl Turn {
    /// A clock that went back must not make a turn longer.
    fn is_running(&self, now: Timestamp) -> bool {
        now >= self.since && now < self.until
    }
}

/// The turns that have not ended.
#[derive(Debug, Default)]
pub(super) struct Turns {
    running: Vec<Turn>,
    last: u64,
}

impl Turns {
    /// A turn until `until` for whoever asks: where nobody is at it, or where
    /// fewer than `most` are and all of them have been for `patience`.
    pub(super) fn begin(
        &mut self,
        of: u64,
        now: Timestamp,
        until: Timestamp,
        patience: Duration,
        most: usize,
    ) -> Option<Turn> {
        self.running.retain(|turn| turn.is_running(now));
        let same = || self.running.iter().filter(|turn| turn.of == of);
        if same().count() >= most || same().any(|turn| now.since(turn.since) < patience) {
            return None;
        }
        self.last = self.last.wrapping_add(1);
        let turn = Turn { id: self.last, of, since: now, until };
        self.running.push(turn);
        Some(turn)
    }

    /// Whether somebody is at anything.
    pub(super) fn is_running(&self, now: Timestamp) -> bool {
        self.running.iter().any(|turn| turn.is_running(now))
    }

    pub(super) fn end(&mut self, turn: Turn) {
        self.running.retain(|running| running.id != turn.id);
    }
}
