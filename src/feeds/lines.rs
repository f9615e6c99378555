//! Texts of lines: plain lists, Spamhaus DROP as text, and JSON lines.

use std::borrow::Cow;

use serde::Deserialize;

use super::collect::Collector;
use super::entry::plain_v4;
use super::refusal::Refusal;

/// The longest line, in bytes.
pub(super) const LINE_LIMIT: usize = 4_096;

const LINE_EXPECTED: &str = "a line of at most 4096 bytes";

const JSON_LINE_EXPECTED: &str = "a JSON object with a text \"cidr\", or with the type \"metadata\"";

const END_EXPECTED: &str = "a last line of the type \"metadata\"";

const NOTHING_EXPECTED: &str = "nothing behind the line of the type \"metadata\"";

const RECORDS_EXPECTED: &str = "as many lines as \"records\" says";

/// What the lines are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// An entry, or a comment from `#` or `;` on, or both, or nothing.
    Entries,
    /// A JSON object.
    Json,
}

/// Cuts a text into lines, whatever pieces it comes in, and reads them.
#[derive(Clone, Debug)]
pub(super) struct Lines {
    kind: Kind,
    /// The line that has begun, as far as it has come.
    begun: Vec<u8>,
    /// The number of that line, from 1.
    number: u64,
    /// The lines that had an entry; of JSON lines only.
    records: u64,
    /// Whether the line that closes JSON lines has come.
    is_closed: bool,
}

impl Lines {
    pub(super) fn new(kind: Kind) -> Self {
        Self { kind, begun: Vec::new(), number: 1, records: 0, is_closed: false }
    }

    pub(super) fn push(&mut self, mut bytes: &[u8], collector: &mut Collector) -> Result<(), Refusal> {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = bytes.split_at_checked(end).unwrap_or((bytes, &[]));
            bytes = rest.get(1..).unwrap_or_default();
            if self.begun.is_empty() {
                self.line(line, collector)?;
            } else {
                self.begin(line)?;
                let whole = std::mem::take(&mut self.begun);
                self.line(&whole, collector)?;
            }
            self.number = self.number.saturating_add(1);
        }
        self.begin(bytes)
    }

    /// The last line may have no end.
    pub(super) fn finish(mut self, collector: &mut Collector) -> Result<(), Refusal> {
        let last = std::mem::take(&mut self.begun);
        self.line(&last, collector)?;
        // A download that was cut off between two lines looks like a list.
        if self.kind == Kind::Json && !self.is_closed {
            return Err(Refusal::malformed(self.number, &last, END_EXPECTED));
        }
        Ok(())
    }

    fn begin(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        // Enough to say that it is too long, and what it was.
        let room = LINE_LIMIT.saturating_add(1).saturating_sub(self.begun.len());
        self.begun.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        self.is_short(&self.begun)
    }

    fn is_short(&self, line: &[u8]) -> Result<(), Refusal> {
        if line.len() > LINE_LIMIT {
            return Err(Refusal::malformed(self.number, line, LINE_EXPECTED));
        }
        Ok(())
    }

    #[inline]
    fn line(&mut self, line: &[u8], collector: &mut Collector) -> Result<(), Refusal> {
        match self.kind {
            Kind::Entries => match plain_v4(line) {
                Some(entry) => collector.push(self.number, line, entry),
                None => self.other(line, collector),
            },
            Kind::Json => self.json(line, collector),
        }
    }

    /// A line that is more, or less, than an IPv4 prefix.
    fn other(&self, line: &[u8], collector: &mut Collector) -> Result<(), Refusal> {
        self.is_short(line)?;
        let comment = line.iter().position(|byte| matches!(byte, b'#' | b';'));
        let text = comment.and_then(|comment| line.get(..comment)).unwrap_or(line).trim_ascii();
        if text.is_empty() {
            return Ok(());
        }
        collector.add(self.number, text)
    }

    fn json(&mut self, line: &[u8], collector: &mut Collector) -> Result<(), Refusal> {
        self.is_short(line)?;
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        let wrong = |expected| Refusal::malformed(self.number, line, expected);
        if self.is_closed {
            return Err(wrong(NOTHING_EXPECTED));
        }
        let object: JsonLine = serde_json::from_slice(line).map_err(|_| wrong(JSON_LINE_EXPECTED))?;
        match (object.cidr, object.kind) {
            (Some(cidr), _) => {
                self.records = self.records.saturating_add(1);
                collector.add(self.number, cidr.as_bytes())
            }
            // The last line. A list that was cut off does not have what it says.
            (None, Some(kind)) if kind == "metadata" => match object.records {
                Some(records) if records != self.records => Err(wrong(RECORDS_EXPECTED)),
                _ => {
                    self.is_closed = true;
                    Ok(())
                }
            },
            _ => Err(wrong(JSON_LINE_EXPECTED)),
        }
    }
}

#[derive(Deserialize)]
struct JsonLine<'a> {
    #[serde(borrow, default)]
    cidr: Option<Cow<'a, str>>,
    #[serde(borrow, default, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(default)]
    records: Option<u64>,
}
