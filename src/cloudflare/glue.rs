//! The functions of the files in `edge/`, file by file. All of them act on the
//! exchange whose journey runs at the moment; a response is named by its place
//! there. Only files that are named here are bundled.

use wasm_bindgen::prelude::*;

#[wasm_bindgen(module = "/src/cloudflare/edge/runtime.js")]
extern "C" {
    /// 128 random bits as hex.
    #[wasm_bindgen(js_name = randomSeed, catch)]
    pub fn random_seed() -> Result<String, JsValue>;

    /// A variable as text.
    #[wasm_bindgen]
    pub fn variable(name: &str) -> Option<String>;

    /// Whether there is such a binding.
    #[wasm_bindgen(js_name = isBound)]
    pub fn is_bound(name: &str) -> bool;

    /// Writes a line.
    #[wasm_bindgen]
    pub fn log(line: &str);

    /// Writes a line that an operator should see.
    #[wasm_bindgen]
    pub fn warn(line: &str);
}

#[wasm_bindgen(module = "/src/cloudflare/edge/request.js")]
extern "C" {
    /// Names the fields that [`read_head`] gives, one a line.
    #[wasm_bindgen]
    pub fn want(names: &str);

    /// Method, URL and the wanted fields.
    #[wasm_bindgen(js_name = readHead)]
    pub fn read_head() -> String;

    /// One field of the request.
    #[wasm_bindgen(js_name = requestField)]
    pub fn request_field(name: &str) -> Option<String>;

    /// What the platform says about the request, as `RequestMetadata::parse`
    /// reads it.
    #[wasm_bindgen(js_name = requestMetadata)]
    pub fn request_metadata() -> Option<String>;

    /// The location that has the request, as the platform calls it.
    #[wasm_bindgen]
    pub fn location() -> String;

    /// The location that runs this.
    #[wasm_bindgen]
    pub fn colo() -> Option<String>;
}

#[wasm_bindgen(module = "/src/cloudflare/edge/fetch.js")]
extern "C" {
    /// Sends the request on; to be waited for.
    #[wasm_bindgen(catch)]
    pub fn forward(text: &str, first_byte: u32) -> Result<(), JsValue>;

    /// Fetches a static asset; to be waited for.
    #[wasm_bindgen(catch)]
    pub fn asset(binding: &str, path: &str, deadline: u32) -> Result<(), JsValue>;

    /// Asks the server of a feed; to be waited for.
    #[wasm_bindgen(js_name = openFeed, catch)]
    pub fn open_feed(text: &str, deadline: u32) -> Result<(), JsValue>;
}

#[wasm_bindgen(module = "/src/cloudflare/edge/response.js")]
extern "C" {
    /// One field of a response.
    #[wasm_bindgen(js_name = responseField)]
    pub fn response_field(response: u32, name: &str) -> Option<String>;

    /// All field lines of a response.
    #[wasm_bindgen(js_name = responseFields)]
    pub fn response_fields(response: u32) -> String;

    /// Answers with a response under an edited head.
    #[wasm_bindgen(catch)]
    pub fn finish(response: u32, edits: &str) -> Result<(), JsValue>;

    /// Answers for ourselves.
    #[wasm_bindgen(catch)]
    pub fn answer(status: u16, edits: &str, body: &str) -> Result<(), JsValue>;

    /// Lets go of a response.
    #[wasm_bindgen]
    pub fn discard(response: u32);
}

#[wasm_bindgen(module = "/src/cloudflare/edge/memory.js")]
extern "C" {
    /// Answers with a body in memory, or its bytes from `first` to `last`.
    /// `text` is the stored fields and the edits, a line each.
    #[wasm_bindgen(js_name = finishRecalled, catch)]
    pub fn finish_recalled(
        recalled: u32,
        status: u16,
        with_body: bool,
        first: f64,
        last: f64,
        text: &str,
    ) -> Result<(), JsValue>;

    /// A response of a body in memory.
    #[wasm_bindgen]
    pub fn recall(body: u32) -> Option<u32>;

    /// Lets go of a body in memory.
    #[wasm_bindgen]
    pub fn release(body: u32);

    /// Lets go of all of them.
    #[wasm_bindgen(js_name = forgetBodies)]
    pub fn forget_bodies();
}

#[wasm_bindgen(module = "/src/cloudflare/edge/removal.js")]
extern "C" {
    /// Removes what is stored under the keys, and under the names for all
    /// locations.
    #[wasm_bindgen]
    pub fn remove(keys: &str, binding: &str, names: &str);
}

#[wasm_bindgen(module = "/src/cloudflare/edge/tiers.js")]
extern "C" {
    /// Asks for what is stored; to be waited for.
    #[wasm_bindgen]
    pub fn lookup(key: &str, deadline: u32);

    /// Asks for what is stored for all locations; to be waited for.
    #[wasm_bindgen(js_name = lookupGlobal)]
    pub fn lookup_global(binding: &str, name: &str, key: &str, deadline: u32);

    /// A response of a stored body, or of the bytes from `first` to `last`.
    #[wasm_bindgen(catch)]
    pub fn revive(
        stored: u32,
        status: u16,
        edits: &str,
        with_body: bool,
        first: f64,
        last: f64,
    ) -> Result<u32, JsValue>;
}

