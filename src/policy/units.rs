//! The scalar types of the policy document. Each reads one JSON string or
//! number strictly and says what it expected.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::stages::ip_filter::prefix::{InvalidPrefix, Prefix};
use http::header::HeaderName;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Unexpected, Visitor};

/// A JSON string of a scalar type of ours.
trait FromText: Sized {
    /// What a good value looks like; completes "expected …".
    const EXPECTED: &'static str;
    fn from_text(text: &str) -> Option<Self>;
    /// What was expected in the place of this text.
    fn expected(_text: &str) -> Cow<'static, str> {
        Self::EXPECTED.into()
    }
}

struct TextVisitor<T>(std::marker::PhantomData<T>);

impl<T: FromText> Visitor<'_> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        T::from_text(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &&*T::expected(text)))
    }
}

macro_rules! text_type {
    ($($name:ty),+) => { $(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(TextVisitor(std::marker::PhantomData))
            }
        }
    )+ };
}

text_type!(Span, Size, Name, LimitName, FieldName, Prefix, HopPrefix, Address);

/// A duration: a whole number and a unit, `ms`, `s`, `m`, `h` or `d`, as in
/// `"250ms"`, `"15m"`. At most 366 days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

const LONGEST_SPAN: Duration = Duration::from_secs(366 * 86_400);

impl FromText for Span {
    const EXPECTED: &'static str =
        "a duration of at most 366d such as \"250ms\", \"60s\", \"15m\", \"2h\" or \"1d\"";

    fn from_text(text: &str) -> Option<Self> {
        let (digits, unit) = number_and_unit(text)?;
        let millis_per_unit: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        let span = Duration::from_millis(digits.checked_mul(millis_per_unit)?);
        (span <= LONGEST_SPAN).then_some(Self(span))
    }
}

/// In the largest unit in which it is a whole number.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u64); 5] =
            [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
        let millis = crate::time::millis_of(self.0);
        let fitting = UNITS.iter().find(|(_, factor)| millis > 0 && millis.checked_rem(*factor) == Some(0));
        let (unit, factor) = fitting.copied().unwrap_or(("ms", 1));
        write!(f, "{}{unit}", millis.checked_div(factor).unwrap_or_default())
    }
}

/// A size in bytes: a whole number and a unit, `B`, `KiB` or `MiB`, as in
/// `"64KiB"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl FromText for Size {
    const EXPECTED: &'static str = "a size such as \"512B\", \"64KiB\" or \"1MiB\"";

    fn from_text(text: &str) -> Option<Self> {
        let (digits, unit) = number_and_unit(text)?;
        let factor: u64 = match unit {
            "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            _ => return None,
        };
        digits.checked_mul(factor).map(Self)
    }
}

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (digits, unit) = text.split_at_checked(end)?;
    Some((digits.parse().ok()?, unit))
}

/// A name that users give: route, rule, upstream, variant, address set.
/// 1 to 64 of `[A-Za-z0-9_-]`, so it can stand in a field value, a cache key
/// and a log line as it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(pub String);

impl Name {
    /// From its text; `None` when it is no name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::from_text(text)
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The positions of names that stood there before.
pub fn repeated<'a>(names: impl ExactSizeIterator<Item = &'a Name> + Clone) -> Vec<usize> {
    // Lists are short as a rule: looking back is faster than hashing.
    const SHORT: usize = 16;
    if names.len() <= SHORT {
        let earlier = |position: usize, name: &Name| names.clone().take(position).any(|other| other == name);
        return names
            .clone()
            .enumerate()
            .filter(|(position, name)| earlier(*position, name))
            .map(|(position, _)| position)
            .collect();
    }
    let mut seen = HashSet::with_capacity(names.len());
    names.enumerate().filter(|(_, name)| !seen.insert(*name)).map(|(position, _)| position).collect()
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromText for Name {
    const EXPECTED: &'static str = "a name of 1 to 64 letters, digits, \"_\" or \"-\"";

    fn from_text(text: &str) -> Option<Self> {
        let good = (1..=64).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
        good.then(|| Self(text.to_owned()))
    }
}

/// A rule of `rate_limit`: by its id in whatever stage, or behind the id of
/// its route as in `"login/attempts"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitName {
    /// The route; `None` for any stage, the entry among them.
    pub route: Option<Name>,
    /// The rule.
    pub rule: Name,
}

impl LimitName {
    /// Whether it names that rule; the entry's rules have an empty route.
    #[must_use]
    pub fn names(&self, route: &str, rule: &str) -> bool {
        self.rule.0 == rule && self.route.as_ref().is_none_or(|own| own.0 == route)
    }
}

