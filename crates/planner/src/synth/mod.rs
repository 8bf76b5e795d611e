//! Models without weights worth the name: shape-exact GGUF files of random, finite values.
//!
//! The memory that a model takes, and the time that it takes, do not depend on what its weights are. A
//! synthetic model has every tensor of the real one, with the name, the dimensions and the type that
//! llama.cpp's converter and quantizer would give it, so that a plan can be proved without a download.

pub mod checkpoint;
mod defaults;
mod metadata;
mod stream;
#[cfg(test)]
mod tests;
mod tokens;
mod values;

use crate::dtype::{GgmlType, WeightFormat};
use crate::estimate::llama_cpp::weights::file_tensors;
use crate::estimate::weights::WeightsError;
use crate::estimate::weights::names::Namer;
use crate::read::gguf::{Field, GgufTensor, aligned, header_bytes};
use crate::spec::{ModelSpec, Role, TensorSpec};
use crate::units::{Bytes, Overflow};

pub use values::{Values, fill};

/// Why a model cannot be synthesized.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SynthError {
    /// A model of a family, or with tensors, whose names in GGUF files are not known here.
    #[error("`{model}` has {what}, for which no names in GGUF files are known")]
    Unnamed {
        /// The model.
        model: String,
        /// What has no name.
        what: String,
    },
    /// A model with parts whose names in checkpoints are not known here.
    #[error("`{model}` has {what}, which is not written as a checkpoint here")]
    NotInCheckpoints {
        /// The model.
        model: String,
        /// What is not written.
        what: String,
    },
    /// A tensor type whose blocks cannot be made up.
    #[error("`{model}` has tensors of type {ty}, whose blocks cannot be made up")]
    UnknownBlocks {
        /// The model.
        model: String,
        /// The type.
        ty: crate::dtype::GgmlType,
    },
    /// A format that GGUF files do not have.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A model too large to be true.
    #[error(transparent)]
    Overflow(#[from] Overflow),
}

impl SynthError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Weights(
                WeightsError::Unsupported { .. } | WeightsError::NothingStored { .. },
            ) => Some("name a format that GGUF files have, such as `--weights q4_k_m`".to_owned()),
            Self::Weights(error) => error.hint(),
            Self::NotInCheckpoints { .. } => {
                Some("a GGUF file may do: name a file that ends in `.gguf`".to_owned())
            }
            _ => None,
        }
    }

    fn unnamed(model: &ModelSpec, what: String) -> Self {
        Self::Unnamed { model: model.name.clone(), what }
    }

    fn not_in_checkpoints(model: &ModelSpec, what: impl Into<String>) -> Self {
        Self::NotInCheckpoints { model: model.name.clone(), what: what.into() }
    }
}

/// A tensor with its name and its dimensions, the row first.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Named {
    name: String,
    dims: Vec<u64>,
    spec: TensorSpec,
    ty: GgmlType,
}

/// Names the tensors of a model, of which `typed` is every one with its type.
fn named(model: &ModelSpec, typed: Vec<(TensorSpec, GgmlType)>) -> Result<Vec<Named>, SynthError> {
    let refused = |what| SynthError::unnamed(model, what);
    let mut namer = Namer::new(model).map_err(refused)?;
    let mut tensors = Vec::with_capacity(typed.len());
    for (spec, ty) in typed {
        let name = namer.name(&spec).map_err(refused)?;
        tensors.push(Named { name, dims: namer.dims(&spec), spec, ty });
    }
    Ok(tensors)
}

/// A tensor that can be filled.
#[derive(Clone, Debug, PartialEq)]
pub struct SynthTensor {
    /// Its entry in the tensor table: name, dimensions, type, place and size.
    pub entry: GgufTensor,
    /// What its values are like.
    pub values: Values,
}

/// A synthetic model: everything that is needed to write its file, or to fill its tensors in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct SynthModel {
    /// The metadata of its file, in order.
    pub metadata: Vec<(String, Field)>,
    /// Its tensors, in the order of the file.
    pub tensors: Vec<SynthTensor>,
    /// What fixes its values.
    pub seed: u64,
}

impl SynthModel {
    /// The model of this shape with weights in `format`, a type that GGUF files can hold.
    ///
    /// The layers that GLM-4.5's files hold to predict tokens ahead are left out, as runtimes do.
    pub fn new(model: &ModelSpec, format: WeightFormat, seed: u64) -> Result<Self, SynthError> {
        let named = named(model, file_tensors(model, format)?)?;
        let mut tensors = Vec::with_capacity(named.len());
        let mut offset = 0;
        for named in named {
            let tensor = place(model, named, offset)?;
            let end = offset.checked_add(tensor.entry.size.get()).and_then(aligned);
            offset = end.ok_or(Overflow)?;
            tensors.push(tensor);
        }
        Ok(Self { metadata: metadata::metadata(model, format, seed), tensors, seed })
    }

    /// Everything before the data of the first tensor.
    pub fn header(&self) -> Vec<u8> {
        let entries: Vec<_> = self.tensors.iter().map(|tensor| tensor.entry.clone()).collect();
        header_bytes(&self.metadata, &entries)
    }

    /// Bytes of all tensors and of what aligns them.
    pub fn data_size(&self) -> Bytes {
        let last = self.tensors.last();
        // The sum was checked when the tensors were placed.
        last.map_or(Bytes::ZERO, |tensor| Bytes::new(tensor.entry.offset + padded(tensor)))
    }
}

/// Bytes of a tensor and of the zeros behind it.
fn padded(tensor: &SynthTensor) -> u64 {
    let size = tensor.entry.size.get();
    aligned(size).unwrap_or(size)
}

fn place(model: &ModelSpec, named: Named, offset: u64) -> Result<SynthTensor, SynthError> {
    let Named { name, dims, spec, ty } = named;
    if !values::is_known(ty) {
        return Err(SynthError::UnknownBlocks { model: model.name.clone(), ty });
    }
    let size = ty.layout().size_of(spec.row)?.times(spec.rows)?;
    let values = match spec.role {
        Role::RopeFrequencies => Values::Exactly(defaults::frequency_divisors(&model.shape)),
        Role::Norm => Values::NearOne,
        Role::RecurrentVector if name.ends_with("ssm_a") => Values::BelowMinusOne,
        Role::Bias | Role::Sinks | Role::RecurrentVector => Values::NearZero,
        _ => Values::Weights { row: spec.row },
    };
    Ok(SynthTensor { entry: GgufTensor { name, dims, ty, offset, size, part: 0 }, values })
}
