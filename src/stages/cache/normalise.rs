//! Request fields that a route reduces to what matters, so that fewer answers
//! tell all clients apart.
//!
//! The origin gets the reduced field and not the client's: an answer that is
//! stored for a class of clients must not be made from what one of them said.
//! So what selects is always what was sent.
//!
//! 1. **Device**: User-Agent becomes one of three fixed texts, and
//!    Sec-CH-UA-Mobile says the same.
//! 2. **Encoding**: Accept-Encoding becomes the list of those of `gzip`, `br`
//!    and `zstd` that the client takes, or `identity`. One that refuses to
//!    take a plain answer, or that cannot be read, stays as it is.
//! 3. **Language**: Accept-Language becomes one of the route's languages
//!    (RFC 4647, 3.4), or the first of them.

use http::header::{ACCEPT_ENCODING, ACCEPT_LANGUAGE, HeaderName, USER_AGENT};

use super::vary::weighed;
use crate::exchange::{Head, list, trim};

const SEC_CH_UA_MOBILE: HeaderName = HeaderName::from_static("sec-ch-ua-mobile");

/// The codings that a client may take, in the order in which they are sent.
const CODINGS: [&str; 3] = ["gzip", "br", "zstd"];

/// The most members of a list that are read; one with more cannot be read.
const MEMBERS: usize = 64;

/// What is reduced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Normalise {
    /// User-Agent and Sec-CH-UA-Mobile.
    pub device: bool,
    /// Accept-Encoding.
    pub encoding: bool,
    /// Accept-Language, to one of these; the first where none fits. Empty: it
    /// stays as it is.
    pub languages: Vec<String>,
}

/// What a client is shown on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// A telephone.
    Mobile,
    /// Something larger that is held in hands.
    Tablet,
    /// Anything else.
    Desktop,
}

impl Device {
    /// By what the client says: the hint of User-Agent Client Hints first,
    /// then the words by which User-Agent tells them apart. Tablets say
    /// `Mobile` too, so they go first there; and Android says `Mobile` of
    /// telephones alone.
    #[must_use]
    pub fn of(head: &impl Head) -> Self {
        let hint = head.field(&SEC_CH_UA_MOBILE);
        Self::named(hint.as_deref(), head.field(&USER_AGENT).as_deref())
    }

    fn named(hint: Option<&str>, agent: Option<&str>) -> Self {
        if hint.is_some_and(|hint| trim(hint) == "?1") {
            return Self::Mobile;
        }
        let agent = agent.unwrap_or_default();
        let has = |words: &[&str]| words.iter().any(|word| agent.contains(word));
        if has(&["iPad", "Tablet", "PlayBook", "Kindle"]) || (has(&["Android"]) && !has(&["Mobile"])) {
            Self::Tablet
        } else if has(&["Mobi", "iPhone", "iPod"]) {
            Self::Mobile
        } else {
            Self::Desktop
        }
    }

    /// The User-Agent that the origin gets. The word that it looks for is in
    /// it, and no browser that this might not be.
    #[must_use]
    pub const fn user_agent(self) -> &'static str {
        match self {
            Self::Mobile => "Mozilla/5.0 (compatible; Edgeweir; Mobile)",
            Self::Tablet => "Mozilla/5.0 (compatible; Edgeweir; Tablet)",
            Self::Desktop => "Mozilla/5.0 (compatible; Edgeweir; Desktop)",
        }
    }
}

impl Normalise {
    /// The fields that are reduced, and read for it.
    #[must_use]
    pub fn fields(&self) -> Vec<HeaderName> {
        let all = [USER_AGENT, SEC_CH_UA_MOBILE, ACCEPT_ENCODING, ACCEPT_LANGUAGE];
        all.into_iter().filter(|name| self.reduces(name)).collect()
    }

