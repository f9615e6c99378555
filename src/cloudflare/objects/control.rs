//! `Control`: the single writer of an environment's policy.
//!
//! It moves texts and rows; [`crate::control`] decides. One name makes it one
//! object, SQLite makes it durable, the alarm makes it finish what it began.

use js_sys::{Array, Promise, Uint8Array};
use wasm_bindgen::prelude::*;
use worker::wasm_bindgen_futures::JsFuture;
use worker::{DurableObject, Env, Request, Response, Result, State, durable_object};

use super::super::binding::{STATE, failure};
use super::super::origin::now;
use crate::control::publication::{Guard, publish, serve};
use crate::error::{Dependency, PlatformError};
use crate::platform::{BanKind, Clock, ControlStore, ManifestStore, Stored, Table, Write};
use crate::policy::manifest::{ACTIVE_KEY, part_key};
use crate::time::Timestamp;

#[wasm_bindgen(module = "/src/cloudflare/objects/control.js")]
extern "C" {
    #[wasm_bindgen(js_name = createTables, catch)]
    fn create_tables(storage: &JsValue) -> std::result::Result<(), JsValue>;

    #[wasm_bindgen(js_name = storedValue, catch)]
    fn stored_value(storage: &JsValue, name: &str) -> std::result::Result<Option<String>, JsValue>;

    #[wasm_bindgen(js_name = storedRow, catch)]
    fn stored_row(
        storage: &JsValue,
        table: &str,
        number: f64,
    ) -> std::result::Result<Option<String>, JsValue>;

    #[wasm_bindgen(js_name = storedRows, catch)]
    fn stored_rows(
        storage: &JsValue,
        table: &str,
        before: f64,
        limit: u32,
    ) -> std::result::Result<Array, JsValue>;

    #[wasm_bindgen(js_name = storedObject, catch)]
    fn stored_object(storage: &JsValue, hash: &str) -> std::result::Result<Option<Uint8Array>, JsValue>;

    #[wasm_bindgen(js_name = storedBan, catch)]
    fn stored_ban(storage: &JsValue, key: &str) -> std::result::Result<Option<String>, JsValue>;

    #[wasm_bindgen(js_name = storedBans, catch)]
    fn stored_bans(
        storage: &JsValue,
        after: &str,
        now: f64,
        limit: u32,
    ) -> std::result::Result<Array, JsValue>;

    #[wasm_bindgen(js_name = banCount, catch)]
    fn ban_count(storage: &JsValue, kind: u8, now: f64) -> std::result::Result<u32, JsValue>;

    #[wasm_bindgen(js_name = firstBans, catch)]
    fn first_bans(storage: &JsValue, kind: u8, now: f64, limit: u32) -> std::result::Result<Array, JsValue>;

    #[wasm_bindgen(js_name = allBans, catch)]
    fn all_bans(storage: &JsValue, now: f64) -> std::result::Result<String, JsValue>;

    #[wasm_bindgen(js_name = applyWrites, catch)]
    fn apply_writes(storage: &JsValue, writes: &Array) -> std::result::Result<(), JsValue>;

    #[wasm_bindgen(js_name = putKey)]
    fn put_key(
        namespace: &JsValue,
        key: &str,
        value: &JsValue,
        metadata: Option<&str>,
        deadline: u32,
    ) -> Promise;

    #[wasm_bindgen(js_name = deleteKey)]
    fn delete_key(namespace: &JsValue, key: &str, deadline: u32) -> Promise;

    #[wasm_bindgen(js_name = getKey)]
    fn get_key(namespace: &JsValue, key: &str, deadline: u32) -> Promise;
}

/// How long the policy store may take, in milliseconds.
const STORE_WAIT: u32 = 10_000;

/// The single writer.
#[durable_object(alarm)]
#[derive(Debug)]
pub struct Control {
    storage: Storage,
    manifests: Manifests,
    guard: Guard,
}

