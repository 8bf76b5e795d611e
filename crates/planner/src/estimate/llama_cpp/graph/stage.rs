//! The part of a graph that one of several GPUs computes.
//!
//! Under `--split-mode layer` every GPU has a run of layers, and the last of them the output head. What a
//! GPU reads that another device has, masks, positions and the hidden state, is copied to it. With all
//! layers on GPUs llama.cpp lets them work on different micro-batches at the same time, for which it
//! keeps four copies of all of that for good (`GGML_SCHED_MAX_COPIES`, `ggml_backend_sched_split_graph`
//! in `ggml-backend.cpp`; `pipeline_parallel` in `llama-context.cpp`).

use std::ops::Range;

use crate::spec::ModelShape;

/// Copies of every input in a pipeline.
pub(super) const PIPELINE_COPIES: u64 = 4;

/// What one GPU computes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Decoder layers.
    pub layers: Range<u64>,
    /// Whether the output head is among it.
    pub has_head: bool,
    /// How often every input is there.
    pub copies: u64,
}

impl Stage {
    /// Everything, on one GPU.
    pub const fn all(shape: &ModelShape) -> Self {
        Self { layers: 0..shape.n_layers, has_head: true, copies: 1 }
    }

    /// A stage of a pipeline.
    pub const fn of_pipeline(layers: Range<u64>, has_head: bool) -> Self {
        Self { layers, has_head, copies: PIPELINE_COPIES }
    }

    /// Whether it begins with the embeddings; others begin with a hidden state.
    pub const fn is_first(&self) -> bool {
        self.layers.start == 0
    }
}
