//! Decode's inner loops: one tile of the cache for all query heads of a group. Every row of keys and
//! values is read once, as int8.
//!
//! Arrays of eight floats become vector registers, whatever the instruction set.

#![allow(clippy::inline_always, reason = "inlined into code for several instruction sets")]

use half::f16;

use super::super::policy::LANES;
use super::super::quant::widen;
use super::TILE;
use super::exp::exp;

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
/// - `p`: `[heads, TILE]`, becomes `exp(logit − top)`
/// - `tops`: `[heads]`, becomes each head's largest logit in the tile
/// - `partial`: `[heads, head_dim + 2]`: output, maximum and sum so far
pub fn attend_tile(
    queries: &[f32],
    rows: TileRows<'_>,
    p: &mut [f32],
    tops: &mut [f32],
    partial: &mut [f32],
) {
    match tops.len() {
        1 => tile::<1>(queries, rows, p, tops, partial),
        2 => tile::<2>(queries, rows, p, tops, partial),
        3 => tile::<3>(queries, rows, p, tops, partial),
        4 => tile::<4>(queries, rows, p, tops, partial),
        5 => tile::<5>(queries, rows, p, tops, partial),
        6 => tile::<6>(queries, rows, p, tops, partial),
        7 => tile::<7>(queries, rows, p, tops, partial),
        _ => tile::<8>(queries, rows, p, tops, partial),
    }
}

#[inline(always)]
fn tile<const G: usize>(
    queries: &[f32],
    rows: TileRows<'_>,
    p: &mut [f32],
    tops: &mut [f32],
    partial: &mut [f32],
) {
    let count = rows.key_scales.len();
    let dim = rows.keys.len() / count;
    let (p, _) = p.as_chunks_mut::<TILE>();
    logits::<G>(queries, rows.keys, rows.key_scales, p);
    let mut weights = [[0.0; G]; TILE];
    let mut factors = [0.0; G];
    for g in 0..G {
        let state = &mut partial[g * (dim + 2)..][..dim + 2];
        tops[g] = softmax(&mut p[g][..count], &mut state[dim..], &mut factors[g]);
        let old = factors[g];
        state[..dim].iter_mut().for_each(|o| *o *= old);
        let new = exp(tops[g] - state[dim]);
        for ((weight, &p), &scale) in weights.iter_mut().zip(&p[g]).zip(rows.value_scales) {
            weight[g] = p * new * widen(scale);
        }
    }
    weighted_sum::<G>(&weights[..count], rows.values, partial);
}

/// `p[g][row] = queries[g] · keys[row] · scale[row]`.
#[inline(always)]
fn logits<const G: usize>(queries: &[f32], keys: &[i8], scales: &[f16], p: &mut [[f32; TILE]]) {
    let (queries, _) = queries.as_chunks::<LANES>();
    let (queries, _) = queries.as_chunks::<G>();
    let dim = keys.len() / scales.len();
    for ((row, key), &scale) in keys.chunks_exact(dim).enumerate().zip(scales) {
        let (key, _) = key.as_chunks::<LANES>();
        let mut sums = [[0.0; LANES]; G];
        for (key, query) in key.iter().zip(queries) {
            let key = key.map(f32::from);
            for g in 0..G {
                for lane in 0..LANES {
                    sums[g][lane] += query[g][lane] * key[lane];
                }
            }
        }
        let scale = widen(scale);
        for g in 0..G {
            p[g][row] = sums[g].iter().sum::<f32>() * scale;
        }
    }
}

/// Turns a head's logits into `exp(logit − top)` and adds them to its state `(maximum, sum)`. Returns
/// the top, and in `old` the factor on what was summed before.
#[inline(always)]
fn softmax(p: &mut [f32], state: &mut [f32], old: &mut f32) -> f32 {
    let top = p.iter().fold(f32::NEG_INFINITY, |top, &logit| top.max(logit));
    let mut sum = 0.0;
    for p in p.iter_mut() {
        *p = exp(*p - top);
        sum += *p;
    }
    let max = state[0].max(top);
    *old = exp(state[0] - max);
    state[1] = state[1] * *old + sum * exp(top - max);
    state[0] = max;
    top
}

/// Adds `weights[row][g] · values[row]` to the partial output of each head.
#[inline(always)]
fn weighted_sum<const G: usize>(weights: &[[f32; G]], values: &[i8], partial: &mut [f32]) {
    let dim = values.len() / weights.len();
    for chunk in 0..dim / LANES {
        let mut sums = [[0.0; LANES]; G];
        for (weights, row) in weights.iter().zip(values.chunks_exact(dim)) {
            let value = row.as_chunks::<LANES>().0[chunk].map(f32::from);
            for g in 0..G {
                for lane in 0..LANES {
                    sums[g][lane] += weights[g] * value[lane];
                }
            }
        }
        for g in 0..G {
            let out = &mut partial[g * (dim + 2) + chunk * LANES..][..LANES];
            out.iter_mut().zip(sums[g]).for_each(|(out, sum)| *out += sum);
        }
    }
}
