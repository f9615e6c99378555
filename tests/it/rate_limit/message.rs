//! What an isolate and a counter object say to each other.

use std::time::Duration;

use edgeweir::stages::rate_limit::algorithm::{Decision, Quota};
use edgeweir::stages::rate_limit::key::{Keyed, Subject};
use edgeweir::stages::rate_limit::message::{Peek, Take, Taken};
use edgeweir::stages::rate_limit::{CounterKey, SHARDS};
use proptest::prelude::*;

use crate::fake::check;

#[test]
fn a_take_survives_its_text() {
    let numbers = (any::<u128>(), any::<u32>(), 1_u64..=31 * 86_400_000, any::<u32>(), any::<u32>());
    check(1_000, numbers, |(key, max, window, burst, cost)| {
        let quota = Quota::new(max, Duration::from_millis(window), burst);
        let client = (cost % 2 == 0).then(|| "2001:db8::/64".parse().unwrap());
        let take = Take { key: CounterKey(key), quota, cost, client };
        prop_assert_eq!(Take::decode(&take.encode()), Some(take));
        // It travels in a header field.
        prop_assert!(http::HeaderValue::from_str(&take.encode()).is_ok());
        Ok(())
    });
}

#[test]
fn a_decision_survives_its_text_and_is_never_too_early() {
    check(
        1_000,
        (any::<bool>(), any::<u32>(), any::<u64>(), any::<u64>()),
        |(allowed, remaining, retry, full)| {
            let decision = Decision {
                allowed,
                remaining,
                retry_after: Duration::from_nanos(retry),
                full_after: Duration::from_nanos(full),
            };
            let read = Taken::decode(&Taken::from(decision).encode()).unwrap().decision;
            prop_assert_eq!((read.allowed, read.remaining), (allowed, remaining));
            for (read, given) in
                [(read.retry_after, decision.retry_after), (read.full_after, decision.full_after)]
            {
                prop_assert!(read >= given && read - given < Duration::from_millis(1));
            }
            Ok(())
        },
    );
    let never =
        Decision { allowed: false, remaining: 0, retry_after: Duration::MAX, full_after: Duration::MAX };
    assert!(
        Taken::decode(&Taken::from(never).encode()).unwrap().decision.retry_after
            > Duration::from_secs(1 << 40)
    );
}

