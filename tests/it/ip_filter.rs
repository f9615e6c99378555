//! Prefixes, and what rules make of them.

mod rules;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use edgeweir::exchange::RequestMetadata;
use edgeweir::policy::{Gateway, compile};
use edgeweir::stages::Mode;
use edgeweir::stages::ip_filter::prefix::Prefix;
use edgeweir::stages::ip_filter::{Action, IpFilterStage, IpVerdict, Sets, Subject};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::fake::check;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

#[test]
fn a_prefix_is_an_address_without_host_bits_and_a_length() {
    for (text, shown) in [
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("::/0", "::/0"),
        ("192.0.2.1", "192.0.2.1/32"),
        ("192.0.2.1/32", "192.0.2.1/32"),
        ("128.0.0.0/1", "128.0.0.0/1"),
        ("2001:DB8::/32", "2001:db8::/32"),
        ("2001:db8::1", "2001:db8::1/128"),
        ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("::ffff:192.0.2.1", "192.0.2.1/32"),
    ] {
        assert_eq!(prefix(text).to_string(), shown);
        assert_eq!(prefix(shown), prefix(text));
    }
    for bad in [
        "",
        "/",
        "/8",
        "192.0.2.1/",
        "192.0.2.1/33",
        "192.0.2.1/24",
        "2001:db8::/129",
        "2001:db8::1/64",
        "192.0.2.0/08",
        "192.0.2.0/+8",
        "192.0.2.0/-1",
        "192.0.2.0/8/8",
        "192.0.2.0/256",
        "192.0.2/24",
        "a/8",
        "192.0.2.0 /24",
        "[::1]/128",
        "fe80::1%1/128",
        "0.0.0.1/0",
        "::1/0",
    ] {
        assert!(bad.parse::<Prefix>().is_err(), "{bad:?}");
    }
}

#[test]
fn a_prefix_contains_its_addresses_to_the_last() {
    for (text, inside, outside) in [
        ("0.0.0.0/0", &["0.0.0.0", "255.255.255.255"][..], &["::", "::1"][..]),
        ("::/0", &["::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"], &["0.0.0.0"]),
        ("198.51.100.0/24", &["198.51.100.0", "198.51.100.255"], &["198.51.99.255", "198.51.101.0"]),
        ("192.0.2.1/32", &["192.0.2.1"], &["192.0.2.0", "192.0.2.2"]),
        (
            "2001:db8:1::/48",
            &["2001:db8:1::", "2001:db8:1:ffff:ffff:ffff:ffff:ffff"],
            &["2001:db8:2::", "2001:db8::"],
        ),
    ] {
        let prefix = prefix(text);
        assert!(inside.iter().all(|address| prefix.contains(ip(address))), "{text}");
        assert!(!outside.iter().any(|address| prefix.contains(ip(address))), "{text}");
    }
}

#[test]
fn host_and_containing_prefixes() {
    assert_eq!(Prefix::host(ip("::1")).to_string(), "::1/128");
    assert_eq!(Prefix::containing(ip("203.0.113.9"), 24), Some(prefix("203.0.113.0/24")));
    assert_eq!(Prefix::containing(ip("203.0.113.9"), 33), None);
    assert_eq!(Prefix::containing(ip("::"), 129), None);
}

/// Prefixes that nest, touch and repeat: few bits, at the ends and in between.
fn prefixes() -> impl Strategy<Value = Vec<Prefix>> {
    let v4 = (
        prop::sample::select(vec![0_u32, 0xffff_ffff, 0x0a00_0000, 0x7fff_ffff, 0x8000_0000]),
        0_u32..512,
        0_u8..=32,
    )
        .prop_map(|(base, near, length)| {
            Prefix::containing(Ipv4Addr::from_bits(base.wrapping_add(near).wrapping_sub(256)).into(), length)
                .unwrap()
        });
    let v6 = (
        prop::sample::select(vec![0_u128, u128::MAX, 0x2001_0db8 << 96, u128::MAX >> 1]),
        0_u128..512,
        0_u32..4,
        0_u8..=128,
    )
        .prop_map(|(base, near, shift, length)| {
            let bits = base.wrapping_add(near << (shift * 30)).wrapping_sub(256);
            Prefix::containing(Ipv6Addr::from_bits(bits).into(), length).unwrap()
        });
    let any_prefix = (any::<IpAddr>(), 0_u8..=32)
        .prop_map(|(address, length)| Prefix::containing(address, length).unwrap());
    prop::collection::vec(prop_oneof![3 => v4, 3 => v6, 1 => any_prefix], 0..40)
}

