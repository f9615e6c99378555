//! The port to the origin, and the platform as one value.

use std::cell::RefCell;

use http::header::HeaderName;
use js_sys::Promise;
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
        Self {
            env,
            deferred: RefCell::new(Vec::new()),
        }
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

impl Origin for Edge<'_> {
    type Request = EdgeHead;
    type Response = Response;

    async fn fetch(
        &self,
        request: &EdgeHead,
        upstream: &UpstreamRequest,
    ) -> Result<Response, PlatformError> {
        let failed = |error| failure(Dependency::Origin, &error);
        let edits = edits_text(&upstream.edits);
        let promise = glue::forward(
            request.native(),
            &upstream.url,
            &edits,
            timer(upstream.first_byte),
        )
        .map_err(failed)?;
        JsFuture::from(promise)
            .await
            .map_err(failed)?
            .dyn_into()
            .map_err(failed)
    }

    fn status(&self, response: &Response) -> u16 {
        response.status()
    }

    fn field(&self, response: &Response, name: &HeaderName) -> Option<String> {
        response.headers().get(name.as_str()).ok().flatten()
    }

    fn fields(&self, response: &Response) -> Vec<(HeaderName, String)> {
        glue::read_fields(response)
            .split('\n')
            .filter_map(|line| line.split_once(':'))
            .filter_map(|(name, value)| {
                Some((
                    HeaderName::from_bytes(name.as_bytes()).ok()?,
                    value.to_owned(),
                ))
            })
            .collect()
    }
}
