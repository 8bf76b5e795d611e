//! Which type llama.cpp's quantizer gives each tensor of a file type.
//!
//! Source: `llama_tensor_get_type` in llama.cpp's `src/llama-quant.cpp`. The rule knows no
//! importance matrix: with one, a few file types keep some tensors smaller, and files made with
//! per-tensor overrides (`UD-…`, `…_L`) follow no rule at all; read the file for those.

use super::SizedTensor;
use crate::dtype::{FileType, GgmlType, WeightFormat};
use crate::spec::families::Frequencies;
use crate::spec::{ModelShape, ModelSpec, OwnFormat, Role, StoredWeights, TensorSpec};
use crate::units::Overflow;

use FileType as F;
use GgmlType as T;

/// Elements to which the CUDA kernels of llama.cpp and candle pad a quantized row.
pub const MATRIX_ROW_PADDING: u64 = 512;

/// The types of a GGUF file's tensors.
#[derive(Clone, Copy, Debug)]
pub enum Types<'a> {
    /// llama.cpp's quantizer.
    Mixture(Mixture<'a>),
    /// A file without quantization: experts and matrices in these types, vectors in f32.
    Dense {
        /// Routed experts.
        experts: GgmlType,
        /// Other matrices.
        matrices: GgmlType,
    },
}

impl<'a> Types<'a> {
    /// Those of `model` in `format`.
    pub fn new(model: &'a ModelSpec, format: WeightFormat) -> Self {
        let matrices = match format {
            WeightFormat::Gguf(file_type) => return Self::Mixture(Mixture::new(file_type, model)),
            WeightFormat::Bf16 => GgmlType::Bf16,
            WeightFormat::F16 => GgmlType::F16,
            _ => GgmlType::F32,
        };
        Self::Dense { experts: published_experts(model, format).unwrap_or(matrices), matrices }
    }

    /// The type of a tensor.
    pub fn of(&self, tensor: &TensorSpec) -> GgmlType {
        match *self {
            Self::Mixture(mixture) => mixture.type_of(tensor),
            Self::Dense { experts, .. } if tensor.role.is_routed_expert() => experts,
            Self::Dense { matrices, .. } if is_quantized_role(tensor.role) => matrices,
            Self::Dense { .. } => GgmlType::F32,
        }
    }
}

/// A GGUF file's own format, else this one.
pub fn stored_or(model: &ModelSpec, otherwise: WeightFormat) -> WeightFormat {
    let is_file = model.stored.as_ref().is_some_and(StoredWeights::is_gguf);
    match &model.own_format {
        _ if is_file => WeightFormat::AsStored,
        Some(OwnFormat::Named(format @ WeightFormat::Gguf(_))) => *format,
        _ if model.shape.architecture.family().experts.in_mxfp4() => {
            WeightFormat::Gguf(FileType::Mxfp4Moe)
        }
        _ => otherwise,
    }
}

/// Types that every runtime that reads GGUF can use, smallest first.
pub fn ladder() -> Vec<WeightFormat> {
    let types = [F::Q2K, F::Q3KM, F::Q4KM, F::Q5KM, F::Q6K, F::Q8_0];
    types.into_iter().map(WeightFormat::Gguf).chain([WeightFormat::Bf16]).collect()
}

/// The type in which a family is published with its experts, which conversions keep: gpt-oss in MXFP4.
pub fn published_experts(model: &ModelSpec, format: WeightFormat) -> Option<GgmlType> {
    let published = model.shape.architecture.family().experts.published;
    published.filter(|_| format != WeightFormat::F32)
}

/// The type in which runtimes of `PyTorch` load a family's experts, where they are asked for as they are published.
pub fn loaded_experts(model: &ModelSpec, format: WeightFormat) -> Option<GgmlType> {
    let published = model.shape.architecture.family().experts.published;
    published.filter(|_| format == WeightFormat::Mxfp4)
}

