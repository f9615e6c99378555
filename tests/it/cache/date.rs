//! HTTP-date (RFC 9110, 5.6.7).

use edgeweir::stages::cache::date::{format, parse, parse_loosely};
use edgeweir::time::Timestamp;
use proptest::prelude::*;

use super::at;
use crate::fake::check;

#[test]
fn section_5_6_7_the_three_forms() {
    for (text, seconds) in [
        ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 784_111_777),
        ("Sun Nov  6 08:49:37 1994", 784_111_777),
        ("Wed Nov 16 08:49:37 1994", 784_975_777),
        ("Thu, 18 Aug 2050 02:01:18 GMT", 2_544_400_878),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("Tue, 29 Feb 2028 23:59:59 GMT", 1_835_481_599),
    ] {
        assert_eq!(parse(text, at(0)), Some(seconds), "{text}");
    }
}

/// Two digits more than 50 years ahead are in the past.
#[test]
fn section_5_6_7_two_digits_of_a_year() {
    let year = |text: &str, now: &str| {
        let now = Timestamp::parse(now).unwrap();
        Timestamp::from_seconds(parse(text, now).unwrap()).to_string()[..4].to_owned()
    };
    assert_eq!(year("Wednesday, 01-Jan-76 00:00:00 GMT", "2026-01-01T00:00:00.000Z"), "2076");
    assert_eq!(year("Saturday, 01-Jan-77 00:00:00 GMT", "2026-01-01T00:00:00.000Z"), "1977");
    assert_eq!(year("Thursday, 18-Aug-50 02:01:18 GMT", "2026-01-01T00:00:00.000Z"), "2050");
}

/// RFC 9111, 4.2: case does not matter for freshness. What the day of the week
/// says is in the date already.
#[test]
fn section_4_2_a_lifetime_is_read_in_any_case() {
    for (text, seconds) in [
        ("THU, 18 Aug 2050 02:01:18 GMT", 2_544_400_878),
        ("Thu, 18 AUG 2050 02:01:18 GMT", 2_544_400_878),
        ("Thu, 18 Aug 2050 02:01:18 gMT", 2_544_400_878),
        ("thursday, 18-aug-50 02:01:18 gmt", 2_544_400_878),
        ("thu aug 18 02:01:18 2050", 2_544_400_878),
        ("Wed, 18 Aug 2050 02:01:18 GMT", 2_544_400_878),
        ("Friday, 18-Aug-50 02:01:18 GMT", 2_544_400_878),
        ("Thu Aug  8 02:01:18 2050", 2_543_536_878),
    ] {
        assert_eq!(parse_loosely(text, at(0)), Some(seconds), "{text}");
        assert_eq!(parse(text, at(0)), None, "{text}, in a condition");
    }
}

/// What no reading takes for a date.
const NO_DATES: [&str; 31] = [
    "",
    "0",
    "-1",
    "Thu, 18 Aug 2050 02:01:18 UTC",
    "Thu, 18 Aug 2050 02:01:18 AEST",
    "Thu, 18 Aug 2050 02:01:18 +0000",
    "Thu, 18 Aug 2050 02:01:18",
    "Thu, 18 Aug 50 02:01:18 GMT",
    "Thu 18 Aug 2050 02:01:18 GMT",
    "Thu, 18  Aug  2050 02:01:18 GMT",
    "Thu, 18-Aug-2050 02:01:18 GMT",
    "Thu, 18 Aug 2050 02.01.18 GMT",
    "Thu, 18 Aug 2050 2:01:18 GMT",
    "Thr, 18 Aug 2050 02:01:18 GMT",
    "Thursday, 18 Aug 2050 02:01:18 GMT",
    "Thu, 1 Sep 2050 02:01:18 GMT",
    "Wed, 31 Nov 2050 02:01:18 GMT",
    "Thu, 18 Aug 2050 24:00:00 GMT",
    "Thu, 18 Aug 2050 02:01:60 GMT",
    "Thu, 18 Aug 2050 02:01:18 GMT ",
    " Thu, 18 Aug 2050 02:01:18 GMT",
    "Thu, 18 Aug 2050 02:01:18 GMT GMT",
    "Thu, 18 Aug 2050 02:01:18 GMT, Thu, 18 Aug 2050 02:01:18 GMT",
    "Sun, 06-Nov-94 08:49:37 GMT",
    "Sun Nov 6 08:49:37 1994",
    "Sun Nov 06 08:49:37 1994 GMT",
    "Sunday Nov  6 08:49:37 1994",
    "Sun Nov 2  08:49:37 1994",
    "Sun Nov 6 08:49:37 1994",
    "Sun Nov    08:49:37 1994",
    "Wed, 31 Dec 1969 23:59:59 GMT",
];

#[test]
fn section_5_6_7_what_is_none_of_them() {
    for bad in NO_DATES {
        assert_eq!(parse(bad, at(0)), None, "{bad}");
        assert_eq!(parse_loosely(bad, at(0)), None, "{bad}");
    }
}

/// The oracle is the `httpdate` crate.
#[test]
fn every_moment_is_read_and_written() {
    check(2_000, 0_u64..253_402_300_800, |seconds| {
        let date = httpdate::fmt_http_date(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds));
        prop_assert_eq!(parse(&date, at(0)), Some(seconds));
        prop_assert_eq!(&format(Timestamp::from_seconds(seconds)), &date);
        prop_assert_eq!(parse_loosely(&date.to_lowercase(), at(0)), Some(seconds));
        Ok(())
    });
}

#[test]
fn no_text_panics() {
    check(
        2_000,
        prop_oneof![any::<String>(), "[A-Za-z]{3,6},? [0-9 -]{0,12} [0-9:]{8} ?[0-9A-Z]{0,4}"],
        |text| {
            let _ = (parse(&text, at(0)), parse_loosely(&text, at(0)));
            Ok(())
        },
    );
}
