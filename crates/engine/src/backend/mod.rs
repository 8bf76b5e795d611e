//! Where a step is computed: the operations of a forward pass, and the memory they work on.
//!
//! A pass is written once, in `forward`, over these operations. Nothing in it touches a value on the
//! host: ids go in, logits come out.

mod cpu;

use std::ops::Range;
use vramplan_planner::estimate::BufferId;

pub use cpu::Cpu;

use super::EngineError;
use super::memory::Span;
use super::rope::Rope;
use crate::h2o::{Heads, Policy};
use vramplan_planner::estimate::Component;
use vramplan_planner::read::gguf::GgufTensor;
use vramplan_planner::units::Bytes;

/// Memory of the caches of all layers. The layout of a region is that of [`crate::h2o`].
#[derive(Debug)]
pub struct Caches<B> {
    /// Keys and values of the system prompt, layer after layer.
    pub pinned: B,
    /// Keys and values of the conversation, layer after layer.
    pub slots: B,
    /// Scores, f32 `[layers, kv_heads, max_cache_tokens]`.
    pub scores: B,
    /// Smoothing of key channels, f32 `[layers, kv_heads, head_dim]`.
    pub smoothing: B,
    /// Counters and victims, 4 B `[layers, kv_heads + 2]`. A GPU keeps where a step begins at their start.
    pub counters: B,
}

/// The shape of the caches, the same in every layer.
#[derive(Clone, Copy, Debug)]
pub struct CacheShape {
    /// How attention is divided.
    pub heads: Heads,
    /// What the cache keeps.
    pub policy: Policy,
}

/// What the steps of an engine are at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Rows of a step.
    pub rows: usize,
    /// Layers of the model.
    pub layers: usize,
    /// Elements of the longest row of a matrix.
    pub widest: usize,
}

/// A part of a workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// What it counts as: runtime overhead where the plan has no row of its own for it.
    pub component: Component,
    /// The plan's row.
    pub id: BufferId,
    /// Its size.
    pub size: Bytes,
}

/// Where the tokens of a step go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Behind `before` tokens of the system prompt: attended to, never scored.
    Pinned {
        /// Tokens pinned before.
        before: usize,
    },
    /// Behind `before` tokens of the conversation.
    Conversation {
        /// Tokens of the system prompt.
        pinned: usize,
        /// Tokens of the conversation so far, evicted ones included.
        before: usize,
    },
}

impl Target {
    /// The position of the step's first token.
    pub const fn position(self) -> usize {
        match self {
            Self::Pinned { before } => before,
            Self::Conversation { pinned, before } => pinned + before,
        }
    }
}

/// Queries, keys, values and output of a step's attention in the arena, f32.
#[derive(Clone, Copy, Debug)]
pub struct AttentionSpans {
    /// `[tokens, query_heads, head_dim]`, rotated.
    pub q: Span,
    /// `[tokens, kv_heads, head_dim]`, rotated.
    pub k: Span,
    /// `[tokens, kv_heads, head_dim]`.
    pub v: Span,
    /// `[tokens, query_heads, head_dim]`.
    pub out: Span,
    /// Scratch of the kernels.
    pub work: Span,
}

/// A device that can run a forward pass.
///
/// Spans lie in the arena, which the engine allocates once; activations are f32, row after row, so
/// that a span's length says how many rows it has. No operation of a step allocates.
pub trait Backend {
    /// Raw memory.
    type Buffer;
    /// A tensor of the model, stored as in its file.
    type Weight;
    /// What this device's kernels need beside the plan's table.
    type Workspace;

    /// Allocates `bytes` zeroed bytes.
    fn allocate(&self, bytes: usize) -> Result<Self::Buffer, EngineError>;

    /// Allocates the workspace for steps of such an extent, and says what it consists of.
    fn workspace(
        &self,
        shape: CacheShape,
        extent: Extent,
    ) -> Result<(Self::Workspace, Vec<Part>), EngineError>;

    /// Allocates a tensor of the model and has `fill` write its data, which is `tensor.size` long.
    fn weight(
        &self,
        tensor: &GgufTensor,
        fill: &mut dyn FnMut(&mut [u8]) -> Result<(), EngineError>,
    ) -> Result<Self::Weight, EngineError>;

    /// Sets every byte to zero.
    fn clear(&self, buffer: &mut Self::Buffer) -> Result<(), EngineError>;

    /// Copies `values` to the start of a buffer of f32.
    fn write(&self, buffer: &mut Self::Buffer, values: &[f32]) -> Result<(), EngineError>;

    /// Copies a span to the host.
    fn read(&self, arena: &Self::Buffer, span: Span, into: &mut [f32]) -> Result<(), EngineError>;

    /// Writes the ids and positions of a step, the cosines and sines of its positions, and where it
    /// begins.
    ///
    /// `divisors` is `rope_freqs.weight`.
    fn begin(
        &self,
        step: Begin<'_>,
        divisors: Option<&Self::Weight>,
        tables: Tables<'_, Self::Buffer>,
        caches: &mut Caches<Self::Buffer>,
        workspace: &mut Self::Workspace,
    ) -> Result<(), EngineError>;

    /// `out[row] = table[ids[row]]`.
    fn embed(
        &self,
        arena: &mut Self::Buffer,
        table: &Self::Weight,
        ids: &Self::Buffer,
        out: Span,
    ) -> Result<(), EngineError>;

