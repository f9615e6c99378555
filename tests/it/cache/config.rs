//! `cache` in the policy.

use edgeweir::stages::cache::global::Global;
use serde_json::json;

use super::{compiled, stage};

#[test]
fn configuration() {
    let plain = stage(&json!({}));
    assert_eq!((plain.max_body, plain.heuristic.percent, plain.heuristic.limit), (1 << 20, 10, 86_400));
    assert_eq!((plain.bounds.if_error, plain.bounds.while_revalidate), (3_600, 86_400));
    assert_eq!(plain.targets, ["cdn-cache-control"]);
    assert!(plain.consumed.is_empty() && plain.selectors.is_empty() && plain.credential_cookies.is_none());
    assert!(!plain.allow_set_cookie && !plain.ignore_client_directives);
    assert_eq!(stage(&json!({"max_body": "1B"})).max_body, 1);
    assert_eq!(stage(&json!({"max_body": "25MiB", "tiers": ["location"]})).max_body, 25 << 20);
    assert!(compiled(&json!({"mode": "off"})).unwrap().is_none());
    let own = stage(&json!({"targets": ["Weir-Cache-Control", "CDN-Cache-Control"]}));
    assert_eq!((own.targets.len(), own.consumed), (2, vec!["weir-cache-control".parse().unwrap()]));
    assert!(stage(&json!({"targets": []})).targets.is_empty());
    let keyed = stage(&json!({"key": {"headers": ["X-B", "x-a", "X-A"], "cookies": ["sid"]}}));
    let selectors: Vec<String> = keyed.selectors.iter().map(ToString::to_string).collect();
    assert_eq!(selectors, ["x-a", "x-b", "cookie:sid"]);
}

/// Each tier has its own bound, and the largest is that of the stage where the
/// location, which has none, is not one of them.
#[test]
fn tiers_and_what_they_keep() {
    let kept = |more: serde_json::Value| {
        let stage = stage(&more);
        (stage.max_body >> 10, stage.memory.map(|size| size >> 10), stage.location, stage.global)
    };
    let global = |kib: u64, lifetime| Some(Global { max_body: kib << 10, lifetime });
    assert_eq!(kept(json!({})), (1_024, None, true, None));
    assert_eq!(kept(json!({"tiers": ["global"]})), (256, None, false, global(256, 300)));
    assert_eq!(
        kept(json!({"tiers": ["memory", "global"], "max_memory_body": "64KiB"})),
        (256, Some(64), false, global(256, 300))
    );
    let all = json!(["memory", "location", "global"]);
    assert_eq!(kept(json!({"tiers": all})), (1_024, Some(1_024), true, global(256, 300)));
    assert_eq!(
        kept(json!({"tiers": all, "max_body": "1KiB", "min_global_lifetime": "1m"})),
        (1, Some(1), true, global(1, 60))
    );
    assert_eq!(
        kept(
            json!({"tiers": ["location", "global"], "max_global_body": "1MiB", "min_global_lifetime": "30d"})
        ),
        (1_024, None, true, global(1_024, 2_592_000))
    );
}

#[test]
fn what_is_out_of_range_is_refused() {
    let many = |count: usize| (0..count).map(|index| format!("x-{index}")).collect::<Vec<_>>();
    for (cache, path) in [
        (json!({"mode": "shadow"}), "mode"),
        (json!({"tiers": []}), "tiers"),
        (json!({"tiers": ["location", "location"]}), "tiers"),
        (json!({"tiers": ["location", "memory"]}), "tiers"),
        (json!({"tiers": ["memory", "memory"]}), "tiers"),
        (json!({"tiers": ["global", "location"]}), "tiers"),
        (json!({"tiers": ["memory", "location", "global", "global"]}), "tiers"),
        (json!({"tiers": ["disk"]}), "tiers[0]"),
        (json!({"max_global_body": "0B"}), "max_global_body"),
        (json!({"max_global_body": "2MiB"}), "max_global_body"),
        (json!({"min_global_lifetime": "59s"}), "min_global_lifetime"),
        (json!({"min_global_lifetime": "31d"}), "min_global_lifetime"),
        (json!({"max_memory_body": "0B"}), "max_memory_body"),
        (json!({"max_memory_body": "5MiB"}), "max_memory_body"),
        (json!({"max_body": "0B"}), "max_body"),
        (json!({"max_body": "26MiB"}), "max_body"),
        (json!({"max_body": 5}), "max_body"),
        (json!({"ttl": "5s"}), "ttl"),
        (json!({"heuristic": {"percent": 101}}), "heuristic.percent"),
        (json!({"heuristic": {"limit": "0s"}}), "heuristic.limit"),
        (json!({"heuristic": {"limit": "31d"}}), "heuristic.limit"),
        (json!({"stale_if_error": "31d"}), "stale_if_error"),
        (json!({"stale_while_revalidate": "31d"}), "stale_while_revalidate"),
        (json!({"targets": many(5)}), "targets"),
        (json!({"targets": ["a b"]}), "targets[0]"),
        (json!({"vary": {"ignore": many(17)}}), "vary.ignore"),
        (json!({"vary": {"ignore": ["Cookie"]}}), "vary.ignore[0]"),
        (json!({"key": {"headers": many(9)}}), "key.headers"),
        (json!({"key": {"headers": ["X-Forwarded-For"]}}), "key.headers[0]"),
        (json!({"key": {"headers": ["x-a"]}, "vary": {"ignore": ["X-A"]}}), "key.headers[0]"),
        (json!({"key": {"cookies": many(9)}}), "key.cookies"),
        (json!({"key": {"query": {"include": many(65)}}}), "key.query.include"),
        (json!({"key": {"query": {"exclude": many(65)}}}), "key.query.exclude"),
        (json!({"key": {"query": {"exclude": [""]}}}), "key.query.exclude[0]"),
        (json!({"key": {"query": {"preset": "all"}}}), "key.query.preset"),
        (json!({"credentials": {"headers": many(9)}}), "credentials.headers"),
        (json!({"credentials": {"cookies": many(33)}}), "credentials.cookies"),
    ] {
        let expected = format!("routes[0].cache.{path}");
        // A tier that is cut out leaves an empty list behind: no news.
        let found = compiled(&cache).unwrap_err();
        assert_eq!(found.first(), Some(&expected), "{cache}");
    }
}
