//! Matrices of types for which candle has no vector kernels: `Q4_1`, `Q5_0`, `Q5_1`.
//!
//! All three are affine: a block holds 32 small numbers `q` with `w = scale · q + offset`. Activations
//! are quantized to 8 bits by blocks of 32, `x = step · a`; a block's product is
//! `scale · step · Σ q·a + offset · step · Σ a`.

use rayon::prelude::*;

use super::affine_kernel::tile;
use super::buffer::resize;
use super::tiles::Product;
use crate::EngineError;
use vramplan_planner::dtype::GgmlType;

/// Elements of a block.
pub(super) const BLOCK: usize = 32;

/// How a block is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    /// Scale, offset, 16 bytes of low and high nibbles.
    Q4_1,
    /// Scale, 32 fifth bits, nibbles; the offset is −16 scales.
    Q5_0,
    /// Scale, offset, 32 fifth bits, nibbles.
    Q5_1,
}

impl Packing {
    /// The packing of a type that has no other kernel.
    pub(super) const fn of(ty: GgmlType) -> Option<Self> {
        match ty {
            GgmlType::Q4_1 => Some(Self::Q4_1),
            GgmlType::Q5_0 => Some(Self::Q5_0),
            GgmlType::Q5_1 => Some(Self::Q5_1),
            _ => None,
        }
    }

    /// Bytes of a block.
    pub(super) const fn bytes(self) -> usize {
        match self {
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
        }
    }

    /// Where a block has its offset, where one bit more of each number, and where the nibbles.
    #[inline]
    pub(super) const fn places(self) -> (Option<usize>, Option<usize>, usize) {
        match self {
            Self::Q4_1 => (Some(2), None, 4),
            Self::Q5_0 => (None, Some(2), 6),
            Self::Q5_1 => (Some(2), Some(4), 8),
        }
    }
}

/// A block of a matrix: `w = scale · number + offset`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unpacked {
    pub(super) numbers: [u8; BLOCK],
    pub(super) scale: f32,
    pub(super) offset: f32,
}

impl Unpacked {
    pub(super) const ZERO: Self = Self { numbers: [0; BLOCK], scale: 0.0, offset: 0.0 };

    /// The factors of a block, and its numbers as `numbers` makes them of nibbles and fifth bits.
    #[inline]
    pub(super) fn new(
        packing: Packing,
        block: &[u8],
        numbers: impl Fn([u8; BLOCK / 2], [u8; 4]) -> [u8; BLOCK],
    ) -> Self {
        let (offset, bits, nibbles) = packing.places();
        let scale = widen(part(block, 0));
        let offset = offset.map_or(-16.0 * scale, |at| widen(part(block, at)));
        let bits = bits.map_or([0; 4], |at| part(block, at));
        Self { numbers: numbers(part(block, nibbles), bits), scale, offset }
    }
}

/// The bytes from `at` on; zeros where the block is shorter.
#[inline]
fn part<const N: usize>(block: &[u8], at: usize) -> [u8; N] {
    block.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

/// A half as f32 without a call: a shift and a product, subnormal numbers included.
#[inline]
fn widen(half: [u8; 2]) -> f32 {
    const TWO_TO_112: f32 = f32::from_bits((127 + 112) << 23);
    let bits = u32::from(u16::from_le_bytes(half));
    f32::from_bits((bits & 0x8000) << 16 | (bits & 0x7fff) << 13) * TWO_TO_112
}

/// 32 activations in 8 bits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Activations {
    pub(super) numbers: [i8; BLOCK],
    /// What they are multiples of.
    pub(super) step: f32,
    /// Their sum.
    pub(super) sum: f32,
}

impl Activations {
    const ZERO: Self = Self { numbers: [0; BLOCK], step: 0.0, sum: 0.0 };

    #[allow(clippy::cast_possible_truncation, reason = "at most 127 after the division")]
    fn quantize(&mut self, x: &[f32]) {
        let largest = x.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
        self.step = largest / 127.0;
        let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
        let mut sum = 0i32;
        for (number, x) in self.numbers.iter_mut().zip(x) {
            *number = (x * inverse).round_ties_even() as i8;
            sum += i32::from(*number);
        }
        #[allow(clippy::cast_precision_loss, reason = "at most 32 · 127")]
        let sum = sum as f32;
        self.sum = sum * self.step;
    }
}

/// `out = x · matrixᵀ`, where `x` is rows of `row` elements and `matrix` the blocks of its rows.
pub(super) fn multiply(
    packing: Packing,
    matrix: &[u8],
    x: &[f32],
    row: usize,
    out: &mut [f32],
    quantized: &mut Vec<Activations>,
) -> Result<(), EngineError> {
    resize(quantized, x.len() / BLOCK, Activations::ZERO)?;
    let blocks = row / BLOCK;
    quantized.par_chunks_mut(blocks).zip(x.par_chunks(row)).for_each(|(quantized, x)| {
        quantized.iter_mut().zip(x.chunks_exact(BLOCK)).for_each(|(block, x)| block.quantize(x));
    });
    let per_row = blocks * packing.bytes();
    Product { matrix, per_row, quantized: &*quantized, blocks }
        .spread(out, |matrix, quantized, out| tile(packing, matrix, quantized, blocks, out));
    Ok(())
}
