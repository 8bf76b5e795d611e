//! The compute buffer and the caches of llama.cpp on one GPU, to the byte.
//!
//! llama.cpp lays the tensors of a micro-batch out in one buffer before it runs: its size is no sum of
//! formulas but what `ggml-alloc.c` makes of the graph. So the graph is built here, from shapes alone,
//! and placed by the same rules.
//!
//! Checked against libllama itself, asked for its buffer sizes with a stub in place of the GPU, and
//! against public logs (`evidence/llama_cpp/`): every row is matched exactly.
//!
//! Not counted: the pool of the CUDA backend for matrix products (`fragmentation`), adapters,
//! multi-modal projectors, draft models, partial offload.

mod alloc;
mod attention;
mod builder;
mod cache;
mod context;
mod feed_forward;
mod latent;
mod model;
mod recurrent;
mod selection;
mod stage;
mod tensors;

use self::builder::Builder;
use self::selection::Selection;
use self::tensors::Usage;
use crate::dtype::KvFormat;
use crate::estimate::Spread;
use crate::spec::families::RouterBias;
use crate::spec::{Bounds, Layer, ModelShape};
use crate::units::{Bytes, Overflow};

pub use cache::{CacheSizes, cache_sizes};
pub use context::{Context, ContextParams, Outputs, padded};
pub use stage::Stage;

pub use crate::spec::LlamaCppVersion;

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
    /// Which build.
    pub version: LlamaCppVersion,
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

/// The same for one GPU of several: `layers` are still those of the whole model.
pub fn stage_buffer(
    shape: &ModelShape,
    layers: &[Layer],
    params: &GraphParams,
    stage: &Stage,
) -> Result<ComputeBuffer, Overflow> {
    for selection in Selection::shorter(shape, &stage.layers) {
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

/// Whether the graph of such a model is known without doubt. One buffer of sixteen of a state-space hybrid
/// was 3.4% larger than the graph placed here. Files of DeepSeek-V3 and R1 that were
/// converted since late 2025 say that experts are chosen by groups, which takes up to 3% more.
pub fn is_certain(shape: &ModelShape) -> bool {
    let corrected = shape.moe.is_some_and(|moe| moe.router_bias);
    let in_some = shape.architecture.family().experts.router_bias == RouterBias::CorrectionInSome;
    shape.ssm.is_none() && !(corrected && in_some)
}

/// The bounds of a compute buffer of such a model.
pub fn graph_bounds(shape: &ModelShape, size: Bytes) -> Result<Bounds, Overflow> {
    match (is_certain(shape), &shape.ssm) {
        (true, _) => Ok(Bounds::exactly(size)),
        (false, None) => Spread::LLAMA_CPP_GRAPH.around(size),
        (false, Some(_)) => Spread::LLAMA_CPP_HYBRID.around(size),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::samples::{llama_8b, qwen_14b};
    use crate::spec::{Architecture, ModelSpec, Moe, Recurrent, Window};

    fn variants() -> Vec<ModelSpec> {
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

    fn params(n_ctx: u64, n_ubatch: u64, version: LlamaCppVersion) -> ContextParams {
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
            type_k: KvFormat::F16,
            type_v: KvFormat::F16,
            version,
        }
    }

    #[test]
    fn leaving_out_repeated_layers_changes_nothing() {
        use LlamaCppVersion as V;
        for model in variants() {
            let layers = &model.gguf_layers;
            for version in [V::Copies, V::SetRows, V::EmbeddingInput, V::Current] {
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
            params(4096, 512, LlamaCppVersion::Current).resolve(&model.shape).unwrap().graph;
        graph.cells = u64::MAX / 4;
        assert_eq!(compute_buffer(&model.shape, &model.layers, &graph), Err(Overflow));
        let endless = params(u64::MAX, 512, LlamaCppVersion::Current);
        assert_eq!(endless.resolve(&model.shape), Err(Overflow));
    }
}
