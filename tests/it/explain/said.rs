//! What an explanation says, stage by stage, and how it reads.

use edgeweir::explain::explanation::{Explanation, Outcome, State};
use edgeweir::explain::{Context, ExplainRequest, Nowhere, explain};
use edgeweir::gateway::Isolate;
use edgeweir::policy::compile;
use edgeweir::time::Timestamp;
use serde_json::{Value, json};

use super::{explained, stage};
use crate::fake::{Gate, START, With, block_on, get};

fn gate() -> Gate {
    Gate::new(&json!({
        "version": 1,
        "upstreams": {"app": {"origin": "http://app.internal"}, "next": {"origin": "http://next.internal"}},
        "address_sets": {"abuse": {"prefixes": ["203.0.113.0/24"]}, "office": {"prefixes": ["198.51.100.0/24"]}},
        "ip_filter": {"rules": [
            {"id": "blocked", "action": "deny", "prefixes": ["192.0.2.99"], "address_sets": ["abuse"]},
            {"id": "trial", "action": "deny", "address_sets": ["office"], "mode": "shadow"},
        ]},
        "routes": [
            {"id": "all", "upstream": "app", "cache": {},
             "rate_limit": {"rules": [
                {"id": "few", "max": 2, "window": "10s", "counting": "local", "key": ["client", {"header": "X-Api-Key"}]},
                {"id": "exact", "max": 5, "window": "1m", "mode": "shadow"},
             ]},
             "canary": {"sticky": {"cookie": "weir"}, "variants": [
                {"name": "stable", "upstream": "app", "weight": 0}, {"name": "next", "upstream": "next", "weight": 100}]}},
            {"id": "beta", "upstream": "next", "match": {"headers": {"X-Beta": "1"}}},
        ],
    }))
}

