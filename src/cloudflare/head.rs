//! A lazy view of the native request. The fields that rules often ask for
//! come in one crossing with method and URL; any other is fetched when asked
//! for.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::rc::Rc;

use http::Method;
use http::header::HeaderName;

use super::glue;
use crate::exchange::{Head, NameHasher, NameSet, RequestMetadata, trim};

/// The fields to read in one go.
#[derive(Debug)]
pub struct Wanted {
    names: Vec<HeaderName>,
    indices: HashMap<HeaderName, usize, BuildHasherDefault<NameHasher>>,
}

impl Wanted {
    /// These fields, from now on: `edge/request.js` is told.
    #[must_use]
    pub fn new(names: Vec<HeaderName>) -> Self {
        let text: Vec<&str> = names.iter().map(HeaderName::as_str).collect();
        glue::want(&text.join("\n"));
        let indices = names.iter().enumerate().map(|(index, name)| (name.clone(), index)).collect();
        Self { names, indices }
    }
}

/// The head of the native request.
#[derive(Debug)]
pub struct EdgeHead {
    method: Method,
    text: String,
    /// Where the URL stands in `text`.
    url: (usize, usize),
    /// The wanted fields that are there, by index, and where the value of
    /// each stands in `text`.
    values: Vec<(usize, usize, usize)>,
    wanted: Rc<Wanted>,
}

impl EdgeHead {
    /// Reads the head. `wanted` is the last that was made.
    #[must_use]
    pub fn read(wanted: Rc<Wanted>) -> Self {
        let text = glue::read_head();
        let mut method = Method::GET;
        let mut url = (0, 0);
        let mut values = Vec::with_capacity(16);
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
                    {
                        values.push((index, end.saturating_sub(value.len()), end));
                    }
                }
            }
            start = end.saturating_add(1);
        }
        Self { method, text, url, values, wanted }
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
        if let Some(index) = self.wanted.indices.get(name) {
            let (_, start, end) = *self.values.iter().find(|(wanted, ..)| wanted == index)?;
            // The runtime leaves white space behind a value, which is not part
            // of it (RFC 9110, 5.5), and origins do not see it.
            return self.text.get(start..end).map(|value| Cow::Borrowed(trim(value)));
        }
        // A name that the runtime refuses is a field that is not there.
        glue::request_field(name.as_str()).map(|value| Cow::Owned(trim(&value).to_owned()))
    }

    fn metadata(&self) -> RequestMetadata {
        glue::request_metadata().map(|text| RequestMetadata::parse(&text)).unwrap_or_default()
    }

    fn present(&self, names: &NameSet) -> Vec<HeaderName> {
        let there = self.values.iter().filter_map(|(index, ..)| self.wanted.names.get(*index));
        there.filter(|name| names.contains(name)).cloned().collect()
    }
}
