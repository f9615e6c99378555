//! The policy store: KV.

use std::time::Duration;

use js_sys::{Array, Uint8Array};
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::JsFuture;
use worker::Env;

use super::binding::{self, STATE, failure, timer};
use super::glue;
use crate::error::{Dependency, PlatformError};
use crate::platform::{PolicyStore, Stored};
use crate::policy::manifest::{ACTIVE_KEY, part_key};

/// How long a location may answer from its own copy, in seconds: the least
/// that KV takes.
const CACHE_TTL: u32 = 30;

/// The namespace [`STATE`]. Where it is not bound it holds nothing.
#[derive(Debug)]
pub struct KvPolicyStore<'a> {
    /// Where it is bound. It is looked up when it is read: most requests
    /// never do.
    pub env: &'a Env,
}

impl PolicyStore for KvPolicyStore<'_> {
    async fn read_active(&self, deadline: Duration) -> Result<Option<Stored>, PlatformError> {
        let Some(namespace) = binding::get(self.env, STATE) else {
            return Ok(None);
        };
        let promise = glue::read_key(&namespace, ACTIVE_KEY, CACHE_TTL, timer(deadline));
        let found =
            JsFuture::from(promise).await.map_err(|error| failure(Dependency::PolicyStore, &error))?;
        let Some(pair) = found.dyn_ref::<Array>() else {
            return Ok(None);
        };
        Ok(pair.get(0).as_string().map(|value| (value, pair.get(1).as_string())))
    }

    async fn read_part(&self, hash: &str, deadline: Duration) -> Result<Option<Vec<u8>>, PlatformError> {
        let Some(namespace) = binding::get(self.env, STATE) else {
            return Ok(None);
        };
        let promise = glue::read_bytes(&namespace, &part_key(hash), timer(deadline));
        let found =
            JsFuture::from(promise).await.map_err(|error| failure(Dependency::PolicyStore, &error))?;
        Ok(found.dyn_ref::<Uint8Array>().map(Uint8Array::to_vec))
    }
}
