//! CSV: how it is cut makes no difference; and a table that is written by the
//! rules is read back.
#![no_main]

use edgeweir::feeds::{Column, Format, HostBits, Limits, Parser, PrefixList, Refusal};
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits { bytes: 1 << 18, prefixes: 10_000 };

fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>, column: &str) -> Result<PrefixList, Refusal> {
    let format = Format::Csv(Column::of(column).unwrap());
    let mut parser = Parser::new(&format, HostBits::Mask, LIMITS);
    for piece in pieces {
        parser.push(piece)?;
    }
    parser.finish()
}

fuzz_target!(|input: (&[u8], u8, Vec<(&str, u32)>)| {
    let (text, piece, rows) = input;
    let size = usize::from(piece).max(1);
    for column in ["1", "2", "ip"] {
        assert_eq!(read(text.chunks(size), column), read([text].into_iter(), column));
    }
    let rows: Vec<_> =
        rows.into_iter().take(40).map(|(other, bits)| (other, std::net::Ipv4Addr::from_bits(bits))).collect();
    let table: String = rows
        .iter()
        .map(|(other, address)| format!("\"{}\",{address}\r\n", other.replace('"', "\"\"")))
        .collect();
    let mut expected: Vec<String> = rows.iter().map(|(_, address)| format!("{address}/32")).collect();
    let order = |text: &String| text.trim_end_matches("/32").parse::<std::net::Ipv4Addr>().unwrap();
    expected.sort_by_key(order);
    expected.dedup();
    if rows.iter().all(|(other, _)| other.len() < 1_000) {
        let list = read([table.as_bytes()].into_iter(), "2").unwrap();
        assert_eq!(list.iter().map(|prefix| prefix.to_string()).collect::<Vec<_>>(), expected);
    }
});