    /// Whether the origin gets another text there than the client's.
    #[must_use]
    pub fn reduces(&self, name: &HeaderName) -> bool {
        match *name {
            USER_AGENT => self.device,
            ACCEPT_ENCODING => self.encoding,
            ACCEPT_LANGUAGE => !self.languages.is_empty(),
            _ => self.device && *name == SEC_CH_UA_MOBILE,
        }
    }

    /// What the origin gets in the place of the client's field; `None` where
    /// it gets that.
    #[must_use]
    pub fn value(&self, name: &HeaderName, head: &impl Head) -> Option<String> {
        if !self.reduces(name) {
            return None;
        }
        match *name {
            ACCEPT_ENCODING => codings(head.field(name).as_deref().unwrap_or("identity")),
            ACCEPT_LANGUAGE => {
                let field = head.field(name);
                language(field.as_deref().unwrap_or_default(), &self.languages).map(str::to_owned)
            }
            USER_AGENT => Some(Device::of(head).user_agent().to_owned()),
            _ => Some(if Device::of(head) == Device::Mobile { "?1" } else { "?0" }.to_owned()),
        }
    }
}

/// Those of [`CODINGS`] that the field takes (RFC 9110, 12.5.3); `None` where
/// it has to stay as it is.
fn codings(field: &str) -> Option<String> {
    let mut taken = [None; CODINGS.len()];
    let mut any = None;
    for (index, member) in list(field).enumerate() {
        let (coding, weight) = weighed(member).filter(|_| index < MEMBERS)?;
        let takes = weight > 0;
        match coding.to_ascii_lowercase().as_str() {
            "identity" if !takes => return None,
            "*" if !takes => return None,
            "*" => any = Some(takes),
            // RFC 9110, 8.4.1.3.
            "x-gzip" => taken = with(taken, "gzip", takes),
            coding => taken = with(taken, coding, takes),
        }
    }
    let names = CODINGS.iter().zip(taken).filter(|(_, taken)| taken.or(any).unwrap_or_default());
    let names: Vec<&str> = names.map(|(name, _)| *name).collect();
    Some(if names.is_empty() { "identity".to_owned() } else { names.join(", ") })
}

type Taken = [Option<bool>; CODINGS.len()];

fn with(mut taken: Taken, coding: &str, takes: bool) -> Taken {
    for (name, slot) in CODINGS.iter().zip(&mut taken) {
        if *name == coding {
            *slot = Some(takes);
        }
    }
    taken
}

/// The one of `languages` that suits the field best: its ranges by weight,
/// each of them looked up (RFC 4647, 3.4), and then one that begins with it
/// (3.3.1). The first where none does, or the field cannot be read.
fn language<'a>(field: &str, languages: &'a [String]) -> Option<&'a str> {
    let default = languages.first().map(String::as_str);
    let ranges: Option<Vec<_>> =
        list(field).enumerate().map(|(index, member)| weighed(member).filter(|_| index < MEMBERS)).collect();
    let mut ranges = ranges.unwrap_or_default();
    // Of one weight, the first goes first.
    while let Some((best, (range, weight))) =
        ranges.iter().copied().enumerate().rev().max_by_key(|(_, (_, weight))| *weight)
    {
        if weight == 0 || range == "*" {
            break;
        }
        if let Some(found) = looked_up(range, languages) {
            return Some(found);
        }
        ranges.remove(best);
    }
    default
}

fn looked_up<'a>(range: &str, languages: &'a [String]) -> Option<&'a str> {
    let mut shorter = Some(range);
    while let Some(tag) = shorter {
        if let Some(found) = languages.iter().find(|known| known.eq_ignore_ascii_case(tag)) {
            return Some(found);
        }
        shorter = tag.rsplit_once('-').map(|(start, _)| start);
    }
    let begins = |known: &&String| {
        known
            .split_at_checked(range.len())
            .is_some_and(|(start, rest)| start.eq_ignore_ascii_case(range) && rest.starts_with('-'))
    };
    languages.iter().find(begins).map(String::as_str)
}
