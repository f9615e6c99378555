//! The quick text forms say what the standard ones say.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use edgeweir::text::{address, hex, push_decimal, push_json, push_padded};
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
    check(256, (any::<u64>(), 0_usize..30), |(value, width)| {
        let mut text = String::new();
        push_padded(&mut text, value, width);
        // Twenty digits are the most there are.
        let width = width.min(20).max(1 - usize::from(value == 0 && width == 0));
        let expected = if value == 0 && width == 0 { String::new() } else { format!("{value:0width$}") };
        prop_assert_eq!(text, expected);
        Ok(())
    });
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

#[test]
fn a_json_string_reads_back_as_it_was() {
    check(512, any::<String>(), |value| {
        let mut text = String::new();
        push_json(&mut text, &value);
        prop_assert!(!text.bytes().any(|byte| byte < 0x20));
        prop_assert_eq!(serde_json::from_str::<String>(&text).unwrap(), value);
        Ok(())
    });
    let mut text = String::new();
    push_json(&mut text, "\0\u{1f}\n\r\t\"\\/é잠\u{2028}");
    assert_eq!(text, "\"\\u0000\\u001f\\n\\r\\t\\\"\\\\/é잠\u{2028}\"");
}
