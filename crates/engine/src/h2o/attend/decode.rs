//! Attention of one token: the cache is split, each part is attended to by itself, and the parts are
//! combined. The probabilities of conversation slots are kept for the score update.
//!
//! Splits depend on the number of tokens alone: the number of threads changes no bit of the result.

use std::ops::Range;

use rayon::prelude::*;

use super::super::policy::LANES;
use super::super::store::{Pinned, Rows};
use super::super::{Heads, Policy};
use super::kernels::{MAX_HEADS, TileRows};
use super::math::exp;
use super::simd::{add_scores, attend_tile};
use super::{TILE, divide};

/// Parts into which the cache is split, at most.
pub const MAX_SPLITS: usize = 33;
/// Tiles of a split, at least: less is not worth a task.
const MIN_TILES: usize = 16;

/// One token's attention.
#[derive(Clone, Copy, Debug)]
pub struct Decode<'a> {
    /// The layer's heads.
    pub heads: Heads,
    /// The system prompt.
    pub pinned: Pinned<'a>,
    /// The sequence's slots.
    pub slots: Rows<'a>,
    /// Which slots are live: `Step::live`.
    pub live: &'a [Range<usize>; 2],
}

/// What the parts leave behind, all of it scratch.
#[derive(Debug)]
pub struct Work<'s> {
    /// The queries times λ / √`head_dim`, `[kv_heads, head_dim / 8, gqa_group, 8]`, larger groups in
    /// pieces of 8 heads.
    pub queries: &'s mut [f32],
    /// `exp(logit − top)`, `[kv_heads, tiles, gqa_group, TILE]`: the filled slots' tiles, then the
    /// ring's.
    pub probabilities: &'s mut [f32],
    /// The largest logit of a tile, `[kv_heads, tiles, gqa_group]`; once scored, the factor that makes
    /// probabilities of a tile's `exp(logit − top)`.
    pub tops: &'s mut [f32],
    /// Unnormalized output, maximum and sum of each split, `[kv_heads, MAX_SPLITS, gqa_group,
    /// head_dim + 2]`.
    pub partials: &'s mut [f32],
    /// Maximum and sum over all splits, `[query_heads, 2]`.
    pub norms: &'s mut [f32],
}

/// Tiles of the conversation slots, at most.
fn slot_tiles(policy: &Policy) -> usize {
    policy.ring_start().div_ceil(TILE) + policy.recent_window().div_ceil(TILE)
}

/// The lengths of `Work`'s slices.
fn lengths(heads: Heads, policy: &Policy) -> [usize; 5] {
    let tops = heads.query_heads() * slot_tiles(policy);
    let partials = heads.query_heads() * MAX_SPLITS * (heads.head_dim() + 2);
    [heads.query_width(), tops * TILE, tops, partials, 2 * heads.query_heads()]
}

/// Floats of scratch that decode takes.
pub fn scratch_len(heads: Heads, policy: &Policy) -> usize {
    lengths(heads, policy).iter().sum::<usize>() + heads.head_dim()
}

impl<'s> Work<'s> {
    /// Divides `scratch_len` floats.
    ///
    /// # Panics
    /// When there are fewer.
    pub fn new(heads: Heads, policy: &Policy, scratch: &'s mut [f32]) -> Self {
        let lengths = lengths(heads, policy);
        let [queries, probabilities, tops, partials, norms] = divide(scratch, lengths);
        Self { queries, probabilities, tops, partials, norms }
    }
}

/// Multiplies queries `[query_heads, head_dim]` by λ / √`head_dim` and orders them for the kernels.
pub fn prepare_queries(heads: Heads, queries: &[f32], smoothing: &[f32], out: &mut [f32]) {
    let (dim, group) = (heads.head_dim(), heads.gqa_group());
    let scale = 1.0 / root(dim);
    let per_head = queries.chunks_exact(group * dim).zip(smoothing.chunks_exact(dim));
    for ((queries, factors), out) in per_head.zip(out.chunks_exact_mut(group * dim)) {
        let pieces = queries.chunks(MAX_HEADS * dim).zip(out.chunks_mut(MAX_HEADS * dim));
        for (queries, out) in pieces {
            let count = queries.len() / dim;
            for (at, out) in out.iter_mut().enumerate() {
                let (chunk, lane) = (at / (count * LANES), at % LANES);
                let (head, element) = (at / LANES % count, chunk * LANES + lane);
                *out = queries[head * dim + element] * factors[element] * scale;
            }
        }
    }
}

/// √`head_dim`.
#[allow(clippy::cast_precision_loss, reason = "at most 4096")]
pub fn root(head_dim: usize) -> f32 {
    (head_dim as f32).sqrt()
}

