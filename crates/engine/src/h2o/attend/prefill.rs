//! Attention of many tokens at once, in two passes: online softmax over tiles of the cache, then, where
//! scores are kept, the logits again for the sum of each slot's probabilities. The second pass costs
//! half as much as the first and needs no memory but the log-sum-exp of every row; it reads no values.
//!
//! The number of workers changes no bit of the result.

use std::ops::Range;

use rayon::prelude::*;

use super::super::store::{Pinned, Rows};
use super::super::{Heads, Step};
use super::decode::root;
use super::panels::PANEL;
use super::simd;
use super::{TILE, divide, tiles};

/// Query rows that are attended to at once, at least.
const BLOCK_ROWS: usize = 64;

/// Rows of the cache that follow each other, and which of the chunk's tokens see them.
#[derive(Clone, Debug)]
struct Run<'a> {
    rows: Rows<'a>,
    range: Range<usize>,
    /// The chunk's token in the first row: a row is seen from its own token on. None: seen by all.
    first: Option<usize>,
}

/// A chunk's attention.
#[derive(Clone, Debug)]
pub struct Prefill<'a> {
    heads: Heads,
    smoothing: &'a [f32],
    /// `[tokens, query_heads, head_dim]`
    queries: &'a [f32],
    runs: [Run<'a>; 6],
}

impl<'a> Prefill<'a> {
    /// The attention of a step's tokens, which are written already.
    pub fn of_step(
        heads: Heads,
        pinned: Pinned<'a>,
        slots: Rows<'a>,
        step: &Step,
        smoothing: &'a [f32],
        queries: &'a [f32],
    ) -> Self {
        let [filled, _] = step.live();
        let [before, after] = step.old_ring_runs();
        let [(new, first), (wrapped, wrapped_first)] = step.new_runs();
        let all = |rows, range| Run { rows, range, first: None };
        let own = |range, first| Run { rows: slots, range, first: Some(first) };
        let runs = [
            all(pinned.rows, 0..pinned.len),
            all(slots, filled),
            all(slots, before),
            all(slots, after),
            own(new, first),
            own(wrapped, wrapped_first),
        ];
        Self { heads, smoothing, queries, runs }
    }

    /// The attention of system-prompt tokens that follow `len` others and are written already.
    pub fn of_pinned(
        heads: Heads,
        rows: Rows<'a>,
        len: usize,
        smoothing: &'a [f32],
        queries: &'a [f32],
    ) -> Self {
        let tokens = queries.len() / heads.query_width();
        let none = || Run { rows, range: 0..0, first: None };
        let own = Run { rows, range: len..len + tokens, first: Some(0) };
        let earlier = Run { rows, range: 0..len, first: None };
        Self { heads, smoothing, queries, runs: [earlier, own, none(), none(), none(), none()] }
    }

    /// Attends. `output` is `[tokens, query_heads, head_dim]`, `log_sum_exp` `[tokens, query_heads]`,
    /// `scratch` `worker_len` floats for each worker.
    ///
    /// # Panics
    /// When a slice is shorter.
    pub fn attend(&self, output: &mut [f32], log_sum_exp: &mut [f32], scratch: &mut [f32]) {
        let heads = self.heads;
        let workers = scratch.len() / worker_len(heads);
        let tokens = self.queries.len() / heads.query_width();
        let per_worker = tokens.div_ceil(workers).next_multiple_of(block_tokens(heads));
        output
            .par_chunks_mut(per_worker * heads.query_width())
            .zip(log_sum_exp.par_chunks_mut(per_worker * heads.query_heads()))
            .zip(scratch.par_chunks_exact_mut(worker_len(heads)))
            .enumerate()
            .for_each(|(worker, ((output, log_sum_exp), scratch))| {
                let mut block = Block::new(heads, scratch);
                self.attend_from(worker * per_worker, output, log_sum_exp, &mut block);
            });
    }

    /// Attends with the tokens from `first` on, as many as there is output for.
    fn attend_from(
        &self,
        first: usize,
        output: &mut [f32],
        log_sum_exp: &mut [f32],
        block: &mut Block<'_>,
    ) {
        let heads = self.heads;
        let step = block_tokens(heads);
        let outputs = output.chunks_mut(step * heads.query_width());
        let sums = log_sum_exp.chunks_mut(step * heads.query_heads());
        for (nth, (output, sums)) in outputs.zip(sums).enumerate() {
            let start = first + nth * step;
            let tokens = start..start + output.len() / heads.query_width();
            for head in 0..heads.kv_heads() {
                block.load(self, head, tokens.clone());
                for run in &self.runs {
                    block.attend(run, heads, head);
                }
                block.store(heads, head, output, sums);
            }
        }
    }

