//! What a step of DeepSeek-V4 takes under vLLM beside what layers of all models do: room for keys that are read back from
//! their 8 bits, scores of the indexer, tables of which compressed keys a token reads, and queries that are padded to heads that
//! kernels read.
//!
//! Sources: vLLM 0.33 `models/deepseek_v4/nvidia/flashmla.py` (`forward_mqa`, the room that a profile run reserves),
//! `model_executor/layers/sparse_attn_indexer.py`, `models/deepseek_v4/sparse_mla.py`
//! (`DeepseekV4SparseMLAMetadataBuilder`), `v1/attention/backends/mla/indexer.py` (`get_max_prefill_buffer_size`).

use std::collections::BTreeSet;

use crate::estimate::serving::tensors::PADDED_HEADS;
use crate::estimate::{
    BufferId, Buffers, Component, EstimateError, Formula, Kind, Life, Moment, Phase, Scenario,
};
use crate::spec::{Basis, Bounds, ModelShape, Serving};
use crate::units::{Bytes, Overflow};

/// Requests whose keys are read back at once (`PREFILL_CHUNK_SIZE`).
const REQUESTS: u64 = 4;
/// Tokens that share a key, where that is little and much.
const LITTLE: u64 = 4;
const MUCH: u64 = 128;
/// Contexts of indexer's keys that are gathered at once: `576 · 2 / 132` times the factor that attention's have, which is less
/// for contexts beyond so many tokens (`sparse_mla_prefill_workspace_factor`).
const GATHERED: u64 = 8 * 5;
const GATHERED_OF_LONG: u64 = 8 * 2;
const LONG: u64 = 256 << 10;
/// An indexer's key as it is gathered, with its scale.
const INDEX_KEY: u64 = 132;
/// Scores of the indexer at once (`VLLM_SPARSE_INDEXER_MAX_LOGITS_MB`).
const SCORES: Bytes = Bytes::new(512 << 20);
/// Compressed keys that a token reads where an indexer chooses them: of the published models the smaller's, and the larger's.
const CHOSEN: [u64; 2] = [512, 1024];

/// Elements of a head that are rotated (`qk_rope_head_dim`).
const ROTATED: u64 = 64;

const fn kind(component: Component, life: Life, source: &str) -> Kind<'_> {
    Kind { component, life, basis: Basis::Modelled, source }
}

/// Lists what the profile run sees.
///
/// # Errors
/// On sizes that no device has.
pub fn push(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    serving: Serving,
) -> Result<(), EstimateError> {
    let shape = &scenario.model.shape;
    if shape.extras.compressed.is_none() {
        return Ok(());
    }
    let rows = scenario.workload.prefill_chunk;
    push_room(buffers, scenario, serving)?;
    let source = "vLLM sparse_attn_indexer.py, the dummy allocation of a profile run";
    let scores =
        kind(Component::Activations, Life::During(Phase::Prefill, Moment::Attention), source);
    let formula = Formula::text("VLLM_SPARSE_INDEXER_MAX_LOGITS_MB", &[]);
    buffers.push(scores, "an indexer's scores", Bounds::exactly(SCORES), formula);
    let source = "vLLM deepseek_v4/nvidia/model.py, topk_indices_buffer";
    let chosen = kind(Component::SmallBuffers, Life::From(Phase::Load), source);
    let [few, many] = CHOSEN.map(|chosen| Bytes::product(&[rows, chosen, 4]));
    let (few, many) = (few?, many?);
    let formula = Formula::text("4 B · tokens · keys of a token", &[("tokens", rows)]);
    buffers.push(chosen, "keys that an indexer chose", Bounds::new(few, few, many), formula);
    Ok(())
}

