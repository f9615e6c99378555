//! The manifest: what the store holds.

use edgeweir::policy::manifest::{ACTIVE_KEY, FORMAT, MODULE_VERSION, Manifest};
use proptest::prelude::*;
use serde_json::json;

use crate::fake::check;

fn manifest() -> Manifest {
    Manifest::new(7, "r7", "{\"version\":1}")
}

#[test]
fn the_public_names() {
    assert_eq!((ACTIVE_KEY, FORMAT), ("active", 1));
    assert_eq!(MODULE_VERSION, env!("CARGO_PKG_VERSION"));
}

#[test]
fn a_manifest_survives_its_text() {
    check(500, (any::<u64>(), "[!#-~]{1,64}", "[a-z가\"\\\\]{0,9}"), |(sequence, revision, text)| {
        let manifest = Manifest::new(sequence, revision, json!({"message": text, "n": 1.50}).to_string());
        let (value, metadata) = manifest.encode().unwrap();
        prop_assert_eq!(Manifest::parse(&value, Some(&metadata)), Ok(manifest.clone()));
        prop_assert_eq!(Manifest::parse(&value, None), Ok(manifest));
        Ok(())
    });
}

#[test]
fn the_policy_stays_text_as_it_was_written() {
    let policy = "{ \"version\" : 1,\n \"x\": 1.0e2 }";
    let value = format!(r#"{{"format":1,"sequence":1,"policy":{policy}}}"#);
    let read = Manifest::parse(&value, None).unwrap();
    assert_eq!((read.policy.as_str(), read.revision.as_str()), (policy, "s1"));
    assert!(Manifest { policy: "{".to_owned(), ..manifest() }.encode().is_err());
}

#[test]
fn the_metadata_has_to_fit() {
    let (value, metadata) = manifest().encode().unwrap();
    let hash = metadata.split('"').nth(5).unwrap().to_owned();
    assert_eq!(hash.len(), 64);
    for good in [
        "{}".to_owned(),
        "{\"sequence\":7}".to_owned(),
        format!("{{\"hash\":\"{}\"}}", hash.to_uppercase()),
        "{\"sequence\":null,\"other\":1}".to_owned(),
    ] {
        assert!(Manifest::parse(&value, Some(&good)).is_ok(), "{good}");
    }
    for bad in [
        "".to_owned(),
        "null".to_owned(),
        "[1".to_owned(),
        "{\"sequence\":8}".to_owned(),
        "{\"sequence\":\"7\"}".to_owned(),
        "{\"hash\":\"\"}".to_owned(),
        format!("{{\"hash\":\"{}\"}}", &hash[1..]),
    ] {
        assert!(Manifest::parse(&value, Some(&bad)).is_err(), "{bad}");
    }
}

/// A value that was damaged in any byte is not taken.
#[test]
fn a_damaged_value_is_seen() {
    let (value, metadata) = manifest().encode().unwrap();
    check(300, (0..value.len(), any::<char>()), |(at, instead)| {
        let mut damaged = value.clone();
        damaged.replace_range(at..=at, &instead.to_string());
        prop_assume!(damaged != value);
        prop_assert!(Manifest::parse(&damaged, Some(&metadata)).is_err());
        Ok(())
    });
}

#[test]
fn each_field_is_checked() {
    let whole = |change: &str| {
        let mut fields = vec![
            ("format", "1"),
            ("sequence", "7"),
            ("revision", "\"r7\""),
            ("module", "\"0.1.0\""),
            ("policy", "{}"),
        ];
        let (name, instead) = change.split_once('=').unwrap();
        fields.retain(|(field, _)| *field != name);
        if !instead.is_empty() {
            fields.push((name, instead));
        }
        let fields: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        format!("{{{}}}", fields.join(","))
    };
    for good in [
        "revision=",
        "module=",
        "module=\"0.0.9\"",
        "module=\"0.1.0\"",
        "policy=null",
        "sequence=0",
        "sequence=18446744073709551615",
    ] {
        assert!(Manifest::parse(&whole(good), None).is_ok(), "{good}");
    }
    for bad in [
        "format=",
        "format=2",
        "format=0",
        "format=\"1\"",
        "sequence=",
        "sequence=-1",
        "sequence=1.5",
        "sequence=18446744073709551616",
        "sequence=\"7\"",
        "revision=\"\"",
        "revision=7",
        "revision=\"a b\"",
        "revision=\"a\\n\"",
        "revision=\"가\"",
        "revision=\"a\\\"\"",
        "module=\"0.2.1\"",
        "module=\"1.0.0\"",
        "module=\"99999999999.0.0\"",
        "module=\"0.1\"",
        "module=\"x\"",
        "policy=",
        "other=1",
    ] {
        assert!(Manifest::parse(&whole(bad), None).is_err(), "{bad}");
    }
    assert!(Manifest::parse(&whole(&format!("revision=\"{}\"", "a".repeat(64))), None).is_ok());
    assert!(Manifest::parse(&whole(&format!("revision=\"{}\"", "a".repeat(65))), None).is_err());
    let twice = "{\"format\":1,\"sequence\":7,\"sequence\":8,\"policy\":{}}";
    assert!(Manifest::parse(twice, None).is_err());
}

#[test]
fn no_text_panics() {
    check(1_000, (any::<String>(), any::<Option<String>>()), |(value, metadata)| {
        prop_assert!(Manifest::parse(&value, metadata.as_deref()).is_err());
        Ok(())
    });
}
