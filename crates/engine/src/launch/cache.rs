//! A layer's cache on a device.

use super::Span;
use super::argument::Argument;
use super::shape::{LaunchError, int};
use crate::h2o::{Heads, Policy};

/// Keys and values of `capacity` tokens: `Rows` of [`crate::h2o`] on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegionMemory {
    /// i8 `[kv_heads, capacity, head_dim]`
    pub keys: Span,
    /// f16 `[kv_heads, capacity]`
    pub key_scales: Span,
    /// i8 `[kv_heads, capacity, head_dim]`
    pub values: Span,
    /// f16 `[kv_heads, capacity]`
    pub value_scales: Span,
}

impl RegionMemory {
    fn check(&self, heads: Heads, capacity: usize) -> Result<(), LaunchError> {
        let elements = [heads.kv_heads(), capacity, heads.head_dim()];
        self.keys.holds("keys", &elements)?;
        self.values.holds("values", &elements)?;
        self.key_scales.holds_at("key_scales", &[heads.kv_heads(), capacity, 2], 2)?;
        self.value_scales.holds_at("value_scales", &[heads.kv_heads(), capacity, 2], 2)
    }

    fn push(&self, capacity: i32, words: &mut Vec<u64>) {
        for span in [self.keys, self.key_scales, self.values, self.value_scales] {
            span.push(words);
        }
        [capacity, 0].push(words);
    }
}

/// One layer's memory on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerMemory {
    /// The system prompt, `Policy::pinned` tokens.
    pub pinned: RegionMemory,
    /// The conversation, `Policy::max_cache_tokens` tokens.
    pub slots: RegionMemory,
    /// f32 `[kv_heads, max_cache_tokens]`
    pub scores: Span,
    /// f32 `[kv_heads, head_dim]`
    pub smoothing: Span,
}

/// `Layer` of `kernels/cache.cuh`.
#[derive(Clone, Copy, Debug)]
pub(super) struct LayerArgument {
    memory: LayerMemory,
    pinned: i32,
    slots: i32,
    kv_heads: i32,
    gqa_group: i32,
    recent_window: i32,
    sinks: i32,
}

impl LayerMemory {
    pub(super) fn argument(
        &self,
        heads: Heads,
        policy: &Policy,
    ) -> Result<LayerArgument, LaunchError> {
        let slots = policy.max_cache_tokens();
        self.pinned.check(heads, policy.pinned())?;
        self.slots.check(heads, slots)?;
        self.scores.holds_at("scores", &[heads.kv_heads(), slots, 4], 4)?;
        self.smoothing.holds("smoothing", &[heads.kv_width(), 4])?;
        Ok(LayerArgument {
            memory: *self,
            pinned: int("pinned", policy.pinned())?,
            slots: int("max_cache_tokens", slots)?,
            kv_heads: int("kv_heads", heads.kv_heads())?,
            gqa_group: int("gqa_group", heads.gqa_group())?,
            recent_window: int("recent_window", policy.recent_window())?,
            sinks: int("sinks", policy.sinks())?,
        })
    }
}

impl Argument for LayerArgument {
    fn push(&self, words: &mut Vec<u64>) {
        self.memory.pinned.push(self.pinned, words);
        self.memory.slots.push(self.slots, words);
        self.memory.scores.push(words);
        self.memory.smoothing.push(words);
        [self.kv_heads, self.gqa_group].push(words);
        [self.recent_window, self.sinks].push(words);
    }
}

/// The device's clock, two i32: tokens pinned, and conversation tokens written.
///
/// # Errors
/// Where a number does not fit.
pub fn clock_words(pinned_len: usize, written: usize) -> Result<[i32; 2], LaunchError> {
    Ok([int("pinned tokens", pinned_len)?, int("written tokens", written)?])
}
