//! Targeted cache control (RFC 9213): a field for caches of one kind, such as
//! CDN-Cache-Control, as a strict dictionary of Structured Fields (RFC 8941).
//!
//! A valid one stands in place of Cache-Control and Expires, also against
//! their `no-store` (2.2). One that is no dictionary, that holds nothing, or
//! in which a directive has a value of another type than it should, is not
//! there at all (2.1).

use std::convert::Infallible;

use sfv::visitor::{
    DictionaryVisitor, EntryVisitor, Ignored, InnerListVisitor, ItemVisitor, ParameterVisitor,
};
use sfv::{BareItemFromInput, KeyRef, Parser, Version};

use super::directives::{Directives, LONGEST};

/// The most members that are read; one with more is not there.
const MEMBERS: usize = 64;

/// Reads the combined field value; `None` when it does not count.
#[must_use]
pub fn parse(field: &str) -> Option<Directives> {
    let members = Parser::new(field)
        .with_version(Version::Rfc8941)
        .parse_dictionary_with_visitor(Members::default())
        .ok()?;
    if members.is_empty() || members.len() > MEMBERS {
        return None;
    }
    let mut read = Directives::default();
    for (name, value) in members {
        directive(&mut read, &name, value)?;
    }
    Some(read)
}

/// A member's value, as far as a directive may have it.
#[derive(Debug)]
enum Value {
    Flag(bool),
    Seconds(u64),
    Text(String),
    Other,
}

type Found = Vec<(String, Value)>;

/// `None` when the value is of a wrong type.
fn directive(read: &mut Directives, name: &str, value: Value) -> Option<()> {
    let flag = match name {
        "no-store" => &mut read.no_store,
        "public" => &mut read.public,
        "must-revalidate" => &mut read.must_revalidate,
        "proxy-revalidate" => &mut read.proxy_revalidate,
        "must-understand" => &mut read.must_understand,
        "immutable" => &mut read.immutable,
        "no-cache" | "private" => {
            let listed = if name == "private" { &mut read.private } else { &mut read.no_cache };
            match value {
                Value::Flag(true) => listed.add(None),
                Value::Flag(false) => {}
                Value::Text(names) => listed.add(Some(&names)),
                Value::Seconds(_) | Value::Other => return None,
            }
            return Some(());
        }
        "max-age" | "s-maxage" | "stale-while-revalidate" | "stale-if-error" => {
            let Value::Seconds(seconds) = value else { return None };
            *match name {
                "max-age" => &mut read.max_age,
                "s-maxage" => &mut read.s_maxage,
                "stale-while-revalidate" => &mut read.stale_while_revalidate,
                _ => &mut read.stale_if_error,
            } = Some(seconds);
            return Some(());
        }
        // 2.1: what is not known is ignored.
        _ => return Some(()),
    };
    let Value::Flag(is_set) = value else { return None };
    *flag = is_set;
    Some(())
}

/// Collects members; of one key the last counts (RFC 8941, 3.2).
#[derive(Debug, Default)]
struct Members(Found);

impl<'de> DictionaryVisitor<'de> for Members {
    type Out = Found;
    type Error = Infallible;

    fn entry(&mut self, key: &'de KeyRef) -> Result<impl EntryVisitor<'de>, Infallible> {
        self.0.retain(|(name, _)| name != key.as_str());
        // Past the limit nothing more is kept: there is one too many already.
        self.0.truncate(MEMBERS);
        self.0.push((key.as_str().to_owned(), Value::Other));
        Ok(Slot(self.0.last_mut().map(|(_, value)| value)))
    }

    fn finish(self) -> Result<Found, Infallible> {
        Ok(self.0)
    }
}

struct Slot<'a>(Option<&'a mut Value>);

impl<'de> EntryVisitor<'de> for Slot<'_> {
    type Error = Infallible;

    fn item(self) -> Result<impl ItemVisitor<'de>, Infallible> {
        Ok(self)
    }

    fn inner_list(self) -> Result<impl InnerListVisitor<'de>, Infallible> {
        Ok(Ignored)
    }
}

impl<'de> ItemVisitor<'de> for Slot<'_> {
    type Out = ();
    type Error = Infallible;

    fn bare_item(
        self,
        item: BareItemFromInput<'de>,
    ) -> Result<impl ParameterVisitor<'de, Out = ()>, Infallible> {
        if let Some(value) = self.0 {
            *value = match item {
                BareItemFromInput::Boolean(flag) => Value::Flag(flag),
                // A negative one is no number of seconds.
                BareItemFromInput::Integer(number) => u64::try_from(i64::from(number))
                    .map_or(Value::Other, |seconds| Value::Seconds(seconds.min(LONGEST))),
                BareItemFromInput::String(text) => Value::Text(text.as_str().to_owned()),
                BareItemFromInput::Token(text) => Value::Text(text.as_str().to_owned()),
                _ => Value::Other,
            };
        }
        // 2.1: parameters say nothing.
        Ok(Ignored)
    }
}
