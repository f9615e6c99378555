//! The JSON Schema of a feed, as far as its types do not say it.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::json;

use super::config::Column;
use crate::policy::schema::patterns::FEED_URL;

impl JsonSchema for Column {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Column".into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": 1_000},
                {"type": "string", "minLength": 1, "maxLength": 128},
            ],
            "x-type": "number or name of a column",
        })
    }
}

/// `address_sets.NAME.feed.url`.
pub fn url(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "pattern": FEED_URL, "maxLength": 2_000, "x-type": "https URL"})
}

/// `csv` has a column, and no other format has one.
pub fn column_of_csv(schema: &mut Schema) {
    let is_csv = json!({"properties": {"format": {"const": "csv"}}, "required": ["format"]});
    let is_there = json!({"required": ["column"], "properties": {"column": {"not": {"type": "null"}}}});
    schema.insert("if".to_owned(), is_csv);
    schema.insert("then".to_owned(), is_there);
    schema.insert("else".to_owned(), json!({"properties": {"column": {"type": "null"}}}));
}