/// A tensor as a GGML type holds it.
pub fn sized(tensor: &TensorSpec, ty: GgmlType) -> Result<SizedTensor, Overflow> {
    let TensorSpec { role, layer, row, .. } = *tensor;
    let size = ty.layout().size_of(row)?.times(tensor.rows)?;
    Ok(SizedTensor { role: Some(role), layer, row, size, ggml: Some(ty), parts: None, modules: 1 })
}

/// The rule of one file type, applied to the tensors of one model.
#[derive(Clone, Copy, Debug)]
pub struct Mixture<'a> {
    file_type: FileType,
    model: &'a ModelSpec,
    n_layers: u64,
    n_experts: u64,
    gqa_group: u64,
}

impl<'a> Mixture<'a> {
    /// The rule of `file_type` for `model`.
    pub fn new(file_type: FileType, model: &'a ModelSpec) -> Self {
        Self {
            file_type,
            model,
            n_layers: file_layers(model),
            n_experts: model.shape.moe.map_or(1, |moe| moe.n_experts),
            gqa_group: gqa_group(&model.shape),
        }
    }

    /// The type of a tensor.
    pub fn type_of(&self, tensor: &TensorSpec) -> GgmlType {
        if !is_quantized_role(tensor.role) {
            return T::F32;
        }
        fall_back(self.wanted(tensor), tensor.row)
    }

    fn wanted(&self, tensor: &TensorSpec) -> GgmlType {
        let base = self.file_type.base();
        let is_output = tensor.role == Role::OutputHead
            || (tensor.role == Role::TokenEmbedding && self.model.shape.tied_embeddings);
        if is_output {
            return self.output(base, tensor.row);
        }
        if self.file_type == F::Mxfp4Moe {
            // Tensors of three dimensions.
            let cubic = tensor.role.is_routed_expert() || tensor.role == Role::MlaKvB;
            return if cubic { T::Mxfp4 } else { T::Q8_0 };
        }
        if tensor.role == Role::TokenEmbedding {
            return self.embedding(base);
        }
        if self.is_very_low_bit() {
            return self.very_low_bit(base, tensor);
        }
        let layer = tensor.layer.unwrap_or(0);
        match tensor.role {
            Role::AttnV | Role::AttnQkv | Role::RecurrentQkv => self.attn_v(base, layer),
            Role::AttnK => self.attn_k(base),
            Role::AttnQ => self.attn_q(base),
            Role::AttnOutput => self.attn_output(base),
            Role::FfnDown | Role::ExpertDown | Role::SharedDown => self.ffn_down(base, layer),
            Role::FfnGate
            | Role::FfnUp
            | Role::FfnGateUp
            | Role::ExpertGate
            | Role::ExpertUp
            | Role::SharedGate
            | Role::SharedUp => self.ffn_gate_or_up(base, layer),
            _ => base,
        }
    }

    fn output(&self, base: GgmlType, row: u64) -> GgmlType {
        let very_low = self.is_very_low_bit() || self.file_type == F::Iq3Xxs;
        if self.file_type == F::Mxfp4Moe || !base.layout().divides(row) || base == T::Q8_0 {
            T::Q8_0
        } else if very_low {
            T::Q5K
        } else {
            T::Q6K
        }
    }

    fn embedding(&self, base: GgmlType) -> GgmlType {
        match self.file_type {
            F::Iq2Xxs | F::Iq2Xs | F::Iq1S | F::Iq1M => T::Q2K,
            F::Iq2S | F::Iq2M | F::Iq3Xxs => T::Iq3S,
            F::Tq1_0 | F::Tq2_0 => T::Q4K,
            _ => base,
        }
    }

    const fn is_very_low_bit(&self) -> bool {
        matches!(self.file_type, F::Iq2Xxs | F::Iq2Xs | F::Iq2S | F::Iq2M | F::Iq1S | F::Iq1M)
    }

