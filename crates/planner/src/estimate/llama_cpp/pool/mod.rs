//! The memory pool of llama.cpp's CUDA backend, beside the compute buffer: operands of products in another format.
//!
//! On a card with virtual memory management the pool grows to the largest sum that is alive at once, and keeps it
//! (`ggml_cuda_pool_vmm`). The runtime's profile has a constant for it, which holds for products of quantized matrices;
//! what attention takes comes to that, and where products take more than the constant allows for, they are what is
//! listed.

mod attention;
mod legacy;
mod products;

use self::attention::{Layers, Reach};
use super::graph::{Context, GraphParams};
use crate::estimate::{
    BufferId, Buffers, Component, EstimateError, Formula, Kind, Life, Phase, Scenario, overhead,
};
use crate::spec::{Basis, Bounds, ComputeCapability, Maker};
use crate::units::{Bytes, Overflow};

/// Steps in which the pool grows.
const GRANULE: Bytes = Bytes::new(2 << 20);

/// Results of 16-bit products are written in 32 bits here, without a copy.
const VOLTA: ComputeCapability = ComputeCapability { major: 7, minor: 0 };
/// The first whose tensor cores multiply 8-bit integers.
const TURING: ComputeCapability = ComputeCapability { major: 7, minor: 5 };
/// The first that multiplies in bfloat16.
const AMPERE: ComputeCapability = ComputeCapability { major: 8, minor: 0 };
/// It multiplies in 16 bits no faster than in 32, so that values are converted instead of scores.
const SLOW_HALF: ComputeCapability = ComputeCapability { major: 6, minor: 1 };

/// What decides how large the pool is.
struct Decides {
    id: BufferId,
    formula: &'static str,
    source: &'static str,
}

const OF_ATTENTION: Decides = Decides {
    id: BufferId::AttentionPool,
    formula: "the largest layer's scores in 16 bits, or the cache's copies, and their product",
    source: "llama.cpp ggml-cuda.cu, ggml_cuda_mul_mat_cublas: the operands of a batched product in another type, in \
        steps of 2 MiB; a virtual RTX 4090 shows 998 MiB at 32,768 cells of Llama 3.1 8B",
};
const OF_PRODUCTS: Decides = Decides {
    id: BufferId::Pool,
    formula: "what the largest product takes at once",
    source: "llama.cpp ggml-cuda.cu and mmq.cu: the operands of the largest product in the format in which they are \
        multiplied, in steps of 2 MiB",
};
const KEPT: Decides = Decides {
    id: BufferId::Pool,
    formula: "what the largest product takes at once, and what was kept of smaller ones",
    source: "llama.cpp ggml-cuda.cu, ggml_cuda_pool_leg: without virtual memory management buffers that became too \
        small are kept, until the card has no room left",
};

/// Lists the pool and what else the runtime's libraries take.
pub(super) fn push(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    context: &Context,
) -> Result<(), EstimateError> {
    if scenario.gpu.is_main_memory() {
        return Ok(());
    }
    let graph = &context.graph;
    let attention = of_attention(scenario, graph)?;
    let constant = scenario.runtime.libraries.value;
    if !has_virtual_memory(scenario) {
        let products = of_products(scenario, graph)?;
        return Ok(push_kept(buffers, scenario, graph, (attention, products))?);
    }
    let is_measured = scenario.gpu.is_calibrated() || scenario.gpu.calibrated.libraries.is_some();
    let most = constant.high.minus_or_zero(GRANULE.times(2)?);
    let is_small = attention::partial_results(scenario, graph)? <= most;
    let is_known = is_measured || is_small && products::is_within(scenario, graph, most)?;
    let products = if is_known { Bounds::ZERO } else { of_products(scenario, graph)? };
    if products.high <= constant.high {
        if !attention.is_zero() {
            push_pool(buffers, graph, attention, &OF_ATTENTION);
        }
        // The constant is the pool, too: nothing is multiplied before the first prompt.
        overhead::push_libraries_from(buffers, scenario, Phase::SystemPrefill);
        return Ok(());
    }
    push_pool(buffers, graph, products.max(attention), &OF_PRODUCTS);
    Ok(())
}

