//! llama.cpp with its CUDA backend: one KV cache for all slots, one compute buffer for all moments.
//!
//! Every slot has its own part of the cache (`--no-kv-unified`), large enough for the system prompt and
//! the conversation. `prefill_chunk` is `--ubatch-size`, `batch` is `--parallel`. Logits of the last
//! position are what llama-server asks for, logits of all positions what the library does by default.
//!
//! All sizes are llama.cpp's own, to the byte: see `graph` and `weights`.

mod beside;
pub mod compute;
mod flash;
pub(crate) mod fragmentation;
pub mod graph;
mod mapped;
pub mod placement;
mod pool;
mod rules;
mod spread;
pub(crate) mod weights;

use std::convert::Infallible;

pub use self::beside::DRAFT_POOL;
use self::compute::Compute;
use self::graph::{
    CacheSizes, Context, ContextParams, Gates, LlamaCppGeneration, Outputs, Stage, caches_of,
};
pub use self::rules::Rules;
pub use self::weights::gates_of;
use crate::dtype::KvFormat;
use crate::estimate::BufferId;
use crate::estimate::Deviation;
use crate::estimate::push_weights;
use crate::estimate::{
    Buffers, Component, EstimateError, Formula, Kind, Life, Moment, Phase, Scenario, overhead,
};
use crate::spec::{
    Attention, Basis, Bounds, ComputeCapability, Home, Logits, Maker, ModelSpec, Part, Split,
};
use crate::units::Overflow;

pub use self::graph::padded as padded_context;

/// `--batch-size`: tokens handed over at once, of which micro-batches are cut.
const N_BATCH: u64 = 2048;

/// From here on the vector kernel reads a quantized cache for two rows (`fattn.cu`).
const ADA: ComputeCapability = ComputeCapability { major: 8, minor: 9 };

const NOT_FUSED: &str = "llama.cpp graph of a micro-batch with attention's scores: its CUDA backend has no kernel of \
    fused attention for these heads, which `-fa auto` then turns off (`-fa on` computes it on the CPU)";

const OF_METAL: &str = "llama.cpp graph of a micro-batch, with what Apple's backend works in \
    (`ggml_backend_metal_buffer_type_get_alloc_size`); it reorders the graph, which is not followed";

/// From here on gates are applied with the products (`mmq.cu`).
const TURING: ComputeCapability = ComputeCapability { major: 7, minor: 5 };

/// Lists everything that the process holds.
pub fn push(buffers: &mut Buffers, scenario: &Scenario<'_>) -> Result<(), EstimateError> {
    check_limits(scenario)?;
    check_image_layers(scenario)?;
    check_values(scenario)?;
    push_weights(buffers, scenario);
    mapped::push(buffers, scenario);
    if let Some(placed) = &scenario.part().placed {
        return spread::push(buffers, scenario, placed);
    }
    let version = scenario.runtime.options.checked_llama_cpp();
    let context = context(scenario, version.generation)?;
    let part = scenario.part();
    let caches = caches_of(scenario.model, &part.layers, &context)?;
    push_caches(buffers, scenario, &context, caches)?;
    if part.has_head || !part.layers.is_empty() {
        let contexts = |generation| self::context(scenario, generation);
        let mut compute = Compute::of(scenario.model, &stage(part), version, contexts)?;
        note_backend(&mut compute, scenario)?;
        push_compute(buffers, &context, &compute);
    }
    pool::push(buffers, scenario, &context)?;
    beside::push(buffers, scenario, &context)?;
    overhead::push_apart(buffers, scenario);
    fragmentation::push(buffers, scenario)
}

