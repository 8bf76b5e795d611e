//! What the kernels hold beside the plan's table.

use super::{Device, OnDevice, Product};
use crate::engine::EngineError;
use crate::engine::backend::{CacheShape, Extent};
use crate::estimate::attention::MAX_SPLITS;
use crate::kernels::{Variant, check_heads, splits};
use crate::units::Bytes;

const F32: usize = 4;
const U64: usize = 8;

/// Scratch of matrix products, frequencies of the rotation, and the next victims of every layer.
#[derive(Debug)]
pub struct Workspace<B> {
    /// Activations in 8 bits, `[rows, widest]`.
    pub(super) quantized: B,
    /// Partial tiles of products of many rows.
    pub(super) partial: B,
    /// f32 `[head_dim / 2]`, written by the first step.
    pub(super) frequencies: B,
    pub(super) has_frequencies: bool,
    /// u64 `[layers, kv_heads]`, those of the next token.
    pub(super) victims: B,
    /// For each layer, before which token of the conversation its victims are known.
    pub(super) known: Vec<Option<usize>>,
    pub(super) variant: Variant,
    /// Parts of a decode step's attention.
    pub(super) splits: usize,
}

impl<D: Device> OnDevice<D> {
    pub(super) fn make_workspace(
        &self,
        shape: CacheShape,
        extent: Extent,
    ) -> Result<(Workspace<D::Buffer>, Bytes), EngineError> {
        let (heads, gpu) = (shape.heads, self.device.gpu());
        check_heads(heads)?;
        let variant = Variant::for_gpu(gpu);
        let mut all = 0;
        let mut allocate = |bytes: usize| {
            all += bytes;
            self.device.allocate(bytes)
        };
        let workspace = Workspace {
            quantized: allocate(Product::quantized_bytes(extent.rows, extent.widest))?,
            partial: allocate(Product::partial_bytes(extent.rows, gpu))?,
            frequencies: allocate(heads.head_dim() / 2 * F32)?,
            has_frequencies: false,
            victims: allocate(extent.layers * heads.kv_heads() * U64)?,
            known: vec![None; extent.layers],
            variant,
            splits: splits(gpu, variant, heads, usize::try_from(MAX_SPLITS).unwrap_or(usize::MAX)),
        };
        Ok((workspace, Bytes::new(u64::try_from(all).unwrap_or(u64::MAX))))
    }
}
