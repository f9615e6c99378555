//! A trace that is continued goes on as a valid `traceparent` with the same
//! trace id and flags.
#![no_main]

use edgeweir::stages::identity::parse_traceparent;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Some((trace_id, flags)) = parse_traceparent(text) else { return };
    assert!(text.len() >= 55 && text.is_char_boundary(55));
    assert!(trace_id.bytes().chain(flags.bytes()).all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')));
    assert_eq!((trace_id, flags), (&text[3..35], &text[53..55]));
    let next = format!("00-{trace_id}-00f067aa0ba902b7-{flags}");
    assert_eq!(parse_traceparent(&next), Some((trace_id, flags)));
});
