//! Stored responses: the bodies in the memory of the isolate, what is in the
//! Cache API of the edge location, and in KV for all locations.
//!
//! In the Cache API an entry is a 200 with a lifetime of ours; what the origin
//! said stands in one field of our own, see [`crate::stages::cache::entry`]. In
//! KV it stands in front of the body.

use std::time::Duration;

use wasm_bindgen::prelude::wasm_bindgen;

use super::binding::{CACHE, timer};
use super::glue;
use super::isolate::IsolateState;
use super::origin::{Edge, EdgeResponse, Revived};
use super::task::wait;
use crate::error::{Dependency, PlatformError};
use crate::platform::{Found, Keep, ResponseStore, push_fields};
use crate::stages::cache::fields::{Body, Made};
use crate::stages::cache::global;
use crate::stages::cache::joining::Around;
use crate::stages::cache::memory::BodyNumber;

/// How long the store may take; then the origin answers.
const LOOKUP_WAIT: Duration = Duration::from_secs(2);

/// How long the one of all locations may take.
const GLOBAL_WAIT: Duration = Duration::from_millis(500);

/// Stands for no number where one crosses.
const NONE: f64 = -1.0;

/// Sizes and seconds, all far below 2^53.
#[expect(clippy::cast_precision_loss, reason = "they are far below 2^53")]
const fn number(value: u64) -> f64 {
    value as f64
}

impl ResponseStore for Edge {
    async fn lookup(&self, key: &str) -> Result<Option<Found<EdgeResponse>>, PlatformError> {
        glue::lookup(key, timer(LOOKUP_WAIT));
        let text = wait().await.of(Dependency::ResponseStore)?;
        Ok(text.as_deref().and_then(found))
    }

    async fn lookup_global(
        &self,
        name: &str,
        key: &str,
    ) -> Result<Option<Found<EdgeResponse>>, PlatformError> {
        glue::lookup_global(CACHE, name, key, timer(GLOBAL_WAIT));
        let text = wait().await.of(Dependency::GlobalStore)?;
        let mut found = text.as_deref().and_then(found);
        // Its bytes are there, as those of a body in memory are.
        if let Some(found) = &mut found {
            found.response.recalled = Some(Revived::default());
        }
        Ok(found)
    }

    fn revive(&self, stored: EdgeResponse, made: &Made<'_>) -> EdgeResponse {
        // Room for the edits of the answer, too.
        let mut fields = String::with_capacity(1024);
        push_fields(&mut fields, &made.fields);
        let (with_body, first, last) = match made.body {
            Body::None => (false, NONE, NONE),
            Body::Whole => (true, NONE, NONE),
            Body::Bytes(span) => (true, number(span.first), number(span.last)),
        };
        if stored.recalled.is_some() {
            let revived = Revived { fields, with_body, span: (first, last) };
            return EdgeResponse::of_recalled(stored.place, made.status, revived);
        }
        // A head that was stored was a head, so it can be one again; if not,
        // the client gets the stored bytes without it, and status 200.
        match glue::revive(stored.place, made.status, &fields, with_body, first, last) {
            Ok(place) => EdgeResponse::made(place, made.status),
            Err(_) => stored,
        }
    }

    fn keep(
        &self,
        response: EdgeResponse,
        keep: &Keep<'_>,
        confirmed_by: Option<&EdgeResponse>,
    ) -> (EdgeResponse, Option<BodyNumber>) {
        let begun = confirmed_by.map_or(response.begun, |confirmed_by| confirmed_by.begun);
        let name = keep.global.and_then(|_| global::name(keep.key)).unwrap_or_default();
        // What cannot be kept is answered all the same.
        let body = glue::keep(
            response.place,
            &[keep.key, keep.primary, keep.entry, &name].join("\n"),
            number(keep.limit),
            keep.size.map_or(NONE, number),
            keep.retention.map_or(NONE, number),
            keep.memory.map_or(NONE, number),
            if keep.replaces { NONE } else { begun },
            keep.global.map_or(NONE, |global| number(global.limit)),
            keep.global.map_or(NONE, |global| number(global.retention)),
            keep.lead.is_some(),
        );
        (response, body.ok().flatten().map(BodyNumber))
    }

    fn join(
        &self,
        response: EdgeResponse,
        keep: &Keep<'_>,
        stored: EdgeResponse,
        around: Around,
    ) -> (EdgeResponse, Option<BodyNumber>) {
        glue::surround(stored.place, stored.begun, number(around.before), number(around.after));
        self.keep(response, keep, None)
    }

    fn recall(&self, body: BodyNumber) -> Option<EdgeResponse> {
        glue::recall(body.0).map(|place| EdgeResponse::of_recalled(place, 200, Revived::default()))
    }

    fn release(&self, bodies: &[BodyNumber]) {
        for body in bodies {
            glue::release(body.0);
        }
    }

    fn discard(&self, response: EdgeResponse) {
        glue::discard(response.place);
    }

    fn remove(&self, keys: Vec<String>, names: Vec<String>) {
        glue::remove(&keys.join("\n"), CACHE, &names.join("\n"));
    }
}

/// From what `lookup` resumes with.
fn found(text: &str) -> Option<Found<EdgeResponse>> {
    let mut parts = text.splitn(4, '\n');
    let (place, size, begun, entry) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let response = EdgeResponse::found(place.parse().ok()?, begun.parse::<u32>().ok()?);
    Some(Found { entry: entry.to_owned(), size: size.parse().ok(), response })
}

/// The body of that number has arrived as a whole.
#[wasm_bindgen(js_name = bodyArrived)]
pub fn body_arrived(body: u32, size: f64) {
    // A module that began anew after a trap waits for nothing.
    match IsolateState::current() {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of bytes")]
        Some(state) => state.isolate.body_arrived(&Edge, BodyNumber(body), size as u64),
        None => glue::release(body),
    }
}

/// The body of that number is not to be had, or not to be kept.
#[wasm_bindgen(js_name = bodyLost)]
pub fn body_lost(body: u32) {
    if let Some(state) = IsolateState::current() {
        state.isolate.body_lost(BodyNumber(body));
    }
}

/// The near tiers have what was kept under that number, or will not.
#[wasm_bindgen(js_name = bodySettled)]
pub fn body_settled(body: u32) {
    if let Some(state) = IsolateState::current() {
        state.isolate.body_settled(BodyNumber(body));
    }
}
