//! Random policies and requests over small pools, so that what one names the
//! other often meets.

use edgeweir::explain::ExplainRequest;
use edgeweir::policy::compile;
use serde_json::{Map, Value, json};

/// Numbers from a seed.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// True in `of` of ten.
    pub fn chance(&mut self, of: u64) -> bool {
        self.below(10) < of
    }

    pub fn pick<T: Clone>(&mut self, pool: &[T]) -> T {
        pool[self.below(pool.len() as u64) as usize].clone()
    }

    fn some<T: Clone>(&mut self, pool: &[T], most: u64) -> Vec<T> {
        (0..=self.below(most)).map(|_| self.pick(pool)).collect()
    }
}

pub const CLIENTS: [&str; 9] = [
    "192.0.2.1",
    "192.0.2.77",
    "192.0.2.200",
    "198.51.100.7",
    "203.0.113.9",
    "::ffff:192.0.2.1",
    "2001:db8:1::1",
    "2001:db8:1:0:1::2",
    "2001:db8:2::1",
];

const PREFIXES: [&str; 10] = [
    "192.0.2.0/24",
    "192.0.2.64/26",
    "192.0.2.1",
    "198.51.100.0/24",
    "203.0.113.0/28",
    "0.0.0.0/0",
    "2001:db8::/32",
    "2001:db8:1::/48",
    "2001:db8:1::1",
    "::/0",
];

fn mode(dice: &mut Dice) -> &'static str {
    dice.pick(&["enforce", "enforce", "enforce", "enforce", "shadow", "off"])
}

fn ip_filter(dice: &mut Dice) -> Value {
    let rules: Vec<Value> = (0..dice.below(4))
        .map(|index| {
            let mut rule = json!({"id": format!("rule-{index}"), "action": dice.pick(&["allow", "allow", "deny"]), "mode": mode(dice)});
            if dice.chance(6) {
                rule["prefixes"] = json!(dice.some(&PREFIXES, 3));
            }
            if rule.get("prefixes").is_none() || dice.chance(3) {
                rule["address_sets"] = json!(dice.some(&["here", "there"], 2));
            }
            rule
        })
        .collect();
    json!({"mode": mode(dice), "default": dice.pick(&["allow", "allow", "allow", "deny"]), "rules": rules})
}

fn rate_limit(dice: &mut Dice) -> Value {
    let rules: Vec<Value> = (0..dice.below(4))
        .map(|index| {
            let mut rule = json!({
                "id": format!("limit-{index}"),
                "max": dice.below(4) + 1,
                "window": dice.pick(&["1s", "10s", "7m"]),
                "counting": dice.pick(&["local", "exact"]),
                "mode": mode(dice),
                "on_failure": dice.pick(&["local", "open", "closed"]),
            });
            if dice.chance(3) {
                rule["burst"] = json!(dice.below(6) + 1);
            }
            if dice.chance(3) {
                rule["key"] = dice.pick(&[
                    json!(["client", {"header": "X-Api-Key"}]),
                    json!([{"header": "X-Team"}]),
                    json!([{"header": "X-Team"}, {"header": "Authorization"}]),
                ]);
            }
            if dice.chance(3) {
                rule["message"] = json!("Wait a little.");
            }
            rule
        })
        .collect();
    json!({"mode": mode(dice), "rules": rules})
}

fn canary(dice: &mut Dice) -> Value {
    let first = dice.pick(&[0, 10, 50, 99, 100]);
    let mut canary = json!({"mode": mode(dice), "variants": [
        {"name": "stable", "upstream": "app", "weight": first},
        {"name": "next", "upstream": "next", "weight": 100 - first},
    ]});
    if dice.chance(5) {
        canary["sticky"] = json!({"cookie": "weir"});
    }
    canary
}

fn stages(dice: &mut Dice, object: &mut Value, of: u64) {
    if dice.chance(of) {
        object["ip_filter"] = ip_filter(dice);
    }
    if dice.chance(of) {
        object["rate_limit"] = rate_limit(dice);
    }
    if dice.chance(of) {
        object["canary"] = canary(dice);
    }
    if dice.chance(of) {
        object["cache"] = json!({"mode": dice.pick(&["enforce", "enforce", "enforce", "off"])});
        if dice.chance(3) {
            object["cache"]["key"] =
                json!({"query": {"preset": "tracking", "sort": true}, "headers": ["X-Beta"]});
            object["cache"]["vary"] = json!({"ignore": ["Accept-Language"]});
        }
    }
}

