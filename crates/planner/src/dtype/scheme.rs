//! How checkpoints store the weight of one linear layer.
//!
//! Sources: compressed-tensors `compressors/`; transformers `integrations/finegrained_fp8.py`, `mxfp4.py`;
//! `TensorRT` Model Optimizer `torch/export`; `AutoGPTQ` and `AutoAWQ` `qlinear`; the headers of published checkpoints.

use crate::units::{Bytes, Overflow};

/// How a linear layer's weight is stored, with its scales.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// 8-bit floats with one scale for every `rows × columns` of the weight.
    Fp8Block {
        /// Outputs of a block.
        rows: u64,
        /// Inputs of a block.
        columns: u64,
    },
    /// The same with scales of 8 bits, powers of two (DeepSeek-V4).
    Fp8PowerBlock {
        /// Outputs of a block.
        rows: u64,
        /// Inputs of a block.
        columns: u64,
    },
    /// 8-bit floats with one scale for every output.
    Fp8Channel,
    /// 8-bit floats with one scale for the weight, and one for its input.
    Fp8Tensor,
    /// 8-bit floats with an 8-bit scale for every 32 (MXFP8).
    Mxfp8,
    /// 4-bit floats with an 8-bit scale for every `group`, and one for the weight (NVFP4).
    Nvfp4 {
        /// Weights that share a scale.
        group: u64,
    },
    /// 4-bit floats with an 8-bit scale for every 32 (MXFP4).
    Mxfp4,
    /// Integers of `bits` bits, in words of 32 bits, with a 16-bit scale for every group.
    Packed {
        /// Bits of a weight.
        bits: u64,
        /// Inputs that share a scale; 0: all of them.
        group: u64,
        /// What else there is of every group or input.
        beside: Beside,
    },
    /// 8-bit integers with one scale for every output.
    Int8Channel,
}

/// What packed weights have beside their scales.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Beside {
    /// Zero points (AWQ).
    Zeros,
    /// Zero points, and the group of every input (GPTQ).
    ZerosAndGroups,
    /// The shape of the weight (compressed-tensors).
    Shape,
    /// The shape of the weight, and zero points.
    ShapeAndZeros,
}

/// Values that share a scale in the MX formats.
const MX_BLOCK: u64 = 32;
/// An f32 scale, and the two integers of 64 bits that a shape is.
const F32: u64 = 4;
const SHAPE: u64 = 16;

impl Scheme {
    /// Bytes of a weight with so many inputs and outputs.
    ///
    /// # Errors
    /// On sizes that no device has.
    pub fn size(self, inputs: u64, outputs: u64) -> Result<Bytes, Overflow> {
        let product = Bytes::product;
        let all = product(&[inputs, outputs])?;
        match self {
            Self::Fp8Block { rows, columns } => {
                let blocks = [inputs.div_ceil(columns.max(1)), outputs.div_ceil(rows.max(1)), F32];
                all.plus(product(&blocks)?)
            }
            Self::Fp8PowerBlock { rows, columns } => {
                let blocks = [inputs.div_ceil(columns.max(1)), outputs.div_ceil(rows.max(1))];
                all.plus(product(&blocks)?)
            }
            Self::Fp8Channel | Self::Int8Channel => all.plus(product(&[outputs, F32])?),
            Self::Fp8Tensor => all.plus(Bytes::new(2 * F32)),
            Self::Mxfp8 => all.plus(product(&[inputs.div_ceil(MX_BLOCK), outputs])?),
            Self::Mxfp4 => {
                halves(inputs, outputs)?.plus(product(&[inputs.div_ceil(MX_BLOCK), outputs])?)
            }
            Self::Nvfp4 { group } => {
                let scales = product(&[inputs.div_ceil(group.max(1)), outputs])?;
                halves(inputs, outputs)?.plus(scales)?.plus(Bytes::new(2 * F32))
            }
            Self::Packed { bits, group, beside } => packed(inputs, outputs, bits, group, beside),
        }
    }
}

/// Two values a byte.
fn halves(inputs: u64, outputs: u64) -> Result<Bytes, Overflow> {
    Bytes::product(&[inputs.div_ceil(2), outputs])
}

fn packed(
    inputs: u64,
    outputs: u64,
    bits: u64,
    group: u64,
    beside: Beside,
) -> Result<Bytes, Overflow> {
    let product = Bytes::product;
    let groups = if group == 0 { 1 } else { inputs.div_ceil(group) };
    let words = |n: u64| n.checked_mul(bits).map(|bits| bits.div_ceil(32)).ok_or(Overflow);
    let weight = product(&[words(inputs)?, outputs, 4])?;
    let scales = product(&[groups, outputs, 2])?;
    let zeros = product(&[groups, words(outputs)?, 4])?;
    let sum = weight.plus(scales)?;
    match beside {
        Beside::Zeros => sum.plus(zeros),
        Beside::ZerosAndGroups => sum.plus(zeros)?.plus(product(&[inputs, 4])?),
        Beside::Shape => sum.plus(Bytes::new(SHAPE)),
        Beside::ShapeAndZeros => sum.plus(zeros)?.plus(Bytes::new(SHAPE)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_tensors_in_published_checkpoints() {
        // `model.layers.0.mlp.gate_proj` of Qwen3-8B (4096 inputs, 12288 outputs) in each format.
        let of = |scheme: Scheme| scheme.size(4096, 12_288).unwrap().get();
        let all = 4096 * 12_288;
        assert_eq!(of(Scheme::Fp8Block { rows: 128, columns: 128 }), all + 32 * 96 * 4);
        assert_eq!(of(Scheme::Fp8Channel), all + 12_288 * 4);
        assert_eq!(of(Scheme::Fp8Tensor), all + 8);
        assert_eq!(of(Scheme::Mxfp4), all / 2 + all / 32);
        assert_eq!(of(Scheme::Mxfp8), all + all / 32);
        assert_eq!(of(Scheme::Nvfp4 { group: 16 }), all / 2 + all / 16 + 8);
        let packed = |bits, beside| of(Scheme::Packed { bits, group: 128, beside });
        let (scales, zeros) = (32 * 12_288 * 2, 32 * 12_288 / 8 * 4);
        assert_eq!(packed(4, Beside::Zeros), all / 2 + scales + zeros);
        assert_eq!(packed(4, Beside::ZerosAndGroups), all / 2 + scales + zeros + 4096 * 4);
        assert_eq!(packed(8, Beside::Shape), all + scales + 16);
    }

    #[test]
    fn sizes_that_overflow_are_refused() {
        for scheme in [
            Scheme::Fp8Channel,
            Scheme::Nvfp4 { group: 16 },
            Scheme::Packed { bits: 4, group: 128, beside: Beside::Zeros },
        ] {
            assert!(scheme.size(u64::MAX, 3).is_err(), "{scheme:?}");
        }
    }
}
