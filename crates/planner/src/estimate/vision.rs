//! Vision towers: what a multimodal checkpoint holds beside the language model, and what its encoder
//! takes while it looks at images.
//!
//! vLLM loads the tower unless prompts may have no images (`--limit-mm-per-prompt`); what its profile
//! run encodes is in `vllm/encoder.rs`. transformers loads the tower with the model. llama.cpp has it in a file of its own (`--mmproj`, `llama_cpp/beside.rs`), and vramplan's
//! engine reads text: neither loads it with the model.
//!
//! Of several GPUs, transformers has the tower on the first with the embedding. vLLM's ranks split its
//! linear layers, and every stage of a pipeline loads and profiles all of it, though only the first
//! runs it later (`qwen2_5_vl.py` builds the tower on any stage, `profile_run` asks for none).
//!
//! Image tokens in the cache are tokens like others: they are among `--system-tokens` or the
//! conversation's.
//!
//! Sources: transformers' towers as `spec::vision`.

use super::runtimes::rules;
use super::{
    Buffers, Component, Deviation, EstimateError, Formula, Kind, Life, Moment, Phase, Scenario,
};
use crate::estimate::BufferId;
use crate::spec::{Attention, Basis, Bounds, ModelSpec, Runtime, Vision};
use crate::units::{Bytes, Overflow, to_u64};

/// The model's tower, where the runtime loads it; `images` as in [`crate::spec::Workload`].
pub fn loaded(model: &ModelSpec, runtime: Runtime, images: Option<u64>) -> Option<Vision> {
    model.shape.vision.filter(|_| loads(runtime, images))
}

/// Whether the runtime loads a tower or another part beside the language model, and there is one.
pub fn is_beside(model: &ModelSpec, runtime: Runtime, images: Option<u64>) -> bool {
    loads(runtime, images) && !model.vision_tensors.is_empty()
}

/// Whether the runtime loads what stands beside a language model.
pub fn loads(runtime: Runtime, images: Option<u64>) -> bool {
    match images {
        Some(images) => images > 0,
        None => rules(runtime).loads_tower(),
    }
}

/// The tower, where the GPU has it.
pub fn planned(scenario: &Scenario<'_>) -> Option<Vision> {
    let tower = loaded(scenario.model, scenario.kind(), scenario.workload.images);
    tower.filter(|_| scenario.part().has_vision)
}

/// Refuses images where there is no tower, or a runtime whose encoder is not modelled.
pub fn check(scenario: &Scenario<'_>) -> Result<(), EstimateError> {
    if scenario.workload.images.unwrap_or(0) == 0 {
        return Ok(());
    }
    let refuse = |reason: String| Err(EstimateError::Model { field: "images", reason });
    if scenario.model.shape.vision.is_none() {
        return refuse(format!("`{}` has no vision tower that is known", scenario.model.name));
    }
    rules(scenario.kind()).check_images(scenario)
}

/// Lists the weights of the tower and its projector.
pub fn push_weights(buffers: &mut Buffers, scenario: &Scenario<'_>) {
    let is_beside = is_beside(scenario.model, scenario.kind(), scenario.workload.images);
    if !is_beside || !scenario.part().has_vision {
        return;
    }
    let weights = scenario.weights;
    let kind = Kind {
        component: Component::Weights,
        life: Life::From(Phase::Load),
        basis: weights.basis,
        source: &weights.source,
    };
    let tensors = scenario.model.vision_tensors.len();
    let formula = Formula::text(
        "Σ over tensors of the tower and its projector",
        &[("tensors", to_u64(tensors))],
    );
    buffers.push(kind, BufferId::VisionTower, Bounds::exactly(weights.vision), formula);
    let kind = Kind {
        component: Component::Fragmentation,
        basis: Basis::Modelled,
        source: "allocator granularity, tensor by tensor",
        ..kind
    };
    let formula = Formula::text("Σ over tensors of their padded size − their size", &[]);
    let rounding = Bounds::exactly(weights.vision_rounding);
    buffers.push(kind, "rounding of the vision tower", rounding, formula);
}

