//! What the admin API needs of the runtime.

use std::time::Duration;

use http::header::HeaderName;

use super::binding::{ASSETS, failure, timer};
use super::glue;
use super::origin::{Edge, EdgeResponse};
use super::task::{Outcome, wait};
use crate::error::{Dependency, PlatformError};
use crate::platform::{AdminPlatform, BodyError};

/// How many URLs are asked for at once: as many connections as the platform
/// gives to one request.
const AT_ONCE: u32 = 6;

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

    fn colo(&self) -> Option<String> {
        glue::colo()
    }

    async fn warm(
        &self,
        fields: &[(HeaderName, String)],
        jobs: &[String],
        deadline: Duration,
    ) -> Vec<Option<String>> {
        let lines: Vec<String> = fields.iter().map(|(name, value)| format!("{name}:{value}")).collect();
        glue::warm(&lines.join("\n"), &jobs.join("\n"), AT_ONCE, timer(deadline));
        let Outcome::Done(answers) = wait().await else { return Vec::new() };
        answers.split('\n').map(|line| (!line.is_empty()).then(|| line.to_owned())).collect()
    }
}
