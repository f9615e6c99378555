//! What a `Collapser` object says.

use std::time::Duration;

use edgeweir::stages::cache::collapser::{
    Answer, End, Id, LEASE, Lead, Leases, Message, PARK, SHARDS, Told, UNSTORABLE,
};
use edgeweir::time::Timestamp;
use proptest::prelude::*;

use crate::fake::{START, check};

const A: Id = Id(1);

fn ms(millis: u64) -> Timestamp {
    Timestamp::from_millis(START + millis)
}

fn join(leases: &mut Leases, millis: u64) -> Answer {
    leases.tell(&Message::Join(A), ms(millis)).answer
}

fn lead(leases: &mut Leases, millis: u64) -> Lead {
    match join(leases, millis) {
        Answer::Lead(number) => Lead { id: A, number },
        answer => panic!("{answer:?}"),
    }
}

fn wait(leases: &mut Leases, millis: u64) -> Told {
    leases.tell(&Message::Wait(A, 1_000), ms(millis))
}

fn end(leases: &mut Leases, lead: Lead, end: End, millis: u64) -> bool {
    leases.tell(&Message::End(lead, end), ms(millis)).wakes
}

#[test]
fn the_first_leads_and_the_others_wait() {
    let mut leases = Leases::default();
    let lead = lead(&mut leases, 0);
    assert_eq!(join(&mut leases, 1), Answer::Wait);
    assert!(matches!(leases.tell(&Message::Join(Id(2)), ms(1)).answer, Answer::Lead(_)));
    let told = wait(&mut leases, 10);
    assert_eq!((told.answer, told.park, told.id, told.wakes), (Answer::Wait, PARK, A, false));
    assert!(end(&mut leases, lead, End::Stored, 20));
    assert_eq!(wait(&mut leases, 20), Told { answer: Answer::Stored, park: Duration::ZERO, ..told });
    // Who looked before that and asks now.
    assert_eq!(join(&mut leases, 2_019), Answer::Stored);
    assert!(matches!(join(&mut leases, 2_020), Answer::Lead(_)));
}

#[test]
fn an_answer_is_held_back_no_longer_than_the_lease_and_what_was_asked() {
    let mut leases = Leases::default();
    lead(&mut leases, 0);
    let park =
        |leases: &mut Leases, asked, at| leases.tell(&Message::Wait(A, asked), ms(at)).park.as_millis();
    assert_eq!(park(&mut leases, 60_000, 0), 1_000);
    assert_eq!(park(&mut leases, 300, 0), 300);
    assert_eq!(park(&mut leases, 1_000, 1_900), 100);
    assert_eq!(park(&mut leases, 0, 0), 0);
}

#[test]
fn what_cannot_be_kept_releases_all_and_nobody_queues() {
    let mut leases = Leases::default();
    let lead = lead(&mut leases, 0);
    assert!(end(&mut leases, lead, End::Unstorable, 10));
    assert_eq!(wait(&mut leases, 10).answer, Answer::Alone);
    let last = u64::try_from(UNSTORABLE.as_millis()).unwrap() + 10;
    assert_eq!(join(&mut leases, last - 1), Answer::Alone);
    assert!(matches!(join(&mut leases, last), Answer::Lead(_)));
}

#[test]
fn what_is_lost_releases_all_and_the_next_one_leads() {
    let mut leases = Leases::default();
    let first = lead(&mut leases, 0);
    assert!(end(&mut leases, first, End::Lost, 10));
    assert_eq!(wait(&mut leases, 10).answer, Answer::Alone);
    let second = lead(&mut leases, 10);
    assert!(second.number > first.number);
    // The end of one is not that of another, unless it has stored it.
    assert!(!end(&mut leases, first, End::Lost, 20) && !end(&mut leases, first, End::Unstorable, 20));
    assert_eq!(join(&mut leases, 20), Answer::Wait);
    assert!(end(&mut leases, first, End::Stored, 20));
    assert_eq!(join(&mut leases, 20), Answer::Stored);
}

#[test]
fn a_dead_leaders_lease_ends_and_one_of_the_others_leads() {
    let mut leases = Leases::default();
    let first = lead(&mut leases, 0);
    let lease = u64::try_from(LEASE.as_millis()).unwrap();
    assert_eq!(wait(&mut leases, lease - 1).answer, Answer::Wait);
    let Answer::Lead(second) = wait(&mut leases, lease).answer else { panic!("nobody leads") };
    assert_eq!(wait(&mut leases, lease).answer, Answer::Wait);
    assert!(second > first.number);
    // What comes from the dead is not heard.
    leases.tell(&Message::Renew(first), ms(2 * lease - 1));
    assert!(matches!(wait(&mut leases, 2 * lease).answer, Answer::Lead(_)));
}