    fn very_low_bit(&self, base: GgmlType, tensor: &TensorSpec) -> GgmlType {
        let raised = if matches!(self.file_type, F::Iq2S | F::Iq2M) { T::Iq3S } else { T::Q2K };
        match tensor.role {
            Role::AttnV | Role::AttnQkv | Role::RecurrentQkv => {
                if self.gqa_group >= 4 || self.n_experts >= 4 { T::Q4K } else { raised }
            }
            Role::AttnK if self.n_experts == 8 => T::Q4K,
            Role::FfnDown | Role::ExpertDown | Role::SharedDown
                if self.down_index(tensor) < self.n_layers / 8 =>
            {
                raised
            }
            Role::AttnOutput if self.n_experts == 8 => T::Q5K,
            Role::AttnOutput => match self.file_type {
                F::Iq2S | F::Iq2M => T::Iq3S,
                F::Iq1S | F::Iq1M => T::Iq2Xxs,
                _ => base,
            },
            _ => base,
        }
    }

    /// How many down projections come before this one: shared experts count as one of their own.
    fn down_index(&self, tensor: &TensorSpec) -> u64 {
        let shape = &self.model.shape;
        let layer = tensor.layer.unwrap_or(0);
        let has_shared = shape.moe.is_some_and(|moe| moe.shared_ffn_size > 0);
        let sparse = (0..layer).filter(|index| shape.is_moe(*index)).count() as u64;
        let shared = if has_shared { sparse } else { 0 };
        layer + shared + u64::from(tensor.role == Role::SharedDown)
    }

    /// How many layers before this one have a projection of values, and how many have one at all: every
    /// layer but those without attention and those whose values are the keys.
    fn value_index(&self, layer: u64) -> (u64, u64) {
        let shape = &self.model.shape;
        if shape.per_layer.is_none() {
            return (layer, self.n_layers);
        }
        let has = |index: &u64| shape.layer(*index).kv_heads > 0 && shape.has_values(*index);
        let count = |last: u64| (0..last).filter(has).count() as u64;
        (count(layer), count(shape.n_layers))
    }

    /// Value projections, and those that hold one: q, k and v in one tensor, or a delta-net's input.
    fn attn_v(&self, base: GgmlType, layer: u64) -> GgmlType {
        let (index, n_values) = self.value_index(layer);
        let grouped = self.gqa_group >= 4;
        let mut ty = match self.file_type {
            F::Q2K => {
                if grouped {
                    T::Q4K
                } else {
                    T::Q3K
                }
            }
            F::Q2KS | F::Iq3Xxs | F::Iq3Xs | F::Iq3S if grouped => T::Q4K,
            F::Iq3Xxs => T::Iq3S,
            F::Iq3M => T::Q4K,
            F::Q3KM => {
                if index < 2 {
                    T::Q5K
                } else {
                    T::Q4K
                }
            }
            F::Q3KL => T::Q5K,
            F::Iq4Nl | F::Iq4Xs if grouped => T::Q5K,
            F::Q4KM | F::Q5KM if use_more_bits(index, n_values) => T::Q6K,
            F::Q4KS if index < 4 => T::Q5K,
            _ => base,
        };
        if self.is_70b() && matches!(ty, T::Q3K | T::Q4K) {
            ty = T::Q5K;
        }
        if self.n_experts == 8 { T::Q8_0 } else { ty }
    }

    /// What llama.cpp calls a 70B: 80 layers of Qwen2, or of Llama with grouped queries.
    fn is_70b(&self) -> bool {
        let shape = &self.model.shape;
        let family = match shape.architecture.gguf_name() {
            "qwen2" => true,
            "llama" => shape.n_heads != shape.kv_heads,
            _ => false,
        };
        self.n_layers == 80 && family
    }

    fn attn_k(&self, base: GgmlType) -> GgmlType {
        if self.n_experts == 8 {
            return T::Q8_0;
        }
        self.attn_q(base)
    }

