//! Stages 12 and 14, cache: do we have the answer, and may we keep it?
//!
//! A careful part of RFC 9111. What is not listed is not done: when in doubt
//! the request goes to the origin and the answer is not kept.
//!
//! 1. Only GET and HEAD are answered; what carries credentials (Authorization
//!    or a cookie other than our own), a range, a precondition other than
//!    If-None-Match and If-Modified-Since, or a body goes past the cache.
//! 2. A stored answer serves a request while it is fresh by its own lifetime
//!    (4.2) and the request's directives (5.2.1), and when the fields named
//!    by `Vary` are the same (4.1). Nothing stale is served.
//! 3. Kept are final answers to GET with explicit freshness, a status of a
//!    known list, and none of `no-store`, `private`, `no-cache`, `Set-Cookie`,
//!    `Vary: *`, `Content-Range` (3). An encoded body is kept only when
//!    `Vary` names Accept-Encoding.
//! 4. A successful unsafe request removes what is stored for its URI (4.4).
//! 5. The key holds environment, route, upstream, variant, scheme, authority,
//!    and the target as sent.
//! 6. A key whose last answer could not be kept is remembered for a while, so
//!    that asking the store for it costs nothing (hit-for-miss).

pub mod ask;
pub mod control;
pub mod entry;
pub mod hit_for_miss;

use http::Method;
use http::header::{
    ACCEPT_ENCODING, AGE, AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_TYPE, COOKIE, DATE, ETAG, EXPIRES, HeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    IF_RANGE, IF_UNMODIFIED_SINCE, LAST_MODIFIED, PRAGMA, RANGE, SET_COOKIE, TRANSFER_ENCODING, UPGRADE,
    VARY,
};
use serde::Deserialize;

use self::control::{CacheControl, seconds};
use self::entry::Entry;
use super::Mode;
use crate::exchange::{Head, join_lines, list, trim};
use crate::policy::decode::{Problems, Trail};
use crate::policy::units::Size;
use crate::text::push_decimal;
use crate::time::Timestamp;

/// `routes[].cache` in the policy.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct CacheConfig {
    /// `enforce` or `off`. Default `enforce`.
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::policy::schema::cache_mode", extend("default" = "enforce")))]
    pub mode: Mode,
    /// Where answers are kept. Default `["location"]`.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 1), extend("default" = ["location"])))]
    pub tiers: Vec<Tier>,
    /// The largest body that is kept, 1B to 25MiB. Default 1MiB.
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::policy::schema::size::<1, 26_214_400>", extend("default" = "1MiB")))]
    pub max_body: Size,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self { mode: Mode::Enforce, tiers: vec![Tier::Location], max_body: Size(1 << 20) }
    }
}

/// Where answers are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// The Cache API of the edge location.
    Location,
}

/// The compiled stage.
#[derive(Clone, Copy, Debug)]
pub struct CacheStage {
    /// The largest body that is kept, in bytes.
    pub max_body: u64,
}

/// Our name in Cache-Status (RFC 9211).
const CACHE_NAME: &str = "edgeweir";

/// The field that says what the cache did (RFC 9211).
pub(crate) const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// Cache control for CDNs (RFC 9213): not understood yet, so an answer that
/// carries it is not kept.
const TARGETED: [HeaderName; 3] = [
    HeaderName::from_static("cdn-cache-control"),
    HeaderName::from_static("cloudflare-cdn-cache-control"),
    HeaderName::from_static("surrogate-control"),
];

/// Fields that the origin gets from us and not from the client, and that differ
/// from client to client.
const TOLD_BY_US: [HeaderName; 6] = [
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("forwarded"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("cdn-loop"),
    HeaderName::from_static("tracestate"),
];

/// Statuses whose meaning is known here and that describe a whole answer
/// (RFC 9110, 15.1, without 206).
const STORABLE: [u16; 11] = [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501];

/// Why a request was not answered from the cache (RFC 9211, 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forward {
    /// The cache was not asked.
    Bypass,
    /// The method is never answered from here.
    Method,
    /// Nothing is stored.
    UriMiss,
    /// What is stored was selected by other request fields.
    VaryMiss,
    /// What is stored is too old.
    Stale,
    /// The request's directives forbid it.
    Request,
}

impl Forward {
    /// The `fwd` parameter, and the label in logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Stale => "stale",
            Self::Request => "request",
        }
    }
}

