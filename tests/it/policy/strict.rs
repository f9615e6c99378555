//! Reading JSON text more strictly than serde, with the path of an error.

use edgeweir::policy::compile;
use edgeweir::policy::decode::strict::{Step, from_text};
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

use super::decode::trees;
use super::whole;
use crate::fake::check;

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Inner {
    number: u8,
    #[serde(default)]
    choice: Option<Choice>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Choice {
    Plain,
    Number(u8),
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Outer {
    #[serde(default)]
    list: Vec<Inner>,
    #[serde(default)]
    named: BTreeMap<String, Inner>,
    #[serde(default)]
    maybe: Option<Box<Outer>>,
}

fn fault(text: &str) -> (String, String) {
    let fault = from_text::<Outer>(text).unwrap_err();
    let path: String = fault
        .steps
        .iter()
        .map(|step| match step {
            Step::Key(key) => format!("/{key}"),
            Step::Index(index) => format!("/{index}"),
        })
        .collect();
    (path, fault.message)
}

#[test]
fn what_is_good_is_read() {
    let text = r#"{"list": [{"number": 1, "choice": "plain"}, {"choice": {"number": 7}, "number": 2}],
                   "named": {"a b": {"number": 3}, "\u00e9": {"number": 4, "choice": null}}, "maybe": {"maybe": null}}"#;
    let inner = |number, choice| Inner { number, choice };
    let expected = Outer {
        list: vec![inner(1, Some(Choice::Plain)), inner(2, Some(Choice::Number(7)))],
        named: [("a b".to_owned(), inner(3, None)), ("é".to_owned(), inner(4, None))].into(),
        maybe: Some(Box::new(Outer { list: vec![], named: BTreeMap::new(), maybe: None })),
    };
    assert_eq!(from_text::<Outer>(text).unwrap(), expected);
}

#[test]
fn the_path_leads_to_what_is_wrong() {
    for (text, path, message) in [
        ("7", "", "invalid type: integer `7`, expected struct Outer"),
        (r#"{"list": 7}"#, "/list", "invalid type: integer `7`, expected a sequence"),
        (
            r#"{"list": [{"number": 1}, {"number": 300}]}"#,
            "/list/1/number",
            "invalid value: integer `300`, expected u8",
        ),
        (r#"{"list": [{}]}"#, "/list/0", "missing field `number`"),
        (
            r#"{"list": [{"number": 1, "nope": 2}]}"#,
            "/list/0/nope",
            "unknown field `nope`, expected `number` or `choice`",
        ),
        (
            r#"{"named": {"a b": {"number": "x"}}}"#,
            "/named/a b/number",
            "invalid type: string \"x\", expected u8",
        ),
        (r#"{"named": {"\u00e9": 1}}"#, "/named/é", "invalid type: integer `1`, expected struct Inner"),
        (
            r#"{"maybe": {"maybe": {"list": [1]}}}"#,
            "/maybe/maybe/list/0",
            "invalid type: integer `1`, expected struct Inner",
        ),
        (
            r#"{"list": [{"number": 1, "choice": "other"}]}"#,
            "/list/0/choice",
            "unknown variant `other`, expected `plain` or `number`",
        ),
        (
            r#"{"list": [{"number": 1, "choice": {"number": -1}}]}"#,
            "/list/0/choice/number",
            "invalid value: integer `-1`, expected u8",
        ),
        (
            r#"{"list": [{"number": 1, "choice": 5}]}"#,
            "/list/0/choice",
            "invalid type: integer `5`, expected one of `plain`, `number`",
        ),
        (
            r#"{"list": [{"number": 1, "choice": "number"}]}"#,
            "/list/0/choice",
            "invalid type: unit variant, expected newtype variant",
        ),
        (
            r#"{"list": [{"number": 1, "choice": {}}]}"#,
            "/list/0/choice",
            "invalid value: map, expected one of `plain`, `number`",
        ),
        (
            r#"{"list": [{"number": 1, "choice": {"number": 1, "plain": 1}}]}"#,
            "/list/0/choice",
            "invalid value: map, expected an object with one name",
        ),
    ] {
        assert_eq!(fault(text), (path.to_owned(), message.to_owned()), "{text}");
    }
}

#[test]
fn rule_1_a_list_is_no_object() {
    for (text, path) in [
        (r#"[[], {}, null]"#, ""),
        (r#"{"list": [[1, null]]}"#, "/list/0"),
        (r#"{"named": []}"#, "/named"),
        (r#"{"named": {"a": [1, "plain"]}}"#, "/named/a"),
        (r#"{"maybe": [[], {}, null]}"#, "/maybe"),
    ] {
        let (found, message) = fault(text);
        assert_eq!(found, path, "{message}");
        assert!(message.starts_with("invalid type: sequence, expected "), "{message}");
    }
}

#[test]
fn rule_2_a_name_stands_once() {
    for (text, path) in [
        (r#"{"list": [], "list": []}"#, "/list"),
        (r#"{"list": [{"number": 1, "number": 1}]}"#, "/list/0/number"),
        (r#"{"named": {"a": {"number": 1}, "a": {"number": 1}}}"#, "/named"),
        (r#"{"named": {"a": {"number": 1}, "\u0061": {"number": 1}}}"#, "/named"),
    ] {
        let (found, message) = fault(text);
        assert!(path.starts_with(&found), "{found}: {message}");
        assert!(message.contains("twice") || message.starts_with("duplicate field"), "{message}");
    }
}

#[test]
fn rule_3_a_choice_without_a_value_is_a_name() {
    let (path, message) = fault(r#"{"list": [{"number": 1, "choice": {"plain": null}}]}"#);
    assert_eq!(path, "/list/0/choice");
    assert_eq!(message, "invalid type: map, expected the name alone, as a string");
}

#[test]
fn nothing_stands_behind_the_document() {
    for text in ["{} 1", "{}}", "{},", "", "{", "{\"list\": [1e999]}"] {
        assert!(from_text::<Outer>(text).is_err(), "{text}");
    }
    assert!(from_text::<Outer>(" {} \n").is_ok());
}

/// What is read is what serde reads, where serde is strict enough.
#[test]
fn it_agrees_with_serde() {
    check(400, trees(), |tree| {
        let text = json!({"list": [], "named": {"a": {"number": 1, "choice": tree}}}).to_string();
        let own = from_text::<Outer>(&text).ok();
        let serde = serde_json::from_str::<Outer>(&text).ok();
        prop_assert!(own.is_none() || own == serde);
        let own = from_text::<Outer>(&tree.to_string()).ok();
        let serde = serde_json::from_str::<Outer>(&tree.to_string()).ok();
        prop_assert!(own == serde || tree.is_array());
        Ok(())
    });
}

/// A list in the place of any object is refused at its place, whatever it
/// holds.
#[test]
fn a_list_in_the_place_of_an_object_is_refused() {
    fn objects(node: &Value, at: &str, found: &mut Vec<String>) {
        match node {
            Value::Object(object) => {
                found.push(at.to_owned());
                for (key, value) in object {
                    objects(value, &format!("{at}/{}", key.replace('/', "~1")), found);
                }
            }
            Value::Array(list) => {
                for (index, value) in list.iter().enumerate() {
                    objects(value, &format!("{at}/{index}"), found);
                }
            }
            _ => {}
        }
    }
    let mut places = Vec::new();
    objects(&whole(), "", &mut places);
    assert!(places.len() > 60);
    for place in places {
        let mut document = whole();
        let node = document.pointer_mut(&place).unwrap();
        let values: Vec<Value> = node.as_object().unwrap().values().cloned().collect();
        *node = values.into();
        assert!(compile(&document.to_string()).is_err(), "{place}");
    }
}
