//! What the admin API needs of the runtime.

use std::time::Duration;

use super::binding::{ASSETS, failure, timer};
use super::glue;
use super::origin::{Edge, EdgeResponse};
use super::task::{Outcome, wait};
use crate::error::{Dependency, PlatformError};
use crate::platform::{AdminPlatform, BodyError};

impl AdminPlatform for Edge {
    async fn read_body(&self, limit: usize, deadline: Duration) -> Result<Vec<u8>, BodyError> {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        glue::read_body(limit, timer(deadline));
        match wait().await {
            Outcome::Done(_) => Ok(glue::bytes()),
            Outcome::Nothing => Err(BodyError::TooLarge),
            Outcome::TimedOut => Err(BodyError::TimedOut),
            Outcome::Failed(_) => Err(BodyError::Broken),
        }
    }

    async fn asset(&self, path: &str, deadline: Duration) -> Result<Option<EdgeResponse>, PlatformError> {
        if !glue::is_bound(ASSETS) {
            return Ok(None);
        }
        glue::asset(ASSETS, path, timer(deadline)).map_err(|error| failure(Dependency::Assets, &error))?;
        let place = wait().await.of(Dependency::Assets)?;
        Ok(place.and_then(|place| Some(EdgeResponse::made(place.parse().ok()?, 200))))
    }

    fn open_body(&self) {
        // Should the runtime refuse, there is no piece to read: as of a
        // request without a body.
        let _ = glue::open_body();
    }
}
