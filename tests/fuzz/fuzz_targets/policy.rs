//! A policy document is a gateway or a list of problems; what is not JSON is
//! never a gateway; and a gateway takes any request.
#![no_main]

use edgeweir::exchange::PlainHead;
use edgeweir::policy::{MAX_PROBLEMS, compile};
use edgeweir::stages::target::parse;
use http::header::{COOKIE, HOST, HeaderName};
use edgeweir::stages::ip_filter::{Sets, Subject};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|text: &str| {
    let json = serde_json::from_str::<Value>(text);
    let gateway = match compile(text) {
        Ok(gateway) => gateway,
        Err(error) => {
            assert!((1..=MAX_PROBLEMS).contains(&error.problems.len()));
            assert!(
                error
                    .problems
                    .iter()
                    .all(|problem| !problem.expected.is_empty() && problem.value.len() < 200)
            );
            return;
        }
    };
    // Written by another program, it means the same.
    let again = json.expect("a document that compiles is JSON").to_string();
    let again = compile(&again).expect("a document that compiles, compiles again");
    assert_eq!(again.routes.len(), gateway.routes.len());
    let head = PlainHead {
        method: http::Method::GET,
        url: "https://a.example/v1/x".to_owned(),
        fields: vec![
            (HOST, "a.example".to_owned()),
            (HeaderName::from_static("cf-connecting-ip"), "192.0.2.1".to_owned()),
            (COOKIE, "w=00000000".to_owned()),
        ],
        ..PlainHead::default()
    };
    let target = parse(&head.url, Some("a.example")).expect("a good target");
    let Ok(identity) = gateway.identity.identify(&head, 1) else { return };
    if let Some(route) = gateway.router.find(&target, &head).map(|index| &gateway.routes[index]) {
        let subject = Subject {
            address: identity.address,
            network: identity.network,
            metadata: head.metadata,
            tags: &[],
        };
        let sets = Sets::new(&gateway.sets, None);
        let _ = route.ip_filter.as_ref().map(|stage| stage.decide(&subject, &sets));
        assert!(route.rate_limit.rules.iter().all(|rule| rule.quota.max() > 0));
        let upstream = route.canary.as_ref().and_then(|stage| stage.choose(&identity, &head, true));
        let upstream = upstream.map_or(route.upstream, |choice| choice.variant.upstream);
        let request = gateway.upstreams[upstream].request(&head, &target, &identity, &gateway.identity);
        assert!(request.url.ends_with("/v1/x"));
    }
});
