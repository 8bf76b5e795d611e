//! Weights: tensor by tensor, from the file where there is one, from the format's rule otherwise.
//!
//! `bytes = Σ over tensors of blocks(tensor) · block bytes`, never bits × parameters: embeddings,
//! norms and biases keep their own formats, and where they lie (GPU or host) is the runtime's choice.
//!
//! Not counted here: what allocators round up (`fragmentation`), and expanded copies of a weight
//! while it is used (`activations`).

mod gguf;
mod part;
mod torch;
mod vllm;
mod vllm_stages;

use self::part::Place;
use self::torch::Parts;
use super::Spread;
use crate::dtype::{GgmlType, WeightFormat};
use crate::spec::{
    Basis, Bounds, ModelShape, ModelSpec, Part, Role, Runtime, RuntimeSpec, Split, StoredTensor,
    StoredWeights, TensorSpec,
};
use crate::units::{Bytes, Overflow};

pub use gguf::{Mixture, file_layers};
pub use torch::{Modules, Stored, is_bitsandbytes, parts};

/// Why weights cannot be sized.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WeightsError {
    /// The runtime cannot use this format.
    #[error("the `{runtime}` runtime cannot hold weights as `{format}`: {reason}")]
    Unsupported {
        /// The runtime.
        runtime: Runtime,
        /// The format.
        format: WeightFormat,
        /// Why not.
        reason: &'static str,
        /// What to do instead.
        hint: &'static str,
    },
    /// `as-stored` without a file.
    #[error("`--weights as-stored` needs a file: `{model}` is known by its shape only")]
    NothingStored {
        /// The model.
        model: String,
    },
    /// A quantized checkpoint asked for in another format.
    #[error("`{model}` is quantized already ({label}): it cannot be planned as `{format}`")]
    Prequantized {
        /// The model.
        model: String,
        /// What the checkpoint holds.
        label: String,
        /// The format asked for.
        format: WeightFormat,
    },
    /// A file with tensors that its shape does not imply.
    #[error(
        "`{model}` cannot be planned as `{format}`: its tensors differ from its shape by {difference} elements"
    )]
    Unexplained {
        /// The model.
        model: String,
        /// The format asked for.
        format: WeightFormat,
        /// Elements in the file beyond those of the shape.
        difference: i128,
    },
    /// A number too large to be true.
    #[error(transparent)]
    Overflow(#[from] Overflow),
}

impl WeightsError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unsupported { hint, .. } => Some((*hint).to_owned()),
            Self::NothingStored { .. } => Some("name a format, such as `--weights q4_k_m`".into()),
            Self::Prequantized { .. } => {
                Some("drop `--weights`, or point `--model` at the unquantized checkpoint".into())
            }
            Self::Unexplained { .. } => {
                Some("drop `--weights` to plan the file as it is stored".into())
            }
            Self::Overflow(_) => None,
        }
    }
}

/// A tensor with the size that it has in some format.
#[derive(Clone, Copy, Debug)]
struct SizedTensor {
    /// What it is for.
    role: Option<Role>,
    /// The decoder layer it belongs to, if any.
    layer: Option<u64>,
    /// Elements of a row.
    row: u64,
    /// Bytes, scales included.
    size: Bytes,
    /// Its type where it is a GGML tensor.
    ggml: Option<GgmlType>,
    /// The tensors that each module stores for it, each an allocation of its own.
    parts: Option<Parts>,
    /// Modules that it is spread over: experts, where each has its own.
    modules: u64,
}

/// A linear layer as bitsandbytes quantizes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matrix {
    /// What it is for.
    pub role: Role,
    /// Elements of an input.
    pub inputs: u64,
    /// Elements of an output.
    pub outputs: u64,
}

impl Matrix {
    /// Elements.
    pub fn elements(&self) -> Result<u64, Overflow> {
        self.inputs.checked_mul(self.outputs).ok_or(Overflow)
    }
}

