//! What a step needs beside the cache: memory that the caller lends, the same for every layer.

use super::attend::{decode, prefill};
use super::error::at_least;
use super::{CacheError, Heads, Policy};
use vramplan_planner::units::{Bytes, Overflow};

/// Elements of scratch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScratchSize {
    /// 32-bit floats.
    pub floats: usize,
    /// 32-bit slot numbers.
    pub indices: usize,
}

impl ScratchSize {
    /// Of a step of one token.
    pub fn decode(heads: Heads, policy: &Policy) -> Self {
        Self { floats: decode::scratch_len(heads, policy), indices: heads.kv_heads() }
    }

    /// Of a step of up to `tokens` tokens, and of pinning as many, by `workers` threads.
    pub fn prefill(heads: Heads, tokens: usize, workers: usize) -> Self {
        let floats = prefill::scratch_len(heads, tokens, workers.max(1));
        Self { floats, indices: heads.kv_heads() * tokens }
    }

    /// What serves both.
    pub fn max(self, other: Self) -> Self {
        Self { floats: self.floats.max(other.floats), indices: self.indices.max(other.indices) }
    }

    /// Its size.
    pub fn bytes(self) -> Result<Bytes, Overflow> {
        Bytes::new(self.floats as u64).plus(Bytes::new(self.indices as u64))?.times(4)
    }
}

/// Scratch, lent for a step. Its contents mean nothing between steps.
#[derive(Debug)]
pub struct Scratch<'a> {
    /// 32-bit floats.
    pub floats: &'a mut [f32],
    /// 32-bit slot numbers.
    pub indices: &'a mut [u32],
}

impl Scratch<'_> {
    pub(super) fn check(&self, needed: ScratchSize) -> Result<(), CacheError> {
        at_least("scratch floats", self.floats, needed.floats)?;
        at_least("scratch indices", self.indices, needed.indices)
    }
}
