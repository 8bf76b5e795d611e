//! The norm of queries and keys, which transformers computes in f32.
//!
//! `modeling_qwen3_moe.py`, `Qwen3MoeRMSNorm.forward`, and alike elsewhere: beside the 16-bit input a
//! copy in f32 and its square, or the normed copy; where the weight is applied in f32
//! (`modeling_olmo2.py`) the 16-bit result too. It is what a layer holds most of where experts are
//! narrow and run one by one.

use super::forward_pass::ForwardPass;
use super::largest_instant::Instant;
use crate::estimate::{Component, EstimateError, Scenario};
use crate::spec::QkNorm;

/// Bytes for an element of queries or keys while they are normed.
const fn bytes_per_element(norm: QkNorm) -> u64 {
    match norm {
        QkNorm::None => 0,
        QkNorm::PerHead => 2 + 4 + 4,
        QkNorm::Full => 2 + 4 + 4 + 2,
    }
}

/// What is alive while a layer norms its queries, or keys beside normed queries; nothing where there is
/// no such norm. The last layer is the one that counts: its cache has yet to grow by the chunk.
pub fn instant(scenario: &Scenario<'_>, pass: ForwardPass) -> Result<Instant, EstimateError> {
    let shape = &scenario.model.shape;
    let bytes = bytes_per_element(shape.qk_norm);
    if bytes == 0 || shape.mla.is_some() {
        return Ok(Instant::default());
    }
    let (q, kv) = (shape.q_width(), shape.kv_width());
    let grows = scenario.workload.grown_cache && !scenario.kv.is_quantized();
    let cached = if grows { 2 * kv * 2 } else { 0 };
    let means = 2 * 4 * shape.n_heads;
    let normed = means + (bytes * q).max(2 * q + bytes * kv).saturating_sub(cached);
    let before = u64::from(shape.architecture.family().norms_inputs());
    let rows = ("rows", pass.all_rows()?);
    let hidden = [rows, ("width", (2 + before) * shape.hidden_size), ("B", 2)];
    let norm = [
        rows,
        ("B (16 bits, f32, its square, means; less what the cache has yet to take)", normed),
    ];
    let activations = Component::Activations;
    Ok(Instant::default().and(activations, "hidden states", &hidden)?.and(
        activations,
        "norm of queries or keys in f32",
        &norm,
    )?)
}
