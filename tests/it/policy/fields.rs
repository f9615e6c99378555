//! Every field: good values, bad ones, and both sides of every limit.

use serde_json::{Value, json};

use super::{changed, paths, whole};

fn takes(pointer: &str, values: &[Value]) {
    for value in values {
        assert_eq!(paths(&changed(whole(), pointer, value)), [""; 0], "{pointer}: {value}");
    }
}

fn refuses(pointer: &str, path: &str, values: &[Value]) {
    for value in values {
        assert_eq!(paths(&changed(whole(), pointer, value)), [path], "{pointer}: {value}");
    }
}

/// The first problem is here; see `decode` for those that must not follow.
fn refuses_first(pointer: &str, path: &str, values: &[Value]) {
    for value in values {
        let found = paths(&changed(whole(), pointer, value));
        assert_eq!(found.first().map(String::as_str), Some(path), "{pointer}: {value}");
    }
}

fn text(length: usize) -> Value {
    json!("a".repeat(length))
}

#[test]
fn version() {
    takes("/version", &[json!(1)]);
    refuses(
        "/version",
        "version",
        &[json!(0), json!(2), json!("1"), json!(1.5), json!(-1), json!(null), json!(4_294_967_296_u64)],
    );
    assert_eq!(paths(&json!({})), [""]);
}

#[test]
fn refresh() {
    takes("/refresh/interval", &[json!("1s"), json!("5m"), json!("1000ms")]);
    refuses(
        "/refresh/interval",
        "refresh.interval",
        &[
            json!("999ms"),
            json!("0s"),
            json!(30),
            json!("30"),
            json!("30 s"),
            json!("1w"),
            json!("30S"),
            json!("+30s"),
            json!("9999999999999999999999d"),
        ],
    );
    let spans = |interval: &str, max_stale: &str| {
        paths(&changed(whole(), "/refresh", &json!({"interval": interval, "max_stale": max_stale})))
    };
    assert_eq!(spans("1h", "1h"), [""; 0]);
    assert_eq!(spans("1h", "1d"), [""; 0]);
    assert_eq!(spans("3601s", "1d"), ["refresh.interval"]);
    assert_eq!(spans("30s", "29999ms"), ["refresh.max_stale"]);
    assert_eq!(spans("30s", "86401s"), ["refresh.max_stale"]);
    takes("/refresh/source", &[json!("kv"), json!("control")]);
    refuses("/refresh/source", "refresh.source", &[json!("Control"), json!("KV"), json!(null)]);
    takes("/refresh/on_failure", &[json!("last_good"), json!("closed")]);
    refuses("/refresh/on_failure", "refresh.on_failure", &[json!("open"), json!("lastGood"), json!(null)]);
    refuses("/refresh/jitter", "refresh.jitter", &[json!("1s")]);
}

#[test]
fn admin() {
    let host = |label: &str| format!("{label}.example.com");
    let hosts = |count: usize| json!((0..count).map(|index| host(&index.to_string())).collect::<Vec<_>>());
    takes("/admin", &[json!({}), json!({"hosts": null})]);
    refuses("/admin", "admin", &[json!([]), json!(7), json!([["a.example"]])]);
    takes("/admin/hosts", &[json!(["a.example"]), json!(["[::1]:8443", "127.0.0.1"]), hosts(16)]);
    refuses("/admin/hosts", "admin.hosts", &[json!([]), json!("a.example"), json!({}), hosts(17)]);
    for bad in ["", "*.example.com", "a b", "a.example/x", "u@a.example", "https://a.example", "a.example:0"]
    {
        refuses("/admin/hosts", "admin.hosts[1]", &[json!(["b.example", bad])]);
    }
    refuses("/admin/hosts", "admin.hosts[1]", &[json!(["a.example", "A.EXAMPLE.:443"]), json!(["a", 7])]);
    refuses("/admin/tokens", "admin.tokens", &[json!([])]);
    let document =
        json!({"version": 1, "admin": {"hosts": ["Admin.Example.com.", "a.example:443", "b.example:8443"]}});
    let gateway = edgeweir::policy::compile(&document.to_string()).unwrap();
    assert_eq!(gateway.admin_hosts, ["admin.example.com", "a.example", "b.example:8443"]);
    let without = edgeweir::policy::compile("{\"version\":1,\"admin\":{}}").unwrap();
    assert_eq!(without.admin_hosts, [""; 0]);
}

