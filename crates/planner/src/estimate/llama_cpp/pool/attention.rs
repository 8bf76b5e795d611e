//! What attention takes of the pool.
//!
//! Where scores are computed (`-fa off`), cuBLAS multiplies values in 16 bits by scores in 32: the backend converts all
//! scores of a layer into its pool first, and the products back from there (`ggml_cuda_mul_mat_cublas` in
//! `ggml-cuda.cu`). Builds that do not plan the 16-bit copies of a quantized cache with the compute buffer take those
//! from the pool as well.

use super::{AMPERE, SLOW_HALF, TURING, VOLTA};
use crate::dtype::KvFormat;
use crate::estimate::Scenario;
use crate::estimate::llama_cpp::graph::GraphParams;
use crate::spec::{Home, Layer};
use crate::units::{Bytes, Overflow};

/// Cells by which the part of the cache grows that is attended to (`get_padding` in `llama-kv-cache.cpp`).
const CELLS: u64 = 256;
/// Elements to which a row in 8 bits is padded.
const EIGHT_BIT_ROW: u64 = 512;
/// Rows from which on a GPU takes over products of weights in main memory (`op_offload_min_batch_size`).
const LARGE_BATCH: u64 = 32;
/// Micro-batches of a prompt that are followed at most.
const MICRO_BATCHES: u64 = 2048;

/// Heads of a layer that attends.
#[derive(Clone, Copy)]
struct Heads {
    cells: u64,
    queries: u64,
    keys: u64,
    key: u64,
    value: u64,
}

/// The layers whose attention a GPU computes.
pub(super) struct Layers<'a> {
    scenario: &'a Scenario<'a>,
    graph: &'a GraphParams,
}

impl<'a> Layers<'a> {
    /// Those of a GPU; none where attention takes nothing: one row of scores is multiplied by a kernel that needs no
    /// copies.
    pub(super) fn of(scenario: &'a Scenario<'_>, graph: &'a GraphParams) -> Option<Self> {
        (graph.rows > graph.streams).then_some(Self { scenario, graph })
    }

    /// The largest sum of layers that are here and, where asked, of others' that the GPU may take over.
    ///
    /// # Errors
    /// On sizes that no device has.
    pub(super) fn largest(&self, cells_unused: u64, reach: Reach) -> Result<Bytes, Overflow> {
        let mut largest = Bytes::ZERO;
        for heads in heads(self.scenario, self.graph, reach) {
            let cells = heads.cells.saturating_sub(cells_unused).max(heads.cells / 2);
            for product in products(self.graph, Heads { cells, ..heads }, self.scenario)? {
                largest = largest.max(Bytes::sum(product)?);
            }
        }
        Ok(largest)
    }

    /// What the layer that takes most asks for while a prompt fills the cache, in the order in which it asks: a product
    /// of the micro-batch that ends at so many cells.
    pub(super) fn of_prompt(&self) -> Result<Vec<Vec<Bytes>>, Overflow> {
        let at_once = heads(self.scenario, self.graph, Reach::Offloaded)
            .max_by_key(|heads| (heads.cells, heads.queries));
        let Some(heads) = at_once else { return Ok(Vec::new()) };
        let step = (self.graph.rows / self.graph.streams.max(1)).max(heads.cells / MICRO_BATCHES);
        let mut asked = Vec::new();
        let mut tokens = 0;
        while tokens < heads.cells {
            tokens = tokens.saturating_add(step.max(1));
            let cells = tokens.next_multiple_of(CELLS).min(heads.cells);
            asked.extend(products(self.graph, Heads { cells, ..heads }, self.scenario)?);
        }
        Ok(asked)
    }
}

/// Parts of a micro-batch's cells that blocks of a card without tensor cores work on side by side
/// (`parallel_blocks` in `fattn-common.cuh`): as many as a multiprocessor holds blocks, by the registers of its kernels, and one
/// more where that leaves less of the last wave of blocks empty.
const SIDE_BY_SIDE: u64 = 4 + 1;

