//! vramplan's engine: everything long-lived is allocated once, scratch lives in one arena.
//!
//! The pinned system prompt is shared by all sequences; each has its own conversation cache. Prefill
//! runs one sequence at a time, decode all of them together.

mod activations;
pub mod attention;
pub mod capabilities;
mod fragmentation;
mod logits;
mod rules;
mod tables;
pub(crate) mod weights;

pub use self::rules::Rules;
use crate::estimate::kv_cache::Cells;
use crate::estimate::push_weights;
use crate::estimate::{
    Buffers, Component, EstimateError, Life, Moment, Phase, Scenario, capture, kv_cache, overhead,
};
use crate::spec::{Attention, Capture};

/// Lists everything that the engine holds.
pub fn push(buffers: &mut Buffers, scenario: &Scenario<'_>) -> Result<(), EstimateError> {
    push_weights(buffers, scenario);
    push_caches(buffers, scenario)?;
    let batch = scenario.workload.batch;
    let rows = scenario.system_chunk().max(scenario.chunk()).max(batch);
    step(buffers, scenario, Phase::SystemPrefill, scenario.system_chunk(), 1)?;
    step(buffers, scenario, Phase::Prefill, scenario.chunk(), 1)?;
    step(buffers, scenario, Phase::Decode, batch, batch)?;
    if let Some(capture) = scenario.workload.capture {
        push_capture(buffers, scenario, capture)?;
    }
    activations::push_products(buffers, scenario, rows)?;
    tables::push(buffers, scenario, rows)?;
    overhead::push(buffers, scenario);
    fragmentation::push(buffers, scenario);
    Ok(())
}

/// Tokens that a layer of either kind holds for `tokens` tokens: a windowed layer needs its window
/// and the chunk that is being processed.
fn cells(scenario: &Scenario<'_>, tokens: u64) -> Cells {
    let window = scenario.model.shape.window.map_or(0, |window| window.size);
    let ring = window.saturating_add(scenario.workload.prefill_chunk);
    Cells { full: tokens, window: tokens.min(ring) }
}

fn push_caches(buffers: &mut Buffers, scenario: &Scenario<'_>) -> Result<(), EstimateError> {
    let workload = &scenario.workload;
    let from = Phase::SystemPrefill;
    let pinned = cells(scenario, workload.system_tokens);
    kv_cache::push(buffers, scenario, Component::SystemPromptCache, pinned, 1, from)?;
    let slots = cells(scenario, scenario.cache_tokens);
    let conversation = Component::ConversationCache;
    kv_cache::push(buffers, scenario, conversation, slots, workload.batch, from)?;
    kv_cache::push_recurrent(buffers, scenario, workload.batch, from)?;
    if workload.attention == Attention::Fused {
        let heads = scenario.model.shape.kv_heads;
        kv_cache::push_scores(buffers, scenario, heads, from)?;
    }
    Ok(())
}

/// One forward pass over `rows` tokens of `sequences` sequences.
fn step(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    phase: Phase,
    rows: u64,
    sequences: u64,
) -> Result<(), EstimateError> {
    if rows == 0 {
        return Ok(());
    }
    activations::push_layer(buffers, scenario, phase, rows)?;
    logits::push(buffers, scenario, phase, rows, sequences)?;
    let life = Life::During(phase, Moment::Attention);
    // The system prompt is pinned: its tokens are attended to, but never scored.
    let scored = scenario.workload.attention == Attention::Fused && phase != Phase::SystemPrefill;
    if phase == Phase::Decode {
        return attention::push_decode(buffers, scenario, life, scored);
    }
    attention::push_prefill(buffers, scenario, life, rows, scored)
}

fn push_capture(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    wanted: Capture,
) -> Result<(), EstimateError> {
    let seen = scenario.full_tokens()?;
    step(buffers, scenario, Phase::Capture, wanted.tokens, 1)?;
    capture::push(buffers, scenario, wanted, seen, 4)
}
