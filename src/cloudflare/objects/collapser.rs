//! `Collapser`: who asks the origin, of the isolates of a location. What it
//! says is decided in [`crate::stages::cache::collapser`]; `collapser.js` holds
//! answers back and gives them.
//!
//! It keeps nothing that has to outlive it, and so needs no storage.

use std::cell::RefCell;

use wasm_bindgen::prelude::wasm_bindgen;

use super::super::origin::now;
use crate::stages::cache::collapser::{Leases, Message};
use crate::time::millis_of;

#[wasm_bindgen(module = "/src/cloudflare/objects/collapser.js")]
extern "C" {
    // What the entry takes from there is bundled only if something is used.
    #[wasm_bindgen(js_name = collapserClass)]
    fn collapser_class(inner: &wasm_bindgen::JsValue) -> wasm_bindgen::JsValue;
}

/// The leads of some keys of a location.
#[wasm_bindgen]
#[derive(Debug, Default)]
pub struct Collapser {
    leases: RefCell<Leases>,
}

#[wasm_bindgen]
impl Collapser {
    /// One that knows nothing.
    #[wasm_bindgen(constructor)]
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a message in. The answer, the key, for how many milliseconds the
    /// answer is held back, and whether the key wakes, a line each; nothing
    /// where it is none of this version.
    #[must_use]
    pub fn tell(&self, text: &str) -> Option<String> {
        let told = self.leases.borrow_mut().tell(&Message::decode(text)?, now());
        let (answer, park, wakes) = (told.answer.encode(), millis_of(told.park), u8::from(told.wakes));
        Some(format!("{answer}\n{:x}\n{park}\n{wakes}", told.id.0))
    }
}
