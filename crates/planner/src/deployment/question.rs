//! The question as given: every key may be left out. It is what a scenario file holds, what the flags of the command
//! are, and, once everything is resolved, what a plan's JSON says under `deployment`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Deployment, text};
use crate::dtype::{KvFormat, WeightFormat};
use crate::spec::{Attention, Headroom, Logits, Runtime, Split, Utilization, Workload};
use crate::units::Bytes;

/// How caches are allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum CacheAllocation {
    /// At full size, once.
    Preallocated,
    /// By concatenation, as tokens come.
    Grown,
}

impl CacheAllocation {
    /// Of a cache that grows, or does not.
    pub const fn of(grown: bool) -> Self {
        if grown { Self::Grown } else { Self::Preallocated }
    }
}

/// How many layers are captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaptureLayers {
    /// Every layer.
    All,
    /// This many.
    Some(u64),
}

impl FromStr for CaptureLayers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.eq_ignore_ascii_case("all") {
            return Ok(Self::All);
        }
        text.parse().map(Self::Some).map_err(|_| "expected a number of layers, or `all`".to_owned())
    }
}

impl fmt::Display for CaptureLayers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Some(layers) => write!(f, "{layers}"),
        }
    }
}

/// What is to be planned.
///
/// ```
/// use vramplan_planner::deployment::Question;
///
/// let file: Question = toml::from_str("gpu = \"L4\"\nbatch = 2").unwrap();
/// let flags = Question { batch: Some(4), ..Question::default() };
/// let both = flags.or(file);
/// assert_eq!((both.gpu.as_deref(), both.batch), (Some("L4"), Some(4)));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "cli", derive(clap::Args))]
#[serde(deny_unknown_fields, default)]
pub struct Question {
    /// GPU by name (`L4`, `RTX 4090`, `A100-80GB`), a MIG slice of one (`H100-3g.40gb`), or `auto` for
    /// the local card. Several different ones are separated by commas: `L4,T4`.
    #[cfg_attr(feature = "cli", arg(short = 'g', long, value_name = "GPU"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu: Option<String>,

    /// Number of equal GPUs that the model is spread over [default: 1].
    #[cfg_attr(feature = "cli", arg(long, value_name = "N"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpus: Option<u64>,

