//! What an isolate and a counter object say to each other.

use std::time::Duration;

use edgeweir::stages::rate_limit::algorithm::{Decision, Quota};
use edgeweir::stages::rate_limit::message::{Peek, Take, decode_decision, encode_decision};
use edgeweir::stages::rate_limit::{CounterKey, SHARDS};
use proptest::prelude::*;

use crate::fake::check;

#[test]
fn a_take_survives_its_text() {
    let numbers = (any::<u128>(), any::<u32>(), 1_u64..=31 * 86_400_000, any::<u32>(), any::<u32>());
    check(1_000, numbers, |(key, max, window, burst, cost)| {
        let quota = Quota::new(max, Duration::from_millis(window), burst);
        let take = Take { key: CounterKey(key), quota, cost };
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
            let read = decode_decision(&encode_decision(&decision)).unwrap();
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
    assert!(decode_decision(&encode_decision(&never)).unwrap().retry_after > Duration::from_secs(1 << 40));
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
    assert!(decode_decision(r#"{"v":2,"allowed":true,"remaining":1,"retry_ms":0,"full_ms":0}"#).is_none());
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
        assert!(Take::decode(bad).is_none() && decode_decision(bad).is_none(), "{bad:?}");
    }
    check(1_000, any::<String>(), |text| {
        prop_assert!(Take::decode(&text).is_none() && decode_decision(&text).is_none());
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
        prop_assert!(!encode_decision(&second).is_empty());
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
        let peek = Peek { key: CounterKey(key), quota };
        prop_assert_eq!(Peek::decode(&peek.encode()), Some(peek));
        prop_assert!(http::HeaderValue::from_str(&peek.encode()).is_ok());
        // An object of the version before reads takes only, and ignores what
        // it does not know: it must find no take in it.
        prop_assert_eq!(Take::decode(&peek.encode()), None);
        let take = Take { key: CounterKey(key), quota, cost: 0 };
        prop_assert_eq!(Peek::decode(&take.encode()), None);
        Ok(())
    });
    let text = Peek { key: CounterKey(1), quota: Quota::new(1, Duration::from_secs(1), 1) }.encode();
    for other in [text.replace("\"v\":1", "\"v\":2"), text.replace("0001", "000x"), "{}".to_owned()] {
        assert_eq!(Peek::decode(&other), None, "{other}");
    }
}
