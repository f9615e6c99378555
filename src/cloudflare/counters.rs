//! Exact counters: the `Limiter` objects, called over fetch with the message
//! in a field, so that no body is read on either side.

use std::time::Duration;

use wasm_bindgen_futures::JsFuture;

use super::binding::{self, LIMITER, failure, timer};
use super::glue;
use super::origin::Edge;
use crate::error::{Dependency, PlatformError};
use crate::platform::{CounterPeek, Counters};
use crate::stages::rate_limit::CounterKey;
use crate::stages::rate_limit::gcra::Decision;
use crate::stages::rate_limit::message::{FIELD, Peek, Take, decode_decision};

impl Counters for Edge<'_> {
    async fn take(&self, take: &Take, deadline: Duration) -> Result<Decision, PlatformError> {
        self.ask_limiter(take.key, &take.encode(), deadline).await
    }
}

impl CounterPeek for Edge<'_> {
    async fn peek(&self, peek: &Peek, deadline: Duration) -> Result<Decision, PlatformError> {
        self.ask_limiter(peek.key, &peek.encode(), deadline).await
    }
}

impl Edge<'_> {
    async fn ask_limiter(
        &self,
        key: CounterKey,
        message: &str,
        deadline: Duration,
    ) -> Result<Decision, PlatformError> {
        let namespace =
            binding::get(self.env, LIMITER).ok_or_else(|| binding::missing(Dependency::Counter, LIMITER))?;
        let name = format!("v1-{}", key.shard());
        let promise = glue::take_from(&namespace, &name, FIELD, message, timer(deadline));
        let answer = JsFuture::from(promise).await.map_err(|error| failure(Dependency::Counter, &error))?;
        let text = answer.as_string().unwrap_or_default();
        decode_decision(&text)
            .ok_or_else(|| PlatformError::failed(Dependency::Counter, format!("not a decision: {text}")))
    }
}