/// transformers: encoding the images of a prompt, all at once.
pub fn transformers(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    phase: Phase,
) -> Result<(), EstimateError> {
    let images = scenario.workload.images.unwrap_or(0);
    let Some(vision) = planned(scenario).filter(|_| images > 0) else { return Ok(()) };
    let images = Bytes::product(&[images, scenario.workload.batch])?.get();
    let life = Life::During(phase, Moment::Encoding);
    push_pixels(buffers, life, &vision, images)?;
    push_pass(buffers, life, &vision, images)?;
    if scenario.workload.attention == Attention::Eager {
        push_scores(buffers, life, &vision, images)?;
    }
    Ok(())
}

/// vLLM keeps the embeddings of a step beside its token ids where prompts may have images; it counts
/// them to none of its figures.
pub fn vllm_step_embeddings(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
) -> Result<(), EstimateError> {
    if planned(scenario).is_none() {
        return Ok(());
    }
    let source = "vLLM gpu_model_runner.py `inputs_embeds`, made before it begins to count";
    let kind = Kind {
        component: Component::SmallBuffers,
        life: Life::From(Phase::Load),
        basis: Basis::Modelled,
        source,
    };
    let rows = ("tokens", scenario.workload.prefill_chunk);
    let hidden = ("hidden", scenario.model.shape.hidden_size);
    Ok(buffers.product(kind, "embeddings of a step", &[rows, hidden, ("B", 2)])?)
}

const PIXELS: &str = "transformers image_processing_*.py pixel_values, in the model's type";
const ENCODER: &str = "a layer's results in 16 bits, by analogy with decoder layers";

fn kind(life: Life, basis: Basis, source: &str) -> Kind<'_> {
    Kind { component: Component::Activations, life, basis, source }
}

fn push_pixels(
    buffers: &mut Buffers,
    life: Life,
    vision: &Vision,
    images: u64,
) -> Result<(), Overflow> {
    let factors = [
        ("images", images),
        ("patches", vision.max_patches),
        ("values of a patch", vision.patch_values()),
        ("B", 2),
    ];
    buffers.product(kind(life, Basis::Modelled, PIXELS), BufferId::ImagePixels, &factors)
}

/// The encoder's layer that needs most: residual, its norm and the layer's input, beside the MLP, or
/// queries, keys, values and their output.
fn push_pass(
    buffers: &mut Buffers,
    life: Life,
    vision: &Vision,
    images: u64,
) -> Result<(), Overflow> {
    let parts = if vision.is_gated() { 3 } else { 2 };
    let width = 3 * vision.hidden_size + (4 * vision.hidden_size).max(parts * vision.ffn_size);
    let factors = [("images", images), ("patches", vision.max_patches), ("width", width), ("B", 2)];
    let formula = Formula::product(&factors);
    let size = Deviation::ENCODER_LAYER.around(formula.value()?)?;
    buffers.push(kind(life, Basis::Assumed, ENCODER), "a layer of the encoder", size, formula);
    Ok(())
}

/// Eager attention of the encoder: scores, their f32 softmax, and that in 16 bits.
fn push_scores(
    buffers: &mut Buffers,
    life: Life,
    vision: &Vision,
    images: u64,
) -> Result<(), Overflow> {
    let patches = ("patches", vision.max_patches);
    let factors =
        [("images", images), ("n_heads", vision.n_heads), patches, patches, ("B", 2 + 4 + 2)];
    let formula = Formula::product(&factors);
    let size = Deviation::ENCODER_SCORES.around(formula.value()?)?;
    let kind = kind(life, Basis::Assumed, "transformers eager attention of the encoder");
    buffers.push(kind, "scores of the encoder", size, formula);
    Ok(())
}
