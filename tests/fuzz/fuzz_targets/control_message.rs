//! Whatever text reaches the `Control` object, it answers with an answer, and
//! what it reads can be written and read again.
#![no_main]

use edgeweir::control::message::{LEAST, PROTOCOL, decode_request, encode_request};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for protocol in LEAST..=PROTOCOL {
        match decode_request(text, protocol) {
            Ok(request) => {
                assert!((LEAST..=protocol).contains(&request.version));
                let again = decode_request(&encode_request(&request.action), PROTOCOL);
                assert_eq!(again.expect("what was written can be read").action, request.action);
            }
            Err(refused) => assert!(!refused.reason.as_str().is_empty()),
        }
    }
});
