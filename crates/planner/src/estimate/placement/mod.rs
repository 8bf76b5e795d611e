//! What each of several GPUs gets of a model: each runtime's own rule.

use super::llama_cpp::placement::LaunchError;
use super::runtimes::rules;
use super::vision;
use super::weights::WeightsError;
use crate::dtype::WeightFormat;
use crate::spec::{GpuSpec, ModelSpec, Part, Runtime, RuntimeSpec, Split, Vision};
use crate::units::{Bytes, Overflow};

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
    /// What llama.cpp is told places no such model on these GPUs.
    #[error(transparent)]
    Launch(#[from] LaunchError),
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
            Self::Launch(error) => error.hint(),
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
    pub fn free(&self) -> Bytes {
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
        vision::loaded(self.model, self.runtime.kind(), self.images)
    }

    /// Whether it loads a tower or another part beside the language model.
    pub(super) fn has_tower(&self) -> bool {
        vision::is_beside(self.model, self.runtime.kind(), self.images)
    }

    pub(super) fn unsupported(
        &self,
        rooms: &[Room<'_>],
        how: &'static str,
        hint: &'static str,
    ) -> PlacementError {
        let (runtime, gpus) = (self.runtime.kind(), rooms.len());
        PlacementError::Unsupported { runtime, gpus, how, hint }
    }

    pub(super) fn unknown(
        &self,
        rooms: &[Room<'_>],
        reason: &'static str,
        hint: &'static str,
    ) -> PlacementError {
        let (model, runtime) = (self.model.name.clone(), self.runtime.kind());
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
///
/// # Errors
/// Where the runtime cannot spread the model so.
pub fn parts(spread: &Spread<'_>, rooms: &[Room<'_>]) -> Result<Vec<Part>, PlacementError> {
    let launch = &spread.runtime.launch;
    if rooms.len() < 2 && !launch.places() && !launch.plans_host {
        return Ok(vec![Part::whole(spread.model)]);
    }
    rules(spread.runtime.kind()).place(spread, rooms)
}
