//! What one device holds where layers, tensors or caches are in main memory too.

use super::compute::Compute;
use super::graph::{
    CacheSizes, ComputeBuffer, Context, GPU, HOST, Stage, WeightAt, caches_where, compute_buffer,
    graph_bounds, split_bounds, split_buffers, stage_buffer,
};
use super::placement::run_of;
use super::{beside, context, fragmentation, note_backend, pool, push_caches, push_compute};
use crate::estimate::{
    BufferId, Buffers, Component, EstimateError, Formula, Kind, Life, Phase, Scenario, overhead,
};
use crate::spec::{Basis, Bounds, CheckedLlamaCpp, Home, ModelSpec, Placed};
use crate::units::{Bytes, Overflow};

/// Copies of every input in a pipeline (`GGML_SCHED_MAX_COPIES`).
const PIPELINE_COPIES: u64 = 4;

/// Lists caches and compute buffer of the device, and what its process takes there.
pub(super) fn push(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    placed: &Placed,
) -> Result<(), EstimateError> {
    let version = scenario.runtime.options.checked_llama_cpp();
    let context = context(scenario, version.generation)?;
    let home = scenario.part().home();
    push_caches(buffers, scenario, &context, caches_on(home, scenario.model, placed, &context)?)?;
    push_compute(buffers, &context, &compute(scenario, placed, version)?);
    if home == Home::Host {
        return Ok(push_outputs(buffers, scenario)?);
    }
    pool::push(buffers, scenario, &context)?;
    beside::push(buffers, scenario, &context)?;
    overhead::push_apart(buffers, scenario);
    fragmentation::push(buffers, scenario)
}

/// The compute buffer of the device under a version.
fn compute(
    scenario: &Scenario<'_>,
    placed: &Placed,
    version: CheckedLlamaCpp,
) -> Result<Compute, EstimateError> {
    let index = scenario.part().home().index(placed.gpus);
    let buffer = |generation| {
        let context = context(scenario, generation)?;
        let make = || compute_buffers(scenario.model, placed, &context);
        let all = placed.memo.get_or(&context.graph, make)?;
        Ok(all.get(index).copied().unwrap_or_else(|| of_inputs(Bytes::ZERO)))
    };
    let is_sure = placed.is_pipeline() && scenario.model.shape.ssm.is_none();
    let bounds = if is_sure { graph_bounds } else { split_bounds };
    let known = |size| bounds(scenario.model, version.generation, size);
    let mut compute = Compute::within(version, buffer, known)?;
    note_backend(&mut compute, scenario)?;
    Ok(compute)
}

/// The caches of a device.
///
/// # Errors
/// On sizes that no device has, as what follows.
pub fn caches_on(
    home: Home,
    model: &ModelSpec,
    placed: &Placed,
    context: &Context,
) -> Result<CacheSizes, Overflow> {
    let layout = if home == Home::Host { &HOST } else { &GPU };
    let is_here = |layer| placed.cache_of(layer) == home;
    caches_where(model, context, layout, is_here)
}

/// Bytes of the caches on a device of a placement; nothing without one.
///
/// # Errors
/// As [`caches_on`].
pub fn cached_bytes(scenario: &Scenario<'_>) -> Result<Bytes, Overflow> {
    let part = scenario.part();
    let Some(placed) = &part.placed else { return Ok(Bytes::ZERO) };
    let generation = scenario.runtime.options.checked_llama_cpp().generation;
    let context = context(scenario, generation)?;
    let caches = caches_on(part.home(), scenario.model, placed, &context)?;
    Bytes::sum([caches.full, caches.window, caches.recurrent])
}

/// The compute buffers of every device, main memory's last.
///
/// # Errors
/// As [`caches_on`].
pub fn compute_buffers(
    model: &ModelSpec,
    placed: &Placed,
    context: &Context,
) -> Result<Vec<ComputeBuffer>, Overflow> {
    let (shape, layers) = (&model.shape, &model.gguf_layers);
    if placed.is_pipeline() && shape.ssm.is_none() {
        return pipeline_buffers(model, placed, context);
    }
    let find = |layer: Option<u64>, stem: &str, kind: &str| {
        let weight = placed.weight(layer, stem, kind)?;
        Some(WeightAt { home: placed.home_of(weight, layer), copy: weight.copy })
    };
    split_buffers(shape, layers, &context.graph, placed, &find)
}

fn pipeline_buffers(
    model: &ModelSpec,
    placed: &Placed,
    context: &Context,
) -> Result<Vec<ComputeBuffer>, Overflow> {
    let (shape, layers) = (&model.shape, &model.gguf_layers);
    let of_gpu = |gpu| {
        let home = Home::Gpu(gpu);
        let run = run_of(placed, home, shape.n_layers);
        let stage = Stage::of_pipeline(run, placed.output == home);
        stage_buffer(shape, layers, &context.graph, &stage)
    };
    let mut buffers = (0..placed.gpus).map(of_gpu).collect::<Result<Vec<_>, _>>()?;
    let inputs = compute_buffer(shape, layers, &context.graph)?.host;
    // The rows of the token embedding are no input: they are looked up once, and once more for a batch that mixes
    // tokens and embeddings.
    let lookups = 1 + u64::from(context.graph.version.has_mixed_inputs());
    let rows = Bytes::product(&[shape.hidden_size, context.graph.rows, 4, lookups])?;
    let copied = inputs.minus_or_zero(rows).times(PIPELINE_COPIES)?;
    buffers.push(of_inputs(copied.plus(rows)?));
    Ok(buffers)
}

const fn of_inputs(size: Bytes) -> ComputeBuffer {
    ComputeBuffer {
        device: size,
        attention_transients: Bytes::ZERO,
        activations: Bytes::ZERO,
        logits: Bytes::ZERO,
        small_buffers: size,
        host: Bytes::ZERO,
    }
}

/// The logits of a step, which the program reads: a row for every sequence at least
/// (`llama_context::output_reserve`).
fn push_outputs(buffers: &mut Buffers, scenario: &Scenario<'_>) -> Result<(), Overflow> {
    let (rows, vocab) = (scenario.workload.batch, scenario.model.shape.vocab_size);
    let kind = Kind {
        component: Component::Logits,
        life: Life::From(Phase::Load),
        basis: Basis::Modelled,
        source: "llama.cpp llama-context.cpp, output_reserve: f32, a row for every sequence",
    };
    let size = Bytes::product(&[vocab, rows, 4])?;
    let values = [("vocab", vocab), ("sequences", rows)];
    let formula = Formula::text("vocab · sequences · 4 B", &values);
    buffers.push(
        kind,
        BufferId::Other("logits that the program reads"),
        Bounds::exactly(size),
        formula,
    );
    Ok(())
}
