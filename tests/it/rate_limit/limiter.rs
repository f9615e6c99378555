//! One counter object: all or nothing, bounded, and understood by builds
//! before and after.

use std::time::Duration;

use edgeweir::platform::AccountStore as _;
use edgeweir::stages::rate_limit::CounterKey;
use edgeweir::stages::rate_limit::algorithm::{Algorithm, Quota};
use edgeweir::stages::rate_limit::holder::Report;
use edgeweir::stages::rate_limit::limiter::LimiterCounts;
use edgeweir::stages::rate_limit::message::count::{
    Answer, Ask, Count, Look, Message, Reservation, Settlement,
};
use edgeweir::stages::rate_limit::message::{Peek, Take, Taken};
use edgeweir::time::Timestamp;

use crate::fake::{MemoryAccounts, START};

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(START + millis)
}

fn quota(max: u32) -> Quota {
    Quota::new(max, Duration::from_secs(600), max)
}

fn ask(key: u128, max: u32) -> Ask {
    Ask {
        key: CounterKey(key),
        quota: quota(max),
        cost: 1,
        enforced: true,
        penalty: 0,
        reservation: None,
        wanted: None,
        label: format!("rule key={key}"),
    }
}

struct Object {
    counts: LimiterCounts,
    store: MemoryAccounts,
}

impl Object {
    fn with_limit(limit: usize) -> Self {
        Self { counts: LimiterCounts::with_limit(limit), store: MemoryAccounts::default() }
    }

    fn tell(&mut self, text: &str, now: Timestamp) -> Option<String> {
        self.counts.tell(&self.store, text, &mut |_| Ok(None), now).unwrap()
    }

    fn say(&mut self, message: &Message, now: Timestamp) -> Answer {
        Answer::decode(&self.tell(&message.encode(), now).unwrap()).unwrap()
    }

    fn count(&mut self, asks: Vec<Ask>, now: Timestamp) -> Vec<bool> {
        let answer = self.say(&Message::Count(Count { asks, ..Count::default() }), now);
        answer.results.iter().map(|outcome| outcome.decision.allowed).collect()
    }

    fn left(&mut self, key: u128, max: u32, now: Timestamp) -> u32 {
        let look = Look { key: CounterKey(key), quota: quota(max), cost: 1 };
        self.say(&Message::Peek(None, vec![look]), now).results[0].decision.remaining
    }
}

#[test]
fn rules_of_a_message_are_charged_together_or_not_at_all() {
    let mut object = Object::with_limit(100);
    assert_eq!(object.count(vec![ask(1, 9), ask(2, 1), ask(3, 9)], at(0)), [true, true, true]);
    // The second refuses: the first was not charged, the third not asked.
    assert_eq!(object.count(vec![ask(1, 9), ask(2, 1), ask(3, 9)], at(0)), [true, false]);
    assert_eq!([1, 3].map(|key| object.left(key, 9, at(0))), [8, 8]);
    // One in shadow masks nothing.
    let shadow = Ask { enforced: false, ..ask(2, 1) };
    assert_eq!(object.count(vec![ask(1, 9), shadow, ask(3, 9)], at(0)), [true, false, true]);
    assert_eq!([1, 3].map(|key| object.left(key, 9, at(0))), [7, 7]);
}

#[test]
fn a_refusal_writes_nothing() {
    let mut object = Object::with_limit(100);
    object.count(vec![ask(1, 1)], at(0));
    let writes = object.store.writes.get();
    for n in 0..50 {
        assert_eq!(object.count(vec![ask(1, 1)], at(n)), [false]);
        object.left(1, 1, at(n));
    }
    assert_eq!(object.store.writes.get(), writes);
}

#[test]
fn a_reservation_comes_back_once() {
    let mut object = Object::with_limit(100);
    let reservation = Some(Reservation { id: 7, ttl: Duration::from_secs(60) });
    object.count(vec![Ask { reservation, cost: 3, ..ask(1, 9) }], at(0));
    assert_eq!(object.left(1, 9, at(0)), 6);
    let report = Report { id: 7, unspent: 3 };
    let settle = vec![Settlement { key: CounterKey(1), quota: quota(9), report }];
    let message = Message::Count(Count { settle, ..Count::default() });
    for _ in 0..3 {
        object.say(&message, at(5));
        assert_eq!(object.left(1, 9, at(5)), 9);
    }
    // Of what has come back by itself nothing comes back again: a minute and
    // a half of this quota is more than a token.
    let reservation = Some(Reservation { id: 8, ttl: Duration::from_secs(120) });
    object.count(vec![Ask { reservation, ..ask(1, 9) }], at(10));
    object.count(vec![Ask { cost: 9, ..ask(1, 9) }], at(90_000));
    let settle =
        vec![Settlement { key: CounterKey(1), quota: quota(9), report: Report { id: 8, unspent: 1 } }];
    object.say(&Message::Count(Count { settle, ..Count::default() }), at(90_000));
    assert_eq!(object.left(1, 9, at(90_000)), 0);
}

