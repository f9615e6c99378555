//! What a request begins with: which policy, and how long it waits for it.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::{FIRST_READ, Fallback, Holder, LOOK_AGAIN, Need, REFRESH_WAIT, Snapshot, Turn};
use crate::platform::{ControlClient, PolicyStore};
use crate::policy::follow::Follower;
use crate::time::Timestamp;

/// How long one request is left alone with the first read before another one
/// reads as well. Long for a read, and short beside [`FIRST_READ`].
const READ_PATIENCE: Duration = Duration::from_secs(1);

/// How long whoever has waited waits for the store, before `Control` is asked:
/// so he has an answer before a read of his own would have given the store up.
const STORE_LIMIT: Duration = Duration::from_millis(500);

/// How many requests are at the first read at once: each holds a manifest.
const MOST_READERS: usize = 4;

/// After how many first reads in vain a request that waited for them begins
/// none. The first may have met with bad luck; a source that has failed twice is
/// left alone, as it is by requests that come later.
const READS_IN_VAIN: u32 = 2;

impl Holder {
    /// Whether whoever asks is to make the first read.
    fn begin_reading(&mut self, now: Timestamp, until: Timestamp) -> Option<Turn> {
        self.reading.begin(0, now, until, READ_PATIENCE, MOST_READERS)
    }

    /// Takes note that a first read has ended.
    fn end_reading(&mut self, turn: Turn) {
        self.reading.end(turn);
        if self.current.is_none() {
            self.in_vain = self.in_vain.wrapping_add(1);
        }
    }
}

/// Asks the sources and takes in what they say, all within `deadline`.
/// `holder` is never borrowed while something is awaited. Gives a line for
/// the log when something is worth one.
pub async fn refresh(
    store: &impl PolicyStore,
    control: &impl ControlClient,
    fallback: &Fallback,
    holder: &RefCell<Holder>,
    now: impl Fn() -> Timestamp,
    deadline: Duration,
) -> Option<String> {
    let begun = now();
    let follower = Follower { store, control, holder, now: &now, begun, deadline, store_limit: deadline };
    let outcome = follower.ask().await;
    holder.borrow_mut().conclude(outcome, fallback, begun, now())
}

/// What a request begins with.
#[derive(Debug)]
pub struct Ready {
    /// The policy to act on; none means 503.
    pub snapshot: Option<Rc<Snapshot>>,
    /// Whether to [`refresh`] after the response, within [`FIRST_READ`].
    pub refresh_after: bool,
    /// Lines for the log.
    pub lines: Vec<String>,
}

/// Finds the policy that a request acts on, waiting for it where the rules say
/// so.
pub async fn ready(
    store: &impl PolicyStore,
    control: &impl ControlClient,
    fallback: &Fallback,
    holder: &RefCell<Holder>,
    now: impl Fn() -> Timestamp,
) -> Ready {
    let mut lines = Vec::new();
    let mut need = holder.borrow_mut().need(now());
    // Boxed, both: what a refresh keeps while it waits must not make every
    // request as large.
    if need == Need::Read {
        lines.extend(Box::pin(first_read(store, control, fallback, holder, &now)).await);
        let mut holder = holder.borrow_mut();
        // A first read may take so long that what it brought, or another
        // request did meanwhile, is too old by then: it is asked for once more.
        let late = holder.is_past_bound(now());
        need = if late { Need::RefreshFirst } else { holder.need(now()) };
    }
    if need == Need::RefreshFirst {
        lines.extend(Box::pin(refresh(store, control, fallback, holder, &now, REFRESH_WAIT)).await);
        need = holder.borrow_mut().need(now());
    }
    let snapshot = holder.borrow().acting(now());
    Ready { snapshot, refresh_after: need == Need::RefreshAfter, lines }
}

/// Reads the first policy, or waits for another request that does, within
/// [`FIRST_READ`]. A manifest with its bans is megabytes, and fifty requests
/// may come at once: who waits holds nothing of it.
async fn first_read(
    store: &impl PolicyStore,
    control: &impl ControlClient,
    fallback: &Fallback,
    holder: &RefCell<Holder>,
    now: impl Fn() -> Timestamp,
) -> Option<String> {
    let until = now().after(FIRST_READ);
    let before = holder.borrow().in_vain;
    let (mut store_limit, mut has_read, mut line) = (FIRST_READ, false, None);
    loop {
        let begun = now();
        let deadline = until.since(begun);
        let turn = {
            let mut holder = holder.borrow_mut();
            // After that, only those that are still at it are waited for.
            let is_enough = has_read || holder.in_vain.wrapping_sub(before) >= READS_IN_VAIN;
            let is_over = holder.current.is_some() || is_enough && !holder.reading.is_running(begun);
            if is_over || deadline.is_zero() {
                return line;
            }
            // With less time, what would fail is the request and not the
            // source, which would be left alone for it.
            let may_begin = !is_enough && deadline >= REFRESH_WAIT;
            if may_begin { holder.begin_reading(begun, until) } else { None }
        };
        if let Some(turn) = turn {
            let follower = Follower { store, control, holder, now: &now, begun, deadline, store_limit };
            let outcome = follower.ask().await;
            let mut holder = holder.borrow_mut();
            line = holder.conclude(outcome, fallback, begun, now());
            holder.end_reading(turn);
            has_read = true;
            continue;
        }
        store.pause(LOOK_AGAIN.min(deadline)).await;
        store_limit = STORE_LIMIT;
    }
}
