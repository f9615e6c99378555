//! What isolates and `Limiter` objects say to each other about bans: JSON
//! texts in bodies, since a batch is longer than a header field may be.
//!
//! ```json
//! {"v": 1, "report": {"isolate": "00000000000000ff", "number": 7, "terms": [{"id": "scanner", …}],
//!   "offences": [{"network": "192.0.2.7/32", "trigger": 0, "count": 3, "first": 1767225600000}]}}
//! {"v": 1, "ban": [{"network": "192.0.2.0/24", "since": …, "until": …, "cause": "manual"}]}
//! {"v": 1, "lift": [{"network": "192.0.2.0/24", "time": …}]}
//! {"v": 1, "keep": [4], "bans": []}
//! ```
//!
//! As with counts (see [`crate::stages::rate_limit::message`]) a reader
//! refuses a version that it does not know. An object that runs older code
//! knows none of these and refuses them, too: offences are counted in the
//! isolate alone until it is gone.

use std::rc::Rc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Ban, Terms, parse_network};
use crate::stages::ip_filter::prefix::Prefix;
use crate::time::{Timestamp, millis_of};

/// The version that this module writes.
pub const VERSION: u32 = 1;

/// The most offences of a report.
pub const OFFENCES_LIMIT: usize = 500;

/// The most bans, or networks, of another message.
pub const LIST_LIMIT: usize = 1_000;

/// The longest message, in bytes.
pub const MESSAGE_LIMIT: usize = 1 << 20;

/// A client's offences against one trigger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offence {
    /// The client.
    pub network: Prefix,
    /// The trigger, by its place in the report's terms.
    pub trigger: usize,
    /// How many.
    pub count: u32,
    /// When the first of them was: all are counted there, so that none counts
    /// longer than its window.
    pub first: Timestamp,
    /// When the isolate banned the client, where its own count reached the
    /// threshold.
    pub banned: Option<Timestamp>,
}

/// What an isolate has counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Which isolate, by a random number.
    pub isolate: u64,
    /// Grows with every report of that isolate: one that comes again is not
    /// counted again.
    pub number: u64,
    /// The triggers.
    pub terms: Vec<Rc<Terms>>,
    /// The offences; at most [`OFFENCES_LIMIT`].
    pub offences: Vec<Offence>,
}

/// What a `Limiter` object is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Offences.
    Report(Report),
    /// Bans that a person made.
    Ban(Vec<Ban>),
    /// Networks whose bans a person lifted, and when.
    Lift(Vec<(Prefix, Timestamp)>),
}

/// What it answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// For each offence of the report, how many more the isolate may keep to
    /// itself.
    pub keep: Vec<u32>,
    /// The bans of the clients that were reported.
    pub bans: Vec<Ban>,
}

/// A ban as text.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct BanText {
    network: String,
    since: u64,
    until: u64,
    cause: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    shadow: bool,
}

impl From<&Ban> for BanText {
    fn from(ban: &Ban) -> Self {
        Self {
            network: ban.network.to_string(),
            since: ban.since.millis(),
            until: ban.until.millis(),
            cause: ban.cause.to_string(),
            shadow: ban.shadow,
        }
    }
}

impl BanText {
    /// The ban; `None` where the text is none, or one that nobody may make.
    pub(crate) fn read(self) -> Option<Ban> {
        let network = parse_network(&self.network).filter(|network| super::is_bannable(*network))?;
        (1..=64).contains(&self.cause.len()).then(|| Ban {
            network,
            since: Timestamp::from_millis(self.since),
            until: Timestamp::from_millis(self.until),
            cause: self.cause.into(),
            shadow: self.shadow,
        })
    }
}

#[derive(Serialize, Deserialize)]
struct TermsText {
    id: String,
    threshold: u32,
    window: u64,
    duration: u64,
    factor: u32,
    max: u64,
    jitter: u32,
    forget: u64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    shadow: bool,
}

#[derive(Serialize, Deserialize)]
struct OffenceText {
    network: String,
    trigger: usize,
    count: u32,
    first: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    banned: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct ReportText {
    isolate: String,
    number: u64,
    terms: Vec<TermsText>,
    offences: Vec<OffenceText>,
}

#[derive(Serialize, Deserialize)]
struct LiftText {
    network: String,
    time: u64,
}

#[derive(Default, Serialize, Deserialize)]
struct MessageText {
    v: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    report: Option<ReportText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ban: Option<Vec<BanText>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lift: Option<Vec<LiftText>>,
}

impl Message {
    /// The text.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = MessageText { v: VERSION, ..MessageText::default() };
        match self {
            Self::Report(report) => text.report = Some(ReportText::from(report)),
            Self::Ban(bans) => text.ban = Some(bans.iter().map(BanText::from).collect()),
            Self::Lift(networks) => {
                let lifted = networks
                    .iter()
                    .map(|(network, time)| LiftText { network: network.to_string(), time: time.millis() });
                text.lift = Some(lifted.collect());
            }
        }
        // Texts and numbers always serialise.
        serde_json::to_string(&text).unwrap_or_default()
    }

