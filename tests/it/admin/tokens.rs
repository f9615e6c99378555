//! The secret `ADMIN_TOKENS`: what is taken, and who is known by it.

use edgeweir::admin::tokens::{Caller, TOKEN_LIMIT, TOKENS_LIMIT, Tokens};
use edgeweir::control::message::Role;
use edgeweir::time::Timestamp;
use proptest::prelude::{Just, any, prop_oneof};
use proptest::strategy::Strategy;
use serde_json::{Value, json};

use super::{entry, token};
use crate::fake::{START, check};

fn parse(entries: &Value) -> Result<Tokens, String> {
    Tokens::parse(&entries.to_string())
}

fn now() -> Timestamp {
    Timestamp::from_millis(START)
}

fn bearer(name: &str) -> String {
    format!("Bearer {}", token(name))
}

#[test]
fn everybody_is_known_by_his_own_token_wherever_it_stands() {
    let names: Vec<String> = (0..TOKENS_LIMIT).map(|index| format!("{index:03}-")).collect();
    let entries: Vec<Value> = names.iter().map(|name| entry(name, "operator")).collect();
    let tokens = parse(&entries.into()).unwrap();
    for name in &names {
        let Caller::Known(found) = tokens.caller(Some(&bearer(name)), now()) else { panic!("{name}") };
        assert_eq!((&found.name, found.role), (name, Role::Operator));
    }
    assert_eq!(tokens.caller(Some(&bearer("nobody")), now()), Caller::Unknown);
}

#[test]
fn nobody_is_known_where_nobody_may() {
    for tokens in [Tokens::default(), parse(&json!([])).unwrap()] {
        assert!(tokens.is_empty());
        assert_eq!(tokens.caller(Some(&bearer("owner")), now()), Caller::Unknown);
        assert_eq!(tokens.caller(None, now()), Caller::Nobody);
    }
}

#[test]
fn each_role_has_one_spelling() {
    for (text, role) in [("reader", Role::Reader), ("operator", Role::Operator), ("owner", Role::Owner)] {
        let tokens = parse(&json!([entry("a", text)])).unwrap();
        assert_eq!(tokens.caller(Some(&bearer("a")), now()).token().unwrap().role, role);
        assert_eq!(role.as_str(), text);
    }
    for text in ["Reader", "admin", "", "owner ", "0"] {
        assert!(parse(&json!([entry("a", text)])).is_err(), "{text}");
    }
}

#[test]
fn hex_is_read_in_either_case_and_in_no_other_form() {
    let mut upper = entry("a", "reader");
    upper["sha256"] = json!(upper["sha256"].as_str().unwrap().to_uppercase());
    let tokens = parse(&json!([upper])).unwrap();
    assert!(tokens.caller(Some(&bearer("a")), now()).token().is_some());
    let hex = entry("a", "reader")["sha256"].as_str().unwrap().to_owned();
    let wrong = [
        hex[1..].to_owned(),
        format!("{hex}0"),
        format!("0x{}", &hex[2..]),
        format!(" {}", &hex[1..]),
        format!("{}g", &hex[1..]),
        format!("+{}", &hex[1..]),
        format!("é{}", &hex[2..]),
        hex.repeat(2),
        String::new(),
        token("a"),
    ];
    for hex in wrong {
        let mut entry = entry("a", "reader");
        entry["sha256"] = json!(hex);
        assert_eq!(
            parse(&json!([entry])).unwrap_err(),
            "ADMIN_TOKENS[0]: expected \"sha256\" to be 64 hex digits"
        );
    }
}

#[test]
fn a_token_expires_to_the_millisecond() {
    let forms = [
        ("2026-01-01T00:00:10Z", 10_000),
        ("2026-01-01T00:00:10.000Z", 10_000),
        ("2026-01-01T00:00:10.250Z", 10_250),
    ];
    for (text, after) in forms {
        let mut entry = entry("a", "reader");
        entry["expires"] = json!(text);
        let tokens = parse(&json!([entry])).unwrap();
        let at = |millis| tokens.caller(Some(&bearer("a")), Timestamp::from_millis(START + millis));
        assert!(matches!(at(0), Caller::Known(_)), "{text}");
        assert!(matches!(at(after - 1), Caller::Known(_)), "{text}");
        assert!(matches!(at(after), Caller::Expired(_)), "{text}");
        assert!(matches!(at(u64::MAX - START), Caller::Expired(_)), "{text}");
        assert!(at(after).token().is_none());
    }
}

#[test]
fn a_moment_is_one_of_the_calendar() {
    let wrong = [
        "",
        "never",
        "2027-01-31",
        "2027-01-31T00:00:00",
        "2027-01-31T00:00:00+0000",
        "2027-01-31T00:00:00.Z",
        "2027-01-31 00:00:00Z",
        "2027-02-29T00:00:00Z",
        "2027-01-31T24:00:00Z",
        "2027-01-31T00:00:60Z",
        "2027-01-31T00:00:00ZZ",
        "2027-01-31T00:00:00.000.000Z",
        "1800000000",
        "２027-01-31T00:00:00Z",
    ];
    for text in wrong {
        let mut entry = entry("a", "reader");
        entry["expires"] = json!(text);
        let error = parse(&json!([entry])).unwrap_err();
        assert!(error.starts_with("ADMIN_TOKENS[0]: expected \"expires\" to be a moment"), "{text}: {error}");
    }
    let mut entry = entry("a", "reader");
    entry["expires"] = json!(1_800_000_000);
    assert!(parse(&json!([entry])).is_err());
    entry["expires"] = Value::Null;
    assert!(matches!(
        parse(&json!([entry])).unwrap().caller(Some(&bearer("a")), Timestamp::from_millis(u64::MAX)),
        Caller::Known(_)
    ));
}