    /// How the model is spread over several GPUs: `layer` (whole layers: `-sm layer` of llama.cpp,
    /// `device_map="auto"` of transformers, pipeline parallelism of vLLM) or `tensor` (parts of every
    /// layer: `-sm row`, tensor parallelism) [default: layer; tensor under vllm].
    #[cfg_attr(feature = "cli", arg(long, value_name = "HOW"))]
    #[serde(
        deserialize_with = "text::deserialize",
        serialize_with = "text::serialize",
        skip_serializing_if = "Option::is_none"
    )]
    pub split: Option<Split>,

    /// Model by name, a GGUF file, a directory with safetensors, or a `config.json`.
    #[cfg_attr(feature = "cli", arg(short = 'm', long, value_name = "MODEL"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,

    /// Runtime: `vramplan`, `transformers`, `llama.cpp` or `vllm` [default: by the model: llama.cpp for a
    /// GGUF file, vllm for a checkpoint, vramplan for a name].
    #[cfg_attr(feature = "cli", arg(long, value_name = "RUNTIME"))]
    #[serde(
        deserialize_with = "text::deserialize",
        serialize_with = "text::serialize",
        skip_serializing_if = "Option::is_none"
    )]
    pub runtime: Option<Runtime>,

    /// Version of the runtime where versions differ: for llama.cpp a build such as `b8193`, or `2025`
    /// for builds before mid-2025; for vllm such as `0.11.2`; for transformers such as `4.44`,
    /// and `4.57,bitsandbytes=0.45` for both [default: latest].
    #[cfg_attr(feature = "cli", arg(long, value_name = "V"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_version: Option<String>,

    /// Format of the weights, such as `q4_k_m`, `q8_0`, `nf4-dq`, `awq-int4`, `bf16`. A file's own
    /// format unless given; for a model known by name `q4_k_m`, `bf16` under transformers and vllm.
    #[cfg_attr(feature = "cli", arg(long, value_name = "FORMAT"))]
    #[serde(
        deserialize_with = "text::deserialize",
        serialize_with = "text::serialize",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub weights: Option<WeightFormat>,

    /// Format of cached keys and values, such as `int8`, `f16`, `q8_0`, `hqq8`. Unless given, what the
    /// runtime takes by itself: `int8`, `f16` under llama.cpp, `bf16` under transformers and vllm.
    #[cfg_attr(feature = "cli", arg(long, value_name = "FORMAT"))]
    #[serde(
        deserialize_with = "text::deserialize",
        serialize_with = "text::serialize",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub kv: Option<KvFormat>,

    /// How attention is computed: `fused`, `flash`, `sdpa` or `eager`.
    #[cfg_attr(feature = "cli", arg(long, value_name = "KIND"))]
    #[serde(
        deserialize_with = "text::deserialize",
        serialize_with = "text::serialize",
        skip_serializing_if = "Option::is_none"
    )]
    pub attention: Option<Attention>,

    /// Tokens of the pinned system prompt [default: 0; 6000 under vramplan where the context has room for
    /// twice that].
    #[cfg_attr(feature = "cli", arg(long, value_name = "TOKENS", value_parser = text::tokens, help_heading = "Workload"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_tokens: Option<u64>,

    /// Fix `max_cache_tokens` instead of solving for it.
    #[cfg_attr(feature = "cli", arg(long, value_name = "TOKENS", value_parser = text::tokens, help_heading = "Workload"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_tokens: Option<u64>,

    /// Fix `recent_window` instead of the published half.
    #[cfg_attr(feature = "cli", arg(long, value_name = "TOKENS", value_parser = text::tokens, help_heading = "Workload"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recent_window: Option<u64>,

    /// Tokens of a prefill step (llama.cpp: `n_ubatch`, vLLM: `max_num_batched_tokens`) [default:
    /// 512; under vllm 8192 on cards of 70 GiB and more but the A100, else 2048].
    #[cfg_attr(feature = "cli", arg(long, value_name = "TOKENS", value_parser = text::tokens, help_heading = "Workload"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefill_chunk: Option<u64>,

    /// Sequences processed together: conversations or users at once, each with a cache of its own; the
    /// system prompt is shared where the runtime shares it [default: 1].
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", help_heading = "Workload"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<u64>,

    /// Positions, where `RoPE` scaling allows more than the model was trained for, or fewer are
    /// wanted.
    #[cfg_attr(feature = "cli", arg(short = 'c', long, value_name = "TOKENS", value_parser = text::tokens, help_heading = "Workload"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<u64>,

    /// Sequences that vLLM may process together (`max_num_seqs`), for which its profile run samples
    /// [default: 1024 on cards of 70 GiB and more but the A100, else 256].
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", help_heading = "Workload"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_seqs: Option<u64>,

    /// Images of a prompt that a multimodal model is set up for (vLLM: `--limit-mm-per-prompt`); 0 plans
    /// its language model alone. Their tokens are among `--system-tokens` and the cache's [default: as
    /// the runtime: tower loaded under transformers and vllm, not under llama.cpp and vramplan].
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", help_heading = "Workload"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images: Option<u64>,

    /// Positions that get logits: `last` or `all` [default: last, one a sequence].
    #[cfg_attr(feature = "cli", arg(long, value_name = "WHICH", help_heading = "Workload"))]
    #[serde(
        deserialize_with = "text::deserialize",
        serialize_with = "text::serialize",
        skip_serializing_if = "Option::is_none"
    )]
    pub logits: Option<Logits>,

    /// Whether caches are allocated at full size or grow [default: preallocated; grown under
    /// transformers].
    #[cfg_attr(feature = "cli", arg(long, value_name = "HOW", help_heading = "Workload"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheAllocation>,

    /// Capture the activations of this many layers, or of `all` of them.
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", help_heading = "Introspection"))]
    #[serde(
        deserialize_with = "text::deserialize",
        serialize_with = "text::serialize",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "Option<text::Scalar>"))]
    pub capture_layers: Option<CaptureLayers>,

    /// Tokens of the captured pass [default: 100].
    #[cfg_attr(
        feature = "cli",
        arg(
            long,
            value_name = "TOKENS", value_parser = text::tokens,
            help_heading = "Introspection",
            requires = "capture_layers"
        )
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capture_tokens: Option<u64>,

    /// Capture attention weights too.
    #[cfg_attr(
        feature = "cli",
        arg(long, help_heading = "Introspection", requires = "capture_layers")
    )]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub capture_attention: bool,

    /// Keep captures on the GPU until the pass ends, instead of moving them layer by layer.
    #[cfg_attr(
        feature = "cli",
        arg(long, help_heading = "Introspection", requires = "capture_layers")
    )]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub capture_keep: bool,

    /// Memory to leave free: a size, or a percentage of the total [default: 3%, at least 512 MiB;
    /// under vllm none beside what its share of the card leaves].
    #[cfg_attr(feature = "cli", arg(long, value_name = "SIZE|PCT", help_heading = "Card"))]
    #[serde(
        deserialize_with = "text::deserialize",
        serialize_with = "text::serialize",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub headroom: Option<Headroom>,

    /// Share of the card for vLLM's weights, activations and cache [default: 0.9].
    #[cfg_attr(feature = "cli", arg(long, value_name = "SHARE", help_heading = "Card"))]
    #[serde(
        deserialize_with = "text::deserialize",
        serialize_with = "text::serialize",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "Option<text::Scalar>"))]
    pub gpu_memory_utilization: Option<Utilization>,

    /// Memory that other processes hold, such as other models; of several GPUs on every one.
    #[cfg_attr(feature = "cli", arg(long, value_name = "SIZE", help_heading = "Card"))]
    #[serde(
        deserialize_with = "text::deserialize",
        serialize_with = "text::serialize",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub other_use: Option<Bytes>,

    /// Tokens a second that generation must be able to reach with the cache full.
    #[cfg_attr(feature = "cli", arg(long, value_name = "TOK/S", help_heading = "Card"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_decode_speed: Option<f64>,
}