impl fmt::Display for LimitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(route) = &self.route {
            write!(f, "{route}/")?;
        }
        write!(f, "{}", self.rule)
    }
}

impl FromText for LimitName {
    const EXPECTED: &'static str = "the id of a limit such as \"per-client\" or \"login/attempts\"";

    fn from_text(text: &str) -> Option<Self> {
        Some(match text.split_once('/') {
            Some((route, rule)) => {
                Self { route: Some(Name::from_text(route)?), rule: Name::from_text(rule)? }
            }
            None => Self { route: None, rule: Name::from_text(text)? },
        })
    }
}

/// The name of a header field (RFC 9110, 5.1), any case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FieldName(pub HeaderName);

impl FromText for FieldName {
    const EXPECTED: &'static str =
        "the name of a header field of at most 128 characters such as \"X-Request-Id\"";

    fn from_text(text: &str) -> Option<Self> {
        let name = HeaderName::from_str(text).ok()?;
        (text.len() <= 128).then_some(Self(name))
    }
}

/// Header fields and the values they must have; each field once, whatever the
/// case of its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldValues(pub Vec<(HeaderName, String)>);

struct FieldValuesVisitor;

impl<'de> Visitor<'de> for FieldValuesVisitor {
    type Value = FieldValues;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of header fields and their values, each field once")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<FieldValues, A::Error> {
        let mut values: Vec<(HeaderName, String)> = Vec::new();
        while let Some((name, value)) = entries.next_entry::<FieldName, String>()? {
            if values.iter().any(|(known, _)| *known == name.0) {
                return Err(A::Error::invalid_value(Unexpected::Map, &self));
            }
            values.push((name.0, value));
        }
        Ok(FieldValues(values))
    }
}

impl<'de> Deserialize<'de> for FieldValues {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldValuesVisitor)
    }
}

impl FromText for Prefix {
    const EXPECTED: &'static str =
        "an address or a prefix without host bits such as \"198.51.100.0/24\" or \"2001:db8::/32\"";

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn expected(text: &str) -> Cow<'static, str> {
        match text.parse::<Self>() {
            Err(InvalidPrefix::Embedded(v4)) => format!(
                "the IPv4 prefix \"{v4}\": clients with 6to4 and NAT64 addresses are known by the IPv4 address in them"
            )
            .into(),
            _ => Self::EXPECTED.into(),
        }
    }
}

/// A prefix of our own hops. None of them is known by an address that a 6to4
/// or NAT64 address embeds, so a prefix of such addresses would never match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HopPrefix(pub Prefix);

impl FromText for HopPrefix {
    const EXPECTED: &'static str = Prefix::EXPECTED;

    fn from_text(text: &str) -> Option<Self> {
        let written = Prefix::parse_as_written(text).ok()?;
        if written.embedded().is_some() { None } else { written.seen().ok().map(Self) }
    }

    fn expected(text: &str) -> Cow<'static, str> {
        match Prefix::parse_as_written(text) {
            Ok(written) if written.embedded().is_some() => {
                "a prefix that is not one of 6to4 or NAT64 addresses: whoever runs the tunnel or translator chooses them"
                    .into()
            }
            _ => Self::EXPECTED.into(),
        }
    }
}

/// An IP address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address(pub std::net::IpAddr);

impl FromText for Address {
    const EXPECTED: &'static str = "an IP address such as \"127.0.0.1\" or \"2001:db8::1\"";

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok().map(Self)
    }
}

/// A share in percent with at most two decimals, 0 to 100: `5`, `0.25`.
/// Held in hundredths of a percent, so sums are exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(pub u32);

/// A hundred percent.
pub const HUNDRED_PERCENT: u32 = 10_000;

struct PercentVisitor;

impl Visitor<'_> for PercentVisitor {
    type Value = Percent;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a percentage from 0 to 100 with at most two decimals such as 5 or 0.25")
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Percent, E> {
        u32::try_from(value)
            .ok()
            .and_then(|percent| percent.checked_mul(100))
            .filter(|hundredths| *hundredths <= HUNDRED_PERCENT)
            .map(Percent)
            .ok_or_else(|| E::invalid_value(Unexpected::Unsigned(value), &self))
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    fn visit_f64<E: Error>(self, value: f64) -> Result<Percent, E> {
        let hundredths = value * 100.0;
        let whole = hundredths.round();
        // 0.29 * 100.0 is 28.999999999999996: compare within the error of one
        // multiplication, which two decimals cannot reach.
        if (0.0..=f64::from(HUNDRED_PERCENT)).contains(&whole) && (hundredths - whole).abs() < 1e-6 {
            Ok(Percent(whole as u32))
        } else {
            Err(E::invalid_value(Unexpected::Float(value), &self))
        }
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PercentVisitor)
    }
}
