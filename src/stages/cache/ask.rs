//! What of a request the cache goes by: what it allows, and the scheme that
//! is part of its key.

use http::header::CONNECTION;

use super::CacheStage;
use super::plan::{Plan, plan};
use crate::exchange::Head;
use crate::stages::identity::{Identity, IdentityStage};
use crate::stages::target::Target;
use crate::stages::upstream::{connection_listed, told_scheme};

/// What a request asks of the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask<'a> {
    /// What it allows.
    pub plan: Plan,
    /// The scheme of the key.
    pub scheme: &'a str,
    /// Whether a hop of ours says another host or no scheme, so that the
    /// answer is nobody else's.
    pub is_foreign: bool,
    /// Whether its Connection field takes other fields away: the origin does
    /// not see what would select the answer.
    pub is_robbed: bool,
}

/// Reads a request. `own_cookie` is the name of the route's sticky cookie.
#[must_use]
pub fn ask<'a>(
    head: &impl Head,
    target: &Target<'a>,
    identity: &Identity,
    stage: &IdentityStage,
    cache: &CacheStage,
    own_cookie: Option<&str>,
) -> Ask<'a> {
    let plan = plan(head, cache, own_cookie);
    // What the origin is told about host and scheme may stand in its answer,
    // so it is part of the key, or the answer is nobody else's.
    let told = told_scheme(head, target, identity);
    // Nor is the answer to a request from which Connection took a field.
    let connection = head.field(&CONNECTION);
    let is_robbed =
        connection.is_some_and(|field| connection_listed(&field, &stage.request_id_field).next().is_some());
    let is_foreign = told.is_none();
    Ask {
        plan: if is_foreign || is_robbed { plan.bypassed() } else { plan },
        scheme: told.unwrap_or(target.scheme),
        is_foreign,
        is_robbed,
    }
}
