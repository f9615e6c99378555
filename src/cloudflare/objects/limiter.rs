//! `Limiter`: one shard of the exact counters, and of the bans of the clients
//! that it counts, see [`crate::stages::bans::limiter`].
//!
//! An account is read from SQLite, decided upon (see
//! [`crate::stages::rate_limit::limiter`]) and written back in one turn,
//! without an await between: the input gate lets no other request in,
//! and the output gate holds the answer until the write is durable. So a
//! count survives eviction, and two requests never spend one token.
//!
//! `limiter.js` asks [`Limiter::answer`] first, which waits for nothing; what
//! it leaves goes the long way through `fetch`.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use serde::Deserialize;
use worker::wasm_bindgen::{self, JsValue, prelude::wasm_bindgen};
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
use crate::platform::{AccountStore, BanRows, BanStore};
use crate::stages::bans::limiter::{LimiterBans, Unreported};
use crate::stages::bans::message::Message;
use crate::stages::bans::parse_network;
use crate::stages::ip_filter::prefix::Prefix;
use crate::stages::rate_limit::CounterKey;
use crate::stages::rate_limit::account::Account;
use crate::stages::rate_limit::algorithm::Tat;
use crate::stages::rate_limit::limiter::LimiterCounts;
use crate::stages::rate_limit::message::FIELD;
use crate::time::Timestamp;

#[wasm_bindgen(module = "/src/cloudflare/objects/limiter.js")]
extern "C" {
    #[wasm_bindgen(js_name = createAccounts, catch)]
    fn create_accounts(storage: &JsValue) -> std::result::Result<(), JsValue>;

    #[wasm_bindgen(js_name = storedAccount, catch)]
    fn stored_account(storage: &JsValue, key: &[u8]) -> std::result::Result<Option<String>, JsValue>;

    #[wasm_bindgen(js_name = keepAccount, catch)]
    fn keep_account(storage: &JsValue, key: &[u8], ends: f64, text: &str)
    -> std::result::Result<(), JsValue>;
}

/// How often counters that say nothing any more are removed.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// The least time before `Control` is told of a ban: others may come with it.
const REPORT_AFTER: Duration = Duration::from_millis(500);

/// One shard of the exact counters.
#[durable_object(alarm)]
#[derive(Debug)]
pub struct Limiter {
    state: State,
    /// As the runtime has it.
    storage: JsValue,
    env: Env,
    /// Whether the alarm is known to be set.
    alarm_set: Cell<bool>,
    counts: RefCell<LimiterCounts>,
    /// Whether there are counts of the build before, once that is known.
    has_old: Cell<Option<bool>>,
    bans: RefCell<LimiterBans>,
    has_ban_tables: Cell<bool>,
}

impl DurableObject for Limiter {
    fn new(state: State, env: Env) -> Self {
        // Without randomness the clock is what is left.
        let seed = super::super::glue::random_seed()
            .ok()
            .and_then(|hex| u64::from_str_radix(hex.get(..16)?, 16).ok())
            .unwrap_or_else(|| now().millis());
        let bans = RefCell::new(LimiterBans::new(seed));
        Self {
            storage: state.storage().as_raw().into(),
            state,
            env,
            alarm_set: Cell::new(false),
            counts: RefCell::default(),
            has_old: Cell::new(None),
            bans,
            has_ban_tables: Cell::new(false),
        }
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        let Some(text) = request.headers().get(FIELD)? else {
            // What concerns bans comes in a body.
            return self.told(&request.text().await?).await;
        };
        let Some(answer) = self.count(&text)? else {
            return Response::error("not a message of this version", 400);
        };
        let has_some = !self.counts.borrow_mut().is_empty(&self.accounts()?).map_err(rust_error)?;
        if has_some && !self.alarm_set.replace(true) && self.state.storage().get_alarm().await?.is_none() {
            self.state.storage().set_alarm(SWEEP_EVERY).await?;
        }
        let response = Response::empty()?;
        response.headers().set(FIELD, &answer)?;
        Ok(response)
    }

    async fn alarm(&self) -> Result<Response> {
        let accounts = self.accounts()?;
        self.counts.borrow_mut().sweep(&accounts, now()).map_err(rust_error)?;
        let is_idle = self.counts.borrow_mut().is_empty(&accounts).map_err(rust_error)?;
        let rows = self.ban_rows()?;
        self.bans.borrow_mut().sweep(&rows, now()).map_err(rust_error)?;
        self.report(&rows).await?;
        let (due, is_empty) = {
            let mut bans = self.bans.borrow_mut();
            (bans.due(&rows, now()).map_err(rust_error)?, bans.is_empty(&rows, now()).map_err(rust_error)?)
        };
        let sweep = (!is_idle || !is_empty).then_some(SWEEP_EVERY);
        match sweep.into_iter().chain(due.map(|due| due.since(now()))).min() {
            Some(wait) => self.state.storage().set_alarm(wait).await?,
            None => self.alarm_set.set(false),
        }
        Response::empty()
    }
}

