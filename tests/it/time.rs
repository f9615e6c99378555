//! Points in time as values.

use std::time::Duration;

use edgeweir::time::{Timestamp, millis_of};

use crate::fake::check;

#[test]
fn shown_as_rfc_3339_with_milliseconds() {
    for (millis, text) in [
        (0, "1970-01-01T00:00:00.000Z"),
        (951_782_399_999, "2000-02-28T23:59:59.999Z"),
        (951_782_400_000, "2000-02-29T00:00:00.000Z"),
        (951_868_800_000, "2000-03-01T00:00:00.000Z"),
        (1_767_225_600_000, "2026-01-01T00:00:00.000Z"),
        (1_709_251_199_001, "2024-02-29T23:59:59.001Z"),
        // 2100 is no leap year.
        (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
    ] {
        assert_eq!(Timestamp::from_millis(millis).to_string(), text);
    }
}

/// The oracle is the `httpdate` crate.
#[test]
fn shown_date_equals_another_implementation() {
    check(2_000, 0_u64..253_402_300_800, |seconds| {
        let shown = Timestamp::from_millis(seconds * 1_000).to_string();
        let date = httpdate::fmt_http_date(std::time::UNIX_EPOCH + Duration::from_secs(seconds));
        let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let month = months.iter().position(|month| *month == &date[8..11]).unwrap() + 1;
        let expected = format!("{}-{month:02}-{}T{}.000Z", &date[12..16], &date[5..7], &date[17..25]);
        proptest::prop_assert_eq!(shown, expected);
        Ok(())
    });
}

#[test]
fn any_moment_can_be_shown() {
    assert!(Timestamp::from_millis(u64::MAX).to_string().ends_with('Z'));
}

#[test]
fn a_javascript_number_becomes_a_moment() {
    for (number, millis) in [(0.0, 0), (1.9, 1), (-5.0, 0), (f64::NAN, 0), (f64::INFINITY, u64::MAX)] {
        assert_eq!(Timestamp::from_js(number).millis(), millis);
    }
}

#[test]
fn arithmetic_saturates() {
    let (early, late) = (Timestamp::from_millis(5), Timestamp::from_millis(1_999));
    assert_eq!(late.since(early), Duration::from_millis(1_994));
    assert_eq!(early.since(late), Duration::ZERO);
    assert_eq!(late.seconds(), 1);
    assert_eq!(early.after(Duration::from_secs(1)).millis(), 1_005);
    assert_eq!(early.after(Duration::MAX).millis(), u64::MAX);
    assert_eq!(Timestamp::from_millis(u64::MAX).nanos(), u128::from(u64::MAX) * 1_000_000);
    assert_eq!(millis_of(Duration::MAX), u64::MAX);
    assert_eq!(millis_of(Duration::from_micros(1_999)), 1);
}

#[test]
fn a_shown_moment_is_read_again() {
    check(2_000, 0_u64..253_402_300_800_000, |millis| {
        let time = Timestamp::from_millis(millis);
        proptest::prop_assert_eq!(Timestamp::parse(&time.to_string()), Some(time));
        Ok(())
    });
}

#[test]
fn what_is_no_moment_is_not_read() {
    for text in [
        "",
        "2026-01-01T00:00:00Z",
        "2026-01-01T00:00:00.000+00:00",
        "2026-01-01 00:00:00.000Z",
        "2026-02-30T00:00:00.000Z",
        "2025-02-29T00:00:00.000Z",
        "2026-13-01T00:00:00.000Z",
        "2026-00-01T00:00:00.000Z",
        "2026-01-00T00:00:00.000Z",
        "2026-01-01T24:00:00.000Z",
        "2026-01-01T00:60:00.000Z",
        "2026-01-01T00:00:60.000Z",
        "1969-12-31T23:59:59.999Z",
        "+026-01-01T00:00:00.000Z",
        "2026-01-01T00:00:00.000Zx",
        "2026-01-01T00:00:00.00\u{fc}",
    ] {
        assert_eq!(Timestamp::parse(text), None, "{text}");
    }
}

#[test]
fn every_form_of_rfc_3339_is_read() {
    let moment = Timestamp::parse("2027-01-31T00:00:00.000Z");
    assert!(moment.is_some());
    for text in [
        "2027-01-31T00:00:00Z",
        "2027-01-31t00:00:00z",
        "2027-01-31T00:00:00.0Z",
        "2027-01-31T00:00:00.000999Z",
        "2027-01-31T09:00:00+09:00",
        "2027-01-30T16:30:00-07:30",
        "2027-01-31T00:00:00-00:00",
    ] {
        assert_eq!(Timestamp::parse_rfc3339(text), moment, "{text}");
    }
    let half = Timestamp::parse("2027-01-31T00:00:00.500Z");
    assert_eq!(Timestamp::parse_rfc3339("2027-01-31T00:00:00.5Z"), half);
    for text in [
        "",
        "2027-01-31",
        "2027-01-31T00:00:00",
        "2027-01-31T00:00:00.Z",
        "2027-01-31 00:00:00Z",
        "2027-02-30T00:00:00Z",
        "2027-01-31T00:00:00ZZ",
        "2027-01-31T00:00:00+9:00",
        "2027-01-31T00:00:00+0900",
        "2027-01-31T00:00:00+24:00",
        "2027-01-31T00:00:00+09:60",
        "2027-01-31T00:00:00\u{fc}09:00",
        "2027-01-31T00:00:0\u{fc}Z",
        "1970-01-01T00:00:00+00:01",
    ] {
        assert_eq!(Timestamp::parse_rfc3339(text), None, "{text}");
    }
}
