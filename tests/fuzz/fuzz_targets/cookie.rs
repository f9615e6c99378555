//! The sticky cookie among any others, against a plain reading.
#![no_main]

use edgeweir::exchange::cookie;
use libfuzzer_sys::fuzz_target;

/// The first pair `w=…`, byte by byte.
fn plain(field: &str) -> Option<String> {
    let mut pairs = vec![String::new()];
    for character in field.chars() {
        if matches!(character, ';' | ',') {
            pairs.push(String::new());
        } else if let Some(pair) = pairs.last_mut() {
            pair.push(character);
        }
    }
    for pair in pairs {
        let pair = pair.trim_matches([' ', '\t']);
        if let Some(value) = pair.strip_prefix("w=") {
            let quoted = value.len() >= 2 && value.starts_with('"') && value.ends_with('"');
            return Some(if quoted { value[1..value.len() - 1].to_owned() } else { value.to_owned() });
        }
    }
    None
}

fuzz_target!(|field: &str| {
    assert_eq!(cookie(field, "w").map(str::to_owned), plain(field));
    // Nothing behind it changes what is found first.
    if let Some(value) = cookie(field, "w") {
        assert_eq!(cookie(&format!("{field}; w=00000000"), "w"), Some(value));
    }
});
