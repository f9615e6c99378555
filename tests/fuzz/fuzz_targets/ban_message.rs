//! What isolates and counter objects say to each other about bans survives
//! being written, and an object answers whatever it is told.
#![no_main]

use edgeweir::stages::bans::message::{Message, Told};
use edgeweir::stages::bans::offender::Offender;
use edgeweir::time::Timestamp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Some(told) = Told::decode(text) {
        assert_eq!(Told::decode(&told.encode()), Some(told));
    }
    let Some(message) = Message::decode(text) else { return };
    assert_eq!(Message::decode(&message.encode()), Some(message.clone()));
    let Message::Report(report) = message else { return };
    let now = Timestamp::from_millis(1_767_225_600_000);
    let mut offender = Offender::default();
    for offence in &report.offences {
        let terms = &report.terms[offence.trigger];
        if let Some(ban) = offender.judge(terms, offence, now, u64::MAX) {
            assert!(ban.until > now && ban.since <= now);
        }
        let _ = (offender.keep(terms, now), offender.ends(terms, now));
    }
});
