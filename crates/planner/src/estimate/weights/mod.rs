//! Weights: tensor by tensor, from the file where there is one, from the format's rule otherwise.
//!
//! `bytes = Σ over tensors of blocks(tensor) · block bytes`, never bits × parameters: embeddings,
//! norms and biases keep their own formats, and where they lie (GPU or host) is the runtime's choice.
//!
//! Not counted here: what allocators round up (`fragmentation`), and expanded copies of a weight
//! while it is used (`activations`).

pub(crate) mod gguf;
pub(crate) mod names;
pub(crate) mod of_size;
mod on_device;
mod published;
pub(crate) mod torch;

use std::borrow::Cow;

pub(crate) use self::on_device::Place;
use self::torch::Parts;
use crate::dtype::{GgmlType, WeightFormat};
pub(crate) use crate::estimate::transformers::allocator::Played;
use crate::spec::{
    Architecture, Basis, Bounds, Grid, ModelSpec, Part, Role, Runtime, RuntimeSpec, StoredTensor,
    StoredWeights, TensorSpec,
};
use crate::units::{Bytes, Overflow};

pub use gguf::{Mixture, file_layers};
pub use torch::{Modules, Stored, is_bitsandbytes, parts};

/// What gives the size of a tensor in a format.
pub type Sizer<'a> = Box<dyn Fn(&TensorSpec) -> Result<SizedTensor, Overflow> + 'a>;

/// How a runtime holds tensors: which there are, in which types and sizes, and on which device.
pub trait TensorRule: Sync {
    /// Refuses a format that the runtime cannot load.
    ///
    /// # Errors
    /// With the reason and what to do instead.
    fn check(&self, model: &ModelSpec, format: WeightFormat) -> Result<(), WeightsError>;

    /// Whether a checkpoint quantized so can be expanded to another format as it is loaded.
    fn expands(&self, label: &str, format: WeightFormat) -> bool {
        let _ = (label, format);
        false
    }

    /// The tensors of one of `ranks` GPUs that share every layer.
    fn tensors<'a>(&self, model: &'a ModelSpec, ranks: u64) -> Cow<'a, [TensorSpec]>;

    /// The tensors of one GPU, where experts may be spread over more of them than the rest.
    fn tensors_of<'a>(&self, model: &'a ModelSpec, part: &Part) -> Cow<'a, [TensorSpec]> {
        self.tensors(model, part.ranks())
    }

    /// What gives the size of one of those tensors in `format`.
    fn sizer<'a>(&self, model: &'a ModelSpec, format: WeightFormat, modules: Modules) -> Sizer<'a>;

    /// Bytes that a tensor takes in the runtime's model buffer.
    ///
    /// # Errors
    /// On sizes that no device has, as all that follow.
    fn in_buffer(&self, tensor: &SizedTensor) -> Result<Bytes, Overflow> {
        Ok(tensor.size)
    }

    /// What the loader or the allocator adds to a tensor beside its buffer.
    fn rounding(&self, tensor: &SizedTensor, spec: &RuntimeSpec) -> Result<Bytes, Overflow>;

    /// Bytes of a tensor that stay in main memory, whether the device has a copy or not.
    fn in_main_memory(&self, _part: &Part, _tensor: &SizedTensor) -> Result<Bytes, Overflow> {
        Ok(Bytes::ZERO)
    }

    /// Where the token embedding is; `tied` where it is the output head too.
    fn embedding(&self, part: &Part, tied: bool) -> Place {
        match () {
            () if part.has_embedding => Place::Here,
            () if tied && part.has_head => Place::Repeated,
            () => Place::Elsewhere,
        }
    }

    /// Whether every stage of a pipeline builds such a tensor of no layer, used or not.
    fn is_on_every_stage(&self, _family: Architecture, _role: Role) -> bool {
        false
    }

    /// Whether every rank has all of such a tensor.
    fn is_on_every_rank(&self, _role: Role) -> bool {
        false
    }

    /// The weights of a device where tensors are placed one by one; nothing where they are not.
    ///
    /// # Errors
    /// As [`sum`].
    fn placed(
        &self,
        _model: &ModelSpec,
        _format: WeightFormat,
        _part: &Part,
    ) -> Result<Option<Weights>, WeightsError> {
        Ok(None)
    }

    /// The sum with what published files differ by from the rule.
    fn bounds(&self, device: Bytes, format: WeightFormat) -> Result<Bounds, Overflow> {
        let _ = format;
        Ok(Bounds::exactly(device))
    }
}

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
pub struct SizedTensor {
    /// What it is for.
    pub role: Option<Role>,
    /// The decoder layer it belongs to, if any.
    pub layer: Option<u64>,
    /// Elements of a row.
    pub row: u64,
    /// Bytes, scales included.
    pub size: Bytes,
    /// Its type where it is a GGML tensor.
    pub ggml: Option<GgmlType>,
    /// The tensors that each module stores for it, each an allocation of its own.
    pub parts: Option<Parts>,
    /// Modules that it is spread over: experts, where each has its own.
    pub modules: u64,
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
    /// What is allocated for every tensor on the GPU, in their order.
    pub pieces: Vec<Piece>,
    /// What was played with them under transformers.
    pub played: Played,
    /// How the size is known.
    pub basis: Basis,
    /// Where it is known from.
    pub source: String,
}

