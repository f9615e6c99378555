//! How a rule counts: pure functions of quota, state, cost and time, the same
//! ones in an isolate and in a counter object.
//!
//! Each algorithm has a promise, and none is ever broken by rounding:
//!
//! 1. [`gcra`]: any interval T admits at most `burst` + T × `max` / `window`.
//! 2. [`sliding_window`]: the estimate of the last window's length never
//!    passes `max`; any interval T admits at most `max` × (1 + T / `window`).
//! 3. [`fixed_window`]: each window of the clock admits at most `max`.
//!
//! A refusal leaves the state as it is, so hammering does not push the
//! recovery away. A change of `max` keeps the state. A clock that goes back
//! costs a client one recovery at most.

pub mod fixed_window;
pub mod gcra;
pub mod sliding_window;

use std::time::Duration;

use serde::Deserialize;

pub use self::gcra::Tat;
use crate::time::Timestamp;

/// How a rule counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// The generic cell rate algorithm: any interval T admits at most
    /// burst + T × max / window.
    #[default]
    Gcra,
    /// The window before counts in part: any interval T admits at most
    /// max × (1 + T / window).
    SlidingWindow,
    /// Windows that begin at whole multiples of their length since 1970: each
    /// admits at most max, so twice that around a border.
    FixedWindow,
}

impl Algorithm {
    /// The label, as in the policy.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gcra => "gcra",
            Self::SlidingWindow => "sliding_window",
            Self::FixedWindow => "fixed_window",
        }
    }

    /// From the label.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Gcra, Self::SlidingWindow, Self::FixedWindow].into_iter().find(|known| known.as_str() == text)
    }
}

/// How much is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quota {
    algorithm: Algorithm,
    max: u32,
    window_nanos: u64,
    burst: u32,
    debt: u32,
}

/// The answer for one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether it may pass.
    pub allowed: bool,
    /// How many more may pass now.
    pub remaining: u32,
    /// Zero when allowed; else how long until this cost would be.
    /// [`Duration::MAX`] when it never would.
    pub retry_after: Duration,
    /// How long until everything is available again.
    pub full_after: Duration,
}

/// What a counter remembers: of the algorithm that wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Of [`Algorithm::Gcra`].
    Gcra(Tat),
    /// Of [`Algorithm::SlidingWindow`] and [`Algorithm::FixedWindow`].
    Window(Window),
}

/// What was admitted in a window of the clock and in the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// Which window: whole windows since the epoch.
    pub index: u64,
    /// What was admitted in it.
    pub current: u32,
    /// What was admitted in the one before; of no meaning to
    /// [`Algorithm::FixedWindow`].
    pub previous: u32,
}

impl Quota {
    /// `max` requests per `window`, `burst` at once, by GCRA. Zeros count
    /// as 1.
    #[must_use]
    pub fn new(max: u32, window: Duration, burst: u32) -> Self {
        Self::of(Algorithm::Gcra, max, window, burst)
    }

    /// `max` requests per `window` by an algorithm; those with windows have no
    /// burst of their own: it is `max`. Zeros count as 1.
    #[must_use]
    pub fn of(algorithm: Algorithm, max: u32, window: Duration, burst: u32) -> Self {
        let burst = if algorithm == Algorithm::Gcra { burst } else { max };
        Self {
            algorithm,
            max: max.max(1),
            window_nanos: u64::try_from(window.as_nanos()).unwrap_or(u64::MAX).max(1),
            burst: burst.max(1),
            debt: 0,
        }
    }

    /// With a debt of at most that much beyond what is allowed at once, see
    /// [`charge`].
    #[must_use]
    pub const fn with_debt(self, debt: u32) -> Self {
        Self { debt, ..self }
    }

    /// How it counts.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Requests per window.
    #[must_use]
    pub const fn max(&self) -> u32 {
        self.max
    }

    /// The window.
    #[must_use]
    pub const fn window(&self) -> Duration {
        Duration::from_nanos(self.window_nanos)
    }

    /// Requests at once.
    #[must_use]
    pub const fn burst(&self) -> u32 {
        self.burst
    }

    /// The most debt.
    #[must_use]
    pub const fn debt(&self) -> u32 {
        self.debt
    }

    /// The longest time after which a counter that is left alone is whole
    /// again, whatever it says.
    #[must_use]
    pub fn recovery(&self) -> Duration {
        match self.algorithm {
            Algorithm::Gcra => gcra::recovery(self),
            // One more where the clock had gone back.
            Algorithm::FixedWindow => self.window().saturating_mul(2),
            Algorithm::SlidingWindow => self.window().saturating_mul(3),
        }
    }

    /// How long until more than what remains is available, if nothing else is
    /// admitted.
    #[must_use]
    pub fn more_after(&self, decision: &Decision) -> Duration {
        if !decision.allowed && decision.retry_after < Duration::MAX {
            return decision.retry_after;
        }
        if self.algorithm != Algorithm::Gcra {
            return decision.full_after;
        }
        // What is owed beyond what may be owed when one more is there.
        let more = u128::from(decision.remaining).saturating_add(1);
        let owed = u128::from(self.burst).saturating_sub(more);
        let span = u128::from(self.window_nanos).saturating_mul(owed).checked_div(self.max.into());
        decision.full_after.saturating_sub(nanos(span.unwrap_or_default()))
    }

