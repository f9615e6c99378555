//! Tags of answers: `Cache-Tag` and `Surrogate-Key`.
//!
//! Publishers separate the first by commas and the second by spaces; here both
//! separate in both. Tags are compared without regard to ASCII case, as the
//! platform's own are.

use std::collections::BTreeSet;
use std::fmt;

/// The longest tag, in bytes. A longer one cannot be purged.
pub const TAG_LIMIT: usize = 256;

/// The most tags of one answer.
pub const TAGS_LIMIT: usize = 1_000;

/// What a tag of a purge has to be.
pub const TAG_EXPECTED: &str =
    "expected a tag of 1 to 256 printable ASCII characters without space and comma";

/// An answer has more than [`TAGS_LIMIT`] tags. It must not be stored: a purge
/// of those that are left out would not find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyTags;

impl fmt::Display for TooManyTags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the answer has more than {TAGS_LIMIT} tags")
    }
}

impl std::error::Error for TooManyTags {}

/// A tag that somebody names, as it is compared.
#[must_use]
pub fn parse_tag(text: &str) -> Option<String> {
    let is_tag = (1..=TAG_LIMIT).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',');
    is_tag.then(|| text.to_ascii_lowercase())
}

/// The tags in the values of `Cache-Tag` and `Surrogate-Key`, sorted, each
/// once. What no purge can name is left out.
///
/// # Errors
/// [`TooManyTags`].
pub fn tags_of<'a>(values: impl IntoIterator<Item = &'a str>) -> Result<Vec<String>, TooManyTags> {
    let mut tags = BTreeSet::new();
    let parts = values.into_iter().flat_map(|value| value.split([',', ' ', '\t']));
    for tag in parts.filter_map(parse_tag) {
        tags.insert(tag);
        if tags.len() > TAGS_LIMIT {
            return Err(TooManyTags);
        }
    }
    Ok(tags.into_iter().collect())
}