/// The weights of one model in one format under one runtime, on one GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weights {
    /// What the GPU has of the model.
    pub part: Part,
    /// The format asked for.
    pub format: WeightFormat,
    /// Bytes on the GPU.
    pub device: Bytes,
    /// The same with what published files differ by from the rule.
    pub bounds: Bounds,
    /// What of that GPUs before this one have, too.
    pub repeated: Bytes,
    /// Bytes of the vision tower and its projector, where the runtime loads them with the model; not
    /// among `device`.
    pub vision: Bytes,
    /// What of the tower GPUs before this one have, too.
    pub vision_repeated: Bytes,
    /// Bytes that stay in host memory.
    pub host: Bytes,
    /// Bytes that the device reads to generate one token.
    pub per_token: Bytes,
    /// What the runtime adds to each tensor (row padding, rounding of allocations).
    pub rounding: Bytes,
    /// The same for the vision tower.
    pub vision_rounding: Bytes,
    /// Bytes on the GPU that are zero points of AWQ.
    pub zero_points: Bytes,
    /// Tensors on the GPU.
    pub tensors: u64,
    /// Largest matrix as it is moved to the GPU to be quantized there; nothing where the file is
    /// loaded as it is.
    pub largest_moved: Bytes,
    /// The different linear layers of a decoder layer that bitsandbytes multiplies with; none in other
    /// formats.
    pub quantized: Vec<Matrix>,
    /// Whether routed experts are stored in a block format whose kernels read them in place.
    pub packed_experts: bool,
    /// How the size is known.
    pub basis: Basis,
    /// Where it is known from.
    pub source: String,
}

/// Sizes the weights of `model` in `format` as `runtime` holds them.
pub fn weights(
    model: &ModelSpec,
    format: WeightFormat,
    spec: &RuntimeSpec,
) -> Result<Weights, WeightsError> {
    weights_of_part(model, format, spec, &Part::whole(model))
}

/// Sizes the weights that one of `ranks` GPUs holds where a runtime splits every layer.
pub fn weights_per_rank(
    model: &ModelSpec,
    format: WeightFormat,
    spec: &RuntimeSpec,
    ranks: u64,
) -> Result<Weights, WeightsError> {
    weights_of_part(model, format, spec, &Part::rank(model, 0, ranks))
}

/// Sizes the weights that one of several GPUs holds.
pub fn weights_of_part(
    model: &ModelSpec,
    format: WeightFormat,
    spec: &RuntimeSpec,
    part: &Part,
) -> Result<Weights, WeightsError> {
    let runtime = spec.runtime;
    check(model, format, runtime)?;
    let experts = model.shape.moe.map(|moe| (moe.n_experts_used, moe.n_experts));
    let tied = model.shape.tied_embeddings;
    let modules = Modules::of(model, spec);
    let quantized = quantized(model, format, modules);
    let mut total = Weights {
        part: part.clone(),
        format,
        device: Bytes::ZERO,
        repeated: Bytes::ZERO,
        bounds: Bounds::ZERO,
        vision: Bytes::ZERO,
        vision_repeated: Bytes::ZERO,
        host: Bytes::ZERO,
        per_token: Bytes::ZERO,
        rounding: Bytes::ZERO,
        vision_rounding: Bytes::ZERO,
        zero_points: Bytes::ZERO,
        tensors: 0,
        largest_moved: moved(&quantized)?,
        quantized,
        packed_experts: false,
        basis: if format == WeightFormat::AsStored { Basis::Exact } else { Basis::Modelled },
        source: source(model, format),
    };
    let ranks = part.ranks();
    each_tensor(model, format, (runtime, ranks, modules), |tensor| {
        if tensor.role.is_some_and(Role::is_vision) {
            return push_vision(&mut total, tensor, spec);
        }
        total.packed_experts |= is_packed_expert(tensor);
        let is_embedding = tensor.role == Some(Role::TokenEmbedding);
        if is_embedding && runtime == Runtime::LlamaCpp && part.has_embedding {
            total.host = total.host.plus(tensor.size.round_up(HOST_ALIGNMENT)?)?;
        }
        let mut place = part::place(part, runtime, tensor, &model.shape);
        let cut = part::cut(part, tensor, tied)?;
        if cut.is_some() {
            place = Place::Here;
        }
        let tensor = cut.as_ref().unwrap_or(tensor);
        if matches!(place, Place::Host | Place::Elsewhere) || tensor.size.is_zero() {
            return Ok(());
        }
        let size = placed(tensor, runtime)?;
        if place == Place::Repeated || is_copy(part, tensor) {
            total.repeated = total.repeated.plus(size)?;
        }
        total.device = total.device.plus(size)?;
        total.rounding = total.rounding.plus(rounding(tensor, spec)?)?;
        total.zero_points = total.zero_points.plus(zero_points(tensor, format)?)?;
        total.tensors += tensor.modules;
        let is_head = tensor.role == Some(Role::OutputHead) || (tied && is_embedding);
        // Stages of vLLM may have a head that they do not use.
        let is_used = part.has_head || cut.is_some();
        if !(is_embedding || is_head) || (is_head && is_used) {
            total.per_token = total.per_token.plus(read_per_token(tensor, experts)?)?;
        }
        Ok(())
    })?;
    total.bounds = bounds(total.device, format, runtime)?;
    Ok(total)
}

