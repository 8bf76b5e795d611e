//! What is particular to each family of models, in one table: readers of files, rules of runtimes and `synth`
//! ask it, and name no family themselves.
//!
//! A family whose layers are Llama's is one row of [`table`] that says how it is called and what differs.
//!
//! Sources: transformers 5.23 `models/*/configuration_*.py` and `modeling_*.py`; llama.cpp `src/models/*.cpp`,
//! `src/llama-arch.cpp`, `conversion/*.py`; vLLM 0.19.1 `model_executor/models/*.py`.

mod graphs;
mod table;

use super::{QkNorm, SglangVersion, TransformersVersion};
use crate::dtype::GgmlType;

pub(crate) use graphs::{GRAPHS, Graph, graph_of, graph_of_family};
pub use table::Architecture;

/// Everything that is asked of a family.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Family {
    /// `general.architecture` of GGUF files.
    pub(crate) gguf: &'static str,
    /// `model_type`s of `config.json`.
    pub(crate) hf: &'static [&'static str],
    /// What its files call keys otherwise than others: the usual name, and its own, with dots into objects.
    pub(crate) keys: &'static [(&'static str, &'static str)],
    /// What the configuration class of transformers assumes where a key is absent.
    pub(crate) defaults: Defaults,
    /// What families of before Llama have.
    pub(crate) earlier: Earlier,
    /// What layers do with tokens.
    pub(crate) layers: LayerKinds,
    /// How a layer is put together.
    pub(crate) order: LayerOrder,
    /// Sliding windows.
    pub(crate) windows: Windows,
    /// Positions of queries and keys.
    pub(crate) rope: Rope,
    /// Norms.
    pub(crate) norms: Norms,
    /// Biases of linear layers.
    pub(crate) biases: Biases,
    /// Whether the MLP has a gate.
    pub(crate) gated_ffn: bool,
    /// Whether q, k and v are one tensor, and gate and up another.
    pub(crate) fused_projections: bool,
    /// Whether every query head has a learned sink.
    pub(crate) attention_sinks: bool,
    /// Whether only layers with a window have those.
    pub(crate) sinks_in_windows: bool,
    /// Whether a layer's output is scaled by a number of its own.
    pub(crate) layer_scalar: bool,
    /// Whether layers with a window have heads of their own number, and values of their own size.
    pub(crate) windows_have_heads: bool,
    /// How many times as many key and value heads those have, where a file does not say.
    pub(crate) windows_kv_heads_times: u64,
    /// Whether every head's output has a gate of one number.
    pub(crate) head_gates: bool,
    /// The key that asks for a bias of the output head.
    pub(crate) head_bias: Option<&'static str>,
    /// Whether the output head has a bias whatever a file says.
    pub(crate) head_bias_always: bool,
    /// Whether attention's output passes through a gate as wide as the queries, in families without delta-nets.
    pub(crate) output_gate: bool,
    /// What chooses the tokens that attention reads.
    pub(crate) indexer: Option<IndexerKind>,
    /// Parameters of the activation.
    pub(crate) activation_parameters: u64,
    /// Width of every layer's embeddings where a file does not say; nothing in families without.
    pub(crate) layer_embeddings: Option<u64>,
    /// Layers that share a cache, where a file does not say.
    pub(crate) shared_cache_layers: u64,
    /// Residual streams that learned weights mix, where a file does not say; nothing in families without.
    pub(crate) streams: Option<u64>,
    /// Whether it has the residual streams of Gemma 3n.
    pub(crate) alt_up: bool,
    /// Whether the width of MLPs is adjusted where a file does not say.
    pub(crate) adjusted_ffn: bool,
    /// Soft caps of attention's scores and of logits.
    pub(crate) softcaps: SoftCaps,
    /// Experts.
    pub(crate) experts: Experts,
    /// What is multiplied by constants.
    pub(crate) scales: Scales,
    /// Layers that an image's embeddings are given to once more.
    pub(crate) image_layers: u64,
    /// What GGUF files hold beside the parameters.
    pub(crate) gguf_extras: GgufExtras,
    /// What is particular to its graph in llama.cpp.
    pub(crate) graph: LlamaGraph,
    /// How `synth` writes files of it; nothing where the names of its tensors are not known here.
    pub(crate) synthetic: Option<Synthetic>,
    /// What is particular to it under transformers.
    pub(crate) transformers: Transformers,
    /// What is particular to it under vLLM.
    pub(crate) vllm: Vllm,
    /// What is particular to it under `SGLang`.
    pub(crate) sglang: Sglang,
}

