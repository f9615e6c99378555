//! Which version of the module a document needs.

use edgeweir::policy::needs::{FIRST, InvalidVersion, NEEDS, Version, least_module};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::fake::check;
use crate::policy::{changed, whole};

#[test]
fn versions_are_read_and_written() {
    for (text, version) in [
        ("0.1.0", Version(0, 1, 0)),
        ("10.20.30", Version(10, 20, 30)),
        ("4294967295.0.0", Version(u32::MAX, 0, 0)),
    ] {
        assert_eq!(text.parse(), Ok(version));
        assert_eq!(version.to_string(), text);
    }
    for bad in [
        "",
        "1",
        "1.2",
        "1.2.",
        ".1.2",
        "1.2.3.4",
        "1.2.3-rc",
        "v1.2.3",
        "1.2.+3",
        "01.2.3",
        "1.2.4294967296",
        " 1.2.3",
        "1.2.3 ",
        "1.\u{661}.3",
    ] {
        assert_eq!(bad.parse::<Version>(), Err(InvalidVersion), "{bad}");
    }
    assert!(Version(0, 2, 0) < Version(0, 10, 0) && Version(1, 0, 0) > Version(0, 99, 99));
}

/// Everything that the first version reads.
fn first() -> Value {
    let mut document = whole();
    document.as_object_mut().unwrap().remove("admin");
    document.as_object_mut().unwrap().remove("bans");
    document["refresh"].as_object_mut().unwrap().remove("on_failure");
    document["refresh"]["source"] = json!("kv");
    let later = [
        "on_missing",
        "ipv6_prefix",
        "exempt_tags",
        "count_status",
        "count_misses_only",
        "cost",
        "cost_header",
        "max_debt",
        "penalty",
        "status",
        "x_ratelimit",
    ];
    for index in 0..3 {
        let cache = document.pointer_mut(&format!("/routes/{index}/cache"));
        if let Some(cache) = cache.and_then(Value::as_object_mut) {
            cache.retain(|name, _| ["mode", "tiers", "max_body"].contains(&name.as_str()));
        }
    }
    let routes = (0..3).map(|index| format!("/routes/{index}/rate_limit/rules"));
    for pointer in routes.chain(["/rate_limit/rules".to_owned()]) {
        for rule in document.pointer_mut(&pointer).unwrap().as_array_mut().unwrap() {
            later.iter().for_each(|name| drop(rule.as_object_mut().unwrap().remove(*name)));
        }
    }
    document
}

#[test]
fn what_was_there_from_the_first_needs_the_first() {
    assert_eq!(least_module(&first()), FIRST);
    assert_eq!(least_module(&json!({"version": 1})), FIRST);
}

#[test]
fn what_came_later_needs_a_later_module() {
    for (pointer, value) in [
        ("/$schema", json!("../www/policy.schema.json")),
        ("/admin", json!({"hosts": ["admin.example"]})),
        // An older module refuses the name itself.
        ("/admin", Value::Null),
        ("/refresh/source", json!("control")),
        ("/refresh/on_failure", json!("last_good")),
    ] {
        assert_eq!(least_module(&changed(first(), pointer, &value)), Version(0, 2, 0), "{pointer}");
    }
    for set in [json!({"stored": true}), json!({"feed": null})] {
        assert_eq!(least_module(&changed(first(), "/address_sets/office", &set)), Version(0, 3, 0), "{set}");
    }
    assert_eq!(least_module(&changed(first(), "/bans", &json!({}))), Version(0, 3, 0));
    // Only the value is new.
    assert_eq!(least_module(&changed(first(), "/refresh/source", &json!("kv"))), FIRST);
    // The same names elsewhere are somebody's own.
    let named =
        json!({"version": 1, "upstreams": {"admin": {"origin": "request"}}, "address_sets": {"control": {}}});
    assert_eq!(least_module(&named), FIRST);
}

#[test]
fn what_is_no_policy_needs_the_first() {
    for tree in
        [json!(null), json!([]), json!("admin"), json!({"refresh": ["source"]}), json!({"refresh": 1})]
    {
        assert_eq!(least_module(&tree), FIRST, "{tree}");
    }
}

#[test]
fn every_entry_says_something() {
    for (index, need) in NEEDS.iter().enumerate() {
        assert!(need.since > FIRST && !need.path.is_empty(), "{need:?}");
        assert!(!NEEDS[..index].iter().any(|other| (other.path, other.value) == (need.path, need.value)));
    }
}

/// Whatever is added to a document, it never needs less than before.
#[test]
fn a_document_with_more_in_it_never_needs_less() {
    let additions = vec![
        ("/$schema", json!("x")),
        ("/admin", json!({})),
        ("/refresh/on_failure", json!("closed")),
        ("/refresh/source", json!("control")),
        ("/refresh/interval", json!("1s")),
        ("/routes/0/priority", json!(1)),
    ];
    let length = additions.len();
    check(100, (prop::sample::subsequence(additions.clone(), 0..=length), 0..length), |(some, one)| {
        let document = some.iter().fold(whole(), |document, (at, value)| changed(document, at, value));
        let more = changed(document.clone(), additions[one].0, &additions[one].1);
        prop_assert!(least_module(&document) <= least_module(&more));
        Ok(())
    });
}