    /// The window of the clock that `now` is in.
    pub(super) fn index(&self, now: Timestamp) -> u64 {
        let index = now.nanos().checked_div(self.window_nanos.into()).unwrap_or_default();
        u64::try_from(index).unwrap_or(u64::MAX)
    }

    /// When a window ends, in nanoseconds since the epoch.
    pub(super) fn end(&self, index: u64) -> u128 {
        u128::from(index).saturating_add(1).saturating_mul(self.window_nanos.into())
    }

    /// The window that `now` is in, as it continues `state`.
    pub(super) fn window_at(&self, state: Option<Window>, now: Timestamp) -> Window {
        let index = self.index(now);
        let Some(state) = state else { return Window { index, ..Window::default() } };
        match state.index.checked_sub(index) {
            Some(0) => state,
            // The clock went back over a border: what is admitted now counts
            // in the window that has begun, or that one would admit twice.
            Some(1) => state,
            // Further than that: it has to wait for the end of a window.
            Some(_) => Window { index, ..state },
            None if state.index.saturating_add(1) == index => {
                Window { index, current: 0, previous: state.current }
            }
            None => Window { index, ..Window::default() },
        }
    }
}

/// Decides one request of that cost. `state` is what the last call gave;
/// `None` stands for a client not seen before, and so does the state of
/// another algorithm.
///
/// A refusal leaves the state as it is, unless it could not have come from
/// this quota and clock.
#[must_use]
pub fn take(quota: &Quota, state: Option<State>, cost: u32, now: Timestamp) -> (Decision, Option<State>) {
    match quota.algorithm {
        Algorithm::Gcra => {
            let (decision, state) = gcra::take(quota, tat(state), cost, now);
            (decision, state.map(State::Gcra))
        }
        Algorithm::SlidingWindow => {
            let (decision, state) = sliding_window::take(quota, window(state), cost, now);
            (decision, state.map(State::Window))
        }
        Algorithm::FixedWindow => {
            let (decision, state) = fixed_window::take(quota, window(state), cost, now);
            (decision, state.map(State::Window))
        }
    }
}

/// What [`take`] would say to a request of that cost, without taking anything:
/// whether it would be admitted and when again, and what remains before it.
#[must_use]
pub fn peek(quota: &Quota, state: Option<State>, cost: u32, now: Timestamp) -> Decision {
    let (before, _) = take(quota, state, 0, now);
    let (next, _) = take(quota, state, cost, now);
    Decision { allowed: next.allowed, retry_after: next.retry_after, ..before }
}

/// Takes back what was charged at `charged`: no more than has not come back by
/// itself meanwhile.
#[must_use]
pub fn give_back(
    quota: &Quota,
    state: Option<State>,
    amount: u32,
    charged: Timestamp,
    now: Timestamp,
) -> Option<State> {
    match quota.algorithm {
        Algorithm::Gcra => Some(State::Gcra(gcra::give_back(quota, tat(state)?, amount, charged, now))),
        Algorithm::SlidingWindow | Algorithm::FixedWindow => {
            let mut window = quota.window_at(Some(window(state)?), now);
            window.give_back(quota.index(charged), amount);
            Some(State::Window(window))
        }
    }
}

impl Window {
    /// Takes back what was charged in a window.
    pub(super) const fn give_back(&mut self, index: u64, amount: u32) {
        if index == self.index {
            self.current = self.current.saturating_sub(amount);
        } else if index.saturating_add(1) == self.index {
            self.previous = self.previous.saturating_sub(amount);
        }
    }
}

/// Counts what has happened already and cannot be refused: a cost that the
/// origin reports, a penalty. What goes beyond the quota is debt, which is
/// outside of its promise; it is kept up to [`Quota::debt`] and delays the
/// recovery by as much.
#[must_use]
pub fn charge(quota: &Quota, state: Option<State>, amount: u32, now: Timestamp) -> State {
    match quota.algorithm {
        Algorithm::Gcra => State::Gcra(gcra::charge(quota, tat(state), amount, now)),
        Algorithm::SlidingWindow | Algorithm::FixedWindow => {
            let mut window = quota.window_at(window(state), now);
            let most = quota.max.saturating_add(quota.debt).max(window.current);
            window.current = window.current.saturating_add(amount).min(most);
            State::Window(window)
        }
    }
}

pub(super) const fn tat(state: Option<State>) -> Option<Tat> {
    match state {
        Some(State::Gcra(tat)) => Some(tat),
        _ => None,
    }
}

pub(super) const fn window(state: Option<State>) -> Option<Window> {
    match state {
        Some(State::Window(window)) => Some(window),
        _ => None,
    }
}

/// What a refusal leaves: the state as it was, unless the clock went back so
/// far that it belongs to another window.
fn relabelled(state: Option<Window>, window: Window) -> Option<Window> {
    if state.is_some_and(|state| state.index > window.index) { Some(window) } else { state }
}

fn nanos(nanos: u128) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}