/// What transformers assumes where a key of `config.json` is absent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Defaults {
    pub(crate) vocab_size: u64,
    pub(crate) n_heads: u64,
    /// Nothing: as many as query heads.
    pub(crate) kv_heads: Option<u64>,
    /// Nothing: the quotient.
    pub(crate) head_dim: Option<u64>,
    pub(crate) context_len: u64,
    pub(crate) tied: bool,
}

/// What families of before Llama have, and those that kept to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Earlier {
    /// Rows of a table of learned positions beside the context's; nothing where positions are not learned.
    pub(crate) positions: Option<u64>,
    /// Whether embeddings are normed.
    pub(crate) embedding_norm: bool,
    /// The width of MLPs in widths of the model, where a file does not say.
    pub(crate) ffn_times: Option<u64>,
    /// Whether an MLP is half as wide as files say.
    pub(crate) ffn_halved: bool,
    /// The key that asks for one head of keys and values, and what is taken to be its value where it is absent.
    pub(crate) multi_query: Option<(&'static str, bool)>,
}

/// What layers do with tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LayerKinds {
    /// Every layer attends, and all have the same heads.
    Attention,
    /// Every layer attends; those with a window have heads of another size, and those without may take their
    /// keys as values (Gemma 4).
    TwoHeadSizes,
    /// Keys and values are cached as one latent vector (DeepSeek).
    Latent,
    /// Most layers keep the state of a gated delta-net; attention's output has a gate.
    DeltaNet(DeltaNet),
    /// Most layers keep a state-space state (Mamba-2).
    StateSpace,
    /// Most layers keep the state of a delta-net, the others a latent vector (Kimi Linear).
    LatentAndDelta,
    /// A layer is attention, a state-space layer, an MLP or experts alone (Nemotron-H).
    OneSublayer,
    /// Every layer attends and keeps a state-space state (Falcon-H1).
    Both,
    /// Some layers have lost their attention or their MLP (Nemotron NAS).
    Pruned,
    /// Most layers are short convolutions (LFM2).
    Convolution,
    /// Keys of a window, and compressed ones before it (DeepSeek-V4).
    Compressed,
}

/// What differs between families with gated delta-nets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeltaNet {
    /// Whether GGUF files hold the projections beta and alpha as one tensor.
    pub(crate) joint_gates: bool,
    /// Whether attention's output has a gate as wide as the queries.
    pub(crate) gates_attention: bool,
    /// Bytes of an element of the state under vLLM, by `mamba_ssm_dtype`.
    pub(crate) vllm_state_bytes: u64,
}

/// How a layer is put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LayerOrder {
    /// A norm before attention and one before the MLP, perhaps others behind them.
    Sequential,
    /// Attention and MLP read one norm, side by side (Command-R).
    Parallel,
    /// Norms behind attention and MLP only (OLMo 2).
    PostNorm,
    /// One norm, and one of attention, a state-space layer, an MLP or experts (Nemotron-H).
    Single,
    /// Attention and a state-space layer side by side, each behind the same norm, then norm and MLP (Falcon-H1).
    Beside,
}

/// What chooses the tokens that attention reads, where a file does not say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IndexerKind {
    /// Query heads.
    pub(crate) n_heads: u64,
    /// Whether queries and keys are projected from the model's width and normed.
    pub(crate) plain: bool,
    /// Tokens whose keys become one; nothing where each has its own.
    pub(crate) pooled: Option<u64>,
}

impl LayerOrder {
    /// Whether attention and MLP read the same input.
    pub(crate) fn is_parallel(self) -> bool {
        self == Self::Parallel
    }
}

/// Sliding windows, by what reads them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Windows {
    /// Which layers have one by `config.json`.
    pub(crate) hf: HfWindows,
    /// `sliding_window` where `config.json` does not state it.
    pub(crate) hf_size: Option<u64>,
    /// Those of GGUF files that llama.cpp respects.
    pub(crate) gguf: Option<GgufWindow>,
}

