//! Linear layers: their results, workspaces, and what quantized weights are expanded to.

use super::play::{Held, Library, Play};
use super::widths::Widths;
use crate::dtype::WeightFormat;
use crate::estimate::transformers::gemm_4bit::{Product, is_fused};
use crate::spec::BitsandbytesVersion;

/// Weights that share a scale.
const BLOCK: u64 = 64;

/// A matrix of a decoder layer.
#[derive(Clone, Copy, Debug)]
pub struct Linear {
    /// Elements of an input row.
    pub inputs: u64,
    /// Elements of an output row.
    pub outputs: u64,
    /// Whether it has a bias.
    pub bias: bool,
    /// Whether bitsandbytes quantizes it.
    pub quantized: bool,
}

impl Linear {
    /// One without a bias that may be quantized.
    pub const fn new(inputs: u64, outputs: u64) -> Self {
        Self { inputs, outputs, bias: false, quantized: true }
    }

    /// With a bias.
    pub const fn biased(self, bias: bool) -> Self {
        Self { bias, ..self }
    }

    /// One that is kept in 16 bits.
    pub const fn dense(self) -> Self {
        Self { quantized: false, ..self }
    }
}

/// The result for `rows` rows. The input stays with the caller.
pub fn linear(play: &mut Play, widths: &Widths<'_>, matrix: Linear, rows: u64) -> Held {
    match widths.format {
        WeightFormat::Nf4 { double_quant } | WeightFormat::Fp4 { double_quant }
            if matrix.quantized =>
        {
            four_bit(play, widths, matrix, rows, double_quant)
        }
        WeightFormat::Int8 if matrix.quantized => eight_bit(play, widths, matrix, rows),
        _ => product(play, widths, matrix, rows),
    }
}

fn product(play: &mut Play, widths: &Widths<'_>, matrix: Linear, rows: u64) -> Held {
    let result = play.take(widths.rows(rows, matrix.outputs));
    if matrix.bias {
        play.workspace(Library::BlasLt, widths.lt_workspace);
    } else {
        play.workspace(Library::Blas, widths.workspace);
    }
    result
}

fn four_bit(
    play: &mut Play,
    widths: &Widths<'_>,
    matrix: Linear,
    rows: u64,
    double_quant: bool,
) -> Held {
    let Linear { inputs, outputs, .. } = matrix;
    let elements = inputs * outputs;
    let scales = if double_quant { 4 * elements.div_ceil(BLOCK) } else { 0 };
    if is_fused(widths.bitsandbytes, widths.card, Product { rows, outputs, inputs }) {
        let scales = if widths.bitsandbytes == BitsandbytesVersion::Current { 0 } else { scales };
        let copies = [play.take(scales), play.take(scales)];
        let result = play.take(widths.rows(rows, outputs));
        play.give_all(copies);
        return result;
    }
    let first = play.take(scales);
    let second =
        play.take(if widths.bitsandbytes == BitsandbytesVersion::Current { scales } else { 0 });
    let expanded = play.take(widths.rows(outputs, inputs));
    let returned = widths.bitsandbytes != BitsandbytesVersion::Current;
    let mut copies = Some([first, second]);
    if returned {
        play.give_all(copies.take().into_iter().flatten());
    }
    let result = product(play, widths, matrix, rows);
    play.give_all(copies.into_iter().flatten());
    play.give(expanded);
    result
}

fn eight_bit(play: &mut Play, widths: &Widths<'_>, matrix: Linear, rows: u64) -> Held {
    let Linear { inputs, outputs, .. } = matrix;
    let copy = play.take(if widths.card.f16 { 0 } else { 2 * rows * inputs });
    let magnitudes = play.take(4 * rows);
    let quantized = play.take(rows * inputs);
    let sizes = play.take(2 * rows * inputs);
    let outliers = play.take(rows * inputs);
    play.give(sizes);
    play.give(outliers);
    play.give(copy);
    let product = play.take(4 * rows * outputs);
    let halves = play.take(2 * rows * outputs);
    let result = if widths.card.f16 {
        halves
    } else {
        let result = play.take(2 * rows * outputs);
        play.give(halves);
        result
    };
    play.give(product);
    play.give(magnitudes);
    play.give(quantized);
    result
}
