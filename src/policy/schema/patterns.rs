//! Regular expressions (ECMA-262, as JSON Schema has them) of the scalar
//! types. Each takes at least what the parser takes.

use std::fmt::Write as _;

/// A media type.
pub const MEDIA_TYPE: &str = "^[ -~]*/[ -~]*$";
/// A [`Name`](crate::policy::units::Name).
pub const NAME: &str = "^[A-Za-z0-9_-]{1,64}$";

/// A [`LimitName`](crate::policy::units::LimitName).
pub const LIMIT_NAME: &str = "^(?:[A-Za-z0-9_-]{1,64}/)?[A-Za-z0-9_-]{1,64}$";

/// A field name (RFC 9110, 5.1).
pub const FIELD_NAME: &str = "^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$";

/// A token (RFC 9110, 5.6.2).
pub const TOKEN: &str = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$";

/// A method without lower-case letters.
pub const METHOD: &str = "^[!#$%&'*+.^_`|~0-9A-Z-]+$";

macro_rules! octet {
    () => {
        "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
    };
}

macro_rules! v4 {
    () => {
        concat!(octet!(), "(?:\\.", octet!(), "){3}")
    };
}

// Groups of an IPv6 address are not counted.
macro_rules! v6 {
    () => {
        "[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:]*(?::[0-9.]+)?"
    };
}

/// An IP address.
pub const ADDRESS: &str = concat!("^(?:", v4!(), "|", v6!(), ")$");

/// A prefix; that it has no host bits is more than an expression can tell.
pub const PREFIX: &str = concat!(
    "^(?:",
    v4!(),
    "(?:/(?:3[0-2]|[12]?[0-9]))?|",
    v6!(),
    "(?:/(?:12[0-8]|1[01][0-9]|[1-9]?[0-9]))?)$"
);

macro_rules! host_name {
    () => {
        "[A-Za-z0-9_-]{1,63}(?:\\.[A-Za-z0-9_-]{1,63})*\\.?"
    };
}

macro_rules! authority {
    () => {
        concat!("(?:", host_name!(), "|\\[[0-9A-Fa-f:.]{2,45}\\])(?::[0-9]{0,5})?")
    };
}

/// A host of `match`.
pub const HOST_PATTERN: &str = concat!("^(?:\\*\\.", host_name!(), "|", authority!(), ")$");

/// The URL of an origin.
pub const ORIGIN: &str = concat!("^(?:request|https?://", authority!(), "/?)$");

/// The URL of a feed.
pub const FEED_URL: &str = concat!("^[Hh][Tt][Tt][Pp][Ss]://", authority!(), "(?:[/?][!-~]*)?$");

/// A path of `match`: segments without control characters, space, `#`, `?`,
/// `\`, `*` and braces, or one name in braces; `/*` at the end.
pub const PATH: &str =
    "^(?:(?:/(?:\\{[!#$%&'*+.^_`|~0-9A-Za-z-]+\\}|[^\\u0000-\\u0020\\u007f#*?/\\\\{}]*))+(?:/\\*)?|/\\*)$";

const SPAN_UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

const SIZE_UNITS: [(&str, u64); 3] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20)];

/// Durations from `least` to `most` milliseconds.
#[must_use]
pub fn span_pattern(least: u64, most: u64) -> String {
    with_units(least, most, &SPAN_UNITS)
}

/// Sizes from `least` to `most` bytes.
#[must_use]
pub fn size_pattern(least: u64, most: u64) -> String {
    with_units(least, most, &SIZE_UNITS)
}

/// A duration in the largest unit that fits.
#[must_use]
pub fn span_text(millis: u64) -> String {
    in_units(millis, &SPAN_UNITS)
}

/// A size in the largest unit that fits.
#[must_use]
pub fn size_text(bytes: u64) -> String {
    in_units(bytes, &SIZE_UNITS)
}

fn in_units(value: u64, units: &[(&str, u64)]) -> String {
    let fits = units.iter().rev().find(|(_, factor)| value > 0 && value.checked_rem(*factor) == Some(0));
    let (unit, factor) = fits.or(units.first()).copied().unwrap_or(("", 1));
    format!("{}{unit}", value.checked_div(factor).unwrap_or_default())
}

fn with_units(least: u64, most: u64, units: &[(&str, u64)]) -> String {
    let alternatives: Vec<String> = units
        .iter()
        .filter_map(|(unit, factor)| {
            let (from, to) = (least.div_ceil(*factor), most.checked_div(*factor)?);
            (from <= to).then(|| format!("0*(?:{}){unit}", numbers(from, to)))
        })
        .collect();
    format!("^(?:{})$", alternatives.join("|"))
}

/// The decimal numbers from `least` to `most`, without leading zeros.
#[must_use]
pub fn numbers(least: u64, most: u64) -> String {
    let mut alternatives = Vec::new();
    let mut from = least;
    while from <= most {
        let to = last_alike(from, most);
        alternatives.push(digits(from, to));
        match to.checked_add(1) {
            Some(next) => from = next,
            None => break,
        }
    }
    alternatives.join("|")
}

/// The greatest number up to `most` that one row of digit classes reaches from
/// `from`: the trailing digits that can run freely do, one more runs as far as
/// it may.
fn last_alike(from: u64, most: u64) -> u64 {
    let mut best = from;
    let mut power = 1_u64;
    loop {
        // All digits below `power` have to begin at zero, or they could not run.
        let free = power.saturating_sub(1);
        let digit = from.checked_div(power).unwrap_or_default().wrapping_rem(10);
        if from.checked_rem(power) != Some(0) {
            return best;
        }
        // How far the next digit runs without a carry.
        for last in (digit..=9).rev() {
            let steps = last.saturating_sub(digit);
            let reach = steps.checked_mul(power).and_then(|by| from.checked_add(by)?.checked_add(free));
            if let Some(reach) = reach.filter(|reach| *reach <= most) {
                best = best.max(reach);
                break;
            }
        }
        match power.checked_mul(10) {
            // A number does not get longer within one row.
            Some(next) if next <= from => power = next,
            _ => return best,
        }
    }
}

/// Digit classes from one number to another of the same length.
fn digits(from: u64, to: u64) -> String {
    let mut pattern = String::new();
    let mut free = 0_u32;
    for (first, last) in from.to_string().chars().zip(to.to_string().chars()) {
        match (first, last) {
            ('0', '9') => free = free.saturating_add(1),
            (first, last) if first == last => pattern.push(first),
            // Writing to a String cannot fail.
            (first, last) => drop(write!(pattern, "[{first}-{last}]")),
        }
    }
    match free {
        0 => {}
        1 => pattern.push_str("[0-9]"),
        free => drop(write!(pattern, "[0-9]{{{free}}}")),
    }
    pattern
}
