//! Version 2 of what isolates and counter objects say to each other.

use std::time::Duration;

use edgeweir::stages::rate_limit::CounterKey;
use edgeweir::stages::rate_limit::account::{Granted, Wanted};
use edgeweir::stages::rate_limit::algorithm::{Algorithm, Decision, Quota};
use edgeweir::stages::rate_limit::holder::Report;
use edgeweir::stages::rate_limit::message::count::{
    Answer, Ask, Charge, Count, Look, Message, Outcome, Reservation, Settlement,
};
use edgeweir::stages::rate_limit::message::{Peek, Take};
use proptest::prelude::*;

use crate::fake::check;

fn quotas() -> impl Strategy<Value = Quota> {
    let algorithm =
        prop::sample::select(vec![Algorithm::Gcra, Algorithm::SlidingWindow, Algorithm::FixedWindow]);
    (algorithm, 1..u32::MAX, 1_u64..=31 * 86_400_000, 1..u32::MAX, any::<u32>()).prop_map(
        |(algorithm, max, window, burst, debt)| {
            Quota::of(algorithm, max, Duration::from_millis(window), burst).with_debt(debt)
        },
    )
}

fn asks() -> impl Strategy<Value = Ask> {
    let ids = (any::<u64>(), any::<u64>(), 1..u32::MAX, 0_u64..5_000);
    (any::<u128>(), quotas(), any::<u32>(), any::<bool>(), any::<u32>(), ids, any::<(bool, bool)>()).prop_map(
        |(key, quota, cost, enforced, penalty, (id, holder, amount, ttl), (held, lent))| {
            let ttl = Duration::from_millis(ttl);
            Ask {
                key: CounterKey(key),
                quota,
                cost,
                enforced,
                penalty,
                reservation: held.then_some(Reservation { id, ttl }),
                wanted: lent.then_some(Wanted { id, holder, amount, ttl }),
                label: "api/per-client client=192.0.2.1/32".to_owned(),
            }
        },
    )
}

#[test]
fn a_message_survives_its_text() {
    let counts = (prop::collection::vec(asks(), 0..5), quotas(), any::<(u128, u64, u32)>(), any::<bool>());
    check(500, counts, |(asks, quota, (key, id, amount), known)| {
        let key = CounterKey(key);
        let client = known.then(|| "2001:db8::/64".parse().unwrap());
        let report = Report { id, unspent: amount };
        let settle = vec![Settlement { key, quota, report }];
        let charge = vec![Charge { key, quota, amount }];
        for message in [
            Message::Count(Count { client, settle, charge, asks }),
            Message::Peek(client, vec![Look { key, quota, cost: amount }]),
            Message::Reset(vec![key]),
            Message::Top(7),
        ] {
            let text = message.encode();
            prop_assert_eq!(Message::decode(&text), Some(message));
            // It travels in a header field.
            prop_assert!(http::HeaderValue::from_str(&text).is_ok());
            // Older code takes it for nothing, and never for a count.
            prop_assert!(Take::decode(&text).is_none() && Peek::decode(&text).is_none());
        }
        Ok(())
    });
}

#[test]
fn an_answer_survives_its_text_and_is_never_too_early() {
    check(
        500,
        any::<(bool, u32, u64, u64, u64, u32)>(),
        |(allowed, remaining, retry, full, holds, amount)| {
            let decision = Decision {
                allowed,
                remaining,
                retry_after: Duration::from_nanos(retry),
                full_after: Duration::from_nanos(full),
            };
            let granted = allowed.then_some(Granted { amount, ttl: Duration::from_millis(4_999) });
            let outcome = Outcome { decision, granted, holds: Duration::from_nanos(holds) };
            let answer = Answer { results: vec![outcome, outcome], ..Answer::default() };
            let read = Answer::decode(&answer.encode()).unwrap();
            prop_assert_eq!(read.results.len(), 2);
            let back = read.results[1];
            prop_assert_eq!(back.granted, granted);
            prop_assert_eq!((back.decision.allowed, back.decision.remaining), (allowed, remaining));
            prop_assert!(back.decision.retry_after >= decision.retry_after);
            prop_assert!(back.decision.full_after >= decision.full_after);
            // But nothing is remembered for longer than it holds.
            prop_assert!(back.holds <= outcome.holds);
            Ok(())
        },
    );
    let never =
        Decision { allowed: false, remaining: 0, retry_after: Duration::MAX, full_after: Duration::ZERO };
    let outcome = Outcome { decision: never, granted: None, holds: Duration::MAX };
    let read = Answer::decode(&Answer { results: vec![outcome], ..Answer::default() }.encode()).unwrap();
    assert_eq!(read.results[0].decision.retry_after, Duration::MAX);
}

#[test]
fn other_versions_and_long_lists_are_not_understood() {
    for text in ["", "{}", "7", r#"{"v":1,"asks":[]}"#, r#"{"v":3,"asks":[]}"#, r#"{"v":2,"reset":["x"]}"#] {
        assert_eq!(Message::decode(text), None, "{text}");
    }
    let keys: Vec<String> = (0..65).map(|_| format!("\"{}\"", "0".repeat(32))).collect();
    let long = format!(r#"{{"v":2,"reset":[{}]}}"#, keys.join(","));
    assert!(!matches!(Message::decode(&long), Some(Message::Reset(_))));
    // What a later build adds is passed over.
    assert_eq!(Message::decode(r#"{"v":2,"shade":"blue"}"#), Some(Message::Count(Count::default())));
}
