//! Request fields that a route reduces: what selects is what the origin gets.

use edgeweir::exchange::{Head, PlainHead, join_lines};
use edgeweir::stages::cache::CacheStage;
use edgeweir::stages::cache::normalise::Device;
use edgeweir::stages::cache::plan::plan;
use edgeweir::stages::cache::vary::{Selector, values};
use http::header::{ACCEPT_ENCODING, ACCEPT_LANGUAGE, HeaderName, USER_AGENT};
use proptest::prelude::*;
use serde_json::json;

use super::{compiled, stage};
use crate::fake::{With, check, edit, get, request};

const IPHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1";
const IPAD: &str = "Mozilla/5.0 (iPad; CPU OS 12_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/12.1 Mobile/15E148 Safari/604.1";
const PIXEL: &str = "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Mobile Safari/537.36";
const GALAXY_TAB: &str = "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36";
const FIREFOX_TABLET: &str = "Mozilla/5.0 (Android 14; Tablet; rv:127.0) Gecko/127.0 Firefox/127.0";
const FIREFOX_MOBILE: &str = "Mozilla/5.0 (Android 14; Mobile; rv:127.0) Gecko/127.0 Firefox/127.0";
const CHROME: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36";

#[test]
fn devices_are_told_apart() {
    let of = |agent: &str| Device::of(&get("/").with("User-Agent", agent));
    for agent in [IPHONE, PIXEL, FIREFOX_MOBILE, "Opera/9.80 (J2ME/MIDP; Opera Mini/5.1; U; en) Mobi"] {
        assert_eq!(of(agent), Device::Mobile, "{agent}");
    }
    for agent in [IPAD, GALAXY_TAB, FIREFOX_TABLET] {
        assert_eq!(of(agent), Device::Tablet, "{agent}");
    }
    for agent in [CHROME, "curl/8.5.0", ""] {
        assert_eq!(of(agent), Device::Desktop, "{agent}");
    }
    assert_eq!(Device::of(&get("/")), Device::Desktop);
    // The hint goes first.
    let hinted = |hint: &str| Device::of(&get("/").with("User-Agent", CHROME).with("Sec-CH-UA-Mobile", hint));
    assert_eq!((hinted("?1"), hinted("?0"), hinted("1")), (Device::Mobile, Device::Desktop, Device::Desktop));
    // What the origin gets is read as what it stands for.
    for device in [Device::Mobile, Device::Tablet, Device::Desktop] {
        assert_eq!(of(device.user_agent()), device);
    }
}

fn reduced(stage: &CacheStage, name: &HeaderName, value: Option<&str>) -> String {
    let head = value.map_or_else(|| get("/"), |value| get("/").with(name.as_str(), value));
    stage.seen(name, &head).unwrap().into_owned()
}

/// RFC 9110, 12.5.3.
#[test]
fn codings_are_those_that_matter() {
    let stage = stage(&json!({"vary": {"encoding": true}}));
    let by = |value: &str| reduced(&stage, &ACCEPT_ENCODING, Some(value));
    for (field, codings) in [
        ("gzip, deflate, br, zstd", "gzip, br, zstd"),
        ("br;q=1.0, GZIP;q=0.5, *;q=0.1", "gzip, br, zstd"),
        ("gzip;q=0, br", "br"),
        ("deflate", "identity"),
        ("", "identity"),
        ("identity", "identity"),
        ("identity;q=1, *;q=0", "identity;q=1, *;q=0"),
        ("gzip, identity;q=0", "gzip, identity;q=0"),
        ("gzip;q=2", "gzip;q=2"),
        ("*", "gzip, br, zstd"),
        ("*, br;q=0", "gzip, zstd"),
        ("x-gzip", "gzip"),
    ] {
        assert_eq!(by(field), codings, "{field}");
    }
    assert_eq!(reduced(&stage, &ACCEPT_ENCODING, None), "identity");
}

/// RFC 4647, 3.4.
#[test]
fn a_language_is_one_of_the_route_s() {
    let stage = stage(&json!({"vary": {"languages": ["en", "de", "pt-BR", "zh-Hant"]}}));
    let by = |value: &str| reduced(&stage, &ACCEPT_LANGUAGE, Some(value));
    for (field, language) in [
        ("de", "de"),
        ("DE-at", "de"),
        ("de-CH-1996", "de"),
        ("pt", "pt-BR"),
        ("pt-PT", "en"),
        ("fr, de;q=0.5", "de"),
        ("de;q=0.5, pt-br", "pt-BR"),
        ("fr;q=0.9, en;q=0.3, de;q=0.8", "de"),
        ("de;q=0, fr", "en"),
        ("*", "en"),
        ("fr, *;q=0.1", "en"),
        ("zh-Hant-TW", "zh-Hant"),
        ("zh", "zh-Hant"),
        ("", "en"),
        ("de;q=x", "en"),
        ("é", "en"),
    ] {
        assert_eq!(by(field), language, "{field}");
    }
    assert_eq!(reduced(&stage, &ACCEPT_LANGUAGE, None), "en");
}

