//! Requests that a route keeps away from the cache: they are not answered from
//! it, and their answers are not stored.
//!
//! A client can choose to be one of them, and so make the origin work. That is
//! what limits are for, which come before the cache; here it can change
//! nothing for anybody else.

use http::header::{COOKIE, HeaderName};

use super::cookies::{self, may_be};
use super::key::decoded;
use crate::exchange::{Head, trim};

/// A name, and the value that it has to have, where it has to have one.
pub type Pair<N> = (N, Option<String>);

/// Which requests go past the cache.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bypass {
    /// Those with such a field.
    pub headers: Vec<Pair<HeaderName>>,
    /// Those with such a cookie.
    pub cookies: Vec<Pair<String>>,
    /// Those with such a parameter in the query, by its decoded name and
    /// value.
    pub query: Vec<Pair<String>>,
}

impl Bypass {
    /// Whether a request is one of them.
    #[must_use]
    pub fn holds(&self, head: &impl Head) -> bool {
        let has_field = |(name, value): &Pair<HeaderName>| {
            head.field(name).is_some_and(|field| value.as_ref().is_none_or(|value| trim(&field) == value))
        };
        let has_cookie =
            || !self.cookies.is_empty() && head.field(&COOKIE).is_some_and(|field| self.has_one_of(&field));
        self.headers.iter().any(has_field) || has_cookie() || self.has_parameter(head.url())
    }

    /// Whether one of the cookies is there, as some origin may read them.
    fn has_one_of(&self, field: &str) -> bool {
        let is_it = |(name, value): (&str, &str)| {
            self.cookies.iter().any(|(known, wanted)| {
                may_be(name, known) && wanted.as_ref().is_none_or(|wanted| trim(value) == wanted)
            })
        };
        cookies::pairs(field).any(is_it)
    }

    /// Whether the query of a URL has one of the parameters.
    #[must_use]
    pub fn has_parameter(&self, url: &str) -> bool {
        !self.query.is_empty() && url.split_once('?').is_some_and(|(_, query)| is_among(&self.query, query))
    }
}

/// Whether one of the pairs is in a query.
fn is_among(wanted: &[Pair<String>], query: &str) -> bool {
    query.split('&').any(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (decoded(name), decoded(value));
        let is_it = |(known, wanted): &Pair<String>| {
            *known == name && wanted.as_ref().is_none_or(|wanted| *wanted == value)
        };
        wanted.iter().any(is_it)
    })
}