/// Says so where another backend than CUDA's lays the graph out, or fused attention was asked for and is not to be had.
fn note_backend(compute: &mut Compute, scenario: &Scenario<'_>) -> Result<(), Overflow> {
    if scenario.gpu.maker == Maker::Apple {
        compute.source = OF_METAL;
        compute.size = Deviation::LLAMA_CPP_METAL.beyond(compute.size)?;
    }
    if scenario.workload.attention == Attention::Flash && !is_fused(scenario) {
        compute.source = NOT_FUSED;
        compute.basis = Basis::Assumed;
        compute.size = Deviation::LLAMA_CPP_UNFUSED.beyond(compute.size)?;
    }
    Ok(())
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

/// A quantized cache of values needs fused attention, and latent attention one format of keys and values
/// (`llama_init_from_model`; of the latter since 0.5.0 at the latest).
fn check_values(scenario: &Scenario<'_>) -> Result<(), EstimateError> {
    let values = scenario.runtime.launch.values.unwrap_or(scenario.kv);
    let is_latent = scenario.model.shape.mla.is_some_and(|mla| !mla.expanded);
    if is_latent && values != scenario.kv && version_of(scenario).limits_outputs() {
        return Err(EstimateError::Unsupported {
            runtime: scenario.kind(),
            what: "values of latent attention in another format than keys:",
            value: format!("{}/{values}", scenario.kv),
            expected: "one format for both",
        });
    }
    if is_fused(scenario) || !matches!(values, KvFormat::Ggml(_)) {
        return Ok(());
    }
    let asked = scenario.workload.attention == Attention::Flash;
    Err(EstimateError::Unsupported {
        runtime: scenario.kind(),
        what: if asked {
            "fused attention on the GPU over a cache of"
        } else {
            "KV format without flash attention"
        },
        value: values.to_string(),
        expected: if asked {
            "`--kv q8_0`, `q5_1`, `q5_0`, `q4_1` or `q4_0` and heads that its kernels are built for, or `--kv f16`"
        } else {
            "`f16`, `bf16` or `f32`, or `--attention flash`"
        },
    })
}

fn version_of(scenario: &Scenario<'_>) -> LlamaCppGeneration {
    scenario.runtime.options.llama_cpp().generation()
}

/// Whether attention is fused: where it was asked for, and the GPU has a kernel for it; else llama.cpp turns it off.
fn is_fused(scenario: &Scenario<'_>) -> bool {
    let values = scenario.runtime.launch.values.unwrap_or(scenario.kv);
    let has_kernels =
        || [scenario.kv, values].iter().all(|kv| flash::is_fused(scenario.model, *kv));
    // In main memory there is a kernel for everything.
    let placed = scenario.part().placed.as_ref();
    let is_on_host =
        placed.is_some_and(|placed| placed.layers.iter().all(|home| *home == Home::Host));
    scenario.workload.attention == Attention::Flash && (is_on_host || has_kernels())
}

fn context(scenario: &Scenario<'_>, generation: LlamaCppGeneration) -> Result<Context, Overflow> {
    let workload = &scenario.workload;
    let launch = &scenario.runtime.launch;
    let slots = if launch.unified { 1 } else { workload.batch };
    let ada = match &scenario.part().placed {
        Some(placed) => placed.ada,
        None => scenario.gpu.compute_capability >= ADA,
    };
    let params = ContextParams {
        // The library clamps a batch to what is asked for, and rounds up after that.
        n_ctx: scenario.full_tokens()?.max(1).checked_mul(slots).ok_or(Overflow)?,
        n_batch: launch.batch.unwrap_or(workload.prefill_chunk.max(N_BATCH)),
        n_ubatch: workload.prefill_chunk,
        n_seq: workload.batch,
        unified: launch.unified,
        swa_full: launch.full_window,
        outputs: match workload.logits {
            Logits::All => Outputs::All,
            Logits::Last => Outputs::Few(outputs_of_slots(scenario)?),
        },
        flash: is_fused(scenario),
        ada,
        metal: scenario.gpu.maker == Maker::Apple,
        type_k: scenario.kv,
        type_v: launch.values.unwrap_or(scenario.kv),
        version: generation,
    };
    let mut context = params.resolve_for(scenario.model)?;
    context.graph.gates = gates(scenario);
    Ok(context)
}

/// Rows of a step that a server asks logits of: a token of every slot, and those that were predicted for it
/// (`common_speculative_get_output_limits`; a context of fewer tokens clamps it, as it does a batch).
fn outputs_of_slots(scenario: &Scenario<'_>) -> Result<u64, Overflow> {
    let beside = scenario.runtime.launch.beside.as_deref();
    let predicted = beside.map_or(0, |beside| beside.drafted.max(beside.ahead));
    predicted
        .checked_add(1)
        .and_then(|each| each.checked_mul(scenario.workload.batch))
        .ok_or(Overflow)
}

/// What the types of the weights allow to fuse, on GPUs with tensor cores (`turing_mma_available`).
fn gates(scenario: &Scenario<'_>) -> Gates {
    let (model, format) = (scenario.model, scenario.weights.format);
    let placed = scenario.part().placed.as_ref();
    let known = placed.and_then(|placed| {
        placed.types.get_or(&format, || Ok::<_, Infallible>(gates_of(model, format))).ok()
    });
    let gates = known.unwrap_or_else(|| gates_of(model, format));
    let turing = match placed {
        Some(placed) => placed.turing,
        None => scenario.gpu.compute_capability >= TURING,
    };
    if !turing {
        return Gates { dense: false, routed: false, shared: false, ..gates };
    }
    gates
}

const CACHE: &str =
    "llama.cpp llama-kv-cache.cpp: a tensor per layer and side, rounded up to 128 B";

/// Whether what layers keep is known to the byte.
fn knows_caches(model: &ModelSpec) -> bool {
    let family = model.shape.architecture.family();
    if let Some(file) = &model.file_caches {
        return file.is_exact;
    }
    let is_compressed = model.shape.extras.compressed.is_some();
    family.graph.known || is_compressed || graph::is_listed(&model.shape)
}

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
    let known = knows_caches(scenario.model);
    let mut push = |component, name, size, text, values: &[(&'static str, u64)]| {
        let life = Life::From(Phase::SystemPrefill);
        let basis = if known { Basis::Modelled } else { Basis::Assumed };
        let kind = Kind { component, life, basis, source: CACHE };
        let exactly = Bounds::exactly(size);
        // As wide as it gets where the size does not fit in 64 bits.
        let wide = || Deviation::LLAMA_CPP_CACHES.around(size).unwrap_or(exactly);
        let bounds = if known { exactly } else { wide() };
        buffers.push(kind, name, bounds, Formula::text(text, values));
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

/// The four parts of the compute buffer, which is reserved at the start and kept. What is not known of the buffer is
/// with the results of layers.
fn push_compute(buffers: &mut Buffers, context: &Context, compute: &Compute) {
    let graph = &context.graph;
    let values = [
        ("n_ubatch", graph.rows),
        ("cells", graph.cells),
        ("streams", graph.streams),
        ("n_outputs", graph.n_outputs),
    ];
    let expected = &compute.expected;
    for (component, name, size) in [
        (
            Component::AttentionTransients,
            "scores and copies of K and V",
            Bounds::exactly(expected.attention_transients),
        ),
        (
            Component::Activations,
            "layer results and holes of the buffer",
            compute.spread(expected.activations),
        ),
        (Component::Logits, "logits", Bounds::exactly(expected.logits)),
        (
            Component::SmallBuffers,
            "masks, positions and indices",
            Bounds::exactly(expected.small_buffers),
        ),
    ] {
        let kind = Kind {
            component,
            life: Life::During(Phase::Prefill, Moment::Whole),
            basis: compute.basis,
            source: compute.source,
        };
        let text = "tensors alive where the compute buffer is largest";
        buffers.push(kind, name, size, Formula::text(text, &values));
    }
}
