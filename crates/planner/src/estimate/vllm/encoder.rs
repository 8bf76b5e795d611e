//! What vLLM's profile run holds for images and videos.
//!
//! Before the language model's step it encodes as many of the largest item that prompts may have (image or video, whichever
//! becomes more tokens) as `max(max_num_batched_tokens, tokens of one)` tokens are, at least one. Their embeddings stay while
//! the language model runs, and to 0.28 their pixels do, so that the peak is the larger of the encoder's and of the step's.
//!
//! What the encoder holds for every patch is a number of widths of it, by what its `forward` keeps alive at the moment that needs
//! most: attention's rotations or the MLP. Ranks share heads and the MLP's width, not the rest.
//!
//! Sources: vLLM `multimodal/encoder_budget.py` (`MultiModalBudget`; `v1/worker/utils.py` to 0.15), `v1/worker/gpu_model_runner.py`
//! (`profile_run`), `v1/worker/gpu/mm/encoder_runner.py`, `models/*.py` (`get_mm_max_tokens_per_item`, `forward`) of 0.8.5, 0.9.2,
//! 0.10.2, 0.11.0, 0.12.0, 0.14.0, 0.16.0, 0.19.1, 0.22.1 and 0.33.0; what its own towers of 0.33 hold was asked of them
//! (`evidence/vllm/encoder.py`).

use crate::estimate::BufferId;
use crate::estimate::{
    Buffers, Component, Deviation, EstimateError, Formula, Kind, Life, Moment, Phase, Scenario,
    vision,
};
use crate::spec::{Basis, Bounds, MediaLimits, Serving, Tower, Vision, VllmVersion};
use crate::units::{Bytes, Overflow};

const PROFILE_RUN: &str =
    "vLLM gpu_model_runner.py profile_run of the encoder, encoder_budget.py MultiModalBudget";
const LAYER_INPUTS: &str = "vLLM models/qwen3_vl.py deepstack_input_embeds, made with the model";
const ASKED: &str =
    "vLLM models/*.py, forward of the encoder: asked of its own towers on meta tensors";
const READ: &str = "vLLM models/*.py, forward of the encoder: counted by hand, not asked";
const UNKNOWN: &str =
    "no formula for this encoder: as 27 layers that make up its parameters, by analogy with SigLIP";

/// Pixels of Qwen3-VL's longest video, all frames together, and frames that become one (`video_preprocessor_config.json`, by
/// logs that print 12,288 tokens for it, or 153,600 with marks).
const QWEN3_VIDEO: u64 = 25_165_824;
const QWEN_FRAMES: u64 = 2;
/// Tokens of Qwen3-VL's marks and of what is between them, in halves of a token.
const MARKED_HALVES: u64 = 25;
/// Marks around an image of Gemma 3: two of lines, its begin and its end.
const GEMMA3_MARKS: u64 = 4;
/// Frames of Gemma 4's longest video, tokens of one, and what stands around it (`models/gemma4_mm.py`).
const GEMMA4_FRAMES: u64 = 32;
const GEMMA4_TOKENS: u64 = 70;
const GEMMA4_MARKS: u64 = 8;

/// An image or a video.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Item {
    /// Tokens that it is counted by.
    tokens: u64,
    /// Embeddings that the encoder makes of it.
    embeddings: u64,
    /// Patches that the encoder sees.
    patches: u64,
}

impl Item {
    /// One whose tokens are its embeddings.
    const fn plain(tokens: u64, patches: u64) -> Self {
        Self { tokens, embeddings: tokens, patches }
    }

    /// The largest image.
    fn image(tower: &Vision, serving: Serving) -> Self {
        let of_a_token = tower.patches_per_token();
        let asked = serving.media.max_pixels.filter(|_| tower.is_qwen());
        if let Some(pixels) = asked.map(|pixels| u64::from(pixels.get())) {
            let side = tower.patch_size * tower.merge;
            let tokens = (pixels / (side * side)).max(1);
            return Self::plain(tokens, tokens.saturating_mul(of_a_token));
        }
        let tokens = tower.max_tokens();
        let marks = match tower.tower {
            Tower::Siglip if serving.version.counts_marks_of_images() => GEMMA3_MARKS,
            _ => 0,
        };
        Self { tokens: tokens + marks, embeddings: tokens, patches: tower.max_patches }
    }