    /// `out = x / sqrt(mean(x²) + eps) · weight`, row by row of the weight's width.
    fn rms_norm(
        &self,
        arena: &mut Self::Buffer,
        x: Span,
        weight: &Self::Weight,
        eps: f32,
        out: Span,
    ) -> Result<(), EngineError>;

    /// The same in place.
    fn rms_norm_in_place(
        &self,
        arena: &mut Self::Buffer,
        x: Span,
        weight: &Self::Weight,
        eps: f32,
    ) -> Result<(), EngineError>;

    /// `out = x · weightᵀ + bias`.
    fn linear(
        &self,
        arena: &mut Self::Buffer,
        workspace: &mut Self::Workspace,
        x: Span,
        weight: &Self::Weight,
        bias: Option<&Self::Weight>,
        out: Span,
    ) -> Result<(), EngineError>;

    /// Rotates the heads of every row by the angles of its position.
    fn rotate(
        &self,
        arena: &mut Self::Buffer,
        x: Span,
        heads: RowHeads,
        rotation: &Self::Buffer,
    ) -> Result<(), EngineError>;

    /// Stores keys and values of a step in layer `at.layer`, evicting where the cache is full, and attends
    /// to everything that the layer holds.
    fn attend(
        &self,
        arena: &mut Self::Buffer,
        workspace: &mut Self::Workspace,
        caches: &mut Caches<Self::Buffer>,
        shape: CacheShape,
        at: LayerStep,
        spans: AttentionSpans,
    ) -> Result<(), EngineError>;

    /// `gate = silu(gate) · up`.
    fn silu_mul(&self, arena: &mut Self::Buffer, gate: Span, up: Span) -> Result<(), EngineError>;

    /// `to += from`.
    fn add(&self, arena: &mut Self::Buffer, to: Span, from: Span) -> Result<(), EngineError>;

    /// Queues the rest of a decode step as it was recorded: everything between [`Self::begin`] and the
    /// logits. Where it says `false`, the caller queues it, and calls [`Self::remember`] behind it.
    fn recall(&self, workspace: &mut Self::Workspace, target: Target) -> Result<bool, EngineError> {
        let _ = (workspace, target);
        Ok(false)
    }

    /// Ends the recording of a decode step, if one was begun, and has it run.
    fn remember(&self, workspace: &mut Self::Workspace) -> Result<(), EngineError> {
        let _ = workspace;
        Ok(())
    }

    /// Copies a span to another one of its length.
    ///
    /// # Errors
    /// Unless the device can capture.
    fn copy(&self, arena: &mut Self::Buffer, from: Span, to: Span) -> Result<(), EngineError> {
        let _ = (arena, from, to);
        Err(cannot_capture())
    }

    /// Copies the scores of layer `layer` to the host, `[kv_heads, max_cache_tokens]`.
    ///
    /// # Errors
    /// Unless the device can capture.
    fn scores(
        &self,
        caches: &Caches<Self::Buffer>,
        shape: CacheShape,
        layer: usize,
        into: &mut [f32],
    ) -> Result<(), EngineError> {
        let _ = (caches, shape, layer, into);
        Err(cannot_capture())
    }

    /// What the step that layer `at.layer` has just attended to weighs: f32 `[query_heads, tokens, pinned +
    /// max_cache_tokens]`, 0 where no token is or a later one. `queries` are rotated.
    ///
    /// # Errors
    /// Unless the device can capture.
    fn attention_weights(
        &self,
        arena: &mut Self::Buffer,
        caches: &Caches<Self::Buffer>,
        shape: CacheShape,
        at: LayerStep,
        queries: Span,
        out: Span,
    ) -> Result<(), EngineError> {
        let _ = (arena, caches, shape, at, queries, out);
        Err(cannot_capture())
    }
}

fn cannot_capture() -> EngineError {
    EngineError::unsupported("captures on this device", "the CPU")
}

/// What a step's tokens and positions are written to.
#[derive(Debug)]
pub struct Tables<'a, B> {
    /// 4 B `[2, rows]`: ids, then positions.
    pub ids: &'a mut B,
    /// f32 `[rows, head_dim]`, cosines in the first half of a row.
    pub rotation: &'a mut B,
}

/// The heads that a row of queries or keys holds.
#[derive(Clone, Copy, Debug)]
pub struct RowHeads {
    /// How many.
    pub heads: usize,
    /// Elements of each.
    pub head_dim: usize,
}

/// A step in one layer.
#[derive(Clone, Copy, Debug)]
pub struct LayerStep {
    /// Which layer.
    pub layer: usize,
    /// Where the step's tokens go.
    pub target: Target,
}

/// A step's tokens.
#[derive(Clone, Debug)]
pub struct Begin<'a> {
    /// Their ids, each in the vocabulary.
    pub ids: &'a [u32],
    /// Where they go.
    pub target: Target,
    /// How positions become angles.
    pub rope: &'a Rope,
    /// Elements of a head.
    pub head_dim: usize,
}

impl Begin<'_> {
    /// Where the tokens stand in the sequence, which is what their angles are made from.
    pub const fn positions(&self) -> Range<usize> {
        let first = self.target.position();
        first..first + self.ids.len()
    }
}
