//! The families, one row each. A row says what differs from [`LLAMA_LIKE`].

use serde::{Deserialize, Serialize};

use super::{
    Bias, Biases, Defaults, DeltaNet, EveryStage, Experts, Family, Frequencies, GgufExtras,
    GgufWindow, HfExperts, HfWindows, HiddenStates, LayerKinds, LayerOrder, LlamaGraph, Norms,
    Rope, RopeLayers, RopePairs, RotationTables, RouterBias, Routing, ScaledWeights, Scales,
    SoftCaps, StatedScales, Synthetic, Transformers, Vllm, Windows,
};
use crate::dtype::GgmlType;
use crate::spec::{QkNorm, TransformersVersion};

macro_rules! families {
    ($($(#[$doc:meta])* $variant:ident = $name:literal: $row:expr;)*) => {
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

            /// What is particular to it.
            pub(crate) const fn family(self) -> &'static Family {
                match self {
                    $(Self::$variant => {
                        static ROW: Family = $row;
                        &ROW
                    })*
                }
            }
        }
    };
}

/// Attention and a gated MLP with a norm before each, no biases but by request, no windows, no experts.
const LLAMA_LIKE: Family = Family {
    gguf: "llama",
    hf: &[],
    defaults: assumed(32_000, 32, 2048),
    layers: LayerKinds::Attention,
    order: LayerOrder::Sequential,
    windows: Windows { hf: HfWindows::None, hf_size: Some(4096), gguf: None },
    rope: Rope {
        pairs: RopePairs::Halves,
        one_of: 1,
        layers: RopeLayers::All,
        sections: false,
        tables: 1,
        in_f32: false,
    },
    norms: RMS,
    biases: Biases { qkv: ATTENTION_BIAS, output: ATTENTION_BIAS, ffn: Bias::Never },
    gated_ffn: true,
    fused_projections: false,
    attention_sinks: false,
    layer_scalar: false,
    softcaps: SoftCaps::Never,
    experts: NO_EXPERTS,
    scales: NO_SCALES,
    image_layers: 0,
    gguf_extras: GgufExtras { frequencies: Frequencies::Never, predicting_layers: 0 },
    graph: GRAPH,
    synthetic: Some(synthetic(10_000.0, 1e-6)),
    transformers: Transformers { since: TransformersVersion::ExpertModules, eager_only: false },
    vllm: Vllm {
        every_stage: EveryStage { embedding: false, norm: false, head: false },
        rotation: RotationTables::One,
        rotation_in_f32: false,
        router_in_f32: false,
        captures_more: false,
        images_attend: false,
        takes_more: false,
    },
};

/// What `config.json` is taken to mean where it says nothing: as many heads of keys and values as of queries,
/// which share the width of the model; separate embeddings.
const fn assumed(vocab_size: u64, n_heads: u64, context_len: u64) -> Defaults {
    Defaults { vocab_size, n_heads, kv_heads: None, head_dim: None, context_len, tied: false }
}

impl Defaults {
    const fn kv_heads(self, heads: u64) -> Self {
        Self { kv_heads: Some(heads), ..self }
    }

    const fn head_dim(self, head_dim: u64) -> Self {
        Self { head_dim: Some(head_dim), ..self }
    }

    const fn tied(self) -> Self {
        Self { tied: true, ..self }
    }
}

const fn synthetic(rope_base: f32, epsilon: f32) -> Synthetic {
    Synthetic { rope_base, epsilon }
}

/// Biases by `attention_bias`, without it none.
const ATTENTION_BIAS: Bias = Bias::Stated("attention_bias", false);
const NO_BIASES: Biases = Biases { qkv: Bias::Never, output: Bias::Never, ffn: Bias::Never };
/// Those of Qwen2's q, k and v.
const QKV_BIASES: Biases = Biases { qkv: Bias::Always, ..NO_BIASES };
const MLP_BIASES: Biases = Biases { ffn: Bias::Stated("mlp_bias", false), ..LLAMA_LIKE.biases };

const RMS: Norms = Norms {
    stems: &["attn_norm", "ffn_norm"],
    subtract_mean: false,
    bias: false,
    qk: QkNorm::None,
    qk_if_asked: false,
    values: false,
};
/// Gemma's norms before and after both sublayers.
const FOUR: Norms =
    Norms { stems: &["attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"], ..RMS };
