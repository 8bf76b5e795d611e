//! Decode's inner loops: one tile of the cache for all query heads of a group. Every row of keys and
//! values is read once, as int8.
//!
//! How many rows or lanes a loop works on at once follows from the number of heads `G`: enough sums to
//! hide the latency of an addition, few enough to stay in 16 registers.

#![allow(clippy::inline_always, reason = "inlined into code for several instruction sets")]

use half::f16;

use super::super::policy::LANES;
use super::super::quant::widen;
use super::TILE;
use super::lanes::{Instructions, Lanes as _};
use super::math::{exp, larger, mul_add, sum};

/// Query heads that a kernel serves at once; larger groups are cut.
pub const MAX_HEADS: usize = 8;

/// One tile of one head.
#[derive(Clone, Copy)]
pub struct TileRows<'a> {
    /// `[rows, head_dim]`
    pub keys: &'a [i8],
    /// `[rows]`
    pub key_scales: &'a [f16],
    /// `[rows, head_dim]`
    pub values: &'a [i8],
    /// `[rows]`
    pub value_scales: &'a [f16],
}

/// Attends to one tile with online softmax.
///
/// - `queries`: `[head_dim / 8, heads, 8]`, already multiplied by λ / √`head_dim`
/// - `p`: `[heads, TILE]`, becomes `exp(logit − top)`, 0 behind the last row
/// - `tops`: `[heads]`, becomes each head's largest logit in the tile
/// - `partial`: `[heads, head_dim + 2]`: output, maximum and sum so far
#[inline(always)]
pub fn attend_tile<I: Instructions>(
    cpu: I,
    queries: &[f32],
    rows: TileRows<'_>,
    p: &mut [f32],
    tops: &mut [f32],
    partial: &mut [f32],
) {
    match tops.len() {
        1 => tile::<I, 1, 8, 8>(cpu, queries, rows, p, tops, partial),
        2 => tile::<I, 2, 4, 4>(cpu, queries, rows, p, tops, partial),
        3 => tile::<I, 3, 4, 4>(cpu, queries, rows, p, tops, partial),
        4 => tile::<I, 4, 2, 2>(cpu, queries, rows, p, tops, partial),
        5 => tile::<I, 5, 2, 2>(cpu, queries, rows, p, tops, partial),
        6 => tile::<I, 6, 2, 2>(cpu, queries, rows, p, tops, partial),
        7 => tile::<I, 7, 1, 1>(cpu, queries, rows, p, tops, partial),
        _ => tile::<I, 8, 1, 1>(cpu, queries, rows, p, tops, partial),
    }
}

/// `ROWS` keys at a time, `CHUNKS` times 8 elements of values at a time.
#[inline(always)]
fn tile<I: Instructions, const G: usize, const ROWS: usize, const CHUNKS: usize>(
    cpu: I,
    queries: &[f32],
    rows: TileRows<'_>,
    p: &mut [f32],
    tops: &mut [f32],
    partial: &mut [f32],
) {
    let count = rows.key_scales.len();
    let dim = rows.keys.len() / count;
    let (p, _) = p.as_chunks_mut::<TILE>();
    let split = count - count % ROWS;
    let (most, last) = rows.keys.split_at(split * dim);
    let (most_scales, last_scales) = rows.key_scales.split_at(split);
    logits::<I, G, ROWS>(cpu, queries, most, most_scales, 0, dim, p);
    logits::<I, G, 1>(cpu, queries, last, last_scales, split, dim, p);

    let mut scales = [0.0; TILE];
    for (wide, &scale) in scales.iter_mut().zip(rows.value_scales) {
        *wide = widen(scale);
    }
    let mut weights = [[0.0; TILE]; G];
    let mut factors = [0.0; G];
    for g in 0..G {
        p[g][count..].fill(f32::NEG_INFINITY);
        let state = &mut partial[g * (dim + 2) + dim..][..2];
        tops[g] = softmax::<I>(&mut p[g], state, &mut factors[g]);
        let new = exp_of::<I>(tops[g] - state[0]);
        for row in 0..TILE {
            weights[g][row] = p[g][row] * new * scales[row];
        }
    }
    let blocks = dim / LANES / CHUNKS * CHUNKS;
    for chunk in (0..blocks).step_by(CHUNKS) {
        weighted_sum::<I, G, CHUNKS>(cpu, &weights, &factors, rows.values, chunk, dim, partial);
    }
    for chunk in blocks..dim / LANES {
        weighted_sum::<I, G, 1>(cpu, &weights, &factors, rows.values, chunk, dim, partial);
    }
}

