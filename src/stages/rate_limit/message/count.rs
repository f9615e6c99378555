//! Version 2 of what an isolate says to a `Limiter` object: everything about
//! one client's request that the object counts, in one message.
//!
//! ```json
//! {"v": 2, "client": "192.0.2.7/32", "asks": [{"key": …, "algorithm": "gcra", "max": 100, …, "cost": 1,
//!   "enforced": true, "hold": [7, 60000], "lease": [8, 9, 16, 5000], "label": "api/per-client client=192.0.2.7/32"}],
//!  "settle": [{"key": …, "id": 7, "unspent": 1}], "charge": [{"key": …, "amount": 4}]}
//! {"v": 2, "results": [{"allowed": true, "remaining": 99, "retry_ms": 0, "full_ms": 9000, "granted": [16, 5000]}]}
//! {"v": 2, "peek": [{"key": …, "cost": 1}]}
//! {"v": 2, "reset": [KEY]}
//! {"v": 2, "top": 20}
//! ```
//!
//! Unknown members are passed over. Who answers with fewer results than there
//! were asks has not reached the rest: an enforced rule has refused, and what
//! was charged before it in the same message was never charged.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{hex_key, millis_up, parse_key};
use crate::stages::bans::message::BanText;
use crate::stages::bans::{Ban, parse_network};
use crate::stages::ip_filter::prefix::Prefix;
use crate::stages::rate_limit::CounterKey;
use crate::stages::rate_limit::account::{Granted, Wanted};
use crate::stages::rate_limit::algorithm::{Algorithm, Decision, Quota};
use crate::stages::rate_limit::holder::Report;
use crate::time::millis_of;

/// The version of this form.
pub const VERSION: u32 = 2;

/// The most members of any list of a message.
pub const LIST_LIMIT: usize = 64;

/// The longest label, in bytes.
pub const LABEL_LIMIT: usize = 256;

/// A charge that may be taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// The id by which it is taken back: never used before by anybody.
    pub id: u64,
    /// For how long that is possible.
    pub ttl: Duration,
}

/// One rule's counter and what is asked of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Whose counter.
    pub key: CounterKey,
    /// By which quota.
    pub quota: Quota,
    /// How much the request costs.
    pub cost: u32,
    /// Whether a refusal ends the search, and undoes what stands before it.
    pub enforced: bool,
    /// What a refusal is charged.
    pub penalty: u32,
    /// Whether the charge may be taken back.
    pub reservation: Option<Reservation>,
    /// The block that is wanted on top.
    pub wanted: Option<Wanted>,
    /// Rule and key for people, at most [`LABEL_LIMIT`] bytes.
    pub label: String,
}

/// The end of a lease or of a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// Whose counter.
    pub key: CounterKey,
    /// By which quota.
    pub quota: Quota,
    /// Its id, and what is left of it.
    pub report: Report,
}

/// What has happened and cannot be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charge {
    /// Whose counter.
    pub key: CounterKey,
    /// By which quota.
    pub quota: Quota,
    /// How much.
    pub amount: u32,
}

/// What is to be counted, in this order: settlements, charges, asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// The client, where the answer is to say whether it is banned.
    pub client: Option<Prefix>,
    /// Leases and reservations that have ended.
    pub settle: Vec<Settlement>,
    /// What is charged without being asked.
    pub charge: Vec<Charge>,
    /// The rules, in order.
    pub asks: Vec<Ask>,
}

/// A counter that is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Whose counter.
    pub key: CounterKey,
    /// By which quota.
    pub quota: Quota,
    /// For a request of that cost.
    pub cost: u32,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Count.
    Count(Count),
    /// Say what counts would be, and count nothing.
    Peek(Option<Prefix>, Vec<Look>),
    /// Forget counters.
    Reset(Vec<CounterKey>),
    /// Say which counters are used most, at most so many.
    Top(usize),
}

/// What became of an ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What was decided.
    pub decision: Decision,
    /// What was lent.
    pub granted: Option<Granted>,
    /// For how long a refusal holds, whatever comes back in between.
    pub holds: Duration,
}

/// A counter among those that are used most.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    /// The counter: 32 hex digits.
    pub counter: String,
    /// Rule and key.
    pub label: String,
    /// What was charged or lent since the object began; it may be less by
    /// `error`.
    pub used: u64,
    /// How many requests were refused.
    pub refused: u64,
    /// By how much `used` may be too large.
    pub error: u64,
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// One for each ask or look, up to the enforced rule that refused.
    pub results: Vec<Outcome>,
    /// The client's ban, where the message named a client that has one.
    pub banned: Option<Ban>,
    /// The counters that are used most.
    pub top: Vec<Used>,
}

