//! What the engine's arena holds of one layer: nothing is summed over layers, because a layer's results are
//! overwritten by the next. f32: the residual, its norm, and either q, k, v and the output, or gate and up.

use crate::estimate::BufferId;
use crate::estimate::{
    Buffers, Component, EstimateError, Formula, Kind, Life, Moment, Phase, Scenario,
};
use crate::spec::{Basis, Bounds};
use crate::units::Bytes;

const ENGINE: &str = "vramplan engine: f32 activations in one arena";

fn kind(life: Life, source: &str) -> Kind<'_> {
    Kind { component: Component::Activations, life, basis: Basis::Modelled, source }
}

/// Rows of the quantized activations of candle's matrix kernels: up to this many go to the
/// matrix-vector kernels (`fast_mmvq.rs`, `MMVQ_MAX_BATCH`).
const MMVQ_MAX_ROWS: u64 = 8;

/// The arena's contents in one layer. The output projections of attention and of the
/// MLP write where the norm was, which is read by then; the activation overwrites the gate.
pub fn push_layer(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    phase: Phase,
    rows: u64,
) -> Result<(), EstimateError> {
    let shape = &scenario.model.shape;
    let hidden = shape.hidden_size;
    let whole = kind(Life::During(phase, Moment::Whole), ENGINE);
    buffers.product(
        whole,
        BufferId::ResidualAndNorm,
        &[("rows", rows), ("2 hidden", 2 * hidden), ("B", 4)],
    )?;
    let attention = kind(Life::During(phase, Moment::Attention), ENGINE);
    let output = shape.attention_width();
    let values = if shape.mla.is_some() {
        shape.kv_heads * shape.value_head_dim()
    } else {
        shape.kv_width()
    };
    let qkv = shape.q_width() + shape.kv_width() + values;
    buffers.product(
        attention,
        BufferId::AttentionProjections,
        &[("rows", rows), ("2 q_width + 2 kv_width", qkv + output), ("B", 4)],
    )?;
    let mlp = kind(Life::During(phase, Moment::FeedForward), ENGINE);
    let width = shape.mlp_width();
    let gate = if shape.gated_ffn { 2 } else { 1 };
    buffers.product(
        mlp,
        BufferId::GateAndUp,
        &[("rows", rows), ("gate and up", gate * width), ("B", 4)],
    )?;
    Ok(())
}

/// On a GPU: scratch of candle's kernels for quantized matrices, allocated once.
///
/// Activations in 8 bits take `rows · pad512(width) / 128 · 144` bytes; a step of more than 8 rows takes a
/// tile of them more, 128 · 144 bytes, and a tile of partial products, 128 × 128 f32, for each
/// multiprocessor (candle-core `quantized/fast_mmvq.rs`, `fast_mmq.rs`).
pub fn push_products(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    rows: u64,
) -> Result<(), EstimateError> {
    if scenario.gpu.is_main_memory() {
        return Ok(());
    }
    let shape = &scenario.model.shape;
    let width = shape.hidden_size.max(shape.q_width()).max(shape.mlp_width());
    let padded = width.next_multiple_of(512);
    let kind = kind(
        Life::From(Phase::SystemPrefill),
        "candle-core quantized/fast_mmq.rs, fast_mmvq.rs: what their kernels take",
    );
    let size = Bytes::product(&[rows, padded / 128, 144])?;
    let symbols = [("rows", rows), ("width", padded)];
    if rows <= MMVQ_MAX_ROWS {
        let formula = Formula::text("rows · width / 128 · 144 B", &symbols);
        buffers.push(kind, BufferId::EightBitActivations, Bounds::exactly(size), formula);
        return Ok(());
    }
    let size = size.plus(Bytes::new(128 * 144))?;
    let formula = Formula::text("rows · width / 128 · 144 B + 128 · 144 B", &symbols);
    buffers.push(kind, BufferId::EightBitActivations, Bounds::exactly(size), formula);
    let tiles = [("multiprocessors", scenario.gpu.sm_count.value), ("tile", 128 * 128), ("B", 4)];
    buffers.product(kind, BufferId::PartialProducts, &tiles)?;
    Ok(())
}
