//! The list as an isolate holds it, built for being asked: one look-up for the
//! URL, one for each tag, and one for all prefixes together.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher as _};

use siphasher::sip::SipHasher13;

use super::list::{Damage, decode};
use super::url::{prefix_form, url_form};
use super::{Purge, Scope, Stored, Void};

/// The newest purge of either strength; 0 for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Newest {
    hard: u64,
    soft: u64,
}

impl Newest {
    fn with(self, other: Self) -> Self {
        Self { hard: self.hard.max(other.hard), soft: self.soft.max(other.soft) }
    }
}

impl From<&Purge> for Newest {
    fn from(purge: &Purge) -> Self {
        if purge.soft {
            Self { hard: 0, soft: purge.sequence }
        } else {
            Self { hard: purge.sequence, soft: 0 }
        }
    }
}

/// A prefix, and what it and all shorter ones that it begins with say.
#[derive(Clone, Debug, PartialEq, Eq)]
struct PrefixEntry {
    prefix: Box<str>,
    newest: Newest,
    /// The place of the longest other one that it begins with.
    parent: Option<usize>,
}

type Texts = HashMap<Box<str>, Newest, BuildHasherDefault<SipHasher13>>;

/// The purges that an isolate knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Purges {
    newest: u64,
    all: Newest,
    urls: Texts,
    tags: Texts,
    /// Sorted by their texts.
    prefixes: Vec<PrefixEntry>,
    /// The hash of the text that it was read from.
    text: Option<u64>,
    damage: Option<Damage>,
}

impl Purges {
    /// The index of a list, in any order.
    #[must_use]
    pub fn new(list: &[Purge]) -> Self {
        let mut purges = Self::default();
        let mut prefixes: Vec<(Box<str>, Newest)> = Vec::new();
        for purge in list {
            let newest = Newest::from(purge);
            purges.newest = purges.newest.max(purge.sequence);
            let texts = match &purge.scope {
                Scope::All => {
                    purges.all = purges.all.with(newest);
                    continue;
                }
                Scope::Prefix(prefix) => {
                    prefixes.push((prefix_form(prefix).into(), newest));
                    continue;
                }
                Scope::Url(_) => &mut purges.urls,
                Scope::Tag(_) => &mut purges.tags,
            };
            let known = texts.entry(purge.scope.value().unwrap_or_default().into()).or_default();
            *known = known.with(newest);
        }
        prefixes.sort_by(|(one, _), (other, _)| one.cmp(other));
        for (prefix, newest) in prefixes {
            purges.add_prefix(prefix, newest);
        }
        purges
    }

    /// Adds the next prefix in order: what it begins with stands before it, and
    /// is the one before it or a parent of that.
    fn add_prefix(&mut self, prefix: Box<str>, newest: Newest) {
        let parent = self.longest(&prefix, self.prefixes.len().checked_sub(1));
        let entry = parent.and_then(|place| self.prefixes.get_mut(place));
        match entry {
            Some(entry) if entry.prefix == prefix => entry.newest = entry.newest.with(newest),
            entry => {
                let newest = entry.map_or(newest, |entry| entry.newest.with(newest));
                self.prefixes.push(PrefixEntry { prefix, newest, parent });
            }
        }
    }

    /// The longest entry that the text begins with, from that place on up.
    fn longest(&self, text: &str, from: Option<usize>) -> Option<usize> {
        let mut place = from;
        while let Some(at) = place {
            let entry = self.prefixes.get(at)?;
            if text.starts_with(&*entry.prefix) {
                return Some(at);
            }
            // A parent stands before its children, so this ends.
            place = entry.parent;
        }
        None
    }

    /// Reads a list as it stands in a manifest. One that cannot be read voids
    /// all that began before `sequence`, and says so in [`Purges::damage`].
    #[must_use]
    pub fn read(text: &str, sequence: u64) -> Self {
        let (list, damage) = match decode(text) {
            Ok(list) => (list, None),
            Err(damage) => (vec![Purge { sequence, scope: Scope::All, soft: false }], Some(damage)),
        };
        Self { text: Some(fingerprint(text)), damage, ..Self::new(&list) }
    }

    /// Whether it was read from that text.
    pub(super) fn is_of(&self, text: &str) -> bool {
        self.text == Some(fingerprint(text))
    }

    /// Why the list could not be read, where it could not.
    #[must_use]
    pub const fn damage(&self) -> Option<Damage> {
        self.damage
    }

    /// The sequence of the newest purge that is known; 0 for none. What is
    /// noted when a request to the origin begins ([`Stored::began`]).
    #[must_use]
    pub const fn newest(&self) -> u64 {
        self.newest
    }

    /// Whether a purge has made a stored answer void. Hard beats soft.
    #[must_use]
    pub fn judge(&self, stored: &Stored<'_>) -> Option<Void> {
        // Of nearly all that is asked this is the answer.
        if stored.began >= self.newest {
            return None;
        }
        let mut newest = self.all;
        if let Some(url) = self.urls.get(stored.url) {
            newest = newest.with(*url);
        }
        if !self.tags.is_empty() {
            let tags = stored.tags.iter().filter_map(|tag| self.tags.get(tag.as_str()));
            newest = tags.fold(newest, |newest, tag| newest.with(*tag));
        }
        if !self.prefixes.is_empty() {
            newest = newest.with(self.of_prefixes(stored.url));
        }
        if newest.hard > stored.began {
            Some(Void { soft: false })
        } else {
            (newest.soft > stored.began).then_some(Void { soft: true })
        }
    }

    fn of_prefixes(&self, url: &str) -> Newest {
        self.prefix_of(url).map(|entry| entry.newest).unwrap_or_default()
    }

    /// The longest prefix that a URL begins with.
    fn prefix_of(&self, url: &str) -> Option<&PrefixEntry> {
        let url = url_form(url);
        let behind = self.prefixes.partition_point(|entry| *entry.prefix <= *url);
        self.prefixes.get(self.longest(&url, behind.checked_sub(1))?)
    }

    /// Which purge has made a stored answer void, for people: the newest of
    /// those that count.
    #[must_use]
    pub fn culprit(&self, stored: &Stored<'_>) -> Option<Purge> {
        let soft = self.judge(stored)?.soft;
        let strength = |newest: Newest| if soft { newest.soft } else { newest.hard };
        let url = self.urls.get(stored.url).map(|newest| (*newest, Scope::Url(stored.url.to_owned())));
        let tags = stored
            .tags
            .iter()
            .filter_map(|tag| self.tags.get(tag.as_str()).map(|newest| (*newest, Scope::Tag(tag.clone()))));
        let found = [(self.all, Scope::All)]
            .into_iter()
            .chain(url)
            .chain(tags)
            .chain(self.prefix(stored.url, &strength));
        let purges = found.map(|(newest, scope)| Purge { sequence: strength(newest), scope, soft });
        purges.max_by_key(|purge| purge.sequence).filter(|purge| purge.sequence > stored.began)
    }

    /// The prefix itself that says what the longest one of a URL says: the
    /// shortest of them that says as much.
    fn prefix(&self, url: &str, strength: &impl Fn(Newest) -> u64) -> Option<(Newest, Scope)> {
        let mut entry = self.prefix_of(url)?;
        let newest = entry.newest;
        while let Some(parent) = entry.parent.and_then(|place| self.prefixes.get(place))
            && strength(parent.newest) == strength(newest)
        {
            entry = parent;
        }
        Some((newest, Scope::Prefix(entry.prefix.to_string())))
    }
}

fn fingerprint(text: &str) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(text.as_bytes());
    hasher.finish()
}