fn ask(value: &Value) -> ExplainRequest {
    ExplainRequest::parse(&value.to_string()).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn from(client: &str) -> ExplainRequest {
    ask(&json!({"url": "https://app.example/", "client": client}))
}

fn verdicts(explanation: &Explanation) -> Vec<String> {
    explanation.stages.iter().map(|stage| format!("{} {}", stage.stage, stage.verdict)).collect()
}

#[test]
fn a_refusal_goes_down_to_the_prefix_and_its_set() {
    let explanation = explained(&gate(), &from("203.0.113.66"));
    assert_eq!(explanation.verdict, Outcome::Refused);
    assert_eq!((explanation.status, explanation.reason), (Some(403), Some("address-denied")));
    let entry = stage(&explanation, "entry.ip_filter");
    assert_eq!(entry.rule.as_deref(), Some("blocked"));
    assert_eq!(entry.prefix.as_deref(), Some("203.0.113.0/24"));
    assert_eq!(entry.address_set.as_deref(), Some("abuse"));
    assert_eq!(
        verdicts(&explanation)[2..],
        [
            "entry.bans allow",
            "entry.ip_filter deny",
            "entry.rate_limit not-reached",
            "route not-reached",
            "ip_filter not-reached",
            "rate_limit not-reached",
            "canary not-reached",
            "cache not-reached",
            "upstream not-reached"
        ]
    );
    // A prefix of the rule's own has no set.
    let own = explained(&gate(), &from("192.0.2.99"));
    assert_eq!(stage(&own, "entry.ip_filter").prefix.as_deref(), Some("192.0.2.99/32"));
    assert_eq!(stage(&own, "entry.ip_filter").address_set, None);
}

#[test]
fn shadow_rules_say_what_they_would_do() {
    let explanation = explained(&gate(), &from("198.51.100.7"));
    let entry = stage(&explanation, "entry.ip_filter");
    assert_eq!((entry.verdict, entry.rule.as_deref()), ("allow", None));
    let would = entry.would.as_ref().unwrap();
    assert_eq!((would.verdict, would.rule.as_deref(), would.differs), ("deny", Some("trial"), true));
    assert_eq!(would.address_set.as_deref(), Some("office"));
    let limits = &stage(&explanation, "rate_limit").rules;
    assert_eq!((limits[1].rule.as_str(), limits[1].shadow, limits[1].counting), ("exact", true, "exact"));
}

#[test]
fn a_limit_shows_its_state_before_the_request() {
    let gate = gate();
    let known = |explanation: &Explanation| match stage(explanation, "rate_limit").rules[0].state.clone() {
        Some(State::Known { remaining, retry_after_ms, .. }) => (remaining, retry_after_ms),
        other => panic!("{other:?}"),
    };
    let request = from("192.0.2.1");
    for remaining in [2, 1] {
        assert_eq!(known(&explained(&gate, &request)), (remaining, 0));
        assert_eq!(gate.send(&request.head(&gate.snapshot.gateway.identity)).0.status, 200);
    }
    gate.platform.advance(1_000);
    let refused = explained(&gate, &request);
    assert_eq!(known(&refused), (0, 4_000));
    assert_eq!((refused.status, refused.retry_after), (Some(429), Some(4)));
    let rules = &stage(&refused, "rate_limit").rules;
    assert_eq!((rules[0].verdict, rules[1].verdict), ("refuse", "not-reached"));
    assert_eq!((rules[0].quota.max, rules[0].quota.window_ms, rules[0].quota.burst), (2, 10_000, 2));
}

#[test]
fn credentials_are_not_repeated() {
    let gate = gate();
    let headers = json!({"X-Api-Key": "hunter2", "Authorization": "Bearer hunter2", "Cookie": "a=hunter2",
                         "Proxy-Authorization": "Basic hunter2", "Connection": "x-secret-thing", "X-Secret-Thing": "hunter2"});
    let explanation = explained(
        &gate,
        &ask(&json!({"url": "https://app.example/", "client": "192.0.2.1", "headers": headers})),
    );
    let key = &stage(&explanation, "rate_limit").rules[0].key;
    assert_eq!(key[1].value.as_deref(), Some("(redacted, 7 bytes)"));
    let json = serde_json::to_string(&explanation).unwrap();
    assert!(!json.contains("hunter2"), "{json}");
    assert!(!explanation.text().contains("hunter2"));
    let stored = stage(&explanation, "cache").cache.as_ref().unwrap();
    assert_eq!((stored.because, stored.may_store), (Some("bypass"), false));
    assert_eq!((stored.only_shared, &stored.fields), (true, &vec!["connection".to_owned()]));
}

#[test]
fn the_variant_says_where_it_comes_from() {
    let gate = gate();
    let explanation = explained(&gate, &from("192.0.2.1"));
    let choice = stage(&explanation, "canary").canary.as_ref().unwrap();
    assert_eq!((choice.variant.as_str(), choice.from, choice.sets_cookie), ("next", "network", true));
    assert_eq!(
        (explanation.variant.as_deref(), explanation.upstream.as_deref()),
        (Some("next"), Some("next"))
    );
    let request = ask(
        &json!({"url": "https://app.example/", "client": "192.0.2.1", "headers": {"Cookie": "weir=00c0ffee"}}),
    );
    let explanation = explained(&gate, &request);
    let choice = stage(&explanation, "canary").canary.as_ref().unwrap();
    assert_eq!((choice.unit.as_str(), choice.from, choice.sets_cookie), ("00c0ffee", "cookie", false));
    // The gateway's own cookie keeps nothing from the cache.
    assert_eq!(stage(&explanation, "cache").verdict, "lookup");
}

#[test]
fn a_more_specific_route_that_was_passed_over_is_named() {
    let explanation = explained(&gate(), &from("192.0.2.1"));
    let route = stage(&explanation, "route");
    assert_eq!(route.rule.as_deref(), Some("all"));
    assert_eq!(
        (route.passed_over[0].route.as_str(), route.passed_over[0].field.as_str()),
        ("beta", "x-beta")
    );
    let request =
        ask(&json!({"url": "https://app.example/", "client": "192.0.2.1", "headers": {"X-Beta": "1"}}));
    let explanation = explained(&gate(), &request);
    assert_eq!(explanation.route.as_deref(), Some("beta"));
    assert!(stage(&explanation, "route").passed_over.is_empty());
}

#[test]
fn a_chain_is_walked_in_the_open() {
    let gateway = json!({"version": 1, "identity": {"client_address": {"trusted_hops": ["192.0.2.0/24"]}}});
    let gate = Gate::new(&gateway);
    let headers = json!({"X-Forwarded-For": "203.0.113.1, 198.51.100.7, 192.0.2.5", "X-Request-Id": "abc"});
    let request = ask(&json!({"url": "https://app.example/", "client": "192.0.2.1", "headers": headers}));
    let explanation = explained(&gate, &request);
    let who = explanation.stages[0].identity.as_ref().unwrap();
    assert_eq!((who.address.as_str(), who.source), ("198.51.100.7", "chain"));
    let hops: Vec<_> = who.hops.iter().map(|hop| (hop.address.as_str(), hop.trusted)).collect();
    assert_eq!(hops, [("192.0.2.1", true), ("192.0.2.5", true), ("198.51.100.7", false)]);
    assert_eq!((who.request_id.verdict, who.request_id.value.as_str()), ("kept", "abc"));
}

/// A chain that does not say who the client is, and what is taken for it.
#[test]
fn a_fallback_is_named() {
    let with = |address: Value| Gate::new(&json!({"version": 1, "identity": {"client_address": address}}));
    let said = |gate: &Gate, chain: &str| {
        let headers = json!({"X-Forwarded-For": chain, "X-Request-Id": "abc"});
        let request = ask(&json!({"url": "https://app.example/", "client": "192.0.2.1", "headers": headers}));
        let explanation = explained(gate, &request);
        let who = explanation.stages[0].identity.clone().unwrap();
        let hops: Vec<_> = who.hops.iter().map(|hop| (hop.address.clone(), hop.trusted)).collect();
        (who.chain, who.source, who.address, hops, who.request_id.verdict, explanation.text())
    };
    let hop = |address: &str, trusted| (address.to_owned(), trusted);
    let deep = with(json!({"trusted_depth": 2, "on_short_chain": "peer", "on_garbled_chain": "peer"}));
    let (chain, source, address, hops, id, _) = said(&deep, "6.6.6.6, 198.51.100.7, _hop");
    assert_eq!((chain, source, address.as_str(), id), ("walked", "chain", "198.51.100.7", "kept"));
    assert_eq!(hops, [hop("192.0.2.1", true), hop("_hop", true), hop("198.51.100.7", false)]);
    let (chain, source, address, hops, id, text) = said(&deep, "198.51.100.7");
    assert_eq!((chain, source, address.as_str(), id), ("short", "peer", "192.0.2.1", "new"));
    assert_eq!(hops, [hop("192.0.2.1", false), hop("198.51.100.7", true)]);
    assert!(text.contains("since the chain is short, request id new"), "{text}");
    let (chain, _, address, hops, _, text) = said(&deep, "unknown, 10.0.0.1");
    assert_eq!((chain, address.as_str()), ("garbled", "192.0.2.1"));
    assert_eq!(hops, [hop("192.0.2.1", false), hop("10.0.0.1", true), hop("unknown", false)]);
    assert!(text.contains("since the chain is garbled"), "{text}");
    let strict = with(json!({"trusted_depth": 2}));
    let request = ask(&json!({"url": "https://app.example/", "client": "192.0.2.1"}));
    let refused = explained(&strict, &request);
    assert_eq!((refused.status, refused.reason), (Some(400), Some("client-address")));
    assert_eq!(refused.detail.as_deref(), Some("The chain of forwarded addresses is too short."));
    // The log names it, too.
    let hops = with(json!({"trusted_hops": ["192.0.2.0/24"], "on_garbled_chain": "peer"}));
    for (chain, verdict) in [("", "short"), ("unknown", "garbled")] {
        let record = hops.send(&get("/").from("192.0.2.1").with("X-Forwarded-For", chain)).1;
        assert_eq!((record.stages[0].stage, record.stages[0].verdict), ("identity", verdict));
        assert_eq!(record.client.as_deref(), Some("192.0.2.1"));
    }
    assert!(
        hops.send(&get("/").from("192.0.2.1").with("X-Forwarded-For", "203.0.113.1")).1.stages.is_empty()
    );
}

#[test]
fn what_the_platform_says_stands_with_the_caller() {
    let described = json!({
        "url": "https://app.example/", "client": "192.0.2.1", "country": "DE", "continent": "EU", "asn": 64496,
        "tls_version": "TLSv1.3", "tls_cipher": "AEAD-AES128-GCM-SHA256", "bot_score": 7, "verified_bot": false,
        "verified_bot_category": "AI Crawler",
    });
    let explanation = explained(&gate(), &ask(&described));
    let caller = serde_json::to_value(explanation.stages[0].identity.as_ref().unwrap()).unwrap();
    for name in [
        "country",
        "continent",
        "asn",
        "tls_version",
        "tls_cipher",
        "bot_score",
        "verified_bot",
        "verified_bot_category",
    ] {
        assert_eq!(caller["platform"][name], described[name], "{name}");
    }
    let text = explanation.text();
    assert!(
        text.contains(
            "request id new; country DE, continent EU, AS64496, TLSv1.3, AEAD-AES128-GCM-SHA256, bot score 7, \
             no verified bot (AI Crawler)"
        ),
        "{text}"
    );
    let little = explained(
        &gate(),
        &ask(
            &json!({"url": "https://app.example/", "client": "192.0.2.1", "verified_bot_category": "Archiver"}),
        ),
    );
    assert!(little.text().contains("request id new; bot category Archiver\n"), "{}", little.text());
    let nothing = explained(&gate(), &from("192.0.2.1"));
    let caller = serde_json::to_value(nothing.stages[0].identity.as_ref().unwrap()).unwrap();
    assert_eq!(caller.get("platform"), None);
}

#[test]
fn what_is_ours_is_explained_as_control() {
    let explanation =
        explained(&gate(), &ask(&json!({"url": "https://x.test/_weir/health", "client": "203.0.113.66"})));
    assert_eq!((explanation.verdict, explanation.status), (Outcome::Answered, Some(200)));
    assert_eq!(stage(&explanation, "control").verdict, "answer");
    assert_eq!(stage(&explanation, "entry.ip_filter").verdict, "not-reached");
}

/// On a command line there is neither a platform nor a past.
#[test]
fn without_a_platform_exact_counts_are_unknown() {
    let text = json!({"version": 1, "upstreams": {"app": {"origin": "http://app.internal"}},
        "rate_limit": {"rules": [{"id": "exact", "max": 5, "window": "1m"}, {"id": "local", "max": 5, "window": "1m", "counting": "local"}]},
        "routes": [{"id": "all", "upstream": "app"}]});
    let gateway = compile(&text.to_string()).unwrap();
    let isolate = Isolate::new("local", 0);
    let context = Context {
        gateway: &gateway,
        sets: edgeweir::stages::ip_filter::Sets::new(&gateway.sets, None),
        bans: None,
        revision: "candidate",
        isolate: &isolate,
        fresh: 1,
    };
    let platform = Nowhere { now: Timestamp::from_millis(START) };
    let explanation = block_on(explain(&from("192.0.2.1"), &context, &platform));
    assert_eq!(explanation.verdict, Outcome::Forwarded);
    assert!(explanation.uncertain);
    let limits = stage(&explanation, "entry.rate_limit");
    assert_eq!(
        (limits.verdict, limits.rules[0].verdict, limits.rules[1].verdict),
        ("unknown", "unknown", "allow")
    );
    let json = serde_json::to_value(&limits.rules[0]).unwrap();
    assert!(json["state"]["unknown"].as_str().unwrap().contains("no exact counters"), "{json}");
}

#[test]
fn the_text_has_the_answer_first_and_a_line_a_stage() {
    let gate = gate();
    assert_eq!(
        explained(&gate, &from("203.0.113.66")).text(),
        "GET https://app.example/\n\
         refused 403 address-denied, by policy r1\n\
         \x20 identity          known       203.0.113.66 by cf-connecting-ip, counted as 203.0.113.66/32, request id new\n\
         \x20 control           pass\n\
         \x20 entry.bans        allow\n\
         \x20 entry.ip_filter   deny        address-denied; rule blocked; 203.0.113.0/24 of set abuse\n\
         \x20 entry.rate_limit  not-reached\n\
         \x20 route             not-reached\n\
         \x20 ip_filter         not-reached\n\
         \x20 rate_limit        not-reached\n\
         \x20 canary            not-reached\n\
         \x20 cache             not-reached\n\
         \x20 upstream          not-reached\n"
    );
    gate.send(&get("/other"));
    let text = explained(&gate, &from("192.0.2.1")).text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 13, "{text}");
    assert_eq!(lines[1], "cached-possible to next, by policy r1");
    assert_eq!(
        lines[9],
        "  rate_limit        allow       few allow: 1 left of 2 in 10 s, local by client 192.0.2.1/32 + x-api-key \
         (absent); exact (shadow) allow: 4 left of 5 in 60 s, exact by client 192.0.2.1/32"
    );
}

/// A terminal shows what it is told: what strangers chose must not steer it.
#[test]
fn the_text_holds_no_control_characters() {
    let mut request = ask(&json!({"url": "https://app.example/\u{1b}[2J\u{202e}x", "client": "192.0.2.1"}));
    request.url.push('\r');
    let text = explained(&gate(), &request).text();
    assert!(!text.contains(['\u{1b}', '\r', '\u{202e}']), "{text:?}");
    assert!(text.contains("refused 400 invalid-target"), "{text}");
}
