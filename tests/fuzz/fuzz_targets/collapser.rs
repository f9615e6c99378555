//! Messages about a lead survive being written; and whatever is said to an
//! object, nobody leads a key that somebody else leads, and nobody is held back
//! for longer than a lease.
#![no_main]

use std::collections::HashMap;

use edgeweir::stages::cache::collapser::{Answer, LEASE, Leases, Message, PARK};
use edgeweir::time::Timestamp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Some(answer) = Answer::decode(text) {
        assert_eq!(Answer::decode(&answer.encode()), Some(answer));
    }
    let mut leases = Leases::default();
    let mut leading = HashMap::new();
    let mut now = Timestamp::from_millis(1_000_000);
    let mut last = 0;
    // A line each, and how many milliseconds later it is said.
    for line in text.lines() {
        let (later, line) = line.split_once('|').unwrap_or(("", line));
        now = Timestamp::from_millis(now.millis() + u64::from(later.parse::<u16>().unwrap_or_default()));
        let Some(message) = Message::decode(line) else { continue };
        assert_eq!(Message::decode(&message.encode()), Some(message));
        let told = leases.tell(&message, now);
        assert_eq!(told.id, message.id());
        assert!(told.park <= PARK.min(LEASE));
        match (message, told.answer) {
            (Message::Join(id) | Message::Wait(id, _), Answer::Lead(number)) => {
                assert!(number > last, "a number is given twice");
                last = number;
                let until = now.after(LEASE);
                let before = leading.insert(id, (number, until));
                assert!(before.is_none_or(|(_, until)| until <= now), "two lead one key");
            }
            (Message::Join(_) | Message::Wait(..), answer) => assert_ne!(answer, Answer::Noted),
            (Message::Renew(lead), _) => {
                if let Some((number, until)) = leading.get_mut(&lead.id)
                    && *number == lead.number
                    && *until > now
                {
                    *until = now.after(LEASE);
                }
            }
            (Message::End(lead, _), _) => {
                if told.wakes {
                    leading.remove(&lead.id);
                }
            }
        }
    }
});
