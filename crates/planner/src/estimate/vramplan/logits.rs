//! Logits in f32: `vocab_size` values for the last position of every sequence, or for every position.

use crate::estimate::BufferId;
use crate::estimate::{Buffers, Component, EstimateError, Kind, Life, Moment, Phase, Scenario};
use crate::spec::Basis;

/// Lists the logits of a step.
pub fn push(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    phase: Phase,
    rows: u64,
    sequences: u64,
) -> Result<(), EstimateError> {
    let positions = scenario.logit_positions(rows, sequences);
    let vocab = scenario.model.shape.vocab_size;
    buffers.product(
        Kind {
            component: Component::Logits,
            life: Life::During(phase, Moment::Output),
            basis: Basis::Modelled,
            source: "vramplan engine: f32 logits",
        },
        BufferId::Logits,
        &[("positions", positions), ("vocab_size", vocab), ("B", 4)],
    )?;
    Ok(())
}
