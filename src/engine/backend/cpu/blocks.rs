//! Quantized matrices as candle's blocks.

#![allow(unsafe_code, reason = "candle's blocks have private fields and no safe constructor")]

use candle_core::quantized::k_quants::{
    self, BlockQ2K, BlockQ3K, BlockQ4_0, BlockQ4_1, BlockQ4K, BlockQ5_0, BlockQ5_1, BlockQ5K,
    BlockQ6K, BlockQ8_0,
};
use half::{bf16, f16};

use super::buffer::Buffer;
use crate::dtype::GgmlType;
use crate::engine::EngineError;

/// A type of which every bit pattern is a value, laid out as GGUF files have it.
///
/// # Safety
/// Only for `repr(C)` types made of integers and floats, without padding.
unsafe trait Plain: k_quants::GgmlType {}

macro_rules! plain {
    ($($block:ty)*) => { $(
        // SAFETY: `repr(C)` of integers and halves whose sizes add up (asserted beside each type in
        // candle's `k_quants.rs`), or a float.
        unsafe impl Plain for $block {}
    )* };
}

plain! { f32 f16 bf16 BlockQ4_0 BlockQ4_1 BlockQ5_0 BlockQ5_1 BlockQ8_0 BlockQ2K BlockQ3K BlockQ4K
BlockQ5K BlockQ6K }

/// The blocks that `bytes` are.
fn blocks<T: Plain>(bytes: &[u8]) -> &[T] {
    assert!(bytes.len().is_multiple_of(size_of::<T>()) && bytes.as_ptr().cast::<T>().is_aligned());
    // SAFETY: aligned, of whole blocks, and any bytes are blocks.
    unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len() / size_of::<T>()) }
}

/// Calls `$work` with the blocks of `$bytes`, whose type `$ty` names.
macro_rules! with_blocks {
    ($ty:expr, $bytes:expr, $work:expr) => {
        match $ty {
            GgmlType::F32 => $work(blocks::<f32>($bytes)),
            GgmlType::F16 => $work(blocks::<f16>($bytes)),
            GgmlType::Bf16 => $work(blocks::<bf16>($bytes)),
            GgmlType::Q4_0 => $work(blocks::<BlockQ4_0>($bytes)),
            GgmlType::Q4_1 => $work(blocks::<BlockQ4_1>($bytes)),
            GgmlType::Q5_0 => $work(blocks::<BlockQ5_0>($bytes)),
            GgmlType::Q5_1 => $work(blocks::<BlockQ5_1>($bytes)),
            GgmlType::Q8_0 => $work(blocks::<BlockQ8_0>($bytes)),
            GgmlType::Q2K => $work(blocks::<BlockQ2K>($bytes)),
            GgmlType::Q3K => $work(blocks::<BlockQ3K>($bytes)),
            GgmlType::Q4K => $work(blocks::<BlockQ4K>($bytes)),
            GgmlType::Q5K => $work(blocks::<BlockQ5K>($bytes)),
            GgmlType::Q6K => $work(blocks::<BlockQ6K>($bytes)),
            other => Err(EngineError::unsupported(format!("matrices of type {other}"), "another")),
        }
    };
}

/// A matrix as its file stores it.
#[derive(Debug)]
pub struct Matrix {
    pub(super) ty: GgmlType,
    /// Elements of a row.
    pub(super) row: usize,
    pub(super) data: Buffer,
}

impl Matrix {
    /// Its rows.
    pub(super) fn rows(&self) -> usize {
        let layout = self.ty.layout();
        let per_row = self.row as u64 / layout.elements * layout.bytes;
        self.data.bytes().len() / usize::try_from(per_row).unwrap_or(usize::MAX)
    }

    /// `out = x · selfᵀ`, row by row.
    pub(super) fn multiply(&self, x: &[f32], out: &mut [f32]) -> Result<(), EngineError> {
        let shape = (x.len() / self.row, self.row, self.rows());
        with_blocks!(self.ty, self.data.bytes(), |blocks| multiply(shape, x, blocks, out))
    }

    /// Row `index` as floats.
    pub(super) fn expand_row(&self, index: usize, out: &mut [f32]) -> Result<(), EngineError> {
        with_blocks!(self.ty, self.data.bytes(), |blocks| expand_row(blocks, index, out))
    }
}

fn multiply<T: Plain>(
    shape: (usize, usize, usize),
    x: &[f32],
    weight: &[T],
    out: &mut [f32],
) -> Result<(), EngineError> {
    k_quants::matmul(shape, x, weight, out)
        .map_err(|error| EngineError::device("multiplying by a matrix", error))
}

fn expand_row<T: Plain>(blocks: &[T], index: usize, out: &mut [f32]) -> Result<(), EngineError> {
    let per_row = out.len() / T::BLCK_SIZE;
    let Some(row) = blocks.get(index * per_row..(index + 1) * per_row) else {
        let (id, vocab_size) = (u32::try_from(index).unwrap_or(u32::MAX), blocks.len() / per_row);
        return Err(EngineError::Token { id, vocab_size });
    };
    T::to_float(row, out);
    Ok(())
}
