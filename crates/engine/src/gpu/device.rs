//! What the backend needs of a device.

#![allow(unsafe_code, reason = "a device takes addresses, for which its caller has to vouch")]

use std::fmt::Debug;

use crate::EngineError;
use crate::h2o::to_usize;
use crate::launch::{Gpu, Launch, Span};
use vramplan_planner::dtype::GgmlType;

/// `out = x · weightᵀ` for a quantized matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Product {
    /// The matrix's type.
    pub ty: GgmlType,
    /// `[columns, width]`, with the padding of [`Product::padding`] behind it.
    pub weight: Span,
    /// f32 `[rows, width]`.
    pub x: Span,
    /// f32 `[rows, columns]`.
    pub out: Span,
    /// Rows of `x`.
    pub rows: usize,
    /// Elements of a row of `x`.
    pub width: usize,
    /// Elements of a row of `out`.
    pub columns: usize,
    /// Scratch for `x` in 8 bits, [`Product::quantized_bytes`].
    pub quantized: Span,
    /// Scratch for parts of the output, [`Product::partial_bytes`].
    pub partial: Span,
}

impl Product {
    /// Up to so many rows take the kernels for few rows: candle's `MMVQ_MAX_BATCH`.
    pub const FEW_ROWS: usize = 8;
    /// Elements to a multiple of which candle pads rows of activations: `MATRIX_ROW_PADDING`.
    const ROW_PADDING: usize = 512;
    /// Elements and bytes of a block of 8-bit activations, sums included, for many rows.
    const BLOCK: (usize, usize) = (128, 144);
    /// Rows and columns of the largest tile.
    const TILE: usize = 128;

    /// Bytes of activations in 8 bits: `rows · pad512(width) / 128 · 144`, and for many rows a tile more
    /// (candle-core `quantized/fast_mmq.rs`, `fast_mmvq.rs`).
    pub const fn quantized_bytes(rows: usize, width: usize) -> usize {
        let (elements, bytes) = Self::BLOCK;
        let beyond = if rows > Self::FEW_ROWS { Self::TILE * bytes } else { 0 };
        rows * (width.next_multiple_of(Self::ROW_PADDING) / elements * bytes) + beyond
    }

    /// Bytes of partial tiles, one for each multiprocessor: nothing for few rows.
    pub const fn partial_bytes(rows: usize, gpu: Gpu) -> usize {
        if rows <= Self::FEW_ROWS {
            return 0;
        }
        gpu.multiprocessors as usize * Self::TILE * Self::TILE * size_of::<f32>()
    }

    /// Bytes that the kernels may read behind a matrix of `rows` rows of `width`: the padding of candle's
    /// own tensors, and where the last row has no partner, that partner.
    pub fn padding(ty: GgmlType, rows: usize, width: usize) -> usize {
        let layout = ty.layout();
        let of = |elements: usize| {
            let blocks = elements as u64 / layout.elements;
            to_usize(blocks * layout.bytes)
        };
        let partner = if rows.is_multiple_of(2) { 0 } else { of(width) };
        partner.max(of(Self::ROW_PADDING))
    }
}

/// What runs launches, one after the other, and holds their memory.
pub trait Device {
    /// Memory, released when it is dropped and what was queued has run.
    type Buffer: Debug;
    /// Launches that were recorded.
    type Graph: Debug;

    /// What launches depend on.
    fn gpu(&self) -> Gpu;

    /// Allocates `bytes` zeroed bytes, at an address that is a multiple of 256.
    ///
    /// # Errors
    /// Where there are no more, [`EngineError::is_out_of_memory`].
    fn allocate(&self, bytes: usize) -> Result<Self::Buffer, EngineError>;

    /// Where a buffer lies.
    fn span(&self, buffer: &Self::Buffer) -> Span;

    /// Queues a copy from the host, which has left `bytes` on return.
    ///
    /// # Errors
    /// Where the device refuses.
    ///
    /// # Safety
    /// The span lies in a live buffer of this device, and is as long as `bytes`.
    unsafe fn upload(&self, to: Span, bytes: &[u8]) -> Result<(), EngineError>;

    /// Copies to the host once everything queued has run.
    ///
    /// # Errors
    /// Where the device refuses, or something queued failed.
    ///
    /// # Safety
    /// As [`Device::upload`].
    unsafe fn download(&self, from: Span, into: &mut [u8]) -> Result<(), EngineError>;

    /// Queues writing `byte` to every byte of a span.
    ///
    /// # Errors
    /// Where the device refuses.
    ///
    /// # Safety
    /// The span lies in a live buffer of this device.
    unsafe fn fill(&self, span: Span, byte: u8) -> Result<(), EngineError>;

    /// Queues a copy within the device.
    ///
    /// # Errors
    /// Where the device refuses.
    ///
    /// # Safety
    /// Both spans lie in live buffers of this device, have one length and do not overlap.
    unsafe fn copy(&self, from: Span, to: Span) -> Result<(), EngineError>;

    /// Queues a kernel.
    ///
    /// # Errors
    /// Where the device refuses.
    ///
    /// # Safety
    /// Every span of the launch lies in a live buffer of this device.
    unsafe fn launch(&self, launch: &Launch) -> Result<(), EngineError>;

    /// Queues a product with a quantized matrix.
    ///
    /// # Errors
    /// Where the type has no kernel, or the device refuses.
    ///
    /// # Safety
    /// Every span of the product lies in a live buffer of this device and has the length that its
    /// description says.
    unsafe fn multiply(&self, product: &Product) -> Result<(), EngineError>;

    /// Begins to record: launches and products are kept from now on instead of run. Each of their kernels
    /// has run before; nothing else may be asked for meanwhile.
    ///
    /// # Errors
    /// Where the device refuses.
    fn record(&self) -> Result<(), EngineError>;

    /// Ends recording.
    ///
    /// # Errors
    /// Where the device refuses, or something that was asked for could not be recorded.
    fn recorded(&self) -> Result<Self::Graph, EngineError>;

    /// Queues what was recorded.
    ///
    /// # Errors
    /// Where the device refuses.
    ///
    /// # Safety
    /// Every span of what was recorded lies in a live buffer of this device.
    unsafe fn replay(&self, graph: &Self::Graph) -> Result<(), EngineError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scratch_is_candles() {
        // Qwen2.5-14B: 13,824 elements in the widest row; 27 blocks of 512.
        assert_eq!(Product::quantized_bytes(512, 13_824), 512 * 108 * 144 + 128 * 144);
        assert_eq!(Product::quantized_bytes(1, 5120), 5120 / 32 * 36);
        assert_eq!(Product::quantized_bytes(1, 576), 1024 / 32 * 36);
        let gpu = Gpu { multiprocessors: 132, capability: (9, 0) };
        assert_eq!(Product::partial_bytes(9, gpu), 132 << 16);
        assert_eq!(Product::partial_bytes(8, gpu), 0);
    }

    #[test]
    fn matrices_are_padded_as_candle_pads_them() {
        assert_eq!(Product::padding(GgmlType::Q4K, 5120, 5120), 288);
        assert_eq!(Product::padding(GgmlType::Q6K, 152_064, 5120), 420);
        assert_eq!(Product::padding(GgmlType::Q8_0, 576, 576), 544);
        // Two rows at a time read a whole one behind an odd last one.
        assert_eq!(Product::padding(GgmlType::Q8_0, 32_001, 2048), 64 * 34);
    }
}