#[test]
fn identity() {
    let at = |name: &str| format!("identity.{name}");
    takes("/identity/client_address/header", &[json!("true-client-ip"), json!("X-Real-IP"), text(128)]);
    refuses(
        "/identity/client_address/header",
        &at("client_address.header"),
        &[
            json!("X-Forwarded-For"),
            json!("forwarded"),
            json!(""),
            json!("a b"),
            json!("a:"),
            json!(5),
            text(129),
        ],
    );
    takes("/identity/client_address/trusted_hops", &[json!([]), json!(["0.0.0.0/0", "::/0"])]);
    refuses(
        "/identity/client_address/trusted_hops/0",
        &at("client_address.trusted_hops[0]"),
        &[
            json!("10.0.0.1/8"),
            json!("x"),
            json!(7),
            json!(""),
            // Nobody is a hop by an address that another one embeds.
            json!("2002::/16"),
            json!("2002:c000:204::1"),
            json!("64:ff9b::192.0.2.4"),
        ],
    );
    refuses(
        "/identity/client_address/trusted_hops",
        &at("client_address.trusted_hops"),
        &[json!("10.0.0.0/8"), json!({})],
    );
    takes("/identity/client_address/chain", &[json!("X-Forwarded-For"), json!("Forwarded")]);
    refuses(
        "/identity/client_address/chain",
        &at("client_address.chain"),
        &[json!("x-forwarded-for"), json!("X-Real-IP"), json!(null)],
    );
    takes("/identity/client_address/on_missing", &[json!("reject"), json!({"address": "::1"})]);
    refuses(
        "/identity/client_address/on_missing",
        &at("client_address.on_missing"),
        &[json!("allow"), json!(null), json!({"a": 1})],
    );
    refuses_first(
        "/identity/client_address/on_missing/address",
        &at("client_address.on_missing.address"),
        &[json!("x"), json!("127.0.0.1/32"), json!(1)],
    );
    for outcome in ["on_short_chain", "on_garbled_chain"] {
        let (pointer, path) =
            (format!("/identity/client_address/{outcome}"), at(&format!("client_address.{outcome}")));
        takes(&pointer, &[json!("reject"), json!("peer")]);
        refuses(&pointer, &path, &[json!("Peer"), json!("allow"), json!({"address": "::1"}), json!(1)]);
    }
    takes("/identity/client_address/on_short_chain", &[json!(null)]);
    refuses(
        "/identity/client_address/on_garbled_chain",
        &at("client_address.on_garbled_chain"),
        &[json!(null)],
    );
    takes("/identity/client_address/trusted_depth", &[json!(null)]);
    // The hops of the whole document have addresses.
    refuses(
        "/identity/client_address/trusted_depth",
        &at("client_address.trusted_depth"),
        &[json!(1), json!(16)],
    );
    let deep = |depth: &Value| {
        paths(&json!({"version": 1, "identity": {"client_address": {"trusted_depth": depth}}}))
    };
    for good in [json!(1), json!(16)] {
        assert_eq!(deep(&good), [""; 0], "{good}");
    }
    for bad in [json!(0), json!(17), json!(255), json!(256), json!(-1), json!("2"), json!(1.5)] {
        assert_eq!(deep(&bad), ["identity.client_address.trusted_depth"], "{bad}");
    }
    takes("/identity/ipv6_prefix", &[json!(32), json!(128)]);
    refuses(
        "/identity/ipv6_prefix",
        &at("ipv6_prefix"),
        &[json!(31), json!(129), json!(256), json!(-1), json!("64"), json!(64.5)],
    );
    takes("/identity/cdn_id", &[json!("a"), json!("!#"), text(64)]);
    refuses(
        "/identity/cdn_id",
        &at("cdn_id"),
        &[json!(""), json!("a b"), json!("a;b"), json!("가"), text(65), json!(1)],
    );
    refuses("/identity/asn", &at("asn"), &[json!(1)]);
}

#[test]
fn observe() {
    takes("/observe/log/client_address", &[json!("address"), json!("network"), json!("none")]);
    refuses("/observe/log/client_address", "observe.log.client_address", &[json!("all"), json!(true)]);
    refuses("/observe/metrics", "observe.metrics", &[json!({})]);
    refuses("/observe/log/level", "observe.log.level", &[json!("info")]);
}