impl Weights {
    /// Those of nothing yet.
    pub(in crate::estimate) fn none(model: &ModelSpec, format: WeightFormat, part: &Part) -> Self {
        let is_stored = format == WeightFormat::AsStored && model.stored.is_some();
        Self {
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
            largest_moved: Bytes::ZERO,
            quantized: Vec::new(),
            packed_experts: false,
            pieces: Vec::new(),
            played: Played::default(),
            basis: if is_stored { Basis::Exact } else { Basis::Modelled },
            source: source_of(model, format),
        }
    }
}

/// Sizes the weights that a GPU holds of a model by its runtime's rule.
///
/// # Errors
/// Where the runtime cannot load the format, or the model's tensors are not known in it.
pub fn sum(
    rule: &dyn TensorRule,
    model: &ModelSpec,
    format: WeightFormat,
    spec: &RuntimeSpec,
    part: &Part,
) -> Result<Weights, WeightsError> {
    rule.check(model, format)?;
    if let Some(weights) = rule.placed(model, format, part)? {
        return Ok(weights);
    }
    let experts = model.shape.moe.map(|moe| (moe.n_experts_used, moe.n_experts));
    let tied = model.shape.tied_embeddings;
    let modules = Modules::of(model, spec);
    let quantized = quantized(model, format, modules);
    let mut total = Weights {
        largest_moved: moved(&quantized)?,
        quantized,
        ..Weights::none(model, format, part)
    };
    let ranks = part.ranks();
    let asked = Asked { model, format, ranks, part: Some(part), modules };
    let mut open = published::Open::of(&model.shape, format);
    each_tensor(rule, &asked, |tensor| {
        if tensor.role.is_some_and(Role::is_vision) {
            return push_vision(rule, &mut total, tensor, spec);
        }
        total.packed_experts |= is_packed_expert(tensor);
        let is_embedding = tensor.role == Some(Role::TokenEmbedding);
        total.host = total.host.plus(rule.in_main_memory(part, tensor)?)?;
        let mut place = on_device::place(rule, part, tensor, &model.shape);
        let cut = on_device::cut(part, tensor, tied)?;
        if cut.is_some() {
            place = Place::Here;
        }
        let tensor = cut.as_ref().unwrap_or(tensor);
        if matches!(place, Place::Host | Place::Elsewhere) || tensor.size.is_zero() {
            return Ok(());
        }
        let size = rule.in_buffer(tensor)?;
        if place == Place::Repeated || is_copy(rule, part, tensor) {
            total.repeated = total.repeated.plus(size)?;
        }
        total.device = total.device.plus(size)?;
        open.count(tensor)?;
        total.rounding = total.rounding.plus(rule.rounding(tensor, spec)?)?;
        total.zero_points = total.zero_points.plus(zero_points(tensor, format)?)?;
        total.tensors += tensor.modules;
        total.pieces.push(Piece::of(tensor, model, format, modules)?);
        let is_head = tensor.role == Some(Role::OutputHead) || (tied && is_embedding);
        // Stages of vLLM may have a head that they do not use.
        let is_used = part.has_head || cut.is_some();
        if !(is_embedding || is_head) || (is_head && is_used) {
            total.per_token = total.per_token.plus(read_per_token(tensor, experts)?)?;
        }
        Ok(())
    })?;
    total.bounds = open.around(rule.bounds(total.device, format)?)?;
    Ok(total)
}

