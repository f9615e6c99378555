//! The OpenAPI 3.1 document of the API, made of [`ENDPOINTS`] and of the types
//! that are read and written. On the host only: the module carries none of
//! this.
//!
//! 1. What an endpoint is (method, path, role, parameters, conditions, how it
//!    can refuse) is read from the table that the API dispatches by.
//! 2. Bodies are described as they are read, answers as they are written.
//! 3. Each status names the labels that it may come with.

use std::collections::BTreeMap;

use schemars::generate::SchemaSettings;
use schemars::transform::{Transform, transform_subschemas};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use super::address::AddressReport;
use super::bans::BanRequest;
use super::cache::CacheReport;
use super::calls::{AdminHealth, Difference, RollbackRequest, Validated};
use super::endpoints::{Call, ENDPOINTS, Endpoint, Kind, LIST, PREFIX, Parameter, Precondition};
use super::explain::ReplayCall;
use super::import::ImportedSet;
use super::limits::{LimitCall, LimitList, LimitReport};
use super::problem::{Details, Refusal};
use super::purges::{PurgeAcknowledgement, PurgeRequest};
use super::sets::{AddressSets, RollbackSetsRequest};
use super::warm::{WarmReport, WarmRequest};
use crate::control::answer::{Acknowledgement, AuditLog, History};
use crate::control::bans::{BanList, BansAcknowledgement};
use crate::control::message::Role;
use crate::control::purges::PurgeList;
use crate::control::sets::SetsAcknowledgement;
use crate::error::Reason;
use crate::explain::ExplainRequest;
use crate::explain::explanation::Explanation;
use crate::policy::Policy;
use crate::policy::manifest::MODULE_VERSION;
use crate::policy::schema::Tidy;
use crate::replay::Report;

/// Where the schemas are, below the document.
const SCHEMAS: &str = "/components/schemas";

/// The document as text, as it stands in `www/openapi.json`.
#[must_use]
pub fn text() -> String {
    // A tree of strings and numbers: it serialises.
    let mut text = serde_json::to_string_pretty(&document()).unwrap_or_default();
    text.push('\n');
    text
}

/// The document.
#[must_use]
pub fn document() -> Value {
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    let mut refused = Map::new();
    for endpoint in &ENDPOINTS {
        let methods = paths.entry(endpoint.path).or_default();
        methods.insert(endpoint.method.to_ascii_lowercase(), operation(endpoint, &mut refused));
    }
    json!({
        "openapi": "3.1.1",
        "info": {
            "title": "Edgeweir admin API",
            "version": MODULE_VERSION,
            "description": "Reads, checks and changes the policy of an environment. It is there where ADMIN_TOKENS \
                holds at least one token, and only on the hosts of the policy's \"admin.hosts\" where it names some. \
                Whatever answers GET answers HEAD, too. Every refusal is problem details (RFC 9457).",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": PREFIX}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {
                "type": "http",
                "scheme": "bearer",
                "description": "A token of ADMIN_TOKENS. Each role may do what those before it may: reader, operator, \
                    owner.",
            }},
            "responses": refused,
            "schemas": schemas(),
        },
    })
}

/// How an endpoint can refuse: all of it.
#[must_use]
pub fn refusals(endpoint: &Endpoint) -> Vec<Refusal> {
    const COMMON: [Refusal; 5] = [
        Refusal::BadRequest,
        Refusal::Unauthenticated,
        Refusal::TokenExpired,
        Refusal::NoSuchEndpoint,
        Refusal::TooManyRejections,
    ];
    const WITH_BODY: [Refusal; 4] =
        [Refusal::InvalidBody, Refusal::SlowBody, Refusal::TooLarge, Refusal::UnsupportedMediaType];
    let mut all = COMMON.to_vec();
    if endpoint.role > Role::Reader {
        all.push(Refusal::Forbidden);
    }
    if !endpoint.body.is_empty() {
        all.extend(WITH_BODY);
    }
    all.extend(endpoint.refusals);
    all
}