/// What a request allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Why the store is not asked; `None` when it is.
    pub skip: Option<Forward>,
    /// Whether the answer may be kept, as far as the request goes.
    pub store: bool,
    /// `only-if-cached`: the origin must not be asked.
    pub only_if_cached: bool,
    max_age: Option<u64>,
    min_fresh: Option<u64>,
}

impl Plan {
    /// The same request, kept away from the cache.
    #[must_use]
    pub fn bypassed(self) -> Self {
        Self { skip: Some(Forward::Bypass), store: false, ..self }
    }
}

/// What the store had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// A fresh answer.
    Fresh {
        /// Its age in seconds.
        age: u64,
        /// For how many more seconds it is fresh.
        ttl: u64,
        /// Whether the client has it already: the answer is 304.
        not_modified: bool,
    },
    /// None that serves.
    Miss(Forward),
}

/// Why an answer is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotStored {
    /// The request did not allow it.
    Request,
    /// The status is not in the list.
    Status,
    /// `no-store`, `private`, `no-cache`, or directives that are no numbers.
    Directive,
    /// It sets a cookie.
    SetCookie,
    /// `Vary` is `*`, or an encoded body does not name Accept-Encoding.
    Vary,
    /// There is no explicit lifetime, or it is over.
    Freshness,
    /// It is part of something.
    Partial,
    /// The body is larger than the route keeps.
    Size,
    /// The head is larger than the store takes.
    Head,
}

impl NotStored {
    /// The `detail` parameter.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Status => "status",
            Self::Directive => "directive",
            Self::SetCookie => "set-cookie",
            Self::Vary => "vary",
            Self::Freshness => "no-freshness",
            Self::Partial => "partial",
            Self::Size => "size",
            Self::Head => "head",
        }
    }
}

impl CacheConfig {
    /// Checks and compiles; `None` when it is off.
    pub fn compile(&self, path: &Trail<'_>, problems: &mut Problems) -> Option<CacheStage> {
        if self.mode == Mode::Shadow {
            problems.add(path.entry("mode"), "\"shadow\"", "expected \"enforce\" or \"off\"");
        }
        if self.tiers != [Tier::Location] {
            let expected = "expected [\"location\"], the one tier there is";
            problems.add(path.entry("tiers"), format!("{} tiers", self.tiers.len()), expected);
        }
        if !(1..=25 << 20).contains(&self.max_body.0) {
            problems.add(
                path.entry("max_body"),
                format!("{}B", self.max_body.0),
                "expected \"1B\" to \"25MiB\"",
            );
        }
        (self.mode == Mode::Enforce).then_some(CacheStage { max_body: self.max_body.0 })
    }
}

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

/// Whether a method may change something (RFC 9110, 9.2.1).
#[must_use]
pub fn is_unsafe(method: &Method) -> bool {
    ![Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE].contains(method)
}

/// What the request allows. `own_cookie` is the name of the sticky cookie,
/// which is no credential.
#[must_use]
pub fn plan(head: &impl Head, own_cookie: Option<&str>) -> Plan {
    let is_get = head.method() == Method::GET;
    if !is_get && head.method() != Method::HEAD {
        return Plan { skip: Some(Forward::Method), ..Plan::default() };
    }
    let field = head.field(&CACHE_CONTROL);
    let control = field.as_deref().map(CacheControl::parse).unwrap_or_default();
    let has = |name: &HeaderName| head.field(name).is_some();
    let has_body =
        has(&TRANSFER_ENCODING) || head.field(&CONTENT_LENGTH).is_some_and(|length| trim(&length) != "0");
    let credentials = has(&AUTHORIZATION)
        || head.field(&COOKIE).is_some_and(|field| {
            field.split([';', ',']).map(trim).filter(|pair| !pair.is_empty()).any(|pair| {
                let name = pair.split_once('=').map_or(pair, |(name, _)| name);
                own_cookie != Some(name)
            })
        });
    let conditions = [RANGE, IF_MATCH, IF_UNMODIFIED_SINCE, IF_RANGE, UPGRADE].iter().any(has);
    if credentials || has_body || conditions {
        let only_if_cached = control.only_if_cached;
        return Plan { skip: Some(Forward::Bypass), only_if_cached, ..Plan::default() };
    }
    // RFC 9111, 5.4: Pragma counts only without Cache-Control.
    let pragma = field.is_none()
        && head
            .field(&PRAGMA)
            .is_some_and(|pragma| list(&pragma).any(|part| part.eq_ignore_ascii_case("no-cache")));
    let skip =
        (control.no_cache || control.no_store || control.invalid || pragma).then_some(Forward::Request);
    Plan {
        skip,
        store: is_get && !control.no_store,
        only_if_cached: control.only_if_cached,
        max_age: control.max_age,
        min_fresh: control.min_fresh,
    }
}

