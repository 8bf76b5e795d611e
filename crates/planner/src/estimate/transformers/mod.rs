//! transformers on `PyTorch`: 16-bit activations, `DynamicCache` or a quantized cache.
//!
//! A batch repeats the system prompt for every sequence, and prefill processes a chunk of all of
//! them at once.

pub(crate) mod activations;
pub mod allocator;
pub(crate) mod attention;
pub(crate) mod dequantization;
pub(crate) mod expert_modules;
pub(crate) mod experts;
pub(crate) mod forward_pass;
pub(crate) mod fragmentation;
pub(crate) mod gemm_4bit;
pub(crate) mod inputs;
pub(crate) mod keys_beside_window;
pub(crate) mod largest_instant;
pub(crate) mod logits;
pub(crate) mod placement;
pub(crate) mod query_norm;
mod rules;
pub(crate) mod weights;

use self::forward_pass::{ForwardPass, cached_window};
use self::largest_instant::Instant;
pub use self::rules::{FP8, Rules};
use crate::dtype::KvFormat;
use crate::estimate::kv_cache::Cells;
use crate::estimate::push_weights;
use crate::estimate::{
    Buffers, Component, Deviation, EstimateError, Formula, Kind, Life, Moment, Phase, Scenario,
    capture, kv_cache, overhead, vision,
};
use crate::spec::{Attention, Basis, Bounds, Capture};
use crate::units::Bytes;

/// Tokens that a quantized cache keeps in 16 bits until it quantizes them, at most
/// (`residual_length` 128 in `cache_utils.py`).
const RESIDUAL_TOKENS: u64 = 127;

/// Lists everything that the process holds.
pub fn push(buffers: &mut Buffers, scenario: &Scenario<'_>) -> Result<(), EstimateError> {
    push_weights(buffers, scenario);
    push_load(buffers, scenario);
    push_caches(buffers, scenario)?;
    let (system, full) = (scenario.workload.system_tokens, scenario.full_tokens()?);
    for (phase, rows, seen) in [
        (Phase::SystemPrefill, scenario.system_chunk(), system),
        (Phase::Prefill, scenario.chunk(), full),
        (Phase::Decode, 1, full),
    ] {
        step(buffers, scenario, pass_of(scenario, phase, rows, seen))?;
        if phase != Phase::Decode {
            vision::transformers(buffers, scenario, phase)?;
        }
    }
    if let Some(capture) = scenario.workload.capture {
        push_capture(buffers, scenario, capture, full)?;
    }
    overhead::push(buffers, scenario);
    fragmentation::push(buffers, scenario)
}

