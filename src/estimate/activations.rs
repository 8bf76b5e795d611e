//! The intermediate results of one decoder layer: nothing is summed over layers, because a layer's
//! results are freed before the next layer runs.
//!
//! transformers (16 bits): `2 · rows · (3·ffn + 4·hidden) + 4 · rows · head_dim` at the MLP (gate,
//! its activation and up; embeddings, the layer's input, the residual and its norm; cos and sin), one
//! `ffn` more where gate and up are one projection, one fewer without a gate. Compared with a
//! live-storage tracker over the real code in `tests/engines/transformers`. vramplan's engine (f32): the
//! residual, its norm, and either q, k, v and the output, or gate and up.

use super::instant::Instant;
use super::pass::Pass;
use super::{
    Buffers, Component, EstimateError, Formula, Kind, Life, Moment, Phase, Scenario,
    expert_modules, experts,
};
use crate::spec::{Basis, Bounds, ModelShape, TransformersVersion};
use crate::units::Bytes;

const TRANSFORMERS: &str =
    "transformers modeling_*.py and integrations/moe.py, live-storage tracker over a forward pass";
const ENGINE: &str = "vramplan engine: f32 activations in one arena";

fn kind(life: Life, source: &str) -> Kind<'_> {
    Kind { component: Component::Activations, life, basis: Basis::Modelled, source }
}

/// Width that the MLP of a layer works on: the dense MLP, or the experts of a token together.
pub fn ffn_width(scenario: &Scenario<'_>) -> u64 {
    let shape = &scenario.model.shape;
    let dense = if shape.moe.is_some_and(|moe| moe.leading_dense_layers == 0) {
        0
    } else {
        shape.widest_ffn()
    };
    let experts =
        shape.moe.map_or(0, |moe| moe.n_experts_used * moe.expert_ffn_size + moe.shared_ffn_size);
    dense.max(experts)
}

/// transformers: what a layer holds while the cache grows, during attention and during the MLP.
pub fn transformers(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    pass: Pass,
) -> Result<(), EstimateError> {
    let shape = &scenario.model.shape;
    let family = shape.architecture.family();
    // Without a norm before a sublayer its input is the residual itself.
    let normed = u64::from(family.norms_inputs());
    let hidden = |copies: u64| copies * shape.hidden_size;
    let (q, kv) = projections(shape);
    let mut push = |moment, name, width: u64| -> Result<(), EstimateError> {
        let kind = kind(Life::During(pass.phase, moment), TRANSFORMERS);
        let factors = [("rows", pass.all_rows()?), ("width", width), ("B", 2)];
        Ok(buffers.product(kind, name, &factors)?)
    };
    let around = hidden(2 + normed);
    push(Moment::Conversion, "hidden states, queries, keys and values", around + q + kv)?;
    push(Moment::Attention, "hidden states and queries", around + q)?;
    if family.rope.in_f32 && !scenario.workload.grown_cache {
        push(Moment::Conversion, "rotation of queries and keys in f32", 2 * q + 3 * kv)?;
    }
    push(Moment::FeedForward, "hidden states around the MLP", hidden(3 + normed))?;
    push_rotation(buffers, scenario, pass)?;
    push_mlp(buffers, scenario, pass)
}

/// Elements per token of queries, and of keys and values, as they wait for the cache.
fn projections(shape: &ModelShape) -> (u64, u64) {
    match shape.mla {
        // The projection, the queries with rotated parts joined, and the rotated parts.
        Some(mla) => {
            let queries = 2 * shape.q_width() + shape.n_heads * mla.qk_rope_head_dim;
            (queries + mla.kv_lora_rank + mla.qk_rope_head_dim, 0)
        }
        // The one projection of q, k and v lives on beside the rotated queries.
        None if shape.fused_projections => {
            (2 * shape.q_width() + 2 * shape.kv_width(), shape.kv_width())
        }
        None => (shape.q_width(), 2 * shape.kv_width()),
    }
}

/// Cosines and sines of a pass's positions, the same for all sequences; Gemma 3 has them for windowed
/// and for full layers.
fn push_rotation(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    pass: Pass,
) -> Result<(), EstimateError> {
    let shape = &scenario.model.shape;
    let tables = shape.architecture.family().rope.tables;
    let rotated =
        shape.mla.map_or_else(|| shape.rotated(shape.widest_head()), |mla| mla.qk_rope_head_dim);
    let factors =
        [("cos and sin", 2 * tables), ("rows", pass.rows), ("elements rotated", rotated), ("B", 2)];
    for moment in [Moment::Conversion, Moment::Attention, Moment::FeedForward, Moment::Projection] {
        let kind = kind(Life::During(pass.phase, moment), TRANSFORMERS);
        buffers.product(kind, "rotation of queries and keys", &factors)?;
    }
    Ok(())
}

