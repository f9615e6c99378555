//! An account as a text, for a row of the object's table: numbers with spaces
//! between, so that a million of them stay small.
//!
//! `1 AT CAPACITY SEEN STATE HOLD…`; a state is `-`, `g NANOS REST OF` or `w
//! INDEX CURRENT PREVIOUS`, a hold `ID AMOUNT KEPT ENDS WINDOW HOLDER` with
//! `-` for the holder of a reservation. What is no such text is none, and an account
//! that cannot be read begins anew.

use std::fmt::Write as _;
use std::str::{FromStr, SplitAsciiWhitespace};

use super::{Account, HOLDS_LIMIT, Hold};
use crate::stages::rate_limit::algorithm::{State, Tat, Window};
use crate::time::Timestamp;

/// The form that this module writes.
const FORM: &str = "1";

impl Account {
    /// The text.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::with_capacity(64);
        let (capacity, seen) = self.capacity;
        // Writing to a string does not fail.
        let _ = write!(text, "{FORM} {} {capacity} {}", self.at.millis(), seen.millis());
        let _ = match self.state {
            None => text.write_str(" -"),
            Some(State::Gcra(tat)) => write!(text, " g {} {} {}", tat.nanos, tat.rest, tat.of),
            Some(State::Window(Window { index, current, previous })) => {
                write!(text, " w {index} {current} {previous}")
            }
        };
        for Hold { id, amount, kept, ends, window, holder } in &self.holds {
            let _ = write!(text, " {id} {amount} {kept} {} {window} ", ends.millis());
            let _ = match holder {
                Some(holder) => write!(text, "{holder}"),
                None => text.write_str("-"),
            };
        }
        text
    }

    /// From the text.
    #[must_use]
    pub fn decode(text: &str) -> Option<Self> {
        let mut parts = text.split_ascii_whitespace();
        if parts.next()? != FORM {
            return None;
        }
        let parts = &mut parts;
        let at = time(parts)?;
        let capacity = (number(parts)?, time(parts)?);
        let state = match parts.next()? {
            "-" => None,
            "g" => {
                let (nanos, rest, of) = (number(parts)?, number(parts)?, number(parts)?);
                Some(State::Gcra(Tat { nanos, rest, of }))
            }
            "w" => {
                let (index, current, previous) = (number(parts)?, number(parts)?, number(parts)?);
                Some(State::Window(Window { index, current, previous }))
            }
            _ => return None,
        };
        let mut account = Self { state, holds: Vec::new(), at, capacity };
        while let Some(id) = parts.next() {
            let (amount, kept) = (number(parts)?, number(parts)?);
            let (ends, window) = (time(parts)?, number(parts)?);
            let holder = match parts.next()? {
                "-" => None,
                holder => Some(holder.parse().ok()?),
            };
            account.holds.push(Hold { id: id.parse().ok()?, amount, kept, ends, window, holder });
        }
        let in_order = account.holds.is_sorted_by_key(|hold| hold.ends);
        (in_order && account.holds.len() <= HOLDS_LIMIT).then_some(account)
    }
}

fn number<N: FromStr>(parts: &mut SplitAsciiWhitespace<'_>) -> Option<N> {
    parts.next()?.parse().ok()
}

fn time(parts: &mut SplitAsciiWhitespace<'_>) -> Option<Timestamp> {
    number(parts).map(Timestamp::from_millis)
}
