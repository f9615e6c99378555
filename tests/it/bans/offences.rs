//! What an isolate counts, and what it reports.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::time::Duration;

use edgeweir::stages::bans::Terms;
use edgeweir::stages::bans::message::{Message, OFFENCES_LIMIT, Report, Told};
use edgeweir::stages::bans::offences::Offences;
use edgeweir::stages::ip_filter::prefix::Prefix;
use edgeweir::stages::rate_limit::{SHARDS, shard_of};
use proptest::collection::vec;
use proptest::prelude::*;

use super::{at, prefix};
use crate::fake::check;

pub fn terms(threshold: u32, window: u64) -> Terms {
    Terms {
        id: "scanner".into(),
        threshold,
        window: Duration::from_millis(window),
        duration: Duration::from_secs(60),
        factor: 2,
        max_duration: Duration::from_secs(600),
        jitter: 0,
        forget_after: Duration::from_secs(3_600),
        shadow: false,
    }
}

pub fn nth(n: u32) -> Prefix {
    Prefix::host(IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + n)))
}

fn keep(report: &Report, more: u32) -> Told {
    Told { keep: vec![more; report.offences.len()], bans: Vec::new() }
}

#[test]
fn the_threshold_in_one_isolate_bans_at_once() {
    let mut offences = Offences::new(10, 7);
    let terms = Rc::new(terms(3, 10_000));
    assert_eq!(offences.note(nth(1), &terms, at(0)), None);
    assert_eq!(offences.note(nth(2), &terms, at(0)), None);
    assert_eq!(offences.note(nth(1), &terms, at(5_000)), None);
    let ban = offences.note(nth(1), &terms, at(9_000)).unwrap();
    assert_eq!((ban.network, ban.since, ban.until), (nth(1), at(9_000), at(69_000)));
    assert_eq!(&*ban.cause, "scanner");
    // Counted anew from there.
    assert_eq!(offences.note(nth(1), &terms, at(9_000)), None);
    // Spread over more than the window, it never comes to three.
    for n in 0..20 {
        assert_eq!(offences.note(nth(3), &terms, at(n * 5_500)), None);
    }
}

#[test]
fn reports_go_out_once_a_second_and_are_sent_again_as_they_were() {
    let mut offences = Offences::new(10, 7);
    let terms = Rc::new(terms(30, 60_000));
    assert_eq!(offences.next_due(), None);
    assert!(!offences.take_on(at(0)));
    offences.note(nth(1), &terms, at(0));
    offences.note(nth(1), &terms, at(200));
    assert_eq!(offences.next_due(), Some(at(0)));
    assert!(offences.take_on(at(200)) && !offences.take_on(at(300)));
    let first = offences.reports(at(300));
    let [(shard, report)] = first.as_slice() else { panic!("{first:?}") };
    assert_eq!((*shard, report.number, report.offences.len()), (shard_of(nth(1)), 1, 1));
    let sent = &report.offences[0];
    assert_eq!((sent.network, sent.count, sent.first, sent.banned), (nth(1), 2, at(0), None));
    assert_eq!(
        Message::decode(&Message::Report(report.clone()).encode()),
        Some(Message::Report(report.clone()))
    );
    // Not acknowledged: the same again, two seconds later, and what came
    // meanwhile stays here.
    offences.conclude(*shard, None, at(300));
    offences.note(nth(1), &terms, at(400));
    assert_eq!(offences.reports(at(1_500)), []);
    assert_eq!(offences.next_due(), Some(at(2_300)));
    assert_eq!(offences.reports(at(2_300)), first);
    offences.conclude(*shard, Some(&keep(report, 0)), at(2_300));
    let second = offences.reports(at(3_300));
    assert_eq!((second[0].1.number, second[0].1.offences[0].count), (2, 1));
    // Nobody acknowledges it: after five minutes it is given up.
    let mut now = 3_300;
    for _ in 0..20 {
        offences.conclude(*shard, None, at(now));
        now = now.max(offences.next_due().map_or(0, |due| due.millis() - at(0).millis()));
        if offences.reports(at(now)).is_empty() {
            break;
        }
    }
    assert!((303_300..340_000).contains(&now), "{now}");
    assert_eq!(offences.next_due(), None);
    offences.give_up_reporting();
    offences.note(nth(1), &terms, at(now));
    assert!(offences.take_on(at(now)));
    // Whoever took it on and died is forgotten after a minute.
    assert!(!offences.take_on(at(now + 59_999)) && offences.take_on(at(now + 60_000)));
}

#[test]
fn a_lease_lets_a_few_stay_for_a_few_seconds() {
    let mut offences = Offences::new(10, 7);
    let terms = Rc::new(terms(90, 60_000));
    offences.note(nth(1), &terms, at(0));
    let (shard, report) = offences.reports(at(0)).remove(0);
    offences.conclude(shard, Some(&keep(&report, 3)), at(0));
    for n in 1..=3 {
        offences.note(nth(1), &terms, at(1_000 + n));
    }
    assert_eq!(offences.next_due(), Some(at(6_001)));
    assert_eq!(offences.reports(at(6_000)), []);
    // One more than may stay.
    offences.note(nth(1), &terms, at(6_000));
    let report = offences.reports(at(6_000)).remove(0).1;
    assert_eq!((report.offences[0].count, report.offences[0].first), (4, at(1_001)));
}