/// What loading a tensor allocates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// What it is for.
    pub role: Option<Role>,
    /// The decoder layer it belongs to, if any.
    pub layer: Option<u64>,
    /// What stays, each an allocation; 0 where there are fewer.
    pub held: [Bytes; 6],
    /// The 16-bit copy that it is quantized from, where that is done on the GPU.
    pub moved: Bytes,
    /// How many modules have the same.
    pub modules: u64,
    /// Of how many matrices of a file it is joined as it is loaded: a layer's experts; 0 where it is one.
    pub joined: u64,
}

impl Piece {
    fn of(
        tensor: &SizedTensor,
        model: &ModelSpec,
        format: WeightFormat,
        modules: Modules,
    ) -> Result<Self, Overflow> {
        let count = tensor.modules.max(1);
        let is_listed = !model.shape.architecture.family().experts.always_packed && count == 1;
        let is_expert = tensor.role.is_some_and(Role::is_routed_expert) && is_listed;
        let joined = model.shape.moe.filter(|_| is_expert).map_or(0, |moe| moe.n_experts);
        let mut held = [Bytes::ZERO; 6];
        match tensor.parts {
            Some(parts) => held = parts.map(|part| part.size),
            None => held[0] = tensor.size.scale(1, count)?,
        }
        let is_moved = torch::is_bitsandbytes(format)
            && tensor.role.is_some_and(|role| modules.is_linear(role));
        let moved = match format {
            _ if !is_moved => Bytes::ZERO,
            // Four bits in 16, or eight in bf16 and in the f16 that they are quantized from.
            _ => held[0].times(4)?,
        };
        let SizedTensor { role, layer, .. } = *tensor;
        Ok(Self { role, layer, held, moved, modules: count, joined })
    }
}

/// Counts a tensor of the vision tower, where the GPU has that: every stage of a pipeline has all of it.
fn push_vision(
    rule: &dyn TensorRule,
    total: &mut Weights,
    tensor: &SizedTensor,
    spec: &RuntimeSpec,
) -> Result<(), Overflow> {
    let part = &total.part;
    if !part.has_vision {
        return Ok(());
    }
    if part.stage() > 0 || is_copy(rule, part, tensor) {
        total.vision_repeated = total.vision_repeated.plus(tensor.size)?;
    }
    total.vision = total.vision.plus(tensor.size)?;
    total.vision_rounding = total.vision_rounding.plus(rule.rounding(tensor, spec)?)?;
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
fn is_copy(rule: &dyn TensorRule, part: &Part, tensor: &SizedTensor) -> bool {
    let everywhere = |role| rule.is_on_every_rank(role);
    let is_expert = tensor.role.is_some_and(Role::is_routed_expert);
    if part.grid.is_some() {
        let repeated = part.rank_of_stage() > 0 && tensor.role.is_some_and(everywhere);
        return repeated || (part.copy() > 0 && !is_expert);
    }
    part.ranks() > 1 && part.index > 0 && tensor.role.is_some_and(everywhere)
}

/// Bytes of all tensors in this format, without alignment or placement.
///
/// # Errors
/// As [`sum`], but for what the runtime would refuse to load.
pub fn file_size(
    rule: &dyn TensorRule,
    model: &ModelSpec,
    format: WeightFormat,
) -> Result<Bytes, WeightsError> {
    let mut total = Bytes::ZERO;
    let asked = Asked { model, format, ranks: 1, part: None, modules: Modules::default() };
    each_tensor(rule, &asked, |tensor| {
        total = total.plus(tensor.size)?;
        Ok(())
    })?;
    Ok(total)
}

/// Whose tensors are visited, and as what.
pub(crate) struct Asked<'a> {
    pub(crate) model: &'a ModelSpec,
    pub(crate) format: WeightFormat,
    pub(crate) ranks: u64,
    /// Whose they are, where that is one of several GPUs.
    pub(crate) part: Option<&'a Part>,
    pub(crate) modules: Modules,
}

