//! From JSON text to typed values, with every problem at once.
//!
//! serde stops at the first error. So on an error the culprit is noted, cut
//! out of the tree and the rest is decoded again, until it decodes or too
//! much is wrong. What was cut out is never used: a document with a problem
//! is refused whole. A good document is decoded once, without a tree, see
//! [`strict`].

pub mod strict;

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};

use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use self::strict::{Fault, Step};
use super::MAX_PROBLEMS;
use crate::error::{Problem, clip};

/// Names that the design reserves. They are refused like any unknown name,
/// but the message says why.
const RESERVED: [&str; 28] = [
    "api_key",
    "asn",
    "auth",
    "breaker",
    "claim",
    "compress",
    "continents",
    "cost",
    "countries",
    "guard",
    "health",
    "load_balancing",
    "metrics",
    "penalty",
    "purge",
    "respond",
    "retries",
    "rollout",
    "secret",
    "share",
    "shedding",
    "sinks",
    "slos",
    "status",
    "stored",
    "tags",
    "targets",
    "validate",
];

/// The longest value that a problem repeats, in bytes.
const VALUE_LIMIT: usize = 100;

/// Collects problems, at most [`MAX_PROBLEMS`] of them.
#[derive(Debug, Default)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Notes a problem.
    pub fn add(&mut self, path: impl Into<String>, value: impl Into<String>, expected: impl Into<String>) {
        self.push(path.into(), value.into(), expected.into());
    }

    fn push(&mut self, path: String, value: String, expected: String) {
        if !self.is_full() {
            self.0.push(Problem { path, value, expected });
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The paths.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|problem| problem.path.as_str())
    }

    /// Leaves out what does not fit.
    pub fn retain(&mut self, fits: impl Fn(&Problem) -> bool) {
        self.0.retain(fits);
    }

    /// Adds problems, their paths changed.
    pub fn append(&mut self, others: Self, path: impl Fn(&str) -> String) {
        for problem in others.0 {
            self.add(path(&problem.path), problem.value, problem.expected);
        }
    }

    /// Whether no more are taken in.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.0.len() >= MAX_PROBLEMS
    }

    /// The problems, in the order they were found.
    #[must_use]
    pub fn into_vec(self) -> Vec<Problem> {
        self.0
    }
}

/// The way from the root to a place in the document. Its text is made only
/// when there is something to say about the place.
#[derive(Clone, Copy, Debug)]
pub enum Trail<'a> {
    /// The document.
    Root,
    /// An item of a list.
    Item(&'a Trail<'a>, usize),
    /// A member of an object.
    Entry(&'a Trail<'a>, &'a str),
}

impl Trail<'_> {
    /// An item of the list at this place.
    #[must_use]
    pub const fn item(&self, index: usize) -> Trail<'_> {
        Trail::Item(self, index)
    }

    /// A member of the object at this place.
    #[must_use]
    pub const fn entry<'a>(&'a self, key: &'a str) -> Trail<'a> {
        Trail::Entry(self, key)
    }
}

impl fmt::Display for Trail<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Item(parent, index) => write!(f, "{parent}[{index}]"),
            Self::Entry(parent, key) => f.write_str(&join(&parent.to_string(), key)),
        }
    }
}

impl From<Trail<'_>> for String {
    fn from(trail: Trail<'_>) -> Self {
        trail.to_string()
    }
}

/// Reads JSON text; duplicate keys are problems, since readers differ in
/// which one they take (RFC 8259, 4).
pub fn parse(text: &str, problems: &mut Problems) -> Option<Value> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let mut duplicates = Vec::new();
    let tree = TreeSeed { trail: Trail::Root, duplicates: &mut duplicates }
        .deserialize(&mut reader)
        .and_then(|value| reader.end().map(|()| value));
    for path in duplicates {
        problems.add(path, "", "expected each name once in an object; this one stands there twice");
    }
    match tree {
        Ok(value) => Some(value),
        Err(error) => {
            problems.add("", "", format!("expected a JSON document (RFC 8259): {error}"));
            None
        }
    }
}

/// Builds a tree and notes the paths of duplicate keys.
struct TreeSeed<'a> {
    trail: Trail<'a>,
    duplicates: &'a mut Vec<String>,
}

