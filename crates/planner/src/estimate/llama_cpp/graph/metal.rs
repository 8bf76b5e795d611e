//! What Apple's backend works in, behind the results of operations (`ggml_backend_metal_buffer_type_get_alloc_size` in
//! `ggml-metal.cpp`, the sizes in `ggml-metal-ops.cpp`).

use super::GraphParams;
use super::attention::Cached;
use super::builder::Builder;
use super::tensors::Value;
use crate::dtype::KvFormat;
use crate::spec::Moe;
use crate::units::Bytes;

/// Rows of queries, and cells, of a block (`OP_FLASH_ATTN_EXT_NQPSG`, `OP_FLASH_ATTN_EXT_NCPSG`).
const BLOCK_ROWS: u64 = 8;
const BLOCK_CELLS: u64 = 64;
/// Workgroups of the vector kernel, and rows up to which room is made for it.
const WORKGROUPS: u64 = 32;
const VECTOR_ROWS: u64 = 32;
/// What the marks of blocks are rounded up to.
const MARKS: u64 = 32;

/// Where the room of fused attention ends, behind a result of `size` bytes: the last cells once more, marks of the
/// blocks that are masked, and the workgroups' parts of a result in f32.
pub(super) fn attention_end(
    size: u64,
    cached: Cached,
    (params, cells): (&GraphParams, u64),
) -> Option<u64> {
    let (streams, rows) = (params.streams, params.rows / params.streams);
    let of_cells = |kv: KvFormat, dim: u64| {
        let row = kv.size_of(1, dim.checked_mul(cached.kv_heads)?, 1).ok().map(Bytes::get)?;
        row.checked_mul(cached.kv_heads)?.checked_mul(streams)
    };
    let both = of_cells(params.type_k, cached.key_dim)?
        .checked_add(of_cells(params.type_v, cached.value_dim)?)?;
    let mask = rows.checked_mul(streams)?.checked_mul(2)?;
    let padding = both.checked_add(mask)?.checked_mul(BLOCK_CELLS)?;
    let marks = rows.div_ceil(BLOCK_ROWS).checked_mul(cells.div_ceil(BLOCK_CELLS))?;
    let marks = marks.checked_mul(streams)?.checked_next_multiple_of(MARKS)?;
    let vectors = rows.min(VECTOR_ROWS).checked_mul(cached.n_heads)?.checked_mul(streams)?;
    let of_vector = WORKGROUPS.checked_mul(4)?.checked_mul(cached.value_dim.checked_add(2)?)?;
    size.checked_add(padding)?.checked_add(marks)?.checked_add(vectors.checked_mul(of_vector)?)
}

impl Builder<'_> {
    /// A product with chosen experts counts each expert's tokens, and lists them.
    pub(super) fn work_by_expert(&mut self, product: Value, moe: Moe) {
        let lists = self.params.rows.saturating_add(1).saturating_mul(moe.n_experts);
        self.work_behind(product, lists.saturating_mul(4));
    }

    /// A sort has two buffers.
    pub(super) fn sort_beside(&mut self, sorted: Value) {
        let size = self.graph.size(sorted);
        self.work_behind(sorted, size);
    }

    fn work_behind(&mut self, result: Value, bytes: u64) {
        if self.params.metal {
            let size = self.graph.size(result);
            self.graph.extend(result, size.saturating_add(bytes));
        }
    }
}
