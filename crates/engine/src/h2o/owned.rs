//! A layer's cache that owns its memory: for tests, benchmarks and measurements. An engine lends its own.

use half::f16;

use super::{
    CacheError, Heads, Layer, Pinned, Policy, Rows, RowsMut, Scratch, ScratchSize, Slots, Tokens,
};

/// Keys and values of `capacity` tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnedRows {
    keys: Vec<i8>,
    key_scales: Vec<f16>,
    values: Vec<i8>,
    value_scales: Vec<f16>,
}

impl OwnedRows {
    /// Room for `capacity` tokens.
    pub fn new(heads: Heads, capacity: usize) -> Self {
        let (elements, scales) = (heads.kv_width() * capacity, heads.kv_heads() * capacity);
        Self {
            keys: vec![0; elements],
            key_scales: vec![f16::ZERO; scales],
            values: vec![0; elements],
            value_scales: vec![f16::ZERO; scales],
        }
    }

    /// A view that only reads.
    pub fn rows(&self) -> Rows<'_> {
        Rows {
            keys: &self.keys,
            key_scales: &self.key_scales,
            values: &self.values,
            value_scales: &self.value_scales,
        }
    }

    /// A view that writes.
    pub fn rows_mut(&mut self) -> RowsMut<'_> {
        RowsMut {
            keys: &mut self.keys,
            key_scales: &mut self.key_scales,
            values: &mut self.values,
            value_scales: &mut self.value_scales,
        }
    }
}

/// One layer's cache for one sequence, with its counters and scratch.
#[derive(Clone, Debug)]
pub struct OwnedCache {
    heads: Heads,
    policy: Policy,
    smoothing: Vec<f32>,
    pinned: OwnedRows,
    pinned_len: usize,
    slots: OwnedRows,
    scores: Vec<f32>,
    written: usize,
    floats: Vec<f32>,
    indices: Vec<u32>,
}

impl OwnedCache {
    /// An empty cache for steps of up to `chunk` tokens, without smoothing.
    pub fn new(heads: Heads, policy: Policy, chunk: usize) -> Self {
        let workers = rayon::current_num_threads();
        let prefill = ScratchSize::prefill(heads, chunk, workers);
        let scratch = ScratchSize::decode(heads, &policy).max(prefill);
        Self {
            heads,
            policy,
            smoothing: vec![1.0; heads.kv_width()],
            pinned: OwnedRows::new(heads, policy.pinned()),
            pinned_len: 0,
            slots: OwnedRows::new(heads, policy.max_cache_tokens()),
            scores: vec![0.0; heads.kv_heads() * policy.max_cache_tokens()],
            written: 0,
            floats: vec![0.0; scratch.floats],
            indices: vec![0; scratch.indices],
        }
    }

    /// The same with smoothing factors, `[kv_heads, head_dim]`.
    pub fn with_smoothing(self, smoothing: Vec<f32>) -> Self {
        Self { smoothing, ..self }
    }

    /// Pins a chunk of the system prompt.
    pub fn pin(&mut self, new: Tokens<'_>, output: &mut [f32]) -> Result<(), CacheError> {
        let Self { heads, policy, ref smoothing, .. } = *self;
        let layer = Layer { heads, policy, smoothing };
        let mut scratch = Scratch { floats: &mut self.floats, indices: &mut self.indices };
        let rows = &mut self.pinned.rows_mut();
        layer.pin(rows, self.pinned_len, new, output, &mut scratch)?;
        self.pinned_len += new.keys.len() / heads.kv_width();
        Ok(())
    }

    /// One step of the conversation.
    pub fn step(&mut self, new: Tokens<'_>, output: &mut [f32]) -> Result<(), CacheError> {
        let Self { heads, policy, ref smoothing, .. } = *self;
        let layer = Layer { heads, policy, smoothing };
        let mut scratch = Scratch { floats: &mut self.floats, indices: &mut self.indices };
        let pinned = Pinned { rows: self.pinned.rows(), len: self.pinned_len };
        let mut slots = Slots { rows: self.slots.rows_mut(), scores: &mut self.scores };
        layer.step(pinned, &mut slots, self.written, new, output, &mut scratch)?;
        self.written += new.keys.len() / heads.kv_width();
        Ok(())
    }

    /// Tokens of the conversation so far.
    pub const fn written(&self) -> usize {
        self.written
    }

    /// The system prompt's memory.
    pub const fn pinned(&self) -> &OwnedRows {
        &self.pinned
    }

    /// The conversation's memory.
    pub const fn slots(&self) -> &OwnedRows {
        &self.slots
    }

    /// The scores, `[kv_heads, max_cache_tokens]`.
    pub fn scores(&self) -> &[f32] {
        &self.scores
    }

    /// Whom the last step evicted, `[kv_heads, contenders]`, where it had contenders.
    pub fn victims(&self) -> &[u32] {
        &self.indices
    }
}
