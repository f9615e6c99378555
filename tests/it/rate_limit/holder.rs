//! An isolate's side of leases.

use std::time::Duration;

use edgeweir::stages::rate_limit::CounterKey;
use edgeweir::stages::rate_limit::account::{Granted, LEASE};
use edgeweir::stages::rate_limit::algorithm::{Decision, Quota};
use edgeweir::stages::rate_limit::holder::{Ask, CONTACTS, Holder, Spend};

use super::algorithm::at;

const KEY: CounterKey = CounterKey(1);

fn quota() -> Quota {
    Quota::new(100, Duration::from_secs(60), 100)
}

fn decision(allowed: bool, remaining: u32) -> Decision {
    let retry_after = Duration::from_secs(if allowed { 0 } else { 3 });
    Decision { allowed, remaining, retry_after, full_after: Duration::from_secs(9) }
}

fn asks(spend: Spend) -> Ask {
    match spend {
        Spend::Ask(ask) => ask,
        Spend::Decided(decision) => panic!("{decision:?}"),
    }
}

fn decided(spend: Spend) -> Decision {
    match spend {
        Spend::Decided(decision) => decision,
        Spend::Ask(ask) => panic!("{ask:?}"),
    }
}

fn granted(holder: &mut Holder, ask: &Ask, amount: u32, now: u64) {
    let answer = (decision(true, 50), Some(Granted { amount, ttl: LEASE }));
    holder.answered(KEY, ask, 1, &answer, Duration::ZERO, at(now));
}

/// A holder with a lease of that many tokens, asked for at 0.
fn with_lease(amount: u32) -> Holder {
    let mut holder = Holder::new(7);
    let first = asks(holder.spend(KEY, &quota(), 1, at(0)));
    assert_eq!(first.wanted.amount, 0, "a key that is seen once gets no block");
    let second = asks(holder.spend(KEY, &quota(), 1, at(0)));
    assert!(second.wanted.amount > 0);
    granted(&mut holder, &second, amount, 100);
    holder
}

#[test]
fn a_lease_is_spent_here_and_then_asked_for_again() {
    let mut holder = with_lease(2);
    let first = decided(holder.spend(KEY, &quota(), 1, at(100)));
    assert_eq!((first.allowed, first.remaining), (true, 49));
    assert_eq!(first.full_after, Duration::from_millis(8_900));
    assert_eq!(decided(holder.spend(KEY, &quota(), 1, at(100))).remaining, 48);
    let ask = asks(holder.spend(KEY, &quota(), 1, at(100)));
    assert_eq!(ask.report.unwrap().unspent, 0);
    assert!(ask.wanted.amount > 2, "it was spent at once: a larger one");
    // One block at a time: who comes meanwhile asks for himself alone.
    let other = asks(holder.spend(KEY, &quota(), 1, at(100)));
    assert_eq!((other.wanted.amount, other.report), (0, None));
}

/// The deadline counts from before it was asked.
#[test]
fn a_lease_ends_by_the_clock_before_it_was_asked() {
    let mut holder = with_lease(5);
    assert!(decided(holder.spend(KEY, &quota(), 1, at(4_999))).allowed);
    let ask = asks(holder.spend(KEY, &quota(), 1, at(5_000)));
    assert_eq!(ask.report.unwrap().unspent, 4);
    // What comes too late is of no use.
    granted(&mut holder, &ask, 5, 10_000);
    let late = asks(holder.spend(KEY, &quota(), 1, at(10_000)));
    assert_eq!(late.report.unwrap().unspent, 5);
}

#[test]
fn a_clock_that_goes_back_drops_every_lease() {
    let mut holder = with_lease(5);
    assert!(decided(holder.spend(KEY, &quota(), 1, at(200))).allowed);
    assert_eq!(asks(holder.spend(KEY, &quota(), 1, at(199))).report, None);
    assert_eq!(holder.due(at(60_000), 10), Vec::new());
}

