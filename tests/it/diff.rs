//! What differs between two documents.

use edgeweir::exchange::RequestMetadata;
use edgeweir::policy::compile;
use edgeweir::policy::diff::{Change, Kind, MAX_CHANGES, MAX_MEMBERS, diff};
use edgeweir::stages::ip_filter::prefix::Prefix;
use edgeweir::stages::ip_filter::{Sets, Subject};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::fake::check;
use crate::policy::decode::trees;
use crate::policy::{changed, whole};

fn lines(before: &Value, after: &Value) -> Vec<String> {
    diff(before, after).iter().map(Change::line).collect()
}

fn without(mut document: Value, pointer: &str) -> Value {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    match document.pointer_mut(parent).unwrap() {
        Value::Object(object) => drop(object.remove(key).unwrap()),
        Value::Array(array) => drop(array.remove(key.parse().unwrap())),
        other => panic!("{other}"),
    }
    document
}

fn reversed(mut document: Value, pointer: &str) -> Value {
    document.pointer_mut(pointer).unwrap().as_array_mut().unwrap().reverse();
    document
}

#[test]
fn a_value_that_changed_is_named_by_ids() {
    for (pointer, value, line) in [
        ("/version", json!(2), "changed version: 1 -> 2"),
        ("/refresh/interval", json!("20s"), r#"changed refresh.interval: "30s" -> "20s""#),
        ("/identity/ipv6_prefix", json!(64), "changed identity.ipv6_prefix: 56 -> 64"),
        (
            "/identity/client_address/on_missing",
            json!("reject"),
            r#"changed identity.client_address.on_missing: {"address":"127.0.0.1"} -> "reject""#,
        ),
        (
            "/upstreams/b/origin",
            json!("http://b.example"),
            r#"changed upstreams.b.origin: "request" -> "http://b.example""#,
        ),
        (
            "/ip_filter/rules/1/action",
            json!("allow"),
            r#"changed ip_filter.rules["b"].action: "deny" -> "allow""#,
        ),
        (
            "/routes/1/rate_limit/rules/2/max",
            json!(7),
            r#"changed routes["two"].rate_limit.rules["c"].max: 100 -> 7"#,
        ),
        (
            "/routes/1/rate_limit/rules/2/key",
            json!([{"header": "X-Key"}, "client"]),
            r#"changed routes["two"].rate_limit.rules["c"].key: ["client",{"header":"X-Key"}] -> [{"header":"X-Key"},"client"]"#,
        ),
        (
            "/routes/0/canary/variants/1/weight",
            json!(31),
            r#"changed routes["one"].canary.variants["two"].weight: 30 -> 31"#,
        ),
        (
            "/routes/0/match/headers/X-Beta",
            json!("2"),
            r#"changed routes["one"].match.headers.x-beta: "1" -> "2""#,
        ),
        (
            "/routes/0/match/path",
            json!("/other"),
            r#"changed routes["one"].match.path: "/one/*" -> "/other""#,
        ),
        ("/nope", json!([1]), "added nope: [1]"),
        ("/routes/0/a b", json!(1), r#"added routes["one"]["a b"]: 1"#),
        ("/routes", json!(7), "changed routes: [{"),
    ] {
        let found = lines(&whole(), &changed(whole(), pointer, &value));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0] == line || (line.ends_with('{') && found[0].starts_with(line)), "{found:?}");
    }
}

