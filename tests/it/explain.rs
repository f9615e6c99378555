//! What an explanation says, and that the journey agrees.

mod drift;
mod request;
mod said;
pub mod worlds;

use edgeweir::explain::explanation::{Explanation, Stage};
use edgeweir::explain::{Context, ExplainRequest, explain};

use crate::fake::{Gate, block_on};

/// Explains against the gate's policy and counters, as the next request.
pub fn explained(gate: &Gate, request: &ExplainRequest) -> Explanation {
    let context = Context {
        gateway: &gate.snapshot.gateway,
        sets: gate.snapshot.sets(),
        bans: gate.snapshot.bans.as_deref(),
        revision: &gate.snapshot.revision,
        isolate: &gate.isolate,
        fresh: gate.fresh(),
    };
    block_on(explain(request, &context, &gate.platform))
}

fn stage<'a>(explanation: &'a Explanation, name: &str) -> &'a Stage {
    explanation.stages.iter().find(|stage| stage.stage == name).unwrap()
}