/// One room for all layers: for keys of a few requests, read back to 16 bits, or the indexer's, gathered. Experts work in the
/// same one.
fn push_room(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    serving: Serving,
) -> Result<(), EstimateError> {
    let (shape, rows) = (&scenario.model.shape, scenario.workload.prefill_chunk);
    let longest = longest(scenario);
    let window = shape.window.map_or(MUCH, |window| window.size);
    let keys = longest.div_ceil(LITTLE).saturating_add(window).saturating_add(rows);
    let read_back = Bytes::product(&[REQUESTS, keys, shape.head_dim, 2])?;
    let is_spared = longest > LONG && serving.version.spares_long_contexts();
    let times = if is_spared { GATHERED_OF_LONG } else { GATHERED };
    let gathered = Bytes::product(&[longest, times, INDEX_KEY])?.scale(1, LITTLE)?;
    let experts = buffers.0.iter().filter(|buffer| buffer.id == BufferId::ExpertWorkspaces);
    let experts = Bytes::sum(experts.map(|buffer| buffer.size.expected))?;
    let more = read_back.max(gathered).minus_or_zero(experts);
    let source = "vLLM deepseek_v4/nvidia/flashmla.py and sparse_attn_indexer.py, one workspace with the experts'";
    let kind = kind(Component::Activations, Life::From(Phase::SystemPrefill), source);
    let values = [
        ("longest", longest),
        ("tokens", rows),
        ("contexts", times),
        ("experts' B", experts.get()),
    ];
    let text = "max(4 · (longest / 4 + window + tokens) · head · 2 B, contexts / 4 · longest · 132 B) − experts'";
    let formula = Formula::text(text, &values);
    buffers.push(kind, "room for keys that are read", Bounds::exactly(more), formula);
    Ok(())
}

/// Lists tables of sines and cosines in f32: one for layers with compressed keys, and one for those without.
///
/// # Errors
/// On sizes that no device has.
pub fn push_rope(buffers: &mut Buffers, scenario: &Scenario<'_>) -> Result<(), EstimateError> {
    let shape = &scenario.model.shape;
    let Some(compressed) = &shape.extras.compressed else { return Ok(()) };
    let own = scenario.indexed_layers();
    let kinds: BTreeSet<_> = own.map(|(index, _)| compressed.ratio(index).is_some()).collect();
    let source = "vLLM deepseek_v4/common/rope.py, cos_sin_cache of every kind of layers";
    let kind = kind(Component::SmallBuffers, Life::From(Phase::Load), source);
    let positions = shape.context_len.max(scenario.workload.context);
    let tables = kinds.len() as u64;
    let factors = [("tables", tables), ("positions", positions), ("width", ROTATED), ("B", 4)];
    buffers.product(kind, BufferId::RotaryTables, &factors)?;
    Ok(())
}

/// The longest context that is served.
fn longest(scenario: &Scenario<'_>) -> u64 {
    let serving = scenario.runtime.options.serving();
    let asked = serving.and_then(|serving: Serving| serving.max_model_len);
    asked.unwrap_or(scenario.workload.context)
}

/// Lists what comes when the pool is there: which of the keys of much context every token of a step reads.
///
/// # Errors
/// On sizes that no device has.
pub fn push_tables(buffers: &mut Buffers, scenario: &Scenario<'_>) -> Result<(), EstimateError> {
    let Some(compressed) = &scenario.model.shape.extras.compressed else { return Ok(()) };
    let mut own = scenario.indexed_layers().map(|(index, _)| compressed.ratio(index));
    if !own.any(|ratio| ratio == Some(MUCH)) {
        return Ok(());
    }
    let keys = longest(scenario).div_ceil(MUCH).checked_next_multiple_of(MUCH).ok_or(Overflow)?;
    let source =
        "vLLM deepseek_v4/sparse_mla.py, c128a_global_decode_buffer and c128a_prefill_buffer";
    let kind = kind(Component::SmallBuffers, Life::From(Phase::SystemPrefill), source);
    let rows = scenario.workload.prefill_chunk;
    let factors = [("tables", 2), ("tokens", rows), ("keys of a token", keys), ("B", 4)];
    buffers.product(kind, "tables of compressed keys", &factors)?;
    Ok(())
}

/// Elements that attention holds for a token on one rank: queries and its output, of as many heads as kernels read, queries
/// before they are padded, and what it compresses, in f32.
pub fn attention_width(shape: &ModelShape, ranks: u64) -> u64 {
    let Some(compressed) = &shape.extras.compressed else { return 0 };
    let heads = shape.n_heads.div_ceil(ranks.max(1));
    let padded = heads.next_multiple_of(PADDED_HEADS);
    let queries = if heads < padded { 2 * padded + heads } else { 2 * padded };
    let index_head = shape.extras.indexer.as_ref().map_or(0, |indexer| indexer.head_dim);
    // Keys and weights of two windows, each of 4 B.
    let compressing = 2 * 4 * (shape.head_dim + index_head);
    queries * shape.head_dim + compressed.q_lora_rank + shape.head_dim + compressing
}

/// Elements of residual streams for a token: before a layer and behind it.
pub const fn streams_width(shape: &ModelShape) -> u64 {
    match shape.extras.streams {
        Some(streams) => 2 * streams * shape.hidden_size,
        None => 0,
    }
}