/// Bans that hold some of [`CLIENTS`] for a while.
pub fn bans(dice: &mut Dice) -> Vec<(&'static str, u64, &'static str)> {
    let networks =
        ["192.0.2.1", "192.0.2.0/24", "198.51.100.0/24", "203.0.113.9", "2001:db8:1::/48", "2001:db8:1::/64"];
    let mut bans = Vec::new();
    for network in networks {
        if dice.chance(3) {
            bans.push((
                network,
                dice.pick(&[1_000, 9_000, 600_000]),
                dice.pick(&["manual", "scanner", "guesser", "gone"]),
            ));
        }
    }
    bans
}

fn triggers(dice: &mut Dice) -> Value {
    let mut scanner =
        json!({"id": "scanner", "mode": mode(dice), "threshold": dice.below(4) + 1, "window": "1m"});
    scanner["statuses"] = dice.pick(&[json!([404]), json!([401, 404, 503]), json!([200])]);
    if dice.chance(4) {
        scanner["duration"] = json!(dice.pick(&["2s", "1h"]));
    }
    let guesser = json!({"id": "guesser", "mode": mode(dice), "threshold": dice.below(3) + 1, "window": "10s",
        "refusals": true, "duration": "3s", "factor": 3, "jitter": 50});
    let mut bans = json!({"mode": mode(dice), "triggers": dice.pick(&[json!([]), json!([scanner]), json!([scanner, guesser])])});
    if dice.chance(3) {
        bans["answer"] = dice.pick(&[json!({"status": 404}), json!({"status": 429}), json!({"body": "no"})]);
    }
    bans
}

/// A policy that compiles.
pub fn policy(dice: &mut Dice) -> Value {
    let mut matches = vec![
        json!({}),
        json!({"path": "/a/*"}),
        json!({"path": "/a/{x}"}),
        json!({"path": "/a/b", "methods": ["GET", "POST"]}),
        json!({"hosts": ["app.example"], "path": "/b/*"}),
        json!({"hosts": ["*.example"], "path": "/a/*"}),
        json!({"hosts": ["app.example:8443", "app.example:443"]}),
        json!({"path": "/a/*", "headers": {"X-Beta": "1"}}),
        json!({"methods": ["POST"]}),
        json!({"path": "/f/*", "allow_encoded": ["%2F"]}),
    ];
    let count = dice.below(5) + 1;
    let mut routes = Vec::new();
    for index in 0..count {
        let chosen = dice.below(matches.len() as u64) as usize;
        let upstream = dice.pick(&["app", "app", "next", "site"]);
        let mut route =
            json!({"id": format!("route-{index}"), "upstream": upstream, "match": matches.remove(chosen)});
        stages(dice, &mut route, 5);
        routes.push(route);
    }
    let mut policy = json!({
        "version": 1,
        "identity": {
            "client_address": {
                "header": dice.pick(&["CF-Connecting-IP", "X-Edge-Client"]),
                "chain": dice.pick(&["X-Forwarded-For", "Forwarded"]),
            },
            "ipv6_prefix": dice.pick(&[32, 48, 64, 128]),
        },
        "upstreams": {
            "app": {"origin": "http://app.internal"},
            "next": {"origin": "https://next.internal:8443", "timeouts": {"first_byte": "2s"}},
            "site": {"origin": "request"},
        },
        "address_sets": {
            "here": {"prefixes": ["192.0.2.0/25", "2001:db8:1::/64"]},
            "there": {"prefixes": ["203.0.113.0/24", "198.51.100.7", "192.0.2.64/26"]},
        },
        "routes": routes,
    });
    let address = &mut policy["identity"]["client_address"];
    match dice.below(10) {
        0..5 => address["trusted_hops"] = json!(["192.0.2.200", "2001:db8:2::/48"]),
        5..7 => address["trusted_depth"] = json!(dice.below(2) + 1),
        _ => {}
    }
    for outcome in ["on_short_chain", "on_garbled_chain"] {
        if dice.chance(4) {
            address[outcome] = json!(dice.pick(&["peer", "reject"]));
        }
    }
    if dice.chance(4) {
        policy["identity"]["client_address"]["on_missing"] = json!({"address": "192.0.2.1"});
    }
    if dice.chance(3) {
        policy["ip_filter"] = ip_filter(dice);
    }
    if dice.chance(3) {
        policy["rate_limit"] = rate_limit(dice);
    }
    if dice.chance(4) {
        policy["bans"] = triggers(dice);
    }
    if dice.chance(2) {
        policy["guard_list"] = json!(dice.some(&["192.0.2.1", "198.51.100.0/24", "2001:db8:1::1"], 2));
    }
    if dice.chance(2) {
        let mut defaults = json!({});
        stages(dice, &mut defaults, 3);
        policy["defaults"] = defaults;
    }
    if compile(&policy.to_string()).is_err() {
        // Some of the matches overlap: priorities settle it.
        for (index, route) in policy["routes"].as_array_mut().unwrap().iter_mut().enumerate() {
            route["priority"] = json!(index);
        }
    }
    compile(&policy.to_string()).unwrap_or_else(|error| panic!("{error}: {policy}"));
    policy
}

