//! llama.cpp with its CUDA backend: one KV cache for all slots, one compute buffer for all moments.
//!
//! Every slot has its own part of the cache (`--no-kv-unified`), large enough for the system prompt and
//! the conversation. `prefill_chunk` is `--ubatch-size`, `batch` is `--parallel`. Logits of the last
//! position are what llama-server asks for, logits of all positions what the library does by default.
//!
//! All sizes are llama.cpp's own, to the byte: see `graph` and `weights`.

pub(crate) mod fragmentation;
pub mod graph;
pub mod placement;
mod rules;
pub(crate) mod weights;

use self::graph::{
    CacheSizes, ComputeBuffer, Context, ContextParams, Outputs, Stage, cache_sizes, graph_bounds,
    is_certain, stage_buffer,
};
pub use self::rules::Rules;
use crate::dtype::KvFormat;
use crate::estimate::BufferId;
use crate::estimate::push_weights;
use crate::estimate::{
    Buffers, Component, EstimateError, Formula, Kind, Life, Moment, Phase, Scenario, overhead,
};
use crate::spec::{Attention, Basis, Bounds, ComputeCapability, Logits, Part, Split};
use crate::units::Overflow;

pub use self::graph::padded as padded_context;

/// `--batch-size`: tokens handed over at once, of which micro-batches are cut.
const N_BATCH: u64 = 2048;

/// From here on the vector kernel reads a quantized cache for two rows (`fattn.cu`).
const ADA: ComputeCapability = ComputeCapability { major: 8, minor: 9 };

/// Lists everything that the process holds.
pub fn push(buffers: &mut Buffers, scenario: &Scenario<'_>) -> Result<(), EstimateError> {
    check_limits(scenario)?;
    check_image_layers(scenario)?;
    check_values(scenario)?;
    push_weights(buffers, scenario);
    let layers = &scenario.model.gguf_layers;
    let context = context(scenario)?;
    let part = scenario.part();
    let caches = cache_sizes(&scenario.model.shape, layers, &part.layers, &context)?;
    push_caches(buffers, scenario, &context, caches)?;
    if part.has_head || !part.layers.is_empty() {
        let stage = stage(part);
        let compute = stage_buffer(&scenario.model.shape, layers, &context.graph, &stage)?;
        push_compute(buffers, scenario, &context, compute)?;
    }
    overhead::push(buffers, scenario);
    fragmentation::push(buffers, scenario)
}

/// What the GPU computes: under `--split-mode row` one GPU waits for the other.
fn stage(part: &Part) -> Stage {
    let (layers, has_head) = (part.layers.clone(), part.has_head);
    match part.split {
        Split::Layer if part.is_one_of_several() => Stage::of_pipeline(layers, has_head),
        _ => Stage { layers, has_head, copies: 1 },
    }
}

/// The most that llama.cpp is built for (`llama-hparams.h`, `llama-cparams.h`).
const MAX_LAYERS: u64 = 512;
const MAX_EXPERTS: u64 = 1024;
const MAX_SEQUENCES: u64 = 256;

fn check_limits(scenario: &Scenario<'_>) -> Result<(), EstimateError> {
    let shape = &scenario.model.shape;
    let n_experts = shape.moe.map_or(0, |moe| moe.n_experts);
    for (field, value, most) in [
        ("n_layers", shape.n_layers, MAX_LAYERS),
        ("moe.n_experts", n_experts, MAX_EXPERTS),
        ("batch", scenario.workload.batch, MAX_SEQUENCES),
    ] {
        if value > most {
            let reason = format!("llama.cpp is built for at most {most}, not {value}");
            return Err(EstimateError::Model { field, reason });
        }
    }
    Ok(())
}

/// The first layers of Qwen3-VL read an image's embeddings once more: on one GPU, with the embeddings.
fn check_image_layers(scenario: &Scenario<'_>) -> Result<(), EstimateError> {
    let most = scenario.model.shape.architecture.family().image_layers;
    let part = scenario.part();
    if part.index == 0 || part.layers.is_empty() || part.layers.start >= most {
        return Ok(());
    }
    let reason = format!(
        "the first {most} layers of `{}` read the embeddings of images, and what a second GPU takes for \
         that is not known: give the first GPU a larger share, or use fewer",
        scenario.model.name
    );
    Err(EstimateError::Model { field: "gpus", reason })
}

