//! The families, one row each. A row says what differs from [`LLAMA_LIKE`].

use serde::{Deserialize, Serialize};

use super::{
    AdapterSlots, Bias, Biases, Defaults, DeltaNet, Earlier, EveryStage, Experts, Family,
    Frequencies, GgufExtras, GgufWindow, HfExperts, HfWindows, HiddenStates, IndexerKind,
    LayerKinds, LayerOrder, LlamaGraph, Norms, RmsNorm, Rope, RopeLayers, RopePairs,
    RotationTables, RouterBias, Routing, ScaledWeights, Scales, Sglang, SoftCaps, StatedScales,
    Synthetic, Transformers, Vllm, Windows,
};
use crate::dtype::GgmlType;
use crate::spec::{QkNorm, SglangVersion, TransformersVersion};

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
pub(super) const LLAMA_LIKE: Family = Family {
    gguf: "llama",
    hf: &[],
    keys: &[],
    defaults: assumed(32_000, 32, 2048),
    earlier: LATER,
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
    sinks_in_windows: false,
    layer_scalar: false,
    windows_have_heads: false,
    windows_kv_heads_times: 1,
    head_gates: false,
    head_bias: None,
    head_bias_always: false,
    output_gate: false,
    indexer: None,
    activation_parameters: 0,
    layer_embeddings: None,
    shared_cache_layers: 0,
    streams: None,
    alt_up: false,
    adjusted_ffn: false,
    softcaps: SoftCaps::Never,
    experts: NO_EXPERTS,
    scales: NO_SCALES,
    image_layers: 0,
    gguf_extras: GgufExtras {
        frequencies: Frequencies::Never,
        predicting_layers: 0,
        head_first: false,
    },
    graph: GRAPH,
    synthetic: Some(synthetic(10_000.0, 1e-6)),
    transformers: Transformers {
        since: TransformersVersion::RepeatedHeads,
        eager_only: false,
        router_in_f32: false,
        norm: RmsNorm::InSixteenBits,
    },
    vllm: Vllm {
        every_stage: EveryStage { embedding: false, norm: false, head: false },
        rotation: RotationTables::One,
        rotation_in_f32: false,
        router_in_f32: false,
        captures_more: false,
        images_attend: false,
        takes_more: false,
        adapters: AdapterSlots {
            embedding: false,
            head: false,
            joined_experts: false,
            joined_mlp: false,
        },
        whole_shared_experts: false,
    },
    sglang: Sglang { window_pool_since: None, large_workspace: false },
};

/// Windows with a pool of their own under `SGLang`, from a release on.
const fn window_pool(since: SglangVersion) -> Sglang {
    Sglang { window_pool_since: Some(since), ..LLAMA_LIKE.sglang }
}
const LARGE_WORKSPACE: Sglang = Sglang { large_workspace: true, ..LLAMA_LIKE.sglang };

/// What `config.json` is taken to mean where it says nothing: as many heads of keys and values as of queries,
/// which share the width of the model; separate embeddings.
const fn assumed(vocab_size: u64, n_heads: u64, context_len: u64) -> Defaults {
    Defaults { vocab_size, n_heads, kv_heads: None, head_dim: None, context_len, tied: false }
}

const LATER: Earlier = Earlier {
    positions: None,
    embedding_norm: false,
    ffn_times: None,
    ffn_halved: false,
    multi_query: None,
};
/// MLPs four times as wide as the model where a file does not say.
const FOUR_TIMES: Earlier = Earlier { ffn_times: Some(4), ..LATER };
/// The names of GPT-2's numbers.
const GPT2_KEYS: &[(&str, &str)] = &[
    ("hidden_size", "n_embd"),
    ("num_hidden_layers", "n_layer"),
    ("num_attention_heads", "n_head"),
    ("intermediate_size", "n_inner"),
    ("max_position_embeddings", "n_positions"),
];
/// The same under other names (MPT, DBRX).
const MPT_KEYS: &[(&str, &str)] = &[
    ("hidden_size", "d_model"),
    ("num_hidden_layers", "n_layers"),
    ("num_attention_heads", "n_heads"),
    ("max_position_embeddings", "max_seq_len"),
    ("num_key_value_heads", "attn_config.kv_n_heads"),
    ("intermediate_size", "ffn_config.ffn_hidden_size"),
    ("num_experts", "ffn_config.moe_num_experts"),
    ("num_experts_per_tok", "ffn_config.moe_top_k"),
];

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
const ALL_BIASES: Biases = Biases { qkv: Bias::Always, output: Bias::Always, ffn: Bias::Always };
/// Those of the MLP alone.
const FFN_BIASES: Biases = Biases { ffn: Bias::Always, ..NO_BIASES };
/// Those of Qwen2's q, k and v.
const QKV_BIASES: Biases = Biases { qkv: Bias::Always, ..NO_BIASES };
/// All by one key, without it none.
const USE_BIAS: Biases = Biases {
    qkv: Bias::Stated("use_bias", false),
    output: Bias::Stated("use_bias", false),
    ffn: Bias::Stated("use_bias", false),
};
const MLP_BIASES: Biases = Biases { ffn: Bias::Stated("mlp_bias", false), ..LLAMA_LIKE.biases };

pub(super) const RMS: Norms = Norms {
    stems: &["attn_norm", "ffn_norm"],
    subtract_mean: false,
    bias: false,
    qk: QkNorm::None,
    qk_if_asked: false,
    values: false,
    last_apart: false,
    weightless: false,
    inner: false,
    behind_experts: false,
    one_if_parallel: false,
};
/// `LayerNorm`, with biases.
const LAYER_NORM: Norms = Norms { subtract_mean: true, bias: true, ..RMS };
/// Gemma's norms before and after both sublayers.
const FOUR: Norms =
    Norms { stems: &["attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"], ..RMS };
/// Those of Gemma.
const GEMMA_NORMS: Norms = Norms { last_apart: true, ..FOUR };
const PER_HEAD: Norms = Norms { qk: QkNorm::PerHead, ..RMS };
/// The norm before the MLP goes by the name of one behind attention.
const RENAMED: Norms = Norms { stems: &["attn_norm", "post_attention_norm"], ..RMS };

pub(super) const NO_EXPERTS: Experts = Experts {
    hf: HfExperts::None,
    dense_first: 0,
    n_shared: 0,
    n_used: None,
    gguf_width: true,
    routing: Routing::Softmax,
    scaled: ScaledWeights::Never,
    router_bias: RouterBias::None,
    bias: false,
    divided_gate: false,
    weighs_inputs: false,
    published: None,
    always_packed: false,
    linear_router: true,
    weighed_in_f32: false,
    ordered_in_f32: false,
};
/// By whichever keys a file has.
const STATED: Experts = Experts { hf: HfExperts::Stated, ..NO_EXPERTS };
/// The same with scores that a bias corrects, and sigmoids before it.
const CORRECTED: Experts = Experts {
    routing: Routing::Sigmoid,
    router_bias: RouterBias::Correction,
    linear_router: false,
    ..STATED
};
const LISTED: Experts = Experts { hf: HfExperts::Listed, ..NO_EXPERTS };
const LISTED_AND_SHARED: Experts = Experts { hf: HfExperts::ListedAndShared, ..NO_EXPERTS };

pub(super) const NO_SCALES: Scales = Scales {
    embeddings: false,
    residuals: false,
    queries: false,
    logits: false,
    stated: StatedScales::None,
};
pub(super) const GRANITE: Scales = Scales {
    embeddings: true,
    residuals: true,
    logits: true,
    stated: StatedScales::Granite,
    ..NO_SCALES
};
const GEMMA: Scales = Scales { embeddings: true, queries: true, ..NO_SCALES };

const GRAPH: LlamaGraph = LlamaGraph {
    hidden_states: HiddenStates::None,
    residual_first: false,
    stream_first: false,
    token_scale: false,
    known: true,
};
/// llama.cpp's graph of a family that is not built here.
const NO_GRAPH: LlamaGraph = LlamaGraph { known: false, ..GRAPH };
const KEEPS_NORMED: LlamaGraph = LlamaGraph { hidden_states: HiddenStates::AfterNorm, ..GRAPH };

/// In transformers since 4.36 or before.
const LONG: Transformers =
    Transformers { since: TransformersVersion::AllLogits, ..LLAMA_LIKE.transformers };
/// In transformers since 5.0.
const NEW: Transformers =
    Transformers { since: TransformersVersion::Current, ..LLAMA_LIKE.transformers };

/// The same with a router in f32.
const NEW_F32: Transformers = Transformers { router_in_f32: true, ..NEW };
const ROUTER_F32: Transformers = Transformers { router_in_f32: true, ..LLAMA_LIKE.transformers };

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

/// Positions that are learned, or slopes of every head.
const UNROTATED: Rope = Rope { layers: RopeLayers::None, ..LLAMA_LIKE.rope };
const SECTIONS: Rope = Rope { sections: true, ..LLAMA_LIKE.rope };
pub(super) const INTERLEAVED: Rope = Rope { pairs: RopePairs::Interleaved, ..LLAMA_LIKE.rope };

