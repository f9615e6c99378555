//! JSON documents: those of AWS, Google and Cloudflare.
//!
//! The document is held while it is read; its entries go to the collector one
//! by one, so that nothing grows beside it.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::collect::Collector;
use super::refusal::Refusal;

/// The largest document, in bytes.
pub(super) const DOCUMENT_LIMIT: u64 = 16 << 20;

const ONCE_EXPECTED: &str = "this member once";

/// Whose document it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `ip-ranges.json`: `prefixes[].ip_prefix`, `ipv6_prefixes[].ipv6_prefix`.
    Aws,
    /// `goog.json`, `cloud.json` and the like: `prefixes[].ipv4Prefix` or
    /// `.ipv6Prefix`.
    Google,
    /// What the API says under `/ips`: `result.ipv4_cidrs[]`, `.ipv6_cidrs[]`
    /// and, if asked for, `.jdcloud_cidrs[]`.
    Cloudflare,
}

impl Kind {
    const fn expected(self) -> &'static str {
        match self {
            Self::Aws => {
                "a document with \"prefixes\" of \"ip_prefix\" or \"ipv6_prefixes\" of \"ipv6_prefix\""
            }
            Self::Google => "a document with \"prefixes\" of \"ipv4Prefix\" or \"ipv6Prefix\"",
            Self::Cloudflare => "a document with \"ipv4_cidrs\" or \"ipv6_cidrs\" in a \"result\"",
        }
    }

    /// The lists of a document, and how an item holds its entry.
    fn list(self, name: &str) -> Option<Item> {
        match (self, name) {
            (Self::Aws, "prefixes") => Some(Item::Member(&["ip_prefix"])),
            (Self::Aws, "ipv6_prefixes") => Some(Item::Member(&["ipv6_prefix"])),
            (Self::Google, "prefixes") => Some(Item::Member(&["ipv4Prefix", "ipv6Prefix"])),
            (Self::Cloudflare, "ipv4_cidrs" | "ipv6_cidrs" | "jdcloud_cidrs") => Some(Item::Text),
            _ => None,
        }
    }
}

#[derive(Clone, Copy)]
enum Item {
    /// The entry itself.
    Text,
    /// An object with the entry in a member of one of these names.
    Member(&'static [&'static str]),
}

/// Reads a whole document.
pub(super) fn read(kind: Kind, text: &[u8], collector: &mut Collector) -> Result<(), Refusal> {
    let mut reader = Reader { kind, collector, refusal: None, has_lists: false };
    let mut json = serde_json::Deserializer::from_slice(text);
    let done = Object { reader: &mut reader, is_result: kind != Kind::Cloudflare }
        .deserialize(&mut json)
        .and_then(|()| json.end());
    match (reader.refusal.take(), done) {
        (Some(refusal), done) => {
            // The collector does not know lines here; the reader of JSON does.
            let at = done.err().map_or(0, |error| error.line() as u64);
            Err(match refusal {
                Refusal::Malformed { value, expected, .. } => {
                    Refusal::Malformed { line: at, value, expected }
                }
                Refusal::HostBits { value, .. } => Refusal::HostBits { line: at, value },
                other => other,
            })
        }
        (None, Err(error)) => {
            let at = error.line() as u64;
            let line = at.checked_sub(1).and_then(|before| usize::try_from(before).ok());
            let line = line.and_then(|before| text.split(|byte| *byte == b'\n').nth(before));
            Err(Refusal::malformed(at, line.unwrap_or_default(), kind.expected()))
        }
        (None, Ok(())) if !reader.has_lists => Err(Refusal::malformed(0, b"", kind.expected())),
        (None, Ok(())) => Ok(()),
    }
}

struct Reader<'c> {
    kind: Kind,
    collector: &'c mut Collector,
    refusal: Option<Refusal>,
    has_lists: bool,
}

impl Reader<'_> {
    fn add<E: Error>(&mut self, text: &str) -> Result<(), E> {
        self.collector.add(0, text.as_bytes()).map_err(|refusal| {
            self.refusal = Some(refusal);
            E::custom("refused")
        })
    }

    /// Takes note of a member that is read. Names "should be unique" (RFC 8259,
    /// 4): of two that are not, one reader takes the first, another the last,
    /// and both together is what nobody wrote.
    fn once<E: Error>(&mut self, seen: &mut Vec<String>, name: &str) -> Result<(), E> {
        if seen.iter().any(|other| other == name) {
            self.refusal = Some(Refusal::malformed(0, name.as_bytes(), ONCE_EXPECTED));
            return Err(E::custom("refused"));
        }
        seen.push(name.to_owned());
        Ok(())
    }
}

/// The object that has the lists, or the one that has that one.
struct Object<'r, 'c> {
    reader: &'r mut Reader<'c>,
    is_result: bool,
}

impl<'de> DeserializeSeed<'de> for Object<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let mut seen = Vec::new();
        while let Some(Text(name)) = members.next_key()? {
            let list = if self.is_result { self.reader.kind.list(&name) } else { None };
            match list {
                Some(item) => {
                    self.reader.once(&mut seen, &name)?;
                    self.reader.has_lists = true;
                    members.next_value_seed(List { reader: self.reader, item })?;
                }
                None if !self.is_result && name == "result" => {
                    self.reader.once(&mut seen, &name)?;
                    members.next_value_seed(Object { reader: self.reader, is_result: true })?;
                }
                None => drop(members.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

struct List<'r, 'c> {
    reader: &'r mut Reader<'c>,
    item: Item,
}

impl<'de> DeserializeSeed<'de> for List<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for List<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        match self.item {
            Item::Text => {
                while let Some(Text(text)) = items.next_element()? {
                    self.reader.add(&text)?;
                }
            }
            Item::Member(names) => {
                while items.next_element_seed(Holder { reader: self.reader, names })?.is_some() {}
            }
        }
        Ok(())
    }
}

struct Holder<'r, 'c> {
    reader: &'r mut Reader<'c>,
    names: &'static [&'static str],
}

impl<'de> DeserializeSeed<'de> for Holder<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Holder<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with a prefix")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let mut seen = Vec::new();
        while let Some(Text(name)) = members.next_key()? {
            if self.names.contains(&name.as_ref()) {
                self.reader.once(&mut seen, &name)?;
                let Text(text) = members.next_value()?;
                self.reader.add(&text)?;
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        if seen.is_empty() { Err(A::Error::custom("no prefix")) } else { Ok(()) }
    }
}

/// A text that is not copied where it need not be.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