#[test]
fn names() {
    for good in ["a", "A-z_9", "-", &"a".repeat(64)] {
        takes("/routes/0/id", &[json!(good)]);
    }
    refuses(
        "/routes/0/id",
        "routes[0].id",
        &[json!("a b"), json!(""), json!("a.b"), json!("a/b"), json!("é"), text(65), json!(7)],
    );
    let set = |name: &str| {
        paths(&changed(
            whole(),
            "/address_sets",
            &json!({"office": {"prefixes": []}, "home": {"prefixes": []}, name: {"prefixes": []}}),
        ))
    };
    assert_eq!(set("a b"), ["address_sets[\"a b\"]"]);
    assert_eq!(set(""), ["address_sets[\"\"]"]);
}

#[test]
fn address_sets() {
    takes(
        "/address_sets/office/prefixes",
        &[
            json!([]),
            json!(["0.0.0.0/0"]),
            json!(["::/0"]),
            json!(["1.2.3.4"]),
            json!(["2002:c000:204::/48", "64:ff9b::192.0.2.4", "2002:a00::/24"]),
        ],
    );
    refuses(
        "/address_sets/office/prefixes/1",
        "address_sets.office.prefixes[1]",
        &[
            json!("192.0.2.1/24"),
            json!("192.0.2.0/33"),
            json!("example.com"),
            json!(null),
            json!("2002::/16"),
            json!("64:ff9b::/96"),
            json!("2002:c000:200::/40"),
        ],
    );
    refuses("/address_sets/office/stored", "address_sets.office.stored", &[json!(true)]);
}

#[test]
fn feeds() {
    let url = "https://lists.example/drop.txt";
    let stored = |feed: Value| json!({"stored": true, "feed": feed});
    let with = |name: &str, value: Value| {
        let mut feed = json!({"url": url, "format": "csv", "column": 1});
        feed[name] = value;
        stored(feed)
    };
    takes(
        "/address_sets/office",
        &[
            json!({"stored": true}),
            stored(json!(null)),
            stored(json!({"url": url})),
            with("column", json!("ip")),
            with("column", json!(1_000)),
            with("interval", json!("5m")),
            with("interval", json!("7d")),
            with("host_bits", json!("mask")),
            with("max_bytes", json!("64MiB")),
            with("max_prefixes", json!(2_000_000)),
            with("max_change", json!(0)),
            with("max_change", json!(10_000)),
            with("allow_private", json!(true)),
            with("url", json!("HTTPS://Lists.example:8443?x=%20")),
        ],
    );
    for (name, values) in [
        (
            "url",
            vec![
                json!("http://lists.example/"),
                json!("https://u@lists.example/"),
                json!("https://lists.example/#x"),
            ],
        ),
        // The schema cannot tell these.
        ("url", vec![json!("https://192.0.2.1/"), json!("https://localhost/"), json!("https://a.internal/")]),
        ("format", vec![json!("auto"), json!("CSV")]),
        ("column", vec![json!(0), json!(1_001), json!(""), json!(1.5), json!(null)]),
        ("interval", vec![json!("4m"), json!("8d"), json!(300)]),
        ("host_bits", vec![json!("keep")]),
        ("max_bytes", vec![json!("1023B"), json!("65MiB"), json!(5)]),
        ("max_prefixes", vec![json!(0), json!(2_000_001), json!(-1)]),
        ("max_change", vec![json!(10_001), json!(-1), json!(0.5)]),
        ("allow_private", vec![json!("yes")]),
        ("token", vec![json!("x")]),
    ] {
        for value in values {
            let path = format!("address_sets.office.feed.{name}");
            refuses("/address_sets/office", &path, &[with(name, value)]);
        }
    }
    refuses("/address_sets/office", "address_sets.office.feed", &[stored(json!({}))]);
    refuses(
        "/address_sets/office",
        "address_sets.office.feed.column",
        &[stored(json!({"url": url, "column": 1}))],
    );
    // A feed is of a stored set.
    refuses(
        "/address_sets/office",
        "address_sets.office.feed",
        &[json!({"prefixes": [], "feed": {"url": url}})],
    );
    // As many as there may be stored sets.
    let many = |count: usize| {
        let sets = (0..count).map(|set| (format!("s{set}"), stored(json!({"url": url}))));
        json!({"version": 1, "address_sets": sets.collect::<serde_json::Map<_, _>>()})
    };
    assert_eq!(paths(&many(256)), [""; 0]);
    assert_eq!(paths(&many(257)), ["address_sets"]);
    let gateway = edgeweir::policy::compile(&many(3).to_string()).unwrap();
    assert_eq!(gateway.feeds.keys().collect::<Vec<_>>(), ["s0", "s1", "s2"]);
    assert_eq!(gateway.feeds["s1"].url, url);
}