#[test]
fn a_restart_loses_nothing() {
    let mut object = Object::with_limit(100);
    object.count(vec![ask(1, 9), ask(2, 9)], at(0));
    object.counts = LimiterCounts::with_limit(100);
    assert_eq!([1, 2].map(|key| object.left(key, 9, at(0))), [8, 8]);
}

#[test]
fn a_flood_of_keys_fills_no_storage_and_loosens_nobody_s_limit() {
    let mut object = Object::with_limit(50);
    assert_eq!(object.count(vec![ask(1, 2)], at(0)), [true]);
    let admitted = (1_000..6_000).filter(|key| object.count(vec![ask(*key, 2)], at(1)) == [true]).count();
    // Each of those that found a place, and two for all the others.
    assert_eq!(admitted, 49 + 2);
    assert!(object.store.count().unwrap() <= 51);
    assert_eq!(object.count(vec![ask(1, 2)], at(2)), [true]);
    assert_eq!(object.count(vec![ask(1, 2)], at(2)), [false]);
    // Once they say nothing any more there is room again.
    assert_eq!(object.count(vec![ask(9_999, 2)], at(1_300_000)), [true]);
    assert!(object.store.count().unwrap() < 10);
}

#[test]
fn resets_forget_and_the_most_used_are_known() {
    let mut object = Object::with_limit(1_000);
    for key in 0..150_u128 {
        for _ in 0..=key % 5 {
            object.count(vec![ask(key, 9)], at(0));
        }
    }
    for _ in 0..9 {
        object.count(vec![ask(7, 9)], at(0));
    }
    let top = object.say(&Message::Top(3), at(0)).top;
    assert_eq!(top[0].label, "rule key=7");
    // It is refused once its nine are gone, and what is not sure is said.
    assert!(top[0].used >= 6 && top[0].refused > 0 && top.len() == 3, "{top:?}");
    object.say(&Message::Reset(vec![CounterKey(7)]), at(0));
    assert_eq!(object.left(7, 9, at(0)), 9);
    assert!(object.say(&Message::Top(64), at(0)).top.iter().all(|used| used.label != "rule key=7"));
}

/// An isolate of the build before asks by version 1, and its counts are the
/// same ones.
#[test]
fn the_version_before_is_understood() {
    let mut object = Object::with_limit(100);
    let take = Take { key: CounterKey(1), quota: quota(2), cost: 1, client: None };
    let taken = |object: &mut Object| Taken::decode(&object.tell(&take.encode(), at(0)).unwrap()).unwrap();
    assert!(taken(&mut object).decision.allowed);
    assert_eq!(object.count(vec![ask(1, 2)], at(0)), [true]);
    assert!(!taken(&mut object).decision.allowed);
    let peek = Peek { key: CounterKey(1), quota: quota(2), client: None };
    let peeked = Taken::decode(&object.tell(&peek.encode(), at(0)).unwrap()).unwrap();
    assert_eq!((peeked.decision.allowed, peeked.decision.remaining), (false, 0));
    for text in ["", "{}", r#"{"v":9}"#, "report"] {
        assert_eq!(object.tell(text, at(0)), None, "{text}");
    }
}

#[test]
fn a_stored_text_that_cannot_be_read_begins_anew() {
    let mut object = Object::with_limit(100);
    object.store.keep(CounterKey(1), at(9), "nonsense").unwrap();
    assert_eq!(object.count(vec![ask(1, 1)], at(0)), [true]);
    assert_eq!(object.count(vec![ask(1, 1)], at(0)), [false]);
    let window = Ask { quota: Quota::of(Algorithm::FixedWindow, 1, Duration::from_secs(60), 1), ..ask(2, 1) };
    assert_eq!(object.count(vec![window.clone()], at(0)), [true]);
    assert_eq!(object.count(vec![window], at(0)), [false]);
}
