//! Fetching: what is asked, where redirects lead, and every way to fail.

use edgeweir::error::PlatformError;
use edgeweir::feeds::config::feed_url;
use edgeweir::feeds::fetch::{FETCH_WAIT, FetchFailure, Fetched, Validators, fetch, resolve, shown};
use edgeweir::feeds::{Feed, Format, HostBits, Limits};
use edgeweir::platform::BodyError;
use proptest::prelude::*;
use url::Url;

use super::texts;
use crate::fake::feeds::{Asked, Served};
use crate::fake::{FakePlatform, Fault, block_on, check};

const URL: &str = "https://lists.example/drop.txt";

pub fn feed(url: &str) -> Feed {
    Feed {
        url: url.to_owned(),
        format: Format::Netset,
        interval: std::time::Duration::from_secs(3_600),
        host_bits: HostBits::Refuse,
        limits: Limits { bytes: 10_000, prefixes: 1_000 },
        max_change: 50,
        allow_private: false,
    }
}

fn tagged(tag: &str) -> Validators {
    Validators { etag: Some(tag.to_owned()), last_modified: None }
}

fn fetched(platform: &FakePlatform, known: &Validators) -> Result<Fetched, FetchFailure> {
    block_on(fetch(platform, &feed(URL), known))
}

/// Label and text of a failure.
fn failure(platform: &FakePlatform) -> (&'static str, String) {
    let failure = fetched(platform, &Validators::default()).unwrap_err();
    (failure.as_str(), failure.to_string())
}

fn serving(served: Served) -> FakePlatform {
    let platform = FakePlatform::default();
    platform.feeds.serve(move |_| served.clone());
    platform
}

#[test]
fn a_list_comes_with_what_the_server_says_of_it() {
    let platform = serving(
        Served::list("198.51.100.0/24\n").etag("\"a\"").last_modified("Thu, 01 Jan 2026 05:17:00 GMT"),
    );
    let Ok(Fetched::List(list, validators)) = fetched(&platform, &Validators::default()) else { panic!() };
    assert_eq!(texts(&list), ["198.51.100.0/24"]);
    assert_eq!(validators.etag.as_deref(), Some("\"a\""));
    assert_eq!(validators.last_modified.as_deref(), Some("Thu, 01 Jan 2026 05:17:00 GMT"));
    let asked = platform.feeds.asked.take();
    let plain = Asked { url: URL.to_owned(), if_none_match: None, if_modified_since: None };
    assert_eq!(asked, [plain]);
}

/// RFC 9110, 13.1.3: a date only where there is no entity tag.
#[test]
fn what_is_known_is_repeated() {
    let date = "Thu, 01 Jan 2026 05:17:00 GMT".to_owned();
    let platform = serving(Served::status(304));
    let both = Validators { last_modified: Some(date.clone()), ..tagged("W/\"a\"") };
    assert_eq!(fetched(&platform, &both), Ok(Fetched::Unchanged));
    let asked = platform.feeds.asked.take();
    assert_eq!((asked[0].if_none_match.as_deref(), &asked[0].if_modified_since), (Some("W/\"a\""), &None));
    let date_only = Validators { etag: None, last_modified: Some(date.clone()) };
    assert_eq!(fetched(&platform, &date_only), Ok(Fetched::Unchanged));
    let asked = platform.feeds.asked.take();
    assert_eq!((&asked[0].if_none_match, asked[0].if_modified_since.as_ref()), (&None, Some(&date)));
    // Nobody asked whether it has changed.
    assert_eq!(failure(&platform).0, "feed-status");
}

#[test]
fn a_validator_that_cannot_be_sent_back_is_none() {
    for tag in ["", "\"a\u{1}\"", "\"ä\"", &"x".repeat(513)] {
        let platform = serving(Served::list("198.51.100.1\n").etag(tag));
        let Ok(Fetched::List(_, validators)) = fetched(&platform, &Validators::default()) else { panic!() };
        assert_eq!(validators, Validators::default(), "{tag:?}");
    }
}

#[test]
fn any_other_status_is_a_failure() {
    for status in [100, 201, 204, 206, 300, 304, 305, 306, 400, 403, 404, 410, 429, 500, 503] {
        let platform =
            serving(Served { head: Served::status(status).head, ..Served::list("198.51.100.1\n") });
        let (label, text) = failure(&platform);
        assert_eq!((label, text.contains(&status.to_string())), ("feed-status", true), "{status}");
        // Its body is nobody's.
        assert_eq!((platform.feeds.read.get(), platform.feeds.left()), (0, 0), "{status}");
    }
}

#[test]
fn redirects_are_followed_one_by_one() {
    let platform = FakePlatform::default();
    platform.feeds.serve(|asked| match asked.url.as_str() {
        URL => Served::to("/a/b?c=d"),
        "https://lists.example/a/b?c=d" => Served::to("../other"),
        "https://lists.example/a/../other" => Served::to("//cdn.example:8443/x#y"),
        "https://cdn.example:8443/x" => Served::list("198.51.100.1\n"),
        url => panic!("{url}"),
    });
    assert!(matches!(fetched(&platform, &tagged("\"a\"")), Ok(Fetched::List(..))));
    let asked = platform.feeds.asked.take();
    assert_eq!(asked.len(), 4);
    assert!(asked.iter().all(|asked| asked.if_none_match.as_deref() == Some("\"a\"")));
    // The bodies of redirects are nobody's.
    assert_eq!(platform.feeds.stopped.get(), 3);
}

