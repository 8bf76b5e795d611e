//! What `PyTorch`'s caching allocator cannot use, which depends on whether caches are pre-allocated or grow.
//!
//! Its rules (`CUDACachingAllocator.cpp`): 512 B rounding; up to 1 MiB from 2 MiB segments, up to 10 MiB from
//! 20 MiB segments, larger ones rounded to 2 MiB; remainders up to 1 MiB are lost inside a block. What is
//! counted here is what a card has to have beyond what is allocated at the peak: where it has more, the allocator
//! keeps segments of every earlier length of a grown cache, which can be several times the cache, and returns
//! them once `cudaMalloc` fails. Played with the allocations of real forward passes (`evidence/allocator`): 30 to
//! 430 MiB for grown caches, 20 to 130 MiB for pre-allocated ones.

use crate::estimate::fragmentation::{kind, mib, push_rounding};
use crate::estimate::{Buffers, Deviation, EstimateError, Formula, Scenario, kv_cache};
use crate::spec::{Basis, Bounds};
use crate::units::Bytes;

/// Lists it, on a GPU.
pub fn push(buffers: &mut Buffers, scenario: &Scenario<'_>) -> Result<(), EstimateError> {
    if scenario.gpu.is_main_memory() {
        return Ok(());
    }
    push_rounding(buffers, scenario);
    push_segments(buffers, scenario)
}

/// What the key and the value tensor of a layer leave unused, as a share of both and at most, and
/// what there is of it without any.
const GROWN_SHARE: u64 = 3;
const GROWN_MOST: Bytes = Bytes::new(8 << 20);
const GROWN_LEAST: Bytes = Bytes::new(24 << 20);

fn push_segments(buffers: &mut Buffers, scenario: &Scenario<'_>) -> Result<(), EstimateError> {
    let source = "PyTorch CUDACachingAllocator.cpp, played with the allocations of forward passes";
    if !scenario.workload.grown_cache {
        let formula = Formula::text("20 to 130 MiB with pre-allocated caches", &[]);
        let size = mib(20, 30, 130);
        buffers.push(kind(Basis::Modelled, source), "segments' remainders", size, formula);
        return Ok(());
    }
    let layers = scenario.layers().len() as u64;
    let tokens = scenario.full_tokens()?;
    let layer = kv_cache::per_layer(scenario, tokens)?.times(scenario.workload.batch)?;
    let holes = layer.scale(1, GROWN_SHARE)?.min(GROWN_MOST);
    let expected = holes.times(layers)?.plus(GROWN_LEAST)?;
    let formula = Formula::text(
        "24 MiB + layers · a third of a layer's keys and values, at most 8 MiB",
        &[("layers", layers), ("keys and values", layer.get())],
    );
    let holes = Deviation::GROWN_SEGMENTS.around(expected)?;
    // What one result of the largest pass leaves may be too small for the next.
    let rows = scenario.chunk().max(scenario.system_chunk());
    let width = scenario.model.shape.mlp_width();
    let result = Bytes::product(&[scenario.workload.batch, rows, width, 2])?;
    let size = holes.plus(Bounds::new(Bytes::ZERO, Bytes::ZERO, result))?;
    buffers.push(kind(Basis::Modelled, source), "segments of a cache that grows", size, formula);
    Ok(())
}