impl DurableObject for Control {
    fn new(state: State, env: Env) -> Self {
        let namespace = js_sys::Reflect::get(env.as_ref(), &JsValue::from_str(STATE)).ok();
        Self {
            storage: Storage(state.storage().as_raw().into()),
            manifests: Manifests(
                namespace.filter(|namespace| !namespace.is_undefined() && !namespace.is_null()),
            ),
            guard: Guard::default(),
        }
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        let message = request.text().await?;
        self.storage.prepare().map_err(rust_error)?;
        let answer = serve(&self.storage, &self.manifests, &RuntimeClock, &self.guard, &message).await;
        self.log_notes();
        Response::ok(answer.map_err(rust_error)?)
    }

    async fn alarm(&self) -> Result<Response> {
        self.storage.prepare().map_err(rust_error)?;
        let failed = publish(&self.storage, &self.manifests, &RuntimeClock, &self.guard).await;
        self.log_notes();
        if let Some(error) = failed.map_err(rust_error)? {
            let line = serde_json::json!({
                "schema": 1, "event": "publish", "time": now().to_string(), "error": error.to_string(),
            });
            super::super::glue::warn(&line.to_string());
        }
        Response::empty()
    }
}

impl Control {
    fn log_notes(&self) {
        self.guard.take_notes().iter().for_each(|note| super::super::glue::warn(note));
    }
}

fn rust_error(error: PlatformError) -> worker::Error {
    worker::Error::RustError(error.to_string())
}

#[derive(Debug)]
struct RuntimeClock;

impl Clock for RuntimeClock {
    fn now(&self) -> Timestamp {
        now()
    }
}

/// The object's own storage, native.
#[derive(Debug)]
struct Storage(JsValue);

fn texts(rows: &Array) -> Vec<String> {
    rows.iter().filter_map(|row| row.as_string()).collect()
}

/// Numbers of rows are counted up from 1, and moments are far below 2^53, so
/// a double holds them.
#[expect(clippy::cast_precision_loss)]
const fn number(value: u64) -> f64 {
    value as f64
}

fn broken(error: JsValue) -> PlatformError {
    failure(Dependency::Control, &error)
}

impl Storage {
    fn prepare(&self) -> std::result::Result<(), PlatformError> {
        create_tables(&self.0).map_err(broken)
    }
}

impl ControlStore for Storage {
    fn value(&self, name: &str) -> std::result::Result<Option<String>, PlatformError> {
        stored_value(&self.0, name).map_err(broken)
    }

    fn row(&self, table: Table, row: u64) -> std::result::Result<Option<String>, PlatformError> {
        stored_row(&self.0, table.as_str(), number(row)).map_err(broken)
    }

    fn rows(
        &self,
        table: Table,
        before: Option<u64>,
        limit: usize,
    ) -> std::result::Result<Vec<String>, PlatformError> {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        let rows = stored_rows(&self.0, table.as_str(), before.map_or(-1.0, number), limit);
        rows.map_err(broken).map(|rows| texts(&rows))
    }

    fn object(&self, hash: &str) -> std::result::Result<Option<Vec<u8>>, PlatformError> {
        Ok(stored_object(&self.0, hash).map_err(broken)?.map(|bytes| bytes.to_vec()))
    }

    fn ban(&self, key: &str) -> std::result::Result<Option<String>, PlatformError> {
        stored_ban(&self.0, key).map_err(broken)
    }

    fn bans(
        &self,
        after: &str,
        now: Timestamp,
        limit: usize,
    ) -> std::result::Result<Vec<String>, PlatformError> {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        stored_bans(&self.0, after, number(now.millis()), limit).map_err(broken).map(|rows| texts(&rows))
    }

    fn ban_count(&self, kind: BanKind, now: Timestamp) -> std::result::Result<usize, PlatformError> {
        ban_count(&self.0, kind.number(), number(now.millis())).map_err(broken).map(|count| count as usize)
    }

