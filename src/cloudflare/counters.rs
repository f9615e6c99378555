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
use crate::stages::ip_filter::prefix::Prefix;
use crate::stages::rate_limit::message::count::{Answer, Count, Look, Message, Outcome};
use crate::stages::rate_limit::message::{FIELD, Take, Taken};
use crate::stages::rate_limit::{Algorithm, CounterKey, SHARDS};

/// What an object that runs older code answers to what it does not know.
const NOT_KNOWN: &str = "status 400";

impl Counters for Edge {
    async fn count(
        &self,
        shard: u128,
        message: &Message,
        deadline: Duration,
    ) -> Result<Answer, PlatformError> {
        if cfg!(feature = "previous-protocol")
            && let Message::Count(count) = message
        {
            return self.count_in_version_1(shard, count, deadline).await;
        }
        let text = self.ask_limiter(shard, &message.encode(), deadline).await?;
        match (text.as_str(), message) {
            (NOT_KNOWN, Message::Count(count)) => self.count_in_version_1(shard, count, deadline).await,
            _ => read(&text),
        }
    }

    async fn count_everywhere(
        &self,
        message: &Message,
        deadline: Duration,
    ) -> Vec<Result<Answer, PlatformError>> {
        let names: Vec<String> = (0..SHARDS).map(name).collect();
        let begun = check_binding().and_then(|()| {
            glue::take_all(LIMITER, &names.join("\n"), FIELD, &message.encode(), timer(deadline))
                .map_err(|error| failure(Dependency::Counter, &error))
        });
        let text = match begun {
            Ok(()) => wait().await.of(Dependency::Counter).map(Option::unwrap_or_default),
            Err(error) => Err(error),
        };
        match text {
            Ok(text) => text.split('\n').map(read).collect(),
            Err(error) => vec![Err(error)],
        }
    }

    async fn platform_limit(
        &self,
        binding: &str,
        key: CounterKey,
        deadline: Duration,
    ) -> Result<bool, PlatformError> {
        if !glue::is_bound(binding) {
            return Err(binding::missing(Dependency::Counter, binding));
        }
        glue::limit(binding, &crate::text::hex(key.0, 32), timer(deadline))
            .map_err(|error| failure(Dependency::Counter, &error))?;
        Ok(wait().await.of(Dependency::Counter)?.as_deref() == Some("true"))
    }
}

impl CounterPeek for Edge {
    async fn peek(
        &self,
        client: Option<Prefix>,
        look: &Look,
        deadline: Duration,
    ) -> Result<Taken, PlatformError> {
        let message = Message::Peek(client, vec![*look]);
        let text = self.ask_limiter(look.key.shard(), &message.encode(), deadline).await?;
        let answer = read(&text)?;
        let outcome = answer.results.first().ok_or_else(|| unread(&text))?;
        Ok(Taken { decision: outcome.decision, banned: answer.banned })
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

fn read(text: &str) -> Result<Answer, PlatformError> {
    Answer::decode(text).ok_or_else(|| unread(text))
}

fn unread(text: &str) -> PlatformError {
    PlatformError::failed(Dependency::Counter, format!("not an answer: {text}"))
}

impl Edge {
    async fn ask_limiter(
        &self,
        shard: u128,
        message: &str,
        deadline: Duration,
    ) -> Result<String, PlatformError> {
        check_binding()?;
        glue::take(LIMITER, &name(shard), FIELD, message, timer(deadline), 1)
            .map_err(|error| failure(Dependency::Counter, &error))?;
        Ok(wait().await.of(Dependency::Counter)?.unwrap_or_default())
    }

    /// Says to an object that runs older code what it knows: rule by rule, and
    /// what is charged stays charged.
    async fn count_in_version_1(
        &self,
        shard: u128,
        count: &Count,
        deadline: Duration,
    ) -> Result<Answer, PlatformError> {
        if count.asks.iter().any(|ask| ask.quota.algorithm() != Algorithm::Gcra) {
            return Err(PlatformError::failed(
                Dependency::Counter,
                "an object of the build before does not know this algorithm",
            ));
        }
        let mut answer = Answer::default();
        for ask in &count.asks {
            let take = Take { key: ask.key, quota: ask.quota, cost: ask.cost, client: count.client };
            let text = self.ask_limiter(shard, &take.encode(), deadline).await?;
            let Taken { decision, banned } = Taken::decode(&text).ok_or_else(|| unread(&text))?;
            answer.results.push(Outcome { decision, granted: None, holds: decision.retry_after });
            answer.banned = answer.banned.or(banned);
            if !decision.allowed && ask.enforced {
                break;
            }
        }
        Ok(answer)
    }
}
