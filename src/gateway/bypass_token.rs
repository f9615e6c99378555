//! Requests that a signed token takes past the cache.

use super::{Isolate, Journey};
use crate::exchange::{Head, trim};
use crate::observe::record::StageRecord;
use crate::platform::Platform;
use crate::stages::cache::bypass_token::{BYPASS, BypassKey, BypassRefusal, GRANTED};
use crate::stages::target::Target;
use crate::time::Timestamp;

impl Isolate {
    /// With this key for tokens of `Weir-Cache-Bypass`.
    #[must_use]
    pub fn with_bypass_key(self, key: Option<BypassKey>) -> Self {
        Self { bypass_key: key, ..self }
    }

    /// What the token of a request says; `None` where there is no token, or no
    /// key.
    #[must_use]
    pub fn bypass(
        &self,
        head: &impl Head,
        target: &Target<'_>,
        now: Timestamp,
    ) -> Option<Result<(), BypassRefusal>> {
        let key = self.bypass_key.as_ref()?;
        let token = head.field(&BYPASS)?;
        Some(key.judge(trim(&token), target, now))
    }
}

impl<P: Platform> Journey<'_, P> {
    /// Whether a token takes the request past the cache; the log says so, and
    /// why not.
    pub(super) fn passes_cache(&mut self, target: &Target<'_>) -> bool {
        let Some(said) = self.isolate.bypass(self.head, target, self.platform.now()) else { return false };
        let verdict = said.map_or_else(BypassRefusal::as_str, |()| GRANTED);
        // Once, also where the cache is asked twice.
        if self.record.stages.iter().all(|stage| stage.verdict != verdict) {
            self.record.stages.push(StageRecord::of("cache", verdict));
        }
        said.is_ok()
    }
}
