use std::time::Duration;

use edgeweir::feeds::config::feed_url;
use edgeweir::feeds::{Column, Feed, FeedConfig, Format, FormatName, HostBits, Limits};
use edgeweir::policy::decode::{Problems, Trail};
use edgeweir::policy::units::Span;
use serde_json::{Value, json};

fn compile(config: Value) -> Result<Feed, Vec<String>> {
    let config: FeedConfig = serde_json::from_value(config).map_err(|error| vec![error.to_string()])?;
    let mut problems = Problems::default();
    let root = Trail::Root;
    let feed = config.compile(&root.entry("feed"), &mut problems);
    let problems: Vec<String> = problems.into_vec().iter().map(ToString::to_string).collect();
    feed.filter(|_| problems.is_empty()).ok_or(problems)
}

#[test]
fn a_feed_has_defaults() {
    let feed = compile(json!({"url": "HTTPS://Lists.example.com:443?x=1"})).unwrap();
    let expected = Feed {
        url: "https://lists.example.com/?x=1".to_owned(),
        format: Format::Netset,
        interval: Duration::from_secs(3_600),
        host_bits: HostBits::Refuse,
        limits: Limits { bytes: 32 << 20, prefixes: 1_000_000 },
        max_change: 50,
        allow_private: false,
    };
    assert_eq!(feed, expected);
}

#[test]
fn a_feed_says_everything_itself() {
    let feed = compile(json!({
        "url": "https://lists.example.com/a.csv", "format": "csv", "column": "ip", "interval": "5m",
        "host_bits": "mask", "max_bytes": "1KiB", "max_prefixes": 7, "max_change": 0, "allow_private": true
    }));
    let expected = Feed {
        url: "https://lists.example.com/a.csv".to_owned(),
        format: Format::Csv(Column::named("ip").unwrap()),
        interval: Duration::from_secs(300),
        host_bits: HostBits::Mask,
        limits: Limits { bytes: 1_024, prefixes: 7 },
        max_change: 0,
        allow_private: true,
    };
    assert_eq!(feed, Ok(expected));
}

#[test]
fn what_is_wrong_is_named() {
    let url = "https://lists.example.com/";
    for (config, expected) in [
        (
            json!({"url": "http://lists.example.com/"}),
            "feed.url: found \"http://lists.example.com/\"; expected a URL",
        ),
        (json!({"url": url, "format": "csv"}), "feed.column: expected a column"),
        (json!({"url": url, "column": 1}), "feed.column: found \"1\"; expected no column"),
        (json!({"url": url, "interval": "4m"}), "feed.interval: found 240s; expected \"5m\" to \"7d\""),
        (json!({"url": url, "interval": "8d"}), "feed.interval"),
        (
            json!({"url": url, "max_bytes": "1B"}),
            "feed.max_bytes: found 1 bytes; expected \"1KiB\" to \"64MiB\"",
        ),
        (json!({"url": url, "max_bytes": "65MiB"}), "feed.max_bytes"),
        (json!({"url": url, "max_prefixes": 0}), "feed.max_prefixes: found 0; expected 1 to 2000000"),
        (json!({"url": url, "max_prefixes": 2_000_001}), "feed.max_prefixes"),
        (json!({"url": url, "max_change": 10_001}), "feed.max_change: found 10001; expected 0 to 10000"),
        (json!({"url": url, "format": "auto"}), "unknown variant `auto`"),
        (
            json!({"url": url, "format": "csv", "column": 0}),
            "invalid value: integer `0`, expected the number of a column",
        ),
        (json!({"url": url, "format": "csv", "column": ""}), "invalid value: string \"\""),
        (json!({"url": url, "proxy": 1}), "unknown field `proxy`"),
    ] {
        let problems = compile(config.clone()).unwrap_err();
        assert!(problems.len() == 1 && problems[0].starts_with(expected), "{config}: {problems:?}");
    }
}

#[test]
fn a_feed_is_at_an_https_url_of_a_named_host() {
    for (text, expected) in [
        ("https://example.com", "https://example.com/"),
        ("https://example.com./a/../b?c", "https://example.com/a/../b?c"),
        ("https://example.com:8443/x@y", "https://example.com:8443/x@y"),
        ("https://localhost.example.com/", "https://localhost.example.com/"),
        ("https://notlocal/x.com", ""),
        ("https://myinternal.com/", "https://myinternal.com/"),
    ] {
        assert_eq!(feed_url(text).as_deref().unwrap_or_default(), expected);
    }
    let long = format!("https://example.com/{}", "x".repeat(2_000));
    for text in [
        "",
        "https://",
        "https:///x",
        "https:/example.com/",
        "http://example.com/",
        "ftp://example.com/",
        "//example.com/",
        "https://user@example.com/",
        "https://user:pass@example.com/",
        "https://example.com/#x",
        "https://example.com/ x",
        "https://example.com\\@evil.example/",
        "https://exämple.com/",
        "https://127.0.0.1/",
        "https://localhost/",
        "https://intranet/",
        "https://a.localhost./",
        "https://printer.local/",
        "https://metadata.google.internal/computeMetadata/",
        "https://home.arpa/",
        "https://nas.Home.Arpa:8443/",
        "https://[::1]/",
        "https://0x7f.1/",
        "https://2130706433/",
        "https://127.1/",
        "https://example.com:0/",
        "https://example.com:99999/",
        "https://example.com:x/",
        "https://example..com/",
        "\u{feff}https://example.com/",
        "日本https://example.com/",
        &long,
    ] {
        assert_eq!(feed_url(text), None, "{text}");
    }
}

#[test]
fn names_are_read_back() {
    for format in FormatName::ALL {
        assert_eq!(FormatName::of(format.as_str()), Some(format));
        assert_eq!(serde_json::to_value(format).unwrap(), format.as_str());
    }
    assert_eq!(FormatName::of("auto"), None);
    for choice in [HostBits::Refuse, HostBits::Mask] {
        assert_eq!(HostBits::of(choice.as_str()), Some(choice));
    }
    assert_eq!(Column::of("7"), Column::numbered(7));
    assert_eq!(Column::of("ip"), Column::named("ip"));
    for wrong in ["", "0", "1001", "99999999999999999999", " ip"] {
        assert_eq!(Column::of(wrong), None, "{wrong}");
    }
}

#[test]
fn a_span_is_written_as_it_would_be_read() {
    for (seconds, text) in [
        (300, "5m"),
        (3_600, "1h"),
        (5_400, "90m"),
        (86_400, "1d"),
        (604_800, "7d"),
        (301, "301s"),
        (0, "0ms"),
    ] {
        let span = Span(Duration::from_secs(seconds));
        assert_eq!(span.to_string(), text);
        assert_eq!(serde_json::from_value::<Span>(json!(text)).unwrap(), span);
    }
    assert_eq!(Span(Duration::from_millis(1_500)).to_string(), "1500ms");
}