    fn attn_q(&self, base: GgmlType) -> GgmlType {
        match self.file_type {
            F::Iq3Xs => T::Iq3Xxs,
            F::Iq3Xxs => T::Iq2S,
            _ => base,
        }
    }

    fn attn_output(&self, base: GgmlType) -> GgmlType {
        let up_to_four_bits = matches!(
            self.file_type,
            F::Q2K
                | F::Iq3Xs
                | F::Iq3Xxs
                | F::Q3KS
                | F::Q3KM
                | F::Iq4Nl
                | F::Q4KS
                | F::Q4KM
                | F::Iq3S
                | F::Iq3M
                | F::Iq4Xs
        );
        match self.file_type {
            _ if self.n_experts == 8 => {
                if up_to_four_bits {
                    T::Q5K
                } else {
                    base
                }
            }
            F::Q2K => T::Q3K,
            F::Iq3Xxs => T::Iq3S,
            F::Q3KM | F::Iq3M => T::Q4K,
            F::Q3KL => T::Q5K,
            _ => base,
        }
    }

    fn ffn_down(&self, base: GgmlType, layer: u64) -> GgmlType {
        let first_eighth = layer < self.n_layers / 8;
        let more = use_more_bits(layer, self.n_layers);
        match self.file_type {
            F::Q2K => T::Q3K,
            F::Q2KS if first_eighth => T::Q4K,
            F::Iq3Xxs => {
                if first_eighth {
                    T::Q4K
                } else {
                    T::Q3K
                }
            }
            F::Q3KM => {
                if layer < self.n_layers / 16 {
                    T::Q5K
                } else {
                    T::Q4K
                }
            }
            F::Iq3M if first_eighth || (self.n_experts == 8 && more) => T::Q4K,
            F::Q3KL => T::Q5K,
            F::Q4KM | F::Q5KM if more => T::Q6K,
            F::Iq4Nl | F::Iq4Xs | F::Q4KS if first_eighth => T::Q5K,
            _ => base,
        }
    }

    fn ffn_gate_or_up(&self, base: GgmlType, layer: u64) -> GgmlType {
        let middle = layer >= self.n_layers / 8 && layer < 7 * self.n_layers / 8;
        if self.file_type == F::Iq3Xs && middle { T::Iq3Xxs } else { base }
    }
}

/// The model's tensors as a GGUF file holds them: the same parameters, some of them split.
///
/// Latent attention's second projection becomes one tensor per side, the keys' transposed
/// (`attn_k_b`, `attn_v_b`); a delta-net's time step and decay are two vectors, and Qwen3-Next's beta and
/// alpha one matrix (`ssm_ba`). Llama 3.1 and later come with a table of frequencies (`rope_freqs`), which is no parameter.
pub fn file_tensors(model: &ModelSpec) -> Vec<TensorSpec> {
    let mut tensors = Vec::with_capacity(model.tensors.len() + 1);
    for &tensor in &model.tensors {
        match (tensor.role, model.shape.mla) {
            (Role::MlaKvB, Some(mla)) => {
                let heads = model.shape.n_heads;
                let keys = (mla.qk_nope_head_dim, mla.kv_lora_rank * heads);
                let values = (mla.kv_lora_rank, mla.v_head_dim * heads);
                for (row, rows) in [keys, values] {
                    tensors.push(TensorSpec { row, rows, ..tensor });
                }
            }
            (Role::RecurrentBetaAlpha, _) => match tensors.last_mut() {
                Some(last) if is_second_half(model, last, &tensor) => last.rows += tensor.rows,
                _ => tensors.push(tensor),
            },
            (Role::RecurrentVector, _) => {
                let vector = TensorSpec { rows: 1, ..tensor };
                tensors.extend((0..tensor.rows).map(|_| vector));
            }
            _ => tensors.push(tensor),
        }
    }
    let frequencies = has_frequency_table(&model.shape).then_some(model.shape.widest_head() / 2);
    let role = Role::RopeFrequencies;
    tensors.extend(frequencies.map(|row| TensorSpec { role, layer: None, row, rows: 1 }));
    tensors
}

