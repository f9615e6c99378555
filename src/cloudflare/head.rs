//! A lazy view of the native request. The fields that rules often ask for
//! come in one crossing with method and URL; any other is fetched when asked
//! for.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;

use http::Method;
use http::header::HeaderName;
use wasm_bindgen::JsValue;
use web_sys::Request;

use super::glue;
use crate::exchange::{Head, trim};

/// The fields to read in one go, in Rust's form and the runtime's.
#[derive(Debug)]
pub struct Wanted {
    indices: HashMap<HeaderName, usize, BuildHasherDefault<NameHasher>>,
    native: JsValue,
}

/// A quick hash for a table that holds a policy's own names and is asked for
/// names in this code: no stranger chooses either.
#[derive(Debug, Default)]
pub struct NameHasher(u64);

impl Hasher for NameHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64((*byte).into());
        }
    }

    fn write_u64(&mut self, value: u64) {
        // Fibonacci hashing: the multiplier is 2^64 over the golden ratio.
        self.0 = (self.0.rotate_left(5) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(value.into());
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(value.into());
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }
}

impl Wanted {
    /// For these fields.
    #[must_use]
    pub fn new(names: Vec<HeaderName>) -> Self {
        let text: Vec<&str> = names.iter().map(HeaderName::as_str).collect();
        let native = glue::wanted_fields(&text.join("\n"));
        let indices = names.into_iter().enumerate().map(|(index, name)| (name, index));
        Self { indices: indices.collect(), native }
    }
}

/// The head of a native request.
#[derive(Debug)]
pub struct EdgeHead {
    request: Request,
    method: Method,
    text: String,
    /// Where the URL stands in `text`.
    url: (usize, usize),
    /// Where the value of each wanted field stands in `text`.
    values: Vec<Option<(usize, usize)>>,
    wanted: Rc<Wanted>,
}

impl EdgeHead {
    /// Reads the head.
    #[must_use]
    pub fn read(request: Request, wanted: Rc<Wanted>) -> Self {
        let text = glue::read_head(&request, &wanted.native);
        let mut method = Method::GET;
        let mut url = (0, 0);
        let mut values = vec![None; wanted.indices.len()];
        let mut start: usize = 0;
        for (number, line) in text.split('\n').enumerate() {
            let end = start.saturating_add(line.len());
            match number {
                // The runtime has checked that it is a token.
                0 => method = Method::from_bytes(line.as_bytes()).unwrap_or_default(),
                1 => url = (start, end),
                _ => {
                    if let Some((index, value)) = line.split_once('=')
                        && let Ok(index) = index.parse::<usize>()
                        && let Some(slot) = values.get_mut(index)
                    {
                        *slot = Some((end.saturating_sub(value.len()), end));
                    }
                }
            }
            start = end.saturating_add(1);
        }
        Self { request, method, text, url, values, wanted }
    }

    /// The native request.
    #[must_use]
    pub const fn native(&self) -> &Request {
        &self.request
    }
}

impl Head for EdgeHead {
    fn method(&self) -> &Method {
        &self.method
    }

    fn url(&self) -> &str {
        self.text.get(self.url.0..self.url.1).unwrap_or_default()
    }

    fn field(&self, name: &HeaderName) -> Option<Cow<'_, str>> {
        let known = self.wanted.indices.get(name);
        if let Some(value) = known.and_then(|index| self.values.get(*index)) {
            let (start, end) = (*value)?;
            // The runtime leaves white space behind a value, which is not part
            // of it (RFC 9110, 5.5), and origins do not see it.
            return self.text.get(start..end).map(|value| Cow::Borrowed(trim(value)));
        }
        // A name that the runtime refuses is a field that is not there.
        let value = self.request.headers().get(name.as_str());
        value.ok().flatten().map(|value| Cow::Owned(trim(&value).to_owned()))
    }
}
