//! The inner loops over affine blocks, with AVX2 where the processor has it.

#![allow(unsafe_code, reason = "a function for a processor's feature is called where it is there")]

use super::affine::{Activations, BLOCK, Packing, Unpacked};

/// Blocks of a row of the matrix that are unpacked before they are used, once for all rows of
/// activations.
const PART: usize = 64;

/// Products of `quantized`, rows of `blocks` blocks, with every row of `matrix`, into `out`, a row for
/// each row of `quantized`.
pub(super) fn tile(
    packing: Packing,
    matrix: &[u8],
    quantized: &[Activations],
    blocks: usize,
    out: &mut [f32],
) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: the processor has both features.
        unsafe { avx2::tile(packing, matrix, quantized, blocks, out) };
        return;
    }
    let unpack = |block: &[u8]| Unpacked::new(packing, block, numbers);
    each_column(packing, matrix, (quantized, blocks), out, unpack, dot::<4>, dot::<1>);
}

/// Goes through the matrix row by row and part by part, four rows of activations at a time.
#[inline]
fn each_column(
    packing: Packing,
    matrix: &[u8],
    (quantized, blocks): (&[Activations], usize),
    out: &mut [f32],
    unpack: impl Fn(&[u8]) -> Unpacked,
    four: impl Fn(&[Unpacked], [&[Activations]; 4]) -> [f32; 4],
    one: impl Fn(&[Unpacked], [&[Activations]; 1]) -> [f32; 1],
) {
    let columns = matrix.len() / (blocks * packing.bytes());
    let rows = quantized.len() / blocks;
    out.fill(0.0);
    let mut unpacked = [Unpacked::ZERO; PART];
    for (column, matrix) in matrix.chunks_exact(blocks * packing.bytes()).enumerate() {
        for (index, packed) in matrix.chunks(PART * packing.bytes()).enumerate() {
            let count = packed.len() / packing.bytes();
            for (block, packed) in unpacked.iter_mut().zip(packed.chunks_exact(packing.bytes())) {
                *block = unpack(packed);
            }
            let unpacked = &unpacked[..count];
            let row = |row: usize| &quantized[row * blocks + index * PART..][..count];
            let mut next = 0;
            while next + 4 <= rows {
                let sums = four(unpacked, [row(next), row(next + 1), row(next + 2), row(next + 3)]);
                for (n, sum) in sums.into_iter().enumerate() {
                    out[(next + n) * columns + column] += sum;
                }
                next += 4;
            }
            for next in next..rows {
                out[next * columns + column] += one(unpacked, [row(next)])[0];
            }
        }
    }
}

/// The 32 numbers of nibbles and fifth bits.
fn numbers(nibbles: [u8; BLOCK / 2], bits: [u8; 4]) -> [u8; BLOCK] {
    let bits = u32::from_le_bytes(bits);
    std::array::from_fn(|index| {
        let byte = nibbles[index % (BLOCK / 2)];
        let nibble = if index < BLOCK / 2 { byte & 15 } else { byte >> 4 };
        nibble | u8::from(bits >> index & 1 == 1) << 4
    })
}

