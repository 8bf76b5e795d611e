//! What vramplan's own engine can run, written once: asked by advice before it offers, by a plan so that it says
//! so, by `calibrate` before it starts a worker, and by the engine as the last door.

use crate::dtype::{GgmlType, KvFormat};
use crate::estimate::rules::Refusal;
use crate::spec::{Architecture, Attention, Layer, ModelSpec, QkNorm, Workload};

/// The types that a matrix can have: those of candle's `GgmlDType` that its kernels multiply with.
pub const MATRIX_TYPES: [GgmlType; 13] = [
    GgmlType::F32,
    GgmlType::F16,
    GgmlType::Bf16,
    GgmlType::Q4_0,
    GgmlType::Q4_1,
    GgmlType::Q5_0,
    GgmlType::Q5_1,
    GgmlType::Q8_0,
    GgmlType::Q2K,
    GgmlType::Q3K,
    GgmlType::Q4K,
    GgmlType::Q5K,
    GgmlType::Q6K,
];

/// The families that it runs.
pub const FAMILIES: [Architecture; 4] =
    [Architecture::Llama, Architecture::Mistral, Architecture::Qwen2, Architecture::Qwen3];

/// The format of its cache.
pub const KV: KvFormat = KvFormat::Int8;
/// Its attention.
pub const ATTENTION: Attention = Attention::Fused;
/// Sequences that it processes together.
pub const SEQUENCES: u64 = 1;

/// The first thing about a model that the engine does not run.
pub fn refuses_model(model: &ModelSpec) -> Option<Refusal> {
    let shape = &model.shape;
    let families = || {
        let [first @ .., last] = FAMILIES.map(|family| format!("`{family}`"));
        format!("{} or {last}", first.join(", "))
    };
    if !FAMILIES.contains(&shape.architecture) {
        let what = format!("models of the family `{}`", shape.architecture);
        return Some(Refusal { what, expected: families() });
    }
    let present = [
        // What the engine reads are GGUF files, whose families keep few of the windows that they were trained with.
        (Layer::windowed(&model.gguf_layers) > 0, "sliding windows"),
        (shape.ssm.is_some(), "state-space layers"),
        (shape.per_layer.is_some(), "layers that differ"),
        (shape.keys_are_values, "keys that are values"),
        (shape.moe.is_some(), "experts"),
        (shape.mla.is_some(), "multi-head latent attention"),
        (shape.recurrent.is_some(), "recurrent layers"),
        (shape.attn_output_bias, "a bias on the attention's output"),
        (shape.ffn_bias, "biases in the MLP"),
        (shape.norm_bias, "norms with a bias"),
        (!shape.gated_ffn, "an MLP without a gate"),
        (shape.fused_projections, "fused projections"),
        (shape.qk_norm == QkNorm::Full, "norms over all queries at once"),
        (shape.norms_per_layer != 2, "layers without exactly two norms"),
        (!shape.head_dim.is_multiple_of(2), "heads of an odd width"),
    ];
    let (_, what) = present.into_iter().find(|(present, _)| *present)?;
    let expected = format!("a plain decoder of the families {}", families());
    Some(Refusal { what: what.to_owned(), expected })
}

/// The first thing about the work, and the format of its cache, that the engine does not run.
pub fn refuses_work(workload: &Workload, kv: KvFormat) -> Option<Refusal> {
    let refusal = |what, expected: String| Some(Refusal { what, expected });
    if workload.batch != SEQUENCES {
        let what = format!("{} sequences together", workload.batch);
        return refusal(what, format!("`--batch {SEQUENCES}`"));
    }
    if kv != KV {
        return refusal(format!("a KV cache of `{kv}`"), format!("`--kv {KV}`"));
    }
    if workload.attention != ATTENTION {
        let what = format!("`{}` attention", workload.attention);
        return refusal(what, format!("`--attention {ATTENTION}`"));
    }
    let window = workload.recent_window?;
    if workload.prefill_chunk == 0 || workload.prefill_chunk > window {
        let what = format!("prefill chunks of {} tokens", workload.prefill_chunk);
        return refusal(what, format!("1 to `recent_window` = {window}"));
    }
    None
}
