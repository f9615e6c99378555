//! The OpenAPI document: that it is the one of the code, that it holds
//! together, and that the API keeps to it. What it says of bodies is held
//! against them by an independent validator, in tests/scripts/openapi.spec.mjs.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::sync::LazyLock;

use edgeweir::admin::endpoints::{ENDPOINTS, PREFIX};
use edgeweir::admin::openapi::{document, refusals, text};
use edgeweir::admin::problem::Refusal;
use edgeweir::exchange::PlainHead;
use serde_json::{Value, json};

use super::{Admin, samples};
use crate::fake::Response;

static DOCUMENT: LazyLock<Value> = LazyLock::new(document);

fn committed(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap_or_default()
}

/// What a reference leads to, or the value itself.
fn resolved(value: &Value) -> &Value {
    match value["$ref"].as_str() {
        Some(name) => DOCUMENT
            .pointer(name.strip_prefix('#').unwrap())
            .unwrap_or_else(|| panic!("{name} leads nowhere")),
        None => value,
    }
}

/// The operation of a request, if it is one of the document's.
fn operation(method: &str, path: &str) -> Option<&'static Value> {
    let method = match method {
        "GET" | "HEAD" => "get",
        "PUT" => "put",
        "POST" => "post",
        "DELETE" => "delete",
        _ => return None,
    };
    let exact = DOCUMENT["paths"].get(path).and_then(|path| path.get(method));
    exact.or_else(|| {
        let fits = |template: &str| {
            let pairs = || template.split('/').zip(path.split('/'));
            template.split('/').count() == path.split('/').count()
                && pairs().all(|(known, part)| known == part || known.starts_with('{') && !part.is_empty())
        };
        let templates = DOCUMENT["paths"].as_object()?.iter();
        templates.filter(|(template, _)| fits(template)).find_map(|(_, path)| path.get(method))
    })
}

/// Asserts that an answer has a form that the document gives to it, and hands
/// it to tests/scripts/openapi.spec.mjs, which looks at its body: a line in
/// the file that is named by the environment.
pub fn hold(head: &PlainHead, response: &Response) {
    let Some((_, target)) = head.url.split_once(PREFIX) else { return };
    let path = target.split('?').next().unwrap();
    let Some(operation) = operation(head.method.as_str(), path) else { return };
    let what = format!("{} {target}: {response:?}", head.method);
    let documented = operation["responses"].get(response.status.to_string());
    let documented = resolved(documented.unwrap_or_else(|| panic!("undocumented: {what}")));
    let kind = response.field("content-type").unwrap();
    let kind = kind.split(';').next().unwrap();
    if response.status == 304 {
        assert!(response.body.is_empty() && documented.get("content").is_none(), "{what}");
    } else {
        assert!(documented["content"].get(kind).is_some(), "undocumented type: {what}");
    }
    if kind == "application/problem+json" {
        let kinds = &documented["content"][kind]["schema"]["properties"]["type"]["enum"];
        assert!(kinds.as_array().unwrap().contains(&response.json()["type"]), "undocumented label: {what}");
    }
    for (name, field) in documented["headers"].as_object().into_iter().flatten() {
        assert!(field["required"] == false || response.field(name).is_some(), "{name} is missing: {what}");
    }
    for name in ["etag", "retry-after", "www-authenticate", "allow"] {
        let is_there = documented["headers"]
            .as_object()
            .is_some_and(|headers| headers.keys().any(|known| known.eq_ignore_ascii_case(name)));
        // Assets bring their own.
        let is_asset = path.ends_with(".json");
        assert!(is_there || is_asset || response.field(name).is_none(), "undocumented {name}: {what}");
    }
    let Some(file) = std::env::var_os("EDGEWEIR_ANSWERS") else { return };
    if kind.ends_with("json") && response.status != 304 {
        let schema = &documented["content"][kind]["schema"];
        let line = json!({"what": what, "schema": schema, "body": response.json()});
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(file).unwrap();
        file.write_all(format!("{line}\n").as_bytes()).unwrap();
    }
}

