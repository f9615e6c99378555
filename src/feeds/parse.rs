//! From the bytes of a list to its prefixes.

use super::collect::Collector;
use super::config::{Format, HostBits};
use super::csv::Csv;
use super::document::{self, DOCUMENT_LIMIT};
use super::lines::{self, Lines};
use super::prefixes::PrefixList;
use super::refusal::Refusal;

/// How much a list may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Its bytes.
    pub bytes: u64,
    /// Its prefixes, those that overlap included.
    pub prefixes: usize,
}

/// Reads a list as it arrives. How it is cut into pieces makes no difference.
#[derive(Clone, Debug)]
pub struct Parser {
    reader: Reader,
    collector: Collector,
    limit: u64,
    seen: u64,
    /// The bytes of a byte order mark that have come so far; `None` once it is
    /// known whether there is one.
    mark: Option<usize>,
}

#[derive(Clone, Debug)]
enum Reader {
    Lines(Lines),
    Csv(Csv),
    Document(document::Kind, Vec<u8>),
    /// Lines or a document: white space so far.
    Either(document::Kind, Vec<u8>),
}

/// UTF-8's byte order mark, with which some editors begin a text.
const MARK: &[u8] = b"\xef\xbb\xbf";

impl Parser {
    /// A parser of a format.
    #[must_use]
    pub fn new(format: &Format, host_bits: HostBits, limits: Limits) -> Self {
        let reader = match format {
            Format::Netset | Format::SpamhausDrop => Reader::Lines(Lines::new(lines::Kind::Entries)),
            Format::SpamhausJson => Reader::Lines(Lines::new(lines::Kind::Json)),
            Format::Aws => Reader::Document(document::Kind::Aws, Vec::new()),
            Format::Google => Reader::Document(document::Kind::Google, Vec::new()),
            Format::Cloudflare => Reader::Either(document::Kind::Cloudflare, Vec::new()),
            Format::Csv(column) => Reader::Csv(Csv::new(column)),
        };
        Self {
            reader,
            collector: Collector::new(limits.prefixes, host_bits),
            limit: limits.bytes,
            seen: 0,
            mark: Some(0),
        }
    }

    /// Reads a piece. After a refusal there is no point in another.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let left = self.limit.saturating_sub(self.seen);
        let within = usize::try_from(left).ok().and_then(|left| bytes.get(..left));
        self.seen = self.seen.saturating_add(bytes.len() as u64);
        // What is within the limit is read first: what is wrong there is wrong
        // however the text was cut.
        self.after_mark(within.unwrap_or(bytes))?;
        if self.seen > self.limit { Err(Refusal::TooManyBytes(self.limit)) } else { Ok(()) }
    }

    /// The prefixes.
    ///
    /// # Errors
    /// What is wrong at the end, or with the whole.
    pub fn finish(mut self) -> Result<PrefixList, Refusal> {
        if let Some(some) = self.mark.take().and_then(|come| MARK.get(..come)) {
            self.read(some)?;
        }
        let Self { reader, mut collector, .. } = self;
        match reader {
            Reader::Lines(lines) => lines.finish(&mut collector)?,
            Reader::Csv(csv) => csv.finish(&mut collector)?,
            Reader::Document(kind, text) => document::read(kind, &text, &mut collector)?,
            Reader::Either(..) => {}
        }
        Ok(collector.finish())
    }

    fn after_mark(&mut self, mut bytes: &[u8]) -> Result<(), Refusal> {
        while let Some(come) = self.mark {
            let Some((first, rest)) = bytes.split_first() else { return Ok(()) };
            if MARK.get(come) == Some(first) {
                bytes = rest;
                self.mark = come.checked_add(1).filter(|come| *come < MARK.len());
            } else {
                self.mark = None;
                self.read(MARK.get(..come).unwrap_or_default())?;
            }
        }
        self.read(bytes)
    }

    fn read(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        match &mut self.reader {
            Reader::Lines(lines) => lines.push(bytes, &mut self.collector),
            Reader::Csv(csv) => csv.push(bytes, &mut self.collector),
            Reader::Document(_, text) => hold(text, bytes),
            Reader::Either(kind, text) => {
                let decided = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
                hold(text, bytes)?;
                let (kind, text) = (*kind, std::mem::take(text));
                match decided {
                    None => self.reader = Reader::Either(kind, text),
                    Some(b'{') => self.reader = Reader::Document(kind, text),
                    Some(_) => {
                        let mut lines = Lines::new(lines::Kind::Entries);
                        let read = lines.push(&text, &mut self.collector);
                        self.reader = Reader::Lines(lines);
                        read?;
                    }
                }
                Ok(())
            }
        }
    }
}

/// Keeps a piece of a document.
fn hold(text: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Refusal> {
    if text.len().saturating_add(bytes.len()) as u64 > DOCUMENT_LIMIT {
        return Err(Refusal::TooManyBytes(DOCUMENT_LIMIT));
    }
    text.extend_from_slice(bytes);
    Ok(())
}
