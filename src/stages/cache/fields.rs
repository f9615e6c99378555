//! Which fields are stored (RFC 9111, 3.1), and which a stored answer shows.

use std::borrow::Cow;

use http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderName, SET_COOKIE, UPGRADE,
};

use super::directives::Directives;
use super::entry::Entry;
use super::range::{Part, Ranged, Span};
use super::{CACHE_STATUS, CacheStage};
use crate::stages::upstream::HOP_BY_HOP;

/// Leaves out what is not stored: what concerns one connection (RFC 9110,
/// 7.6.1), what `no-cache` and `private` name (RFC 9111, 5.2.2.4, 5.2.2.7),
/// and what caches before this one said of themselves.
pub fn retain_stored(fields: &mut Vec<(HeaderName, String)>, directives: &Directives) {
    let ends_here = |name: &HeaderName| {
        HOP_BY_HOP.contains(name) || *name == UPGRADE || name.as_str().starts_with("proxy-")
    };
    let named = [directives.no_cache.fields(), directives.private.fields()];
    fields.retain(|(name, _)| {
        !ends_here(name) && *name != CACHE_STATUS && !named.iter().any(|names| names.contains(name))
    });
}

/// How much of the body an answer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// None.
    None,
    /// All that is stored.
    Whole,
    /// These of the stored bytes, the first one being 0.
    Bytes(Span),
}

/// An answer made of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made<'e> {
    /// Its status.
    pub status: u16,
    /// Its fields.
    pub fields: Vec<(HeaderName, Cow<'e, str>)>,
    /// How much of the body it has.
    pub body: Body,
}

/// The answer that a request gets from an entry. `size` is the number of
/// stored bytes.
#[must_use]
pub fn made<'e>(
    entry: &'e Entry,
    stage: &CacheStage,
    not_modified: bool,
    is_head: bool,
    ranged: Ranged,
    size: Option<u64>,
) -> Made<'e> {
    // What was stored under another policy may set a cookie.
    let own =
        |name: &HeaderName| stage.consumed.contains(name) || (*name == SET_COOKIE && !stage.allow_set_cookie);
    let fields = entry
        .fields
        .iter()
        .filter(|(name, _)| !own(name))
        .map(|(name, value)| (name.clone(), Cow::Borrowed(value.as_str())));
    let whole = if is_head { Body::None } else { Body::Whole };
    if not_modified {
        // RFC 9110, 15.4.5 names what a 304 carries; what describes the body
        // stays out.
        const ABOUT_THE_BODY: [HeaderName; 4] =
            [CONTENT_LENGTH, CONTENT_ENCODING, CONTENT_TYPE, CONTENT_RANGE];
        let fields = fields.filter(|(name, _)| !ABOUT_THE_BODY.contains(name)).collect();
        return Made { status: 304, fields, body: Body::None };
    }
    match ranged {
        Ranged::Whole | Ranged::NotStored => {
            Made { status: entry.status, fields: fields.collect(), body: whole }
        }
        Ranged::Part(span) => {
            let complete = entry.part.map_or(size, |Part { complete, .. }| complete);
            let mut fields = without_length(fields);
            fields.push((CONTENT_LENGTH, span.size().to_string().into()));
            fields.push((CONTENT_RANGE, Part { span, complete }.to_string().into()));
            let begin = entry.part.map_or(0, |part| part.span.first);
            let stored =
                Span { first: span.first.saturating_sub(begin), last: span.last.saturating_sub(begin) };
            Made { status: 206, fields, body: Body::Bytes(stored) }
        }
        Ranged::Unsatisfiable => {
            // RFC 9110, 15.5.17: it says how large the whole is.
            let size = size.unwrap_or_default();
            let mut fields =
                without_length(fields.filter(|(name, _)| ![CONTENT_ENCODING, SET_COOKIE].contains(name)));
            fields.push((CONTENT_LENGTH, "0".into()));
            fields.push((CONTENT_RANGE, format!("bytes */{size}").into()));
            Made { status: 416, fields, body: Body::None }
        }
    }
}

type Field<'e> = (HeaderName, Cow<'e, str>);

fn without_length<'e>(fields: impl Iterator<Item = Field<'e>>) -> Vec<Field<'e>> {
    fields.filter(|(name, _)| *name != CONTENT_LENGTH && *name != CONTENT_RANGE).collect()
}
