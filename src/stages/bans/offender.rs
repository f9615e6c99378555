//! What a `Limiter` object remembers of a client and a trigger, and when that
//! comes to a ban.
//!
//! 1. Offences of all isolates are summed in one window. Each counts at the
//!    moment of the first of its batch, so none counts longer than it should.
//! 2. While the trigger's ban lasts nothing is counted: what comes in then was
//!    on its way when the client was banned.
//! 3. An isolate that has counted up to the threshold by itself is believed:
//!    its offences lie within one window.
//! 4. A further ban is longer, until the last one has been over for
//!    `forget_after`.
//! 5. Of what is left to the threshold an eighth may stay with each isolate,
//!    for a few seconds ([`LEASE`]). So eight isolates together keep back less
//!    than is left, and a client of more of them is banned that much later.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::message::Offence;
use super::window::Window;
use super::{Ban, Terms, whole_seconds};
use crate::time::{Timestamp, millis_of};

/// How long an isolate may keep offences to itself.
pub const LEASE: Duration = Duration::from_secs(5);

/// The part of what is left to the threshold that one isolate may keep back.
const SHARE: u32 = 8;

/// A client, as one trigger knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Offender {
    /// Its offences since its last ban.
    window: Window,
    /// The length of that window, in milliseconds: a trigger may be changed.
    length: u64,
    /// How many bans there were in a row.
    bans: u32,
    /// When the last one began, in milliseconds.
    since: u64,
    /// When it ends.
    until: u64,
    /// Whether it is one in shadow.
    shadow: bool,
}

impl Offender {
    /// Counts offences; gives the ban that they come to. `luck` is for the
    /// ban's length.
    pub fn judge(&mut self, terms: &Terms, offence: &Offence, now: Timestamp, luck: u64) -> Option<Ban> {
        if self.shadow && !terms.shadow && self.until > now.millis() {
            // A ban that was only noted keeps nobody from a real one.
            self.until = now.millis();
        }
        let until = Timestamp::from_millis(self.until);
        let length = millis_of(terms.window);
        if self.length != length {
            self.window.clear();
            self.length = length;
        }
        if until > now || offence.first < until {
            return None;
        }
        self.window.add(terms.window, offence.first, offence.count, now);
        if offence.banned.is_none() && self.window.sum(terms.window, now) < terms.threshold {
            return None;
        }
        let forgotten = self.until == 0 || until.after(terms.forget_after) <= now;
        let earlier = if forgotten { 0 } else { self.bans };
        let ends = now.after(Duration::from_millis(terms.length(earlier, luck)));
        let since = offence.banned.unwrap_or(now).min(now);
        self.window.clear();
        self.bans = earlier.saturating_add(1);
        self.since = since.millis();
        self.until = whole_seconds(ends).millis();
        self.shadow = terms.shadow;
        self.ban(terms, offence)
    }

    /// The ban that it has, ended or not.
    #[must_use]
    pub fn ban(&self, terms: &Terms, offence: &Offence) -> Option<Ban> {
        (self.until > 0).then(|| Ban {
            network: offence.network,
            since: Timestamp::from_millis(self.since),
            until: Timestamp::from_millis(self.until),
            cause: terms.id.clone(),
            shadow: self.shadow,
        })
    }

    /// How many bans there were in a row.
    #[must_use]
    pub const fn bans(&self) -> u32 {
        self.bans
    }

    /// How many more offences an isolate may keep to itself.
    #[must_use]
    pub fn keep(&self, terms: &Terms, now: Timestamp) -> u32 {
        let left = terms.threshold.saturating_sub(self.window.sum(terms.window, now));
        left.saturating_sub(1).wrapping_div(SHARE)
    }

    /// When it says nothing any more.
    #[must_use]
    pub fn ends(&self, terms: &Terms, now: Timestamp) -> Timestamp {
        let counted = now.after(terms.window);
        if self.until == 0 {
            return counted;
        }
        counted.max(Timestamp::from_millis(self.until).after(terms.forget_after))
    }
}