#[test]
fn what_came_and_what_went_is_named_whatever_its_position() {
    for (pointer, path) in [
        ("/refresh", "refresh"),
        ("/upstreams/b", "upstreams.b"),
        ("/address_sets/home", "address_sets.home"),
        ("/routes/0", r#"routes["one"]"#),
        ("/routes/1/rate_limit", r#"routes["two"].rate_limit"#),
        ("/routes/1/rate_limit/rules/0", r#"routes["two"].rate_limit.rules["a"]"#),
        ("/ip_filter/rules/0", r#"ip_filter.rules["a"]"#),
        ("/routes/2/canary/variants/0", r#"routes["three"].canary.variants["one"]"#),
    ] {
        let less = without(whole(), pointer);
        let [gone] = &diff(&whole(), &less)[..] else { panic!("{pointer}") };
        assert_eq!((gone.kind, gone.path.as_str(), gone.after.as_deref()), (Kind::Removed, path, None));
        let [new] = &diff(&less, &whole())[..] else { panic!("{pointer}") };
        assert_eq!((new.kind, new.path.as_str(), new.before.as_deref()), (Kind::Added, path, None));
        assert_eq!(gone.before, new.after);
    }
}

#[test]
fn rule_2_order_is_a_change_where_it_means_something() {
    for pointer in [
        "/routes",
        "/routes/0/canary/variants",
        "/routes/0/match/hosts",
        "/routes/0/match/methods",
        "/routes/0/match/allow_encoded",
        "/identity/client_address/trusted_hops",
        "/address_sets/office/prefixes",
        "/ip_filter/rules/0/prefixes",
        "/ip_filter/rules/0/address_sets",
    ] {
        assert_eq!(lines(&whole(), &reversed(whole(), pointer)), [""; 0], "{pointer}");
    }
    assert_eq!(
        lines(&whole(), &reversed(whole(), "/ip_filter/rules")),
        [r#"reordered ip_filter.rules: ["a","b","c"] -> ["c","b","a"]"#]
    );
    // What moved because another one left has not moved.
    let document = without(reversed(whole(), "/routes/0/rate_limit/rules"), "/routes/0/rate_limit/rules/0");
    let found = diff(&whole(), &document);
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(found[0].path, r#"routes["one"].rate_limit.rules["c"]"#);
    assert_eq!(
        found[1].line(),
        r#"reordered routes["one"].rate_limit.rules: ["a","b"] -> ["b","a"]"#,
        "{found:?}"
    );
    let document = without(whole(), "/routes/0/rate_limit/rules/0");
    assert_eq!(diff(&whole(), &document).len(), 1);
}

#[test]
fn rule_2_sets_say_what_they_gained_and_lost() {
    let document =
        changed(whole(), "/address_sets/office/prefixes", &json!(["192.0.2.1/32", "10.0.0.0/8", "::/0"]));
    let found = diff(&whole(), &document);
    assert_eq!(
        found.iter().map(Change::line).collect::<Vec<_>>(),
        ["changed address_sets.office.prefixes: +10.0.0.0/8, +::/0, -198.51.100.0/24"]
    );
    assert_eq!(
        serde_json::to_value(&found).unwrap(),
        json!([{"kind": "changed", "path": "address_sets.office.prefixes", "members":
            {"added": ["10.0.0.0/8", "::/0"], "more_added": 0, "removed": ["198.51.100.0/24"], "more_removed": 0}}])
    );
    let many: Vec<String> = (0..100).map(|index| format!("10.0.{index}.0/24")).collect();
    let [change] = &diff(&whole(), &changed(whole(), "/address_sets/office/prefixes", &json!(many)))[..]
    else {
        panic!()
    };
    let members = change.members.as_ref().unwrap();
    assert_eq!((members.added.len(), members.more_added), (MAX_MEMBERS, 100 - MAX_MEMBERS));
    assert_eq!((members.removed.len(), members.more_removed), (2, 0));
    assert!(change.line().ends_with("+80 more, -192.0.2.1, -198.51.100.0/24"), "{}", change.line());
}

/// A different spelling, and whether it means the same.
fn spellings() -> Vec<(&'static str, Value)> {
    vec![
        ("/refresh/interval", json!("30000ms")),
        ("/refresh/max_stale", json!("300s")),
        ("/identity/client_address/header", json!("cf-connecting-ip")),
        ("/identity/client_address/trusted_hops", json!(["10.0.0.0/8", "fd00:0::/8"])),
        ("/identity/client_address/on_missing/address", json!("::ffff:127.0.0.1")),
        ("/identity/request_id/header", json!("X-REQUEST-ID")),
        ("/upstreams/a/origin", json!("http://A.example./")),
        ("/upstreams/a/timeouts/first_byte", json!("5000ms")),
        ("/address_sets/office/prefixes", json!(["192.0.2.1/32", "198.51.100.0/24"])),
        ("/address_sets/office/prefixes", json!(["198.51.100.0/24", "192.0.2.1", "::ffff:198.51.100.0/120"])),
        (
            "/address_sets/office/prefixes",
            json!(["198.51.100.0/24", "64:ff9b::192.0.2.1", "2002:c000:201::/48"]),
        ),
        ("/defaults/cache/max_body", json!("65536B")),
        ("/routes/0/match/hosts", json!(["API.example.", "*.EXAMPLE.org"])),
        ("/routes/0/match/path", json!("//%6fne/*")),
        ("/routes/1/match/path", json!("/two/{name}/")),
        ("/routes/0/match/headers", json!({"x-beta": "1"})),
        ("/routes/0/rate_limit/rules/0/window", json!("900s")),
        ("/routes/0/canary/sticky/max_age", json!("24h")),
        ("/routes/0/canary/variants/0/weight", json!(50.0)),
        ("/routes/0/cache/max_body", json!("1024KiB")),
    ]
}

/// What was compiled, without the order of routes and of prefixes, which
/// means nothing.
fn compiled(document: &Value) -> Vec<String> {
    let gateway = compile(&document.to_string()).unwrap();
    let mut routes: Vec<String> = gateway
        .routes
        .iter()
        .enumerate()
        .map(|(index, route)| {
            let filter = route.ip_filter.as_ref().map(|filter| {
                ["203.0.113.9", "198.51.100.9", "192.0.2.1", "2001:db8::1", "2001:db8:1::1", "10.1.1.1"].map(
                    |address| {
                        let address: std::net::IpAddr = address.parse().unwrap();
                        let network = Prefix::host(address);
                        let metadata = RequestMetadata::default();
                        let subject = Subject { address, network, metadata, tags: &[] };
                        format!("{:?}", filter.decide_with_shadow(&subject, &Sets::new(&gateway.sets, None)))
                    },
                )
            });
            format!(
                "{:?} {filter:?} {:?} {:?} {:?} {:?} {:?}",
                route.id,
                route.upstream,
                route.rate_limit,
                route.canary,
                route.cache,
                gateway.router.matcher(index)
            )
        })
        .collect();
    routes.sort();
    routes.push(format!("{:?} {:?} {:?}", gateway.identity, gateway.upstreams, gateway.entry_rate_limit));
    routes.push(format!("{:?} {:?}", gateway.refresh_interval, gateway.max_stale));
    routes
}

#[test]
fn rule_3_what_means_the_same_is_marked_and_compiles_to_the_same() {
    for (pointer, value) in spellings() {
        let document = changed(whole(), pointer, &value);
        let found = diff(&whole(), &document);
        assert!(!found.is_empty() && found.iter().all(|change| change.equivalent), "{pointer}: {found:?}");
        assert!(found.iter().all(|change| change.line().contains("(means the same)")));
        assert_eq!(serde_json::to_value(&found).unwrap()[0]["equivalent"], json!(true));
        assert_eq!(compiled(&whole()), compiled(&document), "{pointer}");
    }
    // A field that is called like a duration and is none.
    let document = changed(whole(), "/routes/0/match/headers", &json!({"window": "60s"}));
    let other = changed(whole(), "/routes/0/match/headers", &json!({"window": "1m"}));
    assert!(!diff(&document, &other)[0].equivalent);
    // What is no duration is not equivalent to anything.
    for (one, other) in [(json!("1"), json!("01")), (json!(60), json!(60.0)), (json!(null), json!("1s"))] {
        let (one, other) =
            (changed(whole(), "/refresh/interval", &one), changed(whole(), "/refresh/interval", &other));
        assert!(!diff(&one, &other)[0].equivalent);
    }
    let (one, other) = (
        changed(whole(), "/routes/0/match/methods", &json!(["5"])),
        changed(whole(), "/routes/0/match/methods", &json!([5])),
    );
    assert!(!diff(&one, &other)[0].equivalent);
}

#[test]
fn rule_4_a_change_of_defaults_is_reported_where_it_acts() {
    let before = json!({"defaults": {"cache": {"max_body": "1MiB"}}, "routes": [
        {"id": "plain", "upstream": "u"},
        {"id": "own", "upstream": "u", "cache": {"max_body": "2MiB"}},
        {"id": "part", "upstream": "u", "cache": {"mode": "off"}},
        {"id": "gone", "upstream": "u"},
        {"id": "moves", "upstream": "u"},
    ]});
    let mut after = changed(before.clone(), "/defaults/cache/max_body", &json!("3MiB"));
    after["routes"][4]["cache"] = json!({"max_body": "4MiB"});
    after["routes"].as_array_mut().unwrap().remove(3);
    assert_eq!(
        lines(&before, &after),
        [
            r#"changed defaults.cache.max_body: "1MiB" -> "3MiB""#,
            r#"removed routes["gone"]: {"id":"gone","upstream":"u"}"#,
            r#"added routes["moves"].cache: {"max_body":"4MiB"}"#,
            r#"changed routes["plain"].cache.max_body: "1MiB" -> "3MiB" (by "defaults")"#,
            r#"changed routes["part"].cache.max_body: "1MiB" -> "3MiB" (by "defaults")"#,
        ]
    );
    assert_eq!(
        serde_json::to_value(diff(&before, &after)).unwrap()[3],
        json!({"kind": "changed", "path": "routes[\"plain\"].cache.max_body", "before": "\"1MiB\"",
               "after": "\"3MiB\"", "by_defaults": true})
    );
    // Defaults that come or go come or go in each route.
    assert_eq!(
        lines(&json!({"routes": before["routes"]}), &before),
        [
            r#"added defaults: {"cache":{"max_body":"1MiB"}}"#,
            r#"added routes["plain"].cache: {"max_body":"1MiB"} (by "defaults")"#,
            r#"added routes["part"].cache.max_body: "1MiB" (by "defaults")"#,
            r#"added routes["gone"].cache: {"max_body":"1MiB"} (by "defaults")"#,
            r#"added routes["moves"].cache: {"max_body":"1MiB"} (by "defaults")"#,
        ]
    );
}

#[test]
fn rule_5_lists_without_ids_are_compared_by_position() {
    let routes = |list: Value| json!({"routes": list});
    for (before, after, expected) in [
        (
            json!([{"id": "a"}, {"id": "a", "x": 1}]),
            json!([{"id": "a"}, {"id": "a", "x": 2}]),
            "changed routes[1].x: 1 -> 2",
        ),
        (json!([{"id": 1}]), json!([{"id": 2}]), "changed routes[0].id: 1 -> 2"),
        (json!([{}]), json!([]), "removed routes[0]: {}"),
        (json!([7]), json!([7, null]), "added routes[1]: null"),
        (json!([]), json!({}), "changed routes: [] -> {}"),
    ] {
        assert_eq!(lines(&routes(before), &routes(after)), [expected]);
    }
    assert_eq!(lines(&json!(1), &json!([])), ["changed (document): 1 -> []"]);
}

#[test]
fn rule_6_the_list_is_bounded() {
    let routes = |max: u32| -> Value {
        let rules: Vec<Value> = (0..10).map(|rule| json!({"id": format!("l{rule}"), "max": max})).collect();
        (0..200).map(|id| json!({"id": format!("r{id}"), "rate_limit": {"rules": rules}})).collect()
    };
    let found = diff(&json!({"routes": routes(1)}), &json!({"routes": routes(2)}));
    assert_eq!(found.len(), MAX_CHANGES + 1);
    let last = &found[MAX_CHANGES];
    assert_eq!((last.kind, last.count), (Kind::More, Some(2_000 - MAX_CHANGES)));
    assert_eq!(last.line(), "and 1500 more");
    assert_eq!(serde_json::to_value(last).unwrap(), json!({"kind": "more", "path": "", "count": 1_500}));

    let long = "x".repeat(100_000);
    let found = diff(&json!({"routes": [{"id": long}]}), &json!({(long.clone()): long.clone()}));
    let text = serde_json::to_string(&found).unwrap();
    assert!(found.len() == 2 && text.len() < 1_000, "{text}");
}

/// Defaults that no document may have are not merged into every route.
#[test]
fn rule_6_defaults_that_are_too_large_cost_nothing() {
    let document = |size: usize| {
        let routes: Vec<Value> = (0..5_000).map(|id| json!({"id": id.to_string()})).collect();
        json!({"defaults": {"cache": {"max_body": "x".repeat(size)}}, "routes": routes})
    };
    assert_eq!(diff(&document(500_000), &document(500_001)).len(), 1);
    assert_eq!(diff(&document(5), &document(6)).len(), MAX_CHANGES + 1);
}

#[test]
fn equal_documents_give_nothing_and_nothing_panics() {
    check(300, (trees(), trees()), |(one, other)| {
        prop_assert_eq!(diff(&one, &one), []);
        let found = diff(&one, &other);
        prop_assert!(found.len() <= MAX_CHANGES + 1);
        prop_assert_eq!(found.is_empty(), one == other, "{:?}", found);
        prop_assert!(found.iter().all(|change| change.line().starts_with(change.kind.as_str())));
        prop_assert!(serde_json::to_string(&found).is_ok());
        Ok(())
    });
}

/// Places where anything may be planted.
const PLACES: [&str; 16] = [
    "/refresh",
    "/identity/client_address/trusted_hops",
    "/upstreams/a",
    "/address_sets/office/prefixes",
    "/ip_filter/rules",
    "/ip_filter/rules/1",
    "/defaults",
    "/defaults/cache",
    "/routes",
    "/routes/1",
    "/routes/1/id",
    "/routes/1/match/headers",
    "/routes/1/match/methods",
    "/routes/1/rate_limit/rules/0/window",
    "/routes/1/canary/variants",
    "/routes/1/canary/variants/0/weight",
];

#[test]
fn the_way_back_is_the_way_there_turned_round() {
    let edits = || prop::collection::vec((prop::sample::select(PLACES.to_vec()), trees()), 0..4);
    check(300, (edits(), edits()), |(one, other)| {
        let make = |edits: Vec<(&str, Value)>| {
            edits.into_iter().fold(whole(), |document, (pointer, value)| {
                let parent = pointer.rsplit_once('/').unwrap().0;
                let there = document.pointer(parent).is_some_and(Value::is_object);
                if there { changed(document, pointer, &value) } else { document }
            })
        };
        let (one, other) = (make(one), make(other));
        prop_assert_eq!(diff(&one, &one), []);
        let turn = |change: Change| {
            let (kind, path) = (change.kind, change.path);
            let kind = match kind {
                Kind::Added => "removed",
                Kind::Removed => "added",
                _ => kind.as_str(),
            };
            (path, kind, change.after, change.before, change.equivalent, change.by_defaults)
        };
        let mut there: Vec<_> = diff(&one, &other).into_iter().map(turn).collect();
        let mut back: Vec<_> = diff(&other, &one)
            .into_iter()
            .map(|change| {
                let kind = change.kind.as_str();
                (change.path, kind, change.before, change.after, change.equivalent, change.by_defaults)
            })
            .collect();
        there.sort();
        back.sort();
        prop_assert_eq!(there, back);
        Ok(())
    });
}

/// No difference, or only such as mean the same: the same gateway. Any other:
/// the place is named.
#[test]
fn what_gives_nothing_compiles_to_the_same() {
    const ORDERS: [&str; 7] = [
        "/routes",
        "/routes/0/canary/variants",
        "/routes/0/match/allow_encoded",
        "/address_sets/office/prefixes",
        "/ip_filter/rules/0/prefixes",
        "/routes/1/ip_filter/rules/0/address_sets",
        "/routes/2/ip_filter/rules",
    ];
    let count = spellings().len();
    let some = (
        prop::sample::subsequence(spellings(), 0..=count),
        prop::sample::subsequence(ORDERS.to_vec(), 0..=7),
        prop::option::weighted(0.2, prop::sample::select(vec![("/routes/0/priority", json!(3))])),
    );
    check(100, some, |(spellings, orders, change)| {
        let mut document =
            spellings.iter().fold(whole(), |document, (pointer, value)| changed(document, pointer, value));
        if let Some((pointer, value)) = &change {
            document = changed(document, pointer, value);
        }
        let document = orders.iter().fold(document, |document, pointer| reversed(document, pointer));
        let found = diff(&whole(), &document);
        let same = found.iter().all(|change| change.equivalent);
        let moved = orders.contains(&"/routes/2/ip_filter/rules");
        prop_assert_eq!(same, change.is_none() && !moved, "{:?}", found);
        if same && !orders.iter().any(|pointer| pointer.ends_with("variants")) {
            prop_assert_eq!(compiled(&whole()), compiled(&document));
        }
        Ok(())
    });
}
