//! The functions of `edge.js`.

use js_sys::{Array, Promise};
use wasm_bindgen::prelude::*;
use web_sys::{Request, Response};

#[wasm_bindgen(module = "/src/cloudflare/edge.js")]
extern "C" {
    /// 128 random bits as hex.
    #[wasm_bindgen(js_name = randomSeed, catch)]
    pub fn random_seed() -> Result<String, JsValue>;

    /// Method, URL and the wanted fields.
    #[wasm_bindgen(js_name = readHead)]
    pub fn read_head(request: &Request, wanted: &JsValue) -> String;

    /// The wanted fields in the form that `read_head` takes.
    #[wasm_bindgen(js_name = wantedFields)]
    pub fn wanted_fields(names: &str) -> JsValue;

    /// All field lines of a response.
    #[wasm_bindgen(js_name = readFields)]
    pub fn read_fields(response: &Response) -> String;

    /// Whether an error of `edge.js` is about lateness.
    #[wasm_bindgen(js_name = isTimeout)]
    pub fn is_timeout(error: &JsValue) -> bool;

    /// Sends a request on.
    #[wasm_bindgen(catch)]
    pub fn forward(request: &Request, url: &str, edits: &str, first_byte: u32) -> Result<Promise, JsValue>;

    /// A response under an edited head.
    #[wasm_bindgen(catch)]
    pub fn finish(response: &Response, edits: &str) -> Result<Response, JsValue>;

    /// An answer of our own.
    #[wasm_bindgen(catch)]
    pub fn answer(status: u16, edits: &str, body: &str) -> Result<Response, JsValue>;

    /// What is stored.
    #[wasm_bindgen]
    pub fn lookup(key: &str) -> Promise;

    /// A response of a stored body.
    #[wasm_bindgen(catch)]
    pub fn revive(stored: &Response, status: u16, edits: &str, with_body: bool) -> Result<Response, JsValue>;

    /// Splits a response for the client and the store.
    #[wasm_bindgen(catch)]
    pub fn keep(
        response: &Response,
        key: &str,
        entry: &str,
        limit: f64,
        lifetime: f64,
        begun: f64,
    ) -> Result<Array, JsValue>;

    /// Removes what is stored.
    #[wasm_bindgen]
    pub fn remove(keys: &str) -> Promise;

    /// Asks a counter object.
    #[wasm_bindgen(js_name = takeFrom)]
    pub fn take_from(namespace: &JsValue, name: &str, field: &str, message: &str, deadline: u32) -> Promise;

    /// Reads a KV key.
    #[wasm_bindgen(js_name = readKey)]
    pub fn read_key(namespace: &JsValue, key: &str, cache_ttl: u32, deadline: u32) -> Promise;

    /// Reads the bytes of a KV key.
    #[wasm_bindgen(js_name = readBytes)]
    pub fn read_bytes(namespace: &JsValue, key: &str, deadline: u32) -> Promise;
}
