//! The policy store: KV.

use std::time::Duration;

use js_sys::Array;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;

use super::binding::{failure, timer};
use super::glue;
use crate::error::{Dependency, PlatformError};
use crate::platform::PolicyStore;
use crate::policy::manifest::ACTIVE_KEY;

/// How long a location may answer from its own copy, in seconds: the least
/// that KV takes.
const CACHE_TTL: u32 = 30;

/// The namespace, and how long an answer may take.
#[derive(Debug)]
pub struct KvPolicyStore {
    /// The namespace; `None` where it is not bound, and holds nothing.
    pub namespace: Option<JsValue>,
    /// How long an answer may take.
    pub deadline: Duration,
}

impl PolicyStore for KvPolicyStore {
    async fn read_active(&self) -> Result<Option<(String, Option<String>)>, PlatformError> {
        let Some(namespace) = &self.namespace else {
            return Ok(None);
        };
        let promise = glue::read_key(namespace, ACTIVE_KEY, CACHE_TTL, timer(self.deadline));
        let found =
            JsFuture::from(promise).await.map_err(|error| failure(Dependency::PolicyStore, &error))?;
        let Some(pair) = found.dyn_ref::<Array>() else {
            return Ok(None);
        };
        Ok(pair.get(0).as_string().map(|value| (value, pair.get(1).as_string())))
    }
}
