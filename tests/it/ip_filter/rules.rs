//! Rules that name more than prefixes: conditions, labels, shares, answers,
//! stored sets.

use std::net::IpAddr;
use std::rc::Rc;

use edgeweir::addresses::{AddressIndex, SetId, StoredSet, StoredSets};
use edgeweir::exchange::{Code, RequestMetadata};
use edgeweir::policy::{Gateway, compile};
use edgeweir::stages::ip_filter::prefix::Prefix;
use edgeweir::stages::ip_filter::{Action, BoundSets, IpDecision, Sets, Subject};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::fake::check;

fn policy(filter: &Value) -> Gateway {
    let document = json!({
        "version": 1,
        "address_sets": {
            "office": {"prefixes": ["198.51.100.0/24"]},
            "drop": {"stored": true},
            "tor": {"stored": true},
        },
        "ip_filter": filter,
    });
    compile(&document.to_string()).unwrap_or_else(|error| panic!("{error}"))
}

fn problems(filter: &Value) -> Vec<String> {
    let document = json!({"version": 1, "address_sets": {"a": {"prefixes": []}}, "ip_filter": filter});
    let error = compile(&document.to_string()).unwrap_err();
    error.problems.into_iter().map(|problem| problem.to_string()).collect()
}

/// `tor` first: numbers in the binary are not those of the policy.
fn stored() -> Rc<StoredSets> {
    let set = |name: &str| StoredSet { name: name.to_owned(), since: 0, source: "import".to_owned() };
    let of = |text: &str, set| (text.parse::<Prefix>().unwrap(), SetId(set));
    Rc::new(StoredSets {
        generation: 1,
        sets: vec![set("tor"), set("unnamed"), set("drop")],
        index: AddressIndex::build([
            of("203.0.113.7", 0),
            of("203.0.113.0/24", 2),
            of("192.0.2.0/24", 1),
            of("198.51.100.66", 2),
        ]),
    })
}

fn from(address: &str) -> Subject<'static> {
    let address: IpAddr = address.parse().unwrap();
    Subject { address, network: Prefix::host(address), metadata: RequestMetadata::default(), tags: &[] }
}

fn in_country(address: &str, country: &str, continent: &str, asn: u32) -> Subject<'static> {
    let metadata = RequestMetadata {
        country: Code::parse(country),
        continent: Code::parse(continent),
        asn: Some(asn),
        ..RequestMetadata::default()
    };
    Subject { metadata, ..from(address) }
}

fn decide<'a>(gateway: &'a Gateway, subject: &Subject<'_>, stored: Option<&'a BoundSets>) -> IpDecision<'a> {
    let filter = gateway.entry_ip_filter.as_ref().unwrap();
    filter.decide(subject, &Sets::new(&gateway.sets, stored))
}

fn rule<'a>(gateway: &'a Gateway, subject: &Subject<'_>) -> Option<&'a str> {
    decide(gateway, subject, None).verdict.rule
}

#[test]
fn rule_2_the_first_of_the_other_rules_decides_where_no_prefix_does() {
    let gateway = policy(&json!({"default": "deny", "rules": [
        {"id": "eu", "action": "allow", "continents": ["EU"]},
        {"id": "de", "action": "deny", "countries": ["DE", "T1"]},
        {"id": "as", "action": "deny", "asns": [64500]},
        {"id": "home", "action": "allow", "prefixes": ["192.0.2.0/24"]},
        {"id": "both", "action": "allow", "countries": ["US"], "prefixes": ["198.51.100.0/24"]},
    ]}));
    assert_eq!(rule(&gateway, &in_country("203.0.113.1", "DE", "EU", 64500)), Some("eu"));
    assert_eq!(rule(&gateway, &in_country("203.0.113.1", "T1", "NA", 1)), Some("de"));
    assert_eq!(rule(&gateway, &in_country("203.0.113.1", "US", "NA", 64500)), Some("as"));
    // A prefix goes before every other rule, wherever it stands.
    assert_eq!(rule(&gateway, &in_country("192.0.2.1", "DE", "EU", 64500)), Some("home"));
    // All that a rule names has to hold.
    assert_eq!(rule(&gateway, &in_country("198.51.100.1", "US", "NA", 1)), Some("both"));
    assert_eq!(rule(&gateway, &in_country("203.0.113.1", "US", "NA", 1)), None);
    // What is not known is in no list.
    assert_eq!(rule(&gateway, &from("203.0.113.1")), None);
}

