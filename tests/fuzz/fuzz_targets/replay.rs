//! Lines of an access log: each is counted once, whatever it says.
#![no_main]

use edgeweir::policy::compile;
use edgeweir::replay::{Options, Replay};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let gateway = compile(edgeweir::DEMO_POLICY).expect("the demo compiles");
    let mut replay = Replay::new(&gateway, Options { outcomes: 3 });
    let mut lines = 0;
    for line in text.lines() {
        replay.line(line);
        lines += 1;
    }
    let report = replay.finish();
    assert_eq!(report.lines, lines);
    assert_eq!(report.records, report.same + report.changed + report.undecidable);
    assert!(!report.text().is_empty());
});