/// Latent attention, which the families after DeepSeek have.
const LATENT: Family = Family {
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

/// The same without a graph of its own.
const DEEPSEEK: Family = Family { graph: NO_GRAPH, synthetic: None, transformers: NEW, ..LATENT };

/// Gemma 4 and what is like it.
const GEMMA4: Family = Family {
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
    norms: Norms { qk: QkNorm::PerHead, values: true, ..GEMMA_NORMS },
    layer_scalar: true,
    layer_embeddings: Some(256),
    experts: STATED,
    softcaps: SoftCaps::Stated,
    scales: Scales { embeddings: true, ..NO_SCALES },
    gguf_extras: GgufExtras {
        frequencies: Frequencies::Always,
        head_first: true,
        ..LLAMA_LIKE.gguf_extras
    },
    graph: LlamaGraph { token_scale: true, ..KEEPS_NORMED },
    synthetic: None,
    transformers: Transformers { norm: RmsNorm::InF32, ..NEW },
    vllm: Vllm { rotation: RotationTables::Two, ..stages(true, true, false) },
    sglang: window_pool(SglangVersion::of(5, 11)),
    ..LLAMA_LIKE
};

/// What has no graph of llama.cpp's here, and is not written by `synth`.
const NEWCOMER: Family = Family { graph: NO_GRAPH, synthetic: None, ..LLAMA_LIKE };

families! {
    /// Llama 1 to 3, `SmolLM2`, `TinyLlama`, Yi and everything else of that shape.
    Llama = "llama": Family {
        hf: &["llama", "yi"],
        rope: INTERLEAVED,
        biases: MLP_BIASES,
        gguf_extras: GgufExtras { frequencies: Frequencies::OfLlama3, ..LLAMA_LIKE.gguf_extras },
        transformers: LONG,
        vllm: LLAMA_LIKE.vllm.adapts(true, true),
        ..LLAMA_LIKE
    };
    /// Mistral 7B, Nemo, Small, Codestral: Llama's tensors, with or without a sliding window.
    Mistral = "mistral": Family {
        hf: &["mistral", "ministral3", "voxtral_realtime_text"],
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
        experts: Experts { n_used: Some(2), hf: HfExperts::Plain, gguf_width: false, ..NO_EXPERTS },
        synthetic: Some(synthetic(1e6, 1e-5)),
        transformers: LONG,
        vllm: stages(true, true, true).adapts(true, true),
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
        sglang: LARGE_WORKSPACE,
        ..LLAMA_LIKE
    };
    /// Qwen2-VL and Qwen2.5-VL: Qwen2's tensors, positions in sections.
    Qwen2Vl = "qwen2_vl": Family {
        gguf: "qwen2vl",
        hf: &["qwen2_vl", "qwen2_vl_text", "qwen2_5_vl", "qwen2_5_vl_text", "qwen2_5_omni", "qwen2_5_omni_thinker", "qwen2_5_omni_text"],
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
        hf: &["qwen3", "qwen3_asr"],
        defaults: assumed(151_936, 32, 32_768).kv_heads(32).head_dim(128),
        windows: windows(HfWindows::FromLayerIfUsed),
        norms: PER_HEAD,
        synthetic: Some(synthetic(1e6, 1e-6)),
        sglang: LARGE_WORKSPACE,
        vllm: LLAMA_LIKE.vllm.adapts(true, true),
        ..LLAMA_LIKE
    };
    /// Qwen3 with experts.
    Qwen3Moe = "qwen3_moe": Family {
        gguf: "qwen3moe",
        hf: &["qwen3_moe", "qwen3_omni_moe_text"],
        defaults: assumed(151_936, 32, 32_768).kv_heads(4),
        windows: windows(HfWindows::EveryIfUsed),
        norms: PER_HEAD,
        experts: LISTED,
        synthetic: Some(synthetic(1e6, 1e-6)),
        vllm: stages(true, true, true).adapts(true, true),
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
        sglang: LARGE_WORKSPACE,
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
        vllm: stages(true, true, true).joins_experts(),
        sglang: LARGE_WORKSPACE,
        ..LLAMA_LIKE
    };
    /// Qwen3-Next: gated delta-net layers, every fourth with full attention; experts.
    Qwen3Next = "qwen3_next": Family {
        gguf: "qwen3next",
        hf: &["qwen3_next"],
        defaults: assumed(151_936, 16, 32_768).kv_heads(2).head_dim(256),
        layers: LayerKinds::DeltaNet(DeltaNet { joint_gates: true, gates_attention: true, vllm_state_bytes: 2 }),
        rope: partly(4),
        norms: Norms { qk: QkNorm::PerHead, ..RENAMED },
        experts: LISTED_AND_SHARED,
        graph: KEEPS_NORMED,
        synthetic: Some(synthetic(1e7, 1e-6)),
        vllm: Vllm { whole_shared_experts: true, ..stages(true, false, true) },
        transformers: Transformers { norm: RmsNorm::OnePlusWeight, ..LLAMA_LIKE.transformers },
        ..LLAMA_LIKE
    };
    /// Qwen3.5 dense: gated delta-net layers, every fourth with full attention.
    Qwen35 = "qwen3_5": Family {
        gguf: "qwen35",
        hf: &["qwen3_5", "qwen3_5_text"],
        defaults: assumed(248_320, 16, 32_768).kv_heads(4).head_dim(256),
        layers: LayerKinds::DeltaNet(DeltaNet { joint_gates: false, gates_attention: true, vllm_state_bytes: 4 }),
        rope: Rope { sections: true, ..partly(4) },
        norms: Norms { qk: QkNorm::PerHead, ..RENAMED },
        graph: KEEPS_NORMED,
        synthetic: Some(synthetic(1e7, 1e-6)),
        transformers: Transformers { norm: RmsNorm::OnePlusWeight, ..NEW },
        vllm: stages(true, false, false).adapts(true, true),
        ..LLAMA_LIKE
    };
    /// Qwen3.5 with experts.
    Qwen35Moe = "qwen3_5_moe": Family {
        gguf: "qwen35moe",
        hf: &["qwen3_5_moe", "qwen3_5_moe_text"],
        defaults: assumed(248_320, 16, 32_768).kv_heads(2).head_dim(256),
        layers: LayerKinds::DeltaNet(DeltaNet { joint_gates: false, gates_attention: true, vllm_state_bytes: 4 }),
        rope: Rope { sections: true, ..partly(4) },
        norms: Norms { qk: QkNorm::PerHead, ..RENAMED },
        experts: LISTED_AND_SHARED,
        graph: KEEPS_NORMED,
        synthetic: Some(synthetic(1e7, 1e-6)),
        transformers: Transformers { norm: RmsNorm::OnePlusWeight, ..NEW },
        vllm: Vllm { whole_shared_experts: true, ..stages(true, false, false).adapts(true, true).joins_experts() },
        ..LLAMA_LIKE
    };
    /// Gemma 1.
    Gemma = "gemma": Family {
        gguf: "gemma",
        hf: &["gemma"],
        defaults: assumed(256_000, 16, 8192).kv_heads(16).head_dim(256).tied(),
        scales: GEMMA,
        transformers: Transformers { norm: RmsNorm::OnePlusWeight, ..LONG },
        vllm: stages(true, true, false),
        ..LLAMA_LIKE
    };
    /// Gemma 2: four norms a layer, alternating windows, soft-capped logits.
    Gemma2 = "gemma2": Family {
        gguf: "gemma2",
        hf: &["gemma2"],
        defaults: assumed(256_000, 8, 8192).kv_heads(4).head_dim(256).tied(),
        windows: Windows { gguf: Some(gguf_windows(Some(4096), 2)), ..windows(HfWindows::AllBut(2)) },
        norms: GEMMA_NORMS,
        softcaps: SoftCaps::Usual,
        scales: GEMMA,
        transformers: Transformers { eager_only: true, norm: RmsNorm::OnePlusWeight, ..LONG },
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
        norms: Norms { qk: QkNorm::PerHead, ..GEMMA_NORMS },
        softcaps: SoftCaps::Stated,
        scales: GEMMA,
        graph: LlamaGraph { token_scale: true, ..GRAPH },
        synthetic: Some(synthetic(1e6, 1e-6)),
        vllm: Vllm {
            rotation: RotationTables::TwoStretched,
            images_attend: true,
            ..stages(true, true, false)
        },
        transformers: Transformers { norm: RmsNorm::OnePlusWeight, ..LLAMA_LIKE.transformers },
        ..LLAMA_LIKE
    };
    /// Gemma 4: full layers have heads of another size; experts beside the MLP, embeddings of every layer in some.
    Gemma4 = "gemma4": GEMMA4;
    /// Gemma 4 12B: without towers, without embeddings of its layers.
    Gemma4Unified = "gemma4_unified": Family {
        hf: &["gemma4_unified", "gemma4_unified_text"],
        defaults: assumed(262_144, 8, 262_144).kv_heads(4).head_dim(256).tied(),
        windows: Windows { hf_size: Some(1024), ..GEMMA4.windows },
        layer_embeddings: None,
        experts: NO_EXPERTS,
        ..GEMMA4
    };
    /// Phi-3 and Phi-4: fused q, k, v and fused gate and up projections.
    Phi3 = "phi3": Family {
        gguf: "phi3",
        hf: &["phi3", "phi3_v", "phi4mm"],
        defaults: assumed(32_064, 32, 4096),
        windows: Windows { hf_size: None, ..windows(HfWindows::Every) },
        biases: NO_BIASES,
        fused_projections: true,
        scales: Scales { queries: true, ..NO_SCALES },
        graph: LlamaGraph { residual_first: true, ..GRAPH },
        synthetic: Some(synthetic(10_000.0, 1e-5)),
        transformers: LONG,
        vllm: LLAMA_LIKE.vllm.adapts(true, true),
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
        transformers: Transformers { eager_only: true, norm: RmsNorm::InF32, ..LLAMA_LIKE.transformers },
        vllm: Vllm { rotation_in_f32: true, captures_more: true, ..stages(true, true, true) }.joins_experts(),
        sglang: window_pool(SglangVersion::OLDEST),
        ..LLAMA_LIKE
    };
    /// DeepSeek-V2, V3 and R1: multi-head latent attention, shared experts.
    DeepSeek2 = "deepseek2": Family {
        gguf: "deepseek2",
        hf: &["deepseek_v2", "deepseek_v3", "kimi_k2", "kimi_k25", "kimi_k2_text"],
        defaults: assumed(102_400, 32, 4096),
        transformers: ROUTER_F32,
        vllm: Vllm { whole_shared_experts: true, ..LLAMA_LIKE.vllm },
        ..LATENT
    };
    /// Granite 3: Llama's tensors with scaled residuals.
    Granite = "granite": Family {
        gguf: "granite",
        hf: &["granite", "granite_docling_text"],
        rope: INTERLEAVED,
        biases: MLP_BIASES,
        scales: GRANITE,
        vllm: Vllm { takes_more: true, ..LLAMA_LIKE.vllm }.adapts(true, true),
        ..LLAMA_LIKE
    };
    /// Granite 4 H: Mamba-2 layers, a few with attention, with experts or without.
    GraniteHybrid = "granite_hybrid": Family {
        gguf: "granitehybrid",
        hf: &["granitemoehybrid"],
        layers: LayerKinds::StateSpace,
        rope: Rope { layers: RopeLayers::None, ..INTERLEAVED },
        experts: Experts { n_used: Some(2), hf: HfExperts::Optional, ..NO_EXPERTS },
        scales: GRANITE,
        synthetic: None,
        vllm: stages(true, true, true).adapts(true, true).joins_mlp(),
        ..LLAMA_LIKE
    };
    /// GLM-4.5 and 4.6: experts with a shared one, a few dense layers first.
    Glm4Moe = "glm4_moe": Family {
        gguf: "glm4moe",
        hf: &["glm4_moe", "glm4v_moe", "glm4v_moe_text"],
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
        transformers: ROUTER_F32,
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
            last_apart: true,
            qk: QkNorm::Full,
            ..RMS
        },
        synthetic: Some(synthetic(10_000.0, 1e-5)),
        vllm: stages(true, true, true),
        transformers: Transformers { norm: RmsNorm::InF32, ..LLAMA_LIKE.transformers },
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
        transformers: Transformers { norm: RmsNorm::InF32, ..LONG },
        vllm: stages(true, true, false).adapts(true, false),
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
        transformers: Transformers { norm: RmsNorm::OneKernel, ..LONG },
        vllm: stages(true, true, true).adapts(true, false),
        ..LLAMA_LIKE
    };
    /// DeepSeek-V3.2: an indexer chooses the tokens that latent attention reads.
    DeepSeek32 = "deepseek_v32": Family {
        gguf: "deepseek32",
        hf: &["deepseek_v32"],
        defaults: assumed(129_280, 128, 163_840),
        indexer: Some(IndexerKind { n_heads: 64, plain: false, pooled: None }),
        experts: Experts { n_shared: 1, hf: HfExperts::Leading(3), router_bias: RouterBias::Correction, ..DEEPSEEK.experts },
        transformers: NEW_F32,
        ..DEEPSEEK
    };
    /// GLM-5: DeepSeek-V3.2's layers; some use what the one before them chose.
    GlmMoeDsa = "glm_moe_dsa": Family {
        gguf: "glm-dsa",
        hf: &["glm_moe_dsa"],
        defaults: assumed(154_880, 64, 202_752),
        indexer: Some(IndexerKind { n_heads: 32, plain: false, pooled: None }),
        experts: Experts { n_shared: 1, hf: HfExperts::Leading(3), router_bias: RouterBias::Correction, ..DEEPSEEK.experts },
        transformers: NEW_F32,
        ..DEEPSEEK
    };
    /// GLM-4.7-Flash: latent attention.
    Glm4MoeLite = "glm4_moe_lite": Family {
        gguf: "glm4-moe-lite",
        hf: &["glm4_moe_lite"],
        defaults: assumed(154_880, 20, 202_752),
        experts: Experts { n_shared: 1, hf: HfExperts::Leading(1), router_bias: RouterBias::Correction, ..DEEPSEEK.experts },
        transformers: NEW_F32,
        ..DEEPSEEK
    };
    /// Mistral 4: latent attention, experts in every layer.
    Mistral4 = "mistral4": Family {
        gguf: "mistral4",
        hf: &["mistral4"],
        defaults: assumed(131_072, 32, 1_048_576),
        experts: Experts { n_shared: 1, hf: HfExperts::Leading(0), router_bias: RouterBias::None, ..DEEPSEEK.experts },
        ..DEEPSEEK
    };
    /// `MiniCPM3`: latent attention, dense.
    MiniCpm3 = "minicpm3": Family {
        gguf: "minicpm3",
        hf: &["minicpm3"],
        defaults: assumed(73_448, 40, 32_768).tied(),
        experts: NO_EXPERTS,
        ..DEEPSEEK
    };
    /// DeepSeek-V4: keys that are compressed, residual streams.
    DeepSeek4 = "deepseek_v4": Family {
        gguf: "deepseek4",
        hf: &["deepseek_v4", "deepseek_ref"],
        defaults: assumed(129_280, 64, 1_048_576).kv_heads(1).head_dim(512),
        layers: LayerKinds::Compressed,
        windows: Windows { hf_size: Some(128), ..windows(HfWindows::Compressed) },
        biases: NO_BIASES,
        indexer: Some(IndexerKind { n_heads: 64, plain: false, pooled: None }),
        streams: Some(4),
        attention_sinks: true,
        experts: Experts { n_shared: 1, hf: HfExperts::Leading(0), ..CORRECTED },
        graph: NO_GRAPH,
        synthetic: None,
        transformers: NEW,
        ..LLAMA_LIKE
    };
    /// Kimi Linear: three layers with a delta-net to one with latent attention.
    KimiLinear = "kimi_linear": Family {
        gguf: "kimi-linear",
        hf: &["kimi_linear"],
        defaults: assumed(163_840, 32, 1_048_576),
        layers: LayerKinds::LatentAndDelta,
        experts: Experts { n_shared: 1, n_used: Some(8), dense_first: 1, ..CORRECTED },
        biases: NO_BIASES,
        transformers: NEW_F32,
        ..DEEPSEEK
    };
    /// MiniMax-M2: norms over all heads, experts in every layer.
    MiniMaxM2 = "minimax_m2": Family {
        gguf: "minimax-m2",
        hf: &["minimax_m2"],
        defaults: assumed(200_064, 48, 196_608).kv_heads(8).head_dim(128),
        norms: Norms { qk: QkNorm::Full, ..RMS },
        biases: NO_BIASES,
        experts: Experts { hf: HfExperts::Plain, ..CORRECTED },
        graph: NO_GRAPH,
        synthetic: None,
        transformers: NEW,
        ..LLAMA_LIKE
    };
    /// MiniMax-M3: blocks of keys that an indexer chooses, a shared expert.
    MiniMaxM3 = "minimax_m3": Family {
        gguf: "minimax-m3",
        hf: &["minimax_m3", "minimax_m3_vl", "minimax_m3_vl_text"],
        defaults: assumed(200_064, 64, 524_288).kv_heads(4).head_dim(128),
        norms: PER_HEAD,
        biases: NO_BIASES,
        indexer: Some(IndexerKind { n_heads: 4, plain: true, pooled: None }),
        experts: Experts { n_used: Some(4), ..CORRECTED },
        graph: NO_GRAPH,
        synthetic: None,
        transformers: NEW,
        ..LLAMA_LIKE
    };
    /// Llama 4: three layers that attend in chunks to one that attends to all, without positions.
    Llama4 = "llama4": Family {
        gguf: "llama4",
        hf: &["llama4", "llama4_text"],
        defaults: assumed(202_048, 40, 131_072).kv_heads(8).head_dim(128),
        windows: Windows { hf_size: Some(8192), ..windows(HfWindows::Chunks) },
        rope: Rope { layers: RopeLayers::AllBut(4), ..INTERLEAVED },
        biases: Biases { ffn: Bias::Never, ..LLAMA_LIKE.biases },
        experts: Experts { n_used: Some(1), hf: HfExperts::Llama4, routing: Routing::Sigmoid, always_packed: true, ..STATED },
        graph: NO_GRAPH,
        synthetic: None,
        sglang: window_pool(SglangVersion::of(5, 8)),
        ..LLAMA_LIKE
    };
    /// Nemotron-H and Nemotron 3: a layer is attention, state space, an MLP or experts.
    NemotronH = "nemotron_h": Family {
        gguf: "nemotron_h",
        hf: &["nemotron_h", "nemotron_h_puzzle"],
        defaults: assumed(131_072, 32, 4096).kv_heads(8).head_dim(128),
        layers: LayerKinds::OneSublayer,
        rope: Rope { layers: RopeLayers::None, ..LLAMA_LIKE.rope },
        norms: Norms { stems: &["attn_norm"], ..RMS },
        biases: Biases { ffn: Bias::Stated("mlp_bias", false), ..NO_BIASES },
        gated_ffn: false,
        experts: CORRECTED,
        graph: NO_GRAPH,
        synthetic: None,
        transformers: NEW_F32,
        vllm: LLAMA_LIKE.vllm.adapts(true, true),
        ..LLAMA_LIKE
    };
    /// Llama-Nemotron: Llama whose layers a search has cut down.
    NemotronNas = "nemotron-nas": Family {
        gguf: "deci",
        hf: &["nemotron-nas", "deci", "decilm"],
        defaults: assumed(128_256, 64, 131_072),
        layers: LayerKinds::Pruned,
        biases: MLP_BIASES,
        graph: NO_GRAPH,
        synthetic: None,
        vllm: LLAMA_LIKE.vllm.adapts(true, true),
        ..LLAMA_LIKE
    };
    /// Gemma 3n: embeddings of every layer, residual streams, shared caches.
    Gemma3n = "gemma3n": Family {
        gguf: "gemma3n",
        hf: &["gemma3n", "gemma3n_text"],
        defaults: assumed(262_400, 8, 32_768).kv_heads(2).head_dim(256).tied(),
        windows: Windows { hf_size: Some(512), ..windows(HfWindows::AllBut(5)) },
        norms: Norms { qk: QkNorm::PerHead, values: true, ..GEMMA_NORMS },
        rope: Rope { tables: 2, ..LLAMA_LIKE.rope },
        layer_embeddings: Some(256),
        shared_cache_layers: 15,
        alt_up: true,
        softcaps: SoftCaps::Stated,
        scales: GEMMA,
        gguf_extras: GgufExtras { head_first: true, ..LLAMA_LIKE.gguf_extras },
        graph: NO_GRAPH,
        synthetic: None,
        ..LLAMA_LIKE
    };
    /// `MiMo`: Qwen2's layers.
    MiMo = "mimo": Family {
        gguf: "mimo",
        hf: &["mimo"],
        defaults: assumed(151_680, 32, 32_768).kv_heads(8),
        windows: windows(HfWindows::FromLayerIfUsed),
        biases: Biases { qkv: Bias::Stated("attention_bias", true), ..NO_BIASES },
        graph: NO_GRAPH,
        synthetic: None,
        sglang: LARGE_WORKSPACE,
        ..LLAMA_LIKE
    };
    /// `MiMo-V2`: windowed layers have more heads and sinks, values are narrower than keys.
    MiMoV2 = "mimo_v2_flash": Family {
        gguf: "mimo2",
        hf: &["mimo_v2_flash", "mimo_v2"],
        defaults: assumed(152_576, 64, 262_144).kv_heads(4).head_dim(192),
        windows: Windows { hf_size: Some(128), ..windows(HfWindows::FirstAndEvery(6)) },
        biases: Biases { qkv: ATTENTION_BIAS, ..NO_BIASES },
        attention_sinks: true,
        sinks_in_windows: true,
        windows_have_heads: true,
        windows_kv_heads_times: 2,
        experts: Experts { dense_first: 1, ..CORRECTED },
        graph: NO_GRAPH,
        synthetic: None,
        transformers: NEW_F32,
        sglang: window_pool(SglangVersion::of(5, 7)),
        ..LLAMA_LIKE
    };
    /// Step 3.5 and 3.7: a gate of every head, windowed layers with heads of their own number.
    Step3p7 = "step3p7": Family {
        gguf: "step35",
        hf: &["step3p5", "step3p7", "step3p7_text"],
        defaults: assumed(128_896, 64, 65_536).kv_heads(8).head_dim(128),
        windows: windows(HfWindows::Listed),
        norms: PER_HEAD,
        biases: Biases { ffn: Bias::Stated("mlp_bias", false), ..LLAMA_LIKE.biases },
        windows_have_heads: true,
        head_gates: true,
        experts: CORRECTED,
        graph: NO_GRAPH,
        synthetic: None,
        transformers: NEW,
        sglang: window_pool(SglangVersion::of(5, 9)),
        ..LLAMA_LIKE
    };
    /// Seed-OSS: biases on q, k and v.
    SeedOss = "seed_oss": Family {
        gguf: "seed_oss",
        hf: &["seed_oss"],
        defaults: assumed(155_136, 80, 524_288).kv_heads(8).head_dim(128),
        biases: Biases {
            qkv: Bias::Stated("attention_bias", true),
            output: Bias::Stated("attention_out_bias", false),
            ffn: Bias::Stated("mlp_bias", false),
        },
        graph: NO_GRAPH,
        synthetic: None,
        ..LLAMA_LIKE
    };
    /// ERNIE 4.5: Llama's tensors.
    Ernie45 = "ernie4_5": Family {
        gguf: "ernie4_5",
        hf: &["ernie4_5", "paddleocr_vl", "paddleocr_vl_text"],
        defaults: assumed(103_424, 16, 131_072).kv_heads(2).head_dim(128).tied(),
        biases: USE_BIAS,
        graph: NO_GRAPH,
        synthetic: None,
        ..LLAMA_LIKE
    };
    /// ERNIE 4.5 with experts.
    Ernie45Moe = "ernie4_5_moe": Family {
        gguf: "ernie4_5-moe",
        hf: &["ernie4_5_moe"],
        defaults: assumed(103_424, 20, 131_072).kv_heads(4).tied(),
        biases: USE_BIAS,
        head_bias: Some("use_bias"),
        experts: Experts { n_shared: 2, n_used: Some(6), dense_first: 1, routing: Routing::Softmax, ..CORRECTED },
        graph: NO_GRAPH,
        synthetic: None,
        transformers: ROUTER_F32,
        ..LLAMA_LIKE
    };
    /// Hunyuan, dense: norms on q and k.
    HunyuanDense = "hunyuan_v1_dense": Family {
        gguf: "hunyuan-dense",
        hf: &["hunyuan_v1_dense"],
        defaults: assumed(290_943, 32, 2048),
        norms: PER_HEAD,
        graph: NO_GRAPH,
        synthetic: None,
        ..LLAMA_LIKE
    };
    /// Hunyuan with experts and a shared one.
    HunyuanMoe = "hunyuan_v1_moe": Family {
        gguf: "hunyuan-moe",
        hf: &["hunyuan_v1_moe", "hunyuan"],
        defaults: assumed(290_943, 32, 2048),
        norms: PER_HEAD,
        experts: Experts { n_shared: 1, n_used: Some(1), ..STATED },
        graph: NO_GRAPH,
        synthetic: None,
        ..LLAMA_LIKE
    };
    /// EXAONE 4: norms behind the sublayers, and on q and k.
    Exaone4 = "exaone4": Family {
        gguf: "exaone4",
        hf: &["exaone4", "exaone4_5", "exaone4_5_text"],
        defaults: assumed(102_400, 32, 2048).kv_heads(32),
        order: LayerOrder::PostNorm,
        windows: windows(HfWindows::AllButStated(4)),
        norms: Norms {
            stems: &["post_attention_norm", "post_ffw_norm"],
            last_apart: true,
            qk: QkNorm::PerHead,
            ..RMS
        },
        biases: NO_BIASES,
        graph: NO_GRAPH,
        synthetic: None,
        vllm: LLAMA_LIKE.vllm.adapts(true, true),
        ..LLAMA_LIKE
    };
    /// K-EXAONE: EXAONE 4's attention with experts.
    ExaoneMoe = "exaone_moe": Family {
        gguf: "exaone-moe",
        hf: &["exaone_moe"],
        defaults: assumed(102_400, 32, 2048).kv_heads(32),
        windows: windows(HfWindows::AllButStated(4)),
        norms: PER_HEAD,
        biases: NO_BIASES,
        experts: Experts { n_shared: 1, dense_first: 1, ..CORRECTED },
        graph: NO_GRAPH,
        synthetic: None,
        transformers: NEW_F32,
        vllm: LLAMA_LIKE.vllm.adapts(true, true),
        ..LLAMA_LIKE
    };
    /// OLMo 3: OLMo 2 with windows in three layers of four.
    Olmo3 = "olmo3": Family {
        gguf: "olmo3",
        hf: &["olmo3"],
        defaults: assumed(50_304, 32, 2048),
        order: LayerOrder::PostNorm,
        windows: windows(HfWindows::AllBut(4)),
        rope: Rope { in_f32: true, ..LLAMA_LIKE.rope },
        norms: Norms {
            stems: &["post_attention_norm", "post_ffw_norm"],
            last_apart: true,
            qk: QkNorm::Full,
            ..RMS
        },
        graph: NO_GRAPH,
        synthetic: None,
        ..LLAMA_LIKE
    };
    /// `OLMoE`: norms on q and k of all heads, experts in every layer.
    OlMoe = "olmoe": Family {
        gguf: "olmoe",
        hf: &["olmoe"],
        defaults: assumed(50_304, 16, 4096),
        norms: Norms { qk: QkNorm::Full, ..RMS },
        experts: Experts { hf: HfExperts::Plain, routing: Routing::SoftmaxOnly, ..NO_EXPERTS },
        graph: NO_GRAPH,
        synthetic: None,
        transformers: LONG,
        ..LLAMA_LIKE
    };
    /// GLM-4: norms before and after both sublayers.
    Glm4 = "glm4": Family {
        gguf: "glm4",
        hf: &["glm4", "glm4v", "glm4v_text", "glm46v", "glm46v_text", "glmga"],
        defaults: assumed(151_552, 32, 131_072).kv_heads(2).head_dim(128),
        rope: Rope { one_of: 2, ..INTERLEAVED },
        norms: FOUR,
        biases: Biases { qkv: Bias::Stated("attention_bias", true), ..NO_BIASES },
        graph: NO_GRAPH,
        synthetic: None,
        ..LLAMA_LIKE
    };
    /// GLM-OCR: GLM-4's layers with heads that share the width of the model.
    GlmOcr = "glm_ocr": Family {
        gguf: "glm-ocr",
        hf: &["glm_ocr", "glm_ocr_text"],
        defaults: assumed(59_392, 16, 131_072).kv_heads(8),
        rope: INTERLEAVED,
        norms: FOUR,
        biases: NO_BIASES,
        ..NEWCOMER
    };
    /// GLM-4 of June 2024 (`GLM-4-9B`).
    Glm = "glm": Family {
        gguf: "chatglm",
        hf: &["glm"],
        defaults: assumed(151_552, 32, 131_072).kv_heads(2).head_dim(128),
        rope: Rope { one_of: 2, ..INTERLEAVED },
        biases: Biases { qkv: Bias::Stated("attention_bias", true), ..NO_BIASES },
        graph: NO_GRAPH,
        synthetic: None,
        ..LLAMA_LIKE
    };
    /// Command-R7B and A: one norm a layer, windows in three layers of four.
    Cohere2 = "cohere2": Family {
        gguf: "cohere2",
        hf: &["cohere2"],
        defaults: assumed(256_000, 64, 8192).tied(),
        order: LayerOrder::Parallel,
        windows: windows(HfWindows::AllButStated(4)),
        rope: Rope { layers: RopeLayers::AllBut(4), ..INTERLEAVED },
        norms: Norms { stems: &["attn_norm"], subtract_mean: true, ..RMS },
        scales: Scales { logits: true, stated: StatedScales::Logits(0.0625), ..NO_SCALES },
        graph: NO_GRAPH,
        synthetic: None,
        vllm: stages(true, true, false).adapts(true, false),
        ..LLAMA_LIKE
    };
    /// Phi-3.5-MoE: `LayerNorm`, experts in every layer, a head with a bias.
    PhiMoe = "phimoe": Family {
        gguf: "phimoe",
        hf: &["phimoe"],
        defaults: assumed(32_064, 32, 131_072).kv_heads(8),
        windows: Windows { hf_size: None, ..windows(HfWindows::Every) },
        norms: Norms { subtract_mean: true, bias: true, ..RMS },
        head_bias: Some("lm_head_bias"),
        experts: Experts { n_used: Some(2), hf: HfExperts::Plain, ..NO_EXPERTS },
        graph: NO_GRAPH,
        synthetic: None,
        vllm: LLAMA_LIKE.vllm.adapts(true, true),
        ..LLAMA_LIKE
    };
    /// Granite 3 with experts.
    GraniteMoe = "granitemoe": Family {
        gguf: "granitemoe",
        hf: &["granitemoe", "granitemoeshared"],
        rope: INTERLEAVED,
        scales: GRANITE,
        experts: Experts { n_used: Some(2), ..STATED },
        graph: NO_GRAPH,
        synthetic: None,
        vllm: LLAMA_LIKE.vllm.adapts(true, true),
        ..LLAMA_LIKE
    };
    /// Apertus: an MLP without a gate whose activation is learned, norms on q and k.
    Apertus = "apertus": Family {
        gguf: "apertus",
        hf: &["apertus", "apertus1p5", "apertus1p5_text"],
        defaults: assumed(131_072, 32, 65_536),
        norms: PER_HEAD,
        gated_ffn: false,
        activation_parameters: 4,
        graph: NO_GRAPH,
        synthetic: None,
        vllm: LLAMA_LIKE.vllm.adapts(true, true),
        ..LLAMA_LIKE
    };
    /// Arcee's AFM: Llama with an MLP without a gate.
    Arcee = "arcee": Family {
        gguf: "arcee",
        hf: &["arcee"],
        defaults: assumed(32_000, 32, 4096),
        biases: MLP_BIASES,
        gated_ffn: false,
        graph: NO_GRAPH,
        synthetic: None,
        ..LLAMA_LIKE
    };
    /// Trinity: four norms, a gate of attention's output, experts behind some dense layers.
    Afmoe = "afmoe": Family {
        gguf: "afmoe",
        hf: &["afmoe"],
        defaults: assumed(200_192, 16, 16_384).head_dim(128),
        windows: Windows { hf_size: Some(1024), ..windows(HfWindows::AllButStated(4)) },
        norms: Norms { qk: QkNorm::PerHead, ..FOUR },
        output_gate: true,
        experts: Experts { n_shared: 2, n_used: Some(6), dense_first: 1, ..CORRECTED },
        graph: NO_GRAPH,
        synthetic: None,
        transformers: NEW,
        ..LLAMA_LIKE
    };
    /// dots.llm1: norms on q and k, shared experts.
    Dots1 = "dots1": Family {
        gguf: "dots1",
        hf: &["dots1"],
        defaults: assumed(152_064, 32, 2048).kv_heads(32),
        windows: windows(HfWindows::Listed),
        norms: PER_HEAD,
        experts: CORRECTED,
        graph: NO_GRAPH,
        synthetic: None,
        ..LLAMA_LIKE
    };
    /// Nemotron 4 and Minitron: `LayerNorm`, an MLP without a gate.
    Nemotron = "nemotron": Family {
        gguf: "nemotron",
        hf: &["nemotron"],
        defaults: assumed(256_000, 48, 4096),
        norms: Norms { subtract_mean: true, bias: true, ..RMS },
        biases: MLP_BIASES,
        gated_ffn: false,
        graph: NO_GRAPH,
        synthetic: None,
        vllm: LLAMA_LIKE.vllm.adapts(true, true),
        ..LLAMA_LIKE
    };
    /// `StableLM` 2: `LayerNorm` with biases.
    StableLm = "stablelm": Family {
        gguf: "stablelm",
        hf: &["stablelm", "stablelm_epoch"],
        defaults: assumed(50_304, 32, 4096).kv_heads(32),
        norms: Norms { subtract_mean: true, bias: true, ..RMS },
        biases: Biases { qkv: Bias::Stated("use_qkv_bias", false), ..NO_BIASES },
        graph: NO_GRAPH,
        synthetic: None,
        transformers: LONG,
        ..LLAMA_LIKE
    };
    /// Phi-1.5 and 2: attention and MLP side by side, biases everywhere.
    Phi = "phi": Family {
        gguf: "phi2",
        hf: &["phi"],
        defaults: assumed(51_200, 32, 2048),
        order: LayerOrder::Parallel,
        norms: Norms { stems: &["attn_norm"], subtract_mean: true, bias: true, ..RMS },
        biases: Biases { qkv: Bias::Always, output: Bias::Always, ffn: Bias::Always },
        gated_ffn: false,
        head_bias_always: true,
        graph: NO_GRAPH,
        synthetic: None,
        transformers: LONG,
        ..LLAMA_LIKE
    };
    /// LFM2: short convolutions, some layers with attention.
    Lfm2 = "lfm2": Family {
        gguf: "lfm2",
        hf: &["lfm2"],
        defaults: assumed(65_536, 32, 128_000).kv_heads(8).tied(),
        layers: LayerKinds::Convolution,
        norms: PER_HEAD,
        biases: NO_BIASES,
        adjusted_ffn: true,
        graph: NO_GRAPH,
        synthetic: None,
        vllm: LLAMA_LIKE.vllm.adapts(true, true),
        ..LLAMA_LIKE
    };
    /// LFM2 with experts.
    Lfm2Moe = "lfm2_moe": Family {
        gguf: "lfm2moe",
        hf: &["lfm2_moe"],
        defaults: assumed(65_536, 32, 128_000).kv_heads(8).tied(),
        layers: LayerKinds::Convolution,
        norms: PER_HEAD,
        biases: NO_BIASES,
        experts: Experts { dense_first: 2, ..CORRECTED },
        graph: NO_GRAPH,
        synthetic: None,
        vllm: LLAMA_LIKE.vllm.adapts(true, true),
        ..LLAMA_LIKE
    };
    /// Falcon-H1: attention and a state-space layer side by side.
    FalconH1 = "falcon_h1": Family {
        gguf: "falcon-h1",
        hf: &["falcon_h1"],
        defaults: assumed(128_000, 32, 8192).kv_heads(8),
        layers: LayerKinds::Both,
        biases: MLP_BIASES,
        graph: NO_GRAPH,
        synthetic: None,
        vllm: LLAMA_LIKE.vllm.adapts(true, true),
        ..LLAMA_LIKE
    };
    /// Bamba: Mamba-2 layers, a few with attention.
    Bamba = "bamba": Family {
        gguf: "bamba",
        hf: &["bamba"],
        defaults: assumed(128_000, 32, 262_144).kv_heads(8),
        layers: LayerKinds::StateSpace,
        biases: MLP_BIASES,
        graph: NO_GRAPH,
        synthetic: None,
        ..LLAMA_LIKE
    };
    /// Tencent's Hy3: Qwen3's attention, experts behind a dense layer.
    HyV3 = "hy_v3": Family {
        gguf: "hy_v3",
        hf: &["hy_v3"],
        defaults: assumed(120_832, 64, 131_072).kv_heads(8).head_dim(128),
        norms: PER_HEAD,
        biases: MLP_BIASES,
        experts: Experts { n_shared: 1, n_used: Some(8), dense_first: 1, ..CORRECTED },
        graph: NO_GRAPH,
        synthetic: None,
        transformers: NEW_F32,
        ..LLAMA_LIKE
    };
    /// Laguna: gates of heads, whose number differs from layer to layer, experts behind a dense layer.
    Laguna = "laguna": Family {
        gguf: "laguna",
        hf: &["laguna"],
        defaults: assumed(100_352, 48, 131_072).kv_heads(8).head_dim(128),
        windows: Windows { hf_size: Some(512), ..windows(HfWindows::Listed) },
        norms: PER_HEAD,
        head_gates: true,
        experts: Experts { dense_first: 1, ..CORRECTED },
        graph: NO_GRAPH,
        synthetic: None,
        transformers: NEW,
        ..LLAMA_LIKE
    };
    /// Muse Glimmer: four norms, a gate of attention's output, windows in three layers of four.
    MuseGlimmer = "muse_glimmer": Family {
        gguf: "muse-glimmer",
        hf: &["muse_glimmer", "muse_glimmer_text"],
        defaults: assumed(202_048, 32, 131_072).kv_heads(2).head_dim(128),
        windows: Windows { hf_size: Some(2048), ..windows(HfWindows::AllBut(4)) },
        norms: FOUR,
        biases: NO_BIASES,
        output_gate: true,
        softcaps: SoftCaps::Stated,
        graph: NO_GRAPH,
        synthetic: None,
        transformers: NEW,
        ..LLAMA_LIKE
    };
    /// Mellum 2: Qwen3's attention with windows, experts in every layer.
    Mellum = "mellum": Family {
        gguf: "mellum",
        hf: &["mellum"],
        defaults: assumed(98_304, 32, 131_072).kv_heads(4).head_dim(128),
        windows: Windows { hf_size: Some(1024), ..windows(HfWindows::Listed) },
        norms: PER_HEAD,
        experts: STATED,
        graph: NO_GRAPH,
        synthetic: None,
        transformers: NEW,
        ..LLAMA_LIKE
    };
    /// Command A+ and North: Command-R7B's layers with experts.
    Cohere2Moe = "cohere2_moe": Family {
        gguf: "cohere2moe",
        hf: &["cohere2_moe"],
        defaults: assumed(256_000, 64, 8192).head_dim(128).tied(),
        order: LayerOrder::Parallel,
        windows: windows(HfWindows::AllButStated(4)),
        rope: Rope { layers: RopeLayers::AllBut(4), ..INTERLEAVED },
        norms: Norms { stems: &["attn_norm"], subtract_mean: true, ..RMS },
        experts: Experts { n_used: Some(2), ..STATED },
        scales: Scales { logits: true, stated: StatedScales::Logits(0.0625), ..NO_SCALES },
        graph: NO_GRAPH,
        synthetic: None,
        transformers: NEW,
        ..LLAMA_LIKE
    };
    /// Solar Open: Llama's attention, experts and a shared one in every layer.
    SolarOpen = "solar_open": Family {
        gguf: "solar-open",
        hf: &["solar_open"],
        defaults: assumed(196_608, 64, 131_072).kv_heads(8).head_dim(128),
        experts: Experts { n_shared: 1, n_used: Some(8), ..CORRECTED },
        graph: NO_GRAPH,
        synthetic: None,
        transformers: NEW_F32,
        ..LLAMA_LIKE
    };
    /// Granite with sinks, and windows in three layers of four.
    GraniteSwa = "granite_swa": Family {
        gguf: "granite_swa",
        hf: &["granite_swa"],
        defaults: assumed(100_352, 20, 8192).kv_heads(4).tied(),
        windows: Windows { hf_size: Some(128), ..windows(HfWindows::AllButFirstOf(4)) },
        rope: INTERLEAVED,
        biases: MLP_BIASES,
        attention_sinks: true,
        scales: GRANITE,
        graph: NO_GRAPH,
        synthetic: None,
        transformers: NEW,
        ..LLAMA_LIKE
    };
    /// GLM-5.3-Flash: Kimi's delta-nets, latent attention to tokens that an indexer chooses by pooled keys, residual streams.
    Glm5Next = "glm5_next": Family {
        gguf: "glm5-next",
        hf: &["glm5_next", "glm5_next_text"],
        defaults: assumed(154_880, 64, 1_048_576),
        layers: LayerKinds::LatentAndDelta,
        rope: Rope { layers: RopeLayers::None, ..INTERLEAVED },
        indexer: Some(IndexerKind { n_heads: 32, plain: false, pooled: Some(16) }),
        streams: Some(4),
        experts: Experts { n_shared: 1, n_used: Some(8), dense_first: 3, ..CORRECTED },
        transformers: NEW_F32,
        ..DEEPSEEK
    };
    /// GPT-NeoX and Pythia: `LayerNorm`, biases everywhere, an MLP without a gate.
    GptNeoX = "gpt_neox": Family {
        gguf: "gptneox",
        hf: &["gpt_neox"],
        defaults: assumed(50_432, 64, 2048),
        rope: partly(4),
        norms: Norms { subtract_mean: true, bias: true, ..RMS },
        biases: Biases {
            qkv: Bias::Stated("attention_bias", true),
            output: Bias::Stated("attention_bias", true),
            ffn: Bias::Always,
        },
        gated_ffn: false,
        graph: NO_GRAPH,
        synthetic: None,
        transformers: LONG,
        ..LLAMA_LIKE
    };
    /// `InternLM` 2 and 3: Llama's tensors.
    InternLm2 = "internlm2": Family {
        gguf: "internlm2",
        hf: &["internlm2", "internlm3"],
        defaults: assumed(103_168, 32, 2048),
        biases: Biases {
            qkv: Bias::AnyOf(&["bias", "qkv_bias"]),
            output: Bias::Stated("bias", false),
            ffn: Bias::Stated("bias", false),
        },
        graph: NO_GRAPH,
        synthetic: None,
        ..LLAMA_LIKE
    };
    /// `MiniCPM` 1 and 4: Llama's tensors with scaled residuals.
    MiniCpm = "minicpm": Family {
        gguf: "minicpm",
        hf: &["minicpm"],
        defaults: assumed(122_753, 32, 2048).tied(),
        rope: INTERLEAVED,
        scales: GRANITE,
        graph: NO_GRAPH,
        synthetic: None,
        ..LLAMA_LIKE
    };
    /// EXAONE 3: Llama's tensors under names of its own.
    Exaone = "exaone": Family {
        gguf: "exaone",
        hf: &["exaone"],
        defaults: assumed(102_400, 32, 2048),
        biases: NO_BIASES,
        graph: NO_GRAPH,
        synthetic: None,
        ..LLAMA_LIKE
    };
    /// Ling and Ring 2: norms on q and k, shared experts, a dense layer first.
    BailingMoe2 = "bailing_moe_v2": Family {
        gguf: "bailingmoe2",
        hf: &["bailing_moe", "bailing_moe_v2", "llada2_moe"],
        defaults: assumed(157_184, 16, 16_384),
        norms: Norms { qk: QkNorm::PerHead, qk_if_asked: true, ..RMS },
        biases: USE_BIAS,
        experts: Experts { router_bias: RouterBias::CorrectionInSome, ..CORRECTED },
        graph: NO_GRAPH,
        synthetic: None,
        transformers: NEW,
        ..LLAMA_LIKE
    };
    /// CWM: Llama with windows in all but the first of every four layers.
    Cwm = "cwm": Family {
        gguf: "cwm",
        hf: &["cwm"],
        defaults: assumed(128_256, 48, 131_072).kv_heads(8).head_dim(128),
        windows: Windows { hf_size: Some(8192), ..windows(HfWindows::AllButFirstOf(4)) },
        biases: NO_BIASES,
        transformers: NEW,
        ..NEWCOMER
    };
    /// `Ministral`: Mistral with windows in the layers that its files list.
    Ministral = "ministral": Family {
        gguf: "ministral",
        hf: &["ministral"],
        defaults: assumed(32_000, 32, 131_072).kv_heads(8),
        windows: windows(HfWindows::Listed),
        biases: NO_BIASES,
        transformers: NEW,
        ..NEWCOMER
    };
    /// IQuest-Coder: Llama's layers.
    IQuestCoder = "iquestcoder": Family {
        gguf: "iquestcoder",
        hf: &["iquestcoder", "iquestpplm"],
        defaults: assumed(76_800, 40, 131_072).kv_heads(8).head_dim(128),
        biases: MLP_BIASES,
        transformers: NEW,
        ..NEWCOMER
    };
    /// Jais 2: `LayerNorm` and biases, an MLP without a gate.
    Jais2 = "jais2": Family {
        gguf: "jais2",
        hf: &["jais2"],
        defaults: assumed(150_272, 26, 8192),
        norms: LAYER_NORM,
        biases: Biases {
            qkv: Bias::Stated("attention_bias", true),
            output: Bias::Stated("attention_bias", true),
            ffn: Bias::Stated("mlp_bias", true),
        },
        gated_ffn: false,
        transformers: NEW,
        ..NEWCOMER
    };
    /// Ling 3: layers of a delta-net as Kimi's with gates of full rank, then one of latent attention with gated heads.
    BailingHybrid = "bailing_hybrid": Family {
        gguf: "bailing-hybrid",
        hf: &["bailing_hybrid"],
        keys: &[("num_experts_per_tok", "num_experts_per_token")],
        defaults: assumed(157_184, 32, 262_144),
        layers: LayerKinds::LatentAndDelta,
        head_gates: true,
        biases: NO_BIASES,
        experts: Experts { n_shared: 1, n_used: Some(8), dense_first: 2, ..CORRECTED },
        transformers: NEW_F32,
        ..DEEPSEEK
    };
    /// OLMo Hybrid: OLMo 3's attention in every fourth layer, delta-nets in the others.
    OlmoHybrid = "olmo_hybrid": Family {
        gguf: "olmo-hybrid",
        hf: &["olmo_hybrid"],
        defaults: assumed(100_352, 30, 65_536),
        layers: LayerKinds::DeltaNet(DeltaNet { joint_gates: false, gates_attention: false, vllm_state_bytes: 4 }),
        norms: Norms { qk: QkNorm::Full, ..RMS },
        transformers: NEW,
        ..NEWCOMER
    };
    /// Qwen3.8-Flash-Next: Qwen3.5's layers with experts between gated residual streams, an indexer, embeddings of runs of tokens.
    Qwen4Exp = "qwen4_exp": Family {
        gguf: "qwen4exp",
        hf: &["qwen4_exp", "qwen4_exp_text"],
        keys: &[("index_n_heads", "indexer_n_heads"), ("index_head_dim", "indexer_head_dim")],
        defaults: assumed(248_320, 24, 262_144).kv_heads(2).head_dim(256),
        layers: LayerKinds::DeltaNet(DeltaNet { joint_gates: false, gates_attention: true, vllm_state_bytes: 4 }),
        rope: Rope { sections: true, ..partly(4) },
        norms: Norms { stems: &[], ..PER_HEAD },
        indexer: Some(IndexerKind { n_heads: 4, plain: true, pooled: None }),
        experts: LISTED_AND_SHARED,
        transformers: Transformers { norm: RmsNorm::OnePlusWeight, ..NEW },
        ..NEWCOMER
    };
    /// Helium: Llama's layers.
    Helium = "helium": Family {
        gguf: "helium",
        hf: &["helium"],
        defaults: assumed(48_000, 20, 4096).kv_heads(20).head_dim(128),
        rope: INTERLEAVED,
        biases: Biases { output: Bias::Never, ..MLP_BIASES },
        ..NEWCOMER
    };
    /// `VaultGemma`: Gemma 2 without the norms behind the sublayers.
    VaultGemma = "vaultgemma": Family {
        gguf: "vaultgemma",
        hf: &["vaultgemma"],
        defaults: assumed(256_000, 8, 8192).kv_heads(4).head_dim(256).tied(),
        windows: windows(HfWindows::AllBut(2)),
        softcaps: SoftCaps::Usual,
        scales: GEMMA,
        transformers: Transformers { norm: RmsNorm::OnePlusWeight, ..NEW },
        ..NEWCOMER
    };
    /// `BitNet` b1.58: what the last projections read is normed.
    BitNet = "bitnet": Family {
        gguf: "bitnet",
        hf: &["bitnet"],
        defaults: assumed(128_256, 20, 2048).kv_heads(5),
        norms: Norms { inner: true, ..RMS },
        ..NEWCOMER
    };
    /// OLMo 1: norms without weights.
    Olmo = "olmo": Family {
        gguf: "olmo",
        hf: &["olmo"],
        defaults: assumed(50_304, 32, 2048),
        norms: Norms { subtract_mean: true, weightless: true, ..RMS },
        transformers: LONG,
        ..NEWCOMER
    };
    /// `FlexOlmo`: OLMo 2 with experts in every layer.
    FlexOlmo = "flex_olmo": Family {
        gguf: "flex-olmo",
        hf: &["flex_olmo"],
        defaults: assumed(100_352, 32, 4096),
        order: LayerOrder::PostNorm,
        norms: Norms {
            stems: &["post_attention_norm", "post_ffw_norm"],
            qk: QkNorm::Full,
            ..RMS
        },
        experts: Experts { n_used: Some(5), ..STATED },
        ..NEWCOMER
    };
    /// `nanochat`: norms without weights, an MLP without a gate.
    NanoChat = "nanochat": Family {
        gguf: "nanochat",
        hf: &["nanochat"],
        defaults: assumed(50_304, 6, 2048),
        norms: Norms { weightless: true, ..PER_HEAD },
        gated_ffn: false,
        softcaps: SoftCaps::Usual,
        transformers: NEW,
        ..NEWCOMER
    };
    /// Sarvam 30B: GLM-4.5's layers with norms on q and k.
    SarvamMoe = "sarvam_moe": Family {
        gguf: "sarvam-moe",
        hf: &["sarvam_moe"],
        defaults: assumed(262_144, 64, 131_072).kv_heads(4).head_dim(64),
        norms: PER_HEAD,
        biases: Biases {
            qkv: Bias::AnyOf(&["attention_bias", "use_qkv_bias"]),
            output: Bias::Never,
            ffn: Bias::Never,
        },
        experts: Experts { n_shared: 1, n_used: Some(6), dense_first: 1, ..CORRECTED },
        transformers: NEW_F32,
        ..NEWCOMER
    };
    /// Sarvam 105B: DeepSeek-V3's layers.
    SarvamMla = "sarvam_mla": Family {
        gguf: "sarvam-mla",
        hf: &["sarvam_mla"],
        defaults: assumed(262_144, 64, 131_072),
        experts: Experts { n_shared: 1, n_used: Some(8), hf: HfExperts::Leading(1), router_bias: RouterBias::Correction, ..DEEPSEEK.experts },
        transformers: NEW_F32,
        ..DEEPSEEK
    };
    /// Youtu-LLM: latent attention, dense.
    Youtu = "youtu": Family {
        gguf: "youtu",
        hf: &["youtu", "youtu_llm"],
        defaults: assumed(128_256, 16, 131_072).tied(),
        experts: NO_EXPERTS,
        ..DEEPSEEK
    };
    /// A.X K1: DeepSeek-V3's layers with a norm behind the experts.
    AxK1 = "axk1": Family {
        gguf: "axk1",
        hf: &["axk1", "AXK1"],
        defaults: assumed(163_840, 64, 131_072),
        norms: Norms { behind_experts: true, ..RMS },
        experts: Experts { n_shared: 1, n_used: Some(8), hf: HfExperts::Leading(1), router_bias: RouterBias::Correction, ..DEEPSEEK.experts },
        transformers: NEW_F32,
        ..DEEPSEEK
    };
    /// Kolibri: four norms, norms on q and k, shared experts in every layer.
    Kolibri = "kolibri1": Family {
        gguf: "kolibri1",
        hf: &["kolibri1"],
        defaults: assumed(128_000, 48, 131_072).kv_heads(4).head_dim(128),
        windows: windows(HfWindows::Listed),
        norms: Norms { qk: QkNorm::PerHead, ..FOUR },
        biases: NO_BIASES,
        experts: Experts { n_shared: 1, n_used: Some(8), ..CORRECTED },
        transformers: NEW_F32,
        ..NEWCOMER
    };
    /// Granite 3's experts with sinks and windows.
    GraniteMoeSwa = "granitemoe_swa": Family {
        gguf: "granitemoe_swa",
        hf: &["granitemoe_swa"],
        windows: Windows { hf_size: Some(128), ..windows(HfWindows::AllButFirstOf(4)) },
        rope: INTERLEAVED,
        attention_sinks: true,
        scales: GRANITE,
        experts: Experts { n_used: Some(2), ..STATED },
        transformers: NEW,
        ..NEWCOMER
    };
    /// `HyperCLOVA` X SEED: Granite's constants, with norms behind the sublayers where a file asks for them.
    HyperClovaX = "hyperclovax": Family {
        gguf: "hyperclovax",
        hf: &["hyperclovax"],
        norms: FOUR,
        biases: MLP_BIASES,
        scales: GRANITE,
        ..NEWCOMER
    };
    /// Aria: Llama's attention, experts and shared ones in every layer.
    Aria = "aria": Family {
        gguf: "aria",
        hf: &["aria_text", "aria_moe_lm"],
        defaults: assumed(32_000, 32, 2048),
        biases: MLP_BIASES,
        experts: Experts { n_shared: 2, n_used: Some(2), ..STATED },
        ..NEWCOMER
    };
    /// Llama 3.2 Vision: Llama's layers, and some between them that attend to an image alone.
    Mllama = "mllama": Family {
        gguf: "mllama",
        hf: &["mllama", "mllama_text_model"],
        defaults: assumed(128_256, 32, 131_072).kv_heads(8),
        rope: INTERLEAVED,
        biases: NO_BIASES,
        ..NEWCOMER
    };
    /// Orion: `LayerNorm`.
    Orion = "orion": Family {
        gguf: "orion",
        hf: &["orion"],
        defaults: assumed(84_608, 40, 4096),
        norms: LAYER_NORM,
        biases: NO_BIASES,
        ..NEWCOMER
    };
    /// Baichuan 1 and 2, XVERSE: Llama's layers.
    Baichuan = "baichuan": Family {
        gguf: "baichuan",
        hf: &["baichuan", "xverse", "aquila"],
        keys: &[("max_position_embeddings", "model_max_length")],
        defaults: assumed(125_696, 32, 4096),
        biases: NO_BIASES,
        ..NEWCOMER
    };
    /// `InternLM` 1: biases on all of attention.
    InternLm = "internlm": Family {
        gguf: "internlm",
        hf: &["internlm"],
        defaults: assumed(103_168, 32, 2048),
        biases: Biases {
            qkv: Bias::Stated("bias", true),
            output: Bias::Stated("bias", true),
            ffn: Bias::Never,
        },
        ..NEWCOMER
    };
    /// Qwen 1: biases on q, k and v, an MLP half as wide as its files say.
    Qwen = "qwen": Family {
        gguf: "qwen",
        hf: &["qwen"],
        keys: &[("head_dim", "kv_channels"), ("max_position_embeddings", "seq_length")],
        defaults: assumed(151_936, 32, 8192),
        earlier: Earlier { ffn_halved: true, ..LATER },
        biases: QKV_BIASES,
        ..NEWCOMER
    };
    /// `ChatGLM` 2 and 3, GLM-4-9B as its authors' code has it.
    ChatGlm = "chatglm": Family {
        gguf: "chatglm",
        hf: &["chatglm"],
        keys: &[
            ("num_hidden_layers", "num_layers"),
            ("head_dim", "kv_channels"),
            ("intermediate_size", "ffn_hidden_size"),
            ("vocab_size", "padded_vocab_size"),
            ("max_position_embeddings", "seq_length"),
        ],
        defaults: assumed(65_024, 32, 2048),
        earlier: Earlier { multi_query: Some(("multi_query_attention", false)), ..LATER },
        rope: Rope { one_of: 2, ..INTERLEAVED },
        biases: Biases {
            qkv: Bias::AnyOf(&["add_qkv_bias", "add_bias_linear"]),
            output: Bias::Stated("add_bias_linear", false),
            ffn: Bias::Stated("add_bias_linear", false),
        },
        ..NEWCOMER
    };
    /// `DeepSeekMoE` and what has DeepSeek's experts with the attention of Llama.
    DeepSeek = "deepseek": Family {
        gguf: "deepseek",
        hf: &["deepseek"],
        defaults: assumed(102_400, 16, 4096),
        experts: Experts { hf: HfExperts::Leading(0), routing: Routing::SoftmaxOnly, linear_router: false, ..NO_EXPERTS },
        ..NEWCOMER
    };
    /// GPT-2: learned positions, `LayerNorm` and biases.
    Gpt2 = "gpt2": Family {
        gguf: "gpt2",
        hf: &["gpt2", "gpt-sw3"],
        keys: GPT2_KEYS,
        defaults: assumed(50_257, 12, 1024).tied(),
        earlier: Earlier { positions: Some(0), ..FOUR_TIMES },
        norms: LAYER_NORM,
        biases: ALL_BIASES,
        rope: UNROTATED,
        gated_ffn: false,
        fused_projections: true,
        transformers: LONG,
        ..NEWCOMER
    };
    /// `StarCoder` 1 and `SantaCoder`: GPT-2 with one head of keys and values.
    GptBigCode = "gpt_bigcode": Family {
        gguf: "starcoder",
        hf: &["gpt_bigcode"],
        keys: GPT2_KEYS,
        defaults: assumed(50_257, 12, 1024).tied(),
        earlier: Earlier { positions: Some(0), multi_query: Some(("multi_query", true)), ..FOUR_TIMES },
        norms: LAYER_NORM,
        biases: ALL_BIASES,
        rope: UNROTATED,
        gated_ffn: false,
        fused_projections: true,
        transformers: LONG,
        ..NEWCOMER
    };
    /// GPT-J and `CodeGen`: attention and MLP side by side, a head with a bias.
    GptJ = "gptj": Family {
        gguf: "gptj",
        hf: &["gptj", "codegen"],
        keys: GPT2_KEYS,
        defaults: assumed(50_400, 16, 2048),
        earlier: FOUR_TIMES,
        order: LayerOrder::Parallel,
        norms: Norms { stems: &["attn_norm"], ..LAYER_NORM },
        biases: FFN_BIASES,
        rope: Rope { one_of: 4, ..INTERLEAVED },
        gated_ffn: false,
        head_bias_always: true,
        transformers: LONG,
        ..NEWCOMER
    };
    /// GPT-Neo: learned positions, a bias on attention's output.
    GptNeo = "gpt_neo": Family {
        gguf: "gpt-neo",
        hf: &["gpt_neo"],
        keys: &[("num_hidden_layers", "num_layers"), ("num_attention_heads", "num_heads")],
        defaults: assumed(50_257, 16, 2048).tied(),
        earlier: Earlier { positions: Some(0), ..FOUR_TIMES },
        norms: LAYER_NORM,
        biases: Biases { output: Bias::Always, ..FFN_BIASES },
        rope: UNROTATED,
        gated_ffn: false,
        transformers: LONG,
        ..NEWCOMER
    };
    /// OPT: learned positions, two of them before the first.
    Opt = "opt": Family {
        gguf: "opt",
        hf: &["opt"],
        keys: &[("intermediate_size", "ffn_dim")],
        defaults: assumed(50_272, 12, 2048).tied(),
        earlier: Earlier { positions: Some(2), ..FOUR_TIMES },
        norms: LAYER_NORM,
        biases: Biases {
            qkv: Bias::Stated("enable_bias", true),
            output: Bias::Stated("enable_bias", true),
            ffn: Bias::Stated("enable_bias", true),
        },
        rope: UNROTATED,
        gated_ffn: false,
        transformers: LONG,
        ..NEWCOMER
    };
    /// BLOOM: normed embeddings, positions by a slope of every head.
    Bloom = "bloom": Family {
        gguf: "bloom",
        hf: &["bloom"],
        keys: &[
            ("hidden_size", "n_embed"),
            ("num_hidden_layers", "n_layer"),
            ("num_attention_heads", "n_head"),
            ("intermediate_size", "n_inner"),
            ("max_position_embeddings", "seq_length"),
        ],
        defaults: assumed(250_880, 8, 2048).tied(),
        earlier: Earlier { embedding_norm: true, ..FOUR_TIMES },
        norms: LAYER_NORM,
        biases: ALL_BIASES,
        rope: UNROTATED,
        gated_ffn: false,
        fused_projections: true,
        transformers: LONG,
        ..NEWCOMER
    };
    /// MPT: `LayerNorm` without biases, positions by a slope of every head.
    Mpt = "mpt": Family {
        gguf: "mpt",
        hf: &["mpt"],
        keys: MPT_KEYS,
        defaults: assumed(50_368, 16, 2048).tied(),
        earlier: FOUR_TIMES,
        norms: Norms { subtract_mean: true, ..RMS },
        biases: NO_BIASES,
        rope: UNROTATED,
        gated_ffn: false,
        fused_projections: true,
        transformers: LONG,
        ..NEWCOMER
    };
    /// DBRX: `LayerNorm` without biases, experts in every layer.
    Dbrx = "dbrx": Family {
        gguf: "dbrx",
        hf: &["dbrx"],
        keys: MPT_KEYS,
        defaults: assumed(32_000, 16, 2048).kv_heads(1),
        earlier: LATER,
        norms: Norms { subtract_mean: true, ..RMS },
        biases: NO_BIASES,
        fused_projections: true,
        experts: Experts { n_used: Some(1), ..STATED },
        ..NEWCOMER
    };
    /// Falcon 1 and 2: attention and MLP side by side.
    Falcon = "falcon": Family {
        gguf: "falcon",
        hf: &["falcon", "RefinedWeb", "RefinedWebModel"],
        keys: &[
            ("num_hidden_layers", "n_layer"),
            ("num_attention_heads", "n_head"),
            ("num_key_value_heads", "num_kv_heads"),
            ("intermediate_size", "ffn_hidden_size"),
        ],
        defaults: assumed(65_024, 71, 2048).tied(),
        earlier: Earlier { multi_query: Some(("multi_query", true)), ..FOUR_TIMES },
        order: LayerOrder::Parallel,
        norms: Norms { one_if_parallel: true, ..LAYER_NORM },
        biases: Biases {
            qkv: Bias::Stated("bias", false),
            output: Bias::Stated("bias", false),
            ffn: Bias::Stated("bias", false),
        },
        gated_ffn: false,
        fused_projections: true,
        transformers: LONG,
        ..NEWCOMER
    };
    /// Persimmon, which Fuyu is built on: norms with biases on q and k.
    Persimmon = "persimmon": Family {
        gguf: "persimmon",
        hf: &["persimmon", "fuyu"],
        defaults: assumed(262_144, 64, 16_384),
        norms: Norms { qk: QkNorm::PerHead, qk_if_asked: true, ..LAYER_NORM },
        biases: ALL_BIASES,
        rope: partly(2),
        gated_ffn: false,
        fused_projections: true,
        transformers: LONG,
        ..NEWCOMER
    };
    /// A family that is not known here, read as Llama's layers by the keys that its files have.
    LikeLlama = "like_llama": Family {
        gguf: "like-llama",
        hf: &["like_llama"],
        windows: Windows { hf_size: None, ..windows(HfWindows::Stated) },
        norms: Norms { qk: QkNorm::PerHead, qk_if_asked: true, ..RMS },
        experts: Experts { router_bias: RouterBias::CorrectionInSome, ..STATED },
        biases: Biases {
            qkv: Bias::AnyOf(&["attention_bias", "use_qkv_bias", "qkv_bias", "use_bias"]),
            output: Bias::AnyOf(&["attention_out_bias", "use_bias"]),
            ffn: Bias::AnyOf(&["mlp_bias", "use_bias"]),
        },
        graph: NO_GRAPH,
        synthetic: None,
        ..LLAMA_LIKE
    };
    /// Any other architecture of a GGUF file: llama.cpp runs it, and its compute buffer is known within wide bounds.
    Other = "other": Family { gguf: "", synthetic: None, ..LLAMA_LIKE };
}