/// Rows that are attended to, cut into tiles.
#[derive(Clone, Copy)]
struct Region<'a> {
    rows: Rows<'a>,
    runs: &'a [Range<usize>; 2],
}

impl Region<'_> {
    fn tiles(&self) -> usize {
        self.runs.iter().map(|run| run.len().div_ceil(TILE)).sum()
    }

    fn tile(&self, index: usize) -> Range<usize> {
        tile(self.runs, index)
    }
}

/// The rows of tile `index`: tiles of the first run come first.
pub fn tile(runs: &[Range<usize>; 2], index: usize) -> Range<usize> {
    let [first, second] = runs;
    let before = first.len().div_ceil(TILE);
    let (run, index) = if index < before { (first, index) } else { (second, index - before) };
    let start = run.start + index * TILE;
    start..run.end.min(start + TILE)
}

impl Decode<'_> {
    /// Splits of the pinned region and of the slots, and tiles of each.
    fn splits(&self) -> Splits {
        let pinned = self.pinned.len.div_ceil(TILE);
        let slots = self.live.iter().map(|run| run.len().div_ceil(TILE)).sum::<usize>();
        let tiles = (pinned + slots).div_ceil(MAX_SPLITS - 2).max(MIN_TILES);
        Splits { pinned: pinned.div_ceil(tiles), slots: slots.div_ceil(tiles), tiles }
    }

    /// Attends to each part of the cache by itself.
    pub fn split(&self, work: &mut Work<'_>) {
        self.by_head(work).for_each(|(head, mut work)| self.split_head(head, &mut work));
    }

    /// Combines the parts into the output, `[query_heads, head_dim]`.
    pub fn combine(&self, work: &mut Work<'_>, output: &mut [f32]) {
        let width = self.heads.gqa_group() * self.heads.head_dim();
        let heads = self.by_head(work).zip(output.par_chunks_exact_mut(width));
        heads.for_each(|((_, mut work), output)| self.combine_head(&mut work, output));
    }

    /// Adds each slot's probabilities to its score after multiplying it by `decay`.
    pub fn score(&self, work: &mut Work<'_>, decay: f32, scores: &mut [f32]) {
        let capacity = scores.len() / self.heads.kv_heads();
        let heads = self.by_head(work).zip(scores.par_chunks_exact_mut(capacity));
        heads.for_each(|((_, mut work), scores)| self.score_head(&mut work, decay, scores));
    }

    /// All three, head by head.
    pub fn attend(&self, work: &mut Work<'_>, output: &mut [f32], decay: f32, scores: &mut [f32]) {
        let width = self.heads.gqa_group() * self.heads.head_dim();
        let capacity = scores.len() / self.heads.kv_heads();
        let outputs = output.par_chunks_exact_mut(width);
        let heads = self.by_head(work).zip(outputs).zip(scores.par_chunks_exact_mut(capacity));
        heads.for_each(|(((head, mut work), output), scores)| {
            self.split_head(head, &mut work);
            self.combine_head(&mut work, output);
            self.score_head(&mut work, decay, scores);
        });
    }

    /// Each key head's part of the scratch.
    fn by_head<'w>(
        &self,
        work: &'w mut Work<'_>,
    ) -> impl IndexedParallelIterator<Item = (usize, HeadWork<'w>)> {
        let (heads, group) = (self.heads.kv_heads(), self.heads.gqa_group());
        let tops = work.tops.len() / heads;
        let partials = group * MAX_SPLITS * (self.heads.head_dim() + 2);
        let queries = work.queries.par_chunks_exact(group * self.heads.head_dim());
        let probabilities = work.probabilities.par_chunks_exact_mut(tops * TILE);
        queries
            .zip(probabilities)
            .zip(work.tops.par_chunks_exact_mut(tops))
            .zip(work.partials.par_chunks_exact_mut(partials))
            .zip(work.norms.par_chunks_exact_mut(2 * group))
            .enumerate()
            .map(|(head, ((((queries, probabilities), tops), partials), norms))| {
                (head, HeadWork { queries, probabilities, tops, partials, norms })
            })
    }

    fn split_head(&self, head: usize, work: &mut HeadWork<'_>) {
        let (group, width) = (self.heads.gqa_group(), self.heads.head_dim() + 2);
        let splits = self.splits();
        let queries = work.queries;
        let pinned_runs = [0..self.pinned.len, 0..0];
        let pinned = Region { rows: self.pinned.rows.head(self.heads, head), runs: &pinned_runs };
        let slots = Region { rows: self.slots.head(self.heads, head), runs: self.live };
        let (unscored, scored) = work.partials.split_at_mut(splits.pinned * group * width);
        let unscored = unscored.par_chunks_exact_mut(group * width).enumerate();
        let scored = scored[..splits.slots * group * width].par_chunks_exact_mut(group * width);
        let scored = scored
            .zip(work.probabilities.par_chunks_mut(splits.tiles * group * TILE))
            .zip(work.tops.par_chunks_mut(splits.tiles * group))
            .enumerate();
        rayon::join(
            || {
                unscored.for_each(|(split, partial)| {
                    pinned.attend(queries, split, splits.tiles, None, partial);
                });
            },
            || {
                scored.for_each(|(split, ((partial, p), tops))| {
                    slots.attend(queries, split, splits.tiles, Some((p, tops)), partial);
                });
            },
        );
    }

    fn combine_head(&self, work: &mut HeadWork<'_>, output: &mut [f32]) {
        let (group, dim) = (self.heads.gqa_group(), self.heads.head_dim());
        let splits = self.splits();
        let width = dim + 2;
        let used = &work.partials[..(splits.pinned + splits.slots) * group * width];
        let heads = output.chunks_exact_mut(dim).zip(work.norms.chunks_exact_mut(2));
        for (g, (output, norm)) in heads.enumerate() {
            let parts = || used.chunks_exact(group * width).map(|part| &part[g * width..][..width]);
            let max = parts().fold(f32::NEG_INFINITY, |max, part| max.max(part[dim]));
            let sum: f32 = parts().map(|part| part[dim + 1] * exp::<false>(part[dim] - max)).sum();
            output.fill(0.0);
            for part in parts() {
                let weight = exp::<false>(part[dim] - max) / sum;
                output.iter_mut().zip(part).for_each(|(out, part)| *out += weight * part);
            }
            norm.copy_from_slice(&[max, sum]);
        }
    }

    fn score_head(&self, work: &mut HeadWork<'_>, decay: f32, scores: &mut [f32]) {
        let group = self.heads.gqa_group();
        let count = self.live.iter().map(|run| run.len().div_ceil(TILE)).sum();
        let tiles = work.probabilities.chunks_exact(group * TILE);
        let tiles = tiles.zip(work.tops.chunks_exact_mut(group));
        for (index, (p, tops)) in tiles.take(count).enumerate() {
            for (top, norm) in tops.iter_mut().zip(work.norms.chunks_exact(2)) {
                *top = exp::<false>(*top - norm[0]) / norm[1];
            }
            add_scores(&mut scores[tile(self.live, index)], decay, p, tops);
        }
    }
}

