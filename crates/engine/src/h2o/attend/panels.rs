//! Prefill's inner loops: small matrix products over panels of 16 columns.
//!
//! A *block* is up to `rows` query rows, a row being one query head of one token. Everything that is
//! per row lies along a panel, so that maxima and sums need no horizontal reduction:
//!
//! - queries `[rows / 16, head_dim, 16]`
//! - logits and probabilities `[rows / 16, TILE, 16]`
//! - keys `[TILE, head_dim]`, in f32
//! - values `[head_dim / 16, TILE, 16]`, in f32, the last panel filled up with zeros
//! - output `[head_dim / 16, rows, 16]`

#![allow(clippy::inline_always, reason = "inlined into code for several instruction sets")]

use half::f16;

use super::super::policy::LANES;
use super::super::quant::widen;
use super::TILE;
use super::math::{exp, larger, mul_add, sum};

/// Columns of a panel.
pub const PANEL: usize = 16;
/// Rows of a panel that one inner loop keeps in registers.
const ROWS: usize = 4;

/// Widens a tile of keys: an int8 times an f16 is exact in f32.
#[inline(always)]
pub fn widen_keys<const FMA: bool>(keys: &[i8], scales: &[f16], out: &mut [f32]) {
    let dim = keys.len() / scales.len();
    let rows = keys.chunks_exact(dim).zip(scales).zip(out.chunks_exact_mut(dim));
    for ((keys, &scale), out) in rows {
        let scale = widen(scale);
        out.iter_mut().zip(keys).for_each(|(out, &key)| *out = f32::from(key) * scale);
    }
}

/// Widens a tile of values into panels.
#[inline(always)]
pub fn widen_values<const FMA: bool>(values: &[i8], scales: &[f16], out: &mut [f32]) {
    let dim = values.len() / scales.len();
    for (row, (values, &scale)) in values.chunks_exact(dim).zip(scales).enumerate() {
        let scale = widen(scale);
        for (values, panel) in values.chunks(PANEL).zip(out.chunks_exact_mut(TILE * PANEL)) {
            let out = &mut panel[row * PANEL..][..PANEL];
            out.iter_mut().zip(values).for_each(|(out, &value)| *out = f32::from(value) * scale);
        }
    }
}

/// `logits[key][row] = keys[key] · queries[row]` for one panel of rows and `count` keys.
#[inline(always)]
pub fn logits<const FMA: bool>(keys: &[f32], count: usize, queries: &[f32], logits: &mut [f32]) {
    let (queries, _) = queries.as_chunks::<PANEL>();
    let dim = queries.len();
    let (logits, _) = logits.as_chunks_mut::<PANEL>();
    let groups = keys.chunks_exact(ROWS * dim).zip(logits.chunks_exact_mut(ROWS));
    for (keys, logits) in groups.take(count.div_ceil(ROWS)) {
        let mut sums = [[0.0; PANEL]; ROWS];
        let (k0, rest) = keys.split_at(dim);
        let (k1, rest) = rest.split_at(dim);
        let (k2, k3) = rest.split_at(dim);
        for ((((query, k0), k1), k2), k3) in queries.iter().zip(k0).zip(k1).zip(k2).zip(k3) {
            for (sums, key) in sums.iter_mut().zip([k0, k1, k2, k3]) {
                for lane in 0..PANEL {
                    sums[lane] = mul_add::<FMA>(query[lane], *key, sums[lane]);
                }
            }
        }
        logits.copy_from_slice(&sums);
    }
}

/// Online softmax of one panel: turns logits into `exp(logit − maximum)` and keeps the maximum and the
/// sum of each row. Returns the factors on what was summed before.
#[inline(always)]
pub fn softmax<const FMA: bool>(
    logits: &mut [f32],
    count: usize,
    max: &mut [f32; PANEL],
    sum: &mut [f32; PANEL],
) -> [f32; PANEL] {
    let (logits, _) = logits.as_chunks_mut::<PANEL>();
    let logits = &mut logits[..count];
    let before = *max;
    for logits in logits.iter() {
        for lane in 0..PANEL {
            max[lane] = larger(max[lane], logits[lane]);
        }
    }
    let mut factors = [0.0; PANEL];
    for lane in 0..PANEL {
        factors[lane] = exp::<FMA>(before[lane] - max[lane]);
        sum[lane] *= factors[lane];
    }
    for logits in logits {
        for lane in 0..PANEL {
            logits[lane] = exp::<FMA>(logits[lane] - max[lane]);
            sum[lane] += logits[lane];
        }
    }
    factors
}

/// `output[row] = factors[row] · output[row] + Σ probabilities[key][row] · values[key]` for one panel
/// of rows; `output` starts at the panel's first row, its panels are `stride` rows apart.
#[inline(always)]
pub fn weighted_sum<const FMA: bool>(
    probabilities: &[f32],
    count: usize,
    values: &[f32],
    factors: &[f32; PANEL],
    output: &mut [f32],
    stride: usize,
) {
    let (probabilities, _) = probabilities.as_chunks::<PANEL>();
    let values = values.chunks_exact(TILE * PANEL);
    for (values, output) in values.zip(output.chunks_mut(stride * PANEL)) {
        let (values, _) = values.as_chunks::<PANEL>();
        let (output, _) = output.as_chunks_mut::<PANEL>();
        for (first, output) in (0..PANEL).step_by(ROWS).zip(output.chunks_exact_mut(ROWS)) {
            let mut sums = [[0.0; PANEL]; ROWS];
            for (p, value) in probabilities[..count].iter().zip(values) {
                for (sums, p) in sums.iter_mut().zip(&p[first..first + ROWS]) {
                    for lane in 0..PANEL {
                        sums[lane] = mul_add::<FMA>(value[lane], *p, sums[lane]);
                    }
                }
            }
            for ((output, sums), factor) in output.iter_mut().zip(&sums).zip(&factors[first..]) {
                for lane in 0..PANEL {
                    output[lane] = mul_add::<FMA>(output[lane], *factor, sums[lane]);
                }
            }
        }
    }
}

/// Adds `Σ exp(logit − log_sum_exp)` over one panel's rows to each key's score.
#[inline(always)]
pub fn column_sums<const FMA: bool>(
    logits: &[f32],
    log_sum_exp: &[f32; PANEL],
    scores: &mut [f32],
) {
    let (logits, _) = logits.as_chunks::<PANEL>();
    for (score, logits) in scores.iter_mut().zip(logits) {
        let mut p = [0.0; PANEL];
        for lane in 0..PANEL {
            p[lane] = exp::<FMA>(logits[lane] - log_sum_exp[lane]);
        }
        let (halves, _) = p.as_chunks::<LANES>();
        *score += sum(halves[0]) + sum(halves[1]);
    }
}