    fn first_bans(
        &self,
        kind: BanKind,
        now: Timestamp,
        limit: usize,
    ) -> std::result::Result<Vec<String>, PlatformError> {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        let rows = first_bans(&self.0, kind.number(), number(now.millis()), limit);
        rows.map_err(broken).map(|rows| texts(&rows))
    }

    fn all_bans(&self, now: Timestamp) -> std::result::Result<String, PlatformError> {
        all_bans(&self.0, number(now.millis())).map_err(broken)
    }

    fn apply(&self, writes: Vec<Write>) -> std::result::Result<(), PlatformError> {
        let list = Array::new();
        for write in writes {
            let entry = match write {
                Write::Value(name, text) => Array::of3(&"value".into(), &name.into(), &text.into()),
                Write::Row(table, row, text) => {
                    Array::of4(&"row".into(), &table.as_str().into(), &number(row).into(), &text.into())
                }
                Write::Object(hash, bytes) => {
                    Array::of3(&"object".into(), &hash.into(), &Uint8Array::from(bytes.as_slice()))
                }
                Write::Forget(hash) => Array::of2(&"forget".into(), &hash.into()),
                Write::Alarm(at) => Array::of2(&"alarm".into(), &number(at.millis()).into()),
                Write::Ban(row) => {
                    let entry = Array::of4(
                        &"ban".into(),
                        &row.key.into(),
                        &row.kind.number().into(),
                        &number(row.until.millis()).into(),
                    );
                    entry.push(&row.short.into());
                    entry.push(&row.text.into());
                    entry
                }
                Write::ForgetBan(key) => Array::of2(&"forget-ban".into(), &key.into()),
                Write::SweepBans(now) => Array::of2(&"sweep-bans".into(), &number(now.millis()).into()),
            };
            list.push(&entry);
        }
        apply_writes(&self.0, &list).map_err(broken)
    }
}

/// The policy store, where it is bound.
#[derive(Debug)]
struct Manifests(Option<JsValue>);

impl Manifests {
    fn namespace(&self) -> std::result::Result<&JsValue, PlatformError> {
        let missing = || super::super::binding::missing(Dependency::PolicyStore, STATE);
        self.0.as_ref().ok_or_else(missing)
    }

    async fn put(
        &self,
        key: &str,
        value: &JsValue,
        metadata: Option<&str>,
    ) -> std::result::Result<(), PlatformError> {
        let put = put_key(self.namespace()?, key, value, metadata, STORE_WAIT);
        JsFuture::from(put).await.map(|_| ()).map_err(|error| failure(Dependency::PolicyStore, &error))
    }
}

impl ManifestStore for Manifests {
    async fn put_part(&self, hash: &str, bytes: &[u8]) -> std::result::Result<(), PlatformError> {
        self.put(&part_key(hash), &Uint8Array::from(bytes), None).await
    }

    async fn delete_part(&self, hash: &str) -> std::result::Result<(), PlatformError> {
        let deleted = delete_key(self.namespace()?, &part_key(hash), STORE_WAIT);
        JsFuture::from(deleted).await.map(|_| ()).map_err(|error| failure(Dependency::PolicyStore, &error))
    }

    async fn put_active(&self, value: &str, metadata: &str) -> std::result::Result<(), PlatformError> {
        self.put(ACTIVE_KEY, &value.into(), Some(metadata)).await
    }

    async fn read_active(&self) -> std::result::Result<Option<Stored>, PlatformError> {
        let read = get_key(self.namespace()?, ACTIVE_KEY, STORE_WAIT);
        let found = JsFuture::from(read).await.map_err(|error| failure(Dependency::PolicyStore, &error))?;
        let pair = found.dyn_ref::<Array>();
        Ok(pair.and_then(|pair| Some((pair.get(0).as_string()?, pair.get(1).as_string()))))
    }
}
