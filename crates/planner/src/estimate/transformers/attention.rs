//! What attention holds beside keys, values, queries and its output, in one layer at a time.
//!
//! - *eager* materialises the scores: for bf16 the raw scores (2 B), an f32 copy (4 B) and the f32
//!   softmax (4 B) are alive together, `10 · n_heads · rows · S`. gpt-oss appends its sinks: raw
//!   scores, those with sinks, and the difference to their maximum, 6 B in bf16.
//! - *SDPA* holds no scores. Where an explicit mask is passed (a chunk behind a past, a window that
//!   is full), transformers expands keys and values to every query head first, and `PyTorch` makes a
//!   16-bit copy of the mask, padded where its rows are not a multiple of 8.
//! - a *quantized cache* is expanded to 16 bits, one layer at a time; *latents* (multi-head latent
//!   attention) are expanded to the keys and values of every head.
//!
//! Sources: transformers 5.23 `qwen2/modeling_qwen2.py` (`eager_attention_forward`, `repeat_kv`),
//! `gpt_oss/modeling_gpt_oss.py`, `deepseek_v2/modeling_deepseek_v2.py` (`expand_kv`),
//! `integrations/sdpa_attention.py`, `cache_utils.py`; `PyTorch`
//! `ATen/native/transformers/attention.cpp` (`convert_boolean_attn_mask`, `preprocess_mask`). All
//! but quantized caches are compared with a live-storage tracker over the real code
//! (`evidence/transformers`).

use super::forward_pass::{ForwardPass, View, cached_window, method};
use super::keys_beside_window;
use super::largest_instant::Instant;
use crate::dtype::KvFormat;
use crate::estimate::{
    Buffers, Component, Deviation, EstimateError, Formula, Kind, Life, Moment, Scenario, kv_cache,
};
use crate::spec::{Attention, Basis, Bounds};
use crate::units::Bytes;

const TRANSFORMERS: &str = "transformers modeling_*.py eager_attention_forward, sdpa_attention.py";
const CACHE_UTILS: &str = "transformers cache_utils.py, update of the cache's layers";

/// Where the buffers of an instant are counted.
const TRANSIENT: Component = Component::AttentionTransients;

fn kind(life: Life, source: &str) -> Kind<'_> {
    Kind { component: TRANSIENT, life, basis: Basis::Modelled, source }
}

/// What attention holds in a pass, and what of it stays alive during the MLP.
pub fn push(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    pass: ForwardPass,
) -> Result<(), EstimateError> {
    cache_growth(buffers, scenario, pass)?;
    let views = pass.views(scenario)?;
    let mut instants = Vec::with_capacity(4);
    for view in &views {
        if method(scenario) == Attention::Eager {
            instants.push(copied_values(scenario, pass, view.seen)?);
        }
        let instant = match method(scenario) {
            Attention::Eager => eager(scenario, pass, view.seen)?,
            Attention::Sdpa => sdpa(scenario, pass, *view)?,
            _ => Instant::default(),
        };
        let instant = shifted_cache(instant, scenario, pass, *view)?;
        instants.push(keys_beside_window::while_attending(instant, scenario, pass, *view)?);
    }
    let during = |moment| kind(Life::During(pass.phase, moment), TRANSFORMERS);
    Instant::push_largest(instants, buffers, during(Moment::Attention))?;
    if method(scenario) == Attention::Eager {
        let seen = views.iter().map(|view| view.seen).max().unwrap_or(0);
        for moment in [Moment::FeedForward, Moment::Projection] {
            kept_weights(buffers, scenario, pass, seen, during(moment))?;
        }
    }
    Ok(())
}

/// Bytes per score of eager attention in bf16: scores, f32 copy, f32 softmax; with sinks the scores,
/// those with sinks, and the difference to their maximum.
const fn eager_score_bytes(sinks: bool) -> u64 {
    if sinks { 6 } else { 10 }
}

/// The score matrix of one layer, materialised.
fn eager(scenario: &Scenario<'_>, pass: ForwardPass, seen: u64) -> Result<Instant, EstimateError> {
    let shape = &scenario.model.shape;
    let formula = Formula::product(&[
        ("n_heads", shape.n_heads),
        ("rows", pass.all_rows()?),
        ("S", seen + u64::from(shape.attention_sinks)),
        ("B (bf16 + f32 copy + f32 softmax)", eager_score_bytes(shape.attention_sinks)),
    ]);
    let size = Deviation::TRANSFORMERS_SCORES.around(formula.value()?)?;
    let scores = Instant::default().and_sized(TRANSIENT, "scores, one layer", size, formula);
    expanded_heads(scores, scenario, pass, seen)
}

