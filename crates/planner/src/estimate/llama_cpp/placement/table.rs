//! The tensors of a model by name, with what each takes on a GPU and in main memory.

use std::collections::HashMap;
use std::sync::Arc;

use crate::dtype::WeightFormat;
use crate::estimate::llama_cpp::weights::LlamaCppTensors;
use crate::estimate::weights::names::{self, Namer};
use crate::estimate::weights::{
    Asked, Modules, SizedTensor, TensorRule, WeightsError, each_tensor, read_per_token,
};
use crate::spec::{Memo, ModelSpec, Role, TensorSpec};
use crate::units::{Bytes, Overflow};

/// A tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorRow {
    /// Its name in a GGUF file, or one like it where the family's names are not known.
    pub name: Arc<str>,
    /// What it is for, as far as its name tells.
    pub role: Option<Role>,
    /// The decoder layer it belongs to, if any.
    pub layer: Option<u64>,
    /// Bytes on a GPU.
    pub on_gpu: Bytes,
    /// Bytes in main memory.
    pub on_host: Bytes,
    /// Bytes of it that one token reads, were it the token embedding as the output head.
    pub per_token: Bytes,
    /// Whether `--cpu-moe` takes its name for an expert's.
    pub is_expert: bool,
}

/// The tensors that a runtime loads, in its own order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorTable {
    /// The tensors.
    pub rows: Vec<TensorRow>,
    /// Whether the token embedding is the output head, too.
    pub tied: bool,
    /// Whether older versions make that head before the table.
    pub head_first: bool,
    /// Decoder layers.
    pub n_layers: u64,
    /// What was worked out from the tensors' types, for every placement of them.
    pub types: Memo,
}

/// Alignment of tensors in main memory (`TENSOR_ALIGNMENT` in `ggml-impl.h`).
const HOST_ALIGNMENT: Bytes = Bytes::new(32);

impl TensorTable {
    /// Lists the tensors of `model` in `format`.
    ///
    /// # Errors
    /// Where the runtime cannot load the format, or the model's tensors are not known in it.
    pub fn new(model: &ModelSpec, format: WeightFormat) -> Result<Self, WeightsError> {
        LlamaCppTensors.check(model, format)?;
        let mut names = names_of(model, format).into_iter();
        let experts = model.shape.moe.map(|moe| (moe.n_experts_used, moe.n_experts));
        let n_layers = model.shape.n_layers;
        let mut rows = Vec::new();
        let asked = Asked { model, format, ranks: 1, part: None, modules: Modules::default() };
        each_tensor(&LlamaCppTensors, &asked, |tensor| {
            let name = names.next().unwrap_or_default();
            // Layers that predict tokens ahead are not loaded.
            if tensor.layer.is_none_or(|layer| layer < n_layers) && !tensor.size.is_zero() {
                rows.push(row(tensor, name.into(), experts)?);
            }
            Ok(())
        })?;
        Ok(Self {
            rows,
            tied: model.shape.tied_embeddings,
            head_first: model.shape.architecture.family().gguf_extras.head_first,
            n_layers,
            types: Memo::default(),
        })
    }

    /// The place of each tensor in [`TensorTable::rows`] by its name.
    pub fn by_name(&self) -> HashMap<&str, usize> {
        self.rows.iter().enumerate().map(|(index, row)| (&*row.name, index)).collect()
    }
}

/// Whether a name is of experts, as `--cpu-moe` finds them (`LLM_FFN_EXPS_REGEX` in `common.h`):
/// `\.ffn_(up|down|gate|gate_up)_(ch|)exps`.
fn is_expert(name: &str) -> bool {
    const PROJECTIONS: [&str; 4] = ["up", "down", "gate_up", "gate"];
    let is_projection = |rest: &str| {
        PROJECTIONS.iter().any(|projection| {
            let kind = rest.strip_prefix(projection).and_then(|rest| rest.strip_prefix('_'));
            kind.is_some_and(|kind| kind.starts_with("exps") || kind.starts_with("chexps"))
        })
    };
    name.match_indices(".ffn_").any(|(at, dot)| is_projection(&name[at + dot.len()..]))
}

fn row(
    tensor: &SizedTensor,
    name: Arc<str>,
    experts: Option<(u64, u64)>,
) -> Result<TensorRow, Overflow> {
    Ok(TensorRow {
        role: tensor.role,
        layer: tensor.layer,
        on_gpu: LlamaCppTensors.in_buffer(tensor)?,
        on_host: tensor.size.round_up(HOST_ALIGNMENT)?,
        per_token: read_per_token(tensor, experts)?,
        is_expert: is_expert(&name),
        name,
    })
}

/// The names in the order in which [`each_tensor`] visits.
fn names_of(model: &ModelSpec, format: WeightFormat) -> Vec<String> {
    if let (Some(stored), WeightFormat::AsStored) = (&model.stored, format) {
        return stored.tensors.iter().map(|tensor| tensor.name.to_string()).collect();
    }
    let mut namer = Namer::as_far_as_known(model);
    let tensors = LlamaCppTensors.tensors(model, 1);
    let stems = model.shape.architecture.family().norms.stems;
    let (mut layer, mut norms) = (None, 0);
    let name = |tensor: &TensorSpec| {
        let known = namer.name(tensor).ok();
        if tensor.layer != layer {
            (layer, norms) = (tensor.layer, 0);
        }
        // The norms of the residual stream come first in a layer.
        let norm = stems.get(norms).copied().unwrap_or("norm");
        norms += usize::from(tensor.role == Role::Norm);
        known.unwrap_or_else(|| name_like(tensor, norm))
    };
    tensors.iter().map(name).collect()
}

/// A name for a tensor of a family whose names are not known; `norm` is the stem of the next norm.
fn name_like(tensor: &TensorSpec, norm: &'static str) -> String {
    let stem = match tensor.role {
        Role::Norm if tensor.layer.is_none() => "output_norm",
        Role::Norm => norm,
        Role::RopeFrequencies => "rope_freqs",
        Role::MlaKvB => "attn_kv_b",
        role => names::stem(role).unwrap_or("other"),
    };
    let kind = if tensor.role == Role::Bias { "bias" } else { "weight" };
    match tensor.layer {
        Some(layer) => format!("blk.{layer}.{stem}.{kind}"),
        None => format!("{stem}.{kind}"),
    }
}
