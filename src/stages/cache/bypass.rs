//! Requests that a route keeps away from the cache: they are not answered from
//! it, and their answers are not stored.
//!
//! A client can choose to be one of them, and so make the origin work. That is
//! what limits are for, which come before the cache; here it can change
//! nothing for anybody else.

use http::header::{COOKIE, HeaderName};

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
        self.headers.iter().any(|(name, value)| {
            head.field(name).is_some_and(|field| value.as_ref().is_none_or(|value| trim(&field) == value))
        }) || self.has_cookie(head)
            || self.has_parameter(head)
    }

    fn has_cookie(&self, head: &impl Head) -> bool {
        if self.cookies.is_empty() {
            return false;
        }
        let Some(field) = head.field(&COOKIE) else { return false };
        field.split([';', ',']).map(trim).any(|pair| is_named(&self.cookies, pair, str::to_owned))
    }

    /// Whether the query has one of the parameters.
    #[must_use]
    pub fn has_parameter(&self, head: &impl Head) -> bool {
        if self.query.is_empty() {
            return false;
        }
        let Some((_, query)) = head.url().split_once('?') else { return false };
        query.split('&').any(|pair| is_named(&self.query, pair, decoded))
    }
}

fn is_named(pairs: &[Pair<String>], pair: &str, read: impl Fn(&str) -> String) -> bool {
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    let (name, value) = (read(name), read(value));
    pairs
        .iter()
        .any(|(known, wanted)| *known == name && wanted.as_ref().is_none_or(|wanted| *wanted == value))
}
