//! What each of several GPUs gets of a model: each runtime's own rule.

mod llama_cpp;
mod transformers;
mod vllm;

use super::weights::WeightsError;
use crate::dtype::WeightFormat;
use crate::spec::{GpuSpec, ModelSpec, Part, Runtime, RuntimeSpec, Split};
use crate::units::{Bytes, Overflow};

pub use llama_cpp::layers_by_memory;

/// Why a model cannot be spread.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    /// The runtime runs on one GPU, or cannot spread a model so.
    #[error("the `{runtime}` runtime cannot spread a model over {gpus} GPUs{how}")]
    Unsupported {
        /// The runtime.
        runtime: Runtime,
        /// How many GPUs were asked for.
        gpus: usize,
        /// By tensors, where layers would do.
        how: &'static str,
        /// What to do instead.
        hint: &'static str,
    },
    /// The model cannot be cut into so many parts.
    #[error("{what} cannot be split over {gpus} GPUs")]
    Indivisible {
        /// What would have to be split.
        what: String,
        /// How many GPUs were asked for.
        gpus: u64,
        /// What to do instead.
        hint: String,
    },
    /// The weights cannot be sized.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A number too large to be true.
    #[error(transparent)]
    Overflow(#[from] Overflow),
}

impl PlacementError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unsupported { hint, .. } => Some((*hint).to_owned()),
            Self::Indivisible { hint, .. } => Some(hint.clone()),
            Self::Weights(error) => error.hint(),
            Self::Overflow(_) => None,
        }
    }
}

/// A GPU and what of it is free for the run.
#[derive(Clone, Copy, Debug)]
pub struct Room<'a> {
    /// The GPU.
    pub gpu: &'a GpuSpec,
    /// Memory that a process can take, its context included.
    pub usable: Bytes,
}

impl Room<'_> {
    /// What CUDA says is free once a process has its context: what runtimes deal layers out by.
    fn free(&self) -> Bytes {
        self.usable.minus_or_zero(self.gpu.context().value.expected)
    }
}

/// What each GPU gets: one part for each of `rooms`, in their order.
pub fn parts(
    model: &ModelSpec,
    format: WeightFormat,
    spec: &RuntimeSpec,
    split: Split,
    rooms: &[Room<'_>],
) -> Result<Vec<Part>, PlacementError> {
    if rooms.len() < 2 {
        return Ok(vec![Part::whole(model)]);
    }
    let unsupported = |how, hint| {
        let (runtime, gpus) = (spec.runtime, rooms.len());
        Err(PlacementError::Unsupported { runtime, gpus, how, hint })
    };
    match (spec.runtime, split) {
        (Runtime::Vramplan, _) => unsupported(
            "",
            "plan for one GPU, or use `--runtime llama.cpp`, `transformers` or `vllm`",
        ),
        (Runtime::Transformers, Split::Layer) => transformers::balanced(model, format, spec, rooms),
        (Runtime::Transformers, Split::Tensor) => unsupported(
            " by tensors",
            "use `--split layer`, which is `device_map=\"auto\"`, or `--runtime vllm`",
        ),
        (Runtime::LlamaCpp, Split::Layer) => Ok(llama_cpp::by_layers(model, rooms)),
        (Runtime::LlamaCpp, Split::Tensor) => Ok(llama_cpp::by_rows(model, rooms)),
        (Runtime::Vllm, Split::Layer) => vllm::pipeline(model, rooms.len() as u64),
        (Runtime::Vllm, Split::Tensor) => vllm::tensor_parallel(model, rooms.len() as u64),
    }
}