#[test]
fn any_and_not_nest() {
    let gateway = policy(&json!({"rules": [
        {"id": "abroad", "action": "deny", "not": {"any": [
            {"countries": ["DE"]}, {"address_sets": ["office"]}, {"prefixes": ["192.0.2.0/24"], "asns": [7]},
        ]}},
    ]}));
    assert_eq!(rule(&gateway, &in_country("203.0.113.1", "DE", "EU", 1)), None);
    assert_eq!(rule(&gateway, &in_country("198.51.100.1", "US", "NA", 1)), None);
    assert_eq!(rule(&gateway, &in_country("192.0.2.1", "US", "NA", 7)), None);
    assert_eq!(rule(&gateway, &in_country("192.0.2.1", "US", "NA", 8)), Some("abroad"));
    // Nobody knows where that is, so it is not in DE.
    assert_eq!(rule(&gateway, &from("203.0.113.1")), Some("abroad"));
}

#[test]
fn rule_4_labels_end_nothing_and_are_seen_by_what_follows() {
    let gateway = policy(&json!({"rules": [
        {"id": "label", "action": "tag", "tag": "hosting", "asns": [64500]},
        {"id": "near", "action": "tag", "tag": "near", "prefixes": ["192.0.2.0/24"]},
        {"id": "again", "action": "tag", "tag": "near", "prefixes": ["192.0.2.0/25"]},
        {"id": "stop", "action": "deny", "tags": ["hosting"], "not": {"tags": ["near"]}},
        {"id": "late", "action": "tag", "tag": "late", "asns": [64500]},
        {"id": "silent", "action": "tag", "tag": "silent", "prefixes": ["0.0.0.0/0"], "mode": "shadow"},
        {"id": "let", "action": "allow", "prefixes": ["198.51.100.0/24"]},
    ]}));
    let decided = decide(&gateway, &in_country("203.0.113.1", "US", "NA", 64500), None);
    assert_eq!((decided.verdict.rule, decided.tags), (Some("stop"), vec!["hosting", "late"]));
    let decided = decide(&gateway, &in_country("192.0.2.1", "US", "NA", 64500), None);
    assert_eq!((decided.verdict.rule, decided.tags), (None, vec!["near", "hosting", "late"]));
    let decided = decide(&gateway, &in_country("198.51.100.1", "US", "NA", 64500), None);
    assert_eq!((decided.verdict.rule, decided.tags), (Some("let"), vec!["hosting", "late"]));
    // A label of an earlier stage counts as well.
    let before = ["hosting".to_owned()];
    let subject = Subject { tags: &before, ..from("203.0.113.1") };
    assert_eq!(rule(&gateway, &subject), Some("stop"));
}

#[test]
fn a_share_is_that_share_of_the_clients_and_grows_by_itself() {
    let of = |percent: f64| {
        policy(&json!({"rules": [
            {"id": "careful", "action": "deny", "prefixes": ["0.0.0.0/0"], "percent": percent},
            {"id": "all", "action": "allow", "prefixes": ["0.0.0.0/0"]},
        ]}))
    };
    let (none, some, more, all) = (of(0.0), of(10.0), of(25.5), of(100.0));
    let mut denied = [0; 4];
    for n in 0..20_000_u32 {
        let address = IpAddr::V4(std::net::Ipv4Addr::from_bits(n.wrapping_mul(0x9e37_79b9)));
        let subject = Subject { address, network: Prefix::host(address), ..from("192.0.2.1") };
        let verdicts = [&none, &some, &more, &all].map(|policy| rule(policy, &subject) == Some("careful"));
        // Whoever is in a share stays in a greater one.
        assert!(verdicts.is_sorted());
        for (count, is_denied) in denied.iter_mut().zip(verdicts) {
            *count += u32::from(is_denied);
        }
    }
    // Four standard deviations.
    assert_eq!((denied[0], denied[3]), (0, 20_000));
    assert!((1_830..=2_170).contains(&denied[1]), "{denied:?}");
    assert!((4_850..=5_350).contains(&denied[2]), "{denied:?}");
}

