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
            // Only numbers of ours stand in it beside fixed words.
            let fixed: String = why.chars().filter(|character| !character.is_ascii_digit()).collect();
            assert!(
                [
                    "ADMIN_TOKENS: expected a JSON list of {name, role, sha, expires}, the role one of reader, operator and owner",
                    "ADMIN_TOKENS[]: expected {name, role, sha, expires}, the role one of reader, operator and owner",
                    "ADMIN_TOKENS: expected at most  entries",
                    "ADMIN_TOKENS[]: expected a name of its own of  to  bytes",
                    "ADMIN_TOKENS[]: expected \"sha\" to be  hex digits",
                    "ADMIN_TOKENS[]: expected a \"sha\" of its own",
                    "ADMIN_TOKENS[]: expected \"expires\" to be a moment such as --T::Z (RFC )",
                ]
                .contains(&fixed.as_str()),
                "{why}"
            );
        }
    }
});
