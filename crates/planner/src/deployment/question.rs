//! The question as given: every key may be left out. It is what a scenario file holds, what the flags of the command
//! are, and, once everything is resolved, what a plan's JSON says under `deployment`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::text;
#[cfg(feature = "cli")]
use super::vllm_numbers::vllm_number;
use crate::dtype::{KvPair, WeightFormat};
use crate::spec::{
    AskedShare, Attention, Count, Gibibytes, Headroom, Logits, MediaLimits, Runtime, Split,
    SplitMode, TensorOverride, TensorSplit,
};
use crate::units::Bytes;

/// What flags of llama.cpp's placement are listed under.
#[cfg(feature = "cli")]
const PLACEMENT: &str = "llama.cpp";

/// What flags of things beside the model are listed under.
#[cfg(feature = "cli")]
const BESIDE: &str = "Beside the model";

/// What flags of servers are listed under.
#[cfg(feature = "cli")]
const SERVER: &str = "vLLM and SGLang";

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

/// Defines the question and, key by key, how two of them are put together.
macro_rules! keys {
    ($(#[$about:meta])* pub struct $question:ident {
        $($(#[$meta:meta])* pub $key:ident: $kind:ty,)*
    }) => {
        $(#[$about])*
        pub struct $question {
            $($(#[$meta])* pub $key: $kind,)*
        }

        impl $question {
            /// These keys, and `other`'s where these are silent.
            #[must_use]
            pub fn or(self, mut other: Self) -> Self {
                self.silence(&mut other);
                Self { $($key: self.$key.or_given(other.$key),)* }
            }
        }
    };
}

keys! {
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
    /// the local card. Several are `2xL4`, or separated by commas: `L4,T4`.
    #[cfg_attr(feature = "cli", arg(aliases = ["vram", "gpu-memory", "card", "gpu-name"], short = 'g', long, value_name = "GPU"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu: Option<String>,

    /// Number of equal GPUs that the model is spread over, or `auto` for the fewest that hold it [default: 1].
    #[cfg_attr(feature = "cli", arg(aliases = ["num-gpus"], long, value_name = "N"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpus: Option<u64>,

    /// Find the fewest of the GPU that hold what is asked for: `--gpus auto`.
    #[cfg_attr(feature = "cli", arg(long, hide = true, conflicts_with = "gpus"))]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub fewest_gpus: bool,

    /// How the model is spread over several GPUs: `layer` (whole layers: `-sm layer` of llama.cpp,
    /// `device_map="auto"` of transformers, pipeline parallelism of vLLM) or `tensor` (parts of every
    /// layer: `-sm row`, tensor parallelism) [default: layer; tensor under vllm and sglang].
    #[cfg_attr(feature = "cli", arg(long, value_name = "HOW"))]
    #[serde(
        deserialize_with = "text::deserialize",
        serialize_with = "text::serialize",
        skip_serializing_if = "Option::is_none"
    )]
    pub split: Option<Split>,

    /// Model by name; a GGUF file, a directory with safetensors, a `config.json`; a repository
    /// (`Qwen/Qwen3-30B-A3B`, `…-GGUF:Q4_K_M`, `hf:…@revision`), a tag of Ollama's (`qwen3:30b`), an
    /// address: found in other programs' caches, else read by its header from the server.
    #[cfg_attr(feature = "cli", arg(aliases = ["model-path", "model-name", "model-id", "hf-repo"], short = 'm', long, value_name = "MODEL"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,

    /// Runtime: `vramplan`, `transformers`, `llama.cpp`, `vllm` or `sglang` [default: by the model: llama.cpp for GGUF
    /// files and tags, vllm for a repository or a checkpoint, vramplan for a bare name].
    #[cfg_attr(feature = "cli", arg(aliases = ["engine", "backend"], long, value_name = "RUNTIME"))]
    #[serde(
        deserialize_with = "text::deserialize",
        serialize_with = "text::serialize",
        skip_serializing_if = "Option::is_none"
    )]
    pub runtime: Option<Runtime>,

    /// Version of the runtime where versions differ: for llama.cpp a build such as `b8193`, a release such as
    /// `0.6.0`, or `2025` for builds before mid-2025; for vllm such as `0.11.2`; for sglang such as `0.5.9`; for transformers such as `4.44`,
    /// and `4.57,bitsandbytes=0.45` for both [default: latest].
    #[cfg_attr(feature = "cli", arg(long, value_name = "V"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_version: Option<String>,

    /// Format of the weights, such as `q4_k_m`, `q8_0`, `nf4-dq`, `awq-int4`, `bf16`. A file's own
    /// format unless given; for a model known by name `q4_k_m`; under transformers, vllm and sglang what it is published in.
    #[cfg_attr(feature = "cli", arg(aliases = ["quantization", "quant", "quantize", "weight-format"], long, value_name = "FORMAT"))]
    #[serde(
        deserialize_with = "text::deserialize",
        serialize_with = "text::serialize",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub weights: Option<WeightFormat>,

    /// Type of the weights where the model is not published quantized, such as `half` or `bfloat16` (servers' `--dtype`); a
    /// quantized model keeps its own format.
    #[cfg_attr(feature = "cli", arg(aliases = ["torch-dtype", "precision"], long, value_name = "TYPE"))]
    #[serde(
        deserialize_with = "text::deserialize",
        serialize_with = "text::serialize",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub dtype: Option<WeightFormat>,

    /// Format of cached keys and values, such as `int8`, `f16`, `q8_0`, `hqq8`; under llama.cpp also one
    /// for each, `q8_0/q4_0`. Unless given, what the runtime takes by itself: `int8`, `f16` under
    /// llama.cpp, `bf16` under transformers, vllm and sglang.
    #[cfg_attr(feature = "cli", arg(aliases = ["kv-cache-dtype", "cache-type", "kv-cache-type", "kv-dtype", "kv-type", "kv-quant", "kv-cache", "kv-format"], long, value_name = "FORMAT"))]
    #[serde(
        deserialize_with = "text::deserialize",
        serialize_with = "text::serialize",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub kv: Option<KvPair>,

    /// How attention is computed: `fused`, `flash`, `sdpa` or `eager`.
    #[cfg_attr(feature = "cli", arg(long, value_name = "KIND"))]
    #[serde(
        deserialize_with = "text::deserialize",
        serialize_with = "text::serialize",
        skip_serializing_if = "Option::is_none"
    )]
    pub attention: Option<Attention>,

    /// Length of the pinned system prompt in tokens [default: 0; 6000 under vramplan where the context has
    /// room for twice that].
    #[cfg_attr(feature = "cli", arg(aliases = ["system-prompt", "system-prompt-tokens"], long, value_name = "TOKENS", value_parser = text::tokens, help_heading = "Workload"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_tokens: Option<u64>,

    /// Plan a cache of so many tokens (`max_cache_tokens`) instead of the largest that fits.
    #[cfg_attr(feature = "cli", arg(long, value_name = "TOKENS", value_parser = text::tokens, help_heading = "Workload"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_tokens: Option<u64>,

    /// Plan a `recent_window` of so many tokens instead of half the cache, as published.
    #[cfg_attr(feature = "cli", arg(long, value_name = "TOKENS", value_parser = text::tokens, help_heading = "Workload"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recent_window: Option<u64>,

    /// Tokens of a prefill step (llama.cpp: `n_ubatch`, vLLM: `max_num_batched_tokens`, SGLang:
    /// `--chunked-prefill-size`) [default: 512; under vllm 16384 on cards of 160 GiB and more, 8192 of 70 GiB and more but the
    /// A100, else 2048; under sglang 2048 below 20 GiB, 4096 below 60, 8192 below 160, else 16384].
    #[cfg_attr(feature = "cli", arg(aliases = ["ubatch-size", "max-num-batched-tokens", "chunked-prefill-size"], long, value_name = "TOKENS", value_parser = text::tokens, help_heading = "Workload"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefill_chunk: Option<u64>,

    /// Sequences processed together, each with its own cache; the system prompt is shared where the runtime
    /// shares it [default: 1].
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", help_heading = "Workload"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<u64>,

    /// Users at the same time, each with their own conversation, as `--batch` [default with
    /// `--context-per-user`: as many as fit].
    #[cfg_attr(
        feature = "cli",
        arg(aliases = ["concurrency", "concurrent", "num-parallel"],
            long,
            value_name = "N",
            help_heading = "Workload",
            conflicts_with_all = ["batch", "parallel"]
        )
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub users: Option<u64>,

    /// Context length of each user in tokens, system prompt included: `--context` and `--cache-tokens` in
    /// one [default with `--users`: as many as fit].
    #[cfg_attr(
        feature = "cli",
        arg(
            long,
            value_name = "TOKENS", value_parser = text::tokens,
            help_heading = "Workload",
            conflicts_with_all = ["context", "cache_tokens"]
        )
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_per_user: Option<u64>,

    /// Context length in tokens; more than the model's where `RoPE` scaling allows it. Under llama.cpp and transformers
    /// all of it is planned, elsewhere it is the most that a conversation may have [default: the model's, or what fits of
    /// it].
    #[cfg_attr(feature = "cli", arg(aliases = ["ctx", "tokens", "context-len", "ctx-len", "seq-len", "sequence-length", "max-length", "max-context-length", "ctx-size", "num-ctx", "n-ctx", "context-length", "context-size", "context-window", "contextsize", "max-seq-len", "max-context"], short = 'c', long, value_name = "TOKENS", value_parser = text::tokens, help_heading = "Workload"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<u64>,

    /// The context that the program takes by itself, where that is neither the model's nor what fits: Ollama's by the
    /// memory of the cards.
    #[cfg_attr(feature = "cli", arg(long, help_heading = "Workload", conflicts_with_all = ["context", "cache_tokens", "context_per_user"]))]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub own_context: bool,

    /// The longest sequence that vLLM is told to serve, for which its pool must have room before it starts, in its own
    /// numbers (`32k` is 32,000, `32K` is 32,768), or `auto` for the longest that has room (SGLang: `--context-length`, for
    /// which it has a table) [default: the context where `--context` gives it, else what a given cache holds with the system
    /// prompt, else the model's].
    #[cfg_attr(feature = "cli", arg(long, value_name = "TOKENS", value_parser = vllm_number, help_heading = "Workload"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_model_len: Option<u64>,

    /// Let vLLM take the longest sequence that its pool holds: `--max-model-len auto` or `-1`.
    #[cfg_attr(feature = "cli", arg(long, hide = true, conflicts_with = "max_model_len"))]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub auto_max_model_len: bool,

    /// Sequences that vLLM may process together (`max_num_seqs`), for which its profile run samples
    /// [default: 1024 on cards of 70 GiB and more but the A100, else 256]; requests that SGLang may run together
    /// (`--max-running-requests`) [default: by its pool, 2048 to 4096].
    #[cfg_attr(feature = "cli", arg(aliases = ["max-num-seqs", "max-running-requests"], long, value_name = "N", help_heading = "Workload"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_seqs: Option<u64>,

    /// Images per prompt to plan for (vLLM: `--limit-mm-per-prompt`); 0 plans the language model alone.
    /// Their tokens count towards `--system-tokens` and the cache [default: as the runtime: the image
    /// encoder is loaded under transformers, vllm and sglang, not under llama.cpp and vramplan].
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", help_heading = "Workload"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images: Option<u64>,

    /// Positions for which logits are computed: `last` or `all` [default: last, one per sequence].
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

    /// Capture the activations of this many layers, or of `all`.
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

    /// Memory to leave free: a size, or a percentage of the total [default: 3%, at least 512 MiB; none
    /// under vllm and sglang, whose share of the card leaves some].
    #[cfg_attr(feature = "cli", arg(long, value_name = "SIZE|PCT", help_heading = "Card"))]
    #[serde(
        deserialize_with = "text::deserialize",
        serialize_with = "text::serialize",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub headroom: Option<Headroom>,

    /// Share of the card that vLLM takes for weights, activations and cache, or `auto` for the largest that is safe beside
    /// other programs [default: 0.92; 0.9 before vLLM 0.20].
    #[cfg_attr(feature = "cli", arg(aliases = ["gpu-mem-util", "gpu-util", "gpu-memory-util"], long, value_name = "SHARE", help_heading = "Card"))]
    #[serde(
        deserialize_with = "text::deserialize",
        serialize_with = "text::serialize",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "Option<text::Scalar>"))]
    pub gpu_memory_utilization: Option<AskedShare>,

    /// Share of what is free of the card for SGLang's weights and cache, or `auto` for the largest that is safe [default: as
    /// SGLang reckons it from the card, the step and the captured batches].
    #[cfg_attr(feature = "cli", arg(aliases = ["mem-fraction"], long, value_name = "SHARE", help_heading = "Card"))]
    #[serde(
        deserialize_with = "text::deserialize",
        serialize_with = "text::serialize",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "Option<text::Scalar>"))]
    pub mem_fraction_static: Option<AskedShare>,

    /// Plan without CUDA graphs: vLLM's `--enforce-eager`, which compiles nothing either, or SGLang's
    /// `--disable-cuda-graph`.
    #[cfg_attr(feature = "cli", arg(long, help_heading = "Card"))]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub enforce_eager: bool,

    /// Plan transformers or vLLM with `PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True`, with which less memory is
    /// lost to fragmentation.
    #[cfg_attr(feature = "cli", arg(long, help_heading = "Card"))]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub expandable_segments: bool,

    /// Memory that other programs hold, such as other models; applied to each of several GPUs.
    #[cfg_attr(feature = "cli", arg(long, value_name = "SIZE", help_heading = "Card"))]
    #[serde(
        deserialize_with = "text::deserialize",
        serialize_with = "text::serialize",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub other_use: Option<Bytes>,

    /// Layers on GPUs, the output head being one more: a number, `all` or `auto` (llama.cpp: `-ngl`)
    /// [default: all where they fit, else the fastest placement that does].
    #[cfg_attr(
        feature = "cli",
        arg(
            long,
            value_name = "N",
            help_heading = PLACEMENT,
            visible_alias = "n-gpu-layers",
            aliases = ["gpu-layers", "gpulayers", "num-gpu", "layers"],
            allow_negative_numbers = true
        )
    )]
    #[serde(
        deserialize_with = "text::deserialize",
        serialize_with = "text::serialize",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "Option<text::Scalar>"))]
    pub ngl: Option<Count>,

    /// Keep the experts of the first N layers in main memory: a number or `auto`.
    #[cfg_attr(feature = "cli", arg(aliases = ["ncmoe"], long, value_name = "N", help_heading = PLACEMENT))]
    #[serde(
        deserialize_with = "text::deserialize",
        serialize_with = "text::serialize",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "Option<text::Scalar>"))]
    pub n_cpu_moe: Option<Count>,

    /// Keep all experts in main memory.
    #[cfg_attr(
        feature = "cli",
        arg(long, help_heading = PLACEMENT, conflicts_with = "n_cpu_moe")
    )]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cpu_moe: bool,

    /// Put the tensors whose names match the pattern on this device, `CPU` or `CUDA0`: `exps=CPU`. May be
    /// repeated; the first pattern that matches counts, and all of them before `--n-cpu-moe`.
    #[cfg_attr(
        feature = "cli",
        arg(
            long,
            value_name = "REGEX=DEVICE",
            help_heading = PLACEMENT,
            value_delimiter = ',',
            visible_alias = "ot"
        )
    )]
    #[serde(with = "text::list", skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<String>"))]
    pub override_tensor: Vec<TensorOverride>,

    /// How many of the layers each GPU gets, as proportions: `3,1` [default: by free memory].
    #[cfg_attr(
        feature = "cli",
        arg(long, value_name = "N,N,…", help_heading = PLACEMENT, visible_alias = "ts")
    )]
    #[serde(
        deserialize_with = "text::deserialize",
        serialize_with = "text::serialize",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "Option<text::Scalar>"))]
    pub tensor_split: Option<TensorSplit>,

    /// `--split` in llama.cpp's words: `none` is one GPU, `row` cuts matrices.
    #[cfg_attr(
        feature = "cli",
        arg(long, value_name = "HOW", help_heading = PLACEMENT, conflicts_with = "split")
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split_mode: Option<SplitMode>,

    /// The GPU of `--split-mode none`, from 0.
    #[cfg_attr(feature = "cli", arg(long, value_name = "GPU", help_heading = PLACEMENT))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub main_gpu: Option<u64>,

    /// Keep the KV cache in main memory.
    #[cfg_attr(feature = "cli", arg(long, help_heading = PLACEMENT))]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_kv_offload: bool,

    /// Never copy weights from main memory to a GPU for large batches.
    #[cfg_attr(feature = "cli", arg(long, help_heading = PLACEMENT))]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_op_offload: bool,

    /// Main memory that the run may use [default with `--gpu auto`: what this machine has available].
    #[cfg_attr(feature = "cli", arg(aliases = ["system-ram", "cpu-memory"], long, value_name = "SIZE", help_heading = PLACEMENT))]
    #[serde(
        deserialize_with = "text::deserialize",
        serialize_with = "text::serialize",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub ram: Option<Bytes>,

    /// Bandwidth of main memory in bytes per second, such as `80GB` [default: 50GB, assumed].
    #[cfg_attr(feature = "cli", arg(long, value_name = "SIZE", help_heading = PLACEMENT))]
    #[serde(
        deserialize_with = "text::deserialize",
        serialize_with = "text::serialize",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub ram_bandwidth: Option<Bytes>,

    /// Slots of a llama.cpp server (`-np`), which share the cache unless `--no-kv-unified` is given;
    /// with `--batch` every slot has a cache of its own.
    #[cfg_attr(
        feature = "cli",
        arg(long, value_name = "N", help_heading = PLACEMENT, conflicts_with = "batch")
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallel: Option<u64>,

    /// Slots share the cells of one cache [default with `--parallel`].
    #[cfg_attr(
        feature = "cli",
        arg(long, help_heading = PLACEMENT, conflicts_with = "no_kv_unified")
    )]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub kv_unified: bool,

    /// Give every slot its own cells.
    #[cfg_attr(feature = "cli", arg(long, help_heading = PLACEMENT))]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_kv_unified: bool,

    /// Cache every token in sliding-window layers too.
    #[cfg_attr(feature = "cli", arg(long, help_heading = PLACEMENT))]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub swa_full: bool,

    /// Tokens of a llama.cpp batch, of which micro-batches (`--prefill-chunk`) are cut [default: 2048].
    #[cfg_attr(feature = "cli", arg(long, value_name = "TOKENS", help_heading = PLACEMENT))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_size: Option<u64>,

    /// The image encoder to load with the model: its file, or `auto` for the model's own in f16
    /// (llama.cpp).
    #[cfg_attr(feature = "cli", arg(long, value_name = "FILE", help_heading = BESIDE))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mmproj: Option<String>,

    /// A `LoRA` adapter to load with the model; may be repeated (llama.cpp; vllm has `--max-loras`).
    #[cfg_attr(feature = "cli", arg(long, value_name = "FILE", help_heading = BESIDE))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lora: Vec<String>,

    /// A smaller model whose tokens the model checks: a name or a file (llama.cpp: `-md`); under vllm and sglang also
    /// `eagle` or `eagle3` for a head as they are published, under vllm a `DFlash` draft or an assistant of Gemma 4 by its
    /// repository or `ngram`, with `--draft-tokens`. `unknown` for any other, which the plan then says that it lacks.
    #[cfg_attr(
        feature = "cli",
        arg(long, value_name = "MODEL", help_heading = BESIDE, visible_alias = "model-draft")
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub draft: Option<String>,

    /// Tokens that the model's own layer predicts ahead (llama.cpp: `--spec-type draft-mtp`; vLLM: method `mtp`).
    #[cfg_attr(feature = "cli", arg(long, value_name = "TOKENS", help_heading = BESIDE))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtp: Option<u64>,

    /// `LoRA` adapters that vLLM serves in one batch (`--enable-lora`), for each of which it allocates a slot when it
    /// loads the model [default: 1 with `--max-lora-rank`].
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", help_heading = SERVER))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_loras: Option<u64>,

    /// The largest rank of those adapters [default: 16 with `--max-loras`].
    #[cfg_attr(feature = "cli", arg(aliases = ["lora-rank"], long, value_name = "RANK", help_heading = SERVER))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_lora_rank: Option<u64>,

    /// Tokens that `--draft` predicts ahead under llama.cpp (`--spec-draft-n-max`), vLLM (`num_speculative_tokens`) and SGLang
    /// (one fewer than `--speculative-num-draft-tokens`) [default under llama.cpp and sglang: 3; 7 for heads of Llama].
    #[cfg_attr(
        feature = "cli",
        arg(long, value_name = "N", help_heading = SERVER, visible_alias = "num-speculative-tokens")
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub draft_tokens: Option<u64>,

    /// GiB of every GPU's weights that vLLM leaves in main memory.
    #[cfg_attr(feature = "cli", arg(long, value_name = "GIB", help_heading = SERVER))]
    #[serde(
        deserialize_with = "text::deserialize",
        serialize_with = "text::serialize",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "Option<text::Scalar>"))]
    pub cpu_offload_gb: Option<Gibibytes>,

    /// GiB of main memory that vLLM moves blocks of its cache to, of all GPUs together.
    #[cfg_attr(feature = "cli", arg(long, value_name = "GIB", help_heading = SERVER))]
    #[serde(
        deserialize_with = "text::deserialize",
        serialize_with = "text::serialize",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "Option<text::Scalar>"))]
    pub kv_offloading_size: Option<Gibibytes>,

    /// GiB of main memory for every GPU that vLLM swaps sequences to, in releases before 0.19.
    #[cfg_attr(feature = "cli", arg(long, value_name = "GIB", help_heading = SERVER))]
    #[serde(
        deserialize_with = "text::deserialize",
        serialize_with = "text::serialize",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "Option<text::Scalar>"))]
    pub swap_space: Option<Gibibytes>,

    /// The size of vLLM's pool on every GPU, in place of what its share of the card leaves.
    #[cfg_attr(feature = "cli", arg(long, value_name = "SIZE", value_parser = text::bytes, help_heading = SERVER))]
    #[serde(
        deserialize_with = "text::deserialize_bytes",
        serialize_with = "text::serialize",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub kv_cache_memory_bytes: Option<Bytes>,

    /// Tokens of a block of vLLM's cache, or of a page of SGLang's [default: as their kernels need].
    #[cfg_attr(feature = "cli", arg(aliases = ["page-size"], long, value_name = "TOKENS", help_heading = SERVER))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block_size: Option<u64>,

    /// Tokens of the largest step that vLLM captures as a graph [default: 512, or twice `--max-seqs`], or requests of the
    /// largest batch that SGLang captures (`--cuda-graph-max-bs`) [default: by the card].
    #[cfg_attr(feature = "cli", arg(aliases = ["cuda-graph-max-bs"], long, value_name = "TOKENS", help_heading = SERVER))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_cudagraph_capture_size: Option<u64>,

    /// How much vLLM compiles and captures (`-O`): 0 nothing, 1 graphs of pieces of a step, 2 and 3 of whole steps, too
    /// [default: 2].
    #[cfg_attr(feature = "cli", arg(long, value_name = "LEVEL", help_heading = SERVER))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub optimization_level: Option<u64>,

    /// GPUs that every layer is split over (tensor parallelism) [default: all that other kinds of parallelism leave].
    #[cfg_attr(
        feature = "cli",
        arg(long, value_name = "N", help_heading = SERVER, visible_alias = "tp", alias = "tp-size")
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tensor_parallel_size: Option<u64>,

    /// Stages that the layers are divided into, one behind the other (pipeline parallelism) [default: 1; all GPUs with
    /// `--split layer`].
    #[cfg_attr(
        feature = "cli",
        arg(long, value_name = "N", help_heading = SERVER, visible_alias = "pp", alias = "pp-size")
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pipeline_parallel_size: Option<u64>,

    /// Copies of the dense layers, which share the experts (data parallelism) [default: 1].
    #[cfg_attr(
        feature = "cli",
        arg(long, value_name = "N", help_heading = SERVER, visible_alias = "dp", alias = "dp-size")
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_parallel_size: Option<u64>,

    /// How many images and videos a prompt may have under vLLM, `image=4,video=0` or the same as JSON: the largest of
    /// them are encoded once before the pool is cut [default: as many as fit].
    #[cfg_attr(feature = "cli", arg(long, value_name = "LIMITS", help_heading = SERVER, conflicts_with = "images"))]
    #[serde(
        deserialize_with = "text::deserialize",
        serialize_with = "text::serialize",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub limit_mm_per_prompt: Option<MediaLimits>,

    /// Leave out vLLM's encoder of images: prompts are text.
    #[cfg_attr(feature = "cli", arg(long, help_heading = SERVER, conflicts_with = "images"))]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub language_model_only: bool,

    /// Leave images and videos out of vLLM's profile run: what their encoder takes comes beside its share of the card.
    #[cfg_attr(feature = "cli", arg(long, help_heading = SERVER))]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub skip_mm_profiling: bool,

    /// Pixels of the largest image of Qwen's models under vLLM (`--mm-processor-kwargs '{"max_pixels": N}'`) [default: as
    /// their processors].
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", help_heading = SERVER))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_pixels: Option<u64>,

    /// Share blocks of vLLM's cache between prompts that begin alike; layers that keep a state then take a block more of each
    /// request [default: on, for models with such layers from 0.26 on].
    #[cfg_attr(feature = "cli", arg(long, help_heading = SERVER, conflicts_with = "no_enable_prefix_caching"))]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub enable_prefix_caching: bool,

    /// Share no blocks of vLLM's cache between prompts.
    #[cfg_attr(feature = "cli", arg(long, help_heading = SERVER))]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_enable_prefix_caching: bool,

    /// Give every GPU whole experts instead of a part of each (expert parallelism).
    #[cfg_attr(feature = "cli", arg(long, help_heading = SERVER))]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub enable_expert_parallel: bool,

    /// GPUs that vLLM divides the tokens of a cache among which each of them would otherwise hold whole (decode context
    /// parallelism) [default: 1].
    #[cfg_attr(
        feature = "cli",
        arg(long, value_name = "N", help_heading = SERVER, visible_alias = "dcp")
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decode_context_parallel_size: Option<u64>,

    /// Divide SGLang's GPUs into as many groups as `--data-parallel-size` says, each with the attention layers and with
    /// conversations of its own (data-parallel attention).
    #[cfg_attr(feature = "cli", arg(long, help_heading = SERVER))]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub enable_dp_attention: bool,

    /// Type of the states that recurrent layers keep of a request, such as `float32` (SGLang: `--mamba-ssm-dtype`)
    /// [default: what the model's configuration says].
    #[cfg_attr(feature = "cli", arg(alias = "mamba-ssm-dtype", long, value_name = "TYPE", help_heading = SERVER))]
    #[serde(
        deserialize_with = "text::deserialize",
        serialize_with = "text::serialize",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub mamba_ssm_cache_dtype: Option<WeightFormat>,

    /// The most tokens that SGLang's pool may have [default: what its share of the card leaves].
    #[cfg_attr(feature = "cli", arg(long, value_name = "TOKENS", value_parser = text::tokens, help_heading = SERVER))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_total_tokens: Option<u64>,

    /// Slowest acceptable generation, in tokens per second with the cache full.
    #[cfg_attr(feature = "cli", arg(aliases = ["min-tps", "min-speed", "tps"], long, value_name = "TOK/S", help_heading = "Card"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_decode_speed: Option<f64>,
}
}