impl<'de> DeserializeSeed<'de> for TreeSeed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for TreeSeed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let Self { trail, duplicates } = self;
        let mut array = Vec::new();
        while let Some(item) =
            items.next_element_seed(TreeSeed { trail: Trail::Item(&trail, array.len()), duplicates })?
        {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let Self { trail, duplicates } = self;
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let inner = Trail::Entry(&trail, &key);
            let value = entries.next_value_seed(TreeSeed { trail: inner, duplicates })?;
            if object.contains_key(&key) && duplicates.len() < MAX_PROBLEMS {
                duplicates.push(inner.to_string());
            }
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

/// `path.key`, with a key that is no plain name in brackets and quotes.
#[must_use]
pub fn join(path: &str, key: &str) -> String {
    let plain = (1..=VALUE_LIMIT).contains(&key.len())
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    match (path.is_empty(), plain) {
        (true, true) => key.to_owned(),
        (false, true) => format!("{path}.{key}"),
        (_, false) => format!("{path}[{}]", Value::from(clip(key, VALUE_LIMIT))),
    }
}

/// `path[index]`, with what is below it behind it.
#[must_use]
pub fn at_index(path: &str, index: usize, below: &str) -> String {
    let dot = if below.is_empty() || below.starts_with('[') { "" } else { "." };
    format!("{path}[{index}]{dot}{below}")
}

/// A value as a problem repeats it.
#[must_use]
pub fn shown(value: &Value) -> String {
    let text = value.to_string();
    let short = clip(&text, VALUE_LIMIT);
    if short.len() == text.len() { text } else { format!("{short}…") }
}

/// Decodes a tree. On problems they are noted, what is wrong is cut out of
/// `tree`, and the result is `None` unless the rest decodes. With it come the
/// positions that what is left had in the tree as it was written.
pub fn decode<T: DeserializeOwned>(tree: &mut Value, problems: &mut Problems) -> Option<(T, Positions)> {
    let mut positions = Positions::of(tree);
    let mut cut = BTreeSet::new();
    while !problems.is_full() {
        let Fault { steps, message } = match strict::from_text::<T>(&tree.to_string()) {
            Ok(value) => return Some((value, positions)),
            Err(fault) => fault,
        };
        let place = Place::find(steps, tree, &positions);
        // A field that is missing because it was cut out is no news.
        let missing = between(&message, "missing field `", "`").map(|field| join(&place.shown, field));
        // Nor is what a value lacks because part of it was cut out.
        let spoilt = cut.iter().any(|path: &String| is_within(path, &place.shown));
        if missing.is_none_or(|path| !cut.contains(&path)) && !spoilt {
            let (value, expected) = describe(&message, &place);
            problems.add(place.shown.as_str(), value, expected);
        }
        cut.insert(place.shown.clone());
        if !place.cut(tree, &mut positions) {
            return None;
        }
    }
    None
}

/// What stands at the place, and what was expected there.
fn describe(message: &str, place: &Place) -> (String, String) {
    if let Some(field) = between(message, "unknown field `", "`") {
        let known = message.split_once("expected ").map_or("no field", |(_, known)| known).replace('`', "\"");
        let why = if RESERVED.contains(&field) {
            "this name is reserved for a later version and does nothing yet; remove it"
        } else {
            "there is no such field"
        };
        return (place.value.clone(), format!("{why}; expected {known}"));
    }
    if let Some(field) = between(message, "missing field `", "`") {
        return (String::new(), format!("expected the field \"{field}\", which is missing"));
    }
    match message.rsplit_once(", expected ") {
        Some((_, expected)) => {
            let expected = match expected {
                "u8" => "a whole number from 0 to 255".to_owned(),
                "u32" => "a whole number from 0 to 4294967295".to_owned(),
                "i32" => "a whole number from -2147483648 to 2147483647".to_owned(),
                "a map" => "an object".to_owned(),
                "a sequence" => "a list".to_owned(),
                // The names of our types are nobody's business.
                other if other.starts_with("struct ") => "an object".to_owned(),
                other => other.replace('`', "\""),
            };
            (place.value.clone(), format!("expected {expected}"))
        }
        None => (place.value.clone(), message.to_owned()),
    }
}

/// Whether a path is below another.
#[must_use]
pub fn is_within(path: &str, parent: &str) -> bool {
    path.strip_prefix(parent).is_some_and(|rest| rest.starts_with(['.', '[']))
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    text.strip_prefix(before)?.split_once(after).map(|(inner, _)| inner)
}

/// The original index of every array item, in the shape of the tree: cutting
/// an item out moves the ones behind it, but not their names in messages.
#[derive(Debug)]
pub enum Positions {
    /// Neither array nor object.
    Leaf,
    /// By key.
    Object(std::collections::BTreeMap<String, Positions>),
    /// By the index that is left, with the original one.
    Array(Vec<(usize, Positions)>),
}

impl Positions {
    /// A path in the tree that is left as the path that it had as written.
    #[must_use]
    pub fn original(&self, path: &str) -> String {
        let mut original = String::new();
        let mut position = Some(self);
        let mut rest = path;
        while !rest.is_empty() {
            let end = rest
                .char_indices()
                .skip(1)
                .find(|(_, next)| matches!(next, '.' | '['))
                .map_or(rest.len(), |(at, _)| at);
            let Some((step, next)) = rest.split_at_checked(end) else {
                break;
            };
            rest = next;
            let index =
                step.strip_prefix('[').and_then(|step| step.strip_suffix(']')).map(str::parse::<usize>);
            position = match (position, index) {
                (Some(Self::Array(items)), Some(Ok(index))) => match items.get(index) {
                    Some((written, inner)) => {
                        // Writing to a String cannot fail.
                        let _ = write!(original, "[{written}]");
                        Some(inner)
                    }
                    None => None,
                },
                (Some(Self::Object(names)), None) => {
                    original.push_str(step);
                    names.get(step.strip_prefix('.').unwrap_or(step))
                }
                _ => {
                    // A value, or a name in quotes: nothing below it is a list
                    // that could have moved.
                    original.push_str(step);
                    None
                }
            };
        }
        original
    }

    /// Puts a list in the place of a member.
    pub fn replace(&mut self, key: &str, items: Vec<(usize, Self)>) {
        if let Self::Object(names) = self {
            names.insert(key.to_owned(), Self::Array(items));
        }
    }

    fn of(tree: &Value) -> Self {
        match tree {
            Value::Object(object) => {
                Self::Object(object.iter().map(|(key, value)| (key.clone(), Self::of(value))).collect())
            }
            Value::Array(array) => Self::Array(array.iter().map(Self::of).enumerate().collect()),
            _ => Self::Leaf,
        }
    }
}

/// A place in the tree.
#[derive(Debug)]
struct Place {
    /// From the root, in terms of the tree as it is now.
    steps: Vec<Step>,
    /// From the root, in terms of the tree as it was written.
    shown: String,
    /// What stands there.
    value: String,
}

impl Place {
    fn find(path: Vec<Step>, tree: &Value, positions: &Positions) -> Self {
        let mut place = Self { steps: Vec::new(), shown: String::new(), value: String::new() };
        let (mut node, mut position) = (tree, positions);
        for step in path {
            match (&step, node, position) {
                (Step::Key(key), Value::Object(object), Positions::Object(names)) => {
                    let (Some(next), Some(next_position)) = (object.get(key), names.get(key)) else {
                        break;
                    };
                    place.shown = join(&place.shown, key);
                    (node, position) = (next, next_position);
                }
                (Step::Index(index), Value::Array(array), Positions::Array(indices)) => {
                    let (Some(next), Some((original, next_position))) =
                        (array.get(*index), indices.get(*index))
                    else {
                        break;
                    };
                    // Writing to a String cannot fail.
                    let _ = write!(place.shown, "[{original}]");
                    (node, position) = (next, next_position);
                }
                _ => break,
            }
            place.steps.push(step);
        }
        place.value = shown(node);
        place
    }

    /// Cuts the place out of the tree; `false` when it is the root.
    fn cut(&self, tree: &mut Value, positions: &mut Positions) -> bool {
        let Some((last, parents)) = self.steps.split_last() else {
            return false;
        };
        let (mut node, mut position) = (tree, positions);
        for step in parents {
            let next = match (step, node, position) {
                (Step::Key(key), Value::Object(object), Positions::Object(names)) => {
                    object.get_mut(key).zip(names.get_mut(key))
                }
                (Step::Index(index), Value::Array(array), Positions::Array(indices)) => {
                    array.get_mut(*index).zip(indices.get_mut(*index).map(|(_, inner)| inner))
                }
                _ => None,
            };
            let Some(next) = next else { return false };
            (node, position) = next;
        }
        match (last, node, position) {
            (Step::Key(key), Value::Object(object), Positions::Object(names)) => {
                object.remove(key);
                names.remove(key);
                true
            }
            (Step::Index(index), Value::Array(array), Positions::Array(indices))
                if *index < array.len() && *index < indices.len() =>
            {
                array.remove(*index);
                indices.remove(*index);
                true
            }
            _ => false,
        }
    }
}

/// Merges `over` into `base`: objects deeply, everything else replaces.
pub fn merge(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                merge(base.entry(key.as_str()).or_insert(Value::Null), value);
            }
        }
        (base, over) => *base = over.clone(),
    }
}
