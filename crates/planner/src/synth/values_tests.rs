//! What is filled is finite and of the right size, by dequantizers written out here from
//! `ggml-quants.c`, `dequantize_row_*`.

use super::*;

fn half(bytes: &[u8]) -> f64 {
    let bits = u16::from_le_bytes([bytes[0], bytes[1]]);
    let (sign, exponent, mantissa) = (bits >> 15, (bits >> 10) & 31, f64::from(bits & 1023));
    let size = match exponent {
        0 => mantissa * (-24f64).exp2(),
        31 => f64::INFINITY,
        _ => (1024.0 + mantissa) * (f64::from(exponent) - 25.0).exp2(),
    };
    if sign == 1 { -size } else { size }
}

/// The 6-bit scale and minimum of group `j` of `Q4_K` and `Q5_K`.
fn scale_min(scales: &[u8], j: usize) -> (f64, f64) {
    let (scale, min) = if j < 4 {
        (scales[j] & 63, scales[j + 4] & 63)
    } else {
        let (low, high) = (scales[j + 4] & 15, scales[j + 4] >> 4);
        (low | (scales[j - 4] >> 6) << 4, high | (scales[j] >> 6) << 4)
    };
    (scale.into(), min.into())
}

/// Value `i` of a block; nothing for types whose values are looked up in tables.
#[allow(clippy::many_single_char_names)]
fn value(ty: GgmlType, b: &[u8], i: usize) -> Option<f64> {
    use GgmlType as T;
    let (low, l) = (i % 16, i % 32);
    let nibble = |byte: u8, high: bool| f64::from(if high { byte >> 4 } else { byte & 15 });
    let (n, j) = (i / 128, i % 128 / 32);
    let group = 8 * n + 2 * j + l / 16;
    Some(match ty {
        T::F32 => f32::from_le_bytes([b[0], b[1], b[2], b[3]]).into(),
        T::Bf16 => f32::from_le_bytes([0, 0, b[0], b[1]]).into(),
        T::F16 => half(b),
        T::Q4_0 => half(b) * (nibble(b[2 + low], i >= 16) - 8.0),
        T::Q4_1 => half(b) * nibble(b[4 + low], i >= 16) + half(&b[2..]),
        T::Q5_0 => half(b) * (nibble(b[6 + low], i >= 16) + fifth(&b[2..], i) - 16.0),
        T::Q5_1 => half(b) * (nibble(b[8 + low], i >= 16) + fifth(&b[4..], i)) + half(&b[2..]),
        T::Q8_0 => half(b) * f64::from(i8::from_le_bytes([b[2 + i]])),
        T::Q2K => {
            let q = (b[16 + 32 * n + l] >> (2 * j)) & 3;
            half(&b[80..]) * nibble(b[group], false) * f64::from(q)
                - half(&b[82..]) * nibble(b[group], true)
        }
        T::Q3K => {
            let q = f64::from((b[32 + 32 * n + l] >> (2 * j)) & 3);
            let kept = (b[l] >> (4 * n + j)) & 1 == 1;
            let scales = &b[96..];
            let low = nibble(scales[group % 8], group >= 8);
            let high = (scales[8 + group % 4] >> (2 * (group / 4))) & 3;
            half(&b[108..])
                * (low + 16.0 * f64::from(high) - 32.0)
                * (q - if kept { 0.0 } else { 4.0 })
        }
        T::Q4K => {
            let (scale, min) = scale_min(&b[4..], i / 32);
            half(b) * scale * nibble(b[16 + 32 * (i / 64) + l], i % 64 >= 32) - half(&b[2..]) * min
        }
        T::Q5K => {
            let (scale, min) = scale_min(&b[4..], i / 32);
            let high = f64::from((b[16 + l] >> (i / 32)) & 1) * 16.0;
            half(b) * scale * (nibble(b[48 + 32 * (i / 64) + l], i % 64 >= 32) + high)
                - half(&b[2..]) * min
        }
        T::Q6K => {
            let low = nibble(b[64 * n + l + 32 * (j % 2)], j >= 2);
            let high = f64::from((b[128 + 32 * n + l] >> (2 * j)) & 3) * 16.0;
            let scale = i8::from_le_bytes([b[192 + group]]);
            half(&b[208..]) * f64::from(scale) * (low + high - 32.0)
        }
        _ => return None,
    })
}

/// The fifth bit of value `i`, where it stands.
fn fifth(bits: &[u8], i: usize) -> f64 {
    f64::from((bits[i / 8] >> (i % 8)) & 1) * 16.0
}

fn filled(ty: GgmlType, values: &Values, blocks: usize) -> Vec<u8> {
    let mut bytes = vec![0; blocks * usize::try_from(ty.layout().bytes).unwrap()];
    fill(ty, values, 42, &mut bytes);
    bytes
}