const PER_HEAD: Norms = Norms { qk: QkNorm::PerHead, ..RMS };
/// The norm before the MLP goes by the name of one behind attention.
const RENAMED: Norms = Norms { stems: &["attn_norm", "post_attention_norm"], ..RMS };

const NO_EXPERTS: Experts = Experts {
    hf: HfExperts::None,
    gguf_width: true,
    routing: Routing::Softmax,
    scaled: ScaledWeights::Never,
    router_bias: RouterBias::None,
    bias: false,
    divided_gate: false,
    published: None,
    always_packed: false,
    linear_router: true,
    weighed_in_f32: false,
    ordered_in_f32: false,
};
const LISTED: Experts = Experts { hf: HfExperts::Listed, ..NO_EXPERTS };
const LISTED_AND_SHARED: Experts = Experts { hf: HfExperts::ListedAndShared, ..NO_EXPERTS };

const NO_SCALES: Scales = Scales {
    embeddings: false,
    residuals: false,
    queries: false,
    logits: false,
    stated: StatedScales::None,
};
const GRANITE: Scales = Scales {
    embeddings: true,
    residuals: true,
    logits: true,
    stated: StatedScales::Granite,
    ..NO_SCALES
};
const GEMMA: Scales = Scales { embeddings: true, queries: true, ..NO_SCALES };

const GRAPH: LlamaGraph = LlamaGraph { hidden_states: HiddenStates::None, residual_first: false };
const KEEPS_NORMED: LlamaGraph = LlamaGraph { hidden_states: HiddenStates::AfterNorm, ..GRAPH };

/// In transformers since 4.36 or before.
const LONG: Transformers =
    Transformers { since: TransformersVersion::AllLogits, ..LLAMA_LIKE.transformers };
/// In transformers since 5.0.
const NEW: Transformers =
    Transformers { since: TransformersVersion::Current, ..LLAMA_LIKE.transformers };

const fn stages(embedding: bool, norm: bool, head: bool) -> Vllm {
    Vllm { every_stage: EveryStage { embedding, norm, head }, ..LLAMA_LIKE.vllm }
}

const fn windows(hf: HfWindows) -> Windows {
    Windows { hf, ..LLAMA_LIKE.windows }
}

const fn gguf_windows(size: Option<u64>, full_every: u64) -> GgufWindow {
    GgufWindow { size, full_every }
}

/// Rotates one of so many elements.
const fn partly(one_of: u64) -> Rope {
    Rope { one_of, ..LLAMA_LIKE.rope }
}

const SECTIONS: Rope = Rope { sections: true, ..LLAMA_LIKE.rope };
const INTERLEAVED: Rope = Rope { pairs: RopePairs::Interleaved, ..LLAMA_LIKE.rope };