    /// From the text; `None` when it is not one that this module knows.
    #[must_use]
    pub fn decode(text: &str) -> Option<Self> {
        if text.len() > MESSAGE_LIMIT {
            return None;
        }
        let text: MessageText =
            serde_json::from_str(text).ok().filter(|text: &MessageText| text.v == VERSION)?;
        match text {
            MessageText { report: Some(report), ban: None, lift: None, .. } => {
                report.read().map(Self::Report)
            }
            MessageText { ban: Some(bans), report: None, lift: None, .. } if bans.len() <= LIST_LIMIT => {
                bans.into_iter().map(BanText::read).collect::<Option<_>>().map(Self::Ban)
            }
            MessageText { lift: Some(lifted), report: None, ban: None, .. } if lifted.len() <= LIST_LIMIT => {
                let read = |LiftText { network, time }| {
                    Some((parse_network(&network)?, Timestamp::from_millis(time)))
                };
                lifted.into_iter().map(read).collect::<Option<_>>().map(Self::Lift)
            }
            _ => None,
        }
    }
}

impl From<&Report> for ReportText {
    fn from(report: &Report) -> Self {
        let terms = report.terms.iter().map(|terms| TermsText {
            id: terms.id.to_string(),
            threshold: terms.threshold,
            window: millis_of(terms.window),
            duration: millis_of(terms.duration),
            factor: terms.factor,
            max: millis_of(terms.max_duration),
            jitter: terms.jitter,
            forget: millis_of(terms.forget_after),
            shadow: terms.shadow,
        });
        let offences = report.offences.iter().map(|offence| OffenceText {
            network: offence.network.to_string(),
            trigger: offence.trigger,
            count: offence.count,
            first: offence.first.millis(),
            banned: offence.banned.map(Timestamp::millis),
        });
        Self {
            isolate: format!("{:016x}", report.isolate),
            number: report.number,
            terms: terms.collect(),
            offences: offences.collect(),
        }
    }
}

impl ReportText {
    fn read(self) -> Option<Report> {
        if self.offences.len() > OFFENCES_LIMIT || self.isolate.len() != 16 {
            return None;
        }
        let millis = Duration::from_millis;
        let terms = self.terms.into_iter().map(|terms| {
            (1..=64).contains(&terms.id.len()).then(|| {
                Rc::new(Terms {
                    id: terms.id.into(),
                    threshold: terms.threshold.max(1),
                    window: millis(terms.window.max(1)),
                    duration: millis(terms.duration.max(1_000)),
                    factor: terms.factor.max(1),
                    max_duration: millis(terms.max.max(1_000)),
                    jitter: terms.jitter,
                    forget_after: millis(terms.forget),
                    shadow: terms.shadow,
                })
            })
        });
        let terms: Vec<Rc<Terms>> = terms.collect::<Option<_>>()?;
        let offences = self.offences.into_iter().map(|offence| {
            let network = parse_network(&offence.network).filter(|network| super::is_bannable(*network))?;
            (offence.trigger < terms.len()).then_some(Offence {
                network,
                trigger: offence.trigger,
                count: offence.count,
                first: Timestamp::from_millis(offence.first),
                banned: offence.banned.map(Timestamp::from_millis),
            })
        });
        let offences = offences.collect::<Option<_>>()?;
        Some(Report {
            isolate: u64::from_str_radix(&self.isolate, 16).ok()?,
            number: self.number,
            terms,
            offences,
        })
    }
}

#[derive(Serialize, Deserialize)]
struct ToldText {
    v: u32,
    keep: Vec<u32>,
    bans: Vec<BanText>,
}

impl Told {
    /// The text.
    #[must_use]
    pub fn encode(&self) -> String {
        let bans = self.bans.iter().map(BanText::from).collect();
        serde_json::to_string(&ToldText { v: VERSION, keep: self.keep.clone(), bans }).unwrap_or_default()
    }

    /// From the text; `None` when it is not one that this module knows.
    #[must_use]
    pub fn decode(text: &str) -> Option<Self> {
        let text: ToldText = serde_json::from_str(text).ok().filter(|text: &ToldText| text.v == VERSION)?;
        let bans = text.bans.into_iter().map(BanText::read).collect::<Option<_>>()?;
        Some(Self { keep: text.keep, bans })
    }
}
