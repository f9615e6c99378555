//! What of a request selects among the answers to one URI (RFC 9111, 4.1).
//!
//! 1. `*` anywhere selects nothing: such an answer is not stored.
//! 2. Values are compared in a normal form: lists without optional white
//!    space; lists with weights in the order of their names, since at one
//!    weight the order says nothing (RFC 9110, 12.4.2).
//! 3. An encoded answer is selected by Accept-Encoding whether it says so or
//!    not: a client that cannot read the coding gets another one. And where
//!    encoded ones are stored, so is one that is not: origins forget to say so
//!    of those.
//! 4. A client that prefers one language above all gets a stored answer that
//!    says it is in that language, whatever else it would take: no other can
//!    suit it better.
//! 5. What a route reduces ([`super::normalise`]) is compared as the origin
//!    got it.
//! 6. What a route ignores selects nothing, as long as it does: an entry says
//!    what Vary named besides ([`Entry::ignored`]).
//! 7. What a route adds to its keys, fields and cookies, selects like a field
//!    that Vary names. So one removal of the URI's own entry takes all of
//!    them.

use std::borrow::Cow;
use std::fmt;

use http::header::{
    ACCEPT, ACCEPT_CHARSET, ACCEPT_ENCODING, ACCEPT_LANGUAGE, CONTENT_ENCODING, CONTENT_LANGUAGE, COOKIE,
    HeaderName, VARY,
};

use super::entry::Entry;
use super::key::Index;
use super::{CacheStage, NotStored, TOLD_BY_US, cookies};
use crate::exchange::{Head, join_lines, list, trim};

/// What bytes that are no UTF-8 reach us as.
pub(super) const GARBLED: char = char::REPLACEMENT_CHARACTER;

/// The most fields that select an answer.
const MOST: usize = 16;

/// What selects an answer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Selector {
    /// A request field, by its lower-case name.
    Field(String),
    /// A cookie.
    Cookie(String),
}

impl Selector {
    /// A request field.
    #[must_use]
    pub fn field(name: &HeaderName) -> Self {
        Self::Field(name.as_str().to_owned())
    }

    /// From what [`Display`](fmt::Display) writes; `None` when it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix("cookie:") {
            Some(name) => Some(Self::Cookie(name.to_owned())),
            None => Some(Self::field(&HeaderName::from_bytes(text.as_bytes()).ok()?)),
        }
    }

    /// What the origin gets there, in normal form.
    #[must_use]
    pub fn value(&self, head: &impl Head, stage: &CacheStage) -> Option<String> {
        match self {
            Self::Field(name) => {
                let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
                stage.seen(&name, head).map(|value| normal(&name, &value))
            }
            Self::Cookie(name) => cookies::value(&head.field(&COOKIE)?, name),
        }
    }
}

/// A colon stands in no field name, so the two cannot be confused.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => f.write_str(name),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
        }
    }
}

/// The fields that Vary names; `None` where it names what we cannot compare.
pub(super) fn named(fields: &[(HeaderName, String)]) -> Option<Vec<HeaderName>> {
    let vary = join_lines(fields, &VARY).unwrap_or_default();
    // What is no field name, `*` above all.
    let name = |name: &str| HeaderName::from_bytes(name.as_bytes()).ok().filter(|name| name.as_str() != "*");
    list(&vary).map(name).collect()
}

/// Those of the fields that Vary names, each once, which the route ignores.
#[must_use]
pub fn ignored(fields: &[(HeaderName, String)], stage: &CacheStage) -> Vec<HeaderName> {
    if stage.ignored.is_empty() {
        return Vec::new();
    }
    let named = named(fields).unwrap_or_default();
    stage.ignored.iter().filter(|name| named.contains(name)).cloned().collect()
}

/// What selects an answer with these fields, each once and in order. `index`
/// is about those that are stored for its URI.
///
/// # Errors
/// It cannot be stored: nothing that a request says selects it for sure.
pub fn selectors(
    fields: &[(HeaderName, String)],
    stage: &CacheStage,
    index: Option<&Index>,
) -> Result<Vec<Selector>, NotStored> {
    let mut names = named(fields).ok_or(NotStored::Vary)?;
    names.retain(|name| !stage.ignores(name));
    // What the origin was told there is ours, not the client's: the stored
    // answer could not be matched with another request.
    if names.iter().any(|name| TOLD_BY_US.contains(name)) {
        return Err(NotStored::Vary);
    }
    let coding = join_lines(fields, &CONTENT_ENCODING);
    let encoding = Selector::field(&ACCEPT_ENCODING);
    let beside_encoded = index.is_some_and(|index| index.selectors.contains(&encoding));
    if beside_encoded || coding.is_some_and(|coding| !trim(&coding).eq_ignore_ascii_case("identity")) {
        names.push(ACCEPT_ENCODING);
    }
    let mut selectors: Vec<Selector> = names.iter().map(Selector::field).collect();
    selectors.extend(stage.selectors.iter().cloned());
    selectors.sort_unstable();
    selectors.dedup();
    if selectors.len() > MOST { Err(NotStored::Vary) } else { Ok(selectors) }
}