impl Question {
    /// These keys, and `other`'s where these are silent.
    pub fn or(self, other: Self) -> Self {
        Self {
            gpu: self.gpu.or(other.gpu),
            gpus: self.gpus.or(other.gpus),
            split: self.split.or(other.split),
            model: self.model.or(other.model),
            runtime: self.runtime.or(other.runtime),
            runtime_version: self.runtime_version.or(other.runtime_version),
            weights: self.weights.or(other.weights),
            kv: self.kv.or(other.kv),
            attention: self.attention.or(other.attention),
            system_tokens: self.system_tokens.or(other.system_tokens),
            cache_tokens: self.cache_tokens.or(other.cache_tokens),
            recent_window: self.recent_window.or(other.recent_window),
            prefill_chunk: self.prefill_chunk.or(other.prefill_chunk),
            batch: self.batch.or(other.batch),
            context: self.context.or(other.context),
            max_seqs: self.max_seqs.or(other.max_seqs),
            images: self.images.or(other.images),
            logits: self.logits.or(other.logits),
            cache: self.cache.or(other.cache),
            capture_layers: self.capture_layers.or(other.capture_layers),
            capture_tokens: self.capture_tokens.or(other.capture_tokens),
            capture_attention: self.capture_attention || other.capture_attention,
            capture_keep: self.capture_keep || other.capture_keep,
            headroom: self.headroom.or(other.headroom),
            gpu_memory_utilization: self.gpu_memory_utilization.or(other.gpu_memory_utilization),
            other_use: self.other_use.or(other.other_use),
            min_decode_speed: self.min_decode_speed.or(other.min_decode_speed),
        }
    }
}

impl Deployment {
    /// The question with every key that counts: what reads back as this deployment.
    pub fn resolved(&self) -> Question {
        let Workload { capture, .. } = self.workload;
        let serving = self.options().serving();
        let versioned = self.options().version().is_some();
        let version = self.given.runtime_version.clone().or_else(|| Some("latest".to_owned()));
        let (gpu, gpus) = self.cards.names();
        let other_use = self.cards.first().capacity.other_use;
        Question {
            gpu: Some(gpu),
            gpus,
            split: (self.cards.len() > 1).then_some(self.split),
            model: self.given.model.clone().or_else(|| Some(self.model.name.clone())),
            runtime: Some(self.kind()),
            runtime_version: version.filter(|_| versioned),
            weights: Some(self.weights),
            kv: Some(self.kv),
            attention: Some(self.workload.attention),
            system_tokens: Some(self.workload.system_tokens),
            cache_tokens: self.cache.fixed(),
            recent_window: self.workload.recent_window,
            prefill_chunk: Some(self.workload.prefill_chunk),
            batch: Some(self.workload.batch),
            context: Some(self.workload.context),
            max_seqs: serving.map(|serving| serving.max_seqs),
            images: self.workload.images,
            logits: Some(self.workload.logits),
            cache: Some(CacheAllocation::of(self.workload.grown_cache)),
            capture_layers: capture.map(|capture| CaptureLayers::Some(capture.layers)),
            capture_tokens: capture.map(|capture| capture.tokens),
            capture_attention: capture.is_some_and(|capture| capture.attention),
            capture_keep: capture.is_some_and(|capture| capture.keep),
            headroom: Some(self.headroom),
            gpu_memory_utilization: serving.map(|serving| serving.utilization),
            other_use: (!other_use.is_zero()).then_some(other_use),
            min_decode_speed: self.min_decode_speed,
        }
    }
}
