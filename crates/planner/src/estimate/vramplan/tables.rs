//! Tables beside the arena: ids, positions, rotations, smoothing, the ring's bookkeeping.

use crate::estimate::BufferId;
use crate::estimate::{Buffers, Component, EstimateError, Kind, Life, Phase, Scenario};
use crate::spec::Basis;

/// Ids, positions and the rotation of a step's rows; per layer the smoothing of
/// key channels and the bookkeeping of the ring.
pub fn push(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    rows: u64,
) -> Result<(), EstimateError> {
    let shape = &scenario.model.shape;
    let kind = Kind {
        component: Component::SmallBuffers,
        life: Life::From(Phase::SystemPrefill),
        basis: Basis::Modelled,
        source: "vramplan engine: tables beside the arena",
    };
    let layers = scenario.full_layers() + scenario.window_layers();
    buffers.product(kind, BufferId::IdsAndPositions, &[("rows", rows), ("int32 each", 2 * 4)])?;
    buffers.product(
        kind,
        BufferId::CosAndSin,
        &[("rows", rows), ("head_dim", shape.head_dim), ("B", 4)],
    )?;
    buffers.product(
        kind,
        BufferId::KeySmoothing,
        &[("layers", layers), ("kv_width", shape.kv_width()), ("B", 4)],
    )?;
    buffers.product(
        kind,
        BufferId::SlotCounters,
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
    buffers.product(kind, BufferId::NextVictims, &victims)?;
    let frequencies = [("head_dim / 2", shape.head_dim / 2), ("B", 4)];
    buffers.product(kind, BufferId::RotationFrequencies, &frequencies)?;
    Ok(())
}