const TARGETS: [&str; 22] = [
    "/",
    "/a",
    "/a/b",
    "/a/b/c",
    "/a/b?x=1",
    "/%61/b",
    "/a//b/",
    "/b/c",
    "/b",
    "/c",
    "/f/x",
    "/f/x%2Fy",
    "/a/x%2fy",
    "/c/%00",
    "/a/../b",
    "/a/%2e%2e/b",
    "/a b",
    "/a\\b",
    "/_weir/health",
    "/_weir/x",
    "/_weir",
    "/a/b;p=1",
];

/// A request, as somebody would describe it.
pub fn request(dice: &mut Dice) -> ExplainRequest {
    let host = dice.pick(&[
        "app.example",
        "app.example",
        "APP.example:443",
        "app.example:8443",
        "www.app.example",
        "other.test",
        "u@app.example",
        "192.0.2.80",
    ]);
    let scheme = dice.pick(&["https", "https", "http"]);
    let mut headers: Vec<(&str, String)> = Vec::new();
    let mut maybe = |dice: &mut Dice, name: &'static str, values: &[&str]| {
        if dice.chance(2) {
            headers.push((name, dice.pick(values).to_owned()));
        }
    };
    maybe(dice, "X-Beta", &["1", "2"]);
    maybe(dice, "X-Team", &["red", "blue"]);
    maybe(dice, "X-Api-Key", &["k1", "k2"]);
    maybe(dice, "Authorization", &["Bearer t1"]);
    maybe(dice, "Cookie", &["weir=00000001", "weir=ffffffff", "a=b", "weir=xyz; a=b"]);
    maybe(dice, "Cache-Control", &["no-cache", "no-store", "only-if-cached", "max-age=5, only-if-cached"]);
    maybe(dice, "Range", &["bytes=0-1"]);
    maybe(dice, "Connection", &["close", "X-Team", "keep-alive, X-Beta"]);
    maybe(dice, "Upgrade", &["websocket", "h2c"]);
    maybe(dice, "CDN-Loop", &["edgeweir", "other", "other, EDGEWEIR;v=1"]);
    maybe(dice, "X-Forwarded-For", &["198.51.100.7", "203.0.113.9, 192.0.2.200", "garbage", ""]);
    maybe(
        dice,
        "Forwarded",
        &["for=198.51.100.7", "for=\"[2001:db8:1::1]\";host=x, for=192.0.2.200", "for="],
    );
    maybe(dice, "X-Forwarded-Host", &["app.example", "evil.test"]);
    maybe(dice, "X-Forwarded-Proto", &["http", "https", "gopher"]);
    maybe(dice, "X-Request-Id", &["abc-123", "not an id"]);
    maybe(dice, "Traceparent", &["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "00-1-2-3"]);
    maybe(dice, "Tracestate", &["a=1"]);
    maybe(dice, "X-Original-URL", &["/admin"]);
    maybe(dice, "Accept-Language", &["de", "en"]);
    maybe(dice, "CF-Connecting-IP", &["203.0.113.9", "garbled"]);
    let mut text = Map::new();
    text.insert(
        "method".to_owned(),
        json!(dice.pick(&["GET", "GET", "GET", "GET", "HEAD", "POST", "DELETE"])),
    );
    text.insert("url".to_owned(), json!(format!("{scheme}://{host}{}", dice.pick(&TARGETS))));
    if dice.chance(9) {
        text.insert("client".to_owned(), json!(dice.pick(&CLIENTS)));
    }
    text.insert("headers".to_owned(), json!(headers));
    let text = Value::Object(text).to_string();
    ExplainRequest::parse(&text).unwrap_or_else(|problems| panic!("{problems:?}: {text}"))
}
