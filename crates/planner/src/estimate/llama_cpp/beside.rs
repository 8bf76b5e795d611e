//! What is loaded and run beside the model: an encoder of images, adapters, a draft model, a layer that predicts
//! tokens ahead. Encoder and predicting layer are on the first GPU, where llama.cpp puts them unless told otherwise; a draft
//! model's layers are dealt out as the model's are, and adapters go with the layers that they change.

use super::graph::{Context, GPU, GraphParams, Stage, caches_where, model_buffer};
use super::placement::draft_by_layers;
use super::{check_limits, push as push_model};
use crate::dtype::KvFormat;
use crate::estimate::weights::Weights;
use crate::estimate::{
    BufferId, Buffers, Component, EstimateError, Formula, Kind, Life, Moment, Phase, Scenario,
    weights_of_part,
};
use crate::spec::{
    Adapter, Basis, Beside, Bounds, Draft, Encoder, Launch, Layer, ModelSpec, Part, RuntimeSpec,
    Split,
};
use crate::units::{Bytes, Overflow};

const ENCODER: &str = "llama.cpp clip.cpp: results of a layer for every patch. SigLIP 896 takes 121.25 MiB, Qwen3-VL's \
    encoder 6% more than this; the largest image more than that of the warm-up";
const PREDICTING: &str = "llama.cpp draft-mtp: a second context. A public log of Qwen3.6-27B with four tokens ahead \
    shows 748.12 MiB of states, and 784 MiB of keys and values in f16 beside the model's in q4_0; one of Qwen3.8-27B with \
    two shows 448.88 and a compute buffer like the model's";

/// The pool of a draft's context.
pub const DRAFT_POOL: &str = "pool of the draft";

/// Lists it.
pub(super) fn push(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    context: &Context,
) -> Result<(), EstimateError> {
    let Some(beside) = scenario.runtime.launch.beside.as_deref() else { return Ok(()) };
    let Beside { encoder, adapters, draft, ahead, .. } = beside;
    push_adapters(buffers, scenario, (adapters, context))?;
    if scenario.gpu.is_main_memory() {
        return Ok(());
    }
    if let Some(draft) = draft {
        push_draft(buffers, scenario, draft)?;
    }
    if scenario.part().index > 0 {
        return Ok(());
    }
    if let Some(encoder) = encoder {
        push_encoder(buffers, encoder, context.graph.flash)?;
    }
    if *ahead > 0 {
        push_predicting(buffers, scenario, (context, *ahead))?;
    }
    Ok(())
}

const fn kind(component: Component, basis: Basis, source: &str) -> Kind<'_> {
    let life = match component {
        Component::Weights => Life::From(Phase::Load),
        Component::ConversationCache => Life::From(Phase::SystemPrefill),
        _ => Life::During(Phase::Prefill, Moment::Whole),
    };
    Kind { component, life, basis, source }
}

fn push_encoder(buffers: &mut Buffers, encoder: &Encoder, fused: bool) -> Result<(), Overflow> {
    let basis = if encoder.is_read { Basis::Exact } else { Basis::Modelled };
    let of_weights = kind(Component::Weights, basis, &encoder.source);
    let formula = Formula::text("Σ over tensors", &[("tensors", encoder.tensors)]);
    let weights = Bounds::exactly(encoder.weights);
    buffers.push(of_weights, BufferId::Encoder, weights, formula);
    let values = [("patches", encoder.patches[0]), ("width", encoder.width)];
    let formula = Formula::text("patches · (MLP + 3 · hidden) · 4 B", &values);
    // The buffer is made when the encoder is loaded, and stays.
    let life = Life::From(Phase::Load);
    let of_results = Kind { life, ..kind(Component::Activations, Basis::Assumed, ENCODER) };
    buffers.push(of_results, BufferId::EncoderResults, encoder.compute(fused)?, formula);
    Ok(())
}