/// Counts a tensor of the vision tower, where the GPU has that: every stage of a pipeline has all of it.
fn push_vision(
    total: &mut Weights,
    tensor: &SizedTensor,
    spec: &RuntimeSpec,
) -> Result<(), Overflow> {
    let part = &total.part;
    if !part.has_vision {
        return Ok(());
    }
    if (part.split == Split::Layer && part.index > 0) || is_copy(part, tensor) {
        total.vision_repeated = total.vision_repeated.plus(tensor.size)?;
    }
    total.vision = total.vision.plus(tensor.size)?;
    total.vision_rounding = total.vision_rounding.plus(rounding(tensor, spec)?)?;
    Ok(())
}

/// What of a tensor are zero points that a kernel may want in another format: AWQ's.
fn zero_points(tensor: &SizedTensor, format: WeightFormat) -> Result<Bytes, Overflow> {
    match (format, tensor.parts) {
        (WeightFormat::AwqInt4 { .. }, Some(parts)) => {
            torch::zero_points(parts).times(tensor.modules)
        }
        _ => Ok(Bytes::ZERO),
    }
}

/// Whether a rank has a tensor that the ranks before it have all of, too.
fn is_copy(part: &Part, tensor: &SizedTensor) -> bool {
    part.ranks() > 1 && part.index > 0 && tensor.role.is_some_and(vllm::is_replicated)
}

fn bounds(device: Bytes, format: WeightFormat, runtime: Runtime) -> Result<Bounds, Overflow> {
    match (format, runtime) {
        (WeightFormat::Gguf(_), _) => Spread::GGUF_FILES.around(device),
        (_, Runtime::Vllm) => Spread::VLLM_WEIGHTS.around(device),
        _ => Ok(Bounds::exactly(device)),
    }
}

/// Bytes of all tensors as a file of this format has them, without alignment or placement.
pub fn file_size(
    model: &ModelSpec,
    format: WeightFormat,
    runtime: Runtime,
) -> Result<Bytes, WeightsError> {
    let mut total = Bytes::ZERO;
    each_tensor(model, format, (runtime, 1, Modules::default()), |tensor| {
        total = total.plus(tensor.size)?;
        Ok(())
    })?;
    Ok(total)
}

/// Every tensor that llama.cpp's converters and quantizer would write for `model` in `format`, with its
/// type.
pub fn file_tensors(
    model: &ModelSpec,
    format: WeightFormat,
) -> Result<Vec<(TensorSpec, GgmlType)>, WeightsError> {
    check(model, format, Runtime::LlamaCpp)?;
    if format == WeightFormat::AsStored {
        return Err(WeightsError::NothingStored { model: model.name.clone() });
    }
    let rule = Rule::new(model, format, Runtime::LlamaCpp);
    let typed = |tensor: TensorSpec| Some((tensor, rule.ggml_type(&tensor)?));
    Ok(gguf::file_tensors(model).into_iter().filter_map(typed).collect())
}

/// Visits every tensor of one rank with its size in `format`.
fn each_tensor(
    model: &ModelSpec,
    format: WeightFormat,
    (runtime, ranks, modules): (Runtime, u64, Modules),
    mut visit: impl FnMut(&SizedTensor) -> Result<(), Overflow>,
) -> Result<(), WeightsError> {
    match (&model.stored, format) {
        (Some(stored), WeightFormat::AsStored) => {
            let part = |t| SizedTensor::from(t).of_ranks(ranks);
            Ok(stored.tensors.iter().map(part).try_for_each(|t| visit(&t))?)
        }
        (None, WeightFormat::AsStored) => {
            Err(WeightsError::NothingStored { model: model.name.clone() })
        }
        (Some(stored), _) if stored.prequantized => Err(WeightsError::Prequantized {
            model: model.name.clone(),
            label: stored.label.clone(),
            format,
        }),
        _ => match model.unexplained_elements().unwrap_or(0) {
            0 => {
                let rule = Rule::new(model, format, runtime);
                let held = (held_as(format, runtime), runtime, modules);
                let mut sized =
                    |tensor: &TensorSpec| visit(&rule.size(tensor, &model.shape, held)?);
                if runtime == Runtime::Transformers {
                    model.tensors.iter().try_for_each(&mut sized)?;
                    return Ok(model.vision_tensors.iter().try_for_each(&mut sized)?);
                }
                if runtime == Runtime::Vllm {
                    return Ok(vllm::tensors(model, ranks).iter().try_for_each(&mut sized)?);
                }
                Ok(gguf::file_tensors(model).iter().try_for_each(&mut sized)?)
            }
            difference => {
                Err(WeightsError::Unexplained { model: model.name.clone(), format, difference })
            }
        },
    }
}