/// A quantized cache of values needs flash attention (`llama_init_from_model`).
fn check_values(scenario: &Scenario<'_>) -> Result<(), EstimateError> {
    if scenario.workload.attention == Attention::Flash || !matches!(scenario.kv, KvFormat::Ggml(_))
    {
        return Ok(());
    }
    Err(EstimateError::Unsupported {
        runtime: scenario.kind(),
        what: "KV format without flash attention",
        value: scenario.kv.to_string(),
        expected: "`f16`, `bf16` or `f32`, or `--attention flash`",
    })
}

fn context(scenario: &Scenario<'_>) -> Result<Context, Overflow> {
    let workload = &scenario.workload;
    let slot = padded_context(scenario.full_tokens()?.max(1))?;
    let params = ContextParams {
        n_ctx: slot.checked_mul(workload.batch).ok_or(Overflow)?,
        n_batch: workload.prefill_chunk.max(N_BATCH),
        n_ubatch: workload.prefill_chunk,
        n_seq: workload.batch,
        unified: false,
        swa_full: false,
        outputs: match workload.logits {
            Logits::All => Outputs::All,
            Logits::Last => Outputs::Few(workload.batch),
        },
        flash: workload.attention == Attention::Flash,
        ada: scenario.gpu.compute_capability >= ADA,
        type_k: scenario.kv,
        type_v: scenario.kv,
        version: scenario.runtime.options.llama_cpp(),
    };
    params.resolve(&scenario.model.shape)
}

const CACHE: &str =
    "llama.cpp llama-kv-cache.cpp: a tensor per layer and side, rounded up to 128 B";

/// The cache is one: the system prompt gets the share of its tokens, the conversation the rest.
fn push_caches(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    context: &Context,
    caches: CacheSizes,
) -> Result<(), Overflow> {
    let (cells, sequences) = (context.graph.cells, context.graph.n_seq);
    let system = scenario.workload.system_tokens.min(cells);
    let pinned = caches.full.scale(system, cells)?;
    let rest = caches.full.minus_or_zero(pinned);
    let mut push = |component, name, size, text, values: &[(&'static str, u64)]| {
        let life = Life::From(Phase::SystemPrefill);
        let kind = Kind { component, life, basis: Basis::Modelled, source: CACHE };
        buffers.push(kind, name, Bounds::exactly(size), Formula::text(text, values));
    };
    let conversation = Component::ConversationCache;
    let layers = ("layers", scenario.full_layers());
    let of_cells = [("cells", cells), ("sequences", sequences), layers];
    push(
        Component::SystemPromptCache,
        BufferId::KeysAndValues,
        pinned,
        "cache · system tokens / cells",
        &[("system tokens", system), of_cells[0], of_cells[1], layers],
    );
    push(
        conversation,
        BufferId::KeysAndValues,
        rest,
        "Σ over layers of K + V of every cell, less the system prompt's share",
        &of_cells,
    );
    push(
        conversation,
        BufferId::WindowKeysAndValues,
        caches.window,
        "Σ over windowed layers of K + V of every cell",
        &[("cells", context.graph.window_cells.unwrap_or(0)), of_cells[1]],
    );
    push(
        conversation,
        BufferId::RecurrentStates,
        caches.recurrent,
        "Σ over recurrent layers of f32 state and convolution inputs",
        &[("layers", scenario.recurrent_layers()), of_cells[1]],
    );
    Ok(())
}

/// The four parts of the compute buffer, which is reserved at the start and kept.
fn push_compute(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    context: &Context,
    compute: ComputeBuffer,
) -> Result<(), Overflow> {
    let certain = is_certain(&scenario.model.shape);
    let graph = &context.graph;
    let values = [
        ("n_ubatch", graph.rows),
        ("cells", graph.cells),
        ("streams", graph.streams),
        ("n_outputs", graph.n_outputs),
    ];
    for (component, name, size) in [
        (
            Component::AttentionTransients,
            "scores and copies of K and V",
            compute.attention_transients,
        ),
        (Component::Activations, "layer results and holes of the buffer", compute.activations),
        (Component::Logits, "logits", compute.logits),
        (Component::SmallBuffers, "masks, positions and indices", compute.small_buffers),
    ] {
        let kind = Kind {
            component,
            life: Life::During(Phase::Prefill, Moment::Whole),
            basis: if certain { Basis::Modelled } else { Basis::Assumed },
            source: "llama.cpp graph of a micro-batch, placed as ggml-alloc.c does",
        };
        let size = graph_bounds(&scenario.model.shape, size)?;
        let text = "tensors alive where the compute buffer is largest";
        buffers.push(kind, name, size, Formula::text(text, &values));
    }
    Ok(())
}
