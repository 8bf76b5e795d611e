//! The inner loops over affine blocks, with AVX2 where the processor has it.

#![allow(unsafe_code, reason = "a function for a processor's feature is called where it is there")]

use super::affine::{Activations, BLOCK, Packing};

/// Products of `quantized`, rows of `blocks` blocks, with every row of `matrix`, into `out`, a row for
/// each row of `quantized`.
pub(super) fn tile(
    packing: Packing,
    matrix: &[u8],
    quantized: &[Activations],
    blocks: usize,
    out: &mut [f32],
) {
    let columns = matrix.len() / (blocks * packing.bytes());
    let mut rows = quantized.chunks_exact(4 * blocks);
    let mut outs = out.chunks_exact_mut(4 * columns);
    for (rows, out) in rows.by_ref().zip(outs.by_ref()) {
        columns_of::<4>(packing, matrix, rows, blocks, out);
    }
    let rest = outs.into_remainder().chunks_exact_mut(columns);
    for (row, out) in rows.remainder().chunks_exact(blocks).zip(rest) {
        columns_of::<1>(packing, matrix, row, blocks, out);
    }
}

/// The same for `N` rows.
fn columns_of<const N: usize>(
    packing: Packing,
    matrix: &[u8],
    rows: &[Activations],
    blocks: usize,
    out: &mut [f32],
) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: the processor has both features.
        unsafe { avx2::columns_of::<N>(packing, matrix, rows, blocks, out) };
        return;
    }
    each_column::<N>(packing, matrix, rows, blocks, out, dot::<N>);
}

/// Calls `dot` for every row of the matrix.
#[inline]
fn each_column<const N: usize>(
    packing: Packing,
    matrix: &[u8],
    rows: &[Activations],
    blocks: usize,
    out: &mut [f32],
    dot: impl Fn(Packing, &[u8], [&[Activations]; N]) -> [f32; N],
) {
    let columns = out.len() / N;
    let rows: [&[Activations]; N] = std::array::from_fn(|n| &rows[n * blocks..][..blocks]);
    for (column, matrix) in matrix.chunks_exact(blocks * packing.bytes()).enumerate() {
        for (n, sum) in dot(packing, matrix, rows).into_iter().enumerate() {
            out[n * columns + column] = sum;
        }
    }
}

