//! `Limiter`: one shard of the exact counters, and of the bans of the clients
//! that it counts, see [`crate::stages::bans::limiter`].
//!
//! A count is read from SQLite, decided by [`take`] and written back in one
//! turn, without an await between: the input gate lets no other request in,
//! and the output gate holds the answer until the write is durable. So a
//! count survives eviction, and two requests never spend one token.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use serde::Deserialize;
use worker::{
    DurableObject, Env, Method, Request, RequestInit, Response, Result, SqlStorageValue, State,
    durable_object,
};

use super::super::binding::CONTROL;
use super::super::control_client::NAME as CONTROL_NAME;
use super::super::origin::now;
use crate::control::answer::{Refused, decode_answer};
use crate::control::bans::{BansTaken, report_of};
use crate::error::{Dependency, PlatformError};
use crate::platform::{BanRows, BanStore};
use crate::stages::bans::limiter::{LimiterBans, Unreported};
use crate::stages::bans::message::Message;
use crate::stages::bans::{Ban, parse_network};
use crate::stages::ip_filter::prefix::Prefix;
use crate::stages::rate_limit::CounterKey;
use crate::stages::rate_limit::algorithm::{Decision, State as Counted, Tat, peek, take};
use crate::stages::rate_limit::message::{FIELD, Peek, Take, Taken};
use crate::time::Timestamp;

/// How often counters that say nothing any more are removed.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// The least time before `Control` is told of a ban: others may come with it.
const REPORT_AFTER: Duration = Duration::from_millis(500);

/// One shard of the exact counters.
#[durable_object(alarm)]
#[derive(Debug)]
pub struct Limiter {
    state: State,
    env: Env,
    /// Whether the alarm is known to be set.
    alarm_set: Cell<bool>,
    bans: RefCell<LimiterBans>,
    has_ban_tables: Cell<bool>,
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
    fn new(state: State, env: Env) -> Self {
        // Without randomness the clock is what is left.
        let seed = super::super::glue::random_seed()
            .ok()
            .and_then(|hex| u64::from_str_radix(hex.get(..16)?, 16).ok())
            .unwrap_or_else(|| now().millis());
        let bans = RefCell::new(LimiterBans::new(seed));
        Self { state, env, alarm_set: Cell::new(false), bans, has_ban_tables: Cell::new(false) }
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        let Some(text) = request.headers().get(FIELD)? else {
            // What concerns bans comes in a body.
            return self.told(&request.text().await?).await;
        };
        // First what nearly every message is.
        let Some(message) = Take::decode(&text) else {
            if let Some(message) = Peek::decode(&text) {
                let taken = Taken { decision: self.peek(&message)?, banned: self.banned(message.client)? };
                let response = Response::empty()?;
                response.headers().set(FIELD, &taken.encode())?;
                return Ok(response);
            }
            return Response::error("not a message of this version", 400);
        };
        let taken = Taken { decision: self.take(&message)?, banned: self.banned(message.client)? };
        if !self.alarm_set.replace(true) && self.state.storage().get_alarm().await?.is_none() {
            self.state.storage().set_alarm(SWEEP_EVERY).await?;
        }
        let response = Response::empty()?;
        response.headers().set(FIELD, &taken.encode())?;
        Ok(response)
    }

    async fn alarm(&self) -> Result<Response> {
        self.create_table()?;
        let sql = self.state.storage().sql();
        let seconds = i64::try_from(now().seconds()).unwrap_or(i64::MAX);
        sql.exec("DELETE FROM counters WHERE seconds < ?", vec![SqlStorageValue::Integer(seconds)])?;
        let left: Vec<serde_json::Value> = sql.exec("SELECT 1 FROM counters LIMIT 1", None)?.to_array()?;
        let rows = self.ban_rows()?;
        self.bans.borrow_mut().sweep(&rows, now()).map_err(rust_error)?;
        self.report(&rows).await?;
        let (due, is_empty) = {
            let mut bans = self.bans.borrow_mut();
            (bans.due(&rows, now()).map_err(rust_error)?, bans.is_empty(&rows, now()).map_err(rust_error)?)
        };
        let sweep = (!left.is_empty() || !is_empty).then_some(SWEEP_EVERY);
        match sweep.into_iter().chain(due.map(|due| due.since(now()))).min() {
            Some(wait) => self.state.storage().set_alarm(wait).await?,
            None => self.alarm_set.set(false),
        }
        Response::empty()
    }
}

