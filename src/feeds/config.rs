//! A feed in the policy: where a list is, how it is read, how often, and what
//! it may be.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU16;
use std::time::Duration;

use serde::de::{Deserializer, Error, Unexpected, Visitor};
use serde::{Deserialize, Serialize};

use super::parse::Limits;
use crate::addresses::format::SETS_LIMIT;
use crate::policy::decode::{Problems, Trail};
use crate::policy::units::{Name, Size, Span};
use crate::stages::ip_filter::AddressSetConfig;
use crate::stages::target::parse_authority;

/// `address_sets.NAME.feed` in the policy.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(transform = crate::feeds::schema::column_of_csv))]
#[serde(deny_unknown_fields)]
pub struct FeedConfig {
    /// Where the list is: `https` only, a public host by name, no credentials; at
    /// most 2,000 bytes. Redirects are followed to such URLs, at most three.
    /// It is shown wherever the set is: no place for a key.
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::feeds::schema::url"))]
    pub url: String,
    /// How it is written. Default `netset`.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(extend("default" = "netset")))]
    pub format: FormatName,
    /// The column of a `csv`, from 1, or its name in the first record. A file
    /// with a header is read by name: by number, the header is an entry too.
    #[serde(default)]
    pub column: Option<Column>,
    /// How often it is fetched, 5m to 7d. Default 1h.
    #[serde(default = "default_interval")]
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::policy::schema::span::<300_000, 604_800_000>", extend("default" = "1h")))]
    pub interval: Span,
    /// What happens to a prefix with bits set behind its length, such as
    /// `198.51.100.1/24`. Default `refuse`.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(extend("default" = "refuse")))]
    pub host_bits: HostBits,
    /// The most bytes that the list may have, 1KiB to 64MiB; a JSON document
    /// may have 16MiB whatever stands here. Default 32MiB.
    #[serde(default = "default_max_bytes")]
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::policy::schema::size::<1_024, 67_108_864>", extend("default" = "32MiB")))]
    pub max_bytes: Size,
    /// The most prefixes that it may have, those that overlap included.
    /// Default 1000000.
    #[serde(default = "default_max_prefixes")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 2_000_000), extend("default" = 1_000_000)))]
    pub max_prefixes: u32,
    /// By how much the number of its prefixes may change from one list to the
    /// next, in percent of the one before. A first list may have any number.
    /// Default 50.
    #[serde(default = "default_max_change")]
    #[cfg_attr(feature = "schema", schemars(range(min = 0, max = 10_000), extend("default" = 50)))]
    pub max_change: u32,
    /// Whether private and special networks may be in it. Default `false`.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(extend("default" = false)))]
    pub allow_private: bool,
}

/// The least that `interval` may be: as often as feeds are looked at.
pub const INTERVAL_LEAST: Duration = Duration::from_secs(300);

/// The default of `interval`.
pub const INTERVAL: Duration = Duration::from_secs(3_600);

/// The default of `max_bytes`.
pub const MAX_BYTES: u64 = 32 << 20;

/// The most that `max_bytes` may be.
pub const MAX_BYTES_LIMIT: u64 = 64 << 20;

/// The default of `max_prefixes`.
pub const MAX_PREFIXES: u32 = 1_000_000;

/// The most that `max_prefixes` may be.
pub const MAX_PREFIXES_LIMIT: u32 = 2_000_000;

/// The default of `max_change`, in percent.
pub const MAX_CHANGE: u32 = 50;

/// The most that `max_change` may be, in percent.
pub const MAX_CHANGE_LIMIT: u32 = 10_000;

/// The longest URL, in bytes.
pub const URL_LIMIT: usize = 2_000;

fn default_interval() -> Span {
    Span(INTERVAL)
}

fn default_max_bytes() -> Size {
    Size(MAX_BYTES)
}

fn default_max_prefixes() -> u32 {
    MAX_PREFIXES
}

fn default_max_change() -> u32 {
    MAX_CHANGE
}

/// How a list is written, as the policy and the admin API name it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum FormatName {
    /// Lines of an address, a prefix or a range of addresses
    /// (`198.51.100.0 - 198.51.100.255`); comments from `#` or `;` on.
    #[default]
    Netset,
    /// Spamhaus DROP as text: `1.10.16.0/20 ; SBL256894`.
    SpamhausDrop,
    /// Spamhaus DROP as JSON lines: `{"cidr": "1.10.16.0/20", …}`.
    SpamhausJson,
    /// `ip-ranges.json` of AWS.
    Aws,
    /// `goog.json`, `cloud.json` and the like of Google.
    Google,
    /// `/client/v4/ips` of Cloudflare's API, or the plain lists `ips-v4` and
    /// `ips-v6`.
    Cloudflare,
    /// One column of comma-separated values (RFC 4180).
    Csv,
}

