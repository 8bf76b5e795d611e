//! Which attention `SGLang` runs by itself, in what pages its pool is, and what it keeps for it.
//!
//! On Hopper `FlashAttention` 3; on Blackwell of data centres TensorRT-LLM's from 0.5.7 on; elsewhere `FlashInfer`, or Triton's
//! kernels for latent attention and where heads have sinks. Each keeps a table of the pool's places for every request of the
//! largest captured batch at the longest context; `FlashInfer` and TensorRT-LLM keep a workspace besides.
//!
//! Sources: `SGLang` 0.5.23 `srt/arg_groups/model_override_base.py` (`get_default_attn_backend`),
//! `srt/layers/attention/flashinfer_backend.py`, `flashattention_backend.py`, `trtllm_mha_backend.py`, `triton_backend.py`
//! (`__init__`, `init_cuda_graph_state`), `srt/environ.py` (`SGLANG_FLASHINFER_WORKSPACE_SIZE`).

use super::compressed;
use crate::estimate::{Buffers, Component, EstimateError, Formula, Kind, Life, Phase, Scenario};
use crate::spec::{Basis, Bounds, GpuSpec, ModelShape, SglangVersion};
use crate::units::{Bytes, Overflow};

/// An implementation of attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// `FlashAttention` 3.
    Fa3,
    /// TensorRT-LLM's.
    TensorRt,
    /// `FlashInfer`.
    FlashInfer,
    /// Triton's kernels.
    Triton,
    /// Those for compressed keys (`dsv4`).
    Compressed,
}

/// Tokens of a page of TensorRT-LLM's attention and of attention over chosen tokens.
const LARGE_PAGE: u64 = 64;

impl Backend {
    /// The one that is run of itself.
    pub fn of(shape: &ModelShape, gpu: &GpuSpec, version: SglangVersion) -> Self {
        if shape.extras.compressed.is_some() {
            return Self::Compressed;
        }
        let latent = shape.mla.is_some();
        match gpu.compute_capability.major {
            9 => Self::Fa3,
            10 if latent => Self::FlashInfer,
            10 if version.has_tensorrt_attention() || shape.attention_sinks => Self::TensorRt,
            _ if latent || shape.attention_sinks => Self::Triton,
            _ => Self::FlashInfer,
        }
    }

    /// Tokens of a page of the pool.
    pub fn page(self, shape: &ModelShape) -> u64 {
        if self == Self::Compressed {
            return compressed::PAGE;
        }
        let large = self == Self::TensorRt || shape.extras.indexer.is_some();
        if large { LARGE_PAGE } else { 1 }
    }

    /// Workspaces that it keeps whatever is asked.
    fn workspace(self, shape: &ModelShape) -> Bytes {
        match self {
            Self::Fa3 | Self::Triton | Self::Compressed => Bytes::ZERO,
            Self::TensorRt => Bytes::new(512 << 20),
            Self::FlashInfer if shape.architecture.family().sglang.large_workspace => {
                Bytes::new(512 << 20)
            }
            Self::FlashInfer => Bytes::new(384 << 20),
        }
    }

    /// Bytes of tables for a request of the largest captured batch and a token of the longest context.
    fn of_a_place(self, windows: bool) -> u64 {
        let tables = 1 + u64::from(windows);
        match self {
            Self::Fa3 | Self::TensorRt | Self::Compressed => 4 * tables,
            // Places, and the mask that is kept beside them.
            Self::FlashInfer => 4 * tables + 1,
            Self::Triton => 8 * tables,
        }
    }
}

/// `FlashInfer`'s wrapper of a captured batch has a workspace of its own (`flashinfer/decode.py`, `_int_workspace_buffer`).
const OF_A_WRAPPER: u64 = 8 << 20;

/// What is captured and how far.
#[derive(Clone, Copy, Debug)]
pub struct Served {
    /// Requests of the largest captured batch; 0 where none is captured.
    pub batch: u64,
    /// Captured batches.
    pub graphs: u64,
    /// Tokens of the longest sequence.
    pub context: u64,
}

/// Lists what attention keeps beside the pool.
pub fn push(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    backend: Backend,
    served: Served,
) -> Result<(), EstimateError> {
    let shape = &scenario.model.shape;
    let kind = Kind {
        component: Component::SmallBuffers,
        life: Life::From(Phase::SystemPrefill),
        // Of `dsv4` only the table of pages was read.
        basis: if backend == Backend::Compressed { Basis::Assumed } else { Basis::Modelled },
        source: "SGLang srt/layers/attention, __init__ and init_cuda_graph_state of the backend",
    };
    let workspace = backend.workspace(shape);
    if !workspace.is_zero() {
        let size = Bounds::exactly(workspace);
        buffers.push(kind, "attention's workspace", size, Formula::text("constant", &[]));
    }
    let windows = scenario.window_layers() > 0;
    let pages = served.context.div_ceil(backend.page(shape));
    let factors =
        [("requests", served.batch), ("places", pages), ("B", backend.of_a_place(windows))];
    buffers.product(kind, "tables of places for captured batches", &factors)?;
    if backend == Backend::FlashInfer && served.graphs > 0 {
        push_wrappers(buffers, kind, served.graphs, windows)?;
    }
    Ok(())
}

fn push_wrappers(
    buffers: &mut Buffers,
    kind: Kind<'_>,
    graphs: u64,
    windows: bool,
) -> Result<(), Overflow> {
    let wrappers =
        [("captured batches", graphs), ("of full layers and of windows", 1 + u64::from(windows))];
    let kind = Kind { source: "FlashInfer decode.py, _int_workspace_buffer", ..kind };
    let factors = [wrappers[0], wrappers[1], ("B", OF_A_WRAPPER)];
    buffers.product(kind, "workspaces of FlashInfer's wrappers", &factors)
}
