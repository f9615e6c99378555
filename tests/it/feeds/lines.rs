use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use edgeweir::feeds::{Format, HostBits, Limits, Parser, Refusal};
use edgeweir::stages::ip_filter::prefix::Prefix;
use proptest::prelude::*;

use super::{prefixes, read, read_in, refusal, texts};
use crate::fake::check;

#[test]
fn a_netset_has_comments_and_all_line_ends() {
    let text = "\u{feff}# a list\r\n; another comment\n\n198.51.100.7\n 203.0.113.0/24 # why\r\n\t2001:db8::/32;x\n\
                2001:db8:1::1\n::ffff:192.0.2.0/120\n   \n192.0.2.255/32";
    assert_eq!(
        prefixes(text, &Format::Netset),
        ["192.0.2.0/24", "198.51.100.7/32", "203.0.113.0/24", "2001:db8::/32"]
    );
    assert_eq!(read(text, &Format::Netset).unwrap().read(), 6);
}

#[test]
fn a_drop_list_is_read() {
    let text = "; Spamhaus DROP List 2026/01/01 - (c) 2026 The Spamhaus Project\n\
                ; Last-Modified: Thu, 01 Jan 2026 05:17:00 GMT\n1.10.16.0/20 ; SBL256894\n1.19.0.0/16 ; SBL434604\n";
    assert_eq!(prefixes(text, &Format::SpamhausDrop), ["1.10.16.0/20", "1.19.0.0/16"]);
}

#[test]
fn json_lines_are_read() {
    let text = "{\"cidr\":\"1.10.16.0/20\",\"sblid\":\"SBL256894\",\"rir\":\"apnic\"}\n\
                {\"cidr\":\"2001:db8::\\/32\",\"sblid\":\"SBL1\"}\r\n\
                {\"type\":\"metadata\",\"timestamp\":1700000000,\"size\":2,\"records\":2,\"terms\":\"x\"}\n";
    assert_eq!(prefixes(text, &Format::SpamhausJson), ["1.10.16.0/20", "2001:db8::/32"]);
    // Without a count, and with empty lines behind it, it is an end all the same.
    let uncounted = "{\"cidr\":\"1.10.16.0/20\"}\n{\"type\":\"metadata\"}\n\n \n";
    assert_eq!(prefixes(uncounted, &Format::SpamhausJson), ["1.10.16.0/20"]);
    let cut = text.split_once('\n').unwrap().1;
    assert!(refusal(cut, &Format::SpamhausJson).contains("as many lines as \"records\" says"));
    for (text, line) in [
        // Cut off between two lines.
        ("{\"cidr\":\"1.10.16.0/20\"}\n", "line 2: found \"\"; expected a last line"),
        ("{\"cidr\":\"1.10.16.0/20\"}", "line 1: found \"{\\\"cidr\\\""),
        ("", "expected a last line of the type \"metadata\""),
        ("{\"type\":\"metadata\"}\n{\"cidr\":\"1.10.16.0/20\"}", "line 2"),
        ("{\"type\":\"metadata\"}\n{\"type\":\"metadata\"}", "expected nothing behind"),
        ("{\"cidr\":\"1.10.16.0/20\"}\n{\"asn\":1}\n", "line 2"),
        ("[]\n", "line 1"),
        ("\n{\"cidr\":1}\n", "line 2"),
        ("{\"cidr\":\"1.10.16.0/33\"}", "line 1"),
        ("<html>", "line 1"),
    ] {
        let refusal = refusal(text, &Format::SpamhausJson);
        assert!(refusal.starts_with("malformed: ") && refusal.contains(line), "{refusal}");
    }
}

#[test]
fn a_wrong_line_is_named() {
    for line in [
        "1.2.3",
        "1.2.3.4.5",
        "1.2.3.256",
        "1.2.3.04",
        "01.2.3.4",
        "1.2.3.0/33",
        "1.2.3.0/08",
        "1.2.3.0/",
        "1.2.3.0/+8",
        "1.2.3.0 /24",
        "1.2.3.4 1.2.3.5",
        "1.2.3.9 - 1.2.3.8",
        "1.2.3.0-::1",
        "1.2.3.0-255",
        "1.2.3.0 -",
        "- 1.2.3.0",
        "1.2.3.0/24-1.2.4.0/24",
        "fe80::1%eth0",
        "::/129",
        "::/-1",
        "2001:db8::g",
        "example.com",
        "<html>",
        "\0",
    ] {
        let text = format!("# one\n\n{line}\n198.51.100.0/24\n");
        let refusal = refusal(&text, &Format::Netset);
        let expected = format!("malformed: line 3: found {line:?}; expected an address");
        assert!(refusal.starts_with(&expected), "{refusal}");
    }
}

