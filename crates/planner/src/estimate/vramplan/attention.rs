//! Scratch of the fused attention kernels, one layer at a time: one f16 probability per head and conversation slot
//! for the score update, and the partial results of the split over the cache.

use crate::estimate::BufferId;
use crate::estimate::{Buffers, Component, EstimateError, Kind, Life, Scenario};
use crate::spec::Basis;

fn kind(life: Life, source: &str) -> Kind<'_> {
    Kind { component: Component::AttentionTransients, life, basis: Basis::Modelled, source }
}

/// Cached tokens that one block of vramplan's decode kernel reads at a time.
pub const TILE: u64 = 64;
/// Parts into which the decode kernel splits the cache, at most: two blocks for each of 132
/// multiprocessors over 8 KV heads.
pub const MAX_SPLITS: u64 = 33;

const ENGINE: &str = "vramplan engine: split-K decode attention with score tiles";

/// Scratch of vramplan's decode kernels, one layer at a time.
pub fn push_decode(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    life: Life,
    scored: bool,
) -> Result<(), EstimateError> {
    let shape = &scenario.model.shape;
    let (heads, sequences) = (shape.n_heads, scenario.workload.batch);
    let slots = scenario.cache_tokens;
    let kind = kind(life, ENGINE);
    if scored {
        let p = [("n_heads", heads), ("slots", slots), ("sequences", sequences), ("B", 2)];
        buffers.product(kind, BufferId::ScoreProbabilities, &p)?;
        let tiles = slots.div_ceil(TILE);
        let max = [("n_heads", heads), ("tiles", tiles), ("sequences", sequences), ("B", 4)];
        buffers.product(kind, BufferId::TileMaxima, &max)?;
    }
    let partial = [
        ("n_heads", heads),
        ("splits", MAX_SPLITS),
        ("head_dim + 2", shape.value_head_dim() + 2),
        ("sequences", sequences),
        ("B", 4),
    ];
    buffers.product(kind, BufferId::SplitOutputs, &partial)?;
    Ok(())
}

/// Scratch of vramplan's chunked-prefill kernels: the log-sum-exp of every row, and the victims.
pub fn push_prefill(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    life: Life,
    rows: u64,
    scored: bool,
) -> Result<(), EstimateError> {
    let shape = &scenario.model.shape;
    let kind = kind(life, "vramplan engine: chunked-prefill attention with scoring");
    let lse = [("n_heads", shape.n_heads), ("rows", rows), ("B", 4)];
    buffers.product(kind, BufferId::LogSumExp, &lse)?;
    if scored {
        let victims = [("kv_heads", shape.kv_heads), ("rows", rows), ("B", 4)];
        buffers.product(kind, BufferId::ChosenSlots, &victims)?;
    }
    Ok(())
}
