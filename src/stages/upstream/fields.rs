//! Which header fields pass between client and origin, and which do not.

use http::header::{
    ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, ACCEPT_RANGES, AGE, ALLOW, AUTHORIZATION, CACHE_CONTROL,
    CONNECTION, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_LOCATION,
    CONTENT_RANGE, CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, DATE, ETAG, EXPECT, EXPIRES, HOST,
    HeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, LAST_MODIFIED,
    LINK, LOCATION, ORIGIN, PRAGMA, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, RANGE, REFERER, RETRY_AFTER,
    SERVER, SET_COOKIE, STRICT_TRANSPORT_SECURITY, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, USER_AGENT, VARY,
    VIA, WWW_AUTHENTICATE,
};

use crate::exchange::{NameSet, list};
use crate::stages::cache::bypass_token::BYPASS;
use crate::stages::identity::{FORWARDED, TRACEPARENT, X_FORWARDED_FOR};

pub(crate) const CDN_LOOP: HeaderName = HeaderName::from_static("cdn-loop");
pub(super) const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub(super) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub(super) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Between a proxy and its client alone (RFC 9110, 11.7.3).
pub(in crate::stages) const PROXY_AUTHENTICATION_INFO: HeaderName =
    HeaderName::from_static("proxy-authentication-info");

/// What proxies behind this one did (RFC 9209): nobody's business before it.
pub(in crate::stages) const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// Fields that concern one connection only (RFC 9110, 7.6.1), and those that
/// were meant to (`Keep-Alive`, `Proxy-Connection`).
pub const HOP_BY_HOP: [HeaderName; 10] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHENTICATION_INFO,
    PROXY_AUTHORIZATION,
    PROXY_STATUS,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
];

/// Fields by which some origins take another target or method than the request
/// line's (IIS, Symfony, Zend, Rack), and forwarded fields that nobody here sets. A client
/// could use them to reach what a rule protects.
pub(super) const OVERRIDES: [HeaderName; 18] = [
    HeaderName::from_static("x-original-url"),
    HeaderName::from_static("x-rewrite-url"),
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-prefix"),
    HeaderName::from_static("x-forwarded-server"),
    HeaderName::from_static("x-forwarded-scheme"),
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static("x-http-method"),
    HeaderName::from_static("x-http-method-override"),
    HeaderName::from_static("x-method-override"),
    HeaderName::from_static("true-client-ip"),
    HeaderName::from_static("x-client-ip"),
    HeaderName::from_static("x-cluster-client-ip"),
    HeaderName::from_static("x-forwarded"),
    HeaderName::from_static("x-forwarded-uri"),
    HeaderName::from_static("x-host"),
    HeaderName::from_static("x-original-host"),
    HeaderName::from_static("x-original-uri"),
];

/// Fields that this runtime cannot pass on. `Expect`: an origin answers it
/// with 100 (Continue), which the runtime takes for the final response. The
/// body is sent either way, so the origin loses only the chance to refuse it
/// early (RFC 9110, 10.1.1 lets a server go without).
pub(super) const UNSUPPORTED: [HeaderName; 1] = [http::header::EXPECT];

/// CGI hands it on as `HTTP_PROXY`, which libraries take for the proxy that they
/// are to use (CVE-2016-5385 and its kin).
const HTTPOXY: HeaderName = HeaderName::from_static("proxy");

