use edgeweir::feeds::check::private;
use edgeweir::feeds::{Format, Refusal, Terms, check};
use edgeweir::stages::ip_filter::prefix::Prefix;

use super::read;

const TERMS: Terms<'_> = Terms { before: None, max_change: 50, allow_private: false, guard_list: &[] };

fn verdict(text: &str, terms: &Terms<'_>) -> Result<(), Refusal> {
    check(&read(text, &Format::Netset).unwrap(), terms)
}

fn label(text: &str, terms: &Terms<'_>) -> &'static str {
    verdict(text, terms).map_or_else(|refusal| refusal.as_str(), |()| "ok")
}

fn hosts(count: usize) -> String {
    (0..count).map(|host| format!("198.51.100.{host}\n")).collect()
}

#[test]
fn a_list_changes_by_no_more_than_it_may() {
    let with = |before, max_change| Terms { before, max_change, ..TERMS };
    for (before, count, max_change, expected) in [
        (None, 200, 50, "ok"),
        (Some(0), 200, 50, "ok"),
        (Some(100), 50, 50, "ok"),
        (Some(100), 49, 50, "shrunk"),
        (Some(100), 150, 50, "ok"),
        (Some(100), 151, 50, "grown"),
        (Some(100), 100, 0, "ok"),
        (Some(100), 101, 0, "grown"),
        (Some(100), 99, 0, "shrunk"),
        (Some(100), 1, 100, "ok"),
        (Some(10), 200, 1_900, "ok"),
        (Some(10), 201, 1_900, "grown"),
        (Some(1), 2, 50, "grown"),
    ] {
        assert_eq!(
            label(&hosts(count), &with(before, max_change)),
            expected,
            "{before:?} {count} {max_change}"
        );
    }
    assert_eq!(
        verdict(&hosts(10), &with(Some(100), 50)).unwrap_err().to_string(),
        "10 prefixes after 100: a change by more than 50 %"
    );
}

#[test]
fn a_list_is_not_empty() {
    assert_eq!(label("# nothing\n", &TERMS), "empty");
    assert_eq!(label("# nothing\n", &Terms { before: Some(0), max_change: 10_000, ..TERMS }), "empty");
}

#[test]
fn a_prefix_is_not_too_short() {
    for (text, expected) in [
        ("11.0.0.0/8", "ok"),
        ("8.0.0.0/7", "short-prefix"),
        ("0.0.0.0/0", "short-prefix"),
        ("198.51.100.1\n2600::/19", "ok"),
        ("198.51.100.1\n2600::/18", "short-prefix"),
        ("::/0", "short-prefix"),
        // A range that hides one.
        ("16.0.0.0 - 31.255.255.255", "short-prefix"),
    ] {
        assert_eq!(label(text, &TERMS), expected, "{text}");
        assert_eq!(label(text, &Terms { allow_private: true, ..TERMS }), expected, "{text}");
    }
}

#[test]
fn private_networks_are_not_in_a_list() {
    assert_eq!(private().count(), 15);
    for network in private() {
        let inside = network.address().to_string();
        for text in [network.to_string(), inside] {
            // fc00::/7 is too short anyway.
            let expected = if text == network.to_string() && (network.length() < 8 || text.contains("fe80")) {
                "short-prefix"
            } else {
                "private"
            };
            assert_eq!(label(&format!("8.8.8.8\n2600::\n{text}\n"), &TERMS), expected, "{text}");
        }
    }
    for text in ["10.255.255.255", "172.31.0.1", "100.127.255.255", "::1", "fdff::1", "192.168.0.0/15"] {
        let text = format!("{text}\n8.8.8.8");
        let text = if text.starts_with("192") { "192.168.0.0/16\n192.169.0.0/16".to_owned() } else { text };
        assert_eq!(label(&text, &TERMS), "private", "{text}");
        assert_eq!(label(&text, &Terms { allow_private: true, ..TERMS }), "ok", "{text}");
    }
    // A wider one that holds a private one.
    assert_eq!(label("192.128.0.0/9", &TERMS), "private");
    for text in
        ["9.255.255.255\n11.0.0.0", "172.15.255.255\n172.32.0.0", "192.0.2.0/24", "::2", "2001:db8::/32"]
    {
        assert_eq!(label(text, &TERMS), "ok", "{text}");
    }
    assert_eq!(
        verdict("192.128.0.0/9", &TERMS).unwrap_err().to_string(),
        "192.128.0.0/9 reaches into 192.168.0.0/16, which is private or special"
    );
}

#[test]
fn guarded_networks_are_not_in_a_list() {
    let guards: Vec<Prefix> =
        ["203.0.113.0/24", "2001:db8:1::/48"].iter().map(|text| text.parse().unwrap()).collect();
    let terms = Terms { allow_private: true, guard_list: &guards, ..TERMS };
    for (text, expected) in [
        ("203.0.113.7", "guarded"),
        ("203.0.112.0/23", "guarded"),
        ("203.0.112.0/24\n203.0.114.0/24", "ok"),
        ("2001:db8:1:2::/64", "guarded"),
        ("2001:db8::/32", "guarded"),
        ("2001:db8::/48\n2001:db8:2::/48", "ok"),
        ("198.51.100.0/24", "ok"),
    ] {
        assert_eq!(label(text, &terms), expected, "{text}");
    }
}
