//! The exponential, for arguments that are not positive, in a form that compilers vectorise.

use std::f32::consts::LOG2_E;

/// Below it the result is 0: `exp(-87)` is close to the smallest normal number.
const LOWEST: f32 = -87.0;
/// Adding it rounds to a whole number, which then is in the low bits.
const ROUND: f32 = 12_582_912.0;
/// ln 2 in two parts, the first of them exact when multiplied by a small whole number.
const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
/// Cephes' `expf`: the series of `(exp(r) − 1 − r) / r²` for `|r| ≤ ln 2 / 2`.
const SERIES: [f32; 6] =
    [1.987_569_1e-4, 1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];

/// `exp(x)` for `x ≤ 0`, to 2e-7 of its value; 0 below −87, and for not-a-number.
#[inline(always)]
#[allow(clippy::inline_always, reason = "inlined into code for several instruction sets")]
pub fn exp(x: f32) -> f32 {
    let clamped = x.max(LOWEST);
    let shifted = clamped * LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = clamped - n * LN_2[0] - n * LN_2[1];
    let series = SERIES.iter().skip(1).fold(SERIES[0], |sum, c| sum * r + c);
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    if x >= LOWEST { (series * r * r + r + 1.0) * power } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_exponential() {
        for n in 0..=870_000_u32 {
            let x = -f64::from(n) / 1e4;
            #[allow(clippy::cast_possible_truncation)]
            let (narrow, exact) = (x as f32, f64::from(x as f32).exp());
            assert!((f64::from(exp(narrow)) / exact - 1.0).abs() < 2e-7, "{x}");
        }
        assert_eq!(
            (exp(0.0), exp(-87.1), exp(f32::NEG_INFINITY), exp(f32::NAN)),
            (1.0, 0.0, 0.0, 0.0)
        );
    }
}
