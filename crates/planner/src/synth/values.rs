//! Random values in the layout of every type that llama.cpp's mixtures use.
//!
//! A tensor is filled with random bits; then the few fields of each block that decide about magnitude
//! (scales, minima, exponents) are overwritten. Every bit pattern of the other fields is a number, so
//! that nothing can become infinite or NaN. Block layouts: `ggml-common.h` of ggml.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng as _, SeedableRng as _};

use crate::dtype::GgmlType;

/// What the values of a tensor are like.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Weights around 0 whose root mean square is `1 / sqrt(row)`, which keeps what a linear layer
    /// makes as large as what it is given.
    Weights {
        /// Elements of a row: the input width of the linear layer.
        row: u64,
    },
    /// From 1 to 1.0625, in f32: norms.
    NearOne,
    /// Of either sign, from 1/32 to 1/16, in f32: biases.
    NearZero,
    /// From −2 to −1, in f32: what a delta-net's decay is made from.
    BelowMinusOne,
    /// Exactly these, in f32: computed tables.
    Exactly(Vec<f32>),
}

/// Fills `bytes` with whole blocks of `ty`, from a stream of random numbers that `seed` fixes.
///
/// The same arguments give the same bytes on every machine. Of a type that no mixture uses, the bytes
/// are zero. `Values::Exactly` ignores the seed, and every kind but `Weights` means f32.
pub fn fill(ty: GgmlType, values: &Values, seed: u64, bytes: &mut [u8]) {
    if let Values::Exactly(numbers) = values {
        for (four, number) in bytes.chunks_exact_mut(4).zip(numbers) {
            four.copy_from_slice(&number.to_le_bytes());
        }
        return;
    }
    let Some(pattern) = Pattern::of(ty, values) else {
        return bytes.fill(0);
    };
    Xoshiro256PlusPlus::seed_from_u64(seed).fill_bytes(bytes);
    pattern.apply(bytes);
}

/// Whether [`fill`] knows how to lay out weights of this type.
pub fn is_known(ty: GgmlType) -> bool {
    Pattern::of(ty, &Values::Weights { row: 1 }).is_some()
}

/// A 16-bit word of a block, at its offset: random bits kept by `keep`, the others set to `set`.
type Word = (usize, u16, u16);

/// What is overwritten in every block.
#[derive(Clone, Copy)]
struct Pattern {
    block: usize,
    words: [Word; 4],
}

/// Changes nothing.
const UNTOUCHED: Word = (0, u16::MAX, 0);

impl Pattern {
    fn of(ty: GgmlType, values: &Values) -> Option<Self> {
        let block = usize::try_from(ty.layout().bytes).ok()?;
        let first = match values {
            Values::Weights { row } => return weights(ty, *row).map(|words| Self { block, words }),
            // The upper half of an f32 holds its sign, its exponent and seven bits of its mantissa.
            Values::NearOne => (2, 0x0007, 0x3f80),
            Values::NearZero => (2, 0x807f, 0x3d00),
            Values::BelowMinusOne => (2, 0x007f, 0xbf80),
            Values::Exactly(_) => return None,
        };
        let words = [first, UNTOUCHED, UNTOUCHED, UNTOUCHED];
        (ty == GgmlType::F32).then_some(Self { block, words })
    }

    fn apply(&self, bytes: &mut [u8]) {
        match self.block {
            2 => self.lanes::<2>(bytes),
            4 => self.lanes::<4>(bytes),
            _ => bytes.chunks_exact_mut(self.block).for_each(|block| {
                for word in self.words {
                    overwrite(block, word);
                }
            }),
        }
    }

    /// The same for blocks of one number, which a compiler can do several at a time.
    fn lanes<const N: usize>(&self, bytes: &mut [u8]) {
        let [first, ..] = self.words;
        bytes.chunks_exact_mut(N).for_each(|lane| overwrite(lane, first));
    }
}

fn overwrite(block: &mut [u8], (offset, keep, set): Word) {
    if let Some([low, high]) = block.get_mut(offset..offset + 2) {
        let [keep_low, keep_high] = keep.to_le_bytes();
        let [set_low, set_high] = set.to_le_bytes();
        *low = *low & keep_low | set_low;
        *high = *high & keep_high | set_high;
    }
}