impl From<&StoredTensor> for SizedTensor {
    fn from(tensor: &StoredTensor) -> Self {
        let StoredTensor { role, layer, row, size, ggml, .. } = *tensor;
        Self { role, layer, row, size, ggml, parts: None, modules: 1 }
    }
}

impl SizedTensor {
    /// One rank's part of a stored tensor; what no role is known for is split as the matrix is that it
    /// belongs to.
    fn of_ranks(self, ranks: u64) -> Self {
        if ranks < 2 || self.role.is_some_and(vllm::is_replicated) {
            return self;
        }
        Self { size: Bytes::new(self.size.get().div_ceil(ranks)), ..self }
    }
}

/// How a format decides about tensors.
enum Rule<'a> {
    /// llama.cpp's quantizer.
    Mixture(Mixture<'a>),
    /// A GGUF file without quantization: experts and matrices in these types, vectors in f32.
    Dense { experts: GgmlType, matrices: GgmlType },
    /// The libraries of transformers; experts in this type where they are published so.
    Torch { experts: Option<GgmlType> },
}

impl<'a> Rule<'a> {
    fn new(model: &'a ModelSpec, format: WeightFormat, runtime: Runtime) -> Self {
        let dense = match format {
            WeightFormat::Gguf(file_type) => return Self::Mixture(Mixture::new(file_type, model)),
            WeightFormat::Bf16 => GgmlType::Bf16,
            WeightFormat::F16 => GgmlType::F16,
            _ => GgmlType::F32,
        };
        // gpt-oss is published with its experts in MXFP4, and conversions keep them so.
        let published = model.shape.architecture.family().experts.published;
        let published = published.filter(|_| format != WeightFormat::F32);
        if matches!(runtime, Runtime::Transformers | Runtime::Vllm) {
            return Self::Torch { experts: published };
        }
        Self::Dense { experts: published.unwrap_or(dense), matrices: dense }
    }

    fn size(
        &self,
        tensor: &TensorSpec,
        shape: &ModelShape,
        (format, runtime, modules): (WeightFormat, Runtime, Modules),
    ) -> Result<SizedTensor, Overflow> {
        let ggml = self.ggml_type(tensor);
        let TensorSpec { role, layer, row, .. } = *tensor;
        let sized = |size, parts, modules| SizedTensor {
            role: Some(role),
            layer,
            row,
            size,
            ggml,
            parts,
            modules,
        };
        if let Some(ty) = ggml {
            return Ok(sized(ty.layout().size_of(tensor.row)?.times(tensor.rows)?, None, 1));
        }
        if runtime == Runtime::Vllm && vllm::is_f32(shape, role) {
            return Ok(sized(torch::dense(tensor, WeightFormat::F32)?, None, 1));
        }
        if runtime_keeps(tensor, runtime) {
            return Ok(sized(torch::dense(tensor, format)?, None, 1));
        }
        let (count, module) = modules.split(tensor);
        let parts = torch::parts(&module, format, modules)?;
        let size = Bytes::sum(parts.map(|part| part.size))?.times(count)?;
        Ok(sized(size, Some(parts), count))
    }

    fn ggml_type(&self, tensor: &TensorSpec) -> Option<GgmlType> {
        let is_expert = tensor.role.is_routed_expert();
        match *self {
            Self::Mixture(mixture) => Some(mixture.type_of(tensor)),
            Self::Dense { experts, .. } if is_expert => Some(experts),
            Self::Dense { matrices, .. } if gguf::is_quantized_role(tensor.role) => Some(matrices),
            Self::Dense { .. } => Some(GgmlType::F32),
            Self::Torch { experts } => experts.filter(|_| is_expert),
        }
    }
}

/// vLLM loads towers in 16 bits: checkpoints for it leave them out of quantization.
fn runtime_keeps(tensor: &TensorSpec, runtime: Runtime) -> bool {
    runtime == Runtime::Vllm && tensor.role.is_vision()
}

