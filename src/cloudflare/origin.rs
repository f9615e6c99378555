//! The port to the origin, and the platform as one value.

use std::cell::RefCell;

use http::header::{CACHE_CONTROL, CONNECTION, HeaderName};
use js_sys::{Array, Promise};
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::JsFuture;
use web_sys::Response;
use worker::Env;

use super::binding::{failure, timer};
use super::glue;
use super::head::EdgeHead;
use crate::error::{Dependency, PlatformError};
use crate::platform::{Clock, Origin, edits_text};
use crate::stages::upstream::UpstreamRequest;
use crate::time::Timestamp;

/// The runtime, for one request.
#[derive(Debug)]
pub struct Edge<'a> {
    pub(super) env: &'a Env,
    /// Work that goes on after the response.
    pub(super) deferred: RefCell<Vec<Promise>>,
}

impl<'a> Edge<'a> {
    /// For one request.
    #[must_use]
    pub const fn new(env: &'a Env) -> Self {
        Self { env, deferred: RefCell::new(Vec::new()) }
    }

    /// The work that goes on after the response.
    #[must_use]
    pub fn into_deferred(self) -> Vec<Promise> {
        self.deferred.into_inner()
    }
}

/// The runtime's clock.
#[must_use]
pub fn now() -> Timestamp {
    Timestamp::from_js(js_sys::Date::now())
}

impl Clock for Edge<'_> {
    fn now(&self) -> Timestamp {
        now()
    }
}

/// A native response, and what is asked of nearly every one.
#[derive(Debug)]
pub struct EdgeResponse {
    pub(super) native: Response,
    pub(super) status: u16,
    connection: Option<String>,
    cache_control: Option<String>,
    /// When its request was sent, in the isolate's own order.
    pub(super) begun: f64,
}

impl EdgeResponse {
    /// A response that was made here.
    #[must_use]
    pub const fn made(native: Response, status: u16) -> Self {
        Self { native, status, connection: None, cache_control: None, begun: 0.0 }
    }

    /// The same head with another body.
    #[must_use]
    pub fn with_native(self, native: Response) -> Self {
        Self { native, ..self }
    }
}

impl Origin for Edge<'_> {
    type Request = EdgeHead;
    type Response = EdgeResponse;

    async fn fetch(
        &self,
        request: &EdgeHead,
        upstream: &UpstreamRequest,
    ) -> Result<EdgeResponse, PlatformError> {
        let failed = |error| failure(Dependency::Origin, &error);
        let edits = edits_text(&upstream.edits);
        let promise = glue::forward(request.native(), &upstream.url, &edits, timer(upstream.first_byte))
            .map_err(failed)?;
        let parts: Array = JsFuture::from(promise).await.map_err(failed)?.unchecked_into();
        let native: Response = parts.get(0).dyn_into().map_err(failed)?;
        // A status is a small integer, so no other value is lost here.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let status = parts.get(1).as_f64().unwrap_or_default() as u16;
        Ok(EdgeResponse {
            native,
            status,
            connection: parts.get(2).as_string(),
            cache_control: parts.get(3).as_string(),
            begun: parts.get(4).as_f64().unwrap_or_default(),
        })
    }

    fn status(&self, response: &EdgeResponse) -> u16 {
        response.status
    }

    fn field(&self, response: &EdgeResponse, name: &HeaderName) -> Option<String> {
        match *name {
            CONNECTION => response.connection.clone(),
            CACHE_CONTROL => response.cache_control.clone(),
            _ => response.native.headers().get(name.as_str()).ok().flatten(),
        }
    }

    fn fields(&self, response: &EdgeResponse) -> Vec<(HeaderName, String)> {
        glue::read_fields(&response.native)
            .split('\n')
            .filter_map(|line| line.split_once(':'))
            .filter_map(|(name, value)| {
                Some((HeaderName::from_bytes(name.as_bytes()).ok()?, value.to_owned()))
            })
            .collect()
    }
}