#[test]
fn what_is_shown_of_a_line_is_short() {
    let Err(Refusal::Malformed { value, line, .. }) = read(&"é".repeat(1_000), &Format::Netset) else {
        panic!("not refused");
    };
    assert_eq!((value, line), ("é".repeat(40), 1));
}

#[test]
fn lines_are_bounded() {
    let comment = format!("#{}\n192.0.2.1", "x".repeat(4_095));
    assert_eq!(prefixes(&comment, &Format::Netset), ["192.0.2.1/32"]);
    for text in [format!("#{}", "x".repeat(4_096)), format!("\n{}192.0.2.1\n", " ".repeat(4_096))] {
        assert!(refusal(&text, &Format::Netset).ends_with("expected a line of at most 4096 bytes"));
    }
}

#[test]
fn texts_and_lists_are_bounded() {
    let of = |text: &str, bytes, prefixes| {
        let mut parser = Parser::new(&Format::Netset, HostBits::Refuse, Limits { bytes, prefixes });
        let pushed = text.as_bytes().chunks(3).try_for_each(|piece| parser.push(piece));
        pushed.and_then(|()| parser.finish()).map(|list| texts(&list))
    };
    let text = "192.0.2.1\n192.0.2.2\n";
    assert_eq!(of(text, 20, 2).unwrap().len(), 2);
    assert_eq!(of(text, 19, 2), Err(Refusal::TooManyBytes(19)));
    assert_eq!(of(text, 20, 1), Err(Refusal::TooManyPrefixes(1)));
    // What overlaps counts, since it is held.
    assert_eq!(of("192.0.2.1\n192.0.2.1\n", 20, 1), Err(Refusal::TooManyPrefixes(1)));
    assert_eq!(of("1.0.0.1 - 1.0.0.6", 20, 3), Err(Refusal::TooManyPrefixes(3)));
}

#[test]
fn host_bits_are_refused_or_masked() {
    let text = "192.0.2.0/24\n198.51.100.9/24\n";
    assert_eq!(
        refusal(text, &Format::Netset),
        "host-bits: line 2: \"198.51.100.9/24\" has bits set behind its length; \
         \"host_bits\": \"mask\" would clear them"
    );
    let masked = |text: &str| texts(&read_in(&[text.as_bytes()], &Format::Netset, HostBits::Mask).unwrap());
    assert_eq!(masked(text), ["192.0.2.0/24", "198.51.100.0/24"]);
    assert_eq!(masked("2001:db8::1/32"), ["2001:db8::/32"]);
    assert_eq!(masked("::ffff:1.2.3.4/104"), ["1.0.0.0/8"]);
    assert_eq!(masked("1.2.3.4/0"), ["0.0.0.0/0"]);
}

/// Clients with 6to4 and NAT64 addresses are known by the IPv4 address in
/// them: so are the entries of a list.
#[test]
fn embedded_addresses_are_read_as_clients_are_seen() {
    let text = "2002:c633:6407::1\n2002:c633:6408::/48\n2002:c633:6409:1::/64\n64:ff9b::198.51.100.10\n\
                64:ff9b::c633:640b - 64:ff9b::c633:640b\n2002:c633:640c:: - 2002:c633:640c:ffff:ffff:ffff:ffff:ffff\n\
                2002:a00:1::1\n64:ff9b::10.0.0.0/104\n::198.51.100.7\n";
    assert_eq!(
        prefixes(text, &Format::Netset),
        [
            "198.51.100.7/32",
            "198.51.100.8/32",
            "198.51.100.9/32",
            "198.51.100.10/32",
            "198.51.100.11/32",
            "198.51.100.12/32",
            "::c633:6407/128",
            "64:ff9b::a00:0/104",
            "2002:a00:1::1/128",
        ]
    );
    for wide in [
        "2002::/16",
        "2002:c633:6400::/40",
        "64:ff9b::/96",
        "64:ff9b::198.51.100.0/120",
        "2002:c633:6406:: - 2002:c633:6408::",
    ] {
        let refusal = refusal(&format!("192.0.2.1\n{wide}\n"), &Format::Netset);
        assert!(refusal.starts_with("malformed: line 2") && refusal.contains("IPv4 prefixes"), "{refusal}");
    }
    // Host bits are host bits all the same.
    assert!(refusal("2002:c633:6407::1/48", &Format::Netset).starts_with("host-bits"));
    let masked = read_in(&[b"2002:c633:6407::1/48"], &Format::Netset, HostBits::Mask).unwrap();
    assert_eq!(texts(&masked), ["198.51.100.7/32"]);
}

