//! What is small beside everything else, until a mask is not: token ids, positions, `RoPE` tables,
//! masks, samplers.

use super::pass::{Pass, method};
use super::{Buffers, Component, EstimateError, Kind, Life, Moment, Phase, Scenario};
use crate::spec::{Attention, Basis};

fn kind(life: Life, source: &str) -> Kind<'_> {
    Kind { component: Component::SmallBuffers, life, basis: Basis::Modelled, source }
}

/// transformers: int64 ids, positions and padding mask, and where attention takes one the causal
/// masks, one for full and one for windowed layers: 2 bytes a position for eager attention, 1 for SDPA.
pub fn transformers(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    pass: Pass,
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

/// vramplan's engine: ids, positions and the rotation of a step's rows; per layer the smoothing of
/// key channels and the bookkeeping of the ring.
pub fn engine(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    rows: u64,
) -> Result<(), EstimateError> {
    let shape = &scenario.model.shape;
    let kind = kind(Life::From(Phase::SystemPrefill), "vramplan engine: tables beside the arena");
    let layers = scenario.full_layers() + scenario.window_layers();
    buffers.product(kind, "ids and positions", &[("rows", rows), ("int32 each", 2 * 4)])?;
    buffers.product(
        kind,
        "cos and sin",
        &[("rows", rows), ("head_dim", shape.head_dim), ("B", 4)],
    )?;
    buffers.product(
        kind,
        "smoothing of key channels",
        &[("layers", layers), ("kv_width", shape.kv_width()), ("B", 4)],
    )?;
    buffers.product(
        kind,
        "slot counters and victims",
        &[
            ("layers", layers),
            ("kv_heads + 2", shape.kv_heads + 2),
            ("sequences", scenario.workload.batch),
            ("B", 4),
        ],
    )?;
    if scenario.gpu.is_main_memory() {
        return Ok(());
    }
    let victims = [("layers", layers), ("kv_heads", shape.kv_heads), ("B", 8)];
    buffers.product(kind, "victims of the next token", &victims)?;
    let frequencies = [("head_dim / 2", shape.head_dim / 2), ("B", 4)];
    buffers.product(kind, "rotation frequencies", &frequencies)?;
    Ok(())
}
