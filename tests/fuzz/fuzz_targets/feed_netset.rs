//! A list of lines: how it is cut makes no difference, and what was read of it
//! is read again.
#![no_main]

use edgeweir::feeds::{Format, HostBits, Limits, Parser, PrefixList, Refusal};
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits { bytes: 1 << 16, prefixes: 10_000 };

fn read<'a>(
    pieces: impl Iterator<Item = &'a [u8]>,
    format: &Format,
    host_bits: HostBits,
) -> Result<PrefixList, Refusal> {
    let mut parser = Parser::new(format, host_bits, LIMITS);
    for piece in pieces {
        parser.push(piece)?;
    }
    parser.finish()
}

fuzz_target!(|input: (&[u8], u8, bool, bool)| {
    let (text, piece, masks, is_json) = input;
    let host_bits = if masks { HostBits::Mask } else { HostBits::Refuse };
    let format = if is_json { Format::SpamhausJson } else { Format::Netset };
    let whole = read([text].into_iter(), &format, host_bits);
    let size = usize::from(piece).max(1);
    assert_eq!(read(text.chunks(size), &format, host_bits), whole);
    let Ok(list) = whole else { return };
    let prefixes: Vec<_> = list.iter().collect();
    for pair in prefixes.windows(2) {
        let [one, two] = pair else { return };
        assert!(one < two && !one.contains(two.address()));
    }
    let printed: String = prefixes.iter().map(|prefix| format!("{prefix}\n")).collect();
    let again = read([printed.as_bytes()].into_iter(), &Format::Netset, HostBits::Refuse);
    assert_eq!(again.map(|again| again.iter().collect()), Ok(prefixes));
});
