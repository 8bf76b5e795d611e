//! Borrowed views of a layer's memory, which the caller owns.

use half::f16;

use super::error::exactly;
use super::{CacheError, Heads, Policy};
use vramplan_planner::units::{Bytes, Overflow};

/// Keys and values of `capacity` tokens in one layer, int8 with one f16 scale per token, head and side.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// Keys after RoPE, `[kv_heads, capacity, head_dim]`.
    pub keys: &'a [i8],
    /// Scales of the keys, `[kv_heads, capacity]`.
    pub key_scales: &'a [f16],
    /// Values, `[kv_heads, capacity, head_dim]`.
    pub values: &'a [i8],
    /// Scales of the values, `[kv_heads, capacity]`.
    pub value_scales: &'a [f16],
}

/// The same, to be written.
#[derive(Debug)]
pub struct RowsMut<'a> {
    /// Keys after RoPE, `[kv_heads, capacity, head_dim]`.
    pub keys: &'a mut [i8],
    /// Scales of the keys, `[kv_heads, capacity]`.
    pub key_scales: &'a mut [f16],
    /// Values, `[kv_heads, capacity, head_dim]`.
    pub values: &'a mut [i8],
    /// Scales of the values, `[kv_heads, capacity]`.
    pub value_scales: &'a mut [f16],
}

impl Rows<'_> {
    /// Refuses slices that are not those of `capacity` tokens.
    pub fn check(&self, heads: Heads, capacity: usize) -> Result<(), CacheError> {
        exactly("keys", self.keys, heads.kv_width() * capacity)?;
        exactly("key_scales", self.key_scales, heads.kv_heads() * capacity)?;
        exactly("values", self.values, heads.kv_width() * capacity)?;
        exactly("value_scales", self.value_scales, heads.kv_heads() * capacity)
    }

    /// The part of one head: slices of `[capacity, head_dim]` and `[capacity]`.
    pub fn head(&self, heads: Heads, head: usize) -> Self {
        let capacity = self.key_scales.len() / heads.kv_heads();
        let width = capacity * heads.head_dim();
        Rows {
            keys: &self.keys[head * width..][..width],
            key_scales: &self.key_scales[head * capacity..][..capacity],
            values: &self.values[head * width..][..width],
            value_scales: &self.value_scales[head * capacity..][..capacity],
        }
    }
}

impl RowsMut<'_> {
    /// A view that only reads.
    pub fn as_rows(&self) -> Rows<'_> {
        Rows {
            keys: self.keys,
            key_scales: self.key_scales,
            values: self.values,
            value_scales: self.value_scales,
        }
    }

    /// The same memory for a shorter time.
    pub fn reborrow(&mut self) -> RowsMut<'_> {
        RowsMut {
            keys: self.keys,
            key_scales: self.key_scales,
            values: self.values,
            value_scales: self.value_scales,
        }
    }
}

/// A system prompt's memory as conversations read it: one for all sequences.
#[derive(Clone, Copy, Debug)]
pub struct Pinned<'a> {
    /// Room for `Policy::pinned` tokens.
    pub rows: Rows<'a>,
    /// Tokens that were pinned.
    pub len: usize,
}

/// One sequence's own memory in one layer.
#[derive(Debug)]
pub struct Slots<'a> {
    /// Room for `Policy::max_cache_tokens` tokens.
    pub rows: RowsMut<'a>,
    /// Attention mass that each slot has gathered, `[kv_heads, max_cache_tokens]`; zero at first.
    pub scores: &'a mut [f32],
}

impl Slots<'_> {
    /// Refuses memory that is not `policy`'s.
    pub fn check(&self, heads: Heads, policy: &Policy) -> Result<(), CacheError> {
        let capacity = policy.max_cache_tokens();
        self.rows.as_rows().check(heads, capacity)?;
        exactly("scores", self.scores, heads.kv_heads() * capacity)
    }
}

/// Bytes of the keys and values of `tokens` tokens in one layer: `kv_heads · tokens · 2 ·
/// (head_dim + 2)`.
pub fn rows_size(heads: Heads, tokens: usize) -> Result<Bytes, Overflow> {
    let per_head = 2 * (heads.head_dim() as u64 + size_of::<f16>() as u64);
    Bytes::product(&[heads.kv_heads() as u64, tokens as u64, per_head])
}

/// Bytes of the scores of one sequence in one layer: `kv_heads · max_cache_tokens · 4`.
pub fn scores_size(heads: Heads, policy: &Policy) -> Result<Bytes, Overflow> {
    let slots = policy.max_cache_tokens() as u64;
    Bytes::product(&[heads.kv_heads() as u64, slots, size_of::<f32>() as u64])
}

/// Bytes of the smoothing factors of one layer: `kv_heads · head_dim · 4`.
pub fn smoothing_size(heads: Heads) -> Result<Bytes, Overflow> {
    Bytes::product(&[heads.kv_width() as u64, size_of::<f32>() as u64])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::h2o::OwnedRows;

    #[test]
    fn sizes_are_those_of_the_memory() {
        let heads = Heads::new(40, 8, 128).unwrap();
        let policy = Policy::new(600, 700, 350).unwrap();
        let rows = OwnedRows::new(heads, 600);
        let rows = rows.rows();
        rows.check(heads, 600).unwrap();
        let held = size_of_val(rows.keys) + size_of_val(rows.key_scales);
        assert_eq!(rows_size(heads, 600), Ok(Bytes::new(2 * held as u64)));
        assert_eq!(rows_size(heads, 1).unwrap().times(48), Ok(Bytes::new(99_840)));
        assert_eq!(scores_size(heads, &policy), Ok(Bytes::new(8 * 700 * 4)));
        assert_eq!(smoothing_size(heads), Ok(Bytes::new(8 * 128 * 4)));
        let error = rows.check(heads, 601).unwrap_err();
        assert_eq!(error.to_string(), "`keys` has 614400 elements: expected 615424");
    }
}