#[test]
fn overlaps_are_dropped_and_neighbours_stay() {
    let text = "192.0.2.0/25\n192.0.2.128/25\n198.51.100.7\n198.51.100.0/24\n198.51.100.0/25\n198.51.100.0/24\n\
                2001:db8:1::/48\n2001:db8::/32\n255.255.255.255\n255.255.255.0/24\n";
    let list = read(text, &Format::Netset).unwrap();
    assert_eq!(
        texts(&list),
        ["192.0.2.0/25", "192.0.2.128/25", "198.51.100.0/24", "255.255.255.0/24", "2001:db8::/32"]
    );
    assert_eq!((list.read(), list.len(), list.len_v4()), (10, 5, 4));
}

#[test]
fn ranges_become_the_fewest_prefixes() {
    for (range, expected) in [
        ("198.51.100.0 - 198.51.100.255", vec!["198.51.100.0/24"]),
        (
            "198.51.100.1-198.51.100.6",
            vec!["198.51.100.1/32", "198.51.100.2/31", "198.51.100.4/31", "198.51.100.6/32"],
        ),
        ("1.2.3.4-1.2.3.4", vec!["1.2.3.4/32"]),
        ("0.0.0.0 - 255.255.255.255", vec!["0.0.0.0/0"]),
        ("255.255.255.254 -\t255.255.255.255", vec!["255.255.255.254/31"]),
        ("2001:db8:: - 2001:db8::ffff", vec!["2001:db8::/112"]),
        ("::ffff:1.2.3.0 - 1.2.3.255", vec!["1.2.3.0/24"]),
        (":: - ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", vec!["::/0"]),
        ("::1 - ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff # all but one", vec!["8000::/1"]),
    ] {
        let found = prefixes(range, &Format::Netset);
        if expected == ["8000::/1"] {
            assert_eq!((found.len(), found.last().unwrap().as_str()), (128, "8000::/1"));
        } else {
            assert_eq!(found, expected, "{range}");
        }
    }
    assert_eq!(prefixes("0.0.0.1 - 255.255.255.254", &Format::Netset).len(), 62);
}

/// The first and the last address of a prefix.
fn ends(prefix: Prefix) -> (u128, u128) {
    match prefix.address() {
        IpAddr::V4(first) => {
            let host = u32::MAX.checked_shr(prefix.length().into()).unwrap_or(0);
            (first.to_bits().into(), (first.to_bits() | host).into())
        }
        IpAddr::V6(first) => {
            let host = u128::MAX.checked_shr(prefix.length().into()).unwrap_or(0);
            (first.to_bits(), first.to_bits() | host)
        }
    }
}

#[test]
fn a_range_is_covered_exactly_and_by_no_neighbours_that_could_be_one() {
    let v4 = (any::<u32>(), any::<u32>(), 0_u32..32, 0_u32..32).prop_map(|(a, b, x, y)| {
        (IpAddr::V4(Ipv4Addr::from_bits(a >> x)), IpAddr::V4(Ipv4Addr::from_bits(b >> y)))
    });
    let v6 = (any::<u128>(), any::<u128>(), 0_u32..80, 0_u32..80).prop_map(|(a, b, x, y)| {
        (IpAddr::V6(Ipv6Addr::from_bits(a >> x)), IpAddr::V6(Ipv6Addr::from_bits(b >> y)))
    });
    check(400, prop_oneof![v4, v6], |(a, b)| {
        let (first, last) = (a.min(b), a.max(b));
        let list = read(&format!("{first} - {last}"), &Format::Netset).unwrap();
        let found: Vec<Prefix> = list.iter().collect();
        let bits = |address: IpAddr| match address {
            IpAddr::V4(v4) => u128::from(v4.to_bits()),
            IpAddr::V6(v6) => v6.to_bits(),
        };
        // One begins where the one before it ends.
        let mut next = Some(bits(first));
        for prefix in &found {
            let (from, to) = ends(*prefix);
            assert_eq!(Some(from), next);
            next = to.checked_add(1);
        }
        assert_eq!(found.last().map(|prefix| ends(*prefix).1), Some(bits(last)));
        // No two are the halves of one.
        for pair in found.windows(2) {
            let [one, two] = pair else { continue };
            let joined = one.length().checked_sub(1).and_then(|length| Prefix::new(one.address(), length));
            let is_pair =
                one.length() == two.length() && joined.is_some_and(|joined| joined.contains(two.address()));
            assert!(!is_pair, "{one} {two}");
        }
        Ok(())
    });
}