#[test]
fn one_wrong_entry_makes_the_whole_list_unusable() {
    let good = entry("good", "owner");
    let with = |name: &str, value: Value| {
        let mut wrong = entry("wrong", "reader");
        wrong[name] = value;
        wrong
    };
    let without = |name: &str| {
        let mut wrong = entry("wrong", "reader");
        wrong.as_object_mut().unwrap().remove(name);
        wrong
    };
    let digest = good["sha256"].clone();
    let wrong = [
        json!(null),
        json!("good"),
        json!(["wrong", "reader", entry("wrong", "reader")["sha256"]]),
        without("name"),
        without("role"),
        without("sha256"),
        with("expire", json!("2027-01-31T00:00:00Z")),
        with("token", json!("x")),
        with("name", json!("")),
        with("name", json!("n".repeat(65))),
        with("name", json!("a\nb")),
        with("name", json!(7)),
        with("name", json!("good")),
        with("role", json!(["owner"])),
        with("role", json!({"owner": null})),
        with("sha256", json!([1])),
        with("sha256", digest),
    ];
    for entry in wrong {
        assert!(parse(&json!([good, entry])).is_err(), "{entry}");
        assert!(parse(&json!([entry, good])).is_err(), "{entry}");
    }
    let many = Value::from(vec![good; TOKENS_LIMIT + 1]);
    assert_eq!(parse(&many).unwrap_err(), "ADMIN_TOKENS: expected at most 100 entries");
}

#[test]
fn the_secret_is_a_list_and_nothing_else() {
    let twice = entry("a", "reader").to_string().replacen('{', "{\"role\":\"owner\",", 1);
    for text in ["", " ", "{}", "null", "\"x\"", "[", "[]x", "[] []", "\u{feff}[]", &format!("[{twice}]")] {
        let error = Tokens::parse(text).unwrap_err();
        assert!(error.starts_with("ADMIN_TOKENS: expected a JSON list of {name, role,"), "{error}");
    }
    assert!(Tokens::parse(" [] \n").unwrap().is_empty());
    assert!(Tokens::parse(&"[".repeat(100_000)).is_err());
}

/// Somebody may have written a token where something else should stand.
#[test]
fn no_error_repeats_any_of_the_secret() {
    let secret = token("secret");
    let full = entry("a", "reader");
    let mut texts = vec![secret.clone(), json!(secret).to_string(), json!([secret]).to_string()];
    texts.push(json!({secret.clone(): "x"}).to_string());
    texts.push(format!("[{{\"name\": \"{secret}"));
    for name in ["name", "role", "sha256", "expires"] {
        let mut entry = full.clone();
        entry[name] = json!(secret);
        // Two of one name are wrong, too.
        texts.push(json!([entry, entry]).to_string());
    }
    let mut entry = full;
    entry[secret.clone()] = json!("x");
    texts.push(json!([entry]).to_string());
    texts.push(format!("[{{\"{secret}\":1,\"{secret}\":2}}]"));
    for text in texts {
        let error = Tokens::parse(&text).unwrap_err();
        assert!(!error.contains("secret"), "{error}");
        assert!(error.len() < 200, "{error}");
    }
}

#[test]
fn a_token_comes_as_bearer_and_in_no_other_way() {
    let tokens = parse(&json!([entry("a", "reader")])).unwrap();
    let token = token("a");
    for field in [format!("Bearer {token}"), format!("bearer {token}"), format!("BEARER  {token} ")] {
        assert!(matches!(tokens.caller(Some(&field), now()), Caller::Known(_)), "{field}");
    }
    for field in [
        String::new(),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        token.clone(),
        format!(" Bearer {token}"),
        format!("Bearer\t{token}"),
        format!("Basic {token}"),
        format!("Token {token}"),
        format!("Bearer={token}"),
    ] {
        assert_eq!(tokens.caller(Some(&field), now()), Caller::Nobody, "{field}");
    }
    for field in [
        format!("Bearer {token}, Bearer {token}"),
        format!("Bearer \"{token}\""),
        format!("Bearer {}", token.to_uppercase()),
        format!("Bearer {}", &token[1..]),
        format!("Bearer {token}x"),
        format!("Bearer {token}\0"),
        format!("Bearer {}", "x".repeat(TOKEN_LIMIT + 1)),
        "Bearer x".to_owned(),
    ] {
        assert_eq!(tokens.caller(Some(&field), now()), Caller::Unknown, "{field}");
    }
}

#[test]
fn a_digest_is_no_token() {
    let entry = entry("a", "reader");
    let tokens = parse(&json!([entry])).unwrap();
    let field = format!("Bearer {}", entry["sha256"].as_str().unwrap());
    assert_eq!(tokens.caller(Some(&field), now()), Caller::Unknown);
}

#[test]
fn whatever_is_given_is_taken_or_refused() {
    let json = prop_oneof![
        any::<String>(),
        Just(entry("a", "reader").to_string()),
        any::<String>().prop_map(|text| json!([{"name": text, "role": "owner", "sha256": text}]).to_string()),
        any::<String>().prop_map(|text| {
            let mut entry = entry("a", "owner");
            entry["expires"] = json!(text);
            json!([entry]).to_string()
        }),
    ];
    check(512, (json, any::<String>(), any::<u64>()), |(text, field, at)| {
        let tokens = Tokens::parse(&text).unwrap_or_default();
        let caller = tokens.caller(Some(&field), Timestamp::from_millis(at));
        proptest::prop_assert!(caller.token().is_none());
        Ok(())
    });
}
