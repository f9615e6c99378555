//! Offences in a sliding window, counted in sixtieths of it.
//!
//! What is counted lies within the window for certain: the sixty buckets end
//! with the one that has begun. So nobody is over a threshold who is not, and
//! an offence is forgotten up to one bucket too early.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::{Timestamp, millis_of};

/// How many buckets a window has.
pub const BUCKETS: u64 = 60;

/// Counts by bucket, in order, none of them zero. A bucket is known by its
/// number since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window(Vec<(u64, u32)>);

fn bucket(window: Duration, at: Timestamp) -> u64 {
    // Rounded up, so that sixty of them are not less than a window.
    let length = millis_of(window).div_ceil(BUCKETS).max(1);
    at.millis().checked_div(length).unwrap_or_default()
}

/// The oldest bucket that lies within the window.
fn oldest(window: Duration, now: Timestamp) -> u64 {
    let since = Timestamp::from_millis(now.millis().saturating_sub(millis_of(window)));
    bucket(window, since).saturating_add(1)
}

impl Window {
    /// Counts so many offences at a moment; what lies before the window at
    /// `now` is not counted.
    pub fn add(&mut self, window: Duration, at: Timestamp, count: u32, now: Timestamp) {
        let oldest = oldest(window, now);
        self.0.retain(|(number, _)| *number >= oldest);
        let number = bucket(window, at.min(now));
        if number < oldest || count == 0 {
            return;
        }
        match self.0.binary_search_by_key(&number, |(number, _)| *number) {
            Ok(place) => {
                if let Some((_, known)) = self.0.get_mut(place) {
                    *known = known.saturating_add(count);
                }
            }
            Err(place) => self.0.insert(place, (number, count)),
        }
    }

    /// How many there are in the window that ends now.
    #[must_use]
    pub fn sum(&self, window: Duration, now: Timestamp) -> u32 {
        let (oldest, newest) = (oldest(window, now), bucket(window, now));
        // After a clock that went back, what lies ahead says nothing.
        let within = self.0.iter().filter(|(number, _)| (oldest..=newest).contains(number));
        within.fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}
