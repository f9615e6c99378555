//! What one field of an object asks of another. Each stands under `allOf`, so
//! that the object's own description stays what it is.

use schemars::Schema;
use serde_json::{Value, json};

fn add(schema: &mut Schema, condition: Value) {
    match schema.get_mut("allOf").and_then(Value::as_array_mut) {
        Some(all) => all.push(condition),
        None => {
            schema.insert("allOf".to_owned(), json!([condition]));
        }
    }
}

/// An address set is inline or stored; a feed is of a stored one.
pub fn inline_or_stored(schema: &mut Schema) {
    let inline = json!({
        "required": ["prefixes"],
        "properties": {"prefixes": {"type": "array"}, "stored": {"const": false}, "feed": {"type": "null"}},
    });
    let stored = json!({
        "required": ["stored"],
        "properties": {"stored": {"const": true}, "prefixes": {"type": "null"}},
    });
    add(schema, json!({"oneOf": [inline, stored]}));
}

/// A rule or condition names something.
pub fn names_something(schema: &mut Schema) {
    let lists = ["prefixes", "address_sets", "countries", "continents", "asns", "tags", "any"];
    let mut named: Vec<Value> = lists
        .iter()
        .filter(|name| schema.get("properties").is_some_and(|fields| fields.get(*name).is_some()))
        .map(|name| json!({"required": [name], "properties": {*name: {"type": "array", "minItems": 1}}}))
        .collect();
    if schema.get("properties").is_some_and(|fields| fields.get("not").is_some()) {
        named.push(json!({"required": ["not"], "properties": {"not": {"type": "object"}}}));
    }
    add(schema, json!({"anyOf": named}));
}

/// A rule has a label where it gives one, and an answer where it refuses.
pub fn rule(schema: &mut Schema) {
    names_something(schema);
    let is = |action: &str| json!({"required": ["action"], "properties": {"action": {"const": action}}});
    add(
        schema,
        json!({
            "if": is("tag"),
            "then": {"required": ["tag"], "properties": {"tag": {"type": "string"}}},
            "else": {"properties": {"tag": {"type": "null"}}},
        }),
    );
    add(schema, json!({"if": is("deny"), "else": {"properties": {"answer": {"type": "null"}}}}));
}

/// The type of a body stands beside one.
pub fn typed_body(schema: &mut Schema) {
    add(
        schema,
        json!({
            "if": {"required": ["content_type"], "properties": {"content_type": {"type": "string"}}},
            "then": {"required": ["body"], "properties": {"body": {"type": "string"}}},
        }),
    );
}

/// A trigger of bans counts something.
pub fn trigger(schema: &mut Schema) {
    let some =
        |name: &str| json!({"required": [name], "properties": {name: {"type": "array", "minItems": 1}}});
    let refusals = json!({"required": ["refusals"], "properties": {"refusals": {"const": true}}});
    add(schema, json!({"anyOf": [some("limits"), refusals, some("statuses")]}));
}

/// A rule of `rate_limit` names a binding where the platform counts, and then
/// has nothing that the platform cannot do.
pub fn limit(schema: &mut Schema) {
    let platform = json!({"required": ["counting"], "properties": {"counting": {"const": "platform"}}});
    let nothing = json!({"type": "null"});
    add(
        schema,
        json!({
            "if": platform,
            "then": {"required": ["binding"], "properties": {
                "binding": {"type": "string"}, "cost": nothing, "count_status": {"type": "array", "maxItems": 0},
                "count_misses_only": {"const": false}, "cost_header": nothing, "penalty": {"const": 0}, "burst": nothing,
                "window": {"type": "string", "pattern": "^0*(10s|10000ms|60s|60000ms|1m)$"},
            }},
            "else": {"properties": {"binding": nothing}},
        }),
    );
    let leased = json!({"required": ["counting"], "properties": {"counting": {"const": "leased"}}});
    add(schema, json!({"if": leased, "then": {"properties": {"penalty": {"const": 0}}}}));
}

/// A field that says a cost has a bound.
pub fn bounded_cost(schema: &mut Schema) {
    add(
        schema,
        json!({
            "if": {"required": ["header"], "properties": {"header": {"type": "string"}}},
            "then": {"required": ["max"], "properties": {"max": {"type": "integer"}}},
        }),
    );
}

/// Hops are known by their addresses or by their number.
pub fn one_trust(schema: &mut Schema) {
    let both = json!({
        "required": ["trusted_hops", "trusted_depth"],
        "properties": {
            "trusted_hops": {"type": "array", "minItems": 1},
            "trusted_depth": {"type": "integer"},
        },
    });
    add(schema, json!({"not": both}));
}
