//! The model families that vramplan can model, and the names that files give them.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! architectures {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, gguf $gguf:literal, hf [$($hf:literal),*];)*) => {
        /// A family of decoder-only language models whose tensors vramplan can list.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[serde(rename_all = "snake_case")]
        pub enum Architecture { $($(#[$doc])* #[serde(rename = $name)] $variant),* }

        impl Architecture {
            /// Every family.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name in profiles and on screen.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// `general.architecture` of GGUF files of this family.
            pub const fn gguf_name(self) -> &'static str {
                match self { $(Self::$variant => $gguf),* }
            }

            /// The family that a `model_type` of `config.json` names.
            pub fn from_model_type(model_type: &str) -> Option<Self> {
                match model_type { $($($hf => Some(Self::$variant),)*)* _ => None }
            }
        }
    };
}

architectures! {
    /// Llama 1 to 3, `SmolLM2`, `TinyLlama`, Yi and everything else of that shape.
    Llama = "llama", gguf "llama", hf ["llama"];
    /// Mistral 7B, Nemo, Small, Codestral: Llama's tensors, with or without a sliding window.
    Mistral = "mistral", gguf "llama", hf ["mistral", "ministral3"];
    /// Mixtral: Mistral with experts.
    Mixtral = "mixtral", gguf "llama", hf ["mixtral"];
    /// Qwen2 and Qwen2.5: biases on q, k and v.
    Qwen2 = "qwen2", gguf "qwen2", hf ["qwen2"];
    /// Qwen2-VL and Qwen2.5-VL: Qwen2's tensors, positions in sections.
    Qwen2Vl = "qwen2_vl", gguf "qwen2vl",
        hf ["qwen2_vl", "qwen2_vl_text", "qwen2_5_vl", "qwen2_5_vl_text"];
    /// Qwen1.5-MoE and Qwen2-57B-A14B: experts and a gated shared expert.
    Qwen2Moe = "qwen2_moe", gguf "qwen2moe", hf ["qwen2_moe"];
    /// Qwen3: norms on q and k.
    Qwen3 = "qwen3", gguf "qwen3", hf ["qwen3"];
    /// Qwen3 with experts.
    Qwen3Moe = "qwen3_moe", gguf "qwen3moe", hf ["qwen3_moe"];
    /// Qwen3-VL: Qwen3's tensors, positions in sections, images given to several layers.
    Qwen3Vl = "qwen3_vl", gguf "qwen3vl", hf ["qwen3_vl", "qwen3_vl_text"];
    /// Qwen3-VL with experts.
    Qwen3VlMoe = "qwen3_vl_moe", gguf "qwen3vlmoe", hf ["qwen3_vl_moe", "qwen3_vl_moe_text"];
    /// Qwen3-Next: gated delta-net layers, every fourth with full attention; experts.
    Qwen3Next = "qwen3_next", gguf "qwen3next", hf ["qwen3_next"];
    /// Qwen3.5 dense: gated delta-net layers, every fourth with full attention.
    Qwen35 = "qwen3_5", gguf "qwen35", hf ["qwen3_5", "qwen3_5_text"];
    /// Qwen3.5 with experts.
    Qwen35Moe = "qwen3_5_moe", gguf "qwen35moe", hf ["qwen3_5_moe", "qwen3_5_moe_text"];
    /// Gemma 1.
    Gemma = "gemma", gguf "gemma", hf ["gemma"];
    /// Gemma 2: four norms a layer, alternating windows, soft-capped logits.
    Gemma2 = "gemma2", gguf "gemma2", hf ["gemma2"];
    /// Gemma 3 (text): four norms a layer, five windowed layers to a full one.
    Gemma3 = "gemma3", gguf "gemma3", hf ["gemma3", "gemma3_text"];
    /// Gemma 4 without experts and embeddings of layers: full layers have heads of another size.
    Gemma4 = "gemma4", gguf "gemma4", hf ["gemma4", "gemma4_text"];
    /// Phi-3 and Phi-4: fused q, k, v and fused gate and up projections.
    Phi3 = "phi3", gguf "phi3", hf ["phi3"];
    /// gpt-oss: experts with biases, alternating windows, attention sinks.
    GptOss = "gpt_oss", gguf "gpt-oss", hf ["gpt_oss"];
    /// DeepSeek-V2, V3 and R1: multi-head latent attention, shared experts.
    DeepSeek2 = "deepseek2", gguf "deepseek2", hf ["deepseek_v2", "deepseek_v3"];
    /// Granite 3: Llama's tensors with scaled residuals.
    Granite = "granite", gguf "granite", hf ["granite"];
    /// Granite 4 H: Mamba-2 layers, a few with attention, with experts or without.
    GraniteHybrid = "granite_hybrid", gguf "granitehybrid", hf ["granitemoehybrid"];
    /// GLM-4.5 and 4.6: experts with a shared one, a few dense layers first.
    Glm4Moe = "glm4_moe", gguf "glm4moe", hf ["glm4_moe"];
    /// OLMo 2: norms after the sublayers, full-width norms on q and k.
    Olmo2 = "olmo2", gguf "olmo2", hf ["olmo2"];
    /// Command-R: one norm a layer, attention and MLP in parallel, tied embeddings.
    Cohere = "cohere", gguf "command-r", hf ["cohere"];
    /// `StarCoder2`: `LayerNorm` and linear layers with biases, an MLP without a gate.
    StarCoder2 = "starcoder2", gguf "starcoder2", hf ["starcoder2"];
}

/// The sliding windows that llama.cpp respects in a family. It ignores those of every other family: their
/// layers keep all tokens, whatever the model was trained with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GgufWindow {
    /// Tokens that a windowed layer attends to where a file does not say.
    pub size: Option<u64>,
    /// Every so many layers one keeps all tokens, where a file does not say.
    pub full_every: u64,
}

impl Architecture {
    /// The windows of this family in GGUF files, where llama.cpp respects them (`src/models/*.cpp`,
    /// `load_arch_hparams`: `swa_type` and `set_swa_pattern`).
    pub const fn gguf_window(self) -> Option<GgufWindow> {
        let (size, full_every) = match self {
            Self::Gemma2 => (Some(4096), 2),
            Self::Gemma3 | Self::Gemma4 => (None, 6),
            Self::GptOss => (None, 2),
            Self::Olmo2 => (None, 4),
            _ => return None,
        };
        Some(GgufWindow { size, full_every })
    }

    /// The families that GGUF files call `name`, most general first.
    pub fn from_gguf_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|architecture| architecture.gguf_name() == name)
    }

    /// The family that profiles call `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|architecture| architecture.name() == name)
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_family() {
        for &architecture in Architecture::ALL {
            assert_eq!(Architecture::from_name(architecture.name()), Some(architecture));
            assert!(Architecture::from_gguf_name(architecture.gguf_name()).is_some());
        }
        assert_eq!(Architecture::from_gguf_name("llama"), Some(Architecture::Llama));
        assert_eq!(Architecture::from_model_type("bert"), None);
    }
}
