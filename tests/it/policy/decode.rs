//! All problems at once, each with its own place and value.

use edgeweir::policy::decode::{Problems, join, merge, parse, shown};
use edgeweir::policy::{MAX_PROBLEMS, compile};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{changed, paths, problems, whole};
use crate::fake::check;

/// What is wrong by its form alone: a place, a bad value, the path that names
/// it. No two of them lie in one object that would go as a whole.
fn malformed() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        ("/refresh/interval", json!("1w"), "refresh.interval"),
        ("/identity/ipv6_prefix", json!("x"), "identity.ipv6_prefix"),
        (
            "/identity/client_address/trusted_hops/0",
            json!("10.0.0.1/8"),
            "identity.client_address.trusted_hops[0]",
        ),
        (
            "/identity/client_address/trusted_hops/1",
            json!(["fd00::"]),
            "identity.client_address.trusted_hops[1]",
        ),
        (
            "/identity/client_address/on_missing/address",
            json!("nobody"),
            "identity.client_address.on_missing.address",
        ),
        ("/observe/log/client_address", json!("all"), "observe.log.client_address"),
        ("/observe/sinks", json!([]), "observe.sinks"),
        ("/upstreams/b/timeouts/first_byte", json!(5), "upstreams.b.timeouts.first_byte"),
        ("/address_sets/office/prefixes/0", json!("nope"), "address_sets.office.prefixes[0]"),
        ("/address_sets/office/prefixes/1", json!("1.2.3.4/33"), "address_sets.office.prefixes[1]"),
        ("/ip_filter/rules/1/action", json!("block"), "ip_filter.rules[1].action"),
        ("/ip_filter/rules/2/mode", json!("on"), "ip_filter.rules[2].mode"),
        ("/rate_limit/rules/0/window", json!("15 min"), "rate_limit.rules[0].window"),
        ("/rate_limit/rules/2/counting", json!("shared"), "rate_limit.rules[2].counting"),
        ("/defaults/cache/max_body", json!("1MB"), "defaults.cache.max_body"),
        ("/routes/0/priority", json!(1.5), "routes[0].priority"),
        ("/routes/0/match/allow_encoded/1", json!("%2e"), "routes[0].match.allow_encoded[1]"),
        ("/routes/1/rate_limit/rules/0/max", json!(-1), "routes[1].rate_limit.rules[0].max"),
        ("/routes/1/rate_limit/rules/1/key/0", json!("ip"), "routes[1].rate_limit.rules[1].key[0]"),
        (
            "/routes/1/rate_limit/rules/2/key/1/header",
            json!("a b"),
            "routes[1].rate_limit.rules[2].key[1].header",
        ),
        ("/routes/1/nope", json!({"deep": [1]}), "routes[1].nope"),
        ("/routes/2/ip_filter/rules/0/prefixes/1", json!(7), "routes[2].ip_filter.rules[0].prefixes[1]"),
        ("/routes/2/cache/tiers/0", json!("disk"), "routes[2].cache.tiers[0]"),
        ("/routes/2/match/hosts/1", json!(7), "routes[2].match.hosts[1]"),
    ]
}

/// What is well formed and still wrong.
fn meaningless() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        ("/identity/cdn_id", json!("a b"), "identity.cdn_id"),
        ("/identity/client_address/header", json!("forwarded"), "identity.client_address.header"),
        ("/upstreams/a/origin", json!("ftp://x"), "upstreams.a.origin"),
        ("/ip_filter/rules/0/address_sets/1", json!("nowhere"), "ip_filter.rules[0].address_sets[1]"),
        ("/rate_limit/rules/1/max", json!(0), "rate_limit.rules[1].max"),
        ("/routes/0/match/path", json!("x"), "routes[0].match.path"),
        ("/routes/1/upstream", json!("nowhere"), "routes[1].upstream"),
        ("/routes/1/match/hosts/1", json!("a b"), "routes[1].match.hosts[1]"),
        ("/routes/2/match/methods/1", json!("get"), "routes[2].match.methods[1]"),
        ("/routes/2/canary/sticky/cookie", json!("a b"), "routes[2].canary.sticky.cookie"),
        ("/routes/2/canary/variants/2/upstream", json!("nowhere"), "routes[2].canary.variants[2].upstream"),
        ("/routes/2/rate_limit/rules/2/window", json!("1ms"), "routes[2].rate_limit.rules[2].window"),
    ]
}

type Plant = (&'static str, Value, &'static str);