/// Latent attention's product of weights and values: over several sequences it copies the values, which
/// are a view of the projection.
fn copied_values(
    scenario: &Scenario<'_>,
    pass: ForwardPass,
    seen: u64,
) -> Result<Instant, EstimateError> {
    let shape = &scenario.model.shape;
    let Some(mla) = shape.mla.filter(|_| pass.sequences > 1) else { return Ok(Instant::default()) };
    let heads = ("n_heads", shape.n_heads);
    let weights = [heads, ("rows", pass.all_rows()?), ("S", seen), ("B", 2)];
    let values =
        [("S", seen), ("sequences", pass.sequences), heads, ("width", mla.v_head_dim), ("B", 2)];
    let product = Instant::default()
        .and(TRANSIENT, "attention weights in 16 bits", &weights)?
        .and(TRANSIENT, "a copy of the values", &values)?;
    expanded_heads(product, scenario, pass, seen)
}

/// The attention weights of a layer in 16 bits: the layer's variable for them lives until its end.
fn kept_weights(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    pass: ForwardPass,
    seen: u64,
    kind: Kind<'_>,
) -> Result<(), EstimateError> {
    let factors = [
        ("n_heads", scenario.model.shape.n_heads),
        ("rows", pass.all_rows()?),
        ("S", seen),
        ("B", 2),
    ];
    buffers.product(kind, "attention weights, one layer", &factors)?;
    Ok(())
}

/// Widest head for which the memory-efficient kernel keeps its output in registers
/// (`kKeysPerBlock` of its widest variant in `kernel_forward.h`).
const EFFICIENT_MAX_HEAD: u64 = 128;
/// Elements to a multiple of which the memory-efficient kernel wants the rows of its mask.
const MASK_ALIGNMENT: u64 = 8;

/// SDPA: the output, and with a mask its 16-bit copy and expanded keys and values.
fn sdpa(scenario: &Scenario<'_>, pass: ForwardPass, view: View) -> Result<Instant, EstimateError> {
    let shape = &scenario.model.shape;
    let rows = pass.all_rows()?;
    let width = shape.attention_width();
    let output = Bytes::product(&[rows, width, 2])?;
    let log_sum_exp = Bytes::product(&[rows, shape.n_heads, 4])?;
    if !view.masked {
        let formula = Formula::text(
            "2 B · rows · width + 4 B · rows · n_heads",
            &[("rows", rows), ("width", width), ("n_heads", shape.n_heads)],
        );
        let size = Bounds::exactly(output.plus(log_sum_exp)?);
        let flash = Instant::default().and_sized(TRANSIENT, "output of attention", size, formula);
        return if shape.mla.is_some() || view.repeats {
            expanded_heads(flash, scenario, pass, view.seen)
        } else {
            Ok(flash)
        };
    }
    let accumulated = if shape.value_head_dim() > EFFICIENT_MAX_HEAD { 3 } else { 1 };
    let mask = Bytes::product(&[rows, view.seen, 2])?;
    let is_padded = !view.seen.is_multiple_of(MASK_ALIGNMENT);
    let unpadded = if is_padded { mask } else { Bytes::ZERO };
    let formula = Formula::text(
        "2 B · rows · width (and 4 B where accumulated), or 2 B · rows · S",
        &[("rows", rows), ("width", width), ("S", view.seen)],
    );
    // A cache passes through every length on its way: the high bound is that of one to pad.
    let output = output.times(accumulated)?;
    let expected = output.max(unpadded);
    let size = Bounds::new(expected, expected, output.max(mask));
    let instant = Instant::default()
        .and(TRANSIENT, "mask in 16 bits", &[("rows", rows), ("S", view.seen), ("B", 2)])?
        .and_sized(TRANSIENT, "output of attention, or the mask before padding", size, formula);
    if !view.repeats {
        return Ok(instant);
    }
    expanded_heads(instant, scenario, pass, view.seen)
}

/// Keys and values repeated for every query head, or made from latents, one layer.
fn expanded_heads(
    instant: Instant,
    scenario: &Scenario<'_>,
    pass: ForwardPass,
    seen: u64,
) -> Result<Instant, EstimateError> {
    let shape = &scenario.model.shape;
    let tokens = [("S", seen), ("sequences", pass.sequences), ("B", 2)];
    if let Some(mla) = shape.mla {
        let projected = shape.n_heads * (mla.qk_nope_head_dim + mla.v_head_dim);
        let width = ("projection + keys", projected + shape.q_width());
        let name = "keys and values from latents, one layer";
        return Ok(instant.and(TRANSIENT, name, &[tokens[0], tokens[1], width, tokens[2]])?);
    }
    // One head for all is repeated by a view; only eager attention's product over several sequences copies it,
    // K and V one after the other.
    let is_copied = method(scenario) == Attention::Eager && pass.sequences > 1;
    let tensors = match (shape.gqa_group(), shape.kv_heads) {
        (1, _) => 0,
        (_, 1) => u64::from(is_copied),
        _ => 2,
    };
    if tensors == 0 {
        return Ok(instant);
    }
    let width = ("q_width", shape.q_width());
    let factors = [("tensors (K, V)", tensors), tokens[0], tokens[1], width, tokens[2]];
    Ok(instant.and(TRANSIENT, "keys and values for every query head, one layer", &factors)?)
}

