//! HTTP-date (RFC 9110, 5.6.7): the three forms, and nothing like them.
//!
//! Commas, spaces and the number of digits count, and `GMT` is the one zone.
//! What is no date tells nothing about time: an Expires field of that kind has
//! expired (RFC 9111, 5.3). A condition is read to the letter: case counts
//! there, and the day of the week is the one that the date has. Where the
//! lifetime and the age of an answer are told, neither matters.

use crate::time::Timestamp;

const DAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// The parts of a date, as text.
struct Parts<'a> {
    day_name: &'a str,
    day: &'a str,
    month: &'a str,
    year: Year<'a>,
    time: &'a str,
}

/// A moment as the preferred form writes it, whole seconds, cut off; empty for
/// one after the year 9999, which no form can write.
#[must_use]
pub fn format(moment: Timestamp) -> String {
    write(moment).unwrap_or_default()
}

fn write(moment: Timestamp) -> Option<String> {
    let weekday = moment.seconds().checked_div(86_400)?.checked_rem(7)?;
    let name = DAYS.get(usize::try_from(weekday).ok()?)?.get(..3)?;
    let text = moment.to_string();
    let part = |range: std::ops::Range<usize>| text.get(range);
    let month = part(5..7)?.parse::<usize>().ok()?.checked_sub(1)?;
    let (year, month, day, time) = (part(0..4)?, MONTHS.get(month)?, part(8..10)?, part(11..19)?);
    Some(format!("{name}, {day} {month} {year} {time} GMT"))
}

/// How closely a date is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    Exact,
    Loose,
}

impl Reading {
    /// Whether a word is the one that is meant.
    fn same(self, word: &str, meant: &str) -> bool {
        match self {
            Self::Exact => word == meant,
            Self::Loose => word.eq_ignore_ascii_case(meant),
        }
    }
}

enum Year<'a> {
    Four(&'a str),
    Two(&'a str),
}

/// Seconds since 1970 of a date in a condition; `None` when it is no
/// HTTP-date, or one before 1970. `now` says which century two digits of a
/// year belong to.
#[must_use]
pub fn parse(text: &str, now: Timestamp) -> Option<u64> {
    read(text, now, Reading::Exact)
}

/// The same of a date that tells how fresh an answer is: case does not matter
/// (RFC 9111, 4.2, which says should), and the day of the week may be a wrong
/// one, since it says nothing that the date does not.
#[must_use]
pub fn parse_loosely(text: &str, now: Timestamp) -> Option<u64> {
    read(text, now, Reading::Loose)
}

fn read(text: &str, now: Timestamp, reading: Reading) -> Option<u64> {
    imf_fixdate(text, reading)
        .or_else(|| rfc850(text, reading))
        .or_else(|| asctime(text, reading))?
        .seconds(now, reading)
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`.
fn imf_fixdate(text: &str, reading: Reading) -> Option<Parts<'_>> {
    let (day_name, rest) = text.split_once(", ")?;
    let mut words = rest.split(' ');
    let parts = Parts {
        day_name: long_name(day_name, reading)?,
        day: words.next()?,
        month: words.next()?,
        year: Year::Four(words.next()?),
        time: words.next()?,
    };
    let is_gmt = words.next().is_some_and(|zone| reading.same(zone, "GMT"));
    (is_gmt && words.next().is_none()).then_some(parts)
}

/// `Sunday, 06-Nov-94 08:49:37 GMT`.
fn rfc850(text: &str, reading: Reading) -> Option<Parts<'_>> {
    let (day_name, rest) = text.split_once(", ")?;
    let (date, rest) = rest.split_once(' ')?;
    let (time, zone) = rest.split_once(' ')?;
    let mut numbers = date.split('-');
    let (day, month, year) = (numbers.next()?, numbers.next()?, numbers.next()?);
    let parts = Parts { day_name, day, month, year: Year::Two(year), time };
    (reading.same(zone, "GMT") && numbers.next().is_none()).then_some(parts)
}

/// `Sun Nov  6 08:49:37 1994`.
fn asctime(text: &str, reading: Reading) -> Option<Parts<'_>> {
    let (day_name, rest) = text.split_once(' ')?;
    let (month, rest) = rest.split_once(' ')?;
    let (day, rest) = rest.split_at_checked(2)?;
    let (time, year) = rest.strip_prefix(' ')?.split_once(' ')?;
    Some(Parts { day_name: long_name(day_name, reading)?, day, month, year: Year::Four(year), time })
}

fn long_name(short: &str, reading: Reading) -> Option<&'static str> {
    DAYS.into_iter().find(|name| name.get(..3).is_some_and(|abbreviated| reading.same(short, abbreviated)))
}

impl Parts<'_> {
    fn seconds(&self, now: Timestamp, reading: Reading) -> Option<u64> {
        let month = MONTHS.iter().position(|name| reading.same(self.month, name))?.saturating_add(1);
        let is_day = DAYS.iter().any(|name| reading.same(self.day_name, name));
        // A day below ten is padded with a space in asctime alone; there, and
        // only there, does one begin with a space.
        let day = match self.day.strip_prefix(' ') {
            Some(day) => digits(day, 1)?,
            None => digits(self.day, 2)?,
        };
        let time = self.time;
        let at = |year: u64| -> Option<u64> {
            // Compares what it reads with what it would write, so no such day
            // and no such time is read.
            let moment = Timestamp::parse(&format!("{year:04}-{month:02}-{day:02}T{time}.000Z"))?;
            let days = moment.seconds().checked_div(86_400)?;
            let name = DAYS.get(usize::try_from(days.checked_rem(7)?).ok()?)?;
            let agrees = match reading {
                Reading::Exact => *name == self.day_name,
                Reading::Loose => is_day,
            };
            agrees.then(|| moment.seconds())
        };
        match self.year {
            Year::Four(year) => at(digits(year, 4)?),
            // Two digits that appear to be more than 50 years in the future
            // mean the most recent year in the past with the same two.
            Year::Two(year) => {
                let this = Timestamp::to_string(&now).get(..4)?.parse::<u64>().ok()?;
                let century = this.saturating_sub(this.checked_rem(100)?);
                let year = century.saturating_add(digits(year, 2)?);
                let past = year > this.saturating_add(50);
                at(if past { year.saturating_sub(100) } else { year })
            }
        }
    }
}

fn digits(text: &str, count: usize) -> Option<u64> {
    let good = text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    good.then(|| text.parse().ok()).flatten()
}
