//! Sizes of tensors as transformers and its quantization libraries hold them.
//!
//! bitsandbytes, GPTQ and AWQ quantize the linear layers of the decoder blocks; embeddings, output
//! head, norms and biases stay in 16 bits (transformers `quantizers/base.py`,
//! `get_keys_to_not_convert`).
//!
//! bitsandbytes quantizes modules that are `nn.Linear` and nothing else
//! (`integrations/bitsandbytes.py`, `replace_with_bnb_linear`). Since transformers 5 the routed
//! experts of a layer are two parameters of one module, and the router is a module of its own: both
//! stay in 16 bits, and so does nearly all of a mixture of experts. Before, every expert of most
//! families was three such modules, each quantized for itself.

use super::SizedTensor;
use crate::dtype::{Scheme, WeightFormat};
use crate::spec::{Checkpoint, Group, ModelSpec, OwnFormat, Role, RuntimeSpec, TensorSpec};
use crate::text::ModuleNames;
use crate::units::{Bytes, Overflow};

/// Weights that share a scale in NF4 and FP4, and scales that share a scale when doubly quantized.
const BNB_BLOCK: u64 = 64;
const BNB_NESTED_BLOCK: u64 = 256;
/// The table of 16 f32 code values that every 4-bit tensor carries.
const BNB_CODE: u64 = 16 * 4;
/// The table of 256 f32 code values, and the f32 offset, of double quantization.
const BNB_NESTED_CODE: u64 = 256 * 4;
const BNB_OFFSET: u64 = 4;
/// The 16-bit scale of the weight that an FP8 linear layer carries, and that of its input
/// (compressed-tensors, one scale a tensor).
const FP8_SCALE: u64 = 2;

/// One of the tensors that a layer stores for a weight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// What the library calls it.
    pub name: &'static str,
    /// Its bytes; nothing where the format has no such tensor.
    pub size: Bytes,
}

/// The tensors that a layer stores, as many as there are.
pub type Parts = [Stored; 6];

const fn part(name: &'static str, size: Bytes) -> Stored {
    Stored { name, size }
}

/// What of a mixture of experts has an `nn.Linear` of its own under a version of transformers. The
/// default is that of the newest: nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Modules {
    /// Experts of a layer, where each is a module.
    experts: Option<u64>,
    /// Whether the router is an `nn.Linear`.
    router: bool,
    /// Whether the router stays in f32 whatever the model's type is.
    pub router_in_f32: bool,
}

impl Modules {
    /// Those of a model under the version that `spec` names.
    pub fn of(model: &ModelSpec, spec: &RuntimeSpec) -> Self {
        let (version, shape) = (spec.options.stack().transformers, &model.shape);
        let experts = shape.moe.map(|moe| moe.n_experts);
        Self {
            experts: experts.filter(|_| version.has_expert_modules(shape.architecture)),
            router: version.has_linear_router(shape.architecture),
            router_in_f32: version.keeps_router_in_f32(shape.architecture),
        }
    }

    /// How many modules hold a tensor, and what each holds of it.
    pub fn split(self, tensor: &TensorSpec) -> (u64, TensorSpec) {
        match self.experts {
            Some(experts) if tensor.role.is_routed_expert() && experts > 0 => {
                (experts, TensorSpec { rows: tensor.rows / experts, ..*tensor })
            }
            _ => (1, *tensor),
        }
    }

    /// Whether transformers has an `nn.Linear` for this matrix. bitsandbytes leaves out the output head
    /// only, so that it quantizes vision towers too; checkpoints made for AWQ, GPTQ and FP8 leave them
    /// out.
    pub const fn is_linear(self, role: Role) -> bool {
        match role {
            Role::VisionLinear => true,
            Role::Router => self.router,
            _ if role.is_routed_expert() => self.experts.is_some(),
            _ => role.is_block_linear(),
        }
    }
}

/// A checkpoint's own format, by its files, its configuration or its name; else this one.
pub fn stored_or(model: &ModelSpec, otherwise: WeightFormat) -> WeightFormat {
    let is_checkpoint = model.stored.as_ref().is_some_and(|stored| !stored.is_gguf());
    match &model.own_format {
        _ if is_checkpoint => WeightFormat::AsStored,
        Some(OwnFormat::Listed(_)) => WeightFormat::AsStored,
        // What a name says of files for llama.cpp is not for runtimes of PyTorch.
        Some(OwnFormat::Named(format)) if !matches!(format, WeightFormat::Gguf(_)) => *format,
        _ if model.shape.architecture.family().experts.in_mxfp4() => WeightFormat::Mxfp4,
        _ => otherwise,
    }
}

/// What a quantized checkpoint calls its format, by its files or its configuration.
pub fn own_label(model: &ModelSpec) -> Option<&str> {
    match (&model.stored, &model.own_format) {
        (Some(stored), _) => stored.prequantized.then_some(&stored.label),
        (None, Some(OwnFormat::Listed(checkpoint))) => Some(&checkpoint.label),
        _ => None,
    }
}

/// The checkpoint that a configuration describes, where a model is planned as it is stored and no file was read.
pub fn described(model: &ModelSpec, format: WeightFormat) -> Option<&Checkpoint> {
    match &model.own_format {
        Some(OwnFormat::Listed(checkpoint))
            if format == WeightFormat::AsStored && model.stored.is_none() =>
        {
            Some(checkpoint)
        }
        _ => None,
    }
}

/// A tensor in a format that has one rule for linear layers: routers and the like are left as they are.
fn by_scheme(tensor: &TensorSpec, scheme: Scheme) -> Result<SizedTensor, Overflow> {
    let checkpoint = Checkpoint {
        groups: vec![Group { targets: ModuleNames::default(), scheme }],
        plain_bytes: 2,
        ..Checkpoint::default()
    };
    in_checkpoint(tensor, &checkpoint, 1)
}