/// Which layers have a window by `config.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HfWindows {
    /// None.
    None,
    /// Every layer.
    Every,
    /// Every layer where `use_sliding_window` says so.
    EveryIfUsed,
    /// `layer_types`, or the layers from `max_window_layers` on, where `use_sliding_window` says so.
    FromLayerIfUsed,
    /// `layer_types`, or every other layer before `max_window_layers`, where `use_sliding_window` says so.
    BeforeLayerIfUsed,
    /// `layer_types`, or all but every Nth, counting from the first.
    AllBut(u64),
    /// The same where `sliding_window_pattern` does not state another N.
    AllButStated(u64),
    /// The same, but the first layer has none either.
    FirstAndEvery(u64),
    /// `layer_types`, or all but the first of every N.
    AllButFirstOf(u64),
    /// Chunks of `attention_chunk_size` in layers that rotate (Llama 4).
    Chunks,
    /// Every layer, whatever `layer_types` calls it (DeepSeek-V4).
    Compressed,
    /// Those that `layer_types` lists, without it none.
    Listed,
    /// By whatever keys the file has: `layer_types`, a pattern, else every layer where it states a window.
    Stated,
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

/// Positions of queries and keys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rope {
    /// How llama.cpp pairs the elements of a head (`llama_model_rope_type`).
    pub(crate) pairs: RopePairs,
    /// One of so many elements of a head is rotated.
    pub(crate) one_of: u64,
    /// Which layers rotate.
    pub(crate) layers: RopeLayers,
    /// Whether positions come in four sections (`LLAMA_ROPE_TYPE_IMROPE`, `MROPE`).
    pub(crate) sections: bool,
    /// Tables of cosines and sines: a second one for windowed layers.
    pub(crate) tables: u64,
    /// Whether transformers rotates in f32.
    pub(crate) in_f32: bool,
}

/// Elements of a head that are rotated together, in tensors as GGUF files hold them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopePairs {
    /// Neighbours: converters reorder the rows of q and k (`LLAMA_ROPE_TYPE_NORM`).
    Interleaved,
    /// One of each half of a head (`LLAMA_ROPE_TYPE_NEOX` and what is built on it).
    Halves,
}

/// The layers whose queries and keys are rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RopeLayers {
    /// All of them.
    All,
    /// None of them.
    None,
    /// All but every Nth, counting from the first.
    AllBut(u64),
    /// Those with a window; all of a model without windows.
    Windowed,
}

/// Norms of a layer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Norms {
    /// Those of full width, in the order of the residual stream, by their stems in GGUF files.
    pub(crate) stems: &'static [&'static str],
    /// Whether they subtract the mean (`LayerNorm`).
    pub(crate) subtract_mean: bool,
    /// Whether they have a bias.
    pub(crate) bias: bool,
    /// Those of queries and keys.
    pub(crate) qk: QkNorm,
    /// Whether those are there only where `use_qk_norm` says so.
    pub(crate) qk_if_asked: bool,
    /// Whether values are normed, without a weight.
    pub(crate) values: bool,
    /// Whether llama.cpp tells the norm behind an MLP of no layer, so that it runs where its neighbours do.
    pub(crate) last_apart: bool,
    /// Whether none has a weight.
    pub(crate) weightless: bool,
    /// Whether what the last projections of attention and of the MLP read is normed (`BitNet`).
    pub(crate) inner: bool,
    /// Whether what experts give is normed (A.X K1).
    pub(crate) behind_experts: bool,
    /// Whether a layer has one norm where attention and MLP are parallel and not of the newer kind (Falcon).
    pub(crate) one_if_parallel: bool,
}

/// Biases of linear layers, by `config.json`. GGUF files show theirs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Biases {
    pub(crate) qkv: Bias,
    pub(crate) output: Bias,
    pub(crate) ffn: Bias,
}

/// Whether some linear layers have biases.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bias {
    Never,
    Always,
    /// Where this key says so; the value where it is absent.
    Stated(&'static str, bool),
    /// Where any of these keys says so.
    AnyOf(&'static [&'static str]),
    /// No formula covers the biases that this key asks for.
    Refused(&'static str),
}

/// Soft caps of attention's scores and of logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SoftCaps {
    /// None, whatever `config.json` holds.
    Never,
    /// Those that are stated.
    Stated,
    /// Both, unless stated otherwise.
    Usual,
}

