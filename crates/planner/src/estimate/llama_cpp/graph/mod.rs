//! The compute buffer and the caches of llama.cpp on one GPU, to the byte.
//!
//! llama.cpp lays the tensors of a micro-batch out in one buffer before it runs: its size is no sum of
//! formulas but what `ggml-alloc.c` makes of the graph. So the graph is built here, from shapes alone,
//! and placed by the same rules.
//!
//! Checked against libllama itself, asked for its buffer sizes with a stub in place of the GPU, and
//! against public logs (`evidence/llama_cpp/`): every row is matched exactly.
//!
//! Not counted here: the pool of the CUDA backend (`pool`, and the runtime's libraries), what is loaded beside the model
//! (`beside`).

mod alloc;
mod attention;
mod builder;
mod cache;
mod compressed;
mod context;
mod feed_forward;
mod gates;
mod latent;
mod metal;
mod model;
mod recurrent;
mod selection;
mod splits;
mod stage;
mod tensors;

use self::builder::Builder;
use self::selection::Selection;
use self::tensors::Usage;
use crate::dtype::KvFormat;
use crate::estimate::Deviation;
use crate::spec::families::{GRAPHS, Graph, LayerOrder, RouterBias, graph_of, graph_of_family};
use crate::spec::{Architecture, Bounds, FileCaches, Layer, ModelShape, ModelSpec, QkNorm};
use crate::units::{Bytes, Overflow};

pub use cache::{
    CacheSizes, GPU, HOST, Layout, cache_sizes, cache_sizes_where, caches_of, caches_where,
};
pub use context::{Context, ContextParams, Outputs, padded};
pub use gates::Gates;
pub use splits::{FindWeight, WeightAt, split_buffers};
pub use stage::Stage;

pub use crate::spec::{LlamaCppGeneration, LlamaCppVersion};

/// What the graph of a micro-batch depends on besides the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GraphParams {
    /// Tokens of a micro-batch (`n_ubatch`, a multiple of the sequences).
    pub rows: u64,
    /// Cells of a stream of the cache.
    pub cells: u64,
    /// Cells of a stream of the windowed layers' cache, where there is one.
    pub window_cells: Option<u64>,
    /// Streams of the cache: one, or one per sequence.
    pub streams: u64,
    /// Sequences.
    pub n_seq: u64,
    /// Rows that get logits.
    pub n_outputs: u64,
    /// Whether attention is fused (`-fa`).
    pub flash: bool,
    /// Rows of a stream up to which the vector kernel reads a quantized cache as it is: 2 from compute
    /// capability 8.9 on, 1 before.
    pub vector_rows: u64,
    /// Format of the keys.
    pub type_k: KvFormat,
    /// Format of the values.
    pub type_v: KvFormat,
    /// Whether Apple's backend computes it (`ggml-metal`), and not CUDA's.
    pub metal: bool,
    /// What the types of the weights allow to fuse.
    pub gates: Gates,
    /// The graph of an architecture that is no family here, by its place in their table.
    pub other: Option<usize>,
    /// Whether queries are multiplied by an input that grows with their positions (Ministral 3).
    pub scales_queries: bool,
    /// Which build.
    pub version: LlamaCppGeneration,
}

/// The compute buffers of a context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ComputeBuffer {
    /// On the GPU: the sum of the four below.
    pub device: Bytes,
    /// Scores, 16-bit copies of a quantized cache, expanded values.
    pub attention_transients: Bytes,
    /// Results of layers, and what the buffer has of holes.
    pub activations: Bytes,
    /// Logits.
    pub logits: Bytes,
    /// Masks, positions and indices.
    pub small_buffers: Bytes,
    /// In pinned host memory: the inputs.
    pub host: Bytes,
}

/// The compute buffers for the graph of one micro-batch.
///
/// `layers` are the model's layers as llama.cpp caches them ([`ModelSpec::gguf_layers`](crate::spec::ModelSpec::gguf_layers)). The components are
/// what is alive where the buffer reaches its size.
pub fn compute_buffer(
    shape: &ModelShape,
    layers: &[Layer],
    params: &GraphParams,
) -> Result<ComputeBuffer, Overflow> {
    stage_buffer(shape, layers, params, &Stage::all(shape))
}

/// The compute buffers of one GPU for the graph of one micro-batch.
pub fn model_buffer(
    model: &ModelSpec,
    params: &GraphParams,
    stage: &Stage,
) -> Result<ComputeBuffer, Overflow> {
    stage_buffer(&model.shape, &model.gguf_layers, params, stage)
}

/// The same for one GPU of several: `layers` are still those of the whole model.
pub fn stage_buffer(
    shape: &ModelShape,
    layers: &[Layer],
    params: &GraphParams,
    stage: &Stage,
) -> Result<ComputeBuffer, Overflow> {
    // Where no shape tells which layers have windows, every layer of a mixture is placed.
    let told = shape.architecture != Architecture::Other;
    let alike = || shape.per_layer.is_none() && layers.windows(2).all(|pair| pair[0] == pair[1]);
    let repeats = told || alike();
    for selection in Selection::shorter(shape, &stage.layers).filter(|_| repeats) {
        let (buffer, is_steady) = place_layers(shape, layers, params, stage, &selection)?;
        if is_steady {
            return Ok(buffer);
        }
    }
    let all = Selection::all(&stage.layers);
    Ok(place_layers(shape, layers, params, stage, &all)?.0)
}