#[derive(Serialize, Deserialize)]
struct QuotaText {
    key: String,
    algorithm: String,
    max: u32,
    window_ms: u64,
    burst: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    debt: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[derive(Serialize, Deserialize)]
struct AskText {
    #[serde(flatten)]
    quota: QuotaText,
    cost: u32,
    enforced: bool,
    #[serde(default, skip_serializing_if = "is_zero")]
    penalty: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hold: Option<(u64, u64)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lease: Option<(u64, u64, u32, u64)>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    label: String,
}

#[derive(Serialize, Deserialize)]
struct SettleText {
    #[serde(flatten)]
    quota: QuotaText,
    id: u64,
    unspent: u32,
}

#[derive(Serialize, Deserialize)]
struct ChargeText {
    #[serde(flatten)]
    quota: QuotaText,
    amount: u32,
}

#[derive(Serialize, Deserialize)]
struct LookText {
    #[serde(flatten)]
    quota: QuotaText,
    cost: u32,
}

#[derive(Default, Serialize, Deserialize)]
struct MessageText {
    v: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    settle: Vec<SettleText>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    charge: Vec<ChargeText>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    asks: Vec<AskText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    peek: Option<Vec<LookText>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reset: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    top: Option<usize>,
}

impl QuotaText {
    fn of(key: CounterKey, quota: &Quota) -> Self {
        Self {
            key: hex_key(key),
            algorithm: quota.algorithm().as_str().to_owned(),
            max: quota.max(),
            window_ms: millis_of(quota.window()),
            burst: quota.burst(),
            debt: quota.debt(),
        }
    }

    fn read(&self) -> Option<(CounterKey, Quota)> {
        let algorithm = Algorithm::parse(&self.algorithm)?;
        let quota = Quota::of(algorithm, self.max, Duration::from_millis(self.window_ms), self.burst);
        Some((parse_key(&self.key)?, quota.with_debt(self.debt)))
    }
}

impl AskText {
    fn read(self) -> Option<Ask> {
        let (key, quota) = self.quota.read()?;
        Some(Ask {
            key,
            quota,
            cost: self.cost,
            enforced: self.enforced,
            penalty: self.penalty,
            reservation: self.hold.map(|(id, ttl)| Reservation { id, ttl: Duration::from_millis(ttl) }),
            wanted: self.lease.map(|(id, holder, amount, ttl)| Wanted {
                id,
                holder,
                amount,
                ttl: Duration::from_millis(ttl),
            }),
            label: self.label,
        })
    }
}

impl Message {
    /// The text, which may stand in a header field.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = MessageText { v: VERSION, ..MessageText::default() };
        match self {
            Self::Count(count) => {
                text.client = count.client.map(|client| client.to_string());
                text.settle.extend(count.settle.iter().map(|Settlement { key, quota, report }| SettleText {
                    quota: QuotaText::of(*key, quota),
                    id: report.id,
                    unspent: report.unspent,
                }));
                let charges = count.charge.iter();
                text.charge.extend(charges.map(|Charge { key, quota, amount }| ChargeText {
                    quota: QuotaText::of(*key, quota),
                    amount: *amount,
                }));
                text.asks.extend(count.asks.iter().map(|ask| {
                    AskText {
                        quota: QuotaText::of(ask.key, &ask.quota),
                        cost: ask.cost,
                        enforced: ask.enforced,
                        penalty: ask.penalty,
                        hold: ask.reservation.map(|hold| (hold.id, millis_of(hold.ttl))),
                        lease: ask
                            .wanted
                            .filter(|wanted| wanted.amount > 0)
                            .map(|wanted| (wanted.id, wanted.holder, wanted.amount, millis_of(wanted.ttl))),
                        label: ask.label.clone(),
                    }
                }));
            }
            Self::Peek(client, looks) => {
                text.client = client.map(|client| client.to_string());
                let looks = looks.iter();
                let looks = looks.map(|Look { key, quota, cost }| LookText {
                    quota: QuotaText::of(*key, quota),
                    cost: *cost,
                });
                text.peek = Some(looks.collect());
            }
            Self::Reset(keys) => text.reset = Some(keys.iter().copied().map(hex_key).collect()),
            Self::Top(limit) => text.top = Some(*limit),
        }
        // Structs of numbers and strings always serialise.
        serde_json::to_string(&text).unwrap_or_default()
    }