/// Experts. What a family without any has here counts for shapes that have them nevertheless.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Experts {
    /// How `config.json` states them.
    pub(crate) hf: HfExperts,
    /// Dense layers at the start where a file does not say.
    pub(crate) dense_first: u64,
    /// Shared experts where a file does not say.
    pub(crate) n_shared: u64,
    /// Experts of a token where a file does not say; nothing where it has to.
    pub(crate) n_used: Option<u64>,
    /// Whether GGUF files state their width.
    pub(crate) gguf_width: bool,
    /// What the router's scores pass through in llama.cpp's graph.
    pub(crate) routing: Routing,
    /// Which models scale the chosen experts' weights (`expert_weights_scale` other than 1).
    pub(crate) scaled: ScaledWeights,
    /// The router's bias.
    pub(crate) router_bias: RouterBias,
    /// Whether the experts' linear layers have biases.
    pub(crate) bias: bool,
    /// Whether the shared expert's gate is `silu(x) / x` in llama.cpp's graph.
    pub(crate) divided_gate: bool,
    /// Whether their inputs are weighed in llama.cpp's graph, and not their results (Llama 4).
    pub(crate) weighs_inputs: bool,
    /// The type that they are published in, where conversions keep it.
    pub(crate) published: Option<GgmlType>,
    /// Whether they were two parameters of one module before transformers 5.0, too.
    pub(crate) always_packed: bool,
    /// Whether the router was an `nn.Linear` before transformers 5.0.
    pub(crate) linear_router: bool,
    /// Whether their outputs are weighed and added up in f32 where every expert is a module.
    pub(crate) weighed_in_f32: bool,
    /// Whether the weighted outputs are put back in order in f32.
    pub(crate) ordered_in_f32: bool,
}

/// How `config.json` states experts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HfExperts {
    /// It has none.
    None,
    /// As wide as `intermediate_size`, in every layer.
    Plain,
    /// `moe_intermediate_size`, dense layers in `mlp_only_layers`.
    Listed,
    /// The same with a gated shared expert of `shared_expert_intermediate_size`.
    ListedAndShared,
    /// `moe_intermediate_size`, so many dense layers first where `first_k_dense_replace` is absent,
    /// `n_shared_experts` as wide as the others.
    Leading(u64),
    /// As wide as `intermediate_size`, with a shared MLP, unless `num_local_experts` is 0 (Granite 4).
    Optional,
    /// By whichever of the usual keys the file has; none where it states no number of them.
    Stated,
    /// The same as wide as `intermediate_size`, with one more that is shared (Llama 4).
    Llama4,
}

/// What a router's scores pass through, and whether the chosen weights are divided by their sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Routing {
    /// A softmax; the weights are divided by their sum.
    Softmax,
    /// A softmax, and nothing after it.
    SoftmaxOnly,
    /// A softmax over the chosen experts.
    SoftmaxOfChosen,
    /// Sigmoids; the weights are divided by their sum.
    Sigmoid,
    /// Sigmoids where scores are corrected by a bias, a softmax and nothing after it elsewhere.
    SigmoidIfCorrected,
}

/// Which models scale the chosen experts' weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScaledWeights {
    Never,
    /// Those with a low-rank projection of queries: V2, V3, not V2-Lite.
    WithQueryRank,
    /// Those with more experts.
    AboveExperts(u64),
    /// Those whose file says so.
    Stated,
}

/// The bias of a router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RouterBias {
    None,
    /// One of its linear layer.
    Linear,
    /// A learned correction of the scores by which experts are chosen.
    Correction,
    /// The same in some models of the family (DeepSeek-V3).
    CorrectionInSome,
}

/// What is multiplied by constants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scales {
    pub(crate) embeddings: bool,
    /// What a sublayer adds to the residual stream.
    pub(crate) residuals: bool,
    /// Queries, in llama.cpp's graph, instead of the scores.
    pub(crate) queries: bool,
    pub(crate) logits: bool,
    /// The constants that GGUF files state.
    pub(crate) stated: StatedScales,
}

/// The constants that GGUF files of a family state.
#[derive(Clone, Copy, Debug)]
pub(crate) enum StatedScales {
    None,
    /// Of attention, embeddings, residuals and logits.
    Granite,
    /// Of logits.
    Logits(f32),
}

