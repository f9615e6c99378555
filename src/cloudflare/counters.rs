//! The `Limiter` objects. Counts are asked over fetch with the message in a
//! field, so that no body is read on either side; what concerns bans comes in
//! batches and has a body.

use std::time::Duration;

use super::binding::{self, LIMITER, failure, timer};
use super::glue;
use super::origin::Edge;
use super::task::wait;
use crate::error::{Dependency, PlatformError};
use crate::platform::{CounterPeek, Counters, LimiterClient};
use crate::stages::rate_limit::CounterKey;
use crate::stages::rate_limit::message::{FIELD, Peek, Take, Taken};

impl Counters for Edge {
    async fn take(&self, take: &Take, deadline: Duration) -> Result<Taken, PlatformError> {
        self.ask_limiter(take.key, &take.encode(), deadline).await
    }
}

impl CounterPeek for Edge {
    async fn peek(&self, peek: &Peek, deadline: Duration) -> Result<Taken, PlatformError> {
        self.ask_limiter(peek.key, &peek.encode(), deadline).await
    }
}

impl LimiterClient for Edge {
    async fn tell(&self, shard: u128, message: &str, deadline: Duration) -> Result<String, PlatformError> {
        check_binding()?;
        glue::ask(LIMITER, &name(shard), message, timer(deadline))
            .map_err(|error| failure(Dependency::Counter, &error))?;
        Ok(wait().await.of(Dependency::Counter)?.unwrap_or_default())
    }
}

fn check_binding() -> Result<(), PlatformError> {
    if glue::is_bound(LIMITER) { Ok(()) } else { Err(binding::missing(Dependency::Counter, LIMITER)) }
}

fn name(shard: u128) -> String {
    format!("v1-{shard}")
}

impl Edge {
    async fn ask_limiter(
        &self,
        key: CounterKey,
        message: &str,
        deadline: Duration,
    ) -> Result<Taken, PlatformError> {
        check_binding()?;
        glue::take(LIMITER, &name(key.shard()), FIELD, message, timer(deadline))
            .map_err(|error| failure(Dependency::Counter, &error))?;
        let text = wait().await.of(Dependency::Counter)?.unwrap_or_default();
        Taken::decode(&text)
            .ok_or_else(|| PlatformError::failed(Dependency::Counter, format!("not a decision: {text}")))
    }
}
