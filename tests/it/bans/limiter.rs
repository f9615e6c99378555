//! The bans of a Limiter object.

use std::rc::Rc;

use edgeweir::platform::{BanRows, BanStore};
use edgeweir::stages::bans::limiter::{BATCH_LIMIT, LIFTED_LIMIT, LimiterBans, Unreported};
use edgeweir::stages::bans::message::{Message, Offence, Report, Told};
use edgeweir::stages::bans::{Ban, MANUAL, Terms};
use edgeweir::stages::ip_filter::prefix::Prefix;

use super::offences::{nth, terms};
use super::{at, ban, prefix};
use crate::fake::MemoryRows;

struct Object {
    bans: LimiterBans,
    rows: MemoryRows,
    number: u64,
}

impl Object {
    fn new() -> Self {
        Self { bans: LimiterBans::new(7), rows: MemoryRows::default(), number: 0 }
    }

    fn send(&mut self, report: Report, now: u64) -> Told {
        self.bans.tell(&self.rows, Message::Report(report), at(now)).unwrap()
    }

    /// So many offences of a client, at a moment.
    fn offend(&mut self, isolate: u64, client: Prefix, terms: &Terms, count: u32, now: u64) -> Told {
        self.number += 1;
        let offence = Offence { network: client, trigger: 0, count, first: at(now), banned: None };
        let terms = vec![Rc::new(terms.clone())];
        self.send(Report { isolate, number: self.number, terms, offences: vec![offence] }, now)
    }

    fn banned(&mut self, client: Prefix, now: u64) -> Option<Ban> {
        self.bans.banned(&self.rows, client, at(now)).unwrap()
    }
}

#[test]
fn what_several_isolates_saw_is_one_sum() {
    let mut object = Object::new();
    let terms = terms(10, 60_000);
    assert_eq!(object.offend(1, nth(1), &terms, 4, 0).bans, []);
    assert_eq!(object.offend(2, nth(1), &terms, 5, 1_000).bans, []);
    assert_eq!(object.banned(nth(1), 1_000), None);
    let told = object.offend(3, nth(1), &terms, 1, 2_000);
    assert_eq!(told.bans.len(), 1);
    assert_eq!((told.bans[0].until, object.banned(nth(1), 2_000)), (at(62_000), Some(told.bans[0].clone())));
    assert_eq!(object.banned(nth(2), 2_000), None);
    // While it lasts, whoever reports the client hears of it, and nothing is
    // counted.
    assert_eq!(object.offend(4, nth(1), &terms, 50, 30_000).bans, told.bans);
    assert!(object.banned(nth(1), 61_999).is_some());
    assert_eq!(object.banned(nth(1), 62_000), None);
    assert_eq!(object.offend(1, nth(1), &terms, 9, 62_000).bans, []);
}

#[test]
fn each_ban_is_longer_until_the_last_one_is_forgotten() {
    let mut object = Object::new();
    let terms = terms(1, 60_000);
    let mut now = 0;
    let mut lengths = Vec::new();
    for wait in [0, 0, 0, 0, 3_599_000, 3_600_000, 0] {
        now += wait;
        let ban = object.offend(1, nth(1), &terms, 1, now).bans.remove(0);
        lengths.push((ban.until.millis() - at(now).millis()) / 1_000);
        now = ban.until.millis() - at(0).millis();
    }
    // One minute, twice as long each time, ten minutes at most.
    assert_eq!(lengths, [60, 120, 240, 480, 600, 60, 120]);
}

#[test]
fn a_report_that_comes_again_is_answered_and_not_counted() {
    let mut object = Object::new();
    let terms = terms(10, 60_000);
    let report = |number: u64, count: u32| Report {
        isolate: 5,
        number,
        terms: vec![Rc::new(terms.clone())],
        offences: vec![Offence { network: nth(1), trigger: 0, count, first: at(0), banned: None }],
    };
    for _ in 0..5 {
        assert_eq!(object.send(report(1, 9), 0).bans, []);
    }
    // The object's memory is gone, and what it stored is not.
    object.bans = LimiterBans::new(9);
    assert_eq!(object.send(report(1, 9), 0).bans, []);
    let told = object.send(report(2, 1), 0);
    assert_eq!((told.bans.len(), object.send(report(2, 1), 0).bans), (1, told.bans.clone()));
    object.bans = LimiterBans::new(9);
    assert_eq!(object.banned(nth(1), 0), Some(told.bans[0].clone()));
}