    /// Multiplies the scores of live slots, `[kv_heads, max_cache_tokens]`, by `decay` and adds each
    /// slot's probabilities, from `attend`'s log-sum-exp.
    pub fn score(&self, log_sum_exp: &[f32], decay: f32, scores: &mut [f32], scratch: &mut [f32]) {
        let capacity = scores.len() / self.heads.kv_heads();
        let workers = scratch.len() / worker_len(self.heads);
        let per_worker = capacity.div_ceil(workers).next_multiple_of(TILE);
        for (head, scores) in scores.chunks_exact_mut(capacity).enumerate() {
            scores
                .par_chunks_mut(per_worker)
                .zip(scratch.par_chunks_exact_mut(worker_len(self.heads)))
                .enumerate()
                .for_each(|(worker, (scores, scratch))| {
                    for score in scores.iter_mut() {
                        *score *= decay;
                    }
                    let mut block = Block::new(self.heads, scratch);
                    self.score_from(head, worker * per_worker, log_sum_exp, scores, &mut block);
                });
        }
    }

    /// Scores the slots of one head from `first` on.
    fn score_from(
        &self,
        head: usize,
        first: usize,
        log_sum_exp: &[f32],
        scores: &mut [f32],
        block: &mut Block<'_>,
    ) {
        let end = first + scores.len();
        let tokens = self.queries.len() / self.heads.query_width();
        for start in (0..tokens).step_by(block_tokens(self.heads)) {
            block.load(self, head, start..tokens.min(start + block_tokens(self.heads)));
            block.load_sums(self.heads, head, log_sum_exp);
            for run in &self.runs[1..] {
                let part = run.range.start.max(first)..run.range.end.min(end);
                for tile in tiles(part) {
                    let scores = &mut scores[tile.start - first..tile.end - first];
                    block.score(run, self.heads, head, tile, scores);
                }
            }
        }
    }
}

/// Query rows of a block: whole panels.
fn block_rows(heads: Heads) -> usize {
    heads.gqa_group().next_multiple_of(PANEL).max(BLOCK_ROWS)
}

/// Tokens of a block.
fn block_tokens(heads: Heads) -> usize {
    block_rows(heads) / heads.gqa_group()
}

/// The lengths of `Block`'s slices.
fn lengths(heads: Heads) -> [usize; 7] {
    let (rows, dim) = (block_rows(heads), heads.head_dim());
    let padded = dim.next_multiple_of(PANEL);
    [rows * dim, TILE * dim, TILE * padded, rows * TILE, rows * padded, rows, rows]
}

/// Floats that one worker takes.
pub fn worker_len(heads: Heads) -> usize {
    lengths(heads).iter().sum()
}

/// Floats of scratch for chunks of `tokens` tokens: every row's log-sum-exp, and the workers'.
pub fn scratch_len(heads: Heads, tokens: usize, workers: usize) -> usize {
    tokens * heads.query_heads() + (workers * worker_len(heads)).max(heads.head_dim())
}

/// A worker's scratch: query rows of one key head, and a tile. Layouts are those of `panels`.
struct Block<'s> {
    queries: &'s mut [f32],
    keys: &'s mut [f32],
    values: &'s mut [f32],
    logits: &'s mut [f32],
    output: &'s mut [f32],
    max: &'s mut [f32],
    sum: &'s mut [f32],
    tokens: Range<usize>,
    rows: usize,
    group: usize,
}

impl<'s> Block<'s> {
    fn new(heads: Heads, scratch: &'s mut [f32]) -> Self {
        let [queries, keys, values, logits, output, max, sum] = divide(scratch, lengths(heads));
        let (rows, group) = (block_rows(heads), heads.gqa_group());
        Self { queries, keys, values, logits, output, max, sum, tokens: 0..0, rows, group }
    }

    /// Takes the queries of some tokens, times λ / √`head_dim`, and forgets earlier output.
    fn load(&mut self, prefill: &Prefill<'_>, head: usize, tokens: Range<usize>) {
        let heads = prefill.heads;
        let dim = heads.head_dim();
        let scale = 1.0 / root(dim);
        let factors = &prefill.smoothing[head * dim..][..dim];
        self.queries.fill(0.0);
        for (nth, token) in tokens.clone().enumerate() {
            let at = (token * heads.query_heads() + head * self.group) * dim;
            let queries = prefill.queries[at..][..self.group * dim].chunks_exact(dim);
            for (g, query) in queries.enumerate() {
                let row = nth * self.group + g;
                let panel = &mut self.queries[row / PANEL * dim * PANEL..][..dim * PANEL];
                let column = panel.iter_mut().skip(row % PANEL).step_by(PANEL);
                for ((out, query), factor) in column.zip(query).zip(factors) {
                    *out = query * factor * scale;
                }
            }
        }
        self.tokens = tokens;
        self.output.fill(0.0);
        self.max.fill(f32::NEG_INFINITY);
        self.sum.fill(0.0);
    }