/// Whether a stored answer serves the request now.
#[must_use]
pub fn judge(plan: &Plan, head: &impl Head, entry: &Entry, now: Timestamp) -> Lookup {
    let selected = entry
        .selected_by
        .iter()
        .all(|(name, value)| head.field(name).as_deref().map(normal) == value.as_deref().map(normal));
    if !selected {
        return Lookup::Miss(Forward::VaryMiss);
    }
    let Some((age, ttl)) = entry
        .age(now)
        .and_then(|age| entry.lifetime.checked_sub(age).map(|ttl| (age, ttl)))
        .filter(|(_, ttl)| *ttl > 0)
    else {
        return Lookup::Miss(Forward::Stale);
    };
    if plan.max_age.is_some_and(|most| age > most) || plan.min_fresh.is_some_and(|least| ttl < least) {
        return Lookup::Miss(Forward::Request);
    }
    Lookup::Fresh { age, ttl, not_modified: entry.status == 200 && not_modified(head, entry) }
}

/// Field values that differ in optional white space only are the same
/// (RFC 9111, 4.1).
fn normal(value: &str) -> Vec<&str> {
    value.split(',').map(trim).collect()
}

/// RFC 9110, 13.2.2, steps 3 and 4.
fn not_modified(head: &impl Head, entry: &Entry) -> bool {
    if let Some(condition) = head.field(&IF_NONE_MATCH) {
        let Some(tag) = entry.field(&ETAG) else {
            return false;
        };
        // 13.1.2: weak comparison.
        let opaque =
            |tag: &str| trim(tag).strip_prefix("W/").map_or_else(|| trim(tag).to_owned(), str::to_owned);
        return trim(&condition) == "*"
            || entity_tags(&condition).any(|candidate| opaque(candidate) == opaque(&tag));
    }
    let date =
        |name: &HeaderName| entry.field(name).and_then(|text| httpdate::parse_http_date(trim(&text)).ok());
    let since = head.field(&IF_MODIFIED_SINCE).and_then(|text| httpdate::parse_http_date(trim(&text)).ok());
    matches!((since, date(&LAST_MODIFIED)), (Some(since), Some(modified)) if modified <= since)
}

/// The entity tags of a list; a comma may stand inside one.
fn entity_tags(field: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    field
        .split(move |character: char| {
            if character == '"' {
                quoted = !quoted;
            }
            character == ',' && !quoted
        })
        .map(trim)
        .filter(|tag| !tag.is_empty())
}

/// The fields of an answer made from an entry. A 304 carries those that
/// RFC 9110, 15.4.5 names, and not the ones that describe the body.
#[must_use]
pub fn hit_fields(entry: &Entry, age: u64, not_modified: bool) -> Vec<(HeaderName, String)> {
    const ABOUT_THE_BODY: [HeaderName; 3] = [CONTENT_LENGTH, CONTENT_ENCODING, CONTENT_TYPE];
    let kept = |name: &HeaderName| !(not_modified && ABOUT_THE_BODY.contains(name));
    let mut fields: Vec<_> = entry.fields.iter().filter(|(name, _)| kept(name)).cloned().collect();
    fields.push((AGE, age.to_string()));
    fields
}

