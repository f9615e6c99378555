//! The quick text forms say what the standard ones say.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use edgeweir::text::{address, fill_decimal, has_control, hex, push_decimal, push_json_inside};
use proptest::prelude::*;

use crate::fake::check;

#[test]
fn hex_is_the_low_digits_in_lower_case() {
    assert_eq!(hex(0xabc, 2), "bc");
    assert_eq!(hex(0, 0), "");
    assert_eq!(hex(1, 40).len(), 32);
    check(256, any::<u128>(), |value| {
        prop_assert_eq!(hex(value, 32), format!("{value:032x}"));
        Ok(())
    });
}

#[test]
fn numbers_equal_the_standard_form() {
    for value in [0, 9, 10, u64::MAX] {
        let mut text = String::from("x");
        push_decimal(&mut text, value);
        assert_eq!(text, format!("x{value}"));
    }
    check(256, any::<u64>(), |value| {
        let mut text = String::new();
        push_decimal(&mut text, value);
        prop_assert_eq!(text, value.to_string());
        Ok(())
    });
}

#[test]
fn a_number_fills_its_digits() {
    check(256, (any::<u64>(), 0_usize..=20), |(value, width)| {
        let mut digits = vec![b'x'; width];
        fill_decimal(&mut digits, value);
        let all = format!("{value:020}");
        prop_assert_eq!(std::str::from_utf8(&digits).unwrap(), &all[20 - width..]);
        Ok(())
    });
}

#[test]
fn control_characters_are_found_wherever_they_are() {
    check(512, proptest::collection::vec(any::<u8>(), 0..40), |bytes| {
        prop_assert_eq!(has_control(&bytes), bytes.iter().any(|byte| *byte < 0x20));
        Ok(())
    });
    for length in 0..40 {
        for at in 0..length {
            for byte in 0..=u8::MAX {
                let mut bytes = vec![b' '; length];
                bytes[at] = byte;
                assert_eq!(has_control(&bytes), byte < 0x20, "{byte} at {at} of {length}");
            }
        }
    }
}

#[test]
fn addresses_equal_the_standard_form() {
    check(256, any::<u32>(), |bits| {
        let v4 = IpAddr::V4(Ipv4Addr::from(bits));
        prop_assert_eq!(address(v4), v4.to_string());
        Ok(())
    });
    check(64, any::<u128>(), |bits| {
        let v6 = IpAddr::V6(Ipv6Addr::from(bits));
        prop_assert_eq!(address(v6), v6.to_string());
        Ok(())
    });
}

fn json(value: &str) -> String {
    let mut text = String::from("\"");
    push_json_inside(&mut text, value);
    text + "\""
}

#[test]
fn a_json_string_reads_back_as_it_was() {
    check(512, any::<String>(), |value| {
        let text = json(&value);
        prop_assert!(!text.bytes().any(|byte| byte < 0x20));
        prop_assert_eq!(serde_json::from_str::<String>(&text).unwrap(), value);
        Ok(())
    });
    for length in 0..20 {
        for at in 0..length {
            for special in 0..0x80_u8 {
                let mut bytes = vec![b'a'; length];
                bytes[at] = special;
                let value = String::from_utf8(bytes).unwrap();
                assert_eq!(serde_json::from_str::<String>(&json(&value)).unwrap(), value);
            }
        }
    }
    let text = json("\0\u{1f}\n\r\t\"\\/é잠\u{2028}");
    assert_eq!(text, "\"\\u0000\\u001f\\n\\r\\t\\\"\\\\/é잠\u{2028}\"");
}
