//! What every stage of a vLLM pipeline builds, whether it uses it or not.
//!
//! Llama's class and those after it leave the embedding, the final norm and the output head to the
//! stages that use them (`PPMissingLayer`); others build them everywhere (`model_executor/models` of
//! 0.19.1: `mixtral.py`, `qwen2_moe.py`, `qwen3_moe.py`, `qwen3_next.py`, `qwen3_5.py`, `gpt_oss.py`,
//! `granitemoehybrid.py`, `starcoder2.py`, `olmo2.py`, `commandr.py`, `gemma*.py`).

use crate::spec::{Architecture, Role};

/// Whether every stage has a tensor of no layer.
pub fn is_on_every_stage(family: Architecture, role: Role) -> bool {
    let every_stage = family.family().vllm.every_stage;
    match role {
        Role::TokenEmbedding => every_stage.embedding,
        Role::OutputHead => every_stage.head,
        Role::Norm | Role::Bias => every_stage.norm,
        // DeepSeek-V4's, which makes one of its residual streams before the head (0.33 `deepseek_v4/nvidia/model.py`).
        Role::StreamMix => true,
        _ => false,
    }
}
