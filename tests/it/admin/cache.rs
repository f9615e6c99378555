//! What is stored for a request, through the admin API.

use edgeweir::purge::{Purge, Scope, encode, url};
use serde_json::{Value, json};

use super::{Admin, refused};
use crate::fake::{Fault, Response, With, get};

fn admin(cache: &Value) -> Admin {
    let route = json!({"id": "all", "upstream": "app", "cache": cache});
    let own = json!({"id": "own", "match": {"path": "/own/*"}, "upstream": "app"});
    let split = json!({"id": "split", "match": {"path": "/split/*"}, "upstream": "app", "cache": {},
        "canary": {"variants": [{"name": "old", "upstream": "app", "weight": 50}, {"name": "new", "upstream": "next", "weight": 50}]}});
    let admin = Admin::acting_on(&json!({"version": 1, "routes": [route, own, split],
        "upstreams": {"app": {"origin": "http://app.internal"}, "next": {"origin": "http://next.internal"}}}));
    admin.gate.platform.origin(|_| {
        Response::new(200)
            .with("Cache-Control", "public, max-age=60")
            .with("Content-Type", "text/plain")
            .with("Cache-Tag", "News, front")
            .with("Vary", "Accept-Language, X-Session-Token")
            .body("0123456789")
    });
    admin
}

fn look(admin: &Admin, query: &str) -> Value {
    let response = admin.get("reader", &format!("/cache?{query}"));
    assert_eq!(response.status, 200, "{}", response.body);
    response.json()
}

const URL: &str = "url=https://app.example/a";

#[test]
fn it_says_what_each_tier_has() {
    let admin = admin(&json!({"tiers": ["memory", "location"]}));
    let nothing = look(&admin, URL);
    assert_eq!(
        (&nothing["route"], &nothing["colo"], &nothing["revision"]),
        (&json!("all"), &json!("ICN"), &json!("r1"))
    );
    assert_eq!(nothing["isolate"], admin.gate.isolate.id);
    assert_eq!(nothing["isolate"].as_str().unwrap().len(), 16);
    let states = |report: &Value| -> Vec<(String, String)> {
        let tiers = report["tiers"].as_array().unwrap().iter();
        tiers
            .map(|tier| {
                (tier["tier"].as_str().unwrap().to_owned(), tier["state"].as_str().unwrap().to_owned())
            })
            .collect()
    };
    let both = |state: &str| {
        vec![("memory".to_owned(), state.to_owned()), ("location".to_owned(), state.to_owned())]
    };
    assert_eq!(states(&nothing), both("none"));
    admin.gate.send(&get("/a").with("X-Session-Token", "hunter2"));
    admin.gate.platform.advance(10_000);
    let report = look(&admin, &format!("{URL}&header=X-Session-Token:%20hunter2"));
    assert_eq!(states(&report), both("stored"));
    for tier in report["tiers"].as_array().unwrap() {
        let answer = &tier["answer"];
        assert_eq!(
            (&answer["serves"], &answer["status"], &answer["size"]),
            (&json!("hit"), &json!(200), &json!(10))
        );
        assert_eq!(
            (&answer["age"], &answer["ttl"], &answer["lifetime"]),
            (&json!(10), &json!(50), &json!(60))
        );
        assert_eq!((&answer["began"], &answer["tags"]), (&json!(0), &json!(["front", "news"])));
        assert_eq!(answer["received"], "2026-01-01T00:00:00.000Z");
        assert!(
            answer["fields"]
                .as_array()
                .unwrap()
                .contains(&json!({"name": "content-type", "value": "text/plain"}))
        );
        assert_eq!(
            tier["selected_by"],
            json!([{"name": "accept-language"}, {"name": "x-session-token", "value": "(redacted, 7 bytes)"}])
        );
    }
    let text = report.to_string();
    assert!(!text.contains("hunter2") && !text.contains("0123456789"), "{text}");
    // Looking moves nothing: no request, and nothing is asked for again.
    assert_eq!(admin.gate.sent_count(), 1);
    assert_eq!(states(&look(&admin, URL)), both("other"));
    // Another isolate of the location has it in one tier alone.
    let other = self::admin(&json!({"tiers": ["memory", "location"]}));
    *other.gate.platform.stored.borrow_mut() = admin.gate.platform.stored.borrow().clone();
    let report = look(&other, &format!("{URL}&header=X-Session-Token:hunter2"));
    assert_eq!(
        (&report["tiers"][0]["state"], &report["tiers"][1]["state"]),
        (&json!("none"), &json!("stored"))
    );
    let still = look(&other, &format!("{URL}&header=X-Session-Token:hunter2"));
    assert_eq!(still["tiers"][0]["state"], "none");
}

