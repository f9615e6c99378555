//! Lifetimes that a route gives by status.

use edgeweir::stages::cache::conclude::{Answer, conclude, freshen};
use edgeweir::stages::cache::directives::LONGEST;
use edgeweir::stages::cache::entry::Entry;
use edgeweir::stages::cache::lifetimes::Statuses;
use edgeweir::stages::cache::plan::Credentials;
use edgeweir::stages::cache::{CacheStage, NotStored};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Fields, at, compiled, lines, planned, stage};
use crate::fake::{With, check, get, request};

fn answer(status: u16, fields: Fields<'_>) -> Answer {
    Answer { status, fields: lines(fields), sent: at(0), received: at(0), began: 0 }
}

fn concluded(stage: &CacheStage, status: u16, fields: Fields<'_>) -> Result<Entry, NotStored> {
    let head = get("/");
    conclude(&head, &planned(&head), stage, answer(status, fields), None)
}

fn rules(rules: &Value) -> CacheStage {
    stage(&json!({"lifetimes": rules}))
}

#[test]
fn statuses_are_one_a_class_or_a_range() {
    let holds = |text: &str, status| Statuses::parse(text).unwrap().hold(status);
    assert!(holds("404", 404) && !holds("404", 403) && !holds("404", 405));
    assert!(holds("5xx", 500) && holds("5xx", 599) && !holds("5xx", 499));
    assert!(holds("400-404", 400) && holds("400-404", 404) && !holds("400-404", 405));
    for bad in
        ["", "4", "40", "4040", "xx", "1xx", "6xx", "404-400", "199", "600", "4xx-5xx", "40x", "+44", "200-"]
    {
        assert_eq!(Statuses::parse(bad), None, "{bad}");
    }
    check(1_000, "\\PC{0,12}", |text| {
        let _ = Statuses::parse(&text);
        Ok(())
    });
}

#[test]
fn the_first_rule_for_a_status_stands_in_for_what_the_origin_says() {
    let stage = rules(&json!([
        {"status": ["404", "410"], "lifetime": "10s"},
        {"status": ["4xx"], "lifetime": "5s"},
        {"status": ["2xx"], "lifetime": "2m"},
    ]));
    // Also where it says nothing at all, or something else.
    let (fresh, stale) = (("Cache-Control", "max-age=600"), ("Cache-Control", "max-age=0"));
    let expired = ("Expires", "0");
    for said in [&[][..], &[fresh], &[stale], &[expired], &[("CDN-Cache-Control", "max-age=9")]] {
        for (status, lifetime) in [(404, 10), (410, 10), (403, 5), (200, 120)] {
            assert_eq!(concluded(&stage, status, said).unwrap().lifetime, lifetime, "{status} {said:?}");
        }
    }
    assert_eq!(concluded(&stage, 500, &[]), Err(NotStored::Freshness));
    assert_eq!(concluded(&stage, 500, &[fresh]).unwrap().lifetime, 600);
}

#[test]
fn a_lifetime_of_zero_is_none() {
    let stage = rules(&json!([{"status": ["400-499"], "lifetime": "0s"}]));
    let said = &[("Cache-Control", "public, max-age=600"), ("ETag", "\"a\"")];
    assert_eq!(concluded(&stage, 404, said), Err(NotStored::Lifetime));
    assert_eq!(NotStored::Lifetime.as_str(), "lifetime");
    assert!(concluded(&stage, 200, said).is_ok());
    // Less than a second is not zero.
    let brief = rules(&json!([{"status": ["404"], "lifetime": "1ms"}]));
    assert_eq!(concluded(&brief, 404, &[]).unwrap().lifetime, 1);
}

#[test]
fn it_counts_from_the_arrival_on() {
    let stage = rules(&json!([{"status": ["404"], "lifetime": "10s"}]));
    let old = concluded(&stage, 404, &[("Age", "100")]).unwrap();
    assert_eq!((old.initial_age, old.lifetime), (100, 110));
    // What is 2^31 and more is stale all the same (RFC 9111, 1.2.2).
    let oldest = concluded(&stage, 404, &[("Age", "99999999999")]);
    assert_eq!(oldest, Err(NotStored::Freshness));
    assert_eq!(LONGEST, 2_147_483_648);
}

#[test]
fn it_sets_no_rule_aside_about_whose_an_answer_is() {
    for force in [false, true] {
        let stage = rules(&json!([{"status": ["2xx"], "lifetime": "10s", "force": force}]));
        assert_eq!(concluded(&stage, 200, &[("Cache-Control", "private")]), Err(NotStored::Directive));
        assert_eq!(concluded(&stage, 200, &[("Cache-Control", "x=\"a")]), Err(NotStored::Directive));
        assert_eq!(concluded(&stage, 200, &[("Set-Cookie", "a=b")]), Err(NotStored::SetCookie));
        assert_eq!(concluded(&stage, 200, &[("Vary", "*")]), Err(NotStored::Vary));
        for name in ["Authorization", "Cookie"] {
            let head = get("/").with(name, "a=b");
            let concluded = conclude(&head, &planned(&head), &stage, answer(200, &[]), None);
            assert_eq!(concluded, Err(NotStored::Credentials), "{name}");
        }
        let asked = get("/").with("Cache-Control", "no-store");
        assert_eq!(
            conclude(&asked, &planned(&asked), &stage, answer(200, &[]), None),
            Err(NotStored::Request)
        );
    }
}

