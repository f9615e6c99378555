//! The reference page of the policy, `docs/reference.md`, from the schema: one
//! section an object, one row a field.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Map, Value};

const HEAD: &str = "\
# Policy reference

Every field of the policy document, made from the types that read it. [policy.md](policy.md) is the guide: it says
what the fields do together and what to choose. Editors read the same from
[`www/policy.schema.json`](../www/policy.schema.json), a JSON Schema (draft 2020-12), where a document names it:
`\"$schema\": \"../www/policy.schema.json\"`.

This page is generated: `cargo run --example policy -- reference`.

What a schema cannot say is checked all the same: that a name leads somewhere, that ids are unique, that weights add
up to 100, that a prefix has no host bits, that no two routes are equally specific. `policy check` says all of it.
";

/// The sections in the order of a request's journey; others follow.
const ORDER: [&str; 10] = [
    "refresh",
    "admin",
    "identity",
    "observe",
    "upstreams",
    "address_sets",
    "routes",
    "defaults",
    "ip_filter",
    "rate_limit",
];

/// Something that a document may hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Field {
    /// Keys with dots between them, `*` for any key and any index.
    pub path: String,
    /// One value, of those that are listed; `None` for the place itself.
    pub value: Option<String>,
    /// Whether it is a list.
    pub is_list: bool,
}

/// Every field of the schema, wherever it stands.
#[must_use]
pub fn fields(schema: &Value) -> Vec<Field> {
    let mut fields = BTreeSet::new();
    collect(schema, schema, "", &mut fields);
    fields.into_iter().filter(|field| !field.path.is_empty()).collect()
}

fn collect(root: &Value, node: &Value, path: &str, fields: &mut BTreeSet<Field>) {
    let mut note = |value: Option<String>| {
        fields.insert(Field { path: path.to_owned(), value, is_list: node.get("items").is_some() });
    };
    let options: Vec<&Value> = options(root, node).collect();
    if options.iter().all(|option| option.get("const").is_none()) && node.get("$ref").is_none() {
        note(None);
    }
    for value in options.iter().flat_map(|option| values(option)) {
        note(Some(value));
    }
    for option in options {
        let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        for (key, inner) in object(option, "properties") {
            collect(root, inner, &below(key), fields);
        }
        for inner in object(option, "patternProperties").map(|(_, inner)| inner).chain(option.get("items")) {
            collect(root, inner, &below("*"), fields);
        }
    }
}

/// What a node may be, without references and without `null`.
fn options<'a>(root: &'a Value, node: &'a Value) -> Box<dyn Iterator<Item = &'a Value> + 'a> {
    if let Some(target) = node.get("$ref").and_then(Value::as_str) {
        let found = target.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
        return Box::new(found.into_iter().flat_map(move |found| options(root, found)));
    }
    // `anyOf` beside a type narrows it and is no choice.
    let choices = ["oneOf", "anyOf"].iter().filter(|_| node.get("type").is_none());
    match choices.filter_map(|name| node.get(*name)?.as_array()).next() {
        Some(choices) => Box::new(choices.iter().flat_map(move |choice| options(root, choice))),
        None => Box::new(std::iter::once(node).filter(|node| node.get("type") != Some(&"null".into()))),
    }
}

fn object<'a>(node: &'a Value, name: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    node.get(name).and_then(Value::as_object).into_iter().flat_map(Map::iter)
}

/// The values that are listed, as JSON without quotes.
fn values(node: &Value) -> Vec<String> {
    let listed = node.get("enum").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    node.get("const").into_iter().chain(listed).map(plain).collect()
}

/// An object of the document and where it stands.
struct Section<'a> {
    paths: Vec<String>,
    node: &'a Value,
}

/// The page.
#[must_use]
pub fn text() -> String {
    let schema = super::document();
    let mut sections: BTreeMap<String, Section<'_>> = BTreeMap::new();
    find(&schema, &schema, "", "", &mut sections);
    let mut sections: Vec<Section<'_>> = sections.into_values().collect();
    for section in &mut sections {
        section.paths.sort_by_key(|path| (path.split('.').count(), place(path), path.clone()));
    }
    sections.sort_by_key(|section| {
        let path = section.paths.first().cloned().unwrap_or_default();
        (place(&path), path)
    });
    let mut page = HEAD.to_owned();
    for section in &sections {
        write_section(&schema, section, &sections, &mut page);
    }
    page
}

