//! A request to explain: it is read or refused with places, and what is read
//! is explained without a panic, the same way twice.
#![no_main]

use std::future::Future;
use std::pin::pin;
use std::task::{Context as TaskContext, Poll, Waker};

use edgeweir::explain::{Context, ExplainRequest, Nowhere, explain};
use edgeweir::gateway::Isolate;
use edgeweir::policy::compile;
use edgeweir::time::Timestamp;
use edgeweir::stages::ip_filter::Sets;
use libfuzzer_sys::fuzz_target;

fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut TaskContext::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("nothing here waits"),
    }
}

fuzz_target!(|text: &str| {
    match ExplainRequest::parse(text) {
        Ok(request) => {
            let gateway = compile(edgeweir::DEMO_POLICY).expect("the demo compiles");
            let isolate = Isolate::new("local", 7);
            let context = Context { gateway: &gateway, sets: Sets::new(&gateway.sets, None), bans: None, revision: "demo", isolate: &isolate, fresh: 7 };
            let nowhere = Nowhere { now: Timestamp::from_millis(1_767_225_600_000) };
            let first = now(explain(&request, &context, &nowhere));
            let second = now(explain(&request, &context, &nowhere));
            assert_eq!(first.text(), second.text());
            assert!(!first.stages.is_empty());
        }
        Err(problems) => assert!(!problems.is_empty()),
    }
});