#[wasm_bindgen(module = "/src/cloudflare/edge/keep.js")]
extern "C" {
    /// Splits a response between the client and the tiers. `text` is key,
    /// primary key, entry and the name for all locations, a line each;
    /// `lifetime`, `memory` and `global` are below zero where that tier does
    /// not keep it, and `begun` where it takes the place of what has just been
    /// removed. With `leads` the lead of this exchange ends with it. The number
    /// of the body.
    #[wasm_bindgen(catch)]
    pub fn keep(
        response: u32,
        text: &str,
        limit: f64,
        size: f64,
        lifetime: f64,
        memory: f64,
        begun: f64,
        global: f64,
        ttl: f64,
        leads: bool,
    ) -> Result<Option<u32>, JsValue>;

    /// What is kept next stands between these bytes of what is stored there,
    /// which was looked for then (zero: it is from memory).
    #[wasm_bindgen]
    pub fn surround(stored: u32, begun: f64, before: f64, after: f64);
}

#[wasm_bindgen(module = "/src/cloudflare/edge/bindings.js")]
extern "C" {
    /// From now on this exchange leads. `messages` are what the object is told
    /// as long as it does, and at its end: the answer is stored, must not be
    /// kept, or is lost; a line each.
    #[wasm_bindgen(catch)]
    pub fn lead(
        binding: &str,
        name: &str,
        field: &str,
        messages: &str,
        every: u32,
        times: u32,
    ) -> Result<(), JsValue>;

    /// Ends the lead of this exchange: 0, 1 or 2, in the order of the messages.
    #[wasm_bindgen(js_name = endLead)]
    pub fn end_lead(end: u32);

    /// Asks a counter object; to be waited for.
    #[wasm_bindgen(catch)]
    pub fn take(
        binding: &str,
        name: &str,
        field: &str,
        message: &str,
        deadline: u32,
        steps: u32,
    ) -> Result<(), JsValue>;

    /// Asks several counter objects, a name a line; to be waited for.
    #[wasm_bindgen(js_name = takeAll, catch)]
    pub fn take_all(
        binding: &str,
        names: &str,
        field: &str,
        message: &str,
        deadline: u32,
    ) -> Result<(), JsValue>;

    /// Asks the runtime's own limiter; to be waited for.
    #[wasm_bindgen(catch)]
    pub fn limit(binding: &str, key: &str, deadline: u32) -> Result<(), JsValue>;

    /// Reads a KV key; to be waited for.
    #[wasm_bindgen(js_name = readKey, catch)]
    pub fn read_key(binding: &str, key: &str, cache_ttl: u32, deadline: u32) -> Result<(), JsValue>;

    /// Reads the bytes of KV keys; to be waited for, then [`part_bytes`].
    #[wasm_bindgen(js_name = readParts, catch)]
    pub fn read_parts(binding: &str, keys: &str, deadline: u32) -> Result<(), JsValue>;

    /// The bytes of one of the parts that were waited for.
    #[wasm_bindgen(js_name = partBytes)]
    pub fn part_bytes(index: u32) -> Vec<u8>;

    /// Sends a message to an object; to be waited for.
    #[wasm_bindgen(catch)]
    pub fn ask(binding: &str, name: &str, message: &str, deadline: u32) -> Result<(), JsValue>;
}

#[wasm_bindgen(module = "/src/cloudflare/edge/body.js")]
extern "C" {
    /// The bytes that were waited for.
    #[wasm_bindgen]
    pub fn bytes() -> Vec<u8>;

    /// Reads the request's body; to be waited for, then [`bytes`]. Nothing
    /// when it is too large.
    #[wasm_bindgen(js_name = readBody)]
    pub fn read_body(limit: u32, deadline: u32);

    /// From now on the request's body is the one that is read by pieces.
    #[wasm_bindgen(js_name = openBody, catch)]
    pub fn open_body() -> Result<(), JsValue>;

    /// Reads the next piece; to be waited for, then [`bytes`]. Nothing at the
    /// end.
    #[wasm_bindgen(js_name = nextPiece)]
    pub fn next_piece(limit: u32, deadline: u32);

    /// Lets go of the body that is read by pieces.
    #[wasm_bindgen(js_name = stopReading)]
    pub fn stop_reading();
}

#[wasm_bindgen(module = "/src/cloudflare/edge/beside.js")]
extern "C" {
    /// Asks for URLs, each in an exchange of its own; to be waited for. The
    /// fields are "name:value", a line each, as are the jobs.
    #[wasm_bindgen]
    pub fn warm(fields: &str, jobs: &str, at_once: u32, deadline: u32);

    /// The job of the exchange.
    #[wasm_bindgen]
    pub fn job() -> String;

    /// What became of it.
    #[wasm_bindgen]
    pub fn warmed(text: &str);

    /// Starts a refresh of the policy beside the exchange.
    #[wasm_bindgen(js_name = refreshLater)]
    pub fn refresh_later();

    /// Starts to ask the origin about a stored answer beside the exchange.
    #[wasm_bindgen(js_name = revalidateLater)]
    pub fn revalidate_later();

    /// Starts to settle charges beside the exchange.
    #[wasm_bindgen(js_name = settleLater)]
    pub fn settle_later();

    /// Starts to report offences beside the exchange.
    #[wasm_bindgen(js_name = reportLater)]
    pub fn report_later();
}

#[wasm_bindgen(module = "/src/cloudflare/edge/exchange.js")]
extern "C" {
    /// Lets time pass; to be waited for.
    #[wasm_bindgen]
    pub fn pause(milliseconds: u32);
}