/// What is refused before it comes to the API.
const BEFORE: [Reason; 4] =
    [Reason::InvalidHost, Reason::InvalidTarget, Reason::ClientAddress, Reason::RateLimited];

const fn operation_id(call: Call) -> &'static str {
    match call {
        Call::Policy => "getPolicy",
        Call::Push => "pushPolicy",
        Call::Validate => "validatePolicy",
        Call::DiffDocument => "diffDocument",
        Call::DiffRevisions => "diffRevisions",
        Call::Rollback => "rollbackPolicy",
        Call::History => "getHistory",
        Call::Explain => "explainRequest",
        Call::Replay => "replayLog",
        Call::Audit => "getAudit",
        Call::Health => "getHealth",
        Call::OpenApi => "getOpenApi",
        Call::Schema => "getSchema",
        Call::AddressSets => "getAddressSets",
        Call::RemoveSet => "removeAddressSet",
        Call::RollbackSets => "rollbackAddressSets",
        Call::Bans => "getBans",
        Call::Ban => "banNetworks",
        Call::Purges => "getPurges",
        Call::Purge => "purge",
        Call::LookInCache => "lookInCache",
        Call::Warm => "warmCache",
        Call::Limits => "getLimits",
        Call::LookAtLimits => "lookAtLimits",
        Call::ResetLimits => "resetLimits",
        Call::Unban => "unbanNetworks",
        Call::Address => "getAddress",
        Call::ImportSet => "importAddressSet",
        Call::RefreshSet => "refreshAddressSet",
    }
}

fn operation(endpoint: &Endpoint, refused: &mut Map<String, Value>) -> Value {
    let mut parameters: Vec<Value> = segment(endpoint.path).into_iter().collect();
    parameters.extend(endpoint.parameters.iter().map(parameter));
    let field = |name: &str, required: bool, text: &str| {
        json!({
            "name": name, "in": "header", "required": required, "description": text, "schema": {"type": "string"},
        })
    };
    match endpoint.precondition {
        Precondition::None => {}
        Precondition::Revalidation => {
            parameters.push(field(
                "If-None-Match",
                false,
                "Entity tags that are known: one of them gives 304.",
            ));
        }
        Precondition::Base => {
            let text = "The entity tag of the active revision, such as \"r7\", which the change is based on. Needed \
                        where If-None-Match is not given.";
            parameters.push(field("If-Match", false, text));
            let text = "\"*\": there is no revision yet. In place of If-Match.";
            parameters.push(field("If-None-Match", false, text));
        }
    }
    let role = endpoint.role.as_str();
    let mut operation = Map::from_iter([
        ("operationId".to_owned(), json!(operation_id(endpoint.call))),
        ("summary".to_owned(), json!(endpoint.summary)),
        ("description".to_owned(), json!(format!("Role: {role}."))),
        ("parameters".to_owned(), json!(parameters)),
        ("responses".to_owned(), responses(endpoint, refused)),
        ("x-role".to_owned(), json!(role)),
    ]);
    if !endpoint.body.is_empty() {
        let kind = if endpoint.body == LIST { "*/*" } else { "application/json" };
        let content = json!({kind: {"schema": reference(endpoint.body)}});
        operation.insert("requestBody".to_owned(), json!({"required": true, "content": content}));
    }
    Value::Object(operation)
}

/// The segment in braces.
fn segment(path: &str) -> Option<Value> {
    let (_, rest) = path.split_once('{')?;
    let (name, _) = rest.split_once('}')?;
    let text = match name {
        "name" => "The name of the set.",
        _ => "The address.",
    };
    Some(json!({
        "name": name, "in": "path", "required": true, "description": text, "schema": {"type": "string"},
    }))
}

