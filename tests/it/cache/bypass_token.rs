//! Tokens that take a request past the cache.

use edgeweir::stages::cache::bypass_token::{BypassKey, BypassRefusal, BypassToken, TOKEN_LIMIT};
use edgeweir::stages::target::{Target, parse};
use edgeweir::time::Timestamp;
use hmac::{Hmac, Mac};
use proptest::prelude::*;
use sha2::Sha256;

use crate::fake::{START, check};

/// The key, and the two tokens that tests/scripts/token.spec.mjs makes: for an
/// hour from [`START`].
pub const KEY: &str = "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk";
pub const FOR_ALL: &str = "v1.1767229200..oUvwZIAlUjIR25p9K0WkOWkqjHta-jn8kODxjL6SKPM";
const FOR_BLOG: &str = "v1.1767229200.YXBwLmV4YW1wbGUvYmxvZw.yMh0gvUhFE6I7zfbf__fFF4SXlPeQRI_4jiUv8HEj8M";

fn base64url(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

/// A token of any text, signed by a key.
fn signed(key: &str, text: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
    mac.update(text.as_bytes());
    format!("{text}.{}", base64url(&mac.finalize().into_bytes()))
}

fn token(seconds: u64, scope: &str) -> String {
    signed(KEY, &format!("v1.{}.{}", START / 1_000 + seconds, base64url(scope.as_bytes())))
}

fn target(url: &str) -> Target<'_> {
    parse(url, None).unwrap()
}

fn judge_at(token: &str, url: &str, millis: u64) -> Result<(), BypassRefusal> {
    BypassKey::new(KEY).unwrap().judge(token, &target(url), Timestamp::from_millis(START + millis))
}

fn judge(token: &str) -> Result<(), BypassRefusal> {
    judge_at(token, "https://app.example/a", 0)
}

#[test]
fn a_signed_token_is_good_until_it_ends() {
    assert_eq!(judge(FOR_ALL), Ok(()));
    assert_eq!(judge_at(FOR_ALL, "https://app.example/a", 3_599_999), Ok(()));
    for late in [3_600_000, 3_600_001, u64::from(u32::MAX) * 1_000] {
        assert_eq!(judge_at(FOR_ALL, "https://app.example/a", late), Err(BypassRefusal::Expired));
    }
    assert_eq!(judge(&token(0, "")), Err(BypassRefusal::Expired));
}

#[test]
fn and_for_a_day_at_most() {
    assert_eq!(judge(&token(86_400, "")), Ok(()));
    assert_eq!(judge(&token(86_401, "")), Err(BypassRefusal::TooLong));
    assert_eq!(judge(&signed(KEY, "v1.18446744073709551615.")), Err(BypassRefusal::TooLong));
}

#[test]
fn only_where_its_scope_is() {
    for (scope, url, good) in [
        ("app.example", "https://app.example/", true),
        ("APP.example", "http://app.example/x/y?z", true),
        ("app.example/", "https://app.example/x", true),
        ("app.example", "https://other.example/", false),
        ("app.example", "https://app.example:8443/", false),
        ("app.example:8443", "https://app.example:8443/", true),
        ("app.example", "https://sub.app.example/", false),
        ("app.example/blog", "https://app.example/blog", true),
        ("app.example/blog", "https://app.example/blog/", true),
        ("app.example/blog/", "https://app.example/blog", true),
        ("app.example/blog", "https://app.example/blog/a", true),
        ("app.example/blog", "https://app.example/%62log/a", true),
        ("app.example/blog", "https://app.example/blog-2", false),
        ("app.example/blog", "https://app.example/", false),
        ("app.example/../a", "https://app.example/a", false),
        ("/a", "https://app.example/a", false),
    ] {
        let expected = if good { Ok(()) } else { Err(BypassRefusal::Scope) };
        assert_eq!(judge_at(&token(60, scope), url, 0), expected, "{scope} {url}");
    }
    assert_eq!(judge_at(FOR_BLOG, "https://app.example/blog/a", 0), Ok(()));
    assert_eq!(judge_at(FOR_BLOG, "https://app.example/a", 0), Err(BypassRefusal::Scope));
}

/// Whoever has no key makes none, and learns nothing from what is said.
#[test]
fn what_was_not_signed_is_none() {
    let mut flipped = FOR_ALL.to_owned();
    flipped.replace_range(flipped.len() - 2..flipped.len() - 1, "A");
    for wrong in [
        signed(&"x".repeat(43), "v1.1767229200."),
        flipped,
        FOR_ALL.replace("1767229200", "1767229201"),
        FOR_BLOG.replace("YXBwLmV4YW1wbGUvYmxvZw", ""),
        // Expired and of another scope, but that is not said of what is unsigned.
        "v1.1.YQ.AAAA".to_owned(),
        // A part of the signature is none.
        FOR_ALL[..FOR_ALL.len() - 3].to_owned(),
        "v1.1767229200..".to_owned(),
    ] {
        assert_eq!(judge(&wrong), Err(BypassRefusal::Signature), "{wrong}");
    }
}

#[test]
fn what_has_another_form_is_none() {
    let long = signed(KEY, &format!("v1.1767229200.{}", "A".repeat(TOKEN_LIMIT)));
    for wrong in [
        "",
        "v1",
        "v1...",
        "v2.1767229200..AAAA",
        "v1.+1767229200..AAAA",
        "v1.01767229200..AAAA",
        "v1.18446744073709551616..AAAA",
        "v1.1767229200.%.AAAA",
        "v1.1767229200.YQ==.AAAA",
        // Trailing bits: another text for the same scope.
        "v1.1767229200.YR.AAAA",
        "v1.1767229200.gA.AAAA",
        "v1.1767229200..AAAA.AAAA",
        "v1.1767229200..A",
        // A token of the admin API.
        "weir_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "Bearer weir_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        long.as_str(),
    ] {
        assert_eq!(judge(wrong), Err(BypassRefusal::Malformed), "{wrong}");
    }
}

#[test]
fn a_key_has_a_size() {
    for text in ["", "short", &"k".repeat(31), &"k".repeat(1_025), &format!("{}  \n", "k".repeat(31))] {
        let why = BypassKey::new(text).unwrap_err();
        assert!(why.starts_with("CACHE_BYPASS_KEY: expected 32 to 1,024 bytes"), "{why}");
    }
    // Secrets are put by pipes, which leave a line break.
    let key = BypassKey::new(&format!("{KEY}\n")).unwrap();
    let now = Timestamp::from_millis(START);
    assert_eq!(key.judge(FOR_ALL, &target("https://app.example/"), now), Ok(()));
    assert_eq!(format!("{key:?}"), "BypassKey");
}

#[test]
fn no_change_of_a_token_is_another_one() {
    let change = (0..FOR_BLOG.len(), any::<char>());
    check(2_000, change, |(at, character)| {
        let mut changed: Vec<char> = FOR_BLOG.chars().collect();
        let before = std::mem::replace(&mut changed[at], character);
        let changed: String = changed.into_iter().collect();
        let said = judge_at(&changed, "https://app.example/blog", 0);
        prop_assert_eq!(said.is_ok(), before == character);
        if let Some(token) = BypassToken::parse(&changed) {
            // One text for each token.
            let (scope, mac) = (base64url(token.scope.as_bytes()), base64url(&token.mac));
            prop_assert_eq!(format!("v1.{}.{scope}.{mac}", token.expires), changed);
        }
        Ok(())
    });
}
