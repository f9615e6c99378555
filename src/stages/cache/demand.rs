//! How often clients can make the origin confirm what is stored.
//!
//! 1. `no-cache`, `max-age` and `min-fresh` say what a client prefers
//!    (RFC 9111, 5.2.1), and anybody can send them with every request. So for
//!    each key the origin is asked for their sake at most once a second.
//! 2. What arrived, or was confirmed, within the last second is as good as
//!    confirmed now; so is what arrived since the request did. An entry says
//!    when, so what one isolate has had confirmed counts for all that read it
//!    in the location; what is near is not enough to ask the origin by.
//! 3. `no-store` forbids to store, and not to answer from what is stored
//!    (5.2.1.5); so such a request is a demand, too. What comes of it is not
//!    kept, so it has a second of its own: nobody keeps others from theirs by
//!    it.
//! 4. Whoever comes while somebody asks waits for that answer where the route
//!    can let him wait, and gets what is stored where it cannot.
//! 5. What a demand brings takes nothing away that would do for others, where
//!    the request itself may have brought it about.
//! 6. What the origin wants confirmed each time (its own `no-cache`, or a
//!    lifetime that is over) is no client's demand, and none of this is about
//!    it.

use std::borrow::Cow;
use std::time::Duration;

use super::Forward;
use super::entry::Entry;
use super::plan::{Credentials, Plan};
use super::storability::may_be_due_to_the_request;
use crate::time::Timestamp;

/// For how long the origin's word holds for those that ask for it anew.
pub const SETTLED: Duration = Duration::from_secs(1);

/// The same, as marks count it.
pub const SETTLED_MILLIS: u64 = 1_000;

/// Whether the origin has just said what an entry says. `arrived` is when the
/// request did.
#[must_use]
pub fn is_settled(entry: &Entry, arrived: Timestamp, now: Timestamp) -> bool {
    now >= entry.received && (entry.received >= arrived || now.since(entry.received) < SETTLED)
}

impl Plan {
    /// Whether an answer with that status, which is not kept, takes away what
    /// the origin was asked about (RFC 9111, 4.3.3 leaves that open). Where only
    /// a demand had the origin asked, others are still served from it; an error,
    /// or what somebody with credentials gets, says nothing about them. So
    /// nobody empties the cache by a field that the origin refuses.
    #[must_use]
    pub fn displaces(&self, forward: Forward, status: u16) -> bool {
        let is_own = forward == Forward::Request && self.credentials != Credentials::None;
        !is_own && !self.brings_upon_itself(forward, status)
    }

    /// Whether the answer is an error that the request may have brought about,
    /// and only a demand had the origin asked. It is not kept in the place of
    /// what is stored, whatever lifetime the origin gives it: whoever comes
    /// without a demand asks soon enough.
    #[must_use]
    pub fn brings_upon_itself(&self, forward: Forward, status: u16) -> bool {
        forward == Forward::Request && may_be_due_to_the_request(status)
    }

    /// Whether the client wants something else than what would do for others.
    #[must_use]
    pub const fn demands(&self) -> bool {
        self.no_store || self.validate || self.max_age.is_some() || self.min_fresh.is_some()
    }

    /// The same request without such demands.
    #[must_use]
    pub const fn undemanding(self) -> Self {
        Self { no_store: false, validate: false, max_age: None, min_fresh: None, ..self }
    }

    /// Under what it is marked that the origin is asked for such a demand.
    #[must_use]
    pub fn mark<'a>(&self, key: &'a str) -> Cow<'a, str> {
        // No key begins so.
        if self.no_store { Cow::Owned(["no-store ", key].concat()) } else { Cow::Borrowed(key) }
    }
}
