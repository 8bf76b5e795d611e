//! Attention over an int8 cache, with the probabilities that the scores are sums of.

pub mod decode;
mod kernels;
mod lanes;
mod math;
mod panels;
pub mod prefill;
mod simd;

use std::ops::Range;

/// Rows of the cache that a kernel reads at a time.
pub const TILE: usize = 64;

/// The tiles of `rows`, the last of them shorter.
fn tiles(rows: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    rows.clone().step_by(TILE).map(move |start| start..rows.end.min(start + TILE))
}

/// Divides scratch into slices of these lengths.
fn divide<const N: usize>(scratch: &mut [f32], lengths: [usize; N]) -> [&mut [f32]; N] {
    let mut rest = scratch;
    lengths.map(|len| {
        let (taken, left) = std::mem::take(&mut rest).split_at_mut(len);
        rest = left;
        taken
    })
}
