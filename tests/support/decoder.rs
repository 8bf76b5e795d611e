//! A small decoder: its shape, and random weights.

use vramplan_engine::{EngineError, SyntheticSource};
use vramplan_planner::spec::{Architecture, Extras, ModelShape, ModelSpec, QkNorm};

/// A decoder as small as the types' blocks allow.
pub fn shape(architecture: Architecture) -> ModelShape {
    ModelShape {
        architecture,
        n_layers: 2,
        hidden_size: 64,
        n_heads: 4,
        kv_heads: 2,
        head_dim: 16,
        ffn_size: 96,
        vocab_size: 50,
        context_len: 256,
        tied_embeddings: false,
        qkv_bias: false,
        attn_output_bias: false,
        ffn_bias: false,
        qk_norm: QkNorm::None,
        norms_per_layer: 2,
        norm_bias: false,
        gated_ffn: true,
        fused_projections: false,
        attention_sinks: false,
        attention_output_gate: false,
        attention_softcap: false,
        logit_softcap: false,
        window: None,
        moe: None,
        mla: None,
        recurrent: None,
        ssm: None,
        keys_are_values: false,
        per_layer: None,
        extras: Extras::default(),
        vision: None,
        parts: Vec::new(),
    }
}

/// Random weights in this shape, in a format by its name.
pub fn source(shape: ModelShape, format: &str, seed: u64) -> SyntheticSource {
    try_source(shape, format, seed).unwrap()
}

pub fn try_source(
    shape: ModelShape,
    format: &str,
    seed: u64,
) -> Result<SyntheticSource, EngineError> {
    let spec = ModelSpec::new("tiny", shape, "test").unwrap();
    SyntheticSource::new(&spec, format.parse().unwrap(), seed)
}