#[test]
fn an_isolate_that_counted_alone_is_believed_once() {
    let mut object = Object::new();
    let alone = |number: u64, isolate: u64| Report {
        isolate,
        number,
        terms: vec![Rc::new(terms(10, 60_000))],
        offences: vec![Offence {
            network: nth(1),
            trigger: 0,
            count: 2,
            first: at(500),
            banned: Some(at(700)),
        }],
    };
    let told = object.send(alone(1, 1), 1_000);
    assert_eq!((told.bans[0].since, told.bans[0].until), (at(700), at(61_000)));
    // Another one came to it at the same time: it is the same ban.
    assert_eq!(object.send(alone(1, 2), 1_100).bans, told.bans);
    assert_eq!(object.bans.batch(&object.rows, at(2_000)).unwrap()[0].count, 1);
}

#[test]
fn the_lease_is_an_eighth_of_what_is_left() {
    let mut object = Object::new();
    let terms = terms(100, 60_000);
    assert_eq!(object.offend(1, nth(1), &terms, 1, 0).keep, [12]);
    assert_eq!(object.offend(1, nth(1), &terms, 50, 0).keep, [6]);
    assert_eq!(object.offend(1, nth(1), &terms, 41, 0).keep, [0]);
    assert_eq!(object.offend(1, nth(1), &terms, 8, 0).bans.len(), 1);
}

#[test]
fn people_ban_and_lift_and_their_word_stands() {
    let mut object = Object::new();
    let tell =
        |object: &mut Object, message: Message| object.bans.tell(&object.rows, message, at(0)).unwrap();
    tell(
        &mut object,
        Message::Ban(vec![ban("10.0.0.0/16", 9_000, MANUAL), ban("2001:db8::/48", 9_000, MANUAL)]),
    );
    assert_eq!(object.banned(nth(1), 0).unwrap().network, prefix("10.0.0.0/16"));
    assert!(object.banned(prefix("2001:db8::/64"), 0).is_some());
    // A ban of a part of a network does not hold all of it.
    assert!(object.banned(prefix("2001:db8::/32"), 0).is_none());
    // Nobody has to tell Control what it has told.
    assert_eq!(object.bans.batch(&object.rows, at(0)).unwrap(), []);
    tell(&mut object, Message::Lift(vec![(prefix("10.0.0.0/16"), at(0))]));
    assert!(object.banned(nth(1), 0).is_none() && object.banned(prefix("2001:db8::/64"), 0).is_some());
    // A trigger's ban, lifted: the client begins anew, and so does its growth.
    let terms = terms(1, 60_000);
    object.offend(1, nth(1), &terms, 1, 10_000);
    object.bans.tell(&object.rows, Message::Lift(vec![(nth(1), at(11_000))]), at(11_000)).unwrap();
    assert!(object.banned(nth(1), 11_000).is_none());
    assert_eq!(object.offend(1, nth(1), &terms, 1, 12_000).bans[0].until, at(72_000));
    // One that was made later is not meant.
    object.bans.tell(&object.rows, Message::Lift(vec![(nth(1), at(11_000))]), at(13_000)).unwrap();
    assert!(object.banned(nth(1), 13_000).is_some());
}

#[test]
fn control_hears_of_every_ban_until_it_says_so() {
    let mut object = Object::new();
    let terms = terms(1, 60_000);
    for n in 0..BATCH_LIMIT + 10 {
        object.offend(1, nth(u32::try_from(n).unwrap()), &terms, 1, 0);
    }
    assert_eq!(object.bans.due(&object.rows, at(0)).unwrap(), Some(edgeweir::time::Timestamp::default()));
    let batch = object.bans.batch(&object.rows, at(100)).unwrap();
    assert_eq!(batch.len(), BATCH_LIMIT);
    // At most every two seconds.
    assert_eq!(object.bans.batch(&object.rows, at(2_000)).unwrap(), []);
    // No answer: the same again, later and later.
    object.bans.conclude(&object.rows, &batch, None, at(200)).unwrap();
    assert_eq!(object.bans.batch(&object.rows, at(4_199)).unwrap(), []);
    let again = object.bans.batch(&object.rows, at(4_200)).unwrap();
    assert_eq!(again, batch);
    object.bans.conclude(&object.rows, &again, Some(&[again[3].ban.network]), at(4_300)).unwrap();
    // What it did not take is gone.
    assert!(object.banned(again[3].ban.network, 4_300).is_none());
    assert!(object.banned(again[4].ban.network, 4_300).is_some());
    object.bans = LimiterBans::new(9);
    let rest: Vec<Unreported> = object.bans.batch(&object.rows, at(6_300)).unwrap();
    assert_eq!(rest.len(), 10);
    object.bans.conclude(&object.rows, &rest, Some(&[]), at(6_300)).unwrap();
    assert_eq!(object.bans.due(&object.rows, at(6_300)).unwrap(), None);
    object.bans = LimiterBans::new(9);
    assert_eq!(object.bans.due(&object.rows, at(6_300)).unwrap(), None);
}