fn push_pool(buffers: &mut Buffers, graph: &GraphParams, bounds: Bounds, decides: &Decides) {
    let kind = Kind {
        component: Component::RuntimeOverhead,
        life: Life::From(Phase::SystemPrefill),
        basis: Basis::Modelled,
        source: decides.source,
    };
    let values = [("n_ubatch", graph.rows), ("cells", graph.cells)];
    buffers.push(kind, decides.id, bounds, Formula::text(decides.formula, &values));
}

/// HIP's default build has none (`GGML_HIP_NO_VMM`).
const fn has_virtual_memory(scenario: &Scenario<'_>) -> bool {
    !matches!(scenario.gpu.maker, Maker::Amd) && scenario.runtime.launch.virtual_memory
}

/// What attention takes where the pool grows to the largest sum.
fn of_attention(scenario: &Scenario<'_>, graph: &GraphParams) -> Result<Bounds, Overflow> {
    let Some(layers) = Layers::of(scenario, graph) else { return Ok(Bounds::ZERO) };
    let all = layers.largest(0, Reach::Offloaded)?.round_up(GRANULE)?;
    if all.is_zero() {
        return Ok(Bounds::ZERO);
    }
    // A prompt ends within a micro-batch, and the largest whole one before that; a server reads those of its slots one after the
    // other, so that a micro-batch is of one of them.
    let alone = GraphParams { streams: 1, ..*graph };
    let of_one = Layers::of(scenario, &alone);
    let unused = graph.rows.saturating_mul(2);
    let low = of_one.map_or(Ok(Bytes::ZERO), |layers| layers.largest(unused, Reach::Own))?;
    let low = low.round_up(GRANULE)?;
    // Where there is none before that, its rows are fewer by what is generated behind it.
    let is_one = graph.rows / graph.streams.max(1) >= graph.cells;
    let low = if is_one { low.minus_or_zero(GRANULE) } else { low };
    Ok(Bounds::new(low, all, all.plus(GRANULE)?))
}

/// The same of products.
fn of_products(scenario: &Scenario<'_>, graph: &GraphParams) -> Result<Bounds, Overflow> {
    let mut most = Bounds::ZERO;
    if scenario.gpu.maker != Maker::Nvidia {
        return Ok(most);
    }
    for taken in products::taken(scenario, graph)? {
        most = most.max(taken.bounds()?);
    }
    let parts = attention::partial_results(scenario, graph)?;
    most = most.max(Bounds::new(Bytes::ZERO, parts.scale(1, 2)?, parts));
    // Where some layers are elsewhere, what they would take may be taken here.
    let low = if scenario.part().placed.is_some() { Bytes::ZERO } else { most.low };
    Ok(Bounds::new(
        low.round_up(GRANULE)?,
        most.expected.round_up(GRANULE)?,
        most.high.round_up(GRANULE)?.plus(GRANULE)?,
    ))
}

/// Without virtual memory management: what is needed at once, a twentieth more of it, up to all that is left behind.
fn push_kept(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    graph: &GraphParams,
    (attention, products): (Bounds, Bounds),
) -> Result<(), Overflow> {
    let mut kept = legacy::Pool::default();
    if scenario.gpu.maker == Maker::Nvidia {
        kept.serve(&[attention::partial_results(scenario, graph)?])?;
        for taken in products::taken(scenario, graph)? {
            kept.serve(&[&taken.certain[..], &[taken.at_most]].concat())?;
        }
    }
    if let Some(layers) = Layers::of(scenario, graph) {
        for product in layers.of_prompt()? {
            kept.serve(&product)?;
        }
    }
    let constant = scenario.runtime.libraries.value;
    let needed = attention.max(products).max(constant);
    let expected = legacy::ahead(needed.expected)?;
    // Other operations leave some behind as well.
    let high = legacy::ahead(kept.total().plus(constant.high)?)?.max(expected);
    push_pool(buffers, graph, Bounds::new(needed.low, expected, high), &KEPT);
    Ok(())
}