/// Plants some, and gives what is reported.
fn plant(plants: &[Plant]) -> (Vec<String>, Vec<String>) {
    let document =
        plants.iter().fold(whole(), |document, (pointer, value, _)| changed(document, pointer, value));
    let mut expected: Vec<String> = plants.iter().map(|(_, _, path)| (*path).to_owned()).collect();
    let mut found = paths(&document);
    expected.sort();
    found.sort();
    (found, expected)
}

#[test]
fn every_malformed_value_is_reported_once_at_its_place() {
    let some = prop::sample::subsequence(malformed(), 1..=24);
    check(120, some, |plants| {
        let document =
            plants.iter().fold(whole(), |document, (pointer, value, _)| changed(document, pointer, value));
        let found = problems(&document);
        for (_, value, path) in &plants {
            let here: Vec<_> = found.iter().filter(|problem| problem.path == *path).collect();
            prop_assert_eq!(here.len(), 1, "{}: {:?}", path, found);
            // What stands there, as JSON.
            prop_assert_eq!(&here[0].value, &value.to_string());
            prop_assert!(here[0].expected.contains("expected "), "{:?}", here);
        }
        Ok(())
    });
}

/// What is cut out to look further must not look like another mistake.
#[test]
fn nothing_is_reported_beside_malformed_values() {
    check(100, prop::sample::subsequence(malformed(), 1..=24), |plants| {
        let (found, expected) = plant(&plants);
        prop_assert_eq!(found, expected);
        Ok(())
    });
}

#[test]
fn every_meaningless_value_is_reported_once_at_its_place() {
    check(150, prop::sample::subsequence(meaningless(), 1..=12), |plants| {
        let (found, expected) = plant(&plants);
        prop_assert_eq!(found, expected);
        Ok(())
    });
}

/// Places keep the index that they have in the document, whatever else is
/// wrong in front of them.
#[test]
fn both_kinds_together_are_reported_at_their_places() {
    let some =
        (prop::sample::subsequence(malformed(), 1..=6), prop::sample::subsequence(meaningless(), 1..=6));
    check(100, some, |(malformed, meaningless)| {
        // Not where one stands inside what the other spoils.
        let spoiled = |path: &str| malformed.iter().any(|(_, _, bad)| path.starts_with(*bad));
        prop_assume!(!meaningless.iter().any(|(_, _, path)| spoiled(path)));
        let (found, expected) = plant(&[malformed, meaningless].concat());
        for path in &expected {
            prop_assert_eq!(found.iter().filter(|place| *place == path).count(), 1, "{}: {:?}", path, found);
        }
        Ok(())
    });
}

/// One mistake is one problem: what refers to the thing that was cut out, or
/// is counted together with it, is no news.
#[test]
fn a_mistake_is_reported_once_not_again_where_it_is_used() {
    for (pointer, value, path) in [
        ("/upstreams/a/origin", json!(7), "upstreams.a.origin"),
        ("/upstreams/b/timeouts", json!("fast"), "upstreams.b.timeouts"),
        ("/address_sets/home/prefixes", json!("::/0"), "address_sets.home.prefixes"),
        ("/routes/1/canary/variants/0/weight", json!("5%"), "routes[1].canary.variants[0].weight"),
        ("/routes/1/cache/tiers/0", json!("disk"), "routes[1].cache.tiers[0]"),
        ("/routes/1/match/path", json!(7), "routes[1].match.path"),
        (
            "/routes/1/rate_limit/rules/0/key/1/header",
            json!("a b"),
            "routes[1].rate_limit.rules[0].key[1].header",
        ),
        (
            "/identity/client_address/on_missing/address",
            json!("x"),
            "identity.client_address.on_missing.address",
        ),
        ("/routes/1/rate_limit/rules/0/key/0", json!("ip"), "routes[1].rate_limit.rules[0].key[0]"),
    ] {
        assert_eq!(paths(&changed(whole(), pointer, &value)), [path]);
    }
}

#[test]
fn duplicate_names_are_problems() {
    let text = r#"{"version":1,"refresh":{"interval":"1s","interval":"2s"},"routes":[{"id":"a","match":{"path":"/","path":"/b"},"upstream":"u"}],"version":1,"upstreams":{"u":{"origin":"http://u"},"u":{"origin":"http://v"}}}"#;
    let mut found: Vec<String> =
        compile(text).unwrap_err().problems.into_iter().map(|problem| problem.path).collect();
    found.sort();
    assert_eq!(found, ["refresh.interval", "routes[0].match.path", "upstreams.u", "version"]);
}