/// `p[g][first + row] = queries[g] · keys[row] · scales[row]`, a multiple of `ROWS` rows.
#[inline(always)]
fn logits<I: Instructions, const G: usize, const ROWS: usize>(
    cpu: I,
    queries: &[f32],
    keys: &[i8],
    scales: &[f16],
    first: usize,
    dim: usize,
    p: &mut [[f32; TILE]],
) {
    let queries = queries.as_chunks::<LANES>().0.as_chunks::<G>().0;
    let (scales, _) = scales.as_chunks::<ROWS>();
    for (nth, (keys, scales)) in keys.chunks_exact(ROWS * dim).zip(scales).enumerate() {
        let mut sums = [[cpu.splat(0.0); G]; ROWS];
        let rows: [&[[i8; LANES]]; ROWS] =
            std::array::from_fn(|row| keys[row * dim..][..dim].as_chunks().0);
        assert!(rows.iter().all(|row| row.len() == queries.len()), "one head_dim");
        for (chunk, query) in queries.iter().enumerate() {
            for row in 0..ROWS {
                let key = cpu.widen(&rows[row][chunk]);
                for g in 0..G {
                    sums[row][g] = key.mul_add(cpu.load(&query[g]), sums[row][g]);
                }
            }
        }
        for row in 0..ROWS {
            let scale = widen(scales[row]);
            for g in 0..G {
                p[g][first + nth * ROWS + row] = sums[row][g].sum() * scale;
            }
        }
    }
}

#[inline(always)]
fn exp_of<I: Instructions>(x: f32) -> f32 {
    if I::FMA { exp::<true>(x) } else { exp::<false>(x) }
}

/// Turns a head's logits into `exp(logit − top)` and adds them to its state `(maximum, sum)`. Returns
/// the top, and in `old` the factor on what was summed before.
#[inline(always)]
fn softmax<I: Instructions>(p: &mut [f32; TILE], state: &mut [f32], old: &mut f32) -> f32 {
    let (p, _) = p.as_chunks_mut::<LANES>();
    let mut tops = p[0];
    for p in &p[1..] {
        for lane in 0..LANES {
            tops[lane] = larger(tops[lane], p[lane]);
        }
    }
    let top = tops.into_iter().fold(f32::NEG_INFINITY, larger);
    let mut sums = [0.0; LANES];
    for p in p {
        for lane in 0..LANES {
            p[lane] = exp_of::<I>(p[lane] - top);
            sums[lane] += p[lane];
        }
    }
    let max = larger(state[0], top);
    *old = exp_of::<I>(state[0] - max);
    state[1] = state[1] * *old + sum(sums) * exp_of::<I>(top - max);
    state[0] = max;
    top
}

/// `partial[g] = factors[g] · partial[g] + Σ weights[g][row] · values[row]`, in `CHUNKS` times 8
/// elements from `chunk` on.
#[inline(always)]
fn weighted_sum<I: Instructions, const G: usize, const CHUNKS: usize>(
    cpu: I,
    weights: &[[f32; TILE]; G],
    factors: &[f32; G],
    values: &[i8],
    chunk: usize,
    dim: usize,
    partial: &mut [f32],
) {
    let mut sums = [[cpu.splat(0.0); CHUNKS]; G];
    let strip = values[chunk * LANES..].chunks(dim);
    for (row, values) in (0..TILE).zip(strip) {
        let Some(values) = values.as_chunks().0.first_chunk::<CHUNKS>() else { break };
        for part in 0..CHUNKS {
            let value = cpu.widen(&values[part]);
            for g in 0..G {
                sums[g][part] = value.mul_add(cpu.splat(weights[g][row]), sums[g][part]);
            }
        }
    }
    for g in 0..G {
        let out = &mut partial[g * (dim + 2) + chunk * LANES..][..CHUNKS * LANES];
        for (out, sum) in out.as_chunks_mut::<LANES>().0.iter_mut().zip(sums[g]) {
            *out = cpu.load(out).mul_add(cpu.splat(factors[g]), sum).store();
        }
    }
}

/// `scores[slot] = decay · scores[slot] + Σ weights[g] · p[g][slot]` for one tile; `p` is
/// `[heads, TILE]`.
#[inline(always)]
pub fn add_scores<const FMA: bool>(scores: &mut [f32], decay: f32, p: &[f32], weights: &[f32]) {
    for score in scores.iter_mut() {
        *score *= decay;
    }
    for (p, &weight) in p.chunks_exact(TILE).zip(weights) {
        for (score, &p) in scores.iter_mut().zip(p) {
            *score = mul_add::<FMA>(weight, p, *score);
        }
    }
}