/// Visits every tensor of one rank with its size.
pub(crate) fn each_tensor(
    rule: &dyn TensorRule,
    asked: &Asked<'_>,
    mut visit: impl FnMut(&SizedTensor) -> Result<(), Overflow>,
) -> Result<(), WeightsError> {
    let Asked { model, format, ranks, part, modules } = *asked;
    match (&model.stored, format) {
        (Some(stored), WeightFormat::AsStored) => {
            let spread = part.and_then(|part| part.grid).map_or(ranks, Grid::experts);
            let part = |t| SizedTensor::from(t).of_ranks(rule, ranks, spread);
            Ok(stored.tensors.iter().map(part).try_for_each(|t| visit(&t))?)
        }
        (None, WeightFormat::AsStored) if torch::described(model, format).is_none() => {
            Err(WeightsError::NothingStored { model: model.name.clone() })
        }
        (Some(stored), _) if stored.prequantized && !rule.expands(&stored.label, format) => {
            Err(WeightsError::Prequantized {
                model: model.name.clone(),
                label: stored.label.clone(),
                format,
            })
        }
        _ => match model.unexplained_elements().unwrap_or(0) {
            0 => {
                let size = rule.sizer(model, format, modules);
                let tensors = match part {
                    Some(part) => rule.tensors_of(model, part),
                    None => rule.tensors(model, ranks),
                };
                Ok(tensors.iter().try_for_each(|tensor| visit(&size(tensor)?))?)
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
    fn of_ranks(self, rule: &dyn TensorRule, ranks: u64, experts: u64) -> Self {
        let ranks = if self.role.is_some_and(Role::is_routed_expert) { experts } else { ranks };
        if ranks < 2 || self.role.is_some_and(|role| rule.is_on_every_rank(role)) {
            return self;
        }
        Self { size: Bytes::new(self.size.get().div_ceil(ranks)), ..self }
    }
}

/// What an allocator that rounds each tensor by itself adds to one, `allocated` being its rule.
pub(crate) fn rounded_apart(
    tensor: &SizedTensor,
    allocated: impl Fn(Bytes) -> Result<Bytes, Overflow>,
) -> Result<Bytes, Overflow> {
    let Some(parts) = tensor.parts else {
        return Ok(allocated(tensor.size)?.minus_or_zero(tensor.size));
    };
    let parts = parts.into_iter().map(|part| allocated(part.size));
    let module = Bytes::sum(parts.collect::<Result<Vec<_>, _>>()?)?;
    Ok(module.times(tensor.modules)?.minus_or_zero(tensor.size))
}

/// Bytes of a tensor that one token's forward pass reads.
pub(crate) fn read_per_token(
    tensor: &SizedTensor,
    experts: Option<(u64, u64)>,
) -> Result<Bytes, Overflow> {
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

/// Where the size of weights is known from.
pub(crate) fn source_of(model: &ModelSpec, format: WeightFormat) -> String {
    match (&model.stored, format) {
        (Some(stored), WeightFormat::AsStored) => stored.source.clone(),
        (None, WeightFormat::AsStored) => format!("`quantization_config` of {}", model.source),
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

/// Whether nothing else is stored than a GGUF file, if anything is.
pub(crate) fn is_gguf_file(model: &ModelSpec) -> bool {
    model.stored.as_ref().is_none_or(StoredWeights::is_gguf)
}

#[cfg(test)]
mod tests;