    /// The log-sum-exp of the block's rows, in place of their maxima. Rows that there are not have
    /// an infinite one, and so add nothing.
    fn load_sums(&mut self, heads: Heads, head: usize, log_sum_exp: &[f32]) {
        self.max.fill(f32::INFINITY);
        for (nth, token) in self.tokens.clone().enumerate() {
            let at = token * heads.query_heads() + head * self.group;
            let rows = &mut self.max[nth * self.group..][..self.group];
            rows.copy_from_slice(&log_sum_exp[at..][..self.group]);
        }
    }

    /// Logits of one panel's rows with the loaded tile, causal within the chunk.
    fn logits(&mut self, panel: usize, count: usize, first: Option<usize>) {
        let dim = self.queries.len() / self.rows;
        let queries = &self.queries[panel * dim * PANEL..][..dim * PANEL];
        let logits = &mut self.logits[panel * TILE * PANEL..][..TILE * PANEL];
        simd::logits(self.keys, count, queries, logits);
        let Some(first) = first.filter(|first| first + count > self.tokens.start + 1) else {
            return;
        };
        for (key, logits) in logits.chunks_exact_mut(PANEL).take(count).enumerate() {
            for (column, logit) in logits.iter_mut().enumerate() {
                let token = self.tokens.start + (panel * PANEL + column) / self.group;
                if first + key > token {
                    *logit = f32::NEG_INFINITY;
                }
            }
        }
    }

    /// Panels that have rows.
    fn panels(&self) -> usize {
        (self.tokens.len() * self.group).div_ceil(PANEL)
    }

    /// Whether none of the block's tokens sees a row whose token is `first`.
    fn precedes(&self, first: Option<usize>) -> bool {
        first.is_some_and(|first| first >= self.tokens.end)
    }

    /// Attends to a run.
    fn attend(&mut self, run: &Run<'_>, heads: Heads, head: usize) {
        if run.range.is_empty() {
            return;
        }
        let dim = heads.head_dim();
        let rows = run.rows.head(heads, head);
        for tile in tiles(run.range.clone()) {
            let first = run.first.map(|first| first + tile.start - run.range.start);
            if self.precedes(first) {
                return;
            }
            let elements = tile.start * dim..tile.end * dim;
            simd::widen_keys(
                &rows.keys[elements.clone()],
                &rows.key_scales[tile.clone()],
                self.keys,
            );
            simd::widen_values(
                &rows.values[elements],
                &rows.value_scales[tile.clone()],
                self.values,
            );
            for panel in 0..self.panels() {
                self.logits(panel, tile.len(), first);
                self.accumulate(panel, tile.len());
            }
        }
    }

    /// Adds the loaded tile to one panel's output.
    fn accumulate(&mut self, panel: usize, count: usize) {
        let logits = &mut self.logits[panel * TILE * PANEL..][..TILE * PANEL];
        let (max, _) = self.max.as_chunks_mut::<PANEL>();
        let (sum, _) = self.sum.as_chunks_mut::<PANEL>();
        let factors = simd::softmax(logits, count, &mut max[panel], &mut sum[panel]);
        let output = &mut self.output[panel * PANEL * PANEL..];
        simd::weighted_sum(logits, count, self.values, &factors, output, self.rows);
    }

    /// Adds a tile's probabilities to its scores.
    fn score(
        &mut self,
        run: &Run<'_>,
        heads: Heads,
        head: usize,
        tile: Range<usize>,
        scores: &mut [f32],
    ) {
        let first = run.first.map(|first| first + tile.start - run.range.start);
        if self.precedes(first) {
            return;
        }
        let dim = heads.head_dim();
        let rows = run.rows.head(heads, head);
        let keys = &rows.keys[tile.start * dim..tile.end * dim];
        simd::widen_keys(keys, &rows.key_scales[tile.clone()], self.keys);
        for panel in 0..self.panels() {
            self.logits(panel, tile.len(), first);
            let (sums, _) = self.max.as_chunks::<PANEL>();
            let logits = &self.logits[panel * TILE * PANEL..][..TILE * PANEL];
            simd::column_sums(logits, &sums[panel], scores);
        }
    }

    /// Writes the normalized output, and every row's log-sum-exp.
    fn store(&self, heads: Heads, head: usize, output: &mut [f32], log_sum_exp: &mut [f32]) {
        let dim = heads.head_dim();
        for nth in 0..self.tokens.len() {
            for g in 0..self.group {
                let row = nth * self.group + g;
                let at = nth * heads.query_heads() + head * self.group + g;
                let out = &mut output[at * dim..][..dim];
                let panels = self.output.chunks_exact(self.rows * PANEL);
                for (out, panel) in out.chunks_mut(PANEL).zip(panels) {
                    let from = &panel[row * PANEL..][..PANEL];
                    out.iter_mut().zip(from).for_each(|(out, x)| *out = x / self.sum[row]);
                }
                log_sum_exp[at] = self.max[row] + self.sum[row].ln();
            }
        }
    }
}