/// What GGUF files hold beside the parameters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GgufExtras {
    /// A table of frequencies (`rope_freqs`).
    pub(crate) frequencies: Frequencies,
    /// Layers for multi-token prediction, which are counted with the others.
    pub(crate) predicting_layers: u64,
    /// Whether llama.cpp before 0.8.0 makes the head of a tied token embedding before the table, which it then holds twice
    /// where both are in one place.
    pub(crate) head_first: bool,
}

/// Which GGUF files hold a table of frequencies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frequencies {
    Never,
    /// Those of Llama 3.1, 3.2 and 3.3, known by their vocabulary and context.
    OfLlama3,
    Always,
}

/// What is particular to a family's graph in llama.cpp.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LlamaGraph {
    /// What is kept of all rows.
    pub(crate) hidden_states: HiddenStates,
    /// Whether the residual is the first operand of a layer's last sum: where the result lies depends on it.
    pub(crate) residual_first: bool,
    /// The same of the sum behind attention.
    pub(crate) stream_first: bool,
    /// Whether llama.cpp's graph of the family is built here; without it neither its files nor plans of it under
    /// llama.cpp are known.
    pub(crate) known: bool,
    /// Whether embeddings of tokens are scaled by an input where a batch may mix tokens and embeddings.
    pub(crate) token_scale: bool,
}

/// What llama.cpp's graph keeps of all rows beside the logits, for multi-token prediction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HiddenStates {
    None,
    /// What the final norm reads.
    BeforeNorm,
    /// What the final norm gives.
    AfterNorm,
}

/// What a synthetic file states that no shape has: the family's defaults.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Synthetic {
    /// Base of the rotary frequencies.
    pub(crate) rope_base: f32,
    /// Added to the variance in norms.
    pub(crate) epsilon: f32,
}

/// What is particular to a family under transformers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transformers {
    /// The first generation that has it.
    pub(crate) since: TransformersVersion,
    /// Whether attention runs eager where SDPA is asked for (`_supports_sdpa` is false).
    pub(crate) eager_only: bool,
    /// Whether the router's weight is f32 (`torch.zeros(..., dtype=torch.float32)`).
    pub(crate) router_in_f32: bool,
    /// How its norms are computed.
    pub(crate) norm: RmsNorm,
}

/// How the norms of a family are computed under transformers, which decides what copies they make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RmsNorm {
    /// In f32, the weight applied in 16 bits (Llama).
    InSixteenBits,
    /// In f32, the weight too (OLMo 2).
    InF32,
    /// In f32, with one more than the weight (Gemma).
    OnePlusWeight,
    /// By one kernel of `PyTorch` (`nn.LayerNorm`).
    OneKernel,
}

/// What is particular to a family under vLLM.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vllm {
    /// What every stage of a pipeline builds, whether it uses it or not.
    pub(crate) every_stage: EveryStage,
    /// Tables of sines and cosines.
    pub(crate) rotation: RotationTables,
    /// Whether those are f32.
    pub(crate) rotation_in_f32: bool,
    /// Whether the router is kept in f32.
    pub(crate) router_in_f32: bool,
    /// Whether graphs are captured for more tokens than of other families.
    pub(crate) captures_more: bool,
    /// Whether tokens of an image attend to each other, which rules `FlashAttention` 3 out.
    pub(crate) images_attend: bool,
    /// Whether it was seen to take more beside `PyTorch`'s allocations, without a known reason.
    pub(crate) takes_more: bool,
    /// Whether shared experts are on every rank where experts are dealt out whole to ranks of several copies
    /// (`use_sequence_parallel_moe`).
    pub(crate) whole_shared_experts: bool,
    /// What outside of layers has slots for adapters (`embedding_modules` of its class).
    pub(crate) adapters: AdapterSlots,
}

impl Vllm {
    /// The same with slots for adapters on the embedding and the output head.
    pub(crate) const fn adapts(self, embedding: bool, head: bool) -> Self {
        let adapters = AdapterSlots { embedding, head, ..self.adapters };
        Self { adapters, ..self }
    }

    /// The same where gate and up of an MLP share one half of an adapter.
    pub(crate) const fn joins_mlp(self) -> Self {
        Self { adapters: AdapterSlots { joined_mlp: true, ..self.adapters }, ..self }
    }

    /// The same where gate and up of an expert share one half of an adapter (`is_3d_moe_weight`).
    pub(crate) const fn joins_experts(self) -> Self {
        Self { adapters: AdapterSlots { joined_experts: true, ..self.adapters }, ..self }
    }
}