impl FormatName {
    /// Every one.
    pub const ALL: [Self; 7] = [
        Self::Netset,
        Self::SpamhausDrop,
        Self::SpamhausJson,
        Self::Aws,
        Self::Google,
        Self::Cloudflare,
        Self::Csv,
    ];

    /// The name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Netset => "netset",
            Self::SpamhausDrop => "spamhaus_drop",
            Self::SpamhausJson => "spamhaus_json",
            Self::Aws => "aws",
            Self::Google => "google",
            Self::Cloudflare => "cloudflare",
            Self::Csv => "csv",
        }
    }

    /// By its name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.as_str() == name)
    }
}

/// How a list is written, with what has to be known to read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// [`FormatName::Netset`].
    Netset,
    /// [`FormatName::SpamhausDrop`].
    SpamhausDrop,
    /// [`FormatName::SpamhausJson`].
    SpamhausJson,
    /// [`FormatName::Aws`].
    Aws,
    /// [`FormatName::Google`].
    Google,
    /// [`FormatName::Cloudflare`].
    Cloudflare,
    /// [`FormatName::Csv`].
    Csv(Column),
}

/// What is wrong with a format: a column is missing, or there is one too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ColumnMismatch(pub &'static str);

impl Format {
    /// A format by its name; `csv`, and no other, has a column.
    ///
    /// # Errors
    /// What was expected of the column.
    pub fn new(name: FormatName, column: Option<Column>) -> Result<Self, ColumnMismatch> {
        let format = match (name, column) {
            (FormatName::Csv, Some(column)) => return Ok(Self::Csv(column)),
            (FormatName::Csv, None) => {
                return Err(ColumnMismatch("expected a column, since the format is \"csv\""));
            }
            (_, Some(_)) => {
                return Err(ColumnMismatch("expected no column, since the format is not \"csv\""));
            }
            (FormatName::Netset, None) => Self::Netset,
            (FormatName::SpamhausDrop, None) => Self::SpamhausDrop,
            (FormatName::SpamhausJson, None) => Self::SpamhausJson,
            (FormatName::Aws, None) => Self::Aws,
            (FormatName::Google, None) => Self::Google,
            (FormatName::Cloudflare, None) => Self::Cloudflare,
        };
        Ok(format)
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> FormatName {
        match self {
            Self::Netset => FormatName::Netset,
            Self::SpamhausDrop => FormatName::SpamhausDrop,
            Self::SpamhausJson => FormatName::SpamhausJson,
            Self::Aws => FormatName::Aws,
            Self::Google => FormatName::Google,
            Self::Cloudflare => FormatName::Cloudflare,
            Self::Csv(_) => FormatName::Csv,
        }
    }
}

/// What happens to host bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum HostBits {
    /// The list is refused.
    #[default]
    Refuse,
    /// They are cleared.
    Mask,
}

impl HostBits {
    /// The name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Mask => "mask",
        }
    }

    /// By its name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        [Self::Refuse, Self::Mask].into_iter().find(|choice| choice.as_str() == name)
    }
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Column {
    /// Its number, from 1 to 1,000.
    Number(NonZeroU16),
    /// Its name in the first record, 1 to 128 bytes.
    Name(String),
}

/// The greatest number of a column.
pub const COLUMN_LIMIT: u16 = 1_000;

/// The longest name of a column, in bytes.
pub const COLUMN_NAME_LIMIT: usize = 128;

impl Column {
    /// A column by number.
    #[must_use]
    pub fn numbered(number: u64) -> Option<Self> {
        let number = u16::try_from(number).ok().filter(|number| *number <= COLUMN_LIMIT)?;
        NonZeroU16::new(number).map(Self::Number)
    }

    /// A column by name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let good = (1..=COLUMN_NAME_LIMIT).contains(&name.len()) && name.trim_ascii() == name;
        good.then(|| Self::Name(name.to_owned()))
    }

    /// As it stands in a query: digits are a number.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if is_number { Self::numbered(text.parse().ok()?) } else { Self::named(text) }
    }
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

struct ColumnVisitor;

impl Visitor<'_> for ColumnVisitor {
    type Value = Column;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the number of a column, 1 to 1000, or its name, 1 to 128 bytes")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Column, E> {
        Column::numbered(number).ok_or_else(|| E::invalid_value(Unexpected::Unsigned(number), &self))
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Column, E> {
        Column::named(name).ok_or_else(|| E::invalid_value(Unexpected::Str(name), &self))
    }
}

impl<'de> Deserialize<'de> for Column {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ColumnVisitor)
    }
}

/// A feed, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feed {
    /// Where the list is.
    pub url: String,
    /// How it is written.
    pub format: Format,
    /// How often it is fetched.
    pub interval: Duration,
    /// What happens to host bits.
    pub host_bits: HostBits,
    /// How much it may be.
    pub limits: Limits,
    /// By how much it may change, in percent.
    pub max_change: u32,
    /// Whether private and special networks may be in it.
    pub allow_private: bool,
}

