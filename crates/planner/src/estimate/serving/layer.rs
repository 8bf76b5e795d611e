//! What a layer of a dense or expert model holds while it works on a step, under vLLM and SGLang, whose kernels are the same:
//! gate, up and their product are fused, and the residual is added by the norm.

use crate::dtype::WeightFormat;
use crate::estimate::Scenario;
use crate::spec::ModelShape;
use crate::spec::families::RotationTables;
use crate::units::{Bytes, Overflow};

/// Width of the dense or shared MLP on one rank.
pub fn dense_width(scenario: &Scenario<'_>, ranks: u64) -> u64 {
    let shape = &scenario.model.shape;
    let widest = scenario.widest(|layer| layer.ffn_size);
    let dense = match shape.moe {
        Some(moe) if moe.leading_dense_layers == 0 => moe.shared_ffn_size,
        Some(moe) => moe.shared_ffn_size.max(widest),
        None => widest,
    };
    dense.div_ceil(ranks)
}

/// Elements that the MLP of a layer holds for a token on one rank: gate, up and their product, and the
/// 8-bit copy that 8-bit kernels read of what goes into the down projection.
pub fn mlp_width(scenario: &Scenario<'_>, ranks: u64) -> u64 {
    let ffn = dense_width(scenario, ranks);
    let parts = if scenario.model.shape.gated_ffn { 3 } else { 2 };
    let copied = u64::from(reads_eight_bits(scenario.weights.format));
    (parts * ffn).saturating_add(copied * ffn / 2)
}

/// `B · tokens · (width + 3.5 · hidden)`: what a layer holds.
pub fn results(scenario: &Scenario<'_>, tokens: u64, width: u64) -> Result<Bytes, Overflow> {
    let hidden = scenario.model.shape.hidden_size;
    let halves = Bytes::product(&[2, width])?.plus(Bytes::product(&[7, hidden])?)?;
    halves.times(tokens)?.times(element(scenario) / 2)
}

/// Elements that attention holds for a token on one rank: queries, keys, values and its output,
/// expanded from latent vectors where there are such.
pub fn attention_width(scenario: &Scenario<'_>, ranks: u64) -> u64 {
    let shape = &scenario.model.shape;
    let heads = shape.n_heads.div_ceil(ranks);
    match shape.mla {
        Some(mla) => {
            let key = mla.qk_nope_head_dim + mla.qk_rope_head_dim;
            heads * (2 * key + (mla.qk_nope_head_dim + mla.v_head_dim) + 2 * mla.v_head_dim)
        }
        None => scenario.widest(|layer| {
            2 * (layer.n_heads.div_ceil(ranks) + layer.kv_heads.div_ceil(ranks)) * layer.head_dim
        }),
    }
}

/// Bytes of an activation.
pub fn element(scenario: &Scenario<'_>) -> u64 {
    if scenario.weights.format == WeightFormat::F32 { 4 } else { 2 }
}

/// Whether kernels read 8-bit copies of activations.
pub const fn reads_eight_bits(format: WeightFormat) -> bool {
    matches!(format, WeightFormat::Int8 | WeightFormat::Fp8)
}

/// Gemma 3 stretches positions eightfold beyond this context, and its table with them.
const GEMMA_3_TRAINED: u64 = 32_768;
const GEMMA_3_SCALING: u64 = 8;

/// Elements for a position in all tables of sines and cosines.
pub fn table_width(shape: &ModelShape) -> u64 {
    let widest = shape.rotated(shape.widest_head());
    if let Some(mla) = shape.mla {
        return mla.qk_rope_head_dim;
    }
    match shape.architecture.family().vllm.rotation {
        RotationTables::One => widest,
        RotationTables::TwoStretched if shape.context_len > GEMMA_3_TRAINED => {
            (1 + GEMMA_3_SCALING) * widest
        }
        RotationTables::Two | RotationTables::TwoStretched => shape.head_dim + widest,
    }
}

/// What one of so many ranks keeps of a model in its caches: state-space groups and heads of a delta net are rounded up, key
/// and value heads as the server has it.
pub fn kept_by_rank(shape: &ModelShape, ranks: u64, kv_heads: impl Fn(u64) -> u64) -> ModelShape {
    let mut part = shape.clone();
    part.kv_heads = kv_heads(shape.kv_heads);
    if let Some(lists) = &mut part.per_layer {
        lists.kv_heads.iter_mut().for_each(|heads| *heads = kv_heads(*heads));
    }
    if let Some(ssm) = &mut part.ssm {
        ssm.inner_size = ssm.inner_size.div_ceil(ranks);
        ssm.n_groups = ssm.n_groups.div_ceil(ranks);
    }
    if let Some(recurrent) = &mut part.recurrent {
        recurrent.key_heads = recurrent.key_heads.div_ceil(ranks);
        recurrent.value_heads = recurrent.value_heads.div_ceil(ranks);
    }
    part
}