fn parameter(parameter: &Parameter) -> Value {
    let schema = match parameter.kind {
        Kind::Text => json!({"type": "string"}),
        Kind::Networks => {
            json!({"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 1_000})
        }
        Kind::Headers => {
            json!({"type": "array", "items": {"type": "string", "pattern": ":"}, "maxItems": 128})
        }
        Kind::Number => json!({"type": "integer", "minimum": 0}),
        Kind::Revision => json!({"type": "string", "pattern": "^r(0|[1-9][0-9]*)$"}),
        Kind::Choice(names) => json!({"type": "string", "enum": names}),
    };
    json!({
        "name": parameter.name,
        "in": "query",
        "required": parameter.required,
        "description": parameter.description,
        "schema": schema,
    })
}

/// What an endpoint answers; how it refuses is put into `refused` and named.
fn responses(endpoint: &Endpoint, refused: &mut Map<String, Value>) -> Value {
    let tagged = endpoint.precondition != Precondition::None;
    let tag = json!({"ETag": {
        "description": "The name of the revision, in quotes.", "required": true, "schema": {"type": "string"},
    }});
    let mut content =
        Map::from_iter([("application/json".to_owned(), json!({"schema": reference(endpoint.answer)}))]);
    if endpoint.has_text {
        let schema = json!({"type": "string", "description": "For people."});
        content.insert("text/plain".to_owned(), json!({"schema": schema}));
    }
    let headers = if tagged { tag.clone() } else { json!({}) };
    let success = json!({"description": "Done.", "headers": headers, "content": content});
    let mut responses = Map::new();
    responses.insert(endpoint.status.to_string(), success);
    if endpoint.precondition == Precondition::Revalidation {
        responses.insert("304".to_owned(), json!({"description": "It is known.", "headers": tag}));
    }
    let mut labels: BTreeMap<u16, Vec<(&str, &str)>> = BTreeMap::new();
    for refusal in refusals(endpoint) {
        labels.entry(refusal.status()).or_default().push((refusal.as_str(), refusal.title()));
    }
    for reason in BEFORE {
        labels.entry(reason.status()).or_default().push((reason.as_str(), reason.title()));
    }
    for (status, labels) in labels {
        let names: Vec<&str> = labels.iter().map(|(label, _)| *label).collect();
        let name = format!("{status}.{}", names.join("."));
        responses.insert(status.to_string(), json!({"$ref": format!("#/components/responses/{name}")}));
        refused.entry(name).or_insert_with(|| refusal(status, &labels));
    }
    Value::Object(responses)
}

/// A status that the API refuses with, and the labels that it may have.
fn refusal(status: u16, labels: &[(&str, &str)]) -> Value {
    let kinds: Vec<String> =
        labels.iter().map(|(label, _)| format!("urn:edgeweir:problem:{label}")).collect();
    let text: Vec<String> = labels.iter().map(|(label, title)| format!("`{label}`: {title}.")).collect();
    let schema = json!({
        "allOf": [reference("ProblemDetails")],
        "properties": {"type": {"enum": kinds}, "status": {"const": status}},
    });
    let field = |name: &str, text: &str, schema: Value| {
        let field = json!({"description": text, "required": true, "schema": schema});
        Value::Object(Map::from_iter([(name.to_owned(), field)]))
    };
    let headers = match status {
        401 => field("WWW-Authenticate", "Bearer (RFC 6750).", json!({"type": "string"})),
        429 | 503 => field("Retry-After", "Seconds to wait.", json!({"type": "integer", "minimum": 0})),
        _ => json!({}),
    };
    json!({
        "description": text.join(" "),
        "headers": headers,
        "content": {"application/problem+json": {"schema": schema}},
    })
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#{SCHEMAS}/{name}")})
}

fn schemas() -> Map<String, Value> {
    let settings =
        || SchemaSettings::draft2020_12().with(|settings| settings.definitions_path = SCHEMAS.into());
    let mut read = settings().into_generator();
    read.subschema_for::<Policy>();
    read.subschema_for::<RollbackRequest>();
    read.subschema_for::<ReplayCall>();
    read.subschema_for::<RollbackSetsRequest>();
    read.subschema_for::<BanRequest>();
    read.subschema_for::<LimitCall>();
    read.subschema_for::<PurgeRequest>();
    read.subschema_for::<WarmRequest>();
    let explain = explain_call(&mut read);
    let mut written = settings().for_serialize().into_generator();
    add::<Acknowledgement>(&mut written);
    add::<Validated>(&mut written);
    add::<Difference>(&mut written);
    add::<History>(&mut written);
    add::<Explanation>(&mut written);
    add::<Report>(&mut written);
    add::<AuditLog>(&mut written);
    add::<AdminHealth>(&mut written);
    add::<AddressSets>(&mut written);
    add::<AddressReport>(&mut written);
    add::<SetsAcknowledgement>(&mut written);
    add::<ImportedSet>(&mut written);
    add::<BanList>(&mut written);
    add::<LimitList>(&mut written);
    add::<LimitReport>(&mut written);
    add::<BansAcknowledgement>(&mut written);
    add::<PurgeList>(&mut written);
    add::<PurgeAcknowledgement>(&mut written);
    add::<CacheReport>(&mut written);
    add::<WarmReport>(&mut written);
    add::<Details<'static>>(&mut written);
    let document = json!({"type": "object", "description": "A JSON document."});
    let mut all =
        Map::from_iter([("Document".to_owned(), document), ("ExplainCall".to_owned(), explain.into())]);
    let list = json!({"type": "string", "description": "A list, as it is published; at most 64 MiB."});
    all.insert(LIST.to_owned(), list);
    all.extend(read.take_definitions(true));
    for (name, mut schema) in written.take_definitions(true) {
        if let Ok(schema) = <&mut Schema>::try_from(&mut schema) {
            NeverNull.transform(schema);
        }
        all.insert(name, schema);
    }
    for schema in all.values_mut() {
        if let Ok(schema) = <&mut Schema>::try_from(schema) {
            Tidy.transform(schema);
        }
    }
    all
}

/// In what is written, a member that says nothing is not there; it is never
/// null.
#[derive(Clone, Debug)]
struct NeverNull;

impl Transform for NeverNull {
    fn transform(&mut self, schema: &mut Schema) {
        if let Some(Value::Array(types)) = schema.get_mut("type") {
            types.retain(|kind| kind != "null");
            if let [only] = types.as_slice() {
                let only = only.clone();
                schema.insert("type".to_owned(), only);
            }
        }
        if let Some(Value::Array(choices)) = schema.get_mut("anyOf") {
            choices.retain(|choice| choice.get("type").is_none_or(|kind| kind != "null"));
            if let [Value::Object(only)] = choices.as_slice() {
                let only = only.clone();
                schema.remove("anyOf");
                for (key, value) in only {
                    schema.insert(key, value);
                }
            }
        }
        transform_subschemas(self, schema);
    }
}

fn add<T: JsonSchema>(generator: &mut SchemaGenerator) {
    generator.subschema_for::<T>();
}

/// The body of `explain`: a request, and the policy that it is about.
fn explain_call(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = ExplainRequest::json_schema(generator);
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        properties.insert(
            "document".to_owned(),
            json!({
                "description": "A candidate. Default: the active policy.",
                "anyOf": [reference("Policy"), {"type": "null"}],
            }),
        );
        properties.insert(
            "revision".to_owned(),
            json!({"description": "A revision in its place.", "type": ["string", "null"]}),
        );
    }
    schema
}

/// `headers` of a request to explain.
pub fn headers(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "oneOf": [
            {"type": "object", "additionalProperties": {"type": "string"}},
            {"type": "array", "items": {
                "type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 2,
            }},
        ],
    })
}

/// `method` of a request to explain.
pub fn method(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}$"})
}

/// `url` of a request to explain.
pub fn url(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "pattern": "^https?://"})
}