#[test]
fn cookies_are_nobodys_business() {
    let admin = admin(
        &json!({"allow_set_cookie": true, "key": {"cookies": ["theme"]}, "credentials": {"cookies": []}}),
    );
    admin.gate.platform.origin(|_| {
        Response::new(200).with("Cache-Control", "max-age=60").with("Set-Cookie", "session=abcdef; HttpOnly")
    });
    admin.gate.send(&get("/a").with("Cookie", "theme=darkest"));
    let report = look(&admin, &format!("{URL}&header=Cookie:theme%3Ddarkest"));
    let tier = &report["tiers"][0];
    assert_eq!(tier["state"], "stored");
    assert_eq!(tier["selected_by"], json!([{"name": "cookie:theme", "value": "(redacted, 7 bytes)"}]));
    let text = report.to_string();
    assert!(!text.contains("abcdef") && !text.contains("darkest"), "{text}");
}

/// A route may key by what is a credential, under any name: who looks sees what
/// clients understand, and nothing by which one is known.
#[test]
fn what_selects_an_answer_is_shown_where_it_tells_nobody_apart() {
    let admin =
        admin(&json!({"key": {"headers": ["X-Account", "User-Agent", "X-Tenant"], "cookies": ["id"]},
        "credentials": {"headers": ["X-Account", "Accept-Thing"], "cookies": ["id"]}, "status_key": true}));
    // An origin that says again what it was told.
    admin.gate.platform.origin(|sent| {
        let account = sent.field("x-account").unwrap_or_default();
        Response::new(200)
            .with("Cache-Control", "public, max-age=60")
            .with("Vary", "Accept-Language, X-Member, Accept-Thing")
            .with("X-Account", &account)
            .with("X-Member", "member-1234")
            .with("Accept-Language", "de")
    });
    let asked = |account: &str| {
        get("/a")
            .with("X-Account", account)
            .with("X-Tenant", "tenant-1234")
            .with("X-Member", "member-1234")
            .with("Accept-Thing", "thing-1234")
            .with("User-Agent", "curl/8")
            .with("Accept-Language", "de")
            .with("Cookie", "id=cookie-1234")
    };
    let lines = "&header=X-Account:account-1234&header=X-Tenant:tenant-1234&header=X-Member:member-1234\
                 &header=Accept-Thing:thing-1234&header=User-Agent:curl/8&header=Accept-Language:de\
                 &header=Cookie:id%3Dcookie-1234";
    // As the first answer to the URL, and beside another one.
    for others in [vec![], vec!["another"]] {
        let target = format!("/a{}", others.len());
        let sent = |account: &str| {
            let url = format!("https://app.example{target}");
            admin.gate.send(&edgeweir::exchange::PlainHead { url, ..asked(account) }).0
        };
        for other in others {
            sent(other);
        }
        sent("account-1234");
        let report = look(&admin, &format!("url=https://app.example{target}{lines}"));
        let tier = &report["tiers"][0];
        assert_eq!((&tier["state"], &tier["answer"]["serves"]), (&json!("stored"), &json!("hit")));
        let by: Vec<(&str, &str)> = tier["selected_by"]
            .as_array()
            .unwrap()
            .iter()
            .map(|field| (field["name"].as_str().unwrap(), field["value"].as_str().unwrap()))
            .collect();
        assert_eq!(
            by,
            [
                ("accept-language", "de"),
                ("accept-thing", "(redacted, 10 bytes)"),
                ("user-agent", "curl/8"),
                ("x-account", "(redacted, 12 bytes)"),
                ("x-member", "(redacted, 11 bytes)"),
                ("x-tenant", "(redacted, 11 bytes)"),
                ("cookie:id", "(redacted, 11 bytes)"),
            ]
        );
        let fields = tier["answer"]["fields"].as_array().unwrap();
        for field in [("x-account", "(redacted, 12 bytes)"), ("x-member", "(redacted, 11 bytes)")] {
            assert!(fields.contains(&json!({"name": field.0, "value": field.1})), "{fields:?}");
        }
        assert!(fields.contains(&json!({"name": "accept-language", "value": "de"})), "{fields:?}");
        assert!(!report.to_string().contains("-1234"), "{report}");
    }
}

