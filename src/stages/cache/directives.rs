//! The Cache-Control field (RFC 9111, 5.2) of requests and responses.
//!
//! 1. Names have no case; what stands in quotes belongs to its directive and
//!    is not looked into (5.2).
//! 2. A number is digits, in quotes or not (5.2 asks to take both forms).
//!    Anything else is invalid, and read as what allows least: a lifetime of
//!    none is stale (4.2.1).
//! 3. A directive that stands there twice with different values is read as the
//!    one that allows least (4.2.1).
//! 4. A quoted string without an end could hide what forbids storing, so it
//!    forbids storing itself. What is written with other separators than a
//!    comma (`private; max-age=60`) is no directive, but forbids what it names.

use http::header::HeaderName;

use crate::exchange::{Quoting, list, trim};

/// The longest lifetime, in seconds: 2^31 stands for "very long" (1.2.2).
pub const LONGEST: u64 = 1 << 31;

/// The most field names that `no-cache` and `private` may list; a longer list
/// counts as none, which is stricter.
const LISTED: usize = 32;

/// A directive that may name fields (5.2.2.4, 5.2.2.7).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Listed {
    /// Not there.
    #[default]
    Absent,
    /// About these fields only.
    Fields(Vec<HeaderName>),
    /// About the whole answer.
    Whole,
}

impl Listed {
    /// Whether it is about the whole answer.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        *self == Self::Whole
    }

    /// The fields that it names.
    #[must_use]
    pub fn fields(&self) -> &[HeaderName] {
        if let Self::Fields(names) = self { names } else { &[] }
    }

    /// Adds another occurrence. A list without a readable name is no list.
    pub(super) fn add(&mut self, names: Option<&str>) {
        let read = names.map(|names| list(names).map(|name| HeaderName::from_bytes(name.as_bytes())));
        let names: Vec<HeaderName> =
            read.and_then(|names| names.collect::<Result<_, _>>().ok()).unwrap_or_default();
        match self {
            _ if names.is_empty() => *self = Self::Whole,
            Self::Absent => *self = Self::Fields(names),
            Self::Fields(known) => known.extend(names),
            Self::Whole => {}
        }
        if self.fields().len() > LISTED {
            *self = Self::Whole;
        }
    }
}

/// What a Cache-Control field says; times are in seconds, at most
/// [`LONGEST`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directives {
    /// `no-store` (5.2.1.5, 5.2.2.5).
    pub no_store: bool,
    /// `no-cache` (5.2.1.4, 5.2.2.4).
    pub no_cache: Listed,
    /// `private` (5.2.2.7).
    pub private: Listed,
    /// `public` (5.2.2.9).
    pub public: bool,
    /// `must-revalidate` (5.2.2.2).
    pub must_revalidate: bool,
    /// `proxy-revalidate` (5.2.2.8).
    pub proxy_revalidate: bool,
    /// `must-understand` (5.2.2.3).
    pub must_understand: bool,
    /// `immutable` (RFC 8246).
    pub immutable: bool,
    /// `only-if-cached` (5.2.1.7).
    pub only_if_cached: bool,
    /// `max-age` (5.2.1.1, 5.2.2.1).
    pub max_age: Option<u64>,
    /// `s-maxage` (5.2.2.10).
    pub s_maxage: Option<u64>,
    /// `min-fresh` (5.2.1.3).
    pub min_fresh: Option<u64>,
    /// `max-stale` (5.2.1.2); without a value [`LONGEST`].
    pub max_stale: Option<u64>,
    /// `stale-while-revalidate` (RFC 5861, 3).
    pub stale_while_revalidate: Option<u64>,
    /// `stale-if-error` (RFC 5861, 4).
    pub stale_if_error: Option<u64>,
    /// A quoted string does not end: the field may say anything.
    pub garbled: bool,
}

