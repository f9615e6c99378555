//! The manifest: what the store holds.

use edgeweir::policy::manifest::{
    ACTIVE_KEY, FORMAT, MODULE_VERSION, Manifest, PartRef, part_key, sha256_hex,
};
use edgeweir::policy::needs::Version;
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
        // What a later version adds.
        "other=1",
        "sets={\"generation\":1,\"parts\":[]}",
        "bans={\"generation\":1,\"set\":\"\"}",
        "alerts=[]",
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
        "module=\"0.3.1\"",
        "module=\"1.0.0\"",
        "module=\"99999999999.0.0\"",
        "module=\"0.1\"",
        "module=\"x\"",
        "policy=",
        "sets={\"generation\":1}",
        "sets={\"generation\":1,\"parts\":[{\"hash\":\"a\",\"bytes\":1}]}",
        "bans={\"generation\":-1,\"set\":\"\"}",
        "alerts=[{}]",
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

/// What belongs to the policy stands there by hash and length, and only where
/// there is any.
#[test]
fn parts_survive_and_are_checked() {
    let part = PartRef::of(b"one");
    assert_eq!(part.hash, sha256_hex(b"one"));
    assert!(part.fits(b"one"));
    for other in [&b"on"[..], b"One", b"one ", b""] {
        assert!(!part.fits(other));
    }
    assert_eq!(part_key(&part.hash), format!("part:{}", part.hash));
    let with = Manifest { parts: vec![part.clone(), PartRef::of(b"")], ..manifest() };
    let (value, metadata) = with.encode().unwrap();
    assert_eq!(Manifest::parse(&value, Some(&metadata)), Ok(with));
    assert!(!manifest().encode().unwrap().0.contains("parts"));
    let parts = |parts: serde_json::Value| {
        let value = json!({"format": 1, "sequence": 7, "parts": parts, "policy": {"version": 1}}).to_string();
        Manifest::parse(&value, None).map(|manifest| manifest.parts.len())
    };
    let hash = &part.hash;
    assert_eq!(parts(json!([])), Ok(0));
    assert_eq!(parts(json!(vec![json!({"hash": hash, "bytes": 1 << 20}); 64])), Ok(64));
    for bad in [
        json!(vec![json!({"hash": hash, "bytes": 1}); 65]),
        json!([{"hash": hash, "bytes": (1 << 20) + 1}]),
        json!([{"hash": hash, "bytes": -1}]),
        json!([{"hash": hash}]),
        json!([{"bytes": 1}]),
        json!([{"hash": hash.to_uppercase(), "bytes": 1}]),
        json!([{"hash": &hash[1..], "bytes": 1}]),
        json!([{"hash": "../../../../active/../../../../active/../../../../active/../../../../", "bytes": 1}]),
        json!([hash]),
        json!({}),
        json!(null),
    ] {
        assert!(parts(bad.clone()).is_err(), "{bad}");
    }
}

/// What a document needs, not what wrote it.
#[test]
fn the_module_is_what_the_policy_needs() {
    for (policy, needs) in [
        ("{\"version\":1}", "0.1.0"),
        ("{\"version\":1,\"admin\":{}}", "0.2.0"),
        ("{\"version\":1,\"refresh\":{\"source\":\"control\"}}", "0.2.0"),
        ("{\"version\":1,\"refresh\":{\"source\":\"kv\"}}", "0.1.0"),
        ("{\"version\":1,\"refresh\":{\"on_failure\":\"last_good\"}}", "0.2.0"),
    ] {
        let (value, _) = Manifest::new(1, "r1", policy).encode().unwrap();
        assert!(value.contains(&format!("\"module\":\"{needs}\"")), "{value}");
    }
}

/// A value that is known to be what was written, and that this module cannot
/// use, is told from a damaged one.
#[test]
fn what_is_authentic_and_what_is_damaged() {
    let newer = Manifest { module: Some(Version(9, 0, 0)), ..manifest() };
    let (value, metadata) = newer.encode().unwrap();
    let error = Manifest::parse(&value, Some(&metadata)).unwrap_err();
    assert_eq!((error.sequence, error.reason.contains("needs module \"9.0.0\"")), (Some(7), true));
    assert_eq!(Manifest::parse(&value, None).unwrap_err().sequence, None);
    assert_eq!(Manifest::parse(&value[1..], Some(&metadata)).unwrap_err().sequence, None);
    // A form of later, whatever it looks like.
    let value = "{\"format\":2,\"sequence\":9}";
    let metadata = json!({"sequence": 9, "hash": sha256_hex(value.as_bytes())}).to_string();
    assert_eq!(Manifest::parse(value, Some(&metadata)).unwrap_err().sequence, Some(9));
}
