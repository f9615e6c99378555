//! Stored heads.

use edgeweir::stages::cache::entry::Entry;
use edgeweir::stages::cache::range::{Part, Span};
use edgeweir::stages::cache::staleness::Allowance;
use edgeweir::stages::cache::vary::Selector;
use edgeweir::time::Timestamp;
use http::header::{AGE, ETAG, HeaderName, VARY};
use proptest::prelude::*;

use crate::fake::check;

fn names() -> impl Strategy<Value = HeaderName> {
    prop::sample::select(vec![
        ETAG,
        VARY,
        HeaderName::from_static("x-a"),
        HeaderName::from_static("accept-language"),
    ])
}

/// What can stand in a field (RFC 9110, 5.5), characters outside ASCII too.
fn values() -> impl Strategy<Value = String> {
    prop_oneof![3 => "[ -~]{0,20}", 1 => "[\t !-~\u{80}-\u{ffff}]{0,10}", 1 => "[가-힣😀\"\\\\]{0,6}"]
}

fn selectors() -> impl Strategy<Value = Selector> {
    prop_oneof![names().prop_map(|name| Selector::field(&name)), "[a-z_-]{1,5}".prop_map(Selector::Cookie)]
}

fn parts() -> impl Strategy<Value = Option<Part>> {
    let part = (any::<u32>(), any::<u32>(), any::<Option<u64>>()).prop_map(|(first, length, complete)| {
        Part { span: Span { first: first.into(), last: u64::from(first) + u64::from(length) }, complete }
    });
    prop::option::of(part)
}

pub fn entries() -> impl Strategy<Value = Entry> {
    let fields = prop::collection::vec((names(), values()), 0..6);
    let selected = prop::collection::vec((selectors(), prop::option::of(values())), 0..4);
    let selected = (selected, prop::collection::vec(names(), 0..3));
    let times = (any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>());
    let stale = (any::<bool>(), any::<u64>(), any::<Option<u64>>());
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (200_u16..=599, fields, selected, times, stale, flags, parts()).prop_map(
        |(
            status,
            fields,
            (selected_by, ignored),
            times,
            (never, while_revalidate, if_error),
            flags,
            part,
        )| Entry {
            status,
            fields,
            selected_by,
            ignored,
            received: Timestamp::from_millis(times.0),
            initial_age: times.1,
            lifetime: times.2,
            since: Timestamp::from_millis(times.3),
            validate_always: flags.0,
            stale: Allowance { never, while_revalidate, if_error },
            immutable: flags.1,
            authorized: flags.2,
            shared: flags.3,
            part,
            began: times.4,
        },
    )
}

#[test]
fn an_entry_survives_its_text() {
    check(1_000, entries(), |entry| {
        let text = entry.encode().unwrap();
        prop_assert!(text.is_ascii() && http::HeaderValue::from_str(&text).is_ok());
        prop_assert_eq!(Entry::decode(&text), Some(entry));
        Ok(())
    });
}

#[test]
fn age_is_counted_on_and_not_stored() {
    check(1, entries(), |mut entry| {
        entry.fields.push((AGE, "7".to_owned()));
        let read = Entry::decode(&entry.encode().unwrap()).unwrap();
        prop_assert_eq!(read.field(&AGE), None);
        Ok(())
    });
}

#[test]
fn a_head_that_is_too_large_is_not_stored() {
    let entry = |length: usize| Entry {
        status: 200,
        fields: vec![(ETAG, "a".repeat(length))],
        lifetime: 1,
        ..Entry::default()
    };
    assert!(entry(16_000).encode().is_some_and(|text| text.len() <= 16_384));
    assert_eq!(entry(16_384).encode(), None);
}

#[test]
fn what_this_module_did_not_write_is_a_miss() {
    let good = r#"{"v":2,"status":200,"fields":[["etag","a"]],"by":[["x",null]],"received":1,"age":0,"lifetime":1,"since":1,"part":{"span":{"first":1,"last":2},"complete":null}}"#;
    assert!(Entry::decode(good).is_some());
    for (part, instead) in [
        ("\"v\":2", "\"v\":1"),
        ("\"status\":200", "\"status\":199"),
        ("\"status\":200", "\"status\":600"),
        ("\"status\":200", "\"status\":101"),
        ("\"status\":200", "\"status\":\"200\""),
        ("\"etag\"", "\"e tag\""),
        ("\"etag\"", "\"\""),
        ("[[\"x\",null]]", "[[\"\",null]]"),
        ("[[\"x\",null]]", "null"),
        ("\"age\":0", "\"age\":0,\"ignored\":[\"a b\"]"),
        ("[\"etag\",\"a\"]", "[\"vary\",\"a b\"]"),
        (",\"lifetime\":1", ""),
        ("\"received\":1", "\"received\":-1"),
        ("\"first\":1", "\"first\":3"),
        ("}", ""),
    ] {
        assert_eq!(Entry::decode(&good.replace(part, instead)), None, "{instead}");
    }
    check(1_000, any::<String>(), |text| {
        prop_assert_eq!(Entry::decode(&text), None);
        Ok(())
    });
}

/// An earlier module wrote down what selects an entry, and not what it passed
/// over: that is the rest of Vary.
#[test]
fn what_an_earlier_module_ignored_is_found_in_vary() {
    let old = r#"{"v":2,"status":200,"fields":[["vary","X-A, user-agent"],["vary","X-B"]],"by":[["x-a",null],["x-c","1"]],"received":1,"age":0,"lifetime":1,"since":1}"#;
    let entry = Entry::decode(old).unwrap();
    assert_eq!(entry.ignored, ["user-agent", "x-b"]);
    // Read once, it says so itself.
    assert_eq!(Entry::decode(&entry.encode().unwrap()), Some(entry));
    let plain = old.replace("X-A, user-agent", "x-a").replace("X-B", "X-C");
    assert_eq!(Entry::decode(&plain).unwrap().ignored, [""; 0]);
}

#[test]
fn age_never_decreases_as_time_goes_on() {
    check(1_000, (entries(), any::<u64>(), 0_u64..1_000_000), |(entry, now, later)| {
        let now = Timestamp::from_millis(now);
        let later = Timestamp::from_millis(now.millis().saturating_add(later));
        let (before, after) = (entry.age(now), entry.age(later));
        prop_assert!(after >= before);
        prop_assert_eq!(before.is_some(), now >= entry.received);
        if let Some(age) = before {
            prop_assert!(age >= entry.initial_age);
        }
        Ok(())
    });
}

/// What may be confirmed, or stand in, is kept past its lifetime.
#[test]
fn an_entry_is_kept_longer_than_it_is_fresh() {
    check(1_000, entries(), |entry| {
        let year = 366 * 86_400;
        let fresh = entry.lifetime.saturating_sub(entry.initial_age);
        let stale = entry.stale.while_revalidate.max(86_400);
        prop_assert!(entry.retention() >= fresh.saturating_add(stale).min(year) && entry.retention() <= year);
        Ok(())
    });
}