    /// The longest video in a context of so many tokens, where there are videos.
    fn video(tower: &Vision, serving: Serving, context: u64, beside_images: bool) -> Option<Self> {
        let image = Self::image(tower, serving);
        match tower.tower {
            Tower::Qwen2Vl | Tower::Qwen25Vl => {
                let reserved = if beside_images && serving.version.leaves_room_for_an_image() {
                    image.tokens
                } else {
                    0
                };
                let room = context.saturating_sub(reserved) / image.tokens.max(1);
                let pairs = room.clamp(1, serving.version.most_frames() / QWEN_FRAMES);
                let times = |n: u64| n.saturating_mul(pairs);
                Some(Self::plain(times(image.tokens), times(image.patches)))
            }
            Tower::Qwen3Vl => {
                let asked = serving.media.max_pixels.map(|pixels| u64::from(pixels.get()));
                let pixels = asked.unwrap_or(QWEN3_VIDEO) / QWEN_FRAMES;
                let side = tower.patch_size * tower.merge;
                let embeddings = (pixels / (side * side)).max(1);
                let patches = embeddings.saturating_mul(tower.patches_per_token());
                let marked = embeddings.saturating_mul(MARKED_HALVES) / 2;
                let tokens = if serving.version.budgets_for_marks() { marked } else { embeddings };
                Some(Self { tokens, embeddings, patches })
            }
            Tower::Gemma4 => {
                let patches = GEMMA4_FRAMES * GEMMA4_TOKENS * tower.patches_per_token();
                let tokens = GEMMA4_FRAMES * (GEMMA4_TOKENS + GEMMA4_MARKS);
                Some(Self { tokens, embeddings: GEMMA4_FRAMES * GEMMA4_TOKENS, patches })
            }
            Tower::Siglip | Tower::Pixtral | Tower::MoonVit => None,
        }
    }
}

/// What is encoded in a profile run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Encoded {
    item: Item,
    items: u64,
    /// Tokens that the encoder may be given, and that embeddings are kept for.
    budget: u64,
}

impl Encoded {
    /// Nothing where the engine is told not to look.
    fn of(tower: &Vision, scenario: &Scenario<'_>, serving: Serving) -> Option<Self> {
        let workload = &scenario.workload;
        let context = serving.max_model_len.unwrap_or(workload.context);
        let is_profiled = !serving.media.is_skipped;
        Self::most(tower, (context, workload.prefill_chunk), serving).filter(|_| is_profiled)
    }

    /// As much as prompts may have in such a context and a step of so many tokens; nothing where they have neither images nor
    /// videos.
    fn most(tower: &Vision, (context, chunk): (u64, u64), serving: Serving) -> Option<Self> {
        let MediaLimits { images, videos } = serving.media.limits;
        let allowed = |limit: Option<u16>| limit.map_or(u64::MAX, u64::from);
        let image = Some(Item::image(tower, serving)).filter(|_| allowed(images) > 0);
        let video = Item::video(tower, serving, context, allowed(images) > 0);
        let video = video.filter(|_| allowed(videos) > 0);
        let (item, limit) = match (image, video) {
            (Some(image), Some(video)) if video.tokens > image.tokens => (video, allowed(videos)),
            (Some(image), _) => (image, allowed(images)),
            (None, Some(video)) => (video, allowed(videos)),
            (None, None) => return None,
        };
        let tokens = item.tokens.max(1);
        let budget = chunk.max(tokens);
        let items = if serving.version.rounds_items_up() {
            budget.div_ceil(tokens).min(serving.max_seqs.saturating_mul(limit))
        } else {
            let of_a_prompt = limit.min(context / tokens).max(1);
            (budget / tokens).min(serving.max_seqs.saturating_mul(of_a_prompt))
        };
        Some(Self { item, items: items.max(1), budget })
    }

    /// Embeddings that are kept of every item.
    const fn kept(&self, version: VllmVersion) -> u64 {
        let Self { item, items, budget } = *self;
        // Expanded only where one has fewer than the budget.
        let of_one = if version.budgets_for_marks() && item.embeddings < budget {
            budget
        } else {
            item.embeddings
        };
        items.saturating_mul(of_one)
    }

    const fn patches(&self) -> u64 {
        self.items.saturating_mul(self.item.patches)
    }
}

/// Tokens of the encoder's budget, and how many items are encoded in a context and a step of so many tokens, as vLLM prints them;
/// nothing where prompts have neither images nor videos.
pub fn budget(
    tower: &Vision,
    context_and_chunk: (u64, u64),
    serving: Serving,
) -> Option<(u64, u64)> {
    let encoded = Encoded::most(tower, context_and_chunk, serving)?;
    Some((encoded.budget, encoded.items))
}

/// Values of 16 bits that a tower holds for every patch at the moment that needs most.
fn held(tower: &Vision, serving: Serving) -> u64 {
    attention(tower, serving).max(mlp(tower, serving))
}

