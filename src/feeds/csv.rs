//! CSV (RFC 4180): one column of entries.
//!
//! 1. Fields are separated by commas; one in quotes may hold commas, line ends
//!    and, doubled, quotes. A quote elsewhere is an error.
//! 2. A column that is named is looked for in the first record; one that is
//!    numbered begins with the first record, so a file with a header is read
//!    by name.
//! 3. Lines that begin with `#` and empty lines are left out: lists have them,
//!    though the RFC does not.
//!
//! Only the field of that column is held.

use super::collect::Collector;
use super::config::Column;
use super::refusal::Refusal;

/// The longest record, in bytes: where a closing quote is missing, the rest of
/// the file would be one.
const RECORD_LIMIT: usize = 65_536;

const RECORD_EXPECTED: &str = "a record of at most 65536 bytes";
const QUOTE_EXPECTED: &str = "quotes around a whole field only, and doubled within (RFC 4180)";
const COLUMN_EXPECTED: &str = "a first record that names the column";
const FIELD_EXPECTED: &str = "a record that reaches to the column";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// At the start of a record.
    Record,
    /// At the start of a field.
    Field,
    Plain,
    Quoted,
    /// Behind a quote in a quoted field: its end, or half of a doubled one.
    Quote,
    Comment,
}

#[derive(Clone, Debug)]
pub(super) struct Csv {
    state: State,
    /// The column's name, while the header is not read.
    name: Option<String>,
    /// The column's place, from 0; `None` while the header is not read.
    place: Option<usize>,
    /// The place of the field at hand.
    at: usize,
    /// That field, if it is of the column or the header.
    field: Vec<u8>,
    /// Whether this record had the column.
    has_column: bool,
    /// The bytes of this record.
    bytes: usize,
    /// The line at hand, and that where the record began, from 1.
    line: u64,
    began: u64,
}

impl Csv {
    pub(super) fn new(column: &Column) -> Self {
        let (name, place) = match column {
            Column::Name(name) => (Some(name.clone()), None),
            Column::Number(number) => (None, Some(usize::from(number.get()).saturating_sub(1))),
        };
        Self {
            state: State::Record,
            name,
            place,
            at: 0,
            field: Vec::new(),
            has_column: false,
            bytes: 0,
            line: 1,
            began: 1,
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8], collector: &mut Collector) -> Result<(), Refusal> {
        for byte in bytes {
            self.byte(*byte, collector)?;
            if *byte == b'\n' {
                self.line = self.line.saturating_add(1);
                if self.state == State::Record {
                    self.began = self.line;
                }
            }
        }
        Ok(())
    }

    /// The last record may have no end.
    pub(super) fn finish(mut self, collector: &mut Collector) -> Result<(), Refusal> {
        match self.state {
            State::Quoted => return Err(self.wrong(QUOTE_EXPECTED)),
            State::Record | State::Comment => {}
            State::Field | State::Plain | State::Quote => self.end_record(collector)?,
        }
        if self.place.is_none() {
            return Err(self.wrong(COLUMN_EXPECTED));
        }
        Ok(())
    }

    fn wrong(&self, expected: &'static str) -> Refusal {
        Refusal::malformed(self.began, &self.field, expected)
    }

    #[inline]
    fn byte(&mut self, byte: u8, collector: &mut Collector) -> Result<(), Refusal> {
        if self.state == State::Comment {
            if byte == b'\n' {
                self.state = State::Record;
            }
            return Ok(());
        }
        self.bytes = self.bytes.saturating_add(1);
        if self.bytes > RECORD_LIMIT {
            return Err(self.wrong(RECORD_EXPECTED));
        }
        match (self.state, byte) {
            (State::Record, b'#') => {
                self.state = State::Comment;
                self.bytes = 0;
            }
            (State::Record, b'\r') => {}
            (State::Record, b'\n') => self.bytes = 0,
            (State::Record | State::Field, b'"') => self.state = State::Quoted,
            (State::Plain, b'"') => return Err(self.wrong(QUOTE_EXPECTED)),
            (State::Quoted, b'"') => self.state = State::Quote,
            (State::Quoted, byte) => self.keep(byte),
            (State::Quote, b'"') => {
                self.keep(b'"');
                self.state = State::Quoted;
            }
            (_, b',') => {
                self.end_field(collector)?;
                self.state = State::Field;
            }
            (_, b'\n') => self.end_record(collector)?,
            (State::Quote, b'\r') => {}
            (State::Quote, _) => return Err(self.wrong(QUOTE_EXPECTED)),
            (_, byte) => {
                self.keep(byte);
                self.state = State::Plain;
            }
        }
        Ok(())
    }

    fn keep(&mut self, byte: u8) {
        if self.place.is_none_or(|place| place == self.at) {
            self.field.push(byte);
        }
    }

    fn end_field(&mut self, collector: &mut Collector) -> Result<(), Refusal> {
        match self.place {
            None => {
                let name = self.name.as_ref().map(String::as_bytes);
                if name == Some(self.field.trim_ascii()) {
                    self.place = Some(self.at);
                    self.has_column = true;
                }
            }
            // The header itself names the column and has no entry.
            Some(place) if place == self.at && self.name.is_none() => {
                collector.add(self.began, &self.field)?;
                self.has_column = true;
            }
            Some(_) => {}
        }
        self.field.clear();
        self.at = self.at.saturating_add(1);
        Ok(())
    }

    fn end_record(&mut self, collector: &mut Collector) -> Result<(), Refusal> {
        self.end_field(collector)?;
        if !self.has_column {
            let expected = if self.place.is_none() { COLUMN_EXPECTED } else { FIELD_EXPECTED };
            return Err(self.wrong(expected));
        }
        self.name = None;
        self.state = State::Record;
        self.at = 0;
        self.bytes = 0;
        self.has_column = false;
        Ok(())
    }
}