impl Limiter {
    /// Takes in a message about bans.
    async fn told(&self, text: &str) -> Result<Response> {
        let Some(message) = Message::decode(text) else {
            return Response::error("not a message of this version", 400);
        };
        let rows = self.ban_rows()?;
        let (told, due) = {
            let mut bans = self.bans.borrow_mut();
            let told = bans.tell(&rows, message, now()).map_err(rust_error)?;
            (told, bans.due(&rows, now()).map_err(rust_error)?)
        };
        let wait = due.map_or(SWEEP_EVERY, |due| due.since(now()).max(REPORT_AFTER));
        let set = self.state.storage().get_alarm().await?.and_then(|at| u64::try_from(at).ok());
        if set.is_none_or(|at| at > now().after(wait).millis()) {
            self.state.storage().set_alarm(wait).await?;
        }
        self.alarm_set.set(true);
        Response::ok(told.encode())
    }

    /// Tells `Control` of the bans that it does not know.
    async fn report(&self, rows: &Rows<'_>) -> Result<()> {
        let batch = self.bans.borrow_mut().batch(rows, now()).map_err(rust_error)?;
        if batch.is_empty() {
            return Ok(());
        }
        let taken = self.ask_control(&batch).await;
        let dropped = taken.as_ref().ok().map(|taken| {
            taken.dropped.iter().filter_map(|network| parse_network(network)).collect::<Vec<Prefix>>()
        });
        self.bans.borrow_mut().conclude(rows, &batch, dropped.as_deref(), now()).map_err(rust_error)?;
        if let Err(error) = taken {
            let line = serde_json::json!({
                "schema": 1, "event": "bans", "time": now().to_string(), "error": error.to_string(),
            });
            super::super::glue::warn(&line.to_string());
        }
        Ok(())
    }

    async fn ask_control(&self, batch: &[Unreported]) -> std::result::Result<BansTaken, PlatformError> {
        let failed = |error: worker::Error| PlatformError::failed(Dependency::Control, error.to_string());
        let text = self.post(CONTROL, CONTROL_NAME, &report_of(batch)).await.map_err(failed)?;
        let refused = |refused: Refused| format!("refused: {}", refused.reason.as_str());
        let answer = decode_answer(&text).and_then(|answer| answer.map_err(refused));
        answer.map_err(|cause| PlatformError::failed(Dependency::Control, cause))
    }

    async fn post(&self, binding: &str, name: &str, body: &str) -> Result<String> {
        let stub = self.env.durable_object(binding)?.id_from_name(name)?.get_stub()?;
        let mut init = RequestInit::new();
        init.with_method(Method::Post).with_body(Some(body.into()));
        let request = Request::new_with_init("https://object.invalid/", &init)?;
        let mut response = stub.fetch_with_request(request).await?;
        let text = response.text().await?;
        if response.status_code() == 200 {
            Ok(text)
        } else {
            Err(worker::Error::RustError(format!("status {}", response.status_code())))
        }
    }

    /// The ban of a client, where one is named.
    fn banned(&self, client: Option<Prefix>) -> Result<Option<Ban>> {
        let Some(client) = client else { return Ok(None) };
        let rows = self.ban_rows()?;
        self.bans.borrow_mut().banned(&rows, client, now()).map_err(rust_error)
    }