/// What reading and growing the cache costs: an expanded copy of one layer where it is quantized, and
/// where it grows by concatenation the old and the new copy of one tensor together.
fn cache_growth(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    pass: ForwardPass,
) -> Result<(), EstimateError> {
    let during = |moment| kind(Life::During(pass.phase, moment), CACHE_UTILS);
    if scenario.kv.is_quantized() {
        if pass.past > 0 {
            let name = "one layer's K and V expanded, and concatenated with the new tokens";
            expanded_cache(buffers, scenario, pass, (4, name), during(Moment::Conversion))?;
        }
        let name = "one layer's K and V before they are quantized, or expanded";
        return expanded_cache(buffers, scenario, pass, (2, name), during(Moment::Attention));
    }
    let copies = copies(scenario, pass);
    let factors = copies.factors(scenario, pass);
    buffers.product(during(Moment::Conversion), copies.name, &factors)?;
    Ok(())
}

/// With the copies of a windowed layer's cache that it attends to.
fn shifted_cache(
    instant: Instant,
    scenario: &Scenario<'_>,
    pass: ForwardPass,
    view: View,
) -> Result<Instant, EstimateError> {
    let copies = copies(scenario, pass);
    if !(view.windowed && copies.until_attended) || scenario.kv.is_quantized() {
        return Ok(instant);
    }
    Ok(instant.and(TRANSIENT, copies.name, &copies.factors(scenario, pass))?)
}

/// The copies that updating one layer's cache makes.
#[derive(Default)]
struct Copies {
    tokens: u64,
    tensors: u64,
    until_attended: bool,
    name: &'static str,
}

impl Copies {
    fn factors(&self, scenario: &Scenario<'_>, pass: ForwardPass) -> [(&'static str, u64); 5] {
        [
            ("tokens", self.tokens),
            ("tensors", self.tensors),
            ("sequences", pass.sequences),
            ("width", kv_cache::widest_tensor(scenario)),
            ("B", if scenario.kv == KvFormat::F32 { 4 } else { 2 }),
        ]
    }
}

/// A grown cache has the old K or V beside the new one in full layers, both old ones in windowed
/// layers. A pre-allocated windowed layer that is full is rolled for one token, and joined with the
/// new tokens for more (`StaticSlidingWindowLayer.update`).
fn copies(scenario: &Scenario<'_>, pass: ForwardPass) -> Copies {
    let window = cached_window(scenario).filter(|_| scenario.window_layers() > 0);
    let keeps_all = scenario.full_layers() > 0 || cached_window(scenario).is_none();
    let full = if keeps_all { pass.past } else { 0 };
    let windowed = window.map_or(0, |window| pass.past.min(window - 1));
    if scenario.workload.grown_cache {
        let name = "the old copy of one layer's K or V while it grows";
        let (tokens, tensors) = if full >= 2 * windowed { (full, 1) } else { (windowed, 2) };
        return Copies { tokens, tensors, until_attended: false, name };
    }
    match window {
        Some(window) if pass.past > 0 && pass.past + pass.rows > window => {
            let several = pass.rows > 1;
            let tokens = if several { pass.seen_in(window) } else { window };
            let name = "one windowed layer's K and V while they are shifted";
            Copies { tokens, tensors: 2, until_attended: several, name }
        }
        _ => Copies::default(),
    }
}

fn expanded_cache(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    pass: ForwardPass,
    (tensors, name): (u64, &'static str),
    kind: Kind<'_>,
) -> Result<(), EstimateError> {
    let factors = [
        ("tensors", tensors),
        ("S", pass.seen()?),
        ("sequences", pass.sequences),
        ("width", kv_cache::widest_tensor(scenario)),
        ("B", 2),
    ];
    buffers.product(kind, name, &factors)?;
    Ok(())
}

/// Bytes per element of one key tensor while HQQ quantizes it again: the f32 input and the copies of
/// its optimiser.
const HQQ_BYTES: [u64; 3] = [8, 20, 24];

/// The transient of quantizing one layer's keys again when the unquantized residual is full.
pub fn requantization(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    life: Life,
    seen: u64,
) -> Result<(), EstimateError> {
    if !matches!(scenario.kv, KvFormat::Hqq { .. } | KvFormat::Quanto { .. }) {
        return Ok(());
    }
    let width = scenario.model.shape.kv_width();
    let sequences = scenario.workload.batch;
    let size = |bytes| Bytes::product(&[seen, sequences, width, bytes]);
    let [low, expected, high] = HQQ_BYTES;
    let bounds = Bounds::new(size(low)?, size(expected)?, size(high)?);
    let formula = Formula::product(&[
        ("S", seen),
        ("sequences", sequences),
        ("kv_width", width),
        ("B (f32 input and the optimiser's copies)", expected),
    ]);
    let kind = Kind {
        component: Component::AttentionTransients,
        life,
        basis: Basis::Assumed,
        source: "hqq core/quantize.py, core/optimize.py: estimated from the copies it makes",
    };
    buffers.push(kind, "requantization of one layer's keys", bounds, formula);
    Ok(())
}