fn some_prefix() -> impl Strategy<Value = Prefix> {
    let v4 = (any::<u32>(), 0_u8..=32).prop_map(|(bits, length)| {
        Prefix::containing(IpAddr::V4(Ipv4Addr::from_bits(bits)), length).unwrap()
    });
    // Beyond the addresses that are IPv4 in disguise.
    let v6 = (any::<u128>(), 0_u8..=128).prop_map(|(bits, length)| {
        Prefix::containing(IpAddr::V6(Ipv6Addr::from_bits(bits | 1 << 127)), length).unwrap()
    });
    prop_oneof![v4, v6]
}

#[test]
fn what_is_printed_is_read_again() {
    let lists = (proptest::collection::vec(some_prefix(), 0..60), 1_usize..40);
    check(200, lists, |(list, piece)| {
        // Naively: what lies in no other, sorted.
        let mut expected: Vec<Prefix> = list
            .iter()
            .filter(|one| {
                !list.iter().any(|other| other.length() < one.length() && other.contains(one.address()))
            })
            .copied()
            .collect();
        expected.sort();
        expected.dedup();
        let text: String = list.iter().map(|prefix| format!("{prefix}\n")).collect();
        let pieces: Vec<&[u8]> = text.as_bytes().chunks(piece).collect();
        let read = read_in(&pieces, &Format::Netset, HostBits::Refuse).unwrap();
        assert_eq!(read.iter().collect::<Vec<_>>(), expected);
        let printed: String = read.iter().map(|prefix| format!("{prefix}\n")).collect();
        let again = super::read(&printed, &Format::Netset).unwrap();
        assert_eq!(again.iter().collect::<Vec<_>>(), expected);
        Ok(())
    });
}

#[test]
fn cuts_make_no_difference() {
    let words = prop_oneof![
        Just("198.51.100.0/24".to_owned()),
        Just("1.2.3.4".to_owned()),
        Just(" - ".to_owned()),
        Just("2001:db8::".to_owned()),
        Just("/32".to_owned()),
        Just("#".to_owned()),
        Just(",".to_owned()),
        Just("\"".to_owned()),
        Just("ip".to_owned()),
        Just("\n".to_owned()),
        Just("\r\n".to_owned()),
        Just("{\"cidr\":\"1.2.3.0/24\"}".to_owned()),
        Just("{\"type\":\"metadata\"}".to_owned()),
        Just("{\"prefixes\":[{\"ip_prefix\":\"1.2.3.4/32\"}]}".to_owned()),
        "[ -~\u{feff}]{0,3}",
    ];
    let formats = prop_oneof![
        Just(Format::Netset),
        Just(Format::SpamhausJson),
        Just(Format::Cloudflare),
        Just(Format::Aws),
        Just(Format::Csv(edgeweir::feeds::Column::numbered(2).unwrap())),
        Just(Format::Csv(edgeweir::feeds::Column::named("ip").unwrap())),
    ];
    let texts = (proptest::collection::vec(words, 0..30), formats, 1_usize..9);
    check(600, texts, |(words, format, piece)| {
        let text = words.concat();
        let pieces: Vec<&[u8]> = text.as_bytes().chunks(piece).collect();
        for host_bits in [HostBits::Refuse, HostBits::Mask] {
            let whole = read_in(&[text.as_bytes()], &format, host_bits);
            assert_eq!(read_in(&pieces, &format, host_bits), whole, "{text:?}");
        }
        Ok(())
    });
}
