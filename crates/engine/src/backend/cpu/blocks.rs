//! Quantized matrices as candle's blocks.

#![allow(unsafe_code, reason = "candle's blocks have private fields and no safe constructor")]

use candle_core::quantized::k_quants::GgmlType as _;
use candle_core::quantized::k_quants::{
    self, BlockQ2K, BlockQ3K, BlockQ4_0, BlockQ4_1, BlockQ4K, BlockQ5_0, BlockQ5_1, BlockQ5K,
    BlockQ6K, BlockQ8_0, BlockQ8_1, BlockQ8K,
};
use half::{bf16, f16};
use rayon::prelude::*;

use super::affine::{self, Activations, Packing};
use super::buffer::{Buffer, resize};
use super::tiles::Product;
use crate::EngineError;
use vramplan_planner::dtype::GgmlType;

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

plain! { f32 f16 bf16 BlockQ4_0 BlockQ4_1 BlockQ5_0 BlockQ5_1 BlockQ8_0 BlockQ8_1 BlockQ2K BlockQ3K
BlockQ4K BlockQ5K BlockQ6K BlockQ8K }

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

/// Activations in the blocks that matrices are multiplied with, grown to the most that one needed.
#[derive(Debug, Default)]
pub(super) struct Quantized {
    affine: Vec<Activations>,
    words: Vec<u64>,
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
    /// `out = x · selfᵀ`, row by row.
    pub(super) fn multiply(
        &self,
        x: &[f32],
        out: &mut [f32],
        quantized: &mut Quantized,
    ) -> Result<(), EngineError> {
        if let Some(packing) = Packing::of(self.ty) {
            let affine = &mut quantized.affine;
            return affine::multiply(packing, self.data.bytes(), x, self.row, out, affine);
        }
        let words = &mut quantized.words;
        with_blocks!(self.ty, self.data.bytes(), |blocks| {
            multiply(x, self.row, blocks, out, words)
        })
    }

    /// Row `index` as floats.
    pub(super) fn expand_row(&self, index: usize, out: &mut [f32]) -> Result<(), EngineError> {
        with_blocks!(self.ty, self.data.bytes(), |blocks| expand_row(blocks, index, out))
    }
}

/// `out = x · weightᵀ` on candle's products of a row with a row.
fn multiply<T: Plain>(
    x: &[f32],
    row: usize,
    weight: &[T],
    out: &mut [f32],
    words: &mut Vec<u64>,
) -> Result<(), EngineError>
where
    T::VecDotType: Plain,
{
    let blocks = row / T::BLCK_SIZE;
    let quantized = blocks_mut::<T::VecDotType>(words, x.len() / T::BLCK_SIZE)?;
    let rows = quantized.par_chunks_mut(blocks).zip(x.par_chunks(row));
    rows.for_each(|(quantized, x)| T::VecDotType::from_float(x, quantized));
    let product = Product { matrix: weight, per_row: blocks, quantized: &*quantized, blocks };
    product.spread(out, |weight, quantized, out| {
        let columns = weight.len() / blocks;
        for (column, weight) in weight.chunks_exact(blocks).enumerate() {
            for (index, x) in quantized.chunks_exact(blocks).enumerate() {
                out[index * columns + column] = T::vec_dot(row, weight, x);
            }
        }
    });
    Ok(())
}

/// The first `count` blocks of `words`, which are lengthened where they are too few.
fn blocks_mut<T: Plain>(words: &mut Vec<u64>, count: usize) -> Result<&mut [T], EngineError> {
    const { assert!(align_of::<T>() <= align_of::<u64>()) };
    let needed = (count * size_of::<T>()).div_ceil(size_of::<u64>());
    if words.len() < needed {
        resize(words, needed, 0)?;
    }
    // SAFETY: aligned as asserted, long enough, and any bytes are blocks.
    Ok(unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), count) })
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