#[test]
fn another_version_is_not_understood() {
    let key = "0".repeat(32);
    let text = |v: u32, key: &str| {
        format!(r#"{{"v":{v},"key":"{key}","max":1,"window_ms":1000,"burst":1,"cost":1}}"#)
    };
    assert!(Take::decode(&text(1, &key)).is_some());
    assert!(Take::decode(&text(2, &key)).is_none());
    assert!(Take::decode(&text(0, &key)).is_none());
    assert!(Taken::decode(r#"{"v":2,"allowed":true,"remaining":1,"retry_ms":0,"full_ms":0}"#).is_none());
}

/// The sender and the object must agree on the name of a counter: one key has
/// one spelling of 32 hex digits.
#[test]
fn only_a_key_of_hex_digits_is_a_key() {
    let text = |key: &str| format!(r#"{{"v":1,"key":"{key}","max":1,"window_ms":1000,"burst":1,"cost":1}}"#);
    for bad in [
        "",
        "0",
        &"0".repeat(31),
        &"0".repeat(33),
        &"g".repeat(32),
        &"é".repeat(16),
        &format!("+{}", "0".repeat(31)),
    ] {
        assert!(Take::decode(&text(bad)).is_none(), "{bad:?}");
    }
}

#[test]
fn garbage_is_no_message() {
    for bad in ["", "{}", "null", "[]", "{\"v\":1}", "\u{0}", "{\"v\":1,\"allowed\":1}"] {
        assert!(Take::decode(bad).is_none() && Taken::decode(bad).is_none(), "{bad:?}");
    }
    check(1_000, any::<String>(), |text| {
        prop_assert!(Take::decode(&text).is_none() && Taken::decode(&text).is_none());
        Ok(())
    });
}

#[test]
fn any_numbers_of_a_message_can_be_counted_with() {
    use edgeweir::stages::rate_limit::algorithm::take;
    use edgeweir::time::Timestamp;
    let numbers = (any::<u32>(), any::<u64>(), any::<u32>(), any::<u32>(), any::<u64>());
    check(1_000, numbers, |(max, window_ms, burst, cost, now)| {
        let key = "0".repeat(32);
        let text = format!(
            r#"{{"v":1,"key":"{key}","max":{max},"window_ms":{window_ms},"burst":{burst},"cost":{cost}}}"#
        );
        let wanted = Take::decode(&text).unwrap();
        let (first, state) = take(&wanted.quota, None, wanted.cost, Timestamp::from_millis(now));
        let (second, _) = take(&wanted.quota, state, wanted.cost, Timestamp::from_millis(now));
        prop_assert_eq!(first.allowed, cost <= burst.max(1));
        prop_assert!(first.allowed || !second.allowed);
        prop_assert!(!Taken::from(second).encode().is_empty());
        Ok(())
    });
}

#[test]
fn keys_are_spread_over_all_shards() {
    assert_eq!(CounterKey(0).shard(), 0);
    assert_eq!(CounterKey(u128::MAX).shard(), u128::MAX % SHARDS);
    check(200, any::<u128>(), |key| {
        prop_assert!(CounterKey(key).shard() < SHARDS);
        Ok(())
    });
}

#[test]
fn a_peek_survives_its_text_and_is_never_taken_for_a_take() {
    check(1_000, (any::<u128>(), any::<u32>(), 1_u64..=31 * 86_400_000, any::<u32>()), |numbers| {
        let (key, max, window, burst) = numbers;
        let quota = Quota::new(max, Duration::from_millis(window), burst);
        let client = (max % 2 == 0).then(|| "192.0.2.7/32".parse().unwrap());
        let peek = Peek { key: CounterKey(key), quota, client };
        prop_assert_eq!(Peek::decode(&peek.encode()), Some(peek));
        prop_assert!(http::HeaderValue::from_str(&peek.encode()).is_ok());
        // An object of the version before reads takes only, and ignores what
        // it does not know: it must find no take in it.
        prop_assert_eq!(Take::decode(&peek.encode()), None);
        let take = Take { key: CounterKey(key), quota, cost: 0, client: None };
        prop_assert_eq!(Peek::decode(&take.encode()), None);
        Ok(())
    });
    let text =
        Peek { key: CounterKey(1), quota: Quota::new(1, Duration::from_secs(1), 1), client: None }.encode();
    for other in [text.replace("\"v\":1", "\"v\":2"), text.replace("0001", "000x"), "{}".to_owned()] {
        assert_eq!(Peek::decode(&other), None, "{other}");
    }
}

/// Who does not know of bans passes them over, and who does not say them is
/// understood.
#[test]
fn a_ban_travels_with_an_answer_and_may_be_missing() {
    use edgeweir::stages::bans::Ban;
    use edgeweir::time::Timestamp;
    let decision = Decision {
        allowed: true,
        remaining: 1,
        retry_after: Duration::ZERO,
        full_after: Duration::from_secs(1),
    };
    let ban = Ban {
        network: "192.0.2.0/24".parse().unwrap(),
        since: Timestamp::from_millis(5),
        until: Timestamp::from_millis(9_000),
        cause: "scanner".into(),
        shadow: false,
    };
    let taken = Taken { decision, banned: Some(ban) };
    assert_eq!(Taken::decode(&taken.encode()), Some(taken.clone()));
    assert!(http::HeaderValue::from_str(&taken.encode()).is_ok());
    let of_before = r#"{"v":1,"allowed":true,"remaining":1,"retry_ms":0,"full_ms":1000}"#;
    assert_eq!(Taken::decode(of_before), Some(decision.into()));
    // What is no ban that anybody may make is none.
    let wide = taken.encode().replace("192.0.2.0/24", "0.0.0.0/0");
    assert_eq!(Taken::decode(&wide), Some(decision.into()));
}

/// What a client's counts and its bans are kept by is one object.
#[test]
fn a_clients_counts_lie_where_its_bans_lie() {
    use edgeweir::policy::compile;
    use edgeweir::stages::rate_limit::shard_of;
    let rule = |id: &str, key: &str| format!(r#"{{"id": "{id}", "max": 1, "window": "1s", "key": {key}}}"#);
    let rules = [
        rule("client", r#"["client"]"#),
        rule("both", r#"["client", {"header": "X-User"}]"#),
        rule("header", r#"[{"header": "X-User"}]"#),
    ]
    .join(",");
    let gateway = compile(&format!(r#"{{"version": 1, "rate_limit": {{"rules": [{rules}]}}}}"#)).unwrap();
    let mut elsewhere = 0;
    for n in 0..200 {
        let address = if n % 2 == 0 { format!("192.0.2.{n}") } else { format!("2001:db8:0:{n:x}::1") };
        let head = crate::fake::With::from(crate::fake::get("/"), &address);
        let identity = gateway.identity.identify(&head, 1).unwrap();
        let subject = Subject { identity: &identity, head: &head, tags: &[], target: None, canary: None };
        let counter = |rule: &edgeweir::stages::rate_limit::LimitRule| match rule.counter(&subject) {
            Keyed::Counter(key) => key,
            keyed => panic!("{keyed:?}"),
        };
        let keys: Vec<_> = gateway.entry_rate_limit.rules.iter().map(counter).collect();
        let shards: Vec<u128> = keys.iter().map(|key| key.shard()).collect();
        assert_eq!(shards[..2], [shard_of(identity.network); 2]);
        elsewhere += usize::from(shards[2] != shards[0]);
        // Two rules of one client are two counters.
        assert!(keys[0] != keys[1]);
    }
    assert!(elsewhere > 150, "{elsewhere}");
}