/// The document first, then as in [`ORDER`].
fn place(path: &str) -> usize {
    let first = path.split(['.', '[']).next().unwrap_or_default();
    let known = ORDER.iter().position(|name| *name == first);
    if path.is_empty() { 0 } else { known.unwrap_or(ORDER.len()).saturating_add(1) }
}

/// Finds the objects with fields of their own; `name` is that of the type.
fn find<'a>(
    root: &'a Value,
    node: &'a Value,
    path: &str,
    name: &str,
    sections: &mut BTreeMap<String, Section<'a>>,
) {
    let name = node.get("$ref").and_then(Value::as_str).unwrap_or(name);
    let choices = node.get("anyOf").and_then(Value::as_array).filter(|_| node.get("type").is_none());
    let named = choices.into_iter().flatten().find_map(|choice| choice.get("$ref")?.as_str());
    let name = named.unwrap_or(name);
    for option in options(root, node) {
        let is_object = option.get("properties").is_some() && option.get("oneOf").is_none();
        let is_choice = is_object && node_is_choice(root, node);
        if is_object && !is_choice {
            let section = sections
                .entry(if path.is_empty() { String::new() } else { name.to_owned() })
                .or_insert_with(|| Section { paths: Vec::new(), node: option });
            section.paths.push(path.to_owned());
        }
        let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        for (key, inner) in object(option, "properties").filter(|_| !is_choice) {
            find(root, inner, &below(key), "", sections);
        }
        for (_, inner) in object(option, "patternProperties") {
            find(root, inner, &below("NAME"), "", sections);
        }
        if let Some(inner) = option.get("items") {
            find(root, inner, &format!("{path}[]"), "", sections);
        }
    }
}

/// Whether a value is one of several forms, an object among them: it is told
/// in one row.
fn node_is_choice(root: &Value, node: &Value) -> bool {
    options(root, node).count() > 1
}

fn write_section(root: &Value, section: &Section<'_>, sections: &[Section<'_>], page: &mut String) {
    let required: Vec<&str> = section
        .node
        .get("required")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let title = section.paths.first().map(String::as_str).unwrap_or_default();
    // Writing to a String cannot fail.
    let _ = match title {
        "" => write!(page, "\n## The document\n"),
        title => write!(page, "\n## `{title}`\n"),
    };
    if let Some(also) = section.paths.get(1..).filter(|also| !also.is_empty()) {
        let also: Vec<String> = also.iter().map(|path| format!("`{path}`")).collect();
        let _ = write!(page, "\nAlso at {}.\n", also.join(", "));
    }
    page.push_str("\n| field | type | default | range or values | is |\n| --- | --- | --- | --- | --- |\n");
    for (key, node) in object(section.node, "properties") {
        let default = match node.get("default") {
            Some(value) => format!("`{value}`"),
            None if required.contains(&key.as_str()) => "required".to_owned(),
            None => String::new(),
        };
        let path = if title.is_empty() { key.clone() } else { format!("{title}.{key}") };
        let kind = kind(root, node, &path, sections);
        let range = range(root, node);
        let is = meaning(root, node);
        let _ = writeln!(page, "| `{key}` | {kind} | {} | {range} | {} |", cell(&default), cell(&is));
    }
}

/// A path that no section has.
const NOWHERE: &str = "?";