    fn ban_rows(&self) -> Result<Rows<'_>> {
        if !self.has_ban_tables.get() {
            let sql = self.state.storage().sql();
            for rows in [BanRows::Offenders, BanRows::Bans, BanRows::Reporters] {
                let name = rows.as_str();
                let columns =
                    "(key TEXT PRIMARY KEY, ends INTEGER NOT NULL, text TEXT NOT NULL) WITHOUT ROWID";
                sql.exec(&format!("CREATE TABLE IF NOT EXISTS {name} {columns}"), None)?;
                sql.exec(&format!("CREATE INDEX IF NOT EXISTS {name}_by_end ON {name} (ends)"), None)?;
            }
            self.has_ban_tables.set(true);
        }
        Ok(Rows(&self.state))
    }
}

fn rust_error(error: PlatformError) -> worker::Error {
    worker::Error::RustError(error.to_string())
}

/// The rows about bans.
struct Rows<'a>(&'a State);

#[derive(Deserialize)]
struct TextRow {
    text: String,
}

#[derive(Deserialize)]
struct CountRow {
    count: usize,
}

fn broken(error: worker::Error) -> PlatformError {
    PlatformError::failed(Dependency::Counter, error.to_string())
}

fn integer(value: u64) -> SqlStorageValue {
    SqlStorageValue::Integer(i64::try_from(value).unwrap_or(i64::MAX))
}

impl Rows<'_> {
    fn run<T: serde::de::DeserializeOwned>(
        &self,
        sql: &str,
        values: Vec<SqlStorageValue>,
    ) -> std::result::Result<Vec<T>, PlatformError> {
        let cursor = self.0.storage().sql().exec(sql, values).map_err(broken)?;
        cursor.to_array().map_err(broken)
    }

    fn texts(
        &self,
        sql: &str,
        values: Vec<SqlStorageValue>,
    ) -> std::result::Result<Vec<String>, PlatformError> {
        Ok(self.run::<TextRow>(sql, values)?.into_iter().map(|row| row.text).collect())
    }
}

impl BanStore for Rows<'_> {
    fn get(&self, rows: BanRows, key: &str) -> std::result::Result<Option<String>, PlatformError> {
        let sql = format!("SELECT text FROM {} WHERE key = ?", rows.as_str());
        Ok(self.texts(&sql, vec![SqlStorageValue::String(key.to_owned())])?.pop())
    }

    fn put(
        &self,
        rows: BanRows,
        key: &str,
        ends: Timestamp,
        text: &str,
    ) -> std::result::Result<(), PlatformError> {
        let sql = format!("INSERT OR REPLACE INTO {} (key, ends, text) VALUES (?, ?, ?)", rows.as_str());
        let values = vec![
            SqlStorageValue::String(key.to_owned()),
            integer(ends.millis()),
            SqlStorageValue::String(text.to_owned()),
        ];
        self.run::<TextRow>(&sql, values).map(|_| ())
    }

    fn remove(&self, rows: BanRows, key: &str) -> std::result::Result<(), PlatformError> {
        let sql = format!("DELETE FROM {} WHERE key = ?", rows.as_str());
        self.run::<TextRow>(&sql, vec![SqlStorageValue::String(key.to_owned())]).map(|_| ())
    }

    fn all(&self, rows: BanRows) -> std::result::Result<Vec<String>, PlatformError> {
        self.texts(&format!("SELECT text FROM {}", rows.as_str()), Vec::new())
    }

    fn first(&self, rows: BanRows) -> std::result::Result<Option<String>, PlatformError> {
        let sql = format!("SELECT key AS text FROM {} ORDER BY ends LIMIT 1", rows.as_str());
        Ok(self.texts(&sql, Vec::new())?.pop())
    }

    fn count(&self, rows: BanRows) -> std::result::Result<usize, PlatformError> {
        let sql = format!("SELECT COUNT(*) AS count FROM {}", rows.as_str());
        Ok(self.run::<CountRow>(&sql, Vec::new())?.pop().map_or(0, |row| row.count))
    }

    fn sweep(&self, rows: BanRows, now: Timestamp) -> std::result::Result<(), PlatformError> {
        let sql = format!("DELETE FROM {} WHERE ends <= ?", rows.as_str());
        self.run::<TextRow>(&sql, vec![integer(now.millis())]).map(|_| ())
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
