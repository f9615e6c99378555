use edgeweir::feeds::Format;

use super::{prefixes, refusal};

const AWS: &str = r#"{
  "syncToken": "1763000000",
  "createDate": "2026-01-01-00-00-00",
  "prefixes": [
    { "ip_prefix": "3.4.12.4/32", "region": "eu-west-1", "service": "AMAZON", "network_border_group": "eu-west-1" },
    { "ip_prefix": "3.5.140.0/22", "region": "ap-northeast-2", "service": "AMAZON", "network_border_group": "x" },
    { "ip_prefix": "3.5.140.0/22", "region": "ap-northeast-2", "service": "S3", "network_border_group": "x" }
  ],
  "ipv6_prefixes": [
    { "ipv6_prefix": "2600:1f14::/35", "region": "us-west-2", "service": "EC2", "network_border_group": "us-west-2" }
  ]
}"#;

#[test]
fn the_document_of_aws_is_read() {
    assert_eq!(prefixes(AWS, &Format::Aws), ["3.4.12.4/32", "3.5.140.0/22", "2600:1f14::/35"]);
}

#[test]
fn the_document_of_google_is_read() {
    let text = r#"{"syncToken": "1", "creationTime": "2026-01-01T00:00:00", "prefixes": [
        {"ipv4Prefix": "8.8.4.0/24"}, {"ipv6Prefix": "2001:4860::/32"},
        {"ipv4Prefix": "34.1.208.0/20", "service": "Google Cloud", "scope": "africa-south1"}]}"#;
    assert_eq!(prefixes(text, &Format::Google), ["8.8.4.0/24", "34.1.208.0/20", "2001:4860::/32"]);
}

#[test]
fn the_document_of_cloudflare_is_read_and_its_plain_lists() {
    let text = r#"
        {"result": {"ipv4_cidrs": ["173.245.48.0\/20", "103.21.244.0/22"], "ipv6_cidrs": ["2400:cb00::/32"],
        "etag": "38f79d050aa027e3be3865e495dcc9bc"}, "success": true, "errors": [], "messages": []}"#;
    assert_eq!(prefixes(text, &Format::Cloudflare), ["103.21.244.0/22", "173.245.48.0/20", "2400:cb00::/32"]);
    assert_eq!(
        prefixes("\n173.245.48.0/20\n103.21.244.0/22\n", &Format::Cloudflare),
        ["103.21.244.0/22", "173.245.48.0/20"]
    );
    assert!(prefixes(" \r\n", &Format::Cloudflare).is_empty());
}

#[test]
fn other_documents_are_refused() {
    for (text, format, expected) in [
        ("", Format::Aws, "line 1: found \"\"; expected a document with \"prefixes\""),
        ("{}", Format::Aws, "expected a document with \"prefixes\""),
        ("{\"prefixes\": 1}", Format::Aws, "line 1: found \"{\\\"prefixes\\\": 1}\"; expected a document"),
        ("{\"prefixes\": [{\"ip\": \"1.2.3.4\"}]}", Format::Aws, "line 1"),
        ("{\"prefixes\": [\"1.2.3.4\"]}", Format::Google, "line 1"),
        (
            "{\"prefixes\": [\n{\"ipv4Prefix\": \"1.2.3.4/40\"}]}",
            Format::Google,
            "line 2: found \"1.2.3.4/40\"",
        ),
        ("{\"prefixes\": []} x", Format::Google, "line 1"),
        ("{\"ipv4_cidrs\": [\"1.2.3.4/32\"]}", Format::Cloudflare, "expected a document with \"ipv4_cidrs\""),
        ("{\"result\": {\"ipv4_cidrs\": [\"1.2.3.4/32\"}", Format::Cloudflare, "line 1"),
        ("<html>", Format::Cloudflare, "line 1: found \"<html>\"; expected an address"),
        ("<html>", Format::Aws, "line 1: found \"<html>\"; expected a document"),
    ] {
        let refusal = refusal(text, &format);
        assert!(refusal.starts_with(&format!("malformed: {expected}")), "{text}: {refusal}");
    }
    let cut = &AWS[..AWS.len() - 2];
    assert!(refusal(cut, &Format::Aws).starts_with("malformed: line 11"));
    let deep = format!("{{\"x\": {}", "[".repeat(100_000));
    assert!(refusal(&deep, &Format::Aws).starts_with("malformed"));
}

#[test]
fn host_bits_in_a_document_have_a_line() {
    let text = "{\"prefixes\": [\n\n{\"ipv4Prefix\": \"1.2.3.4/24\"}]}";
    assert!(refusal(text, &Format::Google).starts_with("host-bits: line 3: \"1.2.3.4/24\""));
}

/// Readers of JSON differ in which of two they take; here it is neither.
#[test]
fn a_member_that_is_read_stands_there_once() {
    let twice =
        "{\"prefixes\": [{\"ip_prefix\": \"1.2.3.0/24\"}],\n\"prefixes\": [{\"ip_prefix\": \"1.2.4.0/24\"}]}";
    assert_eq!(
        refusal(twice, &Format::Aws),
        "malformed: line 2: found \"prefixes\"; expected this member once"
    );
    for (text, format) in [
        ("{\"prefixes\": [{\"ip_prefix\": \"1.2.3.4/32\", \"ip_prefix\": \"1.2.3.4/32\"}]}", Format::Aws),
        ("{\"ipv6_prefixes\": [], \"prefixes\": [], \"ipv6_prefixes\": []}", Format::Aws),
        ("{\"prefixes\": [], \"prefixes\": []}", Format::Google),
        ("{\"result\": {\"ipv4_cidrs\": []}, \"result\": {\"ipv4_cidrs\": []}}", Format::Cloudflare),
        ("{\"result\": {\"ipv4_cidrs\": [], \"ipv4_cidrs\": []}}", Format::Cloudflare),
    ] {
        assert!(refusal(text, &format).ends_with("expected this member once"), "{text}");
    }
    // What is not read may stand there as often as it likes.
    let other = "{\"x\": 1, \"x\": 2, \"prefixes\": [{\"ip_prefix\": \"1.2.3.0/24\", \"region\": \"\", \"region\": \"\"}]}";
    assert_eq!(prefixes(other, &Format::Aws), ["1.2.3.0/24"]);
}