/// An adapter's tensors go with their layers; each product gets two more, and their sum.
fn push_adapters(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    (adapters, context): (&[Adapter], &Context),
) -> Result<(), Overflow> {
    if adapters.is_empty() {
        return Ok(());
    }
    let (part, shape) = (scenario.part(), &scenario.model.shape);
    let here = match &part.placed {
        Some(placed) => placed.layers.iter().filter(|home| **home == part.home()).count() as u64,
        None => part.layers.end.saturating_sub(part.layers.start),
    };
    let held = |size: Bytes| size.scale(here.min(shape.n_layers), shape.n_layers.max(1));
    let sizes = adapters.iter().map(|adapter| held(adapter.weights));
    let sum = Bytes::sum(sizes.collect::<Result<Vec<_>, _>>()?)?;
    let tensors = adapters.iter().map(|adapter| adapter.tensors).sum();
    let basis = if part.of == 1 && part.placed.is_none() { Basis::Exact } else { Basis::Assumed };
    let of_weights = kind(Component::Weights, basis, "GGUF headers of the adapters");
    let formula = Formula::text("Σ over tensors, by the layers here", &[("tensors", tensors)]);
    buffers.push(of_weights, BufferId::Adapters, Bounds::exactly(sum), formula);
    if here == 0 {
        return Ok(());
    }
    let widest = shape.ffn_size.max(shape.q_width());
    let product = Bytes::product(&[widest, context.graph.rows, 4])?;
    let source = "llama.cpp build_lora_mm: a product of the widest matrix's adapter, beside the product itself";
    let values = [("widest", widest), ("n_ubatch", context.graph.rows)];
    let formula = Formula::text("widest · n_ubatch · 4 B", &values);
    let results = Bounds::new(Bytes::ZERO, product, product.times(2)?);
    let of_results = kind(Component::Activations, Basis::Assumed, source);
    buffers.push(of_results, BufferId::AdapterResults, results, formula);
    Ok(())
}

/// A draft model has a context of its own, as long as the model's, with keys and values in f16.
fn push_draft(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    draft: &Draft,
) -> Result<(), EstimateError> {
    let Launch { batch, unified, full_window, .. } = scenario.runtime.launch;
    let launch = Launch { batch, unified, full_window, ..Launch::default() };
    let runtime = RuntimeSpec { launch, ..scenario.runtime.clone() };
    let Some(part) = part_of_draft(scenario, &draft.model) else { return Ok(()) };
    let sized = weights_of_part(&draft.model, draft.weights, &runtime, &part);
    let weights: Weights = sized.map_err(|error| EstimateError::Model {
        field: "draft",
        reason: format!("the draft model's weights: {error}"),
    })?;
    let (model, kv) = (&*draft.model, KvFormat::F16);
    let inner = Scenario { model, runtime: &runtime, weights: &weights, kv, ..*scenario };
    check_limits(&inner)?;
    let mut own = Buffers::default();
    push_model(&mut own, &inner)?;
    for (id, component, of) in [
        (BufferId::DraftWeights, Component::Weights, &[Component::Weights][..]),
        (
            BufferId::DraftCache,
            Component::ConversationCache,
            &[Component::SystemPromptCache, Component::ConversationCache],
        ),
        (
            BufferId::DraftResults,
            Component::Activations,
            &[
                Component::AttentionTransients,
                Component::Activations,
                Component::Logits,
                Component::SmallBuffers,
            ],
        ),
    ] {
        let listed = own.0.iter().filter(|buffer| of.contains(&buffer.component));
        let mut each = listed.clone().map(|buffer| buffer.size);
        let size = each.try_fold(Bounds::ZERO, Bounds::plus)?;
        let size = if component == Component::Activations {
            size
        } else {
            by_a_layer(size, &part, scenario)?
        };
        let basis = listed.map(|buffer| buffer.basis).max().unwrap_or(Basis::Modelled);
        let source = format!("as of a plan of {} alone", model.name);
        buffers.push(kind(component, basis, &source), id, size, Formula::text("as alone", &[]));
    }
    push_pool_of_draft(buffers, &own)
}

/// Every context has a pool of its own (`ggml_backend_cuda_context`).
fn push_pool_of_draft(buffers: &mut Buffers, own: &Buffers) -> Result<(), EstimateError> {
    let is_pool = |id| matches!(id, BufferId::AttentionPool | BufferId::Pool | BufferId::Libraries);
    let mut listed = own.0.iter().filter(|buffer| is_pool(buffer.id)).map(|buffer| buffer.size);
    let size = listed.try_fold(Bounds::ZERO, Bounds::plus)?;
    if size.high.is_zero() {
        return Ok(());
    }
    // How much of a prompt it reads at once is up to the server.
    let size = Bounds::new(Bytes::ZERO, size.expected, size.high);
    let source =
        "llama.cpp ggml-cuda.cu: a pool for every context; a virtual H100 shows 104 MiB of two";
    let life = Life::From(Phase::SystemPrefill);
    let of_pool = Kind { life, ..kind(Component::RuntimeOverhead, Basis::Modelled, source) };
    buffers.push(of_pool, BufferId::Other(DRAFT_POOL), size, Formula::text("as alone", &[]));
    Ok(())
}

