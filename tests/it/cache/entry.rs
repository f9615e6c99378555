//! Stored heads.

use edgeweir::stages::cache::entry::Entry;
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

pub fn entries() -> impl Strategy<Value = Entry> {
    let fields = prop::collection::vec((names(), values()), 0..6);
    let selected = prop::collection::vec((names(), prop::option::of(values())), 0..4);
    (200_u16..=599, fields, selected, any::<u64>(), any::<u64>(), any::<u64>()).prop_map(
        |(status, fields, selected_by, received, initial_age, lifetime)| Entry {
            status,
            fields,
            selected_by,
            received: Timestamp::from_millis(received),
            initial_age,
            lifetime,
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
        selected_by: Vec::new(),
        received: Timestamp::default(),
        initial_age: 0,
        lifetime: 1,
    };
    assert!(entry(16_000).encode().is_some_and(|text| text.len() <= 16_384));
    assert_eq!(entry(16_384).encode(), None);
}

#[test]
fn what_this_module_did_not_write_is_a_miss() {
    let good = r#"{"v":1,"status":200,"fields":[["etag","a"]],"selected_by":[["x",null]],"received":1,"initial_age":0,"lifetime":1}"#;
    assert!(Entry::decode(good).is_some());
    for (part, instead) in [
        ("\"v\":1", "\"v\":2"),
        ("\"status\":200", "\"status\":199"),
        ("\"status\":200", "\"status\":600"),
        ("\"status\":200", "\"status\":101"),
        ("\"status\":200", "\"status\":\"200\""),
        ("\"etag\"", "\"e tag\""),
        ("\"etag\"", "\"\""),
        ("[[\"x\",null]]", "[[\"\",null]]"),
        ("[[\"x\",null]]", "null"),
        (",\"lifetime\":1", ""),
        ("\"received\":1", "\"received\":-1"),
        ("}", ""),
    ] {
        assert_eq!(Entry::decode(&good.replace(part, instead)), None, "{instead}");
    }
    check(1_000, any::<String>(), |text| {
        prop_assert_eq!(Entry::decode(&text), None);
        Ok(())
    });
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
