//! Whether a stored answer serves a request now (RFC 9111, 4).

use edgeweir::exchange::PlainHead;
use edgeweir::stages::cache::entry::Entry;
use edgeweir::stages::cache::judge::{Lookup, judge, stands_in};
use edgeweir::stages::cache::staleness::{Allowance, Stale, is_failure};
use edgeweir::stages::cache::vary::Selector;
use edgeweir::stages::cache::{CacheStage, Forward};
use edgeweir::time::Timestamp;
use proptest::prelude::*;
use serde_json::json;

use super::entry::entries;
use super::{at, planned, stage};
use crate::fake::{START, With, check, get, request};

/// Ten seconds old on arrival, fresh for sixty.
fn entry() -> Entry {
    Entry { status: 200, received: at(0), initial_age: 10, lifetime: 60, ..Entry::default() }
}

fn judged_entry(head: &PlainHead, entry: &Entry, after: u64) -> Lookup {
    judge(&planned(head), head, entry, &CacheStage::default(), Timestamp::from_millis(START + after))
}

fn judged(control: &str, after: u64) -> Lookup {
    judged_entry(&get("/").with("Cache-Control", control), &entry(), after)
}

fn fresh(age: u64) -> Lookup {
    Lookup::Fresh { age, ttl: 60 - age }
}

const STALE: Lookup = Lookup::Revalidate(Forward::Stale);
const ASKED: Lookup = Lookup::Revalidate(Forward::Request);

#[test]
fn section_4_2_an_answer_serves_while_it_is_fresh() {
    let plain = get("/");
    let after = |after| judged_entry(&plain, &entry(), after);
    assert_eq!(after(0), fresh(10));
    assert_eq!(after(1_999), fresh(11));
    assert_eq!(after(49_999), fresh(59));
    assert_eq!(after(50_000), STALE);
    assert_eq!(after(u64::MAX - START), STALE);
    // It has not arrived yet: nothing is known.
    let before = judge(&planned(&plain), &plain, &entry(), &CacheStage::default(), Timestamp::default());
    assert_eq!(before, STALE);
}

#[test]
fn section_5_2_1_the_request_may_ask_for_more() {
    for (value, expected) in [
        ("max-age=10", fresh(10)),
        ("max-age=9", ASKED),
        ("max-age=0", ASKED),
        ("max-age=x", ASKED),
        ("min-fresh=50", fresh(10)),
        ("min-fresh=51", ASKED),
        ("max-stale=100", fresh(10)),
        ("no-cache", ASKED),
    ] {
        assert_eq!(judged(value, 0), expected, "{value}");
    }
}

#[test]
fn section_5_2_1_2_or_for_less() {
    let stale = |staleness| Lookup::Stale { age: 60 + staleness, staleness, why: Stale::MaxStale };
    for (value, after, expected) in [
        ("max-stale=5", 50_000, stale(0)),
        ("max-stale=5", 55_000, stale(5)),
        ("max-stale=5", 56_000, STALE),
        ("max-stale", 1_050_000, stale(1_000)),
        ("max-stale=x", 51_000, STALE),
        ("max-stale, max-age=60", 51_000, STALE),
        ("max-stale, no-cache", 51_000, ASKED),
    ] {
        assert_eq!(judged(value, after), expected, "{value}");
    }
    // 4.2.4: never past what forbids it.
    let never = Entry { stale: Allowance { never: true, ..Allowance::default() }, ..entry() };
    assert_eq!(judged_entry(&get("/").with("Cache-Control", "max-stale"), &never, 51_000), STALE);
}

#[test]
fn section_5_2_2_4_no_cache_is_confirmed_every_time() {
    assert_eq!(judged_entry(&get("/"), &Entry { validate_always: true, ..entry() }, 0), STALE);
}

/// RFC 8246, 2: a reload is no reason to ask; `no-cache` is.
#[test]
fn rfc_8246_immutable() {
    let immutable = Entry { immutable: true, ..entry() };
    let with =
        |control: &str, after| judged_entry(&get("/").with("Cache-Control", control), &immutable, after);
    assert_eq!(with("max-age=0", 0), fresh(10));
    assert_eq!(with("no-cache", 0), ASKED);
    assert_eq!(with("max-age=0", 50_000), STALE);
}

#[test]
fn section_4_1_other_values_select_another_answer() {
    let varied =
        Entry { selected_by: vec![(Selector::Field("foo".to_owned()), Some("1".to_owned()))], ..entry() };
    assert_eq!(judged_entry(&get("/").with("Foo", " 1"), &varied, 0), fresh(10));
    for head in [get("/"), get("/").with("Foo", "2"), get("/").with("Foo", "")] {
        assert_eq!(judged_entry(&head, &varied, 0), Lookup::Miss(Forward::VaryMiss));
    }
}

/// RFC 9111, 3.5, the other way round: what was not said to be shared is not
/// for who shows credentials.
#[test]
fn section_3_5_credentials_get_what_is_shared() {
    let (authorization, cookie) = (get("/").with("Authorization", "x"), get("/").with("Cookie", "a=1"));
    let past = Lookup::Miss(Forward::Bypass);
    let authorized = Entry { authorized: true, ..entry() };
    let shared = Entry { shared: true, authorized: true, ..entry() };
    for (entry, of_authorization, of_cookie) in
        [(&entry(), past, past), (&authorized, fresh(10), past), (&shared, fresh(10), fresh(10))]
    {
        assert_eq!(judged_entry(&authorization, entry, 0), of_authorization);
        assert_eq!(judged_entry(&cookie, entry, 0), of_cookie);
    }
}