impl Directives {
    /// Reads the combined field value.
    #[must_use]
    pub fn parse(field: &str) -> Self {
        let mut read = Self { garbled: !quotes_end(field), ..Self::default() };
        for directive in split_quoted(field) {
            let (name, value) = match directive.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (directive, None),
            };
            read.directive(&trim(name).to_ascii_lowercase(), value, trim(name) == name);
            read.misspelt(directive);
        }
        read
    }

    /// `well_formed` is whether no space stands before the `=`.
    fn directive(&mut self, name: &str, value: Option<&str>, well_formed: bool) {
        let number = value.filter(|_| well_formed).and_then(|value| seconds(unquoted(value)));
        match name {
            "no-store" => self.no_store = true,
            "no-cache" => self.no_cache.add(value.map(|value| unquoted(trim(value)))),
            "private" => self.private.add(value.map(|value| unquoted(trim(value)))),
            "public" => self.public = true,
            "must-revalidate" => self.must_revalidate = true,
            "proxy-revalidate" => self.proxy_revalidate = true,
            "must-understand" => self.must_understand = true,
            "immutable" => self.immutable = true,
            "only-if-cached" => self.only_if_cached = true,
            "max-age" => at_most(&mut self.max_age, number),
            "s-maxage" => at_most(&mut self.s_maxage, number),
            "min-fresh" => {
                let asked = number.unwrap_or(LONGEST);
                self.min_fresh = Some(self.min_fresh.unwrap_or_default().max(asked));
            }
            "max-stale" => {
                let any = value.is_none().then_some(LONGEST);
                at_most(&mut self.max_stale, number.or(any));
            }
            "stale-while-revalidate" => at_most(&mut self.stale_while_revalidate, number),
            "stale-if-error" => at_most(&mut self.stale_if_error, number),
            _ => {}
        }
    }

    /// What a member forbids in which something else than commas separates.
    fn misspelt(&mut self, member: &str) {
        const OTHERS: [char; 3] = [';', ' ', '\t'];
        if !member.contains(OTHERS) || member.contains('"') {
            return;
        }
        for word in member.split(OTHERS) {
            if word.eq_ignore_ascii_case("no-store") {
                self.no_store = true;
            } else if word.eq_ignore_ascii_case("private") {
                self.private = Listed::Whole;
            } else if word.eq_ignore_ascii_case("no-cache") {
                self.no_cache = Listed::Whole;
            }
        }
    }

    /// Whether what is stale must not be served, whatever else allows it
    /// (4.2.4; 5.2.2.10 gives `s-maxage` the meaning of `proxy-revalidate`).
    #[must_use]
    pub fn forbids_stale(&self) -> bool {
        self.must_revalidate || self.proxy_revalidate || self.s_maxage.is_some() || self.no_cache.is_whole()
    }
}

/// The lesser of what is known and what is said; no number allows nothing.
fn at_most(slot: &mut Option<u64>, number: Option<u64>) {
    let number = number.unwrap_or_default();
    *slot = Some(slot.map_or(number, |known| known.min(number)));
}

/// delta-seconds (1.2.2): digits only; what is too large is very long.
#[must_use]
pub fn seconds(text: &str) -> Option<u64> {
    let good = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    good.then(|| text.parse().unwrap_or(LONGEST).min(LONGEST))
}

/// Without the quotes around it, if it has both.
fn unquoted(text: &str) -> &str {
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text)
}

fn quotes_end(field: &str) -> bool {
    let mut quoting = Quoting::default();
    field.chars().for_each(|character| quoting.follow(character));
    !quoting.is_quoted()
}

/// List members, where a comma in a quoted string separates nothing.
pub(super) fn split_quoted(field: &str) -> impl Iterator<Item = &str> {
    let mut quoting = Quoting::default();
    field
        .split(move |character: char| {
            let separates = character == ',' && !quoting.is_quoted();
            quoting.follow(character);
            separates
        })
        .map(trim)
        .filter(|member| !member.is_empty())
}
