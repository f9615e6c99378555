//! What the reader of purges makes of any text answers every question as a scan
//! of its records does, is written again to the same effect, and voids what is
//! older where it is damaged.
#![no_main]

use edgeweir::purge::url::{parse_prefix, parse_url, url_of};
use edgeweir::purge::{Purge, Purges, Scope, Stored, Void, encode, tags_of};
use libfuzzer_sys::fuzz_target;

fn slashed(path: &str) -> String {
    format!("{}/", path.strip_suffix('/').unwrap_or(path))
}

/// With a final slash on the path, as prefixes are compared.
fn form(url: &str) -> String {
    url.split_once('?').map_or_else(|| slashed(url), |(path, query)| format!("{}?{query}", slashed(path)))
}

fn matches(scope: &Scope, stored: &Stored<'_>) -> bool {
    match scope {
        Scope::All => true,
        Scope::Url(url) => url == stored.url,
        Scope::Tag(tag) => stored.tags.contains(tag),
        Scope::Prefix(prefix) => {
            let prefix = if prefix.ends_with('?') { form(prefix) } else { prefix.clone() };
            form(stored.url).starts_with(&prefix)
        }
    }
}

// Target, tags and beginning of an answer, each on a line; then the list.
fuzz_target!(|input: &str| {
    let mut lines = input.splitn(4, '\n');
    let mut line = || lines.next().unwrap_or_default();
    let (target, tags, began, text) = (line(), line(), line(), line());
    let began: u64 = began.parse().unwrap_or_default();
    let purges = Purges::read(text, 1 << 40);
    let url = url_of("https", "a.example", target);
    let tags = tags_of([tags]).unwrap_or_default();
    let stored = Stored { url: &url, tags: &tags, began };
    let verdict = purges.judge(&stored);
    assert!(verdict.is_none() || began < purges.newest());
    if purges.damage().is_some() {
        assert_eq!(verdict.is_some(), began < 1 << 40);
        return;
    }
    // A number that is too large for a tree may stand where nobody looks.
    let Ok(tree) = serde_json::from_str::<serde_json::Value>(text) else { return };
    let records: Vec<Purge> = serde_json::from_value(tree["records"].clone()).expect("it was read");
    let newer = |soft| {
        records
            .iter()
            .any(|purge| purge.soft == soft && purge.sequence > began && matches(&purge.scope, &stored))
    };
    let scan =
        if newer(false) { Some(Void { soft: false }) } else { newer(true).then_some(Void { soft: true }) };
    // A URL outside its form may end in slashes that a scan here cannot tell.
    let in_form = |purge: &Purge| match &purge.scope {
        Scope::Url(url) => parse_url(url).as_ref() == Some(url),
        Scope::Prefix(prefix) => parse_prefix(prefix).as_ref() == Some(prefix),
        Scope::Tag(_) | Scope::All => true,
    };
    if parse_url(&url).is_some() && records.iter().all(in_form) {
        assert_eq!(verdict, scan);
    }
    assert_eq!(Purges::new(&records).judge(&stored), verdict);
    let again = Purges::read(&encode(records.iter()), 1 << 40);
    assert!(again.damage().is_some() || again.judge(&stored) == verdict);
});