#[test]
fn a_stored_set_is_found_by_its_name() {
    let gateway = policy(&json!({"rules": [
        {"id": "drop", "action": "deny", "address_sets": ["drop", "office"]},
        {"id": "tor", "action": "allow", "address_sets": ["tor"]},
    ]}));
    let bound = BoundSets::new(stored(), &gateway.sets);
    let of = |address: &str| {
        let verdict = decide(&gateway, &from(address), Some(&bound)).verdict;
        let prefix = verdict.prefix.map(|prefix| prefix.to_string());
        (verdict.rule, verdict.address_set, prefix)
    };
    assert_eq!(of("203.0.113.7"), (Some("tor"), Some("tor"), Some("203.0.113.7/32".to_owned())));
    assert_eq!(of("203.0.113.8"), (Some("drop"), Some("drop"), Some("203.0.113.0/24".to_owned())));
    assert_eq!(of("198.51.100.66"), (Some("drop"), Some("drop"), Some("198.51.100.66/32".to_owned())));
    assert_eq!(of("198.51.100.1"), (Some("drop"), Some("office"), Some("198.51.100.0/24".to_owned())));
    assert_eq!(of("192.0.2.1"), (None, None, None));
}

#[test]
fn rule_6_a_set_that_is_not_there_closes_or_names_nobody() {
    let closed = policy(&json!({"rules": [
        {"id": "home", "action": "allow", "prefixes": ["192.0.2.0/24"]},
        {"id": "drop", "action": "deny", "address_sets": ["drop"]},
    ]}));
    let verdict = decide(&closed, &from("192.0.2.1"), None).verdict;
    assert!(verdict.unavailable && verdict.rule == Some("drop"));
    // Loaded, but without this set.
    let lacking = Rc::new(StoredSets::default());
    let bound = BoundSets::new(lacking, &closed.sets);
    assert!(decide(&closed, &from("192.0.2.1"), Some(&bound)).verdict.unavailable);
    let bound = BoundSets::new(stored(), &closed.sets);
    assert!(!decide(&closed, &from("192.0.2.1"), Some(&bound)).verdict.unavailable);
    for rule in [
        json!({"id": "drop", "action": "deny", "address_sets": ["drop"], "on_failure": "open"}),
        json!({"id": "drop", "action": "deny", "address_sets": ["drop"], "mode": "shadow"}),
        json!({"id": "drop", "action": "tag", "tag": "bad", "address_sets": ["drop"]}),
        json!({"id": "drop", "action": "deny", "address_sets": ["drop"], "asns": [1], "on_failure": "open"}),
    ] {
        let open = policy(&json!({"rules": [rule]}));
        let verdict = decide(&open, &from("203.0.113.8"), None).verdict;
        assert_eq!((verdict.action, verdict.unavailable), (Action::Allow, false), "{rule}");
    }
    let inner = policy(&json!({"rules": [{"id": "x", "action": "deny", "not": {"address_sets": ["tor"]}}]}));
    assert!(decide(&inner, &from("192.0.2.1"), None).verdict.unavailable);
}

#[test]
fn an_answer_is_the_rules_own_or_the_stages() {
    let gateway = policy(&json!({
        "default": "deny",
        "answer": {"status": 404},
        "rules": [
            {"id": "law", "action": "deny", "prefixes": ["192.0.2.0/24"],
             "answer": {"status": 451, "body": "<p>No.", "content_type": "text/html; charset=utf-8"}},
            {"id": "plain", "action": "deny", "prefixes": ["198.51.100.0/24"], "answer": {"body": ""}},
        ],
    }));
    let answer = |address: &str| decide(&gateway, &from(address), None).verdict.answer.cloned().unwrap();
    assert_eq!(answer("192.0.2.1").status, 451);
    assert_eq!(answer("192.0.2.1").body, Some(("<p>No.".to_owned(), "text/html; charset=utf-8".to_owned())));
    assert_eq!((answer("198.51.100.1").status, answer("198.51.100.1").body.unwrap().0), (403, String::new()));
    assert_eq!((answer("203.0.113.1").status, answer("203.0.113.1").body), (404, None));
}

