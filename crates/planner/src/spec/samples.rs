//! Models that the unit tests of several modules use.

#![allow(
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    reason = "shapes that are known to be valid"
)]

use super::{
    Architecture, Basis, Bounds, Fact, ModelShape, ModelSpec, QkNorm, Runtime, RuntimeOptions,
    RuntimeSpec,
};
use crate::units::Bytes;

/// Qwen2.5-14B, the model of the worked example.
pub fn qwen_14b() -> ModelSpec {
    let shape = ModelShape {
        n_layers: 48,
        hidden_size: 5120,
        n_heads: 40,
        kv_heads: 8,
        ffn_size: 13_824,
        vocab_size: 152_064,
        context_len: 32_768,
        qkv_bias: true,
        ..llama_shape(Architecture::Qwen2)
    };
    ModelSpec::new("qwen2.5-14b", shape, "litgpt 0.5.13 config.py").unwrap()
}

/// Llama-3.1-8B.
pub fn llama_8b() -> ModelSpec {
    ModelSpec::new("llama-3.1-8b", llama_shape(Architecture::Llama), "litgpt").unwrap()
}

fn llama_shape(architecture: Architecture) -> ModelShape {
    ModelShape {
        architecture,
        n_layers: 32,
        hidden_size: 4096,
        n_heads: 32,
        kv_heads: 8,
        head_dim: 128,
        ffn_size: 14_336,
        vocab_size: 128_256,
        context_len: 131_072,
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
        vision: None,
        parts: Vec::new(),
        extras: crate::spec::Extras::default(),
    }
}

/// A runtime with round constants.
pub fn runtime(runtime: Runtime) -> RuntimeSpec {
    let size = |bytes| Fact::new(Bytes::new(bytes), Basis::Assumed, "sample");
    RuntimeSpec {
        options: RuntimeOptions::newest(runtime),
        launch: super::Launch::default(),
        version: "sample".into(),
        libraries: Fact::new(Bounds::ZERO, Basis::Assumed, "sample"),
        blas_workspace: size(8 << 20),
        blas_workspace_hopper: size(32 << 20),
        allocation_granule: size(512),
        segment_granule: size(2 << 20),
    }
}
