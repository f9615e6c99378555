//! What an isolate says to a `Limiter` object, and what it answers.
//!
//! Objects run the old code for minutes after a deployment, and isolates
//! elsewhere run it against new objects. So a message carries the version of
//! its form, and a reader refuses one it does not know. The texts travel in
//! header fields: no body has to be read.
//!
//! 1. An object understands both versions and answers in that of the message.
//! 2. An isolate speaks version 2 ([`count`]). Where that is refused it says
//!    the same in version 1, rule by rule, as far as version 1 can: it knows
//!    GCRA, and neither leases nor reservations.
//! 3. Members may be added to a version where passing them over is right.

pub mod count;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::CounterKey;
use super::algorithm::{Decision, Quota};
use crate::stages::bans::message::BanText;
use crate::stages::bans::{Ban, parse_network};
use crate::stages::ip_filter::prefix::Prefix;

/// The field that carries either.
pub const FIELD: &str = "weir-message";

/// The version of the forms here.
pub const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct TakeText {
    v: u32,
    key: String,
    max: u32,
    window_ms: u64,
    burst: u32,
    cost: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client: Option<String>,
}

/// Count one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Take {
    /// Whose counter.
    pub key: CounterKey,
    /// By which quota.
    pub quota: Quota,
    /// How much it costs.
    pub cost: u32,
    /// The client, where the answer is to say whether it is banned: where its
    /// network is part of the key, so that the object knows. An object of the
    /// build before passes it over.
    pub client: Option<Prefix>,
}

impl Take {
    /// The text.
    #[must_use]
    pub fn encode(&self) -> String {
        let text = TakeText {
            v: VERSION,
            key: hex_key(self.key),
            max: self.quota.max(),
            window_ms: crate::time::millis_of(self.quota.window()),
            burst: self.quota.burst(),
            cost: self.cost,
            client: self.client.map(|client| client.to_string()),
        };
        // A struct of numbers and a string always serialises.
        serde_json::to_string(&text).unwrap_or_default()
    }

    /// From the text; `None` when it is not one this module knows.
    #[must_use]
    pub fn decode(text: &str) -> Option<Self> {
        let text: TakeText = serde_json::from_str(text).ok()?;
        let key = (text.v == VERSION).then(|| parse_key(&text.key)).flatten()?;
        Some(Self {
            key,
            quota: Quota::new(text.max, Duration::from_millis(text.window_ms), text.burst),
            cost: text.cost,
            client: text.client.as_deref().and_then(parse_network),
        })
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct PeekText {
    v: u32,
    peek: PeekedText,
}

#[derive(Debug, Serialize, Deserialize)]
struct PeekedText {
    key: String,
    max: u32,
    window_ms: u64,
    burst: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client: Option<String>,
}

/// Say what a count would be, and count nothing.
///
/// A form of its own and not a [`Take`] that costs nothing: that would write a
/// state where there is none, and lift an old one up to now. An object that
/// runs older code finds no `key` at the top and refuses the message, so it
/// never counts by mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peek {
    /// Whose counter.
    pub key: CounterKey,
    /// By which quota.
    pub quota: Quota,
    /// As in [`Take`].
    pub client: Option<Prefix>,
}

impl Peek {
    /// The text.
    #[must_use]
    pub fn encode(&self) -> String {
        let text = PeekText {
            v: VERSION,
            peek: PeekedText {
                key: hex_key(self.key),
                max: self.quota.max(),
                window_ms: crate::time::millis_of(self.quota.window()),
                burst: self.quota.burst(),
                client: self.client.map(|client| client.to_string()),
            },
        };
        serde_json::to_string(&text).unwrap_or_default()
    }

    /// From the text; `None` when it is not one this module knows.
    #[must_use]
    pub fn decode(text: &str) -> Option<Self> {
        let text: PeekText = serde_json::from_str(text).ok()?;
        let key = (text.v == VERSION).then(|| parse_key(&text.peek.key)).flatten()?;
        let window = Duration::from_millis(text.peek.window_ms);
        let client = text.peek.client.as_deref().and_then(parse_network);
        Some(Self { key, quota: Quota::new(text.peek.max, window, text.peek.burst), client })
    }
}

pub(super) fn hex_key(key: CounterKey) -> String {
    crate::text::hex(key.0, 32)
}

/// Whole milliseconds, rounded up.
fn millis_up(span: Duration) -> u64 {
    u64::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// A counter from its 32 hex digits.
#[must_use]
pub fn parse_key(text: &str) -> Option<CounterKey> {
    let is_key = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_key.then(|| u128::from_str_radix(text, 16).ok().map(CounterKey)).flatten()
}

#[derive(Serialize, Deserialize)]
struct TakenText {
    v: u32,
    allowed: bool,
    remaining: u32,
    retry_ms: u64,
    full_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    banned: Option<BanText>,
}

/// The answer: what was decided, and whether the client is banned.
#[derive(Clone, Debug, PartialEq)]
pub struct Taken {
    /// What was decided. A banned client is counted, too: whether the ban acts
    /// is said by the asker's policy.
    pub decision: Decision,
    /// Its ban, where the message named a client that has one. An asker of the
    /// build before passes it over.
    pub banned: Option<Ban>,
}

impl From<Decision> for Taken {
    fn from(decision: Decision) -> Self {
        Self { decision, banned: None }
    }
}

impl Taken {
    /// The text. Spans are rounded up to milliseconds: coming back then is not
    /// too early.
    #[must_use]
    pub fn encode(&self) -> String {
        let text = TakenText {
            v: VERSION,
            allowed: self.decision.allowed,
            remaining: self.decision.remaining,
            retry_ms: millis_up(self.decision.retry_after),
            full_ms: millis_up(self.decision.full_after),
            banned: self.banned.as_ref().map(BanText::from),
        };
        serde_json::to_string(&text).unwrap_or_default()
    }

    /// From the text; `None` when it is not one this module knows.
    #[must_use]
    pub fn decode(text: &str) -> Option<Self> {
        let text: TakenText = serde_json::from_str(text).ok()?;
        (text.v == VERSION).then(|| Self {
            decision: Decision {
                allowed: text.allowed,
                remaining: text.remaining,
                retry_after: Duration::from_millis(text.retry_ms),
                full_after: Duration::from_millis(text.full_ms),
            },
            banned: text.banned.and_then(BanText::read),
        })
    }
}
