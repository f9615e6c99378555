//! A job of warming, and what became of it, are read as they were written.
#![no_main]

use edgeweir::gateway::warm::{Job, Warmed};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Some(job) = Job::decode(text) {
        assert_eq!(Job::decode(&job.encode()), Some(job));
    }
    if let Some(warmed) = Warmed::decode(text) {
        assert_eq!(Warmed::decode(&warmed.encode()), Some(warmed));
    }
});