/// Whether the answer that has just arrived may be kept, and as what.
///
/// # Errors
/// Says why not.
pub fn conclude(
    head: &impl Head,
    status: u16,
    fields: Vec<(HeaderName, String)>,
    sent: Timestamp,
    received: Timestamp,
    stage: &CacheStage,
) -> Result<Entry, NotStored> {
    if !STORABLE.contains(&status) {
        return Err(NotStored::Status);
    }
    let field = |name: &HeaderName| join_lines(&fields, name);
    let control = field(&CACHE_CONTROL).as_deref().map(CacheControl::parse).unwrap_or_default();
    if control.no_store
        || control.private
        || control.no_cache
        || control.invalid
        || TARGETED.iter().any(|name| field(name).is_some())
    {
        return Err(NotStored::Directive);
    }
    if field(&SET_COOKIE).is_some() {
        return Err(NotStored::SetCookie);
    }
    if field(&CONTENT_RANGE).is_some() {
        return Err(NotStored::Partial);
    }
    let vary = field(&VARY).unwrap_or_default().to_ascii_lowercase();
    let names: Vec<HeaderName> = list(&vary)
        .map(|name| HeaderName::from_bytes(name.as_bytes()))
        .collect::<Result<_, _>>()
        .map_err(|_| NotStored::Vary)?;
    // What the origin was told there is ours, not the client's: the stored
    // answer could not be matched with another request.
    if names.iter().any(|name| TOLD_BY_US.contains(name)) {
        return Err(NotStored::Vary);
    }
    let is_encoded =
        field(&CONTENT_ENCODING).is_some_and(|coding| !trim(&coding).eq_ignore_ascii_case("identity"));
    if vary.contains('*') || names.len() > 16 || (is_encoded && !names.contains(&ACCEPT_ENCODING)) {
        return Err(NotStored::Vary);
    }
    let (initial_age, lifetime) = freshness(&fields, &control, sent, received).ok_or(NotStored::Freshness)?;
    if lifetime <= initial_age {
        return Err(NotStored::Freshness);
    }
    if field(&CONTENT_LENGTH)
        .is_some_and(|length| seconds(trim(&length)).is_none_or(|size| size > stage.max_body))
    {
        return Err(NotStored::Size);
    }
    let selected_by: Vec<(HeaderName, Option<String>)> = names
        .into_iter()
        .map(|name| {
            let value = head.field(&name).map(std::borrow::Cow::into_owned);
            (name, value)
        })
        .collect();
    // Bytes that are no UTF-8 all reach us as one character: they select
    // nothing reliably.
    let is_garbled = |value: &Option<String>| value.as_ref().is_some_and(|value| value.contains('\u{fffd}'));
    if selected_by.iter().any(|(_, value)| is_garbled(value)) {
        return Err(NotStored::Vary);
    }
    Ok(Entry { status, fields, selected_by, received, initial_age, lifetime })
}

/// Age on arrival and lifetime in seconds; `None` when there is no explicit
/// lifetime, or one of the numbers or dates is none.
fn freshness(
    fields: &[(HeaderName, String)],
    control: &CacheControl,
    sent: Timestamp,
    received: Timestamp,
) -> Option<(u64, u64)> {
    let field = |name: &HeaderName| join_lines(fields, name);
    let date_of = |text: &str| -> Option<u64> {
        let date = httpdate::parse_http_date(trim(text)).ok()?;
        Some(date.duration_since(std::time::UNIX_EPOCH).ok()?.as_secs())
    };
    let date = match field(&DATE) {
        Some(text) => date_of(&text)?,
        None => received.seconds(),
    };
    let lifetime = match (control.s_maxage, control.max_age, field(&EXPIRES)) {
        (Some(seconds), ..) | (None, Some(seconds), _) => seconds,
        (None, None, Some(expires)) => date_of(&expires)?.saturating_sub(date),
        (None, None, None) => return None,
    };
    // RFC 9111, 5.1: of several values the first counts.
    let age_value = match field(&AGE) {
        Some(text) => seconds(list(&text).next()?)?,
        None => 0,
    };
    // 4.2.3, with the delay rounded up.
    let apparent_age = received.seconds().saturating_sub(date);
    let delay = u64::try_from(received.since(sent).as_millis().div_ceil(1_000)).unwrap_or(u64::MAX);
    Some((apparent_age.max(age_value.saturating_add(delay)), lifetime))
}

/// The key of a stored answer: a URL, as the Cache API wants one. The parts
/// in front of the authority hold no slash, so no two keys run together.
#[must_use]
pub fn key(environment: &str, route: &str, upstream: &str, variant: &str, url: (&str, &str, &str)) -> String {
    let (scheme, authority, as_sent) = url;
    // No name is "~".
    let variant = if variant.is_empty() { "~" } else { variant };
    let base = "https://cache.edgeweir.invalid/";
    [base, environment, "/", route, "/", upstream, "/", variant, "/", scheme, "/", authority, as_sent]
        .concat()
}

/// The Cache-Status of a hit.
#[must_use]
pub fn hit_status(ttl: u64) -> String {
    format!("{CACHE_NAME}; hit; ttl={ttl}")
}

/// The Cache-Status of a forwarded request.
#[must_use]
pub fn forward_status(forward: Forward, status: u16, stored: Result<(), NotStored>) -> String {
    let mut text = [CACHE_NAME, "; fwd=", forward.as_str(), "; fwd-status="].concat();
    push_decimal(&mut text, status.into());
    match stored {
        Ok(()) => text.push_str("; stored"),
        Err(reason) => {
            text.push_str("; detail=");
            text.push_str(reason.as_str());
        }
    }
    text
}
