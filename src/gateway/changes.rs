//! What a change of a resource does to stored answers.

use http::header::{CONTENT_LOCATION, LOCATION};

use super::Journey;
use crate::exchange::Head;
use crate::platform::Platform;
use crate::stages::cache::global;
use crate::stages::cache::invalidation;
use crate::stages::cache::key;
use crate::stages::cache::plan::is_unsafe;
use crate::stages::target::{Target, parse};

impl<P: Platform> Journey<'_, P> {
    /// A change of a resource makes stored answers for it void (RFC 9111,
    /// 4.4), whichever route and variant they came by.
    pub(super) fn note_change(&self, response: &P::Response, target: &Target<'_>) {
        let status = self.platform.status(response);
        if !self.gateway.has_cache || !is_unsafe(self.head.method()) || !invalidation::is_change(status) {
            return;
        }
        let (mut keys, mut names) = (Vec::new(), Vec::new());
        self.void(target, &mut keys, &mut names);
        for name in [LOCATION, CONTENT_LOCATION] {
            let related = self
                .platform
                .field(response, &name)
                .and_then(|reference| invalidation::related(target, &reference));
            if let Some(target) = related.as_deref().and_then(|url| parse(url, None).ok()) {
                self.void(&target, &mut keys, &mut names);
            }
        }
        for list in [&mut keys, &mut names] {
            list.sort_unstable();
            list.dedup();
        }
        if !keys.is_empty() {
            self.isolate.remove_all(self.platform, keys, names);
        }
    }

    /// The keys of what is stored for a target, and the names of what all
    /// locations keep of it.
    fn void(&self, target: &Target<'_>, keys: &mut Vec<String>, names: &mut Vec<String>) {
        let authority = target.authority();
        for index in self.gateway.router.readers(target) {
            let Some(route) = self.gateway.routes.get(index) else { continue };
            let Some(stage) = &route.cache else { continue };
            let as_stored = stage.as_stored(target.as_sent);
            let is_global = self.isolate.global(stage).is_some();
            for scheme in ["http", "https"] {
                let mut push = |upstream, variant| {
                    let key = self.key(route, upstream, variant, scheme, &authority, &as_stored);
                    names.extend(if is_global { global::name(&key) } else { None });
                    keys.push(key::part(&key));
                    keys.push(key);
                };
                push(route.upstream, None);
                for variant in route.canary.iter().flat_map(|canary| &canary.variants) {
                    push(variant.upstream, Some(&variant.name));
                }
            }
        }
    }
}
