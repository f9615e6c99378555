//! The policy store: KV.

use std::time::Duration;

use super::binding::{STATE, failure, timer};
use super::glue;
use super::origin::Edge;
use super::task::wait;
use crate::error::{Dependency, PlatformError};
use crate::platform::{PartRead, Pause, PolicyStore, Stored};
use crate::policy::manifest::{ACTIVE_KEY, part_key};

/// How long a location may answer from its own copy, in seconds: the least
/// that KV takes.
const CACHE_TTL: u32 = 30;

/// The namespace [`STATE`], which holds nothing where it is not bound.
#[derive(Clone, Copy, Debug)]
pub struct KvPolicyStore;

impl Pause for KvPolicyStore {
    async fn pause(&self, span: Duration) {
        Edge.pause(span).await;
    }
}

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

    async fn read_parts(
        &self,
        hashes: &[&str],
        deadline: Duration,
    ) -> Result<Vec<Option<PartRead>>, PlatformError> {
        if !glue::is_bound(STATE) || hashes.is_empty() {
            return Ok(hashes.iter().map(|_| None).collect());
        }
        let keys: Vec<String> = hashes.iter().map(|hash| part_key(hash)).collect();
        glue::read_parts(STATE, &keys.join("\n"), timer(deadline))
            .map_err(|error| failure(Dependency::PolicyStore, &error))?;
        let read = wait().await.of(Dependency::PolicyStore)?.unwrap_or_default();
        let part = |(index, hash): (u32, &str)| {
            (!hash.is_empty()).then(|| PartRead { bytes: glue::part_bytes(index), hash: hash.to_owned() })
        };
        Ok((0..).zip(read.split('\n')).map(part).collect())
    }
}