/// The last pass of a phase: `rows` tokens of every sequence, after which it has `seen` of them.
fn pass_of(scenario: &Scenario<'_>, phase: Phase, rows: u64, seen: u64) -> ForwardPass {
    ForwardPass { phase, rows, past: seen.saturating_sub(rows), sequences: scenario.workload.batch }
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

/// Tokens of a windowed layer once `tokens` were seen: a grown cache keeps one fewer than the window.
fn in_window(scenario: &Scenario<'_>, tokens: u64) -> u64 {
    let grown = u64::from(scenario.workload.grown_cache);
    let kept = cached_window(scenario).map_or(tokens, |window| tokens.min(window - grown));
    scenario.model.shape.window.map_or(0, |_| kept)
}

fn push_caches(buffers: &mut Buffers, scenario: &Scenario<'_>) -> Result<(), EstimateError> {
    let workload = &scenario.workload;
    let batch = workload.batch;
    let system = workload.system_tokens;
    let pinned = Cells { full: system, window: in_window(scenario, system) };
    let prompt = Component::SystemPromptCache;
    kv_cache::push(buffers, scenario, prompt, pinned, batch, Phase::SystemPrefill)?;
    // A pre-allocated conversation cache is there before the first chunk.
    let from = if workload.grown_cache { Phase::Prefill } else { Phase::SystemPrefill };
    // The window is one: the conversation has what the system prompt left of it.
    let window = in_window(scenario, scenario.full_tokens()?) - pinned.window;
    let slots = Cells { full: scenario.cache_tokens, window };
    kv_cache::push(buffers, scenario, Component::ConversationCache, slots, batch, from)?;
    kv_cache::push_recurrent(buffers, scenario, batch, from)?;
    push_residual(buffers, scenario)?;
    if workload.attention == Attention::Eager {
        // Eviction by attention mass is only possible where scores exist; one score per query head.
        kv_cache::push_scores(buffers, scenario, scenario.model.shape.n_heads, from)?;
    }
    Ok(())
}

/// What the last tokens of a quantized cache take beyond their quantized size while they are still
/// in 16 bits: nothing just after they were quantized, which is what a cache of so many tokens is
/// counted as, and up to 127 tokens just before.
fn push_residual(buffers: &mut Buffers, scenario: &Scenario<'_>) -> Result<(), EstimateError> {
    let quantized = matches!(scenario.kv, KvFormat::Hqq { .. } | KvFormat::Quanto { .. });
    if !quantized || !scenario.workload.grown_cache {
        return Ok(());
    }
    let kind = Kind {
        component: Component::ConversationCache,
        life: Life::From(Phase::Prefill),
        basis: Basis::Modelled,
        source: "transformers cache_utils.py: residual_length 128",
    };
    let shape = &scenario.model.shape;
    let tokens = RESIDUAL_TOKENS.min(scenario.cache_tokens);
    let more = kv_cache::layer_size(shape, KvFormat::Bf16, tokens)?
        .minus_or_zero(kv_cache::layer_size(shape, scenario.kv, tokens)?);
    let formula = Formula::product(&[
        ("layers", scenario.full_layers() + scenario.window_layers()),
        ("sequences", scenario.workload.batch),
        ("B more than quantized, at most (127 tokens)", more.get()),
    ]);
    let bounds = Bounds::new(Bytes::ZERO, Bytes::ZERO, formula.value()?);
    buffers.push(kind, "unquantized tail", bounds, formula);
    Ok(())
}

/// One forward pass, with what tracked passes differ by.
fn step(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    pass: ForwardPass,
) -> Result<(), EstimateError> {
    let first = buffers.0.len();
    push_pass(buffers, scenario, pass)?;
    for buffer in &mut buffers.0[first..] {
        buffer.size = Deviation::TRANSFORMERS_PASS.beyond(buffer.size)?;
    }
    Ok(())
}

fn push_pass(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    pass: ForwardPass,
) -> Result<(), EstimateError> {
    if pass.rows == 0 {
        return Ok(());
    }
    attention::push(buffers, scenario, pass)?;
    let again = Life::During(pass.phase, Moment::Conversion);
    attention::requantization(buffers, scenario, again, pass.seen()?)?;
    keys_beside_window::push(buffers, scenario, pass)?;
    inputs::push(buffers, scenario, pass)?;
    activations::push(buffers, scenario, pass)?;
    push_projections(buffers, scenario, pass)?;
    if !scenario.part().has_head {
        return Ok(());
    }
    logits::push(buffers, scenario, pass)
}

/// The linear layer, or the norm of what it gives, that holds most.
fn push_projections(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    pass: ForwardPass,
) -> Result<(), EstimateError> {
    let mut instants = dequantization::instants(scenario, pass)?;
    instants.push(query_norm::instant(scenario, pass)?);
    let kind = Kind {
        component: Component::Activations,
        life: Life::During(pass.phase, Moment::Projection),
        basis: Basis::Modelled,
        source: "bitsandbytes autograd/_functions.py, backends/cuda/ops.py; transformers modeling_*.py",
    };
    Ok(Instant::push_largest(instants, buffers, kind)?)
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
    step(buffers, &pass, pass_of(scenario, Phase::Capture, wanted.tokens, seen))?;
    capture::push(buffers, scenario, wanted, seen, 2)
}
