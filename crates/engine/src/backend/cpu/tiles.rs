//! How a product with a matrix is divided among threads.

use rayon::prelude::*;

/// Rows of activations that a thread takes at once: they stay in the first cache while the matrix
/// passes.
const TILE_ROWS: usize = 16;

/// A matrix, `per_row` items a row, and rows of activations, `blocks` blocks each.
pub(super) struct Product<'a, M, Q> {
    pub(super) matrix: &'a [M],
    pub(super) per_row: usize,
    pub(super) quantized: &'a [Q],
    pub(super) blocks: usize,
}

impl<M: Sync, Q: Sync> Product<'_, M, Q> {
    /// Has `tile` write a row of products for each row of activations: with parts of the matrix where
    /// there is one row, with some of the rows otherwise.
    pub(super) fn spread(&self, out: &mut [f32], tile: impl Fn(&[M], &[Q], &mut [f32]) + Sync) {
        let rows = self.quantized.len() / self.blocks;
        let tasks = 4 * rayon::current_num_threads();
        if rows == 1 {
            let part = out.len().div_ceil(tasks).max(1);
            let parts = out.par_chunks_mut(part).zip(self.matrix.par_chunks(part * self.per_row));
            return parts.for_each(|(out, matrix)| tile(matrix, self.quantized, out));
        }
        let columns = out.len() / rows.max(1);
        let tile_rows = rows.div_ceil(tasks).clamp(1, TILE_ROWS);
        let tiles = out.par_chunks_mut((tile_rows * columns).max(1));
        let quantized = self.quantized.par_chunks(tile_rows * self.blocks);
        tiles.zip(quantized).for_each(|(out, quantized)| tile(self.matrix, quantized, out));
    }
}
