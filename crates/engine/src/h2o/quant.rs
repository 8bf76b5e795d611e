//! Symmetric int8 with one f16 scale per row, rounded up so that no element is clipped.

use half::f16;

/// The largest magnitude of an element.
const LIMIT: f32 = 127.0;

/// Quantizes one row and returns its scale: `row ≈ scale · out`.
///
/// Rounds to the nearest, ties to even. A row of zeros has the smallest scale there is; a row that
/// is not finite is clipped.
///
/// # Panics
/// When the lengths differ.
pub fn quantize(row: &[f32], out: &mut [i8]) -> f16 {
    assert_eq!(row.len(), out.len());
    let scale = scale_for(row.iter().fold(0.0, |max: f32, x| max.max(x.abs())));
    let divisor = scale.to_f32();
    for (q, x) in out.iter_mut().zip(row) {
        *q = to_i8((x / divisor).round_ties_even());
    }
    scale
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "clamped to what an i8 holds; not-a-number is 0"
)]
fn to_i8(x: f32) -> i8 {
    x.clamp(-LIMIT, LIMIT) as i8
}

/// The smallest f16 whose 127-fold is not below `largest`.
fn scale_for(largest: f32) -> f16 {
    let nearest = f16::from_f32(largest / LIMIT);
    let scale = if nearest.to_f32() * LIMIT < largest { above(nearest) } else { nearest };
    scale.clamp(f16::MIN_POSITIVE_SUBNORMAL, f16::MAX)
}

/// The next larger f16 of one that is not negative.
fn above(x: f16) -> f16 {
    f16::from_bits(x.to_bits() + 1)
}

/// A scale as f32. Scales are never negative, which makes this a shift and a product, subnormal
/// numbers included.
pub(super) fn widen(scale: f16) -> f32 {
    const TWO_TO_112: f32 = f32::from_bits((127 + 112) << 23);
    f32::from_bits(u32::from(scale.to_bits()) << 13) * TWO_TO_112
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_element_is_never_clipped() {
        for n in 1..2000_u16 {
            let largest = f32::from(n) * 0.731;
            let mut out = [0; 2];
            let scale = quantize(&[largest, -largest / 3.0], &mut out).to_f32();
            assert!(scale * 127.0 >= largest && out[0] > 125, "{largest}: {scale} {out:?}");
            assert!((f32::from(out[1]) * scale + largest / 3.0).abs() <= scale / 2.0);
        }
    }

    #[test]
    fn rows_without_a_scale() {
        let mut out = [1; 2];
        assert_eq!(quantize(&[0.0, 0.0], &mut out), f16::MIN_POSITIVE_SUBNORMAL);
        assert_eq!(out, [0, 0]);
        assert_eq!(quantize(&[f32::INFINITY, f32::NAN], &mut out), f16::MAX);
        assert_eq!(out, [127, 0]);
    }

    #[test]
    fn every_scale_widens_exactly() {
        for bits in 0..=f16::MAX.to_bits() {
            let scale = f16::from_bits(bits);
            assert_eq!(widen(scale).to_bits(), scale.to_f32().to_bits(), "{scale}");
        }
    }
}