/// vLLM expands doubly quantized scales to f32 when it loads them (`bitsandbytes_loader.py`,
/// `_dequantize_dq`).
const fn held_as(format: WeightFormat, runtime: Runtime) -> WeightFormat {
    match (runtime, format) {
        (Runtime::Vllm, WeightFormat::Nf4 { .. }) => WeightFormat::Nf4 { double_quant: false },
        _ => format,
    }
}

/// Bytes that a tensor takes in the runtime's model buffer.
///
/// llama.cpp pads quantized rows to 512 elements, once per tensor, and starts tensors at multiples of
/// 128 bytes (`ggml_backend_cuda_buffer_type_get_alloc_size` in `ggml-cuda.cu`).
fn placed(tensor: &SizedTensor, runtime: Runtime) -> Result<Bytes, Overflow> {
    if runtime != Runtime::LlamaCpp {
        return Ok(tensor.size);
    }
    let padding = match tensor.ggml {
        Some(ty) if ty.is_quantized() => {
            let missing =
                (MATRIX_ROW_PADDING - tensor.row % MATRIX_ROW_PADDING) % MATRIX_ROW_PADDING;
            ty.layout().size_of(missing)?
        }
        _ => Bytes::ZERO,
    };
    tensor.size.plus(padding)?.round_up(DEVICE_ALIGNMENT)
}

/// Alignment of llama.cpp's buffers on the GPU and in host memory.
const DEVICE_ALIGNMENT: Bytes = Bytes::new(128);
const HOST_ALIGNMENT: Bytes = Bytes::new(32);

/// Elements to which the CUDA kernels of llama.cpp and candle pad a quantized row.
const MATRIX_ROW_PADDING: u64 = 512;

/// What a runtime's loader or allocator adds to one tensor beside its buffer: nothing in llama.cpp,
/// which places all tensors in one.
fn rounding(tensor: &SizedTensor, spec: &RuntimeSpec) -> Result<Bytes, Overflow> {
    let granule = spec.allocation_granule.value;
    let allocated = |size: Bytes| match spec.runtime {
        Runtime::Vllm => vllm::allocated(size, spec),
        _ => size.round_up(granule),
    };
    match (spec.runtime, tensor.ggml, tensor.parts) {
        (Runtime::LlamaCpp, ..) => Ok(Bytes::ZERO),
        // candle-core `quantized/cuda.rs`, `load_quantized`.
        (Runtime::Vramplan, Some(ty), _) if ty.is_quantized() => {
            let padded = tensor.size.plus(ty.layout().size_of(MATRIX_ROW_PADDING)?)?;
            Ok(allocated(padded)?.minus_or_zero(tensor.size))
        }
        (.., Some(parts)) => {
            let parts = parts.into_iter().map(|part| allocated(part.size));
            let module = Bytes::sum(parts.collect::<Result<Vec<_>, _>>()?)?;
            let all = module.times(tensor.modules)?;
            Ok(all.minus_or_zero(tensor.size))
        }
        _ => Ok(allocated(tensor.size)?.minus_or_zero(tensor.size)),
    }
}

/// Bytes of a tensor that one token's forward pass reads.
fn read_per_token(tensor: &SizedTensor, experts: Option<(u64, u64)>) -> Result<Bytes, Overflow> {
    match (tensor.role, experts) {
        (Some(role), Some((used, all))) if role.is_routed_expert() => tensor.size.scale(used, all),
        _ => Ok(tensor.size),
    }
}

fn is_packed_expert(tensor: &SizedTensor) -> bool {
    let is_expert = tensor.role.is_some_and(Role::is_routed_expert);
    is_expert && tensor.ggml.is_some_and(GgmlType::is_quantized)
}

/// The largest 16-bit weight that bitsandbytes quantizes on the GPU while loading.
fn moved(quantized: &[Matrix]) -> Result<Bytes, Overflow> {
    let elements = quantized.iter().map(Matrix::elements).collect::<Result<Vec<_>, _>>()?;
    Bytes::product(&[elements.into_iter().max().unwrap_or(0), 2])
}

/// The different matrices of decoder layers that bitsandbytes quantizes.
fn quantized(model: &ModelSpec, format: WeightFormat, modules: Modules) -> Vec<Matrix> {
    let mut found = Vec::new();
    if !torch::is_bitsandbytes(format) {
        return found;
    }
    for tensor in model.tensors.iter().filter(|tensor| modules.is_linear(tensor.role)) {
        let (_, TensorSpec { role, row, rows, .. }) = modules.split(tensor);
        let matrix = Matrix { role, inputs: row, outputs: rows };
        if !found.contains(&matrix) {
            found.push(matrix);
        }
    }
    found
}

