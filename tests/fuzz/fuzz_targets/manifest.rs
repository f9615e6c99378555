//! A manifest that is read survives being written; the metadata begins behind
//! the first line break, if there is one.
#![no_main]

use edgeweir::policy::manifest::Manifest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (metadata, value) = match text.split_once('\n') {
        Some((metadata, value)) => (Some(metadata), value),
        None => (None, text),
    };
    let Ok(manifest) = Manifest::parse(value, metadata) else { return };
    // What fits the metadata is good without it.
    assert_eq!(Manifest::parse(value, None).as_ref(), Ok(&manifest));
    let (value, metadata) = manifest.encode().expect("a manifest that was read can be written");
    assert_eq!(Manifest::parse(&value, Some(&metadata)), Ok(manifest));
    assert!(Manifest::parse(&format!("{value} "), Some(&metadata)).is_err());
});
