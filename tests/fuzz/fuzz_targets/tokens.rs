//! The list of admin tokens: whatever it says, only a token whose digest
//! stands in it is known, and an error repeats nothing of it.
#![no_main]

use edgeweir::admin::tokens::Tokens;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match Tokens::parse(text) {
        Ok(tokens) => {
            // Nobody knows a preimage of a digest that a fuzzer wrote.
            for guess in ["", "weir_", text] {
                assert!(tokens.find(guess).is_none());
            }
        }
        Err(why) => {
            let secret = text.split('"').find(|part| part.len() > 20 && !why.starts_with(part));
            assert!(secret.is_none_or(|secret| !why.contains(secret)));
        }
    }
});
