//! transformers on `PyTorch`: 16-bit activations, `DynamicCache` or a quantized cache.
//!
//! A batch repeats the system prompt for every sequence, and prefill processes a chunk of all of
//! them at once.

use super::super::kv_cache::Cells;
use super::super::{
    Buffers, Component, EstimateError, Formula, Kind, Life, Moment, Phase, Scenario, activations,
    attention, capture, fragmentation, kv_cache, logits, overhead, small,
};
use super::push_weights;
use crate::dtype::KvFormat;
use crate::spec::{Attention, Basis, Bounds, Capture};
use crate::units::{Bytes, Overflow};

/// Tokens that a quantized cache keeps in 16 bits until it quantizes them, at most
/// (`residual_length` 128 in `cache_utils.py`).
const RESIDUAL_TOKENS: u64 = 127;

/// Lists everything that the process holds.
pub fn push(buffers: &mut Buffers, scenario: &Scenario<'_>) -> Result<(), EstimateError> {
    push_weights(buffers, scenario);
    push_load(buffers, scenario);
    push_caches(buffers, scenario)?;
    let Pass { system, full } = Pass::of(scenario)?;
    step(buffers, scenario, Phase::SystemPrefill, scenario.system_chunk(), system)?;
    step(buffers, scenario, Phase::Prefill, scenario.chunk(), full)?;
    step(buffers, scenario, Phase::Decode, 1, full)?;
    if let Some(capture) = scenario.workload.capture {
        push_capture(buffers, scenario, capture, full)?;
    }
    overhead::push(buffers, scenario)?;
    fragmentation::push(buffers, scenario)
}

/// Tokens that attention sees in the last chunk of the system prompt, and later.
struct Pass {
    system: u64,
    full: u64,
}

impl Pass {
    fn of(scenario: &Scenario<'_>) -> Result<Self, Overflow> {
        Ok(Self { system: scenario.workload.system_tokens, full: scenario.full_tokens()? })
    }
}

/// Loading quantizes on the GPU: one tensor at a time is there in 16 bits.
fn push_load(buffers: &mut Buffers, scenario: &Scenario<'_>) {
    let moved = scenario.weights.largest_moved;
    let kind = Kind {
        component: Component::Activations,
        life: Life::During(Phase::Load, Moment::Conversion),
        basis: Basis::Modelled,
        source: "transformers integrations/bitsandbytes.py: moved in 16 bits, then quantized",
    };
    let formula =
        Formula::product(&[("elements of the largest matrix", moved.get() / 2), ("B", 2)]);
    buffers.push(kind, "one weight before it is quantized", Bounds::exactly(moved), formula);
}

fn cells(scenario: &Scenario<'_>, tokens: u64) -> Cells {
    let window = scenario.model.shape.window.map_or(0, |window| window.size);
    Cells { full: tokens, window: tokens.min(window) }
}

fn push_caches(buffers: &mut Buffers, scenario: &Scenario<'_>) -> Result<(), EstimateError> {
    let workload = &scenario.workload;
    let batch = workload.batch;
    let pinned = cells(scenario, workload.system_tokens);
    let prompt = Component::SystemPromptCache;
    kv_cache::push(buffers, scenario, prompt, pinned, batch, Phase::SystemPrefill)?;
    // A pre-allocated conversation cache is there before the first chunk.
    let from = if workload.grown_cache { Phase::Prefill } else { Phase::SystemPrefill };
    let slots = cells(scenario, workload.cache_tokens);
    kv_cache::push(buffers, scenario, Component::ConversationCache, slots, batch, from)?;
    kv_cache::push_recurrent(buffers, scenario, batch, from)?;
    push_residual(buffers, scenario)?;
    if workload.attention == Attention::Eager {
        // Eviction by attention mass is only possible where scores exist; one score per query head.
        kv_cache::push_scores(buffers, scenario, scenario.model.shape.n_heads, from)?;
    }
    Ok(())
}

/// The last tokens of a quantized cache, still in 16 bits.
fn push_residual(buffers: &mut Buffers, scenario: &Scenario<'_>) -> Result<(), EstimateError> {
    if !matches!(scenario.kv, KvFormat::Hqq { .. } | KvFormat::Quanto { .. }) {
        return Ok(());
    }
    let kind = Kind {
        component: Component::ConversationCache,
        life: Life::From(Phase::Prefill),
        basis: Basis::Modelled,
        source: "transformers cache_utils.py: residual_length 128",
    };
    let tokens = RESIDUAL_TOKENS.min(scenario.workload.cache_tokens);
    let per_token = kv_cache::layer_size(&scenario.model.shape, KvFormat::Bf16, 1)?;
    let formula = Formula::product(&[
        ("layers", scenario.model.full_layers() + scenario.model.window_layers()),
        ("tokens, at most", tokens),
        ("sequences", scenario.workload.batch),
        ("B per token and layer (K+V)", per_token.get()),
    ]);
    let most = formula.value()?;
    let bounds = Bounds::new(Bytes::ZERO, most.scale(1, 2)?, most);
    buffers.push(kind, "unquantized tail, half full on average", bounds, formula);
    Ok(())
}

/// One forward pass: `rows` tokens of every sequence behind `seen − rows` cached ones.
fn step(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    phase: Phase,
    rows: u64,
    seen: u64,
) -> Result<(), EstimateError> {
    if rows == 0 {
        return Ok(());
    }
    let all_rows = Bytes::product(&[rows, scenario.workload.batch])?.get();
    let is_first_chunk = rows == seen;
    let mask = attend(buffers, scenario, phase, (rows, seen), is_first_chunk)?;
    small::transformers(buffers, scenario, phase, all_rows, seen, mask)?;
    activations::transformers(buffers, scenario, phase, all_rows)?;
    if all_rows > 1 && !scenario.weights.largest_expanded.is_zero() {
        activations::expanded_weight(buffers, scenario, phase)?;
    }
    logits::transformers(buffers, scenario, phase, all_rows)
}

/// Attention's own buffers; the bytes a position that its causal mask takes.
fn attend(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    phase: Phase,
    (rows, seen): (u64, u64),
    is_first_chunk: bool,
) -> Result<u64, EstimateError> {
    let life = Life::During(phase, Moment::Attention);
    let all_rows = Bytes::product(&[rows, scenario.workload.batch])?.get();
    if !is_first_chunk || scenario.kv.is_quantized() {
        attention::cache_copies(buffers, scenario, life, seen)?;
    }
    let again = Life::During(phase, Moment::Conversion);
    attention::requantization(buffers, scenario, again, seen)?;
    match scenario.workload.attention {
        Attention::Eager => {
            attention::eager(buffers, scenario, life, all_rows, seen)?;
            Ok(2)
        }
        // Without a mask, SDPA groups the heads itself; a pre-allocated cache always needs one.
        Attention::Sdpa if rows > 1 && !is_first_chunk => {
            attention::expanded_heads(buffers, scenario, life, seen)?;
            Ok(3)
        }
        _ => Ok(0),
    }
}

fn push_capture(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    wanted: Capture,
    seen: u64,
) -> Result<(), EstimateError> {
    let mut pass = scenario.clone();
    if wanted.attention {
        pass.workload.attention = Attention::Eager;
    }
    step(buffers, &pass, Phase::Capture, wanted.tokens, seen)?;
    capture::push(buffers, scenario, wanted, seen, 2)
}
