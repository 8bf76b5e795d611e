//! What llama.cpp loads and runs beside a model: an encoder of images, adapters, a draft model, layers that predict
//! tokens ahead.

use std::sync::Arc;

use super::{Bounds, ModelSpec};
use crate::dtype::WeightFormat;
use crate::units::Bytes;

/// All of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Beside {
    /// The encoder of images (`--mmproj`).
    pub encoder: Option<Encoder>,
    /// Adapters (`--lora`).
    pub adapters: Vec<Adapter>,
    /// A smaller model whose tokens the model checks (`-md`).
    pub draft: Option<Draft>,
    /// Tokens that it predicts ahead; 0 without one.
    pub drafted: u64,
    /// Tokens that the model's own layer predicts ahead; 0 where it does not.
    pub ahead: u64,
}

/// An encoder of images, with its projector.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoder {
    /// Where it is from.
    pub source: String,
    /// Tensors.
    pub tensors: u64,
    /// Their bytes on a GPU.
    pub weights: Bytes,
    /// Whether they were read from its file.
    pub is_read: bool,
    /// Patches of the image that it is warmed up with, and of the largest.
    pub patches: [u64; 2],
    /// Elements of a patch that are alive at once: of the MLP, and three of the residual stream.
    pub width: u64,
    /// Elements of a patch that are kept for further layers of the model.
    pub kept: u64,
    /// Attention heads.
    pub n_heads: u64,
}

impl Encoder {
    /// Bytes of its compute buffer, with attention fused or not: from the image that llama.cpp warms it up with to the
    /// largest.
    ///
    /// # Errors
    /// Where that is no number of 64 bits.
    pub fn compute(&self, fused: bool) -> Result<Bounds, crate::units::Overflow> {
        let elements = self.width.saturating_add(self.kept);
        let of = |patches: u64| {
            let results = Bytes::product(&[patches, elements, 4])?;
            let scores = Bytes::product(&[patches, patches, self.n_heads, 4])?;
            results.plus(if fused { Bytes::ZERO } else { scores })
        };
        let [usual, most] = self.patches;
        let (usual, most) = (of(usual)?, of(most)?);
        Ok(Bounds::new(usual.scale(9, 10)?, usual, most.max(usual).scale(5, 4)?))
    }
}

/// An adapter of low rank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adapter {
    /// Its file.
    pub file: String,
    /// Tensors.
    pub tensors: u64,
    /// Their bytes on a GPU.
    pub weights: Bytes,
}

/// A draft model.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// The model.
    pub model: Arc<ModelSpec>,
    /// The format of its weights.
    pub weights: WeightFormat,
}
