//! Stored responses in the Cache API of the edge location.
//!
//! An entry is a 200 with a lifetime of ours; what the origin said stands in
//! one field of our own, see [`crate::stages::cache::entry`].

use http::header::HeaderName;
use js_sys::{Array, Promise};
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::JsFuture;
use web_sys::Response;

use super::binding::failure;
use super::glue;
use super::origin::{Edge, EdgeResponse};
use crate::error::{Dependency, PlatformError};
use crate::exchange::Edit;
use crate::platform::{ResponseStore, edits_text};
use crate::stages::cache::entry::Entry;

impl ResponseStore for Edge<'_> {
    async fn lookup(&self, key: &str) -> Result<Option<(String, EdgeResponse)>, PlatformError> {
        let found = JsFuture::from(glue::lookup(key))
            .await
            .map_err(|error| failure(Dependency::ResponseStore, &error))?;
        let Some(pair) = found.dyn_ref::<Array>() else {
            return Ok(None);
        };
        let entry = pair.get(0).as_string();
        let response = pair.get(1).dyn_into::<Response>().ok();
        Ok(entry.zip(response.map(|native| EdgeResponse::made(native, 200))))
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
        match glue::revive(&stored.native, status, &edits_text(&edits), with_body) {
            Ok(native) => EdgeResponse::made(native, status),
            Err(_) => stored,
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "both are far below 2^53")]
    fn keep(&self, response: EdgeResponse, key: &str, entry: &str, limit: u64) -> EdgeResponse {
        let lifetime = Entry::decode(entry).map(|entry| entry.lifetime.saturating_sub(entry.initial_age));
        let Some(lifetime) = lifetime else {
            return response;
        };
        let kept = glue::keep(&response.native, key, entry, limit as f64, lifetime as f64, response.begun);
        let Ok(parts) = kept else {
            return response;
        };
        let storing = parts.get(1).dyn_into::<Promise>();
        self.deferred.borrow_mut().extend(storing);
        match parts.get(0).dyn_into() {
            Ok(native) => response.with_native(native),
            Err(_) => response,
        }
    }

    fn remove(&self, keys: Vec<String>) {
        let removing = glue::remove(&keys.join("\n"));
        self.deferred.borrow_mut().push(removing);
    }
}