/// A tensor as a checkpoint stores it. Every routed expert has scales of its own.
///
/// # Errors
/// On sizes that no device has.
pub fn in_checkpoint(
    tensor: &TensorSpec,
    checkpoint: &Checkpoint,
    experts: u64,
) -> Result<SizedTensor, Overflow> {
    let Some(scheme) = checkpoint.scheme(tensor) else {
        return Ok(whole(tensor, Bytes::product(&[tensor.elements(), checkpoint.plain_bytes])?));
    };
    let experts = if tensor.role.is_routed_expert() { experts.max(1) } else { 1 };
    let size = scheme.size(tensor.row, tensor.rows / experts)?.times(experts)?;
    Ok(whole(tensor, size))
}

/// A tensor that is kept as it is.
pub fn whole(tensor: &TensorSpec, size: Bytes) -> SizedTensor {
    let TensorSpec { role, layer, row, .. } = *tensor;
    SizedTensor { role: Some(role), layer, row, size, ggml: None, parts: None, modules: 1 }
}

/// A tensor as the modules of a library hold it in `format`.
pub fn sized(
    tensor: &TensorSpec,
    format: WeightFormat,
    modules: Modules,
) -> Result<SizedTensor, Overflow> {
    if let Some(scheme) = format.scheme() {
        return by_scheme(tensor, scheme);
    }
    let (count, module) = modules.split(tensor);
    let parts = parts(&module, format, modules)?;
    let size = Bytes::sum(parts.map(|part| part.size))?.times(count)?;
    Ok(SizedTensor { parts: Some(parts), modules: count, ..whole(tensor, size) })
}

/// The tensors that are stored for one module in `format`, each of them an allocation.
pub fn parts(
    tensor: &TensorSpec,
    format: WeightFormat,
    modules: Modules,
) -> Result<Parts, Overflow> {
    let (input, output) = (tensor.row, tensor.rows);
    let is_quantized = if is_bitsandbytes(format) {
        modules.is_linear(tensor.role)
    } else {
        tensor.role.is_block_linear()
    };
    let mut parts = Parts::default();
    if !is_quantized {
        parts[0] = part("weight", dense(tensor, format)?);
        return Ok(parts);
    }
    match format {
        WeightFormat::Nf4 { double_quant } | WeightFormat::Fp4 { double_quant } => {
            return four_bit(tensor.elements(), double_quant);
        }
        WeightFormat::Int8 => {
            parts[0] = part("weight", Bytes::product(&[input, output])?);
            parts[1] = part("SCB", Bytes::product(&[output, 4])?);
        }
        WeightFormat::GptqInt4 { group } => {
            parts = int4(input, output, group)?;
            parts[3] = part("g_idx", Bytes::product(&[input, 4])?);
        }
        WeightFormat::AwqInt4 { group } => return int4(input, output, group),
        WeightFormat::Fp8 => {
            parts[0] = part("weight", Bytes::product(&[input, output])?);
            parts[1] = part("weight_scale", Bytes::new(FP8_SCALE));
            parts[2] = part("input_scale", Bytes::new(FP8_SCALE));
        }
        _ => parts[0] = part("weight", dense(tensor, format)?),
    }
    Ok(parts)
}

/// Whether bitsandbytes makes this format while it loads a checkpoint.
pub const fn is_bitsandbytes(format: WeightFormat) -> bool {
    matches!(format, WeightFormat::Nf4 { .. } | WeightFormat::Fp4 { .. } | WeightFormat::Int8)
}

/// The size without quantization.
pub fn dense(tensor: &TensorSpec, format: WeightFormat) -> Result<Bytes, Overflow> {
    let bytes = if format == WeightFormat::F32 { 4 } else { 2 };
    Bytes::product(&[tensor.elements(), bytes])
}

/// Packed nibbles, their f32 (or doubly quantized) scales, and the tables of the format.
fn four_bit(elements: u64, double_quant: bool) -> Result<Parts, Overflow> {
    let blocks = elements.div_ceil(BNB_BLOCK);
    let mut parts = Parts::default();
    parts[0] = part("weight", Bytes::new(elements.div_ceil(2)));
    parts[1] = part("absmax", Bytes::product(&[blocks, if double_quant { 1 } else { 4 }])?);
    parts[2] = part("code", Bytes::new(BNB_CODE));
    if double_quant {
        parts[3] = part("nested_absmax", Bytes::product(&[blocks.div_ceil(BNB_NESTED_BLOCK), 4])?);
        parts[4] = part("nested_code", Bytes::new(BNB_NESTED_CODE));
        parts[5] = part("offset", Bytes::new(BNB_OFFSET));
    }
    Ok(parts)
}

/// Zero points among the tensors of a module.
pub fn zero_points(parts: Parts) -> Bytes {
    let zeros = parts.into_iter().find(|part| part.name == "qzeros");
    zeros.map_or(Bytes::ZERO, |part| part.size)
}

/// `qweight`, `qzeros` and f16 `scales`.
fn int4(input: u64, output: u64, group: u64) -> Result<Parts, Overflow> {
    let groups = input.div_ceil(group);
    let mut parts = Parts::default();
    parts[0] = part("qweight", Bytes::product(&[input.div_ceil(8), output, 4])?);
    parts[1] = part("qzeros", Bytes::product(&[groups, output.div_ceil(8), 4])?);
    parts[2] = part("scales", Bytes::product(&[groups, output, 2])?);
    Ok(parts)
}
