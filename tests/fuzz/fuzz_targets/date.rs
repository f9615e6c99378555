//! What is read as an HTTP-date says the moment that is written in it, and no
//! other spelling of it is read; statuses of a rule hold what stands in them.
#![no_main]

use edgeweir::stages::cache::date::{format, parse, parse_loosely};
use edgeweir::stages::cache::lifetimes::Statuses;
use edgeweir::time::Timestamp;
use libfuzzer_sys::fuzz_target;

const NOW: u64 = 1_790_000_000;

fuzz_target!(|text: &str| {
    let now = Timestamp::from_seconds(NOW);
    if let Some(seconds) = parse_loosely(text, now) {
        let written = format(Timestamp::from_seconds(seconds));
        assert_eq!(parse(&written, now), Some(seconds));
        assert!(parse(text, now).is_none_or(|exactly| exactly == seconds));
        assert_eq!(parse_loosely(&text.to_ascii_lowercase(), now), Some(seconds));
    }
    if let Some(seconds) = parse(text, now) {
        assert_eq!(parse_loosely(text, now), Some(seconds));
        let written = Timestamp::from_seconds(seconds).to_string();
        let (date, time) = written.split_once('T').expect("both");
        assert!(text.contains(&time[..8]), "{text}: {written}");
        let (year, day) = (&date[..4], date[8..].trim_start_matches('0'));
        assert!(text.contains(day) && text.contains(&year[2..]), "{text}: {written}");
        // Two digits are of this century or the one before.
        assert!(text.contains(year) || seconds < NOW + 51 * 366 * 86_400, "{text}: {written}");
        for other in [text.to_lowercase(), text.to_uppercase(), format!(" {text}"), format!("{text} ")] {
            assert!(other == text || parse(&other, now).is_none(), "{other}");
        }
        assert!(parse(&text.replace("GMT", "UTC"), now).is_none() || !text.contains("GMT"));
    }
    if let Some(statuses) = Statuses::parse(text) {
        let held: Vec<u16> = (0..=u16::MAX).filter(|status| statuses.hold(*status)).collect();
        assert!(held.iter().all(|status| (200..=599).contains(status)) && !held.is_empty());
        let first = held[0].to_string();
        assert!(text.starts_with(&first) || text == format!("{}xx", &first[..1]));
    }
});
