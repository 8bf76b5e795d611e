//! Sizes of tensors as transformers and its quantization libraries hold them.
//!
//! bitsandbytes, GPTQ and AWQ quantize the linear layers of the decoder blocks; embeddings, output
//! head, norms and biases stay in 16 bits (transformers `quantizers/base.py`,
//! `get_keys_to_not_convert`).
//!
//! bitsandbytes quantizes modules that are `nn.Linear` and nothing else
//! (`integrations/bitsandbytes.py`, `replace_with_bnb_linear`). Since transformers 5 the routed
//! experts of a layer are two parameters of one module, and the router is a module of its own: both
//! stay in 16 bits, and so does nearly all of a mixture of experts.

use crate::dtype::WeightFormat;
use crate::spec::{Role, TensorSpec};
use crate::units::{Bytes, Overflow};

/// Weights that share a scale in NF4 and FP4, and scales that share a scale when doubly quantized.
const BNB_BLOCK: u64 = 64;
const BNB_NESTED_BLOCK: u64 = 256;
/// The table of 16 f32 code values that every 4-bit tensor carries.
const BNB_CODE: u64 = 16 * 4;
/// The table of 256 f32 code values, and the f32 offset, of double quantization.
const BNB_NESTED_CODE: u64 = 256 * 4 + 4;
/// f32 scales of weight and input that an FP8 linear layer carries.
const FP8_SCALES: u64 = 2 * 4;

/// The size of `tensor` in `format`.
pub fn size_of(tensor: &TensorSpec, format: WeightFormat) -> Result<Bytes, Overflow> {
    let (input, output) = (tensor.row, tensor.rows);
    let is_quantized = if is_bitsandbytes(format) {
        is_linear_module(tensor.role)
    } else {
        tensor.role.is_block_linear()
    };
    if !is_quantized {
        return dense(tensor, format);
    }
    match format {
        WeightFormat::Nf4 { double_quant } | WeightFormat::Fp4 { double_quant } => {
            four_bit(tensor.elements(), double_quant)
        }
        WeightFormat::Int8 => Bytes::product(&[input, output])?.plus(Bytes::product(&[output, 4])?),
        WeightFormat::GptqInt4 { group } => {
            int4(input, output, group)?.plus(Bytes::product(&[input, 4])?)
        }
        WeightFormat::AwqInt4 { group } => int4(input, output, group),
        WeightFormat::Fp8 => Bytes::product(&[input, output])?.plus(Bytes::new(FP8_SCALES)),
        _ => dense(tensor, format),
    }
}

/// Whether bitsandbytes makes this format while it loads a checkpoint.
pub const fn is_bitsandbytes(format: WeightFormat) -> bool {
    matches!(format, WeightFormat::Nf4 { .. } | WeightFormat::Fp4 { .. } | WeightFormat::Int8)
}

/// Whether transformers 5 has an `nn.Linear` for this matrix. bitsandbytes leaves out the output head
/// only, so that it quantizes vision towers too; checkpoints made for AWQ, GPTQ and FP8 leave them out.
pub const fn is_linear_module(role: Role) -> bool {
    match role {
        Role::VisionLinear => true,
        Role::Router => false,
        _ => role.is_block_linear() && !role.is_routed_expert(),
    }
}

/// The size without quantization.
pub fn dense(tensor: &TensorSpec, format: WeightFormat) -> Result<Bytes, Overflow> {
    let bytes = if format == WeightFormat::F32 { 4 } else { 2 };
    Bytes::product(&[tensor.elements(), bytes])
}

/// Packed nibbles, their f32 (or doubly quantized) scales, and the tables of the format.
fn four_bit(elements: u64, double_quant: bool) -> Result<Bytes, Overflow> {
    let packed = Bytes::new(elements.div_ceil(2));
    let blocks = elements.div_ceil(BNB_BLOCK);
    let scales = if double_quant {
        let nested = Bytes::product(&[blocks.div_ceil(BNB_NESTED_BLOCK), 4])?;
        Bytes::sum([Bytes::new(blocks), nested, Bytes::new(BNB_NESTED_CODE)])?
    } else {
        Bytes::product(&[blocks, 4])?
    };
    Bytes::sum([packed, scales, Bytes::new(BNB_CODE)])
}

/// `qweight`, `qzeros` and f16 `scales`.
fn int4(input: u64, output: u64, group: u64) -> Result<Bytes, Overflow> {
    let groups = input.div_ceil(group);
    let weights = Bytes::product(&[input.div_ceil(8), output, 4])?;
    let zeros = Bytes::product(&[groups, output.div_ceil(8), 4])?;
    Bytes::sum([weights, zeros, Bytes::product(&[groups, output, 2])?])
}