impl FeedConfig {
    /// Checks and compiles; `None` when something is wrong.
    pub fn compile(&self, path: &Trail<'_>, problems: &mut Problems) -> Option<Feed> {
        let url = feed_url(&self.url);
        if url.is_none() {
            problems.add(
                path.entry("url"),
                format!("{:?}", self.url),
                "expected a URL such as \"https://lists.example.com/drop.txt\": https, a public host by name, no credentials, no fragment, at most 2000 bytes",
            );
        }
        let format = Format::new(self.format, self.column.clone());
        if let Err(ColumnMismatch(expected)) = format {
            let value = self.column.as_ref().map(|column| format!("{:?}", column.to_string()));
            problems.add(path.entry("column"), value.unwrap_or_default(), expected);
        }
        let mut in_range = |name, good: bool, value: String, expected: &str| {
            if !good {
                problems.add(path.entry(name), value, expected);
            }
            good
        };
        let interval = self.interval.0;
        let bounds = INTERVAL_LEAST..=Duration::from_secs(7 * 86_400);
        let good = in_range(
            "interval",
            bounds.contains(&interval),
            format!("{interval:?}"),
            "expected \"5m\" to \"7d\"",
        ) & in_range(
            "max_bytes",
            (1_024..=MAX_BYTES_LIMIT).contains(&self.max_bytes.0),
            format!("{} bytes", self.max_bytes.0),
            "expected \"1KiB\" to \"64MiB\"",
        ) & in_range(
            "max_prefixes",
            (1..=MAX_PREFIXES_LIMIT).contains(&self.max_prefixes),
            self.max_prefixes.to_string(),
            "expected 1 to 2000000",
        ) & in_range(
            "max_change",
            self.max_change <= MAX_CHANGE_LIMIT,
            self.max_change.to_string(),
            "expected 0 to 10000 (percent)",
        );
        if !good {
            return None;
        }
        Some(Feed {
            url: url?,
            format: format.ok()?,
            interval,
            host_bits: self.host_bits,
            limits: Limits {
                bytes: self.max_bytes.0,
                prefixes: usize::try_from(self.max_prefixes).unwrap_or(usize::MAX),
            },
            max_change: self.max_change,
            allow_private: self.allow_private,
        })
    }
}

/// Checks and compiles the feeds of `address_sets`, by the names of their sets.
pub fn compile_feeds(
    sets: &BTreeMap<Name, AddressSetConfig>,
    problems: &mut Problems,
) -> BTreeMap<String, Feed> {
    let mut feeds = BTreeMap::new();
    let at = Trail::Root.entry("address_sets");
    for (name, config) in sets {
        let Some(feed) = &config.feed else { continue };
        let set = at.entry(name.as_str());
        if !config.stored {
            problems.add(set.entry("feed"), "a feed", "expected it beside \"stored\": true only");
        } else if let Some(feed) = feed.compile(&set.entry("feed"), problems) {
            feeds.insert(name.0.clone(), feed);
        }
    }
    if feeds.len() > SETS_LIMIT {
        let expected = format!("feeds; expected at most {SETS_LIMIT}, as many as there may be stored sets");
        problems.add("address_sets", feeds.len().to_string(), expected);
    }
    feeds
}

/// Names that no public server has: RFC 6761, RFC 6762, RFC 8375, and
/// `internal`, which ICANN keeps for private use.
const PRIVATE_NAMES: [&str; 4] = ["localhost", "local", "home.arpa", "internal"];

/// Whether a host may be a server on the Internet by its name.
fn is_public_name(host: &str) -> bool {
    let is_private =
        |name: &str| host.strip_suffix(name).is_some_and(|before| before.is_empty() || before.ends_with('.'));
    let is_address = host.starts_with('[') || host.parse::<std::net::Ipv4Addr>().is_ok();
    !is_address && host.contains('.') && !PRIVATE_NAMES.into_iter().any(is_private)
}

/// The normal form of a URL from which a list may be fetched; `None` for any
/// other. A host is named, and by a public name: an address could be one of
/// the platform's own networks, and no certificate says whose it is. Where a
/// name leads is not known here.
#[must_use]
pub fn feed_url(text: &str) -> Option<String> {
    let good = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'#' | b'\\');
    if text.len() > URL_LIMIT || !text.bytes().all(good) {
        return None;
    }
    let (scheme, rest) = text.split_at_checked("https://".len())?;
    if !scheme.eq_ignore_ascii_case("https://") {
        return None;
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at_checked(end)?;
    // What it takes has no `@`, so no credentials.
    let (host, port) = parse_authority(authority)?;
    if !is_public_name(&host) {
        return None;
    }
    let port = port.filter(|port| *port != 443).map(|port| format!(":{port}")).unwrap_or_default();
    let slash = if target.starts_with('/') { "" } else { "/" };
    let url = format!("https://{host}{port}{slash}{target}");
    (url.len() <= URL_LIMIT).then_some(url)
}