#[test]
fn it_sets_no_store_aside_only_where_it_says_so() {
    let said = [("Cache-Control", "no-store"), ("CDN-Cache-Control", "no-store")];
    let plain = rules(&json!([{"status": ["2xx"], "lifetime": "10s"}]));
    let forced = rules(&json!([{"status": ["2xx"], "lifetime": "10s", "force": true}]));
    for line in said {
        assert_eq!(concluded(&plain, 200, &[line]), Err(NotStored::Directive));
        let entry = concluded(&forced, 200, &[line]).unwrap();
        assert_eq!((entry.lifetime, entry.validate_always), (10, false));
    }
    let tagged = [("Cache-Control", "no-cache"), ("ETag", "\"a\"")];
    assert!(concluded(&plain, 200, &tagged).unwrap().validate_always);
    let entry = concluded(&forced, 200, &tagged).unwrap();
    assert!(!entry.validate_always && !entry.shared && !entry.authorized);
    // Fields that are named stay out.
    let named = concluded(&forced, 200, &[("Cache-Control", "no-cache=\"x-a\""), ("X-A", "1")]).unwrap();
    assert_eq!(named.field(&"x-a".parse().unwrap()), None);
}

/// RFC 9110, 9.3.3 asks for a lifetime of the origin's own.
#[test]
fn the_answer_to_a_post_needs_the_origin_s_word() {
    let stage = rules(&json!([{"status": ["2xx"], "lifetime": "10s"}]));
    let head = request("POST", "/");
    let plan = edgeweir::stages::cache::plan::Plan { store: true, ..planned(&head) };
    let by = |fields: Fields<'_>| conclude(&head, &plan, &stage, answer(200, fields), None);
    assert_eq!(by(&[]), Err(NotStored::Freshness));
    assert_eq!(by(&[("Cache-Control", "max-age=5")]).unwrap().lifetime, 10);
}

#[test]
fn a_304_gives_it_anew() {
    let stage = rules(&json!([{"status": ["200"], "lifetime": "10s"}]));
    let entry = concluded(&stage, 200, &[("ETag", "\"a\"")]).unwrap();
    let news = Answer { sent: at(20), received: at(20), ..answer(304, &[("ETag", "\"a\"")]) };
    let fresh = freshen(&entry, news, Credentials::None, &stage).unwrap();
    assert_eq!((fresh.received, fresh.lifetime), (at(20), 10));
    let none = rules(&json!([{"status": ["200"], "lifetime": "0s"}]));
    assert_eq!(freshen(&entry, answer(304, &[]), Credentials::None, &none), Err(NotStored::Lifetime));
}

#[test]
fn what_is_out_of_range_is_refused() {
    for (rule, path) in [
        (json!({"status": ["404"], "lifetime": "31d"}), "[0].lifetime"),
        (json!({"status": [], "lifetime": "1s"}), "[0].status"),
        (json!({"status": ["404-400"], "lifetime": "1s"}), "[0].status[0]"),
        (json!({"status": [404], "lifetime": "1s"}), "[0].status[0]"),
        (json!({"status": ["404"]}), "[0].lifetime"),
        (json!({"status": vec!["404"; 17], "lifetime": "1s"}), "[0].status"),
    ] {
        let found = compiled(&json!({"lifetimes": [rule.clone()]})).unwrap_err();
        assert!(found[0].starts_with("routes[0].cache.lifetimes[0]"), "{rule}: {found:?} {path}");
    }
    let rule = json!({"status": ["404"], "lifetime": "1s"});
    let found = compiled(&json!({"lifetimes": vec![rule; 17]})).unwrap_err();
    assert_eq!(found, ["routes[0].cache.lifetimes"]);
}

/// Whatever the rule and the origin say, nothing is fresh for longer than the
/// rule says.
#[test]
fn nothing_outlives_the_route_s_lifetime() {
    let stage = rules(&json!([{"status": ["200-599"], "lifetime": "10s", "force": true}]));
    check(1_000, (200..600_u16, 0..u64::from(u32::MAX), 0..1_000_000_u64), |(status, age, said)| {
        let (age, said) = (age.to_string(), format!("max-age={said}"));
        if let Ok(entry) = concluded(&stage, status, &[("Age", &age), ("Cache-Control", &said)]) {
            prop_assert!(entry.lifetime - entry.initial_age <= 10);
        }
        Ok(())
    });
}