#[test]
fn it_says_which_purge_makes_it_void() {
    let admin = admin(&json!({}));
    admin.gate.send(&get("/a"));
    let prefix = |text: &str| Scope::Prefix(url::parse_prefix(text).unwrap());
    let page = Scope::Url(url::parse_url("https://app.example/a").unwrap());
    for (purges, by, serves) in [
        (vec![(7, Scope::Tag("sports".to_owned()), false)], Value::Null, "hit"),
        (
            vec![(8, Scope::Tag("news".to_owned()), true)],
            json!({"sequence": 8, "scope": "tag", "value": "news", "soft": true}),
            "stale",
        ),
        (
            vec![(9, prefix("https://app.example/"), false), (10, prefix("https://app.example/a"), true)],
            json!({"sequence": 9, "scope": "prefix", "value": "https://app.example/", "soft": false}),
            "purged",
        ),
        (
            vec![
                (11, page, false),
                (12, Scope::Tag("front".to_owned()), true),
                (13, Scope::Tag("x".to_owned()), false),
            ],
            json!({"sequence": 11, "scope": "url", "value": "https://app.example/a", "soft": false}),
            "purged",
        ),
        (vec![(14, Scope::All, false)], json!({"sequence": 14, "scope": "all", "soft": false}), "purged"),
    ] {
        let list: Vec<Purge> =
            purges.into_iter().map(|(sequence, scope, soft)| Purge { sequence, scope, soft }).collect();
        admin.gate.snapshot.live_purges.hold(&encode(list.iter()), 20).unwrap();
        let report = look(&admin, URL);
        let answer = &report["tiers"][0]["answer"];
        assert_eq!((&answer["purged_by"], &answer["serves"]), (&by, &json!(serves)), "{list:?}");
    }
    // What is asked for now is not void.
    admin.gate.send(&get("/a"));
    let answer = look(&admin, URL)["tiers"][0]["answer"].clone();
    assert_eq!(
        (&answer["purged_by"], &answer["serves"], &answer["began"]),
        (&Value::Null, &json!("hit"), &json!(14))
    );
}

#[test]
fn it_says_what_such_a_request_gets() {
    let admin = admin(&json!({}));
    admin.gate.send(&get("/a"));
    let serves =
        |query: &str| look(&admin, &format!("{URL}&{query}"))["tiers"][0]["answer"]["serves"].clone();
    assert_eq!(serves("header=Cache-Control:no-cache"), "request");
    assert_eq!(serves("method=HEAD"), "hit");
    assert_eq!(serves("header=Authorization:Basic%20YTpi"), "hit");
    let post = look(&admin, &format!("{URL}&method=POST"));
    assert_eq!((&post["because"], &post["method"]), (&json!("method"), &json!("POST")));
    admin.gate.platform.advance(60_000);
    assert_eq!(serves("method=GET"), "stale");
    let ttl = look(&admin, URL)["tiers"][0]["answer"]["ttl"].clone();
    assert_eq!(ttl, 0);
    assert_eq!(serves("header=Cache-Control:max-stale%3D60"), "hit-stale");
}

