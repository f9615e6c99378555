//! The trace that a request belongs to, and its name.

use crate::exchange::trim;
use crate::text;

/// W3C Trace Context: the trace, and this hop's place in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// 32 lower-case hex digits, not all zero.
    pub trace_id: String,
    /// This hop's span, not zero. Most requests that the cache answers need no
    /// text of it.
    pub span: u64,
    /// The sampling flags, 2 hex digits, as received; `00` for a new trace,
    /// since nothing here records spans.
    pub flags: String,
    /// Whether the client's `traceparent` was usable; if not, its
    /// `tracestate` means nothing (W3C Trace Context, 3.3).
    pub continued: bool,
}

impl Trace {
    /// Continues the client's trace, or begins one. `fresh` is 128 random
    /// bits.
    pub(super) fn new(traceparent: Option<&str>, fresh: u128) -> Self {
        // Never all zero, which means "absent" (W3C Trace Context, 3.2.2.4). A
        // new trace is named like the request, which makes one easy to find from
        // the other; none of these is a secret.
        let span = (fresh >> 64) as u64 | 1;
        match traceparent.map(trim).and_then(parse_traceparent) {
            Some((trace_id, flags)) => {
                Self { trace_id: trace_id.to_owned(), span, flags: flags.to_owned(), continued: true }
            }
            None => {
                Self { trace_id: text::hex(fresh | 1, 32), span, flags: "00".to_owned(), continued: false }
            }
        }
    }

    /// The `traceparent` for the next hop.
    #[must_use]
    pub fn traceparent(&self) -> String {
        ["00-", &self.trace_id, "-", &text::hex(self.span.into(), 16), "-", &self.flags].concat()
    }
}

/// The trace id and the flags of a `traceparent` (W3C Trace Context, 3.2).
#[must_use]
pub fn parse_traceparent(text: &str) -> Option<(&str, &str)> {
    let mut parts = text.splitn(5, '-');
    let (version, trace_id, parent_id, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |part: &str, length: usize| {
        part.len() == length
            && part.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    let is_zero = |part: &str| part.bytes().all(|byte| byte == b'0');
    let good = is_hex(version, 2)
        && version != "ff"
        // Version 00 ends here; a later one may go on after a dash.
        && (version != "00" || parts.next().is_none())
        && is_hex(trace_id, 32)
        && !is_zero(trace_id)
        && is_hex(parent_id, 16)
        && !is_zero(parent_id)
        && is_hex(flags, 2);
    good.then_some((trace_id, flags))
}

/// Whether a request id is one that is kept: 1 to 128 of `A-Z a-z 0-9 _ -`, so
/// that it can stand in a field, a line of the log and a command.
pub(super) fn is_request_id(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}