#[test]
fn nothing_is_reduced_by_itself() {
    let head = get("/").with("User-Agent", IPHONE).with("Accept-Encoding", "a, gzip");
    let plain = CacheStage::default();
    assert!(plain.edits(&plan(&head, &plain, None), &head).is_empty() && plain.sends_all());
    assert_eq!(plain.seen(&USER_AGENT, &head).as_deref(), Some(IPHONE));
    assert_eq!(plain.seen(&ACCEPT_LANGUAGE, &head), None);
}

/// What goes past the cache arrives as it was sent; a POST that is sent so
/// stands for nothing.
#[test]
fn only_what_may_be_stored_is_reduced() {
    let stage = stage(&json!({"vary": {"encoding": true, "device": true}}));
    let edits = |head: &PlainHead| stage.edits(&plan(head, &stage, None), head);
    assert_eq!(edits(&get("/").with("Accept-Encoding", "deflate")).len(), 3);
    assert!(edits(&get("/").with("If-Match", "*")).is_empty());
    let post = request("POST", "/");
    assert!(edits(&post).is_empty() && !plan(&post, &stage, None).represents);
}

#[test]
fn what_is_out_of_range_is_refused() {
    for (vary, path) in [
        (json!({"languages": vec!["en"; 33]}), "languages"),
        (json!({"languages": [""]}), "languages[0]"),
        (json!({"languages": ["en, de"]}), "languages[0]"),
        (json!({"languages": ["en-"]}), "languages[0]"),
        (json!({"languages": ["abcdefghi"]}), "languages[0]"),
        (json!({"device": true, "ignore": ["User-Agent"]}), "ignore[0]"),
        (json!({"languages": ["en"], "ignore": ["X-A", "Accept-Language"]}), "ignore[1]"),
    ] {
        let found = compiled(&json!({"vary": vary})).unwrap_err();
        assert_eq!(found, [format!("routes[0].cache.vary.{path}")]);
    }
    assert!(compiled(&json!({"vary": {"device": true, "ignore": ["Accept-Language"]}})).is_ok());
}

/// Two requests that select the same reach the origin the same, and what
/// reaches it selects the same again.
#[test]
fn what_selects_is_what_is_sent() {
    let stage =
        stage(&json!({"vary": {"encoding": true, "device": true, "languages": ["en", "de-AT", "pt"]}}));
    let fields = [USER_AGENT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, HeaderName::from_static("sec-ch-ua-mobile")];
    let selectors: Vec<Selector> = fields.iter().map(Selector::field).collect();
    let sent = |head: &PlainHead| {
        let mut sent = head.clone();
        edit(&mut sent.fields, &stage.edits(&plan(head, &stage, None), head));
        sent
    };
    let value = || {
        prop::option::of(
            "(gzip|br|zstd|identity|\\*|de|en|pt-BR|Android|Mobi|iPad|\\?1|;q=0|;q=0\\.5|, | |-){0,6}",
        )
    };
    check(2_000, prop::collection::vec((value(), value(), value(), value()), 2), |pair| {
        let heads: Vec<PlainHead> = pair
            .iter()
            .map(|(one, two, three, four)| {
                [one, two, three, four].into_iter().zip(&fields).fold(get("/"), |head, (value, name)| {
                    value.as_ref().map_or(head.clone(), |value| head.with(name.as_str(), value))
                })
            })
            .collect();
        let by: Vec<_> = heads.iter().map(|head| values(selectors.clone(), head, &stage).unwrap()).collect();
        let reached: Vec<PlainHead> = heads.iter().map(sent).collect();
        for (by, reached) in by.iter().zip(&reached) {
            prop_assert_eq!(by, &values(selectors.clone(), reached, &stage).unwrap());
            for name in &fields {
                prop_assert_eq!(stage.seen(name, reached), reached.field(name));
            }
        }
        for name in [&USER_AGENT, &ACCEPT_LANGUAGE, &fields[3]] {
            let same = stage.seen(name, &heads[0]) == stage.seen(name, &heads[1]);
            let arrived = [0, 1].map(|index| join_lines(&reached[index].fields, name));
            prop_assert_eq!(same, arrived[0] == arrived[1]);
        }
        Ok(())
    });
}
