//! What has a count of its own: the parts of a rule's key, and their values
//! in a request.

use std::borrow::Cow;
use std::net::IpAddr;

use http::header::{COOKIE, HeaderName};
use siphasher::sip128::{Hasher128, SipHasher13};

use super::config::{KeyPart, OnMissing};
use super::message::count::LABEL_LIMIT;
use super::{CounterKey, LimitRule, shard_of};
use crate::exchange::{Head, trim};
use crate::stages::Mode;
use crate::stages::canary::CanaryStage;
use crate::stages::identity::Identity;
use crate::stages::ip_filter::prefix::Prefix;
use crate::stages::target::Target;
use crate::text::hex;

/// The request, as keys and costs are read from it.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a, H> {
    /// Who is calling.
    pub identity: &'a Identity,
    /// The head.
    pub head: &'a H,
    /// The labels that it got.
    pub tags: &'a [String],
    /// What it asks for; `None` where that is malformed.
    pub target: Option<&'a Target<'a>>,
    /// How its route chooses a variant.
    pub canary: Option<&'a CanaryStage>,
}

/// Which counter a request is counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keyed {
    /// This one.
    Counter(CounterKey),
    /// None: a part is missing, and the rule is not there then.
    Skip,
    /// None: a part is missing, and the request is refused then.
    Refuse,
}

/// What a request says of a part of the key.
enum Said<'a> {
    /// Nothing.
    Nothing,
    /// This.
    Value(Cow<'a, [u8]>),
    /// More than one thing. Which of them counts is the origin's choice, so
    /// none of them may choose the counter: the client's network does.
    Several,
}

impl<'a> From<Option<Cow<'a, [u8]>>> for Said<'a> {
    fn from(value: Option<Cow<'a, [u8]>>) -> Self {
        value.map_or(Self::Nothing, Self::Value)
    }
}

impl LimitRule {
    /// The counter for this request.
    #[must_use]
    pub fn counter(&self, subject: &Subject<'_, impl Head>) -> Keyed {
        self.keyed(Some(subject.identity), |part| self.said(part, subject))
    }

    /// The counter of these values, where there is no request to read them
    /// from. Empty is what a request lacks.
    ///
    /// # Errors
    /// The part whose value is not there.
    pub fn counter_of(
        &self,
        identity: Option<&Identity>,
        values: &[(KeyPart, String)],
    ) -> Result<Keyed, &KeyPart> {
        let given = |part: &KeyPart| self.given(part, identity, values);
        if let Some(lacking) = self.key.iter().find(|part| given(part).is_none()) {
            return Err(lacking);
        }
        Ok(self.keyed(identity, |part| {
            let value = match (part, identity) {
                (KeyPart::Client, Some(identity)) => Some(octets(self.network(identity).address())),
                (KeyPart::Address, Some(identity)) => Some(octets(identity.address)),
                _ => {
                    let value = given(part).filter(|value| !value.is_empty());
                    value.map(|value| Cow::Owned(value.into_owned().into_bytes()))
                }
            };
            value.into()
        }))
    }