/// Those of attention: what ranks have whole, with what they gather and add up, and what they share.
fn attention(tower: &Vision, serving: Serving) -> u64 {
    let (version, ranks) = (serving.version, serving.ranks);
    let gathers = version.gathers_encoders();
    let (whole, shared) = match tower.tower {
        Tower::Qwen2Vl if !gathers => (6, version.rotated_widths()),
        Tower::Qwen2Vl | Tower::Qwen25Vl | Tower::Qwen3Vl => {
            (if gathers { 2 } else { 3 }, version.rotated_widths())
        }
        Tower::Siglip => (5, 4),
        // Their MLPs are the larger moment.
        Tower::Pixtral | Tower::MoonVit | Tower::Gemma4 => return 0,
    };
    let hidden = tower.hidden_size;
    let mine = hidden.div_ceil(ranks);
    // What ranks gather of queries, keys and values is whole twice, and gone when they are rotated.
    let gathered = if gathers && ranks > 1 && tower.is_qwen() { 6 * hidden + 3 * mine } else { 0 };
    (whole + positions(tower) + sums(ranks)) * hidden + gathered.max(shared * mine)
}

/// Those of the MLP: widths of the encoder, and of the MLP.
fn mlp(tower: &Vision, serving: Serving) -> u64 {
    let (version, ranks) = (serving.version, serving.ranks);
    let is_fused = serving.eager || version.fuses_gates_of_encoders();
    let (whole, shared) = match tower.tower {
        Tower::Qwen2Vl => (3 + sums(ranks), 3),
        Tower::Qwen25Vl if version.rounds_items_up() => (4 + sums(ranks), 3),
        Tower::Qwen25Vl if is_fused => (5 + sums(ranks), 3),
        Tower::Qwen25Vl => (4 + sums(ranks), 4),
        Tower::Qwen3Vl => (3 + positions(tower) + sums(ranks), 2),
        Tower::Siglip | Tower::MoonVit => (4, 2),
        Tower::Pixtral if is_fused => (6 + sums(ranks), 3),
        Tower::Pixtral | Tower::Gemma4 => (6 + sums(ranks), 4),
    };
    whole * tower.hidden_size + shared * tower.ffn_size.div_ceil(ranks)
}

/// Learned positions, kept beside the layers' results.
fn positions(tower: &Vision) -> u64 {
    u64::from(tower.tower == Tower::Qwen3Vl && tower.positions > 0)
}

/// What ranks add up is a copy.
fn sums(ranks: u64) -> u64 {
    u64::from(ranks > 1)
}

/// Bytes that an encoder holds at most beside its weights and the pixels while it makes so many embeddings for a model so
/// wide, those included.
///
/// # Errors
/// On sizes that no device has.
pub fn peak(
    tower: &Vision,
    serving: Serving,
    (patches, embeddings, hidden): (u64, u64, u64),
) -> Result<Bytes, Overflow> {
    let layers = Bytes::product(&[patches, held(tower, serving), 2])?;
    layers.plus(Bytes::product(&[embeddings, tower.deepstack, hidden, 2])?)
}

/// Whether what the tower holds was asked of it, and not only read.
fn is_asked(tower: &Vision, version: VllmVersion) -> bool {
    let same = !version.gathers_encoders();
    same && !matches!(tower.tower, Tower::MoonVit | Tower::Gemma4)
}

/// Lists the images or videos of the profile run.
pub fn push(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    serving: Serving,
) -> Result<(), EstimateError> {
    let Some(tower) = vision::planned(scenario) else {
        return push_unknown(buffers, scenario, serving);
    };
    push_layer_inputs(buffers, scenario, &tower)?;
    let Some(encoded) = Encoded::of(&tower, scenario, serving) else { return Ok(()) };
    let pixels = push_pixels(buffers, &tower, &encoded, serving)?;
    let embeddings = push_embeddings(buffers, scenario, (&tower, &encoded), serving)?;
    push_pass(buffers, scenario, (&tower, &encoded, serving), (pixels, embeddings))
}

fn kind(life: Life, basis: Basis, source: &str) -> Kind<'_> {
    Kind { component: Component::Activations, life, basis, source }
}

const LOADED: Life = Life::From(Phase::Load);
const STAYS: Life = Life::From(Phase::SystemPrefill);
const ENCODING: Life = Life::During(Phase::Prefill, Moment::Encoding);