/// A link to the section of what stands at the path, if it has one.
fn link(path: &str, sections: &[Section<'_>]) -> Option<String> {
    let section = sections.iter().find(|section| section.paths.iter().any(|own| own == path))?;
    let title = section.paths.first()?;
    let anchor: String =
        title.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_' || *c == '-').collect();
    Some(format!("[`{title}`](#{})", anchor.to_lowercase()))
}

fn kind(root: &Value, node: &Value, path: &str, sections: &[Section<'_>]) -> String {
    if let Some(link) = link(path, sections) {
        return format!("object, {link}");
    }
    let mut kinds: Vec<String> = Vec::new();
    for option in options(root, node) {
        let kind = match (option.get("x-type").and_then(Value::as_str), option.get("items")) {
            (Some(kind), _) => kind.to_owned(),
            (None, Some(items)) => match link(&format!("{path}[]"), sections) {
                Some(link) => format!("list of objects, {link}"),
                None => format!("list of {}", kind(root, items, NOWHERE, sections)),
            },
            _ if object(option, "patternProperties").next().is_some() => {
                let link = link(&format!("{path}.NAME"), sections).unwrap_or_default();
                format!("object by name, {link}")
            }
            _ if option.get("properties").is_some() => {
                let members = object(option, "properties").map(|(key, inner)| {
                    format!("`{{\"{key}\": …}}` ({})", kind(root, inner, NOWHERE, sections))
                });
                members.collect::<Vec<_>>().join(", ")
            }
            _ => plain_kind(option).to_owned(),
        };
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    kinds.join(" or ")
}

fn plain_kind(option: &Value) -> &str {
    let kind = match option.get("type") {
        Some(Value::Array(kinds)) => kinds.first().and_then(Value::as_str),
        Some(kind) => kind.as_str(),
        None => None,
    };
    match kind {
        Some("integer") => "whole number",
        Some(kind) => kind,
        None => "any",
    }
}

fn range(root: &Value, node: &Value) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut listed: Vec<String> = Vec::new();
    for option in options(root, node) {
        listed.extend(values(option).iter().map(|value| format!("`{}`", shown_value(option, value))));
        if let Some(range) = option.get("x-range").and_then(Value::as_str) {
            parts.push(range.to_owned());
        } else if let (Some(least), Some(most)) = (option.get("minimum"), option.get("maximum")) {
            parts.push(format!("{least} to {most}"));
        }
        for (least, most, unit) in [
            ("minItems", "maxItems", "items"),
            ("minLength", "maxLength", "characters"),
            ("minProperties", "maxProperties", "members"),
        ] {
            match (option.get(least), option.get(most)) {
                (Some(least), Some(most)) if least == most => parts.push(format!("{least} {unit}")),
                (Some(least), Some(most)) => parts.push(format!("{least} to {most} {unit}")),
                (None, Some(most)) => parts.push(format!("at most {most} {unit}")),
                (Some(least), None) => parts.push(format!("at least {least} {unit}")),
                (None, None) => {}
            }
        }
        if option.get("uniqueItems") == Some(&Value::Bool(true)) {
            parts.push("each once".to_owned());
        }
        if let Some(items) = option.get("items") {
            let inner = range(root, items);
            if !inner.is_empty() && items.get("properties").is_none() {
                parts.push(format!("each {inner}"));
            }
        }
    }
    if !listed.is_empty() {
        parts.insert(0, listed.join(", "));
    }
    cell(&parts.join("; "))
}

fn shown_value(option: &Value, value: &str) -> String {
    let is_text = option.get("type").and_then(Value::as_str) == Some("string");
    if is_text { format!("\"{value}\"") } else { value.to_owned() }
}

/// The description, and those of the values that are listed.
fn meaning(root: &Value, node: &Value) -> String {
    let describe = |node: &Value| node.get("description").and_then(Value::as_str).map(str::to_owned);
    let mut text = describe(node).unwrap_or_default();
    let choices: Vec<String> = options(root, node)
        .filter_map(|option| {
            let value = option.get("const").and_then(Value::as_str)?;
            let meaning = describe(option).filter(|_| node_is_choice(root, node))?;
            Some(format!("`\"{value}\"`: {}", lower_first(meaning.trim_end_matches('.'))))
        })
        .collect();
    if !choices.is_empty() {
        // Writing to a String cannot fail.
        let _ = write!(text, " {}.", choices.join("; "));
    }
    text
}

/// `Acts on it` as `acts on it`, but `RFC 7239` as it is.
fn lower_first(text: &str) -> String {
    let mut rest = text.chars();
    match (rest.next(), text.chars().nth(1)) {
        (Some(first), Some(second)) if !second.is_uppercase() => first.to_lowercase().chain(rest).collect(),
        _ => text.to_owned(),
    }
}

/// Text as it can stand in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
