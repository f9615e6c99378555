//! The comparison itself.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::{Map, Value};

use super::shape::{Form, ROUTE, Shape};
use super::{Change, Changes, Kind, MAX_MEMBERS, Members, at_id};
use crate::policy::decode::{is_within, join, merge, shown};
use crate::policy::defaults::DEFAULTS_LIMIT;

/// Notes what differs. As deep as the documents are; JSON that was parsed is
/// at most 128 deep.
pub(super) fn compare(shape: &Shape, path: &str, before: &Value, after: &Value, changes: &mut Changes) {
    match (before, after, shape) {
        (Value::Object(before), Value::Object(after), Shape::Fields) => {
            fields(path, before, after, changes);
        }
        (Value::Object(before), Value::Object(after), _) => object(shape, path, before, after, changes),
        (Value::Array(before), Value::Array(after), Shape::List { id, ordered, item }) => {
            match (by_id(before, id), by_id(after, id)) {
                (Some(before), Some(after)) => list(item, *ordered, path, &before, &after, changes),
                _ => positions(item, path, before, after, changes),
            }
        }
        (Value::Array(before), Value::Array(after), Shape::Set(form)) => {
            set(*form, path, before, after, changes);
        }
        _ if before != after => {
            let equivalent = match shape {
                Shape::Scalar(form) => {
                    form.normal(before).is_some_and(|normal| form.normal(after) == Some(normal))
                }
                _ => false,
            };
            changes.add(|| Change { equivalent, ..Change::between(path, before, after) });
        }
        _ => {}
    }
}

fn added(path: &str, value: &Value) -> Change {
    Change { after: Some(shown(value)), ..Change::new(Kind::Added, path) }
}

fn removed(path: &str, value: &Value) -> Change {
    Change { before: Some(shown(value)), ..Change::new(Kind::Removed, path) }
}

fn object(
    shape: &Shape,
    path: &str,
    before: &Map<String, Value>,
    after: &Map<String, Value>,
    changes: &mut Changes,
) {
    for (key, value) in before {
        match after.get(key) {
            Some(other) => compare(shape.member(key), &join(path, key), value, other, changes),
            None => changes.add(|| removed(&join(path, key), value)),
        }
    }
    for (key, value) in after.iter().filter(|(key, _)| !before.contains_key(*key)) {
        changes.add(|| added(&join(path, key), value));
    }
}

/// Header fields: a name in another case is the same name.
fn fields(path: &str, before: &Map<String, Value>, after: &Map<String, Value>, changes: &mut Changes) {
    let normal = |fields: &Map<String, Value>| -> Option<Map<String, Value>> {
        let lower = fields.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone()));
        Some(lower.collect()).filter(|lower: &Map<String, Value>| lower.len() == fields.len())
    };
    let (Some(lower_before), Some(lower_after)) = (normal(before), normal(after)) else {
        return object(&Shape::Plain, path, before, after, changes);
    };
    if lower_before == lower_after && before != after {
        let (before, after) = (Value::Object(before.clone()), Value::Object(after.clone()));
        changes.add(|| Change { equivalent: true, ..Change::between(path, &before, &after) });
    } else {
        object(&Shape::Plain, path, &lower_before, &lower_after, changes);
    }
}

/// The items by their id; `None` where one has none, or two have the same.
fn by_id<'a>(items: &'a [Value], id: &str) -> Option<Vec<(&'a str, &'a Value)>> {
    let mut seen = HashSet::new();
    let with_id = items.iter().map(|item| Some((item.as_object()?.get(id)?.as_str()?, item)));
    let list: Vec<_> = with_id.collect::<Option<_>>()?;
    list.iter().all(|(id, _)| seen.insert(*id)).then_some(list)
}

fn list(
    item: &Shape,
    ordered: bool,
    path: &str,
    before: &[(&str, &Value)],
    after: &[(&str, &Value)],
    changes: &mut Changes,
) {
    let old: HashMap<&str, &Value> = before.iter().copied().collect();
    let new: HashMap<&str, &Value> = after.iter().copied().collect();
    for (id, value) in before {
        match new.get(id) {
            Some(other) => compare(item, &at_id(path, id), value, other, changes),
            None => changes.add(|| removed(&at_id(path, id), value)),
        }
    }
    for (id, value) in after.iter().filter(|(id, _)| !old.contains_key(id)) {
        changes.add(|| added(&at_id(path, id), value));
    }
    if ordered {
        let stays = |list: &[(&str, &Value)], other: &HashMap<&str, &Value>| -> Vec<Value> {
            list.iter().filter(|(id, _)| other.contains_key(id)).map(|(id, _)| Value::from(*id)).collect()
        };
        let (before, after) = (stays(before, &new), stays(after, &old));
        if before != after {
            changes.add(|| Change {
                kind: Kind::Reordered,
                ..Change::between(path, &Value::Array(before), &Value::Array(after))
            });
        }
    }
}

