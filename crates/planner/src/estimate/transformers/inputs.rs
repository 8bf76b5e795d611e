//! What a pass is given: token ids, positions, masks. Small beside everything else, until a mask is not.

use super::forward_pass::{ForwardPass, method};
use crate::estimate::{Buffers, Component, EstimateError, Kind, Life, Moment, Scenario};
use crate::spec::{Attention, Basis};

fn kind(life: Life, source: &str) -> Kind<'_> {
    Kind { component: Component::SmallBuffers, life, basis: Basis::Modelled, source }
}

/// int64 ids, positions and padding mask, and where attention takes one the causal
/// masks, one for full and one for windowed layers: 2 bytes a position for eager attention, 1 for SDPA.
pub fn push(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    pass: ForwardPass,
) -> Result<(), EstimateError> {
    let kind =
        kind(Life::During(pass.phase, Moment::Whole), "transformers masking_utils.py, int64 ids");
    let sequences = pass.sequences;
    let ids = [("rows", pass.all_rows()?), ("ids and positions, int64", 2 * 8)];
    buffers.product(kind, "ids and positions", &ids)?;
    let padding = [("sequences", sequences), ("S", pass.seen()?), ("B", 8)];
    buffers.product(kind, "padding mask", &padding)?;
    let (eager, sdpa) = (method(scenario) == Attention::Eager, method(scenario) == Attention::Sdpa);
    for view in pass.views(scenario)? {
        let (sequences, bytes) = match (eager, sdpa && view.masked) {
            (true, _) => (sequences, 2),
            (_, true) => (1, 1),
            _ => continue,
        };
        let factors =
            [("sequences", sequences), ("rows", pass.rows), ("S", view.seen), ("B", bytes)];
        buffers.product(kind, "causal mask", &factors)?;
    }
    Ok(())
}
