//! What is generated from the types of the policy: the JSON Schema and the
//! reference page. That the schema and the compiler agree is tested by an
//! independent validator, in tests/scripts/schema.spec.mjs.

use std::collections::BTreeSet;
use std::path::Path;

use edgeweir::policy::compile;
use edgeweir::policy::diff::{POLICY, Shape};
use edgeweir::policy::needs::NEEDS;
use edgeweir::policy::schema::patterns::{numbers, size_text, span_pattern, span_text};
use edgeweir::policy::schema::reference::{self, Field, fields};
use edgeweir::policy::schema::{document, text};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::fake::check;
use crate::policy::{changed, whole};

fn committed(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap_or_default()
}

#[test]
fn the_committed_schema_is_the_one_of_the_types() {
    assert!(
        committed("www/policy.schema.json") == text(),
        "www/policy.schema.json is stale: cargo run --example policy -- schema"
    );
}

#[test]
fn the_committed_reference_is_the_one_of_the_types() {
    assert!(
        committed("docs/reference.md") == reference::text(),
        "docs/reference.md is stale: cargo run --example policy -- reference"
    );
}

/// Calls `look` with every schema of an object that has members of its own.
fn objects(node: &Value, at: &str, look: &mut impl FnMut(&str, &Value)) {
    match node {
        Value::Object(object) => {
            if object.contains_key("properties") && object.contains_key("type") {
                look(at, node);
            }
            for (key, value) in object {
                objects(value, &format!("{at}/{key}"), look);
            }
        }
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                objects(value, &format!("{at}/{index}"), look);
            }
        }
        _ => {}
    }
}

#[test]
fn objects_are_closed_and_their_members_are_described() {
    let mut count = 0;
    objects(&document(), "", &mut |at, object| {
        count += 1;
        assert_eq!(object["additionalProperties"], json!(false), "{at}");
        // A choice is described as a whole.
        for (key, member) in object["properties"].as_object().unwrap() {
            let text = member["description"].as_str().unwrap_or_default();
            assert!(!text.is_empty() || at.contains("/oneOf/"), "{at}: {key}");
        }
    });
    assert!(count > 20, "{count}");
}

fn label(field: &Field) -> String {
    field.value.as_ref().map_or_else(|| field.path.clone(), |value| format!("{}={value}", field.path))
}

/// Whoever adds a field or a value adds it to the table of `needs.rs`, or old
/// modules get documents that they cannot read.
#[test]
fn whatever_came_after_the_first_version_is_in_the_table_of_needs() {
    let first: BTreeSet<&str> = include_str!("schema/fields-0.1.0.txt").lines().collect();
    let needed: BTreeSet<String> = NEEDS
        .iter()
        .map(|need| need.value.map_or_else(|| need.path.to_owned(), |value| format!("{}={value}", need.path)))
        .collect();
    let schema = fields(&document());
    let unknown: Vec<String> = schema
        .iter()
        .map(label)
        .filter(|label| {
            let is_within = |need: &String| label.starts_with(&format!("{need}."));
            let has_value = |need: &String| label.starts_with(&format!("{need}="));
            let is_needed = needed.iter().any(|need| need == label || is_within(need) || has_value(need));
            !first.contains(label.as_str()) && !is_needed
        })
        .collect();
    assert_eq!(unknown, [""; 0], "add these to NEEDS in src/policy/needs.rs");
    // What is in the first list is never taken away, or old documents break.
    let labels: BTreeSet<String> = schema.iter().map(label).collect();
    let gone: Vec<&&str> = first.iter().filter(|field| !labels.contains(**field)).collect();
    assert_eq!(gone, [&""; 0]);
    assert!(first.len() > 150 && first.iter().all(|field| !needed.contains(*field)));
}

/// A list that the comparison does not know would be compared as a whole.
#[test]
fn every_list_has_a_shape_for_the_comparison() {
    for field in fields(&document()).into_iter().filter(|field| field.is_list) {
        let mut shape: &Shape = &POLICY;
        for step in field.path.split('.') {
            shape = match shape {
                Shape::List { item, .. } if step == "*" => item,
                Shape::Named(item) => item,
                shape => shape.member(step),
            };
        }
        // The order of a key's parts means something; a condition inside a
        // rule is compared as a whole.
        let is_inner = field.path.contains(".rules.*.any") || field.path.contains(".rules.*.not");
        let is_key = is_inner
            || field.path.starts_with("ip_filter.rules.*.any")
            || field.path.starts_with("ip_filter.rules.*.not")
            || field.path.ends_with("rules.*.key")
            // The first valid one of them counts.
            || field.path.ends_with("cache.targets")
            || field.path.ends_with("cache.lifetimes")
            || field.path.contains("cache.lifetimes.*")
            || field.path.ends_with("vary.languages");
        assert!(matches!(shape, Shape::List { .. } | Shape::Set(_)) || is_key, "{}", field.path);
    }
}

