//! Whether an answer may be stored at all (RFC 9111, 3).

use super::directives::Directives;
use super::invalidation::related;
use super::plan::Credentials;
use crate::stages::target::Target;

/// Statuses that may be stored without the origin's word (RFC 9110, 15.1),
/// without those of redirects and choices: what they say about a place is
/// worth asking for.
const HEURISTIC: [u16; 8] = [200, 203, 204, 404, 405, 410, 414, 501];

/// Statuses whose meaning for a cache is known here, as `must-understand`
/// asks for (5.2.2.3): those of RFC 9110, 15, without 304, which is no answer
/// to store, and 206, which has rules of its own.
const UNDERSTOOD: [u16; 41] = [
    200, 201, 202, 203, 204, 205, 300, 301, 302, 303, 305, 307, 308, 400, 401, 402, 403, 404, 405, 406, 407,
    408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 421, 422, 426, 500, 501, 502, 503, 504, 505, 206,
];

/// Statuses that say that the request was malformed or too large. Who sends
/// such a one must not decide what others get, so they need a lifetime of the
/// origin's own: `public` is none.
const MALFORMED: [u16; 3] = [400, 413, 431];

/// Whether an answer blames the request itself, which is nobody else's.
#[must_use]
pub fn blames_the_request(status: u16) -> bool {
    MALFORMED.contains(&status)
}

/// Whether an error may be due to a field of the request: not what says that
/// there is nothing.
#[must_use]
pub const fn may_be_due_to_the_request(status: u16) -> bool {
    status >= 400 && status != 404 && status != 410
}

/// Whether a lifetime may be assumed for an answer (RFC 9111, 4.2.2).
#[must_use]
pub fn is_heuristically_cacheable(status: u16, public: bool) -> bool {
    HEURISTIC.contains(&status) || (public && !blames_the_request(status))
}

/// Whether `no-store` holds. `must-understand` lifts it for who knows the
/// status (5.2.2.3).
#[must_use]
pub fn forbids_storing(directives: &Directives, status: u16) -> bool {
    let understood = UNDERSTOOD.contains(&status);
    let no_store = directives.no_store && !(directives.must_understand && understood);
    let not_understood = directives.must_understand && !understood;
    directives.garbled || no_store || not_understood || directives.private.is_whole()
}

/// Whether the answer to a request with these credentials may serve others
/// (3.5): only if the origin says that it is shared. `must-revalidate` says
/// so of Authorization, which every cache sees, and not of credentials that
/// only this gateway knows.
#[must_use]
pub fn is_shared(directives: &Directives, credentials: Credentials) -> bool {
    let said = directives.public || directives.s_maxage.is_some();
    match credentials {
        Credentials::None => true,
        Credentials::Authorization => said || directives.must_revalidate,
        Credentials::Identity => said,
    }
}

/// Whether the answer to a POST is what a GET of its URI would get (RFC 9110,
/// 9.3.3): Content-Location says so. `as_stored` is the target of the URI's
/// key: where that is another, what the origin saw is not all in the key.
#[must_use]
pub fn is_representation(
    target: &Target<'_>,
    as_stored: &str,
    status: u16,
    content_location: Option<&str>,
) -> bool {
    let own = related(target, target.as_sent);
    let named = content_location.and_then(|reference| related(target, reference));
    status == 200 && as_stored == target.as_sent && named.is_some() && named == own
}