fn dequantized(ty: GgmlType, bytes: &[u8]) -> Option<Vec<f64>> {
    let elements = usize::try_from(ty.layout().elements).unwrap();
    let blocks = bytes.chunks(usize::try_from(ty.layout().bytes).unwrap());
    blocks.flat_map(|block| (0..elements).map(move |i| value(ty, block, i))).collect()
}

#[test]
fn weights_keep_the_size_of_what_passes_through_them() {
    let mut checked = 0;
    for &ty in GgmlType::ALL {
        for row in [64u64, 5120, 53_248] {
            let bytes = filled(ty, &Values::Weights { row }, 4000);
            let Some(values) = dequantized(ty, &bytes) else { continue };
            let squares: f64 = values.iter().map(|value| value * value).sum();
            #[allow(clippy::cast_precision_loss, reason = "a few thousand values")]
            let gain = (squares / values.len() as f64 * row as f64).sqrt();
            assert!(values.iter().all(|value| value.is_finite()), "{ty}");
            // Floats have an exponent in common, to the nearest power of two: up to √2 off.
            let off = if ty.is_quantized() { 1.03 } else { 1.42 };
            assert!((1.0 / off..off).contains(&gain), "{ty} {row}: {gain}");
            checked += 1;
        }
    }
    assert_eq!(checked, 13 * 3);
}

#[test]
fn scales_of_the_other_types_are_finite_and_not_zero() {
    use GgmlType as T;
    let at =
        [(T::Iq4Nl, 0), (T::Iq4Xs, 0), (T::Iq3S, 0), (T::Iq3Xxs, 0), (T::Iq2S, 0), (T::Iq2Xs, 0)];
    let more = [(T::Iq2Xxs, 0), (T::Iq1S, 0), (T::Tq1_0, 52), (T::Tq2_0, 64)];
    for (ty, offset) in at.into_iter().chain(more) {
        let bytes = filled(ty, &Values::Weights { row: 4096 }, 8);
        for block in bytes.chunks(usize::try_from(ty.layout().bytes).unwrap()) {
            let scale = half(&block[offset..]);
            assert!(scale > 1e-6 && scale < 0.02, "{ty}: {scale}");
        }
    }
    for block in filled(T::Iq1M, &Values::Weights { row: 4096 }, 8).chunks(56) {
        let nibble = |n: usize| u16::from(block[49 + 2 * n] >> 4) << (4 * n);
        let scale = (0..4).map(nibble).sum::<u16>();
        assert_eq!(scale, f16(1.0 / 64.0 / 7.205));
    }
    // 2^-9 · 2.929 = 0.0057: the power of two nearest to 1/64 / 2.929 is 2^-8, of which E8M0 holds 119.
    assert!(filled(T::Mxfp4, &Values::Weights { row: 4096 }, 8).chunks(17).all(|b| b[0] == 119));
}

#[test]
fn vectors_are_what_their_layers_expect() {
    let range = |values: &Values| {
        let bytes = filled(GgmlType::F32, values, 4000);
        let values = dequantized(GgmlType::F32, &bytes).unwrap();
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        (low, high)
    };
    let (low, high) = range(&Values::NearOne);
    assert!(low >= 1.0 && high < 1.0625 && high > 1.06);
    let (low, high) = range(&Values::NearZero);
    assert!(low > -0.0625 && low < -0.06 && high > 0.06 && high < 0.0625);
    let (low, high) = range(&Values::BelowMinusOne);
    assert!(low > -2.0 && low < -1.99 && high <= -1.0);
    assert_eq!(filled(GgmlType::F32, &Values::Exactly(vec![1.5]), 1), 1.5f32.to_le_bytes());
}

#[test]
fn halves_are_rounded_to_the_nearest() {
    for (number, bits) in [
        (1.0, 0x3c00),
        (65_504.0, 0x7bff),
        (1e9, 0x7bff),
        (6.103_515_625e-5, 0x0400),
        (5.960_464_477_539_063e-8, 1),
        (1e-12, 1),
        (0.333_251_953_125, 0x3555),
        (0.99999, 0x3c00),
    ] {
        assert_eq!(f16(number), bits, "{number}");
    }
}

#[test]
fn types_that_no_mixture_uses_are_not_made_up() {
    let unknown: Vec<_> = GgmlType::ALL.iter().filter(|ty| !is_known(**ty)).collect();
    let names: Vec<_> = unknown.iter().map(|ty| ty.name()).collect();
    assert_eq!(names, ["Q8_1", "Q8_K", "I8", "I16", "I32", "I64", "F64", "NVFP4", "Q1_0"]);
    assert!(filled(GgmlType::Q8K, &Values::Weights { row: 1 }, 1).iter().all(|byte| *byte == 0));
}
