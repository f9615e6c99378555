//! Runs a journey until it is over or has to wait, and goes on with it when
//! what it waits for is there.
//!
//! `edge/exchange.js` starts a task with an exchange's id, waits for what the
//! task has left there, and resumes it under that id. A task waits for one thing
//! at a time, and only by [`wait`]: a future of `wasm-bindgen-futures` would
//! never be woken here. That costs no promise, closure or microtask for each wait,
//! and none at all for a request that waits for nothing.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::hash::BuildHasherDefault;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use wasm_bindgen::prelude::wasm_bindgen;

use crate::error::{Dependency, PlatformError};
use crate::exchange::NameHasher;
use crate::time::Timestamp;

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// How a wait ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With a text.
    Done(String),
    /// There is nothing.
    Nothing,
    /// It failed, and what it said.
    Failed(String),
    /// It took too long.
    TimedOut,
}

impl Outcome {
    /// The text, if there is one, or what became of the dependency.
    ///
    /// # Errors
    /// It failed or took too long.
    pub fn of(self, dependency: Dependency) -> Result<Option<String>, PlatformError> {
        match self {
            Self::Done(text) => Ok(Some(text)),
            Self::Nothing => Ok(None),
            Self::Failed(cause) => Err(PlatformError::failed(dependency, cause)),
            Self::TimedOut => Err(PlatformError::timed_out(dependency, "no answer in time")),
        }
    }
}

thread_local! {
    /// What waits, by the exchange's id.
    static WAITING: RefCell<HashMap<u32, Task, BuildHasherDefault<NameHasher>>> = RefCell::default();
    /// How the wait of the task that is resumed now has ended.
    static OUTCOME: RefCell<Option<Outcome>> = const { RefCell::new(None) };
    /// What the clock said since the task that runs now was begun or resumed.
    static NOW: Cell<Option<Timestamp>> = const { Cell::new(None) };
    /// Whether a task runs.
    static RUNNING: Cell<bool> = const { Cell::new(false) };
}

/// The time. While a task does not wait it stands still, as it does on the
/// platform: the clock is read once, and not at each of a journey's questions.
pub fn now() -> Timestamp {
    let now = NOW.get().unwrap_or_else(|| Timestamp::from_js(js_sys::Date::now()));
    if RUNNING.get() {
        NOW.set(Some(now));
    }
    now
}

/// Runs a task until it is over (`true`) or waits.
pub fn run(id: u32, mut task: Task) -> bool {
    NOW.set(None);
    RUNNING.set(true);
    let done = task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready();
    RUNNING.set(false);
    NOW.set(None);
    if !done {
        WAITING.with_borrow_mut(|waiting| waiting.insert(id, task));
    }
    done
}

/// Goes on with a task: what it waited for has ended. `true` when it is over;
/// so is one that nobody knows.
#[wasm_bindgen]
#[must_use]
pub fn resume(id: u32, outcome: u32, text: String) -> bool {
    let Some(task) = WAITING.with_borrow_mut(|waiting| waiting.remove(&id)) else {
        return true;
    };
    let outcome = match outcome {
        0 => Outcome::Done(text),
        1 => Outcome::Nothing,
        2 => Outcome::Failed(text),
        _ => Outcome::TimedOut,
    };
    OUTCOME.set(Some(outcome));
    run(id, task)
}

/// Waits for what was begun in `edge/` just before.
pub fn wait() -> impl Future<Output = Outcome> {
    Wait { begun: false }
}

struct Wait {
    begun: bool,
}

impl Future for Wait {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Outcome> {
        if !std::mem::replace(&mut self.begun, true) {
            return Poll::Pending;
        }
        OUTCOME.take().map_or(Poll::Pending, Poll::Ready)
    }
}