families! {
    /// Llama 1 to 3, `SmolLM2`, `TinyLlama`, Yi and everything else of that shape.
    Llama = "llama": Family {
        hf: &["llama"],
        rope: INTERLEAVED,
        biases: MLP_BIASES,
        gguf_extras: GgufExtras { frequencies: Frequencies::OfLlama3, ..LLAMA_LIKE.gguf_extras },
        transformers: LONG,
        ..LLAMA_LIKE
    };
    /// Mistral 7B, Nemo, Small, Codestral: Llama's tensors, with or without a sliding window.
    Mistral = "mistral": Family {
        hf: &["mistral", "ministral3"],
        defaults: assumed(32_000, 32, 131_072).kv_heads(8),
        windows: windows(HfWindows::Every),
        rope: INTERLEAVED,
        biases: NO_BIASES,
        transformers: LONG,
        ..LLAMA_LIKE
    };
    /// Mixtral: Mistral with experts.
    Mixtral = "mixtral": Family {
        hf: &["mixtral"],
        defaults: assumed(32_000, 32, 131_072).kv_heads(8),
        windows: Windows { hf_size: None, ..windows(HfWindows::Every) },
        rope: INTERLEAVED,
        biases: NO_BIASES,
        experts: Experts { hf: HfExperts::Plain, gguf_width: false, ..NO_EXPERTS },
        synthetic: Some(synthetic(1e6, 1e-5)),
        transformers: LONG,
        vllm: stages(true, true, true),
        ..LLAMA_LIKE
    };
    /// Qwen2 and Qwen2.5: biases on q, k and v.
    Qwen2 = "qwen2": Family {
        gguf: "qwen2",
        hf: &["qwen2"],
        defaults: assumed(151_936, 32, 32_768).kv_heads(32),
        windows: windows(HfWindows::FromLayerIfUsed),
        biases: QKV_BIASES,
        synthetic: Some(synthetic(1e6, 1e-6)),
        transformers: LONG,
        ..LLAMA_LIKE
    };
    /// Qwen2-VL and Qwen2.5-VL: Qwen2's tensors, positions in sections.
    Qwen2Vl = "qwen2_vl": Family {
        gguf: "qwen2vl",
        hf: &["qwen2_vl", "qwen2_vl_text", "qwen2_5_vl", "qwen2_5_vl_text"],
        defaults: assumed(152_064, 64, 32_768).kv_heads(8),
        windows: windows(HfWindows::FromLayerIfUsed),
        rope: SECTIONS,
        biases: QKV_BIASES,
        synthetic: None,
        ..LLAMA_LIKE
    };
    /// Qwen1.5-MoE and Qwen2-57B-A14B: experts and a gated shared expert.
    Qwen2Moe = "qwen2_moe": Family {
        gguf: "qwen2moe",
        hf: &["qwen2_moe"],
        defaults: assumed(151_936, 16, 32_768).kv_heads(16),
        windows: windows(HfWindows::BeforeLayerIfUsed),
        biases: Biases { qkv: Bias::Stated("qkv_bias", true), ..NO_BIASES },
        experts: Experts {
            routing: Routing::SoftmaxOnly,
            divided_gate: true,
            ..LISTED_AND_SHARED
        },
        synthetic: Some(synthetic(1e6, 1e-6)),
        transformers: LONG,
        vllm: stages(true, true, true),
        ..LLAMA_LIKE
    };
    /// Qwen3: norms on q and k.
    Qwen3 = "qwen3": Family {
        gguf: "qwen3",
        hf: &["qwen3"],
        defaults: assumed(151_936, 32, 32_768).kv_heads(32).head_dim(128),
        windows: windows(HfWindows::FromLayerIfUsed),
        norms: PER_HEAD,
        synthetic: Some(synthetic(1e6, 1e-6)),
        ..LLAMA_LIKE
    };
    /// Qwen3 with experts.
    Qwen3Moe = "qwen3_moe": Family {
        gguf: "qwen3moe",
        hf: &["qwen3_moe"],
        defaults: assumed(151_936, 32, 32_768).kv_heads(4),
        windows: windows(HfWindows::EveryIfUsed),
        norms: PER_HEAD,
        experts: LISTED,
        synthetic: Some(synthetic(1e6, 1e-6)),
        vllm: stages(true, true, true),
        ..LLAMA_LIKE
    };
    /// Qwen3-VL: Qwen3's tensors, positions in sections, images given to several layers.
    Qwen3Vl = "qwen3_vl": Family {
        gguf: "qwen3vl",
        hf: &["qwen3_vl", "qwen3_vl_text"],
        defaults: assumed(151_936, 32, 128_000).kv_heads(32).head_dim(128),
        rope: SECTIONS,
        norms: PER_HEAD,
        image_layers: 3,
        synthetic: None,
        ..LLAMA_LIKE
    };
    /// Qwen3-VL with experts.
    Qwen3VlMoe = "qwen3_vl_moe": Family {
        gguf: "qwen3vlmoe",
        hf: &["qwen3_vl_moe", "qwen3_vl_moe_text"],
        defaults: assumed(151_936, 16, 128_000).kv_heads(16),
        rope: SECTIONS,
        norms: PER_HEAD,
        experts: Experts { always_packed: true, ..LISTED },
        image_layers: 3,
        synthetic: None,
        vllm: stages(true, true, true),
        ..LLAMA_LIKE
    };
    /// Qwen3-Next: gated delta-net layers, every fourth with full attention; experts.
    Qwen3Next = "qwen3_next": Family {
        gguf: "qwen3next",
        hf: &["qwen3_next"],
        defaults: assumed(151_936, 16, 32_768).kv_heads(2).head_dim(256),
        layers: LayerKinds::DeltaNet(DeltaNet { joint_gates: true, vllm_state_bytes: 2 }),
        rope: partly(4),
        norms: Norms { qk: QkNorm::PerHead, ..RENAMED },
        experts: LISTED_AND_SHARED,
        graph: KEEPS_NORMED,
        synthetic: Some(synthetic(1e7, 1e-6)),
        vllm: stages(true, false, true),
        ..LLAMA_LIKE
    };
    /// Qwen3.5 dense: gated delta-net layers, every fourth with full attention.
    Qwen35 = "qwen3_5": Family {
        gguf: "qwen35",
        hf: &["qwen3_5", "qwen3_5_text"],
        defaults: assumed(248_320, 16, 32_768).kv_heads(4).head_dim(256),
        layers: LayerKinds::DeltaNet(DeltaNet { joint_gates: false, vllm_state_bytes: 4 }),
        rope: Rope { sections: true, ..partly(4) },
        norms: Norms { qk: QkNorm::PerHead, ..RENAMED },
        graph: KEEPS_NORMED,
        synthetic: Some(synthetic(1e7, 1e-6)),
        transformers: NEW,
        vllm: stages(true, false, false),
        ..LLAMA_LIKE
    };
    /// Qwen3.5 with experts.
    Qwen35Moe = "qwen3_5_moe": Family {
        gguf: "qwen35moe",
        hf: &["qwen3_5_moe", "qwen3_5_moe_text"],
        defaults: assumed(248_320, 16, 32_768).kv_heads(2).head_dim(256),
        layers: LayerKinds::DeltaNet(DeltaNet { joint_gates: false, vllm_state_bytes: 4 }),
        rope: Rope { sections: true, ..partly(4) },
        norms: Norms { qk: QkNorm::PerHead, ..RENAMED },
        experts: LISTED_AND_SHARED,
        graph: KEEPS_NORMED,
        synthetic: Some(synthetic(1e7, 1e-6)),
        transformers: NEW,
        vllm: stages(true, false, false),
        ..LLAMA_LIKE
    };
    /// Gemma 1.
    Gemma = "gemma": Family {
        gguf: "gemma",
        hf: &["gemma"],
        defaults: assumed(256_000, 16, 8192).kv_heads(16).head_dim(256).tied(),
        scales: GEMMA,
        transformers: LONG,
        vllm: stages(true, true, false),
        ..LLAMA_LIKE
    };
    /// Gemma 2: four norms a layer, alternating windows, soft-capped logits.
    Gemma2 = "gemma2": Family {
        gguf: "gemma2",
        hf: &["gemma2"],
        defaults: assumed(256_000, 8, 8192).kv_heads(4).head_dim(256).tied(),
        windows: Windows { gguf: Some(gguf_windows(Some(4096), 2)), ..windows(HfWindows::AllBut(2)) },
        norms: FOUR,
        softcaps: SoftCaps::Usual,
        scales: GEMMA,
        transformers: Transformers { eager_only: true, ..LONG },
        vllm: stages(true, true, false),
        ..LLAMA_LIKE
    };
    /// Gemma 3 (text): four norms a layer, five windowed layers to a full one.
    Gemma3 = "gemma3": Family {
        gguf: "gemma3",
        hf: &["gemma3", "gemma3_text"],
        defaults: assumed(262_208, 8, 131_072).kv_heads(4).head_dim(256).tied(),
        windows: Windows { gguf: Some(gguf_windows(None, 6)), ..windows(HfWindows::AllButStated(6)) },
        rope: Rope { tables: 2, ..LLAMA_LIKE.rope },
        norms: Norms { qk: QkNorm::PerHead, ..FOUR },
        softcaps: SoftCaps::Stated,
        scales: GEMMA,
        synthetic: Some(synthetic(1e6, 1e-6)),
        vllm: Vllm {
            rotation: RotationTables::TwoStretched,
            images_attend: true,
            ..stages(true, true, false)
        },
        ..LLAMA_LIKE
    };
    /// Gemma 4 without experts and embeddings of layers: full layers have heads of another size.
    Gemma4 = "gemma4": Family {
        gguf: "gemma4",
        hf: &["gemma4", "gemma4_text"],
        defaults: assumed(262_144, 8, 131_072).kv_heads(4).head_dim(256).tied(),
        layers: LayerKinds::TwoHeadSizes,
        windows: Windows {
            hf_size: Some(512),
            gguf: Some(gguf_windows(None, 6)),
            ..windows(HfWindows::AllButStated(6))
        },
        rope: Rope { tables: 2, ..LLAMA_LIKE.rope },
        norms: Norms { qk: QkNorm::PerHead, values: true, ..FOUR },
        layer_scalar: true,
        softcaps: SoftCaps::Stated,
        scales: Scales { embeddings: true, ..NO_SCALES },
        gguf_extras: GgufExtras { frequencies: Frequencies::Always, ..LLAMA_LIKE.gguf_extras },
        graph: KEEPS_NORMED,
        synthetic: None,
        transformers: NEW,
        vllm: Vllm { rotation: RotationTables::Two, ..stages(true, true, false) },
        ..LLAMA_LIKE
    };
    /// Phi-3 and Phi-4: fused q, k, v and fused gate and up projections.
    Phi3 = "phi3": Family {
        gguf: "phi3",
        hf: &["phi3"],
        defaults: assumed(32_064, 32, 4096),
        windows: Windows { hf_size: None, ..windows(HfWindows::Every) },
        biases: NO_BIASES,
        fused_projections: true,
        scales: Scales { queries: true, ..NO_SCALES },
        graph: LlamaGraph { residual_first: true, ..GRAPH },
        synthetic: Some(synthetic(10_000.0, 1e-5)),
        transformers: LONG,
        ..LLAMA_LIKE
    };
    /// gpt-oss: experts with biases, alternating windows, attention sinks.
    GptOss = "gpt_oss": Family {
        gguf: "gpt-oss",
        hf: &["gpt_oss"],
        defaults: assumed(201_088, 64, 131_072).kv_heads(8).head_dim(64),
        windows: Windows {
            hf_size: Some(128),
            gguf: Some(gguf_windows(None, 2)),
            ..windows(HfWindows::AllBut(2))
        },
        norms: RENAMED,
        biases: Biases {
            qkv: Bias::Stated("attention_bias", true),
            output: Bias::Stated("attention_bias", true),
            ffn: Bias::Never,
        },
        attention_sinks: true,
        experts: Experts {
            hf: HfExperts::Plain,
            routing: Routing::SoftmaxOfChosen,
            router_bias: RouterBias::Linear,
            bias: true,
            published: Some(GgmlType::Mxfp4),
            always_packed: true,
            linear_router: false,
            ..NO_EXPERTS
        },
        graph: LlamaGraph { hidden_states: HiddenStates::BeforeNorm, ..GRAPH },
        synthetic: Some(synthetic(150_000.0, 1e-5)),
        transformers: Transformers { eager_only: true, ..LLAMA_LIKE.transformers },
        vllm: Vllm { rotation_in_f32: true, captures_more: true, ..stages(true, true, true) },
        ..LLAMA_LIKE
    };
    /// DeepSeek-V2, V3 and R1: multi-head latent attention, shared experts.
    DeepSeek2 = "deepseek2": Family {
        gguf: "deepseek2",
        hf: &["deepseek_v2", "deepseek_v3"],
        defaults: assumed(102_400, 32, 4096),
        layers: LayerKinds::Latent,
        rope: INTERLEAVED,
        biases: Biases {
            qkv: Bias::Refused("attention_bias"),
            ffn: Bias::Refused("mlp_bias"),
            ..NO_BIASES
        },
        experts: Experts {
            hf: HfExperts::Leading(0),
            routing: Routing::SigmoidIfCorrected,
            scaled: ScaledWeights::WithQueryRank,
            router_bias: RouterBias::CorrectionInSome,
            linear_router: false,
            weighed_in_f32: true,
            ordered_in_f32: true,
            ..NO_EXPERTS
        },
        ..LLAMA_LIKE
    };
    /// Granite 3: Llama's tensors with scaled residuals.
    Granite = "granite": Family {
        gguf: "granite",
        hf: &["granite"],
        rope: INTERLEAVED,
        biases: MLP_BIASES,
        scales: GRANITE,
        vllm: Vllm { takes_more: true, ..LLAMA_LIKE.vllm },
        ..LLAMA_LIKE
    };
    /// Granite 4 H: Mamba-2 layers, a few with attention, with experts or without.
    GraniteHybrid = "granite_hybrid": Family {
        gguf: "granitehybrid",
        hf: &["granitemoehybrid"],
        layers: LayerKinds::StateSpace,
        rope: Rope { layers: RopeLayers::None, ..INTERLEAVED },
        experts: Experts { hf: HfExperts::Optional, ..NO_EXPERTS },
        scales: GRANITE,
        synthetic: None,
        vllm: stages(true, true, true),
        ..LLAMA_LIKE
    };
    /// GLM-4.5 and 4.6: experts with a shared one, a few dense layers first.
    Glm4Moe = "glm4_moe": Family {
        gguf: "glm4moe",
        hf: &["glm4_moe"],
        defaults: assumed(151_552, 96, 131_072).kv_heads(8),
        rope: partly(2),
        norms: Norms { qk: QkNorm::PerHead, qk_if_asked: true, ..RENAMED },
        biases: Biases { qkv: ATTENTION_BIAS, ..NO_BIASES },
        experts: Experts {
            hf: HfExperts::Leading(1),
            routing: Routing::Sigmoid,
            scaled: ScaledWeights::AboveExperts(128),
            router_bias: RouterBias::Correction,
            linear_router: false,
            weighed_in_f32: true,
            ..NO_EXPERTS
        },
        gguf_extras: GgufExtras { predicting_layers: 1, ..LLAMA_LIKE.gguf_extras },
        synthetic: Some(synthetic(10_000.0, 1e-5)),
        vllm: Vllm { router_in_f32: true, ..LLAMA_LIKE.vllm },
        ..LLAMA_LIKE
    };
    /// OLMo 2: norms after the sublayers, full-width norms on q and k.
    Olmo2 = "olmo2": Family {
        gguf: "olmo2",
        hf: &["olmo2"],
        defaults: assumed(50_304, 32, 2048),
        order: LayerOrder::PostNorm,
        windows: Windows { gguf: Some(gguf_windows(None, 4)), ..LLAMA_LIKE.windows },
        rope: Rope { in_f32: true, ..LLAMA_LIKE.rope },
        norms: Norms {
            stems: &["post_attention_norm", "post_ffw_norm"],
            qk: QkNorm::Full,
            ..RMS
        },
        synthetic: Some(synthetic(10_000.0, 1e-5)),
        vllm: stages(true, true, true),
        ..LLAMA_LIKE
    };
    /// `SmolLM3`: Llama without positions in every fourth layer.
    SmolLm3 = "smollm3": Family {
        gguf: "smollm3",
        hf: &["smollm3"],
        defaults: assumed(128_256, 16, 32_768).kv_heads(4).tied(),
        windows: windows(HfWindows::FromLayerIfUsed),
        rope: Rope { layers: RopeLayers::AllBut(4), ..INTERLEAVED },
        biases: MLP_BIASES,
        synthetic: Some(synthetic(2e6, 1e-6)),
        ..LLAMA_LIKE
    };
    /// Command-R: one norm a layer, attention and MLP in parallel, tied embeddings.
    Cohere = "cohere": Family {
        gguf: "command-r",
        hf: &["cohere"],
        defaults: assumed(256_000, 64, 8192).tied(),
        order: LayerOrder::Parallel,
        rope: INTERLEAVED,
        norms: Norms {
            stems: &["attn_norm"],
            subtract_mean: true,
            qk: QkNorm::Full,
            qk_if_asked: true,
            ..RMS
        },
        scales: Scales { logits: true, stated: StatedScales::Logits(0.0625), ..NO_SCALES },
        synthetic: Some(synthetic(500_000.0, 1e-5)),
        transformers: LONG,
        vllm: stages(true, true, false),
        ..LLAMA_LIKE
    };
    /// `StarCoder2`: `LayerNorm` and linear layers with biases, an MLP without a gate.
    StarCoder2 = "starcoder2": Family {
        gguf: "starcoder2",
        hf: &["starcoder2"],
        defaults: assumed(49_152, 24, 4096).kv_heads(2).tied(),
        windows: Windows { hf_size: None, ..windows(HfWindows::Every) },
        norms: Norms { subtract_mean: true, bias: true, ..RMS },
        biases: Biases {
            qkv: Bias::Stated("use_bias", true),
            output: Bias::Stated("use_bias", true),
            ffn: Bias::Stated("use_bias", true),
        },
        gated_ffn: false,
        synthetic: Some(synthetic(10_000.0, 1e-5)),
        transformers: LONG,
        vllm: stages(true, true, true),
        ..LLAMA_LIKE
    };
}