/// Builds and places the selected layers. The buffer is the model's only if the boundaries of the
/// selection are alike.
fn place_layers(
    shape: &ModelShape,
    layers: &[Layer],
    params: &GraphParams,
    stage: &Stage,
    selection: &Selection,
) -> Result<(ComputeBuffer, bool), Overflow> {
    let mut builder = Builder::new(shape, params, stage);
    let boundaries = builder.model(layers, selection);
    if builder.graph.overflowed {
        return Err(Overflow);
    }
    let boundaries = boundaries.first().copied().unwrap_or_default();
    let (peak, is_steady) = alloc::place(&builder.graph, boundaries, stage.copies)?;
    let alive = |usage: Usage| peak.alive[usage.index()];
    let [attention, logits, inputs] = [Usage::Attention, Usage::Logits, Usage::Input].map(alive);
    let buffer = ComputeBuffer {
        device: Bytes::new(peak.size),
        attention_transients: Bytes::new(attention),
        activations: Bytes::new(peak.size - attention - logits - inputs),
        logits: Bytes::new(logits),
        small_buffers: Bytes::new(inputs),
        host: Bytes::new(builder.host),
    };
    Ok((buffer, is_steady))
}

/// Whether the graph of such a model is known without doubt. Of state-space hybrids it is not, nor of architectures that
/// are no family and are not in their table. Models of DeepSeek's family that no file tells of may choose experts by
/// groups, which takes up to 3% more.
pub fn is_certain(model: &ModelSpec, generation: LlamaCppGeneration) -> bool {
    if let Some(file) = &model.file_caches {
        return graph_row(file).is_some_and(|graph| generation >= graph.since);
    }
    let shape = &model.shape;
    // By a name or a `config.json`, which say less of a graph than a file does.
    if !shape.architecture.family().graph.known {
        return false;
    }
    let unsaid = shape.moe.is_some_and(|moe| moe.router_bias && moe.router.is_none());
    let in_some = shape.architecture.family().experts.router_bias == RouterBias::CorrectionInSome;
    let is_doubtful = shape.ssm.is_some()
        || (unsaid && in_some)
        || is_rare(shape)
        || gives_images_otherwise(shape, generation);
    !is_doubtful
}

/// What the graph placed here was seen to miss: keys and values of every head where others are latent, one expert a
/// token, norms that every head has its own of (Command-R+).
fn is_rare(shape: &ModelShape) -> bool {
    let is_expanded = shape.mla.is_some_and(|mla| mla.expanded);
    let has_one_expert = shape.moe.is_some_and(|moe| moe.n_experts_used == 1);
    let is_parallel = shape.architecture.family().order == LayerOrder::Parallel;
    is_expanded || has_one_expert || (is_parallel && shape.qk_norm == QkNorm::Full)
}

/// 0.6.0 pads embeddings for the layers that images are given to on the host.
fn gives_images_otherwise(shape: &ModelShape, generation: LlamaCppGeneration) -> bool {
    shape.architecture.family().image_layers > 0 && generation == LlamaCppGeneration::MixedBatch
}

/// Whether Llama's graph is far from that of a file: where attention chooses what it reads, and `CogVLM`'s.
fn is_far_off(file: &FileCaches) -> bool {
    file.architecture == "cogvlm" || file.layers.iter().any(|layer| layer.index_keys > 0)
}

/// Whether the graph of a family is listed by what its files are called.
pub(crate) fn is_listed(shape: &ModelShape) -> bool {
    graph_of_family(shape.architecture.family()).is_some()
}

/// The bounds of a family whose graph is another's, or not known.
fn family_bounds(shape: &ModelShape, size: Bytes) -> Result<Bounds, Overflow> {
    let family = shape.architecture.family();
    match graph_of_family(family) {
        Some(_) => Deviation::LLAMA_CPP_EARLIER.around(size),
        None if family.indexer.is_some() => Deviation::LLAMA_CPP_INDEXED.around(size),
        None => Deviation::LLAMA_CPP_OTHER.around(size),
    }
}

fn graph_row(file: &FileCaches) -> Option<&'static Graph> {
    graph_of(file).and_then(|index| GRAPHS.get(index))
}

