//! Which of several requests asks the origin.

use std::time::Duration;

use edgeweir::stages::cache::flights::{Flights, LONGEST_WAIT, Turn, look_again};
use edgeweir::stages::cache::memory::BodyNumber;

use super::at;

fn leads(flights: &mut Flights, key: &str) -> u64 {
    match flights.join(key, 0, at(0)) {
        Turn::Leads(number) => number,
        turn => panic!("{turn:?}"),
    }
}

#[test]
fn the_first_leads_until_it_is_done() {
    let mut flights = Flights::default();
    let first = leads(&mut flights, "a");
    assert_eq!(flights.join("a", 0, at(1)), Turn::Waits);
    leads(&mut flights, "b");
    flights.done("a", first + 1_000);
    assert!(flights.is_under_way("a", at(1)));
    flights.done("a", first);
    assert!(!flights.is_under_way("a", at(1)));
    let second = leads(&mut flights, "a");
    // What ends late ends nobody else's.
    flights.done("a", first);
    assert!(flights.is_under_way("a", at(1)));
    flights.done("a", second);
}

#[test]
fn a_body_on_its_way_is_waited_for() {
    let mut flights = Flights::default();
    let number = leads(&mut flights, "a");
    flights.ends_with("a", BodyNumber(7));
    flights.ends_with("b", BodyNumber(7));
    flights.done("a", number);
    assert!(flights.is_under_way("a", at(1)) && !flights.is_under_way("b", at(1)));
    flights.landed(BodyNumber(8));
    assert!(flights.is_under_way("a", at(1)));
    flights.landed(BodyNumber(7));
    assert!(!flights.is_under_way("a", at(1)));
}

#[test]
fn nobody_leads_for_ever() {
    let mut flights = Flights::default();
    leads(&mut flights, "a");
    let seconds = LONGEST_WAIT.as_secs();
    assert!(flights.is_under_way("a", at(seconds - 1)) && !flights.is_under_way("a", at(seconds)));
    assert!(matches!(flights.join("a", 0, at(seconds)), Turn::Leads(_)));
}

/// Who looked before an answer was kept, and asks after that, looks again.
#[test]
fn what_has_landed_since_is_looked_for() {
    let mut flights = Flights::default();
    let before = flights.landings();
    let number = leads(&mut flights, "a");
    flights.ends_with("a", BodyNumber(7));
    flights.done("a", number);
    flights.landed(BodyNumber(7));
    assert_eq!(flights.join("a", before, at(1)), Turn::LooksAgain);
    assert!(matches!(flights.join("b", before, at(1)), Turn::Leads(_)));
    assert!(matches!(flights.join("a", flights.landings(), at(1)), Turn::Leads(_)));
    assert_eq!(flights.join("a", before, at(1)), Turn::Waits);
}

/// What is forgotten may have landed.
#[test]
fn what_may_have_landed_is_looked_for() {
    let mut flights = Flights::default();
    leads(&mut flights, "a");
    flights.ends_with("a", BodyNumber(7));
    flights.landed(BodyNumber(7));
    for key in 1..=1_024 {
        assert!(matches!(flights.join(&key.to_string(), 1, at(0)), Turn::Leads(_)));
    }
    assert_eq!(flights.join("a", 0, at(0)), Turn::LooksAgain);
}

#[test]
fn a_body_arrives_until_it_has_landed() {
    let mut flights = Flights::default();
    let number = leads(&mut flights, "a");
    assert!(!flights.is_landing("a", at(0)));
    flights.ends_with("a", BodyNumber(7));
    flights.done("a", number);
    assert!(flights.is_landing("a", at(0)) && !flights.has_landed("a", 0));
    assert!(!flights.is_landing("a", at(60)), "it may have been forgotten");
    flights.landed(BodyNumber(7));
    assert!(!flights.is_landing("a", at(0)) && flights.has_landed("a", 0));
    assert!(!flights.has_landed("a", flights.landings()));
}

#[test]
fn a_body_that_nobody_leads_to_arrives_too() {
    let mut flights = Flights::default();
    flights.lands("part", BodyNumber(3), at(0));
    assert!(flights.is_landing("part", at(0)));
    flights.landed(BodyNumber(3));
    assert!(!flights.is_landing("part", at(0)) && flights.has_landed("part", 0));
    for key in 0..1_023 {
        leads(&mut flights, &key.to_string());
    }
    flights.lands("another", BodyNumber(4), at(0));
    assert!(!flights.is_landing("another", at(0)), "the table is full");
}

#[test]
fn the_table_is_bounded() {
    let mut flights = Flights::default();
    for key in 0..1_024 {
        leads(&mut flights, &key.to_string());
    }
    assert_eq!(flights.join("one more", 0, at(0)), Turn::Alone);
    assert_eq!(flights.join("5", 0, at(0)), Turn::Waits);
    assert!(matches!(flights.join("one more", 0, at(60)), Turn::Leads(_)));
}

#[test]
fn a_waiter_looks_soon_and_then_less_often() {
    let waits: Vec<Duration> = [0, 1, 2, 3, 4, 5, 100].map(look_again).to_vec();
    assert_eq!(waits, [2, 4, 8, 16, 20, 20, 20].map(Duration::from_millis));
}