/// Where adapters may change a model beside its layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AdapterSlots {
    pub(crate) embedding: bool,
    pub(crate) head: bool,
    /// Whether gate and up of experts are one matrix to an adapter.
    pub(crate) joined_experts: bool,
    /// Whether those of other MLPs are.
    pub(crate) joined_mlp: bool,
}

/// What is particular to a family under `SGLang`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sglang {
    /// From which release on windows have a pool of their own; nothing where they keep every token
    /// (`configs/model_config.py`, `is_hybrid_swa_model`; `disable_hybrid_swa_memory`).
    pub(crate) window_pool_since: Option<SglangVersion>,
    /// Whether `FlashInfer`'s workspace is 512 MiB, not 384 (`flashinfer_backend.py`: Qwen2, Qwen3, `MiMo`).
    pub(crate) large_workspace: bool,
}

/// What of the tensors outside layers every stage of a pipeline builds: the classes of Llama and those after
/// it leave them to the stages that use them (`PPMissingLayer`), others do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EveryStage {
    pub(crate) embedding: bool,
    pub(crate) norm: bool,
    pub(crate) head: bool,
}

/// vLLM's tables of sines and cosines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RotationTables {
    One,
    /// A second one for windowed layers.
    Two,
    /// The same, where that of full layers is longer in models with a stretched context (Gemma 3).
    TwoStretched,
}

impl Norms {
    /// How many of full width a layer has.
    pub(crate) const fn per_layer(&self) -> u64 {
        self.stems.len() as u64
    }
}

impl Experts {
    /// Whether llama.cpp takes the router's gating from the file (`expert_gating_func`); elsewhere its graph has it
    /// written into it.
    pub(crate) const fn reads_gating(&self) -> bool {
        matches!(self.routing, Routing::Sigmoid | Routing::SigmoidIfCorrected)
    }

    /// Whether it takes the scale of weights from the file, and with it whether they are divided by their sum
    /// (`expert_weights_scale`, `expert_weights_norm`); the graphs of other architectures pay no heed to them.
    pub(crate) const fn reads_scale(&self) -> bool {
        !matches!(self.scaled, ScaledWeights::Never)
    }

    /// Whether they are published in MXFP4, for which vLLM has kernels of their own.
    pub(crate) const fn in_mxfp4(&self) -> bool {
        matches!(self.published, Some(GgmlType::Mxfp4))
    }
}

impl Family {
    /// Whether layers may differ in their heads and MLPs.
    pub(crate) const fn layers_differ(&self) -> bool {
        matches!(
            self.layers,
            LayerKinds::TwoHeadSizes
                | LayerKinds::StateSpace
                | LayerKinds::OneSublayer
                | LayerKinds::Pruned
        ) || self.windows_have_heads
    }

    /// The gated delta-net of most layers, where there is one.
    pub(crate) const fn delta_net(&self) -> Option<DeltaNet> {
        match self.layers {
            LayerKinds::DeltaNet(delta_net) => Some(delta_net),
            _ => None,
        }
    }

    /// Whether a sublayer's input is normed, and not its output only.
    pub(crate) fn norms_inputs(&self) -> bool {
        self.order != LayerOrder::PostNorm
    }

    /// Whether what a sublayer gives is normed before it joins the residual stream.
    pub(crate) fn norms_outputs(&self) -> bool {
        self.order == LayerOrder::PostNorm || self.norms.stems.len() == 4
    }

    /// Whether layer `index` rotates queries and keys.
    pub(crate) const fn rotates(&self, index: u64) -> bool {
        match self.rope.layers {
            RopeLayers::All | RopeLayers::AllBut(0) | RopeLayers::Windowed => true,
            RopeLayers::None => false,
            RopeLayers::AllBut(every) => index % every != every - 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_without_positions_are_counted_from_the_first() {
        let skipping = |layers| {
            let family = Architecture::Llama.family();
            let family = Family { rope: Rope { layers, ..family.rope }, ..*family };
            (0..9).filter(|&index| !family.rotates(index)).collect::<Vec<u64>>()
        };
        assert_eq!(skipping(RopeLayers::AllBut(4)), [3, 7]);
        assert!(skipping(RopeLayers::All).is_empty());
        assert_eq!(skipping(RopeLayers::None).len(), 9);
    }
}
