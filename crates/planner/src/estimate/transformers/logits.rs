//! Logits: `vocab_size` values for the last position of every sequence, or for every position.
//!
//! transformers holds the 16-bit logits beside the last layer's output, twice where they are scaled
//! or soft-capped; `generate` (`logits_to_keep=1`) then an f32 copy of the last position's. Before 4.45
//! a pass computed those of all positions and copied them to f32.

use super::forward_pass::ForwardPass;
use super::largest_instant::Instant;
use crate::estimate::{Buffers, Component, EstimateError, Kind, Life, Moment, Phase, Scenario};
use crate::spec::{Basis, Logits, ModelShape, TransformersVersion};

fn kind(phase: Phase, source: &str) -> Kind<'_> {
    Kind {
        component: Component::Logits,
        life: Life::During(phase, Moment::Output),
        basis: Basis::Modelled,
        source,
    }
}

/// A bare forward pass over all positions, or `generate`, which copies the last
/// position's logits to f32 once the pass is over.
pub fn push(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    pass: ForwardPass,
) -> Result<(), EstimateError> {
    let shape = &scenario.model.shape;
    let rows = pass.all_rows()?;
    let all = scenario.runtime.options.stack().transformers == TransformersVersion::AllLogits;
    let positions = if all { rows } else { scenario.logit_positions(rows, pass.sequences) };
    let factors =
        |bytes| [("positions", positions), ("vocab_size", shape.vocab_size), ("B", bytes)];
    let hidden = |instant: Instant| {
        let factors = [("rows", rows), ("hidden", shape.hidden_size), ("B", 2)];
        instant.and(Component::Activations, "normed output of the last layer", &factors)
    };
    let logits = Component::Logits;
    let written = Instant::default().and(logits, "logits", &factors(2 * written_copies(shape)))?;
    let mut instants = vec![hidden(written)?];
    if all {
        let copied = Instant::default().and(logits, "logits and their f32 copy", &factors(6))?;
        instants.push(hidden(copied)?);
    }
    if scenario.workload.logits == Logits::Last {
        let name = "logits and their f32 copy";
        instants.push(Instant::default().and(logits, name, &factors(6))?);
    }
    let source = "transformers modeling_*.py, generation/utils.py";
    Ok(Instant::push_largest(instants, buffers, kind(pass.phase, source))?)
}

/// 16-bit copies of the logits that are alive together: scaling and soft-capping read one and write
/// another.
const fn written_copies(shape: &ModelShape) -> u64 {
    if shape.architecture.family().scales.logits || shape.logit_softcap { 2 } else { 1 }
}
