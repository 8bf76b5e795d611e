//! Matrices of types for which candle has no vector kernels: `Q4_1`, `Q5_0`, `Q5_1`.
//!
//! All three are affine: a block holds 32 small numbers `q` with `w = scale · q + offset`. Activations
//! are quantized to 8 bits by blocks of 32, `x = step · a`; a block's product is
//! `scale · step · Σ q·a + offset · step · Σ a`.

use half::f16;
use rayon::prelude::*;

use super::affine_kernel::tile;
use super::tiles::Product;
use crate::dtype::GgmlType;

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

    /// Scale, offset and the 32 numbers of a block.
    #[inline]
    pub(super) fn unpack(self, block: &[u8]) -> (f32, f32, [u8; BLOCK]) {
        let scale = half(block, 0);
        let (offset, bits, nibbles) = match self {
            Self::Q4_1 => (half(block, 2), None, 4),
            Self::Q5_0 => (-16.0 * scale, Some(2), 6),
            Self::Q5_1 => (half(block, 2), Some(4), 8),
        };
        let mut numbers = [0; BLOCK];
        for (index, byte) in block[nibbles..nibbles + BLOCK / 2].iter().enumerate() {
            numbers[index] = byte & 15;
            numbers[index + BLOCK / 2] = byte >> 4;
        }
        if let Some(at) = bits {
            let [a, b, c, d] = [block[at], block[at + 1], block[at + 2], block[at + 3]];
            let bits = u32::from_le_bytes([a, b, c, d]);
            for (index, number) in numbers.iter_mut().enumerate() {
                *number |= u8::from(bits >> index & 1 == 1) << 4;
            }
        }
        (scale, offset, numbers)
    }
}

#[inline]
fn half(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
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
) {
    quantized.resize(x.len() / BLOCK, Activations::ZERO);
    let blocks = row / BLOCK;
    quantized.par_chunks_mut(blocks).zip(x.par_chunks(row)).for_each(|(quantized, x)| {
        quantized.iter_mut().zip(x.chunks_exact(BLOCK)).for_each(|(block, x)| block.quantize(x));
    });
    let per_row = blocks * packing.bytes();
    Product { matrix, per_row, quantized: &*quantized, blocks }
        .spread(out, |matrix, quantized, out| tile(packing, matrix, quantized, blocks, out));
}