#[test]
fn a_leader_that_lives_leads_on() {
    let mut leases = Leases::default();
    let lead = lead(&mut leases, 0);
    for nth in 1..10 {
        assert_eq!(leases.tell(&Message::Renew(lead), ms(nth * 1_500)).answer, Answer::Noted);
        assert_eq!(wait(&mut leases, nth * 1_500 + 1_000).answer, Answer::Wait);
    }
}

#[test]
fn a_clock_that_goes_back_holds_nobody() {
    let mut leases = Leases::default();
    leases.tell(&Message::Join(A), ms(3_600_000));
    assert!(matches!(join(&mut leases, 0), Answer::Lead(_)));
}

/// An object that begins anew gives no number again.
#[test]
fn numbers_do_not_repeat_after_an_eviction() {
    let mut leases = Leases::default();
    let first = lead(&mut leases, 0);
    let mut anew = Leases::default();
    let second = lead(&mut anew, 1);
    assert!(second.number > first.number);
    assert!(!end(&mut anew, first, End::Lost, 2));
    // Who waited for the old one leads.
    assert!(matches!(wait(&mut Leases::default(), 3).answer, Answer::Lead(_)));
}

#[test]
fn what_an_object_knows_is_bounded() {
    let mut leases = Leases::default();
    for id in 0..10_000 {
        assert!(matches!(leases.tell(&Message::Join(Id(id)), ms(0)).answer, Answer::Lead(_)));
    }
    assert_eq!(leases.tell(&Message::Join(Id(10_000)), ms(1)).answer, Answer::Alone);
    assert_eq!(join(&mut leases, 1), Answer::Wait);
    assert!(matches!(leases.tell(&Message::Join(Id(10_000)), ms(2_000)).answer, Answer::Lead(_)));
}

#[test]
fn messages_and_answers_are_read_as_they_were_written() {
    let ends = [End::Stored, End::Unstorable, End::Lost];
    check(300, (any::<u128>(), any::<u64>(), 0..3_usize), |(id, number, end)| {
        let lead = Lead { id: Id(id), number };
        for message in [
            Message::Join(lead.id),
            Message::Wait(lead.id, number),
            Message::Renew(lead),
            Message::End(lead, ends[end]),
        ] {
            prop_assert_eq!(Message::decode(&message.encode()), Some(message));
        }
        for answer in [Answer::Lead(number), Answer::Wait, Answer::Stored, Answer::Alone, Answer::Noted] {
            prop_assert_eq!(Answer::decode(&answer.encode()), Some(answer));
        }
        prop_assert!(lead.id.shard() < SHARDS);
        Ok(())
    });
    check(500, "[ -~]{0,60}", |text| {
        let _ = (Message::decode(&text), Answer::decode(&text));
        Ok(())
    });
    let id = "00000000000000000000000000000001";
    for text in ["", "1", "1 join", "2 join 1 0 ", "1 join x 0 ", &format!("1 end {id} 1 gone"), "1 go 1 0 "]
    {
        assert_eq!(Message::decode(text), None, "{text}");
    }
    for text in ["", "lead", "lead x", "lead -1", "Wait"] {
        assert_eq!(Answer::decode(text), None, "{text}");
    }
}

/// Whatever happens, a key has one live leader at most.
#[test]
fn no_two_lead_at_a_time() {
    let step = (0..5_u8, 0..700_u64, 0..3_usize);
    check(300, prop::collection::vec(step, 1..60), |steps| {
        let mut leases = Leases::default();
        let (mut now, mut live): (u64, Option<(Lead, u64)>) = (0, None);
        for (what, after, end) in steps {
            now += after;
            let alive = live.filter(|(_, until)| now < *until);
            let answer = match (what, live) {
                (0, _) => leases.tell(&Message::Join(A), ms(now)).answer,
                (1, _) => leases.tell(&Message::Wait(A, 1_000), ms(now)).answer,
                (2, Some((lead, until))) if now < until => {
                    live = Some((lead, now + 2_000));
                    leases.tell(&Message::Renew(lead), ms(now)).answer
                }
                (3, Some((lead, _))) => {
                    live = None;
                    let end = [End::Stored, End::Unstorable, End::Lost][end];
                    leases.tell(&Message::End(lead, end), ms(now)).answer
                }
                _ => Answer::Noted,
            };
            if let Answer::Lead(number) = answer {
                prop_assert!(alive.is_none(), "two lead at {}", now);
                live = Some((Lead { id: A, number }, now + 2_000));
            }
        }
        Ok(())
    });
}
