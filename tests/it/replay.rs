//! What a candidate would have done: over logs that the gateway itself wrote,
//! and over lines that somebody else did.

mod limits;
mod lines;
mod log;

use edgeweir::policy::compile;
use edgeweir::replay::{Options, Replay, Report, Verdict};
use serde_json::Value;

use crate::fake::Gate;

/// Replays lines against a policy; every record is told.
fn replay(policy: &Value, lines: &[String]) -> (Vec<Verdict>, Report) {
    let gateway = compile(&policy.to_string()).unwrap_or_else(|error| panic!("{error}"));
    let mut replay = Replay::new(&gateway, Options { outcomes: 1_000 });
    let verdicts = lines.iter().map(|line| replay.line(line)).collect();
    (verdicts, replay.finish())
}

/// Sends requests for a target from addresses, a second apart; gives the log.
fn log_of(gate: &Gate, target: &str, clients: &[&str]) -> Vec<String> {
    use crate::fake::{With, get};
    let lines = clients.iter().map(|client| {
        gate.platform.advance(1_000);
        gate.send(&get(target).from(client)).1.line()
    });
    lines.collect()
}