#[test]
fn redirects_lead_to_public_https_urls_only() {
    for location in [
        "http://lists.example/drop.txt",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://169.254.169.254/latest/meta-data/",
        "https://metadata.google.internal/",
        "https://localhost/",
        "https://user:hunter2@lists.example/",
        "https://lists.example\\@evil.example/",
        "ftp://lists.example/",
        "file:///etc/passwd",
        "data:text/plain,198.51.100.1",
        "javascript:alert(1)",
        "//10.0.0.1/",
        "https:/lists.example/",
        "https:lists.example/",
        "https://lists.example/\u{202e}",
        "https://2130706433/?key=hunter2",
    ] {
        let location = location.to_owned();
        let platform = serving(Served::to(&location));
        let (label, text) = failure(&platform);
        assert_eq!(label, "feed-redirect", "{location}");
        assert_eq!(platform.feeds.urls(), [URL], "{location}");
        assert!(!text.contains("hunter2"), "{text}");
    }
    let mut nowhere = Served::to("");
    nowhere.head.location = None;
    assert_eq!(failure(&serving(nowhere)).0, "feed-redirect");
}

#[test]
fn a_loop_ends_after_three_redirects() {
    let platform = serving(Served::to(URL));
    assert_eq!(failure(&platform), ("feed-redirect", "it leads on after 3 redirects".to_owned()));
    assert_eq!(platform.feeds.urls().len(), 4);
}

#[test]
fn one_deadline_is_for_all_of_it() {
    let wait = u64::try_from(FETCH_WAIT.as_millis()).unwrap();
    // A head that does not come.
    let platform = serving(Served::list("198.51.100.1\n"));
    platform.feeds.head_takes.set(wait + 1);
    assert_eq!(failure(&platform).0, "feed-timeout");
    // Redirects that each take a while.
    let platform = serving(Served::to(URL));
    platform.feeds.head_takes.set(wait / 2);
    assert_eq!(failure(&platform).0, "feed-timeout");
    assert_eq!(platform.feeds.urls().len(), 2);
    // A body that trickles.
    let platform = serving(Served::list(&"198.51.100.1\n".repeat(300)));
    platform.feeds.piece_takes.set(wait / 10);
    assert_eq!(failure(&platform).0, "feed-timeout");
    assert!(platform.feeds.read.get() <= 10);
    assert_eq!(platform.feeds.left(), 0);
    // All within it.
    let platform = serving(Served::list("198.51.100.1\n"));
    platform.feeds.head_takes.set(wait / 2);
    platform.feeds.piece_takes.set(wait / 10);
    assert!(fetched(&platform, &Validators::default()).is_ok());
}

#[test]
fn what_breaks_off_is_no_list() {
    for (error, label) in [(BodyError::Broken, "feed-unreachable"), (BodyError::TimedOut, "feed-timeout")] {
        let platform = serving(Served::list("198.51.100.1\n").ending(error));
        assert_eq!(failure(&platform).0, label);
    }
    for (fault, label) in [(Fault::Fails, "feed-unreachable"), (Fault::TimesOut, "feed-timeout")] {
        assert_eq!(failure(&serving(Served::failing(fault))).0, label);
    }
}

#[test]
fn what_is_too_large_is_not_read_on() {
    let platform = serving(Served::list(&"198.51.100.1\n".repeat(5_000)));
    assert_eq!(failure(&platform).0, "oversized");
    // 10,000 bytes in pieces of a hundred.
    assert_eq!((platform.feeds.read.get(), platform.feeds.left()), (101, 0));
    assert_eq!(platform.feeds.stopped.get(), 1);
}

#[test]
fn what_is_no_list_is_refused() {
    assert_eq!(failure(&serving(Served::list("<html>maintenance</html>"))).0, "malformed");
    assert_eq!(failure(&serving(Served::list("198.51.100.7/24"))).0, "host-bits");
}

/// Against an independent reading of RFC 3986 and the WHATWG's URLs.
#[test]
fn references_are_resolved_as_fetch_does() {
    let bases = [
        "https://a.example/",
        "https://a.example/b/c/d?e",
        "https://a.example:8443/b?c/d",
        "https://a.example/?x",
    ];
    let piece = prop_oneof![
        Just("/"),
        Just("//"),
        Just(".."),
        Just("."),
        Just("a.example"),
        Just("b"),
        Just("?"),
        Just("#"),
        Just(":"),
        Just("https:"),
        Just("c=d"),
        Just("@"),
        Just("8443"),
    ];
    let reference = proptest::collection::vec(piece, 0..7).prop_map(|pieces| pieces.concat());
    check(3_000, (0..bases.len(), reference), |(base, reference)| {
        let ours = resolve(bases[base], &reference).and_then(|url| feed_url(&url));
        let Some(ours) = ours else { return Ok(()) };
        // What is followed is what a browser would follow.
        let mut theirs = Url::parse(bases[base]).unwrap().join(&reference).unwrap();
        theirs.set_fragment(None);
        let ours = Url::parse(&ours).unwrap();
        prop_assert_eq!(ours.as_str(), theirs.as_str(), "{} {}", bases[base], reference);
        Ok(())
    });
}

#[test]
fn no_secret_of_a_url_is_shown() {
    for (url, expected) in [
        ("https://a.example/x?key=hunter2", "\"https://a.example/x\""),
        ("https://a.example/x#hunter2", "\"https://a.example/x\""),
        ("//u:hunter2@a.example/", "a URL with credentials"),
        ("https://u@a.example", "a URL with credentials"),
        ("/a@b?x", "\"/a@b\""),
        ("a\u{1b}[2J", "\"a\u{fffd}[2J\""),
    ] {
        assert_eq!(shown(url), expected);
    }
    assert!(shown(&"a".repeat(5_000)).len() < 250);
}

#[test]
fn a_cause_is_bounded() {
    let failure = FetchFailure::Unreachable(
        PlatformError::failed(edgeweir::error::Dependency::Feed, "x".repeat(5_000)).cause,
    );
    assert!(failure.to_string().len() < 400);
}
