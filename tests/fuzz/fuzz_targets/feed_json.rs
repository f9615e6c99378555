//! JSON documents: how they are cut makes no difference, and what is taken
//! from one is what a tree of it says.
#![no_main]

use edgeweir::feeds::{Format, HostBits, Limits, Parser, PrefixList, Refusal};
use edgeweir::stages::ip_filter::prefix::Prefix;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

const LIMITS: Limits = Limits { bytes: 1 << 16, prefixes: 10_000 };

fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>, format: &Format) -> Result<PrefixList, Refusal> {
    let mut parser = Parser::new(format, HostBits::Refuse, LIMITS);
    for piece in pieces {
        parser.push(piece)?;
    }
    parser.finish()
}

fn items<'a>(tree: &'a Value, list: &str, members: &[&str]) -> Vec<&'a str> {
    let all = tree.get(list).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if members.is_empty() {
        return all.iter().filter_map(Value::as_str).collect();
    }
    all.iter().flat_map(|item| members.iter().filter_map(|name| item.get(name)?.as_str())).collect()
}

fuzz_target!(|input: (&[u8], u8)| {
    let (text, piece) = input;
    let size = usize::from(piece).max(1);
    for format in [Format::Aws, Format::Google, Format::Cloudflare] {
        let whole = read([text].into_iter(), &format);
        assert_eq!(read(text.chunks(size), &format), whole);
        let Ok(list) = whole else { continue };
        let Ok(tree) = serde_json::from_slice::<Value>(text) else { continue };
        let expected = match format {
            Format::Aws => {
                [items(&tree, "prefixes", &["ip_prefix"]), items(&tree, "ipv6_prefixes", &["ipv6_prefix"])]
                    .concat()
            }
            Format::Google => items(&tree, "prefixes", &["ipv4Prefix", "ipv6Prefix"]),
            _ => {
                let result = tree.get("result").unwrap_or(&Value::Null);
                ["ipv4_cidrs", "ipv6_cidrs", "jdcloud_cidrs"].map(|name| items(result, name, &[])).concat()
            }
        };
        // Everything that the tree has is covered. (The other way round there
        // is more: of names that stand twice, a tree keeps the last.)
        for text in expected {
            let Ok(prefix) = text.trim().parse::<Prefix>() else { continue };
            assert!(
                list.iter()
                    .any(|found| found.length() <= prefix.length() && found.contains(prefix.address()))
            );
        }
    }
});