#[test]
fn a_second_answer_is_not_heard() {
    let mut holder = Holder::new(7);
    let _ = holder.spend(KEY, &quota(), 1, at(0));
    let ask = asks(holder.spend(KEY, &quota(), 1, at(0)));
    granted(&mut holder, &ask, 1, 10);
    assert!(decided(holder.spend(KEY, &quota(), 1, at(10))).allowed);
    granted(&mut holder, &ask, 1, 10);
    let next = asks(holder.spend(KEY, &quota(), 1, at(10)));
    assert_eq!(next.report.unwrap().unspent, 0);
    // Without an answer the next one may ask for a block again.
    holder.unanswered(KEY, &next);
    assert!(asks(holder.spend(KEY, &quota(), 1, at(10))).wanted.amount > 0);
}

#[test]
fn a_refusal_is_remembered_until_it_could_change() {
    let mut holder = Holder::new(7);
    let ask = asks(holder.spend(KEY, &quota(), 2, at(0)));
    let answer = (decision(false, 1), None);
    holder.answered(KEY, &ask, 2, &answer, Duration::from_secs(3), at(100));
    for now in [100, 2_999] {
        let told = decided(holder.spend(KEY, &quota(), 2, at(now)));
        assert_eq!((told.allowed, told.retry_after), (false, Duration::from_millis(3_000 - now)));
        assert!(!decided(holder.spend(KEY, &quota(), 3, at(now))).allowed, "nor what costs more");
    }
    assert_eq!(holder.len(), 1);
    let _ = asks(holder.spend(KEY, &quota(), 1, at(100)));
    // Another quota, a reset, its end: each of them may change it.
    for change in 0..3 {
        holder.answered(KEY, &ask, 1, &answer, Duration::from_secs(3), at(200));
        assert!(!decided(holder.spend(KEY, &quota(), 1, at(200))).allowed);
        match change {
            0 => drop(asks(holder.spend(KEY, &quota().with_debt(1), 1, at(200)))),
            1 => {
                holder.reset(KEY);
                let _ = asks(holder.spend(KEY, &quota(), 1, at(200)));
            }
            _ => drop(asks(holder.spend(KEY, &quota(), 1, at(3_000)))),
        }
        let _ = holder.spend(KEY, &quota(), 1, at(200));
    }
}

#[test]
fn what_lies_idle_goes_back() {
    let mut holder = with_lease(5);
    assert_eq!(holder.due(at(1_000), 10), Vec::new());
    let due = holder.due(at(1_400), 10);
    assert_eq!(due.len(), 1);
    assert_eq!((due[0].0, due[0].2.unspent), (KEY, 5));
    assert_eq!(holder.due(at(2_000), 10), Vec::new(), "once");
    // Who comes seldom gets no block: it would only lie idle.
    for now in [2_000, 3_000, 4_000] {
        assert_eq!(asks(holder.spend(KEY, &quota(), 1, at(now))).wanted.amount, 0);
    }
    assert!(asks(holder.spend(KEY, &quota(), 1, at(4_999))).wanted.amount > 0);
    // A key that is not seen any more is forgotten.
    let _ = holder.due(at(20_000), 10);
    assert!(holder.is_empty());
}

#[test]
fn keys_are_bounded_and_new_ones_too() {
    let mut holder = Holder::with_capacity(7, 10);
    for key in 0..100 {
        let ask = asks(holder.spend(CounterKey(key), &quota(), 1, at(0)));
        assert_eq!(ask.wanted.amount, 0);
    }
    assert_eq!(holder.len(), 10);
    let due = (100..10_000).filter(|key| holder.is_contact_due(CounterKey(*key), at(0))).count();
    assert_eq!(due, CONTACTS as usize);
    assert!(holder.is_contact_due(CounterKey(3), at(0)), "one that is known is no contact");
    assert!(holder.is_contact_due(CounterKey(100), at(1_000)));
}
