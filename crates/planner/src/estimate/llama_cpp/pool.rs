//! What attention takes of the CUDA backend's memory pool, beside the compute buffer.
//!
//! Where scores are computed (`-fa off`), cuBLAS multiplies values in 16 bits by scores in 32: the backend converts all
//! scores of a layer into its pool first, and the products back from there (`ggml_cuda_mul_mat_cublas` in
//! `ggml-cuda.cu`). Builds that do not plan the 16-bit copies of a quantized cache with the compute buffer take those
//! from the pool as well. The pool of a card with virtual memory management grows to the largest sum and keeps it.

use super::graph::{Context, GraphParams};
use crate::dtype::KvFormat;
use crate::estimate::{
    BufferId, Buffers, Component, EstimateError, Formula, Kind, Life, Phase, Scenario,
};
use crate::spec::{Basis, Bounds, ComputeCapability, Home, Layer};
use crate::units::{Bytes, Overflow};

/// Steps in which the pool grows.
const GRANULE: Bytes = Bytes::new(2 << 20);

/// Results of 16-bit products are written in 32 bits here, without a copy.
const VOLTA: ComputeCapability = ComputeCapability { major: 7, minor: 0 };
/// The first that multiplies in bfloat16.
const AMPERE: ComputeCapability = ComputeCapability { major: 8, minor: 0 };
/// It multiplies in 16 bits no faster than in 32, so that values are converted instead of scores.
const SLOW_HALF: ComputeCapability = ComputeCapability { major: 6, minor: 1 };

const SOURCE: &str = "llama.cpp ggml-cuda.cu, ggml_cuda_mul_mat_cublas: the operands of a batched product in another \
    type, in steps of 2 MiB; a virtual RTX 4090 shows 998 MiB at 32,768 cells of Llama 3.1 8B";

/// Heads of a layer that attends.
#[derive(Clone, Copy)]
struct Heads {
    cells: u64,
    queries: u64,
    keys: u64,
    key: u64,
    value: u64,
}

/// Lists it, on a GPU.
pub(super) fn push(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    context: &Context,
) -> Result<(), EstimateError> {
    let graph = &context.graph;
    if scenario.gpu.is_main_memory() || !takes_pool(graph) {
        return Ok(());
    }
    let largest = |cells_unused: u64| -> Result<Bytes, Overflow> {
        let mut largest = Bytes::ZERO;
        for heads in heads(scenario, graph) {
            let cells = heads.cells.saturating_sub(cells_unused).max(heads.cells / 2);
            largest = largest.max(of_layer(graph, Heads { cells, ..heads }, scenario)?);
        }
        largest.round_up(GRANULE)
    };
    let all = largest(0)?;
    if all == Bytes::ZERO {
        return Ok(());
    }
    // A prompt ends within a micro-batch, and the largest whole one before that.
    let low = largest(graph.rows.saturating_mul(2))?;
    let kind = Kind {
        component: Component::RuntimeOverhead,
        life: Life::From(Phase::SystemPrefill),
        basis: Basis::Modelled,
        source: SOURCE,
    };
    let values = [("n_ubatch", graph.rows), ("cells", graph.cells)];
    let text = "the largest layer's scores in 16 bits, or the cache's copies, and their product";
    let bounds = Bounds::new(low, all, all.plus(GRANULE)?);
    buffers.push(kind, BufferId::AttentionPool, bounds, Formula::text(text, &values));
    Ok(())
}

/// Whether attention takes any: one row of scores is multiplied by a kernel that needs no copies.
const fn takes_pool(graph: &GraphParams) -> bool {
    graph.rows > graph.streams
}

/// The heads of every layer whose attention this GPU computes.
fn heads<'a>(
    scenario: &'a Scenario<'_>,
    graph: &'a GraphParams,
) -> impl Iterator<Item = Heads> + 'a {
    let (model, part) = (scenario.model, scenario.part());
    let is_here = move |index: u64| match &part.placed {
        Some(placed) => placed.cache_of(index) == part.home() && part.home() != Home::Host,
        None => part.layers.contains(&index),
    };
    let window = graph.window_cells.unwrap_or(graph.cells);
    (0..).zip(&model.gguf_layers).filter_map(move |(index, layer)| {
        let cells = match layer {
            Layer::Full | Layer::FullAndRecurrent => graph.cells,
            Layer::Window { .. } => window,
            Layer::Nothing | Layer::Recurrent => return None,
        };
        is_here(index).then(|| heads_of(scenario, index, cells))
    })
}

fn heads_of(scenario: &Scenario<'_>, index: u64, cells: u64) -> Heads {
    let shape = &scenario.model.shape;
    let layer = shape.layer(index);
    let at = usize::try_from(index).unwrap_or(usize::MAX);
    let file = scenario.model.file_caches.as_ref();
    if let Some(kept) = file.and_then(|file| file.layers.get(at)) {
        let kv_heads = if kept.values == 0 { 1 } else { kept.keys / kept.key_head.max(1) };
        let (key, value) = (kept.key_head, kept.value_head);
        return Heads { cells, queries: layer.n_heads, keys: kv_heads, key, value };
    }
    match shape.mla {
        Some(mla) if mla.expanded => {
            let key = mla.qk_nope_head_dim.saturating_add(mla.qk_rope_head_dim);
            let n_heads = shape.n_heads;
            Heads { cells, queries: n_heads, keys: n_heads, key, value: mla.v_head_dim }
        }
        Some(mla) => {
            let key = mla.kv_lora_rank.saturating_add(mla.qk_rope_head_dim);
            Heads { cells, queries: shape.n_heads, keys: 1, key, value: mla.kv_lora_rank }
        }
        None => Heads {
            cells,
            queries: layer.n_heads,
            keys: layer.kv_heads,
            key: layer.head_dim,
            value: layer.head_dim,
        },
    }
}

/// What the attention of one layer takes at most.
fn of_layer(graph: &GraphParams, heads: Heads, scenario: &Scenario<'_>) -> Result<Bytes, Overflow> {
    let Heads { cells, queries: n_heads, keys: kv_heads, key, value } = heads;
    let side = |dim: u64, width: u64| Bytes::product(&[cells, graph.streams, kv_heads, dim, width]);
    if graph.flash {
        let copied = |kv: KvFormat| matches!(kv, KvFormat::Ggml(_) | KvFormat::Bf16);
        let of = |kv, dim| if copied(kv) { side(dim, 2) } else { Ok(Bytes::ZERO) };
        let both = of(graph.type_k, key)?.plus(of(graph.type_v, value)?)?;
        return Ok(if graph.version.plans_fusions() { Bytes::ZERO } else { both });
    }
    // Keys are multiplied in single precision.
    let keys = if graph.type_k == KvFormat::F32 { Bytes::ZERO } else { side(key, 4)? };
    let scores = Bytes::product(&[cells, graph.rows, n_heads, 2])?;
    let products = Bytes::product(&[value, graph.rows, n_heads, 2])?;
    let cc = scenario.gpu.compute_capability;
    let values = match graph.type_v {
        KvFormat::F32 => Bytes::ZERO,
        KvFormat::Bf16 if cc < AMPERE => side(value, 4)?,
        KvFormat::Bf16 => scores,
        _ if cc == SLOW_HALF => side(value, 4)?,
        _ if cc == VOLTA => scores,
        _ => scores.plus(products)?,
    };
    // Lists of addresses, one a head.
    keys.max(values).plus(Bytes::product(&[n_heads, graph.streams, 24])?)
}