/// What a request says for each of them.
///
/// # Errors
/// Bytes that are no UTF-8 all reach us as one character: they select nothing
/// reliably.
pub fn values(
    selectors: Vec<Selector>,
    head: &impl Head,
    stage: &CacheStage,
) -> Result<Vec<(Selector, Option<String>)>, NotStored> {
    let values = selectors.into_iter().map(|selector| {
        let value = selector.value(head, stage);
        let garbled = value.as_ref().is_some_and(|value| value.contains(GARBLED));
        if garbled { Err(NotStored::Vary) } else { Ok((selector, value)) }
    });
    values.collect()
}

/// Whether a stored answer is one for this request, as far as fields select.
/// One that was stored before the route had all of its present keys is not, nor
/// is one that varies by what the route then ignored.
#[must_use]
pub fn is_selected(entry: &Entry, head: &impl Head, stage: &CacheStage) -> bool {
    let has = |selector: &Selector| entry.selected_by.iter().any(|(known, _)| known == selector);
    stage.selectors.iter().all(has)
        && entry.ignored.iter().all(|name| stage.ignores(name))
        && entry.selected_by.iter().all(|(selector, value)| {
            selector.value(head, stage) == *value || is_favourite(selector, head, entry, stage)
        })
}

/// Whether the entry is in the one language that the request prefers above all
/// others (RFC 9110, 8.5, 12.5.4).
fn is_favourite(selector: &Selector, head: &impl Head, entry: &Entry, stage: &CacheStage) -> bool {
    if !matches!(selector, Selector::Field(name) if *name == ACCEPT_LANGUAGE.as_str()) {
        return false;
    }
    let Some(language) = entry.field(&CONTENT_LANGUAGE) else { return false };
    let Some(accepted) = stage.seen(&ACCEPT_LANGUAGE, head) else { return false };
    let mut best: Option<(u16, &str)> = None;
    let mut tied = false;
    for member in list(&accepted) {
        let Some((tag, weight)) = weighed(member) else { return false };
        match best {
            Some((most, _)) if weight < most => {}
            Some((most, other)) if weight == most => tied |= !other.eq_ignore_ascii_case(tag),
            _ => (best, tied) = (Some((weight, tag)), false),
        }
    }
    best.is_some_and(|(weight, tag)| weight > 0 && !tied && tag.eq_ignore_ascii_case(trim(&language)))
}

/// A member and its weight in thousandths; `None` when it is malformed.
pub(super) fn weighed(member: &str) -> Option<(&str, u16)> {
    let Some((tag, parameter)) = member.split_once(';') else { return Some((member, 1_000)) };
    let value = trim(parameter).strip_prefix(['q', 'Q'])?.strip_prefix('=')?;
    let normal = weight(value)?;
    let fraction = normal.strip_prefix("0.").unwrap_or_default();
    let thousandths = if normal == "1" { 1_000 } else { format!("{fraction:0<3}").parse().ok()? };
    Some((trim(tag), thousandths))
}

/// The normal form of a field value: values that mean the same are the same.
#[must_use]
pub fn normal(name: &HeaderName, value: &str) -> String {
    const WEIGHTED: [HeaderName; 4] = [ACCEPT, ACCEPT_CHARSET, ACCEPT_ENCODING, ACCEPT_LANGUAGE];
    let weighted = WEIGHTED.contains(name).then(|| by_weight(value)).flatten();
    weighted.unwrap_or_else(|| value.split(',').map(trim).collect::<Vec<_>>().join(","))
}

/// A list of members with weights (RFC 9110, 12.4.2): in lower case, in order,
/// a weight of one left out; `None` when one is malformed.
fn by_weight(value: &str) -> Option<String> {
    let mut members = Vec::new();
    for member in list(value) {
        // A quoted string may hold what separates, so nothing is changed.
        if member.contains('"') {
            return None;
        }
        let mut parts = member.split(';').map(trim).map(str::to_ascii_lowercase);
        let mut normal = parts.next()?;
        for parameter in parts {
            let weight = parameter.strip_prefix("q=").map(weight);
            match weight {
                None => normal = format!("{normal};{parameter}"),
                Some(None) => return None,
                Some(Some(weight)) if weight == "1" => {}
                Some(Some(weight)) => normal = format!("{normal};q={weight}"),
            }
        }
        members.push(normal);
    }
    members.sort_unstable();
    members.dedup();
    Some(members.join(","))
}

/// A qvalue (RFC 9110, 12.4.2) without zeros at its end.
fn weight(text: &str) -> Option<Cow<'_, str>> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let good = fraction.len() <= 3 && fraction.bytes().all(|byte| byte.is_ascii_digit());
    let fraction = fraction.trim_end_matches('0');
    match (whole, fraction) {
        ("0" | "1", "") if good => Some(Cow::Borrowed(whole)),
        ("0", fraction) if good => Some(Cow::Owned(format!("0.{fraction}"))),
        _ => None,
    }
}
