//! A lazy view of the native request. The fields that rules often ask for
//! come in one crossing with method and URL; any other is fetched when asked
//! for.

use std::borrow::Cow;
use std::rc::Rc;

use http::Method;
use http::header::HeaderName;
use web_sys::Request;

use super::glue;
use crate::exchange::Head;

/// The fields to read in one go, in Rust's form and the runtime's.
#[derive(Debug)]
pub struct Wanted {
    names: Vec<HeaderName>,
    native: js_sys::Array,
}

impl Wanted {
    /// For these fields.
    #[must_use]
    pub fn new(names: Vec<HeaderName>) -> Self {
        let native = names
            .iter()
            .map(|name| wasm_bindgen::JsValue::from_str(name.as_str()))
            .collect();
        Self { names, native }
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
        let mut values = Vec::with_capacity(wanted.names.len());
        let mut start: usize = 0;
        for (index, line) in text.split('\n').enumerate() {
            let end = start.saturating_add(line.len());
            match index {
                // The runtime has checked that it is a token.
                0 => method = Method::from_bytes(line.as_bytes()).unwrap_or_default(),
                1 => url = (start, end),
                _ => values.push(
                    line.starts_with('=')
                        .then_some((start.saturating_add(1), end)),
                ),
            }
            start = end.saturating_add(1);
        }
        Self {
            request,
            method,
            text,
            url,
            values,
            wanted,
        }
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
        let known = self.wanted.names.iter().position(|wanted| wanted == name);
        if let Some(value) = known.and_then(|index| self.values.get(index)) {
            let (start, end) = (*value)?;
            return self.text.get(start..end).map(Cow::Borrowed);
        }
        // A name that the runtime refuses is a field that is not there.
        self.request
            .headers()
            .get(name.as_str())
            .ok()
            .flatten()
            .map(Cow::Owned)
    }
}
