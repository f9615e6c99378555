//! Collapsing: requests for one key that miss at the same time.
//!
//! The first one goes to the origin, the others wait until its answer is kept,
//! or is known not to be. Nobody waits twice, and nobody waits for what takes
//! too long. Who looked before an answer was kept, and asks after that, looks
//! once more.

use std::collections::BTreeMap;
use std::time::Duration;

use super::memory::BodyNumber;
use crate::time::Timestamp;

/// How many keys are under way at most; a request for another one goes by
/// itself.
const CAPACITY: usize = 1_024;

/// How long anybody waits for the answer to somebody else. Whoever has asked
/// may have been forgotten by the runtime.
pub const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// How long a request for a part waits for a body that is arriving already. It
/// may be a long one, and the part may be had sooner.
pub const LANDING_WAIT: Duration = Duration::from_millis(50);

/// How often a waiter looks again: soon at first, since most origins answer
/// fast.
const FIRST_LOOK: Duration = Duration::from_millis(2);
const LAST_LOOK: Duration = Duration::from_millis(20);

/// How long a waiter that has looked so often waits until it looks again.
#[must_use]
pub fn look_again(looks: u32) -> Duration {
    FIRST_LOOK.saturating_mul(2_u32.saturating_pow(looks)).min(LAST_LOOK)
}

#[derive(Clone, Copy, Debug)]
struct Flight {
    number: u64,
    begun: Timestamp,
    /// The body that it ends with, once its head is there.
    body: Option<BodyNumber>,
    /// Which of all landings its own was.
    landed: Option<u64>,
}

/// What a request for a key has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It asks the origin, and others wait for it. It ends by this number.
    Leads(u64),
    /// It waits for another.
    Waits,
    /// It asks the origin for itself.
    Alone,
    /// An answer has come since it looked.
    LooksAgain,
}

/// The keys for which the origin is being asked.
#[derive(Debug, Default)]
pub struct Flights {
    flights: BTreeMap<String, Flight>,
    last: u64,
    /// How many have landed.
    landings: u64,
    /// All up to this one are forgotten.
    forgotten: u64,
}

impl Flights {
    /// How many answers have been kept: to be read before looking for one.
    #[must_use]
    pub const fn landings(&self) -> u64 {
        self.landings
    }

    /// A request for the key has missed, which began to look when so many had
    /// landed.
    pub fn join(&mut self, key: &str, landings: u64, now: Timestamp) -> Turn {
        if self.is_under_way(key, now) {
            return Turn::Waits;
        }
        let landed = self.flights.get(key).and_then(|flight| flight.landed);
        if landed.unwrap_or(self.forgotten) > landings {
            return Turn::LooksAgain;
        }
        if self.flights.len() >= CAPACITY && !self.flights.contains_key(key) {
            self.flights.retain(|_, flight| flight.lasts(now));
            self.forgotten = self.landings;
            if self.flights.len() >= CAPACITY {
                return Turn::Alone;
            }
        }
        self.last = self.last.wrapping_add(1);
        self.flights
            .insert(key.to_owned(), Flight { number: self.last, begun: now, body: None, landed: None });
        Turn::Leads(self.last)
    }

    /// Whether an answer for the key may still come.
    #[must_use]
    pub fn is_under_way(&self, key: &str, now: Timestamp) -> bool {
        self.flights.get(key).is_some_and(|flight| flight.lasts(now))
    }

    /// Whether the body of an answer for the key is arriving.
    #[must_use]
    pub fn is_landing(&self, key: &str, now: Timestamp) -> bool {
        self.flights.get(key).is_some_and(|flight| flight.body.is_some() && flight.lasts(now))
    }

    /// Whether one has been kept since so many had landed.
    #[must_use]
    pub fn has_landed(&self, key: &str, landings: u64) -> bool {
        let landed = self.flights.get(key).and_then(|flight| flight.landed);
        landed.is_some_and(|landed| landed > landings)
    }

    /// A body is arriving for a key that nobody leads.
    pub fn lands(&mut self, key: &str, body: BodyNumber, now: Timestamp) {
        if self.flights.len() >= CAPACITY && !self.flights.contains_key(key) {
            return;
        }
        self.last = self.last.wrapping_add(1);
        let flight = Flight { number: self.last, begun: now, body: Some(body), landed: None };
        self.flights.insert(key.to_owned(), flight);
    }

    /// The answer for the key is kept when that body has arrived.
    pub fn ends_with(&mut self, key: &str, body: BodyNumber) {
        if let Some(flight) = self.flights.get_mut(key) {
            flight.body = Some(body);
        }
    }

    /// That body is kept, or will not be.
    pub fn landed(&mut self, body: BodyNumber) {
        for flight in self.flights.values_mut().filter(|flight| flight.body == Some(body)) {
            self.landings = self.landings.wrapping_add(1);
            (flight.body, flight.landed) = (None, Some(self.landings));
        }
    }

    /// Who leads is done; where a body is on its way, the others wait on.
    pub fn done(&mut self, key: &str, number: u64) {
        let is_over =
            |flight: &Flight| flight.number == number && flight.body.is_none() && flight.landed.is_none();
        if self.flights.get(key).is_some_and(is_over) {
            self.flights.remove(key);
        }
    }
}

impl Flight {
    fn lasts(&self, now: Timestamp) -> bool {
        self.landed.is_none() && now >= self.begun && now.since(self.begun) < LONGEST_WAIT
    }
}
