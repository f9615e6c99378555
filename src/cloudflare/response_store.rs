//! Stored responses in the Cache API of the edge location.
//!
//! An entry is a 200 with a lifetime of ours; what the origin said stands in
//! one field of our own, see [`crate::stages::cache::entry`].

use std::time::Duration;

use http::header::HeaderName;

use super::binding::timer;
use super::glue;
use super::origin::{Edge, EdgeResponse};
use super::task::wait;
use crate::error::{Dependency, PlatformError};
use crate::exchange::Edit;
use crate::platform::{ResponseStore, edits_text};
use crate::stages::cache::entry::Entry;

/// How long the store may take; then the origin answers.
const LOOKUP_WAIT: Duration = Duration::from_secs(2);

impl ResponseStore for Edge {
    async fn lookup(&self, key: &str) -> Result<Option<(String, EdgeResponse)>, PlatformError> {
        glue::lookup(key, timer(LOOKUP_WAIT));
        let Some(text) = wait().await.of(Dependency::ResponseStore)? else {
            return Ok(None);
        };
        let found = text.split_once('\n');
        Ok(found.and_then(|(place, entry)| {
            Some((entry.to_owned(), EdgeResponse::made(place.parse().ok()?, 200)))
        }))
    }

    fn revive(
        &self,
        stored: EdgeResponse,
        status: u16,
        fields: &[(HeaderName, String)],
        with_body: bool,
    ) -> EdgeResponse {
        let edits: Vec<Edit> =
            fields.iter().map(|(name, value)| Edit::Append(name.clone(), value.clone())).collect();
        // A head that was stored was a head, so it can be one again; if not,
        // the client gets the stored bytes without it, and status 200.
        match glue::revive(stored.place, status, &edits_text(&edits), with_body) {
            Ok(place) => EdgeResponse::made(place, status),
            Err(_) => stored,
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "both are far below 2^53")]
    fn keep(&self, response: EdgeResponse, key: &str, entry: &str, limit: u64) -> EdgeResponse {
        let lifetime = Entry::decode(entry).map(|entry| entry.lifetime.saturating_sub(entry.initial_age));
        if let Some(lifetime) = lifetime {
            // What cannot be kept is answered all the same.
            let _ = glue::keep(response.place, key, entry, limit as f64, lifetime as f64, response.begun);
        }
        response
    }

    fn remove(&self, keys: Vec<String>) {
        glue::remove(&keys.join("\n"));
    }
}
