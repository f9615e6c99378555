//! Feeds: what each format says, whatever pieces it comes in; and what may
//! not replace a good list.

mod check;
mod config;
mod csv;
mod document;
mod fetch;
mod lines;
mod run;
mod schedule;

use edgeweir::feeds::{Format, HostBits, Limits, Parser, PrefixList, Refusal};

const LIMITS: Limits = Limits { bytes: 1 << 20, prefixes: 100_000 };

fn read_in(pieces: &[&[u8]], format: &Format, host_bits: HostBits) -> Result<PrefixList, Refusal> {
    let mut parser = Parser::new(format, host_bits, LIMITS);
    for piece in pieces {
        parser.push(piece)?;
    }
    parser.finish()
}

fn read(text: &str, format: &Format) -> Result<PrefixList, Refusal> {
    read_in(&[text.as_bytes()], format, HostBits::Refuse)
}

fn texts(list: &PrefixList) -> Vec<String> {
    list.iter().map(|prefix| prefix.to_string()).collect()
}

/// The prefixes of a text that is read as a whole, and byte by byte.
#[track_caller]
fn prefixes(text: &str, format: &Format) -> Vec<String> {
    let whole = read(text, format).unwrap();
    let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
    assert_eq!(read_in(&bytes, format, HostBits::Refuse).unwrap(), whole);
    texts(&whole)
}

/// Why a text is refused, as a whole and byte by byte.
#[track_caller]
fn refusal(text: &str, format: &Format) -> String {
    let whole = read(text, format).unwrap_err();
    let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
    assert_eq!(read_in(&bytes, format, HostBits::Refuse), Err(whole.clone()));
    format!("{}: {whole}", whole.as_str())
}