fn source(model: &ModelSpec, format: WeightFormat) -> String {
    match (&model.stored, format) {
        (Some(stored), WeightFormat::AsStored) => stored.source.clone(),
        (_, WeightFormat::Gguf(_)) => "llama.cpp src/llama-quant.cpp, llama_tensor_get_type".into(),
        (_, WeightFormat::Nf4 { .. } | WeightFormat::Fp4 { .. } | WeightFormat::Int8) => {
            "bitsandbytes functional.py quantize_4bit, nn/modules.py".into()
        }
        (_, WeightFormat::AwqInt4 { .. }) => "AutoAWQ awq/modules/linear/gemm.py".into(),
        (_, WeightFormat::GptqInt4 { .. }) => {
            "AutoGPTQ qlinear: qweight, qzeros, scales, g_idx".into()
        }
        _ => model.source.clone(),
    }
}

fn check(model: &ModelSpec, format: WeightFormat, runtime: Runtime) -> Result<(), WeightsError> {
    let refuse = |reason, hint| Err(WeightsError::Unsupported { runtime, format, reason, hint });
    match (runtime, format) {
        (Runtime::Transformers, WeightFormat::Gguf(_)) => refuse(
            "transformers expands GGUF weights to bf16 when it loads them",
            "use `--weights nf4`, `nf4-dq`, `int8`, `gptq-int4`, `awq-int4` or `bf16`, or `--runtime llama.cpp`",
        ),
        (Runtime::Transformers, WeightFormat::AsStored) if is_gguf_file(model) => refuse(
            "transformers expands GGUF weights to bf16 when it loads them",
            "use `--weights bf16`, or `--runtime llama.cpp`",
        ),
        (Runtime::Vllm, WeightFormat::Gguf(_)) => refuse(
            "vLLM's GGUF loader is experimental and not planned",
            "use `--weights awq-int4`, `gptq-int4`, `fp8`, `int8`, `nf4` or `bf16`, or `--runtime llama.cpp`",
        ),
        (Runtime::Vllm, WeightFormat::AsStored) if is_gguf_file(model) => refuse(
            "vLLM's GGUF loader is experimental and not planned",
            "use `--weights bf16`, or `--runtime llama.cpp`",
        ),
        (Runtime::Vllm, WeightFormat::Fp4 { .. }) => {
            refuse("vLLM loads bitsandbytes checkpoints as NF4", "use `--weights nf4`")
        }
        (Runtime::Vramplan | Runtime::LlamaCpp, WeightFormat::AsStored) if !is_gguf_file(model) => {
            refuse(
                "it reads GGUF files, and this is a safetensors checkpoint",
                "name the file type that it will be converted to, such as `--weights q4_k_m`, or use `--runtime transformers`",
            )
        }
        (Runtime::Vramplan | Runtime::LlamaCpp, format) if !format.is_gguf() => refuse(
            "it reads GGUF files, which have no such format",
            "use `--runtime transformers`, or a GGUF type such as `--weights q4_k_m`",
        ),
        (Runtime::Vramplan, _) if !candle_reads(model, format)? => refuse(
            "candle has no kernels for IQ and MXFP4 types",
            "use a type such as `--weights q4_k_m`, or `--runtime llama.cpp`",
        ),
        _ => Ok(()),
    }
}

fn is_gguf_file(model: &ModelSpec) -> bool {
    model.stored.as_ref().is_none_or(StoredWeights::is_gguf)
}

/// Whether candle has the types of every tensor (`GgmlDType` in candle-core `quantized/mod.rs`).
fn candle_reads(model: &ModelSpec, format: WeightFormat) -> Result<bool, WeightsError> {
    let known = |ty: GgmlType| {
        use GgmlType as T;
        matches!(
            ty,
            T::F32
                | T::F16
                | T::Bf16
                | T::Q4_0
                | T::Q4_1
                | T::Q5_0
                | T::Q5_1
                | T::Q8_0
                | T::Q2K
                | T::Q3K
                | T::Q4K
                | T::Q5K
                | T::Q6K
        )
    };
    let mut all = true;
    each_tensor(model, format, (Runtime::Vramplan, 1, Modules::default()), |tensor| {
        all &= tensor.ggml.is_none_or(known);
        Ok(())
    })?;
    Ok(all)
}

#[cfg(test)]
mod tests;
