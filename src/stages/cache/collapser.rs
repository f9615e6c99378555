//! Collapsing across isolates: what a `Collapser` object says.
//!
//! 1. Of the isolates of a location that miss a key, the first that asks gets a
//!    lease: it leads, and asks the origin. The others wait.
//! 2. A lease lasts for [`LEASE`] and is renewed while the origin takes its
//!    time. So a dead leader is missed soon, and one of those that wait leads.
//! 3. Stored: all look in the location. Not stored: all are released at once.
//!    Where the answer could not be kept, nobody waits for the key for
//!    [`UNSTORABLE`].
//! 4. What was stored a moment ago is told to who asks now: it may have looked
//!    before.
//! 5. Nothing is written down: an object that forgets costs a request to the
//!    origin for each isolate.

use std::collections::HashMap;
use std::time::Duration;

use siphasher::sip128::SipHasher13;

use crate::text;
use crate::time::Timestamp;

/// The field that a message and its answer travel in.
pub const FIELD: &str = "weir-message";

/// How many objects share the keys of a location.
pub const SHARDS: u128 = 16;

/// How long a leader leads without a word.
pub const LEASE: Duration = Duration::from_secs(2);

/// How often it says that it still does.
pub const RENEWAL: Duration = Duration::from_millis(600);

/// How many times: nobody waits for longer.
pub const RENEWALS: u32 = 8;

/// How long an object may take to say whether to lead or to wait.
pub const JOIN_WAIT: Duration = Duration::from_millis(250);

/// How long it lets somebody wait until it answers.
pub const PARK: Duration = Duration::from_secs(1);

/// For how long nobody waits for a key whose answer could not be kept.
pub const UNSTORABLE: Duration = Duration::from_secs(60);

/// For how long an end is told to who asks.
const ENDED: Duration = Duration::from_secs(2);

/// How many keys an object knows at most, about 1 MiB.
const CAPACITY: usize = 10_000;

/// The version of the messages; those of another are not understood.
const VERSION: &str = "1";

/// A key, hashed: who makes two collide has them wait for each other, and then
/// look under their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Id(pub u128);

impl Id {
    /// Of a key of the cache.
    #[must_use]
    pub fn of(key: &str) -> Self {
        Self(
            SipHasher13::new_with_keys(0x636f_6c6c_6170_7365, 0x6564_6765_7765_6972)
                .hash(key.as_bytes())
                .as_u128(),
        )
    }

    /// Which of the location's objects has it.
    #[must_use]
    pub const fn shard(self) -> u128 {
        self.0 & SHARDS.wrapping_sub(1)
    }
}

/// The right to ask the origin for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lead {
    /// For which key.
    pub id: Id,
    /// No two leads for a key have the same.
    pub number: u64,
}

/// How a lead ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The location has the answer.
    Stored,
    /// It must not be kept.
    Unstorable,
    /// There is none, or it was not kept for once.
    Lost,
}

/// What is said to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// An isolate has missed a key.
    Join(Id),
    /// It goes on waiting, and is answered after so many milliseconds at the
    /// latest.
    Wait(Id, u64),
    /// It still leads.
    Renew(Lead),
    /// It leads no more.
    End(Lead, End),
}

/// What an object answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Ask the origin, for all.
    Lead(u64),
    /// Somebody else does.
    Wait,
    /// Look in the location.
    Stored,
    /// Ask the origin, for yourself.
    Alone,
    /// Noted.
    Noted,
}

impl End {
    /// The label in messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Unstorable => "unstorable",
            Self::Lost => "lost",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Stored, Self::Unstorable, Self::Lost].into_iter().find(|end| end.as_str() == text)
    }
}

impl Message {
    /// The text that travels.
    #[must_use]
    pub fn encode(&self) -> String {
        let (word, id, number, end) = match *self {
            Self::Join(id) => ("join", id, 0, ""),
            Self::Wait(id, millis) => ("wait", id, millis, ""),
            Self::Renew(lead) => ("renew", lead.id, lead.number, ""),
            Self::End(lead, end) => ("end", lead.id, lead.number, end.as_str()),
        };
        [VERSION, word, &text::hex(id.0, 32), &number.to_string(), end].join(" ")
    }

    /// From that text; `None` when it is none of this version.
    #[must_use]
    pub fn decode(text: &str) -> Option<Self> {
        let mut parts = text.splitn(5, ' ');
        let mut next = || parts.next();
        let (VERSION, word, id) = (next()?, next()?, next()?) else { return None };
        let id = Id(u128::from_str_radix(id, 16).ok()?);
        let number = next()?.parse().ok()?;
        let lead = Lead { id, number };
        match word {
            "join" => Some(Self::Join(id)),
            "wait" => Some(Self::Wait(id, number)),
            "renew" => Some(Self::Renew(lead)),
            "end" => Some(Self::End(lead, End::parse(next()?)?)),
            _ => None,
        }
    }

