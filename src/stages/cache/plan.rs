//! What a request allows (RFC 9111, 4, 5.2.1, 5.4).

use http::Method;
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, COOKIE, HeaderName, IF_MATCH, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, PRAGMA, RANGE, TRANSFER_ENCODING, UPGRADE,
};

use super::cookies::{self, may_be};
use super::directives::{Directives, Listed};
use super::range;
use super::vary::Selector;
use super::{CacheStage, Forward};
use crate::exchange::{Head, list, trim};
use crate::stages::canary::parse_unit;

/// The request fields that decide whether the cache may be asked.
pub const REQUEST_FIELDS: [HeaderName; 13] = [
    AUTHORIZATION,
    COOKIE,
    RANGE,
    IF_MATCH,
    IF_UNMODIFIED_SINCE,
    IF_RANGE,
    IF_NONE_MATCH,
    IF_MODIFIED_SINCE,
    CONTENT_LENGTH,
    TRANSFER_ENCODING,
    UPGRADE,
    CACHE_CONTROL,
    PRAGMA,
];

/// What a request says about who sent it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Credentials {
    /// Nothing, or nothing that is not part of the key.
    #[default]
    None,
    /// An Authorization field (RFC 9111, 3.5).
    Authorization,
    /// A cookie or a field that the route counts as one.
    Identity,
}

/// What a request allows. Times are in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Why the store is not asked; `None` when it is.
    pub skip: Option<Forward>,
    /// Whether the answer may be kept, as far as the request goes.
    pub store: bool,
    /// `only-if-cached`: the origin must not be asked.
    pub only_if_cached: bool,
    /// `no-store`: nothing of it is kept, neither its answer nor what that
    /// would tell of others.
    pub no_store: bool,
    /// `no-cache`: only what the origin has just confirmed.
    pub validate: bool,
    /// `max-age`.
    pub max_age: Option<u64>,
    /// `min-fresh`.
    pub min_fresh: Option<u64>,
    /// `max-stale`.
    pub max_stale: Option<u64>,
    /// Who it is from.
    pub credentials: Credentials,
    /// Whether it asks for a part.
    pub ranged: bool,
    /// Whether it is a POST whose answer may stand for its URI (RFC 9110,
    /// 9.3.3), as far as the request goes.
    pub represents: bool,
    /// Whether a signed token takes it past the cache.
    pub by_token: bool,
}

impl Plan {
    /// The same request, kept away from the cache.
    #[must_use]
    pub fn bypassed(self) -> Self {
        Self { skip: Some(Forward::Bypass), store: false, represents: false, ..self }
    }

    /// Kept away from it by a signed token.
    #[must_use]
    pub fn bypassed_by_token(self) -> Self {
        Self { by_token: true, ..self.bypassed() }
    }
}

/// Whether a method may change something (RFC 9110, 9.2.1).
#[must_use]
pub fn is_unsafe(method: &Method) -> bool {
    ![Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE].contains(method)
}

/// What the request allows. `own_cookie` is the name of the sticky cookie,
/// which is no credential as the gateway sets it.
#[must_use]
pub fn plan(head: &impl Head, stage: &CacheStage, own_cookie: Option<&str>) -> Plan {
    let is_get = head.method() == Method::GET;
    let skip = Some(Forward::Method);
    let is_excepted = stage.bypass.holds(head);
    if head.method() == Method::POST {
        let asked = directives(head, stage);
        let represents = !is_excepted && !asked.no_store && !asked.garbled && stage.sends_all();
        return Plan {
            skip,
            represents,
            credentials: credentials(head, stage, own_cookie),
            ..Plan::default()
        };
    }
    if !is_get && head.method() != Method::HEAD {
        return Plan { skip, ..Plan::default() };
    }
    let asked = directives(head, stage);
    // What cannot be read may say it.
    let no_store = asked.no_store || asked.garbled;
    let has = |name: &HeaderName| head.field(name).is_some();
    let has_body =
        has(&TRANSFER_ENCODING) || head.field(&CONTENT_LENGTH).is_some_and(|length| trim(&length) != "0");
    // RFC 9110, 14.2: a range is for GET alone.
    let range = if is_get { head.field(&RANGE) } else { None };
    let unknown_range = range.as_ref().is_some_and(|range| !range::is_bytes(range));
    // 13.1.1 and 13.1.4: these are for the origin.
    let conditions = [IF_MATCH, IF_UNMODIFIED_SINCE, UPGRADE].iter().any(has);
    let plan = Plan {
        skip: None,
        // 5.2.1.5: nothing of it is stored.
        store: is_get && !no_store,
        no_store,
        only_if_cached: asked.only_if_cached,
        validate: asked.no_cache != Listed::Absent,
        max_age: asked.max_age,
        min_fresh: asked.min_fresh,
        max_stale: asked.max_stale,
        credentials: credentials(head, stage, own_cookie),
        ranged: range.is_some(),
        represents: false,
        by_token: false,
    };
    if has_body || conditions || unknown_range || is_excepted { plan.bypassed() } else { plan }
}

/// The request's directives, unless the route ignores them.
fn directives(head: &impl Head, stage: &CacheStage) -> Directives {
    if stage.ignore_client_directives {
        return Directives::default();
    }
    if let Some(field) = head.field(&CACHE_CONTROL) {
        return Directives::parse(&field);
    }
    // 5.4: Pragma counts only without Cache-Control.
    let pragma = head
        .field(&PRAGMA)
        .is_some_and(|pragma| list(&pragma).any(|part| part.eq_ignore_ascii_case("no-cache")));
    let no_cache = if pragma { Listed::Whole } else { Listed::Absent };
    Directives { no_cache, ..Directives::default() }
}

/// Who the request is from, where that is not part of the key.
fn credentials(head: &impl Head, stage: &CacheStage, own_cookie: Option<&str>) -> Credentials {
    let keyed = |name: &HeaderName| {
        stage.selectors.iter().any(|known| matches!(known, Selector::Field(key) if key == name.as_str()))
    };
    let counts = |name: &HeaderName| !keyed(name) && head.field(name).is_some();
    if stage.credential_fields.iter().any(counts) || (!keyed(&COOKIE) && has_cookie(head, stage, own_cookie))
    {
        return Credentials::Identity;
    }
    if counts(&AUTHORIZATION) { Credentials::Authorization } else { Credentials::None }
}

/// Whether there is a cookie that tells clients apart.
fn has_cookie(head: &impl Head, stage: &CacheStage, own_cookie: Option<&str>) -> bool {
    let Some(field) = head.field(&COOKIE) else { return false };
    let is_keyed = |name: &str| {
        stage.selectors.iter().any(|known| matches!(known, Selector::Cookie(key) if key == name))
    };
    cookies::pairs(&field).any(|(name, value)| {
        let counts =
            stage.credential_cookies.as_ref().is_none_or(|names| names.iter().any(|own| may_be(name, own)));
        // Under its name anything can stand, and reach the origin: what we have
        // not set is like any other cookie.
        let is_own = own_cookie == Some(name) && parse_unit(value).is_some();
        counts && !is_own && !is_keyed(name)
    })
}