/// The addresses at which an answer can change: both sides of every edge.
fn edges(prefixes: &[Prefix]) -> Vec<IpAddr> {
    let mut edges =
        vec![ip("0.0.0.0"), ip("255.255.255.255"), ip("::"), IpAddr::V6(Ipv6Addr::from_bits(u128::MAX))];
    for prefix in prefixes {
        match prefix.address() {
            IpAddr::V4(first) => {
                let first = first.to_bits();
                let last = first | u32::MAX.checked_shr(prefix.length().into()).unwrap_or(0);
                let around = [first.wrapping_sub(1), first, last, last.wrapping_add(1)];
                edges.extend(around.map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits))));
            }
            IpAddr::V6(first) => {
                let first = first.to_bits();
                let last = first | u128::MAX.checked_shr(prefix.length().into()).unwrap_or(0);
                let around = [first.wrapping_sub(1), first, last, last.wrapping_add(1)];
                edges.extend(around.map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits))));
            }
        }
    }
    edges
}

#[test]
fn prefixes_are_read_back_as_shown() {
    check(1_000, (any::<IpAddr>(), 0_u8..=32), |(address, length)| {
        let prefix = Prefix::containing(address, length).unwrap();
        prop_assert_eq!(prefix.to_string().parse::<Prefix>(), Ok(prefix));
        prop_assert_eq!(Prefix::new(prefix.address(), length), Some(prefix));
        Ok(())
    });
    check(2_000, prop_oneof![any::<String>(), "[0-9a-f.:/]{0,20}"], |text| {
        if let Ok(prefix) = text.parse::<Prefix>() {
            prop_assert_eq!(prefix.to_string().parse::<Prefix>(), Ok(prefix));
        }
        Ok(())
    });
}

fn gateway(filter: &Value) -> Gateway {
    let sets =
        json!({"office": {"prefixes": ["198.51.100.0/24", "2001:db8:1::/48"]}, "empty": {"prefixes": []}});
    compile(&json!({"version": 1, "address_sets": sets, "ip_filter": filter}).to_string())
        .unwrap_or_else(|error| panic!("{error}"))
}

/// The entry filter of a policy, with its sets.
struct Filter {
    gateway: Gateway,
    filter: IpFilterStage,
}

impl Filter {
    fn sets(&self) -> Sets<'_> {
        Sets::new(&self.gateway.sets, None)
    }

    fn decide(&self, address: IpAddr) -> IpVerdict<'_> {
        self.filter.decide(&subject(address), &self.sets()).verdict
    }

    fn decide_with_shadow(&self, address: IpAddr) -> Option<IpVerdict<'_>> {
        self.filter.decide_with_shadow(&subject(address), &self.sets()).map(|decision| decision.verdict)
    }
}

fn subject(address: IpAddr) -> Subject<'static> {
    let metadata = RequestMetadata::default();
    Subject { address, network: Prefix::host(address), metadata, tags: &[] }
}

fn stage(filter: &Value) -> Filter {
    let gateway = gateway(filter);
    let filter = gateway.entry_ip_filter.clone().unwrap();
    Filter { gateway, filter }
}

fn verdict(stage: &Filter, address: &str) -> (Action, Option<String>) {
    let verdict = stage.decide(ip(address));
    (verdict.action, verdict.rule.map(str::to_owned))
}

#[test]
fn rule_1_the_longest_prefix_of_all_rules_decides() {
    let stage = stage(&json!({"rules": [
        {"id": "all", "action": "deny", "prefixes": ["0.0.0.0/0"]},
        {"id": "office", "action": "allow", "address_sets": ["office", "empty"], "prefixes": ["203.0.113.7"]},
        {"id": "printer", "action": "deny", "prefixes": ["198.51.100.9/32"]},
    ]}));
    let rule = |name: &str| Some(name.to_owned());
    assert_eq!(verdict(&stage, "192.0.2.1"), (Action::Deny, rule("all")));
    assert_eq!(verdict(&stage, "198.51.100.8"), (Action::Allow, rule("office")));
    assert_eq!(verdict(&stage, "198.51.100.9"), (Action::Deny, rule("printer")));
    assert_eq!(verdict(&stage, "203.0.113.7"), (Action::Allow, rule("office")));
    assert_eq!(verdict(&stage, "2001:db8:1:9::"), (Action::Allow, rule("office")));
    assert_eq!(verdict(&stage, "2001:db8:2::"), (Action::Allow, None));
    assert_eq!(stage.decide(ip("198.51.100.8")).prefix, Some(prefix("198.51.100.0/24")));
}

#[test]
fn rule_1_of_equal_prefixes_the_first_rule_decides() {
    let rule = |id: &str, action: &str| json!({"id": id, "action": action, "prefixes": ["192.0.2.0/24", "::ffff:192.0.2.0/120"]});
    assert_eq!(
        verdict(&stage(&json!({"rules": [rule("a", "deny"), rule("b", "allow")]})), "192.0.2.1").0,
        Action::Deny
    );
    assert_eq!(
        verdict(&stage(&json!({"rules": [rule("b", "allow"), rule("a", "deny")]})), "192.0.2.1").0,
        Action::Allow
    );
}

