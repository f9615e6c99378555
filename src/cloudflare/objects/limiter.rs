//! `Limiter`: one shard of the exact counters.
//!
//! A count is read from SQLite, decided by [`take`] and written back in one
//! turn, without an await between: the input gate lets no other request in,
//! and the output gate holds the answer until the write is durable. So a
//! count survives eviction, and two requests never spend one token.

use std::cell::Cell;
use std::time::Duration;

use serde::Deserialize;
use worker::{DurableObject, Env, Request, Response, Result, SqlStorageValue, State, durable_object};

use super::super::origin::now;
use crate::stages::rate_limit::CounterKey;
use crate::stages::rate_limit::algorithm::{Decision, State as Counted, Tat, peek, take};
use crate::stages::rate_limit::message::{FIELD, Peek, Take, encode_decision};

/// How often counters that say nothing any more are removed.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// One shard of the exact counters.
#[durable_object(alarm)]
#[derive(Debug)]
pub struct Limiter {
    state: State,
    /// Whether the alarm is known to be set.
    alarm_set: Cell<bool>,
}

/// A row. Seconds and nanoseconds apart: SQL integers come as doubles.
#[derive(Deserialize)]
struct Row {
    seconds: u64,
    nanos: u64,
    rest: u32,
    quota: u32,
}

const NANOS_PER_SECOND: u128 = 1_000_000_000;

impl DurableObject for Limiter {
    fn new(state: State, _env: Env) -> Self {
        Self { state, alarm_set: Cell::new(false) }
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        let text = request.headers().get(FIELD)?.unwrap_or_default();
        // First what nearly every message is.
        let Some(message) = Take::decode(&text) else {
            if let Some(message) = Peek::decode(&text) {
                let response = Response::empty()?;
                response.headers().set(FIELD, &encode_decision(&self.peek(&message)?))?;
                return Ok(response);
            }
            return Response::error("not a message of this version", 400);
        };
        let decision = self.take(&message)?;
        if !self.alarm_set.replace(true) && self.state.storage().get_alarm().await?.is_none() {
            self.state.storage().set_alarm(SWEEP_EVERY).await?;
        }
        let response = Response::empty()?;
        response.headers().set(FIELD, &encode_decision(&decision))?;
        Ok(response)
    }

    async fn alarm(&self) -> Result<Response> {
        self.create_table()?;
        let sql = self.state.storage().sql();
        let seconds = i64::try_from(now().seconds()).unwrap_or(i64::MAX);
        sql.exec("DELETE FROM counters WHERE seconds < ?", vec![SqlStorageValue::Integer(seconds)])?;
        let left: Vec<serde_json::Value> = sql.exec("SELECT 1 FROM counters LIMIT 1", None)?.to_array()?;
        if left.is_empty() {
            self.alarm_set.set(false);
        } else {
            self.state.storage().set_alarm(SWEEP_EVERY).await?;
        }
        Response::empty()
    }
}

impl Limiter {
    fn create_table(&self) -> Result<()> {
        self.state.storage().sql().exec(
            "CREATE TABLE IF NOT EXISTS counters (key TEXT PRIMARY KEY, seconds INTEGER NOT NULL, \
             nanos INTEGER NOT NULL, rest INTEGER NOT NULL, quota INTEGER NOT NULL) WITHOUT ROWID",
            None,
        )?;
        Ok(())
    }

    /// What the counter says; nothing is counted or written, and no alarm is
    /// set.
    fn peek(&self, message: &Peek) -> Result<Decision> {
        self.create_table()?;
        Ok(peek(&message.quota, self.read(message.key)?.map(Counted::Gcra), now()))
    }

    fn read(&self, key: CounterKey) -> Result<Option<Tat>> {
        let key = SqlStorageValue::String(format!("{:032x}", key.0));
        let sql = self.state.storage().sql();
        let rows: Vec<Row> = sql
            .exec("SELECT seconds, nanos, rest, quota FROM counters WHERE key = ?", vec![key])?
            .to_array()?;
        Ok(rows.first().map(|row| Tat {
            nanos: u128::from(row.seconds).saturating_mul(NANOS_PER_SECOND).saturating_add(row.nanos.into()),
            rest: row.rest,
            of: row.quota,
        }))
    }

    fn take(&self, message: &Take) -> Result<Decision> {
        if !self.alarm_set.get() {
            self.create_table()?;
        }
        let before = self.read(message.key)?;
        let (decision, after) = take(&message.quota, before.map(Counted::Gcra), message.cost, now());
        if let Some(Counted::Gcra(after)) = after
            && before != Some(after)
        {
            let integer = |value: u128| SqlStorageValue::Integer(i64::try_from(value).unwrap_or(i64::MAX));
            let key = SqlStorageValue::String(format!("{:032x}", message.key.0));
            self.state.storage().sql().exec(
                "INSERT OR REPLACE INTO counters (key, seconds, nanos, rest, quota) VALUES (?, ?, ?, ?, ?)",
                vec![
                    key,
                    integer(after.nanos.wrapping_div(NANOS_PER_SECOND)),
                    integer(after.nanos.wrapping_rem(NANOS_PER_SECOND)),
                    integer(after.rest.into()),
                    integer(after.of.into()),
                ],
            )?;
        }
        Ok(decision)
    }
}
