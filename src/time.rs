//! A point in time as a value. There is no clock here: the adapter reads the
//! runtime's clock and passes the reading on.

use std::fmt;
use std::time::Duration;

use crate::text::{ascii, fill_decimal};

/// Milliseconds since 1970-01-01T00:00:00Z.
///
/// The runtime's clock has millisecond resolution, so this is all there is.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(u64);

const MILLIS_PER_DAY: u64 = 86_400_000;

/// The last moment of the year 9999: RFC 3339 has four digits for a year.
const LAST_SHOWN: u64 = 253_402_300_799_999;

impl Timestamp {
    /// From seconds since the epoch.
    #[must_use]
    pub const fn from_seconds(seconds: u64) -> Self {
        Self::from_millis(seconds.saturating_mul(1_000))
    }

    /// From milliseconds since the epoch.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// From a JavaScript `Date.now()`; what is not a number becomes 0.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub fn from_js(millis: f64) -> Self {
        // `as` saturates, and turns NaN into 0.
        Self(millis as u64)
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the epoch.
    #[must_use]
    pub const fn seconds(self) -> u64 {
        self.0.wrapping_div(1000)
    }

    /// Nanoseconds since the epoch.
    #[must_use]
    pub fn nanos(self) -> u128 {
        u128::from(self.0).saturating_mul(1_000_000)
    }

    /// This moment and `span` more; saturates at the end of time.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(millis_of(span)))
    }

    /// This moment less `span`; saturates at the epoch.
    #[must_use]
    pub fn before(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(millis_of(span)))
    }

    /// From the text that [`Display`](fmt::Display) writes, and no other form
    /// of RFC 3339; `None` when it is none, or no day of the calendar.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let number = |range: std::ops::Range<usize>| -> Option<u64> {
            let digits = text.get(range)?;
            digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
        };
        let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
        let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
        let days = days_from_civil(year, month, day)?;
        let seconds = hour.saturating_mul(3_600).saturating_add(minute.saturating_mul(60));
        let millis = seconds.saturating_add(second).saturating_mul(1_000).saturating_add(number(20..23)?);
        let time = Self(days.saturating_mul(MILLIS_PER_DAY).saturating_add(millis));
        // What is not written back as it was read was no such time: another
        // separator, the 30th of February, the 61st second.
        (time.to_string() == text).then_some(time)
    }

    /// From any form of RFC 3339 (5.6): with or without a fraction, in UTC or
    /// with an offset. What is finer than a millisecond is cut off; a leap
    /// second is none that we know.
    #[must_use]
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let (whole, rest) = text.split_at_checked(19)?;
        let (fraction, zone) = match rest.strip_prefix('.') {
            Some(rest) => rest.split_at_checked(rest.bytes().take_while(u8::is_ascii_digit).count())?,
            None => ("0", rest),
        };
        if fraction.is_empty() {
            return None;
        }
        let millis: String = fraction.chars().chain("00".chars()).take(3).collect();
        let local = Self::parse(&format!("{}.{millis}Z", whole.to_ascii_uppercase()))?;
        let (sign, offset) = match zone {
            "Z" | "z" => return Some(local),
            _ => zone.split_at_checked(1)?,
        };
        let (hours, minutes) = offset.split_once(':')?;
        let number = |text: &str, limit: u64| -> Option<u64> {
            let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse().ok()).flatten().filter(|number| *number < limit)
        };
        let seconds = number(hours, 24)?.saturating_mul(3_600);
        let seconds = seconds.saturating_add(number(minutes, 60)?.saturating_mul(60));
        let offset = Duration::from_secs(seconds);
        match sign {
            "+" => local.0.checked_sub(millis_of(offset)).map(Self),
            "-" => Some(local.after(offset)),
            _ => None,
        }
    }

    /// How long ago `earlier` was; zero when it is not in the past.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// Whole milliseconds of a duration, saturating.
#[must_use]
pub fn millis_of(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// RFC 3339 in UTC with milliseconds: `2026-01-01T00:00:00.000Z`. What is
/// later than the year 9999 is shown as the end of it.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

impl Timestamp {
    fn text(self) -> String {
        let shown = self.0.min(LAST_SHOWN);
        let (year, month, day) = civil(shown.wrapping_div(MILLIS_PER_DAY));
        let rest = shown.wrapping_rem(MILLIS_PER_DAY);
        let (seconds, millis) = (rest.wrapping_div(1000), rest.wrapping_rem(1000));
        let (minutes, second) = (seconds.wrapping_div(60), seconds.wrapping_rem(60));
        let (hour, minute) = (minutes.wrapping_div(60), minutes.wrapping_rem(60));
        let mut text = *b"0000-00-00T00:00:00.000Z";
        for (place, width, value) in [
            (0_usize, 4_usize, year),
            (5, 2, month),
            (8, 2, day),
            (11, 2, hour),
            (14, 2, minute),
            (17, 2, second),
            (20, 3, millis),
        ] {
            if let Some(digits) = text.get_mut(place..place.saturating_add(width)) {
                fill_decimal(digits, value);
            }
        }
        ascii(&text).to_owned()
    }
}

/// The proleptic Gregorian date of a day count since 1970-01-01.
///
/// The year is taken to begin in March, so that the leap day is its last and
/// months have a regular length (H. Hinnant, "chrono-compatible low-level date
/// algorithms", `civil_from_days`).
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days.saturating_add(719_468);
    let era = shifted.wrapping_div(146_097);
    let day_of_era = shifted.wrapping_rem(146_097);
    let leaps = (day_of_era.wrapping_div(1_460))
        .wrapping_add(day_of_era.wrapping_div(146_096))
        .wrapping_sub(day_of_era.wrapping_div(36_524));
    let year_of_era = day_of_era.wrapping_sub(leaps).wrapping_div(365);
    let day_of_year = day_of_era.wrapping_sub(
        (year_of_era.wrapping_mul(365))
            .wrapping_add(year_of_era.wrapping_div(4))
            .wrapping_sub(year_of_era.wrapping_div(100)),
    );
    let month_from_march = day_of_year.wrapping_mul(5).wrapping_add(2).wrapping_div(153);
    let day = day_of_year
        .wrapping_sub(month_from_march.wrapping_mul(153).wrapping_add(2).wrapping_div(5))
        .wrapping_add(1);
    let month = if month_from_march < 10 {
        month_from_march.wrapping_add(3)
    } else {
        month_from_march.wrapping_sub(9)
    };
    let year = year_of_era.wrapping_add(era.wrapping_mul(400)).wrapping_add(u64::from(month <= 2));
    (year, month, day)
}

/// The day count since 1970-01-01 of a date, the inverse of [`civil`]
/// (`days_from_civil`); `None` before that day.
fn days_from_civil(year: u64, month: u64, day: u64) -> Option<u64> {
    let year = if month <= 2 { year.checked_sub(1)? } else { year };
    let (era, year_of_era) = (year.wrapping_div(400), year.wrapping_rem(400));
    let month_from_march = if month > 2 { month.saturating_sub(3) } else { month.saturating_add(9) };
    let day_of_year = month_from_march
        .saturating_mul(153)
        .saturating_add(2)
        .wrapping_div(5)
        .saturating_add(day)
        .checked_sub(1)?;
    let leaps = year_of_era.wrapping_div(4).saturating_sub(year_of_era.wrapping_div(100));
    let day_of_era = year_of_era.saturating_mul(365).saturating_add(leaps).saturating_add(day_of_year);
    era.saturating_mul(146_097).saturating_add(day_of_era).checked_sub(719_468)
}
