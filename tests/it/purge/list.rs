//! The list as it stands in the manifest.

use edgeweir::purge::{Damage, Purge, Purges, RECORDS_LIMIT, Scope, Stored, TEXT_LIMIT, Void, encode};
use serde_json::{Value, json};

use super::{hard, prefix, soft, tag, url};

fn read(records: &Value) -> Purges {
    Purges::read(&json!({"records": records}).to_string(), 50)
}

#[test]
fn it_is_written_like_that() {
    let list = [
        hard(1, url("https://a.example/x")),
        soft(2, prefix("https://a.example/blog/")),
        hard(3, tag("News")),
        soft(4, Scope::All),
    ];
    let text = encode(list.iter());
    let expected = json!({"records": [
        {"sequence": 1, "url": "https://a.example/x"},
        {"sequence": 2, "prefix": "https://a.example/blog/", "soft": true},
        {"sequence": 3, "tag": "news"},
        {"sequence": 4, "all": true, "soft": true},
    ]});
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), expected);
    let read: Vec<Purge> = serde_json::from_value(expected["records"].clone()).unwrap();
    assert_eq!(read, list);
}

/// A later version may know more: scopes, and what narrows one down.
#[test]
fn a_scope_of_a_later_version_counts_as_everything() {
    let anything = Stored { url: "https://a.example/", tags: &[], began: 6 };
    for record in [
        json!({"sequence": 7}),
        json!({"sequence": 7, "host": "a.example", "soft": true}),
        json!({"sequence": 7, "url": "https://b.example/", "tag": "x"}),
    ] {
        let purges = read(&json!([record]));
        assert_eq!((purges.damage(), purges.newest()), (None, 7), "{record}");
        assert_eq!(purges.judge(&anything), Some(Void { soft: false }), "{record}");
        assert_eq!(purges.judge(&Stored { began: 7, ..anything }), None, "{record}");
    }
    // What stands beside the records, and beside a scope, is not looked at.
    let text = "{\"records\":[{\"sequence\":7,\"tag\":\"x\",\"time\":1}],\"more\":{}}";
    assert_eq!(Purges::read(text, 50).judge(&anything), None);
}

#[test]
fn what_is_no_list_or_too_much_is_damaged() {
    for (text, damage) in [
        ("[[]]", Damage::Text),
        ("", Damage::Text),
        ("{}", Damage::Text),
        ("{\"records\":{}}", Damage::Text),
        ("{\"records\":[{\"sequence\":-1,\"all\":true}]}", Damage::Text),
        ("{\"records\":[{\"sequence\":1,\"url\":7}]}", Damage::Text),
        (&" ".repeat(TEXT_LIMIT + 1), Damage::Limit),
    ] {
        let purges = Purges::read(text, 50);
        assert_eq!((purges.damage(), purges.newest()), (Some(damage), 50), "{text}");
    }
    let records = |count: usize| {
        let purges: Vec<Purge> = (0..count).map(|n| hard(n as u64, tag(&n.to_string()))).collect();
        Purges::read(&encode(purges.iter()), 50).damage()
    };
    assert_eq!((records(RECORDS_LIMIT), records(RECORDS_LIMIT + 1)), (None, Some(Damage::Limit)));
}