#[test]
fn ip_filters() {
    for (pointer, path) in [("/ip_filter", "ip_filter"), ("/routes/1/ip_filter", "routes[1].ip_filter")] {
        let to = |rest: &str| format!("{pointer}/{rest}");
        let at = |rest: &str| format!("{path}.{rest}");
        takes(&to("mode"), &[json!("enforce"), json!("shadow"), json!("off")]);
        refuses(&to("mode"), &at("mode"), &[json!("on"), json!(null), json!(true)]);
        takes(&to("default"), &[json!("allow"), json!("deny")]);
        refuses(&to("default"), &at("default"), &[json!("block"), json!("Deny")]);
        takes(&to("rules"), &[json!([])]);
        refuses(&to("rules/1/action"), &at("rules[1].action"), &[json!("block"), json!(null)]);
        refuses(&to("rules/1/id"), &at("rules[1].id"), &[json!("a"), json!("a b")]);
        refuses(
            &to("rules/1/prefixes/0"),
            &at("rules[1].prefixes[0]"),
            &[json!("203.0.113.1/24"), json!("x")],
        );
        refuses(
            &to("rules/1/address_sets/1"),
            &at("rules[1].address_sets[1]"),
            &[json!("nowhere"), json!("a b")],
        );
        refuses(
            &to("rules/1"),
            &at("rules[1]"),
            &[json!({"id": "x", "action": "deny"}), json!("x"), json!([])],
        );
        refuses(&to("rules/1/countries"), &at("rules[1].countries"), &[json!("KR")]);
    }
}

#[test]
fn rate_limits() {
    for (pointer, path) in [("/rate_limit", "rate_limit"), ("/routes/2/rate_limit", "routes[2].rate_limit")] {
        let to = |rest: &str| format!("{pointer}/{rest}");
        let at = |rest: &str| format!("{path}.{rest}");
        refuses(&to("on_failure"), &at("on_failure"), &[json!("allow"), json!(1)]);
        refuses(&to("mode"), &at("mode"), &[json!("on")]);
        let (to, at) =
            (|field: &str| to(&format!("rules/1/{field}")), |field: &str| at(&format!("rules[1].{field}")));
        takes(&to("max"), &[json!(1), json!(1_000_000_000)]);
        refuses(
            &to("max"),
            &at("max"),
            &[
                json!(0),
                json!(-1),
                json!(5_000_000_000_u64),
                json!(1.5),
                json!(100.0),
                json!("100"),
                json!(null),
            ],
        );
        takes(&to("burst"), &[json!(20), json!(1_000_000), json!(null)]);
        refuses(&to("burst"), &at("burst"), &[json!(1_000_000_001), json!("1")]);
        takes(&to("window"), &[json!("1s"), json!("31d")]);
        refuses(
            &to("window"),
            &at("window"),
            &[json!("999ms"), json!("32d"), json!("0s"), json!(60), json!("15")],
        );
        takes(&to("deadline"), &[json!("10ms"), json!("10s")]);
        refuses(&to("deadline"), &at("deadline"), &[json!("9ms"), json!("10001ms"), json!(250)]);
        takes(&to("message"), &[json!(""), json!("\n\u{1}\"<>"), text(1_000)]);
        refuses(&to("message"), &at("message"), &[text(1_001), json!("가".repeat(334)), json!(7)]);
        takes(
            &to("key"),
            &[
                json!(["client"]),
                json!([{"header": "Authorization"}]),
                json!(["client", "client", "client", "client", "client", "client", "client", "client"]),
            ],
        );
        refuses(
            &to("key"),
            &at("key"),
            &[
                json!([]),
                json!([
                    "client", "client", "client", "client", "client", "client", "client", "client", "client"
                ]),
                json!("client"),
            ],
        );
        refuses(&to("key/0"), &at("key[0]"), &[json!("ip"), json!({"cookies": "a"}), json!(null)]);
        refuses_first(&to("key/1/header"), &at("key[1].header"), &[json!("a b"), json!("")]);
        takes(&to("counting"), &[json!("local"), json!("exact")]);
        refuses(&to("counting"), &at("counting"), &[json!("shared"), json!("both")]);
        refuses(&to("algorithm"), &at("algorithm"), &[json!("sliding"), json!("token_bucket")]);
        refuses(&to("on_failure"), &at("on_failure"), &[json!("ignore")]);
        refuses(&to("id"), &at("id"), &[json!("a"), json!("")]);
        refuses(&to("cost"), &at("cost"), &[json!(2)]);
    }
}