/// Whether a tensor is the alpha that Qwen3-Next's files hold behind beta, in one tensor with it.
fn is_second_half(model: &ModelSpec, last: &TensorSpec, tensor: &TensorSpec) -> bool {
    let delta_net = model.shape.architecture.family().delta_net();
    delta_net.is_some_and(|delta_net| delta_net.joint_gates)
        && (last.role, last.layer) == (tensor.role, tensor.layer)
}

/// Query heads per key and value head of the first layer (`llama_hparams::n_gqa`).
fn gqa_group(shape: &ModelShape) -> u64 {
    let first = shape.layer(0);
    first.n_heads.checked_div(first.kv_heads).unwrap_or(0)
}

fn has_frequency_table(shape: &ModelShape) -> bool {
    match shape.architecture.family().gguf_extras.frequencies {
        Frequencies::Never => false,
        Frequencies::Always => true,
        Frequencies::OfLlama3 => (shape.vocab_size, shape.context_len) == (128_256, 131_072),
    }
}

/// Layers that the file counts: GLM-4.5's hold one for multi-token prediction behind the others.
pub fn file_layers(model: &ModelSpec) -> u64 {
    model.shape.n_layers + model.shape.architecture.family().gguf_extras.predicting_layers
}

/// Whether the quantizer touches tensors of this role: matrices, but neither routers nor
/// convolutions.
pub const fn is_quantized_role(role: Role) -> bool {
    !matches!(
        role,
        Role::Norm
            | Role::Bias
            | Role::SplitBias
            | Role::ScoreCorrection
            | Role::Sinks
            | Role::Router
            | Role::SharedRouter
            | Role::RecurrentConv
            | Role::RecurrentVector
            | Role::RecurrentDecay
            | Role::RopeFrequencies
            | Role::VisionOther
    )
}

/// The layers that the `_M` mixtures give more bits: the first and last eighth and every third
/// between.
const fn use_more_bits(index: u64, n_layers: u64) -> bool {
    let eighth = n_layers / 8;
    index < eighth || index >= 7 * n_layers / 8 || (index - eighth) % 3 == 2
}

/// The type that replaces one whose blocks do not divide the row.
fn fall_back(ty: GgmlType, row: u64) -> GgmlType {
    if ty.layout().divides(row) {
        return ty;
    }
    let replacement = match ty {
        T::Q2K | T::Q3K | T::Tq1_0 | T::Tq2_0 => T::Q4_0,
        T::Q4K => T::Q5_0,
        T::Q5K => T::Q5_1,
        T::Q6K => T::Q8_0,
        T::Iq2Xxs | T::Iq2Xs | T::Iq2S | T::Iq3Xxs | T::Iq3S | T::Iq1S | T::Iq1M | T::Iq4Xs => {
            T::Iq4Nl
        }
        other => other,
    };
    if replacement.layout().divides(row) { replacement } else { T::F16 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_bits_go_to_the_ends_and_every_third_between() {
        let chosen: Vec<u64> = (0..16).filter(|&i| use_more_bits(i, 16)).collect();
        assert_eq!(chosen, [0, 1, 4, 7, 10, 13, 14, 15]);
    }

    #[test]
    fn odd_rows_fall_back_to_types_of_32() {
        assert_eq!(fall_back(T::Q4K, 896), T::Q5_0);
        assert_eq!(fall_back(T::Q6K, 896), T::Q8_0);
        assert_eq!(fall_back(T::Q3K, 896), T::Q4_0);
        assert_eq!(fall_back(T::Iq3S, 576), T::Iq4Nl);
        assert_eq!(fall_back(T::Q4K, 100), T::F16);
        assert_eq!(fall_back(T::Q4K, 5120), T::Q4K);
    }
}