/// Items without ids are compared by position.
fn positions(item: &Shape, path: &str, before: &[Value], after: &[Value], changes: &mut Changes) {
    for (index, (value, other)) in before.iter().zip(after).enumerate() {
        compare(item, &format!("{path}[{index}]"), value, other, changes);
    }
    for (index, value) in before.iter().enumerate().skip(after.len()) {
        changes.add(|| removed(&format!("{path}[{index}]"), value));
    }
    for (index, value) in after.iter().enumerate().skip(before.len()) {
        changes.add(|| added(&format!("{path}[{index}]"), value));
    }
}

/// A member of a set, by what it means.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Member {
    /// The normal form.
    Good(String),
    /// What is none of the form stands for itself, as JSON.
    Other(String),
}

/// Notes what a set gained and lost, or that the same is written differently.
fn set(form: Form, path: &str, before: &[Value], after: &[Value], changes: &mut Changes) {
    let members = |list: &[Value]| -> BTreeMap<Member, String> {
        let named = list.iter().map(|value| {
            let written = value.as_str().map_or_else(|| shown(value), shown_text);
            (form.normal(value).map_or_else(|| Member::Other(value.to_string()), Member::Good), written)
        });
        named.collect()
    };
    let (old, new) = (members(before), members(after));
    let only = |own: &BTreeMap<Member, String>, other: &BTreeMap<Member, String>| {
        let mut only: Vec<String> =
            own.iter().filter(|(name, _)| !other.contains_key(*name)).map(|(_, text)| text.clone()).collect();
        let more = only.len().saturating_sub(MAX_MEMBERS);
        only.truncate(MAX_MEMBERS);
        (only, more)
    };
    let (gained, more_added) = only(&new, &old);
    let (lost, more_removed) = only(&old, &new);
    if !gained.is_empty() || !lost.is_empty() {
        let members = Members { added: gained, more_added, removed: lost, more_removed };
        changes.add(|| Change { members: Some(members), ..Change::new(Kind::Changed, path) });
        return;
    }
    let written = |list: &[Value]| {
        let mut texts: Vec<String> = list.iter().map(Value::to_string).collect();
        texts.sort_unstable();
        texts
    };
    if before != after && written(before) != written(after) {
        let (before, after) = (Value::from(before), Value::from(after));
        changes.add(|| Change { equivalent: true, ..Change::between(path, &before, &after) });
    }
}

/// A member as written, without quotes, shortened.
fn shown_text(text: &str) -> String {
    let quoted = shown(&Value::from(text));
    match quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(inner) => inner.to_owned(),
        None => quoted,
    }
}

fn routes_of(tree: &Value) -> Option<Vec<(&str, &Value)>> {
    by_id(tree.get("routes")?.as_array()?, "id")
}

/// Notes what a change of `defaults` does to each route that stands in both
/// documents, beyond what changed in the route itself.
pub(super) fn by_defaults(before: &Value, after: &Value, changes: &mut Changes) {
    let defaults = |tree: &Value| tree.get("defaults").cloned().unwrap_or(Value::Null);
    let (old, new) = (defaults(before), defaults(after));
    if old == new {
        return;
    }
    let (Some(earlier), Some(later)) = (routes_of(before), routes_of(after)) else {
        return;
    };
    // A document that goes past this does not compile.
    let size = old.to_string().len().max(new.to_string().len());
    if size.saturating_mul(earlier.len().max(later.len())) > DEFAULTS_LIMIT {
        return;
    }
    let merged = |defaults: &Value, route: &Value| {
        let mut whole = if defaults.is_object() { defaults.clone() } else { Value::Object(Map::new()) };
        merge(&mut whole, route);
        whole
    };
    let later: HashMap<&str, &Value> = later.into_iter().collect();
    for (id, route) in earlier {
        let Some(other) = later.get(id) else { continue };
        let path = at_id("routes", id);
        let (mut direct, mut whole) = (Changes::default(), Changes::default());
        compare(&ROUTE, &path, route, other, &mut direct);
        compare(&ROUTE, &path, &merged(&old, route), &merged(&new, other), &mut whole);
        for change in whole.list {
            let is_known = direct.list.iter().any(|known| {
                known.path == change.path
                    || is_within(&change.path, &known.path)
                    || is_within(&known.path, &change.path)
            });
            if !is_known {
                changes.add(|| Change { by_defaults: true, ..change });
            }
        }
        changes.more = changes.more.saturating_add(whole.more);
    }
}
