//! What every stage of a vLLM pipeline builds, whether it uses it or not.
//!
//! Llama's class and those after it leave the embedding, the final norm and the output head to the
//! stages that use them (`PPMissingLayer`); others build them everywhere (`model_executor/models` of
//! 0.19.1: `mixtral.py`, `qwen2_moe.py`, `qwen3_moe.py`, `qwen3_next.py`, `qwen3_5.py`, `gpt_oss.py`,
//! `granitemoehybrid.py`, `starcoder2.py`, `olmo2.py`, `commandr.py`, `gemma*.py`).

use crate::spec::{Architecture, Role};

/// Whether every stage has a tensor of no layer.
pub fn is_on_every_stage(family: Architecture, role: Role) -> bool {
    match role {
        Role::TokenEmbedding => has_embedding(family),
        Role::OutputHead => has_head(family),
        Role::Norm | Role::Bias => has_norm(family),
        _ => false,
    }
}

const fn has_head(family: Architecture) -> bool {
    use Architecture as A;
    matches!(
        family,
        A::Mixtral
            | A::Qwen2Moe
            | A::Qwen3Moe
            | A::Qwen3VlMoe
            | A::Qwen3Next
            | A::GptOss
            | A::GraniteHybrid
            | A::StarCoder2
            | A::Olmo2
    )
}

const fn has_norm(family: Architecture) -> bool {
    use Architecture as A;
    let is_gemma = matches!(family, A::Gemma | A::Gemma2 | A::Gemma3 | A::Gemma4);
    is_gemma || matches!(family, A::Cohere) || (has_head(family) && !matches!(family, A::Qwen3Next))
}

const fn has_embedding(family: Architecture) -> bool {
    use Architecture as A;
    has_norm(family) || matches!(family, A::Qwen3Next | A::Qwen35 | A::Qwen35Moe)
}
