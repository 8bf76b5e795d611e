//! The intermediate results of one decoder layer: nothing is summed over layers, because a layer's
//! results are freed before the next layer runs.
//!
//! transformers (16 bits): `2 · rows · (3·ffn + 4·hidden) + 4 · rows · head_dim` at the MLP (gate,
//! its activation and up; embeddings, the layer's input, the residual and its norm; cos and sin), one
//! `ffn` more where gate and up are one projection, one fewer without a gate. Compared with a
//! live-storage tracker over the real code in `evidence/transformers`.

use super::forward_pass::ForwardPass;
use super::largest_instant::Instant;
use super::{expert_modules, experts};
use crate::estimate::{Buffers, Component, EstimateError, Kind, Life, Moment, Scenario};
use crate::spec::{Basis, ModelShape, TransformersVersion};

const TRANSFORMERS: &str =
    "transformers modeling_*.py and integrations/moe.py, live-storage tracker over a forward pass";

fn kind(life: Life, source: &str) -> Kind<'_> {
    Kind { component: Component::Activations, life, basis: Basis::Modelled, source }
}

/// What a layer holds while the cache grows, during attention and during the MLP.
pub fn push(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    pass: ForwardPass,
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
    pass: ForwardPass,
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
    pass: ForwardPass,
) -> Result<(), EstimateError> {
    let shape = &scenario.model.shape;
    let newest = scenario.runtime.options.stack().transformers == TransformersVersion::Current;
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