#[test]
fn where_there_is_no_cache_it_says_why() {
    let admin = admin(&json!({}));
    for (query, because) in [
        ("url=https://app.example/own/a", "no-cache"),
        ("url=https://app.example/_weir/health", "control"),
        ("url=https://app.example/a/../b", "invalid-target"),
        ("url=https://a,b/", "invalid-host"),
    ] {
        let report = look(&admin, query);
        assert_eq!((&report["because"], &report["tiers"]), (&json!(because), &json!([])), "{query}");
    }
    let bare = Admin::acting_on(&json!({"version": 1}));
    assert_eq!(look(&bare, URL)["because"], "no-route");
    // What could not be kept is remembered.
    admin.gate.platform.origin(|_| Response::new(200).with("Cache-Control", "no-store"));
    admin.gate.send(&get("/a"));
    let tier = look(&admin, URL)["tiers"][0].clone();
    assert_eq!((&tier["unstorable"], &tier["state"]), (&json!(true), &json!("none")));
    admin.gate.platform.store_fault.set(Some(Fault::Fails));
    let tier = look(&admin, "url=https://app.example/b")["tiers"][0].clone();
    assert_eq!(tier["state"], "failed");
    assert!(tier["error"].as_str().unwrap().contains("broken on purpose"));
}

#[test]
fn each_variant_has_its_own() {
    let admin = admin(&json!({}));
    admin.gate.send(&get("/split/a"));
    let report = look(&admin, "url=https://app.example/split/a");
    let tiers = report["tiers"].as_array().unwrap();
    let named: Vec<&Value> = tiers.iter().flat_map(|tier| [&tier["variant"], &tier["upstream"]]).collect();
    assert_eq!(named, ["old", "app", "new", "next"]);
    let stored = tiers.iter().filter(|tier| tier["state"] == "stored").count();
    assert_eq!(stored, 1, "{report}");
}

#[test]
fn parts_lie_beside_the_whole() {
    let admin = admin(&json!({}));
    admin.gate.platform.origin(|_| {
        Response::new(206)
            .with("Cache-Control", "max-age=60")
            .with("Content-Range", "bytes 0-3/10")
            .body("0123")
    });
    admin.gate.send(&get("/a").with("Range", "bytes=0-3"));
    assert_eq!(look(&admin, URL)["tiers"][0]["state"], "none");
    let report = look(&admin, &format!("{URL}&header=Range:bytes%3D0-3"));
    assert_eq!(report["tiers"][0]["answer"]["part"], "bytes 0-3/10");
}

#[test]
fn what_is_no_request_is_refused() {
    let admin = admin(&json!({}));
    for query in [
        "",
        "method=GET",
        "url=/a",
        "url=ftp://app.example/",
        "url=https://app.example/&header=:none",
        "url=https://app.example/&header=a%20b:c",
        "url=https://app.example/&header=a:b%0Ac:d",
        "url=https://app.example/&method=a%20b",
        "url=https://app.example/&url=https://app.example/",
        "url=https://app.example/&body=1",
    ] {
        assert_eq!(
            refused(&admin.get("reader", &format!("/cache?{query}"))),
            (400, "bad-request".to_owned()),
            "{query}"
        );
    }
    let many = "&header=a:b".repeat(129);
    assert_eq!(admin.get("reader", &format!("/cache?{URL}{many}")).status, 400);
    assert_eq!(admin.get("reader", &format!("/cache?{URL}{}", "&header=a:b".repeat(128))).status, 200);
}