/// One row of the matrix with `N` rows of activations.
fn dot<const N: usize>(packing: Packing, matrix: &[u8], rows: [&[Activations]; N]) -> [f32; N] {
    let mut sums = [0.0; N];
    for (index, block) in matrix.chunks_exact(packing.bytes()).enumerate() {
        let (scale, offset, numbers) = packing.unpack(block);
        for (sum, row) in sums.iter_mut().zip(rows) {
            let x = &row[index];
            let products = numbers.iter().zip(&x.numbers);
            let whole: i32 = products.map(|(q, a)| i32::from(*q) * i32::from(*a)).sum();
            #[allow(clippy::cast_precision_loss, reason = "at most 32 · 31 · 127")]
            let whole = whole as f32;
            *sum += scale * x.step * whole + offset * x.sum;
        }
    }
    sums
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::{
        __m128i, __m256, __m256i, _mm_and_si128, _mm_set1_epi8, _mm_srli_epi16, _mm256_and_si256,
        _mm256_cmpeq_epi8, _mm256_cvtepi32_ps, _mm256_fmadd_ps, _mm256_madd_epi16,
        _mm256_maddubs_epi16, _mm256_or_si256, _mm256_set_m128i, _mm256_set1_epi8,
        _mm256_set1_epi16, _mm256_set1_epi32, _mm256_set1_epi64x, _mm256_set1_ps,
        _mm256_setr_epi64x, _mm256_setzero_ps, _mm256_shuffle_epi8,
    };

    use half::f16;

    use super::{Activations, BLOCK, Packing, each_column};

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn columns_of<const N: usize>(
        packing: Packing,
        matrix: &[u8],
        rows: &[Activations],
        blocks: usize,
        out: &mut [f32],
    ) {
        // A closure in such a function has its features.
        each_column::<N>(packing, matrix, rows, blocks, out, |packing, matrix, rows| {
            dot::<N>(packing, matrix, rows)
        });
    }

    #[target_feature(enable = "avx2,fma")]
    #[inline]
    fn dot<const N: usize>(packing: Packing, matrix: &[u8], rows: [&[Activations]; N]) -> [f32; N] {
        let ones = _mm256_set1_epi16(1);
        let mut products = [_mm256_setzero_ps(); N];
        let mut offsets = [0.0; N];
        for (index, block) in matrix.chunks_exact(packing.bytes()).enumerate() {
            let (scale, offset, numbers) = unpack(packing, block);
            for n in 0..N {
                let x = &rows[n][index];
                let pairs = _mm256_maddubs_epi16(numbers, bytemuck::cast(x.numbers));
                let whole = _mm256_cvtepi32_ps(_mm256_madd_epi16(pairs, ones));
                products[n] = _mm256_fmadd_ps(whole, _mm256_set1_ps(scale * x.step), products[n]);
                offsets[n] += offset * x.sum;
            }
        }
        std::array::from_fn(|n| offsets[n] + total(products[n]))
    }

    fn total(lanes: __m256) -> f32 {
        bytemuck::cast::<_, [f32; 8]>(lanes).iter().sum()
    }

    /// As [`Packing::unpack`].
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    fn unpack(packing: Packing, block: &[u8]) -> (f32, f32, __m256i) {
        let scale = half(block, 0);
        match packing {
            Packing::Q4_1 => (scale, half(block, 2), nibbles(part(block, 4))),
            Packing::Q5_0 => (scale, -16.0 * scale, with_bits(block, 2)),
            Packing::Q5_1 => (scale, half(block, 2), with_bits(block, 4)),
        }
    }

    #[inline]
    fn half(block: &[u8], at: usize) -> f32 {
        f16::from_le_bytes(part(block, at)).to_f32()
    }

    #[inline]
    fn part<const N: usize>(block: &[u8], at: usize) -> [u8; N] {
        let mut part = [0; N];
        part.copy_from_slice(&block[at..at + N]);
        part
    }

    #[target_feature(enable = "avx2,fma")]
    #[inline]
    fn nibbles(bytes: [u8; BLOCK / 2]) -> __m256i {
        let bytes: __m128i = bytemuck::cast(bytes);
        let mask = _mm_set1_epi8(15);
        let high = _mm_and_si128(_mm_srli_epi16::<4>(bytes), mask);
        _mm256_set_m128i(high, _mm_and_si128(bytes, mask))
    }

    /// Nibbles with the fifth bits from byte `at` on, one a number.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    fn with_bits(block: &[u8], at: usize) -> __m256i {
        let bits = _mm256_set1_epi32(i32::from_le_bytes(part(block, at)));
        // Byte `i` of the result looks at byte `i / 8` of the bits, and there at bit `i % 8`.
        let spread = _mm256_setr_epi64x(
            0,
            0x0101_0101_0101_0101,
            0x0202_0202_0202_0202,
            0x0303_0303_0303_0303,
        );
        let each = _mm256_set1_epi64x(i64::from_le_bytes([1, 2, 4, 8, 16, 32, 64, 128]));
        let set = _mm256_and_si256(_mm256_shuffle_epi8(bits, spread), each);
        let fifth = _mm256_and_si256(_mm256_cmpeq_epi8(set, each), _mm256_set1_epi8(16));
        _mm256_or_si256(nibbles(part(block, at + 4)), fifth)
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
            let (blocks, columns, rows) = (3, 5, 6);
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
                        let (scale, offset, numbers) = packing.unpack(block);
                        for (q, a) in numbers.iter().zip(x.numbers) {
                            let weight = f64::from(scale) * f64::from(*q) + f64::from(offset);
                            expected += weight * f64::from(a) * 0.25;
                        }
                    }
                    let error = (f64::from(*out) - expected).abs();
                    assert!(error < 1e-4 * expected.abs().max(10.0), "{packing:?} {out} {expected}");
                }
            }
        }
    }
}