    /// From the text; `None` when it is not one this module knows.
    #[must_use]
    pub fn decode(text: &str) -> Option<Self> {
        let text: MessageText = serde_json::from_str(text).ok()?;
        let lists = [text.settle.len(), text.charge.len(), text.asks.len()];
        let is_small = lists.into_iter().all(|length| length <= LIST_LIMIT)
            && text.asks.iter().all(|ask| ask.label.len() <= LABEL_LIMIT);
        if text.v != VERSION || !is_small {
            return None;
        }
        let client = text.client.as_deref().and_then(parse_network);
        if let Some(looks) = text.peek.filter(|looks| looks.len() <= LIST_LIMIT) {
            let read = |look: LookText| {
                let (key, quota) = look.quota.read()?;
                Some(Look { key, quota, cost: look.cost })
            };
            return Some(Self::Peek(client, looks.into_iter().map(read).collect::<Option<_>>()?));
        }
        if let Some(keys) = text.reset.filter(|keys| keys.len() <= LIST_LIMIT) {
            return Some(Self::Reset(keys.iter().map(|key| parse_key(key)).collect::<Option<_>>()?));
        }
        if let Some(limit) = text.top {
            return Some(Self::Top(limit));
        }
        let settle = text.settle.into_iter().map(|settle| {
            let (key, quota) = settle.quota.read()?;
            Some(Settlement { key, quota, report: Report { id: settle.id, unspent: settle.unspent } })
        });
        let charge = text.charge.into_iter().map(|charge| {
            let (key, quota) = charge.quota.read()?;
            Some(Charge { key, quota, amount: charge.amount })
        });
        Some(Self::Count(Count {
            client,
            settle: settle.collect::<Option<_>>()?,
            charge: charge.collect::<Option<_>>()?,
            asks: text.asks.into_iter().map(AskText::read).collect::<Option<_>>()?,
        }))
    }
}

#[derive(Serialize, Deserialize)]
struct OutcomeText {
    allowed: bool,
    remaining: u32,
    retry_ms: u64,
    full_ms: u64,
    holds_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    granted: Option<(u32, u64)>,
}

#[derive(Serialize, Deserialize)]
struct AnswerText {
    v: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    results: Vec<OutcomeText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    banned: Option<BanText>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    top: Vec<Used>,
}

impl Answer {
    /// The text. Spans are rounded up to milliseconds, since coming back then
    /// is not too early; but those for which something holds are rounded down.
    #[must_use]
    pub fn encode(&self) -> String {
        let results = self.results.iter().map(|Outcome { decision, granted, holds }| OutcomeText {
            allowed: decision.allowed,
            remaining: decision.remaining,
            retry_ms: millis_up(decision.retry_after),
            full_ms: millis_up(decision.full_after),
            holds_ms: millis_of(*holds),
            granted: granted.map(|granted| (granted.amount, millis_of(granted.ttl))),
        });
        let text = AnswerText {
            v: VERSION,
            results: results.collect(),
            banned: self.banned.as_ref().map(BanText::from),
            top: self.top.clone(),
        };
        serde_json::to_string(&text).unwrap_or_default()
    }

    /// From the text; `None` when it is not one this module knows.
    #[must_use]
    pub fn decode(text: &str) -> Option<Self> {
        let text: AnswerText = serde_json::from_str(text).ok()?;
        let results = text.results.into_iter().map(|result| Outcome {
            decision: Decision {
                allowed: result.allowed,
                remaining: result.remaining,
                retry_after: never_or(result.retry_ms),
                full_after: Duration::from_millis(result.full_ms),
            },
            granted: result.granted.map(|(amount, ttl)| Granted { amount, ttl: Duration::from_millis(ttl) }),
            holds: Duration::from_millis(result.holds_ms),
        });
        (text.v == VERSION).then(|| Self {
            results: results.collect(),
            banned: text.banned.and_then(BanText::read),
            top: text.top,
        })
    }
}

/// What is rounded to the end of time is never.
const fn never_or(millis: u64) -> Duration {
    if millis == u64::MAX { Duration::MAX } else { Duration::from_millis(millis) }
}
