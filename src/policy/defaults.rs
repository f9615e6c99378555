//! `defaults`, merged into each route.
//!
//! 1. Objects are merged member by member, everything else is replaced, lists
//!    too. So the merge is one of JSON, not of typed values, which do not say
//!    what was left out.
//! 2. Most routes take a stage of the defaults as it is, or have it to
//!    themselves; only where both say something is JSON put together.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use super::Policy;
use super::decode::{Problems, join, merge, shown, strict};

/// The most that `defaults` may come to, merged into every route, in bytes of
/// JSON.
pub(super) const DEFAULTS_LIMIT: usize = 16 << 20;

/// The stages of a route or of the defaults as they are written; `null` is
/// something, too: it takes a stage away.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Stages<'a> {
    #[serde(borrow, deserialize_with = "written")]
    ip_filter: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "written")]
    rate_limit: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "written")]
    canary: Option<&'a RawValue>,
    #[serde(borrow, deserialize_with = "written")]
    cache: Option<&'a RawValue>,
}

fn written<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(default)]
    defaults: Value,
    #[serde(borrow, default)]
    routes: Vec<Stages<'a>>,
}

/// Merges `defaults` into each route of a policy that was read from `text`.
/// `None` where that is not to be had.
pub(super) fn with_defaults(policy: &mut Policy, text: &str, problems: &mut Problems) -> Option<()> {
    let defaults = policy.defaults.clone();
    if defaults.ip_filter.is_none()
        && defaults.rate_limit.is_none()
        && defaults.canary.is_none()
        && defaults.cache.is_none()
    {
        return Some(());
    }
    // The text has been read once: it is well formed.
    let document: Document<'_> = serde_json::from_str(text).ok()?;
    let size = document.defaults.to_string().len();
    if size.saturating_mul(policy.routes.len()) > DEFAULTS_LIMIT {
        let expected = format!(
            "bytes in each of {} routes; expected at most {DEFAULTS_LIMIT} bytes in all: name large lists in \
             \"address_sets\", or use the entry \"ip_filter\"",
            policy.routes.len()
        );
        problems.add("defaults", size.to_string(), expected);
        return None;
    }
    for (route, own) in policy.routes.iter_mut().zip(&document.routes) {
        let mut stages =
            Merge { route: route.id.as_str(), defaults: &document.defaults, problems: &mut *problems };
        stages.stage("ip_filter", &mut route.ip_filter, own.ip_filter, defaults.ip_filter.as_ref())?;
        stages.stage("rate_limit", &mut route.rate_limit, own.rate_limit, defaults.rate_limit.as_ref())?;
        stages.stage("canary", &mut route.canary, own.canary, defaults.canary.as_ref())?;
        stages.stage("cache", &mut route.cache, own.cache, defaults.cache.as_ref())?;
    }
    Some(())
}

struct Merge<'a> {
    route: &'a str,
    defaults: &'a Value,
    problems: &'a mut Problems,
}

impl Merge<'_> {
    fn stage<C: Clone + DeserializeOwned>(
        &mut self,
        name: &str,
        stage: &mut Option<C>,
        own: Option<&RawValue>,
        default: Option<&C>,
    ) -> Option<()> {
        let (default, own) = match (default, own) {
            (None, _) => return Some(()),
            (Some(default), None) => {
                *stage = Some(default.clone());
                return Some(());
            }
            (Some(_), Some(own)) => (self.defaults.get(name)?, own),
        };
        let mut whole = default.clone();
        merge(&mut whole, &serde_json::from_str(own.get()).ok()?);
        match strict::from_text(&whole.to_string()) {
            Ok(merged) => *stage = merged,
            // Both halves are well formed, so this is rare: they do not fit.
            Err(fault) => self.problems.add(
                join(&format!("routes[\"{}\"] with \"defaults\"", self.route), name),
                shown(&whole),
                format!("expected what fits together: {}", fault.message),
            ),
        }
        Some(())
    }
}
