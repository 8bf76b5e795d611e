//! What each of several GPUs gets of a model: each runtime's own rule.

use super::llama_cpp::placement as llama_cpp;
use super::transformers::placement as transformers;
use super::vision;
use super::vllm::placement as vllm;
use super::weights::WeightsError;
use crate::dtype::WeightFormat;
use crate::spec::{GpuSpec, ModelSpec, Part, Runtime, RuntimeSpec, Split, Vision};
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
    /// The runtime spreads such a model, in a way that no formula covers.
    #[error("what `{model}` takes on {gpus} GPUs under `{runtime}` is not known: {reason}")]
    Unknown {
        /// The model.
        model: String,
        /// How many GPUs were asked for.
        gpus: usize,
        /// The runtime.
        runtime: Runtime,
        /// What no formula covers.
        reason: &'static str,
        /// What to do instead.
        hint: &'static str,
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
            Self::Unsupported { hint, .. } | Self::Unknown { hint, .. } => Some((*hint).to_owned()),
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
    pub(super) fn free(&self) -> Bytes {
        self.usable.minus_or_zero(self.gpu.context().value.expected)
    }
}

/// What is spread over several GPUs, and how.
#[derive(Clone, Copy, Debug)]
pub struct Spread<'a> {
    /// The model.
    pub model: &'a ModelSpec,
    /// The format of its weights.
    pub format: WeightFormat,
    /// The runtime's constants.
    pub runtime: &'a RuntimeSpec,
    /// By layers or by tensors.
    pub split: Split,
    /// Images of a prompt that the runtime is set up for, where that was given: without any, no tower is
    /// loaded.
    pub images: Option<u64>,
}

impl Spread<'_> {
    /// The vision tower, where the runtime loads it.
    pub(super) fn tower(&self) -> Option<Vision> {
        vision::loaded(self.model, self.runtime.runtime, self.images)
    }

    pub(super) fn unknown(
        &self,
        rooms: &[Room<'_>],
        reason: &'static str,
        hint: &'static str,
    ) -> PlacementError {
        let (model, runtime) = (self.model.name.clone(), self.runtime.runtime);
        PlacementError::Unknown { model, gpus: rooms.len(), runtime, reason, hint }
    }

    /// Whether matrices are held in fewer than 16 bits.
    pub(super) fn is_quantized(&self) -> bool {
        match self.format {
            WeightFormat::F32 | WeightFormat::F16 | WeightFormat::Bf16 => false,
            WeightFormat::AsStored => {
                self.model.stored.as_ref().is_some_and(|stored| stored.prequantized)
            }
            _ => true,
        }
    }
}

/// What each GPU gets: one part for each of `rooms`, in their order.
pub fn parts(spread: &Spread<'_>, rooms: &[Room<'_>]) -> Result<Vec<Part>, PlacementError> {
    let Spread { model, runtime: spec, split, .. } = *spread;
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
        (Runtime::Transformers, Split::Layer) => transformers::balanced(spread, rooms),
        (Runtime::Transformers, Split::Tensor) => unsupported(
            " by tensors",
            "use `--split layer`, which is `device_map=\"auto\"`, or `--runtime vllm`",
        ),
        (Runtime::LlamaCpp, Split::Layer) if model.shape.ssm.is_some() => Err(spread.unknown(
            rooms,
            "libllama takes up to twice what its graph gives for stages with state-space layers",
            "use `--split tensor`, one GPU, or `--runtime vllm`",
        )),
        (Runtime::LlamaCpp, Split::Layer) => Ok(llama_cpp::by_layers(model, rooms)),
        (Runtime::LlamaCpp, Split::Tensor) => Ok(llama_cpp::by_rows(model, rooms)),
        (Runtime::Vllm, Split::Layer) => vllm::pipeline(spread, rooms.len() as u64),
        (Runtime::Vllm, Split::Tensor) => vllm::tensor_parallel(spread, rooms.len() as u64),
    }
}
