//! The policy store: KV.

use std::time::Duration;

use super::binding::{STATE, failure, timer};
use super::glue;
use super::task::wait;
use crate::error::{Dependency, PlatformError};
use crate::platform::{PolicyStore, Stored};
use crate::policy::manifest::{ACTIVE_KEY, part_key};

/// How long a location may answer from its own copy, in seconds: the least
/// that KV takes.
const CACHE_TTL: u32 = 30;

/// The namespace [`STATE`], which holds nothing where it is not bound.
#[derive(Clone, Copy, Debug)]
pub struct KvPolicyStore;

impl PolicyStore for KvPolicyStore {
    async fn read_active(&self, deadline: Duration) -> Result<Option<Stored>, PlatformError> {
        if !glue::is_bound(STATE) {
            return Ok(None);
        }
        glue::read_key(STATE, ACTIVE_KEY, CACHE_TTL, timer(deadline))
            .map_err(|error| failure(Dependency::PolicyStore, &error))?;
        let found = wait().await.of(Dependency::PolicyStore)?;
        Ok(found
            .as_deref()
            .and_then(|text| text.split_once('\n'))
            .map(|(metadata, value)| (value.to_owned(), (!metadata.is_empty()).then(|| metadata.to_owned()))))
    }

    async fn read_part(&self, hash: &str, deadline: Duration) -> Result<Option<Vec<u8>>, PlatformError> {
        if !glue::is_bound(STATE) {
            return Ok(None);
        }
        glue::read_bytes(STATE, &part_key(hash), timer(deadline))
            .map_err(|error| failure(Dependency::PolicyStore, &error))?;
        Ok(wait().await.of(Dependency::PolicyStore)?.map(|_| glue::bytes()))
    }
}
