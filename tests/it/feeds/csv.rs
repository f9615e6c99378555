use edgeweir::feeds::{Column, Format};

use super::{prefixes, refusal};

fn numbered(number: u64) -> Format {
    Format::Csv(Column::numbered(number).unwrap())
}

fn named(name: &str) -> Format {
    Format::Csv(Column::named(name).unwrap())
}

#[test]
fn a_column_is_read_by_number() {
    let text = "# a comment, with a comma\n\n198.51.100.1,first\r\n\"198.51.100.2\",\"a \"\"quoted\"\", field\"\r\n\
                \"198.51.100.3 \",\"two\nlines\"\n198.51.100.4";
    assert_eq!(
        prefixes(text, &numbered(1)),
        ["198.51.100.1/32", "198.51.100.2/32", "198.51.100.3/32", "198.51.100.4/32"]
    );
    assert_eq!(prefixes("a,1.2.3.0/24,b\n,2.3.4.5,", &numbered(2)), ["1.2.3.0/24", "2.3.4.5/32"]);
    assert_eq!(prefixes("a,b,1.2.3.0 - 1.2.3.3\r\n", &numbered(3)), ["1.2.3.0/30"]);
    assert!(prefixes("", &numbered(3)).is_empty());
}

#[test]
fn a_column_is_read_by_name() {
    let text = "################\n# feodo\n\"first_seen_utc\",\"dst_ip\",\"dst_port\"\n\
                \"2022-06-04 21:24:53\",\"198.51.100.79\",\"443\"\n# END 1 entry";
    assert_eq!(prefixes(text, &named("dst_ip")), ["198.51.100.79/32"]);
    assert_eq!(prefixes("a, ip ,\r\n,1.2.3.4,\r\n", &named("ip")), ["1.2.3.4/32"]);
    assert!(prefixes("ip", &named("ip")).is_empty());
    assert!(prefixes("\"ip\"", &named("ip")).is_empty());
}

#[test]
fn a_wrong_record_is_named() {
    for (text, format, expected) in [
        ("ip\n1.2.3.4\n", numbered(1), "line 1: found \"ip\"; expected an address"),
        ("a,b\n1,2\n", named("ip"), "line 1: found \"\"; expected a first record that names the column"),
        ("", named("ip"), "line 1: found \"\"; expected a first record that names the column"),
        ("# only\n", named("ip"), "line 2: found \"\"; expected a first record that names the column"),
        ("1.2.3.4,x\n\ny\n", numbered(2), "line 1: found \"x\"; expected an address"),
        ("x,1.2.3.4\n\ny\n", numbered(2), "line 3: found \"\"; expected a record that reaches to the column"),
        ("x,\n", numbered(2), "line 1: found \"\"; expected an address"),
        ("\"a\nb\",1.2.3.4\nx,y\n", numbered(2), "line 3: found \"y\"; expected an address"),
        (
            "1.2.3.4\n\"1.2.3.5\n1.2.3.6",
            numbered(1),
            "line 2: found \"1.2.3.5\\n1.2.3.6\"; expected quotes around",
        ),
        ("1.2\"3.4\n", numbered(1), "line 1: found \"1.2\"; expected quotes around"),
        ("\"1.2.3.4\"5\n", numbered(1), "line 1: found \"1.2.3.4\"; expected quotes around"),
    ] {
        let refusal = refusal(text, &format);
        assert!(refusal.starts_with(&format!("malformed: {expected}")), "{refusal}");
    }
}

#[test]
fn records_are_bounded() {
    let text = format!("1.2.3.4,\"{}", "x\n".repeat(40_000));
    assert!(refusal(&text, &numbered(1)).ends_with("expected a record of at most 65536 bytes"));
}
