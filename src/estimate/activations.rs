//! The intermediate results of one decoder layer: nothing is summed over layers, because a layer's
//! results are freed before the next layer runs.
//!
//! transformers (16 bits): `2 · rows · (3·ffn + 4·hidden) + 4 · rows · head_dim` at the MLP (gate,
//! its activation and up; embeddings, residual, norm and one more; cos and sin), reproduced to
//! 0.1 MB with a live-storage tracker. vramplan's engine (f32): the residual, its norm, and either
//! q, k, v and the output, or gate and up.

use super::{Buffers, Component, EstimateError, Formula, Kind, Life, Moment, Phase, Scenario};
use crate::spec::{Basis, Bounds};
use crate::units::Bytes;

const TRANSFORMERS: &str =
    "transformers modeling_qwen2.py, live-storage tracker over a forward pass";
const ENGINE: &str = "vramplan engine: f32 activations in one arena";

fn kind(life: Life, source: &str) -> Kind<'_> {
    Kind { component: Component::Activations, life, basis: Basis::Modelled, source }
}

/// Width that the MLP of a layer works on: the dense MLP, or the experts of a token together.
pub fn ffn_width(scenario: &Scenario<'_>) -> u64 {
    let shape = &scenario.model.shape;
    let dense =
        if shape.moe.is_some_and(|moe| moe.leading_dense_layers == 0) { 0 } else { shape.ffn_size };
    let experts =
        shape.moe.map_or(0, |moe| moe.n_experts_used * moe.expert_ffn_size + moe.shared_ffn_size);
    dense.max(experts)
}

/// transformers: what a layer holds during attention and during the MLP.
pub fn transformers(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    phase: Phase,
    rows: u64,
) -> Result<(), EstimateError> {
    let shape = &scenario.model.shape;
    let mut push = |moment, name, ffn: u64| -> Result<(), EstimateError> {
        let formula = Formula::text(
            "2 B · rows · (n · ffn + 4 · hidden) + 4 B · rows · head_dim",
            &[
                ("rows", rows),
                ("n", ffn),
                ("ffn", ffn_width(scenario)),
                ("hidden", shape.hidden_size),
                ("head_dim", shape.head_dim),
            ],
        );
        let wide = Bytes::product(&[2, rows, ffn * ffn_width(scenario) + 4 * shape.hidden_size])?;
        let size = wide.plus(Bytes::product(&[4, rows, shape.head_dim])?)?;
        let bounds = Bounds::within(size, 8, 8)?;
        buffers.push(kind(Life::During(phase, moment), TRANSFORMERS), name, bounds, formula);
        Ok(())
    };
    push(Moment::Attention, "hidden states around attention", 0)?;
    push(Moment::Conversion, "hidden states around attention", 0)?;
    push(Moment::FeedForward, "hidden states, gate, activation and up", 3)?;
    if !scenario.weights.largest_expanded.is_zero() {
        push(Moment::Dequantization, "hidden states and two of the MLP", 2)?;
    }
    Ok(())
}

/// Bytes per 64 weights of f32 scales that the NF4 fallback makes, two copies when doubly quantized.
const SCALE_COPIES: u64 = 8;

/// transformers: the 16-bit copy of one weight that bitsandbytes makes for a matrix product with more
/// than a few rows.
pub fn expanded_weight(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    phase: Phase,
) -> Result<(), EstimateError> {
    let weight = scenario.weights.largest_expanded;
    let elements = weight.get() / 2;
    let formula = Formula::text(
        "2 B · largest matrix of a layer + 8 B per 64 of its weights",
        &[("elements", elements)],
    );
    let scales = Bytes::product(&[elements.div_ceil(64), SCALE_COPIES])?;
    let source = "bitsandbytes backends/cuda/ops.py, dequantizing fallback of matmul_4bit";
    let kind = kind(Life::During(phase, Moment::Dequantization), source);
    let size = Bounds::within(weight.plus(scales)?, 5, 2)?;
    buffers.push(kind, "one weight expanded to 16 bits", size, formula);
    Ok(())
}

/// Rows of the quantized activations of candle's matrix kernels: up to this many go to the
/// matrix-vector kernels (`fast_mmvq.rs`, `MMVQ_MAX_BATCH`).
const MMVQ_MAX_ROWS: u64 = 8;

/// vramplan's engine: the arena's contents in one layer.
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
    let output = shape.n_heads * shape.value_head_dim();
    let qkv = shape.q_width() + shape.kv_heads * (shape.head_dim + shape.value_head_dim());
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
        "gate, up and MLP output",
        &[("rows", rows), ("gate and up + hidden", gate * width + hidden), ("B", 4)],
    )?;
    Ok(())
}

/// vramplan's engine: candle's copies of activations in 8 bits for the quantized matrix kernels,
/// grown to the largest and kept.
///
/// `rows · pad512(width) / 128 · 144 + 128 · 144` bytes for many rows, `rows · pad512(width) / 32 ·
/// 36` for few (candle-core `quantized/fast_mmq.rs`, `fast_mmvq.rs`).
pub fn engine_quantized_rows(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    rows: u64,
    decode_rows: u64,
) -> Result<(), EstimateError> {
    let shape = &scenario.model.shape;
    let width = shape.hidden_size.max(shape.q_width()).max(ffn_width(scenario));
    let padded = width.next_multiple_of(512);
    let kind = kind(
        Life::From(Phase::SystemPrefill),
        "candle-core quantized/fast_mmq.rs, fast_mmvq.rs: grow-only workspaces",
    );
    if rows > MMVQ_MAX_ROWS {
        let size = Bytes::product(&[rows, padded / 128, 144])?.plus(Bytes::new(128 * 144))?;
        let formula = Formula::text(
            "rows · width / 128 · 144 B + 128 · 144 B",
            &[("rows", rows), ("width", padded)],
        );
        buffers.push(kind, "8-bit activations of a chunk", Bounds::exactly(size), formula);
    }
    let few = if rows > MMVQ_MAX_ROWS { decode_rows } else { rows.max(decode_rows) };
    let few = few.min(MMVQ_MAX_ROWS);
    buffers.product(
        kind,
        "8-bit activations of a token",
        &[("rows", few), ("width / 32", padded / 32), ("B", 36)],
    )?;
    Ok(())
}

/// The fixed buffer of candle's matrix kernel for many rows (`fast_mmq.rs`, stream-k fix-up).
pub const MMQ_FIXUP: Bytes = Bytes::new(16 << 20);

/// Basis of the arena: it is allocated from this very table.
pub const ENGINE_BASIS: Basis = Basis::Modelled;