    /// A part's value among those that were given.
    fn given<'v>(
        &'v self,
        part: &KeyPart,
        identity: Option<&Identity>,
        values: &'v [(KeyPart, String)],
    ) -> Option<Cow<'v, str>> {
        match part {
            KeyPart::Client => Some(Cow::Owned(self.network(identity?).to_string())),
            KeyPart::Address => Some(Cow::Owned(identity?.address.to_string())),
            KeyPart::Route => Some(Cow::Borrowed(&self.route)),
            part => values.iter().find(|(known, _)| known == part).map(|(_, value)| Cow::Borrowed(&**value)),
        }
    }

    /// Parts are hashed with their length, so that no two lists of parts run
    /// together; however long they are, 128 bits are kept.
    fn keyed<'v>(&self, identity: Option<&Identity>, said: impl Fn(&KeyPart) -> Said<'v>) -> Keyed {
        use std::hash::Hasher as _;
        let mut hasher = new_hasher();
        let mut part = |bytes: &[u8]| {
            hasher.write(&(bytes.len() as u64).to_le_bytes());
            hasher.write(bytes);
        };
        part(self.scope.as_bytes());
        for key in &self.key {
            match (said(key), self.on_missing) {
                (Said::Value(value), _) => part(&value),
                (Said::Nothing, OnMissing::Empty) => part(b""),
                (Said::Nothing, OnMissing::Skip) => return Keyed::Skip,
                (Said::Nothing | Said::Several, OnMissing::Refuse) => return Keyed::Refuse,
                (Said::Several, OnMissing::Empty | OnMissing::Skip) => {
                    // A part more than any other key of the rule has.
                    part(b"several");
                    part(
                        &identity
                            .map(|identity| octets(self.network(identity).address()))
                            .unwrap_or_default(),
                    );
                }
            }
        }
        let key = CounterKey(hasher.finish128().as_u128());
        let network = identity.filter(|_| self.counts_clients()).map(|identity| identity.network);
        Keyed::Counter(network.map_or(key, |network| key.in_shard(shard_of(network))))
    }

    /// The counter that keys share which an isolate may not ask about.
    #[must_use]
    pub fn overflow(&self) -> CounterKey {
        use std::hash::Hasher as _;
        let mut hasher = new_hasher();
        hasher.write(self.scope.as_bytes());
        hasher.write(b"/overflow");
        CounterKey(hasher.finish128().as_u128())
    }

    /// The network by which a client is counted.
    #[must_use]
    pub fn network(&self, identity: &Identity) -> Prefix {
        let network = identity.network;
        match (self.ipv6_prefix, network.address()) {
            (Some(length), IpAddr::V6(_)) if length < network.length() => {
                Prefix::containing(network.address(), length).unwrap_or(network)
            }
            _ => network,
        }
    }

    /// The value of a part as bytes.
    fn said<'a>(&self, part: &KeyPart, subject: &Subject<'a, impl Head>) -> Said<'a> {
        let text = |text: Cow<'a, str>| match text {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        };
        let value = match part {
            KeyPart::Client => Some(octets(self.network(subject.identity).address())),
            KeyPart::Address => Some(octets(subject.identity.address)),
            part => self.text_value(part, subject).map(text),
        };
        match part {
            KeyPart::Cookie(_) | KeyPart::Query(_) if is_several(part, subject) => Said::Several,
            _ => value.into(),
        }
    }

    /// The value of a part that is a text.
    fn text_value<'a>(&self, part: &KeyPart, subject: &Subject<'a, impl Head>) -> Option<Cow<'a, str>> {
        let head = subject.head;
        let value = match part {
            KeyPart::Client => self.network(subject.identity).to_string().into(),
            KeyPart::Address => subject.identity.address.to_string().into(),
            KeyPart::Tag => {
                let mut tags: Vec<&str> = subject.tags.iter().map(String::as_str).collect();
                tags.sort_unstable();
                Cow::Owned(tags.join(","))
            }
            KeyPart::Country => Cow::Owned(head.metadata().country?.as_str().to_owned()),
            KeyPart::Asn => Cow::Owned(head.metadata().asn?.to_string()),
            KeyPart::Route => Cow::Owned(self.route.clone()),
            KeyPart::Method => Cow::Borrowed(head.method().as_str()),
            KeyPart::Variant => {
                let canary = subject.canary.filter(|canary| canary.mode == Mode::Enforce)?;
                let secure = subject.target.is_some_and(|target| target.scheme == "https");
                let choice = canary.choose(subject.identity, head, secure)?;
                Cow::Borrowed(choice.variant.name.as_str())
            }
            KeyPart::Header(name) => head.field(&name.0)?,
            KeyPart::Cookie(name) => Cow::Owned(cookies(&head.field(&COOKIE)?, name.as_str()).next()?),
            KeyPart::Query(name) => Cow::Owned(queries(subject.target?.as_sent, &name.0).next()?),
            KeyPart::Path(name) => {
                let (_, segment) = self.parameters.iter().find(|(known, _)| known == name)?;
                // The normal form: one path, one counter.
                Cow::Borrowed(subject.target?.path.split('/').nth(segment.saturating_add(1))?)
            }
            // Refused when the policy is compiled.
            KeyPart::ApiKey | KeyPart::Claim(_) => return None,
        };
        Some(value).filter(|value| !value.is_empty())
    }

    /// The parts with their values, for people: what clients chose and may be
    /// a secret is hashed.
    pub fn parts<'s>(
        &'s self,
        subject: &'s Subject<'s, impl Head>,
    ) -> impl Iterator<Item = (String, Option<String>)> + 's {
        self.key.iter().map(|part| {
            let value = self.text_value(part, subject);
            (part.label(), value.map(|value| shown(&value, part.is_open())))
        })
    }

    /// As [`Self::parts`], of values that were given as in
    /// [`Self::counter_of`].
    pub fn parts_of<'s>(
        &'s self,
        identity: Option<&'s Identity>,
        values: &'s [(KeyPart, String)],
    ) -> impl Iterator<Item = (String, Option<String>)> + 's {
        self.key.iter().map(move |part| {
            let value = self.given(part, identity, values).filter(|value| !value.is_empty());
            (part.label(), value.map(|value| shown(&value, part.is_open())))
        })
    }

    /// Rule and key in one line, for lists of counters.
    #[must_use]
    pub fn label(&self, subject: &Subject<'_, impl Head>) -> String {
        let mut label = String::with_capacity(64);
        if !self.route.is_empty() {
            label.push_str(&self.route);
            label.push('/');
        }
        label.push_str(&self.id);
        for (part, value) in self.parts(subject) {
            label.push(' ');
            label.push_str(&part);
            label.push('=');
            label.push_str(value.as_deref().unwrap_or_default());
        }
        // It travels in a header field, and an object does not read what is
        // longer.
        label.retain(|character| matches!(character, ' '..='~'));
        label.truncate(LABEL_LIMIT);
        label
    }

    /// What a request costs.
    #[must_use]
    pub fn cost_of(&self, head: &impl Head) -> u32 {
        let cost = &self.cost;
        if let Some((name, min, max)) = &cost.field
            && let Some(value) = head.field(name)
        {
            // What is no number is not cheaper than any.
            return value.trim().parse::<u32>().unwrap_or(u32::MAX).clamp(*min, *max);
        }
        let by_method = cost.methods.iter().find(|(method, _)| method == head.method().as_str());
        by_method.map_or(cost.default, |(_, cost)| *cost)
    }

    /// The fields that it reads.
    pub fn wanted_fields(&self) -> impl Iterator<Item = HeaderName> {
        let cost = self.cost.field.iter().map(|(name, ..)| name.clone());
        let parts = self.key.iter().filter_map(|part| match part {
            KeyPart::Header(name) => Some(name.0.clone()),
            KeyPart::Cookie(_) => Some(COOKIE),
            _ => None,
        });
        parts.chain(cost)
    }
}

