//! What purges do to stored answers.

use http::header::HeaderName;

use super::Journey;
use super::answers::Candidate;
use crate::platform::Platform;
use crate::purge::{Stored, TooManyTags, Void, tags_of, url};

/// The fields by which an origin gives its answers tags.
const TAGS: [HeaderName; 2] =
    [HeaderName::from_static("cache-tag"), HeaderName::from_static("surrogate-key")];

/// A stored answer is as if it were not there.
pub(super) const HARD: Void = Void { soft: false };

/// The tags of an answer.
///
/// # Errors
/// There are too many.
pub(crate) fn tags(fields: &[(HeaderName, String)]) -> Result<Vec<String>, TooManyTags> {
    let values = fields.iter().filter(|(name, _)| TAGS.contains(name));
    tags_of(values.map(|(_, value)| value.as_str()))
}

impl<P: Platform> Journey<'_, P> {
    /// The newest purge that is known now.
    pub(super) fn newest_purge(&self) -> u64 {
        self.acting.snapshot.purges().newest()
    }

    /// What a purge has done to a stored answer since it was asked for. Its URL
    /// is scheme, authority, and path and query as the key has them.
    pub(super) fn voided(
        &self,
        candidate: Option<&Candidate<P::Response>>,
        (scheme, authority, as_stored): (&str, &str, &str),
    ) -> Option<Void> {
        let candidate = candidate?;
        let purges = self.acting.snapshot.purges();
        let began = candidate.entry.began;
        if began >= purges.newest() {
            // Mostly there is nothing to look for.
            return None;
        }
        // What has too many is not stored.
        let tags = tags(&candidate.entry.fields).unwrap_or_default();
        let url = url::url_of(scheme, authority, as_stored);
        purges.judge(&Stored { url: &url, tags: &tags, began })
    }
}