/// Calls `look` with every object, and where it is.
fn objects(node: &Value, at: &str, look: &mut impl FnMut(&str, &serde_json::Map<String, Value>)) {
    match node {
        Value::Object(object) => {
            look(at, object);
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

/// Path, method and operation of each.
fn operations() -> Vec<(&'static str, &'static str, &'static Value)> {
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let all = paths.iter().flat_map(|(path, methods)| {
        let methods = methods.as_object().unwrap().iter();
        methods.map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
    });
    all.collect()
}

#[test]
fn the_committed_document_is_the_one_of_the_code() {
    assert!(
        committed("www/openapi.json") == text(),
        "www/openapi.json is stale: cargo run --example policy -- openapi"
    );
}

#[test]
fn it_is_openapi_3_1() {
    // Specification 3.1, 4.8.1 and 4.8.2: what has to be there, and nothing
    // that has another name.
    assert!(DOCUMENT["openapi"].as_str().unwrap().starts_with("3.1."));
    for member in ["title", "version"] {
        assert!(DOCUMENT["info"][member].is_string());
    }
    let known =
        ["openapi", "info", "jsonSchemaDialect", "servers", "paths", "components", "security", "tags"];
    assert!(DOCUMENT.as_object().unwrap().keys().all(|key| known.contains(&key.as_str())));
    assert_eq!(DOCUMENT["servers"][0]["url"], PREFIX);
    // A licence has an identifier or a URL, not both.
    let license = DOCUMENT["info"]["license"].as_object().unwrap();
    assert!(
        license.contains_key("name") && (license.contains_key("identifier") != license.contains_key("url"))
    );
    // Component names (4.8.7.1).
    for (kind, components) in DOCUMENT["components"].as_object().unwrap() {
        for name in components.as_object().unwrap().keys() {
            let good = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
            assert!(good && !name.is_empty(), "{kind}: {name}");
        }
    }
}

#[test]
fn every_reference_leads_somewhere_and_every_component_is_referred_to() {
    let mut named = BTreeSet::new();
    objects(&DOCUMENT, "", &mut |at, object| {
        if let Some(name) = object.get("$ref") {
            let name = name.as_str().unwrap();
            assert!(name.starts_with("#/components/"), "{at}: {name}");
            assert!(DOCUMENT.pointer(&name[1..]).is_some(), "{at}: {name}");
            named.insert(name.to_owned());
        }
    });
    for kind in ["schemas", "responses"] {
        for name in DOCUMENT["components"][kind].as_object().unwrap().keys() {
            assert!(named.contains(&format!("#/components/{kind}/{name}")), "nobody refers to {name}");
        }
    }
    // Whoever has a token may try everything, and only that.
    let schemes = &DOCUMENT["components"]["securitySchemes"];
    for requirement in DOCUMENT["security"].as_array().unwrap() {
        assert!(requirement.as_object().unwrap().keys().all(|name| schemes.get(name).is_some()));
    }
    assert_eq!((&schemes["token"]["type"], &schemes["token"]["scheme"]), (&json!("http"), &json!("bearer")));
}

#[test]
fn every_operation_is_whole() {
    let mut ids = BTreeSet::new();
    for (path, method, operation) in operations() {
        let what = format!("{method} {path}");
        assert!(path.starts_with('/') && ["get", "put", "post", "delete"].contains(&method), "{what}");
        assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{what}");
        assert!(!operation["summary"].as_str().unwrap().is_empty(), "{what}");
        assert!(operation.get("security").is_none(), "{what} must not be open");
        let mut parameters = BTreeSet::new();
        for parameter in operation["parameters"].as_array().unwrap() {
            let (name, place) = (parameter["name"].as_str().unwrap(), parameter["in"].as_str().unwrap());
            assert!(["query", "header", "path"].contains(&place), "{what}: {name}");
            assert!(parameters.insert((name, place)), "{what}: {name} stands there twice");
            assert!(
                parameter.get("schema").is_some() != parameter.get("content").is_some(),
                "{what}: {name}"
            );
            assert!(!parameter["description"].as_str().unwrap().is_empty(), "{what}: {name}");
            // These are described elsewhere, and ignored here (4.8.12.2).
            assert!(!["Accept", "Content-Type", "Authorization"].contains(&name), "{what}: {name}");
            assert!(place != "path" || parameter["required"] == true, "{what}: {name}");
        }
        let in_path: BTreeSet<(&str, &str)> =
            path.split('{').skip(1).map(|rest| (rest.split('}').next().unwrap(), "path")).collect();
        let declared: BTreeSet<(&str, &str)> =
            parameters.iter().copied().filter(|(_, place)| *place == "path").collect();
        assert_eq!(in_path, declared, "{what}");
        assert!(method != "get" || operation.get("requestBody").is_none(), "{what}");
        let responses = operation["responses"].as_object().unwrap();
        assert_eq!(responses.keys().filter(|status| status.starts_with('2')).count(), 1, "{what}");
        for (status, response) in responses {
            assert!((200..600).contains(&status.parse::<u16>().unwrap()), "{what}: {status}");
            assert!(!resolved(response)["description"].as_str().unwrap().is_empty(), "{what}: {status}");
        }
    }
}

#[test]
fn it_has_the_endpoints_and_no_others() {
    assert_eq!(operations().len(), ENDPOINTS.len());
    for endpoint in &ENDPOINTS {
        let operation = operation(endpoint.method, endpoint.path).unwrap();
        assert_eq!(operation["x-role"], endpoint.role.as_str());
        assert_eq!(operation["requestBody"].is_null(), endpoint.body.is_empty());
        let success = &operation["responses"][endpoint.status.to_string()];
        assert_eq!(success["content"].get("text/plain").is_some(), endpoint.has_text, "{}", endpoint.path);
        let names: BTreeSet<&str> = operation["parameters"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|parameter| parameter["in"] == "query")
            .map(|parameter| parameter["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, endpoint.parameters.iter().map(|parameter| parameter.name).collect());
    }
    // What no endpoint gives would be a label without a place.
    let given: BTreeSet<&str> = ENDPOINTS.iter().flat_map(refusals).map(Refusal::as_str).collect();
    let missing: Vec<&str> =
        Refusal::ALL.into_iter().map(Refusal::as_str).filter(|label| !given.contains(label)).collect();
    // Another method is another operation.
    assert_eq!(missing, ["method-not-allowed"]);
}

/// One name is one type, whether it is read or written.
#[test]
fn the_policy_in_it_is_the_policy() {
    let schema: Value =
        serde_json::from_str(&edgeweir::policy::schema::text().replace("#/$defs/", "#/components/schemas/"))
            .unwrap();
    let ours = DOCUMENT["components"]["schemas"].as_object().unwrap();
    for (name, definition) in schema["$defs"].as_object().unwrap() {
        assert_eq!(ours.get(name), Some(definition), "{name}");
    }
    assert_eq!(ours["Policy"]["properties"], schema["properties"]);
    assert_eq!(ours["Policy"]["required"], schema["required"]);
}

/// Every test of the API holds its answers against the document; here is one
/// answer of each endpoint, and each refusal that all have.
#[test]
fn the_api_keeps_to_it() {
    for sample in samples() {
        for name in ["", "nobody", "late", "reader", "operator", "owner"] {
            let admin = Admin::new();
            admin.gate.platform.advance(60_000);
            admin.send(sample.head(name), &sample.body);
        }
    }
}

#[test]
fn it_is_served_as_it_is_committed() {
    let admin = Admin::new();
    for (target, file) in [("/openapi.json", "www/openapi.json"), ("/schema.json", "www/policy.schema.json")]
    {
        let response = admin.get("reader", target);
        assert_eq!((response.status, response.body), (200, committed(file)), "{target}");
    }
}