#[test]
fn rule_2_the_default_decides_where_no_rule_does() {
    for (default, action) in [("allow", Action::Allow), ("deny", Action::Deny)] {
        let stage = stage(&json!({"default": default}));
        for address in ["0.0.0.0", "255.255.255.255", "::", "2001:db8::1"] {
            assert_eq!(verdict(&stage, address), (action, None));
        }
    }
}

#[test]
fn rule_3_shadow_rules_change_nothing_and_show_what_they_would() {
    let stage = stage(&json!({"rules": [
        {"id": "wide", "action": "allow", "prefixes": ["192.0.2.0/24"]},
        {"id": "narrow", "action": "deny", "prefixes": ["192.0.2.1/32"], "mode": "shadow"},
        {"id": "gone", "action": "deny", "prefixes": ["192.0.2.0/25"], "mode": "off"},
    ]}));
    assert_eq!(stage.filter.mode(), Mode::Enforce);
    assert_eq!(verdict(&stage, "192.0.2.1"), (Action::Allow, Some("wide".to_owned())));
    let shadow = stage.decide_with_shadow(ip("192.0.2.1")).unwrap();
    assert_eq!((shadow.action, shadow.rule), (Action::Deny, Some("narrow")));
    assert_eq!(stage.decide_with_shadow(ip("192.0.2.2")).unwrap(), stage.decide(ip("192.0.2.2")));
}

/// What the log shows is what would be decided if the rule were enforced:
/// the first of equally long prefixes wins, shadow or not.
#[test]
fn rule_3_a_shadow_rule_that_stands_first_would_win() {
    let rule = |id: &str, action: &str, mode: &str| json!({"id": id, "action": action, "prefixes": ["192.0.2.0/24"], "mode": mode});
    let stage = stage(&json!({"rules": [rule("new", "deny", "shadow"), rule("old", "allow", "enforce")]}));
    assert_eq!(verdict(&stage, "192.0.2.1").0, Action::Allow);
    assert_eq!(stage.decide_with_shadow(ip("192.0.2.1")).unwrap().rule, Some("new"));
}

#[test]
fn a_stage_mode_weakens_its_rules() {
    let rules = json!([
        {"id": "a", "action": "deny", "prefixes": ["192.0.2.0/24"]},
        {"id": "b", "action": "allow", "prefixes": ["192.0.2.1/32"], "mode": "shadow"},
    ]);
    let shadow = stage(&json!({"mode": "shadow", "rules": rules}));
    assert_eq!((shadow.filter.mode(), verdict(&shadow, "192.0.2.1").0), (Mode::Shadow, Action::Deny));
    assert_eq!(shadow.decide_with_shadow(ip("192.0.2.1")).unwrap().rule, Some("b"));
    let off = stage(&json!({"mode": "off", "rules": rules}));
    assert_eq!((off.filter.mode(), verdict(&off, "192.0.2.1")), (Mode::Off, (Action::Allow, None)));
}

#[test]
fn a_hit_names_the_set_that_it_comes_from() {
    let stage = stage(&json!({"rules": [
        {"id": "all", "action": "deny", "address_sets": ["empty", "office"], "prefixes": ["198.51.100.9", "2001:db8:1::/48"]},
    ]}));
    let set = |address: &str| stage.decide(ip(address)).address_set.map(str::to_owned);
    assert_eq!(set("198.51.100.8"), Some("office".to_owned()));
    assert_eq!(set("198.51.100.9"), None);
    // Where a rule names one prefix twice, its own list goes first.
    assert_eq!(set("2001:db8:1::1"), None);
    assert_eq!(set("192.0.2.1"), None);
}

/// Wherever the verdict within a prefix changes, it is looked at.
#[test]
fn the_changes_within_a_prefix_are_all_there() {
    let lists = prop::collection::vec(prefixes(), 1..4);
    check(256, (lists, any::<IpAddr>(), 0_u8..=32), |(lists, address, length)| {
        let texts = |list: &[Prefix]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        let rules: Vec<Value> = lists
            .iter()
            .enumerate()
            .map(
                |(index, list)| json!({"id": format!("r{index}"), "action": "deny", "prefixes": texts(list)}),
            )
            .filter(|rule| rule["prefixes"].as_array().is_some_and(|list| !list.is_empty()))
            .collect();
        let stage = stage(&json!({"rules": rules}));
        let within = Prefix::containing(address, length).unwrap();
        let sets = stage.sets();
        let changes = stage.filter.changes_within(within, &sets, 1_000_000).unwrap();
        prop_assert_eq!(changes.first(), Some(&within.address()));
        prop_assert!(changes.iter().all(|change| within.contains(*change)));
        let all: Vec<Prefix> = lists.into_iter().flatten().collect();
        for address in edges(&all).into_iter().filter(|address| within.contains(*address)) {
            let before = changes.iter().rfind(|change| **change <= address).unwrap();
            prop_assert_eq!(stage.decide(address), stage.decide(*before), "{}", address);
        }
        prop_assert_eq!(stage.filter.changes_within(within, &sets, 0), None);
        Ok(())
    });
}
