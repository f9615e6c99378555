//! HTTP-date (RFC 9110, 5.6.7): the three forms, and nothing like them.
//!
//! Case, commas, spaces and the number of digits count, `GMT` is the one zone,
//! and the day of the week is the one that the date has. What is no date tells
//! nothing about time: an Expires field of that kind has expired (RFC 9111,
//! 5.3).

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

enum Year<'a> {
    Four(&'a str),
    Two(&'a str),
}

/// Seconds since 1970; `None` when it is no HTTP-date, or one before 1970.
/// `now` says which century two digits of a year belong to.
#[must_use]
pub fn parse(text: &str, now: Timestamp) -> Option<u64> {
    imf_fixdate(text).or_else(|| rfc850(text)).or_else(|| asctime(text))?.seconds(now)
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`.
fn imf_fixdate(text: &str) -> Option<Parts<'_>> {
    let (day_name, rest) = text.split_once(", ")?;
    let mut words = rest.split(' ');
    let parts = Parts {
        day_name: long_name(day_name)?,
        day: words.next()?,
        month: words.next()?,
        year: Year::Four(words.next()?),
        time: words.next()?,
    };
    (words.next() == Some("GMT") && words.next().is_none()).then_some(parts)
}

/// `Sunday, 06-Nov-94 08:49:37 GMT`.
fn rfc850(text: &str) -> Option<Parts<'_>> {
    let (day_name, rest) = text.split_once(", ")?;
    let (date, rest) = rest.split_once(' ')?;
    let mut numbers = date.split('-');
    let (day, month, year) = (numbers.next()?, numbers.next()?, numbers.next()?);
    let parts = Parts { day_name, day, month, year: Year::Two(year), time: rest.strip_suffix(" GMT")? };
    numbers.next().is_none().then_some(parts)
}

/// `Sun Nov  6 08:49:37 1994`.
fn asctime(text: &str) -> Option<Parts<'_>> {
    let (day_name, rest) = text.split_once(' ')?;
    let (month, rest) = rest.split_once(' ')?;
    let (day, rest) = rest.split_at_checked(2)?;
    let (time, year) = rest.strip_prefix(' ')?.split_once(' ')?;
    Some(Parts { day_name: long_name(day_name)?, day, month, year: Year::Four(year), time })
}

fn long_name(short: &str) -> Option<&'static str> {
    DAYS.into_iter().find(|name| short.len() == 3 && name.starts_with(short))
}

impl Parts<'_> {
    fn seconds(&self, now: Timestamp) -> Option<u64> {
        let month = MONTHS.iter().position(|name| *name == self.month)?.saturating_add(1);
        // A day below ten is padded with a space in asctime alone; there, and
        // only there, does one begin with a space.
        let day = self.day.replacen(' ', "0", 1);
        let (day, time) = (digits(&day, 2)?, self.time);
        let at = |year: u64| -> Option<u64> {
            // Compares what it reads with what it would write, so no such day
            // and no such time is read.
            let moment = Timestamp::parse(&format!("{year:04}-{month:02}-{day:02}T{time}.000Z"))?;
            let days = moment.seconds().checked_div(86_400)?;
            let name = DAYS.get(usize::try_from(days.checked_rem(7)?).ok()?)?;
            (*name == self.day_name).then(|| moment.seconds())
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
