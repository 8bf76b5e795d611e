//! llama.cpp with its CUDA backend: one KV cache for all slots, one compute buffer for all moments.

use super::super::kv_cache::Cells;
use super::super::{
    Buffers, Component, EstimateError, Formula, Kind, Life, Moment, Phase, Scenario, fragmentation,
    kv_cache, overhead,
};
use super::push_weights;
use crate::spec::{Attention, Basis, Bounds, Logits};
use crate::units::{Bytes, Overflow};

/// What `n_ctx` is rounded up to (`llama-context.cpp`).
const CONTEXT_PADDING: u64 = 256;

/// Cells of the KV cache for `tokens` tokens.
pub fn padded_context(tokens: u64) -> Result<u64, Overflow> {
    tokens.checked_next_multiple_of(CONTEXT_PADDING).ok_or(Overflow)
}

/// Lists everything that the process holds.
pub fn push(buffers: &mut Buffers, scenario: &Scenario<'_>) -> Result<(), EstimateError> {
    push_weights(buffers, scenario);
    let n_ctx = padded_context(scenario.full_tokens()?.max(1))?;
    push_caches(buffers, scenario, n_ctx)?;
    push_compute(buffers, scenario, n_ctx)?;
    overhead::push(buffers, scenario)?;
    fragmentation::push(buffers, scenario)
}

/// The cache is one: the system prompt gets the cells that it fills, the conversation the rest.
fn push_caches(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    n_ctx: u64,
) -> Result<(), EstimateError> {
    let workload = &scenario.workload;
    let system = workload.system_tokens.min(n_ctx);
    let window = window_cells(scenario, n_ctx)?;
    let pinned = Cells { full: system, window: 0 };
    let rest = Cells { full: n_ctx - system, window };
    let (batch, from) = (workload.batch, Phase::SystemPrefill);
    kv_cache::push(buffers, scenario, Component::SystemPromptCache, pinned, batch, from)?;
    kv_cache::push(buffers, scenario, Component::ConversationCache, rest, batch, from)?;
    kv_cache::push_recurrent(buffers, scenario, batch, from)
}

/// Cells of the second cache for windowed layers: the window of every sequence and one micro-batch
/// (`llama-kv-cache-iswa.cpp`).
fn window_cells(scenario: &Scenario<'_>, n_ctx: u64) -> Result<u64, Overflow> {
    let Some(window) = scenario.model.shape.window else { return Ok(0) };
    let cells = window.size.checked_add(scenario.workload.prefill_chunk).ok_or(Overflow)?;
    Ok(padded_context(cells)?.min(n_ctx))
}

fn push_compute(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    n_ctx: u64,
) -> Result<(), EstimateError> {
    let shape = &scenario.model.shape;
    let ub = scenario.workload.prefill_chunk;
    let (h, kvd, v) = (shape.hidden_size, shape.kv_width(), shape.vocab_size);
    let f = super::super::activations::ffn_width(scenario);
    let phase = Phase::Prefill;
    let kind = |component, moment| Kind {
        component,
        life: Life::During(phase, moment),
        basis: Basis::Modelled,
        source: "llama.cpp graph of a micro-batch, placed by ggml-alloc",
    };
    let mut push =
        |component, moment, name, factors: &[(&'static str, u64)]| -> Result<(), Overflow> {
            let formula = Formula::product(factors);
            let size = Bounds::within(formula.value()?, 2, 4)?;
            buffers.push(kind(component, moment), name, size, formula);
            Ok(())
        };
    let rows = ("n_ubatch", ub);
    let mask = [rows, ("n_ctx", n_ctx), ("B", 2)];
    let flash = scenario.workload.attention == Attention::Flash;
    if flash {
        push(Component::SmallBuffers, Moment::FeedForward, "mask", &mask)?;
        push(
            Component::Activations,
            Moment::FeedForward,
            "MLP of one layer",
            &[rows, ("3 ffn + 3 hidden", 3 * f + 3 * h), ("B", 4)],
        )?;
    } else {
        let scores = [rows, ("n_ctx", n_ctx), ("n_heads", shape.n_heads), ("B", 4)];
        push(Component::AttentionTransients, Moment::Attention, "scores of one layer", &scores)?;
        push(
            Component::SmallBuffers,
            Moment::Attention,
            "mask",
            &[rows, ("n_ctx", n_ctx), ("B", 4)],
        )?;
        push(
            Component::Activations,
            Moment::Attention,
            "queries, keys, values and residual",
            &[rows, ("4 hidden + 2 kv_width", 4 * h + 2 * kvd), ("B", 4)],
        )?;
    }
    if scenario.workload.logits == Logits::All {
        push(Component::Logits, Moment::Output, "logits", &[rows, ("vocab_size", v), ("B", 4)])?;
        push(
            Component::Activations,
            Moment::Output,
            "last hidden state",
            &[rows, ("hidden", h), ("B", 4)],
        )?;
    }
    let _ = Bytes::ZERO;
    Ok(())
}