impl Question {
    /// Whether it is said in vLLM's words what prompts may have beside text.
    pub const fn says_media(&self) -> bool {
        self.limit_mm_per_prompt.is_some() || self.language_model_only
    }

    /// The share of a card that a server is told to take, in whichever one's words.
    pub fn share(&self) -> Option<AskedShare> {
        self.gpu_memory_utilization.or(self.mem_fraction_static)
    }

    /// Whether sizes of kinds of parallelism are given, whose product is the number of GPUs.
    pub const fn says_parallelism(&self) -> bool {
        self.tensor_parallel_size.is_some()
            || self.pipeline_parallel_size.is_some()
            || self.data_parallel_size.is_some()
            || self.decode_context_parallel_size.is_some()
    }

    /// Takes out of `other` what a key here says otherwise under another name.
    fn silence(&self, other: &mut Self) {
        if self.gpus.is_some() || self.fewest_gpus {
            (other.gpus, other.fewest_gpus) = (None, false);
        }
        if self.max_model_len.is_some() || self.auto_max_model_len {
            (other.max_model_len, other.auto_max_model_len) = (None, false);
        }
        if self.cpu_moe || self.n_cpu_moe.is_some() {
            (other.cpu_moe, other.n_cpu_moe) = (false, None);
        }
        if self.kv_unified || self.no_kv_unified {
            (other.kv_unified, other.no_kv_unified) = (false, false);
        }
        if self.enable_prefix_caching || self.no_enable_prefix_caching {
            (other.enable_prefix_caching, other.no_enable_prefix_caching) = (false, false);
        }
    }
}

/// A key, which may be silent.
trait Key {
    /// This key, or the other where it is silent.
    fn or_given(self, other: Self) -> Self;
}

impl<T> Key for Option<T> {
    fn or_given(self, other: Self) -> Self {
        self.or(other)
    }
}

impl Key for bool {
    fn or_given(self, other: Self) -> Self {
        self || other
    }
}

impl<T> Key for Vec<T> {
    fn or_given(self, other: Self) -> Self {
        if self.is_empty() { other } else { self }
    }
}
