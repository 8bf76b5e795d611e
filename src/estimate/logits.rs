//! Logits: `vocab_size` values for the last position of every sequence, or for every position.
//!
//! transformers keeps the 16-bit logits and an f32 copy of the last position's (`generation/utils.py`,
//! `logits_to_keep=1`); over all positions a bare forward pass holds 16 bits a value, 6 bytes where
//! they are cast. vramplan's engine writes f32.

use super::{Buffers, Component, EstimateError, Formula, Kind, Life, Moment, Phase, Scenario};
use crate::spec::{Basis, Bounds, Logits};
use crate::units::Bytes;

fn kind(phase: Phase, source: &str) -> Kind<'_> {
    Kind {
        component: Component::Logits,
        life: Life::During(phase, Moment::Output),
        basis: Basis::Modelled,
        source,
    }
}

/// Positions that get logits in a step.
fn positions(scenario: &Scenario<'_>, rows: u64, sequences: u64) -> u64 {
    if scenario.workload.logits == Logits::All { rows } else { sequences.min(rows) }
}

/// transformers.
pub fn transformers(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    phase: Phase,
    rows: u64,
) -> Result<(), EstimateError> {
    let vocab = scenario.model.shape.vocab_size;
    let positions = positions(scenario, rows, scenario.workload.batch);
    let size = |bytes| Bytes::product(&[positions, vocab, bytes]);
    let source = "transformers generation/utils.py: 16-bit logits and their f32 copy";
    let all = scenario.workload.logits == Logits::All && positions > scenario.workload.batch;
    let (bytes, bounds) = if all {
        (2, Bounds::new(size(2)?, size(2)?, size(6)?))
    } else {
        (6, Bounds::new(size(2)?, size(6)?, size(6)?))
    };
    let formula =
        Formula::product(&[("positions", positions), ("vocab_size", vocab), ("B", bytes)]);
    buffers.push(kind(phase, source), "logits", bounds, formula);
    hidden_states(buffers, scenario, phase, rows, 2)
}

/// vramplan's engine.
pub fn engine(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    phase: Phase,
    rows: u64,
    sequences: u64,
) -> Result<(), EstimateError> {
    let positions = positions(scenario, rows, sequences);
    let vocab = scenario.model.shape.vocab_size;
    buffers.product(
        kind(phase, "vramplan engine: f32 logits"),
        "logits",
        &[("positions", positions), ("vocab_size", vocab), ("B", 4)],
    )?;
    Ok(())
}

/// The last layer's output, alive beside the logits.
fn hidden_states(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    phase: Phase,
    rows: u64,
    bytes: u64,
) -> Result<(), EstimateError> {
    let kind =
        Kind { component: Component::Activations, ..kind(phase, "output of the last layer") };
    let factors = [
        ("rows", rows),
        ("residual and norm", 2),
        ("hidden", scenario.model.shape.hidden_size),
        ("B", bytes),
    ];
    buffers.product(kind, "hidden states before the output head", &factors)?;
    Ok(())
}