/// The MLP, or the experts, of the layer that needs most.
fn push_mlp(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    pass: Pass,
) -> Result<(), EstimateError> {
    let shape = &scenario.model.shape;
    let newest = scenario.runtime.stack.transformers == TransformersVersion::Current;
    let mut instants = match shape.moe {
        Some(moe) if newest || scenario.weights.packed_experts => {
            experts::instants(scenario, pass, moe)?
        }
        Some(moe) => expert_modules::instants(scenario, pass, moe)?,
        None => Vec::with_capacity(1),
    };
    if shape.moe.is_none_or(|moe| moe.leading_dense_layers > 0) {
        let factors = [
            ("rows", pass.all_rows()?),
            ("results", mlp_results(shape)),
            ("ffn", shape.widest_ffn()),
            ("B", 2),
        ];
        instants.push(Instant::default().and(
            Component::Activations,
            "gate, its activation, up and their product",
            &factors,
        )?);
    }
    let kind = kind(Life::During(pass.phase, Moment::FeedForward), TRANSFORMERS);
    Ok(Instant::push_largest(instants, buffers, kind)?)
}

/// Results as wide as the MLP that are alive together: gate, activation and up; one more where gate
/// and up are one tensor; up and its activation without a gate.
const fn mlp_results(shape: &ModelShape) -> u64 {
    match (shape.gated_ffn, shape.fused_projections) {
        (false, _) => 2,
        (true, false) => 3,
        (true, true) => 4,
    }
}

/// Rows of the quantized activations of candle's matrix kernels: up to this many go to the
/// matrix-vector kernels (`fast_mmvq.rs`, `MMVQ_MAX_BATCH`).
const MMVQ_MAX_ROWS: u64 = 8;

/// vramplan's engine: the arena's contents in one layer. The output projections of attention and of the
/// MLP write where the norm was, which is read by then; the activation overwrites the gate.
pub fn engine_layer(
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
        "residual and norm",
        &[("rows", rows), ("2 hidden", 2 * hidden), ("B", 4)],
    )?;
    let attention = kind(Life::During(phase, Moment::Attention), ENGINE);
    let output = attention_output(shape);
    let values = if shape.mla.is_some() {
        shape.kv_heads * shape.value_head_dim()
    } else {
        shape.kv_width()
    };
    let qkv = shape.q_width() + shape.kv_width() + values;
    buffers.product(
        attention,
        "q, k, v and attention output",
        &[("rows", rows), ("2 q_width + 2 kv_width", qkv + output), ("B", 4)],
    )?;
    let mlp = kind(Life::During(phase, Moment::FeedForward), ENGINE);
    let width = ffn_width(scenario);
    let gate = if shape.gated_ffn { 2 } else { 1 };
    buffers.product(
        mlp,
        "gate and up",
        &[("rows", rows), ("gate and up", gate * width), ("B", 4)],
    )?;
    Ok(())
}

/// Elements of attention's output for a token, in the widest layer.
pub fn attention_output(shape: &ModelShape) -> u64 {
    if shape.mla.is_some() { shape.n_heads * shape.value_head_dim() } else { shape.q_width() }
}

/// vramplan's engine on a GPU: scratch of candle's kernels for quantized matrices, allocated once.
///
/// Activations in 8 bits take `rows · pad512(width) / 128 · 144` bytes; a step of more than 8 rows takes a
/// tile of them more, 128 · 144 bytes, and a tile of partial products, 128 × 128 f32, for each
/// multiprocessor (candle-core `quantized/fast_mmvq.rs`, `fast_mmq.rs`).
pub fn engine_products(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    rows: u64,
) -> Result<(), EstimateError> {
    if scenario.gpu.is_main_memory() {
        return Ok(());
    }
    let shape = &scenario.model.shape;
    let width = shape.hidden_size.max(shape.q_width()).max(ffn_width(scenario));
    let padded = width.next_multiple_of(512);
    let kind = kind(
        Life::From(Phase::SystemPrefill),
        "candle-core quantized/fast_mmq.rs, fast_mmvq.rs: what their kernels take",
    );
    let size = Bytes::product(&[rows, padded / 128, 144])?;
    let symbols = [("rows", rows), ("width", padded)];
    if rows <= MMVQ_MAX_ROWS {
        let formula = Formula::text("rows · width / 128 · 144 B", &symbols);
        buffers.push(kind, "8-bit activations", Bounds::exactly(size), formula);
        return Ok(());
    }
    let size = size.plus(Bytes::new(128 * 144))?;
    let formula = Formula::text("rows · width / 128 · 144 B + 128 · 144 B", &symbols);
    buffers.push(kind, "8-bit activations", Bounds::exactly(size), formula);
    let tiles = [("multiprocessors", scenario.gpu.sm_count.value), ("tile", 128 * 128), ("B", 4)];
    buffers.product(kind, "partial products", &tiles)?;
    Ok(())
}