impl KeyPart {
    /// Whether its value may be shown: what clients chose may be a secret.
    const fn is_open(&self) -> bool {
        !matches!(self, Self::Header(_) | Self::Cookie(_) | Self::Query(_))
    }

    /// Its name for people.
    #[must_use]
    pub fn label(&self) -> String {
        let simple = match self {
            Self::Client => "client",
            Self::Address => "address",
            Self::Tag => "tag",
            Self::Country => "country",
            Self::Asn => "asn",
            Self::Route => "route",
            Self::Method => "method",
            Self::Variant => "variant",
            Self::ApiKey => "api_key",
            Self::Header(name) => return name.0.to_string(),
            Self::Cookie(name) => return format!("cookie {name}"),
            Self::Query(name) => return format!("query {}", name.0),
            Self::Path(name) => return format!("path {name}"),
            Self::Claim(name) => return format!("claim {name}"),
        };
        simple.to_owned()
    }
}

/// The longest value that is shown as it is, in bytes.
const SHOWN: usize = 64;

fn shown(value: &str, is_open: bool) -> String {
    if is_open && value.len() <= SHOWN {
        return value.to_owned();
    }
    use std::hash::Hasher as _;
    let mut hasher = new_hasher();
    hasher.write(value.as_bytes());
    format!("#{}", hex(hasher.finish128().as_u128() >> 80, 12))
}

/// The key is fixed: isolates and objects must agree on the shard.
fn new_hasher() -> SipHasher13 {
    SipHasher13::new_with_keys(0x6564_6765_7765_6972, 0x6c69_6d69_7465_7231)
}

fn octets(address: IpAddr) -> Cow<'static, [u8]> {
    Cow::Owned(match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    })
}

/// Whether a cookie or a parameter of the query is there with values that
/// differ.
fn is_several(part: &KeyPart, subject: &Subject<'_, impl Head>) -> bool {
    match part {
        KeyPart::Cookie(name) => {
            subject.head.field(&COOKIE).is_some_and(|field| differ(cookies(&field, name.as_str())))
        }
        KeyPart::Query(name) => subject.target.is_some_and(|target| differ(queries(target.as_sent, &name.0))),
        _ => false,
    }
}

fn differ(mut values: impl Iterator<Item = String>) -> bool {
    values.next().is_some_and(|first| values.any(|other| other != first))
}

/// The values of a cookie. Origins pass over white space, quotes and escapes,
/// so here, too, another spelling is the same value.
fn cookies<'a>(field: &'a str, name: &'a str) -> impl Iterator<Item = String> + 'a {
    // As `exchange::cookie`: several lines arrive joined by commas.
    field.split([';', ',']).filter_map(move |pair| {
        let (key, value) = pair.split_once('=')?;
        let value = trim(value);
        let value = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
        (trim(key) == name).then(|| decoded(value))
    })
}

/// The values of a parameter of a query, decoded as forms are (WHATWG URL,
/// 5.1): another spelling is the same value.
fn queries<'a>(as_sent: &'a str, name: &'a str) -> impl Iterator<Item = String> + 'a {
    let query = as_sent.split_once('?').map_or("", |(_, query)| query);
    query.split('&').filter_map(move |pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(key) == name).then(|| decoded(value))
    })
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let escaped = (byte == b'%').then(|| {
            let mut ahead = rest.clone();
            let (high, low) = (digit(ahead.next()?)?, digit(ahead.next()?)?);
            rest = ahead;
            Some(high.wrapping_mul(16).wrapping_add(low))
        });
        bytes.push(match escaped.flatten() {
            Some(escaped) => escaped,
            None if byte == b'+' => b' ',
            None => byte,
        });
    }
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}