/// RFC 5861, 3: within the window and never after.
#[test]
fn rfc_5861_stale_while_revalidate() {
    let window = Entry { stale: Allowance { while_revalidate: 5, ..Allowance::default() }, ..entry() };
    let after = |after, entry: &Entry| judged_entry(&get("/"), entry, after);
    let stale = |staleness| Lookup::Stale { age: 60 + staleness, staleness, why: Stale::WhileRevalidate };
    assert_eq!(after(49_999, &window), fresh(59));
    assert_eq!(after(50_000, &window), stale(0));
    assert_eq!(after(54_999, &window), stale(4));
    assert_eq!(after(55_000, &window), STALE);
    let never = Entry { stale: Allowance { never: true, ..window.stale }, ..window.clone() };
    assert_eq!(after(50_000, &never), STALE);
    // Who asks for a new one gets a new one.
    let head = get("/").with("Cache-Control", "max-age=60");
    assert_eq!(judged_entry(&head, &window, 51_000), STALE);
    // A route has the last word.
    let bounded = stage(&json!({"stale_while_revalidate": "2s"}));
    let by = |after| judge(&planned(&get("/")), &get("/"), &window, &bounded, at(after));
    assert_eq!((by(51), by(52)), (stale(1), STALE));
}

/// RFC 5861, 4; RFC 9111, 4.2.4.
#[test]
fn rfc_5861_stale_if_error() {
    let plain = get("/");
    let by = |entry: &Entry, stage: &CacheStage, head: &PlainHead, after| {
        stands_in(&planned(head), entry, stage, at(after))
    };
    let stage = stage(&json!({"stale_if_error": "1m"}));
    // Without a word of the origin's the route decides.
    assert_eq!(by(&entry(), &stage, &plain, 51), Some((61, 1)));
    assert_eq!(by(&entry(), &stage, &plain, 109), Some((119, 59)));
    assert_eq!(by(&entry(), &stage, &plain, 110), None);
    let with = |stale| Entry { stale, ..entry() };
    let brief = with(Allowance { if_error: Some(5), ..Allowance::default() });
    assert_eq!((by(&brief, &stage, &plain, 54), by(&brief, &stage, &plain, 55)), (Some((64, 4)), None));
    let long = with(Allowance { if_error: Some(1_000), ..Allowance::default() });
    assert_eq!(by(&long, &stage, &plain, 110), None);
    let never = with(Allowance { never: true, if_error: Some(1_000), ..Allowance::default() });
    assert_eq!(by(&never, &stage, &plain, 51), None);
    assert_eq!(by(&Entry { validate_always: true, ..entry() }, &stage, &plain, 0), None);
    for control in ["no-cache", "max-age=1000", "min-fresh=1"] {
        assert_eq!(by(&entry(), &stage, &get("/").with("Cache-Control", control), 51), None, "{control}");
    }
    assert_eq!([500, 501, 502, 503, 504, 404].map(is_failure), [true, false, true, true, true, false]);
}

/// Whatever is stored and asked, nothing is served past its lifetime without
/// a reason that allows it, nor past a request's limits; age never decreases.
#[test]
fn nothing_outlives_its_lifetime() {
    let control = prop_oneof![
        Just(String::new()),
        (0_u64..=1 << 31).prop_map(|age| format!("max-age={age}")),
        (0_u64..=1 << 31).prop_map(|least| format!("min-fresh={least}")),
        Just("max-stale".to_owned()),
    ];
    let near = (entries(), 0_u64..1 << 33, 0_u64..1 << 33, control, any::<bool>());
    check(2_000, near, |(mut entry, age, lifetime, control, is_head)| {
        (entry.initial_age, entry.lifetime) = (age, lifetime);
        entry.selected_by.clear();
        let head = if is_head { request("HEAD", "/") } else { get("/") }.with("Cache-Control", &control);
        let (plan, stage) = (planned(&head), CacheStage::default());
        let mut last = None;
        let mut times =
            [0, 1, 999, 1_000, lifetime.saturating_sub(age) * 1_000, (lifetime + 1) * 1_000, u64::MAX];
        times.sort_unstable();
        for after in times {
            let now = Timestamp::from_millis(entry.received.millis().saturating_add(after));
            let number = control.split('=').nth(1).and_then(|number| number.parse::<u64>().ok());
            let served = match judge(&plan, &head, &entry, &stage, now) {
                Lookup::Fresh { age, ttl } => {
                    prop_assert!(ttl > 0 && age + ttl == entry.lifetime);
                    prop_assert!(!control.starts_with("min-fresh") || Some(ttl) >= number);
                    Some(age)
                }
                Lookup::Stale { age, staleness, why } => {
                    prop_assert!(!entry.stale.never && !entry.validate_always);
                    prop_assert_eq!(age, entry.lifetime + staleness);
                    prop_assert!(
                        why == Stale::MaxStale || staleness < entry.stale.while_revalidate.min(86_400)
                    );
                    prop_assert_eq!(why == Stale::MaxStale, control == "max-stale");
                    Some(age)
                }
                _ => None,
            };
            if let Some(age) = served {
                prop_assert_eq!(entry.age(now), Some(age));
                prop_assert!(last.is_none_or(|last| age >= last), "age never decreases");
                prop_assert!(!control.starts_with("max-age") || entry.immutable || Some(age) <= number);
                last = Some(age);
            }
        }
        Ok(())
    });
}
