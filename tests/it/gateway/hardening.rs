//! What an adversary tried, beyond `attacks`.

use serde_json::json;

use super::{gate, route};
use crate::fake::{Response, Sent, With, get};
use crate::snapshot::accept;
use edgeweir::error::{Dependency, PlatformError};
use edgeweir::policy::compile;
use edgeweir::policy::snapshot::{Fallback, Holder};
use edgeweir::time::Timestamp;

/// Naming a field in Connection takes it away from the origin, but it would
/// still select the stored answer for the others.
#[test]
fn a_field_that_connection_takes_away_poisons_no_entry() {
    let gate = route(&json!({"cache": {}}));
    gate.platform.origin(|sent: &Sent| {
        let language = sent.field("accept-language").unwrap_or_else(|| "default".to_owned());
        Response::new(200)
            .with("Cache-Control", "max-age=600")
            .with("Vary", "Accept-Language")
            .body(&language)
    });
    gate.send(&get("/").with("Accept-Language", "ko").with("Connection", "close, Accept-Language"));
    assert_eq!(gate.send(&get("/").with("Accept-Language", "ko")).0.body, "ko");
}

#[test]
fn the_options_of_a_connection_take_nothing_away() {
    for options in ["close", "keep-alive", "Keep-Alive, TE", "upgrade"] {
        let gate = route(&json!({"cache": {}}));
        gate.platform.origin(|_: &Sent| Response::new(200).with("Cache-Control", "max-age=600"));
        gate.send(&get("/").with("Connection", options));
        assert_eq!(gate.platform.stored.borrow().len(), 1, "{options}");
    }
}

/// An answer that was selected by a field that never reaches the origin, or
/// that the origin gets from us, is not kept.
#[test]
fn an_answer_selected_by_a_field_of_ours_is_not_kept() {
    for name in ["X-Request-Id", "X-Original-URL", "Traceparent", "Tracestate", "X_Forwarded_For", "TE"] {
        let gate = route(&json!({"cache": {}}));
        gate.platform.origin(move |_: &Sent| {
            Response::new(200).with("Cache-Control", "max-age=600").with("Vary", name)
        });
        gate.send(&get("/"));
        assert!(gate.platform.stored.borrow().is_empty(), "{name}");
    }
}

#[test]
fn a_path_parameter_is_no_way_around_a_rule() {
    let gate = gate(&json!({"routes": [
        {"id": "admin", "upstream": "app", "match": {"path": "/admin/*"}, "ip_filter": {"default": "deny"}},
        {"id": "all", "upstream": "app"},
    ]}));
    for target in ["/admin;x", "/admin;/x", "/admin%3Bx/y", "/;a/admin", "/admin;x;y=1"] {
        assert_eq!(gate.send(&get(target)).0.status, 403, "{target}");
    }
    assert_eq!(gate.send(&get("/a;b=c/d")).0.status, 200);
}

#[test]
fn a_document_whose_rules_come_to_too_many_prefixes_is_refused() {
    let prefixes: Vec<String> =
        (0..2_500).map(|index| format!("10.{}.{}.0/24", index / 250, index % 250)).collect();
    let routes: Vec<_> = (0..100)
        .map(|index| json!({"id": format!("r{index}"), "upstream": "app", "match": {"path": format!("/{index}")}}))
        .collect();
    let document = json!({
        "version": 1,
        "upstreams": {"app": {"origin": "http://app.internal"}},
        "defaults": {"ip_filter": {"rules": [{"id": "many", "action": "deny", "prefixes": prefixes}]}},
        "routes": routes,
    });
    let error = compile(&document.to_string()).map(|_| ()).unwrap_err();
    assert_eq!((error.problems.len(), error.problems[0].path.as_str()), (1, "address_sets"));
}

#[test]
fn defaults_that_come_to_too_much_are_refused() {
    let prefixes: Vec<String> =
        (0..10_000).map(|index| format!("10.{}.{}.0/24", index / 250, index % 250)).collect();
    let routes: Vec<_> = (0..1_000)
        .map(|index| json!({"id": format!("r{index}"), "upstream": "app", "match": {"path": format!("/{index}")}}))
        .collect();
    let rules = json!([{"id": "many", "action": "deny", "prefixes": prefixes}]);
    let document = json!({
        "version": 1,
        "upstreams": {"app": {"origin": "http://app.internal"}},
        "defaults": {"ip_filter": {"rules": rules}},
        "routes": routes,
    });
    assert_eq!(compile(&document.to_string()).unwrap_err().problems[0].path, "defaults");
}

/// Ten thousand routes that begin alike are compared in linear time: this
/// test would take minutes otherwise.
#[test]
fn many_routes_that_begin_alike_compile() {
    let routes: Vec<_> = (0..5_000)
        .map(|index| json!({"id": format!("r{index}"), "upstream": "app", "match": {"path": format!("/api/r{index}")}}))
        .collect();
    let document = json!({
        "version": 1,
        "upstreams": {"app": {"origin": "http://app.internal"}},
        "routes": routes,
    });
    assert_eq!(compile(&document.to_string()).unwrap().routes.len(), 5_000);
}

/// A long key over many values must not make their paths cost its length each.
#[test]
fn a_long_key_is_read_once() {
    let document = format!("{{\"version\":1,\"{}\":[{}1]}}", "k".repeat(400_000), "1,".repeat(250_000));
    let error = compile(&document).unwrap_err();
    assert_eq!(error.problems.len(), 1);
    assert!(error.problems[0].path.len() < 1_000);
}

/// A manifest that was refused is not compiled again at every refresh, and
/// the isolate still says why it is degraded.
#[test]
fn a_refused_manifest_stays_refused_and_a_new_one_is_read() {
    let mut holder = Holder::default();
    let fallback = Fallback::default();
    let at = Timestamp::from_millis;
    let bad = || Ok(Some(("{\"format\":1,\"sequence\":2,\"policy\":{\"version\":9}}".to_owned(), None)));
    assert!(accept(&mut holder, bad(), &fallback, at(0)).is_some());
    let reason = holder.degraded().unwrap().to_owned();
    assert_eq!(accept(&mut holder, bad(), &fallback, at(1)), None);
    assert_eq!(holder.degraded(), Some(reason.as_str()));
    let failed = Err(PlatformError::failed(Dependency::PolicyStore, "down"));
    accept(&mut holder, failed, &fallback, at(2));
    let good = Ok(Some(("{\"format\":1,\"sequence\":3,\"policy\":{\"version\":1}}".to_owned(), None)));
    accept(&mut holder, good, &fallback, at(3));
    assert_eq!((holder.degraded(), holder.current().unwrap().sequence), (None, Some(3)));
}

/// serde reads a list for a struct; nobody who writes one means that.
#[test]
fn a_list_is_no_object() {
    for (document, path) in [
        (json!({"version": 1, "refresh": ["30s", "5m", "kv"]}), "refresh"),
        (json!({"version": 1, "upstreams": {"a": ["http://a"]}}), "upstreams.a"),
        (json!({"version": 1, "ip_filter": {"rules": [["a", "allow", ["::/0"]]]}}), "ip_filter.rules[0]"),
        (json!([1]), ""),
    ] {
        assert_eq!(compile(&document.to_string()).unwrap_err().problems[0].path, path);
    }
}