#[test]
fn routes() {
    refuses(
        "/routes/1/upstream",
        "routes[1].upstream",
        &[json!("nowhere"), json!("A"), json!(""), json!(null)],
    );
    refuses("/routes/1/id", "routes[1].id", &[json!("one")]);
    takes("/routes/1/priority", &[json!(i32::MIN), json!(i32::MAX)]);
    refuses("/routes/1/priority", "routes[1].priority", &[json!(2_147_483_648_u64), json!("1"), json!(0.5)]);
    takes("/routes/1/match/allow_encoded", &[json!([]), json!(["%2F", "%5C", "%00", "%00"])]);
    takes("/routes/1/match/headers", &[json!({}), json!({"x-a": ""})]);
    refuses("/routes/1/auth", "routes[1].auth", &[json!({})]);
    takes("/routes", &[json!([])]);
    refuses("/routes", "routes", &[json!({}), json!("x"), json!(null)]);
    refuses("/routes/1", "routes[1]", &[json!(null), json!("x"), json!([])]);
}

#[test]
fn a_route_takes_nothing_less_than_an_id_and_an_upstream() {
    let only = |route: Value| {
        paths(&json!({"version": 1, "upstreams": {"u": {"origin": "http://u"}}, "routes": [route]}))
    };
    assert_eq!(only(json!({"id": "r", "upstream": "u"})), [""; 0]);
    assert_eq!(only(json!({"upstream": "u"})), ["routes[0]"]);
    assert_eq!(only(json!({"id": "r"})), ["routes[0]"]);
}

#[test]
fn reserved_and_unknown_names_are_told_apart() {
    for (pointer, path, reserved) in [
        ("/auth", "auth", true),
        ("/slos", "slos", true),
        ("/routes/0/validate", "routes[0].validate", true),
        ("/upstreams/a/retries", "upstreams.a.retries", true),
        ("/nope", "nope", false),
        ("/routes/0/nope", "routes[0].nope", false),
        ("/routes/0/a b", "routes[0][\"a b\"]", false),
        ("/defaults/upstream", "defaults.upstream", false),
    ] {
        let found = super::problems(&changed(whole(), pointer, &json!({"x": 1})));
        assert_eq!((found.len(), found[0].path.as_str(), found[0].value.as_str()), (1, path, "{\"x\":1}"));
        assert_eq!(found[0].expected.contains("reserved"), reserved, "{found:?}");
    }
}

/// The pointer for editors: any text that is not too long, and no effect.
#[test]
fn schema() {
    takes("/$schema", &[json!("../www/policy.schema.json"), json!(""), text(2_000)]);
    refuses("/$schema", "[\"$schema\"]", &[text(2_001), json!(1), json!({})]);
}

#[test]
fn canaries() {
    let at = |rest: &str| format!("routes[2].canary.{rest}");
    let two = |one: Value, other: Value| json!([{"name": "a", "upstream": "a", "weight": one}, {"name": "b", "upstream": "b", "weight": other}]);
    takes(
        "/routes/2/canary/variants",
        &[two(json!(0), json!(100)), two(json!(0.29), json!(99.71)), two(json!(50.0), json!(50))],
    );
    refuses(
        "/routes/2/canary/variants",
        &at("variants"),
        &[
            json!([]),
            json!([{"name": "a", "upstream": "a", "weight": 100}]),
            two(json!(50), json!(49.99)),
            json!({}),
        ],
    );
    refuses(
        "/routes/2/canary/variants/0/weight",
        &at("variants[0].weight"),
        &[json!(-1), json!(100.01), json!("50"), json!(0.005), json!(null)],
    );
    refuses("/routes/2/canary/variants/1/name", &at("variants[1].name"), &[json!("one"), json!("a b")]);
    takes("/routes/2/canary/sticky", &[json!(null), json!({"cookie": "w"})]);
    takes("/routes/2/canary/sticky/max_age", &[json!("1s"), json!("1500ms"), json!("366d")]);
    refuses(
        "/routes/2/canary/sticky/max_age",
        &at("sticky.max_age"),
        &[json!("999ms"), json!("0s"), json!("367d"), json!(60)],
    );
    refuses("/routes/2/canary/sticky/cookie", &at("sticky.cookie"), &[json!(""), json!("a;b"), text(65)]);
}