/// Fields with a meaning of their own, on requests or responses.
const TAKEN: [HeaderName; 50] = [
    ACCEPT,
    ACCEPT_ENCODING,
    ACCEPT_LANGUAGE,
    ACCEPT_RANGES,
    AGE,
    ALLOW,
    AUTHORIZATION,
    CACHE_CONTROL,
    CDN_LOOP,
    CONTENT_DISPOSITION,
    CONTENT_ENCODING,
    CONTENT_LANGUAGE,
    CONTENT_LENGTH,
    CONTENT_LOCATION,
    CONTENT_RANGE,
    CONTENT_SECURITY_POLICY,
    CONTENT_TYPE,
    COOKIE,
    DATE,
    ETAG,
    EXPECT,
    EXPIRES,
    FORWARDED,
    HOST,
    IF_MATCH,
    IF_MODIFIED_SINCE,
    IF_NONE_MATCH,
    IF_RANGE,
    IF_UNMODIFIED_SINCE,
    LAST_MODIFIED,
    LINK,
    LOCATION,
    ORIGIN,
    PRAGMA,
    RANGE,
    REFERER,
    RETRY_AFTER,
    SERVER,
    SET_COOKIE,
    STRICT_TRANSPORT_SECURITY,
    TRACEPARENT,
    TRACESTATE,
    UPGRADE,
    USER_AGENT,
    VARY,
    VIA,
    WWW_AUTHENTICATE,
    X_FORWARDED_FOR,
    X_FORWARDED_HOST,
    X_FORWARDED_PROTO,
];

/// Fields that this gateway writes on responses.
const WRITTEN: [&str; 4] = ["ratelimit", "ratelimit-policy", "cache-status", "x-content-type-options"];

/// Whether a field has a meaning of its own, so it cannot carry the request
/// id, and a Connection field cannot take it away.
#[must_use]
pub fn reserved_field(name: &HeaderName) -> Option<&str> {
    let taken = HOP_BY_HOP.contains(name)
        || OVERRIDES.contains(name)
        || TAKEN.contains(name)
        || WRITTEN.contains(&name.as_str())
        || *name == BYPASS
        // The platform's own.
        || name.as_str().starts_with("cf-");
    taken.then_some(name.as_str())
}

/// The fields that a Connection field names. Naming a field that is meant
/// for every recipient is an error of the sender (RFC 9110, 7.6.1), and a
/// known way to make proxies drop what the origin relies on, so those stay.
pub fn connection_listed<'a>(
    field: &'a str,
    request_id: &'a HeaderName,
) -> impl Iterator<Item = HeaderName> + 'a {
    list(field).filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok()).filter(move |name| {
        // `close` is an option and no field.
        let kept = name.as_str() == "close" || reserved_field(name).is_some() || name == request_id;
        !kept
    })
}

/// Every field that is never passed on: those above, and the ways to write
/// them, what we tell the origin, and `also`, with `_` for `-`. CGI, WSGI and
/// others read both as the same name, so a client's `X_Forwarded_For` would
/// stand beside ours.
#[must_use]
pub fn never_forwarded(peer_field: HeaderName, request_id: HeaderName) -> NameSet {
    let also = [peer_field.clone(), request_id];
    let told = [X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO, CDN_LOOP];
    let platform = HeaderName::from_static("cf-connecting-ip");
    let imitable = told.into_iter().chain(OVERRIDES).chain([platform]).chain(also);
    let imitated: Vec<HeaderName> = imitable.flat_map(|name| imitations(&name)).collect();
    let never = HOP_BY_HOP.into_iter().chain(OVERRIDES).chain(UNSUPPORTED).chain([HTTPOXY]).chain(imitated);
    // Where the platform itself uses one of these, it is the platform's. A
    // token that passes the cache is nobody's but ours.
    let ours = imitations(&BYPASS).into_iter().chain([BYPASS]);
    never.filter(|name| *name != peer_field).chain(ours).collect()
}

/// The spellings of a name with at least one `_` for `-`: each dash or not, of
/// the first five.
pub(crate) fn imitations(name: &HeaderName) -> Vec<HeaderName> {
    let mut spellings = vec![String::new()];
    for (index, part) in name.as_str().split_inclusive('-').enumerate() {
        let mut others = Vec::new();
        if part.ends_with('-') && index < 5 {
            let underscored = part.replace('-', "_");
            others = spellings.iter().map(|spelling| format!("{spelling}{underscored}")).collect();
        }
        spellings.iter_mut().for_each(|spelling| spelling.push_str(part));
        spellings.append(&mut others);
    }
    let imitations = spellings.iter().filter(|spelling| spelling.contains('_'));
    imitations.filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok()).collect()
}
