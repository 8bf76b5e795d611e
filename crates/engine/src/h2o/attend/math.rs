//! Arithmetic that the kernels share, in a form that compilers vectorise.

#![allow(clippy::inline_always, reason = "inlined into code for several instruction sets")]

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

/// `a · b + c`, rounded once where that is one instruction.
#[inline(always)]
pub fn mul_add<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// `exp(x)` for `x ≤ 0`, to 2e-7 of its value; 0 below −87, and for not-a-number.
#[inline(always)]
pub fn exp<const FMA: bool>(x: f32) -> f32 {
    let clamped = if x >= LOWEST { x } else { LOWEST };
    let shifted = mul_add::<FMA>(clamped, LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = mul_add::<FMA>(n, -LN_2[0], clamped);
    let r = mul_add::<FMA>(n, -LN_2[1], r);
    let mut series = SERIES[0];
    for c in &SERIES[1..] {
        series = mul_add::<FMA>(series, r, *c);
    }
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    let value = mul_add::<FMA>(series, r * r, r + 1.0) * power;
    if x >= LOWEST { value } else { 0.0 }
}

/// The sum of eight lanes: halves, quarters, eighths.
#[inline(always)]
pub fn sum(x: [f32; 8]) -> f32 {
    let four: [f32; 4] = std::array::from_fn(|i| x[i] + x[i + 4]);
    (four[0] + four[2]) + (four[1] + four[3])
}

/// The larger of two numbers; the first where one is not a number.
#[inline(always)]
pub fn larger(a: f32, b: f32) -> f32 {
    if b > a { b } else { a }
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "exact")]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_exponential() {
        for n in 0..=870_000_u32 {
            let x = -f64::from(n) / 1e4;
            #[allow(clippy::cast_possible_truncation, reason = "the nearest will do")]
            let narrow = x as f32;
            let exact = f64::from(narrow).exp();
            for value in [exp::<false>(narrow), exp::<true>(narrow)] {
                assert!((f64::from(value) / exact - 1.0).abs() < 2e-7, "{x}: {value}");
            }
        }
        let ends = [0.0, -87.1, f32::NEG_INFINITY, f32::NAN].map(exp::<false>);
        assert_eq!(ends, [1.0, 0.0, 0.0, 0.0]);
    }
}
