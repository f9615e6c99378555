//! Tokens of `Weir-Cache-Bypass`: whatever a stranger sends, none is good
//! without the key, and a token has one text.
#![no_main]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use edgeweir::stages::cache::bypass_token::{BypassKey, BypassRefusal, BypassToken};
use edgeweir::stages::target::parse;
use edgeweir::time::Timestamp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let key = BypassKey::new("a key that no fuzzer can have found by now").unwrap();
    let target = parse("https://app.example/a", None).unwrap();
    let said = key.judge(text, &target, Timestamp::from_seconds(1_767_225_600)).unwrap_err();
    match BypassToken::parse(text) {
        None => assert_eq!(said, BypassRefusal::Malformed),
        Some(token) => {
            assert_eq!(said, BypassRefusal::Signature);
            let (scope, mac) = (URL_SAFE_NO_PAD.encode(token.scope), URL_SAFE_NO_PAD.encode(token.mac));
            assert_eq!(format!("v1.{}.{scope}.{mac}", token.expires), text);
        }
    }
});