#[test]
fn what_makes_no_sense_is_a_problem_with_its_place() {
    let of = |rule: Value| problems(&json!({"rules": [rule]}));
    for (rule, expected) in [
        (json!({"id": "a", "action": "deny"}), "rules[0]: expected \"prefixes\""),
        (json!({"id": "a", "action": "tag", "asns": [1]}), "rules[0].tag: expected the label"),
        (json!({"id": "a", "action": "deny", "tag": "x", "asns": [1]}), "rules[0].tag: found \"x\""),
        (json!({"id": "a", "action": "deny", "countries": ["de"]}), "rules[0].countries[0]"),
        (json!({"id": "a", "action": "deny", "continents": ["XX"]}), "rules[0].continents[0]"),
        (json!({"id": "a", "action": "deny", "asns": [4294967296_u64]}), "rules[0].asns[0]"),
        (json!({"id": "a", "action": "deny", "any": [{}]}), "rules[0].any[0]"),
        (json!({"id": "a", "action": "deny", "not": {"not": {}}}), "rules[0].not.not"),
        (json!({"id": "a", "action": "deny", "asns": [1], "percent": 101}), "rules[0].percent"),
        (json!({"id": "a", "action": "allow", "asns": [1], "answer": {}}), "rules[0].answer"),
        (json!({"id": "a", "action": "deny", "asns": [1], "answer": {"status": 200}}), "answer.status"),
        (
            json!({"id": "a", "action": "deny", "asns": [1], "answer": {"content_type": "text/html"}}),
            "a \"body\"",
        ),
        (
            json!({"id": "a", "action": "deny", "any": [{"address_sets": ["b"]}]}),
            "rules[0].any[0].address_sets[0]",
        ),
        (
            json!({"id": "a", "action": "deny", "asns": [1], "answer": {"body": "", "content_type": "a/b\r\nX: y"}}),
            "media type",
        ),
    ] {
        let found = of(rule.clone());
        assert!(found.iter().any(|problem| problem.contains(expected)), "{rule}: {found:?}");
    }
}

/// A rule as the documentation says it, without any index.
#[derive(Clone, Debug)]
struct Plain {
    id: String,
    action: &'static str,
    prefixes: Vec<Prefix>,
    sets: Vec<usize>,
    country: Option<&'static str>,
    tag: Option<usize>,
    negated: bool,
    shadow: bool,
}

const SETS: [&str; 4] = ["one", "two", "drop", "tor"];
const COUNTRIES: [&str; 2] = ["DE", "US"];

fn prefixes(most: usize) -> impl Strategy<Value = Vec<Prefix>> {
    let prefix = (0_u32..16, prop_oneof![Just(0_u8), 24..=32_u8]).prop_map(|(low, length)| {
        Prefix::containing(IpAddr::V4(std::net::Ipv4Addr::from_bits(0xc000_0200 | low)), length).unwrap()
    });
    proptest::collection::vec(prefix, 0..most)
}

fn plain() -> impl Strategy<Value = Plain> {
    let action = prop_oneof![Just("allow"), Just("deny"), Just("tag")];
    let sets = proptest::collection::vec(0_usize..4, 0..3);
    let country = proptest::option::of(prop::sample::select(COUNTRIES.to_vec()));
    let tag = proptest::option::of(0_usize..2);
    (action, prefixes(4), sets, country, tag, any::<bool>(), prop::bool::weighted(0.3)).prop_map(
        |(action, prefixes, sets, country, tag, negated, shadow)| Plain {
            id: String::new(),
            action,
            prefixes,
            sets,
            country,
            tag,
            negated: negated && (country.is_some() || tag.is_some()),
            shadow,
        },
    )
}

impl Plain {
    fn json(&self) -> Value {
        let mut condition = json!({});
        if !self.prefixes.is_empty() {
            condition["prefixes"] = self.prefixes.iter().map(ToString::to_string).collect();
        }
        if !self.sets.is_empty() {
            condition["address_sets"] = self.sets.iter().map(|set| SETS[*set]).collect();
        }
        if let Some(country) = self.country {
            condition["countries"] = json!([country]);
        }
        if let Some(tag) = self.tag {
            condition["tags"] = json!([format!("t{tag}")]);
        }
        let mut rule = if self.negated { json!({"not": condition}) } else { condition };
        rule["id"] = json!(self.id);
        rule["action"] = json!(self.action);
        if self.action == "tag" {
            rule["tag"] = json!(format!("t{}", self.prefixes.len() % 2));
        }
        if self.shadow {
            rule["mode"] = json!("shadow");
        }
        rule
    }

    fn is_plain(&self) -> bool {
        self.country.is_none() && self.tag.is_none() && !self.negated
    }

    fn is_empty(&self) -> bool {
        self.is_plain() && self.prefixes.is_empty() && self.sets.is_empty()
    }

    fn longest(&self, sets: &[Vec<Prefix>], address: IpAddr) -> Option<u8> {
        let named = self.sets.iter().flat_map(|set| &sets[*set]);
        let all = self.prefixes.iter().chain(named);
        all.filter(|prefix| prefix.contains(address)).map(Prefix::length).max()
    }

