//! The port to the origin, and the platform as one value.

use std::time::Duration;

use http::header::{CACHE_CONTROL, CONNECTION, DATE, HeaderName};

use super::binding::{failure, timer};
use super::glue;
use super::head::EdgeHead;
use super::task::{self, wait};
use crate::error::{Dependency, PlatformError};
use crate::platform::{Clock, Origin, Pause, push_edits};
use crate::stages::upstream::UpstreamRequest;
use crate::time::Timestamp;

/// The runtime, for the exchange at hand.
#[derive(Clone, Copy, Debug)]
pub struct Edge;

/// The runtime's clock.
#[must_use]
pub fn now() -> Timestamp {
    task::now()
}

impl Clock for Edge {
    fn now(&self) -> Timestamp {
        now()
    }
}

impl Pause for Edge {
    async fn pause(&self, span: Duration) {
        glue::pause(timer(span));
        wait().await;
    }
}

/// A native response, by its place in the exchange, and what is asked of
/// nearly every one.
#[derive(Debug)]
pub struct EdgeResponse {
    pub(super) place: u32,
    pub(super) status: u16,
    connection: String,
    cache_control: String,
    date: Option<String>,
    /// When its request was sent, or it was looked for, in the isolate's own
    /// order.
    pub(super) begun: f64,
    /// Where it is a body that the isolate's memory keeps: what is to be made
    /// of it.
    pub(super) recalled: Option<Revived>,
}

/// What is to be made of a body in memory. It stays here until the answer is
/// sent, so that both heads cross at once.
#[derive(Debug, Default)]
pub struct Revived {
    /// The stored fields, as [`crate::platform::edits_text`] writes edits.
    pub(super) fields: String,
    /// Whether it has a body.
    pub(super) with_body: bool,
    /// The bytes of it, below zero for all of them.
    pub(super) span: (f64, f64),
}

impl EdgeResponse {
    /// A response that was made here.
    #[must_use]
    pub const fn made(place: u32, status: u16) -> Self {
        Self {
            place,
            status,
            connection: String::new(),
            cache_control: String::new(),
            date: None,
            begun: 0.0,
            recalled: None,
        }
    }

    /// A stored response, and when it was looked for.
    #[must_use]
    pub fn found(place: u32, begun: u32) -> Self {
        Self { begun: f64::from(begun), ..Self::made(place, 200) }
    }

    /// A body that the isolate's memory keeps.
    #[must_use]
    pub fn of_recalled(place: u32, status: u16, revived: Revived) -> Self {
        Self { recalled: Some(revived), ..Self::made(place, status) }
    }

    /// From what `forward` resumes with.
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.split('\n');
        Some(Self {
            place: lines.next()?.parse().ok()?,
            status: lines.next()?.parse().ok()?,
            begun: f64::from(lines.next()?.parse::<u32>().ok()?),
            connection: lines.next()?.to_owned(),
            cache_control: lines.next()?.to_owned(),
            date: lines.next().map(str::to_owned),
            recalled: None,
        })
    }
}

impl Origin for Edge {
    type Request = EdgeHead;
    type Response = EdgeResponse;

    async fn fetch(&self, _: &EdgeHead, upstream: &UpstreamRequest) -> Result<EdgeResponse, PlatformError> {
        let mut text = String::with_capacity(1024);
        text.push_str(&upstream.url);
        push_edits(&mut text, &upstream.edits);
        glue::forward(&text, timer(upstream.first_byte))
            .map_err(|error| failure(Dependency::Origin, &error))?;
        drop(text);
        let answer = wait().await.of(Dependency::Origin)?;
        answer
            .as_deref()
            .and_then(EdgeResponse::parse)
            .ok_or_else(|| PlatformError::failed(Dependency::Origin, "no response"))
    }

    fn status(&self, response: &EdgeResponse) -> u16 {
        response.status
    }

    fn field(&self, response: &EdgeResponse, name: &HeaderName) -> Option<String> {
        let some = |text: &String| (!text.is_empty()).then(|| text.clone());
        match *name {
            // An empty field says as little as none.
            CONNECTION => some(&response.connection),
            CACHE_CONTROL => some(&response.cache_control),
            DATE => response.date.clone(),
            _ => glue::response_field(response.place, name.as_str()),
        }
    }

    fn fields(&self, response: &EdgeResponse) -> Vec<(HeaderName, String)> {
        glue::response_fields(response.place)
            .split('\n')
            .filter_map(|line| line.split_once(':'))
            .filter_map(|(name, value)| {
                Some((HeaderName::from_bytes(name.as_bytes()).ok()?, value.to_owned()))
            })
            .collect()
    }
}