/// The bounds of a compute buffer of such a model.
pub fn graph_bounds(
    model: &ModelSpec,
    generation: LlamaCppGeneration,
    size: Bytes,
) -> Result<Bounds, Overflow> {
    let other = model.file_caches.as_ref();
    match (is_certain(model, generation), other, &model.shape.ssm) {
        (true, ..) => Ok(Bounds::exactly(size)),
        (false, Some(file), _) if graph_row(file).is_some() => {
            Deviation::LLAMA_CPP_EARLIER.around(size)
        }
        (false, Some(file), _) if is_far_off(file) => Deviation::LLAMA_CPP_INDEXED.around(size),
        (false, Some(_), _) => Deviation::LLAMA_CPP_OTHER.around(size),
        (false, None, _) if !model.shape.architecture.family().graph.known => {
            family_bounds(&model.shape, size)
        }
        (false, None, Some(_)) => Deviation::LLAMA_CPP_HYBRID.around(size),
        (false, None, None) if is_rare(&model.shape) => Deviation::LLAMA_CPP_RARE.around(size),
        (false, None, None) if gives_images_otherwise(&model.shape, generation) => {
            Deviation::LLAMA_CPP_IMAGES.around(size)
        }
        (false, None, None) => Deviation::LLAMA_CPP_GRAPH.around(size),
    }
}

/// The same where the graph runs on several devices.
pub fn split_bounds(
    model: &ModelSpec,
    generation: LlamaCppGeneration,
    size: Bytes,
) -> Result<Bounds, Overflow> {
    let is_checked = generation >= LlamaCppGeneration::HalfMask;
    let share =
        if is_checked { Deviation::LLAMA_CPP_SPLITS } else { Deviation::LLAMA_CPP_OLD_SPLITS };
    let of_splits = share.around(size)?;
    let of_graph = graph_bounds(model, generation, size)?;
    Ok(Bounds::new(of_graph.low.min(of_splits.low), size, of_graph.high.max(of_splits.high)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::samples::{llama_8b, qwen_14b};
    use crate::spec::{Moe, Recurrent, Window};

    pub(super) fn variants() -> Vec<ModelSpec> {
        let base = qwen_14b().shape;
        let window = Some(Window { size: 1024, full_every: Some(6) });
        let moe = Moe {
            n_experts: 128,
            n_experts_used: 8,
            expert_ffn_size: 768,
            shared_ffn_size: 512,
            shared_gate: true,
            leading_dense_layers: 1,
            router_bias: false,
            expert_bias: false,
            router: None,
        };
        let recurrent = Recurrent {
            full_attention_every: 4,
            key_heads: 16,
            value_heads: 32,
            key_head_dim: 128,
            value_head_dim: 128,
            conv_kernel: 4,
        };
        let hybrid = ModelShape {
            architecture: Architecture::Qwen35Moe,
            moe: Some(Moe { leading_dense_layers: 0, ..moe }),
            recurrent: Some(recurrent),
            attention_output_gate: true,
            ..base.clone()
        };
        let windowed = ModelShape {
            architecture: Architecture::Gemma3,
            norms_per_layer: 4,
            window,
            ..base.clone()
        };
        let sparse =
            ModelShape { architecture: Architecture::Qwen3Moe, moe: Some(moe), ..base.clone() };
        let unrotated = ModelShape { architecture: Architecture::SmolLm3, ..base.clone() };
        [base, windowed, sparse, hybrid, unrotated]
            .into_iter()
            .map(|shape| ModelSpec::new("variant", shape, "test").unwrap())
            .collect()
    }

    pub(super) fn params(n_ctx: u64, n_ubatch: u64, version: LlamaCppGeneration) -> ContextParams {
        ContextParams {
            n_ctx,
            n_batch: 2048,
            n_ubatch,
            n_seq: 1 + n_ctx % 3,
            unified: false,
            swa_full: false,
            outputs: if n_ctx.is_multiple_of(2) { Outputs::All } else { Outputs::Few(1) },
            flash: !n_ctx.is_multiple_of(5),
            ada: true,
            metal: n_ctx % 7 == 3,
            type_k: KvFormat::F16,
            type_v: KvFormat::F16,
            version,
        }
    }

    #[test]
    fn leaving_out_repeated_layers_changes_nothing() {
        use LlamaCppGeneration as V;
        for model in variants() {
            let layers = &model.gguf_layers;
            for (_, version) in V::ALL {
                for step in 1..60 {
                    let params = params(step * 571, 64 << (step % 6), version);
                    let graph = params.resolve(&model.shape).unwrap().graph;
                    let short = compute_buffer(&model.shape, layers, &graph).unwrap();
                    let stage = Stage::all(&model.shape);
                    let selection = Selection::all(&stage.layers);
                    let placed = place_layers(&model.shape, layers, &graph, &stage, &selection);
                    assert_eq!(short, placed.unwrap().0, "{params:?}");
                }
            }
        }
    }

    #[test]
    fn sizes_beyond_64_bits_are_refused() {
        let model = llama_8b();
        let mut graph =
            params(4096, 512, LlamaCppGeneration::NEWEST).resolve(&model.shape).unwrap().graph;
        graph.cells = u64::MAX / 4;
        assert_eq!(compute_buffer(&model.shape, &model.layers, &graph), Err(Overflow));
        let endless = params(u64::MAX, 512, LlamaCppGeneration::NEWEST);
        assert_eq!(endless.resolve(&model.shape), Err(Overflow));
    }
}