#[test]
fn rate_limits_of_every_kind() {
    let to = |field: &str| format!("/routes/1/rate_limit/rules/1/{field}");
    let at = |field: &str| format!("routes[1].rate_limit.rules[1].{field}");
    takes(&to("algorithm"), &[json!("gcra"), json!("sliding_window"), json!("fixed_window")]);
    takes(&to("on_missing"), &[json!("empty"), json!("skip"), json!("refuse")]);
    refuses(&to("on_missing"), &at("on_missing"), &[json!("allow"), json!(null)]);
    takes(
        &to("key"),
        &[
            json!(["client", "address", "tag", "country", "asn", "route", "method", "variant"]),
            json!([{"cookie": "s"}, {"query": "q[]"}, {"path": "id"}]),
        ],
    );
    // There is no such parameter in the path, or none that anybody verifies.
    refuses(
        &to("key/0"),
        &at("key[0]"),
        &[json!({"path": "name"}), json!("api_key"), json!({"claim": "sub"})],
    );
    // At the top nobody knows the route yet.
    let entry = "/rate_limit/rules/0/key/0";
    refuses(entry, "rate_limit.rules[0].key[0]", &[json!("route"), json!("variant"), json!({"path": "id"})]);
    takes(&to("ipv6_prefix"), &[json!(16), json!(128), json!(null)]);
    refuses(&to("ipv6_prefix"), &at("ipv6_prefix"), &[json!(15), json!(129), json!("48")]);
    takes(&to("exempt_tags"), &[json!([]), json!(["a", "b"])]);
    takes(&to("count_status"), &[json!([]), json!([200, 599])]);
    refuses(&to("count_status/0"), &at("count_status[0]"), &[json!(199), json!(600), json!("401")]);
    refuses(&to("count_status"), &at("count_status"), &[json!(vec![401; 33]), json!(401)]);
    takes(&to("cost"), &[json!({}), json!(null), json!({"methods": {"PUT": 0}})]);
    // Only more than the burst of 50 would never fit.
    refuses(&to("cost/default"), &at("cost.default"), &[json!(51), json!(-1)]);
    refuses(&to("cost/min"), &at("cost.min"), &[json!(21)]);
    takes(&to("cost/max"), &[json!(1), json!(50)]);
    takes(&to("penalty"), &[json!(0), json!(1_000_000)]);
    refuses(&to("penalty"), &at("penalty"), &[json!(1_000_001)]);
    takes(&to("max_debt"), &[json!(0), json!(1_000_000_000)]);
    refuses(&to("max_debt"), &at("max_debt"), &[json!(1_000_000_001)]);
    takes(&to("status"), &[json!(400), json!(599), json!(null)]);
    refuses(&to("status"), &at("status"), &[json!(399), json!(600)]);
    // Without a binding, and with what the platform cannot do.
    let platform = json!({"id": "p", "max": 5, "window": "60s", "counting": "platform", "binding": "SOFT"});
    let rule = "/routes/1/rate_limit/rules/2";
    takes(rule, std::slice::from_ref(&platform));
    for (field, value) in [
        ("binding", json!(null)),
        ("window", json!("15m")),
        ("burst", json!(2)),
        ("penalty", json!(1)),
        ("cost", json!({})),
    ] {
        let mut changed = platform.clone();
        changed[field] = value;
        refuses(rule, &format!("routes[1].rate_limit.rules[2].{field}"), &[changed]);
    }
    let leased = json!({"id": "p", "max": 5, "window": "60s", "counting": "leased", "penalty": 1});
    refuses(rule, "routes[1].rate_limit.rules[2].penalty", &[leased]);
}