/// What layers are given of images beside the first one's input, made when the model is loaded.
fn push_layer_inputs(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    tower: &Vision,
) -> Result<(), Overflow> {
    if tower.deepstack == 0 {
        return Ok(());
    }
    let rows = ("tokens", scenario.workload.prefill_chunk);
    let width = ("hidden", scenario.model.shape.hidden_size);
    let factors = [("inner layers", tower.deepstack), rows, width, ("B", 2)];
    buffers.product(
        kind(LOADED, Basis::Modelled, LAYER_INPUTS),
        BufferId::ImageLayerInputs,
        &factors,
    )
}

/// Pixels of all items; the second runner gives them back when they are encoded.
fn push_pixels(
    buffers: &mut Buffers,
    tower: &Vision,
    encoded: &Encoded,
    serving: Serving,
) -> Result<Bytes, Overflow> {
    let life = if serving.version.has_second_runner() { ENCODING } else { STAYS };
    let element = if serving.version.takes_pixels_in_f32() { 4 } else { 2 };
    let factors = [
        ("items", encoded.items),
        ("patches", encoded.item.patches),
        ("values of a patch", tower.patch_values()),
        ("B", element),
    ];
    buffers.product(kind(life, Basis::Modelled, PROFILE_RUN), BufferId::ImagePixels, &factors)?;
    Formula::product(&factors).value()
}

/// Embeddings of all items, for which the encoder's cache has room.
fn push_embeddings(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    (tower, encoded): (&Vision, &Encoded),
    serving: Serving,
) -> Result<Bytes, Overflow> {
    let width = scenario.model.shape.hidden_size.saturating_mul(1 + tower.deepstack);
    let factors = [
        ("embeddings", encoded.kept(serving.version)),
        ("hidden, and those of inner layers", width),
        ("B", 2),
    ];
    let kind = kind(STAYS, Basis::Modelled, PROFILE_RUN);
    buffers.product(kind, BufferId::ImageEmbeddings, &factors)?;
    Formula::product(&factors).value()
}

/// What encoding takes more than the pixels and the embeddings that are listed.
fn push_pass(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    (tower, encoded, serving): (&Vision, &Encoded, Serving),
    (pixels, embeddings): (Bytes, Bytes),
) -> Result<(), EstimateError> {
    let version = serving.version;
    let copy = if version.takes_pixels_in_f32() { pixels.scale(1, 2)? } else { Bytes::ZERO };
    let made = encoded.items.saturating_mul(encoded.item.embeddings);
    let hidden = scenario.model.shape.hidden_size;
    let peak = peak(tower, serving, (encoded.patches(), made, hidden))?.plus(copy)?;
    let (basis, source, deviation) = if is_asked(tower, version) {
        (Basis::Modelled, ASKED, Deviation::VLLM_ENCODER)
    } else {
        (Basis::Assumed, READ, Deviation::VLLM_ENCODER_READ)
    };
    let around = deviation.around(peak)?;
    let less = |size: Bytes| size.minus_or_zero(embeddings);
    let size = Bounds::new(less(around.low), less(around.expected), less(around.high));
    let formula = Formula::text(
        "2 B · patches · values + copies of pixels + embeddings of inner layers − embeddings, which are listed",
        &[
            ("patches", encoded.patches()),
            ("values", held(tower, serving)),
            ("embeddings", embeddings.get()),
        ],
    );
    buffers.push(kind(ENCODING, basis, source), "the encoder", size, formula);
    Ok(())
}

/// Layers, and widths of a layer's matrices, that an encoder without a formula is taken to have, and what it sees of an image.
const LAYERS: u64 = 27;
const SQUARES: u64 = 12;
const WIDTHS: u64 = 12;
const PATCHES: u64 = 4;

/// An encoder that is loaded and whose work has no formula: somewhere between nothing and four times what such a tower takes.
fn push_unknown(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    serving: Serving,
) -> Result<(), EstimateError> {
    let (model, media) = (scenario.model, serving.media);
    let is_beside = vision::is_beside(model, scenario.kind(), scenario.workload.images);
    let is_text = media.is_skipped || media.limits.allow_nothing();
    if !is_beside || is_text || !scenario.part().has_vision {
        return Ok(());
    }
    let width = (model.vision_parameters() / (LAYERS * SQUARES)).isqrt();
    let factors = [
        ("tokens", scenario.workload.prefill_chunk),
        ("patches of a token", PATCHES),
        ("widths", WIDTHS),
        ("width", width),
        ("B", 2),
    ];
    let formula = Formula::product(&factors);
    let expected = formula.value()?;
    let size = Bounds::new(Bytes::ZERO, expected, expected.times(4)?);
    buffers.push(kind(ENCODING, Basis::Assumed, UNKNOWN), "the encoder", size, formula);
    Ok(())
}