#[test]
fn no_more_problems_than_the_limit() {
    let routes: Vec<Value> = (0..500).map(|index| json!({"id": index, "nope": 1})).collect();
    assert_eq!(problems(&json!({"version": 1, "routes": routes})).len(), MAX_PROBLEMS);
    let routes: Vec<Value> =
        (0..500).map(|index| json!({"id": format!("r{index}"), "upstream": "u"})).collect();
    assert_eq!(problems(&json!({"version": 1, "routes": routes})).len(), MAX_PROBLEMS);
    let twice = "\"a\":1,".repeat(500);
    assert!(compile(&format!("{{{twice}\"version\":1}}")).unwrap_err().problems.len() <= MAX_PROBLEMS);
}

#[test]
fn long_values_are_shortened() {
    let long = "가".repeat(1_000);
    let found = problems(&changed(whole(), "/refresh/interval", &json!(long)));
    assert_eq!(found.len(), 1);
    assert!(found[0].value.len() <= 110 && found[0].value.ends_with('…'), "{}", found[0].value);
    let key = "k".repeat(5_000);
    let found = problems(&changed(whole(), &format!("/{key} "), &json!(1)));
    assert!(found[0].path.len() < 200, "{}", found[0].path);
}

#[test]
fn shown_values_are_json() {
    assert_eq!(shown(&json!({"a": [1, null, "x\n"]})), r#"{"a":[1,null,"x\n"]}"#);
}

#[test]
fn paths_join() {
    for (path, key, joined) in [
        ("", "a", "a"),
        ("a", "b-c_9", "a.b-c_9"),
        ("a[0]", "b", "a[0].b"),
        ("a", "", "a[\"\"]"),
        ("", "b c", "[\"b c\"]"),
        ("a", "\"", "a[\"\\\"\"]"),
        ("a", "é", "a[\"é\"]"),
    ] {
        assert_eq!(join(path, key), joined);
    }
}

pub fn trees() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i32>().prop_map(|quarters| Value::from(f64::from(quarters) / 4.0)),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(
                prop_oneof![Just("version".to_owned()), Just("routes".to_owned()), "[a-c]{1,2}"],
                inner,
                0..5
            )
            .prop_map(|object| Value::Object(object.into_iter().collect())),
        ]
    })
}

#[test]
fn a_tree_is_read_as_serde_reads_it() {
    check(500, trees(), |tree| {
        let mut problems = Problems::default();
        prop_assert_eq!(parse(&tree.to_string(), &mut problems), Some(tree));
        prop_assert!(problems.is_empty());
        Ok(())
    });
}

#[test]
fn merging_lets_the_second_win_deeply() {
    check(500, (trees(), trees()), |(base, over)| {
        fn expected(base: &Value, over: &Value) -> Value {
            let (Value::Object(base), Value::Object(over)) = (base, over) else {
                return over.clone();
            };
            let mut merged = base.clone();
            for (key, value) in over {
                let value = base.get(key).map_or_else(|| value.clone(), |old| expected(old, value));
                merged.insert(key.clone(), value);
            }
            Value::Object(merged)
        }
        let mut merged = base.clone();
        merge(&mut merged, &over);
        prop_assert_eq!(merged, expected(&base, &over));
        Ok(())
    });
}

/// Whatever stands anywhere in a document, the answer is a gateway or a list
/// of problems.
#[test]
fn no_document_panics() {
    check(500, trees(), |tree| {
        let _ = compile(&tree.to_string());
        Ok(())
    });
    check(500, any::<String>(), |text| {
        prop_assert!(compile(&text).is_err());
        Ok(())
    });
    let pointers: Vec<&str> =
        malformed().iter().chain(&meaningless()).map(|(pointer, ..)| *pointer).collect();
    check(150, prop::collection::vec((prop::sample::select(pointers), trees()), 1..5), |changes| {
        let mut document = whole();
        for (pointer, value) in changes {
            let parent = pointer.rsplit_once('/').unwrap().0;
            if document.pointer(parent).is_some_and(Value::is_object) || document.pointer(pointer).is_some() {
                document = changed(document, pointer, &value);
            }
        }
        if let Err(error) = compile(&document.to_string()) {
            prop_assert!((1..=MAX_PROBLEMS).contains(&error.problems.len()));
        }
        Ok(())
    });
}
