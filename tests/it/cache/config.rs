//! `cache` in the policy.

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

#[test]
fn what_is_out_of_range_is_refused() {
    let many = |count: usize| (0..count).map(|index| format!("x-{index}")).collect::<Vec<_>>();
    for (cache, path) in [
        (json!({"mode": "shadow"}), "mode"),
        (json!({"tiers": []}), "tiers"),
        (json!({"tiers": ["location", "location"]}), "tiers"),
        (json!({"tiers": ["location", "memory"]}), "tiers"),
        (json!({"tiers": ["memory", "memory"]}), "tiers"),
        (json!({"tiers": ["global"]}), "tiers[0]"),
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
