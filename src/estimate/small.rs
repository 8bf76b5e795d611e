//! What is small beside everything else, until a mask is not: token ids, positions, `RoPE` tables,
//! masks, samplers.

use super::{Buffers, Component, EstimateError, Kind, Life, Moment, Phase, Scenario};
use crate::spec::Basis;

fn kind(life: Life, source: &str) -> Kind<'_> {
    Kind { component: Component::SmallBuffers, life, basis: Basis::Modelled, source }
}

/// transformers: int64 ids, positions and padding mask, and where attention takes one a causal mask
/// of `mask_bytes` a position.
pub fn transformers(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    phase: Phase,
    rows: u64,
    seen: u64,
    mask_bytes: u64,
) -> Result<(), EstimateError> {
    let kind = kind(Life::During(phase, Moment::Whole), "transformers masking_utils.py, int64 ids");
    let sequences = scenario.workload.batch;
    buffers.product(kind, "ids and positions", &[("rows", rows), ("int64 each", 2 * 8)])?;
    buffers.product(kind, "padding mask", &[("sequences", sequences), ("S", seen), ("B", 8)])?;
    buffers.product(kind, "causal mask", &[("rows", rows), ("S", seen), ("B", mask_bytes)])?;
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
    let layers = scenario.model.full_layers() + scenario.model.window_layers();
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
    Ok(())
}