#[test]
fn what_is_over_leaves_nothing_behind() {
    let mut object = Object::new();
    object.offend(1, nth(1), &terms(1, 60_000), 1, 0);
    assert!(!object.bans.is_empty(&object.rows, at(0)).unwrap());
    object.bans.sweep(&object.rows, at(3_660_000)).unwrap();
    assert!(object.bans.is_empty(&object.rows, at(3_660_000)).unwrap());
}

#[test]
fn a_storage_that_fails_changes_nothing_that_is_remembered() {
    let mut object = Object::new();
    let terms = terms(10, 60_000);
    object.offend(1, nth(1), &terms, 9, 0);
    object.rows.broken.set(true);
    let offence = Offence { network: nth(1), trigger: 0, count: 1, first: at(0), banned: None };
    let report = Report { isolate: 1, number: 2, terms: vec![Rc::new(terms)], offences: vec![offence] };
    assert!(object.bans.tell(&object.rows, Message::Report(report.clone()), at(0)).is_err());
    object.rows.broken.set(false);
    assert!(object.banned(nth(1), 0).is_none());
    assert_eq!(object.send(report, 0).bans.len(), 1);
}

/// Whatever is told, an object answers.
#[test]
fn a_shadow_ban_is_told_and_never_acts() {
    let mut object = Object::new();
    let shadow = Terms { shadow: true, ..terms(1, 60_000) };
    let told = object.offend(1, nth(1), &shadow, 1, 0);
    assert!(told.bans[0].shadow && object.banned(nth(1), 0).is_none());
    assert_eq!(object.bans.batch(&object.rows, at(0)).unwrap(), []);
    // Once the trigger enforces, it bans, whatever was noted before.
    let told = object.offend(1, nth(1), &terms(1, 60_000), 1, 1_000);
    assert!(!told.bans[0].shadow && object.banned(nth(1), 1_000).is_some());
}

/// Somebody lets a client go before its isolate has said that it banned it.
#[test]
fn offences_from_before_a_lifting_bring_no_ban_back() {
    let mut object = Object::new();
    let terms = terms(10, 60_000);
    // Some of it was counted before.
    assert_eq!(object.offend(1, nth(1), &terms, 6, 0).bans, []);
    let lift = Message::Lift(vec![(nth(1), at(5_000))]);
    object.bans.tell(&object.rows, lift, at(5_000)).unwrap();
    let late = |number: u64, first: u64, banned: Option<u64>| {
        let offence =
            Offence { network: nth(1), trigger: 0, count: 9, first: at(first), banned: banned.map(at) };
        Report { isolate: 9, number, terms: vec![Rc::new(terms.clone())], offences: vec![offence] }
    };
    // A ban that the isolate made before, and offences from before.
    assert_eq!(object.send(late(1, 1_000, Some(4_000)), 6_000).bans, []);
    assert_eq!(object.send(late(2, 5_000, None), 6_000).bans, []);
    assert_eq!(object.banned(nth(1), 6_000), None);
    assert_eq!(object.bans.batch(&object.rows, at(6_000)).unwrap(), []);
    // It outlives the object's memory.
    object.bans = LimiterBans::new(7);
    assert_eq!(object.send(late(3, 4_999, Some(5_000)), 7_000).bans, []);
    // Offences since then count, from nothing.
    assert_eq!(object.offend(1, nth(1), &terms, 9, 7_000).bans, []);
    assert_eq!(object.offend(1, nth(1), &terms, 1, 8_000).bans.len(), 1);
    assert!(object.banned(nth(1), 8_000).is_some());
    // Others are not touched.
    assert_eq!(object.offend(1, nth(2), &terms, 10, 1_000).bans.len(), 1);
    // It is forgotten after ten minutes, and then there is nothing left.
    object.bans.sweep(&object.rows, at(5_000 + 599_999)).unwrap();
    assert_eq!(object.rows.count(BanRows::Lifted).unwrap(), 1);
    object.bans.sweep(&object.rows, at(100_000_000)).unwrap();
    assert!(object.bans.is_empty(&object.rows, at(100_000_000)).unwrap());
}

#[test]
fn so_many_liftings_are_remembered() {
    let mut object = Object::new();
    for n in 0..LIFTED_LIMIT as u32 + 3 {
        let lift = Message::Lift(vec![(nth(n), at(u64::from(n)))]);
        object.bans.tell(&object.rows, lift, at(u64::from(n))).unwrap();
    }
    assert_eq!(object.rows.count(BanRows::Lifted).unwrap(), LIFTED_LIMIT);
    // The earliest went.
    assert_eq!(object.rows.get(BanRows::Lifted, &nth(2).to_string()).unwrap(), None);
    assert!(object.rows.get(BanRows::Lifted, &nth(3).to_string()).unwrap().is_some());
}