    fn holds(&self, sets: &[Vec<Prefix>], address: IpAddr, country: &str, tags: &[String]) -> bool {
        let addresses =
            (self.prefixes.is_empty() && self.sets.is_empty()) || self.longest(sets, address).is_some();
        let holds = addresses
            && self.country.is_none_or(|own| own == country)
            && self.tag.is_none_or(|tag| tags.contains(&format!("t{tag}")));
        holds != self.negated
    }
}

/// The rules by their documentation alone.
fn naive(
    rules: &[Plain],
    sets: &[Vec<Prefix>],
    address: IpAddr,
    country: &str,
    with_shadow: bool,
) -> (String, Vec<String>) {
    let judged: Vec<&Plain> = rules.iter().filter(|rule| with_shadow || !rule.shadow).collect();
    let label = |rule: &Plain| format!("t{}", rule.prefixes.len() % 2);
    let mut tags: Vec<String> = Vec::new();
    for rule in judged.iter().filter(|rule| rule.action == "tag" && rule.is_plain()) {
        if rule.longest(sets, address).is_some() {
            tags.push(label(rule));
        }
    }
    let mut decided: Option<(u8, &Plain)> = None;
    for rule in judged.iter().filter(|rule| rule.action != "tag" && rule.is_plain()) {
        if let Some(length) = rule.longest(sets, address)
            && decided.is_none_or(|(longest, _)| length > longest)
        {
            decided = Some((length, rule));
        }
    }
    let mut rest = decided.map(|(_, rule)| rule);
    for rule in judged.iter().filter(|rule| !rule.is_plain()) {
        if rule.action == "tag" {
            if rule.holds(sets, address, country, &tags) {
                tags.push(label(rule));
            }
        } else if rest.is_none() && rule.holds(sets, address, country, &tags) {
            rest = Some(rule);
        }
    }
    tags.sort();
    tags.dedup();
    (rest.map(|rule| rule.id.clone()).unwrap_or_default(), tags)
}

#[test]
fn a_decision_is_what_the_documentation_says() {
    let sets = proptest::collection::vec(prefixes(4), 4);
    let rules = proptest::collection::vec(plain(), 0..7);
    check(3_000, (rules, sets, 0_usize..2), |(rules, sets, country)| {
        let rules: Vec<Plain> = rules
            .into_iter()
            .filter(|rule| !rule.is_empty())
            .enumerate()
            .map(|(index, rule)| Plain { id: format!("r{index}"), ..rule })
            .collect();
        let texts = |set: usize| sets[set].iter().map(ToString::to_string).collect::<Vec<_>>();
        let document = json!({
            "version": 1,
            "address_sets": {
                "one": {"prefixes": texts(0)}, "two": {"prefixes": texts(1)},
                "drop": {"stored": true}, "tor": {"stored": true},
            },
            "ip_filter": {"rules": rules.iter().map(Plain::json).collect::<Vec<_>>()},
        });
        let gateway = compile(&document.to_string()).unwrap();
        let name = |name: &str| StoredSet { name: name.to_owned(), since: 0, source: String::new() };
        let entries = [(3_usize, 0_u16), (2, 1)].into_iter();
        let entries = entries.flat_map(|(set, id)| sets[set].iter().map(move |prefix| (*prefix, SetId(id))));
        let stored = StoredSets {
            generation: 1,
            sets: vec![name("tor"), name("drop")],
            index: AddressIndex::build(entries),
        };
        let bound = BoundSets::new(Rc::new(stored), &gateway.sets);
        let view = Sets::new(&gateway.sets, Some(&bound));
        let filter = gateway.entry_ip_filter.as_ref().unwrap();
        let country = COUNTRIES[country];
        for low in 0..18_u32 {
            let address = IpAddr::V4(std::net::Ipv4Addr::from_bits(0xc000_0200 | low));
            let subject = Subject { address, ..in_country("192.0.2.0", country, "EU", 1) };
            let shown = |decision: IpDecision<'_>| {
                let mut tags: Vec<String> = decision.tags.into_iter().map(str::to_owned).collect();
                tags.sort();
                (decision.verdict.rule.unwrap_or_default().to_owned(), tags)
            };
            prop_assert_eq!(
                shown(filter.decide(&subject, &view)),
                naive(&rules, &sets, address, country, false),
                "{}",
                address
            );
            if let Some(would) = filter.decide_with_shadow(&subject, &view) {
                prop_assert_eq!(shown(would), naive(&rules, &sets, address, country, true), "{}", address);
            }
        }
        Ok(())
    });
}
