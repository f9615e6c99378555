//! Exact counters: the `Limiter` objects, called over fetch with the message
//! in a field, so that no body is read on either side.

use std::time::Duration;

use super::binding::{self, LIMITER, failure, timer};
use super::glue;
use super::origin::Edge;
use super::task::wait;
use crate::error::{Dependency, PlatformError};
use crate::platform::{CounterPeek, Counters};
use crate::stages::rate_limit::CounterKey;
use crate::stages::rate_limit::algorithm::Decision;
use crate::stages::rate_limit::message::{FIELD, Peek, Take, decode_decision};

impl Counters for Edge {
    async fn take(&self, take: &Take, deadline: Duration) -> Result<Decision, PlatformError> {
        self.ask_limiter(take.key, &take.encode(), deadline).await
    }
}

impl CounterPeek for Edge {
    async fn peek(&self, peek: &Peek, deadline: Duration) -> Result<Decision, PlatformError> {
        self.ask_limiter(peek.key, &peek.encode(), deadline).await
    }
}

impl Edge {
    async fn ask_limiter(
        &self,
        key: CounterKey,
        message: &str,
        deadline: Duration,
    ) -> Result<Decision, PlatformError> {
        if !glue::is_bound(LIMITER) {
            return Err(binding::missing(Dependency::Counter, LIMITER));
        }
        let name = format!("v1-{}", key.shard());
        glue::take(LIMITER, &name, FIELD, message, timer(deadline))
            .map_err(|error| failure(Dependency::Counter, &error))?;
        let text = wait().await.of(Dependency::Counter)?.unwrap_or_default();
        decode_decision(&text)
            .ok_or_else(|| PlatformError::failed(Dependency::Counter, format!("not a decision: {text}")))
    }
}
