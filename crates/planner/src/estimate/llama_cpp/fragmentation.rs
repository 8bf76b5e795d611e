//! What `cudaMalloc` rounds up. The pool of llama.cpp's CUDA backend is among the runtime's libraries.

use crate::estimate::fragmentation::{kind, push_rounding};
use crate::estimate::{Buffers, EstimateError, Formula, Scenario};
use crate::spec::Bounds;
use crate::units::Bytes;

/// Lists it, on a GPU.
pub fn push(buffers: &mut Buffers, scenario: &Scenario<'_>) -> Result<(), EstimateError> {
    if scenario.gpu.is_main_memory() {
        return Ok(());
    }
    push_rounding(buffers, scenario);
    push_segments(buffers, scenario)
}

/// Large buffers (weights, caches, compute), each of which `cudaMalloc` rounds up.
const LARGE_BUFFERS: u64 = 4;

fn push_segments(buffers: &mut Buffers, scenario: &Scenario<'_>) -> Result<(), EstimateError> {
    let granule = &scenario.runtime.segment_granule;
    let most = granule.value.times(LARGE_BUFFERS)?;
    let formula = Formula::text(
        "half a granule for each large buffer",
        &[("buffers", LARGE_BUFFERS), ("granule", granule.value.get())],
    );
    let bounds = Bounds::new(Bytes::ZERO, most.scale(1, 2)?, most);
    buffers.push(
        kind(granule.basis, &granule.source),
        "rounding of large buffers",
        bounds,
        formula,
    );
    Ok(())
}