#[test]
fn one_call_for_each_object_and_no_more_than_it_takes() {
    let mut offences = Offences::new(10_000, 7);
    let terms = Rc::new(terms(9, 60_000));
    (0..10_000).for_each(|n| drop(offences.note(nth(n), &terms, at(0))));
    let reports = offences.reports(at(1_000));
    assert_eq!(reports.len() as u128, SHARDS);
    assert!(reports.iter().all(|(_, report)| report.offences.len() <= OFFENCES_LIMIT));
    let sent: usize = reports.iter().map(|(_, report)| report.offences.len()).sum();
    assert_eq!(sent, 10_000);
    assert!(
        reports
            .iter()
            .all(|(shard, report)| report.offences.iter().all(|offence| shard_of(offence.network) == *shard))
    );
    let numbers: BTreeSet<u64> = reports.iter().map(|(_, report)| report.number).collect();
    assert_eq!(numbers.len(), reports.len());
}

/// A million offences from everywhere: the table stays as large as it may be,
/// the calls are bounded, and who is counted comes to a threshold.
#[test]
fn a_million_offences_make_a_bounded_number_of_calls() {
    let mut offences = Offences::new(10_000, 7);
    let terms = Rc::new(terms(50, 600_000));
    let culprit = prefix("198.51.100.7");
    let (mut calls, mut banned) = (0_u64, 0);
    let seconds = 100;
    for second in 0..seconds {
        for n in 0..10_000_u32 {
            let now = at(second * 1_000 + u64::from(n) / 10);
            assert_eq!(offences.note(nth(u32::try_from(second).unwrap() * 10_000 + n), &terms, now), None);
            if n % 5_000 == 0 {
                banned += u32::from(offences.note(culprit, &terms, now).is_some());
            }
        }
        assert!(offences.len() <= 10_000);
        let now = at(second * 1_000 + 999);
        for (shard, report) in offences.reports(now) {
            calls += 1;
            offences.conclude(shard, Some(&keep(&report, 0)), now);
        }
    }
    assert!(calls <= seconds * u64::try_from(SHARDS).unwrap(), "{calls}");
    // Rotating addresses did not push the culprit out: it comes often.
    assert!(banned >= 3, "{banned}");
}

/// When nothing of it can be reported, new clients are not counted, and those
/// that are stay.
#[test]
fn a_full_table_that_nobody_hears_of_keeps_what_it_has() {
    let mut offences = Offences::new(100, 7);
    let terms = Rc::new(terms(2, 600_000));
    (0..200).for_each(|n| drop(offences.note(nth(n), &terms, at(u64::from(n)))));
    assert_eq!(offences.len(), 100);
    assert!(offences.note(nth(0), &terms, at(1_000)).is_some());
    assert_eq!(offences.note(nth(150), &terms, at(1_000)), None);
    assert_eq!(offences.note(nth(150), &terms, at(1_001)), None);
    // What was reported makes room.
    for (shard, report) in offences.reports(at(2_000)) {
        offences.conclude(shard, Some(&keep(&report, 0)), at(2_000));
    }
    offences.note(nth(300), &terms, at(3_000));
    assert!(offences.len() <= 76 && offences.note(nth(300), &terms, at(3_000)).is_some());
}

#[test]
fn in_shadow_a_ban_is_counted_once_while_it_would_last() {
    let mut offences = Offences::new(10, 7);
    let terms = Rc::new(Terms { shadow: true, ..terms(2, 10_000) });
    let banned = (0..90).filter(|n| offences.note(nth(1), &terms, at(n * 1_000)).is_some()).count();
    // After two, and again after the minute that it would have lasted.
    assert_eq!(banned, 2);
}

/// Nothing is counted twice or lost on the way, whatever becomes of reports.
#[test]
fn what_is_noted_is_reported_once() {
    let step = (0..6_u32, 0..2_500_u64, any::<bool>(), 0..4_u32);
    check(300, vec(step, 1..120), |steps| {
        let mut offences = Offences::new(100, 7);
        let terms = Rc::new(terms(1_000_000, 86_400_000));
        let (mut now, mut noted, mut arrived) = (0, 0_u32, 0_u32);
        let mut seen = BTreeSet::new();
        for (client, passes, arrives, keep_back) in steps.into_iter().chain([(0, 400_000, true, 0); 3]) {
            now += passes;
            offences.note(nth(client), &terms, at(now));
            noted += 1;
            for (shard, report) in offences.reports(at(now)) {
                if arrives && seen.insert(report.number) {
                    arrived += report.offences.iter().map(|offence| offence.count).sum::<u32>();
                }
                let told = keep(&report, keep_back);
                offences.conclude(shard, arrives.then_some(&told), at(now));
            }
        }
        // A report is tried for five minutes; what failed in the middle of
        // that came in time.
        prop_assert!(arrived <= noted);
        Ok(())
    });
}