/// The words of a type's block that decide about magnitude.
///
/// `rms` is the root mean square of a block whose other bits are random and whose scale is 1 (and whose
/// minimum, where it has one, makes the mean 0); measured over 200,000 values with the dequantizers of
/// the `gguf` package, which the tests repeat for the common types.
fn weights(ty: GgmlType, row: u64) -> Option<[Word; 4]> {
    use GgmlType as T;
    let wanted = 1.0 / as_f64(row.max(1)).sqrt();
    let scale = |offset: usize, rms: f64| (offset, 0, f16(wanted / rms));
    let one = |word: Word| Some([word, UNTOUCHED, UNTOUCHED, UNTOUCHED]);
    // A scale, and `ratio` of it as the minimum: added in the types of 32, subtracted in those of 256.
    let two = |offset: usize, rms: f64, ratio: f64| {
        let (_, _, minimum) = scale(0, rms / ratio.abs());
        let sign = if ratio < 0.0 { 0x8000 } else { 0 };
        Some([scale(offset, rms), (offset + 2, 0, minimum | sign), UNTOUCHED, UNTOUCHED])
    };
    match ty {
        // Random sign and mantissa: uniform between a power of two and the next, rms 1.5275 × the first.
        T::F32 => one((2, 0x807f, (exponent(wanted / 1.5275, 127)) << 7)),
        T::Bf16 => one((0, 0x807f, (exponent(wanted / 1.5275, 127)) << 7)),
        T::F16 => one((0, 0x83ff, (exponent(wanted / 1.5275, 15)) << 10)),
        T::Q4_0 => one(scale(0, 4.636)),
        T::Q4_1 => two(0, 4.610, -7.5),
        T::Q5_0 => one(scale(0, 9.244)),
        T::Q5_1 => two(0, 9.230, -15.5),
        T::Q8_0 => one(scale(0, 73.88)),
        T::Q2K => two(80, 13.90, 1.5),
        T::Q3K => one(scale(108, 43.35)),
        T::Q4K => two(0, 258.5, 7.5),
        T::Q5K => two(0, 526.8, 15.5),
        T::Q6K => one(scale(208, 1365.0)),
        T::Iq2Xxs => one(scale(0, 53.45)),
        T::Iq2Xs => one(scale(0, 56.00)),
        T::Iq2S => one(scale(0, 56.29)),
        T::Iq3Xxs => one(scale(0, 142.5)),
        T::Iq3S => one(scale(0, 140.6)),
        T::Iq1S => one(scale(0, 7.201)),
        T::Iq1M => Some(spread(f16(wanted / 7.205))),
        T::Iq4Nl => one(scale(0, 67.44)),
        T::Iq4Xs => one(scale(0, 1246.0)),
        T::Tq1_0 => one(scale(52, 0.8172)),
        T::Tq2_0 => one(scale(64, 1.224)),
        // One byte: the exponent that the 32 values share.
        T::Mxfp4 => one((0, 0xff00, exponent(wanted / 2.929, 127))),
        _ => None,
    }
}

/// The scale of `IQ1_M`: four bits at the top of each of the four words behind the quants.
fn spread(scale: u16) -> [Word; 4] {
    [0, 1, 2, 3].map(|n: u16| (48 + 2 * usize::from(n), 0x0fff, (scale >> (4 * n)) << 12))
}

/// The exponent of a positive number to the nearest power of two, with a bias, at least 1.
fn exponent(number: f64, bias: i16) -> u16 {
    let power = number.log2().round().clamp(f64::from(1 - bias), f64::from(bias));
    #[allow(clippy::cast_possible_truncation, reason = "clamped to 16 bits")]
    let biased = power as i16 + bias;
    biased.unsigned_abs()
}

/// The bits of a positive number as IEEE half precision, rounded to the nearest; at least the smallest.
fn f16(number: f64) -> u16 {
    let power = number.log2().floor().clamp(-14.0, 15.0);
    let mantissa = (number / (power - 10.0).exp2()).round().clamp(1.0, 2048.0);
    // Below the normal range the mantissa stands alone; above, its leading bit adds to the exponent.
    let bits = (power + 14.0) * 1024.0 + mantissa;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to 31,744")]
    let bits = bits as u16;
    bits.min(0x7bff)
}

#[allow(clippy::cast_precision_loss, reason = "widths are far below 2⁵²")]
const fn as_f64(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
#[path = "values_tests.rs"]
mod tests;