    /// The key that it is about.
    #[must_use]
    pub const fn id(&self) -> Id {
        match *self {
            Self::Join(id) | Self::Wait(id, _) => id,
            Self::Renew(lead) | Self::End(lead, _) => lead.id,
        }
    }
}

impl Answer {
    /// The text that travels.
    #[must_use]
    pub fn encode(&self) -> String {
        match self {
            Self::Lead(number) => format!("lead {number}"),
            Self::Wait => "wait".to_owned(),
            Self::Stored => "stored".to_owned(),
            Self::Alone => "alone".to_owned(),
            Self::Noted => "noted".to_owned(),
        }
    }

    /// From that text.
    #[must_use]
    pub fn decode(text: &str) -> Option<Self> {
        match text {
            "wait" => Some(Self::Wait),
            "stored" => Some(Self::Stored),
            "alone" => Some(Self::Alone),
            "noted" => Some(Self::Noted),
            _ => text.strip_prefix("lead ")?.parse().ok().map(Self::Lead),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum State {
    Led(u64),
    Ended(End),
}

#[derive(Clone, Copy, Debug)]
struct Held {
    state: State,
    /// Until when it is so, and for how long it was to be.
    until: Timestamp,
    span: Duration,
}

impl Held {
    fn new(state: State, span: Duration, now: Timestamp) -> Self {
        Self { state, until: now.after(span), span }
    }

    /// A clock that goes back ends nothing later.
    fn lasts(&self, now: Timestamp) -> bool {
        now < self.until && self.until.since(now) <= self.span
    }
}

/// What an object says, and what its platform does with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// The answer.
    pub answer: Answer,
    /// About which key.
    pub id: Id,
    /// For how long the answer is held back: the message is told again then,
    /// or when the key wakes.
    pub park: Duration,
    /// Whether all whose answers are held back for the key are to be told
    /// again.
    pub wakes: bool,
}

/// What an object knows.
#[derive(Debug, Default)]
pub struct Leases {
    held: HashMap<Id, Held>,
    last: u64,
}

impl Leases {
    /// Takes a message in.
    pub fn tell(&mut self, message: &Message, now: Timestamp) -> Told {
        let id = message.id();
        let held = self.held.get(&id).copied().filter(|held| held.lasts(now));
        let mut told = Told { answer: Answer::Noted, id, park: Duration::ZERO, wakes: false };
        match (*message, held.map(|held| (held.state, held.until))) {
            (Message::Join(_), Some((State::Led(_), _))) => told.answer = Answer::Wait,
            (Message::Wait(_, millis), Some((State::Led(_), until))) => {
                told.answer = Answer::Wait;
                told.park = Duration::from_millis(millis).min(PARK).min(until.since(now));
            }
            (Message::Join(_) | Message::Wait(..), Some((State::Ended(End::Stored), _))) => {
                told.answer = Answer::Stored;
            }
            (Message::Join(_) | Message::Wait(..), Some((State::Ended(End::Unstorable), _)))
            | (Message::Wait(..), Some((State::Ended(End::Lost), _))) => told.answer = Answer::Alone,
            (Message::Join(_), Some((State::Ended(End::Lost), _)))
            | (Message::Join(_) | Message::Wait(..), None) => {
                told.answer = self.lead(id, now);
            }
            (Message::Renew(lead), Some((State::Led(number), _))) if number == lead.number => {
                self.held.insert(id, Held::new(State::Led(number), LEASE, now));
            }
            // Whoever has stored it, it is there.
            (Message::End(_, End::Stored), _) => {
                told.wakes = true;
                self.set(id, Held::new(State::Ended(End::Stored), ENDED, now), now);
            }
            (Message::End(lead, end), Some((State::Led(number), _))) if number == lead.number => {
                told.wakes = true;
                let span = if end == End::Unstorable { UNSTORABLE } else { ENDED };
                self.set(id, Held::new(State::Ended(end), span, now), now);
            }
            (Message::Renew(_) | Message::End(..), _) => {}
        }
        told
    }

    fn lead(&mut self, id: Id, now: Timestamp) -> Answer {
        // Later than all that an object before this one has given.
        let number = self.last.saturating_add(1).max(now.millis());
        if !self.set(id, Held::new(State::Led(number), LEASE, now), now) {
            return Answer::Alone;
        }
        self.last = number;
        Answer::Lead(number)
    }

    /// `false` where there is no room.
    fn set(&mut self, id: Id, held: Held, now: Timestamp) -> bool {
        if self.held.len() >= CAPACITY && !self.held.contains_key(&id) {
            self.held.retain(|_, held| held.lasts(now));
            if self.held.len() >= CAPACITY {
                return false;
            }
        }
        self.held.insert(id, held);
        true
    }
}