/// What the schema says is the default is what is compiled where nothing
/// stands.
#[test]
fn defaults_are_what_the_compiler_takes() {
    // A default of the document's own would get in between.
    let base = |pointer: &str| {
        let mut base = whole();
        base.as_object_mut().unwrap().remove("defaults");
        if pointer.contains("/feed/") {
            let feed = json!({"url": "https://lists.example/"});
            base["address_sets"]["home"] = json!({"stored": true, "feed": feed});
        }
        base
    };
    let schema = document();
    let mut count = 0;
    let mut look = |pointer: &str, default: &Value| {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let mut without = base(pointer);
        let Some(object) = without.pointer_mut(parent).and_then(Value::as_object_mut) else {
            panic!("{pointer} is not in the whole document");
        };
        object.remove(key);
        let with = changed(base(pointer), pointer, default);
        let shown = |document: &Value| {
            let gateway = compile(&document.to_string()).unwrap();
            let matchers: Vec<_> = (0..3).map(|index| gateway.router.matcher(index)).collect();
            format!(
                "{:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {matchers:?}",
                gateway.refresh_interval,
                gateway.max_stale,
                gateway.identity,
                gateway.feeds,
                gateway.entry_ip_filter,
                gateway.entry_rate_limit,
                gateway.routes,
                gateway.upstreams,
                gateway.logged_address
            )
        };
        if pointer != "/routes/0/match/path" {
            assert!(shown(&without) == shown(&with), "{pointer}");
        }
        count += 1;
    };
    walk(&schema, &schema, "", &mut look);
    assert!(count > 25, "{count}");
}

/// Calls `look` for every default, at the first place of each list and name
/// of the whole document.
fn walk(root: &Value, node: &Value, at: &str, look: &mut impl FnMut(&str, &Value)) {
    // Merged into routes, which say all of it themselves.
    if at.starts_with("/defaults") {
        return;
    }
    // Lists inside a condition: empty where they are not there, like those of
    // the rule around it.
    if at.contains("/any/") || at.contains("/not/") {
        return;
    }
    if let Some(default) = node.get("default") {
        look(at, default);
    }
    let reference = node.get("$ref").or_else(|| node.pointer("/anyOf/0/$ref")).and_then(Value::as_str);
    let node = reference.map_or(node, |target| root.pointer(&target[1..]).unwrap());
    for (key, member) in node.get("properties").and_then(Value::as_object).into_iter().flatten() {
        walk(root, member, &format!("{at}/{key}"), look);
    }
    for (_, member) in node.get("patternProperties").and_then(Value::as_object).into_iter().flatten() {
        let whole = whole();
        let names = whole.pointer(at).and_then(Value::as_object).unwrap();
        walk(root, member, &format!("{at}/{}", names.keys().next().unwrap()), look);
    }
    if let Some(items) = node.get("items") {
        walk(root, items, &format!("{at}/0"), look);
    }
}

/// A very small reading of the expressions that `numbers` makes: alternatives
/// of digits, classes and counted classes.
fn matches(pattern: &str, number: &str) -> bool {
    pattern.split('|').any(|alternative| {
        let mut digits = number.chars();
        let mut rest = alternative;
        while let Some(first) = rest.chars().next() {
            let (low, high, after) = if first == '[' {
                (rest.chars().nth(1).unwrap(), rest.chars().nth(3).unwrap(), &rest[5..])
            } else {
                (first, first, &rest[1..])
            };
            let (count, after) = match after.strip_prefix('{').and_then(|after| after.split_once('}')) {
                Some((count, after)) => (count.parse().unwrap(), after),
                None => (1, after),
            };
            for _ in 0..count {
                if !digits.next().is_some_and(|digit| (low..=high).contains(&digit)) {
                    return false;
                }
            }
            rest = after;
        }
        digits.next().is_none()
    })
}

#[test]
fn the_expression_of_a_range_takes_its_numbers_and_no_others() {
    let bound = || prop_oneof![0..1_500_u64, 0..40_000_000_u64, Just(u64::MAX), Just(0)];
    check(2_000, (bound(), bound(), bound()), |(one, other, number)| {
        let (least, most) = (one.min(other), one.max(other));
        let pattern = numbers(least, most);
        prop_assert!(pattern.len() < 1_500, "{}", pattern);
        for number in [number, least, most, least.saturating_sub(1), most.saturating_add(1)] {
            let taken = matches(&pattern, &number.to_string());
            prop_assert_eq!(taken, (least..=most).contains(&number), "{} {}", pattern, number);
        }
        Ok(())
    });
    for (least, most) in [(1, 60), (0, 9), (7, 7), (99, 101), (1_000, 36_000)] {
        let pattern = numbers(least, most);
        let taken = (0..40_000).filter(|number: &u64| matches(&pattern, &number.to_string())).count();
        assert_eq!(taken as u64, most - least + 1, "{pattern}");
    }
    assert_eq!(numbers(2, 1), "");
}

#[test]
fn spans_and_sizes_are_written_in_the_largest_unit_that_fits() {
    assert_eq!(
        [0, 10, 1_000, 90_000, 3_600_000, 31 * 86_400_000].map(span_text),
        ["0ms", "10ms", "1s", "90s", "1h", "31d"]
    );
    assert_eq!([1, 1_024, 26_214_400, 1_025].map(size_text), ["1B", "1KiB", "25MiB", "1025B"]);
    assert_eq!(
        span_pattern(1_000, 2_000),
        "^(?:0*(?:[1][0-9]{3}|2000)ms|0*(?:[1-2])s)$".replace("[1][0-9]", "1[0-9]")
    );
}