/// What of the draft is on this GPU; nothing under `--split-mode row` on any but the first.
fn part_of_draft(scenario: &Scenario<'_>, draft: &ModelSpec) -> Option<Part> {
    let part = scenario.part();
    if part.split != Split::Layer || !part.is_one_of_several() {
        return (part.index == 0).then(|| Part::whole(draft));
    }
    let parts = draft_by_layers(draft, part, scenario.model, &scenario.runtime.launch);
    let own = parts.into_iter().find(|own| own.index == part.index);
    own.filter(|own| own.has_head || !own.layers.is_empty())
}

/// A layer more or fewer, where layers are dealt out by what is free once the model is loaded.
fn by_a_layer(size: Bounds, part: &Part, scenario: &Scenario<'_>) -> Result<Bounds, Overflow> {
    if !part.is_one_of_several() || scenario.runtime.launch.tensor_split.is_some() {
        return Ok(size);
    }
    let here = part.layers.end.saturating_sub(part.layers.start) + u64::from(part.has_head);
    let low = size.low.scale(here.saturating_sub(1), here.max(1))?;
    Ok(Bounds::new(low, size.expected, size.high.scale(here + 1, here.max(1))?))
}

/// A layer that predicts tokens: its weights, its cache, a compute buffer, and a state for every token.
fn push_predicting(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    (context, ahead): (&Context, u64),
) -> Result<(), Overflow> {
    let model = scenario.model;
    let is_full = |layer: &Layer| matches!(layer, Layer::Full | Layer::FullAndRecurrent);
    let last = model.gguf_layers.iter().rposition(is_full).unwrap_or(0) as u64;
    let own = predicting_context(scenario, context);
    let cache = caches_where(model, &own, &GPU, |index| index == last)?.full;
    let states = caches_where(model, context, &GPU, |_| true)?.recurrent.times(ahead)?;
    let buffer = model_buffer(model, &context.graph, &Stage::all(&model.shape))?.device;
    let mut push = |component, id, size, text, values: &[(&'static str, u64)]| {
        let kind = kind(component, Basis::Assumed, PREDICTING);
        buffers.push(kind, id, size, Formula::text(text, values));
    };
    let (cells, tokens) = (("cells", context.graph.cells), ("tokens ahead", ahead));
    let weights = predicting_weights(scenario)?;
    let text = "a layer and a matrix of 2 · hidden by hidden, as the model's weights on average";
    push(Component::Weights, BufferId::PredictingLayer, weights, text, &[]);
    let cache = Bounds::exactly(cache);
    let text = "K + V of one layer";
    push(Component::ConversationCache, BufferId::PredictingCache, cache, text, &[cells]);
    let states = Bounds::exactly(states);
    let text = "states of recurrent layers · tokens ahead";
    push(Component::ConversationCache, BufferId::PredictingStates, states, text, &[tokens]);
    let results = Bounds::new(buffer.scale(4, 5)?, buffer, buffer.scale(11, 10)?);
    let text = "as the model's own compute buffer";
    push(Component::Activations, BufferId::PredictingResults, results, text, &[]);
    Ok(())
}

/// The context that its cache is of: since pull request 23646 its keys and values are f16 unless `--cache-type-k-draft` and
/// `--cache-type-v-draft` say otherwise, whatever the model's are.
fn predicting_context(scenario: &Scenario<'_>, context: &Context) -> Context {
    if !scenario.runtime.options.llama_cpp().has_predicting_types() {
        return *context;
    }
    let graph = GraphParams { type_k: KvFormat::F16, type_v: KvFormat::F16, ..context.graph };
    Context { graph, ..*context }
}

/// What a file holds of it; one that was read has it among its tensors.
fn predicting_weights(scenario: &Scenario<'_>) -> Result<Bounds, Overflow> {
    let model = scenario.model;
    if model.stored.as_ref().is_some_and(crate::spec::StoredWeights::is_gguf) {
        return Ok(Bounds::ZERO);
    }
    let shape = &model.shape;
    let last = shape.n_layers.saturating_sub(1);
    let layers = model.tensors.iter().filter(|tensor| tensor.layer == Some(last));
    let of_layer = layers.map(crate::spec::TensorSpec::elements).sum::<u64>();
    let joined = shape.hidden_size.saturating_mul(shape.hidden_size).saturating_mul(2);
    let all = model.tensors.iter().map(crate::spec::TensorSpec::elements).sum::<u64>();
    let held = scenario.weights.device.plus(scenario.weights.host)?;
    let size = held.scale(of_layer.saturating_add(joined), all.max(1))?;
    Ok(Bounds::new(size.scale(4, 5)?, size, size.scale(5, 4)?))
}