/// Part of a row of the matrix with `N` rows of activations.
fn dot<const N: usize>(matrix: &[Unpacked], rows: [&[Activations]; N]) -> [f32; N] {
    rows.map(|row| {
        let blocks = matrix.iter().zip(row);
        blocks.fold(0.0, |sum, (block, x)| {
            let products = block.numbers.iter().zip(&x.numbers);
            let whole: i32 = products.map(|(q, a)| i32::from(*q) * i32::from(*a)).sum();
            #[allow(clippy::cast_precision_loss, reason = "at most 32 · 31 · 127")]
            let whole = whole as f32;
            sum + block.scale * x.step * whole + block.offset * x.sum
        })
    })
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::{
        __m128i, __m256i, _mm_and_si128, _mm_set1_epi8, _mm_srli_epi16, _mm256_and_si256,
        _mm256_cmpeq_epi8, _mm256_cvtepi32_ps, _mm256_fmadd_ps, _mm256_madd_epi16,
        _mm256_maddubs_epi16, _mm256_or_si256, _mm256_set_m128i, _mm256_set1_epi8,
        _mm256_set1_epi16, _mm256_set1_epi32, _mm256_set1_epi64x, _mm256_set1_ps,
        _mm256_setr_epi64x, _mm256_setzero_ps, _mm256_shuffle_epi8,
    };

    use super::{Activations, BLOCK, Packing, Unpacked, each_column};

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn tile(
        packing: Packing,
        matrix: &[u8],
        quantized: &[Activations],
        blocks: usize,
        out: &mut [f32],
    ) {
        // Closures in such a function have its features.
        let unpack = |block: &[u8]| Unpacked::new(packing, block, |a, b| numbers(a, b));
        let four = |matrix: &[Unpacked], rows: [&[Activations]; 4]| dot::<4>(matrix, rows);
        let one = |matrix: &[Unpacked], rows: [&[Activations]; 1]| dot::<1>(matrix, rows);
        each_column(packing, matrix, (quantized, blocks), out, unpack, four, one);
    }

    #[target_feature(enable = "avx2,fma")]
    #[inline]
    fn dot<const N: usize>(matrix: &[Unpacked], rows: [&[Activations]; N]) -> [f32; N] {
        let ones = _mm256_set1_epi16(1);
        let mut products = [_mm256_setzero_ps(); N];
        let mut offsets = [0.0; N];
        for (index, block) in matrix.iter().enumerate() {
            let numbers: __m256i = bytemuck::cast(block.numbers);
            for n in 0..N {
                let x = &rows[n][index];
                let pairs = _mm256_maddubs_epi16(numbers, bytemuck::cast(x.numbers));
                let whole = _mm256_cvtepi32_ps(_mm256_madd_epi16(pairs, ones));
                let factor = _mm256_set1_ps(block.scale * x.step);
                products[n] = _mm256_fmadd_ps(whole, factor, products[n]);
                offsets[n] += block.offset * x.sum;
            }
        }
        std::array::from_fn(|n| {
            let lanes: [f32; 8] = bytemuck::cast(products[n]);
            offsets[n] + lanes.iter().sum::<f32>()
        })
    }

    /// As [`super::numbers`].
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    fn numbers(nibbles: [u8; BLOCK / 2], bits: [u8; 4]) -> [u8; BLOCK] {
        let bytes: __m128i = bytemuck::cast(nibbles);
        let mask = _mm_set1_epi8(15);
        let high = _mm_and_si128(_mm_srli_epi16::<4>(bytes), mask);
        let both = _mm256_set_m128i(high, _mm_and_si128(bytes, mask));
        // Byte `i` looks at byte `i / 8` of the bits, and there at bit `i % 8`.
        let spread = _mm256_setr_epi64x(
            0,
            0x0101_0101_0101_0101,
            0x0202_0202_0202_0202,
            0x0303_0303_0303_0303,
        );
        let each = _mm256_set1_epi64x(i64::from_le_bytes([1, 2, 4, 8, 16, 32, 64, 128]));
        let bits = _mm256_shuffle_epi8(_mm256_set1_epi32(i32::from_le_bytes(bits)), spread);
        let is_set = _mm256_cmpeq_epi8(_mm256_and_si256(bits, each), each);
        let fifth: __m256i = _mm256_and_si256(is_set, _mm256_set1_epi8(16));
        bytemuck::cast(_mm256_or_si256(both, fifth))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_agree_with_plain_arithmetic() {
        let mut state = 1u32;
        let mut byte = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        for packing in [Packing::Q4_1, Packing::Q5_0, Packing::Q5_1] {
            let (blocks, columns, rows) = (PART + 3, 5, 6);
            let mut matrix: Vec<u8> =
                (0..columns * blocks * packing.bytes()).map(|_| byte()).collect();
            for block in matrix.chunks_exact_mut(packing.bytes()) {
                // Scales and offsets between 1/64 and 1/8.
                (block[1], block[3]) = (0x24 + block[1] % 12, 0xa4 + block[3] % 12);
            }
            let x: Vec<_> = (0..rows * blocks)
                .map(|_| {
                    let numbers = [(); BLOCK].map(|()| byte().cast_signed());
                    let sum: f32 = numbers.iter().map(|a| f32::from(*a)).sum();
                    Activations { numbers, step: 0.25, sum: sum * 0.25 }
                })
                .collect();
            let mut out = vec![0.0; rows * columns];
            tile(packing, &matrix, &x, blocks, &mut out);
            for (row, out) in x.chunks(blocks).zip(out.chunks(columns)) {
                for (matrix, out) in matrix.chunks(blocks * packing.bytes()).zip(out) {
                    let mut expected = 0.0;
                    for (block, x) in matrix.chunks(packing.bytes()).zip(row) {
                        let block = Unpacked::new(packing, block, numbers);
                        for (q, a) in block.numbers.iter().zip(x.numbers) {
                            let weight =
                                f64::from(block.scale) * f64::from(*q) + f64::from(block.offset);
                            expected += weight * f64::from(a) * 0.25;
                        }
                    }
                    let error = (f64::from(*out) - expected).abs();
                    assert!(
                        error < 1e-4 * expected.abs().max(100.0),
                        "{packing:?} {out} {expected}"
                    );
                }
            }
        }
    }
}