#[derive(Clone, Copy)]
struct Splits {
    pinned: usize,
    slots: usize,
    tiles: usize,
}

/// One key head's part of `Work`.
struct HeadWork<'s> {
    queries: &'s [f32],
    probabilities: &'s mut [f32],
    tops: &'s mut [f32],
    partials: &'s mut [f32],
    norms: &'s mut [f32],
}

impl Region<'_> {
    /// Attends to the tiles of one split. Without `kept` the probabilities are dropped.
    fn attend(
        &self,
        queries: &[f32],
        split: usize,
        tiles: usize,
        mut kept: Option<(&mut [f32], &mut [f32])>,
        partial: &mut [f32],
    ) {
        let dim = self.rows.keys.len() / self.rows.key_scales.len();
        let group = queries.len() / dim;
        for state in partial.chunks_exact_mut(dim + 2) {
            state.fill(0.0);
            state[dim] = f32::NEG_INFINITY;
        }
        let (mut dropped_p, mut dropped_tops) = ([0.0; MAX_HEADS * TILE], [0.0; MAX_HEADS]);
        let first = split * tiles;
        for (nth, index) in (first..self.tiles().min(first + tiles)).enumerate() {
            let rows = self.tile_rows(index, dim);
            for from in (0..group).step_by(MAX_HEADS) {
                let count = MAX_HEADS.min(group - from);
                let at = nth * group + from;
                let (p, tops) = match &mut kept {
                    Some((p, tops)) => {
                        (&mut p[at * TILE..][..count * TILE], &mut tops[at..][..count])
                    }
                    None => (&mut dropped_p[..count * TILE], &mut dropped_tops[..count]),
                };
                let queries = &queries[from * dim..][..count * dim];
                let partial = &mut partial[from * (dim + 2)..][..count * (dim + 2)];
                attend_tile(queries, rows, p, tops, partial);
            }
        }
    }

    fn tile_rows(&self, index: usize, dim: usize) -> TileRows<'_> {
        let rows = self.tile(index);
        let elements = rows.start * dim..rows.end * dim;
        TileRows {
            keys: &self.rows.keys[elements.clone()],
            key_scales: &self.rows.key_scales[rows.clone()],
            values: &self.rows.values[elements],
            value_scales: &self.rows.value_scales[rows],
        }
    }
}
