//! The JSON Schema (draft 2020-12) of the policy document, generated from the
//! types that read it. On the host only: the module carries none of this.
//!
//! 1. What the schema refuses, [`compile`](super::compile()) refuses too.
//! 2. What `compile` refuses for the form of a value alone, the schema refuses
//!    too, as far as a schema can tell. What it cannot: references by name,
//!    ids that stand twice, sums of weights, host bits of a prefix, and so on;
//!    the tests list them.
//! 3. `x-type` and `x-range` say for people what a pattern says for programs.

pub mod conditions;
pub mod patterns;
pub mod reference;

use std::borrow::Cow;

use schemars::generate::SchemaSettings;
use schemars::transform::{Transform, transform_subschemas};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use self::patterns::{
    ADDRESS, FIELD_NAME, HOST_PATTERN, LIMIT_NAME, MEDIA_TYPE, METHOD, NAME, ORIGIN, PATH, PREFIX, TOKEN,
    size_pattern, size_text, span_pattern, span_text,
};
use super::Policy;
use super::units::{Address, FieldName, FieldValues, HopPrefix, LimitName, Name, Percent, Size, Span};
use crate::stages::ip_filter::CONTINENTS;
use crate::stages::ip_filter::prefix::Prefix;

/// The schema as text, as it stands in `www/policy.schema.json`.
#[must_use]
pub fn text() -> String {
    // A tree of strings and numbers: it serialises.
    let mut text = serde_json::to_string_pretty(&document()).unwrap_or_default();
    text.push('\n');
    text
}

/// The schema.
#[must_use]
pub fn document() -> Value {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Policy>();
    Tidy.transform(&mut schema);
    schema.insert("title".to_owned(), json!("Edgeweir policy"));
    schema.into()
}

/// Takes away what says nothing to an author: Rust's formats, that what may be
/// left out is null then, and the line breaks of doc comments.
#[derive(Clone, Debug)]
pub struct Tidy;

impl Transform for Tidy {
    fn transform(&mut self, schema: &mut Schema) {
        schema.remove("format");
        if schema.get("default") == Some(&Value::Null) {
            schema.remove("default");
        }
        if let Some(Value::String(text)) = schema.get_mut("description") {
            *text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        }
        transform_subschemas(self, schema);
    }
}

macro_rules! scalars {
    ($($type:ty => $name:literal, $schema:expr;)+) => { $(
        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    )+ };
}

const LONGEST_SPAN: u64 = 366 * 86_400_000;

scalars! {
    Name => "Name", json_schema!({"type": "string", "pattern": NAME, "x-type": "name"});
    LimitName => "LimitName", json_schema!({"type": "string", "pattern": LIMIT_NAME, "x-type": "name of a limit"});
    FieldName => "FieldName", json_schema!({"type": "string", "pattern": FIELD_NAME, "x-type": "field name"});
    Prefix => "Prefix", json_schema!({"type": "string", "pattern": PREFIX, "x-type": "prefix"});
    HopPrefix => "HopPrefix", json_schema!({"type": "string", "pattern": PREFIX, "x-type": "prefix"});
    Address => "Address", json_schema!({"type": "string", "pattern": ADDRESS, "x-type": "IP address"});
    Span => "Span", spans(0, LONGEST_SPAN);
    Size => "Size", sizes(0, u64::MAX);
    Percent => "Percent", json_schema!({
        "type": "number", "minimum": 0, "maximum": 100, "x-type": "percent", "x-range": "0 to 100, at most two decimals"
    });
    FieldValues => "FieldValues", json_schema!({
        "type": "object", "patternProperties": {FIELD_NAME: {"type": "string"}}, "additionalProperties": false,
        "x-type": "object of strings by field name"
    });
}

fn spans(least: u64, most: u64) -> Schema {
    json_schema!({
        "type": "string", "pattern": span_pattern(least, most), "x-type": "duration",
        "x-range": format!("`{}` to `{}`", span_text(least), span_text(most)),
    })
}

fn sizes(least: u64, most: u64) -> Schema {
    json_schema!({
        "type": "string", "pattern": size_pattern(least, most), "x-type": "size",
        "x-range": format!("`{}` to `{}`", size_text(least), size_text(most)),
    })
}

fn or_null(mut schema: Schema) -> Schema {
    schema.insert("type".to_owned(), json!(["string", "null"]));
    schema
}

/// A duration in milliseconds.
pub fn span<const LEAST: u64, const MOST: u64>(_: &mut SchemaGenerator) -> Schema {
    spans(LEAST, MOST)
}

/// A duration in milliseconds that may be left out.
pub fn optional_span<const LEAST: u64, const MOST: u64>(_: &mut SchemaGenerator) -> Schema {
    or_null(spans(LEAST, MOST))
}

/// A size in bytes.
pub fn size<const LEAST: u64, const MOST: u64>(_: &mut SchemaGenerator) -> Schema {
    sizes(LEAST, MOST)
}

/// The form of the document.
pub fn version(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer", "const": super::DOCUMENT_VERSION})
}

/// A token of at most 64 characters (RFC 9110, 5.6.2).
pub fn token(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "pattern": TOKEN, "maxLength": 64, "x-type": "token"})
}

/// `match.hosts`.
pub fn hosts(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array", "uniqueItems": true,
        "items": {"type": "string", "pattern": HOST_PATTERN, "maxLength": 262, "x-type": "host"},
    })
}

/// `match.path`.
pub fn path(_: &mut SchemaGenerator) -> Schema {
    or_null(
        json_schema!({"type": "string", "pattern": PATH, "x-type": "path", "x-range": "at most 64 segments"}),
    )
}

/// `match.methods`.
pub fn methods(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array", "uniqueItems": true,
        "items": {"type": "string", "pattern": METHOD, "x-type": "method in capitals"},
    })
}

/// `upstreams.NAME.origin`.
pub fn origin(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "pattern": ORIGIN, "x-type": "origin"})
}

/// `cache.mode`: there is no shadow.
pub fn cache_mode(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "enum": ["enforce", "off"]})
}

/// `status` of a deny answer.
pub fn deny_status(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer", "enum": [403, 404, 429, 451], "default": 403})
}

/// `content_type` of a deny answer.
pub fn media_type(_: &mut SchemaGenerator) -> Schema {
    or_null(json_schema!({"type": "string", "pattern": MEDIA_TYPE, "maxLength": 128, "x-type": "media type"}))
}

/// `continents`.
pub fn continents(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "items": {"type": "string", "enum": CONTINENTS}})
}