/// What fused attention adds up of such parts, at most.
pub(super) fn partial_results(
    scenario: &Scenario<'_>,
    graph: &GraphParams,
) -> Result<Bytes, Overflow> {
    if !graph.flash || scenario.gpu.compute_capability >= VOLTA {
        return Ok(Bytes::ZERO);
    }
    let mut most = Bytes::ZERO;
    for heads in heads(scenario, graph, Reach::Offloaded) {
        let of_head = heads.value.checked_mul(4).and_then(|n| n.checked_add(8)).ok_or(Overflow)?;
        most = most.max(Bytes::product(&[SIDE_BY_SIDE, graph.rows, heads.queries, of_head])?);
    }
    Ok(most)
}

/// Which layers are meant.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Those whose cache the GPU has.
    Own,
    /// Those of main memory, too, whose products the first GPU takes over where a batch is large: what lies between
    /// them goes with them.
    Offloaded,
}

/// The heads of every layer whose attention this GPU computes.
fn heads<'a>(
    scenario: &'a Scenario<'_>,
    graph: &'a GraphParams,
    reach: Reach,
) -> impl Iterator<Item = Heads> + 'a {
    let (model, part) = (scenario.model, scenario.part());
    let launch = &scenario.runtime.launch;
    let takes_over = reach == Reach::Offloaded
        && launch.offloads_operations
        && launch.offloads_cache
        && graph.rows >= LARGE_BATCH
        && part.index == 0;
    let is_here = move |index: u64| match &part.placed {
        Some(placed) => {
            let home = placed.cache_of(index);
            home != Home::Host && home == part.home() || home == Home::Host && takes_over
        }
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

/// What the products of one layer's attention take, each at once.
fn products(
    graph: &GraphParams,
    heads: Heads,
    scenario: &Scenario<'_>,
) -> Result<Vec<Vec<Bytes>>, Overflow> {
    let Heads { cells, queries: n_heads, keys: kv_heads, key, value } = heads;
    let side = |dim: u64, width: u64| Bytes::product(&[cells, graph.streams, kv_heads, dim, width]);
    if graph.flash {
        let copied = |kv: KvFormat| matches!(kv, KvFormat::Ggml(_) | KvFormat::Bf16);
        let of = |kv, dim| if copied(kv) { side(dim, 2) } else { Ok(Bytes::ZERO) };
        let both = vec![of(graph.type_k, key)?, of(graph.type_v, value)?];
        return Ok(if graph.version.plans_fusions() { Vec::new() } else { vec![both] });
    }
    let cc = scenario.gpu.compute_capability;
    // Keys are multiplied in single precision; quantized ones, but on Volta, as they are by queries in 8 bits.
    let keys = match graph.type_k {
        KvFormat::F32 => Bytes::ZERO,
        KvFormat::Ggml(_) if cc >= TURING || cc == SLOW_HALF => {
            let padded = key.checked_next_multiple_of(EIGHT_BIT_ROW).ok_or(Overflow)?;
            Bytes::product(&[n_heads, graph.rows, padded])?.scale(9, 8)?
        }
        _ => side(key, 4)?,
    };
    let scores = Bytes::product(&[cells, graph.rows, n_heads, 2])?;
    let products = Bytes::product(&[value, graph.rows, n_heads, 2])?;
    let values = match graph.type_v {
        KvFormat::F32 => vec![],
        KvFormat::Bf16 if cc < AMPERE => vec![side(value, 4)?],
        KvFormat::Bf16 => vec![scores],
        _ if cc == SLOW_HALF => vec![side(value, 4)?],
        _ if cc == VOLTA => vec![scores],
        _ => vec![scores, products],
    };
    // Lists of addresses, one a head.
    let addresses = Bytes::product(&[n_heads, graph.streams, 24])?;
    let with_addresses = |mut taken: Vec<Bytes>| {
        taken.push(addresses);
        taken
    };
    Ok(vec![with_addresses(vec![keys]), with_addresses(values)])
}
