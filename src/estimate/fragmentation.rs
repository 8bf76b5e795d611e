//! What allocators round up and cannot use.
//!
//! Three parts: the padding and rounding of every weight, exact; the granule of large blocks (2 MiB
//! for `cudaMalloc` and for the pools of `cudaMallocAsync`); and the gaps of `PyTorch`'s caching
//! allocator, which depend on whether caches are pre-allocated or grow.
//!
//! `PyTorch`'s rules (`CUDACachingAllocator.cpp`): 512 B rounding; up to 1 MiB from 2 MiB segments,
//! up to 10 MiB from 20 MiB segments, larger ones rounded to 2 MiB; remainders up to 1 MiB are lost
//! inside a block. What is counted here is what a card has to have beyond what is allocated at the peak:
//! where it has more, the allocator keeps segments of every earlier length of a grown cache, which can be
//! several times the cache, and returns them once `cudaMalloc` fails. Played with the allocations of real
//! forward passes (`tests/engines/allocator`): 30 to 430 MiB for grown caches. A pre-allocated cache:
//! 20 to 130 MiB, a paged one 20 to 40.

use super::{
    Buffers, Component, EstimateError, Formula, Kind, Life, Phase, Scenario, Spread, activations,
    kv_cache,
};
use crate::spec::{Basis, Bounds, Runtime};
use crate::units::Bytes;

fn kind(basis: Basis, source: &str) -> Kind<'_> {
    Kind { component: Component::Fragmentation, life: Life::From(Phase::Load), basis, source }
}

fn mib(low: u64, expected: u64, high: u64) -> Bounds {
    let mib = |n: u64| Bytes::new(n << 20);
    Bounds::new(mib(low), mib(expected), mib(high))
}

/// Lists what the allocator adds to every weight.
pub fn push_rounding(buffers: &mut Buffers, scenario: &Scenario<'_>) {
    buffers.push(
        kind(scenario.weights.basis, "padding and rounding of each tensor"),
        "rounding of weights",
        Bounds::exactly(scenario.weights.rounding),
        Formula::text(
            "Σ over tensors of their padded size − their size",
            &[("tensors", scenario.weights.tensors)],
        ),
    );
}

/// Lists what the runtime's allocator loses.
pub fn push(buffers: &mut Buffers, scenario: &Scenario<'_>) -> Result<(), EstimateError> {
    if scenario.gpu.is_main_memory() {
        return Ok(());
    }
    push_rounding(buffers, scenario);
    match scenario.kind() {
        Runtime::Vramplan => push_pool(buffers, scenario),
        Runtime::LlamaCpp => push_segments(buffers, scenario)?,
        Runtime::Transformers => push_torch(buffers, scenario)?,
        Runtime::Vllm => push_remainders(buffers),
    }
    Ok(())
}

/// The pool of vramplan's engine: what it takes beyond what it hands out, measured or assumed.
fn push_pool(buffers: &mut Buffers, scenario: &Scenario<'_>) {
    const NAME: &str = "pool granularity";
    if let Some(slack) = &scenario.gpu.calibrated.slack {
        let formula = Formula::text("measured on this card: taken by the pool − handed out", &[]);
        buffers.push(kind(slack.basis, &slack.source), NAME, slack.value, formula);
        return;
    }
    buffers.push(
        kind(Basis::Assumed, "cudaMallocAsync pools grow in chunks of 2 to 32 MiB"),
        NAME,
        mib(0, 16, 64),
        Formula::text("half a chunk; two at most", &[]),
    );
}

/// llama.cpp's large buffers (weights, caches, compute), each of which `cudaMalloc` rounds up. Its
/// pool is among the runtime's libraries.
const LLAMA_CPP_BUFFERS: u64 = 4;

fn push_segments(buffers: &mut Buffers, scenario: &Scenario<'_>) -> Result<(), EstimateError> {
    let granule = &scenario.runtime.segment_granule;
    let most = granule.value.times(LLAMA_CPP_BUFFERS)?;
    let formula = Formula::text(
        "half a granule for each large buffer",
        &[("buffers", LLAMA_CPP_BUFFERS), ("granule", granule.value.get())],
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

/// What the key and the value tensor of a layer leave unused, as a share of both and at most, and
/// what there is of it without any.
const GROWN_SHARE: u64 = 3;
const GROWN_MOST: Bytes = Bytes::new(8 << 20);
const GROWN_LEAST: Bytes = Bytes::new(24 << 20);

fn push_torch(buffers: &mut Buffers, scenario: &Scenario<'_>) -> Result<(), EstimateError> {
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
    let holes = Spread::GROWN_SEGMENTS.around(expected)?;
    // What one result of the largest pass leaves may be too small for the next.
    let rows = scenario.chunk().max(scenario.system_chunk());
    let width = activations::ffn_width(scenario);
    let result = Bytes::product(&[scenario.workload.batch, rows, width, 2])?;
    let size = holes.plus(Bounds::new(Bytes::ZERO, Bytes::ZERO, result))?;
    buffers.push(kind(Basis::Modelled, source), "segments of a cache that grows", size, formula);
    Ok(())
}

/// Lists the remainders of segments where caches are allocated at once.
pub fn push_remainders(buffers: &mut Buffers) {
    let source = "PyTorch CUDACachingAllocator.cpp, simulated over growing conversations";
    let formula = Formula::text("20 to 40 MiB with pre-allocated caches", &[]);
    buffers.push(kind(Basis::Modelled, source), "segments' remainders", mib(20, 30, 40), formula);
}
