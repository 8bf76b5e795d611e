//! The compute buffer with its bounds: of the graph that is planned, of those that the version may have as well, and
//! of what is not known of an architecture.

use super::graph::{ComputeBuffer, Context, LlamaCppGeneration, Stage, graph_bounds, model_buffer};
use crate::estimate::{Deviation, EstimateError};
use crate::spec::{Basis, Bounds, CheckedLlamaCpp, ModelSpec};
use crate::units::{Bytes, Overflow};

/// A compute buffer on one GPU.
#[derive(Clone, Copy, Debug)]
pub struct Compute {
    /// The graph that is planned.
    pub expected: ComputeBuffer,
    /// The whole buffer.
    pub size: Bounds,
    /// How sure that is.
    pub basis: Basis,
    /// Where it comes from.
    pub source: &'static str,
}

const PLACED: &str = "llama.cpp graph of a micro-batch, placed as ggml-alloc.c does";
const BETWEEN: &str = "llama.cpp graph of a micro-batch, placed as ggml-alloc.c does; bounds between the versions \
    around this one that were checked";
const ASSUMED: &str = "a graph like Llama's, as this architecture's is not known; bounds as wide as architectures of \
    the library differ from that";

impl Compute {
    /// The buffer of a stage under a version; `context` is what a generation makes of the question.
    ///
    /// # Errors
    /// Where a size does not fit in 64 bits.
    pub fn of(
        model: &ModelSpec,
        stage: &Stage,
        version: CheckedLlamaCpp,
        context: impl Fn(LlamaCppGeneration) -> Result<Context, Overflow>,
    ) -> Result<Self, EstimateError> {
        let buffer = |generation| model_buffer(model, &context(generation)?.graph, stage);
        Self::within(version, buffer, |size| graph_bounds(model, version.generation, size))
    }

    /// The buffer of a device where the graph runs on several: what each generation makes of it, and how well a
    /// size is known.
    ///
    /// # Errors
    /// Where a size does not fit in 64 bits.
    pub fn within(
        version: CheckedLlamaCpp,
        buffer: impl Fn(LlamaCppGeneration) -> Result<ComputeBuffer, Overflow>,
        bounds: impl Fn(Bytes) -> Result<Bounds, Overflow>,
    ) -> Result<Self, EstimateError> {
        let expected = buffer(version.generation)?;
        let [oldest, newest] = version.between;
        let mut size = Bounds::exactly(expected.device);
        for (_, generation) in LlamaCppGeneration::ALL {
            if generation != version.generation && (oldest..=newest).contains(&generation) {
                let other = buffer(generation)?.device;
                size.low = size.low.min(other);
                size.high = size.high.max(other);
            }
        }
        if version.is_beyond {
            size = Deviation::LLAMA_CPP_BEYOND.beyond(size)?;
        }
        let known = bounds(expected.device)?;
        size.low = size.low.minus_or_zero(expected.device.minus_or_zero(known.low));
        size.high = size.high.plus(known.high.minus_or_zero(expected.device))?;
        let certain = known.low == known.high;
        Ok(Self {
            expected,
            size,
            basis: if certain && version.is_exact() { Basis::Modelled } else { Basis::Assumed },
            source: match (certain, version.is_exact()) {
                (true, true) => PLACED,
                (true, false) => BETWEEN,
                (false, _) => ASSUMED,
            },
        })
    }

    /// The bounds of a part that holds all that is not known of the whole.
    pub fn spread(&self, part: Bytes) -> Bounds {
        let less = self.expected.device.minus_or_zero(self.size.low);
        let more = self.size.high.minus_or_zero(self.expected.device);
        Bounds::new(part.minus_or_zero(less), part, part.plus(more).unwrap_or(part))
    }
}