#[wasm_bindgen]
impl Limiter {
    /// Answers a message about counts; nothing where it has to go the long
    /// way: it is another message, or the alarm may not be set.
    pub fn answer(&self, text: &str) -> std::result::Result<Option<String>, JsValue> {
        if !self.alarm_set.get() {
            return Ok(None);
        }
        Ok(self.count(text)?)
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

    fn ban_rows(&self) -> Result<Rows<'_>> {
        if !self.has_ban_tables.get() {
            let sql = self.state.storage().sql();
            for rows in BanRows::ALL {
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

/// The accounts of the counters.
struct Accounts<'a> {
    rows: Rows<'a>,
    storage: &'a JsValue,
    /// Whether there is what the build before has counted.
    has_old: bool,
}

/// What the runtime says of its own failure.
fn thrown(error: JsValue) -> PlatformError {
    broken(error.into())
}

/// A count of the build before. Seconds and nanoseconds apart: SQL integers
/// come as doubles.
#[derive(Deserialize)]
struct OldRow {
    seconds: u64,
    nanos: u64,
    rest: u32,
    quota: u32,
}

impl Accounts<'_> {
    /// What the build before has counted.
    fn old(&self, key: CounterKey) -> std::result::Result<Option<String>, PlatformError> {
        let key = SqlStorageValue::String(crate::text::hex(key.0, 32));
        let sql = "SELECT seconds, nanos, rest, quota FROM counters WHERE key = ?";
        let row = self.rows.run::<OldRow>(sql, vec![key])?.pop();
        Ok(row.map(|row| {
            let nanos =
                u128::from(row.seconds).saturating_mul(1_000_000_000).saturating_add(row.nanos.into());
            Account::of(Tat { nanos, rest: row.rest, of: row.quota }).encode()
        }))
    }
}

impl AccountStore for Accounts<'_> {
    fn account(&self, key: CounterKey) -> std::result::Result<Option<String>, PlatformError> {
        let known = stored_account(self.storage, &key.0.to_be_bytes()).map_err(thrown)?;
        if known.is_none() && self.has_old { self.old(key) } else { Ok(known) }
    }

    fn keep(&self, key: CounterKey, ends: Timestamp, text: &str) -> std::result::Result<(), PlatformError> {
        // Milliseconds are far below 2^53.
        #[expect(clippy::cast_precision_loss, reason = "numbers of SQL are doubles here")]
        let ends = ends.millis() as f64;
        keep_account(self.storage, &key.0.to_be_bytes(), ends, text).map_err(thrown)
    }

    fn forget(&self, key: CounterKey) -> std::result::Result<(), PlatformError> {
        if self.has_old {
            let key = SqlStorageValue::String(crate::text::hex(key.0, 32));
            self.rows.run::<TextRow>("DELETE FROM counters WHERE key = ?", vec![key])?;
        }
        let blob = SqlStorageValue::Blob(key.0.to_be_bytes().to_vec());
        self.rows.run::<TextRow>("DELETE FROM accounts WHERE key = ?", vec![blob]).map(|_| ())
    }

    fn count(&self) -> std::result::Result<usize, PlatformError> {
        let sql = if self.has_old {
            "SELECT (SELECT COUNT(*) FROM accounts) + (SELECT COUNT(*) FROM counters) AS count"
        } else {
            "SELECT COUNT(*) AS count FROM accounts"
        };
        let rows = self.rows.run::<CountRow>(sql, Vec::new())?;
        Ok(rows.first().map_or(0, |row| row.count))
    }

    fn sweep(&self, now: Timestamp) -> std::result::Result<(), PlatformError> {
        if self.has_old {
            let sql = "DELETE FROM counters WHERE seconds < ?";
            self.rows.run::<TextRow>(sql, vec![integer(now.seconds())])?;
        }
        self.rows
            .run::<TextRow>("DELETE FROM accounts WHERE ends < ?", vec![integer(now.millis())])
            .map(|_| ())
    }
}

impl Limiter {
    fn accounts(&self) -> Result<Accounts<'_>> {
        let rows = Rows(&self.state);
        if self.has_old.get().is_none() {
            create_accounts(&self.storage)?;
            let old = "SELECT COUNT(*) AS count FROM sqlite_master WHERE name = 'counters'";
            let old = rows.run::<CountRow>(old, Vec::new()).map_err(rust_error)?;
            self.has_old.set(Some(old.first().is_some_and(|row| row.count > 0)));
        }
        Ok(Accounts { rows, storage: &self.storage, has_old: self.has_old.get().unwrap_or_default() })
    }

    /// Takes in a message about counts.
    fn count(&self, text: &str) -> Result<Option<String>> {
        let accounts = self.accounts()?;
        let mut banned = |client: Prefix| {
            let rows = self.ban_rows().map_err(broken)?;
            self.bans.borrow_mut().banned(&rows, client, now())
        };
        self.counts.borrow_mut().tell(&accounts, text, &mut banned, now()).map_err(rust_error)
    }
}
